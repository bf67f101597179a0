"""CsiClient without a wire: the call goes straight into the driver, no time passes, nothing is copied.

Messages are immutable, so both sides may hold the same one. Answers equal those of the gRPC transport, errors included. A driver that takes
its time is told how long this caller would wait, and says itself that it was too long.
"""

from __future__ import annotations

from volsched.api.csi import METHODS, Message
from volsched.csi.backend import Driver, SlowDriver
from volsched.errors import CsiCode, CsiError


class InProcessClient:
    """Calls one driver in this process. Time stands still during a call, so `timeout_s` matters to a `SlowDriver` only."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._slow = driver if isinstance(driver, SlowDriver) else None

    @property
    def driver(self) -> Driver:
        return self._driver

    def call(self, method: str, request: Message, *, node: str = "", timeout_s: float = 10.0) -> Message:
        """Make one call. Raises CsiError."""
        types = METHODS.get(method)
        if types is None or not isinstance(request, types[0]):
            raise CsiError(CsiCode.INTERNAL, f"{method} does not take {type(request).__name__}", method=method)
        if self._slow is not None:
            return self._slow.call_within(method, request, node=node, timeout_s=timeout_s)
        return self._driver.call(method, request, node=node)

    def close(self) -> None:
        """Nothing to let go of."""
