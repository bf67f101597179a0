"""Claims and volumes: which class, how big, bound or not, and which volume suits a claim.

`find_matching_volume` is FindMatchingVolume, the one search that both the scheduler and the PV controller use. The scheduler gives a node's
labels, and then node affinity counts and access modes are compared again. The controller gives none: its index has selected volumes by
access modes already, and with delayed binding it may only find a volume that is already reserved for the claim.

Source: component-helpers/storage/volume/pv_helpers.go, helpers.go; spec/scheduling.md 2.2, 2.3, 4.3; spec/volumes.md 1.5.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Final

from lightkube.models.core_v1 import PersistentVolume, PersistentVolumeClaim, Pod

from volsched.api.edit import annotations_of, labels_of
from volsched.api.quantity import Quantity
from volsched.api.quantity import parse as parse_quantity
from volsched.rules.selectors import Selector, SelectorError, compile_selector
from volsched.rules.topology import pv_reachable

ANN_BIND_COMPLETED: Final = "pv.kubernetes.io/bind-completed"
ANN_BOUND_BY_CONTROLLER: Final = "pv.kubernetes.io/bound-by-controller"
ANN_SELECTED_NODE: Final = "volume.kubernetes.io/selected-node"
ANN_STORAGE_PROVISIONER: Final = "volume.kubernetes.io/storage-provisioner"
ANN_BETA_STORAGE_PROVISIONER: Final = "volume.beta.kubernetes.io/storage-provisioner"
ANN_PROVISIONED_BY: Final = "pv.kubernetes.io/provisioned-by"
ANN_MIGRATED_TO: Final = "pv.kubernetes.io/migrated-to"
ANN_BETA_STORAGE_CLASS: Final = "volume.beta.kubernetes.io/storage-class"

NO_PROVISIONER: Final = "kubernetes.io/no-provisioner"
WAIT_FOR_FIRST_CONSUMER: Final = "WaitForFirstConsumer"
IMMEDIATE: Final = "Immediate"
READ_WRITE_ONCE_POD: Final = "ReadWriteOncePod"

_STORAGE: Final = "storage"


def class_of(obj: PersistentVolume | PersistentVolumeClaim) -> str:
    """Class of a claim or volume: the beta annotation if present, even if empty; else the field; else no class, the empty text."""
    annotations = annotations_of(obj)
    if ANN_BETA_STORAGE_CLASS in annotations:
        return annotations[ANN_BETA_STORAGE_CLASS]
    return (obj.spec.storageClassName if obj.spec else None) or ""


def is_fully_bound(pvc: PersistentVolumeClaim) -> bool:
    """Whether binding is finished: a volume is named and the annotation is there. The phase does not count."""
    return bool(pvc.spec and pvc.spec.volumeName) and ANN_BIND_COMPLETED in annotations_of(pvc)


def bound_to(pv: PersistentVolume, pvc: PersistentVolumeClaim) -> bool:
    """Whether the volume's claimRef names this claim; a reference without uid is a reservation by name."""
    reference = pv.spec.claimRef if pv.spec else None
    claim = pvc.metadata
    if reference is None or claim is None:
        return False
    if (reference.name or "") != (claim.name or "") or (reference.namespace or "") != (claim.namespace or ""):
        return False
    return not reference.uid or reference.uid == (claim.uid or "")


def requested_storage(pvc: PersistentVolumeClaim) -> Quantity:
    """The size a claim asks for, zero when it names none."""
    resources = pvc.spec.resources if pvc.spec else None
    text = ((resources.requests if resources else None) or {}).get(_STORAGE)
    return Quantity.zero() if text is None else parse_quantity(text)


def has_storage_request(pvc: PersistentVolumeClaim) -> bool:
    """Whether the claim names a size at all; one that does not is never tested against capacity objects."""
    resources = pvc.spec.resources if pvc.spec else None
    return _STORAGE in ((resources.requests if resources else None) or {})


def capacity_of(pv: PersistentVolume) -> Quantity:
    """The size of a volume, zero when it states none."""
    text = ((pv.spec.capacity if pv.spec else None) or {}).get(_STORAGE)
    return Quantity.zero() if text is None else parse_quantity(text)


def volume_mode_of(obj: PersistentVolume | PersistentVolumeClaim) -> str:
    """Block or Filesystem; unset means Filesystem."""
    return (obj.spec.volumeMode if obj.spec else None) or "Filesystem"


def attributes_class_of(obj: PersistentVolume | PersistentVolumeClaim) -> str:
    """VolumeAttributesClass name; unset and empty are the same."""
    return (obj.spec.volumeAttributesClassName if obj.spec else None) or ""


def access_modes_satisfied(pvc: PersistentVolumeClaim, pv: PersistentVolume) -> bool:
    """Whether the volume offers every access mode of the claim."""
    offered = (pv.spec.accessModes if pv.spec else None) or []
    return all(mode in offered for mode in (pvc.spec.accessModes if pvc.spec else None) or [])


