"""The command line as tests use it: one call after the other on one state file, each with a fresh process' view of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from click.testing import CliRunner

from volsched.api.kinds import to_manifest
from volsched.cli import cli

EXAMPLES = Path(__file__).parents[3] / "examples"
STORY = EXAMPLES / "main-story"


class Answer(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()

    @property
    def value(self) -> Any:
        return json.loads(self.out)


class Shell:
    """`volsched` in a folder, with `state.db` there as its state file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state = folder / "state.db"
        self._runner = CliRunner()
        self._files = 0

    def __call__(self, *words: str | Path, stdin: str | bytes | None = None, code: int | None = 0) -> Answer:
        """Run a command in this process; its exit code has to be `code` (None: any)."""
        result = self._runner.invoke(
            cli, [str(word) for word in words], input=stdin, env={"VOLSCHED_STATE": str(self.state)}, prog_name="volsched"
        )
        answer = Answer(result.exit_code, result.stdout, result.stderr)
        assert code is None or answer.code == code, answer
        return answer

    def process(self, *words: str | Path, stdin: bytes = b"", code: int | None = 0) -> Answer:
        """Run a command in a process of its own."""
        done = subprocess.run(
            [*COMMAND, *map(str, words)], input=stdin, capture_output=True, env=self.environment(), timeout=120, check=False
        )
        answer = Answer(done.returncode, done.stdout.decode(), done.stderr.decode())
        assert code is None or answer.code == code, answer
        return answer

    def environment(self, **more: str) -> dict[str, str]:
        path = os.pathsep.join(path for path in sys.path if path)
        return {**os.environ, "PYTHONPATH": path, "VOLSCHED_STATE": str(self.state), **more}

    def file(self, *objects: Any) -> Path:
        """A manifest of objects: Structs or plain dicts."""
        self._files += 1
        path = self.folder / f"manifest-{self._files}.json"
        path.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": [manifest(obj) for obj in objects]}))
        return path

    def text(self, name: str, content: str | bytes) -> Path:
        """A file of some text."""
        path = self.folder / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def apply(self, *objects: Any, options: Sequence[str] = ()) -> Answer:
        """Apply objects."""
        return self("apply", "-f", self.file(*objects), *options)

    def story(self, *chapters: str) -> Answer:
        """Apply chapters of the shipped main story."""
        files = [word for chapter in chapters for path in sorted(STORY.glob(f"{chapter}-*.yaml")) for word in ("-f", path)]
        return self("apply", *files)

    def get(self, *words: str) -> Any:
        """`get … -o json`, decoded."""
        return self("get", *words, "-o", "json").value

    @property
    def content(self) -> bytes:
        """The state file, byte for byte."""
        return self.state.read_bytes()


COMMAND = (sys.executable, "-c", "from volsched.cli import main; main()")


def manifest(obj: Any) -> Any:
    """An object as a user would write it down."""
    if isinstance(obj, dict):
        return obj
    return to_manifest(obj)
