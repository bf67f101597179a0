"""Snapshot flows with an error or a crash at every single step: the same end is reached, and the invariants hold."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.builders import DRIVER, make_content, make_snapshot
from tests.unit.controllers.csi_harness import Fault, World, check_invariants
from tests.unit.controllers.test_snapshot_lifecycle import CONTENT, cut_by_hand, make_objects, start
from volsched.errors import CsiCode

Story = Callable[[World], None]


def create(world: World) -> None:
    world.create(make_snapshot())


def create_not_ready(world: World) -> None:
    world.drivers[DRIVER].ready_after_s = 5
    world.create(make_snapshot())


def create_failing_once(world: World) -> None:
    world.drivers[DRIVER].script["CreateSnapshot"] = [CsiCode.INTERNAL, ("lost", CsiCode.UNAVAILABLE)]
    world.create(make_snapshot())


def create_and_delete(world: World) -> None:
    world.create(make_snapshot())
    world.settle(for_s=1200)
    world.delete("VolumeSnapshot", "snap")


def delete_while_not_ready(world: World) -> None:
    world.drivers[DRIVER].ready_after_s = 3
    world.create(make_snapshot())
    world.settle(for_s=1)
    if world.find("VolumeSnapshot", "snap"):
        world.delete("VolumeSnapshot", "snap")


def delete_with_retain(world: World) -> None:
    world.patch("VolumeSnapshotClass", "snaps", {"deletionPolicy": "Retain"})
    world.create(make_snapshot())
    world.settle(for_s=1200)
    world.delete("VolumeSnapshot", "snap")


def pre_provisioned(world: World) -> None:
    cut_by_hand(world, "by-hand")
    world.create(make_content("content-1", snapshot="default/snap", snapshot_handle="id-by-hand-1"))
    world.create(make_snapshot(content="content-1"))


def pre_provisioned_and_deleted(world: World) -> None:
    pre_provisioned(world)
    world.settle(for_s=1200)
    world.delete("VolumeSnapshot", "snap")


def two_of_one_claim(world: World) -> None:
    world.create(make_snapshot("snap"), make_snapshot("other"))


STORIES: dict[str, Story] = {
    story.__name__: story
    for story in (
        create,
        create_not_ready,
        create_failing_once,
        create_and_delete,
        delete_while_not_ready,
        delete_with_retain,
        pre_provisioned,
        pre_provisioned_and_deleted,
        two_of_one_claim,
    )
}


def play(story: Story, *, faults: dict[int, Fault] | None = None, seed: int | None = None) -> World:
    world = World(binder=False, faults=faults, seed=seed)
    make_objects(world)
    start(world)
    story(world)
    world.settle(for_s=2400)
    check_invariants(world, orphans=["id-snapshot-uid-VolumeSnapshot-snap-1"] if story is delete_with_retain else ())
    return world


@pytest.mark.parametrize("name", STORIES)
@pytest.mark.parametrize("fault", list(Fault))
def test_a_fault_at_any_step_changes_nothing_in_the_end(name: str, fault: Fault) -> None:
    story = STORIES[name]
    expected = play(story)
    wanted = expected.end_state()
    for step in range(1, expected.steps + 1):
        world = play(story, faults={step: fault})
        assert world.fired == [step]
        assert world.end_state() == wanted, f"{fault} at step {step}"


@pytest.mark.parametrize("name", STORIES)
def test_any_order_of_steps_ends_the_same(name: str) -> None:
    story = STORIES[name]
    wanted = play(story).end_state()
    for seed in range(25):
        assert play(story, seed=seed).end_state() == wanted, f"seed {seed}"


@pytest.mark.parametrize("name", STORIES)
def test_many_faults_in_any_order_end_the_same(name: str) -> None:
    story = STORIES[name]
    wanted = play(story).end_state()
    kinds = list(Fault)
    for seed in range(25):
        faults = {step: kinds[(seed + step) % len(kinds)] for step in range(1 + seed % 3, 40, 2 + seed % 5)}
        assert play(story, faults=faults, seed=seed).end_state() == wanted, f"seed {seed}"


def test_a_cut_with_a_lost_answer_is_deleted_when_the_snapshot_is_deleted_meanwhile() -> None:
    world = World(binder=False)
    make_objects(world)
    world.drivers[DRIVER].script["CreateSnapshot"] = [("lost", CsiCode.DEADLINE_EXCEEDED)] * 2
    start(world)
    world.create(make_snapshot())
    world.settle()
    world.delete("VolumeSnapshot", "snap")
    world.settle()
    assert world.find("VolumeSnapshotContent", CONTENT) is not None, "not before the driver has answered"
    assert world.drivers[DRIVER].called("DeleteSnapshot") == []
    world.settle(for_s=60)
    assert world.find("VolumeSnapshot", "snap") is None
    assert world.drivers[DRIVER].snapshots == {}
    check_invariants(world)
