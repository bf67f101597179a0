"""One scheduling cycle: PreFilter, Filter, PreScore, Score, Normalize, in the order of the default profile.

    PreFilter ──Skip──> the plugin's Filter is not asked
        │ refused: every node has this status         │ names: only these nodes are visited
        v
    Filter: nodes in turn from the start index; the first plugin that refuses a node is the only one recorded
        │ an error on one node fails the cycle        │ enough nodes found: stop
        v
    PreScore ──Skip──> the plugin counts 0            Score, Normalize, times weight, sum

Source: pkg/scheduler/schedule_one.go, pkg/scheduler/framework/runtime/framework.go, pkg/scheduler/framework/types.go (FitError);
spec/scheduling.md 9.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

from lightkube.models.core_v1 import Pod

from volsched.engine.decision import Rejection
from volsched.engine.reference.balanced_allocation import NodeResourcesBalancedAllocation
from volsched.engine.reference.framework import SCORE_MAX, Code, NodeInfo, Plugin, Snapshot, Status
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
from volsched.rules.numbers import quotient

# The default profile in multiPoint order. Plugins that do nothing between PreFilter and Score for the pods handled here are left out.
PROFILE: Final[tuple[type[Plugin], ...]] = (
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
    """One pod, one snapshot. `only` restricts the nodes; `start` and `percentage` say where the search begins and when it ends."""

    def __init__(self, snapshot: Snapshot, pod: Pod, *, start: int, percentage: int, only: Sequence[str] | None) -> None:
        self._snapshot = snapshot
        self._pod = pod
        self._start = start
        self._percentage = percentage
        self._only = only
        self._plugins = [plugin(snapshot, pod) for plugin in PROFILE]
        self._filters = list(self._plugins)  # without those that skipped
        self._nodes = list(snapshot.nodes)
        self._absent_reasons: tuple[str, ...] = ()
        self.result = CycleResult()

    def run(self) -> CycleResult:
        result = self.result
        if not self._snapshot.nodes:
            result.message = NO_NODES
            return result
        self._pre_filter()
        if result.prefilter is None and result.error is None:
            self._filter()
            result.plans = next(plugin.plans for plugin in self._plugins if isinstance(plugin, VolumeBinding))
            if result.error is None and result.feasible:
                result.score_error = self._score()
                if len(result.feasible) > 1:
                    result.error = result.score_error
        if result.error is None and not result.feasible:
            result.message = fit_error(
                node_count=len(self._snapshot.nodes),
                prefilter_text=", ".join(result.prefilter.reasons) if result.prefilter else "",
                rejections=result.rejected,
                absent_reasons=self._absent_reasons,
            )
        return result

    def _pre_filter(self) -> None:
        names: frozenset[str] | None = None
        narrowing: list[str] = []
        refusal: Rejection | None = None
        for plugin in self._plugins:
            status, wanted = plugin.pre_filter()
            if status.code is Code.SKIP:
                self._filters.remove(plugin)
                continue
            if status.code is Code.ERROR:
                self.result.error = f'running PreFilter plugin "{plugin.name}": {status.text}'
                return
            if status.is_rejected:
                refusal = Rejection(plugin.name, status.code.value, status.reasons)
                if status.code is Code.UNRESOLVABLE:
                    break
            if wanted is None:
                continue
            narrowing.append(plugin.name)
            names = wanted if names is None else names & wanted
            if not names:
                refusal = Rejection("", Code.UNRESOLVABLE.value, (_empty_set_text(narrowing),))
                break
        self.result.prefilter = refusal
        if refusal is None and names is not None:
            self._nodes = [node for node in self._nodes if node.name in names]
            self._absent_reasons = (f"node(s) didn't satisfy plugin(s) [{' '.join(sorted(narrowing))}]",)

    def _filter(self) -> None:
        result = self.result
        nodes = self._nodes if self._only is None else [node for node in self._nodes if node.name in set(self._only)]
        wanted = nodes_wanted(len(nodes), self._percentage)
        for offset in range(len(nodes)):
            node = nodes[(self._start + offset) % len(nodes)]
            plugin, status = self._filter_node(node)
            if status.code is Code.ERROR:
                result.error = f'running "{plugin}" filter plugin: {status.text}'
                break
            if status.is_rejected:
                result.rejected[node.name] = Rejection(plugin, status.code.value, status.reasons)
            elif len(result.feasible) == wanted:
                break
            else:
                result.feasible.append(node.name)
        if self._only is None:
            result.visited = len(result.feasible) + len(result.rejected)

    def _filter_node(self, node: NodeInfo) -> tuple[str, Status]:
        status = Status(Code.SUCCESS)
        for plugin in self._filters:
            status = plugin.filter(node)
            if not status.is_success:
                return plugin.name, status
        return "", status

    def _score(self) -> str | None:
        """Fill in the scores; the text of the failure if a plugin could not score."""
        chosen = set(self.result.feasible)
        feasible = [node for node in self._nodes if node.name in chosen]
        scorers: list[Plugin] = []
        for plugin in self._plugins:
            if not plugin.weight:
                continue
            status = plugin.pre_score(feasible)
            if status.code is Code.ERROR:
                return f'running PreScore plugin "{plugin.name}": {status.text}'
            if status.code is not Code.SKIP:
                scorers.append(plugin)
        scores: dict[str, dict[str, int]] = {name: {} for name in self.result.feasible}
        for plugin in scorers:
            raw = {node.name: plugin.score(node) for node in feasible}
            for name, score in plugin.normalize(raw).items():
                if not 0 <= score <= SCORE_MAX:
                    return (
                        f'applying score defaultWeights on Score plugins: plugin "{plugin.name}" returns an invalid score {score}, '
                        f"it should in the range of [0, {SCORE_MAX}] after normalizing"
                    )
                scores[name][plugin.name] = score * plugin.weight
        self.result.scores = scores
        return None


def _empty_set_text(plugins: Sequence[str]) -> str:
    if len(plugins) == 1:
        return f"node(s) didn't satisfy plugin {plugins[0]}"
    return f"node(s) didn't satisfy plugin(s) [{' '.join(sorted(plugins))}] simultaneously"
