"""Native and reference decide alike on random clusters, and after every assume and forget."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.parity.clusters import Draw, Situation
from volsched.api.defaults import with_defaults
from volsched.engine import Decision, Engine, SchedulingEngine
from volsched.engine.reference import ReferenceEngine


def answer_of(decision: Decision) -> dict[str, Any]:
    """Everything a decision says."""
    said: dict[str, Any] = {
        "error": decision.error is not None,
        "prefilter": decision.prefilter,
        "node": decision.node,
        "message": decision.message(),
        "plugins": decision.rejecting_plugins(),
    }
    if decision.error is None and decision.prefilter is None:
        said["feasible"] = decision.feasible()
        said["rejected"] = dict(sorted(decision.rejected().items()))
        said["volumes"] = {node: decision.volumes(node) for node in decision.feasible()}
        if decision.feasible():
            scores = decision.scores()
            # a plugin that counts nothing may be left out
            said["scores"] = {node: {plugin: score for plugin, score in own.items() if score} for node, own in sorted(scores.items())}
            said["totals"] = dict(sorted(decision.totals().items()))
            said["best"] = decision.best()
    return said


def _compare(situation: Situation, *, tie_break: str, percentage: int) -> int:
    """Decide every pod on both engines and assume what fits; then forget it all and decide once more. Answers how many pods fitted."""
    engines: list[SchedulingEngine] = [
        Engine(tie_break=tie_break, percentage_of_nodes_to_score=percentage),  # type: ignore[arg-type]
        ReferenceEngine(tie_break=tie_break, percentage_of_nodes_to_score=percentage),  # type: ignore[arg-type]
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
        native, reference = (answer_of(decision) for decision in decisions)
        assert native == reference
        if decisions[0].node is not None:
            assumptions = [engine.assume(decision) for engine, decision in zip(engines, decisions, strict=True)]
            assert assumptions[0].volumes == assumptions[1].volumes
            assumed.append(assumptions)
    for assumptions in assumed:
        for engine, assumption in zip(engines, assumptions, strict=True):
            engine.forget(assumption)
    for pod in pods:
        native, reference = (answer_of(engine.decide(pod)) for engine in engines)
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


def test_some_pods_fit() -> None:
    fitted = [_compare(Draw(random.Random(seed), nodes=20).situation(pods=10), tie_break="first", percentage=100) for seed in range(5)]
    assert all(fitted)
