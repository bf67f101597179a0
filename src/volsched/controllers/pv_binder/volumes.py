"""One pass over a volume: gather the facts, pick the row, do it; and what becomes of released volumes. Spec/volumes.md 1.8, 1.8.1.

A volume is released only when the API server itself says that its claim is gone: a volume that a provisioner or the scheduler has just
tied to a claim may be seen here before the claim is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from lightkube.models.core_v1 import PersistentVolume, PersistentVolumeClaim

from volsched.api.edit import annotations_of, finalizers_of, is_deleting, uid_of, with_finalizers
from volsched.api.kinds import meta
from volsched.controllers.claim_users import is_terminated
from volsched.controllers.pv_binder import reasons
from volsched.controllers.pv_binder.changes import (
    FINALIZER_IN_TREE,
    IN_TREE_PREFIX,
    migrated_volume,
    phase_of,
    unbound_volume,
    volume_in_phase,
)
from volsched.controllers.pv_binder.in_tree import deletion_problem, is_recyclable
from volsched.controllers.pv_binder.operations import Operations
from volsched.controllers.pv_binder.state import State, claim_item, normal, warning
from volsched.controllers.pv_binder.tables import (
    ReclaimFacts,
    ReclaimRow,
    VolumeFacts,
    VolumeRow,
    classify_reclaim,
    classify_volume,
)
from volsched.errors import NotFoundError, ReconcileError
from volsched.ports import Delete, Read, Steps
from volsched.rules.volumes import ANN_BOUND_BY_CONTROLLER, ANN_MIGRATED_TO, ANN_PROVISIONED_BY, volume_mode_of


@dataclass(frozen=True, slots=True)
class Case:
    """A volume, and its claim if that exists with the uid of the reference."""

    volume: PersistentVolume
    claim: PersistentVolumeClaim | None
    facts: VolumeFacts


class VolumePasses:
    """The passes of the volume queue, and the operations that reclaim volumes."""

    def __init__(self, state: State, operations: Operations) -> None:
        self._state = state
        self._operations = operations
        self._actions: Final[Mapping[VolumeRow, Callable[[Case], Steps[None]]]] = {
            VolumeRow.V1: self._available,
            VolumeRow.V2: self._available,
            VolumeRow.V3: self._release,
            VolumeRow.V4: self._look_at_claim,
            VolumeRow.V4_MISFIT: self._report_modes,
            VolumeRow.V5: self._bound,
            VolumeRow.V6: self._release,
            VolumeRow.V7_DROP: self._unbind,
            VolumeRow.V7_CLEAR: self._unbind,
        }
        self._reclaims: Final[Mapping[ReclaimRow, Callable[[PersistentVolume], Steps[None]]]] = {
            ReclaimRow.MIGRATED: self._leave,
            ReclaimRow.RETAIN: self._leave,
            ReclaimRow.EXTERNAL: self._leave,
            ReclaimRow.IN_TREE: self._schedule_delete,
            ReclaimRow.RECYCLE: self._schedule_recycle,
            ReclaimRow.UNKNOWN: self._unknown_policy,
        }

    def run(self, name: str) -> Steps[None]:
        """One pass over a volume, if it still exists."""
        volume = self._state.volume(name)
        if volume is None:
            return
        migrated = migrated_volume(volume)
        if migrated is not volume:
            volume = yield from self._state.write(migrated)
        case = yield from self.examine(volume)
        yield from self._actions[classify_volume(case.facts)](case)

    def examine(self, volume: PersistentVolume) -> Steps[Case]:
        """Facts of a volume; asks the API server before it calls a claim gone."""
        assert volume.spec is not None
        reference = volume.spec.claimRef
        has_uid = reference is not None and bool(reference.uid)
        claim = (yield from self._claim_of(volume)) if has_uid else None
        claim_volume = (claim.spec.volumeName if claim and claim.spec else None) or ""
        annotations = annotations_of(volume)
        facts = VolumeFacts(
            claimed=reference is not None,
            has_uid=has_uid,
            claim_found=claim is not None,
            claim_unbound=claim is not None and not claim_volume,
            claim_names_volume=claim is not None and claim_volume == meta(volume).name,
            modes_differ=claim is not None and volume_mode_of(claim) != volume_mode_of(volume),
            provisioned_for_it=ANN_PROVISIONED_BY in annotations and volume.spec.persistentVolumeReclaimPolicy == "Delete",
            bound_by_controller=ANN_BOUND_BY_CONTROLLER in annotations,
        )
        return Case(volume, claim, facts)

    def is_settled(self, volume: PersistentVolume) -> bool:
        """Whether a pass would do nothing: free and Available, or bound both ways and Bound."""
        reference = volume.spec.claimRef if volume.spec else None
        if migrated_volume(volume) is not volume:
            return False
        if reference is None or not reference.uid:
            return phase_of(volume) == "Available"
        claim = self._state.claim(reference.namespace or "", reference.name or "")
        return (
            phase_of(volume) == "Bound"
            and claim is not None
            and uid_of(claim) == reference.uid
            and claim.spec is not None
            and claim.spec.volumeName == meta(volume).name
        )

    def _claim_of(self, volume: PersistentVolume) -> Steps[PersistentVolumeClaim | None]:
        """The claim that the volume is bound to, by uid."""
        assert volume.spec is not None and volume.spec.claimRef is not None
        reference = volume.spec.claimRef
        namespace, name = reference.namespace or "", reference.name or ""
        claim = self._state.claim(namespace, name)
        if claim is not None and uid_of(claim) == reference.uid:
            return claim
        if claim is None and phase_of(volume) in ("Released", "Failed"):
            return None
        try:
            claim = yield Read("PersistentVolumeClaim", namespace, name)
        except NotFoundError:
            return None
        self._state.put(claim)
        return claim if uid_of(claim) == reference.uid else None

    # V1, V2, V5

    def _available(self, case: Case) -> Steps[None]:
        yield from self._to_phase(case.volume, "Available")

    def _bound(self, case: Case) -> Steps[None]:
        yield from self._to_phase(case.volume, "Bound")

    def _to_phase(self, volume: PersistentVolume, phase: str) -> Steps[PersistentVolume]:
        phased = volume_in_phase(volume, phase)
        if phased is not volume:
            volume = yield from self._state.write(phased, "status")
        return volume

    def _to_failed(self, volume: PersistentVolume, reason: str, text: str) -> Steps[None]:
        """Phase Failed with its message; the event comes with the change of phase only."""
        failed = volume_in_phase(volume, "Failed", text)
        if failed is not volume:
            saved = yield from self._state.write(failed, "status")
            yield warning(saved, reason, text)

    # V4

    def _look_at_claim(self, case: Case) -> Steps[None]:
        """The claim's own pass finishes the binding; nothing is written here."""
        assert case.claim is not None
        metadata = meta(case.claim)
        self._state.agenda.now(claim_item(metadata.namespace or "", metadata.name or ""))
        yield from ()

    def _report_modes(self, case: Case) -> Steps[None]:
        assert case.claim is not None
        volume, claim = meta(case.volume).name, meta(case.claim).name
        text = f'Cannot bind PersistentVolume to requested PersistentVolumeClaim "{claim}" due to incompatible volumeMode.'
        yield warning(case.volume, reasons.VOLUME_MISMATCH, text)
        text = f'Cannot bind PersistentVolume "{volume}" to requested PersistentVolumeClaim due to incompatible volumeMode.'
        yield warning(case.claim, reasons.VOLUME_MISMATCH, text)

    # V7

    def _unbind(self, case: Case) -> Steps[None]:
        yield from self._free(case.volume)

    def _free(self, volume: PersistentVolume) -> Steps[None]:
        volume = yield from self._state.write(unbound_volume(volume))
        yield from self._to_phase(volume, "Available")

    # V3, V6

    def _release(self, case: Case) -> Steps[None]:
        volume = case.volume
        if phase_of(volume) not in ("Released", "Failed"):
            volume = yield from self._to_phase(volume, "Released")
        yield from self._reclaims[classify_reclaim(reclaim_facts(volume))](volume)

    def _leave(self, volume: PersistentVolume) -> Steps[None]:
        """Somebody else's business."""
        yield from ()

    def _unknown_policy(self, volume: PersistentVolume) -> Steps[None]:
        yield from self._to_failed(volume, reasons.VOLUME_UNKNOWN_RECLAIM_POLICY, "Volume has unrecognized reclaim policy")

    def _schedule_delete(self, volume: PersistentVolume) -> Steps[None]:
        self._schedule("delete", volume, self._delete)
        yield from ()

    def _schedule_recycle(self, volume: PersistentVolume) -> Steps[None]:
        self._schedule("recycle", volume, self._recycle)
        yield from ()

    def _schedule(self, verb: Literal["delete", "recycle"], volume: PersistentVolume, operation: Callable[[str, str], Steps[None]]) -> None:
        name, uid = meta(volume).name or "", uid_of(volume)
        self._operations.schedule(f"{verb}-{name}[{uid}]", lambda: operation(name, uid))

    def _still_released(self, name: str, uid: str) -> Steps[PersistentVolume | None]:
        """The volume as it is now, None unless it still has to be reclaimed: an operation may have waited.

        One that is being deleted goes by itself, unless the finalizer says that its storage has to go first.
        """
        try:
            volume: PersistentVolume = yield Read("PersistentVolume", "", name)
        except NotFoundError:
            return None
        if uid_of(volume) != uid or (is_deleting(volume) and FINALIZER_IN_TREE not in finalizers_of(volume)):
            return None
        self._state.put(volume)
        return volume if is_released(volume, self._state) else None

    def _delete(self, name: str, uid: str) -> Steps[None]:
        """Operation: delete the storage, then the volume. What cannot be deleted fails, now and at every later pass."""
        volume = yield from self._still_released(name, uid)
        if volume is None:
            return
        problem = deletion_problem(volume)
        if problem is not None:
            yield from self._to_failed(volume, reasons.VOLUME_FAILED_DELETE, problem)
            raise ReconcileError(problem)
        if FINALIZER_IN_TREE in finalizers_of(volume):
            volume = yield from self._state.write(with_finalizers(volume, remove=[FINALIZER_IN_TREE]))
        try:
            yield Delete("PersistentVolume", "", name, uid=uid)
        except NotFoundError:
            return  # somebody deleted it already, and only the finalizer was left

    def _recycle(self, name: str, uid: str) -> Steps[None]:
        """Operation: wait until no pod uses the released claim any more, then empty the volume for the next claim."""
        volume = yield from self._still_released(name, uid)
        if volume is None:
            return
        assert volume.spec is not None and volume.spec.claimRef is not None
        namespace, claim = volume.spec.claimRef.namespace or "", volume.spec.claimRef.name or ""
        pods = [f"{namespace}/{meta(pod).name}" for pod in self._state.users.of(namespace, claim) if not is_terminated(pod)]
        # a claim of the same name that exists is another one, bound elsewhere: pods that name it do not use this volume
        if pods and self._state.claim(namespace, claim) is None:
            yield normal(volume, reasons.VOLUME_FAILED_RECYCLE, f"Volume is used by pods: {','.join(pods)}")
            return
        if not is_recyclable(volume):
            yield from self._to_failed(volume, reasons.VOLUME_FAILED_RECYCLE, "No recycler plugin found for the volume!")
            return
        yield normal(volume, reasons.VOLUME_RECYCLED, "Volume recycled")
        yield from self._free(volume)


def reclaim_facts(volume: PersistentVolume) -> ReclaimFacts:
    """Facts of a released volume."""
    assert volume.spec is not None
    annotations, policy = annotations_of(volume), volume.spec.persistentVolumeReclaimPolicy
    provisioner = annotations.get(ANN_PROVISIONED_BY, "")
    return ReclaimFacts(
        migrated=bool(annotations.get(ANN_MIGRATED_TO)),
        retain=policy == "Retain",
        delete=policy == "Delete",
        recycle=policy == "Recycle",
        external=volume.spec.csi is not None or (bool(provisioner) and not provisioner.startswith(IN_TREE_PREFIX)),
    )


def is_released(volume: PersistentVolume, state: State) -> bool:
    """Whether a volume still waits for its reclaim: its claim is gone, was replaced, or is bound to another volume."""
    reference = volume.spec.claimRef if volume.spec else None
    if reference is None or not reference.uid:
        return False
    claim = state.claim(reference.namespace or "", reference.name or "")
    if claim is None or uid_of(claim) != reference.uid:
        return True
    named = (claim.spec.volumeName if claim.spec else None) or ""
    return bool(named) and named != meta(volume).name
