"""Sweeps: the same table in this process, in two, and on a dask cluster; what fails is told and tried again."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.cli.shell import Shell
from tests.unit.replay.fixtures import OWN_NODES, own_trace, written
from volsched import replay
from volsched.errors import InputError
from volsched.replay.sweep import Sweep, run_sweep

pytest.importorskip("joblib", reason="joblib, of the extra `sweep`, is not installed")

PACK = """
apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
profiles:
- pluginConfig:
  - name: NodeResourcesFit
    args: {scoringStrategy: {type: MostAllocated, resources: [{name: cpu, weight: 1}, {name: memory, weight: 1}]}}
"""
SWEEP = """
trace: pods.csv
options: {nodes: nodes.csv}
over:
  config: [spread.yaml, pack.yaml]
  arrival_rate: [1, 3]
  seed: [0, 1]
"""
START_S = 60


@pytest.fixture
def file(tmp_path: Path) -> Path:
    written(tmp_path, "pods.csv", own_trace(3, pods=40, claims=False))
    written(tmp_path, "nodes.csv", OWN_NODES)
    written(tmp_path, "pack.yaml", PACK)
    written(tmp_path, "spread.yaml", "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\n")
    return written(tmp_path, "sweep.yaml", SWEEP)


@pytest.fixture(scope="module")
def dask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A scheduler and two worker processes, as on other machines."""
    pytest.importorskip("distributed", reason="distributed, of the extra `sweep`, is not installed")
    directory = tmp_path_factory.mktemp("dask")
    place = directory / "scheduler.json"
    dask = [
        sys.executable,
        "-m",
        "distributed.cli.dask_scheduler",
        "--host",
        "127.0.0.1",
        "--port",
        "0",
        "--no-dashboard",
    ]
    worker = [sys.executable, "-m", "distributed.cli.dask_worker", "--scheduler-file", str(place), "--nthreads", "1", "--no-dashboard"]
    worker += ["--host", "127.0.0.1", "--local-directory", str(directory)]
    processes = [subprocess.Popen([*dask, "--scheduler-file", str(place)], cwd=directory, stderr=subprocess.DEVNULL)]
    try:
        deadline = time.monotonic() + START_S
        while not place.exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        processes += [subprocess.Popen(worker, cwd=directory, stderr=subprocess.DEVNULL) for _ in range(2)]
        yield str(json.loads(place.read_text())["address"])
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(START_S)


def test_the_same_table_in_every_way(file: Path, tmp_path: Path, dask: str) -> None:
    shell = Shell(tmp_path)
    alone = run_sweep(Sweep.read(file), tmp_path / "alone", jobs=1)
    told = shell("sweep", file, "--jobs", "2", "--out", tmp_path / "two").lines
    assert told == ["runs      8, 0 failed", f"table     {tmp_path}/two/sweep.csv"]
    shell("sweep", file, "--dask", dask, "--out", tmp_path / "dask")
    texts = {name: (tmp_path / name / "sweep.csv").read_text() for name in ("alone", "two", "dask")}
    assert texts["alone"] == texts["two"] == texts["dask"]
    rows = list(csv.DictReader(texts["alone"].splitlines()))
    assert [(row["arrival_rate"], row["seed"]) for row in rows[:4]] == [("1", "0"), ("1", "1"), ("3", "0"), ("3", "1")]
    assert len(set(alone["log_sha256"].tolist())) == 8


def test_a_row_is_what_a_replay_comes_to(file: Path, tmp_path: Path) -> None:
    table = run_sweep(Sweep.read(file), tmp_path / "out", jobs=1)
    at = 6  # packed, three times as fast, seed 0
    result = replay.run(tmp_path / "pods.csv", nodes=tmp_path / "nodes.csv", config=tmp_path / "pack.yaml", arrival_rate=3, seed=0)
    assert table["log_sha256"][at] == result.summary["log_sha256"]
    assert table["wait_p99_s"][at] == result.summary["wait_s"]["p99"]
    spread, packed = (
        replay.run(tmp_path / "pods.csv", nodes=tmp_path / "nodes.csv", config=tmp_path / name).tables["pods"]["node"].tolist()
        for name in ("spread.yaml", "pack.yaml")
    )
    assert spread != packed


def test_what_fails_is_told_tried_again_and_gone_on_with(file: Path, tmp_path: Path) -> None:
    (tmp_path / "pack.yaml").rename(tmp_path / "away.yaml")
    shell = Shell(tmp_path)
    answer = shell("sweep", file, "--jobs", "1", "--out", tmp_path / "out", code=1)
    assert answer.lines[0] == "runs      8, 4 failed"
    assert "pack.yaml" in answer.err
    rows = list(csv.DictReader((tmp_path / "out" / "sweep.csv").read_text().splitlines()))
    assert [bool(row["failed"]) for row in rows] == [False] * 4 + [True] * 4
    summaries = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*/summary.json")}
    assert len(summaries) == 4
    (tmp_path / "away.yaml").rename(tmp_path / "pack.yaml")
    assert shell("sweep", file, "--jobs", "1", "--out", tmp_path / "out").lines[0] == "runs      8, 0 failed"
    assert all(path.stat().st_mtime_ns == told for path, told in summaries.items())
    whole = run_sweep(Sweep.read(file), tmp_path / "whole", jobs=1)
    assert (tmp_path / "out" / "sweep.csv").read_text() == (tmp_path / "whole" / "sweep.csv").read_text()
    assert not any(whole["failed"])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("trace: x", "missing required field `over`"),
        ("trace: x\nover: {speed: [1]}", "speed is no option of a replay; there are nodes, synth"),
        ("trace: x\nover: {seed: [a]}", "option seed cannot be 'a'"),
        ("trace: x\nover: {seed: [1], limit: []}", "over.limit has no value"),
        ("trace: x\noptions: {seed: 1}\nover: {seed: [1]}", "option seed is given for every run and varied"),
        (f"trace: x\nover: {{seed: [{', '.join('1' * 400)}], limit: [{', '.join('1' * 400)}]}}", "these are 160,000 runs"),
    ],
)
def test_files_that_cannot_be(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        Sweep.read(written(tmp_path, "sweep.yaml", text))


def test_no_cluster_there(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("distributed", reason="distributed, of the extra `sweep`, is not installed")
    monkeypatch.setattr("volsched.cli.sweep_command.CONNECT_S", 1)
    answer = Shell(tmp_path)("sweep", file, "--dask", "tcp://127.0.0.1:9", "--out", tmp_path / "out", code=1)
    assert "no scheduler answers there" in answer.err
