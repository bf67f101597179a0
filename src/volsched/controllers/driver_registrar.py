"""Registration of a CSI driver on the node it runs on: what a kubelet does when a driver's socket appears.

    NodeGetInfo ─> Node of that name: topology segments become labels ─> CSINode: entry with node id, topology keys, attach limit

A process behind a socket runs on one node, the one it names. Until such a Node exists there is nothing to do. An entry that is there
already is left as it is, and so are labels when a driver goes away. A label with another value is not overwritten: the driver is not
registered, and the reason is told with every try. A driver without a Node service registers nowhere.
Source: pkg/volume/csi/nodeinfomanager/nodeinfomanager.go; spec/volumes.md 5.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from lightkube.models.core_v1 import Node
from lightkube.models.meta_v1 import ObjectMeta, OwnerReference
from lightkube.models.storage_v1 import CSINode, CSINodeDriver, CSINodeSpec, VolumeNodeResources

from volsched.api.csi import NodeGetInfoRequest, NodeGetInfoResponse, ProbeRequest
from volsched.api.edit import labels_of, replace, uid_of, with_labels
from volsched.api.kinds import meta
from volsched.api.watch import Change, WatchEvent
from volsched.cache.view import View
from volsched.controllers.csi_common import amend, quoted
from volsched.errors import AlreadyExistsError, CsiCode, CsiError, ReconcileError
from volsched.ports import DONE, Call, Create, Done, Intent, QueueSpec, Requeue, Steps, Update, WorkItem

NODES: Final = "nodes"
COUNT_MAX: Final = 2**31 - 1
_BACKOFF_S: Final = 0.5
_BACKOFF_S_MAX: Final = 122.0
# Answers of a driver that runs on no node, or serves no Node calls.
_NOWHERE: Final = frozenset({CsiCode.UNIMPLEMENTED, CsiCode.FAILED_PRECONDITION})


class DriverRegistrar:
    """Decider: the entry of one driver on the node where it runs."""

    def __init__(self, driver: str) -> None:
        self.name = "kubelet"
        self.component = "kubelet"
        self.kinds = frozenset({"Node", "CSINode"})
        self.queues: Mapping[str, QueueSpec] = {NODES: QueueSpec(backoff_s=_BACKOFF_S, backoff_s_max=_BACKOFF_S_MAX)}
        self.resync_s: float | None = None
        self._driver = driver
        self._view = View(self.kinds)
        self._info = NodeGetInfoResponse()

    def start(self) -> Steps[None]:
        try:
            probe = yield Call(self._driver, "Probe", ProbeRequest())
            if probe.ready is False:
                raise ReconcileError(f"driver {self._driver} is not ready yet")
            self._info = yield Call(self._driver, "NodeGetInfo", NodeGetInfoRequest())
        except CsiError as problem:
            if problem.code not in _NOWHERE:
                raise

    def observe(self, event: WatchEvent) -> Iterable[WorkItem]:
        _, taken = self._view.observe(event)
        mine = taken and event.key.name == self._info.node_id
        return [WorkItem(NODES, event.key.name)] if mine and (event.kind == "CSINode" or event.change is not Change.DELETED) else ()

    def work(self, item: WorkItem) -> Steps[Done | Requeue]:
        node: Node | None = self._view.get("Node", "", item.key)
        csi_node: CSINode | None = self._view.get("CSINode", "", item.key)
        if node is None or (csi_node is not None and self._is_listed(csi_node)):
            return DONE
        node = yield from amend(node, self._labelled)
        self._view.put(node)
        if csi_node is None:
            owner = OwnerReference(apiVersion="v1", kind="Node", name=item.key, uid=uid_of(node))
            metadata = ObjectMeta(name=item.key, ownerReferences=[owner])
            made = CSINode(apiVersion="storage.k8s.io/v1", kind="CSINode", metadata=metadata, spec=CSINodeSpec(drivers=[self._entry()]))
            try:
                self._view.put((yield Create(made)))
            except AlreadyExistsError:
                return DONE  # its event will come
        else:
            self._view.put((yield from amend(csi_node, self._listed)))
        return DONE

    def resync(self) -> Iterable[WorkItem]:
        return ()

    def wake_at_ns(self) -> int | None:
        return None

    def wake(self, now_ns: int) -> Iterable[WorkItem]:
        return ()

    def _segments(self) -> dict[str, str]:
        topology = self._info.accessible_topology
        return dict(topology.segments) if topology is not None else {}

    def _labelled(self, node: Node) -> Intent | None:
        """The node with the driver's segments as labels; None when it has them. Raises ReconcileError for another value."""
        present, segments = labels_of(node), self._segments()
        for key, value in segments.items():
            if present.get(key, value) != value:
                reported, existing = f"{quoted(key)}:{quoted(value)}", f"{quoted(key)}:{quoted(present[key])}"
                text = f"detected topology value collision: driver reported {reported} but existing label is {existing}"
                raise ReconcileError(f"CSI driver {self._driver} is not registered on node {meta(node).name}: {text}")
        return None if segments.items() <= present.items() else Update(with_labels(node, segments))

    def _is_listed(self, csi_node: CSINode) -> bool:
        return any(entry.name == self._driver for entry in csi_node.spec.drivers)

    def _listed(self, csi_node: CSINode) -> Intent | None:
        if self._is_listed(csi_node):
            return None
        return Update(replace(csi_node, spec=replace(csi_node.spec, drivers=[*csi_node.spec.drivers, self._entry()])))

    def _entry(self) -> CSINodeDriver:
        """The driver's entry; no limit at all where it names none, or nought."""
        limit = min(self._info.max_volumes_per_node, COUNT_MAX)
        return CSINodeDriver(
            name=self._driver,
            nodeID=self._info.node_id,
            topologyKeys=sorted(self._segments()) or None,
            allocatable=VolumeNodeResources(count=limit) if limit > 0 else None,
        )
