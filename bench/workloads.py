"""The workloads of the speed table, as objects: a cluster of n nodes in ten zones and m pending pods.

    plain     no volume
    bound     one bound CSI volume a pod, reachable from one of ten zones
    dynamic   WaitForFirstConsumer class, allowedTopologies six of ten zones, one unbound claim a pod
    capacity  the same, CSIDriver storageCapacity and one CSIStorageCapacity a node
    local     no-provisioner class, max(n, 1.25 m) volumes with hostname affinity, one unbound claim a pod
    zonal     no-provisioner class, 1.25 m volumes, each in one zone, one unbound claim a pod
    mixed     fifty templates with everything; see bench.mixed

Nodes have 32 cpu, 128 Gi and an attach limit of 39; a pod asks for 500m and 512 Mi.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from bench import mixed
from bench.objects import DRIVER, HOST_KEY, ZONE_KEY, ZONES, made

KINDS: Final = ("plain", "bound", "dynamic", "capacity", "local", "zonal", "mixed")


def node(number: int) -> dict[str, Any]:
    name = f"node-{number:05d}"
    labels = {HOST_KEY: name, ZONE_KEY: ZONES[number % 10], "topology.kubernetes.io/region": "r1"}
    return {
        "kind": "Node",
        "metadata": {"name": name, "labels": labels},
        "status": {"allocatable": {"cpu": "32", "memory": "128Gi", "pods": "110"}},
    }


def csi_node(number: int) -> dict[str, Any]:
    name = f"node-{number:05d}"
    driver = {"name": DRIVER, "nodeID": name, "topologyKeys": [ZONE_KEY], "allocatable": {"count": 39}}
    return {"kind": "CSINode", "metadata": {"name": name}, "spec": {"drivers": [driver]}}


def storage_class(kind: str) -> dict[str, Any]:
    provisioner = "kubernetes.io/no-provisioner" if kind in ("local", "zonal") else DRIVER
    sc: dict[str, Any] = {
        "kind": "StorageClass",
        "metadata": {"name": "sc"},
        "provisioner": provisioner,
        "volumeBindingMode": "WaitForFirstConsumer",
    }
    if kind in ("dynamic", "capacity"):
        sc["allowedTopologies"] = [{"matchLabelExpressions": [{"key": ZONE_KEY, "values": list(ZONES[:6])}]}]
    return sc


def capacity(number: int) -> dict[str, Any]:
    return {
        "kind": "CSIStorageCapacity",
        "metadata": {"name": f"c{number}", "namespace": "default"},
        "storageClassName": "sc",
        "capacity": f"{50 + number % 50}Gi",
        "nodeTopology": {"matchLabels": {HOST_KEY: f"node-{number:05d}"}},
    }


def volume(number: int, key: str, value: str, *, claim: str | None = None) -> dict[str, Any]:
    term = {"matchExpressions": [{"key": key, "operator": "In", "values": [value]}]}
    spec: dict[str, Any] = {
        "capacity": {"storage": f"{10 + number % 7}Gi"},
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": "sc",
        "csi": {"driver": DRIVER, "volumeHandle": f"h{number}"},
        "nodeAffinity": {"required": {"nodeSelectorTerms": [term]}},
    }
    if claim is not None:
        spec["claimRef"] = {"kind": "PersistentVolumeClaim", "namespace": "default", "name": claim, "uid": f"u-{claim}"}
    status = {"phase": "Bound" if claim else "Available"}
    return {"kind": "PersistentVolume", "metadata": {"name": f"pv-{number:06d}", "uid": f"v{number}"}, "spec": spec, "status": status}


def claim(number: int, *, volume: str | None) -> dict[str, Any]:
    name = f"c{number}"
    metadata: dict[str, Any] = {"name": name, "namespace": "default", "uid": f"u-{name}"}
    spec: dict[str, Any] = {"accessModes": ["ReadWriteOnce"], "storageClassName": "sc", "resources": {"requests": {"storage": "10Gi"}}}
    if volume is not None:
        metadata["annotations"] = {"pv.kubernetes.io/bind-completed": "yes"}
        spec["volumeName"] = volume
    return {"kind": "PersistentVolumeClaim", "metadata": metadata, "spec": spec, "status": {"phase": "Bound" if volume else "Pending"}}


def pod(number: int, *, claim: bool) -> dict[str, Any]:
    resources = {"requests": {"cpu": "500m", "memory": "512Mi"}}
    spec: dict[str, Any] = {"containers": [{"name": "c", "image": "x", "resources": resources}]}
    if claim:
        spec["volumes"] = [{"name": "d", "persistentVolumeClaim": {"claimName": f"c{number}"}}]
    return {
        "kind": "Pod",
        "metadata": {"name": f"p{number}", "namespace": "default", "uid": f"p{number}", "labels": {"app": f"a{number % 20}"}},
        "spec": spec,
    }


def objects(kind: str, nodes: int, pods: int) -> Iterator[Any]:
    """The cluster and then, mixed with their claims, the pending pods; defaulted."""
    if kind == "mixed":
        yield from mixed.objects(nodes, pods)
        return
    for number in range(nodes):
        yield made(node(number))
        yield made(csi_node(number))
    yield made({"kind": "Namespace", "metadata": {"name": "default"}})
    yield made(storage_class(kind))
    if kind == "capacity":
        yield made({"kind": "CSIDriver", "metadata": {"name": DRIVER}, "spec": {"storageCapacity": True}})
        for number in range(nodes):
            yield made(capacity(number))
    if kind == "local":
        for number in range(max(nodes, pods + pods // 4)):
            yield made(volume(number, HOST_KEY, f"node-{number % nodes:05d}"))
    if kind == "zonal":
        for number in range(pods + pods // 4):
            yield made(volume(number, ZONE_KEY, ZONES[number % 10]))
    for number in range(pods):
        if kind == "bound":
            yield made(volume(number, ZONE_KEY, ZONES[number % 10], claim=f"c{number}"))
        if kind != "plain":
            yield made(claim(number, volume=f"pv-{number:06d}" if kind == "bound" else None))
        yield made(pod(number, claim=kind != "plain"))
