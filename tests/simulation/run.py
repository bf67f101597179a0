"""Plays many seeds: `python -m tests.simulation.run --seeds 2000 [--first 0] [--steps 1000000] [--calm] [--engine native] [--actions 60]`.

With faults (storm.py) unless `--calm`; goes on past `--seeds` until so many `--steps` were made under faults. With `--everywhere` it plays
the stories of everywhere.py instead. A story that breaks an invariant, that raises, or that does not come to rest is shrunk and printed as
JSON lines: one line with the story's settings, one for each fault and entry. At the end the counts: steps, checks, and how often each kind
of fault took effect. Ends with 1 if a story failed.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.simulation.everywhere import everywhere
from tests.simulation.faults import KINDS
from tests.simulation.generator import story_of
from tests.simulation.player import ENGINE, Player
from tests.simulation.shrink import shrink
from tests.simulation.storm import CODES, storm_of

Story = Mapping[str, Any]

_VARYING = re.compile(r"[0-9a-f-]{8,}|\d+")
PROGRESS_S = 60.0


@dataclass
class Tally:
    """What many stories came to."""

    stories: int = 0
    steps: int = 0
    faulted_steps: int = 0
    checks: int = 0
    fired: Counter[str] = field(default_factory=Counter)
    codes: Counter[tuple[str, str]] = field(default_factory=Counter)
    failed: int = 0

    def take(self, player: Player) -> None:
        """Add a story that was played."""
        played = player.played
        self.stories += 1
        self.steps += played.steps
        self.faulted_steps += played.faulted_steps
        self.checks += played.checks
        if player.wires is not None:
            self.fired += player.wires.counts()
            self.codes += player.wires.codes

    def __str__(self) -> str:
        made = f"{self.stories} stories, {self.faulted_steps} steps under faults, {self.steps} in all, {self.checks} checks"
        return f"{made}, {self.failed} failed"

    def lines(self) -> list[str]:
        """All counts, one a line."""
        kinds = [kind for kind in KINDS if kind in self.fired or self.fired]
        lines = [f"{self.fired[kind]:>9} {kind}" for kind in kinds]
        lines += [f"{count:>9} {kind}" for kind, count in sorted(self.fired.items()) if kind not in KINDS]
        if self.codes:
            methods = sorted({method for method, _ in self.codes})
            missing = [f"{method} {code}" for method in methods for code in CODES if not self.codes[method, code]]
            told = f"{len(methods)} methods x {len(CODES)} codes, each told {min(self.codes.values()) if not missing else 0} times or more"
            lines.append(told + (f"; never: {', '.join(missing)}" if missing else ""))
        return lines


def trouble(story: Story, *, seed: int, engine: str, tally: Tally | None = None) -> str:
    """What goes wrong first in a story, empty when nothing does."""
    try:
        player = Player(story, engine=engine, seed=seed, lenient=True)
        played = player.play()
    except Exception as problem:
        where = traceback.extract_tb(problem.__traceback__)[-1]
        return f"{type(problem).__name__} in {where.name}: {problem}"
    if tally is not None:
        tally.take(player)
    if played.violations:
        return str(played)
    return "" if played.idle or player.wires is None else "endless: the cluster does not come to rest"


def like(text: str) -> str:
    """A trouble without uids, numbers and times, to compare it with others."""
    return _VARYING.sub("", text.splitlines()[0]) if text else ""


def small_story(story: Story, *, seed: int, engine: str, wanted: str) -> Story:
    """A story shrunk as long as the same thing goes wrong."""
    return shrink(story, lambda one: like(trouble(one, seed=seed, engine=engine)) == like(wanted))


def lines_of(story: Story) -> list[str]:
    """A story as JSON lines: its settings, its faults, its entries."""
    settings = {key: value for key, value in story.items() if key not in ("timeline", "faults")}
    return [json.dumps(line) for line in (settings, *story.get("faults", ()), *story["timeline"])]


def report(story: Story, *, seed: int, engine: str, wanted: str) -> str:
    """A failing seed as a text: what goes wrong, and the small story."""
    small = small_story(story, seed=seed, engine=engine, wanted=wanted)
    return "\n".join([wanted, "shrunk:", *lines_of(small), trouble(small, seed=seed, engine=engine)])


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.run")
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--steps", type=int, default=0)
    parser.add_argument("--actions", type=int, default=60)
    parser.add_argument("--engine", default=ENGINE)
    parser.add_argument("--calm", action="store_true", help="nothing goes wrong")
    parser.add_argument("--everywhere", action="store_true", help="one fault at every step of the stories in tests/scenarios/own")
    parser.add_argument("--no-shrink", action="store_true", help="only say what goes wrong")
    given = parser.parse_args(arguments)
    tally, told_s, name = Tally(), time.process_time(), ""
    for name, seed, story in _stories(given, tally):
        wanted = trouble(story, seed=seed, engine=given.engine, tally=tally)
        if wanted:
            tally.failed += 1
            text = wanted if given.no_shrink else report(story, seed=seed, engine=given.engine, wanted=wanted)
            print(f"{name}: {text}", flush=True)
        if time.process_time() - told_s > PROGRESS_S:
            told_s = time.process_time()
            print(f"up to {name}: {tally}", flush=True)
    print("\n".join([*tally.lines(), f"up to {name}: {tally}, {time.process_time():.0f} s of processor time"]))
    return 1 if tally.failed else 0


def _stories(given: argparse.Namespace, tally: Tally) -> Iterator[tuple[str, int, Story]]:
    """What is to be played: name, seed, story."""
    if given.everywhere:
        yield from ((name, 0, story) for name, story in everywhere(engine=given.engine))
        return
    make: Callable[..., Story] = story_of if given.calm else storm_of
    seed = given.first
    while seed < given.first + given.seeds or tally.faulted_steps < given.steps:
        yield f"seed {seed}", seed, make(seed, actions=given.actions)
        seed += 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
