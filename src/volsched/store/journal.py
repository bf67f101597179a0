"""The state file: one SQLite database that holds everything a later process needs to go on.

    objects   what exists now: kind, namespace, name, canonical JSON, CRC-32 of it
    history   the retained watch events by resourceVersion
    log       the run log's lines
    room      a free table for other rooms: (room, key) -> bytes
    counters  one row: resourceVersion, clock, seed, identifiers issued, number and hash of log lines

A write is one transaction over all of them in WAL mode with synchronous=FULL, and is answered after COMMIT: what was acknowledged survives
kill -9 and a power cut, and what was not is absent as a whole. A `batch` puts several writes into one transaction; they are acknowledged
together when it ends.

The process that has the file open holds SQLite's exclusive lock on it until it closes or dies; a second one is refused at once. The lock is
the kernel's, so a killed process leaves none behind. Source: sqlite.org/lockingv3.html, sqlite.org/wal.html.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NamedTuple

import msgspec

from volsched.api.kinds import Key, decode
from volsched.api.watch import Change, WatchEvent
from volsched.errors import StateError

SCHEMA_VERSION: Final = 1
APPLICATION_ID: Final = 0x766F6C73  # "vols", marks the file as ours
LOG_LINES_MAX: Final = 1_000_000  # older lines are cut; the hash still covers them
_CUT_EVERY: Final = 1_024  # writes between two cuts of history and log

_SCHEMA: Final = """
CREATE TABLE objects (kind TEXT, namespace TEXT, name TEXT, body BLOB NOT NULL, crc INTEGER NOT NULL,
                      PRIMARY KEY (kind, namespace, name)) WITHOUT ROWID;
CREATE TABLE history (version INTEGER PRIMARY KEY, change TEXT NOT NULL, kind TEXT NOT NULL, body BLOB NOT NULL, crc INTEGER NOT NULL);
CREATE TABLE log (sequence INTEGER PRIMARY KEY, line TEXT NOT NULL);
CREATE TABLE room (room TEXT, key TEXT, value BLOB NOT NULL, PRIMARY KEY (room, key)) WITHOUT ROWID;
CREATE TABLE counters (id INTEGER PRIMARY KEY CHECK (id = 1), version INTEGER NOT NULL, clock_ns INTEGER NOT NULL, seed TEXT NOT NULL,
                       issued INTEGER NOT NULL, log_count INTEGER NOT NULL, log_digest BLOB NOT NULL);
