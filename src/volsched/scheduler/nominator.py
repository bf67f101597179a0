"""Which pending pods have been promised which node.

A pod that preempts others is not bound at once: it has to wait until its victims are gone. Until then its node is remembered here, and
pods of lower or equal priority are tried as if it already ran there. The promise may be newer than what the API server shows.

Source: pkg/scheduler/backend/queue/nominator.go; spec/scheduling.md 9.4.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from lightkube.models.core_v1 import Pod

from volsched.api.kinds import meta
from volsched.cache.scheduler_cache import node_of, pod_id
from volsched.scheduler.framework import Nominating
from volsched.scheduler.priority import priority_of


def nominated_node(pod: Pod) -> str:
    """status.nominatedNodeName, empty when unset."""
    return (pod.status.nominatedNodeName if pod.status else None) or ""


class Nominator:
    """`lister(namespace, name)` answers the pod as the informer has it: pods that are gone or bound are not nominated."""

    def __init__(self, lister: Callable[[str, str], Pod | None]) -> None:
        self._lister = lister
        self._on_node: dict[str, dict[str, Pod]] = {}
        self._node: dict[str, str] = {}

    def add(self, pod: Pod, nominating: Nominating | None = None) -> None:
        """Remember a pod's node: the one just decided, or without a decision the one in its status. "" forgets it."""
        self.delete(pod)
        node = nominated_node(pod) if nominating is None else nominating.node
        if not node:
            return
        metadata = meta(pod)
        known = self._lister(metadata.namespace or "default", metadata.name or "")
        if known is None or node_of(known):
            return
        self._node[pod_id(pod)] = node
        self._on_node.setdefault(node, {})[pod_id(pod)] = pod

    def update(self, old: Pod, new: Pod) -> None:
        """The pod changed. An update that says nothing of a node, before or after, leaves a promise made in memory standing."""
        kept = None
        if not nominated_node(old) and not nominated_node(new) and pod_id(old) in self._node:
            kept = Nominating(self._node[pod_id(old)])
        self.delete(old)
        self.add(new, kept)

    def delete(self, pod: Pod) -> None:
        node = self._node.pop(pod_id(pod), None)
        if node is None:
            return
        del self._on_node[node][pod_id(pod)]
        if not self._on_node[node]:
            del self._on_node[node]

    def on_node(self, node: str) -> list[Pod]:
        """Pods promised this node, in order of promise."""
        return list(self._on_node.get(node, {}).values())

    def beside(self, pod: Pod) -> Mapping[str, Sequence[Pod]]:
        """By node, the promised pods that count there when `pod` is tried: others that are at least as important."""
        if not self._on_node:
            return {}
        priority, uid = priority_of(pod), pod_id(pod)
        counted = {
            node: [other for key, other in pods.items() if key != uid and priority_of(other) >= priority]
            for node, pods in self._on_node.items()
        }
        return {node: pods for node, pods in counted.items() if pods}

    def nodes(self) -> list[str]:
        """Nodes that are promised to somebody, sorted."""
        return sorted(self._on_node)
