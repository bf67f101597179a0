"""Columns in a pipe and on terminals of some width."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from volsched.cli.layout import GAP, grid, shortened, table_lines, wrapped

TITLES = ("NAME", "STATUS", "VOLUME", "CLASS")
ROWS = [["data", "Bound", "pvc-331ee338-ecbe-4b1b-bc60-c47837b06267", "<unset>"], ["logs", "Pending", "", "<unset>"]]


def test_a_pipe_gets_everything_in_kubectls_columns() -> None:
    assert table_lines(TITLES, ROWS) == [
        "NAME   STATUS    VOLUME                                     CLASS",
        "data   Bound     pvc-331ee338-ecbe-4b1b-bc60-c47837b06267   <unset>",
        "logs   Pending                                              <unset>",
    ]
    assert table_lines(TITLES, ROWS, headers=False)[0].startswith("data   Bound     pvc")
    assert table_lines(TITLES, []) == ["NAME   STATUS   VOLUME   CLASS"]


def test_a_narrow_terminal_loses_empty_columns_first_then_the_middle_of_long_cells() -> None:
    assert table_lines(TITLES, ROWS, width=60) == [
        "NAME  STATUS   VOLUME",
        "data  Bound    pvc-331ee338-ecbe-4b1b-bc60-c47837b06267",
        "logs  Pending",
    ]
    assert all(len(line) <= 40 for line in table_lines(TITLES, ROWS, width=40))


def test_minor_columns_make_way() -> None:
    lines = table_lines(("NAME", "MODES", "SIZE"), [["a" * 30, "ReadWriteOnce", "1Gi"]], width=45, minor={"MODES"})
    assert lines[0].split() == ["NAME", "SIZE"]


def test_prose_wraps_in_its_column_or_below_the_row() -> None:
    message = "0/3 nodes are available: 3 node(s) didn't find available persistent volumes to bind."
    beside = grid(("OBJECT", "MESSAGE"), [["Pod/web", message]], width=60)
    assert beside[1].splitlines()[0].startswith("Pod/web   0/3 nodes")
    assert all(line.startswith(" " * 10) for line in beside[1].splitlines()[1:])
    below = grid(("OBJECT", "MESSAGE"), [["PersistentVolumeClaim/www-0-data", message]], width=60)
    assert below[0] == "OBJECT"
    assert below[1].splitlines()[0] == "PersistentVolumeClaim/www-0-data"
    assert " ".join(below[1].split()[1:]) == message
    assert grid(("OBJECT", "MESSAGE"), [["Pod/web", message]])[1] == f"Pod/web{' ' * GAP}{message}"


_CELL = st.text(st.characters(codec="ascii", exclude_categories=("C", "Z")), max_size=60)


@given(st.lists(st.tuples(_CELL, _CELL, _CELL, _CELL), max_size=5), st.integers(75, 200))
def test_a_table_fits_whatever_it_holds(rows: list[tuple[str, ...]], width: int) -> None:
    lines = table_lines(("NAME", "B", "C", "D"), rows, width=width)
    assert len(lines) == len(rows) + 1
    assert all(len(line) <= width for line in lines)


@given(_CELL, st.integers(3, 70))
def test_shortened_keeps_both_ends(text: str, size: int) -> None:
    short = shortened(text, size)
    assert len(short) == min(len(text), size)
    if len(text) > size:
        head, dots, tail = short.partition("…")
        assert dots
        assert text.startswith(head)
        assert text.endswith(tail)


@given(st.text(st.sampled_from("ab "), max_size=200), st.integers(40, 120))
def test_wrapping_loses_no_word(text: str, width: int) -> None:
    assert wrapped(text, width, first="x ", indent="  ").split() == ["x", *text.split()]
