"""Validation of a KubeSchedulerConfiguration: upstream's rules and words, with the place of each complaint.

Everything is checked as it is after defaulting. Source: pkg/scheduler/apis/config/validation/{validation,validation_pluginargs}.go,
k8s.io/component-base/config/validation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from lightkube.models.core_v1 import TopologySpreadConstraint

from volsched.api.documents import Path
from volsched.api.fields import label_key
from volsched.rules.resources import is_extended_resource
from volsched.rules.selectors import SelectorError
from volsched.rules.topology import PreferredTerms, node_selector_problems
from volsched.scheduler.configuration import types
from volsched.scheduler.configuration.durations import parse_duration_ns
from volsched.scheduler.configuration.points import REMOVED
from volsched.scheduler.configuration.problems import Problems
from volsched.scheduler.framework import POINT_METHODS

STRATEGIES: Final = ("LeastAllocated", "MostAllocated", "RequestedToCapacityRatio")
_WHEN: Final = ("DoNotSchedule", "ScheduleAnyway")
_INT32_MAX: Final = 2**31 - 1
_VERSION: Final = types.API_VERSION


def check(config: types.KubeSchedulerConfiguration, problems: Problems) -> None:
    """Everything but the plugins' arguments, the profiles' queue sorting and what only shows once plugins are known."""
    _process(config, problems)
    if config.parallelism is not None and config.parallelism <= 0:
        problems.invalid(("parallelism",), config.parallelism, "should be an integer value greater than zero")
    _names(config.profiles or (), problems)
    _percentage(problems, ("percentageOfNodesToScore",), config.percentageOfNodesToScore)
    initial = 1 if config.podInitialBackoffSeconds is None else config.podInitialBackoffSeconds
    longest = 10 if config.podMaxBackoffSeconds is None else config.podMaxBackoffSeconds
    if initial <= 0:
        problems.invalid(("podInitialBackoffSeconds",), initial, "must be greater than 0")
    if longest < initial:
        problems.invalid(("podMaxBackoffSeconds",), longest, "must be greater than or equal to PodInitialBackoffSeconds")
    _extenders(config.extenders or (), problems)


def _process(config: types.KubeSchedulerConfiguration, problems: Problems) -> None:
    """Leader election and client connection. They change nothing here; a file that kube-scheduler would refuse is refused all the same."""
    client = config.clientConnection
    if client is not None and client.burst is not None and client.burst < 0:
        problems.invalid(("clientConnection", "burst"), client.burst, "must be non-negative")
    leader = config.leaderElection or types.LeaderElectionConfiguration()
    at: Path = ("leaderElection",)
    lasting: dict[str, int] = {}
    for name, given, default in (
        ("leaseDuration", leader.leaseDuration, "15s"),
        ("renewDeadline", leader.renewDeadline, "10s"),
        ("retryPeriod", leader.retryPeriod, "2s"),
    ):
        nanoseconds = parse_duration_ns(given or default)
        if nanoseconds is None:
            problems.invalid((*at, name), given, "is no duration; write it like 15s or 1m30s")
            return
        lasting[name] = nanoseconds or parse_duration_ns(default) or 0
    if leader.leaderElect is False:
        return
    for name, nanoseconds in lasting.items():
        if nanoseconds <= 0:
            problems.invalid((*at, name), getattr(leader, name), "must be greater than zero")
    if lasting["leaseDuration"] <= lasting["renewDeadline"]:
        problems.invalid((*at, "leaseDuration"), leader.leaseDuration or "15s", "must be greater than `RenewDeadline`")
    if (leader.resourceLock or "leases") != "leases":
        problems.invalid((*at, "resourceLock"), leader.resourceLock, 'resourceLock value must be "leases"')


def _percentage(problems: Problems, path: Path, value: int | None) -> None:
    if value is not None and not 0 <= value <= 100:
        problems.invalid(path, value, "not in valid range [0-100]")


def _names(profiles: Sequence[types.KubeSchedulerProfile], problems: Problems) -> None:
    """Scheduler names, one for each profile, and the plugins' names and weights as they are written."""
    known: dict[str, int] = {}
    for index, profile in enumerate(profiles):
        at: Path = ("profiles", index)
        name = profile.schedulerName or ("default-scheduler" if profile.schedulerName is None and len(profiles) == 1 else "")
        if not name:
            problems.required((*at, "schedulerName"))
        elif name in known:
            problems.duplicate((*at, "schedulerName"), name)
        known.setdefault(name, index)
        _percentage(problems, (*at, "percentageOfNodesToScore"), profile.percentageOfNodesToScore)
        plugins = profile.plugins or types.Plugins()
        for point in (*POINT_METHODS, "multiPoint"):
            _check_set(getattr(plugins, point), (*at, "plugins", point), problems)
        seen: set[str] = set()
        for place, item in enumerate(profile.pluginConfig or ()):
            if item.name in seen:
                problems.duplicate((*at, "pluginConfig", place), item.name)
            seen.add(item.name)
            if item.name in REMOVED:
                problems.invalid((*at, "pluginConfig", place), item.name, _removed())


