"""Restores and clones: which sources are accepted, the finalizers that keep them, and who takes those off."""

from __future__ import annotations

from typing import Any

import pytest
from lightkube.models.core_v1 import TypedLocalObjectReference, TypedObjectReference
from lightkube.models.meta_v1 import ObjectMeta

from tests.builders import DRIVER, make_class, make_content, make_pvc, make_snapshot
from tests.unit.controllers.csi_harness import ALL_CAPABILITIES, World, check_invariants
from tests.unit.controllers.test_provisioner import claim, driver_of, make_objects, make_world, start
from volsched.api.edit import finalizers_of, replace, with_annotations, with_finalizers, with_metadata
from volsched.api.gateway import ReferenceGrant, ReferenceGrantFrom, ReferenceGrantSpec, ReferenceGrantTo
from volsched.controllers.provisioner_options import CLONE_FINALIZER, ProvisionerOptions
from volsched.controllers.snapshot_names import ALLOW_VOLUME_MODE_CHANGE, CONTENT_FINALIZER, RESTORE_FINALIZER
from volsched.errors import CsiCode

HANDLING = "error getting handle for DataSource Type VolumeSnapshot by Name snap: "
CLONING = "error getting handle for DataSource Type PersistentVolumeClaim by Name origin: "


def of_snapshot(name: str = "snap") -> TypedLocalObjectReference:
    return TypedLocalObjectReference(apiGroup="snapshot.storage.k8s.io", kind="VolumeSnapshot", name=name)


def of_claim(name: str = "origin") -> TypedLocalObjectReference:
    return TypedLocalObjectReference(kind="PersistentVolumeClaim", name=name)


def make_ready_snapshot(world: World, *, name: str = "snap", namespace: str = "default", **content: Any) -> None:
    """A ready snapshot of 10Gi and its content; no snapshot controller is needed."""
    uid = f"uid-VolumeSnapshot-{name}"
    status = {"snapshotHandle": f"id-{name}", "readyToUse": True, "restoreSize": 10 << 30}
    settings: dict[str, Any] = {
        "finalizers": [CONTENT_FINALIZER],
        "snapshot": f"default/{name}",
        "snapshot_uid": uid,
        "source_mode": "Filesystem",
        "status": status,
    }
    world.create(make_content(f"content-{name}", **{**settings, **content}))
    world.create(make_snapshot(name, namespace=namespace, bound_to=f"content-{name}", ready=True, restore_size="10Gi"))


def test_a_restore_protects_its_snapshot_until_the_volume_is_saved() -> None:
    world = make_world()
    make_ready_snapshot(world)
    world.create(claim(source=of_snapshot()))
    world.settle()
    (request,) = driver_of(world).called("CreateVolume")
    assert request.volume_content_source.snapshot.snapshot_id == "id-snap"
    assert [(verb, key.kind) for _, verb, key in world.writes] == [
        ("update", "VolumeSnapshot"),
        ("create", "PersistentVolume"),
        ("update", "VolumeSnapshot"),
    ]
    assert finalizers_of(world.get("VolumeSnapshot", "snap")) == []
    assert world.get("PersistentVolumeClaim", "data").status.phase == "Bound"


def test_a_larger_or_equal_restore_is_accepted_one_byte_less_is_refused_without_a_call() -> None:
    world = make_world()
    make_ready_snapshot(world)
    size = 10 << 30
    world.create(
        claim("less", size=str(size - 1), source=of_snapshot()),
        claim("equal", size=str(size), source=of_snapshot()),
        claim("more", size=str(size + 1), source=of_snapshot()),
    )
    world.settle()
    text = f"requested volume size {size - 1} is less than the size {size} for the source snapshot snap"
    assert world.messages("ProvisioningFailed") == [HANDLING + text]
    assert sorted(request.capacity_range.required_bytes for request in driver_of(world).called("CreateVolume")) == [size, size + 1]


def _unbound(world: World) -> None:
    world.create(make_snapshot())


def _missing(world: World) -> None:
    pass


def _deleting(world: World) -> None:
    make_ready_snapshot(world)
    world.api.update(with_finalizers(world.get("VolumeSnapshot", "snap"), add=["example.com/hold"]))
    world.delete("VolumeSnapshot", "snap")


