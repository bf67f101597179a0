"""run: one cluster from manifests to rest."""

from __future__ import annotations

import pytest

from tests.builders import make_class, make_csinode, make_node, make_pod, make_pvc
from tests.unit.cli.shell import EXAMPLES, STORY, Shell
from volsched.cli.run_command import duration_ns


def _objects() -> list[object]:
    return [
        make_pod("web", claims=["data"]),
        make_pvc("data", storage_class="fast"),
        make_class("fast"),
        make_csinode("n1"),
        make_node("n1", zone="a"),
        make_pod("huge", cpu="1000"),
        make_pod("vast", cpu="2000"),
    ]


def test_what_happened_and_what_is_there(volsched: Shell) -> None:
    text = volsched("run", "-f", volsched.file(*_objects())).out
    head, *rest = text.split("\n\n")
    assert head.splitlines()[0].split() == ["TIME", "TYPE", "REASON", "OBJECT", "MESSAGE"]
    assert "Successfully provisioned volume" in head
    # everything was there before anybody looked, whatever its place in the file
    assert "unbound immediate" not in head
    assert "not found" not in head
    assert "(x" in head  # repeats are counted, not listed
    assert rest[0].startswith("NAME")
    assert "Pending default/huge, default/vast: 0/1 nodes are available: 1 Insufficient cpu." in text
    assert "settled at 1.000s, watched until 60" in text
    assert not list(volsched.folder.glob("*.db"))


def test_the_same_input_and_seed_give_the_same_bytes(volsched: Shell) -> None:
    file = volsched.file(*_objects())
    first = volsched("run", "-f", file, "-o", "json")
    assert first == volsched("run", "-f", file, "-o", "json")
    value = first.value
    assert value["idle"] is True
    assert {event["reason"] for event in value["events"]} >= {"Scheduled", "ProvisioningSucceeded", "FailedScheduling"}
    assert [call["method"] for call in value["csi_calls"] if "Create" in call["method"]] == ["/csi.v1.Controller/CreateVolume"]
    assert {obj["kind"] for obj in value["objects"] if "kind" in obj} >= {"Pod", "PersistentVolume"}
    other = volsched("run", "-f", file, "-o", "json", "--seed", "1").value
    assert other["hash"] != value["hash"]
    assert volsched("run", "-f", file, "-o", "yaml").out.startswith("csi_calls:")


def test_until(volsched: Shell) -> None:
    file = volsched.file(*_objects())
    assert "stopped, not settled, until 2.500s" in volsched("run", "-f", file, "--until", "2500ms").out
    assert volsched("run", "-f", file, "--until", "1h", "-o", "json").value["idle"] is True
    assert "is no duration" in volsched("run", "-f", file, "--until", "soon", code=2).err


def test_kept_in_a_state_file(volsched: Shell) -> None:
    file = volsched.file(*_objects())
    text = volsched("run", "-f", file, "--state", volsched.state).out
    assert f"`volsched explain pod/NAME --state {volsched.state}` says why" in text
    assert volsched.get("pod", "web")["status"]["phase"] == "Running"
    assert "exists already" in volsched("run", "-f", file, "--state", volsched.state, code=1).err
    volsched("delete", "pod", "web")


def test_a_dump_keeps_uids_and_status(volsched: Shell) -> None:
    volsched.apply(*_objects())
    dump = volsched("get", "all", "-o", "json")
    nodes = volsched("get", "nodes", "-o", "json")
    files = [volsched.text("dump.json", dump.out), volsched.text("nodes.json", nodes.out)]
    value = volsched("run", "-f", files[0], "-f", files[1], "-o", "json").value
    uids = {obj["metadata"]["uid"] for obj in value["objects"]}
    assert {item["metadata"]["uid"] for item in dump.value["items"]} <= uids


# Those that have a program beside the manifests are played by it: tests/codebase/test_readme.py. Options of replays are no manifests.
OTHERS = {STORY, EXAMPLES / "replay"}
MANIFESTS_ALONE = sorted(path.name for path in EXAMPLES.iterdir() if path not in OTHERS and not any(path.rglob("*.py")))


@pytest.mark.parametrize("name", MANIFESTS_ALONE)
def test_examples_come_to_rest_with_every_pod_running(volsched: Shell, name: str) -> None:
    value = volsched("run", "-f", EXAMPLES / name, "-o", "json").value
    pods = [obj for obj in value["objects"] if "containers" in obj.get("spec", {})]
    assert pods
    assert {pod["status"]["phase"] for pod in pods} == {"Running"}


def test_the_wrong_zone_of_the_main_story(volsched: Shell) -> None:
    files = [word for chapter in ("10", "20", "30", "40") for word in ("-f", next(STORY.glob(f"{chapter}-*")))]
    text = volsched("run", *files).out
    assert "Pending default/web: 0/3 nodes are available: 1 node(s) had untolerated taint(s), 2 node(s) didn't find" in text


# fmt: off
DURATIONS = [
    ("90", 90), ("90s", 90), ("1h30m", 5400), ("250ms", 0.25), ("1.5h", 5400), ("1d", 86400),
]
# fmt: on


@pytest.mark.parametrize(("text", "seconds"), DURATIONS)
def test_durations(text: str, seconds: float) -> None:
    assert duration_ns(text) == seconds * 1e9
