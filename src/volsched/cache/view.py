"""An informer's store: what one decider has seen so far."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

from volsched.api.edit import version_of
from volsched.api.kinds import Key, key_of
from volsched.api.watch import Change, WatchEvent


class View:
    """Objects by kind and key, as the watch delivered them.

    An older resourceVersion than the stored one is dropped, an equal or newer one is taken, so a decider may also put the answer of
    its own write here (`put`) and a late watch event cannot undo it.
    Versions of deletions are remembered (the latest TOMBSTONES_MAX), so that the answer of an own write that comes after the deletion,
    or a delayed event, does not bring a deleted object back: nothing would ever remove it again.
    """

    TOMBSTONES_MAX: Final = 10_000

    def __init__(self, kinds: Iterable[str]) -> None:
        self._objects: dict[str, dict[tuple[str, str], Any]] = {kind: {} for kind in kinds}
        self._gone: dict[Key, int] = {}

    def observe(self, event: WatchEvent) -> tuple[Any | None, bool]:
        """Take an event; answers (the object as known before, whether the event was taken)."""
        key = key_of(event.object)
        table = self._objects[key.kind]
        old = table.get((key.namespace, key.name))
        if event.change is Change.DELETED:
            self._bury(key, event.resource_version)
            # a delete of an earlier incarnation must not remove its successor
            if old is None or event.resource_version < version_of(old):
                return old, False
            del table[key.namespace, key.name]
            return old, True
        return old, self.put(event.object)

    def put(self, obj: Any) -> bool:
        """Store an object unless a newer one is known or it is known to be deleted; whether it was stored."""
        key = key_of(obj)
        if version_of(obj) <= self._gone.get(key, -1):
            return False
        table = self._objects[key.kind]
        old = table.get((key.namespace, key.name))
        if old is not None and version_of(obj) < version_of(old):
            return False
        table[key.namespace, key.name] = obj
        return True

    def drop(self, key: Key) -> None:
        """Forget an object whose deletion this decider has been told of by the API server."""
        old = self._objects[key.kind].pop((key.namespace, key.name), None)
        if old is not None:
            self._bury(key, version_of(old))

    def _bury(self, key: Key, version: int) -> None:
        self._gone[key] = max(version, self._gone.pop(key, -1))
        if len(self._gone) > self.TOMBSTONES_MAX:
            del self._gone[next(iter(self._gone))]

    def get(self, kind: str, namespace: str, name: str) -> Any | None:
        return self._objects[kind].get((namespace, name))

    def all(self, kind: str, namespace: str | None = None) -> Iterator[Any]:
        """Objects of a kind in order of namespace and name, so that nothing depends on arrival order."""
        table = self._objects[kind]
        for key in sorted(table):
            if namespace is None or key[0] == namespace:
                yield table[key]
