"""What of a written object is taken: the form it is stored in, what only the server sets, when its generation moves.

Source: apiserver/pkg/registry/rest/{create,update}.go, and the strategies of the kinds for the generation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from volsched.api.edit import replace, with_metadata
from volsched.api.kinds import KINDS, Generation, Json, Key, Kind, from_json, meta
from volsched.api.manifest import from_manifest
from volsched.errors import InputError
from volsched.store import refusals

_NOT_DESIRED: Final = frozenset({"apiVersion", "kind", "metadata", "status"})
# the fields in which a user says what is wanted: those move the generation
_DESIRED: Final = {
    kind.name: tuple(field.name for field in msgspec.structs.fields(kind.type) if field.name not in _NOT_DESIRED) for kind in KINDS.values()
}

# Plain strings of the Go types, for which empty and absent are one: (part, fields).
_EMPTY_IS_ABSENT: Final[Mapping[str, Sequence[tuple[str, Sequence[str]]]]] = {
    "Pod": (("spec", ("nodeName", "priorityClassName")), ("status", ("nominatedNodeName", "message", "reason"))),
    "PersistentVolume": (("spec", ("storageClassName",)), ("status", ("message", "reason"))),
    "PersistentVolumeClaim": (("spec", ("volumeName",)),),
}


def without_empty(obj: Any, kind: Kind) -> Any:
    """The object without those empty strings that the API server does not store."""
    for part, fields in _EMPTY_IS_ABSENT.get(kind.name, ()):
        struct = getattr(obj, part)
        changes: dict[str, Any] = {name: None for name in fields if struct is not None and getattr(struct, name) == ""}
        if changes:
            obj = replace(obj, **{part: replace(struct, **changes)})
    return obj


def tidy(obj: Any, kind: Kind) -> Any:
    """The object in the form it is stored in: type set, namespace set or absent, empty lists and maps of the metadata absent."""
    metadata = meta(obj)
    kept = replace(
        metadata,
        namespace=(metadata.namespace or "default") if kind.namespaced else None,
        labels=metadata.labels or None,
        annotations=metadata.annotations or None,
        finalizers=metadata.finalizers or None,
        ownerReferences=metadata.ownerReferences or None,
        managedFields=None,
        selfLink=None,
    )
    return without_empty(replace(obj, apiVersion=kind.api_version, kind=kind.name, metadata=kept), kind)


def carried_over(new: Any, old: Any, kind: Kind) -> Any:
    """`new` with what only the server writes taken from `old`, the status included where it has its own subresource."""
    before = meta(old)
    metadata = replace(
        meta(new),
        uid=before.uid,
        resourceVersion=before.resourceVersion,
        generation=before.generation,
        creationTimestamp=before.creationTimestamp,
        deletionTimestamp=before.deletionTimestamp,
        deletionGracePeriodSeconds=before.deletionGracePeriodSeconds,
        generateName=before.generateName,
    )
    return replace(new, metadata=metadata, status=old.status) if kind.status else replace(new, metadata=metadata)


def with_generation(kind: Kind, old: Any, new: Any) -> Any:
    """`new` with the next generation if what is wanted has changed and the kind counts it."""
    generation = meta(old).generation
    if kind.generation is Generation.NONE or all(getattr(old, name) == getattr(new, name) for name in _DESIRED[kind.name]):
        return new
    return with_metadata(new, generation=(generation or 0) + 1)


def decoded(kind: Kind, key: Key, patched: Json, body: Json) -> Any:
    """The object a patch results in. Raises InvalidError when it is none."""
    try:
        if _holds_numbers(body):
            # a user's patch may say `cpu: 1` where the API has a quantity, or a label that is no text
            return from_manifest(patched, source="patch")
        return from_json(kind.name, patched)
    except msgspec.ValidationError as problem:
        raise refusals.invalid(kind, key, [("patch", str(problem))]) from problem
    except InputError as problem:
        raise refusals.invalid(kind, key, [(problem.path or "patch", problem.message)]) from problem


def _holds_numbers(value: Json) -> bool:
    if isinstance(value, dict):
        return any(_holds_numbers(part) for part in value.values())
    if isinstance(value, list):
        return any(_holds_numbers(part) for part in value)
    return isinstance(value, (int, float))
