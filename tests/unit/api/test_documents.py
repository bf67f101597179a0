"""Text to values: YAML as kubectl reads it (answers recorded from Go), JSON, limits, line numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from volsched.api.documents import (
    ALIASED_VALUES_MAX,
    DEPTH_MAX,
    Document,
    MapKey,
    TextError,
    decoded_text,
    documents,
    locate,
    path_text,
)
from volsched.api.scalars import resolve

RECORDED: list[dict[str, Any]] = json.loads((Path(__file__).parents[2] / "data" / "yaml.json").read_text())["documents"]

# One file of odd scalars as kubectl 1.37 prints it back.
ODD = """
bool_yes: yes
bool_off: off
n: key
octal: 0777
octal_new: 0o17
hexadecimal: 0x1F
exponent: 1e3
sexagesimal: 1:30
date: 2026-11-23
instant: 2026-11-23T10:00:00Z
underscores: 1_000
nothing: ~
empty:
quoted: "yes"
single: '0777'
tagged: !!str 5
version: 1.2.3
float: 1.50
leading_zero: 09
base: &base {a: 1, b: 2}
merged:
  <<: *base
  b: 3
twice: 1
twice: 2
"""


def values(text: str) -> list[Any]:
    return [document.value for document in documents(text)]


def only(text: str) -> Document:
    (document,) = documents(text)
    return document


@pytest.mark.parametrize("row", RECORDED, ids=lambda row: repr(row["yaml"]))
def test_yaml_means_what_it_means_to_kubectl(row: dict[str, Any]) -> None:
    if "error" in row:
        with pytest.raises(TextError):
            values(row["yaml"])
        return
    found = values(row["yaml"])
    assert json.dumps(found[0] if found else None) == json.dumps(row["json"])


def test_odd_scalars_of_one_file() -> None:
    assert only(ODD).value == {
        "bool_yes": True,
        "bool_off": False,
        "false": "key",
        "octal": 511,
        "octal_new": 15,
        "hexadecimal": 31,
        "exponent": 1000,
        "sexagesimal": "1:30",
        "date": "2026-11-23",
        "instant": "2026-11-23T10:00:00Z",
        "underscores": 1000,
        "nothing": None,
        "empty": None,
        "quoted": "yes",
        "single": "0777",
        "tagged": "5",
        "version": "1.2.3",
        "float": 1.5,
        "leading_zero": 9,
        "base": {"a": 1, "b": 2},
        "merged": {"a": 1, "b": 3},
        "twice": 2,
    }


def test_a_key_given_twice_is_told_with_its_path() -> None:
    told: list[str] = []
    list(documents("a:\n- b: 1\n- c: 1\n  c: 2\n", duplicate=told.append))
    assert told == ["a[1].c"]


def test_documents_are_numbered_and_empty_ones_counted() -> None:
    found = list(documents("# nothing\n---\n---\na: 1\n---\n\n# more\n\nb: 2\n"))
    assert [(d.number, d.line, d.value) for d in found] == [(2, 4, {"a": 1}), (3, 9, {"b": 2})]


def test_items_of_a_list_know_their_lines() -> None:
    assert only("kind: List\nitems:\n- a: 1\n\n- b: 2\n  c: 3\n").item_lines == {0: 3, 1: 5}


def test_json_streams_and_json_lines() -> None:
    found = list(documents('{"a": 1}\n\n{"b":\n 2}\n{"c": 3}'))
    assert [(d.number, d.line, d.value) for d in found] == [(1, 1, {"a": 1}), (2, 3, {"b": 2}), (3, 5, {"c": 3})]


def test_a_flow_mapping_that_is_no_json_is_yaml() -> None:
    assert values("{a: yes, b: [1, 2]}") == [{"a": True, "b": [1, 2]}]
    assert values('{"a": 1}\n---\n{"b": 2}\n') == [{"a": 1}, {"b": 2}]


def test_half_a_surrogate_pair_becomes_the_replacement_character() -> None:
    assert values('{"a\\ud83d": "\\ud83d\\ude00 \\udc00"}') == [{"a\ufffd": "\U0001f600 \ufffd"}]


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("a: 1\nb: [1\nc: 2\n", 3, "invalid YAML"),
        ("a: b: c", 1, "mapping values are not allowed"),
        ("a: 1\n---\nb: *x\n", 3, "unknown anchor 'x'"),
        ("a: 1\nb: &x\n  c: *x\n", 3, "anchor 'x' value contains itself"),
        ("a: .inf", 1, "not a JSON number"),
        ("? [a]\n: b", 1, "key cannot be"),
        ("~: 1", 1, "key cannot be null"),
        ("a: !!int x", 1, "cannot decode"),
        ("a: 1\nb: \x00\n", 2, "control characters"),
    ],
)
def test_broken_text_names_document_and_line(text: str, line: int, words: str) -> None:
    with pytest.raises(TextError, match=words) as caught:
        list(documents(text))
    assert caught.value.line == line
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("text", "line", "words"), [('{"a": 1,\n "b": }', 2, "invalid JSON"), ('{"a": NaN}', 1, "NaN is not JSON")])
def test_broken_json_of_a_json_file_is_not_tried_as_yaml(text: str, line: int, words: str) -> None:
    with pytest.raises(TextError, match=words) as caught:
        list(documents(text, json_only=True))
    assert caught.value.line == line


@pytest.mark.parametrize("text", ["[" * 100_000, "a: " + "[" * 100_000, "- " * 5_000 + "x", '{"a":' * 100_000, "? " * 3_000 + "x"])
def test_absurd_nesting_is_refused(text: str) -> None:
    with pytest.raises(TextError) as caught:
        list(documents(text))
    assert len(str(caught.value)) < 100


def test_depth_is_counted_exactly_and_through_aliases() -> None:
    assert values("[" * DEPTH_MAX + "]" * DEPTH_MAX + "\n# yaml")
    with pytest.raises(TextError, match="nested deeper"):
        values("x: " + "[" * DEPTH_MAX + "]" * DEPTH_MAX)
    half = "[" * (DEPTH_MAX // 2 + 1)
    with pytest.raises(TextError, match="nested deeper"):
        values(f"a: &a {half}{half.replace('[', ']')}\nb: {half}*a{half.replace('[', ']')}\n")


def test_alias_bombs_are_refused() -> None:
    lines = ["a0: &a0 [x,x,x,x,x,x,x,x,x,x]"]
    lines += [f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    with pytest.raises(TextError, match=f"more than {ALIASED_VALUES_MAX} values"):
        values("\n".join(lines))


def test_honest_aliases_are_fine() -> None:
    text = "common: &c {a: 1, b: [1, 2]}\nall:\n" + "".join("- *c\n" for _ in range(1000))
    assert values(text)[0]["all"] == [{"a": 1, "b": [1, 2]}] * 1000


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"\xef\xbb\xbfa: 1", "a: 1"),
        ("a: é".encode("utf-16"), "a: é"),
        ("a: é".encode(), "a: é"),
    ],
)
def test_byte_order_marks(raw: bytes, text: str) -> None:
    assert decoded_text(raw) == text


def test_bytes_that_are_no_text_name_their_line() -> None:
    with pytest.raises(TextError, match="not UTF-8 text: byte 0xff") as caught:
        decoded_text(b"a: 1\nb: \xff\n")
    assert caught.value.line == 2


def test_paths_read_as_kubernetes_prints_them() -> None:
    path = ("spec", "containers", 0, "resources", "requests", MapKey("nvidia.com/gpu"))
    assert path_text(path) == "spec.containers[0].resources.requests[nvidia.com/gpu]"
    assert path_text(("items", 3)) == "items[3]"


def test_lines_in_yaml() -> None:
    text = "# top\nbase: &b\n  deep: 1\n---\na:\n  <<: {m: 1}\n  list:\n  - x: 1\n  - x: 2\n    n: 3\n0777: 9\n"
    first, second = documents(text)
    assert locate(text, first, ("base", "deep")) == 3
    assert locate(text, second, ("a", "list", 1, "n")) == 10
    assert locate(text, second, ("a", "list", 1, "absent")) == 9
    assert locate(text, second, ("a", "m")) == 6
    assert locate(text, second, ("511",)) == 11
    assert locate(text, second, ()) == 5


def test_lines_in_json() -> None:
    text = '{"a": 1}\n{"b": {"c": [1,\n {"d":\n  "x"}]},\n "e": 2, "e":\n 3}\n'
    _, second = documents(text)
    assert locate(text, second, ("b", "c", 1, "d")) == 4
    assert locate(text, second, ("b", "c", 1)) == 3
    assert locate(text, second, ("e",)) == 6
    assert locate(text, second, ("b", "absent")) == 2


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(st.characters(exclude_categories=("Cs",)), max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abc-/.", max_size=4), inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(st.text("abc", min_size=1, max_size=3), JSON_VALUES, min_size=1))
def test_json_reads_back(value: dict[str, Any]) -> None:
    assert values(json.dumps(value)) == [value]
    assert values(json.dumps(value, indent=1)) == [value]


@given(st.text("0123456789+-._eExXoObB:~", max_size=10))
def test_plain_scalars_never_fail(text: str) -> None:
    value = resolve(text)
    assert value is None or isinstance(value, (str, int, float, bool))


@given(st.text(st.sampled_from("ab:-?[]{},&*!|>'\"%@`#~ \n\t0.<"), max_size=40))
def test_any_text_is_read_or_refused_in_one_line(text: str) -> None:
    try:
        list(documents(text))
    except TextError as error:
        assert "\n" not in str(error)
