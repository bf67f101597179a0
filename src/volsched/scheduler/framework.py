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

The built-in plugins' PreFilter to NormalizeScore run inside the engine (`volsched.engine`), own array plugins join them there
(`volsched.engine.plugin`). The rest of the points is here. A plugin takes part in each point whose method it has.

Plugins act on the cluster through intents: PreBind and Bind are generators that yield them and are sent the results.

Source: pkg/scheduler/framework/interface.go, runtime/framework.go; spec/scheduling.md 1, 9.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, Protocol, TypeAlias, TypeVar, runtime_checkable

from lightkube.models.core_v1 import Pod

from volsched.cache import SchedulerCache
from volsched.engine.decision import UNRESOLVABLE, UNSCHEDULABLE, Decision, Rejection, VolumePlan
from volsched.errors import EngineError
from volsched.ports import Steps
from volsched.scheduler.events import ClusterEvent

S = TypeVar("S")

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


class CycleState:
    """What plugins remember about one pod from PreFilter to PostBind. Keyed by type, so that two plugins cannot collide by accident."""

    def __init__(self) -> None:
        self._data: dict[type[Any], Any] = {}

    def write(self, value: Any) -> None:
        self._data[type(value)] = value

    def read(self, kind: type[S]) -> S:
        """Raises EngineError when nothing of this type was written in this cycle."""
        try:
            value: S = self._data[kind]
        except KeyError:
            raise EngineError(f"no {kind.__name__} was written in this scheduling cycle") from None
        return value

    def find(self, kind: type[S]) -> S | None:
        return self._data.get(kind)


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
    """What every plugin has. `wakes_on()` must name every event that can make a pod it refused schedulable."""

    @property
    def name(self) -> str: ...

    def wakes_on(self) -> Sequence[Wake]: ...


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

    def run_filters(self, pod: Pod, node: str) -> Rejection | str | None:
        """The filters of the pod's profile on one node, with pods nominated there counted in; None: it fits, a text: an error."""

    def nominated_pods(self, node: str) -> Sequence[Pod]:
        """Pending pods that preempted for this node, in order of nomination."""

    def is_waiting_or_binding(self, pod: Pod) -> bool:
        """Whether the pod is held by Permit or in PreBind, so that it can be stopped without deleting it."""

    def stop_binding(self, pod: Pod, reason: str) -> bool:
        """Make such a pod's binding cycle fail with `reason`; False when it is too late."""

    def activate(self, pods: Iterable[Pod]) -> None:
        """Move pending pods to activeQ whatever refused them."""

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
    """Called once the pod is assumed. A failure undoes all of it: `unreserve` of every Reserve plugin runs in reverse order, those too
    whose `reserve` has not run; it must be idempotent and cannot fail."""

    def reserve(self, state: CycleState, pod: Pod, node: str) -> Status: ...

    def unreserve(self, state: CycleState, pod: Pod, node: str) -> None: ...


@runtime_checkable
class Permit(Protocol):
    """Called last in the scheduling cycle: SUCCESS, a refusal, or WAIT with a time in seconds."""

    def permit(self, state: CycleState, pod: Pod, node: str) -> tuple[Status, float]: ...


@runtime_checkable
class PreBind(Protocol):
    """`pre_bind_pre_flight` says whether there is work (SUCCESS) or not (SKIP). `pre_bind` does it and answers SUCCESS or ERROR; a refusal
    at this point counts as an error of the cycle, because nothing is left that could choose another node."""

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
class ReservedPlan:
    """Written to the cycle state before Reserve: what the decision chose for the pod's claims."""

    plan: VolumePlan


# Profiles -----------------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Profile:
    """The plugins of one scheduler name, in order. `engine_plugins` are own Filter and Score plugins that run inside the engine."""

    plugins: tuple[Plugin, ...]
    scheduler_name: str = DEFAULT_SCHEDULER
    engine_plugins: tuple[Any, ...] = ()
    _points: dict[Any, tuple[Any, ...]] = field(default_factory=dict, compare=False, repr=False)

    def _at(self, point: Any) -> tuple[Any, ...]:
        """The plugins that take part in an extension point, worked out once."""
        found = self._points.get(point)
        if found is None:
            found = self._points[point] = tuple(plugin for plugin in self.plugins if isinstance(plugin, point))
        return found

    @property
    def pre_enqueues(self) -> tuple[PreEnqueue, ...]:
        return self._at(PreEnqueue)

    @property
    def queue_sorts(self) -> tuple[QueueSort, ...]:
        return self._at(QueueSort)

    @property
    def post_filters(self) -> tuple[PostFilter, ...]:
        return self._at(PostFilter)

    @property
    def reserves(self) -> tuple[Reserve, ...]:
        return self._at(Reserve)

    @property
    def permits(self) -> tuple[Permit, ...]:
        return self._at(Permit)

    @property
    def pre_binds(self) -> tuple[PreBind, ...]:
        return self._at(PreBind)

    @property
    def binders(self) -> tuple[BindPlugin, ...]:
        return self._at(BindPlugin)

    @property
    def post_binds(self) -> tuple[PostBind, ...]:
        return self._at(PostBind)

    def wakes(self) -> Sequence[tuple[str, Wake]]:
        """(plugin name, registration) of every plugin."""
        everyone: list[Any] = [*self.plugins, *self.engine_plugins]
        return [(str(plugin.name), wake) for plugin in everyone if hasattr(plugin, "wakes_on") for wake in plugin.wakes_on()]


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
