"""Exact capacity on every engine: what is held in a pool is not there, a pod's claims have to fit side by side; and both engines agree."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lightkube.models.core_v1 import PersistentVolume, PersistentVolumeClaim, Pod
from lightkube.models.storage_v1 import CSIStorageCapacity

from tests.builders import (
    ZONE,
    make_capacity,
    make_class,
    make_csidriver,
    make_node,
    make_pod,
    make_pv,
    make_pvc,
)
from tests.parity.answers import answer
from tests.parity.clusters import Draw, Situation
from tests.parity.engines import ENGINES
from tests.parity.situations import engine_with, every_engine, reasons
from volsched.api.defaults import with_defaults
from volsched.api.edit import with_annotations, with_metadata, with_spec
from volsched.api.kinds import meta
from volsched.engine import Decision, Engine, SchedulingEngine
from volsched.engine.decision import Emptied, Eviction, Rejection, Trial
from volsched.engine.profile import EngineProfile, ScoreWeight
from volsched.engine.reference import ReferenceEngine
from volsched.rules.capacity import ANN_SHARED_CAPACITY, ANN_STORAGE_CAPACITY

EXACT = EngineProfile(exact_capacity=True)
ROOM = "node(s) did not have enough free storage"
UNDECIDED = "node(s) had too many storage pools to tell whether the pod's claims fit"
DYNAMIC = make_class()
TRACKED = make_csidriver(storage_capacity=True)
NODE = make_node("n1", zone="a")
HELD_IN_1 = {ANN_STORAGE_CAPACITY: "default/capacity-1"}


def decide(engine: str, objects: Iterable[Any], claims: Sequence[str], *, profile: EngineProfile = EXACT) -> Decision:
    pod = with_defaults(make_pod(claims=list(claims)))
    return engine_with(engine, [NODE, DYNAMIC, TRACKED, *objects]).decide(pod, profile=profile)


def pools(decision: Decision, node: str = "n1") -> list[tuple[str, str | None, tuple[str, ...]]]:
    return [(item.claim.partition("/")[2], item.capacity, item.holds) for item in decision.volumes(node).provision]


def refused(decision: Decision) -> bool:
    """Refused for want of room, and for nothing else."""
    if decision.feasible():
        return False
    assert reasons(decision) == {"n1": (ROOM,)}
    return True


@every_engine
class TestHeld:
    def test_what_a_claim_under_way_holds_is_not_there(self, engine: str) -> None:
        other = make_pvc("other", size="60Gi", selected_node="n1", annotations=HELD_IN_1)
        objects = [make_capacity(where={}), make_pvc("data", size="60Gi")]
        assert not refused(decide(engine, objects, ["data"]))
        assert refused(decide(engine, [*objects, other], ["data"]))
        assert not refused(decide(engine, [*objects, other], ["data"], profile=EngineProfile()))

    def test_to_the_last_byte(self, engine: str) -> None:
        other = make_pvc("other", size="60Gi", selected_node="n1", annotations=HELD_IN_1)
        for size, fits in (("40Gi", True), (str((40 << 30) + 1), False)):
            assert refused(decide(engine, [make_capacity(where={}), other, make_pvc("data", size=size)], ["data"])) is not fits

    @pytest.mark.parametrize(
        "ended",
        [
            make_pvc("other", size="60Gi", annotations=HELD_IN_1),  # sent elsewhere: no node is selected any more
            make_pvc("other", size="60Gi", selected_node="n1", annotations=HELD_IN_1, bound_to="pv-1"),
            make_pvc("other", size="60Gi", selected_node="n1", annotations=HELD_IN_1, volume="pv-1"),
            make_pvc("other", size="60Gi", selected_node="n1"),
            make_pvc("other", size="60Gi", selected_node="n1", annotations={ANN_STORAGE_CAPACITY: "nonsense, ,"}),
        ],
    )
    def test_who_holds_nothing(self, engine: str, ended: Any) -> None:
        assert not refused(decide(engine, [make_capacity(where={}), ended, make_pvc("data", size="60Gi")], ["data"]))

    def test_a_volume_holds_its_size_where_it_says_so(self, engine: str) -> None:
        objects = [make_capacity(where={}), make_pvc("data", size="60Gi")]
        assert not refused(decide(engine, [*objects, make_pv("pv-1", size="60Gi")], ["data"]))
        assert refused(decide(engine, [*objects, make_pv("pv-1", size="60Gi", annotations=HELD_IN_1)], ["data"]))

    def test_the_next_pool_is_taken(self, engine: str) -> None:
        other = make_pvc("other", size="60Gi", selected_node="n1", annotations=HELD_IN_1)
        objects = [make_capacity(where={}), make_capacity("capacity-2", where={}), other, make_pvc("data", size="60Gi")]
        assert pools(decide(engine, objects, ["data"])) == [("data", "default/capacity-2", ("default/capacity-2",))]

    def test_the_score_is_of_what_is_left(self, engine: str) -> None:
        other = make_pvc("other", size="60Gi", selected_node="n1", annotations=HELD_IN_1)
        objects = [make_capacity(where={}), other, make_pvc("data", size="20Gi")]
        assert decide(engine, objects, ["data"]).scores()["n1"]["VolumeBinding"] == 50  # 20 of 40
        assert decide(engine, objects, ["data"], profile=EngineProfile()).scores()["n1"]["VolumeBinding"] == 80

    def test_a_maximum_without_a_total_cannot_be_counted(self, engine: str) -> None:
        other = make_pvc("other", size="60Gi", selected_node="n1", annotations=HELD_IN_1)
        objects = [make_capacity(where={}, capacity=None, maximum="70Gi"), other]
        assert not refused(decide(engine, [*objects, make_pvc("data", size="70Gi")], ["data"]))
        assert refused(decide(engine, [*objects, make_pvc("data", size="71Gi")], ["data"]))

    def test_the_maximum_limits_one_volume_and_the_capacity_all(self, engine: str) -> None:
        pool = make_capacity(where={}, capacity="100Gi", maximum="60Gi")
        for sizes, fits in ((["60Gi"], True), (["61Gi"], False), (["50Gi", "50Gi"], True), (["50Gi", "60Gi"], False)):
            claims = [make_pvc(f"c{number}", size=size) for number, size in enumerate(sizes)]
            assert refused(decide(engine, [pool, *claims], [f"c{number}" for number in range(len(sizes))])) is not fits

    def test_a_maximum_above_the_capacity_does_not_help(self, engine: str) -> None:
        objects = [make_capacity(where={}, capacity="50Gi", maximum="100Gi"), make_pvc("data", size="60Gi")]
        assert refused(decide(engine, objects, ["data"]))
        assert not refused(decide(engine, objects, ["data"], profile=EngineProfile()))

    def test_without_a_driver_that_counts_nothing_is_counted(self, engine: str) -> None:
        pod = with_defaults(make_pod(claims=["data"]))
        engine_ = engine_with(engine, [NODE, DYNAMIC, make_csidriver(storage_capacity=False), make_pvc("data", size="1Ei")])
        assert engine_.decide(pod, profile=EXACT).node == "n1"


@every_engine
class TestOwnClaims:
    """A pod that is tried again finds its claims' room where it left it."""

    def test_its_own_room_is_its_own(self, engine: str) -> None:
        claim = make_pvc("data", size="60Gi", selected_node="n1", annotations=HELD_IN_1)
        decision = decide(engine, [make_capacity(where={}), claim], ["data"])
        assert pools(decision) == [("data", "default/capacity-1", ("default/capacity-1",))]

    def test_it_stays_with_its_pool(self, engine: str) -> None:
        second = {ANN_STORAGE_CAPACITY: "default/capacity-2"}
        claim = make_pvc("data", size="60Gi", selected_node="n1", annotations=second)
        objects = [make_capacity(where={}), make_capacity("capacity-2", where={}), claim]
        assert pools(decide(engine, objects, ["data"])) == [("data", "default/capacity-2", ("default/capacity-2",))]

    def test_a_pool_that_is_gone_is_left(self, engine: str) -> None:
        claim = make_pvc("data", size="60Gi", selected_node="n1", annotations={ANN_STORAGE_CAPACITY: "default/gone"})
        decision = decide(engine, [make_capacity(where={}), claim], ["data"])
        assert pools(decision) == [("data", "default/capacity-1", ("default/capacity-1",))]

    def test_its_other_claims_come_beside_it(self, engine: str) -> None:
        claim = make_pvc("data", size="60Gi", selected_node="n1", annotations=HELD_IN_1)
        for size, fits in (("40Gi", True), ("41Gi", False)):
            objects = [make_capacity(where={}), claim, make_pvc("more", size=size)]
            assert refused(decide(engine, objects, ["data", "more"])) is not fits

    def test_where_it_may_be_it_is_tried(self, engine: str) -> None:
        """It holds room in both pools, since nobody knows which of them it gets."""
        both = {ANN_STORAGE_CAPACITY: "default/capacity-1,default/capacity-2"}
        claim = make_pvc("data", size="60Gi", selected_node="n1", annotations=both)
        objects = [make_capacity(where={}), make_capacity("capacity-2", where={}), claim]
        decision = decide(engine, [*objects, make_pvc("more", size="100Gi")], ["data", "more"])
        held = ("default/capacity-1", "default/capacity-2")
        assert pools(decision) == [("data", held[0], held), ("more", "default/capacity-2", ("default/capacity-2",))]
        assert refused(decide(engine, [*objects, make_pvc("more", size="100Gi")], ["more"]))


