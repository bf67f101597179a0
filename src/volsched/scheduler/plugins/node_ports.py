"""NodePorts: host ports are given to one pod of a node.

A pod wakes when a pod with a conflicting port leaves its node, and for new nodes.

Source: pkg/scheduler/framework/plugins/nodeports/node_ports.go; spec/scheduling.md 8.5.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from lightkube.models.core_v1 import Pod

from volsched.rules.resources import is_sidecar
from volsched.scheduler.events import ASSIGNED_POD_DELETE, NODE_ADD
from volsched.scheduler.framework import Wake
from volsched.scheduler.nominator import nominated_node


class HostPort(NamedTuple):
    """A port of the node that a pod wants. `ip` is 0.0.0.0 for all of the node's addresses."""

    ip: str
    protocol: str
    port: int

    def conflicts(self, other: HostPort) -> bool:
        if self.port != other.port or self.protocol != other.protocol:
            return False
        return "0.0.0.0" in (self.ip, other.ip) or self.ip == other.ip


def host_ports(pod: Pod) -> Iterator[HostPort]:
    """Host ports of containers and sidecars."""
    if pod.spec is None:
        return
    sidecars = [container for container in pod.spec.initContainers or () if is_sidecar(container)]
    for container in [*pod.spec.containers, *sidecars]:
        for port in container.ports or ():
            if port.hostPort:
                yield HostPort(port.hostIP or "0.0.0.0", port.protocol or "TCP", port.hostPort)


def occupies_a_node(pod: Pod) -> bool:
    """Whether the pod counted somewhere: on a node, or promised one."""
    return bool((pod.spec and pod.spec.nodeName) or nominated_node(pod))


def _pod_left(pod: Pod, old: Any | None, new: Any | None) -> bool:
    if old is None or not occupies_a_node(old):
        return False
    freed = list(host_ports(old))
    return any(wanted.conflicts(port) for wanted in host_ports(pod) for port in freed)


class NodePorts:
    """Wake-up hints."""

    name = "NodePorts"

    def wakes_on(self) -> Sequence[Wake]:
        return (Wake(ASSIGNED_POD_DELETE, _pod_left), Wake(NODE_ADD))
