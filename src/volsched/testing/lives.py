"""One life of a driver, from its start to its end: on threads of this process, or in a process of its own.

A life answers questions (`served.Served.ask`) and tells of calls. One in a process may end by itself, killed by a fault or by anybody;
it then says so once, from a thread of its own.
"""

from __future__ import annotations

import contextlib
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

import msgspec

from volsched.csi.backend import FakeDriver
from volsched.csi.state import Journal
from volsched.errors import CsiCode, CsiError, InputError
from volsched.testing.served import Served, Settings, Tell

ANSWER_S: Final = 60.0  # for a machine that is busy with other things
STOP_GRACE_S: Final = 1.0


class DiedError(Exception):
    """The life ended before it answered."""


class Here:
    """On threads of this process. `kill` cuts its connections. Raises VolschedError when it cannot be started."""

    def __init__(self, settings: Settings, tell: Tell, journal: Journal) -> None:
        self.over: Final = threading.Event()  # it has ended, and whoever was to be told of that has been
        self._served = Served(settings, tell, journal=journal)

    @property
    def backend(self) -> FakeDriver:
        return self._served.backend

    def ask(self, question: str, arguments: Mapping[str, Any]) -> Any:
        """Raises CsiError for an id that is not known."""
        return self._served.ask(question, arguments)

    def stop(self, *, kill: bool) -> None:
        self._served.stop(grace_s=0.0 if kill else STOP_GRACE_S)
        self.over.set()


class Child:
    """In a process of its own (child.py). `died` is called, with what the faults have counted so far, when it ends unasked.

    Raises VolschedError when it cannot be started.
    """

    def __init__(self, settings: Settings, tell: Tell, died: Callable[[Child, Mapping[str, tuple[int, int]] | None], None]) -> None:
        self.over: Final = threading.Event()
        self._tell = tell
        self._died = died
        self._turn = threading.Lock()
        self._answers: Final[queue.SimpleQueue[Any]] = queue.SimpleQueue()
        self._ending = False
        command = [sys.executable, "-m", "volsched.testing.child", msgspec.json.encode(settings).decode()]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._reader = threading.Thread(target=self._read, name="csi-driver", daemon=True)
        self._reader.start()
        said = self._next()
        if said is None or "refused" in said:
            self.stop(kill=True)
            raise InputError("the driver died while it started" if said is None else said["refused"])

    def ask(self, question: str, arguments: Mapping[str, Any]) -> Any:
        """Raises DiedError; CsiError for an id that is not known."""
        with self._turn:
            stdin = self._process.stdin
            assert stdin is not None
            with contextlib.suppress(BrokenPipeError, ValueError):  # it has ended, and its pipe may be closed already
                stdin.write(msgspec.json.encode({"ask": question, "with": arguments}) + b"\n")
                stdin.flush()
            said = self._next()
        if said is None:
            self._answers.put(None)  # for whoever asks next
            raise DiedError
        if "error" in said:
            raise CsiError(CsiCode(said["error"]["code"]), said["error"]["detail"])
        return said["answer"]

    def stop(self, *, kill: bool) -> None:
        self._ending = True
        if kill:
            self._process.kill()
        self._close_stdin()
        self._process.wait()
        if self._reader is not threading.current_thread():
            self._reader.join()

    def _close_stdin(self) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()

    def _next(self) -> Any:
        """What the process says that is no call; None when it has ended."""
        try:
            return self._answers.get(timeout=ANSWER_S)
        except queue.Empty:
            raise InputError(f"the driver's process {self._process.pid} does not answer") from None

    def _read(self) -> None:
        stdout = self._process.stdout
        assert stdout is not None
        counted = None
        with stdout:
            for line in stdout:
                if not line.endswith(b"\n"):
                    break  # it was killed in the middle of a word
                said = msgspec.json.decode(line)
                if "counted" in said:
                    counted = msgspec.convert(said["counted"], dict[str, tuple[int, int]])
                elif "call" in said or "done" in said:
                    self._tell(said)
                else:
                    self._answers.put(said)
        self._process.wait()
        self._answers.put(None)
        if not self._ending:
            self._close_stdin()
            self._died(self, counted)
        self.over.set()


Life: TypeAlias = Here | Child
