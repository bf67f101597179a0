"""Volumes made, kept and deleted, over a fake API server and a scripted driver."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from lightkube.models.core_v1 import Secret, TypedLocalObjectReference
from lightkube.models.meta_v1 import LabelSelector, ObjectMeta
from lightkube.models.storage_v1 import VolumeAttributesClass

from tests.builders import DRIVER, ZONE, make_attachment, make_class, make_csinode, make_node, make_pv, make_pvc
from tests.unit.controllers.csi_harness import ALL_CAPABILITIES, FakeDriver, Fault, World
from volsched.api.edit import annotations_of, finalizers_of
from volsched.controllers.provisioner import Provisioner
from volsched.controllers.provisioner_options import PV_FINALIZER, ProvisionerOptions
from volsched.errors import CsiCode
from volsched.rules.volumes import ANN_SELECTED_NODE, ANN_STORAGE_PROVISIONER

PV = "pvc-uid-PersistentVolumeClaim-data"
OURS = {ANN_STORAGE_PROVISIONER: DRIVER}


def make_objects(world: World, *, wait: bool = False, **driver: Any) -> None:
    """A driver in zones a and b, a class of it."""
    world.driver(**driver)
    for index, zone in enumerate(("a", "b"), 1):
        world.create(make_node(f"node-{index}", labels={ZONE: zone}), make_csinode(f"node-{index}"))
    world.create(make_class(wait=wait, reclaim="Delete"))


def make_world(*, options: ProvisionerOptions | None = None, faults: dict[int, Fault] | None = None, **settings: Any) -> World:
    world = World(faults=faults)
    make_objects(world, **settings)
    start(world, options)
    return world


def start(world: World, options: ProvisionerOptions | None = None) -> None:
    world.run_decider(lambda: Provisioner(world, DRIVER, options=options or ProvisionerOptions(default_fstype="ext4")))


def driver_of(world: World) -> FakeDriver:
    return world.drivers[DRIVER]


def claim(name: str = "data", **settings: Any) -> Any:
    settings["annotations"] = {**OURS, **settings.get("annotations", {})}
    return make_pvc(name, **settings)


def test_an_immediate_claim_gets_a_volume() -> None:
    world = make_world()
    world.create(claim())
    world.settle()
    (request,) = driver_of(world).called("CreateVolume")
    assert request.name == PV
    assert request.capacity_range.required_bytes == 10 << 30 and request.capacity_range.limit_bytes == 0
    (capability,) = request.volume_capabilities
    assert capability.mount.fs_type == "ext4" and capability.access_mode.mode == "SINGLE_NODE_MULTI_WRITER"
    assert [t.segments for t in request.accessibility_requirements.requisite] == [{ZONE: "a"}, {ZONE: "b"}]
    pv = world.get("PersistentVolume", PV)
    assert pv.spec.capacity == {"storage": "10Gi"}
    assert pv.spec.csi.driver == DRIVER and pv.spec.csi.volumeHandle == f"handle-{PV}" and pv.spec.csi.fsType == "ext4"
    assert pv.spec.claimRef.uid == "uid-PersistentVolumeClaim-data" and pv.spec.claimRef.resourceVersion
    assert pv.spec.persistentVolumeReclaimPolicy == "Delete" and pv.spec.storageClassName == "fast"
    assert annotations_of(pv) == {
        "pv.kubernetes.io/provisioned-by": DRIVER,
        "volume.kubernetes.io/provisioner-deletion-secret-name": "",
        "volume.kubernetes.io/provisioner-deletion-secret-namespace": "",
    }
    assert finalizers_of(pv) == [PV_FINALIZER]
    (term,) = pv.spec.nodeAffinity.required.nodeSelectorTerms
    assert [(e.key, e.operator, e.values) for e in term.matchExpressions] == [
        (ZONE, "In", request.accessibility_requirements.preferred[0].segments[ZONE].split())
    ]
    assert world.reasons("data") == ["Provisioning", "ProvisioningSucceeded"]
    assert world.messages("Provisioning") == ['External provisioner is provisioning volume for claim "default/data"']
    assert world.messages("ProvisioningSucceeded") == [f"Successfully provisioned volume {PV}"]
    assert {source for source, *_ in world.events} == {DRIVER}


def test_a_waiting_claim_is_provisioned_where_it_was_sent() -> None:
    world = make_world(wait=True)
    world.create(claim())
    world.settle()
    assert driver_of(world).called("CreateVolume") == [] and world.reasons() == []
    world.patch("PersistentVolumeClaim", "data", {"metadata": {"annotations": {ANN_SELECTED_NODE: "node-2"}}})
    world.settle()
    (request,) = driver_of(world).called("CreateVolume")
    assert [t.segments for t in request.accessibility_requirements.preferred] == [{ZONE: "b"}, {ZONE: "a"}]
    assert world.get("PersistentVolumeClaim", "data").spec.volumeName == PV


def test_claims_of_others_are_left_alone() -> None:
    world = make_world()
    world.create(make_class("other", provisioner="other.example.com", wait=False))
    world.create(
        make_pvc("plain"),
        make_pvc("theirs", annotations={ANN_STORAGE_PROVISIONER: "other.example.com"}),
        claim("wrong-class", storage_class="other"),
        claim("named", volume="pv-x"),
    )
    world.settle(for_s=10)
    assert driver_of(world).called("CreateVolume") == [] and world.reasons() == []


def test_a_missing_class_is_retried() -> None:
    world = make_world()
    world.create(claim(storage_class="later"))
    world.settle()
    assert world.reasons() == []
    world.create(make_class("later", wait=False))
    world.settle(for_s=3)
    assert world.find("PersistentVolume", PV) is not None


@pytest.mark.parametrize("code", [CsiCode.UNAVAILABLE, CsiCode.DEADLINE_EXCEEDED, CsiCode.ABORTED, CsiCode.CANCELLED])
def test_a_claim_in_the_background_is_finished_even_when_it_is_gone(code: CsiCode) -> None:
    world = make_world()
    driver_of(world).script["CreateVolume"] = [("lost", code)] * 3
    world.create(claim())
    world.settle()
    assert world.messages("ProvisioningFailed") == [f"rpc error: code = {code.words} desc = answer lost"]
    world.delete("PersistentVolumeClaim", "data")
    world.settle(for_s=60)
    assert len(driver_of(world).called("CreateVolume")) == 4
    assert driver_of(world).volumes == {}, "the volume was saved, released and deleted"
    assert world.api.list("PersistentVolume") == []


def test_a_claim_that_is_gone_is_finished_though_its_class_and_source_are_gone_too() -> None:
    world = make_world()
    world.create(claim("origin"))
    world.settle()
    driver_of(world).script["CreateVolume"] = [("lost", CsiCode.CANCELLED)]
    world.create(claim(source=TypedLocalObjectReference(kind="PersistentVolumeClaim", name="origin")))
    world.settle()
    for kind, name in (("PersistentVolumeClaim", "origin"), ("PersistentVolumeClaim", "data"), ("StorageClass", "fast")):
        world.delete(kind, name)
    world.settle(for_s=60)
    _, lost, again = driver_of(world).called("CreateVolume")
    assert again == lost
    assert world.api.list("PersistentVolumeClaim") == []
    assert driver_of(world).volumes == {}, "the volume was saved, released and deleted"


def test_a_claim_that_got_another_volume_does_not_leave_the_one_in_the_background() -> None:
    world = make_world()
    driver_of(world).script["CreateVolume"] = [("lost", CsiCode.UNAVAILABLE)]
    world.create(claim())
    world.settle()
    world.create(make_pv("other", storage_class="fast", size="10Gi", driver=DRIVER, handle="other", claim="default/data"))
    world.patch("PersistentVolumeClaim", "data", {"spec": {"volumeName": "other"}})
    world.settle(for_s=60)
    assert len(driver_of(world).called("CreateVolume")) == 2
    assert world.get("PersistentVolume", PV).spec.csi.volumeHandle == f"handle-{PV}"


def test_a_claim_in_the_background_that_waits_for_a_node_again_is_finished_once_it_is_gone() -> None:
    world = make_world(wait=True)
    driver_of(world).script["CreateVolume"] = [("lost", CsiCode.DEADLINE_EXCEEDED)]
    world.create(claim(selected_node="node-1"))
    world.settle()
    world.patch("PersistentVolumeClaim", "data", {"metadata": {"annotations": {ANN_SELECTED_NODE: None}}})
    world.settle(for_s=60)
    assert len(driver_of(world).called("CreateVolume")) == 1
    world.delete("PersistentVolumeClaim", "data")
    world.settle(for_s=60)
    assert len(driver_of(world).called("CreateVolume")) == 2
    assert driver_of(world).volumes == {}


def test_a_final_failure_ends_with_the_claim() -> None:
    world = make_world()
    driver_of(world).script["CreateVolume"] = [CsiCode.INTERNAL] * 9
    world.create(claim())
    world.settle(for_s=2)
    world.delete("PersistentVolumeClaim", "data")
    before = len(driver_of(world).called("CreateVolume"))
    world.settle(for_s=600)
    assert len(driver_of(world).called("CreateVolume")) == before


def test_attempts_back_off_from_one_second() -> None:
    world = make_world()
    driver_of(world).script["CreateVolume"] = [CsiCode.INTERNAL] * 99
    world.create(claim())
    tries = []
    for _ in range(40):
        before = len(driver_of(world).called("CreateVolume"))
        world.settle(for_s=1)
        tries += [world.seconds] * (len(driver_of(world).called("CreateVolume")) - before)
    assert tries == [1, 1, 3, 7, 15, 31]
    assert world.reasons().count("ProvisioningFailed") == 6


def test_an_exhausted_topology_sends_the_claim_back_to_the_scheduler() -> None:
    world = make_world(wait=True)
    driver_of(world).script["CreateVolume"] = [CsiCode.RESOURCE_EXHAUSTED]
    world.create(claim(selected_node="node-1"))
    world.settle(for_s=30)
    assert ANN_SELECTED_NODE not in annotations_of(world.get("PersistentVolumeClaim", "data"))
    assert world.messages("ProvisioningFailed") == ["rpc error: code = ResourceExhausted desc = scripted failure"]
    assert len(driver_of(world).called("CreateVolume")) == 1
    world.patch("PersistentVolumeClaim", "data", {"metadata": {"annotations": {ANN_SELECTED_NODE: "node-2"}}})
    world.settle()
    assert driver_of(world).called("CreateVolume")[1].accessibility_requirements.preferred[0].segments == {ZONE: "b"}
    assert world.get("PersistentVolumeClaim", "data").spec.volumeName == PV


def test_exhausted_without_topology_is_tried_again_on_the_same_node() -> None:
    world = make_world(wait=True, plugin=frozenset({"CONTROLLER_SERVICE"}))
    driver_of(world).script["CreateVolume"] = [CsiCode.RESOURCE_EXHAUSTED]
    world.create(claim(selected_node="node-1"))
    world.settle(for_s=2)
    first, second = driver_of(world).called("CreateVolume")
    assert first.accessibility_requirements is None and first == second
    assert annotations_of(world.get("PersistentVolumeClaim", "data"))[ANN_SELECTED_NODE] == "node-1"
    assert world.get("PersistentVolume", PV).spec.nodeAffinity is None


def test_an_infeasible_claim_waits_five_minutes_or_for_another_class_object() -> None:
    world = make_world(wait=True)
    driver_of(world).script["CreateVolume"] = [CsiCode.INVALID_ARGUMENT] * 3
    world.create(claim(selected_node="node-1"))
    world.settle()
    error = "rpc error: code = InvalidArgument desc = scripted failure"
    text = f"Volume provisioning failed with infeasible error. Retries will be delayed. {error}"
    assert world.messages("ProvisioningFailed") == [text]
    assert annotations_of(world.get("PersistentVolumeClaim", "data"))[ANN_SELECTED_NODE] == "node-1"
    world.settle(for_s=299)
    assert len(driver_of(world).called("CreateVolume")) == 1
    world.settle(for_s=2)
    assert len(driver_of(world).called("CreateVolume")) == 2
    world.delete("StorageClass", "fast")
    world.create(make_class(wait=True, reclaim="Delete"))
    world.patch("PersistentVolumeClaim", "data", {"metadata": {"labels": {"poke": "1"}}})
    world.settle()
    assert len(driver_of(world).called("CreateVolume")) == 3


def test_a_csinode_that_went_reschedules_a_node_that_went_does_not() -> None:
    world = make_world(wait=True)
    world.delete("CSINode", "node-1")
    world.delete("Node", "node-2")
    world.create(claim("one", selected_node="node-1"), claim("two", selected_node="node-2"))
    world.settle()
    assert ANN_SELECTED_NODE not in annotations_of(world.get("PersistentVolumeClaim", "one"))
    assert annotations_of(world.get("PersistentVolumeClaim", "two"))[ANN_SELECTED_NODE] == "node-2"
    assert driver_of(world).called("CreateVolume") == []


def test_a_reschedule_that_cannot_be_written_is_tried_again() -> None:
    world = make_world(wait=True, faults={2: Fault.REFUSED})
    driver_of(world).script["CreateVolume"] = [CsiCode.RESOURCE_EXHAUSTED] * 2
    world.create(claim(selected_node="node-1"))
    world.settle()
    assert annotations_of(world.get("PersistentVolumeClaim", "data"))[ANN_SELECTED_NODE] == "node-1"
    world.settle(for_s=2)
    assert ANN_SELECTED_NODE not in annotations_of(world.get("PersistentVolumeClaim", "data"))


def test_a_volume_without_a_size_gets_the_requested_one() -> None:
    world = make_world(returns={"capacity_bytes": 0})
    world.create(claim())
    world.settle()
    assert world.get("PersistentVolume", PV).spec.capacity == {"storage": "10Gi"}


def test_a_volume_that_is_too_small_is_deleted_and_tried_again() -> None:
    world = make_world(returns={"capacity_bytes": 5})
    world.create(claim())
    world.settle()
    assert len(driver_of(world).called("DeleteVolume")) == 1 and driver_of(world).volumes == {}
    assert world.messages("ProvisioningFailed") == [f"created volume capacity 5 less than requested capacity {10 << 30}"]
    driver_of(world).returns = {}
    world.settle(for_s=2)
    assert world.find("PersistentVolume", PV) is not None


def test_a_selector_on_the_claim_is_refused_forever() -> None:
    world = make_world()
    world.create(claim(selector=LabelSelector(matchLabels={"a": "b"})))
    world.settle(for_s=4)
    assert set(world.messages("ProvisioningFailed")) == {"claim Selector is not supported"}
    assert driver_of(world).called("CreateVolume") == []


def test_an_unknown_source_is_left_to_its_populator() -> None:
    world = make_world()
    world.create(claim(source=TypedLocalObjectReference(apiGroup="example.com", kind="Seed", name="s")))
    world.settle(for_s=60)
    assert world.messages("Provisioning")[1] == "Assuming an external populator will provision the volume"
    assert [source for source, *_ in world.events] == [DRIVER, "external-provisioner"]
    assert world.failures == []


@pytest.mark.parametrize(
    ("modes", "with_multi_writer", "without"),
    [
        (["ReadWriteOnce"], ["SINGLE_NODE_MULTI_WRITER"], ["SINGLE_NODE_WRITER"]),
        (["ReadOnlyMany"], ["MULTI_NODE_READER_ONLY"], ["MULTI_NODE_READER_ONLY"]),
        (["ReadWriteMany", "ReadWriteOnce"], ["MULTI_NODE_MULTI_WRITER", "SINGLE_NODE_MULTI_WRITER"], None),
        (["ReadWriteOncePod"], ["SINGLE_NODE_SINGLE_WRITER"], ["SINGLE_NODE_WRITER"]),
    ],
)
def test_access_modes_become_capabilities(modes: list[str], with_multi_writer: list[str], without: list[str] | None) -> None:
    for controller, wanted in ((ALL_CAPABILITIES, with_multi_writer), (ALL_CAPABILITIES - {"SINGLE_NODE_MULTI_WRITER"}, without)):
        if wanted is None:
            continue
        world = make_world(controller=controller)
        world.create(claim(modes=modes))
        world.settle()
        (request,) = driver_of(world).called("CreateVolume")
        assert [item.access_mode.mode for item in request.volume_capabilities] == wanted


def test_block_volumes_have_no_file_system() -> None:
    world = make_world()
    world.create(claim(volume_mode="Block"))
    world.settle()
    (request,) = driver_of(world).called("CreateVolume")
    assert request.volume_capabilities[0].block is not None and request.volume_capabilities[0].mount is None
    assert world.get("PersistentVolume", PV).spec.csi.fsType is None
    assert world.get("PersistentVolume", PV).spec.volumeMode == "Block"


def test_parameters_are_stripped_and_secrets_resolved() -> None:
    prefix = "csi.storage.k8s.io/"
    parameters = {
        "type": "ssd",
        f"{prefix}fstype": "xfs",
        f"{prefix}provisioner-secret-name": "key-${pvc.name}",
        f"{prefix}provisioner-secret-namespace": "${pvc.namespace}",
        f"{prefix}node-stage-secret-name": "${pvc.annotations['team']}",
        f"{prefix}node-stage-secret-namespace": "infra",
    }
    world = make_world(options=ProvisionerOptions(extra_create_metadata=True, volume_name_prefix="vol", volume_name_uuid_length=6))
    world.create(make_class("secret", wait=False, parameters=parameters, reclaim="Delete"))
    world.create(claim(storage_class="secret", annotations={"team": "red"}))
    world.settle()
    assert world.messages("ProvisioningFailed") == ['error getting secret key-data in namespace default: secrets "key-data" not found']
    secret = Secret(metadata=ObjectMeta(name="key-data", namespace="default"), data={"token": base64.b64encode(b"open").decode()})
    world.create(secret)
    world.settle(for_s=2)
    request = driver_of(world).called("CreateVolume")[-1]
    name = "vol-uidPer"
    assert request.secrets == {"token": "open"}
    assert request.name == name
    assert request.parameters == {
        "type": "ssd",
        f"{prefix}pvc/name": "data",
        f"{prefix}pvc/namespace": "default",
        f"{prefix}pv/name": name,
    }
    pv = world.get("PersistentVolume", name)
    assert pv.spec.csi.fsType == "xfs"
    assert (pv.spec.csi.nodeStageSecretRef.namespace, pv.spec.csi.nodeStageSecretRef.name) == ("infra", "red")
    assert annotations_of(pv)["volume.kubernetes.io/provisioner-deletion-secret-name"] == "key-data"
    world.delete("PersistentVolumeClaim", "data")
    world.settle()
    assert driver_of(world).called("DeleteVolume")[-1].secrets == {"token": "open"}


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        (
            {"csi.storage.k8s.io/foo": "1"},
            'failed to strip CSI Parameters of prefixed keys: found unknown parameter key "csi.storage.k8s.io/foo" '
            "with reserved namespace csi.storage.k8s.io/",
        ),
        (
            {"fsType": "xfs", "csi.storage.k8s.io/fstype": "ext4"},
            'fstype specified in parameters with both "fstype" and "csi.storage.k8s.io/fstype" keys',
        ),
        (
            {"csi.storage.k8s.io/provisioner-secret-name": "a"},
            "failed to get name and namespace template from params: "
            "either name and namespace for Provisioner secrets specified, Both must be specified",
        ),
        (
            {"csi.storage.k8s.io/secret-name": "${pvc.uid}", "csi.storage.k8s.io/secret-namespace": "x"},
            'error resolving value "${pvc.uid}": invalid tokens: ["pvc.uid"]',
        ),
        (
            {"csi.storage.k8s.io/secret-name": "a", "csi.storage.k8s.io/secret-namespace": "Not_A_Namespace"},
            '"Not_A_Namespace" is not a valid namespace name',
        ),
    ],
)
def test_bad_class_parameters_are_named(parameters: dict[str, str], text: str) -> None:
    world = make_world()
    world.create(make_class("bad", wait=False, parameters=parameters))
    world.create(claim(storage_class="bad"))
    world.settle()
    assert world.messages("ProvisioningFailed") == [text]


def test_an_attributes_class_becomes_mutable_parameters() -> None:
    world = make_world(controller=ALL_CAPABILITIES | {"MODIFY_VOLUME"})
    world.create(VolumeAttributesClass(metadata=ObjectMeta(name="gold"), driverName=DRIVER, parameters={"iops": "9"}))
    world.create(claim(attributes_class="gold"))
    world.settle()
    assert driver_of(world).called("CreateVolume")[0].mutable_parameters == {"iops": "9"}
    assert world.get("PersistentVolume", PV).spec.volumeAttributesClassName == "gold"


def test_deleting_a_claim_deletes_its_volume() -> None:
    world = make_world()
    world.create(claim())
    world.settle()
    world.delete("PersistentVolumeClaim", "data")
    world.settle()
    assert world.api.list("PersistentVolume") == [] and driver_of(world).volumes == {}
    assert [request.volume_id for request in driver_of(world).called("DeleteVolume")] == [f"handle-{PV}"]


def test_a_volume_to_be_kept_loses_the_finalizer_at_once_and_stays() -> None:
    world = make_world()
    world.create(make_class("keep", wait=False, reclaim="Retain"))
    world.create(claim(storage_class="keep"))
    world.settle()
    assert finalizers_of(world.get("PersistentVolume", PV)) == []
    world.delete("PersistentVolumeClaim", "data")
    world.settle(for_s=60)
    assert world.get("PersistentVolume", PV).status.phase == "Released"
    assert driver_of(world).called("DeleteVolume") == []


def test_a_static_volume_of_the_driver_is_guarded_once_it_is_bound() -> None:
    world = make_world()
    world.create(make_pvc("static", volume="pv-1", uid="uid-static"))
    pv = make_pv("pv-1", claim="default/static", claim_uid="uid-static", driver=DRIVER, reclaim="Delete")
    world.create(pv)
    world.settle()
    assert PV_FINALIZER in finalizers_of(world.get("PersistentVolume", "pv-1"))
    world.delete("PersistentVolumeClaim", "static")
    world.settle()
    assert world.api.list("PersistentVolume") == []


def test_a_failing_deletion_is_reported_and_retried() -> None:
    world = make_world()
    world.create(claim())
    world.settle()
    driver_of(world).script["DeleteVolume"] = [CsiCode.FAILED_PRECONDITION] * 2
    world.delete("PersistentVolumeClaim", "data")
    world.settle()
    assert world.messages("VolumeFailedDelete") == ["rpc error: code = FailedPrecondition desc = scripted failure"]
    assert world.get("PersistentVolume", PV).status.phase == "Released"
    world.settle(for_s=10)
    assert world.api.list("PersistentVolume") == []


def test_an_attached_volume_is_not_deleted() -> None:
    world = make_world(controller=ALL_CAPABILITIES | {"PUBLISH_UNPUBLISH_VOLUME"})
    world.create(claim())
    world.settle()
    world.create(make_attachment("va-1", volume=PV))
    world.delete("PersistentVolumeClaim", "data")
    world.settle()
    assert world.messages("VolumeFailedDelete") == [f"persistentvolume {PV} is still attached to node node-1"]
    world.delete("VolumeAttachment", "va-1")
    world.settle(for_s=10)
    assert world.api.list("PersistentVolume") == []


def test_a_failed_volume_is_not_deleted() -> None:
    world = World(binder=False)
    make_objects(world)
    start(world)
    pv = make_pv("pv-1", driver=DRIVER, reclaim="Delete", finalizers=[PV_FINALIZER], phase="Failed")
    world.create(pv)
    world.settle(for_s=30)
    assert driver_of(world).called("DeleteVolume") == []


def test_a_driver_that_cannot_provision_says_so() -> None:
    world = make_world(controller=frozenset())
    world.create(claim())
    world.settle()
    text = "CSI driver does not support dynamic provisioning: controller CREATE_DELETE_VOLUME capability is not reported"
    assert world.messages("ProvisioningFailed") == [text]
