"""InterPodAffinity: near some pods, far from others.

A refused pod wakes when a placed pod appears or is relabelled so that it attracts, leaves or is relabelled so that it no longer repels (in
either direction), when a node gets or changes a topology key of its terms, and when it is relabelled itself.

Source: pkg/scheduler/framework/plugins/interpodaffinity/plugin.go; spec/scheduling.md 8.9, 10.4.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from lightkube.models.core_v1 import Pod, PodAffinityTerm

from volsched.api.edit import labels_of
from volsched.api.kinds import meta
from volsched.rules.selectors import Selector, compile_selector
from volsched.scheduler.events import ASSIGNED_POD, NODE, TARGET_POD, Action, ClusterEvent
from volsched.scheduler.framework import Wake
from volsched.scheduler.plugins.node_ports import occupies_a_node


class _Term(NamedTuple):
    key: str
    selector: Selector
    namespaces: frozenset[str]
    namespace_selector: Selector

    @classmethod
    def of(cls, owner: Pod, term: PodAffinityTerm) -> _Term:
        """Raises SelectorError."""
        own = not term.namespaces and term.namespaceSelector is None
        return cls(
            term.topologyKey,
            compile_selector(term.labelSelector),
            frozenset([meta(owner).namespace or "default"] if own else term.namespaces or ()),
            compile_selector(term.namespaceSelector),
        )

    def matches(self, pod: Pod) -> bool:
        """Namespace labels are not known to hints; upstream asks with none."""
        if (meta(pod).namespace or "default") not in self.namespaces and not self.namespace_selector.matches({}):
            return False
        return self.selector.matches(labels_of(pod))


def _affinity_terms(pod: Pod) -> list[_Term]:
    affinity = pod.spec.affinity.podAffinity if pod.spec and pod.spec.affinity else None
    required = affinity.requiredDuringSchedulingIgnoredDuringExecution if affinity else None
    return [_Term.of(pod, term) for term in required or ()]


def _anti_affinity_terms(pod: Pod) -> list[_Term]:
    affinity = pod.spec.affinity.podAntiAffinity if pod.spec and pod.spec.affinity else None
    required = affinity.requiredDuringSchedulingIgnoredDuringExecution if affinity else None
    return [_Term.of(pod, term) for term in required or ()]


def _matches_all(terms: Sequence[_Term], pod: Pod) -> bool:
    return bool(terms) and all(term.matches(pod) for term in terms)


def _matches_any(terms: Sequence[_Term], pod: Pod) -> bool:
    return any(term.matches(pod) for term in terms)


def _placed_pod_changed(pod: Pod, old: Any | None, new: Any | None) -> bool:
    if any(other is not None and not occupies_a_node(other) for other in (old, new)):
        return False
    near, far = _affinity_terms(pod), _anti_affinity_terms(pod)
    if old is not None and new is not None:
        attracts = not _matches_all(near, old) and _matches_all(near, new)
        return attracts or (_matches_any(far, old) and not _matches_any(far, new))
    if new is not None:
        return _matches_all(near, new)
    return old is not None and (_matches_any(far, old) or _matches_any(_anti_affinity_terms(old), pod))


def _node_changed(pod: Pod, old: Any | None, new: Any | None) -> bool:
    if new is None:
        return False
    after = labels_of(new)
    if old is None:
        return bool(_anti_affinity_terms(pod)) or any(term.key in after for term in _affinity_terms(pod))
    before = labels_of(old)
    for term in _affinity_terms(pod):
        if term.key in after and before.get(term.key) != after[term.key]:
            return True
    # for anti-affinity a key that goes away helps as much as one that changes
    return any(term.key in before and before[term.key] != after.get(term.key) for term in _anti_affinity_terms(pod))


class InterPodAffinity:
    """Wake-up hints."""

    name = "InterPodAffinity"

    def wakes_on(self) -> Sequence[Wake]:
        return (
            Wake(ClusterEvent(ASSIGNED_POD, Action.ADD | Action.UPDATE_POD_LABEL | Action.DELETE), _placed_pod_changed),
            Wake(ClusterEvent(TARGET_POD, Action.UPDATE_POD_LABEL)),
            Wake(ClusterEvent(NODE, Action.ADD | Action.UPDATE_NODE_LABEL), _node_changed),
        )
