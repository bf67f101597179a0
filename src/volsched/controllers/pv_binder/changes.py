"""The objects that the binder writes, as pure functions: old object in, changed copy out, the same object when nothing has to change.

Source: component-helpers/storage/volume/pv_helpers.go (GetBindVolumeToClaim), pv_controller.go (updateClaimStatus, bindClaimToVolume),
pv_controller_base.go (updateMigrationAnnotations, modifyDeletionFinalizers); spec/volumes.md 1.4, 1.7, 1.8, 1.9.
"""

from __future__ import annotations

from typing import Final

from lightkube.models.core_v1 import (
    ObjectReference,
    PersistentVolume,
    PersistentVolumeClaim,
    PersistentVolumeClaimStatus,
    PersistentVolumeStatus,
)
from lightkube.models.storage_v1 import StorageClass

from volsched.api.edit import annotations_of, finalizers_of, replace, with_annotations, with_finalizers, with_spec
from volsched.api.kinds import meta
from volsched.rules.translation import migrated_driver
from volsched.rules.volumes import (
    ANN_BETA_STORAGE_CLASS,
    ANN_BETA_STORAGE_PROVISIONER,
    ANN_BIND_COMPLETED,
    ANN_BOUND_BY_CONTROLLER,
    ANN_MIGRATED_TO,
    ANN_PROVISIONED_BY,
    ANN_STORAGE_PROVISIONER,
    bound_to,
)

YES: Final = "yes"
ANN_PRE_RESIZE_CAPACITY: Final = "volume.alpha.kubernetes.io/pre-resize-capacity"
IN_TREE_PREFIX: Final = "kubernetes.io/"
FINALIZER_IN_TREE: Final = "kubernetes.io/pv-controller"
DEFAULT_CLASS_KEYS: Final = ("storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class")

# Migrated by name only: their volumes keep their node affinity, so rules.translation has nothing to translate for them.
_MIGRATED_BY_NAME: Final = {
    "kubernetes.io/azure-file": "file.csi.azure.com",
    "kubernetes.io/vsphere-volume": "csi.vsphere.vmware.com",
}


def csi_name_of(provisioner: str) -> str | None:
    """The CSI driver that has taken over an in-tree provisioner; None for every other name."""
    return migrated_driver(provisioner) or _MIGRATED_BY_NAME.get(provisioner)


def phase_of(obj: PersistentVolume | PersistentVolumeClaim) -> str:
    """status.phase; an object that was never given one is Pending, as the API server would default it."""
    return (obj.status.phase if obj.status else None) or "Pending"


def reference_to(claim: PersistentVolumeClaim) -> ObjectReference:
    """A full reference to a claim, as it stands now."""
    metadata = meta(claim)
    return ObjectReference(
        kind="PersistentVolumeClaim",
        apiVersion="v1",
        namespace=metadata.namespace,
        name=metadata.name,
        uid=metadata.uid,
        resourceVersion=metadata.resourceVersion,
    )


def claimed_volume(pv: PersistentVolume, claim: PersistentVolumeClaim) -> PersistentVolume:
    """Bind write 1. bound-by-controller tells that no user had reserved the volume for this claim."""
    assert pv.spec is not None
    reference, wanted = pv.spec.claimRef, reference_to(claim)
    if reference is not None and (reference.namespace, reference.name, reference.uid) == (wanted.namespace, wanted.name, wanted.uid):
        return pv
    changed = with_spec(pv, claimRef=wanted)
    return changed if bound_to(pv, claim) else with_annotations(changed, {ANN_BOUND_BY_CONTROLLER: YES})


def volume_in_phase(pv: PersistentVolume, phase: str, message: str = "") -> PersistentVolume:
    """A volume with another phase; the message is written only together with a phase."""
    if phase_of(pv) == phase and pv.status is not None and pv.status.phase is not None:
        return pv
    return replace(pv, status=replace(pv.status or PersistentVolumeStatus(), phase=phase, message=message or None))


def bound_claim(claim: PersistentVolumeClaim, pv: PersistentVolume) -> PersistentVolumeClaim:
    """Bind write 3. bound-by-controller tells that no user had named the volume."""
    assert claim.spec is not None
    changes: dict[str, str | None] = {}
    named = claim
    if claim.spec.volumeName != meta(pv).name:
        named = with_spec(claim, volumeName=meta(pv).name)
        changes[ANN_BOUND_BY_CONTROLLER] = YES
    if ANN_BIND_COMPLETED not in annotations_of(claim):
        changes[ANN_BIND_COMPLETED] = YES
    return with_annotations(named, changes) if changes else named


