"""Records: what is acknowledged is durable, what is refused leaves nothing, and one process holds the file."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.unit.csi import kill9_serve
from tests.unit.csi.world import GIB, START_NS, World, create, full, world
from volsched.api import csi
from volsched.csi.backend import FakeDriver
from volsched.csi.directory import DirectoryData
from volsched.csi.inprocess import InProcessClient
from volsched.csi.journal import SqliteJournal
from volsched.csi.state import Row
from volsched.env.clock import VirtualClock
from volsched.errors import CsiCode, CsiError, InputError, StateError
from volsched.store import Store


class ListJournal:
    """Rows in memory, and a switch that makes the next write fail."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, str], bytes] = {}
        self.broken = False

    def read(self) -> list[Row]:
        return [Row(kind, key, body) for (kind, key), body in self.rows.items()]

    def write(self, puts: Sequence[Row], drops: Sequence[tuple[str, str]]) -> None:
        if self.broken:
            raise StateError("disk is gone")
        for kind, key in drops:
            del self.rows[kind, key]
        for row in puts:
            self.rows[row.kind, row.key] = row.body

    def close(self) -> None:
        pass


def fill(here: World) -> None:
    """Something of everything."""
    volume = here.volume("v", requisite=["a"], mutable={"iops": "1"}, parameters={"k": "v"})
    other = here.volume("w", requisite=["b"], modes=["MULTI_NODE_MULTI_WRITER"], block=True)
    gone = here.volume("gone", requisite=["a"])
    snapshot = here.snapshot(volume.volume_id, parameters={"readyAfter": "8s"})
    here.snapshot(other.volume_id, "gone")
    here.call(csi.DeleteSnapshotRequest(snapshot_id="snap-0002"))
    here.call(csi.DeleteVolumeRequest(volume_id=gone.volume_id))
    here.wait(10)
    here.volume("r", snapshot=snapshot.snapshot_id, requisite=["c"])
    here.mount(volume.volume_id, "/t/mount")


def reopened(journal: SqliteJournal | ListJournal) -> FakeDriver:
    return FakeDriver(full(), clock=VirtualClock(START_NS), journal=journal)


def records(driver: FakeDriver) -> object:
    return driver.export_state()["records"]


def test_another_driver_on_the_same_journal_has_the_same_records() -> None:
    journal = ListJournal()
    with world(journal=journal) as here:
        fill(here)
        again = reopened(journal)
        assert records(again) == records(here.driver)
        # indexes and numbers too: the names are known, room is counted, the next ids go on
        again.data.replace(here.driver.data.export())
        client = World(InProcessClient(again), again, here.clock, "inprocess")
        client.refused(create("v", size=2 * GIB), CsiCode.ALREADY_EXISTS)
        client.refused(csi.DeleteVolumeRequest(volume_id="vol-0001"), CsiCode.FAILED_PRECONDITION, match="n1")
        assert client.volume("x").volume_id == "vol-0005"
        assert client.snapshot("vol-0002", "x").snapshot_id == "snap-0003"
        assert [entry.volume.volume_id for entry in client.call(csi.ListVolumesRequest()).entries] == [
            "vol-0001",
            "vol-0002",
            "vol-0004",
            "vol-0005",
        ]


def test_a_write_that_fails_changes_nothing() -> None:
    journal = ListJournal()
    with world(journal=journal) as here:
        fill(here)
        before = records(here.driver)
        journal.broken = True
        for request in (
            create("new"),
            csi.CreateSnapshotRequest(name="new", source_volume_id="vol-0001"),
            csi.DeleteSnapshotRequest(snapshot_id="snap-0001"),
            csi.DeleteVolumeRequest(volume_id="vol-0002"),
            csi.ControllerModifyVolumeRequest(volume_id="vol-0001", mutable_parameters={"iops": "2"}),
        ):
            with pytest.raises(StateError, match="disk is gone"):
                here.call(request)
        assert records(here.driver) == before
        journal.broken = False
        assert here.volume("new").volume_id == "vol-0005"
        assert here.driver.digest_volume("vol-0002")


def test_a_failing_disk_is_an_error_of_the_call_over_the_socket() -> None:
    journal = ListJournal()
    with world("grpc", journal=journal) as here:
        journal.broken = True
        here.refused(create("new"), CsiCode.INTERNAL, match="disk is gone")


def test_a_call_that_fails_half_way_leaves_no_bytes() -> None:
    journal = ListJournal()
    with world(journal=journal) as here:
        journal.broken = True
        with pytest.raises(StateError):
            here.call(create("new"))
        journal.broken = False
        here.driver.data.sweep(set())
        assert here.volume("other").volume_id == "vol-0001"
        assert here.driver.data.usage("vol-0001").files == 0


