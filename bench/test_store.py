"""The embedded API server: what a write and a look cost in memory, and in a SQLite file where every write is a durable commit.

create, update, status, delete    one object a round                                     baseline: memory beside file
batch                             100 creations in one transaction                       baseline: memory beside file
list, select                      all pods; those of a label                             baseline: a walk over a dict
watch                             the history from a version on                          baseline: a walk over a list
reopen                            a store out of its file                                baseline: its objects' bare SELECT and decode
"""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest

from bench.loading import note
from bench.sizes import Sizes
from tests.builders import make_pod
from volsched.api.edit import with_metadata
from volsched.api.kinds import decode, key_of
from volsched.env import Uids, VirtualClock
from volsched.store import Store

SIZES: Final = Sizes(tiny=20, small=500, full=(500, 5_000), twin=500)  # objects
KEEPS: Final = ("memory", "file")
ROUNDS: Final = 200
BATCH: Final = 100


def _pod(number: int) -> Any:
    return make_pod(f"p{number}", namespace="default", claims=["data"], labels={"app": f"a{number % 20}"})


@pytest.fixture
def open_store(tmp_path: Path) -> Iterator[Callable[[str], Store]]:
    """Makes a store that is kept `memory` or `file`."""
    opened: list[Store] = []

    def make(keep: str) -> Store:
        store = Store(clock=VirtualClock(0), uids=Uids(1), path=tmp_path / "state.db" if keep == "file" else None)
        opened.append(store)
        return store

    yield make
    for store in opened:
        store.close()


def _filled(store: Store, count: int) -> Store:
    with store.batch():
        for number in range(count):
            store.create(_pod(number), user="bench")
    return store


@pytest.mark.parametrize("keep", KEEPS)
def test_create(benchmark: Any, open_store: Callable[[str], Store], keep: str) -> None:
    store, fresh = open_store(keep), map(_pod, itertools.count())
    note(benchmark, group="create, store", unit="write", engine=keep)
    stored = benchmark.pedantic(lambda pod: store.create(pod, user="bench"), setup=lambda: ((next(fresh),), {}), rounds=ROUNDS)
    assert store.raw(key_of(stored)) is stored


@pytest.mark.parametrize("keep", KEEPS)
def test_update(benchmark: Any, open_store: Callable[[str], Store], keep: str) -> None:
    store, turns = _filled(open_store(keep), 1), itertools.count()

    def labelled() -> tuple[tuple[Any], dict[str, Any]]:
        pod = store.get("Pod", "default", "p0")
        return (with_metadata(pod, labels={"turn": str(next(turns))}),), {}

    note(benchmark, group="update, store", unit="write", engine=keep)
    before = store.resource_version
    stored = benchmark.pedantic(lambda pod: store.update(pod, user="bench"), setup=labelled, rounds=ROUNDS)
    assert stored.metadata.labels.keys() == {"turn"}
    assert store.resource_version - before == next(turns)


@pytest.mark.parametrize("keep", KEEPS)
def test_status(benchmark: Any, open_store: Callable[[str], Store], keep: str) -> None:
    store, turns = _filled(open_store(keep), 1), itertools.count()

    def told() -> tuple[tuple[Any], dict[str, Any]]:
        pod = store.get("Pod", "default", "p0")
        return (msgspec.structs.replace(pod, status=msgspec.structs.replace(pod.status, message=str(next(turns)))),), {}

    note(benchmark, group="status, store", unit="write", engine=keep)
    stored = benchmark.pedantic(lambda pod: store.update(pod, user="bench", subresource="status"), setup=told, rounds=ROUNDS)
    assert stored.status.message == str(next(turns) - 1)


@pytest.mark.parametrize("keep", KEEPS)
def test_delete(benchmark: Any, open_store: Callable[[str], Store], keep: str) -> None:
    store, left = _filled(open_store(keep), ROUNDS), iter(range(ROUNDS))
    note(benchmark, group="delete, store", unit="write", engine=keep)
    benchmark.pedantic(lambda: store.delete("Pod", "default", f"p{next(left)}", user="bench", grace_period_s=0), rounds=ROUNDS)
    assert len(store.list("Pod").items) == sum(1 for _ in left)


