"""What a decider asks the outside to do.

A decider's pass is a generator: it yields one intent, is sent the result, or has the error thrown in. So a pass has no clock, disk or
socket inside, every yield is a point where a crash may happen, and a test can play the outside by hand.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, TypeVar

from volsched.api.csi import Message
from volsched.api.kinds import Json, Object

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Create:
    """POST. Result: the stored object."""

    object: Any


@dataclass(frozen=True, slots=True)
class Update:
    """PUT, refused with ConflictError when metadata.resourceVersion is stale. Result: the stored object."""

    object: Any
    subresource: Literal["", "status"] = ""


@dataclass(frozen=True, slots=True)
class Patch:
    """PATCH. Result: the stored object."""

    kind: str
    namespace: str
    name: str
    body: Json
    patch_type: Literal["merge", "json"] = "merge"
    subresource: Literal["", "status"] = ""


@dataclass(frozen=True, slots=True)
class Delete:
    """DELETE. Result: the last or marked state."""

    kind: str
    namespace: str
    name: str
    uid: str | None = None
    resource_version: str | None = None
    grace_period_s: int | None = None


@dataclass(frozen=True, slots=True)
class Bind:
    """POST pods/binding. Result: None."""

    namespace: str
    name: str
    uid: str
    node: str


@dataclass(frozen=True, slots=True)
class Read:
    """Live GET, past the decider's own view. Result: the object; NotFoundError."""

    kind: str
    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class ListAll:
    """Live LIST. Result: list of objects."""

    kind: str
    namespace: str | None = None
    label_selector: str | None = None


@dataclass(frozen=True, slots=True)
class Emit:
    """Record a Kubernetes Event. Never fails. Result: None. `source` empty = the decider's `component`."""

    regarding: Object
    type: Literal["Normal", "Warning"]
    reason: str
    message: str
    action: str = ""
    source: str = ""


@dataclass(frozen=True, slots=True)
class Call:
    """One CSI call to a driver. Result: the response message; CsiError. `node`: the node whose Node service is meant."""

    driver: str
    method: str
    request: Message
    node: str = ""
    timeout_s: float = 10.0


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait. Result: None."""

    seconds: float


Intent: TypeAlias = Create | Update | Patch | Delete | Bind | Read | ListAll | Emit | Call | Pause
Steps: TypeAlias = Generator[Intent, Any, T]
