"""The scheduling framework: extension points, what each is called for, and what its answers mean.

    queue: PreEnqueue gates, QueueSort orders
      │ pop
      v  scheduling cycle, one pod at a time
    PreFilter -> Filter ──none fits──> PostFilter (preemption) -> failure
      │ some fit
    PreScore -> Score -> NormalizeScore -> choice -> assume -> Reserve -> Permit
      │
      v  binding cycle, beside later scheduling cycles
    PreBindPreFlight -> [wait for Permit] -> PreBind -> Bind -> PostBind
      any failure from Reserve on: Unreserve of every Reserve plugin in reverse order, forget the pod, failure

The built-in plugins' PreFilter to NormalizeScore run inside the engine (`volsched.engine`), own plugins join them there
(`volsched.engine.plugin`). The rest of the points is here. A plugin takes part in each point whose method it has, unless its profile lists
the plugins of the point by name. One object may have methods for both.

Plugins act on the cluster through intents: PreBind and Bind are generators that yield them and are sent the results.

Source: pkg/scheduler/framework/interface.go, runtime/framework.go; spec/scheduling.md 1, 9.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, Protocol, TypeAlias, runtime_checkable

from lightkube.models.core_v1 import Pod

from volsched.cache import SchedulerCache
from volsched.engine.decision import UNRESOLVABLE, UNSCHEDULABLE, Decision, Rejection, Trial, VolumePlan
from volsched.engine.plugin import CycleState as CycleState
from volsched.engine.profile import EngineProfile
from volsched.ports import Steps
from volsched.scheduler.events import ALL, WILDCARD, ClusterEvent
from volsched.scheduler.extenders import Extender

DEFAULT_SCHEDULER: Final = "default-scheduler"


class Code(enum.Enum):
    """What a plugin's answer means. Names are upstream's.

    SUCCESS        go on
    ERROR          something broke: the cycle fails, the pod is tried again after the error backoff, reason SchedulerError
    UNSCHEDULABLE  refused; removing other pods could change that
    UNRESOLVABLE   refused; nothing preemption does could change that
    WAIT           Permit only: hold the pod until allowed, rejected or timed out
    SKIP           nothing to do: PreFilter skips the plugin's Filter, PreBindPreFlight its PreBind, Bind passes to the next plugin
    PENDING        refused until something outside happens; when it does the pod is tried at once, without backoff
    """

    SUCCESS = "Success"
    ERROR = "Error"
    UNSCHEDULABLE = UNSCHEDULABLE
    UNRESOLVABLE = UNRESOLVABLE
    WAIT = "Wait"
    SKIP = "Skip"
    PENDING = "Pending"


@dataclass(frozen=True, slots=True)
class Status:
    """One answer. `reasons` are what users read; `plugin` is filled in by the framework."""

    code: Code = Code.SUCCESS
    reasons: tuple[str, ...] = ()
    plugin: str = ""

    @property
    def ok(self) -> bool:
        return self.code is Code.SUCCESS

    @property
    def rejected(self) -> bool:
        return self.code in (Code.UNSCHEDULABLE, Code.UNRESOLVABLE, Code.PENDING)

    @property
    def message(self) -> str:
        return ", ".join(self.reasons)

    @classmethod
    def refuse(cls, *reasons: str, resolvable: bool = True) -> Status:
        return cls(Code.UNSCHEDULABLE if resolvable else Code.UNRESOLVABLE, reasons)

    @classmethod
    def fail(cls, text: str) -> Status:
        return cls(Code.ERROR, (text,))


OK: Final = Status()


# Waking ------------------------------------------------------------------------------------------------------------------------------

# (pod, object before, object after) -> can this event make the pod schedulable? Old is None for additions, new for deletions. An exception
# counts as yes: better one try too many than a pod that sleeps for ever.
Hint: TypeAlias = Callable[[Pod, Any | None, Any | None], bool]


class Wake(NamedTuple):
    """An event a plugin wants its refused pods to be reconsidered for. Without a hint it always is one."""

    event: ClusterEvent
    hint: Hint | None = None


# Extension points ----------------------------------------------------------------------------------------------------------------------


class Plugin(Protocol):
    """What every plugin has. A plugin that can refuse pods should also have

    def wakes_on(self) -> Sequence[Wake]
        Every event that can make a pod it refused schedulable. Without this method every event wakes such a pod.
    """

    @property
    def name(self) -> str: ...


@runtime_checkable
class PreEnqueue(Protocol):
    """Called before a pod enters activeQ or backoffQ. Anything but SUCCESS keeps it out, gated, without event or condition."""

    def pre_enqueue(self, pod: Pod) -> Status: ...


@runtime_checkable
class QueueSort(Protocol):
    """Orders activeQ: smaller keys first. Exactly one plugin of a scheduler has it. `queued_ns`: when the pod was queued."""

    def sort_key(self, pod: Pod, queued_ns: int) -> tuple[Any, ...]: ...


class Handle(Protocol):
    """What the framework offers to plugins."""

    @property
    def cache(self) -> SchedulerCache: ...

    def decide(self, pod: Pod, only: Sequence[str] | None = None) -> Decision:
        """The filters and scores of the pod's profile, own plugins included."""

    def trial(self, state: CycleState) -> Trial:
        """What would be if: questions about the pod of a cycle that found no node, for PostFilter."""

    def beside(self, pod: Pod) -> Mapping[str, Sequence[Pod]]:
        """By node, the nominated pods that count there when `pod` is tried: those that are at least as important."""

    def nominated_pods(self, node: str) -> Sequence[Pod]:
        """Pending pods that preempted for this node, in order of nomination."""

    def is_waiting_or_binding(self, pod: Pod) -> bool:
        """Whether the pod is held by Permit or in PreBind, so that it can be stopped without deleting it."""

    def stop_binding(self, pod: Pod, reason: str) -> bool:
        """Make such a pod's binding cycle fail with `reason`; False when it is too late."""

    def activate(self, pods: Iterable[Pod]) -> None:
        """Move pending pods to activeQ whatever refused them."""

    @property
    def extenders(self) -> Sequence[Extender]:
        """The extenders of the configuration, those that may fail last."""

    def waiting_pods(self) -> Sequence[Pod]:
        """Pods held by Permit plugins, in the order in which they began to wait."""

    def allow(self, pod: Pod, plugin: str) -> bool:
        """The Permit plugin lets a pod go that it made wait; the binding goes on once every plugin has. False when it does not wait."""

    def reject(self, pod: Pod, plugin: str, *reasons: str) -> bool:
        """The Permit plugin ends a pod's wait with a refusal. False when it does not wait."""

    def now_ns(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Nominating:
    """A change of status.nominatedNodeName. node "" clears it. `None` instead of this leaves it."""

    node: str


@dataclass(frozen=True, slots=True)
class PostFilterResult:
    """`after`: what has to be done to the cluster, carried out once the failure has been recorded."""

    status: Status
    nominating: Nominating | None = None
    after: Callable[[], Steps[None]] | None = None


@runtime_checkable
class PostFilter(Protocol):
    """Called when no node fits, plugins in order until one answers SUCCESS, UNRESOLVABLE or ERROR. Texts are joined into the FitError."""

    def post_filter(self, handle: Handle, state: CycleState, pod: Pod, verdicts: Verdicts) -> PostFilterResult: ...


@runtime_checkable
class Reserve(Protocol):
    """Called once the pod is assumed. A failure undoes all of it: `unreserve` of every Reserve plugin that has one runs in reverse order,
    those too whose `reserve` has not run; it must be idempotent and cannot fail."""

    def reserve(self, state: CycleState, pod: Pod, node: str) -> Status: ...

    def unreserve(self, state: CycleState, pod: Pod, node: str) -> None: ...


@runtime_checkable
class Permit(Protocol):
    """Called last in the scheduling cycle: SUCCESS, a refusal, or WAIT with a time in seconds."""

    def permit(self, state: CycleState, pod: Pod, node: str) -> tuple[Status, float]: ...


@runtime_checkable
class PreBind(Protocol):
    """`pre_bind_pre_flight` says whether there is work (SUCCESS, also where a plugin has no such method) or not (SKIP). `pre_bind` does it
    and answers SUCCESS or ERROR; a refusal at this point counts as an error of the cycle, because nothing is left that could choose
    another node."""

    def pre_bind_pre_flight(self, state: CycleState, pod: Pod, node: str) -> Status: ...

    def pre_bind(self, state: CycleState, pod: Pod, node: str) -> Steps[Status]: ...


@runtime_checkable
class BindPlugin(Protocol):
    """Called in order until one does not SKIP. It must bind the pod."""

    def bind(self, state: CycleState, pod: Pod, node: str) -> Steps[Status]: ...


@runtime_checkable
class PostBind(Protocol):
    """Told of a success; it cannot change it."""

    def post_bind(self, state: CycleState, pod: Pod, node: str) -> None: ...


@dataclass(frozen=True, slots=True)
class TriedDecision:
    """Written to the cycle state before PostFilter: the decision that found no node."""

    decision: Decision


@dataclass(frozen=True, slots=True)
class ReservedPlan:
    """Written to the cycle state before Reserve: what the decision chose for the pod's claims."""

    plan: VolumePlan


# Profiles -----------------------------------------------------------------------------------------------------------------------------

# Extension points as configurations name them, and the method by which a plugin takes part. PreFilter to Score are the engine's.
POINT_METHODS: Final[Mapping[str, str]] = {
    "preEnqueue": "pre_enqueue",
    "queueSort": "sort_key",
    "preFilter": "pre_filter",
    "filter": "filter",
    "postFilter": "post_filter",
    "preScore": "pre_score",
    "score": "score",
    "reserve": "reserve",
    "permit": "permit",
    "preBind": "pre_bind",
    "bind": "bind",
    "postBind": "post_bind",
}
# Points at which a plugin can refuse a pod for something that an event may change.
_REFUSING: Final = ("pre_enqueue", "pre_filter", "filter", "reserve", "permit")
ANY_EVENT: Final = ClusterEvent(WILDCARD, ALL)


def takes_part(plugin: object, point: str) -> bool:
    """Whether a plugin has the method of an extension point."""
    return callable(getattr(plugin, POINT_METHODS[point], None))


@dataclass(frozen=True)
class Profile:
    """The plugins of one scheduler name, in order.

    engine_plugins: own plugins that are asked between PreFilter and Score, inside the engine. engine: which plugins the engine runs, with
    what arguments; None leaves that to the engine. orders: by extension point, the names of the plugins that run there; a point that is not
    in it has every plugin with its method.
    """

    plugins: tuple[Plugin, ...]
    scheduler_name: str = DEFAULT_SCHEDULER
    engine_plugins: tuple[Any, ...] = ()
    engine: EngineProfile | None = None
    orders: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    _points: dict[str, tuple[Any, ...]] = field(default_factory=dict, compare=False, repr=False)

    def _at(self, point: str) -> tuple[Any, ...]:
        """The plugins that take part in an extension point, worked out once."""
        found = self._points.get(point)
        if found is None:
            able = {plugin.name: plugin for plugin in self.plugins if takes_part(plugin, point)}
            found = self._points[point] = tuple(able[name] for name in self.orders.get(point, tuple(able)) if name in able)
        return found

    @property
    def pre_enqueues(self) -> tuple[PreEnqueue, ...]:
        return self._at("preEnqueue")

    @property
    def queue_sorts(self) -> tuple[QueueSort, ...]:
        return self._at("queueSort")

    @property
    def post_filters(self) -> tuple[PostFilter, ...]:
        return self._at("postFilter")

    @property
    def reserves(self) -> tuple[Reserve, ...]:
        return self._at("reserve")

    @property
    def permits(self) -> tuple[Permit, ...]:
        return self._at("permit")

    @property
    def pre_binds(self) -> tuple[PreBind, ...]:
        return self._at("preBind")

    @property
    def binders(self) -> tuple[BindPlugin, ...]:
        return self._at("bind")

    @property
    def post_binds(self) -> tuple[PostBind, ...]:
        return self._at("postBind")

    def wakes(self) -> Sequence[tuple[str, Wake]]:
        """(plugin name, registration) of every plugin."""
        everyone: dict[str, Any] = {str(plugin.name): plugin for plugin in (*self.plugins, *self.engine_plugins)}
        return [(name, wake) for name, plugin in everyone.items() for wake in wakes_of(plugin)]


def wakes_of(plugin: Any) -> Sequence[Wake]:
    """The events a plugin's refused pods are reconsidered for: all of them when it does not say and can refuse pods."""
    named = getattr(plugin, "wakes_on", None)
    if named is not None:
        wakes: Sequence[Wake] = named()
        return wakes
    return [Wake(ANY_EVENT)] if any(callable(getattr(plugin, method, None)) for method in _REFUSING) else ()


# FitError -----------------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Verdicts:
    """Why no node was chosen: per node the first refusal; `absent` speaks for the nodes without one.

    `prefilter`: the refusal of a PreFilter plugin, which is that of every node.
    """

    nodes: tuple[str, ...]
    rejected: Mapping[str, Rejection]
    absent: Rejection | None = None
    prefilter: Rejection | None = None

    def of(self, node: str) -> Rejection | None:
        return self.prefilter or self.rejected.get(node) or self.absent

    def with_code(self, code: str) -> list[str]:
        """Nodes refused with this code, in node order."""
        return [node for node in self.nodes if (rejection := self.of(node)) is not None and rejection.code == code]


def fit_error(verdicts: Verdicts, *, post_filter: str = "") -> str:
    """The text users know as `0/3 nodes are available: …`. Counts and reasons are sorted as texts, so "10 x" stands before "2 y"."""
    text = f"0/{len(verdicts.nodes)} nodes are available:"
    if verdicts.prefilter is not None and verdicts.prefilter.reasons:
        text += f" {', '.join(verdicts.prefilter.reasons)}."
    else:
        counts: dict[str, int] = {}
        for rejection in verdicts.rejected.values():
            for reason in rejection.reasons:
                counts[reason] = counts.get(reason, 0) + 1
        unseen = len(verdicts.nodes) - len(verdicts.rejected)
        if unseen > 0 and verdicts.absent is not None:
            for reason in verdicts.absent.reasons:
                counts[reason] = counts.get(reason, 0) + unseen
        if counts:
            text += f" {', '.join(sorted(f'{count} {reason}' for reason, count in counts.items()))}."
    return f"{text} {post_filter}" if post_filter else text
