"""The cycle around the plugins, and assume and forget, on every engine."""

from __future__ import annotations

from typing import Any

import pytest

from tests.builders import (
    ZONE,
    make_capacity,
    make_class,
    make_container,
    make_csidriver,
    make_node,
    make_pod,
    make_pv,
    make_pvc,
)
from tests.parity.engines import MAKERS
from tests.parity.situations import decide, engine_with, every_engine
from volsched.api.defaults import with_defaults
from volsched.api.edit import with_spec
from volsched.engine import Decision, Provisioning, SchedulingEngine, StaticBinding
from volsched.errors import EngineError

LOCAL = make_class(provisioner="kubernetes.io/no-provisioner")


def state_of(engine: SchedulingEngine, *pods: Any) -> list[Any]:
    """Everything a few probing pods are told, to compare before and after."""
    answers = []
    for pod in pods:
        decision = engine.decide(with_defaults(pod))
        plans = [decision.volumes(node) for node in decision.feasible()]
        scores = decision.scores() if decision.feasible() else {}
        answers.append((decision.prefilter, decision.feasible(), decision.rejected(), scores, plans, decision.message()))
    return answers


@every_engine
class TestMessage:
    def test_several_reasons_of_a_node_count_one_each(self, engine: str) -> None:
        message = decide(engine, [make_node("n1", cpu="1", memory="1")], make_pod(cpu="2", memory="2")).message()
        assert message == "0/1 nodes are available: 1 Insufficient cpu, 1 Insufficient memory."

    def test_a_pod_that_fits_has_no_message(self, engine: str) -> None:
        decision = decide(engine, [make_node("n1"), make_node("n2", unschedulable=True)], make_pod())
        assert decision.message() == ""
        assert decision.node == "n1"


@every_engine
class TestOrder:
    def _names(self, engine: str, *nodes: Any) -> list[str]:
        return engine_with(engine, nodes).node_names()

    def test_zones_take_turns(self, engine: str) -> None:
        nodes = [
            make_node(name, zone=zone) for name, zone in (("a1", "a"), ("a2", "a"), ("b1", "b"), ("a3", "a"), ("c1", "c"), ("b2", "b"))
        ]
        assert self._names(engine, *nodes) == ["a1", "b1", "c1", "a2", "b2", "a3"]

    def test_the_beta_label_wins_and_region_counts(self, engine: str) -> None:
        beta = "failure-domain.beta.kubernetes.io/zone"
        nodes = [make_node("n1", zone="a"), make_node("n2", zone="a", labels={beta: "b"}), make_node("n3", zone="a", region="r")]
        assert self._names(engine, *nodes, make_node("n4", zone="a")) == ["n1", "n2", "n3", "n4"]

    def test_a_zone_that_empties_comes_back_last(self, engine: str) -> None:
        built = engine_with(engine, [make_node("a1", zone="a"), make_node("b1", zone="b")])
        built.remove("Node", "", "a1")
        built.upsert(with_defaults(make_node("a1", zone="a")))
        assert built.node_names() == ["b1", "a1"]

    def test_pods_of_a_node_that_is_gone_count_when_it_returns(self, engine: str) -> None:
        built = engine_with(engine, [make_node("n1", cpu="1"), make_pod("old", node="n1", cpu="1")])
        built.remove("Node", "", "n1")
        assert built.decide(with_defaults(make_pod(cpu="1"))).message() == "no nodes available to schedule pods"
        built.upsert(with_defaults(make_node("n1", cpu="1")))
        assert built.decide(with_defaults(make_pod(cpu="1"))).message() == "0/1 nodes are available: 1 Insufficient cpu."


