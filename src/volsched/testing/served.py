"""A fake driver under faults on its socket, and what may be asked of it beside CSI: records, digests, faults, calls.

Questions and answers are plain JSON data, so that it makes no difference whether they come from the same process or through a pipe. Every
call is told when it begins and when it has been answered; one that ends with the driver's process was told of, but not answered.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from volsched.api.csi import Message
from volsched.csi.backend import Driver, FakeDriver
from volsched.csi.directory import DirectoryData
from volsched.csi.fault_file import parse_plan
from volsched.csi.faults import FaultPlan, FaultyDriver
from volsched.csi.journal import SqliteJournal
from volsched.csi.profile import DriverProfile
from volsched.csi.server import WORKERS_UNDER_FAULTS, CsiServer
from volsched.csi.state import Journal, Row
from volsched.env import Chance, RealClock
from volsched.errors import CsiError

Tell = Callable[[Mapping[str, Any]], None]


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What a driver is and where. `nodes`: labels of the nodes it runs on. `seed`: of the faults' chances."""

    profile: DriverProfile
    endpoint: str
    folder: str
    node_id: str
    nodes: dict[str, dict[str, str]] = {}
    seed: int = 0
    plan: str = '{"faults": []}'
    counted: dict[str, tuple[int, int]] = {}


class MemoryJournal:
    """Records that outlive a driver of this process, for the next one."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str, str], bytes] = {}

    def read(self) -> list[Row]:
        return [Row(kind, key, body) for (kind, key), body in self._rows.items()]

    def write(self, puts: Sequence[Row], drops: Sequence[tuple[str, str]]) -> None:
        for key in drops:
            self._rows.pop(key, None)
        self._rows.update({(row.kind, row.key): row.body for row in puts})

    def close(self) -> None:
        """What is kept stays."""


class Recorder:
    """A driver that tells of every call, when it begins and when it is answered."""

    def __init__(self, driver: Driver, tell: Tell) -> None:
        self._driver = driver
        self._tell = tell
        self._numbers = itertools.count()
        self._lock = threading.Lock()

    @property
    def name(self) -> str:
        return self._driver.name

    def call(self, method: str, request: Message, *, node: str = "") -> Message:
        """Carry out one call. Raises CsiError."""
        with self._lock:  # so that calls are told of in the order of their numbers
            number = next(self._numbers)
            self._tell({"call": number, "method": method, "request": msgspec.to_builtins(request), "node": node})
        try:
            response = self._driver.call(method, request, node=node)
        except CsiError as error:
            self._tell({"done": number, "code": int(error.code), "detail": error.detail})
            raise
        self._tell({"done": number, "code": 0, "detail": ""})
        return response


class Served:
    """One life of a driver. `tell` hears of its calls; `crash` ends the process, where a crash can do that."""

    def __init__(self, settings: Settings, tell: Tell, *, journal: Journal | None = None, crash: Callable[[], None] | None = None) -> None:
        folder = Path(settings.folder)
        self.backend: Final = FakeDriver(
            settings.profile,
            clock=RealClock(),
            data=DirectoryData(folder / "data", durable=False),
            journal=journal or SqliteJournal(folder / "driver.db"),
            default_node=settings.node_id,
        )
        for node, labels in settings.nodes.items():
            self.backend.register_node(node, labels)
        self.faults: Final = FaultyDriver(self.backend, FaultPlan(), RealClock(), Chance(settings.seed), real_time=True, crash=crash)
        self.faults.set_plan(parse_plan(settings.plan), counted=settings.counted)
        self._server = CsiServer(Recorder(self.faults, tell), settings.endpoint, workers=WORKERS_UNDER_FAULTS)
        self._server.start()

    def stop(self, *, grace_s: float) -> None:
        """Take no more calls, give those under way some time, let go of everything."""
        self.faults.close()
        self._server.stop(grace_s)
        self.backend.close()

    def ask(self, question: str, arguments: Mapping[str, Any]) -> Any:
        """Answer a question of the test's. Raises CsiError, for an id that is not known."""
        return _ANSWERS[question](self, **arguments)

    def _records(self, kind: str) -> Any:
        return msgspec.to_builtins(getattr(self.backend, kind)())

    def _digest(self, kind: str, object_id: str) -> str:
        return self.backend.digest_volume(object_id) if kind == "volume" else self.backend.digest_snapshot(object_id)

    def _free_bytes(self, segments: dict[str, str], pool: str) -> int:
        return self.backend.free_bytes(segments, pool)

    def _register(self, node: str, labels: dict[str, str]) -> None:
        self.backend.register_node(node, labels)

    def _set_plan(self, plan: str) -> None:
        self.faults.set_plan(parse_plan(plan))

    def _counted(self) -> Any:
        return self.faults.counted


_ANSWERS: Final[Mapping[str, Callable[..., Any]]] = {
    "records": Served._records,
    "digest": Served._digest,
    "free_bytes": Served._free_bytes,
    "register": Served._register,
    "set_plan": Served._set_plan,
    "counted": Served._counted,
}
