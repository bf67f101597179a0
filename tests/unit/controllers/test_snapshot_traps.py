"""The subtle cases of the snapshot specification (section 6), by their numbers."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from lightkube.models.core_v1 import Secret, TypedLocalObjectReference
from lightkube.models.meta_v1 import ObjectMeta

from tests.builders import (
    DRIVER,
    ZONE,
    make_content,
    make_group_snapshot,
    make_node,
    make_owner,
    make_pvc,
    make_snapshot,
    make_snapshot_class,
)
from tests.unit.controllers.csi_harness import ALL_CAPABILITIES, World, check_invariants
from tests.unit.controllers.test_snapshot_lifecycle import CONTENT, cut_by_hand, driver_of, make_objects, make_world, start
from volsched.api.edit import annotations_of, finalizers_of, with_annotations, with_finalizers
from volsched.controllers.snapshot_common import SnapshotController, SnapshotControllerOptions
from volsched.controllers.snapshot_names import (
    BEING_CREATED,
    BEING_DELETED,
    BOUND_FINALIZER,
    CLAIM_FINALIZER,
    CONTENT_FINALIZER,
    DELETION_SECRET_NAME,
    GROUP_MEMBER,
    IN_GROUP_FINALIZER,
    MANAGED_BY,
    SOURCE_FINALIZER,
    snapshot_name,
)
from volsched.controllers.snapshot_sidecar import SnapshotSidecar, SnapshotSidecarOptions
from volsched.errors import CsiCode


def test_01_resource_exhausted_blocks_the_deletion_until_a_final_answer() -> None:
    world = make_world()
    driver_of(world).script["CreateSnapshot"] = [CsiCode.RESOURCE_EXHAUSTED, CsiCode.RESOURCE_EXHAUSTED, CsiCode.INTERNAL]
    world.create(make_snapshot())
    world.settle()
    world.delete("VolumeSnapshot", "snap")
    world.settle()
    content = world.get("VolumeSnapshotContent", CONTENT)
    assert content.metadata.deletionTimestamp is not None and BEING_CREATED in annotations_of(content)
    world.settle(for_s=30)
    assert world.find("VolumeSnapshot", "snap") is None
    assert driver_of(world).called("DeleteSnapshot") == [], "nothing was cut"
    check_invariants(world)


def test_05_without_list_snapshots_a_pre_provisioned_one_is_believed() -> None:
    world = make_world(controller=ALL_CAPABILITIES - {"LIST_SNAPSHOTS"})
    world.create(make_content("content-1", snapshot="default/snap", snapshot_handle="bogus"), make_snapshot(content="content-1"))
    world.settle()
    status = world.get("VolumeSnapshot", "snap").status
    assert status.readyToUse is True and status.creationTime is not None and status.restoreSize is None


def test_a_handle_the_driver_does_not_list_is_reported() -> None:
    world = make_world()
    world.create(make_content("content-1", snapshot="default/snap", snapshot_handle="bogus"))
    world.settle()
    text = 'failed to list snapshot for content content-1: "can not find snapshot for snapshotID bogus"'
    error = world.get("VolumeSnapshotContent", "content-1").status.error
    assert error.message == f"Failed to check and update snapshot content: {text}"


def _remove_by_force(world: World, name: str) -> None:
    content = world.get("VolumeSnapshotContent", name)
    world.api.update(with_finalizers(content, remove=finalizers_of(content)))
    world.delete("VolumeSnapshotContent", name)


@pytest.mark.parametrize("survived", [True, False])
def test_06_a_content_removed_by_force_is_made_again_under_the_same_name(survived: bool) -> None:
    world = make_world()
    world.create(make_snapshot())
    world.settle()
    first = world.get("VolumeSnapshot", "snap").status
    world.settle(for_s=5)
    if not survived:
        driver_of(world).snapshots.clear()
    _remove_by_force(world, CONTENT)
    world.settle(for_s=5)
    assert "SnapshotContentMissing" in world.reasons("snap")
    snapshot = world.get("VolumeSnapshot", "snap")
    assert snapshot.status.readyToUse is True and snapshot.status.error is None
    assert snapshot.status.creationTime == first.creationTime
    assert driver_of(world).cuts["snapshot-uid-VolumeSnapshot-snap"] == (1 if survived else 2)


def test_07_a_class_deleted_later_leaves_the_snapshot_ready_and_deletable() -> None:
    world = make_world()
    world.create(make_snapshot())
    world.settle()
    world.delete("VolumeSnapshotClass", "snaps")
    world.patch("VolumeSnapshot", "snap", {"metadata": {"labels": {"poke": "1"}}})
    world.settle()
    snapshot = world.get("VolumeSnapshot", "snap")
    assert snapshot.status.readyToUse is True and "not found" in snapshot.status.error.message
    world.delete("VolumeSnapshot", "snap")
    world.settle()
    assert world.find("VolumeSnapshot", "snap") is None and driver_of(world).snapshots == {}


def test_09_the_driver_of_the_class_cuts_even_a_foreign_volume() -> None:
    world = make_world()
    other = world.driver(name="other.example.com")
    other.script["CreateSnapshot"] = [CsiCode.NOT_FOUND] * 99
    world.run_decider(lambda: SnapshotSidecar(world, "other.example.com"))
    world.create(make_snapshot_class("theirs", driver="other.example.com"), make_snapshot(snapshot_class="theirs"))
    world.settle()
    assert world.get("VolumeSnapshotContent", CONTENT).spec.driver == "other.example.com"
    assert other.called("CreateSnapshot")[0].source_volume_id == "vol-1"
    assert driver_of(world).called("CreateSnapshot") == []
    assert "code = NotFound" in world.get("VolumeSnapshot", "snap").status.error.message


def test_12_a_content_without_its_snapshot_is_never_deleted() -> None:
    world = make_world()
    cut_by_hand(world, "restored-manifest")
    content = make_content("content-1", snapshot="default/never", snapshot_uid="gone", snapshot_handle="id-restored-manifest-1")
    world.create(content)
    world.settle(for_s=2000)
    content = world.get("VolumeSnapshotContent", "content-1")
    assert content.metadata.deletionTimestamp is None and BEING_DELETED not in annotations_of(content)


def test_13_an_old_content_is_not_taken_over_by_a_snapshot_made_again() -> None:
    world = make_world(policy="Retain")
    world.create(make_snapshot())
    world.settle()
    world.delete("VolumeSnapshot", "snap")
    world.settle()
    world.create(make_snapshot(content=CONTENT))
    world.settle()
    assert "SnapshotContentMismatch" in world.reasons("snap")
    assert world.get("VolumeSnapshot", "snap").status.readyToUse is False
    assert finalizers_of(world.get("VolumeSnapshot", "snap")) == []


def test_14_an_unbound_content_goes_at_once_unless_somebody_guarded_it() -> None:
    world = make_world()
    cut_by_hand(world, "kept")
    cut_by_hand(world, "dropped")
    world.create(
        make_content("content-1", snapshot="default/none", snapshot_handle="id-kept-1"),
        make_content("content-2", snapshot="default/none", snapshot_handle="id-dropped-1", finalizers=[CONTENT_FINALIZER]),
    )
    world.settle()
    world.delete("VolumeSnapshotContent", "content-1")
    world.delete("VolumeSnapshotContent", "content-2")
    world.settle()
    assert world.api.list("VolumeSnapshotContent") == []
    assert list(driver_of(world).snapshots) == ["kept"]


def test_15_a_backend_snapshot_whose_handle_was_never_recorded_survives() -> None:
    world = World(binder=False)
    make_objects(world)
    cut_by_hand(world, "by-hand")
    world.run_decider(lambda: SnapshotController(world))
    world.create(make_content("content-1", snapshot="default/snap", snapshot_handle="id-by-hand-1"), make_snapshot(content="content-1"))
    world.settle()
    world.delete("VolumeSnapshot", "snap")
    world.settle()
    world.run_decider(lambda: SnapshotSidecar(world, DRIVER))
    world.settle()
    assert world.api.list("VolumeSnapshotContent") == [] and world.find("VolumeSnapshot", "snap") is None
    assert list(driver_of(world).snapshots) == ["by-hand"]


def test_16_a_content_is_never_stolen() -> None:
    world = make_world()
    cut_by_hand(world, "by-hand")
    world.create(make_content("content-1", snapshot="default/owner", snapshot_handle="id-by-hand-1"))
    world.create(make_snapshot("owner", content="content-1"))
    world.settle()
    world.create(make_snapshot("thief", content="content-1"))
    world.settle()
    text = "VolumeSnapshotContent [content-1] is bound to a different snapshot"
    thief = world.get("VolumeSnapshot", "thief")
    assert thief.status.error.message == text and finalizers_of(thief) == []
    assert world.messages("SnapshotContentMisbound") == [text]
    assert set(world.messages("SnapshotFinalizerError")) == {f"Failed to check and update snapshot: {text}"}
    assert world.get("VolumeSnapshotContent", "content-1").spec.volumeSnapshotRef.name == "owner"
    world.delete("VolumeSnapshot", "thief")
    world.settle()
    assert world.find("VolumeSnapshot", "thief") is None
    assert world.get("VolumeSnapshot", "owner").status.readyToUse is True
    check_invariants(world)


def test_17_a_dynamic_content_without_uid_is_not_adopted() -> None:
    world = make_world()
    world.create(make_content(CONTENT, volume_handle="vol-1"), make_snapshot())
    world.settle()
    assert "SnapshotContentMisbound" in world.reasons("snap")
    assert driver_of(world).called("CreateSnapshot") == []


@pytest.mark.parametrize("ours", [True, False])
def test_a_content_that_the_view_missed_is_checked_before_it_is_taken(ours: bool) -> None:
    world = make_world()
    uid = "uid-VolumeSnapshot-snap" if ours else "somebody-else"
    world.create(make_content(CONTENT, volume_handle="vol-1", snapshot_uid=uid))
    for process in world.processes:
        process.inbox.clear()  # the watch is late
    world.create(make_snapshot())
    world.settle()
    snapshot = world.get("VolumeSnapshot", "snap")
    assert (snapshot.status.boundVolumeSnapshotContentName == CONTENT) is ours
    assert ("SnapshotContentMisbound" in world.reasons("snap")) is not ours


def test_18_a_source_claim_being_deleted_stays_and_serves_a_second_snapshot() -> None:
    world = make_world(ready_after_s=8)
    world.create(make_snapshot("one"))
    world.settle()
    world.delete("PersistentVolumeClaim", "data")
    world.create(make_snapshot("two"))
    world.settle()
    assert world.get("PersistentVolumeClaim", "data").metadata.deletionTimestamp is not None
    assert world.get("VolumeSnapshot", "two").status.boundVolumeSnapshotContentName
    world.settle(for_s=40)
    assert world.find("PersistentVolumeClaim", "data") is None
    assert all(world.get("VolumeSnapshot", name).status.readyToUse for name in ("one", "two"))
    check_invariants(world)


def test_19_a_claim_being_deleted_takes_no_new_snapshot() -> None:
    world = make_world()
    world.api.update(with_finalizers(world.get("PersistentVolumeClaim", "data"), add=["example.com/hold"]))
    world.delete("PersistentVolumeClaim", "data")
    world.create(make_snapshot())
    world.settle()
    text = "snapshot controller failed to update data on API server: cannot add finalizer on claim because it is being deleted"
    assert world.messages("SnapshotContentCreationFailed") == [f"Failed to create snapshot content with error {text}"]


def test_22_a_claim_that_waits_for_a_pod_counts_as_a_restore() -> None:
    world = make_world()
    world.create(make_snapshot())
    world.settle()
    source = TypedLocalObjectReference(apiGroup="snapshot.storage.k8s.io", kind="VolumeSnapshot", name="snap")
    world.create(make_pvc("waiting", source=source), make_pvc("elsewhere", namespace="other", source=source))
    world.delete("VolumeSnapshot", "snap")
    world.settle(for_s=600)
    assert world.find("VolumeSnapshot", "snap") is not None
    world.delete("PersistentVolumeClaim", "waiting")
    world.settle(for_s=600)
    assert world.find("VolumeSnapshot", "snap") is None


def test_26_a_content_counts_nanoseconds_a_snapshot_seconds() -> None:
    world = make_world(ready_after_s=0)
    world.settle(for_s=0.25)
    world.create(make_snapshot())
    world.settle()
    content, snapshot = world.get("VolumeSnapshotContent", CONTENT), world.get("VolumeSnapshot", "snap")
    assert content.status.creationTime == world.now_ns()
    assert snapshot.status.creationTime.microsecond == 0
    assert int(snapshot.status.creationTime.timestamp()) == content.status.creationTime // 1_000_000_000


def test_a_driver_that_does_not_say_when_it_cut_is_taken_to_have_cut_now() -> None:
    world = make_world(without_creation_time=True)
    world.create(make_snapshot())
    world.settle()
    assert world.get("VolumeSnapshotContent", CONTENT).status.creationTime == world.now_ns()


def test_27_an_error_that_is_gone_from_the_content_goes_from_the_snapshot_too() -> None:
    world = make_world(ready_after_s=500)
    driver_of(world).script["CreateSnapshot"] = [CsiCode.INTERNAL]
    world.create(make_snapshot())
    world.settle()
    assert world.get("VolumeSnapshot", "snap").status.error is not None
    world.patch("VolumeSnapshotContent", CONTENT, {"status": {"error": None}}, status=True)
    world.settle()
    status = world.get("VolumeSnapshot", "snap").status
    assert status.error is None and status.readyToUse is False


def test_28_a_message_that_changes_is_an_event_and_a_write_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    world = make_world()
    numbers = itertools.count()

    def fail(request: Any) -> Any:
        from volsched.errors import CsiError

        raise CsiError(CsiCode.INTERNAL, f"request {next(numbers)}")

    monkeypatch.setattr(driver_of(world), "_CreateSnapshot", fail, raising=False)
    world.create(make_snapshot())
    world.settle(for_s=8)
    assert world.reasons(CONTENT) == ["SnapshotCreationFailed", *["SnapshotContentCheckandUpdateFailed"] * 3]


def test_29_short_names_may_collide() -> None:
    uid = "12345678-90ab-cdef-1234-567890abcdef"
    assert snapshot_name("snapshot", uid, uid_length=-1) == f"snapshot-{uid}"
    assert snapshot_name("snapshot", uid, uid_length=10) == "snapshot-1234567890"
    world = World(binder=False)
    make_objects(world)
    world.run_decider(lambda: SnapshotController(world))
    world.run_decider(lambda: SnapshotSidecar(world, DRIVER, options=SnapshotSidecarOptions(snapshot_name_uuid_length=3)))
    world.create(make_snapshot("one"), make_snapshot("two"))
    world.settle()
    assert {request.name for request in driver_of(world).called("CreateSnapshot")} == {"snapshot-uid"}
    assert len(driver_of(world).snapshots) == 1


def test_30_an_unknown_reserved_parameter_is_refused_before_the_content_is_marked() -> None:
    world = make_world(policy="")
    world.create(make_snapshot_class(parameters={"csi.storage.k8s.io/foo": "1"}), make_snapshot())
    world.settle()
    content = world.get("VolumeSnapshotContent", CONTENT)
    assert BEING_CREATED not in annotations_of(content)
    assert 'found unknown parameter key \\"csi.storage.k8s.io/foo\\"' in content.status.error.message
    world.delete("VolumeSnapshot", "snap")
    world.settle()
    assert world.find("VolumeSnapshot", "snap") is None
    assert driver_of(world).calls[-1][0] not in ("CreateSnapshot", "DeleteSnapshot")


def _member(world: World, **status: Any) -> None:
    owner = make_owner("VolumeGroupSnapshot", "group", "uid-VolumeGroupSnapshot-group", api_version="groupsnapshot.storage.k8s.io/v1")
    held = [SOURCE_FINALIZER, BOUND_FINALIZER, IN_GROUP_FINALIZER]
    world.create(make_snapshot(owners=[owner], finalizers=held, snapshot_class=None, status=status or None))


@pytest.mark.parametrize("named", [True, False])
def test_31_a_group_member_is_not_deleted_alone(named: bool) -> None:
    world = make_world()
    world.create(make_group_snapshot())
    _member(world, **({"volumeGroupSnapshotName": "group"} if named else {}))
    world.delete("VolumeSnapshot", "snap")
    world.settle(for_s=2)
    text = (
        "deletion of the individual volume snapshot default/snap is not allowed as it belongs to group snapshot default/group. "
        "Deleting the group snapshot will trigger the deletion of all the individual volume snapshots that are part of the group."
    )
    assert set(world.messages("SnapshotDeletePending")) == {text}
    world.delete("VolumeGroupSnapshot", "group")
    world.settle(for_s=30)
    assert world.find("VolumeSnapshot", "snap") is None


def test_33_a_member_is_never_created_or_deleted_alone_at_the_driver() -> None:
    world = make_world()
    status = {"snapshotHandle": "member-1", "volumeGroupSnapshotHandle": "group-1", "readyToUse": True}
    member = make_content(
        "content-1",
        snapshot_uid="u",
        volume_handle="vol-1",
        annotations={GROUP_MEMBER: "group-1"},
        finalizers=[CONTENT_FINALIZER],
        status=status,
    )
    waiting = make_content(
        "content-2", snapshot_uid="v", volume_handle="vol-1", annotations={GROUP_MEMBER: "g"}, finalizers=[CONTENT_FINALIZER]
    )
    world.create(member, waiting)
    world.settle(for_s=5)
    assert driver_of(world).called("CreateSnapshot") == []
    world.api.update(with_annotations(world.get("VolumeSnapshotContent", "content-1"), {BEING_DELETED: "yes"}))
    world.delete("VolumeSnapshotContent", "content-1")
    world.settle()
    assert world.find("VolumeSnapshotContent", "content-1") is None
    assert driver_of(world).called("DeleteSnapshot") == []


def test_a_deletion_secret_that_is_gone_blocks_until_it_returns() -> None:
    world = make_world(policy="")
    names = {
        "csi.storage.k8s.io/snapshotter-secret-name": "key",
        "csi.storage.k8s.io/snapshotter-secret-namespace": "${volumesnapshot.namespace}",
    }
    world.create(make_snapshot_class(parameters=names))
    secret = Secret(metadata=ObjectMeta(name="key", namespace="default"), stringData={"token": "open"})
    world.create(secret, make_snapshot())
    world.settle()
    assert driver_of(world).called("CreateSnapshot")[0].secrets == {"token": "open"}
    assert driver_of(world).called("CreateSnapshot")[0].parameters == {}
    assert annotations_of(world.get("VolumeSnapshotContent", CONTENT))[DELETION_SECRET_NAME] == "key"
    world.delete("Secret", "key")
    world.delete("VolumeSnapshot", "snap")
    world.settle(for_s=4)
    assert set(world.messages("SnapshotDeleteError")) == {"Failed to get snapshot credentials"}
    assert world.find("VolumeSnapshot", "snap") is not None
    world.create(Secret(metadata=ObjectMeta(name="key", namespace="default"), stringData={"token": "open"}))
    world.settle(for_s=10)
    assert world.find("VolumeSnapshot", "snap") is None
    assert driver_of(world).called("DeleteSnapshot")[0].secrets == {"token": "open"}


def test_a_failing_deletion_keeps_the_handle_and_is_repeated() -> None:
    world = make_world()
    world.create(make_snapshot())
    world.settle()
    driver_of(world).script["DeleteSnapshot"] = [CsiCode.FAILED_PRECONDITION, ("lost", CsiCode.DEADLINE_EXCEEDED)]
    world.delete("VolumeSnapshot", "snap")
    world.settle()
    assert world.get("VolumeSnapshotContent", CONTENT).status.snapshotHandle
    assert world.messages("SnapshotDeleteError") == ["Failed to delete snapshot"]
    world.settle(for_s=10)
    assert world.find("VolumeSnapshot", "snap") is None and driver_of(world).snapshots == {}
    assert len(driver_of(world).called("DeleteSnapshot")) == 3


def test_a_controller_that_was_down_finishes_a_deletion() -> None:
    world = make_world()
    world.create(make_snapshot())
    world.settle()
    world.processes = [process for process in world.processes if process.decider.name != "snapshot-controller"]
    world.delete("VolumeSnapshot", "snap")
    _remove_by_force(world, CONTENT)
    world.settle()
    world.run_decider(lambda: SnapshotController(world))
    world.settle()
    assert world.find("VolumeSnapshot", "snap") is None


def test_a_snapshot_of_two_sources_or_none_is_refused() -> None:
    world = make_world()
    both = make_snapshot("both")
    both.spec.source.volumeSnapshotContentName = "content-1"
    world.create(both, make_snapshot("none", claim=None))
    world.settle()
    text = "Exactly one of PersistentVolumeClaimName and VolumeSnapshotContentName should be specified"
    assert world.messages("SnapshotValidationError") == [text, text]


def test_a_claim_is_not_held_for_another_snapshot_that_is_ready() -> None:
    world = make_world()
    world.create(make_snapshot("one"))
    world.settle()
    world.api.update(with_finalizers(world.get("PersistentVolumeClaim", "data"), add=[CLAIM_FINALIZER]))
    world.settle(for_s=1000)  # noticed at the resync
    assert CLAIM_FINALIZER not in finalizers_of(world.get("PersistentVolumeClaim", "data"))


def test_distributed_contents_are_labelled_with_a_node_the_volume_can_reach() -> None:
    world = World(binder=False)
    make_objects(world)
    world.create(make_node("node-0", labels={"topology.kubernetes.io/zone": "elsewhere"}))
    volume = world.get("PersistentVolume", "pv-1")
    affinity = {"required": {"nodeSelectorTerms": [{"matchExpressions": [{"key": ZONE, "operator": "In", "values": ["here"]}]}]}}
    world.patch("PersistentVolume", volume.metadata.name, {"spec": {"nodeAffinity": affinity}})
    world.patch("Node", "node-1", {"metadata": {"labels": {ZONE: "here"}}})
    world.run_decider(lambda: SnapshotController(world, options=SnapshotControllerOptions(enable_distributed_snapshotting=True)))
    world.create(make_snapshot())
    world.settle()
    assert world.get("VolumeSnapshotContent", CONTENT).metadata.labels == {MANAGED_BY: "node-1"}


def test_a_second_sidecar_on_another_node_leaves_labelled_contents_alone() -> None:
    world = World(binder=False)
    make_objects(world)
    start(world)
    world.processes.pop()
    world.run_decider(lambda: SnapshotSidecar(world, DRIVER, options=SnapshotSidecarOptions(node="node-7")))
    world.create(make_snapshot())
    world.settle()
    assert driver_of(world).called("CreateSnapshot") == []
    world.patch("VolumeSnapshotContent", CONTENT, {"metadata": {"labels": {MANAGED_BY: "node-7"}}})
    world.settle()
    assert len(driver_of(world).called("CreateSnapshot")) == 1
