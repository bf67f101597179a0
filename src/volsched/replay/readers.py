"""Traces and node lists of every format: the header of a file says what it is.

    openb pods    name, cpu_milli, …, gpu_spec, qos, pod_phase, creation_time, …     Alibaba cluster-trace-gpu-v2023
    openb nodes   sn, cpu_milli, memory_mib, gpu, model
    DLRM          instance_sn, role, app_name, …, disk_request, …                    Alibaba cluster-trace-gpu-v2025, no node list
    own pods      name, arrival_s, cpu_milli, memory_bytes, …, claims                docs/replay.md
    own nodes     name, cpu_milli, memory_bytes, …
    kube dump     a List of objects, JSON or YAML: `kubectl get -A -o json`          a cluster to start from

What the files leave open is settled here, once: a pod without a creation time was there at the start; one without a deletion time runs to
the end of the replay; one that was never scheduled has no length, so it is removed when its owner removed it, if that is known. Lengths
count from when a pod ran in the trace, not from when it was created. Parts of a GPU are added up by node (milli-GPUs, one extended
resource), as in the simulator the trace comes with before it looks at single cards. How many instances of an application a DLRM node takes
becomes an extended resource of every node.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from volsched.api.defaults import with_defaults
from volsched.api.documents import TextError, decoded_text
from volsched.api.edit import labels_of
from volsched.api.kinds import key_of, meta
from volsched.api.manifest import load_files, load_text
from volsched.errors import InputError
from volsched.replay.table import Table, milli, quantity, raw_bytes, read_table, seconds, times, whole
from volsched.replay.trace import NOT_STATED, ClaimColumns, Ints, NodeColumns, PodColumns, Requirement, Trace
from volsched.rules.resources import node_allocatable
from volsched.rules.topology import ZONE

Warn = Callable[[str], None]
MIB: Final = 1 << 20
GIB: Final = 1 << 30
MILLI_GPU: Final = "alibabacloud.com/gpu-milli"
GPU_MODEL: Final = "alibabacloud.com/gpu-card-model"
GPU: Final = "nvidia.com/gpu"
RDMA: Final = "dlrm.alibabacloud.com/rdma"
INSTANCES: Final = "dlrm.alibabacloud.com/"
PODS_MAX: Final = 110  # upstream's default for a kubelet
RESOURCE: Final = "resource:"
LABEL: Final = "label:"


def read_trace(path: Path) -> Trace:
    """The pods of a file, with the claims it states. Raises InputError."""
    table = read_table(path)
    if table.has("instance_sn"):
        return _dlrm(table)
    if table.has("gpu_milli") and table.has("pod_phase"):
        return Trace(_openb_pods(table), ClaimColumns.none())
    if table.has("arrival_s"):
        return _own_pods(table)
    raise InputError(
        "is no known trace: a trace has a column arrival_s (docs/replay.md), pod_phase (openb) or instance_sn (DLRM); "
        f"this file has {', '.join(table.columns)}",
        source=str(path),
    )


def read_nodes(path: Path, *, warn: Warn) -> tuple[NodeColumns, Sequence[Any]]:
    """The nodes of a file, and every object of it where it is a kube dump. Raises InputError."""
    name = path.name.removesuffix(".gz")
    if path.is_dir() or name.endswith((".json", ".jsonl", ".yaml", ".yml")):
        return _dump(path, warn)
    table = read_table(path)
    if table.has("sn"):
        return _openb_nodes(table), ()
    if table.has("name") and table.has("memory_bytes"):
        return _own_nodes(table), ()
    raise InputError(
        "is no known list of nodes: one has the columns name, cpu_milli, memory_bytes (docs/replay.md) or sn, cpu_milli, memory_mib "
        f"(openb), or is a kube dump (.json, .yaml); this file has {', '.join(table.columns)}",
        source=str(path),
    )


# Shared by formats ----------------------------------------------------------------------------------------------------------------------


def _constant(table: Table, number: int) -> Ints:
    return np.full(len(table), number, dtype=np.int64)


def _coded(values: Sequence[Requirement | None]) -> tuple[np.ndarray[Any, np.dtype[np.int32]], tuple[Requirement, ...]]:
    known: dict[Requirement, int] = {}
    codes = [NOT_STATED if value is None else known.setdefault(value, len(known)) for value in values]
    return np.array(codes, dtype=np.int32), tuple(known)


def _life(table: Table, created: Ints, scheduled: Ints, deleted: Ints, *, column: str) -> tuple[Ints, Ints]:
    """lifetime_ns and removal_ns of pods by the three times of a trace, -1 where there is none."""
    ran = scheduled >= 0
    ended = deleted >= 0
    begun = np.where(ran, scheduled, created)
    wrong = np.flatnonzero(ended & (deleted < begun))
    if len(wrong):
        raise table.wrong(int(wrong[0]), column, "is before the pod was scheduled or created")
    lifetime = np.where(ran & ended, deleted - scheduled, NOT_STATED)
    removal = np.where(~ran & ended, deleted, NOT_STATED)
    return lifetime, removal


# openb ----------------------------------------------------------------------------------------------------------------------------------


def _openb_pods(table: Table) -> PodColumns:
    table.need("name", "cpu_milli", "memory_mib", "num_gpu", "gpu_milli", "qos", "creation_time", "deletion_time", "scheduled_time")
    created = table.read("creation_time", seconds, empty=0)
    lifetime, removal = _life(
        table,
        created,
        table.read("scheduled_time", seconds, empty=NOT_STATED, least=NOT_STATED),
        table.read("deletion_time", seconds, empty=NOT_STATED, least=NOT_STATED),
        column="deletion_time",
    )
    specs = table.texts("gpu_spec") if table.has("gpu_spec") else [""] * len(table)
    requires, requirements = _coded([Requirement(GPU_MODEL, tuple(spec.split("|"))) if spec else None for spec in specs])
    return PodColumns(
        names=table.names("name"),
        arrival_ns=created,
        lifetime_ns=lifetime,
        removal_ns=removal,
        milli_cpu=table.read("cpu_milli", whole),
        memory_bytes=table.read("memory_mib", times(MIB, 3)),
        ephemeral_bytes=_constant(table, 0),
        priority=_constant(table, 0),
        disk_bytes=_constant(table, NOT_STATED),
        requires=requires,
        groups=table.texts("qos"),
        requirements=requirements,
        extended={MILLI_GPU: table.read("num_gpu", whole, empty=0) * table.read("gpu_milli", whole, empty=0)},
    )


def _openb_nodes(table: Table) -> NodeColumns:
    table.need("sn", "cpu_milli", "memory_mib", "gpu", "model")
    return NodeColumns(
        names=table.names("sn"),
        milli_cpu=table.read("cpu_milli", whole),
        memory_bytes=table.read("memory_mib", times(MIB, 3)),
        ephemeral_bytes=_constant(table, 0),
        pods_max=_constant(table, PODS_MAX),
        zones=[""] * len(table),
        labels={GPU_MODEL: table.texts("model")},
        extended={MILLI_GPU: table.read("gpu", whole, empty=0) * 1000},
    )


# DLRM -----------------------------------------------------------------------------------------------------------------------------------


def _dlrm(table: Table) -> Trace:
    table.need(
        "instance_sn", "role", "app_name", "cpu_request", "gpu_request", "rdma_request", "memory_request", "disk_request",
        "max_instance_per_node", "creation_time", "scheduled_time", "deletion_time",
    )  # fmt: skip
    created = table.read("creation_time", seconds, empty=NOT_STATED, least=NOT_STATED)
    scheduled = table.read("scheduled_time", seconds, empty=NOT_STATED, least=NOT_STATED)
    # no creation time: there when the trace begins, and running
    scheduled = np.where((created < 0) & (scheduled < 0), 0, scheduled)
    created = np.maximum(created, 0)
    deleted = table.read("deletion_time", seconds, empty=NOT_STATED, least=NOT_STATED)
    lifetime, removal = _life(table, created, scheduled, deleted, column="deletion_time")
    limits, each_node = _instance_limits(table)
    pods = PodColumns(
        names=[name.replace("_", "-") for name in table.names("instance_sn")],
        arrival_ns=created,
        lifetime_ns=lifetime,
        removal_ns=removal,
        milli_cpu=table.read("cpu_request", milli),
        memory_bytes=table.read("memory_request", times(GIB, 3)),
        ephemeral_bytes=_constant(table, 0),
        priority=_constant(table, 0),
        disk_bytes=table.read("disk_request", times(GIB, 3), empty=NOT_STATED),
        requires=np.full(len(table), NOT_STATED, np.int32),
        groups=table.texts("role"),
        extended={GPU: table.read("gpu_request", whole, empty=0), RDMA: table.read("rdma_request", whole, empty=0), **limits},
    )
    return Trace(pods, ClaimColumns.none(), each_node=each_node)


def _instance_limits(table: Table) -> tuple[dict[str, Ints], dict[str, int]]:
    """`max_instance_per_node` as one resource for each application and role. Instances of one application may state different limits, so
    a node offers the least common multiple, and an instance takes its share of that."""
    limit = table.read("max_instance_per_node", whole, empty=NOT_STATED, least=NOT_STATED)
    names = [
        f"{INSTANCES}{app.replace('_', '-')}-{role.lower()}" for app, role in zip(table.texts("app_name"), table.texts("role"), strict=True)
    ]
    rows: dict[str, list[int]] = {}
    for row, (name, most) in enumerate(zip(names, limit.tolist(), strict=True)):
        if most == 0:
            raise table.wrong(row, "max_instance_per_node", "is 0: such an instance can run nowhere")
        if most > 0:
            rows.setdefault(name, []).append(row)
    columns: dict[str, Ints] = {}
    offered: dict[str, int] = {}
    for name in sorted(rows):
        members = np.array(rows[name])
        offered[name] = math.lcm(*{int(most) for most in limit[members].tolist()})
        column = _constant(table, 0)
        column[members] = offered[name] // limit[members]
        columns[name] = column
    return columns, offered


# Our own format -------------------------------------------------------------------------------------------------------------------------

_POD_COLUMNS: Final = frozenset(
    {"name", "arrival_s", "lifetime_s", "removal_s", "cpu_milli", "memory_bytes", "ephemeral_bytes", "priority", "disk_bytes", "group",
     "requires", "claims"}
)  # fmt: skip
_NODE_COLUMNS: Final = frozenset({"name", "cpu_milli", "memory_bytes", "ephemeral_bytes", "pods", "zone"})


def _optional(table: Table, column: str, what: Callable[[str], int], missing: int) -> Ints:
    if not table.has(column):
        return _constant(table, missing)
    return table.read(column, what, empty=missing, least=min(missing, 0))


def _extended(table: Table) -> dict[str, Ints]:
    return {name[len(RESOURCE) :]: table.read(name, whole, empty=0) for name in table.columns if name.startswith(RESOURCE)}


def _known_only(table: Table, known: frozenset[str], *prefixes: str) -> None:
    unknown = [name for name in table.columns if name not in known and not name.startswith(prefixes)]
    if unknown:
        raise InputError(
            f"has columns that are not known: {', '.join(unknown)}; known are {', '.join(sorted(known))} and {', '.join(prefixes)}NAME",
            source=table.source,
            line=1,
        )


def _own_pods(table: Table) -> Trace:
    table.need("name", "arrival_s", "cpu_milli", "memory_bytes")
    _known_only(table, _POD_COLUMNS, RESOURCE)
    requires, requirements = _coded(_requirements(table))
    pods = PodColumns(
        names=table.names("name"),
        arrival_ns=table.read("arrival_s", seconds, empty=0),
        lifetime_ns=_optional(table, "lifetime_s", seconds, NOT_STATED),
        removal_ns=_optional(table, "removal_s", seconds, NOT_STATED),
        milli_cpu=table.read("cpu_milli", whole, empty=0),
        memory_bytes=table.read("memory_bytes", quantity, empty=0),
        ephemeral_bytes=_optional(table, "ephemeral_bytes", quantity, 0),
        priority=_optional(table, "priority", whole, 0),
        disk_bytes=_optional(table, "disk_bytes", quantity, NOT_STATED),
        requires=requires,
        groups=table.texts("group") if table.has("group") else [""] * len(table),
        requirements=requirements,
        extended=_extended(table),
    )
    return Trace(pods, _own_claims(table))


def _requirements(table: Table) -> list[Requirement | None]:
    """`label=a|b` a cell."""
    found: list[Requirement | None] = []
    for row, cell in enumerate(table.texts("requires") if table.has("requires") else [""] * len(table)):
        label, equals, values = cell.partition("=")
        if cell and (not equals or not label or not values):
            raise table.wrong(row, "requires", f"{cell!r} is not LABEL=VALUE|VALUE…")
        found.append(Requirement(label, tuple(values.split("|"))) if cell else None)
    return found


def _own_claims(table: Table) -> ClaimColumns:
    """`class=size`, several apart by `;`, a `+` after the size for one that outlives the pod."""
    pods: list[int] = []
    sizes: list[int] = []
    classes: dict[str, int] = {}
    codes: list[int] = []
    keeps: list[bool] = []
    for row, cell in enumerate(table.texts("claims") if table.has("claims") else [""] * len(table)):
        for part in filter(None, (item.strip() for item in cell.split(";"))):
            name, equals, size = part.partition("=")
            if not equals or not name:
                raise table.wrong(row, "claims", f"{part!r} is not CLASS=SIZE")
            try:
                bytes_wanted = quantity(size.removesuffix("+"))
            except InputError as error:
                raise table.wrong(row, "claims", str(error)) from None
            if bytes_wanted <= 0:
                raise table.wrong(row, "claims", f"{part!r}: the size must be greater than zero")
            pods.append(row)
            sizes.append(bytes_wanted)
            codes.append(classes.setdefault(name, len(classes)))
            keeps.append(size.endswith("+"))
    return ClaimColumns(
        np.array(pods, np.int32), np.array(sizes, np.int64), np.array(codes, np.int32), np.array(keeps, np.bool_), tuple(classes)
    )


def _own_nodes(table: Table) -> NodeColumns:
    table.need("name", "cpu_milli", "memory_bytes")
    _known_only(table, _NODE_COLUMNS, RESOURCE, LABEL)
    return NodeColumns(
        names=table.names("name"),
        milli_cpu=table.read("cpu_milli", whole),
        memory_bytes=table.read("memory_bytes", quantity),
        ephemeral_bytes=_optional(table, "ephemeral_bytes", quantity, 0),
        pods_max=_optional(table, "pods", whole, PODS_MAX),
        zones=table.texts("zone") if table.has("zone") else [""] * len(table),
        labels={name[len(LABEL) :]: table.texts(name) for name in table.columns if name.startswith(LABEL)},
        extended=_extended(table),
    )


# Kube dumps -----------------------------------------------------------------------------------------------------------------------------


def _dump(path: Path, warn: Warn) -> tuple[NodeColumns, Sequence[Any]]:
    """A dumped cluster: every object as it is, and its nodes in columns."""
    if path.suffix == ".gz":
        try:
            found = load_text(decoded_text(raw_bytes(path)), source=str(path), warn=warn)
        except TextError as error:
            raise InputError(error.message, source=str(path), line=error.line) from None
    else:
        found = load_files([path], warn=warn)
    objects = [with_defaults(item.object) for item in found]
    pending = [obj for obj in objects if key_of(obj).kind == "Pod" and not (obj.spec and obj.spec.nodeName)]
    if pending:
        first = key_of(pending[0])
        warn(f"{path}: {len(pending)} pods without a node are left out, {first} is the first; the pods to place are the trace's")
        left = set(map(id, pending))
        objects = [obj for obj in objects if id(obj) not in left]
    nodes = [obj for obj in objects if key_of(obj).kind == "Node"]
    if not nodes:
        raise InputError("holds no Node, so nothing could run", source=str(path))
    offered = [node_allocatable(node) for node in nodes]
    scalars = sorted({name for amounts in offered for name in amounts.scalars})
    return (
        NodeColumns(
            names=[meta(node).name or "" for node in nodes],
            milli_cpu=np.array([amounts.milli_cpu for amounts in offered], np.int64),
            memory_bytes=np.array([amounts.memory for amounts in offered], np.int64),
            ephemeral_bytes=np.array([amounts.ephemeral_storage for amounts in offered], np.int64),
            pods_max=np.array([amounts.pods for amounts in offered], np.int64),
            zones=[labels_of(node).get(ZONE, "") for node in nodes],
            extended={name: np.array([amounts.scalars.get(name, 0) for amounts in offered], np.int64) for name in scalars},
        ),
        tuple(objects),
    )


def with_nodes(trace: Trace, nodes: NodeColumns, base: Sequence[Any] = ()) -> Trace:
    """A trace on these nodes."""
    return replace(trace, nodes=nodes, base=tuple(base))