@every_engine
class TestTogether:
    def test_trap_16_does_not_pass(self, engine: str) -> None:
        claims = [make_pvc(name, size="60Gi") for name in ("a", "b", "c")]
        objects = [make_capacity(where={}), *claims]
        assert refused(decide(engine, objects, ["a", "b", "c"]))
        assert decide(engine, objects, ["a", "b", "c"], profile=EngineProfile()).node == "n1"

    def test_over_several_pools(self, engine: str) -> None:
        """The small claim would take the pool that the large one needs, were they asked one after the other."""
        objects = [make_capacity("p1", where={}, capacity="100Gi"), make_capacity("p2", where={}, capacity="50Gi")]
        claims = [make_pvc("small", size="40Gi"), make_pvc("large", size="80Gi")]
        decision = decide(engine, [*objects, *claims], ["large", "small"])
        assert [(claim, pool) for claim, pool, _ in pools(decision)] == [("small", "default/p2"), ("large", "default/p1")]
        # 40 of 50 and 80 of 100: 120 of 150
        assert decision.scores()["n1"]["VolumeBinding"] == 20

    def test_one_claim_in_two_volumes_is_one_volume(self, engine: str) -> None:
        objects = [make_capacity(where={}), make_pvc("data", size="60Gi")]
        decision = decide(engine, objects, ["data", "data"])
        assert [pool for _, pool, _ in pools(decision)] == ["default/capacity-1"] * 2

    def test_a_claim_that_gets_a_volume_takes_no_room(self, engine: str) -> None:
        objects = [
            make_capacity(where={}),
            make_pvc("a", size="60Gi"),
            make_pvc("b", size="60Gi"),
            make_pv("pv-1", size="60Gi", phase="Available"),
        ]
        decision = decide(engine, objects, ["a", "b"])
        assert decision.node == "n1"
        assert len(decision.volumes("n1").bind) == len(pools(decision)) == 1

    def test_classes_share_nothing_unless_they_say_so(self, engine: str) -> None:
        claims = [make_pvc("a", size="60Gi", storage_class="one"), make_pvc("b", size="60Gi", storage_class="two")]
        figures = [make_capacity("p1", storage_class="one", where={ZONE: "a"}), make_capacity("p2", storage_class="two", where={ZONE: "a"})]
        apart = [make_class("one"), make_class("two")]
        assert decide(engine, [*claims, *figures, *apart], ["a", "b"]).node == "n1"
        note = {ANN_SHARED_CAPACITY: "vg0"}
        together = [make_class("one", annotations=note), make_class("two", annotations=note)]
        assert refused(decide(engine, [*claims, *figures, *together], ["a", "b"]))
        decision = decide(engine, [*claims, *figures, *together], ["a"])
        assert pools(decision) == [("a", "default/p1", ("default/p1", "default/p2"))]
        elsewhere = [make_class("one", annotations=note), make_class("two", annotations={ANN_SHARED_CAPACITY: "vg1"})]
        assert decide(engine, [*claims, *figures, *elsewhere], ["a", "b"]).node == "n1"

    def test_classes_of_two_drivers_share_nothing(self, engine: str) -> None:
        note = {ANN_SHARED_CAPACITY: "vg0"}
        classes = [make_class("one", annotations=note), make_class("two", provisioner="two.csi", annotations=note)]
        claims = [make_pvc("a", size="60Gi", storage_class="one"), make_pvc("b", size="60Gi", storage_class="two")]
        figures = [make_capacity("p1", storage_class="one", where={}), make_capacity("p2", storage_class="two", where={})]
        drivers = [make_csidriver("two.csi", storage_capacity=True)]
        assert decide(engine, [*claims, *figures, *classes, *drivers], ["a", "b"]).node == "n1"

    def test_a_search_that_is_given_up_says_so(self, engine: str) -> None:
        claims = [make_pvc(f"c{size}", size=f"{size}Gi") for size in (4, 5, 6, 7, 8, 9)]
        objects = [*claims, *(make_capacity(f"p{number}", where={}, capacity="13Gi") for number in range(3))]
        names = [f"c{size}" for size in (4, 5, 6, 7, 8, 9)]
        assert decide(engine, objects, names).node == "n1"
        decision = decide(engine, objects, names, profile=EngineProfile(exact_capacity=True, capacity_steps_max=6))
        assert reasons(decision) == {"n1": (UNDECIDED,)}


