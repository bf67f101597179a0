"""What a kubelet keeps on its node's disk: where volumes are staged and published, and for which pod.

A record is made before the driver is asked to mount, and goes after the driver has unmounted, so that whatever happens in between, the
record is there to clean up by. It outlives the kubelet's process, as files do: keep the NodeDisks when a Kubelet is started anew.
Source: pkg/volume/csi/{csi_attacher,csi_mounter,csi_block,csi_plugin}.go.
"""

from __future__ import annotations

import hashlib
from typing import Final, NamedTuple

DEFAULT_ROOT: Final = "/var/lib/kubelet"
_PLUGIN: Final = "kubernetes.io/csi"


def node_root(root: str, node: str) -> str:
    """A kubelet's directory. `{node}` in the root stands for the node's name, for nodes that share one file system."""
    return root.replace("{node}", node)


def staging_path(root: str, driver: str, handle: str, volume: str, *, block: bool) -> str:
    """Where a volume is staged, once for all pods of the node."""
    if block:
        return f"{root}/plugins/{_PLUGIN}/volumeDevices/staging/{volume}"
    return f"{root}/plugins/{_PLUGIN}/{driver}/{hashlib.sha256(handle.encode()).hexdigest()}/globalmount"


def publish_path(root: str, pod_uid: str, volume: str, *, block: bool) -> str:
    """Where a volume is published for one pod."""
    if block:
        return f"{root}/plugins/{_PLUGIN}/volumeDevices/publish/{volume}/{pod_uid}"
    return f"{root}/pods/{pod_uid}/volumes/{_PLUGIN.replace('/', '~')}/{volume}/mount"


def inline_handle(pod_uid: str, volume: str) -> str:
    """Handle of a CSI volume written into a pod."""
    return "csi-" + hashlib.sha256(f"{pod_uid}{volume}".encode()).hexdigest()


class Device(NamedTuple):
    """A volume on a node, as its driver knows it."""

    node: str
    driver: str
    handle: str


class Mount(NamedTuple):
    """One volume published, or about to be, for one pod."""

    device: Device
    target: str
    staging: str  # empty: not staged
    pod: tuple[str, str]  # namespace and name
    node_id: str  # the node as the driver knows it, for calls made when its CSINode may be gone


class NodeDisks:
    """The disks of all nodes: mounts by pod uid, and which devices are staged."""

    def __init__(self) -> None:
        self._mounts: dict[str, dict[str, Mount]] = {}
        self._users: dict[Device, dict[str, None]] = {}
        self._devices: dict[str, dict[Device, None]] = {}
        self._staged: set[Device] = set()
        self._confirmed: set[Device] = set()

    def add(self, pod_uid: str, mount: Mount) -> None:
        self._mounts.setdefault(pod_uid, {})[mount.target] = mount
        self._users.setdefault(mount.device, {})[pod_uid] = None
        self._devices.setdefault(mount.device.node, {})[mount.device] = None

    def remove(self, pod_uid: str, mount: Mount) -> None:
        mounts, device = self._mounts.get(pod_uid, {}), mount.device
        mounts.pop(mount.target, None)
        if not mounts:
            self._mounts.pop(pod_uid, None)
        if any(other.device == device for other in mounts.values()):
            return  # the pod names the volume twice
        users = self._users.get(device, {})
        users.pop(pod_uid, None)
        if not users:
            self._users.pop(device, None)
            self._confirmed.discard(device)
            self._devices.get(device.node, {}).pop(device, None)

    def of(self, pod_uid: str) -> list[Mount]:
        """The mounts of a pod, in the order they were made."""
        return list(self._mounts.get(pod_uid, {}).values())

    def node_of(self, pod_uid: str) -> str:
        """The node a pod has mounts on, empty when it has none."""
        mounts = self.of(pod_uid)
        return mounts[0].device.node if mounts else ""

    def users(self, device: Device) -> list[str]:
        """Pods that have the device mounted, or may have."""
        return list(self._users.get(device, ()))

    def devices(self, node: str) -> list[Device]:
        """Devices mounted on a node, or that may be."""
        return list(self._devices.get(node, ()))

    def pods_on(self, node: str) -> list[tuple[str, str, str]]:
        """Pods with mounts on a node: namespace, name, uid."""
        uids = {uid for device in self.devices(node) for uid in self.users(device)}
        return sorted((*self.of(uid)[0].pod, uid) for uid in uids)

    def is_confirmed(self, device: Device) -> bool:
        """Whether the driver has staged or published the device since it was first recorded; else it may never have known it."""
        return device in self._confirmed

    def confirm(self, device: Device) -> None:
        """The driver has staged or published the device."""
        self._confirmed.add(device)

    def is_staged(self, device: Device) -> bool:
        """Whether the device is known to be staged; one that is not may be, and staging it again is no error."""
        return device in self._staged

    def set_staged(self, device: Device, *, staged: bool) -> None:
        if staged:
            self._staged.add(device)
        else:
            self._staged.discard(device)
