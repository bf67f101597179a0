"""Snapshots end to end over a fake API server and a scripted driver: create, poll, fail, bind, delete."""

from __future__ import annotations

from typing import Any

import pytest
from lightkube.models.core_v1 import CSIPersistentVolumeSource, TypedLocalObjectReference

from tests.builders import DRIVER, make_content, make_csinode, make_node, make_pv, make_pvc, make_snapshot, make_snapshot_class
from tests.unit.controllers.csi_harness import FakeDriver, World, check_invariants
from volsched.api.csi import CreateSnapshotRequest
from volsched.api.edit import annotations_of, finalizers_of, with_finalizers
from volsched.controllers.snapshot_common import SnapshotController
from volsched.controllers.snapshot_names import (
    BEING_CREATED,
    BEING_DELETED,
    BOUND_FINALIZER,
    CLAIM_FINALIZER,
    CONTENT_FINALIZER,
    SOURCE_FINALIZER,
)
from volsched.controllers.snapshot_sidecar import SnapshotSidecar
from volsched.errors import CsiCode

CONTENT = "snapcontent-uid-VolumeSnapshot-snap"


def make_objects(world: World, *, claim_bound: bool = True, policy: str = "Delete", **driver: Any) -> None:
    """A driver, a class, a node, and a claim bound to a volume."""
    world.driver(**driver)
    if policy:
        world.create(make_snapshot_class(policy=policy))
    world.create(make_node(), make_csinode())
    source = CSIPersistentVolumeSource(driver=DRIVER, volumeHandle="vol-1")
    world.create(make_pv("pv-1", claim="default/data", claim_uid="uid-PersistentVolumeClaim-data", spec={"csi": source}))
    world.create(make_pvc(bound_to="pv-1") if claim_bound else make_pvc())


def make_world(**settings: Any) -> World:
    world = World(binder=False)
    make_objects(world, **settings)
    start(world)
    return world


def cut_by_hand(world: World, name: str) -> None:
    """A snapshot that exists at the driver alone, as `id-<name>-1`."""
    driver_of(world).call("CreateSnapshot", CreateSnapshotRequest(name=name, source_volume_id="vol-1"))


def start(world: World) -> None:
    world.run_decider(lambda: SnapshotController(world))
    world.run_decider(lambda: SnapshotSidecar(world, DRIVER))


def driver_of(world: World) -> FakeDriver:
    return world.drivers[DRIVER]


def test_a_snapshot_becomes_ready() -> None:
    world = make_world()
    world.create(make_snapshot())
    world.settle()
    snapshot, content = world.get("VolumeSnapshot", "snap"), world.get("VolumeSnapshotContent", CONTENT)
    assert snapshot.status.boundVolumeSnapshotContentName == CONTENT
    assert snapshot.status.readyToUse is True
    assert snapshot.status.restoreSize == "10Gi"
    assert snapshot.status.error is None
    assert sorted(finalizers_of(snapshot)) == sorted([SOURCE_FINALIZER, BOUND_FINALIZER])
    assert finalizers_of(content) == [CONTENT_FINALIZER]
    assert not content.metadata.annotations
    assert content.metadata.generation == 1
    assert content.spec.volumeSnapshotRef.uid == snapshot.metadata.uid
    assert content.spec.volumeSnapshotRef.resourceVersion == "6"  # as the first pass read it
    assert content.spec.sourceVolumeMode == "Filesystem"
    assert CLAIM_FINALIZER not in finalizers_of(world.get("PersistentVolumeClaim", "data"))
    assert world.reasons("snap") == ["CreatingSnapshot", "SnapshotCreated", "SnapshotReady"]
    (request,) = driver_of(world).called("CreateSnapshot")
    assert (request.name, request.source_volume_id, request.parameters) == ("snapshot-uid-VolumeSnapshot-snap", "vol-1", {})
    check_invariants(world)


def test_the_order_of_writes_is_the_recorded_one() -> None:
    world = make_world()
    world.create(make_snapshot())
    world.settle()
    mine = [(user, verb, key.kind) for user, verb, key in world.writes]
    common, sidecar = "snapshot-controller", "csi-snapshotter"
    chain = [
        (common, "update", "VolumeSnapshot"),  # W2
        (common, "update", "PersistentVolumeClaim"),  # W3
        (common, "create", "VolumeSnapshotContent"),  # W4
        (common, "patch", "VolumeSnapshotContent"),  # W7
        (sidecar, "patch", "VolumeSnapshotContent"),  # W8
        (sidecar, "patch/status", "VolumeSnapshotContent"),  # W9
        (common, "update", "PersistentVolumeClaim"),  # W12
    ]
    positions = []
    for step in chain:
        positions.append(mine.index(step, positions[-1] + 1 if positions else 0))
    assert positions == sorted(positions)
    assert len(mine) == 11


