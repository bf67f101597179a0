"""Writes the type stub of the native module, or says whether the committed one is current.

python tests/codebase/stubs.py --write | --check
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
COMMITTED = ROOT / "src" / "volsched" / "engine" / "_core.pyi"


def generate() -> str:
    """A fresh stub of volsched.engine._core, formatted as the project formats Python."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            [sys.executable, "-m", "pybind11_stubgen", "volsched.engine._core", "--output-dir", folder, "--numpy-array-use-type-var"],
            check=True,
            capture_output=True,
            text=True,
        )
        text = (Path(folder) / "volsched" / "engine" / "_core.pyi").read_text()
    formatted = subprocess.run(
        [sys.executable, "-m", "ruff", "format", "--line-length", "140", "--stdin-filename", "_core.pyi", "-"],
        input=text,
        check=True,
        capture_output=True,
        text=True,
    )
    return formatted.stdout


if __name__ == "__main__":
    fresh = generate()
    if "--write" in sys.argv:
        COMMITTED.write_text(fresh)
    elif COMMITTED.read_text() != fresh:
        sys.exit(f"{COMMITTED} is not what pybind11-stubgen writes now; run `make stubs`")
