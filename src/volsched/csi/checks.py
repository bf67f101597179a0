"""What is wrong with a request before any object is looked at: sizes, missing fields, capabilities, behaviour parameters.

Order for every call (spec/volumes.md 6.1): capability not advertised, then these checks (INVALID_ARGUMENT), then existence (NOT_FOUND),
then concurrency (ABORTED), then the object's state. A missing required field is INVALID_ARGUMENT even if the object does not exist.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec

from volsched.api.csi import CapacityRange, Message, TopologyRequirement, VolumeCapability
from volsched.csi.profile import DriverProfile
from volsched.csi.topology import covers
from volsched.errors import CsiCode, CsiError

STRING_BYTES_MAX: Final = 128
NODE_ID_BYTES_MAX: Final = 256
MAP_BYTES_MAX: Final = 4096
MOUNT_FLAGS_BYTES_MAX: Final = 4096
PATH_BYTES_MAX: Final = 4096  # PATH_MAX of Linux; the specification exempts paths

BEHAVIOUR: Final = frozenset({"fail", "readyAfter"})  # parameters every fake driver understands
INJECTED: Final = "injected failure"
_DURATION: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ns|us|µs|ms|s|m|h)")
_UNIT_NS: Final = {"ns": 1, "us": 10**3, "µs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
# C0 and C1 controls without TAB, LF, CR
_CONTROL: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")

# Which modes a volume created for a mode can serve. Source: CSI specification v1.12, AccessMode; SINGLE_NODE_WRITER is what drivers that
# do not tell the two newer single-node modes apart call either of them.
_SINGLE: Final = frozenset({"SINGLE_NODE_WRITER", "SINGLE_NODE_READER_ONLY", "SINGLE_NODE_SINGLE_WRITER", "SINGLE_NODE_MULTI_WRITER"})
SERVES: Final[Mapping[str, frozenset[str]]] = {
    "SINGLE_NODE_WRITER": _SINGLE,
    "SINGLE_NODE_READER_ONLY": frozenset({"SINGLE_NODE_READER_ONLY"}),
    "SINGLE_NODE_SINGLE_WRITER": frozenset({"SINGLE_NODE_SINGLE_WRITER", "SINGLE_NODE_READER_ONLY"}),
    "SINGLE_NODE_MULTI_WRITER": _SINGLE,
    "MULTI_NODE_READER_ONLY": frozenset({"MULTI_NODE_READER_ONLY", "SINGLE_NODE_READER_ONLY"}),
    "MULTI_NODE_SINGLE_WRITER": _SINGLE | {"MULTI_NODE_SINGLE_WRITER", "MULTI_NODE_READER_ONLY"},
    "MULTI_NODE_MULTI_WRITER": _SINGLE | {"MULTI_NODE_MULTI_WRITER", "MULTI_NODE_SINGLE_WRITER", "MULTI_NODE_READER_ONLY"},
}


def invalid(text: str) -> CsiError:
    return CsiError(CsiCode.INVALID_ARGUMENT, text)


def not_found(text: str) -> CsiError:
    return CsiError(CsiCode.NOT_FOUND, text)


def require(**fields: object) -> None:
    """Raise INVALID_ARGUMENT naming the first empty field, in the order given."""
    for name, value in fields.items():
        if value is None or value == "" or value == []:
            raise invalid(f"{name} is required")


# Sizes: one list of checks per message type, made on first use.

Check = Callable[[Any, str], None]


def _check_string(limit: int) -> Check:
    def check(value: str, path: str) -> None:
        # A character takes at most four bytes: most strings pass on their length alone.
        if len(value) * 4 > limit and len(value.encode("utf-8", "surrogatepass")) > limit:
            raise invalid(f"{path} is {len(value.encode('utf-8', 'surrogatepass'))} bytes long, the limit is {limit}")

    return check


_check_identifier: Final = _check_string(STRING_BYTES_MAX)


def _check_map(value: Mapping[str, str], path: str) -> None:
    size = sum(len(key.encode("utf-8", "surrogatepass")) + len(item.encode("utf-8", "surrogatepass")) for key, item in value.items())
    if size > MAP_BYTES_MAX:
        raise invalid(f"{path} holds {size} bytes, the limit is {MAP_BYTES_MAX}")


def _check_list(value: Sequence[Any], path: str) -> None:
    if value and isinstance(value[0], str):
        if not path.endswith("mount_flags"):
            for index, item in enumerate(value):
                _check_identifier(item, f"{path}[{index}]")
            return
        size = sum(len(item.encode("utf-8", "surrogatepass")) for item in value)
        if size > MOUNT_FLAGS_BYTES_MAX:
            raise invalid(f"{path} holds {size} bytes, the limit is {MOUNT_FLAGS_BYTES_MAX}")
    else:
        for index, item in enumerate(value):
            check_sizes(item, f"{path}[{index}].")


def _check_number(value: int, path: str) -> None:
    if value < 0:
        raise invalid(f"{path} is {value}, has to be 0 or more")


def _check_message(value: Message, path: str) -> None:
    check_sizes(value, f"{path}.")


_PLANS: dict[type[Message], tuple[tuple[str, Check], ...]] = {}


def _check_of(name: str, default: Any) -> Check:
    if isinstance(default, str):
        if name.endswith("_path"):
            return _check_string(PATH_BYTES_MAX)
        return _check_string(NODE_ID_BYTES_MAX if name == "node_id" else STRING_BYTES_MAX)
    if default is dict:
        return _check_map
    if default is list:
        return _check_list
    if isinstance(default, int) and not isinstance(default, bool):
        return _check_number
    return _check_message


def _plan(cls: type[Message]) -> tuple[tuple[str, Check], ...]:
    plan = _PLANS.get(cls)
    if plan is None:
        rows = []
        for field in msgspec.structs.fields(cls):
            # msgspec keeps an empty list or dict as a factory
            default = field.default if field.default is not msgspec.NODEFAULT else field.default_factory
            if not isinstance(default, bool):
                rows.append((field.name, _check_of(field.name, default)))
        plan = _PLANS[cls] = tuple(rows)
    return plan


def check_sizes(message: Message, prefix: str = "") -> None:
    """Refuse strings, maps and flags above the specification's limits, and negative numbers, anywhere in a message."""
    for name, check in _plan(type(message)):
        value = getattr(message, name)
        if value:
            check(value, f"{prefix}{name}")


