"""TaintToleration: keep pods off nodes whose taints they do not tolerate; prefer nodes with few taints they would rather avoid.

Source: pkg/scheduler/framework/plugins/tainttoleration, api/core/v1/toleration.go; spec/scheduling.md 8.3.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import ClassVar

from lightkube.models.core_v1 import Node, Taint, Toleration

from volsched.engine.reference.framework import SUCCESS, NodeInfo, Plugin, Status, default_normalize, unresolvable

HARD_EFFECTS = ("NoSchedule", "NoExecute")
SOFT_EFFECT = "PreferNoSchedule"


def tolerates(toleration: Toleration, taint: Taint) -> bool:
    """Whether one toleration covers one taint. An empty key with Equal still compares values; Lt and Gt never match."""
    if toleration.effect and toleration.effect != taint.effect:
        return False
    if toleration.key and toleration.key != taint.key:
        return False
    if toleration.operator in (None, "", "Equal"):
        return (toleration.value or "") == (taint.value or "")
    return toleration.operator == "Exists"


def taints_of(node: Node) -> list[Taint]:
    return (node.spec.taints if node.spec else None) or []


def has_untolerated_taint(node: Node, tolerations: Iterable[Toleration]) -> bool:
    """Whether a taint that keeps pods off is covered by none of the tolerations."""
    listed = list(tolerations)
    return any(taint.effect in HARD_EFFECTS and not any(tolerates(toleration, taint) for toleration in listed) for taint in taints_of(node))


class TaintToleration(Plugin):
    name: ClassVar[str] = "TaintToleration"

    def filter(self, node: NodeInfo) -> Status:
        if has_untolerated_taint(node.node, self.spec.tolerations or ()):
            return unresolvable("node(s) had untolerated taint(s)")
        return SUCCESS

    def score(self, node: NodeInfo) -> int:
        soft = [toleration for toleration in self.spec.tolerations or () if toleration.effect in (None, "", SOFT_EFFECT)]
        return sum(
            taint.effect == SOFT_EFFECT and not any(tolerates(toleration, taint) for toleration in soft) for taint in taints_of(node.node)
        )

    def normalize(self, scores: Mapping[str, int]) -> dict[str, int]:
        return default_normalize(scores, reverse=True)
