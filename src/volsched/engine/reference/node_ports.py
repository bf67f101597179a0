"""NodePorts: host ports are used once a node.

Source: pkg/scheduler/framework/plugins/nodeports, pkg/scheduler/framework/types.go (HostPortInfo); spec/scheduling.md 8.5.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import ClassVar, Final, NamedTuple, Self

from lightkube.models.core_v1 import Pod

from volsched.engine.profile import EngineProfile
from volsched.engine.reference.framework import SKIP, SUCCESS, NodeInfo, Plugin, PodInfo, Snapshot, Status, unschedulable
from volsched.rules.resources import is_sidecar

_ANY_ADDRESS: Final = "0.0.0.0"


class _HostPort(NamedTuple):
    address: str
    protocol: str
    port: int

    def conflicts(self, other: _HostPort) -> bool:
        if (self.protocol, self.port) != (other.protocol, other.port):
            return False
        return self.address == other.address or _ANY_ADDRESS in (self.address, other.address)


def _host_ports(pod: Pod) -> Iterator[_HostPort]:
    if pod.spec is None:
        return
    sidecars = [container for container in pod.spec.initContainers or () if is_sidecar(container)]
    for container in [*(pod.spec.containers or ()), *sidecars]:
        for port in container.ports or ():
            if port.hostPort and port.hostPort > 0:
                yield _HostPort(port.hostIP or _ANY_ADDRESS, port.protocol or "TCP", port.hostPort)


class NodePorts(Plugin):
    name: ClassVar[str] = "NodePorts"

    def __init__(self, snapshot: Snapshot, pod: Pod, profile: EngineProfile) -> None:
        super().__init__(snapshot, pod, profile)
        self._freed: frozenset[_HostPort] = frozenset()  # on the node that is tried

    def pre_filter(self) -> tuple[Status, frozenset[str] | None]:
        return (SUCCESS if list(_host_ports(self.pod)) else SKIP), None

    def add_pod(self, other: PodInfo, node: NodeInfo) -> None:
        self._freed -= frozenset(_host_ports(other.pod))

    def remove_pod(self, other: PodInfo, node: NodeInfo) -> None:
        """A node's ports are a set upstream: a pod that goes frees its ports, even if another pod, bound by hand, has the same ones."""
        self._freed |= frozenset(_host_ports(other.pod))

    def clone(self) -> Self:
        return copy.copy(self)

    def filter(self, node: NodeInfo) -> Status:
        wanted = list(_host_ports(self.pod))
        used = [port for pod in node.pods for port in _host_ports(pod) if port not in self._freed]
        if any(mine.conflicts(theirs) for mine in wanted for theirs in used):
            return unschedulable("node(s) didn't have free ports for the requested pod ports")
        return SUCCESS
