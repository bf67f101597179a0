"""What of a scheduling profile the engine has to know: which plugins run at which point, in what order, with what weights and arguments.

    KubeSchedulerConfiguration ──scheduler.configuration──> EngineProfile ──> engine.decide(pod, profile=…)

A plugin takes part in a point when the point's list names it. PreFilter and Filter, PreScore and Score are lists of their own, because a
configuration may change one without the other; a plugin whose second half reads what its first half would have stored then fails the
cycle, as it does upstream (`UNPREPARED_FILTER`, `UNPREPARED_SCORE`).

Names that are no built-in plugin's are those of own plugins: they run where they are named (`volsched.engine.chain`).

Source: pkg/scheduler/apis/config/v1/{default_plugins,defaults}.go; spec/scheduling.md 1, 4.5, 8.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Literal, NamedTuple, TypeAlias

from lightkube.models.core_v1 import NodeSelector, PreferredSchedulingTerm, TopologySpreadConstraint

from volsched.errors import EngineError

Strategy: TypeAlias = Literal["LeastAllocated", "MostAllocated", "RequestedToCapacityRatio"]


class ShapePoint(NamedTuple):
    """A point of a scoring function: how full in percent, and the score from 0 to 10 there."""

    utilization: int
    score: int


class ResourceWeight(NamedTuple):
    """A resource that counts, and how much."""

    name: str
    weight: int = 1


class ScoreWeight(NamedTuple):
    """A plugin that scores, and its weight."""

    name: str
    weight: int = 1


WEIGHTS_MAX: Final = 1_000_000  # of all plugins together, so that totals stay 32-bit integers
CPU_AND_MEMORY: Final = (ResourceWeight("cpu"), ResourceWeight("memory"))
EMPTIER_IS_BETTER: Final = (ShapePoint(0, 10), ShapePoint(100, 0))
CAPACITY_STEPS_MAX: Final = 20_000


@dataclass(frozen=True, slots=True)
class FitArgs:
    """NodeResourcesFit. `shape` belongs to RequestedToCapacityRatio. Ignored: extended resources by name, or by the part before `/`."""

    strategy: Strategy = "LeastAllocated"
    resources: tuple[ResourceWeight, ...] = CPU_AND_MEMORY
    shape: tuple[ShapePoint, ...] = ()
    ignored_resources: frozenset[str] = frozenset()
    ignored_groups: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class NodeAffinityArgs:
    """Affinity that every pod of the profile has beside its own."""

    required: NodeSelector | None = None
    preferred: tuple[PreferredSchedulingTerm, ...] = ()


@dataclass(frozen=True, slots=True)
class SpreadArgs:
    """PodTopologySpread: constraints of pods that state none; None stands for the system's, hostname and zone."""

    defaults: tuple[TopologySpreadConstraint, ...] | None = None


@dataclass(frozen=True, slots=True)
class InterPodArgs:
    """InterPodAffinity: the weight of required affinity terms of placed pods in scoring, and whether pods that prefer nothing themselves
    are left alone by what placed pods prefer."""

    hard_weight: int = 1
    ignore_preferred_of_existing: bool = False


# Points, in the order of the default profile. DynamicResources does nothing for pods without resource claims but is named, since a
# profile may put it elsewhere; its score is 0 everywhere and therefore left out.
DEFAULT_FILTERS: Final = (
    "NodeName",
    "NodeUnschedulable",
    "TaintToleration",
    "NodeAffinity",
    "NodePorts",
    "NodeResourcesFit",
    "VolumeRestrictions",
    "NodeVolumeLimits",
    "VolumeBinding",
    "VolumeZone",
    "PodTopologySpread",
    "InterPodAffinity",
    "DynamicResources",
    "NodeDeclaredFeatures",
)
DEFAULT_PRE_SCORES: Final = (
    "TaintToleration",
    "NodeAffinity",
    "NodeResourcesFit",
    "VolumeBinding",
    "PodTopologySpread",
    "InterPodAffinity",
    "NodeResourcesBalancedAllocation",
)
DEFAULT_SCORES: Final = (
    ScoreWeight("TaintToleration", 3),
    ScoreWeight("NodeAffinity", 2),
    ScoreWeight("NodeResourcesFit", 1),
    ScoreWeight("VolumeBinding", 1),
    ScoreWeight("PodTopologySpread", 2),
    ScoreWeight("InterPodAffinity", 2),
    ScoreWeight("DynamicResources", 2),
    ScoreWeight("NodeResourcesBalancedAllocation", 1),
    ScoreWeight("ImageLocality", 1),
)
BUILT_IN: Final = frozenset(DEFAULT_FILTERS) | {item.name for item in DEFAULT_SCORES}