@every_engine
class TestChoice:
    def _nodes(self, *free_cpus: str) -> list[Any]:
        return [make_node(f"n{number}", cpu=cpu) for number, cpu in enumerate(free_cpus)]

    def _chosen(self, engine: str, tie_break: str, nodes: list[Any], **arguments: Any) -> list[str | None]:
        built = MAKERS[engine](tie_break=tie_break, **arguments)
        for node in nodes:
            built.upsert(with_defaults(node))
        return [built.decide(with_defaults(make_pod())).node for _ in range(8)]

    def test_other_tie_breaks(self, engine: str) -> None:
        nodes = [make_node("z"), make_node("b"), make_node("c", cpu="1")]
        assert set(self._chosen(engine, "first", nodes)) == {"z"}
        assert set(self._chosen(engine, "name", nodes)) == {"b"}

    def test_chance_repeats_with_its_seed(self, engine: str) -> None:
        nodes = self._nodes(*["8"] * 10)
        first = self._chosen(engine, "random", nodes, seed=7)
        assert first == self._chosen(engine, "random", nodes, seed=7)
        assert len(set(first)) > 1

    def test_best_are_all_the_equals(self, engine: str) -> None:
        assert decide(engine, self._nodes("8", "1", "8"), make_pod()).best() == ["n0", "n2"]

    def test_only_restricts_the_nodes(self, engine: str) -> None:
        built = engine_with(engine, self._nodes("8", "4", "2"))
        decision = built.decide(with_defaults(make_pod(cpu="3")), only=["n1", "n2"])
        assert decision.feasible() == ["n1"]
        assert list(decision.rejected()) == ["n2"]

    def test_a_score_out_of_range_fails_the_cycle(self, engine: str) -> None:
        # the cpu that "old" asks for wraps around and is less than nothing then, as is the memory that two huge pods ask for
        old = make_pod("old", node="n1", containers=[make_container(cpu="1"), make_container(cpu="10P")])
        nodes = [make_node("n1", cpu="8"), make_node("n2", cpu="8")]
        assert decide(engine, [*nodes, old], make_pod(cpu="1")).error == (
            'applying score defaultWeights on Score plugins: plugin "NodeResourcesFit" returns an invalid score -242238751230176, '
            "it should in the range of [0, 100] after normalizing"
        )
        huge = [make_pod(name, node="n1", memory="8E") for name in ("huge", "vast")]
        error = decide(engine, [*nodes, *huge], make_pod(cpu="1", memory="1")).error
        assert error is not None and "returns an invalid score" in error
        # a node that is alone is taken without scoring, one that does not fit is not scored
        assert decide(engine, [nodes[0], old], make_pod(cpu="1")).node == "n1"
        fast = [make_node(name, labels={"disk": "ssd"}) for name in ("n3", "n4")]
        assert decide(engine, [*nodes, *fast, old], make_pod(node_selector={"disk": "ssd"})).best() == ["n3", "n4"]

    def test_a_score_that_is_in_range_again_counts(self, engine: str) -> None:
        old = make_pod("old", node="n1", containers=[make_container(cpu="1"), make_container(cpu="10P")])
        built = engine_with(engine, [make_node("n1", cpu="8"), make_node("n2", cpu="8"), old])
        assert built.decide(with_defaults(make_pod(cpu="1"))).error is not None
        built.remove("Pod", "default", "old")
        assert built.decide(with_defaults(make_pod(cpu="1"))).best() == ["n1", "n2"]

    def test_unusable_arguments(self, engine: str) -> None:
        with pytest.raises(EngineError):
            MAKERS[engine](tie_break="luck")
        with pytest.raises(EngineError):
            MAKERS[engine](percentage_of_nodes_to_score=101)


@every_engine
class TestSampling:
    """Visiting stops when enough nodes fit, and the next search goes on from there."""

    def _feasible(self, engine: str, count: int, percentage: int, times: int) -> list[list[str]]:
        built = MAKERS[engine](percentage_of_nodes_to_score=percentage)
        for number in range(count):
            built.upsert(with_defaults(make_node(f"n{number:03}")))
        return [built.decide(with_defaults(make_pod())).feasible() for _ in range(times)]

    @pytest.mark.parametrize(
        ("count", "percentage", "found"), [(99, 1, 99), (150, 50, 100), (300, 50, 150), (260, 0, 124), (120, 100, 120)]
    )
    def test_how_many(self, engine: str, count: int, percentage: int, found: int) -> None:
        assert len(self._feasible(engine, count, percentage, 1)[0]) == found

    def test_a_named_node_and_a_refused_pod_move_nothing(self, engine: str) -> None:
        built = MAKERS[engine](percentage_of_nodes_to_score=0)
        for number in range(150):
            built.upsert(with_defaults(make_node(f"n{number:03}")))
        built.decide(with_defaults(make_pod()), only=["n007"])
        built.decide(with_defaults(make_pod(claims=["missing"])))
        assert built.decide(with_defaults(make_pod())).feasible()[0] == "n000"


