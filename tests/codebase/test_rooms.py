"""The shape of the house, checked: imports go down only, the core knows no Python, files stay readable, nothing is canned."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import volsched

ROOT = Path(__file__).parents[2]
SOURCES = sorted(p for p in (ROOT / "src").rglob("*.py") if "_pb" not in p.parts)
NATIVE = sorted(p for p in (ROOT / "native").rglob("*") if p.suffix in (".cpp", ".hpp"))
LINES_MAX = 800


def test_imports_go_down_only() -> None:
    done = subprocess.run(
        [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_core_knows_no_python() -> None:
    offenders = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in NATIVE
        if "bindings" not in path.parts
        for number, line in enumerate(path.read_text().splitlines(), start=1)
        if re.search(r"#\s*include\s*[<\"](Python\.h|pybind11|numpy)", line)
    ]
    assert not offenders


@pytest.mark.parametrize("folder", ["src", "native", "tests", "bench"])
def test_files_stay_readable(folder: str) -> None:
    long = {
        str(path.relative_to(ROOT)): count
        for path in sorted((ROOT / folder).rglob("*"))
        if path.suffix in (".py", ".pyx", ".cpp", ".hpp") and "_pb" not in path.parts
        if (count := len(path.read_text().splitlines())) > LINES_MAX
    }
    assert not long


def test_version_is_said_once_more_only_here() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["project"]["version"] == volsched.__version__


def _story_words() -> set[str]:
    """Names of claims, pods, snapshots, classes, nodes' zones and whole messages of the recorded stories."""
    words: set[str] = set()
    for path in sorted((ROOT / "tests" / "data" / "stories").glob("*.json")):
        story = json.loads(path.read_text())
        for entry in story["timeline"]:
            labels = ((entry.get("do") or {}).get("body") or {}).get("metadata", {}).get("labels", {})
            words |= {value for key, value in labels.items() if "zone" in key or "region" in key}
        words |= {event["message"] for event in story["events"] if re.search(r"\d+ (node|Insuff)", event["message"])}
    return words


def test_nothing_is_canned() -> None:
    words = _story_words()
    assert words, "the stories have to be there for this test to mean anything"
    text = "\n".join(path.read_text() for path in SOURCES) + "\n".join(path.read_text() for path in NATIVE)
    assert not [word for word in sorted(words) if word in text]