def claim_status_bound(claim: PersistentVolumeClaim, pv: PersistentVolume) -> PersistentVolumeClaim:
    """Bind write 4. Size and attributes class are copied at the moment of binding only; later the resizer and modifier own them."""
    assert pv.spec is not None
    old = claim.status or PersistentVolumeClaimStatus()
    phase = phase_of(claim)
    new = replace(old, phase="Bound", accessModes=pv.spec.accessModes)
    if phase != "Bound":
        capacity = dict(pv.spec.capacity or {})
        before_resize = annotations_of(pv).get(ANN_PRE_RESIZE_CAPACITY)
        if before_resize is not None:
            capacity["storage"] = before_resize
        new = replace(new, capacity=capacity)
    if phase == "Pending":
        new = replace(new, currentVolumeAttributesClassName=pv.spec.volumeAttributesClassName or None)
    return claim if new == old else replace(claim, status=new)


def claim_status_unbound(claim: PersistentVolumeClaim, phase: str) -> PersistentVolumeClaim:
    """Pending or Lost: what was copied from the volume is cleared, conditions stay."""
    old = claim.status or PersistentVolumeClaimStatus()
    new = replace(old, phase=phase, accessModes=None, capacity=None, currentVolumeAttributesClassName=None)
    return claim if new == old else replace(claim, status=new)


def provisioner_claim(claim: PersistentVolumeClaim, provisioner: str) -> PersistentVolumeClaim:
    """Tells external provisioners which of them should act: both annotations, unless the present one says so already."""
    if annotations_of(claim).get(ANN_STORAGE_PROVISIONER) == provisioner:
        return claim
    marked = with_annotations(claim, {ANN_STORAGE_PROVISIONER: provisioner, ANN_BETA_STORAGE_PROVISIONER: provisioner})
    return migrated_claim(marked)


def unbound_volume(pv: PersistentVolume) -> PersistentVolume:
    """A volume taken back from a claim that went elsewhere: free, or reserved by name as its user had left it."""
    assert pv.spec is not None
    if ANN_BOUND_BY_CONTROLLER in annotations_of(pv):
        return with_spec(with_annotations(pv, {ANN_BOUND_BY_CONTROLLER: None}), claimRef=None)
    reference = pv.spec.claimRef
    return pv if reference is None else with_spec(pv, claimRef=replace(reference, uid=None))


def _migration_changes(annotations: dict[str, str], provisioner: str | None) -> dict[str, str | None]:
    if provisioner is None:
        return {}
    driver, present = csi_name_of(provisioner), annotations.get(ANN_MIGRATED_TO)
    if driver is None:
        return {} if not present else {ANN_MIGRATED_TO: None}
    return {} if present == driver else {ANN_MIGRATED_TO: driver}


def migrated_claim(claim: PersistentVolumeClaim) -> PersistentVolumeClaim:
    """The claim's migrated-to annotation set right."""
    annotations = dict(annotations_of(claim))
    changes = _migration_changes(annotations, annotations.get(ANN_STORAGE_PROVISIONER, annotations.get(ANN_BETA_STORAGE_PROVISIONER)))
    return with_annotations(claim, changes) if changes else claim


def migrated_volume(pv: PersistentVolume) -> PersistentVolume:
    """The volume's migrated-to annotation and in-tree deletion finalizer set right."""
    assert pv.spec is not None
    annotations = dict(annotations_of(pv))
    provisioner = annotations.get(ANN_PROVISIONED_BY)
    changes = _migration_changes(annotations, provisioner)
    changed = with_annotations(pv, changes) if changes else pv
    present = FINALIZER_IN_TREE in finalizers_of(pv)
    if provisioner is None or not provisioner.startswith(IN_TREE_PREFIX):
        return changed
    wanted = pv.spec.persistentVolumeReclaimPolicy == "Delete" and csi_name_of(provisioner) is None
    if wanted == present:
        return changed
    return with_finalizers(changed, add=[FINALIZER_IN_TREE]) if wanted else with_finalizers(changed, remove=[FINALIZER_IN_TREE])


def is_class_unset(claim: PersistentVolumeClaim) -> bool:
    """Whether a claim says nothing about its class; an empty class is said."""
    return ANN_BETA_STORAGE_CLASS not in annotations_of(claim) and (claim.spec is None or claim.spec.storageClassName is None)


def default_class(classes: list[StorageClass]) -> StorageClass | None:
    """The default among some classes: the newest that is marked so, the smallest name among equally new ones."""
    marked = [entry for entry in classes if any(annotations_of(entry).get(key) == "true" for key in DEFAULT_CLASS_KEYS)]
    marked.sort(key=lambda entry: meta(entry).name or "")
    created = [meta(entry).creationTimestamp for entry in marked]
    newest = max((time for time in created if time is not None), default=None)
    return next((entry for entry, time in zip(marked, created, strict=True) if time == newest), None)
