"""Where a new volume may be: accessibility requirements of a CreateVolume call, and node affinity from its answer.

    a term        segments (key, value) sorted by key: all of them hold
    requisite     every term the volume may be in: allowedTopologies, or one term for each node of the cluster
    preferred     requisite rotated: to the selected node's term, or, with no node selected, by a hash of the claim's name, so that the
                  claims of a StatefulSet spread over the terms

What was learnt for a claim is kept in its `ClaimMemory`, so that a retry sends the same request even if the node has gone meanwhile.
Upstream takes the keys of a randomly chosen CSINode for an immediate claim; here it is the first by name.

Source: spec/volumes.md 3.4, 3.5.1; external-provisioner pkg/controller/topology.go (GenerateAccessibilityRequirements).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from lightkube.models.core_v1 import (
    Node,
    NodeSelector,
    NodeSelectorRequirement,
    NodeSelectorTerm,
    TopologySelectorTerm,
    VolumeNodeAffinity,
)
from lightkube.models.storage_v1 import CSINode

from volsched.api.csi import Topology, TopologyRequirement
from volsched.api.edit import labels_of
from volsched.controllers.csi_common import printed_map, quoted
from volsched.errors import NotFoundError, ReconcileError

Term = tuple[tuple[str, str], ...]

_FNV_OFFSET: Final = 2166136261
_FNV_PRIME: Final = 16777619
_UINT32: Final = 2**32


class Cluster(Protocol):
    """The nodes as the provisioner sees them."""

    def node(self, name: str) -> Node | None: ...

    def csi_node(self, name: str) -> CSINode | None: ...

    def registered_keys(self, driver: str) -> tuple[str, ...]:
        """Keys of the driver on the first CSINode, by name, where it has any; empty when it has none anywhere."""
        ...

    def terms(self, keys: tuple[str, ...]) -> tuple[Term, ...]:
        """`terms_of` all nodes."""
        ...


@dataclass(slots=True)
class ClaimMemory:
    """What the first attempts for a claim learnt, valid for the node it was learnt with."""

    node: str = ""
    keys: tuple[str, ...] | None = None
    node_labels: Mapping[str, str] | None = None
    requisite: tuple[Term, ...] | None = None


@dataclass(frozen=True, slots=True)
class TopologyWish:
    """What decides about the requirements of one claim. `selected_node` empty: none was selected."""

    driver: str
    claim_name: str
    selected_node: str
    allowed: Sequence[TopologySelectorTerm]
    strict: bool
    immediate_topology: bool


# terms


def make_term(segments: Mapping[str, str]) -> Term:
    """A term of these segments."""
    return tuple(sorted(segments.items()))


def _order(term: Term) -> tuple[int, Term]:
    # shorter first, then segment by segment; str compares by code point, which for UTF-8 is byte order
    return len(term), term


def is_subset(term: Term, other: Term) -> bool:
    """Whether every segment of `term` occurs in `other`; the empty term is a subset of anything."""
    return all(segment in other for segment in term)


def flatten(allowed: Sequence[TopologySelectorTerm]) -> list[Term]:
    """allowedTopologies as plain terms: the product of each selector term's values. No values in an expression start the product anew."""
    found: list[Term] = []
    for selector in allowed:
        product: list[Term] = []
        for expression in selector.matchLabelExpressions or []:
            values = [((expression.key, value),) for value in expression.values]
            product = [old + value for value in values for old in product] if product else list(values)
        found += [tuple(sorted(term)) for term in product]
    return found


def printed_term(term: Term) -> str:
    """A term as Go's %v prints it: `[{key value} {key value}]`."""
    return "[" + " ".join(f"{{{key} {value}}}" for key, value in term) + "]"


def printed_terms(terms: Sequence[Term]) -> str:
    """A list of terms as Go's %v prints it."""
    return "[" + " ".join(map(printed_term, terms)) + "]"


# spreading


def fnv1(text: str) -> int:
    """32-bit FNV-1: multiply, then xor. FNV-1a, the other order, names local volumes and would spread claims differently."""
    value = _FNV_OFFSET
    for byte in text.encode():
        value = value * _FNV_PRIME % _UINT32 ^ byte
    return value


def spread_start(claim_name: str, count: int) -> int:
    """Index of the term preferred first for a claim that no node was selected for.

    `<template>-<set>-<ordinal>`: claims of one set step through the terms by ordinal; what the template is called does not matter.
    """
    base, dash, ordinal = claim_name.rpartition("-")
    if not dash or not (ordinal.isascii() and ordinal.isdigit() and int(ordinal) < _UINT32):
        return fnv1(claim_name) % _UINT32 % count
    return (fnv1(base.rpartition("-")[2]) + int(ordinal)) % _UINT32 % count


# requirements


def keys_of(csi_node: CSINode, driver: str) -> tuple[str, ...]:
    """Topology keys the driver registered on a node, in its order; empty when it is not there."""
    for row in csi_node.spec.drivers:
        if row.name == driver:
            return tuple(row.topologyKeys or ())
    return ()


