"""Who holds room in which capacity object, from the choice of a node to the figure that contains the volume."""

from __future__ import annotations

import datetime
from typing import Any

import pytest

from tests.builders import DRIVER, ZONE, make_capacity, make_class, make_csidriver, make_node, make_pod, make_pv, make_pvc
from volsched.api.edit import replace, with_annotations, with_metadata, with_spec
from volsched.cache import SchedulerCache
from volsched.cache.capacity_ledger import SETTLE_S, CapacityLedger
from volsched.engine.profile import EngineProfile
from volsched.engine.reference import ReferenceEngine
from volsched.env import VirtualClock
from volsched.errors import EngineError
from volsched.rules.capacity import ANN_SHARED_CAPACITY, ANN_STORAGE_CAPACITY, MANAGED_BY_LABEL
from volsched.rules.volumes import ANN_BIND_COMPLETED, ANN_SELECTED_NODE

NS = 10**9
START_NS = 1_800_000_000 * NS
GI = 1 << 30
EXACT = EngineProfile(exact_capacity=True)


class Room:
    """A cache that keeps a ledger. `put` gives an object the next version."""

    def __init__(self, *objects: Any) -> None:
        self.clock = VirtualClock(START_NS)
        self.cache = SchedulerCache(ReferenceEngine(), profile=EXACT, clock=self.clock)
        self.version = 100
        nodes = [make_node("n1", zone="a"), make_node("n2", zone="b")]
        self.put(*nodes, make_class(), make_csidriver(storage_capacity=True), *objects)

    @property
    def ledger(self) -> CapacityLedger:
        assert self.cache.ledger is not None
        return self.cache.ledger

    def put(self, *objects: Any, version: int | str | None = None) -> Any:
        for obj in objects:
            self.version += 1
            self.cache.add(with_metadata(obj, resourceVersion=str(self.version if version is None else version)))
        return objects[-1]

    def held(self, pool: str = "default/capacity-1") -> int:
        """Gi, as the ledger and as the engine see it."""
        in_ledger = self.ledger.held_bytes(pool)
        assert isinstance(self.cache.engine, ReferenceEngine)
        assert self.cache.engine._state.held_bytes(pool) == in_ledger
        return in_ledger // GI

    def fits(self, size: str) -> bool:
        """Whether a new claim of a size finds room."""
        self.put(make_pvc("asking", size=size, uid="uid-asking"))
        return "n1" in self.cache.decide(make_pod("asking", claims=["asking"])).feasible()


def claim(name: str = "data", *, node: str | None = "n1", pools: str | None = "default/capacity-1", **rest: Any) -> Any:
    notes = {} if pools is None else {ANN_STORAGE_CAPACITY: pools}
    return make_pvc(name, size="60Gi", uid=f"uid-{name}", selected_node=node, annotations=notes, **rest)


def volume(name: str = "pv", *, claim: str = "data", zone: str = "a", age_s: float = 0, **rest: Any) -> Any:
    created = datetime.datetime.fromtimestamp(START_NS / NS - age_s, tz=datetime.UTC)
    made = make_pv(name, size="64Gi", claim=f"default/{claim}", claim_uid=f"uid-{claim}", zone=zone, provisioned_by=DRIVER, **rest)
    return with_metadata(made, creationTimestamp=created, uid=f"uid-{name}")


POOL = make_capacity(where={ZONE: "a"}, capacity="100Gi")


# claims -------------------------------------------------------------------------------------------------------------------------------


def test_a_claim_holds_room_from_assume_to_forget() -> None:
    room = Room(POOL, make_pvc("data", size="60Gi", uid="uid-data"))
    assert room.held() == 0
    reservation = room.cache.assume(make_pod(claims=["data"]), "n1")
    assert room.held() == 60
    assert not room.fits("41Gi")
    assert room.fits("40Gi")
    (written, _) = room.cache.writes(reservation)
    assert written.object.metadata.annotations[ANN_STORAGE_CAPACITY] == "default/capacity-1"
    room.cache.forget(reservation)
    assert room.held() == 0


def test_the_written_claim_goes_on_holding() -> None:
    room = Room(POOL, make_pvc("data", size="60Gi", uid="uid-data"))
    reservation = room.cache.assume(make_pod(claims=["data"]), "n1")
    room.put(room.cache.writes(reservation)[0].object)
    assert room.held() == 60
    room.cache.forget(reservation)  # the API has the claim, so forgetting the pod frees nothing
    assert room.held() == 60


@pytest.mark.parametrize(
    ("change", "left"),
    [
        (lambda obj: with_annotations(obj, {ANN_SELECTED_NODE: None}), 0),  # sent elsewhere by the provisioner
        (lambda obj: with_spec(obj, volumeName="pv"), 0),
        (lambda obj: with_metadata(obj, deletionTimestamp=datetime.datetime(2027, 1, 1, tzinfo=datetime.UTC), finalizers=["x/y"]), 60),
    ],
)
def test_how_a_claims_room_ends(change: Any, left: int) -> None:
    room = Room(POOL, claim())
    assert room.held() == 60
    room.put(change(claim()))
    assert room.held() == left