def _removed() -> str:
    return f'was invalid in version "{_VERSION}" (KubeSchedulerConfiguration is version "{_VERSION}")'


def _check_set(given: types.PluginSet | None, path: Path, problems: Problems) -> None:
    if given is None:
        return
    for index, plugin in enumerate(given.enabled or ()):
        at = (*path, "enabled", index)
        if not plugin.name:
            problems.required((*at, "name"))
        elif plugin.name in REMOVED:
            problems.invalid(at, plugin.name, _removed())
        weight = plugin.weight or 0
        if not 0 <= weight <= _INT32_MAX:
            problems.invalid((*at, "weight"), plugin.weight, f"not in valid range [0, {_INT32_MAX}]")


def check_queue_sort(enabled: Sequence[tuple[Sequence[str], Sequence[str]]], problems: Problems) -> None:
    """All profiles sort one queue. `enabled`: (names enabled, names disabled) at queueSort of each profile."""
    for index, item in enumerate(enabled):
        path: Path = ("profiles", index, "plugins", "queueSort")
        if index == 0 and len(item[0]) > 1:
            problems.invalid((*path, "enabled"), len(item[0]), "only one queue sort plugin can be enabled")
        if item != enabled[0]:
            problems.invalid(path, list(item[0]), "must be the same for all profiles")


# Extenders --------------------------------------------------------------------------------------------------------------------------------


def _extenders(extenders: Sequence[types.Extender], problems: Problems) -> None:
    binders = sum(bool(extender.bindVerb) for extender in extenders)
    managed: set[str] = set()
    for index, extender in enumerate(extenders):
        at: Path = ("extenders", index)
        if not extender.urlPrefix:
            problems.required((*at, "urlPrefix"), "where the extender is called, like http://127.0.0.1:8888/scheduler")
        if extender.prioritizeVerb and (extender.weight or 0) <= 0:
            problems.invalid((*at, "weight"), extender.weight or 0, "must have a positive weight applied to it")
        timeout = parse_duration_ns(extender.httpTimeout) if extender.httpTimeout else 0
        if timeout is None or timeout < 0:
            problems.invalid((*at, "httpTimeout"), extender.httpTimeout, "is no duration; write it like 5s or 250ms")
        for place, resource in enumerate(extender.managedResources or ()):
            path = (*at, "managedResources", place, "name")
            wrong = label_key(resource.name)
            for detail in wrong:
                problems.invalid(path, resource.name, detail)
            if not wrong and not is_extended_resource(resource.name):
                problems.invalid(path, resource.name, "is an invalid extended resource name")
            if resource.name in managed:
                problems.invalid(path, resource.name, "duplicate extender managed resource name")
            managed.add(resource.name)
    if binders > 1:
        problems.invalid(("extenders",), f"found {binders} extenders implementing bind", "only one extender can implement bind")


# Arguments of plugins ---------------------------------------------------------------------------------------------------------------------