@every_engine
class TestTrials:
    """What evictions and promises change: nothing. A claim holds its room, not the pod that uses it, and goes on doing so when the pod is
    gone; a promised pod has no node chosen for its claims yet. VolumeBinding has neither AddPod nor RemovePod upstream."""

    VICTIM = with_defaults(make_pod("victim", claims=["other"], node="n1", uid="uid-victim"))

    def trial(self, engine: str, objects: Iterable[Any], claims: Sequence[str]) -> Trial:
        made = engine_with(engine, [NODE, DYNAMIC, TRACKED, self.VICTIM, *objects])
        return made.trial(made.decide(with_defaults(make_pod(claims=list(claims))), profile=EXACT))

    def test_a_victim_gives_no_room_back(self, engine: str) -> None:
        other = make_pvc("other", size="60Gi", selected_node="n1", annotations=HELD_IN_1)
        trial = self.trial(engine, [make_capacity(where={}), other, make_pvc("data", size="60Gi")], ["data"])
        refusal = Rejection("VolumeBinding", "UnschedulableAndUnresolvable", (ROOM,))
        assert trial.verdict("n1") == trial.verdict("n1", without=[self.VICTIM]) == refusal
        assert trial.emptied(["n1"], below=10, beside={}) == [Emptied(1, refusal)]
        assert trial.needed([Eviction("n1", (self.VICTIM,), ())]) == [(0,)]

    def test_the_claims_of_one_pod_are_counted_together(self, engine: str) -> None:
        claims = [make_pvc("a", size="60Gi"), make_pvc("b", size="60Gi")]
        trial = self.trial(engine, [make_capacity(where={}), make_pvc("other"), *claims], ["a", "b"])
        assert trial.verdict("n1", without=[self.VICTIM]) == Rejection("VolumeBinding", "UnschedulableAndUnresolvable", (ROOM,))

    def test_a_promised_pod_holds_no_room(self, engine: str) -> None:
        promised = with_defaults(make_pod("promised", claims=["more"], uid="uid-promised"))
        objects = [NODE, DYNAMIC, TRACKED, make_capacity(where={}), make_pvc("data", size="60Gi"), make_pvc("more", size="60Gi")]
        made = engine_with(engine, objects)
        decision = made.decide(with_defaults(make_pod(claims=["data"])), profile=EXACT, beside={"n1": [promised]})
        assert decision.node == "n1"
        assert made.trial(decision).verdict("n1", beside=[promised]) is None


