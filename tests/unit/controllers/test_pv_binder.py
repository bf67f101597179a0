"""The binder against a hand-played API server: order of writes, texts, traps, and every interruption of every flow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from lightkube.models.core_v1 import NFSVolumeSource
from lightkube.models.storage_v1 import StorageClass

from tests.builders import CLASS, DRIVER, make_claim_ref, make_class, make_host_path_pv, make_pod, make_pv, make_pvc, when
from tests.unit.controllers.harness import World, lagging, same_end_whatever_happens
from volsched.api.edit import annotations_of, replace, with_annotations, with_metadata, with_spec
from volsched.controllers.pv_binder import PVBinder
from volsched.errors import ConflictError

WFFC = "WaitForFirstConsumer"
NO_PROVISIONER = "kubernetes.io/no-provisioner"
HOST_PATH = "kubernetes.io/host-path"
BIND_COMPLETED = "pv.kubernetes.io/bind-completed"
BY_CONTROLLER = "pv.kubernetes.io/bound-by-controller"
PROVISIONER = "volume.kubernetes.io/storage-provisioner"
KCM = "kube-controller-manager"


def world(*objects: Any) -> World:
    made = World()
    made.add(lambda: PVBinder(made.clock))
    for obj in objects:
        made.create(obj)
    made.settle()
    made.writes.clear()
    return made


def phase(obj: Any) -> str:
    return str(obj.status.phase)


def own_writes(made: World) -> list[str]:
    return [line.removeprefix(KCM + " ") for line in made.writes if line.startswith(KCM)]


def provision(made: World, claim: str, **changes: Any) -> None:
    """What an external provisioner does once it is asked to, or has been asked to by an earlier process."""
    found = made.claim(claim)
    name = f"pvc-{found.metadata.uid}"
    if PROVISIONER in annotations_of(found) and made.volume(name) is None:
        options = {"claim": f"default/{claim}", "claim_uid": found.metadata.uid, "phase": "Pending", "provisioned_by": DRIVER} | changes
        made.create(make_pv(name, reclaim=options.pop("reclaim", "Delete"), **options), "csi-provisioner")


def a_class(name: str = CLASS, *, mode: str = "Immediate", **options: Any) -> StorageClass:
    return make_class(name, mode=mode, **options)


# flows of spec 1.13: order of writes


def test_new_volume_becomes_available() -> None:
    made = world()
    made.create(make_pv())
    made.create(make_pv("pv-2", claim="default/data"))
    made.settle()
    assert own_writes(made) == ["update PersistentVolume/status pv-1", "update PersistentVolume/status pv-2"]
    assert [phase(made.volume(name)) for name in ("pv-1", "pv-2")] == ["Available", "Available"]


def test_immediate_static_four_writes_in_order() -> None:
    made = world(make_pv())
    made.create(make_pvc())
    made.settle()
    assert own_writes(made) == [
        "update PersistentVolume pv-1",
        "update PersistentVolume/status pv-1",
        "update PersistentVolumeClaim data",
        "update PersistentVolumeClaim/status data",
    ]
    volume, claim = made.volume("pv-1"), made.claim("data")
    reference = volume.spec.claimRef
    assert (reference.kind, reference.apiVersion, reference.namespace, reference.name) == (
        "PersistentVolumeClaim",
        "v1",
        "default",
        "data",
    )
    assert reference.uid == claim.metadata.uid and int(reference.resourceVersion) < int(claim.metadata.resourceVersion)
    assert annotations_of(volume) == {BY_CONTROLLER: "yes"}
    assert annotations_of(claim) == {BY_CONTROLLER: "yes", BIND_COMPLETED: "yes"}
    assert (phase(volume), phase(claim), claim.spec.volumeName) == ("Bound", "Bound", "pv-1")
    assert (claim.status.accessModes, claim.status.capacity) == (["ReadWriteOnce"], {"storage": "10Gi"})
    assert made.events == []
    made.writes.clear()
    made.settle(seconds=60)
    assert made.writes == []


def test_volume_reserved_by_user_gets_no_bound_by_controller() -> None:
    made = world(make_pv(claim="default/data"))
    made.create(make_pvc())
    made.settle()
    assert BY_CONTROLLER not in annotations_of(made.volume("pv-1"))
    assert annotations_of(made.claim("data")) == {BY_CONTROLLER: "yes", BIND_COMPLETED: "yes"}


def test_delayed_provisioning() -> None:
    made = world(a_class(mode=WFFC))
    made.create(make_pvc())
    made.settle()
    assert made.messages("WaitForFirstConsumer") == ["waiting for first consumer to be created before binding"]
    made.edit(with_annotations(made.claim("data"), {"volume.kubernetes.io/selected-node": "n1"}), "kube-scheduler")
    made.settle()
    assert annotations_of(made.claim("data"))["volume.beta.kubernetes.io/storage-provisioner"] == DRIVER
    provision(made, "data")
    made.settle()
    name = made.claim("data").spec.volumeName
    assert own_writes(made) == [
        "update PersistentVolumeClaim data",
        f"update PersistentVolume/status {name}",
        "update PersistentVolumeClaim data",
        "update PersistentVolumeClaim/status data",
    ]
    assert phase(made.claim("data")) == "Bound"
    assert BY_CONTROLLER not in annotations_of(made.volume(name))
    assert made.messages("ExternalProvisioning") == [
        f"Waiting for a volume to be created either by the external provisioner '{DRIVER}' or manually by the system administrator. "
        "If volume creation is delayed, please verify that the provisioner is running and correctly registered."
    ]


def test_static_binding_chosen_by_the_scheduler_needs_no_annotation_of_a_provisioner() -> None:
    made = world(a_class(mode=WFFC, provisioner=NO_PROVISIONER), make_pv(local=True, node="n1"), make_pvc())
    claim, volume = made.claim("data"), made.volume("pv-1")
    assert phase(volume) == "Available" and phase(claim) == "Pending"
    chosen = with_annotations(with_spec(volume, claimRef=make_claim_ref("default/data", uid=claim.metadata.uid)), {BY_CONTROLLER: "yes"})
    made.edit(chosen, "kube-scheduler")
    made.settle()
    assert own_writes(made) == [
        "update PersistentVolume/status pv-1",
        "update PersistentVolumeClaim data",
        "update PersistentVolumeClaim/status data",
    ]
    assert PROVISIONER not in annotations_of(made.claim("data"))


def test_claim_deleted_releases_the_volume_and_leaves_it_to_the_provisioner() -> None:
    made = world(make_pv(provisioned_by=DRIVER, reclaim="Delete"), make_pvc())
    made.delete("PersistentVolumeClaim", "data")
    made.settle(seconds=60)
    assert own_writes(made) == ["update PersistentVolume/status pv-1"]
    assert phase(made.volume("pv-1")) == "Released"
    assert made.volume("pv-1").spec.claimRef is not None


def test_retained_volume_is_used_again_once_its_reference_is_cleared() -> None:
    made = world(make_pv(reclaim="Retain"), make_pvc())
    made.delete("PersistentVolumeClaim", "data")
    made.settle(seconds=20)
    made.create(make_pvc())
    made.settle(seconds=20)
    assert phase(made.volume("pv-1")) == "Released" and phase(made.claim("data")) == "Pending"  # trap 10
    made.edit(with_spec(made.volume("pv-1"), claimRef=None))
    made.settle(seconds=20)
    assert phase(made.claim("data")) == "Bound"


def test_vanished_volume_loses_the_claim_and_finds_it_again() -> None:
    made = world(make_pv(), make_pvc())
    volume = made.volume("pv-1")
    made.delete("PersistentVolume", "pv-1")
    made.settle()
    claim = made.claim("data")
    assert phase(claim) == "Lost" and claim.status.accessModes is None and claim.status.capacity is None
    assert claim.spec.volumeName == "pv-1"
    assert made.messages("ClaimLost") == ["Bound claim has lost its PersistentVolume. Data on the volume is lost!"]
    made.settle(seconds=60)
    assert len([event for event in made.events if event.reason == "ClaimLost"]) == 1
    made.create(with_metadata(with_spec(volume, claimRef=None), uid=None, resourceVersion=None, annotations=None))
    made.settle(seconds=15)  # nothing leads from a free volume to a lost claim but the resync
    assert phase(made.claim("data")) == "Bound" and made.claim("data").status.capacity == {"storage": "10Gi"}


def test_claim_and_volume_made_at_once_are_bound_without_a_resync() -> None:
    made = world()
    with lagging(made):
        made.create(make_pvc())
        made.create(make_pv())
        made.settle()
    assert phase(made.claim("data")) == "Bound" and made.events == []


# claim rows


def test_default_class_is_taken_after_the_search_failed() -> None:
    """Trap 7: a volume without class would have won."""
    older = with_metadata(a_class("older", default=True), creationTimestamp=when(0))
    newer = with_metadata(a_class("newer", default=True), creationTimestamp=when(5))
    same = with_metadata(a_class("also-new", default=True), creationTimestamp=when(5))
    made = world(older, newer, same)
    made.create(make_pvc(storage_class=None))
    made.settle()
    assert made.claim("data").spec.storageClassName == "also-new"  # trap 8: newest, then smallest name
    made = world(older, make_pv(storage_class=None))
    made.create(make_pvc(storage_class=None))
    made.settle()
    assert made.claim("data").spec.storageClassName is None and phase(made.claim("data")) == "Bound"


def test_trap_6_empty_class_is_never_defaulted() -> None:
    made = world(a_class(default=True), make_pv())
    made.create(make_pvc(storage_class=""))
    made.settle(seconds=40)
    assert made.claim("data").spec.storageClassName == ""
    assert made.messages("FailedBinding") == ["no persistent volumes available for this claim and no storage class is set"]
    assert own_writes(made) == []


def test_trap_9_missing_class_is_immediate() -> None:
    made = world()
    made.create(make_pvc(storage_class="gone"))
    made.settle()
    assert [(event.type, event.message) for event in made.events] == [
        ("Warning", 'storageclass.storage.k8s.io "gone" not found'),
    ]
    assert own_writes(made) == []
    made.create(a_class("gone"))
    made.settle()
    assert PROVISIONER not in annotations_of(made.claim("data"))  # no class event: only the resync sees it
    made.settle(seconds=15)
    assert PROVISIONER in annotations_of(made.claim("data"))


def test_no_provisioner_with_immediate_binding() -> None:
    made = world(a_class(provisioner=NO_PROVISIONER))
    made.create(make_pvc())
    made.settle()
    assert made.messages("ProvisioningFailed") == ["no volume plugin matched name: kubernetes.io/no-provisioner"]


def test_migrated_provisioner_is_asked_by_its_csi_name() -> None:
    made = world(a_class(provisioner="kubernetes.io/aws-ebs"))
    made.create(make_pvc())
    made.settle()
    notes = annotations_of(made.claim("data"))
    assert notes[PROVISIONER] == "ebs.csi.aws.com"
    made.create(make_pvc("old", annotations={PROVISIONER: "kubernetes.io/aws-ebs"}, storage_class=""))
    made.settle()
    assert annotations_of(made.claim("old"))["pv.kubernetes.io/migrated-to"] == "ebs.csi.aws.com"


def test_waiting_for_named_pods() -> None:
    made = world(a_class(mode=WFFC), make_pod("b", claims=["data"]), make_pod("a", claims=["data"]))
    made.create(make_pod("scheduled", claims=["data"], node="n1"))
    made.create(make_pod("ended", claims=["data"], phase="Succeeded", uid="u"))
    made.create(make_pvc())
    made.settle()
    assert made.messages("WaitForPodScheduled") == ["waiting for pods a,b to be scheduled"]
    made.delete("Pod", "a")
    made.settle(seconds=15)
    assert made.messages("WaitForPodScheduled")[1:] == ["waiting for pod b to be scheduled"]
    assert made.messages("WaitForFirstConsumer") == []


def test_trap_1_delayed_claim_takes_a_volume_reserved_for_it_at_once() -> None:
    made = world(a_class(mode=WFFC), make_pv(claim="default/data"))
    made.create(make_pvc())
    made.settle()
    assert phase(made.claim("data")) == "Bound"


def test_trap_2_delayed_claim_that_names_a_volume_is_bound_at_once() -> None:
    made = world(a_class(mode=WFFC), make_pv(zone="elsewhere"))
    made.create(make_pvc(volume="pv-1"))
    made.settle()
    assert phase(made.claim("data")) == "Bound"
    assert annotations_of(made.claim("data")) == {BIND_COMPLETED: "yes"}


def test_named_volume_unknown_waits_silently() -> None:
    made = world()
    made.create(make_pvc(volume="pv-1"))
    made.settle(seconds=40)
    assert phase(made.claim("data")) == "Pending" and made.events == []
    made.create(make_pv())
    made.settle(seconds=15)
    assert phase(made.claim("data")) == "Bound"


def test_named_volume_that_does_not_satisfy() -> None:
    made = world(make_pv(size="1Gi"))
    made.create(make_pvc(volume="pv-1"))
    made.settle(seconds=20)
    assert phase(made.claim("data")) == "Pending"
    assert made.messages("VolumeMismatch") == ['Cannot bind to requested volume "pv-1": requested PV is too small']
    assert len([event for event in made.events if event.reason == "VolumeMismatch"]) >= 2  # said again at every pass


def test_trap_5_named_volume_reserved_for_the_claim_is_bound_without_check() -> None:
    made = world(make_pv(size="1Gi", storage_class="slow", claim="default/data"))
    made.create(make_pvc(volume="pv-1"))
    made.settle()
    assert phase(made.claim("data")) == "Bound" and made.claim("data").status.capacity == {"storage": "1Gi"}


@pytest.mark.parametrize("by_controller", [False, True])
def test_named_volume_of_another_claim(by_controller: bool) -> None:
    made = world(make_pv(), make_pvc("owner"))
    notes = {BY_CONTROLLER: "yes"} if by_controller else None
    made.create(make_pvc(volume="pv-1", annotations=notes))
    made.settle()
    assert phase(made.claim("data")) == "Pending"
    assert made.messages("FailedBinding") == ['volume "pv-1" already bound to a different claim.']
    retried = [event for event in made.events if event.reason == "FailedBinding"]
    made.settle(seconds=1)
    more = [event for event in made.events if event.reason == "FailedBinding"]
    assert (len(more) > len(retried)) == by_controller  # an error comes again with the queue's backoff


def test_two_claims_bound_to_one_volume() -> None:
    made = world(make_pv(claim="default/owner", claim_uid="owner-uid"), make_pvc("owner", bound_to="pv-1", uid="owner-uid"))
    made.create(make_pvc(bound_to="pv-1", uid="x"))
    made.settle()
    assert phase(made.claim("data")) == "Lost" and phase(made.claim("owner")) == "Bound"
    assert made.messages("ClaimMisbound") == ["Two claims are bound to the same volume, this one is bound incorrectly"]


def test_bound_claim_whose_volume_name_was_removed_is_lost() -> None:
    made = world(make_pv(), make_pvc())
    made.edit(with_spec(made.claim("data"), volumeName=None))
    made.settle()
    assert made.messages("ClaimLost") == ["Bound claim has lost reference to PersistentVolume. Data on the volume is lost!"]


def test_reference_removed_from_a_bound_volume_is_repaired() -> None:
    made = world(make_pv(), make_pvc())
    made.edit(with_spec(made.volume("pv-1"), claimRef=None))
    made.settle(seconds=20)
    assert made.volume("pv-1").spec.claimRef.uid == made.claim("data").metadata.uid
    assert phase(made.volume("pv-1")) == "Bound" and phase(made.claim("data")) == "Bound"


def test_trap_16_size_is_copied_at_binding_only() -> None:
    made = world(make_pv(), make_pvc())
    made.edit(with_spec(made.volume("pv-1"), capacity={"storage": "20Gi"}))
    made.settle(seconds=20)
    assert made.claim("data").status.capacity == {"storage": "10Gi"}


def test_size_before_a_pending_resize_counts_at_binding() -> None:
    made = world(make_pv(size="20Gi", annotations={"volume.alpha.kubernetes.io/pre-resize-capacity": "10Gi"}))
    made.create(make_pvc())
    made.settle()
    assert made.claim("data").status.capacity == {"storage": "10Gi"}


def test_class_without_binding_mode_is_an_error_that_is_tried_again() -> None:
    made = world(replace(make_class(), volumeBindingMode=None))
    made.create(make_pvc())
    made.settle(seconds=1)
    assert made.events == [] and own_writes(made) == []


# volume rows


def test_mode_mismatch_is_told_to_both() -> None:
    made = world(a_class(), make_pv(claim="default/data", claim_uid="c", volume_mode="Block", phase="Pending"))
    made.create(make_pvc(uid="c"))
    made.settle(seconds=20)
    assert made.messages("VolumeMismatch") == [
        'Cannot bind PersistentVolume to requested PersistentVolumeClaim "data" due to incompatible volumeMode.',
        'Cannot bind PersistentVolume "pv-1" to requested PersistentVolumeClaim due to incompatible volumeMode.',
    ]


def test_volume_is_not_released_before_the_api_server_says_so() -> None:
    made = World()
    made.add(lambda: PVBinder(made.clock))
    with lagging(made):
        claim = made.create(make_pvc())
        volume = make_pv(claim="default/data", claim_uid=claim.metadata.uid, phase="Pending")
        # the binder sees the volume before the claim
        made._processes[0].inbox.clear()
        made.create(volume)
        made.settle()
    assert phase(made.volume("pv-1")) != "Released"


def test_claim_of_the_same_name_but_another_uid_releases() -> None:
    made = world(make_pvc(uid="new"), make_pv(claim="default/data", claim_uid="old", phase="Bound", reclaim="Retain"))
    assert phase(made.volume("pv-1")) == "Released"


def test_trap_12_dynamic_volume_with_retain_stays_reserved_by_name() -> None:
    made = world(make_pv("other"), make_pvc(uid="c"))
    assert made.claim("data").spec.volumeName == "other"
    made.create(make_pv(claim="default/data", claim_uid="c", provisioned_by=DRIVER, reclaim="Retain", phase="Pending"))
    made.settle()
    volume = made.volume("pv-1")
    assert (volume.spec.claimRef.name, volume.spec.claimRef.uid, phase(volume)) == ("data", None, "Available")


def test_statically_bound_volume_of_a_claim_that_went_elsewhere_is_free_again() -> None:
    made = world(make_pv("other"), make_pvc(uid="c"))
    made.create(make_pv(claim="default/data", claim_uid="c", bound_by_controller=True, phase="Pending"))
    made.settle()
    volume = made.volume("pv-1")
    assert volume.spec.claimRef is None and annotations_of(volume) == {} and phase(volume) == "Available"
    assert own_writes(made) == ["update PersistentVolume pv-1", "update PersistentVolume/status pv-1"]


def test_dynamic_volume_with_delete_of_a_claim_that_went_elsewhere_is_released() -> None:
    made = world(make_pv("other"), make_pvc(uid="c"))
    made.create(make_pv(claim="default/data", claim_uid="c", provisioned_by=DRIVER, reclaim="Delete", phase="Pending"))
    made.settle()
    assert phase(made.volume("pv-1")) == "Released"


# reclaim


def released(reclaim: str, **options: Any) -> World:
    return world(make_pv(claim="default/gone", claim_uid="gone", phase="Bound", reclaim=reclaim, **options))


def test_hand_made_local_volume_with_delete_fails() -> None:
    made = released("Delete", local=True, node="n1")
    assert phase(made.volume("pv-1")) == "Failed"
    text = 'error getting deleter volume plugin for volume "pv-1": no deletable volume plugin matched'
    assert [(event.type, event.message) for event in made.events] == [("Warning", text)]
    assert made.volume("pv-1").status.message == text
    made.settle(seconds=120)
    assert len(made.events) == 1


def released_in_tree(reclaim: str, **options: Any) -> World:
    return world(make_host_path_pv(claim="default/gone", claim_uid="gone", phase="Bound", reclaim=reclaim, **options))


def test_hand_made_host_path_is_deleted_below_tmp_only() -> None:
    made = released_in_tree("Delete", path="/mnt/data")
    assert phase(made.volume("pv-1")) == "Failed"
    text = "host_path deleter only supports /tmp/.+ but received provided /mnt/data"
    assert [(event.type, event.reason, event.message) for event in made.events] == [("Warning", "VolumeFailedDelete", text)]
    assert made.volume("pv-1").status.message == text
    made = released_in_tree("Delete", path="/tmp/data")
    assert made.volume("pv-1") is None and made.events == []


def test_in_tree_finalizer_goes_with_the_in_tree_deletion() -> None:
    made = world(make_pvc(storage_class="", bound_to="pv-1", uid="uid-data"))
    made.create(make_host_path_pv(path="/tmp/data", claim="default/data", claim_uid="uid-data", reclaim="Delete", provisioned_by=HOST_PATH))
    made.settle()
    assert made.volume("pv-1").metadata.finalizers == ["kubernetes.io/pv-controller"]
    made.delete("PersistentVolume", "pv-1")
    made.settle()
    assert made.volume("pv-1").metadata.deletionTimestamp is not None and phase(made.volume("pv-1")) == "Bound"
    made.delete("PersistentVolumeClaim", "data")
    made.settle()
    assert made.volume("pv-1") is None and made.messages("VolumeFailedDelete") == []


def test_local_volume_of_an_external_provisioner_is_left_to_it() -> None:
    made = released("Delete", local=True, node="n1", provisioned_by="local-volume-provisioner-n1")
    assert phase(made.volume("pv-1")) == "Released" and made.events == []


def test_migrated_volume_is_left_alone() -> None:
    made = released("Delete", local=True, node="n1", provisioned_by="kubernetes.io/gce-pd")
    assert annotations_of(made.volume("pv-1"))["pv.kubernetes.io/migrated-to"] == "pd.csi.storage.gke.io"
    assert phase(made.volume("pv-1")) == "Released" and made.events == []


def test_recycle_waits_for_pods_then_fails_without_a_recycler() -> None:
    made = World()
    made.add(lambda: PVBinder(made.clock))
    made.create(make_pod(claims=["gone"], node="n1"))
    made.create(make_pv(claim="default/gone", claim_uid="gone", phase="Bound", reclaim="Recycle"))
    made.settle(seconds=20)
    assert phase(made.volume("pv-1")) == "Released"
    assert made.messages("VolumeFailedRecycle") == ["Volume is used by pods: default/pod"]
    made.delete("Pod", "pod", grace=0)
    made.settle(seconds=20)
    assert phase(made.volume("pv-1")) == "Failed"
    assert made.messages("VolumeFailedRecycle")[1:] == ["No recycler plugin found for the volume!"]


@pytest.mark.parametrize("nfs", [None, NFSVolumeSource(server="files", path="/exports")])
def test_recycled_volume_is_free_again(nfs: NFSVolumeSource | None) -> None:
    source = {"hostPath": None, "nfs": nfs} if nfs else {}
    made = released_in_tree("Recycle", bound_by_controller=True, spec=source)
    volume = made.volume("pv-1")
    assert phase(volume) == "Available" and volume.spec.claimRef is None and BY_CONTROLLER not in annotations_of(volume)
    assert [(event.type, event.reason, event.message) for event in made.events] == [("Normal", "VolumeRecycled", "Volume recycled")]


def test_recycled_volume_that_a_user_had_reserved_stays_reserved_by_name() -> None:
    made = released_in_tree("Recycle")
    reference = made.volume("pv-1").spec.claimRef
    assert phase(made.volume("pv-1")) == "Available" and (reference.name, reference.uid) == ("gone", None)


def test_unknown_policy_fails() -> None:
    made = released("Shred")
    assert phase(made.volume("pv-1")) == "Failed"
    assert made.messages("VolumeUnknownReclaimPolicy") == ["Volume has unrecognized reclaim policy"]


def test_trap_13_failed_volume_of_an_external_driver_stays_failed() -> None:
    made = world(make_pv(claim="default/gone", claim_uid="gone", phase="Failed", reclaim="Delete", provisioned_by=DRIVER))
    made.settle(seconds=60)
    assert phase(made.volume("pv-1")) == "Failed"


def test_in_tree_finalizer_follows_the_policy() -> None:
    made = world(make_pv(provisioned_by="kubernetes.io/host-path", reclaim="Delete"))
    assert made.volume("pv-1").metadata.finalizers == ["kubernetes.io/pv-controller"]
    made.edit(with_spec(made.volume("pv-1"), persistentVolumeReclaimPolicy="Retain"))
    made.settle()
    assert made.volume("pv-1").metadata.finalizers is None


def test_trap_11_static_volume_with_delete_dies_with_a_claim_deleted_in_the_middle_of_binding() -> None:
    made = world(make_pv(reclaim="Delete", local=True, node="n1"))
    made.crash_at = made.attempts + 2  # claimRef is written, nothing else
    made.create(make_pvc())
    made._processes[0].decider.resync_s = None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(World, "restart", lambda self: self.delete("PersistentVolumeClaim", "data"))
        made.settle()
    made.restart()
    made.settle()
    assert phase(made.volume("pv-1")) == "Failed"  # released, then nothing can delete it; a driver's volume would be gone


# operations


def test_failed_operation_is_blocked_and_asked_for_again_by_the_resync() -> None:
    made = world(a_class())
    made.failure = lambda: ConflictError("the object has been modified")
    made.fail_at = made.attempts + 1
    made.create(make_pvc())
    made.settle()
    assert PROVISIONER not in annotations_of(made.claim("data"))
    assert [(event.type, event.reason, event.message) for event in made.events] == [
        ("Warning", "ProvisioningFailed", "Error saving claim: the object has been modified")
    ]
    made.edit(with_metadata(made.claim("data"), labels={"touched": "yes"}))
    made.settle()
    assert PROVISIONER not in annotations_of(made.claim("data"))  # 500 ms have not passed
    made.settle(seconds=15)
    assert PROVISIONER in annotations_of(made.claim("data"))


# every flow, interrupted at every write


def calm() -> World:
    made = World()
    made.add(lambda: PVBinder(made.clock))
    return made


def play_static(made: World) -> None:
    made.create(make_pv(reclaim="Retain"))
    made.settle(seconds=40)
    made.create(make_pvc())
    made.settle(seconds=40)


def play_delayed_provisioning(made: World) -> None:
    made.create(a_class(mode=WFFC))
    made.create(make_pvc())
    made.settle(seconds=40)
    made.edit(with_annotations(made.claim("data"), {"volume.kubernetes.io/selected-node": "n1"}))
    made.settle(seconds=40)
    provision(made, "data")
    made.settle(seconds=40)


def play_delayed_static(made: World) -> None:
    made.create(a_class(mode=WFFC, provisioner=NO_PROVISIONER))
    for name in ("one", "two"):
        made.create(make_pv(f"pv-{name}", local=True, node="n1"))
        made.create(make_pvc(name))
    made.settle(seconds=40)
    for name in ("one", "two"):
        reference = make_claim_ref(f"default/{name}", uid=made.claim(name).metadata.uid)
        made.edit(with_annotations(with_spec(made.volume(f"pv-{name}"), claimRef=reference), {BY_CONTROLLER: "yes"}))
    made.settle(seconds=40)


def play_release(made: World) -> None:
    play_static(made)
    made.delete("PersistentVolumeClaim", "data")
    made.settle(seconds=40)
    made.edit(with_spec(made.volume("pv-1"), claimRef=None))
    made.settle(seconds=40)
    made.create(make_pvc("again"))
    made.settle(seconds=40)


def play_lost(made: World) -> None:
    play_static(made)
    made.delete("PersistentVolume", "pv-1")
    made.settle(seconds=40)


def play_unbind(made: World) -> None:
    play_static(made)
    uid = made.claim("data").metadata.uid
    made.create(make_pv("late", claim="default/data", claim_uid=uid, bound_by_controller=True, phase="Pending"))
    made.create(make_pv("late-dynamic", claim="default/data", claim_uid=uid, provisioned_by=DRIVER, reclaim="Retain", phase="Pending"))
    made.settle(seconds=40)


def play_default_class(made: World) -> None:
    made.create(make_pvc(storage_class=None))
    made.settle(seconds=40)
    made.create(a_class(default=True))
    made.settle(seconds=40)
    provision(made, "data")
    made.settle(seconds=40)


def play_failed_reclaim(made: World) -> None:
    made.create(make_pv(local=True, node="n1", reclaim="Delete"))
    made.settle(seconds=40)
    made.create(make_pvc())
    made.settle(seconds=40)
    made.delete("PersistentVolumeClaim", "data")
    made.settle(seconds=300)


@pytest.mark.parametrize(
    "play",
    [
        play_static,
        play_delayed_provisioning,
        play_delayed_static,
        play_release,
        play_lost,
        play_unbind,
        play_default_class,
        play_failed_reclaim,
    ],
)
def test_same_end_with_every_write_interrupted(play: Callable[[World], None]) -> None:
    assert same_end_whatever_happens(play, calm, ignore=lambda objects: objects) >= 4 * 3


def test_same_end_with_late_watch_events() -> None:
    prompt = calm()
    play_delayed_provisioning(prompt)
    late = calm()
    with lagging(late):
        play_delayed_provisioning(late)
    assert late.summary() == prompt.summary()
