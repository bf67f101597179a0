"""VolumeSnapshot and VolumeGroupSnapshot kinds as msgspec Structs of the same form as lightkube-models.

Source: snapshot.storage.k8s.io/v1 and groupsnapshot.storage.k8s.io/v1 of kubernetes-csi/external-snapshotter.
Fields that Kubernetes requires are required here; everything else is optional and left out when unset.
"""

from __future__ import annotations

import datetime

import msgspec
from lightkube.models.meta_v1 import LabelSelector, ObjectMeta

SNAPSHOT_V1 = "snapshot.storage.k8s.io/v1"
GROUP_SNAPSHOT_V1 = "groupsnapshot.storage.k8s.io/v1"


class _Part(msgspec.Struct, omit_defaults=True, kw_only=True):
    """Common form: keyword only, unset fields left out of the encoding."""


class VolumeSnapshotError(_Part):
    """`time` is when the error was seen."""

    message: str | None = None
    time: datetime.datetime | None = None


class VolumeSnapshotSource(_Part):
    """Exactly one of the two is set (checked by validation, not by decoding)."""

    persistentVolumeClaimName: str | None = None
    volumeSnapshotContentName: str | None = None


class VolumeSnapshotSpec(_Part):
    source: VolumeSnapshotSource
    volumeSnapshotClassName: str | None = None


class VolumeSnapshotStatus(_Part):
    """`restoreSize` is a quantity; `creationTime` the point in time of the cut."""

    boundVolumeSnapshotContentName: str | None = None
    creationTime: datetime.datetime | None = None
    error: VolumeSnapshotError | None = None
    readyToUse: bool | None = None
    restoreSize: str | None = None
    volumeGroupSnapshotName: str | None = None


class VolumeSnapshot(_Part):
    spec: VolumeSnapshotSpec
    apiVersion: str | None = None
    kind: str | None = None
    metadata: ObjectMeta | None = None
    status: VolumeSnapshotStatus | None = None


class VolumeSnapshotReference(_Part):
    """The VolumeSnapshot a content belongs to; without `uid` the content is not bound yet."""

    apiVersion: str | None = None
    fieldPath: str | None = None
    kind: str | None = None
    name: str | None = None
    namespace: str | None = None
    resourceVersion: str | None = None
    uid: str | None = None


class VolumeSnapshotContentSource(_Part):
    """`volumeHandle`: to be cut from that volume. `snapshotHandle`: exists already in the backend."""

    snapshotHandle: str | None = None
    volumeHandle: str | None = None


class VolumeSnapshotContentSpec(_Part):
    deletionPolicy: str
    driver: str
    source: VolumeSnapshotContentSource
    volumeSnapshotRef: VolumeSnapshotReference
    sourceVolumeMode: str | None = None
    volumeSnapshotClassName: str | None = None


class VolumeSnapshotContentStatus(_Part):
    """`creationTime` in nanoseconds since the epoch, `restoreSize` in bytes."""

    creationTime: int | None = None
    error: VolumeSnapshotError | None = None
    readyToUse: bool | None = None
    restoreSize: int | None = None
    snapshotHandle: str | None = None
    volumeGroupSnapshotHandle: str | None = None


class VolumeSnapshotContent(_Part):
    spec: VolumeSnapshotContentSpec
    apiVersion: str | None = None
    kind: str | None = None
    metadata: ObjectMeta | None = None
    status: VolumeSnapshotContentStatus | None = None


class VolumeSnapshotClass(_Part):
    deletionPolicy: str
    driver: str
    apiVersion: str | None = None
    kind: str | None = None
    metadata: ObjectMeta | None = None
    parameters: dict[str, str] | None = None


class VolumeGroupSnapshotSource(_Part):
    """Exactly one of the two is set."""

    selector: LabelSelector | None = None
    volumeGroupSnapshotContentName: str | None = None


class VolumeGroupSnapshotSpec(_Part):
    source: VolumeGroupSnapshotSource
    volumeGroupSnapshotClassName: str | None = None


class VolumeGroupSnapshotStatus(_Part):
    boundVolumeGroupSnapshotContentName: str | None = None
    creationTime: datetime.datetime | None = None
    error: VolumeSnapshotError | None = None
    readyToUse: bool | None = None


class VolumeGroupSnapshot(_Part):
    spec: VolumeGroupSnapshotSpec
    apiVersion: str | None = None
    kind: str | None = None
    metadata: ObjectMeta | None = None
    status: VolumeGroupSnapshotStatus | None = None


class GroupSnapshotHandles(_Part):
    volumeGroupSnapshotHandle: str
    volumeSnapshotHandles: list[str]


class VolumeGroupSnapshotContentSource(_Part):
    """`volumeHandles`: to be cut. `groupSnapshotHandles`: exist already in the backend."""

    groupSnapshotHandles: GroupSnapshotHandles | None = None
    volumeHandles: list[str] | None = None


class VolumeGroupSnapshotContentSpec(_Part):
    deletionPolicy: str
    driver: str
    source: VolumeGroupSnapshotContentSource
    volumeGroupSnapshotRef: VolumeSnapshotReference
    volumeGroupSnapshotClassName: str | None = None


class VolumeSnapshotInfo(_Part):
    """One member of a group: `creationTime` nanoseconds since the epoch, `restoreSize` bytes."""

    creationTime: int | None = None
    readyToUse: bool | None = None
    restoreSize: int | None = None
    snapshotHandle: str | None = None
    volumeHandle: str | None = None


class VolumeGroupSnapshotContentStatus(_Part):
    creationTime: datetime.datetime | None = None
    error: VolumeSnapshotError | None = None
    readyToUse: bool | None = None
    volumeGroupSnapshotHandle: str | None = None
    volumeSnapshotInfoList: list[VolumeSnapshotInfo] | None = None


class VolumeGroupSnapshotContent(_Part):
    spec: VolumeGroupSnapshotContentSpec
    apiVersion: str | None = None
    kind: str | None = None
    metadata: ObjectMeta | None = None
    status: VolumeGroupSnapshotContentStatus | None = None


class VolumeGroupSnapshotClass(_Part):
    deletionPolicy: str
    driver: str
    apiVersion: str | None = None
    kind: str | None = None
    metadata: ObjectMeta | None = None
    parameters: dict[str, str] | None = None