def check_name(name: str) -> None:
    """Refuse names with control characters other than TAB, LF and CR."""
    found = _CONTROL.search(name)
    if found is not None:
        raise invalid(f"name holds the control character U+{ord(found.group()):04X}")


# Capabilities


def describe(capability: VolumeCapability) -> str:
    """Access type and mode in words, for messages."""
    kind = "block" if capability.block is not None else "mount"
    return f"{kind} {capability.access_mode.mode if capability.access_mode is not None else 'without access mode'}"


def check_capability(capability: VolumeCapability | None, path: str) -> VolumeCapability:
    """A capability that is there and whole: one access type, one known mode."""
    if capability is None:
        raise invalid(f"{path} is required")
    if (capability.block is None) == (capability.mount is None):
        raise invalid(f"{path} needs an access type: block or mount")
    if capability.access_mode is None or capability.access_mode.mode == "UNKNOWN":
        raise invalid(f"{path}.access_mode is required")
    if capability.access_mode.mode not in SERVES:
        raise invalid(f"{path}.access_mode {capability.access_mode.mode} is not known")
    return capability


def check_capabilities(capabilities: Sequence[VolumeCapability]) -> None:
    """At least one, each whole."""
    if not capabilities:
        raise invalid("volume_capabilities is required")
    for index, capability in enumerate(capabilities):
        check_capability(capability, f"volume_capabilities[{index}]")


def mode_of(capability: VolumeCapability) -> str:
    return capability.access_mode.mode if capability.access_mode is not None else "UNKNOWN"


