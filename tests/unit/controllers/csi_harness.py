"""A hand-driven world for the controllers that talk to CSI drivers: API server, driver, clock, queues, and faults at any step.

`World` runs deciders the way the application does (watch events, work queues, one intent at a time) on virtual time. A fault plan names
steps, counted over all writes and calls, and what happens there:

    REFUSED        the request fails, nothing is done           LOST    it is done, the answer is an error
    CRASH_BEFORE   the process dies instead of asking           CRASH   it is done, then the process dies
    CONFLICT       the request fails with a conflict

A crashed process comes back at once as a new object that sees everything afresh. `Binder` stands for the PV controller and the scheduler's
part of the story: it binds a volume to the claim it was made for and releases it when the claim has gone.
"""

from __future__ import annotations

import copy
import datetime
import enum
import random
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from tests.builders import DRIVER, ZONE
from volsched.api import csi
from volsched.api.edit import finalizers_of, replace, version_of, with_metadata
from volsched.api.kinds import KINDS, Generation, Key, from_json, key_of, kind_of, to_json
from volsched.api.watch import Change, WatchEvent
from volsched.app.workqueue import NS, WorkQueue
from volsched.controllers.snapshot_names import GROUP_MEMBER
from volsched.errors import (
    AlreadyExistsError,
    ApiError,
    ConflictError,
    CsiCode,
    CsiError,
    InvalidError,
    NotFoundError,
    ReconcileError,
)
from volsched.ports import Call, Create, Delete, Emit, ListAll, Patch, Pause, Read, Requeue, Update, WorkItem

START_NS = 1_767_225_600 * NS
GUARDED_KINDS = frozenset({"VolumeSnapshot", "VolumeSnapshotContent", "VolumeGroupSnapshot", "VolumeGroupSnapshotContent"})
EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


class Fault(enum.Enum):
    REFUSED = "refused"
    LOST = "lost"
    CONFLICT = "conflict"
    CRASH_BEFORE = "crash before"
    CRASH = "crash"


class Crash(Exception):
    """The process that asked is gone."""


