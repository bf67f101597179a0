from __future__ import annotations

import datetime

import pytest

from tests.builders import make_node, make_pod, make_pv, make_pvc
from tests.unit.store.worlds import make_store, pass_time
from volsched.api.edit import replace, with_finalizers, with_metadata
from volsched.api.kinds import Key
from volsched.api.watch import Change
from volsched.errors import ConflictError, InvalidError
from volsched.store import Store

POD = Key("Pod", "default", "a")


def at(seconds: float) -> datetime.datetime:
    return datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC) + datetime.timedelta(seconds=seconds)


def store_with_bound_pod(*, finalizers: tuple[str, ...] = (), grace_s: int | None = None) -> Store:
    store = make_store()
    store.create(make_node("n1"), user="admin")
    pod = make_pod("a", finalizers=finalizers, spec={"terminationGracePeriodSeconds": grace_s} if grace_s is not None else None)
    store.create(pod, user="admin")
    store.bind("default", "a", uid="", node="n1", user="kube-scheduler")
    return store


def test_without_finalizers_an_object_goes_at_once() -> None:
    store = make_store()
    store.create(make_node("n1"), user="admin")
    start = store.resource_version
    gone = store.delete("Node", "", "n1", user="admin")
    assert store.raw(Key("Node", "", "n1")) is None and gone.metadata.resourceVersion == str(start + 1)
    assert [event.change for event in store.watch(start)] == [Change.DELETED]


def test_finalizers_hold_an_object_until_the_last_is_gone() -> None:
    store = make_store()
    claim = store.create(make_pvc("www", finalizers=["example.com/hold"]), user="admin")
    pass_time(store, 3)
    marked = store.delete("PersistentVolumeClaim", "default", "www", user="admin")
    assert marked.metadata.deletionTimestamp == at(3) and marked.metadata.deletionGracePeriodSeconds == 0
    assert marked.metadata.finalizers == ["example.com/hold", "kubernetes.io/pvc-protection"]
    pass_time(store, 3)
    assert store.delete("PersistentVolumeClaim", "default", "www", user="admin") is marked
    one_left = store.update(with_finalizers(marked, remove=["example.com/hold"]), user="x")
    assert one_left.metadata.deletionTimestamp == at(3)
    start = store.resource_version
    store.update(with_finalizers(one_left, remove=["kubernetes.io/pvc-protection"]), user="x")
    assert store.raw(Key("PersistentVolumeClaim", "default", "www")) is None
    (event,) = store.watch(start)
    assert event.change is Change.DELETED and event.object.metadata.uid == claim.metadata.uid


def test_a_patch_may_take_the_last_finalizer() -> None:
    store = make_store()
    store.create(make_pv("v"), user="admin")
    store.delete("PersistentVolume", "", "v", user="admin")
    store.patch("PersistentVolume", "", "v", {"metadata": {"finalizers": None}}, user="x")
    assert store.raw(Key("PersistentVolume", "", "v")) is None


def test_no_finalizer_may_be_added_to_what_is_being_deleted() -> None:
    store = make_store()
    store.create(make_pvc("www"), user="admin")
    marked = store.delete("PersistentVolumeClaim", "default", "www", user="admin")
    with pytest.raises(InvalidError) as refused:
        store.update(with_finalizers(marked, add=["example.com/new"]), user="x")
    assert refused.value.causes == (
        (
            "metadata.finalizers",
            'Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers []string{"example.com/new"}',
        ),
    )
    # neither can the mark be taken back
    assert store.update(with_metadata(marked, deletionTimestamp=None), user="x") is marked


def test_a_pod_that_no_kubelet_runs_goes_at_once() -> None:
    store = make_store()
    store.create(make_pod("a"), user="admin")
    start = store.resource_version
    store.delete("Pod", "default", "a", user="admin")
    assert store.raw(POD) is None and [event.change for event in store.watch(start)] == [Change.DELETED]
    finished = store_with_bound_pod()
    finished.patch("Pod", "default", "a", {"status": {"phase": "Succeeded"}}, user="kubelet", subresource="status")
    finished.delete("Pod", "default", "a", user="admin")
    assert finished.raw(POD) is None