def test_a_claim_that_is_gone_holds_nothing() -> None:
    room = Room(POOL, claim())
    room.cache.delete(claim())
    assert room.held() == 0


def test_who_does_not_count() -> None:
    room = Room(POOL)
    for name, changes in (
        ("no-node", {"node": None}),
        ("other-class", {"storage_class": "missing"}),
        ("static", {"storage_class": "static"}),
    ):
        room.put(make_class("static", provisioner="kubernetes.io/no-provisioner"), claim(name, **changes))
    room.put(make_pvc("no-size", size=None, uid="uid-no-size", selected_node="n1"))
    assert room.held() == 0


def test_a_claim_without_a_record_may_be_in_any_pool() -> None:
    """Chosen by a scheduler that wrote nothing down: it holds room wherever it may land."""
    others = [
        make_capacity("small", where={}, capacity="10Gi"),
        make_capacity("elsewhere", where={ZONE: "b"}),
        make_capacity("other-class", where={}, storage_class="other"),
        make_capacity("second", where={}, namespace="kube-system"),
    ]
    room = Room(POOL, *others, claim(pools=None))
    assert {name: room.held(name) for name in ("default/capacity-1", "kube-system/second")} == {
        "default/capacity-1": 60,
        "kube-system/second": 60,
    }
    assert [room.held(f"default/{name}") for name in ("small", "elsewhere", "other-class")] == [0, 0, 0]


def test_a_claim_moves_on_when_its_pool_is_gone() -> None:
    room = Room(POOL, make_capacity("second", where={}), claim())
    assert (room.held(), room.held("default/second")) == (60, 0)
    room.cache.delete(POOL)
    assert (room.held(), room.held("default/second")) == (0, 60)
    room.put(POOL)
    assert (room.held(), room.held("default/second")) == (60, 0)


def test_a_pool_that_comes_later_is_found() -> None:
    room = Room(claim(pools=None))
    room.put(POOL)
    assert room.held() == 60
    room.put(make_node("n1", zone="b"))
    assert room.held() == 0
    room.put(make_node("n1", zone="a"))
    assert room.held() == 60
    room.cache.delete(make_csidriver())
    assert room.held() == 0
    room.put(make_csidriver(storage_capacity=True))
    assert room.held() == 60


def test_classes_that_share_storage_hold_in_each_others_pools() -> None:
    note = {ANN_SHARED_CAPACITY: "vg0"}
    room = Room(
        POOL,
        make_class(annotations=note),
        make_class("other", annotations=note),
        make_capacity("others", storage_class="other", where={ZONE: "a"}),
        make_capacity("others-in-b", storage_class="other", where={ZONE: "b"}),
        claim(pools=None),
    )
    assert [room.held(f"default/{name}") for name in ("capacity-1", "others", "others-in-b")] == [60, 60, 0]
    room.put(make_class("other"))
    assert [room.held(f"default/{name}") for name in ("capacity-1", "others", "others-in-b")] == [60, 0, 0]


# volumes ------------------------------------------------------------------------------------------------------------------------------


def test_the_volume_takes_over_with_its_real_size_until_the_figure_is_newer() -> None:
    room = Room(POOL, claim())
    room.put(volume())
    assert room.held() == 64
    room.put(with_annotations(with_spec(claim(), volumeName="pv"), {ANN_BIND_COMPLETED: "yes"}))
    assert room.held() == 64
    room.put(make_capacity(where={ZONE: "a"}, capacity="36Gi"))
    assert room.held() == 0
    room.put(volume(phase="Bound"))  # later writes of the volume say nothing about storage
    assert room.held() == 0


def test_a_figure_that_was_written_before_the_volume_does_not_count() -> None:
    """The watch of the objects lags behind that of the volumes."""
    room = Room(POOL, claim())
    room.put(volume(), version=500)
    room.put(make_capacity(where={ZONE: "a"}, capacity="90Gi"), version=499)
    assert room.held() == 64
    room.put(make_capacity(where={ZONE: "a"}, capacity="26Gi"), version=501)
    assert room.held() == 0


def test_versions_that_are_no_numbers_go_by_arrival() -> None:
    room = Room()
    room.put(POOL, version="w")
    room.put(volume(), version="x")
    assert room.held() == 64
    room.put(POOL, version="w")
    assert room.held() == 64, "the same version again"
    room.put(POOL, version="y")
    assert room.held() == 0


KEPT_UP = with_metadata(POOL, labels={MANAGED_BY_LABEL: "external-provisioner"})


def test_a_figure_that_stays_the_same_is_believed_after_a_while() -> None:
    """Thin storage: the driver's answer does not change, so the object is not written again."""
    room = Room(KEPT_UP, claim())
    room.put(volume())
    room.clock.wait_until(START_NS + round((SETTLE_S - 1) * NS))
    room.cache.settle()
    assert room.held() == 64
    assert room.ledger.next_settle_ns() == START_NS + round(SETTLE_S * NS)
    room.clock.wait_until(START_NS + round(SETTLE_S * NS))
    room.cache.settle()
    assert room.held() == 0
    assert room.ledger.next_settle_ns() is None


