"""The Controller service's snapshot calls, row by row of spec/volumes.md 6.3, over both transports."""

from __future__ import annotations

import datetime
from dataclasses import replace

import msgspec
import pytest

from tests.unit.csi.world import GIB, START_NS, World, create, full, world, zones, zones_of
from volsched.api import csi
from volsched.errors import CsiCode

CREATED = datetime.datetime.fromtimestamp(START_NS // 10**9, datetime.UTC).replace(microsecond=START_NS % 10**9 // 1000)


def test_missing_fields(any_world: World) -> None:
    for request, text in [
        (csi.CreateSnapshotRequest(source_volume_id="vol-0009"), "name is required"),
        (csi.CreateSnapshotRequest(name="s"), "source_volume_id is required"),
        (csi.CreateSnapshotRequest(name="s", source_volume_id="vol-0009", parameters={"readyAfter": "soon"}), "readyAfter is 'soon'"),
        (csi.CreateSnapshotRequest(name="s", source_volume_id="vol-0009", parameters={"readyAfter": "-1s"}), "readyAfter"),
        (csi.DeleteSnapshotRequest(), "snapshot_id is required"),
        (csi.GetSnapshotRequest(), "snapshot_id is required"),
        (csi.ListSnapshotsRequest(max_entries=-1), "max_entries"),
    ]:
        any_world.refused(request, CsiCode.INVALID_ARGUMENT, match=text)


def test_unknown_objects(any_world: World) -> None:
    any_world.refused(csi.CreateSnapshotRequest(name="s", source_volume_id="vol-0009"), CsiCode.NOT_FOUND)
    any_world.refused(csi.GetSnapshotRequest(snapshot_id="snap-0009"), CsiCode.NOT_FOUND)
    assert any_world.call(csi.DeleteSnapshotRequest(snapshot_id="snap-0009")) == csi.DeleteSnapshotResponse()
    assert any_world.call(csi.ListSnapshotsRequest(snapshot_id="snap-0009")).entries == []
    assert any_world.call(csi.ListSnapshotsRequest(source_volume_id="vol-0009")).entries == []


def test_create_is_keyed_by_name(any_world: World) -> None:
    volume, other = any_world.volume("v", size=3 * GIB), any_world.volume("w")
    first = any_world.snapshot(volume.volume_id)
    assert first == csi.Snapshot(
        size_bytes=3 * GIB, snapshot_id="snap-0001", source_volume_id="vol-0001", creation_time=CREATED, ready_to_use=True
    )
    any_world.wait(5)
    assert any_world.snapshot(volume.volume_id) == first
    any_world.refused(
        csi.CreateSnapshotRequest(name="s", source_volume_id=other.volume_id), CsiCode.ALREADY_EXISTS, match="snap-0001 of volume vol-0001"
    )
    assert any_world.call(csi.GetSnapshotRequest(snapshot_id="snap-0001")).snapshot == first
    assert any_world.snapshot(volume.volume_id, "x" * 128).snapshot_id == "snap-0002"


def test_readiness_follows_the_clock(any_world: World) -> None:
    volume = any_world.volume()
    knob = {"readyAfter": "1m8.5s"}
    first = any_world.snapshot(volume.volume_id, parameters=knob)
    assert (first.ready_to_use, first.creation_time) == (False, CREATED)
    any_world.refused(create("r", snapshot=first.snapshot_id), CsiCode.ABORTED, match="still being processed")
    any_world.wait(68.4)
    assert any_world.snapshot(volume.volume_id, parameters=knob) == first
    any_world.wait(0.1)
    again = any_world.snapshot(volume.volume_id, parameters=knob)
    assert (again.ready_to_use, again.creation_time) == (True, CREATED)
    assert any_world.volume("r", snapshot=first.snapshot_id).volume_id == "vol-0002"


def test_injected_failure_cuts_nothing(any_world: World) -> None:
    volume = any_world.volume()
    request = csi.CreateSnapshotRequest(name="s", source_volume_id=volume.volume_id, parameters={"fail": "13"})
    for _ in range(2):
        error = any_world.refused(request, CsiCode.INTERNAL)
        assert str(error) == "rpc error: code = Internal desc = injected failure"
    assert any_world.call(csi.ListSnapshotsRequest()).entries == []


def test_snapshots_outlive_their_volume(any_world: World) -> None:
    volume = any_world.volume()
    snapshot = any_world.snapshot(volume.volume_id)
    any_world.call(csi.DeleteVolumeRequest(volume_id=volume.volume_id))
    assert [entry.snapshot for entry in any_world.call(csi.ListSnapshotsRequest()).entries] == [snapshot]
    assert any_world.volume("restored", snapshot=snapshot.snapshot_id).content_source == csi.VolumeContentSource(
        snapshot=csi.SnapshotSource(snapshot_id=snapshot.snapshot_id)
    )
    for _ in range(2):
        any_world.call(csi.DeleteSnapshotRequest(snapshot_id=snapshot.snapshot_id))
    assert any_world.call(csi.ListSnapshotsRequest()).entries == []


@pytest.mark.parametrize("transport", ["inprocess", "grpc"])
def test_a_driver_whose_snapshots_and_restores_depend_on_their_source(transport: str) -> None:
    with world(transport, replace(full(), independent_snapshots=False, independent_restores=False)) as here:
        volume = here.volume()
        snapshot = here.snapshot(volume.volume_id)
        restored = here.volume("r", snapshot=snapshot.snapshot_id)
        here.refused(csi.DeleteVolumeRequest(volume_id=volume.volume_id), CsiCode.FAILED_PRECONDITION, match="snap-0001")
        here.refused(csi.DeleteSnapshotRequest(snapshot_id=snapshot.snapshot_id), CsiCode.FAILED_PRECONDITION, match="vol-0002")
        here.call(csi.DeleteVolumeRequest(volume_id=restored.volume_id))
        here.call(csi.DeleteSnapshotRequest(snapshot_id=snapshot.snapshot_id))
        here.call(csi.DeleteVolumeRequest(volume_id=volume.volume_id))


def test_list_filters_and_pages(any_world: World) -> None:
    volumes = [any_world.volume(name).volume_id for name in ("v", "w")]
    ids = [any_world.snapshot(volumes[number % 2], f"s{number}").snapshot_id for number in range(6)]

    def listed(**arguments: object) -> list[str]:
        return [entry.snapshot.snapshot_id for entry in any_world.call(csi.ListSnapshotsRequest(**arguments)).entries]

    assert listed() == ids
    assert listed(snapshot_id=ids[3]) == [ids[3]]
    assert listed(source_volume_id=volumes[1]) == ids[1::2]
    assert listed(source_volume_id=volumes[1], snapshot_id=ids[0]) == []
    first = any_world.call(csi.ListSnapshotsRequest(max_entries=2))
    any_world.call(csi.DeleteSnapshotRequest(snapshot_id=ids[2]))
    assert listed(starting_token=first.next_token) == ids[3:]
    any_world.refused(csi.ListSnapshotsRequest(starting_token="invalid-token"), CsiCode.ABORTED)


def test_restore_and_clone_sizes(any_world: World) -> None:
    volume = any_world.volume(size=2 * GIB)
    snapshot = any_world.snapshot(volume.volume_id)
    for source in ({"snapshot": snapshot.snapshot_id}, {"clone": volume.volume_id}):
        kind = next(iter(source))
        any_world.refused(create(f"{kind}-small", size=2 * GIB - 1, **source), CsiCode.OUT_OF_RANGE, match="the source needs 2147483648")
        any_world.refused(create(f"{kind}-limit", size=0, limit=GIB, **source), CsiCode.OUT_OF_RANGE)
        assert any_world.volume(f"{kind}-equal", size=2 * GIB, **source).capacity_bytes == 2 * GIB
        assert any_world.volume(f"{kind}-larger", size=3 * GIB, **source).capacity_bytes == 3 * GIB
        assert any_world.volume(f"{kind}-none", size=0, **source).capacity_bytes == 2 * GIB
        again = any_world.volume(f"{kind}-equal", size=2 * GIB, **source)
        assert again.content_source is not None
        any_world.refused(create(f"{kind}-equal", size=2 * GIB), CsiCode.ALREADY_EXISTS, match="another content source")


@pytest.mark.parametrize("transport", ["inprocess", "grpc"])
def test_where_a_source_can_be_read(transport: str) -> None:
    with world(transport, full(source_scope="topology")) as here:
        volume = here.volume("v", requisite=["a"])
        snapshot = here.snapshot(volume.volume_id)
        assert zones_of(here.volume("r1", snapshot=snapshot.snapshot_id, requisite=["b", "a"], preferred=["b"])) == ["a"]
        assert zones_of(here.volume("r2", snapshot=snapshot.snapshot_id)) == ["a"]
        here.refused(
            create("r3", snapshot=snapshot.snapshot_id, requisite=["b"]),
            CsiCode.RESOURCE_EXHAUSTED,
            match="b: snap-0001 cannot be read there",
        )
        here.refused(create("c1", clone=volume.volume_id, requisite=["c"]), CsiCode.RESOURCE_EXHAUSTED, match="vol-0001 cannot be read")
    with world(transport, full()) as here:
        snapshot = here.snapshot(here.volume("v", requisite=["a"]).volume_id)
        assert zones_of(here.volume("r", snapshot=snapshot.snapshot_id, requisite=["b"])) == ["b"]


@pytest.mark.parametrize("transport", ["inprocess", "grpc"])
@pytest.mark.parametrize(("scope", "allowed"), [("node", ["a/n1"]), ("topology", ["a/n1", "a/n2"]), ("anywhere", ["a/n1", "a/n2", "b/n3"])])
def test_snapshots_of_a_driver_with_node_local_volumes(transport: str, scope: str, allowed: list[str]) -> None:
    keys = ("zone", "node")
    segments = tuple({"zone": zone, "node": node} for zone, node in [("a", "n1"), ("a", "n2"), ("b", "n3")])
    profile = replace(full(), topology_keys=keys, segments=segments, node_key="node", source_scope=scope)
    with world(transport, profile) as here:
        home = csi.TopologyRequirement(requisite=[csi.Topology(segments={"zone": "a", "node": "n1"})])
        volume = here.call(msgspec.structs.replace(create(), accessibility_requirements=home)).volume
        snapshot = here.snapshot(volume.volume_id)
        found = []
        for number, segment in enumerate(segments):
            wanted = csi.TopologyRequirement(requisite=[csi.Topology(segments=segment)])
            request = msgspec.structs.replace(create(f"r{number}", snapshot=snapshot.snapshot_id), accessibility_requirements=wanted)
            if profile.segment_text(segment) in allowed:
                assert here.call(request).volume.accessible_topology == wanted.requisite
                found.append(profile.segment_text(segment))
            else:
                here.refused(request, CsiCode.RESOURCE_EXHAUSTED)
        assert found == allowed


def topology_of(snapshot: csi.Snapshot) -> list[dict[str, str]]:
    return [dict(topology.segments) for topology in snapshot.accessible_topology]


@pytest.mark.parametrize("transport", ["inprocess", "grpc"])
@pytest.mark.parametrize(
    ("scope", "told", "refused"),
    [
        ("anywhere", [], ["nowhere"]),
        ("topology", [{"zone": "a"}], ["b", "nowhere"]),
        ("node", [{"zone": "a", "node": "n1"}], ["b", "nowhere"]),
    ],
)
def test_from_where_a_snapshot_is_usable(transport: str, scope: str, told: list[dict[str, str]], refused: list[str]) -> None:
    segments = tuple({"zone": zone, "node": node} for zone, node in [("a", "n1"), ("a", "n2"), ("b", "n3")])
    profile = replace(full(), topology_keys=("zone", "node"), segments=segments, node_key="node", source_scope=scope)
    with world(transport, profile) as here:
        home = csi.TopologyRequirement(requisite=[csi.Topology(segments={"zone": "a", "node": "n1"})])
        volume = here.call(msgspec.structs.replace(create(), accessibility_requirements=home)).volume

        def asked(name: str, *wanted: str) -> csi.CreateSnapshotRequest:
            terms = [csi.Topology(segments={"zone": zone}) for zone in wanted]
            requirement = csi.TopologyRequirement(requisite=terms, preferred=terms[:1])
            return csi.CreateSnapshotRequest(name=name, source_volume_id=volume.volume_id, accessibility_requirements=requirement)

        assert topology_of(here.snapshot(volume.volume_id)) == told
        assert topology_of(here.call(asked("wanted", "a")).snapshot) == told
        assert topology_of(here.call(asked("either", "b", "a")).snapshot) == told
        for number, zone in enumerate(refused):
            here.refused(asked(f"r{number}", zone), CsiCode.RESOURCE_EXHAUSTED, match="outside the requirement")
            here.refused(asked("s", zone), CsiCode.ALREADY_EXISTS, match="snap-0001")
        stray = csi.TopologyRequirement(requisite=home.requisite, preferred=[csi.Topology(segments={"zone": "b"})])
        here.refused(
            csi.CreateSnapshotRequest(name="p", source_volume_id=volume.volume_id, accessibility_requirements=stray),
            CsiCode.INVALID_ARGUMENT,
            match="preferred",
        )
        assert len(here.driver.snapshots()) == 3


@pytest.mark.parametrize("transport", ["inprocess", "grpc"])
def test_snapshot_topology_needs_its_capability(transport: str) -> None:
    services = tuple(name for name in full().services if name != "SNAPSHOT_ACCESSIBILITY_CONSTRAINTS")
    with world(transport, replace(full(source_scope="topology"), services=services)) as here:
        volume = here.volume("v", requisite=["a"])
        assert here.snapshot(volume.volume_id).accessible_topology == []
        request = csi.CreateSnapshotRequest(
            name="t", source_volume_id=volume.volume_id, accessibility_requirements=csi.TopologyRequirement(requisite=zones("a"))
        )
        here.refused(request, CsiCode.INVALID_ARGUMENT, match="SNAPSHOT_ACCESSIBILITY_CONSTRAINTS")
