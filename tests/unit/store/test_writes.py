from __future__ import annotations

import datetime
from typing import Any

import pytest
from lightkube.models.core_v1 import PersistentVolumeClaimStatus, PodCondition

from tests.builders import make_class, make_namespace, make_node, make_pod, make_pv, make_pvc, make_snapshot
from tests.unit.store.worlds import make_store, pass_time
from volsched.api.edit import replace, with_annotations, with_finalizers, with_labels, with_metadata, with_spec
from volsched.api.kinds import Key
from volsched.api.snapshot import VolumeSnapshotStatus
from volsched.api.watch import Change, WatchEvent
from volsched.errors import AlreadyExistsError, ConflictError, ExpiredError, ForbiddenError, InputError, InvalidError, NotFoundError


def test_create_fills_in_what_only_the_server_knows() -> None:
    store = make_store()
    before = store.resource_version
    claim = store.create(make_pvc("www"), user="admin")
    assert claim.metadata.uid and claim.metadata.resourceVersion == str(before + 1) == str(store.resource_version)
    assert claim.metadata.creationTimestamp == datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    assert (claim.apiVersion, claim.kind, claim.metadata.generation) == ("v1", "PersistentVolumeClaim", None)
    assert store.get("PersistentVolumeClaim", "default", "www") is claim
    assert store.raw(Key("PersistentVolumeClaim", "default", "www")) is claim
    assert store.raw(Key("PersistentVolumeClaim", "default", "other")) is None


def test_times_have_whole_seconds() -> None:
    store = make_store()
    pass_time(store, 12.75)
    node = store.create(make_node("n1"), user="admin")
    assert node.metadata.creationTimestamp == datetime.datetime(2026, 1, 1, 0, 0, 12, tzinfo=datetime.UTC)


def test_what_a_user_may_not_set_is_not_taken() -> None:
    store = make_store()
    pod = make_pod("a", uid="mine", phase="Running", deleted=datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC))
    stored = store.create(pod, user="admin")
    assert stored.metadata.uid != "mine" and stored.metadata.deletionTimestamp is None and stored.status.phase == "Pending"


def test_texts_of_refusals_are_those_of_kubectl() -> None:
    store = make_store()
    store.create(make_pvc("www"), user="admin")
    with pytest.raises(NotFoundError, match=r'^persistentvolumeclaims "nope" not found$'):
        store.get("PersistentVolumeClaim", "default", "nope")
    with pytest.raises(NotFoundError, match=r'^storageclasses.storage.k8s.io "x" not found$'):
        store.delete("StorageClass", "", "x", user="admin")
    with pytest.raises(AlreadyExistsError, match=r'^persistentvolumeclaims "www" already exists$'):
        store.create(make_pvc("www"), user="admin")
    with pytest.raises(NotFoundError, match=r'^namespaces "nowhere" not found$'):
        store.create(make_pvc("www", namespace="nowhere"), user="admin")
    with pytest.raises(NotFoundError, match='the server doesn\'t have a resource type "Gadget"'):
        store.get("Gadget", "", "x")
    with pytest.raises(InvalidError, match="resourceVersion should not be set on objects to be created"):
        store.create(make_pvc("two", version=7), user="admin")


def test_a_stale_write_is_refused() -> None:
    store = make_store()
    first = store.create(make_pvc("www"), user="admin")
    store.update(with_labels(first, {"a": "1"}), user="admin")
    with pytest.raises(ConflictError) as refused:
        store.update(with_labels(first, {"b": "1"}), user="admin")
    assert str(refused.value) == (
        'Operation cannot be fulfilled on persistentvolumeclaims "www": the object has been modified; '
        "please apply your changes to the latest version and try again"
    )
    with pytest.raises(ConflictError):
        store.update(first, user="admin", subresource="status")
    unconditional = with_metadata(with_labels(first, {"b": "1"}), resourceVersion=None)
    assert store.update(unconditional, user="admin").metadata.labels == {"b": "1"}


def test_an_update_of_another_incarnation_is_refused() -> None:
    store = make_store()
    first = store.create(make_class("fast"), user="admin")
    store.delete("StorageClass", "", "fast", user="admin")
    store.create(make_class("fast"), user="admin")
    with pytest.raises(ConflictError, match="Precondition failed: UID in precondition"):
        store.update(with_metadata(with_labels(first, {"a": "1"}), resourceVersion=None), user="admin")


