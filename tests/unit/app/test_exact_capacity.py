"""Exact capacity on the embedded cluster: many pods at once, drivers that publish what they have, and nobody is sent where no room is."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.builders import ZONE, make_capacity, make_class, make_csidriver, make_csinode, make_node, make_pod, make_pvc
from volsched.api.edit import annotations_of
from volsched.app.cluster import Cluster, DriverSettings
from volsched.app.invariants import Witness, check_quiet, check_safety
from volsched.controllers.provisioner_options import ProvisionerOptions
from volsched.csi.profile import GIB, ZONAL_DRIVER, zonal
from volsched.errors import InputError
from volsched.rules.capacity import ANN_SHARED_CAPACITY, ANN_STORAGE_CAPACITY
from volsched.rules.volumes import ANN_SELECTED_NODE

ENGINES = pytest.mark.parametrize("engine", ["native", "reference"])


class World:
    """Two zones of one node each; the driver has so many Gi in each zone and publishes it."""

    def __init__(self, *, gib: int = 100, engine: str = "native", exact: bool = True, publishes: bool = True, **options: Any) -> None:
        profile = zonal(capacity={"a": gib * GIB, "b": gib * GIB}, zone_names=["a", "b"])
        settings = DriverSettings(profile=profile, options=ProvisionerOptions(enable_capacity=publishes))
        self.cluster = Cluster(engine=engine, kubelet="instant", drivers=[settings], exact_capacity=exact, **options)
        self.witness = Witness(self.cluster)
        for node, zone in (("n1", "a"), ("n2", "b")):
            self.cluster.create(make_node(node, zone=zone))
            self.cluster.create(make_csinode(node, drivers={ZONAL_DRIVER: None}))
        self.cluster.create(make_csidriver(ZONAL_DRIVER, storage_capacity=True))
        self.cluster.create(make_class("fast", provisioner=ZONAL_DRIVER))
        self.cluster.run_for(1)

    def pods(self, *sizes: str, first: int = 0, **options: Any) -> None:
        """One pod with one claim for each size."""
        for number, size in enumerate(sizes, first):
            self.cluster.create(make_pvc(f"c{number}", size=size, storage_class="fast"))
            self.cluster.create(make_pod(f"p{number}", claims=[f"c{number}"], **options))

    def rest(self) -> None:
        assert self.cluster.run_until_idle()
        assert check_quiet(self.cluster, self.witness) == []

    def placed(self) -> list[str]:
        return [pod.metadata.name for pod in self.cluster.list("Pod") if pod.spec.nodeName]

    def created(self) -> Counter[str]:
        """CreateVolume by outcome."""
        return Counter(call.outcome for call in self.cluster.csi_calls if call.method.endswith("/CreateVolume"))

    def claim(self, name: str) -> Any:
        return self.cluster.get("PersistentVolumeClaim", name)


@ENGINES
def test_a_burst_of_claims_is_not_sent_where_there_is_no_room(engine: str) -> None:
    """Eight claims of 30Gi for two pools of 100Gi, all before the first figure moves: three fit into each."""
    compatible = World(engine=engine, exact=False)
    compatible.pods(*["30Gi"] * 8)
    compatible.rest()
    assert compatible.created()["ResourceExhausted"] > 0

    exact = World(engine=engine)
    exact.pods(*["30Gi"] * 8)
    exact.rest()
    assert exact.created() == {"OK": 6}
    assert len(exact.placed()) == len(compatible.placed()) == 6
    reasons = {event.reason for event in exact.cluster.events() if event.type == "Warning"}
    assert reasons == {"FailedScheduling"}
    assert exact.claim("c0").metadata.annotations[ANN_STORAGE_CAPACITY].startswith("default/csisc-")
    assert ANN_STORAGE_CAPACITY not in compatible.claim("c0").metadata.annotations


def test_nothing_is_oversold_at_any_step() -> None:
    world = World()
    world.pods("30Gi", "45Gi", "10Gi", "60Gi", "60Gi", "25Gi", "99Gi")
    deadline_ns = world.cluster.now_ns() + 30 * 10**9
    while world.cluster.step(deadline_ns):
        assert check_safety(world.cluster, world.witness) == []
    assert world.created()["ResourceExhausted"] == 0


@ENGINES
def test_two_claims_of_one_pod_have_to_fit_side_by_side(engine: str) -> None:
    world = World(engine=engine)
    for name, size in (("x", "60Gi"), ("y", "60Gi"), ("z", "40Gi")):
        world.cluster.create(make_pvc(name, size=size, storage_class="fast"))
    world.cluster.create(make_pod("too-much", claims=["x", "y"]))
    world.cluster.create(make_pod("fits", claims=["x", "z"]))
    world.rest()
    assert world.placed() == ["fits"]
    assert world.created() == {"OK": 2}


@pytest.mark.parametrize("ending", ["the claim is deleted", "the provisioner sends it elsewhere"])
def test_room_that_a_claim_under_way_gives_back_wakes_who_waits_for_it(ending: str) -> None:
    """Kubernetes has no event for that: without one of our own the other pod would sleep until the five-minute flush."""
    with Cluster(exact_capacity=True, kubelet="instant", drivers=[]) as cluster:  # nobody provisions, so a claim stays under way
        cluster.create(make_node("n1", zone="a"))
        cluster.create(make_csidriver(ZONAL_DRIVER, storage_capacity=True))
        cluster.create(make_class("fast", provisioner=ZONAL_DRIVER))
        cluster.create(make_capacity("pool", storage_class="fast", where={}, capacity="100Gi"))
        for number in range(2):
            cluster.create(make_pvc(f"c{number}", size="60Gi", storage_class="fast"))
            cluster.create(make_pod(f"p{number}", claims=[f"c{number}"]))
        cluster.run_for(15)

        def selected(name: str) -> str | None:
            return annotations_of(cluster.get("PersistentVolumeClaim", name)).get(ANN_SELECTED_NODE)

        assert (selected("c0"), selected("c1")) == ("n1", None)
        cluster.delete("Pod", "default", "p0", grace_period_s=0)
        if ending == "the claim is deleted":
            cluster.delete("PersistentVolumeClaim", "default", "c0")
        else:
            cluster.patch("PersistentVolumeClaim", "default", "c0", {"metadata": {"annotations": {ANN_SELECTED_NODE: None}}})
        cluster.run_for(15)
        assert selected("c1") == "n1"


def test_a_deleted_volume_makes_room_again() -> None:
    world = World(gib=50)
    world.pods("40Gi", "40Gi", node_selector={ZONE: "a"})
    world.rest()
    assert world.placed() == ["p0"]
    world.cluster.delete("Pod", "default", "p0", grace_period_s=0)
    world.cluster.delete("PersistentVolumeClaim", "default", "c0")
    world.rest()
    assert world.placed() == ["p1"]


def test_figures_written_by_hand_are_used_up() -> None:
    """Nobody publishes: what the object says is there when it is written, and volumes made after that are missing in it."""
    world = World(gib=200, publishes=False)
    world.cluster.create(make_capacity("pool", storage_class="fast", where={ZONE: "a"}, capacity="100Gi"))
    world.pods("60Gi")
    world.rest()
    world.pods("50Gi", "40Gi", first=1)
    world.rest()
    assert world.placed() == ["p0", "p2"]
    world.cluster.patch("CSIStorageCapacity", "default", "pool", {"capacity": "50Gi"})
    world.rest()
    assert world.placed() == ["p0", "p1", "p2"]


def test_classes_on_one_storage() -> None:
    world = World(publishes=False)
    note = {ANN_SHARED_CAPACITY: "vg0"}
    for name in ("ext4", "xfs"):
        world.cluster.create(make_class(name, provisioner=ZONAL_DRIVER, annotations=note))
        world.cluster.create(make_capacity(f"of-{name}", storage_class=name, where={ZONE: "a"}, capacity="100Gi"))
        world.cluster.create(make_pvc(f"c-{name}", size="60Gi", storage_class=name))
        world.cluster.create(make_pod(f"p-{name}", claims=[f"c-{name}"]))
    world.rest()
    assert len(world.placed()) == 1


def test_the_state_file_remembers_the_mode(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    with Cluster(state=path, exact_capacity=True) as cluster:
        cluster.remember([])
    with Cluster(state=path) as cluster:
        assert cluster.exact_capacity
        assert cluster.scheduler.cache.ledger is not None
    with Cluster(state=path, exact_capacity=False) as cluster:
        assert not cluster.exact_capacity
        cluster.remember([])
    with Cluster(state=path) as cluster:
        assert not cluster.exact_capacity


def test_a_restart_in_the_middle_knows_who_holds_what(tmp_path: Path) -> None:
    """The claims under way say where they hold room, so that the next process counts them."""
    path = tmp_path / "state.db"
    drivers: list[DriverSettings] = []  # nobody provisions, so every claim stays under way
    with Cluster(state=path, exact_capacity=True, kubelet="instant", drivers=drivers) as cluster:
        cluster.create(make_node("n1", zone="a"))
        cluster.create(make_csidriver(ZONAL_DRIVER, storage_capacity=True))
        cluster.create(make_class("fast", provisioner=ZONAL_DRIVER))
        cluster.create(make_capacity("pool", storage_class="fast", where={}, capacity="100Gi"))
        cluster.create(make_pvc("c0", size="60Gi", storage_class="fast"))
        cluster.create(make_pod("p0", claims=["c0"]))
        cluster.run_for(5)
        cluster.remember([])
    with Cluster(state=path, kubelet="instant", drivers=drivers) as cluster:
        cluster.create(make_pvc("c1", size="60Gi", storage_class="fast"))
        cluster.create(make_pvc("c2", size="40Gi", storage_class="fast"))
        for number in (1, 2):
            cluster.create(make_pod(f"p{number}", claims=[f"c{number}"]))
        cluster.run_for(5)
        assert cluster.scheduler.cache.ledger is not None
        holders = [holder.key for holder in cluster.scheduler.cache.ledger.holders("default/pool")]
        assert holders == ["default/c0", "default/c2"]


def test_an_unknown_engine_is_refused_in_this_mode_too() -> None:
    with pytest.raises(InputError, match="unknown engine"):
        Cluster(engine="other", exact_capacity=True)
