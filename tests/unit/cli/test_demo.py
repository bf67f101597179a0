"""The main story with other names, zones and sizes: what happens follows from the manifests."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.cli.shell import STORY, Answer, Shell

Change = Callable[[dict[str, str]], None]


def _replace(*pairs: tuple[str, str], chapters: str = "") -> Change:
    """Replace texts, in all chapters or in those that begin so."""

    def change(files: dict[str, str]) -> None:
        for name in files:
            if name.startswith(chapters):
                for old, new in pairs:
                    files[name] = files[name].replace(old, new)

    return change


@pytest.fixture
def told(volsched: Shell, tmp_path: Path) -> Callable[..., Answer]:
    """Play a changed copy of the shipped story."""

    def play(*changes: Change, code: int = 0) -> Answer:
        folder = tmp_path / "story"
        shutil.copytree(STORY, folder)
        files = {path.name: path.read_text() for path in folder.iterdir()}
        before = dict(files)
        for change in changes:
            change(files)
        assert not changes or files != before
        for name, text in files.items():
            (folder / name).write_text(text)
        return volsched("demo", "--story", folder, code=code)

    return play


def _facts(text: str, label: str) -> list[str]:
    return [line.removeprefix(f"   {label:<12} ") for line in text.splitlines() if line.startswith(f"   {label} ")]


def test_as_shipped(told: Callable[..., Answer]) -> None:
    text = told().out
    pods = _facts(text, "pod")
    assert pods[0].startswith(
        "web Pending: 0/3 nodes are available: 1 node(s) had untolerated taint(s), "
        "2 node(s) didn't find available persistent volumes to bind. "
        "preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling."
    )
    assert _facts(text, "why") == [
        "worker-1, worker-2: class csi-disk allows topology.kubernetes.io/zone in [cn-hangzhou-d]; "
        "the node has topology.kubernetes.io/zone=cn-hangzhou-b"
    ]
    assert [re.sub(r" on worker-\d$", " on a worker", pod) for pod in pods[1:3]] == [
        "web Running on a worker",
        "web-restore Running on a worker",
    ]
    assert pods[3] == "db Running on worker-2"
    (written,), (overwritten,), (restored,) = (
        re.findall(rf"{label}.*SHA-256 (\w+)", text) for label in ("written   ", "overwritten", "read back")
    )
    assert written == restored != overwritten
    assert re.search(r"www-snap ready to use, handle snap-\d+, 20Gi", text)
    assert _facts(text, "left") == ["no snapshot, no content"]


def test_other_names_zones_and_sizes(told: Callable[..., Answer]) -> None:
    names = ("cn-hangzhou-b", "paris-1"), ("cn-hangzhou-d", "rome-9"), ("cn-hangzhou", "eu"), ("worker-1", "left"), ("worker-2", "right")
    objects = ("zonal.csi.volsched.dev", "disks.example.org"), ("csi-disk", "gold"), ("csi-snap", "copies"), ("www", "books"), ("w2-", "r-")
    text = told(
        _replace(*names, *objects),
        _replace((": web}", ": shop}"), (": web-restore}", ": shop-again}"), (": db}", ": vault}")),
        _replace(("20Gi}}", "7Gi}}"), chapters="30"),
        _replace(("20Gi}}", "8Gi}}"), chapters="70"),
        # the second disk goes to the other node
        _replace(
            ("values: [right]", "values: [here]"),
            ("values: [left]", "values: [right]"),
            ("values: [here]", "values: [left]"),
            chapters="80",
        ),
    ).out
    pods = _facts(text, "pod")
    assert pods[0].startswith("shop Pending: 0/3 nodes are available: 1 node(s) had untolerated taint(s), 2 node(s) didn't find")
    assert _facts(text, "why") == [
        "left, right: class gold allows topology.kubernetes.io/zone in [rome-9]; the node has topology.kubernetes.io/zone=paris-1"
    ]
    assert pods[1].startswith("shop Running on ")
    assert pods[2].startswith("shop-again Running on ")
    assert pods[3] == "vault Running on left"
    assert "books-snap ready to use" in text
    assert ", 7Gi" in _facts(text, "snapshot")[0]
    claims = _facts(text, "claim")
    assert claims[0].startswith("books Bound")
    assert claims[0].endswith("7Gi")
    assert claims[1].endswith("8Gi")
    for word in ("web", "www", "worker", "hangzhou", "csi-disk", "zonal.csi"):
        assert word not in text


def test_a_first_class_that_is_right_already(told: Callable[..., Answer]) -> None:
    text = told(_replace(("cn-hangzhou-d", "cn-hangzhou-b"), chapters="20")).out
    assert _facts(text, "pod")[0].startswith("web Running on worker-")
    assert "Pending" not in text
    assert _facts(text, "why") == []


def test_a_correction_that_is_wrong_too(told: Callable[..., Answer]) -> None:
    answer = told(_replace(("cn-hangzhou-b", "cn-hangzhou-z"), chapters="50"), code=1)
    assert "The class corrected" in answer.out
    assert "A snapshot" not in answer.out
    assert answer.err.startswith("error: ")
    assert "the story cannot go on, Pod/default/web is not Running: 0/3 nodes are available" in answer.err
    assert answer.err.count("\n") == 1


def test_no_node_with_two_disks_that_fit(told: Callable[..., Answer]) -> None:
    answer = told(_replace(("storage: 50Gi", "storage: 5Gi"), chapters="80"), code=1)
    assert _facts(answer.out, "pod")[-1].startswith("db Pending: 0/3 nodes are available")
    (why,) = _facts(answer.out, "why")[1:]
    assert "every claim could be served alone, but not all together: p1 takes volume w" in why
    assert "none is left for p2" in why
    assert answer.err.startswith("error: the story did not end well: the pod with local volumes is on no node: 0/3 nodes")


def test_no_room_on_any_node(told: Callable[..., Answer]) -> None:
    answer = told(_replace(("cpu: 100m", "cpu: 100"), chapters="40"), code=1)
    assert "2 Insufficient cpu" in _facts(answer.out, "pod")[0]
    assert "2 Insufficient cpu" in answer.err


def test_a_chapter_that_is_missing(told: Callable[..., Answer]) -> None:
    def without(files: dict[str, str]) -> None:
        name = next(name for name in files if name.startswith("60"))
        files[name] = "# nothing\n"

    assert "chapter 60 has no VolumeSnapshot" in told(without, code=1).err


def test_the_seed_decides_names_and_bytes(volsched: Shell) -> None:
    def digest(seed: str) -> str:
        return _facts(volsched("demo", "--seed", seed).out, "written")[0]

    assert digest("1") != digest("2")
