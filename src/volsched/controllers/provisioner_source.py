"""Data sources of a claim: what it names, whether it may be used now, and the finalizer that keeps it while it is.

    dataSource | dataSourceRef ─> DataSource ─> checks on live objects ─> VolumeContentSource ─> finalizer on the source

All checks are made anew at every attempt. Source: spec/volumes.md 3.3 rows 2-4 and 9-11, 3.9; spec/snapshots.md 3.1, 3.2;
external-provisioner pkg/controller/controller.go (dataSource, getSnapshotSource, getPVCSource).
"""

from __future__ import annotations

from typing import Final, NamedTuple

from lightkube.models.core_v1 import PersistentVolume, PersistentVolumeClaim
from lightkube.models.storage_v1 import StorageClass

from volsched.api.csi import SnapshotSource, VolumeContentSource, VolumeSource
from volsched.api.edit import annotations_of, finalizers_of, is_deleting, uid_of, with_finalizers
from volsched.api.gateway import ReferenceGrant
from volsched.api.kinds import meta
from volsched.api.quantity import parse as parse_quantity
from volsched.api.snapshot import VolumeSnapshot, VolumeSnapshotContent
from volsched.cache.view import View
from volsched.controllers.csi_common import amend, quoted
from volsched.controllers.provisioner_options import CLONE_FINALIZER
from volsched.controllers.provisioner_tables import Check, Refusal
from volsched.controllers.snapshot_names import ALLOW_VOLUME_MODE_CHANGE, RESTORE_FINALIZER, SNAPSHOT_GROUP, names_snapshot
from volsched.errors import ApiError, ForbiddenError, NotFoundError, ReconcileError
from volsched.ports import Intent, ListAll, Read, Steps, Update
from volsched.rules.volumes import has_storage_request, requested_storage, volume_mode_of

SNAPSHOT: Final = "VolumeSnapshot"
CLAIM: Final = "PersistentVolumeClaim"
NOT_BOUND: Final = "claim in dataSource not bound or invalid"
CONVERSION: Final = "modifies the mode of the source volume but does not have permission to do so."
TRUE_TEXTS: Final = frozenset({"1", "t", "T", "true", "TRUE", "True"})
_FALSE: Final = frozenset({"0", "f", "F", "false", "FALSE", "False"})


class DataSource(NamedTuple):
    """What a claim's volume is to be filled from."""

    kind: str
    group: str
    name: str
    namespace: str


def data_source_of(claim: PersistentVolumeClaim, *, cross_namespace: bool = False) -> DataSource | None:
    """Checks 2 to 4, but for the grant. Raises Refusal; an ignored one when an external populator is meant."""
    if claim.spec is None:
        return None
    namespace = meta(claim).namespace or ""
    local, reference = claim.spec.dataSource, claim.spec.dataSourceRef
    if local is not None:
        source = DataSource(local.kind, local.apiGroup or "", local.name, namespace)
    elif reference is not None:
        if reference.namespace and not cross_namespace:
            text = "dataSourceRef namespace specified but the CrossNamespaceVolumeDataSource feature is disabled"
            raise Refusal(Check.SOURCE_FORM, text)
        source = DataSource(reference.kind, reference.apiGroup or "", reference.name, reference.namespace or namespace)
    else:
        return None
    if not source.name:
        raise Refusal(Check.SOURCE_KIND, f"the PVC source not found for PVC {meta(claim).name}")
    if source.kind == SNAPSHOT and source.group != SNAPSHOT_GROUP:
        text = f"the PVC source does not belong to the right APIGroup. Expected {SNAPSHOT_GROUP}, Got {source.group}"
        raise Refusal(Check.SOURCE_KIND, text)
    if source.kind not in (SNAPSHOT, CLAIM):
        raise Refusal(Check.POPULATOR, "Assuming an external populator will provision the volume", ignored=True)
    return source


def check_granted(claim: PersistentVolumeClaim, source: DataSource) -> Steps[None]:
    """The rest of check 2: a namespace has to allow that its objects are copied into another. Raises Refusal."""
    namespace = meta(claim).namespace or ""
    if source.namespace == namespace:
        return
    try:
        grants: list[ReferenceGrant] = yield ListAll("ReferenceGrant", source.namespace)
    except ApiError as problem:
        text = f"error getting ReferenceGrants in {source.namespace} namespace from api server: {problem}"
        raise Refusal(Check.SOURCE_FORM, text) from None
    if not any(_grants(grant, namespace, source) for grant in grants):
        what = f"{source.namespace}/{source.name} of {source.kind} dataSource"
        raise Refusal(Check.SOURCE_FORM, f"accessing {what} from {namespace}/{meta(claim).name} isn't allowed")


