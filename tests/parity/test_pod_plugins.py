"""PodTopologySpread and InterPodAffinity on every engine."""

from __future__ import annotations

from typing import Any

import pytest
from lightkube.models.core_v1 import (
    Affinity,
    Pod,
    PodAffinity,
    PodAffinityTerm,
    PodAntiAffinity,
    Service,
    ServiceSpec,
    TopologySpreadConstraint,
    WeightedPodAffinityTerm,
)
from lightkube.models.meta_v1 import LabelSelector, LabelSelectorRequirement, ObjectMeta

from tests.builders import HOSTNAME, ZONE, make_namespace, make_node, make_node_affinity, make_pod, make_taint, when
from tests.parity.situations import decide, every_engine, reasons, scores
from volsched.engine import UNRESOLVABLE, UNSCHEDULABLE

SKEW = "node(s) didn't match pod topology spread constraints"
NO_LABEL = f"{SKEW} (missing required label)"
NODES = [make_node("a1", zone="a"), make_node("a2", zone="a"), make_node("b1", zone="b")]
WEB = {"app": "web"}


def selecting(**labels: str) -> LabelSelector:
    return LabelSelector(matchLabels=labels)


def placed(name: str, node: str, labels: dict[str, str] = WEB, **rest: Any) -> Pod:
    return make_pod(name, node=node, labels=labels, **rest)


def spread(key: str = ZONE, *, hard: bool = True, **rest: Any) -> TopologySpreadConstraint:
    settings = {"maxSkew": 1, "labelSelector": selecting(app="web"), **rest}
    return TopologySpreadConstraint(topologyKey=key, whenUnsatisfiable="DoNotSchedule" if hard else "ScheduleAnyway", **settings)


def web(*constraints: TopologySpreadConstraint, labels: dict[str, str] = WEB, **rest: Any) -> Pod:
    return make_pod(labels=labels, spec={"topologySpreadConstraints": list(constraints) or None}, **rest)


