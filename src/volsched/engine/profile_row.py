"""EngineProfile as a packed row: what the native engine compiles a profile from (native/src/cluster_profile.cpp reads it).

Everything a configuration leaves to interpretation is settled here: what fails for the want of another point, which resource is of which
kind, scores of shapes brought to 0..100.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from volsched.engine.profile import DEFAULT_PROFILE, EngineProfile, FitArgs, ResourceWeight, ShapePoint
from volsched.engine.rows import Writer, put_node_selector, put_preferred_terms, put_spread
from volsched.rules.resources import CPU, EPHEMERAL_STORAGE, MEMORY, is_scalar_resource

_STRATEGIES: Final[Mapping[str, int]] = {"LeastAllocated": 0, "MostAllocated": 1, "RequestedToCapacityRatio": 2}
_KINDS: Final[Mapping[str, int]] = {CPU: 0, MEMORY: 1, EPHEMERAL_STORAGE: 2}
_SCALAR: Final = 3


def _steps(to: Writer, steps: Sequence[tuple[str, str | None, int, bool]]) -> None:
    """(plugin, why it fails, weight, whether it is prepared)."""
    to.u32(len(steps))
    for name, failure, weight, prepared in steps:
        to.text(name)
        to.text(failure)
        to.i64(weight)
        to.flag(prepared)


def _resources(to: Writer, resources: Sequence[ResourceWeight]) -> None:
    """Names that no node can offer as something countable are left out: they never count."""
    counted = [item for item in resources if item.name in _KINDS or is_scalar_resource(item.name)]
    to.u32(len(counted))
    for item in counted:
        to.u8(_KINDS.get(item.name, _SCALAR))
        to.text(item.name)
        to.i64(item.weight)


def _shape(to: Writer, shape: Sequence[ShapePoint]) -> None:
    points = shape or DEFAULT_PROFILE.volume_shape
    to.u32(len(points))
    for point in points:
        to.i64(point.utilization)
        to.i64(point.score * 10)


def profile_row(profile: EngineProfile) -> bytes:
    """A profile, ready for `_core.Engine.profile`."""
    to = Writer()
    _steps(to, [(name, None, 0, True) for name in profile.pre_filters])
    _steps(to, [(name, profile.filter_failure(name), 0, True) for name in profile.filters])
    _steps(to, [(name, profile.pre_score_failure(name), 0, True) for name in profile.pre_scores])
    _steps(to, [(item.name, profile.score_failure(item.name), item.weight, item.name in profile.pre_scores) for item in profile.scores])
    fit = profile.fit
    to.flag(fit == FitArgs())
    to.u8(_STRATEGIES[fit.strategy])
    _resources(to, fit.resources)
    _shape(to, fit.shape)
    to.texts(sorted(fit.ignored_resources))
    to.texts(sorted(fit.ignored_groups))
    to.flag(profile.balanced == DEFAULT_PROFILE.balanced)
    _resources(to, [ResourceWeight(name) for name in profile.balanced])
    to.flag(profile.volume_shape == DEFAULT_PROFILE.volume_shape)
    _shape(to, profile.volume_shape)
    to.flag(profile.plans_volumes)
    added = profile.node_affinity
    to.flag(added.required is not None)
    if added.required is not None:
        put_node_selector(to, added.required)
    put_preferred_terms(to, added.preferred)
    defaults = profile.spread.defaults
    to.flag(defaults is None)
    put_spread(to, defaults or (), {})
    to.i64(profile.inter_pod.hard_weight)
    to.flag(profile.inter_pod.ignore_preferred_of_existing)
    to.i64(-1 if profile.percentage_of_nodes_to_score is None else profile.percentage_of_nodes_to_score)
    to.flag(profile.exact_capacity)
    to.i64(profile.capacity_steps_max)
    return to.done()
