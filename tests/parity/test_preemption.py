"""Native and reference preempt alike in random crowded clusters."""

from __future__ import annotations

import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.parity.crowded import THEMES, Crowd
from tests.parity.preempting import outcome
from volsched.engine import Engine
from volsched.engine.reference import ReferenceEngine


def _compare(crowd: Crowd) -> dict[str, object]:
    situation = crowd.crowd()
    (pod,) = situation.pods
    native = outcome(Engine(), situation.objects, pod)
    assert native == outcome(ReferenceEngine(), situation.objects, pod)
    return native


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(chance=st.randoms(use_true_random=False), nodes=st.integers(1, 4), theme=st.sampled_from(THEMES))
def test_small_clusters(chance: random.Random, nodes: int, theme: str) -> None:
    _compare(Crowd(chance, nodes=nodes, theme=theme))


@pytest.mark.parametrize("theme", THEMES)
def test_each_theme(theme: str) -> None:
    said = [_compare(Crowd(random.Random(f"{theme} {seed}"), nodes=5, theme=theme)) for seed in range(25)]
    # each theme reaches dry runs that end in candidates, and ones that do not
    assert any(answer.get("candidates") for answer in said)
    assert any(answer.get("tried") for answer in said)


@pytest.mark.parametrize("theme", THEMES)
def test_across_the_word_borders_of_a_mask(theme: str) -> None:
    _compare(Crowd(random.Random(theme), nodes=130, theme=theme))
