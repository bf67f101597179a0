"""What lies between the processes and the world: nothing, unless somebody puts faults there.

    store change ──Watch──> inbox of a process        intent ──act──> store, clock
                                                      CSI call ──client──> driver

A process is one life of a decider. Whoever replaces `Wires` sees every change on its way to a process, every intent before it is carried
out and every call before a driver has it. What it may do is what happens between real processes: a watch that is late or has to list anew,
a request that is refused or whose answer is lost, a process that dies before or after a step (`Runner.crash`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from volsched.api.watch import Change, WatchEvent
from volsched.ports import CsiClient, Intent
from volsched.store import Store


class Watch:
    """How one process comes to see the store: all there is, then every change at once.

    A subclass may be late with the changes of a kind, lose some of them and list anew, or repeat one. The versions of one object never go
    back, and the last state of everything arrives in the end.
    """

    def __init__(self, store: Store, kinds: frozenset[str], deliver: Callable[[WatchEvent], None]) -> None:
        """`deliver` puts an event into the inbox of the process."""
        self.store = store
        self.kinds = kinds
        self.deliver = deliver

    def start(self) -> None:
        """Deliver what there is as ADDED, by kind, namespace and name."""
        for kind in sorted(self.kinds):
            for obj in self.store.list(kind).items:
                self.deliver(WatchEvent(Change.ADDED, kind, obj, int(obj.metadata.resourceVersion or 0)))

    def changed(self, event: WatchEvent) -> None:
        """A kind that is watched has changed."""
        self.deliver(event)

    def stop(self) -> None:
        """The process has ended: nothing may be delivered any more."""


class Wires:
    """The way things are when nothing goes wrong."""

    def watch(self, process: str, store: Store, kinds: frozenset[str], deliver: Callable[[WatchEvent], None]) -> Watch:
        """The watch of a process that starts now."""
        return Watch(store, kinds, deliver)

    def act(self, process: str, intent: Intent, carry_out: Callable[[], Any]) -> Any:
        """Carry out what a process asks for. Answers the result; raises ApiError, CsiError."""
        return carry_out()

    def client(self, driver: str, client: CsiClient) -> CsiClient:
        """The client that calls to a driver go through; asked for at every call."""
        return client