@every_engine
class TestAssumptions:
    def test_two_pods_on_one_claim(self, engine: str) -> None:
        """Each says where the claim holds room; one of them taken back leaves what the other said."""
        objects = [make_capacity(where={}), make_pvc("data", size="60Gi"), make_pvc("more", size="60Gi")]
        made = engine_with(engine, [NODE, DYNAMIC, TRACKED, *objects])

        def fits() -> bool:
            return made.decide(with_defaults(make_pod("more", claims=["more"])), profile=EXACT).node is not None

        first, second = (
            made.assume(made.decide(with_defaults(make_pod(name, claims=["data"], uid=name)), profile=EXACT)) for name in ("p", "q")
        )
        assert first.volumes == second.volumes
        assert not fits()
        made.forget(first)
        assert not fits()
        made.forget(second)
        assert fits()

    def test_an_assumption_that_says_nothing_of_pools_leaves_what_is_written(self, engine: str) -> None:
        """In the compatible mode the selected node makes a record that was on the claim count."""
        claim = make_pvc("data", size="60Gi", annotations=HELD_IN_1, version=1)
        made = engine_with(engine, [NODE, DYNAMIC, TRACKED, make_capacity(where={}), claim, make_pvc("more", size="60Gi")])
        more = with_defaults(make_pod("more", claims=["more"]))
        assert made.decide(more, profile=EXACT).node == "n1"
        assumption = made.assume(made.decide(with_defaults(make_pod("p", claims=["data"])), profile=EngineProfile()))
        assert made.decide(more, profile=EXACT).node is None
        made.forget(assumption)
        assert made.decide(more, profile=EXACT).node == "n1"

    def test_the_claim_seen_again_keeps_what_is_assumed(self, engine: str) -> None:
        claim = make_pvc("data", size="60Gi", version=1)
        made = engine_with(engine, [NODE, DYNAMIC, TRACKED, make_capacity(where={}), claim, make_pvc("more", size="60Gi")])
        more = with_defaults(make_pod("more", claims=["more"]))
        made.assume(made.decide(with_defaults(make_pod("p", claims=["data"])), profile=EXACT))
        made.upsert(with_defaults(claim))
        assert made.decide(more, profile=EXACT).node is None
        made.upsert(with_defaults(with_metadata(claim, resourceVersion="2")))  # any other version beats the assumption
        assert made.decide(more, profile=EXACT).node == "n1"


