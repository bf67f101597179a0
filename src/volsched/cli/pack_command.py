"""pack: a workload file as columns."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from volsched.api.columns import is_columns, write_columns
from volsched.app.columns import pack as packed
from volsched.cli.common import warn
from volsched.cli.help import Command, examples
from volsched.cli.progress import showing
from volsched.errors import InputError


@click.command(
    cls=Command,
    epilog=examples(
        ("A cluster with pending pods as columns", "volsched pack workload.jsonl --out workload.npz"),
    ),
)
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path, dir_okay=False), metavar="NPZ", help="The file to write.")
def pack(file: Path, out: Path) -> None:
    """Write the cluster and pending pods of FILE as templates and columns (docs/columnar.md).

    FILE holds JSON lines or manifests, objects with their status. What is written loads many times faster and decides the same.
    """
    with showing(f"reading {file}") as progress:
        if file.is_file() and is_columns(file):
            raise InputError("is a columnar file already", source=str(file))
        columns = packed(file, warn=warn)
        progress.now(f"writing {out}")
        write_columns(out, columns)
    objects = sum(table.rows for table in columns.tables)
    print(f"{out}: {objects:,} objects in {len(columns.tables):,} tables, {out.stat().st_size:,} bytes", file=sys.stderr)
