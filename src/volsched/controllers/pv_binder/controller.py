"""The binder as a decider: its queues, what wakes it, and which pass an item gets.

Upstream leaves it to chance whether a claim or a volume created just before it is looked at first; a claim that comes first finds the
volume not Available yet and waits for the resync. Here claims wait until every new volume has had its first pass.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from lightkube.models.core_v1 import PersistentVolume, PersistentVolumeClaim

from volsched.api.kinds import key_of, meta
from volsched.api.watch import Change, WatchEvent
from volsched.controllers.pv_binder.claims import ClaimPasses
from volsched.controllers.pv_binder.operations import Operations
from volsched.controllers.pv_binder.state import CLAIMS, KINDS_WATCHED, OPERATIONS, VOLUMES, State, claim_item, claim_key
from volsched.controllers.pv_binder.volumes import VolumePasses
from volsched.ports import DONE, Clock, Done, QueueSpec, Requeue, Steps, WorkItem

RESYNC_S: Final = 15.0
OPERATIONS_AT_ONCE: Final = 100


class PVBinder:
    """The PersistentVolume controller of kube-controller-manager."""

    name: str = "kube-controller-manager"
    component: str = "persistentvolume-controller"
    kinds: frozenset[str] = KINDS_WATCHED
    queues: Mapping[str, QueueSpec] = {
        CLAIMS: QueueSpec(workers=1),
        VOLUMES: QueueSpec(workers=1),
        OPERATIONS: QueueSpec(workers=OPERATIONS_AT_ONCE),
    }
    resync_s: float | None = RESYNC_S

    def __init__(self, clock: Clock) -> None:
        self._state = State(clock)
        self._operations = Operations(clock, self._state.agenda)
        self._claims = ClaimPasses(self._state, self._operations)
        self._volumes = VolumePasses(self._state, self._operations)
        self._new_volumes: set[str] = set()  # seen, no pass has ended yet
        self._held: dict[WorkItem, None] = {}  # claims that wait for them

    def start(self) -> Steps[None]:
        yield from ()

    def observe(self, event: WatchEvent) -> Iterable[WorkItem]:
        if event.kind == "PersistentVolume":
            if event.change is Change.DELETED:
                self._volume_done(event.key.name)
            elif self._state.volume(event.key.name) is None:
                self._new_volumes.add(event.key.name)
        self._state.observe(event)
        if event.kind == "PersistentVolumeClaim":
            return [self._after_claim(event.object, event.change)]
        if event.kind == "PersistentVolume":
            return self._after_volume(event.object, event.change)
        return ()  # classes and pods are looked at by the resync only

    @staticmethod
    def _after_claim(claim: PersistentVolumeClaim, change: Change) -> WorkItem:
        bound = (claim.spec.volumeName if claim.spec else None) or ""
        if change is Change.DELETED and bound:
            return WorkItem(VOLUMES, bound)
        return WorkItem(CLAIMS, claim_key(claim))

    @staticmethod
    def _after_volume(volume: PersistentVolume, change: Change) -> list[WorkItem]:
        if change is not Change.DELETED:
            return [WorkItem(VOLUMES, meta(volume).name or "")]
        reference = volume.spec.claimRef if volume.spec else None
        return [] if reference is None else [claim_item(reference.namespace or "", reference.name or "")]

    def _volume_done(self, name: str) -> None:
        """A volume has had its pass, well or not, or is gone."""
        self._new_volumes.discard(name)
        if not self._new_volumes:
            for item in self._held:
                self._state.agenda.now(item)
            self._held.clear()

    def work(self, item: WorkItem) -> Steps[Done | Requeue]:
        if item.queue == CLAIMS:
            if self._new_volumes:
                self._held[item] = None
                return DONE
            namespace, _, name = item.key.partition("/")
            yield from self._claims.run(namespace, name)
        elif item.queue == VOLUMES:
            try:
                yield from self._volumes.run(item.key)
            finally:
                self._volume_done(item.key)
        else:
            yield from self._operations.run(item.key)
        return DONE

    def resync(self) -> Iterable[WorkItem]:
        """All claims and volumes but those whose pass would find nothing to do: in a large cluster that is nearly all of them."""
        view = self._state.view
        for claim in view.all("PersistentVolumeClaim"):
            if not self._claims.is_settled(claim):
                yield WorkItem(CLAIMS, claim_key(claim))
        for volume in view.all("PersistentVolume"):
            if not self._volumes.is_settled(volume):
                yield WorkItem(VOLUMES, key_of(volume).name)

    def wake_at_ns(self) -> int | None:
        return self._state.agenda.next_ns()

    def wake(self, now_ns: int) -> Iterable[WorkItem]:
        return self._state.agenda.take(now_ns)
