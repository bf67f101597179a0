"""Statuses, FitError, event notes, conditions, and own plugins at Reserve, Permit, PreBind and PostBind."""

from __future__ import annotations

from typing import Any

import pytest
from lightkube.models.core_v1 import PodCondition

from tests.builders import make_node, make_pod, when
from tests.unit.scheduler.world import START_NS, World
from volsched.api.edit import replace
from volsched.engine.decision import UNRESOLVABLE, UNSCHEDULABLE, Rejection
from volsched.engine.reference import ReferenceEngine
from volsched.errors import EngineError
from volsched.ports import Bind, Patch, Pause, Steps
from volsched.scheduler.conditions import event_note, status_patch, with_condition
from volsched.scheduler.cycle import duration_text
from volsched.scheduler.events import NODE_ADD
from volsched.scheduler.framework import OK, Code, CycleState, Status, Verdicts, Wake, fit_error
from volsched.scheduler.plugins.dynamic_resources import DynamicResources
from volsched.scheduler.profile import default_profile


def test_reasons_are_sorted_as_texts() -> None:
    nodes = tuple(f"n{i}" for i in range(13))
    rejected = {node: Rejection("A", UNSCHEDULABLE, ("x",)) for node in nodes[:10]}
    rejected |= {node: Rejection("B", UNSCHEDULABLE, ("y",)) for node in nodes[10:12]}
    absent = Rejection("NodeAffinity", UNRESOLVABLE, ("elsewhere",))
    assert fit_error(Verdicts(nodes, rejected, absent=absent)) == "0/13 nodes are available: 1 elsewhere, 10 x, 2 y."
    assert fit_error(Verdicts(nodes, rejected), post_filter="more") == "0/13 nodes are available: 10 x, 2 y. more"
    assert fit_error(Verdicts(nodes, {}, prefilter=Rejection("C", UNRESOLVABLE, ("p", "q")))) == "0/13 nodes are available: p, q."
    assert fit_error(Verdicts(nodes, {})) == "0/13 nodes are available:"


def test_which_nodes_preemption_looks_at() -> None:
    rejected = {"a": Rejection("A", UNSCHEDULABLE, ("x",)), "b": Rejection("B", UNRESOLVABLE, ("y",))}
    assert Verdicts(("b", "a", "c"), rejected).with_code(UNSCHEDULABLE) == ["a"]
    everywhere = Verdicts(("b", "a"), {}, prefilter=Rejection("A", UNSCHEDULABLE, ("x",)))
    assert everywhere.with_code(UNSCHEDULABLE) == ["b", "a"]


@pytest.mark.parametrize(
    ("plugin", "code", "expected"),
    [("VolumeRestrictions", UNRESOLVABLE, "not found"), ("Mine", UNRESOLVABLE, ""), ("VolumeZone", UNSCHEDULABLE, "")],
)
def test_the_stray_not_found(plugin: str, code: str, expected: str) -> None:
    verdicts = Verdicts(("a",), {}, prefilter=Rejection(plugin, code, ("x",)))
    result = DynamicResources().post_filter(None, CycleState(), make_pod(), verdicts)  # type: ignore[arg-type]
    assert result.status.message == expected


# fmt: off
NOTES = [
    ("plain",                 "plain"),
    ("100%",                  "100%!(NOVERB)"),
    ("100%%",                 "100%"),
    ("50% of x",              "50%!o(MISSING)f x"),
    ("a %s b",                "a %!s(MISSING) b"),
    ("x" * 1024,              "x" * 1024),
    ("x" * 1025,              "x" * 1020 + " ..."),
]
# fmt: on


@pytest.mark.parametrize(("message", "note"), NOTES)
def test_event_notes(message: str, note: str) -> None:
    assert event_note(message) == note


def condition(message: str = "m", status: str = "False", generation: int = 1) -> PodCondition:
    return PodCondition(type="PodScheduled", status=status, reason="Unschedulable", message=message, observedGeneration=generation)


