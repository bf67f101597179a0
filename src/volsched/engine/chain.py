"""Where own plugins stand among the built-in ones, and how they are asked.

    profile names plugin X at a point ──> X runs there, between its neighbours
    profile names it nowhere          ──> X runs at every point it has a method for, after the built-in plugins
    X has `late_filter = True`        ──> its Filter sees only the nodes that the search has ended with, as extenders do

Both engines run a pod through the same arrangement. An own Filter sees every node that no filter before it refused, whether or not a search
that stops early would come to it. What plugins answer is checked here, so that neither engine meets a malformed array.

Source: pkg/scheduler/framework/runtime/framework.go (RunPreFilterPlugins … RunScorePlugins); spec/scheduling.md 9.4, 9.5.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal, NamedTuple

import numpy as np
from lightkube.models.core_v1 import Pod
from numpy.typing import NDArray

from volsched.engine.plugin import SCORE_MAX, BoolArray, CycleView, IntArray, PreFilterAnswer, Verdict
from volsched.engine.profile import BUILT_IN, WEIGHTS_MAX, EngineProfile
from volsched.errors import EngineError, PluginError

# The methods by which an own plugin takes part in an engine's work.
ENGINE_METHODS: Final = ("pre_filter", "filter", "pre_score", "score")
TOTAL_MAX: Final = 1_000_000_000  # in amount, of scores that are taken as they are: totals are 32-bit integers
_PASS: Final = PreFilterAnswer()
_SKIP: Final = PreFilterAnswer(skip=True)


class Step(NamedTuple):
    """A plugin at a point: a built-in one by name, or an own one. `weight` counts at Score alone."""

    name: str
    own: Any | None = None
    weight: int = 0


class Arrangement(NamedTuple):
    """Who runs at which point, in order. `late`: filters over what the search has found."""

    pre_filters: tuple[Step, ...]
    filters: tuple[Step, ...]
    late: tuple[Step, ...]
    pre_scores: tuple[Step, ...]
    scores: tuple[Step, ...]

    @property
    def takes_first(self) -> bool:
        """Whether the first node that fits is taken: nobody would compare it with others."""
        return not self.scores and not self.late

    @property
    def has_own(self) -> bool:
        """Whether any own plugin takes part."""
        return any(step.own is not None for steps in self for step in steps)


def has_engine_part(plugin: object) -> bool:
    """Whether a plugin has anything to say between PreFilter and Score."""
    return any(callable(getattr(plugin, method, None)) for method in ENGINE_METHODS)


def arrange(profile: EngineProfile, plugins: Sequence[Any]) -> Arrangement:
    """Raises EngineError when two plugins have one name, one has the name of a built-in, the weights add up to too much, or the profile
    names a plugin that is not there or has no method for the point."""
    own: dict[str, Any] = {}
    for plugin in plugins:
        name = str(plugin.name)
        if name in BUILT_IN:
            raise EngineError(f"an own plugin cannot be named {name}: a built-in plugin has that name")
        if name in own:
            raise EngineError(f"two own plugins are named {name}")
        own[name] = plugin
    everywhere = [name for name in own if name not in profile.names]

    def steps(point: str, method: str, named: Sequence[tuple[str, int]]) -> tuple[Step, ...]:
        made = []
        for name, weight in named:
            if name in BUILT_IN:
                made.append(Step(name, None, weight))
                continue
            if name not in own:
                raise EngineError(f"the profile names plugin {name} at {point}; it is neither built in nor among the plugins given")
            if not callable(getattr(own[name], method, None)):
                raise EngineError(f"plugin {name} does not extend {point}: it has no method {method}")
            made.append(Step(name, own[name], weight))
        for name in everywhere:
            if callable(getattr(own[name], method, None)):
                made.append(Step(name, own[name], int(getattr(own[name], "weight", 1))))
        return tuple(made)

    filters = steps("Filter", "filter", [(name, 0) for name in profile.filters])
    scores = steps("Score", "score", [(item.name, item.weight) for item in profile.scores])
    if sum(step.weight for step in scores) > WEIGHTS_MAX:
        raise EngineError(f"the weights of the plugins that score add up to more than {WEIGHTS_MAX}")
    return Arrangement(
        steps("PreFilter", "pre_filter", [(name, 0) for name in profile.pre_filters]),
        tuple(step for step in filters if not getattr(step.own, "late_filter", False)),
        tuple(step for step in filters if getattr(step.own, "late_filter", False)),
        steps("PreScore", "pre_score", [(name, 0) for name in profile.pre_scores]),
        scores,
    )


def _checked(array: object, dtype: type[Any], nodes: int, what: str) -> NDArray[Any]:
    """An answer as a contiguous array. Raises EngineError with what is wrong about it."""
    if not isinstance(array, np.ndarray) or array.dtype != np.dtype(dtype) or array.shape != (nodes,):
        found = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else type(array).__name__
        raise EngineError(f"{what} must be a {np.dtype(dtype)} array of shape ({nodes},), not {found}")
    return np.ascontiguousarray(array)


def _sealed(nodes: BoolArray) -> BoolArray:
    nodes.flags.writeable = False
    return nodes


def ask_pre_filter(step: Step, cycle: CycleView, pod: Pod) -> PreFilterAnswer:
    """Raises PluginError."""
    assert step.own is not None
    answer = step.own.pre_filter(cycle, pod)
    if answer is None:
        return _PASS
    if not isinstance(answer, PreFilterAnswer):
        return PreFilterAnswer(reason=str(answer))
    if answer.skip:
        return _SKIP
    if answer.nodes is not None:
        nodes = _checked(answer.nodes, np.bool_, len(cycle.node_names), f"nodes of plugin {step.name}")
        return answer._replace(nodes=nodes)
    return answer


def ask_filter(step: Step, cycle: CycleView, pod: Pod, nodes: BoolArray) -> list[Verdict]:
    """What the plugin says of the nodes that are in. Raises PluginError."""
    assert step.own is not None
    answer = step.own.filter(cycle, pod, _sealed(nodes))
    verdicts = [answer] if isinstance(answer, Verdict) else list(answer)
    what = f"keep of plugin {step.name}"
    return [item._replace(keep=_checked(item.keep, np.bool_, len(cycle.node_names), what)) for item in verdicts]


def ask_follow(step: Step, method: Literal["add_pod", "remove_pod"], cycle: CycleView, pod: Pod, other: Pod, node: int) -> None:
    """Let the plugin adjust its state to a pod more or less, if it can. Raises PluginError with the whole text."""
    follow = getattr(step.own, method, None)
    if follow is None:
        return
    try:
        follow(cycle, pod, other, node)
    except PluginError as failure:
        point = "AddPod" if method == "add_pod" else "RemovePod"
        raise PluginError(f'running {point} on PreFilter plugin "{step.name}": {failure}') from failure


def ask_pre_score(step: Step, cycle: CycleView, pod: Pod, nodes: BoolArray) -> bool:
    """Whether the plugin wants to score. Raises PluginError."""
    assert step.own is not None
    return step.own.pre_score(cycle, pod, _sealed(nodes)) is not False


def ask_scores(step: Step, cycle: CycleView, pod: Pod, nodes: BoolArray) -> IntArray:
    """The plugin's scores, normalised, before they are weighted. Raises PluginError with the cycle's whole text.

    Scores outside 0..100 fail the cycle, except those of a plugin with `score_max = None`, which are taken as they are up to TOTAL_MAX.
    """
    plugin = step.own
    assert plugin is not None
    sealed, count = _sealed(nodes), len(cycle.node_names)
    try:
        scores = _checked(plugin.score(cycle, pod, sealed), np.int64, count, f"scores of plugin {step.name}")
    except PluginError as failure:
        raise PluginError(f'running Score plugins: plugin "{step.name}" failed with: {failure}') from failure
    normalize = getattr(plugin, "normalize_score", None)
    if normalize is not None:
        try:
            scores = _checked(normalize(cycle, pod, sealed, scores), np.int64, count, f"normalised scores of plugin {step.name}")
        except PluginError as failure:
            raise PluginError(f'running Normalize on Score plugins: plugin "{step.name}" failed with: {failure}') from failure
    if getattr(plugin, "score_max", SCORE_MAX) is None:
        if (sealed & (np.abs(scores) * step.weight > TOTAL_MAX)).any():
            raise PluginError(f"the scores of {step.name} exceed {TOTAL_MAX} in amount")
        return scores
    wrong = np.flatnonzero(sealed & ((scores < 0) | (scores > SCORE_MAX)))
    if wrong.size:
        raise PluginError(invalid_score(step.name, int(scores[wrong[0]])))
    return scores


def invalid_score(plugin: str, score: int) -> str:
    """The text of a cycle in which a plugin's normalised score is out of range."""
    return (
        f'applying score defaultWeights on Score plugins: plugin "{plugin}" returns an invalid score {score}, '
        f"it should in the range of [0, {SCORE_MAX}] after normalizing"
    )
