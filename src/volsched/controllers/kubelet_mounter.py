"""The kubelet's calls to the Node service: stage and publish a volume for a pod, and undo both.

At most one call about a device is under way. A device is staged with its first pod on the node and unstaged with the last. A mount is
recorded before the first call and forgotten after the last, so a failure or a lost answer leaves something to clean up by.
Source: pkg/volume/csi/{csi_attacher,csi_mounter,csi_block,csi_client}.go; spec/volumes.md 5, 6.6.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any, Final

from lightkube.models.core_v1 import Pod, SecretReference
from lightkube.models.storage_v1 import CSINode

from volsched.api.csi import (
    AccessMode,
    CapacityRange,
    MountVolume,
    NodeExpandVolumeRequest,
    NodeGetCapabilitiesRequest,
    NodePublishVolumeRequest,
    NodeStageVolumeRequest,
    NodeUnpublishVolumeRequest,
    NodeUnstageVolumeRequest,
    VolumeCapability,
)
from volsched.api.edit import uid_of
from volsched.api.kinds import key_of
from volsched.cache.view import View
from volsched.controllers.capabilities import (
    EXPAND_VOLUME,
    SINGLE_NODE_MULTI_WRITER,
    STAGE_UNSTAGE_VOLUME,
    capability_of,
    csi_mode,
    rpc_types,
)
from volsched.controllers.csi_common import secret_data
from volsched.controllers.kubelet_mounts import Device, Mount, NodeDisks, node_root, publish_path, staging_path
from volsched.controllers.kubelet_volumes import CsiVolume, pod_context, volumes_of
from volsched.errors import ApiError, CsiCode, CsiError, ReconcileError
from volsched.ports import Call, Emit, Read, Steps

FAILED_MOUNT: Final = "FailedMount"
CALL_TIMEOUT_S: Final = 120.0


def device_of(node: str, volume: CsiVolume) -> Device:
    """A pod's volume as a device of its node."""
    return Device(node, volume.driver, volume.handle)


def devices_of(pod: Pod, view: View) -> Iterator[Device]:
    """The devices a pod uses on its node, as far as its claims can be followed."""
    node = (pod.spec.nodeName if pod.spec else None) or ""
    for volume in volumes_of(pod, view):
        if isinstance(volume, CsiVolume):
            yield device_of(node, volume)


