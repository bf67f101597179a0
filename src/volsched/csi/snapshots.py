"""The Controller service, snapshots: cut, list, delete.

CreateSnapshot is keyed by name and returns once the bytes are cut; the snapshot may stay unready for a while after that (class parameter
`readyAfter`), and repeating the call tells its current readiness. Source: spec/volumes.md 6.3.
"""

from __future__ import annotations

import datetime
from typing import Final

from volsched.api import csi
from volsched.csi import checks, topology
from volsched.csi.data import Ref
from volsched.csi.paging import page_of
from volsched.csi.state import SnapshotRecord, VolumeRecord
from volsched.csi.storage import Storage
from volsched.errors import CsiCode, CsiError

_EPOCH: Final = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


class SnapshotService:
    """Snapshots of one backend."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._profile = storage.profile
        self._state = storage.state
        self._constrained: Final = "SNAPSHOT_ACCESSIBILITY_CONSTRAINTS" in storage.profile.services

    def create_snapshot(self, request: csi.CreateSnapshotRequest) -> csi.CreateSnapshotResponse:
        checks.require(name=request.name, source_volume_id=request.source_volume_id)
        checks.check_name(request.name)
        requirement = request.accessibility_requirements
        if requirement is not None and not self._constrained:
            raise checks.invalid("accessibility_requirements need the plugin capability SNAPSHOT_ACCESSIBILITY_CONSTRAINTS")
        checks.check_requirement(requirement)
        checks.check_parameters(self._profile.parameters, request.parameters, "parameter")
        ready_after_ns = checks.ready_after_ns(request.parameters)
        checks.fail_if_asked(request.parameters)

        existing = self._state.snapshot_named(request.name)
        if existing is not None:
            if existing.source_volume_id != request.source_volume_id:
                raise CsiError(
                    CsiCode.ALREADY_EXISTS,
                    f"snapshot {request.name} exists as {existing.snapshot_id} of volume {existing.source_volume_id}",
                )
            if not self._storage.usable_within(existing.topology, requirement):
                raise CsiError(CsiCode.ALREADY_EXISTS, f"snapshot {request.name} exists as {existing.snapshot_id}, {self._where(existing)}")
            return csi.CreateSnapshotResponse(snapshot=self.message(existing))

        volume = self._storage.volume(request.source_volume_id)
        # A datetime has microseconds; whole ones keep the answer equal on every way it takes.
        now_ns = self._storage.clock.now_ns() // 1000 * 1000
        if not self._storage.usable_within(volume.topology, requirement):
            raise CsiError(CsiCode.RESOURCE_EXHAUSTED, f"a snapshot of volume {volume.volume_id} is {self._where(volume)}")
        with self._state.change() as change:
            record = SnapshotRecord(
                ordinal=change.next_ordinal(),
                snapshot_id=f"snap-{change.draw('snapshot'):04d}",
                name=request.name,
                source_volume_id=volume.volume_id,
                size_bytes=volume.capacity_bytes,
                created_ns=now_ns,
                ready_ns=now_ns + ready_after_ns,
                block=volume.block,
                topology=[dict(segments) for segments in volume.topology],
            )
            self._storage.data.cut(record.snapshot_id, volume.volume_id)
            change.put(record)
        return csi.CreateSnapshotResponse(snapshot=self.message(record))

    def delete_snapshot(self, request: csi.DeleteSnapshotRequest) -> csi.DeleteSnapshotResponse:
        checks.require(snapshot_id=request.snapshot_id)
        snapshot = self._state.snapshots.get(request.snapshot_id)
        if snapshot is None:
            return csi.DeleteSnapshotResponse()
        if snapshot.group_snapshot_id:
            raise checks.invalid(f"snapshot {snapshot.snapshot_id} belongs to group {snapshot.group_snapshot_id}; delete the group")
        restored = [volume.volume_id for volume in self._state.restored_from(snapshot.snapshot_id)]
        if restored and not self._profile.independent_restores:
            raise CsiError(CsiCode.FAILED_PRECONDITION, f"snapshot {snapshot.snapshot_id} is the base of volume {', '.join(restored)}")
        with self._state.change() as change:
            change.drop(snapshot)
        self._storage.data.remove(Ref("snapshots", snapshot.snapshot_id))
        return csi.DeleteSnapshotResponse()

    def list_snapshots(self, request: csi.ListSnapshotsRequest) -> csi.ListSnapshotsResponse:
        found: list[SnapshotRecord]
        if request.snapshot_id:
            one = self._state.snapshots.get(request.snapshot_id)
            found = [] if one is None else [one]
        elif request.source_volume_id:
            found = sorted(self._state.snapshots_of(request.source_volume_id), key=lambda item: item.ordinal)
        else:
            found = list(self._state.snapshots.values())
        if request.source_volume_id:
            found = [item for item in found if item.source_volume_id == request.source_volume_id]
        page, token = page_of(found, request.max_entries, request.starting_token)
        entries = [csi.ListSnapshotsEntry(snapshot=self.message(item)) for item in page]
        return csi.ListSnapshotsResponse(entries=entries, next_token=token)

    def get_snapshot(self, request: csi.GetSnapshotRequest) -> csi.GetSnapshotResponse:
        checks.require(snapshot_id=request.snapshot_id)
        return csi.GetSnapshotResponse(snapshot=self.message(self._storage.snapshot(request.snapshot_id)))

    def message(self, snapshot: SnapshotRecord) -> csi.Snapshot:
        return csi.Snapshot(
            size_bytes=snapshot.size_bytes,
            snapshot_id=snapshot.snapshot_id,
            source_volume_id=snapshot.source_volume_id,
            creation_time=_EPOCH + datetime.timedelta(microseconds=snapshot.created_ns // 1000),
            ready_to_use=snapshot.ready_ns <= self._storage.clock.now_ns(),
            group_snapshot_id=snapshot.group_snapshot_id,
            accessible_topology=topology.as_messages(self._storage.readable_from(snapshot.topology)) if self._constrained else [],
        )

    def _where(self, source: SnapshotRecord | VolumeRecord) -> str:
        places = [self._profile.segment_text(segments) for segments in self._storage.readable_from(source.topology)]
        return f"usable from {', '.join(places) or 'every topology the driver serves'}, outside the requirement"
