"""The members of a dynamic group: one ordinary snapshot with its content for each volume, made from the list the sidecar wrote.

    for each entry:  content ─> snapshot ─> content.uid ─> snapshot.status.bound ─> content.status

Both names are fixed by the group's uid and the volume's handle, and every step looks at a fresh read first, so a pass that was cut short
anywhere is taken up where it stopped, and a pass over a finished group writes nothing. An object of such a name that is not this group's is
never taken over. Source: spec/snapshots.md 2.7 g3; external-snapshotter createSnapshotsForGroupSnapshotContent.

The secret that deletes members is the one the group's content names: upstream resolves the class's templates a second time, without the
group, and so cannot expand `${volumegroupsnapshot.name}` there.
"""

from __future__ import annotations

from typing import Any

from lightkube.models.core_v1 import PersistentVolume
from lightkube.models.meta_v1 import ObjectMeta

from volsched.api.edit import annotations_of, uid_of
from volsched.api.kinds import meta
from volsched.api.snapshot import (
    SNAPSHOT_V1,
    VolumeGroupSnapshot,
    VolumeGroupSnapshotContent,
    VolumeSnapshot,
    VolumeSnapshotContent,
    VolumeSnapshotContentSource,
    VolumeSnapshotContentSpec,
    VolumeSnapshotInfo,
    VolumeSnapshotReference,
    VolumeSnapshotSource,
    VolumeSnapshotSpec,
)
from volsched.controllers.csi_common import amend, patch_of
from volsched.controllers.snapshot_group_names import (
    GROUP_SECRET_NAME,
    GROUP_SECRET_NAMESPACE,
    group_key,
    is_member,
    member_names,
    owner_of_members,
)
from volsched.controllers.snapshot_group_status import member_content_status, member_status
from volsched.controllers.snapshot_names import DELETION_SECRET_NAME, DELETION_SECRET_NAMESPACE, GROUP_MEMBER, IN_GROUP_FINALIZER
from volsched.controllers.snapshot_status import content_status_body, snapshot_status_body
from volsched.errors import AlreadyExistsError, NotFoundError, ReconcileError
from volsched.ports import Create, Intent, ListAll, Read, Steps


def get_or_create(obj: Any, kind: str) -> Steps[Any]:
    """The stored object of this name, created if there is none."""
    namespace, name = meta(obj).namespace or "", meta(obj).name or ""
    try:
        return (yield Read(kind, namespace, name))
    except NotFoundError:
        pass
    try:
        return (yield Create(obj))
    except AlreadyExistsError:
        return (yield Read(kind, namespace, name))


def complete_members(group: VolumeGroupSnapshot, content: VolumeGroupSnapshotContent) -> Steps[None]:
    """Make whatever is missing of the group's members; nothing before the sidecar has written handle and list."""
    status = content.status
    if status is None or not status.volumeGroupSnapshotHandle or not status.volumeSnapshotInfoList:
        return
    volumes: list[PersistentVolume] = yield ListAll("PersistentVolume")
    for entry in status.volumeSnapshotInfoList:
        volume = _volume_of(volumes, content.spec.driver, entry.volumeHandle or "")
        yield from _complete_member(group, content, entry, volume, group_handle=status.volumeGroupSnapshotHandle)


def _volume_of(volumes: list[PersistentVolume], driver: str, handle: str) -> PersistentVolume | None:
    """The only PersistentVolume of a driver's volume; None when there is none, or more than one."""
    found = [pv for pv in volumes if pv.spec and pv.spec.csi and (pv.spec.csi.driver, pv.spec.csi.volumeHandle) == (driver, handle)]
    return found[0] if len(found) == 1 else None


