"""CsiClient over gRPC on a unix socket.

A call has a deadline and is made once: whether to repeat it is the caller's decision, as with the sidecars. Only connecting is tried again,
within the deadline, so a driver that restarts is found; a call that may have reached the driver is never sent twice.

    no server              UNAVAILABLE, the text says why the socket cannot be used
    deadline               DEADLINE_EXCEEDED, `context deadline exceeded`, as Go's clients word it
    the driver's answer    its code and text
"""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Any, Final

import grpc

from volsched.api.csi import METHODS, Message, ProbeRequest, ProbeResponse, full_method
from volsched.csi.backend import DEADLINE_TEXT
from volsched.csi.endpoint import socket_path, why_unreachable
from volsched.csi.wire import CODECS
from volsched.errors import CsiCode, CsiError

# Metadata key for the node a Node call is for; a driver that runs on one node does not look at it.
NODE_METADATA: Final = "volsched-node-id"
RESPONSE_BYTES_MAX: Final = 64 << 20
CONNECT_STEP_S: Final = 0.02

_OPTIONS: Final = (
    ("grpc.enable_retries", 0),
    ("grpc.max_receive_message_length", RESPONSE_BYTES_MAX),
    ("grpc.max_send_message_length", RESPONSE_BYTES_MAX),
    # The default authority is the percent-encoded path, which some servers refuse.
    ("grpc.default_authority", "localhost"),
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 500),
    # Channels to one path would share a connection, and its backoff, with those before them.
    ("grpc.use_local_subchannel_pool", 1),
)


class GrpcClient:
    """One driver at `endpoint` (`unix:///PATH`). Connects on the first call; a context manager closes it.

    connect_timeout_s: how long a call may wait for a server to appear, at most its own deadline; 0 = not at all.
    """

    def __init__(self, endpoint: str, *, connect_timeout_s: float = 1.0) -> None:
        self._path = socket_path(endpoint)
        self.endpoint: Final = f"unix://{self._path}"
        self._connect_timeout_s = connect_timeout_s
        self._channel = grpc.insecure_channel(f"unix:{self._path}", options=_OPTIONS)
        self._calls: dict[str, Any] = {}
        self._connected = False

    def __enter__(self) -> GrpcClient:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; calls after this fail."""
        self._channel.close()

    def call(self, method: str, request: Message, *, node: str = "", timeout_s: float = 10.0) -> Message:
        """Make one call. Raises CsiError."""
        codec = CODECS.get(method)
        if codec is None or type(request) is not METHODS[method][0]:
            raise CsiError(CsiCode.INTERNAL, f"{method} does not take {type(request).__name__}", method=method)
        send = self._calls.get(method)
        if send is None:
            send = self._calls[method] = self._channel.unary_unary(
                full_method(method), request_serializer=codec.encode_request, response_deserializer=codec.decode_response
            )
        connected, self._connected = self._connected, False
        if not connected:
            self._connect(method, min(timeout_s, self._connect_timeout_s))
        try:
            # A fresh connection is waited for; on one that was good a call that cannot be sent fails at once.
            response: Message = send(
                request, timeout=timeout_s, metadata=((NODE_METADATA, node),) if node else None, wait_for_ready=not connected
            )
        except grpc.RpcError as error:
            raise self._error(method, error) from None
        self._connected = True
        return response

    def wait_ready(self, timeout_s: float = 10.0) -> None:
        """Wait until the driver takes connections and says it is ready. Raises CsiError UNAVAILABLE, one line, when the time is over."""
        paused, left_s = threading.Event(), timeout_s
        while True:
            problem = why_unreachable(self._path)
            if problem is None:
                try:
                    answer = self.call("Probe", ProbeRequest(), timeout_s=max(CONNECT_STEP_S, left_s))
                    if isinstance(answer, ProbeResponse) and answer.ready is not False:
                        return
                    problem = "the driver is still starting"
                except CsiError as error:
                    if error.code not in (CsiCode.UNAVAILABLE, CsiCode.DEADLINE_EXCEEDED):
                        raise
                    problem = error.detail
            if left_s <= 0:
                raise CsiError(CsiCode.UNAVAILABLE, self._unreachable(problem), method="Probe")
            paused.wait(CONNECT_STEP_S)
            left_s -= CONNECT_STEP_S

    def _connect(self, method: str, timeout_s: float) -> None:
        """Wait until somebody listens; a socket nobody serves by then is UNAVAILABLE."""
        paused, left_s = threading.Event(), timeout_s
        while (problem := why_unreachable(self._path)) is not None:
            if left_s <= 0:
                raise CsiError(CsiCode.UNAVAILABLE, self._unreachable(problem), method=method)
            paused.wait(CONNECT_STEP_S)
            left_s -= CONNECT_STEP_S

    def _unreachable(self, problem: str) -> str:
        return f"cannot reach the CSI driver at {self.endpoint}: {problem}"

    def _error(self, method: str, error: Any) -> CsiError:
        code = CsiCode(error.code().value[0])
        detail = error.details() or ""
        if code is CsiCode.UNAVAILABLE:
            problem = why_unreachable(self._path)
            detail = detail if problem is None else self._unreachable(problem)
        else:
            self._connected = True
            if code is CsiCode.DEADLINE_EXCEEDED and "deadline exceeded" in detail.lower():  # gRPC's own texts, not the driver's
                detail = DEADLINE_TEXT
        return CsiError(code, detail or f"{method} failed without a text", method=method)
