"""The workloads of the speed table as columns, written array by array: no object is made, so the largest take seconds.

    python -m bench.columns local --nodes 100000 --volumes 1000000 --claims 800000 --pods 100000 --out local.npz

Kinds as in bench.workloads, `mixed` excepted, with numbers of their own: `volumes` and `claims` may be more than the pods use, as in a
cluster that has a history. Without them they are what bench.workloads has, and the file holds the same objects as
`bench.workloads.objects(kind, nodes, pods)`.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bench import workloads
from bench.objects import DRIVER, HOST_KEY, ZONE_KEY, ZONES
from volsched.api.columns import Column, Columns, Table, pointer_of, write_columns
from volsched.api.kinds import KINDS

COLUMNAR: Final = tuple(kind for kind in workloads.KINDS if kind != "mixed")
APPS: Final = 20
SIZES: Final = 7

Texts = NDArray[np.bytes_]


def _numbered(prefix: str, count: int, *, digits: int = 0, modulo: int = 0, start: int = 0) -> Texts:
    """`prefix` and each row's number from `start`, filled up with zeros; modulo: numbers start again there."""
    rows = np.arange(start, start + count)
    rows = rows % modulo if modulo else rows
    return np.char.add(prefix.encode(), np.char.zfill(rows.astype(bytes), digits) if digits else rows.astype(bytes))


def _coded(pointer: str, values: Sequence[str], count: int, *, start: int = 0) -> Column:
    """The value of each row's number, which begins at `start`; the values repeat."""
    codes = (np.arange(start, start + count) % max(1, len(values))).astype(np.uint8)
    return Column(pointer, np.array(values, dtype=bytes), codes)


def _table(manifest: dict[str, Any], count: int, columns: Iterable[Column] = ()) -> Table:
    """A table whose template is a manifest of the workload with the columns' places left open."""
    template = {"apiVersion": KINDS[manifest["kind"]].api_version} | manifest
    made = tuple(columns)
    for column in made:
        at: Any = template
        parts = [part.replace("~1", "/").replace("~0", "~") for part in column.pointer.split("/")[1:]]
        for part in parts[:-1]:
            at = at[int(part) if isinstance(at, list) else part]
        at[int(parts[-1]) if isinstance(at, list) else parts[-1]] = None
    return Table(template, count, made)


def _nodes(count: int) -> list[Table]:
    names = _numbered("node-", count, digits=5)
    labels = ("metadata", "labels")
    return [
        _table(
            workloads.node(0),
            count,
            (
                Column("/metadata/name", names),
                Column(pointer_of((*labels, HOST_KEY)), names),
                _coded(pointer_of((*labels, ZONE_KEY)), ZONES, count),
            ),
        ),
        _table(workloads.csi_node(0), count, (Column("/metadata/name", names), Column("/spec/drivers/0/nodeID", names))),
    ]


def _volumes(kind: str, count: int, nodes: int, *, start: int = 0, first_claim: int | None = None) -> Table:
    """Volumes from number `start`; bound to the claims from number `first_claim`, where that is given."""
    bound = first_claim is not None
    manifest = workloads.volume(0, HOST_KEY if kind == "local" else ZONE_KEY, "", claim="c" if bound else None)
    reach = "/spec/nodeAffinity/required/nodeSelectorTerms/0/matchExpressions/0/values/0"
    columns = [
        Column("/metadata/name", _numbered("pv-", count, digits=6, start=start)),
        Column("/metadata/uid", _numbered("v", count, start=start)),
        _coded("/spec/capacity/storage", [f"{10 + number}Gi" for number in range(SIZES)], count, start=start),
        Column("/spec/csi/volumeHandle", _numbered("h", count, start=start)),
        Column(reach, _numbered("node-", count, digits=5, modulo=nodes, start=start))
        if kind == "local"
        else _coded(reach, ZONES, count, start=start),
    ]
    if first_claim is not None:
        columns += [
            Column("/spec/claimRef/name", _numbered("c", count, start=first_claim)),
            Column("/spec/claimRef/uid", _numbered("u-c", count, start=first_claim)),
        ]
    return _table(manifest, count, columns)


