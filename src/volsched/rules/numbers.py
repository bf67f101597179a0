"""Integers as the compared implementation counts them: 64 bits, two's complement, division towards zero.

Python's `//` floors and its integers never overflow; kube-scheduler's wrap at 64 bits and truncate. Scores and resource sums go through
here wherever the two could differ, so that huge or negative inputs decide alike.
"""

from __future__ import annotations

import re
from typing import Final

INT64_MAX: Final = 2**63 - 1
INT64_MIN: Final = -(2**63)

_DECIMAL: Final = re.compile(r"[+-]?[0-9]+")


def wrap64(value: int) -> int:
    """The value as a 64-bit two's complement integer would hold it."""
    return (value - INT64_MIN) % 2**64 + INT64_MIN


def quotient(numerator: int, denominator: int) -> int:
    """Integer division that truncates towards zero."""
    magnitude = abs(numerator) // abs(denominator)
    return magnitude if (numerator < 0) == (denominator < 0) else -magnitude


def int64_of(value: float) -> int:
    """A double cut to an integer as 64-bit hardware (amd64) does it: what does not fit becomes the lowest number."""
    return int(value) if -(2.0**63) <= value < 2.0**63 else INT64_MIN


def round_half_away(value: float) -> int:
    """The nearest integer, halves away from zero (Python's `round` goes to even)."""
    whole = int(value)
    rest = value - whole  # exact: both are close doubles
    if rest >= 0.5:
        return whole + 1
    if rest <= -0.5:
        return whole - 1
    return whole


def parse_int64(text: str) -> int | None:
    """A base 10 integer within 64 bits, None for anything else. Unlike `int()`: no spaces, no underscores, ASCII digits only."""
    if not _DECIMAL.fullmatch(text):
        return None
    value = int(text)
    return value if INT64_MIN <= value <= INT64_MAX else None
