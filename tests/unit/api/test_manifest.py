"""Manifests to objects: what is accepted, what is refused and where the message points."""

from __future__ import annotations

import datetime
import gzip
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from lightkube.models.core_v1 import Pod

from volsched.api import schema
from volsched.api.kinds import KINDS, encode, to_json
from volsched.api.manifest import Loaded, from_manifest, load_files, load_text
from volsched.errors import InputError, UnsupportedError

DATA = Path(__file__).parents[2] / "data"
POD = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: web\n"
SPEC = "spec:\n  containers:\n  - name: main\n    image: app:1\n"


def load(text: str) -> tuple[list[Loaded], list[str]]:
    told: list[str] = []
    return load_text(text, source="f.yaml", warn=told.append), told


def refused(text: str) -> str:
    with pytest.raises(InputError) as caught:
        load(text)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_pod_in_yaml_and_in_json_is_the_same() -> None:
    (one,), _ = load(POD + SPEC)
    (two,), _ = load(json.dumps(to_json(one.object)))
    assert isinstance(one.object, Pod)
    assert one.object == two.object
    assert (one.source, one.document, one.line) == ("f.yaml", 1, 1)


def test_unknown_fields_are_told_in_kubectls_words_and_left_out() -> None:
    (item,), told = load(POD + SPEC + "    imagee: x\n  foo: {a: 1}\nstatuss: 1\n")
    assert told == ['unknown field "spec.containers[0].imagee"', 'unknown field "spec.foo"', 'unknown field "statuss"']
    assert b"foo" not in encode(item.object)


def test_fields_given_twice_are_told() -> None:
    (item,), told = load(POD + "  name: other\n" + SPEC)
    assert told == ['duplicate field "metadata.name"']
    assert item.object.metadata.name == "other"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (POD + "spec:\n  containers: x\n", 'line 6, spec.containers: expected a list, got the string "x"'),
        (POD + "spec: {}\n", "line 5, spec.containers: Required value"),
        (POD + "spec:\n  containers:\n  - image: x\n", "line 7, spec.containers[0].name: Required value"),
        (
            POD + "spec:\n  containers:\n  - name: 5\n",
            "line 7, spec.containers[0].name: expected a string, got the number 5; put it in quotes",
        ),
        (POD + SPEC + '  priority: "5"\n', 'line 9, spec.priority: expected an integer, got the string "5"'),
        (POD + SPEC + "  priority: 5.5\n", "line 9, spec.priority: expected an integer, got the number 5.5"),
        (POD + SPEC + "  priority: 99999999999999999999\n", "line 9, spec.priority: 100000000000000000000 is out of range"),
        (POD + SPEC + "  hostNetwork: 1\n", "line 9, spec.hostNetwork: expected a boolean, got the number 1"),
        (
            POD + "  labels:\n    app: web\n    on: yes\n" + SPEC,
            "line 7, metadata.labels[true]: expected a string, got the boolean true; put it in quotes",
        ),
        (POD + "  labels: [a]\n" + SPEC, "line 5, metadata.labels: expected a mapping, got a list"),
        (
            POD + SPEC + "    resources:\n      requests:\n        memory: 1GB\n",
            'line 11, spec.containers[0].resources.requests[memory]: Invalid value: "1GB": quantities must match',
        ),
        (
            POD + SPEC + "    resources:\n      requests:\n        memory: [1]\n",
            "line 11, spec.containers[0].resources.requests[memory]: expected a quantity, got a list",
        ),
        (POD + "  creationTimestamp: 2026-01-01\n" + SPEC, "line 5, metadata.creationTimestamp: expected a time like"),
        (POD + '  creationTimestamp: "2026-01-01T00:00:00"\n' + SPEC, "line 5, metadata.creationTimestamp: expected a time with its zone"),
        ("apiVersion: v1\nkind: Pod\nmetadata: {}\n" + SPEC, "line 3, metadata.name: Required value: name or generateName is required"),
        ("apiVersion: v1\nkind: Pod\n" + SPEC, "line 1, metadata.name: Required value: name or generateName is required"),
        ("kind: Pod\n", "line 1, apiVersion: Required value: a manifest has apiVersion and kind"),
        ("apiVersion: v1\n", "line 1, kind: Required value: a manifest has apiVersion and kind"),
        ("apiVersion: v1\nkind: [Pod]\n", "line 2, kind: expected a string, got a list"),
        (
            "apiVersion: apps/v1\nkind: Deployment\n",
            'line 2, kind: no matches for kind "Deployment" in version "apps/v1"; volsched knows Name',
        ),
        ("apiVersion: v2\nkind: Pod\n", 'line 1, apiVersion: no matches for kind "Pod" in version "v2"; volsched knows Pod as v1'),
        ("5\n", "line 1: a manifest is a mapping with apiVersion and kind, not the number 5"),
        ("- a\n", "line 1: a manifest is a mapping with apiVersion and kind, not a list"),
        ("apiVersion: v1\nkind: List\nitems: 5\n", "line 3, items: expected a list, got the number 5"),
    ],
)
def test_refusals_name_file_document_line_and_path(text: str, message: str) -> None:
    assert refused(text).startswith(f"f.yaml, document 1, {message}")


