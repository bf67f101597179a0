"""NodeResourcesFit: does the pod fit beside the others, and how much stays free.

Every shortage of a node is named. One that an empty node would have as well makes the refusal unresolvable. A profile may have extended
resources ignored, because an extender looks after them, and says which resources count in scoring and by which strategy.

Source: pkg/scheduler/framework/plugins/noderesources/{fit,resource_allocation,least_allocated,most_allocated}.go,
requested_to_capacity_ratio.go; spec/scheduling.md 8.6.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import ClassVar

from lightkube.models.core_v1 import Pod

from volsched.api.quantity import Quantity
from volsched.engine.profile import EngineProfile, shape_score
from volsched.engine.reference.framework import SCORE_MAX, SUCCESS, NodeInfo, Plugin, Snapshot, Status, unresolvable, unschedulable
from volsched.rules.numbers import quotient, round_half_away, wrap64
from volsched.rules.resources import (
    CPU,
    DEFAULT_REQUESTS,
    EPHEMERAL_STORAGE,
    MEMORY,
    Resources,
    incoming_requests,
    is_extended_resource,
    is_scalar_resource,
    pod_requests,
)


def least_allocated(requested: int, capacity: int) -> int:
    """Share of the capacity that would stay free, in percent."""
    if requested > capacity:
        return 0
    return quotient(wrap64((capacity - requested) * SCORE_MAX), capacity)


def most_allocated(requested: int, capacity: int) -> int:
    """Share of the capacity that would be used, in percent."""
    return quotient(wrap64(min(requested, capacity) * SCORE_MAX), capacity)


def amount_of(requests: Mapping[str, Quantity], name: str) -> int:
    """What is asked for of a resource: thousandths of cpu, the value of anything else."""
    quantity = requests.get(name)
    if quantity is None:
        return 0
    return quantity.milli_value() if name == CPU else quantity.value()


def counted_columns(wanted: Iterable[tuple[str, int]], node: NodeInfo, processor: Resources) -> Iterator[tuple[int, int, int]]:
    """(used, offered, asked for) of the resources that count on a node: those it offers, extended ones only if they are asked for.

    `processor` is where cpu and memory in use are read from; the scoring strategies count pods that name none of them as using a little.
    """
    for name, amount in wanted:
        if amount == 0 and is_scalar_resource(name):
            continue
        if name == CPU:
            used, offered = processor.milli_cpu, node.allocatable.milli_cpu
        elif name == MEMORY:
            used, offered = processor.memory, node.allocatable.memory
        elif name == EPHEMERAL_STORAGE:
            used, offered = node.requested.ephemeral_storage, node.allocatable.ephemeral_storage
        else:
            used, offered = node.requested.scalars.get(name, 0), node.allocatable.scalars.get(name, 0)
        if offered != 0:
            yield used, offered, amount


class NodeResourcesFit(Plugin):
    name: ClassVar[str] = "NodeResourcesFit"

    def __init__(self, snapshot: Snapshot, pod: Pod, profile: EngineProfile) -> None:
        super().__init__(snapshot, pod, profile)
        self._request = incoming_requests(pod)
        requests = pod_requests(pod, pod_level=False, container_defaults=DEFAULT_REQUESTS)
        self._wanted = [(item, amount_of(requests, item.name)) for item in profile.fit.resources]

    def _is_ignored(self, name: str) -> bool:
        args = self.profile.fit
        return is_extended_resource(name) and (name in args.ignored_resources or name.partition("/")[0] in args.ignored_groups)

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
        for name in sorted(name for name in request.scalars if not self._is_ignored(name)):
            rows.append((name, request.scalars[name], offered.scalars.get(name, 0), used.scalars.get(name, 0)))
        for name, asked, whole, taken in rows:
            if asked > 0 and asked > wrap64(whole - taken):
                reasons.append(f"Insufficient {name}")
                resolvable = resolvable and asked <= whole
        if not reasons:
            return SUCCESS
        return unschedulable(*reasons) if resolvable else unresolvable(*reasons)

    def score(self, node: NodeInfo) -> int:
        args, total, weights = self.profile.fit, 0, 0
        for item, amount in self._wanted:
            for used, capacity, asked in counted_columns([(item.name, amount)], node, node.scoring_requested):
                requested = wrap64(used + asked)
                if args.strategy == "LeastAllocated":
                    score = least_allocated(requested, capacity)
                elif args.strategy == "MostAllocated":
                    score = most_allocated(requested, capacity)
                else:
                    full = requested > capacity
                    score = shape_score(args.shape, 100 if full else quotient(wrap64(requested * 100), capacity))
                    if score <= 0:
                        continue  # a resource that scores nothing does not pull the mean down
                total = wrap64(total + score * item.weight)
                weights += item.weight
        if weights == 0:
            return 0
        if args.strategy == "RequestedToCapacityRatio":
            return round_half_away(float(total) / float(weights))
        return quotient(total, weights)
