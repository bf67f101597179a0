"""Faults do what they say: watches stay within what a watch may do, requests and processes fail where they are told to."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.builders import make_class, make_csinode, make_node, make_pvc
from tests.simulation.faults import FaultyWires
from tests.simulation.player import ENGINE
from volsched.api.edit import uid_of, with_labels
from volsched.api.watch import WatchEvent
from volsched.app.cluster import Cluster, DriverSettings
from volsched.csi.profile import full
from volsched.errors import ApiError, ConflictError
from volsched.ports import Create, Read, Update

DRIVER = "full.csi.volsched.dev"
NS = 10**9


def act(process: str, of: str, what: str, nth: int = 1, **more: Any) -> dict[str, Any]:
    return {"on": "act", "process": process, "of": of, "nth": nth, "do": what} | more


def change(of: str, what: str, nth: int = 1, **more: Any) -> dict[str, Any]:
    return {"on": "watch", "process": "Somebody", "of": of, "nth": nth, "do": what} | more


def make_cluster(*faults: dict[str, Any]) -> Cluster:
    wires = FaultyWires(faults)
    wires.cluster = Cluster(engine=ENGINE, kubelet="instant", drivers=[DriverSettings(profile=full(name=DRIVER))], wires=wires)
    return wires.cluster


def wires_of(cluster: Cluster) -> FaultyWires:
    wires = cluster.runner._wires
    assert isinstance(wires, FaultyWires)
    return wires


class Told:
    """What a process is told of claims and nodes."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.events: list[WatchEvent] = []
        self._watch = wires_of(cluster).watch("Somebody", cluster.store, frozenset({"PersistentVolumeClaim", "Node"}), self.events.append)
        self._watch.start()
        cluster.store.subscribe(lambda event: self._watch.changed(event) if event.kind in self._watch.kinds else None)

    def take(self) -> list[str]:
        """Since the last time: `ADDED data 7`, the number being the version of the object."""
        found = [f"{event.change.value} {event.key.name} {event.object.metadata.resourceVersion}" for event in self.events]
        self.events.clear()
        return found

    def claim(self, name: str) -> str:
        return str(self.cluster.create(make_pvc(name)).metadata.resourceVersion)

    def touch(self, name: str, value: str) -> str:
        claim = self.cluster.get("PersistentVolumeClaim", name)
        return str(self.cluster.store.update(with_labels(claim, {"touched": value}), user="admin").metadata.resourceVersion)

    def wait(self, seconds: float) -> None:
        """Only the ends of faults happen: the cluster has not begun."""
        self.cluster.loop.run_until(self.cluster.now_ns() + round(seconds * NS))


@pytest.fixture
def told(request: pytest.FixtureRequest) -> Iterator[Told]:
    with make_cluster(*request.param) as cluster:
        yield Told(cluster)


@pytest.mark.parametrize("told", [[change("ADDED *Claim/a", "late", s=5)]], indirect=True)
def test_a_kind_that_is_late_keeps_its_order_and_is_overtaken(told: Told) -> None:
    first = told.claim("a")
    second = told.touch("a", "1")
    node = told.cluster.create(make_node("n1")).metadata.resourceVersion
    assert told.take() == [f"ADDED n1 {node}"]
    told.wait(5)
    assert told.take() == [f"ADDED a {first}", f"MODIFIED a {second}"]
    assert wires_of(told.cluster).fired["watch overtaken by another kind"] == 1


@pytest.mark.parametrize("told", [[change("MODIFIED *Claim/kept", "breaks", s=5)]], indirect=True)
def test_a_broken_watch_lists_anew(told: Told) -> None:
    for name in ("gone", "kept", "replaced", "same"):
        told.claim(name)
    told.take()
    told.touch("kept", "1")
    told.cluster.store.delete("PersistentVolumeClaim", "default", "gone", user="admin")
    told.cluster.patch("PersistentVolumeClaim", "default", "gone", {"metadata": {"finalizers": None}})
    told.cluster.store.delete("PersistentVolumeClaim", "default", "replaced", user="admin")
    told.cluster.patch("PersistentVolumeClaim", "default", "replaced", {"metadata": {"finalizers": None}})
    replaced = told.claim("replaced")
    kept = told.touch("kept", "2")
    unseen = told.claim("unseen")
    told.claim("unseen-and-gone")
    told.cluster.store.delete("PersistentVolumeClaim", "default", "unseen-and-gone", user="admin")
    told.cluster.patch("PersistentVolumeClaim", "default", "unseen-and-gone", {"metadata": {"finalizers": None}})
    assert told.take() == []
    told.wait(5)
    events = {event.key.name: event for event in told.events}
    assert told.take() == [
        f"MODIFIED kept {kept}",
        f"MODIFIED replaced {replaced}",
        f"MODIFIED same {events['same'].object.metadata.resourceVersion}",
        f"ADDED unseen {unseen}",
        f"DELETED gone {events['gone'].object.metadata.resourceVersion}",
    ]
    assert events["gone"].resource_version == told.cluster.store.resource_version
    assert wires_of(told.cluster).fired["replacement seen as a change"] == 1
    later = told.touch("kept", "3")
    assert told.take() == [f"MODIFIED kept {later}"]


