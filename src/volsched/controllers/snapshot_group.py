"""The common snapshot controller's group half: VolumeGroupSnapshots and VolumeGroupSnapshotContents, never a driver.

    groups queue:    G ─> class ─> READY (R) | PREBOUND (U) | DYNAMIC (D: create content, make members, copy) | DELETION
    contents queue:  C ─> finalizer | hand the group over to the other queue

Which row applies is decided by `snapshot_group_tables`; `snapshot_group_members` makes the members, `snapshot_group_deletion` carries out
the D steps. It shares name and event source with `snapshot_common`: upstream runs both in one process.

A dynamic group gets its bound finalizer before its content is created, a pre-provisioned one before the content learns its uid, so a group
that owns anything cannot vanish unseen (RULE of spec/snapshots.md 2.7; upstream adds the finalizer once the group is bound).
The selector is evaluated in full (RULE g2). No claim is protected. Claims and volumes are read live.

Source: spec/snapshots.md 2.7; external-snapshotter pkg/common-controller/groupsnapshot_controller_helper.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from lightkube.models.core_v1 import PersistentVolume, PersistentVolumeClaim, SecretReference
from lightkube.models.meta_v1 import LabelSelector, ObjectMeta

from volsched.api.edit import finalizers_of, is_deleting, labels_of, replace, uid_of, with_finalizers
from volsched.api.kinds import meta
from volsched.api.snapshot import (
    GROUP_SNAPSHOT_V1,
    VolumeGroupSnapshot,
    VolumeGroupSnapshotClass,
    VolumeGroupSnapshotContent,
    VolumeGroupSnapshotContentSource,
    VolumeGroupSnapshotContentSpec,
    VolumeSnapshotReference,
)
from volsched.api.watch import Change, WatchEvent
from volsched.cache.view import View
from volsched.controllers.csi_common import Handoff, amend, patch_of, quoted, secret_reference, time_of
from volsched.controllers.snapshot_deletion import read_or_none
from volsched.controllers.snapshot_group_deletion import GroupDeletion
from volsched.controllers.snapshot_group_members import complete_members
from volsched.controllers.snapshot_group_names import (
    GROUP,
    GROUP_BOUND_FINALIZER,
    GROUP_CLASS,
    GROUP_CONTENT,
    GROUP_CONTENT_FINALIZER,
    GROUP_SECRET,
    GROUP_SECRET_NAME,
    GROUP_SECRET_NAMESPACE,
    bound_group_content,
    group_content_name,
    group_key,
    group_reference_key,
    is_default_group_class,
    printed_selector,
)
from volsched.controllers.snapshot_group_status import copied_group_status, failed_group_status
from volsched.controllers.snapshot_group_tables import (
    GroupContentRow,
    GroupRow,
    group_content_row,
    group_dynamic_row,
    group_prebound_row,
    group_ready_row,
    group_row,
)
from volsched.controllers.snapshot_tables import DynamicRow, PreboundRow, ReadyRow
from volsched.errors import AlreadyExistsError, ApiError, NotFoundError, ReconcileError
from volsched.ports import DONE, Clock, Create, Done, Emit, Intent, ListAll, Patch, QueueSpec, Read, Requeue, Steps, Update, WorkItem
from volsched.rules.selectors import SelectorError, match_labels
from volsched.rules.volumes import bound_to

GROUPS: Final = "groups"
CONTENTS: Final = "contents"
RESYNC_S: Final = 900.0
CONTENT_MISSING: Final = "VolumeGroupSnapshotContent is missing"
NOT_BOUND_YET: Final = "the PVC {} is not yet bound to a PV, will not attempt to take a group snapshot"
NOT_BOUND_TO_CLAIM: Final = "claim in dataSource not bound or invalid"


class GroupSnapshotController:
    """Decider: group snapshots and their contents, bound to each other, with members, and deleted in order."""

    def __init__(self, clock: Clock) -> None:
        self.name = "snapshot-controller"
        self.component = "snapshot-controller"
        self.kinds = frozenset({GROUP, GROUP_CONTENT, GROUP_CLASS})
        spec = QueueSpec(workers=10, backoff_s=1.0, backoff_s_max=300.0)
        self.queues: Mapping[str, QueueSpec] = {GROUPS: spec, CONTENTS: spec}
        self.resync_s: float | None = RESYNC_S
        self._clock = clock
        self._view = View(self.kinds)
        self._handoff = Handoff()
        # What a deleted object was bound to when it was last seen, for the pass that notices its absence.
        self._gone_groups: dict[WorkItem, str] = {}
        self._gone_contents: dict[WorkItem, str] = {}
        self._deletion = GroupDeletion(self._view)

    # the decider's shape

    def start(self) -> Steps[None]:
        yield from ()

    def observe(self, event: WatchEvent) -> Iterable[WorkItem]:
        self._view.observe(event)
        key = event.key
        # Classes are looked up when a pass needs them; their appearance is noticed by retries alone.
        if key.kind == GROUP:
            item = WorkItem(GROUPS, f"{key.namespace}/{key.name}")
            if event.change is Change.DELETED:
                self._gone_groups[item] = bound_group_content(event.object)
            return [item]
        if key.kind == GROUP_CONTENT:
            item = WorkItem(CONTENTS, key.name)
            if event.change is Change.DELETED:
                self._gone_contents[item] = group_reference_key(event.object)
            return [item]
        return []

    def work(self, item: WorkItem) -> Steps[Done | Requeue]:
        if item.queue == GROUPS:
            yield from self._group(item)
        else:
            yield from self._content(item)
        return DONE

    def resync(self) -> Iterable[WorkItem]:
        groups = [WorkItem(GROUPS, group_key(group)) for group in self._view.all(GROUP)]
        return groups + [WorkItem(CONTENTS, meta(content).name or "") for content in self._view.all(GROUP_CONTENT)]

    def wake_at_ns(self) -> int | None:
        return self._clock.now_ns() if self._handoff else None

    def wake(self, now_ns: int) -> Iterable[WorkItem]:
        return self._handoff.take()

    # G

    def _group(self, item: WorkItem) -> Steps[None]:
        namespace, _, name = item.key.partition("/")
        group: VolumeGroupSnapshot | None = self._view.get(GROUP, namespace, name)
        row = self._row(group)
        if row is GroupRow.GONE or group is None:
            if content := self._gone_groups.pop(item, ""):
                self._handoff.add(WorkItem(CONTENTS, content))
            return
        self._gone_groups.pop(item, None)
        if row is GroupRow.DEFAULT_CLASS:
            group = yield from self._set_default_class(group)
            row = self._row(group)
        if row is GroupRow.DELETION:
            yield from self._deletion.run(group)
        elif row is GroupRow.INVALID:
            text = "Exactly one of Selector and VolumeGroupSnapshotContentName should be specified"
            yield from self._fail(group, "GroupSnapshotValidationError", text)
        elif row is GroupRow.CLASS_MISSING:
            problem = _class_not_found(group.spec.volumeGroupSnapshotClassName)
            text = f"failed to get group snapshot class with error {problem}"
            yield from self._fail(group, "GetGroupSnapshotClassFailed", text, problem, lower_ready=False)
        elif row is GroupRow.READY:
            yield from self._ready(group)
        elif row is GroupRow.PREBOUND:
            yield from self._prebound(group)
        else:
            yield from self._dynamic(group)

    def _row(self, group: VolumeGroupSnapshot | None) -> GroupRow:
        return group_row(group, class_known=group is not None and self._class_of(group) is not None)

    def _class_of(self, group: VolumeGroupSnapshot) -> VolumeGroupSnapshotClass | None:
        name = group.spec.volumeGroupSnapshotClassName
        found: VolumeGroupSnapshotClass | None = None if name is None else self._view.get(GROUP_CLASS, "", name)
        return found

    def _set_default_class(self, group: VolumeGroupSnapshot) -> Steps[VolumeGroupSnapshot]:
        """The default class of the first volume's driver. RULE as for single snapshots: a refused write ends the pass."""
        try:
            volumes = yield from self._volumes_of(group)
            csi = volumes[0].spec.csi if volumes[0].spec else None
            if csi is None:
                raise ReconcileError(f"snapshotting non-CSI volumes is not supported, group snapshot:{group_key(group)}")
            found = [item for item in self._view.all(GROUP_CLASS) if is_default_group_class(item) and item.driver == csi.driver]
            if len(found) != 1:
                problem = f"{len(found)} default snapshot classes were found" if found else "cannot find default group snapshot class"
                raise ReconcileError(problem)
            stored: VolumeGroupSnapshot = yield patch_of(group, {"spec": {"volumeGroupSnapshotClassName": meta(found[0]).name}})
        except (ApiError, ReconcileError) as problem:
            text = f"Failed to set default group snapshot class with error {problem}"
            yield from self._report(group, "SetDefaultGroupSnapshotClassFailed", text, lower_ready=False)
            raise
        self._view.put(stored)
        return stored

    def _guarded(self, group: VolumeGroupSnapshot) -> Steps[VolumeGroupSnapshot]:
        """The group with its bound finalizer. Raises ReconcileError when it is being deleted, so that nothing is made for it any more."""
        try:
            stored: VolumeGroupSnapshot = yield from amend(group, _with_bound_finalizer)
        except NotFoundError:
            raise
        except ApiError as problem:
            text = f"snapshot controller failed to update {group_key(group)} on API server: {problem}"
            yield Emit(group, "Warning", "GroupSnapshotFinalizerError", f"Failed to check and update group snapshot: {text}")
            raise ReconcileError(text) from None
        self._view.put(stored)
        if is_deleting(stored):
            raise ReconcileError(f"group snapshot {group_key(group)} is being deleted, nothing is made for it")
        return stored

    # R

    def _ready(self, group: VolumeGroupSnapshot) -> Steps[None]:
        name = bound_group_content(group)
        content = self._content_named(name)
        row = group_ready_row(group, content)
        if row is ReadyRow.R1:
            # What this row does cannot be undone, so a view that merely lags behind must not start it.
            content = yield from read_or_none(GROUP_CONTENT, name)
            row = group_ready_row(group, content)
        if row is ReadyRow.R1:
            yield from self._report(group, "GroupSnapshotContentMissing", CONTENT_MISSING)
        elif row is ReadyRow.R2:
            text = "VolumeGroupSnapshotContent is not bound to the VolumeGroupSnapshot correctly"
            yield from self._report(group, "GroupSnapshotMisbound", text)
        else:
            yield from self._guarded(group)

    # U

    def _prebound(self, group: VolumeGroupSnapshot) -> Steps[None]:
        name = group.spec.source.volumeGroupSnapshotContentName or ""
        content = self._content_named(name)
        row = group_prebound_row(group, content)
        if row is PreboundRow.U1 or content is None:
            problem = f"group snapshot {group_key(group)} requests an non-existing group snapshot content {name}"
            yield from self._fail(group, "GroupSnapshotContentMissing", CONTENT_MISSING, problem)
            return
        if row is PreboundRow.U2:
            text = "VolumeGroupSnapshotContent is dynamically provisioned while expecting a pre-provisioned one"
            expected = f"group snapshot {group_key(group)} expects a pre-provisioned VolumeGroupSnapshotContent {name}"
            problem = f"{expected} but gets a dynamically provisioned one"
            yield from self._refuse(group, "GroupSnapshotContentMismatch", text, problem)
        if row is PreboundRow.U3:
            yield from self._refuse(group, "GroupSnapshotContentMisbound", _misbound(name))
        group = yield from self._guarded(group)
        if row is PreboundRow.U4:
            content = yield from self._bind_content(group, content)
        yield from self._publish(group, content)

    def _bind_content(self, group: VolumeGroupSnapshot, content: VolumeGroupSnapshotContent) -> Steps[VolumeGroupSnapshotContent]:
        """U4: uid and class in one write."""

        def change(current: VolumeGroupSnapshotContent) -> Intent | None:
            row = group_prebound_row(group, current)
            if row is PreboundRow.U5:
                return None
            if row is not PreboundRow.U4:
                both = f"group snapshot {meta(group).name} and group snapshot content {meta(current).name}"
                raise ReconcileError(f"Could not bind {both}, the VolumeGroupSnapshotRef does not match")
            spec: dict[str, Any] = {"volumeGroupSnapshotRef": {"uid": uid_of(group)}}
            if group.spec.volumeGroupSnapshotClassName is not None:
                spec["volumeGroupSnapshotClassName"] = group.spec.volumeGroupSnapshotClassName
            return patch_of(current, {"spec": spec})

        try:
            bound: VolumeGroupSnapshotContent = yield from amend(content, change)
        except (ApiError, ReconcileError) as problem:
            text = f"GroupSnapshot failed to bind VolumeGroupSnapshotContent, {problem}"
            yield from self._fail(group, "GroupSnapshotBindFailed", text)
            raise
        self._view.put(bound)
        return bound

    # D

    def _dynamic(self, group: VolumeGroupSnapshot) -> Steps[None]:
        name = group_content_name(group)
        content = self._content_named(name)
        row = group_dynamic_row(group, content)
        if row is DynamicRow.D6:
            try:
                group, content = yield from self._create_content(group)
            except NotFoundError:
                raise
            except (ApiError, ReconcileError) as problem:
                text = f"failed to create group snapshot content with error {problem}"
                yield from self._fail(group, "GroupSnapshotContentCreationFailed", text)
                return
            row = group_dynamic_row(group, content)
        if row is DynamicRow.D1:
            text = f"VolumeGroupSnapshotContent {name} is pre-provisioned while expecting a dynamically provisioned one"
            expected = f"group snapshot {group_key(group)} expects a dynamically provisioned VolumeGroupSnapshotContent {name}"
            yield from self._refuse(group, "GroupSnapshotContentMismatch", text, f"{expected} but gets a pre-provisioned one")
        if row is DynamicRow.D2:
            yield from self._refuse(group, "GroupSnapshotContentMisbound", _misbound(name))
        if row is DynamicRow.D3:
            text = f"GroupSnapshot handle should not be set in group snapshot content {group_key(group)} for dynamic provisioning"
            yield from self._fail(group, "GroupSnapshotHandleSet", text)
        if content is not None:
            group = yield from self._guarded(group)
            yield from complete_members(group, content)
            yield from self._publish(group, content)

    def _create_content(self, group: VolumeGroupSnapshot) -> Steps[tuple[VolumeGroupSnapshot, VolumeGroupSnapshotContent]]:
        """g1: find the volumes, guard the group, create the content under its fixed name. Answers (guarded group, content)."""
        as_read, name = group, group_content_name(group)
        group_class = self._class_of(group)
        try:
            if group_class is None:
                raise ReconcileError(_class_not_found(group.spec.volumeGroupSnapshotClassName))
            volumes = yield from self._volumes_of(group)
            secret = _secret_of(group, group_class)
        except (ApiError, ReconcileError) as problem:
            raise ReconcileError(f"failed to get input parameters to create group snapshot {meta(group).name}: {quoted(problem)}") from None
        handles = []
        for volume in volumes:
            handles.append((yield from self._handle_of(group, volume, driver=group_class.driver)))
        group = yield from self._guarded(group)
        annotations = {GROUP_SECRET_NAME: secret.name or "", GROUP_SECRET_NAMESPACE: secret.namespace or ""} if secret else None
        content = VolumeGroupSnapshotContent(
            apiVersion=GROUP_SNAPSHOT_V1,
            kind=GROUP_CONTENT,
            metadata=ObjectMeta(name=name, annotations=annotations),
            spec=VolumeGroupSnapshotContentSpec(
                deletionPolicy=group_class.deletionPolicy,
                driver=group_class.driver,
                source=VolumeGroupSnapshotContentSource(volumeHandles=handles),
                volumeGroupSnapshotClassName=meta(group_class).name,
                volumeGroupSnapshotRef=VolumeSnapshotReference(
                    apiVersion=GROUP_SNAPSHOT_V1,
                    kind=GROUP,
                    name=meta(group).name,
                    namespace=meta(group).namespace,
                    uid=uid_of(group),
                    resourceVersion=meta(as_read).resourceVersion,
                ),
            ),
        )
        try:
            stored: VolumeGroupSnapshotContent = yield Create(content)
        except AlreadyExistsError:
            # The name is ours alone: an earlier attempt got through. What stands there is checked like any content.
            stored = yield Read(GROUP_CONTENT, "", name)
        except ApiError as problem:
            text = f"Error creating volume group snapshot content object for group snapshot {group_key(group)}: {problem}."
            yield Emit(group, "Warning", "CreateGroupSnapshotContentFailed", text)
            raise ReconcileError(f"snapshot controller failed to update {group_key(group)} on API server: {problem}") from None
        text = f"Waiting for a group snapshot {group_key(group)} to be created by the CSI driver."
        yield Emit(group, "Normal", "CreatingGroupSnapshot", text)
        self._view.put(stored)
        return group, stored

    def _handle_of(self, group: VolumeGroupSnapshot, volume: PersistentVolume, *, driver: str) -> Steps[str]:
        """The handle of a volume that the class's driver can cut. Raises ReconcileError."""
        name, csi = meta(volume).name, volume.spec.csi if volume.spec else None
        if csi is None:
            yield Emit(group, "Warning", "CreateGroupSnapshotContentFailed", f"Cannot snapshot a non-CSI volume: {name}")
            raise ReconcileError(f"cannot snapshot a non-CSI volume for group snapshot {group_key(group)}: {name}")
        if csi.driver != driver:
            text = f"Volume CSI driver ({csi.driver}) mismatch with VolumeGroupSnapshotClass ({driver}) {group_key(group)}: {name}"
            yield Emit(group, "Warning", "CreateGroupSnapshotContentFailed", text)
            raise ReconcileError(f"snapshot controller failed to update {group_key(group)} on API server: {text}")
        return csi.volumeHandle

    def _volumes_of(self, group: VolumeGroupSnapshot) -> Steps[list[PersistentVolume]]:
        """The volumes behind the claims that the selector finds, at least one, each bound both ways. Raises ReconcileError, ApiError."""
        selector = group.spec.source.selector or LabelSelector()
        listed: list[PersistentVolumeClaim] = yield ListAll("PersistentVolumeClaim", meta(group).namespace or "")
        try:
            claims = [claim for claim in listed if match_labels(selector, labels_of(claim))]
        except SelectorError as problem:
            raise ReconcileError(f"failed to list PVCs with label selector {printed_selector(selector)}: {quoted(problem)}") from None
        if not claims:
            raise ReconcileError(f"label selector {printed_selector(selector)} for group snapshot not applied to any PVC")
        volumes = []
        for claim in claims:
            if (claim.status.phase if claim.status else None) != "Bound":
                raise ReconcileError(NOT_BOUND_YET.format(meta(claim).name))
            volume_name = (claim.spec.volumeName if claim.spec else None) or ""
            try:
                volume: PersistentVolume = yield Read("PersistentVolume", "", volume_name)
            except ApiError as problem:
                raise ReconcileError(f"failed to retrieve PV {volume_name} from the API server: {quoted(problem)}") from None
            if not bound_to(volume, claim):
                raise ReconcileError(NOT_BOUND_TO_CLAIM)
            volumes.append(volume)
        return volumes

    # g4

    def _publish(self, group: VolumeGroupSnapshot, content: VolumeGroupSnapshotContent) -> Steps[None]:
        """Copy the content's status onto a fresh read of the group. Events go out before the write, so a failing write repeats them.

        RULE: a failure always lowers readiness, as for single snapshots; where upstream leaves it, a write that got through although its
        answer was lost would keep the error on a ready group for ever.
        """
        try:
            yield from self._copy(group, content)
        except NotFoundError:
            raise
        except ApiError as problem:
            text = f"GroupSnapshot status update failed, {problem}"
            yield from self._fail(group, "GroupSnapshotStatusUpdateFailed", text)

    def _copy(self, group: VolumeGroupSnapshot, content: VolumeGroupSnapshotContent) -> Steps[None]:
        current: VolumeGroupSnapshot = yield Read(GROUP, meta(group).namespace or "", meta(group).name or "")
        if uid_of(current) != uid_of(group):
            raise NotFoundError(f"group snapshot {group_key(group)} was replaced by another one")
        copied = copied_group_status(current, content)
        if copied.status == current.status:
            self._view.put(current)
            return
        key = group_key(group)
        if copied.created:
            yield Emit(current, "Normal", "GroupSnapshotCreated", f"GroupSnapshot {key} was successfully created by the CSI driver.")
        if copied.became_ready:
            yield Emit(current, "Normal", "GroupSnapshotReady", f"GroupSnapshot {key} is ready to use.")

        def change(fresh: VolumeGroupSnapshot) -> Intent | None:
            status = copied_group_status(fresh, content).status
            return None if status == fresh.status else Update(replace(fresh, status=status), subresource="status")

        self._view.put((yield from amend(current, change)))

    # errors

    def _report(self, group: VolumeGroupSnapshot, reason: str, message: str, *, lower_ready: bool = True) -> Steps[None]:
        """Write an error into the status and emit its event; neither when exactly this error is there already."""
        now, wrote = time_of(self._clock.now_ns()), False

        def change(current: VolumeGroupSnapshot) -> Intent | None:
            nonlocal wrote
            status = failed_group_status(current.status, message, now, lower_ready=lower_ready)
            wrote = status is not None
            return Update(replace(current, status=status), subresource="status") if wrote else None

        stored: VolumeGroupSnapshot = yield from amend(group, change)
        self._view.put(stored)
        if wrote:
            yield Emit(stored, "Warning", reason, message)

    def _fail(
        self, group: VolumeGroupSnapshot, reason: str, message: str, problem: str | None = None, *, lower_ready: bool = True
    ) -> Steps[None]:
        """Report an error and raise ReconcileError with `problem`, or with the message when that is the same."""
        yield from self._report(group, reason, message, lower_ready=lower_ready)
        raise ReconcileError(problem or message)

    def _refuse(self, group: VolumeGroupSnapshot, reason: str, message: str, problem: str | None = None) -> Steps[None]:
        """Refuse a content. A group that lacks its finalizer is told of it a second time: the content is checked on the way to it."""
        yield from self._report(group, reason, message)
        if GROUP_BOUND_FINALIZER not in finalizers_of(group):
            text = f"Failed to check and update group snapshot: {problem or message}"
            yield Emit(group, "Warning", "GroupSnapshotFinalizerError", text)
        raise ReconcileError(problem or message)

    # C

    def _content(self, item: WorkItem) -> Steps[None]:
        content = self._content_named(item.key)
        group = None
        if content is not None:
            reference = content.spec.volumeGroupSnapshotRef
            group = self._view.get(GROUP, reference.namespace or "", reference.name or "")
        row = group_content_row(content, group)
        if row is GroupContentRow.C8 or content is None:
            if key := self._gone_contents.pop(item, ""):
                self._handoff.add(WorkItem(GROUPS, key))
            return
        self._gone_contents.pop(item, None)
        if row is GroupContentRow.C1:
            text = "Exactly one of GroupSnapshotHandles and VolumeHandles should be specified"
            yield Emit(content, "Warning", "GroupContentValidationError", text)
            raise ReconcileError(f"group snapshot content {item.key}: {text}")
        if row is GroupContentRow.C3:
            self._view.put((yield from amend(content, _with_content_finalizer)))
        if row is GroupContentRow.C5:
            self._handoff.add(WorkItem(GROUPS, group_reference_key(content)))

    def _content_named(self, name: str) -> VolumeGroupSnapshotContent | None:
        found: VolumeGroupSnapshotContent | None = self._view.get(GROUP_CONTENT, "", name)
        return found


