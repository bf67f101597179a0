"""CSI messages as plain Structs, by the names of the CSI specification v1.12 (package csi.v1), and what v1.13 adds to it.

Both transports carry these: the gRPC client and server turn them into protobuf, the in-process transport passes them on.
`rename="camel"` gives protobuf's JSON names. Integers that are int64 on the wire are `Int64`: protobuf JSON prints them as strings.
Enum values are their protobuf names. Unset message fields are None; unset scalars have the proto3 default and are left out.

One module per service; all names are here: `from volsched.api import csi`, `csi.CreateVolumeRequest`.
"""

from __future__ import annotations

import datetime
from typing import Any, Final

import msgspec

# A star re-exports every message under mypy --strict; this module is where they are looked up.
from volsched.api.csi.common import *  # noqa: F403
from volsched.api.csi.common import Int64, Message
from volsched.api.csi.controller import *  # noqa: F403
from volsched.api.csi.group import *  # noqa: F403
from volsched.api.csi.health import *  # noqa: F403
from volsched.api.csi.identity import *  # noqa: F403
from volsched.api.csi.node import *  # noqa: F403

_IDENTITY: Final = frozenset({"GetPluginInfo", "GetPluginCapabilities", "Probe"})
_GROUP: Final = frozenset(
    {"GroupControllerGetCapabilities", "CreateVolumeGroupSnapshot", "DeleteVolumeGroupSnapshot", "GetVolumeGroupSnapshot"}
)


def service_of(method: str) -> str:
    """The gRPC service of a method: `CreateVolume` → `Controller`."""
    if method in _IDENTITY:
        return "Identity"
    if method in _GROUP:
        return "GroupController"
    return "Node" if method.startswith("Node") else "Controller"


def full_method(method: str) -> str:
    """Full gRPC path: `CreateVolume` → `/csi.v1.Controller/CreateVolume`."""
    return f"/csi.v1.{service_of(method)}/{method}"


# Every method with its request and response type, by name: CreateVolume → (CreateVolumeRequest, CreateVolumeResponse).
METHODS: Final[dict[str, tuple[type[Message], type[Message]]]] = {
    name.removesuffix("Request"): (request, globals()[name.removesuffix("Request") + "Response"])
    for name, request in list(globals().items())
    if name.endswith("Request")
}


def _wire_json(value: Any, kind: Any) -> Any:
    """One value of `msgspec.json.schema`-less introspection, as protobuf JSON."""
    if isinstance(value, Message):
        return wire_json(value)
    if isinstance(value, list):
        return [_wire_json(item, None) for item in value]
    if isinstance(value, datetime.datetime):
        # protobuf prints 0, 3 or 6 digits of a second
        digits = "milliseconds" if value.microsecond and value.microsecond % 1000 == 0 else "auto"
        return value.astimezone(datetime.UTC).isoformat(timespec=digits).replace("+00:00", "Z")
    if isinstance(value, int) and not isinstance(value, bool) and kind in _WIDE:
        return str(value)
    return value


_WIDE: Final = frozenset({Int64, Int64 | None})
_ENUM_FIELDS: Final = frozenset({"type", "mode", "unit", "status"})  # their zero value is UNKNOWN or begins with it
_FIELDS: Final = {
    cls: tuple((field.name, field.encode_name, field.type, field.default) for field in msgspec.structs.fields(cls))
    for cls in list(globals().values())
    if isinstance(cls, type) and issubclass(cls, Message) and cls is not Message
}


def wire_json(message: Message) -> dict[str, Any]:
    """A message as protobuf's JSON mapping prints it: camelCase, int64 as strings, defaults left out."""
    out: dict[str, Any] = {}
    for name, encoded, kind, _default in _FIELDS[type(message)]:
        value = getattr(message, name)
        # proto3: a scalar at its zero value and an empty list or map are absent; a set message, even empty, is present
        if value is None or (not isinstance(value, Message) and not value and kind != (Int64 | None) and kind != (bool | None)):
            continue
        if name in _ENUM_FIELDS and isinstance(value, str) and value.startswith("UNKNOWN"):
            continue
        out[encoded] = _wire_json(value, kind)
    return out