def test_export_and_import() -> None:
    with world() as here, world() as other:
        fill(here)
        here.driver.data.write(node="n1", target="/t/mount", name="x", data=b"bytes")
        exported = here.driver.export_state()
        other.volume("something else")
        other.driver.import_state(exported)
        assert other.driver.export_state() == exported
        assert other.driver.data.read(node="n1", target="/t/mount", name="x") == b"bytes"
        assert other.volume("x").volume_id == here.volume("x").volume_id
    with world(profile=full(name="another.driver")) as another, pytest.raises(InputError, match="is of 'full"):
        another.driver.import_state(exported)


def test_sqlite_journal(tmp_path: Path) -> None:
    path = tmp_path / "driver.db"
    journal = SqliteJournal(path)
    with world(journal=journal) as here:
        fill(here)
        before = records(here.driver)
        with pytest.raises(StateError, match=r"driver\.db: in use by this process"):
            SqliteJournal(path)
    journal = SqliteJournal(path)
    again = reopened(journal)
    assert records(again) == before
    again.close()
    with pytest.raises(StateError, match=r"driver\.db"):
        journal.write([], [("volume", "x")])


def test_files_that_are_not_a_driver_state(tmp_path: Path) -> None:
    text, other, newer = tmp_path / "text", tmp_path / "other.db", tmp_path / "newer.db"
    text.write_text("no database at all, and long enough to be read as one" * 40)
    connection = sqlite3.connect(other)
    connection.execute("CREATE TABLE t (x)")
    connection.close()
    SqliteJournal(newer).close()
    connection = sqlite3.connect(newer)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    cluster = tmp_path / "cluster.db"
    Store.open(cluster).close()
    for path, message in (
        (text, "not a volsched driver state"),
        (other, "not a volsched driver state"),
        (newer, "of format version 99, this volsched reads up to version 2"),
        (cluster, "the state of a cluster, not of a CSI driver"),
        (tmp_path / "no" / "folder.db", "cannot be created: No such file or directory"),
    ):
        before = path.read_bytes() if path.exists() else None
        with pytest.raises(StateError, match=message) as caught:
            SqliteJournal(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)
        assert (path.read_bytes() if path.exists() else None) == before


def test_a_row_that_cannot_be_read_is_named() -> None:
    journal = ListJournal()
    journal.rows["volume", "vol-0001"] = b'{"ordinal": 1}'
    with pytest.raises(StateError, match="volume vol-0001 cannot be read"):
        reopened(journal)


def test_restart_with_real_files_keeps_bytes_and_sweeps_the_rest(tmp_path: Path) -> None:
    def start() -> FakeDriver:
        journal = SqliteJournal(tmp_path / "driver.db")
        return FakeDriver(full(), clock=VirtualClock(START_NS), data=DirectoryData(tmp_path / "data"), journal=journal)

    driver = start()
    driver.register_node("n1", {})
    client = World(InProcessClient(driver), driver, VirtualClock(START_NS), "inprocess")
    volume = client.volume("v")
    client.mount(volume.volume_id, str(tmp_path / "t"))
    (tmp_path / "t" / "x").write_bytes(b"bytes")
    client.snapshot(volume.volume_id)
    digest = driver.digest_snapshot("snap-0001")
    (tmp_path / "data" / "volumes" / "vol-0009" / "fs").mkdir(parents=True)
    driver.close()

    driver = start()
    assert (tmp_path / "t" / "x").read_bytes() == b"bytes"
    assert driver.digest_snapshot("snap-0001") == digest == driver.digest_volume("vol-0001")
    assert sorted(path.name for path in (tmp_path / "data" / "volumes").iterdir()) == ["vol-0001"]
    driver.close()


def test_a_second_call_for_a_busy_object_is_aborted() -> None:
    """A driver inside a call (here: while its bytes are cut) answers ABORTED for the same object and waits for nothing."""
    with world() as here:
        volume = here.volume()
        refused: list[CsiError] = []
        cut = here.driver.data.cut

        def cut_and_ask_again(snapshot_id: str, volume_id: str) -> None:
            with pytest.raises(CsiError) as caught:
                here.snapshot(volume.volume_id, "s")
            refused.append(caught.value)
            cut(snapshot_id, volume_id)

        here.driver.data.cut = cut_and_ask_again  # type: ignore[method-assign]
        assert here.snapshot(volume.volume_id, "s").snapshot_id == "snap-0001"
        assert [error.code for error in refused] == [CsiCode.ABORTED]


def test_nothing_acknowledged_is_lost_to_kill_9(tmp_path: Path) -> None:
    figures = kill9_serve.torture(tmp_path, kills=4, seed=3)
    assert figures["calls_acknowledged"] > figures["objects_made"] > 0
