"""Clocks: virtual time that jumps, and the one place that reads real time.

Both satisfy `ports.Clock` and can wait: a virtual clock waits by jumping, a real one by sleeping, so the loop needs no second case.
"""

from __future__ import annotations

import time

NS_PER_S = 1_000_000_000


class VirtualClock:
    """Time that moves only when `wait_until` is called. The loop is its only caller."""

    def __init__(self, start_ns: int) -> None:
        self._now_ns = start_ns

    def now_ns(self) -> int:
        """Nanoseconds since the Unix epoch."""
        return self._now_ns

    def wait_until(self, time_ns: int) -> None:
        """Jump to `time_ns`. Time never goes back: an instant in the past leaves the clock alone."""
        self._now_ns = max(self._now_ns, time_ns)


class RealClock:
    """The machine's time, made monotonic: a step of the system clock after the start is not followed."""

    def __init__(self) -> None:
        self._offset_ns = time.time_ns() - time.monotonic_ns()

    def now_ns(self) -> int:
        """Nanoseconds since the Unix epoch."""
        return time.monotonic_ns() + self._offset_ns

    def wait_until(self, time_ns: int) -> None:
        """Sleep until `time_ns`; returns at once if that is past."""
        while (left_ns := time_ns - self.now_ns()) > 0:
            time.sleep(left_ns / NS_PER_S)
