"""Columns to rows: how objects that are given as templates and columns (`volsched.api.columns`) get into the native engine.

    template + marks ──_rows──> packed row with marks in it ──> shape: literal bytes and holes ─┐
    columns ────────────────────────────────────────────────────────────────────────────────────┴─_core──> rows, one an object

The encoder of objects stays the only one that knows rows. A table's template is encoded with marks where a column has free text; where the
marks come out are the holes, which native code fills for every row without the interpreter. A column whose value means more than its text
(a quantity, a flag, anything in the pod's template) is encoded once for every different value. So loading columns gives the readers the
same bytes as loading objects does.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from lightkube.models.core_v1 import Pod
from numpy.typing import NDArray

from volsched.api.columns import Column, Columns, Table, with_values
from volsched.api.defaults import with_defaults
from volsched.api.fields import label_value
from volsched.api.manifest import from_manifest
from volsched.api.scalars import Json
from volsched.engine import _core, _rows
from volsched.errors import InputError
from volsched.rules.translation import plugin_of_volume
from volsched.rules.volumes import pod_terminated

_PUT, _PENDING, _GONE = range(3)  # RowUse of row_tables.hpp

Rows = tuple[bytes, ...]
Hole = tuple[bytes, int, bytes, bytes]  # bytes before it, its column, what is fixed in its text before and behind
Pattern = tuple[list[Hole], bytes]
Shape = tuple[int, list[Pattern]]


def _one(encode: Callable[[Any], bytes]) -> Callable[[Any], Rows]:
    return lambda obj: (encode(obj),)


def _of_pod(pod: Pod) -> Rows:
    return _rows.program_row(pod), _rows.instance_row(pod), _rows.usage_row(pod)


class _Reading(NamedTuple):
    """How the engine reads a kind.

    number: RowKind of row_tables.hpp. verbatim: fields that a row repeats as they are, if they say anything. checked: those among them
    that have to be valid label values for that.
    """

    number: int
    encode: Callable[[Any], Rows]
    verbatim: tuple[str, ...] = ("/metadata/name",)
    checked: tuple[str, ...] = ()


_NAME = ("/metadata/name",)
_NAMES = ("/metadata/name", "/metadata/namespace")
_LABELS = ("/metadata/labels/*",)
_AFFINITY = "/spec/nodeAffinity/required/nodeSelectorTerms/#/matchExpressions/#/values/#"

_TEXTS_OF_PODS = ("/metadata/uid", "/metadata/ownerReferences/#/name", "/spec/nodeName", "/spec/volumes/#/persistentVolumeClaim/claimName")
_REFERENCE = ("/spec/claimRef/namespace", "/spec/claimRef/name", "/spec/claimRef/uid")
_TEXTS_OF_VOLUMES = ("/metadata/resourceVersion", "/spec/csi/volumeHandle", _AFFINITY, *_REFERENCE)
_SELECTED = "/metadata/annotations/volume.kubernetes.io~1selected-node"
_TEXTS_OF_CLAIMS = ("/metadata/uid", "/metadata/resourceVersion", "/spec/volumeName", _SELECTED, "/metadata/ownerReferences/#/uid")
_SEGMENT = ("/nodeTopology/matchLabels/*",)
_ATTACHED = ("/spec/nodeName", "/spec/source/persistentVolumeName")

# fmt: off
_KINDS: Final[Mapping[str, _Reading]] = {
    "Node":                  _Reading(0,  _one(_rows.node_row),       _NAME + _LABELS),
    "Pod":                   _Reading(1,  _of_pod,                    _NAMES + _LABELS + _TEXTS_OF_PODS, _LABELS),
    "PersistentVolume":      _Reading(2,  _one(_rows.volume_row),     _NAME + _LABELS + _TEXTS_OF_VOLUMES),
    "PersistentVolumeClaim": _Reading(3,  _one(_rows.claim_row),      _NAMES + _TEXTS_OF_CLAIMS),
    "StorageClass":          _Reading(4,  _one(_rows.class_row),      _NAME),
    "CSINode":               _Reading(5,  _one(_rows.csi_node_row),   _NAME),
    "CSIDriver":             _Reading(6,  _one(_rows.csi_driver_row), _NAME),
    "CSIStorageCapacity":    _Reading(7,  _one(_rows.capacity_row),   _NAMES + _SEGMENT, _SEGMENT),
    "VolumeAttachment":      _Reading(8,  _one(_rows.attachment_row), _NAME + _ATTACHED),
    "Namespace":             _Reading(9,  _one(_rows.namespace_row),  ()),  # its name is also a label that defaulting adds
    "Service":               _Reading(10, _one(_rows.service_row),    _NAMES),
    "ReplicationController": _Reading(11, _one(_rows.controller_row), _NAMES),
    "ReplicaSet":            _Reading(11, _one(_rows.controller_row), _NAMES),
    "StatefulSet":           _Reading(11, _one(_rows.controller_row), _NAMES),
}
# fmt: on
# Fields that no row has and no default depends on, by kind; those of "" for all kinds that do not have them above.
_UNREAD: Final[Mapping[str, tuple[str, ...]]] = {
    "": ("/metadata/uid", "/metadata/resourceVersion", "/metadata/creationTimestamp", "/metadata/generateName"),
    "CSINode": ("/spec/drivers/#/nodeID",),
    "Pod": ("/metadata/ownerReferences/#/uid", "/status/startTime", "/status/hostIP", "/status/podIP"),
    "PersistentVolumeClaim": ("/metadata/labels/*", "/metadata/ownerReferences/#/name"),
}
# Fields that are worth a column although each of their values is encoded by itself: sizes, of which there are few.
_SIZES: Final[Mapping[str, tuple[str, ...]]] = {
    "PersistentVolume": ("/spec/capacity/storage",),
    "PersistentVolumeClaim": ("/spec/resources/requests/storage", "/status/capacity/storage"),
    "CSIStorageCapacity": ("/capacity", "/maximumVolumeSize"),
}


def _matcher(patterns: Sequence[str]) -> re.Pattern[str]:
    """`*` stands for any key, `#` for a place in a list."""
    return re.compile("|".join(re.escape(text).replace(r"\*", "[^/]*").replace(r"\#", r"\d+") for text in patterns) or r"(?!)")


_VERBATIM: Final = {kind: _matcher(row.verbatim) for kind, row in _KINDS.items()}
_CHECKED: Final = {kind: _matcher(row.checked) for kind, row in _KINDS.items()}
_IGNORED: Final = {kind: _matcher((*_UNREAD[""], *_UNREAD.get(kind, ()))) for kind in _KINDS}
_OPEN: Final = {
    kind: _matcher((*row.verbatim, *_UNREAD[""], *_UNREAD.get(kind, ()), *_SIZES.get(kind, ()))) for kind, row in _KINDS.items()
}


def is_open(kind: str, pointer: str) -> bool:
    """Whether objects of a kind usually differ in this field, so that it is worth a column."""
    known = _OPEN.get(kind)
    return known is not None and known.fullmatch(pointer) is not None


# Marks: two of different length for each hole, valid as names and label values. A manifest that has the like of them is read value by
# value.

_MARKED: Final = re.compile(r"vq\d{4}kzxj")
_SHORT, _LONG = 16, 44


def _marks(columns: Sequence[int], *, length: int) -> dict[int, bytes]:
    return {column: f"vq{column:04d}".encode() + b"kzxj" * (length // 4) for column in columns}


def _split(row: bytes, marks: Mapping[int, bytes]) -> tuple[list[bytes], list[int]]:
    """The bytes between marks, and which marks those are."""
    found = re.split(b"(" + b"|".join(map(re.escape, marks.values())) + b")", row) if marks else [row]
    by_mark = {mark: column for column, mark in marks.items()}
    return found[::2], [by_mark[mark] for mark in found[1::2]]


def _pattern(short: bytes, long: bytes, columns: Sequence[int]) -> Pattern | None:
    """The holes of a row, given it with short marks and with long ones; None when a mark is in anything but a text.

    A text has its length in front. Only lengths differ between the two, so the first difference before a mark is where its text begins.
    """
    short_marks, long_marks = _marks(columns, length=_SHORT), _marks(columns, length=_LONG)
    left, order = _split(short, short_marks)
    right, order_long = _split(long, long_marks)
    if order != order_long:
        return None
    holes: list[Hole] = []
    for place, column in enumerate(order):
        before, other = left[place], right[place]
        at = next((index for index, (a, b) in enumerate(zip(before, other, strict=False)) if a != b), -1)
        if at < 0 or len(before) != len(other) or len(before) < at + 4 or before[:at] + before[at + 4 :] != other[:at] + other[at + 4 :]:
            return None
        prefix = before[at + 4 :]
        length = struct.unpack_from("<I", before, at)[0]
        suffix_length = length - len(prefix) - len(short_marks[column])
        if suffix_length < 0 or struct.unpack_from("<I", other, at)[0] - length != _LONG - _SHORT:
            return None
        following = left[place + 1]
        suffix = following[:suffix_length]
        if len(suffix) != suffix_length:
            return None
        holes.append((before[:at], column, prefix, suffix))
        left[place + 1] = following[suffix_length:]
        right[place + 1] = right[place + 1][suffix_length:]
    return (holes, left[-1]) if left[-1] == right[-1] else None


class _Compiler:
    """Makes shapes of one table."""

    def __init__(self, table: Table, source: str, number: int) -> None:
        self._table = table
        self._source = source
        self._number = number
        self._reading = _KINDS[table.kind]
        kind = table.kind
        pointers = [column.pointer for column in table.columns]
        self._verbatim = [at for at, pointer in enumerate(pointers) if _VERBATIM[kind].fullmatch(pointer) and self._is_text(at)]
        ignored = {at for at, pointer in enumerate(pointers) if at not in self._verbatim and _IGNORED[kind].fullmatch(pointer)}
        self._valued = [at for at in range(len(pointers)) if at not in self._verbatim and at not in ignored]

    def _is_text(self, at: int) -> bool:
        """Whether a verbatim field's values say all in their text: an empty one may stand for another, an invalid one for an error."""
        column = self._table.columns[at]
        if column.values.dtype.kind != "S" or (column.values == b"").any():
            return False
        if not _CHECKED[self._table.kind].fullmatch(column.pointer):
            return True
        return not any(label_value(text.decode()) for text in set(column.values.tolist()))

    def compiled(self) -> _core.RowTable:
        table = self._table
        if table.rows and table.kind == "PersistentVolume" and plugin_of_volume(self._object(0, {})) is not None:
            self._valued = sorted({*self._valued, *self._verbatim})  # its translation may depend on anything
            self._verbatim = []
        shape_of, firsts = self._shapes()
        shapes: list[Shape] = []
        for row in firsts:
            shape = self._shape(row)
            if shape is None and self._verbatim:  # no text that stands by itself: every value is encoded
                self._valued = sorted({*self._valued, *self._verbatim})
                self._verbatim = []
                return self.compiled()
            assert shape is not None
            shapes.append(shape)
        views = [_native(column) for column in table.columns]
        return _core.RowTable(self._reading.number, table.rows, shapes, shape_of, views)

    def _shapes(self) -> tuple[NDArray[np.uint32], list[int]]:
        """The shape of each row (none when there is one), and the first row of each shape."""
        rows = self._table.rows
        if not rows:
            return np.zeros(0, np.uint32), []
        if not self._valued:
            return np.zeros(0, np.uint32), [0]
        combined = np.zeros(rows, np.int64)
        for at in self._valued:
            values, codes = self._table.columns[at].distinct()
            _, combined = np.unique(combined * len(values) + codes, return_inverse=True)
        _, firsts, shape_of = np.unique(combined, return_index=True, return_inverse=True)
        return (shape_of.astype(np.uint32) if len(firsts) > 1 else np.zeros(0, np.uint32)), firsts.tolist()

    def _object(self, row: int, texts: Mapping[int, bytes]) -> Any:
        columns = self._table.columns
        values = {column.pointer: texts[at].decode() if at in texts else column.at(row) for at, column in enumerate(columns)}
        return _made(with_values(self._table.template, values), self._source, self._number, row)

    def _shape(self, row: int) -> Shape | None:
        if self._verbatim and _MARKED.search(json.dumps(self._table.manifest(row))):
            return None  # it looks like a mark of ours
        obj = self._object(row, _marks(self._verbatim, length=_SHORT))
        short = self._reading.encode(obj)
        long = self._reading.encode(self._object(row, _marks(self._verbatim, length=_LONG)))
        patterns = [_pattern(a, b, self._verbatim) for a, b in zip(short, long, strict=True)]
        found = [pattern for pattern in patterns if pattern is not None]
        return (_use_of(obj), found) if len(found) == len(patterns) else None


