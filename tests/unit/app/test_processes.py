"""Processes end and start anew: what is in memory is lost, what is stored is not, and the work goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pytest

from tests.builders import make_class, make_csinode, make_node, make_pod, make_pvc
from tests.simulation.player import ENGINE
from volsched.api.kinds import Key
from volsched.api.watch import WatchEvent
from volsched.app.cluster import Cluster, DriverSettings
from volsched.app.runner import Runner
from volsched.csi.profile import full
from volsched.env import Loop, Uids, VirtualClock
from volsched.errors import CsiError
from volsched.ports import DONE, Create, Done, QueueSpec, Requeue, Steps, WorkItem
from volsched.store import Store

DRIVER = "full.csi.volsched.dev"
NS = 10**9


class Copier:
    """Makes a claim `copy-of-x` for every claim `x`, and counts what it was told and asked."""

    name = component = "copier"
    kinds = frozenset({"PersistentVolumeClaim"})
    queues: Mapping[str, QueueSpec] = {"claims": QueueSpec()}
    resync_s: float | None = None

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.synced = 0

    def start(self) -> Steps[None]:
        yield from ()

    def observe(self, event: WatchEvent) -> Iterable[WorkItem]:
        self.seen.append(f"{event.change.value} {event.key.name}")
        return () if event.key.name.startswith("copy-of-") else [WorkItem("claims", event.key.name)]

    def work(self, item: WorkItem) -> Steps[Done | Requeue]:
        yield Create(make_pvc(f"copy-of-{item.key}"))
        return DONE

    def resync(self) -> Iterable[WorkItem]:
        self.synced += 1
        return ()

    def wake_at_ns(self) -> int | None:
        return None

    def wake(self, now_ns: int) -> Iterable[WorkItem]:
        return ()


class World:
    """A store, a runner, and one Copier."""

    def __init__(self) -> None:
        self.clock = VirtualClock(0)
        self.loop = Loop(self.clock)
        self.store = Store(clock=self.clock, uids=Uids(1))
        self.runner = Runner(self.loop, self.store, clients=_nobody)
        self.made: list[Copier] = []
        self.runner.add(self._make, priority=0)

    def _make(self) -> Copier:
        self.made.append(Copier())
        return self.made[-1]

    def run(self, seconds: float = 0) -> None:
        self.loop.run_until(self.clock.now_ns() + round(seconds * NS))

    def steps_until(self, wanted: Callable[[], bool]) -> None:
        while not wanted():
            assert self.loop.step()


def _nobody(driver: str) -> Any:
    raise AssertionError(f"nobody calls {driver}")


def test_a_crash_drops_what_is_under_way_and_the_next_process_starts_from_the_objects() -> None:
    world = World()
    world.run()
    world.store.create(make_pvc("a"), user="admin")
    world.steps_until(lambda: world.store.raw(Key("PersistentVolumeClaim", "default", "copy-of-a")) is not None)
    world.runner.crash("Copier", down_s=2)
    assert world.runner.names == []
    world.store.create(make_pvc("b"), user="admin")
    world.run(1.9)
    assert len(world.made) == 1
    assert not world.loop.is_idle()  # it is to come back
    world.run(0.1)
    first, second = world.made
    assert "ADDED b" not in first.seen
    assert second.seen[:3] == ["ADDED a", "ADDED b", "ADDED copy-of-a"]
    names = [claim.metadata.name for claim in world.store.list("PersistentVolumeClaim").items]
    assert names == ["a", "b", "copy-of-a", "copy-of-b"]
    assert world.runner.lives["Copier"] == 2


def test_a_process_that_is_down_cannot_crash() -> None:
    world = World()
    world.run()
    world.runner.crash("Copier", down_s=2)
    world.runner.crash("Copier")
    world.runner.crash("Somebody else")
    world.run(3)
    assert len(world.made) == 2


def test_resync_when_asked_for() -> None:
    world = World()
    world.runner.resync("Copier")  # not before it has started
    world.run()
    world.runner.resync("Copier")
    assert world.made[0].synced == 1


# a cluster


@pytest.fixture
def cluster() -> Any:
    with Cluster(engine=ENGINE, kubelet="instant", drivers=[DriverSettings(profile=full(name=DRIVER))]) as made:
        made.create(make_node("n1", zone="a"))
        made.create(make_csinode("n1", drivers={DRIVER: None}))
        made.create(make_class("imm", provisioner=DRIVER, wait=False))
        yield made


def rest(cluster: Cluster) -> None:
    assert cluster.run_until_idle(cluster.now_ns() + 3600 * NS)


def test_every_process_may_start_anew(cluster: Cluster) -> None:
    cluster.create(make_pvc("data", storage_class="imm"))
    cluster.create(make_pod("web", claims=["data"]))
    rest(cluster)
    before = cluster.scheduler
    assert len(set(cluster.runner.names)) == len(cluster.runner.names)
    for name in cluster.runner.names:
        cluster.runner.crash(name)
    rest(cluster)
    assert cluster.scheduler is not before
    cluster.create(make_pvc("more", storage_class="imm"))
    cluster.create(make_pod("second", claims=["more"]))
    rest(cluster)
    assert cluster.get("Pod", "second").status.phase == "Running"
    assert set(cluster.runner.lives.values()) == {2}


def test_a_driver_comes_back_with_its_records_and_bytes(cluster: Cluster) -> None:
    cluster.create(make_pvc("data", storage_class="imm"))
    rest(cluster)
    old = cluster.drivers.fakes[DRIVER]
    (volume,) = old.volumes()
    old.data.publish(volume.volume_id, node="n1", target="/t", readonly=False)
    old.data.write(node="n1", target="/t", name="x", data=b"bytes")
    before = old.export_state()
    cluster.drivers.crash(DRIVER, down_s=5)
    with pytest.raises(CsiError, match=f"no CSI driver {DRIVER} is running"):
        cluster.drivers.client(DRIVER)
    assert DRIVER not in cluster.drivers.names
    cluster.run_for(5)
    assert cluster.drivers.fakes[DRIVER] is not old
    assert cluster.drivers.fakes[DRIVER].export_state() == before
    assert cluster.drivers.client(DRIVER) is not None
