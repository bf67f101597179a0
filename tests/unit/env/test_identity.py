from __future__ import annotations

import uuid

from volsched.env.identity import NAME_ALPHABET, Uids


def test_same_seed_same_uids() -> None:
    assert [Uids(7).uid() for _ in range(1)] == [Uids(7).uid()]
    one, two = Uids(7), Uids(7)
    assert [one.uid() for _ in range(5)] == [two.uid() for _ in range(5)]
    assert Uids(8).uid() != Uids(7).uid()


def test_uids_are_version_4_and_distinct() -> None:
    uids = Uids(1)
    drawn = [uids.uid() for _ in range(1_000)]
    assert len(set(drawn)) == 1_000
    assert all(uuid.UUID(uid).version == 4 and str(uuid.UUID(uid)) == uid for uid in drawn)


def test_a_counter_is_all_it_takes_to_go_on() -> None:
    whole = Uids(3)
    expected = [whole.uid() for _ in range(10)]
    first = Uids(3)
    drawn = [first.uid() for _ in range(4)]
    second = Uids(3, first.issued)
    third = Uids(99)
    third.resume(seed=3, issued=first.issued)
    assert drawn + [second.uid() for _ in range(6)] == expected
    assert [third.uid() for _ in range(6)] == expected[4:]


def test_name_suffixes() -> None:
    uids = Uids(0)
    names = [uids.name_suffix() for _ in range(200)]
    assert all(len(name) == 5 and set(name) <= set(NAME_ALPHABET) for name in names)
    assert len(set(names)) == 200
