"""apply and delete: write, tell, let the cluster settle.

A call writes all of its objects or none, in one transaction; a line on standard output means that the write is on the disk. Controllers and
scheduler act afterwards.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import click

from volsched.api.kinds import Key, Kind, key_of, meta, to_json
from volsched.api.manifest import Loaded
from volsched.app.cluster import Cluster
from volsched.app.external import kubelet_root
from volsched.cli.common import (
    complete_kinds,
    endpoint_option,
    engine_option,
    files_option,
    kind_or_fail,
    loaded,
    namespace_option,
    namespace_options,
    output_option,
    resources,
    selector_option,
    state_option,
    warn,
)
from volsched.cli.help import Command, examples
from volsched.cli.opening import existing
from volsched.cli.output import as_list, resource_name, resource_type, structured
from volsched.cli.progress import showing
from volsched.env import Uids
from volsched.errors import InputError, NotFoundError

_no_run = click.option("--no-run", is_flag=True, help="Only write; controllers and scheduler act with the next call.")
_dry_run = click.option(
    "--dry-run", type=click.Choice(["none", "client", "server"]), default="none", help="Say what would be done; write nothing."
)


class _NothingKept(Exception):
    """Ends a dry run: the writes it was to show are taken back."""


@contextmanager
def _writing(cluster: Cluster, *, keep: bool) -> Iterator[None]:
    """All the writes inside or none; none when they are not to be kept."""
    try:
        with cluster.store.atomic():
            yield
            if not keep:
                raise _NothingKept
    except _NothingKept:
        pass


@click.command(
    cls=Command,
    epilog=examples(
        ("The objects of a file, of a folder, of standard input", "volsched apply -f cluster.yaml -f manifests/"),
        ("What would be done", "volsched apply -f pod.yaml --dry-run=server"),
        ("Write now, let controllers and scheduler act with the next call", "volsched apply -f pod.yaml --no-run"),
        ("A CSI driver that runs by itself", "volsched apply -f cluster.yaml --csi-endpoint unix:///run/csi.sock"),
    ),
)
@files_option(required=True)
@namespace_option("Namespace of objects that name none.")
@state_option
@_no_run
@_dry_run
@output_option("name", "json", "yaml")
@click.option("--seed", type=int, help="Seed of a new cluster's uids and chance (default 0).")
@endpoint_option
@engine_option
def apply(
    files: Sequence[Path],
    namespace: str,
    state: Path,
    no_run: bool,
    dry_run: str,
    output: str | None,
    seed: int | None,
    endpoints: tuple[str, ...],
    engine: str,
) -> None:
    """Create objects, or bring existing ones to what the files say; then let the cluster settle.

    All of the objects are written or, when one is refused, none.
    """
    keep = dry_run == "none"
    with showing("reading manifests") as progress:
        items = loaded(files, passed_to="apply", namespace=namespace)
        fresh = not state.exists()
        if fresh and keep:
            progress.now("checking")
            _try_out(items, endpoints, seed=seed, engine=engine)
        progress.now("writing")
        with Cluster(state=None if fresh and not keep else state, seed=seed, engine=engine) as cluster:
            if not fresh and seed is not None and cluster.store.uids.seed != Uids(seed).seed:
                raise InputError("the cluster in this file has a seed of its own; --seed is for a new one", source=str(state))
            cluster.connect(endpoints, kubelet_root=kubelet_root(state))
            with _writing(cluster, keep=keep):
                cluster.remember(endpoints)
                results = cluster.apply_all(items)
            suffix = "" if keep else f" ({dry_run} dry run)" if dry_run == "server" else " (dry run)"
            if output in (None, "name"):
                progress.hide()
                for obj, outcome in results:
                    print(resource_name(obj) + (f" {outcome}{suffix}" if output is None else ""), flush=True)
            if keep and not no_run:
                progress.watch(cluster)
                cluster.run_until_idle()
            progress.hide()
            if output in ("json", "yaml"):
                shown = [cluster.current(obj) if keep else obj for obj, _ in results]
                print(structured(to_json(shown[0]) if len(shown) == 1 else as_list(shown), output))


def _try_out(items: Sequence[Loaded], endpoints: Sequence[str], *, seed: int | None, engine: str) -> None:
    """Refuse what the new cluster would refuse before there is a file of it."""
    with Cluster(seed=seed, engine=engine) as cluster:
        cluster.connect(endpoints, kubelet_root="")
        cluster.apply_all(items)


class _Target(NamedTuple):
    kind: Kind
    namespace: str
    name: str


@click.command(
    cls=Command,
    epilog=examples(
        ("By name; several types at once", "volsched delete pod/web pvc/data"),
        ("What a file holds", "volsched delete -f pod.yaml"),
        ("By label, in every namespace", "volsched delete pods -l app=shop -A"),
        ("A pod whose node is gone", "volsched delete pod web --grace-period=0"),
    ),
)
@click.argument("what", nargs=-1, metavar="[TYPE NAME... | TYPE/NAME...]", shell_complete=complete_kinds)
@files_option(required=False)
@selector_option
@click.option("--all", "everything", is_flag=True, help="All objects of the type.")
@click.option("--ignore-not-found", is_flag=True, help="What is not there counts as deleted.")
@click.option("--grace-period", type=click.IntRange(min=0), metavar="SECONDS", help="Seconds a running pod may take to end.")
@namespace_options
@state_option
@_no_run
@_dry_run
@output_option("name")
@engine_option
def delete(
    what: tuple[str, ...],
    files: Sequence[Path],
    selector: str | None,
    everything: bool,
    ignore_not_found: bool,
    grace_period: int | None,
    namespace: str,
    all_namespaces: bool,
    state: Path,
    no_run: bool,
    dry_run: str,
    output: str | None,
    engine: str,
) -> None:
    """Delete objects by name, by label or by file; then let the cluster settle.

    All of them are deleted or, when one is not there, none.
    """
    if bool(what) == bool(files):
        raise click.UsageError("say what: TYPE NAME..., TYPE/NAME... or -f FILE")
    keep = dry_run == "none"
    pairs = resources(what) if what else []
    if any(name is None for _, name in pairs) and not (everything or selector):
        raise click.UsageError("resource(s) were provided, but no name was specified; give names, -l SELECTOR or --all")
    if any(name is not None for _, name in pairs) and (everything or selector):
        raise click.UsageError("names cannot be given together with -l SELECTOR or --all")
    given = loaded(files, passed_to="delete", namespace=namespace) if files else []
    with showing("opening the cluster") as progress, existing(state, engine=engine) as cluster:
        targets = [_Target(kind_or_fail(key.kind), key.namespace, key.name) for key in (key_of(item.object) for item in given)]
        for kind, name in pairs:
            targets += _targets(cluster, kind, name, None if all_namespaces else namespace, namespace, selector)
        cluster.connect((), kubelet_root=kubelet_root(state))
        progress.now("deleting")
        done = _delete(cluster, targets, grace_period_s=grace_period, keep=keep, ignore_not_found=ignore_not_found)
        progress.hide()
        for target in done:
            told = f'{resource_type(target.kind)} "{target.name}" deleted' + (
                f" from {target.namespace} namespace" if target.namespace else ""
            )
            dry = "" if keep else " (server dry run)" if dry_run == "server" else " (dry run)"
            print(f"{resource_type(target.kind)}/{target.name}" if output == "name" else told + dry, flush=True)
        if not done:
            click.echo("No resources found", err=True)
        if keep and not no_run:
            progress.watch(cluster)
            cluster.run_until_idle()
            progress.hide()
            _tell_of_those_left(cluster, done)


def _targets(cluster: Cluster, kind: Kind, name: str | None, scope: str | None, namespace: str, selector: str | None) -> list[_Target]:
    if name is not None:
        return [_Target(kind, namespace if kind.namespaced else "", name)]
    found = cluster.store.list(kind.name, scope if kind.namespaced else None, label_selector=selector).items
    return [_Target(kind, meta(obj).namespace or "" if kind.namespaced else "", meta(obj).name or "") for obj in found]


def _delete(
    cluster: Cluster, targets: Sequence[_Target], *, grace_period_s: int | None, keep: bool, ignore_not_found: bool
) -> list[_Target]:
    """Delete all or none; answers those that were there."""
    done = []
    with _writing(cluster, keep=keep):
        for target in targets:
            try:
                cluster.delete(target.kind.name, target.namespace, target.name, grace_period_s=grace_period_s)
            except NotFoundError as error:
                if ignore_not_found:
                    continue
                if len(targets) > 1:
                    text = f"{error}; nothing was deleted (--ignore-not-found deletes the others)"
                    raise NotFoundError(text, kind=target.kind.name, name=target.name) from error
                raise
            done.append(target)
    return done


def _tell_of_those_left(cluster: Cluster, targets: Sequence[_Target]) -> None:
    """kubectl would wait for them for ever."""
    for target in targets:
        obj: Any = cluster.store.raw(Key(target.kind.name, target.namespace, target.name))
        if obj is None or meta(obj).deletionTimestamp is None:
            continue
        held = ", ".join(meta(obj).finalizers or ())
        users = cluster.pods_using(obj) if target.kind.name == "PersistentVolumeClaim" else ()
        node = obj.spec.nodeName if target.kind.name == "Pod" else None
        if node and cluster.store.raw(Key("Node", "", node)) is None:
            warn(f"pod {target.name} is still being deleted, its node {node} is gone; --grace-period=0 removes it")
            continue
        why = f", held by {held}" + (f" (in use by pod {', '.join(users)})" if users else "") if held else ""
        warn(f"{resource_type(target.kind)} {target.name} is still being deleted{why}")
