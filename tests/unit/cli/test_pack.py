"""pack writes columns, and bench takes them: the same placements as from the objects, on every engine and in every mode."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench import columns, workloads
from tests.unit.cli.shell import Shell
from volsched.api.columns import write_columns
from volsched.api.kinds import to_manifest
from volsched.engine import Engine


def lines(kind: str, nodes: int, pods: int) -> str:
    return "".join(json.dumps(to_manifest(obj)) + "\n" for obj in workloads.objects(kind, nodes, pods))


@pytest.mark.parametrize("kind", ["bound", "capacity", "local", "mixed"])
def test_bench_places_the_same_from_columns(volsched: Shell, kind: str) -> None:
    text, packed = volsched.text("load.jsonl", lines(kind, 12, 40)), volsched.folder / "load.npz"
    answer = volsched("pack", text, "--out", packed)
    assert not answer.out and "objects in" in answer.err
    modes: tuple[tuple[str, ...], ...] = ((), ("--batch",), ("--engine", "reference"), ("--exact-capacity",), ("--tie-break", "name"))
    for mode in modes:
        wanted, found = (volsched("bench", file, *mode).value for file in (text, packed))
        for field in ("nodes", "attempted", "scheduled", "placements_sha256"):
            assert found[field] == wanted[field], (mode, field)


def test_what_cannot_be_packed_is_said_and_nothing_is_written(volsched: Shell) -> None:
    text = volsched.text("load.jsonl", lines("plain", 1, 1) + '{"kind": "Pod", "apiVersion": "v1", "metadata": {"name": 5}}\n')
    answer = volsched("pack", text, "--out", volsched.folder / "load.npz", code=1)
    assert "line 6, metadata.name: expected a string, got the number 5" in answer.err
    assert not (volsched.folder / "load.npz").exists()
    volsched("pack", volsched.text("good.jsonl", lines("plain", 1, 1)), "--out", volsched.folder / "good.npz")
    assert (
        "is a columnar file already" in volsched("pack", volsched.folder / "good.npz", "--out", volsched.folder / "again.npz", code=1).err
    )
    assert "cannot be read" in volsched("pack", volsched.folder / "none.jsonl", "--out", volsched.folder / "again.npz", code=1).err
    assert volsched("pack", volsched.folder / "good.npz", code=2).err


def test_a_value_that_cannot_be_read_is_named_with_its_row(volsched: Shell) -> None:
    objects = list(workloads.objects("local", 2, 3))
    rows: list[Any] = [to_manifest(obj) for obj in objects]
    volumes = [row for row in rows if row["kind"] == "PersistentVolume"]
    volumes[1]["spec"]["capacity"]["storage"] = "ten"
    text = volsched.text("load.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    volsched("pack", text, "--out", volsched.folder / "load.npz")
    wanted = volsched("bench", text, code=1).err.partition("spec")[2]
    found = volsched("bench", volsched.folder / "load.npz", code=1).err
    assert "load.npz, table" in found and "row 1" in found and wanted in found


@pytest.mark.parametrize("kind", columns.COLUMNAR)
def test_generated_columns_are_the_workload(kind: str, tmp_path: Path) -> None:
    wanted, found = Engine(), Engine()
    pods = []
    for obj in workloads.objects(kind, 20, 30):
        if type(obj).__name__ == "Pod":
            pods.append(obj)
        else:
            wanted.upsert(obj)
    made = columns.cluster(kind, nodes=20, pods=30)
    write_columns(tmp_path / "a.npz", made)
    batch = found.load(made)
    assert found.digest() == wanted.digest()
    assert found.schedule_many(batch).nodes.tolist() == wanted.schedule_many(wanted.batch(pods)).nodes.tolist()
    assert found.digest() == wanted.digest()
