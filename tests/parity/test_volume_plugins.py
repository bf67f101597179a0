"""VolumeRestrictions, NodeVolumeLimits and VolumeZone on every engine."""

from __future__ import annotations

from typing import Any

import pytest
from lightkube.models.core_v1 import (
    AWSElasticBlockStoreVolumeSource,
    GCEPersistentDiskVolumeSource,
    ISCSIVolumeSource,
    PersistentVolumeClaimSpec,
    RBDVolumeSource,
    Volume,
)

from tests.builders import (
    DRIVER,
    REGION,
    ZONE,
    make_attachment,
    make_class,
    make_csidriver,
    make_csinode,
    make_node,
    make_owner,
    make_pod,
    make_pv,
    make_pvc,
)
from tests.parity.situations import decide, every_engine, reasons
from tests.parity.storage import LIMIT, NO_ZONE
from volsched.engine import UNSCHEDULABLE

DISK = "node(s) had no available disk"
NODES = [make_node("n1"), make_node("n2")]
CLASS = make_class()


def disk(**source: Any) -> Volume:
    return Volume(name="disk", **source)


def gce(name: str, *, read_only: bool | None = None) -> Volume:
    return disk(gcePersistentDisk=GCEPersistentDiskVolumeSource(pdName=name, readOnly=read_only))


def rbd(*monitors: str, pool: str | None = None, read_only: bool | None = None) -> Volume:
    return disk(rbd=RBDVolumeSource(monitors=list(monitors), image="i", pool=pool, readOnly=read_only))


def iscsi(target: str, *, read_only: bool | None = None) -> Volume:
    return disk(iscsi=ISCSIVolumeSource(targetPortal=target, iqn="q", lun=0, readOnly=read_only))


@every_engine
class TestDisks:
    @pytest.mark.parametrize(
        ("mine", "theirs", "conflict"),
        [
            (gce("a"), gce("a"), True),
            (gce("a"), gce("b"), False),
            (gce("a", read_only=True), gce("a", read_only=True), False),
            (gce("a", read_only=True), gce("a"), True),
            (rbd("m1", "m2"), rbd("m2", "m3"), True),
            (rbd("m1"), rbd("m2"), False),
            (rbd("m1"), rbd("m1", pool="rbd"), True),
            (rbd("m1"), rbd("m1", pool="other"), False),
            (rbd("m1", read_only=True), rbd("m1", read_only=True), False),
            (iscsi("p"), iscsi("q"), True),
            (iscsi("p", read_only=True), iscsi("q", read_only=True), False),
        ],
    )
    def test_inline_disks_of_one_node(self, engine: str, mine: Volume, theirs: Volume, conflict: bool) -> None:
        decision = decide(engine, [*NODES, make_pod("other", node="n1", volumes=[theirs])], make_pod(volumes=[mine]))
        assert reasons(decision) == ({"n1": (DISK,)} if conflict else {})

    def test_ebs_conflicts_even_when_read_only(self, engine: str) -> None:
        volume = disk(awsElasticBlockStore=AWSElasticBlockStoreVolumeSource(volumeID="vol-1", readOnly=True))
        decision = decide(engine, [*NODES, make_pod("other", node="n1", volumes=[volume])], make_pod(volumes=[volume]))
        assert reasons(decision) == {"n1": (DISK,)}
        assert decision.rejected()["n1"].code == UNSCHEDULABLE


@every_engine
class TestReadWriteOncePod:
    CLAIM = make_pvc(modes=["ReadWriteOncePod"], bound_to="pv-1")
    OBJECTS = (*NODES, CLASS, CLAIM, make_pv("pv-1", modes=["ReadWriteOncePod"]))

    def test_a_claim_of_that_name_in_another_namespace_does_not_count(self, engine: str) -> None:
        holder = make_pod("holder", namespace="other", node="n1", claims=["data"])
        assert decide(engine, [*self.OBJECTS, holder], make_pod(claims=["data"])).feasible() == ["n1", "n2"]

    def test_ephemeral_volumes_hold_nothing(self, engine: str) -> None:
        holder = make_pod("da", node="n1", ephemeral={"ta": PersistentVolumeClaimSpec()})
        claim = make_pvc("da-ta", modes=["ReadWriteOncePod"], bound_to="pv-1", owners=[make_owner("Pod", "da", "u1")])
        decision = decide(engine, [*NODES, CLASS, claim, make_pv("pv-1"), holder], make_pod(claims=["da-ta"]))
        assert decision.feasible() == ["n1", "n2"]


