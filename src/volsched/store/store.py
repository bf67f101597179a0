"""The embedded API server: the only truth of the controllers.

    request ──> precondition ──> admission, defaults ──> nothing changed? ──> validation ──> journal ──> tables ──> log ──> subscribers
                (409)            (403)                   (answer as it is)    (422)          (durable)

One counter gives every change its resourceVersion, whatever the kind, so a version names a state of the whole store. A change is answered
after the journal has it; whoever is told of it (answer, watch, subscriber) can rely on it. Subscribers are called one change at a time, in
order, also when one of them writes.

Source: apiserver/pkg/registry/generic/registry/store.go for the order of the steps.
"""

from __future__ import annotations

import contextlib
import datetime
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, TypeVar

from lightkube.models.core_v1 import Namespace, NamespaceSpec, NamespaceStatus, Pod
from lightkube.models.meta_v1 import ObjectMeta

from volsched.api.defaults import with_defaults
from volsched.api.edit import finalizers_of, labels_of, replace, with_metadata
from volsched.api.kinds import KINDS, Generation, Json, Key, Kind, encode, key_of, kind_of, meta, to_json
from volsched.api.validation import validate_create, validate_update
from volsched.api.watch import Change, WatchEvent
from volsched.env import Uids, VirtualClock
from volsched.errors import InputError, InvalidError, StateError
from volsched.ports import Clock, ListResult
from volsched.rules.selectors import parse_field_selector, parse_label_selector
from volsched.store import admission, deletion, events, refusals
from volsched.store.journal import Counters, Journal
from volsched.store.patching import PatchError, PreconditionFailedError, json_patch, merge_patch
from volsched.store.runlog import RunLog
from volsched.store.shape import carried_over, decoded, tidy, with_generation, without_empty
from volsched.store.tables import RETAINED_DEFAULT, Tables

T = TypeVar("T")

OBJECT_BYTES_MAX: Final = 1_572_864  # 1.5 MiB, what etcd takes in one request
NAMESPACES: Final = ("default", "kube-node-lease", "kube-public", "kube-system")  # what every cluster starts with
IMMORTAL_NAMESPACES: Final = ("default", "kube-public", "kube-system")
SERVER: Final = "kube-apiserver"
NAMESPACE_CONTROLLER: Final = "namespace-controller"
_GENERATED_NAME_MAX: Final = 58  # of metadata.generateName, so that the suffix still fits a label value
_NS_PER_S: Final = 1_000_000_000


