"""What decisions owe to the way the cluster came about, and what they do not. Found by tests.parity.test_incremental, kept small."""

from __future__ import annotations

import pytest
from lightkube.models.core_v1 import PersistentVolumeClaimSpec

from tests.builders import make_class, make_container, make_csinode, make_node, make_owner, make_pod, make_pv, make_pvc
from tests.parity.situations import engine_with, every_engine
from volsched.api.defaults import with_defaults
from volsched.engine import Provisioning, SchedulingEngine


def _decide(engine: SchedulingEngine, name: str = "pod", **rest: object):  # type: ignore[no-untyped-def]
    return engine.decide(with_defaults(make_pod(name, **rest)))  # type: ignore[arg-type]


@every_engine
class TestNodeOrder:
    """spec/scheduling.md 9.2; backend/cache/cache.go (UpdateSnapshot): the list is made anew by a decision that finds other nodes."""

    @staticmethod
    def _three(name: str) -> SchedulingEngine:
        return engine_with(name, [make_node(f"n{number}", zone="a") for number in (1, 2, 3)])

    def test_a_node_that_is_back_by_the_next_decision_keeps_its_place(self, engine: str) -> None:
        kept = self._three(engine)
        _decide(kept)
        kept.remove("Node", "", "n1")
        assert kept.node_names() == ["n2", "n3"]
        kept.upsert(with_defaults(make_node("n1", zone="a")))
        assert kept.node_names() == ["n1", "n2", "n3"]
        assert _decide(kept).feasible() == ["n1", "n2", "n3"]
        kept.upsert(with_defaults(make_node("n4", zone="a")))
        assert _decide(kept).feasible() == ["n2", "n3", "n1", "n4"], "in the tree it has moved at once"

    def test_a_node_that_a_decision_has_missed_comes_last(self, engine: str) -> None:
        kept = self._three(engine)
        _decide(kept)
        kept.remove("Node", "", "n1")
        _decide(kept)
        kept.upsert(with_defaults(make_node("n1", zone="a")))
        assert _decide(kept).feasible() == ["n2", "n3", "n1"]

    def test_another_node_in_its_place_is_another_node(self, engine: str) -> None:
        kept = self._three(engine)
        _decide(kept)
        kept.remove("Node", "", "n1")
        kept.upsert(with_defaults(make_node("n0", zone="a")))
        assert _decide(kept).feasible() == ["n2", "n3", "n0"]

    def test_a_zone_left_before_the_first_decision_leaves_no_trace(self, engine: str) -> None:
        kept = self._three(engine)
        kept.upsert(with_defaults(make_node("n1", zone="b")))
        assert _decide(kept).feasible() == ["n2", "n1", "n3"]

    def test_looking_at_the_order_changes_nothing(self, engine: str) -> None:
        kept = self._three(engine)
        assert kept.node_names() == ["n1", "n2", "n3"]
        kept.upsert(with_defaults(make_node("n1", zone="b")))
        assert kept.node_names() == ["n2", "n1", "n3"]
        assert _decide(kept).feasible() == ["n2", "n1", "n3"]


