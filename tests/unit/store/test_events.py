from __future__ import annotations

import datetime

from tests.builders import make_namespace, make_node, make_pod
from tests.unit.store.worlds import make_store, pass_time
from volsched.api.watch import WatchEvent
from volsched.store import Store, is_object_change
from volsched.store.events import cut


def tell(store: Store, obj: object, message: str = "no room", *, source: str = "default-scheduler") -> None:
    store.record_event(obj, type="Warning", reason="FailedScheduling", message=message, source=source, action="Scheduling")


def test_an_event_names_its_object() -> None:
    store = make_store()
    store.create(make_namespace("apps"), user="admin")
    pod = store.create(make_pod("a", namespace="apps"), user="admin")
    tell(store, pod)
    (event,) = store.list("Event").items
    assert event.metadata.namespace == "apps" and event.metadata.name.startswith("a.")
    about = event.involvedObject
    assert (about.kind, about.apiVersion, about.namespace, about.name, about.uid) == ("Pod", "v1", "apps", "a", pod.metadata.uid)
    assert (event.type, event.reason, event.message, event.action) == ("Warning", "FailedScheduling", "no room", "Scheduling")
    assert event.source.component == "default-scheduler" and event.count == 1


def test_repeats_are_counted() -> None:
    store = make_store()
    pod = store.create(make_pod("a"), user="admin")
    tell(store, pod)
    pass_time(store, 60)
    tell(store, pod)
    tell(store, pod, "another reason")
    tell(store, pod, source="other")
    counts = sorted((event.message, event.source.component, event.count) for event in store.list("Event").items)
    assert counts == [("another reason", "default-scheduler", 1), ("no room", "default-scheduler", 2), ("no room", "other", 1)]
    repeated = next(event for event in store.list("Event").items if event.count == 2)
    assert repeated.lastTimestamp - repeated.firstTimestamp == datetime.timedelta(seconds=60)


def test_another_incarnation_has_its_own_events() -> None:
    store = make_store()
    for _ in range(2):
        tell(store, store.create(make_pod("a"), user="admin"))
        store.delete("Pod", "default", "a", user="admin")
    assert [event.count for event in store.list("Event").items] == [1, 1]


def test_cluster_scoped_objects_have_their_events_in_default() -> None:
    store = make_store()
    tell(store, store.create(make_node("n1"), user="admin"))
    (event,) = store.list("Event", "default").items
    assert event.involvedObject.namespace is None


def test_long_messages_are_cut_by_bytes() -> None:
    assert cut("x" * 1024) == "x" * 1024
    assert cut("x" * 1025) == "x" * 1020 + " ..."
    assert len(cut("ü" * 1024).encode()) <= 1024 and cut("ü" * 1024).endswith("ü ...")


def test_long_names_stay_names() -> None:
    store = make_store()
    pod = store.create(make_pod("a" * 250), user="admin")
    tell(store, pod)
    (event,) = store.list("Event").items
    assert len(event.metadata.name) == 253


def test_an_event_is_no_change_of_the_cluster() -> None:
    store = make_store()
    seen: list[WatchEvent] = []
    store.subscribe(seen.append)
    tell(store, store.create(make_pod("a"), user="admin"))
    assert [is_object_change(event) for event in seen] == [True, False]