class Mounter:
    """Mounts and unmounts on all nodes."""

    def __init__(self, view: View, disks: NodeDisks, root: str) -> None:
        self._view = view
        self._disks = disks
        self._root = root
        self._capabilities: dict[tuple[str, str], frozenset[str]] = {}  # by driver and node
        self._busy: set[Device] = set()

    def is_busy(self, device: Device) -> bool:
        """Whether a call about the device is under way."""
        return device in self._busy

    def expected(self, pod: Pod, node: str) -> Iterator[Mount]:
        """Where the volumes of a running pod must be. Unstaging what was never staged is no error, so staging is assumed."""
        for volume in volumes_of(pod, self._view):
            if isinstance(volume, CsiVolume):
                known = self._capabilities.get((volume.driver, node), frozenset({STAGE_UNSTAGE_VOLUME}))
                yield self._mount_of(pod, node, volume, staged=self._is_staged_by(volume, known))

    # expansion, which `kubelet_expansion` decides about

    @contextlib.contextmanager
    def held(self, device: Device) -> Iterator[None]:
        """Keep other calls about the device away."""
        self._busy.add(device)
        try:
            yield
        finally:
            self._busy.discard(device)

    def can_expand(self, node: str, volume: CsiVolume) -> Steps[bool]:
        """Whether the driver is registered on the node and grows file systems there."""
        node_id = self._registered_id(node, volume.driver)
        return node_id is not None and EXPAND_VOLUME in (yield from self._node_capabilities(node, volume.driver, node_id))

    def expand_call(self, pod: Pod, node: str, volume: CsiVolume, *, size_bytes: int) -> Steps[Call]:
        """The call that grows the file system of a volume mounted for a pod. Raises ReconcileError when its secret cannot be read."""
        known = self._capabilities.get((volume.driver, node), frozenset())
        mount = self._mount_of(pod, node, volume, staged=self._is_staged_by(volume, known))
        csi = volume.volume.spec.csi if volume.volume and volume.volume.spec else None
        request = NodeExpandVolumeRequest(
            volume_id=volume.handle,
            volume_path=mount.staging or mount.target,
            staging_target_path=mount.staging,
            capacity_range=CapacityRange(required_bytes=size_bytes),
            volume_capability=self._capability(volume, multi_writer=SINGLE_NODE_MULTI_WRITER in known),
            secrets=(yield from self._secrets(csi.nodeExpandSecretRef if csi else None)),
        )
        return Call(volume.driver, "NodeExpandVolume", request, node=mount.node_id, timeout_s=CALL_TIMEOUT_S)

    # mount

    def mount(self, pod: Pod, node: str, volume: CsiVolume, publish_context: Mapping[str, str]) -> Steps[None]:
        """Make a volume appear in a pod's directory. A failure is told to the pod and raised."""
        device = device_of(node, volume)
        self._busy.add(device)
        step = "MountDevice"
        try:
            node_id = self._registered_id(node, volume.driver)
            if node_id is None:
                raise ReconcileError(
                    "kubernetes.io/csi: attacher.MountDevice failed to create newCsiDriverClient: "
                    f"driver name {volume.driver} not found in the list of registered CSI drivers"
                )
            capabilities = yield from self._node_capabilities(node, volume.driver, node_id)
            mount = self._mount_of(pod, node, volume, staged=self._is_staged_by(volume, capabilities))
            capability = self._capability(volume, multi_writer=SINGLE_NODE_MULTI_WRITER in capabilities)
            self._disks.add(uid_of(pod), mount)
            if mount.staging and not self._disks.is_staged(device):
                stage = NodeStageVolumeRequest(
                    volume_id=volume.handle,
                    publish_context=dict(publish_context),
                    staging_target_path=mount.staging,
                    volume_capability=capability,
                    secrets=(yield from self._secrets(volume.stage_secret)),
                    volume_context=dict(volume.context),
                )
                yield Call(volume.driver, "NodeStageVolume", stage, node=node_id, timeout_s=CALL_TIMEOUT_S)
                self._disks.set_staged(device, staged=True)
                self._disks.confirm(device)
            step = "SetUp"
            publish = NodePublishVolumeRequest(
                volume_id=volume.handle,
                publish_context=dict(publish_context),
                staging_target_path=mount.staging,
                target_path=mount.target,
                volume_capability=capability,
                readonly=volume.read_only,
                secrets=(yield from self._secrets(volume.publish_secret)),
                volume_context=pod_context(pod, volume, self._view.get("CSIDriver", "", volume.driver)),
            )
            yield Call(volume.driver, "NodePublishVolume", publish, node=node_id, timeout_s=CALL_TIMEOUT_S)
            self._disks.confirm(device)
        except (CsiError, ReconcileError) as problem:
            # whatever the driver says, it may have lost the staging: stage again with the next attempt
            self._disks.set_staged(device, staged=False)
            text = f'MountVolume.{step} failed for volume "{volume.path_name}" : {problem}'
            yield Emit(pod, "Warning", FAILED_MOUNT, text)
            raise
        finally:
            self._busy.discard(device)

    def _registered_id(self, node: str, driver: str) -> str | None:
        """The node's id with a driver, None when the driver is not registered there."""
        registered: CSINode | None = self._view.get("CSINode", "", node)
        return next((entry.nodeID for entry in (registered.spec.drivers if registered is not None else ()) if entry.name == driver), None)

    def _node_capabilities(self, node: str, driver: str, node_id: str) -> Steps[frozenset[str]]:
        known = self._capabilities.get((driver, node))
        if known is None:
            answer = yield Call(driver, "NodeGetCapabilities", NodeGetCapabilitiesRequest(), node=node_id, timeout_s=CALL_TIMEOUT_S)
            known = self._capabilities[driver, node] = rpc_types(answer)
        return known

    @staticmethod
    def _is_staged_by(volume: CsiVolume, capabilities: frozenset[str]) -> bool:
        return volume.volume is not None and STAGE_UNSTAGE_VOLUME in capabilities

    def _mount_of(self, pod: Pod, node: str, volume: CsiVolume, *, staged: bool) -> Mount:
        root = node_root(self._root, node)
        key = key_of(pod)
        return Mount(
            device=device_of(node, volume),
            target=publish_path(root, uid_of(pod), volume.path_name, block=volume.block),
            staging=staging_path(root, volume.driver, volume.handle, volume.path_name, block=volume.block) if staged else "",
            pod=(key.namespace, key.name),
            node_id=self._registered_id(node, volume.driver) or node,
        )

    @staticmethod
    def _capability(volume: CsiVolume, *, multi_writer: bool) -> VolumeCapability:
        """The kubelet goes by the first access mode; a volume written into a pod has none and belongs to one writer."""
        if volume.volume is None:
            mode = csi_mode("ReadWriteOnce", multi_writer=False)
            return VolumeCapability(mount=MountVolume(fs_type=volume.fs_type), access_mode=AccessMode(mode=mode))
        modes = (volume.volume.spec.accessModes if volume.volume.spec else None) or ["ReadWriteOnce"]
        return capability_of(volume.volume, csi_mode(modes[0], multi_writer=multi_writer))

    @staticmethod
    def _secrets(reference: SecretReference | None) -> Steps[dict[str, str]]:
        if reference is None:
            return {}
        try:
            return secret_data((yield Read("Secret", reference.namespace or "", reference.name or "")))
        except ApiError as problem:
            raise ReconcileError(f"failed to get secret {reference.namespace}/{reference.name}: {problem}") from problem

    # unmount

    def unmount(self, pod_uid: str, mount: Mount, *, others: bool) -> Steps[None]:
        """Take a volume away from a pod; from the node too unless `others`, running pods the disk knows nothing of, still use it."""
        device = mount.device
        self._busy.add(device)
        try:
            unpublish = NodeUnpublishVolumeRequest(volume_id=device.handle, target_path=mount.target)
            yield from self._take_down(mount, "NodeUnpublishVolume", unpublish)
            if mount.staging and not others and not any(uid != pod_uid for uid in self._disks.users(device)):
                self._disks.set_staged(device, staged=False)
                unstage = NodeUnstageVolumeRequest(volume_id=device.handle, staging_target_path=mount.staging)
                yield from self._take_down(mount, "NodeUnstageVolume", unstage)
            self._disks.remove(pod_uid, mount)
        finally:
            self._busy.discard(device)

    def _take_down(self, mount: Mount, method: str, request: Any) -> Steps[None]:
        """A call about a volume that the driver does not know has nothing to do, unless the driver has mounted it: then it is in error, and
        is asked again like after any other. Raises CsiError."""
        try:
            yield Call(mount.device.driver, method, request, node=mount.node_id, timeout_s=CALL_TIMEOUT_S)
        except CsiError as problem:
            if problem.code is not CsiCode.NOT_FOUND or self._disks.is_confirmed(mount.device):
                raise
