"""InterPodAffinity: run near some pods, and far from others.

A term names pods by namespace and labels, and what "near" means by a node label: the same value. Pods already running have terms too. Their
required anti-affinity keeps the new pod away, and their other terms attract or repel it in scoring.

Source: pkg/scheduler/framework/plugins/interpodaffinity/{filtering,scoring}.go, kube-scheduler/framework/types.go (AffinityTerm);
spec/scheduling.md 8.9.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar, NamedTuple, Self

from lightkube.models.core_v1 import Pod, PodAffinityTerm, WeightedPodAffinityTerm

from volsched.api.edit import labels_of
from volsched.engine.profile import EngineProfile
from volsched.engine.reference.framework import (
    SCORE_MAX,
    SKIP,
    SUCCESS,
    NodeInfo,
    Plugin,
    PodInfo,
    Snapshot,
    Status,
    failed,
    unresolvable,
    unschedulable,
)
from volsched.rules.selectors import NOTHING, Selector, SelectorError, compile_selector

_Pair = tuple[str, str]  # topology key, value
_Counts = dict[_Pair, int]


def _namespace_of(pod: Pod) -> str:
    return (pod.metadata.namespace if pod.metadata else None) or "default"


class _Term(NamedTuple):
    """A checked term. `weight` is negative for anti-affinity that should hold and 1 for terms that must hold."""

    key: str
    selector: Selector
    namespaces: frozenset[str]
    namespace_selector: Selector
    weight: int = 1

    @classmethod
    def of(cls, owner: Pod, term: PodAffinityTerm, weight: int = 1) -> _Term:
        """Raises SelectorError."""
        own_namespace = not term.namespaces and term.namespaceSelector is None
        return cls(
            term.topologyKey,
            compile_selector(term.labelSelector),
            frozenset([_namespace_of(owner)] if own_namespace else term.namespaces or ()),
            compile_selector(term.namespaceSelector),
            weight,
        )

    def matches(self, pod: Pod, namespace_labels: Mapping[str, str]) -> bool:
        if _namespace_of(pod) not in self.namespaces and not self.namespace_selector.matches(namespace_labels):
            return False
        return self.selector.matches(labels_of(pod))


class _Terms(NamedTuple):
    """A pod's terms by what they do."""

    affinity: list[_Term]
    anti_affinity: list[_Term]
    preferred: list[_Term]


def _terms_of(pod: Pod, *, strict: bool) -> _Terms:
    """A pod's terms. Strict: raises SelectorError. Otherwise a list with an invalid term counts as empty, as for pods already running."""
    affinity = pod.spec.affinity if pod.spec else None
    near = affinity.podAffinity if affinity else None
    far = affinity.podAntiAffinity if affinity else None
    problems: list[str] = []

    def checked(terms: Sequence[PodAffinityTerm] | Sequence[WeightedPodAffinityTerm] | None, sign: int, what: str) -> list[_Term]:
        try:
            return [
                _Term.of(pod, term.podAffinityTerm, sign * term.weight)
                if isinstance(term, WeightedPodAffinityTerm)
                else _Term.of(pod, term)
                for term in terms or ()
            ]
        except SelectorError as problem:
            problems.append(f"{what}: {problem}")
            return []

    terms = _Terms(
        checked(near.requiredDuringSchedulingIgnoredDuringExecution if near else None, 1, "requiredAffinityTerms"),
        checked(far.requiredDuringSchedulingIgnoredDuringExecution if far else None, 1, "requiredAntiAffinityTerms"),
        checked(near.preferredDuringSchedulingIgnoredDuringExecution if near else None, 1, "preferredAffinityTerms")
        + checked(far.preferredDuringSchedulingIgnoredDuringExecution if far else None, -1, "preferredAntiAffinityTerms"),
    )
    if strict and problems:
        raise SelectorError(*problems)
    return terms


def _add(counts: _Counts, node: NodeInfo, term: _Term, amount: int) -> None:
    value = node.labels.get(term.key)
    if value is None:
        return
    counts[term.key, value] = counts.get((term.key, value), 0) + amount
    if counts[term.key, value] == 0:
        del counts[term.key, value]  # whether anything is counted at all decides for the first of a group


