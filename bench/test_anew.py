"""What a decision about a pod of an unknown template is made of: each part takes in the ones before it.

    rows      the pod's object as what the engine is given of it, in Cython
    filter    + the template compiled and every node filtered
    score     + every node scored: columns for requests that no pod had before, and the column of totals
    decide    + a ranking of the nodes, by which the next pod of the template is decided without looking at them again

Baseline: the totals of a template that is known, `known`, which is a pass over all nodes and nothing else.
"""

from __future__ import annotations

import itertools
from functools import cache
from typing import Any, Final

import numpy as np
import pytest

from bench.loading import loaded, note, own_template, workload
from bench.sizes import Size, Sizes
from volsched.engine import _rows

SIZES: Final = Sizes(tiny=Size(20, 6), small=Size(1_000, 40), full=(Size(5_000, 40),), twin=Size(20, 6))
KINDS: Final = ("plain", "bound", "dynamic", "zonal")
PARTS: Final = ("rows", "filter", "score", "decide")
ROUNDS: Final = 200


@cache
def _standing(kind: str, size: Size) -> Any:
    return loaded("native", workload(kind, size).cluster)


def _ask(engine: Any, part: str, pod: Any) -> Any:
    if part == "rows":
        return _rows.program_row(pod), _rows.instance_row(pod)
    if part == "filter":
        return engine._filtered(pod, None, None)  # what `filter` does, without the names and reasons of all refused nodes
    return getattr(engine, part)(pod)


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("kind", KINDS)
def test_unknown(benchmark: Any, kind: str, part: str, size: Size) -> None:
    engine, pod = _standing(kind, size).fork(), workload(kind, size).pending[0]
    numbers = itertools.count()
    note(benchmark, group=f"{kind}, unknown template", unit="pod", nodes=size.nodes, engine="native")
    answer = benchmark.pedantic(
        lambda made: _ask(engine, part, made), setup=lambda: ((own_template(pod, next(numbers)),), {}), rounds=ROUNDS
    )
    mask = engine.decide(pod).mask()
    if part == "filter":
        assert np.array_equal(answer.feasible_mask(), mask)
    elif part == "score":
        assert np.array_equal(answer >= 0, mask)
    elif part == "decide":
        assert np.array_equal(answer.mask(), mask)


@pytest.mark.parametrize("kind", KINDS)
def test_known(benchmark: Any, kind: str, size: Size) -> None:
    engine, pod = _standing(kind, size).fork(), workload(kind, size).pending[0]
    first = engine.score(pod)
    note(benchmark, group=f"{kind}, unknown template", unit="pod", nodes=size.nodes, engine="native")
    assert np.array_equal(benchmark.pedantic(engine.score, args=(pod,), rounds=ROUNDS), first)