def _use_of(obj: Any) -> int:
    if not isinstance(obj, Pod):
        return _PUT
    if obj.spec is None or not obj.spec.nodeName:
        return _PENDING
    return _GONE if pod_terminated(obj) else _PUT


def _native(column: Column) -> tuple[NDArray[Any], Codes | None]:
    """A column's memory as native code reads it. What is no text is never read there; one byte a row stands for it."""
    codes = None if column.codes is None else np.ascontiguousarray(column.codes)
    if column.values.dtype.kind != "S":
        return np.zeros(len(column), "S1"), None
    return np.ascontiguousarray(column.values), codes


Codes = NDArray[np.unsignedinteger[Any]]


def load_columns(batch: _core.PodBatch, columns: Columns, *, source: str = "columns") -> None:
    """Take a cluster in; its pending pods join the batch. Kinds that scheduling does not read are passed over.

    Raises InputError with the table and row of an object that cannot be read, before any object of its kind is taken in.
    """
    for kind in columns.kinds():
        if kind not in _KINDS:
            continue
        numbers = [number for number, table in enumerate(columns.tables) if table.kind == kind]
        compiled = [_Compiler(columns.tables[number], source, number).compiled() for number in numbers]
        order = np.zeros(0, np.uint32)
        if kind in columns.orders and len(numbers) > 1:
            places = np.zeros(len(columns.tables), np.uint32)
            places[numbers] = np.arange(len(numbers), dtype=np.uint32)
            order = places[columns.orders[kind]]
        _core.load_tables(batch, compiled, order)


def objects(columns: Columns, *, source: str = "columns") -> Iterator[Any]:
    """The objects themselves, defaulted, kind by kind in their order. Raises InputError with the table and row."""
    for kind in columns.kinds():
        for number, row in columns.places(kind):
            yield object_at(columns, number, row, source=source)


def object_at(columns: Columns, number: int, row: int, *, source: str = "columns") -> Any:
    """The object of one row of a table, defaulted. Raises InputError with the table and row."""
    return _made(columns.tables[number].manifest(row), source, number, row)


def _made(manifest: Mapping[str, Json], source: str, number: int, row: int) -> Any:
    try:
        return with_defaults(from_manifest(manifest))
    except InputError as error:
        where = f"table {number} row {row}, {error.path}" if error.path else f"table {number} row {row}"
        raise InputError(error.message, source=source, path=where) from None
