"""get, describe, events: looking at the cluster that a state file keeps. Nothing is run and nothing written."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import click

from volsched.api.edit import version_of
from volsched.api.kinds import Kind, meta, to_json
from volsched.app.cluster import Cluster
from volsched.cli import INPUT_WRONG, said, terminal
from volsched.cli.columns import event_row
from volsched.cli.common import complete_kinds, kind_or_fail, namespace_options, output_option, resources, selector_option, state_option
from volsched.cli.describe import describe as describe_text
from volsched.cli.help import Command, examples
from volsched.cli.jsonpath import Template, custom_columns, sorted_by
from volsched.cli.layout import fits, grid
from volsched.cli.opening import looked_at
from volsched.cli.output import as_list, objects_table, resource_name, short_name, structured
from volsched.errors import InputError, NotFoundError

ALL: Final = ("Pod", "PersistentVolumeClaim", "PersistentVolume", "VolumeSnapshot", "VolumeSnapshotContent", "StorageClass")
EVENT_TITLES: Final = ("LAST SEEN", "TYPE", "REASON", "OBJECT", "MESSAGE")
_JSONPATH, _COLUMNS = "jsonpath=", "custom-columns="


class _GetOutput(click.ParamType[str]):
    """The formats of `get`, two of which carry an expression."""

    name = "wide|name|json|yaml|jsonpath=TEMPLATE|custom-columns=TITLE:PATH,..."

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if value not in ("wide", "name", "json", "yaml") and not value.startswith((_JSONPATH, _COLUMNS)):
            self.fail(f'"{value}" is none of {self.name}', param, ctx)
        return value


class _Missing:
    """Objects that were asked for and are not there: told at the end, what is there having been shown."""

    def __init__(self) -> None:
        self._errors: list[NotFoundError] = []

    def get(self, cluster: Cluster, kind: Kind, namespace: str, name: str) -> list[Any]:
        try:
            return [cluster.store.get(kind.name, namespace if kind.namespaced else "", name)]
        except NotFoundError as error:
            self._errors.append(error)
            return []

    def tell(self) -> None:
        """Exit 1 if something is missing."""
        sys.stdout.flush()
        for error in self._errors:
            print(said(error), file=sys.stderr)
        if self._errors:
            sys.exit(INPUT_WRONG)


@click.command(
    cls=Command,
    epilog=examples(
        ("Pods and claims; everything", "volsched get pods,pvc"),
        ("With more columns, in every namespace", "volsched get pods -o wide -A"),
        ("One object in full", "volsched get pvc data -o yaml"),
        ("Values", "volsched get pods -o jsonpath='{.items[*].spec.nodeName}'"),
        ("Columns of one's own", "volsched get pv -o custom-columns=NAME:.metadata.name,SIZE:.spec.capacity.storage"),
    ),
)
@click.argument("what", nargs=-1, metavar="TYPE[,TYPE] [NAME...] | TYPE/NAME... | all", shell_complete=complete_kinds)
@selector_option
@click.option("--field-selector", help="Field selector: metadata.name=x, spec.nodeName=n, status.phase!=Bound.")
@click.option("--sort-by", metavar="PATH", help="Order by a field: .metadata.creationTimestamp, .spec.capacity.storage.")
@click.option("--show-labels", is_flag=True, help="Labels as a last column.")
@click.option("--no-headers", is_flag=True, help="Leave the titles out.")
@click.option("--ignore-not-found", is_flag=True, help="What is not there is no error.")
@click.option(
    "-o",
    "--output",
    type=_GetOutput(),
    metavar="FORMAT",
    help="wide (more columns, none cut), name, json, yaml, jsonpath=TEMPLATE or custom-columns=TITLE:PATH,...",
)
@namespace_options
@state_option
def get(
    what: tuple[str, ...],
    selector: str | None,
    field_selector: str | None,
    sort_by: str | None,
    show_labels: bool,
    no_headers: bool,
    ignore_not_found: bool,
    output: str | None,
    namespace: str,
    all_namespaces: bool,
    state: Path,
) -> None:
    """Show objects as tables, names, JSON or YAML. `volsched api-resources` lists the types."""
    pairs = [(kind_or_fail(kind), None) for kind in ALL] if what == ("all",) else resources(what, also=" or all")
    named = any(name is not None for _, name in pairs)
    if named and (selector or field_selector):
        raise click.UsageError("names cannot be given together with a selector")
    missing = _Missing()
    with looked_at(state) as cluster:
        groups: dict[str, list[Any]] = {}
        for kind, name in pairs:
            if name is None:
                scope = None if all_namespaces or not kind.namespaced else namespace
                found = list(cluster.store.list(kind.name, scope, label_selector=selector, field_selector=field_selector).items)
                if kind.name == "Event":
                    found.sort(key=lambda event: (event.lastTimestamp, version_of(event)))
            else:
                found = missing.get(cluster, kind, namespace, name)
            groups.setdefault(kind.name, []).extend(found)
        if sort_by:
            groups = {kind: sorted_by(objects, sort_by) for kind, objects in groups.items()}
        objects = [obj for group in groups.values() for obj in group]
        if output == "name":
            for obj in objects:
                print(resource_name(obj))
        elif output in ("json", "yaml"):
            if objects or not named:
                print(structured(to_json(objects[0]) if len(pairs) == 1 and named else as_list(objects), output))
        elif output and output.startswith(_JSONPATH):
            template = Template(output.removeprefix(_JSONPATH))
            value = to_json(objects[0]) if len(pairs) == 1 and named and objects else as_list(objects)
            sys.stdout.write(template.render(value) if objects or not named else "")
        elif output and output.startswith(_COLUMNS):
            titles, rows = custom_columns(output.removeprefix(_COLUMNS), objects)
            print("\n".join(grid(titles, rows, headers=not no_headers)))
        elif objects:
            _print_tables(
                cluster, groups, all_namespaces=all_namespaces, wide=output == "wide", headers=not no_headers, show_labels=show_labels
            )
        elif not named:
            everywhere = all_namespaces or not any(kind.namespaced for kind, _ in pairs)
            click.echo("No resources found" if everywhere else f"No resources found in {namespace} namespace.", err=True)
    if not ignore_not_found:
        missing.tell()


def _print_tables(
    cluster: Cluster, groups: dict[str, list[Any]], *, all_namespaces: bool, wide: bool, headers: bool, show_labels: bool
) -> None:
    tables = []
    for kind, group in groups.items():
        if not group:
            continue
        namespaces = all_namespaces and kind_or_fail(kind).namespaced
        if kind == "Event":
            tables.append(events_table(group, now_ns=cluster.now_ns(), namespaces=namespaces, headers=headers))
            continue
        tables.append(
            objects_table(
                kind,
                group,
                now_ns=cluster.now_ns(),
                wide=wide,
                namespaces=namespaces,
                headers=headers,
                labels=show_labels,
                prefixed=len(groups) > 1,
                width=terminal.width(),
            )
        )
    print("\n\n".join(tables))


@click.command(
    cls=Command,
    epilog=examples(
        ("A pod and its events", "volsched describe pod web"),
        ("All claims of an application", "volsched describe pvc -l app=shop"),
    ),
)
@click.argument("what", nargs=-1, metavar="TYPE [NAME_PREFIX...] | TYPE/NAME...", shell_complete=complete_kinds)
@selector_option
@namespace_options
@state_option
def describe(what: tuple[str, ...], selector: str | None, namespace: str, all_namespaces: bool, state: Path) -> None:
    """Show one or more objects in full, with their events. A name that no object has stands for all whose names begin so."""
    pairs = resources(what)
    missing = _Missing()
    with looked_at(state) as cluster:
        texts = []
        for kind, name in pairs:
            scope = None if all_namespaces or not kind.namespaced else namespace
            found = list(cluster.store.list(kind.name, scope, label_selector=selector).items)
            if name is not None:
                exact = [obj for obj in found if meta(obj).name == name]
                found = exact or [obj for obj in found if (meta(obj).name or "").startswith(name)]
                found = found or missing.get(cluster, kind, namespace, name)
            for obj in found:
                used_by = cluster.pods_using(obj) if kind.name == "PersistentVolumeClaim" else None
                texts.append(describe_text(obj, cluster.events_of(obj), used_by=used_by, now_ns=cluster.now_ns(), width=terminal.width()))
        if texts:
            print("\n\n\n".join(texts))
        elif all(name is None for _, name in pairs):
            click.echo("No resources found" if all_namespaces else f"No resources found in {namespace} namespace.", err=True)
    missing.tell()


@click.command(
    cls=Command,
    epilog=examples(
        ("What went wrong", "volsched events --types=Warning"),
        ("What happened to one object", "volsched events --for pod/web"),
    ),
)
@click.option("--for", "regarding", metavar="TYPE/NAME", help="Only events of this object.")
@click.option("--types", help="Only these, comma separated: Normal, Warning.")
@click.option("--no-headers", is_flag=True, help="Leave the titles out.")
@namespace_options
@output_option("json", "yaml")
@state_option
def events(
    regarding: str | None, types: str | None, no_headers: bool, namespace: str, all_namespaces: bool, output: str | None, state: Path
) -> None:
    """List events, oldest first."""
    wanted = _types(types)
    with looked_at(state) as cluster:
        if regarding is not None:
            pairs = resources((regarding,))
            kind, name = pairs[0]
            if name is None:
                raise click.UsageError("--for takes TYPE/NAME")
            found: Iterable[Any] = cluster.events_named(kind.name, namespace if kind.namespaced else "", name)
        else:
            found = cluster.events(None if all_namespaces else namespace)
        shown = [event for event in found if not wanted or event.type in wanted]
        if output:
            print(structured(as_list(shown), output))
        elif shown:
            print(events_table(shown, now_ns=cluster.now_ns(), namespaces=all_namespaces, headers=not no_headers))
        else:
            click.echo("No events found" + ("." if all_namespaces else f" in {namespace} namespace."), err=True)


def _types(text: str | None) -> frozenset[str]:
    wanted = frozenset(word.strip().capitalize() for word in (text or "").split(",") if word.strip())
    unknown = sorted(wanted - {"Normal", "Warning"})
    if unknown:
        raise InputError(f'valid --types are Normal or Warning, not "{unknown[0]}"')
    return wanted


def events_table(events: Sequence[Any], *, now_ns: int, namespaces: bool, headers: bool = True) -> str:
    """LAST SEEN, TYPE, REASON, OBJECT, MESSAGE."""
    titles = (["NAMESPACE"] if namespaces else []) + list(EVENT_TITLES)
    width = terminal.width()

    def rows(kind_name: Callable[[str], str]) -> list[list[str]]:
        return [([meta(event).namespace or ""] if namespaces else []) + event_row(event, now_ns, kind_name) for event in events]

    table = rows(str)
    if not fits(titles, table, width):
        table = rows(short_name)
    texts = grid(titles, table, headers=headers, width=width)
    shades = ([""] if headers else []) + ["wait" if event.type == "Warning" else "" for event in events]
    return "\n".join(terminal.shade(text, how) for text, how in zip(texts, shades, strict=True))
