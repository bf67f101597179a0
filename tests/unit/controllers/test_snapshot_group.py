"""Group snapshots end to end over a fake API server and a scripted driver: create, members, poll, fail, bind, delete."""

from __future__ import annotations

from typing import Any

import pytest
from lightkube.models.core_v1 import CSIPersistentVolumeSource, Secret, TypedLocalObjectReference
from lightkube.models.meta_v1 import LabelSelector, LabelSelectorRequirement, ObjectMeta

from tests.builders import (
    DRIVER,
    make_csinode,
    make_group_class,
    make_group_content,
    make_group_snapshot,
    make_node,
    make_pv,
    make_pvc,
    make_snapshot,
)
from tests.unit.controllers.csi_harness import FakeDriver, World, check_invariants
from volsched.api import csi
from volsched.api.edit import annotations_of, finalizers_of, replace, with_annotations, with_finalizers, with_metadata
from volsched.api.snapshot import GroupSnapshotHandles, VolumeGroupSnapshot, VolumeGroupSnapshotClass, VolumeSnapshotStatus
from volsched.controllers.snapshot_common import SnapshotController
from volsched.controllers.snapshot_group import GroupSnapshotController
from volsched.controllers.snapshot_group_names import (
    DEFAULT_GROUP_CLASS,
    GROUP_BEING_CREATED,
    GROUP_BEING_DELETED,
    GROUP_BOUND_FINALIZER,
    GROUP_CONTENT_FINALIZER,
    GROUP_SECRET_NAME,
    GROUP_SECRET_NAMESPACE,
    member_names,
)
from volsched.controllers.snapshot_group_sidecar import GroupSnapshotSidecar
from volsched.controllers.snapshot_names import DELETION_SECRET_NAME, GROUP_MEMBER, IN_GROUP_FINALIZER, SOURCE_FINALIZER
from volsched.controllers.snapshot_sidecar import SnapshotSidecar
from volsched.errors import CsiCode

GROUP_UID = "uid-VolumeGroupSnapshot-group"
CONTENT = f"groupsnapcontent-{GROUP_UID}"
GROUP_NAME = f"groupsnapshot-{GROUP_UID}"
VOLUMES = ("vol-1", "vol-2")


def make_objects(world: World, *, policy: str = "Delete", claims: int = 2, **driver: Any) -> None:
    """A driver, a class, and claims `data-1` … labelled app=db, bound to volumes `vol-1` …"""
    world.driver(**driver)
    world.create(make_group_class(policy=policy), make_node(), make_csinode())
    for number in range(1, claims + 1):
        add_claim(world, number)


def add_claim(world: World, number: int, *, driver: str = DRIVER, labels: dict[str, str] | None = None, bound: bool = True) -> None:
    name, uid = f"data-{number}", f"uid-PersistentVolumeClaim-data-{number}"
    source = CSIPersistentVolumeSource(driver=driver, volumeHandle=f"vol-{number}")
    world.create(make_pv(f"pv-{number}", claim=f"default/{name}", claim_uid=uid, spec={"csi": source}))
    labels = {"app": "db"} if labels is None else labels
    world.create(make_pvc(name, bound_to=f"pv-{number}", labels=labels) if bound else make_pvc(name, labels=labels))


def start(world: World) -> None:
    world.run_decider(lambda: SnapshotController(world))
    world.run_decider(lambda: GroupSnapshotController(world))
    world.run_decider(lambda: SnapshotSidecar(world, DRIVER))
    world.run_decider(lambda: GroupSnapshotSidecar(world, DRIVER))


def make_world(**settings: Any) -> World:
    world = World(binder=False)
    make_objects(world, **settings)
    start(world)
    return world


def driver_of(world: World) -> FakeDriver:
    return world.drivers[DRIVER]


