"""Every exception volsched raises on purpose.

    VolschedError
    ├── InputError            what the user gave is wrong: file, document, path and line say where        (exit 1)
    │   └── UnsupportedError  valid for Kubernetes, outside what volsched does; says so                    (exit 1)
    ├── StateError            the state file is locked, damaged or of another version                      (exit 1)
    ├── ApiError              the API server (embedded or live) refused a request: code and reason         (exit 1)
    │   ├── NotFoundError         404 NotFound
    │   ├── AlreadyExistsError    409 AlreadyExists
    │   ├── ConflictError         409 Conflict: the resourceVersion or uid moved on
    │   ├── ExpiredError          410 Expired: the asked resourceVersion is no longer retained
    │   ├── ForbiddenError        403 Forbidden: admission refused
    │   └── InvalidError          422 Invalid: validation refused, `causes` name the fields
    ├── CsiError              a CSI call ended with a gRPC code                                            (exit 1)
    ├── ReconcileError        a controller pass failed and is tried again; carried by logs, never by the command line
    ├── PluginError           an own scheduling plugin or extender cannot decide: the cycle fails and the pod is tried again
    └── EngineError           an array, mask or handle does not belong to this engine, or a row is malformed (exit 3)

Expected refusals (a node that does not fit, a claim that has to wait) are values, not exceptions.
Exit codes are those of the command line; anything outside this tree is an internal error, exit 3.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence


class VolschedError(Exception):
    """Base of every exception that volsched raises on purpose."""


class InputError(VolschedError):
    """Input that cannot be used. `str()` is one line: where (file, document, field, line) and what to do."""

    def __init__(
        self,
        message: str,
        *,
        source: str | None = None,
        document: int | None = None,
        path: str | None = None,
        line: int | None = None,
    ) -> None:
        self.message = message
        self.source = source
        self.document = document
        self.path = path
        self.line = line
        where = [
            source or "",
            f"document {document}" if document is not None else "",
            f"line {line}" if line is not None else "",
            path or "",
        ]
        prefix = ", ".join(part for part in where if part)
        super().__init__(f"{prefix}: {message}" if prefix else message)


class UnsupportedError(InputError):
    """Valid Kubernetes input that volsched does not act on."""


class StateError(VolschedError):
    """The state file cannot be used: locked by another process, damaged, or written by another version."""


class ApiError(VolschedError):
    """A request the API server refused. `str()` is the server's message, as kubectl would print it after the reason."""

    code: int = 500
    reason: str = "InternalError"

    def __init__(self, message: str, *, kind: str = "", name: str = "", namespace: str | None = None) -> None:
        super().__init__(message)
        self.kind = kind
        self.name = name
        self.namespace = namespace


class NotFoundError(ApiError):
    code = 404
    reason = "NotFound"


class AlreadyExistsError(ApiError):
    code = 409
    reason = "AlreadyExists"


class ConflictError(ApiError):
    code = 409
    reason = "Conflict"


class ExpiredError(ApiError):
    code = 410
    reason = "Expired"


class ForbiddenError(ApiError):
    code = 403
    reason = "Forbidden"


class InvalidError(ApiError):
    """Validation refused the object; `causes` are (field path, message) pairs."""

    code = 422
    reason = "Invalid"

    def __init__(
        self,
        message: str,
        *,
        kind: str = "",
        name: str = "",
        namespace: str | None = None,
        causes: Sequence[tuple[str, str]] = (),
    ) -> None:
        super().__init__(message, kind=kind, name=name, namespace=namespace)
        self.causes = tuple(causes)


class CsiCode(enum.IntEnum):
    """gRPC status codes, by the numbers of the gRPC wire format."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16

    @property
    def words(self) -> str:
        """The code as Go's grpc package prints it: `ResourceExhausted`, `Canceled`, `OK`."""
        if self is CsiCode.OK:
            return "OK"
        if self is CsiCode.CANCELLED:
            return "Canceled"
        return "".join(part.capitalize() for part in self.name.split("_"))


class CsiError(VolschedError):
    """A CSI call ended with a gRPC code. `str()` is what Go's grpc status error prints: `rpc error: code = … desc = …`."""

    def __init__(self, code: CsiCode, detail: str, *, method: str = "") -> None:
        super().__init__(f"rpc error: code = {code.words} desc = {detail}")
        self.code = code
        self.detail = detail
        self.method = method


class ReconcileError(VolschedError):
    """A controller pass that could not finish; its queue tries the key again with backoff."""


class PluginError(VolschedError):
    """An own scheduling plugin, or an extender, cannot decide on a pod: its cycle fails with this text and is tried again."""


class EngineError(VolschedError):
    """The engine was given something that is not its own or is malformed: a caller's bug, not a decision."""
