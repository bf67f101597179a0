"""Who holds room in which capacity object: the claims under way and the volumes that a published figure does not contain yet.

    claim    holds from the moment a node is selected for it  ── until its volume appears, or the claim or the selection goes
    volume   holds from its appearance on                     ── until every object it was taken from was published after it,
                                                                 or it has settled, or it goes

The ledger changes nothing by itself: it says what the effective claim or volume looks like that goes into the engine, with the annotation
that names the objects it holds room in, and which of them to hand over again after an event.

Which objects a claim holds room in was written on it by the scheduler that chose. A claim without that, or whose objects are gone, may land
in any object of its class that reaches its node and is large enough: it holds room in all of them. A volume holds room in the objects of
its class in the topologies it was made in. Classes that share storage hold in each other's objects.

An object was published after a volume when its resourceVersion is the larger; that of the volume is the one it was first seen with, since
later writes say nothing about storage. Versions that are not numbers are compared by the order of arrival. An object that was created after
the volume was published after it too.

A provisioner does not write an object again whose figure is the same as before. So in an object that a provisioner keeps up a volume
counts as contained `settle_s` after its creation in any case: by then the driver has been asked anew. An object written by hand is
believed until it is written again.

Source: docs/decisions/0009; spec/volumes.md 3.10 for what the figures contain when.
"""

from __future__ import annotations

import datetime
import heapq
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple, Protocol

from lightkube.models.core_v1 import PersistentVolume, PersistentVolumeClaim
from lightkube.models.storage_v1 import CSIStorageCapacity, StorageClass

from volsched.api.edit import annotations_of, labels_of, uid_of, with_annotations
from volsched.api.kinds import meta
from volsched.cache.assume_cache import object_key
from volsched.ports import Clock
from volsched.rules.capacity import (
    ANN_STORAGE_CAPACITY,
    claim_bytes,
    is_kept_up,
    named_pools,
    pool_name,
    published,
    segment_of,
    share_storage,
    shared_with,
    volume_bytes,
    volume_segments,
)
from volsched.rules.selectors import SelectorError, match_labels
from volsched.rules.volumes import ANN_PROVISIONED_BY, ANN_SELECTED_NODE, class_of, has_storage_request

SETTLE_S: Final = 120.0  # two rounds of the provisioner's capacity poll
NS: Final = 1_000_000_000
CLAIM: Final = "PersistentVolumeClaim"
VOLUME: Final = "PersistentVolume"


class Holder(NamedTuple):
    """Somebody that holds room. key: `namespace/name` or `name`. claim: its key, of a volume too where it has one. node: of a claim, the
    one selected for it."""

    kind: str
    key: str
    bytes: int
    pools: tuple[str, ...]
    claim: str
    node: str

    def __str__(self) -> str:
        if self.kind == CLAIM:
            return f"claim {self.key}"
        return f"volume {self.key}" + (f" of claim {self.claim}" if self.claim else "")


class Objects(Protocol):
    """What the API server reported last."""

    def get(self, kind: str, namespace: str, name: str) -> Any | None: ...

    def all(self, kind: str) -> Iterable[Any]: ...


@dataclass(slots=True)
class _Young:
    """A provisioned volume that may be missing in some figure. version, serial: when it was first seen. is_due: it has settled."""

    version: str
    serial: int
    created: datetime.datetime | None
    settles_ns: int
    class_name: str
    is_due: bool = False


