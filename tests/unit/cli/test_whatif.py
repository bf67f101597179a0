"""volsched whatif: what it prints, and what it will not do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.unit.cli.shell import Shell

CLUSTER = """
apiVersion: v1
kind: Node
metadata: {name: n-a, labels: {topology.kubernetes.io/zone: a}}
status: {allocatable: {cpu: "4", memory: 8Gi, pods: "9"}}
---
apiVersion: v1
kind: Node
metadata: {name: n-b, labels: {topology.kubernetes.io/zone: b}}
status: {allocatable: {cpu: "2", memory: 8Gi, pods: "9"}}
---
apiVersion: v1
kind: PersistentVolume
metadata: {name: disk}
spec:
  capacity: {storage: 5Gi}
  accessModes: [ReadWriteOnce]
  storageClassName: local
  local: {path: /d}
  nodeAffinity: {required: {nodeSelectorTerms: [{matchExpressions: [{key: topology.kubernetes.io/zone, operator: In, values: [a]}]}]}}
---
apiVersion: v1
kind: Pod
metadata: {name: web, uid: u-web}
spec: {nodeName: n-a, containers: [{name: c, image: x, resources: {requests: {cpu: "1"}}}]}
---
apiVersion: v1
kind: Pod
metadata: {name: big, uid: u-big}
spec: {nodeName: n-a, containers: [{name: c, image: x, resources: {requests: {cpu: "3"}}}]}
"""
NODE = "apiVersion: v1\nkind: Node\nmetadata: {name: s}\nstatus: {allocatable: {cpu: '4', memory: 8Gi, pods: '9'}}\n"
POD = "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {containers: [{name: c, image: x, resources: {requests: {cpu: '1'}}}]}\n"


@pytest.fixture
def volsched(tmp_path: Path) -> Shell:
    for name, text in (("cluster", CLUSTER), ("node", NODE), ("pod", POD)):
        (tmp_path / f"{name}.yaml").write_text(text)
    return Shell(tmp_path)


def test_a_zone_is_lost(volsched: Shell, tmp_path: Path) -> None:
    shown = volsched("whatif", "-f", str(tmp_path / "cluster.yaml"), "--lose-zone", "a").out
    assert shown.startswith("2 nodes before, 1 after; 1 pod moved; 1 pod left without a node.")
    assert "default/big   n-a (a)   0/1 nodes are available: 1 Insufficient cpu." in shown
    assert "default/web   n-a (a)   n-b (b)" in shown
    assert "disk           local   5Gi    <none>   <none>" in shown
    plain = json.loads(volsched("whatif", "-f", str(tmp_path / "cluster.yaml"), "--lose-zone", "a", "-o", "json").out)
    assert [move["pod"] for move in plain["stuck"]] == ["default/big"]
    assert plain["storage"]["after"]["stranded_bytes"] == 5 << 30


def test_the_other_questions(volsched: Shell, tmp_path: Path) -> None:
    cluster = ("whatif", "-f", str(tmp_path / "cluster.yaml"))
    losses = volsched(*cluster, "--zone-losses").out.splitlines()
    assert [line.split()[:4] for line in losses] == [["ZONE", "NODES", "PODS", "STUCK"], ["a", "1", "2", "1"], ["b", "1", "0", "0"]]
    assert volsched(*cluster, "--how-many", str(tmp_path / "pod.yaml")).out == (
        "Room for 2 more pods (b 2).\nNot one more: 0/2 nodes are available: 2 Insufficient cpu.\n"
    )
    assert volsched(*cluster, "--how-many", str(tmp_path / "pod.yaml"), "--limit", "1").out == (
        "Room for 1 more pod (b 1).\nThe limit was reached; there is room for more.\n"
    )
    needed = volsched(*cluster, "--lose-zone", "a", "--until-fits", str(tmp_path / "node.yaml")).out
    assert needed == "1 more node of this shape until every pod has one; 1 pod without a node now.\n"


def test_the_embedded_cluster_is_asked_and_left_alone(volsched: Shell, tmp_path: Path) -> None:
    volsched("apply", "-f", str(tmp_path / "cluster.yaml"))
    before = volsched.content
    assert "1 pod moved" in volsched("whatif", "--lose-zone", "a").out
    assert volsched.content == before


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ((), 2, "what if what?"),
        (("--zone-losses", "--how-many", "pod.yaml"), 2, "one of --zone-losses, --how-many and --until-fits"),
        (("--zone-losses", "--limit", "3"), 2, "--limit is for --how-many and --until-fits"),
        (("--lose-zone", "z"), 1, "zone z cannot be lost: there is no such zone; there are a, b"),
        (("--change", "none.yaml"), 1, "none.yaml: cannot be read: No such file or directory"),
        (("--how-many", "node.yaml"), 1, "one Pod is wanted, 0 are given"),
    ],
)
def test_refusals(volsched: Shell, tmp_path: Path, arguments: tuple[str, ...], code: int, words: str) -> None:
    given = [str(tmp_path / argument) if argument.endswith(".yaml") else argument for argument in arguments]
    told = volsched("whatif", "-f", str(tmp_path / "cluster.yaml"), *given, code=code)
    assert words in told.err
