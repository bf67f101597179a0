"""Attachment and the Node service, row by row of spec/volumes.md 6.3 and 6.6, over both transports."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.unit.csi.world import GIB, World, capability, create, full, world, zones
from volsched.api import csi
from volsched.csi.profile import ACCESS_MODES
from volsched.errors import CsiCode

CAN = capability()
MISSING_FIELDS = [
    (csi.ControllerPublishVolumeRequest(node_id="n1", volume_capability=CAN), "volume_id is required"),
    (csi.ControllerPublishVolumeRequest(volume_id="vol-0009", volume_capability=CAN), "node_id is required"),
    (csi.ControllerPublishVolumeRequest(volume_id="vol-0009", node_id="n1"), "volume_capability is required"),
    (csi.ControllerPublishVolumeRequest(volume_id="vol-0009", node_id="n" * 257, volume_capability=CAN), "node_id is 257 bytes long"),
    (csi.ControllerUnpublishVolumeRequest(), "volume_id is required"),
    (csi.NodeStageVolumeRequest(staging_target_path="/s", volume_capability=CAN), "volume_id is required"),
    (csi.NodeStageVolumeRequest(volume_id="vol-0009", volume_capability=CAN), "staging_target_path is required"),
    (csi.NodeStageVolumeRequest(volume_id="vol-0009", staging_target_path="/s"), "volume_capability is required"),
    (csi.NodeUnstageVolumeRequest(staging_target_path="/s"), "volume_id is required"),
    (csi.NodeUnstageVolumeRequest(volume_id="vol-0009"), "staging_target_path is required"),
    (csi.NodePublishVolumeRequest(target_path="/t", volume_capability=CAN), "volume_id is required"),
    (csi.NodePublishVolumeRequest(volume_id="vol-0009", volume_capability=CAN), "target_path is required"),
    (csi.NodePublishVolumeRequest(volume_id="vol-0009", target_path="/t"), "volume_capability is required"),
    (csi.NodePublishVolumeRequest(volume_id="vol-0009", target_path="/t", volume_capability=csi.VolumeCapability()), "access type"),
    (csi.NodePublishVolumeRequest(volume_id="vol-0009", target_path="/t" * 2049, volume_capability=CAN), "target_path is 4098 bytes"),
    (
        csi.NodePublishVolumeRequest(volume_id="vol-0009", target_path="/t", volume_capability=capability(mount_flags=["x" * 4097])),
        "mount_flags holds 4097 bytes",
    ),
    (csi.NodeUnpublishVolumeRequest(target_path="/t"), "volume_id is required"),
    (csi.NodeUnpublishVolumeRequest(volume_id="vol-0009"), "target_path is required"),
    (csi.NodeGetVolumeStatsRequest(volume_path="/t"), "volume_id is required"),
    (csi.NodeGetVolumeStatsRequest(volume_id="vol-0009"), "volume_path is required"),
    (csi.NodeExpandVolumeRequest(volume_path="/t"), "volume_id is required"),
    (csi.NodeExpandVolumeRequest(volume_id="vol-0009"), "volume_path is required"),
]
UNKNOWN_VOLUME = [
    csi.ControllerPublishVolumeRequest(volume_id="vol-0009", node_id="n1", volume_capability=CAN),
    csi.NodeStageVolumeRequest(volume_id="vol-0009", staging_target_path="/s", volume_capability=CAN),
    csi.NodeUnstageVolumeRequest(volume_id="vol-0009", staging_target_path="/s"),
    csi.NodePublishVolumeRequest(volume_id="vol-0009", staging_target_path="/s", target_path="/t", volume_capability=CAN),
    csi.NodeUnpublishVolumeRequest(volume_id="vol-0009", target_path="/t"),
    csi.NodeGetVolumeStatsRequest(volume_id="vol-0009", volume_path="/t"),
    csi.NodeExpandVolumeRequest(volume_id="vol-0009", volume_path="/t"),
]


def publish(volume_id: str, node: str = "n1", *, mode: str = "SINGLE_NODE_WRITER", **arguments: Any) -> csi.ControllerPublishVolumeRequest:
    return csi.ControllerPublishVolumeRequest(volume_id=volume_id, node_id=node, volume_capability=capability(mode), **arguments)


def test_what_is_wrong_with_a_request_comes_before_whether_the_object_exists(any_world: World) -> None:
    for request, text in MISSING_FIELDS:
        any_world.refused(request, CsiCode.INVALID_ARGUMENT, match=text, node="n1")


def test_unknown_objects(any_world: World) -> None:
    for request in UNKNOWN_VOLUME:
        any_world.refused(request, CsiCode.NOT_FOUND, match="vol-0009", node="n1")
    volume = any_world.volume()
    any_world.refused(publish(volume.volume_id, "nowhere"), CsiCode.NOT_FOUND, match="node nowhere")
    assert any_world.call(csi.ControllerUnpublishVolumeRequest(volume_id="vol-0009")) == csi.ControllerUnpublishVolumeResponse()


def test_attach_once_and_again(any_world: World) -> None:
    volume = any_world.volume(requisite=["a"])
    first = any_world.call(publish(volume.volume_id))
    assert any_world.call(publish(volume.volume_id)) == first
    any_world.refused(publish(volume.volume_id, readonly=True), CsiCode.ALREADY_EXISTS, match="n1")
    any_world.refused(publish(volume.volume_id, mode="SINGLE_NODE_READER_ONLY"), CsiCode.ALREADY_EXISTS)
    any_world.refused(publish(volume.volume_id, "n2"), CsiCode.FAILED_PRECONDITION, match="published to node n1")
    any_world.refused(publish(volume.volume_id, mode="MULTI_NODE_MULTI_WRITER"), CsiCode.INVALID_ARGUMENT, match="was not made for")
    for node in ("n2", "n1", "n1", ""):
        any_world.call(csi.ControllerUnpublishVolumeRequest(volume_id=volume.volume_id, node_id=node))
    any_world.call(publish(volume.volume_id, "n2"))


def test_attach_out_of_reach(any_world: World) -> None:
    volume = any_world.volume(requisite=["a"])
    any_world.refused(publish(volume.volume_id, "n3"), CsiCode.FAILED_PRECONDITION, match="in a, not reachable from node n3 in b")


def test_many_nodes(any_world: World) -> None:
    shared = any_world.volume("shared", modes=["MULTI_NODE_MULTI_WRITER"], requisite=["a"])
    one_writer = any_world.volume("one-writer", modes=["MULTI_NODE_SINGLE_WRITER"], requisite=["a"])
    for node in ("n1", "n2"):
        any_world.call(publish(shared.volume_id, node, mode="MULTI_NODE_MULTI_WRITER"))
    any_world.call(csi.ControllerUnpublishVolumeRequest(volume_id=shared.volume_id))
    assert any_world.driver.volumes()[0].publications == {}
    any_world.call(publish(one_writer.volume_id, "n1", mode="MULTI_NODE_SINGLE_WRITER"))
    any_world.refused(
        publish(one_writer.volume_id, "n2", mode="MULTI_NODE_SINGLE_WRITER"), CsiCode.FAILED_PRECONDITION, match="for writing to node n1"
    )
    any_world.call(publish(one_writer.volume_id, "n2", mode="MULTI_NODE_SINGLE_WRITER", readonly=True))


@pytest.mark.parametrize("transport", ["inprocess", "grpc"])
def test_attach_limit(transport: str) -> None:
    with world(transport, full(max_volumes_per_node=2)) as here:
        assert here.call(csi.NodeGetInfoRequest(), node="n1").max_volumes_per_node == 2
        ids = [here.volume(f"v{number}", requisite=["a"]).volume_id for number in range(3)]
        for volume_id in (*ids[:2], ids[0]):
            here.call(publish(volume_id))
        here.refused(publish(ids[2]), CsiCode.RESOURCE_EXHAUSTED, match="node n1 has 2 volumes")
        here.call(publish(ids[2], "n2"))
        here.call(csi.ControllerUnpublishVolumeRequest(volume_id=ids[0], node_id="n1"))
        here.call(csi.ControllerUnpublishVolumeRequest(volume_id=ids[2]))
        here.call(publish(ids[2]))


def test_readonly_needs_its_capability() -> None:
    profile = full()
    profile = replace(profile, controller=tuple(name for name in profile.controller if name != "PUBLISH_READONLY"))
    with world(profile=profile) as here:
        here.refused(publish(here.volume().volume_id, readonly=True), CsiCode.INVALID_ARGUMENT, match="PUBLISH_READONLY")


def test_every_step_needs_the_one_before(any_world: World) -> None:
    volume = any_world.volume(requisite=["a"])
    stage = csi.NodeStageVolumeRequest(volume_id=volume.volume_id, staging_target_path="/s", volume_capability=CAN)
    show = csi.NodePublishVolumeRequest(volume_id=volume.volume_id, staging_target_path="/s", target_path="/t/mount", volume_capability=CAN)
    any_world.refused(stage, CsiCode.FAILED_PRECONDITION, match="not published to node n1", node="n1")
    any_world.call(publish(volume.volume_id))
    any_world.refused(show, CsiCode.FAILED_PRECONDITION, match="not staged on node n1 at /s", node="n1")
    no_staging = csi.NodePublishVolumeRequest(volume_id=volume.volume_id, target_path="/t/mount", volume_capability=CAN)
    any_world.refused(no_staging, CsiCode.FAILED_PRECONDITION, match="staging_target_path", node="n1")
    for request in (stage, stage, show, show):
        any_world.call(request, node="n1")
    unstage = csi.NodeUnstageVolumeRequest(volume_id=volume.volume_id, staging_target_path="/s")
    any_world.refused(unstage, CsiCode.FAILED_PRECONDITION, match="/t/mount", node="n1")
    any_world.call(csi.ControllerUnpublishVolumeRequest(volume_id="vol-0002"))
    hide = csi.NodeUnpublishVolumeRequest(volume_id=volume.volume_id, target_path="/t/mount")
    for request in (hide, hide, unstage, unstage):
        any_world.call(request, node="n1")


def test_staging_conflicts(any_world: World) -> None:
    volume = any_world.volume(modes=["SINGLE_NODE_WRITER", "MULTI_NODE_MULTI_WRITER"], requisite=["a"])
    any_world.call(publish(volume.volume_id))

    def stage(path: str, mode: str) -> csi.NodeStageVolumeRequest:
        return csi.NodeStageVolumeRequest(volume_id=volume.volume_id, staging_target_path=path, volume_capability=capability(mode))

    any_world.call(stage("/s", "SINGLE_NODE_WRITER"), node="n1")
    any_world.refused(stage("/s", "SINGLE_NODE_READER_ONLY"), CsiCode.ALREADY_EXISTS, node="n1")
    any_world.refused(stage("/other", "SINGLE_NODE_WRITER"), CsiCode.FAILED_PRECONDITION, match="/s", node="n1")
    small = any_world.volume("small", modes=["SINGLE_NODE_READER_ONLY"], requisite=["a"])
    any_world.call(publish(small.volume_id, mode="SINGLE_NODE_READER_ONLY"))
    wide = csi.NodeStageVolumeRequest(volume_id=small.volume_id, staging_target_path="/w", volume_capability=CAN)
    any_world.refused(wide, CsiCode.FAILED_PRECONDITION, match="was not made for mount SINGLE_NODE_WRITER", node="n1")


@pytest.mark.parametrize("mode", ACCESS_MODES)
def test_second_publish_on_the_node(any_world: World, mode: str) -> None:
    """spec/volumes.md 6.6: T the target, P the other arguments; equal or not."""
    volume = any_world.volume(modes=[mode], requisite=["a"])
    any_world.call(publish(volume.volume_id, mode=mode))
    can = capability(mode)
    any_world.call(csi.NodeStageVolumeRequest(volume_id=volume.volume_id, staging_target_path="/s", volume_capability=can), node="n1")

    def show(target: str, **changes: Any) -> csi.NodePublishVolumeRequest:
        arguments = {"volume_capability": can, **changes}
        return csi.NodePublishVolumeRequest(volume_id=volume.volume_id, staging_target_path="/s", target_path=target, **arguments)

    any_world.call(show("/t"), node="n1")
    any_world.call(show("/t"), node="n1")
    any_world.refused(show("/t", readonly=True), CsiCode.ALREADY_EXISTS, match="/t", node="n1")
    any_world.refused(show("/t", volume_capability=capability(mode, fs_type="xfs")), CsiCode.ALREADY_EXISTS, node="n1")
    if mode.startswith("MULTI_NODE") or mode == "SINGLE_NODE_MULTI_WRITER":
        any_world.call(show("/other"), node="n1")
    else:
        any_world.refused(show("/other"), CsiCode.FAILED_PRECONDITION, match="published on node n1 at /t", node="n1")


def test_one_target_shows_one_volume(any_world: World) -> None:
    first, second = any_world.volume("v", requisite=["a"]), any_world.volume("w", requisite=["a"])
    any_world.mount(first.volume_id, "/t/mount")
    any_world.call(publish(second.volume_id))
    any_world.call(csi.NodeStageVolumeRequest(volume_id=second.volume_id, staging_target_path="/s2", volume_capability=CAN), node="n1")
    show = csi.NodePublishVolumeRequest(
        volume_id=second.volume_id, staging_target_path="/s2", target_path="/t/mount", volume_capability=CAN
    )
    any_world.refused(show, CsiCode.FAILED_PRECONDITION, match="vol-0001", node="n1")


def test_a_driver_that_neither_attaches_nor_stages(any_world: World) -> None:
    profile = full()
    bare = replace(
        profile,
        controller=tuple(name for name in profile.controller if not name.startswith("PUBLISH")),
        node=tuple(name for name in profile.node if name not in ("STAGE_UNSTAGE_VOLUME", "VOLUME_MOUNT_GROUP")),
    )
    with world(any_world.transport, bare) as here:
        volume = here.volume(requisite=["a"])
        show = csi.NodePublishVolumeRequest(volume_id=volume.volume_id, target_path="/t", volume_capability=CAN)
        here.call(show, node="n1")
        here.refused(show, CsiCode.FAILED_PRECONDITION, match="in use on node n1", node="n2")
        here.refused(show, CsiCode.FAILED_PRECONDITION, match="not reachable from node n3", node="n3")
        here.refused(csi.NodeStageVolumeRequest(), CsiCode.UNIMPLEMENTED, node="n1")
        group = csi.NodePublishVolumeRequest(
            volume_id=volume.volume_id, target_path="/g", volume_capability=capability(volume_mount_group="1000")
        )
        here.refused(group, CsiCode.INVALID_ARGUMENT, match="VOLUME_MOUNT_GROUP", node="n1")


def test_node_info_and_unknown_nodes(any_world: World) -> None:
    info = any_world.call(csi.NodeGetInfoRequest(), node="n3")
    assert (info.node_id, info.max_volumes_per_node, info.accessible_topology) == ("n3", 0, zones("b")[0])
    # a node that speaks for the first time runs the driver from now on
    fresh = any_world.call(csi.NodeGetInfoRequest(), node="n4")
    assert fresh.accessible_topology in zones("a", "b", "c")
    zone = next(iter(fresh.accessible_topology.segments.values()))
    any_world.call(publish(any_world.volume(requisite=[zone]).volume_id, "n4"))
    any_world.refused(csi.NodeGetInfoRequest(), CsiCode.FAILED_PRECONDITION, match="names no node")


def test_default_node() -> None:
    for transport in ("inprocess", "grpc"):
        with world(transport, default_node="here") as any_world:
            assert any_world.call(csi.NodeGetInfoRequest()).node_id == "here"
            assert any_world.call(csi.NodeGetInfoRequest(), node="n1").node_id == "n1"


def test_stats_and_growing(any_world: World) -> None:
    volume = any_world.volume(size=GIB, requisite=["a"])
    stats = csi.NodeGetVolumeStatsRequest(volume_id=volume.volume_id, volume_path="/t/mount")
    any_world.refused(stats, CsiCode.NOT_FOUND, match="not at /t/mount", node="n1")
    any_world.mount(volume.volume_id, "/t/mount")
    any_world.driver.data.write(node="n1", target="/t/mount", name="file", data=b"x" * 1000)
    used, inodes = any_world.call(stats, node="n1").usage
    assert used == csi.VolumeUsage(available=GIB - 1000, total=GIB, used=1000, unit="BYTES")
    assert (inodes.used, inodes.unit, inodes.available + inodes.used) == (1, "INODES", inodes.total)
    any_world.refused(stats, CsiCode.NOT_FOUND, node="n2")

    any_world.call(csi.ControllerExpandVolumeRequest(volume_id=volume.volume_id, capacity_range=csi.CapacityRange(required_bytes=2 * GIB)))
    assert any_world.call(stats, node="n1").usage[0].total == GIB  # the filesystem has not followed yet
    grow = csi.NodeExpandVolumeRequest(
        volume_id=volume.volume_id, volume_path="/t/mount", capacity_range=csi.CapacityRange(required_bytes=2 * GIB)
    )
    assert any_world.call(grow, node="n1").capacity_bytes == 2 * GIB
    assert any_world.call(stats, node="n1").usage[0].total == 2 * GIB
    too_much = csi.NodeExpandVolumeRequest(
        volume_id=volume.volume_id, volume_path="/t/mount", capacity_range=csi.CapacityRange(required_bytes=3 * GIB)
    )
    any_world.refused(too_much, CsiCode.OUT_OF_RANGE, node="n1")
    any_world.refused(
        csi.NodeExpandVolumeRequest(volume_id=volume.volume_id, volume_path="/elsewhere"), CsiCode.NOT_FOUND, match="/elsewhere", node="n1"
    )


def test_block_volumes_have_a_total_only(any_world: World) -> None:
    volume = any_world.volume(block=True, requisite=["a"])
    any_world.mount(volume.volume_id, "/t/device", block=True)
    stats = csi.NodeGetVolumeStatsRequest(volume_id=volume.volume_id, volume_path="/t/device")
    assert any_world.call(stats, node="n1").usage == [csi.VolumeUsage(total=GIB, unit="BYTES")]
    any_world.refused(create("w", size=GIB, block=True, modes=["UNKNOWN"]), CsiCode.INVALID_ARGUMENT)


def test_growing_without_a_controller_side() -> None:
    profile = full(capacity={"a": 2 * GIB})
    with world(profile=replace(profile, controller=tuple(name for name in profile.controller if name != "EXPAND_VOLUME"))) as here:
        volume = here.volume(requisite=["a"])
        here.mount(volume.volume_id, "/t/mount")

        def grow(size: int) -> csi.NodeExpandVolumeRequest:
            capacity = csi.CapacityRange(required_bytes=size)
            return csi.NodeExpandVolumeRequest(volume_id=volume.volume_id, volume_path="/t/mount", capacity_range=capacity)

        assert here.call(grow(2 * GIB), node="n1").capacity_bytes == 2 * GIB
        here.refused(grow(3 * GIB), CsiCode.RESOURCE_EXHAUSTED, node="n1")


def test_a_volume_written_into_a_pod_lives_with_its_publication(any_world: World) -> None:
    handle = "csi-" + "0123456789abcdef" * 4
    show = csi.NodePublishVolumeRequest(
        volume_id=handle, target_path="/t/mount", volume_capability=CAN, volume_context={"csi.storage.k8s.io/ephemeral": "true"}
    )
    hide = csi.NodeUnpublishVolumeRequest(volume_id=handle, target_path="/t/mount")
    for _ in range(2):
        any_world.call(show, node="n1")
    any_world.driver.data.write(node="n1", target="/t/mount", name="x", data=b"x")
    assert any_world.call(csi.ListVolumesRequest()).entries == []
    any_world.refused(csi.DeleteVolumeRequest(volume_id=handle), CsiCode.FAILED_PRECONDITION, match="n1")
    for _ in range(2):
        any_world.call(hide, node="n1")
    assert any_world.driver.volumes() == []
    any_world.call(show, node="n1")
    assert any_world.driver.data.usage(handle).files == 0
    evil = csi.NodePublishVolumeRequest(
        volume_id="../../etc", target_path="/e", volume_capability=CAN, volume_context={"csi.storage.k8s.io/ephemeral": "true"}
    )
    any_world.refused(evil, CsiCode.INVALID_ARGUMENT, match="'../../etc'", node="n1")
    any_world.refused(csi.NodeUnpublishVolumeRequest(volume_id="other", target_path="/t"), CsiCode.NOT_FOUND, node="n1")
