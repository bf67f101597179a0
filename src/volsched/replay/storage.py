"""Claims, volumes, pools and local disks of a replay, and the engine's rows of them.

    absent ──created──> unbound ──selected──> provisioning ──made──> bound ──released──> deleted
                           │  ^                    │                   ^
                           │  └──────refused───────┘                   │
                           └──────────────taken (a local disk)─────────┘

A pool gives room when a volume has been made, and gets it back when the volume's claim is deleted; its capacity object says so at once. Two
claims may be sent to one pool that has room for one of them, as in Kubernetes, which tests each alone: the second is then refused by the
driver, loses its selected node, and its pod is tried again.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

from volsched.engine import SchedulingEngine
from volsched.errors import EngineError
from volsched.replay.objects import Objects
from volsched.replay.synth import EVERYWHERE, NAMESPACE, Scene
from volsched.scheduler.events import UPDATE, Action, ClusterEvent

Told: TypeAlias = Callable[[ClusterEvent, Any | None, Any | None], None]
VOLUME_ADDED: Final = ClusterEvent("PersistentVolume", Action.ADD)
CAPACITY_CHANGED: Final = ClusterEvent("CSIStorageCapacity", UPDATE)


class Phase(enum.IntEnum):
    """Where a claim is."""

    ABSENT = 0
    UNBOUND = 1
    PROVISIONING = 2
    BOUND = 3
    DELETED = 4


class Signal(enum.IntEnum):
    """What happens to a claim."""

    CREATED = 0
    SELECTED = 1
    MADE = 2
    REFUSED = 3
    TAKEN = 4
    RELEASED = 5


# fmt: off
TRANSITIONS: Final[Mapping[tuple[Phase, Signal], Phase]] = {
    (Phase.ABSENT,       Signal.CREATED):  Phase.UNBOUND,
    (Phase.UNBOUND,      Signal.SELECTED): Phase.PROVISIONING,
    (Phase.UNBOUND,      Signal.TAKEN):    Phase.BOUND,
    (Phase.UNBOUND,      Signal.RELEASED): Phase.DELETED,
    # the pod was tried again while its volume is still being made
    (Phase.PROVISIONING, Signal.SELECTED): Phase.PROVISIONING,
    (Phase.PROVISIONING, Signal.MADE):     Phase.BOUND,
    (Phase.PROVISIONING, Signal.REFUSED):  Phase.UNBOUND,
    (Phase.PROVISIONING, Signal.RELEASED): Phase.DELETED,
    (Phase.BOUND,        Signal.RELEASED): Phase.DELETED,
}
# fmt: on


class Storage:
    """See the module. `told` is told of what may wake pods; `changed` of every change."""

    def __init__(self, scene: Scene, objects: Objects, engine: SchedulingEngine, *, told: Told, changed: Callable[[], None]) -> None:
        self._scene = scene
        self._objects = objects
        self._engine = engine
        self._told = told
        self._changed = changed
        self.phase = [Phase.ABSENT] * len(scene.claims)
        self.backing = [-1] * len(scene.claims)  # pool or disk, where bound; pool asked, while a volume is made
        self.selected = [-1] * len(scene.claims)  # node, from when it is chosen until the claim is bound
        self.free: list[int] = scene.pools.size_bytes.tolist()
        self.disk_is_free = [True] * len(scene.disks.node)
        self._sizes: list[int] = scene.claims.request_bytes.tolist()
        self._class_of: list[int] = scene.claims.storage_class.tolist()
        self._has_end: list[bool] = (scene.pools.size_bytes >= 0).tolist()
        self._disk_by_name = {objects.disk_name(disk): disk for disk in range(len(scene.disks.node))}
        self._pools = {
            (int(code), place): pool for pool, (code, place) in enumerate(zip(scene.pools.storage_class, scene.pools.places, strict=True))
        }
        self._is_local = [row.disks is not None for row in scene.classes]

    def start(self) -> None:
        """Classes, drivers, capacity, disks, and every claim that is there: at the start, or as a checkpoint has it."""
        drivers: dict[str, Any] = {}
        for row in self._scene.classes:
            self._engine.upsert(self._objects.storage_class(row))
            if row.disks is None:
                drivers[row.provisioner] = self._objects.driver(row)
        for driver in drivers.values():
            self._engine.upsert(driver)
        for pool in range(len(self.free)):
            self._publish(pool)
        for disk, is_free in enumerate(self.disk_is_free):
            if is_free:
                self._engine.upsert(self._objects.disk(disk))
        for claim, phase in enumerate(self.phase):
            if phase is Phase.UNBOUND:
                self._engine.upsert(self._objects.claim(claim))
            elif phase is Phase.PROVISIONING:
                self._engine.upsert(self._objects.claim(claim, selected=self._scene.nodes.names[self.selected[claim]]))
            elif phase is Phase.BOUND:
                self._put_bound(claim)

    def is_local(self, claim: int) -> bool:
        """Whether it is of a class of local disks."""
        return self._is_local[self._class_of[claim]]

    def _step(self, claim: int, signal: Signal) -> None:
        following = TRANSITIONS.get((self.phase[claim], signal))
        if following is None:
            raise EngineError(f"claim {self._objects.claim_names[claim]} is {self.phase[claim].name}: {signal.name} cannot happen to it")
        self.phase[claim] = following
        self._changed()

    def _publish(self, pool: int) -> Any | None:
        row = self._scene.classes[int(self._scene.pools.storage_class[pool])]
        if not row.checks_capacity:
            return None
        published = self._objects.capacity(pool, self.free[pool])
        self._engine.upsert(published)
        return published

    # what happens to claims

    def create(self, claim: int) -> None:
        """The pod was created, and the claim with it."""
        self._step(claim, Signal.CREATED)
        self._engine.upsert(self._objects.claim(claim))

    def select(self, claim: int, node: int) -> bool:
        """The scheduler chose a node; whether a volume is to be made from now on, and not already."""
        was = self.phase[claim]
        self._step(claim, Signal.SELECTED)
        self.selected[claim] = node
        self._engine.upsert(self._objects.claim(claim, selected=self._scene.nodes.names[node]))
        if was is Phase.PROVISIONING:
            return False
        self.backing[claim] = self._pool_of(claim, node)
        return True

    def _pool_of(self, claim: int, node: int) -> int:
        code = self._class_of[claim]
        reach = self._scene.classes[code].reach
        nodes = self._scene.nodes
        place = EVERYWHERE if reach == "cluster" else nodes.zones[node] if reach == "zone" else nodes.names[node]
        return self._pools[code, place]

    def make(self, claim: int) -> bool | None:
        """The driver is done: whether it had room. None: the claim is not wanted any more, so the volume is deleted again."""
        if self.phase[claim] is not Phase.PROVISIONING:
            return None
        pool = self.backing[claim]
        if self._has_end[pool] and self.free[pool] < self._sizes[claim]:
            self._step(claim, Signal.REFUSED)
            self.selected[claim] = -1
            self._engine.upsert(self._objects.claim(claim))
            return False
        self._step(claim, Signal.MADE)
        self.selected[claim] = -1
        if self._has_end[pool]:
            self.free[pool] -= self._sizes[claim]
        volume = self._put_bound(claim)
        self._told(VOLUME_ADDED, None, volume)
        self._publish(pool)
        return True

    def take(self, claim: int, volume: str) -> int:
        """The scheduler chose a local disk; which."""
        disk = self._disk_by_name[volume]
        self._step(claim, Signal.TAKEN)
        self.backing[claim] = disk
        self.disk_is_free[disk] = False
        self._put_bound(claim)
        return disk

    def _put_bound(self, claim: int) -> Any:
        objects, backing = self._objects, self.backing[claim]
        volume = objects.disk(backing, claim) if self.is_local(claim) else objects.volume(claim, backing)
        self._engine.upsert(volume)
        name = objects.disk_name(backing) if self.is_local(claim) else objects.provisioned_name(claim)
        self._engine.upsert(objects.claim(claim, volume=name))
        return volume

    def release(self, claim: int) -> int | None:
        """The claim is deleted, and its volume. Answers what backed it, None where nothing did."""
        was = self.phase[claim]
        self._step(claim, Signal.RELEASED)
        self.selected[claim] = -1
        self._engine.remove("PersistentVolumeClaim", NAMESPACE, self._objects.claim_names[claim])
        if was is not Phase.BOUND:
            return None
        backing = self.backing[claim]
        if self.is_local(claim):
            self._engine.remove("PersistentVolume", "", self._objects.disk_name(backing))
            return backing
        self._engine.remove("PersistentVolume", "", self._objects.provisioned_name(claim))
        if self._has_end[backing]:
            before = self._objects.capacity(backing, self.free[backing])
            self.free[backing] += self._sizes[claim]
            published = self._publish(backing)
            if published is not None:
                self._told(CAPACITY_CHANGED, before, published)
        return backing

    def clean(self, disk: int) -> None:
        """A local disk can be claimed again."""
        self.disk_is_free[disk] = True
        volume = self._objects.disk(disk)
        self._engine.upsert(volume)
        self._changed()
        self._told(VOLUME_ADDED, None, volume)
