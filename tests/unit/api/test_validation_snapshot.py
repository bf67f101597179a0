"""The rules of the snapshot kinds: exactly one source, what is immutable once set, class names."""

from __future__ import annotations

from typing import Any

import pytest
from lightkube.models.meta_v1 import LabelSelector

from tests.builders import (
    make_content,
    make_group_class,
    make_group_content,
    make_group_snapshot,
    make_snapshot,
    make_snapshot_class,
)
from tests.unit.api.test_validation import assert_refused, refusals, update_refusals
from volsched.api.edit import replace, with_spec
from volsched.api.snapshot import (
    GroupSnapshotHandles,
    VolumeGroupSnapshotContentSource,
    VolumeGroupSnapshotSource,
    VolumeSnapshotContentSource,
    VolumeSnapshotReference,
    VolumeSnapshotSource,
)

HANDLES = GroupSnapshotHandles(volumeGroupSnapshotHandle="g", volumeSnapshotHandles=["s"])


@pytest.mark.parametrize(
    "obj",
    [
        make_snapshot(),
        make_snapshot(content="c"),
        make_snapshot(snapshot_class=None),
        make_snapshot_class(),
        make_content(),
        make_content(snapshot_handle="s", snapshot_class=None, snapshot_uid="u"),
        make_group_snapshot(),
        make_group_snapshot(content="c"),
        make_group_class(),
        make_group_content(),
        make_group_content(handles=HANDLES),
    ],
)
def test_good_ones(obj: Any) -> None:
    assert refusals(obj) == []
    assert update_refusals(obj, obj) == []
    assert update_refusals(obj, obj, status=True) == []


