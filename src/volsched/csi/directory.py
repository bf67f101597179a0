"""Content of volumes and snapshots as real files below one directory.

    ROOT/volumes/vol-0001/fs/…        a mount volume: its tree             published as a symbolic link to `fs`
    ROOT/volumes/vol-0002/device      a block volume: a sparse file        published as a symbolic link to `device`
    ROOT/snapshots/snap-0001/fs/…     a snapshot, like the volume it was cut from
    ROOT/making/…                     half-made content; swept at the start

Content is made under `making`, synced, then renamed into place: it is either whole or absent. Files are cloned where the file system can
share blocks (copy on write), else copied without filling holes. A symbolic link needs no privilege and cannot enforce read-only access.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import stat
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from volsched.csi.data import Link, Ref, Usage, digest_of, missing, pack, storage_error, unpack
from volsched.errors import CsiCode, CsiError, InputError

_FICLONE: Final = 0x40049409  # ioctl of linux/fs.h: make a file share all blocks of another
_COPY_BYTES: Final = 1 << 24
# Errors of copy_file_range that mean "not between these two files", not "the disk is broken".
_NO_RANGE_COPY: Final = frozenset({errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM})


class DirectoryData:
    """Content below `root`. `durable`: sync what is made before it is acknowledged."""

    def __init__(self, root: Path, *, durable: bool = True) -> None:
        self._root = root.absolute()
        self._durable = durable
        try:
            for part in ("volumes", "snapshots", "making"):
                (self._root / part).mkdir(parents=True, exist_ok=True)
            self._root.chmod(0o700)
            self._sync(self._root)
            self._sync(self._root.parent)
        except OSError as error:
            raise InputError(f"volume data cannot be kept in {root}: {error.strerror}") from error

    # content

    def create(self, volume_id: str, *, block: bool, size_bytes: int, source: Ref | None) -> None:
        with self._making(Ref("volumes", volume_id)) as place:
            if source is None:
                self._empty(place, block=block, size_bytes=size_bytes)
                return
            origin = self._content(source)
            if origin.is_dir() and not block:
                _copy_tree(origin, place / "fs")
            elif origin.is_dir():
                packed = pack(_tree_files(origin))
                if len(packed) > size_bytes:
                    raise CsiError(CsiCode.OUT_OF_RANGE, f"the source's files need {len(packed)} bytes as a device, {size_bytes} are asked")
                self._empty(place, block=True, size_bytes=size_bytes)
                with (place / "device").open("r+b") as device:
                    device.write(packed)
            elif block:
                _copy_file(origin, place / "device")
                os.truncate(place / "device", max(size_bytes, origin.stat().st_size))
            else:
                self._empty(place, block=False, size_bytes=size_bytes)
                for name, content in unpack(_written(origin)).items():
                    path = place / "fs" / name
                    (path if name.endswith("/") else path.parent).mkdir(parents=True, exist_ok=True)
                    if isinstance(content, Link):
                        path.symlink_to(os.fsdecode(content))
                    elif not name.endswith("/"):
                        path.write_bytes(content)

    def resize(self, volume_id: str, size_bytes: int) -> None:
        content = self._content(Ref("volumes", volume_id))
        if content.is_file() and content.stat().st_size < size_bytes:
            os.truncate(content, size_bytes)
            self._sync(content)

    def remove(self, ref: Ref) -> None:
        with contextlib.suppress(OSError):  # nothing names it any more; what is left is swept at the next start
            self._discard(ref)

    def cut(self, snapshot_id: str, volume_id: str) -> None:
        origin = self._content(Ref("volumes", volume_id))
        with self._making(Ref("snapshots", snapshot_id)) as place:
            if origin.is_dir():
                _copy_tree(origin, place / "fs")
            else:
                _copy_file(origin, place / "device")

    def sweep(self, keep: Collection[Ref]) -> None:
        for entry in (self._root / "making").iterdir():
            shutil.rmtree(entry, ignore_errors=True)
        for group in ("volumes", "snapshots"):
            for entry in (self._root / group).iterdir():
                if Ref(group, entry.name) not in keep:
                    self.remove(Ref(group, entry.name))

    def usage(self, volume_id: str) -> Usage:
        content = self._content(Ref("volumes", volume_id))
        if content.is_file():
            return Usage(content.stat().st_blocks * 512, 0)
        sizes = [entry.lstat().st_size for entry in content.rglob("*") if not entry.is_dir()]
        return Usage(sum(sizes), len(sizes))

    def digest(self, ref: Ref) -> str:
        content = self._content(ref)
        if content.is_file():
            return digest_of([("", _written(content))])
        return digest_of(sorted(_tree_files(content).items()))

    # paths of a node

    def publish(self, volume_id: str, *, node: str, target: str, readonly: bool) -> None:
        content = self._content(Ref("volumes", volume_id))
        path = Path(target)
        if path.is_symlink():
            if path.readlink() == content:
                return
            if not self._ours(path):
                raise storage_error(f"{target} on node {node} is a link to something else")
            path.unlink()
        elif path.is_dir():
            # Older orchestrators made the directory themselves.
            if any(path.iterdir()):
                raise storage_error(f"{target} on node {node} is a directory that is not empty")
            path.rmdir()
        elif path.exists():
            raise storage_error(f"{target} on node {node} exists and is not a directory")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.symlink_to(content)
        except OSError as error:
            raise storage_error(f"{target} on node {node} cannot be made: {error.strerror}") from error

    def unpublish(self, volume_id: str, *, node: str, target: str) -> None:
        path = Path(target)
        place = self._root / "volumes" / volume_id
        if path.is_symlink() and path.readlink().parent == place:
            path.unlink()
        elif path.is_dir() and not path.is_symlink() and not any(path.iterdir()):
            path.rmdir()  # made by the orchestrator and never published to

    def published(self, volume_id: str, *, node: str, target: str) -> bool:
        path = Path(target)
        return path.is_symlink() and path.readlink().parent == self._root / "volumes" / volume_id

    def problem(self, ref: Ref) -> str | None:
        place = self._root / ref.group / ref.name
        return None if (place / "fs").is_dir() or (place / "device").is_file() else missing(ref)

    def unreachable(self) -> str | None:
        gone = [part for part in ("volumes", "snapshots", "making") if not (self._root / part).is_dir()]
        return f"{self._root}/{gone[0]} is missing" if gone else None

    def write(self, *, node: str, target: str, name: str = "", data: bytes, offset: int = 0) -> None:
        path = Path(target)
        if not path.is_symlink():
            raise storage_error(f"nothing is published at {target} on node {node}")
        if path.is_dir():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_bytes(data)
            return
        if offset + len(data) > path.stat().st_size:
            raise storage_error(f"no space left on {target}: {offset + len(data)} bytes of {path.stat().st_size}")
        with path.open("r+b") as device:
            device.seek(offset)
            device.write(data)

    def read(self, *, node: str, target: str, name: str = "") -> bytes:
        path = Path(target)
        if not path.is_symlink():
            raise storage_error(f"nothing is published at {target} on node {node}")
        if path.is_file():
            return _written(path)
        if not (path / name).is_file():
            raise storage_error(f"{target}/{name} on node {node}: no such file")
        return (path / name).read_bytes()

    def export(self) -> dict[str, Any]:
        return {}

    def replace(self, exported: Mapping[str, Any]) -> None:
        """The files are their own truth."""

    # inside

    def _content(self, ref: Ref) -> Path:
        place = self._root / ref.group / ref.name
        for path in (place / "fs", place / "device"):
            if path.exists():
                return path
        raise storage_error(missing(ref))

    def _discard(self, ref: Ref) -> None:
        """Out of its place at once, then away."""
        place, doomed = self._root / ref.group / ref.name, self._root / "making" / f"gone-{ref.group}-{ref.name}"
        if place.exists():
            shutil.rmtree(doomed, ignore_errors=True)
            place.rename(doomed)
            shutil.rmtree(doomed, ignore_errors=True)

    def _ours(self, link: Path) -> bool:
        return self._root / "volumes" in link.readlink().parents

    def _empty(self, place: Path, *, block: bool, size_bytes: int) -> None:
        if block:
            with (place / "device").open("wb") as device:
                device.truncate(size_bytes)
        else:
            (place / "fs").mkdir()

    @contextlib.contextmanager
    def _making(self, ref: Ref) -> Iterator[Path]:
        """A directory to fill; put in place when the block ends well, removed when it does not."""
        place = self._root / "making" / f"{ref.group}-{ref.name}"
        shutil.rmtree(place, ignore_errors=True)
        try:
            place.mkdir()
            yield place
            if self._durable:
                for folder, _, names in os.walk(place):
                    for name in names:
                        self._sync(Path(folder) / name)
                    self._sync(Path(folder))
            self._discard(ref)
            place.rename(self._root / ref.group / ref.name)
            self._sync(self._root / ref.group)
        except OSError as error:
            code = CsiCode.RESOURCE_EXHAUSTED if error.errno in (errno.ENOSPC, errno.EDQUOT) else CsiCode.INTERNAL
            raise CsiError(code, f"the content of {ref.group}/{ref.name} cannot be written: {error.strerror}") from error
        finally:
            shutil.rmtree(place, ignore_errors=True)

    def _sync(self, path: Path) -> None:
        if not self._durable or path.is_symlink() or not (path.is_dir() or path.is_file()):
            return
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _copy_tree(source: Path, target: Path) -> None:
    """Directories, files, symbolic links and FIFOs with their modes and times. Sockets and devices carry no data and are left out."""
    target.mkdir()
    with os.scandir(source) as entries:
        for entry in entries:
            origin, copy = Path(entry.path), target / entry.name
            kind = entry.stat(follow_symlinks=False).st_mode
            if stat.S_ISLNK(kind):
                copy.symlink_to(origin.readlink())
            elif stat.S_ISDIR(kind):
                _copy_tree(origin, copy)
            elif stat.S_ISREG(kind):
                _copy_file(origin, copy)
            elif stat.S_ISFIFO(kind):
                os.mkfifo(copy)
            else:
                continue
            shutil.copystat(origin, copy, follow_symlinks=False)


def _copy_file(source: Path, target: Path) -> None:
    """Clone, or copy the parts that hold data."""
    with source.open("rb") as origin, target.open("wb") as copy:
        try:
            fcntl.ioctl(copy.fileno(), _FICLONE, origin.fileno())
            return
        except OSError:
            pass  # a file system that cannot share blocks
        size = os.fstat(origin.fileno()).st_size
        os.truncate(copy.fileno(), size)
        for start, end in _extents(origin.fileno(), size):
            _copy_range(origin.fileno(), copy.fileno(), start, end)


def _copy_range(origin: int, copy: int, start: int, end: int) -> None:
    while start < end:
        try:
            done = os.copy_file_range(origin, copy, min(end - start, _COPY_BYTES), start, start)
        except OSError as error:
            if error.errno not in _NO_RANGE_COPY:
                raise
            done = os.pwrite(copy, os.pread(origin, min(end - start, _COPY_BYTES), start), start)
        if not done:
            return  # the file was cut shorter meanwhile
        start += done


def _extents(descriptor: int, size: int) -> Iterator[tuple[int, int]]:
    """The (start, end) of each run of data; the rest is holes."""
    position = 0
    while position < size:
        try:
            start = os.lseek(descriptor, position, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return  # nothing but a hole is left
            raise
        end = os.lseek(descriptor, start, os.SEEK_HOLE)
        yield start, end
        position = end


def _written(device: Path) -> bytes:
    """A device from its start to the last byte that is not zero, holes filled in."""
    with device.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        content = bytearray()
        for start, end in _extents(file.fileno(), size):
            content.extend(bytes(start - len(content)))
            content.extend(os.pread(file.fileno(), end - start, start))
    return bytes(content).rstrip(b"\0")


def _tree_files(root: Path) -> dict[str, bytes]:
    """Path inside the tree -> bytes; directories end in `/`, symbolic links are Links."""
    files: dict[str, bytes] = {}
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if path.is_symlink():
            files[name] = Link(os.fsencode(path.readlink()))
        elif path.is_dir():
            files[name + "/"] = b""
        elif path.is_file():
            files[name] = path.read_bytes()
    return files
