"""CSI Structs <-> protobuf messages.

One plan per message type, made once from the protobuf descriptor and the Struct's fields: which attribute goes into which field, and how.
Names are equal on both sides, so there is no table of them; a Struct that does not match its descriptor is refused when its plan is made.

    Struct                    protobuf
    int, str, bool            the same
    enum value's name         enum; a number the descriptor does not name becomes its digits
    None                      absent message field
    Struct, list, dict        message, repeated, map
    int | None, bool | None   google.protobuf.Int64Value, BoolValue
    datetime, UTC             google.protobuf.Timestamp, cut to microseconds
"""

from __future__ import annotations

import datetime
import types
import typing
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import msgspec
from google.protobuf import timestamp_pb2, wrappers_pb2
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.message_factory import GetMessageClass

from volsched.api.csi import METHODS, Message
from volsched.csi._pb import csi_pb2
from volsched.errors import CsiCode, CsiError

_EPOCH: Final = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_WRAPPERS: Final[dict[str, Any]] = {
    "google.protobuf.Int64Value": wrappers_pb2.Int64Value,
    "google.protobuf.BoolValue": wrappers_pb2.BoolValue,
}
_TIMESTAMP: Final = "google.protobuf.Timestamp"


class _Field(NamedTuple):
    """One field. `encode` and `decode` None = the value as it is; `present`: ask HasField before reading."""

    name: str
    encode: Callable[[Any], Any] | None
    decode: Callable[[Any], Any] | None
    present: bool


class _Plan(NamedTuple):
    struct: type[Message]
    proto: Any  # the protobuf class
    fields: tuple[_Field, ...]


_PLANS: Final[dict[tuple[type[Message], str], _Plan]] = {}


def _plan(struct: type[Message], descriptor: Descriptor) -> _Plan:
    key = (struct, descriptor.full_name)
    plan = _PLANS.get(key)
    if plan is None:
        own = {field.name: field.type for field in msgspec.structs.fields(struct)}
        theirs = {field.name: field for field in descriptor.fields}
        if own.keys() != theirs.keys():
            raise TypeError(f"{struct.__name__} and {descriptor.full_name} differ in {sorted(own.keys() ^ theirs.keys())}")
        fields = tuple(_field(field, own[name]) for name, field in theirs.items())
        plan = _PLANS[key] = _Plan(struct, GetMessageClass(descriptor), fields)
    return plan


def _struct_in(annotation: Any) -> type[Message]:
    """The Struct in `X`, `X | None` or `list[X]`."""
    if isinstance(annotation, type) and issubclass(annotation, Message):
        return annotation
    if typing.get_origin(annotation) in (list, typing.Union, types.UnionType):
        for part in typing.get_args(annotation):
            if part is not type(None):
                return _struct_in(part)
    raise TypeError(f"no message in {annotation}")


def _field(field: FieldDescriptor, annotation: Any) -> _Field:
    kind = field.message_type
    if kind is None:
        if field.enum_type is None:
            return _Field(field.name, None, list if field.is_repeated else None, False)
        return _Field(field.name, _enum_encoder(field.enum_type), _enum_decoder(field.enum_type), False)
    if kind.GetOptions().map_entry:
        return _Field(field.name, None, dict, False)
    if kind.full_name in _WRAPPERS:
        wrapper = _WRAPPERS[kind.full_name]
        return _Field(field.name, lambda value: wrapper(value=value), lambda message: message.value, True)
    if kind.full_name == _TIMESTAMP:
        return _Field(field.name, _timestamp, _datetime, True)
    struct = _struct_in(annotation)
    if field.is_repeated:
        # The element's plan is looked up at the first use: message types may contain each other.
        return _Field(
            field.name,
            lambda values: [_encode(value, _plan(struct, kind)) for value in values],
            lambda messages: [_decode(message, _plan(struct, kind)) for message in messages],
            False,
        )
    return _Field(
        field.name, lambda value: _encode(value, _plan(struct, kind)), lambda message: _decode(message, _plan(struct, kind)), True
    )


def _enum_encoder(enum: EnumDescriptor) -> Callable[[str], int]:
    numbers = {value.name: value.number for value in enum.values}

    def encode(name: str) -> int:
        number: int | None = numbers.get(name)
        if number is None:
            if not (name.isascii() and name.isdecimal()):
                raise CsiError(CsiCode.INTERNAL, f"{enum.full_name} has no value {name}")
            return int(name)
        return number

    return encode


def _enum_decoder(enum: EnumDescriptor) -> Callable[[int], str]:
    names = {value.number: value.name for value in enum.values}

    def decode(number: int) -> str:
        return names.get(number) or str(number)

    return decode


def _timestamp(value: datetime.datetime) -> Any:
    past = value - _EPOCH
    return timestamp_pb2.Timestamp(seconds=past.days * 86400 + past.seconds, nanos=past.microseconds * 1000)


def _datetime(message: Any) -> datetime.datetime:
    return _EPOCH + datetime.timedelta(seconds=message.seconds, microseconds=message.nanos // 1000)


def _encode(value: Message, plan: _Plan) -> Any:
    arguments = {}
    for name, encode, _, _ in plan.fields:
        item = getattr(value, name)
        # Zero values are proto3's defaults; an empty Struct is a message that is there.
        if item is None or (not item and not isinstance(item, (int, Message))):
            continue
        arguments[name] = item if encode is None else encode(item)
    return plan.proto(**arguments)


def _decode(message: Any, plan: _Plan) -> Message:
    arguments = {}
    for name, _, decode, present in plan.fields:
        if present and not message.HasField(name):
            continue
        item = getattr(message, name)
        arguments[name] = item if decode is None else decode(item)
    return plan.struct(**arguments)


class Codec(NamedTuple):
    """A method's request and response on the wire, as bytes."""

    request: _Plan
    response: _Plan

    def encode_request(self, message: Message) -> bytes:
        return _to_bytes(message, self.request)

    def decode_request(self, data: bytes) -> Message:
        return _decode(self.request.proto.FromString(data), self.request)

    def encode_response(self, message: Message) -> bytes:
        return _to_bytes(message, self.response)

    def decode_response(self, data: bytes) -> Message:
        return _decode(self.response.proto.FromString(data), self.response)


def _to_bytes(message: Message, plan: _Plan) -> bytes:
    if type(message) is not plan.struct:
        raise CsiError(CsiCode.INTERNAL, f"{plan.struct.__name__} is needed, not {type(message).__name__}")
    try:
        data: bytes = _encode(message, plan).SerializeToString(deterministic=True)
    except (ValueError, UnicodeError) as error:
        raise CsiError(CsiCode.INTERNAL, f"{type(message).__name__} cannot be sent: {error}") from error
    return data


def _codec(method: str) -> Codec:
    request, response = METHODS[method]
    messages = csi_pb2.DESCRIPTOR.message_types_by_name
    return Codec(_plan(request, messages[f"{method}Request"]), _plan(response, messages[f"{method}Response"]))


CODECS: Final[dict[str, Codec]] = {method: _codec(method) for method in METHODS}


def to_proto(method: str, message: Message) -> Any:
    """A request or response of a method as its protobuf message."""
    codec = CODECS[method]
    return _encode(message, codec.request if type(message) is codec.request.struct else codec.response)


def from_proto(method: str, message: Any) -> Message:
    """The inverse of `to_proto`."""
    codec = CODECS[method]
    return _decode(message, codec.request if isinstance(message, codec.request.proto) else codec.response)
