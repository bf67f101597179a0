"""Names, annotations, finalizers and small questions about group snapshot objects.

A group (VolumeGroupSnapshot) and its content (VolumeGroupSnapshotContent) are to each other what a snapshot and its content are. A member
is an ordinary snapshot with an ordinary content; both names are a hash of the group's uid and the volume's handle, so whoever knows these
two finds them, whatever was written before a crash.

Source: spec/snapshots.md 1.3-1.5; external-snapshotter pkg/utils, groupsnapshot_controller_helper.go.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from typing import Any, Final

from lightkube.models.meta_v1 import LabelSelector, OwnerReference

from volsched.api.edit import annotations_of, finalizers_of, is_deleting, uid_of
from volsched.api.kinds import meta
from volsched.api.snapshot import GROUP_SNAPSHOT_V1, VolumeGroupSnapshot, VolumeGroupSnapshotContent, VolumeSnapshot
from volsched.controllers.csi_common import CSI_PREFIX, SecretParams
from volsched.controllers.snapshot_names import CONTENT_PREFIX, IN_GROUP_FINALIZER, MEMBER_PREFIX, group_owners

GROUP: Final = "VolumeGroupSnapshot"
GROUP_CONTENT: Final = "VolumeGroupSnapshotContent"
GROUP_CLASS: Final = "VolumeGroupSnapshotClass"

_PREFIX: Final = "groupsnapshot.storage.kubernetes.io/"
DEFAULT_GROUP_CLASS: Final = _PREFIX + "is-default-class"
GROUP_BEING_CREATED: Final = _PREFIX + "volumegroupsnapshot-being-created"
GROUP_BEING_DELETED: Final = _PREFIX + "volumegroupsnapshot-being-deleted"
GROUP_SECRET_NAME: Final = _PREFIX + "deletion-secret-name"
GROUP_SECRET_NAMESPACE: Final = _PREFIX + "deletion-secret-namespace"

GROUP_CONTENT_FINALIZER: Final = _PREFIX + "volumegroupsnapshotcontent-bound-protection"
GROUP_BOUND_FINALIZER: Final = _PREFIX + "volumegroupsnapshot-bound-protection"

GROUP_SECRET: Final = SecretParams(
    "GroupSnapshotter", CSI_PREFIX + "group-snapshotter-secret-name", CSI_PREFIX + "group-snapshotter-secret-namespace"
)
GROUP_GET_SECRET: Final = SecretParams(
    "GroupSnapshotterGet", CSI_PREFIX + "group-snapshotter-get-secret-name", CSI_PREFIX + "group-snapshotter-get-secret-namespace"
)


def group_content_name(group: VolumeGroupSnapshot) -> str:
    """Name of the content made for a dynamic group."""
    return f"groupsnapcontent-{uid_of(group)}"


def member_names(group_uid: str, volume_handle: str) -> tuple[str, str]:
    """(snapshot, content) names of the member that is cut from a volume."""
    digest = hashlib.sha256(f"{group_uid}{volume_handle}".encode()).hexdigest()
    return MEMBER_PREFIX + digest, CONTENT_PREFIX + digest


def group_key(group: VolumeGroupSnapshot) -> str:
    """`namespace/name`, as messages print it."""
    metadata = meta(group)
    return f"{metadata.namespace}/{metadata.name}"


def group_reference_key(content: VolumeGroupSnapshotContent) -> str:
    """`namespace/name` of the group a content is for."""
    reference = content.spec.volumeGroupSnapshotRef
    return f"{reference.namespace or ''}/{reference.name or ''}"


def bound_group_content(group: VolumeGroupSnapshot) -> str:
    """Name of the content a group is bound to, empty when it is not."""
    return (group.status.boundVolumeGroupSnapshotContentName if group.status else None) or ""


def is_group_ready(obj: VolumeGroupSnapshot | VolumeGroupSnapshotContent) -> bool:
    """Whether status.readyToUse is true; unset is not."""
    return bool(obj.status and obj.status.readyToUse)


def names_group_key(content: VolumeGroupSnapshotContent, group: VolumeGroupSnapshot) -> bool:
    """Whether the content's reference has this group's name and namespace."""
    reference, metadata = content.spec.volumeGroupSnapshotRef, meta(group)
    return (reference.name, reference.namespace) == (metadata.name, metadata.namespace)


def names_group(content: VolumeGroupSnapshotContent, group: VolumeGroupSnapshot) -> bool:
    """Whether the content's reference is to this very group, uid included."""
    return names_group_key(content, group) and (content.spec.volumeGroupSnapshotRef.uid or "") == uid_of(group)


def owner_of_members(group: VolumeGroupSnapshot) -> OwnerReference:
    """The owner reference that makes a snapshot a member of this group."""
    return OwnerReference(apiVersion=GROUP_SNAPSHOT_V1, kind=GROUP, name=meta(group).name or "", uid=uid_of(group))


def is_member(snapshot: VolumeSnapshot, group: VolumeGroupSnapshot, *, fixed_names: Collection[str]) -> bool:
    """Whether a snapshot of the group's namespace belongs to this group. `fixed_names`: those of the group's known members.

    RULE (spec/snapshots.md 2.7): an owner reference decides; without one the name in the status, or the finalizer with a fixed name.
    """
    owners = group_owners(snapshot)
    if owners:
        return any(owner.uid == uid_of(group) for owner in owners)
    if snapshot.status is not None and snapshot.status.volumeGroupSnapshotName:
        return snapshot.status.volumeGroupSnapshotName == meta(group).name
    return IN_GROUP_FINALIZER in finalizers_of(snapshot) and (meta(snapshot).name or "") in fixed_names


def may_delete_group(content: VolumeGroupSnapshotContent) -> bool:
    """Whether the sidecar may act on a content's deletionTimestamp; as `snapshot_names.may_delete`."""
    if not is_deleting(content):
        return False
    annotations = annotations_of(content)
    unbound = content.spec.source.groupSnapshotHandles is not None and not content.spec.volumeGroupSnapshotRef.uid
    return unbound or (GROUP_BEING_CREATED not in annotations and GROUP_BEING_DELETED in annotations)


def is_default_group_class(group_class: Any) -> bool:
    """Whether a class is marked as the default of its driver."""
    return annotations_of(group_class).get(DEFAULT_GROUP_CLASS) == "true"


def printed_selector(selector: LabelSelector) -> str:
    """A label selector as Go's generated String() prints it."""
    labels = "".join(f"{key}: {value}," for key, value in sorted((selector.matchLabels or {}).items()))
    expressions = "".join(
        f"LabelSelectorRequirement{{Key:{item.key},Operator:{item.operator},Values:[{' '.join(item.values or ())}],}},"
        for item in selector.matchExpressions or ()
    )
    return f"&LabelSelector{{MatchLabels:map[string]string{{{labels}}},MatchExpressions:[]LabelSelectorRequirement{{{expressions}}},}}"
