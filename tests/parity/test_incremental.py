"""What an engine knows after any events is what a new one would know that is given what they left."""

from __future__ import annotations

import json
import os
import random
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test
from lightkube.models.core_v1 import Node

from tests.builders import make_node, make_pod
from tests.parity import incremental
from tests.parity.clusters import Draw
from tests.parity.events import OFTEN, Happenings, Put
from tests.parity.incremental import Plan, Step, StoryFailed, failure_of, planned, smaller, take, tell
from tests.parity.profiles import draw_profile
from tests.parity.worlds import CacheWorld, Difference, EngineWorld, Settings, World
from volsched.api.defaults import with_defaults
from volsched.api.kinds import kind_of
from volsched.engine import Engine
from volsched.engine.profile import DEFAULT_PROFILE

# Hypothesis -------------------------------------------------------------------------------------------------------------------------------


# How many sequences of up to 40 events: few in the suite, as many as asked for apart, each time others.
ASKED = os.environ.get("VOLSCHED_INCREMENTAL_EXAMPLES")
EXAMPLES = int(ASKED or 60)
LADDER = [name for name, often in OFTEN.items() for _ in range(often)]


class Events(RuleBasedStateMachine):
    """A small cluster to which one thing happens after another, checked after each."""

    binding = False
    checked: ClassVar[int] = 0  # by all machines

    @initialize(
        seed=st.integers(0, 1000),
        nodes=st.integers(2, 6),
        objects=st.integers(0, 40),
        tie_break=st.sampled_from(["first", "name", "kube"]),
        images=st.booleans(),
        versions=st.booleans(),
        default=st.booleans(),
    )
    def begin(self, seed: int, nodes: int, objects: int, tie_break: str, images: bool, versions: bool, default: bool) -> None:
        """There are some nodes, pods to ask for and, in no order, some of the objects of a cluster."""
        draw = Draw(random.Random(seed), nodes=nodes)
        self.happenings = Happenings(draw, images=images, binding=self.binding, templates=4)
        profile = DEFAULT_PROFILE if default else draw_profile(draw)
        made = Settings(tie_break=tie_break, images=images, versions=versions, profile=profile)
        self.world: World = CacheWorld(made) if self.binding else EngineWorld(made)
        self.events = 0
        population = self.happenings.population()
        for event in [event for event in population if isinstance(event.obj, Node)] + population[:objects]:
            take(self.world, Step(event))

    @rule(name=st.sampled_from(LADDER), chance=st.randoms(use_true_random=False), on_copy=st.booleans())
    def happens(self, name: str, chance: random.Random, on_copy: bool) -> None:
        self.happenings.use(chance)
        event = self.happenings.draw(name, self.world) if name in self.happenings.names else None
        if event is None:
            return
        self.events += 1
        Events.checked += 1
        with_reference = self.events % 25 == 0
        take(self.world, Step(event, self.happenings.pod(), on_copy=on_copy and not with_reference, with_reference=with_reference))


class EventsOfACache(Events):
    """The same with a scheduler cache between an API server and the engine."""

    binding = True


@pytest.mark.slow
@pytest.mark.parametrize("machine", [Events, EventsOfACache])
def test_kept_up_equals_rebuilt(machine: type[Events]) -> None:
    before = Events.checked
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            derandomize=ASKED is None,
        ),
    )
    print(f"{Events.checked - before} events in {EXAMPLES} sequences")
    assert Events.checked - before > 10 * EXAMPLES


# Seeds ------------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("seed", [*range(12), 25, 75])  # 25 has 70 nodes and 75 has 130: word borders are crossed
def test_seeds(seed: int) -> None:
    assert tell(planned(seed)) > 0


def test_a_seed_is_one_story() -> None:
    assert planned(3) == planned(3)
    assert [planned(seed).nodes for seed in (25, 75)] == [70, 130]
    assert {planned(seed).binding for seed in range(20)} == {True, False}


# That the check notices -------------------------------------------------------------------------------------------------------------------


def _stories(seeds: range) -> None:
    for seed in seeds:
        tell(planned(seed))


@pytest.mark.parametrize("kind", sorted(Engine()._upserts))
def test_a_change_that_does_not_arrive_is_noticed(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    upsert = Engine.upsert
    monkeypatch.setattr(Engine, "upsert", lambda self, obj: None if kind_of(obj).name == kind else upsert(self, obj))
    with pytest.raises(StoryFailed) as failed:
        _stories(range(5))
    assert isinstance(failed.value.cause, Difference)


@pytest.mark.parametrize("kind", sorted(Engine()._removals))
def test_a_removal_that_does_not_arrive_is_noticed(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    remove = Engine.remove
    monkeypatch.setattr(Engine, "remove", lambda self, of, space, name: None if of == kind else remove(self, of, space, name))
    with pytest.raises(StoryFailed) as failed:
        _stories(range(5))
    assert isinstance(failed.value.cause, Difference)


def test_a_failing_story_is_made_small(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    remove = Engine.remove
    monkeypatch.setattr(Engine, "remove", lambda self, of, space, name: None if of == "StorageClass" else remove(self, of, space, name))
    assert incremental.main(["--events", "20000"]) == 1
    _failure, _plan, *lines, _why, summary = capsys.readouterr().out.splitlines()
    steps = [json.loads(line) for line in lines if line.startswith("{")]
    assert [step["event"] for step in steps] == ["Put", "Drop"]
    assert "StorageClass" in str(steps)
    assert "1 failed" in summary


def test_other_failures_are_other_failures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaving events out must not end with a story that fails in a way of its own."""
    plan = Plan(0, 2, binding=False, settings=Settings(), populated=False)
    steps = [Step(Put(with_defaults(make_node(f"node{number}"))), make_pod()) for number in range(3)]

    def broken(self: Engine, obj: Any) -> None:
        if obj.metadata.name == "node2":
            raise ValueError("cannot take it") if self.node_count == 2 else KeyError("nor this way")
        upsert(self, obj)

    upsert = Engine.upsert
    monkeypatch.setattr(Engine, "upsert", broken)
    found = failure_of(plan, steps)
    assert found is not None and isinstance(found[1], ValueError)
    kept, why = smaller(plan, steps, found[1])
    assert len(kept) == 3 and isinstance(why, ValueError)


def test_a_story_of_events_runs_its_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert incremental.main(["--events", "250", "--first-seed", "3"]) == 0
    assert capsys.readouterr().out.startswith("250 events, seeds 3..3, 0 failed")
