"""How important a pod is. Source: component-helpers/scheduling/corev1/helpers.go (PodPriority)."""

from __future__ import annotations

from lightkube.models.core_v1 import Pod


def priority_of(pod: Pod) -> int:
    """spec.priority, 0 when unset."""
    return (pod.spec.priority if pod.spec else None) or 0
