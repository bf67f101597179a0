"""What a sidecar learns about its driver at start, once per process life: is it ready, what is it called, what can it do.

Source: spec/volumes.md 3.1, spec/snapshots.md 1.6; csi-lib-utils connection and rpc packages.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from volsched.api.csi import (
    ControllerGetCapabilitiesRequest,
    ControllerGetCapabilitiesResponse,
    GetPluginCapabilitiesRequest,
    GetPluginCapabilitiesResponse,
    GetPluginInfoRequest,
    GetPluginInfoResponse,
    ProbeRequest,
    ProbeResponse,
)
from volsched.errors import ReconcileError
from volsched.ports import Call, Pause, Steps

PROBE_PERIOD_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class DriverInfo:
    """A driver's name and capabilities; constant while the process lives."""

    name: str = ""
    plugin: frozenset[str] = frozenset()  # GetPluginCapabilities service types
    controller: frozenset[str] = frozenset()  # ControllerGetCapabilities rpc types

    @property
    def has_topology(self) -> bool:
        return "VOLUME_ACCESSIBILITY_CONSTRAINTS" in self.plugin


def learn(driver: str, *, timeout_s: float) -> Steps[DriverInfo]:
    """Wait until the driver is ready and ask for its name and capabilities. Raises CsiError, ReconcileError if the name is another."""
    while True:
        probe: ProbeResponse = yield Call(driver, "Probe", ProbeRequest(), timeout_s=timeout_s)
        if probe.ready is not False:
            break
        yield Pause(PROBE_PERIOD_S)
    info: GetPluginInfoResponse = yield Call(driver, "GetPluginInfo", GetPluginInfoRequest(), timeout_s=timeout_s)
    if info.name != driver:
        raise ReconcileError(f"the driver reached as {driver} calls itself {info.name}")
    plugin: GetPluginCapabilitiesResponse = yield Call(driver, "GetPluginCapabilities", GetPluginCapabilitiesRequest(), timeout_s=timeout_s)
    services = frozenset(item.service.type for item in plugin.capabilities if item.service is not None)
    rpcs: frozenset[str] = frozenset()
    if "CONTROLLER_SERVICE" in services:
        asked: ControllerGetCapabilitiesResponse = yield Call(
            driver, "ControllerGetCapabilities", ControllerGetCapabilitiesRequest(), timeout_s=timeout_s
        )
        rpcs = frozenset(item.rpc.type for item in asked.capabilities if item.rpc is not None)
    return DriverInfo(info.name, services, rpcs)
