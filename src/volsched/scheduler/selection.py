"""Choosing a node: the engine's decision, with promised nodes taken into account.

    decide(pod) ──> the promised node of the pod itself is tried alone first; it takes it without scoring
                └─> on nodes promised to other pods of at least its priority it must fit beside those, and without them

Both happen inside the engine, so a node that is refused because of a promise is as good as any other refused one: the search goes on, and
nobody scores it.

Source: pkg/scheduler/schedule_one.go (findNodesThatFitPod, evaluateNominatedNode), runtime/framework.go
(RunFilterPluginsWithNominatedPods); spec/scheduling.md 9.3 - 9.5.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeAlias

from lightkube.models.core_v1 import Pod

from volsched.api.kinds import meta
from volsched.cache.scheduler_cache import SchedulerCache
from volsched.engine.decision import Decision, VolumePlan
from volsched.engine.plugin import CycleState
from volsched.errors import EngineError
from volsched.scheduler.framework import TriedDecision, Verdicts
from volsched.scheduler.nominator import Nominator, nominated_node

# (pod, nodes of equal highest total, sorted) -> one of them, or None to leave it to the engine's tie break
Prefer: TypeAlias = Callable[[Pod, Sequence[str]], str | None]
NO_VOLUMES: Final = VolumePlan((), ())


class Decide(Protocol):
    """A profile's decision: own plugins included, extenders if asked for. Plugins remember in `state`; `beside`: promised pods by node."""

    def __call__(
        self,
        pod: Pod,
        only: Sequence[str] | None,
        *,
        state: CycleState,
        beside: Mapping[str, Sequence[Pod]],
        extend: bool,
    ) -> Decision: ...


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

    def __init__(self, cache: SchedulerCache, nominator: Nominator, *, decide: Decide, prefer: Prefer | None = None) -> None:
        self._cache = cache
        self._nominator = nominator
        self._decide = decide
        self.prefer = prefer

    def select(self, pod: Pod) -> Selection:
        """Decide for a pending pod. Changes nothing."""
        if self._cache.node_count == 0:
            return Selection()
        beside = self._nominator.beside(pod)
        promised = nominated_node(pod)
        if promised and self._cache.get("Node", "", promised) is not None:
            found = self._try_promised(pod, promised, beside)
            if found is not None:
                return found
        state = CycleState()
        decision = self._decide(pod, None, state=state, beside=beside, extend=True)
        if decision.error is not None:
            return Selection(error=decision.error)
        if decision.node is not None:
            return self._chosen(pod, decision, state)
        if decision.prefilter is None and decision.feasible():
            raise EngineError(f"nodes fit pod {meta(pod).namespace}/{meta(pod).name}, but the engine chose none")
        state.write(TriedDecision(decision))
        rejected = {} if decision.prefilter is not None else decision.rejected()
        nodes = tuple(self._cache.engine.node_names())
        verdicts = Verdicts(nodes, rejected, absent=decision.absent, prefilter=decision.prefilter)
        return Selection(verdicts=verdicts, rejecting=decision.rejecting_plugins(), state=state)

    def _chosen(self, pod: Pod, decision: Decision, state: CycleState) -> Selection:
        node = decision.node
        assert node is not None
        if self.prefer is not None and len(best := decision.best()) > 1:
            wish = self.prefer(pod, best)
            node = wish if wish in best else node
        return Selection(node=node, plan=decision.volumes(node), state=state)

    def _try_promised(self, pod: Pod, node: str, beside: Mapping[str, Sequence[Pod]]) -> Selection | None:
        """The node this pod preempted for or was about to be bound to; None when it does not fit it (any more)."""
        state = CycleState()
        decision = self._decide(pod, [node], state=state, beside=beside, extend=True)
        if decision.error is not None or decision.prefilter is not None or node not in decision.feasible():
            return None
        return Selection(node=node, plan=decision.volumes(node), state=state)