def test_the_second_document_is_named() -> None:
    assert refused(f"{POD}{SPEC}---\n{POD}spec: 5\n").startswith("f.yaml, document 2, line 14, spec: expected a mapping, got the number 5")


def test_lines_in_json_are_found() -> None:
    text = '{"apiVersion": "v1", "kind": "Pod",\n "metadata": {"name": "a"},\n "spec": {"containers": [\n  {"name": "x"},\n  {"name": 7}]}}'
    assert refused(text).startswith("f.yaml, document 1, line 5, spec.containers[1].name: expected a string")


def test_lists_of_both_kinds() -> None:
    items = "- metadata: {name: a}\n  spec: {containers: []}\n- metadata: {name: b}\n  spec: {containers: []}\n"
    found, _ = load(f"apiVersion: v1\nkind: PodList\nitems:\n{items}")
    assert [(item.object.metadata.name, item.line) for item in found] == [("a", 4), ("b", 6)]
    node = "{apiVersion: v1, kind: Node, metadata: {name: node-1}}"
    found, _ = load(f"apiVersion: v1\nkind: List\nitems:\n- {node}\n- {{apiVersion: v1, kind: List, items: [{node}]}}\n")
    assert [item.object.kind for item in found] == ["Node", "Node"]
    assert load("apiVersion: v1\nkind: List\nitems:\n")[0] == []


def test_a_wrong_item_of_a_list_is_named() -> None:
    good = "- apiVersion: v1\n  kind: Node\n  metadata: {name: node-1}\n"
    text = f"apiVersion: v1\nkind: List\nitems:\n{good}- apiVersion: v1\n  kind: Pod\n  metadata: {{nam: x}}\n"
    assert refused(text).startswith("f.yaml, document 1, line 9, items[1].metadata.name: Required value")


def test_unknown_fields_of_a_list_item_are_told_from_the_item_on() -> None:
    _, told = load("apiVersion: v1\nkind: NodeList\nitems:\n- metadata: {name: node-1}\n  foo: 1\n")
    assert told == ['unknown field "foo"']


def test_numbers_become_quantity_strings() -> None:
    text = POD + SPEC + "    resources:\n      requests: {cpu: 1.5, memory: 1e3, example.com/x: 0777}\n"
    (item,), _ = load(text)
    assert item.object.spec.containers[0].resources.requests == {"cpu": "1.5", "memory": "1000", "example.com/x": "511"}
    (capacity,), _ = load(
        "apiVersion: storage.k8s.io/v1\nkind: CSIStorageCapacity\nmetadata: {name: c}\nstorageClassName: s\ncapacity: 5\n"
    )
    assert capacity.object.capacity == "5"


