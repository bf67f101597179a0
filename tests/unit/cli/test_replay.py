"""`volsched replay`: what it writes, refuses, and does when it is interrupted."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from tests.unit.cli.shell import Shell
from tests.unit.replay.fixtures import OPTIONS, OWN_NODES, own_trace, written
from volsched import replay as api
from volsched.replay.simulation import Simulation

EVENTS = "events:\n- {at: 20s, drain: node-0, for: 30s}\n- {at: 40s, lose: zone-b, by: zone, for: 20s}\n"


@pytest.fixture
def words(tmp_path: Path) -> list[str | Path]:
    return [
        "replay",
        written(tmp_path, "pods.csv", own_trace(3)),
        "--nodes",
        written(tmp_path, "nodes.csv", OWN_NODES),
        "--synth",
        written(tmp_path, "options.yaml", json.dumps(OPTIONS)),
        "--events",
        written(tmp_path, "events.yaml", EVENTS),
        "--seed",
        "7",
        "--tables",
        "csv",
        "--out",
        tmp_path / "out",
    ]


def hash_in(directory: Path) -> str:
    return str(json.loads((directory / "summary.json").read_text())["log_sha256"])


def test_a_whole_replay(volsched: Shell, words: list[str | Path], tmp_path: Path) -> None:
    answer = volsched(*words)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "log.npz", "summary.json", "report.html",
        "nodes.csv", "pods.csv", "population.csv", "reasons.csv", "storage.csv", "utilisation.csv",
    }  # fmt: skip
    assert answer.lines[0].startswith("pods      60 arrived, ")
    assert hash_in(tmp_path / "out") in answer.lines[-2]
    assert answer.lines[-1] == f"report    {tmp_path / 'out' / 'report.html'}"
    assert answer.err == ""
    result = api.run(
        tmp_path / "pods.csv", nodes=tmp_path / "nodes.csv", synth=tmp_path / "options.yaml", events=tmp_path / "events.yaml", seed=7
    )
    assert result.summary["log_sha256"] == hash_in(tmp_path / "out")


def test_one_by_one_comes_to_the_same(volsched: Shell, words: list[str | Path], tmp_path: Path) -> None:
    volsched(*words)
    volsched(*words[:-1], tmp_path / "other", "--one-by-one")
    assert hash_in(tmp_path / "out") == hash_in(tmp_path / "other")


def test_interrupted_and_resumed(volsched: Shell, words: list[str | Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    volsched(*words[:-1], tmp_path / "whole")
    step, steps = Simulation.step, 0

    def interrupted(self: Simulation) -> None:
        nonlocal steps
        step(self)
        steps += 1
        if steps == 50:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(Simulation, "step", interrupted)
    before = signal.getsignal(signal.SIGINT)
    answer = volsched(*words, code=130)
    assert signal.getsignal(signal.SIGINT) is before
    assert "interrupted: a partial result is in" in answer.err
    partial = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert partial["partial"] is True
    assert partial["pods"]["arrived"] < partial["pods"]["total"]
    assert api.Result.load(tmp_path / "out").is_partial
    assert "--resume" in volsched(*words, code=1).err
    volsched(*words, "--resume")
    assert hash_in(tmp_path / "out") == hash_in(tmp_path / "whole") != partial["log_sha256"]
    assert not (tmp_path / "out" / "checkpoint.npz").exists()
    assert "the one there is complete" in volsched(*words, "--resume", code=1).err


def test_a_replay_is_not_written_over_unasked(volsched: Shell, words: list[str | Path], tmp_path: Path) -> None:
    volsched(*words)
    assert "holds a replay already" in volsched(*words, code=1).err
    volsched(*words, "--overwrite")
    volsched(*words, "--overwrite", "--resume", code=2)
    written(tmp_path, "file", "")
    assert "is no directory" in volsched(*words[:-1], tmp_path / "file", code=1).err


def test_wrong_input_writes_nothing(volsched: Shell, words: list[str | Path], tmp_path: Path) -> None:
    for name, text, message in [
        ("pods.csv", "name,arrival_s,cpu_milli,memory_bytes\na,x,1,1\n", "pods.csv, line 2, column arrival_s: 'x' is not a decimal number"),
        ("pods.csv", "name,arrival_s,cpu_milli,memory_bytes\n", "pods.csv: holds no pods"),
        ("options.yaml", "classes: [{}]", "options.yaml, line 1, classes[0]: object missing required field `name`"),
        ("events.yaml", "events: [{at: 1s, drain: x}]", "events.yaml, line 1, events[0].drain: no node is named x"),
    ]:
        kept = (tmp_path / name).read_text()
        written(tmp_path, name, text)
        answer = volsched(*words, code=1)
        assert message in answer.err
        assert len(answer.err.splitlines()) == 1
        assert not (tmp_path / "out").exists()
        written(tmp_path, name, kept)


def test_arrivals_can_be_faster_and_fewer(volsched: Shell, words: list[str | Path], tmp_path: Path) -> None:
    volsched(*words, "--limit", "10", "--arrival-rate", "2")
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["pods"]["total"] == 10
    log = api.Result.load(tmp_path / "out").log
    whole = api.prepare(tmp_path / "pods.csv", nodes=tmp_path / "nodes.csv", synth=tmp_path / "options.yaml").scene.pods
    assert log.facts["pod_arrival_ns"].max() * 2 == sorted(whole.arrival_ns.tolist())[9]
    volsched(*words[:-1], tmp_path / "none", "--arrival-rate", "0", code=2)