def _content_missing(world: World) -> None:
    make_ready_snapshot(world, finalizers=())
    world.delete("VolumeSnapshotContent", "content-snap")


def _content_of_another(world: World) -> None:
    make_ready_snapshot(world, snapshot_uid="somebody-else")


def _content_of_another_driver(world: World) -> None:
    make_ready_snapshot(world, driver="other.example.com")


def _not_ready(world: World) -> None:
    make_ready_snapshot(world)
    world.patch("VolumeSnapshot", "snap", {"status": {"readyToUse": False}}, status=True)


def _no_handle(world: World) -> None:
    make_ready_snapshot(world, status={"readyToUse": True})


REFUSED = [
    (_missing, 'error getting snapshot snap from api server: volumesnapshots.snapshot.storage.k8s.io "snap" not found'),
    (_deleting, "snapshot snap is being deleted"),
    (_unbound, "snapshot snap not bound"),
    (_content_missing, "error getting snapshotcontent content-snap for snapshot snap"),
    (_content_of_another, "snapshotcontent content-snap for snapshot snap is bound to a different snapshot"),
    (_content_of_another_driver, "snapshotcontent content-snap for snapshot snap is not handled by CSI driver of StorageClass fast"),
    (_not_ready, "snapshot snap is not Ready"),
    (_no_handle, "snapshot handle snap is not available"),
]


@pytest.mark.parametrize(("prepare", "text"), REFUSED)
def test_a_snapshot_that_cannot_be_restored_now_is_named(prepare: Any, text: str) -> None:
    world = make_world()
    prepare(world)
    world.create(claim(source=of_snapshot()))
    world.settle()
    assert world.messages("ProvisioningFailed") == [HANDLING + text]
    assert driver_of(world).called("CreateVolume") == []
    assert world.get("PersistentVolumeClaim", "data").status.phase == "Pending"


@pytest.mark.parametrize(
    ("consent", "text"),
    [
        (None, f"{ALLOW_VOLUME_MODE_CHANGE} annotation is not present on snapshotcontent content-snap"),
        (
            "yes",
            f"failed to convert {ALLOW_VOLUME_MODE_CHANGE} annotation value to boolean with error: "
            'strconv.ParseBool: parsing "yes": invalid syntax',
        ),
        ("F", f"{ALLOW_VOLUME_MODE_CHANGE} is set to false on snapshotcontent content-snap"),
        ("T", None),
    ],
)
def test_a_restore_in_another_mode_needs_consent(consent: str | None, text: str | None) -> None:
    world = make_world()
    make_ready_snapshot(world)
    if consent is not None:
        world.api.update(with_annotations(world.get("VolumeSnapshotContent", "content-snap"), {ALLOW_VOLUME_MODE_CHANGE: consent}))
    world.create(claim(source=of_snapshot(), volume_mode="Block"))
    world.settle()
    refusal = "requested volume default/data modifies the mode of the source volume but does not have permission to do so. "
    assert world.messages("ProvisioningFailed") == ([] if text is None else [HANDLING + refusal + text])


def test_a_restore_that_began_goes_on_although_the_snapshot_is_being_deleted() -> None:
    world = make_world()
    make_ready_snapshot(world)
    driver_of(world).script["CreateVolume"] = [("lost", CsiCode.DEADLINE_EXCEEDED)]
    world.create(claim(source=of_snapshot()))
    world.settle()
    world.delete("VolumeSnapshot", "snap")
    assert finalizers_of(world.get("VolumeSnapshot", "snap")) == [RESTORE_FINALIZER]
    world.settle(for_s=2)
    assert world.get("PersistentVolumeClaim", "data").status.phase == "Bound"
    assert world.find("VolumeSnapshot", "snap") is None


def test_a_volume_without_its_source_is_deleted_and_tried_again() -> None:
    world = make_world(returns={"content_source": None})
    make_ready_snapshot(world)
    world.create(claim(source=of_snapshot()))
    world.settle()
    assert world.messages("ProvisioningFailed") == ["volume content source missing"]
    assert driver_of(world).volumes == {}
    driver_of(world).returns = {}
    world.settle(for_s=2)
    assert world.get("PersistentVolumeClaim", "data").status.phase == "Bound"


