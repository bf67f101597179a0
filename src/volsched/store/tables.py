"""Objects by kind and key, and the retained history of their changes. No rules: whoever calls has decided.

    versions   floor ... version        every version above `floor` is one WatchEvent of `_history`, in order and without gaps

So the place of a version in the history is arithmetic, and a watch from version v is a slice. The history is cut back to
`retained` events when it has grown to twice that; a watch from below the floor is refused, as etcd refuses a compacted revision.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

from volsched.api.kinds import KINDS, Key, key_of
from volsched.api.watch import Change, WatchEvent

RETAINED_DEFAULT: Final = 10_000

_Name = tuple[str, str]  # namespace, name


class Mark(NamedTuple):
    """A state to come back to: the version, and the lengths of the history and of the undo list."""

    version: int
    history: int
    undo: int


class Tables:
    """The state of the store in memory. `version` is the resourceVersion of the last change, 0 before the first."""

    def __init__(self, *, retained: int = RETAINED_DEFAULT) -> None:
        self.version = 0
        self.floor = 0
        self.retained = retained
        self._objects: dict[str, dict[_Name, Any]] = {kind: {} for kind in KINDS}
        # names in order, built when first asked for and kept up to date from then on
        self._ordered: dict[str, list[_Name]] = {}
        self._history: list[WatchEvent] = []
        self._in_namespace: Counter[str] = Counter()
        self._marks = 0
        self._undo: list[tuple[Key, Any | None]] = []  # what stood at a key before each change since the oldest mark

    def __len__(self) -> int:
        return sum(len(table) for table in self._objects.values())

    # reading

    def get(self, key: Key) -> Any | None:
        """The object of that key."""
        return self._objects[key.kind].get((key.namespace, key.name))

    def of_kind(self, kind: str, namespace: str | None = None) -> Iterator[Any]:
        """Objects of a kind by namespace and name; `namespace` None = all."""
        table = self._objects[kind]
        names = self._ordered.get(kind)
        if names is None:
            names = self._ordered[kind] = sorted(table)
        if namespace is None:
            return (table[name] for name in list(names))
        # the character after "\0" bounds the names of one namespace: no namespace holds either
        start, end = bisect_left(names, (namespace, "")), bisect_left(names, (namespace + "\0", ""))
        return (table[name] for name in names[start:end])

    def count(self, kind: str) -> int:
        """How many objects of a kind there are."""
        return len(self._objects[kind])

    def content_of(self, namespace: str) -> int:
        """How many objects other than Events a namespace holds."""
        return self._in_namespace[namespace]

    # history

    def since(self, version: int, kinds: Sequence[str] | None = None) -> Iterator[WatchEvent]:
        """Retained changes after `version`, oldest first. The caller has compared it with `floor`."""
        events = self._history[max(version - self.floor, 0) :]
        if kinds is None:
            return iter(events)
        wanted = frozenset(kinds)
        return (event for event in events if event.kind in wanted)

    def restore_history(self, events: Sequence[WatchEvent], *, version: int) -> None:
        """Take the history a state file kept; the events have to end at `version` without gaps."""
        self.version = version
        self._history = list(events)
        self.floor = version - len(self._history)

    # taking changes back

    def mark(self) -> Mark:
        """Remember this state; `rollback` comes back to it. Every mark is ended by `release`, the youngest first."""
        self._marks += 1
        return Mark(self.version, len(self._history), len(self._undo))

    def rollback(self, mark: Mark) -> None:
        """Undo everything since a mark."""
        for key, old in reversed(self._undo[mark.undo :]):
            if old is None:
                self._drop(key)
            else:
                self.put(old)
        del self._undo[mark.undo :]
        del self._history[mark.history :]
        self.version = mark.version

    def release(self) -> None:
        """End the youngest mark."""
        self._marks -= 1
        if not self._marks:
            self._undo.clear()
            self._cut()

    # writing

    def apply(self, event: WatchEvent) -> None:
        """Carry out a change and remember it. Its version has to be the next one."""
        assert event.resource_version == self.version + 1, (event.resource_version, self.version)
        key = key_of(event.object)
        if self._marks:
            self._undo.append((key, self.get(key)))
        if event.change is Change.DELETED:
            self._drop(key)
        else:
            self.put(event.object)
        self.version = event.resource_version
        self._history.append(event)
        if not self._marks:
            self._cut()

    def _cut(self) -> None:
        if len(self._history) >= 2 * self.retained:
            cut = len(self._history) - self.retained
            del self._history[:cut]
            self.floor += cut

    def put(self, obj: Any) -> None:
        """Store an object without remembering the change: for a state file that is read in."""
        key = key_of(obj)
        table, name = self._objects[key.kind], (key.namespace, key.name)
        if name not in table:
            if key.kind in self._ordered:
                insort(self._ordered[key.kind], name)
            if key.kind != "Event":
                self._in_namespace[key.namespace] += 1
        table[name] = obj

    def _drop(self, key: Key) -> None:
        name = (key.namespace, key.name)
        del self._objects[key.kind][name]
        if key.kind in self._ordered:
            names = self._ordered[key.kind]
            del names[bisect_left(names, name)]
        if key.kind != "Event":
            self._in_namespace[key.namespace] -= 1
