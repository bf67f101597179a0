"""A compute trace with storage laid over it: what a replay runs on.

    Trace + SynthOptions + seed ──> Scene: pods, claims with their latencies, nodes in zones, classes, pools, local disks

Everything that chance has a part in is drawn here, in columns and before time begins, from streams named after what they are for. So a
replay itself draws nothing, and neither the order of events nor a resumed run can change what is drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from volsched.api.kinds import key_of
from volsched.api.quantity import milli_of
from volsched.env.draws import uniforms
from volsched.errors import InputError
from volsched.replay.distributions import as_bytes, counts, durations, sizes
from volsched.replay.options import ClassOptions, SynthOptions
from volsched.replay.trace import NOT_STATED, ClaimColumns, Indices, Ints, NodeColumns, PodColumns, Trace

NAMESPACE: Final = "default"  # of the trace's pods and claims
EVERYWHERE: Final = ""  # the one place of a pool that the whole cluster reaches


@dataclass(frozen=True, slots=True)
class PoolColumns:
    """What backs dynamic volumes: by class and place. places: a zone, a node or EVERYWHERE. size_bytes: -1 without end."""

    storage_class: Indices
    places: Sequence[str]
    size_bytes: Ints


@dataclass(frozen=True, slots=True)
class DiskColumns:
    """Local disks by node. cleanup_ns: from when a disk is given back until it can be claimed again."""

    node: Indices
    storage_class: Indices
    size_bytes: Ints
    cleanup_ns: Ints


@dataclass(frozen=True, slots=True)
class Scene:
    """What a replay runs on. provision_ns, attach_ns: by claim. start_ns: by pod, from when its volumes are there until it runs.
    made_up: resources that stand for a limit of the trace and are none; nobody wants to know how much of them is used."""

    pods: PodColumns
    claims: ClaimColumns
    provision_ns: Ints
    attach_ns: Ints
    start_ns: Ints
    nodes: NodeColumns
    classes: Sequence[ClassOptions]
    pools: PoolColumns
    disks: DiskColumns
    base: Sequence[Any] = ()
    made_up: Sequence[str] = ()


def synthesise(trace: Trace, options: SynthOptions, *, seed: int) -> Scene:
    """Lay the options over a trace. Raises InputError when they do not fit it: no nodes, a class that nobody states, a node without the
    zone that a class needs."""
    _check_base(trace, options)
    nodes = _nodes(trace, options)
    pods, claims = _claims(trace, options, seed)
    pods = replace(pods, priority=_priorities(pods, options))
    classes = options.classes
    provision = np.zeros(len(claims), np.int64)
    attach = np.zeros(len(claims), np.int64)
    for code, row in enumerate(classes):
        members = claims.storage_class == code
        provision[members] = durations(row.provision, seed, f"provision {row.name}", len(claims))[members]
        attach[members] = durations(row.attach, seed, f"attach {row.name}", len(claims))[members]
    return Scene(
        pods=pods,
        claims=claims,
        provision_ns=provision,
        attach_ns=attach,
        start_ns=durations(options.start, seed, "start", len(pods)),
        nodes=nodes,
        classes=classes,
        pools=_pools(nodes, classes, seed),
        disks=_disks(nodes, classes, seed),
        base=trace.base,
        made_up=sorted(trace.each_node),
    )


def _check_base(trace: Trace, options: SynthOptions) -> None:
    """What a dump has is not there a second time. Raises InputError."""
    pods = set(trace.pods.names)
    added = {("StorageClass", row.name) for row in options.classes} | {("CSIDriver", row.provisioner) for row in options.classes}
    for obj in trace.base:
        key = key_of(obj)
        owner, _, number = key.name.rpartition("-")
        if key.kind == "Pod" and key.namespace == NAMESPACE and key.name in pods:
            raise InputError(f"pod {key.name} of the trace is in the dump already, in namespace {NAMESPACE}; rename it")
        if key.kind == "PersistentVolumeClaim" and key.namespace == NAMESPACE and owner in pods and number.isdecimal():
            raise InputError(
                f"claim {key.name} of the dump has the name that a claim of the trace's pod {owner} would have; rename the pod"
            )
        if (key.kind, key.name) in added:
            raise InputError(f"classes: {key.kind} {key.name} is in the dump already; name another")


def _priorities(pods: PodColumns, options: SynthOptions) -> Ints:
    if not options.priorities:
        return pods.priority
    unknown = set(options.priorities) - set(pods.groups)
    if unknown:
        raise InputError(
            f"priorities: the trace has no pods of group {', '.join(sorted(unknown))}; it has {', '.join(sorted(set(pods.groups)))}"
        )
    stated = pods.priority.tolist()
    return np.array([options.priorities.get(group, own) for group, own in zip(pods.groups, stated, strict=True)], np.int64)


# Nodes ----------------------------------------------------------------------------------------------------------------------------------


def _nodes(trace: Trace, options: SynthOptions) -> NodeColumns:
    if trace.nodes is not None and options.nodes:
        raise InputError("nodes come from a file and from the options; give one of the two")
    if trace.nodes is None and not options.nodes:
        raise InputError("the trace has no nodes: give a list with --nodes, or `nodes` in the file of --synth")
    nodes = trace.nodes if trace.nodes is not None else _made_nodes(options)
    offered = {name: np.full(len(nodes), amount, np.int64) for name, amount in trace.each_node.items()}
    zones = list(nodes.zones)
    if options.zones:
        if trace.base:
            raise InputError("zones: the nodes of a kube dump are in the zones their labels say")
        without = [row for row, zone in enumerate(zones) if not zone]
        for turn, row in enumerate(without):
            zones[row] = options.zones[turn % len(options.zones)]
    return replace(nodes, zones=zones, extended={**nodes.extended, **offered})


def _made_nodes(options: SynthOptions) -> NodeColumns:
    shapes = [shape for shape in options.nodes for _ in range(shape.count)]
    seen: dict[str, int] = {}
    names = []
    for shape in shapes:
        names.append(f"{shape.name}-{seen.get(shape.name, 0):05d}")
        seen[shape.name] = seen.get(shape.name, 0) + 1
    scalars = sorted({name for shape in options.nodes for name in shape.resources})
    labels = sorted({name for shape in options.nodes for name in shape.labels})

    def column(values: Sequence[int]) -> Ints:
        return np.array(values, np.int64)

    return NodeColumns(
        names=names,
        milli_cpu=column([milli_of(str(shape.cpu)) for shape in shapes]),
        memory_bytes=column([as_bytes(shape.memory) for shape in shapes]),
        ephemeral_bytes=column([as_bytes(shape.ephemeral_storage) for shape in shapes]),
        pods_max=column([shape.pods for shape in shapes]),
        zones=[shape.zone for shape in shapes],
        labels={name: [shape.labels.get(name, "") for shape in shapes] for name in labels},
        extended={name: column([shape.resources.get(name, 0) for shape in shapes]) for name in scalars},
    )


# Claims ---------------------------------------------------------------------------------------------------------------------------------


def _claims(trace: Trace, options: SynthOptions, seed: int) -> tuple[PodColumns, ClaimColumns]:
    """The trace's own claims, what its disks become, and what the options lay over it; by pod, in this order."""
    known = {row.name: code for code, row in enumerate(options.classes)}
    missing = sorted(set(trace.claims.classes) - set(known))
    if missing:
        raise InputError(f"the trace claims storage of class {', '.join(missing)}, which no class of the options (--synth) describes")
    pods = trace.pods
    own = trace.claims
    recoded = np.array([known[name] for name in own.classes], np.int32)[own.storage_class] if len(own) else own.storage_class
    parts = [(own.pod, own.request_bytes, recoded, own.keep)]
    stated = np.flatnonzero(pods.disk_bytes > 0).astype(np.int32)
    if options.disk.storage_class:
        code = known[options.disk.storage_class]
        parts.append(_part(stated, pods.disk_bytes[stated], code, options.disk.keep, seed, "disk"))
        pods = replace(pods, disk_bytes=np.full(len(pods), NOT_STATED, np.int64))
    else:
        pods = replace(pods, ephemeral_bytes=pods.ephemeral_bytes + np.maximum(pods.disk_bytes, 0))
    for turn, row in enumerate(options.claims):
        name = f"claims {turn} {row.storage_class}"
        chosen = uniforms(seed, f"{name} share", len(pods)) < row.share
        if row.group:
            if row.group not in pods.groups:
                raise InputError(f"claims: the trace has no pods of group {row.group}; it has {', '.join(sorted(set(pods.groups)))}")
            chosen &= np.array([group == row.group for group in pods.groups])
        number = np.where(chosen, counts(row.count, seed, f"{name} count", len(pods)), 0)
        owners = np.repeat(np.arange(len(pods), dtype=np.int32), number)
        wanted = np.maximum(sizes(row.size, seed, f"{name} size", len(owners)), 1)
        parts.append(_part(owners, wanted, known[row.storage_class], row.keep, seed, name))
    pod, wanted, codes, keep = (np.concatenate(column) for column in zip(*parts, strict=True))
    order = np.argsort(pod, kind="stable")
    return pods, ClaimColumns(
        pod[order].astype(np.int32), wanted[order], codes[order].astype(np.int32), keep[order], tuple(row.name for row in options.classes)
    )