def test_readiness_is_polled_by_creating_again_and_only_the_change_is_written() -> None:
    world = make_world(ready_after_s=8)
    world.create(make_snapshot())
    world.settle()
    assert world.get("VolumeSnapshot", "snap").status.readyToUse is False
    assert world.get("VolumeSnapshot", "snap").status.creationTime is not None
    assert "SnapshotCreated" in world.reasons() and "SnapshotReady" not in world.reasons()
    assert CLAIM_FINALIZER in finalizers_of(world.get("PersistentVolumeClaim", "data"))
    polls = []
    for _ in range(20):
        assert not annotations_of(world.get("VolumeSnapshotContent", CONTENT)), "nothing is under way between two polls"
        before = len(driver_of(world).called("CreateSnapshot"))
        world.settle(for_s=1)
        if len(driver_of(world).called("CreateSnapshot")) > before:
            polls.append(world.seconds)
    assert polls == [1, 3, 7, 15]
    assert driver_of(world).called("ListSnapshots") == []
    status_writes = [write for write in world.writes if write[1] == "patch/status"]
    assert len(status_writes) == 2
    assert world.get("VolumeSnapshot", "snap").status.readyToUse is True
    check_invariants(world)


@pytest.mark.parametrize(("code", "kept"), [(CsiCode.INTERNAL, False), (CsiCode.RESOURCE_EXHAUSTED, True), (CsiCode.ALREADY_EXISTS, False)])
def test_a_failing_cut_is_reported_twice_and_retried_forever(code: CsiCode, kept: bool) -> None:
    world = make_world()
    driver_of(world).script["CreateSnapshot"] = [code] * 6
    world.create(make_snapshot())
    world.settle()
    content = world.get("VolumeSnapshotContent", CONTENT)
    text = f'failed to take snapshot of the volume vol-1: "rpc error: code = {code.words} desc = scripted failure"'
    assert content.status.error.message == f"Failed to create snapshot: {text}"
    assert (BEING_CREATED in (content.metadata.annotations or {})) is kept
    world.settle(for_s=20)
    content = world.get("VolumeSnapshotContent", CONTENT)
    assert content.status.error.message == f"Failed to check and update snapshot content: {text}"
    assert world.get("VolumeSnapshot", "snap").status.error.message == content.status.error.message
    assert world.get("VolumeSnapshot", "snap").status.readyToUse is False
    # the message is constant: one event for each of the two texts, however many tries
    assert world.reasons(CONTENT) == ["SnapshotCreationFailed", "SnapshotContentCheckandUpdateFailed"]
    assert len(driver_of(world).called("CreateSnapshot")) == 5
    world.settle(for_s=60)
    assert world.get("VolumeSnapshot", "snap").status.readyToUse is True
    assert world.get("VolumeSnapshot", "snap").status.error is None
    check_invariants(world)


def test_deleting_with_policy_delete_removes_everything_in_order() -> None:
    world = make_world()
    world.create(make_snapshot())
    world.settle()
    world.writes.clear()
    world.delete("VolumeSnapshot", "snap")
    world.settle()
    assert world.find("VolumeSnapshot", "snap") is None
    assert world.find("VolumeSnapshotContent", CONTENT) is None
    assert driver_of(world).snapshots == {}
    assert [request.snapshot_id for request in driver_of(world).called("DeleteSnapshot")] == ["id-snapshot-uid-VolumeSnapshot-snap-1"]
    assert [(user, verb, key.kind) for user, verb, key in world.writes] == [
        ("snapshot-controller", "patch", "VolumeSnapshotContent"),
        ("snapshot-controller", "delete", "VolumeSnapshotContent"),
        ("snapshot-controller", "update", "VolumeSnapshot"),
        ("csi-snapshotter", "update/status", "VolumeSnapshotContent"),
        ("csi-snapshotter", "patch", "VolumeSnapshotContent"),
        ("snapshot-controller", "update", "VolumeSnapshot"),
    ]
    check_invariants(world)


def test_deleting_with_policy_retain_keeps_content_and_backend() -> None:
    world = make_world(policy="Retain")
    world.create(make_snapshot())
    world.settle()
    assert finalizers_of(world.get("VolumeSnapshot", "snap")) == [SOURCE_FINALIZER]
    world.delete("VolumeSnapshot", "snap")
    world.settle()
    content = world.get("VolumeSnapshotContent", CONTENT)
    assert world.find("VolumeSnapshot", "snap") is None
    assert content.metadata.annotations == {BEING_DELETED: "yes"}
    assert finalizers_of(content) == [CONTENT_FINALIZER]
    world.delete("VolumeSnapshotContent", CONTENT)
    world.settle()
    assert world.find("VolumeSnapshotContent", CONTENT) is None
    assert driver_of(world).called("DeleteSnapshot") == []
    check_invariants(world, orphans=["id-snapshot-uid-VolumeSnapshot-snap-1"])


