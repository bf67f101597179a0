"""Named operations that run beside the claim and volume passes: provision, delete, recycle.

A name never runs twice at once; asking for a name that runs, or that is blocked after a failure, does nothing: the next pass over the
object, at the latest by the resync, asks again. A failure blocks its name for 500 ms, doubling to 2 min 2 s while failures follow each
other; a success forgets them.
Source: pkg/util/goroutinemap; spec/volumes.md 1.3.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

from volsched.controllers.agenda import Agenda
from volsched.controllers.pv_binder.state import OPERATIONS
from volsched.errors import ApiError, ReconcileError
from volsched.ports import Clock, Steps, WorkItem

BLOCK_NS_MIN: Final = 500_000_000
BLOCK_NS_MAX: Final = 122_000_000_000

Operation: TypeAlias = Callable[[], Steps[None]]


@dataclass(slots=True)
class _Blocked:
    until_ns: int
    delay_ns: int


class Operations:
    """The operations asked for and the names blocked."""

    def __init__(self, clock: Clock, agenda: Agenda) -> None:
        self._clock = clock
        self._agenda = agenda
        self._asked: dict[str, Operation] = {}
        self._running: set[str] = set()
        self._blocked: dict[str, _Blocked] = {}

    def schedule(self, name: str, operation: Operation) -> bool:
        """Start an operation as soon as the pass under way has ended; False if its name runs or is blocked."""
        blocked = self._blocked.get(name)
        if name in self._running or name in self._asked or (blocked is not None and self._clock.now_ns() <= blocked.until_ns):
            return False
        self._asked[name] = operation
        self._agenda.now(WorkItem(OPERATIONS, name))
        return True

    def run(self, name: str) -> Steps[None]:
        """Run an operation that was asked for. Its failure blocks the name and goes no further."""
        operation = self._asked.pop(name, None)
        if operation is None:
            return
        self._running.add(name)
        try:
            yield from operation()
        except (ApiError, ReconcileError):
            last = self._blocked.get(name)
            delay_ns = BLOCK_NS_MIN if last is None else min(2 * last.delay_ns, BLOCK_NS_MAX)
            self._blocked[name] = _Blocked(self._clock.now_ns() + delay_ns, delay_ns)
        else:
            self._blocked.pop(name, None)
        finally:
            self._running.discard(name)
