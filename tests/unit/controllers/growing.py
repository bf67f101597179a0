"""A driver whose volumes grow and change attributes, and a world with a bound claim, its pod and a kubelet on it."""

from __future__ import annotations

from typing import Any

from lightkube.models.core_v1 import NodeCondition
from lightkube.models.storage_v1 import VolumeAttributesClass

from tests.builders import DRIVER, make_csidriver, make_csinode, make_node, make_pv, make_pvc
from tests.unit.controllers.harness import World
from volsched.api import csi
from volsched.api.edit import replace
from volsched.api.quantity import parse
from volsched.controllers.kubelet import Kubelet, NodeDisks
from volsched.controllers.modifier import VolumeModifier
from volsched.controllers.resizer import Resizer, ResizerOptions
from volsched.errors import CsiCode, CsiError
from volsched.ports import Call

GI = 1 << 30
BOTH = ("EXPAND_VOLUME", "MODIFY_VOLUME")


class Driver:
    """Sizes of volumes and of their file systems, by handle. `script`: method -> what the next calls answer: a code, or ("lost", code)."""

    def __init__(self, *, controller: tuple[str, ...] = BOTH, node: tuple[str, ...] = ("STAGE_UNSTAGE_VOLUME", "EXPAND_VOLUME")) -> None:
        self.sizes: dict[str, int] = {"vol-data": 10 * GI}
        self.file_systems: dict[str, int] = {"vol-data": 10 * GI}
        self.attributes: dict[str, dict[str, str]] = {"vol-data": {}}
        self.offline_only = False
        self.mounted: set[str] = set()
        self.script: dict[str, list[Any]] = {}
        self.requests: list[tuple[str, Any]] = []
        self._controller = controller
        self.node = node

    def called(self, method: str) -> list[Any]:
        return [request for name, request in self.requests if name == method]

    def __call__(self, call: Call) -> csi.Message:
        self.requests.append((call.method, call.request))
        planned = self.script.get(call.method)
        answer = planned.pop(0) if planned else None
        if isinstance(answer, CsiCode):
            raise CsiError(answer, "scripted failure", method=call.method)
        result: csi.Message = getattr(self, f"_{call.method}")(call.request)
        if isinstance(answer, tuple):
            raise CsiError(answer[1], "answer lost", method=call.method)
        return result

    def _Probe(self, request: Any) -> csi.Message:
        return csi.ProbeResponse()

    def _GetPluginInfo(self, request: Any) -> csi.Message:
        return csi.GetPluginInfoResponse(name=DRIVER, vendor_version="1")

    def _GetPluginCapabilities(self, request: Any) -> csi.Message:
        return csi.GetPluginCapabilitiesResponse(capabilities=[csi.PluginCapability(service=csi.PluginService(type="CONTROLLER_SERVICE"))])

    def _ControllerGetCapabilities(self, request: Any) -> csi.Message:
        rows = [csi.ControllerServiceCapability(rpc=csi.Rpc(type=item)) for item in self._controller]
        return csi.ControllerGetCapabilitiesResponse(capabilities=rows)

    def _NodeGetCapabilities(self, request: Any) -> csi.Message:
        return csi.NodeGetCapabilitiesResponse(capabilities=[csi.NodeServiceCapability(rpc=csi.Rpc(type=item)) for item in self.node])

    def _ControllerExpandVolume(self, request: csi.ControllerExpandVolumeRequest) -> csi.Message:
        assert request.capacity_range is not None
        handle, wanted = request.volume_id, request.capacity_range.required_bytes
        if self.offline_only and handle in self.mounted and self.sizes[handle] < wanted:
            raise CsiError(CsiCode.FAILED_PRECONDITION, "in use")
        size = self.sizes[handle] = max(self.sizes[handle], wanted)
        on_node = "EXPAND_VOLUME" in self.node and self.file_systems[handle] < size
        return csi.ControllerExpandVolumeResponse(capacity_bytes=size, node_expansion_required=on_node)

    def _ControllerModifyVolume(self, request: csi.ControllerModifyVolumeRequest) -> csi.Message:
        self.attributes[request.volume_id] |= request.mutable_parameters
        return csi.ControllerModifyVolumeResponse()

    def _NodeStageVolume(self, request: Any) -> csi.Message:
        return csi.NodeStageVolumeResponse()

    def _NodePublishVolume(self, request: Any) -> csi.Message:
        self.mounted.add(request.volume_id)
        return csi.NodePublishVolumeResponse()

    def _NodeUnpublishVolume(self, request: Any) -> csi.Message:
        self.mounted.discard(request.volume_id)
        return csi.NodeUnpublishVolumeResponse()

    def _NodeUnstageVolume(self, request: Any) -> csi.Message:
        return csi.NodeUnstageVolumeResponse()

    def _NodeExpandVolume(self, request: csi.NodeExpandVolumeRequest) -> csi.Message:
        assert request.capacity_range is not None and request.volume_path
        if request.volume_id not in self.mounted:
            raise CsiError(CsiCode.NOT_FOUND, "not mounted")
        size = request.capacity_range.required_bytes
        if "EXPAND_VOLUME" not in self._controller:
            self.sizes[request.volume_id] = max(self.sizes[request.volume_id], size)
        assert size <= self.sizes[request.volume_id], "the file system outgrows its volume"
        self.file_systems[request.volume_id] = max(self.file_systems[request.volume_id], size)
        return csi.NodeExpandVolumeResponse(capacity_bytes=size)


