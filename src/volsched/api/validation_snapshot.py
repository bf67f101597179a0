"""Validation of the snapshot kinds, which on a cluster stands in their CRDs as schema and CEL rules.

Messages are those of the rules. A rule over a whole object prints no value, one over a string prints it; `X is immutable` applies once X
is set on both sides, `X is required once set` when it is taken away (spec/snapshots.md 1.1, 1.2).
Source: kubernetes-csi/external-snapshotter client/apis/{volumesnapshot,volumegroupsnapshot}.
"""

from __future__ import annotations

from typing import Any, Final

from volsched.api.fields import Problems, label_selector, same
from volsched.api.snapshot import (
    VolumeGroupSnapshot,
    VolumeGroupSnapshotClass,
    VolumeGroupSnapshotContent,
    VolumeSnapshot,
    VolumeSnapshotClass,
    VolumeSnapshotContent,
    VolumeSnapshotReference,
)

POLICIES: Final = ("Delete", "Retain")
VOLUME_MODES: Final = ("Filesystem", "Block")


def _policy(problems: Problems, path: str, value: str) -> None:
    if value not in POLICIES:
        problems.unsupported(path, value, POLICIES)


def _not_empty(problems: Problems, path: str, value: str) -> None:
    if not value:
        problems.required(path)


def _class_name(problems: Problems, field: str, value: str | None) -> None:
    if value == "":
        problems.invalid(f"spec.{field}", value, f"{field} must not be the empty string when set")


def _exactly_one(problems: Problems, path: str, source: Any, first: str, second: str) -> None:
    if (getattr(source, first) is None) == (getattr(source, second) is None):
        problems.rule(path, f"exactly one of {first} and {second} must be set")


def _fixed(problems: Problems, path: str, old: Any, new: Any, *names: str, needed: bool = True, words: str = "is immutable") -> None:
    """Fields that keep their value once set; `needed`: and may not be taken away."""
    for name in names:
        before, after = getattr(old, name), getattr(new, name)
        if before is None:
            continue
        if after is None:
            if needed:
                problems.rule(path, f"{name} is required once set")
        elif not same(before, after):
            if isinstance(after, str):
                problems.invalid(f"{path}.{name}", after, f"{name} {words}")
            else:
                problems.rule(f"{path}.{name}", f"{name} {words}")


def _reference(problems: Problems, path: str, ref: VolumeSnapshotReference, message: str) -> None:
    if ref.name is None or ref.namespace is None:
        problems.rule(path, message)


# Snapshots


def snapshot(problems: Problems, obj: VolumeSnapshot) -> None:
    _exactly_one(problems, "spec.source", obj.spec.source, "volumeSnapshotContentName", "persistentVolumeClaimName")
    _class_name(problems, "volumeSnapshotClassName", obj.spec.volumeSnapshotClassName)


def snapshot_update(problems: Problems, old: VolumeSnapshot, new: VolumeSnapshot) -> None:
    snapshot(problems, new)
    _fixed(problems, "spec.source", old.spec.source, new.spec.source, "persistentVolumeClaimName", "volumeSnapshotContentName")


def snapshot_class(problems: Problems, obj: VolumeSnapshotClass | VolumeGroupSnapshotClass) -> None:
    _not_empty(problems, "driver", obj.driver)
    _policy(problems, "deletionPolicy", obj.deletionPolicy)


def content(problems: Problems, obj: VolumeSnapshotContent) -> None:
    spec = obj.spec
    _exactly_one(problems, "spec.source", spec.source, "volumeHandle", "snapshotHandle")
    _not_empty(problems, "spec.driver", spec.driver)
    _policy(problems, "spec.deletionPolicy", spec.deletionPolicy)
    _reference(
        problems,
        "spec.volumeSnapshotRef",
        spec.volumeSnapshotRef,
        "both spec.volumeSnapshotRef.name and spec.volumeSnapshotRef.namespace must be set",
    )
    content_status(problems, obj)


