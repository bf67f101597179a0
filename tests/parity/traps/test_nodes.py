"""Traps 33 to 41, 45, 48, 55 to 57, 60, 61, 65: nodes, their room and their scores."""

from __future__ import annotations

import pytest
from lightkube.models.core_v1 import (
    Affinity,
    NodeAffinity,
    NodeCondition,
    PodAffinity,
    PodAffinityTerm,
    PodAntiAffinity,
    PreferredSchedulingTerm,
    ResourceRequirements,
    TopologySpreadConstraint,
    WeightedPodAffinityTerm,
)
from lightkube.models.meta_v1 import LabelSelector

from tests.builders import (
    DRIVER,
    ZONE,
    make_attachment,
    make_csidriver,
    make_csinode,
    make_node,
    make_pod,
    make_pv,
    make_pvc,
    make_requirement,
    make_taint,
    make_term,
)
from tests.parity.engines import MAKERS
from tests.parity.situations import decide, engine_with, every_engine, reasons, scores
from tests.parity.storage import BIND, DYNAMIC, LIMIT, LOCAL, NODES
from tests.parity.traps.playing import message, play, wakes
from volsched.api.defaults import with_defaults
from volsched.api.edit import replace, with_annotations, with_labels
from volsched.engine import UNRESOLVABLE, UNSCHEDULABLE

pytestmark = every_engine


# attach limits


@pytest.mark.parametrize(("limit", "fits"), [(2, True), (1, False)])
def test_trap_33_an_attachment_without_a_pod_counts_beside_the_new_volume(engine: str, limit: int, fits: bool) -> None:
    node = [make_node("n1"), make_csinode("n1", drivers={DRIVER: limit})]
    objects = [*node, DYNAMIC, make_pvc("new", bound_to="pv-new"), make_pv("pv-new"), make_attachment(volume="pv-new", node="n1")]
    decision = decide(engine, objects, make_pod(claims=["new"]))
    assert reasons(decision) == ({} if fits else {"n1": (LIMIT,)})


@pytest.mark.parametrize("drivers", [None, {}, {"other.example.com": 1}])
@pytest.mark.parametrize("insists", [False, True])
def test_trap_34_a_driver_that_no_csinode_names(engine: str, drivers: dict[str, int | None] | None, insists: bool) -> None:
    installed = [] if drivers is None else [make_csinode("n1", drivers=drivers)]
    objects = [make_node("n1"), DYNAMIC, make_csidriver(prevent_if_missing=insists), make_pvc("new"), *installed]
    decision = decide(engine, objects, make_pod(claims=["new"]))
    assert reasons(decision) == ({"n1": (f"{DRIVER} CSI driver is not installed on the node",)} if insists else {})
    if insists:
        assert decision.rejected()["n1"].code == UNSCHEDULABLE  # preemption is tried


# room


def test_trap_35_a_node_that_states_no_pods(engine: str) -> None:
    assert reasons(decide(engine, [make_node("n1", pods="0")], make_pod())) == {"n1": ("Too many pods",)}
    assert reasons(decide(engine, [make_node("n1", status={"allocatable": {"cpu": "1"}})], make_pod())) == {"n1": ("Too many pods",)}


def test_trap_36_more_than_the_node_has(engine: str) -> None:
    decision = decide(engine, [make_node("n1", cpu="1")], make_pod(cpu="2"))
    assert decision.rejected()["n1"] == ("NodeResourcesFit", UNRESOLVABLE, ("Insufficient cpu",))
    world = play(engine, make_node("n1", cpu="1"), make_pod("low", node="n1", cpu="1"), make_pod("web", cpu="2", priority=10))
    assert message(world).endswith("preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling.")


def test_trap_37_a_pod_without_requests_is_scored_as_a_small_one(engine: str) -> None:
    decision = decide(engine, [make_node("n1", cpu="1", memory="1000Mi")], make_pod())
    # 90 % of the cpu and 80 % of the memory stay free
    assert scores(decision, "NodeResourcesFit") == {"n1": 85}
    assert "NodeResourcesBalancedAllocation" not in decision.scores()["n1"]


def test_trap_38_balance_is_scored_by_its_change(engine: str) -> None:
    decision = decide(engine, [make_node("n1", cpu="4", memory="8Gi")], make_pod(cpu="1", memory="1Gi"))
    assert scores(decision, "NodeResourcesBalancedAllocation") == {"n1": 71}


