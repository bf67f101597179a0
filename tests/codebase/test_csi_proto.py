"""Our csi.proto is the wire contract of CSI specification v1.12, and the generated code is made from it.

tests/data/csi_descriptor.json lists every message field, enum value, method and extension of upstream's csi.proto: name, number, type,
label, oneof and the options that matter. Made by `python tests/codebase/test_csi_proto.py PATH/TO/csi.proto`.
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


def test_descriptor_is_that_of_the_specification() -> None:
    expected = json.loads(TABLE.read_text())
    found = ours()
    assert {key: value for key, value in found.items() if key in ("package", "syntax")} == {"package": "csi.v1", "syntax": "proto3"}
    for part in ("messages", "enums", "services", "extensions"):
        assert sorted(found[part]) == sorted(expected[part])
        for name, value in expected[part].items():
            assert found[part][name] == value, name


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


def main(upstream: Path) -> None:
    """Write the table from upstream's csi.proto."""
    out = TABLE.with_suffix(".pb")
    subprocess.run(
        [sys.executable, "-m", "grpc_tools.protoc", f"-I{upstream.parent}", f"--descriptor_set_out={out}", upstream.name], check=True
    )
    descriptors = descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes())
    out.unlink()
    TABLE.write_text(json.dumps(describe(descriptors.file[0]), indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
