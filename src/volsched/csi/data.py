"""The bytes of volumes and snapshots, behind one seam.

    volume ──cut──> snapshot          the bytes as they are at that moment
    snapshot | volume ──create(source)──> volume    an independent copy

A mount volume is a tree of files, a block volume a run of bytes. `MemoryData` keeps both in dictionaries whose values are immutable, so a
copy shares them until one side writes; `DirectoryData` (directory.py) keeps real files. Content that changes its mode on restore is packed:
a tree becomes a tar stream at the start of the device, and a device that begins with such a stream becomes the tree again.

Order with the state: bytes are made before the record that names them and taken away after it is gone, so a crash leaves bytes without a
record, never a record without bytes; `sweep` removes the former.
"""

from __future__ import annotations

import base64
import hashlib
import io
import os
import tarfile
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final, NamedTuple, Protocol

from volsched.errors import CsiCode, CsiError

CHUNK_BYTES: Final = 1 << 16
# Follows a packed tree: zeros at the end of a device are not kept apart from holes, and both files and tar streams may end in zeros.
PACKED_END: Final = b"volsched tree"


class Ref(NamedTuple):
    """A volume or a snapshot: `group` is `volumes` or `snapshots`."""

    group: str
    name: str


class Usage(NamedTuple):
    """Bytes and files in use."""

    used_bytes: int
    files: int


class VolumeData(Protocol):
    """Content of volumes and snapshots. Raises CsiError INTERNAL when the storage below fails."""

    def create(self, volume_id: str, *, block: bool, size_bytes: int, source: Ref | None) -> None:
        """Make the content of a new volume: empty, or an independent copy of `source`. Replaces leftovers of that id."""

    def resize(self, volume_id: str, size_bytes: int) -> None:
        """Grow."""

    def remove(self, ref: Ref) -> None:
        """Take the content away; nothing there is fine."""

    def cut(self, snapshot_id: str, volume_id: str) -> None:
        """Keep the volume's bytes as they are now as a snapshot. Replaces leftovers of that id."""

    def publish(self, volume_id: str, *, node: str, target: str, readonly: bool) -> None:
        """Make `target` give access to the volume's bytes. Repeating it is fine."""

    def unpublish(self, volume_id: str, *, node: str, target: str) -> None:
        """Take `target` away; nothing there is fine."""

    def published(self, volume_id: str, *, node: str, target: str) -> bool:
        """Whether `target` gives access to the volume's bytes now."""

    def problem(self, ref: Ref) -> str | None:
        """What is wrong with the content, None = nothing."""

    def unreachable(self) -> str | None:
        """Why no content can be reached at all, None = it can."""

    def usage(self, volume_id: str) -> Usage: ...

    def digest(self, ref: Ref) -> str:
        """SHA-256 over everything in it, names and bytes; equal content, equal digest."""

    def sweep(self, keep: Collection[Ref]) -> None:
        """Remove content that no record names."""

    def write(self, *, node: str, target: str, name: str = "", data: bytes, offset: int = 0) -> None:
        """What a pod does: write a whole file of a mount volume, or (without a name) a block volume from `offset` on, through its
        published path."""

    def read(self, *, node: str, target: str, name: str = "") -> bytes:
        """What a pod does: read it back. A block volume is read to its last written byte."""

    def export(self) -> dict[str, Any]:
        """Content that lives in this object only, as JSON data; empty when it outlives the process by itself."""

    def replace(self, exported: Mapping[str, Any]) -> None:
        """Take what `export` gave, in place of everything."""


def storage_error(text: str) -> CsiError:
    return CsiError(CsiCode.INTERNAL, text)


def missing(ref: Ref) -> str:
    return f"the content of {ref.group}/{ref.name} is missing"


# Packed trees


class Link(bytes):
    """The target of a symbolic link, in place of a file's bytes."""


