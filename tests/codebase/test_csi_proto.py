"""Our csi.proto is the wire contract of CSI specification v1.12 with the additions of v1.13, and the generated code is made from it.

tests/data/csi_descriptor.json lists every message field, enum value, method and extension of upstream's csi.proto: name, number, type,
label, oneof and the options that matter. `v1.12` is all of that version, `v1.13` what it has beyond, each part under the version that
brought it. Made by `python tests/codebase/test_csi_proto.py v1.12=PATH/TO/csi.proto v1.13=PATH/TO/OTHER/csi.proto`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("google.protobuf", reason="protobuf is not installed (extra `csi`)")

from google.protobuf import descriptor_pb2

from volsched.csi._pb import csi_pb2

ROOT = Path(__file__).resolve().parents[2]
TABLE = ROOT / "tests" / "data" / "csi_descriptor.json"
FLAGS = ("csi_secret", "alpha_field", "alpha_enum", "alpha_enum_value", "alpha_message", "alpha_method", "alpha_service")
TYPES = descriptor_pb2.FieldDescriptorProto.Type
LABELS = descriptor_pb2.FieldDescriptorProto.Label


def flags(options: Any) -> list[str]:
    """Which of the specification's marks are set on an element."""
    found = {field.name for field, value in options.ListFields() if field.is_extension and value is True}
    return [name for name in FLAGS if name in found]


def field_row(field: Any, oneofs: Any) -> list[Any]:
    kind = TYPES.Name(field.type) + (f" {field.type_name.lstrip('.')}" if field.type_name else "")
    oneof = oneofs[field.oneof_index].name if field.HasField("oneof_index") else ""
    return [field.name, kind, LABELS.Name(field.label), oneof, *flags(field.options)]


def describe(file: Any) -> dict[str, Any]:
    """The contract as plain data, keyed by full name."""
    table: dict[str, Any] = {"package": file.package, "syntax": file.syntax, "messages": {}, "enums": {}, "services": {}, "extensions": {}}

    def enum(prefix: str, item: Any) -> None:
        values = {str(value.number): [value.name, *flags(value.options)] for value in item.value}
        table["enums"][f"{prefix}.{item.name}"] = {"values": values, "flags": flags(item.options)}

    def message(prefix: str, item: Any) -> None:
        name = f"{prefix}.{item.name}"
        fields = {str(field.number): field_row(field, item.oneof_decl) for field in item.field}
        table["messages"][name] = {"fields": fields, "map": item.options.map_entry, "flags": flags(item.options)}
        for nested in item.nested_type:
            message(name, nested)
        for nested in item.enum_type:
            enum(name, nested)

    for item in file.message_type:
        message(file.package, item)
    for item in file.enum_type:
        enum(file.package, item)
    for service in file.service:
        methods = {
            method.name: [
                method.input_type.lstrip("."),
                method.output_type.lstrip("."),
                method.client_streaming,
                method.server_streaming,
                *flags(method.options),
            ]
            for method in service.method
        }
        table["services"][f"{file.package}.{service.name}"] = {"methods": methods, "flags": flags(service.options)}
    for extension in file.extension:
        table["extensions"][f"{extension.extendee.lstrip('.')} {extension.number}"] = [extension.name, TYPES.Name(extension.type)]
    return table


def ours() -> dict[str, Any]:
    return describe(descriptor_pb2.FileDescriptorProto.FromString(csi_pb2.DESCRIPTOR.serialized_pb))


PARTS = {"messages": "fields", "enums": "values", "services": "methods", "extensions": ""}


def beyond(table: dict[str, Any], base: dict[str, Any]) -> dict[str, Any]:
    """What a version has that an earlier one has not, in the shape of the table. Raises ValueError where it changed something."""
    added: dict[str, Any] = {}
    for part, inner in PARTS.items():
        added[part] = {}
        for name, value in table[part].items():
            old = base[part].get(name)
            if old is None:
                added[part][name] = value
                continue
            if not inner:
                continue
            rows = {key: row for key, row in value[inner].items() if key not in old[inner]}
            changed = [key for key, row in old[inner].items() if value[inner].get(key, row) != row]
            if changed or {**value, inner: 0} != {**old, inner: 0}:
                raise ValueError(f"{part} {name} changed: {changed}")
            if rows:
                added[part][name] = {**value, inner: rows}
    return added


