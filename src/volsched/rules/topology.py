"""Where things are: node selectors, volume reachability, class topologies, node affinity of pods.

A node selector is a list of ORed terms; a term is a list of ANDed requirements on labels and on the one field `metadata.name`. A term that
asks for nothing, or that contains an invalid requirement, never matches; an invalid term does not spoil its neighbours. Labels are compared
literally: beta and GA zone keys are different keys here (spec/scheduling.md 6).

Source: component-helpers/scheduling/corev1/nodeaffinity, component-helpers/scheduling/corev1/helpers.go (topology terms).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from lightkube.models.core_v1 import (
    Node,
    NodeSelector,
    NodeSelectorRequirement,
    NodeSelectorTerm,
    PersistentVolume,
    Pod,
    PreferredSchedulingTerm,
    TopologySelectorTerm,
)

from volsched.api.edit import labels_of
from volsched.rules.selectors import IN, NOT_IN, Requirement, SelectorError
from volsched.rules.texts import json_list, quoted

ZONE: Final = "topology.kubernetes.io/zone"
REGION: Final = "topology.kubernetes.io/region"
BETA_ZONE: Final = "failure-domain.beta.kubernetes.io/zone"
BETA_REGION: Final = "failure-domain.beta.kubernetes.io/region"
HOSTNAME: Final = "kubernetes.io/hostname"

NAME_FIELD: Final = "metadata.name"
ZONE_DELIMITER: Final = "__"  # several zones in one label of a volume


class _Term(NamedTuple):
    """A checked node selector term; `fields` are (key, value, wanted equal)."""

    labels: tuple[Requirement, ...]
    fields: tuple[tuple[str, str, bool], ...]

    def matches(self, labels: Mapping[str, str], fields: Mapping[str, str]) -> bool:
        if not all(requirement.matches(labels) for requirement in self.labels):
            return False
        # Upstream skips the clause when the caller knows no fields, which is how a volume's term on metadata.name matches every node.
        return not fields or all((fields.get(key, "") == value) is equal for key, value, equal in self.fields)


def _field_requirement(requirement: NodeSelectorRequirement, path: str) -> tuple[str, str, bool]:
    if requirement.operator not in (IN, NOT_IN):
        supported = f"supported values: {quoted(IN)}, {quoted(NOT_IN)}"
        raise SelectorError(f"{path}.operator: Unsupported value: {quoted(requirement.operator)}: {supported}")
    values = requirement.values or []
    if len(values) != 1:
        raise SelectorError(f"{path}.values: Invalid value: {json_list(requirement.values)}: must have one element")
    return requirement.key, values[0], requirement.operator == IN


def _is_empty(term: NodeSelectorTerm) -> bool:
    return not term.matchExpressions and not term.matchFields


def _compile(term: NodeSelectorTerm, path: str = "") -> _Term:
    """Raises SelectorError with everything that is wrong with the term, `path` being where it stands."""
    labels: list[Requirement] = []
    fields: list[tuple[str, str, bool]] = []
    problems: list[str] = []
    for index, item in enumerate(term.matchExpressions or ()):
        try:
            labels.append(Requirement.make(item.key, item.operator, item.values, path=f"{path}.matchExpressions[{index}]"))
        except SelectorError as problem:
            problems += problem.problems
    for index, item in enumerate(term.matchFields or ()):
        try:
            fields.append(_field_requirement(item, f"{path}.matchFields[{index}]"))
        except SelectorError as problem:
            problems += problem.problems
    if problems:
        raise SelectorError(*problems)
    return _Term(tuple(labels), tuple(fields))


def node_selector_matches(
    selector: NodeSelector | None, labels: Mapping[str, str] | None, *, fields: Mapping[str, str] | None, strict: bool = False
) -> bool:
    """Whether a node with these labels and fields is selected. None selects every node; no terms select none.

    `fields` is `{"metadata.name": name}` where the node is known and None where only labels are (volumes). Invalid terms count as mismatch;
    with `strict` they raise SelectorError where no other term matches.
    """
    if selector is None:
        return True
    problems: list[str] = []
    for term in selector.nodeSelectorTerms or ():
        if _is_empty(term):
            continue
        try:
            checked = _compile(term)
        except SelectorError as problem:
            problems += problem.problems
            continue
        if checked.matches(labels or {}, fields or {}):
            return True
    if strict and problems:
        raise SelectorError(*problems)
    return False


def node_selector_problems(selector: NodeSelector | None, path: str) -> list[str]:
    """What is wrong with the terms of a selector that stands at `path`; terms that ask for nothing are left alone."""
    problems: list[str] = []
    for index, term in enumerate((selector.nodeSelectorTerms if selector else None) or ()):
        try:
            _compile(term, f"{path}.nodeSelectorTerms[{index}]")
        except SelectorError as problem:
            problems += problem.problems
    return problems


def pv_reachable(pv: PersistentVolume, node_labels: Mapping[str, str] | None) -> bool:
    """Whether the volume's node affinity admits a node with these labels. Fields are not known here, not even the node's name."""
    affinity = pv.spec.nodeAffinity if pv.spec else None
    return node_selector_matches(affinity.required if affinity else None, node_labels, fields=None)


def allowed_topologies_match(terms: Sequence[TopologySelectorTerm] | None, node_labels: Mapping[str, str] | None) -> bool:
    """Whether a class's allowedTopologies admit a node with these labels: no list admits all, an empty or invalid term none."""
    if not terms:
        return True
    for term in terms:
        expressions = term.matchLabelExpressions or []
        try:
            requirements = [Requirement.make(item.key, IN, item.values) for item in expressions]
        except SelectorError:
            continue
        if requirements and all(requirement.matches(node_labels or {}) for requirement in requirements):
            return True
    return False


def node_fields(node: Node) -> dict[str, str]:
    """The fields of a node that selectors may ask for."""
    name = node.metadata.name if node.metadata else None
    return {NAME_FIELD: name} if name else {}


def node_matches_pod_affinity(pod: Pod, node: Node, *, strict: bool = False) -> bool:
    """The pod's nodeSelector and required node affinity against a node. What is invalid counts as mismatch, or with `strict` raises
    SelectorError where it decides."""
    spec = pod.spec
    if spec is None:
        return True
    labels = labels_of(node)
    if any(labels.get(key) != value for key, value in (spec.nodeSelector or {}).items()):
        return False
    affinity = spec.affinity.nodeAffinity if spec.affinity else None
    required = affinity.requiredDuringSchedulingIgnoredDuringExecution if affinity else None
    return node_selector_matches(required, labels, fields=node_fields(node), strict=strict)


class PreferredTerms:
    """A pod's preferred node affinity, compiled once for all nodes. Raises SelectorError if a term that counts is invalid."""

    def __init__(self, terms: Iterable[PreferredSchedulingTerm], path: str = "") -> None:
        self._terms: list[tuple[int, _Term]] = []
        problems: list[str] = []
        for index, term in enumerate(terms):
            if not term.weight or _is_empty(term.preference):
                continue
            try:
                self._terms.append((term.weight, _compile(term.preference, f"{path}[{index}]")))
            except SelectorError as problem:
                problems += problem.problems
        if problems:
            raise SelectorError(*problems)

    def weight(self, node: Node) -> int:
        """Sum of the weights of the terms that the node matches."""
        labels, fields = labels_of(node), node_fields(node)
        return sum(weight for weight, term in self._terms if term.matches(labels, fields))
