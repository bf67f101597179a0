"""What DefaultPreemption comes to, rule by rule, over every engine; spec/scheduling.md 9.4, 11.1 to 11.3."""

from __future__ import annotations

from typing import Any

import pytest
from lightkube.models.core_v1 import Affinity, PodAffinity, PodAffinityTerm, PodCondition, Toleration
from lightkube.models.meta_v1 import LabelSelector, ObjectMeta
from lightkube.models.policy_v1 import PodDisruptionBudget, PodDisruptionBudgetSpec, PodDisruptionBudgetStatus

from tests.builders import HOSTNAME, make_node, make_pod, make_taint, when
from tests.parity.engines import ENGINES, MAKERS
from tests.parity.preempting import Stand
from tests.parity.situations import every_engine
from volsched.scheduler.framework import PostFilterResult

pytestmark = every_engine

PREEMPTOR = make_pod("web", cpu="1", priority=10)


def running(name: str, node: str = "n1", cpu: str = "1", priority: int | None = None, started: float | None = 0, **rest: Any) -> Any:
    status = {"startTime": when(started)} if started is not None else None
    return make_pod(name, node=node, cpu=cpu, priority=priority, status=status, uid=f"uid-{name}", **rest)


def promised(name: str, node: str = "n1", cpu: str = "1", priority: int = 10, **rest: Any) -> Any:
    return make_pod(name, cpu=cpu, priority=priority, uid=f"uid-{name}", status={"nominatedNodeName": node}, **rest)


def budget(name: str, allowed: int, *, disrupted: list[str] | None = None, namespace: str = "default", **labels: str) -> Any:
    return PodDisruptionBudget(
        metadata=ObjectMeta(name=name, namespace=namespace),
        spec=PodDisruptionBudgetSpec(selector=LabelSelector(matchLabels=labels)),
        status=PodDisruptionBudgetStatus(
            currentHealthy=1,
            desiredHealthy=1,
            disruptionsAllowed=allowed,
            expectedPods=1,
            disruptedPods=dict.fromkeys(disrupted, when(0)) if disrupted else None,
        ),
    )


def nodes(*names: str, cpu: str = "1") -> list[Any]:
    return [make_node(name, cpu=cpu) for name in names]


def said(result: PostFilterResult) -> str:
    return result.status.message or ""


def node_of(result: PostFilterResult) -> str:
    """The promised node, "" when a promise is taken back, "unchanged" when nothing is said about it."""
    return "unchanged" if result.nominating is None else result.nominating.node


def victims_of(stand: Stand, pod: Any, **options: Any) -> dict[str, tuple[list[str], int]]:
    """Candidate -> its victims, the most important first, and how many of them break a budget."""
    subject = stand.pending(pod)
    selection = stand.select(subject)
    assert selection.verdicts is not None
    found = stand.plugin(**options)._dry_runs(subject, selection.state, selection.verdicts)
    assert found.errors == []
    return {item.node: ([victim.metadata.name for victim in item.victims], item.violations) for item in found.candidates}


# who may


def test_a_pod_that_never_preempts(engine: str) -> None:
    stand = Stand(ENGINES[engine](), [*nodes("n1"), running("low")])
    result = stand.preempt(make_pod("web", cpu="1", priority=10, spec={"preemptionPolicy": "Never"}))
    assert said(result) == "preemption: not eligible due to preemptionPolicy=Never."
    assert node_of(result) == "unchanged"


@pytest.mark.parametrize(("reason", "waits"), [("PreemptionByScheduler", True), ("DeletionByTaintManager", False)])
def test_a_victim_still_on_its_way_out(engine: str, reason: str, waits: bool) -> None:
    conditions = [PodCondition(type="DisruptionTarget", status="True", reason=reason)]
    leaving = make_pod(
        "low", node="n1", cpu="1", uid="u", deleted=when(0), finalizers=["x/y"], status={"conditions": conditions, "startTime": when(0)}
    )
    stand = Stand(ENGINES[engine](), [*nodes("n1", "n2"), leaving, running("other", "n2", priority=3)])
    result = stand.preempt(make_pod("web", cpu="1", priority=10, status={"nominatedNodeName": "n1"}))
    if waits:
        assert said(result) == "preemption: not eligible due to a terminating pod on the nominated node."
        assert node_of(result) == "unchanged"
    else:
        assert node_of(result) == "n1"


