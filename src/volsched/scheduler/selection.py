"""Choosing a node: the engine's decision, with promised nodes taken into account.

    decide(pod) ──> the promised node of the pod itself is tried alone first; it takes it without scoring
                └─> nodes promised to other pods of at least its priority must fit with those pods added, and without them
                    └─> fitting nodes become fewer: scores are taken anew, since they depend on who takes part

Where no node is promised to anybody, which is the rule, all of this is one decision of the engine. Extenders are asked about the nodes that
are left in the end, once.

Source: pkg/scheduler/schedule_one.go (findNodesThatFitPod, evaluateNominatedNode), runtime/framework.go
(RunFilterPluginsWithNominatedPods); spec/scheduling.md 9.3 - 9.5.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeAlias

from lightkube.models.core_v1 import Pod

from volsched.api.edit import with_spec
from volsched.api.kinds import meta
from volsched.cache.scheduler_cache import SchedulerCache, pod_id
from volsched.engine.decision import UNRESOLVABLE, Decision, Rejection, VolumePlan
from volsched.engine.plugin import CycleState
from volsched.errors import EngineError
from volsched.scheduler.framework import Verdicts
from volsched.scheduler.nominator import Nominator, nominated_node
from volsched.scheduler.queue import priority_of

# (pod, nodes of equal highest total, sorted) -> one of them, or None to leave it to the engine's tie break
Prefer: TypeAlias = Callable[[Pod, Sequence[str]], str | None]
NO_VOLUMES: Final = VolumePlan((), ())


class Decide(Protocol):
    """A profile's decision: own plugins included, extenders if asked for. Plugins remember in `state`."""

    def __call__(self, pod: Pod, only: Sequence[str] | None, *, state: CycleState | None = None, extend: bool = False) -> Decision: ...


@dataclass(frozen=True, slots=True)
class Selection:
    """What one pod's decision came to: a node with the volumes chosen on it, or why there is none.

    error: the cycle failed. verdicts: nothing fits. Neither, and no node: there are no nodes at all. state: what the plugins remember.
    """

    node: str | None = None
    plan: VolumePlan = NO_VOLUMES
    error: str | None = None
    verdicts: Verdicts | None = None
    rejecting: frozenset[str] = frozenset()
    state: CycleState = field(default_factory=CycleState)


