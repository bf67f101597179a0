"""Status of snapshots and contents, computed: what to copy from a content to its snapshot, and what a driver's answer makes of a content.

Pure: objects in, new status out; equal to the old one means nothing is to be written. Fields once set are kept, except readiness, error
and a size of zero. Source: spec/snapshots.md 2.2.1 and 2.5.1 step 5; external-snapshotter updateSnapshotStatus and its content twin.
"""

from __future__ import annotations

import datetime
from typing import NamedTuple

import msgspec

from volsched.api.edit import replace
from volsched.api.kinds import Json
from volsched.api.quantity import Quantity
from volsched.api.quantity import parse as parse_quantity
from volsched.api.snapshot import (
    VolumeSnapshot,
    VolumeSnapshotContent,
    VolumeSnapshotContentStatus,
    VolumeSnapshotError,
    VolumeSnapshotStatus,
)
from volsched.controllers.snapshot_names import time_of_ns


class Copied(NamedTuple):
    """A snapshot's status after copying; `created` and `became_ready`: this copy is the one to announce it."""

    status: VolumeSnapshotStatus
    created: bool
    became_ready: bool


def _is_zero(size: str | None) -> bool:
    return size is not None and not parse_quantity(size)


def copied_status(snapshot: VolumeSnapshot, content: VolumeSnapshotContent, *, group_name: str | None) -> Copied:
    """The snapshot's status with everything the content tells.

    `group_name`: the VolumeGroupSnapshot the content's group handle leads to, None when there is none.
    """
    old = snapshot.status or VolumeSnapshotStatus()
    theirs = content.status or VolumeSnapshotContentStatus()
    ready = bool(theirs.readyToUse)
    created = old.creationTime is None and theirs.creationTime is not None
    size = old.restoreSize
    if theirs.restoreSize is not None and (size is None or (_is_zero(size) and theirs.restoreSize > 0)):
        size = str(Quantity.of_bytes(theirs.restoreSize))
    status = VolumeSnapshotStatus(
        boundVolumeSnapshotContentName=old.boundVolumeSnapshotContentName or (content.metadata.name if content.metadata else None),
        creationTime=time_of_ns(theirs.creationTime) if created and theirs.creationTime is not None else old.creationTime,
        error=theirs.error,
        readyToUse=ready,
        restoreSize=size,
        volumeGroupSnapshotName=old.volumeGroupSnapshotName or group_name,
    )
    return Copied(status, created, became_ready=ready and not old.readyToUse)


def failed_snapshot_status(
    old: VolumeSnapshotStatus | None, message: str, now: datetime.datetime, *, lower_ready: bool
) -> VolumeSnapshotStatus | None:
    """A snapshot's status with an error, None when exactly this error is there already."""
    status = old or VolumeSnapshotStatus()
    if status.error is not None and status.error.message == message:
        return None
    status = replace(status, error=VolumeSnapshotError(message=message, time=now))
    return replace(status, readyToUse=False) if lower_ready else status


def failed_content_status(
    old: VolumeSnapshotContentStatus | None, message: str, now: datetime.datetime
) -> VolumeSnapshotContentStatus | None:
    """A content's status with an error and not ready, None when exactly this error is there already."""
    status = old or VolumeSnapshotContentStatus()
    if status.error is not None and status.error.message == message:
        return None
    return replace(status, error=VolumeSnapshotError(message=message, time=now), readyToUse=False)


class Cut(NamedTuple):
    """What a driver says of a snapshot. `size_bytes` 0: it does not say."""

    handle: str
    creation_time_ns: int
    size_bytes: int
    ready: bool
    group_handle: str = ""


def cut_status(old: VolumeSnapshotContentStatus | None, cut: Cut) -> VolumeSnapshotContentStatus:
    """A content's status after the driver's answer. An error stays until the snapshot becomes ready."""
    status = old or VolumeSnapshotContentStatus()
    became_ready = cut.ready and status.readyToUse is not True
    return VolumeSnapshotContentStatus(
        creationTime=cut.creation_time_ns if status.creationTime is None else status.creationTime,
        error=None if became_ready else status.error,
        readyToUse=cut.ready,
        restoreSize=cut.size_bytes if status.restoreSize is None and cut.size_bytes > 0 else status.restoreSize,
        snapshotHandle=cut.handle if status.snapshotHandle is None else status.snapshotHandle,
        volumeGroupSnapshotHandle=status.volumeGroupSnapshotHandle or cut.group_handle or None,
    )


def cleared_status(old: VolumeSnapshotContentStatus | None) -> VolumeSnapshotContentStatus | None:
    """A content's status after its backend snapshot was deleted."""
    return old and replace(old, snapshotHandle=None, readyToUse=None, creationTime=None, restoreSize=None)


def content_status_body(old: VolumeSnapshotContentStatus | None, new: VolumeSnapshotContentStatus) -> dict[str, Json]:
    """A merge patch from one status of a content to another: what is gone is named, as null."""
    return status_body(old or VolumeSnapshotContentStatus(), new)


def snapshot_status_body(old: VolumeSnapshotStatus | None, new: VolumeSnapshotStatus) -> dict[str, Json]:
    """A merge patch from one status of a snapshot to another: what is gone is named, as null."""
    return status_body(old or VolumeSnapshotStatus(), new)


def status_body(old: msgspec.Struct, new: msgspec.Struct) -> dict[str, Json]:
    """A merge patch from one status to another: what is gone is named, as null."""
    before: dict[str, Json] = msgspec.to_builtins(old)
    after: dict[str, Json] = msgspec.to_builtins(new)
    return {"status": {**dict.fromkeys(before), **after}}
