"""Generic ephemeral volumes: makes the claim `<pod>-<volume>` of each, owned by the pod.

The pod owns the claim as its controller, so the garbage collector deletes it after the pod. A claim of that name that does not belong to
the pod is never touched: the pass fails with an event and is tried again, until somebody removes the claim or the pod. Only new pods and
vanished claims start a pass, since a pod's volumes never change.
Source: pkg/controller/volume/ephemeral/controller.go; spec/volumes.md 1.13, spec/scheduling.md 2.3.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from lightkube.models.core_v1 import EphemeralVolumeSource, PersistentVolumeClaim, Pod
from lightkube.models.meta_v1 import ObjectMeta, OwnerReference

from volsched.api.edit import is_deleting, uid_of
from volsched.api.kinds import key_of, meta
from volsched.api.watch import Change, WatchEvent
from volsched.cache.view import View
from volsched.controllers.claim_users import ClaimUsers
from volsched.errors import ApiError, ReconcileError
from volsched.ports import DONE, Create, Done, Emit, QueueSpec, Requeue, Steps, WorkItem
from volsched.rules.volumes import ephemeral_claim_name, is_owned_by_pod, not_owner_text

FAILED_BINDING: Final = "FailedBinding"


def new_claim(pod: Pod, name: str, source: EphemeralVolumeSource) -> PersistentVolumeClaim:
    """The claim of one ephemeral volume, from its template."""
    template = source.volumeClaimTemplate
    assert template is not None  # required by validation
    metadata, owner = template.metadata or ObjectMeta(), meta(pod)
    reference = OwnerReference(
        apiVersion="v1", kind="Pod", name=owner.name or "", uid=uid_of(pod), controller=True, blockOwnerDeletion=True
    )
    return PersistentVolumeClaim(
        apiVersion="v1",
        kind="PersistentVolumeClaim",
        metadata=ObjectMeta(
            name=name,
            namespace=key_of(pod).namespace,
            annotations=metadata.annotations,
            labels=metadata.labels,
            ownerReferences=[reference],
        ),
        spec=template.spec,
    )


class Ephemeral:
    """kube-controller-manager's ephemeral volume controller."""

    name: str = "kube-controller-manager"
    component: str = "ephemeral_volume"
    kinds: frozenset[str] = frozenset({"Pod", "PersistentVolumeClaim"})
    queues: Mapping[str, QueueSpec] = {"pods": QueueSpec()}
    resync_s: float | None = None

    def __init__(self) -> None:
        self._view = View(self.kinds)
        self._users = ClaimUsers()

    def start(self) -> Steps[None]:
        yield from ()

    def observe(self, event: WatchEvent) -> Iterable[WorkItem]:
        old, taken = self._view.observe(event)
        if event.kind == "PersistentVolumeClaim":
            if event.change is Change.DELETED:
                for pod in self._users.of(event.key.namespace, event.key.name):
                    yield from self._look_at(pod)
            return
        if taken:
            self._users.observe(event)
            if event.change is not Change.DELETED and (old is None or uid_of(old) != uid_of(event.object)):
                yield from self._look_at(event.object)

    @staticmethod
    def _look_at(pod: Pod) -> Iterable[WorkItem]:
        key = key_of(pod)
        if not is_deleting(pod) and any(volume.ephemeral is not None for volume in (pod.spec.volumes if pod.spec else None) or []):
            yield WorkItem("pods", f"{key.namespace}/{key.name}")

    def work(self, item: WorkItem) -> Steps[Done | Requeue]:
        namespace, _, name = item.key.partition("/")
        pod: Pod | None = self._view.get("Pod", namespace, name)
        if pod is None or is_deleting(pod):
            return DONE
        for volume in (pod.spec.volumes if pod.spec else None) or []:
            if volume.ephemeral is None:
                continue
            try:
                yield from self._make_claim(pod, ephemeral_claim_name(name, volume.name), volume.ephemeral)
            except (ApiError, ReconcileError) as problem:
                text = f"ephemeral volume {volume.name}: {problem}"
                yield Emit(pod, "Warning", FAILED_BINDING, text)
                raise ReconcileError(f"pod {item.key}, {text}") from problem
        return DONE

    def _make_claim(self, pod: Pod, name: str, source: EphemeralVolumeSource) -> Steps[None]:
        claim: PersistentVolumeClaim | None = self._view.get("PersistentVolumeClaim", key_of(pod).namespace, name)
        if claim is not None:
            if not is_owned_by_pod(claim, pod):
                raise ReconcileError(not_owner_text(claim, pod))
            return
        try:
            self._view.put((yield Create(new_claim(pod, name, source))))
        except ApiError as problem:
            raise ReconcileError(f"create PVC {name}: {problem}") from problem

    def resync(self) -> Iterable[WorkItem]:
        return ()

    def wake_at_ns(self) -> int | None:
        return None

    def wake(self, now_ns: int) -> Iterable[WorkItem]:
        return ()
