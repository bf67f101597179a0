"""Kills real `volsched apply --state` processes at random instants and looks at what they leave.

    python tests/unit/cli/kill9_apply.py --calls 100 --seed 1

Every call applies a claim and a pod of its own and moves a counter on a shared object. Whatever a call said on standard output has to be in
the state file when it is opened next, a call's objects are there together or not at all, and after all the killing one more apply brings
the whole cluster to rest: every claim bound, every pod running, one volume in the driver for each claim.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from volsched.api.kinds import Key
from volsched.store import Store

DRIVER = "disk.example.com"
COMMAND = [sys.executable, "-c", "from volsched.cli import main; main()"]


def _document(kind: str, version: str, name: str, **fields: Any) -> dict[str, Any]:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name}} | fields


def _cluster() -> list[dict[str, Any]]:
    room = {"cpu": "64", "memory": "64Gi", "pods": "500"}
    ready = [{"type": "Ready", "status": "True"}]
    nodes = [_document("Node", "v1", f"node-{i}", status={"capacity": room, "allocatable": room, "conditions": ready}) for i in range(3)]
    storage_class = _document(
        "StorageClass", "storage.k8s.io/v1", "disks", provisioner=DRIVER, volumeBindingMode="WaitForFirstConsumer", reclaimPolicy="Delete"
    )
    driver = _document("CSIDriver", "storage.k8s.io/v1", DRIVER, spec={"attachRequired": True})
    installed = [
        _document("CSINode", "storage.k8s.io/v1", f"node-{i}", spec={"drivers": [{"name": DRIVER, "nodeID": f"id-{i}"}]}) for i in range(3)
    ]
    return [*nodes, storage_class, driver, *installed]


def _call(number: int) -> list[dict[str, Any]]:
    claim = {
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": "disks",
        "resources": {"requests": {"storage": "1Gi"}},
    }
    pod = {
        "containers": [{"name": "c", "image": "i", "volumeMounts": [{"name": "v", "mountPath": "/data"}]}],
        "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": f"claim-{number}"}}],
    }
    shared = _document("Node", "v1", "node-0")
    shared["metadata"]["labels"] = {"calls": str(number)}
    return [
        _document("PersistentVolumeClaim", "v1", f"claim-{number}", spec=claim),
        _document("Pod", "v1", f"pod-{number}", spec=pod),
        shared,
    ]


class Run:
    """One state file, many calls."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.state = folder / "state.db"
        self.folder = folder
        self.chance = random.Random(seed)
        self.acknowledged: dict[str, str] = {}
        self.label = "0"
        self.killed = self.killed_after_words = self.survived = self.nothing_written = 0
        self.call_s = 0.0

    def apply(self, number: int, objects: list[dict[str, Any]], *, kill: bool) -> None:
        manifest = self.folder / f"call-{number}.json"
        manifest.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))
        process = subprocess.Popen(
            [*COMMAND, "apply", "--state", str(self.state), "-f", str(manifest)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        )
        begun = time.monotonic()
        if not kill:
            out, err = process.communicate(timeout=120)
            self.call_s = time.monotonic() - begun
            assert process.returncode == 0, err
        else:
            try:
                # most of a call is the interpreter starting; aim at what comes after, and past the end now and then
                process.wait(timeout=self.call_s * self.chance.uniform(0.5, 1.1))
                self.survived += 1
                self.call_s = time.monotonic() - begun
            except subprocess.TimeoutExpired:
                process.kill()
                self.killed += 1
            out, err = process.communicate(timeout=120)
            assert process.returncode in (0, -9), err
            if process.returncode == -9 and out:
                self.killed_after_words += 1
        for line in out.splitlines():
            name, _, what = line.partition(" ")
            assert what in ("created", "configured", "unchanged"), line
            self.acknowledged[name] = what
            if name == "node/node-0":
                self.label = str(number)

    def check(self, number: int) -> None:
        """Everything acknowledged is there; the last call's objects are all there or none is."""
        if not self.state.exists():
            assert not self.acknowledged
            return
        with Store.open(self.state) as store:
            for name in self.acknowledged:
                kind, _, own = name.partition("/")
                assert store.raw(_key(kind, own)) is not None, f"after call {number}: {name} was acknowledged and is gone"
            node = store.raw(Key("Node", "", "node-0"))
            if node is None:
                return
            found = (node.metadata.labels or {}).get("calls", "0")
            claim, pod = (store.raw(Key(kind, "default", f"{short}-{number}")) for kind, short in _OWN)
            written = claim is not None
            assert (pod is not None) == written, f"call {number}: half of it is there"
            assert found == (str(number) if written else self.label), f"call {number}: label {found}, acknowledged {self.label}"
            self.label = found
            self.nothing_written += not written

    def at_rest(self) -> dict[str, int]:
        """Claims, pods and volumes of the settled cluster."""
        with Store.open(self.state) as store:
            claims, pods = store.list("PersistentVolumeClaim").items, store.list("Pod").items
            volumes = [key for key in store.values(f"csi/{DRIVER}") if key.startswith("volume")]
            assert all(claim.status.phase == "Bound" for claim in claims)
            assert all(pod.status.phase == "Running" for pod in pods)
            assert len(volumes) == len(claims) == len(store.list("PersistentVolume").items)
            return {"claims": len(claims), "pods": len(pods), "volumes": len(volumes)}


_OWN = (("PersistentVolumeClaim", "claim"), ("Pod", "pod"))
_KINDS = {
    "node": "Node",
    "persistentvolumeclaim": "PersistentVolumeClaim",
    "pod": "Pod",
    "storageclass.storage.k8s.io": "StorageClass",
    "csidriver.storage.k8s.io": "CSIDriver",
    "csinode.storage.k8s.io": "CSINode",
}


def _key(word: str, name: str) -> Key:
    kind = _KINDS[word]
    return Key(kind, "default" if kind in ("Pod", "PersistentVolumeClaim") else "", name)


def torture(folder: Path, *, calls: int, seed: int) -> dict[str, Any]:
    """Kill `calls` calls; figures of the run. Raises AssertionError when something acknowledged is lost."""
    run = Run(folder, seed)
    run.apply(0, _cluster() + _call(0), kill=False)
    for number in range(1, calls + 1):
        run.apply(number, _call(number), kill=True)
        run.check(number)
    run.apply(calls + 1, _call(calls + 1), kill=False)
    run.check(calls + 1)
    return {
        "calls": calls,
        "seed": seed,
        "killed": run.killed,
        "killed_after_acknowledging": run.killed_after_words,
        "ended_before_the_kill": run.survived,
        "killed_before_writing": run.nothing_written,
        "acknowledged": len(run.acknowledged),
        **run.at_rest(),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="volsched-kill9-") as name:
        print(json.dumps(torture(Path(name), calls=options.calls, seed=options.seed)))
