"""NodeName: a pod that names its node fits that node only. A new node may be the one.

Source: pkg/scheduler/framework/plugins/nodename/node_name.go; spec/scheduling.md 8.1.
"""

from __future__ import annotations

from collections.abc import Sequence

from volsched.scheduler.events import NODE_ADD
from volsched.scheduler.framework import Wake


class NodeName:
    """Wake-up hints."""

    name = "NodeName"

    def wakes_on(self) -> Sequence[Wake]:
        return (Wake(NODE_ADD),)
