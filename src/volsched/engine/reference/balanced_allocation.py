"""NodeResourcesBalancedAllocation: prefer nodes whose cpu and memory stay used in like proportions.

The score is half the change that the pod makes to the node's balance, around 75 for a pod that changes nothing.
Source: pkg/scheduler/framework/plugins/noderesources/balanced_allocation.go; spec/scheduling.md 8.7.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from lightkube.models.core_v1 import Pod

from volsched.engine.reference.framework import SKIP, SUCCESS, NodeInfo, Plugin, Snapshot, Status
from volsched.rules.numbers import quotient, wrap64
from volsched.rules.resources import incoming_balance_requests


def balance(columns: Sequence[tuple[int, int]]) -> int:
    """0..100 from (used, offered) of each resource: 100 when all are used in the same proportion."""
    fractions = [min(1.0, float(used) / float(offered)) for used, offered in columns if offered != 0]
    deviation = abs(fractions[0] - fractions[1]) / 2 if len(fractions) == 2 else 0.0
    return int((1 - deviation) * 100.0)


class NodeResourcesBalancedAllocation(Plugin):
    name: ClassVar[str] = "NodeResourcesBalancedAllocation"
    weight: ClassVar[int] = 1

    def __init__(self, snapshot: Snapshot, pod: Pod) -> None:
        super().__init__(snapshot, pod)
        self._request = incoming_balance_requests(pod)

    def pre_score(self, nodes: Sequence[NodeInfo]) -> Status:
        return SUCCESS if self._request.milli_cpu or self._request.memory else SKIP

    def score(self, node: NodeInfo) -> int:
        offered, used = node.allocatable, node.requested
        before = balance([(used.milli_cpu, offered.milli_cpu), (used.memory, offered.memory)])
        after = balance(
            [
                (wrap64(used.milli_cpu + self._request.milli_cpu), offered.milli_cpu),
                (wrap64(used.memory + self._request.memory), offered.memory),
            ]
        )
        return 50 + quotient(50 + after - before, 2)
