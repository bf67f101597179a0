"""The external provisioner of one driver: makes volumes for claims, deletes volumes nobody claims any more.

    claims queue (by UID):  PROVISIONING ─> this node ─> preparation ─> CreateVolume ─> PersistentVolume saved ─> snapshot released
    volumes queue:          finalizer, then DeleteVolume when Released with policy Delete
    saves queue:            a volume that exists at the driver but could not be saved: tried until it is
    sources, sweep queues:  finalizers on data sources; capacity queue: CSIStorageCapacity objects, when enabled

What an attempt leaves behind is decided by tables (`provisioner_tables`). A claim in the background is kept here and tried until the driver
answers finally, even after the claim is gone: otherwise its volume would leak. RULE (spec/volumes.md 3.7): what is asked for a claim that
has gone is what was asked for it last, word by word; upstream prepares the request anew, and leaks the volume when the class or the source
has gone too. RULE (spec/snapshots.md 3.1 step 7): the volume is saved before the finalizer on its source snapshot is taken off; upstream
does it the other way round and can strand both after a crash.

Source: spec/volumes.md 3; sig-storage-lib-external-provisioner controller/controller.go, external-provisioner pkg/controller.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from lightkube.models.core_v1 import Node, PersistentVolume, PersistentVolumeClaim
from lightkube.models.storage_v1 import CSINode, StorageClass

from volsched.api.csi import CreateVolumeResponse, DeleteVolumeRequest, Volume
from volsched.api.edit import annotations_of, finalizers_of, is_deleting, uid_of, with_annotations
from volsched.api.kinds import meta
from volsched.api.watch import Change, WatchEvent
from volsched.cache.view import View
from volsched.controllers.capacity_publisher import CAPACITY, CapacityPublisher
from volsched.controllers.csi_common import NS_PER_S, Handoff
from volsched.controllers.driver_info import DriverInfo, learn
from volsched.controllers.provisioner_delete import VolumeDeletion
from volsched.controllers.provisioner_node import NodeDeployment, Turn
from volsched.controllers.provisioner_options import (
    ALPHA_SELECTED_NODE,
    CLONE_FINALIZER,
    INFEASIBLE_DELAY_S,
    ProvisionerOptions,
    volume_name,
)
from volsched.controllers.provisioner_request import Preparation, Prepared, build_volume
from volsched.controllers.provisioner_source import release_snapshot, restored_snapshot
from volsched.controllers.provisioner_sweep import free_clone_source, sweep_snapshots
from volsched.controllers.provisioner_tables import (
    EFFECTS,
    PROVISIONING,
    ProvisioningRow,
    Refusal,
    State,
    create_outcome,
)
from volsched.controllers.provisioner_topology import ClaimMemory, Term, fnv1, keys_of, terms_of
from volsched.errors import AlreadyExistsError, ApiError, CsiError, ReconcileError
from volsched.ports import DONE, Call, Clock, Create, Done, Emit, QueueSpec, Read, Requeue, Steps, Update, WorkItem
from volsched.rules.volumes import (
    ANN_BETA_STORAGE_PROVISIONER,
    ANN_MIGRATED_TO,
    ANN_SELECTED_NODE,
    ANN_STORAGE_PROVISIONER,
    WAIT_FOR_FIRST_CONSUMER,
    class_of,
)

CLAIMS: Final = "claims"
VOLUMES: Final = "volumes"
SAVES: Final = "saves"
SOURCES: Final = "sources"
SWEEP: Final = "sweep"
CLEANUP_TRIES_MAX: Final = 5
INFEASIBLE_PREFIX: Final = "Volume provisioning failed with infeasible error. Retries will be delayed. "
POPULATOR_SOURCE: Final = "external-provisioner"


class _Begun(NamedTuple):
    """A claim that the driver may still be working for, and what it was asked last."""

    claim: PersistentVolumeClaim
    storage_class: StorageClass
    prepared: Prepared


class _Unsaved(NamedTuple):
    """A volume that exists at the driver and still has to be saved."""

    claim: PersistentVolumeClaim
    pv: PersistentVolume


class _LockOut(NamedTuple):
    """No CSI call for a claim until then, unless the class is replaced by another object."""

    until_ns: int
    class_uid: str


class _Nodes:
    """The view as the topology rules want it. What all nodes say together is kept until one of them changes."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._terms: dict[tuple[str, ...], tuple[Term, ...]] = {}
        self._keys: dict[str, tuple[str, ...]] = {}

    def changed(self) -> None:
        """A Node or CSINode came, went or changed."""
        self._terms.clear()
        self._keys.clear()

    def node(self, name: str) -> Node | None:
        found: Node | None = self._view.get("Node", "", name)
        return found

    def csi_node(self, name: str) -> CSINode | None:
        found: CSINode | None = self._view.get("CSINode", "", name)
        return found

    def registered_keys(self, driver: str) -> tuple[str, ...]:
        if driver not in self._keys:
            self._keys[driver] = next((keys for item in self._view.all("CSINode") if (keys := keys_of(item, driver))), ())
        return self._keys[driver]

    def terms(self, keys: tuple[str, ...]) -> tuple[Term, ...]:
        if keys not in self._terms:
            self._terms[keys] = terms_of(self._view.all("Node"), keys)
        return self._terms[keys]


