"""The state file of a driver: its records, each with a checksum, in one SQLite file that one process holds.

A write is one transaction, synced to the disk before it is answered. The file is created, migrated and refused as every state file is
(`volsched.statefile`). Version 1 had no checksums.
"""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from volsched.csi.state import Row
from volsched.statefile import Format, StateFile

FORMAT: Final = Format(
    name="driver state",
    application_id=0x76636373,  # "vccs"
    others={0x766F6C73: "the state of a cluster, not of a CSI driver"},
    schema="""
CREATE TABLE record (kind TEXT NOT NULL, key TEXT NOT NULL, body BLOB NOT NULL, crc INTEGER NOT NULL,
                     PRIMARY KEY (kind, key)) WITHOUT ROWID
""",
    migrations=(
        """
ALTER TABLE record RENAME TO old_record;
CREATE TABLE record (kind TEXT NOT NULL, key TEXT NOT NULL, body BLOB NOT NULL, crc INTEGER NOT NULL,
                     PRIMARY KEY (kind, key)) WITHOUT ROWID;
INSERT INTO record SELECT kind, key, body, crc32(body) FROM old_record;
DROP TABLE old_record
""",
    ),
)


class SqliteJournal:
    """Where a driver's records outlive its process. The callers take turns, from whichever thread."""

    def __init__(self, path: Path) -> None:
        """Raises StateError: in use, not a driver's, newer, damaged, not writable."""
        self._file = StateFile.open(path, FORMAT)
        self._connection = self._file.connection

    def read(self) -> list[Row]:
        """All rows. Raises StateError for one that is damaged."""
        try:
            rows = self._connection.execute("SELECT kind, key, body, crc FROM record").fetchall()
        except sqlite3.Error as problem:
            raise self._file.wrong(problem) from problem
        for kind, key, body, crc in rows:
            if not isinstance(body, bytes) or zlib.crc32(body) != crc:
                raise self._file.damaged(f"the checksum of {kind} {key} is wrong; restore the file from a copy")
        return [Row(kind, key, body) for kind, key, body, _ in rows]

    def write(self, puts: Sequence[Row], drops: Sequence[tuple[str, str]]) -> None:
        """Replace and remove rows as a whole; durable when it returns. Raises StateError, with nothing written: a later write may do."""
        connection = self._connection
        try:
            self._file.begin()
            try:
                connection.executemany("DELETE FROM record WHERE kind = ? AND key = ?", drops)
                connection.executemany("INSERT OR REPLACE INTO record VALUES (?, ?, ?, ?)", [(*row, zlib.crc32(row.body)) for row in puts])
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:  # SQLite ends it by itself when the disk is full
                    connection.execute("ROLLBACK")
                raise
        except sqlite3.Error as problem:
            raise self._file.wrong(problem) from problem

    def close(self) -> None:
        """Give the file back. Closing twice does nothing."""
        self._file.close()