@every_engine
class TestAssume:
    NODES = (make_node("n1", zone="a", cpu="2"), make_node("n2", zone="b", cpu="2"))
    PROBES = (make_pod("probe", cpu="2"), make_pod("reader", claims=["data"]), make_pod("taker", claims=["other"]))

    def _engine(self, engine: str, *objects: Any) -> SchedulingEngine:
        return engine_with(engine, [*self.NODES, *objects])

    def _assume(self, built: SchedulingEngine, pod: Any) -> tuple[Decision, Any]:
        decision = built.decide(with_defaults(pod))
        assert decision.node is not None
        return decision, built.assume(decision)

    def test_the_pod_counts_on_its_node(self, engine: str) -> None:
        built = self._engine(engine)
        _decision, assumption = self._assume(built, make_pod("web", cpu="2"))
        assert built.decide(with_defaults(make_pod("next", cpu="2"))).feasible() == [{"n1": "n2", "n2": "n1"}[assumption.node]]
        built.forget(assumption)
        assert sorted(built.decide(with_defaults(make_pod("next", cpu="2"))).feasible()) == ["n1", "n2"]

    def test_volumes_are_claimed_and_given_back(self, engine: str) -> None:
        claims = [make_pvc("data", uid="u1"), make_pvc("other", uid="u2")]
        built = self._engine(engine, LOCAL, *claims, make_pv("pv-1", phase="Available"))
        before = state_of(built, *self.PROBES)
        _decision, assumption = self._assume(built, make_pod("web", claims=["data"]))
        assert assumption.volumes.bind == (StaticBinding("default/data", "pv-1"),)
        assert built.decide(with_defaults(make_pod("taker", claims=["other"]))).feasible() == []
        assert built.decide(with_defaults(make_pod("reader", claims=["data"]))).volumes("n1").bind == (
            StaticBinding("default/data", "pv-1"),
        )
        built.forget(assumption)
        assert state_of(built, *self.PROBES) == before

    def test_claims_are_marked_with_the_node_and_unmarked(self, engine: str) -> None:
        objects = [make_class(), make_csidriver(storage_capacity=True), make_capacity(where={}), make_pvc("data"), make_pvc("other")]
        built = self._engine(engine, *objects)
        before = state_of(built, *self.PROBES)
        _decision, assumption = self._assume(built, make_pod("web", claims=["data"]))
        (provision,) = assumption.volumes.provision
        assert provision == Provisioning("default/data", "default/capacity-1")
        assert built.decide(with_defaults(make_pod("reader", claims=["data"]))).feasible() == [assumption.node]
        built.forget(assumption)
        assert state_of(built, *self.PROBES) == before

    def test_a_chosen_node_may_be_overruled_among_the_feasible(self, engine: str) -> None:
        built = self._engine(engine)
        decision = built.decide(with_defaults(make_pod("web")))
        assert built.assume(decision, "n2").node == "n2"
        with pytest.raises(EngineError):
            self._engine(engine).assume(decision)

    def test_a_node_that_does_not_fit_is_refused(self, engine: str) -> None:
        built = self._engine(engine)
        decision = built.decide(with_defaults(make_pod("web", node_selector={ZONE: "a"})))
        with pytest.raises(EngineError):
            built.assume(decision, "n2")

    def test_the_bound_pod_confirms_the_assumption(self, engine: str) -> None:
        built = self._engine(engine)
        _decision, assumption = self._assume(built, make_pod("web", cpu="2"))
        built.upsert(with_defaults(make_pod("web", cpu="2", node=assumption.node)))
        assert len(built.decide(with_defaults(make_pod("next", cpu="2"))).feasible()) == 1
        built.remove("Pod", "default", "web")
        assert len(built.decide(with_defaults(make_pod("next", cpu="2"))).feasible()) == 2

    def test_assumptions_are_forgotten_in_any_order(self, engine: str) -> None:
        built = self._engine(engine, make_class(), make_pvc("data"), make_pvc("other"))
        before = state_of(built, *self.PROBES)
        first = self._assume(built, make_pod("one", claims=["data"]))[1]
        between = state_of(built, *self.PROBES)
        second = built.assume(built.decide(with_defaults(make_pod("two", claims=["data"]))))
        built.forget(second)
        assert state_of(built, *self.PROBES) == between
        second = built.assume(built.decide(with_defaults(make_pod("two", claims=["data"]))))
        built.forget(first)
        built.forget(second)
        assert state_of(built, *self.PROBES) == before

    def test_pods_without_a_node_are_not_kept(self, engine: str) -> None:
        built = self._engine(engine, make_pod("pending", cpu="2"))
        assert len(built.decide(with_defaults(make_pod("next", cpu="2"))).feasible()) == 2
        built.upsert(with_defaults(with_spec(make_pod("pending", cpu="2"), nodeName="n1")))
        assert built.decide(with_defaults(make_pod("next", cpu="2"))).feasible() == ["n2"]
