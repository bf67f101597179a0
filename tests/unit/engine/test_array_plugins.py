"""Plugins of one's own over arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from lightkube.models.core_v1 import Pod

from tests.builders import make_node, make_pod
from volsched.api.defaults import with_defaults
from volsched.engine import UNRESOLVABLE, UNSCHEDULABLE, CycleView, Engine, PerNodePlugin, Rejection, SchedulingEngine, Verdict
from volsched.engine.chain import TOTAL_MAX
from volsched.engine.profile import WEIGHTS_MAX
from volsched.engine.reference import ReferenceEngine
from volsched.errors import EngineError


@pytest.fixture(params=[Engine, ReferenceEngine], ids=["native", "reference"])
def engine(request: pytest.FixtureRequest) -> SchedulingEngine:
    """Five nodes in three racks."""
    made: SchedulingEngine = request.param()
    for number, rack in enumerate("aabbc"):
        made.upsert(with_defaults(make_node(f"n{number}", labels={"rack": rack}, cpu=str(4 + number))))
    return made


class OnlyRack:
    """Keeps the nodes of one rack."""

    def __init__(self, rack: str, *, name: str = "OnlyRack") -> None:
        self.rack = rack
        self.name = name

    def filter(self, cycle: CycleView, pod: Pod, nodes: Any) -> Verdict:
        return Verdict(cycle.label_equals("rack", self.rack), "node(s) were in another rack", resolvable=True)


class MostCpu:
    """Prefers large nodes so much that nothing else counts."""

    name = "MostCpu"
    weight = 100

    def score(self, cycle: CycleView, pod: Pod, nodes: Any) -> Any:
        free = cycle.allocatable("cpu") - cycle.requested("cpu")
        return free * 100 // free.max()


def test_a_filter_joins_the_chain(engine: SchedulingEngine) -> None:
    decision = engine.decide(make_pod(), plugins=[OnlyRack("b")])
    assert decision.feasible() == ["n2", "n3"]
    assert decision.rejected()["n0"] == Rejection("OnlyRack", UNSCHEDULABLE, ("node(s) were in another rack",))
    nowhere = engine.decide(make_pod(), plugins=[OnlyRack("b"), OnlyRack("c", name="OnlyRackToo")])
    assert nowhere.node is None
    assert nowhere.message() == "0/5 nodes are available: 5 node(s) were in another rack."
    assert nowhere.rejecting_plugins() == {"OnlyRack", "OnlyRackToo"}


def test_a_score_decides(engine: SchedulingEngine) -> None:
    assert engine.decide(make_pod(), plugins=[MostCpu()]).node == "n4"
    decision = engine.decide(make_pod(), plugins=[MostCpu(), OnlyRack("a")])
    assert decision.node == "n1"
    assert decision.scores()["n1"]["MostCpu"] == 100 * (5000 * 100 // 8000)
    assert decision.totals()["n1"] == sum(decision.scores()["n1"].values())
    assert engine.assume(decision).node == "n1"


def test_functions_over_one_node(engine: SchedulingEngine) -> None:
    plugin = PerNodePlugin(
        "Named",
        keep=lambda cycle, pod, node: cycle.node_names[node] != "n4",
        score=lambda cycle, pod, node: 100 if cycle.node_names[node] == "n0" else 0,
        reason="node(s) had the wrong name",
        weight=50,
    )
    decision = engine.decide(make_pod(), plugins=[plugin])
    assert decision.node == "n0"
    assert decision.rejected() == {"n4": Rejection("Named", UNRESOLVABLE, ("node(s) had the wrong name",))}


def test_views_are_read_only_and_of_one_moment(engine: SchedulingEngine) -> None:
    seen: list[CycleView] = []

    class Look:
        name = "Look"

        def filter(self, cycle: CycleView, pod: Pod, nodes: Any) -> Verdict:
            seen.append(cycle)
            with pytest.raises(ValueError, match="read-only"):
                nodes[0] = False
            with pytest.raises(ValueError, match="read-only"):
                cycle.allocatable("cpu")[0] = 0
            assert cycle.allocatable("pods").tolist() == [110] * 5
            assert cycle.requested("pods").tolist() == [0] * 5
            assert cycle.label("rack") == ("a", "a", "b", "b", "c")
            assert cycle.label("absent") == (None,) * 5
            return Verdict(np.ones(5, dtype=np.bool_), "")

    decision = engine.decide(make_pod(), plugins=[Look()])
    (cycle,) = seen
    cpu = cycle.allocatable("cpu")
    engine.assume(decision)
    assert cycle.allocatable("cpu") is cpu  # read before: a copy, still valid
    if isinstance(engine, Engine):  # the reference engine reads from a snapshot that stays as it was
        with pytest.raises(EngineError, match="the cluster has changed since this cycle began"):
            cycle.requested("memory")


@pytest.mark.parametrize(
    "keep",
    [np.ones(4, dtype=np.bool_), np.ones(5, dtype=np.int64), np.ones((5, 1), dtype=np.bool_), [True] * 5],
    ids=["length", "dtype", "shape", "list"],
)
def test_a_malformed_mask_is_refused(engine: SchedulingEngine, keep: Any) -> None:
    class Wrong:
        name = "Wrong"

        def filter(self, cycle: CycleView, pod: Pod, nodes: Any) -> Verdict:
            return Verdict(keep, "")

    with pytest.raises(EngineError, match="Wrong"):
        engine.decide(make_pod(), plugins=[Wrong()])


@pytest.mark.parametrize(
    "scores",
    [np.zeros(5, dtype=np.float64), np.zeros(6, dtype=np.int64)],
    ids=["dtype", "length"],
)
def test_malformed_scores_are_refused(engine: SchedulingEngine, scores: Any) -> None:
    class Wrong:
        name = "Wrong"

        def score(self, cycle: CycleView, pod: Pod, nodes: Any) -> Any:
            return scores

    with pytest.raises(EngineError, match="Wrong"):
        engine.decide(make_pod(), plugins=[Wrong()])


@pytest.mark.parametrize("score", [-1, 101])
def test_scores_out_of_range_fail_the_cycle(engine: SchedulingEngine, score: int) -> None:
    class Wrong:
        name = "Wrong"

        def score(self, cycle: CycleView, pod: Pod, nodes: Any) -> Any:
            return np.full(5, score, dtype=np.int64)

    decision = engine.decide(make_pod(), plugins=[Wrong()])
    assert decision.node is None
    assert decision.error == (
        f'applying score defaultWeights on Score plugins: plugin "Wrong" returns an invalid score {score}, '
        "it should in the range of [0, 100] after normalizing"
    )
    assert engine.decide(make_pod(), plugins=[Wrong()], only=["n1"]).node == "n1"  # alone, it needs no scores


def test_totals_have_a_limit(engine: SchedulingEngine) -> None:
    class Heavy:
        name = "Heavy"
        weight = WEIGHTS_MAX
        score_max = None

        def score(self, cycle: CycleView, pod: Pod, nodes: Any) -> Any:
            return np.full(5, TOTAL_MAX, dtype=np.int64)

    with pytest.raises(EngineError, match="weights"):
        engine.decide(make_pod(), plugins=[Heavy()])
    Heavy.weight = 2
    assert engine.decide(make_pod(), plugins=[Heavy()]).error == f"the scores of Heavy exceed {TOTAL_MAX} in amount"


def test_scores_of_nodes_that_are_out_do_not_matter(engine: SchedulingEngine) -> None:
    class Partial:
        name = "Partial"

        def score(self, cycle: CycleView, pod: Pod, nodes: Any) -> Any:
            return np.where(nodes, 7, -1).astype(np.int64)

    decision = engine.decide(make_pod(), plugins=[OnlyRack("b"), Partial()])
    assert {node: scores["Partial"] for node, scores in decision.scores().items()} == {"n2": 7, "n3": 7}