def check_args(name: str, args: types.Args, path: Path, problems: Problems) -> None:
    """The arguments of a built-in plugin, defaults filled in."""
    _CHECKS[name](args, path, problems)


def _shape(shape: Sequence[types.UtilizationShapePoint] | None, path: Path, problems: Problems) -> None:
    points = shape or ()
    if not points:
        problems.required(path, "at least one point must be specified")
    for index in range(1, len(points)):
        if points[index - 1].utilization >= points[index].utilization:
            problems.invalid((*path, index, "utilization"), points[index].utilization, "values must be sorted in increasing order")
            break
    for index, point in enumerate(points):
        if not 0 <= point.utilization <= 100:
            problems.invalid((*path, index, "utilization"), point.utilization, "not in valid range [0, 100]")
        if not 0 <= point.score <= 10:
            problems.invalid((*path, index, "score"), point.score, "not in valid range [0, 10]")


def _fit(args: types.NodeResourcesFitArgs, path: Path, problems: Problems) -> None:
    for index, name in enumerate(args.ignoredResources or ()):
        for detail in label_key(name):
            problems.invalid((*path, "ignoredResources", index), name, detail)
    for index, group in enumerate(args.ignoredResourceGroups or ()):
        at = (*path, "ignoredResourceGroups", index)
        if "/" in group:
            problems.invalid(at, group, "resource group name can't contain '/'")
        for detail in label_key(group):
            problems.invalid(at, group, detail)
    strategy = args.scoringStrategy
    assert strategy is not None
    at = (*path, "scoringStrategy")
    if strategy.type not in STRATEGIES:
        problems.unsupported((*at, "type"), strategy.type or "", STRATEGIES)
    for index, resource in enumerate(strategy.resources or ()):
        if not 0 < (resource.weight or 0) <= 100:
            detail = f"resource weight of {resource.name} not in valid range (0, 100]"
            problems.invalid((*at, "resources", index, "weight"), resource.weight, detail)
    ratio = (*at, "requestedToCapacityRatio")
    if strategy.type == "RequestedToCapacityRatio":
        if strategy.requestedToCapacityRatio is None:
            problems.required(ratio, "must be specified when type is RequestedToCapacityRatio")
        else:
            _shape(strategy.requestedToCapacityRatio.shape, (*ratio, "shape"), problems)
    elif strategy.requestedToCapacityRatio is not None:
        problems.forbidden(ratio, "must be nil when type is not RequestedToCapacityRatio")


def _balanced(args: types.NodeResourcesBalancedAllocationArgs, path: Path, problems: Problems) -> None:
    seen: set[str] = set()
    for index, resource in enumerate(args.resources or ()):
        at = (*path, "resources", index)
        if resource.name in seen:
            problems.duplicate((*at, "name"), resource.name)
        seen.add(resource.name)
        if resource.weight != 1:
            problems.invalid((*at, "weight"), resource.weight, "must be 1")


def _volume_binding(args: types.VolumeBindingArgs, path: Path, problems: Problems) -> None:
    timeout = args.bindTimeoutSeconds
    if timeout is not None and timeout < 0:
        problems.invalid((*path, "bindTimeoutSeconds"), timeout, "invalid BindTimeoutSeconds, should not be a negative value")
    _shape(args.shape, (*path, "shape"), problems)


def _node_affinity(args: types.NodeAffinityArgs, path: Path, problems: Problems) -> None:
    affinity = args.addedAffinity
    if affinity is None:
        return
    at = (*path, "addedAffinity")
    for text in node_selector_problems(affinity.requiredDuringSchedulingIgnoredDuringExecution, ""):
        problems.add((*at, "requiredDuringSchedulingIgnoredDuringExecution"), text.removeprefix("."))
    preferred = (*at, "preferredDuringSchedulingIgnoredDuringExecution")
    try:
        PreferredTerms(affinity.preferredDuringSchedulingIgnoredDuringExecution or ())
    except SelectorError as problem:
        for text in problem.problems:
            problems.add(preferred, text)


