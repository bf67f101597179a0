"""Trials: what-if questions about one decision's pod, with plugins of one's own and without; on both engines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from lightkube.models.core_v1 import Pod

from tests.builders import make_node, make_pod
from volsched.api.defaults import with_defaults
from volsched.api.kinds import meta
from volsched.engine import UNRESOLVABLE, UNSCHEDULABLE, CycleView, Engine, Rejection, SchedulingEngine, Verdict
from volsched.engine.decision import Emptied, Eviction
from volsched.engine.plugin import CycleState, PreFilterAnswer
from volsched.engine.reference import ReferenceEngine
from volsched.errors import EngineError, PluginError

INSUFFICIENT = Rejection("NodeResourcesFit", UNSCHEDULABLE, ("Insufficient cpu",))
FULL = Rejection("Quota", UNSCHEDULABLE, ("node(s) had no quota left",))


class Stage:
    """Nodes n1 and n2 of four cpus, and pods on them."""

    def __init__(self, make: Callable[[], SchedulingEngine]) -> None:
        self.engine = make()
        self.placed: dict[str, list[Pod]] = {}
        for name in ("n1", "n2"):
            self.engine.upsert(with_defaults(make_node(name, cpu="4")))

    def place(self, name: str, node: str = "n1", **rest: Any) -> Pod:
        pod = pending(name, node=node, **rest)
        self.engine.upsert(pod)
        self.placed.setdefault(node, []).append(pod)
        return pod

    def pods_on(self, node: str) -> Sequence[Pod]:
        return self.placed.get(node, [])

    def trial(self, pod: Pod, **options: Any) -> Any:
        return self.engine.trial(self.engine.decide(pod, **options), pods_on=self.pods_on)


def pending(name: str = "web", **rest: Any) -> Pod:
    made: Pod = with_defaults(make_pod(name, uid=f"uid-{name}", **rest))  # type: ignore[assignment]
    return made


@pytest.fixture(params=[Engine, ReferenceEngine], ids=["native", "reference"])
def stage(request: pytest.FixtureRequest) -> Stage:
    return Stage(request.param)


def test_without_and_beside(stage: Stage) -> None:
    low = stage.place("low", cpu="3")
    trial = stage.trial(pending(cpu="2"))
    assert trial.verdict("n1") == INSUFFICIENT
    assert trial.verdict("n2") is None
    assert trial.verdict("n1", without=[low]) is None
    guest = pending("guest", cpu="3")
    assert trial.verdict("n1", without=[low], beside=[guest]) == INSUFFICIENT
    assert trial.verdict("n2", beside=[guest]) == INSUFFICIENT
    # no question leaves a trace
    assert trial.verdict("n1") == INSUFFICIENT
    assert trial.verdict("n2") is None


def test_emptied_counts_and_asks_only_where_somebody_went(stage: Stage) -> None:
    stage.place("low", cpu="3")
    stage.place("lower", cpu="500m", priority=-5)
    stage.place("high", "n2", cpu="3", priority=10)
    trial = stage.trial(pending(cpu="2"))
    assert trial.emptied(["n1", "n2"], below=10, beside={}) == [Emptied(2, None), Emptied(0, None)]
    assert trial.emptied(["n1"], below=0, beside={}) == [Emptied(1, INSUFFICIENT)]
    assert trial.emptied(["n1"], below=10, beside={"n1": [pending("guest", cpu="3")]}) == [Emptied(2, INSUFFICIENT)]
    assert trial.emptied([], below=10, beside={}) == []


def test_needed_gives_back_in_order(stage: Stage) -> None:
    one, two, three = (stage.place(name, cpu="1") for name in ("one", "two", "three"))
    trial = stage.trial(pending(cpu="2"))
    guest = pending("guest", cpu="1")
    assert trial.needed(
        [
            Eviction("n1", (one, two, three), ()),
            Eviction("n1", (three, two, one), ()),
            Eviction("n1", (one, two, three), (guest,)),
            Eviction("n2", (), ()),
        ]
    ) == [(2,), (2,), (1, 2), ()]


def test_promised_pods_in_a_decision(stage: Stage) -> None:
    guest = pending("guest", cpu="3")
    decision = stage.engine.decide(pending(cpu="2"), beside={"n1": [guest], "n2": [], "gone": [guest]})
    assert decision.feasible() == ["n2"]
    assert decision.rejected() == {"n1": INSUFFICIENT}
    assert decision.rejecting_plugins() == {"NodeResourcesFit"}
    assert stage.engine.decide(pending(cpu="2")).feasible() == ["n1", "n2"]


def test_a_trial_belongs_to_its_moment(stage: Stage) -> None:
    low = stage.place("low", cpu="3")
    decision = stage.engine.decide(pending(cpu="2"))
    trial = stage.engine.trial(decision)
    stage.place("more", "n2")
    for ask in (
        lambda: trial.verdict("n1"),
        lambda: trial.emptied(["n1"], below=1, beside={}),
        lambda: trial.needed([Eviction("n1", (low,), ())]),
        lambda: stage.engine.trial(decision),
    ):
        with pytest.raises(EngineError, match="changed"):
            ask()


def test_what_cannot_be_tried(stage: Stage) -> None:
    low = stage.place("low", cpu="3")
    trial = stage.trial(pending(cpu="2"))
    with pytest.raises(EngineError, match="gone"):
        trial.verdict("gone")
    with pytest.raises(EngineError, match='"default/other" is not counted on node "n1"'):
        trial.verdict("n1", without=[pending("other")])
    with pytest.raises(EngineError, match='"default/low" is not counted on node "n2"'):
        trial.needed([Eviction("n2", (low,), ())])
    with pytest.raises(EngineError, match="refused before any node was looked at"):
        stage.trial(pending(claims=["missing"]))
    with pytest.raises(EngineError, match="decision"):
        stage.engine.trial(object())  # type: ignore[arg-type]


# plugins of one's own ------------------------------------------------------------------------------------------------------------------


@dataclass
class Used:
    """Units of quota by node; what Quota remembers."""

    units: dict[int, int]

    def clone(self) -> Used:
        return Used(dict(self.units))


class Quota:
    """At most three units a node; a pod takes one a cpu. Keeps count by itself, so it has to follow pods that come and go."""

    name = "Quota"

    def __init__(self, stage: Stage, *, skip: bool = False, stumble: str = "") -> None:
        self.stage = stage
        self.skip = skip
        self.stumble = stumble  # over a pod of this name

    @staticmethod
    def units(pod: Pod) -> int:
        return int((pod.spec.containers[0].resources.requests or {})["cpu"]) if pod.spec and pod.spec.containers[0].resources else 0

    def pre_filter(self, cycle: CycleView, pod: Pod) -> PreFilterAnswer:
        used = {place: sum(map(self.units, self.stage.pods_on(name))) for place, name in enumerate(cycle.node_names)}
        cycle.state.write(Used(used))
        return PreFilterAnswer(skip=self.skip)

    def filter(self, cycle: CycleView, pod: Pod, nodes: Any) -> Verdict:
        keep = cycle.nowhere()
        for place, used in cycle.state.read(Used).units.items():
            keep[place] = used + self.units(pod) <= 3
        return Verdict(keep, "node(s) had no quota left", resolvable=True)

    def add_pod(self, cycle: CycleView, pod: Pod, other: Pod, node: int) -> None:
        self._count(cycle, other, node, 1)

    def remove_pod(self, cycle: CycleView, pod: Pod, other: Pod, node: int) -> None:
        self._count(cycle, other, node, -1)

    def _count(self, cycle: CycleView, other: Pod, node: int, sign: int) -> None:
        if meta(other).name == self.stumble:
            raise PluginError("lost count")
        cycle.state.read(Used).units[node] += sign * self.units(other)


def test_own_plugins_follow_what_leaves_and_comes(stage: Stage) -> None:
    low, lower = stage.place("low", cpu="1"), stage.place("lower", cpu="1")
    state = CycleState()
    trial = stage.trial(pending(cpu="2"), plugins=[Quota(stage)], state=state)
    assert trial.verdict("n1") == FULL
    assert trial.verdict("n1", without=[low]) is None
    assert trial.verdict("n1", without=[low], beside=[pending("guest", cpu="1")]) == FULL
    assert trial.verdict("n2", beside=[pending("guest", cpu="1")]) is None
    assert trial.emptied(["n1", "n2"], below=1, beside={}) == [Emptied(2, None), Emptied(0, None)]
    assert trial.needed([Eviction("n1", (low, lower), ())]) == [(1,)]
    # the cycle's own state is as PreFilter left it
    assert state.read(Used).units == {0: 2, 1: 0}


def test_own_plugins_in_a_decision_beside_promised_pods(stage: Stage) -> None:
    guest = pending("guest", cpu="2")
    decision = stage.engine.decide(pending(cpu="2"), plugins=[Quota(stage)], beside={"n1": [guest]})
    assert decision.feasible() == ["n2"]
    assert decision.rejected() == {"n1": FULL}
    assert decision.rejecting_plugins() == {"Quota"}


def test_an_own_plugin_that_skipped_is_asked_nothing(stage: Stage) -> None:
    low = stage.place("low", cpu="2")
    trial = stage.trial(pending(cpu="2"), plugins=[Quota(stage, skip=True, stumble="low")])
    assert trial.verdict("n1") is None
    assert trial.verdict("n1", without=[low]) is None


def test_the_filter_that_stands_first_speaks(stage: Stage) -> None:
    stage.place("low", cpu="3")
    trial = stage.trial(pending(cpu="2"), plugins=[Quota(stage)])
    assert trial.verdict("n1") == INSUFFICIENT  # before own plugins in the profile
    assert trial.verdict("n2", beside=[pending("guest", cpu="3")]) == INSUFFICIENT


def test_an_own_plugin_that_cannot_follow_a_victim_fails_the_trial(stage: Stage) -> None:
    low, other = stage.place("low", cpu="2"), stage.place("other", cpu="1")
    trial = stage.trial(pending(cpu="2"), plugins=[Quota(stage, stumble="low")])
    text = 'running RemovePod on PreFilter plugin "Quota": lost count'
    assert trial.verdict("n1", without=[low]) == text
    assert trial.emptied(["n1"], below=1, beside={}) == [Emptied(2, text)]
    assert trial.needed([Eviction("n1", (low,), ())]) == [text]
    assert trial.verdict("n1", without=[other]) == FULL


def test_an_own_plugin_that_cannot_follow_a_promised_pod(stage: Stage) -> None:
    one, two = stage.place("one", cpu="1"), stage.place("two", cpu="1")
    plugins = [Quota(stage, stumble="guest")]
    guest = pending("guest", cpu="1")
    text = 'running AddPod on PreFilter plugin "Quota": lost count'
    trial = stage.trial(pending(cpu="1"), plugins=plugins)
    assert trial.verdict("n1", beside=[guest]) == text
    # no victim can be given back beside it
    assert trial.needed([Eviction("n1", (one, two), (guest,))]) == [(0, 1)]
    decision = stage.engine.decide(pending(cpu="1"), plugins=plugins, beside={"n1": [guest]})
    assert decision.error == text
    assert decision.node is None


def test_an_own_filter_that_fails_in_a_trial(stage: Stage) -> None:
    class Fragile:
        name = "Fragile"

        def filter(self, cycle: CycleView, pod: Pod, nodes: Any) -> Verdict:
            if cycle.requested("cpu")[0] == 0:
                raise PluginError("nothing to look at")
            return Verdict(~cycle.nowhere(), "")

    low = stage.place("low", cpu="1")
    trial = stage.trial(pending(cpu="1"), plugins=[Fragile()])
    assert trial.verdict("n1") is None
    assert trial.verdict("n1", without=[low]) == 'running "Fragile" filter plugin: nothing to look at'


def test_the_arrays_show_the_node_as_it_is_tried(stage: Stage) -> None:
    seen: list[tuple[list[int], list[int], list[bool]]] = []

    class Look:
        name = "Look"

        def filter(self, cycle: CycleView, pod: Pod, nodes: Any) -> Verdict:
            seen.append((cycle.requested("cpu").tolist(), cycle.requested("pods").tolist(), nodes.tolist()))
            return Verdict(~cycle.nowhere(), "")

    low = stage.place("low", cpu="1")
    stage.place("stays", cpu="2")
    trial = stage.trial(pending(cpu="1"), plugins=[Look()])
    trial.verdict("n1", without=[low], beside=[pending("guest", cpu="500m"), pending("more", cpu="250m")])
    assert seen == [
        ([3000, 0], [2, 0], [True, True]),
        ([2750, 0], [3, 0], [True, False]),
        ([2000, 0], [1, 0], [True, False]),
    ]


def test_own_refusals_say_whether_evictions_could_help(stage: Stage) -> None:
    class Never:
        name = "Never"

        def filter(self, cycle: CycleView, pod: Pod, nodes: Any) -> Verdict:
            return Verdict(cycle.nowhere(), "not here", resolvable=False)

    trial = stage.trial(pending(), plugins=[Never()])
    assert trial.verdict("n1") == Rejection("Never", UNRESOLVABLE, ("not here",))


def test_the_native_engine_has_to_be_told_how_pods_are_looked_up() -> None:
    stage = Stage(Engine)
    stage.place("low", cpu="1")
    trial = stage.engine.trial(stage.engine.decide(pending(cpu="1"), plugins=[Quota(stage)]))
    assert trial.verdict("n1") is None
    with pytest.raises(EngineError, match="pods_on"):
        trial.emptied(["n1"], below=1, beside={})
