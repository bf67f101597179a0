"""The run log: one line for everything that happened, and one hash over all of it.

    line    <sequence> <time in ns> <what>          e.g. 17 1767225600000000000 write kube-scheduler bind Pod/default/web 41 8c1f03aa
    digest  d(0) = 32 zero bytes;  d(n) = SHA-256(d(n-1) ‖ line n ‖ newline)

A write's line ends in its resourceVersion and the CRC-32 of the stored object, so equal hashes mean equal objects at every step. The
chain form lets a state file carry the hash on over restarts with 32 bytes, whatever became of the lines.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Final, NamedTuple

import msgspec

from volsched.api.kinds import Json
from volsched.ports import Clock

EMPTY_DIGEST: Final = bytes(32)
_ENCODER: Final = msgspec.json.Encoder(order="deterministic")


class LogMark(NamedTuple):
    """A state of the log to come back to."""

    sequence: int
    digest: bytes
    lines: int
    unsaved: list[str]


class RunLog:
    """Lines and their running hash. `keep` holds the lines in memory; the hash is kept either way."""

    def __init__(self, clock: Clock, *, keep: bool = True, count: int = 0, digest: bytes = EMPTY_DIGEST) -> None:
        self._clock = clock
        self._keep = keep
        self._count = count
        self._digest = digest
        self._lines: list[str] = []
        self._last = ""
        self._unsaved: list[str] | None = None

    @property
    def count(self) -> int:
        """How many lines there were, those of earlier processes included."""
        return self._count

    @property
    def digest(self) -> bytes:
        """The hash over all lines so far."""
        return self._digest

    @property
    def hash(self) -> str:
        """The digest in hexadecimal: what a run prints."""
        return self._digest.hex()

    @property
    def lines(self) -> list[str]:
        """The lines of this process, when they are kept."""
        return list(self._lines)

    @property
    def last(self) -> str:
        """The newest line of this process, kept in any case; empty before the first one and after lines were taken back."""
        return self._last

    def append(self, what: str) -> str:
        """Add a line; answers it as logged. A line break inside is escaped: a line stays one line."""
        line = self.draft(what)
        self.push(line)
        return line

    def append_call(self, driver: str, method: str, request: Mapping[str, Json], outcome: str) -> str:
        """Add the line of a CSI call: full gRPC method, request in protobuf JSON, outcome."""
        return self.append(f"call {driver} {method} {outcome} {_ENCODER.encode(request).decode()}")

    # In two steps, for a line that counts only once its write is durable.

    def draft(self, what: str) -> str:
        """The line that `push` would add now; nothing is changed."""
        return f"{self._count + 1} {self._clock.now_ns()} " + what.replace("\n", "\\n")

    def digest_after(self, line: str) -> bytes:
        """The hash as it will be with this line added."""
        return hashlib.sha256(self._digest + line.encode() + b"\n").digest()

    def push(self, line: str) -> None:
        """Add a line that `draft` made."""
        self._digest = self.digest_after(line)
        self._count += 1
        self._last = line
        if self._keep:
            self._lines.append(line)
        if self._unsaved is not None:
            self._unsaved.append(line)

    # For writes that are taken back.

    def mark(self) -> LogMark:
        """Remember this state; `rollback` comes back to it."""
        return LogMark(self._count, self._digest, len(self._lines), list(self.unsaved))

    def rollback(self, mark: LogMark) -> None:
        """Forget the lines since a mark."""
        self._count, self._digest = mark.sequence, mark.digest
        self._last = ""
        del self._lines[mark.lines :]
        if self._unsaved is not None:
            self._unsaved = list(mark.unsaved)

    # For a journal: lines of calls wait here until the next transaction takes them along.

    def hold_unsaved(self) -> None:
        """From now on new lines are held for a journal."""
        self._unsaved = []

    @property
    def unsaved(self) -> list[str]:
        """Lines that no journal has taken yet; they end at line `count`."""
        return self._unsaved or []

    def saved(self) -> None:
        """The journal has taken all lines."""
        if self._unsaved:
            self._unsaved = []
