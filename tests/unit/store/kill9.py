"""Kill a writing process at random moments and look at what its state file holds.

    python -m tests.unit.store.kill9 [--kills 1000] [--seed 0]

Of all kills, one in five hits `volsched apply --state` (kill9_apply.py), the others a process that only writes. That writer takes numbered
steps, each a pure function of its number: one write, or a batch of several with the step's number kept beside them. It says a step's number
only after the store has answered. The judge takes the same steps in memory. After every kill the file has to equal the judge's store at the
step that was acknowledged last, or at the one after it, and never anything in between.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path

from lightkube.models.core_v1 import PersistentVolumeClaimStatus

from tests.builders import make_pod, make_pvc
from tests.unit.cli import kill9_apply
from tests.unit.store.worlds import ROOT, make_store, pass_time
from volsched.api.edit import replace, with_finalizers, with_labels
from volsched.api.kinds import Key, encode
from volsched.store import Store

ROOM = "kill9"
RETAINED = 500  # changes; old ones are cut every 1,024 writes, and a short history is opened fast


def taken(store: Store) -> int:
    """How many steps a store has behind it."""
    return int(store.value(ROOM, "step") or 0)


def step(store: Store, number: int) -> None:
    """Take one step, all of it or nothing."""
    draw = random.Random(number)
    name = f"c{draw.randrange(20)}"
    with store.batch():
        pass_time(store, draw.random())
        claim = store.raw(Key("PersistentVolumeClaim", "default", name))
        if claim is None:
            store.create(make_pvc(name, labels={"step": str(number)}), user="writer")
            pod = f"p{draw.randrange(20)}"
            if store.raw(Key("Pod", "default", pod)) is not None:
                store.delete("Pod", "default", pod, user="writer", grace_period_s=0)
            store.create(make_pod(pod, claims=[name]), user="writer")
        elif claim.metadata.deletionTimestamp is not None:
            store.update(with_finalizers(claim, remove=claim.metadata.finalizers), user="writer")
        elif draw.random() < 0.3:
            store.delete("PersistentVolumeClaim", "default", name, user="writer")
            message = "x" * (40 * draw.randrange(50))
            store.record_event(store.get("Namespace", "", "default"), type="Normal", reason="Deleted", message=message, source="writer")
        else:
            status = PersistentVolumeClaimStatus(phase=draw.choice(["Pending", "Bound"]))
            store.update(replace(claim, status=status), user="writer", subresource="status")
            latest = store.get("PersistentVolumeClaim", "default", name)
            store.update(with_labels(latest, {"step": str(number)}), user="writer")
        store.log.append_call("driver", "/csi.v1.Identity/Probe", {"step": number}, "OK")
        store.put_value(ROOM, "step", str(number).encode())


def write(path: Path, *, steps: int | None, die: bool, synchronous: str) -> None:
    """Take steps, for ever or this many, and say each; then close the file, or die with it open. `synchronous`: another level than ours."""
    with make_store(path=path, keep_log=False, retained=RETAINED) as store:
        if synchronous:
            assert store._journal is not None
            store._journal._connection.execute(f"PRAGMA synchronous = {synchronous}")
        first = taken(store) + 1
        for number in itertools.count(first) if steps is None else range(first, first + steps):
            step(store, number)
            os.write(1, b"%d\n" % number)
        if die:
            os._exit(0)


def picture(store: Store) -> dict[str, object]:
    """Everything a store holds, in a form that compares."""
    kinds = ("Namespace", "PersistentVolumeClaim", "Pod", "Event")
    return {
        "objects": [encode(obj) for kind in kinds for obj in store.list(kind).items],
        "history": [(event.change, encode(event.object)) for event in store.watch(max(store.resource_version - 100, 0))],
        "version": store.resource_version,
        "clock": store.clock.now_ns(),
        "uids": (store.uids.seed, store.uids.issued),
        "step": taken(store),
    }


def kill_once(path: Path, draw: random.Random) -> int:
    """Run the writer, kill it in the middle; the last step it acknowledged."""
    command = [sys.executable, "-m", "tests.unit.store.kill9", "--write", str(path)]
    writer = subprocess.Popen(command, stdout=subprocess.PIPE, bufsize=0, cwd=ROOT)
    assert writer.stdout is not None
    unread = b""
    wanted = draw.randrange(1, 60)
    lines = 0
    # kill after some acknowledgement, then a moment later, so that it hits every part of a step
    while lines < wanted:
        chunk = writer.stdout.read(64)
        if not chunk:
            raise AssertionError(f"the writer ended by itself with {writer.wait()}")
        unread += chunk
        lines += chunk.count(b"\n")
    with contextlib.suppress(subprocess.TimeoutExpired):
        writer.wait(timeout=draw.random() * 0.002)
    writer.kill()
    unread += writer.stdout.read()
    writer.wait()
    writer.stdout.close()
    complete = unread.rpartition(b"\n")[0].split(b"\n")
    return int(complete[-1])


def run(path: Path, *, kills: int, seed: int) -> int:
    """Kill `kills` times; the number of steps taken. Raises AssertionError at the first loss."""
    draw = random.Random(seed)
    judge = make_store(keep_log=False, retained=RETAINED)
    for kill in range(kills):
        acknowledged = kill_once(path, draw)
        with make_store(path=path, keep_log=False, retained=RETAINED) as found:
            number = taken(found)
            assert number in (acknowledged, acknowledged + 1), f"kill {kill}: acknowledged step {acknowledged}, the file has {number}"
            for missing in range(taken(judge) + 1, number + 1):
                step(judge, missing)
            assert picture(found) == picture(judge), f"kill {kill}: the file differs from step {number}"
            assert found.log.digest == judge.log.digest, f"kill {kill}: the log differs from step {number}"
    return taken(judge)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--steps", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--die", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--synchronous", default="", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.write:
        write(given.write, steps=given.steps, die=given.die, synchronous=given.synchronous)
        return
    calls = given.kills // 5
    with tempfile.TemporaryDirectory() as directory:
        steps = run(Path(directory) / "state.db", kills=given.kills - calls, seed=given.seed)
        print(f"store: {given.kills - calls} kills, {steps} steps, nothing lost", flush=True)
    with tempfile.TemporaryDirectory() as directory:
        print(f"apply: nothing lost, {json.dumps(kill9_apply.torture(Path(directory), calls=calls, seed=given.seed))}")


if __name__ == "__main__":
    main()
