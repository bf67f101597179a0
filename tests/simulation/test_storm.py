"""Under faults of every kind the invariants hold: a few dozen seeds, and that they are what they claim to be.

More of them: `python -m tests.simulation.run --seeds 2000 --steps 1000000`.
"""

from __future__ import annotations

import json

import pytest

from tests.simulation.faults import KINDS
from tests.simulation.player import ENGINE, Player
from tests.simulation.run import Tally, lines_of, report, trouble
from tests.simulation.shrink import shrink
from tests.simulation.storm import storm_of

SEEDS = range(44)


@pytest.mark.timeout(1800)  # of a busy machine; it takes about 15 s of processor time
def test_invariants_hold_under_faults_and_each_kind_of_fault_fires() -> None:
    tally = Tally()
    for seed in SEEDS:
        story = storm_of(seed)
        wanted = trouble(story, seed=seed, engine=ENGINE, tally=tally)
        assert not wanted, report(story, seed=seed, engine=ENGINE, wanted=wanted)
    missing = [kind for kind in KINDS if not tally.fired[kind]]
    assert not missing, f"never fired: {', '.join(missing)}"
    assert len({code for _, code in tally.codes}) == 16
    assert tally.faulted_steps > 30_000


def hash_of(seed: int, engine: str = ENGINE) -> str:
    return Player(storm_of(seed), seed=seed, engine=engine, lenient=True).play().hash


def test_a_seed_is_a_run_under_faults_too() -> None:
    assert hash_of(7) == hash_of(7)
    assert hash_of(7) != hash_of(8)


@pytest.mark.skipif(ENGINE == "reference", reason="the native engine is not built here")
@pytest.mark.parametrize("seed", range(3))
def test_both_engines_make_the_same_run_under_faults(seed: int) -> None:
    assert hash_of(seed, "native") == hash_of(seed, "reference")


def test_a_storm_is_plain_data() -> None:
    story = storm_of(11)
    assert json.loads(json.dumps(story)) == story
    assert story == storm_of(11)
    assert len(lines_of(story)) == 1 + len(story["faults"]) + len(story["timeline"])


def test_a_failing_storm_is_made_small() -> None:
    story = storm_of(0)
    fault, entry = story["faults"][5], story["timeline"][9]
    small = shrink(story, lambda one: fault in one.get("faults", ()) and entry in one["timeline"])
    assert (small["faults"], small["timeline"]) == ([fault], [entry])
