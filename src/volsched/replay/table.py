"""Tables as traces come: CSV, plain or gzip, and Parquet; cells to columns of numbers, with the file, line and column of what is wrong.

Numbers are read exactly: times in decimal seconds become whole nanoseconds without passing through a float.
"""

from __future__ import annotations

import csv
import gzip
import io
import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np

from volsched.api.documents import TEXT_BYTES_MAX, TextError, decoded_text
from volsched.api.quantity import value_of
from volsched.errors import InputError
from volsched.replay.trace import Ints

T = TypeVar("T")

ROWS_MAX: Final = 20_000_000
CELL_BYTES_MAX: Final = 1 << 20
INT64_MAX: Final = (1 << 63) - 1
_DECIMAL: Final = re.compile(r"(-?)(\d{1,18})(?:\.(\d{1,18}))?", re.ASCII)
PARQUET_MISSING: Final = "Parquet needs pyarrow, which is not installed: pip install 'volsched[replay]', or use CSV"


class Table:
    """Columns by name, cells as text or, from Parquet, as Python values; an empty cell is None."""

    def __init__(self, source: str, columns: Mapping[str, Sequence[Any]], lines: Sequence[int]) -> None:
        self.source = source
        self.columns = columns
        self._lines = lines

    def __len__(self) -> int:
        return len(self._lines)

    def wrong(self, row: int, column: str, message: str) -> InputError:
        """The error about one cell."""
        return InputError(message, source=self.source, line=self._lines[row], path=f"column {column}")

    def has(self, column: str) -> bool:
        return column in self.columns

    def need(self, *columns: str) -> None:
        """Raises InputError naming the columns that are not there."""
        missing = [name for name in columns if name not in self.columns]
        if missing:
            raise InputError(
                f"has no column {', '.join(missing)}; it has {', '.join(self.columns)}", source=self.source, line=1 if self._lines else None
            )

    def texts(self, column: str) -> list[str]:
        """Cells as text, empty for none."""
        return ["" if cell is None else str(cell) for cell in self.columns[column]]

    def names(self, column: str) -> list[str]:
        """Cells that name something: none empty, none twice."""
        found = self.texts(column)
        seen: dict[str, int] = {}
        for row, name in enumerate(found):
            if not name:
                raise self.wrong(row, column, "is empty; every row needs a name")
            if name in seen:
                raise self.wrong(row, column, f"{name} was in line {self._lines[seen[name]]} already")
            seen[name] = row
        return found

    def read(self, column: str, what: Callable[[str], int], *, empty: int | None = None, least: int = 0) -> Ints:
        """int64, (rows,): every cell through `what`; `empty` stands for an empty one, None refuses it. Raises InputError."""
        made: list[int] = []
        known: dict[Any, int] = {}  # columns of requests repeat a few values
        for row, cell in enumerate(self.columns[column]):
            number = known.get(cell)
            if number is None:
                number = self._number(row, column, cell, what, empty, least)
                known[cell] = number
            made.append(number)
        return np.array(made, dtype=np.int64)

    def _number(self, row: int, column: str, cell: Any, what: Callable[[str], int], empty: int | None, least: int) -> int:
        if cell is None:
            if empty is None:
                raise self.wrong(row, column, "is empty, a number is needed")
            return empty
        try:
            number = what(_number_text(cell))
        except (ValueError, InputError) as error:
            raise self.wrong(row, column, str(error)) from None
        if number < least:
            raise self.wrong(row, column, f"{cell} is less than {least}")
        if number > INT64_MAX:
            raise self.wrong(row, column, f"{cell} is too large")
        return number


def _number_text(cell: Any) -> str:
    if isinstance(cell, bool):
        raise ValueError(f"{cell} is not a number")
    if isinstance(cell, float) and cell.is_integer() and abs(cell) < 2**63:
        return str(int(cell))
    return str(cell).strip()


def scaled(power: int, *, rounding: bool = False) -> Callable[[str], int]:
    """A reader of decimal numbers in units of 10**-power, exact; finer digits have to be zero unless they are rounded, half up."""

    def read(text: str) -> int:
        found = _DECIMAL.fullmatch(text)
        if found is None:
            raise ValueError(f"{text[:60]!r} is not a decimal number")
        sign, whole, fraction = found[1], found[2], (found[3] or "").rstrip("0")
        up = 0
        if len(fraction) > power and rounding:
            up, fraction = int(fraction[power] >= "5"), fraction[:power]
        if len(fraction) > power:
            raise ValueError(f"{text} is finer than 1e-{power}, the smallest unit here" if power else f"{text} is not a whole number")
        number: int = int(whole) * 10**power + int(fraction.ljust(power, "0") or 0) + up
        return -number if sign else number

    return read