def test_a_figure_written_by_hand_is_believed_until_it_is_written_again() -> None:
    """Nobody asks a driver for it, so time alone says nothing."""
    room = Room(POOL, claim())
    room.put(volume())
    room.clock.wait_until(START_NS + round(10 * SETTLE_S * NS))
    room.cache.settle()
    assert room.held() == 64
    room.put(volume(phase="Bound"))
    assert room.held() == 64
    room.put(make_capacity(where={ZONE: "a"}, capacity="36Gi"))
    assert room.held() == 0


@pytest.mark.parametrize(("pool", "held"), [(KEPT_UP, 0), (POOL, 192)])
def test_a_cache_that_begins_in_the_middle(pool: Any, held: int) -> None:
    """What a volume's present version says about its creation is nothing; a provisioner has asked since, a hand has not written."""
    volumes = [volume(f"pv{number}", age_s=age_s) for number, age_s in enumerate((SETTLE_S, 1e6, -SETTLE_S))]
    assert Room(pool, *volumes).held() == held
    room = Room()
    room.put(*volumes, version=300)
    room.put(pool, version=200)
    assert room.held() == held


def test_an_object_that_was_created_later_contains_the_volume() -> None:
    later = datetime.datetime.fromtimestamp(START_NS / NS - 50, tz=datetime.UTC)
    assert Room(with_metadata(POOL, creationTimestamp=later), volume(age_s=60)).held() == 0
    assert Room(with_metadata(POOL, creationTimestamp=later), volume(age_s=40)).held() == 64


def test_a_volume_whose_claim_is_gone_still_takes_room() -> None:
    room = Room(POOL, claim())
    room.put(volume())
    room.cache.delete(claim())
    assert room.held() == 64
    room.cache.delete(volume())
    assert room.held() == 0


def test_the_room_goes_back_to_a_claim_that_lost_its_volume() -> None:
    room = Room(POOL, claim())
    room.put(volume())
    room.cache.delete(volume())
    assert room.held() == 60


def test_a_volume_of_an_immediate_claim_counts_too() -> None:
    room = Room(POOL, make_class("now", wait=False), make_capacity("now", storage_class="now", where={ZONE: "a"}))
    room.put(volume(claim="unknown", storage_class="now"))
    assert (room.held(), room.held("default/now")) == (0, 64)


def test_a_volume_in_two_topologies_is_in_two_pools() -> None:
    room = Room(POOL, make_capacity("in-b", where={ZONE: "b"}))
    twofold = volume()
    terms = [*twofold.spec.nodeAffinity.required.nodeSelectorTerms, *volume(zone="b").spec.nodeAffinity.required.nodeSelectorTerms]
    required = replace(twofold.spec.nodeAffinity.required, nodeSelectorTerms=terms)
    room.put(with_spec(twofold, nodeAffinity=replace(twofold.spec.nodeAffinity, required=required)))
    assert (room.held(), room.held("default/in-b")) == (64, 64)
    room.put(POOL)
    assert (room.held(), room.held("default/in-b")) == (0, 64)


def test_of_several_pools_the_claims_own() -> None:
    room = Room(POOL, make_capacity("second", where={ZONE: "a"}), claim(pools="default/second"))
    room.put(volume())
    assert (room.held(), room.held("default/second")) == (0, 64)


def test_a_hand_made_volume_counts_nowhere() -> None:
    room = Room(POOL)
    room.put(
        make_pv("pv", size="64Gi", claim="default/data", claim_uid="uid-data", annotations={ANN_STORAGE_CAPACITY: "default/capacity-1"})
    )
    assert room.held() == 0


# the accounts -------------------------------------------------------------------------------------------------------------------------


def test_it_tells_when_room_was_given_back() -> None:
    room = Room(POOL, claim())
    room.ledger.take_freed()
    room.put(volume())
    assert not room.ledger.take_freed(), "the volume is larger than the claim"
    room.put(make_capacity(where={ZONE: "a"}, capacity="36Gi"))
    assert not room.ledger.take_freed(), "what was held is missing in the figure now"
    room.put(make_capacity(where={ZONE: "a"}, capacity="37Gi"))
    assert room.ledger.take_freed()
    assert not room.ledger.take_freed()
    room.put(claim("more"))
    assert not room.ledger.take_freed()
    room.cache.delete(claim("more"))
    assert room.ledger.take_freed()


def test_it_names_who_holds() -> None:
    room = Room(POOL, claim(), claim("more"))
    room.put(volume("pv2", claim="more"))
    held = room.ledger.holders("default/capacity-1")
    assert [(str(holder), holder.bytes // GI, holder.node) for holder in held] == [
        ("claim default/data", 60, "n1"),
        ("volume pv2 of claim default/more", 64, ""),
    ]
    assert room.ledger.room(POOL) == (100 - 124) * GI
    assert room.ledger.room(make_capacity(capacity=None, maximum="1Gi")) is None


def test_exact_capacity_needs_a_clock() -> None:
    with pytest.raises(EngineError, match="exact_capacity needs a clock"):
        SchedulerCache(ReferenceEngine(), profile=EXACT)
