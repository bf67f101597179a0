"""Kubernetes quantities: exact decimal numbers with a suffix, as `1536Mi`, `250m`, `1e3`.

A quantity is an integer mantissa and a power of ten. Upstream keeps it in one of two forms, and a few results depend on which: the
*small* form (a mantissa of an int64 and a scale, for at most 18 digits or a short binary number) and the *big* form (arbitrary precision,
held at nano scale). Both are kept apart here by `_big`, so that `value()`, `milli_value()` and `str()` give what the API server and the
scheduler compute, overflow included. Comparison is exact on the whole value in either form.

Parsing is cached (`parse`): clusters use few distinct quantities, so the hot path is one dictionary look-up.
Source: apimachinery/pkg/api/resource {quantity,amount,math,scale_int,suffix}.go; spec/scheduling.md 3.1.
"""

from __future__ import annotations

import json
import math
import re
from functools import lru_cache
from typing import Final

from volsched.errors import InputError

DECIMAL: Final = "DecimalSI"
BINARY: Final = "BinarySI"
EXPONENT: Final = "DecimalExponent"

_INT64_MAX: Final = 2**63 - 1
_INT128_MAX: Final = 2**127 - 1
_INT64_MIN: Final = -(2**63)
_SMALL_DIGITS: Final = 18
_NANO: Final = -9
_MILLI: Final = -3
# Digits a shift by a power of ten may add. Only a hostile exponent comes near it; upstream would run out of memory there.
_SHIFT_MAX: Final = 10_000
# Powers of ten for which upstream multiplies at once, and on overflow answers the wrapped product; for all others it answers 0.
_WRAPPING_SHIFTS: Final = frozenset({1, 2, 3, 6, 9})

_DECIMAL_SUFFIX: Final = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY_SUFFIX: Final = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}
_DECIMAL_NAME: Final = {exponent: name for name, exponent in _DECIMAL_SUFFIX.items()}
_BINARY_NAME: Final = {0: "", **{exponent: name for name, exponent in _BINARY_SUFFIX.items()}}
# Longest binary mantissa of the small form, by suffix: 14 digits less three for every 1024. Pi and Ei are always big.
_BINARY_DIGITS: Final = {"Ki": 11, "Mi": 8, "Gi": 5, "Ti": 2}

_FORM: Final = re.compile(r"([+-]?)0*([0-9]*)(?:\.([0-9]*))?([eEinumkKMGTP]*[-+]?[0-9]*)", re.ASCII)
_SPACE: Final = " \u0085\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000"

_WRONG_FORM: Final = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
_WRONG_NUMBER: Final = "unable to parse numeric part of quantity"
_WRONG_SUFFIX: Final = "unable to parse quantity's suffix"


