"""apply and delete: what is said, what is written, what a later call finds."""

from __future__ import annotations

import json

import pytest

from tests.builders import make_class, make_csinode, make_node, make_pod, make_pvc
from tests.unit.cli.shell import STORY, Shell, manifest

ZONE_A = "zone-a"


def _cluster() -> list[object]:
    return [make_node("n1", zone=ZONE_A), make_csinode("n1"), make_class("fast")]


def _workload(number: int = 1) -> list[object]:
    return [make_pvc(f"data-{number}", storage_class="fast"), make_pod(f"web-{number}", claims=[f"data-{number}"])]


def test_created_unchanged_configured(volsched: Shell) -> None:
    objects = [*_cluster(), *_workload()]
    assert volsched.apply(*objects).lines == [
        "node/n1 created",
        "csinode.storage.k8s.io/n1 created",
        "storageclass.storage.k8s.io/fast created",
        "persistentvolumeclaim/data-1 created",
        "pod/web-1 created",
    ]
    assert [line.split()[1] for line in volsched.apply(*objects).lines] == ["unchanged"] * 5
    assert volsched.apply(make_pvc("data-1", storage_class="fast", labels={"tier": "gold"})).lines == [
        "persistentvolumeclaim/data-1 configured"
    ]
    assert volsched.get("pvc", "data-1")["metadata"]["labels"] == {"tier": "gold"}


def test_a_nodes_status_is_the_users(volsched: Shell) -> None:
    volsched.apply(make_node("n1", cpu="4"))
    assert volsched.apply(make_node("n1", cpu="2")).lines == ["node/n1 configured"]
    assert volsched.get("node", "n1")["status"]["allocatable"]["cpu"] == "2"
    assert volsched.apply(make_node("n1", cpu="2")).lines == ["node/n1 unchanged"]


def test_output_formats(volsched: Shell) -> None:
    assert volsched.apply(*_cluster(), options=["-o", "name"]).lines == [
        "node/n1",
        "csinode.storage.k8s.io/n1",
        "storageclass.storage.k8s.io/fast",
    ]
    shown = volsched.apply(*_workload(), options=["-o", "json"]).value
    assert shown["kind"] == "List"
    # after the cluster has settled
    assert [item["status"]["phase"] for item in shown["items"]] == ["Bound", "Running"]
    assert "phase: Running" in volsched.apply(make_pod("web-1", claims=["data-1"]), options=["-o", "yaml"]).out


def test_standard_input_and_namespace(volsched: Shell) -> None:
    text = "\n---\n".join(json.dumps(manifest(obj)) for obj in [make_node("n1"), make_pod("p", namespace="")])
    volsched.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}})
    assert volsched("apply", "-f", "-", "-n", "shop", stdin=text).lines == ["node/n1 created", "pod/p created"]
    assert volsched.get("po", "-n", "shop")["items"][0]["metadata"]["name"] == "p"
    assert volsched.get("po")["items"] == []


def test_unknown_fields_are_told_and_left_out(volsched: Shell) -> None:
    pod = manifest(make_pod("p"))
    pod["spec"]["containers"][0]["imge"] = "x"
    pod["spec"]["foo"] = 1
    answer = volsched.apply(pod)
    assert answer.lines == ["pod/p created"]
    assert sorted(answer.err.splitlines()) == [
        'Warning: unknown field "spec.containers[0].imge"',
        'Warning: unknown field "spec.foo"',
    ]


def test_all_or_nothing(volsched: Shell) -> None:
    volsched.apply(make_node("n1"))
    before = volsched.content
    bad = make_pod("twice", containers=[*make_pod().spec.containers] * 2)  # type: ignore[union-attr, misc]
    answer = volsched("apply", "-f", volsched.file(make_node("n2"), bad), code=1)
    assert answer.out == ""
    assert answer.err.count("\n") == 1
    assert 'Duplicate value: "main"' in answer.err
    assert "document 1" in answer.err
    assert volsched.content == before


@pytest.mark.parametrize("command", [("apply",), ("run", "--state", "state.db")])
def test_a_refused_first_call_leaves_no_file(volsched: Shell, command: tuple[str, ...]) -> None:
    words = [str(volsched.state) if word == "state.db" else word for word in command]
    volsched(*words, "-f", volsched.file(make_pod("p", namespace="nowhere")), code=1)
    assert list(volsched.folder.glob("state*")) == []


def test_no_run_leaves_it_to_the_next_call(volsched: Shell) -> None:
    volsched.apply(*_cluster(), *_workload(), options=["--no-run"])
    assert volsched.get("pod", "web-1")["status"]["phase"] == "Pending"
    assert volsched("events").err.startswith("No events found")
    volsched.apply(make_node("n2"))
    assert volsched.get("pod", "web-1")["status"]["phase"] == "Running"


@pytest.mark.parametrize(("how", "words"), [("server", "(server dry run)"), ("client", "(dry run)")])
def test_dry_run(volsched: Shell, how: str, words: str) -> None:
    answer = volsched.apply(make_node("n1"), options=[f"--dry-run={how}"])
    assert answer.lines == [f"node/n1 created {words}"]
    assert not volsched.state.exists()
    volsched.apply(make_node("n1"))
    before = volsched.content
    assert volsched("delete", "node", "n1", f"--dry-run={how}").lines == [f'node "n1" deleted {words}']
    assert volsched.content == before


