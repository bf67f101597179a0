"""Seeded stories for the engines' incremental state: python -m tests.parity.incremental --events 1000000 --first-seed 0

A seed says how large a cluster is, which kind of world it lives in and everything that happens there. After each event the kept-up engine
is compared with one rebuilt from what is left (tests.parity.worlds). A story that fails is played again and again with events left out,
until none can go; what remains is printed as one line of JSON an event.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from lightkube.models.core_v1 import Pod

from tests.parity.clusters import Draw
from tests.parity.events import Event, Fork, Happenings
from tests.parity.profiles import draw_profile
from tests.parity.worlds import CacheWorld, EngineWorld, Settings, World
from volsched.api.kinds import to_json
from volsched.engine.profile import DEFAULT_PROFILE

EVENTS_A_STORY: Final = 250
EVENTS_A_LARGE_STORY: Final = 60
EVENTS_A_LONG_STORY: Final = 8_000  # longer than the logs by which caches catch up
MANY_TEMPLATES: Final = 160  # more than an engine keeps caches for
REFERENCE_EVERY: Final = 50  # events
REFERENCE_EVERY_WITH_IMAGES: Final = 15  # whose counts only it knows
SHOWN_EVERY_S: Final = 10


class Step(NamedTuple):
    """An event and what is asked after it. pod: None asks nothing."""

    event: Event
    pod: Pod | None = None
    on_copy: bool = False
    with_reference: bool = False


class Plan(NamedTuple):
    """What a seed stands for, before anything happens."""

    seed: int
    nodes: int
    binding: bool  # a scheduler cache between an API server and the engine
    settings: Settings
    populated: bool
    long: bool = False

    @property
    def steps(self) -> int:
        """How many events are checked."""
        return EVENTS_A_LONG_STORY if self.long else EVENTS_A_STORY if self.nodes <= 12 else EVENTS_A_LARGE_STORY

    def world(self) -> World:
        """A new world of this kind."""
        return CacheWorld(self.settings) if self.binding else EngineWorld(self.settings)


class StoryFailed(AssertionError):
    """A story in which the engines came apart. `steps` is everything up to the failure."""

    def __init__(self, plan: Plan, steps: Sequence[Step], cause: Exception) -> None:
        super().__init__(f"seed {plan.seed}, {plan.nodes} nodes, after {len(steps)} events: {type(cause).__name__}: {cause}")
        self.plan = plan
        self.steps = list(steps)
        self.cause = cause


def planned(seed: int) -> Plan:
    """Mostly 2 to 12 nodes, at times 70 or 130, so that one and two borders of mask words are crossed; at times long."""
    chance = random.Random(f"plan {seed}")
    nodes = {25: 70, 75: 130}.get(seed % 100, chance.randint(2, 12))
    settings = Settings(
        tie_break=chance.choice(["first", "first", "name", "kube"]),
        images=chance.random() < 0.3,
        versions=chance.random() < 0.8,
        profile=draw_profile(Draw(chance, nodes=nodes)) if chance.random() < 0.4 else DEFAULT_PROFILE,
    )
    return Plan(seed, nodes, chance.random() < 0.35, settings, nodes > 12 or chance.random() < 0.7, long=seed % 100 == 50)


def take(world: World, step: Step) -> None:
    """Raises Difference, or whatever an engine could not do."""
    world.play(step.event)
    if step.pod is not None:
        world.check(step.pod, on_copy=step.on_copy)
        if step.with_reference:
            world.check_with_reference(step.pod)


def tell(plan: Plan) -> int:
    """Make up a seed's story and play it. Answers how many events were checked. Raises StoryFailed."""
    chance = random.Random(f"story {plan.seed}")
    templates = MANY_TEMPLATES if plan.long else 6
    happenings = Happenings(Draw(chance, nodes=plan.nodes), images=plan.settings.images, binding=plan.binding, templates=templates)
    every = REFERENCE_EVERY_WITH_IMAGES if plan.settings.images else REFERENCE_EVERY
    world = plan.world()
    told: list[Step] = []

    def go_on(step: Step) -> None:
        told.append(step)
        try:
            take(world, step)
        except Exception as cause:
            raise StoryFailed(plan, told, cause) from cause

    if plan.populated:
        for event in happenings.population():
            go_on(Step(event))
    for number in range(1, plan.steps + 1):
        event = happenings.any(world)
        with_reference = number % every == 0
        go_on(Step(event, happenings.pod(), on_copy=not with_reference and chance.random() < 0.3, with_reference=with_reference))
    return plan.steps


