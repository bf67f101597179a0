"""Charts of one or more replays, as data for plotly, each with the words and the numbers it shows.

A chart of several runs draws them side by side or over each other in `COLOURS`, which stay apart for colour-blind eyes and on light and
dark ground; runs also differ in the dash of their lines. Colours of text and ground are the page's business.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from volsched.replay.report.run import Run

COLOURS: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F7F7F", "#8B6BD1")
DASHES: Final = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
REASONS_MAX: Final = 7  # the others are drawn together
POOLS_MAX: Final = 8
HEAT_COLUMNS: Final = 60
WAIT_POINTS: Final = 200
LEGEND_MAX: Final = 100  # characters of a name
GIB: Final = 1 << 30

Trace: TypeAlias = dict[str, Any]
Floats: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart. traces, layout: plotly's own. columns, rows: the same in numbers, for those who do not see it."""

    key: str
    title: str
    about: str
    traces: Sequence[Trace]
    layout: dict[str, Any]
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    height: int = 360
    empty: str = ""  # why there is nothing to draw


@dataclass(frozen=True, slots=True)
class Scale:
    """A unit of time for an axis."""

    seconds: float
    unit: str

    @classmethod
    def of(cls, longest_s: float) -> Scale:
        for seconds, unit in ((86_400.0, "days"), (3_600.0, "hours"), (60.0, "minutes")):
            if longest_s >= 3 * seconds:
                return cls(seconds, unit)
        return cls(1.0, "seconds")

    def __call__(self, seconds: Floats) -> Floats:
        scaled: Floats = np.asarray(seconds, np.float64) / self.seconds
        return scaled


def charts_of(runs: Sequence[Run]) -> list[Chart]:
    """Every chart of a report."""
    makers: tuple[Callable[[Sequence[Run], Scale], Chart], ...] = (
        _waiting,
        _utilisation,
        _wait_times,
        _reasons,
        _fill,
        _fragmentation,
        _heat,
    )
    scale = Scale.of(max((float(run.summary["virtual_s"]) for run in runs), default=0.0))
    return [make(runs, scale) for make in makers]


# Parts ----------------------------------------------------------------------------------------------------------------------------------


@dataclass
class _Drawing:
    """Traces and rows of one chart as they are made."""

    traces: list[Trace] = field(default_factory=list)
    rows: list[list[str]] = field(default_factory=list)

    def line(self, run: int, x: NDArray[Any], y: NDArray[Any], *, name: str, colour: int, **more: Any) -> None:
        line = {"color": COLOURS[colour % len(COLOURS)], "dash": DASHES[run % len(DASHES)], "width": 2}
        self.traces.append({"type": "scatter", "mode": "lines", "name": name, "x": x, "y": y, "line": line, **more})

    def row(self, *cells: object) -> None:
        self.rows.append([cell if isinstance(cell, str) else number(cell) for cell in cells])


def number(value: Any) -> str:
    """A number for a reader: thousands apart, four digits that count, a dash for none."""
    if value is None or value != value:
        return "–"
    if isinstance(value, (int, np.integer)):
        return f"{int(value):,}"
    value = float(value)
    return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:,.4g}"


def _label(runs: Sequence[Run], run: Run, what: str) -> str:
    return f"{what}, {run.name}" if len(runs) > 1 else what


def _axes(scale: Scale, y: str, **more: Any) -> dict[str, Any]:
    return {"xaxis": {"title": {"text": f"time, {scale.unit}"}}, "yaxis": {"title": {"text": y}, "rangemode": "tozero"}, **more}


def _by(columns: dict[str, NDArray[Any]], label: str) -> dict[str, dict[str, NDArray[Any]]]:
    """A long table by one of its text columns, in order of first appearance."""
    names = columns[label]
    order = dict.fromkeys(names.tolist())
    return {name: {key: values[names == name] for key, values in columns.items()} for name in order}


def _peak(values: NDArray[Any]) -> float | None:
    found = values[~np.isnan(values)] if values.dtype.kind == "f" else values
    return found.max().item() if len(found) else None


