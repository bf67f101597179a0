"""Pods that no kubelet will ever end: those of lost nodes, and those deleted before they had a node.

    every 20 s, each pod ──GARBAGE──> keep
                             └──> phase Failed, with the condition DisruptionTarget if its node is lost ──> DELETE with grace period 0

A node that is not known is in quarantine for 40 s, then the API server is asked; the quarantine is kept in memory. A node that carries
the taint node.kubernetes.io/out-of-service and is not ready is as good as lost for pods that are being deleted. Of pods that have ended,
the oldest are removed above a threshold. Rounds happen only while there is something a round could be about.
Source: pkg/controller/podgc/gc_controller.go.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from typing import Final

from lightkube.models.core_v1 import Node, Pod, PodCondition, PodStatus

from volsched.api.edit import is_deleting, replace, uid_of
from volsched.api.kinds import Key, meta
from volsched.api.watch import Change, WatchEvent
from volsched.cache.view import View
from volsched.controllers.csi_common import NS_PER_S, amend, ns_of, time_of
from volsched.controllers.decision_table import ANY, DecisionTable
from volsched.errors import ApiError, NotFoundError
from volsched.ports import DONE, Clock, Delete, Done, Intent, QueueSpec, Read, Requeue, Steps, Update, WorkItem

ROUND: Final = WorkItem("rounds", "all")
INTERVAL_NS: Final = 20 * NS_PER_S
QUARANTINE_NS: Final = 40 * NS_PER_S
TERMINATED_MAX: Final = 12_500
OUT_OF_SERVICE: Final = "node.kubernetes.io/out-of-service"
ENDED: Final = frozenset({"Failed", "Succeeded"})


class NodeState(enum.Enum):
    """What is known of a pod's node."""

    NONE = "the pod has no node"
    THERE = "exists"
    OUT = "exists, not ready, tainted as out of service"
    MISSING = "not known, in quarantine"
    LOST = "does not exist, says the API server"


class Fate(enum.Enum):
    """What becomes of a pod."""

    KEEP = "nothing"
    END = "Failed, then removed"
    END_LOST = "Failed because its node does not exist any more, then removed"


# fmt: off
GARBAGE: Final = DecisionTable[Fate](
    {"node": tuple(NodeState), "deleting": (False, True), "surplus": (False, True)},
    (
        #               node              deleting surplus
        (Fate.END_LOST, (NodeState.LOST,   ANY,    ANY)),
        (Fate.END,      (ANY,              ANY,    True)),
        (Fate.END,      (NodeState.OUT,    True,   ANY)),
        (Fate.END,      (NodeState.NONE,   True,   ANY)),
        (Fate.KEEP,     (ANY,              ANY,    False)),
    ),
)
# fmt: on


def is_out(node: Node) -> bool:
    """Whether a node is not ready and said to be out of service."""
    conditions = (node.status.conditions if node.status else None) or ()
    ready = any(entry.type == "Ready" and entry.status == "True" for entry in conditions)
    taints = (node.spec.taints if node.spec else None) or ()
    return not ready and any(taint.key == OUT_OF_SERVICE for taint in taints)


def failed_status(pod: Pod, fate: Fate, now_ns: int) -> PodStatus:
    """Status of a pod that is given up."""
    status = replace(pod.status or PodStatus(), phase="Failed")
    if fate is not Fate.END_LOST:
        return status
    lost = PodCondition(
        type="DisruptionTarget",
        status="True",
        reason="DeletionByPodGC",
        message="PodGC: node no longer exists",
        lastTransitionTime=time_of(now_ns),
    )
    old = next((entry for entry in status.conditions or () if entry.type == lost.type), None)
    if old is not None and old.status == lost.status:
        lost = replace(lost, lastTransitionTime=old.lastTransitionTime)
    return replace(status, conditions=[entry for entry in status.conditions or () if entry.type != lost.type] + [lost])


def _age(pod: Pod) -> tuple[bool, int, str]:
    """The order in which ended pods are removed: evicted ones, then the oldest."""
    evicted = pod.status is not None and pod.status.phase == "Failed" and pod.status.reason == "Evicted"
    created = meta(pod).creationTimestamp
    return not evicted, ns_of(created) if created else 0, meta(pod).name or ""