def failure_of(plan: Plan, steps: Sequence[Step]) -> tuple[int, Exception] | None:
    """How the steps fail in a new world, and how many were taken; None when they do not."""
    world = plan.world()
    for number, step in enumerate(steps, 1):
        try:
            take(world, step)
        except Exception as cause:
            return number, cause
    return None


def smaller(plan: Plan, steps: Sequence[Step], cause: Exception) -> tuple[list[Step], Exception]:
    """The steps without those that the failure does not need, and how the rest fails. Another kind of failure is another failure."""
    kept, why = list(steps), cause

    def still_fails(candidate: Sequence[Step]) -> bool:
        nonlocal kept, why
        found = failure_of(plan, candidate)
        if found is None or type(found[1]) is not type(cause):
            return False
        kept, why = list(candidate[: found[0]]), found[1]
        return True

    def without(size: int) -> bool:
        """Leave out runs of that many steps, from the end."""
        was, at = len(kept), len(kept)
        while at > 0:
            at = min(at, len(kept))
            still_fails(kept[: max(at - size, 0)] + kept[at:])
            at -= size
        return len(kept) < was

    size = max(len(kept) // 2, 1)
    while True:
        shrunk = without(size)
        if size == 1 and not shrunk:
            break
        size = max(size // 2, 1)
    for at in range(len(kept) - 1):
        if kept[at].pod is not None:
            still_fails([*kept[:at], Step(kept[at].event), *kept[at + 1 :]])
    return kept, why


def as_json(step: Step) -> str:
    """A step as one line."""
    event = step.event
    line: dict[str, Any] = {"event": type(event).__name__}
    for field, value in event._asdict().items() if not isinstance(event, Fork) else ():
        line[field] = to_json(value) if hasattr(value, "metadata") else value
    if step.pod is not None:
        line["ask"] = to_json(step.pod)
        line["on_copy"] = step.on_copy
        line["with_reference"] = step.with_reference
    return json.dumps(line)


def report(failed: StoryFailed, write: Callable[[str], Any]) -> None:
    """Make the story small and write it down."""
    write(str(failed))
    steps, cause = smaller(failed.plan, failed.steps, failed.cause)
    write(f"{failed.plan}")
    for step in steps:
        write(as_json(step))
    write(f"{len(steps)} of {len(failed.steps)} events, {type(cause).__name__}: {cause}")


class _Count:
    """How far a run has come."""

    def __init__(self, first_seed: int) -> None:
        self.first_seed = self.next_seed = first_seed
        self.events = 0
        self.failures = 0
        self._began, self._cpu_began, self._shown = time.monotonic(), time.process_time(), time.monotonic()

    def __str__(self) -> str:
        cpu = time.process_time() - self._cpu_began
        seeds = f"seeds {self.first_seed}..{self.next_seed - 1}"
        return f"{self.events} events, {seeds}, {self.failures} failed, {time.monotonic() - self._began:.0f} s, {cpu:.0f} CPU s"

    def show(self) -> None:
        """To standard error, now and then."""
        now = time.monotonic()
        if now - self._shown > SHOWN_EVERY_S:
            self._shown = now
            print(self, file=sys.stderr, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.parity.incremental", description="Compare kept-up engines with rebuilt ones.")
    parser.add_argument("--events", type=int, default=10_000, metavar="N", help="stop after this many checked events")
    parser.add_argument("--first-seed", type=int, default=0, metavar="SEED")
    parser.add_argument("--failures", type=int, default=1, metavar="N", help="stop after this many stories that fail")
    given = parser.parse_args(arguments)
    count = _Count(given.first_seed)
    while count.events < given.events and count.failures < given.failures:
        plan = planned(count.next_seed)
        count.next_seed += 1
        try:
            count.events += tell(plan)
        except StoryFailed as failed:
            count.failures += 1
            report(failed, lambda line: print(line, flush=True))
        count.show()
    print(count)
    return 1 if count.failures else 0


if __name__ == "__main__":
    sys.exit(main())
