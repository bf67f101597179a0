"""DefaultPreemption: messages, candidates, budgets, eviction, nomination; spec/scheduling.md 11."""

from __future__ import annotations

from typing import Any

import pytest
from lightkube.models.meta_v1 import LabelSelector, ObjectMeta
from lightkube.models.policy_v1 import PodDisruptionBudget, PodDisruptionBudgetSpec, PodDisruptionBudgetStatus

from tests.builders import make_class, make_node, make_pod, make_pv, make_pvc, make_taint, when
from tests.unit.scheduler.world import World
from volsched.engine import Engine
from volsched.errors import ApiError
from volsched.ports import Delete, Emit, Patch
from volsched.scheduler.plugins.default_preemption import Candidate, choose
from volsched.scheduler.queue import Place


def running(name: str, node: str, cpu: str, priority: int | None = None, started: float | None = 0, **rest: Any) -> Any:
    status = {"startTime": when(started)} if started is not None else None
    return make_pod(name, node=node, cpu=cpu, priority=priority, status=status, **rest)


def budget(allowed: int, disrupted: dict[str, Any] | None = None, **labels: str) -> PodDisruptionBudget:
    return PodDisruptionBudget(
        metadata=ObjectMeta(name="budget", namespace="default"),
        spec=PodDisruptionBudgetSpec(selector=LabelSelector(matchLabels=labels)),
        status=PodDisruptionBudgetStatus(
            currentHealthy=1, desiredHealthy=1, disruptionsAllowed=allowed, expectedPods=1, disruptedPods=disrupted
        ),
    )


def message(world: World, name: str = "web") -> str:
    condition = world.condition(name)
    assert condition is not None
    return condition[2] or ""


def victims(world: World) -> list[str]:
    return [delete.name for delete in world.of(Delete)]


def test_a_victim_is_found_evicted_and_replaced() -> None:
    world = World(make_node("n1", cpu="1"), make_node("n2", taints=[make_taint("k")]), running("low", "n1", "1"))
    world.put(make_pod("web", cpu="1", priority=10))
    world.run()
    patches = [patch for patch in world.of(Patch) if patch.name == "web"]
    assert patches[0].body["status"]["nominatedNodeName"] == "n1"
    text = patches[0].body["status"]["conditions"][0]["message"]
    assert text == (
        "0/2 nodes are available: 1 Insufficient cpu, 1 node(s) had untolerated taint(s). "
        "preemption: found a potential placement for pod on node n1, preempting 1 victims"
    )
    marked = next(patch for patch in world.of(Patch) if patch.name == "low")
    condition = marked.body["status"]["conditions"][-1]
    assert (condition["type"], condition["status"], condition["reason"]) == ("DisruptionTarget", "True", "PreemptionByScheduler")
    assert condition["message"] == "default-scheduler: preempting to accommodate a higher priority pod"
    assert victims(world) == ["low"]
    assert world.notes()[:2] == [f"FailedScheduling: {text}", "Preempted: Preempted by pod uid-web on node n1"]
    assert world.node_of("web") == "n1"
    assert world.scheduler.queue.nominator.nodes() == []


def test_only_as_many_victims_as_needed() -> None:
    world = World(
        make_node("n1", cpu="4"),
        running("old", "n1", "1", started=0),
        running("young", "n1", "1", started=50),
        running("dear", "n1", "2", priority=5),
    )
    world.put(make_pod("web", cpu="1", priority=10))
    world.run()
    assert victims(world) == ["young"]


@pytest.mark.parametrize(
    ("left", "right", "chosen"),
    [
        ([("a", 5, 0)], [("b", 3, 0)], "right"),  # lowest highest priority
        ([("a", 3, 0), ("b", 2, 0)], [("c", 3, 0), ("d", 1, 0)], "right"),  # smaller sum
        ([("a", 3, 0), ("b", 0, 0)], [("c", 3, 0)], "right"),  # fewer victims
        ([("a", 3, 9)], [("b", 3, 20)], "right"),  # the one that started later
        ([("a", 3, 9)], [("b", 3, 9)], "left"),  # node order
    ],
)
def test_choice(left: list[tuple[str, int, float]], right: list[tuple[str, int, float]], chosen: str) -> None:
    def candidate(node: str, rows: list[tuple[str, int, float]]) -> Candidate:
        return Candidate(node, tuple(running(name, node, "1", priority, started) for name, priority, started in rows), 0)

    assert choose([candidate("left", left), candidate("right", right)], 0).node == chosen
    worse = candidate("right", right)._replace(violations=1)
    assert choose([candidate("left", left), worse], 0).node == "left"


def test_budgets_come_first() -> None:
    world = World(
        make_node("n1", cpu="1"),
        make_node("n2", cpu="1"),
        running("guarded", "n1", "1", labels={"app": "db"}),
        running("free", "n2", "1", priority=4),
        budget(0, app="db"),
    )
    world.put(make_pod("web", cpu="1", priority=10))
    world.run()
    assert victims(world) == ["free"]  # although its priority is higher


