"""Distributions as options state them, and columns drawn from them.

    {constant: 3s}   {uniform: [1s, 5s]}   {exponential: {mean: 2s}}   {lognormal: {median: 50Gi, sigma: 1.2}}
    {choice: {10Gi: 5, 100Gi: 1}}          each with `min`, `max` and `round` beside it if wanted

A column is the inverse of the distribution function applied to uniform numbers of a named stream (`volsched.env.draws`), then cut to
[min, max] and rounded up to multiples of `round`. So the n-th pod's number does not depend on what other columns are drawn.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from statistics import NormalDist
from typing import Final, TypeAlias

import msgspec
import numpy as np

from volsched.api.quantity import value_of
from volsched.env.draws import uniforms
from volsched.errors import InputError
from volsched.replay.trace import NS, Ints
from volsched.scheduler.configuration.durations import parse_duration_ns

Amount: TypeAlias = str | int
MILLISECOND: Final = NS // 1000
MIB: Final = 1 << 20
INT64_MAX: Final = (1 << 63) - 1
_NORMAL: Final = NormalDist()
_MIDDLE: Final = np.array([0.5])


class Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """A part of an options file: unknown fields are refused, names are camelCase there."""


class Exponential(Strict, frozen=True):
    """mean: in the unit of the column."""

    mean: Amount


class Lognormal(Strict, frozen=True):
    """median: in the unit of the column. sigma: standard deviation of the natural logarithm."""

    median: Amount
    sigma: float


class Distribution(Strict, frozen=True):
    """One of the five kinds, and what is done with the numbers. round: multiples of what they are rounded up to."""

    constant: Amount | None = None
    uniform: tuple[Amount, Amount] | None = None
    exponential: Exponential | None = None
    lognormal: Lognormal | None = None
    choice: dict[str, float] | None = None
    min: Amount | None = None
    max: Amount | None = None
    round: Amount | None = None

    def kind(self) -> str:
        """Which of the five. Raises InputError unless exactly one is given."""
        given = [name for name in KINDS if getattr(self, name) is not None]
        if len(given) != 1:
            raise InputError(f"a distribution has exactly one of {', '.join(KINDS)}, not {', '.join(given) or 'none'}")
        return given[0]


KINDS: Final = ("constant", "uniform", "exponential", "lognormal", "choice")
Inverse: TypeAlias = Callable[[float], float]


def as_time(amount: Amount) -> int:
    """Nanoseconds of a duration as Go writes it (`1.5s`, `2m`), or of whole seconds. Raises InputError."""
    found = amount * NS if isinstance(amount, int) else parse_duration_ns(amount)
    if found is None or found < 0:
        raise InputError(f"{amount!r} is no duration such as 1.5s, 2m or 0")
    return found


def as_bytes(amount: Amount) -> int:
    """Bytes of a quantity. Raises InputError."""
    return value_of(str(amount))


def as_count(amount: Amount) -> int:
    """A whole number. Raises InputError."""
    try:
        return int(amount)
    except ValueError:
        raise InputError(f"{amount!r} is not a whole number") from None


def _inverse(of: Distribution, unit: Callable[[Amount], int]) -> Inverse:
    """The inverse distribution function, in the column's unit. Raises InputError for parameters that make none."""
    if of.constant is not None:
        fixed = unit(of.constant)
        return lambda _: fixed
    if of.uniform is not None:
        low, high = (unit(end) for end in of.uniform)
        if low > high:
            raise InputError(f"uniform: {of.uniform[0]} is more than {of.uniform[1]}")
        return lambda u: low + u * (high - low)
    if of.exponential is not None:
        mean = unit(of.exponential.mean)
        return lambda u: -mean * math.log1p(-u)
    if of.lognormal is not None:
        median, sigma = unit(of.lognormal.median), of.lognormal.sigma
        if sigma < 0:
            raise InputError(f"lognormal: sigma {sigma} is negative")
        # 0 has no inverse; half the smallest step stands for it
        return lambda u: median * math.exp(sigma * _NORMAL.inv_cdf(u or 2.0**-54))
    return _chosen(of.choice or {}, unit)


def _chosen(weights: Mapping[str, float], unit: Callable[[Amount], int]) -> Inverse:
    values = [unit(value) for value in weights]
    steps = list(itertools.accumulate(weights.values()))
    if not steps or min(weights.values()) < 0 or steps[-1] <= 0:
        raise InputError("choice: needs values with weights that are not negative and not all zero")

    def at(u: float) -> float:
        return values[min(int(np.searchsorted(steps, u * steps[-1], side="right")), len(values) - 1)]

    return at


def draw(of: Distribution, chance: np.ndarray[tuple[int], np.dtype[np.float64]], *, unit: Callable[[Amount], int], step: int) -> Ints:
    """int64, one for each uniform number of `chance`, never negative, rounded up to multiples of `round`, else of `step`.

    Raises InputError for parameters that make no distribution.
    """
    of.kind()
    inverse = _inverse(of, unit)
    least = unit(of.min) if of.min is not None else 0
    most = unit(of.max) if of.max is not None else INT64_MAX // 2
    if least > most:
        raise InputError(f"min {of.min} is more than max {of.max}")
    multiple = unit(of.round) if of.round is not None else step
    if multiple <= 0:
        raise InputError(f"round: {of.round} is not greater than zero")
    if of.constant is not None:
        chance = chance[:1].repeat(len(chance))
    made: list[int] = []
    known: dict[float, int] = {}
    for u in chance.tolist():
        number = known.get(u)
        if number is None:
            exact = min(max(inverse(u), least), most)
            number = known[u] = min(-(-math.ceil(exact) // multiple) * multiple, most) if exact > 0 else 0
        made.append(number)
    return np.array(made, dtype=np.int64)


def a_duration(of: Distribution) -> None:
    """Raises InputError unless durations can be drawn from it."""
    draw(of, _MIDDLE, unit=as_time, step=MILLISECOND)


def a_size(of: Distribution) -> None:
    """Raises InputError unless sizes can be drawn from it."""
    draw(of, _MIDDLE, unit=as_bytes, step=MIB)


def a_count(of: Distribution) -> None:
    """Raises InputError unless counts can be drawn from it."""
    draw(of, _MIDDLE, unit=as_count, step=1)


def durations(of: Distribution, seed: int, name: str, count: int) -> Ints:
    """int64, (count,): nanoseconds, whole milliseconds."""
    return draw(of, uniforms(seed, name, count), unit=as_time, step=MILLISECOND)


def sizes(of: Distribution, seed: int, name: str, count: int) -> Ints:
    """int64, (count,): bytes, whole mebibytes."""
    return draw(of, uniforms(seed, name, count), unit=as_bytes, step=MIB)


def counts(of: Distribution, seed: int, name: str, count: int) -> Ints:
    """int64, (count,): whole numbers."""
    return draw(of, uniforms(seed, name, count), unit=as_count, step=1)


ZERO: Final = Distribution(constant=0)
