"""Capacity objects with exact accounts: what one publishes, who holds room in it, and which objects draw on one storage.

    free room = published capacity - what claims and volumes hold

A claim that was given a node and has no volume yet holds its request; a volume that is younger than the published figure holds its size.
In which objects is written on them: the annotation `ANN_STORAGE_CAPACITY` lists `namespace/name`, joined by commas. The scheduler writes it
on a claim together with the selected node; on a volume it is only ever laid over the object on its way to the engine
(`volsched.cache.capacity_ledger`).

Every object is a pool of its own, unless classes of one provisioner say with equal texts in `ANN_SHARED_CAPACITY` that they draw on the
same storage: then what is held in one object is held in the other classes' objects of the same segment as well.

Nothing here is Kubernetes' rule: kube-scheduler tests each claim alone against each object and remembers nothing. See docs/decisions/0009.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from lightkube.models.core_v1 import PersistentVolume, PersistentVolumeClaim
from lightkube.models.meta_v1 import LabelSelector
from lightkube.models.storage_v1 import CSIStorageCapacity, StorageClass

from volsched.api.edit import annotations_of, labels_of
from volsched.api.quantity import parse as parse_quantity
from volsched.rules.selectors import IN
from volsched.rules.volumes import ANN_SELECTED_NODE, capacity_of, requested_storage

ANN_STORAGE_CAPACITY: Final = "volsched.dev/storage-capacity"
ANN_SHARED_CAPACITY: Final = "volsched.dev/shared-capacity"

MANAGED_BY_LABEL: Final = "csi.storage.k8s.io/managed-by"
SEGMENTS_MAX: Final = 1000  # of one volume that are looked at
Segment = frozenset[tuple[str, str, frozenset[str]]]


class Published(NamedTuple):
    """What a capacity object says, in bytes. None: not said. `capacity` is the total, `maximum` the largest single volume."""

    capacity: int | None
    maximum: int | None

    @property
    def limit(self) -> int | None:
        """What kube-scheduler compares a claim with: maximumVolumeSize, else capacity."""
        return self.capacity if self.maximum is None else self.maximum


def published(pool: CSIStorageCapacity) -> Published:
    """The figures of a capacity object."""
    capacity, maximum = (None if text is None else parse_quantity(text).value() for text in (pool.capacity, pool.maximumVolumeSize))
    return Published(capacity, maximum)


def pool_name(pool: CSIStorageCapacity) -> str:
    """`namespace/name`."""
    metadata = pool.metadata
    return f"{(metadata.namespace if metadata else None) or 'default'}/{metadata.name if metadata else ''}"


def is_kept_up(pool: CSIStorageCapacity) -> bool:
    """Whether a provisioner publishes the object, which asks its driver at regular times; nobody does that for one written by hand."""
    return MANAGED_BY_LABEL in labels_of(pool)


def named_pools(obj: PersistentVolumeClaim | PersistentVolume) -> tuple[str, ...]:
    """The capacity objects an object's annotation names, each once; what is not `namespace/name` names none."""
    text = annotations_of(obj).get(ANN_STORAGE_CAPACITY, "")
    return tuple(dict.fromkeys(name for part in text.split(",") if "/" in (name := part.strip())))


def held_by_claim(claim: PersistentVolumeClaim) -> tuple[str, ...]:
    """Where a claim holds its request: only while a node is selected for it and it has no volume."""
    if ANN_SELECTED_NODE not in annotations_of(claim) or (claim.spec and claim.spec.volumeName):
        return ()
    return named_pools(claim)


def claim_bytes(claim: PersistentVolumeClaim) -> int:
    """What a claim holds, and what it asks of a pool."""
    return max(0, requested_storage(claim).value())


def volume_bytes(volume: PersistentVolume) -> int:
    """What a volume holds: its size."""
    return max(0, capacity_of(volume).value())


def shared_with(storage_class: StorageClass) -> str:
    """The text by which a class shares its storage with others of its provisioner; empty: with none."""
    return annotations_of(storage_class).get(ANN_SHARED_CAPACITY, "")


def share_storage(left: StorageClass, right: StorageClass) -> bool:
    """Whether two classes, or a class and itself, draw on one storage."""
    if left.metadata is not None and right.metadata is not None and left.metadata.name == right.metadata.name:
        return True
    return bool(shared_with(left)) and left.provisioner == right.provisioner and shared_with(left) == shared_with(right)


def segment_of(topology: LabelSelector | None) -> Segment | None:
    """A nodeTopology such that two ways of writing one selector are equal; None for none, which serves no node."""
    if topology is None:
        return None
    labels = {(key, IN, frozenset({value})) for key, value in (topology.matchLabels or {}).items()}
    written = {(item.key, item.operator, frozenset(item.values or ())) for item in topology.matchExpressions or ()}
    return frozenset(labels | written)


def volume_segments(volume: PersistentVolume) -> list[dict[str, str]] | None:
    """The topologies a volume takes up storage in, as labels, from its node affinity; None when it is reachable from everywhere.

    A provisioned volume has one term for each topology and one value for each key; of several values each counts.
    """
    required = volume.spec.nodeAffinity.required if volume.spec and volume.spec.nodeAffinity else None
    if required is None:
        return None
    found: list[dict[str, str]] = []
    for term in required.nodeSelectorTerms:
        product: list[dict[str, str]] = [{}]
        for item in term.matchExpressions or ():
            if item.operator == IN:
                product = [{**labels, item.key: value} for labels in product for value in item.values or ()]
        found += product[:SEGMENTS_MAX]
    return found[:SEGMENTS_MAX]