class Quantity:
    """An exact quantity: immutable, hashable, ordered by value. `str()` is the canonical form."""

    __slots__ = ("_big", "_format", "_mantissa", "_milli", "_scale", "_text", "_value")

    _mantissa: int
    _scale: int  # value = mantissa * 10**scale
    _big: bool
    _format: str
    _text: str | None  # canonical form; the text as given where upstream keeps that
    _value: int | None
    _milli: int | None

    def __init__(self, mantissa: int, scale: int = 0, *, form: str = DECIMAL, big: bool = False, text: str | None = None) -> None:
        self._mantissa = mantissa
        self._scale = scale
        self._format = form
        self._big = big
        self._text = text
        self._value = None
        self._milli = None

    @classmethod
    def parse(cls, text: str | int | float) -> Quantity:
        """The quantity a JSON string or number stands for. Raises InputError with upstream's words."""
        return parse(text)

    @classmethod
    def zero(cls) -> Quantity:
        """0, without a format of its own: a sum takes the format of the first other summand."""
        return _ZERO

    @classmethod
    def of_bytes(cls, count: int) -> Quantity:
        """A whole number in binary format (`1536Mi`), as upstream's NewQuantity(count, BinarySI)."""
        return cls(count, 0, form=BINARY, big=not _INT64_MIN <= count <= _INT64_MAX)

    def value(self) -> int:
        """Value(): rounded up to an integer, an int64. Beyond int64 the small form gives 0 or wraps, by scale; the big form wraps."""
        if self._value is None:
            self._value = self._scaled(0)
        return self._value

    def milli_value(self) -> int:
        """MilliValue(): 1000 times the quantity, rounded up, an int64. Overflow as in `value`."""
        if self._milli is None:
            self._milli = self._scaled(_MILLI)
        return self._milli

    def nanos(self) -> int:
        """The exact value in units of 10**-9, finer than which nothing is kept; capped to what 128 bits hold."""
        if self._mantissa == 0:
            return 0
        exact: int = self._mantissa * 10 ** min(self._scale - _NANO, 40)
        return max(-_INT128_MAX, min(exact, _INT128_MAX))

    def sign(self) -> int:
        """-1, 0 or 1."""
        return (self._mantissa > 0) - (self._mantissa < 0)

    def rounded_up(self, scale: int = _MILLI) -> Quantity:
        """RoundUp(scale): rounded away from zero to 10**scale. Objects keep no finer scale than milli (spec/scheduling.md 2.1)."""
        if self._scale >= scale and not self._big:
            return self
        if self._big:
            return Quantity(_rescaled(self._mantissa, self._scale, scale), scale, form=self._format, big=True)
        return Quantity(_away_from_zero(self._mantissa, scale - self._scale), scale, form=self._format)

    def _scaled(self, scale: int) -> int:
        drop = scale - self._scale
        mantissa = self._mantissa
        if not self._big:
            if drop > 0:
                return _away_from_zero(mantissa, drop)
            if mantissa == 0 or drop < -_SMALL_DIGITS - 1:
                return 0
            grown: int = mantissa * 10**-drop
            if _INT64_MIN <= grown <= _INT64_MAX:
                return grown
            return _wrapped(grown) if -drop in _WRAPPING_SHIFTS else 0
        if drop <= 0:
            factor: int = 10 ** min(-drop, _SMALL_DIGITS + 1)
            return _wrapped(_wrapped(mantissa) * (factor if factor <= _INT64_MAX else _INT64_MIN))
        divisor: int = 10**drop
        if mantissa < _INT64_MAX and drop <= _SMALL_DIGITS:
            # Go truncates here and then adds one, also below zero.
            narrow = _wrapped(mantissa)
            whole = abs(narrow) // divisor * (1 if narrow >= 0 else -1)
            return whole if narrow % divisor == 0 else whole + 1
        whole, rest = divmod(mantissa, divisor)
        return _wrapped(_wrapped(whole) + (1 if rest else 0))

    # Arithmetic. A zero takes the other's format; a small sum that leaves int64 becomes big.

    def __add__(self, other: Quantity) -> Quantity:
        if not isinstance(other, Quantity):
            return NotImplemented
        form = other._format if self._mantissa == 0 else self._format
        if not (self._big or other._big):
            if other._mantissa == 0:
                return Quantity(self._mantissa, self._scale, form=form)
            if self._mantissa == 0:
                return Quantity(other._mantissa, other._scale, form=form)
        scale = min(self._scale, other._scale)
        left, right = _grown(self._mantissa, self._scale - scale), _grown(other._mantissa, other._scale - scale)
        total = left + right
        big = self._big or other._big or any(not _INT64_MIN <= part <= _INT64_MAX for part in (left, right, total))
        return Quantity(total, scale, form=form, big=big)

    def __sub__(self, other: Quantity) -> Quantity:
        if not isinstance(other, Quantity):
            return NotImplemented
        return self + -other

    def __neg__(self) -> Quantity:
        return Quantity(-self._mantissa, self._scale, form=self._format, big=self._big)

    # Order: exact, by sign, then number of digits before the point, then digits. Nothing is expanded by a hostile exponent.

    def _compare(self, other: Quantity) -> int:
        left, right = self._mantissa, other._mantissa
        if self._scale == other._scale:
            return (left > right) - (left < right)
        sign = (left > 0) - (left < 0)
        other_sign = (right > 0) - (right < 0)
        if sign != other_sign or sign == 0:
            return (sign > other_sign) - (sign < other_sign)
        shift = self._scale - other._scale
        if abs(shift) > _SHIFT_MAX:
            magnitude = len(str(abs(left))) + shift - len(str(abs(right)))
            return sign if magnitude > 0 else -sign
        if shift > 0:
            left *= 10**shift
        else:
            right *= 10**-shift
        return (left > right) - (left < right)

    def __eq__(self, other: object) -> bool:
        return self._compare(other) == 0 if isinstance(other, Quantity) else NotImplemented

    def __lt__(self, other: Quantity) -> bool:
        return self._compare(other) < 0 if isinstance(other, Quantity) else NotImplemented

    def __le__(self, other: Quantity) -> bool:
        return self._compare(other) <= 0 if isinstance(other, Quantity) else NotImplemented

    def __gt__(self, other: Quantity) -> bool:
        return self._compare(other) > 0 if isinstance(other, Quantity) else NotImplemented

    def __ge__(self, other: Quantity) -> bool:
        return self._compare(other) >= 0 if isinstance(other, Quantity) else NotImplemented

    def __hash__(self) -> int:
        mantissa, exponent = _without_tens(self._mantissa)
        return hash((mantissa, exponent + self._scale if mantissa else 0))

    def __bool__(self) -> bool:
        return self._mantissa != 0

    def __str__(self) -> str:
        if self._text is None:
            self._text = self._canonical()
        return self._text

    def __repr__(self) -> str:
        return f"Quantity({str(self)!r})"

    def _canonical(self) -> str:
        if self._mantissa == 0:
            return "0"
        if self._format == BINARY:
            whole = self._whole()
            if whole is not None and abs(whole) >= 1024:
                power = 0
                while whole % 1024 == 0:
                    whole //= 1024
                    power += 10
                return f"{whole}{_BINARY_NAME.get(power, '')}"
        mantissa, exponent = _without_tens(self._mantissa)
        exponent += self._scale
        mantissa *= 10 ** (exponent % 3)
        exponent -= exponent % 3
        if self._format == EXPONENT:
            return f"{mantissa}e{exponent}" if exponent else str(mantissa)
        # Past exa upstream has no suffix and prints the mantissa alone.
        return f"{mantissa}{_DECIMAL_NAME.get(exponent, '')}"

    def _whole(self) -> int | None:
        """The value where it is an integer, else None."""
        if self._scale >= 0:
            return _grown(self._mantissa, self._scale)
        whole, rest = divmod(self._mantissa, 10**-self._scale)
        return None if rest else whole


