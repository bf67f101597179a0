"""DefaultPreemption: make room for a pod by deleting pods of lower priority from one node.

    eligible? ──> nodes refused with Unschedulable ──> dry run each: without every lower-priority pod, does the pod fit?
                                                        └─ give back one victim after the other, the most important first, if it still fits
    candidates ──> those extenders leave ──> the one that hurts least ──> nominate it; evict its victims after the cycle
    no candidate ──> a FitError text of its own over the dry runs, with "Preemption is not helpful" for the nodes not tried

The pod is reported as unschedulable all the same and tried again when its victims are gone. While the API calls of an eviction run, the
pod is gated, so that the departures of the first victims do not wake it.

Dry runs are questions to a trial of the engine, many nodes at once, in blocks of as many as candidates are wanted: nodes that would not fit
the pod even without any victim need nothing more, and after enough candidates no further node is looked at. Where upstream leaves the
choice to chance (where to start, what order candidates have), node order decides.

Source: pkg/scheduler/framework/plugins/defaultpreemption/default_preemption.go, pkg/scheduler/framework/preemption/*.go;
spec/scheduling.md 11.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from lightkube.models.core_v1 import Pod, PodCondition
from lightkube.models.policy_v1 import PodDisruptionBudget

from volsched.api.edit import labels_of, uid_of
from volsched.api.kinds import meta
from volsched.cache.scheduler_cache import pod_id
from volsched.engine.decision import UNRESOLVABLE, UNSCHEDULABLE, Eviction, Rejection, Trial
from volsched.errors import ApiError, NotFoundError, PluginError
from volsched.ports import Delete, Emit, Pause, Steps
from volsched.rules.selectors import Selector, SelectorError, compile_selector
from volsched.scheduler.conditions import status_patch, with_condition
from volsched.scheduler.events import ASSIGNED_POD_DELETE
from volsched.scheduler.extenders import Victims
from volsched.scheduler.framework import (
    OK,
    Code,
    CycleState,
    Handle,
    Nominating,
    PostFilterResult,
    Status,
    Verdicts,
    Wake,
    fit_error,
)
from volsched.scheduler.nominator import nominated_node
from volsched.scheduler.priority import priority_of
from volsched.scheduler.retry import persistently

NAME: Final = "DefaultPreemption"
FAILED_EVICTION_WAIT_S: Final = 1.0
_NO_VICTIMS: Final = Rejection("", UNRESOLVABLE, ("No preemption victims found for incoming pod",))
_NOT_HELPFUL: Final = Rejection("", UNRESOLVABLE, ("Preemption is not helpful for scheduling",))
_PRIORITY_OFFSET: Final = 1 << 31  # makes every priority count as a victim more, so that fewer victims win


class Candidate(NamedTuple):
    """A node that would fit the pod without these victims, the most important first."""

    node: str
    victims: tuple[Pod, ...]
    violations: int  # victims whose eviction breaks a PodDisruptionBudget


class _Victim(NamedTuple):
    """A pod that may have to go. `importance`: the smaller the more important. `is_violating`: its eviction breaks a budget."""

    pod: Pod
    importance: tuple[int, int]
    is_violating: bool


@dataclass(slots=True)
class _Findings:
    """What dry runs have come to. `wanted`: how many candidates are enough, if one of them breaks no budget; no more than these are kept of
    either sort. `tried`: why other nodes do not help."""

    wanted: int
    harmless: list[Candidate] = field(default_factory=list)
    violating: list[Candidate] = field(default_factory=list)
    tried: dict[str, Rejection] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)

    def add(self, candidate: Candidate) -> None:
        kept = self.violating if candidate.violations else self.harmless
        if len(kept) < self.wanted:
            kept.append(candidate)

    @property
    def are_enough(self) -> bool:
        return bool(self.harmless) and len(self.harmless) + len(self.violating) >= self.wanted

    @property
    def candidates(self) -> list[Candidate]:
        """Those that break no budget first."""
        return self.harmless + self.violating


@dataclass(frozen=True, slots=True)
class _Budget:
    namespace: str
    selector: Selector
    disrupted: frozenset[str]
    allowed: int


def start_ns(pod: Pod, now_ns: int) -> int:
    """When the pod started; one that has not counts as starting now."""
    started = pod.status.startTime if pod.status else None
    return now_ns if started is None else int(started.timestamp() * 1_000_000_000)


def earliest_start_ns(victims: Sequence[Pod], now_ns: int) -> int:
    """The earliest start among the victims of the highest priority."""
    highest = max(priority_of(victim) for victim in victims)
    return min(start_ns(victim, now_ns) for victim in victims if priority_of(victim) == highest)


def preempted_and_terminating(pod: Pod) -> bool:
    """Whether a preemption is already getting rid of the pod."""
    if meta(pod).deletionTimestamp is None:
        return False
    for condition in (pod.status.conditions if pod.status else None) or ():
        if condition.type == "DisruptionTarget":
            return condition.status == "True" and condition.reason == "PreemptionByScheduler"
    return False


def choose(candidates: Sequence[Candidate], now_ns: int) -> Candidate:
    """The candidate that hurts least; the first of several equal ones."""
    criteria: tuple[Callable[[Candidate], int], ...] = (
        lambda c: c.violations,
        lambda c: priority_of(c.victims[0]),
        lambda c: sum(priority_of(victim) + _PRIORITY_OFFSET for victim in c.victims),
        lambda c: len(c.victims),
        lambda c: -earliest_start_ns(c.victims, now_ns),
    )
    left = list(candidates)
    for criterion in criteria:
        best = min(criterion(candidate) for candidate in left)
        left = [candidate for candidate in left if criterion(candidate) == best]
        if len(left) == 1:
            break
    return left[0]


class DefaultPreemption:
    """PreEnqueue and PostFilter."""

    name = NAME

    def __init__(self, handle: Handle, *, min_candidates_percent: int = 10, min_candidates: int = 100) -> None:
        self._handle = handle
        self._min_candidates_percent = min_candidates_percent
        self._min_candidates = min_candidates
        self._preempting: set[str] = set()  # pods whose evictions are under way
        self._last_victim: dict[str, tuple[str, str]] = {}  # pod -> the victim whose eviction is the last to be asked for

    def wakes_on(self) -> Sequence[Wake]:
        # Registered so that a gated pod is looked at again when a pod leaves; the event alone makes nothing schedulable.
        return (Wake(ASSIGNED_POD_DELETE, lambda pod, old, new: False),)

    def pre_enqueue(self, pod: Pod) -> Status:
        if self._is_preempting(pod_id(pod)):
            return Status.refuse("waiting for the preemption for this pod to be finished", resolvable=False)
        return OK

    def _is_preempting(self, uid: str) -> bool:
        if uid not in self._preempting:
            return False
        if uid not in self._last_victim:
            return True
        # the event of the last victim's end may come before the answer to its deletion
        victim = self._handle.cache.get("Pod", *self._last_victim[uid])
        return victim is not None and meta(victim).deletionTimestamp is None

    def post_filter(self, handle: Handle, state: CycleState, pod: Pod, verdicts: Verdicts) -> PostFilterResult:
        metadata = meta(pod)
        current: Pod | None = handle.cache.get("Pod", metadata.namespace or "default", metadata.name or "")
        if current is None:
            return PostFilterResult(Status.fail(f'preemption: pod "{metadata.name}" not found'))
        refusal = self._not_eligible(current, verdicts)
        if refusal:
            return PostFilterResult(Status.refuse(f"preemption: {refusal}"))
        found = self._dry_runs(current, state, verdicts)
        if found.errors and not found.candidates:
            distinct = list(dict.fromkeys(found.errors))
            text = distinct[0] if len(distinct) == 1 else f"[{', '.join(distinct)}]"
            return PostFilterResult(Status.fail(f"preemption: {text}"))
        if not found.candidates:
            text = fit_error(Verdicts(verdicts.nodes, found.tried, absent=_NOT_HELPFUL))
            return PostFilterResult(Status.refuse(f"preemption: {text}"), Nominating(""))
        left = self._ask_extenders(current, found.candidates)
        if isinstance(left, str):
            return PostFilterResult(Status.fail(f"preemption: {left}"))
        if not left:
            return PostFilterResult(Status.refuse("preemption: no candidate node for preemption"))
        best = choose(left, handle.now_ns())
        text = f"preemption: found a potential placement for pod on node {best.node}, preempting {len(best.victims)} victims"
        victims = [victim for victim in best.victims if meta(victim).deletionTimestamp is None]
        if not victims:
            return PostFilterResult(Status(Code.SUCCESS, (text,)), Nominating(best.node))
        self._preempting.add(pod_id(current))
        return PostFilterResult(Status(Code.SUCCESS, (text,)), Nominating(best.node), lambda: self._evict(current, best.node, victims))

    def _not_eligible(self, pod: Pod, verdicts: Verdicts) -> str:
        """Why this pod may not preempt, empty when it may."""
        if pod.spec and pod.spec.preemptionPolicy == "Never":
            return "not eligible due to preemptionPolicy=Never."
        node = nominated_node(pod)
        if not node:
            return ""
        verdict = verdicts.of(node)
        if verdict is None or verdict.code == UNRESOLVABLE:
            return ""  # the promised node is gone, or no use any more
        for other in self._handle.cache.pods_on(node):
            if priority_of(other) < priority_of(pod) and preempted_and_terminating(other):
                return "not eligible due to a terminating pod on the nominated node."
        return ""

    def _ask_extenders(self, pod: Pod, candidates: Sequence[Candidate]) -> list[Candidate] | str:
        """The candidates that extenders leave, with the victims they want; a text is an error."""
        nodes = {candidate.node: Victims(candidate.victims, candidate.violations) for candidate in candidates}
        for extender in self._handle.extenders:
            if not extender.preempt_verb or not extender.is_interested(pod):
                continue
            try:
                answer = extender.preempt(pod, nodes, self._handle.cache.pods_on)
            except PluginError as failure:
                if extender.ignorable:
                    continue
                return str(failure)
            empty = next((node for node, victims in answer.items() if not victims.pods), None)
            if empty is not None and not extender.ignorable:
                return f'expected at least one victim pod on node "{empty}"'
            nodes = {node: victims for node, victims in answer.items() if victims.pods}
            if not nodes:
                break
        order = [candidate.node for candidate in candidates]
        known = [node for node in order if node in nodes] + sorted(nodes.keys() - set(order))
        return [Candidate(node, nodes[node].pods, nodes[node].violations) for node in known]

    # dry runs

    def _dry_runs(self, pod: Pod, state: CycleState, verdicts: Verdicts) -> _Findings:
        nodes = verdicts.with_code(UNSCHEDULABLE)
        share = len(nodes) * self._min_candidates_percent // 100
        found = _Findings(wanted=min(max(share, self._min_candidates), len(nodes)))
        if not nodes:
            return found
        trial = self._handle.trial(state)
        beside = self._handle.beside(pod)
        budgets = list(self._budgets())
        size = max(found.wanted, 1)
        for start in range(0, len(nodes), size):
            self._dry_run(pod, nodes[start : start + size], trial, beside=beside, budgets=budgets, found=found)
            if found.are_enough:
                break
        return found

    def _dry_run(
        self,
        pod: Pod,
        nodes: Sequence[str],
        trial: Trial,
        *,
        beside: Mapping[str, Sequence[Pod]],
        budgets: Sequence[_Budget],
        found: _Findings,
    ) -> None:
        """What preemption would need on each of some nodes."""
        emptied = trial.emptied(nodes, below=priority_of(pod), beside=beside)
        promising = [node for node, answer in zip(nodes, emptied, strict=True) if answer.removed and answer.verdict is None]
        ranked = [self._ranked(pod, node, budgets) for node in promising]
        evictions = [
            Eviction(node, tuple(victim.pod for victim in victims), tuple(beside.get(node, ())))
            for node, victims in zip(promising, ranked, strict=True)
        ]
        asked = zip(ranked, trial.needed(evictions), strict=True)
        for node, answer in zip(nodes, emptied, strict=True):
            if answer.removed and answer.verdict is None:
                victims, needed = next(asked)
                if isinstance(needed, str):
                    found.errors.append(needed)
                    continue
                left = [victims[place] for place in needed]
                if not left:
                    found.errors.append(f'expected at least one victim pod on node "{node}"')
                    continue
                if victims[0].is_violating and not victims[-1].is_violating:
                    left.sort(key=lambda victim: victim.importance)
                found.add(Candidate(node, tuple(victim.pod for victim in left), sum(victim.is_violating for victim in left)))
                if found.are_enough:
                    return
            elif isinstance(answer.verdict, str):
                found.errors.append(answer.verdict)
            else:
                found.tried[node] = answer.verdict or _NO_VICTIMS

    def _ranked(self, pod: Pod, node: str, budgets: Sequence[_Budget]) -> list[_Victim]:
        """The pods that may have to go, in the order in which they are given back: those that a budget guards first, then by importance."""
        now_ns = self._handle.now_ns()
        lower = [other for other in self._handle.cache.pods_on(node) if priority_of(other) < priority_of(pod)]
        # Upstream reads the clock once a pod that has not started, so among these the order on the node counts.
        rank = [(-priority_of(other), start_ns(other, now_ns + place)) for place, other in enumerate(lower)]
        order = sorted(range(len(lower)), key=rank.__getitem__)
        violating, _ = split_by_budget([lower[place] for place in order], budgets)
        guarded = {pod_id(other) for other in violating}
        victims = [_Victim(lower[place], rank[place], pod_id(lower[place]) in guarded) for place in order]
        return sorted(victims, key=lambda victim: not victim.is_violating)

    def _budgets(self) -> Iterator[_Budget]:
        budget: PodDisruptionBudget
        for budget in self._handle.cache.all("PodDisruptionBudget"):
            try:
                selector = compile_selector(budget.spec.selector if budget.spec else None)
            except SelectorError:
                continue
            if selector.is_empty:
                continue
            status = budget.status
            yield _Budget(
                meta(budget).namespace or "default",
                selector,
                frozenset((status.disruptedPods if status else None) or ()),
                (status.disruptionsAllowed if status else None) or 0,
            )

    # eviction

    def _evict(self, pod: Pod, node: str, victims: Sequence[Pod]) -> Steps[None]:
        """Carry a preemption out. A failure, or a last victim that needed no API call, moves the pod to activeQ."""
        uid = pod_id(pod)
        activate = False
        failed = False
        for other in self._handle.nominated_pods(node):
            patch = status_patch(other, nominated="") if priority_of(other) < priority_of(pod) and nominated_node(other) else None
            if patch is not None:
                try:
                    yield from persistently(patch, conflicts=True)
                except ApiError:
                    failed = True  # that pod keeps its promise, which does not hinder the eviction
        try:
            for victim in victims:
                if victim is victims[-1]:
                    self._last_victim[uid] = (meta(victim).namespace or "default", meta(victim).name or "")
                in_memory = yield from self._preempt(pod, node, victim)
                activate = in_memory and victim is victims[-1]
        except ApiError:
            failed = True
        try:
            if failed:
                # Upstream activates the pod at once, and its loop is slowed down by the calls that fail. Here they take no time.
                yield Pause(FAILED_EVICTION_WAIT_S)
        finally:
            self._preempting.discard(uid)
            self._last_victim.pop(uid, None)
        if activate or failed:
            self._handle.activate([pod])

    def _preempt(self, pod: Pod, node: str, victim: Pod) -> Steps[bool]:
        """Get rid of one victim; whether that could be done without the API server."""
        text = f"Preempted by pod {uid_of(pod)} on node {node}"
        in_memory = self._handle.is_waiting_or_binding(victim) and self._handle.stop_binding(victim, NAME)
        if in_memory:
            text += " (in kube-scheduler memory)."
        else:
            scheduler = (pod.spec.schedulerName if pod.spec else None) or ""
            condition = PodCondition(
                type="DisruptionTarget",
                status="True",
                reason="PreemptionByScheduler",
                message=f"{scheduler}: preempting to accommodate a higher priority pod",
                observedGeneration=meta(victim).generation,
            )
            metadata = meta(victim)
            try:
                patch = status_patch(victim, conditions=with_condition(victim, condition, self._handle.now_ns()))
                if patch is not None:
                    yield from persistently(patch, conflicts=True)
                yield from persistently(
                    Delete("Pod", metadata.namespace or "default", metadata.name or "", uid=metadata.uid), conflicts=False
                )
            except NotFoundError:
                return False
        yield Emit(victim, "Normal", "Preempted", text, action="Preempting", source=(pod.spec.schedulerName if pod.spec else None) or "")
        return in_memory


def split_by_budget(pods: Sequence[Pod], budgets: Sequence[_Budget]) -> tuple[list[Pod], list[Pod]]:
    """Pods whose eviction would break a budget, and the others, each in the given order. Every pod uses up what its budgets allow."""
    allowed = [budget.allowed for budget in budgets]
    violating: list[Pod] = []
    harmless: list[Pod] = []

    def breaks_a_budget(pod: Pod) -> bool:
        labels = labels_of(pod)
        if not labels:
            return False
        for index, budget in enumerate(budgets):
            metadata = meta(pod)
            if budget.namespace != (metadata.namespace or "default") or not budget.selector.matches(labels):
                continue
            if metadata.name in budget.disrupted:
                continue  # its disruption is accounted for already
            allowed[index] -= 1
            if allowed[index] < 0:
                return True
        return False

    for pod in pods:
        (violating if breaks_a_budget(pod) else harmless).append(pod)
    return violating, harmless
