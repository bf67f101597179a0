"""What the suites share: a workload split into cluster and pending pods, engines that hold one, and what is noted beside a figure."""

from __future__ import annotations

import gc
from collections.abc import Iterable
from functools import cache
from typing import Any, NamedTuple

import msgspec

from bench.sizes import Size
from bench.workloads import objects
from volsched.app.engines import make_engine
from volsched.engine import _rows


class Workload(NamedTuple):
    """The objects of a cluster, and its pending pods."""

    cluster: tuple[Any, ...]
    pending: tuple[Any, ...]


@cache  # making one takes longer than most that is done with it; all of `full` together are about half a gigabyte
def workload(kind: str, size: Size) -> Workload:
    """A workload of `bench.workloads`; objects are never altered, so every benchmark may have the same ones.

    The garbage collector is told to leave them alone: its walks over them would be counted to whoever is timed.
    """
    cluster: list[Any] = []
    pending: list[Any] = []
    for obj in objects(kind, size.nodes, size.pods):
        (pending if obj.kind == "Pod" else cluster).append(obj)
    made = Workload(tuple(cluster), tuple(pending))
    gc.freeze()
    return made


def loaded(engine_name: str, cluster: Iterable[Any]) -> Any:
    """A new engine that holds these objects."""
    engine = make_engine(engine_name)
    for obj in cluster:
        engine.upsert(obj)
    return engine


def place(engine: Any, pod: Any, **options: Any) -> str | None:
    """Decide, then assume where the pod fits; its node. Some pods of `mixed` fit nowhere: their one local volume is on a tainted node."""
    decision = engine.decide(pod, **options)
    node: str | None = decision.node
    if node is not None:
        engine.assume(decision)
    return node


def own_template(pod: Any, number: int) -> Any:
    """The pod with a few bytes more memory than any other: nothing decided before is of use, every node is filtered and scored anew.

    The quantity has been parsed before, as those of real pods have, which use few.
    """
    (container,) = pod.spec.containers
    requests = {**container.resources.requests, "memory": str((512 << 20) + number)}
    resources = msgspec.structs.replace(container.resources, requests=requests)
    containers = [msgspec.structs.replace(container, resources=resources)]
    made = msgspec.structs.replace(pod, spec=msgspec.structs.replace(pod.spec, containers=containers))
    _rows.program_row(made)
    return made


def note(benchmark: Any, *, group: str, unit: str, units: int = 1, **facts: Any) -> None:
    """Say what a round did: `units` times a `unit`, so that figures of different sizes can be compared; `facts` are kept beside it.

    A fact whose name begins with `bytes` is a size that `bench.compare` reports when it grows.
    """
    benchmark.group = group
    benchmark.extra_info |= {"unit": unit, "units": units, **facts}


def native_bytes(engine: Any) -> int:
    """Approximate memory of a native engine, in bytes."""
    return sum(engine.bytes_used().values())
