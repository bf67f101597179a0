"""Kubelets: pods that have a node become Running once their volumes are there, and leave once those are gone.

    pod bound ──> claims checked ──> in use, attached ──> NodeStageVolume ──> NodePublishVolume ──> Running
    pod deleted or ended ──> NodeUnpublishVolume ──> NodeUnstageVolume with the last pod ──> not in use ──> pod removed

`Kubelet` does this for all nodes in one object; an item is one incarnation of a pod. Which drivers a node has is what its CSINode says.
A node without a Node object, or whose Ready condition is not True, has no kubelet. Mounts are recorded in NodeDisks before they are made;
`kubelet_mounter` makes the calls, `kubelet_volumes` holds the checks, and `InstantKubelet` is a kubelet without volumes.
Containers are not simulated: they run from the moment the volumes are mounted until the pod is deleted.
Source: pkg/kubelet/{kubelet,pod_workers}.go, pkg/kubelet/volumemanager, pkg/volume/csi; spec/volumes.md 5.
"""

from __future__ import annotations

import datetime
import enum
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final, NamedTuple

from lightkube.models.core_v1 import Node, NodeStatus, Pod, PodStatus
from lightkube.models.storage_v1 import VolumeAttachment

from volsched.api.edit import is_deleting, replace, uid_of
from volsched.api.kinds import key_of
from volsched.api.watch import Change, WatchEvent
from volsched.cache.view import View
from volsched.controllers.attach_detach import attached_on, attachment_name, in_use_on, requires_attach, unique_volume_name
from volsched.controllers.claim_users import ClaimUsers
from volsched.controllers.csi_common import NS_PER_S, Handoff, amend, time_of
from volsched.controllers.decision_table import ANY, DecisionTable
from volsched.controllers.kubelet_expansion import Expander, awaits_node
from volsched.controllers.kubelet_instant import InstantKubelet
from volsched.controllers.kubelet_mounter import FAILED_MOUNT, Mounter, device_of, devices_of
from volsched.controllers.kubelet_mounts import DEFAULT_ROOT, Device, NodeDisks, publish_path, staging_path
from volsched.controllers.kubelet_status import creating_status, running_status
from volsched.controllers.kubelet_volumes import CsiVolume, Problem, volumes_of
from volsched.errors import NotFoundError
from volsched.ports import DONE, Clock, Delete, Done, Emit, QueueSpec, Read, Requeue, Steps, Update, WorkItem
from volsched.rules.volumes import pod_terminated

MOUNT_WAIT_NS_MAX: Final = 123 * NS_PER_S
SYNC_RETRY_S: Final = 10.0
BUSY_RETRY_S: Final = 0.1
WORKERS: Final = 100


class PodRow(enum.Enum):
    """What one pass over an incarnation of a pod does."""

    NOWHERE = "on no node"
    AWAY = "its node has no kubelet"
    START = "make it run"
    STEADY = "runs: expand what has grown"
    STOP = "being deleted: unmount, remove it"
    CLEAN = "has ended: unmount"
    ENDED = "has ended, nothing mounted"
    ORPHAN = "does not exist any more: unmount"
    GONE = "does not exist any more, nothing mounted"


class PodFacts(NamedTuple):
    """The conditions of the table."""

    placed: bool  # has a node, or had one and left mounts there
    served: bool  # the node's kubelet is there
    exists: bool
    deleting: bool
    ended: bool
    running: bool
    mounted: bool


_Y, _N, _x = True, False, ANY
# fmt: off
POD_TABLE: Final = DecisionTable[PodRow](dict.fromkeys(PodFacts._fields, (False, True)), (
    #                placed served exists deleting ended running mounted
    (PodRow.NOWHERE, (_N,   _x,    _x,    _x,      _x,   _x,     _x)),
    (PodRow.AWAY,    (_Y,   _N,    _x,    _x,      _x,   _x,     _x)),
    (PodRow.START,   (_Y,   _Y,    _Y,    _N,      _N,   _N,     _x)),
    (PodRow.STEADY,  (_Y,   _Y,    _Y,    _N,      _N,   _Y,     _x)),
    (PodRow.STOP,    (_Y,   _Y,    _Y,    _Y,      _x,   _x,     _x)),
    (PodRow.CLEAN,   (_Y,   _Y,    _Y,    _N,      _Y,   _x,     _Y)),
    (PodRow.ENDED,   (_Y,   _Y,    _Y,    _N,      _Y,   _x,     _N)),
    (PodRow.ORPHAN,  (_Y,   _Y,    _N,    _x,      _x,   _x,     _Y)),
    (PodRow.GONE,    (_Y,   _Y,    _N,    _x,      _x,   _x,     _N)),
))
# fmt: on