def content_update(problems: Problems, old: VolumeSnapshotContent, new: VolumeSnapshotContent) -> None:
    content(problems, new)
    _fixed(problems, "spec.source", old.spec.source, new.spec.source, "volumeHandle", "snapshotHandle")
    _fixed(problems, "spec", old.spec, new.spec, "sourceVolumeMode")


def content_status(problems: Problems, obj: VolumeSnapshotContent) -> None:
    size = obj.status.restoreSize if obj.status is not None else None
    if size is not None and size < 0:
        problems.invalid("status.restoreSize", size, "status.restoreSize in body should be greater than or equal to 0")


# Groups


def group_snapshot(problems: Problems, obj: VolumeGroupSnapshot) -> None:
    _exactly_one(problems, "spec.source", obj.spec.source, "selector", "volumeGroupSnapshotContentName")
    label_selector(problems, "spec.source.selector", obj.spec.source.selector)
    _class_name(problems, "volumeGroupSnapshotClassName", obj.spec.volumeGroupSnapshotClassName)


def group_snapshot_update(problems: Problems, old: VolumeGroupSnapshot, new: VolumeGroupSnapshot) -> None:
    group_snapshot(problems, new)
    _fixed(problems, "spec.source", old.spec.source, new.spec.source, "selector", "volumeGroupSnapshotContentName")


def group_snapshot_status(problems: Problems, old: VolumeGroupSnapshot, new: VolumeGroupSnapshot) -> None:
    if old.status is not None and new.status is not None:
        name = "boundVolumeGroupSnapshotContentName"
        _fixed(problems, "status", old.status, new.status, name, needed=False, words="is immutable once set")


def group_class_update(problems: Problems, old: VolumeGroupSnapshotClass, new: VolumeGroupSnapshotClass) -> None:
    snapshot_class(problems, new)
    for name, verb in (("driver", "is"), ("parameters", "are"), ("deletionPolicy", "is")):
        before, after = getattr(old, name), getattr(new, name)
        if before is not None and after is not None and before != after:
            if isinstance(after, str):
                problems.invalid(name, after, f"{name} {verb} immutable once set")
            else:
                problems.rule(name, f"{name} {verb} immutable once set")


def group_content(problems: Problems, obj: VolumeGroupSnapshotContent) -> None:
    spec = obj.spec
    _exactly_one(problems, "spec.source", spec.source, "volumeHandles", "groupSnapshotHandles")
    _not_empty(problems, "spec.driver", spec.driver)
    _policy(problems, "spec.deletionPolicy", spec.deletionPolicy)
    _reference(
        problems,
        "spec.volumeGroupSnapshotRef",
        spec.volumeGroupSnapshotRef,
        "both volumeGroupSnapshotRef.name and volumeGroupSnapshotRef.namespace must be set",
    )


def group_content_update(problems: Problems, old: VolumeGroupSnapshotContent, new: VolumeGroupSnapshotContent) -> None:
    group_content(problems, new)
    before, after = old.spec, new.spec
    _fixed(problems, "spec.source", before.source, after.source, "volumeHandles", "groupSnapshotHandles")
    _fixed(problems, "spec", before, after, "driver", "volumeGroupSnapshotClassName", needed=False, words="is immutable once set")
    ref, ref_now = before.volumeGroupSnapshotRef, after.volumeGroupSnapshotRef
    _fixed(problems, "spec.volumeGroupSnapshotRef", ref, ref_now, "name", "namespace", needed=False)
    # An empty uid would unbind the content; once set it stays.
    if ref.uid and ref_now.uid != ref.uid:
        problems.invalid("spec.volumeGroupSnapshotRef.uid", ref_now.uid or "", "uid is immutable once set")


def group_content_status(problems: Problems, old: VolumeGroupSnapshotContent, new: VolumeGroupSnapshotContent) -> None:
    if old.status is not None and new.status is not None:
        _fixed(problems, "status", old.status, new.status, "volumeGroupSnapshotHandle", needed=False, words="is immutable once set")
