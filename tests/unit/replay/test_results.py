"""Summary and tables come from the log alone, and say what the log says."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.replay.fixtures import scene_of
from tests.unit.replay.test_simulation import replayed
from volsched.errors import InputError
from volsched.replay.log import EventLog, Kind, load_log
from volsched.replay.reading import Changes
from volsched.replay.session import Result
from volsched.replay.summary import summary_of
from volsched.replay.tables import tables_of, write_tables


def a_log(directory: Path, seed: int = 3) -> EventLog:
    return replayed(scene_of(directory, seed))


def test_the_summary_can_be_computed_anew_from_what_was_written(tmp_path: Path) -> None:
    log = a_log(tmp_path)
    Result(log).write(tmp_path / "out", tables="csv")
    written = json.loads((tmp_path / "out" / "summary.json").read_text())
    again = load_log(tmp_path / "out" / "log.npz")
    assert json.loads(json.dumps(summary_of(again))) == written
    assert again.sha256() == log.sha256() == written["log_sha256"]
    assert Result.load(tmp_path / "out").tables["pods"]["name"].tolist() == log.facts["pod_name"].tolist()


def test_the_hash_covers_everything(tmp_path: Path) -> None:
    log = a_log(tmp_path)
    rows = log.rows.copy()
    rows[5, 0] += 1
    changed = [
        EventLog(log.facts, rows, log.reasons, log.attempts, log.messages),
        EventLog(log.facts, log.rows, (*log.reasons[1:], "x"), log.attempts, log.messages),
        EventLog(log.facts, log.rows, log.reasons, log.attempts + 1, log.messages),
        EventLog(log.facts, log.rows, log.reasons, log.attempts, ("x", *log.messages[1:])),
        EventLog({**log.facts, "claim_bytes": log.facts["claim_bytes"] + 1}, log.rows, log.reasons, log.attempts, log.messages),
        EventLog({**log.facts, "pod_name": log.facts["pod_name"][::-1]}, log.rows, log.reasons, log.attempts, log.messages),
    ]
    assert len({log.sha256(), *(other.sha256() for other in changed)}) == len(changed) + 1


def test_counts_are_those_of_the_log(tmp_path: Path) -> None:
    for seed in range(5):
        log = a_log(tmp_path, seed)
        summary = summary_of(log)
        pods = summary["pods"]
        kinds = [Kind(kind) for kind in log.kind.tolist()]
        assert pods["ended"] == kinds.count(Kind.ENDED)
        assert pods["arrived"] == pods["ended"] + pods["removed"] + pods["on_nodes_at_end"] + pods["waiting_at_end"]
        states = tables_of(log)["pods"]["state"].tolist()
        assert states.count("waiting") == pods["waiting_at_end"]
        assert sum(states.count(state) for state in ("placed", "bound", "running")) == pods["on_nodes_at_end"]
        assert summary["partial"] is False


def test_utilisation_is_what_the_events_add_up_to(tmp_path: Path) -> None:
    log = a_log(tmp_path)
    facts = log.facts
    tables = tables_of(log, steps=40)
    end_ns = int(log.time_ns[-1])
    columns = [tables["utilisation"][key].tolist() for key in ("time_s", "resource", "requested", "allocatable")]
    found = {(time, name): (requested, allocatable) for time, name, requested, allocatable in zip(*columns, strict=True)}
    there = np.ones(len(facts["node_name"]), bool)
    there[5] = False  # the plan has it join
    on_node: dict[int, int] = {}
    rows = log.rows.tolist()
    at = 0
    for time_ns in np.unique(np.linspace(0, end_ns, 41).astype(np.int64)[1:]).tolist():
        while at < len(rows) and rows[at][0] <= time_ns:
            _, kind, subject, place, _ = rows[at]
            if kind == Kind.PLACED:
                on_node[subject] = place
            elif kind in (Kind.UNPLACED, Kind.ENDED, Kind.EVICTED, Kind.REMOVED):
                on_node.pop(subject, None)
            elif kind in (Kind.NODE_JOINED, Kind.NODE_LOST):
                there[place] = kind == Kind.NODE_JOINED
            at += 1
        for column, name in enumerate(facts["resources"].tolist()):
            requested = sum(int(facts["pod_requests"][pod, column]) for pod in on_node)
            allocatable = int(facts["node_allocatable"][there, column].sum())
            assert found[time_ns / 1e9, name] == (requested, allocatable)


@given(
    changes=st.lists(st.tuples(st.integers(0, 20), st.integers(0, 2), st.integers(-5, 9)), max_size=20).map(sorted),
    first=st.lists(st.integers(0, 9), min_size=3, max_size=3),
)
@settings(max_examples=200)
def test_changes_over_time_by_hand(changes: list[tuple[int, int, int]], first: list[int]) -> None:
    table = np.array(changes, np.int64).reshape(-1, 3)
    over_time = Changes(table[:, 0], table[:, 1], table[:, 2], np.array(first))

    def held(time: int) -> list[int]:
        return [start + sum(added for at, column, added in changes if column == which and at <= time) for which, start in enumerate(first)]

    assert over_time.at(np.arange(25)).tolist() == [held(time) for time in range(25)]
    assert over_time.peak().tolist() == [max(start, *(held(time)[which] for time in range(25))) for which, start in enumerate(first)]
    assert np.allclose(over_time.mean(25), np.mean([held(time) for time in range(25)], axis=0))


def test_tables_are_written_as_csv_and_parquet(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow, of the extra `replay`, is not installed")
    tables = tables_of(a_log(tmp_path), steps=10)
    for form in ("csv", "parquet"):
        write_tables(tmp_path, tables, form)  # type: ignore[arg-type]
    for name, columns in tables.items():
        with (tmp_path / f"{name}.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        packed = parquet.read_table(tmp_path / f"{name}.parquet")
        assert packed.column_names == list(columns)
        assert packed.num_rows == len(rows) == len(next(iter(columns.values())))
        for column, values in columns.items():
            expected = ["" if value != value else str(value) for value in values.tolist()]
            assert [row[column] for row in rows] == expected
            assert ["" if value != value else str(value) for value in packed.column(column).to_pylist()] == expected


def test_parquet_without_pyarrow_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(InputError, match=r"pip install 'volsched\[replay\]'.*--tables csv"):
        Result(a_log(tmp_path)).write(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_file_that_is_no_log_is_refused(tmp_path: Path) -> None:
    (tmp_path / "log.npz").write_bytes(b"PK\x03\x04 no archive")
    with pytest.raises(InputError, match="is not a file volsched replay wrote"):
        load_log(tmp_path / "log.npz")
    np.savez(tmp_path / "other.npz", version=np.array(99))
    with pytest.raises(InputError, match="is not an event log of version 1"):
        load_log(tmp_path / "other.npz")
    np.savez(tmp_path / "objects.npz", version=np.array([{}], dtype=object))
    with pytest.raises(InputError, match="is not a file volsched replay wrote"):
        load_log(tmp_path / "objects.npz")
