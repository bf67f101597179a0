"""Clusters that grow along one line while all else stays as it is, for `bench.growth`.

    volumes   a zone is one group of volumes that nothing tells apart but their place; zones grow, volumes a zone stay 30
    claims    pods with more and more claims: all bound, all static, or all dynamic

Nodes and pods are those of `bench.workloads`; growing numbers of nodes are its workloads themselves.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, Literal

from bench.objects import DRIVER, HOST_KEY, ZONE_KEY, made

ClaimKind = Literal["bound", "static", "dynamic"]

NODES: Final = 2_000
PODS: Final = 200
VOLUMES_PER_ZONE: Final = 30
ZONES: Final = 10


def volumes(zones: int) -> Iterator[Any]:
    """A cluster of 2,000 nodes in so many zones with 30 free volumes each, and pods with one unbound claim."""
    yield from _nodes(zones)
    yield _class("kubernetes.io/no-provisioner")
    for number in range(zones * VOLUMES_PER_ZONE):
        yield _volume(number, number % zones, claim=None)
    for number in range(PODS):
        yield from _pod_with_claims(number, 1, bound_zone=None)


def claims(per_pod: int, kind: ClaimKind) -> Iterator[Any]:
    """A cluster of 2,000 nodes in ten zones and pods with so many claims each: bound in one zone, of static volumes, or dynamic."""
    yield from _nodes(ZONES)
    yield _class(DRIVER if kind == "dynamic" else "kubernetes.io/no-provisioner")
    if kind == "static":
        pods_per_zone = -(-PODS * 5 // (4 * ZONES))  # a quarter more than come, so that none is the last to fit
        for number in range(pods_per_zone * per_pod * ZONES):
            yield _volume(number, number % ZONES, claim=None)
    for pod in range(PODS):
        if kind == "bound":
            for at in range(per_pod):
                yield _volume(pod * per_pod + at, pod % ZONES, claim=f"c{pod}-{at}")
        yield from _pod_with_claims(pod, per_pod, bound_zone=pod % ZONES if kind == "bound" else None)


def _nodes(zones: int) -> Iterator[Any]:
    yield made({"kind": "Namespace", "metadata": {"name": "default"}})
    for number in range(NODES):
        name = f"node-{number:05d}"
        labels = {HOST_KEY: name, ZONE_KEY: f"zone-{number % zones}"}
        status = {"allocatable": {"cpu": "32", "memory": "128Gi", "pods": "110"}}
        yield made({"kind": "Node", "metadata": {"name": name, "labels": labels}, "status": status})
        driver = {"name": DRIVER, "nodeID": name, "topologyKeys": [ZONE_KEY], "allocatable": {"count": 39}}
        yield made({"kind": "CSINode", "metadata": {"name": name}, "spec": {"drivers": [driver]}})


def _class(provisioner: str) -> Any:
    return made(
        {
            "kind": "StorageClass",
            "metadata": {"name": "sc"},
            "provisioner": provisioner,
            "volumeBindingMode": "WaitForFirstConsumer",
        }
    )


def _volume(number: int, zone: int, *, claim: str | None) -> Any:
    term = {"matchExpressions": [{"key": ZONE_KEY, "operator": "In", "values": [f"zone-{zone}"]}]}
    spec: dict[str, Any] = {
        "capacity": {"storage": "10Gi"},
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": "sc",
        "csi": {"driver": DRIVER, "volumeHandle": f"h{number}"},
        "nodeAffinity": {"required": {"nodeSelectorTerms": [term]}},
    }
    if claim is not None:
        spec["claimRef"] = {"kind": "PersistentVolumeClaim", "namespace": "default", "name": claim, "uid": f"u-{claim}"}
    metadata = {"name": f"pv-{number:06d}", "uid": f"v{number}"}
    return made({"kind": "PersistentVolume", "metadata": metadata, "spec": spec, "status": {"phase": "Bound" if claim else "Available"}})


def _pod_with_claims(pod: int, count: int, *, bound_zone: int | None) -> Iterator[Any]:
    for at in range(count):
        name = f"c{pod}-{at}"
        metadata: dict[str, Any] = {"name": name, "namespace": "default", "uid": f"u-{name}"}
        spec: dict[str, Any] = {"accessModes": ["ReadWriteOnce"], "storageClassName": "sc", "resources": {"requests": {"storage": "10Gi"}}}
        if bound_zone is not None:
            metadata["annotations"] = {"pv.kubernetes.io/bind-completed": "yes"}
            spec["volumeName"] = f"pv-{pod * count + at:06d}"
        status = {"phase": "Pending" if bound_zone is None else "Bound"}
        yield made({"kind": "PersistentVolumeClaim", "metadata": metadata, "spec": spec, "status": status})
    yield made(
        {
            "kind": "Pod",
            "metadata": {"name": f"p{pod}", "namespace": "default", "uid": f"p{pod}", "labels": {"app": f"a{pod % 20}"}},
            "spec": {
                "containers": [{"name": "c", "image": "x", "resources": {"requests": {"cpu": "500m", "memory": "512Mi"}}}],
                "volumes": [{"name": f"v{at}", "persistentVolumeClaim": {"claimName": f"c{pod}-{at}"}} for at in range(count)],
            },
        }
    )