class FakeApi:
    """Objects with versions, finalizers and status subresources; enough of an API server for these controllers."""

    def __init__(self, world: World) -> None:
        self.objects: dict[Key, Any] = {}
        self.version = 0
        self.listeners: list[Callable[[WatchEvent], None]] = []
        self.history: list[tuple[str, Key, Any]] = []
        self._world = world
        self._incarnations: Counter[Key] = Counter()
        self._generated = 0

    def now(self) -> datetime.datetime:
        return datetime.datetime.fromtimestamp(self._world.now_ns() // NS, tz=datetime.UTC)

    def get(self, kind: str, namespace: str, name: str) -> Any:
        key = Key(kind, namespace if KINDS[kind].namespaced else "", name)
        if key not in self.objects:
            raise NotFoundError(f'{KINDS[kind].qualified} "{name}" not found', kind=kind, name=name)
        return self.objects[key]

    def list(self, kind: str, namespace: str | None = None) -> list[Any]:
        return [self.objects[key] for key in sorted(self.objects) if key.kind == kind and namespace in (None, key.namespace)]

    def create(self, obj: Any) -> Any:
        if not obj.metadata.name and obj.metadata.generateName:
            self._generated += 1
            obj = with_metadata(obj, name=f"{obj.metadata.generateName}{self._generated}")
        key = key_of(obj)
        if key in self.objects:
            raise AlreadyExistsError(f'{KINDS[key.kind].qualified} "{key.name}" already exists')
        if KINDS[key.kind].namespaced:
            obj = with_metadata(obj, namespace=key.namespace)
        self._incarnations[key] += 1
        given = obj.metadata.uid
        if given is None and self._incarnations[key] > 1:
            given = f"uid-{key.kind}-{key.name}-{self._incarnations[key]}"
        obj = with_metadata(
            obj,
            uid=given or f"uid-{key.kind}-{key.name}",
            creationTimestamp=self.now(),
            generation=1 if KINDS[key.kind].generation is Generation.SPEC else None,
        )
        return self._store(Change.ADDED, self._defaulted(obj))

    def _defaulted(self, obj: Any) -> Any:
        kind = kind_of(obj).name
        if kind in ("PersistentVolume", "PersistentVolumeClaim"):
            if obj.spec.volumeMode is None:
                obj = replace(obj, spec=replace(obj.spec, volumeMode="Filesystem"))
            if obj.status is None:
                obj = from_json(kind, {**to_json(obj), "status": {"phase": "Pending"}})
        if kind == "PersistentVolumeClaim":
            spec = obj.spec
            if spec.dataSource is not None and spec.dataSourceRef is None:
                obj = from_json(kind, {**to_json(obj), "spec": {**to_json(obj)["spec"], "dataSourceRef": to_json(spec.dataSource)}})
        return obj

    def _store(self, change: Change, obj: Any) -> Any:
        self.version += 1
        stored = with_metadata(obj, resourceVersion=str(self.version))
        key = key_of(stored)
        if change is Change.DELETED:
            del self.objects[key]
        else:
            self.objects[key] = stored
        self.history.append((change.value, key, stored))
        for listener in list(self.listeners):
            listener(WatchEvent(change, key.kind, stored, self.version))
        return stored

    def update(self, obj: Any, subresource: str = "") -> Any:
        key = key_of(obj)
        old = self.get(*key)
        if obj.metadata.resourceVersion and version_of(obj) != version_of(old):
            raise ConflictError(f'Operation cannot be fulfilled on {KINDS[key.kind].qualified} "{key.name}": the object has been modified')
        if obj.metadata.uid and obj.metadata.uid != old.metadata.uid:
            raise ConflictError("the UID does not match")
        if subresource == "status":
            new = replace(old, status=obj.status)
        else:
            kept = old.metadata
            new = replace(
                obj, metadata=replace(obj.metadata, uid=kept.uid, resourceVersion=kept.resourceVersion, generation=kept.generation)
            )
            new = with_metadata(new, deletionTimestamp=kept.deletionTimestamp, creationTimestamp=kept.creationTimestamp)
            if KINDS[key.kind].status:
                new = replace(new, status=old.status)
            if kept.generation is not None and getattr(new, "spec", None) != getattr(old, "spec", None):
                new = with_metadata(new, generation=kept.generation + 1)
        if to_json(new) == to_json(old):
            return old
        if new.metadata.deletionTimestamp is not None and not finalizers_of(new):
            return self._store(Change.DELETED, new)
        return self._store(Change.MODIFIED, new)

    def patch(self, intent: Patch) -> Any:
        old = self.get(intent.kind, intent.namespace, intent.name)
        if intent.patch_type != "merge":
            raise InvalidError("the harness knows merge patches only")
        merged = _merged(to_json(old), intent.body)
        return self.update(from_json(intent.kind, merged), intent.subresource)

    def delete(self, intent: Delete) -> Any:
        old = self.get(intent.kind, intent.namespace, intent.name)
        if intent.uid is not None and intent.uid != old.metadata.uid:
            raise ConflictError("the UID in the precondition does not match")
        if not finalizers_of(old):
            return self._store(Change.DELETED, old)
        if old.metadata.deletionTimestamp is not None:
            return old
        generation = None if old.metadata.generation is None else old.metadata.generation + 1
        return self._store(Change.MODIFIED, with_metadata(old, deletionTimestamp=self.now(), generation=generation))


def _merged(target: Any, patch: Any) -> Any:
    if not isinstance(patch, dict):
        return patch
    out = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            out.pop(key, None)
        else:
            out[key] = _merged(out.get(key), value)
    return out


ALL_CAPABILITIES = frozenset(
    {
        "CREATE_DELETE_VOLUME",
        "CREATE_DELETE_SNAPSHOT",
        "LIST_SNAPSHOTS",
        "CLONE_VOLUME",
        "GET_CAPACITY",
        "SINGLE_NODE_MULTI_WRITER",
    }
)


@dataclass
class FakeDriver:
    """A driver that keeps volumes and snapshots by name and answers as scripted.

    `script`: method -> what the next calls do, in order: a code (refused), or ("lost", code): done, but answered with the code.
    """

    world: World
    name: str = DRIVER
    plugin: frozenset[str] = frozenset({"CONTROLLER_SERVICE", "GROUP_CONTROLLER_SERVICE", "VOLUME_ACCESSIBILITY_CONSTRAINTS"})
    controller: frozenset[str] = ALL_CAPABILITIES
    group: frozenset[str] = frozenset({"CREATE_DELETE_GET_VOLUME_GROUP_SNAPSHOT"})
    ready_after_s: float = 0.0
    topology_key: str = ZONE
    capacity: dict[str, int] = field(default_factory=dict)
    returns: dict[str, Any] = field(default_factory=dict)  # overrides of Volume fields in CreateVolume answers
    without_creation_time: bool = False
    volumes: dict[str, csi.Volume] = field(default_factory=dict)
    snapshots: dict[str, csi.Snapshot] = field(default_factory=dict)
    groups: dict[str, csi.VolumeGroupSnapshot] = field(default_factory=dict)
    script: dict[str, list[Any]] = field(default_factory=dict)
    calls: list[tuple[str, Any]] = field(default_factory=list)
    cuts: Counter[str] = field(default_factory=Counter)

    def called(self, method: str) -> list[Any]:
        return [request for name, request in self.calls if name == method]

    def call(self, method: str, request: Any) -> Any:
        self.calls.append((method, request))
        planned = self.script.get(method)
        answer = planned.pop(0) if planned else None
        if isinstance(answer, CsiCode) and answer is not CsiCode.OK:
            raise CsiError(answer, "scripted failure", method=method)
        result = getattr(self, f"_{method}")(request)
        if isinstance(answer, tuple):
            raise CsiError(answer[1], "answer lost", method=method)
        return result

    def _Probe(self, request: Any) -> Any:
        return csi.ProbeResponse()

    def _GetPluginInfo(self, request: Any) -> Any:
        return csi.GetPluginInfoResponse(name=self.name, vendor_version="1")

    def _GetPluginCapabilities(self, request: Any) -> Any:
        rows = [csi.PluginCapability(service=csi.PluginService(type=item)) for item in sorted(self.plugin)]
        return csi.GetPluginCapabilitiesResponse(capabilities=rows)

    def _ControllerGetCapabilities(self, request: Any) -> Any:
        rows = [csi.ControllerServiceCapability(rpc=csi.Rpc(type=item)) for item in sorted(self.controller)]
        return csi.ControllerGetCapabilitiesResponse(capabilities=rows)

    def _CreateVolume(self, request: csi.CreateVolumeRequest) -> Any:
        volume = self.volumes.get(request.name)
        if volume is None:
            wanted = request.accessibility_requirements
            chosen = [(wanted.preferred or wanted.requisite)[0]] if wanted and (wanted.preferred or wanted.requisite) else []
            volume = csi.Volume(
                capacity_bytes=request.capacity_range.required_bytes if request.capacity_range else 0,
                volume_id=f"handle-{request.name}",
                content_source=request.volume_content_source,
                accessible_topology=chosen,
            )
            self.volumes[request.name] = volume
        return csi.CreateVolumeResponse(volume=msgspec.structs.replace(volume, **self.returns))

    def _DeleteVolume(self, request: csi.DeleteVolumeRequest) -> Any:
        for name in [name for name, volume in self.volumes.items() if volume.volume_id == request.volume_id]:
            del self.volumes[name]
        return csi.DeleteVolumeResponse()

    def _now(self) -> datetime.datetime:
        return EPOCH + datetime.timedelta(microseconds=self.world.now_ns() // 1000)

    def _current(self, snapshot: csi.Snapshot) -> csi.Snapshot:
        age = self._now() - (snapshot.creation_time or EPOCH)
        shown = None if self.without_creation_time else snapshot.creation_time
        return msgspec.structs.replace(snapshot, ready_to_use=age.total_seconds() >= self.ready_after_s, creation_time=shown)

    def _CreateSnapshot(self, request: csi.CreateSnapshotRequest) -> Any:
        if request.name not in self.snapshots:
            self.cuts[request.name] += 1
            self.snapshots[request.name] = csi.Snapshot(
                size_bytes=10 << 30,
                snapshot_id=f"id-{request.name}-{self.cuts[request.name]}",
                source_volume_id=request.source_volume_id,
                creation_time=self._now(),
            )
        return csi.CreateSnapshotResponse(snapshot=self._current(self.snapshots[request.name]))

    def _DeleteSnapshot(self, request: csi.DeleteSnapshotRequest) -> Any:
        self.world.check_backend_deletion(request.snapshot_id)
        for name in [name for name, snapshot in self.snapshots.items() if snapshot.snapshot_id == request.snapshot_id]:
            del self.snapshots[name]
        return csi.DeleteSnapshotResponse()

    def _ListSnapshots(self, request: csi.ListSnapshotsRequest) -> Any:
        found = [self._current(item) for item in self.snapshots.values() if item.snapshot_id == request.snapshot_id]
        return csi.ListSnapshotsResponse(entries=[csi.ListSnapshotsEntry(snapshot=item) for item in found])

    def _GroupControllerGetCapabilities(self, request: Any) -> Any:
        rows = [csi.GroupControllerServiceCapability(rpc=csi.Rpc(type=item)) for item in sorted(self.group)]
        return csi.GroupControllerGetCapabilitiesResponse(capabilities=rows)

    def _shown(self, group: csi.VolumeGroupSnapshot) -> csi.VolumeGroupSnapshot:
        members = [self._current(member) for member in group.snapshots]
        shown = None if self.without_creation_time else group.creation_time
        ready = all(member.ready_to_use for member in members)
        return msgspec.structs.replace(group, snapshots=members, ready_to_use=ready, creation_time=shown)

    def _CreateVolumeGroupSnapshot(self, request: csi.CreateVolumeGroupSnapshotRequest) -> Any:
        group = self.groups.get(request.name)
        if group is None:
            self.cuts[request.name] += 1
            identity = f"id-{request.name}-{self.cuts[request.name]}"
            members = [
                csi.Snapshot(
                    size_bytes=10 << 30,
                    snapshot_id=f"{identity}-{volume}",
                    source_volume_id=volume,
                    creation_time=self._now(),
                    group_snapshot_id=identity,
                )
                for volume in request.source_volume_ids
            ]
            self.snapshots |= {member.snapshot_id: member for member in members}
            group = csi.VolumeGroupSnapshot(group_snapshot_id=identity, snapshots=members, creation_time=self._now())
            self.groups[request.name] = group
        return csi.CreateVolumeGroupSnapshotResponse(group_snapshot=self._shown(group))

    def _group_of(self, request: Any) -> str | None:
        found = next((name for name, group in self.groups.items() if group.group_snapshot_id == request.group_snapshot_id), None)
        if found is not None and {item.snapshot_id for item in self.groups[found].snapshots} != set(request.snapshot_ids):
            raise CsiError(CsiCode.INVALID_ARGUMENT, "these are not the snapshots of the group")
        return found

    def _GetVolumeGroupSnapshot(self, request: csi.GetVolumeGroupSnapshotRequest) -> Any:
        name = self._group_of(request)
        if name is None:
            raise CsiError(CsiCode.NOT_FOUND, f"no group snapshot {request.group_snapshot_id}")
        return csi.GetVolumeGroupSnapshotResponse(group_snapshot=self._shown(self.groups[name]))

    def _DeleteVolumeGroupSnapshot(self, request: csi.DeleteVolumeGroupSnapshotRequest) -> Any:
        self.world.check_group_deletion(request.group_snapshot_id)
        name = self._group_of(request)
        if name is not None:
            del self.groups[name]
            for identity in request.snapshot_ids:
                del self.snapshots[identity]
        return csi.DeleteVolumeGroupSnapshotResponse()

    def _GetCapacity(self, request: csi.GetCapacityRequest) -> Any:
        segments = request.accessible_topology.segments if request.accessible_topology else {}
        return csi.GetCapacityResponse(available_capacity=self.capacity.get(segments.get(self.topology_key, ""), 0))


@dataclass(eq=False)
class Process:
    """One decider with its queues and the passes under way."""

    make: Callable[[], Any]
    decider: Any = None
    inbox: deque[WatchEvent] = field(default_factory=deque)
    queues: dict[str, WorkQueue] = field(default_factory=dict)
    passes: list[tuple[WorkItem | None, Any, Any]] = field(default_factory=list)  # item, generator, (value, error) to send
    resync_at_ns: int | None = None
    paused: list[tuple[int, tuple[WorkItem | None, Any]]] = field(default_factory=list)


class Binder:
    """Binds a volume to the claim it names, releases it when that claim has gone, and keeps a Released volume's phase."""

    def __init__(self, api: FakeApi) -> None:
        self._api = api
        self._busy = False
        api.listeners.append(self.see)

    def see(self, event: WatchEvent) -> None:
        if self._busy or event.kind not in ("PersistentVolume", "PersistentVolumeClaim"):
            return
        self._busy = True
        try:
            for pv in self._api.list("PersistentVolume"):
                self._settle(pv)
        finally:
            self._busy = False

    def _settle(self, pv: Any) -> None:
        reference = pv.spec.claimRef
        if reference is None:
            return
        claim = self._api.objects.get(Key("PersistentVolumeClaim", reference.namespace, reference.name))
        alive = claim is not None and claim.metadata.uid == reference.uid
        phase = "Bound" if alive else "Released"
        if pv.status.phase != phase:
            self._api.update(replace(pv, status=replace(pv.status, phase=phase)), "status")
        if alive and claim.spec.volumeName is None:
            claim = self._api.update(replace(claim, spec=replace(claim.spec, volumeName=pv.metadata.name)))
            self._api.update(replace(claim, status=replace(claim.status, phase="Bound", capacity=pv.spec.capacity)), "status")


class World:
    """Everything together. `seed` None: first come, first served; a number: the next step is drawn at random."""

    def __init__(self, *, seed: int | None = None, faults: dict[int, Fault] | None = None, binder: bool = True) -> None:
        self._now_ns = START_NS
        self.api = FakeApi(self)
        self.drivers: dict[str, FakeDriver] = {}
        self.processes: list[Process] = []
        self.events: list[tuple[str, str, str, Key, str]] = []  # source, type, reason, regarding, message
        self.writes: list[tuple[str, str, Key]] = []
        self.faults = dict(faults or {})
        self.steps = 0  # writes and calls of deciders so far
        self.fired: list[int] = []
        self.failures: list[str] = []
        self._random = random.Random(seed) if seed is not None else None
        self.api.listeners.append(self._deliver)
        if binder:
            Binder(self.api)

    def now_ns(self) -> int:
        return self._now_ns

    @property
    def seconds(self) -> float:
        return (self._now_ns - START_NS) / NS

    def driver(self, **settings: Any) -> FakeDriver:
        made = FakeDriver(self, **settings)
        self.drivers[made.name] = made
        return made

    def run_decider(self, make: Callable[[], Any]) -> Process:
        process = Process(make)
        self.processes.append(process)
        self._boot(process)
        return process

    def _boot(self, process: Process) -> None:
        process.decider = process.make()
        process.queues = {name: WorkQueue(spec) for name, spec in process.decider.queues.items()}
        process.passes, process.paused = [], []
        process.inbox.clear()
        self._complete_start(process)
        for key in sorted(self.api.objects):
            if key.kind in process.decider.kinds:
                obj = self.api.objects[key]
                self._observe(process, WatchEvent(Change.ADDED, key.kind, obj, version_of(obj)))
        if process.decider.resync_s is not None:
            process.resync_at_ns = self._now_ns + round(process.decider.resync_s * NS)

    def _complete_start(self, process: Process) -> None:
        steps = process.decider.start()
        try:
            intent = next(steps)
            while True:
                intent = steps.send(self._carry_out(process, intent, counted=False))
        except StopIteration:
            return

    def _deliver(self, event: WatchEvent) -> None:
        for process in self.processes:
            if process.decider is not None and event.kind in process.decider.kinds:
                process.inbox.append(event)

    def _observe(self, process: Process, event: WatchEvent) -> None:
        self._enqueue(process, process.decider.observe(event))

    def _enqueue(self, process: Process, items: Iterable[WorkItem]) -> None:
        for item in items:
            process.queues[item.queue].add(item.key)

    # user actions

    def create(self, *objects: Any) -> Any:
        stored = None
        for obj in objects:
            stored = self.api.create(obj)
        return stored

    def get(self, kind: str, name: str, namespace: str = "default") -> Any:
        return self.api.get(kind, namespace, name)

    def find(self, kind: str, name: str, namespace: str = "default") -> Any | None:
        return self.api.objects.get(Key(kind, namespace if KINDS[kind].namespaced else "", name))

    def only(self, kind: str) -> Any:
        (found,) = self.api.list(kind)
        return found

    def delete(self, kind: str, name: str, namespace: str = "default") -> None:
        self.api.delete(Delete(kind, namespace, name))

    def patch(self, kind: str, name: str, body: Any, *, status: bool = False, namespace: str = "default") -> Any:
        return self.api.patch(Patch(kind, namespace, name, body, subresource="status" if status else ""))

    # running

    def settle(self, *, for_s: float = 0.0) -> None:
        """Run until nothing is left to do now, then let time pass, at most `for_s`, from one due moment to the next."""
        until = self._now_ns + round(for_s * NS)
        budget = 200_000
        while budget:
            budget -= 1
            if self.step():
                continue
            due = self._next_due()
            if due is None or due > until:
                self._now_ns = max(self._now_ns, until)
                return
            self._now_ns = max(self._now_ns, due)
            self._fire()
        raise AssertionError("the world does not settle")

    def _next_due(self) -> int | None:
        moments: list[int] = []
        for process in self.processes:
            moments += [at for queue in process.queues.values() if (at := queue.next_due_ns()) is not None]
            moments += [at for at in (process.decider.wake_at_ns(), process.resync_at_ns) if at is not None]
            moments += [at for at, _ in process.paused]
        return min(moments, default=None)

    def _fire(self) -> None:
        for process in self.processes:
            for queue in process.queues.values():
                queue.release(self._now_ns)
            if process.resync_at_ns is not None and process.resync_at_ns <= self._now_ns:
                process.resync_at_ns = self._now_ns + round(process.decider.resync_s * NS)
                self._enqueue(process, process.decider.resync())
            for entry in [entry for entry in process.paused if entry[0] <= self._now_ns]:
                process.paused.remove(entry)
                process.passes.append((*entry[1], (None, None)))
            self._wake(process)

    def _wake(self, process: Process) -> bool:
        at = process.decider.wake_at_ns()
        if at is None or at > self._now_ns:
            return False
        self._enqueue(process, process.decider.wake(self._now_ns))
        return True

    def step(self) -> bool:
        """One thing that can be done now: a watch event, a wake-up, the start of a pass, one intent of a pass."""
        moves: list[Callable[[], object]] = []
        for process in self.processes:
            if process.inbox:
                moves.append(lambda p=process: self._observe(p, p.inbox.popleft()))
            elif (at := process.decider.wake_at_ns()) is not None and at <= self._now_ns:
                moves.append(lambda p=process: self._wake(p))
            for index in range(len(process.passes)):
                moves.append(lambda p=process, i=index: self._advance(p, i))
            for name, queue in process.queues.items():
                if queue.ready:
                    moves.append(lambda p=process, n=name: self._begin(p, n))
        if not moves:
            return False
        (self._random.choice(moves) if self._random else moves[0])()
        return True

    def _begin(self, process: Process, queue: str) -> None:
        key = process.queues[queue].pop()
        if key is not None:
            item = WorkItem(queue, key)
            process.passes.append((item, process.decider.work(item), (None, None)))

    def _advance(self, process: Process, index: int) -> None:
        item, steps, (value, error) = process.passes.pop(index)
        try:
            intent = steps.throw(error) if error is not None else steps.send(value)
        except StopIteration as stop:
            self._finish(process, item, stop.value)
            return
        except (ApiError, CsiError, ReconcileError) as failure:
            self.failures.append(f"{process.decider.component}: {item}: {failure}")
            queue = process.queues[item.queue]
            queue.fail(item.key, self._now_ns)
            queue.done(item.key)
            return
        if isinstance(intent, Pause):
            process.paused.append((self._now_ns + round(intent.seconds * NS), (item, steps)))
            return
        try:
            result = (self._carry_out(process, intent), None)
        except (ApiError, CsiError) as failure:
            result = (None, failure)
        except Crash:
            self._boot(process)
            return
        process.passes.append((item, steps, result))

    def _finish(self, process: Process, item: WorkItem, outcome: Any) -> None:
        queue = process.queues[item.queue]
        if isinstance(outcome, Requeue):
            if outcome.after_s is None:
                queue.fail(item.key, self._now_ns)
            else:
                queue.forget(item.key)
                queue.add_at(item.key, self._now_ns + round(outcome.after_s * NS))
        else:
            assert outcome is not None, f"{item} ended with None"
            queue.forget(item.key)
        queue.done(item.key)

    def _carry_out(self, process: Process, intent: Any, *, counted: bool = True) -> Any:
        match intent:
            case Emit(regarding, kind, reason, message, _, source):
                self.events.append((source or process.decider.component, kind, reason, key_of(regarding), message))
                return None
            case Read(kind, namespace, name):
                return self.api.get(kind, namespace, name)
            case ListAll(kind, namespace):
                return self.api.list(kind, namespace)
        fault = None
        if counted:
            self.steps += 1
            fault = self.faults.pop(self.steps, None)
        if fault is not None:
            self.fired.append(self.steps)
        if fault is Fault.CRASH_BEFORE:
            raise Crash
        if fault in (Fault.REFUSED, Fault.CONFLICT):
            if isinstance(intent, Call):
                raise CsiError(CsiCode.UNAVAILABLE, "injected", method=intent.method)
            raise ConflictError("injected conflict") if fault is Fault.CONFLICT else ApiError("injected refusal")
        result = self._do(process, intent)
        if fault is Fault.LOST:
            if isinstance(intent, Call):
                raise CsiError(CsiCode.DEADLINE_EXCEEDED, "injected", method=intent.method)
            raise ApiError("injected loss of the answer")
        if fault is Fault.CRASH:
            raise Crash
        return result

    def _do(self, process: Process, intent: Any) -> Any:
        user = process.decider.name
        match intent:
            case Create(obj):
                self.writes.append((user, "create", key_of(obj)))
                return self.api.create(obj)
            case Update(obj, subresource):
                self.writes.append((user, f"update{'/' + subresource if subresource else ''}", key_of(obj)))
                return self.api.update(obj, subresource)
            case Patch(kind, namespace, name):
                assert intent.body["metadata"]["resourceVersion"], "a patch without precondition"
                key = Key(kind, namespace, name)
                self.writes.append((user, f"patch{'/' + intent.subresource if intent.subresource else ''}", key))
                return self.api.patch(intent)
            case Delete(kind, namespace, name):
                self.writes.append((user, "delete", Key(kind, namespace, name)))
                return self.api.delete(intent)
            case Call(driver, method, request):
                return self.drivers[driver].call(method, copy.copy(request))
        raise AssertionError(f"unknown intent {intent!r}")

    # looking

    def reasons(self, name: str | None = None) -> list[str]:
        return [reason for _, _, reason, key, _ in self.events if name in (None, key.name)]

    def messages(self, reason: str) -> list[str]:
        return [message for _, _, found, _, message in self.events if found == reason]

    def check_backend_deletion(self, handle: str) -> None:
        """I7: no DeleteSnapshot while being-created is present, none for Retain, none for group members."""
        for content in self.api.list("VolumeSnapshotContent"):
            if content.status and content.status.snapshotHandle == handle:
                annotations = content.metadata.annotations or {}
                assert "snapshot.storage.kubernetes.io/volumesnapshot-being-created" not in annotations, "I7: being created"
                assert content.spec.deletionPolicy == "Delete", "I7: Retain"
                assert content.status.volumeGroupSnapshotHandle is None, "I7: member"

    def check_group_deletion(self, handle: str) -> None:
        """I7 for groups: no DeleteVolumeGroupSnapshot while being-created is present, none for Retain."""
        for content in self.api.list("VolumeGroupSnapshotContent"):
            if content.status and content.status.volumeGroupSnapshotHandle == handle:
                annotations = content.metadata.annotations or {}
                assert "groupsnapshot.storage.kubernetes.io/volumegroupsnapshot-being-created" not in annotations, "I7: being created"
                assert content.spec.deletionPolicy == "Delete", "I7: Retain"

    def end_state(self) -> dict[str, Any]:
        """Objects and backend without what depends on the moment."""
        state: dict[str, Any] = {}
        for key in sorted(self.api.objects):
            if key.kind == "Event":
                continue
            value = to_json(self.api.objects[key])
            state[str(key)] = _timeless(value)
        for driver in self.drivers.values():
            state[f"volumes of {driver.name}"] = sorted(driver.volumes)
            state[f"snapshots of {driver.name}"] = sorted(driver.snapshots)
            state[f"groups of {driver.name}"] = sorted(driver.groups)
        return state


_MOMENTS = frozenset({"resourceVersion", "creationTimestamp", "deletionTimestamp", "creationTime", "time", "finalizers"})


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        out = {key: _timeless(item) for key, item in value.items() if key not in _MOMENTS}
        if value.get("finalizers"):
            out["finalizers"] = sorted(value["finalizers"])
        for moment in ("deletionTimestamp", "creationTime", "time"):
            if moment in value:
                out[moment] = "set"
        attributes = out.get("volumeAttributes")
        if isinstance(attributes, dict):
            attributes.pop("storage.kubernetes.io/csiProvisionerIdentity", None)
        return out
    return [_timeless(item) for item in value] if isinstance(value, list) else value


def check_invariants(world: World, *, orphans: Iterable[str] = ()) -> None:
    """I1-I6 of the snapshot specification; I7 is checked at every DeleteSnapshot. `orphans`: backend snapshots with an accepted excuse."""
    snapshots = {(s.metadata.namespace, s.metadata.name): s for s in world.api.list("VolumeSnapshot")}
    contents = world.api.list("VolumeSnapshotContent")
    claims = world.api.list("PersistentVolumeClaim")
    handles = {c.status.snapshotHandle for c in contents if c.status and c.status.snapshotHandle}
    group_contents = world.api.list("VolumeGroupSnapshotContent")
    lists = [c.status.volumeSnapshotInfoList or [] for c in group_contents if c.status and c.status.volumeGroupSnapshotHandle]
    handles |= {entry.snapshotHandle for entries in lists for entry in entries}
    given = [c.spec.source.groupSnapshotHandles for c in group_contents if c.spec.source.groupSnapshotHandles]
    handles |= {handle for handles_of_group in given for handle in handles_of_group.volumeSnapshotHandles}
    for driver in world.drivers.values():
        assert all(count <= 1 for count in Counter(s.snapshot_id for s in driver.snapshots.values()).values()), "I1"
        backend = {snapshot.snapshot_id for snapshot in driver.snapshots.values()}
        assert backend - set(orphans) <= handles, f"I2: nobody holds {sorted(backend - handles)}"
        groups = {group.group_snapshot_id for group in driver.groups.values()}
        held = {c.status.volumeGroupSnapshotHandle for c in group_contents if c.status and c.status.volumeGroupSnapshotHandle}
        assert groups - set(orphans) <= held, f"I2: nobody holds group {sorted(groups - held)}"
    for content in contents:
        guarded = "snapshot.storage.kubernetes.io/volumesnapshotcontent-bound-protection" in finalizers_of(content)
        holds = bool(content.status and content.status.snapshotHandle)
        bound = bool(content.spec.volumeSnapshotRef.uid)
        assert guarded or not (holds and bound) or content.metadata.deletionTimestamp, f"I3: {content.metadata.name}"
        assert bound or not guarded, f"I5: {content.metadata.name} is guarded but not bound"
    _check_groups(world, snapshots)
    by_name = {content.metadata.name: content for content in contents}
    for (namespace, name), snapshot in snapshots.items():
        if snapshot.status and snapshot.status.readyToUse:
            content = by_name.get(snapshot.status.boundVolumeSnapshotContentName or "")
            assert content is not None and content.status and content.status.readyToUse, f"I4: {namespace}/{name}"
        restoring = any(
            c.status.phase == "Pending" and c.spec.dataSource and c.spec.dataSource.name == name and c.metadata.namespace == namespace
            for c in claims
        )
        if "provisioner.storage.kubernetes.io/volumesnapshot-as-source-protection" in finalizers_of(snapshot):
            assert restoring, f"I5: {name} is held for a restore that ended"
    for claim in claims:
        if "snapshot.storage.kubernetes.io/pvc-as-source-protection" in finalizers_of(claim):
            waiting = [
                s
                for (namespace, _), s in snapshots.items()
                if namespace == claim.metadata.namespace
                and s.spec.source.persistentVolumeClaimName == claim.metadata.name
                and not (s.status and s.status.readyToUse)
            ]
            assert waiting, f"I5: claim {claim.metadata.name} is held for no snapshot"
    _check_history(world)


def _check_groups(world: World, snapshots: dict[tuple[str, str], Any]) -> None:
    """I3-I5 for groups, and: a ready group has all its members; no member or member content outlives what it was made for."""
    groups = {group.metadata.uid: group for group in world.api.list("VolumeGroupSnapshot")}
    contents = {content.metadata.name: content for content in world.api.list("VolumeGroupSnapshotContent")}
    for name, content in contents.items():
        guarded = "groupsnapshot.storage.kubernetes.io/volumegroupsnapshotcontent-bound-protection" in finalizers_of(content)
        holds = bool(content.status and content.status.volumeGroupSnapshotHandle)
        bound = bool(content.spec.volumeGroupSnapshotRef.uid)
        assert guarded or not (holds and bound) or content.metadata.deletionTimestamp, f"I3: {name}"
    for uid, group in groups.items():
        if group.status and group.status.readyToUse:
            content = contents.get(group.status.boundVolumeGroupSnapshotContentName or "")
            assert content is not None and content.status and content.status.readyToUse, f"I4: group {group.metadata.name}"
            wanted = len(content.status.volumeSnapshotInfoList or [])
            members = [s for s in snapshots.values() if any(owner.uid == uid for owner in s.metadata.ownerReferences or [])]
            assert len(members) >= wanted, f"group {group.metadata.name} has {len(members)} of {wanted} members"
    for (_, name), snapshot in snapshots.items():
        if "snapshot.storage.kubernetes.io/volumesnapshot-in-group-protection" in finalizers_of(snapshot):
            owners = [owner.uid for owner in snapshot.metadata.ownerReferences or []]
            assert any(uid in groups for uid in owners), f"I5: member {name} outlives its group"
    for member in world.api.list("VolumeSnapshotContent"):
        if member.spec.deletionPolicy == "Delete" and GROUP_MEMBER in (member.metadata.annotations or {}):
            reference = member.spec.volumeSnapshotRef
            assert (reference.namespace, reference.name) in snapshots, f"member content {member.metadata.name} outlives its snapshot"


def _check_history(world: World) -> None:
    """I6: creationTime and handle of one object never change after they were set; a content's are only ever cleared."""
    seen: dict[tuple[str, str], Any] = {}
    for _, key, obj in world.api.history:
        if key.kind not in GUARDED_KINDS or obj.status is None:
            continue
        for name in ("creationTime", "snapshotHandle", "volumeGroupSnapshotHandle"):
            value = getattr(obj.status, name, None)
            if value is None:
                continue
            first = seen.setdefault((obj.metadata.uid, name), value)
            assert first == value, f"I6: {key} {name} was {first}, became {value}"
