"""Changed copies of objects: nothing in volsched alters an object in place."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import msgspec
from lightkube.models.meta_v1 import ObjectMeta

from volsched.api.kinds import Object, meta

T = TypeVar("T")


def replace(struct: T, /, **changes: Any) -> T:
    """A shallow copy of a Struct with some fields changed."""
    return msgspec.structs.replace(struct, **changes)  # type: ignore[type-var]


def with_metadata(obj: T, **changes: Any) -> T:
    """A copy of an object with some metadata fields changed."""
    metadata: ObjectMeta = obj.metadata or ObjectMeta()  # type: ignore[attr-defined]
    return replace(obj, metadata=replace(metadata, **changes))


def with_spec(obj: T, **changes: Any) -> T:
    """A copy of an object with some spec fields changed."""
    return replace(obj, spec=replace(obj.spec, **changes))  # type: ignore[attr-defined]


def _merged(old: Mapping[str, str] | None, changes: Mapping[str, str | None]) -> dict[str, str] | None:
    merged = dict(old or {})
    for key, value in changes.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = value
    return merged or None


def with_annotations(obj: T, changes: Mapping[str, str | None]) -> T:
    """A copy with annotations set; a None value removes the key."""
    return with_metadata(obj, annotations=_merged(annotations_of(obj), changes))


def with_labels(obj: T, changes: Mapping[str, str | None]) -> T:
    """A copy with labels set; a None value removes the key."""
    return with_metadata(obj, labels=_merged(labels_of(obj), changes))


def with_finalizers(obj: T, *, add: Iterable[str] = (), remove: Iterable[str] = ()) -> T:
    """A copy with finalizers appended (once) and removed, the order of the others kept."""
    gone = set(remove)
    kept = [name for name in finalizers_of(obj) if name not in gone]
    kept += [name for name in dict.fromkeys(add) if name not in kept]
    return with_metadata(obj, finalizers=kept or None)


def annotations_of(obj: Any) -> Mapping[str, str]:
    """Annotations of an object, empty when unset."""
    return (obj.metadata.annotations if obj.metadata else None) or {}


def labels_of(obj: Any) -> Mapping[str, str]:
    """Labels of an object, empty when unset."""
    return (obj.metadata.labels if obj.metadata else None) or {}


def finalizers_of(obj: Any) -> list[str]:
    """Finalizers of an object, empty when unset."""
    return (obj.metadata.finalizers if obj.metadata else None) or []


def is_deleting(obj: Object) -> bool:
    """Whether the object carries a deletionTimestamp."""
    return meta(obj).deletionTimestamp is not None


def uid_of(obj: Object) -> str:
    """uid of an object, empty when unset."""
    return meta(obj).uid or ""


def version_of(obj: Object) -> int:
    """resourceVersion as the number it is in every Kubernetes API server; 0 when unset."""
    return int(meta(obj).resourceVersion or 0)
