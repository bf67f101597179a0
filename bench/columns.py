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


def _numbered(prefix: str, count: int, *, digits: int = 0, modulo: int = 0) -> Texts:
    """`prefix` and each row's number, filled up with zeros; modulo: numbers start again there."""
    rows = np.arange(count) % modulo if modulo else np.arange(count)
    return np.char.add(prefix.encode(), np.char.zfill(rows.astype(bytes), digits) if digits else rows.astype(bytes))


def _coded(pointer: str, values: Sequence[str], count: int) -> Column:
    """One value after the other, then from the start."""
    codes = (np.arange(count) % max(1, len(values))).astype(np.uint8)
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


def _volumes(kind: str, count: int, nodes: int) -> Table:
    bound = kind == "bound"
    manifest = workloads.volume(0, HOST_KEY if kind == "local" else ZONE_KEY, "", claim="c" if bound else None)
    reach = "/spec/nodeAffinity/required/nodeSelectorTerms/0/matchExpressions/0/values/0"
    columns = [
        Column("/metadata/name", _numbered("pv-", count, digits=6)),
        Column("/metadata/uid", _numbered("v", count)),
        _coded("/spec/capacity/storage", [f"{10 + number}Gi" for number in range(SIZES)], count),
        Column("/spec/csi/volumeHandle", _numbered("h", count)),
        Column(reach, _numbered("node-", count, digits=5, modulo=nodes)) if kind == "local" else _coded(reach, ZONES, count),
    ]
    if bound:
        columns += [Column("/spec/claimRef/name", _numbered("c", count)), Column("/spec/claimRef/uid", _numbered("u-c", count))]
    return _table(manifest, count, columns)


def _claims(kind: str, count: int) -> Table:
    bound = kind == "bound"
    columns = [Column("/metadata/name", _numbered("c", count)), Column("/metadata/uid", _numbered("u-c", count))]
    if bound:
        columns.append(Column("/spec/volumeName", _numbered("pv-", count, digits=6)))
    return _table(workloads.claim(0, volume="pv" if bound else None), count, columns)


def _pods(kind: str, count: int) -> Table:
    columns = [
        Column("/metadata/name", _numbered("p", count)),
        Column("/metadata/uid", _numbered("p", count)),
        _coded("/metadata/labels/app", [f"a{number}" for number in range(APPS)], count),
    ]
    if kind != "plain":
        columns.append(Column("/spec/volumes/0/persistentVolumeClaim/claimName", _numbered("c", count)))
    return _table(workloads.pod(0, claim=kind != "plain"), count, columns)


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


def cluster(kind: str, *, nodes: int, pods: int, volumes: int | None = None, claims: int | None = None) -> Columns:
    """A workload in columns. Raises ValueError for a kind that has no columnar form, or fewer claims than pods that want one."""
    if kind not in COLUMNAR:
        raise ValueError(f"kind {kind} has no columnar form; there are {', '.join(COLUMNAR)}")
    usual = {"local": max(nodes, pods + pods // 4), "zonal": pods + pods // 4, "bound": pods}.get(kind, 0)
    volumes = usual if volumes is None else volumes
    claims = (0 if kind == "plain" else pods) if claims is None else claims
    if claims < pods and kind != "plain":
        raise ValueError(f"{pods} pods want a claim each; there are {claims}")
    tables = [*_nodes(nodes), _table({"kind": "Namespace", "metadata": {"name": "default"}}, 1), _table(workloads.storage_class(kind), 1)]
    if kind == "capacity":
        tables += [_table({"kind": "CSIDriver", "metadata": {"name": DRIVER}, "spec": {"storageCapacity": True}}, 1), _pools(nodes)]
    if volumes:
        tables.append(_volumes(kind, volumes, nodes))
    if claims:
        tables.append(_claims(kind, claims))
    return Columns((*tables, _pods(kind, pods)), {})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=COLUMNAR)
    parser.add_argument("--nodes", type=int, required=True)
    parser.add_argument("--pods", type=int, required=True)
    parser.add_argument("--volumes", type=int)
    parser.add_argument("--claims", type=int)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    write_columns(given.out, cluster(given.kind, nodes=given.nodes, pods=given.pods, volumes=given.volumes, claims=given.claims))


if __name__ == "__main__":
    main()