def cut_by_hand(world: World, name: str = "by-hand") -> GroupSnapshotHandles:
    """A group that exists at the driver alone."""
    request = csi.CreateVolumeGroupSnapshotRequest(name=name, source_volume_ids=list(VOLUMES))
    group = driver_of(world).call("CreateVolumeGroupSnapshot", request).group_snapshot
    return GroupSnapshotHandles(
        volumeGroupSnapshotHandle=group.group_snapshot_id, volumeSnapshotHandles=[item.snapshot_id for item in group.snapshots]
    )


def selecting(selector: LabelSelector, **rest: Any) -> VolumeGroupSnapshot:
    group = make_group_snapshot(**rest)
    return replace(group, spec=replace(group.spec, source=replace(group.spec.source, selector=selector)))


def with_secret(**parameters: str) -> VolumeGroupSnapshotClass:
    return replace(make_group_class(), parameters=parameters)


def member(world: World, volume: str) -> tuple[Any, Any]:
    snapshot, content = member_names(GROUP_UID, volume)
    return world.get("VolumeSnapshot", snapshot), world.get("VolumeSnapshotContent", content)


def test_a_group_becomes_ready_with_a_member_for_every_claim() -> None:
    world = make_world()
    world.create(make_group_snapshot())
    world.settle(for_s=5)
    group, content = world.get("VolumeGroupSnapshot", "group"), world.get("VolumeGroupSnapshotContent", CONTENT)
    assert group.status.boundVolumeGroupSnapshotContentName == CONTENT
    assert group.status.readyToUse is True and group.status.error is None and group.status.creationTime is not None
    assert finalizers_of(group) == [GROUP_BOUND_FINALIZER] and finalizers_of(content) == [GROUP_CONTENT_FINALIZER]
    assert not content.metadata.annotations
    assert content.spec.source.volumeHandles == list(VOLUMES)
    assert content.spec.volumeGroupSnapshotRef.uid == GROUP_UID
    assert [entry.volumeHandle for entry in content.status.volumeSnapshotInfoList] == list(VOLUMES)
    for number, volume in enumerate(VOLUMES, start=1):
        snapshot, theirs = member(world, volume)
        assert sorted(finalizers_of(snapshot)) == sorted([IN_GROUP_FINALIZER, SOURCE_FINALIZER])
        assert snapshot.metadata.ownerReferences[0].uid == GROUP_UID
        assert snapshot.spec.source.persistentVolumeClaimName == f"data-{number}"
        assert snapshot.status.readyToUse is True and snapshot.status.volumeGroupSnapshotName == "group"
        assert snapshot.status.boundVolumeSnapshotContentName == theirs.metadata.name
        assert annotations_of(theirs)[GROUP_MEMBER] == content.status.volumeGroupSnapshotHandle
        assert theirs.spec.volumeSnapshotRef.uid == snapshot.metadata.uid and theirs.spec.volumeSnapshotClassName is None
        assert theirs.status.volumeGroupSnapshotHandle == content.status.volumeGroupSnapshotHandle
    assert world.reasons("group") == ["CreatingGroupSnapshot", "GroupSnapshotCreated", "GroupSnapshotReady"]
    (request,) = driver_of(world).called("CreateVolumeGroupSnapshot")
    assert (request.name, request.source_volume_ids) == (GROUP_NAME, list(VOLUMES))
    assert driver_of(world).called("CreateSnapshot") == [], "members are never cut one by one"
    check_invariants(world)


