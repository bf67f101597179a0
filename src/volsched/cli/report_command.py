"""report: one HTML page about one or more replays."""

from __future__ import annotations

from pathlib import Path

import click

from volsched.cli.help import Command, examples
from volsched.cli.progress import showing
from volsched.replay.report.page import require, write_page
from volsched.replay.report.run import Run


@click.command(
    cls=Command,
    epilog=examples(
        ("Two replays side by side", "volsched report result other --out comparison.html"),
        ("One replay again, as a page", "volsched report result --out result/report.html"),
    ),
)
@click.argument("runs", type=click.Path(path_type=Path), nargs=-1, required=True)
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), default="report.html", show_default=True, help="The page.")
def report(runs: tuple[Path, ...], out: Path) -> None:
    """Write one HTML page about what `volsched replay --out` has left in RUNS, directories, several of them side by side.

    The page needs nothing from elsewhere and asks no network.
    """
    require()
    with showing("reading") as progress:
        found = []
        for directory in runs:
            progress.now(f"reading {directory}")
            found.append(Run.read(directory))
        progress.now(f"writing {out}")
        write_page(out, found)
    print(f"report    {out}")
