"""get, describe, events: what they print, and that they leave the state file alone."""

from __future__ import annotations

import re

import pytest
from lightkube.models.core_v1 import Toleration

from tests.builders import make_class, make_csinode, make_node, make_pod, make_pvc
from tests.unit.cli.shell import Shell
from volsched.cli.describe import _toleration


@pytest.fixture
def cluster(volsched: Shell) -> Shell:
    volsched.apply(
        make_node("n1", zone="a"),
        make_node("n2", zone="b", labels={"disk": "ssd"}),
        make_csinode("n1"),
        make_class("fast", default=True),
        make_pvc("data", storage_class="fast"),
        make_pvc("later", storage_class="missing", size="1Gi"),
        make_pod("web", claims=["data"], labels={"app": "shop"}),
        make_pod("stuck", claims=["later"]),
    )
    return volsched


def test_tables(cluster: Shell) -> None:
    assert [line.split() for line in cluster("get", "pods").lines] == [
        ["NAME", "READY", "STATUS", "RESTARTS", "AGE"],
        ["stuck", "0/1", "Pending", "0", "10m"],
        ["web", "1/1", "Running", "0", "10m"],
    ]
    assert cluster("get", "sc", "--no-headers").out.startswith("fast (default)   csi.example.com")
    wide = cluster("get", "po", "web", "-o", "wide").lines
    assert "NODE" in wide[0]
    assert "n1" in wide[1]
    assert cluster("get", "pvc").lines[0].split("   ")[-1].strip() == "AGE"
    assert "disk=ssd" in cluster("get", "nodes", "n2", "--show-labels").out


def test_several_kinds_carry_their_type(cluster: Shell) -> None:
    names = [line.split()[0] for line in cluster("get", "po,no").lines if line]
    assert names == ["NAME", "pod/stuck", "pod/web", "NAME", "node/n1", "node/n2"]
    assert "persistentvolumeclaim/data" in cluster("get", "all").out
    assert cluster("get", "pod/web", "node/n1", "-o", "name").lines == ["pod/web", "node/n1"]


def test_json_is_one_object_or_a_list(cluster: Shell) -> None:
    assert cluster.get("pod", "web")["kind"] == "Pod"
    assert [item["metadata"]["name"] for item in cluster.get("pods")["items"]] == ["stuck", "web"]
    assert [item["kind"] for item in cluster.get("pod/web", "node/n1")["items"]] == ["Pod", "Node"]
    text = cluster("get", "pod", "web", "-o=yaml").out
    assert text.startswith("apiVersion: v1\nkind: Pod\n")
    assert 'creationTimestamp: "2026-01-01T00:00:00Z"' in text


def test_selectors_and_order(cluster: Shell) -> None:
    def names(*words: str) -> list[str]:
        return cluster("get", *words, "-o", "name").lines

    assert names("po", "-l", "app=shop") == ["pod/web"]
    assert names("no", "-l", "disk in (ssd)") == ["node/n2"]
    assert names("po", "--field-selector", "spec.nodeName=n1") == ["pod/web"]
    assert names("pvc", "--sort-by", ".spec.resources.requests.storage") == ["persistentvolumeclaim/later", "persistentvolumeclaim/data"]
    assert cluster("get", "po", "-l", "a=", code=0).err == "No resources found in default namespace.\n"
    assert cluster("get", "po", "-l", "a in b", code=1).err.startswith("error: ")
    cluster("get", "po", "web", "-l", "a=b", code=2)


def test_expressions(cluster: Shell) -> None:
    assert cluster("get", "po", "-o", "jsonpath={.items[*].metadata.name}").out == "stuck web"
    assert cluster("get", "po", "web", "-o", "jsonpath={.spec.nodeName}").out == "n1"
    columns = cluster("get", "pvc", "-o", "custom-columns=NAME:.metadata.name,PHASE:.status.phase").lines
    assert [line.split() for line in columns] == [["NAME", "PHASE"], ["data", "Bound"], ["later", "Pending"]]
    assert cluster("get", "po", "-o", "xml", code=2).err


def test_nothing_found_is_no_error(cluster: Shell) -> None:
    answer = cluster("get", "vs")
    assert (answer.out, answer.err) == ("", "No resources found in default namespace.\n")
    assert cluster("get", "vsc").err == "No resources found\n"
    assert cluster("get", "vs", "-A").err == "No resources found\n"
    assert cluster.get("vs") == {"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": ""}, "items": []}


