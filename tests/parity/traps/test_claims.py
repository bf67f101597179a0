"""Traps 1 to 5, 30, 31, 63, 64: what a pod's claims have to be before any node is looked at."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
from lightkube.models.core_v1 import PersistentVolumeClaimSpec

from tests.builders import make_class, make_node, make_owner, make_pod, make_pv, make_pvc
from tests.parity.engines import ENGINES
from tests.parity.preempting import Stand
from tests.parity.situations import decide, every_engine, reasons
from tests.parity.storage import DYNAMIC, GONE, IMMEDIATE, LOCAL, NODES, RWOP, free
from tests.parity.traps.playing import failures, message, play, victims, wakes
from volsched.api.edit import with_annotations, with_labels, with_spec
from volsched.engine import UNRESOLVABLE, UNSCHEDULABLE
from volsched.rules.volumes import ANN_BIND_COMPLETED
from volsched.scheduler.framework import Code, ReservedPlan
from volsched.scheduler.plugins.volume_binding import VolumeBinding

pytestmark = every_engine

DELETED = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


def refusal(engine: str, *objects: Any) -> tuple[str, str]:
    """The plugin that refuses a pod with claim "data" at PreFilter, and what it says."""
    decision = decide(engine, [*NODES, *objects], make_pod(claims=["data"]))
    assert decision.prefilter is not None
    assert decision.error is None
    assert decision.prefilter.code == UNRESOLVABLE
    assert decision.rejecting_plugins() == {decision.prefilter.plugin}
    return decision.prefilter.plugin, decision.prefilter.reasons[0]


def test_trap_01_class_object_missing(engine: str) -> None:
    assert refusal(engine, make_pvc()) == ("VolumeBinding", IMMEDIATE)


def test_trap_02_volume_named_but_binding_not_completed(engine: str) -> None:
    for phase in ("Pending", "Bound"):
        claim = make_pvc(volume="pv-1", phase=phase)
        assert refusal(engine, DYNAMIC, claim, make_pv("pv-1")) == ("VolumeBinding", IMMEDIATE)


def test_trap_03_bound_to_a_volume_that_is_gone(engine: str) -> None:
    objects = [DYNAMIC, make_pvc(bound_to="pv-1", phase="Bound")]
    assert refusal(engine, *objects) == ("VolumeZone", 'persistentvolume "pv-1" not found')
    world = play(engine, *NODES, make_node("n3"), *objects, make_pod("web", claims=["data"]))
    assert message(world) == '0/3 nodes are available: persistentvolume "pv-1" not found. not found'


def test_trap_04_the_same_for_an_ephemeral_volume_is_a_reason_of_each_node(engine: str) -> None:
    claim = make_pvc("web-tmp", bound_to="pv-1", owners=[make_owner("Pod", "web", "u1")])
    pod = make_pod("web", uid="u1", ephemeral={"tmp": PersistentVolumeClaimSpec()})
    assert reasons(decide(engine, [*NODES, DYNAMIC, claim], pod)) == {"n1": (GONE,), "n2": (GONE,)}


def test_trap_05_a_missing_claim_is_reported_by_volume_restrictions(engine: str) -> None:
    assert refusal(engine) == ("VolumeRestrictions", 'persistentvolumeclaim "data" not found')


def test_trap_05_so_only_its_events_wake_the_pod(engine: str) -> None:
    neighbour = make_pod("neighbour", node="n1", claims=["data"])
    stranger = make_pod("stranger", node="n1", claims=["more"])
    world = play(engine, *NODES, neighbour, stranger, make_pod("web", claims=["data"]))
    # what would wake a pod that VolumeBinding refused
    assert not wakes(world, DYNAMIC, make_pvc("more"), free("pv-1"), with_labels(NODES[0], {"x": "y"}))
    before = failures(world)
    world.gone("Pod", "default/stranger")
    world.run()
    assert failures(world) == before
    world.gone("Pod", "default/neighbour")
    world.run()
    assert failures(world) == before + 1
    assert wakes(world, make_node("n3"))
    assert wakes(world, make_pvc("data"))
    assert world.pod("web").status.nominatedNodeName is not None


RWOP_CLAIM = make_pvc(modes=["ReadWriteOncePod"], bound_to="pv-1")
RWOP_OBJECTS = (*NODES, DYNAMIC, RWOP_CLAIM, make_pv("pv-1", modes=["ReadWriteOncePod"]))


def test_trap_30_a_claim_in_use_refuses_every_node(engine: str) -> None:
    decision = decide(engine, [*RWOP_OBJECTS, make_pod("holder", node="n1", claims=["data"])], make_pod(claims=["data"]))
    assert reasons(decision) == {"n1": (RWOP,), "n2": (RWOP,)}
    assert decision.message() == f"0/2 nodes are available: 2 {RWOP}."
    assert decision.rejected()["n1"].code == UNSCHEDULABLE


def test_trap_31_an_ended_holder_frees_it(engine: str) -> None:
    holder = make_pod("holder", node="n1", claims=["data"], phase="Succeeded")
    assert decide(engine, [*RWOP_OBJECTS, holder], make_pod(claims=["data"])).feasible() == ["n1", "n2"]


def test_trap_31_ended_pods_use_nothing(engine: str) -> None:
    placed = [make_pod(phase, node="n1", cpu="8", phase=phase) for phase in ("Succeeded", "Failed")]
    assert decide(engine, [make_node("n1"), *placed], make_pod(cpu="8")).feasible() == ["n1"]


def test_trap_63_a_claim_bound_between_filter_and_reserve(engine: str) -> None:
    stand = Stand(ENGINES[engine](), [NODES[0], LOCAL, make_pvc(uid="u1", version=1), free("pv-1", version=1)])
    pod = stand.pending(make_pod("web", claims=["data"]))
    selection = stand.select(pod)
    assert selection.node == "n1"
    assert selection.plan is not None
    assert [(item.claim, item.volume) for item in selection.plan.bind] == [("default/data", "pv-1")]
    claim = with_spec(stand.cache.get("PersistentVolumeClaim", "default", "data"), volumeName="pv-1")
    stand.cache.update(with_annotations(claim, {ANN_BIND_COMPLETED: "yes"}))
    plugin = VolumeBinding(stand.cache.binder)
    selection.state.write(ReservedPlan(selection.plan))
    assert plugin.reserve(selection.state, pod, "n1").code is Code.SUCCESS
    assert not stand.cache.volumes.is_assumed("pv-1")
    assert plugin.pre_bind_pre_flight(selection.state, pod, "n1").code is Code.SKIP


@pytest.mark.parametrize(
    ("objects", "said"),
    [
        ([], 'persistentvolumeclaim "data" not found'),
        ([make_pvc()], IMMEDIATE),
        ([make_class(wait=False), make_pvc()], IMMEDIATE),
        ([DYNAMIC, make_pvc(bound_to="pv-1")], 'persistentvolume "pv-1" not found'),
        ([DYNAMIC, make_pvc(deleted=DELETED, finalizers=["x/y"])], 'persistentvolumeclaim "data" is being deleted'),
        (
            [DYNAMIC, make_pvc(volume="pv-1", phase="Lost")],
            'persistentvolumeclaim "data" bound to non-existent persistentvolume "pv-1"',
        ),
    ],
)
def test_trap_64_a_pod_refused_at_prefilter_preempts_nobody(engine: str, objects: list[Any], said: str) -> None:
    low = make_pod("low", node="n1", cpu="8")
    world = play(engine, make_node("n1"), low, *objects, make_pod("web", cpu="8", priority=10, claims=["data"]))
    assert message(world) == f"0/1 nodes are available: {said}. not found"
    assert victims(world) == []
