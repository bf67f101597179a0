"""CSI messages as plain Structs, by the names of the CSI specification v1.12 (package csi.v1).

Both transports carry these: the gRPC client and server turn them into protobuf, the in-process transport passes them on.
`rename="camel"` gives protobuf's JSON names. Integers that are int64 on the wire are `Int64`: protobuf JSON prints them as strings.
Enum values are their protobuf names. Unset message fields are None; unset scalars have the proto3 default and are left out.
"""

from __future__ import annotations

import datetime
from typing import Annotated, Any, Final

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


class VolumeCondition(Message, frozen=True):
    abnormal: bool = False
    message: str = ""


# Identity


class GetPluginInfoRequest(Message, frozen=True):
    pass


class GetPluginInfoResponse(Message, frozen=True):
    name: str = ""
    vendor_version: str = ""
    manifest: dict[str, str] = {}


class GetPluginCapabilitiesRequest(Message, frozen=True):
    pass


class PluginService(Message, frozen=True):
    """`type`: UNKNOWN, CONTROLLER_SERVICE, VOLUME_ACCESSIBILITY_CONSTRAINTS, GROUP_CONTROLLER_SERVICE, SNAPSHOT_METADATA_SERVICE."""

    type: str = "UNKNOWN"


class PluginVolumeExpansion(Message, frozen=True):
    """`type`: UNKNOWN, ONLINE, OFFLINE."""

    type: str = "UNKNOWN"


class PluginCapability(Message, frozen=True):
    service: PluginService | None = None
    volume_expansion: PluginVolumeExpansion | None = None


class GetPluginCapabilitiesResponse(Message, frozen=True):
    capabilities: list[PluginCapability] = []


class ProbeRequest(Message, frozen=True):
    pass


class ProbeResponse(Message, frozen=True):
    """`ready` None = ready."""

    ready: bool | None = None


# Controller


class ControllerGetCapabilitiesRequest(Message, frozen=True):
    pass


class Rpc(Message, frozen=True):
    """`type` by the names of the capability enums: CREATE_DELETE_VOLUME, STAGE_UNSTAGE_VOLUME, …"""

    type: str = "UNKNOWN"


class ControllerServiceCapability(Message, frozen=True):
    rpc: Rpc | None = None


class ControllerGetCapabilitiesResponse(Message, frozen=True):
    capabilities: list[ControllerServiceCapability] = []


class CreateVolumeRequest(Message, frozen=True):
    name: str = ""
    capacity_range: CapacityRange | None = None
    volume_capabilities: list[VolumeCapability] = []
    parameters: dict[str, str] = {}
    secrets: dict[str, str] = {}
    volume_content_source: VolumeContentSource | None = None
    accessibility_requirements: TopologyRequirement | None = None
    mutable_parameters: dict[str, str] = {}


class CreateVolumeResponse(Message, frozen=True):
    volume: Volume | None = None


class DeleteVolumeRequest(Message, frozen=True):
    volume_id: str = ""
    secrets: dict[str, str] = {}


class DeleteVolumeResponse(Message, frozen=True):
    pass


class ControllerPublishVolumeRequest(Message, frozen=True):
    volume_id: str = ""
    node_id: str = ""
    volume_capability: VolumeCapability | None = None
    readonly: bool = False
    secrets: dict[str, str] = {}
    volume_context: dict[str, str] = {}


class ControllerPublishVolumeResponse(Message, frozen=True):
    publish_context: dict[str, str] = {}


class ControllerUnpublishVolumeRequest(Message, frozen=True):
    volume_id: str = ""
    node_id: str = ""
    secrets: dict[str, str] = {}


class ControllerUnpublishVolumeResponse(Message, frozen=True):
    pass


class ValidateVolumeCapabilitiesRequest(Message, frozen=True):
    volume_id: str = ""
    volume_context: dict[str, str] = {}
    volume_capabilities: list[VolumeCapability] = []
    parameters: dict[str, str] = {}
    secrets: dict[str, str] = {}
    mutable_parameters: dict[str, str] = {}


class ConfirmedCapabilities(Message, frozen=True):
    volume_context: dict[str, str] = {}
    volume_capabilities: list[VolumeCapability] = []
    parameters: dict[str, str] = {}
    mutable_parameters: dict[str, str] = {}


