"""NodeUnschedulable: cordoned nodes are refused unless the pod tolerates the taint that goes with it.

Source: pkg/scheduler/framework/plugins/nodeunschedulable/node_unschedulable.go; spec/scheduling.md 8.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from lightkube.models.core_v1 import Node, Pod, Taint

from volsched.scheduler.events import NODE, TARGET_POD, Action, ClusterEvent
from volsched.scheduler.framework import Wake
from volsched.scheduler.plugins.taint_toleration import tolerates, tolerations_of

_CORDONED: Final = Taint(effect="NoSchedule", key="node.kubernetes.io/unschedulable")


def _unschedulable(node: Node) -> bool:
    return bool(node.spec and node.spec.unschedulable)


def _node_changed(pod: Pod, old: Any | None, new: Any | None) -> bool:
    return new is not None and not _unschedulable(new) and (old is None or _unschedulable(old))


def _tolerations_changed(pod: Pod, old: Any | None, new: Any | None) -> bool:
    return new is not None and any(tolerates(item, _CORDONED) for item in tolerations_of(new))


class NodeUnschedulable:
    """Wake-up hints."""

    name = "NodeUnschedulable"

    def wakes_on(self) -> Sequence[Wake]:
        return (
            Wake(ClusterEvent(NODE, Action.ADD | Action.UPDATE_NODE_TAINT), _node_changed),
            Wake(ClusterEvent(TARGET_POD, Action.UPDATE_POD_TOLERATION), _tolerations_changed),
        )
