"""run: load manifests, let the cluster work until nothing more happens, print what happened."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import click

from volsched.api.kinds import KINDS, to_json
from volsched.api.manifest import load_files
from volsched.app.cluster import Cluster
from volsched.app.workqueue import NS
from volsched.cli.columns import pod_status
from volsched.cli.common import engine_option, files_option, output_option, warn
from volsched.cli.output import grid, json_text, objects_table, shade, yaml_text
from volsched.cli.progress import running
from volsched.errors import InputError

SHOWN_KINDS: Final = ("Pod", "PersistentVolumeClaim", "PersistentVolume", "VolumeSnapshot", "VolumeSnapshotContent")
_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_UNIT_NS: Final = {"ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9, "d": 86400 * 10**9}


def duration_ns(text: str) -> int:
    """`90s`, `1h30m`, `250ms`, or a bare number of seconds. Raises click.BadParameter."""
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return round(float(text) * NS)
    parts = _DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise click.BadParameter(f'"{text}" is no duration: 90s, 1h30m, 250ms or a number of seconds')
    return sum(round(float(number) * _UNIT_NS[unit]) for number, unit in parts)


@click.command()
@files_option(required=True)
@click.option("--until", metavar="T", help="Stop at this virtual time since the start (90s, 1h30m), idle or not.")
@click.option("--state", type=click.Path(dir_okay=False, path_type=Path), help="Keep the cluster in this SQLite file (must not exist yet).")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of uids and chance.")
@click.option("--tie-break", type=click.Choice(["first", "name", "random", "kube"]), default="first", show_default=True)
@engine_option
@output_option("wide", "json", "yaml")
def run(
    files: Sequence[Path], until: str | None, state: Path | None, seed: int, tie_break: str, engine: str, output: str | None
) -> None:
    """Load manifests, run controllers and scheduler on the virtual clock until idle, print what happened.

    All objects are created at 0 s, in file order, before any controller runs. An object with metadata.uid is taken with its status, as
    in a dump of a cluster; without, as a user creates it. Pods that stay Pending are a result, not an error.
    """
    limit = duration_ns(until) if until is not None else None
    if state is not None and state.exists():
        raise InputError("exists already; `run` starts a new cluster (use `apply` to add to one)", source=str(state))
    loaded = load_files(list(files), warn=warn)
    with Cluster(state=state, seed=seed, engine=engine, tie_break=tie_break) as cluster:  # type: ignore[arg-type]
        cluster.create_all(loaded)
        with running(cluster):
            idle = cluster.run_until_idle() if limit is None else cluster.run_until_idle(deadline_ns=cluster.start_ns + limit)
        if output in ("json", "yaml"):
            value = report(cluster, idle=idle)
            print(json_text(value) if output == "json" else yaml_text(value))
        else:
            print_report(cluster, idle=idle, wide=output == "wide")


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
            {"time_s": (at - cluster.start_ns) / NS} | {"regarding": str(entry.regarding), "type": entry.type, "reason": entry.reason}
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


def print_report(cluster: Cluster, *, idle: bool, wide: bool) -> None:
    """Events in the order they happened, then what there is now."""
    rows = [
        (seconds(cluster, at), entry.type, entry.reason, f"{entry.regarding.kind}/{entry.regarding.name}", entry.message)
        for at, entry in cluster.narrative
    ]
    if rows:
        lines = grid(("TIME", "TYPE", "REASON", "OBJECT", "MESSAGE"), rows).splitlines()
        print(lines[0])
        for line, row in zip(lines[1:], rows, strict=True):
            print(shade(line, "wait") if row[1] == "Warning" else line)
        print()
    for kind in SHOWN_KINDS:
        objects = list(cluster.store.list(kind).items)
        if objects:
            spaces = any((obj.metadata.namespace or "default") != "default" for obj in objects)
            print(objects_table(kind, objects, now_ns=cluster.now_ns(), wide=wide, namespaces=spaces))
            print()
    pods = list(cluster.store.list("Pod").items)
    pending = [pod for pod in pods if pod_status(pod) == "Pending"]
    for pod in pending:
        for condition in (pod.status.conditions if pod.status else None) or ():
            if condition.type == "PodScheduled" and condition.status == "False":
                print(f"{shade('Pending', 'bad')} {pod.metadata.namespace}/{pod.metadata.name}: {condition.message}")
    print(f"{'idle' if idle else 'stopped'} after {seconds(cluster, cluster.now_ns())} of virtual time, run {cluster.run_hash()[:16]}")
