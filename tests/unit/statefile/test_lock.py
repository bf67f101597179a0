"""One writer at a time, for as long as its process lives."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.store.worlds import ROOT
from volsched.statefile.lock import HeldError, Lock

HOLD = """
import sys
from pathlib import Path
from volsched.statefile.lock import Lock
Lock.take(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


def lock_file(path: Path) -> Path:
    return path.with_name(path.name + "-lock")


def test_a_lock_is_taken_once_and_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    lock = Lock.take(path)
    assert lock_file(path).stat().st_mode & 0o777 == 0o600
    with pytest.raises(HeldError) as held:
        Lock.take(path)
    assert held.value.holder == os.getpid()
    lock.release()
    assert list(tmp_path.iterdir()) == []
    Lock.take(path).release()


def test_a_killed_process_lets_go(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(HeldError) as held:
            Lock.take(path)
        assert held.value.holder in (holder.pid, None)
        holder.send_signal(signal.SIGKILL)
    assert lock_file(path).exists()
    Lock.take(path).release()
    assert list(tmp_path.iterdir()) == []


def test_a_lock_file_that_vanishes_is_not_the_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its holder removes it between our opening it and our locking it: then another process may have locked the next one already."""
    path = tmp_path / "x.db"
    open_file, seen = os.open, []

    def open_too_early(name: Path, flags: int, mode: int) -> int:
        descriptor = open_file(name, flags, mode)
        seen.append(descriptor)
        if len(seen) == 1:
            name.unlink()
        return descriptor

    monkeypatch.setattr(os, "open", open_too_early)
    lock = Lock.take(path)
    assert len(seen) == 2
    assert lock_file(path).exists()
    lock.release()


def test_a_fork_neither_has_the_lock_nor_gives_it_back(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    lock = Lock.take(path)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            lock.release()
            Lock.take(path)
        except HeldError:
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert lock_file(path).exists()
    lock.release()