@pytest.mark.parametrize(
    ("obj", "expected"),
    [
        (
            with_spec(make_snapshot(), source=VolumeSnapshotSource()),
            "spec.source: Invalid value: exactly one of volumeSnapshotContentName and persistentVolumeClaimName must be set",
        ),
        (
            with_spec(make_snapshot(), source=VolumeSnapshotSource(persistentVolumeClaimName="a", volumeSnapshotContentName="b")),
            "spec.source: Invalid value: exactly one of volumeSnapshotContentName and persistentVolumeClaimName must be set",
        ),
        (
            make_snapshot(snapshot_class=""),
            'spec.volumeSnapshotClassName: Invalid value: "": volumeSnapshotClassName must not be the empty string when set',
        ),
        (make_snapshot_class(policy="Keep"), 'deletionPolicy: Unsupported value: "Keep": supported values: "Delete", "Retain"'),
        (make_snapshot_class(driver=""), "driver: Required value"),
        (
            with_spec(make_content(), source=VolumeSnapshotContentSource()),
            "spec.source: Invalid value: exactly one of volumeHandle and snapshotHandle must be set",
        ),
        (
            make_content(volume_handle="a", snapshot_handle="b"),
            "spec.source: Invalid value: exactly one of volumeHandle and snapshotHandle must be set",
        ),
        (make_content(driver=""), "spec.driver: Required value"),
        (make_content(policy=""), 'spec.deletionPolicy: Unsupported value: ""'),
        (
            with_spec(make_content(), volumeSnapshotRef=VolumeSnapshotReference(name="a")),
            "spec.volumeSnapshotRef: Invalid value: both spec.volumeSnapshotRef.name and spec.volumeSnapshotRef.namespace must be set",
        ),
        (make_content(status={"restoreSize": -1}), "status.restoreSize: Invalid value: -1: status.restoreSize in body should be greater"),
        (
            with_spec(make_group_snapshot(), source=VolumeGroupSnapshotSource()),
            "spec.source: Invalid value: exactly one of selector and volumeGroupSnapshotContentName must be set",
        ),
        (
            make_group_snapshot(snapshot_class=""),
            'spec.volumeGroupSnapshotClassName: Invalid value: "": volumeGroupSnapshotClassName must not be the empty string when set',
        ),
        (make_group_class(policy="Keep"), 'deletionPolicy: Unsupported value: "Keep"'),
        (
            with_spec(make_group_content(), source=VolumeGroupSnapshotContentSource()),
            "spec.source: Invalid value: exactly one of volumeHandles and groupSnapshotHandles must be set",
        ),
        (
            with_spec(make_group_content(), volumeGroupSnapshotRef=VolumeSnapshotReference(namespace="a")),
            "spec.volumeGroupSnapshotRef: Invalid value: both volumeGroupSnapshotRef.name and volumeGroupSnapshotRef.namespace must be set",
        ),
    ],
)
def test_refused(obj: Any, expected: str) -> None:
    assert_refused(refusals(obj), expected)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (make_snapshot(), make_snapshot(snapshot_class="other"), ()),
        (
            make_snapshot(),
            make_snapshot(claim="other"),
            ('spec.source.persistentVolumeClaimName: Invalid value: "other": persistentVolumeClaimName is immutable',),
        ),
        (make_snapshot(), make_snapshot(content="c"), ("spec.source: Invalid value: persistentVolumeClaimName is required once set",)),
        (make_snapshot_class(), make_snapshot_class(policy="Retain", driver="other", parameters={"a": "b"}), ()),
        (make_content(), make_content(policy="Retain", snapshot_uid="u", snapshot_class="other", snapshot="x/y"), ()),
        (make_content(), make_content(volume_handle="h"), ('spec.source.volumeHandle: Invalid value: "h": volumeHandle is immutable',)),
        (make_content(), make_content(snapshot_handle="h"), ("spec.source: Invalid value: volumeHandle is required once set",)),
        (make_content(), make_content(source_mode="Block"), ()),
        (
            make_content(source_mode="Block"),
            make_content(source_mode="Filesystem"),
            ('spec.sourceVolumeMode: Invalid value: "Filesystem": sourceVolumeMode is immutable',),
        ),
        (make_content(source_mode="Block"), make_content(), ("spec: Invalid value: sourceVolumeMode is required once set",)),
        (
            make_group_snapshot(),
            make_group_snapshot(select={"app": "other"}),
            ("spec.source.selector: Invalid value: selector is immutable",),
        ),
        (make_group_snapshot(), make_group_snapshot(content="c"), ("spec.source: Invalid value: selector is required once set",)),
        (make_group_class(), make_group_class(driver="other"), ('driver: Invalid value: "other": driver is immutable once set',)),
        (
            make_group_class(),
            make_group_class(policy="Retain"),
            ('deletionPolicy: Invalid value: "Retain": deletionPolicy is immutable once set',),
        ),
        (
            replace(make_group_class(), parameters={"a": "b"}),
            replace(make_group_class(), parameters={"a": "c"}),
            ("parameters: Invalid value: parameters are immutable once set",),
        ),
        (make_group_content(), make_group_content(policy="Retain", snapshot_uid="u"), ()),
        (
            make_group_content(snapshot_uid="u"),
            make_group_content(snapshot_uid="v"),
            ('spec.volumeGroupSnapshotRef.uid: Invalid value: "v": uid is immutable once set',),
        ),
        (
            make_group_content(),
            make_group_content(snapshot="default/other"),
            ('spec.volumeGroupSnapshotRef.name: Invalid value: "other": name is immutable',),
        ),
        (make_group_content(), make_group_content(driver="d"), ('spec.driver: Invalid value: "d": driver is immutable once set',)),
        (
            make_group_content(),
            make_group_content(volume_handles=["x"]),
            ("spec.source.volumeHandles: Invalid value: volumeHandles is immutable",),
        ),
    ],
)
def test_updates(old: Any, new: Any, expected: tuple[str, ...]) -> None:
    assert_refused(update_refusals(old, new), *expected)


def test_status_updates() -> None:
    bound = "boundVolumeGroupSnapshotContentName"
    assert update_refusals(make_group_snapshot(), make_group_snapshot(status={bound: "a"}), status=True) == []
    assert_refused(
        update_refusals(make_group_snapshot(status={bound: "a"}), make_group_snapshot(status={bound: "b"}), status=True),
        f'status.{bound}: Invalid value: "b": {bound} is immutable once set',
    )
    handle = "volumeGroupSnapshotHandle"
    assert_refused(
        update_refusals(make_group_content(status={handle: "a"}), make_group_content(status={handle: "b"}), status=True),
        f'status.{handle}: Invalid value: "b": {handle} is immutable once set',
    )
    assert update_refusals(make_group_content(status={handle: "a"}), make_group_content(status={handle: None}), status=True) == []
    assert_refused(
        update_refusals(make_content(), make_content(status={"restoreSize": -5}), status=True),
        "status.restoreSize: Invalid value: -5",
    )


def test_selectors_of_groups_are_looked_at() -> None:
    group = with_spec(make_group_snapshot(), source=VolumeGroupSnapshotSource(selector=LabelSelector(matchLabels={"a b": "c"})))
    assert_refused(refusals(group), "spec.source.selector.matchLabels: Invalid value")
