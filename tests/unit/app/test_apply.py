"""The three-way merge: what `apply` sends for what was applied before, what is applied now and what is stored."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.builders import make_node, make_pod, make_pvc
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
    ({},               {"tolerations": [{"key": "a"}]}, {"tolerations": [{"key": "a"}, {"key": "b"}]}, {"tolerations": [{"key": "a"}]}),
]
# fmt: on


@pytest.mark.parametrize(("last", "wanted", "stored", "patch"), MERGES)
def test_merge_patch(last: Any, wanted: Any, stored: Any, patch: Any) -> None:
    assert merge_patch(last, wanted, stored) == patch


# fmt: off
NAMED_LISTS = {
    # name                     last         wanted       stored            merged, None: no patch
    "defaults stay":          ("a",         "a",         "a=1",            None),
    "others' elements stay":  ("a",         "a",         "a b=2",          None),
    "removed by the user":    ("a=1 b=2",   "a=1",       "a=1 b=2 c=3",    "a=1 c=3"),
    "a field removed":        ("a=1",       "a",         "a=1",            "a"),
    "added":                  ("",          "b=2",       "a=1",            "b=2 a=1"),
    "reordered":              ("a=1 b=2",   "b=2 a=1",   "a=1 b=2",        "b=2 a=1"),
    "names twice":            ("",          "a=1 a=2",   "a=1",            "a=1 a=2"),
}
# fmt: on


def _named_list(text: str) -> dict[str, Any]:
    rows = [word.partition("=") for word in text.split()]
    return {"volumes": [{"name": name} | ({"size": size} if size else {}) for name, _, size in rows]}


@pytest.mark.parametrize("name", NAMED_LISTS)
def test_lists_with_names_merge_element_by_element(name: str) -> None:
    last, wanted, stored, merged = NAMED_LISTS[name]
    patch = {} if merged is None else _named_list(merged)
    assert merge_patch(_named_list(last), _named_list(wanted), _named_list(stored)) == patch


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


def test_what_defaulting_says_anyway_is_no_change() -> None:
    store = _store()
    pod = make_pod("web", claims=["data"], cpu="0.1")
    apply(store, pod, user="admin")
    assert store.get("Pod", "default", "web").spec.containers[0].imagePullPolicy
    assert apply(store, pod, user="admin")[1] == "unchanged"
    node = make_node("n", cpu="4")
    apply(store, node, user="admin")
    assert apply(store, node, user="admin")[1] == "unchanged"
    assert apply(store, make_node("n", cpu="2"), user="admin")[1] == "configured"
    assert store.get("Node", "", "n").status.allocatable["cpu"] == "2"
