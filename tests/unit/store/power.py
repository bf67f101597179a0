"""Cut the power of a disk under a writing process, again and again, and look at what its state file holds.

    python -m tests.unit.store.power [--cuts 100] [--looks 20] [--seed 0]

The writer is that of kill9, on a disk that records what is done to it (disk.cpp). Its steps are cut off at some operation, and the disk is
left in one of the states it may then be in (disk.py). Each state has to open as the judge's store at the step that was acknowledged last,
or at the one after it. Several such looks are taken at each life of the writer; the last one is what its next life begins with, so a file
goes through recovery upon recovery, and a writer ends sometimes by closing, sometimes by dying.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from tests.unit.store.disk import Disk, Operation, built, read_record, restore
from tests.unit.store.kill9 import RETAINED, picture, step, taken
from tests.unit.store.worlds import ROOT, make_store

STEPS_MAX = 150  # of one life; the log is folded into the file about every 70


class Figures(NamedTuple):
    cuts: int
    looks: int
    steps: int
    operations: int


def watched(library: Path, folder: Path, record: Path, *command: str) -> list[Operation]:
    """Run a Python program on the watched disk; what it did there."""
    environment = os.environ | {"LD_PRELOAD": str(library), "DISK_ROOT": str(folder), "DISK_RECORD": str(record)}
    record.unlink(missing_ok=True)
    done = subprocess.run(
        [sys.executable, *command], cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    return read_record(record)


def run(library: Path, scratch: Path, *, cuts: int, looks: int, seed: int, synchronous: str = "") -> Figures:
    """Cut the power `cuts` times, taking `looks` looks at each. Raises AssertionError at the first loss."""
    chance = random.Random(seed)
    folder, copy, record = scratch / "disk", scratch / "copy", scratch / "record"
    folder.mkdir()
    copy.mkdir()
    judge = make_store(keep_log=False, retained=RETAINED)
    durable = operations_seen = 0
    for cut in range(cuts):
        disk = Disk(folder)
        command = ["-m", "tests.unit.store.kill9", "--write", str(folder / "state.db"), "--steps", str(chance.randrange(1, STEPS_MAX))]
        command += [] if chance.random() < 0.5 else ["--die"]
        operations = watched(library, folder, record, *command, "--synchronous", synchronous)
        operations_seen += len(operations)
        acknowledged, position = durable, 0
        for instant in sorted(chance.randrange(len(operations) + 1) for _ in range(looks)):
            for operation in operations[position:instant]:
                if operation.name == "say":
                    acknowledged = int(operation.data)
                else:
                    disk.carry_out(operation)
            position = instant
            left = disk.after_crash(chance)
            restore(copy, left)
            where = f"seed {seed}, cut {cut}, after operation {position} of {len(operations)}"
            durable = check(copy / "state.db", judge, acknowledged=acknowledged, where=where)
        restore(folder, left)
    return Figures(cuts, cuts * looks, taken(judge), operations_seen)


def check(path: Path, judge: Any, *, acknowledged: int, where: str) -> int:
    """The file opens as the judge's store at the acknowledged step or the next; which of them."""
    with make_store(path=path, keep_log=False, retained=RETAINED) as found:
        number = taken(found)
        assert number in (acknowledged, acknowledged + 1), f"{where}: acknowledged step {acknowledged}, the file has {number}"
        for missing in range(taken(judge) + 1, number + 1):
            step(judge, missing)
        if number == taken(judge):  # else a look before this one has found the step that is missing here
            assert picture(found) == picture(judge), f"{where}: the file differs from step {number}"
            assert found.log.digest == judge.log.digest, f"{where}: the log differs from step {number}"
    return number


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cuts", type=int, default=100)
    parser.add_argument("--looks", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name).resolve()
        figures = run(built(scratch), scratch, cuts=given.cuts, looks=given.looks, seed=given.seed)
    print(f"{figures.cuts} cuts, {figures.looks} looks, {figures.steps} steps, {figures.operations} disk operations, nothing lost")


if __name__ == "__main__":
    main()
