"""Traps 16 to 22, 46, 47, 54: room for volumes that are still to be made."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.builders import ZONE, make_capacity, make_class, make_csidriver, make_node, make_pod, make_pvc
from tests.parity.situations import decide, every_engine, reasons
from tests.parity.storage import DYNAMIC, ROOM, TRACKED, free, provisions, volume_scores
from tests.parity.traps.playing import failures, message, play, wakes
from tests.unit.scheduler.world import World
from volsched.api.edit import with_annotations, with_labels

pytestmark = every_engine

NODE = make_node("n1", zone="a")


def fits(engine: str, *objects: Any, size: str | None = "60Gi", driver: Any = TRACKED) -> bool:
    """Whether a node has room for a claim of that size; if not, that is the reason."""
    drivers = [driver] if driver is not None else []
    decision = decide(engine, [NODE, DYNAMIC, *drivers, make_pvc(size=size), *objects], make_pod(claims=["data"]))
    if not decision.feasible():
        assert reasons(decision) == {"n1": (ROOM,)}
    return bool(decision.feasible())


def test_trap_16_claims_do_not_add_up_in_filter_but_in_the_score(engine: str) -> None:
    claims = [make_pvc(name, size="60Gi") for name in ("a", "b", "c")]
    decision = decide(engine, [NODE, DYNAMIC, TRACKED, *claims, make_capacity(where={})], make_pod(claims=["a", "b", "c"]))
    assert provisions(decision, "n1") == [(f"default/{name}", "default/capacity-1") for name in ("a", "b", "c")]
    assert volume_scores(decision) == {"n1": 0}


def test_trap_17_maximum_volume_size(engine: str) -> None:
    assert not fits(engine, make_capacity(capacity="1Ti", maximum="50Gi", where={}))


def test_trap_18_neither_capacity_nor_maximum(engine: str) -> None:
    assert not fits(engine, make_capacity(capacity=None, where={}), size="0")


def test_trap_19_no_topology_is_nowhere_and_an_empty_one_everywhere(engine: str) -> None:
    assert not fits(engine, make_capacity())
    assert fits(engine, make_capacity(where={}))


def test_trap_20_any_namespace_counts(engine: str) -> None:
    assert fits(engine, make_capacity(namespace="elsewhere", where={}))


def test_trap_21_without_a_driver_object_capacity_is_not_asked(engine: str) -> None:
    assert fits(engine, driver=None)
    assert fits(engine, driver=make_csidriver(storage_capacity=False))
    assert not fits(engine)


@pytest.mark.parametrize(("allowed", "feasible"), [([{}], False), ([], True), (None, True), ([{ZONE: "a"}], True), ([{ZONE: "b"}], False)])
def test_trap_22_allowed_topologies(engine: str, allowed: list[dict[str, str]] | None, feasible: bool) -> None:
    objects = [NODE, make_class(allowed=allowed) if allowed is not None else make_class(), make_pvc()]
    assert bool(decide(engine, objects, make_pod(claims=["data"])).feasible()) is feasible


@pytest.mark.parametrize("size", ["100E", "100000000000000000000"])
def test_trap_54_a_huge_decimal_capacity_counts_as_nothing(engine: str, size: str) -> None:
    assert not fits(engine, make_capacity(capacity=size, where={}))
    assert fits(engine, make_capacity(capacity="7E", where={}))


# who wakes a pod that finds no room


def crowded(engine: str) -> World:
    small = make_capacity(capacity="1Gi", where={})
    world = play(engine, NODE, DYNAMIC, TRACKED, small, make_pvc(size="60Gi"), make_pod("web", claims=["data"]))
    assert ROOM in message(world)
    return world


def test_trap_46_a_driver_that_stops_checking_room_wakes_nobody_with_claims(engine: str) -> None:
    assert not wakes(crowded(engine), make_csidriver(storage_capacity=False))


@pytest.mark.parametrize(
    "change",
    [
        lambda world: [free("pv-1", size="1Gi")],
        lambda world: [with_annotations(world.get("PersistentVolumeClaim", "default/data"), {"x": "y"})],
        lambda world: [make_class("other")],
        lambda world: [make_capacity("capacity-2", capacity="1Gi", where={})],
        lambda world: [with_labels(world.get("Node", "n1"), {"x": "y"})],
        lambda world: [make_node("n2", unschedulable=True)],
    ],
    ids=["volume", "claim", "class", "capacity", "node-label", "node"],
)
def test_trap_46_what_wakes_them_finds_the_driver_changed(engine: str, change: Callable[[World], list[Any]]) -> None:
    world = crowded(engine)
    world.put(make_csidriver(storage_capacity=False))
    assert wakes(world, *change(world))
    assert world.pod("web").status.nominatedNodeName == "n1"


def test_trap_46_so_does_the_flush_after_five_minutes(engine: str) -> None:
    world = crowded(engine)
    world.put(make_csidriver(storage_capacity=False))
    world.until(329)
    assert failures(world) == 1
    world.until(330)
    assert world.pod("web").status.nominatedNodeName == "n1"


def test_trap_47_room_that_shrinks_or_goes_wakes_nobody(engine: str) -> None:
    world = crowded(engine)
    assert not wakes(world, make_capacity(capacity="500Mi", where={}))
    assert wakes(world, make_capacity(capacity="2Gi", where={}))
    before = failures(world)
    world.gone("CSIStorageCapacity", "default/capacity-1")
    world.run()
    assert failures(world) == before
