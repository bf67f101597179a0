"""What becomes of local volumes whose node is lost: after a delay their claims are given up, and the volumes that nobody needs are deleted.

    node gone ──> Warning ReferencedNodeDeleted on the claims ──delay──> still gone, still bound to each other: DELETE claim
    every ten seconds: volume of a lost node, Available, or Released with policy Delete ──> DELETE volume

Optional upstream, and here: only classes that say so (`local_disks.NODE_CLEANUP`) are looked at. The data is lost by definition; a
StatefulSet then makes the claim anew, and the pod can go elsewhere. Whether a node is there is asked of the API server at each step, by
name and by hostname label. The delay is kept in memory: a controller that starts anew starts it anew.
Source: spec/volumes.md 4; sig-storage-local-static-provisioner pkg/node-cleanup.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from lightkube.models.core_v1 import Node, PersistentVolume, PersistentVolumeClaim
from lightkube.models.storage_v1 import StorageClass

from volsched.api.edit import annotations_of, is_deleting, labels_of, uid_of
from volsched.api.kinds import meta
from volsched.api.watch import Change, WatchEvent
from volsched.cache.view import View
from volsched.controllers.agenda import Agenda
from volsched.controllers.csi_common import NS_PER_S
from volsched.controllers.local_disks import NODE_CLEANUP, cleanup_delay_s
from volsched.controllers.local_provisioner import HOSTNAME
from volsched.errors import InputError, NotFoundError
from volsched.ports import DONE, Clock, Delete, Done, Emit, ListAll, QueueSpec, Read, Requeue, Steps, WorkItem
from volsched.rules.volumes import class_of

SCANS: Final = "scans"
VOLUMES: Final = "volumes"
CLASSES: Final = "classes"
TIMERS: Final = WorkItem(SCANS, "timers")  # start the delay of the claims of lost nodes
STALE: Final = WorkItem(SCANS, "stale")  # delete volumes of lost nodes
STALE_INTERVAL_S: Final = 10.0


def duration_text(seconds: float) -> str:
    """Whole seconds as Go prints a duration: 1m0s."""
    hours, rest = divmod(round(seconds), 3600)
    minutes, left = divmod(rest, 60)
    if hours:
        return f"{hours}h{minutes}m{left}s"
    return f"{minutes}m{left}s" if minutes else f"{left}s"


def hostnames_of(volume: PersistentVolume) -> list[str]:
    """The hostnames a local volume's affinity names, empty for other volumes."""
    spec = volume.spec
    if spec is None or spec.local is None or spec.nodeAffinity is None or spec.nodeAffinity.required is None:
        return []
    return [
        value
        for term in spec.nodeAffinity.required.nodeSelectorTerms
        for expression in term.matchExpressions or ()
        if expression.key == HOSTNAME and expression.operator == "In"
        for value in expression.values or ()
    ]