def _part(owners: Indices, wanted: Ints, code: int, keep: float, seed: int, name: str) -> tuple[Indices, Ints, Indices, NDArray[np.bool_]]:
    return owners, wanted, np.full(len(owners), code, np.int32), uniforms(seed, f"{name} keep", len(owners)) < keep


# Storage --------------------------------------------------------------------------------------------------------------------------------


def _places(row: ClassOptions, nodes: NodeColumns) -> list[str]:
    if row.reach == "cluster":
        return [EVERYWHERE]
    if row.reach == "node":
        return list(nodes.names)
    without = next((name for name, zone in zip(nodes.names, nodes.zones, strict=True) if not zone), None)
    if without is not None:
        raise InputError(f"class {row.name} reaches a zone, but node {without} is in none; state `zones`")
    return list(dict.fromkeys(nodes.zones))


def _pools(nodes: NodeColumns, classes: Sequence[ClassOptions], seed: int) -> PoolColumns:
    codes: list[int] = []
    places: list[str] = []
    found = [np.empty(0, np.int64)]
    for code, row in enumerate(classes):
        if row.disks is not None:
            continue
        of_class = _places(row, nodes)
        codes += [code] * len(of_class)
        places += of_class
        if row.pool is None:
            found.append(np.full(len(of_class), NOT_STATED, np.int64))
        else:
            found.append(sizes(row.pool, seed, f"pool {row.name}", len(of_class)))
    return PoolColumns(np.array(codes, np.int32), places, np.concatenate(found))


def _disks(nodes: NodeColumns, classes: Sequence[ClassOptions], seed: int) -> DiskColumns:
    node, code_of = [np.empty(0, np.int32)], [np.empty(0, np.int32)]
    size, cleanup = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for code, row in enumerate(classes):
        if row.disks is None:
            continue
        name = f"disks {row.name}"
        owners = np.repeat(np.arange(len(nodes), dtype=np.int32), counts(row.disks.count, seed, f"{name} count", len(nodes)))
        node.append(owners)
        code_of.append(np.full(len(owners), code, np.int32))
        size.append(np.maximum(sizes(row.disks.size, seed, f"{name} size", len(owners)), 1))
        cleanup.append(durations(row.disks.cleanup, seed, f"{name} cleanup", len(owners)))
    return DiskColumns(np.concatenate(node), np.concatenate(code_of), np.concatenate(size), np.concatenate(cleanup))
