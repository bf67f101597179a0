"""CSI drivers that run as processes of their own, reached over their sockets: a driver under development, `volsched csi serve`.

    endpoint ──Probe, GetPluginInfo, capabilities──> settings ──> sidecars of this cluster, calls over the socket

A cluster in a state file remembers its endpoints, since its volumes are in those drivers: every later call that runs controllers connects
to them again, and is refused before anything is written where one cannot be reached. The cluster's clock stands still during a call.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from volsched.api import csi
from volsched.app.drivers import DriverSettings
from volsched.csi.profile import DriverProfile
from volsched.errors import CsiError, InputError
from volsched.ports import CsiClient
from volsched.store import Store

CONNECT_TIMEOUT_S: Final = 1.0
CALL_TIMEOUT_S: Final = 10.0
_ROOM: Final = "csi-endpoints"


def remembered(store: Store) -> list[str]:
    """Endpoints a cluster has been told of before."""
    return list(store.values(_ROOM))


def remember(store: Store, endpoints: Sequence[str]) -> None:
    """Keep endpoints with the cluster."""
    for endpoint in endpoints:
        store.put_value(_ROOM, endpoint, b"")


def kubelet_root(beside: Path) -> str:
    """Where the nodes of a cluster have such drivers stage and publish volumes, `{node}` standing for the node."""
    return f"{beside.absolute()}.kubelet/{{node}}"


def connect(endpoints: Sequence[str]) -> list[DriverSettings]:
    """Reach every driver and learn what it is. Raises InputError, one line, for one that cannot be reached."""
    try:
        from volsched.csi.client import GrpcClient
    except ModuleNotFoundError as error:
        if error.name and error.name.partition(".")[0] in ("grpc", "google"):
            raise InputError("drivers are reached over gRPC: pip install 'volsched[csi]'") from error
        raise
    found: list[DriverSettings] = []
    with contextlib.ExitStack() as stack:
        for endpoint in dict.fromkeys(endpoints):
            client = GrpcClient(endpoint)
            stack.callback(client.close)
            try:
                client.wait_ready(CONNECT_TIMEOUT_S)
                settings = DriverSettings(profile=_profile(client), client=client)
            except CsiError as error:
                raise InputError(error.detail) from error
            if any(settings.profile.name == other.profile.name for other in found):
                raise InputError(f"{endpoint}: another endpoint serves driver {settings.profile.name} already")
            found.append(settings)
        stack.pop_all()
    return found


def _profile(client: CsiClient) -> DriverProfile:
    """What the sidecars of a driver have to know before they start; everything else they ask themselves."""

    def ask(method: str, request: csi.Message) -> Any:
        return client.call(method, request, timeout_s=CALL_TIMEOUT_S)

    info = ask("GetPluginInfo", csi.GetPluginInfoRequest())
    services = [item.service.type for item in ask("GetPluginCapabilities", csi.GetPluginCapabilitiesRequest()).capabilities if item.service]
    controller: list[str] = []
    if "CONTROLLER_SERVICE" in services:
        answer = ask("ControllerGetCapabilities", csi.ControllerGetCapabilitiesRequest())
        controller = [item.rpc.type for item in answer.capabilities if item.rpc]
    return DriverProfile(name=info.name, vendor_version=info.vendor_version, services=tuple(services), controller=tuple(controller))