_ZERO: Final = Quantity(0, 0, form=DECIMAL)


def _wrapped(number: int) -> int:
    """An integer as an int64 keeps it: the low 64 bits."""
    return (number + 2**63) % 2**64 - 2**63


def _int32(number: int) -> int:
    return (number + 2**31) % 2**32 - 2**31


def _grown(mantissa: int, power: int) -> int:
    """mantissa * 10**power, power >= 0. Raises InputError rather than write out a hostile exponent."""
    if mantissa == 0:
        return 0
    if power > _SHIFT_MAX:
        raise InputError(f"a quantity's exponent spans more than {_SHIFT_MAX} digits; use a smaller exponent")
    grown: int = mantissa * 10**power
    return grown


def _away_from_zero(mantissa: int, drop: int) -> int:
    """mantissa / 10**drop, rounded away from zero."""
    if mantissa == 0:
        return 0
    sign = 1 if mantissa > 0 else -1
    if drop > _SHIFT_MAX and len(str(abs(mantissa))) <= drop:
        return sign
    divisor: int = 10**drop
    return sign * -(-abs(mantissa) // divisor)


def _rescaled(mantissa: int, scale: int, target: int) -> int:
    """The mantissa at another scale: exact when finer, rounded away from zero when coarser."""
    return _away_from_zero(mantissa, target - scale) if target > scale else _grown(mantissa, scale - target)


def _without_tens(mantissa: int) -> tuple[int, int]:
    """(mantissa without factors of ten, how many there were)."""
    if mantissa == 0 or mantissa % 10:
        return mantissa, 0
    digits = str(mantissa)
    kept = digits.rstrip("0")
    return int(kept), len(digits) - len(kept)


def number_text(number: int | float) -> str:
    """A JSON number as Go writes it, which is what a quantity given as a number is parsed from."""
    if isinstance(number, int):
        return str(number)
    if not math.isfinite(number):
        raise InputError(f"{number} is not a number a quantity can be")
    size = abs(number)
    if size == 0 or 1e-6 <= size < 1e21:
        digits = repr(number)
        if "e" not in digits:
            return digits.removesuffix(".0")
        sign = "-" if number < 0 else ""
        mantissa, _, power = digits.lstrip("-").partition("e")
        whole, _, fraction = mantissa.partition(".")
        shift = int(power)
        if shift >= 0:
            return sign + whole + fraction.ljust(shift, "0")
        return sign + "0." + "0" * (-shift - 1) + whole + fraction
    mantissa, _, power = repr(number).partition("e")
    return f"{mantissa.removesuffix('.0')}e{int(power):+d}"


def _wrong(text: str, reason: str) -> str:
    """The complaint in the form of the API server's field errors."""
    shown = text if len(text) <= 60 else text[:57] + "..."
    return f"Invalid value: {json.dumps(shown, ensure_ascii=False)}: {reason}"


@lru_cache(maxsize=1 << 17, typed=True)
def parse(text: str | int | float) -> Quantity:
    """The quantity a JSON string or number stands for; cached. Raises InputError with upstream's words."""
    if not isinstance(text, str):
        if isinstance(text, bool) or not isinstance(text, (int, float)):
            raise InputError(f"a quantity is a string or a number, not {text!r}")
        text = number_text(text)
    text = text.strip(_SPACE)
    match = _FORM.fullmatch(text)
    if match is None or not text:
        raise InputError(_wrong(text, _WRONG_FORM))
    sign, whole, fraction, suffix = match.groups()
    fraction = fraction or ""
    whole = whole or "0"
    exponent = _DECIMAL_SUFFIX.get(suffix)
    if exponent is not None:
        form = DECIMAL
    elif (power := _BINARY_SUFFIX.get(suffix)) is not None:
        return _parse_binary(text, sign, whole, fraction, suffix, power)
    elif len(suffix) > 1 and suffix[0] in "eE":
        exponent, form = _exponent(text, suffix), EXPONENT
    else:
        raise InputError(_wrong(text, _WRONG_SUFFIX))
    scale = _int32(exponent - len(fraction))
    if len(whole) + len(fraction) <= _SMALL_DIGITS and scale >= _NANO:
        digits = whole + fraction
        mantissa = int(digits)
        # Upstream keeps the text of a number that looks canonical already, sign and trailing zeros of the fraction included.
        kept = text if scale % 3 == 0 and not digits.endswith("000") and digits[0] != "0" else None
        return Quantity(-mantissa if sign == "-" else mantissa, scale, form=form, text=kept)
    return _parse_big(text, sign, 1, exponent, form)


def _parse_binary(text: str, sign: str, whole: str, fraction: str, suffix: str, power: int) -> Quantity:
    if not fraction and len(whole) <= _BINARY_DIGITS.get(suffix, 0):
        digits = int(whole)
        mantissa = digits << power
        return Quantity(-mantissa if sign == "-" else mantissa, form=BINARY, text=text if digits & 7 else None)
    return _parse_big(text, sign, 1 << power, 0, BINARY)


def _parse_big(text: str, sign: str, factor: int, exponent: int, form: str) -> Quantity:
    """The big form: rounded away from zero to nano, capped only with a binary suffix."""
    number = re.match(r"[+-]?([0-9]*)(?:\.([0-9]*))?", text)
    whole, fraction = (number[1], number[2] or "") if number else ("", "")
    if not whole and not fraction:
        raise InputError(_wrong(text, _WRONG_NUMBER))
    mantissa = int(whole + fraction) * factor
    scale = _int32(exponent - len(fraction))
    if mantissa:
        mantissa, scale = _rescaled(mantissa, scale, _NANO), _NANO
    if form == BINARY:
        if mantissa > _INT64_MAX * 10**9:
            mantissa, scale = _INT64_MAX, 0
        elif 0 < mantissa < 10**9:
            form = DECIMAL
    return Quantity(-mantissa if sign == "-" else mantissa, scale, form=form, big=True)


def _exponent(text: str, suffix: str) -> int:
    digits = suffix[1:].lstrip("+-")
    power = int(suffix[1:]) if digits.isdecimal() and len(digits) <= 20 else None
    if power is None or not _INT64_MIN <= power <= _INT64_MAX:
        raise InputError(_wrong(text, _WRONG_SUFFIX))
    return _int32(power)


def value_of(text: str) -> int:
    """Value() of a quantity's text."""
    return parse(text).value()


def milli_of(text: str) -> int:
    """MilliValue() of a quantity's text."""
    return parse(text).milli_value()
