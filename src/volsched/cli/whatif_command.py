"""whatif: the cluster with other nodes, zones, disks, classes or capacity."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import click

from volsched.app.whatif import Change, LoseZone, World, how_many, read_changes, until_fits, what_if, zone_losses
from volsched.app.whatif.ask import MORE_MAX, NODES_MAX, Needed, Room, ZoneLoss
from volsched.app.whatif.compare import Comparison, Move
from volsched.app.whatif.storage import StorageReport
from volsched.cache.explain_capacity import size_text
from volsched.cli.common import files_option, loaded, looked_state_option, output_option, warn
from volsched.cli.help import Command, examples
from volsched.cli.layout import grid, wrapped
from volsched.cli.opening import looked_at_or_read
from volsched.cli.output import structured
from volsched.cli.progress import showing
from volsched.cli.terminal import width
from volsched.rules.texts import first_of

SHOWN: Final = 20  # pods of a table, without -o wide
PODS_NAMED: Final = 3


@click.command(
    cls=Command,
    epilog=examples(
        ("Nodes drained, classes changed", "volsched whatif -f dump.yaml --change changes.yaml"),
        ("A zone lost", "volsched whatif --lose-zone zone-a"),
        ("Which zone hurts most", "volsched whatif -f dump.yaml --zone-losses"),
        ("How many more of a pod, claims included", "volsched whatif -f dump.yaml --how-many app.yaml"),
        ("How many nodes until everything fits", "volsched whatif -f dump.yaml --until-fits node.yaml"),
    ),
)
@files_option(required=False)
@looked_state_option
@click.option("--change", "change_files", type=click.Path(path_type=Path), multiple=True, help="YAML of changes; repeatable, in order.")
@click.option("--lose-zone", "zones", multiple=True, metavar="ZONE", help="Its nodes are gone; repeatable.")
@click.option("--zone-losses", "asks_zones", is_flag=True, help="Say what the loss of each zone would do.")
@click.option("--how-many", "template", type=click.Path(path_type=Path), help="Manifest of a Pod and its claims: how many more fit.")
@click.option("--until-fits", "shape", type=click.Path(path_type=Path), help="Manifest of a Node and its disks: how many until all fits.")
@click.option("--limit", type=click.IntRange(min=1), help=f"Stop there.  [default: {MORE_MAX} pods, {NODES_MAX} nodes]")
@output_option("wide", "json", "yaml")
def whatif(
    files: Sequence[Path],
    state: Path | None,
    change_files: Sequence[Path],
    zones: Sequence[str],
    asks_zones: bool,
    template: Path | None,
    shape: Path | None,
    limit: int | None,
    output: str | None,
) -> None:
    """Say what would be if the cluster were another: who moves, who stays Pending and why, which storage is out of reach.

    Pods of nodes that are gone, and pods that wait, are placed as the scheduler would, one after the other, preempting nobody; volumes bind
    them where they are. Nothing is run and nothing changed. With -f the objects are taken as they are, as from a dump of a cluster.
    """
    if sum((asks_zones, template is not None, shape is not None)) > 1:
        raise click.UsageError("one of --zone-losses, --how-many and --until-fits")
    if not (change_files or zones or asks_zones or template or shape):
        raise click.UsageError("what if what? Give --change, --lose-zone, --zone-losses, --how-many or --until-fits")
    if limit is not None and template is None and shape is None:
        raise click.UsageError("--limit is for --how-many and --until-fits")
    with showing("reading") as progress:
        changes: list[Change] = [change for path in change_files for change in read_changes(path)]
        with looked_at_or_read(files, state, engine="native", command="whatif") as cluster:
            world = World.of_cluster(cluster)
        changes += [LoseZone(zone) for zone in zones]
        progress.now("placing pods")
        found: Comparison | Room | Needed | list[ZoneLoss]
        if asks_zones:
            found = zone_losses(world, changes, warn=warn)
        elif template is not None:
            found = how_many(world, _objects(template), changes, limit=limit or MORE_MAX, warn=warn)
        elif shape is not None:
            found = until_fits(world, _objects(shape), changes, limit=limit or NODES_MAX, warn=warn, progress=progress.now)
        else:
            found = what_if(world, changes, warn=warn)
        progress.hide()
    if output in ("json", "yaml"):
        plain: Any = {"zones": [loss.as_json() for loss in found]} if isinstance(found, list) else found.as_json()
        print(structured(plain, output))
    else:
        print(render(found, wide=output == "wide"))


def _objects(path: Path) -> list[Any]:
    return [item.object for item in loaded([path], passed_to="whatif")]


def render(found: Comparison | Room | Needed | list[ZoneLoss], *, wide: bool) -> str:
    """The answer for a person."""
    if isinstance(found, Room):
        return _room(found)
    if isinstance(found, Needed):
        return _needed(found)
    if isinstance(found, list):
        return _losses(found)
    return _comparison(found, wide=wide)


def _say(*lines: str) -> str:
    return "\n".join(wrapped(line, width(), indent="  ") for line in lines if line)


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"


def _comparison(found: Comparison, *, wide: bool) -> str:
    before, after = found.nodes
    parts = [f"{_counted(before, 'node')} before, {after:,} after"]
    told = {"moved": found.moved, "left without a node": found.stuck, "placed that waited": found.freed}
    told |= {"still waiting": found.waiting, "new and placed": found.new}
    parts += [f"{_counted(len(moves), 'pod')} {words}" for words, moves in told.items() if moves]
    if found.gone:
        parts.append(f"{_counted(len(found.gone), 'pod')} gone")
    lines = [_say("; ".join(parts) + ".")]
    for moves in (found.stuck, found.waiting):
        lines += _table(moves, wide=wide, messages=True)
    for moves in (found.moved, found.freed, found.new):
        lines += _table(moves, wide=wide, messages=False)
    lines += _storage(*found.storage, wide=wide)
    return "\n".join(lines)


def _table(moves: Sequence[Move], *, wide: bool, messages: bool) -> list[str]:
    if not moves:
        return []
    shown = moves if wide else moves[:SHOWN]
    rows = [
        [
            f"{move.pod.namespace}/{move.pod.name}",
            _place(move.node_before, move.zone_before),
            move.message if messages else _place(move.node, move.zone),
        ]
        for move in shown
    ]
    more = [f"… and {len(moves) - len(shown):,} more; -o wide shows all"] if len(shown) < len(moves) else []
    return ["", *grid(["POD", "WAS ON", "WAITS BECAUSE" if messages else "GOES TO"], rows, width=width()), *more]


def _place(node: str, zone: str) -> str:
    return f"{node} ({zone})" if node and zone else node or "<none>"


def _storage(before: StorageReport, after: StorageReport, *, wide: bool) -> list[str]:
    lines = []
    known = {row.volume for row in before.stranded}
    fresh = [row for row in after.stranded if row.volume not in known]
    if fresh:
        shown = fresh if wide else fresh[:SHOWN]
        rows = [
            [row.volume, row.storage_class, size_text(row.bytes), row.claim or "<none>", first_of(row.pods, PODS_NAMED) or "<none>"]
            for row in shown
        ]
        lines += ["", *grid(["OUT OF REACH", "CLASS", "SIZE", "CLAIM", "PODS"], rows, width=width())]
        lines += [f"… and {len(fresh) - len(shown):,} more; -o wide shows all"] if len(shown) < len(fresh) else []
    rows = []
    for name in sorted({*before.free, *after.free}):
        was, now = before.free.get(name), after.free.get(name)
        if was == now:
            continue
        rows.append(
            [
                name or "<none>",
                *(size_text(room.total) if room else "0" for room in (was, now)),
                size_text(now.largest) if now else "0",
                *(f"{room.fragmentation:.0%}" if room else "-" for room in (was, now)),
            ]
        )
    if rows:
        lines += ["", *grid(["CLASS", "FREE BEFORE", "FREE AFTER", "LARGEST PIECE", "FRAGMENTED BEFORE", "AFTER"], rows, width=width())]
    if after.lost_pools > before.lost_pools:
        lost = after.lost_pools - before.lost_pools
        lines += ["", _say(f"{_counted(lost, 'capacity object')} left without a node.")]
    return lines


def _losses(found: Sequence[ZoneLoss]) -> str:
    if not found:
        return "No node is in a zone."
    rows = [
        [
            loss.zone,
            f"{loss.nodes:,}",
            f"{loss.pods:,}",
            f"{sum(loss.stuck.values()):,}",
            f"{loss.stranded:,}",
            size_text(loss.stranded_bytes),
            next(iter(loss.stuck), ""),
        ]
        for loss in found
    ]
    return "\n".join(grid(["ZONE", "NODES", "PODS", "STUCK", "VOLUMES LOST", "SIZE", "MOST FREQUENT REASON"], rows, width=width()))


def _room(found: Room) -> str:
    zones = ", ".join(f"{zone or 'no zone'} {count:,}" for zone, count in found.zones.items())
    last = f"Not one more: {found.message}" if found.message else "The limit was reached; there is room for more."
    return _say(f"Room for {_counted(found.count, 'more pod')}" + (f" ({zones})." if zones else "."), last)


def _needed(found: Needed) -> str:
    if found.count is not None:
        waited = f"{_counted(found.waiting_before, 'pod')} without a node now"
        return _say(f"{_counted(found.count, 'more node')} of this shape until every pod has one; {waited}.")
    lines = [f"Not with {found.limit:,} more nodes: {found.waiting:,} of {found.waiting_before:,} pods still wait."]
    return _say(*lines, *(f"{count:,}: {message}" for message, count in found.reasons[:SHOWN]))
