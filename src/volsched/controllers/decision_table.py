"""Decision tables: the state machines of the controllers, written the way the specification writes them.

A table has named columns, each with a finite set of values, and rows that are tried in order; the first row whose cells all match decides.
A cell is one value, a set of values, or `ANY`. Because the columns are finite, a test can walk every combination: each must meet exactly
one row or be in the table's list of impossible ones, and no row may be out of reach.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, Generic, TypeVar

from volsched.errors import EngineError

R = TypeVar("R")


class _Any:
    """A cell that every value matches."""

    def __repr__(self) -> str:
        return "ANY"


ANY: Final = _Any()


def matches(cell: object, value: object) -> bool:
    """Whether a cell admits a value."""
    if cell is ANY:
        return True
    return value in cell if isinstance(cell, frozenset) else value == cell


class DecisionTable(Generic[R]):
    """Rows over finite columns, first match decides. `rows` are (row, cells in the order of the columns)."""

    def __init__(
        self,
        columns: Mapping[str, Sequence[object]],
        rows: Sequence[tuple[R, tuple[object, ...]]],
        *,
        impossible: Sequence[tuple[object, ...]] = (),
    ) -> None:
        self.columns = dict(columns)
        self.rows = tuple(rows)
        self.impossible = tuple(impossible)
        for what, cells in [*self.rows, *(("impossible", cells) for cells in self.impossible)]:
            if len(cells) != len(self.columns):
                raise EngineError(f"row {what} has {len(cells)} cells, the table has {len(self.columns)} columns")

    def decide(self, **facts: object) -> R:
        """The row for these facts. Raises EngineError when no row matches, which the tests of every table exclude."""
        values = tuple(facts[name] for name in self.columns)
        for row, cells in self.rows:
            if all(map(matches, cells, values)):
                return row
        raise EngineError(f"no row for {facts}")

    def combinations(self) -> Iterator[dict[str, object]]:
        """Every combination of column values that is not impossible."""
        for values in itertools.product(*self.columns.values()):
            if not any(all(map(matches, cells, values)) for cells in self.impossible):
                yield dict(zip(self.columns, values, strict=True))

    def unreachable(self) -> list[R]:
        """Rows that no possible combination meets."""
        met = [self.decide(**facts) for facts in self.combinations()]
        return [row for row, _ in self.rows if row not in met]
