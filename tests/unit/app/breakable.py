"""A cluster that has come to rest, in which a test then breaks a rule by hand."""

from __future__ import annotations

from typing import Any

from volsched.app.cluster import Cluster
from volsched.app.invariants import Witness
from volsched.ports import Call

DRIVER = "full.csi.volsched.dev"


class Breakable:
    """The ways to bring such a cluster about and to break it. A subclass says what is in it."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.witness = Witness(cluster)

    def create(self, obj: Any) -> Any:
        return self.cluster.create(obj)

    def rest(self) -> None:
        assert self.cluster.run_until_idle(self.cluster.now_ns() + 3600 * 10**9)

    def stop(self) -> None:
        """Nobody reacts any more: what is broken from now on stays broken."""
        for decider in list(self.cluster.runner.deciders):
            self.cluster.runner.remove(decider)

    def call(self, method: str, request: Any, driver: str = DRIVER) -> Any:
        """A call as a decider makes it."""
        return self.cluster.runner._call(Call(driver, method, request))

    @property
    def fake(self) -> Any:
        return self.cluster.drivers.fakes[DRIVER]