def test_the_state_is_told_alike_whether_assumed_or_written() -> None:
    pod = with_defaults(make_pod("p", claims=["data"], uid="p"))
    objects = [NODE, DYNAMIC, TRACKED, make_capacity(where={})]
    assumed, written = Engine(), Engine()
    for engine, notes, node in ((assumed, {}, None), (written, HELD_IN_1, "n1")):
        for obj in (*objects, make_pvc("data", size="60Gi", version=1, annotations=notes, selected_node=node)):
            engine.upsert(with_defaults(obj))
    before = assumed.digest()
    assumption = assumed.assume(assumed.decide(pod, profile=EXACT))
    written.upsert(with_spec(pod, nodeName="n1"))
    assert assumed.digest() == written.digest()
    assumed.forget(assumption)
    assert assumed.digest() == before


class CapacityDraw(Draw):
    """Clusters full of claims that draw on pools, some of them under way."""

    def storage_class(self, name: str) -> Any:
        note = {ANN_SHARED_CAPACITY: self.one("vg0", "vg0", "vg1")} if self.maybe(40) else None
        allowed = [{ZONE: self.some(("z1", "z2", "z3"), 3)}] if self.maybe(15) else []
        return make_class(name, provisioner=self.one("one.csi", "one.csi", "two.csi"), allowed=allowed, annotations=note)

    def pool_names(self) -> str:
        return ",".join(self.some([f"{self.one('default', 'other')}/p{number}" for number in range(8)] + ["default/gone"], 3))

    def pool(self, number: int, **figures: Any) -> Any:
        return make_capacity(
            f"p{number}",
            namespace=("default", "other")[number % 2],
            storage_class=("c1", "c2", "c3")[number % 3],
            where=({}, {ZONE: "z1"}, {ZONE: "z2"}, {"rack": "r1"}, {ZONE: "z1"})[number % 5],
            **{"capacity": self.one("2Gi", "4Gi", "7Gi", "20Gi", None), "maximum": self.one(None, None, "3Gi", "9Gi"), **figures},
        )

    def storage(self) -> list[Any]:
        made: list[Any] = [self.pool(number) for number in range(self.chance.randrange(9))]
        for name in self.claims:
            under_way = self.maybe(35)
            notes = {ANN_STORAGE_CAPACITY: self.pool_names()} if self.maybe(70 if under_way else 10) else None
            made.append(
                make_pvc(
                    name,
                    uid=f"uid-{name}",
                    size=self.one("1Gi", "1500Mi", "2Gi", "2Gi", "3Gi", "5Gi", None),
                    storage_class=self.one("c1", "c1", "c2", "c3"),
                    selected_node=self.one("node0", "node0", "node1") if under_way else None,
                    annotations=notes,
                    bound_to="pv0" if self.maybe(5) else None,
                    version=1,
                )
            )
        for number in range(self.chance.randrange(4)):
            notes = {ANN_STORAGE_CAPACITY: self.pool_names()} if self.maybe(60) else None
            made.append(
                make_pv(f"pv{number}", size=self.one("1Gi", "2Gi"), storage_class="c1", phase="Available", annotations=notes, version=1)
            )
        return made

    def situation(self, *, pods: int) -> Situation:
        objects: list[Any] = [self.node(number) for number in range(self.nodes)]
        objects += [make_csidriver(name, storage_capacity=self.maybe(90)) for name in ("one.csi", "two.csi")]
        objects += [self.storage_class(name) for name in ("c1", "c2", "c3")]
        objects += self.storage()
        made = [make_pod(f"pod{number}", uid=f"uid-{number}", claims=self.some(self.claims, 4)) for number in range(pods)]
        return Situation(objects, made)


