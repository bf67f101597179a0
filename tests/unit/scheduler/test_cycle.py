"""Whole cycles on a small cluster: events, conditions, order of writes, failures."""

from __future__ import annotations

from tests.builders import make_class, make_node, make_pod, make_pv, make_pvc, make_taint, when
from tests.unit.scheduler.world import World
from volsched.api.edit import replace, with_annotations, with_metadata, with_spec
from volsched.errors import ApiError, ConflictError, NotFoundError
from volsched.ports import Bind, Emit, Patch, Pause, Update
from volsched.rules.volumes import ANN_BIND_COMPLETED, ANN_BOUND_BY_CONTROLLER, ANN_SELECTED_NODE


def bound(world: World, claim: str, volume: str) -> None:
    """What the PV controller does in the end."""
    pvc = world.get("PersistentVolumeClaim", f"default/{claim}")
    world.put(with_annotations(with_spec(pvc, volumeName=volume), {ANN_BIND_COMPLETED: "yes"}))


def local_world() -> World:
    return World(
        make_node("n1"),
        make_node("n2"),
        make_class("disks", provisioner="kubernetes.io/no-provisioner"),
        make_pv("disk-2", storage_class="disks", node="n2", phase="Available"),
        make_pvc("data", storage_class="disks", uid="uid-data"),
    )


def test_a_pod_without_volumes_is_bound_at_once() -> None:
    world = World(make_node("n1"))
    world.put(make_pod("web"))
    world.run()
    assert [type(intent) for intent in world.intents] == [Bind, Emit]
    assert world.intents[0] == Bind("default", "web", "uid-web", "n1")
    event = world.of(Emit)[0]
    assert (event.type, event.reason, event.action, event.source) == ("Normal", "Scheduled", "Binding", "default-scheduler")
    assert event.message == "Successfully assigned default/web to n1"
    assert world.scheduler.cache.assumed_pods() == []
    assert world.scheduler.cache.check() == []


def test_nothing_fits() -> None:
    world = World(make_node("n1", cpu="1"), make_node("n2", taints=[make_taint("dedicated", "db")]), make_node("n3", cpu="1"))
    world.put(make_pod("busy", cpu="800m", node="n1"), make_pod("busy3", cpu="800m", node="n3"))
    world.put(make_pod("web", cpu="900m"))
    world.run()
    text = (
        "0/3 nodes are available: 1 node(s) had untolerated taint(s), 2 Insufficient cpu. preemption: 0/3 nodes are available: "
        "1 Preemption is not helpful for scheduling, 2 No preemption victims found for incoming pod."
    )
    assert world.notes() == [f"FailedScheduling: {text}"]
    assert [type(intent) for intent in world.intents] == [Emit, Patch]
    assert world.condition("web") == ("False", "Unschedulable", text)
    body = world.of(Patch)[0].body["status"]
    assert body["conditions"][0]["observedGeneration"] == 1
    assert "nominatedNodeName" not in body


def test_a_missing_claim_ends_in_not_found() -> None:
    world = World(make_node("n1"), make_node("n2"))
    world.put(make_pod("web", claims=["data"]))
    world.run()
    text = '0/2 nodes are available: persistentvolumeclaim "data" not found. not found'
    assert world.condition("web") == ("False", "Unschedulable", text)


def test_the_condition_is_written_only_when_it_changes() -> None:
    world = World(make_node("n1", cpu="1"), make_pod("busy", cpu="1", node="n1"))
    world.put(make_pod("web", cpu="1"))
    world.run()
    assert len(world.of(Patch)) == 1
    world.until(400)  # the unschedulable set is flushed after five minutes
    assert len(world.of(Emit)) == 2
    assert len(world.of(Patch)) == 1


def test_preemption_never_and_the_note_of_the_event() -> None:
    world = World(make_node("n1", cpu="1"), make_pod("busy", cpu="1", node="n1"))
    world.put(make_pod("web", cpu="1", priority=10, spec={"preemptionPolicy": "Never"}))
    world.run()
    text = "0/1 nodes are available: 1 Insufficient cpu. preemption: not eligible due to preemptionPolicy=Never."
    assert world.condition("web") == ("False", "Unschedulable", text)


