"""Decide and assume every pending pod of a file, one at a time or in a batch, and say how long it took. No controllers, no store.

The file holds a cluster and pending pods: JSON lines, one object a line, manifests, or columns (docs/columnar.md). Objects are taken with
their status. Loading is not timed; what is timed is what a custom scheduler would call: decide, then assume, or schedule_many.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from volsched.api.columns import Columns, is_columns, read_columns
from volsched.api.kinds import key_of
from volsched.app.columns import PendingPods
from volsched.app.workload_file import read_objects
from volsched.cache import SchedulerCache
from volsched.engine import Engine
from volsched.engine.batch import PodBatch
from volsched.engine.columns import objects
from volsched.engine.decision import SchedulingEngine
from volsched.errors import InputError
from volsched.ports import Clock

_BATCH_STEP: Final = 10_000  # pods between two looks at the clock


@dataclass
class Workload:
    """A loaded cluster: how many nodes it has, the pods to be placed, in file order, and how many of them have been.

    `batch`: the same pods, where the file was loaded as columns.
    """

    nodes: int
    pending: Sequence[Any]
    attempted: int = 0
    batch: PodBatch | None = None

    def progress(self) -> str:
        """One line for a progress display."""
        return f"{self.attempted:,} of {len(self.pending):,} pods on {self.nodes:,} nodes"


class BenchResult(NamedTuple):
    """The JSON line `volsched bench` prints; times in seconds and microseconds."""

    nodes: int
    attempted: int
    scheduled: int
    failed: int
    seconds: float
    pods_per_s: float
    p50_us: float | None
    p99_us: float | None
    placements_sha256: str


def load(path: Path, engine: SchedulingEngine, *, warn: Callable[[str], None], capacity_clock: Clock | None = None) -> Workload:
    """Fill an engine from a workload file. capacity_clock: with exact capacity, to tell which volumes the figures contain.

    A columnar file goes into the native engine as columns; the reference engine and exact capacity take its objects one by one.
    Raises InputError for a file without nodes or without pods to place.
    """
    columns = _columns_of(path)
    if columns is not None and isinstance(engine, Engine) and capacity_clock is None:
        batch = engine.load(columns, source=str(path))
        return _checked(Workload(engine.node_count, PendingPods(columns, str(path)), batch=batch), path)
    nodes, pending = 0, []
    take = engine.upsert if capacity_clock is None else SchedulerCache(engine, clock=capacity_clock).add
    for obj in read_objects(path, warn=warn) if columns is None else objects(columns, source=str(path)):
        kind = key_of(obj).kind
        if kind == "Pod" and not (obj.spec and obj.spec.nodeName):
            pending.append(obj)
            continue
        nodes += kind == "Node"
        take(obj)
    return _checked(Workload(nodes, pending), path)


def _columns_of(path: Path) -> Columns | None:
    """The columns of a columnar file, which is known by its first bytes."""
    try:
        return read_columns(path) if is_columns(path) else None
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror or error}", source=str(path)) from error


def _checked(workload: Workload, path: Path) -> Workload:
    for what, count in (("Node", workload.nodes), ("pending Pod, one without spec.nodeName", len(workload.pending))):
        if not count:
            raise InputError(f"there is no {what}, so there is nothing to measure", source=str(path))
    return workload


def bench(engine: SchedulingEngine, workload: Workload, clock: Clock, *, limit_s: float | None = None) -> BenchResult:
    """Place the pending pods one after the other. A pod that fits nowhere is counted and left; `limit_s` stops early."""
    placements = hashlib.sha256()
    took: list[int] = []
    scheduled = 0
    pods = list(workload.pending)  # built now, where they are columns
    begun = clock.now_ns()
    for pod in pods:
        start = clock.now_ns()
        decision = engine.decide(pod)
        node = decision.node
        if node is not None:
            engine.assume(decision)
            scheduled += 1
        end = clock.now_ns()
        took.append(end - start)
        workload.attempted = len(took)
        placements.update(_placement(pod.metadata.namespace, pod.metadata.name, node))
        if limit_s is not None and end - begun > limit_s * 1e9:
            break
    seconds = (clock.now_ns() - begun) / 1e9
    took.sort()
    return BenchResult(
        nodes=workload.nodes,
        attempted=len(took),
        scheduled=scheduled,
        failed=len(took) - scheduled,
        seconds=round(seconds, 6),
        pods_per_s=_rate(len(took), seconds),
        p50_us=_percentile_us(took, 50),
        p99_us=_percentile_us(took, 99),
        placements_sha256=placements.hexdigest(),
    )


def bench_batch(engine: Engine, workload: Workload, clock: Clock, *, limit_s: float | None = None) -> BenchResult:
    """The same pods in one batch; where each goes is the same. Compiling the batch belongs to loading and is not timed."""
    batch = workload.batch or engine.batch(workload.pending)
    begun = clock.now_ns()
    result = engine.schedule_many(batch, count=0)
    while workload.attempted < len(batch):
        workload.attempted = result.advance(_BATCH_STEP)
        if limit_s is not None and clock.now_ns() - begun > limit_s * 1e9:
            break
    seconds = (clock.now_ns() - begun) / 1e9
    placements = hashlib.sha256()
    for at, place in enumerate(result.nodes.tolist()):
        placements.update(_placement(*batch.key(at), result.node_names[place] if place >= 0 else None))
    return BenchResult(
        nodes=workload.nodes,
        attempted=result.attempted,
        scheduled=result.scheduled,
        failed=result.attempted - result.scheduled,
        seconds=round(seconds, 6),
        pods_per_s=_rate(result.attempted, seconds),
        p50_us=None,
        p99_us=None,
        placements_sha256=placements.hexdigest(),
    )


def _placement(namespace: str | None, name: str, node: str | None) -> bytes:
    """A line of what the hash is over."""
    return f"{namespace or 'default'}/{name} {node or ''}\n".encode()


def _rate(pods: int, seconds: float) -> float:
    return round(pods / seconds, 1) if seconds > 0 else 0.0


def _percentile_us(sorted_ns: list[int], percent: int) -> float | None:
    """The smallest time that `percent` per cent of the pods did not exceed."""
    if not sorted_ns:
        return None
    rank = -(-len(sorted_ns) * percent // 100)
    return round(sorted_ns[max(rank, 1) - 1] / 1e3, 1)
