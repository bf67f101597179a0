"""Reading a KubeSchedulerConfiguration: text to settings, strictly.

    file ──one document──> types ──arguments by plugin name──> defaults ──checks──> Configuration

kube-scheduler decodes this file strictly, and so do we: an unknown field, a field given twice or a value out of range refuses the file. All
that is wrong is told in one line, with the line and path of each. A Configuration says what was asked for; what runs at which point shows
once the plugins are there (`profiles`).

Source: cmd/kube-scheduler/app/options/configfile.go, pkg/scheduler/apis/config/v1/defaults.go.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path as FilePath
from typing import Any, Final

from volsched.api.documents import TEXT_BYTES_MAX, Document, Path, TextError, decoded_text, documents, path_text, text_error
from volsched.api.manifest import struct_from
from volsched.api.schema import FieldError, words
from volsched.engine.profile import (
    CPU_AND_MEMORY,
    EMPTIER_IS_BETTER,
    FitArgs,
    InterPodArgs,
    NodeAffinityArgs,
    ResourceWeight,
    ShapePoint,
    SpreadArgs,
    Strategy,
)
from volsched.errors import InputError
from volsched.scheduler.configuration import types
from volsched.scheduler.configuration.checks import check, check_args, check_queue_sort
from volsched.scheduler.configuration.durations import parse_duration_ns
from volsched.scheduler.configuration.points import GROUP_POINTS, IMPLEMENTS, MULTI_POINT, Enabled, Set, default_sets, merged
from volsched.scheduler.configuration.problems import Origin, Problems
from volsched.scheduler.framework import DEFAULT_SCHEDULER, POINT_METHODS

Warn = Callable[[str], None]
EXTENDER_TIMEOUT_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class BuiltInArgs:
    """Arguments of the built-in plugins, defaults filled in. The first five are the engine's."""

    fit: FitArgs = field(default_factory=FitArgs)
    balanced: tuple[str, ...] = ("cpu", "memory")
    volume_shape: tuple[ShapePoint, ...] = EMPTIER_IS_BETTER
    node_affinity: NodeAffinityArgs = field(default_factory=NodeAffinityArgs)
    spread: SpreadArgs = field(default_factory=SpreadArgs)
    inter_pod: InterPodArgs = field(default_factory=InterPodArgs)
    bind_timeout_s: float = 600.0
    min_candidates_percent: int = 10
    min_candidates: int = 100


@dataclass(frozen=True, slots=True)
class ProfileSettings:
    """One profile: its plugins by point, merged with the defaults, and their arguments. `own_args`: of plugins that are not built in.
    `path`: where it stands in the file."""

    scheduler_name: str = DEFAULT_SCHEDULER
    percentage_of_nodes_to_score: int | None = None
    sets: Mapping[str, Set] = field(default_factory=default_sets)
    args: BuiltInArgs = field(default_factory=BuiltInArgs)
    own_args: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    path: Path = ()


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """How an extender is reached over https."""

    insecure: bool = False
    server_name: str = ""
    cert_file: str = ""
    key_file: str = ""
    ca_file: str = ""
    ca_data: str = ""
    cert_data: str = ""
    key_data: str = ""


@dataclass(frozen=True, slots=True)
class ExtenderSettings:
    """One extender. `managed`: extended resources that make pods its business, none means all pods."""

    url_prefix: str
    filter_verb: str = ""
    prioritize_verb: str = ""
    bind_verb: str = ""
    preempt_verb: str = ""
    weight: int = 1
    timeout_s: float = EXTENDER_TIMEOUT_S
    node_cache_capable: bool = False
    ignorable: bool = False
    managed: frozenset[str] = frozenset()
    https: bool = False
    tls: TlsSettings = field(default_factory=TlsSettings)


@dataclass(frozen=True, slots=True)
class Configuration:
    """What a file asks for.

    percentage_of_nodes_to_score: None when the file does not say; kube-scheduler then adapts to the number of nodes, volsched keeps what
    its engine was told, which is every node unless asked otherwise. parallelism: of no effect, decisions do not depend on it here.
    """

    profiles: tuple[ProfileSettings, ...] = (ProfileSettings(),)
    extenders: tuple[ExtenderSettings, ...] = ()
    percentage_of_nodes_to_score: int | None = None
    initial_backoff_s: int = 1
    max_backoff_s: int = 10
    parallelism: int = 16
    origin: Origin = field(default_factory=Origin, compare=False)


