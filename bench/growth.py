"""How the time of a decision grows: python -m bench.growth [--json FILE]

    nodes     500 … 20,000 (with --large 100,000), every workload, 2,000 pods
    volumes   300 … 60,000 on 2,000 nodes: volumes that nothing tells apart form a group, groups stay as large and become more
    claims    1 … 16 a pod on 2,000 nodes, all bound, all static or all dynamic

At every point three figures in microseconds a pod, decide and assume: the median of pods one at a time through Python that share their
templates; the median of pods that are templates of their own, so that every node is filtered and scored; and the mean of a batch. Each is
taken ten times on forks of the engine and the lowest is kept, since other programs only ever make it slower; `--again` adds a run to those
of an earlier one. The growth exponent k is that of time = c * size^k, fitted by least squares over the logarithms: 0 does not grow, 1 grows
as the size does.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, Final, NamedTuple

import numpy as np

from bench import grown
from bench.loading import loaded, own_template, place
from bench.workloads import KINDS, objects
from volsched.cli.layout import grid

NODES: Final = (500, 1_000, 2_000, 5_000, 10_000, 20_000)
NODES_LARGE: Final = 100_000
ZONES: Final = (10, 50, 200, 500, 1_000, 2_000)
CLAIMS: Final = (1, 2, 4, 8, 16)
CLAIM_KINDS: Final[tuple[grown.ClaimKind, ...]] = ("bound", "static", "dynamic")
BATCH_PODS: Final = 2_000
SINGLE_PODS: Final = 400
RESCORED_PODS: Final = 60
ROUNDS: Final = 10
MEASURES: Final = {"one_us": "one at a time, p50", "rescore_us": "every node anew, p50", "batch_us": "in a batch, mean"}


class Fit(NamedTuple):
    """time = factor * size^exponent. r_squared: how much of what the logarithms vary it explains, 1 all of it."""

    exponent: float
    factor: float
    r_squared: float


class Point(NamedTuple):
    """Microseconds a pod at one size."""

    size: int
    one_us: float
    rescore_us: float
    batch_us: float


class Line(NamedTuple):
    """What was measured along one axis of one workload."""

    axis: str
    kind: str
    points: tuple[Point, ...]

    def fits(self) -> dict[str, Fit]:
        """The growth of every measure; none where there is one point only."""
        if len(self.points) < 2:
            return {}
        sizes = [point.size for point in self.points]
        return {measure: fitted(sizes, [getattr(point, measure) for point in self.points]) for measure in MEASURES}

    def to_json(self) -> dict[str, Any]:
        """As it is kept."""
        fits = {measure: {name: round(value, 4) for name, value in fit._asdict().items()} for measure, fit in self.fits().items()}
        return {"axis": self.axis, "kind": self.kind, "points": [point._asdict() for point in self.points], "fits": fits}


def lower(line: Line, earlier: Sequence[Mapping[str, Any]]) -> Line:
    """The line with the lower of its figures and those of an earlier run (as `to_json` gives them), point by point.

    Raises ValueError where the earlier run has other sizes.
    """
    for before in earlier:
        if (before["axis"], before["kind"]) == (line.axis, line.kind):
            points = [Point(**point) for point in before["points"]]
            if [point.size for point in points] != [point.size for point in line.points]:
                raise ValueError(f"the earlier figures of {line.kind} along {line.axis} have other sizes; leave --again out")
            both = zip(points, line.points, strict=True)
            return line._replace(points=tuple(Point(*map(min, old, new)) for old, new in both))
    return line


def fitted(sizes: Sequence[float], times: Sequence[float]) -> Fit:
    """Least squares over logarithms, float64. Raises ValueError for fewer than two different sizes, or a value that has no logarithm."""
    if len(set(sizes)) < 2 or len(sizes) != len(times):
        raise ValueError(f"a fit needs a time for each of at least two sizes, not {len(times)} for {sorted(set(sizes))}")
    if min(*sizes, *times) <= 0:
        raise ValueError("sizes and times are positive")
    x, y = np.log(np.asarray(sizes, dtype=np.float64)), np.log(np.asarray(times, dtype=np.float64))
    exponent, constant = np.polyfit(x, y, 1)
    rest, spread = float(np.sum((y - exponent * x - constant) ** 2)), float(np.sum((y - y.mean()) ** 2))
    return Fit(float(exponent), float(np.exp(constant)), 1.0 if spread == 0 else 1 - rest / spread)


def _split(found: Iterable[Any]) -> tuple[list[Any], list[Any]]:
    cluster: list[Any] = []
    pending: list[Any] = []
    for obj in found:
        (pending if obj.kind == "Pod" else cluster).append(obj)
    return cluster, pending


def _each_us(engine: Any, pods: Sequence[Any]) -> float:
    """The median of pods placed one after the other, microseconds."""
    took = []
    for pod in pods:
        begun = time.perf_counter_ns()
        place(engine, pod)
        took.append(time.perf_counter_ns() - begun)
    return median(took) / 1e3


def _batch_us(engine: Any, pods: Sequence[Any]) -> float:
    """The mean of pods placed in one call, microseconds. Compiling the batch is not timed."""
    batch = engine.batch(pods)
    begun = time.perf_counter_ns()
    engine.schedule_many(batch)
    return (time.perf_counter_ns() - begun) / 1e3 / len(pods)


def measured(size: int, found: Iterable[Any]) -> Point:
    """The figures of one cluster, each on a fork of its own."""
    cluster, pending = _split(found)
    engine = loaded("native", cluster)
    anew = [own_template(pod, number) for number, pod in enumerate(pending[:RESCORED_PODS])]
    gc.collect()
    gc.disable()
    try:
        runs = ((_each_us, pending[:SINGLE_PODS]), (_each_us, anew), (_batch_us, pending))
        figures = [min(run(engine.fork(), pods) for _ in range(ROUNDS)) for run, pods in runs]
    finally:
        gc.enable()
    return Point(size, *(round(figure, 3) for figure in figures))


def lines(axes: Sequence[str], kinds: Sequence[str], *, nodes: Sequence[int], tell: Callable[[str], None]) -> Iterator[Line]:
    """Measure everything asked for, telling of each cluster before it is made."""

    def line(axis: str, kind: str, sizes: Sequence[int], made: Callable[[int], Iterable[Any]], scale: int = 1) -> Line:
        points = []
        for size in sizes:
            tell(f"{kind}: {size * scale:,} {axis}")
            points.append(measured(size * scale, made(size)))
        return Line(axis, kind, tuple(points))

    for kind in kinds if "nodes" in axes else ():
        yield line("nodes", kind, nodes, partial(_workload, kind))
    if "volumes" in axes:
        yield line("volumes", "zonal", ZONES, grown.volumes, grown.VOLUMES_PER_ZONE)
    for claim_kind in CLAIM_KINDS if "claims" in axes else ():
        yield line("claims", claim_kind, CLAIMS, partial(_claims, claim_kind))


def _workload(kind: str, nodes: int) -> Iterable[Any]:
    return objects(kind, nodes, BATCH_PODS)


def _claims(kind: grown.ClaimKind, per_pod: int) -> Iterable[Any]:
    return grown.claims(per_pod, kind)


def tables(found: Sequence[Line]) -> list[str]:
    """A table for each axis: a row for each workload and measure, a column for each size, and the exponent."""
    text: list[str] = []
    for axis in dict.fromkeys(line.axis for line in found):
        those = [line for line in found if line.axis == axis]
        titles = [axis.upper(), "MICROSECONDS A POD", *(f"{point.size:,}" for point in those[0].points), "EXPONENT", "R2"]
        rows = [_row(line, measure) for line in those for measure in MEASURES]
        text += [*([""] if text else []), *grid(titles, rows)]
    return text


def _row(line: Line, measure: str) -> list[str]:
    fit = line.fits().get(measure)
    growth = ["", ""] if fit is None else [f"{fit.exponent:.2f}", f"{fit.r_squared:.2f}"]
    return [line.kind, MEASURES[measure], *(f"{getattr(point, measure):,.1f}" for point in line.points), *growth]


def main(arguments: list[str] | None = None) -> int:
    """Measure, print the tables and write the figures."""
    parser = argparse.ArgumentParser(prog="python -m bench.growth", description=__doc__.partition("\n")[0])
    parser.add_argument("--axes", nargs="+", choices=("nodes", "volumes", "claims"), default=["nodes", "volumes", "claims"])
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS), metavar="KIND", help="workloads of the axis nodes")
    parser.add_argument("--nodes", nargs="+", type=int, default=list(NODES), metavar="N")
    parser.add_argument("--large", action="store_true", help=f"{NODES_LARGE:,} nodes too; takes minutes and gigabytes")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    parser.add_argument("--again", action="store_true", help="keep what is lower in the FILE, of the same code and machine")
    given = parser.parse_args(arguments)
    if min(given.nodes) < 1 or len(set(given.nodes)) != len(given.nodes):
        parser.error("--nodes takes different numbers above 0")
    if given.again and not (given.json and given.json.exists()):
        parser.error("--again needs the --json FILE of an earlier run")
    earlier = json.loads(given.json.read_text()) if given.again else []
    nodes = sorted({*given.nodes, *([NODES_LARGE] if given.large else [])})
    found = list(lines(given.axes, given.kinds, nodes=nodes, tell=lambda text: print(text, file=sys.stderr, flush=True)))
    try:
        found = [lower(line, earlier) for line in found]
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    print("\n".join(tables(found)))
    if given.json:
        given.json.write_text(json.dumps([line.to_json() for line in found], indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
