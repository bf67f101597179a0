"""Small replays for tests of what is made of them."""

from __future__ import annotations

from pathlib import Path

from tests.unit.replay.fixtures import scene_of
from volsched.engine import Engine
from volsched.replay.log import EventLog
from volsched.replay.plan import PlannedEvent, Verb
from volsched.replay.simulation import Simulation
from volsched.replay.trace import NS

PLAN = [PlannedEvent(20 * NS, Verb.DRAIN, 0), PlannedEvent(30 * NS, Verb.LOSE, 1), PlannedEvent(70 * NS, Verb.RETURN, 1)]


def log_of(directory: Path, seed: int = 0, *, pods: int = 120) -> EventLog:
    """The log of a replay in which pods wait, are refused and evicted."""
    simulation = Simulation(scene_of(directory, seed, pods=pods), engine=Engine(), plan=PLAN, seed=seed)
    assert simulation.run()
    return simulation.log()
