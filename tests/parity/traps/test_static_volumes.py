"""Traps 6 to 15, 44, 49 to 51, 58, 59, 65: existing volumes for claims that wait for a pod."""

from __future__ import annotations

import pytest
from lightkube.models.meta_v1 import LabelSelector, LabelSelectorRequirement

from tests.builders import make_capacity, make_node, make_pod, make_pv, make_pvc
from tests.parity.situations import decide, engine_with, every_engine, reasons
from tests.parity.storage import AFFINITY, BIND, DYNAMIC, LOCAL, NODES, ROOM, TRACKED, bindings, free, provisions, volume_scores
from tests.parity.traps.playing import failures, message, play, victims, wakes
from volsched.api.defaults import with_defaults
from volsched.api.edit import with_annotations
from volsched.errors import ConflictError
from volsched.ports import Update
from volsched.rules.volumes import ANN_SELECTED_NODE

pytestmark = every_engine


def test_trap_06_selected_node_names_a_node_that_is_gone(engine: str) -> None:
    decision = decide(engine, [*NODES, DYNAMIC, make_pvc(selected_node="gone")], make_pod(claims=["data"]))
    assert reasons(decision) == {"n1": (BIND,), "n2": (BIND,)}


def test_trap_06_until_the_annotation_is_removed(engine: str) -> None:
    world = play(engine, *NODES, DYNAMIC, make_pvc(selected_node="gone"), make_pod("web", claims=["data"]))
    assert f"2 {BIND}" in message(world)
    world.until(400)  # the flush tries again, to no avail
    assert failures(world) == 2
    assert wakes(world, with_annotations(world.get("PersistentVolumeClaim", "default/data"), {ANN_SELECTED_NODE: None}))
    node = world.pod("web").status.nominatedNodeName
    assert node in ("n1", "n2")
    assert world.get("PersistentVolumeClaim", "default/data").metadata.annotations[ANN_SELECTED_NODE] == node


def test_trap_07_with_a_selected_node_existing_volumes_are_not_looked_at(engine: str) -> None:
    decision = decide(engine, [*NODES, DYNAMIC, make_pvc(selected_node="n1"), free("pv-1")], make_pod(claims=["data"]))
    assert decision.feasible() == ["n1"]
    assert bindings(decision, "n1") == []
    assert provisions(decision, "n1") == [("default/data", None)]


def test_trap_08_two_reasons_on_one_node(engine: str) -> None:
    objects = [*NODES, DYNAMIC, make_pvc("a", bound_to="pv-a"), make_pv("pv-a", zone="x"), make_pvc("b", selected_node="gone")]
    assert reasons(decide(engine, objects, make_pod(claims=["a", "b"])))["n1"] == (AFFINITY, BIND)


def test_trap_09_no_provisioner_means_no_volume(engine: str) -> None:
    assert reasons(decide(engine, [*NODES, LOCAL, make_pvc()], make_pod(claims=["data"])))["n1"] == (BIND,)


def test_trap_09_with_a_provisioner_only_room_is_missing(engine: str) -> None:
    objects = [*NODES, DYNAMIC, TRACKED, make_pvc(), make_capacity(capacity="1Gi", where={})]
    assert reasons(decide(engine, objects, make_pod(claims=["data"])))["n1"] == (ROOM,)


def test_trap_10_a_reserved_volume_is_taken_whatever_its_phase_and_modes(engine: str) -> None:
    reserved = make_pv("pv-1", claim="default/data", phase="Pending", modes=["ReadOnlyMany"])
    decision = decide(engine, [*NODES, LOCAL, make_pvc(), reserved], make_pod(claims=["data"]))
    assert bindings(decision, "n1") == [("default/data", "pv-1")]


def test_trap_11_a_reserved_volume_elsewhere_blocks_the_others(engine: str) -> None:
    objects = [*NODES, make_pvc(), make_pv("pv-1", claim="default/data", zone="b"), free("pv-2", zone="a")]
    assert reasons(decide(engine, [*objects, LOCAL], make_pod(claims=["data"]))) == {"n1": (BIND,)}
    decision = decide(engine, [*objects, DYNAMIC], make_pod(claims=["data"]))
    assert provisions(decision, "n1") == [("default/data", None)]
    assert bindings(decision, "n2") == [("default/data", "pv-1")]


