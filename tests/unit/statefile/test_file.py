"""State files as their owners use them: created, migrated, shared with readers, refused."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.store.worlds import ROOT
from volsched.errors import StateError
from volsched.statefile import Format, StateFile

ONE = Format(name="test file", application_id=0x74657374, schema="CREATE TABLE t (x)")
TWO = replace(ONE, schema="CREATE TABLE t (x, twice)", migrations=("ALTER TABLE t ADD COLUMN twice; UPDATE t SET twice = 2 * x",))
THREE = replace(TWO, migrations=(*TWO.migrations, "UPDATE t SET twice = crc32(CAST(twice AS BLOB))"))
OTHER = Format(
    name="test file", application_id=0x6F746872, schema="CREATE TABLE t (x)", others={ONE.application_id: "a test file of another kind"}
)


def put(file: StateFile, number: int) -> None:
    file.begin()
    file.connection.execute("INSERT INTO t (x) VALUES (?)", (number,))
    file.connection.execute("COMMIT")


def numbers(file: StateFile) -> list[int]:
    return [row[0] for row in file.connection.execute("SELECT x FROM t ORDER BY x")]


def written(path: Path, form: Format, *values: int) -> None:
    file = StateFile.open(path, form)
    for value in values:
        put(file, value)
    file.close()


def left_by_a_kill(path: Path, form: Format, *values: int) -> None:
    """The same by a process that is killed with the file open, so that the log is beside it."""
    program = (
        "import os; from pathlib import Path; from tests.unit.statefile import test_file as t; from volsched.statefile import StateFile; "
        f"file = StateFile.open(Path({str(path)!r}), t.{form_name(form)}); [t.put(file, n) for n in {list(values)!r}]; os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)
    assert beside(path, "-wal").stat().st_size > 0


def form_name(form: Format) -> str:
    return next(name for name, value in globals().items() if value is form)


def beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def content(folder: Path) -> dict[str, bytes]:
    """Everything in a folder but what SQLite shares between processes, which means nothing afterwards."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.endswith("-shm")}


def refusal(act: Callable[[], object]) -> str:
    with pytest.raises(StateError) as refused:
        act()
    assert "\n" not in str(refused.value)
    return str(refused.value)


# who may open