class ValidateVolumeCapabilitiesResponse(Message, frozen=True):
    confirmed: ConfirmedCapabilities | None = None
    message: str = ""


class ListVolumesRequest(Message, frozen=True):
    max_entries: int = 0
    starting_token: str = ""


class VolumeStatus(Message, frozen=True):
    published_node_ids: list[str] = []
    volume_condition: VolumeCondition | None = None


class ListVolumesEntry(Message, frozen=True):
    volume: Volume | None = None
    status: VolumeStatus | None = None


class ListVolumesResponse(Message, frozen=True):
    entries: list[ListVolumesEntry] = []
    next_token: str = ""


class ControllerGetVolumeRequest(Message, frozen=True):
    volume_id: str = ""


class ControllerGetVolumeResponse(Message, frozen=True):
    volume: Volume | None = None
    status: VolumeStatus | None = None


class ControllerModifyVolumeRequest(Message, frozen=True):
    volume_id: str = ""
    secrets: dict[str, str] = {}
    mutable_parameters: dict[str, str] = {}


class ControllerModifyVolumeResponse(Message, frozen=True):
    pass


class GetCapacityRequest(Message, frozen=True):
    volume_capabilities: list[VolumeCapability] = []
    parameters: dict[str, str] = {}
    accessible_topology: Topology | None = None


class GetCapacityResponse(Message, frozen=True):
    """`maximum_volume_size` and `minimum_volume_size` are Int64Value messages: None = unset."""

    available_capacity: Int64 = 0
    maximum_volume_size: Int64 | None = None
    minimum_volume_size: Int64 | None = None


class CreateSnapshotRequest(Message, frozen=True):
    source_volume_id: str = ""
    name: str = ""
    secrets: dict[str, str] = {}
    parameters: dict[str, str] = {}


class CreateSnapshotResponse(Message, frozen=True):
    snapshot: Snapshot | None = None


class DeleteSnapshotRequest(Message, frozen=True):
    snapshot_id: str = ""
    secrets: dict[str, str] = {}


class DeleteSnapshotResponse(Message, frozen=True):
    pass


class ListSnapshotsRequest(Message, frozen=True):
    max_entries: int = 0
    starting_token: str = ""
    source_volume_id: str = ""
    snapshot_id: str = ""
    secrets: dict[str, str] = {}


class ListSnapshotsEntry(Message, frozen=True):
    snapshot: Snapshot | None = None


class ListSnapshotsResponse(Message, frozen=True):
    entries: list[ListSnapshotsEntry] = []
    next_token: str = ""


class GetSnapshotRequest(Message, frozen=True):
    snapshot_id: str = ""
    secrets: dict[str, str] = {}


class GetSnapshotResponse(Message, frozen=True):
    snapshot: Snapshot | None = None


class ControllerExpandVolumeRequest(Message, frozen=True):
    volume_id: str = ""
    capacity_range: CapacityRange | None = None
    secrets: dict[str, str] = {}
    volume_capability: VolumeCapability | None = None


class ControllerExpandVolumeResponse(Message, frozen=True):
    capacity_bytes: Int64 = 0
    node_expansion_required: bool = False


# Node


class NodeStageVolumeRequest(Message, frozen=True):
    volume_id: str = ""
    publish_context: dict[str, str] = {}
    staging_target_path: str = ""
    volume_capability: VolumeCapability | None = None
    secrets: dict[str, str] = {}
    volume_context: dict[str, str] = {}


class NodeStageVolumeResponse(Message, frozen=True):
    pass


class NodeUnstageVolumeRequest(Message, frozen=True):
    volume_id: str = ""
    staging_target_path: str = ""


class NodeUnstageVolumeResponse(Message, frozen=True):
    pass


class NodePublishVolumeRequest(Message, frozen=True):
    volume_id: str = ""
    publish_context: dict[str, str] = {}
    staging_target_path: str = ""
    target_path: str = ""
    volume_capability: VolumeCapability | None = None
    readonly: bool = False
    secrets: dict[str, str] = {}
    volume_context: dict[str, str] = {}


class NodePublishVolumeResponse(Message, frozen=True):
    pass


class NodeUnpublishVolumeRequest(Message, frozen=True):
    volume_id: str = ""
    target_path: str = ""


