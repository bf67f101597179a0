"""Stories in which the simulation has found a bug, made small: they hold now."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.simulation.player import Player

FOUND = sorted((Path(__file__).parent / "found").glob("*.json"))


@pytest.mark.parametrize("path", FOUND, ids=lambda path: path.stem)
def test_found_story_holds(path: Path) -> None:
    player = Player(json.loads(path.read_text(encoding="utf-8")))
    played = player.play()
    assert not played.violations, str(played)
    assert played.idle
    assert not played.skipped
    if player.wires is not None:
        assert not player.wires.unused(), "a fault that does not take effect tests nothing"
