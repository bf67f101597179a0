"""replay: a trace with volumes on a virtual clock."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Final, Literal

import click

from volsched.cli.common import warn
from volsched.cli.help import Command, examples
from volsched.cli.progress import showing
from volsched.env import RealClock
from volsched.errors import InputError
from volsched.ports import Clock
from volsched.replay.report import page
from volsched.replay.report.run import Run
from volsched.replay.session import CHECKPOINT, LOG, SUMMARY, Result, finish, go_on, prepare
from volsched.replay.simulation import Simulation
from volsched.replay.tables import STEPS, require

INTERRUPTED: Final = 130
REPORT: Final = "report.html"
_BAR: Final = 20


class Rate:
    """How far a replay is, how fast it goes and how long it will take, by the pods that have arrived."""

    def __init__(self, simulation: Simulation, clock: Clock) -> None:
        self._simulation = simulation
        self._clock = clock
        self._begun_ns = clock.now_ns()
        self._begun_at = simulation.progress()[0]

    def progress(self) -> str:
        """One line: a bar, pods, pods a second, time left."""
        arrived, total = self._simulation.progress()
        seconds = max((self._clock.now_ns() - self._begun_ns) / 1e9, 1e-9)
        rate = (arrived - self._begun_at) / seconds
        left = f"{duration((total - arrived) / rate)} left" if rate > 0 else "…"
        bar = "█" * (_BAR * arrived // total)
        return f"{100 * arrived // total:3d}% {bar:░<{_BAR}} {arrived:,} of {total:,} pods, {rate:,.0f}/s, {left}"


def duration(seconds: float) -> str:
    """`5 s`, `2 min 05 s`, `3 h 10 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


class Interruption:
    """Whether someone asked for the replay to end: SIGINT or SIGTERM. Asked twice, the process ends as usual."""

    def __init__(self) -> None:
        self.asked = False

    def __call__(self) -> bool:
        return self.asked

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Take the signals while the block runs."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before: dict[int, Any] = {}

        def ask(number: int, _: FrameType | None) -> None:
            self.asked = True
            signal.signal(number, before[number])

        for watched in (signal.SIGINT, signal.SIGTERM):
            before[watched] = signal.signal(watched, ask)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def check_target(out: Path, *, resume: bool, overwrite: bool) -> None:
    """Raises InputError for a directory that this replay may not write to."""
    if out.exists() and not out.is_dir():
        raise InputError("is no directory", source=str(out))
    if resume or overwrite or not out.exists():
        return
    there = [name for name in (LOG, SUMMARY, CHECKPOINT) if (out / name).exists()]
    if CHECKPOINT in there:
        raise InputError("holds an interrupted replay: go on with it (--resume) or begin anew (--overwrite)", source=str(out))
    if there:
        raise InputError("holds a replay already: give another directory, or --overwrite", source=str(out))


@click.command(
    cls=Command,
    epilog=examples(
        ("A trace on its nodes", "volsched replay pods.csv.gz --nodes nodes.csv.gz --out result"),
        (
            "With volumes laid over it, a zone lost, another seed",
            "volsched replay pods.csv --synth o.yaml --events e.yaml --seed 7 --out r7",
        ),
        ("Go on after an interrupt", "volsched replay pods.csv.gz --nodes nodes.csv.gz --out result --resume"),
    ),
)
@click.argument("trace", type=click.Path(path_type=Path))
@click.option("--nodes", type=click.Path(path_type=Path), help="List of nodes (openb, own format) or kube dump to start from.")
@click.option("--synth", type=click.Path(path_type=Path), help="YAML of zones, nodes, classes and claims laid over the trace.")
@click.option("--events", type=click.Path(path_type=Path), help="YAML of what happens to nodes: join, drain, uncordon, lose, return.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of everything the options leave to chance.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Only the first N pods to arrive.")
@click.option("--arrival-rate", type=click.FloatRange(min=0, min_open=True), default=1, help="Pods arrive X times as fast.", metavar="X")
@click.option("--tie-break", type=click.Choice(["first", "name"]), default="first", show_default=True, help="Among nodes that score alike.")
@click.option("--config", type=click.Path(path_type=Path), help="KubeSchedulerConfiguration: the policy.")
@click.option("--one-by-one", is_flag=True, help="Decide pod by pod, not in batches: slower, same result.")
@click.option("--tables", type=click.Choice(["parquet", "csv", "none"]), default="parquet", show_default=True, help="Form of the tables.")
@click.option("--steps", type=click.IntRange(1, 100_000), default=STEPS, show_default=True, help="Rows of the tables over time.")
@click.option("--report/--no-report", default=None, help="Write report.html.  [default: where jinja2 and plotly are installed]")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Directory for summary.json, log.npz, tables and report.html.")
@click.option("--resume", is_flag=True, help="Go on with the replay that was interrupted in --out.")
@click.option("--overwrite", is_flag=True, help="Replace a replay that is in --out.")
def replay(
    trace: Path,
    nodes: Path | None,
    synth: Path | None,
    events: Path | None,
    seed: int,
    limit: int | None,
    arrival_rate: float,
    tie_break: Literal["first", "name"],
    config: Path | None,
    one_by_one: bool,
    tables: Literal["parquet", "csv", "none"],
    steps: int,
    report: bool | None,
    out: Path,
    resume: bool,
    overwrite: bool,
) -> int:
    """Replay TRACE with volumes on a virtual clock: a pod list of openb or DLRM, or of our own in CSV or Parquet (docs/replay.md).

    Same input and seed give the same event log; its hash is printed. An interrupt leaves a partial result, marked as such, and --resume
    comes to the same hash as if nothing had happened.
    """
    form = None if tables == "none" else tables
    if form is not None:
        require(form)
    has_report = page.is_possible() if report is None else report
    if has_report:
        page.require()
    if resume and overwrite:
        raise click.UsageError("--resume goes on with what --overwrite would replace; give one of the two")
    check_target(out, resume=resume, overwrite=overwrite)
    interruption = Interruption()
    with showing(f"reading {trace}") as progress, interruption.watching():
        simulation = prepare(
            trace,
            nodes=nodes,
            synth=synth,
            events=events,
            seed=seed,
            limit=limit,
            arrival_rate=arrival_rate,
            tie_break=tie_break,
            config=config,
            mode="one-by-one" if one_by_one else "batch",
            warn=warn,
        )
        if resume:
            go_on(simulation, out)
        progress.watch(Rate(simulation, RealClock()))
        result = finish(simulation, out, stop=interruption, tables=form, steps=steps)
        if has_report:
            progress.now("writing the report")
            page.write_page(out / REPORT, [Run.of(result, name=out.resolve().name)])
    tell(result)
    if report is not False:
        print(f"report    {out / REPORT}" if has_report else f"report    none, {page.MISSING}")
    if result.is_partial:
        print(f"interrupted: a partial result is in {out}; --resume goes on with it", file=sys.stderr)
        return INTERRUPTED
    return 0


def tell(result: Result) -> None:
    """The figures one looks at first."""
    summary = result.summary
    pods, waited = summary["pods"], summary["wait_s"]
    print(f"pods      {pods['arrived']:,} arrived, {pods['placed']:,} placed, {pods['waiting_at_end']:,} still waiting")
    if waited["mean"] is not None:
        print(f"waited    mean {waited['mean']:,.1f} s, median {waited['p50']:,.1f} s, longest {waited['max']:,.1f} s")
    for row in summary["reasons"][:3]:
        print(f"held back {row['pods']:,} pods: {row['reason']}")
    print(f"log       {summary['events']:,} events over {summary['virtual_s']:,.0f} s, sha256 {summary['log_sha256']}")


__all__ = ["replay"]
