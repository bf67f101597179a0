"""The search for a volume and the check of a named one."""

from __future__ import annotations

import random

import pytest

from tests.builders import make_pv, make_pvc, when
from volsched.api.kinds import meta
from volsched.controllers.pv_binder.match import VolumeIndex, canonical_modes, misfit
from volsched.rules.volumes import find_matching_volume

RWO, ROX, RWX, RWOP = "ReadWriteOnce", "ReadOnlyMany", "ReadWriteMany", "ReadWriteOncePod"


def found(volumes, claim, *, delayed=False):  # type: ignore[no-untyped-def]
    index = VolumeIndex()
    for volume in volumes:
        index.put(volume)
    match = index.find(claim, delayed=delayed)
    return None if match is None else meta(match).name


def test_modes_are_canonical() -> None:
    assert canonical_modes([RWX, RWO, RWX]) == (RWO, RWX)


def test_exact_modes_beat_a_smaller_volume_with_more_modes() -> None:
    volumes = [make_pv("more", size="10Gi", modes=(RWO, RWX), phase="Available"), make_pv("exact", size="100Gi", phase="Available")]
    assert found(volumes, make_pvc(size="8Gi")) == "exact"


def test_smallest_capacity_then_name() -> None:
    volumes = [make_pv(name, size=size, phase="Available") for name, size in [("c", "20Gi"), ("b", "10Gi"), ("a", "10Gi"), ("d", "5Gi")]]
    assert found(volumes, make_pvc(size="6Gi")) == "a"


def test_no_volume_offers_the_modes() -> None:
    assert found([make_pv(phase="Available")], make_pvc(modes=(RWX,))) is None


def test_trap_3_reserved_volume_too_small_is_passed_over() -> None:
    volumes = [make_pv("reserved", size="1Gi", claim="default/data", phase="Available"), make_pv("other", size="20Gi", phase="Available")]
    assert found(volumes, make_pvc(size="10Gi")) == "other"


def test_trap_4_reserved_volume_of_another_class_matches() -> None:
    volumes = [make_pv("reserved", storage_class="slow", claim="default/data", phase="Pending"), make_pv("other", phase="Available")]
    assert found(volumes, make_pvc()) == "reserved"


def test_delayed_binding_finds_reserved_volumes_only() -> None:
    free = make_pv("free", phase="Available")
    assert found([free], make_pvc(), delayed=True) is None
    assert found([free, make_pv("mine", claim="default/data")], make_pvc(), delayed=True) == "mine"


@pytest.mark.parametrize(
    ("volume", "reason"),
    [
        (make_pv(deleted=when()), 'the volume is marked for deletion "pv-1"'),
        (make_pv(size="1Gi"), "requested PV is too small"),
        (make_pv(storage_class="slow"), "storageClassName does not match"),
        (make_pv(attributes_class="gold"), "volumeAttributesClassName does not match"),
        (make_pv(volume_mode="Block"), "incompatible volumeMode"),
        (make_pv(modes=(ROX,)), "incompatible accessMode"),
        (make_pv(size="1Gi", storage_class="slow", modes=(ROX,)), "requested PV is too small"),
        (make_pv(size="100Gi", zone="a"), None),
    ],
)
def test_reasons_of_a_named_volume(volume, reason) -> None:  # type: ignore[no-untyped-def]
    assert misfit(volume, make_pvc()) == reason


def test_index_equals_the_plain_search_group_by_group() -> None:
    rng = random.Random(7)
    mode_sets = [(RWO,), (RWO, ROX), (RWX,), (RWO, RWX), (RWO, ROX, RWX)]
    for _ in range(300):
        volumes = [
            make_pv(
                f"pv-{number}",
                size=f"{rng.randint(1, 6)}Gi",
                storage_class=rng.choice(["fast", "slow", None]),
                modes=rng.choice(mode_sets),
                claim=rng.choice([None, None, "default/data", "default/other"]),
                phase=rng.choice(["Available", "Available", "Pending", "Bound"]),
            )
            for number in range(8)
        ]
        claim = make_pvc(size=f"{rng.randint(1, 6)}Gi", storage_class=rng.choice(["fast", None]), modes=rng.choice(mode_sets[:4]))
        wanted = set(claim.spec.accessModes or [])  # type: ignore[union-attr]
        expected = None
        for modes in sorted({m for m in mode_sets if wanted <= set(m)}, key=lambda m: (len(m), canonical_modes(m))):
            group = [volume for volume in volumes if set(volume.spec.accessModes or []) == set(modes)]  # type: ignore[union-attr]
            match = find_matching_volume(claim, group, node_labels=None, excluded=(), delayed=False)
            if match is not None:
                expected = meta(match).name
                break
        assert found(volumes, claim) == expected


def test_index_forgets_and_replaces() -> None:
    index = VolumeIndex()
    index.put(make_pv("a", phase="Available"))
    index.put(make_pv("a", phase="Available", claim="default/other"))
    assert index.find(make_pvc(), delayed=False) is None
    index.drop("a")
    index.drop("a")
    assert not index._groups and not index._free and not index._reserved