def claim_selector(pvc: PersistentVolumeClaim) -> Selector | None:
    """The claim's selector over volume labels, None when it sets none. Raises SelectorError with upstream's text."""
    if pvc.spec is None or pvc.spec.selector is None:
        return None
    try:
        return compile_selector(pvc.spec.selector)
    except SelectorError as problem:
        metadata = pvc.metadata
        key = f"{metadata.namespace or 'default'}/{metadata.name}" if metadata else ""
        raise SelectorError(f"error creating internal label selector for claim: {key}: {problem}") from problem


def find_matching_volume(
    pvc: PersistentVolumeClaim,
    volumes: Iterable[PersistentVolume],
    *,
    node_labels: Mapping[str, str] | None,
    excluded: Collection[str],
    delayed: bool,
) -> PersistentVolume | None:
    """The volume to bind to a claim, None when there is none.

    volumes: in any order; upstream's own order is not defined, here names decide: between volumes reserved for the claim, and between
    candidates of equal size. node_labels: those of the node the pod would run on, None in the PV controller, where `delayed` tells whether
    the class waits for a pod. excluded: names of volumes already promised to other claims of the pod.
    Raises SelectorError when the claim's selector is invalid, whatever volumes there are.
    """
    selector = claim_selector(pvc)
    requested = requested_storage(pvc)
    mode, attributes, claim_class = volume_mode_of(pvc), attributes_class_of(pvc), class_of(pvc)
    reserved: PersistentVolume | None = None
    best: PersistentVolume | None = None
    best_rank: tuple[Quantity, str] | None = None
    for pv in volumes:
        if pv.metadata is None or pv.spec is None:
            continue
        name = pv.metadata.name or ""
        belongs = bound_to(pv, pvc)
        if name in excluded or (pv.spec.claimRef is not None and not belongs):
            continue
        capacity = capacity_of(pv)
        if capacity < requested or volume_mode_of(pv) != mode or attributes_class_of(pv) != attributes:
            continue
        if pv.metadata.deletionTimestamp is not None:
            continue
        if belongs:
            # decided by reachability alone: neither phase nor class, selector or access modes are looked at any more
            if reserved is None or name < (reserved.metadata.name if reserved.metadata and reserved.metadata.name else ""):
                reserved = pv
            continue
        if reserved is not None or (node_labels is None and delayed):
            continue
        if (pv.status.phase if pv.status else None) != "Available":
            continue
        if (selector is not None and not selector.matches(labels_of(pv))) or class_of(pv) != claim_class:
            continue
        if node_labels is not None and not (pv_reachable(pv, node_labels) and access_modes_satisfied(pvc, pv)):
            continue
        rank = (capacity, name)
        if best_rank is None or rank < best_rank:
            best, best_rank = pv, rank
    if reserved is not None:
        # A reservation that the node cannot reach means no match at all: no other volume may take its place.
        return reserved if node_labels is None or pv_reachable(reserved, node_labels) else None
    return best


def ephemeral_claim_name(pod_name: str, volume_name: str) -> str:
    """Name of the claim that a pod's generic ephemeral volume owns."""
    return f"{pod_name}-{volume_name}"


def claim_names(pod: Pod) -> list[tuple[str, str, bool]]:
    """(volume name, claim name, whether it is a generic ephemeral volume) of each volume of the pod that stands for a claim, in order."""
    name = (pod.metadata.name if pod.metadata else None) or ""
    found: list[tuple[str, str, bool]] = []
    for volume in (pod.spec.volumes if pod.spec else None) or []:
        if volume.persistentVolumeClaim is not None:
            found.append((volume.name, volume.persistentVolumeClaim.claimName, False))
        elif volume.ephemeral is not None:
            found.append((volume.name, ephemeral_claim_name(name, volume.name), True))
    return found


def is_owned_by_pod(pvc: PersistentVolumeClaim, pod: Pod) -> bool:
    """Whether the claim's controller is this very pod, by uid: what makes an ephemeral volume's claim the pod's own."""
    uid = (pod.metadata.uid if pod.metadata else None) or ""
    owners = (pvc.metadata.ownerReferences if pvc.metadata else None) or []
    controller = next((owner for owner in owners if owner.controller), None)
    return controller is not None and controller.uid == uid


def not_owner_text(pvc: PersistentVolumeClaim, pod: Pod) -> str:
    """What Kubernetes says of a claim that has the name of a pod's ephemeral claim but belongs to somebody else."""
    claim, owner = pvc.metadata, pod.metadata
    left = f"{claim.namespace or 'default'}/{claim.name}" if claim else ""
    right = f"{owner.namespace or 'default'}/{owner.name}" if owner else ""
    return f"PVC {left} was not created for pod {right} (pod is not owner)"


def pod_terminated(pod: Pod) -> bool:
    """Whether the pod has ended: it uses no resources, ports or volumes any more."""
    return (pod.status.phase if pod.status else None) in ("Succeeded", "Failed")
