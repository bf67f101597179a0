from __future__ import annotations

import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.builders import make_namespace, make_node, make_pod, make_pv, make_pvc, make_snapshot
from tests.unit.store import kill9
from tests.unit.store.worlds import ROOT, START_NS, make_store, pass_time
from volsched.api.edit import with_finalizers, with_labels
from volsched.api.kinds import KINDS, Key, encode
from volsched.app.cluster import Cluster
from volsched.errors import ExpiredError, StateError
from volsched.store import Store


def play(store: Store) -> None:
    store.create(make_namespace("apps"), user="admin")
    store.create(make_node("n1"), user="admin")
    pod = store.create(make_pod("a", namespace="apps", claims=["c"]), user="admin")
    claim = store.create(make_pvc("c", namespace="apps"), user="admin")
    store.create(make_snapshot("s", claim="c"), user="admin")
    pass_time(store, 2.5)
    store.load(make_pv("v", uid="u-1", phase="Released"))
    store.bind("apps", "a", uid=pod.metadata.uid, node="n1", user="kube-scheduler")
    store.delete("PersistentVolumeClaim", "apps", "c", user="admin")
    store.record_event(claim, type="Normal", reason="Seen", message="seen", source="test")
    store.delete("Node", "", "n1", user="admin")
    store.log.append_call("driver", "/csi.v1.Identity/Probe", {}, "OK")
    store.put_value("csi", "volumes", b"\x00\xff")
    store.put_value("csi", "volume\0v/ü", b"")


def picture(store: Store) -> dict[str, object]:
    return {
        "objects": [encode(obj) for kind in KINDS for obj in store.list(kind).items],
        "history": [(event.change, event.resource_version, encode(event.object)) for event in store.watch(0)],
        "version": store.resource_version,
        "clock": store.clock.now_ns(),
        "uids": (store.uids.seed, store.uids.issued),
        "log": (store.log.count, store.log.hash),
        "values": store.values("csi"),
    }


