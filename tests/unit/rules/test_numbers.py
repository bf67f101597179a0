"""64-bit integers, rounding and number texts."""

from __future__ import annotations

import pytest

from volsched.rules.numbers import INT64_MAX, INT64_MIN, parse_int64, quotient, round_half_away, wrap64


@pytest.mark.parametrize(
    ("value", "wrapped"), [(0, 0), (INT64_MAX, INT64_MAX), (INT64_MAX + 1, INT64_MIN), (2**64, 0), (-(2**63) - 1, INT64_MAX)]
)
def test_wrap(value: int, wrapped: int) -> None:
    assert wrap64(value) == wrapped


@pytest.mark.parametrize(
    ("numerator", "denominator", "result"), [(7, 2, 3), (-7, 2, -3), (7, -2, -3), (-7, -2, 3), (0, 5, 0), (-1, 100, 0)]
)
def test_division_truncates(numerator: int, denominator: int, result: int) -> None:
    assert quotient(numerator, denominator) == result


@pytest.mark.parametrize(
    ("value", "rounded"),
    [(0.5, 1), (1.5, 2), (2.5, 3), (-0.5, -1), (-2.5, -3), (0.49999999999999994, 0), (2.4, 2), (-2.4, -2), (65.999, 66)],
)
def test_halves_round_away_from_zero(value: float, rounded: int) -> None:
    assert round_half_away(value) == rounded


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5", 5),
        ("-5", -5),
        ("+6", 6),
        ("007", 7),
        (str(INT64_MAX), INT64_MAX),
        (str(INT64_MAX + 1), None),
        ("", None),
        ("1_0", None),
        (" 1", None),
        ("1.5", None),
        ("٣", None),
        ("0x1", None),
        ("-", None),
    ],
)
def test_numbers_of_labels(text: str, value: int | None) -> None:
    assert parse_int64(text) == value
