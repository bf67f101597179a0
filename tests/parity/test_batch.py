"""A batch decides as one pod after the other does, whatever the profile, the tie-break and the share of nodes."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lightkube.models.core_v1 import Pod

from tests.builders import HOSTNAME, make_class, make_node, make_pod, make_pv, make_pvc
from tests.parity.clusters import Draw
from volsched.api.defaults import with_defaults
from volsched.api.edit import with_metadata
from volsched.api.kinds import Object
from volsched.engine import Engine, StaticBinding
from volsched.engine.profile import EngineProfile, ScoreWeight
from volsched.errors import EngineError

PROFILES = (
    EngineProfile(),
    EngineProfile(scores=()),
    EngineProfile(scores=(ScoreWeight("NodeResourcesFit", 5), ScoreWeight("ImageLocality", 2)), percentage_of_nodes_to_score=0),
)


def _loaded(objects: list[Object], **settings: Any) -> Engine:
    engine = Engine(**settings)
    for obj in objects:
        engine.upsert(obj)
    return engine


def _one_by_one(engine: Engine, pods: list[Pod]) -> list[tuple[str | None, Any, str]]:
    """Node, volumes and message of each pod."""
    found = []
    for pod in pods:
        decision = engine.decide(pod)
        plan = engine.assume(decision).volumes if decision.node is not None else None
        found.append((decision.node, plan, decision.error or decision.message()))
    return found


def _compare(objects: list[Object], pods: list[Pod], **settings: Any) -> None:
    single, many = _loaded(objects, **settings), _loaded(objects, **settings)
    wanted = _one_by_one(single, pods)
    batch = many.batch(pods)
    result = many.schedule_many(batch, count=len(pods) // 2)
    assert result.advance(len(pods)) == len(pods) == result.attempted
    messages = {refusal.pod: refusal.message for refusal in result.refusals()}
    assert wanted == [
        (result.node(at), result.volumes(at) if result.node(at) is not None else None, messages.get(at, "")) for at in range(len(pods))
    ]
    assert result.scheduled == sum(node is not None for node, _, _ in wanted)
    assert many.digest() == single.digest()
    assert not many.validate()
    for at in random.Random(len(pods)).sample(range(len(pods)), len(pods)):
        if result.node(at) is not None:
            result.forget(at)
    assert many.digest() == _loaded(objects, **settings).digest()


def _crowd(chance: random.Random, *, nodes: int, templates: int, copies: int) -> tuple[list[Object], list[Pod]]:
    situation = Draw(chance, nodes=nodes).situation(pods=templates)
    pods = [
        with_defaults(with_metadata(pod, name=f"{pod.metadata.name}-{copy}", uid=f"{pod.metadata.name}-{copy}"))
        for copy in range(copies)
        for pod in situation.pods
        if pod.metadata is not None
    ]
    chance.shuffle(pods)
    return [with_defaults(obj) for obj in situation.objects], pods


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(
    chance=st.randoms(use_true_random=False),
    nodes=st.integers(1, 6),
    tie_break=st.sampled_from(["first", "name", "kube", "random"]),
    profile=st.sampled_from(PROFILES),
)
def test_small_clusters(chance: random.Random, nodes: int, tie_break: str, profile: EngineProfile) -> None:
    objects, pods = _crowd(chance, nodes=nodes, templates=3, copies=3)
    _compare(objects, pods, tie_break=tie_break, profile=profile, seed=5)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("nodes", [64, 130])
def test_large_clusters(nodes: int, seed: int) -> None:
    objects, pods = _crowd(random.Random(f"batch {nodes} {seed}"), nodes=nodes, templates=6, copies=12)
    _compare(objects, pods, tie_break="name" if seed % 2 else "first", profile=PROFILES[0 if seed < 6 else 2])


def test_pods_made_from_a_template() -> None:
    names = [f"n{number}" for number in range(3)]
    objects: list[Object] = [
        *(make_node(name, labels={HOSTNAME: name}) for name in names),
        *(make_pv(f"pv-{name}", node=name, phase="Available") for name in names),
        *(make_pvc(f"c{number}") for number in range(4)),
        make_class(provisioner="kubernetes.io/no-provisioner"),
    ]
    engine = _loaded([with_defaults(obj) for obj in objects])
    batch = engine.batch()
    batch.repeat(with_defaults(make_pod("any", claims=["data"])), list("pqrs"), claims={"data": ["c0", "c1", "c2", "c3"]})
    assert (len(batch), batch.templates, batch.key(3)) == (4, 1, ("default", "s"))
    result = engine.schedule_many(batch)
    assert sorted(result.nodes.tolist()) == [-1, 0, 1, 2]
    for at in range(3):
        assert result.volumes(at).bind == (StaticBinding(f"default/c{at}", f"pv-{result.node(at)}"),)
    (refusal,) = result.refusals()
    assert (refusal.pod, refusal.is_error) == (3, False)
    assert refusal.message == "0/3 nodes are available: 3 node(s) didn't find available persistent volumes to bind."


def test_what_is_refused() -> None:
    engine = _loaded([with_defaults(make_node("n"))])
    pod = with_defaults(make_pod("p"))
    batch = engine.batch([pod])
    with pytest.raises(EngineError, match="pod default/p is in the batch already"):
        batch.extend([pod])
    with pytest.raises(EngineError, match="2 uids are given for 1 pods"):
        batch.repeat(pod, ["q"], uids=["a", "b"])
    with pytest.raises(EngineError, match="no persistentVolumeClaim volume named data"):
        batch.repeat(pod, ["q"], claims={"data": ["c"]})
    with pytest.raises(EngineError, match="another engine"):
        _loaded([]).schedule_many(batch)
    with pytest.raises(EngineError, match="built-in plugins only"):
        engine.schedule_many(batch, profile=EngineProfile(filters=(*EngineProfile().filters, "Mine")))
    result = engine.schedule_many(batch)
    assert result.node(0) == "n"
    with pytest.raises(EngineError, match="pod default/p is assumed or counted on a node already"):
        engine.schedule_many(batch)
    result.forget(0)
    with pytest.raises(EngineError, match="forgotten already"):
        result.forget(0)
    with pytest.raises(EngineError, match="pod 1 of the batch has not been tried; 1 have"):
        result.volumes(1)
    assert engine.schedule_many(batch).scheduled == 1
    engine.upsert(with_defaults(make_node("m")))
    with pytest.raises(EngineError, match="a node came or went since"):
        _ = result.nodes