@every_engine
class TestSpread:
    def test_the_fuller_zone_is_refused(self, engine: str) -> None:
        decision = decide(engine, [*NODES, placed("p1", "a1")], web(spread()))
        assert reasons(decision) == {"a1": (SKEW,), "a2": (SKEW,)}
        assert decision.rejected()["a1"].code == UNSCHEDULABLE

    def test_a_node_without_the_key(self, engine: str) -> None:
        decision = decide(engine, [*NODES, make_node("n")], web(spread()))
        assert decision.rejected() == {"n": ("PodTopologySpread", UNRESOLVABLE, (NO_LABEL,))}

    def test_pods_on_their_way_out_and_of_other_namespaces_do_not_count(self, engine: str) -> None:
        gone = placed("p1", "a1", deleted=when(), finalizers=["x/y"])
        assert len(decide(engine, [*NODES, gone, placed("p2", "a1", namespace="other")], web(spread())).feasible()) == 3

    def test_a_pod_that_does_not_match_itself_adds_nothing(self, engine: str) -> None:
        assert len(decide(engine, [*NODES, placed("p1", "a1")], web(spread(), labels={"app": "db"})).feasible()) == 3

    def test_too_few_domains_count_as_an_empty_one(self, engine: str) -> None:
        objects = [*NODES, placed("p1", "a1"), placed("p2", "b1")]
        assert len(decide(engine, objects, web(spread())).feasible()) == 3
        assert decide(engine, objects, web(spread(minDomains=3))).feasible() == []

    def test_nodes_that_affinity_excludes_are_not_counted(self, engine: str) -> None:
        objects = [*NODES, placed("p1", "a1")]
        pod = web(spread(), affinity=make_node_affinity({ZONE: "a"}))
        assert sorted(decide(engine, objects, pod).feasible()) == ["a1", "a2"]
        ignoring = web(spread(nodeAffinityPolicy="Ignore"), affinity=make_node_affinity({ZONE: "a"}))
        assert decide(engine, objects, ignoring).feasible() == []

    def test_taints_exclude_nodes_on_request(self, engine: str) -> None:
        objects = [*NODES[:2], make_node("b1", zone="b", taints=[make_taint("k")]), placed("p1", "a1")]
        assert decide(engine, objects, web(spread())).feasible() == []
        assert sorted(decide(engine, objects, web(spread(nodeTaintsPolicy="Honor"))).feasible()) == ["a1", "a2"]

    def test_match_label_keys_narrow_the_selector(self, engine: str) -> None:
        objects = [*NODES, placed("p1", "a1", {"app": "web", "version": "1"})]
        constraint = spread(matchLabelKeys=["version", "absent"])
        assert len(decide(engine, objects, web(constraint, labels={"app": "web", "version": "2"})).feasible()) == 3
        assert decide(engine, objects, web(constraint, labels={"app": "web", "version": "1"})).feasible() == ["b1"]

    def test_an_invalid_selector_fails_the_cycle(self, engine: str) -> None:
        wrong = LabelSelector(matchExpressions=[LabelSelectorRequirement(key="a", operator="Gt", values=["1"])])
        hard = decide(engine, NODES, web(spread(labelSelector=wrong)))
        assert hard.error is not None
        assert hard.error.startswith(
            'running PreFilter plugin "PodTopologySpread": get constraints from pod: obtaining pod\'s hard topology'
        )
        soft = decide(engine, NODES, web(spread(hard=False, labelSelector=wrong)))
        assert soft.error is not None
        assert soft.error.startswith(
            'running PreScore plugin "PodTopologySpread": calculating preScoreState: obtaining pod\'s soft topology'
        )

    def test_soft_constraints_prefer_the_emptier_zone(self, engine: str) -> None:
        objects = [*NODES, placed("p1", "a1"), placed("p2", "a1"), placed("p3", "b1")]
        # raw scores round(2 ln 4) = 3 and round(ln 4) = 1; normalised 100 * (3 + 1 - raw) / 3
        assert scores(decide(engine, objects, web(spread(hard=False))), "PodTopologySpread") == {"a1": 66, "a2": 66, "b1": 200}

    def test_nodes_without_a_soft_key_score_nothing(self, engine: str) -> None:
        assert scores(decide(engine, [*NODES, make_node("n")], web(spread(hard=False))), "PodTopologySpread")["n"] == 0

    def test_pods_without_constraints_spread_with_their_service(self, engine: str) -> None:
        service = Service(metadata=ObjectMeta(name="web", namespace="default"), spec=ServiceSpec(selector=WEB))
        objects = [*NODES, placed("p1", "a1"), placed("p2", "a1")]
        assert scores(decide(engine, objects, web()), "PodTopologySpread") == {"a1": 0, "a2": 0, "b1": 0}
        by_service = scores(decide(engine, [*objects, service], web()), "PodTopologySpread")
        assert by_service["b1"] == 200 > by_service["a2"] > by_service["a1"]

    def test_hostname_counts_each_node_alone(self, engine: str) -> None:
        decision = decide(engine, [*NODES, placed("p1", "a1")], web(spread(HOSTNAME)))
        assert reasons(decision) == {"a1": (SKEW,)}


def term(key: str = ZONE, *, selector: LabelSelector | None = None, **rest: Any) -> PodAffinityTerm:
    return PodAffinityTerm(topologyKey=key, labelSelector=selector or selecting(app="web"), **rest)


def near(*terms: PodAffinityTerm) -> Affinity:
    return Affinity(podAffinity=PodAffinity(requiredDuringSchedulingIgnoredDuringExecution=list(terms)))


def far(*terms: PodAffinityTerm) -> Affinity:
    return Affinity(podAntiAffinity=PodAntiAffinity(requiredDuringSchedulingIgnoredDuringExecution=list(terms)))


def rather(weight: int, wanted: PodAffinityTerm) -> Affinity:
    weighted = [WeightedPodAffinityTerm(weight=abs(weight), podAffinityTerm=wanted)]
    if weight > 0:
        return Affinity(podAffinity=PodAffinity(preferredDuringSchedulingIgnoredDuringExecution=weighted))
    return Affinity(podAntiAffinity=PodAntiAffinity(preferredDuringSchedulingIgnoredDuringExecution=weighted))


