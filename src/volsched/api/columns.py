"""Clusters as templates and columns: many objects of one form in a few arrays, and the file that holds them (docs/columnar.md).

    table = Table(template={"kind": "PersistentVolume", …, "metadata": {"name": None}}, rows=3,
                  columns=(Column("/metadata/name", np.array([b"pv-0", b"pv-1", b"pv-2"])),))

A table is a manifest in which some values are left open (null), and a column of values for each of them, found by its JSON Pointer
(RFC 6901). Row i is the manifest with the i-th value of every column put in. The file is numpy's .npz: one array a column and one with a
JSON description; nothing in it is ever unpickled, and every size is checked before memory is taken for it.
"""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from volsched.api.scalars import Json
from volsched.errors import InputError

FORMAT: Final = "volsched.columns/v1"
DESCRIPTION: Final = "volsched"  # the member that says what the others are
MAGIC: Final = b"PK\x03\x04"
FILE_BYTES_MAX: Final = 8 * 2**30  # all arrays together, unpacked
DESCRIPTION_BYTES_MAX: Final = 64 * 2**20
TABLES_MAX: Final = 100_000
COLUMNS_MAX: Final = 256  # of one table
TEXT_BYTES_MAX: Final = 2**16  # one value
DEPTH_MAX: Final = 100
_WHOLE: Final = "iu"
_PACK_LEVEL: Final = 1  # names and numbers shrink tenfold already; more costs time and gains little

Codes: TypeAlias = NDArray[np.unsignedinteger[Any]]


def pointer_parts(pointer: str) -> list[str]:
    """The steps of a JSON Pointer."""
    return [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:]]


