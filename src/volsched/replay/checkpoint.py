"""A replay interrupted between two instants, kept so that it can go on and come to the same hash.

What is kept is the simulation's own state, in columns. The engine is built anew from it: nodes in the order in which it visited them, pods
on each node in the order in which they came, claims, volumes and capacity as they were. Refusals it remembered are asked for again, which
changes no answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from volsched.errors import EngineError, InputError
from volsched.replay.log import NONE, facts_digest, load_arrays, save_arrays
from volsched.replay.simulation import PodPhase, Simulation
from volsched.replay.storage import Phase
from volsched.scheduler.queue import QueuedPod

VERSION: Final = 1
_COLUMNS: Final = (
    "epoch",
    "node",
    "placed_ns",
    "since_ns",
    "left_ns",
    "attempts",
    "reason",
    "made_ns",
    "tried_at",
)
_FLAGS: Final = ("is_there", "is_cordoned")
_NUMBERS: Final = ("change", "sequence", "arrived", "gone")


def save_checkpoint(simulation: Simulation, path: Path) -> None:
    """Keep a simulation as it is between two instants. Raises EngineError for one that is finished: it cannot go on."""
    if simulation.is_finished:
        raise EngineError("the replay is finished, there is nothing to go on with")
    simulation.wake()
    storage, queue = simulation.storage, simulation.queue
    entries = [*queue.pending(), *simulation.binding.values()]
    arrays: dict[str, NDArray[Any]] = {
        "version": np.array(VERSION),
        "input": np.array(facts_digest(simulation.facts)),
        "rows": simulation.recorder.rows(),
        "reasons": _texts(simulation.recorder.reasons),
        "messages": _texts(simulation.messages),
        **{name: np.array(getattr(simulation, name), np.int64) for name in (*_COLUMNS, *_NUMBERS)},
        **{name: np.array(getattr(simulation, name), np.int8) for name in _FLAGS},
        "phase": np.array(simulation.phase, np.int8),
        "waiting": np.array(sorted(simulation.waiting), np.int64),
        "on_node": np.array([(node, pod) for node, pods in enumerate(simulation.on_node) for pod in pods], np.int64).reshape(-1, 2),
        "timers": np.array(simulation.timers, np.int64).reshape(-1, 5),
        "now_ns": np.array(simulation.clock.now_ns()),
        "object_version": np.array(simulation.objects.version),
        "node_order": np.array([simulation.node_index[name] for name in simulation.engine.node_names()], np.int64),
        "claim_phase": np.array(storage.phase, np.int8),
        "backing": np.array(storage.backing, np.int64),
        "selected": np.array(storage.selected, np.int64),
        "free": np.array(storage.free, np.int64),
        "disk_is_free": np.array(storage.disk_is_free, np.int8),
        "queued": np.array([_row(simulation, entry) for entry in entries], np.int64).reshape(-1, 8),
        "rejectors": _texts(",".join(sorted(entry.rejectors)) for entry in entries),
        "bound": np.array(list(simulation.binding), np.int64),
        "flush_grid_ns": np.array(queue.flush_grid_ns),
    }
    save_arrays(path, arrays)


def _texts(values: Iterable[str]) -> NDArray[Any]:
    found = list(values)
    return np.array(found, dtype=str) if found else np.zeros(0, "<U1")


def _row(simulation: Simulation, entry: QueuedPod) -> Sequence[int]:
    return (
        simulation.pod_of(entry),
        entry.timestamp_ns,
        entry.attempts,
        NONE if entry.first_attempt_ns is None else entry.first_attempt_ns,
        entry.unschedulable_count,
        entry.consecutive_errors,
        NONE if entry.backoff_until_ns is None else entry.backoff_until_ns,
        NONE if entry.flushed_ns is None else entry.flushed_ns,
    )


def _entry(simulation: Simulation, row: Sequence[int], rejectors: str) -> QueuedPod:
    pod, timestamp, attempts, first, unschedulable, errors, until, flushed = row
    return QueuedPod(
        simulation.objects.pod(pod),
        timestamp,
        attempts=attempts,
        first_attempt_ns=None if first == NONE else first,
        unschedulable_count=unschedulable,
        consecutive_errors=errors,
        rejectors=frozenset(filter(None, rejectors.split(","))),
        backoff_until_ns=None if until == NONE else until,
        flushed_ns=None if flushed == NONE else flushed,
    )


def load_checkpoint(simulation: Simulation, path: Path) -> None:
    """Bring a simulation that has not begun to where a checkpoint is. Raises InputError when that is of another replay."""
    kept = load_arrays(path)
    if "version" not in kept or int(kept["version"]) != VERSION:
        raise InputError(f"is not a checkpoint of version {VERSION}", source=str(path))
    if str(kept["input"]) != facts_digest(simulation.facts):
        raise InputError(
            "is of another replay: trace, nodes, options, events, seed and tie-break have to be those it was begun with", source=str(path)
        )
    for name in _COLUMNS:
        setattr(simulation, name, kept[name].tolist())
    for name in _FLAGS:
        setattr(simulation, name, [bool(flag) for flag in kept[name].tolist()])
    for name in _NUMBERS:
        setattr(simulation, name, int(kept[name]))
    simulation.phase = [PodPhase(phase) for phase in kept["phase"].tolist()]
    simulation.messages = kept["messages"].tolist()
    simulation.recorder.restore(kept["rows"], kept["reasons"].tolist())
    simulation.waiting = set(kept["waiting"].tolist())
    for node, pod in kept["on_node"].tolist():
        simulation.on_node[node][pod] = None
    simulation.timers = [tuple(timer) for timer in kept["timers"].tolist()]
    simulation.clock.wait_until(int(kept["now_ns"]))
    storage = simulation.storage
    storage.phase = [Phase(phase) for phase in kept["claim_phase"].tolist()]
    storage.backing, storage.selected = kept["backing"].tolist(), kept["selected"].tolist()
    storage.free = kept["free"].tolist()
    storage.disk_is_free = [bool(flag) for flag in kept["disk_is_free"].tolist()]
    entries = [
        _entry(simulation, row, rejectors) for row, rejectors in zip(kept["queued"].tolist(), kept["rejectors"].tolist(), strict=True)
    ]
    bound = kept["bound"].tolist()
    waiting = len(entries) - len(bound)
    simulation.queue.restore(entries[:waiting], flush_grid_ns=int(kept["flush_grid_ns"]))
    simulation.binding = dict(zip(bound, entries[waiting:], strict=True))
    simulation.resume(kept["node_order"].tolist())
    simulation.objects.version = int(kept["object_version"])
