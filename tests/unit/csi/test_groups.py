"""The GroupController service, row by row of spec/volumes.md 6.5, over both transports."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.unit.csi.world import GIB, START_NS, World, create, full, world
from volsched.api import csi
from volsched.csi.backend import FakeDriver
from volsched.csi.data import Ref, storage_error
from volsched.csi.directory import DirectoryData
from volsched.csi.inprocess import InProcessClient
from volsched.csi.journal import SqliteJournal
from volsched.csi.profile import zonal
from volsched.env.clock import VirtualClock
from volsched.errors import CsiCode, StateError

CREATED = datetime.datetime.fromtimestamp(START_NS // 10**9, datetime.UTC).replace(microsecond=START_NS % 10**9 // 1000)


def group(volume_ids: Sequence[str], name: str = "g", **parameters: str) -> csi.CreateVolumeGroupSnapshotRequest:
    return csi.CreateVolumeGroupSnapshotRequest(name=name, source_volume_ids=list(volume_ids), parameters=parameters)


def cut(here: World, volume_ids: Sequence[str], name: str = "g", **parameters: str) -> csi.VolumeGroupSnapshot:
    made: csi.VolumeGroupSnapshot = here.call(group(volume_ids, name, **parameters)).group_snapshot
    return made


def of(made: csi.VolumeGroupSnapshot) -> dict[str, Any]:
    """A group as later calls name it."""
    return {"group_snapshot_id": made.group_snapshot_id, "snapshot_ids": [item.snapshot_id for item in made.snapshots]}


def test_capabilities(any_world: World) -> None:
    answer = any_world.call(csi.GroupControllerGetCapabilitiesRequest())
    assert [item.rpc.type for item in answer.capabilities] == ["CREATE_DELETE_GET_VOLUME_GROUP_SNAPSHOT"]
    services = [item.service.type for item in any_world.call(csi.GetPluginCapabilitiesRequest()).capabilities if item.service]
    assert "GROUP_CONTROLLER_SERVICE" in services


def test_missing_and_malformed_fields(any_world: World) -> None:
    for request, text in [
        (csi.CreateVolumeGroupSnapshotRequest(source_volume_ids=["vol-0009"]), "name is required"),
        (csi.CreateVolumeGroupSnapshotRequest(name="g"), "source_volume_ids is required"),
        (group(["vol-0009", ""]), r"source_volume_ids[1] is required"),
        (group(["vol-0009", "vol-0009"]), "source_volume_ids names vol-0009 twice"),
        (group(["x" * 129]), "source_volume_ids[0] is 129 bytes long"),
        (group(["vol-0009"], readyAfter="soon"), "readyAfter is 'soon'"),
        (csi.GetVolumeGroupSnapshotRequest(), "group_snapshot_id is required"),
        (csi.DeleteVolumeGroupSnapshotRequest(), "group_snapshot_id is required"),
    ]:
        any_world.refused(request, CsiCode.INVALID_ARGUMENT, match=text)


def test_unknown_objects(any_world: World) -> None:
    volume = any_world.volume()
    any_world.refused(group([volume.volume_id, "vol-0009"]), CsiCode.NOT_FOUND, match="vol-0009")
    assert any_world.call(csi.ListSnapshotsRequest()).entries == []
    any_world.refused(csi.GetVolumeGroupSnapshotRequest(group_snapshot_id="group-0001"), CsiCode.NOT_FOUND, match="group-0001")
    gone = csi.DeleteVolumeGroupSnapshotRequest(group_snapshot_id="group-0001", snapshot_ids=["snap-0001"])
    assert any_world.call(gone) == csi.DeleteVolumeGroupSnapshotResponse()


def test_create_is_keyed_by_name(any_world: World) -> None:
    ids = [any_world.volume(name, size=size * GIB).volume_id for name, size in (("v", 3), ("w", 1), ("x", 1))]
    single = any_world.snapshot(ids[0], "g")  # the names of snapshots and groups are apart
    made = cut(any_world, ids[:2])
    assert made == csi.VolumeGroupSnapshot(
        group_snapshot_id="group-0001",
        snapshots=[
            csi.Snapshot(
                size_bytes=size * GIB,
                snapshot_id=snapshot_id,
                source_volume_id=volume_id,
                creation_time=CREATED,
                ready_to_use=True,
                group_snapshot_id="group-0001",
            )
            for snapshot_id, volume_id, size in (("snap-0002", ids[0], 3), ("snap-0003", ids[1], 1))
        ],
        creation_time=CREATED,
        ready_to_use=True,
    )
    any_world.wait(5)
    assert cut(any_world, ids[:2]) == made
    assert cut(any_world, [ids[1], ids[0]]) == made
    any_world.refused(group(ids), CsiCode.ALREADY_EXISTS, match="group-0001 of volumes vol-0001, vol-0002")
    any_world.refused(group(ids[:2], tier="gold"), CsiCode.ALREADY_EXISTS, match="group-0001 with other parameters")
    assert any_world.call(csi.GetVolumeGroupSnapshotRequest(**of(made))).group_snapshot == made
    assert any_world.snapshot(ids[0], "g") == single
    assert cut(any_world, ids[:2], "x" * 128).group_snapshot_id == "group-0002"


def test_members_are_listed_restored_and_not_deleted_alone(any_world: World) -> None:
    ids = [any_world.volume(name).volume_id for name in ("v", "w")]
    made = cut(any_world, ids)
    listed = [entry.snapshot for entry in any_world.call(csi.ListSnapshotsRequest()).entries]
    assert listed == made.snapshots
    member = made.snapshots[1].snapshot_id
    assert [item.snapshot for item in any_world.call(csi.ListSnapshotsRequest(source_volume_id=ids[1])).entries] == [made.snapshots[1]]
    assert any_world.call(csi.GetSnapshotRequest(snapshot_id=member)).snapshot.group_snapshot_id == "group-0001"
    assert any_world.volume("r", snapshot=member).volume_id == "vol-0003"
    any_world.refused(
        csi.DeleteSnapshotRequest(snapshot_id=member), CsiCode.INVALID_ARGUMENT, match=f"{member} belongs to group group-0001"
    )
    assert len(any_world.call(csi.ListSnapshotsRequest()).entries) == 2


def test_the_list_of_members_has_to_match(any_world: World) -> None:
    ids = [any_world.volume(name).volume_id for name in ("v", "w")]
    made = cut(any_world, ids)
    right = [item.snapshot_id for item in made.snapshots]
    for wrong in ([], right[:1], [*right, "snap-0009"], [right[0], right[0]]):
        for kind in (csi.GetVolumeGroupSnapshotRequest, csi.DeleteVolumeGroupSnapshotRequest):
            request = kind(group_snapshot_id="group-0001", snapshot_ids=wrong)
            any_world.refused(request, CsiCode.INVALID_ARGUMENT, match="group-0001 has snap-0001, snap-0002")
    turned = csi.GetVolumeGroupSnapshotRequest(group_snapshot_id="group-0001", snapshot_ids=right[::-1])
    assert any_world.call(turned).group_snapshot == made
    for _ in range(2):
        any_world.call(csi.DeleteVolumeGroupSnapshotRequest(**of(made)))
    assert any_world.call(csi.ListSnapshotsRequest()).entries == []
    assert any_world.driver.groups() == []
    assert cut(any_world, ids).group_snapshot_id == "group-0002"  # ids are never used again


def test_readiness_is_that_of_all_members(any_world: World) -> None:
    ids = [any_world.volume(name).volume_id for name in ("v", "w")]
    made = cut(any_world, ids, readyAfter="8s")
    assert [made.ready_to_use, *(item.ready_to_use for item in made.snapshots)] == [False] * 3
    any_world.refused(create("r", snapshot=made.snapshots[0].snapshot_id), CsiCode.ABORTED)
    any_world.wait(8)
    again = cut(any_world, ids)  # what steers the first call only is no parameter of the group
    assert [again.ready_to_use, *(item.ready_to_use for item in again.snapshots)] == [True] * 3
    assert (again.creation_time, again.group_snapshot_id) == (CREATED, made.group_snapshot_id)


def test_one_instant_and_independent_bytes(any_world: World) -> None:
    ids = [any_world.volume(name).volume_id for name in ("v", "w")]
    for volume_id in ids:
        any_world.mount(volume_id, f"/t/{volume_id}")
        any_world.driver.data.write(node="n1", target=f"/t/{volume_id}", name="f", data=b"before")
    made = cut(any_world, ids)
    digests = [any_world.driver.digest_snapshot(item.snapshot_id) for item in made.snapshots]
    for volume_id in ids:
        any_world.driver.data.write(node="n1", target=f"/t/{volume_id}", name="f", data=b"after")
        any_world.unmount(volume_id, f"/t/{volume_id}")
        any_world.call(csi.DeleteVolumeRequest(volume_id=volume_id))
    assert [any_world.driver.digest_snapshot(item.snapshot_id) for item in made.snapshots] == digests
    restored = any_world.volume("r", snapshot=made.snapshots[0].snapshot_id)
    any_world.mount(restored.volume_id, "/t/r")
    assert any_world.driver.data.read(node="n1", target="/t/r", name="f") == b"before"


@pytest.mark.parametrize("files", [False, True])
@pytest.mark.parametrize("transport", ["inprocess", "grpc"])
def test_a_failed_cut_leaves_nothing(transport: str, files: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    with world(transport, files=files) as here:
        ids = [here.volume(name).volume_id for name in ("v", "w", "x")]
        real = here.driver.data.cut

        def broken(snapshot_id: str, volume_id: str) -> None:
            if volume_id == ids[2]:
                raise storage_error("disk failed")
            real(snapshot_id, volume_id)

        monkeypatch.setattr(here.driver.data, "cut", broken)
        here.refused(group(ids), CsiCode.INTERNAL, match="disk failed")
        assert here.call(csi.ListSnapshotsRequest()).entries == []
        assert here.driver.groups() == []
        for name in ("snap-0001", "snap-0002", "snap-0003"):
            assert here.driver.data.problem(Ref("snapshots", name)) == f"the content of snapshots/{name} is missing"
        monkeypatch.undo()
        assert [item.snapshot_id for item in cut(here, ids).snapshots] == ["snap-0001", "snap-0002", "snap-0003"]


def test_what_cannot_be_made_durable_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = SqliteJournal(tmp_path / "driver.db")
    driver = FakeDriver(full(), clock=VirtualClock(START_NS), data=DirectoryData(tmp_path / "data"), journal=journal)
    here = World(InProcessClient(driver), driver, VirtualClock(START_NS), "inprocess")
    ids = [here.volume(name).volume_id for name in ("v", "w")]

    def full_disk(*_: object) -> None:
        raise StateError("disk full")

    monkeypatch.setattr(journal, "write", full_disk)
    with pytest.raises(StateError, match="disk full"):
        cut(here, ids)
    monkeypatch.undo()
    assert driver.groups() == [] and driver.snapshots() == []
    made = cut(here, ids)
    driver.close()

    driver = FakeDriver(
        full(), clock=VirtualClock(START_NS), data=DirectoryData(tmp_path / "data"), journal=SqliteJournal(tmp_path / "driver.db")
    )
    here = World(InProcessClient(driver), driver, VirtualClock(START_NS), "inprocess")
    assert cut(here, ids) == made
    here.call(csi.DeleteVolumeGroupSnapshotRequest(**of(made)))
    assert list((tmp_path / "data" / "snapshots").iterdir()) == []
    driver.close()


@pytest.mark.parametrize("transport", ["inprocess", "grpc"])
def test_volumes_that_cannot_be_cut_together(transport: str) -> None:
    with world(transport, full(reachable=1)) as here:
        ids = [here.volume(name, requisite=[zone]).volume_id for name, zone in (("v", "a"), ("w", "b"))]
        assert cut(here, ids).ready_to_use
    with world(transport, replace(full(), group_scope="topology")) as here:
        ids = [here.volume(name, requisite=[zone]).volume_id for name, zone in (("v", "a"), ("w", "b"), ("x", "a"))]
        here.refused(group(ids), CsiCode.FAILED_PRECONDITION, match="vol-0001 is in a and volume vol-0002 is in b")
        assert here.driver.snapshots() == []
        assert cut(here, [ids[0], ids[2]]).ready_to_use


@pytest.mark.parametrize("transport", ["inprocess", "grpc"])
def test_a_member_in_use_holds_the_whole_group(transport: str) -> None:
    with world(transport, replace(full(), independent_snapshots=False, independent_restores=False)) as here:
        ids = [here.volume(name).volume_id for name in ("v", "w")]
        made = cut(here, ids)
        restored = here.volume("r", snapshot=made.snapshots[1].snapshot_id)
        here.refused(csi.DeleteVolumeGroupSnapshotRequest(**of(made)), CsiCode.FAILED_PRECONDITION, match="snap-0002 of group group-0001")
        assert len(here.call(csi.ListSnapshotsRequest()).entries) == 2
        here.refused(csi.DeleteVolumeRequest(volume_id=ids[0]), CsiCode.FAILED_PRECONDITION, match="snap-0001")
        here.call(csi.DeleteVolumeRequest(volume_id=restored.volume_id))
        here.call(csi.DeleteVolumeGroupSnapshotRequest(**of(made)))


@pytest.mark.parametrize("transport", ["inprocess", "grpc"])
def test_a_driver_without_groups(transport: str) -> None:
    with world(transport, zonal()) as here:
        for request in (
            csi.GroupControllerGetCapabilitiesRequest(),
            csi.CreateVolumeGroupSnapshotRequest(),
            csi.GetVolumeGroupSnapshotRequest(),
            csi.DeleteVolumeGroupSnapshotRequest(),
        ):
            here.refused(request, CsiCode.UNIMPLEMENTED)
    with world(transport, replace(full(), group=())) as here:
        assert here.call(csi.GroupControllerGetCapabilitiesRequest()).capabilities == []
        here.refused(csi.CreateVolumeGroupSnapshotRequest(), CsiCode.UNIMPLEMENTED)


def test_groups_go_along_with_exported_state() -> None:
    with world() as here, world() as other:
        ids = [here.volume(name).volume_id for name in ("v", "w")]
        made = cut(here, ids)
        other.driver.import_state(here.driver.export_state())
        assert cut(other, ids) == made
        assert other.driver.export_state() == here.driver.export_state()