def _spread(args: types.PodTopologySpreadArgs, path: Path, problems: Problems) -> None:
    constraints = args.defaultConstraints or []
    if args.defaultingType not in ("System", "List"):
        problems.unsupported((*path, "defaultingType"), args.defaultingType or "", ("System", "List"))
    elif args.defaultingType == "System" and constraints:
        problems.invalid((*path, "defaultingType"), args.defaultingType, "when .defaultConstraints are not empty")
    for index, constraint in enumerate(constraints):
        _constraint(constraint, constraints[:index], (*path, "defaultConstraints", index), problems)


def _constraint(constraint: TopologySpreadConstraint, before: Sequence[TopologySpreadConstraint], path: Path, problems: Problems) -> None:
    if constraint.maxSkew <= 0:
        problems.invalid((*path, "maxSkew"), constraint.maxSkew, "not in valid range (0, inf)")
    if not constraint.topologyKey:
        problems.required((*path, "topologyKey"), "can not be empty")
    else:
        for detail in label_key(constraint.topologyKey):
            problems.invalid((*path, "topologyKey"), constraint.topologyKey, detail)
    if not constraint.whenUnsatisfiable:
        problems.required((*path, "whenUnsatisfiable"), "can not be empty")
    elif constraint.whenUnsatisfiable not in _WHEN:
        problems.unsupported((*path, "whenUnsatisfiable"), constraint.whenUnsatisfiable, _WHEN)
    if constraint.labelSelector is not None:
        problems.forbidden((*path, "labelSelector"), "constraint must not define a selector, as they deduced for each pod")
    identity = (constraint.topologyKey, constraint.whenUnsatisfiable)
    if any((other.topologyKey, other.whenUnsatisfiable) == identity for other in before):
        problems.duplicate(path, f"{{{identity[0]}, {identity[1]}}}")


def _inter_pod(args: types.InterPodAffinityArgs, path: Path, problems: Problems) -> None:
    weight = args.hardPodAffinityWeight
    if weight is not None and not 0 <= weight <= 100:
        problems.invalid((*path, "hardPodAffinityWeight"), weight, "not in valid range [0, 100]")


def _preemption(args: types.DefaultPreemptionArgs, path: Path, problems: Problems) -> None:
    percentage, absolute = args.minCandidateNodesPercentage or 0, args.minCandidateNodesAbsolute or 0
    at, other = (*path, "minCandidateNodesPercentage"), (*path, "minCandidateNodesAbsolute")
    if not 0 <= percentage <= 100:
        problems.invalid(at, percentage, "not in valid range [0, 100]")
    if absolute < 0:
        problems.invalid(other, absolute, "not in valid range [0, inf)")
    if percentage == 0 and absolute == 0:
        problems.invalid(at, percentage, "cannot be zero at the same time as minCandidateNodesAbsolute")
        problems.invalid(other, absolute, "cannot be zero at the same time as minCandidateNodesPercentage")


def _dynamic_resources(args: types.DynamicResourcesArgs, path: Path, problems: Problems) -> None:
    for name, least, detail in (("filterTimeout", 0, "must be zero or positive"), ("bindingTimeout", 10**9, "must be at least 1 second")):
        given = getattr(args, name)
        if given is None:
            continue
        nanoseconds = parse_duration_ns(given)
        if nanoseconds is None:
            problems.invalid((*path, name), given, "is no duration; write it like 10s")
        elif nanoseconds < least:
            problems.invalid((*path, name), given, detail)


_CHECKS: Final[Mapping[str, Callable[[Any, Path, Problems], None]]] = {
    "DefaultPreemption": _preemption,
    "DynamicResources": _dynamic_resources,
    "InterPodAffinity": _inter_pod,
    "NodeAffinity": _node_affinity,
    "NodeResourcesBalancedAllocation": _balanced,
    "NodeResourcesFit": _fit,
    "PodTopologySpread": _spread,
    "VolumeBinding": _volume_binding,
}

__all__ = ["check", "check_args", "check_queue_sort"]
