"""Runs deciders: delivers watch events to them, works their queues, carries out their intents.

    store change ──> inbox of every decider that watches the kind ──observe──> queues ──work──> intent ──> store, CSI driver, clock
         ^                                                                                      │ result or error, sent back in
         └──────────────────────────────────────────────────────────────────────────────────────┘

Everything is a callback on one loop. A pass is resumed in a callback of its own after each intent, so other deciders act between any two
writes, in an order fixed by (time, priority, sequence). Lower priority numbers go first at one instant.

A process is one life of a decider: `crash` ends it where it stands, and a decider made anew takes over with an empty memory. Changes reach
a process and its intents reach the world over `Wires`, where a test may put faults.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from volsched.api.csi import Message, full_method, wire_json
from volsched.api.watch import WatchEvent
from volsched.app.wires import Watch, Wires
from volsched.app.workqueue import NS, WorkQueue
from volsched.env.loop import Handle, Loop
from volsched.errors import ApiError, CsiError, EngineError, ReconcileError
from volsched.ports import (
    Bind,
    Call,
    Create,
    CsiClient,
    Decider,
    Delete,
    Done,
    Emit,
    Intent,
    ListAll,
    Patch,
    Pause,
    Read,
    Requeue,
    Steps,
    Update,
    WorkItem,
)
from volsched.store import Store

EXPECTED_FAILURES = (ApiError, CsiError, ReconcileError)
START_RETRY_S = 1.0


@dataclass(frozen=True, slots=True)
class CsiCallRecord:
    """One CSI call that was made: full gRPC method, request in protobuf JSON, `OK` or the code's words."""

    time_ns: int
    driver: str
    method: str
    request: dict[str, Any]
    outcome: str


@dataclass(eq=False, slots=True)
class _Pass:
    """One generator under way."""

    process: _Process
    item: WorkItem | None  # None: the decider's start()
    steps: Steps[Any]


@dataclass(eq=False, slots=True)
class _Process:
    """One life of a decider, with its inbox and queues."""

    name: str
    again: Callable[[], None]
    decider: Decider
    priority: int
    queues: dict[str, WorkQueue]
    watch: Watch = field(init=False)
    inbox: deque[WatchEvent] = field(default_factory=deque)
    draining: bool = False
    pumping: bool = False
    started: bool = False
    stopped: bool = False
    queue_timer: Handle | None = None
    wake_timer: Handle | None = None
    resync_timer: Handle | None = None


