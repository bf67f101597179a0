"""Settings and plugins to profiles: what the scheduler runs.

    ProfileSettings + Registry ──build own plugins, expand multiPoint──> point -> names
        ──> EngineProfile  PreFilter, Filter, PreScore, Score, with weights and arguments
        ──> Profile        all other points, in order

Source: pkg/scheduler/framework/runtime/framework.go (NewFramework).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final

from volsched.api.documents import Path
from volsched.engine.chain import has_engine_part
from volsched.engine.profile import EngineProfile, ScoreWeight
from volsched.errors import InputError
from volsched.scheduler.configuration.points import IMPLEMENTS, Expanded, PointError, expand
from volsched.scheduler.configuration.problems import Origin
from volsched.scheduler.configuration.reader import BuiltInArgs, Configuration, ProfileSettings
from volsched.scheduler.configuration.registry import Registry
from volsched.scheduler.framework import Handle, Plugin, Profile, takes_part
from volsched.scheduler.plugins.default_binder import DefaultBinder
from volsched.scheduler.plugins.default_preemption import DefaultPreemption
from volsched.scheduler.plugins.dynamic_resources import DynamicResources
from volsched.scheduler.plugins.inter_pod_affinity import InterPodAffinity
from volsched.scheduler.plugins.node_affinity import NodeAffinity
from volsched.scheduler.plugins.node_declared_features import NodeDeclaredFeatures
from volsched.scheduler.plugins.node_name import NodeName
from volsched.scheduler.plugins.node_ports import NodePorts
from volsched.scheduler.plugins.node_resources_fit import NodeResourcesFit
from volsched.scheduler.plugins.node_unschedulable import NodeUnschedulable
from volsched.scheduler.plugins.node_volume_limits import NodeVolumeLimits
from volsched.scheduler.plugins.pod_topology_spread import PodTopologySpread
from volsched.scheduler.plugins.priority_sort import PrioritySort
from volsched.scheduler.plugins.scheduling_gates import SchedulingGates
from volsched.scheduler.plugins.taint_toleration import TaintToleration
from volsched.scheduler.plugins.volume_binding import VolumeBinding
from volsched.scheduler.plugins.volume_restrictions import VolumeRestrictions
from volsched.scheduler.plugins.volume_zone import VolumeZone
from volsched.scheduler.profile import ProfileFactory

_PLAIN: Final[Mapping[str, type[Any]]] = {
    "SchedulingGates": SchedulingGates,
    "PrioritySort": PrioritySort,
    "NodeName": NodeName,
    "NodeUnschedulable": NodeUnschedulable,
    "TaintToleration": TaintToleration,
    "NodePorts": NodePorts,
    "NodeResourcesFit": NodeResourcesFit,
    "VolumeRestrictions": VolumeRestrictions,
    "NodeVolumeLimits": NodeVolumeLimits,
    "VolumeZone": VolumeZone,
    "InterPodAffinity": InterPodAffinity,
    "DefaultBinder": DefaultBinder,
    "NodeDeclaredFeatures": NodeDeclaredFeatures,
}


def profiles_of(configuration: Configuration, registry: Registry) -> list[ProfileFactory]:
    """What `Scheduler(profiles=…)` takes. Building them raises InputError when a plugin is unknown or cannot run where it is enabled.

    Raises InputError when a plugin was handed over that no profile enables.
    """
    enabled = {item.name for settings in configuration.profiles for one in settings.sets.values() for item in one.enabled}
    unused = [name for name in registry.given if name not in enabled]
    if unused:
        names = ", ".join(unused)
        raise InputError(
            f"no profile of the configuration enables plugin {names}; enable it there", source=configuration.origin.source or None
        )
    return [
        partial(build_profile, settings=settings, registry=registry, origin=configuration.origin) for settings in configuration.profiles
    ]


def build_profile(handle: Handle, *, settings: ProfileSettings, registry: Registry, origin: Origin) -> Profile:
    """One profile with its plugins. Raises InputError."""
    enabled = {item.name: item.path for one in reversed(list(settings.sets.values())) for item in one.enabled}
    own: dict[str, Any] = {}
    for name in _in_order(settings):
        if name in IMPLEMENTS:
            continue
        try:
            own[name] = registry.build(name, settings.own_args.get(name, {}), handle)
        except InputError as problem:
            raise origin.error([(enabled[name], problem.message)]) from problem
    expanded = _expanded(settings, own, origin)
    engine = engine_profile(settings, expanded)
    plugins: list[Plugin] = []
    for name in _in_order(settings):
        plugin = own[name] if name in own else _built_in(name, handle, settings.args, engine, expanded)
        if plugin is not None:
            plugins.append(plugin)
    return Profile(
        plugins=tuple(plugins),
        scheduler_name=settings.scheduler_name,
        engine_plugins=tuple(plugin for name, plugin in own.items() if name in engine.names and has_engine_part(plugin)),
        engine=engine,
        orders=expanded.at,
    )


def engine_profiles(configuration: Configuration) -> dict[str, EngineProfile]:
    """The engine's part of every profile, by scheduler name. Raises InputError for a profile with plugins that are not built in."""
    return {settings.scheduler_name: _built_in_profile(settings, configuration.origin) for settings in configuration.profiles}


