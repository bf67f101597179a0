"""What can wake a pod: cluster events, and how updates of nodes and pods are told apart.

An event is (resource, action). A plugin registers for events; a registration matches an incoming event when the resources agree and the
incoming action is one of the registered ones. A node or pod update is split into the properties that changed, so that a plugin that reads
labels is not asked about heartbeats.

Source: pkg/scheduler/framework/events.go, types.go (MatchClusterEvents); spec/scheduling.md 10.4.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from lightkube.models.core_v1 import Node, Pod

from volsched.api.edit import annotations_of, labels_of
from volsched.rules.resources import pod_requests, quantities


class Action(enum.IntFlag):
    """What happened. Sub-updates of one resource are flags of their own; `UPDATE` is all of them."""

    ADD = enum.auto()
    DELETE = enum.auto()
    UPDATE_NODE_ALLOCATABLE = enum.auto()
    UPDATE_NODE_LABEL = enum.auto()
    UPDATE_NODE_TAINT = enum.auto()
    UPDATE_NODE_CONDITION = enum.auto()
    UPDATE_NODE_ANNOTATION = enum.auto()
    UPDATE_NODE_DECLARED_FEATURE = enum.auto()
    UPDATE_POD_LABEL = enum.auto()
    UPDATE_POD_SCALE_DOWN = enum.auto()
    UPDATE_POD_SCALE_UP = enum.auto()
    UPDATE_POD_TOLERATION = enum.auto()
    UPDATE_POD_GATES_ELIMINATED = enum.auto()
    UPDATE_POD_GENERATED_CLAIM = enum.auto()


UPDATE: Final = Action(sum(action for action in Action if action.name and action.name.startswith("UPDATE")))
ALL: Final = Action.ADD | Action.DELETE | UPDATE

# Logical pod resources: a pod on a node, the pending pod that is asked about, another pending pod.
ASSIGNED_POD: Final = "AssignedPod"
TARGET_POD: Final = "TargetPod"
UNSCHEDULED_POD: Final = "UnscheduledPod"
POD: Final = "Pod"  # registers for all three
NODE: Final = "Node"
WILDCARD: Final = "*"

# Other kinds whose events are passed on as they are, under their own name.
OBJECT_RESOURCES: Final = frozenset(
    {"CSIDriver", "CSINode", "CSIStorageCapacity", "PersistentVolume", "PersistentVolumeClaim", "StorageClass", "VolumeAttachment"}
)


class ClusterEvent(NamedTuple):
    """One kind of change. As registered, `action` may join several."""

    resource: str
    action: Action
    label: str = ""

    @property
    def is_wildcard(self) -> bool:
        return self.resource == WILDCARD and self.action == ALL

    def matches(self, incoming: ClusterEvent) -> bool:
        """Whether a registration for this event covers an incoming one, which may be as specific but not more general."""
        if self.is_wildcard:
            return True
        same = self.resource in (WILDCARD, incoming.resource) or (
            self.resource == POD and incoming.resource in (ASSIGNED_POD, TARGET_POD, UNSCHEDULED_POD)
        )
        return same and bool(self.action & incoming.action) and incoming.action <= self.action


ASSIGNED_POD_ADD: Final = ClusterEvent(ASSIGNED_POD, Action.ADD)
ASSIGNED_POD_DELETE: Final = ClusterEvent(ASSIGNED_POD, Action.DELETE)
NODE_ADD: Final = ClusterEvent(NODE, Action.ADD)
NODE_DELETE: Final = ClusterEvent(NODE, Action.DELETE)
UNSCHEDULABLE_TIMEOUT: Final = ClusterEvent(WILDCARD, ALL, "UnschedulableTimeout")
CAPACITY_FREED: Final = ClusterEvent("CSIStorageCapacity", UPDATE, "CapacityFreed")  # not Kubernetes': see `Scheduler(exact_capacity=True)`
FORCE_ACTIVATE: Final = ClusterEvent(WILDCARD, ALL, "ForceActivate")


# Nodes --------------------------------------------------------------------------------------------------------------------------------


def _allocatable(node: Node) -> Mapping[str, Any]:
    return quantities(node.status.allocatable if node.status else None)


def _conditions(node: Node) -> Mapping[str, str]:
    return {item.type: item.status for item in (node.status.conditions if node.status else None) or ()}


def _declared_features(node: Node) -> list[str]:
    return list((node.status.declaredFeatures if node.status else None) or ())


def _became_schedulable(new: Node, old: Node) -> bool:
    return bool(old.spec and old.spec.unschedulable) and not (new.spec and new.spec.unschedulable)


def _taints(node: Node) -> list[Any]:
    return (node.spec.taints if node.spec else None) or []


# fmt: off
_NODE_CHANGES: Final[tuple[tuple[Action, Callable[[Node, Node], bool]], ...]] = (
    (Action.UPDATE_NODE_TAINT,            _became_schedulable),
    (Action.UPDATE_NODE_ALLOCATABLE,      lambda new, old: _allocatable(new) != _allocatable(old)),
    (Action.UPDATE_NODE_LABEL,            lambda new, old: labels_of(new) != labels_of(old)),
    (Action.UPDATE_NODE_TAINT,            lambda new, old: _taints(new) != _taints(old)),
    (Action.UPDATE_NODE_CONDITION,        lambda new, old: _conditions(new) != _conditions(old)),
    (Action.UPDATE_NODE_ANNOTATION,       lambda new, old: annotations_of(new) != annotations_of(old)),
    (Action.UPDATE_NODE_DECLARED_FEATURE, lambda new, old: _declared_features(new) != _declared_features(old)),
)
# fmt: on


def node_changes(new: Node, old: Node) -> list[ClusterEvent]:
    """The sub-events of a node update, in upstream's order; none when nothing that scheduling reads has changed."""
    return [ClusterEvent(NODE, action) for action, changed in _NODE_CHANGES if changed(new, old)]