def test_a_reader_sees_what_was_committed_when_it_looked(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    writer = StateFile.open(path, ONE)
    put(writer, 1)
    reader = StateFile.look(path, ONE)
    assert numbers(reader) == [1]
    put(writer, 2)
    assert numbers(reader) == [1]
    later = StateFile.look(path, ONE)
    assert numbers(later) == [1, 2]
    assert refusal(reader.begin) == f"test file {path}: opened for reading only"
    with pytest.raises(sqlite3.OperationalError):
        reader.connection.execute("INSERT INTO t VALUES (3)")
    for file in (reader, later, writer):
        file.close()
    assert [file.name for file in tmp_path.iterdir()] == ["x.db"]


def test_readers_in_other_processes_do_not_stop_a_writer(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    written(path, ONE, 1)
    program = (
        "import sys; from pathlib import Path; from tests.unit.statefile import test_file as t; from volsched.statefile import StateFile; "
        f"file = StateFile.look(Path({str(path)!r}), t.ONE); print(t.numbers(file), flush=True); sys.stdin.read(); print(t.numbers(file))"
    )
    with subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as reader:
        assert reader.stdout is not None
        assert reader.stdout.readline() == "[1]\n"
        written(path, ONE, 2)
        assert reader.communicate("")[0] == "[1]\n"
    assert numbers(StateFile.look(path, ONE)) == [1, 2]


def test_looking_at_what_a_killed_process_left(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    left_by_a_kill(path, ONE, 1, 2)
    file = StateFile.look(path, ONE)
    assert numbers(file) == [1, 2]
    file.close()


def test_looking_where_nothing_can_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of somebody else, or on a disk that is full or read only."""
    killed = tmp_path / "killed.db"
    rested = tmp_path / "rested.db"
    left_by_a_kill(killed, ONE, 1)
    beside(killed, "-shm").unlink()
    written(rested, ONE, 1)
    before = content(tmp_path)
    scratch = tmp_path.parent / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    monkeypatch.setattr(os, "access", lambda *_: False)
    for path in (killed, rested):
        file = StateFile.look(path, ONE)
        assert numbers(file) == [1]
        file.close()
    assert content(tmp_path) == before
    assert list(scratch.iterdir()) == []


def test_a_copy_is_taken_again_when_the_file_changes_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.db"
    written(path, ONE, 1)
    written(path.with_name("other.db"), ONE, 1, 2)
    copy, copies = shutil.copyfile, []

    def copy_and_write(source: Path, target: Path) -> None:
        copy(source, target)
        copies.append(source)
        if len(copies) == 1:
            path.with_name("other.db").rename(path)

    monkeypatch.setattr(os, "access", lambda *_: False)
    monkeypatch.setattr(shutil, "copyfile", copy_and_write)
    file = StateFile.look(path, ONE)
    assert numbers(file) == [1, 2]
    file.close()


def test_nothing_to_look_at(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    assert refusal(lambda: StateFile.look(path, ONE)) == f"test file {path}: does not exist"
    path.touch()
    assert refusal(lambda: StateFile.look(path, ONE)) == f"test file {path}: empty, nothing has been kept in it yet"
    assert [file.name for file in tmp_path.iterdir()] == ["x.db"]


def test_a_file_has_one_name(tmp_path: Path) -> None:
    """Through symbolic links it is one file with one lock; hard links would each have a log."""
    path, link = tmp_path / "x.db", tmp_path / "link.db"
    link.symlink_to(path)
    writer = StateFile.open(link, ONE)
    assert path.is_file()
    assert "in use by this process" in refusal(lambda: StateFile.open(path, ONE))
    writer.close()
    other = tmp_path / "other.db"
    other.hardlink_to(path)
    assert "has 2 names (hard links)" in refusal(lambda: StateFile.open(other, ONE))


# while it is open


def test_transactions_that_fail_or_are_taken_back_are_no_change_by_others(tmp_path: Path) -> None:
    file = StateFile.open(tmp_path / "x.db", ONE)
    for number in range(3_000):  # over several checkpoints
        file.begin()
        file.connection.execute("INSERT INTO t (x) VALUES (?)", (str(number) * 200,))
        file.connection.execute("ROLLBACK" if number % 3 else "COMMIT")
    file.close()


def test_a_change_by_another_program_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    file = StateFile.open(path, ONE)
    put(file, 1)
    other = sqlite3.connect(path)
    other.execute("DELETE FROM t")
    other.commit()
    other.close()
    assert "changed by another program while in use" in refusal(lambda: put(file, 2))
    file.close()


@pytest.mark.parametrize("replaced", [False, True])
def test_a_file_that_is_taken_away_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, replaced: bool) -> None:
    monkeypatch.chdir(tmp_path)
    file = StateFile.open(Path("x.db"), ONE)
    put(file, 1)
    monkeypatch.chdir("/")
    put(file, 2)
    (tmp_path / "x.db").rename(tmp_path / "y.db")
    if replaced:
        (tmp_path / "x.db").touch()
    assert "removed or replaced while in use" in refusal(lambda: put(file, 3))
    file.close()


def test_threads_may_take_turns(tmp_path: Path) -> None:
    file = StateFile.open(tmp_path / "x.db", ONE)
    for number in range(3):
        thread = threading.Thread(target=put, args=(file, number))
        thread.start()
        thread.join()
    assert numbers(file) == [0, 1, 2]
    file.close()
    file.close()


# versions


@pytest.mark.parametrize("make", [written, left_by_a_kill])
def test_an_older_file_is_migrated(tmp_path: Path, make: Callable[..., None]) -> None:
    path, fresh = tmp_path / "x.db", tmp_path / "fresh.db"
    make(path, ONE, 1, 5)
    file = StateFile.open(path, TWO)
    assert file.connection.execute("SELECT * FROM t ORDER BY x").fetchall() == [(1, 2), (5, 10)]
    file.close()
    written(fresh, TWO)
    for name in (path, fresh):
        connection = sqlite3.connect(name)
        assert connection.execute("PRAGMA user_version").fetchone() == (2,)
        assert connection.execute("PRAGMA application_id").fetchone() == (ONE.application_id,)
        connection.close()
    StateFile.open(path, THREE).close()


@pytest.mark.parametrize("make", [written, left_by_a_kill])
def test_looking_at_an_older_file_changes_nothing(tmp_path: Path, make: Callable[..., None]) -> None:
    path = tmp_path / "x.db"
    make(path, ONE, 3)
    looked = StateFile.look(path, THREE)
    assert looked.connection.execute("SELECT x FROM t").fetchall() == [(3,)]
    assert refusal(looked.begin).endswith("opened for reading only")
    looked.close()
    again = StateFile.open(path, ONE)
    assert numbers(again) == [3]
    again.close()


def test_a_migration_that_fails_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    written(path, ONE, 1)
    broken = replace(ONE, migrations=(f"{TWO.migrations[0]}; INSERT INTO missing VALUES (1)",))
    before = path.read_bytes()
    assert "no such table: missing" in refusal(lambda: StateFile.open(path, broken))
    assert path.read_bytes() == before
    assert "no such table: missing" in refusal(lambda: StateFile.look(path, broken))
    written(path, TWO, 2)


# refusals


def foreign(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.executescript("PRAGMA journal_mode = WAL; CREATE TABLE theirs (x); INSERT INTO theirs VALUES (1)")
    connection.close()


def text(path: Path) -> None:
    path.write_bytes(b"not a database, and longer than the header of one would be" * 9)


def short(path: Path) -> None:
    path.write_bytes(b"SQLite format 3\0")


NEWER = "written by a newer volsched, of format version 2, this volsched reads up to version 1; use the volsched that wrote it"

# fmt: off
REFUSED = [
    (foreign,                                   ONE,   "not a volsched test file; give another path with --state"),
    (text,                                      ONE,   "not a volsched test file; give another path with --state"),
    (short,                                     ONE,   "not a volsched test file; give another path with --state"),
    (lambda path: written(path, ONE, 1),        OTHER, "a test file of another kind; give another path with --state"),
    (lambda path: left_by_a_kill(path, ONE, 1), OTHER, "a test file of another kind; give another path with --state"),
    (lambda path: written(path, TWO, 1),        ONE,   NEWER),
    (lambda path: left_by_a_kill(path, TWO, 1), ONE,   NEWER),
]
# fmt: on


@pytest.mark.parametrize(("make", "form", "words"), REFUSED)
@pytest.mark.parametrize("how", [StateFile.open, StateFile.look])
def test_what_is_refused_stays_as_it_is(
    tmp_path: Path, make: Callable[[Path], None], form: Format, words: str, how: Callable[[Path, Format], StateFile]
) -> None:
    path = tmp_path / "x.db"
    make(path)
    before = content(tmp_path)
    assert refusal(lambda: how(path, form)).startswith(f"test file {path}: {words}")
    assert content(tmp_path) == before


def test_a_stamp_in_the_log_only_is_seen(tmp_path: Path) -> None:
    """A process that was killed right after it had migrated the file: the file itself is still of the old version."""
    path = tmp_path / "x.db"
    written(path, ONE, 1)
    old = path.read_bytes()
    left_by_a_kill(path, TWO, 2)
    assert path.read_bytes() == old
    before = content(tmp_path)
    assert "written by a newer volsched" in refusal(lambda: StateFile.open(path, ONE))
    assert content(tmp_path) == before


def test_a_log_that_was_not_committed_does_not_count(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    written(path, ONE, 1)
    left_by_a_kill(path, TWO, 2)
    log = beside(path, "-wal")
    content_of_log = log.read_bytes()
    frame = 24 + 4096
    assert (len(content_of_log) - 32) % frame == 0
    log.write_bytes(content_of_log[: 32 + frame])  # of several in the transaction
    assert content_of_log[32 + 4 : 32 + 8] == b"\0\0\0\0", "the first frame ends no transaction"
    file = StateFile.open(path, ONE)
    assert numbers(file) == [1]
    file.close()


def test_a_folder_that_is_not_there_or_no_file(tmp_path: Path) -> None:
    assert refusal(lambda: StateFile.open(tmp_path / "no" / "x.db", ONE)).endswith("x.db: cannot be created: No such file or directory")
    for how in (StateFile.open, StateFile.look):
        assert refusal(lambda how=how: how(tmp_path, ONE)).endswith(": not a regular file")
        assert refusal(lambda how=how: how(Path("/dev/null"), ONE)) == "test file /dev/null: not a regular file"
    assert list(tmp_path.iterdir()) == []
