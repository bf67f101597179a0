"""What a change of the cluster costs the engine: objects that change, come and go, and assumptions. Workload `mixed`, half of it placed.

    change-KIND      an object is replaced by one that differs where decisions look
    in-out-KIND      an object comes and goes
    decide-…         the same, and then the decision of a pod that has been decided before: what an update leaves to be done later
    assume-forget    a decided pod is counted on its node and taken off again

Baselines: the plain Python twin at a small size, and a rebuild of the whole engine, which is what updates save.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final, NamedTuple

import pytest

from bench.loading import loaded, note, place, workload
from bench.objects import DRIVER, HOST_KEY, ZONE_KEY, made
from bench.sizes import Size, Sizes
from volsched.api.edit import with_spec
from volsched.api.kinds import key_of

SIZES: Final = Sizes(tiny=Size(50, 20), small=Size(1_000, 400), full=(Size(1_000, 400), Size(5_000, 2_000)), twin=Size(100, 60))
REBUILDS: Final = 3

Build = Callable[[int], Any]


def _node(turn: int) -> Any:
    labels = {HOST_KEY: "node-00000", ZONE_KEY: "zone-0", "disk": ("ssd", "hdd")[turn]}
    return made({"kind": "Node", "metadata": {"name": "node-00000", "labels": labels}, "status": {"allocatable": _ROOM}})


def _new_node(turn: int) -> Any:
    labels = {HOST_KEY: "node-new", ZONE_KEY: "zone-0"}
    return made({"kind": "Node", "metadata": {"name": "node-new", "labels": labels}, "status": {"allocatable": _ROOM}})


_ROOM: Final = {"cpu": "32", "memory": "128Gi", "pods": "110"}


def _volume(turn: int) -> Any:
    term = {"matchExpressions": [{"key": ZONE_KEY, "operator": "In", "values": ["zone-0"]}]}
    return made(
        {
            "kind": "PersistentVolume",
            "metadata": {"name": "pv-new", "uid": "pv-new"},
            "spec": {
                "capacity": {"storage": f"{10 + turn}Gi"},
                "accessModes": ["ReadWriteOnce"],
                "storageClassName": "static",
                "csi": {"driver": DRIVER, "volumeHandle": "h"},
                "nodeAffinity": {"required": {"nodeSelectorTerms": [term]}},
            },
            "status": {"phase": "Available"},
        }
    )


def _claim(turn: int) -> Any:
    return made(
        {
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": "new", "namespace": "default", "uid": "u-new"},
            "spec": {
                "accessModes": ["ReadWriteOnce"],
                "storageClassName": "static",
                "resources": {"requests": {"storage": f"{5 + turn}Gi"}},
            },
            "status": {"phase": "Pending"},
        }
    )


def _capacity(turn: int) -> Any:
    return made(
        {
            "kind": "CSIStorageCapacity",
            "metadata": {"name": "c0", "namespace": "default"},
            "storageClassName": "pool",
            "capacity": f"{50 + turn}Gi",
            "nodeTopology": {"matchLabels": {HOST_KEY: "node-00000"}},
        }
    )


def _new_capacity(turn: int) -> Any:
    body = {"matchLabels": {HOST_KEY: "node-00001"}}
    metadata = {"name": "new", "namespace": "default"}
    return made({"kind": "CSIStorageCapacity", "metadata": metadata, "storageClassName": "pool", "capacity": "90Gi", "nodeTopology": body})


def _pod(turn: int) -> Any:
    """A pod of the workload without claims, on a node."""
    pod = next(pod for pod in workload("mixed", Size(20, 50)).pending if not pod.spec.volumes)
    return with_spec(pod, nodeName="node-00000")


CHANGES: Final[dict[str, Build]] = {"node": _node, "volume": _volume, "claim": _claim, "capacity": _capacity}
COMERS: Final[dict[str, Build]] = {"node": _new_node, "volume": _volume, "claim": _claim, "capacity": _new_capacity, "pod": _pod}
UPDATES: Final = (*(f"change-{name}" for name in CHANGES), *(f"in-out-{name}" for name in COMERS))


class Half(NamedTuple):
    """An engine with half of the pods placed, and the next pod."""

    engine: Any
    pod: Any


@lru_cache(maxsize=1)
def _half_full(engine_name: str, size: Size) -> Half:
    cluster, pending = workload("mixed", size)
    engine = loaded(engine_name, cluster)
    for pod in pending[: size.pods // 2]:
        place(engine, pod)
    return Half(engine, next(pod for pod in pending[size.pods // 2 :] if engine.decide(pod).node is not None))


def _update(engine: Any, what: str) -> Callable[[], None]:
    """The update as something to be done over and over."""
    if what.startswith("change-"):
        build = CHANGES[what.removeprefix("change-")]
        turns = itertools.cycle((build(0), build(1)))
        return lambda: engine.upsert(next(turns))
    obj = COMERS[what.removeprefix("in-out-")](0)
    key = key_of(obj)

    def in_out() -> None:
        engine.upsert(obj)
        engine.remove(key.kind, key.namespace, key.name)

    return in_out


def _measure(benchmark: Any, engine_name: str, what: str, size: Size, *, decide: bool) -> None:
    engine, pod = _half_full(engine_name, size)
    if engine_name == "native":
        engine = engine.fork()
    update = _update(engine, what)
    group = f"decide-{what}" if decide else what
    note(benchmark, group=f"{group}, updates", unit="update", nodes=size.nodes, engine=engine_name)

    def round_of() -> Any:
        update()
        return engine.decide(pod) if decide else None

    decision = benchmark(round_of)
    assert (decision or engine.decide(pod)).node is not None


@pytest.mark.parametrize("decide", [False, True], ids=["alone", "decide"])
@pytest.mark.parametrize("what", UPDATES)
def test_native(benchmark: Any, what: str, decide: bool, size: Size) -> None:
    _measure(benchmark, "native", what, size, decide=decide)


@pytest.mark.parametrize("decide", [False, True], ids=["alone", "decide"])
@pytest.mark.parametrize("what", UPDATES)
def test_reference(benchmark: Any, what: str, decide: bool, twin_size: Size) -> None:
    _measure(benchmark, "reference", what, twin_size, decide=decide)


def _assume_forget(benchmark: Any, engine_name: str, size: Size) -> None:
    engine, pod = _half_full(engine_name, size)
    if engine_name == "native":
        engine = engine.fork()
    before = engine.digest() if engine_name == "native" else None
    note(benchmark, group="assume-forget, updates", unit="update", nodes=size.nodes, engine=engine_name)
    # a decision is good for one assumption, so it is made anew before each round, untimed
    benchmark.pedantic(
        lambda decision: engine.forget(engine.assume(decision)), setup=lambda: ((engine.decide(pod),), {}), rounds=200, iterations=1
    )
    assert before is None or engine.digest() == before


def test_assume_forget(benchmark: Any, size: Size) -> None:
    _assume_forget(benchmark, "native", size)


def test_assume_forget_reference(benchmark: Any, twin_size: Size) -> None:
    _assume_forget(benchmark, "reference", twin_size)


def test_rebuild(benchmark: Any, size: Size) -> None:
    cluster, _ = workload("mixed", size)
    note(benchmark, group="rebuild, updates", unit="object", units=len(cluster), nodes=size.nodes, engine="native")
    engine = benchmark.pedantic(loaded, args=("native", cluster), rounds=REBUILDS, iterations=1)
    assert engine.node_count == size.nodes


def test_fork(benchmark: Any, size: Size) -> None:
    engine, _ = _half_full("native", size)
    note(benchmark, group="rebuild, updates", unit="copy", nodes=size.nodes, engine="native")
    assert benchmark(engine.fork).digest() == engine.digest()
