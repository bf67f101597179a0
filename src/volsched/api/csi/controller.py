"""Messages of the Controller service: volumes, snapshots, attachment."""

from __future__ import annotations

from volsched.api.csi.common import (
    CapacityRange,
    Int64,
    Message,
    Rpc,
    Snapshot,
    Topology,
    TopologyRequirement,
    Volume,
    VolumeCapability,
    VolumeCondition,
    VolumeContentSource,
)


class ControllerGetCapabilitiesRequest(Message, frozen=True):
    pass


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
    accessibility_requirements: TopologyRequirement | None = None  # v1.13


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
