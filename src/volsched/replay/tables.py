"""Tables of a replay, computed from its event log alone, and how they are written: Parquet or CSV.

    pods         one row a pod: when it arrived, was placed, ran and ended, on which node it was last, and why it waited
    nodes        one row a node: how much of it was requested over time
    population   by time: pods that wait, and pods on nodes
    utilisation  by time and resource: requested, and what the nodes that are there offer
    reasons      by time and reason: pods that wait because of it
    storage      by time and pool (or class of local disks): what is given away

Tables over time have one row for each of `steps` equal parts of the replay, as things are at the end of the part.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from volsched.errors import InputError
from volsched.replay.log import NONE, EventLog, Kind, write_whole
from volsched.replay.reading import Reading, seconds
from volsched.replay.table import PARQUET_MISSING
from volsched.replay.trace import NS, Ints

Columns: TypeAlias = dict[str, NDArray[Any]]
Format = Literal["parquet", "csv"]
STEPS: Final = 500
_STATES: Final = {
    Kind.ARRIVED: "waiting",
    Kind.PLACED: "placed",
    Kind.BOUND: "bound",
    Kind.RUNNING: "running",
    Kind.UNPLACED: "waiting",
    Kind.ENDED: "ended",
    Kind.REMOVED: "removed",
    Kind.EVICTED: "waiting",
}


def tables_of(log: EventLog, *, steps: int = STEPS) -> dict[str, Columns]:
    """Every table: name -> column -> array. Times are float64 seconds, nan where there is none; amounts are int64."""
    read = Reading(log)
    times = np.unique(np.linspace(0, read.end_ns, steps + 1).astype(np.int64)[1:])
    return {
        "pods": _pods(read),
        "nodes": _nodes(read),
        "population": _population(read, times),
        "utilisation": _utilisation(read, times),
        "reasons": _reasons(read, times),
        "storage": _storage(read, times),
    }


def _texts(values: NDArray[Any], at: Ints) -> NDArray[Any]:
    """values[at], empty for -1."""
    padded = np.append(values.astype(str) if len(values) else np.zeros(0, "<U1"), [""])
    return padded[np.where(at < 0, len(padded) - 1, at)]


def _pods(read: Reading) -> Columns:
    facts = read.facts
    arrived, placed, bound, running = (read.first_ns(kind) for kind in (Kind.ARRIVED, Kind.PLACED, Kind.BOUND, Kind.RUNNING))
    over_ns, over, _ = read.last(Kind.ENDED, Kind.REMOVED)
    _, _, node = read.last(Kind.PLACED)
    _, last, _ = read.last(*_STATES)
    rows = read.rows(Kind.REFUSED, Kind.UNPLACED)
    reason = np.full(read.pods, NONE, np.int64)
    reason[rows[:, 2]] = rows[:, 4]
    return {
        "name": facts["pod_name"],
        "group": facts["pod_group"],
        "state": np.array([_STATES[Kind(kind)] if kind != NONE else "" for kind in last.tolist()], dtype=str),
        "arrived_s": seconds(arrived),
        "placed_s": seconds(placed),
        "bound_s": seconds(bound),
        "running_s": seconds(running),
        "over_s": seconds(np.where(over == NONE, NONE, over_ns)),
        "wait_s": np.where((bound < 0) | (arrived < 0), np.nan, (bound - arrived) / NS),
        "node": _texts(facts["node_name"], node),
        "attempts": read.log.attempts.astype(np.int64),
        "evictions": read.counted(Kind.EVICTED).astype(np.int64),
        "bindings_failed": read.counted(Kind.UNPLACED).astype(np.int64),
        "last_reason": _texts(np.array(read.log.reasons, dtype=str), reason),
        "last_message": np.array(read.log.messages, dtype=str),
    }


def _nodes(read: Reading) -> Columns:
    """Means are over the whole replay, also over the time when the node was not there."""
    facts = read.facts
    rows, signs = read.moves
    count = len(facts["node_name"])
    left = (read.end_ns - rows[:, 0]).astype(np.float64) * signs / max(read.end_ns, 1)
    columns: Columns = {
        "name": facts["node_name"],
        "zone": facts["node_zone"],
        "pods_placed": np.bincount(rows[signs > 0, 3], minlength=count).astype(np.int64),
        "pods_mean": np.bincount(rows[:, 3], weights=left, minlength=count),
    }
    for at, name in enumerate(facts["resources"].tolist()):
        requested = facts["pod_requests"][rows[:, 2], at] * left
        columns[f"{name}_requested_mean"] = np.bincount(rows[:, 3], weights=requested, minlength=count)
        columns[f"{name}_allocatable"] = facts["node_allocatable"][:, at]
    return columns


def _long(times: Ints, names: NDArray[Any], label: str, values: Mapping[str, NDArray[np.int64]]) -> Columns:
    """(times, names) matrices as one row for each time and name."""
    return {
        "time_s": np.repeat(times / NS, len(names)),
        label: np.tile(names, len(times)) if len(names) else np.zeros(0, "<U1"),
        **{name: matrix.reshape(-1) for name, matrix in values.items()},
    }


def _population(read: Reading, times: Ints) -> Columns:
    return {"time_s": times / NS, "waiting": read.waiting.at(times)[:, 0], "on_nodes": read.used.at(times)[:, -1]}


def _utilisation(read: Reading, times: Ints) -> Columns:
    names = read.facts["resources"]
    requested = read.used.at(times)[:, : len(names)]
    return _long(times, names, "resource", {"requested": requested, "allocatable": read.offered.at(times)})


def _reasons(read: Reading, times: Ints) -> Columns:
    found = _long(times, np.array(read.log.reasons, dtype=str), "reason", {"pods": read.held_back.at(times)})
    some = found["pods"] > 0
    return {name: values[some] for name, values in found.items()}


def _storage(read: Reading, times: Ints) -> Columns:
    facts = read.facts
    classes = facts["class_name"]
    local = np.unique(facts["disk_class"])
    disk_bytes = np.bincount(facts["disk_class"], weights=facts["disk_bytes"], minlength=len(classes)).astype(np.int64)
    taken = read.disks_taken(in_bytes=True)
    names = np.concatenate([classes[facts["pool_class"]], classes[local]]) if len(classes) else np.zeros(0, "<U1")
    places = np.concatenate([facts["pool_place"], np.full(len(local), "", dtype="<U1")])
    sizes = np.concatenate([facts["pool_bytes"], disk_bytes[local]])
    used = np.column_stack([read.filled.at(times), taken.at(times)[:, local]])
    return {
        **_long(times, names, "class", {}),
        "place": np.tile(places, len(times)) if len(places) else np.zeros(0, "<U1"),
        "used_bytes": used.reshape(-1),
        "size_bytes": np.tile(sizes, len(times)),
    }


# Writing --------------------------------------------------------------------------------------------------------------------------------


def require(form: Format) -> None:
    """Raises InputError when tables of this form cannot be written here."""
    if form == "parquet":
        try:
            import pyarrow.parquet  # noqa: F401
        except ImportError:
            raise InputError(f"tables: {PARQUET_MISSING} (--tables csv)") from None


def arrow(columns: Columns) -> Any:
    """One table as a pyarrow.Table. Raises InputError where pyarrow is not installed."""
    require("parquet")
    import pyarrow

    return pyarrow.table({name: pyarrow.array(values) for name, values in columns.items()})


def write_tables(directory: Path, tables: Mapping[str, Columns], form: Format) -> None:
    """Write each table as NAME.parquet or NAME.csv. Raises InputError where Parquet cannot be written."""
    require(form)
    encode: Callable[[Columns], bytes] = _parquet if form == "parquet" else csv_of
    for name, columns in tables.items():
        write_whole(directory / f"{name}.{form}", encode(columns))


def _parquet(columns: Columns) -> bytes:
    import pyarrow.parquet

    buffer = io.BytesIO()
    pyarrow.parquet.write_table(arrow(columns), buffer, compression="zstd")
    return buffer.getvalue()


def csv_of(columns: Columns) -> bytes:
    """A table as CSV: floats as Python writes them, empty for nan."""
    cells = [["" if value != value else value for value in values.tolist()] for values in columns.values()]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*cells, strict=True))
    return text.getvalue().encode()
