"""docs/benchmarks.md and its figures out of kept results: python -m bench.page [RESULTS]

The text of the page is written by hand; what stands between `<!-- NAME -->` and `<!-- end NAME -->` is a table or sentence made here, out
of the committed reference of the newest release line unless other results are given. `make bench-docs` calls this; `make bench-reference`
measures anew.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

from bench.kept import RESULTS, ROOT, Bench, Kept, KeptError, read, reference

PAGE: Final = ROOT / "docs" / "benchmarks.md"
FIGURES: Final = ROOT / "docs" / "benchmarks"
NODES: Final = 5_000  # of the decisions shown
KINDS: Final = ("plain", "bound", "dynamic", "capacity", "local", "zonal", "mixed")
RESCORE_FLOOR_US: Final = (10.0, 20.0)  # 160 KB of columns, as fast as memory gives them
ROW_FLOOR_US: Final = 1.0  # one row, found and written
OTHERS_MAX: Final = 0.5  # processes beside the run's own, above which the machine was not ours alone
MEASURES: Final = {"one_us": "one at a time", "rescore_us": "every node anew", "batch_us": "in a batch"}


class Results:
    """Kept results by module, test and parameters. Raises KeptError for a benchmark that is not there."""

    def __init__(self, kept: Kept) -> None:
        self.kept = kept

    def bench(self, module: str, test: str, *parameters: str) -> Bench:
        """One benchmark; `parameters` as pytest writes them, in its order."""
        name = f"bench/test_{module}.py::test_{test}" + (f"[{'-'.join(parameters)}]" if parameters else "")
        found = self.kept.benches.get(name)
        if found is None:
            raise KeptError(f"{self.kept.source}: has no {name}; measure anew with `make bench-reference`")
        return found

    def us(self, module: str, test: str, *parameters: str) -> float:
        """Median microseconds for a unit of one benchmark."""
        return self.bench(module, test, *parameters).unit_us

    def least_us(self, module: str, test: str, *parameters: str) -> float:
        """Microseconds for a unit in the fastest round, of what does the same in each: others on the machine only make it slower."""
        bench = self.bench(module, test, *parameters)
        return bench.min_us / bench.units

    def all_of(self, module: str, test: str) -> list[Bench]:
        """Every benchmark of a test, in the order of the names."""
        start = f"bench/test_{module}.py::test_{test}["
        return [self.kept.benches[name] for name in sorted(self.kept.benches) if name.startswith(start)]

    def point(self, kind: str) -> Mapping[str, float]:
        """What `bench.growth` measured of a workload at the nodes that the page shows."""
        found = [point for line in self.lines("nodes") if line["kind"] == kind for point in line["points"] if point["size"] == NODES]
        if not found:
            raise KeptError(f"{self.kept.source}: has no growth of {kind} at {NODES} nodes; measure anew with `make bench-reference`")
        return dict(found[0])

    def lines(self, axis: str) -> list[Mapping[str, Any]]:
        """The growth along an axis."""
        return [line for line in self.kept.growth if line["axis"] == axis]


# Tables


def table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; all columns but the first hold numbers."""
    lines = [titles, ["---", *("---:" for _ in titles[1:])], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def figure(value: float) -> str:
    """Three digits that count."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _machine(results: Results) -> str:
    kept = results.kept
    machine, load = kept.machine, kept.machine.get("load")
    text = ", ".join((machine["cpu"], f"{machine['cores']} cores", machine["system"], machine["python"]))
    text += f"; {kept.taken[:10]}, commit {kept.commit}."
    if not load:
        return text
    before, after = load
    text += f" Load (processes that wanted a processor) in the minute before the run {before:.1f}, in its last minute {after:.1f}."
    if max(before, after - 1) > OTHERS_MAX:
        text += " **The machine was shared with others: a figure may be twice what it would be alone, and neighbours may trade places.**"
    return text


def _decide(results: Results) -> str:
    middle = sum(RESCORE_FLOOR_US) / 2
    rows = []
    for kind in KINDS:
        point, twin = results.point(kind), results.us("decide", "reference", "100x20", kind)
        one, anew, batch = (point[measure] for measure in MEASURES)
        rows.append([kind, figure(one), figure(anew), f"{anew / middle:.0f}", figure(batch), f"{batch / ROW_FLOOR_US:.1f}", figure(twin)])
    return table(
        ("workload", "one at a time", "every node anew", "of 15 µs", "in a batch", "of 1 µs", "twin, 100 nodes, one at a time"), rows
    )


def _anew(results: Results) -> str:
    rows = []
    for kind in ("plain", "bound", "dynamic", "zonal"):
        parts = [results.least_us("anew", "unknown", f"{NODES}x40", kind, part) for part in ("rows", "filter", "score", "decide")]
        rows.append([kind, *map(figure, parts), figure(results.least_us("anew", "known", f"{NODES}x40", kind))])
    titles = ("workload", "rows of the pod", "and filters", "and scores", "and a ranking: a decision", "scores of a known template")
    return table(titles, rows)


def _exponents(results: Results) -> str:
    rows = []
    for axis in ("nodes", "volumes", "claims"):
        for line in results.lines(axis):
            sizes = [point["size"] for point in line["points"]]
            fits = [line["fits"][measure]["exponent"] for measure in MEASURES]
            last = [line["points"][-1][measure] for measure in MEASURES]
            rows.append([f"{axis}, {line['kind']}", f"{sizes[0]:,} … {sizes[-1]:,}", *(f"{fit:.2f}" for fit in fits), *map(figure, last)])
    names = MEASURES.values()
    titles = ("axis, workload", "sizes", *(f"k, {name}" for name in names), *(f"µs at the end, {name}" for name in names))
    return table(titles, rows)


def _controllers(results: Results) -> str:
    rows = []
    for test in ("provision", "snapshot", "restore", "delete", "bare_loop"):
        for bench in results.all_of("controllers", test):
            story = bench.group.removesuffix(", controllers")
            if "no_volumes" in bench.name:
                story += ", pods without volumes"
            seconds = bench.median_us / 1e6
            pods = bench.facts.get("pods")
            per_pod = f"{bench.median_us / 1e3 / pods:.1f}" if pods else ""
            rows.append([story, str(pods or ""), f"{bench.units:,}", f"{bench.units / seconds:,.0f}", per_pod])
    return table(("story", "pods", "virtual steps", "steps a second", "ms a pod"), rows)


def _rebuild(results: Results) -> str:
    whole = results.bench("updates", "rebuild", "5000x2000")
    fork = results.bench("updates", "fork", "5000x2000")
    return (
        f"A rebuild of the engine at 5,000 nodes ({whole.units:,} objects) takes {whole.median_us / 1e3:,.0f} ms, "
        f"{whole.unit_us:.1f} µs an object; a fork of it {fork.median_us / 1e3:,.2f} ms."
    )


BLOCKS: Final[Mapping[str, Callable[[Results], str]]] = {
    "machine": _machine,
    "decide": _decide,
    "anew": _anew,
    "exponents": _exponents,
    "rebuild": _rebuild,
    "controllers": _controllers,
}


def filled(text: str, results: Results) -> str:
    """The page with its blocks made anew. Raises KeptError for a block that the page does not have exactly once."""
    for name, make in BLOCKS.items():
        pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end {name} -->)", re.DOTALL)
        made = make(results)
        text, count = pattern.subn(lambda match, made=made: f"{match[1]}{made}\n{match[2]}", text)  # type: ignore[misc]
        if count != 1:
            raise KeptError(f"{PAGE}: has {count} blocks <!-- {name} --> … <!-- end {name} -->, one is needed")
    return text


# Figures


def charts(results: Results) -> dict[str, tuple[str, Callable[[], Any]]]:
    """File name -> what it shows, for those who hear it, and how it is drawn."""
    from bench import figures as f  # matplotlib takes a second to import, and only figures need it

    anew = f.Mark("floor of a rescore, 10 to 20 µs", *RESCORE_FLOOR_US)
    row = f.Mark("floor of one row, 1 µs", ROW_FLOOR_US, ROW_FLOOR_US)
    return {
        "decide": ("Time of a decision by workload", partial(_draw_decide, f, results, (anew, row))),
        "growth-nodes": ("Time of a decision against nodes", partial(_draw_nodes, f, results)),
        "growth-storage": ("Time of a decision against volumes and claims", partial(_draw_storage, f, results)),
        "preemption": ("Time of a preemption against nodes", partial(_draw_preemption, f, results)),
        "plugins": ("Time of each plugin alone", partial(_draw_plugins, f, results, (anew,))),
        "updates": ("Time of each update of the engine", partial(_draw_updates, f, results, (row,))),
        "store": ("Time of a write in memory and in a file", partial(_draw_store, f, results)),
        "csi": ("Time of a CSI call in process and over a socket", partial(_draw_csi, f, results)),
        "ingest": ("Time to read an object", partial(_draw_ingest, f, results)),
    }


def _draw_decide(f: Any, results: Results, marks: Sequence[Any]) -> Any:
    series = [f.Series(title, [results.point(kind)[measure] for kind in KINDS]) for measure, title in MEASURES.items()]
    return f.dots(KINDS, series, x=f"µs a pod, {NODES:,} nodes, decide and assume (logarithmic)", marks=marks)


def _series(f: Any, line: Mapping[str, Any], measure: str, label: str) -> Any:
    return f.Series(label, [point[measure] for point in line["points"]], [point["size"] for point in line["points"]])


def _draw_nodes(f: Any, results: Results) -> Any:
    lines = results.lines("nodes")
    panels = [f.Panel(title, "nodes", [_series(f, line, measure, line["kind"]) for line in lines]) for measure, title in MEASURES.items()]
    return f.growth(panels, y="µs a pod (both axes logarithmic)")


def _draw_storage(f: Any, results: Results) -> Any:
    (volumes,) = results.lines("volumes")
    claims = results.lines("claims")
    panels = [f.Panel("volumes, one claim a pod", "volumes", [_series(f, volumes, measure, title) for measure, title in MEASURES.items()])]
    for measure in ("one_us", "batch_us"):
        series = [_series(f, line, measure, f"{line['kind']} claims") for line in claims]
        panels.append(f.Panel(f"claims, {MEASURES[measure]}", "claims a pod", series))
    return f.growth(panels, y="µs a pod, 2,000 nodes (both axes logarithmic)")


def _draw_preemption(f: Any, results: Results) -> Any:
    found: dict[str, list[Bench]] = {}
    for bench in results.all_of("preempt", "native"):
        found.setdefault(bench.group.removesuffix(", preemption"), []).append(bench)
    series = []
    for kind, benches in found.items():
        ordered = sorted(benches, key=lambda bench: bench.facts["nodes"])
        series.append(f.Series(kind, [bench.median_us / 1e3 for bench in ordered], [bench.facts["nodes"] for bench in ordered]))
    return f.growth([f.Panel("a pod that fits nowhere, ten pods a node", "nodes", series)], y="ms a preemption (both axes logarithmic)")


def _draw_plugins(f: Any, results: Results, marks: Sequence[Any]) -> Any:
    rows = list(dict.fromkeys(bench.group for bench in results.all_of("plugins", "native")))
    series = [
        f.Series(f"{nodes} nodes", [results.us("plugins", "native", size, row) for row in rows])
        for nodes, size in (("1,000", "1000x400"), ("5,000", "5000x400"))
    ]
    return f.dots(rows, series, x="µs a pod, p50, a pod of its own template, decide and assume (logarithmic)", marks=marks)


def _draw_updates(f: Any, results: Results, marks: Sequence[Any]) -> Any:
    size = "5000x2000"
    changes = [bench.name for bench in results.all_of("updates", "native") if f"[{size}-" in bench.name and bench.name.endswith("-alone]")]
    rows = [name.partition(f"[{size}-")[2].removesuffix("-alone]") for name in changes]
    alone: list[float | None] = [results.us("updates", "native", size, row, "alone") for row in rows]
    decided: list[float | None] = [results.us("updates", "native", size, row, "decide") for row in rows]
    series = [
        f.Series("the update", [*alone, results.us("updates", "assume_forget", size)]),
        f.Series("and then a decision", [*decided, None]),
    ]
    return f.dots([*rows, "assume-forget"], series, x="µs an update, 5,000 nodes, median (logarithmic)", marks=marks)


def _draw_store(f: Any, results: Results) -> Any:
    writes = ("create", "update", "status", "delete", "batch")
    rows = [*(f"{write}, store" for write in writes), "commit, journal", "batch, journal"]
    none: list[float | None] = [None, None]
    series = [
        f.Series("memory", [*(results.us("store", write, "memory") for write in writes), *none]),
        f.Series("SQLite file", [*(results.us("store", write, "file") for write in writes), *_both(results, "commit", "batch")]),
        f.Series("bare sqlite3", [*(None for _ in writes), *_both(results, "commit_bare", "batch_bare")]),
    ]
    return f.dots(rows, series, x="µs a write, median; batch: one of 100 in a transaction (logarithmic)")


def _both(results: Results, *tests: str) -> list[float]:
    return [results.us("journal", test) for test in tests]


def _draw_csi(f: Any, results: Results) -> Any:
    tests = ("probe", "create_volume", "create_snapshot", "mount_and_unmount", "list_volumes")
    rows = [results.bench("csi", test, "grpc").group.removesuffix(", CSI") for test in tests]
    series = [
        f.Series(label, [results.us("csi", test, transport) for test in tests])
        for label, transport in (("in process", "inprocess"), ("gRPC over a unix socket", "grpc"))
    ]
    return f.dots(rows, series, x="µs a call, median (logarithmic)")


def _draw_ingest(f: Any, results: Results) -> Any:
    (yaml,), (lines,) = results.all_of("ingest", "yaml"), results.all_of("ingest", "lines")
    encoded = {bench.group.removesuffix(", rows"): bench for bench in results.all_of("ingest", "rows")}
    plain = {bench.group.removesuffix(", rows"): bench for bench in results.all_of("ingest", "rows_in_python")}
    rows = ["YAML", "JSON lines", *(f"{kind} to rows" for kind in encoded)]
    gap: list[float | None] = [None] * len(encoded)

    def alone(test: str) -> float:
        (bench,) = results.all_of("ingest", test)
        return bench.unit_us

    series = [
        f.Series("volsched", [yaml.unit_us, lines.unit_us, *(bench.unit_us for bench in encoded.values())]),
        f.Series("PyYAML or json alone", [alone("yaml_parser_alone"), alone("lines_json_loads"), *gap]),
        f.Series("msgspec, to dicts", [None, alone("lines_msgspec_dicts"), *gap]),
        f.Series("msgspec, to Structs", [None, alone("lines_msgspec_structs"), *gap]),
        f.Series("in plain Python", [None, None, *(plain[kind].unit_us for kind in encoded)]),
    ]
    return f.dots(rows, series, x="µs an object, median (logarithmic)")


def main(arguments: list[str] | None = None) -> int:
    """Write the page and its figures."""
    parser = argparse.ArgumentParser(prog="python -m bench.page", description=__doc__.partition("\n")[0])
    parser.add_argument("results", type=Path, nargs="?", help="kept results; default: the reference of the newest release line")
    given = parser.parse_args(arguments)
    path = given.results or reference()
    if path is None:
        parser.error(f"there is no reference in {RESULTS}: `make bench-reference` first")
    try:
        results = Results(read(path))
        page = filled(PAGE.read_text(encoding="utf-8"), results)
        from bench.figures import write

        FIGURES.mkdir(exist_ok=True)
        for name, (title, draw) in charts(results).items():
            write(FIGURES / f"{name}.svg", draw, title=title)
    except KeptError as error:
        print(error, file=sys.stderr)
        return 1
    PAGE.write_text(page, encoding="utf-8")
    print(f"{PAGE} and {len(charts(results))} figures from {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