def pack(files: Mapping[str, bytes]) -> bytes:
    """A tree of files as a tar stream; equal trees give equal streams. Names ending in `/` are directories."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name in sorted(files):
            info = tarfile.TarInfo(name.rstrip("/"))
            content = files[name]
            if isinstance(content, Link):
                info.type, info.linkname = tarfile.SYMTYPE, os.fsdecode(content)
                archive.addfile(info)
            elif name.endswith("/"):
                info.type = tarfile.DIRTYPE
                archive.addfile(info)
            else:
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return stream.getvalue() + PACKED_END


def unpack(device: bytes) -> dict[str, bytes]:
    """The tree at the start of a device; empty when there is none, as a node would find no filesystem and make one."""
    if device[257:262] != b"ustar":
        return {}
    files: dict[str, bytes] = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(device), mode="r:") as archive:
            for member in archive:
                parts = member.name.split("/")
                above = ("/".join(parts[:depth]) for depth in range(1, len(parts)))
                if member.name.startswith("/") or ".." in parts or any(isinstance(files.get(name), Link) for name in above):
                    continue  # a pod may have written anything; nothing may leave the volume
                if member.issym():
                    files[member.name] = Link(os.fsencode(member.linkname))
                elif member.isdir():
                    files[member.name + "/"] = b""
                elif (content := archive.extractfile(member)) is not None:
                    files[member.name] = content.read()
    except tarfile.TarError:
        return {}
    return files


def digest_of(parts: Iterable[tuple[str, bytes]]) -> str:
    """SHA-256 of (name, content) pairs, each with its length so that borders count."""
    total = hashlib.sha256()
    for name, content in parts:
        encoded = name.encode("utf-8", "surrogateescape")
        total.update(b"%d %d\n" % (len(encoded), len(content)))
        total.update(encoded)
        total.update(content)
    return total.hexdigest()


class Tree(NamedTuple):
    """A mount volume: path inside the volume -> bytes. Never altered in place."""

    files: dict[str, bytes]


class Device(NamedTuple):
    """A block volume: chunk number -> CHUNK_BYTES bytes; absent chunks are zero. Never altered in place."""

    chunks: dict[int, bytes]
    size_bytes: int

    def contents(self) -> bytes:
        """From the start to the last byte that is not zero."""
        end = max(self.chunks, default=-1) + 1
        return b"".join(self.chunks.get(number, bytes(CHUNK_BYTES)) for number in range(end)).rstrip(b"\0")

    def with_bytes(self, data: bytes, offset: int) -> Device:
        chunks = dict(self.chunks)
        position = 0
        while position < len(data):
            number, start = divmod(offset + position, CHUNK_BYTES)
            piece = data[position : position + CHUNK_BYTES - start]
            old = chunks.get(number, bytes(CHUNK_BYTES))
            fresh = old[:start] + piece + old[start + len(piece) :]
            if fresh.strip(b"\0"):
                chunks[number] = fresh
            else:
                chunks.pop(number, None)
            position += len(piece)
        return Device(chunks, self.size_bytes)


class Access(NamedTuple):
    """An entry of the mount table."""

    volume_id: str
    readonly: bool


class MemoryData:
    """Content in memory and a mount table in place of a file system: nothing outside the process is touched, no time passes."""

    def __init__(self) -> None:
        self._content: dict[Ref, Tree | Device] = {}
        self._mounts: dict[tuple[str, str], Access] = {}

    def create(self, volume_id: str, *, block: bool, size_bytes: int, source: Ref | None) -> None:
        origin = None if source is None else self._get(source)
        content: Tree | Device
        match origin:
            case Tree() if not block:
                content = origin
            case Device() if not block:
                content = Tree(unpack(origin.contents()))
            case Device():
                content = Device(origin.chunks, size_bytes)
            case Tree():
                packed = pack(origin.files)
                if len(packed) > size_bytes:
                    raise CsiError(CsiCode.OUT_OF_RANGE, f"the source's files need {len(packed)} bytes as a device, {size_bytes} are asked")
                content = Device({}, size_bytes).with_bytes(packed, 0)
            case None:
                content = Device({}, size_bytes) if block else Tree({})
        self._content[Ref("volumes", volume_id)] = content

    def resize(self, volume_id: str, size_bytes: int) -> None:
        ref = Ref("volumes", volume_id)
        content = self._get(ref)
        if isinstance(content, Device):
            self._content[ref] = Device(content.chunks, size_bytes)

    def remove(self, ref: Ref) -> None:
        self._content.pop(ref, None)

    def cut(self, snapshot_id: str, volume_id: str) -> None:
        self._content[Ref("snapshots", snapshot_id)] = self._get(Ref("volumes", volume_id))

    def publish(self, volume_id: str, *, node: str, target: str, readonly: bool) -> None:
        self._get(Ref("volumes", volume_id))
        self._mounts[node, target] = Access(volume_id, readonly)

    def unpublish(self, volume_id: str, *, node: str, target: str) -> None:
        access = self._mounts.get((node, target))
        if access is not None and access.volume_id == volume_id:
            del self._mounts[node, target]

    def published(self, volume_id: str, *, node: str, target: str) -> bool:
        access = self._mounts.get((node, target))
        return access is not None and access.volume_id == volume_id

    def problem(self, ref: Ref) -> str | None:
        return None if ref in self._content else missing(ref)

    def unreachable(self) -> str | None:
        return None

    def usage(self, volume_id: str) -> Usage:
        content = self._get(Ref("volumes", volume_id))
        if isinstance(content, Device):
            return Usage(len(content.chunks) * CHUNK_BYTES, 0)
        return Usage(sum(len(data) for data in content.files.values()), len(content.files))

    def digest(self, ref: Ref) -> str:
        content = self._get(ref)
        if isinstance(content, Device):
            return digest_of([("", content.contents())])
        return digest_of(sorted(content.files.items()))

    def sweep(self, keep: Collection[Ref]) -> None:
        for ref in [ref for ref in self._content if ref not in keep]:
            del self._content[ref]

    def write(self, *, node: str, target: str, name: str = "", data: bytes, offset: int = 0) -> None:
        access = self._mounted(node, target)
        if access.readonly:
            raise storage_error(f"{target} on node {node} is published read-only")
        ref = Ref("volumes", access.volume_id)
        content = self._get(ref)
        if isinstance(content, Device):
            if offset + len(data) > content.size_bytes:
                raise storage_error(f"no space left on {target}: {offset + len(data)} bytes of {content.size_bytes}")
            self._content[ref] = content.with_bytes(data, offset)
        else:
            self._content[ref] = Tree({**content.files, name: data})

    def read(self, *, node: str, target: str, name: str = "") -> bytes:
        content = self._get(Ref("volumes", self._mounted(node, target).volume_id))
        if isinstance(content, Device):
            return content.contents()
        if name not in content.files:
            raise storage_error(f"{target}/{name} on node {node}: no such file")
        return content.files[name]

    def mounts(self) -> dict[tuple[str, str], Access]:
        """The mount table: (node, target) -> volume."""
        return dict(self._mounts)

    def export(self) -> dict[str, Any]:
        return {
            "content": [
                {
                    "group": ref.group,
                    "name": ref.name,
                    "size": content.size_bytes if isinstance(content, Device) else None,
                    "parts": {
                        str(name): base64.b64encode(data).decode()
                        for name, data in (content.chunks.items() if isinstance(content, Device) else content.files.items())
                    },
                }
                for ref, content in self._content.items()
            ],
            "mounts": [
                {"node": node, "target": target, "volume": access.volume_id, "readonly": access.readonly}
                for (node, target), access in self._mounts.items()
            ],
        }

    def replace(self, exported: Mapping[str, Any]) -> None:
        self._content = {}
        for item in exported.get("content", ()):
            parts = {name: base64.b64decode(data) for name, data in item["parts"].items()}
            self._content[Ref(item["group"], item["name"])] = (
                Tree(parts) if item["size"] is None else Device({int(name): data for name, data in parts.items()}, item["size"])
            )
        self._mounts = {(item["node"], item["target"]): Access(item["volume"], item["readonly"]) for item in exported.get("mounts", ())}

    def _get(self, ref: Ref) -> Tree | Device:
        content = self._content.get(ref)
        if content is None:
            raise storage_error(missing(ref))
        return content

    def _mounted(self, node: str, target: str) -> Access:
        access = self._mounts.get((node, target))
        if access is None:
            raise storage_error(f"nothing is published at {target} on node {node}")
        return access