class PodGarbageCollector:
    """Decider: kube-controller-manager's pod garbage collector. terminated_max: how many ended pods may stay."""

    name: str = "kube-controller-manager"
    component: str = "pod-garbage-collector"
    kinds: frozenset[str] = frozenset({"Pod", "Node"})
    queues: Mapping[str, QueueSpec] = {ROUND.queue: QueueSpec()}
    resync_s: float | None = None

    def __init__(self, clock: Clock, *, terminated_max: int = TERMINATED_MAX) -> None:
        self._clock = clock
        self._terminated_max = terminated_max
        self._view = View(self.kinds)
        self._started_ns = clock.now_ns()
        self._last_ns = -1  # the latest round
        self._by_node: dict[str, dict[Key, None]] = {}
        self._missing: dict[str, None] = {}  # nodes of pods that do not exist, as far as seen
        self._deleting: dict[Key, None] = {}
        self._ended: dict[Key, None] = {}
        self._quarantine: dict[str, int] = {}  # node -> when it may be asked for

    # the decider's shape

    def start(self) -> Steps[None]:
        self._started_ns = self._clock.now_ns()
        yield from ()

    def observe(self, event: WatchEvent) -> Iterable[WorkItem]:
        old, taken = self._view.observe(event)
        if taken and event.kind == "Pod":
            self._index(event.key, old, None if event.change is Change.DELETED else event.object)
        elif taken:
            self._look_for(event.key.name)
        return ()

    def _index(self, key: Key, old: Pod | None, pod: Pod | None) -> None:
        for before in (old, pod):
            node = before.spec.nodeName if before is not None and before.spec else None
            if node and before is pod:
                self._by_node.setdefault(node, {})[key] = None
            elif node:
                self._by_node.get(node, {}).pop(key, None)
                if not self._by_node.get(node):
                    self._by_node.pop(node, None)
            if node:
                self._look_for(node)
        for index, holds in ((self._deleting, pod is not None and is_deleting(pod)), (self._ended, pod is not None and _has_ended(pod))):
            if holds:
                index[key] = None
            else:
                index.pop(key, None)

    def _look_for(self, node: str) -> None:
        if node in self._by_node and self._view.get("Node", "", node) is None:
            self._missing[node] = None
        else:
            self._missing.pop(node, None)

    def work(self, item: WorkItem) -> Steps[Done | Requeue]:
        self._last_ns = self._clock.now_ns()
        lost = yield from self._lost_nodes()
        surplus = self._surplus()
        problem: ApiError | None = None
        for key in self._suspects(lost, surplus):
            pod: Pod | None = self._view.get(*key)
            if pod is None:
                continue
            fate = GARBAGE.decide(node=self._node_state(pod, lost), deleting=is_deleting(pod), surplus=key in surplus)
            try:
                if fate is not Fate.KEEP:
                    yield from self._end(pod, fate)
            except NotFoundError:
                continue
            except ApiError as found:
                problem = problem or found  # the others go on; the next round comes to this one again
        if problem is not None:
            raise problem
        for node in lost:
            self._quarantine.pop(node, None)
        return DONE

    def resync(self) -> Iterable[WorkItem]:
        return ()

    def wake_at_ns(self) -> int | None:
        if not (self._missing or self._quarantine or self._deleting or len(self._ended) > self._terminated_max):
            return None
        now = self._clock.now_ns()
        elapsed = max(now, self._last_ns + 1) - self._started_ns
        return self._started_ns + -(-elapsed // INTERVAL_NS) * INTERVAL_NS

    def wake(self, now_ns: int) -> Iterable[WorkItem]:
        at_ns = self.wake_at_ns()
        if at_ns is None or at_ns > now_ns:
            return []
        self._last_ns = now_ns
        return [ROUND]

    # one round

    def _lost_nodes(self) -> Steps[set[str]]:
        """Nodes whose quarantine is over and that the API server does not know."""
        now, lost = self._clock.now_ns(), set[str]()
        for name in sorted(self._missing):
            self._quarantine.setdefault(name, now + QUARANTINE_NS)
        for name in sorted(name for name, until in self._quarantine.items() if until <= now):
            if name not in self._missing:
                del self._quarantine[name]
                continue
            try:
                yield Read("Node", "", name)
            except NotFoundError:
                lost.add(name)
        return lost

    def _surplus(self) -> set[Key]:
        """Ended pods above the threshold."""
        count = len(self._ended) - self._terminated_max
        if count <= 0:
            return set()
        pods = [(pod, key) for key in self._ended if (pod := self._view.get(*key)) is not None]
        return {key for _, key in sorted((_age(pod), key) for pod, key in pods)[:count]}

    def _suspects(self, lost: set[str], surplus: set[Key]) -> list[Key]:
        found = {*self._deleting, *surplus}
        for node in lost:
            found.update(self._by_node.get(node, ()))
        return sorted(found)

    def _node_state(self, pod: Pod, lost: set[str]) -> NodeState:
        name = pod.spec.nodeName if pod.spec else None
        if not name:
            return NodeState.NONE
        if name in lost:
            return NodeState.LOST
        node: Node | None = self._view.get("Node", "", name)
        if node is None:
            return NodeState.MISSING
        return NodeState.OUT if is_out(node) else NodeState.THERE

    def _end(self, pod: Pod, fate: Fate) -> Steps[None]:
        def given_up(live: Pod) -> Intent | None:
            return None if _has_ended(live) else Update(replace(live, status=failed_status(live, fate, self._clock.now_ns())), "status")

        stored = yield from amend(pod, given_up)
        yield Delete("Pod", meta(stored).namespace or "", meta(stored).name or "", uid=uid_of(stored), grace_period_s=0)


def _has_ended(pod: Pod) -> bool:
    return pod.status is not None and pod.status.phase in ENDED