def unsupported(profile: DriverProfile, capabilities: Sequence[VolumeCapability]) -> str | None:
    """Why the driver cannot make a volume with these capabilities, if it cannot."""
    newer = ("SINGLE_NODE_SINGLE_WRITER", "SINGLE_NODE_MULTI_WRITER")
    for capability in capabilities:
        kind = "block" if capability.block is not None else "mount"
        if kind not in profile.access_types:
            return f"access type {kind} is not supported"
        mode = mode_of(capability)
        if mode not in profile.access_modes or (mode in newer and "SINGLE_NODE_MULTI_WRITER" not in profile.controller):
            return f"access mode {mode} is not supported"
    if len({capability.block is not None for capability in capabilities}) > 1:
        return "a volume is either block or mount, not both"
    return None


def served_by(capability: VolumeCapability, created: Sequence[VolumeCapability]) -> bool:
    """Whether a volume created with `created` can be used this way."""
    return any((capability.block is None) == (have.block is None) and mode_of(capability) in SERVES[mode_of(have)] for have in created)


def multi_node(capability: VolumeCapability) -> bool:
    return mode_of(capability).startswith("MULTI_NODE")


def multi_target(capability: VolumeCapability) -> bool:
    """Whether several target paths of one node may show the volume. Source: spec/volumes.md 6.6, second publish."""
    return multi_node(capability) or mode_of(capability) == "SINGLE_NODE_MULTI_WRITER"


# Ranges, topology, parameters


def check_range(capacity: CapacityRange | None) -> tuple[int, int]:
    """(required, limit) in bytes, 0 = not given."""
    if capacity is None:
        return 0, 0
    if 0 < capacity.limit_bytes < capacity.required_bytes:
        raise CsiError(
            CsiCode.OUT_OF_RANGE,
            f"capacity_range: required_bytes {capacity.required_bytes} is above limit_bytes {capacity.limit_bytes}",
        )
    return capacity.required_bytes, capacity.limit_bytes


def check_requirement(requirement: TopologyRequirement | None) -> None:
    """`preferred` has to be within `requisite`, if there is any."""
    if requirement is None or not requirement.requisite:
        return
    for topology in requirement.preferred:
        if not any(covers(topology.segments, term.segments) for term in requirement.requisite):
            raise invalid(f"accessibility_requirements.preferred {topology.segments} is not among requisite")


def check_parameters(known: frozenset[str] | None, parameters: Mapping[str, str], field: str) -> None:
    """Refuse keys the driver does not know; its own behaviour keys always are."""
    if known is None:
        return
    for key in sorted(parameters):
        if key not in known and key not in BEHAVIOUR:
            raise invalid(f"{field} {key!r} is not supported; supported: {', '.join(sorted(known)) or 'none'}")


def fail_if_asked(parameters: Mapping[str, str]) -> None:
    """Behaviour parameter `fail: "<code number>"`: end with that gRPC code."""
    text = parameters.get("fail", "")
    if not text:
        return
    if not (text.isascii() and text.isdecimal() and 1 <= int(text) <= 16):
        raise invalid(f"parameter fail is {text!r}, has to be the number of a gRPC code, 1 to 16")
    raise CsiError(CsiCode(int(text)), INJECTED)


def duration_ns(text: str) -> int | None:
    """A duration in Go's syntax, `8s`, `1m30s`, `0`, in nanoseconds; None if it is none."""
    if text == "0":
        return 0
    parts = _DURATION.findall(text)
    if not text or "".join(number + unit for number, unit in parts) != text:
        return None
    return sum(round(float(number) * _UNIT_NS[unit]) for number, unit in parts)


def ready_after_ns(parameters: Mapping[str, str]) -> int:
    """Behaviour parameter `readyAfter: 8s`: how long a snapshot stays unready after the cut, in nanoseconds. Go's duration syntax."""
    text = parameters.get("readyAfter", "")
    found = duration_ns(text) if text else 0
    if found is None:
        raise invalid(f"parameter readyAfter is {text!r}, has to be a duration like 8s or 1m30s")
    return found
