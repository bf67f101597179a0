"""One writer at a time: a lock on the file `PATH-lock`, which its holder removes when it is done.

The lock is the kernel's (fcntl), so it ends with the process, whatever ends that; a lock file that a killed process leaves is free for the
next one. SQLite's own locks would do as well, but only one that keeps readers out lasts longer than a transaction. It is a file of its own
because closing any descriptor of a database drops SQLite's locks on it (sqlite.org/howtocorrupt.html, 2.2).
"""

from __future__ import annotations

import fcntl
import os
import threading
from pathlib import Path
from typing import Final

_mutex: Final = threading.Lock()
# What this process holds, for which the kernel would not refuse it: path -> the process, since a fork inherits the table but no lock.
_held: Final[dict[Path, int]] = {}


class HeldError(Exception):
    """Another process has the lock, or this one. `holder` is its id, where the kernel tells."""

    def __init__(self, holder: int | None) -> None:
        super().__init__(holder)
        self.holder = holder


class Lock:
    """The right to write a file. Not inherited by a fork."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path = path
        self._descriptor = descriptor
        self._owner = os.getpid()

    @classmethod
    def take(cls, path: Path) -> Lock:
        """Take the lock of the file at a resolved path. Raises HeldError at once if it is taken, OSError if there can be no lock."""
        lock = path.with_name(path.name + "-lock")
        with _mutex:
            if _held.get(path) == os.getpid():
                raise HeldError(os.getpid())
            while True:
                descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
                try:
                    fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    if _is_at(lock, descriptor):
                        break
                except BlockingIOError:
                    held = HeldError(holder_of(lock))
                    os.close(descriptor)
                    raise held from None
                except BaseException:
                    os.close(descriptor)
                    raise
                os.close(descriptor)  # its holder has removed the file since it was opened here: the next one counts
            _held[path] = os.getpid()
        return cls(path, descriptor)

    def release(self) -> None:
        """Give the right back. In a child made by fork, whose parent has it, this does nothing."""
        if os.getpid() != self._owner:
            return
        with _mutex:
            del _held[self._path]
            # removed while it is still held, so nobody can have locked a file that is about to vanish
            self._path.with_name(self._path.name + "-lock").unlink(missing_ok=True)
            os.close(self._descriptor)


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        found = path.stat()
    except FileNotFoundError:
        return False
    return os.path.samestat(found, os.fstat(descriptor))


def holder_of(path: Path) -> int | None:
    """The process that holds a lock on a file, where the kernel tells (Linux)."""
    try:
        inode = str(path.stat().st_ino)
        table = Path("/proc/locks").read_text(encoding="ascii")
    except OSError:
        return None
    for line in table.splitlines():
        fields = line.split()
        # 12: POSIX  ADVISORY  WRITE 4711 fd:01:1234567 1073741826 1073742335
        if len(fields) >= 8 and fields[1] == "POSIX" and fields[5].rpartition(":")[2] == inode and fields[4].isdigit():
            return int(fields[4]) or None
    return None
