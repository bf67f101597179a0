"""explain: per claim and node, which volumes and pools were considered and what each failed on."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.builders import make_capacity, make_class, make_csidriver, make_csinode, make_node, make_pod, make_pv, make_pvc, make_taint
from tests.unit.cli.shell import Shell

LOCAL = "kubernetes.io/no-provisioner"
DRIVER = "csi.example.com"


def _explained(volsched: Shell, *objects: Any, pod: str = "db", options: tuple[str, ...] = ()) -> str:
    volsched.apply(*objects)
    return volsched("explain", f"pod/{pod}", *options).out


def _local(name: str, node: str, size: str = "50Gi", **more: Any) -> Any:
    return make_pv(name, size=size, storage_class="local", node=node, local=True, **more)


def test_the_stuck_pod_of_the_main_story(volsched: Shell) -> None:
    volsched.story("10", "20", "30", "40")
    assert volsched("explain", "pod/web").lines == [
        "Pod default/web: 0 of 3 nodes fit",
        "  0/3 nodes are available: 1 node(s) had untolerated taint(s), 2 node(s) didn't find available persistent volumes to bind.",
        "",
        "NODES                REFUSED BY        REASON",
        "master               TaintToleration   node(s) had untolerated taint(s); node-role.kubernetes.io/master:NoSchedule",
        "worker-1, worker-2   VolumeBinding     node(s) didn't find available persistent volumes to bind",
        "",
        "Claim default/www (20Gi ReadWriteOnce Filesystem, class csi-disk): unbound, waits for its first consumer",
        "  on master: cannot be served",
        "    provisioner zonal.csi.volsched.dev: class csi-disk allows topology.kubernetes.io/zone in [cn-hangzhou-d]; "
        "the node has no topology.kubernetes.io/zone",
        "  on worker-1, worker-2: cannot be served",
        "    provisioner zonal.csi.volsched.dev: class csi-disk allows topology.kubernetes.io/zone in [cn-hangzhou-d]; "
        "the node has topology.kubernetes.io/zone=cn-hangzhou-b",
    ]


def test_local_volumes_one_failing_on_each_aspect(volsched: Shell) -> None:
    text = _explained(
        volsched,
        make_class("local", provisioner=LOCAL),
        *(make_node(f"n{i}") for i in range(1, 7)),
        _local("small", "n1", size="10Gi"),
        _local("held", "n2", claim="default/other"),
        _local("read-only", "n3", modes=["ReadOnlyMany"]),
        _local("block", "n4", volume_mode="Block"),
        _local("nowhere", "ghost"),
        make_pv("attributes", size="50Gi", storage_class="local", node="n5", attributes_class="gold"),
        make_pvc("data", storage_class="local", size="20Gi"),
        make_pod("db", claims=["data"]),
    )
    for line in (
        "volume nowhere (50Gi): reachable from no node: kubernetes.io/hostname in [ghost]",
        "volume small (10Gi): 10Gi is less than 20Gi",
        "volume held (50Gi): held by claim default/other",
        "volume read-only (50Gi): offers ReadOnlyMany, not ReadWriteOnce",
        "volume block (50Gi): is Block, not Filesystem",
        "volume attributes (50Gi): has attributes class gold, not none",
        "6 volumes of the class not reachable from here",
    ):
        assert line in text


def test_pools(volsched: Shell) -> None:
    text = _explained(
        volsched,
        make_csidriver(DRIVER, storage_capacity=True, attach_required=False),
        make_class("fast"),
        *(make_node(f"n{i}", zone=f"z{i}") for i in range(3)),
        *(make_csinode(f"n{i}") for i in range(3)),
        make_capacity("small", storage_class="fast", capacity="100Gi", where={"topology.kubernetes.io/zone": "z0"}),
        make_capacity("parts", storage_class="fast", capacity="900Gi", maximum="50Gi", where={"topology.kubernetes.io/zone": "z1"}),
        make_capacity("ghost", storage_class="fast", capacity="900Gi", where={"topology.kubernetes.io/zone": "z9"}),
        make_pvc("data", storage_class="fast", size="200Gi"),
        make_pod("db", claims=["data"]),
    )
    for line in (
        "pool default/ghost (900Gi): covers no node",
        "pool default/small (100Gi): it has 100Gi, less than 200Gi",
        "pool default/parts (900Gi): its largest volume is 50Gi, less than 200Gi",
        "its driver keeps capacity objects, and none of this class covers the node",
        "2 pools of the class not reachable from here",
    ):
        assert line in text


def test_a_bound_volume_in_another_zone(volsched: Shell) -> None:
    text = _explained(
        volsched,
        make_class("zonal", provisioner=LOCAL),
        make_node("n1", zone="a"),
        make_node("n2", zone="b", unschedulable=True),
        make_pv("vol", storage_class="zonal", zone="b", claim="default/data"),
        make_pvc("data", storage_class="zonal", volume="vol"),
        make_pod("db", claims=["data"]),
    )
    assert "n1      VolumeBinding       node(s) didn't match PersistentVolume's node affinity" in text
    assert "n2      NodeUnschedulable   node(s) were unschedulable" in text
    assert "Claim default/data (10Gi ReadWriteOnce Filesystem, class zonal): bound to volume vol" in text
    assert "volume vol (10Gi): reachable\n" in text
    assert "volume vol (10Gi): not reachable: the node has topology.kubernetes.io/zone=a" in text


# fmt: off
CLAIMS_THAT_ARE_NOT_LOOKED_AT_ON_NODES = [
    (None,                                                              "the claim does not exist"),
    (make_pvc("data", storage_class="nope"),                            "unbound; class nope does not exist"),
    (make_pvc("data", storage_class=""),                                "unbound; it has no class"),
    (make_pvc("data", storage_class="now"),                             "unbound; class now binds immediately"),
    (make_pvc("data", storage_class="now", volume="gone"),              "names volume gone and waits for the volume controller"),
]
# fmt: on


@pytest.mark.parametrize(("claim", "situation"), CLAIMS_THAT_ARE_NOT_LOOKED_AT_ON_NODES)
def test_claims_that_are_not_looked_at_on_nodes(volsched: Shell, claim: Any, situation: str) -> None:
    objects = [make_node("n1"), make_class("now", provisioner=LOCAL, wait=False), make_pod("db", claims=["data"])]
    text = _explained(volsched, *objects, *([claim] if claim else []))
    assert "before any node was looked at" in text
    assert situation in text


def test_what_an_immediate_claim_could_have_had(volsched: Shell) -> None:
    text = _explained(
        volsched,
        make_node("n1"),
        make_class("now", provisioner=LOCAL, wait=False),
        make_pv("small", storage_class="now", size="1Gi"),
        make_pvc("data", storage_class="now"),
        make_pod("db", claims=["data"]),
    )
    assert "volume small (1Gi): 1Gi is less than 10Gi" in text


def test_two_claims_for_one_volume(volsched: Shell) -> None:
    text = _explained(
        volsched,
        make_class("local", provisioner=LOCAL),
        make_node("n1"),
        _local("one", "n1"),
        make_pvc("a", storage_class="local", size="5Gi"),
        make_pvc("b", storage_class="local", size="6Gi"),
        make_pod("db", claims=["a", "b"]),
    )
    assert "on n1 every claim could be served alone, but not all together: a takes volume one; none is left for b" in text


def test_a_reserved_volume_decides(volsched: Shell) -> None:
    text = _explained(
        volsched,
        make_class("local", provisioner=LOCAL),
        make_node("n1"),
        make_node("n2"),
        _local("mine", "n2", claim="default/data"),
        _local("other", "n1"),
        make_pvc("data", storage_class="local"),
        make_pod("db", claims=["data"], node_selector={"kubernetes.io/hostname": "n1"}),
    )
    assert "bound to volume mine" in text or "passed over: volume mine is reserved for this claim" in text


def test_who_uses_a_claim_for_one_pod(volsched: Shell) -> None:
    text = _explained(
        volsched,
        make_class("fast"),
        make_node("n1"),
        make_csinode("n1", keys=[]),
        make_pvc("data", storage_class="fast", modes=["ReadWriteOncePod"]),
        make_pod("first", claims=["data"]),
        make_pod("second", claims=["data"]),
        pod="second",
    )
    assert "Note: claim data is for one pod at a time, and pod first on n1 uses it" in text


def test_a_pod_that_fits(volsched: Shell) -> None:
    text = _explained(
        volsched,
        make_class("local", provisioner=LOCAL),
        make_node("n1"),
        make_node("n2", taints=[make_taint("dedicated", "db")]),
        _local("disk", "n1"),
        make_pvc("data", storage_class="local"),
        make_pod("db", claims=["data"], cpu="100"),
        make_pod("idle", claims=["data"]),
        pod="idle",
    )
    assert "idle: on n1; asked again: 1 of 2 nodes fit, best is n1" in text
    assert "n1     chosen   " in text
    assert "dedicated=db:NoSchedule" in text
    assert "Insufficient cpu" in volsched("explain", "pod/db").out


def test_what_the_chosen_node_would_give(volsched: Shell) -> None:
    objects = [
        make_class("fast"),
        make_class("local", provisioner=LOCAL),
        make_node("n1"),
        make_csinode("n1", keys=[]),
        _local("disk", "n1"),
        make_pvc("new", storage_class="fast"),
        make_pvc("old", storage_class="local"),
        make_pod("db", claims=["new", "old"]),
    ]
    volsched.apply(*objects, options=["--no-run"])
    # volumes are Available only after the controllers have seen them
    volsched.apply(make_pod("db", claims=["new", "old"]), options=["--no-run"])
    text = volsched("explain", "pod/db").out
    assert "is Pending, not Available" in text


def test_many_nodes_are_grouped(volsched: Shell) -> None:
    names = [f"node-{i:03}" for i in range(60)]
    text = _explained(
        volsched,
        make_class("local", provisioner=LOCAL),
        *(make_node(name, taints=[make_taint("dedicated")] if name.endswith("0") else ()) for name in names),
        *(_local(f"disk-{name}", name, size="1Gi") for name in names),
        make_pvc("data", storage_class="local"),
        make_pod("db", claims=["data"]),
    )
    assert len(text.splitlines()) < 15
    assert re.search("node-000, node-010, node-020 and 3 more +TaintToleration", text)
    assert re.search("node-001, node-002, node-003 and 51 more +VolumeBinding", text)
    assert "each in the same way, node-000 for one:" in text
    assert "59 volumes of the class not reachable from here" in text
    assert volsched("explain", "po", "db", "--all-groups").out.count("cannot be served") == 60
    one = volsched("explain", "po", "db", "--node", "node-007").out
    assert one.startswith("Pod default/db: 0 of 1 nodes fit")
    assert "disk-node-007" in one
    assert "reachable from no node" not in one


def test_json(volsched: Shell) -> None:
    volsched.story("10", "20", "30", "40")
    value = volsched("explain", "pod/web", "-o", "json").value
    assert value["node"] is None
    assert [row["plugin"] for row in value["refused"]] == ["TaintToleration", "VolumeBinding"]
    (claim,) = value["claims"]
    assert [group["nodes"] for group in claim["groups"]] == [["master"], ["worker-1", "worker-2"]]
    assert claim["groups"][1]["candidates"][0]["refusals"][0]["aspect"] == "topology"
    assert [pod["pod"] for pod in volsched("explain", "pods", "-o", "json").value] == ["default/web"]


def test_which_pods(volsched: Shell) -> None:
    volsched.apply(make_node("n1"), make_pod("fine", labels={"app": "x"}), make_pod("huge", cpu="1000"))
    assert volsched("explain", "pods").out.count("Pod default/") == 2
    assert volsched("explain", "pods", "--pending").out.startswith("Pod default/huge: 0 of 1 nodes fit")
    assert volsched("explain", "pods", "-l", "app=x").out.startswith("Pod default/fine: on n1")
    assert volsched("explain", "pods", "-n", "other").err == "No resources found in other namespace.\n"
    assert volsched("explain", "pvc", "x", code=1).err.startswith("error: persistentvolumeclaims are not scheduled; explain takes pods")
    assert volsched("explain", "pod/nope", code=1).err == 'Error from server (NotFound): pods "nope" not found\n'
    assert volsched("explain", "pod/huge", "--node", "nope", code=1).err == 'Error from server (NotFound): nodes "nope" not found\n'
    assert volsched("explain", code=2).err