def test_the_finalizer_comes_before_the_content_and_nothing_is_cut_before_the_contents_own() -> None:
    world = make_world()
    world.create(make_group_snapshot())
    world.settle()
    mine = [(user, verb, key.kind) for user, verb, key in world.writes]
    common, sidecar = "snapshot-controller", "csi-snapshotter"
    chain = [
        (common, "update", "VolumeGroupSnapshot"),
        (common, "create", "VolumeGroupSnapshotContent"),
        (common, "patch", "VolumeGroupSnapshotContent"),
        (sidecar, "patch", "VolumeGroupSnapshotContent"),
        (sidecar, "patch/status", "VolumeGroupSnapshotContent"),
        (common, "create", "VolumeSnapshotContent"),
        (common, "create", "VolumeSnapshot"),
        (common, "patch", "VolumeSnapshotContent"),
        (common, "patch/status", "VolumeSnapshot"),
        (common, "patch/status", "VolumeSnapshotContent"),
        (common, "update/status", "VolumeGroupSnapshot"),
    ]
    positions: list[int] = []
    for step in chain:
        positions.append(mine.index(step, positions[-1] + 1 if positions else 0))
    assert mine.index((common, "update", "VolumeGroupSnapshot")) < mine.index((common, "create", "VolumeGroupSnapshotContent"))


def test_a_finished_group_is_left_alone() -> None:
    world = make_world()
    world.create(make_group_snapshot())
    world.settle(for_s=20)
    before = world.api.version, len(driver_of(world).calls)
    world.settle(for_s=2000)
    assert (world.api.version, len(driver_of(world).calls)) == before


def test_readiness_is_polled_by_creating_again_with_backoff() -> None:
    world = make_world(ready_after_s=8)
    world.create(make_group_snapshot())
    world.settle()
    group = world.get("VolumeGroupSnapshot", "group")
    assert group.status.readyToUse is False and group.status.creationTime is not None
    assert "GroupSnapshotCreated" in world.reasons("group") and "GroupSnapshotReady" not in world.reasons("group")
    assert len(driver_of(world).called("CreateVolumeGroupSnapshot")) == 1
    for volume in VOLUMES:
        assert member(world, volume)[0].status.readyToUse is False
    world.settle(for_s=40)
    assert [name for name, _ in driver_of(world).calls].count("CreateVolumeGroupSnapshot") == 5  # after 0, 1, 3, 7 and 15 s
    assert world.get("VolumeGroupSnapshot", "group").status.readyToUse is True
    for volume in VOLUMES:
        assert member(world, volume)[0].status.readyToUse is True
    check_invariants(world)


def test_a_ready_member_is_never_lowered_by_the_list_of_its_group() -> None:
    world = make_world(ready_after_s=4)
    world.create(make_group_snapshot())
    world.settle(for_s=4)
    world.settle(for_s=60)
    names = {member_names(GROUP_UID, volume)[1] for volume in VOLUMES}
    last: dict[str, bool] = {}
    for _, key, obj in world.api.history:
        if key.kind == "VolumeSnapshotContent" and key.name in names and obj.status is not None:
            ready = bool(obj.status.readyToUse)
            assert ready or not last.get(key.name, False), f"{key.name} was ready and is not any more"
            last[key.name] = ready
    assert last == dict.fromkeys(names, True)


def test_expressions_of_the_selector_count() -> None:
    world = make_world(claims=1)
    add_claim(world, 2, labels={"tier": "gold"})
    add_claim(world, 3, labels={})
    gold = LabelSelector(matchExpressions=[LabelSelectorRequirement(key="tier", operator="In", values=["gold", "silver"])])
    world.create(selecting(gold))
    world.settle(for_s=5)
    assert world.get("VolumeGroupSnapshotContent", CONTENT).spec.source.volumeHandles == ["vol-2"]


def test_a_selector_that_finds_nothing_is_reported_as_upstream_prints_it() -> None:
    world = make_world(claims=0)
    nothing = LabelSelector(
        matchLabels={"app": "db"}, matchExpressions=[LabelSelectorRequirement(key="tier", operator="In", values=["a", "b"])]
    )
    world.create(selecting(nothing))
    world.settle()
    printed = (
        "&LabelSelector{MatchLabels:map[string]string{app: db,},MatchExpressions:[]LabelSelectorRequirement"
        "{LabelSelectorRequirement{Key:tier,Operator:In,Values:[a b],},},}"
    )
    (text,) = set(world.messages("GroupSnapshotContentCreationFailed"))
    problem = f"label selector {printed} for group snapshot not applied to any PVC"
    assert text == (
        f'failed to create group snapshot content with error failed to get input parameters to create group snapshot group: "{problem}"'
    )
    assert finalizers_of(world.get("VolumeGroupSnapshot", "group")) == []
    add_claim(world, 1, labels={"app": "db", "tier": "b"})
    world.settle(for_s=20)
    assert world.get("VolumeGroupSnapshot", "group").status.readyToUse is True


