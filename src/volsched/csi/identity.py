"""The Identity service: who the driver is."""

from __future__ import annotations

from volsched.api import csi
from volsched.csi.storage import Storage


class IdentityService:
    """Answers that depend on the profile alone. Source: spec/volumes.md 6.2."""

    def __init__(self, storage: Storage) -> None:
        self._profile = storage.profile

    def get_plugin_info(self, request: csi.GetPluginInfoRequest) -> csi.GetPluginInfoResponse:
        return csi.GetPluginInfoResponse(name=self._profile.name, vendor_version=self._profile.vendor_version)

    def get_plugin_capabilities(self, request: csi.GetPluginCapabilitiesRequest) -> csi.GetPluginCapabilitiesResponse:
        capabilities = [csi.PluginCapability(service=csi.PluginService(type=name)) for name in self._profile.services]
        if self._profile.expansion is not None:
            expansion = csi.PluginVolumeExpansion(type=self._profile.expansion)
            capabilities.append(csi.PluginCapability(volume_expansion=expansion))
        return csi.GetPluginCapabilitiesResponse(capabilities=capabilities)

    def probe(self, request: csi.ProbeRequest) -> csi.ProbeResponse:
        return csi.ProbeResponse(ready=True)
