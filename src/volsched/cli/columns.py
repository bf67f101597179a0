"""What `get` shows of each kind: column titles and how a cell is read, as kubectl prints them.

One table, kind by kind. A cell function takes the object and the cluster's present time in nanoseconds. Columns marked wide appear with
`-o wide` only; minor ones make way where a terminal is too narrow.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from volsched.api.edit import is_deleting, labels_of
from volsched.api.kinds import meta
from volsched.cache.explain import affinity_text as selector_text

NONE: Final = "<none>"
UNSET: Final = "<unset>"
ACCESS_MODES: Final = {"ReadWriteOnce": "RWO", "ReadOnlyMany": "ROX", "ReadWriteMany": "RWX", "ReadWriteOncePod": "RWOP"}


class Column(NamedTuple):
    title: str
    cell: Callable[[Any, int], str]
    wide: bool = False
    minor: bool = False


def age(when: datetime.datetime | None, now_ns: int) -> str:
    """How long ago, as kubectl shortens it: 5s, 3m20s, 24m, 3h5m, 9h, 2d3h, 12d, 1y40d."""
    if when is None:
        return "<unknown>"
    seconds = max(0, int(now_ns / 1e9 - when.timestamp()))
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if seconds < 120:
        return f"{seconds}s"
    if minutes < 10:
        return _two(minutes, "m", seconds % 60, "s")
    if minutes < 180:
        return f"{minutes}m"
    if hours < 8:
        return _two(hours, "h", minutes % 60, "m")
    if hours < 48:
        return f"{hours}h"
    if hours < 192:
        return _two(days, "d", hours % 24, "h")
    if days < 730:
        return f"{days}d"
    return _two(days // 365, "y", days % 365, "d")


def _two(large: int, large_unit: str, small: int, small_unit: str) -> str:
    return f"{large}{large_unit}{small}{small_unit}" if small else f"{large}{large_unit}"


def _created(obj: Any, now_ns: int) -> str:
    return age(meta(obj).creationTimestamp, now_ns)


def _text(value: object | None) -> str:
    if value is None or value == "":
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _field(*path: str, empty: str = "") -> Callable[[Any, int], str]:
    """A cell that reads a field by its path; `empty` where it is unset."""

    def read(obj: Any, _now_ns: int) -> str:
        value: Any = obj
        for name in path:
            value = value.get(name) if isinstance(value, Mapping) else getattr(value, name, None)
            if value is None:
                return empty
        return _text(value) or empty

    return read


def access_modes(modes: Sequence[str] | None) -> str:
    """RWO,ROX,… in kubectl's short form."""
    return ",".join(ACCESS_MODES.get(mode, mode) for mode in modes or ())


def pod_status(pod: Any) -> str:
    """The STATUS column of a pod: Terminating, a waiting reason, or the phase."""
    if is_deleting(pod):
        return "Terminating"
    status = pod.status
    for container in (status.containerStatuses if status else None) or ():
        waiting = container.state.waiting if container.state else None
        if waiting is not None and waiting.reason:
            return str(waiting.reason)
    return str((status.phase if status else None) or "Pending")


def _ready(pod: Any, _now_ns: int) -> str:
    total = len(pod.spec.containers or ())
    statuses = (pod.status.containerStatuses if pod.status else None) or ()
    ready = sum(bool(container.ready) for container in statuses)
    if not statuses and pod.status and any(c.type == "Ready" and c.status == "True" for c in pod.status.conditions or ()):
        ready = total
    return f"{ready}/{total}"


def _node_status(node: Any, _now_ns: int) -> str:
    conditions = (node.status.conditions if node.status else None) or ()
    ready = next((c.status for c in conditions if c.type == "Ready"), None)
    words = ["Unknown" if ready is None else "Ready" if ready == "True" else "NotReady"]
    if node.spec and node.spec.unschedulable:
        words.append("SchedulingDisabled")
    return ",".join(words)


def _node_roles(node: Any, _now_ns: int) -> str:
    prefix = "node-role.kubernetes.io/"
    return ",".join(sorted(key.removeprefix(prefix) for key in labels_of(node) if key.startswith(prefix))) or NONE


def _node_zone(node: Any, _now_ns: int) -> str:
    labels = labels_of(node)
    return labels.get("topology.kubernetes.io/zone") or labels.get("failure-domain.beta.kubernetes.io/zone") or NONE


def _taints(node: Any, _now_ns: int) -> str:
    return ",".join(f"{t.key}:{t.effect}" for t in (node.spec.taints if node.spec else None) or ()) or NONE


