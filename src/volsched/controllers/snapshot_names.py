"""Names, annotations, finalizers and small questions about snapshot objects.

Source: spec/snapshots.md 1.3-1.5; external-snapshotter pkg/utils.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any, Final

from lightkube.models.meta_v1 import OwnerReference

from volsched.api.edit import annotations_of, finalizers_of, is_deleting, uid_of
from volsched.api.kinds import meta
from volsched.api.snapshot import VolumeSnapshot, VolumeSnapshotContent
from volsched.controllers.csi_common import CSI_PREFIX, NS_PER_S, SecretParams
from volsched.errors import ReconcileError

PREFIX: Final = "snapshot.storage.kubernetes.io/"
SNAPSHOT_GROUP: Final = "snapshot.storage.k8s.io"
GROUP_SNAPSHOT_GROUP: Final = "groupsnapshot.storage.k8s.io"
NOT_BOUND_YET_TEXT: Final = "the PVC {} is not yet bound to a PV, will not attempt to take a snapshot"

DEFAULT_CLASS: Final = PREFIX + "is-default-class"
BEING_CREATED: Final = PREFIX + "volumesnapshot-being-created"
BEING_DELETED: Final = PREFIX + "volumesnapshot-being-deleted"
DELETION_SECRET_NAME: Final = PREFIX + "deletion-secret-name"
DELETION_SECRET_NAMESPACE: Final = PREFIX + "deletion-secret-namespace"
ALLOW_VOLUME_MODE_CHANGE: Final = PREFIX + "allow-volume-mode-change"
MANAGED_BY: Final = PREFIX + "managed-by"
# On a content: a member of a dynamic group, for which CreateSnapshot is never called.
GROUP_MEMBER: Final = "groupsnapshot.storage.k8s.io/volumeGroupSnapshotHandle"
YES: Final = "yes"
MEMBER_PREFIX: Final = "snapshot-"
CONTENT_PREFIX: Final = "snapcontent-"

CONTENT_FINALIZER: Final = PREFIX + "volumesnapshotcontent-bound-protection"
SOURCE_FINALIZER: Final = PREFIX + "volumesnapshot-as-source-protection"
BOUND_FINALIZER: Final = PREFIX + "volumesnapshot-bound-protection"
IN_GROUP_FINALIZER: Final = PREFIX + "volumesnapshot-in-group-protection"
CLAIM_FINALIZER: Final = PREFIX + "pvc-as-source-protection"
RESTORE_FINALIZER: Final = "provisioner.storage.kubernetes.io/volumesnapshot-as-source-protection"

DELETE: Final = "Delete"

SNAPSHOTTER_SECRET: Final = SecretParams(
    "Snapshotter",
    CSI_PREFIX + "snapshotter-secret-name",
    CSI_PREFIX + "snapshotter-secret-namespace",
    "csiSnapshotterSecretName",
    "csiSnapshotterSecretNamespace",
)
LIST_SECRET: Final = SecretParams(
    "SnapshotterList", CSI_PREFIX + "snapshotter-list-secret-name", CSI_PREFIX + "snapshotter-list-secret-namespace"
)
KNOWN_PARAMETERS: Final = frozenset(
    f"{CSI_PREFIX}{who}-secret-{part}"
    for who in ("snapshotter", "snapshotter-list", "group-snapshotter", "group-snapshotter-get")
    for part in ("name", "namespace")
)


def content_name(snapshot: VolumeSnapshot) -> str:
    """Name of the content made for a dynamic snapshot."""
    return f"{CONTENT_PREFIX}{uid_of(snapshot)}"


def snapshot_name(prefix: str, uid: str, *, uid_length: int) -> str:
    """Name of the snapshot at the driver. `uid_length` -1 keeps the uid as it is, else it is cut after its dashes are dropped."""
    return f"{prefix}-{uid if uid_length < 0 else uid.replace('-', '')[:uid_length]}"


def snapshot_key(snapshot: VolumeSnapshot) -> str:
    """`namespace/name`, as messages print it."""
    metadata = meta(snapshot)
    return f"{metadata.namespace}/{metadata.name}"


def source_claim(snapshot: VolumeSnapshot) -> str | None:
    """Name of the claim a dynamic snapshot is taken of. Empty for a member of a group whose volume has no known claim."""
    return snapshot.spec.source.persistentVolumeClaimName


def bound_content_name(snapshot: VolumeSnapshot) -> str:
    """Name of the content a snapshot is bound to, empty when it is not."""
    return (snapshot.status.boundVolumeSnapshotContentName if snapshot.status else None) or ""


def is_ready(obj: VolumeSnapshot | VolumeSnapshotContent) -> bool:
    """Whether status.readyToUse is true; unset is not."""
    return bool(obj.status and obj.status.readyToUse)


def group_owners(snapshot: VolumeSnapshot) -> list[OwnerReference]:
    """Owner references of a snapshot to VolumeGroupSnapshots."""
    owners = meta(snapshot).ownerReferences or []
    return [owner for owner in owners if owner.kind == "VolumeGroupSnapshot" and owner.apiVersion == f"{GROUP_SNAPSHOT_GROUP}/v1"]


def group_owner(snapshot: VolumeSnapshot) -> str | None:
    """Name of the VolumeGroupSnapshot that owns a snapshot, None when none does."""
    owners = group_owners(snapshot)
    return owners[0].name if owners else None


def member_content_name(snapshot: VolumeSnapshot) -> str | None:
    """Name of the content of a member of a dynamic group: both names end in the same hash. None for a snapshot that is no member."""
    name = meta(snapshot).name or ""
    if not name.startswith(MEMBER_PREFIX) or not (group_owners(snapshot) or IN_GROUP_FINALIZER in finalizers_of(snapshot)):
        return None
    return CONTENT_PREFIX + name.removeprefix(MEMBER_PREFIX)


def names_snapshot(content: VolumeSnapshotContent, snapshot: VolumeSnapshot) -> bool:
    """Whether the content's reference is to this very snapshot, uid included."""
    reference = content.spec.volumeSnapshotRef
    return names_key(content, snapshot) and (reference.uid or "") == uid_of(snapshot)


