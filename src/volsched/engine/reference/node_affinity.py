"""NodeAffinity: nodeSelector and node affinity of the pod, and the affinity its profile adds.

Terms that all name their nodes by `metadata.name` tell the nodes beforehand, and no other is looked at.
Source: pkg/scheduler/framework/plugins/nodeaffinity; spec/scheduling.md 8.4.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from lightkube.models.core_v1 import NodeSelector, NodeSelectorTerm, Pod

from volsched.engine.profile import EngineProfile
from volsched.engine.reference.framework import (
    SKIP,
    SUCCESS,
    NodeInfo,
    Plugin,
    Snapshot,
    Status,
    default_normalize,
    failed,
    unresolvable,
)
from volsched.rules.selectors import IN, SelectorError
from volsched.rules.topology import NAME_FIELD, PreferredTerms, node_fields, node_matches_pod_affinity, node_selector_matches


def _named_nodes(term: NodeSelectorTerm) -> frozenset[str] | None:
    """Nodes a term names, None when it names none."""
    named: frozenset[str] | None = None
    for item in term.matchFields or ():
        if item.key == NAME_FIELD and item.operator == IN:
            values = frozenset(item.values or ())
            named = values if named is None else named & values
    return named


class NodeAffinity(Plugin):
    name: ClassVar[str] = "NodeAffinity"

    def __init__(self, snapshot: Snapshot, pod: Pod, profile: EngineProfile) -> None:
        super().__init__(snapshot, pod, profile)
        self._preferred: list[PreferredTerms] = []

    def _required(self) -> NodeSelector | None:
        affinity = self.spec.affinity.nodeAffinity if self.spec.affinity else None
        return affinity.requiredDuringSchedulingIgnoredDuringExecution if affinity else None

    def pre_filter(self) -> tuple[Status, frozenset[str] | None]:
        required = self._required()
        if required is None:
            idle = self.spec.nodeSelector is None and self.profile.node_affinity.required is None
            return (SKIP if idle else SUCCESS), None
        names: frozenset[str] = frozenset()
        for term in required.nodeSelectorTerms or ():
            named = _named_nodes(term)
            if named is None:
                return SUCCESS, None
            names |= named
        if not required.nodeSelectorTerms:
            return SUCCESS, None  # the filter refuses every node
        if not names:
            return unresolvable("pod affinity terms conflict"), None
        return SUCCESS, names

    def filter(self, node: NodeInfo) -> Status:
        if not node_selector_matches(self.profile.node_affinity.required, node.labels, fields=node_fields(node.node)):
            return unresolvable("node(s) didn't match scheduler-enforced node affinity")
        if not node_matches_pod_affinity(self.pod, node.node):
            return unresolvable("node(s) didn't match Pod's node affinity/selector")
        return SUCCESS

    def pre_score(self, nodes: Sequence[NodeInfo]) -> Status:
        affinity = self.spec.affinity.nodeAffinity if self.spec.affinity else None
        terms = affinity.preferredDuringSchedulingIgnoredDuringExecution if affinity else None
        if terms is None and not self.profile.node_affinity.preferred:
            return SKIP
        try:
            self._preferred = [PreferredTerms(terms or ()), PreferredTerms(self.profile.node_affinity.preferred)]
        except SelectorError as problem:
            return failed(str(problem))
        return SUCCESS

    def prepare_score(self, nodes: Sequence[NodeInfo]) -> Status:
        return self.pre_score(nodes)

    def score(self, node: NodeInfo) -> int:
        return sum(terms.weight(node.node) for terms in self._preferred)

    def normalize(self, scores: Mapping[str, int]) -> dict[str, int]:
        return default_normalize(scores, reverse=False)