def _phase(obj: Any, _now_ns: int) -> str:
    if is_deleting(obj):
        return "Terminating"
    return _text(obj.status.phase if obj.status else None) or "Pending"


def _claim(pv: Any, _now_ns: int) -> str:
    ref = pv.spec.claimRef
    return f"{ref.namespace}/{ref.name}" if ref else ""


def _pvc_capacity(pvc: Any, _now_ns: int) -> str:
    return _text((pvc.status.capacity or {}).get("storage") if pvc.status else None)


def _pvc_modes(pvc: Any, _now_ns: int) -> str:
    return access_modes(pvc.status.accessModes if pvc.status else None)


def _topology(obj: Any, _now_ns: int) -> str:
    terms = obj.allowedTopologies or ()
    text = " | ".join(" ".join(f"{e.key}={','.join(e.values)}" for e in term.matchLabelExpressions or ()) for term in terms)
    return text or NONE


def affinity_text(pv: Any) -> str:
    """Where a volume can be reached from, in one line."""
    return selector_text(pv.spec.nodeAffinity.required if pv.spec.nodeAffinity else None) or NONE


def _default_class(suffix: str) -> Callable[[Any, int], str]:
    def name(obj: Any, _now_ns: int) -> str:
        annotations = meta(obj).annotations or {}
        default = any(
            annotations.get(f"{prefix}{suffix}") == "true" for prefix in ("storageclass.", "storageclass.beta.", "snapshot.storage.")
        )
        return f"{meta(obj).name} (default)" if default else str(meta(obj).name)

    return name


def _snapshot_source(field: str) -> Callable[[Any, int], str]:
    return _field("spec", "source", field)


def _capacity_segment(obj: Any, _now_ns: int) -> str:
    labels = (obj.nodeTopology.matchLabels if obj.nodeTopology else None) or {}
    return ",".join(f"{key}={value}" for key, value in sorted(labels.items())) or NONE


def _drivers(obj: Any, _now_ns: int) -> str:
    return str(len(obj.spec.drivers or ()))


def _csinode_detail(obj: Any, _now_ns: int) -> str:
    def limit(driver: Any) -> str:
        count = driver.allocatable.count if driver.allocatable else None
        return "" if count is None else f" (≤{count})"

    return ", ".join(driver.name + limit(driver) for driver in obj.spec.drivers or ()) or NONE


def event_row(event: Any, now_ns: int, kind_name: Callable[[str], str] = str) -> list[str]:
    """LAST SEEN, TYPE, REASON, OBJECT, MESSAGE as `kubectl events` prints them; `kind_name` is how the kind of OBJECT is written."""
    seen = age(event.lastTimestamp, now_ns)
    if (event.count or 1) > 1:
        seen += f" (x{event.count} over {age(event.firstTimestamp, now_ns)})"
    target = event.involvedObject
    return [seen, event.type or "", event.reason or "", f"{kind_name(target.kind or '')}/{target.name}", event.message or ""]


def _restarts(pod: Any, _now_ns: int) -> str:
    return str(sum(container.restartCount for container in (pod.status.containerStatuses if pod.status else None) or ()))


def _attached(obj: Any, _now_ns: int) -> str:
    return _text(bool(obj.status and obj.status.attached))


_NAME: Final = Column("NAME", lambda obj, _now: str(meta(obj).name))
_AGE: Final = Column("AGE", _created)
_VAC: Final = Column("VOLUMEATTRIBUTESCLASS", _field("spec", "volumeAttributesClassName", empty=UNSET), minor=True)
_MODE: Final = Column("VOLUMEMODE", _field("spec", "volumeMode"), wide=True)

