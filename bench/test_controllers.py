"""Stories of the embedded cluster: how many virtual steps, callbacks of the loop, a second of wall time takes.

    provision   pods with a claim of a WaitForFirstConsumer class each: decided, provisioned, bound; nodes set bound pods running
    attach      the same, with volumes attached, staged and published through the driver's Node service
    snapshot    of every claim of such pods a snapshot
    restore     a claim out of every snapshot, and a pod that reads it
    delete      everything is deleted again

Baselines: pods without volumes, which is what the scheduler and the kubelet alone cost; and the bare loop with callbacks that do nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Literal

import pytest

from bench.loading import note
from bench.objects import DRIVER, HOST_KEY, ZONE_KEY
from bench.sizes import Sizes
from volsched.api.kinds import from_json
from volsched.app.cluster import Cluster
from volsched.env import Loop, VirtualClock

SIZES: Final = Sizes(tiny=4, small=20, full=(10, 60), twin=10)  # pods
ROUNDS: Final = 3
NODES: Final = 10
PODS_PER_NODE_MAX: Final = 39  # attach limit

Kubelet = Literal["instant", "mounting"]


def _create(cluster: Cluster, kind: str, name: str, *, namespaced: bool = True, **body: Any) -> None:
    metadata = {"name": name, **({"namespace": "default"} if namespaced else {}), **body.pop("metadata", {})}
    cluster.create(from_json(kind, {"metadata": metadata, **body}))


def _claim(cluster: Cluster, name: str, **spec: Any) -> None:
    resources = {"requests": {"storage": "10Gi"}}
    _create(
        cluster,
        "PersistentVolumeClaim",
        name,
        spec={"accessModes": ["ReadWriteOnce"], "storageClassName": "disks", "resources": resources, **spec},
    )


def _pod(cluster: Cluster, name: str, claim: str | None) -> None:
    container = {"name": "c", "image": "x", "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}}}
    spec: dict[str, Any] = {"containers": [container]}
    if claim is not None:
        spec["volumes"] = [{"name": "d", "persistentVolumeClaim": {"claimName": claim}}]
    _create(cluster, "Pod", name, spec=spec)


def _cluster(kubelet: Kubelet) -> Cluster:
    cluster = Cluster(seed=1, kubelet=kubelet)
    for number in range(NODES):
        name = f"node-{number}"
        status = {
            "allocatable": {"cpu": "32", "memory": "128Gi", "pods": "110"},
            "conditions": [{"type": "Ready", "status": "True"}],
        }
        labels = {HOST_KEY: name, ZONE_KEY: f"zone-{number % 3}"}
        _create(cluster, "Node", name, namespaced=False, metadata={"labels": labels}, status=status)
        driver = {"name": DRIVER, "nodeID": name, "topologyKeys": [ZONE_KEY], "allocatable": {"count": PODS_PER_NODE_MAX}}
        _create(cluster, "CSINode", name, namespaced=False, spec={"drivers": [driver]})
    _create(cluster, "CSIDriver", DRIVER, namespaced=False, spec={"attachRequired": True})
    _create(cluster, "StorageClass", "disks", namespaced=False, provisioner=DRIVER, volumeBindingMode="WaitForFirstConsumer")
    _create(cluster, "VolumeSnapshotClass", "snaps", namespaced=False, driver=DRIVER, deletionPolicy="Delete")
    cluster.run_until_idle()
    return cluster


def _add_pods(cluster: Cluster, count: int, *, claims: bool = True) -> None:
    for number in range(count):
        if claims:
            _claim(cluster, f"data-{number}")
        _pod(cluster, f"web-{number}", f"data-{number}" if claims else None)


def _add_snapshots(cluster: Cluster, count: int) -> None:
    for number in range(count):
        source = {"persistentVolumeClaimName": f"data-{number}"}
        _create(cluster, "VolumeSnapshot", f"snap-{number}", spec={"volumeSnapshotClassName": "snaps", "source": source})


def _add_restores(cluster: Cluster, count: int) -> None:
    for number in range(count):
        source = {"apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": f"snap-{number}"}
        _claim(cluster, f"again-{number}", dataSource=source)
        _pod(cluster, f"read-{number}", f"again-{number}")


def _steps(cluster: Cluster) -> int:
    """Run until idle; how many callbacks that took."""
    ran, step = 0, cluster.loop.step

    def counted() -> bool:
        nonlocal ran
        ran += 1
        return step()

    cluster.loop.step = counted  # type: ignore[method-assign]  # the loop counts nothing itself
    try:
        assert cluster.run_until_idle()
    finally:
        del cluster.loop.step  # type: ignore[method-assign]
    return ran


def _running(cluster: Cluster) -> int:
    return sum(pod.status.phase == "Running" for pod in cluster.list("Pod"))


def _story(
    benchmark: Any, story: str, size: int, *, kubelet: Kubelet, before: Callable[[Cluster], None], action: Callable[[Cluster], None]
) -> Cluster:
    """Time `action` and the run after it, on a cluster at rest after `before`; note the steps of a round."""
    clusters: list[Cluster] = []

    def ready() -> tuple[tuple[Cluster], dict[str, Any]]:
        cluster = _cluster(kubelet)
        before(cluster)
        cluster.run_until_idle()
        clusters.append(cluster)
        return (cluster,), {}

    def play(cluster: Cluster) -> int:
        action(cluster)
        return _steps(cluster)

    note(benchmark, group=f"{story}, controllers", unit="step", pods=size, nodes=NODES)
    benchmark.extra_info["units"] = benchmark.pedantic(play, setup=ready, rounds=ROUNDS)
    for cluster in clusters[:-1]:
        cluster.close()
    return clusters[-1]


@pytest.mark.parametrize("claims", [False, True], ids=["no_volumes", "claims"])
@pytest.mark.parametrize("kubelet", ["instant", "mounting"])
def test_provision(benchmark: Any, size: int, kubelet: Kubelet, claims: bool) -> None:
    story = "provision" if kubelet == "instant" else "attach"
    with _story(
        benchmark,
        story,
        size,
        kubelet=kubelet,
        before=lambda cluster: None,
        action=lambda cluster: _add_pods(cluster, size, claims=claims),
    ) as cluster:
        assert _running(cluster) == size
        assert sum(claim.status.phase == "Bound" for claim in cluster.list("PersistentVolumeClaim")) == size * claims
        attached = [attachment for attachment in cluster.list("VolumeAttachment") if attachment.status.attached]
        assert len(attached) == size * claims


def test_snapshot(benchmark: Any, size: int) -> None:
    with _story(
        benchmark,
        "snapshot",
        size,
        kubelet="mounting",
        before=lambda cluster: _add_pods(cluster, size),
        action=lambda cluster: _add_snapshots(cluster, size),
    ) as cluster:
        assert sum(bool(snapshot.status.readyToUse) for snapshot in cluster.list("VolumeSnapshot")) == size


def test_restore(benchmark: Any, size: int) -> None:
    def before(cluster: Cluster) -> None:
        _add_pods(cluster, size)
        cluster.run_until_idle()
        _add_snapshots(cluster, size)

    with _story(
        benchmark, "restore", size, kubelet="mounting", before=before, action=lambda cluster: _add_restores(cluster, size)
    ) as cluster:
        assert _running(cluster) == 2 * size


def test_delete(benchmark: Any, size: int) -> None:
    def action(cluster: Cluster) -> None:
        for number in range(size):
            cluster.delete("Pod", "default", f"web-{number}")
            cluster.delete("PersistentVolumeClaim", "default", f"data-{number}")

    with _story(benchmark, "delete", size, kubelet="mounting", before=lambda cluster: _add_pods(cluster, size), action=action) as cluster:
        assert not cluster.list("Pod")
        assert not cluster.list("PersistentVolume")


def test_bare_loop(benchmark: Any, size: int) -> None:
    steps = size * 100

    def ready() -> tuple[tuple[Loop], dict[str, Any]]:
        loop = Loop(VirtualClock(0))
        for number in range(steps):
            loop.call_at(number, lambda: None, timer=False)
        return (loop,), {}

    note(benchmark, group="bare loop, controllers", unit="step", units=steps)
    assert benchmark.pedantic(lambda loop: loop.run_until_idle(), setup=ready, rounds=ROUNDS)
