"""One pod that fits nowhere on n nodes with ten pods each: the cycle that refuses it, then preemption's dry runs and choice.

    equals      nobody has a lower priority: every node is asked, none has a victim
    vain        nine of ten pods could go, but a port is held by the tenth: every node is emptied in vain
    resources   half of a node has to go; candidates are collected until there are enough
    budgets     the same, with ten disruption budgets of which half allow nothing
    spread      the same, with a hard spread over zones
    affinity    the same, with anti-affinity to a tenth of the pods and pods that refuse others in return
    promised    the same, with a promised pod on every tenth node

The plain Python twin at a small size stands beside it as the baseline.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import pytest

from bench.loading import note
from bench.sizes import Sizes
from bench.workloads import HOST_KEY, ZONE_KEY, ZONES
from tests.parity.preempting import Stand
from volsched.api.defaults import with_defaults
from volsched.api.kinds import from_json
from volsched.app.engines import make_engine

KINDS: Final = ("equals", "vain", "resources", "budgets", "spread", "affinity", "promised")
SIZES: Final = Sizes(tiny=20, small=1_000, full=(100, 1_000, 5_000), twin=100)  # nodes
PODS_PER_NODE: Final = 10
PRIORITY: Final = 100


def _node(number: int) -> dict[str, Any]:
    name = f"node-{number:05d}"
    return {
        "kind": "Node",
        "metadata": {"name": name, "labels": {HOST_KEY: name, ZONE_KEY: ZONES[number % 10]}},
        "status": {"allocatable": {"cpu": "10", "memory": "128Gi", "pods": "110"}},
    }


def _pod(name: str, *, cpu: str, priority: int, node: str | None, labels: dict[str, str], spec: dict[str, Any]) -> dict[str, Any]:
    container = {"name": "c", "image": "x", "resources": {"requests": {"cpu": cpu, "memory": "512Mi"}}}
    port = spec.pop("port", None)
    if port is not None:
        container["ports"] = [{"containerPort": port, "hostPort": port}]
    return {
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "uid": f"u-{name}", "labels": labels},
        "spec": {"containers": [container], "priority": priority, "nodeName": node, **spec},
        "status": {"startTime": "2026-01-01T00:00:00Z"},
    }


def _term(key: str, app: str) -> dict[str, Any]:
    return {"topologyKey": key, "labelSelector": {"matchLabels": {"app": app}}}


def _anti(key: str, app: str) -> dict[str, Any]:
    return {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [_term(key, app)]}}


def _placed(kind: str, node: int, place: int) -> dict[str, Any]:
    spec: dict[str, Any] = {}
    priority = PRIORITY if kind == "equals" else place % 5
    if kind == "vain" and place == 0:
        spec["port"], priority = 8080, PRIORITY
    if kind == "affinity" and place == 0:
        spec["affinity"] = _anti(HOST_KEY, "web")
    number = node * PODS_PER_NODE + place
    name = f"p{number}"
    return _pod(name, cpu="1", priority=priority, node=f"node-{node:05d}", labels={"app": f"a{place}", "set": f"s{number % 20}"}, spec=spec)


def _preemptor(kind: str) -> dict[str, Any]:
    spec: dict[str, Any] = {}
    if kind == "vain":
        spec["port"] = 8080
    if kind == "spread":
        spec["topologySpreadConstraints"] = [{"maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule", **_term(ZONE_KEY, "a1")}]
    if kind == "affinity":
        spec["affinity"] = _anti(HOST_KEY, "a0")
    return _pod("web", cpu="5", priority=PRIORITY, node=None, labels={"app": "web"}, spec=spec)


def _budget(number: int) -> dict[str, Any]:
    return {
        "kind": "PodDisruptionBudget",
        "metadata": {"name": f"b{number}", "namespace": "default"},
        "spec": {"selector": {"matchLabels": {"set": f"s{number}"}}},
        "status": {"currentHealthy": 1, "desiredHealthy": 1, "expectedPods": 1, "disruptionsAllowed": (number % 2) * 1000},
    }


def _objects(kind: str, nodes: int) -> Iterator[dict[str, Any]]:
    yield {"kind": "Namespace", "metadata": {"name": "default"}}
    for node in range(nodes):
        yield _node(node)
        for place in range(PODS_PER_NODE):
            yield _placed(kind, node, place)
        if kind == "promised" and node % 10 == 0:
            promised = _pod(f"w{node}", cpu="1", priority=PRIORITY, node=None, labels={"app": "w"}, spec={})
            promised["status"]["nominatedNodeName"] = f"node-{node:05d}"
            yield promised
    if kind == "budgets":
        yield from map(_budget, range(10))


def _made(body: dict[str, Any]) -> Any:
    return with_defaults(from_json(body["kind"], body))


@pytest.mark.parametrize("kind", KINDS)
def test_native(benchmark: Any, kind: str, size: int) -> None:
    _measure(benchmark, "native", kind, size)


@pytest.mark.parametrize("kind", KINDS)
def test_reference(benchmark: Any, kind: str, twin_size: int) -> None:
    _measure(benchmark, "reference", kind, twin_size)


def _measure(benchmark: Any, engine_name: str, kind: str, nodes: int) -> None:
    stand = Stand(make_engine(engine_name), map(_made, _objects(kind, nodes)))
    pod = stand.pending(_made(_preemptor(kind)))
    note(benchmark, group=f"{kind}, preemption", unit="pod", nodes=nodes, pods=nodes * PODS_PER_NODE, engine=engine_name)
    result = benchmark.pedantic(stand.preempt, args=(pod,), rounds=5, iterations=1, warmup_rounds=1)
    found = result.nominating is not None and result.nominating.node != ""
    assert found is (kind not in ("equals", "vain"))