def test_a_claim_that_is_not_bound_is_waited_for() -> None:
    world = make_world(claims=1)
    add_claim(world, 2, bound=False)
    world.create(make_group_snapshot())
    world.settle()
    error = world.get("VolumeGroupSnapshot", "group").status.error.message
    assert "the PVC data-2 is not yet bound to a PV, will not attempt to take a group snapshot" in error
    assert driver_of(world).groups == {}


@pytest.mark.parametrize("source", ["other", "none"])
def test_volumes_of_another_driver_are_refused(source: str) -> None:
    world = make_world(claims=1)
    if source == "other":
        add_claim(world, 2, driver="other.example.com")
        text = f"Volume CSI driver (other.example.com) mismatch with VolumeGroupSnapshotClass ({DRIVER}) default/group: pv-2"
        problem = f"snapshot controller failed to update default/group on API server: {text}"
    else:
        world.create(make_pv("pv-2", claim="default/data-2", claim_uid="uid-PersistentVolumeClaim-data-2", local=True))
        world.create(make_pvc("data-2", bound_to="pv-2", labels={"app": "db"}))
        text, problem = "Cannot snapshot a non-CSI volume: pv-2", "cannot snapshot a non-CSI volume for group snapshot default/group: pv-2"
    world.create(make_group_snapshot())
    world.settle()
    assert set(world.messages("CreateGroupSnapshotContentFailed")) == {text}
    assert world.messages("GroupSnapshotContentCreationFailed") == [f"failed to create group snapshot content with error {problem}"]
    assert world.find("VolumeGroupSnapshotContent", CONTENT) is None


def test_the_default_class_is_that_of_the_first_volumes_driver() -> None:
    world = make_world()
    world.create(with_annotations(make_group_class("ours"), {DEFAULT_GROUP_CLASS: "true"}))
    world.create(with_annotations(make_group_class("theirs", driver="other.example.com"), {DEFAULT_GROUP_CLASS: "true"}))
    world.create(make_group_snapshot(snapshot_class=None))
    world.settle(for_s=5)
    group = world.get("VolumeGroupSnapshot", "group")
    assert group.spec.volumeGroupSnapshotClassName == "ours" and group.status.readyToUse is True


@pytest.mark.parametrize(
    ("defaults", "text"), [(0, "cannot find default group snapshot class"), (2, "2 default snapshot classes were found")]
)
def test_without_exactly_one_default_class_the_group_waits(defaults: int, text: str) -> None:
    world = make_world()
    for number in range(defaults):
        world.create(with_annotations(make_group_class(f"default-{number}"), {DEFAULT_GROUP_CLASS: "true"}))
    world.create(make_group_snapshot(snapshot_class=None))
    world.settle()
    assert world.messages("SetDefaultGroupSnapshotClassFailed") == [f"Failed to set default group snapshot class with error {text}"]
    world.delete("VolumeGroupSnapshot", "group")
    world.settle()
    assert world.find("VolumeGroupSnapshot", "group") is None


def test_a_missing_class_is_reported_and_waited_for() -> None:
    world = make_world()
    world.create(make_group_snapshot(snapshot_class="later"))
    world.settle()
    problem = 'volumegroupsnapshotclass.groupsnapshot.storage.k8s.io "later" not found'
    assert world.messages("GetGroupSnapshotClassFailed") == [f"failed to get group snapshot class with error {problem}"]
    assert world.get("VolumeGroupSnapshot", "group").status.readyToUse is None
    world.create(make_group_class("later"))
    world.settle(for_s=10)
    assert world.get("VolumeGroupSnapshot", "group").status.readyToUse is True


