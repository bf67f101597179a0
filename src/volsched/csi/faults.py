"""Faults as data: a driver that fails as a plan says, around one that does not.

    call ─> which faults fire? ─> admit ─> wait ─> crash? error? ─> carry out ─> crash? answer lost? lie? ─> answer
              (plan, seed)        holds the object

A `Fault` says on which calls it fires (method, names, node, call number, chance, time) and what happens then. Several may fire on one call:
delays add up; of errors, lost answers and crashes the first in the plan decides, later ones do not fire. Chance is one seeded stream a
fault, so the same calls meet the same faults, and a fault added to a plan does not move the others. Every fault counts how often it took
effect: a lost answer counts when there was an answer to lose.

Time: with `real_time` a delay is waited out, the object held meanwhile. Otherwise time stands still during a call: a delay shorter than the
caller's timeout passes unseen; a longer one ends in DEADLINE_EXCEEDED, the call itself being carried out after the delay when `later` can
schedule it, else at once. The plan as a file: fault_file.py, docs/faults.md.
"""

from __future__ import annotations

import contextlib
import enum
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Final, Literal

import msgspec

from volsched.api import csi
from volsched.api.csi import Message
from volsched.csi.backend import DEADLINE_TEXT, HoldingDriver
from volsched.env.chance import Chance
from volsched.errors import CsiCode, CsiError, InputError
from volsched.ports.clients import Clock

# What Go's gRPC client says of a call whose server died.
CRASH_TEXT: Final = "error reading from server: EOF"
NS_PER_S: Final = 1_000_000_000

SNAPSHOT_METHODS: Final = frozenset({"CreateSnapshot", "CreateVolumeGroupSnapshot"})
NOT_READY_METHODS: Final = SNAPSHOT_METHODS | {"Probe"}
CAPACITY_METHODS: Final = frozenset({"GetCapacity"})
_ID_FIELDS: Final = ("name", "volume_id", "snapshot_id", "group_snapshot_id", "source_volume_id", "source_volume_ids", "snapshot_ids")


class Kind(enum.StrEnum):
    """What a fault does, by its key in a plan file."""

    ERROR = "error"
    LOSE_ANSWER = "loseAnswer"
    CRASH = "crash"
    DELAY = "delay"
    NOT_READY = "notReady"
    CAPACITY = "capacity"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """On which calls something goes wrong, and what. Patterns are shell globs."""

    name: str
    methods: frozenset[str] = frozenset(csi.METHODS)
    match: tuple[str, ...] = ()  # names or ids of what the call is about; empty = any
    node: tuple[str, ...] = ()  # the node a call is for; empty = any, or none
    calls: tuple[tuple[int, int | None], ...] = ()  # first and last of the calls selected so far, from 1; None = all that follow
    probability: float = 1.0
    times: int | None = None  # how often at most
    from_ns: int = 0  # since the driver started
    until_ns: int | None = None

    error: CsiCode | None = None  # the call is refused with this
    lose_answer: CsiCode | None = None  # the call is carried out, the caller is told this
    message: str = ""  # text of either
    crash: Literal["before", "after"] | None = None  # the driver dies before or after it carries the call out
    delay_ns: int = 0
    not_ready_ns: int | None = None  # a new snapshot is not ready that long; Probe says so that long after the driver's start
    capacity_bytes: int | None = None  # what GetCapacity says instead
    capacity_percent: int | None = None  # or how much of the truth it says

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """Everything it does."""
        does = {
            Kind.ERROR: self.error is not None,
            Kind.LOSE_ANSWER: self.lose_answer is not None,
            Kind.CRASH: self.crash is not None,
            Kind.DELAY: self.delay_ns > 0,
            Kind.NOT_READY: self.not_ready_ns is not None,
            Kind.CAPACITY: self.capacity_bytes is not None or self.capacity_percent is not None,
        }
        return tuple(kind for kind, done in does.items() if done)

    @property
    def decides(self) -> bool:
        """Whether it settles what the caller is told."""
        return self.error is not None or self.lose_answer is not None or self.crash is not None