class LocalNodeCleanup:
    """Decider: local volumes and claims of nodes that do not exist any more."""

    name = "local-volume-node-cleanup"
    component = "cleanup-controller"
    kinds = frozenset({"Node", "StorageClass", "PersistentVolume"})
    queues: Mapping[str, QueueSpec] = {SCANS: QueueSpec(), VOLUMES: QueueSpec(workers=10), CLASSES: QueueSpec()}
    resync_s: float | None = STALE_INTERVAL_S

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._view = View(self.kinds)
        self._agenda = Agenda(clock)

    # the decider's shape

    def start(self) -> Steps[None]:
        self._agenda.now(TIMERS)
        yield from ()

    def observe(self, event: WatchEvent) -> Iterable[WorkItem]:
        old, taken = self._view.observe(event)
        if not taken:
            return ()
        if event.kind == "Node":
            return [TIMERS] if event.change is Change.DELETED else ()
        if event.kind == "StorageClass" and event.change is not Change.DELETED:
            changed = old is None or annotations_of(old).get(NODE_CLEANUP) != annotations_of(event.object).get(NODE_CLEANUP)
            return [WorkItem(CLASSES, event.key.name)] if changed else ()
        return ()

    def work(self, item: WorkItem) -> Steps[Done | Requeue]:
        if item == TIMERS:
            yield from self._start_timers()
        elif item == STALE:
            yield from self._delete_stale()
        elif item.queue == CLASSES:
            yield from self._tell_mistake(item.key)
        else:
            yield from self._give_up(item.key)
        return DONE

    def resync(self) -> Iterable[WorkItem]:
        return [STALE] if self._delays() else ()

    def wake_at_ns(self) -> int | None:
        return self._agenda.next_ns()

    def wake(self, now_ns: int) -> Iterable[WorkItem]:
        return self._agenda.take(now_ns)

    # what there is

    def _delays(self) -> dict[str, float]:
        """Delay by class, for those that are cleaned up. A delay that cannot be read is none."""
        found: dict[str, float] = {}
        for storage_class in self._view.all("StorageClass"):
            try:
                delay_s = cleanup_delay_s(storage_class)
            except InputError:
                continue  # told by _tell_mistake
            if delay_s is not None:
                found[meta(storage_class).name or ""] = delay_s
        return found

    def _lost(self) -> Steps[list[tuple[PersistentVolume, float]]]:
        """Volumes of cleaned classes whose every node is gone, with the delay of their class."""
        delays = self._delays()
        candidates = [volume for volume in self._view.all("PersistentVolume") if class_of(volume) in delays and hostnames_of(volume)]
        if not candidates:
            return []
        nodes: list[Node] = yield ListAll("Node")
        there = {meta(node).name for node in nodes} | {labels_of(node).get(HOSTNAME) for node in nodes}
        return [(volume, delays[class_of(volume)]) for volume in candidates if not there & set(hostnames_of(volume))]

    def _tell_mistake(self, name: str) -> Steps[None]:
        storage_class: StorageClass | None = self._view.get("StorageClass", "", name)
        if storage_class is None:
            return
        try:
            cleanup_delay_s(storage_class)
        except InputError as problem:
            yield Emit(storage_class, "Warning", "InvalidLocalNodeCleanup", str(problem))

    # scans

    def _start_timers(self) -> Steps[None]:
        now = self._clock.now_ns()
        for volume, delay_s in (yield from self._lost()):
            reference = volume.spec.claimRef if volume.spec else None
            if reference is None:
                continue
            self._agenda.at(WorkItem(VOLUMES, meta(volume).name or ""), now + round(delay_s * NS_PER_S))
            try:
                claim = yield Read("PersistentVolumeClaim", reference.namespace or "", reference.name or "")
            except NotFoundError:
                continue
            when = f"PVC will be cleaned up in {duration_text(delay_s)} if the Node doesn't come back"
            yield Emit(claim, "Warning", "ReferencedNodeDeleted", f"PVC is tied to a deleted Node. {when}")

    def _delete_stale(self) -> Steps[None]:
        for volume, _ in (yield from self._lost()):
            phase, policy = (volume.status.phase if volume.status else None), volume.spec and volume.spec.persistentVolumeReclaimPolicy
            unneeded = phase == "Available" or (phase == "Released" and policy == "Delete")
            if not unneeded or is_deleting(volume):
                continue
            try:
                yield Delete(
                    "PersistentVolume", "", meta(volume).name or "", uid=uid_of(volume), resource_version=meta(volume).resourceVersion
                )
            except NotFoundError:
                continue

    # one volume, when its delay is over

    def _give_up(self, name: str) -> Steps[None]:
        lost = yield from self._lost()
        volume = next((volume for volume, _ in lost if meta(volume).name == name), None)
        reference = volume.spec.claimRef if volume is not None and volume.spec else None
        if volume is None or reference is None:
            return  # the node is back, or the volume is free or gone
        try:
            claim: PersistentVolumeClaim = yield Read("PersistentVolumeClaim", reference.namespace or "", reference.name or "")
        except NotFoundError:
            return
        if not claim.spec or claim.spec.volumeName != name or uid_of(claim) != reference.uid:
            return
        try:
            yield Delete("PersistentVolumeClaim", reference.namespace or "", reference.name or "", uid=uid_of(claim))
        except NotFoundError:
            return