class Walk:
    """Decide, assume, forget and change figures in turns; both engines agree at every step. `met`: what came up how often."""

    def __init__(self, chance: random.Random, *, nodes: int, profile: EngineProfile) -> None:
        self.met: Counter[str] = Counter()
        self._draw = CapacityDraw(chance, nodes=nodes)
        self._profile = profile
        self._native, self._reference = Engine(tie_break="name"), ReferenceEngine(tie_break="name")
        self._engines: list[SchedulingEngine] = [self._native, self._reference]

    def run(self) -> Counter[str]:
        objects, pods = self._draw.situation(pods=6)
        for obj in objects:
            self._upsert(obj)
        empty = self._native.digest()
        assumed: list[list[Any]] = []
        for pod in pods:
            decisions = self._decide(pod)
            if decisions[0].node is not None:
                self.met["placed"] += 1
                assumed.append([engine.assume(decision) for engine, decision in zip(self._engines, decisions, strict=True)])
                assert assumed[-1][0].volumes == assumed[-1][1].volumes
            if assumed and self._draw.maybe(25):
                self._forget(assumed.pop())
            assert self._native.validate() == ""
        for assumptions in reversed(assumed):
            self._forget(assumptions)
        assert self._native.digest() == empty
        self._change(objects)
        for pod in pods:
            self._decide(pod)
        assert self._native.validate() == ""
        return self.met

    def _upsert(self, obj: Any) -> None:
        for engine in self._engines:
            engine.upsert(with_defaults(obj))

    def _forget(self, assumptions: Sequence[Any]) -> None:
        for engine, assumption in zip(self._engines, assumptions, strict=True):
            engine.forget(assumption)

    def _decide(self, pod: Pod) -> list[Decision]:
        asked = with_defaults(pod)
        plain = self._native.decide(asked)
        generous = set(plain.feasible())
        decisions = [engine.decide(asked, profile=self._profile) for engine in self._engines]
        native, reference = (answer(decision) for decision in decisions)
        assert native == reference
        strict = set(decisions[0].feasible())
        assert strict <= generous  # exact capacity only ever refuses more
        for rejection in decisions[0].rejected().values():
            self.met.update(reason for reason in rejection.reasons if reason == UNDECIDED)
        self.met["refused by what is held or asked besides"] += len(generous - strict)
        self.met["several claims on pools"] += any(len(pools(decisions[0], node)) > 1 for node in strict)
        return decisions

    def _change(self, objects: Iterable[Any]) -> None:
        """Other figures, pools that are gone, claims and volumes that hold nothing any more."""
        for number in range(6):
            self._upsert(self._draw.pool(number))
        for obj in objects:
            if isinstance(obj, PersistentVolumeClaim) and self._draw.maybe(30):
                self._upsert(with_annotations(obj, {ANN_STORAGE_CAPACITY: None}))
            elif isinstance(obj, CSIStorageCapacity | PersistentVolume) and self._draw.maybe(30):
                for engine in self._engines:
                    engine.remove(type(obj).__name__, meta(obj).namespace or "", meta(obj).name or "")


@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(chance=st.randoms(use_true_random=False), nodes=st.integers(1, 4), steps=st.sampled_from([1, 3, 8, 20_000]))
def test_engines_agree_on_small_clusters(chance: random.Random, nodes: int, steps: int) -> None:
    Walk(chance, nodes=nodes, profile=EngineProfile(exact_capacity=True, capacity_steps_max=steps)).run()


