"""Whose a file is and of which version, read from its bytes.

SQLite recovers what it opens and writes a dead process's log back when it closes, so a file that is to be refused untouched must not be
opened at all. Page 1 of a database begins with a header that holds both stamps; its newest committed copy is in the log (`-wal`) that a
killed process has left beside the file, or else in the file itself. Frames of an older log, and those after the last commit, do not count.

Checksums are not verified here. It takes a power cut in the middle of the first write or of a migration to make that matter, and the
stamps are looked at once more after SQLite has opened the file.

Source: sqlite.org/fileformat2.html, sections 1.3 and 4.1.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import Final, NamedTuple

_MAGIC: Final = b"SQLite format 3\0"
_HEADER_BYTES: Final = 100
_LOG_MAGIC: Final = (0x377F0682, 0x377F0683)
_LOG_HEADER: Final = struct.Struct(">8I")  # magic, version, page size, checkpoints, salt 1, salt 2, checksum 1, checksum 2
_FRAME_HEADER: Final = struct.Struct(">6I")  # page, pages after a commit (else 0), salt 1, salt 2, checksum 1, checksum 2


class Stamp(NamedTuple):
    """What a database says of itself. `pages` is its size; a database without a table has at most one."""

    application_id: int
    version: int
    pages: int

    @property
    def blank(self) -> bool:
        """Whether nobody has written into it yet."""
        return self.application_id == 0 and self.version == 0 and self.pages <= 1


BLANK: Final = Stamp(0, 0, 0)


def read_stamp(path: Path) -> Stamp | None:
    """The stamp of a file; None if it is no database.

    Not for a file that this process has open in SQLite: closing a second descriptor would drop the locks of the first (fcntl(2)).
    Raises OSError.
    """
    with path.open("rb") as file:
        header = file.read(_HEADER_BYTES)
    if not header:
        return BLANK
    if len(header) < _HEADER_BYTES or not header.startswith(_MAGIC):
        return None
    return _stamp(_committed_header(path.with_name(path.name + "-wal")) or header)


def _stamp(header: bytes) -> Stamp:
    (pages,) = struct.unpack_from(">I", header, 28)
    (version,) = struct.unpack_from(">i", header, 60)
    (application_id,) = struct.unpack_from(">i", header, 68)
    return Stamp(application_id, version, pages)


def _committed_header(log: Path) -> bytes | None:
    """The header of the newest committed page 1 in a log; None if there is none."""
    try:
        descriptor = os.open(log, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        start = os.pread(descriptor, _LOG_HEADER.size, 0)
        if len(start) < _LOG_HEADER.size:
            return None
        magic, _, page_bytes, _, *salts, _, _ = _LOG_HEADER.unpack(start)
        if magic not in _LOG_MAGIC:
            return None
        found = committed = None
        position = _LOG_HEADER.size
        while len(frame := os.pread(descriptor, _FRAME_HEADER.size, position)) == _FRAME_HEADER.size:
            page, pages_after, *frame_salts, _, _ = _FRAME_HEADER.unpack(frame)
            if frame_salts != salts:
                break
            if page == 1:
                found = os.pread(descriptor, _HEADER_BYTES, position + _FRAME_HEADER.size)
            if pages_after:
                committed = found
            position += _FRAME_HEADER.size + page_bytes
        return committed if committed is not None and len(committed) == _HEADER_BYTES else None
    finally:
        os.close(descriptor)
