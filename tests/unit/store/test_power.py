"""Disks that lose power and disks that are full: what was acknowledged is there, and the rest is absent as a whole."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.builders import make_node, make_pod, make_pvc
from tests.unit.cli.shell import COMMAND, Shell
from tests.unit.csi.test_state import reopened
from tests.unit.csi.world import World
from tests.unit.store import power
from tests.unit.store.disk import Content, Disk, Operation, built, restore
from tests.unit.store.kill9 import RETAINED, picture, step, taken
from tests.unit.store.test_versions import as_written, everything, old_file
from tests.unit.store.worlds import ROOT, make_store
from volsched.csi.inprocess import InProcessClient
from volsched.csi.journal import SqliteJournal
from volsched.errors import StateError
from volsched.store import Store


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    try:
        return built(tmp_path_factory.mktemp("disk"))
    except FileNotFoundError as problem:
        pytest.skip(f"the watched disk needs a C++ compiler: {problem.filename} not found")


# power


@pytest.mark.slow
def test_power_cuts_lose_nothing(library: Path, tmp_path: Path) -> None:
    figures = power.run(library, tmp_path, cuts=3, looks=20, seed=1)
    assert figures.steps > 30
    assert figures.operations > 1_000


@pytest.mark.parametrize("level", ["OFF", "NORMAL"])
def test_a_file_that_is_not_synced_is_found_out(library: Path, tmp_path: Path, level: str) -> None:
    """The proof has teeth: with less than synchronous=FULL it fails."""
    with pytest.raises(AssertionError, match="acknowledged step"):
        power.run(library, tmp_path, cuts=1, looks=20, seed=1, synchronous=level)


@pytest.mark.slow
def test_a_power_cut_at_any_operation_of_a_migration(library: Path, tmp_path: Path) -> None:
    folder, copy = tmp_path / "disk", tmp_path / "copy"
    folder.mkdir()
    copy.mkdir()
    path = old_file("cluster", folder / "state.db")
    expected = as_written(path)
    disk, chance = Disk(folder), random.Random(1)
    program = f"from pathlib import Path; from volsched.store import Store; Store.open(Path({str(path)!r})).close()"
    operations = power.watched(library, folder, tmp_path / "record", "-c", program)
    assert len(operations) > 30
    for operation in operations:
        for _ in range(4):
            restore(copy, disk.after_crash(chance))
            with Store.open(copy / "state.db") as store:
                assert everything(store) == expected
        if operation.name != "say":
            disk.carry_out(operation)


def test_what_a_crash_may_leave_of_a_file() -> None:
    """The model itself: synced bytes stay, others come and go sector by sector, sizes may run ahead of bytes."""
    content = Content(b"a" * 1_000)
    content.since.append(Operation("write", "", 400, b"b" * 1_000))
    left = {content.after_crash(random.Random(seed)) for seed in range(200)}
    assert len(left) > 10
    assert all(image[:400] == b"a" * 400 for image in left)
    assert b"a" * 1_000 in left
    assert b"a" * 400 + b"b" * 1_000 in left
    assert b"a" * 400 + b"b" * 112 + b"a" * 488 in left, "the first sector only"
    assert any(image.endswith(b"\0" * 100) for image in left)
    content.sync()
    assert {content.after_crash(random.Random(seed)) for seed in range(20)} == {b"a" * 400 + b"b" * 1_000}


# full


def _writer(library: Path, folder: Path, **disk: str) -> tuple[int, list[int], str]:
    """Exit code, steps acknowledged and last line of complaint of a writer that takes five steps."""
    command = [sys.executable, "-m", "tests.unit.store.kill9", "--write", str(folder / "state.db"), "--steps", "5"]
    environment = os.environ | {"LD_PRELOAD": str(library), "DISK_ROOT": str(folder)} | disk
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    return done.returncode, [int(line) for line in done.stdout.split()], done.stderr.rpartition("\nvolsched")[2].strip()


@pytest.mark.slow
def test_a_disk_that_fills_up_at_any_write(library: Path, tmp_path: Path) -> None:
    failed = 0
    for at in [*range(1, 12), *range(12, 120, 9)]:
        folder = tmp_path / str(at)
        folder.mkdir()
        code, steps, complaint = _writer(library, folder, DISK_FULL_AT=str(at))
        failed += code != 0
        if code:
            assert ".errors.StateError: state file " in complaint
            assert "\n" not in complaint
        judge = make_store(keep_log=False, retained=RETAINED)
        with make_store(path=folder / "state.db", keep_log=False, retained=RETAINED) as found:
            assert taken(found) == len(steps) if code else 5
            for number in range(1, taken(found) + 1):
                step(judge, number)
            assert picture(found) == picture(judge)
    assert failed > 10


@pytest.mark.slow
def test_apply_on_a_full_disk(library: Path, tmp_path: Path) -> None:
    volsched = Shell(tmp_path)
    volsched.apply(make_node("n1"))
    before = volsched.content
    full = tmp_path.parent / "full"
    full.touch()
    disk = {"LD_PRELOAD": str(library), "DISK_ROOT": str(tmp_path), "DISK_FULL": str(full)}
    file = volsched.file(make_pvc("c"), make_pod("p", claims=["c"]))

    def call(*words: str | Path, **more: str) -> subprocess.CompletedProcess[str]:
        command = [*COMMAND, *map(str, words)]
        return subprocess.run(command, env=volsched.environment(**disk, **more), capture_output=True, text=True, check=False)

    done = call("apply", "-f", file)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"error: state file {volsched.state}: ")
    assert done.stderr.count("\n") == 1
    assert volsched.content == before
    assert call("get", "no", "-o", "name").stdout == "node/n1\n", "a full disk can be looked at"
    full.unlink()
    # written, but there is no room for what the controllers do then
    for at in range(1, 60):
        done = call("apply", "-f", file, DISK_FULL_AT=str(at))
        if done.stdout:
            break
        assert done.returncode == 1
    assert done.stdout == "persistentvolumeclaim/c created\npod/p created\n"
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "database or disk is full; what was acknowledged before is safe, make room and try again" in done.stderr
    assert {item["kind"] for item in volsched.get("pvc,po")["items"]} == {"PersistentVolumeClaim", "Pod"}
    assert volsched("apply", "-f", file).lines == ["persistentvolumeclaim/c unchanged", "pod/p unchanged"]


DRIVER = """
import sys
from pathlib import Path
from tests.unit.csi.test_state import reopened
from tests.unit.csi.world import World
from volsched.csi.inprocess import InProcessClient
from volsched.csi.journal import SqliteJournal
from volsched.errors import StateError
state, full = map(Path, sys.argv[1:])
driver = reopened(SqliteJournal(state))
here = World(InProcessClient(driver), driver, None, "inprocess")
here.volume("before")
full.touch()
for attempt in range(2):
    try:
        here.volume("meanwhile", parameters={"k": "x" * 4_000})
    except StateError as refused:
        print(refused)
