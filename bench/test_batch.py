"""Many pods in one native call, in one piece and by chunks. Baselines: the same pods one at a time through Python, and the twin, small.

A round places all pods of the workload on a fresh fork of the loaded engine; compiling the batch belongs to loading and is not timed.
"""

from __future__ import annotations

from typing import Any, Final

import pytest

from bench.loading import loaded, note, place, workload
from bench.sizes import CLUSTERS, Size
from bench.workloads import KINDS

SIZES: Final = CLUSTERS
CHUNKS: Final = {"whole": None, "by_100": 100, "by_1": 1}
ROUNDS: Final = 5


def _group(kind: str) -> str:
    return f"{kind}, in a batch"


@pytest.mark.parametrize("chunk", CHUNKS)
@pytest.mark.parametrize("kind", KINDS)
def test_native(benchmark: Any, kind: str, size: Size, chunk: str) -> None:
    cluster, pending = workload(kind, size)
    engine, step = loaded("native", cluster), CHUNKS[chunk] or len(pending)

    def fresh() -> tuple[tuple[Any, Any], dict[str, Any]]:
        fork = engine.fork()
        return (fork, fork.batch(pending)), {}

    def run(fork: Any, batch: Any) -> Any:
        result = fork.schedule_many(batch, count=0)
        while result.attempted < len(pending):
            result.advance(step)
        return result

    note(benchmark, group=_group(kind), unit="pod", units=len(pending), nodes=size.nodes, engine="native")
    result = benchmark.pedantic(run, setup=fresh, rounds=ROUNDS, iterations=1)
    benchmark.extra_info["bytes_batch"] = result.batch.bytes_used
    assert result.attempted == len(pending)
    if chunk == "whole":  # the answer is that of the pods one by one
        assert [result.node(at) for at in range(len(pending))] == _place(engine.fork(), pending)


@pytest.mark.parametrize("kind", KINDS)
def test_one_by_one(benchmark: Any, kind: str, size: Size) -> None:
    cluster, pending = workload(kind, size)
    engine = loaded("native", cluster)
    note(benchmark, group=_group(kind), unit="pod", units=len(pending), nodes=size.nodes, engine="native")
    placed = benchmark.pedantic(_place, setup=lambda: ((engine.fork(), pending), {}), rounds=ROUNDS, iterations=1)
    assert len(placed) == len(pending)


@pytest.mark.parametrize("kind", KINDS)
def test_reference(benchmark: Any, kind: str, twin_size: Size) -> None:
    cluster, pending = workload(kind, twin_size)
    note(benchmark, group=_group(kind), unit="pod", units=len(pending), nodes=twin_size.nodes, engine="reference")
    placed = benchmark.pedantic(_place, args=(loaded("reference", cluster), pending), rounds=1, iterations=1)
    assert len(placed) == len(pending)


def _place(engine: Any, pods: tuple[Any, ...]) -> list[str | None]:
    return [place(engine, pod) for pod in pods]