@every_engine
class TestAssumptionsThatMeet:
    """Pods that share a claim: each assumption is undone on its own."""

    @staticmethod
    def _shared(name: str, *, volume: bool, version: str | None = None) -> SchedulingEngine:
        objects = [make_node("n1"), make_node("n2"), make_class("fast", provisioner="csi.example.com")]
        objects.append(make_pvc("data", uid="uid-data", size="1Gi", storage_class="fast"))
        objects.append(make_pvc("other", uid="uid-other", size="1Gi", storage_class="fast"))
        if volume:
            objects.append(make_pv("pv", size="1Gi", storage_class="fast", phase="Available", version=version))
        return engine_with(name, objects)

    @pytest.mark.parametrize("first", [0, 1])
    def test_a_volume_is_held_as_long_as_one_pod_needs_it(self, engine: str, first: int) -> None:
        kept = self._shared(engine, volume=True)
        held = [kept.assume(_decide(kept, f"p{number}", claims=["data"]), "n1") for number in (0, 1)]
        assert [item.volumes.bind for item in held] == [(("default/data", "pv"),)] * 2
        kept.forget(held[first])
        assert _decide(kept, "third", claims=["other"]).volumes("n1").bind == ()
        kept.forget(held[1 - first])
        assert _decide(kept, "third", claims=["other"]).volumes("n1").bind == (("default/other", "pv"),)

    @pytest.mark.parametrize("first", [0, 1])
    def test_a_claim_keeps_its_node_as_long_as_one_pod_needs_it(self, engine: str, first: int) -> None:
        kept = self._shared(engine, volume=False)
        held = [kept.assume(_decide(kept, f"p{number}", claims=["data"]), "n1") for number in (0, 1)]
        kept.forget(held[first])
        assert _decide(kept, "third", claims=["data"]).feasible() == ["n1"]
        kept.forget(held[1 - first])
        assert _decide(kept, "third", claims=["data"]).feasible() == ["n1", "n2"]

    def test_what_else_a_volume_says_is_seen_under_an_assumption(self, engine: str) -> None:
        """Objects written by hand have no version by which a change could be told from a repetition."""
        kept = self._shared(engine, volume=True)
        kept.assume(_decide(kept, "p0", claims=["data"]), "n1")
        kept.upsert(with_defaults(make_pv("pv", size="1Gi", storage_class="fast", phase="Available", where={"disk": "yes"})))
        again = _decide(kept, "p1", claims=["data"])
        assert again.volumes("n1").bind == () and again.volumes("n1").provision == (Provisioning("default/data", None),)

    def test_a_newer_version_ends_them_all(self, engine: str) -> None:
        kept = self._shared(engine, volume=True, version="1")
        held = [kept.assume(_decide(kept, f"p{number}", claims=["data"]), "n1") for number in (0, 1)]
        kept.upsert(with_defaults(make_pv("pv", size="1Gi", storage_class="fast", phase="Available", version="2")))
        assert _decide(kept, "third", claims=["other"]).volumes("n1").bind == (("default/other", "pv"),)
        for item in held:
            kept.forget(item)
        assert _decide(kept, "third", claims=["other"]).volumes("n1").bind == (("default/other", "pv"),)


@every_engine
def test_a_changed_pod_goes_to_the_end_of_its_node(engine: str) -> None:
    """As upstream takes it out and puts it back: the first pod whose volumes cannot be counted is the one that is told of."""

    def foreign(name: str, **rest: object):  # type: ignore[no-untyped-def]
        return with_defaults(make_pod(name, uid=f"uid-{name}", ephemeral={"tmp": PersistentVolumeClaimSpec()}, node="n1", **rest))  # type: ignore[arg-type]

    owner = [make_owner("Pod", "somebody", "uid-somebody")]
    kept = engine_with(
        engine,
        [
            make_node("n1"),
            make_csinode("n1", drivers={"csi.example.com": 5}),
            make_class("fast"),
            make_pvc("data", storage_class="fast", bound_to="pv", uid="uid-data"),
            make_pv("pv", storage_class="fast", claim="default/data", claim_uid="uid-data"),
            *(make_pvc(f"{name}-tmp", storage_class="fast", owners=owner) for name in ("a", "b", "c")),
            *(foreign(name) for name in ("a", "b", "c")),
        ],
    )
    assert "PVC default/a-tmp was not created" in str(_decide(kept, claims=["data"]).error)
    kept.upsert(foreign("a", labels={"app": "a"}))
    assert "PVC default/c-tmp was not created" in str(_decide(kept, claims=["data"]).error), "the last took its place"
    kept.upsert(foreign("c", containers=[make_container("c", requests={"cpu": "1"})]))
    assert "PVC default/a-tmp was not created" in str(_decide(kept, claims=["data"]).error)