def test_local_volume_order_of_writes() -> None:
    world = local_world()
    world.put(make_pod("db", claims=["data"]))
    world.run()
    nominate, update, pause = world.intents
    assert isinstance(nominate, Patch)
    assert nominate.body == {"status": {"nominatedNodeName": "n2"}}
    assert isinstance(update, Update)
    written = update.object
    assert written.spec.claimRef.name == "data"
    assert written.spec.claimRef.uid == "uid-data"
    assert written.metadata.annotations[ANN_BOUND_BY_CONTROLLER] == "yes"
    assert isinstance(pause, Pause)
    world.until(3.5)
    assert world.node_of("db") is None
    bound(world, "data", "disk-2")
    world.until(3.9)
    assert world.node_of("db") is None  # the next poll is at 4 s
    world.until(4)
    assert world.node_of("db") == "n2"
    assert world.notes() == ["Scheduled: Successfully assigned default/db to n2"]
    assert world.condition("db") is None


def test_two_pods_and_one_volume() -> None:
    world = local_world()
    world.put(make_pvc("more", storage_class="disks", uid="uid-more"))
    world.put(make_pod("one", claims=["data"]), make_pod("two", claims=["more"]))
    world.run()
    # the second pod sees the volume as taken although nothing has confirmed it
    assert world.condition("two") is not None
    assert "2 node(s) didn't find available persistent volumes to bind" in (world.condition("two") or ("", "", ""))[2]
    world.put(make_pv("disk-1", storage_class="disks", node="n1", phase="Available"))
    world.run()
    assert world.pod("two").status.nominatedNodeName == "n1"


def test_provisioning_that_fails_on_the_node_goes_back_with_error_backoff() -> None:
    world = World(make_node("n1"), make_class("net"), make_pvc("www", storage_class="net", annotations={"keep": "me"}))
    world.put(make_pod("web", claims=["www"]))
    world.run()
    pvc = world.get("PersistentVolumeClaim", "default/www")
    assert pvc.metadata.annotations[ANN_SELECTED_NODE] == "n1"
    world.put(with_annotations(pvc, {ANN_SELECTED_NODE: None}))
    world.until(1)
    text = 'running PreBind plugin "VolumeBinding": binding volumes: provisioning failed for PVC "www"'
    assert world.condition("web") == ("False", "SchedulerError", text)
    patch = world.of(Patch)[-1].body["status"]
    assert patch["nominatedNodeName"] is None
    assert patch["conditions"][0]["message"] == text
    # error backoff of 1 s from 1 s: released at the second whole second after
    world.until(2.9)
    assert len(world.of(Update)) == 1
    world.until(3)
    assert len(world.of(Update)) == 2
    pvc = world.get("PersistentVolumeClaim", "default/www")
    world.put(with_annotations(pvc, {ANN_SELECTED_NODE: None}))
    world.until(4)
    # the same message again: only the promise is taken back
    assert world.of(Patch)[-1].body == {"status": {"nominatedNodeName": None}}
    # second error in a row: 2 s, so not before 7 s
    world.until(6.9)
    assert len(world.of(Update)) == 2
    world.until(7)
    assert len(world.of(Update)) == 3


def test_a_lost_race_for_a_volume() -> None:
    world = local_world()
    refused = 'Operation cannot be fulfilled on persistentvolumes "disk-2": the object has been modified'
    world.deny[Update] = lambda intent: ConflictError(refused)
    world.put(make_pod("db", claims=["data"]))
    world.run()
    text = f'running PreBind plugin "VolumeBinding": binding volumes: {refused}'
    assert world.condition("db") == ("False", "SchedulerError", text)
    cache = world.scheduler.cache
    assert not cache.volumes.is_assumed("disk-2")
    assert cache.assumed_pods() == []
    assert cache.engine.decide(world.pod("db")).feasible() == ["n2"]
    world.deny.clear()
    world.until(2)
    assert cache.volumes.find("disk-2").spec.claimRef.name == "data"


def test_the_binding_is_refused() -> None:
    world = World(make_node("n1"))
    world.deny[Bind] = lambda intent: ConflictError('pod "web" is already assigned to node "n9"')
    world.put(make_pod("web"))
    world.run()
    text = 'running Bind plugin "DefaultBinder": pod "web" is already assigned to node "n9"'
    assert world.condition("web") == ("False", "SchedulerError", text)
    assert [type(intent) for intent in world.intents] == [Bind, Emit, Patch]


