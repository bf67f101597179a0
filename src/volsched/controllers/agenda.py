"""Work that a decider gives itself: now, because one key's pass found another key to look at, or at a later time.

A pass cannot add to a queue, it only ends. So it leaves the item here; the runner asks `wake_at_ns` after every pass and fetches what is
due with `wake`. Items due at one instant come out in the order they were put in.
"""

from __future__ import annotations

import heapq

from volsched.ports import Clock, WorkItem


class Agenda:
    """Items by time. An item already on the agenda keeps the earlier of its old and new time."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._heap: list[tuple[int, int, WorkItem]] = []
        self._due: dict[WorkItem, int] = {}
        self._sequence = 0

    def now(self, item: WorkItem) -> None:
        """Have an item looked at as soon as the pass under way has ended."""
        self.at(item, self._clock.now_ns())

    def at(self, item: WorkItem, due_ns: int) -> None:
        """Have an item looked at at a time."""
        known = self._due.get(item)
        if known is not None and known <= due_ns:
            return
        self._due[item] = due_ns
        self._sequence += 1
        heapq.heappush(self._heap, (due_ns, self._sequence, item))

    def forget(self, item: WorkItem) -> None:
        """Take an item off the agenda."""
        self._due.pop(item, None)

    def next_ns(self) -> int | None:
        """When the next item is due; never in the past."""
        while self._heap and self._due.get(self._heap[0][2]) != self._heap[0][0]:
            heapq.heappop(self._heap)  # moved to an earlier time, or forgotten
        return max(self._heap[0][0], self._clock.now_ns()) if self._heap else None

    def take(self, now_ns: int) -> list[WorkItem]:
        """The items whose time has come, each once."""
        due: list[WorkItem] = []
        while self._heap and self._heap[0][0] <= now_ns:
            at_ns, _, item = heapq.heappop(self._heap)
            if self._due.get(item) == at_ns:
                del self._due[item]
                due.append(item)
        return due