def test_a_seed_belongs_to_a_cluster(volsched: Shell) -> None:
    volsched.apply(make_node("n1"), options=["--seed", "7"])
    volsched.apply(make_node("n2"), options=["--seed", "7"])
    answer = volsched("apply", "-f", volsched.file(make_node("n3")), "--seed", "8", code=1)
    assert "has a seed of its own" in answer.err


def test_clock_seed_and_hash_go_on(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Two calls on one file are one history: repeated elsewhere, the same uids, times and bytes; another seed, other ones."""
    told = []
    for seed in ("3", "3", "4"):
        volsched = Shell(tmp_path_factory.mktemp("cluster"))
        volsched.apply(*_cluster(), *_workload(1), options=["--seed", seed])
        volsched.apply(*_workload(2))
        pods = volsched.get("pods")["items"]
        assert len({pod["metadata"]["uid"] for pod in pods}) == 2
        first, second = (pod["metadata"]["creationTimestamp"] for pod in pods)
        assert first < second
        told.append(volsched("get", "all", "-o", "yaml").out + volsched("get", "events", "-o", "json").out)
    assert told[0] == told[1]
    assert told[0] != told[2]


def test_a_later_call_unmounts_and_deletes_what_an_earlier_one_made(volsched: Shell) -> None:
    volsched.apply(*_cluster(), *_workload())
    volume = volsched.get("pvc", "data-1")["spec"]["volumeName"]
    assert volsched.get("volumeattachments")["items"]
    assert volsched("delete", "pod", "web-1").lines == ['pod "web-1" deleted from default namespace']
    assert volsched.get("volumeattachments")["items"] == []
    assert volsched("delete", "pvc/data-1").out == 'persistentvolumeclaim "data-1" deleted from default namespace\n'
    assert volsched("get", "pv", volume, code=1).err == f'Error from server (NotFound): persistentvolumes "{volume}" not found\n'
    # the driver has nothing left: what it would still hold a new volume of the same size could not tell
    assert _driver_rows(volsched, "volume") == []


def _driver_rows(volsched: Shell, kind: str) -> list[str]:
    from volsched.store import Store

    with Store.open(volsched.state) as store:
        return [key for key in store.values("csi/csi.example.com") if key.startswith(kind)]


def test_the_driver_keeps_what_is_there(volsched: Shell) -> None:
    volsched.apply(*_cluster(), *_workload())
    assert len(_driver_rows(volsched, "volume")) == 1


def test_a_claim_in_use_is_said_to_be_held(volsched: Shell) -> None:
    volsched.apply(*_cluster(), *_workload())
    answer = volsched("delete", "pvc", "data-1")
    assert "deleted" in answer.out
    assert answer.err == (
        "Warning: persistentvolumeclaim data-1 is still being deleted, held by kubernetes.io/pvc-protection (in use by pod web-1)\n"
    )
    assert "Terminating" in volsched("get", "pvc", "data-1").out
    volsched("delete", "pod", "web-1")
    volsched("get", "pvc", "data-1", code=1)


def test_delete_takes_all_or_none(volsched: Shell) -> None:
    volsched.apply(make_node("n1"), make_node("n2", labels={"old": "yes"}), make_node("n3", labels={"old": "yes"}))
    before = volsched.content
    answer = volsched("delete", "node", "n1", "nope", code=1)
    assert answer.out == ""
    assert answer.err.startswith('Error from server (NotFound): nodes "nope" not found; nothing was deleted')
    assert volsched.content == before
    assert volsched("delete", "node", "n1", "nope", "--ignore-not-found").lines == ['node "n1" deleted']
    assert volsched("delete", "node", "-l", "old=yes", "-o", "name").lines == ["node/n2", "node/n3"]
    answer = volsched("delete", "nodes", "--all")
    assert (answer.out, answer.err) == ("", "No resources found\n")


def test_delete_by_file(volsched: Shell) -> None:
    cluster, workload = volsched.file(*_cluster()), volsched.file(*_workload())
    volsched("apply", "-f", cluster, "-f", workload)
    assert len(volsched("delete", "-f", workload).lines) == 2
    assert len(volsched("delete", "-f", cluster).lines) == 3
    assert volsched.get("all")["items"] == []
    assert "not found" in volsched("delete", "-f", workload, code=1).err


def test_a_pod_whose_node_goes_is_collected(volsched: Shell) -> None:
    volsched.apply(make_node("n1"), make_pod("p"))
    volsched("delete", "node", "n1")
    assert volsched.get("pods")["items"] == []
    assert volsched("delete", "pod", "p", "--ignore-not-found").err == "No resources found\n"


@pytest.mark.parametrize("words", [(), ("pod",), ("pod", "x", "--all"), ("pod", "x", "-f", "y"), ("pod/",), ("pod/x", "y")])
def test_delete_has_to_be_told_what(volsched: Shell, words: tuple[str, ...]) -> None:
    assert volsched("delete", *words, code=2).err


def test_the_class_corrected_between_calls(volsched: Shell) -> None:
    """The main story by hand, a call a step."""
    volsched.story("10", "20", "30", "40")
    message = volsched("get", "pod", "web", "-o", "jsonpath={.status.conditions[0].message}").out
    assert "2 node(s) didn't find available persistent volumes to bind" in message
    volsched("delete", "-f", next(STORY.glob("40-*")), "-f", next(STORY.glob("20-*")))
    volsched.story("50", "40", "60")
    assert volsched.get("pod", "web")["spec"]["nodeName"] == "worker-1"
    assert volsched.get("vs", "www-snap")["status"]["readyToUse"] is True