class Runner:
    """The only place where intents become actions."""

    def __init__(
        self,
        loop: Loop,
        store: Store,
        *,
        clients: Callable[[str], CsiClient],
        trace: Callable[[str], None] | None = None,
        wires: Wires | None = None,
    ) -> None:
        """clients: the client of a driver by name; raises CsiError where there is none. trace: told of failed passes."""
        self._loop = loop
        self._store = store
        self._clients = clients
        self._trace = trace
        self._wires = wires or Wires()
        self._processes: list[_Process] = []
        self.lives: Counter[str] = Counter()  # how often a process of each name has started
        self.csi_calls: list[CsiCallRecord] = []
        self._call_watchers: list[Callable[[CsiCallRecord], None]] = []
        store.subscribe(self._on_change)

    def add(self, make: Callable[[], Decider], *, priority: int, driver: str = "") -> None:
        """Run a decider from now on; it is told of everything that exists first. `make` is called again after a crash.

        The process is named as the decider's type is; a sidecar has its driver's name after a blank: `Provisioner zonal.csi.example.com`.
        """
        decider = make()
        name = " ".join(part for part in (type(decider).__name__, driver) if part)
        queues = {queue: WorkQueue(spec) for queue, spec in decider.queues.items()}
        process = _Process(name, partial(self.add, make, priority=priority, driver=driver), decider, priority, queues)
        self.lives[name] += 1
        process.watch = self._wires.watch(name, self._store, decider.kinds, lambda event: self._deliver(process, event))
        self._processes.append(process)
        process.watch.start()
        self._soon(process, lambda: self._begin(process), "start")

    def remove(self, decider: Decider) -> None:
        """Stop a decider for good: its passes are dropped where they stand."""
        for process in [p for p in self._processes if p.decider is decider]:
            self._stop(process)

    def crash(self, name: str, *, down_s: float = 0.0) -> None:
        """End the process of a name at once, its passes where they stand, and start it with an empty memory after `down_s` seconds.

        Nothing happens when there is no such process, or it has not come up again yet.
        """
        for process in [p for p in self._processes if p.name == name]:
            self._stop(process)
            self.later(down_s, process.again, name=f"{name}: restart", priority=process.priority)

    def later(self, delay_s: float, callback: Callable[[], None], *, name: str, priority: int) -> None:
        """Something that will happen to the world in a while; until then a cluster is not at rest."""
        self._loop.call_after(round(delay_s * NS), callback, priority=priority, name=name, timer=False)

    def _stop(self, process: _Process) -> None:
        process.stopped = True
        process.watch.stop()
        self._processes.remove(process)
        for timer in (process.queue_timer, process.wake_timer, process.resync_timer):
            if timer is not None:
                timer.cancel()

    def resync(self, name: str) -> None:
        """Have a process look at everything now, as its resync timer would."""
        for process in self._processes:
            if process.name == name and process.started:
                self._enqueue(process, process.decider.resync())

    def watch_calls(self, callback: Callable[[CsiCallRecord], None]) -> None:
        """Call back after every CSI call, before the decider that made it goes on."""
        self._call_watchers.append(callback)

    @property
    def deciders(self) -> Sequence[Decider]:
        return [process.decider for process in self._processes]

    @property
    def names(self) -> Sequence[str]:
        """The processes that run, by name."""
        return [process.name for process in self._processes]

    def _soon(self, process: _Process, callback: Callable[[], None], what: str) -> None:
        def guarded() -> None:
            if not process.stopped:
                callback()

        self._loop.call_soon(guarded, priority=process.priority, name=f"{process.decider.component}: {what}")

    def _begin(self, process: _Process) -> None:
        self._advance(_Pass(process, None, process.decider.start()))

    def _running(self, process: _Process) -> None:
        """The decider's start() is through. It sees everything there is before it works on anything, as informers sync first."""
        while process.inbox:
            for item in process.decider.observe(process.inbox.popleft()):
                process.queues[item.queue].add(item.key)
        process.started = True
        self._settle(process)
        self._schedule_resync(process)

    def _schedule_resync(self, process: _Process) -> None:
        period = process.decider.resync_s
        if period is None:
            return

        def fire() -> None:
            if process.stopped:
                return
            self._enqueue(process, process.decider.resync())
            self._schedule_resync(process)

        process.resync_timer = self._loop.call_after(
            round(period * NS), fire, priority=process.priority, name=f"{process.decider.component}: resync", timer=True
        )

    # watch events

    def _on_change(self, event: WatchEvent) -> None:
        for process in self._processes:
            if event.kind in process.decider.kinds:
                process.watch.changed(event)

    def _deliver(self, process: _Process, event: WatchEvent) -> None:
        process.inbox.append(event)
        self._drain_soon(process)

    def _drain_soon(self, process: _Process) -> None:
        if process.started and process.inbox and not process.draining:
            process.draining = True
            self._soon(process, lambda: self._drain(process), "watch")

    def _drain(self, process: _Process) -> None:
        process.draining = False
        event = process.inbox.popleft()
        self._enqueue(process, process.decider.observe(event))
        self._drain_soon(process)

    def _enqueue(self, process: _Process, items: Iterable[WorkItem]) -> None:
        for item in items:
            process.queues[item.queue].add(item.key)
        self._settle(process)

    # queues and timers

    def _settle(self, process: _Process) -> None:
        """After anything has happened to a decider: start what is ready, set its timers anew."""
        if not process.started or process.stopped:
            return
        if not process.pumping and any(queue.ready for queue in process.queues.values()):
            process.pumping = True
            self._soon(process, lambda: self._pump(process), "work")
        due = min((at for queue in process.queues.values() if (at := queue.next_due_ns()) is not None), default=None)
        last = max(queue.last_due_ns for queue in process.queues.values()) if due is not None else None
        process.queue_timer = self._retime(process, process.queue_timer, due, last, self._release, "backoff")
        process.wake_timer = self._retime(process, process.wake_timer, process.decider.wake_at_ns(), None, self._wake, "timer")

    def _retime(
        self, process: _Process, old: Handle | None, due_ns: int | None, last_ns: int | None, action: Callable[[_Process], None], what: str
    ) -> Handle | None:
        """The one timer of a kind that a decider has: kept, moved or taken back. `last_ns` is the last deadline it stands for."""
        if old is not None and not old.done:
            if old.time_ns == due_ns and old.last_ns == max(due_ns, last_ns or 0):
                return old
            old.cancel()
        if due_ns is None:
            return None

        def fire() -> None:
            if not process.stopped:
                action(process)

        name = f"{process.decider.component}: {what}"
        return self._loop.call_at(due_ns, fire, priority=process.priority, name=name, timer=True, last_ns=last_ns)

    def _release(self, process: _Process) -> None:
        for queue in process.queues.values():
            queue.release(self._loop.now_ns())
        self._settle(process)

    def _wake(self, process: _Process) -> None:
        self._enqueue(process, process.decider.wake(self._loop.now_ns()))

    def _pump(self, process: _Process) -> None:
        process.pumping = False
        for name, queue in process.queues.items():
            key = queue.pop()
            if key is not None:
                item = WorkItem(name, key)
                self._advance(_Pass(process, item, process.decider.work(item)))
        self._settle(process)

    # passes

    def _advance(self, work: _Pass, value: Any = None, error: BaseException | None = None) -> None:
        """Resume a pass with a result or an error; carry out what it asks for next."""
        try:
            intent: Intent = work.steps.throw(error) if error is not None else work.steps.send(value)
            while isinstance(intent, Emit):  # recording an event changes nothing that anybody waits for
                self._emit(work.process, intent)
                intent = work.steps.send(None)
        except StopIteration as stop:
            self._finish(work, stop.value)
            return
        except EXPECTED_FAILURES as failure:
            self._failed(work, failure)
            return
        if isinstance(intent, Pause):
            self._loop.call_after(
                round(intent.seconds * NS),
                lambda: None if work.process.stopped else self._advance(work),
                priority=work.process.priority,
                name=f"{work.process.decider.component}: pause",
                timer=True,
            )
            return
        result: Any = None
        failure_to_send: BaseException | None = None
        try:
            result = self._wires.act(work.process.name, intent, lambda: self._carry_out(work.process, intent))
        except EXPECTED_FAILURES as failure:
            failure_to_send = failure
        self._soon(work.process, lambda: self._advance(work, result, failure_to_send), "step")

    def _finish(self, work: _Pass, outcome: Done | Requeue | None) -> None:
        process, item = work.process, work.item
        if item is None:
            self._running(process)
            return
        queue = process.queues[item.queue]
        if isinstance(outcome, Requeue):
            if outcome.after_s is None:
                queue.fail(item.key, self._loop.now_ns())
            else:
                queue.forget(item.key)
                queue.add_at(item.key, self._loop.now_ns() + round(outcome.after_s * NS))
        elif isinstance(outcome, Done):
            queue.forget(item.key)
        else:
            what = f"{process.decider.component}: a pass over {item.queue} {item.key}"
            raise EngineError(f"{what} ended with {outcome!r}, not Done or Requeue")
        queue.done(item.key)
        self._settle(process)

    def _failed(self, work: _Pass, failure: Exception) -> None:
        process, item = work.process, work.item
        now = self._loop.now_ns()
        if item is None:
            self._note(process, f"start failed, tried again in {START_RETRY_S:g} s: {failure}")
            self._loop.call_after(
                round(START_RETRY_S * NS),
                lambda: None if process.stopped else self._begin(process),
                priority=process.priority,
                name=f"{process.decider.component}: start",
                timer=True,
            )
            return
        queue = process.queues[item.queue]
        due = queue.fail(item.key, now)
        queue.done(item.key)
        self._note(process, f"{item.queue} {item.key}: {failure}; again in {(due - now) / NS:g} s")
        self._settle(process)

    def _note(self, process: _Process, text: str) -> None:
        if self._trace is not None:
            self._trace(f"{process.decider.component}: {text}")

    # intents

    def _emit(self, process: _Process, intent: Emit) -> None:
        self._store.record_event(
            intent.regarding,
            type=intent.type,
            reason=intent.reason,
            message=intent.message,
            source=intent.source or process.decider.component,
            action=intent.action,
        )

    def _carry_out(self, process: _Process, intent: Intent) -> Any:
        store, user = self._store, process.decider.name
        match intent:
            case Create(obj):
                return store.create(obj, user=user)
            case Update(obj, subresource):
                return store.update(obj, user=user, subresource=subresource)
            case Patch(kind, namespace, name, body, patch_type, subresource):
                return store.patch(kind, namespace, name, body, user=user, patch_type=patch_type, subresource=subresource)
            case Delete(kind, namespace, name, uid, resource_version, grace):
                return store.delete(kind, namespace, name, user=user, uid=uid, resource_version=resource_version, grace_period_s=grace)
            case Bind(namespace, name, uid, node):
                return store.bind(namespace, name, uid=uid, node=node, user=user)
            case Read(kind, namespace, name):
                return store.get(kind, namespace, name)
            case ListAll(kind, namespace, label_selector):
                return list(store.list(kind, namespace, label_selector=label_selector).items)
            case Call():
                return self._call(intent)
            case _:
                raise EngineError(f"{process.decider.component} asked for {intent!r}, which is no intent")

    def _call(self, intent: Call) -> Message:
        request = wire_json(intent.request)
        request.pop("secrets", None)  # never in a log
        outcome = "OK"
        try:
            return self._clients(intent.driver).call(intent.method, intent.request, node=intent.node, timeout_s=intent.timeout_s)
        except CsiError as failure:
            outcome = failure.code.words
            raise
        finally:
            record = CsiCallRecord(self._loop.now_ns(), intent.driver, full_method(intent.method), request, outcome)
            self.csi_calls.append(record)
            self._store.log.append_call(record.driver, record.method, request, outcome)
            for callback in self._call_watchers:
                callback(record)
