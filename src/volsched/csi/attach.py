"""The Controller service, capabilities and attachment: which node may use a volume.

    same node, same way          OK, nothing changes
    same node, another way       ALREADY_EXISTS
    another node                 OK for MULTI_NODE_* on both sides, else FAILED_PRECONDITION naming the node that has it
    node full                    RESOURCE_EXHAUSTED

Source: spec/volumes.md 6.3.
"""

from __future__ import annotations

import msgspec

from volsched.api import csi
from volsched.csi import checks
from volsched.csi.state import Publication, VolumeRecord
from volsched.csi.storage import Storage
from volsched.errors import CsiCode, CsiError


class AttachService:
    """Attachments of one backend."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._profile = storage.profile
        self._state = storage.state

    def controller_get_capabilities(self, request: csi.ControllerGetCapabilitiesRequest) -> csi.ControllerGetCapabilitiesResponse:
        return csi.ControllerGetCapabilitiesResponse(
            capabilities=[csi.ControllerServiceCapability(rpc=csi.Rpc(type=name)) for name in self._profile.controller]
        )

    def controller_publish_volume(self, request: csi.ControllerPublishVolumeRequest) -> csi.ControllerPublishVolumeResponse:
        checks.require(volume_id=request.volume_id, node_id=request.node_id)
        capability = checks.check_capability(request.volume_capability, "volume_capability")
        if request.readonly and "PUBLISH_READONLY" not in self._profile.controller:
            raise checks.invalid("readonly needs the capability PUBLISH_READONLY")
        volume = self._storage.volume(request.volume_id)
        if request.node_id not in self._state.nodes:
            raise checks.not_found(f"node {request.node_id} not found")
        if not checks.served_by(capability, volume.capabilities):
            raise checks.invalid(f"volume {volume.volume_id} was not made for {checks.describe(capability)}")

        present = volume.publications.get(request.node_id)
        if present is not None:
            if present.readonly != request.readonly or present.capability != capability:
                how = checks.describe(present.capability) + (" read-only" if present.readonly else "")
                raise CsiError(CsiCode.ALREADY_EXISTS, f"volume {volume.volume_id} is published to node {request.node_id} otherwise: {how}")
            return self._answer(request.node_id)
        self._check_other_nodes(volume, capability, readonly=request.readonly)
        self._storage.check_reachable(volume, request.node_id)
        limit = self._profile.max_volumes_per_node
        if limit and len(self._state.attached_to(request.node_id)) >= limit:
            raise CsiError(CsiCode.RESOURCE_EXHAUSTED, f"node {request.node_id} has {limit} volumes, its limit")
        with self._state.change() as change:
            publication = Publication(capability=capability, readonly=request.readonly)
            change.put(msgspec.structs.replace(volume, publications={**volume.publications, request.node_id: publication}))
        return self._answer(request.node_id)

    def _check_other_nodes(self, volume: VolumeRecord, capability: csi.VolumeCapability, *, readonly: bool) -> None:
        for node, publication in volume.publications.items():
            if not (checks.multi_node(capability) and checks.multi_node(publication.capability)):
                raise CsiError(CsiCode.FAILED_PRECONDITION, f"volume {volume.volume_id} is published to node {node}")
            writers = "MULTI_NODE_SINGLE_WRITER" in (checks.mode_of(capability), checks.mode_of(publication.capability))
            if writers and not readonly and not publication.readonly:
                raise CsiError(CsiCode.FAILED_PRECONDITION, f"volume {volume.volume_id} is published for writing to node {node}")

    def _answer(self, node: str) -> csi.ControllerPublishVolumeResponse:
        return csi.ControllerPublishVolumeResponse(publish_context={"node": node})

    def controller_unpublish_volume(self, request: csi.ControllerUnpublishVolumeRequest) -> csi.ControllerUnpublishVolumeResponse:
        checks.require(volume_id=request.volume_id)
        volume = self._state.volumes.get(request.volume_id)
        if volume is None or not volume.publications:
            return csi.ControllerUnpublishVolumeResponse()
        left = {node: item for node, item in volume.publications.items() if request.node_id and node != request.node_id}
        if left != volume.publications:
            with self._state.change() as change:
                change.put(msgspec.structs.replace(volume, publications=left))
        return csi.ControllerUnpublishVolumeResponse()
