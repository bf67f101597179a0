"""The things outside: time, an API server, CSI drivers, scheduler extenders."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple, Protocol, TypeVar

from volsched.api.csi import Message
from volsched.api.kinds import Json
from volsched.api.watch import WatchEvent

T = TypeVar("T")


class Clock(Protocol):
    """Time in nanoseconds since the Unix epoch, virtual or real."""

    def now_ns(self) -> int: ...


class ListResult(NamedTuple):
    """Objects of one kind, sorted by namespace and name, and the store version they were read at."""

    items: list[Any]
    resource_version: int


class ApiClient(Protocol):
    """An API server: the embedded store or a live cluster.

    Objects returned are shared and must not be altered. Every write is checked against `metadata.resourceVersion` when that is set
    (ConflictError), goes through admission, defaulting and validation, and answers the stored object. A write that changes nothing keeps
    the resourceVersion and sends no watch event. `user` is the writer's name, for the log.
    Raises NotFoundError, AlreadyExistsError, ConflictError, ForbiddenError, InvalidError.
    """

    def get(self, kind: str, namespace: str, name: str) -> Any: ...

    def list(
        self,
        kind: str,
        namespace: str | None = None,
        *,
        label_selector: str | None = None,
        field_selector: str | None = None,
    ) -> ListResult:
        """`namespace` None = all. Selectors in kubectl's syntax."""

    def create(self, obj: T, *, user: str) -> T: ...

    def update(self, obj: T, *, user: str, subresource: Literal["", "status"] = "") -> T:
        """Replace. Without a subresource the stored status is kept; with `status` only the status is taken."""

    def patch(
        self,
        kind: str,
        namespace: str,
        name: str,
        body: Json,
        *,
        user: str,
        patch_type: Literal["merge", "json"] = "merge",
        subresource: Literal["", "status"] = "",
    ) -> Any:
        """`merge`: JSON merge patch (RFC 7386), a dict. `json`: JSON patch (RFC 6902), a list of operations."""

    def delete(
        self,
        kind: str,
        namespace: str,
        name: str,
        *,
        user: str,
        uid: str | None = None,
        resource_version: str | None = None,
        grace_period_s: int | None = None,
    ) -> Any:
        """Remove, or mark with deletionTimestamp while finalizers (or a running pod's grace period) hold it. `uid` and
        `resource_version` are preconditions (ConflictError). Answers the last or marked state."""

    def bind(self, namespace: str, name: str, *, uid: str, node: str, user: str) -> None:
        """The pods/binding subresource: sets spec.nodeName once, PodScheduled=True, clears nominatedNodeName, copies topology labels."""

    def watch(self, since: int, kinds: Sequence[str] | None = None) -> Iterator[WatchEvent]:
        """Retained changes after version `since`, oldest first; ends at the newest. Raises ExpiredError if `since` is too old."""


class CsiClient(Protocol):
    """One CSI driver, over gRPC or in process."""

    def call(self, method: str, request: Message, *, node: str = "", timeout_s: float = 10.0) -> Message:
        """Make one call, e.g. `call("CreateVolume", CreateVolumeRequest(...))`. `node` names the node whose Node service is meant.
        Raises CsiError (DEADLINE_EXCEEDED after `timeout_s`, UNAVAILABLE when nobody listens)."""


class ExtenderClient(Protocol):
    """One scheduler extender."""

    def call(self, verb: str, args: Json) -> Json:
        """Post the arguments to the extender's address for this verb and answer what it says. Raises PluginError when it cannot be reached,
        refuses or answers something else than JSON."""


CsiClients = Mapping[str, CsiClient]
