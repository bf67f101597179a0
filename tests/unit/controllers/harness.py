"""The outside, played by hand: an API server made of dicts, a driver made of a function, and a loop that runs deciders until nothing moves.

    world.add(decider) ... world.create(obj) ... world.settle()

Each intent is carried out at once, and its watch event is delivered to every decider before the pass goes on, unless `lag` holds events
back until the queues are empty. `fail_at` makes one numbered write (or call) fail: before it happened, or after, when the answer is lost.
`crash_at` stops every decider at that write and starts it anew from what the server holds. Time moves only while nothing else can.
"""

from __future__ import annotations

import collections
import contextlib
import datetime
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec
from lightkube.models.core_v1 import PersistentVolumeClaimStatus, PersistentVolumeStatus, PodStatus

from volsched.api.csi import Message
from volsched.api.edit import finalizers_of, is_deleting, replace, uid_of, with_metadata
from volsched.api.kinds import KINDS, Key, from_json, key_of, kind_of, to_json
from volsched.api.watch import Change, WatchEvent
from volsched.errors import AlreadyExistsError, ApiError, ConflictError, CsiCode, CsiError, NotFoundError, ReconcileError
from volsched.ports import (
    Bind,
    Call,
    Create,
    Decider,
    Delete,
    Emit,
    ListAll,
    Patch,
    Pause,
    Read,
    Requeue,
    Update,
    WorkItem,
)

S = 1_000_000_000
START_NS = 1_767_225_600 * S
EXPECTED = (ApiError, CsiError, ReconcileError)


class Crash(BaseException):
    """Every process stops here."""


class TestClock:
    """A clock that the loop moves."""

    __test__ = False

    def __init__(self) -> None:
        self.ns = START_NS

    def now_ns(self) -> int:
        return self.ns


@dataclass
class Recorded:
    """One event."""

    component: str
    type: str
    reason: str
    key: Key
    message: str


@dataclass
class _Process:
    make: Callable[[], Decider]
    decider: Decider
    ready: deque[WorkItem] = field(default_factory=deque)
    due: dict[WorkItem, int] = field(default_factory=dict)
    failures: dict[WorkItem, int] = field(default_factory=dict)
    inbox: deque[WatchEvent] = field(default_factory=deque)
    next_resync_ns: int | None = None


