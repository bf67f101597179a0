"""The worked example of docs/pytest.md: every block with a file's name is that file, every command prints what the document says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.codebase.test_readme import ROOT, Block, blocks

BLOCKS = blocks(ROOT / "docs" / "pytest.md")
_NAME = re.compile(r"# (\S+\.(?:py|yaml))\n")


def test_every_block_is_a_file_a_command_or_an_output() -> None:
    assert {block.language for block in BLOCKS} == {"python", "yaml", "sh", "text"}
    assert all(_NAME.match(block.text) for block in BLOCKS if block.language in ("python", "yaml"))
    assert [block.output is None for block in BLOCKS if block.language == "sh"] == [False, False, False]


@pytest.mark.slow
def test_the_example(tmp_path: Path) -> None:
    for block in BLOCKS:
        if named := _NAME.match(block.text):
            (tmp_path / named[1]).write_text(block.text)
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTEST_ADDOPTS": "-p no:cacheprovider -W ignore::pytest.PytestAssertRewriteWarning",  # of an editable install
    }
    for command in (block for block in BLOCKS if block.language == "sh"):
        done = subprocess.run(["bash", "-ec", command.text], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"line {command.line}: {done.stdout}{done.stderr}"
        assert _same(done.stdout, command), f"line {command.line}: {done.stdout}"


def _same(printed: str, command: Block) -> bool:
    """Equal up to what the machine's speed decides."""
    assert command.output is not None
    pattern = re.escape(command.output).replace("…", r".*")
    return re.fullmatch(pattern, printed) is not None


def test_every_option_and_attribute_is_explained() -> None:
    from volsched.testing.driver import CsiDriver, Faults
    from volsched.testing.marks import _OPTIONS

    text = (ROOT / "docs" / "pytest.md").read_text()
    for name in _OPTIONS:
        assert re.search(rf"^\| .*`{name}`", text, re.MULTILINE), name
    public = [name for name in vars(CsiDriver) if not name.startswith("_") and name != "running"]
    for name in [*public, *(f"faults.{name}" for name in vars(Faults) if not name.startswith("_") and name != "text")]:
        assert re.search(rf"`(faults)?\.?{name.removeprefix('faults.')}\b", text), name
