"""An informer's store: what one decider has seen so far."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from volsched.api.edit import version_of
from volsched.api.kinds import Key, key_of
from volsched.api.watch import Change, WatchEvent


class View:
    """Objects by kind and key, as the watch delivered them.

    An older resourceVersion than the stored one is dropped, an equal or newer one is taken, so a decider may also put the answer of
    its own write here (`put`) and a late watch event cannot undo it.
    """

    def __init__(self, kinds: Iterable[str]) -> None:
        self._objects: dict[str, dict[tuple[str, str], Any]] = {kind: {} for kind in kinds}

    def observe(self, event: WatchEvent) -> tuple[Any | None, bool]:
        """Take an event; answers (the object as known before, whether the event was taken)."""
        key = key_of(event.object)
        table = self._objects[key.kind]
        old = table.get((key.namespace, key.name))
        if event.change is Change.DELETED:
            # a delete of an earlier incarnation must not remove its successor
            if old is None or event.resource_version < version_of(old):
                return old, False
            del table[key.namespace, key.name]
            return old, True
        return old, self.put(event.object)

    def put(self, obj: Any) -> bool:
        """Store an object unless a newer one is known; whether it was stored."""
        key = key_of(obj)
        table = self._objects[key.kind]
        old = table.get((key.namespace, key.name))
        if old is not None and version_of(obj) < version_of(old):
            return False
        table[key.namespace, key.name] = obj
        return True

    def drop(self, key: Key) -> None:
        """Forget an object whose deletion this decider has been told of by the API server."""
        self._objects[key.kind].pop((key.namespace, key.name), None)

    def get(self, kind: str, namespace: str, name: str) -> Any | None:
        return self._objects[kind].get((namespace, name))

    def all(self, kind: str, namespace: str | None = None) -> Iterator[Any]:
        """Objects of a kind in order of namespace and name, so that nothing depends on arrival order."""
        table = self._objects[kind]
        for key in sorted(table):
            if namespace is None or key[0] == namespace:
                yield table[key]
