"""apply, delete, get, describe, events: the kubectl of the embedded cluster."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import click

from volsched.api.edit import with_metadata
from volsched.api.kinds import Kind, key_of, meta, to_json
from volsched.api.manifest import load_files
from volsched.app.cluster import Cluster
from volsched.cli.columns import age
from volsched.cli.common import files_option, kind_or_fail, namespace_options, output_option, resources, state_option, warn
from volsched.cli.describe import describe as describe_text
from volsched.cli.output import as_list, grid, json_text, objects_table, resource_name, shade, yaml_text
from volsched.cli.progress import running
from volsched.errors import InputError, NotFoundError

ALL_KINDS = ("Pod", "PersistentVolumeClaim", "PersistentVolume", "VolumeSnapshot", "VolumeSnapshotContent", "StorageClass")


def _existing(state: Path) -> Cluster:
    """The cluster kept in a state file that has to be there already."""
    if not state.exists():
        raise InputError("no cluster here yet; `volsched apply -f FILE` starts one", source=str(state))
    return Cluster(state=state)


def _settle(cluster: Cluster, *, run: bool) -> AbstractContextManager[Any] | None:
    if run:
        with running(cluster):
            cluster.run_until_idle()
    return None


_no_run = click.option("--no-run", is_flag=True, help="Only write; controllers and scheduler act with the next call.")


@click.command()
@files_option(required=True)
@state_option
@_no_run
@output_option("name", "json", "yaml")
@click.option("--seed", type=int, help="Seed of a new cluster's uids and chance (default 0).")
def apply(files: Sequence[Path], state: Path, no_run: bool, output: str | None, seed: int | None) -> None:
    """Create objects, or bring existing ones to what the files say; then let the cluster settle."""
    loaded = load_files(list(files), warn=warn)
    with Cluster(state=state, seed=seed) as cluster:
        results = cluster.apply_all(loaded)
        _settle(cluster, run=not no_run)
        for obj, outcome in results:
            if output is None:
                print(f"{resource_name(obj)} {outcome}")
        _print_objects([cluster.current(obj) for obj, _ in results], output)


def _print_objects(objects: Sequence[Any], output: str | None) -> None:
    if output == "name":
        for obj in objects:
            print(resource_name(obj))
    elif output in ("json", "yaml") and objects:
        value = to_json(objects[0]) if len(objects) == 1 else as_list(objects)
        print(json_text(value) if output == "json" else yaml_text(value))


@click.command()
@click.argument("what", nargs=-1, metavar="[TYPE NAME... | TYPE/NAME...]")
@files_option(required=False)
@click.option("-l", "--selector", help="Label selector: a=b, c!=d, e in (x,y), f, !g.")
@click.option("--all", "everything", is_flag=True, help="All objects of the type.")
@click.option("--grace-period", type=click.IntRange(min=0), help="Seconds a running pod may take to end.")
@namespace_options
@state_option
@_no_run
def delete(
    what: tuple[str, ...],
    files: Sequence[Path],
    selector: str | None,
    everything: bool,
    grace_period: int | None,
    namespace: str,
    all_namespaces: bool,
    state: Path,
    no_run: bool,
) -> None:
    """Delete objects by name, by label or by file; then let the cluster settle."""
    if bool(what) == bool(files):
        raise click.UsageError("say what: TYPE NAME..., TYPE/NAME... or -f FILE")
    with _existing(state) as cluster:
        targets: list[tuple[Kind, str, str]] = []
        if files:
            for item in load_files(list(files), warn=warn):
                key = key_of(item.object)
                targets.append((kind_or_fail(key.kind), key.namespace, key.name))
        for kind, name in resources(what) if what else ():
            if name is not None:
                targets.append((kind, namespace if kind.namespaced else "", name))
                continue
            if not (everything or selector):
                raise click.UsageError("names, --all or -l SELECTOR are needed")
            scope = None if all_namespaces or not kind.namespaced else namespace
            found = cluster.store.list(kind.name, scope, label_selector=selector).items
            targets += [(kind, meta(obj).namespace or "", meta(obj).name or "") for obj in found]
        lines = []
        for kind, space, name in targets:
            cluster.delete(kind.name, space, name, grace_period_s=grace_period)
            lines.append(f'{kind.name.lower()}{"." + kind.group if kind.group else ""} "{name}" deleted' + (f" from {space} namespace" if space else ""))
        _settle(cluster, run=not no_run)
        print("\n".join(lines) if lines else "No resources found")


@click.command()
@click.argument("what", nargs=-1, metavar="TYPE[,TYPE] [NAME...] | TYPE/NAME... | all")
@click.option("-l", "--selector", help="Label selector.")
@click.option("--field-selector", help="Field selector: metadata.name=x, spec.nodeName=n, status.phase!=Bound.")
@click.option("--no-headers", is_flag=True, help="Leave the titles out.")
@output_option("wide", "name", "json", "yaml")
@namespace_options
@state_option
def get(
    what: tuple[str, ...],
    selector: str | None,
    field_selector: str | None,
    no_headers: bool,
    output: str | None,
    namespace: str,
    all_namespaces: bool,
    state: Path,
) -> None:
    """Show objects as tables, names, JSON or YAML."""
    pairs = [(kind_or_fail(kind), None) for kind in ALL_KINDS] if what == ("all",) else resources(what)
    with _existing(state) as cluster:
        groups: dict[str, list[Any]] = {}
        named = any(name is not None for _, name in pairs)
        for kind, name in pairs:
            if name is not None:
                found = [cluster.store.get(kind.name, namespace if kind.namespaced else "", name)]
            else:
                scope = None if all_namespaces or not kind.namespaced else namespace
                found = list(cluster.store.list(kind.name, scope, label_selector=selector, field_selector=field_selector).items)
            groups.setdefault(kind.name, []).extend(found)
        objects = [obj for group in groups.values() for obj in group]
        if output in ("json", "yaml"):
            value = to_json(objects[0]) if named and len(objects) == 1 else as_list(objects)
            print(json_text(value) if output == "json" else yaml_text(value))
        elif output == "name":
            _print_objects(objects, "name")
        elif not objects:
            click.echo("No resources found" if all_namespaces else f"No resources found in {namespace} namespace.", err=True)
        else:
            tables = []
            for kind_name, group in groups.items():
                if not group:
                    continue
                spaces = all_namespaces and kind_or_fail(kind_name).namespaced
                if len(groups) > 1:
                    group = [_prefixed(obj) for obj in group]
                tables.append(
                    objects_table(
                        kind_name, group, now_ns=cluster.now_ns(), wide=output == "wide", namespaces=spaces, headers=not no_headers
                    )
                )
            print("\n\n".join(tables))


def _prefixed(obj: Any) -> Any:
    """The object with its kind before its name, as kubectl shows several kinds at once."""
    return with_metadata(obj, name=resource_name(obj))


@click.command()
@click.argument("what", nargs=-1, metavar="TYPE [NAME...] | TYPE/NAME...")
@namespace_options
@state_option
def describe(what: tuple[str, ...], namespace: str, all_namespaces: bool, state: Path) -> None:
    """Show one or more objects in full, with their events."""
    with _existing(state) as cluster:
        texts = []
        for kind, name in resources(what):
            if name is None:
                scope = None if all_namespaces or not kind.namespaced else namespace
                found = list(cluster.store.list(kind.name, scope).items)
            else:
                found = [cluster.store.get(kind.name, namespace if kind.namespaced else "", name)]
            for obj in found:
                used_by = cluster.pods_using(obj) if kind.name == "PersistentVolumeClaim" else None
                texts.append(describe_text(obj, cluster.events_of(obj), used_by=used_by, now_ns=cluster.now_ns()))
        if not texts:
            raise NotFoundError(f"No resources found in {namespace} namespace.", kind="", name="")
        print("\n\n\n".join(texts))


@click.command()
@click.option("--for", "regarding", metavar="TYPE/NAME", help="Only events of this object.")
@click.option("--types", help="Only these, comma separated: Normal, Warning.")
@namespace_options
@output_option("json", "yaml")
@state_option
def events(regarding: str | None, types: str | None, namespace: str, all_namespaces: bool, output: str | None, state: Path) -> None:
    """List events, oldest first."""
    with _existing(state) as cluster:
        if regarding is not None:
            (kind, name) = resources((regarding,))[0]
            found = list(cluster.events_named(kind.name, namespace if kind.namespaced else "", name or ""))
        else:
            found = list(cluster.events(None if all_namespaces else namespace))
        if types:
            wanted = {word.strip().capitalize() for word in types.split(",")}
            found = [event for event in found if event.type in wanted]
        if output:
            print(json_text(as_list(found)) if output == "json" else yaml_text(as_list(found)))
        elif not found:
            click.echo("No events found" + ("." if all_namespaces else f" in {namespace} namespace."), err=True)
        else:
            print(events_table(found, now_ns=cluster.now_ns(), namespaces=all_namespaces))


def events_table(events: Sequence[Any], *, now_ns: int, namespaces: bool) -> str:
    """LAST SEEN, TYPE, REASON, OBJECT, MESSAGE."""
    titles = (["NAMESPACE"] if namespaces else []) + ["LAST SEEN", "TYPE", "REASON", "OBJECT", "MESSAGE"]
    rows = []
    for event in events:
        seen = age(event.lastTimestamp, now_ns) + (f" (x{event.count})" if (event.count or 1) > 1 else "")
        target = f"{event.involvedObject.kind}/{event.involvedObject.name}"
        row = [seen, event.type or "", event.reason or "", target, event.message or ""]
        rows.append(([meta(event).namespace or ""] if namespaces else []) + row)
    text = grid(titles, rows)
    lines = text.splitlines()
    kinds = [""] + [event.type or "" for event in events]
    return "\n".join(shade(line, "wait") if kind == "Warning" else line for line, kind in zip(lines, kinds, strict=True))