def test_an_overloaded_server_gets_more_tries() -> None:
    world = World(make_node("n1"))

    class Overloaded(ApiError):
        code = 503

    world.deny[Bind] = lambda intent: Overloaded("the server is currently unable to handle the request") if world.seconds < 0.05 else None
    world.put(make_pod("web"))
    world.until(1)
    assert world.node_of("web") == "n1"
    assert [pause.seconds for pause in world.of(Pause)] == [0.01, 0.05]


def test_a_deleting_pod_is_skipped() -> None:
    world = World(make_node("n1"))
    world.put(make_pod("web", deleted=when(0), finalizers=["example.com/hold"]))
    world.run()
    assert world.notes() == ["FailedScheduling: skip schedule deleting pod: default/web"]
    assert world.scheduler.queue.place_of(world.pod("web")) is None


def test_an_assumed_pod_is_deleted_while_its_volumes_are_bound() -> None:
    world = local_world()
    world.put(make_pvc("more", storage_class="disks", uid="uid-more"))
    world.put(make_pod("db", claims=["data"], cpu="8"), make_pod("waits", cpu="8"), make_pod("late", cpu="8"))
    world.run()
    assert world.node_of("waits") == "n1"
    assert world.condition("late") is not None
    world.put(with_metadata(world.pod("db"), deletionTimestamp=when(0)))
    world.run()
    assert world.node_of("late") == "n2"  # its place was free at once
    world.gone("Pod", "default/db")
    world.until(1)
    assert world.notes()[-1] == (
        'FailedScheduling: running PreBind plugin "VolumeBinding": binding volumes: pod does not exist any more: pod "db" not found'
    )
    assert world.scheduler.cache.check() == []
    assert world.scheduler.cycles.bindings == {}


def test_a_pod_made_anew_is_not_touched_by_the_old_ones_failure() -> None:
    world = local_world()
    world.put(make_pod("db", claims=["data"]))
    world.run()
    world.gone("Pod", "default/db")
    world.put(make_pod("db", uid="another"))
    world.run()
    assert world.node_of("db") is not None
    before = len(world.of(Patch))
    pv = world.get("PersistentVolume", "disk-2")
    world.put(with_spec(pv, claimRef=None))
    world.until(2)
    assert len(world.of(Patch)) == before
    assert all("ClaimRef" not in note for note in world.notes())


def test_pods_of_other_schedulers_only_count() -> None:
    world = World(make_node("n1", cpu="1"))
    world.put(make_pod("other", scheduler_name="mine", cpu="1"))
    world.run()
    assert world.intents == []
    world.put(with_spec(world.pod("other"), nodeName="n1"))
    world.put(make_pod("web", cpu="1"))
    world.run()
    assert world.condition("web") is not None


def test_a_finished_pod_frees_its_node() -> None:
    world = World(make_node("n1", cpu="1"), make_pod("job", cpu="1", node="n1"))
    world.put(make_pod("web", cpu="1"))
    world.run()
    assert world.node_of("web") is None
    world.put(replace(world.pod("job"), status=replace(world.pod("job").status, phase="Succeeded")))
    world.run()
    assert world.node_of("web") == "n1"  # activeQ was empty, so backoff did not hold it


def test_prefer_chooses_among_equals_only() -> None:
    asked: list[tuple[str, tuple[str, ...]]] = []

    def prefer(pod, best):  # type: ignore[no-untyped-def]
        asked.append((pod.metadata.name, tuple(best)))
        return "n2"

    world = World(make_node("n1"), make_node("n2"), make_node("n3", cpu="1"), prefer=prefer)
    world.put(make_pod("web", cpu="500m"))
    world.run()
    assert asked == [("web", ("n1", "n2"))]
    assert world.node_of("web") == "n2"
    world.put(make_pod("next", cpu="500m"))
    world.run()
    assert world.node_of("next") == "n1"  # better by score, whatever is preferred


def test_a_failed_status_write_changes_nothing_else() -> None:
    world = World(make_node("n1", cpu="1"))
    world.deny[Patch] = lambda intent: NotFoundError('pods "web" not found')
    world.put(make_pod("web", cpu="2"))
    world.run()
    assert len(world.notes()) == 1
