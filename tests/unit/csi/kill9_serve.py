"""Kill a `volsched csi serve --state` at random moments between and inside calls, and look at what the next one has.

    python -m tests.unit.csi.kill9_serve [--kills 200] [--seed 0]

A client makes volumes, writes random bytes through their published paths, cuts snapshots, restores and deletes, one call after the other.
When the driver dies under a call, the next driver has to have everything that was acknowledged, bytes included, nothing else but what that
one call may have made, and has to answer that call when it is made again, as a sidecar would.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import random
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

from tests.unit.csi.world import World
from tests.unit.store.worlds import ROOT
from volsched.api import csi
from volsched.csi.client import GrpcClient
from volsched.errors import CsiCode, CsiError

COMMAND = [sys.executable, "-c", "from volsched.cli import main; main()", "csi", "serve", "--node-id", "n1", "--max-volumes-per-node", "0"]
CALM_S = 0.25  # a driver is killed within this time after it is ready
VOLUMES_MAX = 12

# A story yields calls and is sent their answers. A call is made once more, to the next driver, when this one dies under it.
Story = Generator[Callable[[World], Any], Any, None]


class Life:
    """One process of the driver, killed after `ends_s` seconds, or told to stop when the block ends."""

    def __init__(self, folder: Path, *, ends_s: float | None) -> None:
        self._endpoint = f"unix://{folder}/csi.sock"
        self._state = folder / "driver.db"
        self._ends_s = ends_s
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> World:
        server = subprocess.Popen(
            [*COMMAND, "--endpoint", self._endpoint, "--state", str(self._state)],
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
            stderr=subprocess.PIPE,
            text=True,
        )
        self._stack.callback(server.communicate)
        self._stack.callback(server.terminate)
        assert server.stderr is not None
        said = server.stderr.readline()
        assert said.startswith("serving "), said
        if self._ends_s is not None:
            timer = threading.Timer(self._ends_s, server.kill)
            self._stack.callback(timer.join)
            timer.start()
        client = self._stack.enter_context(GrpcClient(self._endpoint, connect_timeout_s=0))
        return World(client, None, None, "grpc")  # type: ignore[arg-type]

    def __exit__(self, *_: object) -> None:
        self._stack.close()


class Run:
    """What the client knows to be there, and what it does next."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder = folder
        self.chance = random.Random(seed)
        self.volumes: dict[str, bytes] = {}  # id -> bytes of its file
        self.snapshots: dict[str, bytes] = {}
        self.going: set[str] = set()  # asked to be deleted, without an answer yet
        self.made = self.calls = 0

    def story(self) -> Story:
        """One deed after the other, for ever."""
        while True:
            deed = self.chance.choice(["make", "make", "cut", "cut", "cut", "restore", "remove", "drop"])
            room = len(self.volumes) < VOLUMES_MAX
            if deed == "make" and room:
                yield from self._make("")
            elif deed == "restore" and room and self.snapshots:
                yield from self._make(self.chance.choice(list(self.snapshots)))
            elif deed == "cut" and self.volumes:
                yield from self._cut(self.chance.choice(list(self.volumes)))
            elif deed == "drop" and self.snapshots:
                snapshot_id = self.chance.choice(list(self.snapshots))
                yield from self._delete(snapshot_id, self.snapshots, csi.DeleteSnapshotRequest(snapshot_id=snapshot_id))
            elif deed == "remove" and self.volumes:
                yield from self._remove(self.chance.choice(list(self.volumes)))

    def _make(self, snapshot_id: str) -> Story:
        name = self._name()
        volume = yield lambda here: here.volume(name, snapshot=snapshot_id)
        volume_id = volume.volume_id
        self.volumes[volume_id] = self.snapshots.get(snapshot_id, b"")
        target = self._target(volume_id)
        yield lambda here: here.mount(volume_id, str(target))
        content = self.chance.randbytes(self.chance.randrange(20_000))
        (target / "content").write_bytes(content)
        self.volumes[volume_id] = content

    def _cut(self, volume_id: str) -> Story:
        name = self._name()
        snapshot = yield lambda here: here.snapshot(volume_id, name)
        self.snapshots[snapshot.snapshot_id] = self.volumes[volume_id]

    def _remove(self, volume_id: str) -> Story:
        yield lambda here: here.unmount(volume_id, str(self._target(volume_id)))
        yield from self._delete(volume_id, self.volumes, csi.DeleteVolumeRequest(volume_id=volume_id))

    def _delete(self, object_id: str, known: dict[str, bytes], request: csi.Message) -> Story:
        del known[object_id]
        self.going = {object_id}
        yield lambda here: here.call(request)
        self.going = set()

    def _name(self) -> str:
        self.made += 1
        return f"object-{self.made}"

    def _target(self, volume_id: str) -> Path:
        return self.folder / "pods" / volume_id

    def check(self, here: World, *, under_way: bool) -> None:
        """The driver has what is known; besides, what the call under way has made or not yet removed."""
        volumes = {entry.volume.volume_id for entry in here.call(csi.ListVolumesRequest()).entries}
        snapshots = {entry.snapshot.snapshot_id for entry in here.call(csi.ListSnapshotsRequest()).entries}
        known = {*self.volumes, *self.snapshots}
        assert volumes | snapshots >= known, f"lost: {known - volumes - snapshots}"
        more = (volumes | snapshots) - known - self.going
        assert len(more) <= (1 if under_way and not self.going else 0), f"nobody asked for {more}"
        for group, contents in (("volumes", self.volumes), ("snapshots", self.snapshots)):
            for object_id, content in contents.items():
                file = self.folder / "driver.db.data" / group / object_id / "fs" / "content"
                assert (file.read_bytes() if file.exists() else b"") == content, f"{object_id} has other bytes"


def torture(folder: Path, *, kills: int, seed: int) -> dict[str, int]:
    """Kill the driver `kills` times; figures. Raises AssertionError at the first loss."""
    run = Run(folder, seed)
    (folder / "pods").mkdir()
    story = run.story()
    call = next(story)
    for life in range(kills + 1):
        last = life == kills
        with Life(folder, ends_s=None if last else run.chance.random() * CALM_S) as here:
            try:
                run.check(here, under_way=life > 0)
                for _ in range(50) if last else itertools.count():
                    call = story.send(call(here))
                    run.calls += 1
            except CsiError as error:
                if last or error.code is not CsiCode.UNAVAILABLE:
                    raise
    assert list((folder / "driver.db.data" / "making").iterdir()) == []
    return {
        "kills": kills,
        "seed": seed,
        "calls_acknowledged": run.calls,
        "objects_made": run.made,
        "volumes": len(run.volumes),
        "snapshots": len(run.snapshots),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="volsched-") as name:
        print(torture(Path(name), kills=given.kills, seed=given.seed))


if __name__ == "__main__":
    main()