@pytest.mark.parametrize("objects", [[], [make_node("n1", cpu="1", taints=[make_taint("k")])]], ids=["gone", "no use"])
def test_a_promised_node_that_is_no_use_any_more(engine: str, objects: list[Any]) -> None:
    conditions = [PodCondition(type="DisruptionTarget", status="True", reason="PreemptionByScheduler")]
    leaving = make_pod("low", node="n1", cpu="1", uid="u", deleted=when(0), finalizers=["x/y"], status={"conditions": conditions})
    stand = Stand(ENGINES[engine](), [*objects, *nodes("n2"), leaving, running("other", "n2")])
    result = stand.preempt(make_pod("web", cpu="1", priority=10, status={"nominatedNodeName": "n1"}))
    assert node_of(result) == "n2"


# which nodes


def test_what_is_said_of_every_node(engine: str) -> None:
    stand = Stand(
        ENGINES[engine](),
        [
            *nodes("n1", "n2", "n3", "n4"),
            make_node("n5", cpu="1", taints=[make_taint("k")]),
            running("equal", "n1", priority=10),
            running("high", "n2", priority=11),
            make_pod("port", node="n3", cpu="500m", ports=[80], priority=11, uid="u1"),
            running("low", "n3", "500m"),
            make_pod("port-too", node="n4", cpu="500m", ports=[80], priority=11, uid="u2"),
            running("low-too", "n4", "500m"),
        ],
    )
    result = stand.preempt(make_pod("web", cpu="500m", ports=[80], priority=10))
    assert said(result) == (
        "preemption: 0/5 nodes are available: 1 Preemption is not helpful for scheduling, "
        "2 No preemption victims found for incoming pod, 2 node(s) didn't have free ports for the requested pod ports."
    )
    assert node_of(result) == ""  # a promise would be taken back


def test_all_refused_for_good(engine: str) -> None:
    stand = Stand(ENGINES[engine](), [make_node("n1", cpu="1"), running("low")])
    result = stand.preempt(make_pod("web", cpu="2", priority=10))
    assert said(result) == "preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."


def test_nodes_that_prefilter_left_out_do_not_help(engine: str) -> None:
    stand = Stand(ENGINES[engine](), [*nodes("n1", "n2"), running("low", "n1"), running("lower", "n2")])
    result = stand.preempt(make_pod("web", cpu="1", priority=10, spec={"nodeName": ""}, node_selector={HOSTNAME: "n2"}))
    assert node_of(result) == "n2"


# how many candidates


def test_candidates_end_where_there_are_enough(engine: str) -> None:
    objects = [*nodes("n1", "n2", "n3"), running("a", "n1", priority=3), running("b", "n2", priority=1), running("c", "n3")]
    one = Stand(ENGINES[engine](), objects).preempt(PREEMPTOR, min_candidates=1, min_candidates_percent=0)
    two = Stand(ENGINES[engine](), objects).preempt(PREEMPTOR, min_candidates=2, min_candidates_percent=0)
    every = Stand(ENGINES[engine](), objects).preempt(PREEMPTOR)
    assert (node_of(one), node_of(two), node_of(every)) == ("n1", "n2", "n3")


def test_one_of_them_has_to_break_no_budget(engine: str) -> None:
    guarded = {"labels": {"app": "db"}}
    placed = [running("a", "n1", **guarded), running("b", "n2", **guarded), running("c", "n3", priority=5), running("d", "n4")]
    stand = Stand(ENGINES[engine](), [*nodes("n1", "n2", "n3", "n4"), *placed, budget("b", 0, app="db")])
    found = victims_of(stand, PREEMPTOR, min_candidates=1, min_candidates_percent=0)
    # of either sort as many as are wanted
    assert found == {"n3": (["c"], 0), "n1": (["a"], 1)}


