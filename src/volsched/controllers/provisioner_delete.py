"""Deletion of a driver's volumes, and the finalizer that makes sure of it.

    Released, policy Delete ─> secrets ─> not attached ─> DeleteVolume ─> DELETE the PersistentVolume ─> finalizer off

Every step may be repeated after a crash: DeleteVolume of an unknown volume succeeds. The finalizer is on every volume of the driver that
will have to be deleted some day, and goes at once when the policy says otherwise.

Source: spec/volumes.md 2, 3.8; sig-storage-lib-external-provisioner syncVolume, external-provisioner Delete.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from lightkube.models.core_v1 import PersistentVolume, PersistentVolumeClaim, SecretReference
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.models.storage_v1 import StorageClass

from volsched.api.csi import DeleteVolumeRequest
from volsched.api.edit import annotations_of, finalizers_of, is_deleting, uid_of
from volsched.api.kinds import meta
from volsched.cache.view import View
from volsched.controllers.csi_common import amend, patch_of, read_credentials
from volsched.controllers.driver_info import DriverInfo
from volsched.controllers.provisioner_options import (
    DELETION_SECRET_NAME,
    DELETION_SECRET_NAMESPACE,
    PROVISIONER_SECRET,
    PV_FINALIZER,
    ProvisionerOptions,
)
from volsched.controllers.provisioner_request import resolve_secret
from volsched.controllers.provisioner_tables import FINALIZER, FinalizerRow, should_delete
from volsched.errors import CsiError, NotFoundError, ReconcileError
from volsched.ports import Call, Delete, Emit, Intent, Read, Steps
from volsched.rules.volumes import ANN_MIGRATED_TO, ANN_PROVISIONED_BY, class_of

DELETE_POLICY: Final = "Delete"


class VolumeDeletion:
    """One pass over a PersistentVolume at a time; keeps nothing between passes."""

    def __init__(self, view: View, info: DriverInfo, options: ProvisionerOptions) -> None:
        self._view = view
        self._info = info
        self._options = options

    def run(self, name: str, *, keeps: Callable[[PersistentVolume], bool]) -> Steps[PersistentVolume | None]:
        """Finalizer, then deletion if it is time, of volumes that `keeps` says this process is for. Answers the volume that was deleted.
        Raises ApiError, CsiError, ReconcileError."""
        pv: PersistentVolume | None = self._view.get("PersistentVolume", "", name)
        if pv is None or not self._is_ours(pv):
            return None
        try:
            pv = yield from amend(pv, self._finalizer_change)
            if pv is None or not self._should_delete(pv) or not keeps(pv):
                return None
            self._view.put(pv)
            # The view may be late, and what follows cannot be undone.
            pv = yield Read("PersistentVolume", "", name)
        except NotFoundError:
            return None
        if pv is None or not self._should_delete(pv):
            return None
        try:
            yield from self._delete_backend(pv)
        except (CsiError, ReconcileError) as problem:
            yield Emit(pv, "Warning", "VolumeFailedDelete", str(problem))
            raise
        try:
            left: PersistentVolume = yield Delete("PersistentVolume", "", name, uid=uid_of(pv))
            yield from amend(left, _without_finalizer)
        except NotFoundError:
            pass  # gone already
        return pv

    def _is_ours(self, pv: PersistentVolume) -> bool:
        annotations = annotations_of(pv)
        if ANN_PROVISIONED_BY in annotations:
            return self._info.name in (annotations[ANN_PROVISIONED_BY], annotations.get(ANN_MIGRATED_TO))
        return bool(pv.spec and pv.spec.csi and pv.spec.csi.driver == self._info.name)

    def _finalizer_change(self, pv: PersistentVolume) -> Intent | None:
        held = finalizers_of(pv)
        row = FINALIZER.decide(
            ours=self._is_ours(pv),
            policy_delete=_policy_of(pv) == DELETE_POLICY,
            bound=_phase_of(pv) == "Bound",
            deleting=is_deleting(pv),
            held=PV_FINALIZER in held,
        )
        if row is FinalizerRow.ADD:
            return patch_of(pv, {"metadata": {"finalizers": [*held, PV_FINALIZER]}})
        return _without_finalizer(pv) if row is FinalizerRow.REMOVE else None

    def _should_delete(self, pv: PersistentVolume) -> bool:
        return should_delete(
            ours=self._is_ours(pv),
            policy_delete=_policy_of(pv) == DELETE_POLICY,
            phase=_phase_of(pv),
            deleting=is_deleting(pv),
            held=PV_FINALIZER in finalizers_of(pv),
        )

    def _delete_backend(self, pv: PersistentVolume) -> Steps[None]:
        if pv.spec is None or pv.spec.csi is None:
            raise ReconcileError("invalid CSI PV")
        if "CREATE_DELETE_VOLUME" not in self._info.controller:
            text = "CSI driver does not support dynamic provisioning: controller CREATE_DELETE_VOLUME capability is not reported"
            raise ReconcileError(text)
        secrets = yield from self._secrets(pv)
        if "PUBLISH_UNPUBLISH_VOLUME" in self._info.controller:
            self._check_detached(meta(pv).name)
        request = DeleteVolumeRequest(volume_id=pv.spec.csi.volumeHandle, secrets=secrets)
        yield Call(self._info.name, "DeleteVolume", request, timeout_s=self._options.timeout_s)

    def _check_detached(self, name: str | None) -> None:
        for attachment in self._view.all("VolumeAttachment"):
            if attachment.spec.source.persistentVolumeName == name:
                raise ReconcileError(f"persistentvolume {name} is still attached to node {attachment.spec.nodeName}")

    def _secrets(self, pv: PersistentVolume) -> Steps[dict[str, str]]:
        """The provisioner secret that the volume, or else its class, names. One that cannot be read may be gone already: go on without."""
        reference = self._secret_reference(pv)
        try:
            return (yield from read_credentials(reference))
        except ReconcileError:
            return {}

    def _secret_reference(self, pv: PersistentVolume) -> SecretReference | None:
        annotations = annotations_of(pv)
        if DELETION_SECRET_NAME in annotations and DELETION_SECRET_NAMESPACE in annotations:
            name, namespace = annotations[DELETION_SECRET_NAME], annotations[DELETION_SECRET_NAMESPACE]
            return SecretReference(name=name, namespace=namespace) if name and namespace else None
        storage_class: StorageClass | None = self._view.get("StorageClass", "", class_of(pv))
        reference = pv.spec.claimRef if pv.spec else None
        if storage_class is None or reference is None:
            return None
        claim = PersistentVolumeClaim(metadata=ObjectMeta(name=reference.name, namespace=reference.namespace))
        try:
            return resolve_secret(PROVISIONER_SECRET, storage_class.parameters or {}, claim, meta(pv).name or "")
        except ReconcileError as problem:
            raise ReconcileError(f"failed to get secretreference for volume {meta(pv).name}: {problem}") from None


def _policy_of(pv: PersistentVolume) -> str:
    return (pv.spec.persistentVolumeReclaimPolicy if pv.spec else None) or "Retain"


def _phase_of(pv: PersistentVolume) -> str:
    return (pv.status.phase if pv.status else None) or ""


def _without_finalizer(pv: PersistentVolume) -> Intent | None:
    held = finalizers_of(pv)
    if PV_FINALIZER not in held:
        return None
    return patch_of(pv, {"metadata": {"finalizers": [name for name in held if name != PV_FINALIZER] or None}})