@pytest.mark.parametrize("selected", [True, False])
def test_a_group_names_exactly_one_source(selected: bool) -> None:
    world = make_world()
    group = make_group_snapshot()
    both = replace(group.spec.source, volumeGroupSnapshotContentName="content-1") if selected else type(group.spec.source)()
    world.create(replace(group, spec=replace(group.spec, source=both)))
    world.settle()
    assert world.messages("GroupSnapshotValidationError") == [
        "Exactly one of Selector and VolumeGroupSnapshotContentName should be specified"
    ]


def test_a_final_error_frees_the_mark_and_is_retried_with_backoff() -> None:
    world = make_world()
    driver_of(world).script["CreateVolumeGroupSnapshot"] = [CsiCode.FAILED_PRECONDITION] * 4
    world.create(make_group_snapshot())
    world.settle()
    content = world.get("VolumeGroupSnapshotContent", CONTENT)
    assert GROUP_BEING_CREATED not in annotations_of(content)
    cause = 'failed to take group snapshot of the volumes [vol-1 vol-2]: "rpc error: code = FailedPrecondition desc = scripted failure"'
    assert content.status.error.message == f"Failed to create group snapshot: {cause}"
    assert len(driver_of(world).called("CreateVolumeGroupSnapshot")) == 1
    assert world.get("VolumeGroupSnapshot", "group").status.error.message == content.status.error.message
    world.settle(for_s=2)
    assert world.messages("GroupSnapshotContentCheckandUpdateFailed") == [f"Failed to check and update group snapshot content: {cause}"]
    world.settle(for_s=60)
    assert world.get("VolumeGroupSnapshot", "group").status.readyToUse is True
    assert world.get("VolumeGroupSnapshot", "group").status.error is None
    check_invariants(world)


def test_a_cut_with_a_lost_answer_is_deleted_when_the_group_is_deleted_meanwhile() -> None:
    world = make_world()
    driver_of(world).script["CreateVolumeGroupSnapshot"] = [("lost", CsiCode.DEADLINE_EXCEEDED)] * 2
    world.create(make_group_snapshot())
    world.settle()
    world.delete("VolumeGroupSnapshot", "group")
    world.settle()
    content = world.get("VolumeGroupSnapshotContent", CONTENT)
    assert GROUP_BEING_CREATED in annotations_of(content) and GROUP_BEING_DELETED in annotations_of(content)
    assert driver_of(world).called("DeleteVolumeGroupSnapshot") == []
    world.settle(for_s=60)
    assert world.find("VolumeGroupSnapshot", "group") is None
    assert driver_of(world).groups == {} and driver_of(world).snapshots == {}
    check_invariants(world)


def test_deleting_a_group_deletes_its_members_and_the_backend_once() -> None:
    world = make_world()
    world.create(make_group_snapshot())
    world.settle(for_s=5)
    ids = sorted(driver_of(world).snapshots)
    world.delete("VolumeGroupSnapshot", "group")
    world.settle(for_s=60)
    for kind in ("VolumeGroupSnapshot", "VolumeGroupSnapshotContent", "VolumeSnapshot", "VolumeSnapshotContent"):
        assert world.api.list(kind) == [], kind
    (request,) = driver_of(world).called("DeleteVolumeGroupSnapshot")
    assert sorted(request.snapshot_ids) == ids
    assert driver_of(world).called("DeleteSnapshot") == [], "trap 33: members are never deleted one by one"
    assert driver_of(world).groups == {} and driver_of(world).snapshots == {}