def test_a_tenth_of_the_nodes_and_a_hundred_at_least(engine: str) -> None:
    names = [f"n{number:04}" for number in range(1200)]
    objects = [*nodes(*names), *(running(f"p-{name}", name) for name in names)]
    assert len(victims_of(Stand(ENGINES[engine](), objects), PREEMPTOR)) == 120
    few = [*nodes(*names[:150]), *(running(f"p-{name}", name) for name in names[:150])]
    assert len(victims_of(Stand(ENGINES[engine](), few), PREEMPTOR)) == 100


# which victims


def test_the_most_important_are_given_back_first(engine: str) -> None:
    placed = [
        running("young", started=50),
        running("old", started=0),
        running("dear", priority=5, started=90),
        running("waiting", started=None),
    ]
    stand = Stand(ENGINES[engine](), [*nodes("n1", cpu="4"), *placed])
    assert victims_of(stand, make_pod("web", cpu="2", priority=10)) == {"n1": (["young", "waiting"], 0)}
    assert victims_of(stand, make_pod("web2", cpu="4", priority=10)) == {"n1": (["dear", "old", "young", "waiting"], 0)}


def test_one_large_victim_may_spare_many(engine: str) -> None:
    placed = [running("large", cpu="3", started=9), *(running(name, started=1) for name in ("a", "b"))]
    stand = Stand(ENGINES[engine](), [*nodes("n1", cpu="5"), *placed])
    assert victims_of(stand, make_pod("web", cpu="3", priority=10)) == {"n1": (["large"], 0)}


BUDGETS = [
    # what the budgets say, victims that break one
    ([], 0),
    ([budget("b", 0, app="db")], 2),
    ([budget("b", 1, app="db")], 1),
    ([budget("b", 2, app="db")], 0),
    ([budget("b", 0, app="web")], 0),
    ([budget("b", 0, namespace="other", app="db")], 0),
    ([budget("b", 0)], 0),  # an empty selector guards nobody
    ([budget("b", 0, disrupted=["one"], app="db")], 1),
    ([budget("b", 0, disrupted=["one", "two"], app="db")], 0),
    ([budget("a", 5, app="db"), budget("b", 0, app="db")], 2),
    ([budget("a", 1, app="db"), budget("b", 1, app="db")], 1),
]


@pytest.mark.parametrize(("budgets", "violations"), BUDGETS)
def test_budgets(engine: str, budgets: list[Any], violations: int) -> None:
    placed = [running("one", labels={"app": "db"}), running("two", started=1, labels={"app": "db"}), running("plain", started=2)]
    stand = Stand(ENGINES[engine](), [*nodes("n1", cpu="3"), *placed, *budgets])
    (answer,) = victims_of(stand, make_pod("web", cpu="3", priority=10)).values()
    assert answer == (["one", "two", "plain"], violations)


def test_the_guarded_are_given_back_before_the_important(engine: str) -> None:
    placed = [running("guarded", labels={"app": "db"}), running("dear", priority=5), running("cheap", started=1)]
    stand = Stand(ENGINES[engine](), [*nodes("n1", cpu="3"), *placed, budget("b", 0, app="db")])
    assert victims_of(stand, PREEMPTOR) == {"n1": (["cheap"], 0)}
    assert victims_of(stand, make_pod("web2", cpu="2", priority=10)) == {"n1": (["dear", "cheap"], 0)}
    # both sorts among the victims: by importance again
    assert victims_of(stand, make_pod("web3", cpu="3", priority=10)) == {"n1": (["dear", "guarded", "cheap"], 1)}


# which candidate


