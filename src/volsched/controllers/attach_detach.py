"""Attaching volumes to nodes, the cluster's half: which VolumeAttachment objects exist, and what nodes report.

    pod on a node with a bound claim ──> create VolumeAttachment ──attacher──> attached ──> report on the node, tell the pods
    no pod left, node has unmounted  ──> take it off the node's report ──> delete VolumeAttachment ──attacher──> gone

One item is one (node, volume) pair; its facts pick a row of ATTACHMENT_TABLE. Upstream looks at all pairs every 100 ms, detaches first;
here the events of the objects involved start the passes, and the order is kept by the rule that a volume for one node at a time is not
attached while an attachment to another node exists.
Only CSI volumes are attached; a driver whose CSIDriver says attachRequired: false has none of this. Attachments with names that this
controller would not give are left alone. The other half, per driver, is `attacher`.
Source: pkg/controller/volume/attachdetach, pkg/volume/csi/csi_attacher.go; spec/volumes.md 5.
"""

from __future__ import annotations

import enum
import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from lightkube.models.core_v1 import AttachedVolume, Node, NodeStatus, PersistentVolume, PersistentVolumeClaim, Pod
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.models.storage_v1 import CSIDriver, VolumeAttachment, VolumeAttachmentSource, VolumeAttachmentSpec

from volsched.api.edit import is_deleting, replace, uid_of
from volsched.api.kinds import meta
from volsched.api.watch import Change, WatchEvent
from volsched.cache.view import View
from volsched.controllers.agenda import Agenda
from volsched.controllers.claim_users import ClaimUsers, claims_of, is_terminated, names_claim
from volsched.controllers.csi_common import NS_PER_S, amend
from volsched.controllers.decision_table import ANY, DecisionTable
from volsched.errors import AlreadyExistsError, NotFoundError, ReconcileError
from volsched.ports import DONE, Clock, Create, Delete, Done, Emit, QueueSpec, Requeue, Steps, Update, WorkItem

ATTACH_WAIT_NS_MAX: Final = 120 * NS_PER_S
UNMOUNT_WAIT_NS_MAX: Final = 360 * NS_PER_S
OUT_OF_SERVICE: Final = "node.kubernetes.io/out-of-service"
SUCCESSFUL_ATTACH: Final = "SuccessfulAttachVolume"
FAILED_ATTACH: Final = "FailedAttachVolume"
WORKERS: Final = 10

_OWN_NAME: Final = re.compile(r"csi-[0-9a-f]{64}")
_SHARED_MODES: Final = frozenset({"ReadWriteMany", "ReadOnlyMany"})


def attachment_name(handle: str, driver: str, node: str) -> str:
    """Name of the VolumeAttachment of a volume on a node."""
    return "csi-" + hashlib.sha256(f"{handle}{driver}{node}".encode()).hexdigest()


def unique_volume_name(driver: str, handle: str) -> str:
    """How a node's status names a CSI volume."""
    return f"kubernetes.io/csi/{driver}^{handle}"


def requires_attach(driver: CSIDriver | None) -> bool:
    """Whether volumes of a driver are attached; unless its CSIDriver says no, they are."""
    return driver is None or driver.spec is None or driver.spec.attachRequired is not False


def in_use_on(node: Node | None) -> frozenset[str]:
    """Volumes that a node's kubelet says it uses, by unique name."""
    return frozenset((node.status.volumesInUse if node and node.status else None) or ())


def attached_on(node: Node | None) -> tuple[str, ...]:
    """Volumes reported as attached on a node, by unique name."""
    return tuple(entry.name for entry in (node.status.volumesAttached if node and node.status else None) or ())


