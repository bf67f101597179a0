"""The modifier of one driver, the other half of the resizer's process: gives volumes the attributes of the class their claims name.

    claim names another class ──> status InProgress, target ──> ControllerModifyVolume ──> PersistentVolume's class ──> claim's class

The target is written before the call, so that it is known what the driver may have begun; a call is repeated until its answer is final.
InvalidArgument is infeasible: the same class is tried again after five minutes, another one at once. A class that does not exist, or is of
another driver, leaves the claim Pending until the next resync. RULE: a wish that is taken back is followed (`modifier_table`); upstream
leaves the status standing. Source: spec/volumes.md 5; external-resizer pkg/modifycontroller, pkg/modifier.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from lightkube.models.core_v1 import PersistentVolume, PersistentVolumeClaim, SecretReference
from lightkube.models.storage_v1 import VolumeAttributesClass

from volsched.api.csi import ControllerModifyVolumeRequest
from volsched.api.edit import annotations_of, replace, uid_of, with_spec
from volsched.api.kinds import meta
from volsched.api.watch import Change as Watched
from volsched.api.watch import WatchEvent
from volsched.cache.view import View
from volsched.controllers.capabilities import MODIFY_VOLUME
from volsched.controllers.csi_common import CSI_PREFIX, amend, read_credentials, time_of
from volsched.controllers.driver_info import learn
from volsched.controllers.modifier_table import Change, ModifyRow, change_of, modify_row, target_of
from volsched.controllers.provisioner_options import MODIFY_SECRET_NAME, MODIFY_SECRET_NAMESPACE
from volsched.controllers.resizer import CLAIMS, ResizerOptions, SlowSet, claim_key
from volsched.controllers.resizer_status import MODIFY_CONDITIONS, merged, modified, modify_failed, modify_marked, status_of
from volsched.controllers.resizer_tables import EXPANSION_REFUSED, Verdict
from volsched.errors import CsiCode, CsiError, NotFoundError, ReconcileError
from volsched.ports import DONE, Call, Clock, Done, Emit, Intent, QueueSpec, Read, Requeue, Steps, Update, WorkItem
from volsched.rules.volumes import attributes_class_of, bound_to

IN_PROGRESS_TEXT: Final = "ModifyVolume operation in progress."
FAILED: Final = "VolumeModifyFailed"


class VolumeModifier:
    """Decider: the claims of one driver's volumes that name another VolumeAttributesClass."""

    def __init__(self, clock: Clock, driver: str, *, options: ResizerOptions | None = None) -> None:
        self.name = "csi-resizer"
        self.component = f"external-resizer {driver}"
        self.kinds = frozenset({"PersistentVolumeClaim", "VolumeAttributesClass"})
        self._options = options or ResizerOptions()
        start_s, max_s = self._options.retry_interval_start_s, self._options.retry_interval_max_s
        self.queues: Mapping[str, QueueSpec] = {CLAIMS: QueueSpec(self._options.workers, start_s, max_s)}
        self.resync_s: float | None = self._options.resync_s
        self._clock = clock
        self._driver = driver
        self._view = View(self.kinds)
        self._capable = False
        self._slow = SlowSet(clock)

    # the decider's shape

    def start(self) -> Steps[None]:
        info = yield from learn(self._driver, timeout_s=self._options.timeout_s)
        self._capable = MODIFY_VOLUME in info.controller

    def observe(self, event: WatchEvent) -> Iterable[WorkItem]:
        old, taken = self._view.observe(event)
        if event.kind != "PersistentVolumeClaim" or not taken:
            return
        claim: PersistentVolumeClaim = event.object
        if event.change is Watched.DELETED:
            self._slow.remove(claim_key(claim))
            return
        row = modify_row(claim)
        if row is ModifyRow.NOTHING:
            return
        if old is None or modify_row(old) is ModifyRow.NOTHING or attributes_class_of(old) != attributes_class_of(claim):
            yield WorkItem(CLAIMS, claim_key(claim))

    def work(self, item: WorkItem) -> Steps[Done | Requeue]:
        namespace, _, name = item.key.partition("/")
        claim: PersistentVolumeClaim | None = self._view.get("PersistentVolumeClaim", namespace, name)
        if claim is None or not self._capable:
            return DONE
        row = modify_row(claim)
        if row is ModifyRow.NOTHING:
            return DONE
        volume = yield from self._volume_of(claim)
        if volume is None:
            return DONE
        if row is ModifyRow.FORGET:
            self._slow.remove(item.key)
            yield from self._record(claim, _forgotten)
            return DONE
        target = target_of(claim) if row is ModifyRow.TARGET else attributes_class_of(claim)
        return (yield from self._modify(item.key, claim, volume, target))

    def resync(self) -> Iterable[WorkItem]:
        claims = self._view.all("PersistentVolumeClaim")
        return [WorkItem(CLAIMS, claim_key(claim)) for claim in claims if modify_row(claim) is not ModifyRow.NOTHING]

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

    def _modify(self, key: str, claim: PersistentVolumeClaim, volume: PersistentVolume, target: str) -> Steps[Done | Requeue]:
        if target_of(claim) != target:
            self._slow.remove(key)
        elif (left_alone_s := self._slow.remaining_s(key)) > 0:
            return Requeue(after_s=left_alone_s)
        attributes: VolumeAttributesClass | None = self._view.get("VolumeAttributesClass", "", target)
        problem = f"VAC {target} does not exist."
        if attributes is not None and attributes.driverName != self._driver:
            problem = f"VAC {target} is of driver {attributes.driverName}, not of {self._driver}."
        if attributes is None or attributes.driverName != self._driver:
            yield Emit(claim, "Warning", FAILED, problem)
            yield from self._record(claim, self._pending)
            return DONE
        begun = change_of(claim) is Change.IN_PROGRESS and target_of(claim) == target
        claim = yield from self._begin(claim, target)
        name = meta(claim).name
        if not begun:
            yield Emit(claim, "Normal", "VolumeModify", f"external resizer is modifying volume {name} with vac {target}")
        try:
            yield from self._call(claim, volume, attributes)
        except (CsiError, ReconcileError) as problem_met:
            yield from self._record_refusal(key, claim, problem_met)
            yield Emit(claim, "Warning", FAILED, str(problem_met))
            raise ReconcileError(f"modify volume {meta(volume).name} to {target} failed: {problem_met}") from None
        self._slow.remove(key)
        yield from amend(volume, lambda current: _with_class(current, target))
        claim = yield from self._record(claim, lambda current: modified(current, target))
        yield Emit(claim, "Normal", "VolumeModifySuccessful", f"external resizer modified volume {name} with vac {target} successfully ")
        return DONE

    def _begin(self, claim: PersistentVolumeClaim, target: str) -> Steps[PersistentVolumeClaim]:
        """Write what is going to be asked. Not repeated on a conflict: the target was chosen from this very claim."""
        now = time_of(self._clock.now_ns())
        changed = modify_marked(claim, Change.IN_PROGRESS.value, now, target=target, message=IN_PROGRESS_TEXT)
        if changed is claim:
            return claim
        stored: PersistentVolumeClaim = yield Update(changed, subresource="status")
        self._view.put(stored)
        return stored

    def _pending(self, claim: PersistentVolumeClaim) -> PersistentVolumeClaim:
        return modify_marked(claim, Change.PENDING.value, time_of(self._clock.now_ns()), target=None, message=None)

    def _record(
        self, claim: PersistentVolumeClaim, change: Callable[[PersistentVolumeClaim], PersistentVolumeClaim]
    ) -> Steps[PersistentVolumeClaim]:
        def write(current: PersistentVolumeClaim) -> Intent | None:
            changed = change(current)
            return None if changed is current else Update(changed, subresource="status")

        stored: PersistentVolumeClaim = yield from amend(claim, write)
        self._view.put(stored)
        return stored

    def _call(self, claim: PersistentVolumeClaim, volume: PersistentVolume, attributes: VolumeAttributesClass) -> Steps[None]:
        parameters = dict(attributes.parameters or {})
        if self._options.extra_modify_metadata:
            parameters |= {
                CSI_PREFIX + "pvc/name": meta(claim).name or "",
                CSI_PREFIX + "pvc/namespace": meta(claim).namespace or "",
                CSI_PREFIX + "pv/name": meta(volume).name or "",
            }
        notes = annotations_of(volume)
        secret = None
        if notes.get(MODIFY_SECRET_NAME) and notes.get(MODIFY_SECRET_NAMESPACE):
            secret = SecretReference(name=notes[MODIFY_SECRET_NAME], namespace=notes[MODIFY_SECRET_NAMESPACE])
        secrets = yield from read_credentials(secret)
        assert volume.spec is not None and volume.spec.csi is not None  # checked by _volume_of
        request = ControllerModifyVolumeRequest(volume_id=volume.spec.csi.volumeHandle, secrets=secrets, mutable_parameters=parameters)
        yield Call(self._driver, "ControllerModifyVolume", request, timeout_s=self._options.timeout_s)

    def _record_refusal(self, key: str, claim: PersistentVolumeClaim, problem: Exception) -> Steps[None]:
        now = time_of(self._clock.now_ns())
        code = problem.code if isinstance(problem, CsiError) else None
        if code is CsiCode.INVALID_ARGUMENT:
            self._slow.add(key)
            text = f"ModifyVolume failed with error{problem}. Waiting for retry."
            yield from self._record(claim, lambda current: modify_marked(current, Change.INFEASIBLE.value, now, target=None, message=text))
            return
        if code is not None and EXPANSION_REFUSED[code] is not Verdict.UNKNOWN:
            self._slow.remove(key)
        yield from self._record(claim, lambda current: modify_failed(current, problem, now))


def _with_class(volume: PersistentVolume, target: str) -> Intent | None:
    if attributes_class_of(volume) == target:
        return None
    return Update(with_spec(volume, volumeAttributesClassName=target))


def _forgotten(claim: PersistentVolumeClaim) -> PersistentVolumeClaim:
    status = status_of(claim)
    conditions = merged(status.conditions, None, MODIFY_CONDITIONS, keep=False)
    changed = replace(status, modifyVolumeStatus=None, conditions=conditions)
    return claim if changed == status else replace(claim, status=changed)