"""


class Counters(NamedTuple):
    """The numbers that make the next process go on where this one is."""

    version: int
    clock_ns: int
    seed: int
    issued: int
    log_count: int
    log_digest: bytes


class Journal:
    """One open state file. Usable from several threads, one at a time."""

    def __init__(self, path: Path, connection: sqlite3.Connection, *, retained: int) -> None:
        self.path = path
        self._connection = connection
        self._retained = retained
        self._lock = threading.RLock()
        self._depth = 0
        self._writes = 0
        self._failure: str | None = None

    # opening and closing

    @classmethod
    def open(cls, path: Path, *, retained: int) -> Journal:
        """Open or create the file and lock it. Raises StateError: locked, not ours, of another version, damaged, not writable."""
        try:
            with contextlib.suppress(FileExistsError):
                os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
                _sync_directory(path.parent)
        except OSError as problem:
            raise StateError(f"state file {path}: cannot be created: {problem.strerror}") from problem
        if not path.is_file():
            raise StateError(f"state file {path}: not a regular file")
        connection: sqlite3.Connection | None = None
        try:
            connection = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
            _prepare(path, connection)
        except sqlite3.Error as problem:
            if connection is not None:
                connection.close()
            raise _as_state_error(path, problem) from problem
        except StateError:
            assert connection is not None
            connection.close()
            raise
        return cls(path, connection, retained=retained)

    def close(self) -> None:
        """Give the file back; the WAL is folded into it. Closing twice does nothing."""
        with self._lock:
            self._connection.close()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    # reading

    def counters(self) -> Counters | None:
        """The saved numbers; None in a new file."""
        rows = self._rows("SELECT version, clock_ns, seed, issued, log_count, log_digest FROM counters")
        if not rows:
            return None
        try:
            version, clock_ns, seed, issued, log_count, digest = rows[0]
            return msgspec.convert((version, clock_ns, int(seed), issued, log_count, digest), Counters)
        except ValueError as problem:  # msgspec.ValidationError is one
            raise StateError(f"state file {self.path}: damaged: the counters cannot be read: {problem}") from problem

    def objects(self) -> Iterator[Any]:
        """Every object, by kind, namespace and name."""
        for kind, namespace, name, body, crc in self._rows("SELECT kind, namespace, name, body, crc FROM objects ORDER BY 1, 2, 3"):
            yield self._decoded(kind, body, crc, what=str(Key(kind, namespace, name)))

    def history(self) -> list[WatchEvent]:
        """The retained watch events, oldest first."""
        return [
            WatchEvent(Change(change), kind, self._decoded(kind, body, crc, what=f"change {version}"), version)
            for version, change, kind, body, crc in self._rows("SELECT version, change, kind, body, crc FROM history ORDER BY version")
        ]

    def log_lines(self) -> list[str]:
        """The kept lines of the run log, oldest first."""
        return [line for (line,) in self._rows("SELECT line FROM log ORDER BY sequence")]

    def room_values(self, room: str) -> dict[str, bytes]:
        """Everything a room has put, by key in order."""
        return {key: bytes(value) for key, value in self._rows("SELECT key, value FROM room WHERE room = ? ORDER BY key", (room,))}

    def room_value(self, room: str, key: str) -> bytes | None:
        """One value of a room."""
        rows = self._rows("SELECT value FROM room WHERE room = ? AND key = ?", (room, key))
        return bytes(rows[0][0]) if rows else None

    def _rows(self, statement: str, values: Sequence[Any] = ()) -> list[Any]:
        with self._lock:
            try:
                return self._connection.execute(statement, values).fetchall()
            except (sqlite3.Error, OverflowError) as problem:
                raise _as_state_error(self.path, problem) from problem

    def _decoded(self, kind: str, body: bytes, crc: int, *, what: str) -> Any:
        if not isinstance(body, bytes) or zlib.crc32(body) != crc:
            raise StateError(f"state file {self.path}: damaged: the checksum of {what} is wrong; restore the file from a copy")
        try:
            return decode(kind, body)
        except (KeyError, msgspec.DecodeError) as problem:
            raise StateError(f"state file {self.path}: damaged: {what} cannot be read: {problem}") from problem

    # writing

    def write(self, event: WatchEvent, body: bytes, crc: int, *, lines: Sequence[str], counters: Counters) -> None:
        """Make one change durable, with the log lines up to `counters.log_count` and the counters after it."""
        key, blob = event.key, memoryview(body)
        with self._transaction() as connection:
            if event.change is Change.DELETED:
                connection.execute("DELETE FROM objects WHERE kind = ? AND namespace = ? AND name = ?", key)
            else:
                connection.execute("INSERT OR REPLACE INTO objects VALUES (?, ?, ?, ?, ?)", (*key, blob, crc))
            change = (event.resource_version, event.change.value, key.kind, blob, crc)
            connection.execute("INSERT INTO history VALUES (?, ?, ?, ?, ?)", change)
            self._put_log(connection, lines, counters)
            self._writes += 1
            if self._writes % _CUT_EVERY == 0:
                connection.execute("DELETE FROM history WHERE version <= ?", (event.resource_version - self._retained,))
                connection.execute("DELETE FROM log WHERE sequence <= ?", (counters.log_count - LOG_LINES_MAX,))

    def save(self, *, lines: Sequence[str], counters: Counters) -> None:
        """Make log lines and counters durable without a change of an object: time has passed, calls were made."""
        with self._transaction() as connection:
            self._put_log(connection, lines, counters)

    def put_room_value(self, room: str, key: str, value: bytes | None) -> None:
        """Set a value of a room, or remove it with None."""
        with self._transaction() as connection:
            if value is None:
                connection.execute("DELETE FROM room WHERE room = ? AND key = ?", (room, key))
            else:
                connection.execute("INSERT OR REPLACE INTO room VALUES (?, ?, ?)", (room, key, memoryview(value)))

    @staticmethod
    def _put_log(connection: sqlite3.Connection, lines: Sequence[str], counters: Counters) -> None:
        first = counters.log_count - len(lines) + 1
        connection.executemany("INSERT INTO log VALUES (?, ?)", enumerate(lines, first))
        # a seed may be of any size: as text it needs no limit
        row = counters._replace(seed=str(counters.seed))  # type: ignore[arg-type]
        connection.execute("INSERT OR REPLACE INTO counters VALUES (1, ?, ?, ?, ?, ?, ?)", row)

    @contextlib.contextmanager
    def batch(self) -> Iterator[None]:
        """One transaction for all writes inside; they are durable when it ends, also when it ends with an exception."""
        with self._lock:
            self._begin()
            self._depth += 1
        # not locked in between: a driver in another thread may put its state while this one waits for its answer
        try:
            yield
        finally:
            with self._lock:
                self._depth -= 1
                if self._depth == 0:
                    self._commit()

    @contextlib.contextmanager
    def atomic(self) -> Iterator[None]:
        """As `batch`, but an exception takes the writes inside back."""
        with self.batch():
            with self._lock:
                self._connection.execute("SAVEPOINT atomic")
            try:
                yield
            except BaseException:
                with self._lock:
                    if self._connection.in_transaction:  # else a failed write has taken back everything already
                        self._connection.execute("ROLLBACK TO atomic")
                        self._connection.execute("RELEASE atomic")
                raise
            with self._lock:
                self._connection.execute("RELEASE atomic")

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self._begin()
            try:
                yield self._connection
                if self._depth == 0:
                    self._commit()
            except sqlite3.Error as problem:
                raise self._failed(problem) from problem
            except BaseException:
                # an interrupt: outside a batch the write is undone, inside one it stays as far as it came with its whole transaction
                if self._depth == 0 and self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def _begin(self) -> None:
        if self._failure is not None:
            raise StateError(self._failure)
        if self._depth == 0:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
            except sqlite3.Error as problem:
                raise self._failed(problem) from problem

    def _commit(self) -> None:
        try:
            if self._connection.in_transaction:
                self._connection.execute("COMMIT")
        except sqlite3.Error as problem:
            raise self._failed(problem) from problem

    def _failed(self, problem: sqlite3.Error) -> StateError:
        """Writing failed (disk full, file gone): memory is ahead of the file from here on, so nothing more is taken."""
        with contextlib.suppress(sqlite3.Error):
            self._connection.execute("ROLLBACK")
        refusal = _as_state_error(self.path, problem)
        self._failure = str(refusal)
        return refusal


def _sync_directory(directory: Path) -> None:
    """Make the name of a new file survive a power cut; the file's content is SQLite's business."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _prepare(path: Path, connection: sqlite3.Connection) -> None:
    """Lock the file, check whose it is, and give a new one its tables."""
    connection.execute("PRAGMA locking_mode = EXCLUSIVE")
    # before anything is written into a file that may be somebody else's
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    fresh = application == 0 and version == 0 and tables == 0
    if not fresh and application != APPLICATION_ID:
        raise StateError(f"state file {path}: not a volsched state file; give another path with --state")
    if not fresh and version != SCHEMA_VERSION:
        raise StateError(
            f"state file {path}: of format version {version}, this volsched reads version {SCHEMA_VERSION}; "
            "use the volsched that wrote it or give another file"
        )
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("BEGIN EXCLUSIVE")  # takes the lock, which EXCLUSIVE locking mode then keeps
    if fresh:
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        for statement in _SCHEMA.split(";"):
            connection.execute(statement)
    connection.execute("COMMIT")


def _as_state_error(path: Path, problem: Exception) -> StateError:
    code = getattr(problem, "sqlite_errorcode", 0) & 0xFF
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        pid = _holder(path)
        who = f"process {pid}" if pid else "another process"
        return StateError(f"state file {path}: in use by {who}; wait for it to end or give another file with --state")
    if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
        return StateError(f"state file {path}: damaged or not a volsched state file ({problem}); restore a copy or give another file")
    return StateError(f"state file {path}: {problem}")


def _holder(path: Path) -> int | None:
    """The process that holds a lock on the file, where the kernel tells (Linux).

    Read from /proc/locks: asking through a file descriptor would, on closing it, drop the POSIX locks this very process may hold.
    """
    try:
        inode = str(path.stat().st_ino)
        table = Path("/proc/locks").read_text(encoding="ascii")
    except OSError:
        return None
    for line in table.splitlines():
        fields = line.split()
        # 12: POSIX  ADVISORY  WRITE 4711 fd:01:1234567 1073741826 1073742335
        if len(fields) >= 8 and fields[1] == "POSIX" and fields[5].rpartition(":")[2] == inode and fields[4].isdigit():
            return int(fields[4]) or None
    return None
