"""A cluster loaded from columns is the cluster loaded from objects: the same digest, the same order of nodes, the same decisions."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lightkube.models.core_v1 import Pod

from tests.parity.answers import answer
from tests.parity.clusters import Draw
from tests.parity.mixture import Mixture
from volsched.api.columns import Columns, read_columns, write_columns
from volsched.api.defaults import with_defaults
from volsched.api.edit import with_metadata
from volsched.api.kinds import to_manifest
from volsched.api.manifest import from_manifest
from volsched.app.cases import read_lines
from volsched.app.columns import ColumnsBuilder, PendingPods
from volsched.engine import Engine
from volsched.engine.columns import objects as objects_of
from volsched.errors import InputError

GOLDEN = Path(__file__).parent.parent / "data" / "golden"
FAMILIES = sorted(path.name.removesuffix(".jsonl.gz") for path in GOLDEN.glob("decisions-*.jsonl.gz"))


def packed(objects: Sequence[Any]) -> Columns:
    builder = ColumnsBuilder()
    for obj in objects:
        builder.add(to_manifest(obj))
    return builder.columns()


def is_pending(obj: Any) -> bool:
    return isinstance(obj, Pod) and not (obj.spec and obj.spec.nodeName)


def loaded(objects: Sequence[Any], **chosen: Any) -> tuple[Engine, list[Pod]]:
    """An engine with what is not pending, and the pods that are."""
    engine = Engine(**chosen)
    made = [with_defaults(obj) for obj in objects]
    for obj in made:
        if not is_pending(obj):
            engine.upsert(obj)
    return engine, [obj for obj in made if is_pending(obj)]


def compare(objects: Sequence[Any], columns: Columns, **chosen: Any) -> None:
    wanted, pods = loaded(objects, **chosen)
    found = Engine(**chosen)
    batch = found.load(columns)
    assert found.digest() == wanted.digest()
    assert not found.validate()
    assert found.node_names() == wanted.node_names()
    assert [batch.key(at) for at in range(len(batch))] == [(pod.metadata.namespace or "default", pod.metadata.name) for pod in pods]
    assert list(PendingPods(columns, "")) == pods
    result, other = found.schedule_many(batch), wanted.schedule_many(wanted.batch(pods))
    assert [result.node(at) for at in range(len(pods))] == [other.node(at) for at in range(len(pods))]
    assert [result.volumes(at) for at in range(len(pods))] == [other.volumes(at) for at in range(len(pods))]
    assert result.refusals() == other.refusals()
    assert found.digest() == wanted.digest()


def crowd(draw: Draw | Mixture, chance: random.Random, *, copies: int) -> list[Any]:
    """A cluster, and pods of a few templates that wait, all mixed."""
    situation = draw.situation(pods=3)
    pods = [
        with_metadata(pod, name=f"{pod.metadata.name}-{copy}", uid=f"{pod.metadata.name}-{copy}")
        for copy in range(copies)
        for pod in situation.pods
        if pod.metadata is not None
    ]
    objects = [*situation.objects, *pods]
    if chance.randrange(2):
        chance.shuffle(objects)
    return objects


@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(chance=st.randoms(use_true_random=False), nodes=st.integers(1, 6), mixed=st.booleans())
def test_small_clusters(chance: random.Random, nodes: int, mixed: bool) -> None:
    objects = crowd((Mixture if mixed else Draw)(chance, nodes=nodes), chance, copies=2)
    compare(objects, packed(objects))


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("draw", [Draw, Mixture])
def test_large_clusters_through_a_file(draw: type[Draw] | type[Mixture], seed: int, tmp_path: Path) -> None:
    chance = random.Random(f"columns {draw.__name__} {seed}")
    objects = crowd(draw(chance, nodes=130), chance, copies=20)
    write_columns(tmp_path / "cluster.npz", packed(objects))
    compare(objects, read_columns(tmp_path / "cluster.npz"), tie_break="name" if seed % 2 else "first")


@pytest.mark.parametrize("family", FAMILIES)
def test_recorded_clusters(family: str) -> None:
    """Every recorded case that is written as Kubernetes would take it; what is refused as a manifest is refused here too."""
    cases = list(read_lines(GOLDEN / f"{family}.jsonl.gz"))[:60]
    tried = 0
    for case in cases:
        builder = ColumnsBuilder()
        try:
            objects = [from_manifest(value) for value in (*case["objects"], case["pod"])]
        except InputError:
            with pytest.raises(InputError):
                for value in (*case["objects"], case["pod"]):
                    builder.add(value)
                builder.columns()
            continue
        for value in (*case["objects"], case["pod"]):
            builder.add(value)
        columns = builder.columns()
        wanted, pods = loaded(objects)
        found = Engine()
        batch = found.load(columns)
        assert found.digest() == wanted.digest(), case["id"]
        for pod in pods:
            assert answer(found.decide(pod)) == answer(wanted.decide(pod)), case["id"]
        assert len(batch) == len(pods)
        tried += 1
    assert tried * 2 > len(cases)


def test_objects_come_back_as_they_were() -> None:
    chance = random.Random("columns back")
    objects = crowd(Mixture(chance, nodes=20), chance, copies=4)
    for number, obj in enumerate(objects):
        objects[number] = from_manifest(to_manifest(obj))
    found = list(objects_of(packed(objects)))
    by_kind = sorted(objects, key=lambda obj: list(dict.fromkeys(type(o).__name__ for o in objects)).index(type(obj).__name__))
    assert found == [with_defaults(obj) for obj in by_kind]


def test_a_later_object_of_a_name_replaces_the_earlier_one() -> None:
    chance = random.Random("columns again")
    first = Draw(chance, nodes=8).situation(pods=0).objects
    second = Draw(chance, nodes=8).situation(pods=0).objects
    placed = [obj for obj in second if isinstance(obj, Pod)]
    objects = [*first, *second, *(_ended(pod) for pod in placed[::2])]
    wanted, _ = loaded(objects)
    found = Engine()
    found.load(packed(objects))
    assert found.digest() == wanted.digest()


def _ended(pod: Pod) -> Pod:
    made = from_manifest(to_manifest(pod) | {"status": {"phase": "Succeeded"}})
    assert isinstance(made, Pod)
    return made
