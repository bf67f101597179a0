"""The GroupController service: snapshots of several volumes at one instant.

CreateVolumeGroupSnapshot is keyed by name. All members are cut under the backend's lock, so no write falls between two of them, and their
records and the group's become durable in one change; when one cut fails the others are taken away again. A member is a snapshot like any
other, can be listed and restored, but goes only with its group. Source: spec/volumes.md 6.5.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Final

from volsched.api import csi
from volsched.csi import checks
from volsched.csi.data import Ref
from volsched.csi.snapshots import SnapshotService
from volsched.csi.state import GroupRecord, SnapshotRecord, VolumeRecord
from volsched.csi.storage import Storage
from volsched.errors import CsiCode, CsiError

_EPOCH: Final = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


class GroupService:
    """Group snapshots of one backend."""

    def __init__(self, storage: Storage, snapshots: SnapshotService) -> None:
        self._storage = storage
        self._profile = storage.profile
        self._state = storage.state
        self._snapshots = snapshots

    def group_controller_get_capabilities(
        self, request: csi.GroupControllerGetCapabilitiesRequest
    ) -> csi.GroupControllerGetCapabilitiesResponse:
        return csi.GroupControllerGetCapabilitiesResponse(
            capabilities=[csi.GroupControllerServiceCapability(rpc=csi.Rpc(type=name)) for name in self._profile.group]
        )

    # create

    def create_volume_group_snapshot(self, request: csi.CreateVolumeGroupSnapshotRequest) -> csi.CreateVolumeGroupSnapshotResponse:
        checks.require(name=request.name, source_volume_ids=request.source_volume_ids)
        checks.check_name(request.name)
        for index, volume_id in enumerate(request.source_volume_ids):
            if not volume_id:
                raise checks.invalid(f"source_volume_ids[{index}] is required")
            if volume_id in request.source_volume_ids[:index]:
                raise checks.invalid(f"source_volume_ids names {volume_id} twice")
        checks.check_parameters(self._profile.parameters, request.parameters, "parameter")
        ready_after_ns = checks.ready_after_ns(request.parameters)
        checks.fail_if_asked(request.parameters)

        existing = self._state.group_named(request.name)
        if existing is not None:
            self._check_same(existing, request)
            return csi.CreateVolumeGroupSnapshotResponse(group_snapshot=self.message(existing))
        volumes = [self._storage.volume(volume_id) for volume_id in request.source_volume_ids]
        self._check_groupable(volumes)
        group = self._cut(request, volumes, ready_after_ns)
        return csi.CreateVolumeGroupSnapshotResponse(group_snapshot=self.message(group))

    def _check_same(self, group: GroupRecord, request: csi.CreateVolumeGroupSnapshotRequest) -> None:
        """Refuse a name that is taken by a group of other volumes or parameters."""
        if sorted(group.source_volume_ids) != sorted(request.source_volume_ids):
            what = f"of volumes {', '.join(group.source_volume_ids)}"
        elif _lasting(group.parameters) != _lasting(request.parameters):
            what = "with other parameters"
        else:
            return
        raise CsiError(CsiCode.ALREADY_EXISTS, f"group snapshot {request.name} exists as {group.group_snapshot_id} {what}")

    def _check_groupable(self, volumes: Sequence[VolumeRecord]) -> None:
        """Refuse volumes that have no common instant: those of one pod's life, and those another pool than the first one's holds."""
        for volume in volumes:
            if volume.inline:
                raise CsiError(CsiCode.FAILED_PRECONDITION, f"volume {volume.volume_id} is written into a pod and cannot be in a group")
            if self._profile.group_scope == "topology" and volume.topology != volumes[0].topology:
                places = [
                    f"volume {item.volume_id} is in {', '.join(map(self._profile.segment_text, item.topology)) or 'all topologies'}"
                    for item in (volumes[0], volume)
                ]
                raise CsiError(CsiCode.FAILED_PRECONDITION, f"{' and '.join(places)}: they cannot be cut together")

    def _cut(self, request: csi.CreateVolumeGroupSnapshotRequest, volumes: Sequence[VolumeRecord], ready_after_ns: int) -> GroupRecord:
        now_ns = self._storage.clock.now_ns() // 1000 * 1000
        with self._state.change() as change:
            group_snapshot_id = f"group-{change.draw('group'):04d}"
            members = [
                SnapshotRecord(
                    ordinal=change.next_ordinal(),
                    snapshot_id=f"snap-{change.draw('snapshot'):04d}",
                    name="",
                    source_volume_id=volume.volume_id,
                    size_bytes=volume.capacity_bytes,
                    created_ns=now_ns,
                    ready_ns=now_ns + ready_after_ns,
                    block=volume.block,
                    topology=[dict(segments) for segments in volume.topology],
                    group_snapshot_id=group_snapshot_id,
                )
                for volume in volumes
            ]
            self._cut_bytes(members)
            group = GroupRecord(
                ordinal=change.next_ordinal(),
                group_snapshot_id=group_snapshot_id,
                name=request.name,
                source_volume_ids=list(request.source_volume_ids),
                snapshot_ids=[member.snapshot_id for member in members],
                created_ns=now_ns,
                parameters=dict(request.parameters),
            )
            for record in (*members, group):
                change.put(record)
        return group

    def _cut_bytes(self, members: Sequence[SnapshotRecord]) -> None:
        """The bytes of all members or of none. Once the records are on their way to the journal nothing may be taken away any more:
        what was written although writing failed would then have no bytes."""
        tried: list[str] = []
        try:
            for member in members:
                tried.append(member.snapshot_id)
                self._storage.data.cut(member.snapshot_id, member.source_volume_id)
        except BaseException:
            for snapshot_id in tried:
                self._storage.data.remove(Ref("snapshots", snapshot_id))
            raise

    # delete and read

    def delete_volume_group_snapshot(self, request: csi.DeleteVolumeGroupSnapshotRequest) -> csi.DeleteVolumeGroupSnapshotResponse:
        checks.require(group_snapshot_id=request.group_snapshot_id)
        group = self._state.groups.get(request.group_snapshot_id)
        if group is None:
            return csi.DeleteVolumeGroupSnapshotResponse()
        self._check_members(group, request.snapshot_ids)
        if not self._profile.independent_restores:
            for snapshot_id in group.snapshot_ids:
                restored = [volume.volume_id for volume in self._state.restored_from(snapshot_id)]
                if restored:
                    raise CsiError(
                        CsiCode.FAILED_PRECONDITION,
                        f"snapshot {snapshot_id} of group {group.group_snapshot_id} is the base of volume {', '.join(restored)}",
                    )
        with self._state.change() as change:
            for snapshot_id in group.snapshot_ids:
                change.drop(self._state.snapshots[snapshot_id])
            change.drop(group)
        for snapshot_id in group.snapshot_ids:
            self._storage.data.remove(Ref("snapshots", snapshot_id))
        return csi.DeleteVolumeGroupSnapshotResponse()

    def get_volume_group_snapshot(self, request: csi.GetVolumeGroupSnapshotRequest) -> csi.GetVolumeGroupSnapshotResponse:
        checks.require(group_snapshot_id=request.group_snapshot_id)
        group = self._storage.group(request.group_snapshot_id)
        self._check_members(group, request.snapshot_ids)
        return csi.GetVolumeGroupSnapshotResponse(group_snapshot=self.message(group))

    def _check_members(self, group: GroupRecord, snapshot_ids: Sequence[str]) -> None:
        if sorted(snapshot_ids) != sorted(group.snapshot_ids):
            asked = ", ".join(snapshot_ids) or "empty"
            raise checks.invalid(f"snapshot_ids are {asked}; group {group.group_snapshot_id} has {', '.join(group.snapshot_ids)}")

    def message(self, group: GroupRecord) -> csi.VolumeGroupSnapshot:
        members = [self._snapshots.message(self._state.snapshots[snapshot_id]) for snapshot_id in group.snapshot_ids]
        return csi.VolumeGroupSnapshot(
            group_snapshot_id=group.group_snapshot_id,
            snapshots=members,
            creation_time=_EPOCH + datetime.timedelta(microseconds=group.created_ns // 1000),
            ready_to_use=all(member.ready_to_use for member in members),
        )


def _lasting(parameters: Mapping[str, str]) -> dict[str, str]:
    """Parameters without those that only steer this call."""
    return {key: value for key, value in parameters.items() if key not in checks.BEHAVIOUR}
