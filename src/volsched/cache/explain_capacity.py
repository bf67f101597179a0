"""Exact capacity in words: how much of a pool is held, by whom, and why a pod's claims do not fit side by side.

What the pod's own claims hold from an earlier attempt is theirs and counts as free; such a claim stays with the pools it holds room in.
Source: docs/decisions/0009.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final

from lightkube.models.core_v1 import PersistentVolumeClaim, Pod
from lightkube.models.storage_v1 import CSIStorageCapacity, StorageClass

from volsched.api.edit import annotations_of, labels_of
from volsched.api.kinds import meta
from volsched.api.quantity import Quantity
from volsched.cache.assume_cache import object_key
from volsched.cache.capacity_ledger import CLAIM, CapacityLedger, Holder
from volsched.cache.scheduler_cache import SchedulerCache
from volsched.engine.profile import CAPACITY_STEPS_MAX
from volsched.rules.capacity import claim_bytes, pool_name, published
from volsched.rules.exact_capacity import ExactCapacity
from volsched.rules.selectors import SelectorError
from volsched.rules.texts import first_of
from volsched.rules.volumes import (
    ANN_SELECTED_NODE,
    claim_names,
    class_of,
    find_matching_volume,
    has_storage_request,
    is_fully_bound,
    requested_storage,
)

HOLDERS_NAMED: Final = 3


def size_text(size: int) -> str:
    """Bytes as a quantity, as Kubernetes prints one: 60Gi, 1500Mi."""
    return str(Quantity.of_bytes(size))


def holders_text(holders: Sequence[Holder]) -> str:
    """`claim default/a (60Gi) and volume pvc-1 (5Gi)`, the rest counted."""
    named = [f"{holder} ({size_text(holder.bytes)})" for holder in holders[:HOLDERS_NAMED]]
    more = len(holders) - HOLDERS_NAMED
    if more > 0:
        named.append(f"{more:,} more")
    return " and ".join([", ".join(named[:-1]), named[-1]] if len(named) > 1 else named)


class PoolAccounts:
    """What is left in pools for one pod. `own`: its claims, as `namespace/name`."""

    def __init__(self, ledger: CapacityLedger, own: Collection[str]) -> None:
        self._ledger = ledger
        self._own = own

    def _others(self, pool: CSIStorageCapacity) -> list[Holder]:
        holders = self._ledger.holders(pool_name(pool))
        return [holder for holder in holders if holder.kind != CLAIM or holder.key not in self._own]

    def about(self, pool: CSIStorageCapacity) -> str:
        """What it publishes and, where others hold some of that, what is left."""
        total, others = published(pool).capacity, self._others(pool)
        if total is None or not others:
            return pool.capacity or ""
        return f"{pool.capacity}, {self._left(total, others)} left"

    @staticmethod
    def _left(total: int, others: Sequence[Holder]) -> str:
        return size_text(max(0, total - sum(holder.bytes for holder in others)))

    def held(self, pool: CSIStorageCapacity, claim: PersistentVolumeClaim) -> str | None:
        """Why what others hold leaves too little for a claim; None when it leaves enough."""
        total, others = published(pool).capacity, self._others(pool)
        if total is None or total - sum(holder.bytes for holder in others) >= claim_bytes(claim):
            return None
        if not others:
            return f"it has {pool.capacity}, less than {requested_storage(claim)}"
        held = size_text(sum(holder.bytes for holder in others))
        left = f"{self._left(total, others)} left, less than {requested_storage(claim)}"
        return f"{held} of {pool.capacity} held by {holders_text(others)}; {left}"

    def kept(self, claim: PersistentVolumeClaim) -> list[str]:
        """The pools a claim under way holds room in."""
        holder = self._ledger.holder(CLAIM, object_key(claim))
        return list(holder.pools) if holder is not None else []


class _Accounts:
    """The cache's objects as `ExactCapacity` reads them."""

    def __init__(self, cache: SchedulerCache, ledger: CapacityLedger) -> None:
        pools: Iterable[CSIStorageCapacity] = cache.all("CSIStorageCapacity")
        classes: Iterable[StorageClass] = cache.all("StorageClass")
        self.capacities: Mapping[tuple[str, str], CSIStorageCapacity] = {
            (meta(pool).namespace or "default", meta(pool).name or ""): pool for pool in pools
        }
        self.classes: Mapping[str, StorageClass] = {meta(item).name or "": item for item in classes}
        self.held_bytes = ledger.held_bytes


def counted_claims(cache: SchedulerCache, pod: Pod, node_labels: Mapping[str, str]) -> list[PersistentVolumeClaim]:
    """The pod's claims that would have to be provisioned on a node out of pools, in the order of provisioning."""
    namespace = meta(pod).namespace or "default"
    names = dict.fromkeys(name for _, name, _ in claim_names(pod))
    claims = [claim for name in names if (claim := cache.claims.find(f"{namespace}/{name}")) is not None and not is_fully_bound(claim)]
    started = [claim for claim in claims if ANN_SELECTED_NODE in annotations_of(claim)]
    taken: list[str] = []
    for claim in sorted((claim for claim in claims if claim not in started), key=requested_storage):
        volumes = list(cache.volumes.of_class(class_of(claim)))
        pv = find_matching_volume(claim, volumes, node_labels=node_labels, excluded=taken, delayed=True)
        if pv is None:
            started.append(claim)
        else:
            taken.append(meta(pv).name or "")
    return [claim for claim in started if has_storage_request(claim) and cache.ledger is not None and cache.ledger.counts(class_of(claim))]


def capacity_together(cache: SchedulerCache, pod: Pod, node: str) -> str | None:
    """Why a pod's claims do not fit into the pools of a node side by side; None when they do, or when capacity is not counted exactly."""
    found = cache.get("Node", "", node)
    if cache.ledger is None or found is None:
        return None
    try:
        claims = counted_claims(cache, pod, labels_of(found))
    except SelectorError:
        return None
    exact = ExactCapacity(_Accounts(cache, cache.ledger), labels_of(found), claims)
    joint = exact.fit(claims, steps_max=CAPACITY_STEPS_MAX)
    if joint.placed is not None or len(claims) < 2:
        return None
    wanted = ", ".join(f"{meta(claim).name} {size_text(claim_bytes(claim))}" for claim in claims)
    rooms = exact.rooms(claims)
    left = [f"{pool_name(pool)} ({'any' if room is None else size_text(max(0, room))} left)" for pool, room in rooms]
    pools = first_of(left, HOLDERS_NAMED)
    if joint.decided:
        return f"{wanted} out of pool{'s' * (len(rooms) > 1)} {pools}"
    tried = f"{CAPACITY_STEPS_MAX:,} placements were tried without an answer"
    return f"{wanted} out of pools {pools}: {tried}; fewer pools, fewer claims or claims of equal size would help"
