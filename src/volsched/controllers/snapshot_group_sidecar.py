"""The snapshot sidecar's group half: makes VolumeGroupSnapshotContents true at the driver and writes their status and members.

    content ─> row P1..P6 ─> CreateVolumeGroupSnapshot | GetVolumeGroupSnapshot | DeleteVolumeGroupSnapshot ─> status

The same promises as for single snapshots (`snapshot_sidecar`): a create of unknown outcome is marked being-created before it is sent, the
mark keeps the content from being deleted, the same call under the same name is repeated until the answer is final, and the repeat is the
readiness poll. A driver without group capability has no such sidecar.

RULE: own writes do not start passes. Upstream takes every update of a content as news, so its own mark on and off makes it call the driver
again as fast as the API server answers; here failures and polls follow the queue's backoff, as they do for single snapshots.
Source: spec/snapshots.md 2.7; external-snapshotter pkg/sidecar-controller/groupsnapshot_helper.go, csi_handler.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from lightkube.models.core_v1 import SecretReference

from volsched.api.csi import (
    CreateVolumeGroupSnapshotRequest,
    CreateVolumeGroupSnapshotResponse,
    DeleteVolumeGroupSnapshotRequest,
    GetVolumeGroupSnapshotRequest,
    GetVolumeGroupSnapshotResponse,
    GroupControllerGetCapabilitiesRequest,
    GroupControllerGetCapabilitiesResponse,
    Message,
    Snapshot,
)
from volsched.api.csi import VolumeGroupSnapshot as CutGroup
from volsched.api.edit import annotations_of, finalizers_of, is_deleting, replace, uid_of, version_of
from volsched.api.kinds import meta
from volsched.api.snapshot import (
    VolumeGroupSnapshotClass,
    VolumeGroupSnapshotContent,
    VolumeGroupSnapshotContentStatus,
    VolumeSnapshotInfo,
)
from volsched.api.watch import Change, WatchEvent
from volsched.cache.view import View
from volsched.controllers.csi_common import (
    CSI_PREFIX,
    amend,
    ns_of,
    patch_of,
    quoted,
    read_credentials,
    read_of,
    secret_reference,
    time_of,
)
from volsched.controllers.driver_info import learn
from volsched.controllers.snapshot_group_names import (
    GROUP_BEING_CREATED,
    GROUP_CLASS,
    GROUP_CONTENT,
    GROUP_CONTENT_FINALIZER,
    GROUP_GET_SECRET,
    GROUP_SECRET_NAME,
    GROUP_SECRET_NAMESPACE,
    is_group_ready,
    may_delete_group,
)
from volsched.controllers.snapshot_group_status import GroupCut, cleared_group_status, cut_group_status, failed_group_content_status
from volsched.controllers.snapshot_group_tables import GroupSidecarRow, group_sidecar_row
from volsched.controllers.snapshot_names import YES, snapshot_name, strip_parameters
from volsched.controllers.snapshot_sidecar import SnapshotSidecarOptions
from volsched.controllers.snapshot_sidecar_table import CREATE_FINAL
from volsched.controllers.snapshot_status import status_body
from volsched.errors import ApiError, CsiError, NotFoundError, ReconcileError
from volsched.ports import DONE, Call, Clock, Done, Emit, Intent, QueueSpec, Requeue, Steps, Update, WorkItem

CONTENTS: Final = "group-contents"
RESYNC_S: Final = 900.0
GROUP_SERVICE: Final = "GROUP_CONTROLLER_SERVICE"
GROUP_CAPABILITY: Final = "CREATE_DELETE_GET_VOLUME_GROUP_SNAPSHOT"
CREATION_FAILED: Final = ("GroupSnapshotCreationFailed", "Failed to create group snapshot")
CHECK_FAILED: Final = ("GroupSnapshotContentCheckandUpdateFailed", "Failed to check and update group snapshot content")


class GroupSnapshotSidecar:
    """Decider: the group contents of one driver."""

    def __init__(self, clock: Clock, driver: str, *, options: SnapshotSidecarOptions | None = None) -> None:
        self.name = "csi-snapshotter"
        self.component = f"csi-snapshotter {driver}"
        self.kinds = frozenset({GROUP_CONTENT, GROUP_CLASS})
        self.queues: Mapping[str, QueueSpec] = {CONTENTS: QueueSpec(workers=10, backoff_s=1.0, backoff_s_max=300.0)}
        self.resync_s: float | None = RESYNC_S
        self._clock = clock
        self._driver = driver
        self._options = options or SnapshotSidecarOptions()
        self._view = View(self.kinds)
        # Contents as the watch delivered them, own answers left out: what `_is_news` compares with.
        self._watched: dict[str, VolumeGroupSnapshotContent] = {}
        self._capable = False

    # the decider's shape

    def start(self) -> Steps[None]:
        info = yield from learn(self._driver, timeout_s=self._options.timeout_s)
        if GROUP_SERVICE not in info.plugin:
            return
        answer: GroupControllerGetCapabilitiesResponse = yield self._call(
            "GroupControllerGetCapabilities", GroupControllerGetCapabilitiesRequest()
        )
        self._capable = any(item.rpc is not None and item.rpc.type == GROUP_CAPABILITY for item in answer.capabilities)

    def observe(self, event: WatchEvent) -> Iterable[WorkItem]:
        self._view.observe(event)
        if event.kind != GROUP_CONTENT:
            return []
        name = event.key.name
        if event.change is Change.DELETED:
            self._watched.pop(name, None)
            return [WorkItem(CONTENTS, name)]
        old = self._watched.get(name)
        if old is not None and version_of(event.object) < version_of(old):
            return []
        self._watched[name] = event.object
        return [WorkItem(CONTENTS, name)] if old is None or _is_news(old, event.object) else []

    def work(self, item: WorkItem) -> Steps[Done | Requeue]:
        content: VolumeGroupSnapshotContent | None = self._view.get(GROUP_CONTENT, "", item.key)
        if content is None or not self._is_mine(content):
            return DONE
        row = group_sidecar_row(content)
        if row is GroupSidecarRow.P1:
            yield from self._delete(content)
            return DONE
        if row is GroupSidecarRow.P2:
            yield from self._release(content)
            return DONE
        if row is GroupSidecarRow.P4:
            return (yield from self._settle(content))
        if row is GroupSidecarRow.P3:
            return (yield from self._create(content, CREATION_FAILED))
        if row is GroupSidecarRow.P6:
            return (yield from self._create(content, CHECK_FAILED))
        return (yield from self._query(content)) if row is GroupSidecarRow.P5 else DONE

    def resync(self) -> Iterable[WorkItem]:
        return [WorkItem(CONTENTS, meta(content).name or "") for content in self._view.all(GROUP_CONTENT)]

    def wake_at_ns(self) -> int | None:
        return None

    def wake(self, now_ns: int) -> Iterable[WorkItem]:
        return []

    def _is_mine(self, content: VolumeGroupSnapshotContent) -> bool:
        if not self._capable or content.spec.driver != self._driver:
            return False
        if not content.spec.source.volumeHandles and content.spec.source.groupSnapshotHandles is None:
            return False
        group_class = self._class_of(content)
        return group_class is None or group_class.driver == self._driver

    def _class_of(self, content: VolumeGroupSnapshotContent) -> VolumeGroupSnapshotClass | None:
        name = content.spec.volumeGroupSnapshotClassName
        found: VolumeGroupSnapshotClass | None = self._view.get(GROUP_CLASS, "", name) if name is not None else None
        return found

    def _call(self, method: str, request: Message) -> Call:
        return Call(self._driver, method, request, timeout_s=self._options.timeout_s)

    # create, and poll by creating again

    def _create(self, content: VolumeGroupSnapshotContent, failure: tuple[str, str]) -> Steps[Done | Requeue]:
        """Everything that can be refused here is checked before the content is marked being-created."""
        name = meta(content).name
        try:
            request = yield from self._create_request(content)
        except ReconcileError as problem:
            text = f"failed to get input parameters to create group snapshot for group snapshot content {name}: {quoted(problem)}"
            return (yield from self._fail(content, failure, text))
        content = yield from amend(content, _marked_being_created)
        self._view.put(content)
        what = f"failed to take group snapshot of the volumes [{' '.join(request.source_volume_ids)}]"
        try:
            response: CreateVolumeGroupSnapshotResponse = yield self._call("CreateVolumeGroupSnapshot", request)
        except CsiError as problem:
            if CREATE_FINAL[problem.code]:
                content = yield from self._unmark(content)
            return (yield from self._fail(content, failure, f"{what}: {quoted(problem)}"))
        if response.group_snapshot is None:
            return (yield from self._fail(content, failure, f"{what}: {quoted('the driver answered without a group snapshot')}"))
        cut = self._cut(response.group_snapshot, handle=response.group_snapshot.group_snapshot_id)
        cut = cut._replace(members=[self._member(snapshot) for snapshot in response.group_snapshot.snapshots])
        content = yield from self._record(content, cut)
        yield from self._unmark(content)
        return DONE if cut.ready else Requeue()

    def _create_request(self, content: VolumeGroupSnapshotContent) -> Steps[CreateVolumeGroupSnapshotRequest]:
        name, reference = meta(content).name, content.spec.volumeGroupSnapshotRef
        class_name = content.spec.volumeGroupSnapshotClassName
        if class_name is None:
            raise ReconcileError(f"failed to take group snapshot {name} without a group snapshot class")
        group_class = self._class_of(content)
        if group_class is None:
            raise ReconcileError(_class_not_found(class_name))
        parameters = strip_parameters(group_class.parameters)
        secrets = yield from self._secrets(content)
        if self._options.extra_create_metadata:
            parameters |= {
                CSI_PREFIX + "volumegroupsnapshot/name": reference.name or "",
                CSI_PREFIX + "volumegroupsnapshot/namespace": reference.namespace or "",
                CSI_PREFIX + "volumegroupsnapshotcontent/name": name or "",
            }
        prefix, length = self._options.group_snapshot_name_prefix, self._options.group_snapshot_name_uuid_length
        return CreateVolumeGroupSnapshotRequest(
            name=snapshot_name(prefix, reference.uid or "", uid_length=length),
            source_volume_ids=list(content.spec.source.volumeHandles or ()),
            secrets=secrets,
            parameters=parameters,
        )

    def _secrets(self, content: VolumeGroupSnapshotContent) -> Steps[dict[str, str]]:
        """The group snapshotter secret, which the content itself names. Raises ReconcileError."""
        annotations, name = annotations_of(content), meta(content).name
        if GROUP_SECRET_NAME not in annotations or GROUP_SECRET_NAMESPACE not in annotations:
            return {}
        reference = SecretReference(name=annotations[GROUP_SECRET_NAME], namespace=annotations[GROUP_SECRET_NAMESPACE])
        if not reference.name or not reference.namespace:
            missing = "secret name or namespace not specified"
            raise ReconcileError(f"cannot retrieve secrets for group snapshot content {quoted(name)}, err: {missing}")
        try:
            return (yield from read_credentials(reference))
        except ReconcileError:
            raise ReconcileError(f"cannot get credentials for group snapshot content {quoted(name)}") from None

    def _cut(self, group: CutGroup, *, handle: str) -> GroupCut:
        # A driver that does not say when it cut is taken to have cut now.
        created_ns = self._clock.now_ns() if group.creation_time is None else ns_of(group.creation_time)
        return GroupCut(handle, time_of(created_ns), group.ready_to_use, [])

    def _member(self, snapshot: Snapshot) -> VolumeSnapshotInfo:
        created_ns = self._clock.now_ns() if snapshot.creation_time is None else ns_of(snapshot.creation_time)
        return VolumeSnapshotInfo(
            volumeHandle=snapshot.source_volume_id,
            snapshotHandle=snapshot.snapshot_id,
            creationTime=created_ns,
            readyToUse=snapshot.ready_to_use,
            restoreSize=snapshot.size_bytes or None,
        )

    def _record(self, content: VolumeGroupSnapshotContent, cut: GroupCut) -> Steps[VolumeGroupSnapshotContent]:
        """Write what the driver said onto a fresh read; nothing when it says nothing new."""

        def change(current: VolumeGroupSnapshotContent) -> Intent | None:
            return _status_write(current, cut_group_status(current.status, cut))

        fresh: VolumeGroupSnapshotContent = yield read_of(content)
        if uid_of(fresh) != uid_of(content):
            raise NotFoundError(f"group snapshot content {meta(content).name} was replaced by another one")
        stored: VolumeGroupSnapshotContent = yield from amend(fresh, change)
        self._view.put(stored)
        return stored

    def _unmark(self, content: VolumeGroupSnapshotContent) -> Steps[VolumeGroupSnapshotContent]:
        stored: VolumeGroupSnapshotContent = yield from amend(content, _unmarked_being_created)
        self._view.put(stored)
        return stored

    def _settle(self, content: VolumeGroupSnapshotContent) -> Steps[Done | Requeue]:
        """P4. RULE: a content that is to be deleted is looked at again at once; upstream waits for the resync."""
        marked = GROUP_BEING_CREATED in annotations_of(content)
        content = yield from self._unmark(content)
        return Requeue(after_s=0.0) if marked and is_deleting(content) else DONE

    def _fail(self, content: VolumeGroupSnapshotContent, failure: tuple[str, str], problem: str) -> Steps[Done | Requeue]:
        """Error status and event unless the very same error stands there already; then raise."""
        reason, prefix = failure
        message = f"{prefix}: {problem}"
        now, wrote = time_of(self._clock.now_ns()), False

        def change(current: VolumeGroupSnapshotContent) -> Intent | None:
            nonlocal wrote
            status = failed_group_content_status(current.status, message, now)
            wrote = status is not None
            return None if status is None else _status_write(current, status)

        stored: VolumeGroupSnapshotContent = yield from amend(content, change)
        self._view.put(stored)
        if wrote:
            yield Emit(stored, "Warning", reason, message)
        raise ReconcileError(f"group snapshot content {meta(content).name}: {problem}")

    # status of a group that exists already

    def _query(self, content: VolumeGroupSnapshotContent) -> Steps[Done | Requeue]:
        """P5. The list of members stays empty: an admin makes the members of a pre-provisioned group."""
        name, handles = meta(content).name, content.spec.source.groupSnapshotHandles
        try:
            if handles is None or not handles.volumeSnapshotHandles:
                raise ReconcileError(f"cannot list group snapshot {name}. No snapshots found in the group snapshot content")
            secrets = yield from self._get_secret(content)
        except ReconcileError as problem:
            return (yield from self._fail(content, CHECK_FAILED, str(problem)))
        request = GetVolumeGroupSnapshotRequest(
            group_snapshot_id=handles.volumeGroupSnapshotHandle, snapshot_ids=list(handles.volumeSnapshotHandles), secrets=secrets
        )
        try:
            response: GetVolumeGroupSnapshotResponse = yield self._call("GetVolumeGroupSnapshot", request)
            if response.group_snapshot is None:
                raise ReconcileError("the driver answered without a group snapshot")
        except (CsiError, ReconcileError) as problem:
            text = f"failed to list group snapshot for group snapshot content {name}: {quoted(problem)}"
            return (yield from self._fail(content, CHECK_FAILED, text))
        cut = self._cut(response.group_snapshot, handle=handles.volumeGroupSnapshotHandle)
        yield from self._record(content, cut)
        return DONE if cut.ready else Requeue()

    def _get_secret(self, content: VolumeGroupSnapshotContent) -> Steps[dict[str, str]]:
        """The get secret of the content's class; without a group only the content's name is known as a token. Raises ReconcileError."""
        name, class_name = meta(content).name or "", content.spec.volumeGroupSnapshotClassName
        if class_name is None:
            return {}
        group_class = self._class_of(content)
        if group_class is None:
            problem = _class_not_found(class_name)
            raise ReconcileError(f"failed to get group snapshot class {class_name} for group snapshot content {name}: {problem}")
        tokens = {"volumegroupsnapshotcontent.name": name}
        try:
            reference = secret_reference((GROUP_GET_SECRET,), group_class.parameters or {}, name_tokens=tokens, namespace_tokens=tokens)
        except ReconcileError as problem:
            raise ReconcileError(f"failed to get secret reference for group snapshot content {name}: {problem}") from None
        try:
            return (yield from read_credentials(reference))
        except ReconcileError as problem:
            raise ReconcileError(f"failed to get credentials for group snapshot content {name}: {problem}") from None

    # deletion

    def _delete(self, content: VolumeGroupSnapshotContent) -> Steps[None]:
        """P1. The handle stays in the status until the driver has deleted, the finalizer until the status is cleared."""
        status = content.status or VolumeGroupSnapshotContentStatus()
        try:
            secrets = yield from self._secrets(content)
        except ReconcileError:
            yield Emit(content, "Warning", "GroupSnapshotDeleteError", "Failed to get snapshot credentials")
            raise
        members = [entry.snapshotHandle or "" for entry in status.volumeSnapshotInfoList or ()]
        if not members and content.spec.source.groupSnapshotHandles is not None:
            members = list(content.spec.source.groupSnapshotHandles.volumeSnapshotHandles)
        try:
            if not members:
                name = meta(content).name
                raise ReconcileError(f"cannot delete group snapshot content {name}. No snapshots found in the group snapshot")
            handle = status.volumeGroupSnapshotHandle or ""
            request = DeleteVolumeGroupSnapshotRequest(group_snapshot_id=handle, snapshot_ids=members, secrets=secrets)
            yield self._call("DeleteVolumeGroupSnapshot", request)
        except (CsiError, ReconcileError):
            yield Emit(content, "Warning", "GroupSnapshotDeleteError", "Failed to delete group snapshot")
            raise

        def clear(current: VolumeGroupSnapshotContent) -> Intent | None:
            cleared = cleared_group_status(current.status)
            return None if cleared == current.status else Update(replace(current, status=cleared), subresource="status")

        try:
            fresh: VolumeGroupSnapshotContent = yield read_of(content)
            content = yield from amend(fresh, clear)
        except NotFoundError:
            return
        except ApiError:
            yield Emit(content, "Warning", "GroupSnapshotDeleteError", "Failed to clear content status")
            raise
        self._view.put(content)
        yield from self._release(content)

    def _release(self, content: VolumeGroupSnapshotContent) -> Steps[None]:
        try:
            self._view.put((yield from amend(content, _without_finalizer)))
        except NotFoundError:
            return


def _class_not_found(name: str) -> str:
    return f"volumegroupsnapshotclass.groupsnapshot.storage.k8s.io {quoted(name)} not found"


def _status_write(content: VolumeGroupSnapshotContent, status: VolumeGroupSnapshotContentStatus) -> Intent | None:
    if status == content.status:
        return None
    return patch_of(content, status_body(content.status or VolumeGroupSnapshotContentStatus(), status), status=True)


def _marked_being_created(content: VolumeGroupSnapshotContent) -> Intent | None:
    if may_delete_group(content):
        raise ReconcileError(f"group snapshot content {meta(content).name} is being deleted, nothing is created for it")
    if GROUP_BEING_CREATED in annotations_of(content):
        return None
    return patch_of(content, {"metadata": {"annotations": {GROUP_BEING_CREATED: YES}}})


def _unmarked_being_created(content: VolumeGroupSnapshotContent) -> Intent | None:
    if GROUP_BEING_CREATED not in annotations_of(content):
        return None
    return patch_of(content, {"metadata": {"annotations": {GROUP_BEING_CREATED: None}}})


def _without_finalizer(content: VolumeGroupSnapshotContent) -> Intent | None:
    held = finalizers_of(content)
    if GROUP_CONTENT_FINALIZER not in held:
        return None
    return patch_of(content, {"metadata": {"finalizers": [name for name in held if name != GROUP_CONTENT_FINALIZER] or None}})


def _essence(content: VolumeGroupSnapshotContent) -> Any:
    """A content without what the two controllers write while they work: status, finalizers, being-created."""
    annotations = {key: value for key, value in annotations_of(content).items() if key != GROUP_BEING_CREATED}
    metadata = replace(meta(content), resourceVersion=None, managedFields=None, finalizers=None, annotations=annotations or None)
    return replace(content, metadata=metadata, status=None)


def _is_news(old: VolumeGroupSnapshotContent, new: VolumeGroupSnapshotContent) -> bool:
    """Whether a change of a content is worth a pass: all but status, finalizers and own mark; becoming ready; getting its finalizer."""
    if version_of(old) == version_of(new) or _essence(old) != _essence(new):
        return True
    became_ready = not is_group_ready(old) and is_group_ready(new)
    became_guarded = GROUP_CONTENT_FINALIZER not in finalizers_of(old) and GROUP_CONTENT_FINALIZER in finalizers_of(new)
    return became_ready or became_guarded
