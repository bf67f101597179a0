"""One scheduling cycle: PreFilter, Filter, PreScore, Score, Normalize, in the order of the profile.

    PreFilter ──Skip──> the plugin's Filter is not asked
        │ refused: every node has this status         │ names: only these nodes are visited
        v
    Filter: nodes in turn from the start index; the first plugin that refuses a node is the only one recorded
        │ an error on one node fails the cycle        │ enough nodes found: stop
        v
    PreScore ──Skip──> the plugin counts 0            Score, Normalize, times weight, sum

An own plugin's Filter sees all nodes that are still in at once. With one in the profile all nodes are judged first, plugin by plugin, and
then visited; without, a node is judged when it is visited, which comes to the same. A node that is promised to other pods must let the pod
pass beside them first.

Source: pkg/scheduler/schedule_one.go, pkg/scheduler/framework/runtime/framework.go, pkg/scheduler/framework/types.go (FitError);
spec/scheduling.md 9.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

from lightkube.models.core_v1 import Pod

from volsched.engine.chain import Step, arrange, ask_pre_filter, ask_pre_score, ask_scores, invalid_score
from volsched.engine.decision import Rejection
from volsched.engine.plugin import ArrayPlugin, CycleState
from volsched.engine.profile import EngineProfile
from volsched.engine.reference.balanced_allocation import NodeResourcesBalancedAllocation
from volsched.engine.reference.filters import Filters, Judgement, failure_text, mask_of, view_of
from volsched.engine.reference.framework import SCORE_MAX, Code, NodeInfo, Plugin, Snapshot, Status, failed
from volsched.engine.reference.image_locality import ImageLocality
from volsched.engine.reference.inter_pod_affinity import InterPodAffinity
from volsched.engine.reference.node_affinity import NodeAffinity
from volsched.engine.reference.node_declared_features import NodeDeclaredFeatures
from volsched.engine.reference.node_name import NodeName
from volsched.engine.reference.node_ports import NodePorts
from volsched.engine.reference.node_resources_fit import NodeResourcesFit
from volsched.engine.reference.node_unschedulable import NodeUnschedulable
from volsched.engine.reference.node_volume_limits import NodeVolumeLimits
from volsched.engine.reference.pod_topology_spread import PodTopologySpread
from volsched.engine.reference.taint_toleration import TaintToleration
from volsched.engine.reference.volume_binding import Plan, VolumeBinding
from volsched.engine.reference.volume_restrictions import VolumeRestrictions
from volsched.engine.reference.volume_zone import VolumeZone
from volsched.errors import PluginError
from volsched.rules.numbers import quotient

# DynamicResources does nothing for the pods handled here and has no class; see `EngineProfile.filter_failure`.
PLUGINS: Final[Mapping[str, type[Plugin]]] = {
    plugin.name: plugin
    for plugin in (
        NodeName,
        NodeUnschedulable,
        TaintToleration,
        NodeAffinity,
        NodePorts,
        NodeResourcesFit,
        VolumeRestrictions,
        NodeVolumeLimits,
        VolumeBinding,
        VolumeZone,
        PodTopologySpread,
        InterPodAffinity,
        NodeResourcesBalancedAllocation,
        ImageLocality,
        NodeDeclaredFeatures,
    )
}

NO_NODES: Final = "no nodes available to schedule pods"

NODES_WANTED_MIN: Final = 100
_ADAPTIVE_PERCENT_MAX: Final = 50
_ADAPTIVE_PERCENT_MIN: Final = 5
_ADAPTIVE_NODES_PER_PERCENT: Final = 125


def nodes_wanted(nodes: int, percentage: int) -> int:
    """How many feasible nodes end the search; percentage 0 adapts to the size of the cluster."""
    if nodes < NODES_WANTED_MIN:
        return nodes
    percent = percentage
    if percent <= 0:
        percent = max(_ADAPTIVE_PERCENT_MIN, _ADAPTIVE_PERCENT_MAX - quotient(nodes, _ADAPTIVE_NODES_PER_PERCENT))
    return min(nodes, max(NODES_WANTED_MIN, quotient(nodes * min(percent, 100), 100)))


def fit_error(*, node_count: int, prefilter_text: str, rejections: Mapping[str, Rejection], absent_reasons: Sequence[str]) -> str:
    """FitError text of filters alone. Reasons are sorted with their counts as text: `10 a` comes before `2 b`."""
    head = f"0/{node_count} nodes are available:"
    if prefilter_text:
        return f"{head} {prefilter_text}."
    histogram = Counter(reason for rejection in rejections.values() for reason in rejection.reasons)
    absent = node_count - len(rejections)
    if absent > 0:
        histogram.update(dict.fromkeys(absent_reasons, absent))
    parts = sorted(f"{count} {reason}" for reason, count in histogram.items())
    return f"{head} {', '.join(parts)}." if parts else head


def heap_winner(totals: Sequence[int]) -> int:
    """Index of the node that upstream takes: the first with the highest total, walking the list as a binary heap in pre-order."""
    highest = max(totals)
    pending = [0]
    while pending:
        index = pending.pop()
        if index >= len(totals):
            continue
        if totals[index] == highest:
            return index
        pending += [2 * index + 2, 2 * index + 1]
    raise AssertionError("the walk visits every index")


class CycleResult:
    """What a cycle found. `error` is what fails it; `score_error` fails it too unless a single node fits, which needs no scores."""

    def __init__(self) -> None:
        self.prefilter: Rejection | None = None
        self.absent: Rejection | None = None  # speaks for nodes that no filter was asked about
        self.narrowing: list[str] = []  # plugins that gave a node set
        self.error: str | None = None
        self.score_error: str | None = None
        self.feasible: list[str] = []
        self.rejected: dict[str, Rejection] = {}
        self.scores: dict[str, dict[str, int]] = {}
        self.plans: dict[str, Plan] = {}
        self.message = ""
        self.visited = 0  # nodes by which the next search starts further on

    def totals(self) -> dict[str, int]:
        return {name: sum(scores.values()) for name, scores in self.scores.items()}


class Cycle:
    """One pod, one snapshot. `only` restricts the nodes; `start` and `percentage` say where the search begins and when it ends. `beside`:
    by node, promised pods."""

    def __init__(
        self,
        snapshot: Snapshot,
        pod: Pod,
        *,
        start: int,
        percentage: int,
        only: Sequence[str] | None,
        profile: EngineProfile,
        plugins: Sequence[ArrayPlugin],
        state: CycleState | None,
        beside: Mapping[str, Sequence[Pod]],
    ) -> None:
        self._snapshot = snapshot
        self._pod = pod
        self._profile = profile
        self._arrangement = arrange(profile, plugins)
        self._percentage = percentage
        # A search that ends early begins where the last one ended.
        self._takes_first = self._arrangement.takes_first
        self._rotates = percentage < 100 or self._takes_first
        self._start = start if self._rotates else 0
        self._only = only
        self._beside = beside
        self._plugins = {name: PLUGINS[name](snapshot, pod, profile) for name in sorted(profile.names) if name in PLUGINS}
        self._skipped: set[str] = set()  # plugins whose Filter is not asked
        self._nodes = list(snapshot.nodes)
        self._view = view_of(snapshot, state)
        self.result = CycleResult()

    def run(self) -> CycleResult:
        result = self.result
        if not self._snapshot.nodes:
            result.message = NO_NODES
            return result
        self._pre_filter()
        if result.prefilter is None and result.error is None:
            self._filter()
            self._filter_late()
            binding = self._plugins.get(VolumeBinding.name)
            if isinstance(binding, VolumeBinding):
                result.plans = binding.plans
            if result.error is None and result.feasible:
                result.score_error = self._score()
                if len(result.feasible) > 1:
                    result.error = result.score_error
        if result.error is None and not result.feasible:
            result.message = fit_error(
                node_count=len(self._snapshot.nodes),
                prefilter_text=", ".join(result.prefilter.reasons) if result.prefilter else "",
                rejections=result.rejected,
                absent_reasons=result.absent.reasons if result.absent else (),
            )
        return result

    # PreFilter

    def _ask_pre_filter(self, step: Step) -> tuple[Status, frozenset[str] | None]:
        if step.own is None:
            plugin = self._plugins.get(step.name)
            return plugin.pre_filter() if plugin is not None else (Status(Code.SKIP), None)
        try:
            answer = ask_pre_filter(step, self._view, self._pod)
        except PluginError as failure:
            return failed(str(failure)), None
        if answer.skip:
            return Status(Code.SKIP), None
        if answer.reason is not None:
            return Status(Code.UNSCHEDULABLE if answer.resolvable else Code.UNRESOLVABLE, (answer.reason,)), None
        if answer.nodes is None:
            return Status(Code.SUCCESS), None
        return Status(Code.SUCCESS), frozenset(name for name, kept in zip(self._view.node_names, answer.nodes, strict=True) if kept)

    def _pre_filter(self) -> None:
        result = self.result
        names: frozenset[str] | None = None
        for step in self._arrangement.pre_filters:
            status, wanted = self._ask_pre_filter(step)
            if status.code is Code.SKIP:
                self._skipped.add(step.name)
                continue
            if status.code is Code.ERROR:
                result.error = f'running PreFilter plugin "{step.name}": {status.text}'
                return
            if status.is_rejected:
                result.prefilter = Rejection(step.name, status.code.value, status.reasons)
                if status.code is Code.UNRESOLVABLE:
                    result.narrowing = []  # nobody else is to blame
                    return
                continue
            if wanted is None:
                continue
            result.narrowing.append(step.name)
            names = wanted if names is None else names & wanted
            if not names:
                result.prefilter = Rejection("", Code.UNRESOLVABLE.value, (_empty_set_text(result.narrowing),))
                return
        if result.prefilter is None and names is not None:
            self._nodes = [node for node in self._nodes if node.name in names]
            text = f"node(s) didn't satisfy plugin(s) [{' '.join(sorted(result.narrowing))}]"
            result.absent = Rejection("", Code.UNRESOLVABLE.value, (text,))

    # Filter

    def filters(self) -> Filters:
        """The filters, as the PreFilters have left them."""
        return Filters(
            self._snapshot,
            self._pod,
            profile=self._profile,
            arrangement=self._arrangement,
            plugins=self._plugins,
            skipped=frozenset(self._skipped),
            view=self._view,
        )

    def _filter(self) -> None:
        result = self.result
        filters = self.filters()
        nodes = self._nodes if self._only is None else [node for node in self._nodes if node.name in set(self._only)]
        wanted = 1 if self._takes_first else nodes_wanted(len(nodes), self._percentage)
        contested = {node.name: self._beside_promised(filters, node, pods) for node in nodes if (pods := self._beside.get(node.name))}
        refused = {name: judgement for name, judgement in contested.items() if not judgement[1].is_success}
        has_own = any(step.own is not None for step in self._arrangement.filters)
        judge_alone = filters.judge_all([node for node in nodes if node.name not in refused]) if has_own else filters.judge

        def judge(node: NodeInfo) -> Judgement:
            return refused.get(node.name) or judge_alone(node)

        for offset in range(len(nodes)):
            node = nodes[(self._start + offset) % len(nodes)]
            plugin, status = judgement = judge(node)
            if status.code is Code.ERROR:
                result.error = failure_text(judgement)
                break
            if status.is_rejected:
                result.rejected[node.name] = Rejection(plugin, status.code.value, status.reasons)
            elif len(result.feasible) == wanted:
                break
            else:
                result.feasible.append(node.name)
        if self._only is None and self._rotates:
            result.visited = len(result.feasible) + len(result.rejected)

    @staticmethod
    def _beside_promised(filters: Filters, node: NodeInfo, pods: Sequence[Pod]) -> Judgement:
        try:
            return filters.on(node).judge_beside(pods)
        except PluginError as failure:
            return "", failed(str(failure))

    def _filter_late(self) -> None:
        """Own filters over what the search has found. Their errors are told as they are."""
        result = self.result
        filters = self.filters()
        for step in self._arrangement.late:
            alive = [node for node in self._nodes if node.name in set(result.feasible)]
            if result.error is not None or not alive:
                return
            try:
                refused = filters.ask_own(step, self._view, alive)
            except PluginError as failure:
                result.error = str(failure)
                return
            result.rejected.update({name: Rejection(who, status.code.value, status.reasons) for name, (who, status) in refused.items()})
            result.feasible = [name for name in result.feasible if name not in refused]

    # Score

    def _score(self) -> str | None:
        """Fill in the scores; the text of the failure if a plugin could not score."""
        by_name = {node.name: node for node in self._nodes}
        feasible = [by_name[name] for name in self.result.feasible]
        skipped: set[str] = set()
        for step in self._arrangement.pre_scores:
            status = self._ask_pre_score(step, feasible)
            if status.code is Code.ERROR:
                return f'running PreScore plugin "{step.name}": {status.text}'
            if status.code is Code.SKIP:
                skipped.add(step.name)
        scores: dict[str, dict[str, int]] = {name: {} for name in self.result.feasible}
        for step in self._arrangement.scores:
            if step.name in skipped:
                continue
            try:
                normalized = self._ask_scores(step, feasible)
            except PluginError as failure:
                return str(failure)
            for name, score in normalized.items():
                scores[name][step.name] = score * step.weight
        self.result.scores = scores
        return None

    def _ask_pre_score(self, step: Step, feasible: Sequence[NodeInfo]) -> Status:
        if step.own is not None:
            try:
                return Status(Code.SUCCESS if ask_pre_score(step, self._view, self._pod, mask_of(self._view, feasible)) else Code.SKIP)
            except PluginError as failure:
                return failed(str(failure))
        failed_for = self._profile.pre_score_failure(step.name)
        if failed_for is not None:
            return failed(failed_for)
        plugin = self._plugins.get(step.name)
        return plugin.pre_score(feasible) if plugin is not None else Status(Code.SUCCESS)

    def _ask_scores(self, step: Step, feasible: Sequence[NodeInfo]) -> dict[str, int]:
        """Normalised scores by node; empty for a plugin that has none. Raises PluginError with the cycle's text."""
        if step.own is not None:
            by_place = ask_scores(step, self._view, self._pod, mask_of(self._view, feasible))
            return {node.name: int(by_place[self._view.index_of(node.name)]) for node in feasible}
        status = Status(Code.SUCCESS)
        plugin = self._plugins.get(step.name)
        failure = self._profile.score_failure(step.name)
        if failure is not None:
            status = failed(failure)
        elif plugin is not None and step.name not in self._profile.pre_scores:
            status = plugin.prepare_score(feasible)
        if status.code is Code.ERROR:
            raise PluginError(f'running Score plugins: plugin "{step.name}" failed with: {status.text}')
        if plugin is None or status.code is Code.SKIP:
            return {}
        normalized = plugin.normalize({node.name: plugin.score(node) for node in feasible})
        for score in normalized.values():
            if not 0 <= score <= SCORE_MAX:
                raise PluginError(invalid_score(step.name, score))
        return normalized


def _empty_set_text(plugins: Sequence[str]) -> str:
    if len(plugins) == 1:
        return f"node(s) didn't satisfy plugin {plugins[0]}"
    return f"node(s) didn't satisfy plugin(s) [{' '.join(sorted(plugins))}] simultaneously"