def test_what_is_there_is_shown_and_what_is_not_is_told(cluster: Shell) -> None:
    answer = cluster("get", "pod", "nope", "web", code=1)
    assert answer.lines[1].startswith("web")
    assert answer.err == 'Error from server (NotFound): pods "nope" not found\n'
    assert cluster("get", "pod", "nope", "--ignore-not-found").out == ""
    assert (
        cluster("get", "storageclass/nope", code=1).err == 'Error from server (NotFound): storageclasses.storage.k8s.io "nope" not found\n'
    )


def test_unknown_types(cluster: Shell) -> None:
    assert cluster("get", "pvcs", code=1).err.startswith('error: the server doesn\'t have a resource type "pvcs"; did you mean pvc')
    assert "known: csidrivers, " in cluster("get", "deployments", code=1).err


def test_describe(cluster: Shell) -> None:
    text = cluster("describe", "pod", "web").out
    assert text.startswith("Name:            web\nNamespace:       default\nLabels:")
    assert "last-applied" not in text
    assert "Successfully assigned default/web to n1" in text
    assert "Volumes:         " in text
    assert "Used By:                web" in cluster("describe", "pvc", "data").out
    assert cluster("describe", "no", "n").out.count("Name:") == 2  # all that begin so
    assert cluster("describe", "po", "-l", "app=shop").out.count("Name:") == 1
    assert cluster("describe", "po", "nope", code=1).err == 'Error from server (NotFound): pods "nope" not found\n'
    for kind in ("sc", "csinode", "pv", "pvc,po"):
        assert cluster("describe", kind).out.startswith("Name:")


def test_describe_of_what_is_nested(volsched: Shell) -> None:
    """Nothing of Python shows: times as the API or kubectl write them, maps as pairs, tolerations as kubectl words them."""
    volsched.story("10", "50", "30", "40", "60")
    pod = volsched("describe", "pod/web").out
    assert re.search(r"^Start Time: +Thu, 01 Jan 2026 00:[0-5]\d:\d\d \+0000$", pod, re.MULTILINE)
    assert "node.kubernetes.io/not-ready:NoExecute op=Exists for 300s\n" in pod
    volume = volsched("describe", "pv").out
    assert re.search(r"^ +volumeAttributes: storage\.kubernetes\.io/csiProvisionerIdentity=\S+$", volume, re.MULTILINE)
    assert re.search(r"^Creation Time: +2026-01-01T00:[0-5]\d:\d\dZ$", volsched("describe", "vs/www-snap").out, re.MULTILINE)
    assert re.search(r"^Creation Time: +2026-01-01T00:[0-5]\d:\d\dZ$", volsched("describe", "vsc").out, re.MULTILINE)
    assert not re.search(r"[{}]|datetime|None|True\b(?!$)", volume)


# fmt: off
TOLERATIONS = [
    ({"key": "a", "operator": "Exists"},                                              "a op=Exists"),
    ({"operator": "Exists"},                                                          "op=Exists"),
    ({"key": "a", "operator": "Equal", "value": "b", "effect": "NoSchedule"},         "a=b:NoSchedule"),
    ({"key": "a", "value": "b", "effect": "NoExecute", "tolerationSeconds": 5},       "a=b:NoExecute for 5s"),
    ({"key": "a", "operator": "Exists", "effect": "NoExecute"},                       "a:NoExecute op=Exists"),
]
# fmt: on


@pytest.mark.parametrize(("toleration", "text"), TOLERATIONS)
def test_tolerations(toleration: dict[str, object], text: str) -> None:
    assert _toleration(Toleration(**toleration)) == text  # type: ignore[arg-type]


def test_events(cluster: Shell) -> None:
    lines = cluster("events").lines
    assert lines[0].split() == ["LAST", "SEEN", "TYPE", "REASON", "OBJECT", "MESSAGE"]
    assert cluster("get", "events").lines == lines
    warnings = cluster("events", "--for", "pod/stuck", "--types=warning").lines
    assert all("Warning" in line and "Pod/stuck" in line for line in warnings[1:])
    assert "unbound immediate PersistentVolumeClaims" in warnings[1]
    assert cluster("events", "--types", "Strange", code=1).err.startswith("error: valid --types")
    assert cluster("events", "-n", "other").err == "No events found in other namespace.\n"
    assert cluster("events", "-A").lines[1].startswith("default")
    assert cluster("events", "-o", "json").value["items"][0]["kind"] == "Event"


def test_looking_changes_nothing(cluster: Shell) -> None:
    before = cluster.content
    for words in (("get", "all"), ("describe", "po"), ("events",), ("explain", "pods"), ("get", "po", "nope")):
        cluster(*words, code=None)
        assert cluster.content == before, words
