"""The deterministic event loop: what happens, in which order, and when nothing more will.

    heap of (time, priority, sequence) ──pop──> clock.wait_until(time) ──> callback ──may add──> heap

At one instant the lower priority number goes first, then whoever was added first. There is no other source of order, so a run on a virtual
clock repeats exactly. Work and timers differ in one respect only, the end of `run_until_idle`:

    changed() ──> work runs out ──> the timers pending now are one round ──> round over, nothing changed ──> idle
       ^                                                  │ a callback changed an object
       └──────────────────────────────────────────────────┘

A round ends at the latest timer in it, and at most `IDLE_NS_MAX` after the change. Timers that are armed again within the round run too;
later ones (a resync every fifteen minutes) do not keep a settled cluster running for ever.

Source of the heap key: simpy core.py.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable
from typing import Final, Protocol

from volsched.env.clock import NS_PER_S

IDLE_NS_MAX: Final = 600 * NS_PER_S
INSTANT_CALLBACKS_MAX: Final = 1_000_000
_SAMPLE: Final = 1_000  # callbacks named when work does not end
_SPARSE_MIN: Final = 64  # cancelled entries are swept out once there are more of them than this and than live ones


class WaitingClock(Protocol):
    """A clock the loop can wait on."""

    def now_ns(self) -> int: ...

    def wait_until(self, time_ns: int) -> None: ...


class EndlessWorkError(RuntimeError):
    """Work at one virtual instant does not end: two callbacks keep calling each other. A bug, never the user's input."""


class Handle:
    """One scheduled callback. `done`: it ran or was cancelled."""

    __slots__ = ("_callback", "_loop", "last_ns", "name", "time_ns", "timer")

    def __init__(self, loop: Loop, callback: Callable[[], None], *, time_ns: int, name: str, timer: bool, last_ns: int) -> None:
        self._loop = loop
        self._callback: Callable[[], None] | None = callback
        self.time_ns = time_ns
        self.name = name
        self.timer = timer
        self.last_ns = last_ns

    @property
    def done(self) -> bool:
        """Whether it ran or was cancelled."""
        return self._callback is None

    def cancel(self) -> None:
        """Take it back; nothing happens if it is done."""
        if self._callback is not None:
            self._callback = None
            self._loop._cancelled(self)

    def _take(self) -> Callable[[], None]:
        callback = self._callback
        assert callback is not None
        self._callback = None
        return callback

    def __repr__(self) -> str:
        return f"<Handle {self.name or 'callback'} at {self.time_ns} ns{', done' if self.done else ''}>"


