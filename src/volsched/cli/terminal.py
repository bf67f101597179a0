"""What standard output is: a terminal of some width that may want colour, or a pipe that gets everything, uncut and plain."""

from __future__ import annotations

import os
import shutil
import sys
from typing import Final, TextIO

_WIDTH_MIN: Final = 40
_SHADES: Final = {"good": "32", "bad": "31", "wait": "33", "dim": "2", "bold": "1"}


def width() -> int | None:
    """Columns of the terminal that standard output is; None for a pipe or file, where nothing is wrapped or cut."""
    if not sys.stdout.isatty():
        return None
    return max(_WIDTH_MIN, shutil.get_terminal_size().columns)


def colourful(stream: TextIO | None = None) -> bool:
    """Whether the stream is a terminal that wants colour (NO_COLOR and TERM=dumb are honoured)."""
    out = stream or sys.stdout
    return bool(out.isatty()) and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def shade(text: str, how: str) -> str:
    """Text in a colour of meaning (good, bad, wait, dim, bold), on a terminal; line by line, so that it pages well."""
    if not how or not colourful():
        return text
    return "\n".join(f"\x1b[{_SHADES[how]}m{line}\x1b[0m" if line else line for line in text.split("\n"))
