"""Whether some claims fit into some pools together, and how: bin packing, by search.

    items  what has to be placed, in a fixed order, each with the bins it may go into, in the order to try them
    bins   the room of each, and the largest single item it takes

The answer is the first assignment in lexical order: the first item in the earliest bin for which the rest can still be placed, and so on.
So for one item it is the first bin with room. Bin packing is exponential in the worst case; the search counts every placement it tries and
gives up undecided after `steps_max`. Two cuts keep it far from that for pools and claims that look alike, and change no answer:

    an item that equals the one before it starts at that one's bin    (the other way round is the same packing with names swapped)
    a bin that equals an earlier one, which led nowhere, is passed over

The native engine carries out the same steps (native/src/packing.cpp), so that both give up on the same questions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Item(NamedTuple):
    """bytes: what it takes. bins: positions of the bins it may go into, ascending."""

    bytes: int
    bins: tuple[int, ...]


class Bin(NamedTuple):
    """room: bytes left, None = not known and so without limit. maximum: the largest item, None = any.

    siblings: positions of the bins that lose the same bytes.
    """

    room: int | None
    maximum: int | None
    siblings: tuple[int, ...] = ()


class Packing(NamedTuple):
    """bins: the bin of each item, None when there is no packing or none was found. decided: False when the search was given up."""

    bins: tuple[int, ...] | None
    decided: bool
    steps: int


def fits_alone(size: int, candidate: Bin) -> bool:
    """Whether one item fits into a bin that holds nothing else."""
    return (candidate.maximum is None or size <= candidate.maximum) and (candidate.room is None or size <= candidate.room)


def pack(items: Sequence[Item], bins: Sequence[Bin], *, steps_max: int) -> Packing:
    """See the module. steps_max: placements to try."""
    if not _may_fit(items, bins):
        return Packing(None, decided=True, steps=0)
    return _Search(items, bins, steps_max).run()


def _may_fit(items: Sequence[Item], bins: Sequence[Bin]) -> bool:
    """What can be told without a search: every item fits somewhere alone, and all of them are no more than there is room."""
    if not all(any(fits_alone(item.bytes, bins[number]) for number in item.bins) for item in items):
        return False
    used = {number for item in items for number in item.bins}
    rooms = [bins[number].room for number in used]
    known = [room for room in rooms if room is not None]
    if len(known) < len(rooms) or any(bins[number].siblings for number in used):
        return True
    return sum(item.bytes for item in items) <= sum(max(0, room) for room in known)


class _Search:
    def __init__(self, items: Sequence[Item], bins: Sequence[Bin], steps_max: int) -> None:
        self._items = items
        self._bins = bins
        self._steps_max = steps_max
        self._load = [0] * len(bins)  # bytes of this packing, siblings' included
        self._count = [0] * len(bins)  # items placed in the bin itself
        self._chosen: list[int] = []  # bins of the items placed so far
        self._tried: list[list[int]] = [[]]  # for each of them and for the next item: bins it was in or is in

    def run(self) -> Packing:
        steps = 0
        while len(self._chosen) < len(self._items):
            number = self._next_bin()
            if number is not None:
                if steps == self._steps_max:
                    return Packing(None, decided=False, steps=steps)
                steps += 1
                self._tried[-1].append(number)
                self._tried.append([])
                self._add(number, 1)
            elif self._chosen:
                self._tried.pop()
                self._add(self._chosen[-1], -1)
            else:
                return Packing(None, decided=True, steps=steps)
        return Packing(tuple(self._chosen), decided=True, steps=steps)

    def _next_bin(self) -> int | None:
        """Where the next item is tried next."""
        at = len(self._chosen)
        item, tried = self._items[at], self._tried[-1]
        first = tried[-1] + 1 if tried else self._chosen[-1] if at and item == self._items[at - 1] else 0
        for number in item.bins:
            if number >= first and self._takes(number, item.bytes) and not any(self._alike(number, other, at) for other in tried):
                return number
        return None

    def _takes(self, number: int, size: int) -> bool:
        """Whether a bin takes an item, and the bins that lose the same bytes still hold what was put into them."""
        maximum = self._bins[number].maximum
        if maximum is not None and size > maximum:
            return False
        concerned = [number, *(other for other in self._bins[number].siblings if self._count[other])]
        return all((room := self._bins[other].room) is None or self._load[other] + size <= room for other in concerned)

    def _alike(self, left: int, right: int, at: int) -> bool:
        """Whether the items from `at` on cannot tell two bins apart."""
        one, other = self._bins[left], self._bins[right]
        if one.siblings or other.siblings or one.maximum != other.maximum:
            return False
        if (one.room is None) != (other.room is None):
            return False
        if one.room is not None and other.room is not None and one.room - self._load[left] != other.room - self._load[right]:
            return False
        return all((left in item.bins) == (right in item.bins) for item in self._items[at:])

    def _add(self, number: int, sign: int) -> None:
        """Put the next item into a bin, or take the last one out of it."""
        if sign < 0:
            self._chosen.pop()
        size = self._items[len(self._chosen)].bytes
        for other in (number, *self._bins[number].siblings):
            self._load[other] += sign * size
        self._count[number] += sign
        if sign > 0:
            self._chosen.append(number)
