"""Traps 32, 42, 43, 52, 53, 62: what a cycle says in the end, preemption, and when the pod is tried again."""

from __future__ import annotations

import pytest

from tests.builders import make_class, make_node, make_pod, make_pv, make_pvc, make_taint
from tests.parity.engines import ENGINES
from tests.parity.preempting import outcome
from tests.parity.situations import decide, every_engine
from tests.parity.storage import AFFINITY, LOCAL, RWOP
from tests.parity.traps.playing import message, play, victims
from tests.unit.scheduler.world import START_NS
from volsched.engine import UNSCHEDULABLE, Rejection
from volsched.ports import Patch
from volsched.scheduler.framework import Verdicts, fit_error

pytestmark = every_engine


@pytest.mark.parametrize(("name", "frees"), [("data", True), ("more", False)])
def test_trap_32_a_claim_of_that_name_in_another_namespace_frees_it_in_a_dry_run(engine: str, name: str, frees: bool) -> None:
    """Upstream counts names, so a victim that shares nothing with the pod is found."""
    objects = [
        make_node("n1"),
        make_node("n2"),
        make_class("net"),
        make_pvc("data", modes=["ReadWriteOncePod"], storage_class="net", bound_to="pv-1"),
        make_pv("pv-1", storage_class="net", modes=["ReadWriteOncePod"]),
        make_pod("holder", node="n2", claims=["data"], priority=100),
        make_pod("stranger", namespace="other", node="n1", claims=[name]),
    ]
    said = outcome(ENGINES[engine](), objects, make_pod("web", claims=["data"], priority=10))
    assert said["candidates"] == ({"n1": (["other/stranger"], 0)} if frees else {})
    code, text = said["post"]
    if frees:
        assert (code, text) == ("Success", "preemption: found a potential placement for pod on node n1, preempting 1 victims")
    else:
        refused = f"1 No preemption victims found for incoming pod, 1 {RWOP}"
        assert (code, text) == ("Unschedulable", f"preemption: 0/2 nodes are available: {refused}.")


def test_trap_42_counts_and_reasons_are_sorted_as_text(engine: str) -> None:
    nodes = [make_node(f"a{number}", cpu="1") for number in range(10)]
    nodes += [make_node(f"b{number}", taints=[make_taint("k")]) for number in range(2)]
    assert decide(engine, nodes, make_pod(cpu="2")).message() == (
        "0/12 nodes are available: 10 Insufficient cpu, 2 node(s) had untolerated taint(s)."
    )


def test_trap_42_equal_texts_of_different_plugins_merge(engine: str) -> None:
    nodes = tuple(f"n{number}" for number in range(3))
    rejected = {node: Rejection(plugin, UNSCHEDULABLE, ("no room",)) for node, plugin in zip(nodes, ("A", "B", "A"), strict=True)}
    assert fit_error(Verdicts(nodes, rejected)) == "0/3 nodes are available: 3 no room."


def test_trap_43_the_first_plugin_that_refuses_is_the_only_one_named(engine: str) -> None:
    decision = decide(engine, [make_node("n1", cpu="1"), LOCAL, make_pvc()], make_pod(cpu="2", claims=["data"]))
    assert decision.message() == "0/1 nodes are available: 1 Insufficient cpu."
    assert decision.rejecting_plugins() == {"NodeResourcesFit"}


def test_trap_43_the_filter_behind_it_is_what_the_dry_run_meets(engine: str) -> None:
    world = play(
        engine,
        make_node("n1", cpu="1", zone="a"),
        make_class("net"),
        make_pv("pv", storage_class="net", zone="b", claim="data", claim_uid="uid-data"),
        make_pvc("data", storage_class="net", bound_to="pv", uid="uid-data"),
        make_pod("low", node="n1", cpu="1"),
        make_pod("web", cpu="1", priority=10, claims=["data"]),
    )
    assert message(world) == f"0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes are available: 1 {AFFINITY}."
    assert victims(world) == []
    assert world.scheduler.cache.check() == []


def test_trap_52_no_nodes_at_all(engine: str) -> None:
    decision = decide(engine, [], make_pod())
    assert (decision.prefilter, decision.error, decision.node) == (None, None, None)
    assert decision.message() == "no nodes available to schedule pods"
    assert decision.rejecting_plugins() == frozenset()


def test_trap_52_is_tried_again_with_error_backoff(engine: str) -> None:
    world = play(engine, make_pod("web"))
    assert world.condition("web") == ("False", "Unschedulable", "no nodes available to schedule pods")
    world.put(make_node("n1"))
    world.until(1.9)
    assert world.node_of("web") is None  # no event wakes it, nor an empty activeQ
    world.until(2)
    assert world.node_of("web") == "n1"


@pytest.mark.parametrize("started", [0.0, 0.7])
def test_trap_53_backoff_runs_on_whole_seconds(engine: str, started: float) -> None:
    world = play(engine, make_pod("web"), start_ns=START_NS + round(started * 1e9))
    world.put(make_node("n1"))
    world.until(1.99)
    assert world.node_of("web") is None
    world.until(2)
    assert world.node_of("web") == "n1"


def test_trap_53_an_event_ends_it_if_nothing_else_waits(engine: str) -> None:
    world = play(engine, make_node("n1", cpu="1"), make_pod("web", cpu="2"), start_ns=START_NS + 700_000_000)
    world.put(make_node("n2", cpu="2"))
    world.run()
    assert world.seconds == 0.7
    assert world.node_of("web") == "n2"


def test_trap_62_a_successful_preemption_is_the_end_of_the_message(engine: str) -> None:
    placed = [make_pod(name, node="n1", cpu="1") for name in ("low-1", "low-2")]
    world = play(engine, make_node("n1", cpu="2"), *placed, make_pod("web", cpu="2", priority=10))
    assert world.of(Patch)[0].body["status"]["conditions"][0]["message"] == (
        "0/1 nodes are available: 1 Insufficient cpu. preemption: found a potential placement for pod on node n1, preempting 2 victims"
    )