class Loop:
    """Callbacks in order of time, priority and arrival. Single-threaded; callbacks may call everything except `run_…` and `step`."""

    def __init__(self, clock: WaitingClock, *, instant_callbacks_max: int = INSTANT_CALLBACKS_MAX, idle_ns_max: int = IDLE_NS_MAX) -> None:
        self._clock = clock
        self._heap: list[tuple[int, int, int, Handle]] = []
        self._sequence = 0
        self._work = 0  # live entries that are no timers
        self._timers = 0  # live entries that are
        self._instant_callbacks_max = instant_callbacks_max
        self._instant_ns = clock.now_ns()
        self._instant_count = 0
        self._recent: Counter[str] = Counter()
        self._idle_ns_max = idle_ns_max
        self._changed_ns = clock.now_ns()
        self._round_end_ns: int | None = None  # None: a change happened since, or work is left
        self._running = False

    # scheduling

    def now_ns(self) -> int:
        """The clock's time."""
        return self._clock.now_ns()

    def call_soon(self, callback: Callable[[], None], *, priority: int = 0, name: str = "") -> Handle:
        """Run it at this instant, after the callback under way. This is work: the loop is not idle before it ran."""
        return self._push(self.now_ns(), callback, priority, name, timer=False, last_ns=None)

    def call_at(
        self,
        time_ns: int,
        callback: Callable[[], None],
        *,
        priority: int = 0,
        name: str = "",
        timer: bool = True,
        last_ns: int | None = None,
    ) -> Handle:
        """Run it at `time_ns`, at once if that is past.

        `timer=False` makes it work that has a date: idleness waits for it however far away. `last_ns` is for a timer that stands for
        several deadlines and is armed again for each: the last of them, up to which a round of timers lasts.
        """
        return self._push(max(time_ns, self.now_ns()), callback, priority, name, timer=timer, last_ns=last_ns)

    def call_after(
        self,
        delay_ns: int,
        callback: Callable[[], None],
        *,
        priority: int = 0,
        name: str = "",
        timer: bool = True,
        last_ns: int | None = None,
    ) -> Handle:
        """Run it `delay_ns` from now; see `call_at`."""
        return self._push(self.now_ns() + max(delay_ns, 0), callback, priority, name, timer=timer, last_ns=last_ns)

    def changed(self) -> None:
        """An object changed: the round of timers that idleness waits for starts anew once the work is done."""
        self._changed_ns = self.now_ns()
        self._round_end_ns = None

    def _push(self, time_ns: int, callback: Callable[[], None], priority: int, name: str, *, timer: bool, last_ns: int | None) -> Handle:
        handle = Handle(self, callback, time_ns=time_ns, name=name, timer=timer, last_ns=max(time_ns, last_ns or 0))
        heapq.heappush(self._heap, (time_ns, priority, self._sequence, handle))
        self._sequence += 1
        if timer:
            self._timers += 1
        else:
            self._work += 1
        return handle

    def _cancelled(self, handle: Handle) -> None:
        self._count_out(handle)
        dead = len(self._heap) - self._work - self._timers
        if dead > _SPARSE_MIN and dead > len(self._heap) // 2:
            self._heap = [entry for entry in self._heap if not entry[3].done]
            heapq.heapify(self._heap)

    def _count_out(self, handle: Handle) -> None:
        if handle.timer:
            self._timers -= 1
        else:
            self._work -= 1

    # what is left

    @property
    def pending(self) -> int:
        """Callbacks that are scheduled, timers included."""
        return self._work + self._timers

    def next_ns(self) -> int | None:
        """When the next callback is due; None when there is none."""
        while self._heap and self._heap[0][3].done:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def is_idle(self) -> bool:
        """Whether no work is left and a whole round of timers has changed nothing."""
        if self._work:
            return False
        due = self.next_ns()
        if due is None:
            return True
        if self._round_end_ns is None:
            limit = self._changed_ns + self._idle_ns_max
            latest = 0
            for entry in reversed(self._heap):  # late timers stand at the back of a heap
                if not entry[3].done:
                    latest = max(latest, entry[3].last_ns)
                    if latest >= limit:
                        break
            self._round_end_ns = min(latest, limit)
        return due > self._round_end_ns

    # running

    def step(self) -> bool:
        """Wait for the next callback and run it; whether there was one."""
        due = self.next_ns()
        if due is None:
            return False
        entry = heapq.heappop(self._heap)
        self._clock.wait_until(due)
        handle = entry[3]
        callback = handle._take()
        self._count_out(handle)
        self._guard(handle.name)
        self._running = True
        try:
            callback()
        finally:
            self._running = False
        return True

    def run_until(self, time_ns: int) -> None:
        """Run everything that is due up to `time_ns` and leave the clock there."""
        self._refuse_nesting()
        while (due := self.next_ns()) is not None and due <= time_ns:
            self.step()
        self._clock.wait_until(time_ns)

    def run_until_idle(self, deadline_ns: int | None = None) -> bool:
        """Run until idle, or until nothing is due before `deadline_ns` (the clock is left there); whether idle was reached."""
        self._refuse_nesting()
        while not self.is_idle():
            due = self.next_ns()
            if deadline_ns is not None and (due is None or due > deadline_ns):
                self._clock.wait_until(deadline_ns)
                return False
            self.step()
        return True

    def _refuse_nesting(self) -> None:
        if self._running:
            raise RuntimeError("a callback of the loop must not run the loop")

    def _guard(self, name: str) -> None:
        """Count callbacks at one instant; name the busiest of the last ones when there is no end to them."""
        now = self._clock.now_ns()
        if now != self._instant_ns:
            self._instant_ns, self._instant_count = now, 0
            return
        self._instant_count += 1
        left = self._instant_callbacks_max - self._instant_count
        if left < _SAMPLE:
            self._recent[name or "callback"] += 1
            if left <= 0:
                busiest = ", ".join(
                    f"{name} ({count})" for name, count in sorted(self._recent.items(), key=lambda row: (-row[1], row[0]))[:5]
                )
                self._recent.clear()
                raise EndlessWorkError(f"more than {self._instant_callbacks_max} callbacks at {now} ns, the last ones: {busiest}")
