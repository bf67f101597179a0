"""NodeUnschedulable: a cordoned node takes only pods that tolerate the taint it would carry.

Source: pkg/scheduler/framework/plugins/nodeunschedulable; spec/scheduling.md 8.2.
"""

from __future__ import annotations

from typing import ClassVar, Final

from lightkube.models.core_v1 import Taint

from volsched.engine.reference.framework import SUCCESS, NodeInfo, Plugin, Status, unresolvable
from volsched.engine.reference.taint_toleration import tolerates

_CORDONED: Final = Taint(key="node.kubernetes.io/unschedulable", effect="NoSchedule")


class NodeUnschedulable(Plugin):
    name: ClassVar[str] = "NodeUnschedulable"

    def filter(self, node: NodeInfo) -> Status:
        cordoned = bool(node.node.spec and node.node.spec.unschedulable)
        if cordoned and not any(tolerates(toleration, _CORDONED) for toleration in self.spec.tolerations or ()):
            return unresolvable("node(s) were unschedulable")
        return SUCCESS