def test_a_write_that_changes_nothing_is_silent() -> None:
    store = make_store()
    seen: list[WatchEvent] = []
    claim = store.create(make_pvc("www", annotations={"a": "1"}), user="admin")
    store.subscribe(seen.append)
    lines, version = store.log.count, store.resource_version
    assert store.update(claim, user="admin") is claim
    assert store.update(claim, user="admin", subresource="status") is claim
    assert store.patch("PersistentVolumeClaim", "default", "www", {"metadata": {"annotations": {"a": "1"}}}, user="admin") is claim
    assert store.patch("PersistentVolumeClaim", "default", "www", {"metadata": {"labels": {}}}, user="admin") is claim
    assert (seen, store.log.count, store.resource_version) == ([], lines, version)


def test_status_and_the_rest_are_written_apart() -> None:
    store = make_store()
    claim = store.create(make_pvc("www"), user="admin")
    bound = replace(with_labels(claim, {"a": "1"}), status=PersistentVolumeClaimStatus(phase="Bound"))
    after_update = store.update(bound, user="admin")
    assert after_update.metadata.labels == {"a": "1"} and after_update.status.phase == "Pending"
    late = replace(with_labels(after_update, {"a": "2"}), status=PersistentVolumeClaimStatus(phase="Bound"))
    after_status = store.update(late, user="admin", subresource="status")
    assert after_status.metadata.labels == {"a": "1"} and after_status.status.phase == "Bound"
    with pytest.raises(NotFoundError, match="could not find the requested resource"):
        store.patch("StorageClass", "", store.create(make_class("c"), user="a").metadata.name, {}, user="a", subresource="status")


def test_generation_of_a_snapshot_follows_its_spec_and_the_deletion_mark() -> None:
    store = make_store()
    snap = store.create(make_snapshot("s", finalizers=["example.com/hold"], ready=True), user="admin")
    assert snap.metadata.generation == 1 and snap.status is None
    snap = store.update(with_annotations(snap, {"a": "1"}), user="admin")
    snap = store.update(replace(snap, status=VolumeSnapshotStatus(readyToUse=True)), user="admin", subresource="status")
    assert snap.metadata.generation == 1
    snap = store.update(with_spec(snap, volumeSnapshotClassName="other"), user="admin")
    assert snap.metadata.generation == 2
    snap = store.delete("VolumeSnapshot", "default", "s", user="admin")
    assert snap.metadata.generation == 3 and snap.metadata.deletionGracePeriodSeconds == 0
    assert store.delete("VolumeSnapshot", "default", "s", user="admin") is snap


def test_generation_of_a_pod() -> None:
    store = make_store()
    store.create(make_node("n1"), user="admin")
    pod = store.create(make_pod("a"), user="admin")
    store.bind("default", "a", uid=pod.metadata.uid, node="n1", user="kube-scheduler")
    assert store.get("Pod", "default", "a").metadata.generation == 1
    assert store.delete("Pod", "default", "a", user="admin").metadata.generation == 2
    assert store.delete("Pod", "default", "a", user="admin").metadata.generation == 2


def test_system_fields_survive_an_update() -> None:
    store = make_store()
    claim = store.create(make_pvc("www"), user="admin")
    bare = with_metadata(with_labels(claim, {"a": "1"}), uid=None, creationTimestamp=None, resourceVersion=None)
    stored = store.update(bare, user="admin")
    assert stored.metadata.uid == claim.metadata.uid and stored.metadata.creationTimestamp == claim.metadata.creationTimestamp


def test_generated_names() -> None:
    store = make_store()
    template = with_metadata(make_pod("x"), name=None, generateName="worker-")
    names = [store.create(template, user="admin").metadata.name for _ in range(3)]
    assert len(set(names)) == 3 and all(name.startswith("worker-") and len(name) == 12 for name in names)


def test_patches() -> None:
    store = make_store()
    pod = store.create(make_pod("a"), user="admin")
    patched = store.patch("Pod", "default", "a", {"status": {"nominatedNodeName": "n1"}}, user="kube-scheduler", subresource="status")
    assert patched.status.nominatedNodeName == "n1" and patched.status.qosClass == pod.status.qosClass
    patched = store.patch("Pod", "default", "a", {"status": {"nominatedNodeName": None}}, user="kube-scheduler", subresource="status")
    assert patched.status.nominatedNodeName is None
    added = [{"op": "add", "path": "/metadata/finalizers", "value": ["example.com/a"]}]
    store.patch("Pod", "default", "a", added, user="x", patch_type="json")
    more = [{"op": "add", "path": "/metadata/finalizers/-", "value": "example.com/b"}]
    assert store.patch("Pod", "default", "a", more, user="x", patch_type="json").metadata.finalizers == ["example.com/a", "example.com/b"]
    gone = [{"op": "replace", "path": "/metadata/finalizers", "value": None}]
    assert store.patch("Pod", "default", "a", gone, user="x", patch_type="json").metadata.finalizers is None