def test_31_a_member_deleted_by_hand_waits_for_its_group() -> None:
    world = make_world()
    world.create(make_group_snapshot())
    world.settle(for_s=5)
    name = member_names(GROUP_UID, "vol-1")[0]
    world.delete("VolumeSnapshot", name)
    world.settle(for_s=5)
    assert world.get("VolumeSnapshot", name).metadata.deletionTimestamp is not None
    assert set(world.messages("SnapshotDeletePending")) == {
        f"deletion of the individual volume snapshot default/{name} is not allowed as it belongs to group snapshot default/group. "
        "Deleting the group snapshot will trigger the deletion of all the individual volume snapshots that are part of the group."
    }
    world.delete("VolumeGroupSnapshot", "group")
    world.settle(for_s=60)
    assert world.api.list("VolumeSnapshot") == [] and driver_of(world).snapshots == {}


@pytest.mark.parametrize("left", ["finalizer", "owner"])
def test_31_membership_is_told_by_owner_or_finalizer_before_the_status_names_the_group(left: str) -> None:
    world = make_world()
    world.create(make_group_snapshot())
    world.settle(for_s=5)
    snapshot, content = member(world, "vol-1")
    if left == "finalizer":
        snapshot = with_metadata(snapshot, ownerReferences=None)
    else:
        snapshot = with_finalizers(snapshot, remove=[IN_GROUP_FINALIZER])
    stored = world.api.update(snapshot)
    bound = VolumeSnapshotStatus(boundVolumeSnapshotContentName=content.metadata.name, readyToUse=True)
    world.api.update(replace(stored, status=bound), "status")
    world.delete("VolumeSnapshot", snapshot.metadata.name)
    world.settle(for_s=3)
    assert world.find("VolumeSnapshot", snapshot.metadata.name) is not None
    assert "SnapshotDeletePending" in world.reasons(snapshot.metadata.name)
    world.delete("VolumeGroupSnapshot", "group")
    world.settle(for_s=60)
    assert world.api.list("VolumeSnapshot") == [] and world.api.list("VolumeSnapshotContent") == []


def test_32_with_retain_the_members_go_and_contents_and_backend_stay() -> None:
    world = make_world(policy="Retain")
    world.create(make_group_snapshot())
    world.settle(for_s=5)
    world.delete("VolumeGroupSnapshot", "group")
    world.settle(for_s=60)
    assert world.api.list("VolumeGroupSnapshot") == [] and world.api.list("VolumeSnapshot") == []
    assert GROUP_BEING_DELETED in annotations_of(world.get("VolumeGroupSnapshotContent", CONTENT))
    assert len(world.api.list("VolumeSnapshotContent")) == 2
    assert len(driver_of(world).groups) == 1 and len(driver_of(world).snapshots) == 2
    world.patch("VolumeGroupSnapshotContent", CONTENT, {"spec": {"deletionPolicy": "Delete"}})
    world.delete("VolumeGroupSnapshotContent", CONTENT)
    world.settle(for_s=5)
    assert world.find("VolumeGroupSnapshotContent", CONTENT) is None and driver_of(world).groups == {}


def test_34_a_member_of_an_unknown_volume_names_no_claim() -> None:
    world = make_world(ready_after_s=3)
    driver_of(world).script["CreateVolumeGroupSnapshot"] = [CsiCode.UNAVAILABLE]
    world.create(make_group_snapshot())
    world.settle()
    world.delete("PersistentVolume", "pv-2")
    world.settle(for_s=30)
    snapshot, content = member(world, "vol-2")
    assert snapshot.spec.source.persistentVolumeClaimName == "" and content.spec.sourceVolumeMode is None
    assert snapshot.status.readyToUse is True


def test_a_group_waits_while_a_member_is_being_restored_from() -> None:
    world = make_world()
    world.create(make_group_snapshot())
    world.settle(for_s=5)
    name = member_names(GROUP_UID, "vol-1")[0]
    source = TypedLocalObjectReference(apiGroup="snapshot.storage.k8s.io", kind="VolumeSnapshot", name=name)
    world.create(make_pvc("restored", source=source))
    world.delete("VolumeGroupSnapshot", "group")
    world.settle(for_s=3)
    text = f"Snapshot default/{name} belonging to VolumeGroupSnapshot default/group is being used to restore a PVC"
    assert set(world.messages("SnapshotDeletePending")) == {text}
    assert world.get("VolumeGroupSnapshotContent", CONTENT).metadata.deletionTimestamp is None
    world.delete("PersistentVolumeClaim", "restored")
    world.settle(for_s=120)
    assert world.api.list("VolumeGroupSnapshot") == [] and driver_of(world).groups == {}


