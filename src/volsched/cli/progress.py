"""A line of progress on standard error for runs that take more than two seconds, on a terminal only."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

DELAY_S = 2.0


class Progressing(Protocol):
    def progress(self) -> str:
        """One line saying how far things are."""


@contextmanager
def running(subject: Progressing) -> Iterator[None]:
    """Show `subject.progress()` twice a second once two seconds have passed; the line is wiped at the end."""
    if not sys.stderr.isatty():
        yield
        return
    stop = threading.Event()
    shown = False

    def show() -> None:
        nonlocal shown
        if stop.wait(DELAY_S):
            return
        while not stop.wait(0.5):
            shown = True
            print(f"\r\x1b[2K{subject.progress()}", end="", file=sys.stderr, flush=True)

    thread = threading.Thread(target=show, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        if shown:
            print("\r\x1b[2K", end="", file=sys.stderr, flush=True)