@every_engine
class TestInterPodAffinity:
    NOT_NEAR = "node(s) didn't match pod affinity rules"
    NOT_FAR = "node(s) didn't match pod anti-affinity rules"
    REFUSED = "node(s) didn't satisfy existing pods anti-affinity rules"

    def test_near(self, engine: str) -> None:
        decision = decide(engine, [*NODES, placed("p1", "a1")], make_pod(affinity=near(term())))
        assert decision.rejected() == {"b1": ("InterPodAffinity", UNRESOLVABLE, (self.NOT_NEAR,))}

    def test_all_terms_have_to_be_met_by_one_pod(self, engine: str) -> None:
        both = near(term(), term(selector=selecting(tier="x")))
        apart = [placed("p1", "a1"), placed("p2", "a2", {"tier": "x"})]
        assert decide(engine, [*NODES, *apart], make_pod(affinity=both)).feasible() == []
        together = placed("p3", "b1", {"app": "web", "tier": "x"})
        assert decide(engine, [*NODES, *apart, together], make_pod(affinity=both)).feasible() == ["b1"]

    def test_the_first_of_a_group_may_go_anywhere_that_has_the_key(self, engine: str) -> None:
        decision = decide(engine, [*NODES, make_node("n")], make_pod(labels=WEB, affinity=near(term())))
        assert reasons(decision) == {"n": (self.NOT_NEAR,)}
        assert decide(engine, NODES, make_pod(labels={"app": "db"}, affinity=near(term()))).feasible() == []

    def test_far(self, engine: str) -> None:
        decision = decide(engine, [*NODES, placed("p1", "a1")], make_pod(affinity=far(term())))
        assert reasons(decision) == {"a1": (self.NOT_FAR,), "a2": (self.NOT_FAR,)}
        assert decision.rejected()["a1"].code == UNSCHEDULABLE

    def test_running_pods_refuse(self, engine: str) -> None:
        loner = placed("p1", "a1", {}, affinity=far(term(HOSTNAME)))
        assert reasons(decide(engine, [*NODES, loner], make_pod(labels=WEB))) == {"a1": (self.REFUSED,)}
        assert len(decide(engine, [*NODES, loner], make_pod(labels={"app": "db"})).feasible()) == 3

    @pytest.mark.parametrize(
        ("namespaces", "selector", "meets"),
        [
            (None, None, False),
            (["other"], None, True),
            (None, LabelSelector(), True),
            (None, LabelSelector(matchLabels={"team": "x"}), True),
            (None, LabelSelector(matchLabels={"team": "y"}), False),
            (["other"], LabelSelector(matchLabels={"team": "y"}), True),
        ],
    )
    def test_namespaces(self, engine: str, namespaces: list[str] | None, selector: LabelSelector | None, meets: bool) -> None:
        objects = [*NODES, make_namespace("other", labels={"team": "x"}), placed("p1", "a1", namespace="other")]
        wanted = term(namespaces=namespaces, namespaceSelector=selector)
        assert decide(engine, objects, make_pod(affinity=far(wanted))).feasible() == (["b1"] if meets else ["a1", "b1", "a2"])

    def test_preferences_attract_and_repel(self, engine: str) -> None:
        objects = [*NODES, placed("p1", "a1")]
        assert scores(decide(engine, objects, make_pod(affinity=rather(10, term()))), "InterPodAffinity") == {"a1": 200, "a2": 200, "b1": 0}
        assert scores(decide(engine, objects, make_pod(affinity=rather(-10, term()))), "InterPodAffinity") == {"a1": 0, "a2": 0, "b1": 200}

    def test_preferences_of_running_pods_count_as_well(self, engine: str) -> None:
        fond = placed("p1", "a1", {}, affinity=rather(5, term()))
        bound = placed("p2", "b1", {}, affinity=near(term()))
        # 5 for zone a, 1 for the required term in zone b
        assert scores(decide(engine, [*NODES, fond, bound], make_pod(labels=WEB)), "InterPodAffinity") == {"a1": 200, "a2": 200, "b1": 0}

    def test_an_invalid_selector_refuses_the_pod(self, engine: str) -> None:
        wrong = LabelSelector(matchExpressions=[LabelSelectorRequirement(key="a", operator="Gt", values=["1"])])
        decision = decide(engine, NODES, make_pod(affinity=near(term(selector=wrong))))
        assert decision.prefilter is not None
        assert decision.prefilter.plugin == "InterPodAffinity"
        assert decision.prefilter.reasons[0].startswith("parsing pod: ")