def test_a_pre_provisioned_group_is_bound_and_gets_no_members() -> None:
    world = make_world()
    handles = cut_by_hand(world)
    world.create(make_group_content("content-1", handles=handles, snapshot_class=None))
    world.settle(for_s=1)
    assert world.get("VolumeGroupSnapshotContent", "content-1").status.readyToUse is True, "also before it is bound"
    world.create(make_group_snapshot(content="content-1"))
    world.settle(for_s=5)
    group, content = world.get("VolumeGroupSnapshot", "group"), world.get("VolumeGroupSnapshotContent", "content-1")
    assert group.status.readyToUse is True and group.status.boundVolumeGroupSnapshotContentName == "content-1"
    assert content.spec.volumeGroupSnapshotRef.uid == GROUP_UID and content.spec.volumeGroupSnapshotClassName == "groups"
    assert finalizers_of(group) == [GROUP_BOUND_FINALIZER] and finalizers_of(content) == [GROUP_CONTENT_FINALIZER]
    assert world.api.list("VolumeSnapshot") == []
    (request,) = driver_of(world).called("GetVolumeGroupSnapshot")
    assert request.snapshot_ids == handles.volumeSnapshotHandles
    world.delete("VolumeGroupSnapshot", "group")
    world.settle(for_s=30)
    assert world.api.list("VolumeGroupSnapshotContent") == [] and driver_of(world).groups == {}
    check_invariants(world)


def test_a_pre_provisioned_group_needs_its_members_ids() -> None:
    world = make_world()
    handles = GroupSnapshotHandles(volumeGroupSnapshotHandle="id", volumeSnapshotHandles=[])
    world.create(make_group_content("content-1", handles=handles, snapshot_class=None))
    world.settle()
    assert driver_of(world).called("GetVolumeGroupSnapshot") == []
    error = world.get("VolumeGroupSnapshotContent", "content-1").status.error.message
    cause = "cannot list group snapshot content-1. No snapshots found in the group snapshot content"
    assert error == f"Failed to check and update group snapshot content: {cause}"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({}, "GroupSnapshotContentMismatch"),
        ({"handles": True, "snapshot": "default/other"}, "GroupSnapshotContentMisbound"),
        ({"handles": True, "snapshot_uid": "another"}, "GroupSnapshotContentMisbound"),
    ],
)
def test_a_content_that_is_not_for_the_group_is_refused(content: dict[str, Any], reason: str) -> None:
    world = make_world()
    if content.pop("handles", False):
        content["handles"] = GroupSnapshotHandles(volumeGroupSnapshotHandle="id", volumeSnapshotHandles=["a"])
    world.create(make_group_content("content-1", driver="other.example.com", **content), make_group_snapshot(content="content-1"))
    world.settle()
    assert list(dict.fromkeys(world.reasons("group"))) == [reason, "GroupSnapshotFinalizerError"]
    assert finalizers_of(world.get("VolumeGroupSnapshot", "group")) == []


def test_a_missing_content_is_waited_for() -> None:
    world = make_world()
    world.create(make_group_snapshot(content="content-1"))
    world.settle()
    assert world.messages("GroupSnapshotContentMissing") == ["VolumeGroupSnapshotContent is missing"]
    world.create(make_group_content("content-1", handles=cut_by_hand(world), snapshot_class=None))
    world.settle(for_s=20)
    assert world.get("VolumeGroupSnapshot", "group").status.readyToUse is True