def _built_in_profile(settings: ProfileSettings, origin: Origin) -> EngineProfile:
    for one in settings.sets.values():
        for item in one.enabled:
            if item.name not in IMPLEMENTS:
                raise origin.error([(item.path, f"plugin {item.name} is not built in, and no others run here")])
    expanded = _expanded(settings, {}, origin)
    return engine_profile(settings, expanded)


def _expanded(settings: ProfileSettings, own: Mapping[str, Any], origin: Origin) -> Expanded:
    try:
        expanded = expand(settings.sets, lambda name, point: _implements(name, point, own))
    except PointError as problem:
        raise origin.error([(problem.path or settings.path, problem.message)]) from problem
    _check_needed(expanded, settings, origin)
    return expanded


def _in_order(settings: ProfileSettings) -> Sequence[str]:
    """Every plugin that is enabled somewhere, multiPoint's first."""
    return list(dict.fromkeys(item.name for one in settings.sets.values() for item in one.enabled))


def _implements(name: str, point: str, own: Mapping[str, Any]) -> bool:
    return point in IMPLEMENTS[name] if name in IMPLEMENTS else takes_part(own[name], point)


def _check_needed(expanded: Expanded, settings: ProfileSettings, origin: Origin) -> None:
    path: Path = (*settings.path, "plugins") if settings.path else ()
    sorters = len(expanded.at["queueSort"])
    name = settings.scheduler_name
    if sorters != 1:
        text = f'only one queue sort plugin required for profile with scheduler name "{name}", but got {sorters}'
        raise origin.error([(path, text)])
    if not expanded.at["bind"]:
        raise origin.error([(path, f'at least one bind plugin is needed for profile with scheduler name "{name}"')])


def engine_profile(settings: ProfileSettings, expanded: Expanded) -> EngineProfile:
    """The engine's part of a profile."""
    args = settings.args
    return EngineProfile(
        pre_filters=expanded.at["preFilter"],
        filters=expanded.at["filter"],
        pre_scores=expanded.at["preScore"],
        scores=tuple(ScoreWeight(name, weight) for name, weight in expanded.weights.items()),
        fit=args.fit,
        balanced=args.balanced,
        volume_shape=args.volume_shape,
        node_affinity=args.node_affinity,
        spread=args.spread,
        inter_pod=args.inter_pod,
        percentage_of_nodes_to_score=settings.percentage_of_nodes_to_score,
    )


def _built_in(name: str, handle: Handle, args: BuiltInArgs, engine: EngineProfile, expanded: Expanded) -> Plugin | None:
    """The framework's part of a built-in plugin; None when all of it is in the engine."""
    if name in _PLAIN:
        plain: Plugin = _PLAIN[name]()
        return plain
    match name:
        case "NodeAffinity":
            return NodeAffinity(args.node_affinity.required)
        case "PodTopologySpread":
            return PodTopologySpread(args.spread.defaults or ())
        case "VolumeBinding":
            decided = "VolumeBinding" in engine.pre_filters
            return VolumeBinding(handle.cache.binder, timeout_s=args.bind_timeout_s, decided=decided, planned=engine.plans_volumes)
        case "DynamicResources":
            order = expanded.at["preFilter"]
            ahead = order[: order.index(name)] if name in order else (*order, "")
            return DynamicResources(frozenset(ahead), always=name not in order)
        case "DefaultPreemption":
            return DefaultPreemption(handle, min_candidates_percent=args.min_candidates_percent, min_candidates=args.min_candidates)
        case _:
            return None