def both(base: dict[str, Any], added: dict[str, Any]) -> dict[str, Any]:
    """The union of a version and what a later one adds."""
    union: dict[str, Any] = {}
    for part, inner in PARTS.items():
        union[part] = dict(base[part])
        for name, value in added[part].items():
            old = union[part].get(name)
            union[part][name] = value if old is None else {**old, inner: {**old[inner], **value[inner]}}
    return union


def test_descriptor_is_that_of_the_specification() -> None:
    table = json.loads(TABLE.read_text())
    assert sorted(table) == ["v1.12", "v1.13"]
    expected, found = both(table["v1.12"], table["v1.13"]), ours()
    assert {key: value for key, value in found.items() if key in ("package", "syntax")} == {"package": "csi.v1", "syntax": "proto3"}
    for part in PARTS:
        assert sorted(found[part]) == sorted(expected[part])
        for name, value in expected[part].items():
            assert found[part][name] == value, name


def test_nothing_of_v1_12_is_missing_or_different() -> None:
    """A driver or sidecar of v1.12 sees the contract it was built for, whatever later versions took away."""
    base, found = json.loads(TABLE.read_text())["v1.12"], ours()
    for part, inner in PARTS.items():
        for name, value in base[part].items():
            ours_of = found[part][name]
            if inner:
                ours_of = {**ours_of, inner: {key: row for key, row in ours_of[inner].items() if key in value[inner]}}
            assert ours_of == value, name


def test_what_a_later_version_adds_says_so_in_its_comment() -> None:
    added = json.loads(TABLE.read_text())["v1.13"]
    base = json.loads(TABLE.read_text())["v1.12"]
    lines = (ROOT / "src" / "volsched" / "csi" / "csi.proto").read_text().splitlines()
    for part, inner in PARTS.items():
        for name, value in added[part].items():
            if name not in base[part]:
                continue  # whole messages stand under a heading of their own
            for key, row in value[inner].items():
                word = key if part == "services" else row[0]
                around = [
                    line for number, line in enumerate(lines) if f" {word}" in line for line in lines[max(0, number - 4) : number + 1]
                ]
                assert any("v1.13" in line for line in around), f"{name}.{word}"


def test_generated_code_is_current(tmp_path: Path) -> None:
    tools = pytest.importorskip("grpc_tools", reason="grpcio-tools is not installed (dependency group `dev`)")
    from importlib.metadata import version

    if version("grpcio-tools") != "1.76.0":
        pytest.skip(f"grpcio-tools {version('grpcio-tools')} generates other code than 1.76.0, which is the one in use")
    assert tools
    subprocess.run(
        [
            sys.executable,
            "-m",
            "grpc_tools.protoc",
            f"-Ivolsched/csi/_pb={ROOT / 'src' / 'volsched' / 'csi'}",
            f"--python_out={tmp_path}",
            f"--pyi_out={tmp_path}",
            "volsched/csi/_pb/csi.proto",
        ],
        check=True,
        cwd=ROOT,
    )
    for name in ("csi_pb2.py", "csi_pb2.pyi"):
        committed = ROOT / "src" / "volsched" / "csi" / "_pb" / name
        assert (tmp_path / "volsched" / "csi" / "_pb" / name).read_text() == committed.read_text(), f"{name} is not made from csi.proto"


def load(upstream: Path) -> dict[str, Any]:
    """The table of an upstream csi.proto."""
    out = TABLE.with_suffix(".pb")
    subprocess.run(
        [sys.executable, "-m", "grpc_tools.protoc", f"-I{upstream.parent}", f"--descriptor_set_out={out}", upstream.name], check=True
    )
    descriptors = descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes())
    out.unlink()
    return describe(descriptors.file[0])


def main(arguments: list[str]) -> None:
    """Write the table from upstream's files, oldest first."""
    versions: dict[str, Any] = {}
    for argument in arguments:
        version, _, path = argument.partition("=")
        table = load(Path(path))
        for earlier in versions.values():
            table = {**table, **beyond(table, earlier)}
        versions[version] = {part: table[part] for part in PARTS}
    TABLE.write_text(json.dumps(versions, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
