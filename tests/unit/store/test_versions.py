"""Files of earlier versions, written by the volsched of their time (tests/data/state), open with everything that was in them."""

from __future__ import annotations

import gzip
import json
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.unit.cli.shell import Shell
from tests.unit.csi.test_state import records, reopened
from tests.unit.store.worlds import ROOT
from volsched.api.kinds import KINDS, encode
from volsched.csi.journal import SqliteJournal
from volsched.errors import StateError
from volsched.store import Store
from volsched.store.journal import FORMAT

OLD = ROOT / "tests" / "data" / "state"
VERSIONS = range(1, FORMAT.version)


def old_file(name: str, target: Path, *, version: int = 1) -> Path:
    target.write_bytes(gzip.decompress((OLD / f"{name}-v{version}.db.gz").read_bytes()))
    return target


def rows(path: Path, statement: str) -> list[Any]:
    connection = sqlite3.connect(path)
    try:
        return connection.execute(statement).fetchall()
    finally:
        connection.close()


def schema(path: Path) -> list[Any]:
    return sorted(rows(path, "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL"))


def everything(store: Store) -> dict[str, object]:
    """What a store says of itself."""
    return {
        "objects": [encode(obj) for kind in KINDS for obj in store.list(kind).items],
        "history": [(event.resource_version, event.change.value, encode(event.object)) for event in store.watch(0)],
        "counters": (store.resource_version, store.clock.now_ns(), store.uids.seed, store.uids.issued, store.log.count, store.log.digest),
        "rooms": {room: store.values(room) for room in ("csi/zonal.csi.volsched.dev", "kubelet", "local-disks", "scheduler")},
    }


def as_written(path: Path) -> dict[str, object]:
    """The same, read from the tables of an older version, with what the nodes' drivers must have confirmed."""
    columns = "version, clock_ns, seed, issued, log_count, log_digest"
    ((version, clock, seed, issued, count, digest),) = rows(path, f"SELECT {columns} FROM counters")
    rooms: dict[str, dict[str, bytes]] = {"csi/zonal.csi.volsched.dev": {}, "kubelet": {}, "local-disks": {}, "scheduler": {}}
    for room, key, value in rows(path, "SELECT room, key, value FROM room"):
        rooms[room][key] = value
        if room == "kubelet" and key.startswith("staged"):
            rooms[room][key.replace("staged", "confirmed", 1)] = value
    bodies = {(kind, space, name): body for kind, space, name, body in rows(path, "SELECT kind, namespace, name, body FROM objects")}
    return {
        "objects": [bodies[key] for kind in KINDS for key in sorted(bodies) if key[0] == kind],
        "history": rows(path, "SELECT version, change, body FROM history ORDER BY version"),
        "counters": (version, clock, int(seed), issued, count, digest),
        "rooms": rooms,
    }


def crashed(path: Path) -> None:
    """Leave the file as a process of its time that is killed: with its log, in which the last writes are."""
    program = (
        "import os, sqlite3, sys; c = sqlite3.connect(sys.argv[1], isolation_level=None); c.execute('PRAGMA locking_mode = EXCLUSIVE'); "
        "c.execute('PRAGMA journal_mode = WAL'); c.execute('DELETE FROM room WHERE key = (SELECT max(key) FROM room)'); os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", program, str(path)], check=True)
    assert path.with_name(path.name + "-wal").stat().st_size


@pytest.mark.parametrize("killed", [False, True])
@pytest.mark.parametrize("read_only", [False, True])
@pytest.mark.parametrize("version", VERSIONS)
def test_a_cluster_of_an_older_version(tmp_path: Path, version: int, killed: bool, read_only: bool) -> None:
    path, copy = old_file("cluster", tmp_path / "state.db", version=version), tmp_path / "copy.db"
    if killed:
        crashed(path)
        shutil.copyfile(tmp_path / "state.db-wal", tmp_path / "copy.db-wal")
    shutil.copyfile(path, copy)
    expected = as_written(copy)
    with Store.open(path, read_only=read_only) as store:
        assert everything(store) == expected
    assert rows(path, "PRAGMA user_version") == [(version if read_only else FORMAT.version,)]
    if not read_only:
        Store.open(tmp_path / "new.db").close()
        assert schema(path) == schema(tmp_path / "new.db")
        with Store.open(path) as again:
            assert everything(again) == expected


@pytest.mark.parametrize("version", VERSIONS)
def test_a_cluster_of_an_older_version_goes_on(tmp_path: Path, version: int) -> None:
    volsched = Shell(tmp_path)
    old_file("cluster", volsched.state, version=version)
    before = volsched.content
    assert volsched.get("pod", "web-restore")["status"]["phase"] == "Running"
    assert volsched("describe", "vs/www-snap").out.startswith("Name:")
    assert volsched("explain", "pod/web").code == 0
    assert volsched.content == before
    volsched("delete", "vs/www-snap", "pod/web", "pod/web-restore", "pvc/www", "pvc/www-restore")
    assert volsched.get("pv,vsc,volumeattachments")["items"] == []


def test_damage_is_not_carried_over_unseen(tmp_path: Path) -> None:
    path = old_file("cluster", tmp_path / "state.db")
    connection = sqlite3.connect(path)
    connection.execute("UPDATE room SET value = 'text' WHERE key = 'data'")
    connection.commit()
    connection.close()
    with (
        Store.open(path) as store,
        pytest.raises(StateError, match=r"damaged: the checksum of csi/zonal\.csi\.volsched\.dev 'data' is wrong"),
    ):
        store.value("csi/zonal.csi.volsched.dev", "data")


def test_a_driver_of_version_1(tmp_path: Path) -> None:
    path = old_file("driver", tmp_path / "driver.db")
    expected = {(kind, key): json.loads(body) for kind, key, body in rows(path, "SELECT * FROM record")}
    for _ in range(2):
        driver = reopened(SqliteJournal(path))
        found = {(kind, key_of(record)): record for kind, items in records(driver).items() for record in items}  # type: ignore[attr-defined]
        assert found == expected
        driver.close()
    SqliteJournal(tmp_path / "new.db").close()
    assert schema(path) == schema(tmp_path / "new.db")
    assert rows(path, "PRAGMA user_version") == [(2,)]


def key_of(record: dict[str, Any]) -> str:
    return next(str(record[name]) for name in ("snapshot_id", "volume_id", "group_snapshot_id", "node_id", "name") if name in record)
