"""Which volume suits a claim, and the small questions about claims and volumes."""

from __future__ import annotations

import datetime

import pytest
from lightkube.models.meta_v1 import LabelSelector, LabelSelectorRequirement

from tests.builders import ZONE, make_claim_spec, make_owner, make_pod, make_pv, make_pvc
from volsched.rules.selectors import SelectorError
from volsched.rules.volumes import (
    ANN_BIND_COMPLETED,
    bound_to,
    claim_names,
    class_of,
    find_matching_volume,
    is_fully_bound,
    is_owned_by_pod,
    not_owner_text,
    pod_terminated,
    requested_storage,
)

BETA_CLASS = "volume.beta.kubernetes.io/storage-class"
DELETED = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


def _found(claim, *volumes, labels=None, excluded=(), delayed=True):  # type: ignore[no-untyped-def]
    pv = find_matching_volume(claim, volumes, node_labels=labels, excluded=excluded, delayed=delayed)
    return pv.metadata.name if pv is not None else None


def free(name: str, **rest):  # type: ignore[no-untyped-def]
    return make_pv(name, **{"phase": "Available", **rest})


class TestSmallQuestions:
    def test_beta_annotation_names_the_class_even_if_empty(self) -> None:
        assert class_of(make_pvc(storage_class="a")) == "a"
        assert class_of(make_pvc(storage_class="a", annotations={BETA_CLASS: "b"})) == "b"
        assert class_of(make_pv(storage_class="a", annotations={BETA_CLASS: ""})) == ""
        assert class_of(make_pvc(storage_class=None)) == ""

    def test_fully_bound_needs_name_and_annotation_but_no_phase(self) -> None:
        assert is_fully_bound(make_pvc(volume="pv", annotations={ANN_BIND_COMPLETED: ""}, phase="Pending"))
        assert not is_fully_bound(make_pvc(volume="pv", phase="Bound"))
        assert not is_fully_bound(make_pvc(annotations={ANN_BIND_COMPLETED: "yes"}))

    @pytest.mark.parametrize(("uid", "result"), [(None, True), ("", True), ("u1", True), ("u2", False)])
    def test_a_reference_without_uid_is_a_reservation_by_name(self, uid: str | None, result: bool) -> None:
        assert bound_to(make_pv(claim="default/data", claim_uid=uid), make_pvc("data", uid="u1")) is result

    def test_a_reference_names_namespace_and_name(self) -> None:
        claim = make_pvc("data", namespace="a")
        assert not bound_to(make_pv(), claim)
        assert not bound_to(make_pv(claim="b/data"), claim)
        assert not bound_to(make_pv(claim="a/other"), claim)

    def test_a_claim_without_size_asks_for_nothing(self) -> None:
        assert requested_storage(make_pvc(size=None)).value() == 0

    def test_names_of_a_pods_claims(self) -> None:
        pod = make_pod("web", claims=["data"], ephemeral={"tmp": make_claim_spec()})
        assert claim_names(pod) == [("data", "data", False), ("tmp", "web-tmp", True)]

    def test_ownership_is_by_uid_of_the_controller(self) -> None:
        pod = make_pod("web", uid="u1")
        assert is_owned_by_pod(make_pvc(owners=[make_owner("Pod", "web", "u1")]), pod)
        assert not is_owned_by_pod(make_pvc(owners=[make_owner("Pod", "web", "u1", controller=False)]), pod)
        assert not is_owned_by_pod(make_pvc(owners=[make_owner("Pod", "web", "u2")]), pod)
        assert not_owner_text(make_pvc("web-tmp"), pod) == "PVC default/web-tmp was not created for pod default/web (pod is not owner)"

    @pytest.mark.parametrize(("phase", "ended"), [("Succeeded", True), ("Failed", True), ("Running", False), (None, False)])
    def test_ended_pods(self, phase: str | None, ended: bool) -> None:
        assert pod_terminated(make_pod(phase=phase)) is ended