def load_configuration(path: FilePath, *, warn: Warn) -> Configuration:
    """A configuration file, YAML or JSON. Raises InputError naming everything that is wrong with it."""
    source = str(path)
    try:
        if (size := path.stat().st_size) > TEXT_BYTES_MAX:
            raise InputError(f"{size} bytes are more than the {TEXT_BYTES_MAX} read from one file", source=source)
        raw = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror or error}", source=source) from None
    try:
        text = decoded_text(raw)
    except TextError as error:
        raise text_error(error, source) from None
    return read_configuration(text, source=source, warn=warn)


def read_configuration(text: str, *, source: str = "", warn: Warn) -> Configuration:
    """A configuration text, YAML or JSON. Raises InputError naming everything that is wrong with it."""
    twice: list[str] = []
    try:
        found = list(documents(text, duplicate=twice.append))
    except TextError as error:
        raise text_error(error, source) from None
    if len(found) != 1:
        raise InputError(f"a configuration is one document, {len(found)} are in this text", source=source or None)
    (document,) = found
    origin = Origin(source, text, document)
    problems = Problems((_from_text(path), f'duplicate field "{path}"') for path in twice)
    try:
        config = _decoded(document, problems)
        given = [_decoded_args(profile, ("profiles", index), problems, warn) for index, profile in enumerate(config.profiles or ())]
    except FieldError as error:
        problems.add(error.path, error.message)
        raise origin.error(problems) from None
    if problems:
        raise origin.error(problems)
    check(config, problems)
    for index, by_name in enumerate(given):
        for name, (args, path) in by_name.items():
            if isinstance(args, types.Args):
                check_args(name, args, path, problems)
        _check_group_points((config.profiles or [])[index].plugins, ("profiles", index, "plugins"), problems)
    if problems:
        raise origin.error(problems)
    configuration = _configuration(config, given, origin)
    sorting = [profile.sets.get("queueSort", Set()) for profile in configuration.profiles]
    check_queue_sort([([item.name for item in one.enabled], list(one.disabled)) for one in sorting], problems)
    if problems:
        raise origin.error(problems)
    return configuration


def _from_text(path: str) -> Path:
    """The place of a field that was given twice, for its line: the text is the path's own form."""
    parts: list[str | int] = []
    for part in path.replace("[", ".[").split("."):
        parts.append(int(part[1:-1]) if part.startswith("[") and part[1:-1].isdigit() else part.strip("[]"))
    return tuple(parts)


def _decoded(document: Document, problems: Problems) -> types.KubeSchedulerConfiguration:
    """Raises FieldError."""
    value = document.value
    if not isinstance(value, dict):
        raise FieldError((), f"a configuration is a mapping with apiVersion and kind, not {words(value)}")
    if value.get("kind") != types.KIND or value.get("apiVersion") != types.API_VERSION:
        found = f'kind "{value.get("kind", "")}" of "{value.get("apiVersion", "")}"'
        raise FieldError(("kind",), f'expected kind {types.KIND} of "{types.API_VERSION}", got {found}')
    return struct_from(types.KubeSchedulerConfiguration, value, path=(), unknown=_unknown(problems))


def _unknown(problems: Problems) -> Callable[[Path], None]:
    return lambda path: problems.add(path, f'unknown field "{path_text(path)}"')


_ByName = dict[str, tuple[types.Args | dict[str, Any], Path]]


def _decoded_args(profile: types.KubeSchedulerProfile, path: Path, problems: Problems, warn: Warn) -> _ByName:
    """Arguments by plugin, typed for built-in plugins that have some. Raises FieldError."""
    found: _ByName = {}
    for index, item in enumerate(profile.pluginConfig or ()):
        at: Path = (*path, "pluginConfig", index, "args")
        if not item.name:
            raise FieldError((*path, "pluginConfig", index, "name"), "Required value: the plugin that the arguments are for")
        args = {} if item.args is None else item.args
        if not isinstance(args, dict):
            raise FieldError(at, f"expected a mapping, got {words(args)}")
        kind = types.ARGS.get(item.name)
        if kind is None:
            if item.name in IMPLEMENTS:
                warn(f"{path_text(at)} is not used: {item.name} takes no arguments")
            found.setdefault(item.name, (args, at))
            continue
        if args.get("kind") not in (None, f"{item.name}Args"):
            raise FieldError((*at, "kind"), f'args for plugin {item.name} were not of type {item.name}Args, got "{args["kind"]}"')
        if args.get("apiVersion") not in (None, types.API_VERSION):
            raise FieldError((*at, "apiVersion"), f'expected "{types.API_VERSION}", got {words(args["apiVersion"])}')
        decoded = struct_from(kind, args, path=at, unknown=_unknown(problems))
        _fill(decoded)
        found.setdefault(item.name, (decoded, at))
    return found


