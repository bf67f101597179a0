"""A fake CSI driver: pure Python, one call in, one answer or one CsiError out.

    call(method, request, node) ─> capability advertised? ─> sizes ─> nobody else busy with it? ─> service ─> answer
                                     UNIMPLEMENTED      INVALID_ARGUMENT       ABORTED
                                   └──────────────────── admit ──────────────────────────────┘

Nothing here knows gRPC: `InProcessClient` calls it directly, `CsiServer` from its worker threads. Calls are carried out one at a time;
a second call for the same object while one is under way is ABORTED, as the specification allows, instead of waiting behind it.
What a call acknowledges is durable when a journal is given, and its bytes are made before and removed after (data.py).
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, Protocol, TypeVar, cast, runtime_checkable

from volsched.api.csi import METHODS, Message, service_of
from volsched.csi import checks
from volsched.csi.attach import AttachService
from volsched.csi.data import MemoryData, Ref, VolumeData
from volsched.csi.groups import GroupService
from volsched.csi.health import HealthService
from volsched.csi.identity import IdentityService
from volsched.csi.node import NodeService
from volsched.csi.profile import DriverProfile
from volsched.csi.snapshots import SnapshotService
from volsched.csi.state import DriverState, GroupRecord, Journal, SnapshotRecord, VolumeRecord
from volsched.csi.storage import Storage
from volsched.csi.volumes import VolumeService
from volsched.errors import CsiCode, CsiError, InputError
from volsched.ports.clients import Clock

T = TypeVar("T")

DEADLINE_TEXT: Final = "context deadline exceeded"  # as Go's clients word it

# Which capability of its service a method needs; methods not named need only the service. Source: spec/volumes.md 6.3, 6.5, 6.6;
# health: CSI specification v1.13.
NEEDS: Final[Mapping[str, str]] = {
    "CreateVolume": "CREATE_DELETE_VOLUME",
    "DeleteVolume": "CREATE_DELETE_VOLUME",
    "ControllerPublishVolume": "PUBLISH_UNPUBLISH_VOLUME",
    "ControllerUnpublishVolume": "PUBLISH_UNPUBLISH_VOLUME",
    "ListVolumes": "LIST_VOLUMES",
    "ControllerGetVolume": "GET_VOLUME",
    "ControllerModifyVolume": "MODIFY_VOLUME",
    "GetCapacity": "GET_CAPACITY",
    "CreateSnapshot": "CREATE_DELETE_SNAPSHOT",
    "DeleteSnapshot": "CREATE_DELETE_SNAPSHOT",
    "ListSnapshots": "LIST_SNAPSHOTS",
    "GetSnapshot": "GET_SNAPSHOT",
    "ControllerExpandVolume": "EXPAND_VOLUME",
    "ControllerGetVolumeHealth": "GET_VOLUME_HEALTH",
    "ControllerListVolumeHealth": "LIST_VOLUME_HEALTH",
    "CreateVolumeGroupSnapshot": "CREATE_DELETE_GET_VOLUME_GROUP_SNAPSHOT",
    "DeleteVolumeGroupSnapshot": "CREATE_DELETE_GET_VOLUME_GROUP_SNAPSHOT",
    "GetVolumeGroupSnapshot": "CREATE_DELETE_GET_VOLUME_GROUP_SNAPSHOT",
    "NodeStageVolume": "STAGE_UNSTAGE_VOLUME",
    "NodeUnstageVolume": "STAGE_UNSTAGE_VOLUME",
    "NodeGetVolumeStats": "GET_VOLUME_STATS",
    "NodeExpandVolume": "EXPAND_VOLUME",
    "NodeGetVolumeHealth": "GET_VOLUME_HEALTH",
    "NodeGetStorageHealth": "GET_STORAGE_HEALTH",
}

# What a method changes, as (namespace, field): two calls with the same values exclude each other. Node calls also by node.
BUSY: Final[Mapping[str, tuple[str, str]]] = {
    "CreateVolume": ("volume name", "name"),
    "DeleteVolume": ("volume", "volume_id"),
    "ControllerPublishVolume": ("volume", "volume_id"),
    "ControllerUnpublishVolume": ("volume", "volume_id"),
    "ControllerModifyVolume": ("volume", "volume_id"),
    "ControllerExpandVolume": ("volume", "volume_id"),
    "CreateSnapshot": ("snapshot name", "name"),
    "DeleteSnapshot": ("snapshot", "snapshot_id"),
    "CreateVolumeGroupSnapshot": ("group snapshot name", "name"),
    "DeleteVolumeGroupSnapshot": ("group snapshot", "group_snapshot_id"),
    "NodeStageVolume": ("volume", "volume_id"),
    "NodeUnstageVolume": ("volume", "volume_id"),
    "NodePublishVolume": ("volume", "volume_id"),
    "NodeUnpublishVolume": ("volume", "volume_id"),
    "NodeExpandVolume": ("volume", "volume_id"),
}


class Driver(Protocol):
    """What a transport serves: `FakeDriver`, or something around it that injects faults."""

    @property
    def name(self) -> str: ...

    def call(self, method: str, request: Message, *, node: str = "") -> Message:
        """Carry out one call. Raises CsiError."""


class HoldingDriver(Driver, Protocol):
    """A driver whose calls can be stopped between being let in and being carried out: what `FaultyDriver` goes around."""

    def admit(self, method: str, request: Message, *, node: str = "") -> contextlib.AbstractContextManager[Callable[[], Message]]:
        """Let one call in and hold what it changes: another call for that is ABORTED until the block ends. The function carries it
        out. Both raise CsiError."""

    def name_of(self, object_id: str) -> str:
        """The name under which a volume, snapshot or group was created; empty if there is none."""


@runtime_checkable
class SlowDriver(Driver, Protocol):
    """A driver that takes its time, as told by a caller whose clock stands still during a call."""

    def call_within(self, method: str, request: Message, *, node: str = "", timeout_s: float) -> Message:
        """As `call`, for a caller that gives up after `timeout_s`: DEADLINE_EXCEEDED, whatever becomes of the call."""


class FakeDriver:
    """A driver with this profile.

    clock: creation times and `readyAfter` follow it. data: where bytes are kept, in memory by default. journal: makes records outlive the
    process. default_node: the node a Node call is for when it names none.
    """

    def __init__(
        self,
        profile: DriverProfile,
        *,
        clock: Clock,
        data: VolumeData | None = None,
        journal: Journal | None = None,
        default_node: str = "",
    ) -> None:
        self.profile = profile
        self._storage = Storage(
            profile,
            clock=clock,
            state=DriverState(journal),
            data=MemoryData() if data is None else data,
            default_node=default_node,
        )
        self._lock = threading.Lock()
        self._busy_lock = threading.Lock()
        self._busy: set[tuple[str, str, str]] = set()
        identity, volumes = IdentityService(self._storage), VolumeService(self._storage)
        snapshots, attach, node = SnapshotService(self._storage), AttachService(self._storage), NodeService(self._storage)
        groups, health = GroupService(self._storage, snapshots), HealthService(self._storage)
        # fmt: off
        self._handlers: Final[Mapping[str, Callable[..., Message]]] = {
            "GetPluginInfo":              identity.get_plugin_info,
            "GetPluginCapabilities":      identity.get_plugin_capabilities,
            "Probe":                      identity.probe,
            "CreateVolume":               volumes.create_volume,
            "DeleteVolume":               volumes.delete_volume,
            "ValidateVolumeCapabilities": volumes.validate_volume_capabilities,
            "ListVolumes":                volumes.list_volumes,
            "GetCapacity":                volumes.get_capacity,
            "ControllerGetVolume":        volumes.controller_get_volume,
            "ControllerExpandVolume":     volumes.controller_expand_volume,
            "ControllerModifyVolume":     volumes.controller_modify_volume,
            "ControllerGetCapabilities":  attach.controller_get_capabilities,
            "ControllerPublishVolume":    attach.controller_publish_volume,
            "ControllerUnpublishVolume":  attach.controller_unpublish_volume,
            "CreateSnapshot":             snapshots.create_snapshot,
            "DeleteSnapshot":             snapshots.delete_snapshot,
            "ListSnapshots":              snapshots.list_snapshots,
            "GetSnapshot":                snapshots.get_snapshot,
            "NodeStageVolume":            node.node_stage_volume,
            "NodeUnstageVolume":          node.node_unstage_volume,
            "NodePublishVolume":          node.node_publish_volume,
            "NodeUnpublishVolume":        node.node_unpublish_volume,
            "NodeGetVolumeStats":         node.node_get_volume_stats,
            "NodeExpandVolume":           node.node_expand_volume,
            "NodeGetCapabilities":        node.node_get_capabilities,
            "NodeGetInfo":                node.node_get_info,
            "ControllerGetVolumeHealth":  health.controller_get_volume_health,
            "ControllerListVolumeHealth": health.controller_list_volume_health,
            "NodeGetVolumeHealth":        health.node_get_volume_health,
            "NodeGetStorageHealth":       health.node_get_storage_health,
            "GroupControllerGetCapabilities": groups.group_controller_get_capabilities,
            "CreateVolumeGroupSnapshot":  groups.create_volume_group_snapshot,
            "DeleteVolumeGroupSnapshot":  groups.delete_volume_group_snapshot,
            "GetVolumeGroupSnapshot":     groups.get_volume_group_snapshot,
        }
        # fmt: on
        self.data.sweep(self._storage.refs())
        if default_node:
            self._storage.register(default_node)

    @property
    def name(self) -> str:
        return self.profile.name

    @property
    def data(self) -> VolumeData:
        """The bytes, for pods that read and write through a published path and for checks."""
        return self._storage.data

    # calls

    def call(self, method: str, request: Message, *, node: str = "") -> Message:
        """Carry out one call. Raises CsiError."""
        with self.admit(method, request, node=node) as carry_out:
            return carry_out()

    @contextlib.contextmanager
    def admit(self, method: str, request: Message, *, node: str = "") -> Iterator[Callable[[], Message]]:
        """The way a call takes, in two steps; see `HoldingDriver`."""
        handler = self._handlers.get(method)
        service = service_of(method) if method in METHODS else ""
        if handler is None or not self.offers(method):
            raise CsiError(CsiCode.UNIMPLEMENTED, f"{method} is not supported by driver {self.name}", method=method)
        try:
            checks.check_sizes(request)
            if len(node.encode("utf-8", "surrogatepass")) > checks.NODE_ID_BYTES_MAX:
                raise checks.invalid(f"node id is longer than {checks.NODE_ID_BYTES_MAX} bytes")

            def carry_out() -> Message:
                with self._lock:
                    return handler(request, node) if service == "Node" else handler(request)

            with self._alone(method, request, node if service == "Node" else ""):
                yield carry_out
        except CsiError as error:
            error.method = method
            raise

    def name_of(self, object_id: str) -> str:
        """The name under which a volume, snapshot or group was created; empty if there is none."""
        with self._lock:
            state = self._storage.state
            record = state.volumes.get(object_id) or state.snapshots.get(object_id) or state.groups.get(object_id)
            return "" if record is None else record.name

    def offers(self, method: str) -> bool:
        """Whether the profile advertises what a method needs."""
        service = service_of(method)
        if service == "Identity":
            return True
        if service == "Node":
            return self.profile.node_service and (method not in NEEDS or NEEDS[method] in self.profile.node)
        needed = NEEDS.get(method)
        if service == "GroupController":
            return "GROUP_CONTROLLER_SERVICE" in self.profile.services and (needed is None or needed in self.profile.group)
        return "CONTROLLER_SERVICE" in self.profile.services and (needed is None or needed in self.profile.controller)

    @contextlib.contextmanager
    def _alone(self, method: str, request: Message, node: str) -> Iterator[None]:
        """Hold the object a call changes, or ABORTED. Without its id the call is refused by the service, so nothing is held."""
        space, field = BUSY.get(method, ("", ""))
        name = getattr(request, field) if field else ""
        if not name:
            yield
            return
        key = (space, name, node)
        with self._busy_lock:
            if key in self._busy:
                raise CsiError(CsiCode.ABORTED, f"an operation on {space} {name} is under way")
            self._busy.add(key)
        try:
            yield
        finally:
            with self._busy_lock:
                self._busy.discard(key)

    # what the world around a driver knows

    def register_node(self, node_id: str, labels: Mapping[str, str]) -> None:
        """Run on a node with these labels; those of the profile's topology keys say where it is."""
        with self._lock:
            self._storage.register(node_id, labels)

    def volumes(self) -> list[VolumeRecord]:
        """Records in the order of creation, for checks and reports."""
        with self._lock:
            return list(self._storage.state.volumes.values())

    def snapshots(self) -> list[SnapshotRecord]:
        """Records in the order of creation, for checks and reports."""
        with self._lock:
            return list(self._storage.state.snapshots.values())

    def groups(self) -> list[GroupRecord]:
        """Records in the order of creation, for checks and reports."""
        with self._lock:
            return list(self._storage.state.groups.values())

    @property
    def changes(self) -> int:
        """How often this process has changed its records: equal numbers, equal records."""
        return self._storage.state.changes

    def digest_volume(self, volume_id: str) -> str:
        """SHA-256 over a volume's content."""
        with self._lock:
            return self.data.digest(Ref("volumes", self._storage.volume(volume_id).volume_id))

    def digest_snapshot(self, snapshot_id: str) -> str:
        """SHA-256 over a snapshot's content; equals that of the volume at the cut."""
        with self._lock:
            return self.data.digest(Ref("snapshots", self._storage.snapshot(snapshot_id).snapshot_id))

    def free_bytes(self, segments: Mapping[str, str], pool: str = "") -> int:
        """Bytes left in a segment's pool."""
        with self._lock:
            return self._storage.free_bytes(segments, pool)

    # state as data

    def export_state(self) -> dict[str, Any]:
        """Everything acknowledged, and bytes that live in memory only, as plain JSON data."""
        with self._lock:
            return {"driver": self.name, "records": self._storage.state.export(), "data": self.data.export()}

    def import_state(self, exported: Mapping[str, Any]) -> None:
        """Take what `export_state` gave, in place of everything. Raises InputError if it is another driver's."""
        if exported.get("driver") != self.name:
            raise InputError(f"driver state is of {exported.get('driver')!r}, this driver is {self.name!r}")
        with self._lock:
            self._storage.state.replace(cast(Mapping[str, Any], exported.get("records", {})))
            self.data.replace(cast(Mapping[str, Any], exported.get("data", {})))
            self.data.sweep(self._storage.refs())

    def close(self) -> None:
        """Let go of the journal."""
        with self._lock:
            self._storage.state.close()