def test_nulls_count_as_not_given() -> None:
    (item,), _ = load(POD + "  creationTimestamp: null\n  labels: {a: }\n" + SPEC + "  nodeName: ~\nstatus: {}\n")
    assert item.object.metadata.creationTimestamp is None
    assert item.object.metadata.labels == {"a": ""}
    assert item.object.spec.nodeName is None


def test_times_are_utc_and_whole_seconds() -> None:
    (item,), _ = load(POD + '  creationTimestamp: "2026-01-01T02:00:00.75+02:00"\n' + SPEC)
    assert item.object.metadata.creationTimestamp == datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    (event,), _ = load(
        "apiVersion: v1\nkind: Event\nmetadata: {name: e}\ninvolvedObject: {}\neventTime: 2026-01-01T00:00:00.123456Z\n"
        "firstTimestamp: 2026-01-01T00:00:00.5Z\n"
    )
    assert event.object.eventTime.microsecond == 123456
    assert event.object.firstTimestamp.microsecond == 0


def test_status_is_filled_as_a_server_would() -> None:
    text = "apiVersion: apps/v1\nkind: ReplicaSet\nmetadata: {name: r}\nspec: {selector: {}}\nstatus: {}\n"
    assert load(text)[0][0].object.status.replicas == 0


def test_group_snapshots_of_older_versions_are_read_as_v1() -> None:
    text = (
        "apiVersion: groupsnapshot.storage.k8s.io/v1beta2\nkind: VolumeGroupSnapshot\nmetadata: {name: g}\n"
        "spec: {source: {selector: {matchLabels: {a: b}}}}\n"
    )
    (item,), told = load(text)
    assert item.object.apiVersion == "groupsnapshot.storage.k8s.io/v1"
    assert told == [
        "groupsnapshot.storage.k8s.io/v1beta2 VolumeGroupSnapshot is deprecated; use groupsnapshot.storage.k8s.io/v1 VolumeGroupSnapshot"
    ]
    pairs = (
        "apiVersion: groupsnapshot.storage.k8s.io/v1beta1\nkind: VolumeGroupSnapshotContent\nmetadata: {name: g}\n"
        "spec: {deletionPolicy: Delete, driver: d, source: {volumeHandles: [v]}, volumeGroupSnapshotRef: {}}\n"
        "status: {volumeSnapshotHandlePairList: []}\n"
    )
    with pytest.raises(UnsupportedError, match=r"line 5, status\.volumeSnapshotHandlePairList: not supported"):
        load(pairs)


def test_files_and_directories(tmp_path: Path) -> None:
    (tmp_path / "b.yml").write_text(POD + SPEC)
    (tmp_path / "a.json").write_text('{"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"}}')
    (tmp_path / "notes.txt").write_text("not: [a manifest")
    (tmp_path / "below").mkdir()
    found = load_files([tmp_path, tmp_path / "b.yml"], warn=pytest.fail)
    assert [(item.object.kind, Path(item.source).name) for item in found] == [("Node", "a.json"), ("Pod", "b.yml"), ("Pod", "b.yml")]
    with pytest.raises(InputError, match="holds no manifest"):
        load_files([tmp_path / "below"], warn=pytest.fail)
    with pytest.raises(InputError, match="cannot be read: No such file"):
        load_files([tmp_path / "absent.yaml"], warn=pytest.fail)


