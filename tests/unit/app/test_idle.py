"""A cluster comes to rest also when somebody retries for ever without getting anywhere."""

from __future__ import annotations

import pytest
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.models.storage_v1 import VolumeAttributesClass

from tests.builders import make_class, make_csidriver, make_csinode, make_node, make_pod, make_pvc, make_snapshot, make_snapshot_class
from tests.simulation.player import ENGINE
from volsched.app.cluster import Cluster, DriverSettings
from volsched.csi.profile import full, zonal

DRIVER = "zonal.csi.volsched.dev"
NS = 10**9


def make_cluster(**profile: object) -> Cluster:
    cluster = Cluster(engine=ENGINE, kubelet="instant", drivers=[DriverSettings(profile=zonal(**profile))])  # type: ignore[arg-type]
    for obj in (
        make_node("n1", zone="a"),
        make_csinode("n1", drivers={DRIVER: None}),
        make_csidriver(DRIVER, attach_required=False),
        make_class("wffc", provisioner=DRIVER, wait=True),
    ):
        cluster.create(obj)
    return cluster


def rests(cluster: Cluster) -> bool:
    return cluster.run_until_idle(cluster.now_ns() + 7200 * NS)


def test_a_claim_that_is_sent_back_for_scheduling_again_and_again() -> None:
    with make_cluster(capacity={"a": 0}) as cluster:
        cluster.create(make_pvc("data", storage_class="wffc"))
        cluster.create(make_pod("web", claims=["data"]))
        assert rests(cluster)
        tries = [call for call in cluster.csi_calls if call.method.endswith("CreateVolume")]
        assert len(tries) > 10
        assert {call.outcome for call in tries} == {"ResourceExhausted"}


@pytest.mark.parametrize("code", ["13", "14"])
def test_a_snapshot_that_cannot_be_cut(code: str) -> None:
    with make_cluster() as cluster:
        cluster.create(make_pvc("data", storage_class="wffc"))
        cluster.create(make_pod("web", claims=["data"]))
        cluster.create(make_snapshot_class("snap", driver=DRIVER, parameters={"fail": code}))
        cluster.create(make_snapshot("cut", claim="data", snapshot_class="snap"))
        assert rests(cluster)
        assert "injected failure" in cluster.get("VolumeSnapshot", "cut").status.error.message


def test_something_new_starts_the_round_again() -> None:
    with make_cluster() as cluster:
        assert rests(cluster)
        before = cluster.now_ns()
        cluster.create(make_pvc("data", storage_class="wffc"))
        assert not cluster.loop.is_idle()
        assert rests(cluster)
        assert cluster.now_ns() > before


def test_a_change_of_attributes_that_the_driver_refuses() -> None:
    """Each try walks the claim's status through the same states; only the times in it differ."""
    cluster = Cluster(engine=ENGINE, kubelet="instant", drivers=[DriverSettings(profile=full(name=DRIVER))])
    with cluster:
        for obj in (
            make_node("n1", zone="a"),
            make_csinode("n1", drivers={DRIVER: None}),
            make_class("imm", provisioner=DRIVER, wait=False),
            VolumeAttributesClass(driverName=DRIVER, metadata=ObjectMeta(name="odd"), parameters={"colour": "red"}),
            make_pvc("data", storage_class="imm"),
        ):
            cluster.create(obj)
        assert rests(cluster)
        cluster.patch("PersistentVolumeClaim", "default", "data", {"spec": {"volumeAttributesClassName": "odd"}})
        assert rests(cluster)
        assert len([call for call in cluster.csi_calls if call.outcome == "InvalidArgument"]) > 1
