"""NodeResourcesFit: does the pod fit beside the others, and how much stays free.

Every shortage of a node is named. One that an empty node would have as well makes the refusal unresolvable.
Source: pkg/scheduler/framework/plugins/noderesources/{fit,least_allocated}.go; spec/scheduling.md 8.6.
"""

from __future__ import annotations

from typing import ClassVar

from lightkube.models.core_v1 import Pod

from volsched.engine.reference.framework import SCORE_MAX, SUCCESS, NodeInfo, Plugin, Snapshot, Status, unresolvable, unschedulable
from volsched.rules.numbers import quotient, wrap64
from volsched.rules.resources import incoming_requests, incoming_scoring_requests


def least_allocated(requested: int, capacity: int) -> int:
    """Share of the capacity that would stay free, in percent."""
    if requested > capacity:
        return 0
    return quotient(wrap64((capacity - requested) * SCORE_MAX), capacity)


class NodeResourcesFit(Plugin):
    name: ClassVar[str] = "NodeResourcesFit"
    weight: ClassVar[int] = 1

    def __init__(self, snapshot: Snapshot, pod: Pod) -> None:
        super().__init__(snapshot, pod)
        self._request = incoming_requests(pod)
        self._scoring_request = incoming_scoring_requests(pod)

    def filter(self, node: NodeInfo) -> Status:
        request, offered, used = self._request, node.allocatable, node.requested
        reasons: list[str] = []
        resolvable = True
        if len(node.pods) + 1 > offered.pods:
            reasons.append("Too many pods")
        # The last three columns of a row: what is asked for, what the node offers, what pods on it use.
        rows = [
            ("cpu", request.milli_cpu, offered.milli_cpu, used.milli_cpu),
            ("memory", request.memory, offered.memory, used.memory),
            ("ephemeral-storage", request.ephemeral_storage, offered.ephemeral_storage, used.ephemeral_storage),
        ]
        for name in sorted(request.scalars):
            rows.append((name, request.scalars[name], offered.scalars.get(name, 0), used.scalars.get(name, 0)))
        for name, asked, whole, taken in rows:
            if asked > 0 and asked > wrap64(whole - taken):
                reasons.append(f"Insufficient {name}")
                resolvable = resolvable and asked <= whole
        if not reasons:
            return SUCCESS
        return unschedulable(*reasons) if resolvable else unresolvable(*reasons)

    def score(self, node: NodeInfo) -> int:
        columns = (
            (node.allocatable.milli_cpu, wrap64(node.scoring_requested.milli_cpu + self._scoring_request.milli_cpu)),
            (node.allocatable.memory, wrap64(node.scoring_requested.memory + self._scoring_request.memory)),
        )
        scores = [least_allocated(requested, capacity) for capacity, requested in columns if capacity != 0]
        return quotient(sum(scores), len(scores)) if scores else 0