def times(unit: int, power: int) -> Callable[[str], int]:
    """A reader of decimals in a unit of `unit` smallest ones, given to `power` digits: mebibytes to bytes."""
    fine = scaled(power)

    def read(text: str) -> int:
        up: int = -(-fine(text) * unit // 10**power)
        return up

    return read


whole: Final = scaled(0)
seconds: Final = scaled(9, rounding=True)  # traces carry the noise of floats: 475.00000000000006
milli: Final = scaled(3)


def quantity(text: str) -> int:
    """A Kubernetes quantity, rounded up to a whole number: `10Gi`."""
    return value_of(text)


def raw_bytes(path: Path) -> bytes:
    """A file's content, unpacked where its name ends in .gz. Raises InputError, also for one that unpacks to too much."""
    try:
        if path.suffix != ".gz":
            if (size := path.stat().st_size) > TEXT_BYTES_MAX:
                raise InputError(f"{size} bytes are more than the {TEXT_BYTES_MAX} read from one file; use Parquet", source=str(path))
            return path.read_bytes()
        with gzip.open(path) as file:
            content = file.read(TEXT_BYTES_MAX + 1)
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror or error}", source=str(path)) from error
    except (EOFError, zlib.error) as error:
        raise InputError(f"cannot be read: {error}", source=str(path)) from error
    if len(content) > TEXT_BYTES_MAX:
        raise InputError(f"unpacks to more than the {TEXT_BYTES_MAX} bytes read from one file; use Parquet", source=str(path))
    return content


def read_table(path: Path) -> Table:
    """A CSV file (`.gz` is unpacked) or, by its name, a Parquet file. Raises InputError."""
    if path.suffix == ".parquet":
        return _parquet(path)
    try:
        text = decoded_text(raw_bytes(path))
    except TextError as error:
        raise InputError(error.message, source=str(path), line=error.line) from None
    return csv_table(text, source=str(path))


def csv_table(text: str, *, source: str) -> Table:
    """A table in CSV: a header line, then one line a row. Raises InputError."""
    csv.field_size_limit(CELL_BYTES_MAX)
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows: list[list[str]] = []
    lines: list[int] = []
    header: list[str] | None = None
    try:
        for row in reader:
            if not row:
                continue
            if header is None:
                header = [name.strip() for name in row]
                continue
            if len(row) != len(header):
                raise InputError(f"has {len(row)} cells, the header {len(header)}", source=source, line=reader.line_num)
            rows.append(row)
            lines.append(reader.line_num)
            if len(rows) > ROWS_MAX:
                raise InputError(f"has more than {ROWS_MAX} rows", source=source)
    except csv.Error as error:
        raise InputError(f"is not CSV: {error}", source=source, line=reader.line_num) from None
    if header is None:
        raise InputError("is empty; a header line is needed", source=source)
    twice = next((name for at, name in enumerate(header) if name in header[:at]), None)
    if twice is not None:
        raise InputError(f"has two columns {twice}", source=source, line=1)
    cells = zip(*rows, strict=True) if rows else iter([()] * len(header))
    return Table(source, {name: [cell or None for cell in column] for name, column in zip(header, cells, strict=True)}, lines)


def _parquet(path: Path) -> Table:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise InputError(PARQUET_MISSING, source=str(path)) from None
    try:
        file = pyarrow.parquet.ParquetFile(path)
        if file.metadata.num_rows > ROWS_MAX:
            raise InputError(f"has {file.metadata.num_rows} rows, more than {ROWS_MAX}", source=str(path))
        found = file.read()
    except OSError as error:
        raise InputError(f"cannot be read: {error}", source=str(path)) from error
    except pyarrow.ArrowException as error:
        raise InputError(f"is not Parquet: {error}", source=str(path)) from error
    columns = {name: [None if cell == "" else cell for cell in found.column(name).to_pylist()] for name in found.column_names}
    return Table(str(path), columns, range(1, found.num_rows + 1))
