"""Group snapshot flows with an error or a crash at every single step: the same end is reached, and the invariants hold."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.builders import DRIVER, make_group_content, make_group_snapshot
from tests.unit.controllers.csi_harness import Fault, World, check_invariants
from tests.unit.controllers.test_snapshot_group import GROUP_NAME, cut_by_hand, make_objects, start
from volsched.errors import CsiCode

Story = Callable[[World], None]


def create(world: World) -> None:
    world.create(make_group_snapshot())


def create_not_ready(world: World) -> None:
    world.drivers[DRIVER].ready_after_s = 5
    world.create(make_group_snapshot())


def create_failing_once(world: World) -> None:
    world.drivers[DRIVER].script["CreateVolumeGroupSnapshot"] = [CsiCode.INTERNAL, ("lost", CsiCode.UNAVAILABLE)]
    world.create(make_group_snapshot())


def create_and_delete(world: World) -> None:
    world.create(make_group_snapshot())
    world.settle(for_s=1200)
    world.delete("VolumeGroupSnapshot", "group")


def delete_while_not_ready(world: World) -> None:
    world.drivers[DRIVER].ready_after_s = 3
    world.create(make_group_snapshot())
    world.settle(for_s=1)
    if world.find("VolumeGroupSnapshot", "group"):
        world.delete("VolumeGroupSnapshot", "group")


def delete_with_retain(world: World) -> None:
    world.patch("VolumeGroupSnapshotClass", "groups", {"deletionPolicy": "Retain"})
    create_and_delete(world)


def pre_provisioned(world: World) -> None:
    world.create(make_group_content("content-1", handles=cut_by_hand(world), snapshot_class=None))
    world.create(make_group_snapshot(content="content-1"))


def pre_provisioned_and_deleted(world: World) -> None:
    pre_provisioned(world)
    world.settle(for_s=1200)
    world.delete("VolumeGroupSnapshot", "group")


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
    )
}


def play(story: Story, *, faults: dict[int, Fault] | None = None, seed: int | None = None) -> World:
    world = World(binder=False, faults=faults, seed=seed)
    make_objects(world)
    start(world)
    story(world)
    world.settle(for_s=2400)
    identity = f"id-{GROUP_NAME}-1"
    check_invariants(world, orphans=[identity, f"{identity}-vol-1", f"{identity}-vol-2"] if story is delete_with_retain else ())
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
    for seed in range(20):
        assert play(story, seed=seed).end_state() == wanted, f"seed {seed}"


@pytest.mark.parametrize("name", STORIES)
def test_many_faults_in_any_order_end_the_same(name: str) -> None:
    story = STORIES[name]
    wanted = play(story).end_state()
    kinds = list(Fault)
    for seed in range(20):
        faults = {step: kinds[(seed + step) % len(kinds)] for step in range(1 + seed % 3, 60, 2 + seed % 5)}
        assert play(story, faults=faults, seed=seed).end_state() == wanted, f"seed {seed}"


@pytest.mark.parametrize("moment", range(1, 40))
@pytest.mark.parametrize("policy", ["Delete", "Retain"])
def test_a_group_deleted_after_any_step_leaves_nothing_behind(moment: int, policy: str) -> None:
    """The user deletes the group as soon as so many writes and calls were made, and every process dies at that moment."""
    world = World(binder=False, faults={moment: Fault.CRASH})
    make_objects(world, policy=policy, ready_after_s=2)
    start(world)
    world.create(make_group_snapshot())
    while world.steps < moment and world.step():
        pass
    if world.find("VolumeGroupSnapshot", "group"):
        world.delete("VolumeGroupSnapshot", "group")
    world.settle(for_s=2400)
    assert world.api.list("VolumeGroupSnapshot") == [] and world.api.list("VolumeSnapshot") == []
    driver = world.drivers[DRIVER]
    if policy == "Delete":
        assert world.api.list("VolumeGroupSnapshotContent") == [] and world.api.list("VolumeSnapshotContent") == []
        assert driver.groups == {} and driver.snapshots == {}
        check_invariants(world)
    else:
        held = {content.status.volumeGroupSnapshotHandle for content in world.api.list("VolumeGroupSnapshotContent") if content.status}
        assert {group.group_snapshot_id for group in driver.groups.values()} <= held
