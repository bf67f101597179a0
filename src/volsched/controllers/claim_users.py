"""Which pods use which claim: the pod index that several controllers need, and the two meanings of "uses".

A pod names a claim by a persistentVolumeClaim volume, or owns one, called `<pod>-<volume>`, through a generic ephemeral volume.
Source: pkg/controller/volume/common (PodPVCIndex), pkg/controller/volume/pvcprotection; spec/volumes.md 2.
"""

from __future__ import annotations

from collections.abc import Iterator

from lightkube.models.core_v1 import PersistentVolumeClaim, Pod

from volsched.api.kinds import key_of, meta
from volsched.api.watch import Change, WatchEvent
from volsched.rules.volumes import claim_names, is_owned_by_pod, pod_terminated


class ClaimUsers:
    """Pods by the claims they name. Fed with the pod events that the decider's view has taken."""

    def __init__(self) -> None:
        self._pods: dict[tuple[str, str], Pod] = {}
        self._by_claim: dict[tuple[str, str], dict[str, None]] = {}

    def observe(self, event: WatchEvent) -> None:
        """Take an event of a pod."""
        pod: Pod = event.object
        key = key_of(pod)
        place = (key.namespace, key.name)
        old = self._pods.pop(place, None)
        if old is not None:
            for claim in claims_of(old):
                names = self._by_claim.get((key.namespace, claim))
                if names is not None:
                    names.pop(key.name, None)
                    if not names:
                        del self._by_claim[key.namespace, claim]
        if event.change is Change.DELETED:
            return
        self._pods[place] = pod
        for claim in claims_of(pod):
            self._by_claim.setdefault((key.namespace, claim), {})[key.name] = None

    def of(self, namespace: str, claim: str) -> Iterator[Pod]:
        """Pods of the namespace that name the claim, in order of their names."""
        for name in sorted(self._by_claim.get((namespace, claim), ())):
            yield self._pods[namespace, name]


def claims_of(pod: Pod) -> list[str]:
    """Names of the claims a pod names, each once, in order of its volumes."""
    return list(dict.fromkeys(claim for _, claim, _ in claim_names(pod)))


def names_claim(pod: Pod, claim: PersistentVolumeClaim, *, count_ephemeral: bool = True) -> bool:
    """Whether a volume of the pod stands for this claim; an ephemeral one only if the pod owns the claim."""
    wanted = meta(claim).name
    return any(
        name == wanted and (not ephemeral or (count_ephemeral and is_owned_by_pod(claim, pod))) for _, name, ephemeral in claim_names(pod)
    )


def is_shut_down(pod: Pod) -> bool:
    """Whether the kubelet has let go of the pod: deletionTimestamp set with a grace period of zero."""
    metadata = meta(pod)
    return metadata.deletionTimestamp is not None and metadata.deletionGracePeriodSeconds == 0


def is_terminated(pod: Pod) -> bool:
    """Whether nothing of the pod runs any more: its phase says so, or it is being deleted and no container is running."""
    if pod_terminated(pod):
        return True
    if meta(pod).deletionTimestamp is None:
        return False
    statuses = (pod.status.containerStatuses if pod.status else None) or []
    return not any(status.state is not None and status.state.running is not None for status in statuses)


def blocks_claim_deletion(pod: Pod, claim: PersistentVolumeClaim) -> bool:
    """Whether the pod keeps the claim's protection finalizer on.

    Only a scheduled pod does, since no kubelet starts a pod whose claim is being deleted. The phase does not count: a Succeeded pod
    still blocks. An ephemeral volume stops counting once its pod is shut down.
    """
    scheduled = bool(pod.spec and pod.spec.nodeName)
    return scheduled and names_claim(pod, claim, count_ephemeral=not is_shut_down(pod))