def test_a_json_file_is_json_only(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text("{a: 1}")
    with pytest.raises(InputError, match=r"x\.json, document 1, line 1: invalid JSON"):
        load_files([path], warn=pytest.fail)
    path.write_bytes(b"\xff\xff\xff")
    with pytest.raises(InputError, match="not UTF-8"):
        load_files([path], warn=pytest.fail)


def test_a_file_beyond_the_limit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("volsched.api.manifest.TEXT_BYTES_MAX", 10)
    path = tmp_path / "x.yaml"
    path.write_text(POD + SPEC)
    with pytest.raises(InputError, match="more than the 10 read from one file"):
        load_files([path], warn=pytest.fail)


def test_one_dict_with_a_prefix() -> None:
    with pytest.raises(InputError) as caught:
        from_manifest(
            {"apiVersion": "v1", "kind": "Node", "metadata": {"name": 1}}, source="s.json", document=3, path_prefix="steps[2].body"
        )
    assert str(caught.value).startswith("s.json, document 3, steps[2].body.metadata.name: expected a string")
    told: list[str] = []
    from_manifest({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"}, "x": 1}, warn=told.append)
    assert told == ['unknown field "x"']


def test_lenient_fills_and_keeps() -> None:
    body: dict[str, Any] = {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"labels": {"a": True, "b": 1.0, "c": None}},
        "spec": {"selector": {"matchLabels": {"app": "db"}}},
    }
    owner = from_manifest(body, lenient=True)
    assert owner.metadata.labels == {"a": "true", "b": "1", "c": ""}
    assert owner.spec.template is not None
    claim = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {}, "spec": {"resources": {"requests": {"storage": "much"}}}}
    assert from_manifest(claim, lenient=True).spec.resources.requests == {"storage": "much"}
    assert from_manifest({"apiVersion": "v1", "kind": "Pod"}, lenient=True).spec is None
    assert from_manifest({"apiVersion": "v1", "kind": "Pod", "spec": {}}, lenient=True).spec.containers == []


def test_every_map_field_is_classified() -> None:
    """A new map in the models would be taken for a map of strings: look at it before it goes wrong silently."""
    strings = {
        ("ObjectMeta", "annotations"), ("ObjectMeta", "labels"), ("PodSpec", "nodeSelector"), ("LabelSelector", "matchLabels"),
        ("CSIVolumeSource", "volumeAttributes"), ("FlexVolumeSource", "options"), ("PodCertificateProjection", "userAnnotations"),
        ("CSIPersistentVolumeSource", "volumeAttributes"), ("FlexPersistentVolumeSource", "options"),
        ("PersistentVolumeClaimStatus", "allocatedResourceStatuses"), ("ServiceSpec", "selector"),
        ("ReplicationControllerSpec", "selector"),
        ("Secret", "data"), ("Secret", "stringData"), ("StorageClass", "parameters"), ("VolumeAttachmentStatus", "attachmentMetadata"),
        ("VolumeAttributesClass", "parameters"), ("VolumeSnapshotClass", "parameters"), ("VolumeGroupSnapshotClass", "parameters"),
    }  # fmt: skip
    maps: set[tuple[str, str]] = set()
    quantities: set[tuple[str, str]] = set()
    seen: set[type] = set()
    pending: list[Any] = [kind.type for kind in KINDS.values()]
    while pending:
        found = pending.pop()
        for part in getattr(found, "__args__", ()):
            pending.append(part)
        if not (isinstance(found, type) and issubclass(found, msgspec.Struct)) or found in seen:
            continue
        seen.add(found)
        for field in msgspec.structs.fields(found):
            pending.append(field.type)
            name = (found.__name__, field.encode_name)
            bare = schema._bare(field.type)
            if bare is dict or getattr(bare, "__origin__", None) is dict:
                maps.add(name)
            if "Quantity" in str(found.__annotations__.get(field.name, "")):
                quantities.add(name)
    assert maps == strings | schema.QUANTITY_MAPS | schema.FREE_MAPS
    assert quantities | {("VolumeSnapshotStatus", "restoreSize")} == schema.QUANTITY_FIELDS


@pytest.mark.parametrize("family", ["hostile", "edge-vol", "edge-podlevel"])
def test_recorded_cases_are_taken_without_a_warning(family: str) -> None:
    with gzip.open(DATA / "golden" / f"decisions-{family}.jsonl.gz") as lines:
        for line in lines:
            case = json.loads(line)
            for body in [*case["objects"], case["pod"]]:
                from_manifest(body, lenient=True, warn=pytest.fail)
