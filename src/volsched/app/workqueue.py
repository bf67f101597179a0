"""The rate limiting queue of client-go, pure: time is passed in.

    add ──> ready ──pop──> in work ──done──┐
     ^        ^                └─ added meanwhile: ready again
     └─ delayed (due) <── fail: backoff_s * 2^failures, or add_after

An item is ready at most once and never worked on twice at the same time. A delayed entry keeps the earlier of its old and new time and
does not keep `add` from making the item ready at once. Source: client-go util/workqueue (queue, delaying and rate limiting queue).
"""

from __future__ import annotations

import heapq
from collections import deque

from volsched.ports import QueueSpec

NS = 1_000_000_000


class WorkQueue:
    """One queue of one decider; keys are strings."""

    def __init__(self, spec: QueueSpec) -> None:
        self.spec = spec
        self._ready: deque[str] = deque()
        self._dirty: set[str] = set()  # ready, or to become ready again when its pass ends
        self._working: set[str] = set()
        self._due: dict[str, int] = {}
        self._heap: list[tuple[int, int, str]] = []  # (due, sequence, key); an entry that `_due` disagrees with is void
        self._sequence = 0
        self._failures: dict[str, int] = {}
        self._last_due_ns = 0

    def add(self, key: str) -> None:
        """Have the key looked at as soon as a worker is free."""
        if key in self._dirty:
            return
        self._dirty.add(key)
        if key not in self._working:
            self._ready.append(key)

    def add_at(self, key: str, due_ns: int) -> None:
        """Have the key looked at later; an earlier time already asked for stays."""
        known = self._due.get(key)
        if known is not None and known <= due_ns:
            return
        self._last_due_ns = max(self._last_due_ns, due_ns) if self._due else due_ns
        self._due[key] = due_ns
        self._sequence += 1
        heapq.heappush(self._heap, (due_ns, self._sequence, key))

    def fail(self, key: str, now_ns: int) -> int:
        """Count a failure and delay the key by its backoff. Answers the time it is due."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        # 2^63 would overflow long after the cap is reached
        delay_s = min(self.spec.backoff_s * 2.0 ** min(failures, 62), self.spec.backoff_s_max)
        due = now_ns + round(delay_s * NS)
        self.add_at(key, due)
        return due

    def forget(self, key: str) -> None:
        """A pass ended well: the next failure starts at the shortest backoff."""
        self._failures.pop(key, None)

    @property
    def ready(self) -> bool:
        """Whether `pop` would answer a key."""
        return bool(self._ready) and len(self._working) < self.spec.workers

    def pop(self) -> str | None:
        """The next key to work on, or None when nothing is ready or every worker is busy."""
        if not self.ready:
            return None
        key = self._ready.popleft()
        self._dirty.discard(key)
        self._working.add(key)
        return key

    def done(self, key: str) -> None:
        """A pass over the key has ended, well or not."""
        self._working.discard(key)
        if key in self._dirty:
            self._ready.append(key)

    def release(self, now_ns: int) -> None:
        """Make the delayed keys ready whose time has come."""
        while self._heap and self._heap[0][0] <= now_ns:
            due, _, key = heapq.heappop(self._heap)
            if self._due.get(key) == due:
                del self._due[key]
                self.add(key)

    def next_due_ns(self) -> int | None:
        """When `release` has something to do next."""
        while self._heap and self._due.get(self._heap[0][2]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    @property
    def last_due_ns(self) -> int:
        """No delayed key is due later than this; 0 when none is delayed."""
        return self._last_due_ns if self._due else 0

    def failures(self, key: str) -> int:
        """Failures counted for a key since its last good pass."""
        return self._failures.get(key, 0)
