"""VolumeBinding on every engine: the traps of spec/scheduling.md 13 about claims, volumes, capacity, and the scores of 4.5."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
from lightkube.models.core_v1 import AWSElasticBlockStoreVolumeSource, NodeSelector, PersistentVolumeClaimSpec
from lightkube.models.meta_v1 import LabelSelector, LabelSelectorRequirement
from lightkube.models.storage_v1 import StorageClass

from tests.builders import (
    CLASS,
    DRIVER,
    ZONE,
    make_capacity,
    make_class,
    make_csidriver,
    make_csinode,
    make_node,
    make_owner,
    make_pod,
    make_pv,
    make_pvc,
    make_requirement,
    make_term,
)
from tests.parity.situations import decide, every_engine, reasons
from volsched.engine import UNRESOLVABLE, Decision

AFFINITY = "node(s) didn't match PersistentVolume's node affinity"
BIND = "node(s) didn't find available persistent volumes to bind"
ROOM = "node(s) did not have enough free storage"
GONE = "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)"
IMMEDIATE = "pod has unbound immediate PersistentVolumeClaims"

LOCAL = make_class(provisioner="kubernetes.io/no-provisioner")
DYNAMIC = make_class()
TRACKED = make_csidriver(storage_capacity=True)
NODES = [make_node("n1", zone="a"), make_node("n2", zone="b")]
DELETED = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


def free(name: str, **rest: Any) -> Any:
    return make_pv(name, **{"phase": "Available", **rest})


def bindings(decision: Decision, node: str) -> list[tuple[str, str]]:
    return [(item.claim, item.volume) for item in decision.volumes(node).bind]


def provisions(decision: Decision, node: str) -> list[tuple[str, str | None]]:
    return [(item.claim, item.capacity) for item in decision.volumes(node).provision]


@every_engine
class TestPreFilter:
    def _refusal(self, engine: str, *objects: Any, pod: Any = None) -> tuple[str, str]:
        decision = decide(engine, [*NODES, *objects], pod or make_pod(claims=["data"]))
        assert decision.prefilter is not None
        assert decision.prefilter.code == UNRESOLVABLE
        assert decision.message() == f"0/2 nodes are available: {decision.prefilter.reasons[0]}."
        assert decision.rejecting_plugins() == {decision.prefilter.plugin}
        return decision.prefilter.plugin, decision.prefilter.reasons[0]

    def test_trap_1_class_object_missing(self, engine: str) -> None:
        assert self._refusal(engine, make_pvc()) == ("VolumeBinding", IMMEDIATE)

    def test_trap_2_volume_named_but_binding_not_completed(self, engine: str) -> None:
        claim = make_pvc(volume="pv-1", phase="Bound")
        assert self._refusal(engine, DYNAMIC, claim, make_pv("pv-1")) == ("VolumeBinding", IMMEDIATE)

    def test_trap_3_bound_to_a_volume_that_is_gone(self, engine: str) -> None:
        claim = make_pvc(bound_to="pv-1")
        assert self._refusal(engine, DYNAMIC, claim) == ("VolumeZone", 'persistentvolume "pv-1" not found')

    def test_trap_4_the_same_for_an_ephemeral_volume_is_a_reason_of_each_node(self, engine: str) -> None:
        claim = make_pvc("web-tmp", bound_to="pv-1", owners=[make_owner("Pod", "web", "u1")])
        pod = make_pod("web", uid="u1", ephemeral={"tmp": PersistentVolumeClaimSpec()})
        assert reasons(decide(engine, [*NODES, DYNAMIC, claim], pod)) == {"n1": (GONE,), "n2": (GONE,)}

    def test_trap_5_missing_claim(self, engine: str) -> None:
        assert self._refusal(engine) == ("VolumeRestrictions", 'persistentvolumeclaim "data" not found')

    def test_missing_claim_of_an_ephemeral_volume(self, engine: str) -> None:
        pod = make_pod("web", ephemeral={"tmp": PersistentVolumeClaimSpec()})
        text = 'waiting for ephemeral volume controller to create the persistentvolumeclaim "web-tmp"'
        assert self._refusal(engine, pod=pod) == ("VolumeBinding", text)

    def test_claim_of_an_ephemeral_volume_that_belongs_to_somebody_else(self, engine: str) -> None:
        claim = make_pvc("web-tmp", owners=[make_owner("Pod", "web", "other")])
        pod = make_pod("web", uid="u1", ephemeral={"tmp": PersistentVolumeClaimSpec()})
        text = "PVC default/web-tmp was not created for pod default/web (pod is not owner)"
        assert self._refusal(engine, DYNAMIC, claim, pod=pod) == ("VolumeBinding", text)

    def test_lost_claim(self, engine: str) -> None:
        text = 'persistentvolumeclaim "data" bound to non-existent persistentvolume "pv-1"'
        assert self._refusal(engine, DYNAMIC, make_pvc(volume="pv-1", phase="Lost")) == ("VolumeBinding", text)

    def test_claim_being_deleted(self, engine: str) -> None:
        claim = make_pvc(deleted=DELETED, finalizers=["x/y"])
        assert self._refusal(engine, DYNAMIC, claim) == ("VolumeBinding", 'persistentvolumeclaim "data" is being deleted')

    def test_immediate_class(self, engine: str) -> None:
        assert self._refusal(engine, make_class(wait=False), make_pvc()) == ("VolumeBinding", IMMEDIATE)

    def test_a_class_without_mode_is_an_error_unless_defaulted(self, engine: str) -> None:
        # defaults make it Immediate; the engines see objects after that
        assert self._refusal(engine, StorageClass(metadata=make_class().metadata, provisioner=DRIVER), make_pvc())[1] == IMMEDIATE


@every_engine
class TestStaticBinding:
    def test_trap_6_selected_node_names_a_node_that_is_gone(self, engine: str) -> None:
        decision = decide(engine, [*NODES, DYNAMIC, make_pvc(selected_node="gone")], make_pod(claims=["data"]))
        assert reasons(decision) == {"n1": (BIND,), "n2": (BIND,)}

    def test_trap_7_with_a_selected_node_existing_volumes_are_not_looked_at(self, engine: str) -> None:
        decision = decide(engine, [*NODES, DYNAMIC, make_pvc(selected_node="n1"), free("pv-1")], make_pod(claims=["data"]))
        assert decision.feasible() == ["n1"]
        assert bindings(decision, "n1") == []
        assert provisions(decision, "n1") == [("default/data", None)]

    def test_trap_8_two_reasons_on_one_node(self, engine: str) -> None:
        objects = [*NODES, DYNAMIC, make_pvc("a", bound_to="pv-a"), make_pv("pv-a", zone="x"), make_pvc("b", selected_node="gone")]
        assert reasons(decide(engine, objects, make_pod(claims=["a", "b"])))["n1"] == (AFFINITY, BIND)

    def test_trap_9_no_provisioner_means_no_volume(self, engine: str) -> None:
        assert reasons(decide(engine, [*NODES, LOCAL, make_pvc()], make_pod(claims=["data"])))["n1"] == (BIND,)

    def test_trap_9_with_a_provisioner_only_room_is_missing(self, engine: str) -> None:
        objects = [*NODES, DYNAMIC, TRACKED, make_pvc(), make_capacity(capacity="1Gi", where={})]
        assert reasons(decide(engine, objects, make_pod(claims=["data"])))["n1"] == (ROOM,)

    def test_trap_10_a_reserved_volume_is_taken_whatever_its_phase_and_modes(self, engine: str) -> None:
        reserved = make_pv("pv-1", claim="default/data", phase="Pending", modes=["ReadOnlyMany"])
        assert bindings(decide(engine, [*NODES, LOCAL, make_pvc(), reserved], make_pod(claims=["data"])), "n1") == [
            ("default/data", "pv-1")
        ]

    def test_trap_11_a_reserved_volume_elsewhere_blocks_the_others(self, engine: str) -> None:
        objects = [*NODES, make_pvc(), make_pv("pv-1", claim="default/data", zone="b"), free("pv-2", zone="a")]
        assert reasons(decide(engine, [*objects, LOCAL], make_pod(claims=["data"]))) == {"n1": (BIND,)}
        decision = decide(engine, [*objects, DYNAMIC], make_pod(claims=["data"]))
        assert provisions(decision, "n1") == [("default/data", None)]
        assert bindings(decision, "n2") == [("default/data", "pv-1")]

    def test_trap_12_a_volume_of_an_earlier_claim_of_that_name_is_skipped(self, engine: str) -> None:
        objects = [*NODES, LOCAL, make_pvc(uid="u2"), make_pv("pv-1", claim="default/data", claim_uid="u1", phase="Available")]
        assert reasons(decide(engine, objects, make_pod(claims=["data"])))["n1"] == (BIND,)

    @pytest.mark.parametrize("claims", [["small", "large"], ["large", "small"]])
    def test_trap_13_small_claims_choose_first(self, engine: str, claims: list[str]) -> None:
        objects = [
            *NODES,
            LOCAL,
            make_pvc("small", size="5Gi"),
            make_pvc("large", size="10Gi"),
            free("p10", size="10Gi"),
            free("p20", size="20Gi"),
        ]
        decision = decide(engine, objects, make_pod(claims=claims))
        assert bindings(decision, "n1") == [("default/small", "p10"), ("default/large", "p20")]

    def test_trap_13_and_may_take_what_the_large_one_needs(self, engine: str) -> None:
        objects = [*NODES, LOCAL, make_pvc("small", size="5Gi"), make_pvc("large", size="10Gi"), free("p10", size="10Gi")]
        assert reasons(decide(engine, objects, make_pod(claims=["large", "small"])))["n1"] == (BIND,)

    @pytest.mark.parametrize(("asked", "has", "fits"), [("1G", "1Gi", True), ("1Gi", "1G", False)])
    def test_trap_14_sizes_compare_exactly(self, engine: str, asked: str, has: str, fits: bool) -> None:
        decision = decide(engine, [*NODES, LOCAL, make_pvc(size=asked), free("pv-1", size=has)], make_pod(claims=["data"]))
        assert bool(decision.feasible()) is fits

    def test_trap_15_a_claim_named_twice_takes_two_volumes(self, engine: str) -> None:
        decision = decide(engine, [*NODES, LOCAL, make_pvc(), free("pv-1"), free("pv-2")], make_pod(claims=["data", "data"]))
        assert bindings(decision, "n1") == [("default/data", "pv-1"), ("default/data", "pv-2")]

    def test_trap_44_an_invalid_claim_selector_fails_the_cycle(self, engine: str) -> None:
        wrong = LabelSelector(matchExpressions=[LabelSelectorRequirement(key="a", operator="Gt", values=["1"])])
        decision = decide(engine, [*NODES, LOCAL, make_pvc(selector=wrong), free("pv-1")], make_pod(claims=["data"]))
        cause = "error creating internal label selector for claim: default/data: "
        assert decision.error is not None
        assert decision.error.startswith(f'running "VolumeBinding" filter plugin: {cause}')
        assert decision.node is None

    def test_trap_65_selector_nil_and_empty_are_no_constraint(self, engine: str) -> None:
        for selector in (None, LabelSelector()):
            decision = decide(engine, [*NODES, LOCAL, make_pvc(selector=selector), free("pv-1")], make_pod(claims=["data"]))
            assert bindings(decision, "n1") == [("default/data", "pv-1")]


@every_engine
class TestCapacity:
    def _fits(self, engine: str, *objects: Any, size: str | None = "60Gi", driver: Any = TRACKED) -> bool:
        drivers = [driver] if driver is not None else []
        decision = decide(engine, [make_node("n1", zone="a"), DYNAMIC, *drivers, make_pvc(size=size), *objects], make_pod(claims=["data"]))
        if not decision.feasible():
            assert reasons(decision) == {"n1": (ROOM,)}
        return bool(decision.feasible())

    def test_trap_16_claims_do_not_add_up_in_filter_but_in_the_score(self, engine: str) -> None:
        claims = [make_pvc(name, size="60Gi") for name in ("a", "b", "c")]
        objects = [make_node("n1"), DYNAMIC, TRACKED, *claims, make_capacity(where={})]
        decision = decide(engine, objects, make_pod(claims=["a", "b", "c"]))
        assert provisions(decision, "n1") == [(f"default/{name}", "default/capacity-1") for name in ("a", "b", "c")]
        assert decision.scores()["n1"].get("VolumeBinding", 0) == 0

    def test_trap_17_maximum_volume_size(self, engine: str) -> None:
        assert not self._fits(engine, make_capacity(capacity="1Ti", maximum="50Gi", where={}))

    def test_trap_18_neither_capacity_nor_maximum(self, engine: str) -> None:
        assert not self._fits(engine, make_capacity(capacity=None, where={}), size="0")

    def test_trap_19_no_topology_is_nowhere_and_an_empty_one_everywhere(self, engine: str) -> None:
        assert not self._fits(engine, make_capacity())
        assert self._fits(engine, make_capacity(where={}))

    def test_trap_20_any_namespace_counts(self, engine: str) -> None:
        assert self._fits(engine, make_capacity(namespace="elsewhere", where={}))

    def test_trap_21_without_a_driver_object_capacity_is_not_asked(self, engine: str) -> None:
        assert self._fits(engine, driver=None)
        assert self._fits(engine, driver=make_csidriver(storage_capacity=False))

    def test_a_claim_without_size_is_never_too_large(self, engine: str) -> None:
        assert self._fits(engine, size=None)

    def test_an_invalid_topology_is_not_usable(self, engine: str) -> None:
        wrong = LabelSelector(matchExpressions=[LabelSelectorRequirement(key=ZONE, operator="Gt", values=["1"])])
        assert not self._fits(engine, make_capacity(topology=wrong))

    def test_objects_of_other_classes_do_not_count(self, engine: str) -> None:
        assert not self._fits(engine, make_capacity(storage_class="other", where={}))

    def test_trap_54_a_huge_decimal_capacity_counts_as_nothing(self, engine: str) -> None:
        assert not self._fits(engine, make_capacity(capacity="100E", where={}))

    def test_trap_22_allowed_topologies(self, engine: str) -> None:
        for allowed, fits in (([{}], False), ([], True), ([{ZONE: "a"}], True), ([{ZONE: "b"}], False)):
            objects = [make_node("n1", zone="a"), make_class(allowed=allowed), make_pvc()]
            assert bool(decide(engine, objects, make_pod(claims=["data"])).feasible()) is fits


@every_engine
class TestBoundVolumes:
    def _feasible(self, engine: str, affinity: NodeSelector | None, *nodes: Any) -> list[str]:
        objects = [*nodes, DYNAMIC, make_pvc(bound_to="pv-1"), make_pv("pv-1", affinity=affinity)]
        return decide(engine, objects, make_pod(claims=["data"])).feasible()

    def _terms(self, *expressions: Any) -> NodeSelector:
        return NodeSelector(nodeSelectorTerms=[make_term(expressions=[item]) for item in expressions])

    def test_trap_23_no_terms_reach_nothing_and_no_affinity_everything(self, engine: str) -> None:
        assert self._feasible(engine, NodeSelector(nodeSelectorTerms=[]), *NODES) == []
        assert self._feasible(engine, None, *NODES) == ["n1", "n2"]

    def test_trap_24_a_term_on_the_name_alone_reaches_every_node(self, engine: str) -> None:
        by_name = make_term(fields=[make_requirement("metadata.name", "In", ["n1"])])
        assert self._feasible(engine, NodeSelector(nodeSelectorTerms=[by_name]), *NODES) == ["n1", "n2"]

    def test_trap_25_not_in_matches_a_missing_label(self, engine: str) -> None:
        selector = self._terms(make_requirement(ZONE, "NotIn", ["a"]))
        assert set(self._feasible(engine, selector, *NODES, make_node("n3"))) == {"n2", "n3"}

    def test_trap_26_numbers(self, engine: str) -> None:
        nodes = [make_node(name, labels=labels) for name, labels in (("n1", {"gen": "abc"}), ("n2", {}), ("n3", {"gen": "7"}))]
        assert self._feasible(engine, self._terms(make_requirement("gen", "Gt", ["5"])), *nodes) == ["n3"]

    def test_trap_27_an_invalid_term_beside_a_matching_one(self, engine: str) -> None:
        assert self._feasible(engine, self._terms(make_requirement(ZONE, "In", []), make_requirement(ZONE, "In", ["b"])), *NODES) == ["n2"]

    def test_trap_28_beta_keys_are_not_aliased(self, engine: str) -> None:
        beta = self._terms(make_requirement("failure-domain.beta.kubernetes.io/zone", "In", ["a"]))
        assert self._feasible(engine, beta, *NODES) == []

    def test_migrated_volumes_are_translated_where_the_node_has_migrated_the_plugin(self, engine: str) -> None:
        source = {"csi": None, "awsElasticBlockStore": AWSElasticBlockStoreVolumeSource(volumeID="vol-1")}
        csi_zone = {"topology.ebs.csi.aws.com/zone": "a"}
        objects = [
            make_node("migrated", labels=csi_zone),
            make_node("plain", labels=csi_zone),
            make_csinode("migrated", migrated=["kubernetes.io/aws-ebs"]),
            make_csinode("plain"),
            DYNAMIC,
            make_pvc(bound_to="pv-1"),
            make_pv("pv-1", zone="a", spec=source),
        ]
        decision = decide(engine, objects, make_pod(claims=["data"]))
        assert decision.feasible() == ["migrated"]
        assert reasons(decision) == {"plain": (AFFINITY,)}

    def test_a_volume_that_cannot_be_translated_fails_the_cycle(self, engine: str) -> None:
        source = {"csi": None, "awsElasticBlockStore": AWSElasticBlockStoreVolumeSource(volumeID="aws://a/bad")}
        node = [make_node("n1"), make_csinode("n1", migrated=["kubernetes.io/aws-ebs"])]
        decision = decide(engine, [*node, DYNAMIC, make_pvc(bound_to="pv-1"), make_pv("pv-1", spec=source)], make_pod(claims=["data"]))
        assert decision.error == (
            'running "VolumeBinding" filter plugin: could not translate pv: failed to translate Kubernetes ID to EBS Volume ID '
            "Invalid format for AWS volume (aws://a/bad)"
        )


@every_engine
class TestScore:
    def _scores(self, engine: str, objects: list[Any], *claims: str) -> dict[str, int]:
        scores = decide(engine, objects, make_pod(claims=claims)).scores()
        return {node: plugins.get("VolumeBinding", 0) for node, plugins in scores.items()}

    def test_static_volumes_are_scored_by_what_stays_free(self, engine: str) -> None:
        volumes = [free("p1", size="100Gi", zone="a"), free("p2", size="20Gi", zone="b")]
        assert self._scores(engine, [*NODES, LOCAL, make_pvc(size="10Gi"), *volumes], "data") == {"n1": 90, "n2": 50}

    def test_claims_of_one_class_add_up(self, engine: str) -> None:
        volumes = [free("p1", size="20Gi"), free("p2", size="20Gi")]
        assert self._scores(engine, [NODES[0], LOCAL, make_pvc("a", size="10Gi"), make_pvc("b", size="20Gi"), *volumes], "a", "b") == {
            "n1": 25
        }

    def test_classes_are_averaged(self, engine: str) -> None:
        other = make_class("other", provisioner="kubernetes.io/no-provisioner")
        objects = [NODES[0], LOCAL, other, make_pvc("a", size="1Gi"), make_pvc("b", size="3Gi", storage_class="other")]
        volumes = [free("p1", size="10Gi"), free("p2", size="4Gi", storage_class="other")]
        # (90 + 25) / 2 = 57.5, half away from zero
        assert self._scores(engine, [*objects, *volumes], "a", "b") == {"n1": 58}

    def test_trap_58_static_claims_hide_the_dynamic_ones(self, engine: str) -> None:
        objects = [NODES[0], DYNAMIC, TRACKED, make_capacity(capacity="100Gi", where={})]
        claims = [make_pvc("a", size="10Gi"), make_pvc("b", size="50Gi")]
        assert self._scores(engine, [*objects, *claims, free("p1", size="20Gi")], "a", "b") == {"n1": 50}

    def test_trap_59_static_and_dynamic_nodes_side_by_side(self, engine: str) -> None:
        objects = [
            *NODES,
            DYNAMIC,
            TRACKED,
            make_capacity(capacity="100Gi", where={}),
            make_pvc(size="10Gi"),
            free("p1", size="20Gi", zone="a"),
        ]
        assert self._scores(engine, objects, "data") == {"n1": 50, "n2": 90}

    def test_dynamic_claims_without_capacity_objects_score_nothing(self, engine: str) -> None:
        assert self._scores(engine, [*NODES, DYNAMIC, make_pvc()], "data") == {"n1": 0, "n2": 0}

    def test_where_upstream_dies_a_decision_is_made(self, engine: str) -> None:
        pools = [make_capacity(capacity=None, maximum="50Gi", where={})]
        assert self._scores(engine, [NODES[0], DYNAMIC, TRACKED, make_pvc(), *pools], "data") == {"n1": 0}
        beta = make_pvc(storage_class=None, annotations={"volume.beta.kubernetes.io/storage-class": CLASS}, size="10Gi")
        assert self._scores(engine, [NODES[0], DYNAMIC, TRACKED, beta, make_capacity(where={})], "data") == {"n1": 90}