def test_a_patch_may_name_the_version_it_was_made_from() -> None:
    store = make_store()
    first = store.create(make_pvc("www"), user="admin").metadata.resourceVersion
    body = {"metadata": {"resourceVersion": first, "labels": {"a": "1"}}}
    store.patch("PersistentVolumeClaim", "default", "www", body, user="x")
    with pytest.raises(ConflictError, match="the object has been modified"):
        store.patch("PersistentVolumeClaim", "default", "www", {"metadata": {"resourceVersion": first, "labels": {"a": "2"}}}, user="x")
    for operations in (
        [{"op": "replace", "path": "/metadata/resourceVersion", "value": first}],
        [{"op": "test", "path": "/metadata/resourceVersion", "value": first}],
    ):
        with pytest.raises(ConflictError, match="the object has been modified"):
            store.patch("PersistentVolumeClaim", "default", "www", operations, user="x", patch_type="json")


def test_broken_patches_are_refused() -> None:
    store = make_store()
    claim = store.create(make_pvc("www"), user="admin")
    cases: list[tuple[Any, str]] = [
        ({"spec": {"accessModes": "ReadWriteOnce"}}, "merge"),
        ({"metadata": {"name": "other"}}, "merge"),
        ([{"op": "remove", "path": "/metadata/annotations/none"}], "json"),
        ([{"op": "test", "path": "/spec/volumeName", "value": "x"}], "json"),
        ({"not": "a list"}, "json"),
    ]
    for body, patch_type in cases:
        with pytest.raises(InvalidError):
            store.patch("PersistentVolumeClaim", "default", "www", body, user="x", patch_type=patch_type)  # type: ignore[arg-type]
    assert store.get("PersistentVolumeClaim", "default", "www") is claim


def test_lists_are_sorted_and_selected() -> None:
    store = make_store()
    store.create(make_namespace("apps"), user="admin")
    for namespace, name, labels in (("default", "b", {"app": "x"}), ("apps", "z", {"app": "x"}), ("default", "a", {}), ("apps", "c", {})):
        store.create(make_pod(name, namespace=namespace, labels=labels), user="admin")

    def names(**wanted: Any) -> list[tuple[str, str]]:
        return [(pod.metadata.namespace, pod.metadata.name) for pod in store.list("Pod", **wanted).items]

    assert names() == [("apps", "c"), ("apps", "z"), ("default", "a"), ("default", "b")]
    assert names(namespace="apps") == [("apps", "c"), ("apps", "z")]
    assert names(label_selector="app=x") == [("apps", "z"), ("default", "b")]
    assert names(field_selector="metadata.name=a") == [("default", "a")]
    store.create(make_pod("aa"), user="admin")
    store.delete("Pod", "apps", "c", user="admin")
    assert names() == [("apps", "z"), ("default", "a"), ("default", "aa"), ("default", "b")]
    assert store.list("Pod").resource_version == store.resource_version


def test_watch_replays_what_happened() -> None:
    store = make_store()
    start = store.resource_version
    claim = store.create(make_pvc("www"), user="admin")
    store.create(make_pod("a"), user="admin")
    store.update(with_labels(claim, {"a": "1"}), user="admin")
    store.delete("Pod", "default", "a", user="admin")
    told = [(event.change, event.key.name, event.resource_version - start) for event in store.watch(start)]
    assert told == [(Change.ADDED, "www", 1), (Change.ADDED, "a", 2), (Change.MODIFIED, "www", 3), (Change.DELETED, "a", 4)]
    assert [event.key.name for event in store.watch(start, ["Pod"])] == ["a", "a"]
    assert list(store.watch(store.resource_version)) == []
    last = list(store.watch(start))[-1]
    assert last.object.metadata.resourceVersion == str(start + 4)


def test_old_versions_expire() -> None:
    store = make_store(retained=10)
    for number in range(40):
        store.create(make_node(f"n{number:02}"), user="admin")
    version = store.resource_version
    assert len(list(store.watch(version - 10))) == 10
    with pytest.raises(ExpiredError, match=r"^too old resource version: 1 \(\d+\)$"):
        store.watch(1)


def test_subscribers_hear_every_change_in_order_also_when_one_writes() -> None:
    store = make_store()
    first: list[str] = []
    second: list[str] = []

    def reacts(event: WatchEvent) -> None:
        first.append(event.object.metadata.name)
        if event.object.metadata.name == "n1":
            store.create(make_node("n2"), user="reaction")

    store.subscribe(reacts)
    store.subscribe(lambda event: second.append(event.object.metadata.name))
    store.create(make_node("n1"), user="admin")
    assert first == second == ["n1", "n2"]


