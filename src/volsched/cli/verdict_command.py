"""verdict: decide recorded cases."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from volsched.app.cases import read_lines
from volsched.app.cases import verdict as decide
from volsched.app.engines import make_engine
from volsched.cli.common import engine_option


@click.command()
@click.argument("files", nargs=-1, metavar="[FILE]...", type=click.Path(path_type=Path, allow_dash=True))
@engine_option
def verdict(files: tuple[Path, ...], engine: str) -> None:
    """Read cases as JSON lines (plain or .gz; - or nothing for standard input), write one line of verdict for each, in order."""
    for path in files or (Path("-"),):
        for case in read_lines(path):
            answer = decide(case, lambda **options: make_engine(engine, **options))
            sys.stdout.write(json.dumps(answer, ensure_ascii=False, separators=(",", ":")) + "\n")
