"""Leaves out of a list what a failure does not need."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")


def fewest(items: Sequence[T], still: Callable[[list[T]], bool]) -> list[T]:
    """As few of the items as it takes: long runs are dropped first, then shorter ones, until none of one item can go.

    `still` says of what would be left whether it fails as all of them do.
    """
    best = list(items)
    size = max(1, len(best) // 2)
    while best:
        start, dropped = 0, False
        while start < len(best):
            fewer = best[:start] + best[start + size :]
            if still(fewer):
                best, dropped = fewer, True
            else:
                start += size
        if size > 1:
            size //= 2
        elif not dropped:
            break
    return best
