"""Messages of the Identity service."""

from __future__ import annotations

from volsched.api.csi.common import Message


class GetPluginInfoRequest(Message, frozen=True):
    pass


class GetPluginInfoResponse(Message, frozen=True):
    name: str = ""
    vendor_version: str = ""
    manifest: dict[str, str] = {}


class GetPluginCapabilitiesRequest(Message, frozen=True):
    pass


class PluginService(Message, frozen=True):
    """`type`: UNKNOWN, CONTROLLER_SERVICE, VOLUME_ACCESSIBILITY_CONSTRAINTS, GROUP_CONTROLLER_SERVICE, SNAPSHOT_METADATA_SERVICE,
    SNAPSHOT_ACCESSIBILITY_CONSTRAINTS (v1.13)."""

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
