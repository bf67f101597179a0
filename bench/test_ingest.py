"""From text to objects, and from objects to the engine's rows. Baselines: the parsers themselves, and the rows' plain Python encoder.

yaml    load_text: kubectl's values, positions, unknown fields, checked    beside PyYAML's C loader alone
lines   a file of JSON lines as `volsched bench` reads it, defaulted       beside json.loads and msgspec, to dicts and to Structs
rows    what an engine is given of an object, by kind                      beside volsched.engine.rows
"""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import pytest
import yaml

from bench.loading import note, workload
from bench.sizes import Size, Sizes
from volsched.api.kinds import KINDS, to_manifest
from volsched.api.manifest import load_text
from volsched.app.bench import read_objects
from volsched.engine import _rows, rows

SIZES: Final = Sizes(tiny=20, small=400, full=(4_000,), twin=400)  # objects
ROUNDS: Final = 3
ROWS: Final = {
    "Node": ("node_row",),
    "CSINode": ("csi_node_row",),
    "PersistentVolume": ("volume_row",),
    "PersistentVolumeClaim": ("claim_row",),
    "CSIStorageCapacity": ("capacity_row",),
    "Pod": ("program_row", "instance_row"),
}


class Texts(NamedTuple):
    """Objects of the workload `mixed`, a mixture of kinds, and the same as text."""

    objects: tuple[Any, ...]
    lines: tuple[str, ...]
    yaml: str


@lru_cache(maxsize=2)
def _texts(count: int) -> Texts:
    cluster, pending = workload("mixed", Size(count, count))
    everything = (*cluster, *pending)
    objects = everything[:: len(everything) // count][:count]
    documents = [to_manifest(obj) for obj in objects]
    return Texts(objects, tuple(map(json.dumps, documents)), yaml.dump_all(documents, Dumper=yaml.CSafeDumper))


def _refuse(text: str) -> None:
    raise AssertionError(text)


def _lines(benchmark: Any, size: int, **facts: Any) -> tuple[str, ...]:
    lines = _texts(size).lines
    note(benchmark, group="JSON lines, ingest", unit="object", units=size, text_bytes=sum(map(len, lines)), **facts)
    return lines


def test_yaml(benchmark: Any, size: int) -> None:
    text = _texts(size).yaml
    note(benchmark, group="YAML, ingest", unit="object", units=size, text_bytes=len(text))
    found = benchmark.pedantic(load_text, args=(text,), kwargs={"source": "bench", "warn": _refuse}, rounds=ROUNDS, iterations=1)
    assert len(found) == size


def test_yaml_parser_alone(benchmark: Any, size: int) -> None:
    text = _texts(size).yaml
    note(benchmark, group="YAML, ingest", unit="object", units=size, text_bytes=len(text), engine="PyYAML")
    found = benchmark.pedantic(lambda: list(yaml.load_all(text, Loader=yaml.CSafeLoader)), rounds=ROUNDS, iterations=1)
    assert len(found) == size


def test_lines(benchmark: Any, size: int, tmp_path: Path) -> None:
    path = tmp_path / "objects.jsonl"
    path.write_text("\n".join(_lines(benchmark, size)))
    found = benchmark.pedantic(lambda: list(read_objects(path, warn=_refuse)), rounds=ROUNDS, iterations=1)
    assert found == list(_texts(size).objects)


def test_lines_json_loads(benchmark: Any, size: int) -> None:
    lines = _lines(benchmark, size, engine="json")
    assert len(benchmark(lambda: [json.loads(line) for line in lines])) == size


def test_lines_msgspec_dicts(benchmark: Any, size: int) -> None:
    lines, decode = _lines(benchmark, size, engine="msgspec"), msgspec.json.Decoder().decode
    assert len(benchmark(lambda: [decode(line) for line in lines])) == size


def test_lines_msgspec_structs(benchmark: Any, size: int) -> None:
    lines = _lines(benchmark, size, engine="msgspec")
    decoders = [msgspec.json.Decoder(KINDS[obj.kind].type).decode for obj in _texts(size).objects]
    found = benchmark(lambda: [decode(line) for decode, line in zip(decoders, lines, strict=True)])
    assert len(found) == size


def _encode(module: Any, kind: str, size: int) -> tuple[Any, Any]:
    cluster, pending = workload("mixed", Size(size, size))
    objects = [obj for obj in (*cluster, *pending) if obj.kind == kind][:size]
    encoders = [getattr(module, name) for name in ROWS[kind]]
    return objects, lambda: [encode(obj) for obj in objects for encode in encoders]


@pytest.mark.parametrize("kind", ROWS)
def test_rows(benchmark: Any, kind: str, size: int) -> None:
    objects, encode = _encode(_rows, kind, size)
    note(benchmark, group=f"{kind}, rows", unit="object", units=len(objects))
    assert benchmark(encode) == _encode(rows, kind, size)[1]()


@pytest.mark.parametrize("kind", ROWS)
def test_rows_in_python(benchmark: Any, kind: str, twin_size: int) -> None:
    objects, encode = _encode(rows, kind, twin_size)
    note(benchmark, group=f"{kind}, rows", unit="object", units=len(objects), engine="python")
    assert len(benchmark(encode)) == len(objects) * len(ROWS[kind])
