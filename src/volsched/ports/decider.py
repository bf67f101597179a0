"""The shape of a controller or scheduler that `app` can run.

    watch event ──observe──> work items ──queue──> work(item) yields intents ──> done | requeue | error → requeue with backoff

A queue works like client-go's rate limiting queue: an item is in it at most once, is never worked on twice at the same time, and if it is
added while being worked on it runs again afterwards. A failure adds it back after `backoff_s * 2^n`, n counted per item until a pass
ends with DONE; the delayed entry keeps the earlier of its old and new time, and does not stop an event from starting a pass at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

from volsched.api.watch import WatchEvent
from volsched.ports.intents import Steps


class WorkItem(NamedTuple):
    """One thing to look at: the name of a queue of the decider, and a key whose meaning the decider knows (usually `namespace/name`)."""

    queue: str
    key: str


@dataclass(frozen=True, slots=True)
class QueueSpec:
    """`workers` passes of this queue may be under way at once (on different keys)."""

    workers: int = 1
    backoff_s: float = 0.005
    backoff_s_max: float = 1000.0


@dataclass(frozen=True, slots=True)
class Done:
    """Forget the item's failures."""


@dataclass(frozen=True, slots=True)
class Requeue:
    """Look again: after `after_s` seconds without counting a failure, or, when None, after the item's backoff, counting one."""

    after_s: float | None = None


DONE: Final = Done()


class Decider(Protocol):
    """A controller: keeps its own view of the objects it watches, decides by key, acts only through intents.

    Expected failures are raised as ApiError, CsiError or ReconcileError and requeue the item with backoff. Anything else is a bug
    and ends the run.
    """

    @property
    def name(self) -> str:
        """User name of its writes, e.g. "kube-controller-manager"."""

    @property
    def component(self) -> str:
        """Source of its events, e.g. "persistentvolume-controller"."""

    @property
    def kinds(self) -> frozenset[str]:
        """What it watches."""

    @property
    def queues(self) -> Mapping[str, QueueSpec]: ...

    @property
    def resync_s(self) -> float | None:
        """Period of `resync`, None = never."""

    def start(self) -> Steps[None]:
        """Before anything else, once per process life: probe a driver, read its capabilities. May yield nothing."""

    def observe(self, event: WatchEvent) -> Iterable[WorkItem]:
        """Take a watch event into the view; what has to be looked at now. The first events are ADDED for all that exists."""

    def work(self, item: WorkItem) -> Steps[Done | Requeue]:
        """One pass over one key."""

    def resync(self) -> Iterable[WorkItem]:
        """Everything, every `resync_s` seconds."""

    def wake_at_ns(self) -> int | None:
        """When this decider wants `wake` next, if at all. Asked after every observe, work and wake."""

    def wake(self, now_ns: int) -> Iterable[WorkItem]:
        """A time asked for by `wake_at_ns` has come."""
