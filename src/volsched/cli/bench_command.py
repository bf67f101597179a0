"""bench: decide and assume every pending pod of a file."""

from __future__ import annotations

import json
from pathlib import Path

import click

from volsched.app.bench import bench as run_bench
from volsched.app.bench import load
from volsched.app.engines import make_engine
from volsched.cli.common import engine_option, exact_capacity_option, tie_break_option, warn
from volsched.cli.progress import showing
from volsched.env import RealClock


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--limit", type=click.FloatRange(min=0), metavar="S", help="Stop after this many seconds.")
@tie_break_option
@click.option("--seed", type=int, default=0, show_default=True, help="For --tie-break random.")
@exact_capacity_option("each claim is tested alone, as Kubernetes does")
@engine_option
def bench(file: Path, limit: float | None, tie_break: str, seed: int, exact_capacity: bool | None, engine: str) -> None:
    """Decide and assume every pending pod of FILE in file order and print one JSON line of figures.

    FILE holds a cluster and pending pods, as JSON lines or manifests, objects with their status. Loading is not timed.
    """
    clock = RealClock()
    chosen = make_engine(engine, tie_break=tie_break, seed=seed, exact_capacity=bool(exact_capacity))  # type: ignore[arg-type]
    with showing(f"loading {file}") as progress:
        workload = load(file, chosen, warn=warn, capacity_clock=clock if exact_capacity else None)
        progress.watch(workload)
        result = run_bench(chosen, workload, clock, limit_s=limit)
    print(json.dumps(result._asdict()))