def test_conditions_are_written_when_they_change() -> None:
    pod = make_pod()
    first = with_condition(pod, condition(), START_NS)
    assert first is not None
    pod = replace(make_pod(phase="Pending"), status=replace(make_pod(phase="Pending").status, conditions=first))
    assert with_condition(pod, condition(generation=2), START_NS + 10**10) is None
    second = with_condition(pod, condition("other"), START_NS + 10**10)
    assert second is not None
    assert second[0].lastTransitionTime == first[0].lastTransitionTime  # the status is the same
    third = with_condition(pod, condition(status="True"), START_NS + 10**10)
    assert third is not None
    assert third[0].lastTransitionTime != first[0].lastTransitionTime


def test_status_patches() -> None:
    pod = make_pod(status={"nominatedNodeName": "n1"})
    assert status_patch(pod) is None
    assert status_patch(pod, nominated="n1") is None
    assert status_patch(make_pod(), nominated="") is None
    patch = status_patch(pod, nominated="")
    assert patch == Patch("Pod", "default", "pod", {"status": {"nominatedNodeName": None}}, subresource="status")


@pytest.mark.parametrize(("seconds", "text"), [(0, "0s"), (1.5, "1.5s"), (10, "10s"), (60, "1m0s"), (3661, "1h1m1s")])
def test_durations(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


# own plugins ---------------------------------------------------------------------------------------------------------------------------


class Recorder:
    """Takes part in everything from Reserve on and notes it down."""

    name = "Recorder"

    def __init__(self) -> None:
        self.log: list[str] = []
        self.answers: dict[str, Status] = {}
        self.wait_s = 0.0

    def wakes_on(self) -> tuple[Wake, ...]:
        return (Wake(NODE_ADD),)

    def _say(self, what: str) -> Status:
        self.log.append(what)
        return self.answers.get(what, OK)

    def reserve(self, state: CycleState, pod: Any, node: str) -> Status:
        return self._say("reserve")

    def unreserve(self, state: CycleState, pod: Any, node: str) -> None:
        self.log.append("unreserve")

    def permit(self, state: CycleState, pod: Any, node: str) -> tuple[Status, float]:
        return self._say("permit"), self.wait_s

    def pre_bind_pre_flight(self, state: CycleState, pod: Any, node: str) -> Status:
        return self._say("pre_flight")

    def pre_bind(self, state: CycleState, pod: Any, node: str) -> Steps[Status]:
        status = self._say("pre_bind")
        yield Pause(1.0)
        return status

    def post_bind(self, state: CycleState, pod: Any, node: str) -> None:
        self.log.append("post_bind")


def recorded(**answers: Status) -> tuple[World, Recorder]:
    recorder = Recorder()
    recorder.answers = answers
    world = World(make_node("n1"), profiles=[lambda handle: default_profile(handle, plugins=[recorder])])
    return world, recorder


def test_the_order_of_the_points() -> None:
    world, recorder = recorded()
    world.put(make_pod("web"))
    world.until(1)
    assert recorder.log == ["reserve", "permit", "pre_flight", "pre_bind", "post_bind"]
    assert [type(intent) for intent in world.intents[:3]] == [Patch, Pause, Bind]


@pytest.mark.parametrize(
    ("point", "status", "message"),
    [
        ("reserve", Status.fail("no"), 'running Reserve plugin "Recorder": no'),
        ("permit", Status.fail("no"), 'running Permit plugin "Recorder": no'),
        ("pre_flight", Status.fail("no"), 'running PreBindPreFlight "Recorder": no'),
        ("pre_bind", Status.fail("no"), 'running PreBind plugin "Recorder": no'),
        ("pre_bind", Status.refuse("no"), 'running PreBind plugin "Recorder": no'),
    ],
)
def test_errors_of_own_plugins(point: str, status: Status, message: str) -> None:
    world, recorder = recorded(**{point: status})
    world.put(make_pod("web"))
    world.until(1)
    assert world.condition("web") == ("False", "SchedulerError", message)
    assert recorder.log[-1] == "unreserve"
    assert world.scheduler.cache.assumed_pods() == []


@pytest.mark.parametrize("point", ["reserve", "permit"])
def test_refusals_of_own_plugins_wake_by_their_events(point: str) -> None:
    world, recorder = recorded(**{point: Status.refuse("no room")})
    world.put(make_pod("web"))
    world.until(20)
    assert world.condition("web") == ("False", "Unschedulable", "0/1 nodes are available: 1 no room.")
    assert recorder.log.count(point) == 1
    recorder.answers.clear()
    world.put(make_node("n2"))
    world.until(30)
    assert world.node_of("web") is not None


def test_a_pod_that_waits_at_permit_is_allowed() -> None:
    world, recorder = recorded(permit=Status(Code.WAIT), pre_flight=Status(Code.SKIP))
    recorder.wait_s = 60
    world.put(make_pod("web"))
    world.until(10)
    assert world.node_of("web") is None
    assert world.pod("web").status.nominatedNodeName == "n1"
    assert world.scheduler.cycles.settle_wait("uid-web", "Recorder", None)
    world.run()
    assert world.node_of("web") == "n1"
    assert not world.scheduler.cycles.settle_wait("uid-web", "Recorder", None)


def test_a_wait_at_permit_runs_out() -> None:
    world, recorder = recorded(permit=Status(Code.WAIT), pre_flight=Status(Code.SKIP))
    recorder.wait_s = 60
    world.put(make_pod("web"))
    world.until(61)
    assert world.condition("web") == (
        "False",
        "Unschedulable",
        "0/1 nodes are available: 1 rejected due to timeout after waiting 1m0s at plugin Recorder.",
    )
    assert world.pod("web").status.nominatedNodeName is None


def test_a_waiting_pod_that_is_deleted_stops_waiting() -> None:
    world, recorder = recorded(permit=Status(Code.WAIT), pre_flight=Status(Code.SKIP))
    recorder.wait_s = 600
    world.put(make_pod("web"))
    world.run()
    world.put(replace(world.pod("web"), metadata=replace(world.pod("web").metadata, deletionTimestamp=when(1))))
    world.run()
    assert world.scheduler.cycles.bindings == {}
    assert recorder.log[-1] == "unreserve"


def test_cycle_state_knows_what_it_does_not_have() -> None:
    with pytest.raises(EngineError, match="no Recorder was written"):
        CycleState().read(Recorder)


def test_profiles_need_names_of_their_own() -> None:
    with pytest.raises(EngineError, match="one scheduler name"):
        World(profiles=[default_profile, default_profile])


def test_two_profiles() -> None:
    mine = lambda handle: default_profile(handle, scheduler_name="mine")  # noqa: E731 - two one-line factories side by side
    world = World(make_node("n1"), profiles=[default_profile, mine])
    world.put(make_pod("web", scheduler_name="mine"), make_pod("other"))
    world.run()
    assert (world.node_of("web"), world.node_of("other")) == ("n1", "n1")
    assert {intent.source for intent in world.intents if hasattr(intent, "source")} == {"mine", "default-scheduler"}


def test_engine_plugins_are_handed_to_the_engine() -> None:
    handed: list[Any] = []

    class Engine(ReferenceEngine):
        def decide(self, pod: Any, *, plugins: Any = (), **options: Any) -> Any:
            handed.append(list(plugins))
            return super().decide(pod, **options)

    mine = Recorder()
    world = World(make_node("n1"), engine=Engine(), profiles=[lambda handle: default_profile(handle, engine_plugins=[mine])])
    world.put(make_pod("web"))
    world.run()
    assert handed == [[mine]]