def pointer_of(parts: Sequence[str | int]) -> str:
    """The JSON Pointer of a path."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in parts)


class Column(NamedTuple):
    """The values of one field. values: bytes (dtype S, UTF-8), integers or booleans, (rows,). codes: unsigned integers, (rows,); where they
    are given, row i has `values[codes[i]]` and `values` is as long as there are different ones."""

    pointer: str
    values: NDArray[Any]
    codes: Codes | None = None

    def __len__(self) -> int:
        return len(self.values if self.codes is None else self.codes)

    def at(self, row: int) -> Json:
        """The value of a row as JSON has it."""
        value = self.values[row if self.codes is None else self.codes[row]].item()
        return value.decode() if isinstance(value, bytes) else value

    def distinct(self) -> tuple[NDArray[Any], Codes]:
        """Different values, each once, and the code of every row."""
        values, inverse = np.unique(self.values, return_inverse=True)
        numbers: Codes = inverse.astype(np.uint32)
        return values, numbers if self.codes is None else numbers[self.codes]


class Table(NamedTuple):
    """`rows` objects of one form. template: a manifest that is null where a column says what stands there."""

    template: Mapping[str, Json]
    rows: int
    columns: tuple[Column, ...] = ()

    @property
    def kind(self) -> str:
        return str(self.template.get("kind"))

    def manifest(self, row: int) -> dict[str, Json]:
        """The manifest of a row; shares with the template what no column touches."""
        return with_values(self.template, {column.pointer: column.at(row) for column in self.columns})


class Columns(NamedTuple):
    """A cluster. Objects of one kind stand in the order of `orders[kind]`, integers, which name their table by its number among all tables;
    a kind without an order has its tables one after the other."""

    tables: tuple[Table, ...]
    orders: Mapping[str, Codes]

    def kinds(self) -> list[str]:
        """Kinds in the order of their first tables."""
        return list(dict.fromkeys(table.kind for table in self.tables))

    def places(self, kind: str) -> Iterator[tuple[int, int]]:
        """Every object of a kind, in order, as the number of its table and its row there."""
        following = {number: iter(range(table.rows)) for number, table in enumerate(self.tables) if table.kind == kind}
        if kind in self.orders:
            for number in self.orders[kind].tolist():
                yield number, next(following[number])
            return
        for number, rows in following.items():
            yield from ((number, row) for row in rows)


def with_values(template: Mapping[str, Json], values: Mapping[str, Json]) -> dict[str, Json]:
    """The template with a value put in at each pointer. Raises KeyError with the pointer where its place is not in the template."""
    made = dict(template)
    copied: dict[int, Any] = {}
    for pointer, value in values.items():
        at: Any = made
        parts = pointer_parts(pointer)
        if not parts or pointer[0] != "/":
            raise KeyError(pointer)
        for depth, part in enumerate(parts):
            try:
                step: Any = int(part) if isinstance(at, list) else part
                below = at[step]
            except (ValueError, IndexError, KeyError, TypeError):
                raise KeyError(pointer) from None
            if depth == len(parts) - 1:
                at[step] = value
            elif isinstance(below, (dict, list)):
                if id(below) not in copied:
                    fresh = below.copy()
                    copied[id(fresh)] = fresh
                    at[step] = fresh
                at = at[step]
            else:
                raise KeyError(pointer)
    return made


# Writing


def write_columns(path: Path, columns: Columns) -> None:
    """Write a file. Raises InputError when it cannot be written or the columns do not fit together."""
    source = str(path)
    for number in range(len(columns.tables)):
        _check_table(columns.tables[number], number, source)
    _check_orders(columns, source)
    described: list[dict[str, Json]] = []
    arrays: dict[str, NDArray[Any]] = {}
    for number, table in enumerate(columns.tables):
        entry: dict[str, Json] = {"template": dict(table.template), "rows": table.rows, "columns": []}
        for column in table.columns:
            arrays[f"{number}{column.pointer}"] = column.values
            if column.codes is not None:
                arrays[f"{number}{column.pointer}#codes"] = column.codes
            entry["columns"].append({"pointer": column.pointer, "coded": column.codes is not None})
        described.append(entry)
    for kind, order in columns.orders.items():
        arrays[f"order/{kind}"] = order
    text = json.dumps({"format": FORMAT, "tables": described, "orders": sorted(columns.orders)}, separators=(",", ":"), sort_keys=True)
    try:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=_PACK_LEVEL) as archive:
            for name, array in {DESCRIPTION: np.frombuffer(text.encode(), np.uint8), **arrays}.items():
                info = zipfile.ZipInfo(f"{name}.npy")  # no time in it: the same columns are the same file
                info.compress_type = zipfile.ZIP_DEFLATED
                with archive.open(info, "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, np.ascontiguousarray(array), version=(1, 0), allow_pickle=False)
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror or error}", source=source) from error


# Reading


def is_columns(path: Path) -> bool:
    """Whether a file is such a file by its first bytes. Raises OSError when it cannot be read."""
    with path.open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC


def read_columns(path: Path) -> Columns:
    """Read a file. Raises InputError with the file and the column that is wrong."""
    source = str(path)
    try:
        with zipfile.ZipFile(path) as archive:
            return _Reader(archive, source).read()
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror or error}", source=source) from error
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise InputError(f"is no columnar file, or a damaged one: {error}", source=source) from error


class _Reader:
    """Takes the arrays of one open archive, each once."""

    def __init__(self, archive: zipfile.ZipFile, source: str) -> None:
        self._archive = archive
        self._source = source
        members = archive.infolist()
        total = sum(member.file_size for member in members)
        if total > FILE_BYTES_MAX:
            raise InputError(f"{total} bytes unpacked are more than the {FILE_BYTES_MAX} that are read", source=source)
        self._left = {member.filename.removesuffix(".npy"): member for member in members}
        if len(self._left) != len(members):
            raise InputError("two members have one name", source=source)

    def wrong(self, member: str, message: str) -> InputError:
        return InputError(message, source=self._source, path=member)

    def read(self) -> Columns:
        described = self._description()
        tables = []
        for number, entry in enumerate(described["tables"]):
            table = Table(entry["template"], entry["rows"], tuple(self._columns(number, entry["columns"])))
            _check_table(table, number, self._source)
            tables.append(table)
        orders = {kind: self._array(f"order/{kind}", "u", "unsigned integers") for kind in described["orders"]}
        columns = Columns(tuple(tables), orders)
        _check_orders(columns, self._source)
        if self._left:
            raise self.wrong(next(iter(self._left)), "belongs to no table")
        return columns

    def _description(self) -> dict[str, Any]:
        member = self._left.get(DESCRIPTION)
        if member is None:
            raise InputError(f'is no columnar file: it has no member "{DESCRIPTION}"', source=self._source)
        if member.file_size > DESCRIPTION_BYTES_MAX:
            raise self.wrong(DESCRIPTION, f"{member.file_size} bytes are more than the {DESCRIPTION_BYTES_MAX} that are read")
        raw = self._array(DESCRIPTION, "u", "bytes").tobytes()
        try:
            value = json.loads(raw)
        except (ValueError, RecursionError) as error:
            raise self.wrong(DESCRIPTION, f"is not JSON: {error}") from None
        if not isinstance(value, dict) or value.get("format") != FORMAT:
            given = value.get("format") if isinstance(value, dict) else None
            raise self.wrong(DESCRIPTION, f"the format is {json.dumps(given)}; this volsched reads {json.dumps(FORMAT)}")
        self._check_description(value)
        return value

    def _check_description(self, value: Mapping[str, Any]) -> None:
        tables, orders = value.get("tables"), value.get("orders")
        if not isinstance(tables, list) or len(tables) > TABLES_MAX:
            raise self.wrong(DESCRIPTION, f"tables: expected a list of at most {TABLES_MAX}")
        if not isinstance(orders, list) or not all(isinstance(kind, str) for kind in orders):
            raise self.wrong(DESCRIPTION, "orders: expected a list of kinds")
        for number, entry in enumerate(tables):
            at = f"tables[{number}]"
            if not isinstance(entry, dict) or not isinstance(entry.get("template"), dict):
                raise self.wrong(DESCRIPTION, f"{at}.template: expected a manifest")
            rows, listed = entry.get("rows"), entry.get("columns")
            if not isinstance(rows, int) or isinstance(rows, bool) or not 0 <= rows < 2**31:
                raise self.wrong(DESCRIPTION, f"{at}.rows: expected a number of rows below 2^31")
            if not isinstance(listed, list) or len(listed) > COLUMNS_MAX:
                raise self.wrong(DESCRIPTION, f"{at}.columns: expected a list of at most {COLUMNS_MAX}")
            for place, column in enumerate(listed):
                if not (isinstance(column, dict) and isinstance(column.get("pointer"), str) and isinstance(column.get("coded"), bool)):
                    raise self.wrong(DESCRIPTION, f"{at}.columns[{place}]: expected a pointer and whether it is coded")

    def _columns(self, number: int, listed: Sequence[Mapping[str, Any]]) -> Iterator[Column]:
        for entry in listed:
            name = f"{number}{entry['pointer']}"
            values = self._array(name, "Siub", "texts (S), integers or booleans")
            yield Column(entry["pointer"], values, self._array(f"{name}#codes", "u", "unsigned integers") if entry["coded"] else None)

    def _array(self, name: str, kinds: str, words: str) -> NDArray[Any]:
        """A member, checked before memory is taken: its header must account for exactly the bytes that are there."""
        member = self._left.pop(name, None)
        if member is None:
            raise self.wrong(name, "the array is missing")
        with self._archive.open(member) as file:
            dtype, rows = self._header(name, file)
            if dtype.kind not in kinds:
                raise self.wrong(name, f"expected {words}, got dtype {dtype}")
            if dtype.itemsize > TEXT_BYTES_MAX or dtype.itemsize == 0:
                raise self.wrong(name, f"values of {dtype.itemsize} bytes; 1 to {TEXT_BYTES_MAX} are read")
            size = member.file_size - file.tell()
            if rows * dtype.itemsize != size:
                raise self.wrong(name, f"{rows} values of {dtype.itemsize} bytes do not fit the {size} bytes there are")
            raw = file.read()
        return np.frombuffer(raw, dtype).astype(dtype.newbyteorder("="), copy=False)

    def _header(self, name: str, file: IO[bytes]) -> tuple[np.dtype[Any], int]:
        try:
            version = np.lib.format.read_magic(file)
            if version != (1, 0):
                raise self.wrong(name, f"an array of .npy version {version[0]}.{version[1]}; 1.0 is read")
            shape, _, dtype = np.lib.format.read_array_header_1_0(file)
        except ValueError as error:
            raise self.wrong(name, f"is no numpy array: {error}") from None
        if len(shape) != 1 or dtype.hasobject or dtype.subdtype is not None:
            raise self.wrong(name, f"expected a plain array of one dimension, got {dtype} of shape {shape}")
        return dtype, shape[0]


# What must hold of tables, wherever they come from


def _check_table(table: Table, number: int, source: str) -> None:
    seen: set[str] = set()
    for column in table.columns:
        name = f"{number}{column.pointer}"

        def wrong(message: str, at: str = name) -> InputError:
            return InputError(message, source=source, path=at)

        if column.pointer in seen:
            raise wrong("the column is there twice")
        seen.add(column.pointer)
        if column.values.dtype.kind not in "Siub" or column.values.ndim != 1:
            raise wrong(f"expected an array of texts (S), integers or booleans, got {column.values.dtype}")
        if column.codes is not None:
            if column.codes.dtype.kind != "u" or column.codes.dtype.itemsize > 4 or column.codes.ndim != 1:
                raise wrong(f"codes are unsigned integers of at most 32 bits, not {column.codes.dtype}")
            if len(column.codes) and int(column.codes.max()) >= len(column.values):
                raise wrong(f"code {int(column.codes.max())} names none of its {len(column.values)} values")
        if len(column) != table.rows:
            raise wrong(f"{len(column)} rows, where its table has {table.rows}")
        _check_text(column, wrong)
    try:
        with_values(table.template, dict.fromkeys(column.pointer for column in table.columns))
    except KeyError as error:
        raise InputError(f"the template has no {error.args[0]}", source=source, path=f"{number}{error.args[0]}") from None


def _check_text(column: Column, wrong: Any) -> None:
    """Texts are UTF-8 without zero bytes. Columns of ASCII alone, the usual case, are seen to be by one pass."""
    if column.values.dtype.kind != "S" or not len(column.values):
        return
    entries = np.ascontiguousarray(column.values).view(np.uint8).reshape(len(column.values), -1)
    is_end = entries == 0
    if (broken := (is_end[:, :-1] & ~is_end[:, 1:]).any(axis=1)).any():
        raise wrong(f"value {int(broken.argmax())} has a zero byte inside")
    if not (entries & 0x80).any():
        return
    for row, value in enumerate(column.values.tolist()):
        try:
            value.decode()
        except UnicodeDecodeError as error:
            raise wrong(f"value {row} is not UTF-8: {error.reason} at byte {error.start}") from None


def _check_orders(columns: Columns, source: str) -> None:
    for kind, order in columns.orders.items():
        if order.dtype.kind != "u":
            raise InputError(f"an order is of unsigned integers, not {order.dtype}", source=source, path=f"order/{kind}")
        wanted = np.array([table.rows if table.kind == kind else 0 for table in columns.tables])
        is_known = not len(order) or int(order.max()) < len(columns.tables)
        if not is_known or (np.bincount(order.astype(np.int64), minlength=len(columns.tables)) != wanted).any():
            raise InputError("does not name each table of its kind once a row", source=source, path=f"order/{kind}")
