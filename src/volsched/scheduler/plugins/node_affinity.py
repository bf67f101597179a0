"""NodeAffinity: nodeSelector, required node affinity, and the affinity that a profile adds to every pod.

A pod wakes when a node appears that it matches, or starts to be matched.

Source: pkg/scheduler/framework/plugins/nodeaffinity/node_affinity.go; spec/scheduling.md 8.4.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lightkube.models.core_v1 import NodeSelector, Pod

from volsched.api.edit import labels_of
from volsched.rules.topology import node_fields, node_matches_pod_affinity, node_selector_matches
from volsched.scheduler.events import NODE, Action, ClusterEvent
from volsched.scheduler.framework import Wake


class NodeAffinity:
    """Wake-up hints. `added`: the required part of the profile's addedAffinity."""

    name = "NodeAffinity"

    def __init__(self, added: NodeSelector | None = None) -> None:
        self._added = added

    def wakes_on(self) -> Sequence[Wake]:
        return (Wake(ClusterEvent(NODE, Action.ADD | Action.UPDATE_NODE_LABEL), self._node_changed),)

    def _node_changed(self, pod: Pod, old: Any | None, new: Any | None) -> bool:
        if new is None or not node_selector_matches(self._added, labels_of(new), fields=node_fields(new)):
            return False
        # an invalid term that could decide raises, which wakes the pod
        return node_matches_pod_affinity(pod, new, strict=True) and (old is None or not node_matches_pod_affinity(pod, old, strict=True))
