"""Finalizers that keep claims, volumes and attributes classes from vanishing while they are used, and the claims' condition `Unused`.

    object changed, or something that may use it ──> missing and not deleting: add ── deleting and unused: remove ── else: nothing

A claim's finalizer goes when no scheduled pod names it: first the own view says so, then a live LIST of the namespace's pods, made once for
all claims of the namespace that wait together. A volume's goes when its phase is not Bound. A VolumeAttributesClass's goes when no volume
and no claim refers to it, by the own view and then by live LISTs.

The condition `Unused` (Kubernetes 1.37) is kept for claims that are Bound and not being deleted, and counts every pod that has not ended,
scheduled or not. It is written when it flips or is missing, so the first time just after the claim became Bound; any other claim keeps what
it has.
Source: pkg/controller/volume/{pvcprotection,pvprotection,vacprotection}; spec/volumes.md 2.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from lightkube.models.core_v1 import (
    PersistentVolume,
    PersistentVolumeClaim,
    PersistentVolumeClaimCondition,
    PersistentVolumeClaimStatus,
    Pod,
)
from lightkube.models.storage_v1 import VolumeAttributesClass

from volsched.api.edit import finalizers_of, is_deleting, replace, with_finalizers
from volsched.api.watch import WatchEvent
from volsched.cache.view import View
from volsched.controllers.claim_users import ClaimUsers, blocks_claim_deletion, claims_of, is_terminated, names_claim
from volsched.controllers.csi_common import time_of
from volsched.controllers.decision_table import ANY, DecisionTable
from volsched.errors import ApiError
from volsched.ports import DONE, Clock, Done, ListAll, QueueSpec, Requeue, Steps, Update, WorkItem
from volsched.rules.volumes import attributes_class_of

PVC_PROTECTION: Final = "kubernetes.io/pvc-protection"
PV_PROTECTION: Final = "kubernetes.io/pv-protection"
VAC_PROTECTION: Final = "kubernetes.io/vac-protection"
UNUSED: Final = "Unused"

_USER: Final = "kube-controller-manager"
_BOOL: Final = (False, True)


class Guard(enum.Enum):
    """What a pass does with a protection finalizer."""

    ADD = "missing on a living object: add it"
    KEEP = "nothing to do"
    HOLD = "being deleted and used: keep it"
    REMOVE = "being deleted and not used, as far as is known: make sure, then remove it"


# fmt: off
GUARD_TABLE: Final = DecisionTable[Guard](dict.fromkeys(("deleting", "present", "used"), _BOOL), (
    #              deleting present used
    (Guard.ADD,    (False,  False,  ANY)),
    (Guard.KEEP,   (False,  True,   ANY)),
    (Guard.KEEP,   (True,   False,  ANY)),
    (Guard.HOLD,   (True,   True,   True)),
    (Guard.REMOVE, (True,   True,   False)),
))
# fmt: on


class Unused(NamedTuple):
    """One value of the condition."""

    status: str
    reason: str
    message: str


IS_UNUSED: Final = Unused("True", "NoPodsUsingPVC", "No pods are currently referencing this PVC")
IS_USED: Final = Unused("False", "PodUsingPVC", "A pod is currently referencing this PVC")


def guard_of(obj: PersistentVolume | PersistentVolumeClaim | VolumeAttributesClass, finalizer: str, *, used: bool) -> Guard:
    """The row for an object and its protection finalizer."""
    return GUARD_TABLE.decide(deleting=is_deleting(obj), present=finalizer in finalizers_of(obj), used=used)


def wanted_condition(claim: PersistentVolumeClaim, *, used: bool) -> Unused | None:
    """The value the condition has to be given, None when it is to be left as it is."""
    if (claim.status.phase if claim.status else None) != "Bound" or is_deleting(claim):
        return None
    wanted = IS_USED if used else IS_UNUSED
    present = next((entry for entry in (claim.status.conditions if claim.status else None) or [] if entry.type == UNUSED), None)
    return None if present is not None and present.status == wanted.status else wanted


class ClaimProtection:
    """kube-controller-manager's pvc-protection controller. Queue key: a namespace, so that one LIST serves all its waiting claims."""

    name: str = _USER
    component: str = "pvc-protection-controller"
    kinds: frozenset[str] = frozenset({"PersistentVolumeClaim", "Pod"})
    queues: Mapping[str, QueueSpec] = {"namespaces": QueueSpec()}
    resync_s: float | None = None

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._view = View(self.kinds)
        self._users = ClaimUsers()
        self._waiting: dict[str, dict[str, None]] = {}  # namespace -> claims to look at

    def start(self) -> Steps[None]:
        yield from ()

    def observe(self, event: WatchEvent) -> Iterable[WorkItem]:
        old, taken = self._view.observe(event)
        if not taken:
            return ()
        if event.kind == "PersistentVolumeClaim":
            return self._look_at(event.key.namespace, [event.key.name])
        self._users.observe(event)
        # a pod of the same name may have come in place of another
        return self._look_at(event.key.namespace, dict.fromkeys([*(claims_of(old) if old else ()), *claims_of(event.object)]))

    def _look_at(self, namespace: str, claims: Iterable[str]) -> list[WorkItem]:
        names = list(claims)
        if not names:
            return []
        self._waiting.setdefault(namespace, {}).update(dict.fromkeys(names))
        return [WorkItem("namespaces", namespace)]

    def work(self, item: WorkItem) -> Steps[Done | Requeue]:
        namespace = item.key
        names = self._waiting.pop(namespace, {})
        pods = _LivePods(namespace)
        failure: ApiError | None = None
        for name in names:
            try:
                yield from self._protect(namespace, name, pods)
            except ApiError as problem:
                # one claim must not keep the others waiting; it is looked at again with the namespace's next pass
                failure = failure or problem
                self._waiting.setdefault(namespace, {})[name] = None
        if failure is not None:
            raise failure
        return DONE

    def _protect(self, namespace: str, name: str, pods: _LivePods) -> Steps[None]:
        claim: PersistentVolumeClaim | None = self._view.get("PersistentVolumeClaim", namespace, name)
        if claim is None:
            return
        users = list(self._users.of(namespace, name))
        guard = guard_of(claim, PVC_PROTECTION, used=any(blocks_claim_deletion(pod, claim) for pod in users))
        if guard is Guard.ADD:
            claim = yield from self._write(Update(with_finalizers(claim, add=[PVC_PROTECTION])))
        elif guard is Guard.REMOVE:
            live = yield from pods.get()
            if not any(blocks_claim_deletion(pod, claim) for pod in live):
                yield from self._write(Update(with_finalizers(claim, remove=[PVC_PROTECTION])))
            return
        used = any(names_claim(pod, claim) and not is_terminated(pod) for pod in users)
        wanted = wanted_condition(claim, used=used)
        if wanted is not None:
            yield from self._write(Update(self._with_condition(claim, wanted), "status"))

    def _with_condition(self, claim: PersistentVolumeClaim, wanted: Unused) -> PersistentVolumeClaim:
        status = claim.status or PersistentVolumeClaimStatus()
        made = PersistentVolumeClaimCondition(
            type=UNUSED,
            status=wanted.status,
            reason=wanted.reason,
            message=wanted.message,
            lastTransitionTime=time_of(self._clock.now_ns()),
        )
        conditions = [made if entry.type == UNUSED else entry for entry in status.conditions or []]
        if made not in conditions:
            conditions.append(made)
        return replace(claim, status=replace(status, conditions=conditions))

    def _write(self, intent: Update) -> Steps[PersistentVolumeClaim]:
        saved: PersistentVolumeClaim = yield intent
        self._view.put(saved)
        return saved

    def resync(self) -> Iterable[WorkItem]:
        return ()

    def wake_at_ns(self) -> int | None:
        return None

    def wake(self, now_ns: int) -> Iterable[WorkItem]:
        return ()


