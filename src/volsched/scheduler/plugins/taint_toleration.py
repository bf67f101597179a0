"""TaintToleration: nodes with a NoSchedule or NoExecute taint that the pod does not tolerate are refused.

A pod wakes when a node appears, or changes, from untolerated to tolerated, and when it gets another toleration itself.

Source: pkg/scheduler/framework/plugins/tainttoleration/taint_toleration.go, component-helpers/scheduling/corev1/helpers.go;
spec/scheduling.md 8.3.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from lightkube.models.core_v1 import Node, Pod, Taint, Toleration

from volsched.scheduler.events import NODE, TARGET_POD, Action, ClusterEvent
from volsched.scheduler.framework import Wake


def tolerates(toleration: Toleration, taint: Taint) -> bool:
    """Whether a toleration covers a taint. An empty key covers every key, an empty effect every effect."""
    if toleration.effect and toleration.effect != taint.effect:
        return False
    if toleration.key and toleration.key != taint.key:
        return False
    if toleration.operator in (None, "", "Equal"):
        return (toleration.value or "") == (taint.value or "")
    return toleration.operator == "Exists"


def tolerations_of(pod: Pod) -> Sequence[Toleration]:
    return (pod.spec.tolerations if pod.spec else None) or ()


def untolerated(taints: Iterable[Taint], tolerations: Sequence[Toleration]) -> Taint | None:
    """The first taint that keeps the pod away."""
    for taint in taints:
        if taint.effect in ("NoSchedule", "NoExecute") and not any(tolerates(item, taint) for item in tolerations):
            return taint
    return None


def _keeps_away(node: Node, pod: Pod) -> bool:
    return untolerated((node.spec.taints if node.spec else None) or (), tolerations_of(pod)) is not None


def _node_changed(pod: Pod, old: Any | None, new: Any | None) -> bool:
    return (old is None or _keeps_away(old, pod)) and new is not None and not _keeps_away(new, pod)


class TaintToleration:
    """Wake-up hints."""

    name = "TaintToleration"

    def wakes_on(self) -> Sequence[Wake]:
        return (
            Wake(ClusterEvent(NODE, Action.ADD | Action.UPDATE_NODE_TAINT), _node_changed),
            Wake(ClusterEvent(TARGET_POD, Action.UPDATE_POD_TOLERATION)),
        )
