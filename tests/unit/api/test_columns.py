"""Columnar files: what is written comes back, and what is wrong with one is said with the file and the column."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from volsched.api import columns as module
from volsched.api.columns import FORMAT, Column, Columns, Table, read_columns, with_values, write_columns
from volsched.errors import InputError

TEMPLATE = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": None, "labels": {"a/b": None, "zone": "z"}}}
NAMES = Column("/metadata/name", np.array([b"n0", b"n1", "ä".encode()]))
LABELS = Column("/metadata/labels/a~1b", np.array([b"x", b"y"]), np.array([1, 0, 1], np.uint8))


def made() -> Columns:
    pods = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": None}, "spec": {"priority": None}}
    return Columns(
        (
            Table(TEMPLATE, 3, (NAMES, LABELS)),
            Table(pods, 2, (Column("/metadata/name", np.array([b"p", b"q"])), Column("/spec/priority", np.array([3, -1], np.int32)))),
            Table({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "last"}}, 1),
        ),
        {"Node": np.array([0, 2, 0, 0], np.uint16)},
    )


def test_a_file_comes_back(tmp_path: Path) -> None:
    path, again = tmp_path / "a.npz", tmp_path / "b.npz"
    write_columns(path, made())
    found = read_columns(path)
    assert [table.template for table in found.tables] == [table.template for table in made().tables]
    assert [found.tables[number].manifest(row)["metadata"] for number, row in found.places("Node")] == [
        {"name": "n0", "labels": {"a/b": "y", "zone": "z"}},
        {"name": "last"},
        {"name": "n1", "labels": {"a/b": "x", "zone": "z"}},
        {"name": "ä", "labels": {"a/b": "y", "zone": "z"}},
    ]
    assert [found.tables[number].manifest(row)["spec"] for number, row in found.places("Pod")] == [{"priority": 3}, {"priority": -1}]
    write_columns(again, found)
    assert path.read_bytes() == again.read_bytes()


def test_numpy_reads_it(tmp_path: Path) -> None:
    write_columns(tmp_path / "a.npz", made())
    with np.load(tmp_path / "a.npz") as arrays:
        assert arrays["0/metadata/name"].tolist() == NAMES.values.tolist()
        assert arrays["0/metadata/labels/a~1b#codes"].tolist() == [1, 0, 1]
        assert json.loads(arrays["volsched"].tobytes())["format"] == FORMAT


def test_numpy_writes_it(tmp_path: Path) -> None:
    described = {
        "format": FORMAT,
        "orders": [],
        "tables": [{"template": TEMPLATE, "rows": 1, "columns": [{"pointer": "/metadata/name", "coded": False}]}],
    }
    text = np.frombuffer(json.dumps(described).encode(), np.uint8)
    np.savez(tmp_path / "a.npz", **{"volsched": text, "0/metadata/name": np.array([b"n"])})  # type: ignore[arg-type]
    assert read_columns(tmp_path / "a.npz").tables[0].manifest(0)["metadata"]["name"] == "n"


def test_a_row_shares_what_it_does_not_change() -> None:
    template: dict[str, Any] = {"a": [{"b": 1}, {"c": 2}], "d": {"e": 3}}
    assert with_values(template, {"/a/0/b": 5, "/a/1/c": 6}) == {"a": [{"b": 5}, {"c": 6}], "d": {"e": 3}}
    assert template == {"a": [{"b": 1}, {"c": 2}], "d": {"e": 3}}
    for pointer in ("", "a", "/x", "/a/2", "/a/0/b/c", "/a/x"):
        with pytest.raises(KeyError):
            with_values(template, {pointer: 1})


def array_bytes(array: Any, **rest: Any) -> bytes:
    to = io.BytesIO()
    np.lib.format.write_array(to, array, **{"version": (1, 0), "allow_pickle": True, **rest})
    return to.getvalue()


def describe(change: Callable[[dict[str, Any]], object]) -> Callable[[dict[str, bytes]], None]:
    def changed(members: dict[str, bytes]) -> None:
        raw = np.lib.format.read_array(io.BytesIO(members["volsched.npy"]), allow_pickle=False).tobytes()
        value = json.loads(raw)
        change(value)
        members["volsched.npy"] = array_bytes(np.frombuffer(json.dumps(value).encode(), np.uint8))

    return changed


def put(name: str, content: bytes) -> Callable[[dict[str, bytes]], None]:
    return lambda members: members.__setitem__(name, content)


NAME = "0/metadata/name.npy"
CODES = "0/metadata/labels/a~1b#codes.npy"
HUGE = array_bytes(np.array([b"n0"])).replace(b"'shape': (1,), ", b"'shape': (99999999999,), ")[: len(array_bytes(np.array([b"n0"])))]

WRONG: dict[str, tuple[Callable[[dict[str, bytes]], object], str]] = {
    "no description": (lambda m: m.pop("volsched.npy"), 'is no columnar file: it has no member "volsched"'),
    "not json": (put("volsched.npy", array_bytes(np.zeros(3, np.uint8))), "volsched: is not JSON"),
    "another format": (describe(lambda v: v.update(format="x/v2")), 'volsched: the format is "x/v2"; this volsched reads'),
    "no tables": (describe(lambda v: v.pop("tables")), "volsched: tables: expected a list"),
    "no template": (describe(lambda v: v["tables"][0].pop("template")), "tables[0].template: expected a manifest"),
    "rows below zero": (describe(lambda v: v["tables"][0].update(rows=-1)), "tables[0].rows: expected a number of rows"),
    "column without": (describe(lambda v: v["tables"][0]["columns"].append(3)), "tables[0].columns[2]: expected a pointer"),
    "too many columns": (describe(lambda v: v["tables"][0].update(columns=[{}] * 257)), "tables[0].columns: expected a list of at most"),
    "orders": (describe(lambda v: v.update(orders={})), "volsched: orders: expected a list of kinds"),
    "missing": (lambda m: m.pop(NAME), "0/metadata/name: the array is missing"),
    "one too many": (put("9/x.npy", array_bytes(np.zeros(1))), "9/x: belongs to no table"),
    "too few rows": (put(NAME, array_bytes(np.array([b"n0"]))), "0/metadata/name: 1 rows, where its table has 3"),
    "objects": (put(NAME, array_bytes(np.array([b"n", None, 1], object))), "0/metadata/name: expected a plain array"),
    "floats": (put(NAME, array_bytes(np.zeros(3))), "0/metadata/name: expected texts (S), integers or booleans"),
    "two dimensions": (put(NAME, array_bytes(np.zeros((3, 1), "S1"))), "0/metadata/name: expected a plain array of one dimension"),
    "structured": (put(NAME, array_bytes(np.zeros(3, "S1,S1"))), "0/metadata/name: expected texts"),
    "no array": (put(NAME, b"hello"), "0/metadata/name: is no numpy array"),
    "a wide text": (put(NAME, array_bytes(np.zeros(3, "S70000"))), "0/metadata/name: values of 70000 bytes"),
    "more than is there": (put(NAME, HUGE), "0/metadata/name: 99999999999 values of 2 bytes do not fit"),
    "not utf-8": (put(NAME, array_bytes(np.array([b"a", b"\xff", b"c"]))), "0/metadata/name: value 1 is not UTF-8"),
    "a zero byte": (put(NAME, array_bytes(np.array([b"a", b"b", b"c\0d"]))), "0/metadata/name: value 2 has a zero byte inside"),
    "a code too far": (put(CODES, array_bytes(np.array([0, 9, 0], np.uint8))), "code 9 names none of its 2"),
    "signed codes": (put(CODES, array_bytes(np.array([0, 1, 0], np.int8))), "expected unsigned integers"),
    "a wrong order": (put("order/Node.npy", array_bytes(np.array([0, 0, 2, 2], np.uint8))), "order/Node: does not name each table"),
    "an order of others": (
        put("order/Node.npy", array_bytes(np.array([0, 0, 0, 2**31], np.uint32))),
        "order/Node: does not name each table",
    ),
    "no place": (describe(lambda v: v["tables"][0]["template"].pop("metadata")), "0/metadata/name: the template has no /metadata/name"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_said(name: str, tmp_path: Path) -> None:
    change, said = WRONG[name]
    path = tmp_path / "a.npz"
    write_columns(path, made())
    with zipfile.ZipFile(path) as archive:
        members = {member: archive.read(member) for member in archive.namelist()}
    change(members)
    with zipfile.ZipFile(path, "w") as archive:
        for member, content in members.items():
            archive.writestr(member, content)
    with pytest.raises(InputError) as caught:
        read_columns(path)
    assert str(path) in str(caught.value) and said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_damaged_file(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    write_columns(path, made())
    raw = path.read_bytes()
    for content in (b"", b"PK\x03\x04", raw[: len(raw) // 2], raw[:60] + b"\xff\xff\xff" + raw[63:]):
        path.write_bytes(content)
        with pytest.raises(InputError, match="damaged"):
            read_columns(path)
    with pytest.raises(InputError, match="cannot be read"):
        read_columns(tmp_path / "none.npz")


def test_a_file_that_unpacks_to_too_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FILE_BYTES_MAX", 2**20)
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("volsched.npy", bytes(2**21))
    with pytest.raises(InputError, match="2097152 bytes unpacked are more than the 1048576 that are read"):
        read_columns(tmp_path / "a.npz")


def test_columns_that_do_not_fit_are_not_written(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    for table, said in (
        (Table(TEMPLATE, 2, (NAMES,)), "3 rows, where its table has 2"),
        (Table(TEMPLATE, 3, (NAMES, NAMES)), "the column is there twice"),
        (Table({}, 3, (NAMES,)), "the template has no /metadata/name"),
    ):
        with pytest.raises(InputError, match=said):
            write_columns(path, Columns((table,), {}))
    assert not path.exists()
