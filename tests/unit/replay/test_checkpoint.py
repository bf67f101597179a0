"""A replay interrupted anywhere comes to the same hash when it goes on."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.replay.fixtures import scene_of
from tests.unit.replay.test_simulation import PLAN, replayed
from volsched.engine import Engine
from volsched.errors import InputError
from volsched.replay.checkpoint import load_checkpoint, save_checkpoint
from volsched.replay.simulation import Simulation
from volsched.replay.synth import Scene


class After:
    """Stops after some instants."""

    def __init__(self, instants: int) -> None:
        self.left = instants

    def __call__(self) -> bool:
        self.left -= 1
        return self.left < 0


def simulation_of(scene: Scene) -> Simulation:
    return Simulation(scene, engine=Engine(), plan=PLAN)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), stops=st.lists(st.integers(0, 60), min_size=1, max_size=4))
def test_interrupted_anywhere_and_again(tmp_path_factory: pytest.TempPathFactory, seed: int, stops: list[int]) -> None:
    directory = tmp_path_factory.mktemp("replay")
    scene = scene_of(directory, seed)
    whole = replayed(scene)
    simulation = simulation_of(scene)
    for instants in stops:
        if simulation.run(stop=After(instants)):
            break
        assert simulation.log().is_partial
        save_checkpoint(simulation, directory / "checkpoint.npz")
        kept = simulation
        simulation = simulation_of(scene)
        load_checkpoint(simulation, directory / "checkpoint.npz")
        if kept.is_started:
            assert isinstance(kept.engine, Engine) and isinstance(simulation.engine, Engine)
            assert simulation.engine.node_names() == kept.engine.node_names()
            assert simulation.engine.validate() == ""
    assert simulation.run()
    assert simulation.log().rows.tolist() == whole.rows.tolist()
    assert simulation.log().sha256() == whole.sha256()


def test_a_checkpoint_of_another_replay_is_refused(tmp_path: Path) -> None:
    simulation = simulation_of(scene_of(tmp_path, 1))
    simulation.run(stop=After(5))
    save_checkpoint(simulation, tmp_path / "checkpoint.npz")
    with pytest.raises(InputError, match="is of another replay"):
        load_checkpoint(simulation_of(scene_of(tmp_path, 2)), tmp_path / "checkpoint.npz")
    (tmp_path / "broken.npz").write_bytes(b"no")
    with pytest.raises(InputError, match="is not a file volsched replay wrote"):
        load_checkpoint(simulation_of(scene_of(tmp_path, 1)), tmp_path / "broken.npz")
