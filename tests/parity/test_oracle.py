"""Engines against kube-scheduler's own code, asked about random clusters (`tests.parity.oracle`).

Run by `make test-oracle`, which builds the oracle program with Go and names it in VOLSCHED_ORACLE; anywhere else this is skipped. Longer
runs over other seeds: `python -m tests.parity.oracle`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.builders import make_capacity, make_class, make_csidriver, make_node, make_pod, make_pvc
from tests.parity.oracle import (
    ASKS_TO_BELIEVE,
    Oracle,
    Tally,
    answered,
    compare,
    compared,
    is_trusted,
    mixed_case,
    profile_case,
    read,
)
from volsched.api.kinds import to_manifest
from volsched.app.engines import ENGINES

PROGRAM = os.environ.get("VOLSCHED_ORACLE", "")
CASES = 50

pytestmark = pytest.mark.skipif(not PROGRAM, reason="the oracle is not built: `make test-oracle` builds it, with Go, and runs this")


@pytest.fixture
def oracle() -> Iterator[Oracle]:
    with Oracle(PROGRAM) as running:
        yield running


@pytest.fixture
def doubting() -> Iterator[Oracle]:
    with Oracle(PROGRAM, asks=ASKS_TO_BELIEVE) as running:
        yield running


@pytest.mark.parametrize("first", range(0, 300, CASES))
@pytest.mark.parametrize("make", [mixed_case, profile_case])
def test_random_clusters(oracle: Oracle, doubting: Oracle, make: Callable[[int], dict[str, Any]], first: int) -> None:
    tally, found = Tally(), {}
    for case, said in answered(oracle, map(make, range(first, first + CASES))):
        tally.count(said, case["id"])
        if is_trusted(said) and (wrong := compared(case, said, ENGINES, doubting)):
            found[case["id"]] = wrong
    assert not found, tally.text()
    assert tally.trusted > 9 * CASES // 10, tally.text()
    assert tally.outcomes["several fit"] > CASES // 5, tally.text()


def test_a_difference_is_told(oracle: Oracle) -> None:
    case = {"id": "one", "objects": [to_manifest(make_node("n1")), to_manifest(make_node("n2", cpu="4"))], "pod": to_manifest(make_pod())}
    said = oracle.ask(case)
    assert compare(read(case), said, "native") is None
    for wrong in ({"best": ["n2"]}, {"order": ["n2", "n1"]}, {"choice": {"node": "n2", "evaluated": 2, "feasible": 2}}):
        found = compare(read(case), {**said, **wrong}, "native")
        assert found is not None and found.startswith(next(iter(wrong)))


def test_the_oracle_survives_input_that_its_scheduler_dies_on(oracle: Oracle) -> None:
    storage = [make_class(), make_csidriver(storage_capacity=True), make_pvc()]
    # scoring reads the capacity, of which there is none beside the maximum
    objects = [to_manifest(obj) for obj in (make_node("n1"), *storage, make_capacity(capacity=None, maximum="1Ti", where={}))]
    deadly = {"id": "deadly", "objects": objects, "pod": to_manifest(make_pod(claims=["data"]))}
    assert oracle.ask(deadly) == {"dead": True}
    harmless = {"id": "harmless", "objects": objects[:1], "pod": to_manifest(make_pod())}
    assert oracle.ask(harmless)["feasible"] == ["n1"]
    unreadable = {"id": "unreadable", "objects": [{"apiVersion": "v1", "kind": "Nonsense"}], "pod": to_manifest(make_pod())}
    assert "Nonsense" in oracle.ask(unreadable)["refused"]