def _grants(grant: ReferenceGrant, namespace: str, source: DataSource) -> bool:
    """Whether a grant lets claims of a namespace refer to the source."""
    if not any((item.group, item.kind, item.namespace) == ("", CLAIM, namespace) for item in grant.spec.from_):
        return False
    return any((item.group, item.kind) == (source.group, source.kind) and item.name in (None, "", source.name) for item in grant.spec.to)


def restored_snapshot(claim: PersistentVolumeClaim) -> str | None:
    """Name of the snapshot in the claim's namespace that its dataSource names, None when it names none."""
    source = claim.spec.dataSource if claim.spec else None
    return source.name if source is not None and source.kind == SNAPSHOT else None


def content_source(
    view: View, claim: PersistentVolumeClaim, storage_class: StorageClass, source: DataSource, *, prevent_mode_conversion: bool
) -> Steps[VolumeContentSource]:
    """Check 10: the source as the driver knows it. Raises Refusal."""
    try:
        if source.kind == SNAPSHOT:
            return (yield from _snapshot_source(claim, storage_class, source, prevent_mode_conversion=prevent_mode_conversion))
        return (yield from _claim_source(view, claim, storage_class, source))
    except ReconcileError as problem:
        text = f"error getting handle for DataSource Type {source.kind} by Name {source.name}: {problem}"
        raise Refusal(Check.CONTENT_SOURCE, text) from None


def _snapshot_source(
    claim: PersistentVolumeClaim, storage_class: StorageClass, source: DataSource, *, prevent_mode_conversion: bool
) -> Steps[VolumeContentSource]:
    name = source.name
    try:
        snapshot: VolumeSnapshot = yield Read("VolumeSnapshot", source.namespace, name)
    except ApiError as problem:
        raise ReconcileError(f"error getting snapshot {name} from api server: {problem}") from None
    if is_deleting(snapshot) and RESTORE_FINALIZER not in finalizers_of(snapshot):
        raise ReconcileError(f"snapshot {name} is being deleted")
    bound = snapshot.status.boundVolumeSnapshotContentName if snapshot.status else None
    if not bound:
        raise ReconcileError(f"snapshot {name} not bound")
    try:
        content: VolumeSnapshotContent = yield Read("VolumeSnapshotContent", "", bound)
    except ApiError:
        raise ReconcileError(f"error getting snapshotcontent {bound} for snapshot {name}") from None
    if not names_snapshot(content, snapshot):
        raise ReconcileError(f"snapshotcontent {bound} for snapshot {name} is bound to a different snapshot")
    if content.spec.driver != storage_class.provisioner:
        text = f"snapshotcontent {bound} for snapshot {name} is not handled by CSI driver of StorageClass {meta(storage_class).name}"
        raise ReconcileError(text)
    if not (snapshot.status and snapshot.status.readyToUse):
        raise ReconcileError(f"snapshot {name} is not Ready")
    handle = content.status.snapshotHandle if content.status else None
    if handle is None:
        raise ReconcileError(f"snapshot handle {name} is not available")
    _check_size(claim, snapshot)
    if prevent_mode_conversion:
        _check_mode(claim, content)
    return VolumeContentSource(snapshot=SnapshotSource(snapshot_id=handle))


def _check_size(claim: PersistentVolumeClaim, snapshot: VolumeSnapshot) -> None:
    """A restore may not be smaller than the snapshot; larger is for the driver to deal with."""
    restore_size = snapshot.status.restoreSize if snapshot.status else None
    if restore_size is None:
        return
    name = meta(snapshot).name
    if not has_storage_request(claim):
        raise ReconcileError(f"error getting capacity for PVC {meta(claim).name} when creating snapshot {name}")
    requested_bytes, needed_bytes = requested_storage(claim).value(), parse_quantity(restore_size).value()
    if requested_bytes < needed_bytes:
        raise ReconcileError(f"requested volume size {requested_bytes} is less than the size {needed_bytes} for the source snapshot {name}")


def _check_mode(claim: PersistentVolumeClaim, content: VolumeSnapshotContent) -> None:
    """A restore in another volume mode needs the admin's consent on the content, a boolean as Go parses it."""
    mode = claim.spec.volumeMode if claim.spec else None
    if content.spec.sourceVolumeMode is None or mode is None or content.spec.sourceVolumeMode == mode:
        return
    consent = annotations_of(content).get(ALLOW_VOLUME_MODE_CHANGE)
    if consent in TRUE_TEXTS:
        return
    if consent is None:
        cause = f"{ALLOW_VOLUME_MODE_CHANGE} annotation is not present on snapshotcontent {meta(content).name}"
    elif consent in _FALSE:
        cause = f"{ALLOW_VOLUME_MODE_CHANGE} is set to false on snapshotcontent {meta(content).name}"
    else:
        error = f"strconv.ParseBool: parsing {quoted(consent)}: invalid syntax"
        cause = f"failed to convert {ALLOW_VOLUME_MODE_CHANGE} annotation value to boolean with error: {error}"
    raise ReconcileError(f"requested volume {meta(claim).namespace}/{meta(claim).name} {CONVERSION} {cause}")


