"""NodeResourcesFit: a node must have room for what the pod requests.

A pod wakes when a pod leaves a node or shrinks in a resource it wants, when it shrinks itself, and when a node appears or grows that would
hold it if empty.

Source: pkg/scheduler/framework/plugins/noderesources/fit.go; spec/scheduling.md 8.6, 10.4.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lightkube.models.core_v1 import Node, Pod

from volsched.rules.resources import Resources, incoming_requests, node_allocatable, placed_requests
from volsched.scheduler.events import ASSIGNED_POD, ASSIGNED_POD_DELETE, NODE, TARGET_POD, Action, ClusterEvent
from volsched.scheduler.framework import Wake
from volsched.scheduler.plugins.node_ports import occupies_a_node


def _wanted(requests: Resources) -> dict[str, int]:
    """What a pod asks for, zero amounts left out; keys are only compared within this module."""
    amounts = {"cpu": requests.milli_cpu, "memory": requests.memory, "ephemeral-storage": requests.ephemeral_storage, **requests.scalars}
    return {name: amount for name, amount in amounts.items() if amount > 0}


def _offered(resources: Resources, name: str) -> int:
    if name == "cpu":
        return resources.milli_cpu
    if name == "memory":
        return resources.memory
    if name == "ephemeral-storage":
        return resources.ephemeral_storage
    return resources.scalars.get(name, 0)


def fits_empty(pod: Pod, node: Node) -> bool:
    """Whether the pod would fit the node if nothing else ran there."""
    allocatable = node_allocatable(node)
    if allocatable.pods < 1:
        return False
    return all(amount <= _offered(allocatable, name) for name, amount in _wanted(incoming_requests(pod)).items())


def _pod_left(pod: Pod, old: Any | None, new: Any | None) -> bool:
    return old is not None and occupies_a_node(old)


def _pod_shrank(pod: Pod, old: Any | None, new: Any | None) -> bool:
    if old is None or new is None or not new.spec or not new.spec.nodeName:
        return False
    before, after = placed_requests(old), placed_requests(new)
    return any(_offered(before, name) > _offered(after, name) for name in _wanted(placed_requests(pod)))


def _node_changed(pod: Pod, old: Any | None, new: Any | None) -> bool:
    if new is None or not fits_empty(pod, new):
        return False
    if old is None:
        return True
    before, after = node_allocatable(old), node_allocatable(new)
    if after.pods > before.pods:
        return True
    return any(_offered(after, name) > _offered(before, name) for name in _wanted(incoming_requests(pod)))


class NodeResourcesFit:
    """Wake-up hints."""

    name = "NodeResourcesFit"

    def wakes_on(self) -> Sequence[Wake]:
        return (
            Wake(ASSIGNED_POD_DELETE, _pod_left),
            Wake(ClusterEvent(NODE, Action.ADD | Action.UPDATE_NODE_ALLOCATABLE), _node_changed),
            Wake(ClusterEvent(ASSIGNED_POD, Action.UPDATE_POD_SCALE_DOWN), _pod_shrank),
            Wake(ClusterEvent(TARGET_POD, Action.UPDATE_POD_SCALE_DOWN)),
        )