def test_a_guarded_victim_is_given_back_first() -> None:
    world = World(
        make_node("n1", cpu="2"),
        running("free", "n1", "1", priority=4, labels={"app": "x"}),
        running("guarded", "n1", "1", labels={"app": "db"}),
        budget(0, app="db"),
    )
    world.put(make_pod("web", cpu="1", priority=10))
    world.run()
    assert victims(world) == ["free"]


def test_a_disrupted_pod_is_accounted_for_already() -> None:
    world = World(
        make_node("n1", cpu="1"),
        make_node("n2", cpu="1"),
        running("guarded", "n1", "1", labels={"app": "db"}),
        running("free", "n2", "1", priority=4),
        budget(0, {"guarded": when(0)}, app="db"),
    )
    world.put(make_pod("web", cpu="1", priority=10))
    world.run()
    assert victims(world) == ["guarded"]


def test_the_holder_of_a_read_write_once_pod_claim_is_preempted() -> None:
    world = World(
        make_node("n1"),
        make_node("n2"),
        make_class("net"),
        make_pv("pv", storage_class="net", claim="data", claim_uid="uid-data", modes=["ReadWriteOncePod"]),
        make_pvc("data", storage_class="net", bound_to="pv", uid="uid-data", modes=["ReadWriteOncePod"]),
        running("holder", "n2", "1", claims=["data"]),
    )
    world.put(make_pod("web", priority=10, claims=["data"]))
    world.run()
    assert victims(world) == ["holder"]
    assert "on node n2, preempting 1 victims" in world.notes()[0]


def test_waiting_for_a_victim_that_terminates() -> None:
    world = World(make_node("n1", cpu="1"), running("low", "n1", "1"))
    world.graceful = True
    world.put(make_pod("web", cpu="1", priority=10))
    world.run()
    world.put(make_node("n1", cpu="1", pods="200"))  # wakes the pod for another try
    world.until(3)
    assert message(world) == (
        "0/1 nodes are available: 1 Insufficient cpu. preemption: not eligible due to a terminating pod on the nominated node."
    )
    assert world.pod("web").status.nominatedNodeName == "n1"  # unchanged
    world.gone("Pod", "default/low")
    world.until(9)
    assert world.node_of("web") == "n1"


def test_a_victim_that_terminates_anyway_is_not_deleted_again() -> None:
    world = World(make_node("n1", cpu="1"), running("low", "n1", "1", deleted=when(0), finalizers=["x/y"]))
    world.put(make_pod("web", cpu="1", priority=10))
    world.run()
    assert "preempting 1 victims" in message(world)
    assert victims(world) == []
    assert world.of(Emit)[0].reason == "FailedScheduling"


def test_the_promised_node_is_kept_from_others() -> None:
    world = World(make_node("n1", cpu="1"), running("low", "n1", "1"))
    world.graceful = True
    world.put(make_pod("web", cpu="1", priority=10))
    world.run()
    queue = world.scheduler.queue
    assert queue.nominator.nodes() == ["n1"]
    # the victim goes, and a pod of equal priority comes first: it must not take the place
    world.put(make_pod("thief", cpu="1", priority=10))
    world.run()
    assert world.node_of("thief") is None
    world.gone("Pod", "default/low")
    world.until(20)
    assert world.node_of("web") == "n1"
    assert world.node_of("thief") is None


def test_a_pod_of_higher_priority_does_not_care_for_promises() -> None:
    world = World(make_node("n1", cpu="1"))
    world.put(make_pod("web", cpu="1", priority=10, status={"nominatedNodeName": "n1"}, spec={"schedulingGates": None}))
    world.put(make_pod("vip", cpu="1", priority=20))
    world.items.reverse()
    world.run()
    assert world.node_of("vip") == "n1"


def test_a_pod_in_prebind_is_cancelled_in_memory() -> None:
    world = World(
        make_node("n1", cpu="1"),
        make_class("disks", provisioner="kubernetes.io/no-provisioner"),
        make_pv("disk", storage_class="disks", node="n1", phase="Available"),
        make_pvc("data", storage_class="disks", uid="uid-data"),
    )
    world.put(make_pod("low", cpu="1", claims=["data"]))
    world.run()
    world.put(make_pod("web", cpu="1", priority=10))
    world.until(1)
    assert victims(world) == []
    assert world.notes()[:2] == [
        "FailedScheduling: 0/1 nodes are available: 1 Insufficient cpu. "
        "preemption: found a potential placement for pod on node n1, preempting 1 victims",
        "Preempted: Preempted by pod uid-web on node n1 (in kube-scheduler memory).",
    ]
    text = 'running PreBind plugin "VolumeBinding": preempted by DefaultPreemption'
    assert f"FailedScheduling: {text}" in world.notes()
    world.until(5)
    assert world.node_of("web") == "n1"
    assert world.node_of("low") is None


