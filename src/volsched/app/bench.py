"""Decide and assume every pending pod of a file, one at a time or in a batch, and say how long it took. No controllers, no store.

The file holds a cluster and pending pods: JSON lines, one object a line, or manifests. Objects are taken with their status. Loading is
not timed; what is timed is what a custom scheduler would call: decide, then assume, or schedule_many.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from volsched.api.defaults import with_defaults
from volsched.api.kinds import Json, key_of
from volsched.api.manifest import from_manifest, load_text
from volsched.engine import Engine
from volsched.engine.decision import SchedulingEngine
from volsched.errors import InputError
from volsched.ports import Clock

_BATCH_STEP: Final = 10_000  # pods between two looks at the clock


@dataclass
class Workload:
    """A loaded cluster: how many nodes it has, the pods to be placed, in file order, and how many of them have been."""

    nodes: int
    pending: list[Any]
    attempted: int = 0

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


def _is_json_lines(text: str) -> bool:
    first = text.lstrip().partition("\n")[0]
    if not first.startswith("{"):
        return False
    try:
        return "kind" in json.loads(first)
    except (ValueError, RecursionError):
        return False


def read_objects(path: Path, *, warn: Callable[[str], None]) -> Iterator[Any]:
    """Objects of a workload file, defaulted, in file order. Raises InputError with the line."""
    try:
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        text = raw.decode("utf-8")
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror or error}", source=str(path)) from error
    except (EOFError, zlib.error) as error:
        raise InputError(f"cannot be read: {error}", source=str(path)) from error
    except UnicodeDecodeError as error:
        raise InputError(f"is not UTF-8: {error.reason} at byte {error.start}", source=str(path)) from error
    if not _is_json_lines(text):
        for item in load_text(text, source=str(path), warn=warn):
            yield with_defaults(item.object)
        return
    for number, line in enumerate(io.StringIO(text), start=1):
        if not line.strip():
            continue
        try:
            value: Json = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(f"is not JSON: {error}", source=str(path), line=number) from error
        try:
            yield with_defaults(from_manifest(value, source=str(path), warn=warn))
        except InputError as error:
            raise InputError(error.message, source=str(path), line=number, path=error.path) from error


def load(path: Path, engine: SchedulingEngine, *, warn: Callable[[str], None]) -> Workload:
    """Fill an engine from a workload file. Raises InputError for a file without nodes or without pods to place."""
    nodes, pending = 0, []
    for obj in read_objects(path, warn=warn):
        kind = key_of(obj).kind
        if kind == "Pod" and not (obj.spec and obj.spec.nodeName):
            pending.append(obj)
            continue
        nodes += kind == "Node"
        engine.upsert(obj)
    for what, count in (("Node", nodes), ("pending Pod, one without spec.nodeName", len(pending))):
        if not count:
            raise InputError(f"there is no {what}, so there is nothing to measure", source=str(path))
    return Workload(nodes, pending)


def bench(engine: SchedulingEngine, workload: Workload, clock: Clock, *, limit_s: float | None = None) -> BenchResult:
    """Place the pending pods one after the other. A pod that fits nowhere is counted and left; `limit_s` stops early."""
    placements = hashlib.sha256()
    took: list[int] = []
    scheduled = 0
    begun = clock.now_ns()
    for pod in workload.pending:
        start = clock.now_ns()
        decision = engine.decide(pod)
        node = decision.node
        if node is not None:
            engine.assume(decision)
            scheduled += 1
        end = clock.now_ns()
        took.append(end - start)
        workload.attempted = len(took)
        placements.update(_placement(pod, node))
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
    batch = engine.batch(workload.pending)
    begun = clock.now_ns()
    result = engine.schedule_many(batch, count=0)
    while workload.attempted < len(batch):
        workload.attempted = result.advance(_BATCH_STEP)
        if limit_s is not None and clock.now_ns() - begun > limit_s * 1e9:
            break
    seconds = (clock.now_ns() - begun) / 1e9
    placements = hashlib.sha256()
    for at, place in enumerate(result.nodes.tolist()):
        placements.update(_placement(workload.pending[at], result.node_names[place] if place >= 0 else None))
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


def _placement(pod: Any, node: str | None) -> bytes:
    """A line of what the hash is over."""
    return f"{pod.metadata.namespace or 'default'}/{pod.metadata.name} {node or ''}\n".encode()


def _rate(pods: int, seconds: float) -> float:
    return round(pods / seconds, 1) if seconds > 0 else 0.0


def _percentile_us(sorted_ns: list[int], percent: int) -> float | None:
    """The smallest time that `percent` per cent of the pods did not exceed."""
    if not sorted_ns:
        return None
    rank = -(-len(sorted_ns) * percent // 100)
    return round(sorted_ns[max(rank, 1) - 1] / 1e3, 1)