class NodeUnpublishVolumeResponse(Message, frozen=True):
    pass


class NodeGetVolumeStatsRequest(Message, frozen=True):
    volume_id: str = ""
    volume_path: str = ""
    staging_target_path: str = ""


class VolumeUsage(Message, frozen=True):
    """`unit`: UNKNOWN, BYTES, INODES."""

    available: Int64 = 0
    total: Int64 = 0
    used: Int64 = 0
    unit: str = "UNKNOWN"


class NodeGetVolumeStatsResponse(Message, frozen=True):
    usage: list[VolumeUsage] = []
    volume_condition: VolumeCondition | None = None


class NodeExpandVolumeRequest(Message, frozen=True):
    volume_id: str = ""
    volume_path: str = ""
    capacity_range: CapacityRange | None = None
    staging_target_path: str = ""
    volume_capability: VolumeCapability | None = None
    secrets: dict[str, str] = {}


class NodeExpandVolumeResponse(Message, frozen=True):
    capacity_bytes: Int64 = 0


class NodeGetCapabilitiesRequest(Message, frozen=True):
    pass


class NodeServiceCapability(Message, frozen=True):
    rpc: Rpc | None = None


class NodeGetCapabilitiesResponse(Message, frozen=True):
    capabilities: list[NodeServiceCapability] = []


class NodeGetInfoRequest(Message, frozen=True):
    pass


class NodeGetInfoResponse(Message, frozen=True):
    """`max_volumes_per_node` 0 = unlimited."""

    node_id: str = ""
    max_volumes_per_node: Int64 = 0
    accessible_topology: Topology | None = None


_IDENTITY: Final = ("GetPluginInfo", "GetPluginCapabilities", "Probe")


def service_of(method: str) -> str:
    """The gRPC service of a method: `CreateVolume` → `Controller`."""
    if method in _IDENTITY:
        return "Identity"
    return "Node" if method.startswith("Node") else "Controller"


def full_method(method: str) -> str:
    """Full gRPC path: `CreateVolume` → `/csi.v1.Controller/CreateVolume`."""
    return f"/csi.v1.{service_of(method)}/{method}"


# Every method with its request and response type, by name: CreateVolume → (CreateVolumeRequest, CreateVolumeResponse).
METHODS: Final[dict[str, tuple[type[Message], type[Message]]]] = {
    name.removesuffix("Request"): (request, globals()[name.removesuffix("Request") + "Response"])
    for name, request in list(globals().items())
    if name.endswith("Request")
}


def _wire_json(value: Any, kind: Any) -> Any:
    """One value of `msgspec.json.schema`-less introspection, as protobuf JSON."""
    if isinstance(value, Message):
        return wire_json(value)
    if isinstance(value, list):
        return [_wire_json(item, None) for item in value]
    if isinstance(value, datetime.datetime):
        # protobuf prints 0, 3 or 6 digits of a second
        digits = "milliseconds" if value.microsecond and value.microsecond % 1000 == 0 else "auto"
        return value.astimezone(datetime.UTC).isoformat(timespec=digits).replace("+00:00", "Z")
    if isinstance(value, int) and not isinstance(value, bool) and kind in _WIDE:
        return str(value)
    return value


_WIDE: Final = frozenset({Int64, Int64 | None})
_FIELDS: Final = {
    cls: tuple((field.name, field.encode_name, field.type, field.default) for field in msgspec.structs.fields(cls))
    for cls in list(globals().values())
    if isinstance(cls, type) and issubclass(cls, Message) and cls is not Message
}


def wire_json(message: Message) -> dict[str, Any]:
    """A message as protobuf's JSON mapping prints it: camelCase, int64 as strings, defaults left out."""
    out: dict[str, Any] = {}
    for name, encoded, kind, _default in _FIELDS[type(message)]:
        value = getattr(message, name)
        # proto3: a scalar at its zero value and an empty list or map are absent; a set message, even empty, is present
        if value is None or (not isinstance(value, Message) and not value and kind != (Int64 | None) and kind != (bool | None)):
            continue
        if isinstance(value, str) and value == "UNKNOWN" and name in ("type", "mode", "unit"):
            continue
        out[encoded] = _wire_json(value, kind)
    return out