def test_a_finalizer_left_by_a_restore_whose_claim_went_is_swept_every_five_minutes() -> None:
    world = make_world()
    make_ready_snapshot(world)
    driver_of(world).script["CreateVolume"] = [CsiCode.INTERNAL] * 99
    world.settle(for_s=10)  # past the sweep at start
    world.create(claim(source=of_snapshot()))
    world.settle(for_s=5)
    world.delete("PersistentVolumeClaim", "data")
    world.settle(for_s=270)
    assert finalizers_of(world.get("VolumeSnapshot", "snap")) == [RESTORE_FINALIZER]
    world.settle(for_s=40)
    assert finalizers_of(world.get("VolumeSnapshot", "snap")) == []
    check_invariants(world)


def test_the_sweep_at_start_spares_snapshots_that_pending_claims_name() -> None:
    world = World()
    make_objects(world, wait=True)
    make_ready_snapshot(world, name="wanted")
    make_ready_snapshot(world, name="left")
    for name in ("wanted", "left"):
        world.api.update(with_finalizers(world.get("VolumeSnapshot", name), add=[RESTORE_FINALIZER]))
    world.create(make_pvc("waiting", source=of_snapshot("wanted")))
    start(world)
    world.settle()
    assert finalizers_of(world.get("VolumeSnapshot", "wanted")) == [RESTORE_FINALIZER]
    assert finalizers_of(world.get("VolumeSnapshot", "left")) == []


def test_the_sweep_spares_a_snapshot_the_driver_may_be_restoring_from() -> None:
    world = make_world()
    make_ready_snapshot(world)
    driver_of(world).script["CreateVolume"] = [("lost", CsiCode.DEADLINE_EXCEEDED)] * 12
    world.create(claim(source=of_snapshot()))
    world.settle(for_s=1)
    world.delete("PersistentVolumeClaim", "data")
    world.delete("VolumeSnapshot", "snap")
    world.settle(for_s=3600)
    assert driver_of(world).volumes == {} and world.api.list("PersistentVolume") == []
    assert world.find("VolumeSnapshot", "snap") is None


def test_two_restores_at_once_share_the_finalizer() -> None:
    world = make_world()
    make_ready_snapshot(world)
    world.create(claim("one", source=of_snapshot()), claim("two", source=of_snapshot()))
    world.settle(for_s=10)
    assert {name: world.get("PersistentVolumeClaim", name).status.phase for name in ("one", "two")} == {"one": "Bound", "two": "Bound"}
    assert finalizers_of(world.get("VolumeSnapshot", "snap")) == []


def test_a_source_in_another_namespace_is_refused() -> None:
    world = make_world()
    reference = TypedObjectReference(apiGroup="snapshot.storage.k8s.io", kind="VolumeSnapshot", name="snap", namespace="other")
    world.create(claim(source_ref=reference))
    world.settle()
    text = "dataSourceRef namespace specified but the CrossNamespaceVolumeDataSource feature is disabled"
    assert world.messages("ProvisioningFailed") == [text]


CROSSING = ProvisionerOptions(default_fstype="ext4", cross_namespace_volume_data_source=True)
ELSEWHERE = TypedObjectReference(apiGroup="snapshot.storage.k8s.io", kind="VolumeSnapshot", name="snap", namespace="other")
OF_CLAIMS = ReferenceGrantFrom(group="", kind="PersistentVolumeClaim", namespace="default")
TO_SNAPSHOTS = ReferenceGrantTo(group="snapshot.storage.k8s.io", kind="VolumeSnapshot")


def grant(of: ReferenceGrantFrom = OF_CLAIMS, to: ReferenceGrantTo = TO_SNAPSHOTS, *, name: str = "grant") -> ReferenceGrant:
    return ReferenceGrant(metadata=ObjectMeta(name=name, namespace="other"), spec=ReferenceGrantSpec(from_=[of], to=[to]))


def make_snapshot_elsewhere(world: World) -> None:
    make_ready_snapshot(world, snapshot="other/snap", namespace="other")


