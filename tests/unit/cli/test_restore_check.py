"""restore-check, and what explain shows of a restore."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml
from lightkube.models.core_v1 import TypedLocalObjectReference

from tests.builders import ZONE, make_class, make_csidriver, make_csinode, make_node, make_pod, make_pvc, make_snapshot, make_snapshot_class
from tests.unit.cli.shell import EXAMPLES, Shell

DRIVER = "csi.example.com"
SOURCE = TypedLocalObjectReference(apiGroup="snapshot.storage.k8s.io", kind="VolumeSnapshot", name="cut")
CLUSTER: list[Any] = [
    make_node("n-a", zone="a", cpu="2"),
    make_node("n-b", zone="b", cpu="64"),
    *(make_csinode(f"n-{zone}", drivers={DRIVER: None}) for zone in "ab"),
    make_csidriver(DRIVER, attach_required=False),
    make_class("disks", provisioner=DRIVER),
    make_snapshot_class("snaps", driver=DRIVER),
    make_pvc("data", size="5Gi", storage_class="disks"),
    make_pod("web", claims=["data"], node_selector={ZONE: "a"}, cpu="1"),
]
READER: list[Any] = [make_pvc("copy", size="5Gi", storage_class="disks", source=SOURCE), make_pod("reader", claims=["copy"])]


def dump(volsched: Shell) -> Path:
    """The cluster as a dump shows it: no driver that could be asked."""
    objects = []
    for kinds in ("nodes,csinodes,sc,pv,pvc,pods,vs,vsc,csidrivers",):
        objects += volsched.get(*[kinds])["items"]
    return volsched.text("dump.json", json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))


def prepared(volsched: Shell) -> None:
    volsched.apply(*CLUSTER)
    volsched.apply(make_snapshot("cut"))


def test_a_snapshot_that_its_driver_reads_everywhere(volsched: Shell) -> None:
    prepared(volsched)
    before = volsched.content
    assert volsched("restore-check", "vs/cut").lines == [
        "VolumeSnapshot default/cut: can be restored on 2 of 2 nodes",
        f"  as 5Gi Filesystem (the snapshot needs 5Gi) of class disks, provisioned by {DRIVER}",
        f"  readable from everywhere: driver {DRIVER} says so",
        "",
        "NODES   TOPOLOGY                        RESTORE   REASON",
        "n-a     topology.kubernetes.io/zone=a   yes",
        "n-b     topology.kubernetes.io/zone=b   yes",
        "",
        "The scheduler would choose n-b now.",
    ]
    assert volsched.content == before


def test_a_dump_says_what_is_a_guess(volsched: Shell) -> None:
    prepared(volsched)
    (pv,) = [item["metadata"]["name"] for item in volsched.get("pv")["items"]]
    lines = volsched("restore-check", "vs/cut", "-f", dump(volsched)).lines
    zone = "topology.kubernetes.io/zone=a"
    assert lines[:3] == [
        "VolumeSnapshot default/cut: can be restored on 1 of 2 nodes, perhaps on 1 more",
        f"  as 5Gi Filesystem (the snapshot needs 5Gi) of class disks, provisioned by {DRIVER}",
        f"  readable perhaps only from {zone}: its source volume {pv} is there, and driver {DRIVER} cannot be asked",
    ]
    doubt = f"the source volume is in {zone}, and nobody says whether the snapshot can be read from elsewhere"
    assert lines[4:7] == [
        "NODES   TOPOLOGY                        RESTORE   REASON",
        "n-a     topology.kubernetes.io/zone=a   yes",
        f"n-b     topology.kubernetes.io/zone=b   unsure    {doubt}",
    ]
    assert lines[8].startswith(
        "Warning: the scheduler would send the pod to n-b (topology.kubernetes.io/zone=b), where the snapshot perhaps"
    )
    assert lines[9] == f"Warning: n-a would do: let the pod select {zone}"


def test_another_class_size_and_mode(volsched: Shell) -> None:
    prepared(volsched)
    volsched.apply(make_class("others", provisioner="other.csi"))
    text = volsched("restore-check", "vs/cut", "--class", "others", "--size", "4Gi", "--volume-mode", "Block").out
    assert f"cannot be restored: it is a snapshot of driver {DRIVER}; class others provisions with other.csi" in text
    for line in (
        f"  driver: it is a snapshot of driver {DRIVER}; class others provisions with other.csi",
        "  size: 4Gi is asked for, the snapshot needs 5Gi",
        "  mode: a Filesystem volume would become a Block one, and VolumeSnapshotContent ",
        "  the provisioner would say: error getting handle for DataSource Type VolumeSnapshot by Name cut: snapshotcontent ",
        "NODES   TOPOLOGY                        ONCE RESOLVED",
        "Warning: the scheduler looks at none of this: a pod with such a claim is given a node, and the claim stays Pending while",
    ):
        assert line in text


def test_claims_and_pods(volsched: Shell) -> None:
    prepared(volsched)
    volsched.apply(*READER, options=["--no-run"])
    head = "Restore of claim default/copy from VolumeSnapshot default/cut for pod default/reader: can be restored on 2 of 2 nodes"
    assert volsched("restore-check", "pod/reader").lines[0] == head
    assert volsched("restore-check", "pvc/copy").lines[0] == head
    assert len([line for line in volsched("restore-check", "pvc/copy", "pod/reader").lines if line == head]) == 2
    volsched.apply(make_node("n-a", zone="a", cpu="2"))
    (line,) = volsched("restore-check", "pvc/copy").lines
    assert "restored already, bound to volume pvc-" in line


def test_as_data(volsched: Shell) -> None:
    prepared(volsched)
    volsched.apply(*READER, options=["--no-run"])
    found = volsched("restore-check", "pvc/copy", "-f", dump(volsched), "-o", "json").value
    assert (found["snapshot"], found["claim"], found["pod"]) == ("default/cut", "default/copy", "default/reader")
    assert found["readableFrom"]["knownBy"] == "volume"
    assert found["readableFrom"]["topologies"] == [{ZONE: "a"}]
    assert [(group["nodes"], group["restorable"]) for group in found["nodes"]] == [(["n-a"], "yes"), (["n-b"], "unsure")]
    assert (found["chosenNode"], found["problems"], found["provisionerSays"]) == ("n-b", [], None)
    assert len(found["warnings"]) == 2
    assert yaml.safe_load(volsched("restore-check", "pvc/copy", "-f", dump(volsched), "-o", "yaml").out) == found
    several = volsched("restore-check", "pvc/copy", "pod/reader", "-o", "json").value
    assert [item["claim"] for item in several] == ["default/copy", "default/copy"]


def test_explain_shows_the_restore(volsched: Shell) -> None:
    prepared(volsched)
    volsched.apply(*READER, options=["--no-run"])
    text = volsched("explain", "pod/reader").out
    head = "Restore of claim default/copy from VolumeSnapshot default/cut for pod default/reader: can be restored on 2 of 2 nodes"
    assert head in text
    (restore,) = volsched("explain", "pod/reader", "-o", "json").value["restores"]
    assert restore == volsched("restore-check", "pod/reader", "-o", "json").value
    assert "restores" not in volsched("explain", "pod/web", "-o", "json").value
    volsched.apply(make_node("n-a", zone="a", cpu="2"))
    assert "Restore of claim" not in volsched("explain", "pod/reader").out


def test_wrong_words(volsched: Shell) -> None:
    prepared(volsched)
    assert 'volumesnapshots.snapshot.storage.k8s.io "gone" not found' in volsched("restore-check", "vs/gone", code=1).err
    assert "is not to be restored from a VolumeSnapshot" in volsched("restore-check", "pvc/data", code=1).err
    assert "uses no claim that is to be restored" in volsched("restore-check", "pod/web", code=1).err
    assert (
        "restore-check takes vs/NAME, pvc/NAME or pod/NAME, not storageclasses/disks" in volsched("restore-check", "sc/disks", code=1).err
    )
    assert "not volumesnapshots" in volsched("restore-check", "vs", code=1).err
    assert "are for vs/NAME" in volsched("restore-check", "pvc/data", "--size", "1Gi", code=2).err
    assert "either -f or --state" in volsched("restore-check", "vs/cut", "-f", EXAMPLES, "--state", "x.db", code=2).err
    assert "say what" in volsched("restore-check", code=2).err
    assert "much" in volsched("restore-check", "vs/cut", "--size", "much", code=1).err
