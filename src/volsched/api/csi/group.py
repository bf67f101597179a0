"""Messages of the GroupController service: snapshots of several volumes at one instant."""

from __future__ import annotations

import datetime

from volsched.api.csi.common import Message, Rpc, Snapshot


class GroupControllerGetCapabilitiesRequest(Message, frozen=True):
    pass


class GroupControllerServiceCapability(Message, frozen=True):
    rpc: Rpc | None = None


class GroupControllerGetCapabilitiesResponse(Message, frozen=True):
    capabilities: list[GroupControllerServiceCapability] = []


class VolumeGroupSnapshot(Message, frozen=True):
    """Ready once all of `snapshots` are."""

    group_snapshot_id: str = ""
    snapshots: list[Snapshot] = []
    creation_time: datetime.datetime | None = None
    ready_to_use: bool = False


class CreateVolumeGroupSnapshotRequest(Message, frozen=True):
    name: str = ""
    source_volume_ids: list[str] = []
    secrets: dict[str, str] = {}
    parameters: dict[str, str] = {}


class CreateVolumeGroupSnapshotResponse(Message, frozen=True):
    group_snapshot: VolumeGroupSnapshot | None = None


class DeleteVolumeGroupSnapshotRequest(Message, frozen=True):
    group_snapshot_id: str = ""
    snapshot_ids: list[str] = []
    secrets: dict[str, str] = {}


class DeleteVolumeGroupSnapshotResponse(Message, frozen=True):
    pass


class GetVolumeGroupSnapshotRequest(Message, frozen=True):
    group_snapshot_id: str = ""
    snapshot_ids: list[str] = []
    secrets: dict[str, str] = {}


class GetVolumeGroupSnapshotResponse(Message, frozen=True):
    group_snapshot: VolumeGroupSnapshot | None = None
