"""Every engine decides what kube-scheduler decided, on every recorded case."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.parity.compare import difference
from tests.parity.engines import ENGINES
from volsched.app.cases import read_lines, verdict

GOLDEN = Path(__file__).parent.parent / "data" / "golden"
FAMILIES = sorted(path.name.removesuffix(".jsonl.gz") for path in GOLDEN.glob("*.jsonl.gz"))


def test_families_are_there() -> None:
    assert len(FAMILIES) >= 24


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("engine", ENGINES)
def test_recorded_decisions(engine: str, family: str) -> None:
    cases = list(read_lines(GOLDEN / f"{family}.jsonl.gz"))
    differing = {case["id"]: found for case in cases if (found := difference(case, verdict(case, ENGINES[engine]))) is not None}
    assert not differing, f"{len(differing)} of {len(cases)} cases differ"
