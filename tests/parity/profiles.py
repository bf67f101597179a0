"""Random scheduling profiles: plugins missing at points, in another order, with other weights and arguments.

Profiles that rotate, that is, whose searches begin where the last one ended, are drawn only where asked for: what they decide depends on
every decision before.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from lightkube.models.core_v1 import NodeSelectorTerm, PreferredSchedulingTerm, TopologySpreadConstraint

from tests.builders import HOSTNAME, ZONE
from tests.parity.clusters import Draw
from volsched.engine.profile import (
    CPU_AND_MEMORY,
    DEFAULT_FILTERS,
    DEFAULT_PRE_SCORES,
    DEFAULT_SCORES,
    EMPTIER_IS_BETTER,
    EngineProfile,
    FitArgs,
    InterPodArgs,
    NodeAffinityArgs,
    ResourceWeight,
    ScoreWeight,
    ShapePoint,
    SpreadArgs,
)

T = TypeVar("T")

GPU = "example.com/gpu"
RESOURCES = ("cpu", "memory", "ephemeral-storage", GPU, "example.com/never", "hugepages-2Mi", "pods")


def _shape(draw: Draw) -> tuple[ShapePoint, ...]:
    used = sorted({draw.one(0, 10, 25, 33, 50, 75, 99, 100) for _ in range(draw.one(1, 2, 2, 3, 4))})
    return tuple(ShapePoint(percent, draw.chance.randrange(11)) for percent in used)


def _resources(draw: Draw) -> tuple[ResourceWeight, ...]:
    names = [name for name in RESOURCES if draw.maybe(40)] or ["memory"]
    return tuple(ResourceWeight(name, draw.one(1, 1, 2, 5, 100)) for name in names)


def _fit(draw: Draw) -> FitArgs:
    strategy = draw.one("LeastAllocated", "MostAllocated", "RequestedToCapacityRatio")
    return FitArgs(
        strategy=strategy,  # type: ignore[arg-type]
        resources=_resources(draw) if draw.maybe(70) else CPU_AND_MEMORY,
        shape=_shape(draw) if strategy == "RequestedToCapacityRatio" else (),
        ignored_resources=frozenset({GPU}) if draw.maybe(25) else frozenset(),
        ignored_groups=frozenset({draw.one("example.com", "other.com")}) if draw.maybe(25) else frozenset(),
    )


def _node_affinity(draw: Draw) -> NodeAffinityArgs:
    preferred = tuple(
        PreferredSchedulingTerm(weight=draw.one(1, 40, 100), preference=NodeSelectorTerm(matchExpressions=[draw.requirement()]))
        for _ in range(draw.one(0, 1, 2))
    )
    return NodeAffinityArgs(required=draw.node_selector() if draw.maybe(30) else None, preferred=preferred)


def _spread(draw: Draw) -> SpreadArgs:
    def constraint() -> TopologySpreadConstraint:
        hard = draw.maybe(40)
        return TopologySpreadConstraint(
            maxSkew=draw.one(1, 2, 3),
            topologyKey=draw.one(ZONE, HOSTNAME, "rack"),
            whenUnsatisfiable="DoNotSchedule" if hard else "ScheduleAnyway",
            minDomains=draw.one(None, 2) if hard else None,
        )

    return SpreadArgs(tuple(constraint() for _ in range(draw.one(0, 1, 2))))


def _without(draw: Draw, names: Sequence[T], percent: int) -> tuple[T, ...]:
    """Each left out with this chance; at times in another order."""
    kept = [name for name in names if not draw.maybe(percent)]
    if draw.maybe(30):
        draw.chance.shuffle(kept)
    return tuple(kept)


def draw_profile(draw: Draw, *, rotates: bool = False) -> EngineProfile:
    """Arguments more often than missing plugins, since a plugin without its other half fails whole decisions."""
    filters = _without(draw, DEFAULT_FILTERS, draw.one(0, 0, 0, 15))
    unprepared = _without(draw, filters, draw.one(0, 0, 0, 0, 10)) if draw.maybe(50) else filters
    scores = [ScoreWeight(item.name, draw.one(item.weight, 1, 7, 1000)) for item in _without(draw, DEFAULT_SCORES, draw.one(0, 0, 25))]
    return EngineProfile(
        pre_filters=unprepared,
        filters=filters,
        pre_scores=_without(draw, DEFAULT_PRE_SCORES, draw.one(0, 0, 0, 15)),
        scores=tuple(scores) if scores or rotates else DEFAULT_SCORES,
        fit=_fit(draw) if draw.maybe(60) else FitArgs(),
        balanced=tuple(item.name for item in _resources(draw)) if draw.maybe(60) else ("cpu", "memory"),
        volume_shape=_shape(draw) if draw.maybe(50) else EMPTIER_IS_BETTER,
        node_affinity=_node_affinity(draw) if draw.maybe(40) else NodeAffinityArgs(),
        spread=_spread(draw) if draw.maybe(50) else SpreadArgs(),
        inter_pod=InterPodArgs(hard_weight=draw.one(0, 1, 5, 100), ignore_preferred_of_existing=draw.maybe(40)),
        percentage_of_nodes_to_score=draw.one(None, 0, 1, 50, 100) if rotates else None,
    )
