"""Changes of a world, as data: delete, create, patch, a zone lost; one YAML file holds a list of them.

    changes:
    - delete: {kind: Node, labels: topology.kubernetes.io/zone=a}     # names: patterns, labels: a selector, namespace
    - create: {file: shape.yaml, copies: 3}                           # or objects: [...]
    - patch: {kind: StorageClass, names: [fast], merge: {volumeBindingMode: Immediate}}
    - loseZone: zone-a                                                # every node that is there by then

What is created in copies comes under names of its own: see `copied`. A change that touches nothing is an error: it is mistyped more often
than meant.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

import msgspec
from msgspec import Struct

from volsched.api.defaults import with_defaults
from volsched.api.documents import only_document
from volsched.api.edit import labels_of
from volsched.api.kinds import Json, Key, key_of, kind_named, to_manifest
from volsched.api.manifest import from_manifest, load_files
from volsched.app.whatif.world import World
from volsched.errors import InputError
from volsched.rules.selectors import parse_label_selector
from volsched.rules.texts import first_of
from volsched.store.patching import merge_patch

COPIES_MAX: Final = 100_000
ZONES_NAMED: Final = 20
Warn: TypeAlias = Callable[[str], None]


class _Chosen(Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """Objects of a kind. names: patterns as of a shell, none for all. labels: a label selector. namespace: empty for every one."""

    kind: str
    names: Sequence[str] = ()
    labels: str = ""
    namespace: str = ""

    def of(self, world: World, what: str) -> list[Key]:
        """Raises InputError for a kind that is none, and when nothing is chosen."""
        kind = kind_named(self.kind)
        if kind is None:
            raise InputError(f"{what}: kind {self.kind!r} is not known; `volsched api-resources` lists them")
        matches = parse_label_selector(self.labels) if self.labels else lambda _: True
        found = [
            key_of(obj)
            for obj in world.all(kind.name)
            if (not self.namespace or key_of(obj).namespace == self.namespace)
            and (not self.names or any(fnmatch.fnmatchcase(key_of(obj).name, pattern) for pattern in self.names))
            and matches(labels_of(obj))
        ]
        if not found:
            wanted = [f"named {' or '.join(self.names)}"] * bool(self.names) + [f"with labels {self.labels}"] * bool(self.labels)
            raise InputError(f"{what}: there is no {kind.name} {' and '.join(wanted)}".rstrip())
        return found


class Delete(_Chosen, frozen=True, kw_only=True):
    """Objects go. With a Node its CSINode goes, and its pods lose their place."""

    def apply(self, world: World, warn: Warn) -> World:
        return world.without(self.of(world, "delete"))


class Patch(_Chosen, frozen=True, kw_only=True):
    """Objects change by a JSON merge patch (RFC 7386)."""

    merge: dict[str, Any]

    def apply(self, world: World, warn: Warn) -> World:
        changed = []
        for key in self.of(world, "patch"):
            value = merge_patch(to_manifest(world.objects[key]), self.merge)
            obj = with_defaults(from_manifest(value, source=f"patch of {key}", warn=warn))
            if key_of(obj) != key:
                raise InputError(f"patch of {key}: it would become {key_of(obj)}; kind, namespace and name cannot be changed")
            changed.append(obj)
        return world.having(changed)


class LoseZone(Struct, forbid_unknown_fields=True, frozen=True):
    """All nodes of a zone go. Raises InputError for a zone without nodes."""

    zone: str

    def apply(self, world: World, warn: Warn) -> World:
        names = world.zones.get(self.zone)
        if names is None:
            there = f"there are {first_of(list(world.zones), ZONES_NAMED)}" if world.zones else "no node has one"
            raise InputError(f"zone {self.zone} cannot be lost: there is no such zone; {there}")
        return world.without(Key("Node", "", name) for name in names)


class Create(Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """Objects come, from a manifest file beside the changes or written out, in copies. An object of the same name is an error."""

    file: str = ""
    objects: Sequence[Any] = ()
    copies: int = 1
    folder: str = "."  # what a relative `file` is relative to; the reader sets it

    def apply(self, world: World, warn: Warn) -> World:
        if bool(self.file) == bool(self.objects):
            raise InputError("create: give either file or objects")
        if not 1 <= self.copies <= COPIES_MAX:
            raise InputError(f"create: copies is {self.copies}, it can be 1 to {COPIES_MAX}")
        if self.file:
            templates = [item.object for item in load_files([Path(self.folder) / self.file], warn=warn)]
        else:
            templates = [from_manifest(value, source="create", warn=warn) for value in self.objects]
        made = list(copied(templates, self.copies)) if self.copies > 1 else [with_defaults(obj) for obj in templates]
        for obj in made:
            if key_of(obj) in world.objects:
                raise InputError(f"create: {key_of(obj)} is there already; patch it")
        return world.having(made)


Change: TypeAlias = Delete | Create | Patch | LoseZone


class _Row(Struct, forbid_unknown_fields=True, rename="camel"):
    delete: Delete | None = None
    create: Create | None = None
    patch: Patch | None = None
    lose_zone: str | None = None


class _File(Struct, forbid_unknown_fields=True):
    changes: list[_Row]


def read_changes(path: Path) -> list[Change]:
    """The changes of a file. Raises InputError with the place."""
    value = only_document(path)
    try:
        rows = msgspec.convert(value, _File).changes
    except msgspec.ValidationError as error:
        raise InputError(str(error), source=str(path)) from error
    changes: list[Change] = []
    for at, row in enumerate(rows):
        lost = LoseZone(row.lose_zone) if row.lose_zone is not None else None
        given = [change for change in (row.delete, row.create, row.patch, lost) if change is not None]
        if len(given) != 1:
            raise InputError("says one of delete, create, patch, loseZone", source=str(path), path=f"changes[{at}]")
        change = given[0]
        changes.append(msgspec.structs.replace(change, folder=str(path.parent)) if isinstance(change, Create) else change)
    return changes


def applied(world: World, changes: Sequence[Change], *, warn: Warn) -> World:
    """The world after all changes, in order. Raises InputError."""
    for change in changes:
        world = change.apply(world, warn)
    return world


def copied(templates: Sequence[Any], copies: int, *, first: int = 1) -> Iterator[Any]:
    """The objects again and again, each copy with `-1`, `-2`, … behind every name. Wherever a text of a copy is the name of one of the
    templates - a hostname label, a claim of a pod, a node of a volume - it is the copy's name, too; uids are made anew."""
    names = sorted({key_of(obj).name for obj in templates})
    manifests = [to_manifest(obj) for obj in templates]
    for number in range(first, first + copies):
        renamed = {name: f"{name}-{number}" for name in names}
        for manifest in manifests:
            value = _renamed(manifest, renamed)
            metadata = value["metadata"]
            metadata["uid"] = f"{value['kind']}/{metadata.get('namespace') or ''}/{metadata['name']}"
            yield with_defaults(from_manifest(value, source="copy"))


_KEPT: Final = frozenset({"kind", "apiVersion", "storageClassName", "namespace", "provisioner", "driver", "volumeMode", "schedulerName"})


def _renamed(value: Json, names: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        return names.get(value, value)
    if isinstance(value, Mapping):
        return {key: inner if key in _KEPT else _renamed(inner, names) for key, inner in value.items()}
    if isinstance(value, Sequence):
        return [_renamed(inner, names) for inner in value]
    return value
