"""What the services of a fake driver share: profile, clock, records, bytes, and the questions all of them ask."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from volsched.api.csi import TopologyRequirement
from volsched.csi.checks import invalid, not_found
from volsched.csi.data import Ref, VolumeData
from volsched.csi.profile import POOL_MARK, UNLIMITED_BYTES, DriverProfile, Segments
from volsched.csi.state import DriverState, GroupRecord, NodeRecord, SnapshotRecord, VolumeRecord
from volsched.csi.topology import covers, reaches
from volsched.errors import CsiCode, CsiError
from volsched.ports.clients import Clock


class Storage:
    """One storage backend. Calls are made under the backend's lock."""

    def __init__(self, profile: DriverProfile, *, clock: Clock, state: DriverState, data: VolumeData, default_node: str) -> None:
        self.profile = profile
        self.clock = clock
        self.state = state
        self.data = data
        self.default_node = default_node

    # objects

    def volume(self, volume_id: str) -> VolumeRecord:
        record = self.state.volumes.get(volume_id)
        if record is None:
            raise not_found(f"volume {volume_id} not found")
        return record

    def snapshot(self, snapshot_id: str) -> SnapshotRecord:
        record = self.state.snapshots.get(snapshot_id)
        if record is None:
            raise not_found(f"snapshot {snapshot_id} not found")
        return record

    def group(self, group_snapshot_id: str) -> GroupRecord:
        record = self.state.groups.get(group_snapshot_id)
        if record is None:
            raise not_found(f"group snapshot {group_snapshot_id} not found")
        return record

    # nodes

    def node_id(self, node: str) -> str:
        """The node a Node call is meant for."""
        found = node or self.default_node
        if not found:
            raise CsiError(CsiCode.FAILED_PRECONDITION, "the call names no node and this driver runs on none")
        return found

    def register(self, node_id: str, labels: Mapping[str, str] | None = None) -> NodeRecord:
        """Make a node known, or change where it is. Without labels a new node goes to the known segments in turn."""
        known = self.state.nodes.get(node_id)
        if labels is not None:
            segments = {key: labels[key] for key in self.profile.topology_keys if key in labels}
        elif known is not None:
            return known
        elif self.profile.segments:
            segments = dict(self.profile.segments[len(self.state.nodes) % len(self.profile.segments)])
        else:
            segments = {}
        if known is not None and known.segments == segments:
            return known
        with self.state.change() as change:
            record = NodeRecord(
                ordinal=change.next_ordinal() if known is None else known.ordinal,
                node_id=node_id,
                segments=segments,
            )
            change.put(record)
        return record

    def check_reachable(self, volume: VolumeRecord, node_id: str) -> None:
        """Refuse a node outside the volume's topology. A node whose place is unknown is believed."""
        node = self.state.nodes.get(node_id)
        if node is not None and node.segments and not reaches(volume.topology, node.segments):
            where = ", ".join(self.profile.segment_text(topology) for topology in volume.topology)
            raise CsiError(
                CsiCode.FAILED_PRECONDITION,
                f"volume {volume.volume_id} is in {where}, not reachable from node {node_id} in {self.profile.segment_text(node.segments)}",
            )

    # room

    def known_segments(self) -> Sequence[Segments]:
        """Every segment there is, in the driver's order."""
        if self.profile.segments is not None:
            return self.profile.segments
        found: list[Segments] = []
        for node in self.state.nodes.values():
            if node.segments and node.segments not in found:
                found.append(node.segments)
        return found

    def pool_of(self, parameters: Mapping[str, str]) -> str:
        """The pool that class parameters ask for. Raises INVALID_ARGUMENT for one there is not."""
        pools = self.profile.pools
        asked = parameters.get("pool", "")
        if not pools:
            return ""
        if asked not in pools:
            known = ", ".join(pool for pool in pools if pool)
            raise invalid(f"parameter pool is {asked!r}, pools are {known}" if asked else f"parameter pool is required: {known}")
        return asked

    def limit_bytes(self, segments: Segments, pool: str = "") -> int | None:
        """Size of a segment's pool, None = unlimited."""
        text = self.profile.segment_text(segments)
        # a pool with a name is there only where it has a size
        return self.profile.capacity.get(f"{pool}{POOL_MARK}{text}", 0) if pool else self.profile.capacity.get(text)

    def free_bytes(self, segments: Segments, pool: str = "") -> int:
        limit = self.limit_bytes(segments, pool)
        return UNLIMITED_BYTES if limit is None else max(0, limit - self.state.used_bytes(segments, pool))

    def free_text(self, segments: Segments, pool: str) -> str:
        """The same for messages: `5 bytes free`, `5 bytes free in pool fast`."""
        return f"{self.free_bytes(segments, pool)} bytes free{' in pool ' + pool if pool else ''}"

    def grow(self, volume: VolumeRecord, size_bytes: int) -> None:
        """Check that a volume may grow to a size, and grow its bytes; the record is the caller's to change."""
        largest = self.profile.max_bytes
        if largest and size_bytes > largest:
            raise CsiError(CsiCode.OUT_OF_RANGE, f"{size_bytes} bytes are asked, the largest volume has {largest}")
        more = size_bytes - volume.capacity_bytes
        for segments in volume.topology or [{}]:
            free = self.free_bytes(segments, volume.pool)
            if free < more:
                where = " of ".join(part for part in (volume.pool and f"pool {volume.pool}", self.profile.segment_text(segments)) if part)
                raise CsiError(CsiCode.RESOURCE_EXHAUSTED, f"{more} more bytes are asked, {free} are free{' in ' + where if where else ''}")
        self.data.resize(volume.volume_id, size_bytes)

    def source_reaches(self, topologies: Sequence[Segments], segments: Segments) -> bool:
        """Whether a snapshot or source volume with these topologies can be read into a volume in `segments`."""
        return reaches(self.readable_from(topologies), segments)

    def readable_from(self, topologies: Sequence[Segments]) -> list[Segments]:
        """From where a snapshot or source volume with these topologies can be read, each once; empty = from everywhere."""
        if self.profile.source_scope == "anywhere":
            return []
        found: list[Segments] = []
        key = self.profile.node_key if self.profile.source_scope == "topology" else None
        for topology in topologies:
            segments = {name: value for name, value in topology.items() if name != key}
            if segments not in found:
                found.append(segments)
        return [] if {} in found else found

    def usable_within(self, topologies: Sequence[Segments], requirement: TopologyRequirement | None) -> bool:
        """Whether a snapshot with these topologies can become a volume in at least one requisite (or, without any, preferred) term."""
        if requirement is None or not (requirement.requisite or requirement.preferred):
            return True
        for topology in requirement.requisite or requirement.preferred:
            places = [segments for segments in self.known_segments() if covers(segments, topology.segments)]
            if not places and self.profile.segments is None:
                places = [topology.segments]
            if any(self.source_reaches(topologies, segments) for segments in places):
                return True
        return False

    def refs(self) -> set[Ref]:
        """Everything that has bytes."""
        return {Ref("volumes", key) for key in self.state.volumes} | {Ref("snapshots", key) for key in self.state.snapshots}
