"""What the local static provisioner is told: which disks a node has, which directory belongs to a class. Data, read from annotations.

docs/decisions/0004 says why they stand there. Every problem is an InputError with one line that names annotation, entry and field.
Source of the class settings: sig-storage-local-static-provisioner pkg/common/common.go (MountConfig).
"""

from __future__ import annotations

import fnmatch
import json
import posixpath
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import msgspec
from lightkube.models.core_v1 import Node, NodeSelectorTerm
from lightkube.models.storage_v1 import StorageClass

from volsched.api.edit import annotations_of
from volsched.api.kinds import Json
from volsched.api.quantity import parse as parse_quantity
from volsched.errors import InputError

DISKS: Final = "volsched.dev/local-disks"
DISCOVERY: Final = "volsched.dev/local-discovery"
NODE_CLEANUP: Final = "volsched.dev/local-node-cleanup"

MOUNT: Final = "mount"
BLOCK: Final = "block"
DIRECTORY: Final = "directory"
_TYPES: Final = (MOUNT, BLOCK, DIRECTORY)
_MODES: Final = ("Filesystem", "Block")
_GIB: Final = 1 << 30
_MIB: Final = 1 << 20
_FNV_OFFSET: Final = 2_166_136_261
_FNV_PRIME: Final = 16_777_619
_UINT32: Final = 1 << 32


class Disk(NamedTuple):
    """One entry of a directory of a node. `clean_error`: wiping it fails with this text, empty: it does not."""

    path: str
    size_bytes: int
    type: str = MOUNT
    clean_s: float = 0.0
    clean_error: str = ""

    @property
    def directory(self) -> str:
        return posixpath.dirname(self.path)

    @property
    def file(self) -> str:
        return posixpath.basename(self.path)


class Discovery(NamedTuple):
    """How one class is discovered. `terms` are node selector terms beside the one of the hostname: any of them will do."""

    host_dir: str
    volume_mode: str = "Filesystem"
    fs_type: str = ""
    name_pattern: str = "*"
    access_mode: str = "ReadWriteOnce"
    terms: tuple[NodeSelectorTerm, ...] = ()

    def takes(self, disk: Disk) -> bool:
        """Whether an entry stands in the class's directory under a name that one of its globs matches."""
        if disk.directory != self.host_dir:
            return False
        return any(fnmatch.fnmatchcase(disk.file, pattern.strip()) for pattern in self.name_pattern.split(","))


def _decoded(text: str, where: str) -> Json:
    try:
        return json.loads(text)
    except ValueError as problem:
        raise InputError(f"is not JSON: {problem}", path=where) from None


def _fields(value: Json, where: str, allowed: Mapping[str, type | tuple[type, ...]]) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise InputError("has to be an object", path=where)
    for name, given in value.items():
        if name not in allowed:
            raise InputError(f"unknown field; known: {', '.join(sorted(allowed))}", path=f"{where}.{name}")
        if not isinstance(given, allowed[name]) or isinstance(given, bool):
            raise InputError(f"{given!r} is not of the right type", path=f"{where}.{name}")
    return value


def _one_of(value: str, choices: tuple[str, ...], where: str) -> str:
    if value not in choices:
        raise InputError(f"{value!r} is none of {', '.join(choices)}", path=where)
    return value


def disks_of(node: Node) -> list[Disk]:
    """The disks a node has, by path. Raises InputError."""
    text = annotations_of(node).get(DISKS)
    if text is None:
        return []
    entries = _decoded(text, DISKS)
    if not isinstance(entries, list):
        raise InputError("has to be a list", path=DISKS)
    found: dict[str, Disk] = {}
    for index, entry in enumerate(entries):
        where = f"{DISKS}[{index}]"
        given = _fields(entry, where, {"path": str, "size": (str, int), "type": str, "cleanSeconds": (int, float), "cleanError": str})
        path = posixpath.normpath(given.get("path") or "")
        if not path.startswith("/") or path in found:
            raise InputError("has to be an absolute path, once", path=f"{where}.path")
        try:
            size = parse_quantity(given.get("size", "")).value()
        except InputError as problem:
            raise InputError(str(problem), path=f"{where}.size") from None
        kind = _one_of(given.get("type", MOUNT), _TYPES, f"{where}.type")
        found[path] = Disk(path, size, kind, float(given.get("cleanSeconds", 0)), given.get("cleanError", ""))
    return [found[path] for path in sorted(found)]


def discovery_of(storage_class: StorageClass) -> Discovery | None:
    """How a class is discovered, None when it is not. Raises InputError."""
    text = annotations_of(storage_class).get(DISCOVERY)
    if text is None:
        return None
    names = ("hostDir", "volumeMode", "fsType", "namePattern", "accessMode")
    given = _fields(_decoded(text, DISCOVERY), DISCOVERY, {**dict.fromkeys(names, str), "selector": list})
    host_dir = posixpath.normpath(given.get("hostDir") or "")
    if not host_dir.startswith("/"):
        raise InputError("has to be an absolute path", path=f"{DISCOVERY}.hostDir")
    mode = _one_of(given.get("volumeMode", "Filesystem"), _MODES, f"{DISCOVERY}.volumeMode")
    try:
        terms = tuple(msgspec.convert(given.get("selector", ()), tuple[NodeSelectorTerm, ...]))
    except msgspec.ValidationError as problem:
        raise InputError(f"has to be a list of node selector terms: {problem}", path=f"{DISCOVERY}.selector") from None
    pattern, access = given.get("namePattern") or "*", given.get("accessMode") or "ReadWriteOnce"
    return Discovery(host_dir, mode, given.get("fsType", ""), pattern, access, terms)


def cleanup_delay_s(storage_class: StorageClass) -> float | None:
    """After how long claims of the class are given up when their node is lost, None for never. Raises InputError."""
    text = annotations_of(storage_class).get(NODE_CLEANUP)
    if text is None:
        return None
    try:
        delay_s = float(text)
    except ValueError:
        delay_s = -1.0
    if not 0 <= delay_s < 1e9:
        raise InputError(f"{text!r} is no number of seconds", path=NODE_CLEANUP)
    return delay_s


def fnv1a(text: str) -> int:
    """32-bit FNV-1a: xor, then multiply. Not the FNV-1 that spreads claims over topologies."""
    value = _FNV_OFFSET
    for byte in text.encode():
        value = ((value ^ byte) * _FNV_PRIME) % _UINT32
    return value


def local_volume_name(file: str, node: str, storage_class: str) -> str:
    """Name of the PersistentVolume of a disk: the same whenever it is found."""
    return f"local-pv-{fnv1a(file + node + storage_class):x}"


def rounded_down(size_bytes: int) -> int:
    """A size that is easy to read: whole GiB if there are ten, else whole MiB if there are ten, else as it is."""
    for unit in (_GIB, _MIB):
        if size_bytes // unit >= 10:
            return size_bytes // unit * unit
    return size_bytes
