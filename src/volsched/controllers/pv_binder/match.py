"""The search for a claim's volume, over an index, and the check of a volume that a claim names.

Volumes are grouped by their set of access modes. The groups that offer all requested modes are tried by ascending number of modes, and
the first group with a match wins: a volume of exactly the requested modes beats a smaller one that offers more. Within a group a volume
reserved for the claim wins, whatever its class or phase; else the smallest that suits, by name among equals.
Inside a group, free volumes lie by class in order of (capacity, name), so that a search looks at the few that may win. What matches is
decided by rules.volumes alone.
Source: pkg/controller/volume/persistentvolume/index.go, component-helpers pv_helpers.go; spec/volumes.md 1.5, 1.6.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple, TypeAlias

from lightkube.models.core_v1 import PersistentVolume, PersistentVolumeClaim

from volsched.api.edit import is_deleting
from volsched.api.kinds import meta
from volsched.api.quantity import Quantity
from volsched.rules.volumes import (
    access_modes_satisfied,
    attributes_class_of,
    capacity_of,
    claim_selector,
    class_of,
    find_matching_volume,
    requested_storage,
    volume_mode_of,
)

Modes: TypeAlias = tuple[str, ...]
Rank: TypeAlias = tuple[Quantity, str]  # capacity, name

_CANONICAL: Final = ("ReadWriteOnce", "ReadOnlyMany", "ReadWriteMany", "ReadWriteOncePod")


def canonical_modes(modes: Iterable[str] | None) -> Modes:
    """Access modes in Kubernetes' order, duplicates removed."""
    given = set(modes or ())
    return tuple(mode for mode in _CANONICAL if mode in given)


class _Place(NamedTuple):
    """Where a volume lies in the index: `reserved_for` is its claim's (namespace, name), None for a free volume."""

    modes: Modes
    class_name: str
    rank: Rank
    reserved_for: tuple[str, str] | None


class VolumeIndex:
    """Volumes as the binder searches them."""

    def __init__(self) -> None:
        self._volumes: dict[str, PersistentVolume] = {}
        self._places: dict[str, _Place] = {}
        self._groups: dict[Modes, int] = {}  # number of volumes
        self._free: dict[tuple[Modes, str], list[Rank]] = {}
        self._reserved: dict[tuple[Modes, tuple[str, str]], dict[str, None]] = {}

    def put(self, pv: PersistentVolume) -> None:
        """Take a volume in place of its earlier state."""
        name = meta(pv).name or ""
        self.drop(name)
        assert pv.spec is not None  # a volume without spec does not pass validation
        reference = pv.spec.claimRef
        place = _Place(
            canonical_modes(pv.spec.accessModes),
            class_of(pv),
            (capacity_of(pv), name),
            None if reference is None else (reference.namespace or "", reference.name or ""),
        )
        self._volumes[name] = pv
        self._places[name] = place
        self._groups[place.modes] = self._groups.get(place.modes, 0) + 1
        if place.reserved_for is None:
            insort(self._free.setdefault((place.modes, place.class_name), []), place.rank)
        else:
            self._reserved.setdefault((place.modes, place.reserved_for), {})[name] = None

    def drop(self, name: str) -> None:
        """Forget a volume."""
        place = self._places.pop(name, None)
        if place is None:
            return
        del self._volumes[name]
        self._groups[place.modes] -= 1
        if not self._groups[place.modes]:
            del self._groups[place.modes]
        if place.reserved_for is None:
            ranks = self._free[place.modes, place.class_name]
            del ranks[bisect_left(ranks, place.rank)]
            if not ranks:
                del self._free[place.modes, place.class_name]
        else:
            names = self._reserved[place.modes, place.reserved_for]
            del names[name]
            if not names:
                del self._reserved[place.modes, place.reserved_for]

    def find(self, claim: PersistentVolumeClaim, *, delayed: bool) -> PersistentVolume | None:
        """The volume to bind to a claim. With delayed binding only one that is reserved for it can be found.

        Raises SelectorError when the claim's selector is invalid.
        """
        claim_selector(claim)
        for modes in self._groups_offering(canonical_modes(claim.spec.accessModes if claim.spec else None)):
            found = find_matching_volume(claim, self._reserved_for(claim, modes), node_labels=None, excluded=(), delayed=delayed)
            if found is None and not delayed:
                found = self._smallest_free(claim, modes)
            if found is not None:
                return found
        return None

    def _groups_offering(self, requested: Modes) -> list[Modes]:
        wanted = set(requested)
        return sorted((modes for modes in self._groups if wanted.issubset(modes)), key=lambda modes: (len(modes), modes))

    def _reserved_for(self, claim: PersistentVolumeClaim, modes: Modes) -> Iterator[PersistentVolume]:
        metadata = meta(claim)
        for name in self._reserved.get((modes, (metadata.namespace or "", metadata.name or "")), ()):
            yield self._volumes[name]

    def _smallest_free(self, claim: PersistentVolumeClaim, modes: Modes) -> PersistentVolume | None:
        ranks = self._free.get((modes, class_of(claim)), [])
        for position in range(bisect_left(ranks, (requested_storage(claim), "")), len(ranks)):
            volume = self._volumes[ranks[position][1]]
            found = find_matching_volume(claim, (volume,), node_labels=None, excluded=(), delayed=False)
            if found is not None:
                return found
        return None


def misfit(pv: PersistentVolume, claim: PersistentVolumeClaim) -> str | None:
    """Why a volume that a claim names cannot be bound to it; None when it can.

    Not looked at: label selector, node affinity, phase and binding mode.
    """
    if is_deleting(pv):
        return f'the volume is marked for deletion "{meta(pv).name}"'
    if capacity_of(pv) < requested_storage(claim):
        return "requested PV is too small"
    if class_of(pv) != class_of(claim):
        return "storageClassName does not match"
    if attributes_class_of(pv) != attributes_class_of(claim):
        return "volumeAttributesClassName does not match"
    if volume_mode_of(pv) != volume_mode_of(claim):
        return "incompatible volumeMode"
    if not access_modes_satisfied(claim, pv):
        return "incompatible accessMode"
    return None
