"""Which plugin runs at which extension point: a profile's lists over the default ones, multiPoint spread out.

    defaults + profile ──merge, point by point──> sets ──expand(multiPoint)──> point -> plugins, in order
                        disabled plugins leave their point; an enabled one that is there already is replaced in place, others are appended

    order at a point:  1. plugins enabled there and by multiPoint, as the point lists them
                       2. plugins enabled by multiPoint alone
                       3. plugins enabled there alone

`disabled: [{name: "*"}]` at a point keeps multiPoint's plugins away from it; at multiPoint it drops the defaults.

Source: pkg/scheduler/apis/config/v1/default_plugins.go (mergePlugins), pkg/scheduler/framework/runtime/framework.go
(updatePluginList, expandMultiPointPlugins, getValidScoreWeights); spec/scheduling.md 1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from volsched.api.documents import Path
from volsched.scheduler.framework import POINT_METHODS

MULTI_POINT: Final = "multiPoint"
ALL: Final = "*"

# Points of pod groups, which upstream's default feature gates leave off.
GROUP_POINTS: Final = ("placementGenerate", "placementScore", "podGroupPostFilter")

# The default profile: multiPoint in order, with weights; 0 stands for none given.
DEFAULT_PLUGINS: Final[tuple[tuple[str, int], ...]] = (
    ("SchedulingGates", 0),
    ("PrioritySort", 0),
    ("NodeName", 0),
    ("NodeUnschedulable", 0),
    ("TaintToleration", 3),
    ("NodeAffinity", 2),
    ("NodePorts", 0),
    ("NodeResourcesFit", 1),
    ("VolumeRestrictions", 0),
    ("NodeVolumeLimits", 0),
    ("VolumeBinding", 0),
    ("VolumeZone", 0),
    ("PodTopologySpread", 2),
    ("InterPodAffinity", 2),
    ("DynamicResources", 2),
    ("DefaultPreemption", 0),
    ("NodeResourcesBalancedAllocation", 1),
    ("ImageLocality", 1),
    ("DefaultBinder", 0),
    ("NodeDeclaredFeatures", 0),
)

_FILTERING: Final = ("preFilter", "filter")
_SCORING: Final = ("preScore", "score")
# What each built-in plugin implements. Source: spec/scheduling.md 1.1.
IMPLEMENTS: Final[Mapping[str, tuple[str, ...]]] = {
    "SchedulingGates": ("preEnqueue",),
    "PrioritySort": ("queueSort",),
    "NodeName": _FILTERING,
    "NodeUnschedulable": _FILTERING,
    "TaintToleration": (*_FILTERING, *_SCORING),
    "NodeAffinity": (*_FILTERING, *_SCORING),
    "NodePorts": _FILTERING,
    "NodeResourcesFit": (*_FILTERING, *_SCORING),
    "VolumeRestrictions": _FILTERING,
    "NodeVolumeLimits": _FILTERING,
    "VolumeBinding": (*_FILTERING, *_SCORING, "reserve", "preBind"),
    "VolumeZone": _FILTERING,
    "PodTopologySpread": (*_FILTERING, *_SCORING),
    "InterPodAffinity": (*_FILTERING, *_SCORING),
    "DynamicResources": ("preEnqueue", *_FILTERING, "postFilter", "score", "reserve", "preBind"),
    "DefaultPreemption": ("preEnqueue", "postFilter"),
    "NodeResourcesBalancedAllocation": _SCORING,
    "ImageLocality": ("score",),
    "DefaultBinder": ("bind",),
    "NodeDeclaredFeatures": _FILTERING,
}
# In-tree plugins that upstream's default feature gates leave off.
GATED: Final[Mapping[str, str]] = {
    "DeferredPodScheduling": "InPlacePodVerticalScalingSchedulerPreemption",
    "GangScheduling": "GenericWorkload",
    "TopologyPlacementGenerator": "TopologyAwareWorkloadScheduling",
    "PodGroupPodsCount": "TopologyAwareWorkloadScheduling",
}
# Plugins of earlier versions that a v1 configuration may not name.
REMOVED: Final = frozenset({"AzureDiskLimits", "CinderLimits", "EBSLimits", "GCEPDLimits"})


class Enabled(NamedTuple):
    """A plugin enabled at a point; weight 0 when none was given; where the configuration says so, empty for a default."""

    name: str
    weight: int = 0
    path: Path = ()


@dataclass(frozen=True, slots=True)
class Set:
    """The plugins of one point as configured."""

    enabled: tuple[Enabled, ...] = ()
    disabled: tuple[str, ...] = ()


class PointError(Exception):
    """A profile whose plugins cannot be arranged, with the place that says so."""

    def __init__(self, path: Path, message: str) -> None:
        super().__init__(message)
        self.path = path
        self.message = message


def merged(defaults: Set, given: Set) -> Set:
    """A point's defaults changed as a profile says."""
    disabled = (*given.disabled, *defaults.disabled)
    own = {item.name: (index, item) for index, item in enumerate(given.enabled)}
    replaced: set[int] = set()
    enabled: list[Enabled] = []
    if ALL not in disabled:
        for item in defaults.enabled:
            if item.name in disabled:
                continue
            if item.name in own:
                index, item = own[item.name]
                replaced.add(index)
            enabled.append(item)
    enabled += [item for index, item in enumerate(given.enabled) if index not in replaced]
    return Set(tuple(enabled), disabled)


