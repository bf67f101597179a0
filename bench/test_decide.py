"""One pod at a time through Python: decide, then assume. The plain Python twin at a small size stands beside it as the baseline.

native    pods share templates, so a decision looks again at what the last ones changed
rescore   every pod is a template of its own, so every node is filtered and scored
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import pytest

from bench.loading import loaded, native_bytes, note, own_template, place, workload
from bench.sizes import CLUSTERS, Size
from bench.workloads import KINDS

SIZES: Final = CLUSTERS
RESCORED_PODS: Final = 200


@pytest.mark.parametrize("kind", KINDS)
def test_native(benchmark: Any, kind: str, size: Size) -> None:
    _measure(benchmark, "native", kind, size, workload(kind, size).pending)


@pytest.mark.parametrize("kind", KINDS)
def test_rescore(benchmark: Any, kind: str, size: Size) -> None:
    pods = workload(kind, size).pending[:RESCORED_PODS]
    _measure(benchmark, "native", kind, size, [own_template(pod, number) for number, pod in enumerate(pods)])


@pytest.mark.parametrize("kind", KINDS)
def test_reference(benchmark: Any, kind: str, twin_size: Size) -> None:
    _measure(benchmark, "reference", kind, twin_size, workload(kind, twin_size).pending)


def _measure(benchmark: Any, engine_name: str, kind: str, size: Size, pods: Sequence[Any]) -> None:
    engine = loaded(engine_name, workload(kind, size).cluster)
    left = iter(pods)
    placed: list[str | None] = []
    note(benchmark, group=f"{kind}, one pod at a time", unit="pod", nodes=size.nodes, pods=len(pods), engine=engine_name)
    benchmark.pedantic(lambda: placed.append(place(engine, next(left))), rounds=len(pods), iterations=1)
    while len(placed) < len(pods):  # untimed, where benchmarks run once
        placed.append(place(engine, next(left)))
    if engine_name == "native":
        benchmark.extra_info["bytes_engine"] = native_bytes(engine)
    assert any(placed) if kind == "mixed" else all(placed)
