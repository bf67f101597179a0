"""A priority queue whose entries can be found, changed and removed by key.

Removal only marks: a heap entry whose ticket is no longer the key's current one is skipped when it surfaces. Equal ranks come out in the
order they were put in.

Source for the semantics: pkg/scheduler/backend/heap/heap.go (keyed heap).
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class KeyedHeap(Generic[T]):
    """Smallest rank first. Ranks are tuples that compare with each other."""

    def __init__(self) -> None:
        self._heap: list[tuple[tuple[Any, ...], int, str]] = []
        self._items: dict[str, tuple[int, T]] = {}
        self._tickets = 0

    def put(self, key: str, rank: tuple[Any, ...], item: T) -> None:
        """Insert, or move an item to a new rank."""
        self._tickets += 1
        self._items[key] = (self._tickets, item)
        heapq.heappush(self._heap, (rank, self._tickets, key))

    def _settle(self) -> None:
        while self._heap:
            _, ticket, key = self._heap[0]
            current = self._items.get(key)
            if current is not None and current[0] == ticket:
                return
            heapq.heappop(self._heap)

    def first(self) -> tuple[tuple[Any, ...], T] | None:
        """The smallest rank and its item, left where they are."""
        self._settle()
        if not self._heap:
            return None
        rank, _, key = self._heap[0]
        return rank, self._items[key][1]

    def pop(self) -> T | None:
        """Take the item of the smallest rank out."""
        self._settle()
        if not self._heap:
            return None
        _, _, key = heapq.heappop(self._heap)
        return self._items.pop(key)[1]

    def remove(self, key: str) -> T | None:
        """Take an item out, wherever it stands."""
        found = self._items.pop(key, None)
        return found[1] if found else None

    def get(self, key: str) -> T | None:
        found = self._items.get(key)
        return found[1] if found else None

    def __contains__(self, key: object) -> bool:
        return key in self._items

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[T]:
        """Items in order of insertion."""
        for _, item in self._items.values():
            yield item