class Provisioner:
    """Decider: the claims and volumes of one driver."""

    def __init__(self, clock: Clock, driver: str, *, options: ProvisionerOptions | None = None) -> None:
        self.name = "csi-provisioner"
        self.component = driver
        self._options = options = options or ProvisionerOptions()
        kinds = {"PersistentVolumeClaim", "PersistentVolume", "StorageClass", "Node", "CSINode", "VolumeAttachment"}
        self.kinds = frozenset(kinds | {"CSIStorageCapacity"} if options.enable_capacity else kinds)
        narrow = QueueSpec(backoff_s=options.retry_interval_start_s, backoff_s_max=options.retry_interval_max_s)
        wide = dataclasses.replace(narrow, workers=options.worker_threads)
        self.queues: Mapping[str, QueueSpec] = {
            CLAIMS: wide,
            VOLUMES: wide,
            SAVES: wide,
            SOURCES: narrow,
            SWEEP: narrow,
            CAPACITY: narrow,
        }
        self.resync_s: float | None = None
        self._clock = clock
        self._driver = driver
        self._view = View(self.kinds)
        self._handoff = Handoff()
        self._claim_keys: dict[str, tuple[str, str]] = {}  # UID -> namespace, name
        self._in_progress: dict[str, _Begun] = {}  # by UID
        self._halted: set[str] = set()  # UIDs in progress that are not tried now: their claims wait for a node again
        self._memory: dict[str, ClaimMemory] = {}  # by UID
        self._locked_out: dict[str, _LockOut] = {}  # by UID
        self._unsaved: dict[str, _Unsaved] = {}  # by volume name
        self._info = DriverInfo()
        self._identity = options.identity
        self._nodes = _Nodes(self._view)
        self._preparation = Preparation(self._view, self._nodes, self._info, options)
        self._deletion = VolumeDeletion(self._view, self._info, options)
        self._deployment = NodeDeployment(self._view, self._preparation, options)
        self._capacity = CapacityPublisher(clock, self._view, self._handoff, options) if options.enable_capacity else None
        self._next_sweep_ns: int | None = None

    # the decider's shape

    def start(self) -> Steps[None]:
        self._info = info = yield from learn(self._driver, timeout_s=self._options.timeout_s)
        now_ns = self._clock.now_ns()
        if not self._identity:
            self._identity = f"{now_ns // 1_000_000}-{fnv1(self._driver) % 10_000}-{self._driver}"
        self._preparation = Preparation(self._view, self._nodes, info, self._options)
        self._deletion = VolumeDeletion(self._view, info, self._options)
        self._deployment = NodeDeployment(self._view, self._preparation, self._options)
        if self._capacity is not None:
            self._capacity.start(info)
        if "CREATE_DELETE_SNAPSHOT" in info.controller:
            self._next_sweep_ns = now_ns

    def observe(self, event: WatchEvent) -> Iterable[WorkItem]:
        self._view.observe(event)
        found: list[WorkItem] = list(self._capacity.observe(event)) if self._capacity is not None else []
        if event.kind in ("Node", "CSINode"):
            self._nodes.changed()
        elif event.kind == "PersistentVolumeClaim":
            found += self._observe_claim(event)
        elif event.kind == "PersistentVolume" and event.change is not Change.DELETED:
            found.append(WorkItem(VOLUMES, event.key.name))
        return found

    def _observe_claim(self, event: WatchEvent) -> list[WorkItem]:
        claim: PersistentVolumeClaim = event.object
        key, uid = event.key, uid_of(claim)
        if event.change is Change.DELETED:
            # A claim in progress is tried on from memory; everything else about it ends here.
            self._claim_keys.pop(uid, None)
            self._locked_out.pop(uid, None)
            self._deployment.forget(uid)
            if uid not in self._in_progress:
                self._memory.pop(uid, None)
            if uid not in self._halted:
                return []
            self._halted.discard(uid)
            return [WorkItem(CLAIMS, uid)]
        self._claim_keys[uid] = (key.namespace, key.name)
        found = [WorkItem(CLAIMS, uid)]
        if is_deleting(claim) and CLONE_FINALIZER in finalizers_of(claim):
            found.append(WorkItem(SOURCES, f"{key.namespace}/{key.name}"))
        return found

    def work(self, item: WorkItem) -> Steps[Done | Requeue]:
        if item.queue == CLAIMS:
            return (yield from self._claim(item.key))
        if item.queue == VOLUMES:
            deleted = yield from self._deletion.run(item.key, keeps=self._deployment.keeps)
            if deleted is not None and self._capacity is not None:
                self._capacity.changed(deleted)
        elif item.queue == SAVES:
            yield from self._save_again(item.key)
        elif item.queue == SOURCES:
            if "CLONE_VOLUME" in self._info.controller:
                yield from free_clone_source(self._view, item.key)
        elif item.queue == SWEEP:
            yield from sweep_snapshots([begun.claim for begun in self._in_progress.values()])
        elif self._capacity is not None:
            yield from self._capacity.work(item.key)
        return DONE

    def resync(self) -> Iterable[WorkItem]:
        return []

    def wake_at_ns(self) -> int | None:
        if self._handoff:
            return self._clock.now_ns()
        polled_ns = self._capacity.poll_at_ns() if self._capacity is not None else None
        return min((at for at in (self._next_sweep_ns, polled_ns) if at is not None), default=None)

    def wake(self, now_ns: int) -> Iterable[WorkItem]:
        found = self._handoff.take()
        if self._next_sweep_ns is not None and now_ns >= self._next_sweep_ns:
            self._next_sweep_ns = now_ns + round(self._options.snapshot_orphan_sweep_interval_s * NS_PER_S)
            found.append(WorkItem(SWEEP, "snapshots"))
        return found + (self._capacity.poll(now_ns) if self._capacity is not None else [])

    # provisioning

    def _claim(self, uid: str) -> Steps[Done | Requeue]:
        claim = self._claim_of(uid)
        if claim is None:
            return (yield from self._go_on(uid))
        storage_class: StorageClass | None = self._view.get("StorageClass", "", class_of(claim))
        row = self._provisioning_row(claim, storage_class)
        if row is ProvisioningRow.STOP and claim.spec is not None and claim.spec.volumeName:
            return (yield from self._go_on(uid))
        if row is ProvisioningRow.STOP:
            if uid in self._in_progress:
                self._halted.add(uid)
            return DONE
        self._halted.discard(uid)
        if row is ProvisioningRow.RETRY or storage_class is None:
            raise ReconcileError(f'storageclass.storage.k8s.io "{class_of(claim)}" not found')
        turn = yield from self._deployment.turn(self._driver, claim, storage_class)
        if turn is not Turn.OURS:
            return Requeue() if turn is Turn.LATER else DONE
        remaining_s = self._locked_out_s(uid, uid_of(storage_class))
        if remaining_s > 0:
            return Requeue(after_s=remaining_s)
        yield _begins(claim)
        memory = self._memory.setdefault(uid, ClaimMemory())
        try:
            prepared = yield from self._preparation.run(claim, storage_class, selected_node=_selected_node(claim), memory=memory)
        except Refusal as refusal:
            if refusal.ignored:
                yield Emit(claim, "Normal", "Provisioning", str(refusal), source=POPULATOR_SOURCE)
                self._in_progress.pop(uid, None)
                return DONE
            return (yield from self._failed(claim, storage_class, refusal.state, refusal, asked=None))
        return (yield from self._ask(_Begun(claim, storage_class, prepared)))

    def _go_on(self, uid: str) -> Steps[Done | Requeue]:
        """End what was begun for a claim that has gone or has got another volume: the new one is saved, so that it can be reclaimed."""
        begun = self._in_progress.get(uid)
        if begun is None:
            return DONE
        if self._volume_exists(begun.prepared.request.name):
            self._in_progress.pop(uid)
            return DONE
        yield _begins(begun.claim)
        return (yield from self._ask(begun))

    def _ask(self, attempt: _Begun) -> Steps[Done | Requeue]:
        """The call, and what its answer means. Raises ReconcileError when it has to be repeated."""
        claim, storage_class, prepared = attempt
        uid = uid_of(claim)
        try:
            answer: CreateVolumeResponse = yield self._call(prepared)
        except CsiError as problem:
            state = create_outcome(problem.code, has_topology=self._info.has_topology, node_selected=bool(_selected_node(claim)))
            return (yield from self._failed(claim, storage_class, state, problem, asked=prepared))
        volume = answer.volume or Volume()
        defect = _defect(prepared, volume)
        if defect is not None:
            problem_text = yield from self._discard(prepared, volume, defect)
            return (yield from self._failed(claim, storage_class, State.IN_BACKGROUND, problem_text, asked=prepared))
        pv = build_volume(claim, storage_class, prepared, volume, info=self._info, options=self._options, identity=self._identity)
        self._memory.pop(uid, None)
        self._in_progress.pop(uid, None)
        self._unsaved[prepared.request.name] = _Unsaved(claim, pv)
        try:
            yield from self._save(prepared.request.name)
        except ApiError:
            # The claim is done as far as the driver goes; saving goes on by itself.
            self._handoff.add(WorkItem(SAVES, prepared.request.name))
        return DONE

    def _claim_of(self, uid: str) -> PersistentVolumeClaim | None:
        key = self._claim_keys.get(uid)
        claim: PersistentVolumeClaim | None = self._view.get("PersistentVolumeClaim", *key) if key is not None else None
        return claim if claim is not None and uid_of(claim) == uid else None

    def _provisioning_row(self, claim: PersistentVolumeClaim, storage_class: StorageClass | None) -> ProvisioningRow:
        annotations = annotations_of(claim)
        provisioner = annotations.get(ANN_STORAGE_PROVISIONER, annotations.get(ANN_BETA_STORAGE_PROVISIONER))
        return PROVISIONING.decide(
            volume_named=bool(claim.spec and claim.spec.volumeName),
            ours=self._driver in (provisioner, annotations.get(ANN_MIGRATED_TO)),
            class_found=storage_class is not None,
            class_ours=storage_class is not None and storage_class.provisioner == self._driver,
            waits=storage_class is not None and storage_class.volumeBindingMode == WAIT_FOR_FIRST_CONSUMER,
            node_selected=bool(annotations.get(ANN_SELECTED_NODE)),
            volume_exists=self._volume_exists(volume_name(self._options, uid_of(claim))),
        )

    def _volume_exists(self, name: str) -> bool:
        return name in self._unsaved or self._view.get("PersistentVolume", "", name) is not None

    def _locked_out_s(self, uid: str, class_uid: str) -> float:
        """Seconds for which the claim is still known to be infeasible with this class object."""
        locked = self._locked_out.get(uid)
        if locked is None:
            return 0.0
        remaining_ns = locked.until_ns - self._clock.now_ns()
        if locked.class_uid != class_uid or remaining_ns <= 0:
            del self._locked_out[uid]
            return 0.0
        return remaining_ns / NS_PER_S

    def _call(self, prepared: Prepared) -> Call:
        return Call(self._driver, "CreateVolume", prepared.request, timeout_s=self._options.timeout_s)

    def _discard(self, prepared: Prepared, volume: Volume, defect: str) -> Steps[str]:
        """Delete a volume that is not what was asked for; a few tries at once, then it is orphaned until the next attempt finds it."""
        request = DeleteVolumeRequest(volume_id=volume.volume_id, secrets=prepared.request.secrets)
        last: CsiError | None = None
        for _ in range(CLEANUP_TRIES_MAX):
            try:
                yield Call(self._driver, "DeleteVolume", request, timeout_s=self._options.timeout_s)
                return defect
            except CsiError as problem:
                last = problem
        return f"{defect}. Cleanup of volume {prepared.request.name} failed, volume is orphaned: {last}"

    def _failed(
        self, claim: PersistentVolumeClaim, storage_class: StorageClass, state: State, problem: object, *, asked: Prepared | None
    ) -> Steps[Done | Requeue]:
        """Report a failed attempt and do what its state asks for. `asked`: what the driver was asked, None when it was not.
        Raises ReconcileError unless the claim goes back to the scheduler."""
        uid, effect = uid_of(claim), EFFECTS[state]
        text = f"{INFEASIBLE_PREFIX}{problem}" if effect.lock_out else str(problem)
        yield Emit(claim, "Warning", "ProvisioningFailed", text)
        if effect.in_progress is not None:
            self._in_progress.pop(uid, None)
        if effect.in_progress and asked is not None:
            self._in_progress[uid] = _Begun(claim, storage_class, asked)
        if asked is not None and effect.forget_topology:
            self._memory.pop(uid, None)
        if effect.lock_out:
            until_ns = self._clock.now_ns() + round(INFEASIBLE_DELAY_S * NS_PER_S)
            self._locked_out[uid] = _LockOut(until_ns, uid_of(storage_class))
        if self._capacity is not None and state is not State.NO_CHANGE:
            self._capacity.failed(meta(storage_class).name or "")
        if effect.reschedule and ANN_SELECTED_NODE in annotations_of(claim):
            try:
                self._view.put((yield Update(with_annotations(claim, {ANN_SELECTED_NODE: None}))))
            except ApiError as refused:
                raise ReconcileError(f"{problem}; the selected node could not be taken off: {refused}") from None
            return DONE
        raise ReconcileError(str(problem))

    # saving

    def _save(self, name: str) -> Steps[None]:
        """Store a new volume, announce it, release its source. Raises ApiError while it cannot be stored."""
        claim, pv = self._unsaved[name]
        try:
            self._view.put((yield Create(pv)))
        except AlreadyExistsError:
            self._view.put((yield Read("PersistentVolume", "", name)))  # an earlier attempt got through
        del self._unsaved[name]
        yield Emit(claim, "Normal", "ProvisioningSucceeded", f"Successfully provisioned volume {name}")
        if self._capacity is not None:
            self._capacity.changed(pv)
        snapshot = restored_snapshot(claim)
        if snapshot is not None:
            try:
                yield from release_snapshot(meta(claim).namespace or "", snapshot)
            except ApiError:
                return  # the sweeper will

    def _save_again(self, name: str) -> Steps[None]:
        if name in self._unsaved:
            yield from self._save(name)


def _begins(claim: PersistentVolumeClaim) -> Emit:
    key = f"{meta(claim).namespace}/{meta(claim).name}"
    return Emit(claim, "Normal", "Provisioning", f'External provisioner is provisioning volume for claim "{key}"')


def _selected_node(claim: PersistentVolumeClaim) -> str:
    annotations = annotations_of(claim)
    return annotations.get(ANN_SELECTED_NODE) or annotations.get(ALPHA_SELECTED_NODE) or ""


def _defect(prepared: Prepared, volume: Volume) -> str | None:
    """What is wrong with the volume the driver made: smaller than asked for, or without the source it was to be filled from."""
    requested_bytes = prepared.request.capacity_range.required_bytes if prepared.request.capacity_range else 0
    if 0 < volume.capacity_bytes < requested_bytes:
        return f"created volume capacity {volume.capacity_bytes} less than requested capacity {requested_bytes}"
    if prepared.request.volume_content_source is not None and volume.content_source is None:
        return "volume content source missing"
    return None
