"""What-if questions about one decision's pod, asked node by node; see `volsched.engine.decision.Trial`.

Source: pkg/scheduler/framework/plugins/defaultpreemption/default_preemption.go (SelectVictimsOnNode); spec/scheduling.md 11.2.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from lightkube.models.core_v1 import Pod

from volsched.engine.decision import Emptied, Eviction, NodeVerdict, Rejection
from volsched.engine.reference.filters import Filters, Judgement, OnNode, failure_text
from volsched.engine.reference.framework import Code
from volsched.errors import EngineError, PluginError


def verdict_of(judgement: Judgement) -> NodeVerdict:
    """A judgement as users of the engine read it."""
    plugin, status = judgement
    if status.is_success:
        return None
    if status.code is Code.ERROR:
        return failure_text(judgement)
    return Rejection(plugin, status.code.value, status.reasons)


def _priority(pod: Pod) -> int:
    return (pod.spec.priority if pod.spec else None) or 0


class ReferenceTrial:
    """`check` raises EngineError once the engine has changed."""

    def __init__(self, filters: Filters, check: Callable[[], None]) -> None:
        self._filters = filters
        self._nodes = {node.name: node for node in filters.snapshot.nodes}
        self._check = check

    def _on(self, node: str) -> OnNode:
        self._check()
        if node not in self._nodes:
            raise EngineError(f'there is no node "{node}"')
        return self._filters.on(self._nodes[node])

    def verdict(self, node: str, *, without: Sequence[Pod] = (), beside: Sequence[Pod] = ()) -> NodeVerdict:
        tried = self._on(node)
        gone = [tried.find(pod) for pod in without]
        try:
            for info in gone:
                tried.remove(info)
            return verdict_of(tried.judge_both(beside))
        except PluginError as failure:
            return str(failure)

    def emptied(self, nodes: Sequence[str], *, below: int, beside: Mapping[str, Sequence[Pod]]) -> list[Emptied]:
        answers: list[Emptied] = []
        for node in nodes:
            tried = self._on(node)
            gone = [info.pod for info in tried.infos if _priority(info.pod) < below]
            verdict = self.verdict(node, without=gone, beside=beside.get(node, ())) if gone else None
            answers.append(Emptied(len(gone), verdict))
        return answers

    def needed(self, evictions: Sequence[Eviction]) -> list[tuple[int, ...] | str]:
        return [self._needed(eviction) for eviction in evictions]

    def _needed(self, eviction: Eviction) -> tuple[int, ...] | str:
        tried = self._on(eviction.node)
        victims = [tried.find(pod) for pod in eviction.victims]
        kept_out: list[int] = []
        try:
            for info in victims:
                tried.remove(info)
            for place, info in enumerate(victims):
                tried.add(info)
                if not self._fits(tried, eviction.beside):
                    tried.remove(info)
                    kept_out.append(place)
        except PluginError as failure:
            return str(failure)
        return tuple(kept_out)

    @staticmethod
    def _fits(tried: OnNode, beside: Sequence[Pod]) -> bool:
        """A promised pod that a plugin cannot follow counts as a failure of the filters."""
        try:
            return tried.judge_both(beside)[1].is_success
        except PluginError:
            return False
