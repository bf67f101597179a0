"""Every suite of bench/ runs at its smallest size and gets the answers it asserts; nothing is timed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from bench.sizes import CLUSTERS, SCALES, Sizes

ROOT = Path(__file__).resolve().parents[3]


def test_every_suite_passes_at_its_smallest_size() -> None:
    command = [sys.executable, "-m", "pytest", "bench", "--scale", "tiny", "--benchmark-disable", "-rA", "-q", "-p", "no:cacheprovider"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}  # of a worker of this run
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    passed = Counter(re.findall(r"^PASSED bench/(\w+)\.py", done.stdout, re.MULTILINE))
    assert passed.keys() == {path.stem for path in (ROOT / "bench").glob("test_*.py")}


@pytest.mark.parametrize("scale", SCALES)
def test_sizes_ascend_from_scale_to_scale(scale: str) -> None:
    assert list(CLUSTERS.at(scale)) == sorted(CLUSTERS.at(scale))
    assert CLUSTERS.at(scale)[-1] <= CLUSTERS.full[-1]


def test_slow_baseline_has_a_size_of_its_own_but_where_all_is_tiny() -> None:
    sizes = Sizes(tiny=1, small=10, full=(10, 100), twin=5)
    assert [sizes.twin_at(scale) for scale in SCALES] == [1, 5, 5]