class World:
    """A cluster for the controllers under test."""

    def __init__(self, *, driver: Callable[[Call], Message] | None = None) -> None:
        self.clock = TestClock()
        self.objects: dict[Key, Any] = {}
        self.writes: list[str] = []  # `user verb Kind[/status] name`
        self.events: list[Recorded] = []
        self.calls: list[Call] = []
        self.lag = False  # hold watch events back until every queue is empty
        self.fail_at: int | None = None  # number of the write or call, from 1
        self.failure: Callable[[], Exception] = lambda: ConflictError("the object has been modified")
        self.answer_lost = False
        self.crash_at: int | None = None
        self.attempts = 0
        self._driver = driver
        self._processes: list[_Process] = []
        self._version = 0
        self._made: collections.Counter[Key] = collections.Counter()

    # deciders

    def add(self, make: Callable[[], Decider]) -> Decider:
        """Run a decider; `make` builds it, and builds it again after a crash."""
        process = _Process(make, make())
        self._processes.append(process)
        try:
            self._start(process)
        except Crash:
            self.crash_at = None
            self.restart()
        return process.decider

    def _start(self, process: _Process) -> None:
        process.decider = process.make()
        process.ready.clear()
        process.due.clear()
        process.failures.clear()
        process.inbox.clear()
        while isinstance(self._run(process, process.decider.start()), Exception):
            self.clock.ns += S  # start() is tried again until it is through
        for key in sorted(self.objects):
            if key.kind in process.decider.kinds:
                obj = self.objects[key]
                self._observe(process, WatchEvent(Change.ADDED, key.kind, obj, int(obj.metadata.resourceVersion)))
        if process.decider.resync_s is not None:
            process.next_resync_ns = self.clock.ns + round(process.decider.resync_s * S)

    def restart(self) -> None:
        """Every decider stops and starts anew."""
        for process in self._processes:
            self._start(process)

    # the user's side

    def create(self, obj: Any, user: str = "admin") -> Any:
        key = key_of(obj)
        if key in self.objects:
            raise AlreadyExistsError(f'{KINDS[key.kind].plural} "{key.name}" already exists')
        self._made[key] += 1
        metadata: dict[str, Any] = {
            "uid": uid_of(obj) or f"uid-{key.kind}-{key.name}-{self._made[key]}",
            "creationTimestamp": obj.metadata.creationTimestamp or self.now(),
        }
        if KINDS[key.kind].namespaced:
            metadata["namespace"] = key.namespace
        if key.kind in _STATUS and obj.status is None:
            obj = replace(obj, status=_STATUS[key.kind](phase="Pending"))
        return self._store(with_metadata(obj, **metadata), f"{user} create {key.kind} {key.name}", Change.ADDED)

    def get(self, kind: str, name: str, namespace: str = "default") -> Any:
        return self.objects.get(Key(kind, namespace if KINDS[kind].namespaced else "", name))

    def claim(self, name: str) -> Any:
        return self.get("PersistentVolumeClaim", name)

    def volume(self, name: str) -> Any:
        return self.get("PersistentVolume", name)

    def edit(self, obj: Any, user: str = "admin", subresource: str = "") -> Any:
        """Write a changed copy of the current object."""
        current = self.objects[key_of(obj)]
        return self._update(with_metadata(obj, resourceVersion=current.metadata.resourceVersion), subresource, user)

    def delete(self, kind: str, name: str, namespace: str = "default", *, grace: int | None = None, user: str = "admin") -> None:
        self._delete(Delete(kind, namespace if KINDS[kind].namespaced else "", name, grace_period_s=grace), user)

    def now(self) -> datetime.datetime:
        return datetime.datetime.fromtimestamp(self.clock.ns // S, tz=datetime.UTC)

    # the server

    def _store(self, obj: Any, line: str, change: Change) -> Any:
        self._version += 1
        stored = with_metadata(obj, resourceVersion=str(self._version))
        self.objects[key_of(obj)] = stored
        self.writes.append(line)
        self._publish(WatchEvent(change, kind_of(obj).name, stored, self._version))
        return stored

    def _gone(self, obj: Any, line: str) -> Any:
        self._version += 1
        last = with_metadata(obj, resourceVersion=str(self._version))
        del self.objects[key_of(obj)]
        self.writes.append(line)
        self._publish(WatchEvent(Change.DELETED, kind_of(obj).name, last, self._version))
        return last

    def _find(self, kind: str, namespace: str, name: str) -> Any:
        found = self.objects.get(Key(kind, namespace if KINDS[kind].namespaced else "", name))
        if found is None:
            raise NotFoundError(f'{KINDS[kind].qualified} "{name}" not found', kind=kind, name=name)
        return found

    def _update(self, obj: Any, subresource: str, user: str) -> Any:
        key = key_of(obj)
        old = self._find(*key)
        if obj.metadata.resourceVersion not in (None, old.metadata.resourceVersion) or uid_of(obj) not in ("", uid_of(old)):
            raise ConflictError(f"{key}: the object has been modified")
        if subresource == "status":
            new = replace(old, status=obj.status)
        elif KINDS[key.kind].status:
            new = replace(obj, status=old.status)
        else:
            new = obj
        new = with_metadata(
            new,
            uid=old.metadata.uid,
            resourceVersion=old.metadata.resourceVersion,
            creationTimestamp=old.metadata.creationTimestamp,
            deletionTimestamp=old.metadata.deletionTimestamp,
            deletionGracePeriodSeconds=old.metadata.deletionGracePeriodSeconds,
        )
        if msgspec.to_builtins(new) == msgspec.to_builtins(old):
            return old
        line = f"{user} update {key.kind}{'/status' if subresource else ''} {key.name}"
        if is_deleting(new) and not finalizers_of(new) and key.kind != "Pod":
            return self._gone(new, line)
        return self._store(new, line, Change.MODIFIED)

    def _patch(self, patch: Patch, user: str) -> Any:
        old = self._find(patch.kind, patch.namespace, patch.name)
        assert patch.patch_type == "merge"
        return self._update(from_json(patch.kind, _merge(to_json(old), patch.body)), patch.subresource, user)

    def _delete(self, intent: Delete, user: str) -> Any:
        old = self._find(intent.kind, intent.namespace, intent.name)
        if intent.uid is not None and intent.uid != uid_of(old):
            raise ConflictError(f"{intent.kind} {intent.name}: the uid in the precondition is not that of the object")
        if intent.resource_version is not None and intent.resource_version != old.metadata.resourceVersion:
            raise ConflictError(f"{intent.kind} {intent.name}: the resourceVersion in the precondition is not that of the object")
        grace = 0
        if intent.kind == "Pod" and old.spec.nodeName:
            given = old.metadata.deletionGracePeriodSeconds
            wanted = intent.grace_period_s if intent.grace_period_s is not None else old.spec.terminationGracePeriodSeconds
            grace = wanted if wanted is not None else 30
            grace = grace if given is None else min(grace, given)
        line = f"{user} delete {intent.kind} {intent.name}"
        if not finalizers_of(old) and grace == 0:
            return self._gone(old, line)
        if is_deleting(old) and (old.metadata.deletionGracePeriodSeconds or 0) <= grace:
            return old
        marked = with_metadata(old, deletionTimestamp=self.now(), deletionGracePeriodSeconds=grace)
        return self._store(marked, line, Change.MODIFIED)

    def _publish(self, event: WatchEvent) -> None:
        for process in self._processes:
            if event.kind in process.decider.kinds:
                process.inbox.append(event)
        if not self.lag:
            self._deliver()

    def _deliver(self) -> bool:
        moved = False
        for process in self._processes:
            while process.inbox:
                moved = True
                self._observe(process, process.inbox.popleft())
        return moved

    # the loop

    def _observe(self, process: _Process, event: WatchEvent) -> None:
        self._queue(process, process.decider.observe(event))

    def _queue(self, process: _Process, items: Any) -> None:
        for item in items:
            assert item.queue in process.decider.queues, item
            if item not in process.ready:
                process.ready.append(item)

    def settle(self, *, seconds: float = 0, rounds: int = 5_000) -> None:
        """Run until no queue holds anything due; then let time pass, backoffs, timers and resyncs included, up to so many seconds."""
        end_ns = self.clock.ns + round(seconds * S)
        for _ in range(rounds):
            if self._step():
                continue
            next_ns = min(self._timers(), default=None)
            if next_ns is None or next_ns > end_ns:
                self.clock.ns = max(self.clock.ns, end_ns)
                return
            self.clock.ns = max(self.clock.ns, next_ns)
            self._fire()
        raise AssertionError("the controllers do not come to rest: " + ", ".join(self.writes[-10:]))

    def _step(self) -> bool:
        try:
            for process in self._processes:
                self._wake(process)
                if process.ready:
                    self._work(process, process.ready.popleft())
                    return True
            return self._deliver()
        except Crash:
            self.crash_at = None
            self.restart()
            return True

    def _wake(self, process: _Process) -> None:
        at_ns = process.decider.wake_at_ns()
        if at_ns is not None and at_ns <= self.clock.ns:
            self._queue(process, process.decider.wake(self.clock.ns))

    def _timers(self) -> Iterator[int]:
        for process in self._processes:
            yield from process.due.values()
            at_ns = process.decider.wake_at_ns()
            if at_ns is not None:
                yield at_ns
            if process.next_resync_ns is not None:
                yield process.next_resync_ns

    def _fire(self) -> None:
        for process in self._processes:
            for item in [item for item, due in process.due.items() if due <= self.clock.ns]:
                del process.due[item]
                self._queue(process, [item])
            if process.next_resync_ns is not None and process.next_resync_ns <= self.clock.ns:
                assert process.decider.resync_s is not None
                process.next_resync_ns = self.clock.ns + round(process.decider.resync_s * S)
                self._queue(process, process.decider.resync())

    def _work(self, process: _Process, item: WorkItem) -> None:
        outcome = self._run(process, process.decider.work(item))
        if isinstance(outcome, Requeue) and outcome.after_s is not None:
            process.failures.pop(item, None)
            self._delay(process, item, outcome.after_s)
        elif isinstance(outcome, (Requeue, Exception)):
            spec = process.decider.queues[item.queue]
            failures = process.failures.get(item, 0)
            process.failures[item] = failures + 1
            self._delay(process, item, min(spec.backoff_s * 2**failures, spec.backoff_s_max))
        else:
            process.failures.pop(item, None)

    def _delay(self, process: _Process, item: WorkItem, seconds: float) -> None:
        due = self.clock.ns + round(seconds * S)
        process.due[item] = min(process.due.get(item, due), due)

    def _run(self, process: _Process, steps: Any) -> Any:
        """Drive one pass to its end; answers its outcome, or the error it ended with."""
        result: Any = None
        error: Exception | None = None
        while True:
            try:
                intent = steps.throw(error) if error is not None else steps.send(result)
            except StopIteration as stop:
                return stop.value
            except EXPECTED as problem:
                return problem
            result, error = None, None
            try:
                result = self._carry_out(process, intent)
            except EXPECTED as problem:
                error = problem
            except Crash:
                steps.close()
                raise

    def _carry_out(self, process: _Process, intent: Any) -> Any:
        if isinstance(intent, Emit):
            component = intent.source or process.decider.component
            self.events.append(Recorded(component, intent.type, intent.reason, key_of(intent.regarding), intent.message))
            return None
        if isinstance(intent, Read):
            return self._find(intent.kind, intent.namespace, intent.name)
        if isinstance(intent, ListAll):
            assert intent.label_selector is None
            return [
                self.objects[key] for key in sorted(self.objects) if key.kind == intent.kind and intent.namespace in (None, key.namespace)
            ]
        if isinstance(intent, Pause):
            self.clock.ns += round(intent.seconds * S)
            return None
        self.attempts += 1
        if self.attempts == self.crash_at and not self.answer_lost:
            raise Crash
        failing = self.attempts == self.fail_at
        if failing and not self.answer_lost:
            raise self._failure_for(intent)
        result = self._write(process.decider.name, intent)
        if self.attempts == self.crash_at:
            raise Crash
        if failing:
            raise self._failure_for(intent)
        return result

    def _failure_for(self, intent: Any) -> Exception:
        return CsiError(CsiCode.UNAVAILABLE, "injected") if isinstance(intent, Call) else self.failure()

    def _write(self, user: str, intent: Any) -> Any:
        match intent:
            case Create(obj):
                return self.create(obj, user)
            case Update(obj, subresource):
                return self._update(obj, subresource, user)
            case Patch():
                return self._patch(intent, user)
            case Delete():
                return self._delete(intent, user)
            case Call():
                self.calls.append(intent)
                assert self._driver is not None, intent.method
                return self._driver(intent)
            case Bind():
                raise AssertionError("no controller binds pods")
        raise AssertionError(intent)

    # what tests look at

    def reasons(self, name: str) -> list[str]:
        """Distinct reasons of the events about objects of a name, in order."""
        return list(dict.fromkeys(event.reason for event in self.events if event.key.name == name))

    def messages(self, reason: str) -> list[str]:
        """Distinct messages of a reason, in order."""
        return list(dict.fromkeys(event.message for event in self.events if event.reason == reason))

    def summary(self) -> dict[str, Any]:
        """All objects without what depends on how often was tried: versions and times."""
        out: dict[str, Any] = {}
        for key in sorted(self.objects):
            out[str(key)] = _without_versions(to_json(self.objects[key]))
        return out


def _merge(target: Any, patch: Any) -> Any:
    """RFC 7386."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = _merge(result.get(name), value)
    return result


def _without_versions(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_versions(item) for name, item in sorted(value.items()) if name not in _VOLATILE}
    return [_without_versions(item) for item in value] if isinstance(value, list) else value


# what the API server puts into a new object that has no status
_STATUS: dict[str, Any] = {
    "PersistentVolume": PersistentVolumeStatus,
    "PersistentVolumeClaim": PersistentVolumeClaimStatus,
    "Pod": PodStatus,
}

_VOLATILE = {
    "resourceVersion",
    "creationTimestamp",
    "deletionTimestamp",
    "lastTransitionTime",
    "startTime",
    "startedAt",
    "time",
}

Interruption = Literal["conflict", "answer lost", "crash before", "crash after"]
INTERRUPTIONS: tuple[Interruption, ...] = ("conflict", "answer lost", "crash before", "crash after")


def interrupt(world: World, how: Interruption, number: int) -> None:
    """Have the numbered write or call go wrong in one of four ways."""
    world.answer_lost = how in ("answer lost", "crash after")
    if how.startswith("crash"):
        world.crash_at = number
    else:
        world.fail_at = number
        if how == "answer lost":
            world.failure = lambda: ApiError("the server was not able to return a response in the time allotted")


def same_end_whatever_happens(play: Callable[[World], None], make: Callable[[], World], *, ignore: Callable[[dict[str, Any]], Any]) -> int:
    """Play a story once undisturbed, then again for every write and every way it can go wrong; all must end alike.

    Answers how many interruptions were tried.
    """
    calm = make()
    play(calm)
    wanted, tried = ignore(calm.summary()), 0
    for number in range(1, calm.attempts + 1):
        for how in INTERRUPTIONS:
            world = make()
            interrupt(world, how, number)
            play(world)
            assert ignore(world.summary()) == wanted, f"{how} at write {number} of {calm.attempts}: {calm.writes}"
            tried += 1
    return tried


@contextlib.contextmanager
def lagging(world: World) -> Iterator[None]:
    """Hold watch events back until the queues are empty."""
    world.lag = True
    try:
        yield
    finally:
        world.lag = False


__all__ = ["INTERRUPTIONS", "Recorded", "World", "interrupt", "lagging", "same_end_whatever_happens"]
