"""Pods and claims of a StatefulSet, computed: names by ordinal, objects from templates, who owns a claim, which revision a template is.

A claim belongs to the set and the ordinal, not to the pod: it is there before the pod, outlives it, and is found again by its name. Who
owns it follows persistentVolumeClaimRetentionPolicy: the set, so that it goes with the set; or the pod, once the pod is surplus, so that
it goes with the pod; or nobody.
There is no ControllerRevision kind here. A revision is the hash of the template as it is now; what an older template looked like is not
known, so every pod is made from the present one. Source: pkg/controller/statefulset/stateful_set_utils.go.
"""

from __future__ import annotations

import enum
import hashlib
import re
from collections.abc import Iterator
from typing import Final

import msgspec
from lightkube.models.apps_v1 import StatefulSet, StatefulSetSpec
from lightkube.models.core_v1 import PersistentVolumeClaim, PersistentVolumeClaimVolumeSource, Pod, PodSpec, Volume
from lightkube.models.meta_v1 import ObjectMeta, OwnerReference

from volsched.api.edit import is_deleting, labels_of, replace, uid_of, with_metadata
from volsched.api.kinds import meta
from volsched.controllers.csi_common import NS_PER_S, ns_of
from volsched.controllers.decision_table import ANY, DecisionTable

POD_NAME_LABEL: Final = "statefulset.kubernetes.io/pod-name"
POD_INDEX_LABEL: Final = "apps.kubernetes.io/pod-index"
REVISION_LABEL: Final = "controller-revision-hash"

_ORDINAL: Final = re.compile(r"(.*)-([0-9]+)")
_OWN_REVISION: Final = re.compile(r"[0-9a-f]{12}")


def spec_of(owner: StatefulSet) -> StatefulSetSpec:
    """The spec, which every stored set has."""
    assert owner.spec is not None
    return owner.spec


def ordinal_of(name: str) -> tuple[str, int]:
    """(name of the set, ordinal) of a pod's name; ordinal -1 for a name that has none."""
    found = _ORDINAL.fullmatch(name)
    return (found.group(1), int(found.group(2))) if found else ("", -1)


def ordinals_of(owner: StatefulSet) -> range:
    """The ordinals the set wants pods for."""
    spec = spec_of(owner)
    start = (spec.ordinals.start if spec.ordinals else None) or 0
    return range(start, start + (1 if spec.replicas is None else spec.replicas))


def pod_name(owner: StatefulSet, ordinal: int) -> str:
    return f"{meta(owner).name}-{ordinal}"


def revision_of(owner: StatefulSet, *, changed: bool) -> str:
    """Name of the template's revision. One that somebody else gave is kept until the template has `changed`: so the pods of a dump, which
    carry it, are not made anew.
    """
    given = (owner.status.updateRevision if owner.status else None) or ""
    if given and not changed and not _OWN_REVISION.fullmatch(given.rpartition("-")[2]):
        return given
    digest = hashlib.sha256(msgspec.json.encode(spec_of(owner).template, order="deterministic")).hexdigest()
    return f"{meta(owner).name}-{digest[:12]}"


def controller_of(pod: Pod) -> OwnerReference | None:
    """The owner that controls a pod."""
    return next((owner for owner in meta(pod).ownerReferences or () if owner.controller), None)


def _controller_reference(obj: StatefulSet | Pod, *, api_version: str, kind: str) -> OwnerReference:
    return OwnerReference(
        apiVersion=api_version, kind=kind, name=meta(obj).name or "", uid=uid_of(obj), controller=True, blockOwnerDeletion=True
    )


def set_reference(owner: StatefulSet) -> OwnerReference:
    """The reference of what a set owns."""
    return _controller_reference(owner, api_version="apps/v1", kind="StatefulSet")


# pods


def new_pod(owner: StatefulSet, ordinal: int, *, revision: str) -> Pod:
    """The pod of an ordinal. Volumes named after a claim template are that claim's, whatever the pod template says."""
    spec, name = spec_of(owner), pod_name(owner, ordinal)
    template = spec.template
    made = template.metadata or ObjectMeta()
    labels = {**(made.labels or {}), POD_NAME_LABEL: name, POD_INDEX_LABEL: str(ordinal), REVISION_LABEL: revision}
    claims = {meta(item).name or "": claim_name(item, owner, ordinal) for item in spec.volumeClaimTemplates or ()}
    volumes = [
        Volume(name=volume, persistentVolumeClaim=PersistentVolumeClaimVolumeSource(claimName=claim)) for volume, claim in claims.items()
    ]
    pod_spec = template.spec or PodSpec(containers=[])
    volumes += [volume for volume in pod_spec.volumes or () if volume.name not in claims]
    return Pod(
        apiVersion="v1",
        kind="Pod",
        metadata=ObjectMeta(
            name=name,
            namespace=meta(owner).namespace,
            labels=labels,
            annotations=made.annotations,
            finalizers=made.finalizers,
            ownerReferences=[set_reference(owner)],
        ),
        spec=replace(pod_spec, volumes=volumes or None, hostname=name, subdomain=spec.serviceName or pod_spec.subdomain),
    )


class PodState(enum.Enum):
    """What a pod of a set is to the set."""

    MISSING = "not there"
    TERMINATING = "on its way out"
    ENDED = "Failed or Succeeded"
    UNREADY = "not Running and Ready for long enough"
    AVAILABLE = "Running and Ready for long enough"


