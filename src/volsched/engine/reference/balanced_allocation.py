"""NodeResourcesBalancedAllocation: prefer nodes whose resources, cpu and memory by default, stay used in like proportions.

The score is half the change that the pod makes to the node's balance, around 75 for a pod that changes nothing.
Source: pkg/scheduler/framework/plugins/noderesources/balanced_allocation.go; spec/scheduling.md 8.7.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

from lightkube.models.core_v1 import Pod

from volsched.engine.profile import EngineProfile
from volsched.engine.reference.framework import SKIP, SUCCESS, NodeInfo, Plugin, Snapshot, Status
from volsched.engine.reference.node_resources_fit import amount_of, counted_columns
from volsched.rules.numbers import int64_of, quotient, wrap64
from volsched.rules.resources import pod_requests


def balance(columns: Sequence[tuple[int, int]]) -> int:
    """0..100 from (used, offered) of each resource: 100 when all are used in the same proportion, else less by the standard deviation."""
    fractions = [min(1.0, float(used) / float(offered)) for used, offered in columns if offered != 0]
    deviation = 0.0
    if len(fractions) == 2:
        deviation = abs((fractions[0] - fractions[1]) / 2)
    elif len(fractions) > 2:
        total, squares = 0.0, 0.0
        for fraction in fractions:
            total += fraction
        mean = total / float(len(fractions))
        for fraction in fractions:
            squares = squares + (fraction - mean) * (fraction - mean)
        deviation = math.sqrt(squares / float(len(fractions)))
    return int64_of((1 - deviation) * 100.0)


class NodeResourcesBalancedAllocation(Plugin):
    name: ClassVar[str] = "NodeResourcesBalancedAllocation"

    def __init__(self, snapshot: Snapshot, pod: Pod, profile: EngineProfile) -> None:
        super().__init__(snapshot, pod, profile)
        requests = pod_requests(pod)
        self._wanted = [(name, amount_of(requests, name)) for name in profile.balanced]

    def pre_score(self, nodes: Sequence[NodeInfo]) -> Status:
        return SUCCESS if any(amount for _name, amount in self._wanted) else SKIP

    def prepare_score(self, nodes: Sequence[NodeInfo]) -> Status:
        return self.pre_score(nodes)

    def score(self, node: NodeInfo) -> int:
        columns = list(counted_columns(self._wanted, node, node.requested))
        before = balance([(used, offered) for used, offered, _amount in columns])
        after = balance([(wrap64(used + amount), offered) for used, offered, amount in columns])
        return 50 + quotient(wrap64(50 + after - before), 2)