def _claim_source(view: View, claim: PersistentVolumeClaim, storage_class: StorageClass, source: DataSource) -> Steps[VolumeContentSource]:
    name = source.name
    origin: PersistentVolumeClaim | None = view.get("PersistentVolumeClaim", source.namespace, name)
    if origin is None or origin.spec is None:
        missing = f"persistentvolumeclaim {quoted(name)} not found"
        raise ReconcileError(f"error getting PVC {name} (namespace {quoted(source.namespace)}) from api server: {missing}")
    phase = origin.status.phase if origin.status else None
    if phase != "Bound":
        raise ReconcileError(f"the PVC DataSource {name} must have a status of Bound.  Got {phase}")
    if is_deleting(origin):
        raise ReconcileError(f"the PVC DataSource {name} is currently being deleted")
    if origin.spec.storageClassName is None:
        raise ReconcileError(f"the source PVC ({name}) storageclass cannot be empty")
    if claim.spec is None or claim.spec.storageClassName is None:
        raise ReconcileError(f"the requested PVC ({meta(claim).name}) storageclass cannot be empty")
    requested_bytes, source_bytes = requested_storage(claim).value(), requested_storage(origin).value()
    if requested_bytes < source_bytes:
        text = "error, new PVC request must be greater than or equal in size to the specified PVC data source"
        raise ReconcileError(f"{text}, requested {requested_bytes} but source is {source_bytes}")
    if not origin.spec.volumeName:
        raise ReconcileError(f"volume name is empty in source PVC {name}")
    try:
        volume: PersistentVolume = yield Read("PersistentVolume", "", origin.spec.volumeName)
    except ApiError:
        raise ReconcileError(NOT_BOUND) from None
    csi = volume.spec.csi if volume.spec else None
    reference = volume.spec.claimRef if volume.spec else None
    if csi is None or csi.driver != storage_class.provisioner or reference is None:
        raise ReconcileError(NOT_BOUND)
    if (reference.namespace, reference.name, reference.uid) != (source.namespace, name, uid_of(origin)):
        raise ReconcileError(NOT_BOUND)
    if (volume.status.phase if volume.status else None) != "Bound":
        raise ReconcileError(NOT_BOUND)
    wanted, given = volume_mode_of(claim), volume_mode_of(volume)
    if wanted != given:
        text = "the source PVC and destination PVCs must have the same volume mode for cloning."
        raise ReconcileError(f"{text}  Source is {given}, but new PVC requested {wanted}")
    return VolumeContentSource(volume=VolumeSource(volume_id=csi.volumeHandle))


def protect_source(view: View, source: DataSource) -> Steps[None]:
    """Check 11: our finalizer on the source, before the driver is asked. A conflict ends the attempt with the API server's text."""
    try:
        if source.kind == CLAIM:
            origin: PersistentVolumeClaim | None = view.get("PersistentVolumeClaim", source.namespace, source.name)
            if origin is None:
                raise NotFoundError(f"persistentvolumeclaim {quoted(source.name)} not found")
            if CLONE_FINALIZER not in finalizers_of(origin):
                view.put((yield Update(with_finalizers(origin, add=[CLONE_FINALIZER]))))
            return
        snapshot: VolumeSnapshot = yield Read("VolumeSnapshot", source.namespace, source.name)
        if RESTORE_FINALIZER not in finalizers_of(snapshot):
            try:
                yield Update(with_finalizers(snapshot, add=[RESTORE_FINALIZER]))
            except ForbiddenError:
                return  # without the right to protect the source, provisioning goes on unprotected
    except ApiError as problem:
        raise Refusal(Check.SOURCE_FINALIZER, problem) from None


def release_snapshot(namespace: str, name: str) -> Steps[None]:
    """Take our finalizer off a snapshot; one that has gone, or is not ours to change, is left to the sweeper. Raises ApiError."""

    def change(snapshot: VolumeSnapshot) -> Intent | None:
        if RESTORE_FINALIZER not in finalizers_of(snapshot):
            return None
        return Update(with_finalizers(snapshot, remove=[RESTORE_FINALIZER]))

    try:
        snapshot: VolumeSnapshot = yield Read("VolumeSnapshot", namespace, name)
        yield from amend(snapshot, change)
    except NotFoundError:
        return