full.unlink()
here.volume("after")
driver.close()
"""


def test_a_driver_goes_on_when_there_is_room_again(library: Path, tmp_path: Path) -> None:
    state, full = tmp_path / "driver.db", tmp_path.parent / "full"
    environment = os.environ | {"LD_PRELOAD": str(library), "DISK_ROOT": str(tmp_path), "DISK_FULL": str(full)}
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, str(state), str(full)], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 2
    assert all(line.startswith(f"driver state {state}: database or disk is full; ") for line in done.stdout.splitlines())
    driver = reopened(SqliteJournal(state))
    assert [volume.name for volume in driver.volumes()] == ["before", "after"]
    assert World(InProcessClient(driver), driver, None, "inprocess").volume("next").volume_id == "vol-0003"  # type: ignore[arg-type]
    driver.close()


# read only

# Root may write anywhere until it gives up CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH: prctl(PR_CAPBSET_DROP, …) before an exec.
WITHOUT_PRIVILEGE = """
import ctypes, os, sys
if os.geteuid() == 0:
    for capability in (1, 2):
        assert ctypes.CDLL(None).prctl(24, capability, 0, 0, 0) == 0
os.execv(sys.argv[1], sys.argv[1:])
"""


def test_a_file_that_may_not_be_written(tmp_path: Path) -> None:
    """As on a disk that is mounted read only."""
    volsched = Shell(tmp_path)
    volsched.apply(make_node("n1"))
    before = volsched.content

    def call(*words: str | Path) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", WITHOUT_PRIVILEGE, *COMMAND, *map(str, words)]
        return subprocess.run(command, env=volsched.environment(), capture_output=True, text=True, check=False)

    file = volsched.file(make_node("n2"))
    volsched.state.chmod(0o400)
    tmp_path.chmod(0o500)
    try:
        done = call("apply", "-f", file)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith(f"error: state file {volsched.state}: read only, or in a folder that is; ")
        assert done.stderr.count("\n") == 1
        volsched.state.chmod(0o600)
        assert call("apply", "-f", file).stderr == done.stderr
        volsched.state.chmod(0o400)
        assert call("get", "no", "-o", "name").stdout == "node/n1\n"
        tmp_path.chmod(0o700)
        done = call("apply", "-f", file)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith(f"error: state file {volsched.state}: read only, or in a folder that is; ")
        assert call("describe", "no/n1").stdout.startswith("Name:")
    finally:
        tmp_path.chmod(0o700)
    assert volsched.content == before
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["state.db", "manifest-1.json", "manifest-2.json"])
    with pytest.raises(StateError, match="opened for reading only"), Store.open(volsched.state, read_only=True) as store:
        store.create(make_node("n3"), user="admin")
