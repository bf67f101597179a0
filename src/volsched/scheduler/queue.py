"""Pending pods, and when each is tried next.

             add ──PreEnqueue──┬──────────────> activeQ ──pop──> in flight ──done──> (bound)
                               │ refused           ^  ^               │ requeue
                               v                   │  │               v
                            gated            backoff over       rejected: ask the rejecting plugins' hints about
                     (in the unschedulable         │            every event seen since the pop
                      set, own events only)        │                  │ any says Queue        │ none does
                                                   │                  v                       v
                                               backoffQ <─────── still backing off      unschedulable set
                                                   ^                                          │ event and hint, or 5 minutes
                                                   └──────────────────────────────────────────┘

activeQ is ordered by priority, then by the time of queueing: that of the first add, then of the last failure. Moves do not reset it.
An empty activeQ takes from the backoff heap of refused pods at once; pods that failed with an error always wait their backoff out.

Backoff is counted on whole seconds: a pod whose backoff ends within a second is released at the next one. Time is always passed in.

Source: pkg/scheduler/backend/queue/{scheduling_queue,active_queue,backoff_queue}.go; spec/scheduling.md 10.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from lightkube.models.core_v1 import Pod

from volsched.cache.scheduler_cache import pod_id
from volsched.errors import EngineError, VolschedError
from volsched.scheduler.events import FORCE_ACTIVATE, UNSCHEDULABLE_TIMEOUT, ClusterEvent, pod_changes
from volsched.scheduler.framework import DEFAULT_SCHEDULER, Nominating, PreEnqueue, Wake
from volsched.scheduler.heap import KeyedHeap
from volsched.scheduler.nominator import Nominator
from volsched.scheduler.priority import priority_of

NS: Final = 1_000_000_000
BACKOFF_NS: Final = 1 * NS
BACKOFF_NS_MAX: Final = 10 * NS
UNSCHEDULABLE_NS_MAX: Final = 300 * NS
FLUSH_PERIOD_NS: Final = 30 * NS


class Strategy(enum.IntEnum):
    """What an event means for a pod; the larger the sooner."""

    SKIP = 0
    AFTER_BACKOFF = 1
    IMMEDIATELY = 2


class Place(enum.Enum):
    """Where a pod is, for tests and for describing the queue."""

    ACTIVE = "active"
    BACKOFF = "backoff"
    UNSCHEDULABLE = "unschedulable"
    GATED = "gated"
    IN_FLIGHT = "in flight"


@dataclass(eq=False, slots=True)
class QueuedPod:
    """A pending pod and its history in the queue.

    rejectors: plugins that refused it in the last attempt. pending: those that did so until something outside happens.
    gated_by: the PreEnqueue plugin that keeps it out. backoff_until_ns: cached, on a whole second.
    """

    pod: Pod
    timestamp_ns: int
    attempts: int = 0
    first_attempt_ns: int | None = None
    unschedulable_count: int = 0
    consecutive_errors: int = 0
    rejectors: frozenset[str] = frozenset()
    pending: frozenset[str] = frozenset()
    gated_by: str = ""
    backoff_until_ns: int | None = None
    flushed_ns: int | None = None

    @property
    def key(self) -> str:
        return pod_id(self.pod)

    @property
    def blockers(self) -> frozenset[str]:
        return self.rejectors | self.pending


class _Seen(NamedTuple):
    """An event that came while some pod was in flight."""

    sequence: int
    event: ClusterEvent
    old: Any | None
    new: Any | None


@dataclass(frozen=True, slots=True)
class QueuePolicy:
    """What one scheduler name's plugins contribute: registrations by plugin, gates in order."""

    wakes: Sequence[tuple[str, Wake]]
    gates: Sequence[tuple[str, PreEnqueue]] = ()
    _matching: dict[ClusterEvent, tuple[tuple[str, Wake], ...]] = field(default_factory=dict, compare=False)

    def matching(self, event: ClusterEvent) -> tuple[tuple[str, Wake], ...]:
        """The registrations that cover an event. There are few distinct events, so each is worked out once."""
        found = self._matching.get(event)
        if found is None:
            found = self._matching[event] = tuple((plugin, wake) for plugin, wake in self.wakes if wake.event.matches(event))
        return found