class Incarnation(NamedTuple):
    """One pod by uid; `pod` is None once it does not exist any more."""

    item: WorkItem
    uid: str
    pod: Pod | None
    node: str

    @property
    def living(self) -> Pod:
        """The pod, in rows where it exists."""
        assert self.pod is not None
        return self.pod


def _item(pod: Pod) -> WorkItem:
    key = key_of(pod)
    return WorkItem("pods", f"{key.namespace}/{key.name}/{uid_of(pod)}")


def _is_running(pod: Pod) -> bool:
    return (pod.status.phase if pod.status else None) == "Running"


def serves(node: Node | None) -> bool:
    """Whether a node's kubelet is there: the node exists and is not known to be anything but Ready."""
    if node is None:
        return False
    conditions = (node.status.conditions if node.status else None) or []
    return all(entry.status == "True" for entry in conditions if entry.type == "Ready")


class Kubelet:
    """The kubelets of all nodes."""

    name: str = "kubelet"
    component: str = "kubelet"
    kinds: frozenset[str] = frozenset(
        {"Pod", "PersistentVolumeClaim", "PersistentVolume", "Node", "CSINode", "CSIDriver", "VolumeAttachment"}
    )
    queues: Mapping[str, QueueSpec] = {
        "pods": QueueSpec(workers=WORKERS, backoff_s=0.5, backoff_s_max=122.0),
        "nodes": QueueSpec(workers=WORKERS),
    }
    resync_s: float | None = None

    def __init__(self, clock: Clock, *, root: str = DEFAULT_ROOT, disks: NodeDisks | None = None) -> None:
        """root: the kubelets' directory, `{node}` in it becomes the node's name. disks: those of an earlier process."""
        self._clock = clock
        self._disks = NodeDisks() if disks is None else disks
        self._view = View(self.kinds)
        self._users = ClaimUsers()
        self._mounter = Mounter(self._view, self._disks, root)
        self._expander = Expander(clock, self._view, self._mounter)
        self._pods_by_node: dict[str, dict[tuple[str, str], None]] = {}
        self._waiting: dict[str, dict[WorkItem, int]] = {}  # node -> pods that wait for something, since when
        self._handoff = Handoff()
        self._unmounted: set[str] = set()  # uids of pods whose volumes this process has unmounted for good
        self._actions: Final[Mapping[PodRow, Callable[[Incarnation], Steps[Done | Requeue]]]] = {
            PodRow.NOWHERE: self._leave,
            PodRow.AWAY: self._leave,
            PodRow.START: self._start_pod,
            PodRow.STEADY: self._serve,
            PodRow.STOP: self._stop,
            PodRow.CLEAN: self._clean,
            PodRow.ENDED: self._rest,
            PodRow.ORPHAN: self._clean_orphan,
            PodRow.GONE: self._leave,
        }

    def start(self) -> Steps[None]:
        yield from ()

    # events

    def observe(self, event: WatchEvent) -> Iterable[WorkItem]:
        old, taken = self._view.observe(event)
        if not taken:
            return
        obj, name = event.object, event.key.name
        if event.kind == "Pod":
            self._users.observe(event)
            self._index(old, event)
            if old is not None and uid_of(old) != uid_of(obj):
                yield _item(old)
            yield _item(obj)
            if event.change is Change.DELETED:
                self._unmounted.discard(uid_of(obj))
                yield from self._forget(obj)
        elif event.kind == "Node":
            yield WorkItem("nodes", name)
            if serves(obj) and not serves(old):
                yield from map(_item, self._pods_on(name))
                yield from (WorkItem("pods", "/".join(pod)) for pod in self._disks.pods_on(name))
            yield from self._waiting.get(name, ())
        elif event.kind == "CSINode":
            yield from self._waiting.get(name, ())
        elif event.kind == "VolumeAttachment":
            yield from self._waiting.get(obj.spec.nodeName, ())
        elif event.kind == "PersistentVolumeClaim":
            yield from self._waiting_for_claim(event.key.namespace, name)
            if awaits_node(obj):
                yield from (_item(pod) for pod in self._users.of(event.key.namespace, name) if _is_running(pod))
        elif event.kind == "PersistentVolume":
            reference = obj.spec.claimRef if obj.spec else None
            if reference is not None:
                yield from self._waiting_for_claim(reference.namespace or "", reference.name or "")
        else:
            yield from (item for items in self._waiting.values() for item in items)

    def _forget(self, pod: Pod) -> Iterator[WorkItem]:
        """A pod that is gone waits for nothing, and what was reported in use for it may not be: it need not have mounted anything."""
        node = (pod.spec.nodeName if pod.spec else None) or ""
        waiting = self._waiting.get(node)
        if waiting is not None:
            waiting.pop(_item(pod), None)
            if not waiting:
                del self._waiting[node]
        if node:
            yield WorkItem("nodes", node)

    def _index(self, old: Pod | None, event: WatchEvent) -> None:
        place = (event.key.namespace, event.key.name)
        for pod, present in ((old, False), (event.object, event.change is not Change.DELETED)):
            node = (pod.spec.nodeName if pod is not None and pod.spec else None) or ""
            if node and present:
                self._pods_by_node.setdefault(node, {})[place] = None
            elif node:
                self._pods_by_node.get(node, {}).pop(place, None)

    def _pods_on(self, node: str) -> Iterator[Pod]:
        """Pods of a node, in order of namespace and name."""
        for namespace, name in sorted(self._pods_by_node.get(node, ())):
            pod: Pod | None = self._view.get("Pod", namespace, name)
            if pod is not None:
                yield pod

    def _waiting_for_claim(self, namespace: str, name: str) -> Iterator[WorkItem]:
        for pod in self._users.of(namespace, name):
            node = (pod.spec.nodeName if pod.spec else None) or ""
            if _item(pod) in self._waiting.get(node, ()):
                yield _item(pod)

    # passes

    def work(self, item: WorkItem) -> Steps[Done | Requeue]:
        if item.queue == "nodes":
            yield from self._settle_in_use(item.key)
            return DONE
        subject = self._incarnation(item)
        return (yield from self._actions[self._row(subject)](subject))

    def _incarnation(self, item: WorkItem) -> Incarnation:
        namespace, name, uid = item.key.split("/", 2)
        pod: Pod | None = self._view.get("Pod", namespace, name)
        if pod is not None and uid_of(pod) != uid:
            pod = None
        node = (pod.spec.nodeName if pod and pod.spec else None) or self._disks.node_of(uid)
        return Incarnation(item, uid, pod, node)

    def _row(self, subject: Incarnation) -> PodRow:
        pod = subject.pod
        return POD_TABLE.decide(
            **PodFacts(
                placed=bool(subject.node),
                served=serves(self._view.get("Node", "", subject.node)),
                exists=pod is not None,
                deleting=pod is not None and is_deleting(pod),
                ended=pod is not None and pod_terminated(pod),
                running=pod is not None and _is_running(pod),
                mounted=bool(self._disks.of(subject.uid)),
            )._asdict()
        )

    def _leave(self, subject: Incarnation) -> Steps[Done | Requeue]:
        self._stop_waiting(subject)
        yield from ()
        return DONE

    def _rest(self, subject: Incarnation) -> Steps[Done | Requeue]:
        """A pod may end before it has mounted anything, or all of it: what was reported in use for it no longer is."""
        self._stop_waiting(subject)
        yield from self._settle_in_use(subject.node)
        return DONE

    def _adopt(self, subject: Incarnation) -> Steps[Done | Requeue]:
        """A running pod that the disks know nothing of was started by a kubelet whose disk is lost: its mounts are where they must be."""
        self._stop_waiting(subject)
        if not self._disks.of(subject.uid):
            for mount in self._mounter.expected(subject.living, subject.node):
                self._disks.add(subject.uid, mount)
        yield from ()
        return DONE

    def _serve(self, subject: Incarnation) -> Steps[Done | Requeue]:
        """A running pod: file systems of its volumes follow them."""
        yield from self._adopt(subject)
        for volume in volumes_of(subject.living, self._view):
            if isinstance(volume, CsiVolume) and self._expander.is_due(subject.node, volume):
                if self._mounter.is_busy(device_of(subject.node, volume)):
                    return Requeue(after_s=BUSY_RETRY_S)
                yield from self._expander.expand(subject.living, subject.node, volume, starting=False)
        return DONE

    # start

    def _start_pod(self, subject: Incarnation) -> Steps[Done | Requeue]:
        pod = subject.living
        found = list(volumes_of(pod, self._view))
        problems = [entry for entry in found if isinstance(entry, Problem)]
        volumes = [entry for entry in found if isinstance(entry, CsiVolume)]
        if problems:
            return (yield from self._report_problems(subject, problems))
        if volumes and not (pod.status and pod.status.containerStatuses):
            pod = yield from self._write_status(pod, creating_status(pod, self._now()))
            subject = subject._replace(pod=pod)
        unattached = yield from self._unattached(subject, volumes)
        if unattached:
            return (yield from self._wait_for_attach(subject, unattached))
        for volume in volumes:
            if self._mounter.is_busy(device_of(subject.node, volume)):
                return Requeue(after_s=BUSY_RETRY_S)
            yield from self._mounter.mount(pod, subject.node, volume, self._publish_context(subject.node, volume))
            if self._expander.is_due(subject.node, volume):
                yield from self._expander.expand(pod, subject.node, volume, starting=True)
        self._stop_waiting(subject)
        yield from self._write_status(pod, running_status(pod, self._now()))
        return DONE

    def _now(self) -> datetime.datetime:
        return time_of(self._clock.now_ns())

    def _write_status(self, pod: Pod, status: PodStatus) -> Steps[Pod]:
        saved: Pod = yield Update(replace(pod, status=status), "status")
        self._view.put(saved)
        return saved

    def _report_problems(self, subject: Incarnation, problems: list[Problem]) -> Steps[Done | Requeue]:
        names = " ".join(problem.name for problem in problems)
        causes = "; ".join(problem.text for problem in problems)
        self._waiting.setdefault(subject.node, {}).setdefault(subject.item, self._clock.now_ns())
        text = f"unmounted volumes=[{names}], unattached volumes=[], failed to process volumes=[{names}]: {causes}"
        yield self._mount_event(subject, text)
        return Requeue(after_s=SYNC_RETRY_S)

    @staticmethod
    def _mount_event(subject: Incarnation, text: str) -> Emit:
        return Emit(subject.living, "Warning", FAILED_MOUNT, f"Unable to attach or mount volumes: {text}")

    def _unattached(self, subject: Incarnation, volumes: list[CsiVolume]) -> Steps[list[CsiVolume]]:
        """Volumes that still have to be attached. They are reported in use first: nobody detaches a volume in use."""
        wanted = [entry for entry in volumes if self._is_attachable(entry)]
        if not wanted:
            return []
        names = {unique_volume_name(entry.driver, entry.handle) for entry in wanted}
        node: Node | None = self._view.get("Node", "", subject.node)
        assert node is not None  # served
        if not names <= in_use_on(node):

            def change(current: Node) -> Update | None:
                present = list((current.status.volumesInUse if current.status else None) or ())
                added = sorted(names - set(present))
                status = replace(current.status or NodeStatus(), volumesInUse=present + added)
                return Update(replace(current, status=status), "status") if added else None

            node = yield from amend(node, change)
            self._view.put(node)
        attached = attached_on(node)
        return [
            entry
            for entry in wanted
            if unique_volume_name(entry.driver, entry.handle) not in attached or self._attachment(subject.node, entry) is None
        ]

    def _is_attachable(self, volume: CsiVolume) -> bool:
        return volume.volume is not None and requires_attach(self._view.get("CSIDriver", "", volume.driver))

    def _attachment(self, node: str, volume: CsiVolume) -> VolumeAttachment | None:
        """The volume's attachment to the node once it is attached."""
        found: VolumeAttachment | None = self._view.get("VolumeAttachment", "", attachment_name(volume.handle, volume.driver, node))
        return found if found is not None and found.status is not None and found.status.attached and not is_deleting(found) else None

    def _publish_context(self, node: str, volume: CsiVolume) -> Mapping[str, str]:
        """What ControllerPublishVolume answered, for volumes that are attached."""
        attachment = self._attachment(node, volume) if self._is_attachable(volume) else None
        return (attachment.status.attachmentMetadata if attachment is not None and attachment.status is not None else None) or {}

    def _wait_for_attach(self, subject: Incarnation, unattached: list[CsiVolume]) -> Steps[Done | Requeue]:
        now = self._clock.now_ns()
        since = self._waiting.setdefault(subject.node, {}).setdefault(subject.item, now)
        if now - since >= MOUNT_WAIT_NS_MAX:
            names = " ".join(entry.name for entry in unattached)
            text = f"unmounted volumes=[{names}], unattached volumes=[{names}], failed to process volumes=[]: context deadline exceeded"
            yield self._mount_event(subject, text)
            self._waiting[subject.node][subject.item] = since = now
        return Requeue(after_s=(since + MOUNT_WAIT_NS_MAX - now) / NS_PER_S)

    def _stop_waiting(self, subject: Incarnation) -> None:
        waiting = self._waiting.get(subject.node)
        if waiting is not None:
            waiting.pop(subject.item, None)
            if not waiting:
                del self._waiting[subject.node]

    # unmount

    def _stop(self, subject: Incarnation) -> Steps[Done | Requeue]:
        pod = subject.living
        self._stop_waiting(subject)
        if _is_running(pod) and subject.uid not in self._unmounted:
            yield from self._adopt(subject)
        outcome = yield from self._clean(subject)
        if isinstance(outcome, Requeue):
            return outcome
        key = key_of(pod)
        try:
            yield Delete("Pod", key.namespace, key.name, uid=subject.uid, grace_period_s=0)
        except NotFoundError:
            return DONE
        return DONE

    def _clean_orphan(self, subject: Incarnation) -> Steps[Done | Requeue]:
        """Asks the API server first: a kubelet that has just started may know a pod from its disk before it has seen it."""
        namespace, name, _ = subject.item.key.split("/", 2)
        try:
            pod = yield Read("Pod", namespace, name)
        except NotFoundError:
            pod = None
        if pod is not None and uid_of(pod) == subject.uid:
            return DONE  # its event will come
        return (yield from self._clean(subject))

    def _clean(self, subject: Incarnation) -> Steps[Done | Requeue]:
        """Unmount whatever the pod has mounted, or may have."""
        self._stop_waiting(subject)
        for mount in self._disks.of(subject.uid):
            if self._mounter.is_busy(mount.device):
                return Requeue(after_s=BUSY_RETRY_S)
            yield from self._mounter.unmount(subject.uid, mount, others=self._is_used_unknown_to_disk(subject, mount.device))
        if subject.pod is None:
            # once nothing is mounted, no later pass over it knows its node: a refused write has to be repeated by the node's own item
            self._handoff.add(WorkItem("nodes", subject.node))
            return DONE
        self._unmounted.add(subject.uid)
        yield from self._settle_in_use(subject.node)
        return DONE

    def _is_used_unknown_to_disk(self, subject: Incarnation, device: Device) -> bool:
        """Whether another running pod uses the device that this process has not looked at yet: none of its mounts is on the disk's record.

        A pod that has some on record, and not this one, is being unmounted too.
        """
        return any(
            device in devices_of(pod, self._view)
            for pod in self._pods_on(subject.node)
            if uid_of(pod) != subject.uid and _is_running(pod) and uid_of(pod) not in self._unmounted and not self._disks.of(uid_of(pod))
        )

    # in use

    def _settle_in_use(self, name: str) -> Steps[None]:
        """Take volumes off the node's volumesInUse that no pod there has mounted or is going to mount."""
        node: Node | None = self._view.get("Node", "", name)
        if node is None or not serves(node) or not in_use_on(node):
            return

        def change(current: Node) -> Update | None:
            present = list((current.status.volumesInUse if current.status else None) or ())
            used = self._in_use(name)  # as of now: a pod may have come while another write was refused
            kept = [entry for entry in present if entry in used]
            status = replace(current.status or NodeStatus(), volumesInUse=kept or None)
            return None if kept == present else Update(replace(current, status=status), "status")

        try:
            self._view.put((yield from amend(node, change)))
        except NotFoundError:
            return

    def _in_use(self, node: str) -> set[str]:
        devices = set(self._disks.devices(node))
        for pod in self._pods_on(node):
            if uid_of(pod) not in self._unmounted and not pod_terminated(pod):
                devices.update(devices_of(pod, self._view))
        return {unique_volume_name(device.driver, device.handle) for device in devices}

    def resync(self) -> Iterable[WorkItem]:
        return ()

    def wake_at_ns(self) -> int | None:
        return self._clock.now_ns() if self._handoff else None

    def wake(self, now_ns: int) -> Iterable[WorkItem]:
        return self._handoff.take()


__all__ = ["POD_TABLE", "InstantKubelet", "Kubelet", "NodeDisks", "PodRow", "publish_path", "serves", "staging_path"]
