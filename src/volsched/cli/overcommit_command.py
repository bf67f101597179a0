"""overcommit: which pools Kubernetes' way of asking for capacity would give out beyond what they have, and to whom."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import click
from lightkube.models.meta_v1 import LabelSelector

from volsched.api.kinds import meta
from volsched.app.overcommit import OvercommitReport, PoolReport, Taker
from volsched.cache.explain_capacity import size_text
from volsched.cli.common import engine_option, files_option, looked_state_option, output_option
from volsched.cli.help import Command, examples
from volsched.cli.layout import fits, grid, wrapped
from volsched.cli.opening import looked_at_or_read
from volsched.cli.output import structured
from volsched.cli.progress import showing
from volsched.cli.terminal import shade, width
from volsched.rules.texts import first_of

BEYOND_SHOWN: Final = 4
NONE: Final = "<none>"
UNKNOWN: Final = "<unknown>"
_STATES: Final = {"volume": "volume", "in-flight": "under way", "pending": "pending"}


@click.command(
    cls=Command,
    epilog=examples(
        ("The embedded cluster's pools", "volsched overcommit"),
        ("A dump of another cluster, with every claim", "volsched overcommit -f dump.yaml -o wide"),
    ),
)
@files_option(required=False)
@looked_state_option
@click.option("--no-headers", is_flag=True, help="Only the rows.")
@output_option("wide", "json", "yaml")
@engine_option
def overcommit(files: Sequence[Path], state: Path | None, no_headers: bool, output: str | None, engine: str) -> None:
    """Report what Kubernetes' way of asking for capacity would take out of CSIStorageCapacity objects beyond what they have.

    kube-scheduler tests each claim alone against what an object publishes. This adds up, object by object: volumes younger than the
    published figure and claims under way (HELD), then the claims of pending pods, sent where the scheduler would send them (PENDING).
    BEYOND names the claims for which nothing would be left; with --exact-capacity `run` and `apply` hold their pods back.

    With -f the objects are taken as they are, as from a dump of a cluster, and nothing is run first. Objects of drivers that are not asked
    for capacity (CSIDriver without storageCapacity) are left out.
    """
    with showing("reading") as progress, looked_at_or_read(files, state, engine=engine, command="overcommit") as cluster:
        progress.now("adding up")
        report = cluster.overcommit()
        progress.hide()
    if output in ("json", "yaml"):
        print(structured(report.as_json(), output))
    elif report.pools:
        print(render(report, wide=output == "wide", headers=not no_headers))
    else:
        click.echo("No resources found: no CSIStorageCapacity object belongs to a driver that is asked for capacity.", err=True)


def render(report: OvercommitReport, *, wide: bool, headers: bool) -> str:
    """The table, then what it comes to."""
    titles = ["NAMESPACE"] if _spaces(report) else []
    titles += ["NAME", "STORAGECLASS", *(["TOPOLOGY"] if wide else []), "CAPACITY", *(["MAXIMUM"] if wide else [])]
    titles += ["HELD", "PENDING", "OVER", "BEYOND"]
    rows = [_row(pool, wide=wide, space=_spaces(report)) for pool in report.pools]
    room = None if wide else width()
    if not fits(titles, rows, room):  # the last cells may come to stand below their rows, away from their title
        rows = [[*row[:-1], row[-1] and f"beyond: {row[-1]}"] for row in rows]
    texts = grid(titles, rows, headers=headers, width=room)
    shades = [""] * headers + ["bad" if pool.over else "" for pool in report.pools]
    lines = [shade(text, how) for text, how in zip(texts, shades, strict=True)]
    if wide:
        lines += _takers(report)
    if headers:
        lines += ["", *(wrapped(text, width()) for text in _summary(report))]
    return "\n".join(lines)


def _spaces(report: OvercommitReport) -> bool:
    return any((meta(pool.pool).namespace or "default") != "default" for pool in report.pools)


def _row(report: PoolReport, *, wide: bool, space: bool) -> list[str]:
    pool = report.pool
    cells = [meta(pool).namespace or ""] if space else []
    cells += [meta(pool).name or "", pool.storageClassName, *([topology_text(pool.nodeTopology)] if wide else [])]
    cells += [pool.capacity or UNKNOWN, *([pool.maximumVolumeSize or NONE] if wide else [])]
    over = size_text(report.over) if report.over else "0"
    return [*cells, _size(report.total("volume", "in-flight")), _size(report.total("pending")), over, _names(report.beyond, wide=wide)]


def _size(size: int) -> str:
    return size_text(size) if size else "0"


def _names(takers: Sequence[Taker], *, wide: bool) -> str:
    """The claims beyond, with what they ask for; the rest counted."""
    names = [f"{_short(taker.name)} ({size_text(taker.bytes)})" for taker in takers]
    return first_of(names, len(names) if wide else BEYOND_SHOWN)


def _short(name: str) -> str:
    """A claim of namespace `default` by its name alone."""
    return name.removeprefix("default/")


def topology_text(topology: LabelSelector | None) -> str:
    """A nodeTopology in one cell: `zone=a`, `<all>` for every node, `<none>` for no node."""
    if topology is None:
        return NONE
    parts = [f"{key}={value}" for key, value in sorted((topology.matchLabels or {}).items())]
    for item in topology.matchExpressions or ():
        parts.append(
            f"{item.key} {item.operator.lower()} ({','.join(item.values)})" if item.values else f"{item.key} {item.operator.lower()}"
        )
    return ",".join(parts) or "<all>"


def _takers(report: OvercommitReport) -> list[str]:
    """Everybody who takes room, pool by pool."""
    rows = []
    for pool in report.pools:
        for taker in pool.takers:
            pods = ", ".join(map(_short, taker.pods)) or NONE
            verdict = "beyond" if taker in pool.beyond else "fits"
            rows.append([meta(pool.pool).name or "", _short(taker.name), size_text(taker.bytes), _STATES[taker.state], taker.node or NONE])
            rows[-1] += [pods, verdict]
    return ["", *grid(("POOL", "CLAIM", "SIZE", "STATE", "NODE", "PODS", "RESULT"), rows)] if rows else []


def _summary(report: OvercommitReport) -> list[str]:
    over, total = report.overcommitted, len(report.pools)
    lines = []
    if over:
        lines.append(f"{len(over):,} of {total:,} pools would be over-committed, by {size_text(sum(pool.over for pool in over))} in all.")
    else:
        lines.append(f"None of {total:,} pool{'s' * (total != 1)} would be over-committed.")
    if report.held_back or report.moved:
        parts = [f"would hold back {_pods(report.held_back)}"] * bool(report.held_back)
        parts += [f"would send {_pods(report.moved)} to another node"] * bool(report.moved)
        lines.append(f"--exact-capacity {' and '.join(parts)}.")
    if report.unplaced:
        lines.append(f"{_pods(report.unplaced)} fit{'s' * (len(report.unplaced) == 1)} nowhere as it is.")
    return lines


def _pods(names: Sequence[str]) -> str:
    """`pod db-1`, `2 pods (db-1, twins)`; many are counted."""
    if len(names) == 1:
        return f"pod {_short(names[0])}"
    shown = ", ".join(map(_short, names[:BEYOND_SHOWN])) + (", …" if len(names) > BEYOND_SHOWN else "")
    return f"{len(names):,} pods ({shown})"