@pytest.mark.parametrize("keep", KEEPS)
def test_batch(benchmark: Any, open_store: Callable[[str], Store], keep: str) -> None:
    store, numbers = open_store(keep), itertools.count()

    def pods() -> tuple[tuple[list[Any]], dict[str, Any]]:
        return ([_pod(number) for number in itertools.islice(numbers, BATCH)],), {}

    def create(pods: list[Any]) -> None:
        with store.batch():
            for pod in pods:
                store.create(pod, user="bench")

    note(benchmark, group="batch, store", unit="write", units=BATCH, engine=keep)
    benchmark.pedantic(create, setup=pods, rounds=5)
    assert len(store.list("Pod").items) == next(numbers)


def test_list(benchmark: Any, open_store: Callable[[str], Store], size: int) -> None:
    store = _filled(open_store("memory"), size)
    note(benchmark, group="list, store", unit="object", units=size, objects=size)
    assert len(benchmark(store.list, "Pod").items) == size


def test_list_of_a_dict(benchmark: Any, size: int) -> None:
    table = {f"default/p{number}": _pod(number) for number in range(size)}
    note(benchmark, group="list, store", unit="object", units=size, objects=size, engine="dict")
    assert len(benchmark(lambda: [table[key] for key in sorted(table)])) == size


def test_select(benchmark: Any, open_store: Callable[[str], Store], size: int) -> None:
    store = _filled(open_store("memory"), size)
    note(benchmark, group="select, store", unit="object", units=size, objects=size)
    assert len(benchmark(store.list, "Pod", label_selector="app=a1").items) == size // 20


def test_select_of_a_dict(benchmark: Any, size: int) -> None:
    table = {f"default/p{number}": _pod(number) for number in range(size)}
    note(benchmark, group="select, store", unit="object", units=size, objects=size, engine="dict")
    assert len(benchmark(lambda: [obj for obj in table.values() if obj.metadata.labels["app"] == "a1"])) == size // 20


def test_watch(benchmark: Any, open_store: Callable[[str], Store], size: int) -> None:
    store = open_store("memory")
    since = store.resource_version
    _filled(store, size)
    note(benchmark, group="watch, store", unit="event", units=size, objects=size)
    assert len(benchmark(lambda: list(store.watch(since, ["Pod"])))) == size


def test_watch_of_a_list(benchmark: Any, open_store: Callable[[str], Store], size: int) -> None:
    store = open_store("memory")
    since = store.resource_version
    events = list(_filled(store, size).watch(since))
    note(benchmark, group="watch, store", unit="event", units=size, objects=size, engine="list")
    assert len(benchmark(lambda: [event for event in events if event.resource_version > since and event.kind == "Pod"])) == size


def test_reopen(benchmark: Any, open_store: Callable[[str], Store], tmp_path: Path, size: int) -> None:
    _filled(open_store("file"), size).close()
    note(benchmark, group="reopen, store", unit="object", units=size, objects=size, bytes_file=(tmp_path / "state.db").stat().st_size)

    def reopen() -> int:
        with Store.open(tmp_path / "state.db") as store:
            return len(store.list("Pod").items)

    assert benchmark.pedantic(reopen, rounds=3) == size


def test_reopen_bare(benchmark: Any, open_store: Callable[[str], Store], tmp_path: Path, size: int) -> None:
    _filled(open_store("file"), size).close()
    note(benchmark, group="reopen, store", unit="object", units=size, objects=size, engine="sqlite3")

    def read() -> int:
        connection = sqlite3.connect(tmp_path / "state.db")
        try:
            rows = connection.execute("SELECT kind, body FROM objects").fetchall()
        finally:
            connection.close()
        return sum(kind == "Pod" and decode(kind, body) is not None for kind, body in rows)

    assert benchmark.pedantic(read, rounds=3) == size