def names_key(content: VolumeSnapshotContent, snapshot: VolumeSnapshot) -> bool:
    """Whether the content's reference has this snapshot's name and namespace."""
    reference, metadata = content.spec.volumeSnapshotRef, meta(snapshot)
    return (reference.name, reference.namespace) == (metadata.name, metadata.namespace)


def reference_key(content: VolumeSnapshotContent) -> str:
    """`namespace/name` of the snapshot a content is for."""
    reference = content.spec.volumeSnapshotRef
    return f"{reference.namespace or ''}/{reference.name or ''}"


def needs_finalizers(snapshot: VolumeSnapshot) -> bool:
    """Whether a snapshot that is not being deleted lacks a finalizer, as far as the snapshot alone tells.

    With policy Retain the bound finalizer is never set, so a bound snapshot keeps looking incomplete and its content is checked every time.
    """
    if is_deleting(snapshot):
        return False
    held = finalizers_of(snapshot)
    return SOURCE_FINALIZER not in held or (bool(bound_content_name(snapshot)) and BOUND_FINALIZER not in held)


def may_delete(content: VolumeSnapshotContent) -> bool:
    """Whether the sidecar may act on a content's deletionTimestamp.

    Not while a CreateSnapshot of unknown outcome may be in flight, and for a bound content only after its snapshot's deletion was accepted.
    """
    if not is_deleting(content):
        return False
    annotations = annotations_of(content)
    unbound = content.spec.source.snapshotHandle is not None and not content.spec.volumeSnapshotRef.uid
    return unbound or (BEING_CREATED not in annotations and BEING_DELETED in annotations)


def time_of_ns(moment_ns: int) -> datetime.datetime:
    """A content's creationTime as a snapshot carries it: whole seconds."""
    return datetime.datetime.fromtimestamp(moment_ns // NS_PER_S, tz=datetime.UTC)


def strip_parameters(parameters: Mapping[str, str] | None) -> dict[str, str]:
    """Class parameters as the driver gets them. Raises ReconcileError for an unknown key with the reserved prefix."""
    kept: dict[str, str] = {}
    for key, value in (parameters or {}).items():
        if not key.startswith(CSI_PREFIX):
            kept[key] = value
        elif key not in KNOWN_PARAMETERS:
            raise ReconcileError(f'found unknown parameter key "{key}" with reserved namespace {CSI_PREFIX}')
    return kept


def is_default_class(snapshot_class: Any) -> bool:
    """Whether a class is marked as the default of its driver."""
    return annotations_of(snapshot_class).get(DEFAULT_CLASS) == "true"
