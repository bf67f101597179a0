"""overcommit: what Kubernetes' way of asking for capacity would give out beyond what pools have."""

from __future__ import annotations

from pathlib import Path

import yaml

from tests.builders import ZONE, make_capacity, make_node, make_pvc
from tests.unit.cli.shell import EXAMPLES, Shell, manifest
from tests.unit.cli.test_exact_capacity import BURST, GI, POOLS, pod


def test_overcommit_of_manifests(volsched: Shell) -> None:
    assert volsched("overcommit", "-f", volsched.file(*POOLS, *BURST)).lines == [
        "NAME    STORAGECLASS   CAPACITY   HELD   PENDING   OVER    BEYOND",
        "lvm-a   lvm            100Gi      0      207Gi     107Gi   data-db-1 (60Gi), data-db-2 (45Gi), data-twins (8Gi)",
        "lvm-b   lvm            50Gi       0      0         0",
        "",
        "1 of 2 pools would be over-committed, by 107Gi in all.",
        "--exact-capacity would hold back 2 pods (db-1, twins) and would send pod db-2 to another node.",
    ]


def test_overcommit_of_a_cluster_changes_nothing(volsched: Shell) -> None:
    volsched.apply(*POOLS, options=["--exact-capacity"])
    volsched.apply(*BURST)
    before = volsched.content
    assert volsched("overcommit").lines == [
        "NAME    STORAGECLASS   CAPACITY   HELD   PENDING   OVER   BEYOND",
        "lvm-a   lvm            100Gi      90Gi   72Gi      62Gi   data-db-1 (60Gi), data-twins (8Gi)",
        "lvm-b   lvm            50Gi       45Gi   0         0",
        "",
        "1 of 2 pools would be over-committed, by 62Gi in all.",
        "--exact-capacity would hold back 2 pods (db-1, twins).",
    ]
    assert volsched.content == before


def test_overcommit_wide(volsched: Shell) -> None:
    started = make_pvc("started", size="60Gi", storage_class="lvm", selected_node="n-a")
    every = make_capacity("every", namespace="kube-system", storage_class="lvm", capacity=None, maximum="10Gi", where={})
    lines = volsched("overcommit", "-o", "wide", "-f", volsched.file(*POOLS, started, every, *pod("x", "60Gi"))).lines
    assert lines[:8] == [
        "NAMESPACE     NAME    STORAGECLASS   TOPOLOGY                        CAPACITY    MAXIMUM   HELD   PENDING   OVER   BEYOND",
        "default       lvm-a   lvm            topology.kubernetes.io/zone=a   100Gi       <none>    60Gi   60Gi      20Gi   data-x (60Gi)",
        "default       lvm-b   lvm            topology.kubernetes.io/zone=b   50Gi        <none>    0      0         0",
        "kube-system   every   lvm            <all>                           <unknown>   10Gi      0      0         0",
        "",
        "POOL    CLAIM     SIZE   STATE       NODE   PODS     RESULT",
        "lvm-a   started   60Gi   under way   n-a    <none>   fits",
        "lvm-a   data-x    60Gi   pending     n-a    x        beyond",
    ]


def test_overcommit_as_data(volsched: Shell) -> None:
    objects = volsched.file(*POOLS, *pod("db-0", "60Gi"), *pod("db-1", "60Gi"), *pod("huge", "1Ti"))
    found = volsched("overcommit", "-f", objects, "-o", "json").value
    assert found["overcommittedPools"] == 1
    assert found["overcommittedBytes"] == 20 * GI
    assert [taker["claim"] for taker in found["beyond"]] == ["default/data-db-1"]
    assert (found["unschedulablePods"], found["heldBackPods"], found["movedPods"]) == (["default/huge"], ["default/db-1"], [])
    pool = found["pools"][0]
    assert (pool["name"], pool["capacityBytes"], pool["heldBytes"], pool["pendingBytes"]) == ("lvm-a", 100 * GI, 0, 120 * GI)
    assert pool["nodeTopology"] == {"matchLabels": {ZONE: "a"}}
    taker = {"state": "pending", "claim": "default/data-db-1", "volume": None, "bytes": 60 * GI, "pods": ["default/db-1"], "node": "n-a"}
    assert pool["beyond"] == [taker]
    assert yaml.safe_load(volsched("overcommit", "-f", objects, "-o", "yaml").out) == found


def test_overcommit_takes_the_pods_in_the_order_of_the_queue(volsched: Shell) -> None:
    first = {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": "first"}, "value": 100}
    urgent = pod("urgent", "60Gi", spec={"priorityClassName": "first"})
    found = volsched("overcommit", "-o", "json", "-f", volsched.file(*POOLS, first, *pod("db-0", "60Gi"), *urgent)).value
    assert [taker["claim"] for taker in found["beyond"]] == ["default/data-db-0"]


def test_the_example(volsched: Shell) -> None:
    lines = volsched("overcommit", "-f", EXAMPLES / "small-pools").lines
    assert lines[1] == "vg-1   lvm            100Gi      0      165Gi     65Gi   data-db-1 (60Gi), data-db-2 (45Gi)"
    assert lines[-1] == "--exact-capacity would hold back pod db-1 and would send pod db-2 to another node."


def test_overcommit_without_pools(volsched: Shell) -> None:
    answer = volsched("overcommit", "-f", volsched.file(make_node("n1")))
    assert answer.out == ""
    assert answer.err == "No resources found: no CSIStorageCapacity object belongs to a driver that is asked for capacity.\n"
    assert volsched("overcommit", "-f", volsched.file(*POOLS), "--no-headers").lines == [
        "lvm-a   lvm   100Gi   0   0   0",
        "lvm-b   lvm   50Gi    0   0   0",
    ]
    assert volsched("overcommit", "-f", volsched.file(*POOLS)).lines[-1] == "None of 2 pools would be over-committed."


def test_overcommit_of_nothing(volsched: Shell, tmp_path: Path) -> None:
    assert "there is no cluster here yet" in volsched("overcommit", code=1).err
    path = volsched.file(make_node("n1"))
    assert "either -f or --state" in volsched("overcommit", "-f", path, "--state", tmp_path / "x.db", code=2).err
    bad = manifest(make_capacity("bad")) | {"capacity": "much"}
    assert "capacity" in volsched("overcommit", "-f", volsched.file(bad), code=1).err
