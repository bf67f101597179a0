"""Health: what is wrong with a volume, and with the storage as a node sees it.

The fake driver knows two ills, both real: the content of a volume is gone from where it is kept (somebody removed the files), and a path at
which it was published is no longer there (the node restarted). Both old and new calls tell of them: v1.12's VolumeCondition, where the
profile has VOLUME_CONDITION, and v1.13's VolumeHealth. Source: CSI specification v1.13, ControllerGetVolumeHealth and the calls after it.
"""

from __future__ import annotations

from typing import Final

from volsched.api import csi
from volsched.csi import checks
from volsched.csi.data import Ref
from volsched.csi.paging import page_of
from volsched.csi.state import VolumeRecord
from volsched.csi.storage import Storage

HEALTHY: Final = "the volume is healthy"


def entries_of(storage: Storage, volume: VolumeRecord, *, node: str = "") -> list[csi.VolumeHealthEntry]:
    """What is wrong with a volume, empty = nothing; with `node` as that node sees it."""
    found: list[csi.VolumeHealthEntry] = []
    problem = storage.data.problem(Ref("volumes", volume.volume_id))
    if problem is not None:
        found.append(csi.VolumeHealthEntry(status="DATA_LOSS", reason="ContentMissing", message=problem))
    lost = [
        mount.target
        for mount in volume.mounts
        if mount.node == node and not storage.data.published(volume.volume_id, node=node, target=mount.target)
    ]
    if lost:
        text = f"nothing is at {', '.join(lost)} on node {node} any more; publish the volume again"
        found.append(csi.VolumeHealthEntry(status="INACCESSIBLE", reason="PathMissing", message=text))
    return found


def condition_of(storage: Storage, volume: VolumeRecord, *, node: str = "") -> csi.VolumeCondition:
    """The same in v1.12's words."""
    wrong = entries_of(storage, volume, node=node)
    return csi.VolumeCondition(abnormal=bool(wrong), message="; ".join(entry.message for entry in wrong) or HEALTHY)


class HealthService:
    """Health calls of the Controller and Node services of one backend."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._state = storage.state

    def controller_get_volume_health(self, request: csi.ControllerGetVolumeHealthRequest) -> csi.ControllerGetVolumeHealthResponse:
        checks.require(volume_id=request.volume_id)
        volume = self._storage.volume(request.volume_id)
        return csi.ControllerGetVolumeHealthResponse(volume_health=self._message(volume))

    def controller_list_volume_health(self, request: csi.ControllerListVolumeHealthRequest) -> csi.ControllerListVolumeHealthResponse:
        ill = [volume for volume in self._state.volumes.values() if not volume.inline and entries_of(self._storage, volume)]
        page, token = page_of(ill, request.max_entries, request.starting_token)
        return csi.ControllerListVolumeHealthResponse(entries=[self._message(volume) for volume in page], next_token=token)

    def node_get_volume_health(self, request: csi.NodeGetVolumeHealthRequest, node: str) -> csi.NodeGetVolumeHealthResponse:
        checks.require(volume_id=request.volume_id)
        node = self._storage.node_id(node)
        volume = self._storage.volume(request.volume_id)
        if node not in volume.nodes_in_use():
            raise checks.not_found(f"volume {volume.volume_id} is not on node {node}")
        return csi.NodeGetVolumeHealthResponse(volume_health=self._message(volume, node=node))

    def node_get_storage_health(self, request: csi.NodeGetStorageHealthRequest, node: str) -> csi.NodeGetStorageHealthResponse:
        self._storage.node_id(node)
        problem = self._storage.data.unreachable()
        if problem is None:
            return csi.NodeGetStorageHealthResponse()
        backend = csi.StorageBackendHealth(status="STORAGE_UNREACHABLE", reason="DataUnreachable", message=problem)
        return csi.NodeGetStorageHealthResponse(backend_health=[backend])

    def _message(self, volume: VolumeRecord, *, node: str = "") -> csi.VolumeHealth:
        return csi.VolumeHealth(volume_id=volume.volume_id, health_statuses=entries_of(self._storage, volume, node=node))
