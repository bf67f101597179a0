from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.builders import make_namespace, make_node, make_pod, make_pvc
from tests.unit.store.worlds import make_store, pass_time
from volsched.api.edit import with_labels
from volsched.api.kinds import KINDS, Key, encode
from volsched.api.watch import WatchEvent
from volsched.errors import AlreadyExistsError
from volsched.store import Store


def picture(store: Store) -> dict[str, Any]:
    return {
        "objects": [encode(obj) for kind in KINDS for obj in store.list(kind).items],
        "history": [(event.change, event.resource_version) for event in store.watch(0)],
        "version": store.resource_version,
        "uids": (store.uids.seed, store.uids.issued),
        "log": (store.log.count, store.log.hash, store.log.lines),
        "values": store.values("room"),
    }


def change_much(store: Store) -> None:
    store.create(make_namespace("apps"), user="admin")
    store.create(make_pod("new"), user="admin")
    claim = store.get("PersistentVolumeClaim", "default", "c")
    store.update(with_labels(claim, {"a": "1"}), user="admin")
    store.delete("PersistentVolumeClaim", "default", "c", user="admin")
    store.delete("Node", "", "n1", user="admin")
    store.create(make_node("n1"), user="admin")
    store.record_event(claim, type="Normal", reason="Seen", message="seen", source="test")
    store.log.append("a line")
    store.put_value("room", "key", b"new")


@pytest.mark.parametrize("kept", [False, True])
def test_a_refusal_takes_everything_back(tmp_path: Path, kept: bool) -> None:
    path = tmp_path / "state.db" if kept else None
    store = make_store(path=path)
    store.create(make_pvc("c"), user="admin")
    store.create(make_node("n1"), user="admin")
    store.put_value("room", "key", b"old")
    store.log.append("before")
    pods = store.list("Pod").items  # the sorted names are built and have to follow
    seen: list[WatchEvent] = []
    store.subscribe(seen.append)
    before = picture(store)
    with pytest.raises(AlreadyExistsError), store.atomic():
        change_much(store)
        store.create(make_node("n1"), user="admin")
    assert picture(store) == before and seen == [] and store.list("Pod").items == pods
    with store.atomic():
        change_much(store)
        assert seen == []
    after = picture(store)
    assert len(seen) == 7 and after["version"] == before["version"] + 7
    store.close()
    if path is not None:
        with Store.open(path) as again:
            found = picture(again)
            assert {name: found[name] for name in found if name != "log"} == {name: after[name] for name in after if name != "log"}
            assert found["log"][:2] == after["log"][:2]


@pytest.mark.parametrize("kept", [False, True])
def test_one_inside_another(tmp_path: Path, kept: bool) -> None:
    path = tmp_path / "state.db" if kept else None
    store = make_store(path=path)
    with store.batch(), store.atomic():
        store.create(make_node("a"), user="admin")
        with pytest.raises(ValueError, match="inner"), store.atomic():
            store.create(make_node("b"), user="admin")
            raise ValueError("inner")
        store.create(make_node("c"), user="admin")
    with pytest.raises(ValueError, match="outer"), store.atomic():
        store.create(make_node("d"), user="admin")
        with store.atomic():
            store.create(make_node("e"), user="admin")
        raise ValueError("outer")
    names = [node.metadata.name for node in store.list("Node").items]
    store.close()
    assert names == ["a", "c"]
    if path is not None:
        with Store.open(path) as again:
            assert [node.metadata.name for node in again.list("Node").items] == names
            assert again.resource_version == store.resource_version


def test_a_long_one_cuts_the_history_only_at_its_end() -> None:
    store = make_store(retained=5)
    with pytest.raises(ValueError, match="late"), store.atomic():
        for number in range(30):
            store.create(make_node(f"n{number}"), user="admin")
        raise ValueError("late")
    assert store.resource_version == 4 and len(list(store.watch(0))) == 4
    with store.atomic():
        for number in range(30):
            store.create(make_node(f"n{number}"), user="admin")
    assert len(list(store.watch(store.resource_version - 5))) == 5


def test_a_refused_batch_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    with make_store(path=path) as store:
        store.create(make_node("n1"), user="admin")
        pass_time(store, 1)
    with Store.open(path) as store, pytest.raises(AlreadyExistsError), store.atomic():
        store.create(make_node("n2"), user="admin")
        store.create(make_node("n1"), user="admin")
    with Store.open(path) as store:
        assert store.raw(Key("Node", "", "n2")) is None and store.resource_version == 5
