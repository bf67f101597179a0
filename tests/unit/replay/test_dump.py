"""A replay that starts from a dumped cluster."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.builders import make_class, make_node, make_pod, make_pv, make_pvc
from tests.unit.replay.fixtures import options_of, written
from volsched.api.kinds import encode
from volsched.errors import EngineError, InputError
from volsched.replay import prepare, run
from volsched.replay.checkpoint import load_checkpoint, save_checkpoint
from volsched.replay.simulation import Simulation

ZONE = "topology.kubernetes.io/zone"
PODS = "name,arrival_s,lifetime_s,cpu_milli,memory_bytes,claims\na,0,10,2000,1Gi,\nb,1,,2000,1Gi,fast=1Gi\nc,2,,1500,1Gi,\n"
EVENTS = "events: [{at: 30s, drain: n1, for: 5s}]\n"


def dump(directory: Path) -> Path:
    """Two nodes, on n1 a pod of 3 cores with a volume of its own."""
    objects = [
        make_class("old", provisioner="old.example.com"),
        make_node("n1", labels={ZONE: "a", "kubernetes.io/hostname": "n1"}, cpu="4", memory="8Gi"),
        make_node("n2", labels={ZONE: "b", "kubernetes.io/hostname": "n2"}, cpu="4", memory="8Gi"),
        make_pv("pv-old", storage_class="old", claim="default/data"),
        make_pvc("data", storage_class="old", volume="pv-old"),
        make_pvc("data-0", storage_class="old"),
        make_pod("running", node="n1", cpu="3", claims=["data"]),
    ]
    path = directory / "dump.json"
    path.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": [json.loads(encode(obj)) for obj in objects]}))
    return path


def test_what_runs_there_stays_and_is_counted(tmp_path: Path) -> None:
    options = options_of({"classes": [{"name": "fast", "pool": {"constant": "10Gi"}}]})
    trace = written(tmp_path, "pods.csv", PODS)
    result = run(trace, nodes=dump(tmp_path), synth=options, warn=lambda _: None)
    placed = dict(zip(result.tables["pods"]["name"].tolist(), result.tables["pods"]["node"].tolist(), strict=True))
    # n1 has one core left, so all three go to n2, the last one when the first has ended
    assert placed == {"a": "n2", "b": "n2", "c": "n2"}
    assert result.tables["pods"]["placed_s"].tolist() == [0.0, 1.0, 10.0]
    assert result.summary["pods"]["waiting_at_end"] == 0


def test_it_can_be_resumed(tmp_path: Path) -> None:
    options = options_of({"classes": [{"name": "fast"}]})
    trace, events = written(tmp_path, "pods.csv", PODS), written(tmp_path, "events.yaml", EVENTS)

    def fresh() -> Simulation:
        return prepare(trace, nodes=dump(tmp_path), synth=options, events=events, warn=lambda _: None)

    whole = fresh()
    whole.run()
    for instants in range(1, 7):
        simulation = fresh()
        for _ in range(instants):
            if not simulation.is_started:
                simulation.start()
            simulation.step()
        save_checkpoint(simulation, tmp_path / "checkpoint.npz")
        resumed = fresh()
        load_checkpoint(resumed, tmp_path / "checkpoint.npz")
        resumed.run()
        assert resumed.log().sha256() == whole.log().sha256()
    whole.step()
    with pytest.raises(EngineError, match="the replay is finished"):
        save_checkpoint(whole, tmp_path / "checkpoint.npz")


@pytest.mark.parametrize(
    ("pods", "classes", "message"),
    [
        (PODS.replace("\na,", "\nrunning,"), [{"name": "fast"}], "pod running of the trace is in the dump already"),
        (PODS, [{"name": "fast"}, {"name": "old"}], "StorageClass old is in the dump already"),
        (PODS.replace("\na,", "\ndata,"), [{"name": "fast"}], "claim data-0 of the dump has the name"),
    ],
)
def test_nothing_is_there_twice(tmp_path: Path, pods: str, classes: list[object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        prepare(written(tmp_path, "pods.csv", pods), nodes=dump(tmp_path), synth=options_of({"classes": classes}), warn=lambda _: None)
