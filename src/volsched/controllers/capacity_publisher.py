"""CSIStorageCapacity objects of one driver: how much room each topology segment has for each class.

    CSINodes + Nodes ─> segments ┐
    StorageClasses   ─> classes  ┴─> pairs ─> GetCapacity ─> one object for each pair

Two kinds of work: `plan` compares the pairs there should be with the objects there are (creates work for new pairs, deletes obsolete and
duplicate objects), a pair asks the driver and writes what changed. Pairs are asked again every poll interval, after a provisioning or
deletion that may have changed them, and when somebody removed their object. Part of the provisioner's process, with a queue of its own.

Source: spec/volumes.md 3.10; external-provisioner pkg/capacity (capacity.go, topology/nodes.go).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from lightkube.models.core_v1 import PersistentVolume
from lightkube.models.meta_v1 import LabelSelector, ObjectMeta
from lightkube.models.storage_v1 import CSIStorageCapacity, StorageClass

from volsched.api.csi import GetCapacityRequest, GetCapacityResponse, Topology
from volsched.api.edit import labels_of, replace, uid_of, with_metadata
from volsched.api.kinds import meta
from volsched.api.quantity import Quantity
from volsched.api.watch import Change, WatchEvent
from volsched.cache.view import View
from volsched.controllers.csi_common import NS_PER_S, Handoff
from volsched.controllers.driver_info import DriverInfo
from volsched.controllers.provisioner_options import ProvisionerOptions
from volsched.controllers.provisioner_topology import Term, affinity_segments, keys_of, make_term
from volsched.errors import NotFoundError
from volsched.ports import Call, Clock, Create, Delete, Steps, Update, WorkItem
from volsched.rules.capacity import MANAGED_BY_LABEL
from volsched.rules.volumes import WAIT_FOR_FIRST_CONSUMER, class_of

CAPACITY: Final = "capacity"
PLAN: Final = "plan"
DRIVER_LABEL: Final = "csi.storage.k8s.io/drivername"
MANAGED_BY: Final = "external-provisioner"
KINDS: Final = frozenset({"Node", "CSINode", "StorageClass", "CSIStorageCapacity"})


class Pair(NamedTuple):
    """One segment and one class; `key` is its queue key."""

    segment: Term
    storage_class: str

    @property
    def key(self) -> str:
        return json.dumps([self.storage_class, self.segment])

    @classmethod
    def of_key(cls, key: str) -> Pair:
        storage_class, segment = json.loads(key)
        return cls(tuple((name, value) for name, value in segment), storage_class)


class CapacityPublisher:
    """Keeps one object for each pair. Reads the provisioner's view, writes only objects that carry its labels."""

    def __init__(self, clock: Clock, view: View, handoff: Handoff, options: ProvisionerOptions) -> None:
        self._clock = clock
        self._view = view
        self._handoff = handoff
        self._options = options
        self._info = DriverInfo()
        # an instance of a node deployment looks after the objects of its own node alone
        self._managed_by = f"{MANAGED_BY}-{options.node}" if options.node else MANAGED_BY
        self._pairs: dict[Pair, None] = {}
        self._next_poll_ns: int | None = None

    def start(self, info: DriverInfo) -> None:
        """The driver is known; a driver without GET_CAPACITY publishes nothing."""
        self._info = info
        if "GET_CAPACITY" in info.controller:
            self._next_poll_ns = self._clock.now_ns() + round(self._options.capacity_poll_interval_s * NS_PER_S)

    @property
    def active(self) -> bool:
        return self._next_poll_ns is not None

    # what has to be looked at

    def observe(self, event: WatchEvent) -> Iterable[WorkItem]:
        """Any change of nodes or classes calls for a plan; an object that somebody removed, for its pair."""
        if not self.active or event.kind not in KINDS:
            return []
        if event.kind != "CSIStorageCapacity":
            return [WorkItem(CAPACITY, PLAN)]
        if not self._is_mine(event.object):
            return []
        if event.change is Change.DELETED:
            pair = _pair_of(event.object)
            return [WorkItem(CAPACITY, pair.key)] if pair in self._pairs else []
        return [WorkItem(CAPACITY, PLAN)] if event.change is Change.ADDED else []

    def poll_at_ns(self) -> int | None:
        return self._next_poll_ns

    def poll(self, now_ns: int) -> list[WorkItem]:
        """Every pair, when the poll interval is over."""
        if self._next_poll_ns is None or now_ns < self._next_poll_ns:
            return []
        self._next_poll_ns = now_ns + round(self._options.capacity_poll_interval_s * NS_PER_S)
        return [WorkItem(CAPACITY, PLAN), *(WorkItem(CAPACITY, pair.key) for pair in self._pairs)]

    def changed(self, pv: PersistentVolume) -> None:
        """A volume came or went: its class in exactly its topologies, or everywhere when it has none."""
        segments = affinity_segments(pv.spec.nodeAffinity if pv.spec else None)
        self._ask(class_of(pv), None if segments is None else set(segments))

    def failed(self, storage_class: str) -> None:
        """A provisioning failed: the whole class."""
        self._ask(storage_class, None)

    def _ask(self, storage_class: str, segments: set[Term] | None) -> None:
        for pair in self._pairs:
            if pair.storage_class == storage_class and (segments is None or pair.segment in segments):
                self._handoff.add(WorkItem(CAPACITY, pair.key))

    # passes

    def work(self, key: str) -> Steps[None]:
        """One pass. Raises ApiError, CsiError."""
        if not self.active:
            return
        if key == PLAN:
            yield from self._plan()
        else:
            yield from self._refresh(Pair.of_key(key))

    def _plan(self) -> Steps[None]:
        wanted = {Pair(segment, name): None for name in self._classes() for segment in self._segments()}
        for pair in wanted:
            if pair not in self._pairs:
                self._handoff.add(WorkItem(CAPACITY, pair.key))
        self._pairs = wanted
        kept: set[Pair] = set()
        for obj in list(self._objects()):
            pair = _pair_of(obj)
            if pair in wanted and pair not in kept:
                kept.add(pair)
                continue
            try:
                yield Delete("CSIStorageCapacity", meta(obj).namespace or "", meta(obj).name or "", uid=uid_of(obj))
            except NotFoundError:
                continue

    def _refresh(self, pair: Pair) -> Steps[None]:
        storage_class: StorageClass | None = self._view.get("StorageClass", "", pair.storage_class)
        if pair not in self._pairs or storage_class is None:
            return
        request = GetCapacityRequest(
            parameters=dict(storage_class.parameters or {}),  # unstripped, unlike in CreateVolume
            accessible_topology=Topology(segments=dict(pair.segment)),
        )
        answer: GetCapacityResponse = yield Call(self._info.name, "GetCapacity", request, timeout_s=self._options.timeout_s)
        capacity = str(Quantity.of_bytes(answer.available_capacity))
        maximum = None if answer.maximum_volume_size is None else str(Quantity.of_bytes(answer.maximum_volume_size))
        owner = self._options.capacity_owner
        owners = [owner] if owner is not None else None
        old = next((obj for obj in self._objects() if _pair_of(obj) == pair), None)
        if old is None:
            made = CSIStorageCapacity(
                apiVersion="storage.k8s.io/v1",
                kind="CSIStorageCapacity",
                metadata=ObjectMeta(
                    generateName="csisc-",
                    namespace=self._options.capacity_namespace,
                    labels={DRIVER_LABEL: self._info.name, MANAGED_BY_LABEL: self._managed_by},
                    ownerReferences=owners,
                ),
                storageClassName=pair.storage_class,
                nodeTopology=LabelSelector(matchLabels=dict(pair.segment) or None),
                capacity=capacity,
                maximumVolumeSize=maximum,
            )
            self._view.put((yield Create(made)))
            return
        if (old.capacity, old.maximumVolumeSize, meta(old).ownerReferences or None) == (capacity, maximum, owners):
            return
        changed = with_metadata(replace(old, capacity=capacity, maximumVolumeSize=maximum), ownerReferences=owners)
        try:
            self._view.put((yield Update(changed)))
        except NotFoundError:
            return  # removed meanwhile; its DELETED event asks for the pair again

    # what there is

    def _is_mine(self, obj: CSIStorageCapacity) -> bool:
        labels = labels_of(obj)
        return labels.get(DRIVER_LABEL) == self._info.name and labels.get(MANAGED_BY_LABEL) == self._managed_by

    def _objects(self) -> Iterable[CSIStorageCapacity]:
        return (obj for obj in self._view.all("CSIStorageCapacity") if self._is_mine(obj))

    def _classes(self) -> Sequence[str]:
        immediate = self._options.capacity_for_immediate_binding
        return [
            meta(item).name or ""
            for item in self._view.all("StorageClass")
            if item.provisioner == self._info.name and (immediate or item.volumeBindingMode == WAIT_FOR_FIRST_CONSUMER)
        ]

    def _segments(self) -> list[Term]:
        """Distinct segments over the nodes the driver is registered on and that have all its keys as labels."""
        found: set[Term] = set()
        for csi_node in self._view.all("CSINode"):
            if not any(row.name == self._info.name for row in csi_node.spec.drivers):
                continue
            if self._options.node not in ("", meta(csi_node).name):
                continue
            keys = keys_of(csi_node, self._info.name)
            node = self._view.get("Node", "", meta(csi_node).name or "")
            labels = labels_of(node) if node is not None else {}
            if not keys:
                found.add(())
            elif all(key in labels for key in keys):
                found.add(make_term({key: labels[key] for key in keys}))
        return sorted(found)


def _pair_of(obj: CSIStorageCapacity) -> Pair:
    labels = (obj.nodeTopology.matchLabels if obj.nodeTopology else None) or {}
    return Pair(make_term(labels), obj.storageClassName)
