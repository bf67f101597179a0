"""What a fake driver claims to be: capabilities, topology, sizes and limits, as one immutable value.

A profile answers every "does this driver …" question of the backend, so two drivers differ in data only. `zonal` is the small driver of
the recorded stories, `full` has every capability the backend implements.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

from volsched import __version__
from volsched.errors import InputError

Segments: TypeAlias = Mapping[str, str]  # topology key -> value

ZONE_KEY: Final = "topology.kubernetes.io/zone"
ZONAL_DRIVER: Final = "zonal.csi.volsched.dev"
FULL_DRIVER: Final = "full.csi.volsched.dev"

POOL_MARK: Final = "@"  # in no topology value
GIB: Final = 1 << 30
# What a pool without a configured size says it has left: more than any claim asks for, small enough to be added up.
UNLIMITED_BYTES: Final = 1 << 50

MUTABLE_PARAMETERS: Final = ("iops", "throughput", "tier")  # what the full driver lets be changed

ACCESS_MODES: Final = (
    "SINGLE_NODE_WRITER",
    "SINGLE_NODE_READER_ONLY",
    "MULTI_NODE_READER_ONLY",
    "MULTI_NODE_SINGLE_WRITER",
    "MULTI_NODE_MULTI_WRITER",
    "SINGLE_NODE_SINGLE_WRITER",
    "SINGLE_NODE_MULTI_WRITER",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DriverProfile:
    """Everything about a driver that never changes while it runs."""

    name: str
    vendor_version: str = __version__
    services: tuple[str, ...] = ("CONTROLLER_SERVICE",)  # plugin capabilities
    expansion: Literal["ONLINE", "OFFLINE"] | None = None
    controller: tuple[str, ...] = ()  # ControllerServiceCapability types
    node: tuple[str, ...] = ()  # NodeServiceCapability types
    group: tuple[str, ...] = ()  # GroupControllerServiceCapability types
    node_service: bool = False  # whether the Node service is served at all
    inline_volumes: bool = False  # whether NodePublishVolume makes the volumes that are written into pods

    topology_keys: tuple[str, ...] = ()
    # Every segment there is. None: those of the registered nodes, and any that a request names.
    segments: tuple[Segments, ...] | None = None
    # The topology key that tells nodes apart, if there is one; see `source_scope`.
    node_key: str | None = None
    # From how many topologies each volume is reachable (x of spec/volumes.md 6.4).
    reachable: int = 1
    # `ordered`: preferred first to last, then the rest of requisite. `first`: the first preferred, else the first requisite, or nothing.
    placement: Literal["ordered", "first"] = "ordered"
    # From where a snapshot or a clone's source can be read: anywhere; in its own topology, `node_key` apart; only on its own node.
    source_scope: Literal["anywhere", "topology", "node"] = "anywhere"
    # Which volumes one group snapshot may cover: any; those with the same topologies.
    group_scope: Literal["anywhere", "topology"] = "anywhere"

    # Bytes per segment, by its values joined with "/" in the order of `topology_keys` ("" without topology). Not named: unlimited.
    # Several pools a segment: `POOL@SEGMENT`; the class parameter `pool` names one, which is only where it is named here.
    capacity: Mapping[str, int] = field(default_factory=dict)
    default_bytes: int = GIB  # size of a volume for which none is asked
    max_bytes: int = 0  # largest volume, 0 = no limit
    max_volumes_per_node: int = 0  # 0 = no limit

    access_modes: tuple[str, ...] = ACCESS_MODES
    access_types: tuple[str, ...] = ("block", "mount")
    parameters: frozenset[str] | None = None  # class parameters known to the driver, None = any
    mutable_parameters: frozenset[str] | None = None  # keys ControllerModifyVolume takes, None = any
    independent_snapshots: bool = True  # False: a volume with snapshots cannot be deleted
    independent_restores: bool = True  # False: a snapshot cannot be deleted while a volume restored from it lives

    def __post_init__(self) -> None:
        check_driver_name(self.name)
        if self.reachable < 1:
            raise InputError(f"driver {self.name}: reachable is {self.reachable}, has to be 1 or more")
        for segments in self.segments or ():
            if sorted(segments) != sorted(self.topology_keys):
                raise InputError(f"driver {self.name}: segment {dict(segments)} does not have exactly the keys {list(self.topology_keys)}")
        known = None if self.segments is None else {self.segment_text(segments) for segments in self.segments}
        if not self.topology_keys:
            known = {""}
        for name, size in self.capacity.items():
            segment = split_pool(name)[1]
            if known is not None and segment not in known:
                raise InputError(f"driver {self.name}: capacity names {segment!r}, which is none of {sorted(known)}")
            if size < 0:
                raise InputError(f"driver {self.name}: capacity of {name!r} is {size}, has to be 0 or more bytes")

    @property
    def topology(self) -> bool:
        """Whether volumes are reachable from some places only."""
        return "VOLUME_ACCESSIBILITY_CONSTRAINTS" in self.services

    @property
    def pools(self) -> list[str]:
        """The pools by name, sorted; `""` is that of segments named without a pool. Empty = the driver has none to tell apart."""
        found = sorted({split_pool(name)[0] for name in self.capacity})
        return [] if found == [""] else found

    def segment_text(self, segments: Segments) -> str:
        """The name of a segment in `capacity` and in messages: its values in the order of the keys."""
        return "/".join(segments.get(key, "") for key in self.topology_keys)


def split_pool(name: str) -> tuple[str, str]:
    """(pool, segment) of a key of `capacity`."""
    pool, _, segment = name.rpartition(POOL_MARK)
    return pool, segment


def check_driver_name(name: str) -> None:
    """Raise InputError unless `name` is a legal driver name: 1 to 63 of alphanumerics, `-`, `.`, with alphanumeric ends."""
    plain = name.replace("-", "").replace(".", "")
    if not (1 <= len(name) <= 63 and plain.isascii() and plain.isalnum() and name[0].isalnum() and name[-1].isalnum()):
        raise InputError(f"driver name {name!r} has to be 1 to 63 letters, digits, '-' or '.', beginning and ending with a letter or digit")


def zones(names: Sequence[str], *, key: str = ZONE_KEY) -> tuple[Segments, ...]:
    """One segment per zone name."""
    for name in names:
        inner = name.replace("-", "").replace(".", "").replace("_", "")
        if not (1 <= len(name) <= 63 and inner.isascii() and inner.isalnum() and name[0].isalnum() and name[-1].isalnum()):
            raise InputError(f"zone {name!r} has to be 1 to 63 letters, digits, '-', '_' or '.', with a letter or digit at both ends")
    if len(set(names)) != len(names):
        raise InputError(f"zones {','.join(names)}: one is named twice")
    return tuple({key: name} for name in names)


def zonal(
    *,
    name: str = ZONAL_DRIVER,
    topology_key: str = ZONE_KEY,
    zone_names: Sequence[str] | None = None,
    capacity: Mapping[str, int] | None = None,
) -> DriverProfile:
    """The driver of the recorded stories: controller only, one zone a volume, the first zone asked for or none."""
    return DriverProfile(
        name=name,
        services=("CONTROLLER_SERVICE", "VOLUME_ACCESSIBILITY_CONSTRAINTS"),
        controller=(
            "CREATE_DELETE_VOLUME",
            "CREATE_DELETE_SNAPSHOT",
            "LIST_SNAPSHOTS",
            "CLONE_VOLUME",
            "GET_CAPACITY",
            "SINGLE_NODE_MULTI_WRITER",
        ),
        topology_keys=(topology_key,),
        segments=None if zone_names is None else zones(zone_names, key=topology_key),
        placement="first",
        capacity=dict(capacity or {}),
    )


def full(
    *,
    name: str = FULL_DRIVER,
    topology_key: str = ZONE_KEY,
    zone_names: Sequence[str] | None = None,
    capacity: Mapping[str, int] | None = None,
    max_volumes_per_node: int = 0,
    reachable: int = 1,
    source_scope: Literal["anywhere", "topology", "node"] = "anywhere",
    mutable_parameters: frozenset[str] | None = frozenset(MUTABLE_PARAMETERS),
) -> DriverProfile:
    """Every capability. `zone_names` None: the zones of the registered nodes; empty: no topology, reachable from everywhere."""
    topology = zone_names is None or len(zone_names) > 0
    return DriverProfile(
        name=name,
        services=(
            "CONTROLLER_SERVICE",
            *(("VOLUME_ACCESSIBILITY_CONSTRAINTS", "SNAPSHOT_ACCESSIBILITY_CONSTRAINTS") if topology else ()),
            "GROUP_CONTROLLER_SERVICE",
        ),
        expansion="ONLINE",
        controller=(
            "CREATE_DELETE_VOLUME",
            "PUBLISH_UNPUBLISH_VOLUME",
            "LIST_VOLUMES",
            "GET_CAPACITY",
            "CREATE_DELETE_SNAPSHOT",
            "LIST_SNAPSHOTS",
            "CLONE_VOLUME",
            "PUBLISH_READONLY",
            "EXPAND_VOLUME",
            "LIST_VOLUMES_PUBLISHED_NODES",
            "VOLUME_CONDITION",
            "GET_VOLUME",
            "SINGLE_NODE_MULTI_WRITER",
            "MODIFY_VOLUME",
            "GET_SNAPSHOT",
            "GET_VOLUME_HEALTH",
            "LIST_VOLUME_HEALTH",
        ),
        node=(
            "STAGE_UNSTAGE_VOLUME",
            "GET_VOLUME_STATS",
            "EXPAND_VOLUME",
            "VOLUME_CONDITION",
            "SINGLE_NODE_MULTI_WRITER",
            "VOLUME_MOUNT_GROUP",
            "GET_VOLUME_HEALTH",
            "GET_STORAGE_HEALTH",
        ),
        group=("CREATE_DELETE_GET_VOLUME_GROUP_SNAPSHOT",),
        node_service=True,
        inline_volumes=True,
        topology_keys=(topology_key,) if topology else (),
        segments=None if zone_names is None else zones(zone_names, key=topology_key),
        reachable=reachable,
        source_scope=source_scope,
        capacity=dict(capacity or {}),
        max_volumes_per_node=max_volumes_per_node,
        mutable_parameters=mutable_parameters,
    )


PROFILES: Final = ("zonal", "full")
