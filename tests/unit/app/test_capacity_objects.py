"""Drivers that were found, or are reached over a socket, publish CSIStorageCapacity objects where their CSIDriver says they are counted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.builders import DRIVER, ZONE, make_capacity, make_class, make_csidriver, make_csinode, make_node, make_pod, make_pvc
from volsched.app.cluster import Cluster, DriverSettings
from volsched.csi.backend import FakeDriver
from volsched.csi.inprocess import InProcessClient
from volsched.csi.profile import GIB, full


def objects(*, counted: bool = True) -> list[Any]:
    """Two zones of one node each, a driver, a class of it, and a pod that waits for a volume of 10Gi."""
    return [
        *(make_node(f"n-{zone}", zone=zone) for zone in "ab"),
        *(make_csinode(f"n-{zone}", drivers={DRIVER: None}) for zone in "ab"),
        make_csidriver(DRIVER, storage_capacity=counted, attach_required=False),
        make_class(),
        make_pvc(size="10Gi"),
        make_pod(claims=["data"]),
    ]


def run(cluster: Cluster, made: list[Any]) -> None:
    for obj in made:
        cluster.create(obj)
    assert cluster.run_until_idle()


def published(cluster: Cluster) -> dict[tuple[str, str], str]:
    """(class, zone) -> capacity."""
    found = cluster.list("CSIStorageCapacity")
    return {(item.storageClassName, item.nodeTopology.matchLabels[ZONE]): item.capacity for item in found}


def placed(cluster: Cluster, pod: str = "pod") -> bool:
    return bool(cluster.get("Pod", pod).spec.nodeName)


def test_a_found_driver_publishes_where_its_capacity_is_counted() -> None:
    with Cluster(kubelet="instant") as cluster:
        run(cluster, objects())
        assert published(cluster).keys() == {("fast", "a"), ("fast", "b")}
        assert placed(cluster)
    with Cluster(kubelet="instant") as cluster:
        run(cluster, objects(counted=False))
        assert published(cluster) == {} and placed(cluster)


def test_objects_that_came_with_the_manifests_are_believed() -> None:
    with Cluster(kubelet="instant") as cluster:
        run(cluster, [*objects(), make_capacity("by-hand", capacity="1Gi", where={ZONE: "a"})])
        assert published(cluster) == {("fast", "a"): "1Gi"}
        assert not placed(cluster)


def test_a_driver_behind_a_socket_publishes_what_it_says() -> None:
    with Cluster(kubelet="instant") as cluster:
        profile = full(name=DRIVER, zone_names=["a", "b"], capacity={"a": 5 * GIB, "b": 30 * GIB})
        client = InProcessClient(FakeDriver(profile, clock=cluster.clock))
        cluster.drivers.external.append(DriverSettings(profile=profile, client=client))
        run(cluster, objects())
        assert published(cluster) == {("fast", "a"): "5Gi", ("fast", "b"): "20Gi"}
        assert cluster.get("Pod", "pod").spec.nodeName == "n-b"


def test_a_cluster_opened_again_goes_on(tmp_path: Path) -> None:
    with Cluster(kubelet="instant", state=tmp_path / "db") as cluster:
        run(cluster, objects())
    with Cluster(kubelet="instant", state=tmp_path / "db") as cluster:
        run(cluster, [make_class("slow"), make_pvc("late", storage_class="slow"), make_pod("late", claims=["late"])])
        assert {name for name, _ in published(cluster)} == {"fast", "slow"}
        assert placed(cluster, "late")


@pytest.mark.parametrize("kept", [False, True])
def test_a_driver_that_runs_already_begins_when_its_csidriver_comes(tmp_path: Path, kept: bool) -> None:
    with Cluster(kubelet="instant", state=tmp_path / "db" if kept else None) as cluster:
        *others, claim, pod = [obj for obj in objects() if type(obj).__name__ != "CSIDriver"]
        run(cluster, others)
        assert published(cluster) == {}
        run(cluster, [make_csidriver(DRIVER, storage_capacity=True, attach_required=False), claim, pod])
        assert len(published(cluster)) == 2 and placed(cluster)
