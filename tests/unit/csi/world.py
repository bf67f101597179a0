"""A driver reached both ways, and short builders of the messages tests send."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from volsched.api import csi
from volsched.csi import profile as profiles
from volsched.csi.backend import Driver, FakeDriver
from volsched.csi.client import GrpcClient
from volsched.csi.data import VolumeData
from volsched.csi.directory import DirectoryData
from volsched.csi.faults import FaultPlan, FaultyDriver
from volsched.csi.inprocess import InProcessClient
from volsched.csi.profile import ZONE_KEY, DriverProfile
from volsched.csi.server import CsiServer
from volsched.env.chance import Chance
from volsched.env.clock import VirtualClock
from volsched.errors import CsiCode, CsiError
from volsched.ports.clients import CsiClient

GIB = 1 << 30
START_NS = 1_700_000_000_123_456_789
S_NS = 1_000_000_000


class World:
    """One driver, its clock, and a client: in process, or over a socket to a server in this process."""

    def __init__(self, client: CsiClient, driver: FakeDriver, clock: VirtualClock, transport: str) -> None:
        self.client = client
        self.driver = driver
        self.clock = clock
        self.transport = transport
        self.faulty: FaultyDriver | None = None
        self.told: list[str] = []  # faults that took effect

    @property
    def fired(self) -> dict[str, int]:
        assert self.faulty is not None
        return dict(self.faulty.fired)

    def wait(self, seconds: float) -> None:
        self.clock.wait_until(self.clock.now_ns() + round(seconds * S_NS))

    def call(self, request: csi.Message, *, node: str = "") -> Any:
        return self.client.call(type(request).__name__.removesuffix("Request"), request, node=node)

    def refused(self, request: csi.Message, code: CsiCode, *, match: str = "", node: str = "") -> CsiError:
        """The call ends with this code; the text is never empty."""
        with pytest.raises(CsiError) as caught:
            self.call(request, node=node)
        error = caught.value
        assert error.code is code, str(error)
        assert error.detail
        assert match in error.detail
        assert error.method == type(request).__name__.removesuffix("Request")
        return error

    def volume(self, name: str = "v", **arguments: Any) -> csi.Volume:
        volume: csi.Volume = self.call(create(name, **arguments)).volume
        return volume

    def snapshot(self, volume_id: str, name: str = "s", parameters: Mapping[str, str] | None = None) -> csi.Snapshot:
        request = csi.CreateSnapshotRequest(source_volume_id=volume_id, name=name, parameters=dict(parameters or {}))
        snapshot: csi.Snapshot = self.call(request).snapshot
        return snapshot

    def mount(
        self,
        volume_id: str,
        target: str,
        *,
        node: str = "n1",
        mode: str = "SINGLE_NODE_WRITER",
        block: bool = False,
        readonly: bool = False,
    ) -> None:
        """All the way from attaching to publishing; repeats what is there already."""
        can = capability(mode, block=block)
        staging = f"{Path(target).parent}/staging-{volume_id}-{node}"
        self.call(csi.ControllerPublishVolumeRequest(volume_id=volume_id, node_id=node, volume_capability=can))
        stage = csi.NodeStageVolumeRequest(volume_id=volume_id, staging_target_path=staging, volume_capability=can)
        self.call(stage, node=node)
        publish = csi.NodePublishVolumeRequest(
            volume_id=volume_id, staging_target_path=staging, target_path=target, volume_capability=can, readonly=readonly
        )
        self.call(publish, node=node)

    def unmount(self, volume_id: str, target: str, *, node: str = "n1") -> None:
        staging = f"{Path(target).parent}/staging-{volume_id}-{node}"
        self.call(csi.NodeUnpublishVolumeRequest(volume_id=volume_id, target_path=target), node=node)
        self.call(csi.NodeUnstageVolumeRequest(volume_id=volume_id, staging_target_path=staging), node=node)
        self.call(csi.ControllerUnpublishVolumeRequest(volume_id=volume_id, node_id=node))


def full(**arguments: Any) -> DriverProfile:
    """Every capability, zones a, b, c unless said otherwise."""
    return profiles.full(**{"zone_names": ["a", "b", "c"], **arguments})


@contextlib.contextmanager
def world(
    transport: str = "inprocess",
    profile: DriverProfile | None = None,
    *,
    files: bool = False,
    nodes: Mapping[str, str] | None = None,
    plan: FaultPlan | None = None,
    later: Callable[[int, Callable[[], None]], object] | None = None,
    crash: Callable[[], None] | None = None,
    **arguments: Any,
) -> Iterator[World]:
    """A driver with nodes n1 and n2 in zone a and n3 in zone b. `files`: real files instead of memory. `plan`: faults around it."""
    clock = VirtualClock(START_NS)
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="csi")))
        data: VolumeData | None = DirectoryData(folder / "data", durable=False) if files else None
        driver = FakeDriver(profile or full(), clock=clock, data=data, **arguments)
        stack.callback(driver.close)
        for node, zone in ({"n1": "a", "n2": "a", "n3": "b"} if nodes is None else nodes).items():
            driver.register_node(node, {ZONE_KEY: zone, "other": "label"})
        told: list[str] = []
        faulty = None
        if plan is not None:
            faulty = FaultyDriver(driver, plan, clock, Chance(plan.seed), later=later, crash=crash, notice=told.append)
        served: Driver = driver if faulty is None else faulty
        client: Any = InProcessClient(served)
        if transport == "grpc":
            server = stack.enter_context(CsiServer(served, f"unix://{folder}/csi.sock"))
            client = stack.enter_context(GrpcClient(server.endpoint))
        here = World(client, driver, clock, transport)
        here.faulty, here.told = faulty, told
        yield here


def capability(mode: str = "SINGLE_NODE_WRITER", *, block: bool = False, **mount: Any) -> csi.VolumeCapability:
    return csi.VolumeCapability(
        block=csi.BlockVolume() if block else None,
        mount=None if block else csi.MountVolume(**mount),
        access_mode=csi.AccessMode(mode=mode),
    )


def zones(*names: str) -> list[csi.Topology]:
    return [csi.Topology(segments={ZONE_KEY: name}) for name in names]


def zones_of(volume: csi.Volume) -> list[str]:
    return [topology.segments[ZONE_KEY] for topology in volume.accessible_topology]


def create(
    name: str = "v",
    *,
    size: int = GIB,
    limit: int = 0,
    modes: Sequence[str] = ("SINGLE_NODE_WRITER",),
    block: bool = False,
    requisite: Sequence[str] = (),
    preferred: Sequence[str] = (),
    snapshot: str = "",
    clone: str = "",
    parameters: Mapping[str, str] | None = None,
    mutable: Mapping[str, str] | None = None,
) -> csi.CreateVolumeRequest:
    source = None
    if snapshot:
        source = csi.VolumeContentSource(snapshot=csi.SnapshotSource(snapshot_id=snapshot))
    if clone:
        source = csi.VolumeContentSource(volume=csi.VolumeSource(volume_id=clone))
    requirement = None
    if requisite or preferred:
        requirement = csi.TopologyRequirement(requisite=zones(*requisite), preferred=zones(*preferred))
    return csi.CreateVolumeRequest(
        name=name,
        capacity_range=csi.CapacityRange(required_bytes=size, limit_bytes=limit) if size or limit else None,
        volume_capabilities=[capability(mode, block=block) for mode in modes],
        volume_content_source=source,
        accessibility_requirements=requirement,
        parameters=dict(parameters or {}),
        mutable_parameters=dict(mutable or {}),
    )