def test_a_granted_snapshot_of_another_namespace_is_restored_and_freed_by_the_sweeper() -> None:
    world = make_world(options=CROSSING)
    make_snapshot_elsewhere(world)
    world.settle(for_s=10)  # past the sweep at start
    world.create(grant(), claim(source_ref=ELSEWHERE))
    world.settle()
    (request,) = driver_of(world).called("CreateVolume")
    assert request.volume_content_source.snapshot.snapshot_id == "id-snap"
    assert world.get("PersistentVolumeClaim", "data").status.phase == "Bound"
    assert finalizers_of(world.get("VolumeSnapshot", "snap", "other")) == [RESTORE_FINALIZER]
    world.settle(for_s=300)
    assert finalizers_of(world.get("VolumeSnapshot", "snap", "other")) == []


@pytest.mark.parametrize(
    "other",
    [
        grant(of=replace(OF_CLAIMS, namespace="elsewhere")),
        grant(of=replace(OF_CLAIMS, kind="Pod")),
        grant(of=replace(OF_CLAIMS, group="example.com")),
        grant(to=replace(TO_SNAPSHOTS, kind="PersistentVolumeClaim")),
        grant(to=replace(TO_SNAPSHOTS, group="")),
        grant(to=replace(TO_SNAPSHOTS, name="another")),
        with_metadata(grant(), namespace="default"),
    ],
)
def test_a_source_in_another_namespace_needs_a_grant_there(other: ReferenceGrant) -> None:
    world = make_world(options=CROSSING)
    make_snapshot_elsewhere(world)
    world.create(other, claim(source_ref=ELSEWHERE))
    world.settle()
    text = "accessing other/snap of VolumeSnapshot dataSource from default/data isn't allowed"
    assert world.messages("ProvisioningFailed") == [text]
    world.create(grant(to=replace(TO_SNAPSHOTS, name="snap"), name="right"))
    world.settle(for_s=5)
    assert world.get("PersistentVolumeClaim", "data").status.phase == "Bound"


def test_a_granted_claim_of_another_namespace_is_cloned() -> None:
    world = make_world(options=CROSSING)
    world.create(claim("origin", namespace="other"))
    world.settle()
    to_claims = ReferenceGrantTo(group="", kind="PersistentVolumeClaim", name="origin")
    reference = TypedObjectReference(kind="PersistentVolumeClaim", name="origin", namespace="other")
    world.create(grant(to=to_claims), claim(source_ref=reference))
    world.settle()
    request = driver_of(world).called("CreateVolume")[1]
    assert request.volume_content_source.volume.volume_id == "handle-pvc-uid-PersistentVolumeClaim-origin"
    assert finalizers_of(world.get("PersistentVolumeClaim", "origin", "other")) == [CLONE_FINALIZER]


def test_a_source_that_names_its_own_namespace_needs_no_grant() -> None:
    world = make_world(options=CROSSING)
    make_ready_snapshot(world)
    world.create(claim(source_ref=replace(ELSEWHERE, namespace="default")))
    world.settle()
    assert world.get("PersistentVolumeClaim", "data").status.phase == "Bound"


def test_a_volume_without_its_source_in_another_namespace_is_deleted_too() -> None:
    world = make_world(options=CROSSING)
    make_snapshot_elsewhere(world)
    driver_of(world).returns = {"content_source": None}
    world.create(grant(), claim(source_ref=ELSEWHERE))
    world.settle()
    assert world.messages("ProvisioningFailed") == ["volume content source missing"]
    assert len(driver_of(world).called("DeleteVolume")) == 1


def test_a_snapshot_of_the_wrong_group_and_a_driver_without_snapshots_are_refused() -> None:
    world = make_world(controller=ALL_CAPABILITIES - {"CREATE_DELETE_SNAPSHOT", "CLONE_VOLUME"})
    world.create(
        claim("wrong", source=TypedLocalObjectReference(apiGroup="example.com", kind="VolumeSnapshot", name="snap")),
        claim("restore", source=of_snapshot()),
        claim("clone", source=of_claim()),
    )
    world.settle()
    unable = "CSI driver does not support {}: controller {} capability is not reported"
    assert sorted(world.messages("ProvisioningFailed")) == sorted(
        [
            "the PVC source does not belong to the right APIGroup. Expected snapshot.storage.k8s.io, Got example.com",
            unable.format("snapshot restore", "CREATE_DELETE_SNAPSHOT"),
            unable.format("clone operations", "CLONE_VOLUME"),
        ]
    )


