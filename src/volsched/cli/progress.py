"""A line of progress on standard error for what takes more than two seconds, on a terminal only; wiped before anything is printed."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, Protocol

from volsched.cli.layout import shortened

DELAY_S: Final = 2.0
PERIOD_S: Final = 0.5
_WIPE: Final = "\r\x1b[2K"


class Progressing(Protocol):
    def progress(self) -> str:
        """One line saying how far things are."""


class Progress:
    """What is being done, shown twice a second once `DELAY_S` have passed."""

    def __init__(self, text: str) -> None:
        self._text: Callable[[], str] = lambda: text
        self._lock = threading.Lock()
        self._shown = False
        self._hidden = False

    def now(self, text: str) -> None:
        """From now on this is being done."""
        self._text, self._hidden = lambda: text, False

    def watch(self, subject: Progressing) -> None:
        """From now on `subject` says how far it is."""
        self._text, self._hidden = subject.progress, False

    def hide(self) -> None:
        """Wipe the line, for output that follows; `now` and `watch` bring it back."""
        with self._lock:
            self._hidden = True
            self._wipe()

    def show(self) -> None:
        """Draw the line."""
        with self._lock:
            if self._hidden:
                return
            self._shown = True
            print(f"{_WIPE}{shortened(self._text(), 78)}", end="", file=sys.stderr, flush=True)

    def _wipe(self) -> None:
        if self._shown:
            self._shown = False
            print(_WIPE, end="", file=sys.stderr, flush=True)


@contextmanager
def showing(text: str) -> Iterator[Progress]:
    """Show progress while the block runs, where standard error is a terminal."""
    progress = Progress(text)
    if not sys.stderr.isatty():
        yield progress
        return
    stop = threading.Event()

    def show() -> None:
        delay = DELAY_S
        while not stop.wait(delay):
            progress.show()
            delay = PERIOD_S

    thread = threading.Thread(target=show, daemon=True)
    thread.start()
    try:
        yield progress
    finally:
        stop.set()
        thread.join()
        progress.hide()
