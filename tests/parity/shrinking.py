"""Makes a failing case small: objects, then parts of what is left, are dropped for as long as it still fails.

Dropping halves first makes this cheap: a cluster of hundreds of objects is down to a handful after some dozens of tries.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from tests.shrinking import fewest

Json = Any
Fails = Callable[[dict[str, Json]], bool]
Path = tuple[str | int, ...]

_KEPT = frozenset({"apiVersion", "kind", "name", "uid"})  # an object without these is no object


class _Spent(Exception):
    """No tries are left."""


class _Shrinker:
    def __init__(self, case: dict[str, Json], fails: Fails, tries_max: int) -> None:
        self.best = case
        self._fails = fails
        self._tries = tries_max

    def _keep_if_failing(self, candidate: dict[str, Json]) -> bool:
        if not self._tries:
            raise _Spent
        self._tries -= 1
        if not self._fails(candidate):
            return False
        self.best = candidate
        return True

    def drop_objects(self) -> None:
        fewest(self.best["objects"], lambda objects: self._keep_if_failing({**self.best, "objects": objects}))

    def drop_parts(self) -> bool:
        """Whether something could be left out."""
        dropped = False
        for path in list(_paths({key: value for key, value in self.best.items() if key != "id"})):
            candidate = _without(self.best, path)
            if candidate is not None and self._keep_if_failing(candidate):
                dropped = True
        return dropped


def shrink(case: dict[str, Json], fails: Fails, *, tries_max: int = 4000) -> dict[str, Json]:
    """The smallest case found within so many tries. `fails` must hold for the case given."""
    shrinker = _Shrinker(case, fails, tries_max)
    try:
        shrinker.drop_objects()
        while shrinker.drop_parts():
            shrinker.drop_objects()
    except _Spent:
        pass
    return shrinker.best


def _paths(value: Json, at: Path = ()) -> Iterator[Path]:
    """Places of parts that could go, big ones first; list items from the back, so that earlier places stay right."""
    if isinstance(value, dict):
        parts: list[tuple[str | int, Json]] = list(value.items())
    elif isinstance(value, list):
        parts = list(reversed(list(enumerate(value))))
    else:
        return
    for key, _part in parts:
        if (at or key == "before") and at != ("objects",) and key not in _KEPT:
            yield (*at, key)
    for key, part in parts:
        yield from _paths(part, (*at, key))


def _without(value: Json, path: Path) -> Json:
    """A copy with that part left out, None when it is not there any more."""
    key, rest = path[0], path[1:]
    if isinstance(value, dict):
        if key not in value:
            return None
        if not rest:
            return {name: part for name, part in value.items() if name != key}
        changed = _without(value[key], rest)
        return None if changed is None else {**value, key: changed}
    if isinstance(value, list) and isinstance(key, int) and key < len(value):
        if not rest:
            return [*value[:key], *value[key + 1 :]]
        changed = _without(value[key], rest)
        return None if changed is None else [*value[:key], changed, *value[key + 1 :]]
    return None
