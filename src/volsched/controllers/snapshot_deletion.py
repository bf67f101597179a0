"""Deletion of a VolumeSnapshot: the X steps of the common snapshot controller.

    mark the content being-deleted ─> delete the content (policy Delete) ─> free the claim ─> take finalizers off

Nothing here waits. With policy Delete the last pass keeps the bound finalizer; the content's own DELETED event starts the pass that finds
no content and takes it off. Each step is repeatable, and a pass stops at the first that fails. The plan is `snapshot_tables.DELETION`.

A pass that finds no content in the view asks the API server before it lets the snapshot go: a view that lags would leak the backend
snapshot. Source: spec/snapshots.md 2.3; external-snapshotter processSnapshotWithDeletionTimestamp.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from volsched.api.edit import finalizers_of, is_deleting, uid_of, with_finalizers
from volsched.api.kinds import key_of, meta
from volsched.api.snapshot import VolumeSnapshot, VolumeSnapshotContent
from volsched.cache.view import View
from volsched.controllers.csi_common import amend, patch_of
from volsched.controllers.snapshot_claims import free_source_claim, is_restoring
from volsched.controllers.snapshot_names import (
    BEING_DELETED,
    BOUND_FINALIZER,
    IN_GROUP_FINALIZER,
    SOURCE_FINALIZER,
    YES,
    bound_content_name,
    content_name,
    group_owners,
    member_content_name,
    names_snapshot,
    snapshot_key,
    source_claim,
)
from volsched.controllers.snapshot_tables import DeletionStep, deletion_plan, is_marked
from volsched.errors import ApiError, NotFoundError, ReconcileError
from volsched.ports import Delete, Emit, Intent, Patch, Read, Steps, Update

RESTORE_TEXT: Final = "Snapshot is being used to restore a PVC"
_ALL_FINALIZERS: Final = (SOURCE_FINALIZER, BOUND_FINALIZER, IN_GROUP_FINALIZER)


def mark_being_deleted(content: VolumeSnapshotContent) -> Patch | None:
    """The being-deleted annotation, whatever the policy; None when it is there."""
    return None if is_marked(content) else patch_of(content, {"metadata": {"annotations": {BEING_DELETED: YES}}})


class ContentGoneError(Exception):
    """The API server does not know the content, of a snapshot or a group, that the view has."""


class SnapshotDeletion:
    """Carries out the deletion plan of one snapshot at a time; keeps nothing between passes."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._steps: Mapping[DeletionStep, Callable[[VolumeSnapshot, VolumeSnapshotContent | None], Steps[None]]] = {
            DeletionStep.X1: self._refuse_restoring,
            DeletionStep.X2: self._refuse_member,
            DeletionStep.X3: self._mark,
            DeletionStep.X4: self._delete_content,
            DeletionStep.X5: self._free_claim,
            DeletionStep.X6: self._release,
            DeletionStep.X6_KEEP_BOUND: self._release_but_bound,
        }

    def run(self, snapshot: VolumeSnapshot) -> Steps[None]:
        """One pass over a snapshot with a deletionTimestamp."""
        content = yield from self._content_of(snapshot)
        restoring = is_restoring(snapshot, self._view.all("PersistentVolumeClaim", meta(snapshot).namespace or ""))
        in_group = self._existing_group(snapshot, content) is not None
        plan = deletion_plan(snapshot, content, restoring=restoring, group_exists=in_group)
        try:
            for step in plan:
                yield from self._steps[step](snapshot, content)
        except ContentGoneError:
            # The view has it from an answer to an own write; a watch that was interrupted tells neither that it came nor that it went.
            assert content is not None
            self._view.drop(key_of(content))
            yield from self.run(snapshot)

    # what there is

    def _content_of(self, snapshot: VolumeSnapshot) -> Steps[VolumeSnapshotContent | None]:
        """The content the snapshot is bound to; for a dynamic one that crashed before binding, the content of its fixed name."""
        names = [bound_content_name(snapshot), member_content_name(snapshot) or ""]
        if source_claim(snapshot) is not None:
            names.append(content_name(snapshot))
        for name in dict.fromkeys(name for name in names if name):
            content: VolumeSnapshotContent | None = self._view.get("VolumeSnapshotContent", "", name)
            if content is None:
                content = yield from read_or_none("VolumeSnapshotContent", name)
            if content is not None and names_snapshot(content, snapshot):
                return content
        return None

    def _existing_group(self, snapshot: VolumeSnapshot, content: VolumeSnapshotContent | None) -> str | None:
        """Name of the group the snapshot belongs to, if that still exists.

        RULE: an owner reference decides, uid included; without one the name in the status, or, for a snapshot that carries the in-group
        finalizer, the group whose content has the handle that the snapshot's own content names.
        """
        namespace, owners = meta(snapshot).namespace or "", group_owners(snapshot)
        name = (snapshot.status.volumeGroupSnapshotName if snapshot.status else None) or self._group_by_handle(snapshot, content)
        for candidate in owners:
            group = self._view.get("VolumeGroupSnapshot", namespace, candidate.name)
            if group is not None and uid_of(group) == candidate.uid:
                return candidate.name
        if owners or not name or self._view.get("VolumeGroupSnapshot", namespace, name) is None:
            return None
        return name

    def _group_by_handle(self, snapshot: VolumeSnapshot, content: VolumeSnapshotContent | None) -> str | None:
        handle = content.status.volumeGroupSnapshotHandle if content and content.status else None
        if not handle or IN_GROUP_FINALIZER not in finalizers_of(snapshot):
            return None
        for group_content in self._view.all("VolumeGroupSnapshotContent"):
            if group_content.status and group_content.status.volumeGroupSnapshotHandle == handle:
                name: str | None = group_content.spec.volumeGroupSnapshotRef.name
                return name
        return None

    # steps

    def _refuse_restoring(self, snapshot: VolumeSnapshot, content: VolumeSnapshotContent | None) -> Steps[None]:
        yield Emit(snapshot, "Warning", "SnapshotDeletePending", RESTORE_TEXT)
        raise ReconcileError(f"snapshot {snapshot_key(snapshot)} is being used to restore a PVC")

    def _refuse_member(self, snapshot: VolumeSnapshot, content: VolumeSnapshotContent | None) -> Steps[None]:
        key, group = snapshot_key(snapshot), f"{meta(snapshot).namespace}/{self._existing_group(snapshot, content)}"
        text = (
            f"deletion of the individual volume snapshot {key} is not allowed as it belongs to group snapshot {group}. "
            "Deleting the group snapshot will trigger the deletion of all the individual volume snapshots that are part of the group."
        )
        yield Emit(snapshot, "Warning", "SnapshotDeletePending", text)
        raise ReconcileError(text)

    def _mark(self, snapshot: VolumeSnapshot, content: VolumeSnapshotContent | None) -> Steps[None]:
        if content is None:
            return
        try:
            self._view.put((yield from amend(content, mark_being_deleted)))
        except NotFoundError:
            raise ContentGoneError from None

    def _delete_content(self, snapshot: VolumeSnapshot, content: VolumeSnapshotContent | None) -> Steps[None]:
        if content is None or is_deleting(content):
            return
        try:
            yield Delete("VolumeSnapshotContent", "", meta(content).name or "", uid=uid_of(content))
        except NotFoundError:
            raise ContentGoneError from None
        except ApiError:
            yield Emit(snapshot, "Warning", "SnapshotContentObjectDeleteError", "Failed to delete snapshot content API object")
            raise

    def _free_claim(self, snapshot: VolumeSnapshot, content: VolumeSnapshotContent | None) -> Steps[None]:
        try:
            yield from free_source_claim(self._view, snapshot, ignore_itself=True)
        except ApiError:
            yield Emit(snapshot, "Warning", "ErrorPVCFinalizer", "Error check and remove PVC Finalizer for VolumeSnapshot")
            raise

    def _release(self, snapshot: VolumeSnapshot, content: VolumeSnapshotContent | None) -> Steps[None]:
        yield from self._take_off(snapshot, _ALL_FINALIZERS)

    def _release_but_bound(self, snapshot: VolumeSnapshot, content: VolumeSnapshotContent | None) -> Steps[None]:
        yield from self._take_off(snapshot, (SOURCE_FINALIZER, IN_GROUP_FINALIZER))

    def _take_off(self, snapshot: VolumeSnapshot, names: tuple[str, ...]) -> Steps[None]:
        def change(current: VolumeSnapshot) -> Intent | None:
            held = finalizers_of(current)
            return Update(with_finalizers(current, remove=names)) if any(name in held for name in names) else None

        try:
            self._view.put((yield from amend(snapshot, change)))
        except NotFoundError:
            return


def read_or_none(kind: str, name: str) -> Steps[Any]:
    """A live read of a cluster-scoped object; None when it is not there."""
    try:
        return (yield Read(kind, "", name))
    except NotFoundError:
        return None
