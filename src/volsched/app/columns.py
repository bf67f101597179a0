"""Objects into columns, and columns as the workload of a command.

    objects ──> form (the manifest with open values left out) + open values ──> a table a form, a column an open value

Which values are left open is the engine's to say (`is_open`): names, uids, handles, labels, sizes, in which objects of one kind differ. A
column in which all rows agree goes back into the template; one with few different values is kept as codes.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, overload

import numpy as np
from lightkube.models.core_v1 import Pod
from numpy.typing import NDArray

from volsched.api.columns import TABLES_MAX, TEXT_BYTES_MAX, Codes, Column, Columns, Table, pointer_of, with_values
from volsched.api.kinds import to_manifest
from volsched.api.manifest import from_manifest
from volsched.api.scalars import Json
from volsched.app.workload_file import read_values
from volsched.engine.columns import is_open, object_at
from volsched.errors import InputError

_SAMPLE: Final = 4096  # rows after which a column whose values rarely repeat is no longer looked up


class _Growing:
    """The values of a column while they come."""

    def __init__(self) -> None:
        self._numbers: dict[bytes, int] | None = {}
        self._codes = array("I")
        self._values: list[bytes] = []

    def add(self, value: bytes) -> None:
        if self._numbers is None:
            self._values.append(value)
            return
        code = self._numbers.setdefault(value, len(self._numbers))
        if code == len(self._values):
            self._values.append(value)
        self._codes.append(code)
        if len(self._codes) == _SAMPLE and len(self._values) > _SAMPLE // 2:
            self._values = [self._values[code] for code in self._codes]
            self._numbers = None

    @property
    def only(self) -> bytes | None:
        """The value, where all rows have the same."""
        return self._values[0] if self._numbers is not None and len(self._values) == 1 else None

    def column(self, pointer: str) -> Column:
        values = np.array(self._values, dtype=bytes)
        if self._numbers is None:
            return Column(pointer, values)
        codes = np.array(self._codes, dtype=np.uint32)
        if len(values) * 2 > len(codes):
            return Column(pointer, values[codes])
        return Column(pointer, values, _narrowed(codes, len(values)))


def _narrowed(codes: NDArray[Any], count: int) -> Codes:
    """Codes below `count` in the smallest numbers that hold them."""
    kind = np.uint8 if count <= 2**8 else np.uint16 if count <= 2**16 else np.uint32
    return codes.astype(kind)


class _GrowingTable:
    """A form and its rows while they come."""

    def __init__(self, template: Mapping[str, Json], pointers: Sequence[str]) -> None:
        self.template = template
        self.count = 0
        self._columns = {pointer: _Growing() for pointer in pointers}

    def add(self, values: Sequence[bytes]) -> None:
        self.count += 1
        for column, value in zip(self._columns.values(), values, strict=True):
            column.add(value)

    def table(self) -> Table:
        same = {pointer: column.only for pointer, column in self._columns.items()}
        template = with_values(self.template, {pointer: value.decode() for pointer, value in same.items() if value is not None})
        columns = [column.column(pointer) for pointer, column in self._columns.items() if same[pointer] is None]
        return Table(template, self.count, tuple(columns))


class _Form(NamedTuple):
    """How manifests that are written alike become rows of a table: for each column the place of its value among the open ones, or the value
    itself where it is open only as it is stored (`storage: 5` is stored as a text)."""

    number: int
    parts: Sequence[int | bytes]


class ColumnsBuilder:
    """Objects, one after the other, into columns."""

    def __init__(self, *, source: str = "", warn: Callable[[str], None] | None = None) -> None:
        self._source = source
        self._warn = warn
        self._forms: dict[str, _Form] = {}
        self._numbers: dict[str, int] = {}
        self._tables: list[_GrowingTable] = []
        self._orders: dict[str, array[int]] = {}

    def add(self, manifest: Mapping[str, Json]) -> None:
        """Add an object. The first of each form is checked as any manifest is; raises InputError."""
        template, pointers, values = _opened(manifest)
        written = json.dumps(template)
        form = self._forms.get(written)
        if form is None:
            form = self._forms[written] = self._new_form(manifest, pointers)
        self._tables[form.number].add([values[part] if isinstance(part, int) else part for part in form.parts])
        self._orders.setdefault(str(manifest["kind"]), array("I")).append(form.number)

    def _new_form(self, manifest: Mapping[str, Json], written: Sequence[str]) -> _Form:
        checked = to_manifest(from_manifest(manifest, source=self._source, warn=self._warn))
        template, pointers, values = _opened(checked)
        number = self._numbers.setdefault(json.dumps(template), len(self._tables))
        if number == len(self._tables):
            if number == TABLES_MAX:
                raise InputError(f"the objects have more than {TABLES_MAX} forms; columns would not help", source=self._source)
            self._tables.append(_GrowingTable(template, pointers))
        places = {pointer: place for place, pointer in enumerate(written)}
        return _Form(number, [places.get(pointer, value) for pointer, value in zip(pointers, values, strict=True)])

    def columns(self) -> Columns:
        """What has been added."""
        orders = {}
        for kind, listed in self._orders.items():
            order = np.array(listed, dtype=np.uint32)
            if (order[1:] < order[:-1]).any():
                orders[kind] = _narrowed(order, len(self._tables))
        return Columns(tuple(table.table() for table in self._tables), orders)


def _opened(manifest: Mapping[str, Json]) -> tuple[dict[str, Json], list[str], list[bytes]]:
    """The form of a manifest: itself, null where a value is open; and the pointers and values of those."""
    kind = manifest.get("kind")
    pointers: list[str] = []
    values: list[bytes] = []

    def walk(value: Json, path: tuple[str | int, ...]) -> Json:
        if isinstance(value, dict):
            return {key: walk(below, (*path, key)) for key, below in value.items()}
        if isinstance(value, list):
            return [walk(below, (*path, at)) for at, below in enumerate(value)]
        if isinstance(value, str) and value and isinstance(kind, str):
            pointer = pointer_of(path)
            if is_open(kind, pointer) and (raw := _as_entry(value)) is not None:
                pointers.append(pointer)
                values.append(raw)
                return None
        return value

    template = walk(dict(manifest), ())
    assert isinstance(template, dict)
    return template, pointers, values


def _as_entry(text: str) -> bytes | None:
    """A text as an entry of a column, None where it cannot be one."""
    try:
        raw = text.encode()
    except UnicodeEncodeError:
        return None
    return raw if b"\0" not in raw and len(raw) <= TEXT_BYTES_MAX else None


def pack(path: Path, *, warn: Callable[[str], None]) -> Columns:
    """The objects of a workload file in columns. Raises InputError with the line."""
    builder = ColumnsBuilder(source=str(path), warn=warn)
    for line, manifest in read_values(path, warn=warn):
        try:
            builder.add(manifest)
        except InputError as error:
            raise InputError(error.message, source=str(path), line=line, path=error.path) from error
    return builder.columns()


class PendingPods(Sequence[Pod]):
    """The pending pods of columns, in order; an object is built when it is asked for."""

    def __init__(self, columns: Columns, source: str) -> None:
        self._columns = columns
        self._source = source
        self._places = [(number, row) for number, row in columns.places("Pod") if _is_pending(columns.tables[number], row)]

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, at: int) -> Pod: ...
    @overload
    def __getitem__(self, at: slice) -> list[Pod]: ...
    def __getitem__(self, at: int | slice) -> Pod | list[Pod]:
        if isinstance(at, slice):
            return [self[one] for one in range(*at.indices(len(self)))]
        number, row = self._places[at]
        made: Pod = object_at(self._columns, number, row, source=self._source)
        return made

    def __iter__(self) -> Iterator[Pod]:
        return (self[at] for at in range(len(self)))


def _is_pending(table: Table, row: int) -> bool:
    for column in table.columns:
        if column.pointer == "/spec/nodeName":
            return not column.at(row)
    spec = table.template.get("spec")
    return not (isinstance(spec, dict) and spec.get("nodeName"))
