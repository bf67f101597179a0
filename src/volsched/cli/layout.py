"""Plain columns as kubectl aligns them, and what is done about it when a terminal is narrower.

Prose (a message, a reason) stands in the last column and wraps there, or on lines of its own below the row where little room is left.
Names and figures are never wrapped: columns that say nothing are left out, then the longest cells lose their middle. `width` None, a pipe
or a file, means as wide as it gets.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from typing import Final

GAP: Final = "   "
SAYS_NOTHING: Final = frozenset({"", "<none>", "<unset>"})
_PROSE_MIN: Final = 36  # columns; less is not read well beside the others
_CELL_MIN: Final = 14
_INDENT: Final = "    "


def wrapped(text: str, width: int | None, *, first: str = "", indent: str = "") -> str:
    """Text broken between words so that it fits; the first line starts with `first`, the others with `indent`."""
    if width is None:
        return first + text
    lines = textwrap.wrap(
        text,
        width=max(width, len(indent) + 20),
        initial_indent=first,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return "\n".join(lines) if lines else first.rstrip()


def grid(titles: Sequence[str], rows: Iterable[Sequence[str]], *, headers: bool = True, width: int | None = None) -> list[str]:
    """Left-aligned columns, three blanks apart, as wide as their widest cell; one text a row, of several lines where prose wraps."""
    table = ([list(titles)] if headers else []) + [list(row) for row in rows]
    if not table:
        return []
    widths = [max(len(row[i]) for row in table) for i in range(len(table[0]))]
    head = sum(widths[:-1]) + len(GAP) * (len(widths) - 1)
    plain = [GAP.join([cell.ljust(size) for cell, size in zip(row, widths, strict=True)]).rstrip() for row in table]
    if width is None or head + widths[-1] <= width:
        return plain
    if width - head >= _PROSE_MIN:
        starts = [line[:head].ljust(head) for line in plain]
        return [wrapped(row[-1], width, first=start, indent=" " * head) for row, start in zip(table, starts, strict=True)]
    out = []
    for index, (row, line) in enumerate(zip(table, plain, strict=True)):
        start = line[:head].rstrip()
        below = "" if headers and index == 0 else row[-1]
        out.append(start + ("\n" + wrapped(below, width, first=_INDENT, indent=_INDENT) if below else ""))
    return out


def squeezed(titles: Sequence[str], rows: Sequence[Sequence[str]], width: int | None) -> tuple[list[str], list[list[str]]]:
    """Titles and rows that fit a terminal: columns without a single value go, widest first, then long cells lose their middle.

    The first column, the name, stays whole.
    """
    columns = [[title, *(row[i] for row in rows)] for i, title in enumerate(titles)]

    def excess() -> int:
        return 0 if width is None else sum(max(map(len, column)) for column in columns) + len(GAP) * (len(columns) - 1) - width

    while excess() > 0:
        empty = [column for column in columns[1:] if all(cell in SAYS_NOTHING for cell in column[1:])]
        if not empty:
            break
        columns.remove(max(empty, key=lambda column: len(column[0])))
    while (over := excess()) > 0:
        widest = max(columns[1:], key=lambda column: max(map(len, column)), default=[])
        size = max(map(len, widest), default=0)
        if size <= _CELL_MIN:
            break
        second = max((max(map(len, column)) for column in columns[1:] if column is not widest), default=0)
        target = max(_CELL_MIN, size - over, min(second, size - 1))
        widest[:] = [shortened(cell, target) for cell in widest]
    return [column[0] for column in columns], [[column[i + 1] for column in columns] for i in range(len(rows))]


def shortened(text: str, size: int) -> str:
    """A text of at most `size` characters: its middle gives way to `…`, its end, which tells generated names apart, stays longest."""
    if len(text) <= size:
        return text
    tail = (size - 1) // 2
    return text[: size - 1 - tail] + "…" + text[len(text) - tail :]
