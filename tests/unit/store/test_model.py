"""The store against a model of a few lines: versions, generations, finalizers, conflicts, and a watch that replays to the state."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.builders import make_content, make_pvc, make_snapshot
from tests.unit.store.worlds import make_store
from volsched.api.edit import replace, with_finalizers, with_labels, with_metadata, with_spec
from volsched.api.kinds import Key, encode, key_of
from volsched.api.snapshot import VolumeSnapshotContentStatus, VolumeSnapshotStatus
from volsched.api.watch import Change
from volsched.errors import AlreadyExistsError, ConflictError, InvalidError, NotFoundError

FINALIZERS = ("example.com/a", "example.com/b")
KEYS = [Key("VolumeSnapshot", "default", name) for name in "ab"] + [Key("VolumeSnapshotContent", "", name) for name in "ab"]


def make(key: Key, finalizers: tuple[str, ...]) -> Any:
    if key.kind == "VolumeSnapshot":
        return make_snapshot(key.name, snapshot_class="c0", finalizers=finalizers)
    return with_metadata(make_content(key.name), finalizers=list(finalizers) or None)


@dataclass
class Expected:
    """What the model knows of one object."""

    version: int
    generation: int = 1
    finalizers: tuple[str, ...] = ()
    deleting: bool = False
    labels: dict[str, str] = field(default_factory=dict)
    cls: str | None = "c0"
    ready: bool | None = None


class StoreAgainstModel(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.store = make_store(retained=20)
        self.version = self.store.resource_version
        self.model: dict[Key, Expected] = {}
        self.start = self.version
        self.replayed: dict[Key, Any] = {}
        self.seen = self.version
        self.stale: dict[Key, Any] = {}  # an earlier state of an object, to write from

    def current(self, key: Key) -> Any:
        return self.store.get(key.kind, key.namespace, key.name)

    def wrote(self, key: Key) -> None:
        """One change happened."""
        self.version += 1
        known = self.model.get(key)
        if known is not None:
            known.version = self.version
            if known.deleting and not known.finalizers:
                del self.model[key]

    @rule(key=st.sampled_from(KEYS), finalizers=st.lists(st.sampled_from(FINALIZERS), unique=True).map(tuple))
    def create(self, key: Key, finalizers: tuple[str, ...]) -> None:
        if key in self.model:
            with pytest.raises(AlreadyExistsError):
                self.store.create(make(key, finalizers), user="test")
            return
        obj = self.store.create(make(key, finalizers), user="test")
        self.model[key] = Expected(version=0, finalizers=finalizers, cls=obj.spec.volumeSnapshotClassName)
        self.wrote(key)

    @rule(key=st.sampled_from(KEYS))
    def remember(self, key: Key) -> None:
        if key in self.model:
            self.stale[key] = self.current(key)

    @precondition(lambda self: self.stale)
    @rule(data=st.data(), label=st.sampled_from("xyz"))
    def write_from_memory(self, data: st.DataObject, label: str) -> None:
        key = data.draw(st.sampled_from(sorted(self.stale)))
        known, old = self.model.get(key), self.stale[key]
        wanted = with_labels(old, {"label": label})
        if known is None:
            with pytest.raises(NotFoundError):
                self.store.update(wanted, user="test")
        elif int(old.metadata.resourceVersion) != known.version:
            with pytest.raises(ConflictError):
                self.store.update(wanted, user="test")
        else:
            self.label(key, label)

    @rule(key=st.sampled_from(KEYS), label=st.sampled_from("xyz"))
    def label(self, key: Key, label: str) -> None:
        known = self.model.get(key)
        if known is None:
            return
        self.store.update(with_labels(self.current(key), {"label": label}), user="test")
        if known.labels != {"label": label}:
            known.labels = {"label": label}
            self.wrote(key)

    @rule(key=st.sampled_from(KEYS), cls=st.sampled_from(["c0", "c1"]))
    def change_spec(self, key: Key, cls: str) -> None:
        known = self.model.get(key)
        if known is None:
            return
        self.store.update(with_spec(self.current(key), volumeSnapshotClassName=cls), user="test")
        if known.cls != cls:
            known.cls = cls
            known.generation += 1
            self.wrote(key)

    @rule(key=st.sampled_from(KEYS), ready=st.sampled_from([True, False]), by_patch=st.booleans())
    def change_status(self, key: Key, ready: bool, by_patch: bool) -> None:
        known = self.model.get(key)
        if known is None:
            return
        kind = VolumeSnapshotStatus if key.kind == "VolumeSnapshot" else VolumeSnapshotContentStatus
        if by_patch:
            self.store.patch(*key, {"status": {"readyToUse": ready}}, user="test", subresource="status")
        else:
            # whatever else the writer has changed is not taken
            obj = with_labels(replace(self.current(key), status=kind(readyToUse=ready)), {"label": "lost"})
            self.store.update(obj, user="test", subresource="status")
        if known.ready != ready:
            known.ready = ready
            self.wrote(key)

    @rule(key=st.sampled_from(KEYS), finalizer=st.sampled_from(FINALIZERS), add=st.booleans())
    def change_finalizers(self, key: Key, finalizer: str, add: bool) -> None:
        known = self.model.get(key)
        if known is None:
            return
        wanted = with_finalizers(self.current(key), add=[finalizer] if add else [], remove=[] if add else [finalizer])
        if known.deleting and add and finalizer not in known.finalizers:
            with pytest.raises(InvalidError):
                self.store.update(wanted, user="test")
            return
        self.store.update(wanted, user="test")
        after = tuple(wanted.metadata.finalizers or ())
        if after != known.finalizers:
            known.finalizers = after
            self.wrote(key)

    @rule(key=st.sampled_from(KEYS))
    def delete(self, key: Key) -> None:
        known = self.model.get(key)
        if known is None:
            with pytest.raises(NotFoundError):
                self.store.delete(*key, user="test")
            return
        self.store.delete(*key, user="test")
        if not known.finalizers:
            known.deleting = True
            self.wrote(key)
        elif not known.deleting:
            known.deleting = True
            known.generation += 1
            self.wrote(key)

    @rule()
    def replay(self) -> None:
        for event in self.store.watch(self.seen):
            assert event.resource_version == self.seen + 1
            self.seen = event.resource_version
            key = key_of(event.object)
            if event.change is Change.DELETED:
                del self.replayed[key]
            else:
                assert (event.change is Change.ADDED) == (key not in self.replayed)
                self.replayed[key] = event.object

    @invariant()
    def replay_equals_state(self) -> None:
        if self.version - self.seen >= 15:  # before it expires
            self.replay()
        if self.seen == self.version:
            stored = [obj for kind in ("VolumeSnapshot", "VolumeSnapshotContent") for obj in self.store.list(kind).items]
            assert [encode(obj) for obj in stored] == [encode(self.replayed[key]) for key in sorted(self.replayed)]

    @invariant()
    def store_equals_model(self) -> None:
        assert self.store.resource_version == self.version
        for key in KEYS:
            obj, known = self.store.raw(key), self.model.get(key)
            assert (obj is None) == (known is None)
            if obj is None or known is None:
                continue
            found = Expected(
                version=int(obj.metadata.resourceVersion),
                generation=obj.metadata.generation,
                finalizers=tuple(obj.metadata.finalizers or ()),
                deleting=obj.metadata.deletionTimestamp is not None,
                labels=obj.metadata.labels or {},
                cls=obj.spec.volumeSnapshotClassName,
                ready=obj.status.readyToUse if obj.status else None,
            )
            assert found == known


class StoreInAFileAgainstModel(StoreAgainstModel):
    """The same, with a state file that is closed and opened again at any moment."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.TemporaryDirectory()
        self.path = Path(self.directory.name) / "state.db"
        self.store = make_store(retained=20, path=self.path)

    @rule()
    def reopen(self) -> None:
        log = (self.store.log.count, self.store.log.hash)
        self.store.close()
        self.store = make_store(retained=20, path=self.path, seed=99)
        assert (self.store.log.count, self.store.log.hash) == log

    @rule(key=st.sampled_from(KEYS))
    def take_back(self, key: Key) -> None:
        with pytest.raises(ZeroDivisionError), self.store.atomic():
            if self.store.raw(key) is None:
                self.store.create(make(key, ()), user="test")
            else:
                self.store.delete(*key, user="test")
            _ = 1 // 0

    def teardown(self) -> None:
        self.store.close()
        self.directory.cleanup()


StoreAgainstModel.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
StoreInAFileAgainstModel.TestCase.settings = settings(max_examples=15, stateful_step_count=40, deadline=None)
TestStoreAgainstModel = StoreAgainstModel.TestCase
TestStoreInAFileAgainstModel = StoreInAFileAgainstModel.TestCase


def test_the_model_itself_would_notice() -> None:
    machine = StoreAgainstModel()
    machine.create(KEYS[0], ())
    machine.store.create(make_pvc("behind its back"[:6]), user="test")
    with pytest.raises(AssertionError):
        machine.store_equals_model()