@every_engine
class TestAttachLimits:
    def _fits(self, engine: str, *objects: Any, pod: Any = None, limit: int | None = 1, csinode: bool = True) -> bool:
        node = [make_csinode("n1", drivers={DRIVER: limit})] if csinode else []
        decision = decide(engine, [make_node("n1"), CLASS, *node, *objects], pod or make_pod(claims=["new"]))
        if not decision.feasible():
            assert reasons(decision) == {"n1": (LIMIT,)}
            assert decision.rejected()["n1"].code == UNSCHEDULABLE
        return bool(decision.feasible())

    @staticmethod
    def _bound(name: str, *, handle: str | None = None) -> list[Any]:
        return [make_pvc(name, bound_to=f"pv-{name}"), make_pv(f"pv-{name}", handle=handle)]

    def test_volumes_of_pods_on_the_node_count(self, engine: str) -> None:
        objects = [*self._bound("old"), *self._bound("new"), make_pod("other", node="n1", claims=["old"])]
        assert not self._fits(engine, *objects)
        assert self._fits(engine, *objects, limit=2)
        assert self._fits(engine, *objects, limit=None)

    def test_a_shared_volume_counts_once(self, engine: str) -> None:
        objects = [*self._bound("old", handle="same"), *self._bound("new", handle="same"), make_pod("other", node="n1", claims=["old"])]
        assert self._fits(engine, *objects)

    def test_an_attachment_of_a_volume_in_use_counts_once(self, engine: str) -> None:
        objects = [*self._bound("old"), *self._bound("new"), make_pod("other", node="n1", claims=["old"])]
        assert self._fits(engine, *objects, make_attachment(volume="pv-old", node="n1"), limit=2)

    def test_attachments_elsewhere_or_of_unknown_volumes_do_not_count(self, engine: str) -> None:
        away = make_attachment("a", volume="pv-new", node="n2")
        unknown = make_attachment("b", volume="gone", node="n1")
        assert self._fits(engine, *self._bound("new"), away, unknown)

    def test_claims_without_a_volume_count_for_their_provisioner(self, engine: str) -> None:
        objects = [make_pvc("old"), make_pvc("new"), make_pod("other", node="n1", claims=["old"])]
        assert not self._fits(engine, *objects)

    def test_a_limit_of_zero_is_a_limit(self, engine: str) -> None:
        assert not self._fits(engine, make_pvc("new"), limit=0)

    def test_of_several_missing_drivers_the_first_by_name_is_named(self, engine: str) -> None:
        drivers = [make_csidriver(name, prevent_if_missing=True) for name in ("b.csi", "a.csi")]
        classes = [make_class(name, provisioner=f"{name}.csi") for name in ("b", "a")]
        claims = [make_pvc(name, storage_class=name) for name in ("b", "a")]
        decision = decide(engine, [make_node("n1"), *drivers, *classes, *claims], make_pod(claims=["b", "a"]))
        assert reasons(decision) == {"n1": ("a.csi CSI driver is not installed on the node",)}

    def test_in_tree_volumes_count_for_the_driver_that_replaces_them(self, engine: str) -> None:
        source = {"csi": None, "awsElasticBlockStore": AWSElasticBlockStoreVolumeSource(volumeID="aws://a/vol-1")}
        objects = [
            make_node("n1"),
            make_csinode("n1", drivers={"ebs.csi.aws.com": 1}),
            CLASS,
            make_pvc("old", bound_to="pv-old"),
            make_pv("pv-old", spec=source),
            make_pod("other", node="n1", claims=["old"]),
        ]
        inline = disk(awsElasticBlockStore=AWSElasticBlockStoreVolumeSource(volumeID="vol-2"))
        assert reasons(decide(engine, objects, make_pod(volumes=[inline]))) == {"n1": (LIMIT,)}

    @pytest.mark.parametrize("provisioner", ["kubernetes.io/vsphere-volume", "kubernetes.io/azure-file", ""])
    def test_provisioners_that_are_not_counted(self, engine: str, provisioner: str) -> None:
        # the bad inline volume of the other pod would fail the cycle if anything had to be counted
        bad = disk(awsElasticBlockStore=AWSElasticBlockStoreVolumeSource(volumeID="aws://a/bad"))
        objects = [
            make_node("n1"),
            make_csinode("n1"),
            make_csinode("n1", drivers={DRIVER: 1}),
            make_class("in-tree", provisioner=provisioner),
            make_pvc("new", storage_class="in-tree"),
            make_pv("pv-1", storage_class="in-tree", phase="Available"),
            make_pod("other", node="n1", volumes=[bad]),
        ]
        assert decide(engine, objects, make_pod(claims=["new"])).feasible() == ["n1"]

    def test_an_inline_volume_that_cannot_be_translated_fails_the_cycle(self, engine: str) -> None:
        bad = disk(awsElasticBlockStore=AWSElasticBlockStoreVolumeSource(volumeID="aws://a/bad"))
        decision = decide(engine, [make_node("n1"), make_csinode("n1")], make_pod(volumes=[bad]))
        assert decision.error == (
            'running "NodeVolumeLimits" filter plugin: converting volume(disk) from inline to csi: '
            "failed to translate Kubernetes ID to EBS Volume ID Invalid format for AWS volume (aws://a/bad)"
        )
        assert decide(engine, [make_node("n1")], make_pod(volumes=[bad])).feasible() == ["n1"]


@every_engine
class TestZones:
    def _feasible(self, engine: str, labels: dict[str, str], **nodes: dict[str, str]) -> list[str]:
        objects = [
            *(make_node(name, labels=own) for name, own in nodes.items()),
            CLASS,
            make_pvc(bound_to="pv-1"),
            make_pv("pv-1", labels=labels),
        ]
        decision = decide(engine, objects, make_pod(claims=["data"]))
        assert set(reasons(decision).values()) <= {(NO_ZONE,)}
        return sorted(decision.feasible())

    def test_an_empty_element_voids_the_label(self, engine: str) -> None:
        assert self._feasible(engine, {ZONE: "a__"}, n1={ZONE: "b"}) == ["n1"]

    def test_region_and_zone_both_count(self, engine: str) -> None:
        assert self._feasible(
            engine, {ZONE: "a", REGION: "r"}, n1={ZONE: "a", REGION: "r"}, n2={ZONE: "a"}, n3={ZONE: "a", REGION: "s"}
        ) == ["n1"]
