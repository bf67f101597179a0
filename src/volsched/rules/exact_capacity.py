"""VolumeBinding's exact capacity: all claims of a pod against all pools of a node, with what others hold in them left out.

    claims to be provisioned ──classes that share storage──> groups ──rules.packing──> a capacity object for each claim, or none

Upstream asks of each claim alone whether some object's limit is large enough. Here an object has room for what it publishes less what is
held in it, a single volume may be no larger than maximumVolumeSize, and the claims of one pod have to fit side by side. A total that is not
published (maximumVolumeSize alone) cannot be counted, so only the maximum applies.

What the pod's own claims hold already, from an earlier attempt, is theirs; such a claim stays with the objects it holds room in.
Source: docs/decisions/0009.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from lightkube.models.core_v1 import PersistentVolumeClaim
from lightkube.models.storage_v1 import CSIStorageCapacity, StorageClass

from volsched.api.kinds import key_of
from volsched.rules.capacity import claim_bytes, held_by_claim, pool_name, published, segment_of, share_storage
from volsched.rules.packing import Bin, Item, fits_alone, pack
from volsched.rules.selectors import SelectorError, match_labels
from volsched.rules.volumes import class_of


class Accounts(Protocol):
    """What there is: objects by (namespace, name), classes by name, and what is held in an object, named `namespace/name`."""

    @property
    def capacities(self) -> Mapping[tuple[str, str], CSIStorageCapacity]: ...

    @property
    def classes(self) -> Mapping[str, StorageClass]: ...

    def held_bytes(self, pool: str) -> int: ...


class Placed(NamedTuple):
    """Where a claim's volume would come from. room: bytes left there before the pod, 0 when the total is not known. holds: every object in
    which the claim holds room from now on."""

    pool: CSIStorageCapacity
    room: int
    holds: tuple[str, ...]


class Joint(NamedTuple):
    """All claims together. placed: by claim, None when they do not fit; decided: whether that is certain."""

    placed: dict[str, Placed] | None
    decided: bool


class ExactCapacity:
    """The pools that one node reaches, as one pod's claims find them. `claims`: those of the pod that have no volume yet."""

    def __init__(self, cluster: Accounts, node_labels: Mapping[str, str], claims: Sequence[PersistentVolumeClaim]) -> None:
        self._cluster = cluster
        self._pools = [pool for key, pool in sorted(cluster.capacities.items()) if _serves(pool, node_labels)]
        names = [pool_name(pool) for pool in self._pools]
        own = list({key_of(claim): claim for claim in claims}.values())
        self._bins = [
            Bin(
                None if (total := published(pool).capacity) is None else total - cluster.held_bytes(name) + _held(own, name),
                published(pool).maximum,
                tuple(names.index(sibling) for sibling in self._siblings(pool) if sibling in names),
            )
            for pool, name in zip(self._pools, names, strict=True)
        ]

    def _siblings(self, pool: CSIStorageCapacity) -> list[str]:
        """Objects of other classes on the same storage, by namespace and name. They serve the same nodes."""
        classes = self._cluster.classes
        ours = classes.get(pool.storageClassName)
        segment = segment_of(pool.nodeTopology)
        return [
            pool_name(other)
            for _, other in sorted(self._cluster.capacities.items())
            if other.storageClassName != pool.storageClassName
            and segment_of(other.nodeTopology) == segment
            and ours is not None
            and (theirs := classes.get(other.storageClassName)) is not None
            and share_storage(ours, theirs)
        ]

    def _kept(self, claim: PersistentVolumeClaim) -> tuple[int, ...]:
        """Objects of the claim's class in which it holds room already."""
        class_name, held = class_of(claim), held_by_claim(claim)
        pools = enumerate(self._pools)
        return tuple(number for number, pool in pools if pool.storageClassName == class_name and pool_name(pool) in held)

    def _bins_of(self, claim: PersistentVolumeClaim) -> tuple[int, ...]:
        """Objects that the claim may be served from."""
        class_name = class_of(claim)
        return self._kept(claim) or tuple(number for number, pool in enumerate(self._pools) if pool.storageClassName == class_name)

    def rooms(self, claims: Sequence[PersistentVolumeClaim]) -> list[tuple[CSIStorageCapacity, int | None]]:
        """The objects these claims may be served from, with what is left for the pod there; None where the total is not known."""
        numbers = sorted({number for claim in claims for number in self._bins_of(claim)})
        return [(self._pools[number], self._bins[number].room) for number in numbers]

    def fits_alone(self, claim: PersistentVolumeClaim) -> bool:
        """Whether some object has room for the claim, the pod's other claims aside."""
        return any(fits_alone(claim_bytes(claim), self._bins[number]) for number in self._bins_of(claim))

    def fit(self, claims: Sequence[PersistentVolumeClaim], *, steps_max: int) -> Joint:
        """A place for each claim beside the others. A claim that comes twice is one volume."""
        distinct = list({key_of(claim): claim for claim in claims}.values())
        placed: dict[str, Placed] = {}
        decided = True
        for group in self._groups(distinct):
            packing = pack([Item(claim_bytes(claim), self._bins_of(claim)) for claim in group], self._bins, steps_max=steps_max)
            if packing.bins is None and packing.decided:
                return Joint(None, decided=True)
            decided = decided and packing.decided
            for claim, number in zip(group, packing.bins or (), strict=False):
                pool, room = self._pools[number], self._bins[number].room
                holds = held_by_claim(claim) if self._kept(claim) else (pool_name(pool), *self._siblings(pool))
                placed["/".join(key_of(claim)[1:])] = Placed(pool, room or 0, holds)
        return Joint(placed if decided else None, decided)

    def _groups(self, claims: Sequence[PersistentVolumeClaim]) -> list[list[PersistentVolumeClaim]]:
        """Claims whose classes share storage, in order; the others have nothing to do with each other."""
        groups: list[list[PersistentVolumeClaim]] = []
        for claim in claims:
            ours = self._cluster.classes[class_of(claim)]
            group = next((group for group in groups if share_storage(ours, self._cluster.classes[class_of(group[0])])), None)
            if group is None:
                groups.append([claim])
            else:
                group.append(claim)
        return groups


def _serves(pool: CSIStorageCapacity, node_labels: Mapping[str, str]) -> bool:
    try:
        return published(pool).limit is not None and match_labels(pool.nodeTopology, node_labels)
    except SelectorError:
        return False


def _held(claims: Sequence[PersistentVolumeClaim], pool: str) -> int:
    return sum(claim_bytes(claim) for claim in claims if pool in held_by_claim(claim))
