"""Garbage collection by ownerReferences: what has lost all its owners is deleted.

    owner gone ──> its dependents ──live reads──> solid, gone or waiting owners ──table──> keep, drop some references, delete
    owner being deleted with a finalizer of the collector ──> its dependents first, then the finalizer

An owner is a uid: an object of the same kind and name with another uid is not the owner. Whether it is gone is always asked of the API
server, never concluded from the own view, and a delete carries the dependent's uid and resourceVersion.
Supported: background deletion; the `foregroundDeletion` finalizer, which waits for dependents with blockOwnerDeletion; the `orphan`
finalizer, which takes the references off. The finalizers have to be on the object: a DELETE here carries no propagation policy. An owner of
a kind volsched does not know, or a namespaced owner of a cluster-scoped object, counts as existing.
Source: pkg/controller/garbagecollector.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from typing import Any, Final

from lightkube.models.meta_v1 import OwnerReference

from volsched.api.edit import finalizers_of, is_deleting, uid_of, with_finalizers, with_metadata
from volsched.api.kinds import KINDS, Key, key_of, meta
from volsched.api.watch import Change, WatchEvent
from volsched.cache.view import View
from volsched.controllers.agenda import Agenda
from volsched.controllers.decision_table import ANY, DecisionTable
from volsched.errors import NotFoundError
from volsched.ports import DONE, Clock, Delete, Done, QueueSpec, Read, Requeue, Steps, Update, WorkItem

FOREGROUND: Final = "foregroundDeletion"
ORPHAN: Final = "orphan"
WORKERS: Final = 20


class Owner(enum.Enum):
    """What the API server says of one owner."""

    SOLID = "exists"
    GONE = "does not exist with that uid"
    WAITING = "waits in foreground deletion for its dependents"


class DependentRow(enum.Enum):
    """What becomes of a dependent."""

    KEEP = "nothing to do"
    UNLINK = "some owners are left: drop the references to the others"
    DELETE = "no owner is left"


# fmt: off
DEPENDENT_TABLE: Final = DecisionTable[DependentRow](dict.fromkeys(("solid", "gone", "waiting"), (False, True)), (
    #                      solid  gone   waiting
    (DependentRow.KEEP,   (False, False, False)),
    (DependentRow.KEEP,   (True,  False, False)),
    (DependentRow.UNLINK, (True,  True,  ANY)),
    (DependentRow.UNLINK, (True,  False, True)),
    (DependentRow.DELETE, (False, True,  ANY)),
    (DependentRow.DELETE, (False, False, True)),
))
# fmt: on


def owners_of(obj: Any) -> list[OwnerReference]:
    """ownerReferences of an object, empty when unset."""
    return meta(obj).ownerReferences or []


def _item(queue: str, key: Key) -> WorkItem:
    return WorkItem(queue, "/".join(key))


def _key(text: str) -> Key:
    kind, namespace, name = text.split("/", 2)
    return Key(kind, namespace, name)


class GarbageCollector:
    """kube-controller-manager's garbage collector."""

    name: str = "kube-controller-manager"
    component: str = "garbage-collector"
    kinds: frozenset[str] = frozenset(KINDS) - {"Event"}
    queues: Mapping[str, QueueSpec] = {"dependents": QueueSpec(workers=WORKERS), "owners": QueueSpec(workers=WORKERS)}
    resync_s: float | None = None

    def __init__(self, clock: Clock) -> None:
        self._view = View(self.kinds)
        self._agenda = Agenda(clock)
        self._dependents: dict[str, dict[Key, None]] = {}  # owner uid -> what refers to it
        self._uids: dict[str, Key] = {}  # of everything that exists, as far as seen

    def start(self) -> Steps[None]:
        yield from ()

    def observe(self, event: WatchEvent) -> Iterable[WorkItem]:
        old, taken = self._view.observe(event)
        if not taken:
            return
        key, obj = event.key, event.object
        gone = [old] if old is not None and (event.change is Change.DELETED or uid_of(old) != uid_of(obj)) else []
        for owner in owners_of(old) if old is not None else ():
            names = self._dependents.get(owner.uid, {})
            names.pop(key, None)
            if not names:
                self._dependents.pop(owner.uid, None)
            yield from self._waiting_owner(owner.uid)
        for lost in gone:
            self._uids.pop(uid_of(lost), None)
            for dependent in sorted(self._dependents.get(uid_of(lost), ())):
                yield _item("dependents", dependent)
        if event.change is Change.DELETED:
            return
        self._uids[uid_of(obj)] = key
        for owner in owners_of(obj):
            self._dependents.setdefault(owner.uid, {})[key] = None
        if any(owner.uid not in self._uids for owner in owners_of(obj)):
            yield _item("dependents", key)
        yield from self._waiting_owner(uid_of(obj))

    def _waiting_owner(self, uid: str) -> Iterable[WorkItem]:
        """An owner that the collector itself holds back."""
        key = self._uids.get(uid)
        owner = self._view.get(*key) if key is not None else None
        if key is not None and owner is not None and is_deleting(owner) and {FOREGROUND, ORPHAN} & set(finalizers_of(owner)):
            yield _item("owners", key)

    def work(self, item: WorkItem) -> Steps[Done | Requeue]:
        key = _key(item.key)
        if self._view.get(*key) is not None:
            yield from self._collect(key) if item.queue == "dependents" else self._let_go(key)
        return DONE

    def _collect(self, key: Key) -> Steps[None]:
        try:
            obj = yield Read(*key)
        except NotFoundError:
            return
        if is_deleting(obj):
            return
        found: dict[Owner, list[OwnerReference]] = {state: [] for state in Owner}
        for owner in owners_of(obj):
            state = yield from self._state_of(owner, key)
            found[state].append(owner)
        row = DEPENDENT_TABLE.decide(solid=bool(found[Owner.SOLID]), gone=bool(found[Owner.GONE]), waiting=bool(found[Owner.WAITING]))
        if row is DependentRow.UNLINK:
            self._view.put((yield Update(with_metadata(obj, ownerReferences=found[Owner.SOLID]))))
        elif row is DependentRow.DELETE:
            try:
                yield Delete(*key, uid=uid_of(obj), resource_version=meta(obj).resourceVersion)
            except NotFoundError:
                return

    def _state_of(self, owner: OwnerReference, dependent: Key) -> Steps[Owner]:
        kind = KINDS.get(owner.kind)
        if kind is None or kind.group != (owner.apiVersion.rpartition("/")[0]) or (kind.namespaced and not dependent.namespace):
            return Owner.SOLID
        try:
            found = yield Read(owner.kind, dependent.namespace if kind.namespaced else "", owner.name)
        except NotFoundError:
            return Owner.GONE
        if uid_of(found) != owner.uid:
            return Owner.GONE
        return Owner.WAITING if is_deleting(found) and FOREGROUND in finalizers_of(found) else Owner.SOLID

    def _let_go(self, key: Key) -> Steps[None]:
        """An owner being deleted: deal with its dependents, then take the collector's finalizer off."""
        try:
            owner = yield Read(*key)
        except NotFoundError:
            return
        if not is_deleting(owner):
            return
        dependents = [obj for name in sorted(self._dependents.get(uid_of(owner), ())) if (obj := self._view.get(*name)) is not None]
        if ORPHAN in finalizers_of(owner):
            for obj in dependents:
                others = [reference for reference in owners_of(obj) if reference.uid != uid_of(owner)]
                self._view.put((yield Update(with_metadata(obj, ownerReferences=others or None))))
            owner = yield Update(with_finalizers(owner, remove=[ORPHAN]))
        elif FOREGROUND in finalizers_of(owner):
            blocking = [obj for obj in dependents if any(ref.uid == uid_of(owner) and ref.blockOwnerDeletion for ref in owners_of(obj))]
            if not blocking:
                owner = yield Update(with_finalizers(owner, remove=[FOREGROUND]))
            else:
                # each dependent's own pass deletes it; its end brings this owner back here
                for obj in dependents:
                    if not is_deleting(obj):
                        self._agenda.now(_item("dependents", key_of(obj)))
        self._view.put(owner)

    def resync(self) -> Iterable[WorkItem]:
        return ()

    def wake_at_ns(self) -> int | None:
        return self._agenda.next_ns()

    def wake(self, now_ns: int) -> Iterable[WorkItem]:
        return self._agenda.take(now_ns)
