"""Plain columns as kubectl aligns them, and what is done about it when a terminal is narrower.

Prose (a message, a reason) stands in the last column and wraps there, or on lines of its own below the row where little room is left.
Names and figures are never wrapped: gaps shrink, columns that say nothing and then minor ones are left out, the longest cells lose their
middle, names at last. `width` None, a pipe or a file, means as wide as it gets.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Container, Iterable, Sequence
from typing import Final

GAP: Final = 3
GAP_MIN: Final = 2
SAYS_NOTHING: Final = frozenset({"", "<none>", "<unset>"})
_PROSE_MIN: Final = 36  # columns; less is not read well beside the others
_CELL_MIN: Final = 9
_NAME_MIN: Final = 20
_INDENT: Final = "    "

Rows = Sequence[Sequence[str]]


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


def fits(titles: Sequence[str], rows: Rows, width: int | None) -> bool:
    """Whether a table with the usual gaps is no wider than the terminal."""
    return width is None or _total(_sizes([titles, *rows]), GAP) <= width


def _sizes(table: Rows) -> list[int]:
    return [max(map(len, column)) for column in zip(*table, strict=True)]


def _total(sizes: Sequence[int], gap: int) -> int:
    return sum(sizes) + gap * (len(sizes) - 1)


def _aligned(row: Sequence[str], sizes: Sequence[int], gap: int) -> str:
    return (" " * gap).join(cell.ljust(size) for cell, size in zip(row, sizes, strict=True)).rstrip()


def grid(titles: Sequence[str], rows: Iterable[Sequence[str]], *, headers: bool = True, width: int | None = None) -> list[str]:
    """Left-aligned columns as wide as their widest cell, the last one prose; one text a row, of several lines where prose wraps."""
    table = ([list(titles)] if headers else []) + [list(row) for row in rows]
    if not table:
        return []
    sizes = _sizes(table)
    if width is None or _total(sizes, GAP) <= width:
        return [_aligned(row, sizes, GAP) for row in table]
    for gap in (GAP, GAP_MIN):
        head = sum(sizes[:-1]) + gap * (len(sizes) - 1)
        if width - head >= _PROSE_MIN:
            indent = " " * head
            starts = [_aligned(row[:-1], sizes[:-1], gap).ljust(head) for row in table]
            return [wrapped(row[-1], width, first=start, indent=indent) for row, start in zip(table, starts, strict=True)]
    heads = table_lines(titles[:-1], [row[:-1] for row in table[headers:]], headers=headers, width=width)
    below = [""] * headers + [row[-1] for row in table[headers:]]
    prose = [wrapped(text, width, first=_INDENT, indent=_INDENT) if text else "" for text in below]
    return [head + ("\n" + text if text else "") for head, text in zip(heads, prose, strict=True)]


def table_lines(
    titles: Sequence[str], rows: Rows, *, headers: bool = True, width: int | None = None, minor: Container[str] = ()
) -> list[str]:
    """A table without prose, one line a row, squeezed into the terminal; columns of `minor` titles may be left out."""
    titles, rows, gap = _squeezed(titles, rows, width, minor)
    table = ([titles] if headers else []) + list(rows)
    return [_aligned(row, _sizes(table), gap) for row in table] if table else []


def _squeezed(titles: Sequence[str], rows: Rows, width: int | None, minor: Container[str]) -> tuple[Sequence[str], Rows, int]:
    """Titles, rows and gap that fit."""
    if fits(titles, rows, width) or width is None:
        return titles, rows, GAP
    columns = [list(column) for column in zip(titles, *rows, strict=True)]

    def excess() -> int:
        return _total([max(map(len, column)) for column in columns], GAP_MIN) - (width or 0)

    def make_way(candidates: list[list[str]]) -> None:
        for column in sorted(candidates, key=lambda column: -max(map(len, column))):
            if excess() > 0:
                columns.remove(column)

    make_way([column for column in columns[1:] if all(cell in SAYS_NOTHING for cell in column[1:])])
    make_way([column for column in columns[1:] if column[0] in minor])
    for column in columns:  # a title needs no more room than what stands below it
        if excess() > 0:
            column[0] = _cut(column[0], max(_CELL_MIN, *map(len, column[1:]), len(column[0]) - excess()))
    for some, least in ((columns[1:], _CELL_MIN), (columns[:1], _NAME_MIN)):
        _shorten(some, excess, least)
    return [column[0] for column in columns], [[column[i + 1] for column in columns] for i in range(len(rows))], GAP_MIN


def _shorten(columns: list[list[str]], excess: Callable[[], int], least: int) -> None:
    """Take from the widest column until the table fits or nothing is wider than `least`."""
    while (over := excess()) > 0 and columns:
        widest = max(columns, key=lambda column: max(map(len, column)))
        size = max(map(len, widest))
        if size <= least:
            return
        second = max((max(map(len, column)) for column in columns if column is not widest), default=0)
        target = max(least, size - over, min(second, size - 1))
        widest[:] = [_cut(widest[0], target), *(shortened(cell, target) for cell in widest[1:])]


def _cut(title: str, size: int) -> str:
    return title if len(title) <= size else title[: size - 1] + "…"


def shortened(text: str, size: int) -> str:
    """A text of at most `size` characters: its middle gives way to `…`; its end, which tells generated names apart, stays."""
    if len(text) <= size:
        return text
    tail = (size - 1) // 2
    return text[: size - 1 - tail] + "…" + text[len(text) - tail :]
