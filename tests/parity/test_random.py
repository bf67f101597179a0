"""Native and reference decide alike on random clusters, and after every assume and forget."""

from __future__ import annotations

import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.parity.answers import answer
from tests.parity.clusters import Draw, Situation
from tests.parity.profiles import draw_profile
from volsched.api.defaults import with_defaults
from volsched.engine import Engine, SchedulingEngine
from volsched.engine.profile import EngineProfile
from volsched.engine.reference import ReferenceEngine


def _compare(situation: Situation, *, tie_break: str, percentage: int = 100, profile: EngineProfile | None = None) -> int:
    """Decide every pod on both engines and assume what fits; then forget it all and decide once more. Answers how many pods fitted."""
    engines: list[SchedulingEngine] = [
        Engine(tie_break=tie_break, percentage_of_nodes_to_score=percentage, profile=profile),  # type: ignore[arg-type]
        ReferenceEngine(tie_break=tie_break, percentage_of_nodes_to_score=percentage, profile=profile),  # type: ignore[arg-type]
    ]
    objects = [with_defaults(obj) for obj in situation.objects]
    for engine in engines:
        for obj in objects:
            engine.upsert(obj)
    assert engines[0].node_names() == engines[1].node_names()
    pods = [with_defaults(pod) for pod in situation.pods]
    assumed = []
    for pod in pods:
        decisions = [engine.decide(pod) for engine in engines]
        native, reference = (answer(decision) for decision in decisions)
        assert native == reference
        if decisions[0].node is not None:
            assumptions = [engine.assume(decision) for engine, decision in zip(engines, decisions, strict=True)]
            assert assumptions[0].volumes == assumptions[1].volumes
            assumed.append(assumptions)
    for assumptions in assumed:
        for engine, assumption in zip(engines, assumptions, strict=True):
            engine.forget(assumption)
    for pod in pods:
        native, reference = (answer(engine.decide(pod)) for engine in engines)
        assert native == reference
    return len(assumed)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(chance=st.randoms(use_true_random=False), nodes=st.integers(1, 5), tie_break=st.sampled_from(["first", "name", "kube"]))
def test_small_clusters(chance: random.Random, nodes: int, tie_break: str) -> None:
    _compare(Draw(chance, nodes=nodes).situation(pods=2), tie_break=tie_break, percentage=100)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("nodes", [10, 64, 130])  # one word of a node mask, exactly one, two borders crossed
def test_large_clusters(nodes: int, seed: int) -> None:
    situation = Draw(random.Random(f"{nodes} {seed}"), nodes=nodes).situation(pods=8)
    _compare(situation, tie_break="kube", percentage=0 if seed % 2 else 100)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(chance=st.randoms(use_true_random=False), nodes=st.integers(1, 5), tie_break=st.sampled_from(["first", "name", "kube"]))
def test_small_clusters_under_any_profile(chance: random.Random, nodes: int, tie_break: str) -> None:
    draw = Draw(chance, nodes=nodes)
    _compare(draw.situation(pods=2), tie_break=tie_break, profile=draw_profile(draw, rotates=True))


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("nodes", [10, 64, 130])
def test_large_clusters_under_any_profile(nodes: int, seed: int) -> None:
    draw = Draw(random.Random(f"profile {nodes} {seed}"), nodes=nodes)
    _compare(draw.situation(pods=8), tie_break="kube", profile=draw_profile(draw, rotates=True))


def test_some_pods_fit() -> None:
    fitted = [_compare(Draw(random.Random(seed), nodes=20).situation(pods=10), tie_break="first", percentage=100) for seed in range(5)]
    assert all(fitted)