class InterPodAffinity(Plugin):
    name: ClassVar[str] = "InterPodAffinity"

    def __init__(self, snapshot: Snapshot, pod: Pod, profile: EngineProfile) -> None:
        super().__init__(snapshot, pod, profile)
        namespace = self.cluster.namespaces.get(self.namespace)
        self._namespace_labels = labels_of(namespace) if namespace is not None else {}
        self._terms = _Terms([], [], [])
        self._compiled = False
        self._near_counts: _Counts = {}  # pods that match all affinity terms at once
        self._far_counts: _Counts = {}  # pods that match an anti-affinity term
        self._refusing_counts: _Counts = {}  # anti-affinity terms of running pods that match this one
        self._scores: _Counts = {}

    def _resolved(self, terms: Iterable[_Term]) -> list[_Term]:
        """Terms of the new pod with namespace selectors replaced by the names of existing namespaces; `{}` stays, as it means all."""
        resolved = []
        for term in terms:
            if not term.namespace_selector.is_empty:
                names = {name for name, item in self.cluster.namespaces.items() if term.namespace_selector.matches(labels_of(item))}
                term = term._replace(namespaces=term.namespaces | names, namespace_selector=NOTHING)
            resolved.append(term)
        return resolved

    def _compile(self) -> None:
        """Raises SelectorError."""
        if self._compiled:
            return
        terms = _terms_of(self.pod, strict=True)
        self._compiled = True
        self._terms = _Terms(self._resolved(terms.affinity), self._resolved(terms.anti_affinity), self._resolved(terms.preferred))

    def _matches_all_affinity(self, pod: Pod) -> bool:
        return bool(self._terms.affinity) and all(term.matches(pod, {}) for term in self._terms.affinity)

    # Filter

    def pre_filter(self) -> tuple[Status, frozenset[str] | None]:
        try:
            self._compile()
        except SelectorError as problem:
            return unresolvable(f"parsing pod: {problem}"), None
        for node in self.snapshot.nodes:
            for other in node.pods:
                self._count(other, node, 1)
        concerned = self._terms.affinity or self._terms.anti_affinity or self._refusing_counts
        return (SUCCESS if concerned else SKIP), None

    def _count(self, other: Pod, node: NodeInfo, amount: int) -> None:
        for term in _terms_of(other, strict=False).anti_affinity:
            if term.matches(self.pod, self._namespace_labels):
                _add(self._refusing_counts, node, term, amount)
        if self._matches_all_affinity(other):
            for term in self._terms.affinity:
                _add(self._near_counts, node, term, amount)
        for term in self._terms.anti_affinity:
            if term.matches(other, {}):
                _add(self._far_counts, node, term, amount)

    def add_pod(self, other: PodInfo, node: NodeInfo) -> None:
        self._count(other.pod, node, 1)

    def remove_pod(self, other: PodInfo, node: NodeInfo) -> None:
        self._count(other.pod, node, -1)

    def clone(self) -> Self:
        made = copy.copy(self)
        made._near_counts = dict(self._near_counts)
        made._far_counts = dict(self._far_counts)
        made._refusing_counts = dict(self._refusing_counts)
        return made

    def filter(self, node: NodeInfo) -> Status:
        if not self._is_near(node):
            return unresolvable("node(s) didn't match pod affinity rules")
        if any(
            self._far_counts.get((term.key, node.labels[term.key]), 0) > 0 for term in self._terms.anti_affinity if term.key in node.labels
        ):
            return unschedulable("node(s) didn't match pod anti-affinity rules")
        if any(self._refusing_counts.get(pair, 0) > 0 for pair in node.labels.items()):
            return unschedulable("node(s) didn't satisfy existing pods anti-affinity rules")
        return SUCCESS

    def _is_near(self, node: NodeInfo) -> bool:
        if not all(term.key in node.labels for term in self._terms.affinity):
            return False
        if all(self._near_counts.get((term.key, node.labels[term.key]), 0) > 0 for term in self._terms.affinity):
            return True
        # the first of a group of pods that want to be together may go anywhere
        return not self._near_counts and self._matches_all_affinity(self.pod)

    # Score

    def pre_score(self, nodes: Sequence[NodeInfo]) -> Status:
        args = self.profile.inter_pod
        affinity = self.spec.affinity
        near = affinity.podAffinity if affinity else None
        far = affinity.podAntiAffinity if affinity else None
        prefers = any(kind is not None and kind.preferredDuringSchedulingIgnoredDuringExecution for kind in (near, far))
        if args.ignore_preferred_of_existing and not prefers:
            return SKIP
        try:
            self._compile()
        except SelectorError as problem:  # reached only where PreFilter did not say it
            return failed(f"failed to parse pod: {problem}")
        for node in self.snapshot.nodes:
            for other in node.pods:
                for term in self._terms.preferred:
                    if term.matches(other, {}):
                        _add(self._scores, node, term, term.weight)
                theirs = _terms_of(other, strict=False)
                for term in theirs.affinity:
                    if args.hard_weight > 0 and term.matches(self.pod, self._namespace_labels):
                        _add(self._scores, node, term, args.hard_weight)
                for term in theirs.preferred:
                    if term.matches(self.pod, self._namespace_labels):
                        _add(self._scores, node, term, term.weight)
        return SUCCESS if self._scores else SKIP

    def score(self, node: NodeInfo) -> int:
        return sum(self._scores.get(pair, 0) for pair in node.labels.items())

    def normalize(self, scores: Mapping[str, int]) -> dict[str, int]:
        lowest, highest = min(scores.values()), max(scores.values())
        if highest == lowest:
            return dict.fromkeys(scores, 0)
        span = float(highest - lowest)
        return {name: int(float(SCORE_MAX) * (float(score - lowest) / span)) for name, score in scores.items()}