class ReplicaStep(enum.Enum):
    """What is done about a wanted pod. A set that keeps order goes on to the next one only after KEEP."""

    CREATE = "make its claims, then itself"
    REPLACE = "delete it; a later pass makes it anew"
    MEND = "make its missing claims"
    WAIT = "nothing until it has changed"
    KEEP = "its claims' owners are put right"


_MOVING: Final = frozenset({PodState.TERMINATING, PodState.UNREADY})
# fmt: off
REPLICA: Final = DecisionTable[ReplicaStep](
    {"state": tuple(PodState), "pending": (False, True), "ordered": (False, True)},
    (
        #                     state               pending ordered
        (ReplicaStep.CREATE,  (PodState.MISSING,   ANY,   ANY)),
        (ReplicaStep.REPLACE, (PodState.ENDED,     ANY,   ANY)),
        # A pod that waits for its claim is helped, also when the claim was given up together with its node.
        (ReplicaStep.MEND,    (_MOVING,            True,  ANY)),
        (ReplicaStep.WAIT,    (_MOVING,            False, True)),
        (ReplicaStep.KEEP,    (_MOVING,            False, False)),
        (ReplicaStep.KEEP,    (PodState.AVAILABLE, False, ANY)),
    ),
    impossible=((frozenset({PodState.MISSING, PodState.ENDED, PodState.AVAILABLE}), True, ANY),),
)
# fmt: on


def phase_of(pod: Pod) -> str:
    """Phase of a pod; one without status is Pending."""
    return (pod.status.phase if pod.status else None) or "Pending"


def ready_at_ns(pod: Pod) -> int | None:
    """Since when a pod is Running and Ready; None if it is not."""
    conditions = (pod.status.conditions if pod.status else None) or ()
    ready = next((entry for entry in conditions if entry.type == "Ready"), None)
    if phase_of(pod) != "Running" or ready is None or ready.status != "True":
        return None
    return ns_of(ready.lastTransitionTime) if ready.lastTransitionTime else 0


def state_of(pod: Pod | None, owner: StatefulSet, now_ns: int) -> PodState:
    """What a pod of a set is to the set, now."""
    if pod is None:
        return PodState.MISSING
    if is_deleting(pod):
        return PodState.TERMINATING
    if phase_of(pod) in ("Failed", "Succeeded"):
        return PodState.ENDED
    since = ready_at_ns(pod)
    if since is None or since + min_ready_ns(owner) > now_ns:
        return PodState.UNREADY
    return PodState.AVAILABLE


def min_ready_ns(owner: StatefulSet) -> int:
    """For how long a pod has to be ready to count as available."""
    return (spec_of(owner).minReadySeconds or 0) * NS_PER_S


# claims


def claim_name(template: PersistentVolumeClaim, owner: StatefulSet, ordinal: int) -> str:
    return f"{meta(template).name}-{meta(owner).name}-{ordinal}"


def claims_of(owner: StatefulSet, ordinal: int) -> Iterator[PersistentVolumeClaim]:
    """The claims of an ordinal, as they are made."""
    spec = spec_of(owner)
    for template in spec.volumeClaimTemplates or ():
        made = meta(template)
        labels = {**(made.labels or {}), **(spec.selector.matchLabels or {})}
        yield PersistentVolumeClaim(
            apiVersion="v1",
            kind="PersistentVolumeClaim",
            metadata=ObjectMeta(
                name=claim_name(template, owner, ordinal),
                namespace=meta(owner).namespace,
                labels=labels or None,
                annotations=made.annotations,
            ),
            spec=template.spec,
        )


def _deletes(owner: StatefulSet) -> tuple[bool, bool]:
    """Whether claims go with the set, and with pods that are scaled away."""
    policy = spec_of(owner).persistentVolumeClaimRetentionPolicy
    return bool(policy and policy.whenDeleted == "Delete"), bool(policy and policy.whenScaled == "Delete")


def is_stale(claim: PersistentVolumeClaim, owner: StatefulSet, name: str) -> bool:
    """Whether a claim still belongs to a pod of this name that is gone, and so will be gone soon itself."""
    _, when_scaled = _deletes(owner)
    return when_scaled and any(ref.kind == "Pod" and ref.name == name for ref in meta(claim).ownerReferences or ())


def with_retention(claim: PersistentVolumeClaim, owner: StatefulSet, pod: Pod | None, *, surplus: bool) -> PersistentVolumeClaim:
    """The claim with the owners the policy asks for. A claim that somebody else controls is left as it is."""
    when_deleted, when_scaled = _deletes(owner)
    references, names = list(meta(claim).ownerReferences or ()), {uid_of(owner)}
    if pod is not None:
        names.add(uid_of(pod))
    if any(reference.controller and reference.uid not in names for reference in references):
        return claim
    wanted: list[OwnerReference] = [reference for reference in references if reference.uid not in names]
    if when_scaled and surplus:
        if pod is None or is_deleting(claim):
            return claim
        wanted.append(_controller_reference(pod, api_version="v1", kind="Pod"))
    elif when_deleted:
        wanted.append(set_reference(owner))
    if sorted(item.uid for item in wanted) == sorted(item.uid for item in references):
        return claim
    return with_metadata(claim, ownerReferences=wanted or None)


def pod_revision(pod: Pod) -> str:
    """The revision a pod was made from."""
    return labels_of(pod).get(REVISION_LABEL, "")
