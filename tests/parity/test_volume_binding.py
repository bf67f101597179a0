"""VolumeBinding on every engine, beside the traps: claims of other kinds, capacity, bound volumes, and the scores of 4.5."""

from __future__ import annotations

import datetime
from typing import Any

from lightkube.models.core_v1 import AWSElasticBlockStoreVolumeSource, PersistentVolumeClaimSpec
from lightkube.models.meta_v1 import LabelSelector, LabelSelectorRequirement
from lightkube.models.storage_v1 import StorageClass

from tests.builders import (
    CLASS,
    DRIVER,
    ZONE,
    make_capacity,
    make_class,
    make_csinode,
    make_node,
    make_owner,
    make_pod,
    make_pv,
    make_pvc,
)
from tests.parity.situations import decide, every_engine, reasons
from tests.parity.storage import AFFINITY, DYNAMIC, IMMEDIATE, LOCAL, NODES, ROOM, TRACKED, free, volume_scores
from volsched.engine import UNRESOLVABLE

DELETED = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


@every_engine
class TestPreFilter:
    def _refusal(self, engine: str, *objects: Any, pod: Any = None) -> tuple[str, str]:
        decision = decide(engine, [*NODES, *objects], pod or make_pod(claims=["data"]))
        assert decision.prefilter is not None
        assert decision.prefilter.code == UNRESOLVABLE
        assert decision.message() == f"0/2 nodes are available: {decision.prefilter.reasons[0]}."
        assert decision.rejecting_plugins() == {decision.prefilter.plugin}
        return decision.prefilter.plugin, decision.prefilter.reasons[0]

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
class TestCapacity:
    def _fits(self, engine: str, *objects: Any, size: str | None = "60Gi", driver: Any = TRACKED) -> bool:
        drivers = [driver] if driver is not None else []
        decision = decide(engine, [make_node("n1", zone="a"), DYNAMIC, *drivers, make_pvc(size=size), *objects], make_pod(claims=["data"]))
        if not decision.feasible():
            assert reasons(decision) == {"n1": (ROOM,)}
        return bool(decision.feasible())

    def test_a_claim_without_size_is_never_too_large(self, engine: str) -> None:
        assert self._fits(engine, size=None)

    def test_an_invalid_topology_is_not_usable(self, engine: str) -> None:
        wrong = LabelSelector(matchExpressions=[LabelSelectorRequirement(key=ZONE, operator="Gt", values=["1"])])
        assert not self._fits(engine, make_capacity(topology=wrong))

    def test_objects_of_other_classes_do_not_count(self, engine: str) -> None:
        assert not self._fits(engine, make_capacity(storage_class="other", where={}))


@every_engine
class TestBoundVolumes:
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
        return volume_scores(decide(engine, objects, make_pod(claims=claims)))

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

    def test_dynamic_claims_without_capacity_objects_score_nothing(self, engine: str) -> None:
        assert self._scores(engine, [*NODES, DYNAMIC, make_pvc()], "data") == {"n1": 0, "n2": 0}

    def test_where_upstream_dies_a_decision_is_made(self, engine: str) -> None:
        pools = [make_capacity(capacity=None, maximum="50Gi", where={})]
        assert self._scores(engine, [NODES[0], DYNAMIC, TRACKED, make_pvc(), *pools], "data") == {"n1": 0}
        beta = make_pvc(storage_class=None, annotations={"volume.beta.kubernetes.io/storage-class": CLASS}, size="10Gi")
        assert self._scores(engine, [NODES[0], DYNAMIC, TRACKED, beta, make_capacity(where={})], "data") == {"n1": 90}
