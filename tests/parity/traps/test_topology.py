"""Traps 23 to 29: where a volume can be reached."""

from __future__ import annotations

from typing import Any

import pytest
from lightkube.models.core_v1 import NodeSelector

from tests.builders import ZONE, make_node, make_pod, make_pv, make_pvc, make_requirement, make_term
from tests.parity.situations import decide, every_engine, reasons
from tests.parity.storage import AFFINITY, DYNAMIC, NO_ZONE, NODES

pytestmark = every_engine

BETA_ZONE = "failure-domain.beta.kubernetes.io/zone"


def feasible(engine: str, affinity: NodeSelector | None, *nodes: Any) -> list[str]:
    """Nodes that reach a bound volume of that affinity; the others say so."""
    objects = [*nodes, DYNAMIC, make_pvc(bound_to="pv-1"), make_pv("pv-1", affinity=affinity)]
    decision = decide(engine, objects, make_pod(claims=["data"]))
    assert set(reasons(decision).values()) <= {(AFFINITY,)}
    return sorted(decision.feasible())


def terms(*expressions: Any) -> NodeSelector:
    return NodeSelector(nodeSelectorTerms=[make_term(expressions=[item]) for item in expressions])


def in_zone(engine: str, labels: dict[str, str], **nodes: dict[str, str]) -> list[str]:
    """Nodes that VolumeZone lets pass for a volume of these labels."""
    made = [make_node(name, labels=own) for name, own in nodes.items()]
    decision = decide(engine, [*made, DYNAMIC, make_pvc(bound_to="pv-1"), make_pv("pv-1", labels=labels)], make_pod(claims=["data"]))
    assert set(reasons(decision).values()) <= {(NO_ZONE,)}
    return sorted(decision.feasible())


def test_trap_23_no_terms_reach_nothing_and_no_affinity_everything(engine: str) -> None:
    assert feasible(engine, NodeSelector(nodeSelectorTerms=[]), *NODES) == []
    assert feasible(engine, None, *NODES) == ["n1", "n2"]


def test_trap_24_a_term_on_the_name_alone_reaches_every_node(engine: str) -> None:
    by_name = make_term(fields=[make_requirement("metadata.name", "In", ["n1"])])
    assert feasible(engine, NodeSelector(nodeSelectorTerms=[by_name]), *NODES) == ["n1", "n2"]


def test_trap_25_not_in_matches_a_missing_label(engine: str) -> None:
    assert feasible(engine, terms(make_requirement(ZONE, "NotIn", ["a"])), *NODES, make_node("n3")) == ["n2", "n3"]


def test_trap_26_numbers(engine: str) -> None:
    nodes = [make_node(name, labels=labels) for name, labels in (("n1", {"gen": "abc"}), ("n2", {}), ("n3", {"gen": "7"}))]
    assert feasible(engine, terms(make_requirement("gen", "Gt", ["5"])), *nodes) == ["n3"]


def test_trap_27_an_invalid_term_beside_a_matching_one(engine: str) -> None:
    assert feasible(engine, terms(make_requirement(ZONE, "In", []), make_requirement(ZONE, "In", ["b"])), *NODES) == ["n2"]


def test_trap_28_beta_keys_of_an_affinity_are_not_aliased(engine: str) -> None:
    assert feasible(engine, terms(make_requirement(BETA_ZONE, "In", ["a"])), *NODES) == []


def test_trap_28_a_beta_label_of_the_volume_is_met_by_the_ga_label_of_the_node(engine: str) -> None:
    assert in_zone(engine, {BETA_ZONE: "a"}, n1={ZONE: "a"}, n2={ZONE: "b"}) == ["n1"]
    assert in_zone(engine, {ZONE: "a"}, n1={BETA_ZONE: "a"}) == []


@pytest.mark.parametrize("zones", ["a__b", "a__ b"])
def test_trap_29_several_zones_and_nodes_without_any_label(engine: str, zones: str) -> None:
    assert in_zone(engine, {ZONE: zones}, n1={ZONE: "b"}, n2={ZONE: "c"}, n3={}) == ["n1", "n3"]
