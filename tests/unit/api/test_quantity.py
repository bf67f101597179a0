"""Quantities against values that Go's own package computed, and against plain fractions."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from volsched.api.quantity import Quantity, milli_of, number_text, parse, value_of
from volsched.errors import InputError

GOLDEN: dict[str, Any] = json.loads((Path(__file__).parents[2] / "data" / "quantities.json").read_text())
SUFFIXES = {
    **{name: Fraction(10) ** power for name, power in [("n", -9), ("u", -6), ("m", -3), ("", 0), ("k", 3), ("M", 6), ("G", 9), ("T", 12)]},
    **{name: Fraction(2) ** power for name, power in [("Ki", 10), ("Mi", 20), ("Gi", 30), ("Ti", 40), ("Pi", 50)]},
}
# Below 8192Pi nothing is capped and nothing overflows.
NUMBERS = st.tuples(st.sampled_from(["", "-", "+"]), st.integers(0, 8190), st.text("0123456789", max_size=11))


def exact(sign: str, whole: int, fraction: str, suffix: str) -> Fraction:
    """The value a text stands for, rounded away from zero to nano as parsing does."""
    number = Fraction(int(f"{whole}{fraction}"), 10 ** len(fraction)) * SUFFIXES[suffix]
    nano = -(-number * 10**9 // 1)
    return (-1 if sign == "-" else 1) * Fraction(nano, 10**9)


def as_fraction(quantity: Quantity) -> Fraction:
    return Fraction(quantity._mantissa) * Fraction(10) ** quantity._scale


def ceiling_away(value: Fraction) -> int:
    size = -(-abs(value) // 1)
    return size if value >= 0 else -size


@pytest.mark.parametrize("row", GOLDEN["parse"], ids=lambda row: repr(row["text"]))
def test_parse_equals_go(row: dict[str, Any]) -> None:
    if not row["ok"]:
        with pytest.raises(InputError):
            parse(row["text"])
        return
    quantity = parse(row["text"])
    assert quantity.value() == row["value"]
    assert quantity.milli_value() == row["milli"]
    assert str(quantity) == row["canonical"]
    assert str(quantity.rounded_up()) == row["milli_rounded"]


@pytest.mark.parametrize("row", GOLDEN["arithmetic"], ids=lambda row: f"{row['a']} and {row['b']}")
def test_arithmetic_equals_go(row: dict[str, Any]) -> None:
    left, right = parse(row["a"]), parse(row["b"])
    assert (left > right) - (left < right) == row["cmp"]
    total, difference = left + right, left - right
    assert (str(total), total.value(), total.milli_value()) == (row["sum"], row["sum_value"], row["sum_milli"])
    assert (str(difference), difference.value(), difference.milli_value()) == (
        row["difference"],
        row["difference_value"],
        row["difference_milli"],
    )


@given(NUMBERS, st.sampled_from(sorted(SUFFIXES)))
def test_parse_is_exact(number: tuple[str, int, str], suffix: str) -> None:
    sign, whole, fraction = number
    text = f"{sign}{whole}.{fraction}{suffix}" if fraction else f"{sign}{whole}{suffix}"
    assert as_fraction(parse(text)) == exact(sign, whole, fraction, suffix)


@given(NUMBERS, st.sampled_from(sorted(SUFFIXES)), NUMBERS, st.sampled_from(sorted(SUFFIXES)))
def test_order_sum_and_hash_agree_with_fractions(
    one: tuple[str, int, str], one_suffix: str, two: tuple[str, int, str], two_suffix: str
) -> None:
    left = parse(f"{one[0]}{one[1]}.{one[2]}{one_suffix}")
    right = parse(f"{two[0]}{two[1]}.{two[2]}{two_suffix}")
    a, b = as_fraction(left), as_fraction(right)
    assert (left < right, left <= right, left == right, left > right, left >= right) == (a < b, a <= b, a == b, a > b, a >= b)
    assert as_fraction(left + right) == a + b
    assert as_fraction(left - right) == a - b
    assert as_fraction(-left) == -a
    if left == right:
        assert hash(left) == hash(right)


@given(NUMBERS, st.sampled_from(sorted(SUFFIXES)))
def test_canonical_text_reads_back_as_the_same_value(number: tuple[str, int, str], suffix: str) -> None:
    quantity = parse(f"{number[0]}{number[1]}.{number[2]}{suffix}")
    again = parse(str(quantity))
    assert again == quantity
    assert parse(str(again)) == quantity


@given(st.integers(0, 10**12), st.sampled_from(["n", "u", "m", "", "k"]))
def test_small_form_rounds_up(whole: int, suffix: str) -> None:
    quantity = parse(f"{whole}{suffix}")
    value = as_fraction(quantity)
    assert quantity.value() == ceiling_away(value)
    assert quantity.milli_value() == ceiling_away(value * 1000)
    assert (-quantity).value() == -ceiling_away(value)


@given(st.text("0123456789.+-eEinumkKMGTP ", max_size=12))
def test_any_text_gives_a_quantity_or_an_input_error(text: str) -> None:
    try:
        quantity = parse(text)
    except InputError as error:
        assert "\n" not in str(error)
    else:
        assert -(2**63) <= quantity.value() < 2**63
        assert hash(quantity) == hash(quantity)


@pytest.mark.parametrize("text", ["1e2147483647", "1e-2147483648", "0e999999999", "123456789012345678901e-2147483000"])
def test_hostile_exponents_cost_nothing(text: str) -> None:
    quantity = parse(text)
    assert quantity == parse(text)
    assert (quantity > parse("1Gi")) == (quantity > parse("1"))
    assert isinstance(quantity.value(), int)


@pytest.mark.parametrize("text", ["1234567890123456789e2147483000", "1234567890123456789e100000"])
def test_a_number_too_long_to_write_out_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="exponent"):
        parse(text)


def test_a_sum_too_long_to_write_out_is_refused() -> None:
    with pytest.raises(InputError, match="exponent"):
        parse("1e200000") + parse("1")


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (5, "5"),
        (-3, "-3"),
        (1.5, "1.5"),
        (1e3, "1000"),
        (1e16, "10000000000000000"),
        (1.5e20, "150000000000000000000"),
        (1e21, "1e+21"),
        (0.1, "0.1"),
        (1e-6, "0.000001"),
        (1.5e-5, "0.000015"),
        (1e-7, "1e-7"),
        (-2.5e-8, "-2.5e-8"),
        (0.0, "0"),
        (123456789.25, "123456789.25"),
    ],
)
def test_numbers_are_read_as_go_writes_them(number: float, text: str) -> None:
    assert number_text(number) == text


@pytest.mark.parametrize("value", [True, None, float("nan"), float("inf"), [1], b"1"])
def test_what_is_no_number_is_refused(value: Any) -> None:
    with pytest.raises((InputError, TypeError)):
        parse(value)


def test_numbers_and_booleans_do_not_share_a_cache_entry() -> None:
    assert parse(1) == parse("1")
    with pytest.raises(InputError):
        parse(True)


def test_short_helpers() -> None:
    assert (value_of("1.5Gi"), milli_of("0.25")) == (1610612736, 250)
    assert Quantity.zero() + parse("2Gi") == Quantity.of_bytes(2**31)
    assert str(Quantity.zero() + parse("2Gi")) == "2Gi"
    assert str(Quantity.of_bytes(1536 << 20)) == "1536Mi"
    assert sum((parse("1Gi"), parse("512Mi")), Quantity.zero()) == parse("1.5Gi")
    assert bool(parse("0Ki")) is False
    assert (parse("-1").sign(), parse("0").sign(), parse("1n").sign()) == (-1, 0, 1)
    assert Quantity.parse("1") != 1
