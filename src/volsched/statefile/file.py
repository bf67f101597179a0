"""Opening, creating, migrating and reading a state file.

    open    the one writer: takes the lock, creates or migrates what has to be, in one transaction, and may begin transactions
    look    any number of readers, also beside the writer: what was committed when they looked, and nothing is written

Before either, the file's stamp is read from its bytes: a file of something else, or of a newer version, is refused without being opened.

Durability rests on four settings. WAL: a commit is an append to the log beside the file, whole or absent. synchronous=FULL: COMMIT returns
after the log has been synced, so what was acknowledged survives a power cut too; the file is synced before the log is used anew.
The lock: nobody else writes. The checks at the start of each transaction: the file still has its name, and no other program has written
to it, so nothing is ever acknowledged that the next process will not find.

Source: sqlite.org/wal.html, sqlite.org/pragma.html#pragma_synchronous, sqlite.org/howtocorrupt.html.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import sqlite3
import tempfile
import threading
import zlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from volsched.errors import StateError
from volsched.statefile.lock import HeldError, Lock, holder_of
from volsched.statefile.stamp import Stamp, read_stamp

WAIT_S: Final = 5.0  # for locks that SQLite itself takes for an instant: a process that recovers or closes the file
COPIES_MAX: Final = 20  # attempts to copy a file while somebody writes to it
_READ_ONLY: Final = "read only, or in a folder that is; make both writable or give another file with --state"

_mutex: Final = threading.Lock()
_open_here: Final[Counter[tuple[int, int]]] = Counter()  # (device, inode) of what this process has open in SQLite


@dataclass(frozen=True, kw_only=True)
class Format:
    """What a kind of state file holds. Version n is what the schema was after n - 1 migrations.

    name: how messages call such a file. others: application ids of related files, and what those are.
    schema: statements that make a new file of the newest version. migrations: statements that make version 2 of version 1, and so on;
    they may use `crc32(blob)`.
    """

    name: str
    application_id: int
    schema: str
    migrations: tuple[str, ...] = ()
    others: Mapping[int, str] = field(default_factory=dict)

    @property
    def version(self) -> int:
        return len(self.migrations) + 1

    def check(self, stamp: Stamp | None, path: Path) -> None:
        """Raise StateError unless a file with this stamp can be read, if need be after migrations."""
        if stamp is not None and stamp.blank:
            return
        if stamp is None or stamp.application_id != self.application_id:
            what = f"not a volsched {self.name}" if stamp is None else self.others.get(stamp.application_id, f"not a volsched {self.name}")
            raise StateError(f"{self.name} {path}: {what}; give another path with --state")
        if stamp.version > self.version:
            raise StateError(
                f"{self.name} {path}: written by a newer volsched, of format version {stamp.version}, this volsched reads up to version "
                f"{self.version}; use the volsched that wrote it or give another file"
            )
        if stamp.version < 1:
            raise StateError(f"{self.name} {path}: damaged: of format version {stamp.version}; restore a copy or give another file")


class StateFile:
    """One open file. Not safe for threads: its owner takes turns."""

    def __init__(self, path: Path, place: Path, form: Format, connection: sqlite3.Connection, lock: Lock | None) -> None:
        """`path` is what the user calls it, `place` where that leads to."""
        self.path = path
        self.connection = connection
        self._place = place
        self._form = form
        self._lock = lock
        self._data_version = 0
        self._scratch: tempfile.TemporaryDirectory[str] | None = None
        status = place.stat()
        self._inode = (status.st_dev, status.st_ino)
        self._connected = True
        with _mutex:
            _open_here[self._inode] += 1

    # the writer

    @classmethod
    def open(cls, path: Path, form: Format) -> StateFile:
        """Open or create a file to write to it. Raises StateError, the file untouched: in use, not ours, newer, damaged, not writable."""
        place = path.resolve()
        _check(path, place, form)
        if place.exists() and not os.access(place, os.W_OK):  # SQLite would open it all the same, and leave its files beside it
            raise StateError(f"{form.name} {path}: {_READ_ONLY}")
        try:
            lock = Lock.take(place)
        except HeldError as held:
            raise _in_use(path, form, held.holder) from None
        except OSError as problem:
            if not place.exists():
                raise StateError(f"{form.name} {path}: cannot be created: {problem.strerror}") from problem
            why = _READ_ONLY if problem.errno in (errno.EACCES, errno.EROFS) else f"cannot be locked: {problem.strerror}"
            raise StateError(f"{form.name} {path}: {why}") from problem
        try:
            _check(path, place, form)  # the process before may have migrated it meanwhile
            _create(path, place, form)
            return cls._opened(path, place, form, lock)
        except BaseException:
            lock.release()
            raise

    @classmethod
    def _opened(cls, path: Path, place: Path, form: Format, lock: Lock) -> StateFile:
        try:
            connection = sqlite3.connect(place, timeout=WAIT_S, isolation_level=None, check_same_thread=False)
        except sqlite3.Error as problem:
            raise _wrong(path, form, problem) from problem
        found = cls(path, place, form, connection, lock)
        try:
            connection.execute("PRAGMA trusted_schema = OFF")
            (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
            if mode != "wal":
                raise StateError(f"{form.name} {path}: the file system cannot keep a write-ahead log; give a file on a local disk")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("BEGIN IMMEDIATE")
            stamp = _stamp_of(connection)
            form.check(stamp, path)
            _bring_up(connection, form, stamp)
            (found._data_version,) = connection.execute("PRAGMA data_version").fetchone()
            connection.execute("COMMIT")
        except BaseException as problem:
            found._disconnect()
            if isinstance(problem, sqlite3.Error):
                raise _wrong(path, form, problem) from problem
            raise
        return found

    def begin(self) -> None:
        """Begin a transaction. Raises StateError when nothing written now would be found again; else sqlite3.Error."""
        if self._lock is None:
            raise StateError(f"{self._form.name} {self.path}: opened for reading only")
        try:
            status = self._place.stat()
        except OSError:
            status = None
        if status is None or (status.st_dev, status.st_ino) != self._inode:
            raise StateError(f"{self._form.name} {self.path}: removed or replaced while in use; what was written since is lost with it")
        self.connection.execute("BEGIN IMMEDIATE")
        (version,) = self.connection.execute("PRAGMA data_version").fetchone()
        if version != self._data_version:
            self.connection.execute("ROLLBACK")
            raise StateError(f"{self._form.name} {self.path}: changed by another program while in use; start again from what it holds now")

    # readers

    @classmethod
    def look(cls, path: Path, form: Format) -> StateFile:
        """Open a file as it is now, without keeping a writer out. Nothing is written, so a file of an older version is migrated in
        memory, and one that may not be written to is copied first. Raises StateError, also for a file that holds nothing yet."""
        place = path.resolve()
        if not place.exists():
            raise StateError(f"{form.name} {path}: does not exist")
        stamp = _check(path, place, form)
        if stamp is not None and stamp.blank:
            raise StateError(f"{form.name} {path}: empty, nothing has been kept in it yet")
        if not (os.access(place, os.W_OK) and os.access(place.parent, os.W_OK)):
            return cls._copied(path, place, form)
        try:
            return cls._looking(path, place, form)
        except sqlite3.Error as problem:
            if _code(problem) not in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL):
                raise _wrong(path, form, problem) from problem
            return cls._copied(path, place, form)  # no room, or no right, for the files that SQLite keeps beside it

    @classmethod
    def _looking(cls, path: Path, place: Path, form: Format) -> StateFile:
        """Raises sqlite3.Error, StateError."""
        # With the right to write, SQLite takes away again what it keeps beside a file that nobody else has open.
        connection = sqlite3.connect(place, timeout=WAIT_S, isolation_level=None, check_same_thread=False)
        found = cls(path, place, form, connection, None)
        try:
            connection.execute("PRAGMA trusted_schema = OFF")
            connection.execute("PRAGMA query_only = ON")
            connection.execute("BEGIN")
            stamp = _stamp_of(connection)  # the first read: what follows sees the same
            form.check(stamp, path)
            if stamp.blank:
                raise StateError(f"{form.name} {path}: empty, nothing has been kept in it yet")
            if stamp.version < form.version:
                memory = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
                connection.backup(memory)
                found._disconnect()
                found.connection = memory
                memory.execute("BEGIN")
                _bring_up(memory, form, stamp)
                memory.execute("COMMIT")
        except BaseException:
            found._disconnect()
            raise
        return found

    @classmethod
    def _copied(cls, path: Path, place: Path, form: Format) -> StateFile:
        """Look at a copy of the file and its log."""
        scratch = tempfile.TemporaryDirectory(prefix="volsched-")
        try:
            copy = Path(scratch.name) / "state"
            _copy(path, place, copy, form)
            found = cls._looking(path, copy, form)
        except BaseException as problem:
            scratch.cleanup()
            if isinstance(problem, sqlite3.Error):
                raise _wrong(path, form, problem) from problem
            if isinstance(problem, OSError):
                raise StateError(f"{form.name} {path}: cannot be read: {problem.strerror}") from problem
            raise
        found._scratch = scratch
        return found

    # both

    def close(self) -> None:
        """Give the file back. The last one folds the log into it. Closing twice does nothing."""
        self._disconnect()
        if self._lock is not None:
            self._lock.release()
            self._lock = None
        if self._scratch is not None:
            self._scratch.cleanup()
            self._scratch = None

    def wrong(self, problem: Exception) -> StateError:
        """What a failure of SQLite means for the user, in one line."""
        return _wrong(self.path, self._form, problem)

    def damaged(self, what: str) -> StateError:
        """Something in the file is not as it was written."""
        return StateError(f"{self._form.name} {self.path}: damaged: {what}")

    def _disconnect(self) -> None:
        self.connection.close()
        if self._connected:
            self._connected = False
            with _mutex:
                _open_here[self._inode] -= 1


def _check(path: Path, place: Path, form: Format) -> Stamp | None:
    """Refuse what is not ours, by its bytes alone; the stamp, None where there is no file or this process has it open already."""
    try:
        status = place.stat()
    except FileNotFoundError:
        return None
    except OSError as problem:
        raise StateError(f"{form.name} {path}: cannot be read: {problem.strerror}") from problem
    if not place.is_file():
        raise StateError(f"{form.name} {path}: not a regular file")
    if status.st_nlink > 1:  # each name would have a log of its own
        raise StateError(f"{form.name} {path}: has {status.st_nlink} names (hard links), and is used by one only; make a copy of it")
    with _mutex:
        if _open_here[status.st_dev, status.st_ino]:
            return None
    try:
        stamp = read_stamp(place)
    except OSError as problem:
        raise StateError(f"{form.name} {path}: cannot be read: {problem.strerror}") from problem
    form.check(stamp, path)
    return stamp


def _create(path: Path, place: Path, form: Format) -> None:
    """Make the file if it is not there, for its owner only, and its name survive a power cut; its content is SQLite's business."""
    try:
        with contextlib.suppress(FileExistsError):
            os.close(os.open(place, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
            directory = os.open(place.parent, os.O_RDONLY)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)
    except OSError as problem:
        raise StateError(f"{form.name} {path}: cannot be created: {problem.strerror}") from problem


def _stamp_of(connection: sqlite3.Connection) -> Stamp:
    """The stamp as SQLite sees it in this transaction."""
    return Stamp(*(connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version", "page_count")))


def _bring_up(connection: sqlite3.Connection, form: Format, stamp: Stamp) -> None:
    """Make a blank file one of ours, or migrate an older one, inside a transaction."""
    if stamp.blank:
        steps = [form.schema]
    elif stamp.version < form.version:
        steps = list(form.migrations[stamp.version - 1 :])
        connection.create_function("crc32", 1, _crc32, deterministic=True)
    else:
        return
    for step in steps:
        for statement in step.split(";"):
            connection.execute(statement.strip())
    connection.execute(f"PRAGMA application_id = {form.application_id}")
    connection.execute(f"PRAGMA user_version = {form.version}")


def _crc32(body: object) -> int:
    """For migrations. What is not bytes was damaged before; a reader will say so of a checksum that cannot be."""
    return zlib.crc32(body) if isinstance(body, bytes) else -1


def _copy(path: Path, place: Path, copy: Path, form: Format) -> None:
    """Copy a file and its log as they are at one instant. Raises OSError, StateError."""
    log = place.with_name(place.name + "-wal")
    for _ in range(COPIES_MAX):
        before = _trace(place, log)
        shutil.copyfile(place, copy)
        with contextlib.suppress(FileNotFoundError):
            shutil.copyfile(log, copy.with_name(copy.name + "-wal"))
        if before == _trace(place, log):
            return
    raise _in_use(path, form, holder_of(place))


def _trace(place: Path, log: Path) -> tuple[object, ...]:
    """What changes when the file does, or its log begins anew; frames that are only added to the log do no harm to a copy."""
    status = place.stat()
    try:
        with log.open("rb") as file:
            start = file.read(32)
    except FileNotFoundError:
        start = b""
    return status.st_ino, status.st_size, status.st_mtime_ns, start


def _code(problem: Exception) -> int:
    return int(getattr(problem, "sqlite_errorcode", 0)) & 0xFF


def _in_use(path: Path, form: Format, holder: int | None) -> StateError:
    if holder == os.getpid():
        return StateError(f"{form.name} {path}: in use by this process; close it there or give another file")
    who = f"process {holder}" if holder else "another process"
    return StateError(f"{form.name} {path}: in use by {who}; wait for it to end or give another file with --state")


def _wrong(path: Path, form: Format, problem: Exception) -> StateError:
    prefix = f"{form.name} {path}"
    code = _code(problem)
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return _in_use(path, form, holder_of(path))
    if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
        return StateError(f"{prefix}: damaged ({problem}); restore a copy or give another file")
    if code == sqlite3.SQLITE_READONLY:
        return StateError(f"{prefix}: {_READ_ONLY}")
    if code == sqlite3.SQLITE_FULL:
        return StateError(f"{prefix}: {problem}; what was acknowledged before is safe, make room and try again")
    return StateError(f"{prefix}: {problem}")
