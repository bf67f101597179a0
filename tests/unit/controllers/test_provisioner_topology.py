"""Accessibility requirements: terms, order, rotation, memory, error texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from lightkube.models.core_v1 import TopologySelectorLabelRequirement, TopologySelectorTerm

from tests.builders import DRIVER, ZONE, make_csinode, make_node
from volsched.api.csi import Topology
from volsched.controllers.provisioner_topology import (
    ClaimMemory,
    TopologyWish,
    accessibility_requirements,
    affinity_segments,
    flatten,
    fnv1,
    is_subset,
    keys_of,
    make_term,
    printed_terms,
    spread_start,
    terms_of,
    volume_node_affinity,
)
from volsched.errors import NotFoundError, ReconcileError

RACK = "example.com/rack"


class Nodes:
    """A cluster of nodes n1, n2, … with labels; the driver is on all of them with the given keys."""

    def __init__(self, *labels: dict[str, str], keys: Sequence[str] = (ZONE,)) -> None:
        self._nodes = {f"n{i}": make_node(f"n{i}", labels=item) for i, item in enumerate(labels, 1)}
        self._csi = {name: make_csinode(name, keys=keys) for name in self._nodes}

    def node(self, name: str) -> Any:
        return self._nodes.get(name)

    def csi_node(self, name: str) -> Any:
        return self._csi.get(name)

    def registered_keys(self, driver: str) -> tuple[str, ...]:
        return next((keys for item in self._csi.values() if (keys := keys_of(item, driver))), ())

    def terms(self, keys: tuple[str, ...]) -> tuple[Any, ...]:
        return terms_of(self._nodes.values(), keys)

    def drop(self, name: str) -> None:
        self._nodes.pop(name)
        self._csi.pop(name)


def zones(*names: str) -> list[dict[str, str]]:
    return [{ZONE: name} for name in names]


def selector(**values: Sequence[str]) -> TopologySelectorTerm:
    keys = {"zone": ZONE, "rack": RACK}
    return TopologySelectorTerm(
        matchLabelExpressions=[TopologySelectorLabelRequirement(key=keys[key], values=list(found)) for key, found in values.items()]
    )


def wish(**settings: Any) -> TopologyWish:
    defaults = {"driver": DRIVER, "claim_name": "data", "selected_node": "", "allowed": (), "strict": False, "immediate_topology": True}
    return TopologyWish(**{**defaults, **settings})


def ask(cluster: Nodes, *, memory: ClaimMemory | None = None, **settings: Any) -> tuple[list[Any], list[Any]] | None:
    found = accessibility_requirements(wish(**settings), cluster, memory or ClaimMemory())
    return None if found is None else ([t.segments for t in found.requisite], [t.segments for t in found.preferred])


def test_the_hash_is_fnv_1_not_fnv_1a() -> None:
    assert fnv1("testset") == 1633848515
    assert fnv1("") == 2166136261


@pytest.mark.parametrize(("claim", "start"), [("x-testset-1", 0), ("x-testset-2", 1), ("x-testset-3", 2), ("x-testset-4", 3)])
def test_claims_of_a_set_step_through_the_terms(claim: str, start: int) -> None:
    assert spread_start(claim, 4) == start


def test_only_the_set_and_the_ordinal_matter_for_spreading() -> None:
    for count in (2, 3, 5, 7):
        assert spread_start("data-web-0", count) == spread_start("logs-web-0", count)
    assert spread_start("web", 1000) == fnv1("web") % 1000
    assert spread_start("a-4294967296", 1000) == fnv1("a-4294967296") % 1000, "not an uint32"


def test_a_selected_node_comes_first_in_preferred() -> None:
    cluster = Nodes(*zones("b", "a", "c", "b"))
    requisite, preferred = ask(cluster, selected_node="n1") or ([], [])
    assert requisite == zones("a", "b", "c")
    assert preferred == zones("b", "c", "a")


def test_strict_topology_sends_the_selected_node_alone() -> None:
    cluster = Nodes(*zones("b", "a"))
    assert ask(cluster, selected_node="n1", strict=True) == (zones("b"), zones("b"))
    assert ask(cluster, selected_node="n1", strict=True, allowed=[selector(zone=["b", "c"])]) == (zones("b"), zones("b"))
    with pytest.raises(ReconcileError) as refused:
        ask(cluster, selected_node="n1", strict=True, allowed=[selector(zone=["c"])])
    assert str(refused.value) == f"selected node '\"n1\"' topology '[{{{ZONE} b}}]' is not in allowed topologies: [[{{{ZONE} c}}]]"


def test_allowed_topologies_replace_the_cluster() -> None:
    cluster = Nodes(*zones("a", "b", "c"))
    assert ask(cluster, selected_node="n2", allowed=[selector(zone=["b", "a"])]) == (zones("a", "b"), zones("b", "a"))
    assert ask(cluster, allowed=[selector(zone=["b"])]) == (zones("b"), zones("b"))


def test_a_node_outside_allowed_topologies_is_an_endless_error_without_strict() -> None:
    cluster = Nodes({ZONE: "a", RACK: "r1"})
    with pytest.raises(ReconcileError) as refused:
        ask(cluster, selected_node="n1", allowed=[selector(rack=["r1"])])
    text = f'topology [{{{ZONE} a}}] from selected node "n1" is not in requisite: [[{{{RACK} r1}}]]'
    assert str(refused.value) == text, "a key the driver does not report never matches"


def test_terms_are_ordered_by_key_first_whatever_the_order_of_labels() -> None:
    cluster = Nodes({ZONE: "a", RACK: "r2"}, {ZONE: "b", RACK: "r1"}, keys=(ZONE, RACK))
    requisite, _ = ask(cluster, selected_node="n1") or ([], [])
    assert requisite == [{RACK: "r1", ZONE: "b"}, {RACK: "r2", ZONE: "a"}]
    assert [list(term) for term in requisite] == [[RACK, ZONE], [RACK, ZONE]]


def test_immediate_claims_without_immediate_topology_send_nothing_at_all() -> None:
    cluster = Nodes(*zones("a", "b"))
    assert ask(cluster, immediate_topology=False) is None
    assert ask(cluster, immediate_topology=False, allowed=[selector(zone=["b"])]) == (zones("b"), zones("b"))
    assert ask(cluster, allowed=[TopologySelectorTerm()]) is None


def test_an_immediate_claim_rotates_by_its_name() -> None:
    cluster = Nodes(*zones("a", "b", "c", "d"))
    requisite, preferred = ask(cluster, claim_name="x-testset-3") or ([], [])
    assert requisite == zones("a", "b", "c", "d")
    assert preferred == zones("c", "d", "a", "b")


def test_what_is_missing_is_named() -> None:
    with pytest.raises(NotFoundError):
        ask(Nodes(*zones("a")), selected_node="gone")
    with pytest.raises(ReconcileError, match=r"^no topology key found for node n1$"):
        ask(Nodes(*zones("a"), keys=()), selected_node="n1")
    with pytest.raises(ReconcileError, match=r"^no available topology found$"):
        ask(Nodes(*zones("a"), keys=()))
    with pytest.raises(ReconcileError) as refused:
        ask(Nodes(*zones("a"), keys=(RACK,)))
    assert str(refused.value) == f"topologyKeys [{RACK}] were not found on any nodes"
    cluster = Nodes(*zones("a"), keys=(RACK, ZONE))
    with pytest.raises(ReconcileError) as refused:
        ask(cluster, selected_node="n1")
    labels = cluster.node("n1").metadata.labels
    printed = " ".join(f"{key}:{labels[key]}" for key in sorted(labels))
    assert (
        str(refused.value) == f"topology labels from selected node map[{printed}] does not match topology keys from CSINode [{RACK} {ZONE}]"
    )


def test_a_retry_sends_the_same_even_when_the_node_has_gone() -> None:
    cluster, memory = Nodes(*zones("a", "b")), ClaimMemory()
    first = ask(cluster, selected_node="n1", memory=memory)
    cluster.drop("n1")
    assert ask(cluster, selected_node="n1", memory=memory) == first
    assert ask(cluster, selected_node="n2", memory=memory) == (zones("b"), zones("b")), "another node is another question"


def test_flattening_distributes_values_and_starts_anew_where_there_are_none() -> None:
    assert flatten([selector(zone=["a", "b"], rack=["r"])]) == [((RACK, "r"), (ZONE, "a")), ((RACK, "r"), (ZONE, "b"))]
    assert flatten([selector(zone=["a", "b"], rack=[])]) == []
    assert flatten([selector(rack=[], zone=["a"])]) == [((ZONE, "a"),)]
    assert flatten([selector(zone=["a"]), selector(rack=["r"])]) == [((ZONE, "a"),), ((RACK, "r"),)]
    assert is_subset((), ((ZONE, "a"),)) and not is_subset(((ZONE, "b"),), ((ZONE, "a"),))
    assert printed_terms([make_term({ZONE: "a", RACK: "r"}), ()]) == f"[[{{{RACK} r}} {{{ZONE} a}}] []]"


def test_two_topologies_of_a_volume_are_two_terms() -> None:
    affinity = volume_node_affinity([Topology(segments={ZONE: "a"}), Topology(), Topology(segments={ZONE: "b", RACK: "r"})])
    assert affinity is not None and affinity.required is not None
    assert [len(term.matchExpressions or []) for term in affinity.required.nodeSelectorTerms] == [1, 2]
    assert affinity_segments(affinity) == [((ZONE, "a"),), ((RACK, "r"), (ZONE, "b"))]
    assert volume_node_affinity([]) is None and affinity_segments(None) is None
    empty = volume_node_affinity([Topology()])
    assert empty is not None and empty.required is not None and empty.required.nodeSelectorTerms == []
