"""bench: decide and assume every pending pod of a file."""

from __future__ import annotations

import json
from pathlib import Path

import click

from volsched.app.bench import bench as run_bench
from volsched.app.bench import bench_batch, load
from volsched.app.engines import make_engine
from volsched.cli.common import engine_option, exact_capacity_option, tie_break_option, warn
from volsched.cli.help import Command, examples
from volsched.cli.progress import showing
from volsched.engine import Engine
from volsched.env import RealClock


@click.command(
    cls=Command,
    epilog=examples(
        ("A cluster with pending pods", "volsched bench workload.jsonl"),
        ("No longer than ten seconds", "volsched bench workload.jsonl --limit 10"),
        ("Columns, in one native call", "volsched bench workload.npz --batch"),
    ),
)
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--batch", is_flag=True, help="All pods in one native call instead of one after the other through Python.")
@click.option("--limit", type=click.FloatRange(min=0), metavar="S", help="Stop after this many seconds.")
@tie_break_option
@click.option("--seed", type=int, default=0, show_default=True, help="For --tie-break random.")
@exact_capacity_option("each claim is tested alone, as Kubernetes does")
@engine_option
def bench(file: Path, batch: bool, limit: float | None, tie_break: str, seed: int, exact_capacity: bool | None, engine: str) -> None:
    """Decide and assume every pending pod of FILE in file order and print one JSON line of figures.

    FILE holds a cluster and pending pods, as JSON lines, manifests or columns (see `volsched pack`), objects with their status. Loading is
    not timed.
    """
    clock = RealClock()
    chosen = make_engine(engine, tie_break=tie_break, seed=seed, exact_capacity=bool(exact_capacity))  # type: ignore[arg-type]
    if batch and not isinstance(chosen, Engine):
        raise click.UsageError("--batch is for the native engine")
    with showing(f"loading {file}") as progress:
        workload = load(file, chosen, warn=warn, capacity_clock=clock if exact_capacity else None)
        progress.watch(workload)
        if batch and isinstance(chosen, Engine):
            result = bench_batch(chosen, workload, clock, limit_s=limit)
        else:
            result = run_bench(chosen, workload, clock, limit_s=limit)
    print(json.dumps(result._asdict()))
