"""Messages about health, new in CSI specification v1.13 (alpha): what is wrong with a volume, or with the storage as a node sees it."""

from __future__ import annotations

from volsched.api.csi.common import Message, VolumeCapability


class VolumeHealthEntry(Message, frozen=True):
    """`status`: UNKNOWN_VOLUME_HEALTH_TYPE, DEGRADED, INACCESSIBLE, DATA_LOSS. `reason`: one CamelCase word."""

    status: str = "UNKNOWN_VOLUME_HEALTH_TYPE"
    reason: str = ""
    message: str = ""


class VolumeHealth(Message, frozen=True):
    """No entry = nothing is known to be wrong."""

    volume_id: str = ""
    health_statuses: list[VolumeHealthEntry] = []


class ControllerListVolumeHealthRequest(Message, frozen=True):
    max_entries: int = 0
    starting_token: str = ""
    secrets: dict[str, str] = {}


class ControllerListVolumeHealthResponse(Message, frozen=True):
    """Volumes with something wrong only."""

    entries: list[VolumeHealth] = []
    next_token: str = ""


class ControllerGetVolumeHealthRequest(Message, frozen=True):
    volume_id: str = ""
    secrets: dict[str, str] = {}


class ControllerGetVolumeHealthResponse(Message, frozen=True):
    volume_health: VolumeHealth | None = None


class NodeGetVolumeHealthRequest(Message, frozen=True):
    volume_id: str = ""
    volume_publish_path: str = ""
    staging_target_path: str = ""


class NodeGetVolumeHealthResponse(Message, frozen=True):
    volume_health: VolumeHealth | None = None


class StorageBackendHealth(Message, frozen=True):
    """`status`: UNKNOWN_STORAGE_HEALTH_ERROR_TYPE, STORAGE_DEGRADED, STORAGE_UNREACHABLE."""

    status: str = "UNKNOWN_STORAGE_HEALTH_ERROR_TYPE"
    reason: str = ""
    message: str = ""
    volume_capability: VolumeCapability | None = None


class NodeGetStorageHealthRequest(Message, frozen=True):
    secrets: dict[str, str] = {}


class NodeGetStorageHealthResponse(Message, frozen=True):
    backend_health: list[StorageBackendHealth] = []