def test_engines_agree_on_larger_clusters() -> None:
    met: Counter[str] = Counter()
    for seed in range(12):
        profile = EngineProfile(exact_capacity=True, capacity_steps_max=1) if seed % 4 == 3 else EXACT
        met += Walk(random.Random(f"exact {seed}"), nodes=12 if seed % 2 else 70, profile=profile).run()
    assert set(met) == {"placed", UNDECIDED, "refused by what is held or asked besides", "several claims on pools"}


def _batch(chance: random.Random, *, nodes: int, profile: EngineProfile, tie_break: str) -> int:
    """A batch places pods and gives their claims pools as one decision after the other does. Answers how many are placed."""
    draw = CapacityDraw(chance, nodes=nodes)
    draw.claims = [f"claim{number}" for number in range(24)]
    situation = draw.situation(pods=30)
    objects, pods = ([with_defaults(obj) for obj in made] for made in (situation.objects, situation.pods))
    single, many = (Engine(tie_break=tie_break, profile=profile) for _ in range(2))  # type: ignore[arg-type]
    for obj in objects:
        single.upsert(obj)
        many.upsert(obj)
    empty = many.digest()
    result = many.schedule_many(many.batch(pods))
    refused = {refusal.pod: refusal.message for refusal in result.refusals()}
    for at, pod in enumerate(pods):
        decision = single.decide(pod)
        assert result.node(at) == decision.node
        if decision.node is None:
            assert refused[at] == (decision.error or decision.message())
        else:
            assert result.volumes(at) == single.assume(decision).volumes
    assert many.digest() == single.digest()
    assert many.fork().digest() == many.digest()
    assert not many.validate()
    for at in range(len(pods)):
        if result.node(at) is not None:
            result.forget(at)
    assert many.digest() == empty
    return result.scheduled


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(
    chance=st.randoms(use_true_random=False),
    nodes=st.integers(1, 5),
    steps=st.sampled_from([1, 20_000]),
    tie_break=st.sampled_from(["first", "name", "kube"]),
)
def test_batches_on_small_clusters(chance: random.Random, nodes: int, steps: int, tie_break: str) -> None:
    _batch(chance, nodes=nodes, profile=EngineProfile(exact_capacity=True, capacity_steps_max=steps), tie_break=tie_break)


def test_batches_on_larger_clusters() -> None:
    placed = [_batch(random.Random(f"exact batch {nodes}"), nodes=nodes, profile=EXACT, tie_break="name") for nodes in (12, 64, 130)]
    assert all(placed)


def test_a_batch_of_one_template_ranks_by_what_is_left() -> None:
    """Scores follow what each claim takes: pools that are drawn on fall behind, though no object has changed."""
    objects: list[Any] = [DYNAMIC, TRACKED, *(make_pvc(f"c{number}", size="10Gi") for number in range(8))]
    for number in range(4):
        objects += [make_node(f"n{number}", zone=f"z{number}"), make_capacity(f"p{number}", where={ZONE: f"z{number}"}, capacity="100Gi")]
    engine = Engine(tie_break="name", profile=EngineProfile(exact_capacity=True, scores=(ScoreWeight("VolumeBinding", 1),)))
    for obj in objects:
        engine.upsert(with_defaults(obj))
    batch = engine.batch()
    names = [f"c{number}" for number in range(8)]
    batch.repeat(with_defaults(make_pod("any", claims=["data"])), names, claims={"data": names})
    result = engine.schedule_many(batch)
    assert [result.node(at) for at in range(8)] == ["n0", "n1", "n2", "n3"] * 2


@pytest.mark.parametrize("engine", ENGINES)
def test_pods_one_after_the_other_never_oversell(engine: str) -> None:
    """Ten claims of 30Gi onto two pools of 100Gi: six fit, three in each."""
    objects = [NODE, DYNAMIC, TRACKED, *(make_capacity(name, where={}) for name in ("p1", "p2"))]
    made = engine_with(engine, [*objects, *(make_pvc(f"c{number}", size="30Gi") for number in range(10))])
    taken: list[str | None] = []
    for number in range(10):
        decision = made.decide(with_defaults(make_pod(f"pod{number}", claims=[f"c{number}"])), profile=EXACT)
        if decision.node is not None:
            taken += [item.capacity for item in made.assume(decision).volumes.provision]
    assert taken == ["default/p1"] * 3 + ["default/p2"] * 3