class _LivePods:
    """The pods of a namespace as the API server has them, asked for once and only if somebody needs them."""

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace
        self._pods: list[Pod] | None = None

    def get(self) -> Steps[list[Pod]]:
        if self._pods is None:
            self._pods = yield ListAll("Pod", self._namespace)
        return self._pods


class VolumeProtection:
    """kube-controller-manager's pv-protection controller."""

    name: str = _USER
    component: str = "pv-protection-controller"
    kinds: frozenset[str] = frozenset({"PersistentVolume"})
    queues: Mapping[str, QueueSpec] = {"volumes": QueueSpec()}
    resync_s: float | None = None

    def __init__(self) -> None:
        self._view = View(self.kinds)

    def start(self) -> Steps[None]:
        yield from ()

    def observe(self, event: WatchEvent) -> Iterable[WorkItem]:
        _, taken = self._view.observe(event)
        return [WorkItem("volumes", event.key.name)] if taken else ()

    def work(self, item: WorkItem) -> Steps[Done | Requeue]:
        volume: PersistentVolume | None = self._view.get("PersistentVolume", "", item.key)
        if volume is not None:
            guard = guard_of(volume, PV_PROTECTION, used=(volume.status.phase if volume.status else None) == "Bound")
            if guard is Guard.ADD:
                self._view.put((yield Update(with_finalizers(volume, add=[PV_PROTECTION]))))
            elif guard is Guard.REMOVE:
                self._view.put((yield Update(with_finalizers(volume, remove=[PV_PROTECTION]))))
        return DONE

    def resync(self) -> Iterable[WorkItem]:
        return ()

    def wake_at_ns(self) -> int | None:
        return None

    def wake(self, now_ns: int) -> Iterable[WorkItem]:
        return ()


