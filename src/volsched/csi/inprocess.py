"""CsiClient without a wire: the call goes straight into the driver, no time passes, nothing is copied.

Messages are immutable, so both sides may hold the same one. Answers equal those of the gRPC transport, errors included.
"""

from __future__ import annotations

from volsched.api.csi import METHODS, Message
from volsched.csi.backend import Driver
from volsched.errors import CsiCode, CsiError


class InProcessClient:
    """Calls one driver in this process. `timeout_s` has no meaning here: time stands still during a call."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    @property
    def driver(self) -> Driver:
        return self._driver

    def call(self, method: str, request: Message, *, node: str = "", timeout_s: float = 10.0) -> Message:
        """Make one call. Raises CsiError."""
        types = METHODS.get(method)
        if types is None or not isinstance(request, types[0]):
            raise CsiError(CsiCode.INTERNAL, f"{method} does not take {type(request).__name__}", method=method)
        return self._driver.call(method, request, node=node)

    def close(self) -> None:
        """Nothing to let go of."""