class CapacityLedger:
    """See the module. settle_s: after how many seconds the figures that provisioners keep up are taken to contain a volume."""

    def __init__(self, objects: Objects, clock: Clock, *, settle_s: float = SETTLE_S) -> None:
        self._objects = objects
        self._clock = clock
        self._settle_ns = round(settle_s * NS)
        self._holders: dict[tuple[str, str], Holder] = {}
        self._held: dict[str, int] = {}  # pool -> bytes
        self._waiting: dict[str, str] = {}  # claim with a node and without a volume -> its class
        self._young: dict[str, _Young] = {}
        self._due: list[tuple[int, str]] = []  # heap: when which of them settles
        self._seen: dict[str, str] = {}  # volume -> uid, settled ones included
        self._made_for: dict[str, str] = {}  # claim uid -> its volume
        self._serial = 0
        self._published_at: dict[str, int] = {}  # pool -> serial
        self._room: dict[str, int | None] = {}  # pool -> what was left when that was looked at last
        self._touched: set[str] = set()
        self._by_class: dict[str, dict[str, CSIStorageCapacity]] = {}

    def adopt(self, other: CapacityLedger) -> None:
        """Know of volumes and figures what another ledger over the same objects has seen of them. Before any object is taken in."""
        self._seen = dict(other._seen)
        self._young = {name: replace(young) for name, young in other._young.items()}
        self._due = list(other._due)
        self._serial = other._serial
        self._published_at = dict(other._published_at)

    # what the engine is to see

    def effective(self, kind: str, obj: Any) -> Any:
        """A claim or volume, naming the objects it holds room in now."""
        pools = self._claim(obj) if kind == CLAIM else self._volume(obj)
        text = ",".join(pools) or None
        return obj if annotations_of(obj).get(ANN_STORAGE_CAPACITY) == text else with_annotations(obj, {ANN_STORAGE_CAPACITY: text})

    def gone(self, kind: str, key: str) -> None:
        """A claim or volume that readers do not see any more."""
        self._hold(Holder(kind, key, 0, (), "", ""))
        if kind == CLAIM:
            self._waiting.pop(key, None)
        else:
            self._young.pop(key, None)
            self._seen.pop(key, None)

    def _claim(self, claim: PersistentVolumeClaim) -> tuple[str, ...]:
        key, node = object_key(claim), annotations_of(claim).get(ANN_SELECTED_NODE)
        waiting = node is not None and not (claim.spec and claim.spec.volumeName)
        if waiting:
            self._waiting[key] = class_of(claim)
        else:
            self._waiting.pop(key, None)
        pools: tuple[str, ...] = ()
        if waiting and uid_of(claim) not in self._made_for and has_storage_request(claim) and self._class(class_of(claim)) is not None:
            pools = self._chosen(claim) or self._possible(claim, node or "")
        self._hold(Holder(CLAIM, key, claim_bytes(claim), pools, key, node or ""))
        return pools

    def _chosen(self, claim: PersistentVolumeClaim) -> tuple[str, ...]:
        """The objects written on a claim, as long as one of its class is among them."""
        found = [(name, pool) for name in named_pools(claim) if (pool := self._objects.get("CSIStorageCapacity", *name.split("/", 1)))]
        if not any(pool.storageClassName == class_of(claim) for _, pool in found):
            return ()
        return tuple(name for name, _ in found)

    def _possible(self, claim: PersistentVolumeClaim, node_name: str) -> tuple[str, ...]:
        """Every object the claim may land in."""
        node = self._objects.get("Node", "", node_name)
        if node is None:
            return ()
        size = claim_bytes(claim)
        large = [pool for pool in self._pools(class_of(claim)) if (limit := published(pool).limit) is not None and limit >= size]
        return self._with_siblings([pool for pool in large if _covers(pool, labels_of(node))])

    def _volume(self, volume: PersistentVolume) -> tuple[str, ...]:
        name = meta(volume).name or ""
        if self._seen.get(name) != uid_of(volume):
            self._seen[name] = uid_of(volume)
            self._meet(name, volume)
        young = self._young.get(name)
        pools: tuple[str, ...] = ()
        if young is not None and self._is_provisioned(volume):
            pools = tuple(pool for pool in self._where(volume) if not self._contains(pool, young))
        reference = volume.spec.claimRef if volume.spec else None
        claim = f"{reference.namespace}/{reference.name}" if reference is not None else ""
        self._hold(Holder(VOLUME, name, volume_bytes(volume), pools, claim, ""))
        return pools

    def _meet(self, name: str, volume: PersistentVolume) -> None:
        """A volume is seen for the first time. One that is old, or dated into the future as in a dump, has settled."""
        self._serial += 1
        self._young.pop(name, None)
        if ANN_PROVISIONED_BY not in annotations_of(volume):
            return
        now_ns = self._clock.now_ns()
        created = meta(volume).creationTimestamp
        created_ns = now_ns if created is None else round(created.timestamp() * NS)
        settles_ns = created_ns + self._settle_ns if abs(now_ns - created_ns) < self._settle_ns else now_ns
        self._young[name] = _Young(meta(volume).resourceVersion or "", self._serial, created, settles_ns, class_of(volume))
        heapq.heappush(self._due, (settles_ns, name))

    def _is_provisioned(self, volume: PersistentVolume) -> bool:
        """Whether the volume was made by a provisioner whose driver keeps capacity objects."""
        storage_class = self._class(class_of(volume))
        return storage_class is not None and annotations_of(volume).get(ANN_PROVISIONED_BY) == storage_class.provisioner

    def _contains(self, pool: str, young: _Young) -> bool:
        """Whether the figure of an object is newer than a volume, or as good as that."""
        found = self._objects.get("CSIStorageCapacity", *pool.split("/", 1))
        if found is None:
            return True
        version, created = meta(found).resourceVersion or "", meta(found).creationTimestamp
        by_version = version.isdecimal() and young.version.isdecimal()
        if int(version) > int(young.version) if by_version else self._published_at.get(pool, 0) > young.serial:
            return True
        if created is not None and young.created is not None and created > young.created:
            return True
        return is_kept_up(found) and young.settles_ns <= self._clock.now_ns()

    def _where(self, volume: PersistentVolume) -> tuple[str, ...]:
        """The objects a volume was taken from: in each of its topologies those that its claim names, else all there are."""
        pools = self._pools(class_of(volume))
        reference = volume.spec.claimRef if volume.spec else None
        claim = self._objects.get(CLAIM, reference.namespace or "", reference.name or "") if reference is not None else None
        named = named_pools(claim) if claim is not None and reference is not None and uid_of(claim) == reference.uid else ()
        segments = volume_segments(volume)
        found: list[CSIStorageCapacity] = []
        for covering in [pools] if segments is None else [[pool for pool in pools if _covers(pool, labels)] for labels in segments]:
            found += [pool for pool in covering if pool_name(pool) in named] or covering
        return self._with_siblings(found or [pool for pool in pools if pool_name(pool) in named])

    # objects

    def _class(self, name: str) -> StorageClass | None:
        """A class whose driver keeps capacity objects."""
        storage_class: StorageClass | None = self._objects.get("StorageClass", "", name) if name else None
        driver = self._objects.get("CSIDriver", "", storage_class.provisioner) if storage_class is not None else None
        return storage_class if driver is not None and driver.spec.storageCapacity else None

    def _pools(self, class_name: str) -> list[CSIStorageCapacity]:
        """Objects of a class by namespace and name."""
        return [pool for _, pool in sorted(self._by_class.get(class_name, {}).items())]

    def drawn_with(self, pool: CSIStorageCapacity) -> tuple[str, ...]:
        """The objects that lose what is taken from one, itself first."""
        return self._with_siblings([pool])

    def _with_siblings(self, pools: Iterable[CSIStorageCapacity]) -> tuple[str, ...]:
        """The objects, and those of other classes on the same storage."""
        found: dict[str, None] = {}
        for pool in pools:
            found[pool_name(pool)] = None
            segment = segment_of(pool.nodeTopology)
            for class_name in sorted(self._sharing(pool.storageClassName) - {pool.storageClassName}):
                theirs = self._pools(class_name)
                found.update({pool_name(sibling): None for sibling in theirs if segment_of(sibling.nodeTopology) == segment})
        return tuple(found)

    def _sharing(self, class_name: str) -> set[str]:
        """A class and those that draw on the same storage."""
        ours: StorageClass | None = self._objects.get("StorageClass", "", class_name)
        if ours is None or not shared_with(ours):
            return {class_name}
        return {meta(other).name or "" for other in self._objects.all("StorageClass") if share_storage(ours, other)}

    # events

    def observe(self, kind: str, old: Any | None, new: Any | None) -> list[tuple[str, str]]:
        """What has to be handed to the engine anew after an event, as (kind, key). To be called when lookups answer with `new`."""
        if kind == VOLUME:
            return self._volume_changed(old, new)
        if kind == "CSIStorageCapacity":
            return self._published(old, new)
        if kind in ("StorageClass", "CSIDriver"):
            return self._open(None)
        if kind == "Node" and (old is None or new is None or labels_of(old) != labels_of(new)):
            return [(CLAIM, key) for key in self._waiting]
        return []

    def _published(self, old: CSIStorageCapacity | None, new: CSIStorageCapacity | None) -> list[tuple[str, str]]:
        """An object came, went, or was written anew. A repetition of the same version is nothing new."""
        classes: set[str] = set()
        for pool in (old, new):
            if pool is not None:
                self._by_class.get(pool.storageClassName, {}).pop(pool_name(pool), None)
                self._touched.add(pool_name(pool))
                classes |= self._sharing(pool.storageClassName)
        if new is not None:
            self._by_class.setdefault(new.storageClassName, {})[pool_name(new)] = new
            known = old is None and pool_name(new) in self._published_at  # adopted
            if not known and (old is None or meta(old).resourceVersion != meta(new).resourceVersion or published(old) != published(new)):
                self._serial += 1
                self._published_at[pool_name(new)] = self._serial
        elif old is not None:
            self._published_at.pop(pool_name(old), None)
        return self._open(classes)

    def _volume_changed(self, old: PersistentVolume | None, new: PersistentVolume | None) -> list[tuple[str, str]]:
        """A claim's room passes to its volume, and back to the claim should the volume vanish while the claim still waits."""
        again: list[tuple[str, str]] = []
        for volume, here in ((old, False), (new, True)):
            reference = volume.spec.claimRef if volume is not None and volume.spec else None
            if volume is None or reference is None or not reference.uid or ANN_PROVISIONED_BY not in annotations_of(volume):
                continue
            if here:
                self._made_for[reference.uid] = meta(volume).name or ""
            elif self._made_for.get(reference.uid) == meta(volume).name:
                del self._made_for[reference.uid]
            key = f"{reference.namespace}/{reference.name}"
            if key in self._waiting and (CLAIM, key) not in again:
                again.append((CLAIM, key))
        return again

    def _open(self, classes: set[str] | None) -> list[tuple[str, str]]:
        """Everybody of these classes, or of any, that holds room or may come to."""
        claims = [(CLAIM, key) for key, name in self._waiting.items() if classes is None or name in classes]
        return claims + [(VOLUME, name) for name, young in self._young.items() if classes is None or young.class_name in classes]

    # time

    def next_settle_ns(self) -> int | None:
        """When the next volume settles."""
        while self._due and not self._is_awaited(*self._due[0]):
            heapq.heappop(self._due)
        return self._due[0][0] if self._due else None

    def _is_awaited(self, settles_ns: int, name: str) -> bool:
        young = self._young.get(name)
        return young is not None and young.settles_ns == settles_ns and not young.is_due

    def settle(self) -> list[tuple[str, str]]:
        """Volumes that have settled by now, to be handed to the engine anew; then `prune`."""
        settled: list[tuple[str, str]] = []
        while (at := self.next_settle_ns()) is not None and at <= self._clock.now_ns():
            _, name = heapq.heappop(self._due)
            self._young[name].is_due = True
            settled.append((VOLUME, name))
        return settled

    def prune(self) -> None:
        """Look no more at volumes that have settled and hold nothing. Only figures that are older than they are could say otherwise."""
        for name in [name for name, young in self._young.items() if young.is_due and (VOLUME, name) not in self._holders]:
            del self._young[name]

    # accounts

    def _hold(self, holder: Holder) -> None:
        """Enter what somebody holds now, which may be nothing."""
        key = (holder.kind, holder.key)
        old = self._holders.pop(key, None)
        if old is not None:
            for pool in old.pools:
                self._held[pool] -= old.bytes
                self._touched.add(pool)
        if holder.pools:
            self._holders[key] = holder
            for pool in holder.pools:
                self._held[pool] = self._held.get(pool, 0) + holder.bytes
                self._touched.add(pool)

    def held_bytes(self, pool: str) -> int:
        """What is held in an object, named `namespace/name`."""
        return self._held.get(pool, 0)

    def holders(self, pool: str) -> list[Holder]:
        """Who holds room in an object: claims, then volumes, by name."""
        return [item for item in self.all_holders() if pool in item.pools]

    def all_holders(self) -> list[Holder]:
        """Everybody that holds room: claims, then volumes, by name."""
        return sorted(self._holders.values(), key=lambda item: (item.kind != CLAIM, item.key))

    def holder(self, kind: str, key: str) -> Holder | None:
        """What a claim or volume holds, None when it holds nothing."""
        return self._holders.get((kind, key))

    def counts(self, class_name: str) -> bool:
        """Whether volumes of a class come out of pools that are counted."""
        return self._class(class_name) is not None

    def room(self, pool: CSIStorageCapacity) -> int | None:
        """What is left in an object, negative when more is held than published; None when its total is not known."""
        total = published(pool).capacity
        return None if total is None else total - self.held_bytes(pool_name(pool))

    def take_freed(self) -> bool:
        """Whether some object has more room than when this was asked last."""
        freed = False
        for name in sorted(self._touched):
            pool = self._objects.get("CSIStorageCapacity", *name.split("/", 1))
            before, after = self._room.get(name), self.room(pool) if pool is not None else None
            if pool is None:
                self._room.pop(name, None)
                continue
            self._room[name] = after
            freed = freed or (before is not None and after is not None and after > before)
        self._touched.clear()
        return freed


def _covers(pool: CSIStorageCapacity, labels: Mapping[str, str]) -> bool:
    try:
        return match_labels(pool.nodeTopology, labels)
    except SelectorError:
        return False