# Defaults -------------------------------------------------------------------------------------------------------------------------------


def _fill(args: types.Args) -> None:
    """Upstream's defaults for arguments that are given in part."""
    match args:
        case types.NodeResourcesFitArgs():
            strategy = args.scoringStrategy or types.ScoringStrategy(type="LeastAllocated")
            strategy.resources = strategy.resources or [types.ResourceSpec(item.name, item.weight) for item in CPU_AND_MEMORY]
            for resource in strategy.resources:
                resource.weight = resource.weight or 1
            args.scoringStrategy = strategy
        case types.NodeResourcesBalancedAllocationArgs():
            args.resources = args.resources or [types.ResourceSpec(item.name, 1) for item in CPU_AND_MEMORY]
            for resource in args.resources:
                resource.weight = resource.weight or 1
        case types.VolumeBindingArgs():
            args.shape = args.shape or [types.UtilizationShapePoint(*point) for point in EMPTIER_IS_BETTER]
        case types.PodTopologySpreadArgs():
            args.defaultingType = args.defaultingType or "System"
        case types.DefaultPreemptionArgs():
            args.minCandidateNodesPercentage = 10 if args.minCandidateNodesPercentage is None else args.minCandidateNodesPercentage
            args.minCandidateNodesAbsolute = 100 if args.minCandidateNodesAbsolute is None else args.minCandidateNodesAbsolute
        case _:
            pass


def _shape(points: list[types.UtilizationShapePoint] | None) -> tuple[ShapePoint, ...]:
    return tuple(ShapePoint(point.utilization, point.score) for point in points or ())


def _built_in(by_name: _ByName) -> BuiltInArgs:
    changes: dict[str, Any] = {}
    for args, _path in by_name.values():
        match args:
            case types.NodeResourcesFitArgs(scoringStrategy=types.ScoringStrategy() as strategy):
                kind: Strategy = strategy.type  # type: ignore[assignment]  # one of the three, as checked
                ratio = strategy.requestedToCapacityRatio
                changes["fit"] = FitArgs(
                    kind,
                    tuple(ResourceWeight(item.name, item.weight or 1) for item in strategy.resources or ()),
                    _shape(ratio.shape) if ratio is not None else (),
                    frozenset(args.ignoredResources or ()),
                    frozenset(args.ignoredResourceGroups or ()),
                )
            case types.NodeResourcesBalancedAllocationArgs():
                changes["balanced"] = tuple(item.name for item in args.resources or ())
            case types.VolumeBindingArgs():
                changes["volume_shape"] = _shape(args.shape)
                changes["bind_timeout_s"] = 600.0 if args.bindTimeoutSeconds is None else float(args.bindTimeoutSeconds)
            case types.NodeAffinityArgs(addedAffinity=added) if added is not None:
                preferred = tuple(added.preferredDuringSchedulingIgnoredDuringExecution or ())
                changes["node_affinity"] = NodeAffinityArgs(added.requiredDuringSchedulingIgnoredDuringExecution, preferred)
            case types.PodTopologySpreadArgs():
                listed = None if args.defaultingType == "System" else tuple(args.defaultConstraints or ())
                changes["spread"] = SpreadArgs(listed)
            case types.InterPodAffinityArgs():
                weight = 1 if args.hardPodAffinityWeight is None else args.hardPodAffinityWeight
                changes["inter_pod"] = InterPodArgs(weight, bool(args.ignorePreferredTermsOfExistingPods))
            case types.DefaultPreemptionArgs():
                changes["min_candidates_percent"] = args.minCandidateNodesPercentage
                changes["min_candidates"] = args.minCandidateNodesAbsolute
            case _:
                pass
    return BuiltInArgs(**changes)


