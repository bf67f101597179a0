"""The snapshot sidecar, one per driver: makes VolumeSnapshotContents true at the driver and writes their status.

    content ─> row P1..P7 ─> CreateSnapshot | ListSnapshots | DeleteSnapshot ─> status

A CreateSnapshot of unknown outcome is marked before it is sent (annotation being-created) and unmarked when the driver has answered
finally; while the mark is there the content is not deleted and the same call is repeated under the same name, which the driver must
answer with the same snapshot. The repeat is also the readiness poll. Own writes do not start passes (`_is_news`), so failures and polls
follow the queue's backoff alone; the one exception is a status that became ready. Source: spec/snapshots.md 2.5, 4.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from lightkube.models.core_v1 import SecretReference

from volsched.api.csi import (
    CreateSnapshotRequest,
    CreateSnapshotResponse,
    DeleteSnapshotRequest,
    ListSnapshotsRequest,
    ListSnapshotsResponse,
    Message,
    Snapshot,
)
from volsched.api.edit import annotations_of, finalizers_of, is_deleting, labels_of, replace, uid_of, version_of
from volsched.api.kinds import meta
from volsched.api.snapshot import VolumeSnapshotClass, VolumeSnapshotContent, VolumeSnapshotContentStatus
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
from volsched.controllers.driver_info import DriverInfo, learn
from volsched.controllers.snapshot_names import (
    BEING_CREATED,
    CONTENT_FINALIZER,
    DELETION_SECRET_NAME,
    DELETION_SECRET_NAMESPACE,
    LIST_SECRET,
    MANAGED_BY,
    YES,
    may_delete,
    snapshot_name,
    strip_parameters,
)
from volsched.controllers.snapshot_sidecar_table import CREATE_FINAL, SidecarRow, sidecar_row
from volsched.controllers.snapshot_status import Cut, cleared_status, content_status_body, cut_status, failed_content_status
from volsched.errors import ApiError, CsiError, NotFoundError, ReconcileError
from volsched.ports import DONE, Call, Clock, Done, Emit, Intent, QueueSpec, Requeue, Steps, Update, WorkItem

CONTENTS: Final = "contents"
RESYNC_S: Final = 900.0
CREATION_FAILED: Final = ("SnapshotCreationFailed", "Failed to create snapshot")
CHECK_FAILED: Final = ("SnapshotContentCheckandUpdateFailed", "Failed to check and update snapshot content")


@dataclass(frozen=True, slots=True)
class SnapshotSidecarOptions:
    """Flags of the sidecar. `node`: serve only contents labelled with this node (node deployment); empty serves all."""

    snapshot_name_prefix: str = "snapshot"
    snapshot_name_uuid_length: int = -1
    group_snapshot_name_prefix: str = "groupsnapshot"
    group_snapshot_name_uuid_length: int = -1
    timeout_s: float = 60.0
    extra_create_metadata: bool = False
    node: str = ""


class SnapshotSidecar:
    """Decider: the contents of one driver."""

    def __init__(self, clock: Clock, driver: str, *, options: SnapshotSidecarOptions | None = None) -> None:
        self.name = "csi-snapshotter"
        self.component = f"csi-snapshotter {driver}"
        self.kinds = frozenset({"VolumeSnapshotContent", "VolumeSnapshotClass"})
        self.queues: Mapping[str, QueueSpec] = {CONTENTS: QueueSpec(workers=10, backoff_s=1.0, backoff_s_max=300.0)}
        self.resync_s: float | None = RESYNC_S
        self._clock = clock
        self._driver = driver
        self._options = options or SnapshotSidecarOptions()
        self._view = View(self.kinds)
        # Contents as the watch delivered them, own answers left out: what `_is_news` compares with.
        self._watched: dict[str, VolumeSnapshotContent] = {}
        self._info = DriverInfo()

    # the decider's shape

    def start(self) -> Steps[None]:
        self._info = yield from learn(self._driver, timeout_s=self._options.timeout_s)

    def observe(self, event: WatchEvent) -> Iterable[WorkItem]:
        self._view.observe(event)
        if event.kind != "VolumeSnapshotContent":
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
        content: VolumeSnapshotContent | None = self._view.get("VolumeSnapshotContent", "", item.key)
        if content is None or not self._is_mine(content):
            return DONE
        row = sidecar_row(content)
        if row is SidecarRow.P1:
            yield from self._delete(content)
            return DONE
        if row is SidecarRow.P2:
            yield from self._release(content)
            return DONE
        if row is SidecarRow.P4:
            return (yield from self._settle(content))
        if row is SidecarRow.P3:
            return (yield from self._create(content, CREATION_FAILED))
        if row is SidecarRow.P6:
            return (yield from self._create(content, CHECK_FAILED))
        if row is SidecarRow.P5:
            return (yield from self._query(content))
        return Requeue() if row is SidecarRow.P7 else DONE

    def resync(self) -> Iterable[WorkItem]:
        return [WorkItem(CONTENTS, meta(content).name or "") for content in self._view.all("VolumeSnapshotContent")]

    def wake_at_ns(self) -> int | None:
        return None

    def wake(self, now_ns: int) -> Iterable[WorkItem]:
        return []

    def _is_mine(self, content: VolumeSnapshotContent) -> bool:
        # A driver that cannot snapshot has no sidecar: upstream's process ends at start.
        if "CREATE_DELETE_SNAPSHOT" not in self._info.controller or content.spec.driver != self._driver:
            return False
        if self._options.node and labels_of(content).get(MANAGED_BY) != self._options.node:
            return False
        source, snapshot_class = content.spec.source, self._class_of(content)
        if source.volumeHandle is None and source.snapshotHandle is None:
            return False
        return snapshot_class is None or snapshot_class.driver == self._driver

    def _class_of(self, content: VolumeSnapshotContent) -> VolumeSnapshotClass | None:
        name = content.spec.volumeSnapshotClassName
        found: VolumeSnapshotClass | None = self._view.get("VolumeSnapshotClass", "", name) if name is not None else None
        return found

    def _call(self, method: str, request: Message) -> Call:
        return Call(self._driver, method, request, timeout_s=self._options.timeout_s)

    # create, and poll by creating again

    def _create(self, content: VolumeSnapshotContent, failure: tuple[str, str]) -> Steps[Done | Requeue]:
        """2.5.1. RULE: everything that can be refused here is checked before the content is marked being-created."""
        try:
            request = yield from self._create_request(content)
        except ReconcileError as problem:
            text = f"failed to get input parameters to create snapshot for content {meta(content).name}: {quoted(problem)}"
            return (yield from self._fail(content, failure, text))
        content = yield from amend(content, _marked_being_created)
        self._view.put(content)
        try:
            response: CreateSnapshotResponse = yield self._call("CreateSnapshot", request)
        except CsiError as problem:
            if CREATE_FINAL[problem.code]:
                content = yield from self._unmark(content)
            text = f"failed to take snapshot of the volume {request.source_volume_id}: {quoted(problem)}"
            return (yield from self._fail(content, failure, text))
        if response.snapshot is None:
            text = f"failed to take snapshot of the volume {request.source_volume_id}: {quoted('the driver answered without a snapshot')}"
            return (yield from self._fail(content, failure, text))
        cut = self._cut(response.snapshot, handle=response.snapshot.snapshot_id)
        content = yield from self._record(content, cut)
        yield from self._unmark(content)
        return DONE if cut.ready else Requeue()

    def _create_request(self, content: VolumeSnapshotContent) -> Steps[CreateSnapshotRequest]:
        name, reference = meta(content).name, content.spec.volumeSnapshotRef
        class_name = content.spec.volumeSnapshotClassName
        if class_name is None:
            raise ReconcileError(f"failed to take snapshot {name} without a snapshot class")
        snapshot_class = self._class_of(content)
        if snapshot_class is None:
            missing = f"volumesnapshotclass.snapshot.storage.k8s.io {quoted(class_name)} not found"
            raise ReconcileError(f"failed to retrieve snapshot class {class_name} from the informer: {quoted(missing)}")
        parameters = strip_parameters(snapshot_class.parameters)
        secrets = yield from self._deletion_secret(content)
        if self._options.extra_create_metadata:
            parameters |= {
                CSI_PREFIX + "volumesnapshot/name": reference.name or "",
                CSI_PREFIX + "volumesnapshot/namespace": reference.namespace or "",
                CSI_PREFIX + "volumesnapshotcontent/name": name or "",
            }
        prefix, length = self._options.snapshot_name_prefix, self._options.snapshot_name_uuid_length
        return CreateSnapshotRequest(
            source_volume_id=content.spec.source.volumeHandle or "",
            name=snapshot_name(prefix, reference.uid or "", uid_length=length),
            secrets=secrets,
            parameters=parameters,
        )

    def _deletion_secret(self, content: VolumeSnapshotContent) -> Steps[dict[str, str]]:
        """The snapshotter secret, which the content itself names. Raises ReconcileError."""
        annotations, name = annotations_of(content), meta(content).name
        if DELETION_SECRET_NAME not in annotations or DELETION_SECRET_NAMESPACE not in annotations:
            return {}
        reference = SecretReference(name=annotations[DELETION_SECRET_NAME], namespace=annotations[DELETION_SECRET_NAMESPACE])
        if not reference.name or not reference.namespace:
            missing = "secret name or namespace not specified"
            raise ReconcileError(f"cannot retrieve secrets for snapshot content {quoted(name)}, err: {missing}")
        try:
            return (yield from read_credentials(reference))
        except ReconcileError:
            raise ReconcileError(f"cannot get credentials for snapshot content {quoted(name)}") from None

    def _cut(self, snapshot: Snapshot, *, handle: str) -> Cut:
        # RULE: a driver that does not say when it cut is taken to have cut now; upstream stores 1970.
        created_ns = self._clock.now_ns() if snapshot.creation_time is None else ns_of(snapshot.creation_time)
        return Cut(handle, created_ns, snapshot.size_bytes, snapshot.ready_to_use, snapshot.group_snapshot_id)

    def _record(self, content: VolumeSnapshotContent, cut: Cut) -> Steps[VolumeSnapshotContent]:
        """Write what the driver said onto a fresh read; nothing when it says nothing new."""

        def change(current: VolumeSnapshotContent) -> Intent | None:
            status = cut_status(current.status, cut)
            return None if status == current.status else patch_of(current, content_status_body(current.status, status), status=True)

        fresh: VolumeSnapshotContent = yield read_of(content)
        if uid_of(fresh) != uid_of(content):
            raise NotFoundError(f"snapshot content {meta(content).name} was replaced by another one")
        stored: VolumeSnapshotContent = yield from amend(fresh, change)
        self._view.put(stored)
        return stored

    def _unmark(self, content: VolumeSnapshotContent) -> Steps[VolumeSnapshotContent]:
        stored: VolumeSnapshotContent = yield from amend(content, _unmarked_being_created)
        self._view.put(stored)
        return stored

    def _settle(self, content: VolumeSnapshotContent) -> Steps[Done | Requeue]:
        """P4. RULE: a content that is to be deleted is looked at again at once; upstream waits for the resync."""
        marked = BEING_CREATED in annotations_of(content)
        content = yield from self._unmark(content)
        return Requeue(after_s=0.0) if marked and is_deleting(content) else DONE

    def _fail(self, content: VolumeSnapshotContent, failure: tuple[str, str], problem: str) -> Steps[Done | Requeue]:
        """Error status and event unless the very same error stands there already; then raise."""
        reason, prefix = failure
        message = f"{prefix}: {problem}"
        now, wrote = time_of(self._clock.now_ns()), False

        def change(current: VolumeSnapshotContent) -> Intent | None:
            nonlocal wrote
            status = failed_content_status(current.status, message, now)
            wrote = status is not None
            return None if status is None else patch_of(current, content_status_body(current.status, status), status=True)

        stored: VolumeSnapshotContent = yield from amend(content, change)
        self._view.put(stored)
        if wrote:
            yield Emit(stored, "Warning", reason, message)
        raise ReconcileError(f"content {meta(content).name}: {problem}")

    # status of a snapshot that exists already

    def _query(self, content: VolumeSnapshotContent) -> Steps[Done | Requeue]:
        """2.5.2. A driver that cannot list is believed: ready, cut now, size unknown."""
        name, status = meta(content).name, content.status or VolumeSnapshotContentStatus()
        handle = content.spec.source.snapshotHandle or status.snapshotHandle or ""
        try:
            secrets = yield from self._list_secret(content)
        except ReconcileError as problem:
            return (yield from self._fail(content, CHECK_FAILED, str(problem)))
        if "LIST_SNAPSHOTS" not in self._info.controller:
            cut = Cut(handle, self._clock.now_ns(), 0, ready=True)
        else:
            request = ListSnapshotsRequest(snapshot_id=handle, secrets=secrets)
            try:
                response: ListSnapshotsResponse = yield self._call("ListSnapshots", request)
                found = response.entries[0].snapshot if response.entries else None
                if found is None:
                    raise ReconcileError(f"can not find snapshot for snapshotID {handle}")
            except (CsiError, ReconcileError) as problem:
                text = f"failed to list snapshot for content {name}: {quoted(problem)}"
                return (yield from self._fail(content, CHECK_FAILED, text))
            cut = self._cut(found, handle=handle)
        yield from self._record(content, cut)
        return DONE if cut.ready else Requeue()

    def _list_secret(self, content: VolumeSnapshotContent) -> Steps[dict[str, str]]:
        """The list secret of the content's class; without a snapshot only the content's name is known as a token. Raises ReconcileError."""
        name, class_name = meta(content).name or "", content.spec.volumeSnapshotClassName
        if class_name is None:
            return {}
        snapshot_class = self._class_of(content)
        if snapshot_class is None:
            missing = f"volumesnapshotclass.snapshot.storage.k8s.io {quoted(class_name)} not found"
            cause = f"failed to retrieve snapshot class {class_name} from the informer: {quoted(missing)}"
            raise ReconcileError(f"failed to get snapshot class {class_name} for snapshot content {name}: {cause}")
        tokens = {"volumesnapshotcontent.name": name}
        try:
            reference = secret_reference((LIST_SECRET,), snapshot_class.parameters or {}, name_tokens=tokens, namespace_tokens=tokens)
        except ReconcileError as problem:
            raise ReconcileError(f"failed to get secret reference for snapshot content {name}: {problem}") from None
        try:
            return (yield from read_credentials(reference))
        except ReconcileError as problem:
            raise ReconcileError(f"failed to get credentials for snapshot content {name}: {problem}") from None

    # deletion

    def _delete(self, content: VolumeSnapshotContent) -> Steps[None]:
        """P1. The handle stays in the status until the driver has deleted, the finalizer until the status is cleared."""
        handle = (content.status.snapshotHandle if content.status else None) or ""
        try:
            secrets = yield from self._deletion_secret(content)
        except ReconcileError:
            yield Emit(content, "Warning", "SnapshotDeleteError", "Failed to get snapshot credentials")
            raise
        try:
            yield self._call("DeleteSnapshot", DeleteSnapshotRequest(snapshot_id=handle, secrets=secrets))
        except CsiError:
            yield Emit(content, "Warning", "SnapshotDeleteError", "Failed to delete snapshot")
            raise

        def clear(current: VolumeSnapshotContent) -> Intent | None:
            status = cleared_status(current.status)
            return None if status == current.status else Update(replace(current, status=status), subresource="status")

        try:
            fresh: VolumeSnapshotContent = yield read_of(content)
            content = yield from amend(fresh, clear)
        except NotFoundError:
            return
        except ApiError:
            yield Emit(content, "Warning", "SnapshotDeleteError", "Failed to clear content status")
            raise
        self._view.put(content)
        yield from self._release(content)

    def _release(self, content: VolumeSnapshotContent) -> Steps[None]:
        try:
            self._view.put((yield from amend(content, _without_finalizer)))
        except NotFoundError:
            return


def _marked_being_created(content: VolumeSnapshotContent) -> Intent | None:
    if may_delete(content):
        raise ReconcileError(f"content {meta(content).name} is being deleted, nothing is created for it")
    if BEING_CREATED in annotations_of(content):
        return None
    return patch_of(content, {"metadata": {"annotations": {BEING_CREATED: YES}}})


def _unmarked_being_created(content: VolumeSnapshotContent) -> Intent | None:
    if BEING_CREATED not in annotations_of(content):
        return None
    return patch_of(content, {"metadata": {"annotations": {BEING_CREATED: None}}})


def _without_finalizer(content: VolumeSnapshotContent) -> Intent | None:
    held = finalizers_of(content)
    if CONTENT_FINALIZER not in held:
        return None
    return patch_of(content, {"metadata": {"finalizers": [name for name in held if name != CONTENT_FINALIZER] or None}})


def _essence(content: VolumeSnapshotContent) -> Any:
    """A content without what the two controllers write while they work: status, finalizers, being-created."""
    annotations = {key: value for key, value in annotations_of(content).items() if key != BEING_CREATED}
    metadata = replace(meta(content), resourceVersion=None, managedFields=None, finalizers=None, annotations=annotations or None)
    return replace(content, metadata=metadata, status=None)


def _is_news(old: VolumeSnapshotContent, new: VolumeSnapshotContent) -> bool:
    """Whether a change of a content is worth a pass.

    RULE: besides upstream's cases, the appearance of the finalizer that CreateSnapshot waits for.
    """
    if version_of(old) == version_of(new) or _essence(old) != _essence(new):
        return True
    became_ready = not (old.status and old.status.readyToUse) and bool(new.status and new.status.readyToUse)
    became_guarded = CONTENT_FINALIZER not in finalizers_of(old) and CONTENT_FINALIZER in finalizers_of(new)
    return became_ready or became_guarded