# What a plugin says when its PreFilter was not run. VolumeRestrictions looks at inline disks before it says it.
UNPREPARED_FILTER: Final[Mapping[str, str]] = {
    "NodePorts": 'reading "PreFilterNodePorts" from cycleState: not found',
    "NodeResourcesFit": 'error reading "PreFilterNodeResourcesFit" from cycleState: not found',
    "VolumeRestrictions": 'cannot read "PreFilterVolumeRestrictions" from cycleState',
    "VolumeBinding": "not found",
    "PodTopologySpread": 'reading "PreFilterPodTopologySpread" from cycleState: not found',
    "InterPodAffinity": 'error reading "PreFilterInterPodAffinity" from cycleState: not found',
    "DynamicResources": "not found",
    "NodeDeclaredFeatures": 'error reading "PreFilterNodeDeclaredFeatures" from cycle-state: not found',
}
# The same for Score: plugin -> (the point that stores what it reads, the text).
UNPREPARED_SCORE: Final[Mapping[str, tuple[Literal["PreFilter", "PreScore"], str]]] = {
    "TaintToleration": ("PreScore", 'failed to read "PreScoreTaintToleration" from cycleState: not found'),
    "VolumeBinding": ("PreFilter", "not found"),
    "PodTopologySpread": ("PreScore", 'error reading "PreScorePodTopologySpread" from cycleState: not found'),
    "InterPodAffinity": ("PreScore", 'failed to read "PreScoreInterPodAffinity" from cycleState: not found'),
    "DynamicResources": ("PreFilter", "not found"),
}