def _term_of(labels: Mapping[str, str], keys: Sequence[str]) -> Term | None:
    """The term a node's labels give for the keys, None when a key is missing."""
    if any(key not in labels for key in keys):
        return None
    return make_term({key: labels[key] for key in keys})


def terms_of(nodes: Iterable[Node], keys: Sequence[str]) -> tuple[Term, ...]:
    """The distinct terms of the nodes that have all keys as labels, in order."""
    found = {term for node in nodes if (term := _term_of(labels_of(node), keys)) is not None}
    return tuple(sorted(found, key=_order))


def _selected_term(wish: TopologyWish, cluster: Cluster, memory: ClaimMemory) -> Term:
    """The selected node's term. Raises NotFoundError when its CSINode has gone, ReconcileError otherwise."""
    if memory.keys is None:
        csi_node = cluster.csi_node(wish.selected_node)
        if csi_node is None:
            raise NotFoundError(f"csinode.storage.k8s.io {quoted(wish.selected_node)} not found")
        memory.keys = keys_of(csi_node, wish.driver) or None
    keys = memory.keys
    if not keys:
        raise ReconcileError(f"no topology key found for node {wish.selected_node}")
    term = _term_of(memory.node_labels, keys) if memory.node_labels is not None else None
    if term is None:
        node = cluster.node(wish.selected_node)
        labels = labels_of(node) if node is not None else {}
        term = _term_of(labels, keys) if node is not None else None
        if term is None:
            printed_keys = "[" + " ".join(keys) + "]"
            raise ReconcileError(
                f"topology labels from selected node {printed_map(labels)} does not match topology keys from CSINode {printed_keys}"
            )
        memory.node_labels = labels
    return term


def _aggregate(wish: TopologyWish, cluster: Cluster, memory: ClaimMemory) -> list[Term]:
    """The terms of all nodes that have all keys, whether or not the driver runs there. Raises ReconcileError."""
    if memory.requisite is not None:
        return list(memory.requisite)
    if memory.keys is None:
        memory.keys = cluster.registered_keys(wish.driver) or None
    if memory.keys is None:
        raise ReconcileError("no available topology found")
    terms = cluster.terms(memory.keys)
    if not terms:
        raise ReconcileError(f"topologyKeys [{' '.join(memory.keys)}] were not found on any nodes")
    memory.requisite = terms
    return list(terms)


def accessibility_requirements(wish: TopologyWish, cluster: Cluster, memory: ClaimMemory) -> TopologyRequirement | None:
    """The requirements to send, None for none at all.

    Raises NotFoundError when the selected node has no CSINode (the pod should be scheduled anew), ReconcileError for everything else.
    """
    if memory.node != wish.selected_node:
        memory.node, memory.keys, memory.node_labels, memory.requisite = wish.selected_node, None, None, None
    selected: Term = ()
    requisite: list[Term] = []
    if wish.selected_node:
        selected = _selected_term(wish, cluster, memory)
        if wish.strict:
            flattened = flatten(wish.allowed)
            if wish.allowed and not any(is_subset(term, selected) for term in flattened):
                raise ReconcileError(
                    f"selected node '{quoted(wish.selected_node)}' topology '{printed_term(selected)}' "
                    f"is not in allowed topologies: {printed_terms(flattened)}"
                )
            requisite = [selected]
    if not requisite:
        if wish.allowed:
            requisite = flatten(wish.allowed)
        elif not wish.selected_node and not wish.immediate_topology:
            return None
        else:
            requisite = _aggregate(wish, cluster, memory)
    if not requisite:
        return None  # allowedTopologies of empty entries
    requisite = sorted(set(requisite), key=_order)
    if not wish.selected_node:
        start = spread_start(wish.claim_name, len(requisite))
    elif wish.strict:
        start = 0
    else:
        found = next((index for index, term in enumerate(requisite) if is_subset(term, selected)), None)
        if found is None:
            raise ReconcileError(
                f"topology {printed_term(selected)} from selected node {quoted(wish.selected_node)} "
                f"is not in requisite: {printed_terms(requisite)}"
            )
        start = found
    return TopologyRequirement(requisite=_topologies(requisite), preferred=_topologies(requisite[start:] + requisite[:start]))


def _topologies(terms: Iterable[Term]) -> list[Topology]:
    return [Topology(segments=dict(term)) for term in terms]


def volume_node_affinity(accessible: Sequence[Topology]) -> VolumeNodeAffinity | None:
    """Node affinity of a volume: one ORed term for each topology. Nowhere named is everywhere; entries without segments are dropped."""
    if not accessible:
        return None
    terms = [
        NodeSelectorTerm(
            matchExpressions=[NodeSelectorRequirement(key=key, operator="In", values=[value]) for key, value in make_term(item.segments)]
        )
        for item in accessible
        if item.segments
    ]
    return VolumeNodeAffinity(required=NodeSelector(nodeSelectorTerms=terms))


def affinity_segments(affinity: VolumeNodeAffinity | None) -> list[Term] | None:
    """The topologies a volume's node affinity was built from, None when it has none."""
    if affinity is None or affinity.required is None:
        return None
    return [
        make_term({item.key: (item.values or [""])[0] for item in term.matchExpressions or []})
        for term in affinity.required.nodeSelectorTerms
    ]
