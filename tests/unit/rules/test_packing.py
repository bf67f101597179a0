"""The search finds what trying everything finds, and says so when it gave up."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from volsched.rules.packing import Bin, Item, Packing, pack

GENEROUS = 10**6


def first_way(items: Sequence[Item], bins: Sequence[Bin]) -> tuple[int, ...] | None:
    """By trying every assignment in lexical order."""
    for chosen in itertools.product(*(item.bins for item in items)):
        load = [0] * len(bins)
        for item, number in zip(items, chosen, strict=True):
            for other in (number, *bins[number].siblings):
                load[other] += item.bytes
        small = all((most := bins[number].maximum) is None or item.bytes <= most for item, number in zip(items, chosen, strict=True))
        if small and all((room := bins[number].room) is None or load[number] <= room for number in chosen):
            return chosen
    return None


@st.composite
def questions(draw: st.DrawFn) -> tuple[list[Item], list[Bin]]:
    count = draw(st.integers(1, 4))
    pairs = draw(st.lists(st.tuples(st.integers(0, count - 1), st.integers(0, count - 1)), max_size=3))
    siblings: list[set[int]] = [set() for _ in range(count)]
    for left, right in pairs:
        if left != right:
            siblings[left].add(right)
            siblings[right].add(left)
    room = st.one_of(st.integers(-2, 14), st.sampled_from([6, 10, None]))  # often alike, so that the cuts are taken
    bins = [Bin(draw(room), draw(st.sampled_from([None, None, 4, 7])), tuple(sorted(some))) for some in siblings]
    everywhere = tuple(range(count))
    some_bins = st.one_of(st.just(everywhere), st.sets(st.sampled_from(everywhere), min_size=1).map(lambda some: tuple(sorted(some))))
    items = [Item(draw(st.integers(0, 7)), draw(some_bins)) for _ in range(draw(st.integers(1, 5)))]
    return (sorted(items) if draw(st.booleans()) else items), bins


@settings(max_examples=1500, deadline=None, derandomize=True)
@given(question=questions())
def test_it_is_the_first_of_all_assignments(question: tuple[list[Item], list[Bin]]) -> None:
    items, bins = question
    found = pack(items, bins, steps_max=GENEROUS)
    assert found.decided
    assert found.bins == first_way(items, bins)


def test_a_later_item_can_move_an_earlier_one() -> None:
    """The small one would go first into the only bin that the large one fits."""
    bins = [Bin(10, None), Bin(5, None)]
    assert pack([Item(4, (0, 1)), Item(8, (0, 1))], bins, steps_max=GENEROUS).bins == (1, 0)


def test_items_that_are_alike_do_not_multiply_the_search() -> None:
    """Thirty equal items that just do not fit: without the cut that is every way to tell them apart."""
    bins = [Bin(29, None), Bin(29, None), Bin(29, None), Bin(29, None)]
    found = pack([Item(10, (0, 1, 2, 3))] * 9, bins, steps_max=GENEROUS)
    assert (found.bins, found.decided) == (None, True)
    assert found.steps < 100


def test_many_items_of_one_bin_need_no_stack() -> None:
    found = pack([Item(1, (0,))] * 5000, [Bin(5000, None)], steps_max=GENEROUS)
    assert found.steps == 5000
    assert found.bins == (0,) * 5000


def test_it_gives_up_after_as_many_steps_as_it_is_given() -> None:
    items = [Item(size, (0, 1, 2)) for size in (4, 5, 6, 7, 8, 9)]
    bins = [Bin(13, None), Bin(13, None), Bin(13, None)]
    whole = pack(items, bins, steps_max=GENEROUS)
    assert whole.bins is not None and whole.steps > len(items)
    assert pack(items, bins, steps_max=whole.steps) == whole
    assert pack(items, bins, steps_max=whole.steps - 1) == Packing(None, decided=False, steps=whole.steps - 1)


def test_what_is_too_much_in_total_needs_no_search() -> None:
    assert pack([Item(6, (0, 1))] * 2, [Bin(6, None), Bin(5, None)], steps_max=1) == Packing(None, decided=True, steps=0)


def test_bins_of_one_storage() -> None:
    """What goes into one bin is missing in its sibling, also when the sibling was filled first."""
    shared = [Bin(10, None, (1,)), Bin(10, None, (0,))]
    assert pack([Item(6, (0,)), Item(5, (1,))], shared, steps_max=GENEROUS).bins is None
    assert pack([Item(6, (0,)), Item(4, (1,))], shared, steps_max=GENEROUS).bins == (0, 1)
    smaller = [Bin(10, None, (1,)), Bin(5, None, (0,))]
    assert pack([Item(5, (1,)), Item(5, (0,))], smaller, steps_max=GENEROUS).bins is None
