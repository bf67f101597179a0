"""The witness of exact capacity: no capacity object gives more room than it has.

    a claim is given a node and its pools ──> everybody who was given room in them, against what they published at that instant

It adds up on its own, from the store's objects and from what it saw before, never from the scheduler's ledger. An object's figure and the
scheduler's write may fall on one instant in any order, so the largest figure of the instant counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from lightkube.models.core_v1 import PersistentVolume, PersistentVolumeClaim

from volsched.api.edit import annotations_of, uid_of
from volsched.api.kinds import meta
from volsched.api.quantity import Quantity
from volsched.api.watch import Change, WatchEvent
from volsched.app.cluster import Cluster
from volsched.app.invariant_facts import named, volume_of
from volsched.cache.capacity_ledger import SETTLE_S
from volsched.rules.capacity import claim_bytes, held_by_claim, is_kept_up, pool_name, published, volume_bytes
from volsched.rules.volumes import ANN_PROVISIONED_BY, class_of


class _Figure(NamedTuple):
    """The largest total an object has shown at an instant; None when it shows none."""

    at_ns: int
    most: int | None
    now: int | None


class _Made(NamedTuple):
    """When a volume came, and from which objects it was taken as far as its claim said."""

    version: int
    at_ns: int
    pools: tuple[str, ...]


class CapacityWatch:
    """Told of every change of the store; reports what was oversold."""

    def __init__(self, cluster: Cluster, report: Callable[[str, str], None]) -> None:
        self._cluster = cluster
        self._report = report
        self._figures: dict[str, _Figure] = {}
        self._made: dict[str, _Made] = {}  # by name
        self._given: dict[str, tuple[str, ...]] = {}  # claim uid -> objects
        for pool in cluster.list("CSIStorageCapacity"):
            self._take_in_pool(pool)

    def on_change(self, event: WatchEvent, old: Any | None, *, by_hand: bool) -> None:
        """An object changed; `old` as it was seen before, for claims and volumes. The user may write anything."""
        obj, gone = event.object, event.change is Change.DELETED
        if event.kind == "CSIStorageCapacity":
            if gone:
                self._figures.pop(pool_name(obj), None)
            else:
                self._take_in_pool(obj)
        elif event.kind == "PersistentVolume":
            if gone:
                self._made.pop(meta(obj).name or "", None)
            elif old is None and ANN_PROVISIONED_BY in annotations_of(obj):
                reference = obj.spec.claimRef
                pools = self._given.get(reference.uid or "", ()) if reference is not None else ()
                self._made[meta(obj).name or ""] = _Made(event.resource_version, self._cluster.now_ns(), pools)
        elif event.kind == "PersistentVolumeClaim":
            if gone:
                self._given.pop(uid_of(obj), None)
            else:
                self._claim_changed(obj, by_hand=by_hand)

    def _take_in_pool(self, pool: Any) -> None:
        name, now_ns, total = pool_name(pool), self._cluster.now_ns(), published(pool).capacity
        before = self._figures.get(name)
        earlier = (before.most if before.at_ns == now_ns else before.now) if before is not None else total
        most = None if total is None or earlier is None else max(total, earlier)
        self._figures[name] = _Figure(now_ns, most, total)

    def _claim_changed(self, claim: PersistentVolumeClaim, *, by_hand: bool) -> None:
        pools = held_by_claim(claim)
        if not pools:
            return
        given, self._given[uid_of(claim)] = self._given.get(uid_of(claim), ()), pools
        if given != pools and not by_hand:
            for pool in self._cluster.list("CSIStorageCapacity"):
                if pool_name(pool) in pools and pool.storageClassName == class_of(claim):
                    self._check(pool, claim)

    def _check(self, pool: Any, claim: PersistentVolumeClaim) -> None:
        figure = self._figures[pool_name(pool)]
        most = figure.most if figure.at_ns == self._cluster.now_ns() else figure.now
        holders = list(self._holders(pool))
        total = sum(size for _, size in holders)
        if most is not None and total > most:
            listed = ", ".join(f"{named(holder)} {Quantity.of_bytes(size)}" for holder, size in holders)
            text = f"{named(claim)} was given room in {named(pool)}, which has {Quantity.of_bytes(most)}; held are {listed}"
            self._report("oversold", text)

    def _holders(self, pool: Any) -> Iterator[tuple[PersistentVolumeClaim | PersistentVolume, int]]:
        name = pool_name(pool)
        volumes = self._cluster.list("PersistentVolume")
        with_volume = {pv.spec.claimRef.uid for pv in volumes if pv.spec.claimRef is not None and ANN_PROVISIONED_BY in annotations_of(pv)}
        for claim in self._cluster.list("PersistentVolumeClaim"):
            if name in held_by_claim(claim) and uid_of(claim) not in with_volume and not volume_of(claim):
                yield claim, claim_bytes(claim)
        for pv in volumes:
            made = self._made.get(meta(pv).name or "")
            settled = made is not None and is_kept_up(pool) and self._cluster.now_ns() - made.at_ns >= SETTLE_S * 1e9
            if made is not None and name in made.pools and made.version > int(meta(pool).resourceVersion or 0) and not settled:
                yield pv, volume_bytes(pv)
