"""sweep: every combination of some options of a replay."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import click

from volsched.cli.help import Command, examples
from volsched.cli.progress import showing
from volsched.errors import InputError
from volsched.replay.sweep import MISSING, TABLE, Sweep, require, run_sweep

SOME_FAILED: Final = 1
CONNECT_S: Final = 30


@click.command(
    cls=Command,
    epilog=examples(
        ("In two processes", "volsched sweep sweep.yaml --jobs 2 --out sweep"),
        ("On a dask cluster that is there", "volsched sweep sweep.yaml --dask tcp://127.0.0.1:8786 --out sweep"),
    ),
)
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--jobs", type=click.IntRange(min=1), help="Processes at once.  [default: one a core]")
@click.option("--dask", "scheduler", metavar="ADDRESS", help="Scheduler of a dask.distributed cluster whose workers see the same files.")
@click.option("--retries", type=click.IntRange(min=0), default=1, show_default=True, help="How often a run that fails is tried again.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), required=True, help="Directory of the runs and the table.")
def sweep(file: Path, jobs: int | None, scheduler: str | None, retries: int, out: Path) -> int:
    """Replay every combination of the options FILE lets vary - policies, seeds, sizes - and write one table (docs/replay.md).

    A sweep that is begun again goes on with the runs that are missing or failed. Exit code 1 when some failed; the table says why.
    """
    require()
    if jobs is not None and scheduler is not None:
        raise click.UsageError("--jobs is for this machine, --dask for a cluster; give one of the two")
    found = Sweep.read(file)
    with showing(f"reading {file}") as progress:

        def told(done: int, total: int) -> None:
            progress.now(f"{done:,} of {total:,} runs")

        if scheduler is None:
            table = run_sweep(found, out, jobs=jobs or -1, retries=retries, told=told)
        else:
            with _cluster(scheduler):
                table = run_sweep(found, out, retries=retries, told=told)
    failed = [text for text in table["failed"].tolist() if text]
    print(f"runs      {len(table['failed']):,}, {len(failed):,} failed")
    print(f"table     {out / TABLE}")
    for text in dict.fromkeys(failed):
        click.echo(f"error: {text}", err=True)
    return SOME_FAILED if failed else 0


@contextmanager
def _cluster(scheduler: str) -> Iterator[None]:
    """joblib's work goes to the workers of a dask cluster. Raises InputError when there is none."""
    try:
        import distributed
        import joblib
    except ImportError:
        raise InputError(MISSING) from None
    try:
        client = distributed.Client(scheduler, timeout=CONNECT_S)  # type: ignore[no-untyped-call]
    except (OSError, ValueError) as error:
        raise InputError(f"--dask {scheduler}: no scheduler answers there: {error}") from error
    with client, joblib.parallel_config(backend="dask"):
        yield
