"""One pass over a claim: gather the facts, pick the row, do it. Spec/volumes.md 1.4, 1.7, 1.9, 1.10.

bind() is four writes, each skipped when its result is there already, so a pass that was cut short anywhere is finished by the next one:

    1 volume: claimRef -> 2 volume: phase Bound -> 3 claim: volumeName, bind-completed -> 4 claim: phase Bound, modes, size
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from lightkube.models.core_v1 import PersistentVolume, PersistentVolumeClaim

from volsched.api.edit import annotations_of, uid_of, with_spec
from volsched.api.kinds import key_of, meta
from volsched.controllers.claim_users import is_terminated
from volsched.controllers.pv_binder import reasons
from volsched.controllers.pv_binder.changes import (
    IN_TREE_PREFIX,
    bound_claim,
    claim_status_bound,
    claim_status_unbound,
    claimed_volume,
    csi_name_of,
    is_class_unset,
    migrated_claim,
    phase_of,
    provisioner_claim,
    volume_in_phase,
)
from volsched.controllers.pv_binder.match import misfit
from volsched.controllers.pv_binder.operations import Operations
from volsched.controllers.pv_binder.state import State, claim_key, normal, warning
from volsched.controllers.pv_binder.tables import ClaimFacts, ClaimRow, classify_claim
from volsched.errors import ApiError, ReconcileError
from volsched.ports import Steps
from volsched.rules.selectors import SelectorError
from volsched.rules.volumes import ANN_BIND_COMPLETED, ANN_BOUND_BY_CONTROLLER, ANN_SELECTED_NODE, bound_to, class_of


@dataclass(frozen=True, slots=True)
class Case:
    """A claim with what its facts were drawn from. `volume`: the one found, or the one it names."""

    claim: PersistentVolumeClaim
    volume: PersistentVolume | None
    facts: ClaimFacts

    @property
    def known_volume(self) -> PersistentVolume:
        """The volume, in rows that have one."""
        assert self.volume is not None
        return self.volume


class ClaimPasses:
    """The passes of the claim queue."""

    def __init__(self, state: State, operations: Operations) -> None:
        self._state = state
        self._operations = operations
        self._actions: Final[Mapping[ClaimRow, Callable[[Case], Steps[None]]]] = {
            ClaimRow.U1: self._bind,
            ClaimRow.U2: self._take_default_class,
            ClaimRow.U3: self._wait_for_pod,
            ClaimRow.U4: self._provision,
            ClaimRow.U5: self._wait_for_volume,
            ClaimRow.N1: self._pending,
            ClaimRow.N2: self._bind,
            ClaimRow.N2_MISFIT: self._refuse_volume,
            ClaimRow.N3: self._bind,
            ClaimRow.N4: self._wait_for_other_claim,
            ClaimRow.N5: self._report_other_claim,
            ClaimRow.B1: self._lost_reference,
            ClaimRow.B2: self._lost_volume,
            ClaimRow.B3: self._bind,
            ClaimRow.B4: self._bind,
            ClaimRow.B5: self._misbound,
        }

    def run(self, namespace: str, name: str) -> Steps[None]:
        """One pass over a claim, if it still exists."""
        claim = self._state.claim(namespace, name)
        if claim is None:
            return
        migrated = migrated_claim(claim)
        if migrated is not claim:
            claim = yield from self._state.write(migrated)
        case = self.examine(claim)
        yield from self._actions[classify_claim(case.facts)](case)

    def examine(self, claim: PersistentVolumeClaim) -> Case:
        """Facts of a claim. What a row does not ask for is not looked up: the search and the default class only while unbound."""
        assert claim.spec is not None
        annotations = annotations_of(claim)
        completed = ANN_BIND_COMPLETED in annotations
        named = claim.spec.volumeName or ""
        searching = not completed and not named
        delayed = self._state.delays_binding(claim) if searching else False
        volume = self._search(claim, delayed=delayed) if searching else self._state.volume(named)
        reference = volume.spec.claimRef if volume is not None and volume.spec is not None else None
        known = volume is not None and not searching
        facts = ClaimFacts(
            bind_completed=completed,
            names_volume=bool(named),
            match_found=searching and volume is not None,
            takes_default=searching and volume is None and is_class_unset(claim) and self._state.default_class() is not None,
            waits_for_pod=delayed and ANN_SELECTED_NODE not in annotations,
            has_class=class_of(claim) != "",
            volume_known=known,
            volume_unclaimed=known and reference is None,
            volume_names_claim=known and volume is not None and bound_to(volume, claim),
            volume_has_uid=known and reference is not None and reference.uid == uid_of(claim),
            volume_fits=known and volume is not None and misfit(volume, claim) is None,
            bound_by_controller=ANN_BOUND_BY_CONTROLLER in annotations,
        )
        return Case(claim, volume, facts)

    def is_settled(self, claim: PersistentVolumeClaim) -> bool:
        """Whether a pass would do nothing: the claim is bound both ways and all of it is written."""
        if ANN_BIND_COMPLETED not in annotations_of(claim) or migrated_claim(claim) is not claim:
            return False
        case = self.examine(claim)
        if classify_claim(case.facts) is not ClaimRow.B4:
            return False
        volume = case.known_volume
        return (
            claimed_volume(volume, claim) is volume
            and volume_in_phase(volume, "Bound") is volume
            and bound_claim(claim, volume) is claim
            and claim_status_bound(claim, volume) is claim
        )

    def _search(self, claim: PersistentVolumeClaim, *, delayed: bool) -> PersistentVolume | None:
        try:
            return self._state.volumes.find(claim, delayed=delayed)
        except SelectorError as problem:
            raise ReconcileError(str(problem)) from problem

    # U1, N2, N3, B3, B4

    def _bind(self, case: Case) -> Steps[None]:
        claim, volume = case.claim, case.known_volume
        claimed = claimed_volume(volume, claim)
        if claimed is not volume:
            volume = yield from self._state.write(claimed)
        phased = volume_in_phase(volume, "Bound")
        if phased is not volume:
            volume = yield from self._state.write(phased, "status")
        linked = bound_claim(claim, volume)
        if linked is not claim:
            claim = yield from self._state.write(linked)
        finished = claim_status_bound(claim, volume)
        if finished is not claim:
            yield from self._state.write(finished, "status")

    # U2

    def _take_default_class(self, case: Case) -> Steps[None]:
        default = self._state.default_class()
        assert default is not None  # a condition of the row
        # the pass ends here; the event of this write starts the next one, with a class
        yield from self._state.write(with_spec(case.claim, storageClassName=meta(default).name))

    # U3, U5, N1, N2_MISFIT, N4, N5

    def _wait_for_pod(self, case: Case) -> Steps[None]:
        key = key_of(case.claim)
        pods = [
            meta(pod).name or ""
            for pod in self._state.users.of(key.namespace, key.name)
            if not is_terminated(pod) and not (pod.spec and pod.spec.nodeName)
        ]
        if pods:
            noun = "pod" if len(pods) == 1 else "pods"
            yield normal(case.claim, reasons.WAIT_FOR_POD_SCHEDULED, f"waiting for {noun} {','.join(pods)} to be scheduled")
        else:
            yield normal(case.claim, reasons.WAIT_FOR_FIRST_CONSUMER, "waiting for first consumer to be created before binding")
        yield from self._pending(case)

    def _wait_for_volume(self, case: Case) -> Steps[None]:
        text = "no persistent volumes available for this claim and no storage class is set"
        yield normal(case.claim, reasons.FAILED_BINDING, text)
        yield from self._pending(case)

    def _refuse_volume(self, case: Case) -> Steps[None]:
        volume = case.known_volume
        text = f'Cannot bind to requested volume "{meta(volume).name}": {misfit(volume, case.claim)}'
        yield warning(case.claim, reasons.VOLUME_MISMATCH, text)
        yield from self._pending(case)

    def _wait_for_other_claim(self, case: Case) -> Steps[None]:
        yield warning(case.claim, reasons.FAILED_BINDING, self._taken_text(case))
        yield from self._pending(case)

    def _report_other_claim(self, case: Case) -> Steps[None]:
        yield warning(case.claim, reasons.FAILED_BINDING, self._taken_text(case))
        raise ReconcileError(f"claim {claim_key(case.claim)}: {self._taken_text(case)}")

    @staticmethod
    def _taken_text(case: Case) -> str:
        return f'volume "{meta(case.known_volume).name}" already bound to a different claim.'

    def _pending(self, case: Case) -> Steps[None]:
        status = claim_status_unbound(case.claim, "Pending")
        if status is not case.claim:
            yield from self._state.write(status, "status")

    # B1, B2, B5

    def _lost_reference(self, case: Case) -> Steps[None]:
        text = "Bound claim has lost reference to PersistentVolume. Data on the volume is lost!"
        yield from self._lose(case, reasons.CLAIM_LOST, text)

    def _lost_volume(self, case: Case) -> Steps[None]:
        text = "Bound claim has lost its PersistentVolume. Data on the volume is lost!"
        yield from self._lose(case, reasons.CLAIM_LOST, text)

    def _misbound(self, case: Case) -> Steps[None]:
        text = "Two claims are bound to the same volume, this one is bound incorrectly"
        yield from self._lose(case, reasons.CLAIM_MISBOUND, text)

    def _lose(self, case: Case, reason: str, text: str) -> Steps[None]:
        if phase_of(case.claim) == "Lost":
            return
        lost = yield from self._state.write(claim_status_unbound(case.claim, "Lost"), "status")
        yield warning(lost, reason, text)

    # U4

    def _provision(self, case: Case) -> Steps[None]:
        claim, name = case.claim, class_of(case.claim)
        found = self._state.storage_class(name)
        if found is None:
            # noticed again by the resync: nothing here watches classes
            yield warning(claim, reasons.PROVISIONING_FAILED, f'storageclass.storage.k8s.io "{name}" not found')
            return
        provisioner = csi_name_of(found.provisioner) or found.provisioner
        if provisioner.startswith(IN_TREE_PREFIX):
            yield warning(claim, reasons.PROVISIONING_FAILED, f"no volume plugin matched name: {provisioner}")
            return
        key = key_of(claim)
        self._operations.schedule(
            f"provision-{key.namespace}/{key.name}[{uid_of(claim)}]",
            lambda: self._request_provisioner(key.namespace, key.name, uid_of(claim), provisioner),
        )

    def _request_provisioner(self, namespace: str, name: str, uid: str, provisioner: str) -> Steps[None]:
        """The operation of an external provisioner: name it on the claim, say that it is waited for."""
        claim = self._state.claim(namespace, name)
        if claim is None or uid_of(claim) != uid or (claim.spec and claim.spec.volumeName):
            return  # deleted or bound since the pass that asked for this
        marked = provisioner_claim(claim, provisioner)
        if marked is not claim:
            try:
                claim = yield from self._state.write(marked)
            except ApiError as problem:
                yield warning(claim, reasons.PROVISIONING_FAILED, f"Error saving claim: {problem}")
                raise
        text = (
            f"Waiting for a volume to be created either by the external provisioner '{provisioner}' or manually by the system "
            "administrator. If volume creation is delayed, please verify that the provisioner is running and correctly registered."
        )
        yield normal(claim, reasons.EXTERNAL_PROVISIONING, text)
