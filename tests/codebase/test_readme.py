"""Every code block of the README and of the guides runs, in order, in one folder each, and prints what it says it prints.

A `python` block is a script, a `sh` block a shell script; a `text` block right after one is its output. `make …` lines are jobs of the
checkout: those that would run this test again are checked to be what `.ci/run` runs.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    line: int
    language: str
    text: str
    output: str | None


def blocks(path: Path) -> list[Block]:
    text = path.read_text()
    found: list[Block] = []
    end = 0
    for match in _FENCE.finditer(text):
        line = text.count("\n", 0, match.start()) + 1
        between = text[end : match.start()].strip()
        end = match.end()
        if match[1] == "text" and found and not between.count("\n\n") and found[-1].output is None and len(between) < 40:
            found[-1] = found[-1]._replace(output=match[2])
        else:
            found.append(Block(line, match[1], match[2], None))
    return found


README_BLOCKS = blocks(ROOT / "README.md")
GUIDES = ("README.md", "docs/custom-schedulers.md", "docs/replay.md")


def test_the_readme_has_examples_of_every_kind() -> None:
    assert {"sh", "python"} <= {block.language for block in README_BLOCKS}
    assert not [block.line for block in README_BLOCKS if block.language not in ("sh", "python", "text", "")]


def test_the_test_command_is_the_one_ci_runs() -> None:
    assert any("make test" in block.text for block in README_BLOCKS if block.language == "sh")
    assert re.search(r"^\S* ?make test$", (ROOT / ".ci" / "run").read_text(), re.MULTILINE)


@pytest.mark.parametrize("guide", GUIDES)
def test_every_block_runs_and_prints_what_it_says(guide: str, tmp_path: Path) -> None:
    """In one folder, with the examples beside it, because later blocks build on earlier ones."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": "",
        "NO_COLOR": "1",
        "COLUMNS": "120",
    }
    for block in blocks(ROOT / guide):
        if block.language == "python":
            command = [sys.executable, "-c", block.text]
        elif block.language == "sh":
            lines = [line for line in block.text.splitlines() if not line.startswith(("make ", "pip "))]
            command = ["bash", "-euo", "pipefail", "-c", "\n".join(lines)]
        else:
            continue
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, f"block at line {block.line}: {done.stderr}"
        if block.output is not None:
            assert _same(done.stdout, block.output), f"block at line {block.line} printed:\n{done.stdout}"


def _same(printed: str, written: str) -> bool:
    """Equal up to trailing blanks; a line `…` in the README stands for any number of lines."""
    pattern = "".join(r"(?:.*\n)*?" if line.strip() == "…" else re.escape(line.rstrip()) + r"\s*\n" for line in written.splitlines())
    return re.fullmatch(pattern, "".join(line.rstrip() + "\n" for line in printed.splitlines())) is not None
