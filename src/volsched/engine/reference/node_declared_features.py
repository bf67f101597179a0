"""NodeDeclaredFeatures: a pod that needs a kubelet feature goes to nodes whose kubelet declares it.

Source: pkg/scheduler/framework/plugins/nodedeclaredfeatures, component-helpers/nodedeclaredfeatures; spec/scheduling.md 1.1.
"""

from __future__ import annotations

from typing import ClassVar

from volsched.engine.reference.framework import SKIP, SUCCESS, NodeInfo, Plugin, Status, unresolvable


class NodeDeclaredFeatures(Plugin):
    name: ClassVar[str] = "NodeDeclaredFeatures"

    def _needed(self) -> set[str]:
        containers = [*(self.spec.containers or ()), *(self.spec.initContainers or ())]
        needed: set[str] = set()
        if any(rule.action == "RestartAllContainers" for container in containers for rule in container.restartPolicyRules or ()):
            needed.add("RestartAllContainersOnContainerExits")
        if self.spec.hostNetwork and self.spec.hostUsers is False:
            needed.add("UserNamespacesHostNetworkSupport")
        if any(mount.bindMountOptions for container in containers for mount in container.volumeMounts or ()):
            needed.add("VolumeBindMountOptions")
        return needed

    def pre_filter(self) -> tuple[Status, frozenset[str] | None]:
        return (SUCCESS if self._needed() else SKIP), None

    def filter(self, node: NodeInfo) -> Status:
        declared = (node.node.status.declaredFeatures if node.node.status else None) or []
        if not self._needed() <= set(declared):
            return unresolvable("node(s) didn't match Pod's required features")
        return SUCCESS