@dataclass(frozen=True)
class EngineProfile:
    """Plugins by point, and their arguments. The default is upstream's default profile.

    balanced: resources of NodeResourcesBalancedAllocation. volume_shape: VolumeBinding's score by how full its storage would be.
    percentage_of_nodes_to_score: 100 looks at every node, 0 adapts to their number, None leaves it to the engine.
    exact_capacity: VolumeBinding counts what is held in each capacity object, and the pod's own claims together, where upstream tests each
    claim alone (docs/decisions/0009). capacity_steps_max: placements it tries for the claims of one pod on one node before it refuses the
    node undecided (`volsched.rules.packing`).
    Raises EngineError when a list names a plugin twice, a weight is not positive, or a shape is not ascending.
    """

    pre_filters: tuple[str, ...] = DEFAULT_FILTERS
    filters: tuple[str, ...] = DEFAULT_FILTERS
    pre_scores: tuple[str, ...] = DEFAULT_PRE_SCORES
    scores: tuple[ScoreWeight, ...] = DEFAULT_SCORES
    fit: FitArgs = FitArgs()
    balanced: tuple[str, ...] = ("cpu", "memory")
    volume_shape: tuple[ShapePoint, ...] = EMPTIER_IS_BETTER
    node_affinity: NodeAffinityArgs = NodeAffinityArgs()
    spread: SpreadArgs = SpreadArgs()
    inter_pod: InterPodArgs = InterPodArgs()
    percentage_of_nodes_to_score: int | None = None
    exact_capacity: bool = False
    capacity_steps_max: int = CAPACITY_STEPS_MAX

    def __post_init__(self) -> None:
        scorers = tuple(item.name for item in self.scores)
        points = (("pre_filters", self.pre_filters), ("filters", self.filters), ("pre_scores", self.pre_scores), ("scores", scorers))
        for point, names in points:
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise EngineError(f"a profile names {twice[0]} twice among its {point}")
        weights = [*((item.name, item.weight) for item in self.scores), *((item.name, item.weight) for item in self.fit.resources)]
        for name, weight in weights:
            if weight < 1:
                raise EngineError(f"{name} has weight {weight}; weights are at least 1")
        if sum(item.weight for item in self.scores) > WEIGHTS_MAX:
            raise EngineError(f"the weights of a profile's scores add up to more than {WEIGHTS_MAX}")
        if not self.fit.resources or not self.balanced:
            raise EngineError("a profile's resources to score by must not be empty")
        _check_shape("volume_shape", self.volume_shape)
        if self.fit.strategy == "RequestedToCapacityRatio":
            _check_shape("fit.shape", self.fit.shape)
        percentage = self.percentage_of_nodes_to_score
        if percentage is not None and not 0 <= percentage <= 100:
            raise EngineError(f"percentage_of_nodes_to_score {percentage} is outside 0..100")
        if not 1 <= self.capacity_steps_max < 2**31:
            raise EngineError(f"capacity_steps_max {self.capacity_steps_max} is outside 1..{2**31 - 1}")

    @cached_property
    def names(self) -> frozenset[str]:
        """Every plugin named at some point."""
        return frozenset((*self.pre_filters, *self.filters, *self.pre_scores, *(item.name for item in self.scores)))

    @cached_property
    def names_own(self) -> bool:
        """Whether some of them are not built in."""
        return not self.names <= BUILT_IN

    def weight(self, plugin: str) -> int:
        """The weight of a plugin's scores, 0 when it does not score."""
        return next((item.weight for item in self.scores if item.name == plugin), 0)

    def filter_failure(self, plugin: str) -> str | None:
        """Why the plugin's Filter fails on every node it comes to; None when it does not."""
        return None if plugin in self.pre_filters else UNPREPARED_FILTER.get(plugin)

    def score_failure(self, plugin: str) -> str | None:
        """Why the plugin's Score fails; None when it does not."""
        needed, text = UNPREPARED_SCORE.get(plugin, ("", ""))
        prepared = self.pre_filters if needed == "PreFilter" else self.pre_scores
        return text if needed and plugin not in prepared else None

    def pre_score_failure(self, plugin: str) -> str | None:
        """Why the plugin's PreScore fails; None when it does not. Only VolumeBinding's reads what PreFilter stored."""
        return UNPREPARED_SCORE[plugin][1] if plugin == "VolumeBinding" and plugin not in self.pre_filters else None

    @property
    def plans_volumes(self) -> bool:
        """Whether VolumeBinding works out what a pod's claims get; otherwise nobody does."""
        return "VolumeBinding" in self.pre_filters and "VolumeBinding" in self.filters


def _check_shape(what: str, shape: Sequence[ShapePoint]) -> None:
    if not shape:
        raise EngineError(f"{what} needs at least one point")
    used = [point.utilization for point in shape]
    if used != sorted(set(used)):
        raise EngineError(f"the points of {what} must be given by ascending utilization, each once")


def shape_score(shape: Sequence[ShapePoint], percent_used: int) -> int:
    """The piecewise linear function through the points, scores brought from 0..10 to 0..100; divisions go towards zero.

    Source: pkg/scheduler/framework/plugins/helper/shape_score.go.
    """
    for index, point in enumerate(shape):
        if percent_used <= point.utilization:
            if index == 0:
                return point.score * 10
            before = shape[index - 1]
            rise, run = (point.score - before.score) * 10, point.utilization - before.utilization
            climbed = abs(rise) * (percent_used - before.utilization) // run
            return before.score * 10 + (climbed if rise >= 0 else -climbed)
    return shape[-1].score * 10


DEFAULT_PROFILE: Final = EngineProfile()


def default_profile() -> EngineProfile:
    """Upstream's default profile."""
    return DEFAULT_PROFILE
