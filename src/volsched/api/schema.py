"""Plain values to the form the object types take, by a plan made once for each Struct type.

msgspec checks types, but it knows neither quantities nor string maps (lightkube-models has plain `dict` there), and ignores unknown
fields silently. So a value is walked once, along a plan of its type, before msgspec converts it:

    numbers in quantity fields become strings, quantities are parsed    labels, parameters, selectors: strings only
    numbers like 3.0 in integer fields become integers                 times: with a zone, in UTC, whole seconds but for MicroTime
    null: the field is as good as not given                            unknown fields are reported and left out

A lenient walk refuses nothing of this and fills required fields that are missing with empty values, as Go's decoder does; a strict one
does that only below `status`, which servers write and nobody validates.
"""

from __future__ import annotations

import datetime
import json
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec

from volsched.api.documents import MapKey, Part, Path
from volsched.api.quantity import number_text, parse
from volsched.errors import InputError

Json: TypeAlias = Any
Report: TypeAlias = Callable[[Path], None]

# (type, field) of the maps whose values are quantities; every other plain map has strings.
QUANTITY_MAPS: Final = frozenset(
    {
        ("NodeStatus", "allocatable"),
        ("NodeStatus", "capacity"),
        ("PodSpec", "overhead"),
        ("PodStatus", "allocatedResources"),
        ("ContainerStatus", "allocatedResources"),
        ("ResourceRequirements", "limits"),
        ("ResourceRequirements", "requests"),
        ("VolumeResourceRequirements", "limits"),
        ("VolumeResourceRequirements", "requests"),
        ("PersistentVolumeSpec", "capacity"),
        ("PersistentVolumeClaimStatus", "capacity"),
        ("PersistentVolumeClaimStatus", "allocatedResources"),
    }
)
# Single quantities. lightkube-models spells them as str, so the field names have to say it.
QUANTITY_FIELDS: Final = frozenset(
    {
        ("EmptyDirVolumeSource", "sizeLimit"),
        ("ResourceFieldSelector", "divisor"),
        ("NodeAllocatableMappedResources", "quantity"),
        ("NodeAllocatableOverheadResources", "perContainer"),
        ("NodeAllocatableOverheadResources", "perPod"),
        ("CSIStorageCapacity", "capacity"),
        ("CSIStorageCapacity", "maximumVolumeSize"),
        ("VolumeSnapshotStatus", "restoreSize"),
    }
)
# Maps of anything: not looked into.
FREE_MAPS: Final = frozenset({("ManagedFieldsEntry", "fieldsV1"), ("PodDisruptionBudgetStatus", "disruptedPods")})
# Times that keep microseconds (MicroTime); all others have whole seconds.
_MICRO_TIMES: Final = frozenset({("Event", "eventTime"), ("EventSeries", "lastObservedTime")})
# Group snapshots of v1beta1 listed pairs of handles here; v1 has volumeSnapshotInfoList.
_UNSUPPORTED: Final = {("VolumeGroupSnapshotContentStatus", "volumeSnapshotHandlePairList"): "use status.volumeSnapshotInfoList"}
_EPOCH: Final = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


class FieldError(Exception):
    """A value that cannot be used, by its path."""

    def __init__(self, path: Path, message: str, *, unsupported: bool = False) -> None:
        super().__init__(message)
        self.path = path
        self.message = message
        self.unsupported = unsupported


class _Walk(NamedTuple):
    """What stays the same through one walk."""

    lenient: bool
    unknown: Report


_Handler: TypeAlias = Callable[[_Walk, Json, Path, bool], Json]


class Plan:
    """How to walk a dict that is to become a Struct: field -> handler (None: as it is), and what to fill in."""

    __slots__ = ("fields", "required", "type")

    def __init__(self, struct: type[msgspec.Struct]) -> None:
        self.type = struct
        self.fields: dict[str, _Handler | None] = {}
        self.required: list[tuple[str, Any]] = []  # (field, its type)
        for field in msgspec.structs.fields(struct):
            self.fields[field.encode_name] = _handler(struct.__name__, field.encode_name, field.type)
            if field.required:
                self.required.append((field.encode_name, field.type))

    def walk(self, walk: _Walk, value: Mapping[str, Json], path: Path, fill: bool) -> dict[str, Json]:
        """A new dict, converted. `fill`: whether missing required fields get empty values."""
        fields = self.fields
        made: dict[str, Json] = {}
        for name, item in value.items():
            try:
                handler = fields[name]
            except KeyError:
                self._unknown(walk, name, path)
                continue
            if item is None:
                continue
            made[name] = item if handler is None else handler(walk, item, (*path, name), fill or name in ("status", "managedFields"))
        if fill:
            for name, kind in self.required:
                if name not in made:
                    made[name] = _empty(walk, kind)
        return made

    def _unknown(self, walk: _Walk, name: str, path: Path) -> None:
        hint = _UNSUPPORTED.get((self.type.__name__, name))
        if hint is not None and not walk.lenient:
            raise FieldError((*path, name), f"not supported; {hint}", unsupported=True)
        walk.unknown((*path, name))


_PLANS: Final[dict[type[msgspec.Struct], Plan]] = {}


def plan_of(struct: type[msgspec.Struct]) -> Plan:
    """The plan of a Struct type, made on first use."""
    plan = _PLANS.get(struct)
    if plan is None:
        plan = _PLANS[struct] = Plan(struct)
    return plan


def shaped(struct: type[msgspec.Struct], value: Mapping[str, Json], *, path: Path, lenient: bool, unknown: Report) -> dict[str, Json]:
    """A value ready for `msgspec.convert(…, struct)`. Raises FieldError."""
    return plan_of(struct).walk(_Walk(lenient, unknown), value, path, lenient)


