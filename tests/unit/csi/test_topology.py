"""CreateVolume's topology semantics (spec/volumes.md 6.4) as properties, and the cases worth reading."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.csi.world import GIB, create, full, world, zones, zones_of
from volsched.api.csi import Topology, TopologyRequirement
from volsched.csi.profile import ZONE_KEY, zonal
from volsched.csi.topology import covers, place, reaches, satisfied
from volsched.errors import CsiCode

NAMES = ["a", "b", "c", "d", "e"]


def requirement(requisite: Sequence[str], preferred: Sequence[str]) -> TopologyRequirement:
    return TopologyRequirement(requisite=zones(*requisite), preferred=zones(*preferred))


@st.composite
def cases(draw: st.DrawFn) -> tuple[list[str], list[str], list[str], list[str], int]:
    known = draw(st.lists(st.sampled_from(NAMES), unique=True))
    requisite = draw(st.lists(st.sampled_from(NAMES), unique=True))
    preferred = draw(st.permutations(requisite).map(lambda names: names[: draw(st.integers(0, len(names)))]))
    if not requisite:
        preferred = draw(st.lists(st.sampled_from(NAMES), unique=True))
    usable = draw(st.lists(st.sampled_from(NAMES), unique=True))
    return known, requisite, preferred, usable, draw(st.integers(1, 4))


@given(cases())
def test_place_keeps_the_rules(case: tuple[list[str], list[str], list[str], list[str], int]) -> None:
    known, requisite, preferred, usable, count = case
    found = place(
        requirement(requisite, preferred),
        known=[{ZONE_KEY: name} for name in known],
        open_world=False,
        usable=lambda segments: segments[ZONE_KEY] in usable,
        count=count,
    )
    good = [name for name in known if name in usable]
    wanted = [name for name in dict.fromkeys([*preferred, *requisite]) if name in good]
    if requisite and count < len(requisite):
        possible = len(wanted) >= count
    elif requisite:
        possible = len(wanted) == len(requisite) and len(good) >= count
    else:
        possible = len(good) >= count
    assert (found is not None) == possible
    if found is None:
        return
    names = [segments[ZONE_KEY] for segments in found]
    assert len(set(names)) == len(names) == count
    assert set(names) <= set(good)
    # x = n: exactly all of requisite; x < n: members of it; x > n: all of it and others
    if requisite and count <= len(requisite):
        assert set(names) <= set(requisite)
    if requisite and count >= len(requisite):
        assert set(requisite) <= set(names)
    # preferred first to last, then the rest of requisite
    assert names[: len(wanted)] == wanted[:count]


@given(cases())
def test_in_an_open_world_a_term_stands_for_itself(case: tuple[list[str], list[str], list[str], list[str], int]) -> None:
    known, requisite, preferred, usable, _ = case

    def ask(names: list[str], *, open_world: bool) -> list[dict[str, str]] | None:
        found = place(
            requirement(requisite, preferred),
            known=[{ZONE_KEY: name} for name in names],
            open_world=open_world,
            usable=lambda segments: segments[ZONE_KEY] in usable,
            count=1,
        )
        return None if found is None else [dict(segments) for segments in found]

    if requisite or preferred:
        missing = [name for name in [*preferred, *requisite] if name not in known]
        assert ask(known, open_world=True) == ask([*known, *dict.fromkeys(missing)], open_world=False)


@given(cases())
def test_the_zonal_driver_takes_the_first_or_nothing(case: tuple[list[str], list[str], list[str], list[str], int]) -> None:
    _, requisite, preferred, usable, _ = case
    first = [*preferred, *requisite][:1]
    found = place(
        requirement(requisite, preferred),
        known=[],
        open_world=True,
        usable=lambda segments: segments[ZONE_KEY] in usable,
        count=1,
        first_only=True,
    )
    expected = [] if not first else [{ZONE_KEY: first[0]}] if first[0] in usable else None
    assert found == expected


@given(cases())
def test_a_created_volume_satisfies_its_requirement(case: tuple[list[str], list[str], list[str], list[str], int]) -> None:
    known, requisite, preferred, usable, count = case
    found = place(
        requirement(requisite, preferred),
        known=[{ZONE_KEY: name} for name in known],
        open_world=False,
        usable=lambda segments: segments[ZONE_KEY] in usable,
        count=count,
    )
    if found and (requisite or set(preferred) & set(known) & set(usable)):
        assert satisfied(found, requirement(requisite, preferred))
        assert any(reaches(found, {ZONE_KEY: name}) for name in requisite or preferred)


def test_terms_that_leave_keys_open() -> None:
    racks = [{"zone": zone, "rack": rack} for zone in "ab" for rack in "12"]

    def ask(*terms: dict[str, str], full: Sequence[dict[str, str]] = (), count: int = 1) -> list[dict[str, str]] | None:
        found = place(
            TopologyRequirement(requisite=[Topology(segments=term) for term in terms]),
            known=racks,
            open_world=False,
            usable=lambda segments: segments not in full,
            count=count,
        )
        return None if found is None else [dict(item) for item in found]

    assert ask({"zone": "b"}) == [{"zone": "b", "rack": "1"}]
    assert ask({"zone": "b"}, full=racks[2:3]) == [{"zone": "b", "rack": "2"}]
    assert ask({"zone": "b"}, full=racks[2:]) is None
    assert ask({"zone": "b"}, {"zone": "a"}, count=2) == [racks[2], racks[0]]
    assert ask({"zone": "b"}, count=3) == [racks[2], racks[0], racks[1]]
    assert covers(racks[0], {}) and reaches([], racks[0])


@pytest.mark.parametrize("transport", ["inprocess", "grpc"])
def test_a_volume_reachable_from_two_zones(transport: str) -> None:
    with world(transport, full(reachable=2, capacity={"a": 3 * GIB})) as here:
        both = here.volume("v", size=2 * GIB, requisite=["a", "b", "c"], preferred=["c", "a"])
        assert zones_of(both) == ["c", "a"]
        assert zones_of(here.volume("w", requisite=["b"])) == ["b", "a"]  # both pools give the room
        assert zones_of(here.volume("x", size=2 * GIB, requisite=["b"])) == ["b", "c"]
        here.refused(create("y", size=2 * GIB, requisite=["a", "b"]), CsiCode.RESOURCE_EXHAUSTED, match="a: 0 bytes free")


@pytest.mark.parametrize("transport", ["inprocess", "grpc"])
def test_the_zonal_profile(transport: str) -> None:
    with world(transport, zonal(capacity={"a": GIB})) as here:
        assert zones_of(here.volume("v", requisite=["b", "a"], preferred=["b", "a"])) == ["b"]
        assert zones_of(here.volume("w", requisite=["elsewhere"])) == ["elsewhere"]
        here.refused(create("x", size=GIB + 1, requisite=["a", "b"], preferred=["a", "b"]), CsiCode.RESOURCE_EXHAUSTED)
        assert zones_of(here.volume("y", requisite=["a"])) == ["a"]
        here.refused(create("z", size=1, requisite=["a"]), CsiCode.RESOURCE_EXHAUSTED, match="a: 0 bytes free")


@pytest.mark.parametrize("transport", ["inprocess", "grpc"])
def test_nothing_asked(transport: str) -> None:
    with world(transport, zonal()) as here:
        assert zones_of(here.volume()) == ["a"]  # where the first node is
    with world(transport, zonal(), nodes={}) as here:
        assert zones_of(here.volume()) == []  # no place is known: from everywhere
