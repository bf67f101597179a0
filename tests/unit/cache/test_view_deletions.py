"""A deleted object does not come back into a view by something older than its deletion."""

from __future__ import annotations

from typing import Any

from tests.builders import make_pvc
from volsched.api.watch import Change, WatchEvent
from volsched.cache.view import View

KIND = "PersistentVolumeClaim"


def event(change: Change, version: int) -> WatchEvent:
    return WatchEvent(change, KIND, make_pvc(version=version), version)


def known(view: View) -> Any:
    found = view.get(KIND, "default", "data")
    return None if found is None else int(found.metadata.resourceVersion)


def test_late_answer_of_an_own_write_is_dropped() -> None:
    view = View([KIND])
    view.observe(event(Change.ADDED, 1))
    view.observe(event(Change.DELETED, 3))
    assert not view.put(make_pvc(version=2)) and known(view) is None


def test_delayed_event_is_dropped_and_a_new_object_is_taken() -> None:
    view = View([KIND])
    view.observe(event(Change.DELETED, 3))
    assert view.observe(event(Change.MODIFIED, 2)) == (None, False)
    assert view.observe(event(Change.ADDED, 4)) == (None, True) and known(view) == 4
    assert view.observe(event(Change.DELETED, 3))[1] is False and known(view) == 4


def test_dropped_object_needs_a_newer_version() -> None:
    view = View([KIND])
    view.put(make_pvc(version=5))
    view.drop(event(Change.ADDED, 5).key)
    assert not view.put(make_pvc(version=5))
    assert view.put(make_pvc(version=6))


def test_memory_of_deletions_is_limited() -> None:
    view = View([KIND])
    for number in range(View.TOMBSTONES_MAX + 5):
        view.observe(WatchEvent(Change.DELETED, KIND, make_pvc(f"claim-{number}", version=number + 1), number + 1))
    assert len(view._gone) == View.TOMBSTONES_MAX