class AttachmentRow(enum.Enum):
    """What one pass over a (node, volume) pair does."""

    CREATE = "wanted, no attachment: create it"
    WAIT_FOR_OTHER = "wanted, but still attached elsewhere and for one node only: say so once"
    WAIT_FOR_END = "wanted, its old attachment is being deleted"
    WAIT_FOR_ATTACH = "wanted, not attached yet: the attacher works on it"
    FAILED = "wanted, the attacher reports an error: tell the pods"
    REPORT = "wanted and attached: report it on the node, tell the pods"
    STEADY = "wanted, attached and reported"
    WAIT_FOR_UNMOUNT = "not wanted, the node still uses it"
    DETACH = "not wanted: take it off the report, delete the attachment"
    WAIT_FOR_DETACH = "not wanted, the attacher detaches it"
    CLEAN_REPORT = "not wanted, no attachment, still reported"
    NOTHING = "not wanted, no attachment"


class AttachmentFacts(NamedTuple):
    """The conditions of the table."""

    wanted: bool  # the node exists, a pod that has not ended is on it, and the volume is attachable
    exists: bool
    deleting: bool
    attached: bool
    failed: bool  # status.attachError
    elsewhere: bool  # for one node at a time, and an attachment to another node exists
    held: bool  # the node uses it, and there is no reason to detach by force
    reported: bool  # node.status.volumesAttached


_Y, _N, _x = True, False, ANY
# fmt: off
ATTACHMENT_TABLE: Final = DecisionTable[AttachmentRow](dict.fromkeys(AttachmentFacts._fields, (False, True)), (
    #                               want exist del  attd fail else held rep
    (AttachmentRow.CREATE,          (_Y, _N,   _x,  _x,  _x,  _N,  _x,  _x)),
    (AttachmentRow.WAIT_FOR_OTHER,  (_Y, _N,   _x,  _x,  _x,  _Y,  _x,  _x)),
    (AttachmentRow.WAIT_FOR_END,    (_Y, _Y,   _Y,  _x,  _x,  _x,  _x,  _x)),
    (AttachmentRow.WAIT_FOR_ATTACH, (_Y, _Y,   _N,  _N,  _N,  _x,  _x,  _x)),
    (AttachmentRow.FAILED,          (_Y, _Y,   _N,  _N,  _Y,  _x,  _x,  _x)),
    (AttachmentRow.REPORT,          (_Y, _Y,   _N,  _Y,  _x,  _x,  _x,  _N)),
    (AttachmentRow.STEADY,          (_Y, _Y,   _N,  _Y,  _x,  _x,  _x,  _Y)),
    (AttachmentRow.WAIT_FOR_UNMOUNT, (_N, _Y,  _N,  _x,  _x,  _x,  _Y,  _x)),
    (AttachmentRow.DETACH,          (_N, _Y,   _N,  _x,  _x,  _x,  _N,  _x)),
    (AttachmentRow.WAIT_FOR_DETACH, (_N, _Y,   _Y,  _x,  _x,  _x,  _x,  _x)),
    (AttachmentRow.CLEAN_REPORT,    (_N, _N,   _x,  _x,  _x,  _x,  _x,  _Y)),
    (AttachmentRow.NOTHING,         (_N, _N,   _x,  _x,  _x,  _x,  _x,  _N)),
))
# fmt: on


@dataclass(frozen=True, slots=True)
class Case:
    """One pair with what its facts were drawn from."""

    item: WorkItem
    node_name: str
    volume_name: str
    node: Node | None
    volume: PersistentVolume | None
    attachment: VolumeAttachment | None
    pods: tuple[Pod, ...]  # that want it on this node
    facts: AttachmentFacts

    @property
    def unique_name(self) -> str:
        """The volume's name in node status; empty when the volume is gone and nothing tells its handle any more."""
        csi = self.volume.spec.csi if self.volume and self.volume.spec else None
        return unique_volume_name(csi.driver, csi.volumeHandle) if csi else ""


def _pair(node: str, volume: str) -> WorkItem:
    return WorkItem("attachments", f"{node}/{volume}")


