"""`describe`: one object in full, its relations first, its events last, in kubectl's layout.

Kinds of storage and scheduling have rows of their own; every other kind shows its spec and status as YAML.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from volsched.api.edit import annotations_of, finalizers_of, is_deleting, labels_of
from volsched.api.kinds import kind_of, meta, to_json
from volsched.cli.columns import NONE, UNSET, access_modes, affinity_text, age, event_row, pod_status
from volsched.cli.layout import grid, wrapped
from volsched.cli.output import yaml_text

LAST_APPLIED: Final = "kubectl.kubernetes.io/last-applied-configuration"  # kept for `apply`, of no interest to a reader


class Table(NamedTuple):
    """A value that is a table of its own; its last column may be prose."""

    titles: Sequence[str]
    rows: Sequence[Sequence[str]]


Row = tuple[str, str | list[str] | Table]


def _pairs(values: Mapping[str, str] | None, separator: str) -> list[str]:
    return [f"{key}{separator}{value}" for key, value in sorted((values or {}).items())] or [NONE]


def _quantities(values: Mapping[str, str] | None) -> list[str]:
    return [f"{key}: {value}" for key, value in sorted((values or {}).items())] or [NONE]


def _yes(value: object | None) -> str:
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _time(value: datetime.datetime | None) -> str:
    """A time as the API writes it."""
    return "" if value is None else value.astimezone(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _conditions(status: Any) -> list[str] | Table:
    conditions = (status.conditions if status else None) or ()
    if not conditions:
        return [NONE]
    rows = [(c.type, c.status, getattr(c, "reason", None) or "", getattr(c, "message", None) or "") for c in conditions]
    return Table(("Type", "Status", "Reason", "Message"), rows)


def _pod(pod: Any) -> list[Row]:
    spec, status = pod.spec, pod.status
    volumes = []
    for volume in spec.volumes or ():
        if volume.persistentVolumeClaim:
            volumes.append(f"{volume.name}: claim {volume.persistentVolumeClaim.claimName}")
        elif volume.ephemeral:
            volumes.append(f"{volume.name}: ephemeral claim {meta(pod).name}-{volume.name}")
        else:
            volumes.append(f"{volume.name}: {next((f for f in volume.__struct_fields__ if f != 'name' and getattr(volume, f)), 'empty')}")
    requests = [
        f"{container.name}: " + (", ".join(_quantities(container.resources.requests)) if container.resources else NONE)
        for container in [*(spec.initContainers or ()), *(spec.containers or ())]
    ]
    started: list[Row] = []
    if status and status.startTime:
        started = [("Start Time", status.startTime.astimezone(datetime.UTC).strftime("%a, %d %b %Y %H:%M:%S +0000"))]
    return [
        ("Priority", _yes(spec.priority or 0)),
        ("Node", spec.nodeName or NONE),
        *started,
        ("Nominated Node", (status.nominatedNodeName if status else None) or NONE),
        ("Status", pod_status(pod)),
        ("Scheduler", spec.schedulerName or ""),
        ("Requests", requests),
        ("Volumes", volumes or [NONE]),
        ("Node-Selectors", _pairs(spec.nodeSelector, "=")),
        ("Tolerations", [_toleration(t) for t in spec.tolerations or ()] or [NONE]),
        ("Conditions", _conditions(status)),
    ]


def _toleration(toleration: Any) -> str:
    """`key=value:effect op=Exists for 300s`, each part where there is one. Source: kubectl, printTolerationsMultilineWithIndent."""
    text = toleration.key or ""
    if toleration.value:
        text += f"={toleration.value}"
    if toleration.effect:
        text += f":{toleration.effect}"
    if toleration.operator == "Exists" and not toleration.value:
        text += " op=Exists"
    if toleration.tolerationSeconds is not None:
        text += f" for {toleration.tolerationSeconds}s"
    return text.strip()


def _claim(pvc: Any) -> list[Row]:
    spec, status = pvc.spec, pvc.status
    source = spec.dataSourceRef or spec.dataSource
    return [
        ("StorageClass", spec.storageClassName or ""),
        ("Status", "Terminating" if is_deleting(pvc) else _yes(status.phase if status else None)),
        ("Volume", spec.volumeName or ""),
        ("Capacity", (status.capacity or {}).get("storage", "") if status else ""),
        ("Requested", ((spec.resources.requests if spec.resources else None) or {}).get("storage", "")),
        ("Access Modes", access_modes((status.accessModes if status else None) or spec.accessModes)),
        ("VolumeMode", spec.volumeMode or ""),
        ("VolumeAttributesClass", spec.volumeAttributesClassName or UNSET),
        ("DataSource", f"{source.kind}/{source.name}" if source else NONE),
        ("Conditions", _conditions(status)),
    ]


def _volume(pv: Any) -> list[Row]:
    spec, status = pv.spec, pv.status
    claim = spec.claimRef
    source = next((f for f in spec.__struct_fields__ if f in _SOURCES and getattr(spec, f)), None)
    detail = to_json(getattr(spec, source)) if source else {}
    return [
        ("StorageClass", spec.storageClassName or ""),
        ("Status", "Terminating" if is_deleting(pv) else _yes(status.phase if status else None)),
        ("Claim", f"{claim.namespace}/{claim.name}" if claim else ""),
        ("Reclaim Policy", spec.persistentVolumeReclaimPolicy or ""),
        ("Access Modes", access_modes(spec.accessModes)),
        ("VolumeMode", spec.volumeMode or ""),
        ("Capacity", (spec.capacity or {}).get("storage", "")),
        ("Node Affinity", affinity_text(pv)),
        ("Message", (status.message if status else None) or ""),
        ("Source", [f"Type: {source or 'unknown'}", *_flat(detail)]),
    ]


def _flat(detail: Mapping[str, Any]) -> list[str]:
    """Fields of a source, one a line; a map or a reference has its own entries after its name."""
    lines = []
    for key, value in sorted(detail.items()):
        if isinstance(value, Mapping):
            lines.append(f"{key}: " + ", ".join(_pairs({name: _yes(item) for name, item in value.items()}, "=")))
        elif isinstance(value, list):
            lines.append(f"{key}: " + ", ".join(map(_yes, value)))
        else:
            lines.append(f"{key}: {_yes(value)}")
    return lines


_SOURCES: Final = frozenset(
    {"csi", "local", "hostPath", "nfs", "awsElasticBlockStore", "gcePersistentDisk", "azureDisk", "cinder", "iscsi", "rbd"}
)


def _class(sc: Any) -> list[Row]:
    terms = [
        " and ".join(f"{e.key} in [{', '.join(e.values)}]" for e in term.matchLabelExpressions or ()) or "(matches nothing)"
        for term in sc.allowedTopologies or ()
    ]
    return [
        ("Provisioner", sc.provisioner),
        ("Parameters", _pairs(sc.parameters, "=")),
        ("AllowVolumeExpansion", _yes(sc.allowVolumeExpansion or False)),
        ("MountOptions", list(sc.mountOptions or ()) or [NONE]),
        ("ReclaimPolicy", sc.reclaimPolicy or ""),
        ("VolumeBindingMode", sc.volumeBindingMode or ""),
        ("AllowedTopologies", terms or [NONE]),
    ]


def _node(node: Any) -> list[Row]:
    spec, status = node.spec, node.status
    return [
        (
            "Taints",
            [f"{t.key}={t.value}:{t.effect}" if t.value else f"{t.key}:{t.effect}" for t in (spec.taints if spec else None) or ()]
            or [NONE],
        ),
        ("Unschedulable", _yes(bool(spec and spec.unschedulable))),
        ("Allocatable", _quantities(status.allocatable if status else None)),
        ("Conditions", _conditions(status)),
    ]


def _snapshot(vs: Any) -> list[Row]:
    status = vs.status
    source = vs.spec.source
    return [
        (
            "Source",
            f"PersistentVolumeClaim {source.persistentVolumeClaimName}"
            if source.persistentVolumeClaimName
            else f"VolumeSnapshotContent {source.volumeSnapshotContentName}",
        ),
        ("Class", vs.spec.volumeSnapshotClassName or ""),
        ("Content", (status.boundVolumeSnapshotContentName if status else None) or ""),
        ("Ready To Use", _yes(status.readyToUse if status else None)),
        ("Restore Size", (status.restoreSize if status else None) or ""),
        ("Creation Time", _time(status.creationTime if status else None)),
        ("Error", (status.error.message if status and status.error else None) or NONE),
    ]


def _content(vsc: Any) -> list[Row]:
    spec, status = vsc.spec, vsc.status
    ref = spec.volumeSnapshotRef
    return [
        ("Snapshot", f"{ref.namespace}/{ref.name}"),
        ("Driver", spec.driver),
        ("Deletion Policy", spec.deletionPolicy),
        ("Class", spec.volumeSnapshotClassName or ""),
        ("Source", f"volume {spec.source.volumeHandle}" if spec.source.volumeHandle else f"snapshot {spec.source.snapshotHandle}"),
        ("Source Volume Mode", spec.sourceVolumeMode or ""),
        ("Snapshot Handle", (status.snapshotHandle if status else None) or ""),
        ("Creation Time", _nanoseconds(status.creationTime if status else None)),
        ("Ready To Use", _yes(status.readyToUse if status else None)),
        ("Restore Size", _yes(status.restoreSize if status else None)),
        ("Error", (status.error.message if status and status.error else None) or NONE),
    ]


def _nanoseconds(value: int | None) -> str:
    """The time of a content, which is in nanoseconds since the epoch."""
    return "" if value is None else _time(datetime.datetime.fromtimestamp(value // 10**9, datetime.UTC))


def _other(obj: Any) -> list[Row]:
    body = {key: value for key, value in to_json(obj).items() if key not in ("apiVersion", "kind", "metadata")}
    return [(key[:1].upper() + key[1:], yaml_text(value).splitlines()) for key, value in body.items()]


_ROWS: Final[Mapping[str, Callable[[Any], list[Row]]]] = {
    "Pod": _pod,
    "PersistentVolumeClaim": _claim,
    "PersistentVolume": _volume,
    "StorageClass": _class,
    "Node": _node,
    "VolumeSnapshot": _snapshot,
    "VolumeSnapshotContent": _content,
}


def describe(obj: Any, events: Sequence[Any], *, used_by: Iterable[str] | None, now_ns: int, width: int | None = None) -> str:
    """The whole text. `events` are those regarding the object, oldest first; `used_by` the pods of a claim, None for other kinds.

    width: columns of the terminal, None for as wide as it gets.
    """
    metadata = meta(obj)
    annotations = {key: value for key, value in annotations_of(obj).items() if key != LAST_APPLIED}
    rows: list[Row] = [("Name", metadata.name or "")]
    if kind_of(obj).namespaced:
        rows.append(("Namespace", metadata.namespace or ""))
    rows += [("Labels", _pairs(labels_of(obj), "=")), ("Annotations", _pairs(annotations, ": "))]
    if is_deleting(obj):
        rows.append(("Deletion", f"asked for {age(metadata.deletionTimestamp, now_ns)} ago"))
    if finalizers_of(obj):
        rows.append(("Finalizers", list(finalizers_of(obj))))
    rows += _ROWS.get(kind_of(obj).name, _other)(obj)
    if used_by is not None:
        rows.append(("Used By", list(used_by) or [NONE]))
    indent = max(len(title) for title, _ in rows) + 3
    lines = [line for title, value in rows for line in _row(title, value, indent, width)]
    return "\n".join(lines + _events(events, now_ns, indent, width))


def _row(title: str, value: str | list[str] | Table, indent: int, width: int | None) -> list[str]:
    if isinstance(value, Table):
        body = grid(value.titles, value.rows, width=None if width is None else width - 2)
        return [f"{title}:"] + ["  " + line for text in body for line in text.splitlines()]
    values = [value] if isinstance(value, str) else value
    blank = " " * indent
    texts = [wrapped(text, width, first=blank, indent=blank + "  ") if text else blank for text in values]
    texts[0] = f"{title + ':':<{indent}}" + texts[0][indent:]
    return [line.rstrip() for text in texts for line in text.splitlines()]


def _events(events: Sequence[Any], now_ns: int, indent: int, width: int | None) -> list[str]:
    if not events:
        return [f"{'Events:':<{indent}}{NONE}"]
    rows = []
    for event in events:
        seen, type_, reason, _, message = event_row(event, now_ns)
        source = (event.source.component if event.source else None) or event.reportingComponent or ""
        rows.append((type_, reason, seen, source, message))
    return _row("Events", Table(("Type", "Reason", "Age", "From", "Message"), rows), indent, width)
