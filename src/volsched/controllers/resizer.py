"""The resizer of one driver: makes volumes as large as their claims ask.

    claim asks for more ──> status: size, ControllerResizeInProgress ──> ControllerExpandVolume ──> PersistentVolume's size
        ──> claim's size, done      or, when the file system has to follow,      ──> NodeResizePending: the kubelet goes on

Which size is worked towards is decided by `resizer_tables`: one that may be under way at the driver comes before a new one, so a user may
ask for more, or take a wish back, at any moment. What was asked is written before the call and the volume's size before the claim's, so a
pass cut short anywhere is repeated with the same size, and a driver answers that with the same volume.
An answer with InvalidArgument, OutOfRange or NotFound is infeasible: the same size is tried again after five minutes only, another at once.
A driver that grows volumes on the node alone gets no call here. ExpandNotice is the controller that only says who is waited for.

Source: spec/volumes.md 5; external-resizer pkg/controller, kubernetes pkg/controller/volume/expand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from lightkube.models.core_v1 import PersistentVolume, PersistentVolumeClaim, Pod

from volsched.api.csi import (
    CapacityRange,
    ControllerExpandVolumeRequest,
    ControllerExpandVolumeResponse,
    NodeGetCapabilitiesRequest,
)
from volsched.api.edit import annotations_of, uid_of, with_annotations, with_spec
from volsched.api.kinds import meta
from volsched.api.quantity import Quantity
from volsched.api.watch import Change, WatchEvent
from volsched.cache.view import View
from volsched.controllers.capabilities import EXPAND_VOLUME, SINGLE_NODE_MULTI_WRITER, capability_of, csi_mode, rpc_types
from volsched.controllers.csi_common import NS_PER_S, amend, quoted, read_credentials, time_of
from volsched.controllers.driver_info import learn
from volsched.controllers.pv_binder.changes import ANN_PRE_RESIZE_CAPACITY
from volsched.controllers.resizer_status import (
    CONTROLLER_ERROR,
    FS_PENDING,
    allocated_size,
    begun,
    finished,
    has_condition,
    node_pending,
    progress_of,
    refused,
    status_size,
)
from volsched.controllers.resizer_tables import EXPANSION_REFUSED, TARGET, Progress, Target, Verdict
from volsched.errors import ApiError, CsiError, NotFoundError, ReconcileError
from volsched.ports import DONE, Call, Clock, Done, Emit, Intent, ListAll, QueueSpec, Read, Requeue, Steps, Update, WorkItem
from volsched.rules.volumes import bound_to, capacity_of, claim_names, pod_terminated, requested_storage, volume_mode_of

CLAIMS: Final = "claims"
INFEASIBLE_DELAY_S: Final = 300.0


@dataclass(frozen=True, slots=True)
class ResizerOptions:
    """Flags, with upstream's defaults. `annotate_fs_resize`: note the old size on a volume until its file system has followed."""

    timeout_s: float = 10.0
    retry_interval_start_s: float = 1.0
    retry_interval_max_s: float = 300.0
    workers: int = 10
    resync_s: float = 600.0
    handle_volume_in_use_error: bool = True
    annotate_fs_resize: bool = False
    extra_modify_metadata: bool = False


_Change: TypeAlias = Callable[[PersistentVolumeClaim], PersistentVolumeClaim]


def _status_write(claim: PersistentVolumeClaim, change: _Change) -> Intent | None:
    changed = change(claim)
    return None if changed is claim else Update(changed, subresource="status")


def _without_note(volume: PersistentVolume) -> Intent | None:
    noted = ANN_PRE_RESIZE_CAPACITY in annotations_of(volume)
    return Update(with_annotations(volume, {ANN_PRE_RESIZE_CAPACITY: None})) if noted else None


def _sizes(claim: PersistentVolumeClaim) -> tuple[Quantity, Quantity]:
    return requested_storage(claim), status_size(claim)


def claim_key(claim: PersistentVolumeClaim) -> str:
    """`namespace/name`."""
    return f"{meta(claim).namespace}/{meta(claim).name}"


def wants_more(claim: PersistentVolumeClaim) -> bool:
    """Whether a bound claim asks for more than it has."""
    if (claim.status.phase if claim.status else None) != "Bound" or not (claim.spec and claim.spec.volumeName):
        return False
    return requested_storage(claim) > status_size(claim)


