"""File systems that follow their volumes: the kubelet's part of an expansion.

    claim NodeResizePending ──> NodeResizeInProgress ──> NodeExpandVolume ──> claim's size, conditions off

It happens while the volume is mounted for a pod that starts, before the pod runs, and for pods that run already. The state in the claim
decides: without a pending state nothing is done, and NodeResizeInfeasible is left to the resizer, which may set it back. A refusal with
FailedPrecondition keeps this node from trying again and does not keep the pod from starting. Of several nodes that have the volume, the
first one finishes the claim. Source: pkg/volume/util/operationexecutor/node_expander.go, pkg/volume/csi/expander.go; spec/volumes.md 5.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from lightkube.models.core_v1 import PersistentVolume, PersistentVolumeClaim, Pod

from volsched.api.kinds import meta
from volsched.api.quantity import Quantity
from volsched.cache.view import View
from volsched.controllers.csi_common import amend, quoted, time_of
from volsched.controllers.kubelet_mounter import FAILED_MOUNT, Mounter, device_of
from volsched.controllers.kubelet_mounts import Device
from volsched.controllers.kubelet_volumes import CsiVolume
from volsched.controllers.resizer_status import NODE_ERROR, finished, node_begun, progress_of, refused
from volsched.controllers.resizer_tables import EXPANSION_REFUSED, Progress, Verdict
from volsched.errors import CsiError, NotFoundError, ReconcileError
from volsched.ports import Clock, Emit, Intent, Read, Steps, Update
from volsched.rules.volumes import capacity_of, requested_storage

_PENDING: Final = frozenset({Progress.NODE_PENDING, Progress.NODE})


def awaits_node(claim: PersistentVolumeClaim | None) -> bool:
    """Whether a claim's volume has grown and its file system has not."""
    return claim is not None and progress_of(claim) in _PENDING


class Expander:
    """Expands on all nodes."""

    def __init__(self, clock: Clock, view: View, mounter: Mounter) -> None:
        self._clock = clock
        self._view = view
        self._mounter = mounter
        self._refused: set[Device] = set()  # FailedPrecondition: not on this node
        self._failed: set[Device] = set()  # the last answer was final and no success

    def claim_of(self, volume: CsiVolume) -> PersistentVolumeClaim | None:
        """The claim of a pod's volume, None for volumes that have none."""
        reference = volume.volume.spec.claimRef if volume.volume and volume.volume.spec else None
        if reference is None:
            return None
        found: PersistentVolumeClaim | None = self._view.get("PersistentVolumeClaim", reference.namespace or "", reference.name or "")
        return found

    def is_due(self, node: str, volume: CsiVolume) -> bool:
        """Whether a mounted volume has to be expanded on the node now."""
        return device_of(node, volume) not in self._refused and awaits_node(self.claim_of(volume))

    def expand(self, pod: Pod, node: str, volume: CsiVolume, *, starting: bool) -> Steps[None]:
        """Have a mounted volume's file system grown. A failure is told to the pod and raised. `starting`: the pod waits for it."""
        claim, device = self.claim_of(volume), device_of(node, volume)
        if claim is None or volume.volume is None:
            return
        with self._mounter.held(device):
            if not (yield from self._mounter.can_expand(node, volume)):
                return
            # The resizer writes the volume's size before it writes the claim; the own view may have seen the claim alone.
            pv: PersistentVolume = yield Read("PersistentVolume", "", meta(volume.volume).name or "")
            size = capacity_of(pv)
            yield from self._record(claim, lambda current: node_begun(current) if awaits_node(current) else current)
            try:
                yield (yield from self._mounter.expand_call(pod, node, volume, size_bytes=size.value()))
            except (CsiError, ReconcileError) as problem:
                yield from self._fail(pod, claim, volume, device, problem, starting=starting, size=size)
                return
            self._failed.discard(device)
            text = f"MountVolume.NodeExpandVolume succeeded for volume {quoted(volume.path_name)} {node}"
            yield Emit(pod, "Normal", "FileSystemResizeSuccessful", text)
            yield Emit(claim, "Normal", "FileSystemResizeSuccessful", text)
            yield from self._record(claim, lambda current: finished(current, size) if awaits_node(current) else current)

    def _fail(
        self,
        pod: Pod,
        claim: PersistentVolumeClaim,
        volume: CsiVolume,
        device: Device,
        problem: Exception,
        *,
        starting: bool,
        size: Quantity,
    ) -> Steps[None]:
        verdict = EXPANSION_REFUSED[problem.code] if isinstance(problem, CsiError) else Verdict.UNKNOWN
        cause = f"Expander.NodeExpand failed to expand the volume: {problem}"
        if verdict is Verdict.IN_USE:
            self._refused.add(device)
        if verdict is not Verdict.UNKNOWN:
            # A user who meanwhile asks for another size is helped by the controller, which sees the infeasible state only.
            hopeless = verdict is Verdict.INFEASIBLE or (device in self._failed and requested_storage(claim) != size)
            self._failed.add(device)
            state, now = (Progress.NODE_INFEASIBLE if hopeless else None), time_of(self._clock.now_ns())
            yield from self._record(claim, lambda current: refused(current, cause, now, kind=NODE_ERROR, infeasible=state))
            if verdict is Verdict.IN_USE:
                return
        what = "MountVolume.MountDevice failed while expanding volume" if starting else "NodeExpandVolume.NodeExpandVolume failed"
        text = f"{what} for volume {quoted(volume.path_name)} : {cause}"
        yield Emit(pod, "Warning", FAILED_MOUNT if starting else "VolumeResizeFailed", text)
        if verdict is not Verdict.INFEASIBLE:
            raise ReconcileError(text)

    def _record(self, claim: PersistentVolumeClaim, change: Callable[[PersistentVolumeClaim], PersistentVolumeClaim]) -> Steps[None]:
        def write(current: PersistentVolumeClaim) -> Intent | None:
            changed = change(current)
            return None if changed is current else Update(changed, subresource="status")

        try:
            self._view.put((yield from amend(claim, write)))
        except NotFoundError:
            return
