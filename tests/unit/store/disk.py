"""What a power cut may leave of files: the operations that disk.cpp recorded, and the states a crashed disk may be in after some of them.

What a sync covered is there. Of everything after it, in any order and sector by sector, a crash keeps what it likes: a write may be there
in parts, a file may have its new size and zeros in place of its bytes, a file made or removed since its folder was synced may be there or
not. One thing is assumed, as SQLite does (powersafe overwrite): a write leaves the bytes beside it alone, even in the same sector.
"""

from __future__ import annotations

import os
import random
import subprocess
import sysconfig
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

SECTOR_BYTES = 512
SOURCE = Path(__file__).with_suffix(".cpp")


def built(folder: Path) -> Path:
    """The library to preload. Raises CalledProcessError, FileNotFoundError where there is no C++ compiler."""
    library = folder / "disk.so"
    compiler = os.environ.get("CXX", (sysconfig.get_config_var("CXX") or "c++").split()[0])
    command = [compiler, "-std=c++20", "-O1", "-shared", "-fPIC", "-Wall", "-Wextra", "-Werror", "-o", str(library), str(SOURCE), "-ldl"]
    subprocess.run(command, check=True, capture_output=True, text=True)
    return library


class Operation(NamedTuple):
    """One entry of a record."""

    name: str
    path: str
    offset: int
    data: bytes


def read_record(path: Path) -> list[Operation]:
    """Everything recorded so far; an entry that is still being written is left out."""
    raw = path.read_bytes()
    found: list[Operation] = []
    position = 0
    while (end := raw.find(b"\n", position)) >= 0:
        name, place, offset, size = raw[position:end].decode().split(" ")
        position = end + 1 + int(size)
        if position > len(raw):
            break
        found.append(Operation(name, place, int(offset), raw[end + 1 : position]))
    return found


@dataclass
class Content:
    """The bytes of a file: those a sync covered, and what was done since."""

    synced: bytes = b""
    since: list[Operation] = field(default_factory=list)

    def sync(self) -> None:
        self.synced, self.since = _applied(self.synced, self.since), []

    def after_crash(self, chance: random.Random) -> bytes:
        """What may be left."""
        if not self.since:
            return self.synced
        match chance.randrange(5):
            case 0:
                return self.synced
            case 1:
                return _applied(self.synced, self.since)
            case 2:  # the tail is cut, in the middle of a write
                kept = self.since[: chance.randrange(len(self.since) + 1)]
                rest = self.since[len(kept) : len(kept) + 1]
                torn = [operation._replace(data=operation.data[: chance.randrange(len(operation.data) + 1)]) for operation in rest]
                return _applied(self.synced, [*kept, *torn])
            case 3:  # any sectors, in any order
                return _applied(self.synced, [piece for operation in self.since for piece in _pieces(operation) if chance.random() < 0.5])
            case _:  # sizes without bytes
                kept = [piece for operation in self.since for piece in _pieces(operation) if chance.random() < 0.5]
                size = len(_applied(self.synced, self.since))
                return _applied(self.synced, kept).ljust(size, b"\0")


def _pieces(operation: Operation) -> list[Operation]:
    """A write as the sectors it touches."""
    if operation.name != "write":
        return [operation]
    found = []
    start = 0
    while start < len(operation.data):
        end = min(len(operation.data), start + SECTOR_BYTES - (operation.offset + start) % SECTOR_BYTES)
        found.append(operation._replace(offset=operation.offset + start, data=operation.data[start:end]))
        start = end
    return found


def _applied(content: bytes, operations: Sequence[Operation]) -> bytes:
    image = bytearray(content)
    for operation in operations:
        if operation.name == "truncate":
            del image[operation.offset :]
            image.extend(bytes(operation.offset - len(image)))
        else:
            image.extend(bytes(max(0, operation.offset - len(image))))
            image[operation.offset : operation.offset + len(operation.data)] = operation.data
    return bytes(image)


class Disk:
    """The files of one folder, from what is there at the start (all of it synced) through the operations of a process."""

    def __init__(self, folder: Path) -> None:
        self._folder = str(folder)
        self._names: dict[str, Content] = {str(path): Content(path.read_bytes()) for path in sorted(folder.iterdir()) if _kept(path)}
        self._synced_names: dict[str, Content | None] = dict(self._names)
        self._renamed: dict[str, list[Content | None]] = {}  # since the folder was synced: what a name meant, in turn

    def carry_out(self, operation: Operation) -> None:
        name, path = operation.name, operation.path
        if path == self._folder:
            self._synced_names |= {name: meanings[-1] for name, meanings in self._renamed.items()}
            self._renamed = {}
        elif name == "create":
            self._names[path] = Content()
            self._renamed.setdefault(path, []).append(self._names[path])
        elif name == "unlink":
            del self._names[path]
            self._renamed.setdefault(path, []).append(None)
        elif name == "sync":
            self._names[path].sync()
        else:
            self._names[path].since.append(operation)

    def after_crash(self, chance: random.Random) -> dict[str, bytes]:
        """File names and contents that may be left."""
        left: dict[str, bytes] = {}
        for path in sorted({*self._synced_names, *self._renamed}):
            meanings = [self._synced_names.get(path), *self._renamed.get(path, ())]
            content = chance.choice(meanings)
            if content is not None:
                left[Path(path).name] = content.after_crash(chance)
        return left


def _kept(path: Path) -> bool:
    return path.is_file() and not path.name.endswith(("-shm", "-lock"))


def restore(folder: Path, files: Mapping[str, bytes]) -> None:
    """Put these files into a folder, and nothing else."""
    for path in folder.iterdir():
        path.unlink()
    for name, content in files.items():
        (folder / name).write_bytes(content)
