"""run: load manifests, let the cluster work until nothing more happens, print what happened."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import click

from volsched.api.kinds import KINDS, meta, to_json
from volsched.app.cluster import Cluster, Happening
from volsched.app.external import kubelet_root
from volsched.app.workqueue import NS
from volsched.cli import terminal
from volsched.cli.common import endpoint_option, engine_option, files_option, loaded, output_option, tie_break_option
from volsched.cli.help import Command, examples
from volsched.cli.layout import fits, grid, wrapped
from volsched.cli.output import objects_table, short_name, structured
from volsched.cli.progress import showing
from volsched.errors import InputError

SHOWN_KINDS: Final = ("Pod", "PersistentVolumeClaim", "PersistentVolume", "VolumeSnapshot", "VolumeSnapshotContent")
NAMES_SHOWN: Final = 8
_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_UNIT_NS: Final = {"ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9, "d": 86400 * 10**9}


def duration_ns(text: str) -> int:
    """`90s`, `1h30m`, `250ms`, or a bare number of seconds. Raises click.BadParameter."""
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return round(float(text) * NS)
    parts = _DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise click.BadParameter(f'"{text}" is no duration: 90s, 1h30m, 250ms or a number of seconds', param_hint="--until")
    return sum(round(float(number) * _UNIT_NS[unit]) for number, unit in parts)


@click.command(
    cls=Command,
    epilog=examples(
        ("A folder of manifests", "volsched run -f examples/zonal-dynamic"),
        ("The first ten minutes, as data", "volsched run -f cluster.yaml --until 10m -o json"),
        ("Keep the cluster, to go on with it", "volsched run -f cluster.yaml --state incident.db"),
    ),
)
@files_option(required=True)
@click.option("--until", metavar="T", help="Stop at this virtual time since the start (90s, 1h30m), idle or not.")
@click.option("--state", type=click.Path(dir_okay=False, path_type=Path), help="Keep the cluster in this SQLite file (must not exist yet).")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of uids and chance.")
@tie_break_option
@endpoint_option
@engine_option
@output_option("wide", "json", "yaml")
def run(
    files: Sequence[Path],
    until: str | None,
    state: Path | None,
    seed: int,
    tie_break: str,
    endpoints: tuple[str, ...],
    engine: str,
    output: str | None,
) -> None:
    """Load manifests, run controllers and scheduler on the virtual clock until idle, print what happened.

    All objects are created at 0 s, in file order, before any controller runs. An object with metadata.uid is taken with its status, as
    in a dump of a cluster; without, as a user creates it. Pods that stay Pending are a result, not an error.
    """
    limit = duration_ns(until) if until is not None else None
    if state is not None and state.exists():
        raise InputError("exists already; `run` starts a new cluster (use `apply` to add to one)", source=str(state))
    options: dict[str, Any] = {"seed": seed, "engine": engine, "tie_break": tie_break}
    with showing("reading manifests") as progress:
        items = loaded(files, passed_to="run")
        progress.now("writing")
        if state is not None:
            with Cluster(**options) as trial:  # refuse what the new cluster would refuse before there is a file of it
                trial.connect(endpoints, kubelet_root="")
                trial.create_all(items)
        with TemporaryDirectory(prefix="volsched-") as scratch, Cluster(state=state, **options) as cluster:
            cluster.connect(endpoints, kubelet_root=kubelet_root(state or Path(scratch) / "run"))
            cluster.remember(endpoints)
            cluster.create_all(items)
            progress.watch(cluster)
            idle = cluster.run_until_idle(deadline_ns=None if limit is None else cluster.start_ns + limit)
            progress.hide()
            if output in ("json", "yaml"):
                print(structured(report(cluster, idle=idle), output))
            else:
                print_report(cluster, idle=idle, wide=output == "wide", state=state)


def seconds(cluster: Cluster, at_ns: int) -> str:
    """Virtual time since the start of the run."""
    return f"{(at_ns - cluster.start_ns) / NS:.3f}s"


def report(cluster: Cluster, *, idle: bool) -> dict[str, Any]:
    """Everything a script wants: times in seconds since the start."""
    return {
        "elapsed_s": (cluster.now_ns() - cluster.start_ns) / NS,
        "idle": idle,
        "hash": cluster.run_hash(),
        "events": [
            {"time_s": (at - cluster.start_ns) / NS}
            | {"regarding": str(entry.regarding), "type": entry.type, "reason": entry.reason}
            | {"source": entry.source, "message": entry.message}
            for at, entry in cluster.narrative
        ],
        "csi_calls": [
            {"time_s": (call.time_ns - cluster.start_ns) / NS, "driver": call.driver, "method": call.method, "request": call.request}
            | {"outcome": call.outcome}
            for call in cluster.csi_calls
        ],
        "objects": [to_json(obj) for kind in KINDS if kind != "Event" for obj in cluster.store.list(kind).items],
    }


def print_report(cluster: Cluster, *, idle: bool, wide: bool, state: Path | None) -> None:
    """Events in the order they happened, then what there is now."""
    rows = _told(cluster, str)
    if rows:
        titles = ("TIME", "TYPE", "REASON", "OBJECT", "MESSAGE")
        if not fits(titles, rows, terminal.width()):
            rows = _told(cluster, short_name)
        texts = grid(titles, rows, width=terminal.width())
        shades = ["", *("wait" if row[1] == "Warning" else "" for row in rows)]
        print("\n".join(terminal.shade(text, how) for text, how in zip(texts, shades, strict=True)), end="\n\n")
    for kind in SHOWN_KINDS:
        objects = list(cluster.store.list(kind).items)
        if objects:
            spaces = any((meta(obj).namespace or "default") != "default" for obj in objects)
            print(objects_table(kind, objects, now_ns=cluster.now_ns(), wide=wide, namespaces=spaces, width=terminal.width()), end="\n\n")
    _print_pending(cluster, state)
    at = f"settled at {seconds(cluster, cluster.changed_ns)}, watched" if idle else "stopped, not settled,"
    print(f"{at} until {seconds(cluster, cluster.now_ns())} of virtual time, run {cluster.run_hash()[:16]}")


def _told(cluster: Cluster, kind_name: Callable[[str], str]) -> list[list[str]]:
    """One row for an event, at the instant it was told first; its repeats are counted."""
    times: dict[Happening, list[int]] = {}
    for at, entry in cluster.narrative:
        times.setdefault(entry, []).append(at)
    rows = []
    for entry, told in times.items():
        again = f" (x{len(told)}, last at {seconds(cluster, told[-1])})" if len(told) > 1 else ""
        regarding = f"{kind_name(entry.regarding.kind)}/{entry.regarding.name}"
        rows.append([seconds(cluster, told[0]), entry.type, entry.reason, regarding, entry.message + again])
    return rows


def _print_pending(cluster: Cluster, state: Path | None) -> None:
    """Pods without a node, those with one reason together."""
    waiting: dict[str, list[str]] = {}
    for pod in cluster.store.list("Pod").items:
        for condition in (pod.status.conditions if pod.status else None) or ():
            if condition.type == "PodScheduled" and condition.status == "False":
                waiting.setdefault(condition.message or "", []).append(f"{meta(pod).namespace}/{meta(pod).name}")
    for message, names in waiting.items():
        shown = ", ".join(names[:NAMES_SHOWN]) + (f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else "")
        text = wrapped(f"Pending {shown}: {message}", terminal.width(), indent="  ")
        print(text.replace("Pending", terminal.shade("Pending", "bad"), 1))
    if waiting and state is not None:
        print(f"`volsched explain pod/NAME --state {state}` says why")