def _bare(kind: Any) -> Any:
    """A field's type without its None."""
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        rest = [part for part in typing.get_args(kind) if part is not type(None)]
        if len(rest) == 1:
            return rest[0]
    return kind


def _is_struct(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def _handler(struct: str, name: str, kind: Any) -> _Handler | None:
    kind = _bare(kind)
    if (struct, name) in QUANTITY_FIELDS:
        return _quantity
    if (struct, name) in FREE_MAPS:
        return None
    if kind is dict or typing.get_origin(kind) is dict:
        return _quantity_map if (struct, name) in QUANTITY_MAPS else _string_map
    if kind is int:
        return _integer
    if kind is datetime.datetime:
        return _micro_time if (struct, name) in _MICRO_TIMES else _time
    if _is_struct(kind):
        return _struct_handler(kind)
    if typing.get_origin(kind) is list:
        (item,) = typing.get_args(kind)
        return _list_handler(item) if _is_struct(item) else None
    return None


def _struct_handler(kind: type[msgspec.Struct]) -> _Handler:
    plan: Plan | None = None  # made on first use: types may contain themselves

    def handle(walk: _Walk, value: Json, path: Path, fill: bool) -> Json:
        nonlocal plan
        if plan is None:
            plan = plan_of(kind)
        return plan.walk(walk, value, path, fill) if type(value) is dict else value

    return handle


def _list_handler(kind: type[msgspec.Struct]) -> _Handler:
    plan: Plan | None = None

    def handle(walk: _Walk, value: Json, path: Path, fill: bool) -> Json:
        nonlocal plan
        if plan is None:
            plan = plan_of(kind)
        if type(value) is not list:
            return value
        return [plan.walk(walk, item, (*path, at), fill) if type(item) is dict else item for at, item in enumerate(value)]

    return handle


def words(value: Json) -> str:
    """A value as a message names it: `the number 5`, `the boolean true`, `a list`."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return f"the boolean {'true' if value else 'false'}"
    if isinstance(value, (int, float)):
        return f"the number {number_text(value)}"
    if isinstance(value, str):
        return f"the string {json.dumps(value, ensure_ascii=False)}" if len(value) <= 60 else "a string"
    return "a list" if isinstance(value, list) else "a mapping"


def as_text(value: Json) -> str:
    """A value as a string where one is needed and nothing may be refused."""
    if isinstance(value, str):
        return value
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return number_text(value)
    return "" if value is None else json.dumps(value)


def _string_map(walk: _Walk, value: Json, path: Path, fill: bool) -> Json:
    if type(value) is not dict:
        return value
    if all(type(item) is str for item in value.values()):
        return value
    made = {}
    for key, item in value.items():
        if item is not None and not isinstance(item, str) and not walk.lenient:
            hint = "; put it in quotes" if not isinstance(item, (dict, list)) else ""
            raise FieldError((*path, MapKey(key)), f"expected a string, got {words(item)}{hint}")
        made[key] = as_text(item)
    return made


def _quantity_map(walk: _Walk, value: Json, path: Path, fill: bool) -> Json:
    if type(value) is not dict:
        return value
    return {key: "0" if item is None else _quantity(walk, item, path, fill, key) for key, item in value.items()}


def _quantity(walk: _Walk, value: Json, path: Path, fill: bool, key: str | None = None) -> Json:
    if walk.lenient:
        return value if type(value) is str else as_text(value)
    try:
        if type(value) is str:
            parse(value)
            return value
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            parse(value)
            return number_text(value)
    except InputError as error:
        raise FieldError(path if key is None else (*path, MapKey(key)), error.message) from None
    raise FieldError(path if key is None else (*path, MapKey(key)), f"expected a quantity, got {words(value)}")


def _integer(walk: _Walk, value: Json, path: Path, fill: bool) -> Json:
    if type(value) is float and value.is_integer():
        value = int(value)
    if type(value) is int and not -(2**63) <= value < 2**63:
        raise FieldError(path, f"{value} is out of range: a 64-bit integer is needed")
    return value


def _time(walk: _Walk, value: Json, path: Path, fill: bool) -> Json:
    moment = _micro_time(walk, value, path, fill)
    return moment.replace(microsecond=0) if isinstance(moment, datetime.datetime) else moment


def _micro_time(walk: _Walk, value: Json, path: Path, fill: bool) -> Json:
    if isinstance(value, str):
        try:
            value = msgspec.convert(value, datetime.datetime)
        except (msgspec.ValidationError, OverflowError):
            raise FieldError(path, f"expected a time like 2026-01-31T23:59:59Z, got {words(value)}") from None
    if not isinstance(value, datetime.datetime):
        return value
    if value.tzinfo is None:
        raise FieldError(path, f'expected a time with its zone, like 2026-01-31T23:59:59Z, got "{value.isoformat()}"')
    return value.astimezone(datetime.UTC)


def _empty(walk: _Walk, kind: Any) -> Json:
    """What Go's decoder leaves in a field that is not given."""
    kind = _bare(kind)
    if _is_struct(kind):
        return plan_of(kind).walk(walk, {}, (), True)
    if typing.get_origin(kind) is list:
        return []
    if kind is dict or typing.get_origin(kind) is dict:
        return {}
    if kind is bool:
        return False
    if kind is datetime.datetime:
        return _EPOCH
    return "" if kind is str else 0


def look_up(value: Json, path: Path) -> Json:
    """The value at a path; None where the path leaves the value."""
    for part in path:
        if isinstance(value, dict) and isinstance(part, str):
            value = value.get(str(part))
        elif isinstance(value, list) and isinstance(part, int) and part < len(value):
            value = value[part]
        else:
            return None
    return value


__all__ = ["FieldError", "Part", "Plan", "look_up", "plan_of", "shaped", "words"]
