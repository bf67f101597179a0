"""Objects as the API server has them, with the scheduler's own intended changes laid over them.

    informer event ──> stored[key]                      get(key) = assumed[key]  if its version equals stored[key]'s
    assume(obj)    ──> assumed[key]                              = stored[key]   otherwise
    restore(obj)   ──> assumed[key] gone, if of obj's version

An assumption is a changed copy of the stored object that keeps its resourceVersion. Versions are compared for equality, never for order:
whatever the API server says next, by any other version, beats the assumption. So an assumption lives from the decision until the informer
reports anything about the object, or until it is taken back. In between, after the write and before the event, readers still see it.

Source: pkg/scheduler/framework/plugins/volumebinding/{passive_assume_cache,assume_cache}.go; spec/scheduling.md 5.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Generic, TypeVar

from volsched.api.kinds import KINDS, meta
from volsched.errors import ConflictError, NotFoundError
from volsched.rules.volumes import class_of

T = TypeVar("T")


def resource_version(obj: Any) -> str:
    """The version as text: compared for equality only."""
    return meta(obj).resourceVersion or ""


def object_key(obj: Any) -> str:
    """`namespace/name`, or `name` for cluster-scoped objects."""
    metadata = meta(obj)
    name = metadata.name or ""
    return f"{metadata.namespace}/{name}" if metadata.namespace else name


class AssumeCache(Generic[T]):
    """One kind of object with assumptions. Keys are `object_key`s.

    `kind` names it in NotFoundError texts, as the API server would.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._plural = KINDS[kind].plural
        self._stored: dict[str, T] = {}
        self._assumed: dict[str, T] = {}
        # class -> keys, from the stored objects only: an assumption never moves an object to another class
        self._by_class: dict[str, dict[str, None]] = {}

    # what the API server says

    def put(self, obj: T) -> None:
        """An informer Add or Update. The assumption survives only a repetition of the very version it was made from."""
        key = object_key(obj)
        old = self._stored.get(key)
        if old is not None:
            self._forget_class(key, old)
        self._stored[key] = obj
        self._by_class.setdefault(self._class(obj), {})[key] = None
        assumed = self._assumed.get(key)
        if assumed is not None and resource_version(assumed) != resource_version(obj):
            del self._assumed[key]

    def delete(self, key: str) -> None:
        """An informer Delete."""
        old = self._stored.pop(key, None)
        if old is not None:
            self._forget_class(key, old)
        self._assumed.pop(key, None)

    @staticmethod
    def _class(obj: Any) -> str:
        return class_of(obj)

    def _forget_class(self, key: str, obj: T) -> None:
        keys = self._by_class[self._class(obj)]
        del keys[key]
        if not keys:
            del self._by_class[self._class(obj)]

    # what the scheduler intends

    def assume(self, obj: T) -> None:
        """Lay a changed copy over the stored object, replacing an earlier assumption.

        Raises NotFoundError when the object is gone, ConflictError when it has another version than the copy was made from.
        """
        key = object_key(obj)
        stored = self.get_stored(key)
        if resource_version(stored) != resource_version(obj):
            raise ConflictError(
                f'"{key}" is out of sync (stored: {resource_version(stored)}, assume: {resource_version(obj)})', kind=self.kind, name=key
            )
        self._assumed[key] = obj

    def restore(self, obj: T) -> bool:
        """Drop the assumption if it has `obj`'s version; whether something was dropped.

        So restoring with what an API write returned, which has a newer version, leaves the assumption of that write in place.
        """
        key = object_key(obj)
        assumed = self._assumed.get(key)
        if assumed is None or resource_version(assumed) != resource_version(obj):
            return False
        del self._assumed[key]
        return True

    # reading

    def get_stored(self, key: str) -> T:
        """The informer's object, assumptions aside. Raises NotFoundError."""
        stored = self._stored.get(key)
        if stored is None:
            raise NotFoundError(f'{self._plural} "{key}" not found', kind=self.kind, name=key)
        return stored

    def find_stored(self, key: str) -> T | None:
        """The informer's object, None when it has none."""
        return self._stored.get(key)

    def find(self, key: str) -> T | None:
        """The object as the scheduler sees it; None when the informer lacks it, whatever is assumed."""
        stored = self._stored.get(key)
        if stored is None:
            return None
        assumed = self._assumed.get(key)
        if assumed is not None and resource_version(assumed) == resource_version(stored):
            return assumed
        return stored

    def get(self, key: str) -> T:
        """The object as the scheduler sees it. Raises NotFoundError when the informer lacks it."""
        found = self.find(key)
        return found if found is not None else self.get_stored(key)

    def is_assumed(self, key: str) -> bool:
        """Whether readers see an assumption."""
        found = self.find(key)
        return found is not None and found is not self._stored[key]

    def assumed(self) -> list[str]:
        """Keys that carry an assumption, sorted."""
        return sorted(self._assumed)

    def of_class(self, name: str) -> Iterator[T]:
        """Objects whose stored class is `name`, as the scheduler sees them, by key. Upstream's own order is that of a Go map."""
        for key in sorted(self._by_class.get(name, ())):
            yield self.get(key)

    def all(self) -> Iterator[T]:
        """Every object as the scheduler sees it, by key."""
        for key in sorted(self._stored):
            yield self.get(key)

    def __len__(self) -> int:
        return len(self._stored)

    def __contains__(self, key: object) -> bool:
        return key in self._stored