class AttachDetach:
    """kube-controller-manager's attach/detach controller."""

    name: str = "kube-controller-manager"
    component: str = "attachdetach-controller"
    kinds: frozenset[str] = frozenset({"Pod", "PersistentVolumeClaim", "PersistentVolume", "Node", "CSIDriver", "VolumeAttachment"})
    queues: Mapping[str, QueueSpec] = {"attachments": QueueSpec(workers=WORKERS, backoff_s=0.5, backoff_s_max=122.0)}
    resync_s: float | None = None

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._view = View(self.kinds)
        self._users = ClaimUsers()
        self._agenda = Agenda(clock)
        self._by_volume: dict[str, dict[str, None]] = {}  # volume -> names of its attachments
        self._by_node: dict[str, dict[str, None]] = {}
        self._lost_nodes: dict[str, frozenset[str]] = {}  # deleted nodes: what they used last
        self._attaching_ns: dict[WorkItem, int] = {}  # since when a pair waits to be attached
        self._unmounting_ns: dict[WorkItem, int] = {}  # since when it waits for the node to let go
        self._told: dict[WorkItem, Any] = {}  # what the pods of a pair were last told
        self._actions: Final[Mapping[AttachmentRow, Callable[[Case], Steps[None]]]] = {
            AttachmentRow.CREATE: self._create,
            AttachmentRow.WAIT_FOR_OTHER: self._wait_for_other,
            AttachmentRow.WAIT_FOR_END: self._forget,
            AttachmentRow.WAIT_FOR_ATTACH: self._wait_for_attach,
            AttachmentRow.FAILED: self._failed,
            AttachmentRow.REPORT: self._report,
            AttachmentRow.STEADY: self._forget,
            AttachmentRow.WAIT_FOR_UNMOUNT: self._wait_for_unmount,
            AttachmentRow.DETACH: self._detach,
            AttachmentRow.WAIT_FOR_DETACH: self._forget,
            AttachmentRow.CLEAN_REPORT: self._clean_report,
            AttachmentRow.NOTHING: self._forget,
        }

    def start(self) -> Steps[None]:
        yield from ()

    # events

    def observe(self, event: WatchEvent) -> Iterable[WorkItem]:
        old, taken = self._view.observe(event)
        if not taken:
            return []
        seen = [obj for obj in (old, event.object) if obj is not None]
        items: dict[WorkItem, None] = {}
        pairs: Iterable[WorkItem]
        if event.kind == "Pod":
            self._users.observe(event)
            pairs = (pair for pod in seen for pair in self._pairs_of_pod(pod))
        elif event.kind == "PersistentVolumeClaim":
            pairs = (pair for claim in seen for pair in self._pairs_of_volume((claim.spec.volumeName if claim.spec else None) or ""))
        elif event.kind == "PersistentVolume":
            pairs = (pair for volume in seen for pair in self._pairs_of_volume(meta(volume).name or "", volume))
        elif event.kind == "VolumeAttachment":
            self._index(event)
            pairs = (pair for name in dict.fromkeys(map(_source_volume, seen)) for pair in self._pairs_of_volume(name))
            items.update(dict.fromkeys(_pair(obj.spec.nodeName, _source_volume(obj)) for obj in seen))
        elif event.kind == "Node":
            pairs = self._pairs_of_node(event)
        else:
            pairs = (pair for volume in self._view.all("PersistentVolume") for pair in self._pairs_of_driver(volume, event.key.name))
        items.update(dict.fromkeys(pairs))
        return list(items)

    def _pairs_of_pod(self, pod: Pod) -> Iterator[WorkItem]:
        node = (pod.spec.nodeName if pod.spec else None) or ""
        if not node:
            return
        for name in claims_of(pod):
            claim: PersistentVolumeClaim | None = self._view.get("PersistentVolumeClaim", meta(pod).namespace or "default", name)
            volume = (claim.spec.volumeName if claim and claim.spec else None) or ""
            if volume:
                yield _pair(node, volume)

    def _pairs_of_volume(self, name: str, volume: PersistentVolume | None = None) -> Iterator[WorkItem]:
        """The nodes where a volume has an attachment or pods."""
        if not name:
            return
        for attachment in sorted(self._by_volume.get(name, ())):
            found: VolumeAttachment | None = self._view.get("VolumeAttachment", "", attachment)
            if found is not None:
                yield _pair(found.spec.nodeName, name)
        for pod in self._pods_of(volume or self._view.get("PersistentVolume", "", name)):
            yield _pair(pod.spec.nodeName if pod.spec and pod.spec.nodeName else "", name)

    def _pairs_of_driver(self, volume: PersistentVolume, driver: str) -> Iterator[WorkItem]:
        csi = volume.spec.csi if volume.spec else None
        if csi is not None and csi.driver == driver:
            yield from self._pairs_of_volume(meta(volume).name or "", volume)

    def _pairs_of_node(self, event: WatchEvent) -> Iterator[WorkItem]:
        name = event.key.name
        if event.change is Change.DELETED:
            self._lost_nodes[name] = in_use_on(event.object)
        else:
            self._lost_nodes.pop(name, None)
        for attachment in sorted(self._by_node.get(name, ())):
            found: VolumeAttachment | None = self._view.get("VolumeAttachment", "", attachment)
            if found is not None:
                yield _pair(name, _source_volume(found))

    def _index(self, event: WatchEvent) -> None:
        attachment: VolumeAttachment = event.object
        name = event.key.name
        for index, key in ((self._by_volume, _source_volume(attachment)), (self._by_node, attachment.spec.nodeName)):
            if event.change is Change.DELETED:
                index.get(key, {}).pop(name, None)
                if not index.get(key):
                    index.pop(key, None)
            else:
                index.setdefault(key, {})[name] = None

    def _pods_of(self, volume: PersistentVolume | None) -> Iterator[Pod]:
        """Scheduled pods that have not ended and whose claim is bound to the volume."""
        reference = volume.spec.claimRef if volume is not None and volume.spec is not None else None
        if volume is None or reference is None:
            return
        claim: PersistentVolumeClaim | None = self._view.get("PersistentVolumeClaim", reference.namespace or "", reference.name or "")
        if claim is None or uid_of(claim) != reference.uid:
            return
        bound = (claim.status.phase if claim.status else None) == "Bound" and claim.spec and claim.spec.volumeName == meta(volume).name
        if not bound:
            return
        for pod in self._users.of(reference.namespace or "", reference.name or ""):
            if pod.spec and pod.spec.nodeName and not is_terminated(pod) and names_claim(pod, claim):
                yield pod

    # passes

    def work(self, item: WorkItem) -> Steps[Done | Requeue]:
        case = self.examine(item)
        yield from self._actions[ATTACHMENT_TABLE.decide(**case.facts._asdict())](case)
        return DONE

    def examine(self, item: WorkItem) -> Case:
        """Facts of a pair."""
        node_name, _, volume_name = item.key.partition("/")
        node: Node | None = self._view.get("Node", "", node_name)
        volume: PersistentVolume | None = self._view.get("PersistentVolume", "", volume_name)
        csi = volume.spec.csi if volume is not None and volume.spec is not None else None
        pods: tuple[Pod, ...] = ()
        if csi is not None and requires_attach(self._view.get("CSIDriver", "", csi.driver)):
            pods = tuple(pod for pod in self._pods_of(volume) if pod.spec and pod.spec.nodeName == node_name)
        attachment = self._attachment(node_name, volume_name, volume)
        status = attachment.status if attachment else None
        unique = unique_volume_name(csi.driver, csi.volumeHandle) if csi else ""
        used = unique in in_use_on(node) or unique in self._lost_nodes.get(node_name, ())
        facts = AttachmentFacts(
            wanted=bool(pods) and node is not None,
            exists=attachment is not None,
            deleting=attachment is not None and is_deleting(attachment),
            attached=status is not None and status.attached,
            failed=status is not None and status.attachError is not None,
            elsewhere=bool(self._elsewhere(node_name, volume_name, volume)),
            held=used and not self._by_force(item, node),
            reported=unique in attached_on(node),
        )
        return Case(item, node_name, volume_name, node, volume, attachment, pods, facts)

    def _attachment(self, node: str, name: str, volume: PersistentVolume | None) -> VolumeAttachment | None:
        """The pair's attachment, if it has the name that this controller gives. A volume that is gone has left no handle to derive it."""
        csi = volume.spec.csi if volume is not None and volume.spec is not None else None
        if csi is not None:
            found: VolumeAttachment | None = self._view.get("VolumeAttachment", "", attachment_name(csi.volumeHandle, csi.driver, node))
            return found
        own = [entry for entry in self._by_volume.get(name, ()) if entry in self._by_node.get(node, ()) and _OWN_NAME.fullmatch(entry)]
        return self._view.get("VolumeAttachment", "", min(own)) if own else None

    def _elsewhere(self, node: str, name: str, volume: PersistentVolume | None) -> list[VolumeAttachment]:
        """Attachments of a volume for one node at a time to other nodes, those under way included."""
        if volume is None or volume.spec is None or _SHARED_MODES & set(volume.spec.accessModes or ()):
            return []
        found = [self._view.get("VolumeAttachment", "", entry) for entry in sorted(self._by_volume.get(name, ()))]
        return [entry for entry in found if entry is not None and entry.spec.nodeName != node]

    def _by_force(self, item: WorkItem, node: Node | None) -> bool:
        """Whether a volume is detached although the node uses it: out of service, or unhealthy and 6 minutes have passed."""
        if node is not None and any(taint.key == OUT_OF_SERVICE for taint in (node.spec.taints if node.spec else None) or ()):
            return True
        since = self._unmounting_ns.get(item)
        return since is not None and self._clock.now_ns() - since >= UNMOUNT_WAIT_NS_MAX and not is_ready(node)

    def _forget(self, case: Case) -> Steps[None]:
        self._attaching_ns.pop(case.item, None)
        self._unmounting_ns.pop(case.item, None)
        self._told.pop(case.item, None)
        yield from ()

    # wanted

    def _create(self, case: Case) -> Steps[None]:
        yield from self._forget(case)
        csi = case.volume.spec.csi if case.volume and case.volume.spec else None
        assert csi is not None  # wanted
        made = VolumeAttachment(
            apiVersion="storage.k8s.io/v1",
            kind="VolumeAttachment",
            metadata=ObjectMeta(name=attachment_name(csi.volumeHandle, csi.driver, case.node_name)),
            spec=VolumeAttachmentSpec(
                attacher=csi.driver,
                nodeName=case.node_name,
                source=VolumeAttachmentSource(persistentVolumeName=case.volume_name),
            ),
        )
        try:
            yield Create(made)  # its event brings it into the view and its indexes
        except AlreadyExistsError:
            return

    def _wait_for_other(self, case: Case) -> Steps[None]:
        blocking = self._elsewhere(case.node_name, case.volume_name, case.volume)
        if self._told.get(case.item) == "elsewhere":
            return
        self._told[case.item] = "elsewhere"
        nodes = {entry.spec.nodeName for entry in blocking}
        others = [meta(pod).name or "" for pod in self._pods_of(case.volume) if pod.spec and pod.spec.nodeName in nodes]
        reason = (
            f"Volume is already used by pod(s) {', '.join(others)}"
            if others
            else "Volume is already exclusively attached to one node and can't be attached to another"
        )
        for pod in case.pods:
            yield Emit(pod, "Warning", FAILED_ATTACH, f'Waiting for detach for volume "{case.volume_name}" {reason}')

    def _wait_for_attach(self, case: Case) -> Steps[None]:
        now = self._clock.now_ns()
        self._unmounting_ns.pop(case.item, None)
        since = self._attaching_ns.setdefault(case.item, now)
        if now - since >= ATTACH_WAIT_NS_MAX:
            csi = case.volume.spec.csi if case.volume and case.volume.spec else None
            assert csi is not None  # wanted
            text = f"timed out waiting for external-attacher of {csi.driver} CSI driver to attach volume {csi.volumeHandle}"
            yield from self._tell_failure(case, text)
            self._attaching_ns[case.item] = since = now
        self._agenda.at(case.item, since + ATTACH_WAIT_NS_MAX)

    def _failed(self, case: Case) -> Steps[None]:
        error = case.attachment.status.attachError if case.attachment and case.attachment.status else None
        assert error is not None  # a condition of the row
        if self._told.get(case.item) != error:
            self._told[case.item] = error
            yield from self._tell_failure(case, error.message or "")

    def _tell_failure(self, case: Case, text: str) -> Steps[None]:
        for pod in case.pods:
            yield Emit(pod, "Warning", FAILED_ATTACH, f'AttachVolume.Attach failed for volume "{case.volume_name}" : {text}')

    def _report(self, case: Case) -> Steps[None]:
        yield from self._forget(case)
        assert case.node is not None  # wanted
        for pod in case.pods:
            yield Emit(pod, "Normal", SUCCESSFUL_ATTACH, f'AttachVolume.Attach succeeded for volume "{case.volume_name}" ')
        yield from self._write_report(case.node, add=case.unique_name)

    # not wanted

    def _wait_for_unmount(self, case: Case) -> Steps[None]:
        self._attaching_ns.pop(case.item, None)
        self._told.pop(case.item, None)
        since = self._unmounting_ns.setdefault(case.item, self._clock.now_ns())
        if self._clock.now_ns() < since + UNMOUNT_WAIT_NS_MAX:
            self._agenda.at(case.item, since + UNMOUNT_WAIT_NS_MAX)
        yield from ()

    def _detach(self, case: Case) -> Steps[None]:
        # a kubelet that has just begun to use the volume again is seen here, not in the own view: its node's write made this one fail
        yield from self._clean_report(case, unless_used=not self._by_force(case.item, case.node))
        attachment = case.attachment
        assert attachment is not None  # a condition of the row
        try:
            self._view.put((yield Delete("VolumeAttachment", "", meta(attachment).name or "", uid=uid_of(attachment))))
        except NotFoundError:
            return

    def _clean_report(self, case: Case, *, unless_used: bool = False) -> Steps[None]:
        # the report goes first: from now on no kubelet starts to use the volume
        if case.node is not None and case.facts.reported:
            yield from self._write_report(case.node, remove=case.unique_name, unless_used=unless_used)
        yield from self._forget(case)

    def _write_report(self, node: Node, *, add: str = "", remove: str = "", unless_used: bool = False) -> Steps[None]:
        def change(current: Node) -> Update | None:
            if unless_used and remove in in_use_on(current):
                raise ReconcileError(f"node {meta(current).name} uses volume {remove} again")
            present = attached_on(current)
            names = [name for name in present if name != remove] + ([add] if add and add not in present else [])
            if names == list(present):
                return None
            entries = [AttachedVolume(name=name, devicePath="") for name in names]
            return Update(replace(current, status=replace(current.status or NodeStatus(), volumesAttached=entries or None)), "status")

        try:
            self._view.put((yield from amend(node, change)))
        except NotFoundError:
            return  # a node that is gone reports nothing

    def resync(self) -> Iterable[WorkItem]:
        return ()

    def wake_at_ns(self) -> int | None:
        return self._agenda.next_ns()

    def wake(self, now_ns: int) -> Iterable[WorkItem]:
        return self._agenda.take(now_ns)


def _source_volume(attachment: VolumeAttachment) -> str:
    return attachment.spec.source.persistentVolumeName or ""


def is_ready(node: Node | None) -> bool:
    """Whether a node exists and its Ready condition is True."""
    conditions = (node.status.conditions if node is not None and node.status is not None else None) or []
    return any(entry.type == "Ready" and entry.status == "True" for entry in conditions)
