"""Status of groups, their contents and their members, computed: objects in, new status out; equal to the old means nothing to write.

Fields once set are kept, except readiness and error. A member is never lowered from ready, whatever the group's list said when it was
written (RULE of spec/snapshots.md 2.7 g3). Source: updateGroupSnapshotStatus, updateGroupSnapshotContentStatus of external-snapshotter.
"""

from __future__ import annotations

import datetime
from typing import NamedTuple

from volsched.api.edit import replace
from volsched.api.kinds import meta
from volsched.api.snapshot import (
    VolumeGroupSnapshot,
    VolumeGroupSnapshotContent,
    VolumeGroupSnapshotContentStatus,
    VolumeGroupSnapshotStatus,
    VolumeSnapshotContentStatus,
    VolumeSnapshotError,
    VolumeSnapshotInfo,
    VolumeSnapshotStatus,
)


class CopiedGroup(NamedTuple):
    """A group's status after copying; `created` and `became_ready`: this copy is the one to announce it."""

    status: VolumeGroupSnapshotStatus
    created: bool
    became_ready: bool


def copied_group_status(group: VolumeGroupSnapshot, content: VolumeGroupSnapshotContent) -> CopiedGroup:
    """The group's status with everything the content tells."""
    old = group.status or VolumeGroupSnapshotStatus()
    theirs = content.status or VolumeGroupSnapshotContentStatus()
    ready = bool(theirs.readyToUse)
    status = VolumeGroupSnapshotStatus(
        boundVolumeGroupSnapshotContentName=old.boundVolumeGroupSnapshotContentName or meta(content).name,
        creationTime=old.creationTime or theirs.creationTime,
        error=theirs.error,
        readyToUse=ready,
    )
    created = old.creationTime is None and theirs.creationTime is not None
    return CopiedGroup(status, created, became_ready=ready and not old.readyToUse)


def failed_group_status(
    old: VolumeGroupSnapshotStatus | None, message: str, now: datetime.datetime, *, lower_ready: bool
) -> VolumeGroupSnapshotStatus | None:
    """A group's status with an error, None when exactly this error is there already."""
    status = old or VolumeGroupSnapshotStatus()
    if status.error is not None and status.error.message == message:
        return None
    status = replace(status, error=VolumeSnapshotError(message=message, time=now))
    return replace(status, readyToUse=False) if lower_ready else status


def failed_group_content_status(
    old: VolumeGroupSnapshotContentStatus | None, message: str, now: datetime.datetime
) -> VolumeGroupSnapshotContentStatus | None:
    """A content's status with an error and not ready, None when exactly this error is there already."""
    status = old or VolumeGroupSnapshotContentStatus()
    if status.error is not None and status.error.message == message:
        return None
    return replace(status, error=VolumeSnapshotError(message=message, time=now), readyToUse=False)


class GroupCut(NamedTuple):
    """What a driver says of a group."""

    handle: str
    creation_time: datetime.datetime
    ready: bool
    members: list[VolumeSnapshotInfo]


def cut_group_status(old: VolumeGroupSnapshotContentStatus | None, cut: GroupCut) -> VolumeGroupSnapshotContentStatus:
    """A content's status after the driver's answer. The list of members is filled once; an error stays until the group becomes ready."""
    status = old or VolumeGroupSnapshotContentStatus()
    became_ready = cut.ready and status.readyToUse is not True
    return VolumeGroupSnapshotContentStatus(
        creationTime=status.creationTime or cut.creation_time,
        error=None if became_ready else status.error,
        readyToUse=cut.ready,
        volumeGroupSnapshotHandle=status.volumeGroupSnapshotHandle or cut.handle,
        volumeSnapshotInfoList=status.volumeSnapshotInfoList or cut.members or None,
    )


def cleared_group_status(old: VolumeGroupSnapshotContentStatus | None) -> VolumeGroupSnapshotContentStatus | None:
    """A content's status after its backend group was deleted; the list of members stays."""
    return old and replace(old, volumeGroupSnapshotHandle=None, readyToUse=None, creationTime=None, error=None)


def member_status(old: VolumeSnapshotStatus | None, content_name: str) -> VolumeSnapshotStatus:
    """A member snapshot's status once it is bound to its content. RULE: what is there already stays."""
    status = old or VolumeSnapshotStatus()
    return replace(status, boundVolumeSnapshotContentName=status.boundVolumeSnapshotContentName or content_name)


def member_content_status(
    old: VolumeSnapshotContentStatus | None, entry: VolumeSnapshotInfo, *, group_handle: str
) -> VolumeSnapshotContentStatus:
    """A member content's status with what its group knows of it. RULE: a member that is ready stays ready."""
    status = old or VolumeSnapshotContentStatus()
    return VolumeSnapshotContentStatus(
        creationTime=entry.creationTime if status.creationTime is None else status.creationTime,
        error=status.error,
        readyToUse=bool(status.readyToUse or entry.readyToUse),
        restoreSize=entry.restoreSize if status.restoreSize is None else status.restoreSize,
        snapshotHandle=status.snapshotHandle or entry.snapshotHandle,
        volumeGroupSnapshotHandle=status.volumeGroupSnapshotHandle or group_handle,
    )