def test_criteria_in_their_order(engine: str) -> None:
    def chosen(*placed: Any, others: list[Any] | None = None) -> str:
        cpu = {"n1": "2", "n2": "2"}
        stand = Stand(ENGINES[engine](), [*(make_node(name, cpu=size) for name, size in cpu.items()), *placed, *(others or [])])
        return node_of(stand.preempt(make_pod("web", cpu="2", priority=10)))

    guarded = budget("b", 0, app="db")
    assert chosen(running("a", "n1", "2", labels={"app": "db"}), running("b", "n2", "2", 9), others=[guarded]) == "n2"
    assert chosen(running("a", "n1", "2", 5), running("b", "n2", "1", 3), running("c", "n2", "1", 3)) == "n2"
    assert chosen(running("a", "n1", "1", 5), running("b", "n1", "1", 4), running("c", "n2", "1", 5), running("d", "n2", "1", 3)) == "n2"
    assert chosen(running("a", "n1", "1", 5), running("b", "n1", "1", -(2**31)), running("c", "n2", "2", 5)) == "n2"
    assert chosen(running("a", "n1", "2", 5, started=1), running("b", "n2", "2", 5, started=2)) == "n2"
    assert chosen(running("a", "n1", "2", 5, started=2), running("b", "n2", "2", 5, started=2)) == "n1"


def test_only_the_start_of_the_most_important_counts(engine: str) -> None:
    left = [running("a", "n1", priority=5, started=10), running("b", "n1", priority=1, started=1)]
    right = [running("c", "n2", priority=5, started=9), running("d", "n2", priority=1, started=100)]
    stand = Stand(ENGINES[engine](), [*nodes("n1", "n2", cpu="2"), *left, *right])
    assert node_of(stand.preempt(make_pod("web", cpu="2", priority=10))) == "n1"


# promised pods


def test_promises_of_the_same_and_higher_priority_count(engine: str) -> None:
    for priority, expected in ((10, "n2"), (11, "n2"), (9, "n1")):
        objects = [*nodes("n1", "n2", cpu="2"), running("a", "n1"), running("b", "n1"), running("c", "n2", priority=5)]
        objects += [running("d", "n2", priority=5), promised("early", "n1", "2", priority)]
        assert node_of(Stand(ENGINES[engine](), objects).preempt(make_pod("web", cpu="2", priority=10))) == expected


def test_a_promise_to_the_pod_itself_does_not_count(engine: str) -> None:
    stand = Stand(ENGINES[engine](), [*nodes("n1"), promised("web")])
    pod = stand.cache.get("Pod", "default", "web")
    assert stand.select(pod).node == "n1"


def test_a_pod_near_a_promised_one_does_not_fit_for_that(engine: str) -> None:
    term = PodAffinityTerm(topologyKey=HOSTNAME, labelSelector=LabelSelector(matchLabels={"app": "db"}))
    near = Affinity(podAffinity=PodAffinity(requiredDuringSchedulingIgnoredDuringExecution=[term]))
    stand = Stand(ENGINES[engine](), [*nodes("n1", cpu="4"), promised("db", labels={"app": "db"})])
    selection = stand.select(stand.pending(make_pod("web", cpu="1", priority=10, affinity=near)))
    assert selection.node is None
    assert selection.rejecting == {"InterPodAffinity"}


def test_promises_do_not_change_how_far_a_search_goes(engine: str) -> None:
    names = [f"n{number:03}" for number in range(150)]
    built = MAKERS[engine](percentage_of_nodes_to_score=0)
    stand = Stand(built, [*nodes(*names), *(promised(f"w-{name}", name) for name in names[:30])])
    pod = stand.pending(PREEMPTOR)
    found = stand.cache.decide(pod, beside=stand.beside(pod))
    # a hundred that fit are enough, and the thirty that are promised do not
    assert found.feasible() == names[30:130]
    assert sorted(found.rejected()) == names[:30]
    assert stand.cache.decide(pod).feasible() == [*names[130:], *names[:80]]


def test_a_tolerated_promise(engine: str) -> None:
    """Filters that do not look at pods are asked once, whoever is promised the node."""
    tainted = make_node("n1", cpu="2", taints=[make_taint("k")])
    stand = Stand(ENGINES[engine](), [tainted, promised("early", tolerations=[Toleration(operator="Exists")])])
    selection = stand.select(stand.pending(PREEMPTOR))
    assert selection.rejecting == {"TaintToleration"}