class Store:
    """An ApiClient over memory and, with a path, one SQLite file. Not for use by several threads at once, `put_value` excepted."""

    def __init__(
        self,
        *,
        clock: Clock,
        uids: Uids,
        path: Path | None = None,
        retained: int = RETAINED_DEFAULT,
        keep_log: bool = True,
        read_only: bool = False,
    ) -> None:
        """With `path`, go on where the file ends: its seed and counter replace those of `uids`, and a virtual clock is set to its time.

        read_only: look at what the file holds now, also while another process writes to it; every write raises StateError.
        """
        self.clock = clock
        self.uids = uids
        self._tables = Tables(retained=retained)
        self._subscribers: list[Callable[[WatchEvent], None]] = []
        self._undelivered: deque[WatchEvent] = deque()
        self._delivering = False
        self._values: dict[tuple[str, str], bytes] = {}
        # true while the file may be ahead of memory: an interrupt then leaves the file's counters alone, which are right
        self._torn = False
        self._read_only = read_only
        self._journal = Journal.open(path, retained=retained, read_only=read_only) if path is not None else None
        self.log = RunLog(clock, keep=keep_log)
        try:
            saved = self._journal.counters() if self._journal else None
            if self._journal and saved:
                self._restore(self._journal, saved, keep_log=keep_log)
            if self._journal:
                self.log.hold_unsaved()
            if saved is None:
                if read_only:
                    raise StateError("there is no state file to look at" if path is None else f"state file {path}: holds no cluster yet")
                with self.batch():
                    for name in NAMESPACES:
                        self._create_namespace(name)
        except BaseException:
            if self._journal:
                self._journal.close()
            raise

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        seed: int = 0,
        start_ns: int = 0,
        retained: int = RETAINED_DEFAULT,
        keep_log: bool = True,
        read_only: bool = False,
    ) -> Store:
        """A store in a state file with a virtual clock of its own (`store.clock`). `seed` and `start_ns` count for a new file only."""
        return cls(clock=VirtualClock(start_ns), uids=Uids(seed), path=path, retained=retained, keep_log=keep_log, read_only=read_only)

    def _restore(self, journal: Journal, saved: Counters, *, keep_log: bool) -> None:
        for obj in journal.objects():
            self._tables.put(obj)
        history = journal.history()[-self._tables.retained :]
        if history and history[-1].resource_version != saved.version:
            raise StateError(
                f"state file {journal.path}: damaged: the history ends at {history[-1].resource_version}, not at {saved.version}"
            )
        self._tables.restore_history(history, version=saved.version)
        self.uids.resume(seed=saved.seed, issued=saved.issued)
        if isinstance(self.clock, VirtualClock):
            self.clock.wait_until(saved.clock_ns)
        self.log = RunLog(self.clock, keep=keep_log, count=saved.log_count, digest=saved.log_digest)

    def __enter__(self) -> Store:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Save the clock and the log, and give the state file back."""
        if self._journal is not None:
            try:
                self.save()
            finally:
                self._journal.close()
                self._journal = None

    def save(self) -> None:
        """Make durable what no write took along: the time that has passed and the log lines of calls."""
        if self._journal is not None and not self._torn and not self._read_only:
            self._journal.save(lines=self.log.unsaved, counters=self._counters(self.log.count, self.log.digest))
            self.log.saved()

    @contextlib.contextmanager
    def batch(self) -> Iterator[None]:
        """Group writes into one transaction of the state file: they become durable together when it ends, also by an exception.

        Log lines and the clock are taken along.
        """
        if self._journal is None:
            yield
            return
        with self._journal.batch():
            try:
                yield
            finally:
                self.save()

    @contextlib.contextmanager
    def atomic(self) -> Iterator[None]:
        """All the writes inside or none: an exception takes them back, in memory and in the state file, as if they had not been asked for.

        Subscribers hear of the changes when it ends.
        """
        tables, log = self._tables.mark(), self.log.mark()
        seed, issued, values = self.uids.seed, self.uids.issued, dict(self._values)
        waiting, outermost = len(self._undelivered), not self._delivering
        self._delivering = True
        try:
            with self._journal.atomic() if self._journal is not None else contextlib.nullcontext():
                yield
                self.save()
        except BaseException:
            self._tables.rollback(tables)
            self.log.rollback(log)
            self.uids.resume(seed=seed, issued=issued)
            self._values = values
            while len(self._undelivered) > waiting:
                self._undelivered.pop()
            self._torn = False
            raise
        finally:
            self._tables.release()
            if outermost:
                self._delivering = False
        if outermost:
            self._deliver_waiting()

    # reading

    @property
    def resource_version(self) -> int:
        """Version of the last change."""
        return self._tables.version

    def __len__(self) -> int:
        return len(self._tables)

    def raw(self, key: Key) -> Any | None:
        """The object of a key, None when there is none."""
        return self._tables.get(key)

    def get(self, kind: str, namespace: str, name: str) -> Any:
        row = _kind(kind)
        key = _key(row, namespace, name)
        found = self._tables.get(key)
        if found is None:
            raise refusals.not_found(row, key)
        return found

    def list(
        self, kind: str, namespace: str | None = None, *, label_selector: str | None = None, field_selector: str | None = None
    ) -> ListResult:
        row = _kind(kind)
        items = self._tables.of_kind(row.name, namespace if row.namespaced else None)
        if label_selector:
            selected = parse_label_selector(label_selector)
            items = (obj for obj in items if selected(labels_of(obj)))
        if field_selector:
            chosen = parse_field_selector(field_selector)
            items = (obj for obj in items if chosen(to_json(obj)))
        return ListResult(list(items), self._tables.version)

    def watch(self, since: int, kinds: Sequence[str] | None = None) -> Iterator[WatchEvent]:
        if since < self._tables.floor:
            raise refusals.expired(since, self._tables.floor)
        return self._tables.since(since, kinds)

    def subscribe(self, callback: Callable[[WatchEvent], None]) -> None:
        """Call back with every change from now on, Events included (`events.is_object_change` tells them apart)."""
        self._subscribers.append(callback)

    # writing

    def create(self, obj: T, *, user: str) -> T:
        kind = kind_of(obj)  # type: ignore[arg-type]
        new = self._named(obj, kind)
        if meta(new).resourceVersion:
            raise InvalidError("resourceVersion should not be set on objects to be created", kind=kind.name, name=meta(new).name or "")
        key = key_of(new)
        self._check_namespace(kind, key)
        now = self._now()
        new = with_metadata(
            new,
            generation=None if kind.generation is Generation.NONE else 1,
            uid=None,
            creationTimestamp=now,
            deletionTimestamp=None,
            deletionGracePeriodSeconds=None,
        )
        new = admission.on_create(new, now=now, lookup=self._tables)
        new = admission.on_defaulted(with_defaults(new))
        _raise_invalid(kind, key, validate_create(new))
        if self._tables.get(key) is not None:
            raise refusals.already_exists(kind, key)
        new = with_metadata(new, uid=self.uids.uid())
        stored: T = self._commit(Change.ADDED, kind, new, user=user, verb="create")
        return stored

    def load(self, obj: T, *, user: str = "admin") -> T:
        """Take an object of a dump with its uid, times and status. Its namespace is made when it is missing: the dump shows it existed."""
        kind = kind_of(obj)  # type: ignore[arg-type]
        metadata = meta(obj)  # type: ignore[arg-type]
        if not metadata.uid or not metadata.name:
            raise InputError("an object of a dump has a name and a uid", path="metadata")
        new = tidy(obj, kind)
        key = key_of(new)
        if kind.generation is not Generation.NONE and not metadata.generation:
            new = with_metadata(new, generation=1)
        if metadata.creationTimestamp is None:
            new = with_metadata(new, creationTimestamp=self._now())
        new = with_defaults(new)
        _raise_invalid(kind, key, validate_create(new))
        if kind.namespaced and self._tables.get(Key("Namespace", "", key.namespace)) is None:
            self._create_namespace(key.namespace)
        old = self._tables.get(key)
        # the dump's own Namespace takes the place of one made for its content or at the start
        if old is not None and kind.name != "Namespace":
            raise refusals.already_exists(kind, key)
        stored: T = self._commit(Change.ADDED if old is None else Change.MODIFIED, kind, new, user=user, verb="load")
        return stored

    def update(self, obj: T, *, user: str, subresource: Literal["", "status"] = "") -> T:
        kind = kind_of(obj)  # type: ignore[arg-type]
        key = key_of(obj)  # type: ignore[arg-type]
        old = self._existing(kind, key)
        updated: T = self._modify(kind, key, old, obj, user=user, verb="update", subresource=subresource)
        return updated

    def patch(
        self,
        kind: str,
        namespace: str,
        name: str,
        body: Json,
        *,
        user: str,
        patch_type: Literal["merge", "json"] = "merge",
        subresource: Literal["", "status"] = "",
    ) -> Any:
        row = _kind(kind)
        key = _key(row, namespace, name)
        old = self._existing(row, key)
        try:
            patched = merge_patch(to_json(old), body) if patch_type == "merge" else json_patch(to_json(old), body)
        except PreconditionFailedError as problem:
            raise refusals.conflict(row, key) from problem
        except PatchError as problem:
            raise refusals.invalid(row, key, [("patch", str(problem))]) from problem
        new = decoded(row, key, patched, body)
        if key_of(new) != key:
            raise refusals.invalid(row, key, [("metadata.name", "Invalid value: field is immutable")])
        return self._modify(row, key, old, new, user=user, verb="patch", subresource=subresource)

    def delete(
        self,
        kind: str,
        namespace: str,
        name: str,
        *,
        user: str,
        uid: str | None = None,
        resource_version: str | None = None,
        grace_period_s: int | None = None,
    ) -> Any:
        row = _kind(kind)
        key = _key(row, namespace, name)
        old = self._existing(row, key)
        found = meta(old)
        if uid is not None and uid != found.uid:
            raise refusals.delete_precondition(row, key, field="UID", wanted=uid, found=found.uid or "")
        if resource_version is not None and resource_version != found.resourceVersion:
            raise refusals.delete_precondition(
                row, key, field="ResourceVersion", wanted=resource_version, found=found.resourceVersion or ""
            )
        if isinstance(old, Namespace):
            return self._delete_namespace(old, key, user=user)
        fate, state = deletion.delete(old, grace_s=grace_period_s, now=self._now())
        if fate is deletion.Fate.KEPT:
            return old
        if fate is deletion.Fate.MARKED:
            return self._commit(Change.MODIFIED, row, state, user=user, verb="delete")
        return self._remove(row, state, user=user, verb="delete")

    def bind(self, namespace: str, name: str, *, uid: str, node: str, user: str) -> None:
        row = KINDS["Pod"]
        key = _key(row, namespace, name)
        pod: Pod = self._existing(row, key)
        metadata, spec = meta(pod), pod.spec
        assert spec is not None
        if uid and uid != metadata.uid:
            raise refusals.other_uid(row, key, wanted=uid, found=metadata.uid or "")
        if metadata.deletionTimestamp is not None:
            raise refusals.conflict(row, key, f"pod {name} is being deleted, cannot be assigned to a host", subresource="binding")
        if spec.nodeName:
            raise refusals.conflict(row, key, f'pod {name} is already assigned to node "{spec.nodeName}"', subresource="binding")
        if spec.schedulingGates:
            raise refusals.conflict(row, key, f"pod {name} has non-empty .spec.schedulingGates", subresource="binding")
        new = admission.bound(pod, node, now=self._now(), lookup=self._tables)
        self._commit(Change.MODIFIED, row, new, user=user, verb="bind")

    def record_event(
        self,
        regarding: Any,
        *,
        type: str,  # noqa: A002 Kubernetes' field name
        reason: str,
        message: str,
        source: str,
        action: str = "",
    ) -> None:
        """Tell that something happened to an object; a repeat raises the count of the Event that is there."""
        kind, now = KINDS["Event"], self._now()
        reference = events.reference(regarding)
        message = events.cut(message)
        name = events.event_name(reference, type=type, reason=reason, message=message, source=source)
        known = self._tables.get(Key("Event", reference.namespace or "default", name))
        if known is not None:
            self._commit(Change.MODIFIED, kind, events.repeated(known, now=now), user=source, verb="patch")
            return
        told = events.first(reference, name=name, type=type, reason=reason, message=message, source=source, action=action, now=now)
        told = with_metadata(told, uid=self.uids.uid(), creationTimestamp=now)
        self._commit(Change.ADDED, kind, told, user=source, verb="create")

    # a table for other rooms

    def put_value(self, room: str, key: str, value: bytes | None) -> None:
        """Keep bytes for another room (a driver's volumes, say) beside the objects and in the same transactions; None removes them."""
        if self._journal is not None:
            self._journal.put_room_value(room, key, value)
        elif value is None:
            self._values.pop((room, key), None)
        else:
            self._values[room, key] = value

    def value(self, room: str, key: str) -> bytes | None:
        """What a room has kept under a key."""
        return self._journal.room_value(room, key) if self._journal is not None else self._values.get((room, key))

    def values(self, room: str) -> dict[str, bytes]:
        """Everything a room has kept, by key in order."""
        if self._journal is not None:
            return self._journal.room_values(room)
        return {key: self._values[owner, key] for owner, key in sorted(self._values) if owner == room}

    # the steps of a write

    def _now(self) -> datetime.datetime:
        return datetime.datetime.fromtimestamp(self.clock.now_ns() // _NS_PER_S, tz=datetime.UTC)

    def _existing(self, kind: Kind, key: Key) -> Any:
        found = self._tables.get(key)
        if found is None:
            raise refusals.not_found(kind, key)
        return found

    def _named(self, obj: Any, kind: Kind) -> Any:
        """The object with a name; one is made up from generateName."""
        named = tidy(obj, kind)
        metadata = meta(named)
        if metadata.name or not metadata.generateName:
            return named
        return with_metadata(named, name=metadata.generateName[:_GENERATED_NAME_MAX] + self.uids.name_suffix())

    def _check_namespace(self, kind: Kind, key: Key) -> None:
        if not kind.namespaced:
            return
        namespace = self._tables.get(Key("Namespace", "", key.namespace))
        if namespace is None:
            raise refusals.not_found(KINDS["Namespace"], Key("Namespace", "", key.namespace))
        if meta(namespace).deletionTimestamp is not None:
            raise refusals.forbidden(kind, key, f"unable to create new content in namespace {key.namespace} because it is being terminated")

    def _modify(self, kind: Kind, key: Key, old: Any, given: Any, *, user: str, verb: str, subresource: Literal["", "status"]) -> Any:
        """The common path of update and patch."""
        before, wanted = meta(old), meta(given)
        if wanted.uid and wanted.uid != before.uid:
            raise refusals.other_uid(kind, key, wanted=wanted.uid, found=before.uid or "")
        if wanted.resourceVersion and wanted.resourceVersion != before.resourceVersion:
            raise refusals.conflict(kind, key)
        if subresource:
            if not kind.status:
                raise refusals.no_subresource(kind, key)
            new = without_empty(replace(old, status=given.status), kind)
        else:
            new = carried_over(tidy(given, kind), old, kind)
            if new == old:
                return old
            new = with_defaults(new)
        new = admission.on_update(old, new, now=self._now(), lookup=self._tables)
        if new == old:
            return old
        if not subresource:
            new = with_generation(kind, old, new)
        _raise_invalid(kind, key, validate_update(old, new, subresource=subresource))
        if deletion.is_released(new):
            return self._remove(kind, new, user=user, verb=verb, subresource=subresource)
        return self._commit(Change.MODIFIED, kind, new, user=user, verb=verb, subresource=subresource)

    def _remove(self, kind: Kind, state: Any, *, user: str, verb: str, subresource: str = "") -> Any:
        removed = self._commit(Change.DELETED, kind, state, user=user, verb=verb, subresource=subresource)
        if kind.namespaced:
            self._finish_namespace(key_of(state).namespace)
        return removed

    def _commit(self, change: Change, kind: Kind, obj: Any, *, user: str, verb: str, subresource: str = "") -> Any:
        """Give the change its version, make it durable, carry it out, tell of it. Answers the stored object."""
        version = self._tables.version + 1
        stored = with_metadata(obj, resourceVersion=str(version))
        key, body = key_of(stored), encode(stored)
        if len(body) > OBJECT_BYTES_MAX:
            raise refusals.invalid(
                kind, key, [("", f"Too long: the object has {len(body)} bytes, a store takes at most {OBJECT_BYTES_MAX}")]
            )
        crc = zlib.crc32(body)
        what = f"{verb}/{subresource}" if subresource else verb
        event = WatchEvent(change, kind.name, stored, version)
        line = self.log.draft(f"write {user} {what} {key} {version} {crc:08x}")
        self._torn = True
        if self._journal is not None:
            counters = self._counters(self.log.count + 1, self.log.digest_after(line), version=version)
            self._journal.write(event, body, crc, lines=[*self.log.unsaved, line], counters=counters)
        self._tables.apply(event)
        self.log.push(line)
        self.log.saved()
        self._torn = False
        self._deliver(event)
        return stored

    def _counters(self, log_count: int, log_digest: bytes, *, version: int | None = None) -> Counters:
        return Counters(
            version=self._tables.version if version is None else version,
            clock_ns=self.clock.now_ns(),
            seed=self.uids.seed,
            issued=self.uids.issued,
            log_count=log_count,
            log_digest=log_digest,
        )

    def _deliver(self, event: WatchEvent) -> None:
        """Tell the subscribers; a change made by one of them waits until all have heard of this one."""
        self._undelivered.append(event)
        if not self._delivering:
            self._deliver_waiting()

    def _deliver_waiting(self) -> None:
        self._delivering = True
        try:
            while self._undelivered:
                change = self._undelivered.popleft()
                for callback in tuple(self._subscribers):
                    callback(change)
        finally:
            self._delivering = False

    # namespaces

    def _create_namespace(self, name: str) -> None:
        """A namespace that is there without anybody having asked for it."""
        self.create(Namespace(metadata=ObjectMeta(name=name)), user=SERVER)

    def _delete_namespace(self, namespace: Namespace, key: Key, *, user: str) -> Any:
        """Mark it, ask its content to go, and let it go once it is empty: what the namespace controller does, in one step."""
        kind = KINDS["Namespace"]
        if key.name in IMMORTAL_NAMESPACES:
            raise refusals.forbidden(kind, key, "this namespace may not be deleted")
        if meta(namespace).deletionTimestamp is not None:
            return namespace
        marked = with_metadata(namespace, deletionTimestamp=self._now())
        marked = self._commit(Change.MODIFIED, kind, replace(marked, status=NamespaceStatus(phase="Terminating")), user=user, verb="delete")
        for name, row in KINDS.items():
            if row.namespaced:
                for obj in self.list(name, key.name).items:
                    if self.raw(key_of(obj)) is not None:
                        self.delete(name, key.name, meta(obj).name or "", user=NAMESPACE_CONTROLLER)
        self._finish_namespace(key.name)
        return self.raw(key) or marked

    def _finish_namespace(self, name: str) -> None:
        """Remove a namespace that is being deleted and holds nothing any more; its Events go with it."""
        namespace = self._tables.get(Key("Namespace", "", name))
        if namespace is None or meta(namespace).deletionTimestamp is None or self._tables.content_of(name):
            return
        for event in self.list("Event", name).items:
            self._commit(Change.DELETED, KINDS["Event"], event, user=NAMESPACE_CONTROLLER, verb="delete")
        if not finalizers_of(namespace):
            emptied = replace(namespace, spec=NamespaceSpec())
            self._commit(Change.DELETED, KINDS["Namespace"], emptied, user=NAMESPACE_CONTROLLER, verb="delete")


def _kind(kind: str) -> Kind:
    row = KINDS.get(kind)
    if row is None:
        raise refusals.no_such_kind(kind)
    return row


def _key(kind: Kind, namespace: str, name: str) -> Key:
    return Key(kind.name, (namespace or "default") if kind.namespaced else "", name)


def _raise_invalid(kind: Kind, key: Key, causes: Sequence[tuple[str, str]]) -> None:
    if causes:
        raise refusals.invalid(kind, key, causes)
