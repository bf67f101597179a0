"""Every plugin of the default profile alone, on the workload `mixed`, half of its pods placed. The twin at a small size is the baseline.

    filter-NAME   a profile with that one filter: the feasible nodes, the first of them taken
    score-NAME    a profile with that one score and no filter but what the score reads

A round decides one pod and assumes it where it fits. Every pod is a template of its own, so each round asks the plugin about every node;
what keeps a plugin from being asked twice is measured by the whole profile (test_decide.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

import pytest

from bench.loading import loaded, note, own_template, place, workload
from bench.sizes import Size, Sizes
from volsched.engine.profile import DEFAULT_FILTERS, DEFAULT_PRE_SCORES, DEFAULT_SCORES, EngineProfile, ScoreWeight

SIZES: Final = Sizes(tiny=Size(50, 12), small=Size(1_000, 400), full=(Size(1_000, 400), Size(5_000, 400)), twin=Size(100, 60))


def _filter(name: str) -> EngineProfile:
    return EngineProfile(pre_filters=(name,), filters=(name,), pre_scores=(), scores=())


def _score(name: str) -> EngineProfile:
    read = (name,) if name in ("VolumeBinding", "DynamicResources") else ()  # their scores read what their filters found
    prepared = (name,) if name in DEFAULT_PRE_SCORES else ()
    return EngineProfile(pre_filters=read, filters=read, pre_scores=prepared, scores=(ScoreWeight(name),))


PROFILES: Final = {
    **{f"filter-{name}": _filter(name) for name in DEFAULT_FILTERS},
    **{f"score-{item.name}": _score(item.name) for item in DEFAULT_SCORES},
}


@lru_cache(maxsize=2)
def _half_full(engine_name: str, size: Size) -> tuple[Any, Sequence[Any]]:
    """An engine with every other pod placed, to be forked, and the others as templates of their own."""
    cluster, pending = workload("mixed", size)
    engine = loaded(engine_name, cluster)
    for pod in pending[::2]:
        place(engine, pod)
    return engine, [own_template(pod, number) for number, pod in enumerate(pending[1::2])]


@pytest.mark.parametrize("plugin", PROFILES)
def test_native(benchmark: Any, plugin: str, size: Size) -> None:
    engine, pods = _half_full("native", size)
    _measure(benchmark, "native", engine.fork(), plugin, size, pods)


@pytest.mark.parametrize("plugin", PROFILES)
def test_reference(benchmark: Any, plugin: str, twin_size: Size) -> None:
    _half_full.cache_clear()  # the twin has no forks: what it assumed is not to be found by the next plugin
    engine, pods = _half_full("reference", twin_size)
    placed = _measure(benchmark, "reference", engine, plugin, twin_size, pods)
    native, pods = _half_full("native", twin_size)
    assert placed == [place(native, pod, profile=PROFILES[plugin]) for pod in pods]


def _measure(benchmark: Any, engine_name: str, engine: Any, plugin: str, size: Size, pods: Sequence[Any]) -> list[str | None]:
    left, placed = iter(pods), []
    note(benchmark, group=plugin, unit="pod", nodes=size.nodes, pods=len(pods), engine=engine_name)
    benchmark.pedantic(lambda: placed.append(place(engine, next(left), profile=PROFILES[plugin])), rounds=len(pods), iterations=1)
    while len(placed) < len(pods):  # untimed, where benchmarks run once
        placed.append(place(engine, next(left), profile=PROFILES[plugin]))
    assert any(placed)
    return placed
