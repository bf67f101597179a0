"""Node selectors, volume reachability, class topologies, pod node affinity."""

from __future__ import annotations

import pytest
from lightkube.models.core_v1 import (
    NodeSelector,
    NodeSelectorRequirement,
    NodeSelectorTerm,
    PreferredSchedulingTerm,
    TopologySelectorLabelRequirement,
    TopologySelectorTerm,
    VolumeNodeAffinity,
)

from tests.builders import ZONE, make_node, make_node_affinity, make_node_selector, make_pod, make_pv, make_requirement, make_term
from volsched.rules.selectors import SelectorError
from volsched.rules.topology import (
    PreferredTerms,
    allowed_topologies_match,
    node_matches_pod_affinity,
    node_selector_matches,
    pv_reachable,
)

VALID = make_term({"zone": "a"})
INVALID = NodeSelectorTerm(matchExpressions=[make_requirement("zone", "In", [])])
BY_NAME = NodeSelectorTerm(matchFields=[NodeSelectorRequirement(key="metadata.name", operator="In", values=["n1"])])


def _selects(*terms: NodeSelectorTerm, labels: dict[str, str], name: str | None = None) -> bool:
    return node_selector_matches(NodeSelector(nodeSelectorTerms=list(terms)), labels, fields={"metadata.name": name} if name else None)


class TestNodeSelector:
    def test_terms_are_alternatives(self) -> None:
        assert _selects(make_term({"zone": "b"}), VALID, labels={"zone": "a"})

    def test_requirements_of_a_term_all_count(self) -> None:
        assert not _selects(make_term({"zone": "a", "rack": "1"}), labels={"zone": "a"})

    def test_no_terms_and_empty_terms_select_nothing(self) -> None:
        assert not _selects(labels={})
        assert not _selects(NodeSelectorTerm(), labels={})
        assert _selects(NodeSelectorTerm(), VALID, labels={"zone": "a"})

    def test_an_invalid_term_does_not_spoil_its_neighbours(self) -> None:
        assert not _selects(INVALID, labels={"zone": "a"})
        assert _selects(INVALID, VALID, labels={"zone": "a"})

    def test_fields(self) -> None:
        assert _selects(BY_NAME, labels={}, name="n1")
        assert not _selects(BY_NAME, labels={}, name="n2")

    def test_other_fields_read_as_empty(self) -> None:
        other = NodeSelectorTerm(matchFields=[NodeSelectorRequirement(key="metadata.uid", operator="NotIn", values=["x"])])
        assert _selects(other, labels={}, name="n1")

    @pytest.mark.parametrize(("operator", "values"), [("In", ["a", "b"]), ("Exists", []), ("In", []), ("Gt", ["1"])])
    def test_fields_take_one_value(self, operator: str, values: list[str]) -> None:
        wrong = NodeSelectorTerm(matchFields=[NodeSelectorRequirement(key="metadata.name", operator=operator, values=values)])
        assert not _selects(wrong, labels={}, name="a")

    def test_nil_selects_everything(self) -> None:
        assert node_selector_matches(None, {}, fields=None)


class TestVolumes:
    def test_no_affinity_reaches_every_node(self) -> None:
        assert pv_reachable(make_pv(), {})
        assert pv_reachable(make_pv(spec={"nodeAffinity": VolumeNodeAffinity()}), {})

    def test_required_without_terms_reaches_none(self) -> None:
        assert not pv_reachable(make_pv(affinity=NodeSelector(nodeSelectorTerms=[])), {})

    def test_a_valid_term_on_the_name_alone_reaches_every_node(self) -> None:
        assert pv_reachable(make_pv(affinity=NodeSelector(nodeSelectorTerms=[BY_NAME])), {})

    def test_an_invalid_field_clause_still_kills_the_term(self) -> None:
        wrong = NodeSelectorTerm(
            matchExpressions=[make_requirement("zone", "Exists")],
            matchFields=[NodeSelectorRequirement(key="metadata.name", operator="Exists")],
        )
        assert not pv_reachable(make_pv(affinity=NodeSelector(nodeSelectorTerms=[wrong])), {"zone": "a"})

    def test_beta_and_ga_keys_are_different_keys(self) -> None:
        beta = make_pv(where={"failure-domain.beta.kubernetes.io/zone": "a"})
        assert not pv_reachable(beta, {ZONE: "a"})


class TestAllowedTopologies:
    @staticmethod
    def _term(*pairs: tuple[str, list[str]]) -> TopologySelectorTerm:
        return TopologySelectorTerm(
            matchLabelExpressions=[TopologySelectorLabelRequirement(key=key, values=values) for key, values in pairs]
        )

    def test_no_list_admits_all(self) -> None:
        assert allowed_topologies_match(None, {})
        assert allowed_topologies_match([], {})

    def test_one_empty_term_admits_none(self) -> None:
        assert not allowed_topologies_match([self._term()], {ZONE: "a"})

    def test_terms_are_alternatives_and_expressions_are_not(self) -> None:
        terms = [self._term((ZONE, ["a"]), ("rack", ["1"])), self._term((ZONE, ["b", "c"]))]
        assert allowed_topologies_match(terms, {ZONE: "c"})
        assert not allowed_topologies_match(terms, {ZONE: "a"})
        assert allowed_topologies_match(terms, {ZONE: "a", "rack": "1"})

    def test_an_invalid_term_is_skipped(self) -> None:
        assert not allowed_topologies_match([self._term((ZONE, []))], {ZONE: "a"})
        assert allowed_topologies_match([self._term((ZONE, [])), self._term((ZONE, ["a"]))], {ZONE: "a"})


class TestPodAffinity:
    def test_selector_and_terms_are_both_asked_for(self) -> None:
        node = make_node("n1", labels={"disk": "ssd", "zone": "a"})
        assert node_matches_pod_affinity(make_pod(node_selector={"disk": "ssd"}, affinity=make_node_affinity({"zone": "a"})), node)
        assert not node_matches_pod_affinity(make_pod(node_selector={"disk": "hdd"}, affinity=make_node_affinity({"zone": "a"})), node)
        assert not node_matches_pod_affinity(make_pod(node_selector={"disk": "ssd"}, affinity=make_node_affinity({"zone": "b"})), node)

    def test_node_selector_is_not_validated(self) -> None:
        assert not node_matches_pod_affinity(make_pod(node_selector={"bad key": "bad value"}), make_node())

    def test_preferred_terms_add_up(self) -> None:
        terms = [
            PreferredSchedulingTerm(weight=3, preference=VALID),
            PreferredSchedulingTerm(weight=4, preference=make_term({"zone": ["a", "b"]})),
        ]
        preferred = PreferredTerms(terms)
        assert [preferred.weight(make_node(labels={"zone": zone})) for zone in ("a", "b", "c")] == [7, 4, 0]

    def test_preferred_terms_without_weight_or_content_are_not_even_checked(self) -> None:
        terms = [PreferredSchedulingTerm(weight=0, preference=INVALID), PreferredSchedulingTerm(weight=9, preference=NodeSelectorTerm())]
        assert PreferredTerms(terms).weight(make_node()) == 0

    def test_invalid_preferred_term(self) -> None:
        with pytest.raises(SelectorError, match=r"^\[1\]\.matchExpressions\[0\]\.values: Invalid value: \[\]"):
            PreferredTerms([PreferredSchedulingTerm(weight=1, preference=VALID), PreferredSchedulingTerm(weight=1, preference=INVALID)])

    def test_builders_select(self) -> None:
        assert node_selector_matches(make_node_selector({"zone": ["a", "b"]}), {"zone": "b"}, fields=None)
