"""Plays many seeds: `python -m tests.simulation.run --seeds 1000 [--first 0] [--engine native] [--actions 60]`.

A seed that breaks an invariant, or that raises, is shrunk and its story printed as JSON lines: one line with the story's settings, one for
each entry. Ends with 1 if there was any.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import traceback
from collections.abc import Mapping
from typing import Any

from tests.simulation.generator import story_of
from tests.simulation.player import ENGINE, Player
from tests.simulation.shrink import shrink

_VARYING = re.compile(r"[0-9a-f-]{8,}|\d+")


def trouble(story: Mapping[str, Any], *, seed: int, engine: str) -> str:
    """What goes wrong first in a story, empty when nothing does."""
    try:
        played = Player(story, engine=engine, seed=seed, lenient=True).play()
    except Exception as problem:
        where = traceback.extract_tb(problem.__traceback__)[-1]
        return f"{type(problem).__name__} in {where.name}: {problem}"
    return str(played) if played.violations else ""


def like(text: str) -> str:
    """A trouble without uids, numbers and times, to compare it with others."""
    return _VARYING.sub("", text.splitlines()[0]) if text else ""


def small_story(seed: int, *, engine: str, actions: int, wanted: str) -> Mapping[str, Any]:
    """The story of a seed, shrunk as long as the same thing goes wrong."""
    return shrink(story_of(seed, actions=actions), lambda story: like(trouble(story, seed=seed, engine=engine)) == like(wanted))


def lines_of(story: Mapping[str, Any]) -> list[str]:
    """A story as JSON lines: its settings, then its entries."""
    settings = {key: value for key, value in story.items() if key != "timeline"}
    return [json.dumps(settings), *(json.dumps(entry) for entry in story["timeline"])]


def report(seed: int, *, engine: str, actions: int, wanted: str) -> str:
    """A failing seed as a text: what goes wrong, and the small story."""
    story = small_story(seed, engine=engine, actions=actions, wanted=wanted)
    return "\n".join([f"seed {seed}: {wanted}", "shrunk:", *lines_of(story), trouble(story, seed=seed, engine=engine)])


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.run")
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--actions", type=int, default=60)
    parser.add_argument("--engine", default=ENGINE)
    given = parser.parse_args(arguments)
    failed = 0
    for seed in range(given.first, given.first + given.seeds):
        wanted = trouble(story_of(seed, actions=given.actions), seed=seed, engine=given.engine)
        if wanted:
            failed += 1
            print(report(seed, engine=given.engine, actions=given.actions, wanted=wanted), flush=True)
    print(f"{given.seeds} seeds from {given.first}, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
