"""One HTML page out of charts: the script that draws, the data, the words and the numbers, all in one file.

A policy in the page forbids every request, so that a report can be opened anywhere and tells nobody. Who prefers a dark screen gets one.
Each chart has its numbers in a table beside it, for readers and for programs that do not see pictures.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Final

from volsched.errors import InputError
from volsched.replay.log import write_whole
from volsched.replay.report.figures import Chart, charts_of, number
from volsched.replay.report.run import Run, distinct

MISSING: Final = "it needs jinja2 and plotly: pip install 'volsched[report]'"


def is_possible() -> bool:
    """Whether what a report needs is installed."""
    return all(importlib.util.find_spec(name) is not None for name in ("jinja2", "plotly"))


def require() -> None:
    """Raises InputError where a report cannot be made."""
    if not is_possible():
        raise InputError(f"a report cannot be written, {MISSING}")


def page_of(runs: Sequence[Run]) -> str:
    """The page for one replay, or for several side by side. Raises InputError where jinja2 or plotly is not installed."""
    require()
    import jinja2
    from plotly.offline import get_plotlyjs

    runs = distinct(runs)
    charts = charts_of(runs)
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined)
    template = environment.from_string(resources.files(__package__).joinpath("page.html.jinja").read_text(encoding="utf-8"))
    return template.render(
        title="Replay of " + ", ".join(run.name for run in runs),
        runs=runs,
        key_figures=key_figures(runs),
        partial=[run.name for run in runs if run.summary["partial"]],
        charts=charts,
        figures=_script_json({chart.key: _figure(chart) for chart in charts if chart.traces}),
        plotly=get_plotlyjs(),
    )


def write_page(path: Path, runs: Sequence[Run]) -> None:
    """Write the page, whole or not at all. Raises InputError as `page_of` does."""
    write_whole(path, page_of(runs).encode())


def _figure(chart: Chart) -> dict[str, Any]:
    """Checked by plotly, arrays in its compact form."""
    import plotly.graph_objects

    layout = {name: value for name, value in chart.layout.items() if name != "switch"}
    figure = plotly.graph_objects.Figure({"data": list(chart.traces), "layout": layout})
    drawn: dict[str, Any] = json.loads(figure.to_json())
    drawn["layout"].pop("template", None)  # the page has its own colours
    return drawn | {"height": chart.height, "logarithmic": chart.layout.get("switch")}


def _script_json(value: Any) -> str:
    """JSON that may stand in a script element: no tag can end it."""
    return json.dumps(value, separators=(",", ":")).replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def key_figures(runs: Sequence[Run]) -> list[tuple[str, list[str]]]:
    """What stands above the charts: words, and one value a run."""

    def row(words: str, *path: str) -> tuple[str, list[str]]:
        return words, [number(_at(run.summary, path)) for run in runs]

    rows = [
        row("pods", "pods", "total"),
        row("pods placed", "pods", "placed"),
        row("never placed", "pods", "never_placed"),
        row("waiting at the end", "pods", "waiting_at_end"),
        row("evicted", "pods", "evictions"),
        row("bindings that failed", "pods", "bindings_failed"),
        row("attempts of the scheduler", "pods", "attempts"),
        row("median wait, s", "wait_s", "p50"),
        row("99 % wait, s", "wait_s", "p99"),
        row("nodes", "nodes", "total"),
        row("nodes lost", "nodes", "lost"),
        row("requested cpu, mean share", "resources", "cpu_milli", "share_mean"),
        row("requested memory, mean share", "resources", "memory_bytes", "share_mean"),
        row("days replayed", "days"),
        row("events", "events"),
        row("seed", "seed"),
    ]
    rows.append(("hash of the input", [run.summary["input_sha256"][:16] for run in runs]))
    rows.append(("hash of the log", [run.summary["log_sha256"][:16] for run in runs]))
    return rows


def _at(summary: Mapping[str, Any], path: Sequence[str]) -> Any:
    if tuple(path) == ("days",):
        return summary["virtual_s"] / 86_400
    found: Any = summary
    for name in path:
        found = found.get(name) if found is not None else None
    return found