def test_trap_12_a_volume_of_an_earlier_claim_of_that_name_is_skipped(engine: str) -> None:
    objects = [*NODES, LOCAL, make_pvc(uid="u2"), make_pv("pv-1", claim="default/data", claim_uid="u1", phase="Available")]
    assert reasons(decide(engine, objects, make_pod(claims=["data"])))["n1"] == (BIND,)


TWO_SIZES = (make_pvc("small", size="5Gi"), make_pvc("large", size="10Gi"))


@pytest.mark.parametrize("claims", [["small", "large"], ["large", "small"]])
def test_trap_13_small_claims_choose_first(engine: str, claims: list[str]) -> None:
    objects = [*NODES, LOCAL, *TWO_SIZES, free("p10", size="10Gi"), free("p20", size="20Gi")]
    decision = decide(engine, objects, make_pod(claims=claims))
    assert bindings(decision, "n1") == [("default/small", "p10"), ("default/large", "p20")]


def test_trap_13_and_may_take_what_the_large_one_needs(engine: str) -> None:
    objects = [*NODES, LOCAL, *TWO_SIZES, free("p10", size="10Gi")]
    assert reasons(decide(engine, objects, make_pod(claims=["large", "small"])))["n1"] == (BIND,)


@pytest.mark.parametrize(("asked", "has", "fits"), [("1G", "1Gi", True), ("1Gi", "1G", False)])
def test_trap_14_sizes_compare_exactly(engine: str, asked: str, has: str, fits: bool) -> None:
    decision = decide(engine, [*NODES, LOCAL, make_pvc(size=asked), free("pv-1", size=has)], make_pod(claims=["data"]))
    assert bool(decision.feasible()) is fits


def test_trap_15_a_claim_named_twice_takes_two_volumes(engine: str) -> None:
    decision = decide(engine, [*NODES, LOCAL, make_pvc(), free("pv-1"), free("pv-2")], make_pod(claims=["data", "data"]))
    assert bindings(decision, "n1") == [("default/data", "pv-1"), ("default/data", "pv-2")]


WRONG = LabelSelector(matchExpressions=[LabelSelectorRequirement(key="a", operator="Gt", values=["1"])])
WRONG_CAUSE = 'running "VolumeBinding" filter plugin: error creating internal label selector for claim: default/data: '


def test_trap_44_a_filter_that_fails_fails_the_cycle(engine: str) -> None:
    decision = decide(engine, [*NODES, LOCAL, make_pvc(selector=WRONG), free("pv-1")], make_pod(claims=["data"]))
    assert decision.error is not None
    assert decision.error.startswith(WRONG_CAUSE)
    assert decision.node is None


def test_trap_44_without_a_histogram_and_without_preemption(engine: str) -> None:
    # n1 is refused for want of cpu, so it could be preempted on; the filter fails on n2 alone
    low = make_pod("low", node="n1", cpu="8")
    claims = [make_pvc(selector=WRONG), free("pv-1")]
    world = play(engine, *NODES, LOCAL, *claims, low, make_pod("web", cpu="8", priority=10, claims=["data"]))
    status, reason, text = world.condition("web") or ("", "", "")
    assert (status, reason) == ("False", "SchedulerError")
    assert text is not None
    assert text.startswith(WRONG_CAUSE)
    assert "nodes are available" not in text
    assert victims(world) == []


PAIR = (make_pvc("a", uid="ua"), make_pvc("b", uid="ub"))
DISKS = [make_pv(f"disk-{number}", node="n1" if number < 3 else "n2", phase="Available") for number in (1, 2, 3, 4)]