def default_sets() -> dict[str, Set]:
    """The default profile's sets: everything by multiPoint."""
    return {MULTI_POINT: Set(tuple(Enabled(name, weight) for name, weight in DEFAULT_PLUGINS))}


@dataclass(frozen=True, slots=True)
class Expanded:
    """Plugins by point, in order, and the weights of those that score."""

    at: Mapping[str, tuple[str, ...]]
    weights: Mapping[str, int]


def expand(sets: Mapping[str, Set], implements: Callable[[str, str], bool]) -> Expanded:
    """Spread multiPoint's plugins over the points they implement. Raises PointError."""
    at = {point: _expanded(point, sets.get(point, Set()), sets.get(MULTI_POINT, Set()), implements) for point in POINT_METHODS}
    weights: dict[str, int] = {}
    for item in (*sets.get("score", Set()).enabled, *sets.get(MULTI_POINT, Set()).enabled):
        if implements(item.name, "score"):
            weights.setdefault(item.name, item.weight or 1)
    return Expanded(at, {name: weights[name] for name in at["score"]})


def _expanded(point: str, own: Set, multi: Set, implements: Callable[[str, str], bool]) -> tuple[str, ...]:
    interface = f"{point[0].upper()}{point[1:]}Plugin"  # as upstream's messages name it
    enabled: list[str] = []
    for item in own.enabled:
        if not implements(item.name, point):
            raise PointError(item.path, f'plugin "{item.name}" does not extend {interface} plugin')
        _claim(item, enabled, interface)
    if ALL in own.disabled:
        return tuple(enabled)
    spread: list[str] = []
    for item in multi.enabled:
        if implements(item.name, point) and item.name not in own.disabled and item.name not in enabled:
            _claim(item, spread, interface)
    overriding = _names(multi.enabled, enabled, point, implements, own.disabled)
    return (*(name for name in enabled if name in overriding), *spread, *(name for name in enabled if name not in overriding))


def _names(
    multi: Sequence[Enabled], enabled: Sequence[str], point: str, implements: Callable[[str, str], bool], disabled: Sequence[str]
) -> set[str]:
    """Plugins that both the point and multiPoint enable."""
    return {item.name for item in multi if item.name in enabled and item.name not in disabled and implements(item.name, point)}


def _claim(item: Enabled, names: list[str], interface: str) -> None:
    if item.name in names:
        raise PointError(item.path, f'plugin "{item.name}" already registered as "{interface}"')
    names.append(item.name)
