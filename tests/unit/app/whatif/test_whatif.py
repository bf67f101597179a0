"""What-if questions over small worlds, whose answers can be seen by looking at them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.builders import (
    make_capacity,
    make_class,
    make_csidriver,
    make_csinode,
    make_node,
    make_owner,
    make_pod,
    make_pv,
    make_pvc,
)
from volsched.api.kinds import Key, key_of
from volsched.app.cluster import Cluster
from volsched.app.whatif import Create, Delete, Patch, World, how_many, read_changes, until_fits, what_if, zone_losses
from volsched.app.whatif.settle import settle
from volsched.app.whatif.storage import storage_of
from volsched.errors import InputError

ZONE = "topology.kubernetes.io/zone"
GIB = 1 << 30


def nodes(*zones: str, cpu: str = "4") -> list[Any]:
    return [make_node(f"n-{at}", zone=zone, cpu=cpu) for at, zone in enumerate(zones)]


def bound(name: str, zone: str, *, size: str = "10Gi") -> list[Any]:
    """A claim bound to a volume of a zone."""
    volume = make_pv(f"pv-{name}", size=size, storage_class="zonal", zone=zone, claim=f"default/{name}", claim_uid=f"u-{name}")
    return [volume, make_pvc(name, size=size, storage_class="zonal", bound_to=f"pv-{name}", uid=f"u-{name}")]


def pod(name: str, *, cpu: str = "1", node: str | None = None, claims: list[str] | None = None, **rest: Any) -> Any:
    return make_pod(name, cpu=cpu, node=node, claims=claims or [], uid=f"u-{name}", **rest)


def names(moves: Any) -> list[str]:
    return [move.pod.name for move in moves]


@pytest.fixture
def world() -> World:
    """Three zones, a pod with a volume of zone a, one without, and one that fits nowhere."""
    return World.of(
        [
            *nodes("a", "b", "c"),
            make_class("zonal", mode="WaitForFirstConsumer"),
            *bound("data", "a"),
            pod("db", node="n-0", claims=["data"]),
            pod("web", node="n-0", cpu="2"),
            pod("big", cpu="7"),
            make_pv("free", size="5Gi", storage_class="zonal", zone="a"),
        ]
    )


def test_losing_nodes(world: World) -> None:
    found = what_if(world, [Delete(kind="node", labels=f"{ZONE}=a")])
    assert found.nodes == (3, 2)
    assert [(move.pod.name, move.node_before, move.zone_before, move.node) for move in found.moved] == [("web", "n-0", "a", "n-1")]
    assert names(found.stuck) == ["db"]
    assert found.stuck[0].message == "0/2 nodes are available: 2 node(s) didn't match PersistentVolume's node affinity."
    assert names(found.waiting) == ["big"]
    before, after = found.storage
    assert before.stranded == []
    assert [(row.volume, row.claim, row.pods) for row in after.stranded] == [("free", "", ()), ("pv-data", "default/data", ("db",))]
    assert after.stranded_bytes == 15 * GIB
    assert (before.free["zonal"].total, after.free) == (5 * GIB, {})
    assert found.reasons()[0][1] == 1


def test_a_bigger_node_takes_who_waits(world: World) -> None:
    found = what_if(
        world,
        [
            Create(
                objects=[
                    {
                        "apiVersion": "v1",
                        "kind": "Node",
                        "metadata": {"name": "huge"},
                        "status": {"allocatable": {"cpu": "64", "memory": "99Gi", "pods": "110"}},
                    }
                ]
            )
        ],
    )
    assert [(move.pod.name, move.node) for move in found.freed] == [("big", "huge")]
    assert (names(found.moved), names(found.stuck), names(found.waiting)) == ([], [], [])


def test_the_world_is_left_alone(world: World) -> None:
    before = dict(world.objects)
    what_if(
        world,
        [
            Delete(kind="Node", names=["n-*"]),
            Patch(kind="PersistentVolume", names=["free"], merge={"spec": {"capacity": {"storage": "9Gi"}}}),
        ],
    )
    zone_losses(world)
    assert dict(world.objects) == before


def test_pods_of_a_node_go_with_it() -> None:
    world = World.of(
        [
            *nodes("a", "b"),
            pod("agent", node="n-0", owners=[make_owner("DaemonSet", "agents", "u")]),
            pod("static", node="n-0", annotations={"kubernetes.io/config.mirror": "x"}),
            pod("done", node="n-0", phase="Succeeded"),
            pod("web", node="n-0"),
        ]
    )
    found = what_if(world, [Delete(kind="Node", names=["n-0"])])
    assert sorted(key.name for key in found.gone) == ["agent", "static"]
    assert names(found.moved) == ["web"]
    assert [loss.pods for loss in zone_losses(world)] == [1, 0]


def test_classes_change() -> None:
    world = World.of(
        [
            *nodes("a", "b"),
            make_class("zonal", mode="WaitForFirstConsumer", provisioner="x", allowed=[{ZONE: ["z"]}]),
            make_pvc("data", storage_class="zonal", size="1Gi"),
            pod("db", claims=["data"]),
        ]
    )
    assert names(what_if(world, []).waiting) == ["db"]
    opened = what_if(world, [Patch(kind="sc", names=["zonal"], merge={"allowedTopologies": None})])
    assert [(move.pod.name, move.node) for move in opened.freed] == [("db", "n-0")]
    at_once = what_if(world, [Patch(kind="sc", merge={"volumeBindingMode": "Immediate"})])
    assert at_once.waiting[0].message.endswith("pod has unbound immediate PersistentVolumeClaims.")


def test_capacity_counts() -> None:
    world = World.of(
        [
            *nodes("a", "b"),
            make_class("pool", mode="WaitForFirstConsumer", provisioner="drv"),
            make_csidriver("drv", storage_capacity=True),
            *[make_csinode(f"n-{at}", drivers={"drv": None}) for at in range(2)],
            make_capacity("cap-b", storage_class="pool", capacity="100Gi", where={ZONE: "b"}),
            make_capacity("cap-x", storage_class="pool", capacity="7Gi", where={ZONE: "x"}),
            make_pvc("data", storage_class="pool", size="10Gi"),
            pod("db", claims=["data"]),
        ]
    )
    found = settle(world)
    assert found.node[Key("Pod", "default", "db")] == "n-1"
    report = storage_of(world)
    assert (report.free["pool"].total, report.lost_pools, report.lost_pool_bytes) == (100 * GIB, 1, 7 * GIB)
    smaller = what_if(world, [Patch(kind="CSIStorageCapacity", names=["cap-b"], merge={"capacity": "5Gi"})])
    assert names(smaller.stuck) == ["db"]
    assert "did not have enough free storage" in smaller.stuck[0].message


def test_zones_that_a_loss_would_hurt(world: World) -> None:
    losses = {loss.zone: loss for loss in zone_losses(world)}
    assert list(losses) == ["a", "b", "c"]
    assert (losses["a"].pods, sum(losses["a"].stuck.values()), losses["a"].stranded) == (2, 1, 2)
    assert (losses["b"].pods, losses["b"].stuck, losses["b"].stranded) == (0, {}, 0)


def test_a_zone_loss_is_the_change_that_deletes_its_nodes() -> None:
    """Also for pods that were placed only just now, and their claims."""
    world = World.of(
        [
            *nodes("a", "a", "b", cpu="8"),
            make_class("zonal", mode="WaitForFirstConsumer", provisioner="x"),
            make_class("local", mode="WaitForFirstConsumer", provisioner="kubernetes.io/no-provisioner"),
            make_pv("disk", size="5Gi", storage_class="local", node="n-0"),
            make_pvc("on-disk", storage_class="local", size="1Gi"),
            make_pvc("new", storage_class="zonal", size="1Gi"),
            *bound("old", "a"),
            pod("one", claims=["on-disk"]),
            pod("two", claims=["new"]),
            pod("three", node="n-1", claims=["old"]),
            pod("four", node="n-1", cpu="7"),
            pod("five", node="n-2", cpu="6"),
        ]
    )
    settled = settle(world)
    assert None not in settled.node.values()
    for loss in zone_losses(world):
        plain = what_if(world, [Delete(kind="Node", labels=f"{ZONE}={loss.zone}")])
        assert sum(loss.stuck.values()) == len(plain.stuck), loss


def test_how_many_more() -> None:
    world = World.of(
        [
            *nodes("a", "b", cpu="3"),
            make_class("local", mode="WaitForFirstConsumer", provisioner="kubernetes.io/no-provisioner"),
            *[make_pv(f"disk-{at}", size="5Gi", storage_class="local", node=f"n-{at % 2}") for at in range(3)],
        ]
    )
    template = [pod("app", claims=["data"]), make_pvc("data", storage_class="local", size="5Gi")]
    found = how_many(world, template)
    assert (found.count, found.nodes, found.zones) == (3, {"n-0": 2, "n-1": 1}, {"a": 2, "b": 1})
    assert found.message == "0/2 nodes are available: 2 node(s) didn't find available persistent volumes to bind."
    plain = how_many(world, [pod("app")])
    assert (plain.count, plain.message) == (6, "0/2 nodes are available: 2 Insufficient cpu.")
    assert (how_many(world, [pod("app")], limit=4).count, how_many(world, [pod("app")], limit=4).message) == (4, "")
    with pytest.raises(InputError, match="one Pod is wanted, 0 are given"):
        how_many(world, template[1:])
    with pytest.raises(InputError, match="a Node is given"):
        how_many(world, [*template, make_node("x")])


@pytest.mark.parametrize(("pods", "needed"), [(3, 0), (4, 1), (9, 2), (10, 3)])
def test_how_many_nodes(pods: int, needed: int) -> None:
    """A node takes three pods, and two of them with a disk."""
    world = World.of([*nodes("a", cpu="3"), *[pod(f"p{at}", cpu="1") for at in range(pods)]])
    found = until_fits(world, [make_node("shape", zone="b", cpu="3")])
    assert (found.count, found.waiting) == (needed, 0)


def test_disks_of_new_nodes_count() -> None:
    claims = [make_pvc(f"c{at}", storage_class="local", size="1Gi") for at in range(5)]
    pods = [pod(f"p{at}", claims=[f"c{at}"]) for at in range(5)]
    world = World.of(
        [*nodes("a"), make_class("local", mode="WaitForFirstConsumer", provisioner="kubernetes.io/no-provisioner"), *claims, *pods]
    )
    disks = [make_pv(f"shape-{at}", size="2Gi", storage_class="local", node="shape") for at in "xy"]
    assert until_fits(world, [make_node("shape"), *disks]).count == 3
    stuck = until_fits(world, [make_node("shape")], limit=4)
    assert (stuck.count, stuck.waiting_before, stuck.waiting) == (None, 5, 5)
    assert stuck.reasons == [("0/5 nodes are available: 5 node(s) didn't find available persistent volumes to bind.", 5)]
    with pytest.raises(InputError, match="one Node is wanted, 2 are given"):
        until_fits(world, nodes("a", "b"))


def test_a_cluster_is_a_world() -> None:
    with Cluster() as cluster:
        for obj in [*nodes("a"), pod("web")]:
            cluster.create(obj)
        cluster.run_until_idle()
        world = World.of_cluster(cluster)
    assert settle(world).node == {Key("Pod", "default", "web"): "n-0"}


def test_changes_from_a_file(tmp_path: Path, world: World) -> None:
    (tmp_path / "shape.yaml").write_text(
        "apiVersion: v1\nkind: Node\nmetadata: {name: s, labels: {kubernetes.io/hostname: s}}\n"
        "status: {allocatable: {cpu: '8', memory: 9Gi, pods: '9'}}\n"
    )
    path = tmp_path / "changes.yaml"
    path.write_text(
        "changes:\n- delete: {kind: Node, names: [n-1, n-2]}\n- create: {file: shape.yaml, copies: 2}\n"
        "- patch: {kind: Node, names: ['s-*'], merge: {spec: {unschedulable: true}}}\n"
    )
    found = what_if(world, read_changes(path))
    assert (found.nodes, names(found.waiting)) == ((3, 3), ["big"])
    assert found.waiting[0].message == "0/3 nodes are available: 1 Insufficient cpu, 2 node(s) were unschedulable."


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("changes: [{delete: {kind: Nodule}}]", "delete: kind 'Nodule' is not known"),
        ("changes: [{delete: {kind: Node, names: [x*]}}]", r"delete: there is no Node named x\*"),
        ("changes: [{patch: {kind: Node, merge: {metadata: {name: z}}}}]", "patch of Node/n-0: it would become Node/z"),
        ("changes: [{patch: {kind: Node, merge: {spec: {taints: 3}}}}]", "patch of Node/n-0.*taints"),
        ("changes: [{create: {}}]", "create: give either file or objects"),
        ("changes: [{create: {file: none.yaml}}]", "none.yaml"),
        (
            "changes: [{create: {objects: [{apiVersion: v1, kind: Node, metadata: {name: n-0}}]}}]",
            "create: Node/n-0 is there already; patch it",
        ),
        ("changes: [{create: {objects: [], copies: 0}}]", "create: give either file or objects"),
        ("changes: [{}]", r"changes\[0\]: says one of delete, create, patch, loseZone"),
        ("changes: [{remove: {}}]", "unknown field `remove`"),
        ("- 3", "Expected `object`"),
        ("{", "changes.yaml"),
    ],
)
def test_changes_that_cannot_be(tmp_path: Path, world: World, text: str, words: str) -> None:
    path = tmp_path / "changes.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=words):
        what_if(world, read_changes(path))


def test_copies_have_names_of_their_own(world: World) -> None:
    shape = [make_node("s"), make_pv("s-disk", storage_class="zonal", node="s")]
    changed = Create(objects=[{"apiVersion": "v1", "kind": "Node", "metadata": {"name": "m"}}], copies=2).apply(world, lambda _: None)
    assert {"m-1", "m-2"} <= set(changed.nodes)
    from volsched.app.whatif.changes import copied

    made = {key_of(obj).name: obj for obj in copied(shape, 2)}
    assert list(made) == ["s-1", "s-disk-1", "s-2", "s-disk-2"]
    terms = made["s-disk-2"].spec.nodeAffinity.required.nodeSelectorTerms
    assert terms[0].matchExpressions[0].values == ["s-2"]
    assert made["s-1"].metadata.labels["kubernetes.io/hostname"] == "s-1"
