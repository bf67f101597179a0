"""Messages of the Node service."""

from __future__ import annotations

from volsched.api.csi.common import CapacityRange, Int64, Message, Rpc, Topology, VolumeCapability, VolumeCondition


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
