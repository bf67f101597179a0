"""The base of all CSI messages, and the messages that several services share."""

from __future__ import annotations

import datetime
from typing import Annotated

import msgspec

Int64 = Annotated[int, msgspec.Meta(extra={"wire": "int64"})]


class Message(msgspec.Struct, omit_defaults=True, kw_only=True, rename="camel", frozen=True):
    """Base of all CSI messages."""


class Topology(Message, frozen=True):
    segments: dict[str, str] = {}


class TopologyRequirement(Message, frozen=True):
    requisite: list[Topology] = []
    preferred: list[Topology] = []


class CapacityRange(Message, frozen=True):
    """Bytes; 0 = not given."""

    required_bytes: Int64 = 0
    limit_bytes: Int64 = 0


class BlockVolume(Message, frozen=True):
    pass


class MountVolume(Message, frozen=True):
    fs_type: str = ""
    mount_flags: list[str] = []
    volume_mount_group: str = ""


class AccessMode(Message, frozen=True):
    """`mode` is one of UNKNOWN, SINGLE_NODE_WRITER, SINGLE_NODE_READER_ONLY, MULTI_NODE_READER_ONLY, MULTI_NODE_SINGLE_WRITER,
    MULTI_NODE_MULTI_WRITER, SINGLE_NODE_SINGLE_WRITER, SINGLE_NODE_MULTI_WRITER."""

    mode: str = "UNKNOWN"


class VolumeCapability(Message, frozen=True):
    """Exactly one of `block` and `mount`."""

    block: BlockVolume | None = None
    mount: MountVolume | None = None
    access_mode: AccessMode | None = None


class SnapshotSource(Message, frozen=True):
    snapshot_id: str = ""


class VolumeSource(Message, frozen=True):
    volume_id: str = ""


class VolumeContentSource(Message, frozen=True):
    """Exactly one of the two."""

    snapshot: SnapshotSource | None = None
    volume: VolumeSource | None = None


class Volume(Message, frozen=True):
    capacity_bytes: Int64 = 0
    volume_id: str = ""
    volume_context: dict[str, str] = {}
    content_source: VolumeContentSource | None = None
    accessible_topology: list[Topology] = []


class Snapshot(Message, frozen=True):
    size_bytes: Int64 = 0
    snapshot_id: str = ""
    source_volume_id: str = ""
    creation_time: datetime.datetime | None = None
    ready_to_use: bool = False
    group_snapshot_id: str = ""
    accessible_topology: list[Topology] = []  # v1.13; empty = everywhere


class VolumeCondition(Message, frozen=True):
    abnormal: bool = False
    message: str = ""


class Rpc(Message, frozen=True):
    """`type` by the names of the capability enums: CREATE_DELETE_VOLUME, STAGE_UNSTAGE_VOLUME, …"""

    type: str = "UNKNOWN"
