"""A durable write of the state file beside a bare sqlite3 commit of the same bytes with the same settings (WAL, synchronous=FULL).

commit    one write a transaction: what a create, an update or a delete of the API costs on top of the store in memory
batch     100 writes in one transaction, as `apply` and `run` have them
"""

from __future__ import annotations

import itertools
import sqlite3
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from bench.loading import note
from tests.builders import make_pod
from volsched.api.defaults import with_defaults
from volsched.api.kinds import encode
from volsched.api.watch import Change, WatchEvent
from volsched.store.journal import Counters, Journal

ROUNDS: Final = 200
BATCH: Final = 100
POD: Final = with_defaults(make_pod("p", namespace="default", claims=["data"]))
BODY: Final = encode(POD)
LINE: Final = "0 write bench create Pod/default/p 1 00000000"

Write = Callable[[int], None]


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with Journal.open(tmp_path / "state.db", retained=10_000) as opened:
        yield opened


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    bare = sqlite3.connect(tmp_path / "bare.db", isolation_level=None)
    bare.execute("PRAGMA journal_mode = WAL")
    bare.execute("PRAGMA synchronous = FULL")
    bare.execute("CREATE TABLE objects (name TEXT PRIMARY KEY, body BLOB NOT NULL) WITHOUT ROWID")
    yield bare
    bare.close()


def _journal_write(journal: Journal) -> Write:
    crc = zlib.crc32(BODY)

    def write(number: int) -> None:
        counters = Counters(version=number, clock_ns=0, seed=1, issued=number, log_count=number, log_digest=b"\0" * 32)
        journal.write(WatchEvent(Change.MODIFIED, "Pod", POD, number), BODY, crc, lines=[LINE], counters=counters)

    return write


def _commit(benchmark: Any, write: Write, *, engine: str) -> int:
    numbers = itertools.count(1)
    note(benchmark, group="commit, journal", unit="write", engine=engine, text_bytes=len(BODY))
    benchmark.pedantic(lambda: write(next(numbers)), rounds=ROUNDS)
    return next(numbers) - 1


def _batch(benchmark: Any, write: Write, begin: Callable[[], Any], *, engine: str) -> int:
    numbers = itertools.count(1)

    def batch() -> None:
        with begin():
            for number in itertools.islice(numbers, BATCH):
                write(number)

    note(benchmark, group="batch, journal", unit="write", units=BATCH, engine=engine, text_bytes=len(BODY))
    benchmark.pedantic(batch, rounds=20)
    return next(numbers) - 1


def test_commit(benchmark: Any, journal: Journal) -> None:
    written = _commit(benchmark, _journal_write(journal), engine="journal")
    assert len(journal.history()) == written


def test_commit_bare(benchmark: Any, connection: sqlite3.Connection) -> None:
    written = _commit(benchmark, _bare_write(connection), engine="sqlite3")
    assert _count(connection) == written


def test_batch(benchmark: Any, journal: Journal) -> None:
    written = _batch(benchmark, _journal_write(journal), journal.batch, engine="journal")
    assert len(journal.history()) == written


def test_batch_bare(benchmark: Any, connection: sqlite3.Connection) -> None:
    class Transaction:
        def __enter__(self) -> None:
            connection.execute("BEGIN IMMEDIATE")

        def __exit__(self, *_: object) -> None:
            connection.execute("COMMIT")

    written = _batch(benchmark, _bare_write(connection), Transaction, engine="sqlite3")
    assert _count(connection) == written


def _bare_write(connection: sqlite3.Connection) -> Write:
    return lambda number: connection.execute("INSERT INTO objects VALUES (?, ?)", (f"p{number}", BODY)) and None


def _count(connection: sqlite3.Connection) -> int:
    (count,) = connection.execute("SELECT COUNT(*) FROM objects").fetchone()
    return int(count)