class Selector:
    """Selects nodes for pods over one cache."""

    def __init__(
        self, cache: SchedulerCache, nominator: Nominator, *, decide: Decide, prefer: Prefer | None = None, extended: bool = False
    ) -> None:
        self._cache = cache
        self._extended = extended  # there are extenders
        self._nominator = nominator
        self._decide = decide
        self.prefer = prefer

    def select(self, pod: Pod) -> Selection:
        """Decide for a pending pod. Changes nothing in the end: pods counted in for a trial are taken out again."""
        if self._cache.node_count == 0:
            return Selection()
        promised = nominated_node(pod)
        if promised and self._cache.get("Node", "", promised) is not None:
            found = self._try_promised(pod, promised)
            if found is not None:
                return found
        promises = self._nominator.nodes()
        state = CycleState()
        decision = self._decide(pod, None, state=state, extend=not promises)
        if decision.error is not None:
            return Selection(error=decision.error)
        if decision.node is not None and not promises:
            return self._chosen(pod, decision, state)
        nodes = tuple(self._cache.engine.node_names())
        if decision.prefilter is not None:
            verdicts = Verdicts(nodes, {}, prefilter=decision.prefilter)
            return Selection(verdicts=verdicts, rejecting=decision.rejecting_plugins(), state=state)
        rejected = dict(decision.rejected())
        rejecting = decision.rejecting_plugins()
        absent = decision.absent
        if promises:
            # read now: the trials below count pods in and out, and a decision is not read across a change
            feasible = decision.feasible()
            chosen = self._chosen(pod, decision, state) if decision.node is not None and not self._extended else None
            refused = self._contested(pod, [*rejected, *feasible], promises)
            if isinstance(refused, str):
                return Selection(error=refused)
            rejected.update(refused)  # recorded in place of what the node alone would say
            rejecting |= {rejection.plugin for rejection in refused.values()}
            if not refused and chosen is not None:
                return chosen
            left = [node for node in feasible if node not in refused]
            if left:
                state = CycleState()
                decision = self._decide(pod, left, state=state, extend=True)
                if decision.error is not None:
                    return Selection(error=decision.error)
                if decision.node is not None:
                    return self._chosen(pod, decision, state)
                rejected.update(decision.rejected())
                rejecting |= decision.rejecting_plugins()
        return Selection(verdicts=Verdicts(nodes, rejected, absent=absent), rejecting=rejecting, state=state)

    def _contested(self, pod: Pod, looked_at: Sequence[str], promises: Collection[str]) -> dict[str, Rejection] | str:
        """The promised nodes that do not fit the pod beside those they are promised to; a text is an error."""
        seen = frozenset(looked_at)
        refused: dict[str, Rejection] = {}
        for node in promises:
            rivals = self._rivals(pod, node) if node in seen else []
            if not rivals:
                continue
            with_rivals = self._filter_with(pod, node, rivals)
            if isinstance(with_rivals, str):
                return with_rivals
            if with_rivals is not None:
                refused[node] = with_rivals
        return refused

    def run_filters(self, pod: Pod, node: str) -> Rejection | str | None:
        """All filters on one node, with the pods it is promised to and then without. None: fits; a text: an error."""
        rivals = self._rivals(pod, node)
        if rivals:
            refusal = self._filter_with(pod, node, rivals)
            if refusal is not None:
                return refusal
        return self._refusal(self._decide(pod, [node]), node)

    def _chosen(self, pod: Pod, decision: Decision, state: CycleState) -> Selection:
        node = decision.node
        if node is None:
            raise EngineError(f"nodes fit pod {meta(pod).namespace}/{meta(pod).name}, but the engine chose none")
        if self.prefer is not None and len(best := decision.best()) > 1:
            wish = self.prefer(pod, best)
            node = wish if wish in best else node
        return Selection(node=node, plan=decision.volumes(node), state=state)

    def _try_promised(self, pod: Pod, node: str) -> Selection | None:
        """The node this pod preempted for or was about to be bound to; None when it does not fit it (any more)."""
        rivals = self._rivals(pod, node)
        if rivals and self._filter_with(pod, node, rivals) is not None:
            return None
        state = CycleState()
        decision = self._decide(pod, [node], state=state, extend=True)
        if self._refusal(decision, node) is not None:
            return None
        return Selection(node=node, plan=decision.volumes(node), state=state)

    def _rivals(self, pod: Pod, node: str) -> list[Pod]:
        """Other pods that are promised the node and are at least as important."""
        return [other for other in self._nominator.on_node(node) if priority_of(other) >= priority_of(pod) and pod_id(other) != pod_id(pod)]

    def _filter_with(self, pod: Pod, node: str, others: Sequence[Pod]) -> Rejection | str | None:
        with self._counted(others, node):
            return self._refusal(self._decide(pod, [node]), node)

    @staticmethod
    def _refusal(decision: Decision, node: str) -> Rejection | str | None:
        if decision.error is not None:
            return decision.error
        if decision.prefilter is not None:
            return decision.prefilter
        if node in decision.feasible():
            return None
        # a node outside a PreFilter's node set has no refusal of its own
        return decision.rejected().get(node) or Rejection("", UNRESOLVABLE, ())

    @contextmanager
    def _counted(self, pods: Sequence[Pod], node: str) -> Iterator[None]:
        engine = self._cache.engine
        added = [with_spec(pod, nodeName=node) for pod in pods if self._cache.assigned_pod(pod) is None]
        for pod in added:
            engine.upsert(pod)
        try:
            yield
        finally:
            for pod in added:
                engine.remove("Pod", meta(pod).namespace or "default", meta(pod).name or "")
