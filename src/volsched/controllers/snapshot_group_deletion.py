"""Deletion of a VolumeGroupSnapshot: the D steps of the common snapshot controller.

    mark the content being-deleted ─> delete the content (policy Delete) ─> delete the members ─> take the bound finalizer off

Nothing here waits. Members stay Terminating while their group exists; with policy Delete the group in turn waits for its content, whose
DELETED event starts the pass that takes the finalizer off. A group without the finalizer never made anything.
Members, claims and half-made member contents are listed live: what the group leaves behind nobody would find again.
Source: spec/snapshots.md 2.7; external-snapshotter processGroupSnapshotWithDeletionTimestamp.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from lightkube.models.core_v1 import PersistentVolumeClaim

from volsched.api.edit import annotations_of, finalizers_of, is_deleting, uid_of, with_finalizers
from volsched.api.kinds import key_of, meta
from volsched.api.snapshot import VolumeGroupSnapshot, VolumeGroupSnapshotContent, VolumeSnapshot, VolumeSnapshotContent
from volsched.cache.view import View
from volsched.controllers.csi_common import amend, patch_of
from volsched.controllers.snapshot_claims import is_restoring
from volsched.controllers.snapshot_deletion import ContentGoneError, read_or_none
from volsched.controllers.snapshot_group_names import (
    GROUP_BEING_DELETED,
    GROUP_BOUND_FINALIZER,
    GROUP_CONTENT,
    bound_group_content,
    group_content_name,
    group_key,
    is_member,
    member_names,
    names_group,
)
from volsched.controllers.snapshot_group_tables import GroupStep, group_deletion_plan, is_group_marked
from volsched.controllers.snapshot_names import GROUP_MEMBER, YES, snapshot_key
from volsched.errors import ApiError, NotFoundError, ReconcileError
from volsched.ports import Delete, Emit, Intent, ListAll, Steps, Update


@dataclass(frozen=True, slots=True)
class _Group:
    """One group that is being deleted, and what belongs to it."""

    object: VolumeGroupSnapshot
    content: VolumeGroupSnapshotContent | None
    members: list[VolumeSnapshot]
    restoring: VolumeSnapshot | None  # the first member that a Pending claim is being restored from


class GroupDeletion:
    """Carries out the deletion plan of one group at a time; keeps nothing between passes."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._steps: Mapping[GroupStep, Callable[[_Group], Steps[None]]] = {
            GroupStep.D1: self._refuse,
            GroupStep.D2: self._mark,
            GroupStep.HALF_MADE: self._delete_half_made,
            GroupStep.D3: self._delete_content,
            GroupStep.D4: self._delete_members,
            GroupStep.D5: self._release,
        }

    def run(self, group: VolumeGroupSnapshot) -> Steps[None]:
        """One pass over a group with a deletionTimestamp."""
        if GROUP_BOUND_FINALIZER not in finalizers_of(group):
            return
        content = yield from self._content_of(group)
        found = yield from self._gather(group, content)
        try:
            for step in group_deletion_plan(group, content, restoring=found.restoring is not None):
                yield from self._steps[step](found)
        except ContentGoneError:
            # as in SnapshotDeletion: known from an own write only
            assert content is not None
            self._view.drop(key_of(content))
            yield from self.run(group)

    def _content_of(self, group: VolumeGroupSnapshot) -> Steps[VolumeGroupSnapshotContent | None]:
        """The content the group is bound to; RULE: for a dynamic one that crashed before binding, the content of its fixed name."""
        names = [bound_group_content(group)]
        if group.spec.source.selector is not None:
            names.append(group_content_name(group))
        for name in dict.fromkeys(name for name in names if name):
            content: VolumeGroupSnapshotContent | None = self._view.get(GROUP_CONTENT, "", name)
            if content is None:
                content = yield from read_or_none(GROUP_CONTENT, name)
            if content is not None and names_group(content, group):
                return content
        return None

    def _gather(self, group: VolumeGroupSnapshot, content: VolumeGroupSnapshotContent | None) -> Steps[_Group]:
        namespace = meta(group).namespace or ""
        handles = list(content.spec.source.volumeHandles or ()) if content else []
        fixed_names = {member_names(uid_of(group), handle)[0] for handle in handles}
        snapshots: list[VolumeSnapshot] = yield ListAll("VolumeSnapshot", namespace)
        members = [snapshot for snapshot in snapshots if is_member(snapshot, group, fixed_names=fixed_names)]
        claims: list[PersistentVolumeClaim] = yield ListAll("PersistentVolumeClaim", namespace)
        restoring = next((member for member in members if is_restoring(member, claims)), None)
        return _Group(group, content, members, restoring)

    # steps

    def _refuse(self, group: _Group) -> Steps[None]:
        member = snapshot_key(group.restoring) if group.restoring else ""
        text = f"Snapshot {member} belonging to VolumeGroupSnapshot {group_key(group.object)} is being used to restore a PVC"
        yield Emit(group.object, "Warning", "SnapshotDeletePending", text)
        raise ReconcileError(text)

    def _mark(self, group: _Group) -> Steps[None]:
        if group.content is None:
            return
        try:
            self._view.put((yield from amend(group.content, _marked)))
        except NotFoundError:
            raise ContentGoneError from None

    def _delete_half_made(self, group: _Group) -> Steps[None]:
        """A member content without uid has no finalizer, no snapshot and no handle; its name tells which group it was made for."""
        contents: list[VolumeSnapshotContent] = yield ListAll("VolumeSnapshotContent")
        for content in contents:
            if GROUP_MEMBER not in annotations_of(content) or content.spec.volumeSnapshotRef.uid or is_deleting(content):
                continue
            name, version = meta(content).name or "", meta(content).resourceVersion
            if name != member_names(uid_of(group.object), content.spec.source.volumeHandle or "")[1]:
                continue
            try:
                yield Delete("VolumeSnapshotContent", "", name, uid=uid_of(content), resource_version=version)
            except NotFoundError:
                continue

    def _delete_content(self, group: _Group) -> Steps[None]:
        """RULE: a content that has gone already is fine; upstream fails."""
        if group.content is None or is_deleting(group.content):
            return
        try:
            yield Delete(GROUP_CONTENT, "", meta(group.content).name or "", uid=uid_of(group.content))
        except NotFoundError:
            raise ContentGoneError from None
        except ApiError:
            text = "Failed to delete group snapshot content API object"
            yield Emit(group.object, "Warning", "GroupSnapshotContentObjectDeleteError", text)
            raise

    def _delete_members(self, group: _Group) -> Steps[None]:
        """Whatever the policy: with Retain the members' contents stay behind."""
        for member in group.members:
            if is_deleting(member):
                continue
            try:
                yield Delete("VolumeSnapshot", meta(member).namespace or "", meta(member).name or "", uid=uid_of(member))
            except NotFoundError:
                continue
            except ApiError as problem:
                whose = f"{snapshot_key(member)} part of group snapshot {group_key(group.object)}"
                text = f"failed to delete snapshot API object {whose}: {problem}"
                yield Emit(group.object, "Warning", "SnapshotDeleteError", text)
                raise

    def _release(self, group: _Group) -> Steps[None]:
        try:
            self._view.put((yield from amend(group.object, _released)))
        except NotFoundError:
            return


def _marked(content: VolumeGroupSnapshotContent) -> Intent | None:
    return None if is_group_marked(content) else patch_of(content, {"metadata": {"annotations": {GROUP_BEING_DELETED: YES}}})


def _released(group: VolumeGroupSnapshot) -> Intent | None:
    held = GROUP_BOUND_FINALIZER in finalizers_of(group)
    return Update(with_finalizers(group, remove=[GROUP_BOUND_FINALIZER])) if held else None
