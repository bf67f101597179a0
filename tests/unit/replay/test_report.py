"""Every number of a report can be found in the log it is about."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.unit.replay.runs import log_of
from volsched.errors import InputError
from volsched.replay.log import EventLog, Kind
from volsched.replay.report.figures import Chart, Scale, charts_of, number
from volsched.replay.report.page import key_figures, page_of, write_page
from volsched.replay.report.run import Run, distinct
from volsched.replay.session import Result

pytest.importorskip("plotly", reason="plotly is not installed (volsched[report])")
pytest.importorskip("jinja2", reason="jinja2 is not installed (volsched[report])")


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> EventLog:
    return log_of(tmp_path_factory.mktemp("report"))


@pytest.fixture(scope="module")
def run(log: EventLog) -> Run:
    return Run.of(Result(log), name="first")


def charts(*runs: Run) -> dict[str, Chart]:
    return {chart.key: chart for chart in charts_of(runs)}


def waiting_at(log: EventLog, time_ns: float) -> int:
    """Pods without a node, told one by one."""
    waits: set[int] = set()
    for at, kind, pod, _, _ in log.rows.tolist():
        if at > time_ns:
            break
        if kind in (Kind.ARRIVED, Kind.UNPLACED, Kind.EVICTED):
            waits.add(pod)
        elif kind in (Kind.PLACED, Kind.REMOVED):
            waits.discard(pod)
    return len(waits)


def test_waiting_pods_are_those_of_the_log(log: EventLog, run: Run) -> None:
    trace = charts(run)["pending"].traces[0]
    assert trace["y"].max() > 0
    scale = Scale.of(float(run.summary["virtual_s"]))
    for at in range(0, len(trace["x"]), 37):
        assert trace["y"][at] == waiting_at(log, round(trace["x"][at] * scale.seconds * 1e9)), at


def test_reasons_pile_up_to_those_that_were_refused(log: EventLog, run: Run) -> None:
    traces = charts(run)["reasons"].traces
    drawn = np.sum([trace["y"] for trace in traces], axis=0)
    table = run.tables["reasons"]
    times = run.tables["population"]["time_s"]
    told = [int(table["pods"][table["time_s"] == time].sum()) for time in times]
    assert drawn.tolist() == told
    assert max(told) > 0
    assert all(trace["stackgroup"] == "reasons" for trace in traces)
    assert not any("stackgroup" in trace for trace in charts(run, run)["reasons"].traces)


def test_waits_are_those_of_the_pods(log: EventLog, run: Run) -> None:
    arrived: dict[int, int] = {}
    waits = []
    for at, kind, pod, _, _ in log.rows.tolist():
        if kind == Kind.ARRIVED:
            arrived[pod] = at
        elif kind == Kind.BOUND and pod in arrived:
            waits.append((at - arrived.pop(pod)) / 1e9)
    trace = charts(run)["wait"].traces[0]
    assert trace["x"][0] == min(waits)
    assert trace["x"][-1] == max(waits)
    for x, y in zip(trace["x"].tolist()[1:], trace["y"].tolist()[1:], strict=True):
        assert sum(wait <= x for wait in waits) >= round(y / 100 * len(waits), 6)


def test_shares_and_fill(run: Run) -> None:
    found = charts(run)
    for trace in found["utilisation"].traces:
        assert 0 < np.nanmax(trace["y"]) <= 100
    for trace in found["storage"].traces:
        assert 0 <= trace["y"].min() <= trace["y"].max() <= 100
    table = run.tables["storage"]
    last = table["time_s"] == table["time_s"][-1]
    free = {}
    for cls, place, used, size in zip(
        *(table[name][last].tolist() for name in ("class", "place", "used_bytes", "size_bytes")), strict=True
    ):
        if place:
            free.setdefault(cls, []).append(size - used)
    trace = found["fragmentation"].traces[0]
    rooms = free[trace["name"]]
    assert trace["y"][-1] == pytest.approx((sum(rooms) - max(rooms)) / sum(rooms) * 100 if sum(rooms) else 0)


def test_the_heat_map_has_every_node_once(run: Run) -> None:
    chart = charts(run)["placement"]
    nodes = run.tables["nodes"]
    (heat,) = chart.traces
    assert sum(int(row[2]) for row in chart.rows) == len(nodes["name"])
    assert sum(int(row[3].replace(",", "")) for row in chart.rows) == nodes["pods_placed"].sum()
    share = nodes["cpu_milli_requested_mean"] / nodes["cpu_milli_allocatable"] * 100
    for zone, cells in zip(heat["y"], heat["z"], strict=True):
        own = share[nodes["zone"] == zone]
        assert [cell for cell in cells if cell is not None] == pytest.approx(own, abs=0.01)


def data_of(page: str) -> Any:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    return json.loads(found[1])


def test_a_page_says_what_the_summary_says(run: Run) -> None:
    page = page_of([run])
    for words, (value,) in key_figures([run]):
        assert f'<th scope="row">{words}</th><td>{value}</td>' in page
    assert number(run.summary["pods"]["placed"]) in dict(key_figures([run]))["pods placed"]
    assert sorted(data_of(page)) == sorted(chart.key for chart in charts_of([run]) if chart.traces)
    assert "Interrupted before" not in page


def test_a_page_asks_for_nothing(run: Run) -> None:
    page = page_of([run])
    head, _, rest = page.partition("<script>")
    own = head + rest[rest.rindex('<script type="application/json"') :]
    assert not re.search(r"""(?:src|href|url|action)\s*[=(]\s*["']?\s*(?:https?:)?//""", own)
    assert "default-src 'none'" in head


def test_names_cannot_leave_their_place(run: Run) -> None:
    evil = Run("</script><img src=x onerror=alert(1)>", run.summary, run.tables)
    page = page_of([evil, evil])
    assert "<img" not in page.partition("<script>")[0]
    assert "</script><img" not in page
    assert [other.name.endswith("(2)") for other in distinct([evil, evil])] == [False, True]
    assert any("<img" in trace["name"] for trace in data_of(page)["pending"]["data"])


def test_an_interrupted_replay_says_so(run: Run) -> None:
    partial = Run("half", {**run.summary, "partial": True}, run.tables)
    assert "Interrupted before its end: half." in page_of([run, partial])


def test_a_replay_of_nothing_has_a_page(log: EventLog) -> None:
    empty = EventLog(facts=log.facts, rows=log.rows[:0], reasons=(), attempts=log.attempts * 0, messages=[""] * len(log.messages))
    page = page_of([Run.of(Result(empty), name="nothing")])
    assert "No pod was bound." in page
    assert "Interrupted before its end: nothing." in page


def test_files(tmp_path: Path, log: EventLog) -> None:
    with pytest.raises(InputError, match=r"holds no log\.npz"):
        Run.read(tmp_path)
    log.save(tmp_path / "log.npz")
    run = Run.read(tmp_path)
    assert run.name == tmp_path.name
    write_page(tmp_path / "report.html", [run])
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == page_of([run])


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (float("nan"), "–"), (1234567, "1,234,567"), (0.12345, "0.1235"), (12345.6, "12,346"), (np.int64(7), "7"), (3.0, "3")],
)
def test_numbers(value: object, text: str) -> None:
    assert number(value) == text