class SlowSet:
    """Keys whose last attempt was infeasible: each is left alone for a while from its first mark on."""

    def __init__(self, clock: Clock, delay_s: float = INFEASIBLE_DELAY_S) -> None:
        self._clock = clock
        self._delay_ns = round(delay_s * NS_PER_S)
        self._until: dict[str, int] = {}

    def add(self, key: str) -> None:
        if self.remaining_s(key) <= 0:
            self._until[key] = self._clock.now_ns() + self._delay_ns

    def remove(self, key: str) -> None:
        self._until.pop(key, None)

    def remaining_s(self, key: str) -> float:
        """How long a key is still left alone, 0 when it is not."""
        return max(0, self._until.get(key, 0) - self._clock.now_ns()) / NS_PER_S


class Resizer:
    """Decider: the claims of one driver's volumes that ask for more than they have."""

    def __init__(self, clock: Clock, driver: str, *, options: ResizerOptions | None = None) -> None:
        self.name = "csi-resizer"
        self.component = f"external-resizer {driver}"
        self.kinds = frozenset({"PersistentVolumeClaim"})
        self._options = options or ResizerOptions()
        start_s, max_s = self._options.retry_interval_start_s, self._options.retry_interval_max_s
        self.queues: Mapping[str, QueueSpec] = {CLAIMS: QueueSpec(self._options.workers, start_s, max_s)}
        self.resync_s: float | None = self._options.resync_s
        self._clock = clock
        self._driver = driver
        self._view = View(self.kinds)
        self._by_controller = False
        self._by_node = False
        self._multi_writer = False
        self._slow = SlowSet(clock)
        self._gave_up: set[str] = set()  # the last answer was final and no success
        self._in_use: set[str] = set()  # refused because a pod uses the volume

    # the decider's shape

    def start(self) -> Steps[None]:
        info = yield from learn(self._driver, timeout_s=self._options.timeout_s)
        self._by_controller = EXPAND_VOLUME in info.controller
        self._multi_writer = SINGLE_NODE_MULTI_WRITER in info.controller
        if self._by_controller or "CONTROLLER_SERVICE" not in info.plugin:
            return
        try:
            answer = yield Call(self._driver, "NodeGetCapabilities", NodeGetCapabilitiesRequest(), timeout_s=self._options.timeout_s)
        except CsiError:
            return  # a driver without node service expands nothing
        self._by_node = EXPAND_VOLUME in rpc_types(answer)

    def observe(self, event: WatchEvent) -> Iterable[WorkItem]:
        old, taken = self._view.observe(event)
        claim: PersistentVolumeClaim = event.object
        key = claim_key(claim)
        if event.change is Change.DELETED:
            if taken:
                self._forget(key)
            return
        if not taken:
            return
        if not wants_more(claim):
            if self._options.annotate_fs_resize and old is not None and status_size(claim) > status_size(old):
                yield WorkItem(CLAIMS, key)
            return
        if old is None or not wants_more(old) or _sizes(old) != _sizes(claim):
            yield WorkItem(CLAIMS, key)

    def _forget(self, key: str) -> None:
        self._slow.remove(key)
        self._gave_up.discard(key)
        self._in_use.discard(key)

    def work(self, item: WorkItem) -> Steps[Done | Requeue]:
        namespace, _, name = item.key.partition("/")
        claim: PersistentVolumeClaim | None = self._view.get("PersistentVolumeClaim", namespace, name)
        noting = self._options.annotate_fs_resize
        if claim is None or not (self._by_controller or self._by_node) or not (noting or wants_more(claim)):
            return DONE
        volume = yield from self._volume_of(claim)
        if volume is None:
            return DONE
        if noting and status_size(claim) >= capacity_of(volume):
            volume = yield from amend(volume, _without_note)
        return (yield from self._expand(item.key, claim, volume)) if wants_more(claim) else DONE

    def resync(self) -> Iterable[WorkItem]:
        return [WorkItem(CLAIMS, claim_key(claim)) for claim in self._view.all("PersistentVolumeClaim") if wants_more(claim)]

    def wake_at_ns(self) -> int | None:
        return None

    def wake(self, now_ns: int) -> Iterable[WorkItem]:
        return ()

    # one claim

    def _volume_of(self, claim: PersistentVolumeClaim) -> Steps[PersistentVolume | None]:
        """The claim's volume, if it is bound both ways and this driver's."""
        try:
            volume: PersistentVolume = yield Read("PersistentVolume", "", (claim.spec.volumeName if claim.spec else None) or "")
        except NotFoundError:
            return None
        reference = volume.spec.claimRef if volume.spec else None
        if not bound_to(volume, claim) or reference is None or reference.uid != uid_of(claim):
            return None
        return volume if volume.spec and volume.spec.csi and volume.spec.csi.driver == self._driver else None

    def _target(self, key: str, claim: PersistentVolumeClaim, volume: PersistentVolume) -> Quantity | None:
        """The size to work towards, None while the node has to finish first."""
        requested, allocated, actual = requested_storage(claim), allocated_size(claim), capacity_of(volume)
        target = TARGET.decide(
            pv_small=actual < requested,
            progress=progress_of(claim),
            allocated=allocated is not None,
            reached=allocated is not None and actual >= allocated,
            gave_up=key in self._gave_up,
            by_controller=self._by_controller,
            fs_pending=has_condition(claim, FS_PENDING),
        )
        if target is Target.NODE:
            return None
        return allocated if target is Target.ALLOCATED else requested

    def _expand(self, key: str, claim: PersistentVolumeClaim, volume: PersistentVolume) -> Steps[Done | Requeue]:
        size = self._target(key, claim, volume)
        if size is None:
            return DONE
        left_alone_s = self._slow.remaining_s(key)
        if progress_of(claim) is Progress.CONTROLLER_INFEASIBLE:
            self._slow.add(key)
        again = allocated_size(claim) == size
        if again and left_alone_s > 0:
            return Requeue(after_s=left_alone_s)
        claim = yield from self._begin(claim, size, again=again)
        if key in self._in_use and (yield from self._is_used(claim)):
            only = f"CSI driver {self._driver} only supports offline expansion and volume is currently in-use"
            text = f"Unable to expand {key} because {only}"
            yield Emit(claim, "Warning", "VolumeResizeFailed", text)
            raise ReconcileError(text)
        yield Emit(claim, "Normal", "Resizing", f"External resizer is resizing volume {meta(volume).name}")
        self._in_use.discard(key)
        try:
            grown, on_node = yield from self._call(volume, size)
        except (CsiError, ReconcileError) as problem:
            if isinstance(problem, CsiError):
                yield from self._record_refusal(key, claim, problem)
            text = f"resize volume {quoted(meta(volume).name)} by resizer {quoted(self._driver)} failed: {problem}"
            yield Emit(claim, "Warning", "VolumeResizeFailed", text)
            raise ReconcileError(text) from None
        self._forget(key)
        yield from amend(volume, lambda current: self._grown(current, grown, status_size(claim), on_node=on_node))
        if on_node:
            claim = yield from self._record(claim, lambda current: node_pending(current, time_of(self._clock.now_ns())))
            yield Emit(claim, "Normal", "FileSystemResizeRequired", "Require file system resize of volume on node")
        else:
            claim = yield from self._record(claim, lambda current: finished(current, grown))
            yield Emit(claim, "Normal", "VolumeResizeSuccessful", "Resize volume succeeded")
        return DONE

    def _begin(self, claim: PersistentVolumeClaim, size: Quantity, *, again: bool) -> Steps[PersistentVolumeClaim]:
        """Write what is going to be asked. Not repeated on a conflict: the size was chosen from this very claim."""
        changed = begun(claim, size, time_of(self._clock.now_ns()), again=again)
        if changed is claim:
            return claim
        stored: PersistentVolumeClaim = yield Update(changed, subresource="status")
        self._view.put(stored)
        return stored

    def _record(self, claim: PersistentVolumeClaim, change: _Change) -> Steps[PersistentVolumeClaim]:
        stored: PersistentVolumeClaim = yield from amend(claim, lambda current: _status_write(current, change))
        self._view.put(stored)
        return stored

    def _call(self, volume: PersistentVolume, size: Quantity) -> Steps[tuple[Quantity, bool]]:
        """Have the volume grown; answers (its size, whether the file system has to follow on the node)."""
        spec = volume.spec
        assert spec is not None and spec.csi is not None  # checked by _volume_of
        block = volume_mode_of(volume) == "Block"
        if not self._by_controller:
            return size, True
        secrets = yield from read_credentials(spec.csi.controllerExpandSecretRef)
        mode = csi_mode((spec.accessModes or ["ReadWriteOnce"])[0], multi_writer=self._multi_writer)
        request = ControllerExpandVolumeRequest(
            volume_id=spec.csi.volumeHandle,
            capacity_range=CapacityRange(required_bytes=size.value()),
            secrets=secrets,
            volume_capability=capability_of(volume, mode),
        )
        answer: ControllerExpandVolumeResponse = yield Call(
            self._driver, "ControllerExpandVolume", request, timeout_s=self._options.timeout_s
        )
        return Quantity.of_bytes(answer.capacity_bytes), answer.node_expansion_required and not block

    def _grown(self, volume: PersistentVolume, size: Quantity, before: Quantity, *, on_node: bool) -> Intent | None:
        noting = self._options.annotate_fs_resize and on_node and ANN_PRE_RESIZE_CAPACITY not in annotations_of(volume)
        if capacity_of(volume) == size and not noting:
            return None
        capacity = {**((volume.spec.capacity if volume.spec else None) or {}), "storage": str(size)}
        changed = with_spec(volume, capacity=capacity)
        return Update(with_annotations(changed, {ANN_PRE_RESIZE_CAPACITY: str(before)}) if noting else changed)

    def _record_refusal(self, key: str, claim: PersistentVolumeClaim, problem: CsiError) -> Steps[None]:
        verdict, now = EXPANSION_REFUSED[problem.code], time_of(self._clock.now_ns())
        if verdict is Verdict.UNKNOWN:
            self._slow.remove(key)
            self._gave_up.discard(key)
            return
        self._gave_up.add(key)
        if verdict is Verdict.IN_USE and self._options.handle_volume_in_use_error:
            self._in_use.add(key)
        infeasible = Progress.CONTROLLER_INFEASIBLE if verdict is Verdict.INFEASIBLE else None
        if infeasible is None:
            self._slow.remove(key)
        yield from self._record(claim, lambda current: refused(current, problem, now, kind=CONTROLLER_ERROR, infeasible=infeasible))

    @staticmethod
    def _is_used(claim: PersistentVolumeClaim) -> Steps[bool]:
        pods: list[Pod] = yield ListAll("Pod", meta(claim).namespace or "")
        name = meta(claim).name
        return any(name == used for pod in pods if not pod_terminated(pod) for _, used, _ in claim_names(pod))


