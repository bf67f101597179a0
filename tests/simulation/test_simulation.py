"""A few dozen seeds of the simulation without faults, and that a seed is a run; with faults: test_storm.py.

More of them: `python -m tests.simulation.run --calm --seeds 1000`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulation.generator import story_of
from tests.simulation.player import ENGINE, Player
from tests.simulation.run import report, trouble
from tests.simulation.shrink import shrink

ACTIONS = 60
SEEDS = range(40)
ROOT = Path(__file__).parents[2]
HASH_OF_SEED = """
import sys
from tests.simulation.generator import story_of
from tests.simulation.player import Player
seed = int(sys.argv[1])
print(Player(story_of(seed), seed=seed, lenient=True).play().hash)
"""


@pytest.mark.parametrize("seed", SEEDS)
def test_invariants_hold(seed: int) -> None:
    story = story_of(seed, actions=ACTIONS)
    wanted = trouble(story, seed=seed, engine=ENGINE)
    assert not wanted, report(story, seed=seed, engine=ENGINE, wanted=wanted)


def hash_of(seed: int) -> str:
    return Player(story_of(seed), seed=seed, lenient=True).play().hash


def test_a_seed_is_a_run() -> None:
    assert hash_of(3) == hash_of(3)
    assert hash_of(3) != hash_of(4)


@pytest.mark.skipif(ENGINE == "reference", reason="the native engine is not built here")
@pytest.mark.parametrize("seed", range(12))
def test_both_engines_make_the_same_run(seed: int) -> None:
    story = story_of(seed)
    native, plain = (Player(story, engine=engine, seed=seed, lenient=True).play() for engine in ("native", "reference"))
    assert native.hash == plain.hash


@pytest.mark.parametrize("hash_seed", ["0", "1", "4242"])
def test_the_order_of_hashes_does_not_matter(hash_seed: str) -> None:
    environment = os.environ | {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run([sys.executable, "-c", HASH_OF_SEED, "3"], cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == hash_of(3)


def test_stories_of_seeds_differ_and_do_much() -> None:
    stories = [story_of(seed) for seed in range(20)]
    kinds = {entry["do"]["kind"] for story in stories for entry in story["timeline"]}
    assert len({str(story) for story in stories}) == len(stories)
    assert {"Pod", "PersistentVolumeClaim", "PersistentVolume", "VolumeSnapshot", "VolumeSnapshotContent", "Node", "StorageClass"} <= kinds
    played = [Player(story, seed=seed, lenient=True).play() for seed, story in enumerate(stories[:5])]
    skipped, entries = sum(len(one.skipped) for one in played), sum(len(story["timeline"]) for story in stories[:5])
    assert skipped < 0.6 * entries  # a story that is refused mostly tests nothing


def test_a_failing_story_is_made_small() -> None:
    story = story_of(0)
    wanted = [entry for entry in story["timeline"] if entry["do"]["kind"] == "Pod"][:2]
    small = shrink(story, lambda one: all(entry in one["timeline"] for entry in wanted))
    assert small["timeline"] == wanted
    assert "teardown" not in small