def test_the_preemptor_is_gated_while_its_evictions_run() -> None:
    world = World(make_node("n1", cpu="2"), running("a", "n1", "1"), running("b", "n1", "1"))
    places: list[Place | None] = []

    def watch(intent: Delete) -> None:
        places.append(world.scheduler.queue.place_of(world.pod("web")))

    world.deny[Delete] = watch
    world.put(make_pod("web", cpu="2", priority=10))
    world.run()
    # after the first victim left, its event did not put the preemptor into the queue
    assert places == [Place.UNSCHEDULABLE, Place.GATED]
    assert world.node_of("web") == "n1"


def test_an_eviction_that_fails_is_tried_again() -> None:
    world = World(make_node("n1", cpu="1"), running("low", "n1", "1"))

    class Forbidden(ApiError):
        code = 403

    world.deny[Delete] = lambda intent: Forbidden("not now") if world.seconds < 2 else None
    world.put(make_pod("web", cpu="1", priority=10))
    world.until(1.9)
    assert len(world.of(Delete)) == 2
    world.until(20)
    assert world.node_of("web") == "n1"


def test_a_lower_priority_promise_is_taken_back() -> None:
    world = World(make_node("n1", cpu="1"), running("low", "n1", "1"))
    world.graceful = True
    world.put(make_pod("mid", cpu="1", priority=5))
    world.until(0.5)
    assert world.pod("mid").status.nominatedNodeName == "n1"
    world.put(make_pod("web", cpu="1", priority=10))
    world.until(0.9)
    assert world.pod("web").status.nominatedNodeName == "n1"
    assert world.pod("mid").status.nominatedNodeName == "n1"  # the victim terminates already, so there was nothing to evict


def test_an_eviction_takes_lower_promises_back() -> None:
    world = World(make_node("n1", cpu="2"), running("low", "n1", "1"), running("lower", "n1", "1", priority=-1))
    world.graceful = True
    world.put(make_pod("mid", cpu="1", priority=5))
    world.until(0.5)
    assert victims(world) == ["lower"]
    assert world.pod("mid").status.nominatedNodeName == "n1"
    world.put(make_pod("web", cpu="2", priority=10))
    world.until(0.9)
    assert victims(world) == ["lower", "low"]
    assert world.pod("mid").status.nominatedNodeName is None
    assert world.pod("web").status.nominatedNodeName == "n1"


def test_a_choice_beside_promises_can_still_be_read() -> None:
    """Promised pods are tried without being counted: the native engine would refuse to read a decision across that."""
    nodes = [make_node("n1", cpu="4"), make_node("n2", cpu="4"), make_node("n3", cpu="4")]
    world = World(*nodes, running("low", "n1", "4"), engine=Engine(), prefer=lambda pod, best: best[-1])
    world.graceful = True
    world.put(make_pod("web", cpu="1", priority=10, spec={"nodeSelector": {"kubernetes.io/hostname": "n1"}}))
    world.run()
    assert world.scheduler.queue.nominator.nodes() == ["n1"]
    world.gone("Pod", "default/low")
    world.put(make_pod("other", cpu="1", priority=10))
    world.run()
    assert world.node_of("other") == "n3"


def test_a_promise_that_cannot_be_taken_back_does_not_save_the_victims() -> None:
    world = World(make_node("n1", cpu="2"), running("low", "n1", "1"), running("lower", "n1", "1", priority=-1))
    world.graceful = True
    world.put(make_pod("mid", cpu="1", priority=5))
    world.until(0.5)

    class Forbidden(ApiError):
        code = 403

    world.deny[Patch] = lambda intent: Forbidden("not yours") if intent.name == "mid" else None
    world.put(make_pod("web", cpu="2", priority=10))
    world.until(0.9)
    assert victims(world) == ["lower", "low"]
    assert world.pod("mid").status.nominatedNodeName == "n1"
    world.gone("Pod", "default/low")
    world.gone("Pod", "default/lower")
    world.until(9)
    assert world.node_of("web") == "n1"


def test_a_promise_ends_when_nothing_can_be_preempted_any_more() -> None:
    world = World(make_node("n1", cpu="1"), running("low", "n1", "1"))
    world.graceful = True
    world.put(make_pod("web", cpu="1", priority=10))
    world.until(0.5)
    assert world.pod("web").status.nominatedNodeName == "n1"
    world.gone("Pod", "default/low")
    world.put(running("high", "n1", "1", priority=50))
    world.until(9)
    assert message(world).endswith("preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod.")
    assert world.pod("web").status.nominatedNodeName is None
    assert world.scheduler.queue.nominator.nodes() == []


def test_a_pod_that_may_not_preempt_keeps_its_promise() -> None:
    world = World(make_node("n1", cpu="1"), running("high", "n1", "1", priority=50))
    world.put(make_pod("web", cpu="1", priority=10, status={"nominatedNodeName": "n1"}, spec={"preemptionPolicy": "Never"}))
    world.run()
    assert message(world).endswith("preemption: not eligible due to preemptionPolicy=Never.")
    assert world.pod("web").status.nominatedNodeName == "n1"