def _check_group_points(plugins: types.Plugins | None, path: Path, problems: Problems) -> None:
    for point in GROUP_POINTS:
        given: types.PluginSet | None = getattr(plugins, point) if plugins is not None else None
        if given is not None and given.enabled:
            problems.add((*path, point), "not supported: pod groups are behind feature gates that are off by default")


def _sets(plugins: types.Plugins | None, path: Path) -> dict[str, Set]:
    sets = default_sets()
    for point in (MULTI_POINT, *POINT_METHODS):
        given: types.PluginSet | None = getattr(plugins, point) if plugins is not None else None
        if given is None:
            continue
        enabled = [
            Enabled(item.name, item.weight or 0, (*path, point, "enabled", index, "name")) for index, item in enumerate(given.enabled or ())
        ]
        own = Set(tuple(enabled), tuple(item.name for item in given.disabled or ()))
        sets[point] = merged(sets.get(point, Set()), own)
    return sets


def _extender(given: types.Extender) -> ExtenderSettings:
    tls = given.tlsConfig or types.ExtenderTLSConfig()
    timeout_ns = parse_duration_ns(given.httpTimeout) if given.httpTimeout else None
    return ExtenderSettings(
        url_prefix=given.urlPrefix,
        filter_verb=given.filterVerb or "",
        prioritize_verb=given.prioritizeVerb or "",
        bind_verb=given.bindVerb or "",
        preempt_verb=given.preemptVerb or "",
        weight=given.weight or 0,
        timeout_s=timeout_ns / 1e9 if timeout_ns else EXTENDER_TIMEOUT_S,
        node_cache_capable=bool(given.nodeCacheCapable),
        ignorable=bool(given.ignorable),
        managed=frozenset(item.name for item in given.managedResources or ()),
        https=bool(given.enableHTTPS),
        tls=TlsSettings(
            bool(tls.insecure),
            tls.serverName or "",
            tls.certFile or "",
            tls.keyFile or "",
            tls.caFile or "",
            tls.caData or "",
            tls.certData or "",
            tls.keyData or "",
        ),
    )


def _configuration(config: types.KubeSchedulerConfiguration, given: list[_ByName], origin: Origin) -> Configuration:
    profiles = []
    for index, profile in enumerate(config.profiles or [types.KubeSchedulerProfile()]):
        by_name = given[index] if index < len(given) else {}
        path: Path = ("profiles", index)
        profiles.append(
            ProfileSettings(
                scheduler_name=profile.schedulerName or DEFAULT_SCHEDULER,
                percentage_of_nodes_to_score=profile.percentageOfNodesToScore,
                sets=_sets(profile.plugins, (*path, "plugins")),
                args=_built_in(by_name),
                own_args={name: args for name, (args, _path) in by_name.items() if isinstance(args, dict) and name not in IMPLEMENTS},
                path=path,
            )
        )
    extenders = [_extender(item) for item in config.extenders or ()]
    ignored = [resource.name for item in config.extenders or () for resource in item.managedResources or () if resource.ignoredByScheduler]
    if ignored:
        by_names: list[_ByName] = given or [{}]
        profiles = [_ignoring(profile, frozenset(ignored), by_name, origin) for profile, by_name in zip(profiles, by_names, strict=True)]
    return Configuration(
        profiles=tuple(profiles),
        # an extender that may fail is asked after those that may not
        extenders=tuple(sorted(extenders, key=lambda item: item.ignorable)),
        percentage_of_nodes_to_score=config.percentageOfNodesToScore,
        initial_backoff_s=1 if config.podInitialBackoffSeconds is None else config.podInitialBackoffSeconds,
        max_backoff_s=10 if config.podMaxBackoffSeconds is None else config.podMaxBackoffSeconds,
        parallelism=16 if config.parallelism is None else config.parallelism,
        origin=origin,
    )


def _ignoring(profile: ProfileSettings, names: frozenset[str], by_name: _ByName, origin: Origin) -> ProfileSettings:
    """Resources that an extender wants the scheduler to ignore take the place of those that NodeResourcesFit was told to."""
    enabled = any(item.name == "NodeResourcesFit" for one in profile.sets.values() for item in one.enabled)
    if not enabled and "NodeResourcesFit" not in by_name:
        raise origin.error([(("extenders",), "can't find NodeResourcesFitArgs in plugin config: a profile does not run NodeResourcesFit")])
    fit = replace(profile.args.fit, ignored_resources=names)
    return replace(profile, args=replace(profile.args, fit=fit))
