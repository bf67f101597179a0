"""Which volumes a pod needs on its node, and why it cannot have them yet.

The checks are the kubelet's own, made before any mount: the claim is Bound and not on its way out, and volume and claim point at each
other. Volumes that no driver has to mount (local, hostPath, emptyDir, …) only have to pass the checks.
Source: pkg/kubelet/volumemanager/populator/desired_state_of_world_populator.go; spec/volumes.md 5, step 6.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from lightkube.models.core_v1 import (
    CSIPersistentVolumeSource,
    CSIVolumeSource,
    PersistentVolume,
    PersistentVolumeClaim,
    Pod,
    SecretReference,
    Volume,
)
from lightkube.models.storage_v1 import CSIDriver

from volsched.api.edit import finalizers_of, is_deleting, uid_of
from volsched.api.kinds import meta
from volsched.cache.view import View
from volsched.controllers.kubelet_mounts import inline_handle
from volsched.controllers.protection import PVC_PROTECTION
from volsched.rules.volumes import ephemeral_claim_name, is_owned_by_pod, not_owner_text, volume_mode_of


class CsiVolume(NamedTuple):
    """A volume that a CSI driver has to mount."""

    name: str  # in the pod
    driver: str
    handle: str
    volume: PersistentVolume | None  # None: written into the pod
    path_name: str  # the volume's directory is called after the PersistentVolume, or after the pod's own volume
    read_only: bool
    context: Mapping[str, str]
    fs_type: str
    stage_secret: SecretReference | None
    publish_secret: SecretReference | None

    @property
    def block(self) -> bool:
        return self.volume is not None and volume_mode_of(self.volume) == "Block"


class Problem(NamedTuple):
    """A volume that a pod cannot have, and why."""

    name: str
    text: str


def _claim_of(pod: Pod, volume: Volume) -> tuple[str, bool] | None:
    """Claim name of a pod's volume and whether the volume is a generic ephemeral one; None for volumes without a claim."""
    if volume.persistentVolumeClaim is not None:
        return volume.persistentVolumeClaim.claimName, False
    if volume.ephemeral is not None:
        return ephemeral_claim_name(meta(pod).name or "", volume.name), True
    return None


def _checked(pod: Pod, name: str, *, ephemeral: bool, view: View) -> PersistentVolume | str:
    """The volume behind a claim, or why the pod cannot have it."""
    namespace = meta(pod).namespace or "default"
    prefix = f"error processing PVC {namespace}/{name}: "
    claim: PersistentVolumeClaim | None = view.get("PersistentVolumeClaim", namespace, name)
    if claim is None:
        return f'{prefix}failed to fetch PVC from API server: persistentvolumeclaims "{name}" not found'
    if ephemeral and not is_owned_by_pod(claim, pod):
        return not_owner_text(claim, pod)
    if is_deleting(claim) and PVC_PROTECTION not in finalizers_of(claim):
        return f"{prefix}PVC is being deleted"
    if (claim.status.phase if claim.status else None) != "Bound":
        return f"{prefix}PVC is not bound"
    volume_name = (claim.spec.volumeName if claim.spec else None) or ""
    if not volume_name:
        return f"{prefix}PVC has empty pvc.Spec.VolumeName"
    volume: PersistentVolume | None = view.get("PersistentVolume", "", volume_name)
    if volume is None:
        return f'{prefix}failed to fetch PV {volume_name} from API server: persistentvolumes "{volume_name}" not found'
    reference = volume.spec.claimRef if volume.spec else None
    if reference is None or reference.uid != uid_of(claim):
        found = (reference.uid if reference else None) or ""
        relation = f'its pv.Spec.ClaimRef.UID "{found}" does not point to claim.UID "{uid_of(claim)}"'
        return f'{prefix}found PV object "{volume_name}" but {relation}'
    return volume


def _persistent(name: str, volume: PersistentVolume, csi: CSIPersistentVolumeSource, *, read_only: bool) -> CsiVolume:
    return CsiVolume(
        name=name,
        driver=csi.driver,
        handle=csi.volumeHandle,
        volume=volume,
        path_name=meta(volume).name or "",
        read_only=read_only or bool(csi.readOnly),
        context=csi.volumeAttributes or {},
        fs_type=csi.fsType or "",
        stage_secret=csi.nodeStageSecretRef,
        publish_secret=csi.nodePublishSecretRef,
    )


def _inline(pod: Pod, name: str, csi: CSIVolumeSource) -> CsiVolume:
    secret = csi.nodePublishSecretRef
    return CsiVolume(
        name=name,
        driver=csi.driver,
        handle=inline_handle(uid_of(pod), name),
        volume=None,
        path_name=name,
        read_only=bool(csi.readOnly),
        context=csi.volumeAttributes or {},
        fs_type=csi.fsType or "",
        stage_secret=None,
        publish_secret=SecretReference(name=secret.name, namespace=meta(pod).namespace) if secret else None,
    )


def volumes_of(pod: Pod, view: View) -> Iterator[CsiVolume | Problem]:
    """What the pod needs mounted, in order of its volumes, and what it cannot have."""
    for entry in (pod.spec.volumes if pod.spec else None) or []:
        if entry.csi is not None:
            yield _inline(pod, entry.name, entry.csi)
            continue
        claim = _claim_of(pod, entry)
        if claim is None:
            continue
        found = _checked(pod, claim[0], ephemeral=claim[1], view=view)
        if isinstance(found, str):
            yield Problem(entry.name, found)
        elif found.spec is not None and found.spec.csi is not None:
            read_only = entry.persistentVolumeClaim is not None and bool(entry.persistentVolumeClaim.readOnly)
            yield _persistent(entry.name, found, found.spec.csi, read_only=read_only)


def pod_context(pod: Pod, volume: CsiVolume, driver: CSIDriver | None) -> dict[str, str]:
    """The volume context of a publish call; with podInfoOnMount the driver is told whose volume it is."""
    context = dict(volume.context)
    if driver is not None and driver.spec is not None and driver.spec.podInfoOnMount:
        metadata = meta(pod)
        prefix = "csi.storage.k8s.io/"
        context |= {
            f"{prefix}pod.name": metadata.name or "",
            f"{prefix}pod.namespace": metadata.namespace or "default",
            f"{prefix}pod.uid": uid_of(pod),
            f"{prefix}serviceAccount.name": (pod.spec.serviceAccountName if pod.spec else None) or "",
        }
    if volume.volume is None:
        context["csi.storage.k8s.io/ephemeral"] = "true"
    return context
