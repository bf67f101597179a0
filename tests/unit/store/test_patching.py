from __future__ import annotations

from typing import Any

import pytest

from volsched.store.patching import PatchError, PreconditionFailedError, json_patch, merge_patch

# RFC 7386, appendix A
MERGES: list[tuple[Any, Any, Any]] = [
    ({"a": "b"}, {"a": "c"}, {"a": "c"}),
    ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
    ({"a": "b"}, {"a": None}, {}),
    ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
    ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
    ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
    ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
    ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
    (["a", "b"], ["c", "d"], ["c", "d"]),
    ({"a": "b"}, ["c"], ["c"]),
    ({"a": "foo"}, None, None),
    ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
    ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
    ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
]


@pytest.mark.parametrize(("document", "patch", "merged"), MERGES)
def test_merge_patch(document: Any, patch: Any, merged: Any) -> None:
    before = repr(document)
    assert merge_patch(document, patch) == merged
    assert repr(document) == before


DOCUMENT = {"metadata": {"annotations": {"a/b": "1", "c~d": "2"}, "finalizers": ["x", "y"]}, "spec": {"n": 1}}


@pytest.mark.parametrize(
    ("operations", "path", "value"),
    [
        ([{"op": "add", "path": "/metadata/finalizers/-", "value": "z"}], ("metadata", "finalizers"), ["x", "y", "z"]),
        ([{"op": "add", "path": "/metadata/finalizers/0", "value": "z"}], ("metadata", "finalizers"), ["z", "x", "y"]),
        ([{"op": "remove", "path": "/metadata/finalizers/0"}], ("metadata", "finalizers"), ["y"]),
        ([{"op": "replace", "path": "/metadata/finalizers/1", "value": "z"}], ("metadata", "finalizers"), ["x", "z"]),
        ([{"op": "remove", "path": "/metadata/annotations/a~1b"}], ("metadata", "annotations"), {"c~d": "2"}),
        ([{"op": "replace", "path": "/metadata/annotations/c~0d", "value": "3"}], ("metadata", "annotations", "c~d"), "3"),
        ([{"op": "replace", "path": "/status", "value": {"ready": True}}], ("status",), {"ready": True}),
        ([{"op": "move", "from": "/spec/n", "path": "/spec/m"}], ("spec",), {"m": 1}),
        ([{"op": "copy", "from": "/spec/n", "path": "/spec/m"}], ("spec",), {"n": 1, "m": 1}),
        ([{"op": "test", "path": "/spec/n", "value": 1}, {"op": "remove", "path": "/spec/n"}], ("spec",), {}),
        ([{"op": "test", "path": "/spec/none", "value": None}], ("spec",), {"n": 1}),
    ],
)
def test_json_patch(operations: Any, path: tuple[str, ...], value: Any) -> None:
    before = repr(DOCUMENT)
    found: Any = json_patch(DOCUMENT, operations)
    for part in path:
        found = found[part]
    assert found == value
    assert repr(DOCUMENT) == before


@pytest.mark.parametrize(
    "operations",
    [
        [{"op": "remove", "path": "/spec/none"}],
        [{"op": "add", "path": "/none/x", "value": 1}],
        [{"op": "add", "path": "/metadata/finalizers/7", "value": 1}],
        [{"op": "add", "path": "/metadata/finalizers/01", "value": 1}],
        [{"op": "add", "path": "/spec/n/deeper", "value": 1}],
        [{"op": "add", "path": "/spec/x"}],
        [{"op": "sing", "path": "/spec/x"}],
        [{"op": "copy", "path": "/spec/x"}],
        [{"op": "remove", "path": ""}],
        [{"op": "remove", "path": "spec"}],
        [{"op": "test", "path": "/spec/n", "value": 2}],
        ["remove"],
        "remove",
        [{"op": "test", "path": "/spec/n", "value": 1}] * 10_001,
    ],
)
def test_patches_that_do_not_apply(operations: Any) -> None:
    with pytest.raises(PatchError):
        json_patch(DOCUMENT, operations)


def test_a_failed_test_of_the_version_is_told_apart() -> None:
    with pytest.raises(PreconditionFailedError):
        json_patch({"metadata": {"resourceVersion": "5"}}, [{"op": "test", "path": "/metadata/resourceVersion", "value": "4"}])
