"""What Kubernetes' way of asking for capacity would take out of pools beyond what they have.

    held      claims under way, and volumes that are younger than the published figure
    pending   claims of the pods that wait for a node, as the compatible decision would send them, one pod after the other

kube-scheduler tests each claim alone against what a pool publishes, so nothing keeps the sum below that. Here every pool's takers are
added up in the order in which they come: a claim is beyond the pool when what the earlier ones leave is too little for it, and is passed
over then, as exact capacity would pass it over. Nothing is run and nothing changed.

Source: docs/decisions/0009; spec/scheduling.md 4.4, traps 16 to 18.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from lightkube.models.core_v1 import Pod
from lightkube.models.storage_v1 import CSIStorageCapacity

from volsched.api.edit import version_of
from volsched.api.kinds import Json, meta, to_json
from volsched.cache.capacity_ledger import CapacityLedger
from volsched.cache.scheduler_cache import SchedulerCache
from volsched.rules.capacity import claim_bytes, pool_name, published
from volsched.rules.volumes import claim_names, pod_terminated
from volsched.scheduler.priority import priority_of

if TYPE_CHECKING:
    from volsched.app.cluster import Cluster

State = Literal["volume", "in-flight", "pending"]


class Taker(NamedTuple):
    """Somebody who takes room out of a pool. claim: `namespace/name`, empty for a volume without one. pods: who needs it."""

    state: State
    claim: str
    volume: str
    bytes: int
    pods: tuple[str, ...]
    node: str

    @property
    def name(self) -> str:
        """What it is called in a table: the claim, or the volume where there is no claim."""
        return self.claim or self.volume

    def as_json(self) -> dict[str, Json]:
        rest: dict[str, Json] = {"state": self.state, "claim": self.claim or None, "volume": self.volume or None, "bytes": self.bytes}
        return rest | {"pods": list(self.pods), "node": self.node or None}


@dataclass
class PoolReport:
    """One capacity object. capacity: bytes, None when it publishes no total. beyond: takers it has no room for."""

    pool: CSIStorageCapacity
    capacity: int | None
    takers: list[Taker] = field(default_factory=list)
    beyond: list[Taker] = field(default_factory=list)
    _left: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self._left = self.capacity or 0

    def take(self, taker: Taker) -> None:
        """The next one to draw on the pool."""
        self.takers.append(taker)
        if self.capacity is None:
            return
        if taker.bytes > self._left:
            self.beyond.append(taker)
        else:
            self._left -= taker.bytes

    def total(self, *states: State) -> int:
        """Bytes taken, by takers of these states or of all."""
        return sum(taker.bytes for taker in self.takers if not states or taker.state in states)

    @property
    def over(self) -> int:
        """Bytes beyond what the pool has."""
        return 0 if self.capacity is None else max(0, self.total() - self.capacity)

    def as_json(self) -> dict[str, Json]:
        body: Any = to_json(self.pool)
        return {
            "namespace": meta(self.pool).namespace,
            "name": meta(self.pool).name,
            "storageClassName": self.pool.storageClassName,
            "nodeTopology": body.get("nodeTopology"),
            "capacity": self.pool.capacity,
            "maximumVolumeSize": self.pool.maximumVolumeSize,
            "capacityBytes": self.capacity,
            "heldBytes": self.total("volume", "in-flight"),
            "pendingBytes": self.total("pending"),
            "overcommittedBytes": self.over,
            "takers": [taker.as_json() for taker in self.takers],
            "beyond": [taker.as_json() for taker in self.beyond],
        }


@dataclass
class OvercommitReport:
    """Pools by namespace and name. Pods as `namespace/name`: unplaced are those that the compatible mode sends nowhere; held_back those
    that it sends somewhere and exact capacity would not; moved those that exact capacity would send to another node."""

    pools: list[PoolReport]
    unplaced: list[str]
    held_back: list[str]
    moved: list[str]

    @property
    def overcommitted(self) -> list[PoolReport]:
        """The pools that would be asked for more than they have."""
        return [report for report in self.pools if report.over]

    @property
    def beyond(self) -> list[Taker]:
        """Everybody some pool has no room for, each once."""
        return list(dict.fromkeys(taker for report in self.pools for taker in report.beyond))

    def as_json(self) -> dict[str, Json]:
        """For scripts: the same facts as plain data, sizes in bytes."""
        return {
            "pools": [report.as_json() for report in self.pools],
            "overcommittedPools": len(self.overcommitted),
            "overcommittedBytes": sum(report.over for report in self.pools),
            "beyond": [taker.as_json() for taker in self.beyond],
            "unschedulablePods": list(self.unplaced),
            "heldBackPods": list(self.held_back),
            "movedPods": list(self.moved),
        }


def overcommitted(cluster: Cluster) -> OvercommitReport:
    """Look at a cluster as it is now."""
    cache = cluster.fresh_cache(ledger=True)
    assert cache.ledger is not None
    reports = {
        pool_name(pool): PoolReport(pool, published(pool).capacity)
        for pool in cache.all("CSIStorageCapacity")
        if cache.ledger.counts(pool.storageClassName)
    }
    for taker, pools in _held(cluster, cache.ledger):
        for name in pools:
            if name in reports:
                reports[name].take(taker)
    exact = cluster.fresh_cache(ledger=True)
    report = OvercommitReport(list(reports.values()), [], [], [])
    for pod in _in_queue_order(cluster.list("Pod")):
        name = f"{meta(pod).namespace}/{meta(pod).name}"
        node, exact_node = _place(cluster, cache, pod, reports), _place_exactly(cluster, exact, pod)
        if node is None:
            report.unplaced.append(name)
        elif exact_node is None:
            report.held_back.append(name)
        elif exact_node != node:
            report.moved.append(name)
    return report


def _held(cluster: Cluster, ledger: CapacityLedger) -> list[tuple[Taker, tuple[str, ...]]]:
    """Volumes first, since they are there; then the claims under way."""
    users: dict[str, list[str]] = {}
    for pod in cluster.list("Pod"):
        for _, name, _ in claim_names(pod) if not pod_terminated(pod) else ():
            users.setdefault(f"{meta(pod).namespace}/{name}", []).append(f"{meta(pod).namespace}/{meta(pod).name}")
    found: list[tuple[Taker, tuple[str, ...]]] = []
    for holder in reversed(ledger.all_holders()):
        volume = "" if holder.node else holder.key
        state: State = "in-flight" if holder.node else "volume"
        taker = Taker(state, holder.claim, volume, holder.bytes, tuple(users.get(holder.claim, ())), holder.node)
        found.append((taker, holder.pools))
    return sorted(found, key=lambda item: (item[0].state != "volume", item[0].name))


def _in_queue_order(pods: Sequence[Pod]) -> list[Pod]:
    """Pods without a node: higher priority first, then the longer waiting. A gated pod is not tried."""
    waiting = [pod for pod in pods if pod.spec is not None and not pod.spec.nodeName and not pod_terminated(pod)]
    return sorted(
        (pod for pod in waiting if not (pod.spec and pod.spec.schedulingGates)), key=lambda pod: (-priority_of(pod), version_of(pod))
    )


def _place_exactly(cluster: Cluster, cache: SchedulerCache, pod: Pod) -> str | None:
    """Send a pod where exact capacity does, into a cache of its own; None when it fits nowhere."""
    decision = cluster.scheduler.decide(pod, cache=cache, exact_capacity=True)
    if decision.error is not None or decision.node is None:
        return None
    cache.assume(pod, decision.node, decision=decision)
    return decision.node


def _place(cluster: Cluster, cache: SchedulerCache, pod: Pod, reports: dict[str, PoolReport]) -> str | None:
    """Send a pod where the compatible decision does, and enter what its claims take; None when it fits nowhere."""
    decision = cluster.scheduler.decide(pod, cache=cache, exact_capacity=False)
    if decision.error is not None or decision.node is None:
        return None
    plan = decision.volumes(decision.node)
    ledger = cache.ledger
    assert ledger is not None
    name = f"{meta(pod).namespace}/{meta(pod).name}"
    for key, pool in dict.fromkeys((step.claim, step.capacity) for step in plan.provision if step.capacity is not None):
        claim = cache.claims.get(key)
        if pool not in reports or ledger.holder("PersistentVolumeClaim", key) is not None:
            continue  # under way already, and counted as that
        taker = Taker("pending", key, "", claim_bytes(claim), (name,), decision.node)
        for drawn in ledger.drawn_with(reports[pool].pool):
            if drawn in reports:
                reports[drawn].take(taker)
    cache.assume(pod, decision.node, decision=decision)
    return decision.node
