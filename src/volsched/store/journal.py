"""The state file of a cluster: everything a later process needs to go on.

    objects   what exists now: kind, namespace, name, canonical JSON, CRC-32 of it
    history   the retained watch events by resourceVersion
    log       the run log's lines
    room      a free table for other rooms: (room, key) -> bytes, CRC-32 of them
    counters  one row: resourceVersion, clock, seed, identifiers issued, number and hash of log lines, CRC-32 of it all

A write is one transaction over all of them and is answered after COMMIT: what was acknowledged survives kill -9 and a power cut, and what
was not is absent as a whole. A `batch` puts several writes into one transaction; they are acknowledged together when it ends.

One process writes at a time, others may look (`volsched.statefile`). Version 1 had no checksums of `room` and `counters`, version 2 did not
say which devices of a node its drivers had mounted.
"""

from __future__ import annotations

import contextlib
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
from volsched.statefile import Format, StateFile

LOG_LINES_MAX: Final = 1_000_000  # older lines are cut; the hash still covers them
_CUT_EVERY: Final = 1_024  # writes between two cuts of history and log

FORMAT: Final = Format(
    name="state file",
    application_id=0x766F6C73,  # "vols"
    others={0x76636373: "the state of a CSI driver, not of a cluster"},
    schema="""
CREATE TABLE objects (kind TEXT, namespace TEXT, name TEXT, body BLOB NOT NULL, crc INTEGER NOT NULL,
                      PRIMARY KEY (kind, namespace, name)) WITHOUT ROWID;
CREATE TABLE history (version INTEGER PRIMARY KEY, change TEXT NOT NULL, kind TEXT NOT NULL, body BLOB NOT NULL, crc INTEGER NOT NULL);
CREATE TABLE log (sequence INTEGER PRIMARY KEY, line TEXT NOT NULL);
CREATE TABLE room (room TEXT, key TEXT, value BLOB NOT NULL, crc INTEGER NOT NULL, PRIMARY KEY (room, key)) WITHOUT ROWID;
CREATE TABLE counters (id INTEGER PRIMARY KEY CHECK (id = 1), version INTEGER NOT NULL, clock_ns INTEGER NOT NULL, seed TEXT NOT NULL,
                       issued INTEGER NOT NULL, log_count INTEGER NOT NULL, log_digest BLOB NOT NULL, crc INTEGER NOT NULL)
""",
    migrations=(
        """
ALTER TABLE room RENAME TO old_room;
CREATE TABLE room (room TEXT, key TEXT, value BLOB NOT NULL, crc INTEGER NOT NULL, PRIMARY KEY (room, key)) WITHOUT ROWID;
INSERT INTO room SELECT room, key, value, crc32(value) FROM old_room;
DROP TABLE old_room;
ALTER TABLE counters RENAME TO old_counters;
CREATE TABLE counters (id INTEGER PRIMARY KEY CHECK (id = 1), version INTEGER NOT NULL, clock_ns INTEGER NOT NULL, seed TEXT NOT NULL,
                       issued INTEGER NOT NULL, log_count INTEGER NOT NULL, log_digest BLOB NOT NULL, crc INTEGER NOT NULL);
INSERT INTO counters SELECT id, version, clock_ns, seed, issued, log_count, log_digest, crc32(CAST(
    version || ' ' || clock_ns || ' ' || seed || ' ' || issued || ' ' || log_count || ' ' || hex(log_digest) AS BLOB)) FROM old_counters;
DROP TABLE old_counters
""",
        # what is staged was staged by its driver; keys have NULs inside, which only bytes are cut at safely
        """
INSERT INTO room SELECT room, 'confirmed' || CAST(substr(CAST(key AS BLOB), 1 + length('staged')) AS TEXT), value, crc
    FROM room WHERE room = 'kubelet' AND substr(CAST(key AS BLOB), 1, 1 + length('staged')) = CAST('staged' || char(0) AS BLOB)
""",
    ),
)


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

    def __init__(self, file: StateFile, *, retained: int) -> None:
        self._file = file
        self._connection = file.connection
        self._retained = retained
        self._lock = threading.RLock()
        self._depth = 0
        self._writes = 0
        self._failure: str | None = None

    # opening and closing

    @classmethod
    def open(cls, path: Path, *, retained: int, read_only: bool = False) -> Journal:
        """Open or create the file and lock it; or, `read_only`, look at what it holds now. Raises StateError: in use, not ours, newer,
        damaged, not writable."""
        return cls(StateFile.look(path, FORMAT) if read_only else StateFile.open(path, FORMAT), retained=retained)

    @property
    def path(self) -> Path:
        return self._file.path

    def close(self) -> None:
        """Give the file back; the log is folded into it. Closing twice does nothing."""
        with self._lock:
            self._file.close()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    # reading

    def counters(self) -> Counters | None:
        """The saved numbers; None in a new file."""
        rows = self._rows("SELECT version, clock_ns, seed, issued, log_count, log_digest, crc FROM counters")
        if not rows:
            return None
        *numbers, crc = rows[0]
        try:
            version, clock_ns, seed, issued, log_count, digest = numbers
            counters = msgspec.convert((version, clock_ns, int(seed), issued, log_count, digest), Counters)
        except ValueError as problem:  # msgspec.ValidationError is one
            raise self._file.damaged(f"the counters cannot be read: {problem}") from problem
        if _checksum(counters) != crc:
            raise self._file.damaged("the checksum of the counters is wrong; restore the file from a copy")
        return counters

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
        rows = self._rows("SELECT key, value, crc FROM room WHERE room = ? ORDER BY key", (room,))
        return {key: self._checked(value, crc, what=f"{room} {key!r}") for key, value, crc in rows}

    def room_value(self, room: str, key: str) -> bytes | None:
        """One value of a room."""
        rows = self._rows("SELECT value, crc FROM room WHERE room = ? AND key = ?", (room, key))
        return self._checked(*rows[0], what=f"{room} {key!r}") if rows else None

    def _rows(self, statement: str, values: Sequence[Any] = ()) -> list[Any]:
        with self._lock:
            try:
                return self._connection.execute(statement, values).fetchall()
            except (sqlite3.Error, OverflowError) as problem:
                raise self._file.wrong(problem) from problem

    def _checked(self, body: Any, crc: int, *, what: str) -> bytes:
        if not isinstance(body, bytes) or zlib.crc32(body) != crc:
            raise self._file.damaged(f"the checksum of {what} is wrong; restore the file from a copy")
        return body

    def _decoded(self, kind: str, body: bytes, crc: int, *, what: str) -> Any:
        try:
            return decode(kind, self._checked(body, crc, what=what))
        except (KeyError, msgspec.DecodeError) as problem:
            raise self._file.damaged(f"{what} cannot be read: {problem}") from problem

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
                connection.execute("INSERT OR REPLACE INTO room VALUES (?, ?, ?, ?)", (room, key, memoryview(value), zlib.crc32(value)))

    @staticmethod
    def _put_log(connection: sqlite3.Connection, lines: Sequence[str], counters: Counters) -> None:
        first = counters.log_count - len(lines) + 1
        connection.executemany("INSERT INTO log VALUES (?, ?)", enumerate(lines, first))
        # a seed may be of any size: as text it needs no limit
        row = (counters.version, counters.clock_ns, str(counters.seed), counters.issued, counters.log_count, counters.log_digest)
        connection.execute("INSERT OR REPLACE INTO counters VALUES (1, ?, ?, ?, ?, ?, ?, ?)", (*row, _checksum(counters)))

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
                self._file.begin()
            except sqlite3.Error as problem:
                raise self._failed(problem) from problem
            except StateError as refusal:  # the file is gone, or no longer ours alone
                self._failure = str(refusal)
                raise

    def _commit(self) -> None:
        if self._failure is not None:
            raise StateError(self._failure)
        try:
            if self._connection.in_transaction:
                self._connection.execute("COMMIT")
        except sqlite3.Error as problem:
            raise self._failed(problem) from problem

    def _failed(self, problem: sqlite3.Error) -> StateError:
        """Writing failed (disk full, say): memory is ahead of the file from here on, so nothing more is taken."""
        with contextlib.suppress(sqlite3.Error):
            self._connection.execute("ROLLBACK")
        refusal = self._file.wrong(problem)
        self._failure = str(refusal)
        return refusal


def _checksum(counters: Counters) -> int:
    """CRC-32 of the counters as the text that SQL makes of them in the migration to version 2."""
    numbers = (counters.version, counters.clock_ns, counters.seed, counters.issued, counters.log_count)
    return zlib.crc32(" ".join([*map(str, numbers), counters.log_digest.hex().upper()]).encode())