def test_trap_39_fractions_are_cut_not_rounded(engine: str) -> None:
    # deviation 0.34: (1 - 0.34) * 100 is a hair below 66
    decision = decide(engine, [make_node("n1", cpu="100", memory="100")], make_pod(cpu="68", memory="0"))
    assert scores(decision, "NodeResourcesBalancedAllocation") == {"n1": 50 + (50 + 65 - 100) // 2}


def test_trap_39_shares_are_cut(engine: str) -> None:
    # 100.0 * (29 / 100) is a hair below 29
    nodes = [make_node(name, labels={"rack": name}) for name in ("r0", "r1", "r2")]
    pods = [make_pod(f"p{label}", node=f"r{label}", labels={"x": label}) for label in ("1", "2")]
    preferred = [
        WeightedPodAffinityTerm(
            weight=weight, podAffinityTerm=PodAffinityTerm(topologyKey="rack", labelSelector=LabelSelector(matchLabels={"x": label}))
        )
        for weight, label in ((29, "1"), (100, "2"))
    ]
    affinity = Affinity(podAffinity=PodAffinity(preferredDuringSchedulingIgnoredDuringExecution=preferred))
    decision = decide(engine, [*nodes, *pods], make_pod(affinity=affinity))
    assert scores(decision, "InterPodAffinity") == {"r0": 0, "r1": 2 * 28, "r2": 200}


def test_trap_60_pod_level_requests_count_for_fit_and_balance_only(engine: str) -> None:
    level = ResourceRequirements(requests={"cpu": "5", "memory": "1Gi"})
    decision = decide(engine, [make_node("n1", cpu="10", memory="10Gi")], make_pod(spec={"resources": level}))
    assert scores(decision, "NodeResourcesFit") == {"n1": 98}
    assert scores(decision, "NodeResourcesBalancedAllocation") == {"n1": 65}
    assert reasons(decide(engine, [make_node("n1", cpu="4")], make_pod(spec={"resources": level}))) == {"n1": ("Insufficient cpu",)}


# choice and order


def test_trap_40_kube_walks_the_heap(engine: str) -> None:
    built = MAKERS[engine](tie_break="kube")
    for number, cpu in enumerate(("1", "1", "8", "1", "8")):
        built.upsert(with_defaults(make_node(f"n{number}", cpu=cpu)))
    # 8 cpus score higher than 1: totals [0, 0, 1, 0, 1], of which a pre-order walk meets index 4 before 2
    assert {built.decide(with_defaults(make_pod())).node for _ in range(8)} == {"n4"}


def test_trap_41_a_single_feasible_node_is_taken_without_scoring(engine: str) -> None:
    invalid = make_term(expressions=[make_requirement("a", "In", [])])
    preferred = [PreferredSchedulingTerm(weight=1, preference=invalid)]
    pod = make_pod(affinity=Affinity(nodeAffinity=NodeAffinity(preferredDuringSchedulingIgnoredDuringExecution=preferred)))
    alone = decide(engine, NODES[:1], pod)
    assert alone.error is None
    assert alone.node == "n1"
    assert (decide(engine, NODES, pod).error or "").startswith('running PreScore plugin "NodeAffinity": ')


def test_trap_45_neither_key_nor_value_in_the_text(engine: str) -> None:
    decision = decide(engine, [make_node("n1", taints=[make_taint("k", "v", "NoExecute")])], make_pod())
    assert reasons(decision) == {"n1": ("node(s) had untolerated taint(s)",)}
    assert decision.rejected()["n1"].code == UNRESOLVABLE


def test_trap_48_annotations_and_conditions_of_a_node_wake_nobody_that_waits_for_a_volume(engine: str) -> None:
    world = play(engine, NODES[0], LOCAL, make_pvc(), make_pod("web", claims=["data"]))
    assert f"1 {BIND}" in message(world)
    node = world.get("Node", "n1")
    pressed = replace(node, status=replace(node.status, conditions=[NodeCondition(type="DiskPressure", status="False")]))
    assert not wakes(world, with_annotations(node, {"x": "y"}))
    assert not wakes(world, with_annotations(pressed, {"x": "y"}))
    assert wakes(world, with_labels(world.get("Node", "n1"), {"x": "y"}))


def test_trap_55_a_hundred_of_a_hundred_and_fifty(engine: str) -> None:
    built = MAKERS[engine](percentage_of_nodes_to_score=0)
    for number in range(150):
        built.upsert(with_defaults(make_node(f"n{number:03}")))
    first, second = (built.decide(with_defaults(make_pod())).feasible() for _ in range(2))
    assert first == [f"n{number:03}" for number in range(100)]
    assert second == [f"n{number % 150:03}" for number in range(100, 200)]


def test_trap_56_a_move_shows_only_when_a_node_comes_or_goes(engine: str) -> None:
    built = engine_with(engine, [make_node("a1", zone="a"), make_node("a2", zone="a"), make_node("b1", zone="b")])
    pod = with_defaults(make_pod())
    assert built.decide(pod).feasible() == ["a1", "b1", "a2"]
    built.upsert(with_defaults(make_node("a1", zone="b")))
    assert built.node_names() == built.decide(pod).feasible() == ["a1", "b1", "a2"]
    built.upsert(with_defaults(make_node("b2", zone="b")))
    assert built.node_names() == built.decide(pod).feasible() == ["a2", "b1", "a1", "b2"]


def test_trap_57_the_spread_of_an_image_is_as_old_as_the_node(engine: str) -> None:
    size = 1000 * 1024**2
    built = engine_with(engine, [make_node("n1", images={"app:1": size}), *(make_node(f"n{number}") for number in (2, 3, 4))])

    def shares() -> dict[str, int]:
        return scores(built.decide(with_defaults(make_pod(image="app:1"))), "ImageLocality")

    def share(megabytes: int) -> int:
        return 100 * (megabytes - 23) // (1000 - 23)

    assert shares() == {"n1": share(250), "n2": 0, "n3": 0, "n4": 0}
    built.upsert(with_defaults(make_node("n2", images={"app:1": size})))
    assert shares() == {"n1": share(250), "n2": share(500), "n3": 0, "n4": 0}
    built.upsert(with_defaults(make_node("n1", images={"app:1": size}, annotations={"x": "y"})))
    assert shares() == {"n1": share(500), "n2": share(500), "n3": 0, "n4": 0}


# spreading


def test_trap_61_a_single_topology_value_weighs_ln_3(engine: str) -> None:
    def softly(key: str) -> TopologySpreadConstraint:
        selector = LabelSelector(matchLabels={"app": "web"})
        return TopologySpreadConstraint(maxSkew=1, topologyKey=key, whenUnsatisfiable="ScheduleAnyway", labelSelector=selector)

    nodes = [make_node(name, zone="a", labels={"rack": name}) for name in ("r1", "r2")]
    placed = [make_pod(f"p{number}", node="r1", labels={"app": "web"}) for number in range(2)]
    pod = make_pod(labels={"app": "web"}, spec={"topologySpreadConstraints": [softly(ZONE), softly("rack")]})
    # r1: 2 ln 3 + 2 ln 4 = 4.97, r2: 2 ln 3 = 2.20; rounded, and 100 * (5 + 2 - raw) / 5
    assert scores(decide(engine, [*nodes, *placed], pod), "PodTopologySpread") == {"r1": 2 * 40, "r2": 2 * 100}


WEB = {"app": "web"}


def test_trap_65_an_empty_selector_of_a_spread_counts_nobody_and_none_matches_nobody(engine: str) -> None:
    objects = [*NODES, make_pod("p1", node="n1", labels=WEB)]
    for selector, feasible in ((LabelSelector(matchLabels=WEB), ["n2"]), (LabelSelector(), ["n1", "n2"]), (None, ["n1", "n2"])):
        constraint = TopologySpreadConstraint(maxSkew=1, topologyKey=ZONE, whenUnsatisfiable="DoNotSchedule", labelSelector=selector)
        pod = make_pod(labels=WEB, spec={"topologySpreadConstraints": [constraint]})
        assert sorted(decide(engine, objects, pod).feasible()) == feasible


def test_trap_65_an_empty_selector_of_a_pod_affinity_matches_everything_and_none_nothing(engine: str) -> None:
    objects = [*NODES, make_pod("p1", node="n1")]
    for selector, feasible in ((LabelSelector(), ["n2"]), (None, ["n1", "n2"])):
        term = PodAffinityTerm(topologyKey=ZONE, labelSelector=selector)
        affinity = Affinity(podAntiAffinity=PodAntiAffinity(requiredDuringSchedulingIgnoredDuringExecution=[term]))
        assert sorted(decide(engine, objects, make_pod(affinity=affinity)).feasible()) == feasible
