"""Plays a recorded story on the embedded cluster: the user's actions at their instants of the virtual clock, stages printed as objects.

A story is JSON: `driver` (null or the settings of one CSI driver), `prefer` (pod -> nodes it was bound to, among equals), `timeline` of
`do` (create, delete, patch) and `stage` entries with `at` in seconds. Names and bodies may hold tokens: `<time>` is the instant of the
entry, `<uid:Kind/name>` the uid of the first object of that name, `#2` of the second, …
"""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from volsched.api.kinds import KINDS, Json, to_json
from volsched.api.manifest import from_manifest
from volsched.api.watch import Change, WatchEvent
from volsched.app.cluster import Cluster, DriverSettings
from volsched.app.workqueue import NS
from volsched.errors import ApiError, InputError

STAGE_KINDS: Final = (
    "Pod",
    "PersistentVolume",
    "PersistentVolumeClaim",
    "StorageClass",
    "VolumeSnapshot",
    "VolumeSnapshotClass",
    "VolumeSnapshotContent",
    "VolumeAttachment",
    "CSIStorageCapacity",
)
VERBS: Final = ("create", "delete", "patch")
SECONDS_MAX: Final = 100 * 86400
_UID_TOKEN: Final = re.compile(r"<uid:([A-Za-z]+)/([^>#]+)(?:#(\d+))?>")


class Names:
    """Every object ever created, by kind, name and how many of that name came before it."""

    def __init__(self) -> None:
        self._nth: dict[tuple[str, str], list[str]] = {}
        self.uids: dict[str, tuple[str, str, int]] = {}

    def observe(self, event: WatchEvent) -> None:
        if event.change is not Change.ADDED or event.kind == "Event":
            return
        metadata = event.object.metadata
        same = self._nth.setdefault((event.kind, metadata.name), [])
        if metadata.uid not in self.uids:
            same.append(metadata.uid)
            self.uids[metadata.uid] = (event.kind, metadata.name, len(same))

    def resolve(self, value: Json, *, now: str) -> Json:
        """A copy of a JSON value with its tokens replaced. Raises InputError for a token that names no object."""
        if isinstance(value, str):
            return _UID_TOKEN.sub(self._uid, value.replace("<time>", now))
        if isinstance(value, list):
            return [self.resolve(item, now=now) for item in value]
        if isinstance(value, dict):
            return {key: self.resolve(item, now=now) for key, item in value.items()}
        return value

    def _uid(self, match: re.Match[str]) -> str:
        kind, name, nth = match[1], match[2], int(match[3] or 1)
        known = self._nth.get((kind, name), [])
        if nth > len(known):
            raise InputError(f"{match[0]} names an object that was never created: {len(known)} {kind} named {name} so far")
        return known[nth - 1]


class Preferences:
    """Which of several nodes of equal score a pod takes, by name; the n-th pod of a name takes the n-th node listed for it."""

    def __init__(self, prefer: Mapping[str, Sequence[str]]) -> None:
        self._prefer = prefer
        self._seen: dict[str, list[str]] = {}

    def choose(self, pod: Any, best: Sequence[str]) -> str | None:
        name = f"{pod.metadata.namespace}/{pod.metadata.name}"
        uids = self._seen.setdefault(name, [])
        if pod.metadata.uid not in uids:
            uids.append(pod.metadata.uid)
        nodes = self._prefer.get(name, ())
        position = uids.index(pod.metadata.uid)
        return nodes[position] if position < len(nodes) and nodes[position] in best else None


def read_story(path: Path) -> dict[str, Json]:
    """A story from its file. Raises InputError when it is none."""
    try:
        story = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", source=str(path)) from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"is not JSON: {error}", source=str(path)) from error
    if not isinstance(story, dict) or not isinstance(story.get("timeline"), list):
        raise InputError("is no story: an object with a `timeline` list is expected", source=str(path), path="timeline")
    for where, problem in _problems(story):
        raise InputError(problem, source=str(path), path=where)
    return story


