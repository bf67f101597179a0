"""Giving a pod its volumes: assume, write, wait, or take it all back.

    plan ──reserve──> PodVolumes ──bind──> every PV written (claimRef), then every PVC (selected-node)
                          │                     │ poll once a second: has the PV controller / the provisioner finished?
                          │                     ├─ everything bound        -> done
                          │                     ├─ not yet                 -> wait, at most `timeout_s`
                          │                     └─ it went another way     -> ReconcileError("binding volumes: …")
                          └──unreserve──> as before

With exact capacity the selected node comes with the capacity objects in which the claim holds room, so that they are known after a restart.

Nothing is rolled back in the API: a volume written for a claim stays reserved for it, a claim keeps its selected node, and the next attempt
or the controllers make the best of that. Only the assumptions of this process are dropped.

Source: pkg/scheduler/framework/plugins/volumebinding/binder.go, component-helpers/storage/volume/pv_helpers.go (GetBindVolumeToClaim);
spec/scheduling.md 4.6, spec/volumes.md 1.12.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, Protocol

from lightkube.models.core_v1 import ObjectReference, PersistentVolume, PersistentVolumeClaim, Pod

from volsched.api.edit import annotations_of, labels_of, version_of, with_annotations, with_spec
from volsched.api.kinds import meta
from volsched.cache.assume_cache import AssumeCache, object_key
from volsched.engine.decision import VolumePlan
from volsched.errors import ApiError, ReconcileError
from volsched.ports import Pause, Steps, Update
from volsched.rules.capacity import ANN_STORAGE_CAPACITY
from volsched.rules.topology import pv_reachable
from volsched.rules.translation import TranslationError, translate_for_node
from volsched.rules.volumes import ANN_BOUND_BY_CONTROLLER, ANN_SELECTED_NODE, bound_to, claim_names, is_fully_bound

POLL_S: Final = 1.0
BIND_TIMEOUT_S: Final = 600


class StaticClaim(NamedTuple):
    """A claim and the volume bound to it, as changed by reserve."""

    volume: PersistentVolume
    claim: PersistentVolumeClaim


@dataclass(slots=True)
class PodVolumes:
    """What was decided for one pod on one node, with the objects as they are to be written.

    `all_bound`: nothing was left to do when the pod was reserved, so there is nothing to write or to wait for.
    `static` holds what the API answered once a volume is written; `dynamic` keeps the assumed copies, so that dropping an assumption
    compares with the version it was made from (upstream's records differ in the same way).
    """

    node: str
    all_bound: bool = False
    static: list[StaticClaim] = field(default_factory=list)
    dynamic: list[PersistentVolumeClaim] = field(default_factory=list)


class Lookup(Protocol):
    """An informer's `get`: the object or None."""

    def __call__(self, kind: str, namespace: str, name: str, /) -> Any | None: ...


def bind_volume_to_claim(pv: PersistentVolume, pvc: PersistentVolumeClaim) -> tuple[PersistentVolume, bool]:
    """The volume with a claimRef to this claim, and whether that changed it.

    A volume that the user reserved for the claim is not marked as bound by a controller: it must not be freed on unbind.
    """
    claim = meta(pvc)
    reserved = bound_to(pv, pvc)
    reference = pv.spec.claimRef if pv.spec else None
    changed = pv
    identity = (claim.namespace or "", claim.name or "", claim.uid or "")
    if reference is None or (reference.namespace or "", reference.name or "", reference.uid or "") != identity:
        changed = with_spec(
            pv,
            claimRef=ObjectReference(
                apiVersion="v1",
                kind="PersistentVolumeClaim",
                namespace=claim.namespace,
                name=claim.name,
                uid=claim.uid,
                resourceVersion=claim.resourceVersion,
            ),
        )
    if not reserved and ANN_BOUND_BY_CONTROLLER not in annotations_of(pv):
        changed = with_annotations(changed, {ANN_BOUND_BY_CONTROLLER: "yes"})
    return changed, changed is not pv


class VolumeBinder:
    """Reserve, Unreserve and PreBind of VolumeBinding over the two assume caches.

    `lookup` reads Node, Pod and CSINode as the informers have them. `changed(kind, key)` is called when what readers see of a volume or
    claim may have changed.
    """

    def __init__(
        self,
        volumes: AssumeCache[PersistentVolume],
        claims: AssumeCache[PersistentVolumeClaim],
        *,
        lookup: Lookup,
        changed: Callable[[str, str], None],
    ) -> None:
        self._volumes = volumes
        self._claims = claims
        self._lookup = lookup
        self._changed = changed

    # Reserve and Unreserve

    def reserve(self, pod: Pod, node: str, plan: VolumePlan) -> PodVolumes:
        """Assume every volume and claim of the plan. Raises ConflictError or NotFoundError when an object has moved on since the decision;
        then nothing is left assumed."""
        keys = self._claim_keys(pod)
        claims = [self._claims.find(key) for key in keys]
        if all(claim is not None and is_fully_bound(claim) for claim in claims):
            return PodVolumes(node, all_bound=True)
        reserved = PodVolumes(node)
        try:
            for binding in plan.bind:
                claim = self._claims.get(binding.claim)
                volume, dirty = bind_volume_to_claim(self._volumes.get(binding.volume), claim)
                if dirty:
                    self._volumes.assume(volume)
                    self._changed("PersistentVolume", object_key(volume))
                reserved.static.append(StaticClaim(volume, claim))
            for provisioning in plan.provision:
                marks = {ANN_SELECTED_NODE: node}
                if provisioning.holds:
                    marks[ANN_STORAGE_CAPACITY] = ",".join(provisioning.holds)
                claim = with_annotations(self._claims.get(provisioning.claim), marks)
                self._claims.assume(claim)
                self._changed("PersistentVolumeClaim", object_key(claim))
                reserved.dynamic.append(claim)
        except ApiError:
            self.unreserve(reserved)
            raise
        return reserved

    def unreserve(self, volumes: PodVolumes) -> None:
        """Drop the assumptions made by reserve, those that nothing has replaced yet. Safe to repeat."""
        self._restore_volumes(pair.volume for pair in volumes.static)
        self._restore_claims(volumes.dynamic)

    def _restore_volumes(self, volumes: Any) -> None:
        for volume in volumes:
            if self._volumes.restore(volume):
                self._changed("PersistentVolume", object_key(volume))

    def _restore_claims(self, claims: Any) -> None:
        for claim in claims:
            if self._claims.restore(claim):
                self._changed("PersistentVolumeClaim", object_key(claim))

    @staticmethod
    def _claim_keys(pod: Pod) -> list[str]:
        namespace = meta(pod).namespace or "default"
        return [f"{namespace}/{claim}" for _, claim, _ in claim_names(pod)]

    # PreBind

    def writes(self, volumes: PodVolumes) -> tuple[Update, ...]:
        """The API writes that carry the reservation out, in order."""
        if volumes.all_bound:
            return ()
        return (*(Update(pair.volume) for pair in volumes.static), *(Update(claim) for claim in volumes.dynamic))

    def bind(
        self,
        pod: Pod,
        volumes: PodVolumes,
        *,
        timeout_s: float = BIND_TIMEOUT_S,
        interrupted: Callable[[], str | None] = lambda: None,
    ) -> Steps[None]:
        """Write, then poll until everything is bound. Raises ReconcileError with upstream's text.

        `interrupted` is asked before each poll; a text ends the wait with it.
        """
        if volumes.all_bound:
            return
        static: list[StaticClaim] = []
        dynamic: list[PersistentVolumeClaim] = []
        try:
            for index, pair in enumerate(volumes.static):
                written: PersistentVolume = yield Update(pair.volume)
                volumes.static[index] = StaticClaim(written, pair.claim)
                static.append(volumes.static[index])
            for claim in volumes.dynamic:
                dynamic.append((yield Update(claim)))
        except ApiError as refused:
            # what was written stays assumed until the informer tells of it; the rest is not going to happen
            self._restore_volumes(pair.volume for pair in volumes.static[len(static) :])
            self._restore_claims(volumes.dynamic[len(dynamic) :])
            raise ReconcileError(f"binding volumes: {refused}") from refused
        waited_s = 0.0
        while waited_s + POLL_S < timeout_s:
            yield Pause(POLL_S)
            waited_s += POLL_S
            reason = interrupted()
            if reason is not None:
                raise ReconcileError(reason)
            if self.check(pod, volumes.node, static, dynamic):
                return
        # of the last tick and the deadline, which fall on one instant, the deadline wins
        yield Pause(max(timeout_s - waited_s, 0.0))
        raise ReconcileError("binding volumes: context deadline exceeded")

    def check(self, pod: Pod, node: str, static: list[StaticClaim], dynamic: list[PersistentVolumeClaim]) -> bool:
        """One poll: True when everything is bound, False to wait on. Raises ReconcileError when it cannot come true any more.

        Both lists hold what the API answered to the writes: older versions in the caches only mean that the event is still to come.
        """
        bound_node = self._lookup("Node", "", node)
        if bound_node is None:
            raise ReconcileError(f'binding volumes: failed to get node "{node}": node "{node}" not found')
        csi_node = self._lookup("CSINode", "", node)  # missing: no in-tree volume is translated
        metadata = meta(pod)
        if self._lookup("Pod", metadata.namespace or "default", metadata.name or "") is None:
            raise ReconcileError(f'binding volumes: pod does not exist any more: pod "{metadata.name}" not found')

        for pair in static:
            pv = self._stored(self._volumes, object_key(pair.volume), "failed to check binding: ")
            pvc = self._stored(self._claims, object_key(pair.claim), "failed to check binding: ")
            if version_of(pv) < version_of(pair.volume):
                return False
            self._check_reachable(pv, bound_node, csi_node, translation_prefix="failed to translate pv to csi: ")
            reference = pv.spec.claimRef if pv.spec else None
            if reference is None or not reference.uid:
                raise ReconcileError(f'binding volumes: ClaimRef got reset for pv "{meta(pv).name}"')
            if not is_fully_bound(pvc):  # to which volume is the PV controller's business
                return False

        for claim in dynamic:
            pvc = self._stored(self._claims, object_key(claim), "failed to check provisioning pvc: ")
            if version_of(pvc) < version_of(claim):
                return False
            annotations = annotations_of(pvc)
            if not annotations:
                raise ReconcileError(f'binding volumes: selectedNode annotation reset for PVC "{meta(pvc).name}"')
            if annotations.get(ANN_SELECTED_NODE, "") != node:
                raise ReconcileError(f'binding volumes: provisioning failed for PVC "{meta(pvc).name}"')
            volume_name = (pvc.spec.volumeName if pvc.spec else None) or ""
            if volume_name:
                volume = self._volumes.find_stored(volume_name)
                if volume is None:
                    return False  # the claim's event came first
                self._check_reachable(volume, bound_node, csi_node, translation_prefix="")
            if not is_fully_bound(pvc):
                return False
        return True

    @staticmethod
    def _stored(cache: AssumeCache[Any], key: str, prefix: str) -> Any:
        try:
            return cache.get_stored(key)
        except ApiError as missing:
            raise ReconcileError(f"binding volumes: {prefix}{missing}") from missing

    @staticmethod
    def _check_reachable(pv: PersistentVolume, node: Any, csi_node: Any | None, *, translation_prefix: str) -> None:
        try:
            seen = translate_for_node(pv, csi_node)
        except TranslationError as failure:
            raise ReconcileError(f"binding volumes: {translation_prefix}{failure}") from failure
        if not pv_reachable(seen, labels_of(node)):
            mismatch = f'pv "{meta(pv).name}" node affinity doesn\'t match node "{meta(node).name}"'
            raise ReconcileError(f"binding volumes: {mismatch}: no matching NodeSelectorTerms")
