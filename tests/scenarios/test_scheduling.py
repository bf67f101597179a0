"""The scheduling scenarios in scheduling/*.txt, through every engine.

VOLSCHED_REWRITE=1 writes what happened; read the diff, then commit it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.scenarios.scheduling import Block, Scene, read_blocks, write_blocks
from tests.simulation.player import ENGINE
from volsched.app.engines import make_engine

FILES = sorted((Path(__file__).parent / "scheduling").glob("*.txt"))
ENGINES = ("reference",) if ENGINE == "reference" else ("native", "reference")


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_scenario(path: Path, engine: str) -> None:
    scene = Scene(make_engine(engine, tie_break="name"))
    blocks = read_blocks(path)
    answers = [scene.run(block.commands) for block in blocks]
    if os.environ.get("VOLSCHED_REWRITE"):
        write_blocks(path, [block.text(answer) for block, answer in zip(blocks, answers, strict=True)])
        return
    for block, answer in zip(blocks, answers, strict=True):
        assert answer == block.expected, block.text(answer)
    assert not scene.cache.check()


def test_a_rewritten_file_reads_the_same(tmp_path: Path) -> None:
    for path in FILES:
        blocks = read_blocks(path)
        write_blocks(tmp_path / path.name, [block.text(block.expected) for block in blocks])
        assert (tmp_path / path.name).read_text() == path.read_text()


@pytest.mark.parametrize("read", [read_blocks])
def test_a_block_without_a_separator_is_refused(tmp_path: Path, read: Callable[[Path], list[Block]]) -> None:
    path = tmp_path / "broken.txt"
    path.write_text("node n1\nschedule default/web\n")
    with pytest.raises(ValueError, match=r"a block has no ----: node n1"):
        read(path)