def test_the_content_of_a_ready_group_removed_by_force_is_made_again_under_the_same_name() -> None:
    world = make_world()
    world.create(make_group_snapshot())
    world.settle(for_s=5)
    content = world.get("VolumeGroupSnapshotContent", CONTENT)
    world.api.update(with_finalizers(content, remove=finalizers_of(content)))
    world.delete("VolumeGroupSnapshotContent", CONTENT)
    world.settle(for_s=30)
    assert "GroupSnapshotContentMissing" in world.reasons("group")
    assert world.get("VolumeGroupSnapshot", "group").status.readyToUse is True
    assert driver_of(world).cuts[GROUP_NAME] == 1
    check_invariants(world)


def test_the_uid_of_a_ready_groups_content_tells_whose_it_is() -> None:
    world = make_world()
    world.create(make_group_snapshot())
    world.settle(for_s=5)
    world.patch("VolumeGroupSnapshotContent", CONTENT, {"spec": {"volumeGroupSnapshotRef": {"uid": "another"}}})
    world.patch("VolumeGroupSnapshot", "group", {"metadata": {"labels": {"poke": "1"}}})
    world.settle()
    assert "GroupSnapshotMisbound" in world.reasons("group")
    assert world.get("VolumeGroupSnapshot", "group").status.readyToUse is False


def test_the_secret_of_the_class_reaches_the_driver_and_the_members() -> None:
    world = World(binder=False)
    make_objects(world)
    world.delete("VolumeGroupSnapshotClass", "groups")
    keys = {
        "csi.storage.k8s.io/group-snapshotter-secret-name": "${volumegroupsnapshot.name}-key",
        "csi.storage.k8s.io/group-snapshotter-secret-namespace": "${volumegroupsnapshot.namespace}",
        "pool": "fast",
    }
    world.create(with_secret(**keys))
    world.create(Secret(metadata=ObjectMeta(name="group-key", namespace="default"), stringData={"user": "admin"}))
    start(world)
    world.create(make_group_snapshot())
    world.settle(for_s=5)
    (request,) = driver_of(world).called("CreateVolumeGroupSnapshot")
    assert request.secrets == {"user": "admin"} and request.parameters == {"pool": "fast"}
    annotations = annotations_of(world.get("VolumeGroupSnapshotContent", CONTENT))
    assert (annotations[GROUP_SECRET_NAME], annotations[GROUP_SECRET_NAMESPACE]) == ("group-key", "default")
    assert annotations_of(member(world, "vol-1")[1])[DELETION_SECRET_NAME] == "group-key"
    world.delete("Secret", "group-key")
    world.delete("VolumeGroupSnapshot", "group")
    world.settle(for_s=3)
    assert set(world.messages("GroupSnapshotDeleteError")) == {"Failed to get snapshot credentials"}
    assert len(driver_of(world).groups) == 1


def test_a_driver_without_groups_leaves_them_waiting() -> None:
    world = make_world(plugin=frozenset({"CONTROLLER_SERVICE"}))
    world.create(make_group_snapshot())
    world.settle(for_s=60)
    assert driver_of(world).called("CreateVolumeGroupSnapshot") == []
    assert world.get("VolumeGroupSnapshotContent", CONTENT).status is None


def test_an_invalid_content_is_reported() -> None:
    world = make_world()
    content = make_group_content("content-1")
    world.create(replace(content, spec=replace(content.spec, source=replace(content.spec.source, volumeHandles=[]))))
    world.settle()
    assert world.messages("GroupContentValidationError") == ["Exactly one of GroupSnapshotHandles and VolumeHandles should be specified"]


def test_an_object_with_a_members_name_is_not_taken_over() -> None:
    world = make_world()
    name = member_names(GROUP_UID, "vol-1")[0]
    world.create(make_snapshot(name, claim="data-1", snapshot_class="none"), make_group_snapshot())
    world.settle(for_s=20)
    assert world.get("VolumeGroupSnapshot", "group").status.readyToUse is False
    assert any("is not a member of group snapshot default/group" in text for text in world.failures)
