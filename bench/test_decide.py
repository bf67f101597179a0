"""One pod at a time through Python: decide, then assume. The plain Python twin at a small size stands beside it as the baseline."""

from __future__ import annotations

from typing import Any

import pytest

from bench.workloads import KINDS, objects
from volsched.app.engines import make_engine

SIZES = ((100, 80), (1000, 800), (5000, 4000))


def _loaded(engine_name: str, kind: str, nodes: int, pods: int) -> tuple[Any, list[Any]]:
    engine = make_engine(engine_name)
    pending = []
    for obj in objects(kind, nodes, pods):
        if obj.kind == "Pod":
            pending.append(obj)
        else:
            engine.upsert(obj)
    return engine, pending


@pytest.mark.parametrize(("nodes", "pods"), SIZES, ids=lambda value: str(value))
@pytest.mark.parametrize("kind", KINDS)
def test_native(benchmark: Any, kind: str, nodes: int, pods: int) -> None:
    _measure(benchmark, "native", kind, nodes, pods)


@pytest.mark.parametrize("kind", KINDS)
def test_reference(benchmark: Any, kind: str) -> None:
    _measure(benchmark, "reference", kind, 100, 20)


def _measure(benchmark: Any, engine_name: str, kind: str, nodes: int, pods: int) -> None:
    engine, pending = _loaded(engine_name, kind, nodes, pods)
    left = iter(pending)
    placed = []

    def place() -> None:
        decision = engine.decide(next(left))
        engine.assume(decision)
        placed.append(decision.node)

    benchmark.group = f"{kind}, one pod at a time"
    benchmark.extra_info |= {"nodes": nodes, "pods": pods, "engine": engine_name}
    benchmark.pedantic(place, rounds=len(pending), iterations=1)
    assert len(placed) == len(pending)
    assert all(placed)