def attributes_classes_of(obj: PersistentVolume | PersistentVolumeClaim) -> list[str]:
    """Names of the VolumeAttributesClasses that a volume or claim refers to: asked for, in force, or being changed to."""
    names = [attributes_class_of(obj)]
    if isinstance(obj, PersistentVolumeClaim) and obj.status is not None:
        names.append(obj.status.currentVolumeAttributesClassName or "")
        change = obj.status.modifyVolumeStatus
        names.append((change.targetVolumeAttributesClassName if change else None) or "")
    return list(dict.fromkeys(name for name in names if name))


class AttributesClassProtection:
    """kube-controller-manager's vac-protection controller."""

    name: str = _USER
    component: str = "vac-protection-controller"
    kinds: frozenset[str] = frozenset({"VolumeAttributesClass", "PersistentVolume", "PersistentVolumeClaim"})
    queues: Mapping[str, QueueSpec] = {"classes": QueueSpec()}
    resync_s: float | None = None

    def __init__(self) -> None:
        self._view = View(self.kinds)

    def start(self) -> Steps[None]:
        yield from ()

    def observe(self, event: WatchEvent) -> Iterable[WorkItem]:
        old, taken = self._view.observe(event)
        if not taken:
            return
        if event.kind == "VolumeAttributesClass":
            yield WorkItem("classes", event.key.name)
            return
        for name in dict.fromkeys([*(attributes_classes_of(old) if old else ()), *attributes_classes_of(event.object)]):
            yield WorkItem("classes", name)

    def work(self, item: WorkItem) -> Steps[Done | Requeue]:
        found: VolumeAttributesClass | None = self._view.get("VolumeAttributesClass", "", item.key)
        if found is None:
            return DONE
        users = ("PersistentVolume", "PersistentVolumeClaim")
        used = is_deleting(found) and any(item.key in attributes_classes_of(obj) for kind in users for obj in self._view.all(kind))
        guard = guard_of(found, VAC_PROTECTION, used=used)
        if guard is Guard.ADD:
            self._view.put((yield Update(with_finalizers(found, add=[VAC_PROTECTION]))))
        elif guard is Guard.REMOVE:
            for kind in users:
                live = yield ListAll(kind)
                if any(item.key in attributes_classes_of(obj) for obj in live):
                    return DONE  # the event of that object will come
            self._view.put((yield Update(with_finalizers(found, remove=[VAC_PROTECTION]))))
        return DONE

    def resync(self) -> Iterable[WorkItem]:
        return ()

    def wake_at_ns(self) -> int | None:
        return None

    def wake(self, now_ns: int) -> Iterable[WorkItem]:
        return ()