def make_origin(world: World, **settings: Any) -> None:
    world.create(claim("origin", **settings))
    world.settle()


def test_a_clone_protects_its_source_which_keeps_the_finalizer() -> None:
    world = make_world()
    make_origin(world)
    world.create(claim("copy", source=of_claim()))
    world.settle()
    request = driver_of(world).called("CreateVolume")[1]
    assert request.volume_content_source.volume.volume_id == "handle-pvc-uid-PersistentVolumeClaim-origin"
    assert world.get("PersistentVolumeClaim", "copy").status.phase == "Bound"
    assert finalizers_of(world.get("PersistentVolumeClaim", "origin")) == [CLONE_FINALIZER]
    world.delete("PersistentVolumeClaim", "origin")
    world.settle()
    assert world.find("PersistentVolumeClaim", "origin") is None


def test_a_source_that_is_deleted_stays_while_a_clone_is_pending() -> None:
    world = make_world()
    make_origin(world)
    driver_of(world).script["CreateVolume"] = [CsiCode.INTERNAL] * 2
    world.create(claim("copy", source=of_claim()))
    world.settle()
    world.delete("PersistentVolumeClaim", "origin")
    world.settle(for_s=30)
    assert set(world.messages("ProvisioningFailed")[1:]) == {CLONING + "the PVC DataSource origin is currently being deleted"}
    assert world.get("PersistentVolumeClaim", "origin").metadata.deletionTimestamp is not None
    world.delete("PersistentVolumeClaim", "copy")
    world.settle(for_s=60)
    assert world.find("PersistentVolumeClaim", "origin") is None


def test_a_clone_may_be_smaller_than_the_sources_capacity_but_not_than_its_request() -> None:
    world = make_world(returns={"capacity_bytes": 20 << 30})
    make_origin(world)
    world.create(claim("same", source=of_claim()), claim("less", size="9Gi", source=of_claim()))
    world.settle()
    assert world.get("PersistentVolumeClaim", "same").status.phase == "Bound"
    text = "error, new PVC request must be greater than or equal in size to the specified PVC data source"
    assert world.messages("ProvisioningFailed") == [f"{CLONING}{text}, requested {9 << 30} but source is {10 << 30}"]


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        (
            {"source": of_claim("nope")},
            'error getting PVC nope (namespace "default") from api server: persistentvolumeclaim "nope" not found',
        ),
        ({"volume_mode": "Block"}, None),
        ({"storage_class": "pending"}, None),
    ],
)
def test_a_clone_that_cannot_be_made_is_named(settings: dict[str, Any], text: str | None) -> None:
    world = make_world()
    world.create(make_class("pending", wait=True))
    make_origin(world)
    world.create(claim("copy", **{"source": of_claim(), **settings}))
    world.settle()
    failed = world.messages("ProvisioningFailed")
    if text is not None:
        assert failed == [f"error getting handle for DataSource Type PersistentVolumeClaim by Name nope: {text}"]
    elif "volume_mode" in settings:
        mode = "the source PVC and destination PVCs must have the same volume mode for cloning."
        assert failed == [f"{CLONING}{mode}  Source is Filesystem, but new PVC requested Block"]
    else:
        assert failed == [], "a claim that waits for its pod is not looked at"


def test_a_clone_of_an_unbound_or_foreign_claim_is_refused() -> None:
    world = make_world()
    world.create(make_pvc("origin"))
    world.create(claim("copy", source=of_claim()))
    world.settle()
    assert world.messages("ProvisioningFailed") == [f"{CLONING}the PVC DataSource origin must have a status of Bound.  Got Pending"]
    world.patch("PersistentVolumeClaim", "origin", {"spec": {"volumeName": "nowhere"}})
    world.patch("PersistentVolumeClaim", "origin", {"status": {"phase": "Bound"}}, status=True)
    world.settle(for_s=1)
    assert world.messages("ProvisioningFailed")[-1] == f"{CLONING}claim in dataSource not bound or invalid"


def test_the_provisioner_of_one_driver_never_names_another() -> None:
    world = make_world()
    world.create(claim())
    world.settle()
    assert all(source in (DRIVER, "external-provisioner") for source, *_ in world.events)
