"""Queue arithmetic, moves, in-flight replay, gates; spec/scheduling.md 10."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from lightkube.models.core_v1 import PodSchedulingGate

from tests.builders import make_node, make_pod, make_taint
from tests.unit.scheduler.world import World
from volsched.api.edit import replace, with_annotations, with_labels, with_metadata, with_spec
from volsched.errors import EngineError
from volsched.ports import Delete, Emit
from volsched.scheduler.events import (
    ASSIGNED_POD_DELETE,
    NODE,
    NODE_ADD,
    NODE_DELETE,
    TARGET_POD,
    Action,
    ClusterEvent,
)
from volsched.scheduler.framework import Nominating, Status, Wake
from volsched.scheduler.plugins.scheduling_gates import SchedulingGates
from volsched.scheduler.queue import Place, QueuedPod, QueuePolicy, SchedulingQueue, backoff_ns

NS = 1_000_000_000
T0 = 1_800_000_000 * NS
NODES = Wake(ClusterEvent(NODE, Action.ADD | Action.UPDATE_NODE_LABEL))


def pod(name: str, *, priority: int | None = None, gates: Sequence[str] = (), version: int = 1):
    spec = {"schedulerName": "default-scheduler", "schedulingGates": [PodSchedulingGate(name=gate) for gate in gates] or None}
    return make_pod(name, uid=f"uid-{name}", priority=priority, version=version, spec=spec)


class Play:
    """A queue with one plugin "Nodes" that wakes on nodes, and what a test says more."""

    def __init__(self, *wakes: tuple[str, Wake], gates: Sequence = ()) -> None:
        self.known: dict[str, object] = {}
        policy = QueuePolicy([("Nodes", NODES), *wakes], [(gate.name, gate) for gate in gates])
        self.queue = SchedulingQueue({"default-scheduler": policy}, lister=lambda namespace, name: self.known.get(name))  # type: ignore[arg-type]

    def add(self, subject, at: float = 0) -> None:
        self.known[subject.metadata.name] = subject
        self.queue.add(subject, T0 + round(at * NS))

    def pop(self, at: float = 0) -> QueuedPod | None:
        return self.queue.pop(T0 + round(at * NS))

    def name(self, at: float = 0) -> str | None:
        popped = self.pop(at)
        return popped.pod.metadata.name if popped else None

    def fail(self, queued: QueuedPod | None, at: float = 0, *plugins: str, pending: Sequence[str] = ()) -> Place:
        assert queued is not None
        queued.rejectors = frozenset(plugins)
        queued.pending = frozenset(pending)
        return self.queue.requeue(queued, T0 + round(at * NS))

    def event(self, event: ClusterEvent, old=None, new=None, at: float = 0, only: Callable | None = None) -> None:
        self.queue.move_all(event, old, new, T0 + round(at * NS), only=only)

    def next_s(self) -> float | None:
        due = self.queue.next_flush_ns()
        return None if due is None else (due - T0) / NS

    def place(self, name: str) -> Place | None:
        return self.queue.place_of(pod(name))


# fmt: off
DURATIONS = [(0, 0), (1, 1), (2, 2), (3, 4), (4, 8), (5, 10), (6, 10), (70, 10)]
# fmt: on


@pytest.mark.parametrize(("count", "seconds"), DURATIONS)
def test_backoff_durations(count: int, seconds: int) -> None:
    assert backoff_ns(count) == seconds * NS


@pytest.mark.parametrize(
    # failed at, failures in a row, released at: the first whole second after the one in which the backoff ends
    ("failed", "count", "released"),
    [(0.0, 1, 2), (0.7, 1, 2), (0.999, 1, 2), (1.0, 1, 3), (0.3, 2, 3), (0.0, 3, 5), (0.5, 4, 9), (0.5, 5, 11), (2.25, 9, 13)],
)
def test_release_times(failed: float, count: int, released: int) -> None:
    play = Play()
    play.add(pod("a"))
    queued = play.pop()
    assert queued is not None
    queued.consecutive_errors = count - 1
    assert play.fail(queued, failed) is Place.BACKOFF
    assert play.next_s() == released
    play.queue.flush(T0 + (released - 1) * NS)
    assert play.name(released - 1) is None
    play.queue.flush(T0 + released * NS)
    assert play.name(released) == "a"


def test_priority_then_time_then_insertion() -> None:
    play = Play()
    play.add(pod("late"), 2)
    play.add(pod("early"), 1)
    play.add(pod("also-early"), 1)
    play.add(pod("important", priority=5), 3)
    assert [play.name(4) for _ in range(5)] == ["important", "early", "also-early", "late", None]


def test_a_refused_pod_waits_for_its_events() -> None:
    play = Play()
    play.add(pod("a"))
    assert play.fail(play.pop(), 0, "Nodes") is Place.UNSCHEDULABLE
    play.event(NODE_DELETE, make_node("n"))
    assert play.place("a") is Place.UNSCHEDULABLE
    play.event(NODE_ADD, None, make_node("n"), at=0.5)
    assert play.place("a") is Place.BACKOFF
    assert play.name(0.5) == "a"  # activeQ is empty: no need to wait


def test_the_refused_one_backs_off_behind_others() -> None:
    play = Play()
    play.add(pod("a"))
    play.fail(play.pop(), 0, "Nodes")
    play.add(pod("b"))
    play.event(NODE_ADD, None, make_node("n"))
    assert play.name() == "b"
    assert play.name() == "a"


def test_a_pod_whose_backoff_is_over_goes_straight_to_active() -> None:
    play = Play()
    play.add(pod("a"))
    play.fail(play.pop(), 0, "Nodes")
    play.event(NODE_ADD, None, make_node("n"), at=2)
    assert play.place("a") is Place.ACTIVE


def test_errors_wait_their_backoff_out_even_if_nothing_else_waits() -> None:
    play = Play()
    play.add(pod("a"))
    assert play.fail(play.pop(), 0) is Place.BACKOFF
    assert play.name(1.5) is None
    assert not play.queue.can_pop


def test_the_two_backoffs_are_told_apart() -> None:
    play = Play()
    for name in ("refused", "failed"):
        play.add(pod(name))
    refused, failed = (play.pop(), play.pop())
    assert play.fail(refused, 0, "Nodes") is Place.UNSCHEDULABLE
    assert play.fail(failed, 0) is Place.BACKOFF
    assert not play.queue.can_pop
    play.event(NODE_ADD, None, make_node("n"))
    assert (play.place("refused"), play.place("failed")) == (Place.BACKOFF, Place.BACKOFF)
    # an empty activeQ is filled from the one, never from the other
    assert [play.name(), play.name()] == ["refused", None]
    assert play.place("failed") is Place.BACKOFF
    play.queue.flush(T0 + 2 * NS)
    assert play.name(2) == "failed"


def test_backoff_ends_by_time_then_by_priority() -> None:
    play = Play()
    for name, priority in (("twice", 9), ("low", 1), ("high", 5)):
        play.add(pod(name, priority=priority))
    queued = {item.pod.metadata.name: item for item in (play.pop(), play.pop(), play.pop()) if item}
    queued["twice"].unschedulable_count = 1  # the second failure backs off for longer
    for name in ("twice", "low", "high"):
        play.fail(queued[name], 0, "Nodes")
    play.event(NODE_ADD, None, make_node("n"))
    assert [play.name() for _ in range(4)] == ["high", "low", "twice", None]


def test_errors_of_one_second_are_released_together_in_order_of_priority() -> None:
    play = Play()
    for name, priority in (("low", 1), ("high", 5)):
        play.add(pod(name, priority=priority))
    first, second = play.pop(), play.pop()
    play.fail(second, 0.1)
    play.fail(first, 0.9)
    assert play.next_s() == 2
    play.queue.flush(T0 + 2 * NS)
    assert [play.name(2), play.name(2)] == ["high", "low"]


def test_what_waits_in_active_goes_before_what_backs_off() -> None:
    play = Play()
    play.add(pod("first", priority=9))
    play.fail(play.pop(), 0, "Nodes")
    play.event(NODE_ADD, None, make_node("n"))
    play.add(pod("second"))
    assert [play.name(), play.name()] == ["second", "first"]


def test_counters() -> None:
    play = Play()
    play.add(pod("a"))
    queued = play.pop()
    assert queued is not None
    play.fail(queued, 0, "Nodes")
    play.event(NODE_ADD, None, make_node("n"), at=9)
    play.fail(play.pop(9), 9)
    assert (queued.unschedulable_count, queued.consecutive_errors) == (1, 1)
    play.queue.flush(T0 + 20 * NS)
    play.fail(play.pop(20), 20, "Nodes")
    assert (queued.unschedulable_count, queued.consecutive_errors, queued.attempts) == (2, 0, 3)


def test_events_while_in_flight_are_replayed() -> None:
    play = Play()
    play.add(pod("a"))
    queued = play.pop()
    play.event(NODE_ADD, None, make_node("n"))
    assert play.fail(queued, 0, "Nodes") is Place.BACKOFF
    # only events since the pop count
    again = play.pop()
    assert play.fail(again, 0, "Nodes") is Place.UNSCHEDULABLE


def test_replayed_events_are_judged_by_their_hints() -> None:
    def is_large(subject, old, new) -> bool:
        return new.metadata.name == "large"

    play = Play(("Picky", Wake(NODE_ADD, is_large)))
    for name in ("a", "b"):
        play.add(pod(name))
    first = play.pop()
    play.event(NODE_ADD, None, make_node("large"))
    second = play.pop()  # after the event
    play.event(NODE_ADD, None, make_node("small"))
    assert play.fail(first, 0, "Picky") is Place.BACKOFF
    assert play.fail(second, 0, "Picky") is Place.UNSCHEDULABLE


def test_events_mean_nothing_to_a_pod_that_comes_back_with_an_error() -> None:
    play = Play()
    play.add(pod("a"))
    queued = play.pop()
    play.event(NODE_ADD, None, make_node("n"))
    assert play.fail(queued, 0) is Place.BACKOFF
    assert play.name(1) is None


def test_pending_plugins_are_replayed_without_backoff() -> None:
    play = Play(("Waits", Wake(ASSIGNED_POD_DELETE)))
    play.add(pod("a"))
    queued = play.pop()
    play.event(NODE_ADD, None, make_node("n"))
    play.event(ASSIGNED_POD_DELETE, pod("x"))
    assert play.fail(queued, 0, "Nodes", pending=["Waits"]) is Place.ACTIVE


def test_events_nobody_registered_for_are_not_kept() -> None:
    play = Play(("Other", Wake(ASSIGNED_POD_DELETE)))
    play.add(pod("a"))
    queued = play.pop()
    play.event(NODE_DELETE, make_node("n"))
    play.event(ASSIGNED_POD_DELETE, pod("x"))
    assert play.fail(queued, 0, "Nodes") is Place.UNSCHEDULABLE


def test_in_flight_events_are_dropped_with_their_last_reader() -> None:
    play = Play()
    for name in ("a", "b"):
        play.add(pod(name))
    first, second = play.pop(), play.pop()
    assert first is not None
    assert second is not None
    play.event(NODE_ADD, None, make_node("n"))
    play.queue.done(first.pod)
    assert play.fail(second, 0, "Nodes") is Place.BACKOFF
    assert not play.queue._seen


def test_hints_decide_and_a_failing_hint_counts_as_yes() -> None:
    def only_big(subject, old, new) -> bool:
        return new.metadata.name == "big"

    def broken(subject, old, new) -> bool:
        raise ValueError("unreadable")

    play = Play(("Picky", Wake(NODE_ADD, only_big)), ("Broken", Wake(NODE_ADD, broken)))
    play.add(pod("a"))
    play.fail(play.pop(), 0, "Picky")
    play.event(NODE_ADD, None, make_node("small"))
    assert play.place("a") is Place.UNSCHEDULABLE
    play.event(NODE_ADD, None, make_node("big"))
    assert play.place("a") is Place.BACKOFF
    play.fail(play.pop(), 0, "Broken")
    play.event(NODE_ADD, None, make_node("small"))
    assert play.place("a") is Place.BACKOFF


def test_pending_plugins_skip_the_backoff() -> None:
    play = Play(("Waits", Wake(ASSIGNED_POD_DELETE)))
    play.add(pod("a"))
    play.fail(play.pop(), 0, "Nodes", pending=["Waits"])
    play.event(ASSIGNED_POD_DELETE, pod("x"))
    assert play.place("a") is Place.ACTIVE


def test_only_restricts_a_move() -> None:
    play = Play()
    for name in ("a", "b"):
        play.add(pod(name))
    play.fail(play.pop(), 0, "Nodes")
    play.fail(play.pop(), 0, "Nodes")
    play.event(NODE_ADD, None, make_node("n"), only=lambda p: p.metadata.name == "b")
    assert (play.place("a"), play.place("b")) == (Place.UNSCHEDULABLE, Place.BACKOFF)


def test_flush_after_five_minutes_on_the_30_s_grid() -> None:
    play = Play()
    play.add(pod("a"))
    play.fail(play.pop(), 7, "Nodes")
    assert play.next_s() == 330  # 7 + 300 has passed at the tick of 330, not yet at that of 300
    play.queue.flush(T0 + 300 * NS)
    assert play.place("a") is Place.UNSCHEDULABLE
    play.queue.flush(T0 + 330 * NS)
    assert play.place("a") is Place.ACTIVE


def test_exactly_five_minutes_are_not_more_than_five_minutes() -> None:
    play = Play()
    play.add(pod("a"))
    play.fail(play.pop(), 0, "Nodes")
    assert play.next_s() == 330


def test_the_flush_is_replayed_for_what_is_in_flight() -> None:
    play = Play()
    for name in ("old", "tried"):
        play.add(pod(name))
    old, tried = play.pop(), play.pop()
    play.fail(old, 0, "Nodes")
    play.queue.flush(T0 + 330 * NS)
    assert play.place("old") is Place.ACTIVE
    assert play.fail(tried, 330, "Nodes") is Place.BACKOFF


def test_the_flush_leaves_the_young_alone() -> None:
    play = Play()
    for name in ("old", "young"):
        play.add(pod(name))
    old, young = play.pop(), play.pop()
    play.fail(old, 0, "Nodes")
    play.fail(young, 40, "Nodes")
    play.queue.flush(T0 + 330 * NS)
    assert (play.place("old"), play.place("young")) == (Place.ACTIVE, Place.UNSCHEDULABLE)
    assert play.next_s() == 360


def test_the_flush_starts_the_five_minutes_anew() -> None:
    play = gated_play()
    assert play.next_s() == 330
    play.queue.flush(T0 + 330 * NS)
    assert play.place("a") is Place.GATED
    assert play.next_s() == 660


# updates -------------------------------------------------------------------------------------------------------------------------------


def test_an_update_in_place_keeps_the_pod_where_it_is() -> None:
    play = Play()
    play.add(pod("a"))
    newer = with_labels(pod("a", version=2), {"x": "y"})
    play.queue.update(pod("a"), newer, T0)
    popped = play.pop()
    assert popped is not None
    assert popped.pod is newer


def test_an_update_of_a_refused_pod_asks_its_hints() -> None:
    play = Play(("Labels", Wake(ClusterEvent(TARGET_POD, Action.UPDATE_POD_LABEL))))
    play.add(pod("a"))
    play.fail(play.pop(), 0, "Labels")
    play.queue.update(pod("a"), with_metadata(pod("a"), annotations={"x": "y"}), T0)
    assert play.place("a") is Place.UNSCHEDULABLE
    play.queue.update(pod("a"), with_labels(pod("a"), {"x": "y"}), T0)
    assert play.place("a") is Place.BACKOFF


def test_an_update_in_flight_is_judged_when_the_pod_comes_back() -> None:
    play = Play(("Labels", Wake(ClusterEvent(TARGET_POD, Action.UPDATE_POD_LABEL))))
    play.add(pod("a"))
    queued = play.pop()
    play.queue.update(pod("a"), with_labels(pod("a"), {"x": "y"}), T0)
    assert play.fail(queued, 0, "Labels") is Place.BACKOFF


def test_an_update_of_an_unknown_pod_adds_it() -> None:
    play = Play()
    play.queue.update(pod("a"), pod("a", version=2), T0)
    assert play.name() == "a"


def test_delete_from_every_place() -> None:
    play = Play()
    for name in ("active", "refused", "failed"):
        play.add(pod(name))
    by_name = {queued.pod.metadata.name: queued for queued in (play.pop(), play.pop(), play.pop()) if queued}
    play.fail(by_name["refused"], 0, "Nodes")
    play.fail(by_name["failed"], 0)
    play.queue.done(by_name["active"].pod)
    play.add(pod("active"))
    for name in by_name:
        play.queue.delete(pod(name))
        assert play.place(name) is None
    assert play.queue.pending() == []
    assert play.next_s() is None


def test_a_pod_cannot_come_back_twice() -> None:
    play = Play()
    play.add(pod("a"))
    queued = play.pop()
    play.fail(queued, 0, "Nodes")
    with pytest.raises(EngineError, match="in the queue already"):
        play.fail(queued, 0, "Nodes")


def test_a_pod_added_while_in_flight_is_not_popped_twice() -> None:
    play = Play()
    play.add(pod("a"))
    play.pop()
    play.queue.add(pod("a"), T0)
    assert play.name() is None


def test_an_update_in_backoff_changes_the_rank() -> None:
    play = Play()
    for name in ("a", "b"):
        play.add(pod(name))
    play.fail(play.pop(), 0, "Nodes")
    play.fail(play.pop(), 0, "Nodes")
    play.event(NODE_ADD, None, make_node("n"))
    play.queue.update(pod("b"), pod("b", priority=7, version=2), T0)
    assert [play.name(), play.name()] == ["b", "a"]


# gates ---------------------------------------------------------------------------------------------------------------------------------


def gated_play() -> Play:
    gates = SchedulingGates()
    play = Play(*(("SchedulingGates", wake) for wake in gates.wakes_on()), gates=[gates])
    play.add(pod("a", gates=["x", "y"]))
    return play


def test_a_gated_pod_stays_out() -> None:
    play = gated_play()
    assert play.place("a") is Place.GATED
    assert play.name() is None
    play.event(NODE_ADD, None, make_node("n"))
    assert play.place("a") is Place.GATED
    assert SchedulingGates().pre_enqueue(pod("a", gates=["x", "y"])).message == "waiting for scheduling gates: [x y]"


def test_a_gate_less_is_not_enough() -> None:
    play = gated_play()
    play.queue.update(pod("a", gates=["x", "y"]), pod("a", gates=["y"], version=2), T0)
    assert play.place("a") is Place.GATED
    play.queue.update(pod("a", gates=["y"], version=2), pod("a", version=3), T0)
    assert play.name() == "a"


def test_the_flush_does_not_open_gates() -> None:
    play = gated_play()
    play.queue.flush(T0 + 400 * NS)
    assert play.place("a") is Place.GATED


def test_a_gate_is_asked_again_before_backoff_but_not_after() -> None:
    class Door:
        name = "Door"
        open = True
        asked = 0

        def pre_enqueue(self, subject) -> Status:
            self.asked += 1
            return Status() if self.open else Status.refuse("closed")

    door = Door()
    play = Play(gates=[door])
    play.add(pod("a"))
    play.fail(play.pop(), 0)
    assert door.asked == 2
    play.queue.flush(T0 + 2 * NS)
    assert door.asked == 2
    queued = play.pop(2)
    door.open = False
    assert play.fail(queued, 2) is Place.UNSCHEDULABLE
    assert play.place("a") is Place.GATED


def test_only_its_own_events_have_a_gate_asked_again() -> None:
    class Door:
        name = "Door"
        is_open = False
        asked = 0

        def pre_enqueue(self, subject) -> Status:
            self.asked += 1
            return Status() if self.is_open else Status.refuse("closed")

    door = Door()
    play = Play(("Door", Wake(ASSIGNED_POD_DELETE, lambda subject, old, new: old.metadata.name == "key")), gates=[door])
    play.add(pod("a"))
    assert (play.place("a"), door.asked) == (Place.GATED, 1)
    door.is_open = True
    play.event(NODE_ADD, None, make_node("n"))
    play.event(ASSIGNED_POD_DELETE, pod("x"))  # its event, but its hint says no
    assert (play.place("a"), door.asked) == (Place.GATED, 1)
    play.event(ASSIGNED_POD_DELETE, pod("key"))
    assert (play.place("a"), door.asked) == (Place.ACTIVE, 2)


def test_a_preemptor_is_gated_until_its_last_victim_has_left() -> None:
    world = World(make_node("n1", cpu="2"), *(make_pod(name, node="n1", cpu="1") for name in ("one", "two")))
    world.graceful = True
    world.put(make_pod("web", cpu="2", priority=10))
    world.run()
    queue = world.scheduler.queue
    assert [delete.name for delete in world.of(Delete)] == ["one", "two"]
    # all evictions have been answered: no gate, but nothing that could wake it either
    assert queue.place_of(world.pod("web")) is Place.UNSCHEDULABLE
    world.gone("Pod", "default/one")
    world.until(3)
    assert world.node_of("web") is None
    world.gone("Pod", "default/two")
    world.until(9)
    assert world.node_of("web") == "n1"


# updates of nodes ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "tried"),
    [
        (lambda node: with_annotations(node, {"x": "y"}), False),
        (lambda node: with_labels(node, {"x": "y"}), False),
        (lambda node: with_spec(node, taints=[make_taint("k")]), False),
        (lambda node: replace(node, status=replace(node.status, allocatable={"cpu": "64", "memory": "64Gi", "pods": "110"})), False),
        (lambda node: with_labels(node, {"disk": "ssd"}), True),
        (lambda node: with_spec(with_labels(node, {"disk": "ssd"}), taints=[make_taint("k")]), True),
    ],
    ids=["annotation", "other-label", "taint", "allocatable", "label", "label-and-taint"],
)
def test_a_node_update_is_told_by_what_changed(change: Callable, tried: bool) -> None:
    world = World(make_node("n1"), make_pod("web", node_selector={"disk": "ssd"})).run()
    world.put(change(world.get("Node", "n1")))
    world.run()
    failures = [event for event in world.of(Emit) if event.reason == "FailedScheduling"]
    # one more attempt for the whole update, however many properties it changed
    assert (len(failures) + bool(world.node_of("web"))) == (2 if tried else 1)


# activation and nomination -------------------------------------------------------------------------------------------------------------


def test_activate() -> None:
    play = Play()
    for name in ("refused", "failed"):
        play.add(pod(name))
    play.fail(play.pop(), 0, "Nodes")
    play.fail(play.pop(), 0)
    play.queue.activate([pod("refused"), pod("failed"), pod("unknown")], T0)
    assert [play.name(), play.name(), play.name()] == ["refused", "failed", None]


def test_activate_in_flight_works_when_the_pod_comes_back() -> None:
    play = Play()
    for name in ("a", "b"):
        play.add(pod(name))
    first, second = play.pop(), play.pop()
    play.queue.activate([pod("a")], T0)
    assert play.fail(first, 0, "Nodes") is Place.BACKOFF
    assert play.fail(second, 0, "Nodes") is Place.UNSCHEDULABLE  # meant for the other pod


def test_nominations() -> None:
    play = Play()
    plain = pod("a")
    play.known["a"] = plain
    nominator = play.queue.nominator
    play.queue.nominate(plain, Nominating("n1"))
    assert [p.metadata.name for p in nominator.on_node("n1")] == ["a"]
    # an update that says nothing of a node keeps the promise; one that names another moves it
    nominator.update(plain, with_labels(plain, {"x": "y"}))
    assert nominator.nodes() == ["n1"]
    named = make_pod("a", uid="uid-a", status={"nominatedNodeName": "n2"})
    nominator.update(plain, named)
    assert nominator.nodes() == ["n2"]
    nominator.update(named, plain)
    assert nominator.nodes() == []
    play.queue.nominate(plain, Nominating("n1"))
    play.queue.nominate(plain, Nominating(""))
    assert nominator.nodes() == []


def test_pods_that_are_gone_or_bound_are_not_nominated() -> None:
    play = Play()
    play.queue.nominate(pod("gone"), Nominating("n1"))
    play.known["bound"] = with_spec(pod("bound"), nodeName="n3")
    play.queue.nominate(pod("bound"), Nominating("n1"))
    assert play.queue.nominator.nodes() == []
