"""What-if questions about one decision's pod, answered by the native engine; see `volsched.engine.decision.Trial`.

    without own filters    many nodes in one native call
    with own filters       node by node: the native filters' verdict, then the own filters that stand before the one that refused

Own plugins see the arrays of the cluster as if only the pods thought to be there were on the node, and a clone of what they remember.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeAlias

from lightkube.models.core_v1 import Pod

from volsched.api.kinds import key_of
from volsched.engine import _core, _rows
from volsched.engine.chain import Arrangement, ask_filter, ask_follow
from volsched.engine.decision import UNRESOLVABLE, UNSCHEDULABLE, Emptied, Eviction, NodeVerdict, Rejection
from volsched.engine.plugin import CycleState, CycleView, IntArray
from volsched.errors import EngineError, PluginError

GuestRows: TypeAlias = tuple[bytes, bytes, bytes]


def guest_rows(pods: Sequence[Pod]) -> list[GuestRows]:
    """Pods that are on no node as the native engine reads them."""
    return [(_rows.program_row(pod), _rows.instance_row(pod), _rows.usage_row(pod)) for pod in pods]


def promised_rows(beside: Mapping[str, Sequence[Pod]]) -> list[tuple[str, list[GuestRows]]]:
    """The same by node; nodes that nobody is promised are left out."""
    return [(node, guest_rows(pods)) for node, pods in beside.items() if pods]


def verdict_of(found: str | tuple[str, str, tuple[str, ...]] | None) -> NodeVerdict:
    """The native engine's answer as users read it."""
    return found if found is None or isinstance(found, str) else Rejection._make(found)


def _names(pods: Sequence[Pod]) -> list[tuple[str, str]]:
    return [key_of(pod)[1:] for pod in pods]


def _priority(pod: Pod) -> int:
    return (pod.spec.priority if pod.spec else None) or 0


class NativeTrial:
    """A trial of built-in plugins alone."""

    __slots__ = ("_core",)

    def __init__(self, core: _core.Trial) -> None:
        self._core = core

    def verdict(self, node: str, *, without: Sequence[Pod] = (), beside: Sequence[Pod] = ()) -> NodeVerdict:
        self._core.enter(node)
        for namespace, name in _names(without):
            self._core.remove(namespace, name)
        for guest in guest_rows(beside):
            self._core.add_guest(*guest)
        found = self._core.verdict()
        if beside and found is None:
            self._core.remove_guests()
            found = self._core.verdict()
        return verdict_of(found[1] if found is not None else None)

    def emptied(self, nodes: Sequence[str], *, below: int, beside: Mapping[str, Sequence[Pod]]) -> list[Emptied]:
        shared: dict[Any, NodeVerdict] = {}
        answers: list[Emptied] = []
        for removed, found in self._core.emptied(list(nodes), below, promised_rows(beside)):
            if found not in shared:
                shared[found] = verdict_of(found)
            answers.append(Emptied(removed, shared[found]))
        return answers

    def needed(self, evictions: Sequence[Eviction]) -> list[tuple[int, ...] | str]:
        cases = [(item.node, _names(item.victims), guest_rows(item.beside)) for item in evictions]
        return list(self._core.needed(cases))


class _TriedColumns:
    """The engine's columns with one node as the trial has it."""

    def __init__(self, core: _core.Engine, trial: _core.Trial, place: int) -> None:
        self._core = core
        self._trial = trial
        self._place = place
        self.generation = core.generation

    def node_names(self) -> Sequence[str]:
        return self._core.node_names()

    def resource_names(self) -> Sequence[str]:
        return self._core.resource_names()

    def allocatable(self, resource: str) -> IntArray:
        return self._core.allocatable(resource)

    def pods_allocatable(self) -> IntArray:
        return self._core.pods_allocatable()

    def label_values(self, key: str) -> Sequence[str | None]:
        return self._core.label_values(key)

    def _with_here(self, column: IntArray, here: int) -> IntArray:
        made = column.copy()
        made[self._place] = here
        made.flags.writeable = False
        return made

    def requested(self, resource: str) -> IntArray:
        return self._with_here(self._core.requested(resource), self._trial.requested_here(resource))

    def pods_counted(self) -> IntArray:
        return self._with_here(self._core.pods_counted(), self._trial.pods_here())