def test_a_reopened_file_holds_the_same(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    with make_store(path=path) as store:
        play(store)
        pass_time(store, 7)
        before = picture(store)
    memory = make_store()
    play(memory)
    pass_time(memory, 7)
    assert picture(memory) == before
    with Store.open(path, seed=99, start_ns=5) as again:
        assert picture(again) == before
        # and it goes on as if it had never stopped
        for either in (again, memory):
            either.create(make_pod("later"), user="admin")
        assert picture(again) == picture(memory)


def test_a_file_is_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    with make_store(path=path) as store:
        play(store)
        assert {stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()} == {0o600}
    assert [file.name for file in tmp_path.iterdir()] == ["state.db"]


def test_an_acknowledged_write_is_there_without_closing(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    store = make_store(path=path)
    node = store.create(make_node("n1"), user="admin")
    copy = tmp_path / "copy.db"
    for suffix in ("", "-wal"):
        Path(f"{copy}{suffix}").write_bytes(Path(f"{path}{suffix}").read_bytes())
    with Store.open(copy) as found:
        assert found.raw(Key("Node", "", "n1")) == node
    store.close()


def test_a_batch_is_there_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    store = make_store(path=path)
    copy = tmp_path / "copy.db"
    with store.batch():
        store.create(make_node("n1"), user="admin")
        store.create(make_node("n2"), user="admin")
        for suffix in ("", "-wal"):
            Path(f"{copy}{suffix}").write_bytes(Path(f"{path}{suffix}").read_bytes())
    store.close()
    with Store.open(copy) as half:
        assert half.list("Node").items == []
    with Store.open(path) as whole:
        assert len(whole.list("Node").items) == 2


def test_what_was_written_before_an_exception_in_a_batch_stays(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    with make_store(path=path) as store, pytest.raises(ValueError, match="later"), store.batch():
        store.create(make_node("n1"), user="admin")
        raise ValueError("later")
    with Store.open(path) as again:
        assert len(again.list("Node").items) == 1


def test_the_history_is_cut_in_the_file_too(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    with make_store(path=path, retained=50) as store, store.batch():
        for number in range(1_100):
            store.create(make_node(f"n{number}"), user="admin")
    with make_store(path=path, retained=50) as again:
        version = again.resource_version
        assert len(list(again.watch(version - 50))) == 50
        with pytest.raises(ExpiredError):
            again.watch(version - 60)
    connection = sqlite3.connect(path)
    (kept,) = connection.execute("SELECT count(*) FROM history").fetchone()
    connection.close()
    assert kept < 1_100


HOLD = """
import sys
from pathlib import Path
from tests.unit.store.worlds import make_store
store = make_store(path=Path(sys.argv[1]))
print("open", flush=True)
sys.stdin.read()
"""


def test_a_second_process_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    command = [sys.executable, "-c", HOLD, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as holder:
        assert holder.stdout is not None and holder.stdin is not None
        assert holder.stdout.readline() == "open\n"
        with pytest.raises(StateError, match=rf"^state file {path}: in use by (process {holder.pid}|another process); ") as refused:
            Store.open(path)
        assert "\n" not in str(refused.value)
        holder.stdin.close()
        assert holder.wait() == 0
    with Store.open(path) as store:
        assert store.resource_version == 4


def test_a_second_store_in_the_same_process_is_refused_and_harmless(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    with make_store(path=path) as store:
        with pytest.raises(StateError, match="in use by"):
            Store.open(path)
        store.create(make_node("n1"), user="admin")
        refused = subprocess.run(
            [sys.executable, "-c", f"from pathlib import Path\nfrom volsched.store import Store\nStore.open(Path({str(path)!r}))"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert "StateError" in refused.stderr
    with Store.open(path) as again:
        assert again.raw(Key("Node", "", "n1")) is not None


def spoil(path: Path, statement: str) -> None:
    connection = sqlite3.connect(path)
    connection.execute(statement)
    connection.commit()
    connection.close()


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("PRAGMA user_version = 7", "of format version 7, this volsched reads up to version 3"),
        ("PRAGMA application_id = 5", "not a volsched state file"),
        ("UPDATE objects SET body = 'x' WHERE kind = 'Node'", "damaged: the checksum of Node/n1 is wrong"),
        ("UPDATE counters SET version = 3", "damaged: the checksum of the counters is wrong"),
        ("DELETE FROM history WHERE version = 5", "damaged: the history ends at 4, not at 5"),
        ("DROP TABLE objects", "no such table: objects"),
        ("UPDATE counters SET seed = 'x'", "damaged"),
    ],
)
def test_a_file_that_is_not_as_it_should_be_is_refused_in_one_line(tmp_path: Path, statement: str, words: str) -> None:
    path = tmp_path / "state.db"
    with make_store(path=path) as store:
        store.create(make_node("n1"), user="admin")
    spoil(path, statement)
    content = path.read_bytes()
    with pytest.raises(StateError) as refused:
        Store.open(path)
    assert str(path) in str(refused.value) and words in str(refused.value) and "\n" not in str(refused.value)
    assert path.read_bytes() == content


def test_other_files_are_left_alone(tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("not a database, and longer than the sixteen bytes of a header" * 10)
    other = tmp_path / "other.db"
    spoil(other, "CREATE TABLE t (x)")
    for path in (text, other):
        content = path.read_bytes()
        with pytest.raises(StateError, match="not a volsched state file"):
            Store.open(path)
        assert path.read_bytes() == content
    with pytest.raises(StateError, match="not a regular file"):
        Store.open(tmp_path)
    with pytest.raises(StateError, match="cannot be created"):
        Store.open(tmp_path / "missing" / "state.db")
    cut = tmp_path / "cut.db"
    with make_store(path=cut) as store:
        play(store)
    cut.write_bytes(cut.read_bytes()[:5_000])
    with pytest.raises(StateError):
        Store.open(cut)


def test_a_store_that_is_only_looked_at(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    with make_store(path=path) as store:
        play(store)
        store.save()
        before = picture(store)
        with Store.open(path, read_only=True) as looked:
            assert picture(looked) == before
            store.create(make_node("n2"), user="admin")
            assert picture(looked) == before
            for write in (
                lambda: looked.create(make_node("n3"), user="admin"),
                lambda: looked.put_value("csi", "x", b""),
                lambda: looked.delete("Namespace", "", "apps", user="admin"),
            ):
                with pytest.raises(StateError, match="opened for reading only"):
                    write()
        with Store.open(path, read_only=True) as again:
            assert again.raw(Key("Node", "", "n2")) is not None
    content = path.read_bytes()
    with Cluster(state=path, read_only=True) as cluster, pytest.raises(StateError, match="opened for reading only"):
        cluster.run_until_idle()
    assert path.read_bytes() == content
    empty = tmp_path / "empty.db"
    empty.touch()
    for nothing, words in ((empty, "empty, nothing has been kept in it yet"), (tmp_path / "none.db", "does not exist")):
        with pytest.raises(StateError, match=words):
            Store.open(nothing, read_only=True)
    with pytest.raises(StateError, match="there is no state file to look at"):
        Cluster(read_only=True)


def test_an_empty_file_is_a_new_one(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    path.touch()
    with make_store(path=path) as store:
        assert store.clock.now_ns() == START_NS


def test_a_write_that_cannot_be_kept_is_refused_and_so_are_all_later_ones(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    store = make_store(path=path)
    assert store._journal is not None
    store._journal._connection.execute("PRAGMA max_page_count = 1")
    with pytest.raises(StateError, match="full"):
        for number in range(200):
            store.create(make_pod(f"p{number}", labels={"x": "y" * 60}), user="admin")
    kept = [pod.metadata.name for pod in store.list("Pod").items]
    with pytest.raises(StateError, match="full"):
        store.create(make_node("n1"), user="admin")
    store.close()
    with Store.open(path) as again:
        assert [pod.metadata.name for pod in again.list("Pod").items] == kept


def test_a_conflict_costs_nothing_in_the_file(tmp_path: Path) -> None:
    with make_store(path=tmp_path / "state.db") as store:
        claim = store.create(make_pvc("c"), user="admin")
        store.update(with_labels(claim, {"a": "1"}), user="admin")
        version = store.resource_version
        with pytest.raises(Exception, match="has been modified"):
            store.update(with_finalizers(claim, add=["x.com/y"]), user="admin")
        assert store.resource_version == version


def test_nothing_acknowledged_is_lost_to_kill_9(tmp_path: Path) -> None:
    assert kill9.run(tmp_path / "state.db", kills=10, seed=0) >= 10


def test_an_interrupt_in_the_middle_of_a_write_leaves_a_good_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "state.db"

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), make_store(path=path) as store:
        store.create(make_node("n1"), user="admin")
        # after the journal has it, before memory has
        monkeypatch.setattr(store._tables, "apply", interrupted)
        store.create(make_node("n2"), user="admin")
    with Store.open(path) as again:
        assert [node.metadata.name for node in again.list("Node").items] == ["n1", "n2"]
    with pytest.raises(KeyboardInterrupt), make_store(path=path) as store:
        assert store._journal is not None
        # before the journal has all of it
        monkeypatch.setattr(store._journal, "_put_log", interrupted)
        store.create(make_node("n3"), user="admin")
    with Store.open(path) as again:
        assert [node.metadata.name for node in again.list("Node").items] == ["n1", "n2"]
