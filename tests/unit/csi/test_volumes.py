"""The Controller service's volume calls, row by row of spec/volumes.md 6.3, over both transports."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest

from tests.unit.csi.world import GIB, World, capability, create, full, world, zones, zones_of
from volsched.api import csi
from volsched.csi.profile import zonal
from volsched.errors import CsiCode

MISSING_FIELDS = [
    (csi.CreateVolumeRequest(volume_capabilities=[capability()]), "name is required"),
    (csi.CreateVolumeRequest(name="v"), "volume_capabilities is required"),
    (csi.CreateVolumeRequest(name="v", volume_capabilities=[csi.VolumeCapability()]), "needs an access type"),
    (csi.CreateVolumeRequest(name="v", volume_capabilities=[csi.VolumeCapability(mount=csi.MountVolume())]), "access_mode is required"),
    (csi.CreateVolumeRequest(name="v", volume_capabilities=[capability("UNKNOWN")]), "access_mode is required"),
    (csi.CreateVolumeRequest(name="v", volume_capabilities=[capability("99")]), "access_mode 99 is not known"),
    (csi.CreateVolumeRequest(name="v", volume_capabilities=[capability(), capability(block=True)]), "either block or mount"),
    (csi.CreateVolumeRequest(name="v", volume_capabilities=[capability()], volume_content_source=csi.VolumeContentSource()), "exactly one"),
    (csi.CreateVolumeRequest(name="a\x01b", volume_capabilities=[capability()]), "control character U+0001"),
    (create(size=-1), "has to be 0 or more"),
    (create(mutable={"colour": "red"}), "mutable parameter 'colour' is not supported"),
    (create(requisite=["a"], preferred=["b"]), "is not among requisite"),
    (create(parameters={"fail": "seventeen"}), "has to be the number of a gRPC code"),
    (csi.DeleteVolumeRequest(), "volume_id is required"),
    (csi.ValidateVolumeCapabilitiesRequest(volume_capabilities=[capability()]), "volume_id is required"),
    (csi.ValidateVolumeCapabilitiesRequest(volume_id="vol-0009"), "volume_capabilities is required"),
    (csi.ListVolumesRequest(max_entries=-1), "max_entries"),
    (csi.ControllerGetVolumeRequest(), "volume_id is required"),
    (csi.ControllerModifyVolumeRequest(), "volume_id is required"),
    (csi.ControllerModifyVolumeRequest(volume_id="vol-0009", mutable_parameters={"colour": "red"}), "is not supported"),
    (csi.ControllerExpandVolumeRequest(capacity_range=csi.CapacityRange(required_bytes=1)), "volume_id is required"),
    (csi.ControllerExpandVolumeRequest(volume_id="vol-0009"), "capacity_range is required"),
    (csi.ControllerExpandVolumeRequest(volume_id="vol-0009", capacity_range=csi.CapacityRange()), "required_bytes or limit_bytes"),
]
UNKNOWN_OBJECTS = [
    create(snapshot="snap-0009"),
    create(clone="vol-0009"),
    csi.ValidateVolumeCapabilitiesRequest(volume_id="vol-0009", volume_capabilities=[capability()]),
    csi.ControllerGetVolumeRequest(volume_id="vol-0009"),
    csi.ControllerModifyVolumeRequest(volume_id="vol-0009", mutable_parameters={"iops": "1"}),
    csi.ControllerExpandVolumeRequest(volume_id="vol-0009", capacity_range=csi.CapacityRange(required_bytes=1)),
]


def test_what_is_wrong_with_a_request_comes_before_whether_the_object_exists(any_world: World) -> None:
    for request, text in MISSING_FIELDS:
        any_world.refused(request, CsiCode.INVALID_ARGUMENT, match=text)


def test_unknown_objects(any_world: World) -> None:
    for request in UNKNOWN_OBJECTS:
        any_world.refused(request, CsiCode.NOT_FOUND, match="not found")
    assert any_world.call(csi.DeleteVolumeRequest(volume_id="vol-0009")) == csi.DeleteVolumeResponse()


def test_create_is_keyed_by_name(any_world: World) -> None:
    first = any_world.volume("v", size=5 * GIB, requisite=["b"], parameters={"type": "fast"})
    assert (first.volume_id, first.capacity_bytes, zones_of(first), first.content_source) == ("vol-0001", 5 * GIB, ["b"], None)
    assert any_world.volume("v", size=5 * GIB, requisite=["b"], parameters={"type": "fast"}) == first
    # a range the volume is in, a requirement it meets, a capability it serves: the same volume
    assert any_world.volume("v", size=4 * GIB, limit=5 * GIB, requisite=["a", "b"], parameters={"type": "fast"}) == first
    assert any_world.volume("v", size=0, modes=["SINGLE_NODE_READER_ONLY"], parameters={"type": "fast"}) == first
    for request, text in [
        (create("v", size=6 * GIB, parameters={"type": "fast"}), "bytes"),
        (create("v", size=1, limit=2 * GIB, parameters={"type": "fast"}), "bytes"),
        (create("v", size=5 * GIB, modes=["MULTI_NODE_MULTI_WRITER"], parameters={"type": "fast"}), "mount MULTI_NODE_MULTI_WRITER"),
        (create("v", size=5 * GIB, block=True, parameters={"type": "fast"}), "block SINGLE_NODE_WRITER"),
        (create("v", size=5 * GIB), "other parameters"),
        (create("v", size=5 * GIB, requisite=["a"], parameters={"type": "fast"}), "accessible topology b"),
        (create("v", size=5 * GIB, clone="vol-0001", parameters={"type": "fast"}), "another content source"),
    ]:
        any_world.refused(request, CsiCode.ALREADY_EXISTS, match=text)
    assert any_world.volume("w").volume_id == "vol-0002"  # a refused call draws no number


def test_sizes(any_world: World) -> None:
    assert any_world.volume("none", size=0).capacity_bytes == any_world.driver.profile.default_bytes
    assert any_world.volume("limit", size=0, limit=5).capacity_bytes == 5
    assert any_world.volume("both", size=7, limit=9).capacity_bytes == 7
    any_world.refused(create("impossible", size=9, limit=7), CsiCode.OUT_OF_RANGE)


@pytest.mark.parametrize("transport", ["inprocess", "grpc"])
def test_largest_volume(transport: str) -> None:
    with world(transport, replace(full(), max_bytes=10)) as here:
        here.refused(create(size=11), CsiCode.OUT_OF_RANGE, match="the largest volume has 10")
        assert here.volume("default", size=0).capacity_bytes == 10
        volume = here.volume("v", size=10)
        grow = csi.ControllerExpandVolumeRequest(volume_id=volume.volume_id, capacity_range=csi.CapacityRange(required_bytes=11))
        here.refused(grow, CsiCode.OUT_OF_RANGE)
        assert here.call(csi.GetCapacityRequest()).maximum_volume_size == 10


def test_names_of_128_bytes_and_any_script(any_world: World) -> None:
    for name in ("x" * 128, "ä" * 64, "tab\there", "名前"):
        assert any_world.volume(name).volume_id
    any_world.refused(create("x" * 129), CsiCode.INVALID_ARGUMENT, match="name is 129 bytes long, the limit is 128")
    any_world.refused(create("ä" * 65), CsiCode.INVALID_ARGUMENT, match="name is 130 bytes long")
    any_world.refused(create(parameters={"k": "v" * 4096}), CsiCode.INVALID_ARGUMENT, match="parameters holds 4097 bytes")
    assert any_world.volume("parameters", parameters={"k": "v" * 4095}).volume_id


def test_injected_failures_change_nothing(any_world: World) -> None:
    for code in CsiCode:
        if code is not CsiCode.OK:
            error = any_world.refused(create(parameters={"fail": str(int(code))}), code)
            assert str(error) == f"rpc error: code = {code.words} desc = injected failure"
    assert any_world.driver.volumes() == []
    assert any_world.volume().volume_id == "vol-0001"


def test_delete_leaves_volumes_in_use_alone(any_world: World) -> None:
    volume = any_world.volume(requisite=["a"])
    any_world.mount(volume.volume_id, "/pods/1/mount")
    any_world.refused(csi.DeleteVolumeRequest(volume_id=volume.volume_id), CsiCode.FAILED_PRECONDITION, match="in use on node n1")
    any_world.unmount(volume.volume_id, "/pods/1/mount")
    for _ in range(2):
        assert any_world.call(csi.DeleteVolumeRequest(volume_id=volume.volume_id)) == csi.DeleteVolumeResponse()
    # the name is free again, the number is not
    assert any_world.volume().volume_id == "vol-0002"


def test_validate_capabilities(any_world: World) -> None:
    volume = any_world.volume(modes=["MULTI_NODE_READER_ONLY"], parameters={"type": "x"})
    good = csi.ValidateVolumeCapabilitiesRequest(
        volume_id=volume.volume_id,
        volume_capabilities=[capability("MULTI_NODE_READER_ONLY"), capability("SINGLE_NODE_READER_ONLY")],
        volume_context={"k": "v"},
        parameters={"type": "x"},
    )
    answer = any_world.call(good)
    assert answer.confirmed == csi.ConfirmedCapabilities(
        volume_context={"k": "v"}, volume_capabilities=good.volume_capabilities, parameters={"type": "x"}
    )
    for changed in (
        {"volume_capabilities": [capability("MULTI_NODE_READER_ONLY"), capability("MULTI_NODE_MULTI_WRITER")]},
        {"volume_capabilities": [capability("MULTI_NODE_READER_ONLY", block=True)]},
        {"parameters": {"type": "y"}},
        {"mutable_parameters": {"iops": "1"}},
    ):
        answer = any_world.call(msgspec.structs.replace(good, **changed))
        assert answer.confirmed is None
        assert answer.message


def test_pages_of_volumes(any_world: World) -> None:
    ids = [any_world.volume(f"v{number}").volume_id for number in range(5)]
    everything = any_world.call(csi.ListVolumesRequest())
    assert [entry.volume.volume_id for entry in everything.entries] == ids
    assert everything.next_token == ""
    first = any_world.call(csi.ListVolumesRequest(max_entries=2))
    assert [entry.volume.volume_id for entry in first.entries] == ids[:2]
    # the last volume of the page goes, one comes: the token still holds
    any_world.call(csi.DeleteVolumeRequest(volume_id=ids[1]))
    ids.append(any_world.volume("v5").volume_id)
    rest = any_world.call(csi.ListVolumesRequest(starting_token=first.next_token))
    assert [entry.volume.volume_id for entry in rest.entries] == ids[2:]
    assert rest.next_token == ""
    exact = any_world.call(csi.ListVolumesRequest(starting_token=first.next_token, max_entries=4))
    assert (len(exact.entries), exact.next_token) == (4, "")
    for token in ("invalid-token", "after-", "after-x", "2", "after-²"):
        any_world.refused(csi.ListVolumesRequest(starting_token=token), CsiCode.ABORTED)


def test_published_nodes_and_condition(any_world: World) -> None:
    volume = any_world.volume(modes=["MULTI_NODE_MULTI_WRITER"])
    for node in ("n2", "n1"):
        any_world.call(
            csi.ControllerPublishVolumeRequest(
                volume_id=volume.volume_id, node_id=node, volume_capability=capability("MULTI_NODE_MULTI_WRITER")
            )
        )
    found = any_world.call(csi.ControllerGetVolumeRequest(volume_id=volume.volume_id))
    assert found.volume == volume
    assert found.status.published_node_ids == ["n1", "n2"]
    assert found.status.volume_condition == csi.VolumeCondition(message="the volume is healthy")
    assert any_world.call(csi.ListVolumesRequest()).entries == [csi.ListVolumesEntry(volume=volume, status=found.status)]


@pytest.mark.parametrize("transport", ["inprocess", "grpc"])
def test_capacity_is_counted_by_segment(transport: str) -> None:
    with world(transport, full(capacity={"a": 10 * GIB, "b": 3 * GIB})) as here:

        def free(*names: str) -> list[int]:
            return [here.call(csi.GetCapacityRequest(accessible_topology=topology)).available_capacity for topology in zones(*names)]

        assert free("a", "b", "c", "nowhere") == [10 * GIB, 3 * GIB, 1 << 50, 0]
        volume = here.volume("v1", size=4 * GIB, requisite=["a"])
        assert free("a") == [6 * GIB]
        # 7 do not fit into a: the next preferred, then the rest of requisite; nowhere at all
        assert zones_of(here.volume("v2", size=7 * GIB, requisite=["b", "a", "c"], preferred=["a", "b"])) == ["c"]
        here.refused(create("v3", size=7 * GIB, requisite=["a", "b"]), CsiCode.RESOURCE_EXHAUSTED, match="a: 6442450944 bytes free; b: ")
        here.refused(create("v4", size=1, requisite=["nowhere"]), CsiCode.RESOURCE_EXHAUSTED, match="nowhere")
        grow = csi.ControllerExpandVolumeRequest(volume_id=volume.volume_id, capacity_range=csi.CapacityRange(required_bytes=11 * GIB))
        here.refused(grow, CsiCode.RESOURCE_EXHAUSTED, match="7516192768 more bytes are asked, 6442450944 are free in a")
        here.call(csi.DeleteVolumeRequest(volume_id=volume.volume_id))
        assert free("a") == [10 * GIB]
        unsupported = csi.GetCapacityRequest(volume_capabilities=[capability(block=True), capability()])
        assert here.call(unsupported) == csi.GetCapacityResponse()


@pytest.mark.parametrize("transport", ["inprocess", "grpc"])
def test_a_driver_without_topology(transport: str) -> None:
    with world(transport, full(zone_names=[], capacity={"": 3 * GIB})) as here:
        volume = here.volume("v", size=2 * GIB, requisite=["anything"])
        assert volume.accessible_topology == []
        assert here.call(csi.GetCapacityRequest()).available_capacity == GIB
        here.refused(create("w", size=2 * GIB), CsiCode.RESOURCE_EXHAUSTED)
        assert here.call(csi.NodeGetInfoRequest(), node="n1").accessible_topology is None


def test_expand(any_world: World) -> None:
    volume = any_world.volume(size=GIB)

    def expand(required: int, limit: int = 0) -> csi.ControllerExpandVolumeRequest:
        capacity = csi.CapacityRange(required_bytes=required, limit_bytes=limit)
        return csi.ControllerExpandVolumeRequest(volume_id=volume.volume_id, capacity_range=capacity)

    assert any_world.call(expand(3 * GIB)) == csi.ControllerExpandVolumeResponse(capacity_bytes=3 * GIB, node_expansion_required=True)
    assert any_world.call(expand(2 * GIB)).capacity_bytes == 3 * GIB  # already there
    any_world.refused(expand(1, 2 * GIB), CsiCode.OUT_OF_RANGE)
    block = any_world.volume("block", block=True)
    request = csi.ControllerExpandVolumeRequest(volume_id=block.volume_id, capacity_range=csi.CapacityRange(required_bytes=2 * GIB))
    assert any_world.call(request) == csi.ControllerExpandVolumeResponse(capacity_bytes=2 * GIB)


@pytest.mark.parametrize("transport", ["inprocess", "grpc"])
def test_offline_expansion_waits_until_the_volume_is_published_nowhere(transport: str) -> None:
    with world(transport, replace(full(), expansion="OFFLINE")) as here:
        volume = here.volume(requisite=["a"])
        here.mount(volume.volume_id, "/t/mount")
        grow = csi.ControllerExpandVolumeRequest(volume_id=volume.volume_id, capacity_range=csi.CapacityRange(required_bytes=2 * GIB))
        here.refused(grow, CsiCode.FAILED_PRECONDITION, match="n1")
        here.unmount(volume.volume_id, "/t/mount")
        assert here.call(grow).capacity_bytes == 2 * GIB


def test_modify_is_all_or_nothing(any_world: World) -> None:
    volume = any_world.volume(mutable={"iops": "100", "tier": "gold"})

    def modify(**parameters: str) -> csi.ControllerModifyVolumeRequest:
        return csi.ControllerModifyVolumeRequest(volume_id=volume.volume_id, mutable_parameters=parameters)

    any_world.call(modify(iops="200"))
    any_world.refused(modify(tier="lead", colour="red"), CsiCode.INVALID_ARGUMENT, match="'colour'")
    assert any_world.driver.volumes()[0].mutable_parameters == {"iops": "200", "tier": "gold"}


@pytest.mark.parametrize("transport", ["inprocess", "grpc"])
def test_calls_of_a_capability_that_is_not_advertised(transport: str) -> None:
    with world(transport, zonal()) as here:
        # even with a request that would be refused for its fields
        for request in (
            csi.ControllerPublishVolumeRequest(),
            csi.ControllerUnpublishVolumeRequest(),
            csi.ListVolumesRequest(),
            csi.ControllerGetVolumeRequest(),
            csi.ControllerModifyVolumeRequest(),
            csi.ControllerExpandVolumeRequest(),
            csi.GetSnapshotRequest(),
            csi.NodeGetInfoRequest(),
            csi.NodeGetCapabilitiesRequest(),
            csi.NodePublishVolumeRequest(),
        ):
            here.refused(request, CsiCode.UNIMPLEMENTED)
        assert here.call(
            csi.ValidateVolumeCapabilitiesRequest(volume_id=here.volume().volume_id, volume_capabilities=[capability()])
        ).confirmed
        here.refused(create("m", mutable={"iops": "1"}), CsiCode.INVALID_ARGUMENT, match="MODIFY_VOLUME")


def test_identity(any_world: World) -> None:
    info = any_world.call(csi.GetPluginInfoRequest())
    assert (info.name, bool(info.vendor_version)) == (any_world.driver.name, True)
    assert any_world.call(csi.ProbeRequest()).ready is True
    capabilities = any_world.call(csi.GetPluginCapabilitiesRequest()).capabilities
    assert [item.service.type for item in capabilities if item.service] == [
        "CONTROLLER_SERVICE",
        "VOLUME_ACCESSIBILITY_CONSTRAINTS",
        "SNAPSHOT_ACCESSIBILITY_CONSTRAINTS",
        "GROUP_CONTROLLER_SERVICE",
    ]
    assert [item.volume_expansion.type for item in capabilities if item.volume_expansion] == ["ONLINE"]
    controller = any_world.call(csi.ControllerGetCapabilitiesRequest()).capabilities
    assert [item.rpc.type for item in controller] == list(any_world.driver.profile.controller)
    node = any_world.call(csi.NodeGetCapabilitiesRequest(), node="n1").capabilities
    assert [item.rpc.type for item in node] == list(any_world.driver.profile.node)


@pytest.mark.parametrize("transport", ["inprocess", "grpc"])
def test_several_pools_a_segment(transport: str) -> None:
    with world(transport, full(capacity={"fast@a": 4 * GIB, "slow@a": 9 * GIB, "slow@b": 2 * GIB})) as here:

        def free(pool: str, *names: str) -> list[int]:
            parameters = {"pool": pool} if pool else {}
            found = [here.call(csi.GetCapacityRequest(accessible_topology=zone, parameters=parameters)) for zone in zones(*names)]
            return [answer.available_capacity for answer in found]

        assert free("fast", "a", "b", "c") == [4 * GIB, 0, 0]
        assert free("slow", "a", "b", "c") == [9 * GIB, 2 * GIB, 0]
        assert free("", "a") == free("none", "a") == [0]
        here.refused(create("v"), CsiCode.INVALID_ARGUMENT, match="parameter pool is required: fast, slow")
        here.refused(
            create("v", parameters={"pool": "none"}), CsiCode.INVALID_ARGUMENT, match="parameter pool is 'none', pools are fast, slow"
        )
        volume = here.volume("v", size=3 * GIB, parameters={"pool": "fast"})
        assert zones_of(volume) == ["a"]
        assert (free("fast", "a"), free("slow", "a")) == ([GIB], [9 * GIB])
        here.refused(
            create("w", size=2 * GIB, parameters={"pool": "fast"}),
            CsiCode.RESOURCE_EXHAUSTED,
            match="a: 1073741824 bytes free in pool fast",
        )
        assert zones_of(here.volume("x", size=2 * GIB, requisite=["b", "a"], preferred=["b"], parameters={"pool": "slow"})) == ["b"]
        here.refused(create("y", size=1, requisite=["b"], parameters={"pool": "slow"}), CsiCode.RESOURCE_EXHAUSTED)
        grow = csi.ControllerExpandVolumeRequest(volume_id=volume.volume_id, capacity_range=csi.CapacityRange(required_bytes=5 * GIB))
        here.refused(grow, CsiCode.RESOURCE_EXHAUSTED, match="1073741824 are free in pool fast of a")
        here.call(csi.DeleteVolumeRequest(volume_id=volume.volume_id))
        assert free("fast", "a") == [4 * GIB]
        total = here.call(csi.GetCapacityRequest(parameters={"pool": "slow"})).available_capacity
        assert total == 9 * GIB
    # a driver without named pools knows no such parameter
    with world(transport, full(capacity={"a": GIB})) as here:
        assert here.volume("v", parameters={"pool": "any"}, requisite=["a"]).capacity_bytes == GIB


def test_pools_beside_a_room_without_a_name() -> None:
    with world(profile=full(zone_names=[], capacity={"": 2 * GIB, "fast@": GIB})) as here:
        assert here.volume("v", size=2 * GIB).volume_id == "vol-0001"
        here.refused(create("w", size=1), CsiCode.RESOURCE_EXHAUSTED, match="1 bytes are asked, 0 bytes free")
        here.volume("w", size=GIB, parameters={"pool": "fast"})
        here.refused(create("x", size=1, parameters={"pool": "fast"}), CsiCode.RESOURCE_EXHAUSTED, match="0 bytes free in pool fast")
        assert (here.driver.free_bytes({}), here.driver.free_bytes({}, "fast")) == (0, 0)
