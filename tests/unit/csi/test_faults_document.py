"""The examples of docs/faults.md: plans are read, the command serves, Python prints what the document says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from volsched.api import csi
from volsched.csi.client import GrpcClient
from volsched.csi.fault_file import Kind, parse_plan
from volsched.errors import InputError

ROOT = Path(__file__).resolve().parents[3]
DOCUMENT = (ROOT / "docs" / "faults.md").read_text()
ENVIRONMENT = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{os.environ.get('PYTHONPATH', '')}"}


class Block(NamedTuple):
    line: int
    language: str
    text: str
    output: str | None


def blocks() -> list[Block]:
    """Fenced blocks; a `text` block is the output of the one before it."""
    found: list[Block] = []
    for match in re.finditer(r"^```([\w ]+)\n(.*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL):
        if match[1] == "text":
            found[-1] = found[-1]._replace(output=match[2])
        else:
            found.append(Block(DOCUMENT.count("\n", 0, match.start()) + 1, match[1], match[2], None))
    return found


BLOCKS = blocks()


def test_there_is_an_example_of_every_kind() -> None:
    assert {block.language for block in BLOCKS} == {"yaml", "yaml wrong", "sh", "python"}
    faults = [fault for block in BLOCKS if block.language == "yaml" for fault in parse_plan(block.text).faults]
    assert {kind for fault in faults for kind in fault.kinds} == set(Kind)


def test_every_key_is_explained() -> None:
    from volsched.csi.fault_file import _KEYS

    for key in _KEYS:
        assert re.search(rf"^\| .*`{key}`", DOCUMENT, re.MULTILINE), key


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.language == "yaml"], ids=lambda block: f"line-{block.line}")
def test_plan(block: Block) -> None:
    assert parse_plan(block.text).faults


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.language == "yaml wrong"], ids=lambda block: f"line-{block.line}")
def test_mistake(block: Block) -> None:
    with pytest.raises(InputError) as caught:
        parse_plan(block.text)
    assert block.output == f"{caught.value}\n"


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.language == "python"], ids=lambda block: f"line-{block.line}")
def test_python(block: Block) -> None:
    done = subprocess.run([sys.executable, "-c", block.text], env=ENVIRONMENT, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (0, block.output), done.stderr


def test_command(tmp_path: Path) -> None:
    [block] = [block for block in BLOCKS if block.language == "sh"]
    [arguments] = [line.split()[1:] for line in block.text.splitlines() if line.startswith("volsched ")]
    (tmp_path / "faults.yaml").write_text(next(block.text for block in BLOCKS if block.language == "yaml"))
    arguments = [argument.replace("$PWD", str(tmp_path)) for argument in arguments]
    command = [sys.executable, "-c", "from volsched.cli import main; main()", *arguments]
    with subprocess.Popen(command, cwd=tmp_path, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stderr is not None
            assert server.stderr.readline().startswith("serving ")
            with GrpcClient(f"unix://{tmp_path}/csi.sock") as client:
                assert client.call("Probe", csi.ProbeRequest()) == csi.ProbeResponse(ready=True)
            server.terminate()
            assert server.wait(30) == 0
            assert server.stderr.read() == "faults fired: lost-create 0, slow-mounts 0, full 0\n"
        finally:
            server.kill()