class MixedTrial:
    """A trial in which own plugins take part. `skipped`: those of them that skipped at PreFilter; `cycle`: how they saw the cluster;
    `pods_on`: the pods of a node."""

    def __init__(
        self,
        core: _core.Engine,
        trial: _core.Trial,
        cycle: CycleView,
        pod: Pod,
        *,
        arrangement: Arrangement,
        skipped: frozenset[str],
        pods_on: Callable[[str], Sequence[Pod]] | None = None,
    ) -> None:
        self._core = core
        self._trial = trial
        self._cycle = cycle
        self._pod = pod
        self._lookup = pods_on
        self._filters = [step for step in arrangement.filters if step.name not in skipped]
        self._followers = [step for step in arrangement.pre_filters if step.own is not None and step.name not in skipped]
        self._node = 0

    def _pods_on(self, node: str) -> Sequence[Pod]:
        if self._lookup is None:
            raise EngineError("own plugins follow the pods that are tried: say with pods_on how the pods of a node are looked up")
        return self._lookup(node)

    # One node

    def _enter(self, node: str) -> CycleState:
        self._trial.enter(node)
        self._node = self._cycle.index_of(node)
        return self._cycle.state.clone()

    def _view(self, state: CycleState) -> CycleView:
        columns = _TriedColumns(self._core, self._trial, self._node)
        return CycleView(columns, columns, state)

    def _tell(self, method: Literal["add_pod", "remove_pod"], pod: Pod, state: CycleState) -> None:
        if self._followers:
            view = self._view(state)
            for step in self._followers:
                ask_follow(step, method, view, self._pod, pod, self._node)

    def _remove(self, pod: Pod, state: CycleState) -> None:
        self._trial.remove(*key_of(pod)[1:])
        self._tell("remove_pod", pod, state)

    def _give_back(self, pod: Pod, state: CycleState) -> None:
        self._trial.give_back(*key_of(pod)[1:])
        self._tell("add_pod", pod, state)

    def _judge(self, state: CycleState) -> tuple[str, NodeVerdict]:
        """The filter that does not let the pod pass, and what it says."""
        found = self._trial.verdict()
        stop = found[0] if found is not None else ""
        for step in self._filters:
            if step.own is None:
                if step.name == stop and found is not None:
                    return stop, verdict_of(found[1])
                continue
            mask = self._cycle.nowhere()
            mask[self._node] = True
            try:
                for answer in ask_filter(step, self._view(state), self._pod, mask):
                    if not answer.keep[self._node]:
                        reasons = (answer.reason,) if answer.reason else ()
                        return step.name, Rejection(step.name, UNSCHEDULABLE if answer.resolvable else UNRESOLVABLE, reasons)
            except PluginError as failure:
                return step.name, f'running "{step.name}" filter plugin: {failure}'
        return "", None

    def beside(self, node: str, pods: Sequence[Pod]) -> tuple[str, NodeVerdict]:
        """What the filters say with promised pods on the node, and which of them says it."""
        return self._judge_beside(self._enter(node), pods)

    def _judge_beside(self, state: CycleState, pods: Sequence[Pod]) -> tuple[str, NodeVerdict]:
        tried = state.clone()
        try:
            for pod, rows in zip(pods, guest_rows(pods), strict=True):
                self._trial.add_guest(*rows)
                self._tell("add_pod", pod, tried)
            return self._judge(tried)
        except PluginError as failure:
            return "", str(failure)
        finally:
            self._trial.remove_guests()

    def _judge_both(self, state: CycleState, pods: Sequence[Pod]) -> NodeVerdict:
        found = self._judge_beside(state, pods)[1] if pods else None
        return found if found is not None else self._judge(state)[1]

    # Questions

    def verdict(self, node: str, *, without: Sequence[Pod] = (), beside: Sequence[Pod] = ()) -> NodeVerdict:
        state = self._enter(node)
        try:
            for pod in without:
                self._remove(pod, state)
        except PluginError as failure:
            return str(failure)
        return self._judge_both(state, beside)

    def emptied(self, nodes: Sequence[str], *, below: int, beside: Mapping[str, Sequence[Pod]]) -> list[Emptied]:
        answers: list[Emptied] = []
        for node in nodes:
            gone = [pod for pod in self._pods_on(node) if _priority(pod) < below]
            verdict = self.verdict(node, without=gone, beside=beside.get(node, ())) if gone else None
            answers.append(Emptied(len(gone), verdict))
        return answers

    def needed(self, evictions: Sequence[Eviction]) -> list[tuple[int, ...] | str]:
        return [self._needed(eviction) for eviction in evictions]

    def _needed(self, eviction: Eviction) -> tuple[int, ...] | str:
        state = self._enter(eviction.node)
        kept_out: list[int] = []
        try:
            for pod in eviction.victims:
                self._remove(pod, state)
            for place, pod in enumerate(eviction.victims):
                self._give_back(pod, state)
                if self._judge_both(state, eviction.beside) is not None:
                    self._remove(pod, state)
                    kept_out.append(place)
        except PluginError as failure:
            return str(failure)
        return tuple(kept_out)