# Charts ---------------------------------------------------------------------------------------------------------------------------------


def _waiting(runs: Sequence[Run], scale: Scale) -> Chart:
    drawing = _Drawing()
    for at, run in enumerate(runs):
        table = run.tables["population"]
        for colour, (column, words) in enumerate((("waiting", "waiting"), ("on_nodes", "on nodes"))):
            second = {"yaxis": "y2"} if column == "on_nodes" else {}
            drawing.line(at, scale(table["time_s"]), table[column], name=_label(runs, run, words), colour=colour, **second)
            drawing.row(run.name, words, table[column].mean() if len(table[column]) else None, _peak(table[column]), _last(table[column]))
    second_axis = {
        "title": {"text": "pods on nodes"},
        "overlaying": "y",
        "side": "right",
        "rangemode": "tozero",
        "showgrid": False,
        "tickmode": "auto",
    }
    return Chart(
        key="pending",
        title="Pods that wait, and pods on nodes",
        about="Pods that were created and have no node, on the left axis; pods that have one, on the right.",
        traces=drawing.traces,
        layout=_axes(scale, "pods waiting", yaxis2=second_axis),
        columns=("run", "pods", "mean", "most", "at the end"),
        rows=drawing.rows,
    )


def _last(values: NDArray[Any]) -> Any:
    return values[-1].item() if len(values) else None


def _utilisation(runs: Sequence[Run], scale: Scale) -> Chart:
    drawing = _Drawing()
    for at, run in enumerate(runs):
        for colour, (resource, table) in enumerate(_by(run.tables["utilisation"], "resource").items()):
            offered = table["allocatable"].astype(np.float64)
            if not offered.any() or not table["requested"].any():
                continue
            share = np.divide(table["requested"], offered, out=np.full(len(offered), np.nan), where=offered > 0) * 100
            drawing.line(at, scale(table["time_s"]), share, name=_label(runs, run, _resource(resource)), colour=colour)
            drawing.row(run.name, _resource(resource), np.nanmean(share), _peak(share), _last(share))
    return Chart(
        key="utilisation",
        title="Requested share of what the nodes offer",
        about="By resource: the requests of all pods on nodes, as a share of what the nodes that are there can allocate.",
        traces=drawing.traces,
        layout=_axes(scale, "requested, %"),
        columns=("run", "resource", "mean %", "most %", "at the end %"),
        rows=drawing.rows,
        empty="" if drawing.traces else "No pod on a node requests a resource that the nodes offer.",
    )


def _resource(name: str) -> str:
    return {"cpu_milli": "cpu", "memory_bytes": "memory", "ephemeral_bytes": "ephemeral storage"}.get(name, name)


def _wait_times(runs: Sequence[Run], _: Scale) -> Chart:
    drawing = _Drawing()
    for at, run in enumerate(runs):
        waits = np.sort(run.tables["pods"]["wait_s"])
        waits = waits[~np.isnan(waits)]
        if len(waits):
            shares = np.linspace(0, 1, min(WAIT_POINTS, len(waits)))
            found = np.quantile(waits, shares, method="inverted_cdf")
            drawing.line(at, found, shares * 100, name=run.name, colour=at, line_shape="hv")
        told = run.summary["wait_s"]
        drawing.row(run.name, len(waits), *(told[key] for key in ("mean", "p50", "p90", "p99", "max")))
    return Chart(
        key="wait",
        title="How long pods waited",
        about="The share of bound pods that were bound within a time after they were created.",
        traces=drawing.traces,
        layout={
            "xaxis": {"title": {"text": "seconds from creation to binding"}},
            "yaxis": {"title": {"text": "pods, %"}, "range": [0, 101]},
            "switch": "xaxis",
        },
        columns=("run", "pods bound", "mean s", "median s", "90 % s", "99 % s", "longest s"),
        rows=drawing.rows,
        empty="" if drawing.traces else "No pod was bound.",
    )


