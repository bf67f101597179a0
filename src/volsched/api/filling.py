"""Tools of defaulting: changed copies that are the same object when nothing changes, and quantities in the form objects keep them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, TypeVar

import msgspec

from volsched.api.quantity import parse
from volsched.errors import InputError

T = TypeVar("T")
ResourceList = dict[str, str]


def changed(struct: T, changes: dict[str, Any]) -> T:
    """A copy with some fields changed, or the struct itself when there are none."""
    return msgspec.structs.replace(struct, **changes) if changes else struct  # type: ignore[type-var]


def missing(struct: Any, defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Those defaults whose field is unset or an empty string (Go's zero value of a string field)."""
    return {name: value for name, value in defaults.items() if getattr(struct, name) in (None, "") and getattr(struct, name) != value}


def each(items: list[T] | None, rule: Callable[[T], T]) -> list[T] | None:
    """The list with a rule applied to each element; the same list when no element changes."""
    if not items:
        return items
    made = [rule(item) for item in items]
    return made if any(new is not old for new, old in zip(made, items, strict=True)) else items


@lru_cache(maxsize=1 << 16)
def canonical(text: str) -> str:
    """A quantity's text as resource lists keep it: rounded up to milli, canonical. What cannot be parsed stays."""
    try:
        return str(parse(text).rounded_up())
    except InputError:
        return text


@lru_cache(maxsize=1 << 12)
def canonical_only(text: str) -> str:
    try:
        return str(parse(text))
    except InputError:
        return text


def canonical_list(quantities: ResourceList | None) -> ResourceList | None:
    """A resource list with every quantity canonical; the same list when they are already, and none where it is empty: no empty list is
    stored."""
    if not quantities:
        return None
    for value in quantities.values():
        if canonical(value) != value:
            return {key: canonical(value) for key, value in quantities.items()}
    return quantities


def canonical_lists(struct: Any, *names: str) -> dict[str, Any]:
    """The changes that make the named resource lists of a struct canonical."""
    changes = {}
    for name in names:
        old = getattr(struct, name)
        new = canonical_list(old)
        if new is not old:
            changes[name] = new
    return changes
