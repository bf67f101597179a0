"""Bytes: what a pod writes through a published path is what a snapshot holds, a restore gives back, and a clone copies."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.csi.world import GIB, World, capability, create, full, world
from volsched.api import csi
from volsched.csi.data import CHUNK_BYTES, Link, MemoryData, Ref, pack, unpack
from volsched.csi.directory import DirectoryData
from volsched.errors import CsiCode, CsiError


@pytest.fixture(params=["memory", "files"])
def here(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    with world(files=request.param == "files") as made:
        made.folder = tmp_path  # type: ignore[attr-defined]
        yield made


def target(here: World, name: str) -> str:
    return str(here.folder / name / "mount")  # type: ignore[attr-defined]


def noise(seed: int, size: int = 100_000) -> bytes:
    return random.Random(seed).randbytes(size)


@pytest.mark.parametrize("block", [False, True])
def test_a_restore_gives_the_bytes_of_the_cut_and_shares_nothing(here: World, block: bool) -> None:
    name = "" if block else "folder/data"
    volume = here.volume("v", requisite=["a"], block=block)
    at = target(here, "v")
    here.mount(volume.volume_id, at, block=block)
    data = here.driver.data
    data.write(node="n1", target=at, name=name, data=noise(1))
    snapshot = here.snapshot(volume.volume_id)
    cut = here.driver.digest_volume(volume.volume_id)
    assert here.driver.digest_snapshot(snapshot.snapshot_id) == cut

    data.write(node="n1", target=at, name=name, data=noise(2))
    assert here.driver.digest_volume(volume.volume_id) != cut
    restored = here.volume("r", snapshot=snapshot.snapshot_id, requisite=["a"], block=block, size=2 * GIB)
    clone = here.volume("c", clone=volume.volume_id, requisite=["a"], block=block)
    for copy, expected in ((restored, noise(1)), (clone, noise(2))):
        place = target(here, copy.volume_id)
        here.mount(copy.volume_id, place, block=block)
        assert data.read(node="n1", target=place, name=name) == expected.rstrip(b"\0")
    assert here.driver.digest_volume(restored.volume_id) == cut

    # neither side sees what the other does from now on
    data.write(node="n1", target=target(here, restored.volume_id), name=name, data=noise(3))
    assert here.driver.digest_snapshot(snapshot.snapshot_id) == cut
    assert data.read(node="n1", target=at, name=name) == noise(2).rstrip(b"\0")
    here.unmount(volume.volume_id, at)
    here.call(csi.DeleteVolumeRequest(volume_id=volume.volume_id))
    assert here.driver.digest_snapshot(snapshot.snapshot_id) == cut
    assert here.driver.digest_volume(clone.volume_id) != cut
    here.call(csi.DeleteSnapshotRequest(snapshot_id=snapshot.snapshot_id))
    assert data.read(node="n1", target=target(here, restored.volume_id), name=name) == noise(3).rstrip(b"\0")


def test_content_that_changes_its_mode_and_back(here: World) -> None:
    volume = here.volume("v", requisite=["a"])
    here.mount(volume.volume_id, target(here, "v"))
    content = {"one": noise(1), "deep/er/two": noise(2), "empty": b"", "zeros": bytes(100_000)}
    for name, written in content.items():
        here.driver.data.write(node="n1", target=target(here, "v"), name=name, data=written)
    first = here.snapshot(volume.volume_id, "first")
    device = here.volume("device", snapshot=first.snapshot_id, block=True, requisite=["a"])
    second = here.snapshot(device.volume_id, "second")
    back = here.volume("back", snapshot=second.snapshot_id, requisite=["a"])
    here.mount(back.volume_id, target(here, "back"))
    for name, written in content.items():
        assert here.driver.data.read(node="n1", target=target(here, "back"), name=name) == written

    small = here.volume("small", size=5000, requisite=["a"])
    here.mount(small.volume_id, target(here, "small"))
    here.driver.data.write(node="n1", target=target(here, "small"), name="big", data=noise(4))
    here.refused(create("tight", clone=small.volume_id, size=5000, block=True), CsiCode.OUT_OF_RANGE, match="as a device")


def test_a_device_without_a_filesystem_becomes_an_empty_one(here: World) -> None:
    volume = here.volume("v", requisite=["a"], block=True)
    here.mount(volume.volume_id, target(here, "v"), block=True)
    here.driver.data.write(node="n1", target=target(here, "v"), data=noise(5))
    made = here.volume("m", clone=volume.volume_id, requisite=["a"])
    assert here.driver.data.usage(made.volume_id).files == 0


def test_nothing_is_published_twice_or_left(here: World) -> None:
    volume = here.volume("v", requisite=["a"])
    data = here.driver.data
    with pytest.raises(CsiError, match="nothing is published"):
        data.write(node="n1", target=target(here, "v"), name="x", data=b"x")
    here.mount(volume.volume_id, target(here, "v"))
    here.mount(volume.volume_id, target(here, "v"))
    with pytest.raises(CsiError, match="no such file"):
        data.read(node="n1", target=target(here, "v"), name="x")
    here.unmount(volume.volume_id, target(here, "v"))
    with pytest.raises(CsiError, match="nothing is published"):
        data.read(node="n1", target=target(here, "v"), name="x")


def test_a_device_has_its_size(here: World) -> None:
    volume = here.volume("v", requisite=["a"], block=True, size=3 * CHUNK_BYTES)
    place = target(here, "v")
    here.mount(volume.volume_id, place, block=True)
    data = here.driver.data
    data.write(node="n1", target=place, data=b"end", offset=3 * CHUNK_BYTES - 3)
    with pytest.raises(CsiError, match="no space left"):
        data.write(node="n1", target=place, data=b"over", offset=3 * CHUNK_BYTES - 3)
    here.call(csi.ControllerExpandVolumeRequest(volume_id=volume.volume_id, capacity_range=csi.CapacityRange(required_bytes=GIB)))
    data.write(node="n1", target=place, data=b"over", offset=3 * CHUNK_BYTES - 3)
    data.write(node="n1", target=place, data=b"a" * (CHUNK_BYTES + 10), offset=CHUNK_BYTES - 5)
    read = data.read(node="n1", target=place)
    assert read == bytes(CHUNK_BYTES - 5) + b"a" * (CHUNK_BYTES + 10) + bytes(CHUNK_BYTES - 8) + b"over"


def test_memory_refuses_writes_to_a_readonly_publication() -> None:
    with world() as here:
        volume = here.volume("v", requisite=["a"])
        here.mount(volume.volume_id, "/t/mount", readonly=True)
        with pytest.raises(CsiError, match="read-only"):
            here.driver.data.write(node="n1", target="/t/mount", name="x", data=b"x")


# Real paths


def files(tmp_path: Path) -> DirectoryData:
    return DirectoryData(tmp_path / "root")


def test_the_published_path_is_a_directory_of_real_files(tmp_path: Path) -> None:
    with world(files=True) as here:
        volume = here.volume("v", requisite=["a"])
        path = tmp_path / "pods" / "1" / "mount"
        path.mkdir(parents=True)  # an empty directory made by the orchestrator is replaced
        here.mount(volume.volume_id, str(path))
        (path / "sub").mkdir()
        (path / "sub" / "file").write_bytes(b"content")
        (path / "link").symlink_to("sub/file")
        os.mkfifo(path / "fifo")
        (path / "sub" / "file").chmod(0o640)
        snapshot = here.snapshot(volume.volume_id)
        restored = here.volume("r", snapshot=snapshot.snapshot_id, requisite=["a"])
        copy = tmp_path / "copy"
        here.mount(restored.volume_id, str(copy))
        assert (copy / "link").read_bytes() == b"content"
        assert (copy / "link").readlink() == Path("sub/file")
        assert (copy / "sub" / "file").stat().st_mode & 0o777 == 0o640
        assert (copy / "fifo").is_fifo()
        assert here.driver.digest_volume(restored.volume_id) == here.driver.digest_volume(volume.volume_id)
        here.unmount(volume.volume_id, str(path))
        assert not path.exists()
        assert path.parent.is_dir()


def test_a_target_that_is_something_else_is_refused(tmp_path: Path) -> None:
    data = files(tmp_path)
    data.create("vol-1", block=False, size_bytes=1, source=None)
    full_folder, file, link = tmp_path / "folder", tmp_path / "file", tmp_path / "link"
    full_folder.mkdir()
    (full_folder / "x").touch()
    file.touch()
    link.symlink_to(tmp_path)
    for path in (full_folder, file, link):
        with pytest.raises(CsiError, match="node n1"):
            data.publish("vol-1", node="n1", target=str(path), readonly=False)
        data.unpublish("vol-1", node="n1", target=str(path))
        assert path.exists()
    # a link to another volume of this driver was left by a crash
    data.create("vol-2", block=False, size_bytes=1, source=None)
    data.publish("vol-2", node="n1", target=str(tmp_path / "t"), readonly=False)
    data.publish("vol-1", node="n1", target=str(tmp_path / "t"), readonly=False)
    data.unpublish("vol-2", node="n1", target=str(tmp_path / "t"))
    assert (tmp_path / "t").readlink() == tmp_path / "root" / "volumes" / "vol-1" / "fs"


def test_sparse_devices_stay_sparse(tmp_path: Path) -> None:
    data = files(tmp_path)
    data.create("vol-1", block=True, size_bytes=1 << 34, source=None)
    device = tmp_path / "root" / "volumes" / "vol-1" / "device"
    with device.open("r+b") as opened:
        opened.seek(1 << 33)
        opened.write(b"middle")
    data.cut("snap-1", "vol-1")
    data.create("vol-2", block=True, size_bytes=1 << 35, source=Ref("snapshots", "snap-1"))
    copy = tmp_path / "root" / "volumes" / "vol-2" / "device"
    assert copy.stat().st_size == 1 << 35
    assert copy.stat().st_blocks * 512 < 1 << 24
    with copy.open("rb") as opened:
        opened.seek(1 << 33)
        assert opened.read(6) == b"middle"


def test_sweep_and_leftovers(tmp_path: Path) -> None:
    for data in (files(tmp_path), MemoryData()):
        for name in ("vol-1", "vol-2"):
            data.create(name, block=False, size_bytes=1, source=None)
        data.cut("snap-1", "vol-1")
        data.cut("snap-2", "vol-1")
        if isinstance(data, DirectoryData):
            (tmp_path / "root" / "making" / "volumes-vol-3").mkdir()
        data.sweep({Ref("volumes", "vol-1"), Ref("snapshots", "snap-2")})
        assert data.usage("vol-1").files == 0
        assert data.digest(Ref("snapshots", "snap-2"))
        for ref in (Ref("volumes", "vol-2"), Ref("snapshots", "snap-1")):
            with pytest.raises(CsiError, match="is missing"):
                data.digest(ref)
    assert (
        sorted(path.name for path in (tmp_path / "root").rglob("*"))
        == ["device", "fs", "fs", "making", "snap-2", "snapshots", "vol-1", "volumes"][1:]
    )


def test_export_and_replace_keep_memory() -> None:
    with world() as here:
        tree, device = here.volume("v", requisite=["a"]), here.volume("d", requisite=["a"], block=True)
        here.mount(tree.volume_id, "/t/mount")
        here.mount(device.volume_id, "/d/device", block=True)
        here.driver.data.write(node="n1", target="/t/mount", name="x", data=noise(6))
        here.driver.data.write(node="n1", target="/d/device", data=noise(7), offset=CHUNK_BYTES * 3 + 1)
        exported = here.driver.data.export()
        other = MemoryData()
        other.replace(exported)
        assert other.export() == exported
        assert other.read(node="n1", target="/t/mount", name="x") == noise(6)
        assert other.read(node="n1", target="/d/device") == here.driver.data.read(node="n1", target="/d/device")


# Packed trees


def test_packing() -> None:
    tree = {"a": b"1", "b/": b"", "b/c": noise(8, 5000), "l": Link(b"a"), "ü/" + "x" * 200: b"long", "zeros": bytes(100_000)}
    assert unpack(pack(tree) + bytes(10_000)) == tree
    assert pack(dict(reversed(tree.items()))) == pack(tree)
    assert unpack(b"") == unpack(noise(9)) == {}


def test_nothing_of_a_packed_tree_leaves_the_volume(tmp_path: Path) -> None:
    evil = pack({"../out": b"1", "/abs": b"2", "l": Link(str(tmp_path).encode()), "l/through": b"3", "good": b"4"})
    assert sorted(unpack(evil)) == ["good", "l"]
    assert unpack(evil[:700]) == {}


def test_digest_counts_names_and_borders() -> None:
    with world(profile=full()) as here:
        digests = set()
        for number, tree in enumerate([{}, {"a": b""}, {"b": b""}, {"a": b"b"}, {"ab": b""}, {"a": b"", "b": b""}]):
            volume = here.volume(f"v{number}", requisite=["a"])
            here.mount(volume.volume_id, f"/{number}/mount")
            for name, content in tree.items():
                here.driver.data.write(node="n1", target=f"/{number}/mount", name=name, data=content)
            digests.add(here.driver.digest_volume(volume.volume_id))
        assert len(digests) == 6
        assert capability().mount is not None