def _class_not_found(name: str | None) -> str:
    return f"volumegroupsnapshotclass.groupsnapshot.storage.k8s.io {quoted(name)} not found"


def _misbound(name: str) -> str:
    return f"VolumeGroupSnapshotContent [{name}] is bound to a different group snapshot"


def _secret_of(group: VolumeGroupSnapshot, group_class: VolumeGroupSnapshotClass) -> SecretReference | None:
    tokens = {"volumegroupsnapshotcontent.name": group_content_name(group), "volumegroupsnapshot.namespace": meta(group).namespace or ""}
    return secret_reference(
        (GROUP_SECRET,),
        group_class.parameters or {},
        name_tokens={**tokens, "volumegroupsnapshot.name": meta(group).name or ""},
        namespace_tokens=tokens,
    )


def _with_bound_finalizer(group: VolumeGroupSnapshot) -> Intent | None:
    held = finalizers_of(group)
    if GROUP_BOUND_FINALIZER in held or is_deleting(group):
        return None
    if held:
        return patch_of(group, {"metadata": {"finalizers": [*held, GROUP_BOUND_FINALIZER]}})
    return Update(with_finalizers(group, add=[GROUP_BOUND_FINALIZER]))  # upstream too updates for the first one


def _with_content_finalizer(content: VolumeGroupSnapshotContent) -> Patch | None:
    held = finalizers_of(content)
    if GROUP_CONTENT_FINALIZER in held or is_deleting(content):
        return None
    return patch_of(content, {"metadata": {"finalizers": [*held, GROUP_CONTENT_FINALIZER]}})