@dataclass(frozen=True, slots=True)
class FaultPlan:
    """Faults in the order in which they are tried."""

    faults: tuple[Fault, ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        names = [fault.name for fault in self.faults]
        for index, name in enumerate(names):
            if name in names[:index]:
                raise InputError(f"two faults of the plan are named {name}")


@dataclass(slots=True)
class _Tally:
    """What became of one fault so far: calls it selected, how often it fired, and how often each thing it does took effect."""

    calls: int = 0
    fired: int = 0
    kinds: Counter[Kind] = field(default_factory=Counter)


@dataclass(slots=True)
class _Call:
    """One call under way: the faults that fired on it, by what they do. `taken`: what took effect, by fault.
    `late`: it is carried out when its caller is gone."""

    method: str
    request: Message
    node: str
    about: str
    delay_ns: int = 0
    decisive: Fault | None = None
    not_ready: Fault | None = None
    capacity: Fault | None = None
    fired: list[Fault] = field(default_factory=list)
    taken: dict[str, list[Kind]] = field(default_factory=dict)
    late: bool = False


class FaultyDriver:
    """A driver under a plan of faults; itself a `Driver` and a `SlowDriver`.

    real_time: delays are waited out, as behind a socket. later: schedules a callback at a time in ns, for calls that outlast their caller
    on a virtual clock (`Loop.call_at`). crash: ends the process, or puts the world after a crash in place; if it returns, the call ends
    with UNAVAILABLE as for any client whose server died. notice: told of each fault that took effect, in one line.
    """

    def __init__(
        self,
        driver: HoldingDriver,
        plan: FaultPlan,
        clock: Clock,
        chance: Chance,
        *,
        real_time: bool = False,
        later: Callable[[int, Callable[[], None]], object] | None = None,
        crash: Callable[[], None] | None = None,
        notice: Callable[[str], None] | None = None,
    ) -> None:
        self._driver = driver
        self._clock = clock
        self._chance = chance
        self._real_time = real_time
        self._later = later
        self._crash_hook = crash
        self._notice = notice
        self._start_ns = clock.now_ns()
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._tallies: Final = {fault.name: _Tally() for fault in plan.faults}
        self._by_method = _by_method(plan)
        self._lives = 0  # of the driver's process; a call ends with the life it began in

    @property
    def name(self) -> str:
        return self._driver.name

    @property
    def fired(self) -> Mapping[str, int]:
        """How often each fault of the plan took effect, those that never did included."""
        with self._lock:
            return {name: tally.fired for name, tally in self._tallies.items()}

    @property
    def fired_kinds(self) -> Mapping[Kind, int]:
        """How often each kind of fault took effect."""
        with self._lock:
            return {kind: sum(tally.kinds[kind] for tally in self._tallies.values()) for kind in Kind}

    @property
    def counted(self) -> dict[str, tuple[int, int]]:
        """By fault, how many calls it has selected and how often it fired: for a driver that goes on with the plan of one that died."""
        with self._lock:
            return {name: (tally.calls, tally.fired) for name, tally in self._tallies.items()}

    def set_plan(self, plan: FaultPlan, *, counted: Mapping[str, tuple[int, int]] | None = None) -> None:
        """From now on these faults, for calls that begin from now on. Those of a name that is known go on counting where they were, the
        others begin at `counted`, else at nothing. The seed stays what it was."""
        with self._lock:
            for fault in plan.faults:
                calls, fired = (counted or {}).get(fault.name, (0, 0))
                self._tallies.setdefault(fault.name, _Tally(calls, fired))
            self._by_method = _by_method(plan)

    def close(self) -> None:
        """End all waiting; calls that still wait are UNAVAILABLE."""
        self._closed.set()

    def died(self) -> None:
        """The driver's process has ended: calls that `later` was to carry out end with it."""
        self._lives += 1

    # calls

    def call(self, method: str, request: Message, *, node: str = "") -> Message:
        """Carry out one call under the plan. Raises CsiError."""
        return self._run(method, request, node, None)

    def call_within(self, method: str, request: Message, *, node: str = "", timeout_s: float) -> Message:
        """As `call`, for a caller that gives up after `timeout_s` while time stands still."""
        return self._run(method, request, node, None if self._real_time else round(timeout_s * NS_PER_S))

    def _run(self, method: str, request: Message, node: str, timeout_ns: int | None) -> Message:
        call = self._decide(method, request, node)
        try:
            return self._carry_out(call, timeout_ns)
        except CsiError as error:
            error.method = method
            raise
        finally:
            if not call.late:
                self._release(call)

    def _carry_out(self, call: _Call, timeout_ns: int | None) -> Message:
        if not call.fired:
            return self._driver.call(call.method, call.request, node=call.node)
        if not call.delay_ns:
            self._before(call)
            with self._driver.admit(call.method, self._altered(call), node=call.node) as carry_out:
                return self._answer(call, carry_out)
        with contextlib.ExitStack() as held:
            carry_out = held.enter_context(self._driver.admit(call.method, self._altered(call), node=call.node))
            if timeout_ns is not None and call.delay_ns >= timeout_ns:
                self._take(call, Kind.DELAY, *call.fired)
                if self._later is None:
                    self._finish(call, carry_out)
                else:
                    rest, life, call.late = held.pop_all(), self._lives, True
                    self._later(self._clock.now_ns() + call.delay_ns, lambda: self._finish_late(call, carry_out, rest, life))
                raise CsiError(CsiCode.DEADLINE_EXCEEDED, DEADLINE_TEXT)
            self._take(call, Kind.DELAY, *call.fired)
            if self._real_time and self._closed.wait(call.delay_ns / NS_PER_S):
                raise CsiError(CsiCode.UNAVAILABLE, "the driver is stopping")
            self._before(call)
            return self._answer(call, carry_out)

    def _finish(self, call: _Call, carry_out: Callable[[], Message]) -> None:
        """Carry out a call that nobody waits for any more."""
        with contextlib.suppress(CsiError):
            self._before(call)
            self._answer(call, carry_out)

    def _finish_late(self, call: _Call, carry_out: Callable[[], Message], held: contextlib.ExitStack, life: int) -> None:
        with held:
            if life == self._lives:
                self._finish(call, carry_out)
        self._release(call)

    def _before(self, call: _Call) -> None:
        """What goes wrong before the driver does anything."""
        fault = call.decisive
        if fault is None:
            return
        if fault.crash == "before":
            self._crash(call, fault)
        if fault.error is not None:
            self._take(call, Kind.ERROR, fault)
            raise CsiError(fault.error, fault.message or f"injected fault {fault.name}")

    def _answer(self, call: _Call, carry_out: Callable[[], Message]) -> Message:
        """Carry the call out, then what goes wrong with its answer."""
        fault = call.decisive
        try:
            response = carry_out()
        except CsiError:
            if fault is not None and fault.crash == "after":
                self._crash(call, fault)
            raise
        if fault is not None and fault.crash == "after":
            self._crash(call, fault)
        response = self._lie(call, response)
        if fault is not None and fault.lose_answer is not None:
            self._take(call, Kind.LOSE_ANSWER, fault)
            text = DEADLINE_TEXT if fault.lose_answer is CsiCode.DEADLINE_EXCEEDED else f"injected fault {fault.name}: answer lost"
            raise CsiError(fault.lose_answer, fault.message or text)
        return response

    def _crash(self, call: _Call, fault: Fault) -> None:
        self._take(call, Kind.CRASH, fault)
        self.died()
        if self._crash_hook is not None:
            self._crash_hook()
        raise CsiError(CsiCode.UNAVAILABLE, CRASH_TEXT)

    # lies

    def _altered(self, call: _Call) -> Message:
        """The request as the driver gets it: how long a new snapshot is not ready is a parameter that every fake driver knows."""
        fault = call.not_ready
        request: Any = call.request
        if fault is None or fault.not_ready_ns is None or call.method not in SNAPSHOT_METHODS:
            return call.request
        altered: Message = msgspec.structs.replace(request, parameters={**request.parameters, "readyAfter": f"{fault.not_ready_ns}ns"})
        return altered

    def _lie(self, call: _Call, response: Message) -> Message:
        if call.capacity is not None and isinstance(response, csi.GetCapacityResponse):
            self._take(call, Kind.CAPACITY, call.capacity)
            told = call.capacity.capacity_bytes
            if told is None:
                told = response.available_capacity * (call.capacity.capacity_percent or 0) // 100
            return msgspec.structs.replace(response, available_capacity=told)
        if call.not_ready is not None:
            match response:
                case csi.ProbeResponse():
                    self._take(call, Kind.NOT_READY, call.not_ready)
                    return csi.ProbeResponse(ready=False)
                case csi.CreateSnapshotResponse(snapshot=csi.Snapshot(ready_to_use=False)):
                    self._take(call, Kind.NOT_READY, call.not_ready)
                case csi.CreateVolumeGroupSnapshotResponse(group_snapshot=csi.VolumeGroupSnapshot(ready_to_use=False)):
                    self._take(call, Kind.NOT_READY, call.not_ready)
                case _:
                    pass  # a snapshot of that name was ready before
        return response

    # which faults fire

    def _decide(self, method: str, request: Message, node: str) -> _Call:
        names = self._names(request)
        call = _Call(method, request, node, names[0] if names else "")
        nodes = [name for name in (node, getattr(request, "node_id", "")) if name]
        with self._lock:
            age_ns = self._clock.now_ns() - self._start_ns
            for fault in self._by_method.get(method, ()):
                # Asked of every fault that may fire here, so that one counts its calls and draws its chances whatever the others do.
                if not self._fires(fault, method, names, nodes, age_ns) or (fault.decides and call.decisive is not None):
                    continue
                self._tallies[fault.name].fired += 1
                call.fired.append(fault)
                call.delay_ns += fault.delay_ns
                if fault.decides:
                    call.decisive = fault
                if fault.not_ready_ns is not None and call.not_ready is None:
                    call.not_ready = fault
                if Kind.CAPACITY in fault.kinds and call.capacity is None:
                    call.capacity = fault
        return call

    def _fires(self, fault: Fault, method: str, names: list[str], nodes: list[str], age_ns: int) -> bool:
        if not _matches(fault.match, names) or not _matches(fault.node, nodes):
            return False
        until_ns = fault.until_ns
        if method == "Probe" and fault.not_ready_ns is not None:
            end_ns = fault.from_ns + fault.not_ready_ns
            until_ns = end_ns if until_ns is None else min(until_ns, end_ns)
        if age_ns < fault.from_ns or (until_ns is not None and age_ns >= until_ns):
            return False
        tally = self._tallies[fault.name]
        tally.calls += 1
        if fault.calls and not any(first <= tally.calls and (last is None or tally.calls <= last) for first, last in fault.calls):
            return False
        if fault.times is not None and tally.fired >= fault.times:
            return False
        return fault.probability >= 1 or self._chance(f"csi fault {self.name} {fault.name}").random() < fault.probability

    def _names(self, request: Message) -> list[str]:
        """What a call is about: names and ids it carries, the names behind the ids, and the segments it asks about."""
        found: list[str] = []
        for attribute in _ID_FIELDS:
            value = getattr(request, attribute, None)
            for name in [value] if isinstance(value, str) else value or ():
                known = self._driver.name_of(name) if attribute != "name" else ""
                found += [text for text in (name, known) if text]
        if isinstance(request, csi.GetCapacityRequest) and request.accessible_topology is not None:
            found += request.accessible_topology.segments.values()
        return found

    def _take(self, call: _Call, kind: Kind, *faults: Fault) -> None:
        """This part of these faults took effect: it counts, and is told."""
        for fault in faults:
            if kind in fault.kinds:
                call.taken.setdefault(fault.name, []).append(kind)
                with self._lock:
                    self._tallies[fault.name].kinds[kind] += 1
                if self._notice is not None:
                    about = f" of {call.about}" if call.about else ""
                    self._notice(f"fault {fault.name}: {call.method}{about}: {kind}")

    def _release(self, call: _Call) -> None:
        """Faults that came to nothing did not fire."""
        with self._lock:
            for fault in call.fired:
                if fault.name not in call.taken:
                    self._tallies[fault.name].fired -= 1


def _by_method(plan: FaultPlan) -> dict[str, list[Fault]]:
    """The faults that may befall a call, in the order of the plan."""
    return {method: [fault for fault in plan.faults if method in fault.methods] for method in csi.METHODS}


def _matches(patterns: tuple[str, ...], names: list[str]) -> bool:
    return not patterns or any(fnmatchcase(name, pattern) for name in names for pattern in patterns)
