"""A scheduler over an engine of a given name, and what became of one pod."""

from __future__ import annotations

from typing import Any

from tests.parity.engines import ENGINES
from tests.unit.scheduler.world import World
from volsched.ports import Delete, Emit


def play(engine: str, *objects: Any, **options: Any) -> World:
    """A scheduler that has seen the objects and worked."""
    return World(*objects, engine=ENGINES[engine](), **options).run()


def message(world: World, name: str = "web") -> str:
    """What the pod's PodScheduled condition says."""
    condition = world.condition(name)
    assert condition is not None
    return condition[2] or ""


def failures(world: World, name: str = "web") -> int:
    """How many cycles of the pod have failed: an event that does not wake it leaves the number as it is."""
    return sum(event.reason == "FailedScheduling" and event.regarding.metadata.name == name for event in world.of(Emit))


def tries(world: World, name: str = "web") -> int:
    """How many cycles of the pod have ended, in vain or with a node."""
    status = world.pod(name).status
    return failures(world, name) + bool(world.node_of(name) or (status and status.nominatedNodeName))


def wakes(world: World, *objects: Any) -> bool:
    """Whether writing the objects makes the scheduler try the waiting pod "web" again."""
    before = tries(world)
    world.put(*objects)
    world.run()
    return tries(world) > before


def victims(world: World) -> list[str]:
    return [delete.name for delete in world.of(Delete)]