def _problems(story: Mapping[str, Json]) -> Iterator[tuple[str, str]]:
    """(path, what is wrong with it): the shape of a story, apart from the objects in it."""
    if not isinstance(story.get("driver") or {}, dict):
        yield "driver", "must be null or an object"
    prefer = story.get("prefer") or {}
    if not isinstance(prefer, dict):
        yield "prefer", "must be an object: pod -> list of nodes"
    else:
        for pod, nodes in prefer.items():
            if not isinstance(nodes, list):
                yield f"prefer.{pod}", "must be a list of nodes"
    for number, entry in enumerate(story["timeline"]):
        where = f"timeline[{number}]"
        at = entry.get("at") if isinstance(entry, dict) else None
        if not isinstance(at, int | float) or isinstance(at, bool):
            yield where, "an entry needs `at` in seconds and either `do` or `stage`"
        elif not 0 <= at <= SECONDS_MAX:
            yield f"{where}.at", f"must be 0 to {SECONDS_MAX} seconds"
        elif "do" in entry:
            yield from _action_problems(entry["do"], f"{where}.do")


def _action_problems(do: Json, where: str) -> Iterator[tuple[str, str]]:
    if not isinstance(do, dict):
        yield where, "must be an object with verb and kind"
        return
    verb = do.get("verb")
    if verb not in VERBS:
        yield f"{where}.verb", f"unknown verb {verb!r}: {', '.join(VERBS)}"
    if not isinstance(do.get("kind"), str) or do["kind"] not in KINDS:
        yield f"{where}.kind", f"unknown kind {do.get('kind')!r}"
    for field in ("name", "namespace"):
        if not isinstance(do.get(field) or "", str):
            yield f"{where}.{field}", "must be a text"
    if verb != "delete" and not isinstance(do.get("body"), dict):
        yield f"{where}.body", "must be an object"


def rehearse(story: Mapping[str, Json], *, seed: int = 0, engine: str = "native", source: str = "") -> dict[str, Json]:
    """Play a story; answers `{"uids", "stages", "events", "csi_calls"}`."""
    names = Names()
    preferences = Preferences(story.get("prefer") or {})
    with Cluster(seed=seed, engine=engine, kubelet="instant", drivers=_drivers(story, source), prefer=preferences.choose) as cluster:
        cluster.store.subscribe(names.observe)
        start_ns = cluster.now_ns()
        stages = []
        for number, entry in enumerate(story["timeline"]):
            cluster.run_until(start_ns + round(entry["at"] * NS))
            if "do" in entry:
                _act(cluster, names, entry["do"], source=source, path=f"timeline[{number}].do")
            elif "stage" in entry:
                stages.append({"stage": entry["stage"], "objects": _objects(cluster)})
        return {
            "uids": {uid: list(name) for uid, name in names.uids.items()},
            "stages": stages,
            "events": _events(cluster),
            "csi_calls": [{"method": call.method, "request": call.request} for call in cluster.csi_calls],
        }


def _drivers(story: Mapping[str, Json], source: str) -> list[DriverSettings]:
    settings = story.get("driver")
    if settings is None:
        return []
    return [DriverSettings.of_story(settings, source=source)]


def _act(cluster: Cluster, names: Names, do: Mapping[str, Json], *, source: str, path: str) -> None:
    """Carry out one action of the user. Raises InputError saying which, also when the API server refuses it."""
    now = datetime.datetime.fromtimestamp(cluster.now_ns() // NS, tz=datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    verb, kind = do["verb"], KINDS[do["kind"]]
    try:
        name = names.resolve(do.get("name") or "", now=now)
        namespace = (do.get("namespace") or "default") if kind.namespaced else ""
        body = names.resolve(do.get("body"), now=now)
        if verb == "create":
            cluster.create(from_manifest(body, source=source, path_prefix=f"{path}.body"))
        elif verb == "delete":
            cluster.delete(kind.name, namespace, name)
        else:
            cluster.patch(kind.name, namespace, name, body)
    except ApiError as error:
        raise InputError(f"refused: {error}", source=source, path=path) from error


def _objects(cluster: Cluster) -> list[Json]:
    return [{"kind": kind} | to_json(obj) for kind in STAGE_KINDS for obj in cluster.store.list(kind).items]


def _events(cluster: Cluster) -> list[Json]:
    found = []
    for event in cluster.store.list("Event").items:
        regarding = event.involvedObject
        found.append(
            {
                "source": event.source.component if event.source else "",
                "type": event.type,
                "reason": event.reason,
                "kind": regarding.kind,
                "namespace": regarding.namespace,
                "name": regarding.name,
                "message": event.message,
            }
        )
    return found