# Pods ---------------------------------------------------------------------------------------------------------------------------------


def _scaled_down(new: Pod, old: Pod) -> bool:
    before, after = pod_requests(old, use_status=True), pod_requests(new, use_status=True)
    return any(name not in after or amount.milli_value() > after[name].milli_value() for name, amount in before.items())


def _scaled_up(new: Pod, old: Pod) -> bool:
    return _scaled_down(old, new)


def _gates(pod: Pod) -> list[Any]:
    return (pod.spec.schedulingGates if pod.spec else None) or []


def _tolerations(pod: Pod) -> list[Any]:
    return (pod.spec.tolerations if pod.spec else None) or []


def _generated_claims(pod: Pod) -> Any:
    status = pod.status
    if status is None:
        return ([], None)
    return (status.resourceClaimStatuses or [], status.extendedResourceClaimStatus)


# fmt: off
_POD_CHANGES: Final[tuple[tuple[Action, Callable[[Pod, Pod], bool]], ...]] = (
    (Action.UPDATE_POD_LABEL,            lambda new, old: labels_of(new) != labels_of(old)),
    (Action.UPDATE_POD_SCALE_DOWN,       _scaled_down),
    (Action.UPDATE_POD_SCALE_UP,         _scaled_up),
    (Action.UPDATE_POD_GATES_ELIMINATED, lambda new, old: not _gates(new) and bool(_gates(old))),
    (Action.UPDATE_POD_TOLERATION,       lambda new, old: len(_tolerations(new)) != len(_tolerations(old))),
    (Action.UPDATE_POD_GENERATED_CLAIM,  lambda new, old: _generated_claims(new) != _generated_claims(old)),
)
# fmt: on


def pod_changes(new: Pod, old: Pod, *, target: bool) -> list[ClusterEvent]:
    """The sub-events of a pod update, or one general update. `target`: the pod is the one whose own place in the queue is in question."""
    if new.spec and new.spec.nodeName:
        resource = ASSIGNED_POD
    else:
        resource = TARGET_POD if target else UNSCHEDULED_POD
    found = [ClusterEvent(resource, action) for action, changed in _POD_CHANGES if changed(new, old)]
    return found or [ClusterEvent(resource, UPDATE)]
