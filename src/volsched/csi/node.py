"""The Node service, for every node of the backend: stage, publish, stats, grow.

One backend serves all nodes; each call says which node it is meant for. On one node, in this order:

    ControllerPublish ─> NodeStage ─> NodePublish (n targets) ─> NodeUnpublish (n) ─> NodeUnstage ─> ControllerUnpublish
    (if the driver attaches)  (if it stages)

A second NodePublish of a volume on its node: same target and arguments OK; same target, other arguments ALREADY_EXISTS; other target OK for
MULTI_NODE_* and SINGLE_NODE_MULTI_WRITER, FAILED_PRECONDITION for the other single-node modes. Source: spec/volumes.md 6.6.

A volume that is written into a pod has no controller side: Kubernetes marks its NodePublish in the volume context, the driver makes it then
and takes it away with NodeUnpublish. Source: kubernetes/enhancements, sig-storage 596 (CSI inline volumes).
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from volsched.api import csi
from volsched.csi import checks
from volsched.csi.data import Ref
from volsched.csi.health import condition_of
from volsched.csi.state import Mount, Staging, VolumeRecord
from volsched.csi.storage import Storage
from volsched.errors import CsiCode, CsiError

# What a file system of the fake backend can hold per byte of its size; only NodeGetVolumeStats tells it.
BYTES_PER_INODE: Final = 16384
INLINE_CONTEXT: Final = "csi.storage.k8s.io/ephemeral"
# Names its bytes too, so nothing that could be a path.
_INLINE_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
# The kubelet's handles for such volumes, by which a volume that is gone already is recognised.
_INLINE_HANDLE: Final = re.compile(r"csi-[0-9a-f]{64}")


class NodeService:
    """The node side of one backend."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._profile = storage.profile
        self._state = storage.state

    def node_get_capabilities(self, request: csi.NodeGetCapabilitiesRequest, node: str) -> csi.NodeGetCapabilitiesResponse:
        return csi.NodeGetCapabilitiesResponse(
            capabilities=[csi.NodeServiceCapability(rpc=csi.Rpc(type=name)) for name in self._profile.node]
        )

    def node_get_info(self, request: csi.NodeGetInfoRequest, node: str) -> csi.NodeGetInfoResponse:
        record = self._storage.register(self._storage.node_id(node))
        return csi.NodeGetInfoResponse(
            node_id=record.node_id,
            max_volumes_per_node=self._profile.max_volumes_per_node,
            accessible_topology=csi.Topology(segments=dict(record.segments)) if self._profile.topology else None,
        )

    # stage

    def node_stage_volume(self, request: csi.NodeStageVolumeRequest, node: str) -> csi.NodeStageVolumeResponse:
        checks.require(volume_id=request.volume_id, staging_target_path=request.staging_target_path)
        capability = self._capability(request.volume_capability)
        node = self._storage.node_id(node)
        volume = self._storage.volume(request.volume_id)
        for staging in volume.stagings:
            if (staging.node, staging.path) == (node, request.staging_target_path):
                if staging.capability != capability:
                    raise CsiError(
                        CsiCode.ALREADY_EXISTS,
                        f"volume {volume.volume_id} is staged at {staging.path} as {checks.describe(staging.capability)}",
                    )
                return csi.NodeStageVolumeResponse()
        self._check_use(volume, capability, node)
        for staging in volume.stagings:
            if staging.node == node:
                raise CsiError(CsiCode.FAILED_PRECONDITION, f"volume {volume.volume_id} is staged on node {node} at {staging.path}")
        with self._state.change() as change:
            staging = Staging(node=node, path=request.staging_target_path, capability=capability)
            # the file system is made, or grown to its device, when it is first mounted
            change.put(msgspec.structs.replace(volume, stagings=[*volume.stagings, staging], filesystem_bytes=volume.capacity_bytes))
        return csi.NodeStageVolumeResponse()

    def node_unstage_volume(self, request: csi.NodeUnstageVolumeRequest, node: str) -> csi.NodeUnstageVolumeResponse:
        checks.require(volume_id=request.volume_id, staging_target_path=request.staging_target_path)
        node = self._storage.node_id(node)
        volume = self._storage.volume(request.volume_id)
        targets = [item.target for item in volume.mounts if item.node == node and item.staging == request.staging_target_path]
        if targets:
            raise CsiError(CsiCode.FAILED_PRECONDITION, f"volume {volume.volume_id} is still published at {', '.join(targets)}")
        left = [item for item in volume.stagings if (item.node, item.path) != (node, request.staging_target_path)]
        if len(left) != len(volume.stagings):
            with self._state.change() as change:
                change.put(msgspec.structs.replace(volume, stagings=left))
        return csi.NodeUnstageVolumeResponse()

    # publish

    def node_publish_volume(self, request: csi.NodePublishVolumeRequest, node: str) -> csi.NodePublishVolumeResponse:
        checks.require(volume_id=request.volume_id, target_path=request.target_path)
        capability = self._capability(request.volume_capability)
        node = self._storage.node_id(node)
        volume = self._inline(request, capability) or self._storage.volume(request.volume_id)
        stages = "STAGE_UNSTAGE_VOLUME" in self._profile.node and not volume.inline
        if stages and not request.staging_target_path:
            raise CsiError(CsiCode.FAILED_PRECONDITION, "staging_target_path is required: the driver stages volumes")
        mount = Mount(
            node=node,
            target=request.target_path,
            capability=capability,
            staging=request.staging_target_path,
            readonly=request.readonly,
        )
        here = [item for item in volume.mounts if item.node == node]
        for item in here:
            if item.target == request.target_path:
                if item != mount:
                    raise CsiError(
                        CsiCode.ALREADY_EXISTS,
                        f"volume {volume.volume_id} is published at {item.target} otherwise: {checks.describe(item.capability)}"
                        f"{' read-only' if item.readonly else ''}",
                    )
                # made again: the node may have lost it in a restart
                self._storage.data.publish(volume.volume_id, node=node, target=item.target, readonly=item.readonly)
                return csi.NodePublishVolumeResponse()
        if not volume.inline:
            self._check_use(volume, capability, node)
        if stages and not any((item.node, item.path) == (node, request.staging_target_path) for item in volume.stagings):
            raise CsiError(
                CsiCode.FAILED_PRECONDITION, f"volume {volume.volume_id} is not staged on node {node} at {request.staging_target_path}"
            )
        for item in here:
            if not (checks.multi_target(capability) and checks.multi_target(item.capability)):
                raise CsiError(CsiCode.FAILED_PRECONDITION, f"volume {volume.volume_id} is published on node {node} at {item.target}")
        other = self._state.volume_at(node, request.target_path)
        if other is not None:
            raise CsiError(CsiCode.FAILED_PRECONDITION, f"volume {other} is published at {request.target_path}")
        self._storage.data.publish(volume.volume_id, node=node, target=request.target_path, readonly=request.readonly)
        with self._state.change() as change:
            change.put(msgspec.structs.replace(volume, mounts=[*volume.mounts, mount], filesystem_bytes=volume.capacity_bytes))
        return csi.NodePublishVolumeResponse()

    def node_unpublish_volume(self, request: csi.NodeUnpublishVolumeRequest, node: str) -> csi.NodeUnpublishVolumeResponse:
        checks.require(volume_id=request.volume_id, target_path=request.target_path)
        node = self._storage.node_id(node)
        if self._profile.inline_volumes and request.volume_id not in self._state.volumes and _INLINE_HANDLE.fullmatch(request.volume_id):
            return csi.NodeUnpublishVolumeResponse()
        volume = self._storage.volume(request.volume_id)
        self._storage.data.unpublish(volume.volume_id, node=node, target=request.target_path)
        left = [item for item in volume.mounts if (item.node, item.target) != (node, request.target_path)]
        if volume.inline and not left:
            with self._state.change() as change:
                change.drop(volume)
            self._storage.data.remove(Ref("volumes", volume.volume_id))
        elif len(left) != len(volume.mounts):
            with self._state.change() as change:
                change.put(msgspec.structs.replace(volume, mounts=left))
        return csi.NodeUnpublishVolumeResponse()

    def _inline(self, request: csi.NodePublishVolumeRequest, capability: csi.VolumeCapability) -> VolumeRecord | None:
        """The volume of a pod that has it written into itself, made now if it is not there; None for any other."""
        if request.volume_context.get(INLINE_CONTEXT) != "true" or not self._profile.inline_volumes:
            return None
        existing = self._state.volumes.get(request.volume_id)
        if existing is not None:
            return existing
        if not _INLINE_ID.fullmatch(request.volume_id):
            raise checks.invalid(f"volume_id {request.volume_id!r} of an inline volume has to be letters, digits, '.', '_' and '-'")
        size = self._profile.default_bytes
        with self._state.change() as change:
            volume = VolumeRecord(
                ordinal=change.next_ordinal(),
                volume_id=request.volume_id,
                name=f"inline {request.volume_id}",
                capacity_bytes=size,
                filesystem_bytes=size,
                capabilities=[capability],
                inline=True,
            )
            self._storage.data.create(volume.volume_id, block=volume.block, size_bytes=size, source=None)
            change.put(volume)
        return volume

    # look and grow

    def node_get_volume_stats(self, request: csi.NodeGetVolumeStatsRequest, node: str) -> csi.NodeGetVolumeStatsResponse:
        checks.require(volume_id=request.volume_id, volume_path=request.volume_path)
        node = self._storage.node_id(node)
        volume = self._at(request.volume_id, request.volume_path, node)
        condition = condition_of(self._storage, volume, node=node) if "VOLUME_CONDITION" in self._profile.node else None
        if volume.block:
            usage = [csi.VolumeUsage(total=volume.capacity_bytes, unit="BYTES")]
            return csi.NodeGetVolumeStatsResponse(usage=usage, volume_condition=condition)
        used = self._storage.data.usage(volume.volume_id)
        inodes = max(1, volume.filesystem_bytes // BYTES_PER_INODE)
        return csi.NodeGetVolumeStatsResponse(
            usage=[
                csi.VolumeUsage(
                    available=max(0, volume.filesystem_bytes - used.used_bytes),
                    total=volume.filesystem_bytes,
                    used=used.used_bytes,
                    unit="BYTES",
                ),
                csi.VolumeUsage(available=max(0, inodes - used.files), total=inodes, used=used.files, unit="INODES"),
            ],
            volume_condition=condition,
        )

    def node_expand_volume(self, request: csi.NodeExpandVolumeRequest, node: str) -> csi.NodeExpandVolumeResponse:
        checks.require(volume_id=request.volume_id, volume_path=request.volume_path)
        if request.volume_capability is not None:
            checks.check_capability(request.volume_capability, "volume_capability")
        required, limit = checks.check_range(request.capacity_range)
        node = self._storage.node_id(node)
        volume = self._at(request.volume_id, request.volume_path, node)
        size = volume.capacity_bytes
        if required > size and "EXPAND_VOLUME" not in self._profile.controller:
            self._storage.grow(volume, required)  # a driver without a controller side grows all of it here
            size = required
        if required > size or 0 < limit < size:
            raise CsiError(CsiCode.OUT_OF_RANGE, f"volume {volume.volume_id} has {size} bytes, outside the range asked")
        if (volume.filesystem_bytes, volume.capacity_bytes) != (size, size):
            with self._state.change() as change:
                change.put(msgspec.structs.replace(volume, filesystem_bytes=size, capacity_bytes=size))
        return csi.NodeExpandVolumeResponse(capacity_bytes=size)

    # shared

    def _capability(self, capability: csi.VolumeCapability | None) -> csi.VolumeCapability:
        found = checks.check_capability(capability, "volume_capability")
        if found.mount is not None and found.mount.volume_mount_group and "VOLUME_MOUNT_GROUP" not in self._profile.node:
            raise checks.invalid("volume_capability.mount.volume_mount_group needs the capability VOLUME_MOUNT_GROUP")
        return found

    def _check_use(self, volume: VolumeRecord, capability: csi.VolumeCapability, node: str) -> None:
        """Refuse a use beyond what the volume was made for, or on a node that has not got it."""
        if not checks.served_by(capability, volume.capabilities):
            raise CsiError(CsiCode.FAILED_PRECONDITION, f"volume {volume.volume_id} was not made for {checks.describe(capability)}")
        self._storage.check_reachable(volume, node)
        if "PUBLISH_UNPUBLISH_VOLUME" in self._profile.controller:
            if node not in volume.publications:
                raise CsiError(CsiCode.FAILED_PRECONDITION, f"volume {volume.volume_id} is not published to node {node} by the controller")
        elif not checks.multi_node(capability):
            for other in volume.nodes_in_use():
                if other != node:
                    raise CsiError(CsiCode.FAILED_PRECONDITION, f"volume {volume.volume_id} is in use on node {other}")

    def _at(self, volume_id: str, path: str, node: str) -> VolumeRecord:
        """The volume, if it is staged or published at this path of the node."""
        volume = self._storage.volume(volume_id)
        mounted = any((item.node, item.target) == (node, path) for item in volume.mounts)
        if not mounted and not any((item.node, item.path) == (node, path) for item in volume.stagings):
            raise checks.not_found(f"volume {volume_id} is not at {path} on node {node}")
        return volume