@pytest.mark.parametrize("told", [[change("ADDED *Claim/a", "twice"), change("DELETED *Claim/a", "twice")]], indirect=True)
def test_a_change_told_twice_is_a_change_to_the_same(told: Told) -> None:
    version = told.claim("a")
    told.cluster.store.delete("PersistentVolumeClaim", "default", "a", user="admin")
    told.cluster.patch("PersistentVolumeClaim", "default", "a", {"metadata": {"finalizers": None}})
    events = told.take()
    assert events[:2] == [f"ADDED a {version}", f"MODIFIED a {version}"]
    assert [event.split()[0] for event in events[2:]] == ["MODIFIED", "DELETED"]  # nobody is told twice that something has gone


@pytest.mark.parametrize("told", [[change("*Claim/a", "late", s=50), change("*Node/*", "breaks", s=50)]], indirect=True)
def test_healing_brings_everything(told: Told) -> None:
    told.claim("a")
    told.cluster.create(make_node("n1"))
    assert told.take() == []
    wires_of(told.cluster).heal()
    assert [event.split()[:2] for event in told.take()] == [["ADDED", "n1"], ["ADDED", "a"]]


# requests


def test_requests_are_refused_or_done_without_an_answer() -> None:
    faults = [
        act("P", "Update *", "conflict"),
        act("P", "Create *", "conflict"),
        act("P", "Read *", "refused"),
        act("P", "Create *", "lost", nth=2),
    ]
    with make_cluster(*faults) as cluster:
        wires, store = wires_of(cluster), cluster.store
        claim = cluster.create(make_pvc("data"))
        newer = with_labels(claim, {"a": "b"})
        with pytest.raises(ConflictError):
            wires.act("P", Update(newer), lambda: store.update(newer, user="p"))
        with pytest.raises(ApiError) as refused:
            wires.act("P", Create(make_pvc("new")), lambda: store.create(make_pvc("new"), user="p"))
        assert not isinstance(refused.value, ConflictError)  # nothing that is made can be stale
        with pytest.raises(ApiError):
            wires.act("P", Read("PersistentVolumeClaim", "default", "data"), lambda: claim)
        assert [item.metadata.name for item in cluster.list("PersistentVolumeClaim")] == ["data"]
        with pytest.raises(ApiError):
            wires.act("P", Create(make_pvc("new")), lambda: store.create(make_pvc("new"), user="p"))
        assert cluster.get("PersistentVolumeClaim", "new")
        assert wires.act("P", Create(make_pvc("other")), lambda: store.create(make_pvc("other"), user="p")).metadata.name == "other"
        assert wires.fired == {"write conflict": 1, "request refused": 2, "answer of a request lost": 1}
        assert not wires.unused()


# processes and drivers


def provisioned(*faults: dict[str, Any]) -> Cluster:
    """A cluster in which one claim has been provisioned, under these faults."""
    cluster = make_cluster(*faults)
    for obj in (make_node("n1", zone="a"), make_csinode("n1", drivers={DRIVER: None}), make_class("imm", provisioner=DRIVER, wait=False)):
        cluster.create(obj)
    cluster.create(make_pvc("data", storage_class="imm"))
    assert cluster.run_until_idle(cluster.now_ns() + 3600 * NS)
    return cluster


@pytest.mark.parametrize("what", ["dies-before", "dies-after"])
def test_a_process_that_dies_at_a_step_is_followed_by_one_that_finishes(what: str) -> None:
    with provisioned(act(f"Provisioner {DRIVER}", "Create PersistentVolume/*", what, down=3)) as cluster:
        assert cluster.get("PersistentVolumeClaim", "data").status.phase == "Bound"
        assert cluster.runner.lives[f"Provisioner {DRIVER}"] == 2
        calls = [call.outcome for call in cluster.csi_calls if call.method.endswith("/CreateVolume")]
        assert calls == ["OK", "OK"] if what == "dies-before" else calls == ["OK"]
        assert len(cluster.drivers.fakes[DRIVER].volumes()) == 1


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_driver_that_dies_in_a_call_comes_back_with_what_it_stored(when: str) -> None:
    fault = {"on": "csi", "driver": DRIVER, "rpc": "CreateVolume", "nth": 1, "crash": when}
    with provisioned(fault, fault | {"nth": 2}) as cluster:
        outcomes = [call.outcome for call in cluster.csi_calls if call.method.endswith("/CreateVolume")]
        assert outcomes[0] == outcomes[1] == "Unavailable"
        assert outcomes[-1] == "OK"
        (volume,) = cluster.drivers.fakes[DRIVER].volumes()
        assert volume.name == f"pvc-{uid_of(cluster.get('PersistentVolumeClaim', 'data'))}"
        assert wires_of(cluster).counts()["driver dies in a call"] == 2
