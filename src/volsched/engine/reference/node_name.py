"""NodeName: a pod that names its node fits there alone. Source: pkg/scheduler/framework/plugins/nodename; spec/scheduling.md 8.1."""

from __future__ import annotations

from typing import ClassVar

from volsched.engine.reference.framework import SUCCESS, NodeInfo, Plugin, Status, unresolvable


class NodeName(Plugin):
    name: ClassVar[str] = "NodeName"

    def pre_filter(self) -> tuple[Status, frozenset[str] | None]:
        wanted = self.spec.nodeName
        return SUCCESS, frozenset([wanted]) if wanted else None

    def filter(self, node: NodeInfo) -> Status:
        if self.spec.nodeName and self.spec.nodeName != node.name:
            return unresolvable("node(s) didn't match the requested node name")
        return SUCCESS
