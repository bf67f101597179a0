"""Every invariant notices when it is broken, and a healthy cluster breaks none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from lightkube.models.core_v1 import TypedLocalObjectReference

from tests.builders import (
    make_attachment,
    make_capacity,
    make_class,
    make_content,
    make_csidriver,
    make_csinode,
    make_node,
    make_pod,
    make_pv,
    make_pvc,
    make_snapshot,
    make_snapshot_class,
)
from tests.simulation.player import ENGINE
from tests.unit.app.breakable import DRIVER, Breakable
from volsched.api import csi
from volsched.api.edit import replace, uid_of, with_annotations, with_finalizers, with_spec
from volsched.api.kinds import key_of
from volsched.app.cluster import Cluster, DriverSettings
from volsched.app.invariants import RULES, Violation, check_quiet, check_safety
from volsched.controllers.attach_detach import attachment_name
from volsched.controllers.snapshot_names import CLAIM_FINALIZER
from volsched.csi.data import Ref
from volsched.csi.profile import full
from volsched.rules.capacity import ANN_STORAGE_CAPACITY
from volsched.rules.volumes import ANN_SELECTED_NODE

MOUNT = csi.VolumeCapability(mount=csi.MountVolume(), access_mode=csi.AccessMode(mode="SINGLE_NODE_WRITER"))


class World(Breakable):
    """A cluster at rest: claim `data` on the node of pod `web`, snapshot `cut` of it, claim `copy` restored from that."""

    def __init__(self, *, exact_capacity: bool = False) -> None:
        drivers = [DriverSettings(profile=full())]
        super().__init__(Cluster(engine=ENGINE, kubelet="mounting", drivers=drivers, exact_capacity=exact_capacity))
        for number, zone in enumerate("ab", 1):
            self.create(make_node(f"n{number}", zone=zone))
            self.create(make_csinode(f"n{number}", drivers={DRIVER: 8}))
        self.create(make_csidriver(DRIVER, attach_required=True))
        self.create(make_class("imm", provisioner=DRIVER, wait=False))
        self.create(make_snapshot_class("snaps", driver=DRIVER))
        self.create(make_pvc("data", storage_class="imm"))
        self.create(make_pod("web", claims=["data"]))
        self.rest()
        self.create(make_snapshot("cut", claim="data"))
        self.rest()
        source = TypedLocalObjectReference(apiGroup="snapshot.storage.k8s.io", kind="VolumeSnapshot", name="cut")
        self.create(make_pvc("copy", storage_class="imm", source=source))
        self.rest()

    # the world

    def write(self, obj: Any, *, user: str = "somebody", status: bool = False) -> None:
        self.cluster.store.update(obj, user=user, subresource="status" if status else "")

    # what is in it

    def get(self, kind: str, name: str) -> Any:
        return self.cluster.get(kind, name, "default")

    def volume(self, claim: str = "data") -> Any:
        return self.cluster.store.get("PersistentVolume", "", self.get("PersistentVolumeClaim", claim).spec.volumeName)

    def content(self) -> Any:
        return self.cluster.store.get("VolumeSnapshotContent", "", self.get("VolumeSnapshot", "cut").status.boundVolumeSnapshotContentName)


# Each breaks one rule and nothing else matters about it.


def one_claim(world: World) -> None:
    world.stop()
    other = world.create(make_pvc("other", storage_class="imm", volume=world.get("PersistentVolumeClaim", "data").spec.volumeName))
    world.write(replace(other, status=replace(other.status, phase="Bound")), status=True)


def reachable(world: World) -> None:
    world.stop()
    node = world.get("Pod", "web").spec.nodeName
    world.cluster.patch("Node", "", node, {"metadata": {"labels": {"topology.kubernetes.io/zone": "elsewhere"}}})


def attach_limit(world: World) -> None:
    world.stop()
    node = world.cluster.store.get("CSINode", "", world.get("Pod", "web").spec.nodeName)
    limited = [replace(driver, allocatable=replace(driver.allocatable, count=0)) for driver in node.spec.drivers]
    world.cluster.store.load(with_spec(replace(node, metadata=replace(node.metadata, name="n9", uid="n9")), drivers=limited))
    world.create(make_pod("late", claims=["data"], node="n9"))


def one_pod(world: World) -> None:
    world.stop()
    world.create(make_pvc("mine", storage_class="imm", modes=["ReadWriteOncePod"]))
    world.create(make_pod("one", claims=["mine"], node="n1"))
    world.create(make_pod("two", claims=["mine"], node="n2"))


def mounted(world: World) -> None:
    state = world.fake._storage.state
    volume = state.volumes[world.volume().spec.csi.volumeHandle]
    with state.change() as change:
        change.put(replace(volume, mounts=[]))


def one_node(world: World) -> None:
    world.stop()
    pv = world.volume()
    for node in ("n1", "n2"):
        name = f"by-hand-{node}"
        world.create(make_attachment(name, attacher=DRIVER, node=node, volume=key_of(pv).name))
        world.cluster.store.patch("VolumeAttachment", "", name, {"status": {"attached": True}}, user="somebody", subresource="status")


def backend_kept(world: World) -> None:
    world.stop()
    world.fake.call("DeleteVolume", csi.DeleteVolumeRequest(volume_id=world.volume("copy").spec.csi.volumeHandle))


def one_per_name(world: World) -> None:
    state = world.fake._storage.state
    volume = world.fake.volumes()[0]
    with state.change() as change:
        change.put(replace(volume, volume_id="vol-twin"))


def ready_chain(world: World) -> None:
    world.stop()
    content = world.content()
    world.write(replace(content, status=replace(content.status, readyToUse=False)), status=True)


def unprotected(world: World) -> None:
    world.stop()
    content = make_content("naked", driver=DRIVER, volume_handle="vol-0001", snapshot="default/cut", snapshot_uid="x")
    made = world.create(replace(content, status=None))
    world.cluster.store.patch(
        "VolumeSnapshotContent", "", key_of(made).name, {"status": {"snapshotHandle": "snap-0001"}}, user="somebody", subresource="status"
    )


def point_in_time(world: World) -> None:
    world.stop()
    content = world.content()
    world.write(replace(content, status=replace(content.status, snapshotHandle="another")), status=True)


def handed_over(world: World) -> None:
    world.stop()
    pv = world.volume()
    world.write(with_spec(pv, claimRef=replace(pv.spec.claimRef, uid="of somebody else")))


def in_use(world: World) -> None:
    world.stop()
    world.cluster.delete("PersistentVolumeClaim", "default", "data")
    world.write(with_finalizers(world.get("PersistentVolumeClaim", "data"), remove=["kubernetes.io/pvc-protection"]))


def oversold(world: World) -> None:
    world.stop()
    world.create(make_capacity("pool", storage_class="imm", capacity="15Gi", where={}))
    for name in ("one", "two"):
        claim = world.create(make_pvc(name, storage_class="imm", size="10Gi"))
        world.write(with_annotations(claim, {ANN_SELECTED_NODE: "n1", ANN_STORAGE_CAPACITY: "default/pool"}))


def snapshot_deletion(world: World) -> None:
    world.stop()
    world.call("DeleteSnapshot", csi.DeleteSnapshotRequest(snapshot_id=world.content().status.snapshotHandle))


def volume_deletion(world: World) -> None:
    world.stop()
    world.call("DeleteVolume", csi.DeleteVolumeRequest(volume_id=world.volume("copy").spec.csi.volumeHandle))


def snapshot_bytes(world: World) -> None:
    data = world.fake.data
    handle = world.volume().spec.csi.volumeHandle
    data.publish(handle, node="x", target="/x", readonly=False)
    data.write(node="x", target="/x", name="file", data=b"later")
    data.cut(world.content().status.snapshotHandle, handle)


def restored_bytes(world: World) -> None:
    data = world.fake.data
    make = data.create

    def forget_source(volume_id: str, *, block: bool, size_bytes: int, source: Ref | None) -> None:
        make(volume_id, block=block, size_bytes=size_bytes, source=None)

    handle = world.volume().spec.csi.volumeHandle
    data.publish(handle, node="x", target="/x", readonly=False)
    data.write(node="x", target="/x", name="file", data=b"content")
    data.create = forget_source
    source = TypedLocalObjectReference(kind="PersistentVolumeClaim", name="data")
    world.create(make_pvc("clone", storage_class="imm", source=source))
    world.rest()


def snapshot_owner(world: World) -> None:
    source = world.volume().spec.csi.volumeHandle
    world.fake.call("CreateSnapshot", csi.CreateSnapshotRequest(name="stray", source_volume_id=source))


def volume_owner(world: World) -> None:
    world.fake.call("CreateVolume", csi.CreateVolumeRequest(name="stray", volume_capabilities=[MOUNT]))


def finalizer(world: World) -> None:
    world.stop()
    world.write(with_finalizers(world.get("PersistentVolumeClaim", "copy"), add=[CLAIM_FINALIZER]))


def deletion(world: World) -> None:
    world.stop()
    world.cluster.delete("Pod", "default", "web")


def binding(world: World) -> None:
    world.stop()
    pv = world.volume()
    world.write(replace(pv, status=replace(pv.status, phase="Available")), status=True)


def match(world: World) -> None:
    world.stop()
    free = world.create(make_pv("free", storage_class="imm", size="10Gi", driver=DRIVER, handle="free"))
    world.write(replace(free, status=replace(free.status, phase="Available")), status=True)
    world.create(make_pvc("wanting", storage_class="imm", size="10Gi"))


def reclaim(world: World) -> None:
    world.stop()
    pv = world.volume("copy")
    world.cluster.patch("PersistentVolume", "", key_of(pv).name, {"spec": {"claimRef": {"uid": "gone"}}})
    pv = world.volume("copy")
    world.write(replace(pv, status=replace(pv.status, phase="Released")), status=True)


def leftover(world: World) -> None:
    world.stop()
    pv = world.volume("copy")
    name = attachment_name(pv.spec.csi.volumeHandle, DRIVER, "n1")
    world.create(make_attachment(name, attacher=DRIVER, node="n1", volume=key_of(pv).name))


def silence(world: World) -> None:
    world.stop()
    world.create(make_pvc("lonely", storage_class="imm"))


def forgotten_pod(world: World) -> None:
    world.stop()
    world.create(make_pod("lonely"))


def cache(world: World) -> None:
    world.stop()
    world.create(make_node("n3"))


def engine(world: World) -> None:
    world.create(make_pod("waiting", cpu="1000"))
    world.rest()
    world.cluster.engine.remove("Node", "", "n1")


BREAKS: dict[str, Callable[[World], None]] = {
    function.__name__.replace("_", "-"): function
    for function in (
        one_claim,
        reachable,
        attach_limit,
        one_pod,
        mounted,
        one_node,
        backend_kept,
        one_per_name,
        ready_chain,
        unprotected,
        point_in_time,
        handed_over,
        oversold,
        in_use,
        snapshot_deletion,
        volume_deletion,
        snapshot_bytes,
        restored_bytes,
        snapshot_owner,
        volume_owner,
        finalizer,
        deletion,
        binding,
        match,
        reclaim,
        leftover,
        silence,
        forgotten_pod,
        cache,
        engine,
    )
}


def test_every_rule_is_broken_here() -> None:
    assert set(BREAKS) == set(RULES)


def test_a_healthy_cluster_breaks_nothing() -> None:
    world = World()
    assert world.get("Pod", "web").status.phase == "Running"
    assert world.get("VolumeSnapshot", "cut").status.readyToUse
    assert world.get("PersistentVolumeClaim", "copy").status.phase == "Bound"
    assert check_quiet(world.cluster, world.witness) == []
    assert check_quiet(world.cluster) == []


@pytest.mark.parametrize("rule", list(RULES))
def test_a_broken_rule_is_named(rule: str) -> None:
    world = World(exact_capacity=rule == "oversold")
    BREAKS[rule](world)
    found = check_quiet(world.cluster, world.witness)
    assert rule in {violation.rule for violation in found}, [str(violation) for violation in found]
    for violation in found:
        assert "\n" not in str(violation) and len(violation.text) > 20


def test_safety_alone_does_not_ask_for_rest() -> None:
    world = World()
    world.create(make_pod("next", claims=["copy"]))
    assert check_safety(world.cluster, world.witness) == []
    assert any(violation.rule in ("cache", "forgotten-pod", "silence") for violation in check_quiet(world.cluster))


def test_a_witness_tells_everything_once() -> None:
    world = World()
    volume_deletion(world)
    first = check_safety(world.cluster, world.witness)
    assert "volume-deletion" in {violation.rule for violation in first}
    assert "volume-deletion" not in {violation.rule for violation in check_safety(world.cluster, world.witness)}


def test_policies_and_removal_by_hand_explain_what_is_left() -> None:
    world = World()
    for kind, obj in (("PersistentVolume", world.volume("copy")), ("VolumeSnapshotContent", world.content())):
        name = key_of(obj).name
        field = "persistentVolumeReclaimPolicy" if kind == "PersistentVolume" else "deletionPolicy"
        world.cluster.patch(kind, "", name, {"spec": {field: "Retain"}})
    world.cluster.delete("VolumeSnapshot", "default", "cut")
    world.cluster.delete("PersistentVolumeClaim", "default", "copy")
    world.rest()
    kept = {"volume": len(world.fake.volumes()), "snapshot": len(world.fake.snapshots())}
    for kind in ("PersistentVolume", "VolumeSnapshotContent"):
        for obj in world.cluster.list(kind):
            if uid_of(obj) != uid_of(world.volume("data")):
                world.cluster.delete(*key_of(obj))
    world.rest()
    assert kept == {"volume": len(world.fake.volumes()), "snapshot": len(world.fake.snapshots())} == {"volume": 2, "snapshot": 1}
    assert check_quiet(world.cluster, world.witness) == []


def test_a_policy_changed_while_a_volume_is_being_deleted_explains_what_is_left() -> None:
    """Retain takes the provisioner's finalizer off, and none is put on what is being deleted: Delete comes too late (spec/volumes.md 2)."""
    world = World()
    name = key_of(world.volume("copy")).name
    world.cluster.delete("PersistentVolume", "", name)
    for policy in ("Retain", "Delete"):
        world.cluster.patch("PersistentVolume", "", name, {"spec": {"persistentVolumeReclaimPolicy": policy}})
        world.rest()
    world.cluster.delete("PersistentVolumeClaim", "default", "copy")
    world.rest()
    assert name not in {key_of(pv).name for pv in world.cluster.list("PersistentVolume")}
    assert len(world.fake.volumes()) == 2
    assert check_quiet(world.cluster, world.witness) == []


def test_a_provisioner_that_died_does_not_explain_the_loss_of_what_it_had_saved() -> None:
    world = World()
    name = key_of(world.volume("copy")).name
    world.cluster.runner.crash(f"Provisioner {DRIVER}")
    world.rest()
    world.stop()
    for kind, namespace, gone in (("PersistentVolumeClaim", "default", "copy"), ("PersistentVolume", "", name)):
        held = world.cluster.store.get(kind, namespace, gone)
        world.write(with_finalizers(held, remove=held.metadata.finalizers))
        world.cluster.store.delete(kind, namespace, gone, user="somebody")
    assert "volume-owner" in {violation.rule for violation in check_quiet(world.cluster, world.witness)}


def test_a_violation_reads_as_one_line() -> None:
    assert str(Violation("one-claim", "PersistentVolume pv is bound to a and b")) == "one-claim: PersistentVolume pv is bound to a and b"
