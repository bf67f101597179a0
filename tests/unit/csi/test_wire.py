"""Structs and protobuf messages say the same: one wire round trip, and the JSON of both."""

from __future__ import annotations

import datetime
import typing
from typing import Any

import msgspec
import pytest
from google.protobuf import json_format
from hypothesis import given
from hypothesis import strategies as st

from volsched.api import csi
from volsched.csi._pb import csi_pb2
from volsched.csi.wire import CODECS, from_proto, to_proto
from volsched.errors import CsiCode, CsiError

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
INT64 = st.integers(-(2**63), 2**63 - 1)
MICROSECONDS = st.integers(0, 999_999) | st.integers(0, 999).map(lambda value: value * 1000)
TIMES = st.datetimes(datetime.datetime(1, 1, 1), datetime.datetime(9999, 12, 31)).flatmap(
    lambda value: MICROSECONDS.map(lambda part: value.replace(tzinfo=datetime.UTC, microsecond=part))
)
ONEOFS = {
    "VolumeCapability": ("block", "mount"),
    "VolumeContentSource": ("snapshot", "volume"),
    "PluginCapability": ("service", "volume_expansion"),
}


def enum_values(struct: type[csi.Message], name: str) -> st.SearchStrategy[str]:
    """Names a string field may hold when it is an enum on the wire."""
    enums = {
        ("AccessMode", "mode"): csi_pb2.VolumeCapability.AccessMode.Mode,
        ("PluginService", "type"): csi_pb2.PluginCapability.Service.Type,
        ("PluginVolumeExpansion", "type"): csi_pb2.PluginCapability.VolumeExpansion.Type,
        ("VolumeUsage", "unit"): csi_pb2.VolumeUsage.Unit,
        ("VolumeHealthEntry", "status"): csi_pb2.VolumeHealthErrorType,
        ("StorageBackendHealth", "status"): csi_pb2.StorageHealthErrorType,
    }
    enum = enums.get((struct.__name__, name))
    return TEXT if enum is None else st.sampled_from(enum.keys())


# One Struct for the capabilities of three services: which names it may hold depends on whose it is.
CAPABILITIES = {
    "ControllerServiceCapability": csi_pb2.ControllerServiceCapability.RPC.Type,
    "GroupControllerServiceCapability": csi_pb2.GroupControllerServiceCapability.RPC.Type,
    "NodeServiceCapability": csi_pb2.NodeServiceCapability.RPC.Type,
}


def values(annotation: Any, struct: type[csi.Message], name: str) -> st.SearchStrategy[Any]:
    if annotation is csi.Rpc:
        return st.builds(csi.Rpc, type=st.sampled_from(CAPABILITIES[struct.__name__].keys()))
    if isinstance(annotation, type) and issubclass(annotation, csi.Message):
        return messages(annotation)
    if annotation is str:
        return enum_values(struct, name)
    if annotation is bool:
        return st.booleans()
    if annotation is int:
        return st.integers(-(2**31), 2**31 - 1)
    if annotation == csi.Int64:
        return INT64
    if annotation is datetime.datetime:
        return TIMES
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is list:
        return st.lists(values(arguments[0], struct, name), max_size=3)
    if origin is dict:
        return st.dictionaries(TEXT, TEXT, max_size=3)
    inner = next(item for item in arguments if item is not type(None))
    return st.none() | values(inner, struct, name)


def messages(struct: type[csi.Message]) -> st.SearchStrategy[csi.Message]:
    fields = {field.name: values(field.type, struct, field.name) for field in msgspec.structs.fields(struct)}
    made = st.builds(struct, **fields)
    for one, other in [ONEOFS[struct.__name__]] if struct.__name__ in ONEOFS else []:
        # at most one of the two is set on the wire
        made = made.map(
            lambda item, other=other, one=one: item if getattr(item, one) is None else msgspec.structs.replace(item, **{other: None})
        )
    return made


@pytest.mark.parametrize("method", sorted(csi.METHODS))
@given(data=st.data())
def test_round_trip_and_json(method: str, data: st.DataObject) -> None:
    codec = CODECS[method]
    for struct, encode, decode in (
        (csi.METHODS[method][0], codec.encode_request, codec.decode_request),
        (csi.METHODS[method][1], codec.encode_response, codec.decode_response),
    ):
        message = data.draw(messages(struct))
        assert decode(encode(message)) == message
        proto = to_proto(method, message)
        assert from_proto(method, proto) == message
        printed = json_format.MessageToDict(proto)
        assert csi.wire_json(message) == printed
        assert from_proto(method, json_format.ParseDict(printed, type(proto)())) == message


def test_every_message_has_a_plan() -> None:
    names = {name for name in csi_pb2.DESCRIPTOR.message_types_by_name if name.endswith("Request")}
    served = {f"{method}Request" for method in CODECS}
    assert served <= names
    assert {name for name in names - served if "Metadata" not in name} == set()


def test_enum_values_that_are_not_known() -> None:
    number = csi_pb2.NodePublishVolumeRequest(volume_capability={"access_mode": {"mode": 77}})
    message = from_proto("NodePublishVolume", number)
    assert message == csi.NodePublishVolumeRequest(volume_capability=csi.VolumeCapability(access_mode=csi.AccessMode(mode="77")))
    assert to_proto("NodePublishVolume", message) == number
    with pytest.raises(CsiError, match="has no value SOMETIMES") as caught:
        to_proto(
            "NodeStageVolume",
            csi.NodeStageVolumeRequest(volume_capability=csi.VolumeCapability(access_mode=csi.AccessMode(mode="SOMETIMES"))),
        )
    assert caught.value.code is CsiCode.INTERNAL


def test_what_cannot_be_sent_is_one_clear_error() -> None:
    codec = CODECS["DeleteVolume"]
    with pytest.raises(CsiError, match="DeleteVolumeRequest is needed, not ProbeRequest"):
        codec.encode_request(csi.ProbeRequest())
    with pytest.raises(CsiError, match="cannot be sent"):
        codec.encode_request(csi.DeleteVolumeRequest(volume_id="\ud800"))
    with pytest.raises(CsiError, match="cannot be sent"):
        CODECS["ControllerExpandVolume"].encode_response(csi.ControllerExpandVolumeResponse(capacity_bytes=1 << 63))


def test_an_absent_message_and_an_empty_one_differ() -> None:
    for topology in (None, csi.Topology()):
        message = csi.NodeGetInfoResponse(node_id="n", accessible_topology=topology)
        codec = CODECS["NodeGetInfo"]
        assert codec.decode_response(codec.encode_response(message)) == message
        assert ("accessibleTopology" in csi.wire_json(message)) == (topology is not None)
    ready = csi.ProbeResponse(ready=False)
    assert CODECS["Probe"].decode_response(CODECS["Probe"].encode_response(ready)) == ready