class ExpandNotice:
    """kube-controller-manager's expand controller, as far as CSI volumes need it: it says that somebody else has to act."""

    name = "kube-controller-manager"
    component = "volume_expand"
    kinds = frozenset({"PersistentVolumeClaim"})
    queues: Mapping[str, QueueSpec] = {CLAIMS: QueueSpec(workers=10)}
    resync_s: float | None = None

    def __init__(self) -> None:
        self._view = View(self.kinds)

    def start(self) -> Steps[None]:
        yield from ()

    def observe(self, event: WatchEvent) -> Iterable[WorkItem]:
        old, taken = self._view.observe(event)
        claim: PersistentVolumeClaim = event.object
        if not taken or event.change is Change.DELETED or not wants_more(claim):
            return
        if old is None or requested_storage(claim) > requested_storage(old) or status_size(claim) > status_size(old):
            yield WorkItem(CLAIMS, claim_key(claim))

    def work(self, item: WorkItem) -> Steps[Done | Requeue]:
        namespace, _, name = item.key.partition("/")
        claim: PersistentVolumeClaim | None = self._view.get("PersistentVolumeClaim", namespace, name)
        if claim is None or not wants_more(claim):
            return DONE
        volume_name = (claim.spec.volumeName if claim.spec else None) or ""
        try:
            volume: PersistentVolume = yield Read("PersistentVolume", "", volume_name)
        except ApiError as problem:
            raise ReconcileError(f"failed to get PV {quoted(volume_name)}: {problem}") from None
        reference = volume.spec.claimRef if volume.spec else None
        if reference is None or (reference.namespace, reference.uid) != (namespace, uid_of(claim)):
            raise ReconcileError(f"persistent Volume is not bound to PVC being updated : {item.key}")
        yield Emit(claim, "Normal", "ExternalExpanding", "waiting for an external controller to expand this PVC")
        return DONE

    def resync(self) -> Iterable[WorkItem]:
        return ()

    def wake_at_ns(self) -> int | None:
        return None

    def wake(self, now_ns: int) -> Iterable[WorkItem]:
        return ()
