from __future__ import annotations

from collections import Counter

from volsched.env.chance import Chance, Stream


def test_streams_repeat_and_do_not_disturb_each_other() -> None:
    alone = Chance(5)
    expected = [alone("tie_break").randrange(1_000) for _ in range(20)]
    mixed = Chance(5)
    drawn = []
    for _ in range(20):
        mixed("jitter").random()
        drawn.append(mixed("tie_break").randrange(1_000))
    assert drawn == expected
    assert [Chance(6)("tie_break").randrange(1_000) for _ in range(20)] != expected


def test_positions_are_enough_to_go_on() -> None:
    whole = Chance(5)
    expected = [whole("a").random() for _ in range(10)]
    first = Chance(5)
    drawn = [first("a").random() for _ in range(6)]
    second = Chance(5, first.positions())
    assert drawn + [second("a").random() for _ in range(4)] == expected


def test_every_method_of_random_works() -> None:
    stream = Stream(1, "x")
    assert len(stream.randbytes(1_000)) == 1_000
    assert stream.getrandbits(0) == 0
    assert stream.getrandbits(512) < 2**512
    deck = list(range(50))
    stream.shuffle(deck)
    assert sorted(deck) == list(range(50))
    counts = Counter(stream.choice("abcd") for _ in range(4_000))
    assert all(800 < count < 1_200 for count in counts.values())
    mean = sum(stream.random() for _ in range(4_000)) / 4_000
    assert 0.45 < mean < 0.55
    state = stream.getstate()
    again = stream.gauss(0, 1)
    stream.setstate(state)
    stream.gauss_next = None
    assert stream.gauss(0, 1) == again
