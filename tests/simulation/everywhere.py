"""One fault in every place: each step of a story without faults is, in turn, where something goes wrong.

    story ──played once──> steps by process, calls by driver and method ──> as many stories with one fault

A storm meets a step by chance; here no step of a story is left out: between any two writes a process has died, every write has been refused
and has had its answer lost, every call has met a driver that died before and after the deed.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from tests.simulation.player import ENGINE, Player

Entry = dict[str, Any]

STORIES: Final = sorted((Path(__file__).parents[1] / "scenarios" / "own").glob("*.json"))
DOWN_S: Final = 2.0
ACTS: Final[tuple[Entry, ...]] = (
    {"do": "dies-before", "down": DOWN_S},
    {"do": "dies-after", "down": DOWN_S},
    {"do": "conflict"},
    {"do": "refused"},
    {"do": "lost"},
)
CALLS: Final[tuple[Entry, ...]] = (
    {"loseAnswer": "DEADLINE_EXCEEDED"},
    {"error": "INTERNAL"},
    {"error": "UNAVAILABLE"},
    {"crash": "before"},
    {"crash": "after"},
)


def single_faults(story: Entry, *, engine: str = ENGINE) -> list[Entry]:
    """Every fault of one step that a story has room for, in the order of processes and methods."""
    player = Player(story | {"faults": []}, engine=engine, lenient=True)
    player.play()
    assert player.wires is not None
    steps = sorted(player.wires.acts_of_processes().items())
    calls = Counter((call.driver, call.method.rpartition("/")[2]) for call in player.cluster.csi_calls)
    found: list[Entry] = []
    for process, count in steps:
        found += [{"on": "act", "process": process, "nth": nth} | what for nth in range(1, count + 1) for what in ACTS]
    for (driver, rpc), count in sorted(calls.items()):
        found += [{"on": "csi", "driver": driver, "rpc": rpc, "nth": nth} | what for nth in range(1, count + 1) for what in CALLS]
    return found


def everywhere(*, engine: str = ENGINE) -> Iterator[tuple[str, Entry]]:
    """(name, story with one fault) for every fault of every story of our own, to the end and the teardown of everything."""
    for path in STORIES:
        story: Entry = json.loads(path.read_text(encoding="utf-8")) | {"teardown": True}
        for fault in single_faults(story, engine=engine):
            yield path.stem, story | {"faults": [fault]}
