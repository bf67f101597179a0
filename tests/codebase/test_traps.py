"""Every trap of the specification has a test of its number."""

from __future__ import annotations

import ast
import re
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "tests" / "parity" / "traps"


def _stated() -> set[int]:
    """The numbers in the table of section 13."""
    text = (ROOT / "docs" / "spec" / "scheduling.md").read_text()
    section = text.split("\n## 13. Traps\n")[1].split("\n## ")[0]
    return {int(number) for number in re.findall(r"^\| (\d+) \|", section, re.MULTILINE)}


def _tests() -> dict[str, list[str]]:
    """Name of a trap's test -> the parameters it takes."""
    found: dict[str, list[str]] = {}
    for path in sorted(FOLDER.rglob("test_*.py")):
        for item in ast.parse(path.read_text()).body:
            if isinstance(item, ast.FunctionDef) and item.name.startswith("test_"):
                assert item.name not in found, f"two tests are called {item.name}"
                found[item.name] = [argument.arg for argument in item.args.args]
    return found


def test_every_trap_is_tested() -> None:
    assert _stated() == set(range(1, 66))
    names = _tests()
    numbered = {name: re.fullmatch(r"test_trap_(\d\d)_[a-z0-9_]+", name) for name in names}
    assert not [name for name, match in numbered.items() if match is None]
    tested = Counter(int(match[1]) for match in numbered.values() if match is not None)
    assert set(tested) == _stated()


def test_on_every_engine() -> None:
    assert not [name for name, parameters in _tests().items() if "engine" not in parameters]
