"""verdict: decide recorded cases."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Final

import click

from volsched.app.cases import read_numbered
from volsched.app.cases import verdict as decide
from volsched.app.engines import make_engine
from volsched.cli.common import STANDARD_INPUT, engine_option
from volsched.cli.help import Command, examples
from volsched.cli.progress import showing
from volsched.errors import InputError

_DASH: Final = Path("-")


@click.command(
    cls=Command,
    epilog=examples(
        ("Recorded cases", "volsched verdict cases.jsonl.gz"),
        ("With the plain Python twin", "volsched verdict --engine reference cases.jsonl"),
    ),
)
@click.argument("files", nargs=-1, metavar="[FILE]...", type=click.Path(path_type=Path, allow_dash=True))
@engine_option
def verdict(files: tuple[Path, ...], engine: str) -> None:
    """Read cases as JSON lines (plain or .gz; - or nothing for standard input), write one line of verdict for each, in order.

    A line that is no case ends it with exit code 1; the verdicts before it are written.
    """
    with showing("deciding") as progress:
        for path in files or (_DASH,):
            label = STANDARD_INPUT if path == _DASH else str(path)
            for number, case in read_numbered(sys.stdin.buffer if path == _DASH else path, name=label):
                progress.now(f"{label}, line {number}")
                if sys.stdout.isatty():
                    progress.hide()
                try:
                    answer = decide(case, lambda **options: make_engine(engine, **options))
                except InputError as error:
                    sys.stdout.flush()
                    raise InputError(error.message, source=label, line=number, path=error.path) from error
                sys.stdout.write(json.dumps(answer, ensure_ascii=False, separators=(",", ":")) + "\n")