def make_world(service: Driver | None = None, *, kubelet: bool = True, options: ResizerOptions | None = None, **volume: Any) -> World:
    """Claim `data` of 10Gi bound to `pv-data` of volume `vol-data`, a node, and who makes volumes grow."""
    world = World(driver=service or Driver())
    disks = NodeDisks()
    world.create(make_csidriver(attach_required=False))
    world.create(make_node("n1", status={"conditions": [NodeCondition(type="Ready", status="True")]}))
    world.create(make_csinode("n1"))
    world.create(make_pv("pv-data", claim="default/data", claim_uid="data-uid", handle="vol-data", **volume))
    world.create(make_pvc("data", bound_to="pv-data", uid="data-uid", finalizers=["kubernetes.io/pvc-protection"]))
    world.add(lambda: Resizer(world.clock, DRIVER, options=options))
    world.add(lambda: VolumeModifier(world.clock, DRIVER, options=options))
    if kubelet:
        world.add(lambda: Kubelet(world.clock, disks=disks))
    world.settle()
    return world


def ask(world: World, size: str) -> None:
    """The user edits the request."""
    claim = world.claim("data")
    resources = replace(claim.spec.resources, requests={"storage": size})
    world.edit(replace(claim, spec=replace(claim.spec, resources=resources)))


def name_class(world: World, name: str | None) -> None:
    """The user edits the attributes class."""
    claim = world.claim("data")
    world.edit(replace(claim, spec=replace(claim.spec, volumeAttributesClassName=name)))


def attributes_class(name: str, *, driver: str = DRIVER, **parameters: str) -> VolumeAttributesClass:
    made = VolumeAttributesClass(driverName=driver, parameters=parameters)
    return replace(made, metadata=make_csidriver(name).metadata)


def conditions(world: World) -> dict[str, str]:
    return {entry.type: entry.message or "" for entry in world.claim("data").status.conditions or ()}


def progress(world: World) -> str:
    return str((world.claim("data").status.allocatedResourceStatuses or {}).get("storage", ""))


def check_sizes(world: World, driver: Driver) -> None:
    """No claim says more than its volume has, no volume more than the driver; what is settled is equal."""
    claim, volume = world.claim("data"), world.volume("pv-data")
    told, stated = parse(claim.status.capacity["storage"]).value(), parse(volume.spec.capacity["storage"]).value()
    assert told <= stated <= driver.sizes["vol-data"]
    assert told <= driver.file_systems["vol-data"] or "EXPAND_VOLUME" not in driver.node
    if not progress(world):
        assert told == stated