class TestSearch:
    """FindMatchingVolume as the scheduler asks it: with a node's labels."""

    def test_the_smallest_that_suffices_and_the_name_among_equals(self) -> None:
        volumes = [free("c", size="30Gi"), free("b", size="20Gi"), free("a", size="20480Mi"), free("d", size="5Gi")]
        assert _found(make_pvc(size="10Gi"), *volumes, labels={}) == "a"
        assert _found(make_pvc(size="10Gi"), *reversed(volumes), labels={}) == "a"

    @pytest.mark.parametrize(
        ("asked", "has", "fits"), [("1G", "1Gi", True), ("1Gi", "1G", False), ("1000m", "1", True), ("1Gi", "1024Mi", True)]
    )
    def test_sizes_compare_exactly(self, asked: str, has: str, fits: bool) -> None:
        assert (_found(make_pvc(size=asked), free("a", size=has), labels={}) == "a") is fits

    @pytest.mark.parametrize(
        ("claim", "volume"),
        [
            ({}, {"volume_mode": "Block"}),
            ({"volume_mode": "Block"}, {}),
            ({"attributes_class": "gold"}, {}),
            ({}, {"attributes_class": "gold"}),
            ({}, {"deleted": DELETED}),
            ({}, {"phase": "Pending"}),
            ({}, {"phase": None}),
            ({}, {"phase": "Released"}),
            ({}, {"storage_class": "other"}),
            ({}, {"claim": "default/other"}),
            ({"uid": "u1"}, {"claim": "default/data", "claim_uid": "u2", "phase": "Available"}),
            ({"modes": ["ReadWriteMany"]}, {}),
            ({"modes": ["ReadWriteOnce", "ReadOnlyMany"]}, {}),
            ({"selector": LabelSelector(matchLabels={"tier": "gold"})}, {"labels": {"tier": "silver"}}),
            ({}, {"zone": "b"}),
        ],
    )
    def test_one_difference_rules_a_volume_out(self, claim: dict[str, object], volume: dict[str, object]) -> None:
        labels = {ZONE: "a"}
        assert _found(make_pvc(**claim), free("a", **volume), labels=labels) is None
        assert _found(make_pvc(), free("a"), labels=labels) == "a"

    def test_no_mode_means_filesystem_and_an_empty_attributes_class_none(self) -> None:
        assert _found(make_pvc(attributes_class=""), free("a", volume_mode="Filesystem"), labels={}) == "a"

    def test_excluded_volumes_are_passed_over(self) -> None:
        assert _found(make_pvc(), free("a"), free("b"), labels={}, excluded={"a"}) == "b"

    def test_empty_selector_is_no_constraint(self) -> None:
        assert _found(make_pvc(selector=LabelSelector()), free("a"), labels={}) == "a"

    def test_an_invalid_selector_fails_even_without_volumes(self) -> None:
        claim = make_pvc(selector=LabelSelector(matchExpressions=[LabelSelectorRequirement(key="a", operator="Gt", values=["1"])]))
        with pytest.raises(SelectorError, match=r'^error creating internal label selector for claim: default/data: "Gt" is not a valid'):
            _found(claim, labels={})

    def test_a_reserved_volume_wins_whatever_its_phase_class_and_modes(self) -> None:
        reserved = make_pv("z", size="50Gi", claim="default/data", phase="Pending", storage_class="other", modes=["ReadOnlyMany"])
        assert _found(make_pvc(), free("a"), reserved, labels={}) == "z"

    def test_a_reserved_volume_out_of_reach_means_no_match_at_all(self) -> None:
        reserved = make_pv("z", claim="default/data", zone="b")
        assert _found(make_pvc(), free("a"), reserved, labels={ZONE: "a"}) is None

    def test_a_reserved_volume_that_is_too_small_is_just_passed_over(self) -> None:
        assert _found(make_pvc(size="10Gi"), free("a"), make_pv("z", size="1Gi", claim="default/data"), labels={}) == "a"

    def test_of_two_reserved_volumes_the_first_by_name_decides(self) -> None:
        here, there = make_pv("a", claim="default/data", zone="a"), make_pv("b", claim="default/data", zone="b")
        assert _found(make_pvc(), there, here, labels={ZONE: "a"}) == "a"
        assert _found(make_pvc(), there, here, labels={ZONE: "b"}) is None


class TestSearchOfTheController:
    """The same search without a node: reachability and access modes are not looked at."""

    def test_access_modes_and_reach_are_somebody_elses_business(self) -> None:
        assert _found(make_pvc(modes=["ReadWriteMany"]), free("a", zone="b"), labels=None, delayed=False) == "a"

    def test_a_class_that_waits_gets_reserved_volumes_only(self) -> None:
        assert _found(make_pvc(), free("a"), labels=None, delayed=True) is None
        assert _found(make_pvc(), free("a"), make_pv("z", claim="default/data", zone="b"), labels=None, delayed=True) == "z"