@pytest.mark.parametrize(("own_s", "asked_s", "period_s"), [(None, None, 30), (5, None, 5), (5, 60, 60), (5, -3, 1)])
def test_a_running_pod_gets_its_grace_period(own_s: int | None, asked_s: int | None, period_s: int) -> None:
    store = store_with_bound_pod(grace_s=own_s)
    pass_time(store, 10)
    marked = store.delete("Pod", "default", "a", user="admin", grace_period_s=asked_s)
    assert marked.metadata.deletionTimestamp == at(10 + period_s) and marked.metadata.deletionGracePeriodSeconds == period_s
    assert store.raw(POD) is marked
    store.delete("Pod", "default", "a", user="kubelet", grace_period_s=0)
    assert store.raw(POD) is None


def test_a_second_delete_of_a_pod_may_only_shorten_its_grace() -> None:
    store = store_with_bound_pod(finalizers=("example.com/hold",))
    first = store.delete("Pod", "default", "a", user="admin")
    assert store.delete("Pod", "default", "a", user="admin") is first
    assert store.delete("Pod", "default", "a", user="admin", grace_period_s=40) is first
    shorter = store.delete("Pod", "default", "a", user="admin", grace_period_s=10)
    assert shorter.metadata.deletionTimestamp == at(10) and shorter.metadata.deletionGracePeriodSeconds == 10
    assert shorter.metadata.generation == 2
    ended = store.delete("Pod", "default", "a", user="kubelet", grace_period_s=0)
    assert ended.metadata.deletionTimestamp == at(0) and store.raw(POD) is ended
    store.update(with_finalizers(ended, remove=["example.com/hold"]), user="x")
    assert store.raw(POD) is None


def test_taking_the_finalizer_of_a_pod_in_its_grace_does_not_remove_it() -> None:
    store = store_with_bound_pod(finalizers=("example.com/hold",))
    marked = store.delete("Pod", "default", "a", user="admin")
    store.update(with_finalizers(marked, remove=["example.com/hold"]), user="x")
    assert store.raw(POD) is not None


def test_the_deleted_event_of_a_pod_shows_the_mark() -> None:
    store = store_with_bound_pod()
    start = store.resource_version
    store.delete("Pod", "default", "a", user="admin", grace_period_s=0)
    (event,) = store.watch(start)
    assert event.object.metadata.deletionTimestamp == at(0) and event.object.metadata.deletionGracePeriodSeconds == 0


def test_preconditions_of_a_delete() -> None:
    store = make_store()
    node = store.create(make_node("n1"), user="admin")
    with pytest.raises(ConflictError) as refused:
        store.delete("Node", "", "n1", user="x", uid="other")
    assert str(refused.value) == (
        f'Operation cannot be fulfilled on Node "n1": the UID in the precondition (other) does not match the UID in record '
        f"({node.metadata.uid}). The object might have been deleted and then recreated"
    )
    with pytest.raises(ConflictError, match=r"the ResourceVersion in the precondition \(1\) does not match"):
        store.delete("Node", "", "n1", user="x", resource_version="1")
    store.delete("Node", "", "n1", user="x", uid=node.metadata.uid, resource_version=node.metadata.resourceVersion)
    assert store.raw(Key("Node", "", "n1")) is None


def test_a_status_write_does_not_remove_what_finalizers_hold() -> None:
    store = make_store()
    store.create(make_pvc("www"), user="admin")
    marked = store.delete("PersistentVolumeClaim", "default", "www", user="admin")
    store.update(replace(marked, status=replace(marked.status, phase="Lost")), user="x", subresource="status")
    assert store.get("PersistentVolumeClaim", "default", "www").status.phase == "Lost"
