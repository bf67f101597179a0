"""A claim restored from a snapshot of another namespace, on the embedded cluster: refused, granted, and nothing left behind."""

from __future__ import annotations

from typing import Any

import pytest
from lightkube.models.core_v1 import Namespace, TypedObjectReference
from lightkube.models.meta_v1 import ObjectMeta

from tests.builders import (
    DRIVER,
    make_class,
    make_csidriver,
    make_csinode,
    make_node,
    make_pod,
    make_pvc,
    make_snapshot,
    make_snapshot_class,
)
from volsched.api.edit import finalizers_of
from volsched.api.gateway import ReferenceGrant, ReferenceGrantFrom, ReferenceGrantSpec, ReferenceGrantTo
from volsched.app.cluster import Cluster, DriverSettings
from volsched.app.invariants import Witness, check_quiet
from volsched.controllers.provisioner_options import ProvisionerOptions
from volsched.csi.profile import full

SNAPSHOTS = "snapshot.storage.k8s.io"
DISABLED = "dataSourceRef namespace specified but the CrossNamespaceVolumeDataSource feature is disabled"
NOT_GRANTED = "accessing backups/cut of VolumeSnapshot dataSource from default/copy isn't allowed"


def cluster_with_restore(*, gate: bool) -> tuple[Cluster, Witness]:
    options = ProvisionerOptions(cross_namespace_volume_data_source=gate)
    cluster = Cluster(kubelet="instant", drivers=[DriverSettings(profile=full(name=DRIVER, zone_names=()), options=options)])
    witness = Witness(cluster)
    source = TypedObjectReference(apiGroup=SNAPSHOTS, kind="VolumeSnapshot", name="cut", namespace="backups")
    objects: list[Any] = [
        Namespace(metadata=ObjectMeta(name="backups")),
        make_csidriver(DRIVER, attach_required=False),
        make_node("n1"),
        make_csinode("n1", drivers={DRIVER: None}),
        make_class("disks", provisioner=DRIVER, wait=False),
        make_snapshot_class("snaps", driver=DRIVER),
        make_pvc("data", namespace="backups", storage_class="disks"),
        make_pod("writer", namespace="backups", claims=["data"]),
    ]
    for obj in objects:
        cluster.create(obj)
    assert cluster.run_until_idle()
    cluster.create(make_snapshot("cut", namespace="backups"))
    assert cluster.run_until_idle()
    cluster.create(make_pvc("copy", storage_class="disks", source_ref=source))
    cluster.run_for(30)
    return cluster, witness


def refusals(cluster: Cluster) -> set[str]:
    return {event.message for event in cluster.events("default") if event.reason == "ProvisioningFailed"}


@pytest.mark.parametrize(("gate", "text"), [(False, DISABLED), (True, NOT_GRANTED)])
def test_without_gate_or_grant_the_claim_waits_and_is_told_why(gate: bool, text: str) -> None:
    cluster, witness = cluster_with_restore(gate=gate)
    assert refusals(cluster) == {text}
    assert cluster.run_until_idle()
    assert check_quiet(cluster, witness) == []


def test_a_grant_lets_the_waiting_claim_through() -> None:
    cluster, witness = cluster_with_restore(gate=True)
    grant = ReferenceGrantSpec(
        from_=[ReferenceGrantFrom(group="", kind="PersistentVolumeClaim", namespace="default")],
        to=[ReferenceGrantTo(group=SNAPSHOTS, kind="VolumeSnapshot")],
    )
    cluster.create(ReferenceGrant(metadata=ObjectMeta(name="restores", namespace="backups"), spec=grant))
    assert cluster.run_until_idle()
    assert cluster.get("PersistentVolumeClaim", "copy").status.phase == "Bound"
    assert not any("provisioner" in name for name in finalizers_of(cluster.get("VolumeSnapshot", "cut", "backups")))
    assert check_quiet(cluster, witness) == []