def test_a_retained_content_turned_to_delete_takes_the_backend_snapshot_with_it() -> None:
    world = make_world(policy="Retain")
    world.create(make_snapshot())
    world.settle()
    world.delete("VolumeSnapshot", "snap")
    world.settle()
    world.patch("VolumeSnapshotContent", CONTENT, {"spec": {"deletionPolicy": "Delete"}})
    world.delete("VolumeSnapshotContent", CONTENT)
    world.settle()
    assert driver_of(world).snapshots == {}
    check_invariants(world)


def test_a_content_deleted_by_hand_stays_until_its_snapshot_goes() -> None:
    world = make_world()
    world.create(make_snapshot())
    world.settle()
    world.delete("VolumeSnapshotContent", CONTENT)
    world.settle()
    content = world.get("VolumeSnapshotContent", CONTENT)
    assert content.metadata.deletionTimestamp is not None
    assert BEING_DELETED not in (content.metadata.annotations or {})
    assert world.get("VolumeSnapshot", "snap").status.readyToUse is True
    world.delete("VolumeSnapshot", "snap")
    world.settle()
    assert world.api.list("VolumeSnapshotContent") == []
    assert driver_of(world).snapshots == {}
    check_invariants(world)


def test_a_pre_provisioned_content_is_bound() -> None:
    world = make_world()
    cut_by_hand(world, "by-hand")
    world.create(make_content("content-1", snapshot="default/snap", snapshot_handle="id-by-hand-1", snapshot_class=None))
    world.settle()
    content = world.get("VolumeSnapshotContent", "content-1")
    assert content.status.readyToUse is True and content.status.snapshotHandle == "id-by-hand-1"
    assert finalizers_of(content) == []
    world.create(make_snapshot(content="content-1"))
    world.settle()
    content, snapshot = world.get("VolumeSnapshotContent", "content-1"), world.get("VolumeSnapshot", "snap")
    assert content.spec.volumeSnapshotRef.uid == snapshot.metadata.uid
    assert content.spec.volumeSnapshotClassName == "snaps"
    assert content.metadata.generation == 2
    assert finalizers_of(content) == [CONTENT_FINALIZER]
    assert snapshot.status.readyToUse is True and snapshot.status.restoreSize == "10Gi"
    assert sorted(finalizers_of(snapshot)) == sorted([SOURCE_FINALIZER, BOUND_FINALIZER])
    assert world.reasons("snap") == ["SnapshotCreated", "SnapshotReady"]
    world.delete("VolumeSnapshot", "snap")
    world.settle()
    assert world.api.list("VolumeSnapshotContent") == [] and driver_of(world).snapshots == {}
    check_invariants(world)


def test_a_missing_class_is_retried_by_backoff_alone() -> None:
    world = make_world(policy="")
    world.create(make_snapshot())
    world.settle()
    snapshot = world.get("VolumeSnapshot", "snap")
    text = 'volumesnapshotclass.snapshot.storage.k8s.io "snaps" not found'
    assert snapshot.status.error.message == f"Failed to get snapshot class with error {text}"
    assert snapshot.status.readyToUse is None
    assert finalizers_of(snapshot) == []
    assert _retry_times(world, 30) == [1, 5, 13, 29]
    assert world.reasons() == ["GetSnapshotClassFailed"]
    world.create(make_snapshot_class())
    world.settle(for_s=10)
    assert world.get("VolumeSnapshot", "snap").status.readyToUse is None
    world.settle(for_s=30)
    assert world.get("VolumeSnapshot", "snap").status.readyToUse is True
    check_invariants(world)


def test_an_unbound_claim_is_retried_after_1_9_and_25_seconds() -> None:
    world = make_world(claim_bound=False)
    world.create(make_snapshot())
    world.settle()
    snapshot = world.get("VolumeSnapshot", "snap")
    cause = "the PVC data is not yet bound to a PV, will not attempt to take a snapshot"
    text = f'failed to get input parameters to create snapshot snap: "{cause}"'
    assert snapshot.status.error.message == f"Failed to create snapshot content with error {text}"
    assert snapshot.status.readyToUse is False
    assert finalizers_of(snapshot) == [SOURCE_FINALIZER]
    assert finalizers_of(world.get("PersistentVolumeClaim", "data")) == [CLAIM_FINALIZER]
    assert world.reasons() == ["SnapshotContentCreationFailed"]
    assert all(key.name for _, _, _, key, _ in world.events)
    assert _retry_times(world, 30) == [1, 9, 25]