def _reasons(runs: Sequence[Run], scale: Scale) -> Chart:
    drawing = _Drawing()
    order = list(dict.fromkeys(row["reason"] for run in runs for row in run.summary["reasons"]))
    for at, run in enumerate(runs):
        piled = {"stackgroup": "reasons"} if len(runs) == 1 else {}  # piles of several runs would hide each other
        times = run.tables["population"]["time_s"]
        by_reason = _by(run.tables["reasons"], "reason")
        rest = np.zeros(len(times), np.int64)
        for row in run.summary["reasons"]:
            drawing.row(run.name, row["reason"], row["pods"], row["pod_s"], row["waiting_peak"])
            counts = np.zeros(len(times), np.int64)
            if (table := by_reason.get(row["reason"])) is not None:
                counts[np.searchsorted(times, table["time_s"])] = table["pods"]
            if order.index(row["reason"]) < REASONS_MAX:
                name = _label(runs, run, _short(row["reason"]))
                drawing.line(at, scale(times), counts, name=name, colour=order.index(row["reason"]), **piled)
            else:
                rest += counts
        if rest.any():
            drawing.line(at, scale(times), rest, name=_label(runs, run, "other reasons"), colour=REASONS_MAX, **piled)
    return Chart(
        key="reasons",
        title="Why pods wait",
        about="Pods that were refused and wait, by the reason of their last refusal.",
        traces=drawing.traces,
        layout=_axes(scale, "pods waiting", legend={"orientation": "v", "yanchor": "top", "y": -0.25}),
        columns=("run", "reason", "pods", "pod seconds", "most at once"),
        rows=drawing.rows,
        height=400 + 19 * len(drawing.traces),
        empty="" if drawing.traces else "No pod was refused.",
    )


def _short(text: str) -> str:
    """A text that fits a legend."""
    return text if len(text) <= LEGEND_MAX else text[: LEGEND_MAX - 1] + "…"


def _pools(run: Run) -> list[tuple[str, dict[str, NDArray[Any]]]]:
    """Storage over time by class and place."""
    table = run.tables["storage"]
    label = np.array(
        [f"{cls} {place}".strip() for cls, place in zip(table["class"].tolist(), table["place"].tolist(), strict=True)], dtype=str
    )
    return list(_by(table | {"label": label}, "label").items())


def _fill(runs: Sequence[Run], scale: Scale) -> Chart:
    drawing = _Drawing()
    for at, run in enumerate(runs):
        found = []
        for name, table in _pools(run):
            size = table["size_bytes"].astype(np.float64)
            is_limited = bool((size > 0).all()) and len(size) > 0
            share = table["used_bytes"] / size * 100 if is_limited else np.full(len(size), np.nan)
            found.append((name, table, share))
        found.sort(key=lambda entry: (-np.nan_to_num(_peak(entry[2]) or 0.0), entry[0]))
        for colour, (name, table, share) in enumerate(found):
            used = table["used_bytes"]
            size_gib = table["size_bytes"][-1] / GIB if len(used) and table["size_bytes"][-1] >= 0 else None
            drawing.row(run.name, name, (_peak(used) or 0) / GIB, size_gib, _peak(share), _last(share))
            if colour < POOLS_MAX and not np.isnan(share).all():
                drawing.line(at, scale(table["time_s"]), share, name=_label(runs, run, name), colour=colour)
    limited = f"The {POOLS_MAX} fullest are drawn; all are in the table. "
    return Chart(
        key="storage",
        title="How full storage is",
        about=limited + "Local disks count as a whole from claim to cleaning; pools without a limit have no share.",
        traces=drawing.traces,
        layout=_axes(scale, "given away, %"),
        columns=("run", "class and place", "most GiB", "size GiB", "most %", "at the end %"),
        rows=drawing.rows,
        empty="" if drawing.traces else "No pool has a limit.",
    )