def test_trap_49_a_pair_of_which_one_was_written_is_met_again_on_its_node(engine: str) -> None:
    world = play(engine, *NODES, LOCAL, *DISKS[:2], *PAIR)
    world.deny[Update] = lambda intent: ConflictError("changed meanwhile") if intent.object.metadata.name == "disk-2" else None
    world.put(make_pod("web", claims=["a", "b"]))
    world.run()
    assert message(world) == 'running PreBind plugin "VolumeBinding": binding volumes: changed meanwhile'
    first = world.get("PersistentVolume", "disk-1")
    assert first.spec.claimRef.name == "a"
    assert world.get("PersistentVolume", "disk-2").spec.claimRef is None
    world.deny.clear()
    world.until(5)
    assert world.get("PersistentVolume", "disk-1").spec.claimRef == first.spec.claimRef
    assert world.get("PersistentVolume", "disk-2").spec.claimRef.name == "b"


def test_trap_49_and_blocks_the_others_if_the_node_has_become_unfit(engine: str) -> None:
    world = play(engine, NODES[0], LOCAL, *DISKS[:2], *PAIR)
    world.deny[Update] = lambda intent: ConflictError("changed meanwhile") if intent.object.metadata.name == "disk-2" else None
    world.put(make_pod("web", claims=["a", "b"]))
    world.run()
    world.deny.clear()
    world.put(make_node("n1", zone="a", unschedulable=True), NODES[1], *DISKS[2:])
    world.until(5)
    assert message(world).startswith(f"0/2 nodes are available: 1 {BIND}, 1 node(s) were unschedulable.")


def test_trap_50_a_binding_that_times_out(engine: str) -> None:
    world = play(engine, NODES[0], LOCAL, free("disk-1"), make_pvc(uid="u1"), make_pod("web", claims=["data"]))
    world.until(599.9)
    assert world.condition("web") is None
    world.until(600)
    text = 'running PreBind plugin "VolumeBinding": binding volumes: context deadline exceeded'
    assert world.condition("web") == ("False", "SchedulerError", text)
    # error backoff: neither events nor an empty activeQ end it, time does
    assert not wakes(world, free("disk-2"), make_node("n2"))
    assert world.pod("web").status.nominatedNodeName is None
    world.until(601.9)
    assert world.pod("web").status.nominatedNodeName is None
    world.until(602)
    assert world.pod("web").status.nominatedNodeName == "n1"


def test_trap_51_a_newer_version_of_the_volume_ends_its_assumption(engine: str) -> None:
    claims = [make_pvc("data", uid="u1", version=1), make_pvc("other", uid="u2", version=1)]
    pv = make_pv("pv-1", phase="Available", version=5)
    built = engine_with(engine, [*NODES, LOCAL, *claims, pv])
    taker = with_defaults(make_pod("taker", claims=["other"]))
    assumption = built.assume(built.decide(with_defaults(make_pod("web", claims=["data"]))))
    built.upsert(with_defaults(pv))  # a resync of the same version changes nothing
    assert built.decide(taker).feasible() == []
    built.upsert(with_defaults(with_annotations(make_pv("pv-1", phase="Available", version=6), {"unrelated": "change"})))
    assert len(built.decide(taker).feasible()) == 2
    built.forget(assumption)
    assert len(built.decide(taker).feasible()) == 2


def test_trap_58_static_claims_hide_the_dynamic_ones(engine: str) -> None:
    objects = [NODES[0], DYNAMIC, TRACKED, make_capacity(capacity="100Gi", where={})]
    claims = [make_pvc("a", size="10Gi"), make_pvc("b", size="50Gi")]
    decision = decide(engine, [*objects, *claims, free("p1", size="20Gi")], make_pod(claims=["a", "b"]))
    assert volume_scores(decision) == {"n1": 50}


def test_trap_59_static_and_dynamic_nodes_side_by_side(engine: str) -> None:
    pools = [DYNAMIC, TRACKED, make_capacity(capacity="100Gi", where={})]
    decision = decide(engine, [*NODES, *pools, make_pvc(size="10Gi"), free("p1", size="20Gi", zone="a")], make_pod(claims=["data"]))
    assert volume_scores(decision) == {"n1": 50, "n2": 90}


def test_trap_65_selector_nil_and_empty_are_no_constraint_on_a_claim(engine: str) -> None:
    for selector in (None, LabelSelector()):
        decision = decide(engine, [*NODES, LOCAL, make_pvc(selector=selector), free("pv-1")], make_pod(claims=["data"]))
        assert bindings(decision, "n1") == [("default/data", "pv-1")]
