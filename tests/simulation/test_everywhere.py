"""One fault in many places of the stories of our own; in all of them: `python -m tests.simulation.run --everywhere`."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest

from tests.simulation.everywhere import ACTS, CALLS, STORIES, everywhere
from tests.simulation.player import ENGINE
from tests.simulation.run import Tally, report, trouble

EVERY = 61  # prime to the number of faults a step meets, so that none of them is left out


@pytest.mark.timeout(1800)  # of a busy machine; it takes about 10 s of processor time
def test_one_fault_anywhere_breaks_nothing() -> None:
    tally, met, played = Tally(), Counter[str](), set[str]()
    for name, story in itertools.islice(everywhere(), 0, None, EVERY):
        (fault,) = story["faults"]
        wanted = trouble(story, seed=0, engine=ENGINE, tally=tally)
        assert not wanted, f"{name}: " + report(story, seed=0, engine=ENGINE, wanted=wanted)
        met[str(fault.get("do") or [key for key in fault if key not in ("on", "driver", "rpc", "nth")])] += 1
        played.add(name)
    assert len(met) == len(ACTS) + len(CALLS) - 2, met  # two of the calls' differ in their values only
    assert played == {path.stem for path in STORIES}
    assert tally.fired["process restarted"] and tally.fired["driver dies in a call"]
