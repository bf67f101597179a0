"""Pods that no kubelet ends: of lost nodes, without a node, on nodes out of service, and too many that have ended."""

from __future__ import annotations

from typing import Any

import pytest
from lightkube.models.core_v1 import NodeCondition, PodStatus

from tests.builders import make_node, make_pod, make_taint, when
from tests.unit.controllers.harness import S, World, same_end_whatever_happens
from volsched.api.edit import is_deleting, replace, with_metadata
from volsched.controllers.pod_garbage import GARBAGE, OUT_OF_SERVICE, PodGarbageCollector, is_out

READY = {"conditions": [NodeCondition(type="Ready", status="True")]}
UNREADY = {"conditions": [NodeCondition(type="Ready", status="Unknown")]}


def make_world(*, terminated_max: int = 12_500) -> World:
    world = World()
    world.add(lambda: PodGarbageCollector(world.clock, terminated_max=terminated_max))
    return world


def running(name: str = "web", **options: Any) -> Any:
    return replace(make_pod(name, **options), status=PodStatus(phase="Running"))


def pods(world: World) -> list[str]:
    return sorted(key.name for key in world.objects if key.kind == "Pod")


def due_after(world: World) -> float | None:
    """Seconds until the collector wants to be woken."""
    at_ns = world._processes[0].decider.wake_at_ns()
    return None if at_ns is None else (at_ns - world.clock.ns) / S


def test_every_combination_of_the_table_meets_a_row() -> None:
    for facts in GARBAGE.combinations():
        GARBAGE.decide(**facts)
    assert not GARBAGE.unreachable()


def test_pods_of_a_lost_node_fail_and_go_after_the_quarantine() -> None:
    world = make_world()
    world.create(make_node("n1", status=READY))
    world.create(make_node("n2", status=READY))
    world.create(with_metadata(running(node="n1"), finalizers=["example.com/held"]))
    world.create(running("other", node="n2"))
    world.create(running("waiting"))
    world.settle(seconds=100)
    assert due_after(world) is None and not [line for line in world.writes if line.startswith("kube")]
    world.delete("Node", "n1")
    world.settle(seconds=39)
    assert not is_deleting(world.get("Pod", "web"))
    world.settle(seconds=25)
    pod = world.get("Pod", "web")
    (condition,) = pod.status.conditions
    assert pod.status.phase == "Failed" and is_deleting(pod) and pod.metadata.deletionGracePeriodSeconds == 0
    told = (condition.type, condition.status, condition.reason, condition.message)
    assert told == ("DisruptionTarget", "True", "DeletionByPodGC", "PodGC: node no longer exists")
    assert pods(world) == ["other", "waiting", "web"]
    world.edit(with_metadata(pod, finalizers=None))
    world.settle(seconds=100)
    assert pods(world) == ["other", "waiting"] and due_after(world) is None and world.events == []


def test_a_node_that_comes_back_in_time_keeps_its_pods() -> None:
    world = make_world()
    world.create(running(node="n1"))
    world.settle(seconds=30)
    world.create(make_node("n1", status=READY))
    world.settle(seconds=200)
    assert pods(world) == ["web"] and due_after(world) is None


def test_a_node_that_the_view_does_not_know_but_the_server_does_is_not_lost() -> None:
    world = make_world()
    world.create(running(node="n1"))
    world.settle(seconds=1)
    world.lag = True
    process = world._processes[0]
    world.create(make_node("n1", status=READY))
    held = list(process.inbox)
    process.inbox.clear()  # the watch is behind
    world.settle(seconds=120)
    assert pods(world) == ["web"]
    process.inbox.extend(held)
    world.settle(seconds=120)
    assert pods(world) == ["web"] and due_after(world) is None


def test_a_pod_deleted_before_it_had_a_node_goes_with_the_next_round() -> None:
    world = make_world()
    world.create(with_metadata(make_pod("web"), finalizers=["example.com/held"]))
    world.settle(seconds=5)
    world.delete("Pod", "web")
    assert due_after(world) == 15
    world.settle(seconds=15)
    assert world.get("Pod", "web").status.phase == "Failed" and not world.get("Pod", "web").status.conditions


@pytest.mark.parametrize(
    ("status", "tainted", "out"), [(READY, True, False), (UNREADY, False, False), (UNREADY, True, True), (None, True, True)]
)
def test_terminating_pods_of_a_node_out_of_service(status: Any, tainted: bool, out: bool) -> None:
    world = make_world()
    node = make_node("n1", status=status, taints=[make_taint(OUT_OF_SERVICE, "nodeshutdown", "NoExecute")] if tainted else [])
    assert is_out(node) is out
    world.create(node)
    world.create(running(node="n1"))
    world.create(running("stays", node="n1"))
    world.delete("Pod", "web", grace=30)
    world.settle(seconds=25)
    assert pods(world) == (["stays"] if out else ["stays", "web"])


def test_ended_pods_above_the_threshold_go_evicted_first_then_the_oldest() -> None:
    world = make_world(terminated_max=2)
    for name, status, age in (
        ("old", PodStatus(phase="Succeeded"), 0),
        ("new", PodStatus(phase="Failed"), 9),
        ("evicted", PodStatus(phase="Failed", reason="Evicted"), 8),
        ("a-newest", PodStatus(phase="Succeeded"), 9),
        ("runs", PodStatus(phase="Running"), 0),
    ):
        world.create(replace(make_pod(name, created=when(age)), status=status))
    world.settle(seconds=20)
    assert pods(world) == ["a-newest", "new", "runs"] and due_after(world) is None
    assert not [line for line in world.writes if "status" in line]


def test_interruptions_at_every_write_end_alike() -> None:
    def play(world: World) -> None:
        world.create(make_node("n1", status=READY))
        world.create(running(node="n1"))
        world.create(running("b", node="n1"))
        world.create(with_metadata(make_pod("c"), finalizers=["example.com/held"]))
        world.delete("Pod", "c")
        world.delete("Node", "n1")
        world.settle(seconds=300)
        assert pods(world) == ["c"]

    assert same_end_whatever_happens(play, make_world, ignore=lambda summary: summary) > 20
