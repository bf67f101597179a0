"""What the driver has acknowledged: volumes, snapshots, groups of snapshots, nodes, counters.

Records are immutable; a change collects new ones and takes effect as a whole, after the journal has made it durable:

    with state.change() as change:        an exception inside: nothing happened
        change.put(record)
        change.drop(record)
    # here the journal has it, then memory; only then does the caller answer

So an answer that reached the caller survives kill -9, and a crash before it leaves the state before the call. Records are kept in the order
of creation, and the indexes (by name, snapshots of a volume, bytes per segment) follow every change.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Final, NamedTuple, Protocol, TypeVar

import msgspec

from volsched.api.csi import VolumeCapability, VolumeContentSource
from volsched.errors import StateError

SegmentKey = tuple[tuple[str, str], ...]


class Record(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One row of the state: `kind` and `key` name it, `ordinal` is its place in the order of creation."""

    kind: ClassVar[str] = ""
    ordinal: int = 0

    @property
    def key(self) -> str:
        raise TypeError(f"{type(self).__name__} has no key")


class Publication(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A volume attached to a node."""

    capability: VolumeCapability
    readonly: bool = False


class Staging(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A volume staged on a node."""

    node: str
    path: str
    capability: VolumeCapability


class Mount(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A volume published at a path of a node."""

    node: str
    target: str
    capability: VolumeCapability
    staging: str = ""
    readonly: bool = False


class VolumeRecord(Record, frozen=True, kw_only=True, omit_defaults=True):
    """A volume. `filesystem_bytes` follows `capacity_bytes` when a node grows the filesystem; `topology` empty = everywhere.
    `inline`: made by NodePublishVolume for one pod, gone with NodeUnpublishVolume."""

    kind: ClassVar[str] = "volume"
    volume_id: str
    name: str
    capacity_bytes: int
    filesystem_bytes: int = 0
    capabilities: list[VolumeCapability] = []
    parameters: dict[str, str] = {}
    mutable_parameters: dict[str, str] = {}
    content_source: VolumeContentSource | None = None
    topology: list[dict[str, str]] = []
    inline: bool = False
    pool: str = ""  # of its segments; "" when the driver has none to tell apart
    publications: dict[str, Publication] = {}  # by node
    stagings: list[Staging] = []
    mounts: list[Mount] = []

    @property
    def key(self) -> str:
        return self.volume_id

    @property
    def block(self) -> bool:
        return self.capabilities[0].block is not None

    def nodes_in_use(self) -> list[str]:
        """Nodes to which the volume is attached, staged or published, sorted."""
        return sorted({*self.publications, *(item.node for item in self.stagings), *(item.node for item in self.mounts)})


class SnapshotRecord(Record, frozen=True, kw_only=True, omit_defaults=True):
    """A snapshot that has been cut. Ready from `ready_ns` on."""

    kind: ClassVar[str] = "snapshot"
    snapshot_id: str
    name: str
    source_volume_id: str
    size_bytes: int
    created_ns: int
    ready_ns: int = 0
    block: bool = False
    topology: list[dict[str, str]] = []
    group_snapshot_id: str = ""

    @property
    def key(self) -> str:
        return self.snapshot_id


class GroupRecord(Record, frozen=True, kw_only=True, omit_defaults=True):
    """A group snapshot. Its members are snapshots that name it; `snapshot_ids` has them in the order of `source_volume_ids`."""

    kind: ClassVar[str] = "group"
    group_snapshot_id: str
    name: str
    source_volume_ids: list[str]
    snapshot_ids: list[str]
    created_ns: int
    parameters: dict[str, str] = {}

    @property
    def key(self) -> str:
        return self.group_snapshot_id


class NodeRecord(Record, frozen=True, kw_only=True, omit_defaults=True):
    """A node the driver runs on."""

    kind: ClassVar[str] = "node"
    node_id: str
    segments: dict[str, str] = {}

    @property
    def key(self) -> str:
        return self.node_id


class CounterRecord(Record, frozen=True, kw_only=True, omit_defaults=True):
    """How many objects of a kind were ever made: the number in the next id."""

    kind: ClassVar[str] = "counter"
    name: str
    value: int

    @property
    def key(self) -> str:
        return self.name


RECORDS: Final[dict[str, type[Record]]] = {cls.kind: cls for cls in (VolumeRecord, SnapshotRecord, GroupRecord, NodeRecord, CounterRecord)}
_DECODERS: Final = {kind: msgspec.json.Decoder(cls) for kind, cls in RECORDS.items()}
_ENCODER: Final = msgspec.json.Encoder()
R = TypeVar("R", bound=Record)


class Row(NamedTuple):
    """A record as a journal keeps it."""

    kind: str
    key: str
    body: bytes


class Journal(Protocol):
    """Where records outlive the process."""

    def read(self) -> list[Row]:
        """All rows, in any order."""

    def write(self, puts: Sequence[Row], drops: Sequence[tuple[str, str]]) -> None:
        """Replace and remove rows as a whole; durable when it returns. Raises StateError."""

    def close(self) -> None: ...


class DriverState:
    """Records and their indexes. Not safe for threads: the backend calls it under its lock."""

    def __init__(self, journal: Journal | None = None) -> None:
        self._journal = journal
        self._tables: dict[str, dict[str, Any]] = {kind: {} for kind in RECORDS}
        self._names: dict[tuple[str, str], str] = {}
        self._snapshots_of: dict[str, dict[str, None]] = {}
        self._restored_from: dict[str, dict[str, None]] = {}
        self._used: dict[tuple[SegmentKey, str], int] = {}
        self._attached: dict[str, dict[str, None]] = {}
        self._targets: dict[tuple[str, str], str] = {}
        self._ordinal = 0
        self.changes = 0  # made by this process
        if journal is not None:
            self._load(journal.read())

    # reading

    @property
    def volumes(self) -> Mapping[str, VolumeRecord]:
        return self._tables["volume"]

    @property
    def snapshots(self) -> Mapping[str, SnapshotRecord]:
        return self._tables["snapshot"]

    @property
    def groups(self) -> Mapping[str, GroupRecord]:
        return self._tables["group"]

    @property
    def nodes(self) -> Mapping[str, NodeRecord]:
        return self._tables["node"]

    def volume_named(self, name: str) -> VolumeRecord | None:
        key = self._names.get(("volume", name))
        return None if key is None else self.volumes[key]

    def snapshot_named(self, name: str) -> SnapshotRecord | None:
        key = self._names.get(("snapshot", name))
        return None if key is None else self.snapshots[key]

    def group_named(self, name: str) -> GroupRecord | None:
        key = self._names.get(("group", name))
        return None if key is None else self.groups[key]

    def snapshots_of(self, volume_id: str) -> list[SnapshotRecord]:
        return [self.snapshots[key] for key in self._snapshots_of.get(volume_id, ())]

    def restored_from(self, snapshot_id: str) -> list[VolumeRecord]:
        return [self.volumes[key] for key in self._restored_from.get(snapshot_id, ())]

    def attached_to(self, node_id: str) -> list[str]:
        """Ids of the volumes published to a node by the controller."""
        return list(self._attached.get(node_id, ()))

    def volume_at(self, node_id: str, target: str) -> str | None:
        """Id of the volume published at a path of a node."""
        return self._targets.get((node_id, target))

    def used_bytes(self, segments: Mapping[str, str], pool: str = "") -> int:
        """Bytes of the volumes that take room in this pool of exactly this segment."""
        return self._used.get((segment_key(segments), pool), 0)

    # writing

    @contextlib.contextmanager
    def change(self) -> Iterator[Change]:
        """Collect puts and drops; on a clean exit make them durable, then visible."""
        change = Change(self)
        yield change
        puts, drops = list(change.puts.values()), list(change.drops)
        if self._journal is not None and (puts or drops):
            self._journal.write([Row(item.kind, item.key, _ENCODER.encode(item)) for item in puts], drops)
        for kind, key in drops:
            self._remove(kind, key)
        for record in puts:
            self._insert(record)
        self.changes += 1

    def close(self) -> None:
        if self._journal is not None:
            self._journal.close()

    def counter(self, name: str) -> int:
        record: CounterRecord | None = self._tables["counter"].get(name)
        return 0 if record is None else record.value

    def export(self) -> dict[str, list[Any]]:
        """Everything as plain JSON data, records of a kind in the order of creation; equal states give equal data."""
        return {
            kind: [msgspec.to_builtins(record) for record in sorted(table.values(), key=lambda item: (item.ordinal, item.key))]
            for kind, table in self._tables.items()
        }

    def replace(self, exported: Mapping[str, Sequence[Any]]) -> None:
        """Take what `export` gave, in place of everything."""
        fresh = [msgspec.convert(item, RECORDS[kind]) for kind, items in exported.items() for item in items if kind in RECORDS]
        with self.change() as change:
            for table in self._tables.values():
                for record in table.values():
                    change.drop(record)
            for record in fresh:
                change.put(record)

    def _load(self, rows: Sequence[Row]) -> None:
        records: list[Record] = []
        for row in rows:
            try:
                records.append(_DECODERS[row.kind].decode(row.body))
            except (KeyError, msgspec.MsgspecError) as error:
                raise StateError(f"driver state: {row.kind} {row.key} cannot be read: {error}") from error
        for record in sorted(records, key=lambda item: (item.ordinal, item.kind, item.key)):
            self._insert(record)

    def _insert(self, record: Record) -> None:
        old = self._tables[record.kind].get(record.key)
        if old is not None:
            self._unindex(old)
        self._tables[record.kind][record.key] = record
        self._ordinal = max(self._ordinal, record.ordinal)
        self._index(record)

    def _remove(self, kind: str, key: str) -> None:
        old = self._tables[kind].pop(key, None)
        if old is not None:
            self._unindex(old)

    def _index(self, record: Record) -> None:
        if isinstance(record, VolumeRecord):
            self._names[("volume", record.name)] = record.volume_id
            self._account(record, record.capacity_bytes)
            for node in record.publications:
                self._attached.setdefault(node, {})[record.volume_id] = None
            for mount in record.mounts:
                self._targets[mount.node, mount.target] = record.volume_id
            if record.content_source is not None and record.content_source.snapshot is not None:
                self._restored_from.setdefault(record.content_source.snapshot.snapshot_id, {})[record.volume_id] = None
        elif isinstance(record, GroupRecord):
            self._names[("group", record.name)] = record.group_snapshot_id
        elif isinstance(record, SnapshotRecord):
            if not record.group_snapshot_id:  # members have no name of their own
                self._names[("snapshot", record.name)] = record.snapshot_id
            self._snapshots_of.setdefault(record.source_volume_id, {})[record.snapshot_id] = None

    def _unindex(self, record: Record) -> None:
        if isinstance(record, VolumeRecord):
            self._names.pop(("volume", record.name), None)
            self._account(record, -record.capacity_bytes)
            for node in record.publications:
                self._attached.get(node, {}).pop(record.volume_id, None)
            for mount in record.mounts:
                self._targets.pop((mount.node, mount.target), None)
            if record.content_source is not None and record.content_source.snapshot is not None:
                self._restored_from.get(record.content_source.snapshot.snapshot_id, {}).pop(record.volume_id, None)
        elif isinstance(record, GroupRecord):
            self._names.pop(("group", record.name), None)
        elif isinstance(record, SnapshotRecord):
            if not record.group_snapshot_id:
                self._names.pop(("snapshot", record.name), None)
            self._snapshots_of.get(record.source_volume_id, {}).pop(record.snapshot_id, None)

    def _account(self, record: VolumeRecord, size: int) -> None:
        for segments in record.topology or ({},):
            key = (segment_key(segments), record.pool)
            self._used[key] = self._used.get(key, 0) + size


class Change:
    """Puts and drops of one call, and the numbers it drew."""

    def __init__(self, state: DriverState) -> None:
        self._state = state
        self._ordinal = state._ordinal
        self.puts: dict[tuple[str, str], Record] = {}
        self.drops: dict[tuple[str, str], None] = {}

    def put(self, record: Record) -> None:
        """Add or replace."""
        self.drops.pop((record.kind, record.key), None)
        self.puts[record.kind, record.key] = record

    def drop(self, record: Record) -> None:
        """Remove."""
        self.puts.pop((record.kind, record.key), None)
        self.drops[record.kind, record.key] = None

    def next_ordinal(self) -> int:
        """The place of a new record in the order of creation. Kept apart from the record: no place is given twice, also when the last
        record is gone and the driver starts again, so a page's token stays good."""
        self._ordinal += 1
        self.put(CounterRecord(name="ordinal", value=self._ordinal, ordinal=self._ordinal))
        return self._ordinal

    def draw(self, name: str) -> int:
        """The next number of a counter, from 1."""
        pending = self.puts.get(("counter", name))
        value = (pending.value if isinstance(pending, CounterRecord) else self._state.counter(name)) + 1
        self.put(CounterRecord(name=name, value=value))
        return value


def segment_key(segments: Mapping[str, str]) -> SegmentKey:
    """Segments as a dictionary key."""
    return tuple(sorted(segments.items()))