def _claims(count: int, *, start: int = 0, first_volume: int | None = None) -> Table:
    """Claims from number `start`; bound to the volumes from number `first_volume`, where that is given."""
    columns = [Column("/metadata/name", _numbered("c", count, start=start)), Column("/metadata/uid", _numbered("u-c", count, start=start))]
    if first_volume is not None:
        columns.append(Column("/spec/volumeName", _numbered("pv-", count, digits=6, start=first_volume)))
    return _table(workloads.claim(0, volume=None if first_volume is None else "pv"), count, columns)


def _pods(kind: str, count: int, *, start: int = 0, on: int = 0) -> Table:
    """Pods from number `start`; placed on `on` nodes one after the other, where that is not 0."""
    manifest = workloads.pod(0, claim=kind != "plain")
    columns = [
        Column("/metadata/name", _numbered("p", count, start=start)),
        Column("/metadata/uid", _numbered("p", count, start=start)),
        _coded("/metadata/labels/app", [f"a{number}" for number in range(APPS)], count, start=start),
    ]
    if kind != "plain":
        columns.append(Column("/spec/volumes/0/persistentVolumeClaim/claimName", _numbered("c", count, start=start)))
    if on:
        columns.append(Column("/spec/nodeName", _numbered("node-", count, digits=5, modulo=on)))
        manifest["spec"]["nodeName"] = ""
    return _table(manifest, count, columns)


def _pools(count: int) -> Table:
    return _table(
        workloads.capacity(0),
        count,
        (
            Column("/metadata/name", _numbered("c", count)),
            _coded("/capacity", [f"{50 + number}Gi" for number in range(50)], count),
            Column(pointer_of(("nodeTopology", "matchLabels", HOST_KEY)), _numbered("node-", count, digits=5)),
        ),
    )


def cluster(kind: str, *, nodes: int, pods: int, volumes: int | None = None, claims: int | None = None, placed: int = 0) -> Columns:
    """A workload in columns. placed: so many pods are on nodes already, each with a claim and a volume out of `claims` and `volumes`, where
    the kind has them. Raises ValueError for a kind that has no columnar form, or fewer claims or volumes than pods that want one."""
    if kind not in COLUMNAR:
        raise ValueError(f"kind {kind} has no columnar form; there are {', '.join(COLUMNAR)}")
    usual = {"local": max(nodes, pods + pods // 4), "zonal": pods + pods // 4, "bound": pods}.get(kind, 0)
    volumes = usual if volumes is None else volumes
    claims = (0 if kind == "plain" else pods) if claims is None else claims
    if kind == "plain":
        claims = volumes = 0
    elif claims < pods + placed or volumes < (pods if kind == "bound" else 0) + placed:
        raise ValueError(f"{pods + placed} pods want a claim each, those placed a volume; there are {claims} and {volumes}")
    held = 0 if kind == "plain" else placed
    bound = pods if kind == "bound" else 0
    tables = [*_nodes(nodes), _table({"kind": "Namespace", "metadata": {"name": "default"}}, 1), _table(workloads.storage_class(kind), 1)]
    if kind == "capacity":
        tables += [_table({"kind": "CSIDriver", "metadata": {"name": DRIVER}, "spec": {"storageCapacity": True}}, 1), _pools(nodes)]
    # Volumes from 0: those of pending pods that have one, those of placed pods, those that are free. Claims in the same way.
    parts = [
        (bound, lambda count: _volumes(kind, count, nodes, first_claim=0)),
        (held, lambda count: _volumes(kind, count, nodes, start=bound, first_claim=pods)),
        (volumes - bound - held, lambda count: _volumes(kind, count, nodes, start=bound + held)),
        (bound, lambda count: _claims(count, first_volume=0)),
        (claims and pods - bound, lambda count: _claims(count)),
        (held, lambda count: _claims(count, start=pods, first_volume=bound)),
        (claims and claims - pods - held, lambda count: _claims(count, start=pods + held)),
        (placed, lambda count: _pods(kind, count, start=pods, on=nodes)),
    ]
    tables += [make(count) for count, make in parts if count]
    return Columns((*tables, _pods(kind, pods)), {})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=COLUMNAR)
    parser.add_argument("--nodes", type=int, required=True)
    parser.add_argument("--pods", type=int, required=True)
    parser.add_argument("--volumes", type=int)
    parser.add_argument("--claims", type=int)
    parser.add_argument("--placed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    made = cluster(given.kind, nodes=given.nodes, pods=given.pods, volumes=given.volumes, claims=given.claims, placed=given.placed)
    write_columns(given.out, made)


if __name__ == "__main__":
    main()
