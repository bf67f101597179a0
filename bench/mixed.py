"""The workload `mixed`: fifty templates, whose pods meet everything the default profile has an opinion on.

Nodes: ten zones, three sizes, one in eight with a soft taint, one in ten with a hard one, half of them with an attach limit of 39.
Templates differ in requests, and by their number in what else they ask: hard or soft topology spread over zones and hosts, required or
preferred pod (anti-)affinity, preferred node affinity, tolerations, default spreading by a Service; and in their claims, none to three:
bound zonal, static zonal, local, dynamic with allowedTopologies, dynamic with capacity objects.
All of it is a function of the sizes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from bench.objects import DRIVER, HOST_KEY, ZONE_KEY, ZONES, made

TEMPLATES: Final = 50
CLAIMS: Final = (
    (),
    ("bound",),
    ("static",),
    ("dynamic",),
    ("pool",),
    (),
    ("bound", "dynamic"),
    ("static", "static"),
    ("local",),
    ("bound", "static", "dynamic"),
)
CLASSES: Final = {"bound": "sc", "static": "static", "local": "local", "dynamic": "dynamic", "pool": "pool"}


def _node(number: int) -> dict[str, Any]:
    name = f"node-{number:05d}"
    cpu, memory = ((32, 128), (64, 256), (16, 128))[number % 3]
    spec: dict[str, Any] = {}
    if number % 8 == 3:
        spec["taints"] = [{"key": "old", "effect": "PreferNoSchedule"}]
    if number % 10 == 7:
        spec["taints"] = [{"key": "gpu", "value": "yes", "effect": "NoSchedule"}]
    labels = {HOST_KEY: name, ZONE_KEY: ZONES[number % 10], "topology.kubernetes.io/region": "r1", "disk": ("ssd", "hdd")[number % 2]}
    return {
        "kind": "Node",
        "metadata": {"name": name, "labels": labels},
        "spec": spec,
        "status": {"allocatable": {"cpu": str(cpu), "memory": f"{memory}Gi", "pods": "110"}},
    }


def _terms(number: int, key: str) -> dict[str, Any]:
    return {"topologyKey": key, "labelSelector": {"matchLabels": {"app": f"a{number}"}}}


def _spread(number: int, *, key: str, skew: int, hard: bool) -> dict[str, Any]:
    when = "DoNotSchedule" if hard else "ScheduleAnyway"
    return {"maxSkew": skew, "whenUnsatisfiable": when, **_terms(number, key)}


# What a template asks for beside its resources, by its number.
_TRAITS: Final[tuple[Callable[[int], dict[str, Any]], ...]] = (
    lambda number: {},
    lambda number: {"topologySpreadConstraints": [_spread(number, key=ZONE_KEY, skew=5, hard=True)]},
    lambda number: {
        "topologySpreadConstraints": [_spread(number, key=key, skew=1, hard=False) for key in (ZONE_KEY, HOST_KEY)],
    },
    lambda number: {"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [_terms(number, HOST_KEY)]}}},
    lambda number: {
        "affinity": {
            "podAntiAffinity": {
                "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 50, "podAffinityTerm": _terms(number, HOST_KEY)}]
            }
        }
    },
    lambda number: {
        "affinity": {
            "nodeAffinity": {
                "preferredDuringSchedulingIgnoredDuringExecution": [
                    {"weight": 10, "preference": {"matchExpressions": [{"key": "disk", "operator": "In", "values": ["ssd"]}]}}
                ]
            }
        }
    },
    lambda number: {
        "affinity": {
            "podAffinity": {
                "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 20, "podAffinityTerm": _terms(number, ZONE_KEY)}]
            }
        }
    },
    lambda number: {"tolerations": [{"operator": "Exists"}]},
    lambda number: {},  # a Service selects these: default spreading
    lambda number: {"nodeSelector": {"disk": "ssd"}},
)
_SERVED: Final = 8


def template_of(pod: int) -> int:
    """Templates come mixed, none of them in runs."""
    return (pod * 7 + pod // 50 * 3) % TEMPLATES


def _pod(number: int) -> dict[str, Any]:
    template = template_of(number)
    requests = {"cpu": f"{100 * (1 + template % 7)}m", "memory": f"{128 * (1 + template % 5)}Mi"}
    spec: dict[str, Any] = {"containers": [{"name": "c", "image": "x", "resources": {"requests": requests}}]}
    spec |= _TRAITS[template % 10](template)
    kinds = CLAIMS[template // 5]
    if kinds:
        spec["volumes"] = [{"name": f"v{at}", "persistentVolumeClaim": {"claimName": f"c{number}-{at}"}} for at in range(len(kinds))]
    metadata = {"name": f"p{number}", "namespace": "default", "uid": f"p{number}", "labels": {"app": f"a{template}"}}
    return {"kind": "Pod", "metadata": metadata, "spec": spec}


def _volume(name: str, storage_class: str, number: int, key: str, value: str, claim: str | None) -> dict[str, Any]:
    term = {"matchExpressions": [{"key": key, "operator": "In", "values": [value]}]}
    spec: dict[str, Any] = {
        "capacity": {"storage": f"{10 + number % 7}Gi"},
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": storage_class,
        "csi": {"driver": DRIVER, "volumeHandle": name},
        "nodeAffinity": {"required": {"nodeSelectorTerms": [term]}},
    }
    if claim is not None:
        spec["claimRef"] = {"kind": "PersistentVolumeClaim", "namespace": "default", "name": claim, "uid": f"u-{claim}"}
    return {
        "kind": "PersistentVolume",
        "metadata": {"name": name, "uid": name},
        "spec": spec,
        "status": {"phase": "Bound" if claim else "Available"},
    }


def _claims(number: int) -> Iterator[dict[str, Any]]:
    """The claims of a pod, and the volumes of those that are bound."""
    for at, kind in enumerate(CLAIMS[template_of(number) // 5]):
        name = f"c{number}-{at}"
        metadata: dict[str, Any] = {"name": name, "namespace": "default", "uid": f"u-{name}"}
        size = f"{5 + (number + at) % 3}Gi"
        spec: dict[str, Any] = {
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": CLASSES[kind],
            "resources": {"requests": {"storage": size}},
        }
        if kind == "bound":
            volume = f"pv-bound-{name}"
            yield _volume(volume, "sc", number, ZONE_KEY, ZONES[number % 6], name)
            metadata["annotations"] = {"pv.kubernetes.io/bind-completed": "yes"}
            spec["volumeName"] = volume
        yield {
            "kind": "PersistentVolumeClaim",
            "metadata": metadata,
            "spec": spec,
            "status": {"phase": "Bound" if kind == "bound" else "Pending"},
        }


def _class(name: str, provisioner: str, allowed: Mapping[str, Any] | None = None) -> dict[str, Any]:
    body: dict[str, Any] = {
        "kind": "StorageClass",
        "metadata": {"name": name},
        "provisioner": provisioner,
        "volumeBindingMode": "WaitForFirstConsumer",
    }
    if allowed is not None:
        body["allowedTopologies"] = [{"matchLabelExpressions": [allowed]}]
    return body


def objects(nodes: int, pods: int) -> Iterator[Any]:
    """The cluster and then, mixed with their claims, the pending pods; defaulted."""
    for number in range(nodes):
        yield made(_node(number))
        if number % 2:
            name = f"node-{number:05d}"
            driver = {"name": DRIVER, "nodeID": name, "topologyKeys": [ZONE_KEY], "allocatable": {"count": 39}}
            yield made({"kind": "CSINode", "metadata": {"name": name}, "spec": {"drivers": [driver]}})
    yield made({"kind": "Namespace", "metadata": {"name": "default"}})
    for number in range(_SERVED, TEMPLATES, 10):
        yield made(
            {"kind": "Service", "metadata": {"name": f"s{number}", "namespace": "default"}, "spec": {"selector": {"app": f"a{number}"}}}
        )
    for name in ("static", "local"):
        yield made(_class(name, "kubernetes.io/no-provisioner"))
    yield made(_class("sc", DRIVER))
    yield made(_class("dynamic", DRIVER, {"key": ZONE_KEY, "values": list(ZONES[:6])}))
    yield made(_class("pool", "pool.csi.example.com"))
    yield made({"kind": "CSIDriver", "metadata": {"name": "pool.csi.example.com"}, "spec": {"storageCapacity": True}})
    for number in range(nodes):
        yield made(
            {
                "kind": "CSIStorageCapacity",
                "metadata": {"name": f"c{number}", "namespace": "default"},
                "storageClassName": "pool",
                "capacity": f"{50 + number % 50}Gi",
                "nodeTopology": {"matchLabels": {HOST_KEY: f"node-{number:05d}"}},
            }
        )
    for number in range(pods):
        kinds = CLAIMS[template_of(number) // 5]
        for at, kind in enumerate(kinds):
            if kind == "static":
                yield made(_volume(f"pv-static-{number}-{at}", "static", number, ZONE_KEY, ZONES[(number + at) % 10], None))
            elif kind == "local":
                yield made(_volume(f"pv-local-{number}", "local", number, HOST_KEY, f"node-{number * 13 % nodes:05d}", None))
        for body in _claims(number):
            yield made(body)
        yield made(_pod(number))
