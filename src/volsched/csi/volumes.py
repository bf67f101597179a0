"""The Controller service, volumes: create, delete, list, capacity, expand, modify.

CreateVolume is keyed by name. A volume of that name is compared with the request and answered again, or refused with ALREADY_EXISTS; a new
one takes its size from the range (and from its source), its place from the topology requirement and the room there, its bytes from the
source. Nothing of a refused call stays. Source: spec/volumes.md 6.3, 6.4, traps 28, 31, 40.
"""

from __future__ import annotations

import msgspec

from volsched.api import csi
from volsched.csi import checks, topology
from volsched.csi.data import Ref
from volsched.csi.health import condition_of
from volsched.csi.paging import page_of
from volsched.csi.profile import UNLIMITED_BYTES, Segments, split_pool
from volsched.csi.state import VolumeRecord
from volsched.csi.storage import Storage
from volsched.errors import CsiCode, CsiError


class VolumeService:
    """Volumes of one backend."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._profile = storage.profile
        self._state = storage.state

    # create

    def create_volume(self, request: csi.CreateVolumeRequest) -> csi.CreateVolumeResponse:
        profile = self._profile
        checks.require(name=request.name)
        checks.check_name(request.name)
        checks.check_capabilities(request.volume_capabilities)
        reason = checks.unsupported(profile, request.volume_capabilities)
        if reason is not None:
            raise checks.invalid(reason)
        self._check_source_form(request.volume_content_source)
        checks.check_requirement(request.accessibility_requirements)
        checks.check_parameters(profile.parameters, request.parameters, "parameter")
        if request.mutable_parameters and "MODIFY_VOLUME" not in profile.controller:
            raise checks.invalid("mutable_parameters need the capability MODIFY_VOLUME")
        checks.check_parameters(profile.mutable_parameters, request.mutable_parameters, "mutable parameter")
        pool = self._storage.pool_of(request.parameters)
        required, limit = checks.check_range(request.capacity_range)
        checks.fail_if_asked(request.parameters)

        existing = self._state.volume_named(request.name)
        if existing is not None:
            self._check_same(existing, request, required, limit)
            return csi.CreateVolumeResponse(volume=self.message(existing))

        source, source_block, source_topology, smallest = self._source(request.volume_content_source)
        block = request.volume_capabilities[0].block is not None
        size = self._size(required, limit, smallest=smallest)
        places = self._place(request.accessibility_requirements, size, pool, source_topology, source)
        with self._state.change() as change:
            record = VolumeRecord(
                ordinal=change.next_ordinal(),
                volume_id=f"vol-{change.draw('volume'):04d}",
                name=request.name,
                capacity_bytes=size,
                # a filesystem copied from a source is as large as that until a node grows it
                filesystem_bytes=size if source is None or source_block or block else smallest,
                capabilities=list(request.volume_capabilities),
                parameters=dict(request.parameters),
                mutable_parameters=dict(request.mutable_parameters),
                content_source=request.volume_content_source,
                topology=[dict(segments) for segments in places],
                pool=pool,
            )
            self._storage.data.create(record.volume_id, block=block, size_bytes=size, source=source)
            change.put(record)
        return csi.CreateVolumeResponse(volume=self.message(record))

    def _check_source_form(self, source: csi.VolumeContentSource | None) -> None:
        if source is None:
            return
        if (source.snapshot is None) == (source.volume is None):
            raise checks.invalid("volume_content_source needs exactly one of snapshot and volume")
        if source.snapshot is not None:
            if "CREATE_DELETE_SNAPSHOT" not in self._profile.controller:
                raise checks.invalid("volume_content_source.snapshot is not supported")
            if not source.snapshot.snapshot_id:
                raise checks.invalid("volume_content_source.snapshot.snapshot_id is required")
        if source.volume is not None:
            if "CLONE_VOLUME" not in self._profile.controller:
                raise checks.invalid("volume_content_source.volume is not supported")
            if not source.volume.volume_id:
                raise checks.invalid("volume_content_source.volume.volume_id is required")

    def _check_same(self, volume: VolumeRecord, request: csi.CreateVolumeRequest, required: int, limit: int) -> None:
        """Refuse a name that is taken by a volume the request would not accept."""

        def differs(what: str) -> CsiError:
            return CsiError(CsiCode.ALREADY_EXISTS, f"volume {request.name} exists as {volume.volume_id} with {what}")

        if volume.capacity_bytes < required or 0 < limit < volume.capacity_bytes:
            raise differs(f"{volume.capacity_bytes} bytes, asked were {required} to {limit or 'any'}")
        for capability in request.volume_capabilities:
            if not checks.served_by(capability, volume.capabilities):
                raise differs(f"capabilities that do not include {checks.describe(capability)}")
        if volume.parameters != request.parameters:
            raise differs("other parameters")
        if volume.content_source != request.volume_content_source:
            raise differs("another content source")
        if not topology.satisfied(volume.topology, request.accessibility_requirements):
            where = ", ".join(self._profile.segment_text(segments) for segments in volume.topology)
            raise differs(f"accessible topology {where}, outside the requirement")

    def _source(self, source: csi.VolumeContentSource | None) -> tuple[Ref | None, bool, list[dict[str, str]], int]:
        """(bytes to copy, whether they are a block device, where they can be read, smallest volume they fit into)."""
        if source is None:
            return None, False, [], 0
        if source.snapshot is not None:
            snapshot = self._storage.snapshot(source.snapshot.snapshot_id)
            if snapshot.ready_ns > self._storage.clock.now_ns():
                raise CsiError(CsiCode.ABORTED, f"snapshot {snapshot.snapshot_id} is still being processed")
            return Ref("snapshots", snapshot.snapshot_id), snapshot.block, snapshot.topology, snapshot.size_bytes
        assert source.volume is not None
        volume = self._storage.volume(source.volume.volume_id)
        return Ref("volumes", volume.volume_id), volume.block, volume.topology, volume.capacity_bytes

    def _size(self, required: int, limit: int, *, smallest: int) -> int:
        """Bytes of a new volume; `smallest` is what its source needs, 0 without one."""
        profile = self._profile
        if required and required < smallest:
            raise CsiError(CsiCode.OUT_OF_RANGE, f"{required} bytes are asked, the source needs {smallest}")
        size = required or smallest or (min(profile.default_bytes, limit) if limit else profile.default_bytes)
        if limit and size > limit:
            raise CsiError(CsiCode.OUT_OF_RANGE, f"at most {limit} bytes are asked, the source needs {smallest}")
        if profile.max_bytes and size > profile.max_bytes:
            if required:
                raise CsiError(CsiCode.OUT_OF_RANGE, f"{size} bytes are asked, the largest volume has {profile.max_bytes}")
            size = profile.max_bytes
        return size

    def _place(
        self, requirement: csi.TopologyRequirement | None, size: int, pool: str, source_topology: list[dict[str, str]], source: Ref | None
    ) -> list[Segments]:
        storage, profile = self._storage, self._profile
        if not profile.topology:
            if storage.free_bytes({}, pool) < size:
                raise CsiError(CsiCode.RESOURCE_EXHAUSTED, f"{size} bytes are asked, {storage.free_text({}, pool)}")
            return []
        refused: dict[str, str] = {}

        def usable(segments: Segments) -> bool:
            if source is not None and not storage.source_reaches(source_topology, segments):
                refused[profile.segment_text(segments)] = f"{source.name} cannot be read there"
            elif storage.free_bytes(segments, pool) < size:
                refused[profile.segment_text(segments)] = storage.free_text(segments, pool)
            else:
                return True
            return False

        found = topology.place(
            requirement,
            known=storage.known_segments(),
            open_world=profile.segments is None,
            usable=usable,
            count=profile.reachable,
            first_only=profile.placement == "first",
        )
        if found is None:
            asked = [profile.segment_text(term) for term in topology.terms_of(requirement)]
            why = "; ".join(f"{name}: {text}" for name, text in refused.items()) or f"no topology serves {', '.join(asked) or 'it'}"
            raise CsiError(CsiCode.RESOURCE_EXHAUSTED, f"no place for {size} bytes: {why}")
        return found

    # delete

    def delete_volume(self, request: csi.DeleteVolumeRequest) -> csi.DeleteVolumeResponse:
        checks.require(volume_id=request.volume_id)
        volume = self._state.volumes.get(request.volume_id)
        if volume is None:
            return csi.DeleteVolumeResponse()
        nodes = volume.nodes_in_use()
        if nodes:
            raise CsiError(CsiCode.FAILED_PRECONDITION, f"volume {volume.volume_id} is in use on node {', '.join(nodes)}")
        if not self._profile.independent_snapshots:
            snapshots = [item.snapshot_id for item in self._state.snapshots_of(volume.volume_id)]
            if snapshots:
                raise CsiError(CsiCode.FAILED_PRECONDITION, f"volume {volume.volume_id} has snapshots: {', '.join(snapshots)}")
        with self._state.change() as change:
            change.drop(volume)
        self._storage.data.remove(Ref("volumes", volume.volume_id))
        return csi.DeleteVolumeResponse()

    # read

    def validate_volume_capabilities(self, request: csi.ValidateVolumeCapabilitiesRequest) -> csi.ValidateVolumeCapabilitiesResponse:
        checks.require(volume_id=request.volume_id)
        checks.check_capabilities(request.volume_capabilities)
        volume = self._storage.volume(request.volume_id)
        reason = checks.unsupported(self._profile, request.volume_capabilities)
        for capability in request.volume_capabilities:
            if reason is None and not checks.served_by(capability, volume.capabilities):
                reason = f"volume {volume.volume_id} was not made for {checks.describe(capability)}"
        if reason is None and request.parameters and request.parameters != volume.parameters:
            reason = f"volume {volume.volume_id} was made with other parameters"
        changed = {key: value for key, value in request.mutable_parameters.items() if volume.mutable_parameters.get(key) != value}
        if reason is None and changed:
            reason = f"volume {volume.volume_id} has other mutable parameters: {', '.join(sorted(changed))}"
        if reason is not None:
            return csi.ValidateVolumeCapabilitiesResponse(message=reason)
        return csi.ValidateVolumeCapabilitiesResponse(
            confirmed=csi.ConfirmedCapabilities(
                volume_context=request.volume_context,
                volume_capabilities=request.volume_capabilities,
                parameters=request.parameters,
                mutable_parameters=request.mutable_parameters,
            )
        )

    def list_volumes(self, request: csi.ListVolumesRequest) -> csi.ListVolumesResponse:
        page, token = page_of(
            [item for item in self._state.volumes.values() if not item.inline], request.max_entries, request.starting_token
        )
        entries = [csi.ListVolumesEntry(volume=self.message(volume), status=self.status(volume)) for volume in page]
        return csi.ListVolumesResponse(entries=entries, next_token=token)

    def controller_get_volume(self, request: csi.ControllerGetVolumeRequest) -> csi.ControllerGetVolumeResponse:
        checks.require(volume_id=request.volume_id)
        volume = self._storage.volume(request.volume_id)
        return csi.ControllerGetVolumeResponse(volume=self.message(volume), status=self.status(volume) or csi.VolumeStatus())

    def get_capacity(self, request: csi.GetCapacityRequest) -> csi.GetCapacityResponse:
        for index, capability in enumerate(request.volume_capabilities):
            checks.check_capability(capability, f"volume_capabilities[{index}]")
        largest = self._profile.max_bytes or None
        if checks.unsupported(self._profile, request.volume_capabilities) is not None:
            return csi.GetCapacityResponse()
        try:
            pool = self._storage.pool_of(request.parameters)
        except CsiError:
            return csi.GetCapacityResponse()  # no volume can be made with these parameters
        known = list(self._storage.known_segments())
        term = request.accessible_topology.segments if request.accessible_topology is not None else {}
        if not self._profile.topology:
            places: list[Segments] = [{}]
        elif not term:
            # without a known segment: the pools that have a size, else one that has none
            keys = self._profile.topology_keys
            sized = dict.fromkeys(split_pool(name)[1] for name in self._profile.capacity)
            places = known or [dict(zip(keys, name.split("/"), strict=False)) for name in sized] or [{}]
        else:
            places = [segments for segments in known if topology.covers(segments, term)]
            if not places and self._profile.segments is None and sorted(term) == sorted(self._profile.topology_keys):
                places = [term]
        available = min(UNLIMITED_BYTES, sum(self._storage.free_bytes(segments, pool) for segments in places))
        return csi.GetCapacityResponse(available_capacity=available, maximum_volume_size=largest)

    # change

    def controller_expand_volume(self, request: csi.ControllerExpandVolumeRequest) -> csi.ControllerExpandVolumeResponse:
        checks.require(volume_id=request.volume_id, capacity_range=request.capacity_range)
        if request.volume_capability is not None:
            checks.check_capability(request.volume_capability, "volume_capability")
        required, limit = checks.check_range(request.capacity_range)
        if not required and not limit:
            raise checks.invalid("capacity_range needs required_bytes or limit_bytes")
        volume = self._storage.volume(request.volume_id)
        if volume.capacity_bytes >= required:
            if limit and volume.capacity_bytes > limit:
                raise CsiError(
                    CsiCode.OUT_OF_RANGE, f"volume {volume.volume_id} has {volume.capacity_bytes} bytes, more than the limit {limit}"
                )
            return self._expanded(volume)
        if self._profile.expansion != "ONLINE" and volume.nodes_in_use():
            raise CsiError(
                CsiCode.FAILED_PRECONDITION,
                f"volume {volume.volume_id} is in use on node {', '.join(volume.nodes_in_use())} and grows only when published nowhere",
            )
        self._storage.grow(volume, required)
        with self._state.change() as change:
            volume = msgspec.structs.replace(
                volume, capacity_bytes=required, filesystem_bytes=required if volume.block else volume.filesystem_bytes
            )
            change.put(volume)
        return self._expanded(volume)

    def _expanded(self, volume: VolumeRecord) -> csi.ControllerExpandVolumeResponse:
        """A filesystem has to follow on the node, if the driver does that at all."""
        on_node = "EXPAND_VOLUME" in self._profile.node and not volume.block and volume.filesystem_bytes < volume.capacity_bytes
        return csi.ControllerExpandVolumeResponse(capacity_bytes=volume.capacity_bytes, node_expansion_required=on_node)

    def controller_modify_volume(self, request: csi.ControllerModifyVolumeRequest) -> csi.ControllerModifyVolumeResponse:
        checks.require(volume_id=request.volume_id)
        checks.check_parameters(self._profile.mutable_parameters, request.mutable_parameters, "mutable parameter")
        checks.fail_if_asked(request.mutable_parameters)
        volume = self._storage.volume(request.volume_id)
        merged = {**volume.mutable_parameters, **request.mutable_parameters}
        if merged != volume.mutable_parameters:
            with self._state.change() as change:
                change.put(msgspec.structs.replace(volume, mutable_parameters=merged))
        return csi.ControllerModifyVolumeResponse()

    # messages

    def message(self, volume: VolumeRecord) -> csi.Volume:
        return csi.Volume(
            capacity_bytes=volume.capacity_bytes,
            volume_id=volume.volume_id,
            content_source=volume.content_source,
            accessible_topology=topology.as_messages(volume.topology) if self._profile.topology else [],
        )

    def status(self, volume: VolumeRecord) -> csi.VolumeStatus | None:
        """None when the driver reports neither nodes nor condition."""
        nodes = "LIST_VOLUMES_PUBLISHED_NODES" in self._profile.controller
        condition = "VOLUME_CONDITION" in self._profile.controller
        if not nodes and not condition:
            return None
        return csi.VolumeStatus(
            published_node_ids=sorted(volume.publications) if nodes else [],
            volume_condition=condition_of(self._storage, volume) if condition else None,
        )
