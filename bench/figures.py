"""How the figures of docs/benchmarks look: SVG by matplotlib, text as text, light, and dark where the reader's screen is.

    a chart's Figure ──written──> SVG with a style of its own: the colours of ink, lines and ground are replaced where the scheme is dark

A viewer that knows no style sheets shows the light one. Files are the same for the same figures: no dates, ids from a fixed salt.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import matplotlib
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

GROUND, INK, FAINT, BAND = "#fffffe", "#1f2329", "#d1d5da", "#e3edf7"
DARK: Final = {GROUND: "#0d1117", INK: "#e6edf3", FAINT: "#3a414a", BAND: "#1c2d40"}
# Okabe and Ito's colours, told apart by most eyes; those that are too faint on white are darker here, all are seen on both grounds.
COLOURS: Final = ("#0072b2", "#d55e00", "#009e73", "#b8860b", "#cc79a7", "#3fa0d8", "#7f7f7f")
MARKERS: Final = ("o", "s", "^", "D", "v", "P", "X")
STYLE: Final[Mapping[str, Any]] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "volsched",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "sans-serif"],
    "font.size": 9,
    "figure.facecolor": GROUND,
    "axes.facecolor": GROUND,
    "savefig.facecolor": GROUND,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "axes.titlesize": 10,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.grid": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "legend.fontsize": 8,
}


class Series(NamedTuple):
    """Values that share a marker: one for each row of a dot chart, or points of a line; None where there is none."""

    label: str
    values: Sequence[float | None]
    sizes: Sequence[float] = ()


class Panel(NamedTuple):
    """One pair of axes of a growth chart."""

    title: str
    x: str
    series: Sequence[Series]


class Mark(NamedTuple):
    """Something to measure the rest by: a band or, where both ends are the same, a line, in the unit of the axis."""

    label: str
    low: float
    high: float


def _number(value: float, _: object = None) -> str:
    return f"{value:,.0f}" if value >= 1 else f"{value:g}"


def dots(rows: Sequence[str], series: Sequence[Series], *, x: str, marks: Sequence[Mark] = ()) -> Figure:
    """A row for each thing, a marker for each way it was measured, on a logarithmic axis."""
    figure = Figure(figsize=(7.6, 1.2 + 0.27 * len(rows)), layout="constrained")
    axes = figure.subplots()
    _log(axes, "x")
    for mark in marks:
        if mark.low == mark.high:
            axes.axvline(mark.low, color=INK, linewidth=1, linestyle=":", label=mark.label)
        else:
            axes.axvspan(mark.low, mark.high, color=BAND, label=mark.label)
    for at, one in enumerate(series):
        found = [(value, place) for place, value in enumerate(one.values) if value is not None]
        axes.plot(*zip(*found, strict=True), linestyle="none", marker=MARKERS[at], color=COLOURS[at], markersize=6, label=one.label)
    axes.set_yticks(range(len(rows)), rows)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlabel(x)
    figure.legend(loc="outside upper left", ncols=3)
    return figure


def growth(panels: Sequence[Panel], *, y: str) -> Figure:
    """Log-log panels that share the vertical axis, a line for each workload."""
    alone = len(panels) == 1
    figure = Figure(figsize=(5.6 if alone else 3.1 * len(panels) + 0.6, 4.0), layout="constrained")
    shown = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    labels: dict[str, int] = {}
    for axes, panel in zip(shown, panels, strict=True):
        _log(axes, "x")
        _log(axes, "y")
        for one in panel.series:
            new = one.label not in labels
            at = labels.setdefault(one.label, len(labels))
            axes.plot(
                one.sizes, one.values, marker=MARKERS[at], color=COLOURS[at], markersize=4, linewidth=1.3, label=one.label if new else None
            )
        sizes = sorted({size for one in panel.series for size in one.sizes})
        axes.set_xticks(sizes, [_number(size) for size in sizes], rotation=35, ha="right", rotation_mode="anchor", fontsize=8)
        axes.set_xticks([], minor=True)
        axes.set_title(panel.title)
        axes.set_xlabel(panel.x)
    shown[0].set_ylabel(y)
    figure.legend(loc="outside lower center", ncols=4 if alone else 7)
    return figure


def _log(axes: Any, which: str) -> None:
    (axes.set_xscale if which == "x" else axes.set_yscale)("log")
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=24))
    axis.set_major_formatter(FuncFormatter(_number))
    axis.set_minor_formatter(NullFormatter())


def themed(svg: str, *, title: str) -> str:
    """The SVG with a title for those who hear it, and with the colours of a dark scheme where that is asked for."""
    rules = "".join(
        f'[style*="{part}: {light}"]{{{part}:{dark} !important}}' for light, dark in DARK.items() for part in ("fill", "stroke")
    )
    # text without a colour of its own is black
    rules += f"text:not([style*='fill:']){{fill:{DARK[INK]}}}"
    head = f"<title>{title}</title>\n<style>@media (prefers-color-scheme: dark){{{rules}}}</style>"
    return re.sub(r"(<svg [^>]*>)", lambda match: f"{match[1]}\n{head}", svg, count=1)


def write(path: Path, draw: Callable[[], Figure], *, title: str) -> None:
    """Draw in the style of the page and write the file."""
    with matplotlib.rc_context(dict(STYLE)):
        out = io.StringIO()
        draw().savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    text = "\n".join(line.rstrip() for line in themed(out.getvalue(), title=title).splitlines())
    path.write_text(text + "\n", encoding="utf-8")