def _fragmentation(runs: Sequence[Run], scale: Scale) -> Chart:
    drawing = _Drawing()
    for at, run in enumerate(runs):
        table = run.tables["storage"]
        limited = (table["size_bytes"] > 0) & (table["place"] != "")
        for colour, (name, of_class) in enumerate(_by({key: values[limited] for key, values in table.items()}, "class").items()):
            times, begins = np.unique(of_class["time_s"], return_index=True)
            free = np.maximum(of_class["size_bytes"] - of_class["used_bytes"], 0)
            total, largest = np.add.reduceat(free, begins), np.maximum.reduceat(free, begins)
            pools = int(np.diff(np.append(begins, len(free)))[0])
            if pools < 2:
                continue
            share = np.divide(total - largest, total, out=np.zeros(len(total)), where=total > 0) * 100
            drawing.line(at, scale(times), share, name=_label(runs, run, name), colour=colour)
            drawing.row(run.name, name, pools, share.mean(), share.max(), total[-1] / GIB, largest[-1] / GIB)
    return Chart(
        key="fragmentation",
        title="Free storage that one claim cannot have",
        about="By class: the share of all free bytes that is outside the pool with most room, so out of reach for a single large claim.",
        traces=drawing.traces,
        layout=_axes(scale, "outside the largest free pool, %"),
        columns=("run", "class", "pools", "mean %", "most %", "free at the end GiB", "in one pool GiB"),
        rows=drawing.rows,
        empty="" if drawing.traces else "No class has several pools with a limit.",
    )


def _heat(runs: Sequence[Run], _: Scale) -> Chart:
    drawing = _Drawing()
    rows: list[str] = []
    values: list[list[float]] = []
    texts: list[list[str]] = []
    for run in runs:
        table = run.tables["nodes"]
        resource = next((name for name in ("cpu_milli", "memory_bytes") if table[f"{name}_allocatable"].any()), "cpu_milli")
        offered = table[f"{resource}_allocatable"]
        share = np.divide(table[f"{resource}_requested_mean"], offered, out=np.zeros(len(offered)), where=offered > 0) * 100
        for zone in sorted(set(table["zone"].tolist())):
            nodes = np.flatnonzero(table["zone"] == zone)
            cells, cell_texts = [], []
            for part in np.array_split(nodes, min(HEAT_COLUMNS, len(nodes))):
                cells.append(round(float(share[part].mean()), 2))
                first, last = table["name"][part[0]], table["name"][part[-1]]
                cell_texts.append(first if first == last else f"{first} … {last} ({len(part)} nodes)")
            rows.append(_label(runs, run, zone or "no zone"))
            values.append(cells)
            texts.append(cell_texts)
            placed = int(table["pods_placed"][nodes].sum())
            drawing.row(run.name, zone or "no zone", len(nodes), placed, share[nodes].mean(), share[nodes].min(), share[nodes].max())
    width = max((len(cells) for cells in values), default=0)
    heat = {
        "type": "heatmap",
        "z": [[*cells, *[None] * (width - len(cells))] for cells in values],
        "y": rows,
        "text": [[*cells, *[""] * (width - len(cells))] for cells in texts],
        "hovertemplate": "%{y}<br>%{text}<br>%{z} % requested<extra></extra>",
        "colorscale": "Viridis",
        "zmin": 0,
        "zmax": 100,
        "xgap": 1,
        "ygap": 1,
        "hoverongaps": False,
        "colorbar": {"title": {"text": "%"}},
    }
    return Chart(
        key="placement",
        title="Where pods went",
        about="By zone: how much of its nodes' cpu was requested, as a mean over the replay; each cell is a node, or neighbours together.",
        traces=[heat] if rows else [],
        layout={
            "xaxis": {"title": {"text": "nodes, in the order in which they joined"}, "showticklabels": False},
            "yaxis": {"autorange": "reversed"},
        },
        columns=("run", "zone", "nodes", "pods placed", "mean %", "least %", "most %"),
        rows=drawing.rows,
        height=max(240, 90 + 34 * len(rows)),
        empty="" if rows else "There are no nodes.",
    )