def _retry_times(world: World, for_s: int) -> list[float]:
    """Seconds at which another pass failed."""
    times = []
    for _ in range(for_s):
        before = len(world.failures)
        world.settle(for_s=1)
        times += [world.seconds] * (len(world.failures) > before)
    return times


def test_a_missing_claim_is_reported() -> None:
    world = make_world()
    world.create(make_snapshot(claim="nope"))
    world.settle()
    text = "snapshot controller failed to update snap on API server: cannot get claim from snapshot"
    assert world.messages("SnapshotContentCreationFailed") == [f"Failed to create snapshot content with error {text}"]


def test_the_default_class_of_the_volumes_driver_is_set() -> None:
    world = make_world(policy="")
    world.create(make_snapshot_class("ours", default=True), make_snapshot_class("theirs", driver="other.example.com", default=True))
    world.create(make_snapshot(snapshot_class=None))
    world.settle()
    snapshot = world.get("VolumeSnapshot", "snap")
    assert snapshot.spec.volumeSnapshotClassName == "ours"
    assert snapshot.metadata.generation == 2
    assert snapshot.status.readyToUse is True


@pytest.mark.parametrize(
    ("names", "text"), [((), "cannot find default snapshot class"), (("a", "b"), "2 default snapshot classes were found")]
)
def test_no_or_several_default_classes_are_reported(names: tuple[str, ...], text: str) -> None:
    world = make_world(policy="")
    world.create(*[make_snapshot_class(name, default=True) for name in names])
    world.create(make_snapshot(snapshot_class=None))
    world.settle()
    snapshot = world.get("VolumeSnapshot", "snap")
    assert snapshot.status.error.message == f"Failed to set default snapshot class with error {text}"
    assert snapshot.status.readyToUse is None
    assert world.reasons() == ["SetDefaultSnapshotClassFailed"]


def test_deletion_waits_for_a_restore_and_says_so_at_every_try() -> None:
    world = make_world()
    world.create(make_snapshot())
    world.settle()
    source = TypedLocalObjectReference(apiGroup="snapshot.storage.k8s.io", kind="VolumeSnapshot", name="snap")
    world.create(
        make_pvc("restored", source=source), make_pvc("same-name", source=TypedLocalObjectReference(kind="VolumeSnapshot", name="snap"))
    )
    world.delete("VolumeSnapshot", "snap")
    world.settle(for_s=4)
    assert world.reasons("snap").count("SnapshotDeletePending") == 3
    assert world.get("VolumeSnapshotContent", CONTENT).metadata.deletionTimestamp is None
    world.patch("PersistentVolumeClaim", "restored", {"status": {"phase": "Bound"}}, status=True)
    world.settle(for_s=10)
    assert world.find("VolumeSnapshot", "snap") is None
    check_invariants(world)


def test_the_source_claim_is_freed_when_its_last_unready_snapshot_goes() -> None:
    world = make_world()
    driver_of(world).script["CreateSnapshot"] = [CsiCode.INTERNAL] * 100
    world.create(make_snapshot("one"), make_snapshot("two"))
    world.settle(for_s=2)
    world.delete("PersistentVolumeClaim", "data")
    world.delete("VolumeSnapshot", "one")
    world.settle(for_s=2)
    assert world.find("VolumeSnapshot", "one") is None
    assert world.find("PersistentVolumeClaim", "data") is not None
    world.delete("VolumeSnapshot", "two")
    world.settle(for_s=2)
    assert world.find("VolumeSnapshot", "two") is None
    assert world.find("PersistentVolumeClaim", "data") is None
    assert driver_of(world).called("DeleteSnapshot") == []
    check_invariants(world)


def test_a_content_without_its_finalizer_is_not_cut() -> None:
    world = make_world()
    for process in world.processes:
        if process.decider.name == "snapshot-controller":
            world.processes.remove(process)
    world.create(make_content(CONTENT, snapshot_uid="uid-VolumeSnapshot-snap", volume_handle="vol-1"))
    world.settle(for_s=5)
    assert driver_of(world).called("CreateSnapshot") == []
    content = world.get("VolumeSnapshotContent", CONTENT)
    world.api.update(with_finalizers(content, add=[CONTENT_FINALIZER]))
    world.settle()
    assert len(driver_of(world).called("CreateSnapshot")) == 1