def _complete_member(
    group: VolumeGroupSnapshot,
    content: VolumeGroupSnapshotContent,
    entry: VolumeSnapshotInfo,
    volume: PersistentVolume | None,
    *,
    group_handle: str,
) -> Steps[None]:
    snapshot_name, content_name = member_names(uid_of(group), entry.volumeHandle or "")
    wanted = _member_content(content, entry, volume, names=(snapshot_name, content_name), group_handle=group_handle)
    theirs: VolumeSnapshotContent = yield from get_or_create(wanted, "VolumeSnapshotContent")
    if theirs.spec.source != wanted.spec.source or not _refers_to(theirs, wanted.spec.volumeSnapshotRef):
        raise ReconcileError(f"VolumeSnapshotContent {content_name} is not that of a member of group snapshot {group_key(group)}")
    snapshot: VolumeSnapshot = yield from get_or_create(_member_snapshot(group, volume, name=snapshot_name), "VolumeSnapshot")
    if not is_member(snapshot, group, fixed_names={snapshot_name}):
        raise ReconcileError(f"VolumeSnapshot {meta(group).namespace}/{snapshot_name} is not a member of group snapshot {group_key(group)}")
    theirs = yield from amend(theirs, lambda current: _with_uid(current, uid_of(snapshot)))
    yield from amend(snapshot, lambda current: _bound(current, content_name))
    yield from amend(theirs, lambda current: _with_handles(current, entry, group_handle))


def _refers_to(content: VolumeSnapshotContent, reference: VolumeSnapshotReference) -> bool:
    ours = content.spec.volumeSnapshotRef
    return (ours.namespace, ours.name) == (reference.namespace, reference.name)


def _with_uid(content: VolumeSnapshotContent, uid: str) -> Intent | None:
    if content.spec.volumeSnapshotRef.uid == uid:
        return None
    return patch_of(content, {"spec": {"volumeSnapshotRef": {"uid": uid}}})


def _bound(snapshot: VolumeSnapshot, content_name: str) -> Intent | None:
    status = member_status(snapshot.status, content_name)
    return None if status == snapshot.status else patch_of(snapshot, snapshot_status_body(snapshot.status, status), status=True)


def _with_handles(content: VolumeSnapshotContent, entry: VolumeSnapshotInfo, group_handle: str) -> Intent | None:
    status = member_content_status(content.status, entry, group_handle=group_handle)
    return None if status == content.status else patch_of(content, content_status_body(content.status, status), status=True)


def _member_content(
    group_content: VolumeGroupSnapshotContent,
    entry: VolumeSnapshotInfo,
    volume: PersistentVolume | None,
    *,
    names: tuple[str, str],
    group_handle: str,
) -> VolumeSnapshotContent:
    annotations = {GROUP_MEMBER: group_handle}
    theirs = annotations_of(group_content)
    if GROUP_SECRET_NAME in theirs and GROUP_SECRET_NAMESPACE in theirs:
        annotations |= {DELETION_SECRET_NAME: theirs[GROUP_SECRET_NAME], DELETION_SECRET_NAMESPACE: theirs[GROUP_SECRET_NAMESPACE]}
    return VolumeSnapshotContent(
        apiVersion=SNAPSHOT_V1,
        kind="VolumeSnapshotContent",
        metadata=ObjectMeta(name=names[1], annotations=annotations),
        spec=VolumeSnapshotContentSpec(
            deletionPolicy=group_content.spec.deletionPolicy,
            driver=group_content.spec.driver,
            source=VolumeSnapshotContentSource(volumeHandle=entry.volumeHandle),
            sourceVolumeMode=volume.spec.volumeMode if volume and volume.spec else None,
            volumeSnapshotRef=VolumeSnapshotReference(
                kind="VolumeSnapshot", name=names[0], namespace=group_content.spec.volumeGroupSnapshotRef.namespace
            ),
        ),
    )


def _member_snapshot(group: VolumeGroupSnapshot, volume: PersistentVolume | None, *, name: str) -> VolumeSnapshot:
    reference = volume.spec.claimRef if volume and volume.spec else None
    return VolumeSnapshot(
        apiVersion=SNAPSHOT_V1,
        kind="VolumeSnapshot",
        metadata=ObjectMeta(
            name=name, namespace=meta(group).namespace, ownerReferences=[owner_of_members(group)], finalizers=[IN_GROUP_FINALIZER]
        ),
        # set but empty where the volume has no known claim: a snapshot has to name one of its two sources
        spec=VolumeSnapshotSpec(source=VolumeSnapshotSource(persistentVolumeClaimName=(reference.name if reference else None) or "")),
    )
