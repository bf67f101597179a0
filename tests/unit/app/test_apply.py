"""The three-way merge: what `apply` sends for what was applied before, what is applied now and what is stored."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.builders import make_pvc
from volsched.api.edit import with_labels
from volsched.app.apply import LAST_APPLIED, apply, merge_patch
from volsched.env import Uids, VirtualClock
from volsched.store import Store

# fmt: off
MERGES = [
    ({},               {"a": 1},         {"a": 1},               {}),
    ({},               {"a": 2},         {"a": 1},               {"a": 2}),
    ({"a": 1},         {},               {"a": 1, "b": 2},       {"a": None}),
    ({"a": 1},         {},               {"b": 2},               {}),
    ({"m": {"x": 1}},  {"m": {}},        {"m": {"x": 1, "y": 2}}, {"m": {"x": None}}),
    ({},               {"m": {"x": 1}},  {},                     {"m": {"x": 1}}),
    ({"l": [1]},       {"l": [1, 2]},    {"l": [1]},             {"l": [1, 2]}),
]
# fmt: on


@pytest.mark.parametrize(("last", "wanted", "stored", "patch"), MERGES)
def test_merge_patch(last: Any, wanted: Any, stored: Any, patch: Any) -> None:
    assert merge_patch(last, wanted, stored) == patch


_JSON = st.recursive(st.integers(0, 3), lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3), max_leaves=8)
_MAPS = st.dictionaries(st.sampled_from("abc"), _JSON, max_size=3)


def _merged(stored: Any, patch: Any) -> Any:
    """RFC 7386."""
    if not isinstance(patch, dict):
        return patch
    out = dict(stored) if isinstance(stored, dict) else {}
    for key, value in patch.items():
        if value is None:
            out.pop(key, None)
        else:
            out[key] = _merged(out.get(key), value)
    return out


@given(_MAPS, _MAPS, _MAPS)
def test_a_patch_brings_what_is_wanted_and_a_second_one_is_empty(last: Any, wanted: Any, stored: Any) -> None:
    after = _merged(stored, merge_patch(last, wanted, stored))
    assert merge_patch(wanted, wanted, after) == {}


def _store() -> Store:
    return Store(clock=VirtualClock(10**18), uids=Uids(0))


def test_created_unchanged_configured() -> None:
    store = _store()
    claim = make_pvc("data")
    stored, outcome = apply(store, claim, user="admin")
    assert outcome == "created"
    assert LAST_APPLIED in stored.metadata.annotations
    assert apply(store, claim, user="admin")[1] == "unchanged"
    changed, outcome = apply(store, with_labels(claim, {"tier": "gold"}), user="admin")
    assert outcome == "configured"
    assert changed.metadata.labels == {"tier": "gold"}
    back, outcome = apply(store, claim, user="admin")
    assert outcome == "configured"
    assert not back.metadata.labels


def test_what_controllers_wrote_stays() -> None:
    store = _store()
    claim = make_pvc("data")
    apply(store, claim, user="admin")
    store.patch("PersistentVolumeClaim", "default", "data", {"metadata": {"annotations": {"by": "controller"}}}, user="x")
    assert apply(store, claim, user="admin")[1] == "unchanged"
    assert store.get("PersistentVolumeClaim", "default", "data").metadata.annotations["by"] == "controller"