def test_objects_of_a_dump_keep_uid_status_and_times() -> None:
    store = make_store()
    made = datetime.datetime(2020, 5, 4, tzinfo=datetime.UTC)
    pod = make_pod("a", namespace="prod", uid="u-1", phase="Running", node="n1", created=made, version=123456, priority=7)
    stored = store.load(pod)
    assert (stored.metadata.uid, stored.status.phase, stored.spec.nodeName, stored.spec.priority) == ("u-1", "Running", "n1", 7)
    assert stored.metadata.creationTimestamp == made and stored.metadata.resourceVersion == str(store.resource_version)
    assert stored.metadata.generation == 1
    volume = store.load(make_pv("v", uid="u-2", phase="Released"))
    assert volume.status.phase == "Released" and volume.metadata.finalizers is None
    # the namespace was implied; the dump's own takes its place, nothing else may
    assert store.get("Namespace", "", "prod")
    assert store.load(make_namespace("prod", uid="u-3")).metadata.uid == "u-3"
    with pytest.raises(AlreadyExistsError):
        store.load(pod)
    with pytest.raises(InputError, match="uid"):
        store.load(make_pod("b"))


def test_an_object_must_not_be_huge() -> None:
    store = make_store()
    volume = store.create(make_pv("v"), user="admin")
    version, line = store.resource_version, store.log.count
    big = [PodCondition(type=f"t{number}", status="True", message="x" * 1_000) for number in range(1_600)]
    store.create(make_pod("a"), user="admin")
    pod = store.get("Pod", "default", "a")
    with pytest.raises(InvalidError, match="a store takes at most 1572864"):
        store.update(replace(pod, status=replace(pod.status, conditions=big)), user="x", subresource="status")
    assert store.resource_version == version + 1 and store.log.count == line + 1
    assert store.get("PersistentVolume", "", "v") is volume


def test_a_fresh_store_has_the_usual_namespaces() -> None:
    store = make_store()
    names = [namespace.metadata.name for namespace in store.list("Namespace").items]
    assert names == ["default", "kube-node-lease", "kube-public", "kube-system"]
    assert store.get("Namespace", "", "default").status.phase == "Active"
    assert store.get("Namespace", "", "default").metadata.labels == {"kubernetes.io/metadata.name": "default"}
    with pytest.raises(ForbiddenError, match=r'^namespaces "default" is forbidden: this namespace may not be deleted$'):
        store.delete("Namespace", "", "default", user="admin")


def test_a_namespace_goes_with_its_content() -> None:
    store = make_store()
    store.create(make_namespace("apps"), user="admin")
    store.create(make_namespace("empty"), user="admin")
    store.delete("Namespace", "", "empty", user="admin")
    assert store.raw(Key("Namespace", "", "empty")) is None
    pod = store.create(make_pod("a", namespace="apps"), user="admin")
    claim = store.create(make_pvc("c", namespace="apps"), user="admin")
    store.record_event(pod, type="Normal", reason="Seen", message="seen", source="test")
    left = store.delete("Namespace", "", "apps", user="admin")
    assert left.status.phase == "Terminating" and left.metadata.deletionTimestamp
    assert store.list("Pod", "apps").items == [] and store.get("PersistentVolumeClaim", "apps", "c").metadata.deletionTimestamp
    with pytest.raises(ForbiddenError, match="unable to create new content in namespace apps because it is being terminated"):
        store.create(make_pod("b", namespace="apps"), user="admin")
    held = store.get("PersistentVolumeClaim", "apps", "c")
    store.update(with_finalizers(held, remove=held.metadata.finalizers), user="test")
    assert store.raw(Key("Namespace", "", "apps")) is None and store.list("Event", "apps").items == []
    assert claim.metadata.uid == held.metadata.uid


def test_other_rooms_may_keep_bytes() -> None:
    store = make_store()
    store.put_value("csi", "b", b"2")
    store.put_value("csi", "a", b"1")
    store.put_value("loop", "a", b"3")
    store.put_value("csi", "gone", b"4")
    store.put_value("csi", "gone", None)
    assert store.values("csi") == {"a": b"1", "b": b"2"} and list(store.values("csi")) == ["a", "b"]
    assert store.value("loop", "a") == b"3" and store.value("loop", "b") is None


def test_an_empty_string_is_no_value_where_the_api_has_plain_strings() -> None:
    store = make_store()
    volume = store.create(make_pv("v", storage_class=""), user="admin")
    assert volume.spec.storageClassName is None
    assert store.create(make_pvc("c", storage_class="", volume=""), user="admin").spec.storageClassName == ""
    assert store.get("PersistentVolumeClaim", "default", "c").spec.volumeName is None
    emptied = replace(volume, status=replace(volume.status, message=""))
    assert store.update(emptied, user="x", subresource="status") is volume
    assert store.update(with_spec(volume, storageClassName=""), user="x") is volume
