from __future__ import annotations

import hashlib
import os
import subprocess
import sys

from tests.builders import make_node, make_pod, make_pvc
from tests.unit.store.worlds import ROOT, START_NS, make_store, pass_time
from volsched.api.edit import with_labels
from volsched.env import VirtualClock
from volsched.store import RunLog, Store


def play(store: Store) -> Store:
    store.create(make_node("n1"), user="admin")
    store.create(make_pod("a"), user="admin")
    pass_time(store, 1.5)
    store.log.append_call("csi.example.com", "/csi.v1.Controller/CreateVolume", {"name": "pvc-1"}, "OK")
    store.bind("default", "a", uid="", node="n1", user="kube-scheduler")
    store.delete("Node", "", "n1", user="admin")
    return store


def test_lines_say_what_happened() -> None:
    store = make_store()
    first = store.log.count
    lines = [line.split(" ", 2) for line in play(store).log.lines[first:]]
    assert [int(number) for number, _, _ in lines] == list(range(first + 1, first + 6))
    assert [int(time) - START_NS for _, time, _ in lines] == [0, 0, 1_500_000_000, 1_500_000_000, 1_500_000_000]
    whats = [what for _, _, what in lines]
    assert whats[0].startswith("write admin create Node/n1 5 ")
    assert whats[2] == 'call csi.example.com /csi.v1.Controller/CreateVolume OK {"name":"pvc-1"}'
    assert whats[3].startswith("write kube-scheduler bind Pod/default/a 7 ")
    assert whats[4].startswith("write admin delete Node/n1 8 ")


def test_the_hash_is_a_chain_over_the_lines() -> None:
    log = play(make_store()).log
    digest = bytes(32)
    for line in log.lines:
        digest = hashlib.sha256(digest + line.encode() + b"\n").digest()
    assert log.digest == digest and log.hash == digest.hex()


def test_same_input_same_hash_other_content_other_hash() -> None:
    assert play(make_store()).log.hash == play(make_store()).log.hash
    assert play(make_store(seed=2)).log.hash != play(make_store()).log.hash
    one, two = make_store(), make_store()
    for store, value in ((one, "1"), (two, "2")):
        store.update(with_labels(store.create(make_pvc("c"), user="admin"), {"a": value}), user="admin")
    assert one.log.hash != two.log.hash


def test_lines_need_not_be_kept() -> None:
    store = play(make_store(keep_log=False))
    assert store.log.lines == [] and store.log.hash == play(make_store()).log.hash


def test_a_line_stays_one_line() -> None:
    log = RunLog(VirtualClock(0))
    assert log.append("two\nlines") == "1 0 two\\nlines"
    assert log.count == 1


def test_the_hash_does_not_depend_on_the_interpreters_hash_seed() -> None:
    script = "from tests.unit.store.test_runlog import make_store, play; print(play(make_store()).log.hash)"
    hashes = {
        subprocess.run(
            [sys.executable, "-c", script], env={**os.environ, "PYTHONHASHSEED": seed}, cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    assert hashes == {play(make_store()).log.hash + "\n"}