# fmt: off
COLUMNS: Final[Mapping[str, tuple[Column, ...]]] = {
    "Pod": (
        _NAME, Column("READY", _ready), Column("STATUS", lambda pod, _now: pod_status(pod)), Column("RESTARTS", _restarts), _AGE,
        Column("NODE", _field("spec", "nodeName", empty=NONE), wide=True),
        Column("NOMINATED NODE", _field("status", "nominatedNodeName", empty=NONE), wide=True),
    ),
    "Node": (
        _NAME, Column("STATUS", _node_status), Column("ROLES", _node_roles), Column("ZONE", _node_zone), _AGE,
        Column("TAINTS", _taints, wide=True),
    ),
    "PersistentVolumeClaim": (
        _NAME, Column("STATUS", _phase), Column("VOLUME", _field("spec", "volumeName")), Column("CAPACITY", _pvc_capacity),
        Column("ACCESS MODES", _pvc_modes, minor=True), Column("STORAGECLASS", _field("spec", "storageClassName")), _VAC, _AGE, _MODE,
    ),
    "PersistentVolume": (
        _NAME, Column("CAPACITY", _field("spec", "capacity", "storage")),
        Column("ACCESS MODES", lambda pv, _now: access_modes(pv.spec.accessModes), minor=True),
        Column("RECLAIM POLICY", _field("spec", "persistentVolumeReclaimPolicy"), minor=True), Column("STATUS", _phase),
        Column("CLAIM", _claim), Column("STORAGECLASS", _field("spec", "storageClassName")), _VAC,
        Column("REASON", _field("status", "reason"), minor=True), _AGE, _MODE,
        Column("REACHABLE FROM", lambda pv, _now: affinity_text(pv), wide=True),
    ),
    "StorageClass": (
        Column("NAME", _default_class("kubernetes.io/is-default-class")), Column("PROVISIONER", _field("provisioner")),
        Column("RECLAIMPOLICY", _field("reclaimPolicy"), minor=True), Column("VOLUMEBINDINGMODE", _field("volumeBindingMode")),
        Column("ALLOWVOLUMEEXPANSION", _field("allowVolumeExpansion", empty="false"), minor=True), _AGE,
        Column("TOPOLOGIES", _topology, wide=True),
    ),
    "CSIDriver": (
        _NAME, Column("ATTACHREQUIRED", _field("spec", "attachRequired")),
        Column("PODINFOONMOUNT", _field("spec", "podInfoOnMount"), minor=True),
        Column("STORAGECAPACITY", _field("spec", "storageCapacity")), _AGE,
    ),
    "CSINode": (_NAME, Column("DRIVERS", _drivers), _AGE, Column("INSTALLED", _csinode_detail, wide=True)),
    "CSIStorageCapacity": (
        _NAME, Column("STORAGECLASS", _field("storageClassName")), Column("CAPACITY", _field("capacity", empty=UNSET)),
        Column("MAXIMUM", _field("maximumVolumeSize", empty=UNSET)), Column("SEGMENT", _capacity_segment), _AGE,
    ),
    "VolumeAttachment": (
        _NAME, Column("ATTACHER", _field("spec", "attacher")), Column("PV", _field("spec", "source", "persistentVolumeName")),
        Column("NODE", _field("spec", "nodeName")), Column("ATTACHED", _attached), _AGE,
    ),
    "VolumeSnapshot": (
        _NAME, Column("READYTOUSE", _field("status", "readyToUse")), Column("SOURCEPVC", _snapshot_source("persistentVolumeClaimName")),
        Column("SOURCESNAPSHOTCONTENT", _snapshot_source("volumeSnapshotContentName"), minor=True),
        Column("RESTORESIZE", _field("status", "restoreSize")),
        Column("SNAPSHOTCLASS", _field("spec", "volumeSnapshotClassName"), minor=True),
        Column("SNAPSHOTCONTENT", _field("status", "boundVolumeSnapshotContentName")), _AGE,
    ),
    "VolumeSnapshotContent": (
        _NAME, Column("READYTOUSE", _field("status", "readyToUse")), Column("RESTORESIZE", _field("status", "restoreSize")),
        Column("DELETIONPOLICY", _field("spec", "deletionPolicy"), minor=True), Column("DRIVER", _field("spec", "driver")),
        Column("VOLUMESNAPSHOTCLASS", _field("spec", "volumeSnapshotClassName"), minor=True),
        Column("VOLUMESNAPSHOT", _field("spec", "volumeSnapshotRef", "name")),
        Column("VOLUMESNAPSHOTNAMESPACE", _field("spec", "volumeSnapshotRef", "namespace"), minor=True), _AGE,
        Column("HANDLE", _field("status", "snapshotHandle"), wide=True),
    ),
    "VolumeSnapshotClass": (
        Column("NAME", _default_class("kubernetes.io/is-default-class")), Column("DRIVER", _field("driver")),
        Column("DELETIONPOLICY", _field("deletionPolicy")), _AGE,
    ),
    "VolumeAttributesClass": (_NAME, Column("DRIVERNAME", _field("driverName")), _AGE),
    "Namespace": (_NAME, Column("STATUS", _field("status", "phase", empty="Active")), _AGE),
    "PriorityClass": (
        _NAME, Column("VALUE", _field("value")), Column("GLOBAL-DEFAULT", _field("globalDefault", empty="false")), _AGE,
    ),
}
# fmt: on
DEFAULT_COLUMNS: Final = (_NAME, _AGE)


def columns_of(kind: str, *, wide: bool) -> list[Column]:
    """The columns of a kind; kinds without a row of their own show name and age."""
    return [column for column in COLUMNS.get(kind, DEFAULT_COLUMNS) if wide or not column.wide]
