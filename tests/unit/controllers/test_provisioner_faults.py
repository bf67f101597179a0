"""Provisioning, restore, clone and deletion with a fault at every step, in any order: the same end, nothing leaked."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.builders import DRIVER, make_class, make_snapshot, make_snapshot_class
from tests.unit.controllers.csi_harness import Fault, World, check_invariants
from tests.unit.controllers.test_provisioner import claim, make_objects, start
from tests.unit.controllers.test_provisioner_source import of_claim, of_snapshot
from volsched.controllers.snapshot_common import SnapshotController
from volsched.controllers.snapshot_sidecar import SnapshotSidecar
from volsched.errors import CsiCode

LONG_S = 2400
Story = Callable[[World], None]


def provision(world: World) -> None:
    world.create(claim())


def provision_and_delete(world: World) -> None:
    world.create(claim())
    world.settle(for_s=LONG_S)
    world.delete("PersistentVolumeClaim", "data")


def provision_to_keep(world: World) -> None:
    world.create(make_class("keep", wait=False, reclaim="Retain"))
    world.create(claim(storage_class="keep"))


def lost_answers_and_a_deleted_claim(world: World) -> None:
    world.drivers[DRIVER].script["CreateVolume"] = [("lost", CsiCode.DEADLINE_EXCEEDED)] * 2
    world.create(claim())
    world.settle(for_s=0.5)
    if world.find("PersistentVolumeClaim", "data"):
        world.delete("PersistentVolumeClaim", "data")


def clone(world: World) -> None:
    world.create(claim("origin"))
    world.settle(for_s=LONG_S)
    world.create(claim("copy", source=of_claim()))


def clone_and_delete_the_source(world: World) -> None:
    clone(world)
    world.settle(for_s=LONG_S)
    world.delete("PersistentVolumeClaim", "origin")


def restore(world: World) -> None:
    world.create(claim())
    world.settle(for_s=LONG_S)
    world.create(make_snapshot())
    world.settle(for_s=LONG_S)
    world.create(claim("restored", source=of_snapshot()))


def restore_and_delete_the_snapshot(world: World) -> None:
    restore(world)
    world.settle(for_s=0.5)
    world.delete("VolumeSnapshot", "snap")


def restore_and_delete_everything(world: World) -> None:
    restore(world)
    world.settle(for_s=LONG_S)
    world.delete("VolumeSnapshot", "snap")
    world.delete("PersistentVolumeClaim", "restored")
    world.delete("PersistentVolumeClaim", "data")


STORIES: dict[str, Story] = {
    story.__name__: story
    for story in (
        provision,
        provision_and_delete,
        provision_to_keep,
        lost_answers_and_a_deleted_claim,
        clone,
        clone_and_delete_the_source,
        restore,
        restore_and_delete_everything,
    )
}
# A crash forgets a claim that was deleted while the driver worked for it: upstream accepts that leak, nothing records the volume.
LEAKY = {"lost_answers_and_a_deleted_claim"}


def play(story: Story, *, faults: dict[int, Fault] | None = None, seed: int | None = None) -> World:
    world = World(faults=faults, seed=seed)
    make_objects(world)
    world.create(make_snapshot_class())
    start(world)
    world.run_decider(lambda: SnapshotController(world))
    world.run_decider(lambda: SnapshotSidecar(world, DRIVER))
    story(world)
    world.settle(for_s=LONG_S)
    check_invariants(world)
    return world


@pytest.mark.parametrize("name", STORIES)
@pytest.mark.parametrize("fault", list(Fault))
def test_a_fault_at_any_step_changes_nothing_in_the_end(name: str, fault: Fault) -> None:
    if name in LEAKY and fault in (Fault.CRASH, Fault.CRASH_BEFORE):
        pytest.skip("a crash after the claim is gone leaks its volume, which the specification accepts (volumes.md 3.7)")
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
    for seed in range(15):
        assert play(story, seed=seed).end_state() == wanted, f"seed {seed}"


@pytest.mark.parametrize("name", sorted(STORIES.keys() - LEAKY))
def test_many_faults_in_any_order_end_the_same(name: str) -> None:
    story = STORIES[name]
    wanted = play(story).end_state()
    kinds = list(Fault)
    for seed in range(15):
        faults = {step: kinds[(seed + step) % len(kinds)] for step in range(1 + seed % 3, 40, 2 + seed % 5)}
        assert play(story, faults=faults, seed=seed).end_state() == wanted, f"seed {seed}"


@pytest.mark.parametrize("fault", list(Fault))
def test_a_snapshot_deleted_right_after_its_restore_leaves_nothing(fault: Fault) -> None:
    steps = play(restore_and_delete_the_snapshot).steps
    for step in range(1, steps + 1):
        world = play(restore_and_delete_the_snapshot, faults={step: fault})
        restored = world.get("PersistentVolumeClaim", "restored")
        # a restore whose first attempt came too late is refused for good; the snapshot then waits for the claim (snapshots.md 3.4)
        if restored.status.phase == "Pending":
            world.delete("PersistentVolumeClaim", "restored")
            world.settle(for_s=LONG_S)
            check_invariants(world)
        assert world.find("VolumeSnapshot", "snap") is None, f"{fault} at step {step}"
        assert world.drivers[DRIVER].snapshots == {}