def priority_sort(pod: Pod, queued_ns: int) -> tuple[Any, ...]:
    """PrioritySort: higher priority first, then the longer queued."""
    return (-priority_of(pod), queued_ns)


def backoff_ns(count: int, *, initial_ns: int = BACKOFF_NS, max_ns: int = BACKOFF_NS_MAX) -> int:
    """Backoff after the count-th failure in a row: 1, 2, 4, 8, 10, 10, … seconds with the defaults."""
    if count <= 0:
        return 0
    if initial_ns > max_ns >> (count - 1):
        return max_ns
    return initial_ns << (count - 1)


def whole_second(time_ns: int) -> int:
    return time_ns - time_ns % NS


class SchedulingQueue:
    """See the module. `policies` by scheduler name; `lister(namespace, name)` answers pods as the informer has them."""

    def __init__(
        self,
        policies: Mapping[str, QueuePolicy],
        *,
        lister: Callable[[str, str], Pod | None],
        sort_key: Callable[[Pod, int], tuple[Any, ...]] = priority_sort,
        initial_backoff_ns: int = BACKOFF_NS,
        max_backoff_ns: int = BACKOFF_NS_MAX,
        unschedulable_max_ns: int = UNSCHEDULABLE_NS_MAX,
    ) -> None:
        self._policies = policies
        self._sort_key = sort_key
        self._initial_backoff_ns = initial_backoff_ns
        self._max_backoff_ns = max_backoff_ns
        self._unschedulable_max_ns = unschedulable_max_ns
        self._active: KeyedHeap[QueuedPod] = KeyedHeap()
        self._backoff: KeyedHeap[QueuedPod] = KeyedHeap()
        self._error_backoff: KeyedHeap[QueuedPod] = KeyedHeap()
        self._unschedulable: KeyedHeap[QueuedPod] = KeyedHeap()  # by how long they have been waiting
        self._in_flight: dict[str, int] = {}  # pod -> sequence of the first event after its pop
        self._seen: deque[_Seen] = deque()
        self._sequence = 0
        self._flush_grid_ns: int | None = None  # the 30 s ticks count from the first use
        self.nominator = Nominator(lister)

    # in

    def add(self, pod: Pod, now_ns: int) -> None:
        """A new pending pod."""
        self._start(now_ns)
        self.nominator.add(pod)
        self._to_active(QueuedPod(pod, now_ns), now_ns, from_backoff=False)

    def update(self, old: Pod, new: Pod, now_ns: int) -> None:
        """A pending pod has changed. One that was refused is moved only if a rejecting plugin's hint says that the change can help."""
        events = pod_changes(new, old, target=True)
        key = pod_id(old)
        if key in self._in_flight:
            # it will come back with the informer's version of itself; what changed is judged then
            for event in events:
                self._record(event, old, new)
            return
        queued = self._active.get(key)
        if queued is not None:
            queued.pod = new
            self._active.put(key, self._active_rank(queued), queued)
            self.nominator.update(old, new)
            return
        for heap in (self._backoff, self._error_backoff):
            queued = heap.get(key)
            if queued is not None:
                queued.pod = new
                heap.put(key, self._backoff_rank(queued, errors=heap is self._error_backoff), queued)
                self.nominator.update(old, new)
                return
        queued = self._unschedulable.get(key)
        if queued is not None:
            queued.pod = new
            self.nominator.update(old, new)
            for event in events:
                if self._requeue_as(queued, self._worth(queued, event, old, new), now_ns) is not Place.UNSCHEDULABLE:
                    break
            return
        self.add(new, now_ns)

    def delete(self, pod: Pod) -> None:
        """A pending pod is gone, or bound by somebody."""
        self.nominator.delete(pod)
        key = pod_id(pod)
        self._active.remove(key)
        self._backoff.remove(key)
        self._error_backoff.remove(key)
        self._unschedulable.remove(key)

    # out and back

    @property
    def can_pop(self) -> bool:
        return len(self._active) > 0 or len(self._backoff) > 0

    def pop(self, now_ns: int) -> QueuedPod | None:
        """The next pod to try; it is in flight until `done` or `requeue`."""
        self._start(now_ns)
        while True:
            queued = self._active.pop()
            if queued is None:
                queued = self._backoff.pop()
            if queued is None:
                return None
            queued.attempts += 1
            if queued.key not in self._in_flight:
                self._in_flight[queued.key] = self._sequence
                return queued

    def done(self, pod: Pod) -> None:
        """The pod's attempt is over as far as the queue is concerned; events kept for it alone are dropped."""
        if self._in_flight.pop(pod_id(pod), None) is None:
            return
        oldest = min(self._in_flight.values(), default=self._sequence)
        while self._seen and self._seen[0].sequence < oldest:
            self._seen.popleft()

    def requeue(self, queued: QueuedPod, now_ns: int) -> Place:
        """Take a pod back after a failed attempt. `rejectors` and `pending` must be those of this attempt. Raises EngineError when the pod
        is in the queue already."""
        place = self.place_of(queued.pod)
        if place is not None and place is not Place.IN_FLIGHT:
            self.done(queued.pod)
            raise EngineError(f"pod {queued.key} is in the queue already ({place.value}), it cannot be taken back")
        if queued.blockers:
            queued.unschedulable_count += 1
            queued.consecutive_errors = 0
        else:
            queued.consecutive_errors += 1
        queued.timestamp_ns = now_ns
        queued.backoff_until_ns = None
        queued.flushed_ns = None
        place = self._requeue_as(queued, self._worth_in_flight(queued), now_ns)
        self.done(queued.pod)
        return place

    # events

    def move_all(
        self, event: ClusterEvent, old: Any | None, new: Any | None, now_ns: int, *, only: Callable[[Pod], bool] | None = None
    ) -> None:
        """Something happened: move the refused pods that it can help. `only` leaves the others out."""
        if self.of_interest(event):
            self._move([queued for queued in self._unschedulable if only is None or only(queued.pod)], event, old, new, now_ns)

    def activate(self, pods: Iterable[Pod], now_ns: int) -> None:
        """Move pods to activeQ whatever refused them, backoff ignored; gates still hold. One in flight is moved when it comes back."""
        for pod in pods:
            key = pod_id(pod)
            queued = self._unschedulable.get(key)
            if queued is not None:
                self._to_active(queued, now_ns, from_backoff=False)
                continue
            queued = self._backoff.remove(key) or self._error_backoff.remove(key)
            if queued is not None:
                self._to_active(queued, now_ns, from_backoff=True)
            elif key in self._in_flight:
                self._record(FORCE_ACTIVATE, None, pod)

    def of_interest(self, event: ClusterEvent) -> bool:
        """Whether any plugin registered for it."""
        return event.is_wildcard or any(policy.matching(event) for policy in self._policies.values())

    # time

    def flush_backoff(self, now_ns: int) -> None:
        """Release what has backed off long enough. To be called on whole seconds."""
        for heap in (self._backoff, self._error_backoff):
            while (first := heap.first()) is not None and not self._backing_off(first[1], now_ns):
                queued = heap.pop()
                assert queued is not None
                self._to_active(queued, now_ns, from_backoff=True)

    def flush_unschedulable(self, now_ns: int) -> None:
        """Try again what has been refused for more than five minutes, in case no event ever tells."""
        leftover = [queued for queued in self._unschedulable if now_ns - self._waiting_since(queued) > self._unschedulable_max_ns]
        for queued in leftover:
            queued.flushed_ns = now_ns
            self._hold(queued)
        if leftover:
            self._move(leftover, UNSCHEDULABLE_TIMEOUT, None, None, now_ns)

    def next_flush_ns(self) -> int | None:
        """When `flush` has something to do: a whole second for the backoff queues, a 30 s tick for the unschedulable set."""
        times: list[int] = []
        for heap in (self._backoff, self._error_backoff):
            first = heap.first()
            if first is not None:
                times.append(self._backoff_until(first[1]) + NS)
        oldest = self._unschedulable.first()
        if oldest is not None and self._flush_grid_ns is not None:
            times.append(self._tick_after(self._waiting_since(oldest[1]) + self._unschedulable_max_ns))
        return min(times, default=None)

    def flush(self, now_ns: int) -> None:
        """Both flushes, as far as their ticks fall on this instant or have been missed."""
        self._start(now_ns)
        self.flush_backoff(now_ns)
        assert self._flush_grid_ns is not None
        last_tick = now_ns - (now_ns - self._flush_grid_ns) % FLUSH_PERIOD_NS
        oldest = self._unschedulable.first()
        if oldest is not None and last_tick - self._waiting_since(oldest[1]) > self._unschedulable_max_ns:
            self.flush_unschedulable(last_tick)

    def _start(self, now_ns: int) -> None:
        if self._flush_grid_ns is None:
            self._flush_grid_ns = now_ns

    # describing

    def place_of(self, pod: Pod) -> Place | None:
        """Where a pod is, None when it is unknown."""
        key = pod_id(pod)
        if key in self._active:
            return Place.ACTIVE
        if key in self._backoff or key in self._error_backoff:
            return Place.BACKOFF
        held = self._unschedulable.get(key)
        if held is not None:
            return Place.GATED if held.gated_by else Place.UNSCHEDULABLE
        return Place.IN_FLIGHT if key in self._in_flight else None

    def find(self, pod: Pod) -> QueuedPod | None:
        """A pod's entry, unless it is in flight."""
        key = pod_id(pod)
        return self._active.get(key) or self._backoff.get(key) or self._error_backoff.get(key) or self._unschedulable.get(key)

    def pending(self) -> list[QueuedPod]:
        """Everything that waits, in no order that means anything but always the same."""
        return [*self._active, *self._backoff, *self._error_backoff, *self._unschedulable]

    # time in which nothing happens

    @property
    def is_at_rest(self) -> bool:
        """Whether nothing is active, backs off or is in flight: all that waits, waits for an event or for five minutes."""
        return not (self._active or self._backoff or self._error_backoff or self._in_flight)

    def pass_quiet_time(self, until_ns: int) -> list[tuple[QueuedPod, int]]:
        """Leave the unschedulable set as it would be just before `until_ns` if every pod that a 30 s tick gives out until then were refused
        as the last time, and at once. For simulations of months: a pod waits 300 s and the rest of a tick between two tries.

        Answers the pods and how often each was tried. Raises EngineError unless `is_at_rest`.
        """
        if not self.is_at_rest or self._flush_grid_ns is None:
            raise EngineError("the queue has pods to try, so time does not pass quietly")
        ranked: list[tuple[tuple[Any, ...], QueuedPod]] = []
        tried: list[tuple[QueuedPod, int]] = []
        for place, queued in enumerate(self._unschedulable):
            rank = self._active_rank(queued)
            first_ns = self._tick_after(self._waiting_since(queued) + self._unschedulable_max_ns)
            if queued.gated_by or first_ns >= until_ns:
                ranked.append(((self._waiting_since(queued), True, (), place), queued))
                continue
            # from the first tick on, a whole number of ticks lies between two tries
            period_ns = self._tick_after(first_ns + self._unschedulable_max_ns) - first_ns
            more = (until_ns - 1 - first_ns) // period_ns
            last_ns = first_ns + more * period_ns
            queued.attempts += more + 1
            queued.unschedulable_count += more + 1
            queued.consecutive_errors = 0
            queued.timestamp_ns = last_ns
            queued.backoff_until_ns = queued.flushed_ns = None
            # those of one tick come back in the order in which it gave them out
            ranked.append(((last_ns, False, rank, place), queued))
            tried.append((queued, more + 1))
        ranked.sort(key=lambda entry: entry[0])
        for _, queued in ranked:
            self._unschedulable.remove(queued.key)
            self._hold(queued)
        return tried

    def _tick_after(self, time_ns: int) -> int:
        """The first 30 s tick strictly after a time."""
        assert self._flush_grid_ns is not None
        ticks = max(time_ns - self._flush_grid_ns, 0) // FLUSH_PERIOD_NS + 1
        return self._flush_grid_ns + ticks * FLUSH_PERIOD_NS

    # keeping a queue and going on with it

    @property
    def flush_grid_ns(self) -> int | None:
        """From when the ticks of 30 s count; None before the first use."""
        return self._flush_grid_ns

    def restore(self, entries: Sequence[QueuedPod], *, flush_grid_ns: int | None) -> None:
        """Fill a new queue with what `pending` told of an idle one, which has nothing to pop and nothing in flight: refused pods wait in
        the unschedulable set, those that failed with an error back off."""
        self._flush_grid_ns = flush_grid_ns
        for queued in entries:
            if queued.blockers:
                self._hold(queued)
            else:
                self._error_backoff.put(queued.key, self._backoff_rank(queued, errors=True), queued)

    # backoff arithmetic

    def _backoff_until(self, queued: QueuedPod) -> int:
        """End of the backoff, on a whole second; 0 when there is none."""
        count = queued.consecutive_errors or queued.unschedulable_count
        if count == 0 or self._max_backoff_ns == 0:
            return 0
        if queued.backoff_until_ns is None:
            duration = backoff_ns(count, initial_ns=self._initial_backoff_ns, max_ns=self._max_backoff_ns)
            queued.backoff_until_ns = whole_second(queued.timestamp_ns + duration)
        return queued.backoff_until_ns

    def _backing_off(self, queued: QueuedPod, now_ns: int) -> bool:
        return self._backoff_until(queued) >= whole_second(now_ns)

    def _waiting_since(self, queued: QueuedPod) -> int:
        return max(queued.timestamp_ns, queued.flushed_ns or 0)

    def _active_rank(self, queued: QueuedPod) -> tuple[Any, ...]:
        return self._sort_key(queued.pod, queued.timestamp_ns)

    def _backoff_rank(self, queued: QueuedPod, *, errors: bool) -> tuple[Any, ...]:
        until = self._backoff_until(queued)
        return (until,) if errors else (until, self._active_rank(queued))

    # moving

    def _policy(self, pod: Pod) -> QueuePolicy | None:
        return self._policies.get((pod.spec.schedulerName if pod.spec else None) or DEFAULT_SCHEDULER)

    def _gate(self, queued: QueuedPod) -> bool:
        """Run PreEnqueue, the plugin that gated the pod last first; whether the pod is gated."""
        policy = self._policy(queued.pod)
        gates = list(policy.gates) if policy else []
        gates.sort(key=lambda gate: gate[0] != queued.gated_by)
        for name, gate in gates:
            if not gate.pre_enqueue(queued.pod).ok:
                queued.rejectors |= {name}
                queued.gated_by = name
                return True
        queued.gated_by = ""
        return False

    def _hold(self, queued: QueuedPod) -> None:
        self._unschedulable.put(queued.key, (self._waiting_since(queued),), queued)

    def _to_active(self, queued: QueuedPod, now_ns: int, *, from_backoff: bool) -> bool:
        # what leaves backoffQ passed its gates on the way in
        if not from_backoff and self._gate(queued):
            self._hold(queued)
            return False
        if queued.first_attempt_ns is None:
            queued.first_attempt_ns = now_ns
        self._unschedulable.remove(queued.key)
        self._active.put(queued.key, self._active_rank(queued), queued)
        return True

    def _to_backoff(self, queued: QueuedPod) -> bool:
        if self._gate(queued):
            self._hold(queued)
            return False
        self._unschedulable.remove(queued.key)
        errors = not queued.blockers
        heap = self._error_backoff if errors else self._backoff
        heap.put(queued.key, self._backoff_rank(queued, errors=errors), queued)
        return True

    def _requeue_as(self, queued: QueuedPod, strategy: Strategy, now_ns: int) -> Place:
        if strategy is Strategy.SKIP:
            self._hold(queued)
            return Place.UNSCHEDULABLE
        if strategy is Strategy.AFTER_BACKOFF and self._backing_off(queued, now_ns):
            return Place.BACKOFF if self._to_backoff(queued) else Place.UNSCHEDULABLE
        return Place.ACTIVE if self._to_active(queued, now_ns, from_backoff=False) else Place.UNSCHEDULABLE

    def _move(self, pods: Sequence[QueuedPod], event: ClusterEvent, old: Any | None, new: Any | None, now_ns: int) -> None:
        for queued in pods:
            if queued.gated_by and not event.is_wildcard:
                policy = self._policy(queued.pod)
                if policy is None or all(plugin != queued.gated_by for plugin, _ in policy.matching(event)):
                    continue  # no other plugin can open that gate
            strategy = self._worth(queued, event, old, new)
            if strategy is not Strategy.SKIP:
                self._unschedulable.remove(queued.key)
                self._requeue_as(queued, strategy, now_ns)
        if self._in_flight:
            self._record(event, old, new)

    def _record(self, event: ClusterEvent, old: Any | None, new: Any | None) -> None:
        self._seen.append(_Seen(self._sequence, event, old, new))
        self._sequence += 1

    def _worth_in_flight(self, queued: QueuedPod) -> Strategy:
        """What the events since the pop mean for a pod that comes back."""
        if not queued.blockers or queued.key not in self._in_flight:
            return Strategy.AFTER_BACKOFF  # no event can be waited for
        since = self._in_flight[queued.key]
        best = Strategy.SKIP
        for seen in self._seen:
            if seen.sequence < since:
                continue
            best = max(best, self._worth(queued, seen.event, seen.old, seen.new))
            if best is Strategy.IMMEDIATELY or (best is Strategy.AFTER_BACKOFF and not queued.pending):
                break
        return best

    def _worth(self, queued: QueuedPod, event: ClusterEvent, old: Any | None, new: Any | None) -> Strategy:
        """Ask the hints of the plugins that refused the pod."""
        if not queued.blockers:
            return Strategy.AFTER_BACKOFF
        if event.is_wildcard:
            # one that carries a pod is meant for that pod alone
            return Strategy.AFTER_BACKOFF if new is None or (isinstance(new, Pod) and pod_id(new) == queued.key) else Strategy.SKIP
        policy = self._policy(queued.pod)
        if policy is None:
            return Strategy.AFTER_BACKOFF
        best = Strategy.SKIP
        for plugin, wake in policy.matching(event):
            if plugin not in queued.blockers or not _hinted(wake, queued.pod, old, new):
                continue
            if plugin in queued.pending:
                return Strategy.IMMEDIATELY
            best = Strategy.AFTER_BACKOFF
            if not queued.pending:
                break
        return best

    def nominate(self, pod: Pod, nominating: Nominating | None) -> None:
        """Remember, change or clear the node a pod is promised."""
        self.nominator.add(pod, nominating)


def _hinted(wake: Wake, pod: Pod, old: Any | None, new: Any | None) -> bool:
    if wake.hint is None:
        return True
    try:
        return wake.hint(pod, old, new)
    except (VolschedError, ValueError):
        return True  # a pod must not sleep for ever because an object could not be read
