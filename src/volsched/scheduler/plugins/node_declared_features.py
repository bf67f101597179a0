"""NodeDeclaredFeatures: pods that need a kubelet feature go to nodes that declare it.

A pod wakes when a node appears or declares other features, and when it is changed so that it needs others.

Source: pkg/scheduler/framework/plugins/nodedeclaredfeatures; spec/scheduling.md 1.1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lightkube.models.core_v1 import Node, Pod

from volsched.scheduler.events import NODE, TARGET_POD, UPDATE, Action, ClusterEvent
from volsched.scheduler.framework import Wake


def needed_features(pod: Pod) -> frozenset[str]:
    """Kubelet features that the pod's spec implies."""
    spec = pod.spec
    if spec is None:
        return frozenset()
    containers = [*spec.containers, *(spec.initContainers or ())]
    needed: set[str] = set()
    if any(rule.action == "RestartAllContainers" for container in containers for rule in container.restartPolicyRules or ()):
        needed.add("RestartAllContainersOnContainerExits")
    if spec.hostNetwork and spec.hostUsers is False:
        needed.add("UserNamespacesHostNetworkSupport")
    if any(mount.bindMountOptions for container in containers for mount in container.volumeMounts or ()):
        needed.add("VolumeBindMountOptions")
    return frozenset(needed)


def _declared(node: Node) -> list[str]:
    return (node.status.declaredFeatures if node.status else None) or []


def _node_changed(pod: Pod, old: Any | None, new: Any | None) -> bool:
    return old is None or new is None or _declared(old) != _declared(new)


def _pod_changed(pod: Pod, old: Any | None, new: Any | None) -> bool:
    return old is None or new is None or needed_features(old) != needed_features(new)


class NodeDeclaredFeatures:
    """Wake-up hints."""

    name = "NodeDeclaredFeatures"

    def wakes_on(self) -> Sequence[Wake]:
        return (
            Wake(ClusterEvent(NODE, Action.ADD | Action.UPDATE_NODE_DECLARED_FEATURE), _node_changed),
            Wake(ClusterEvent(TARGET_POD, UPDATE), _pod_changed),
        )
