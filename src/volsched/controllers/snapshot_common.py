"""The common snapshot controller, one per cluster: binds VolumeSnapshots to VolumeSnapshotContents, never talks to a driver.

    snapshots queue: ENTRY (K) ─> S1 free the source claim ─> SYNC (S) ─> READY (R) | PREBOUND (U) | DYNAMIC (D) | DELETION (X)
    contents queue:  CONTENT (C) ─> finalizer | being-deleted mark | hand the snapshot over to the other queue

Which row applies is decided by `snapshot_tables`; this module carries rows out, `snapshot_deletion` the X steps. A pass is a generator
that may be dropped between any two of its writes: every row can be taken again from what the objects say.

Retries are counted by the queue. A pass that has just added the snapshot's finalizer leaves reporting an error to the pass that the
finalizer's own event starts: upstream's write of the status fails there too, on its stale resourceVersion, with an event on an empty
object; the RULE of spec/snapshots.md 1.6 drops that event and keeps the number of passes, so retry times equal the recorded ones.

Source: spec/snapshots.md 1.6, 2.1-2.4; external-snapshotter pkg/common-controller.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from lightkube.models.core_v1 import PersistentVolume, PersistentVolumeClaim
from lightkube.models.meta_v1 import ObjectMeta, OwnerReference

from volsched.api.edit import finalizers_of, is_deleting, replace, uid_of, version_of, with_finalizers, with_metadata
from volsched.api.kinds import meta
from volsched.api.snapshot import (
    GROUP_SNAPSHOT_V1,
    SNAPSHOT_V1,
    VolumeSnapshot,
    VolumeSnapshotContent,
    VolumeSnapshotContentSource,
    VolumeSnapshotContentSpec,
    VolumeSnapshotReference,
)
from volsched.api.watch import Change, WatchEvent
from volsched.cache.view import View
from volsched.controllers.csi_common import Handoff, amend, patch_of, quoted, secret_reference, time_of
from volsched.controllers.snapshot_claims import free_claim, free_source_claim, protect_claim
from volsched.controllers.snapshot_deletion import SnapshotDeletion, mark_being_deleted, read_or_none
from volsched.controllers.snapshot_names import (
    BOUND_FINALIZER,
    CLAIM_FINALIZER,
    CONTENT_FINALIZER,
    DELETE,
    DELETION_SECRET_NAME,
    DELETION_SECRET_NAMESPACE,
    MANAGED_BY,
    NOT_BOUND_YET_TEXT,
    SNAPSHOTTER_SECRET,
    SOURCE_FINALIZER,
    bound_content_name,
    content_name,
    is_default_class,
    reference_key,
    snapshot_key,
    source_claim,
)
from volsched.controllers.snapshot_status import copied_status, failed_snapshot_status
from volsched.controllers.snapshot_tables import (
    ContentRow,
    DynamicRow,
    EntryRow,
    PreboundRow,
    ReadyRow,
    SyncRow,
    content_row,
    dynamic_row,
    entry_row,
    prebound_row,
    ready_row,
    sync_row,
)
from volsched.errors import AlreadyExistsError, ApiError, NotFoundError, ReconcileError
from volsched.ports import DONE, Clock, Create, Done, Emit, Intent, ListAll, Patch, QueueSpec, Read, Requeue, Steps, Update, WorkItem
from volsched.rules.topology import pv_reachable
from volsched.rules.volumes import bound_to

SNAPSHOTS: Final = "snapshots"
CONTENTS: Final = "contents"
CLAIMS: Final = "claims"  # source claims with our finalizer
RESYNC_S: Final = 900.0
QUEUES: Final[Mapping[str, QueueSpec]] = {
    SNAPSHOTS: QueueSpec(workers=10, backoff_s=1.0, backoff_s_max=300.0),
    CONTENTS: QueueSpec(workers=10, backoff_s=1.0, backoff_s_max=300.0),
    CLAIMS: QueueSpec(workers=10, backoff_s=1.0, backoff_s_max=300.0),
}
NOT_BOUND_TO_CLAIM: Final = "claim in dataSource not bound or invalid"
CONTENT_MISSING: Final = "VolumeSnapshotContent is missing"


@dataclass(frozen=True, slots=True)
class SnapshotControllerOptions:
    """Flags of the common snapshot controller.

    enable_distributed_snapshotting: label each content with the node whose sidecar serves it.
    """

    enable_distributed_snapshotting: bool = False


class _Report:
    """How a row of one pass fails: error status and event, then the raised error. `silent`: leave the first two to the next pass."""

    def __init__(self, controller: SnapshotController, *, silent: bool) -> None:
        self._controller = controller
        self._silent = silent

    def fail(self, snapshot: VolumeSnapshot, reason: str, message: str, problem: str | None = None) -> Steps[None]:
        """Raises ReconcileError with `problem`, or with the message when that is the same."""
        if not self._silent:
            yield from self._controller.report(snapshot, reason, message, lower_ready=True)
        raise ReconcileError(problem or message)


class SnapshotController:
    """Decider: VolumeSnapshot and VolumeSnapshotContent objects, bound to each other and deleted in order."""

    def __init__(self, clock: Clock, *, options: SnapshotControllerOptions | None = None) -> None:
        self.name = "snapshot-controller"
        self.component = "snapshot-controller"
        self.kinds = frozenset(
            {
                "VolumeSnapshot",
                "VolumeSnapshotContent",
                "VolumeSnapshotClass",
                "PersistentVolumeClaim",
                "VolumeGroupSnapshot",
                "VolumeGroupSnapshotContent",
            }
        )
        self.queues = QUEUES
        self.resync_s: float | None = RESYNC_S
        self._clock = clock
        self._options = options or SnapshotControllerOptions()
        self._view = View(self.kinds)
        self._handoff = Handoff()
        # What a deleted object was when it was last seen, for the pass that notices its absence (rows K1 and C8).
        self._gone_snapshots: dict[WorkItem, VolumeSnapshot] = {}
        self._gone_contents: dict[WorkItem, str] = {}  # the snapshot each one referred to
        self._deletion = SnapshotDeletion(self._view)

    # the decider's shape

    def start(self) -> Steps[None]:
        yield from ()

    def observe(self, event: WatchEvent) -> Iterable[WorkItem]:
        self._view.observe(event)
        key = event.key
        # Claims, classes and group objects are looked up when a pass needs them; their appearance is noticed by retries alone. RULE: a
        # claim first seen with our finalizer may have got it from an earlier process, and none of its snapshots may be left.
        if key.kind == "VolumeSnapshot":
            item = WorkItem(SNAPSHOTS, f"{key.namespace}/{key.name}")
            if event.change is Change.DELETED:
                self._gone_snapshots[item] = event.object
            return [item]
        if key.kind == "VolumeSnapshotContent":
            item = WorkItem(CONTENTS, key.name)
            if event.change is Change.DELETED:
                self._gone_contents[item] = reference_key(event.object)
            return [item]
        if key.kind == "PersistentVolumeClaim" and event.change is Change.ADDED and CLAIM_FINALIZER in finalizers_of(event.object):
            return [WorkItem(CLAIMS, f"{key.namespace}/{key.name}")]
        return []

    def work(self, item: WorkItem) -> Steps[Done | Requeue]:
        if item.queue == SNAPSHOTS:
            yield from self._snapshot(item)
        elif item.queue == CONTENTS:
            yield from self._content(item)
        else:
            namespace, _, name = item.key.partition("/")
            yield from free_claim(self._view, namespace, name)
        return DONE

    def resync(self) -> Iterable[WorkItem]:
        snapshots = [WorkItem(SNAPSHOTS, snapshot_key(snapshot)) for snapshot in self._view.all("VolumeSnapshot")]
        contents = [WorkItem(CONTENTS, meta(content).name or "") for content in self._view.all("VolumeSnapshotContent")]
        held = [claim for claim in self._view.all("PersistentVolumeClaim") if CLAIM_FINALIZER in finalizers_of(claim)]
        return [*snapshots, *contents, *(WorkItem(CLAIMS, f"{meta(claim).namespace}/{meta(claim).name}") for claim in held)]

    def wake_at_ns(self) -> int | None:
        return self._clock.now_ns() if self._handoff else None

    def wake(self, now_ns: int) -> Iterable[WorkItem]:
        return self._handoff.take()

    # K and S

    def _snapshot(self, item: WorkItem) -> Steps[None]:
        namespace, _, name = item.key.partition("/")
        snapshot: VolumeSnapshot | None = self._view.get("VolumeSnapshot", namespace, name)
        class_name = snapshot.spec.volumeSnapshotClassName if snapshot else None
        row = entry_row(snapshot, class_known=self._class(class_name) is not None)
        if row is EntryRow.K1 or snapshot is None:
            yield from self._snapshot_gone(item)
            return
        self._gone_snapshots.pop(item, None)
        if row in (EntryRow.K2, EntryRow.K2_DELETING):
            problem = f"volumesnapshotclass.snapshot.storage.k8s.io {quoted(class_name)} not found"
            text = f"Failed to get snapshot class with error {problem}"
            snapshot = yield from self.report(snapshot, "GetSnapshotClassFailed", text, lower_ready=False)
            if row is EntryRow.K2:
                raise ReconcileError(problem)
        elif row is EntryRow.K4:
            snapshot = yield from self._set_default_class(snapshot)
        yield from self._sync(snapshot)

    def _snapshot_gone(self, item: WorkItem) -> Steps[None]:
        """K1. The source claim is looked at once more: of two un-ready snapshots of it that are deleted at one time, each has found the
        other in X5 and left the claim's finalizer to it. Upstream leaves it for ever; spec/snapshots.md 4, I5."""
        gone = self._gone_snapshots.get(item)
        if gone is None:
            return
        yield from free_source_claim(self._view, gone, ignore_itself=True)
        self._gone_snapshots.pop(item, None)
        if content := bound_content_name(gone):
            self._handoff.add(WorkItem(CONTENTS, content))

    def _sync(self, snapshot: VolumeSnapshot) -> Steps[None]:
        yield from self._free_claim_quietly(snapshot)  # S1
        as_read, finalizers_checked, finalizer_written = snapshot, False, False
        while True:
            row = sync_row(snapshot, finalizers_checked=finalizers_checked)
            if row is not SyncRow.S4:
                break
            snapshot = yield from self._add_finalizers(snapshot)
            finalizers_checked, finalizer_written = True, snapshot is not as_read
        report = _Report(self, silent=finalizer_written)
        if row is SyncRow.S2:
            yield from self._deletion.run(snapshot)
        elif row is SyncRow.S3:
            text = "Exactly one of PersistentVolumeClaimName and VolumeSnapshotContentName should be specified"
            yield from report.fail(snapshot, "SnapshotValidationError", text)
        elif row is SyncRow.S5:
            yield from self._ready(snapshot)
        elif row is SyncRow.S6:
            yield from self._prebound(snapshot, report)
        elif row is SyncRow.S7:
            yield from self._member(snapshot)
        else:
            yield from self._dynamic(snapshot, report, as_read=as_read)

    def _free_claim_quietly(self, snapshot: VolumeSnapshot) -> Steps[None]:
        try:
            yield from free_source_claim(self._view, snapshot, ignore_itself=False)
        except ApiError:
            yield Emit(snapshot, "Warning", "ErrorPVCFinalizer", "Error check and remove PVC Finalizer for VolumeSnapshot")

    def _add_finalizers(self, snapshot: VolumeSnapshot) -> Steps[VolumeSnapshot]:
        """S4. The content is checked first: a snapshot that names somebody else's content gets no finalizer."""
        try:
            content = yield from self._checked_content(snapshot)
            guard_content = content is not None and content.spec.deletionPolicy == DELETE and bool(bound_content_name(snapshot))
            wanted = (SOURCE_FINALIZER, BOUND_FINALIZER) if guard_content else (SOURCE_FINALIZER,)

            def change(current: VolumeSnapshot) -> Intent | None:
                held = finalizers_of(current)
                missing = [name for name in wanted if name not in held]
                if not missing or is_deleting(current):
                    return None
                if held:
                    return patch_of(current, {"metadata": {"finalizers": [*held, *missing]}})
                return Update(with_finalizers(current, add=missing))  # upstream too updates for the first one

            stored: VolumeSnapshot = yield from amend(snapshot, change)
        except (ApiError, ReconcileError) as problem:
            if not isinstance(problem, ReconcileError):
                problem = ReconcileError(f"snapshot controller failed to update {meta(snapshot).name} on API server: {problem}")
            text = f"Failed to check and update snapshot: {problem}"
            yield Emit(snapshot, "Warning", "SnapshotFinalizerError", text)
            raise problem from None
        self._view.put(stored)
        return stored if version_of(stored) != version_of(snapshot) else snapshot

    def _checked_content(self, snapshot: VolumeSnapshot) -> Steps[VolumeSnapshotContent | None]:
        """The content of a snapshot; None when it is missing, which is no failure here. Rows U2, U3, D1 and D2 report and raise."""
        report = _Report(self, silent=False)
        named = snapshot.spec.source.volumeSnapshotContentName
        content = self._content_named(named or content_name(snapshot))
        if named is not None:
            yield from self._refuse_prebound(snapshot, content, prebound_row(snapshot, content), report)
        else:
            yield from self._refuse_dynamic(snapshot, content, dynamic_row(snapshot, content), report)
        return content

    # R

    def _ready(self, snapshot: VolumeSnapshot) -> Steps[None]:
        name = bound_content_name(snapshot)
        content = self._content_named(name)
        row = ready_row(snapshot, content)
        if row is ReadyRow.R1:
            # What this row does cannot be undone, so a view that merely lags behind must not start it.
            content = yield from read_or_none("VolumeSnapshotContent", name)
            row = ready_row(snapshot, content)
        if row is ReadyRow.R1:
            yield from self.report(snapshot, "SnapshotContentMissing", CONTENT_MISSING, lower_ready=True)
        elif row is ReadyRow.R2:
            text = "VolumeSnapshotContent is not bound to the VolumeSnapshot correctly"
            yield from self.report(snapshot, "SnapshotMisbound", text, lower_ready=True)
        elif row is ReadyRow.R3:
            yield from self._own_by_group(snapshot)

    def _own_by_group(self, snapshot: VolumeSnapshot) -> Steps[None]:
        name = (snapshot.status.volumeGroupSnapshotName if snapshot.status else None) or ""
        group = self._view.get("VolumeGroupSnapshot", meta(snapshot).namespace or "", name)
        if group is None:
            raise ReconcileError(f"group snapshot {meta(snapshot).namespace}/{name} of snapshot {snapshot_key(snapshot)} is not there")
        owner = OwnerReference(apiVersion=GROUP_SNAPSHOT_V1, kind="VolumeGroupSnapshot", name=name, uid=uid_of(group))

        def change(current: VolumeSnapshot) -> Intent | None:
            owners = meta(current).ownerReferences or []
            return None if owner in owners else Update(with_metadata(current, ownerReferences=[*owners, owner]))

        self._view.put((yield from amend(snapshot, change)))

    # U

    def _prebound(self, snapshot: VolumeSnapshot, report: _Report) -> Steps[None]:
        content = self._content_named(snapshot.spec.source.volumeSnapshotContentName or "")
        row = prebound_row(snapshot, content)
        if row is PreboundRow.U1 or content is None:
            yield from report.fail(snapshot, "SnapshotContentMissing", CONTENT_MISSING)
            return
        yield from self._refuse_prebound(snapshot, content, row, report)
        if row is PreboundRow.U4:
            content = yield from self._bind_content(snapshot, content, report)
        try:
            yield from self._copy(snapshot, content)
        except NotFoundError:
            raise
        except (ApiError, ReconcileError) as problem:
            yield from report.fail(snapshot, "SnapshotStatusUpdateFailed", f"Snapshot status update failed, {problem}")

    def _refuse_prebound(
        self, snapshot: VolumeSnapshot, content: VolumeSnapshotContent | None, row: PreboundRow, report: _Report
    ) -> Steps[None]:
        if row is PreboundRow.U2 and content is not None:
            text = "VolumeSnapshotContent is dynamically provisioned while expecting a pre-provisioned one"
            expected = f"snapshot {snapshot_key(snapshot)} expects a pre-provisioned VolumeSnapshotContent {meta(content).name}"
            problem = f"{expected} but gets a dynamically provisioned one"
            yield from report.fail(snapshot, "SnapshotContentMismatch", text, problem)
        elif row is PreboundRow.U3 and content is not None:
            text = f"VolumeSnapshotContent [{meta(content).name}] is bound to a different snapshot"
            yield from report.fail(snapshot, "SnapshotContentMisbound", text)

    def _bind_content(self, snapshot: VolumeSnapshot, content: VolumeSnapshotContent, report: _Report) -> Steps[VolumeSnapshotContent]:
        """U4: uid and class in one write; the class is written again even if equal."""

        def change(current: VolumeSnapshotContent) -> Intent | None:
            row = prebound_row(snapshot, current)
            if row is PreboundRow.U5:
                return None
            if row is not PreboundRow.U4:
                name = meta(current).name
                raise ReconcileError(f"the VolumeSnapshotRef of content {name} does not match snapshot {snapshot_key(snapshot)}")
            spec: dict[str, Any] = {"volumeSnapshotRef": {"uid": uid_of(snapshot)}}
            if snapshot.spec.volumeSnapshotClassName is not None:
                spec["volumeSnapshotClassName"] = snapshot.spec.volumeSnapshotClassName
            return patch_of(current, {"spec": spec})

        try:
            bound: VolumeSnapshotContent = yield from amend(content, change)
        except (ApiError, ReconcileError) as problem:
            yield from report.fail(snapshot, "SnapshotBindFailed", f"Snapshot failed to bind VolumeSnapshotContent, {problem}")
            raise
        self._view.put(bound)
        return bound

    # D

    def _dynamic(self, snapshot: VolumeSnapshot, report: _Report, *, as_read: VolumeSnapshot) -> Steps[None]:
        content = self._content_named(content_name(snapshot))
        row = dynamic_row(snapshot, content)
        if row is DynamicRow.D6:
            try:
                content = yield from self._create_content(snapshot, as_read=as_read)
            except (ApiError, ReconcileError) as problem:
                text = f"Failed to create snapshot content with error {problem}"
                yield from report.fail(snapshot, "SnapshotContentCreationFailed", text)
                return
            row = dynamic_row(snapshot, content)
        if row is DynamicRow.D5:
            yield from report.fail(snapshot, "SnapshotPVCSourceMissing", f"PVC source for snapshot {snapshot_key(snapshot)} is missing")
        yield from self._refuse_dynamic(snapshot, content, row, report)
        if content is not None:
            yield from self._copy(snapshot, content)

    def _refuse_dynamic(
        self, snapshot: VolumeSnapshot, content: VolumeSnapshotContent | None, row: DynamicRow, report: _Report
    ) -> Steps[None]:
        name = content_name(snapshot)
        if row is DynamicRow.D1:
            text = f"VolumeSnapshotContent {name} is pre-provisioned while expecting a dynamically provisioned one"
            expected = f"snapshot {snapshot_key(snapshot)} expects a dynamically provisioned VolumeSnapshotContent {name}"
            problem = f"{expected} but gets a pre-provisioned one"
            yield from report.fail(snapshot, "SnapshotContentMismatch", text, problem)
        elif row is DynamicRow.D2:
            yield from report.fail(snapshot, "SnapshotContentMisbound", f"VolumeSnapshotContent [{name}] is bound to a different snapshot")
        elif row is DynamicRow.D3:
            text = f"Snapshot handle should not be set in content {snapshot_key(snapshot)} for dynamic provisioning"
            yield from report.fail(snapshot, "SnapshotHandleSet", text)

    def _create_content(self, snapshot: VolumeSnapshot, *, as_read: VolumeSnapshot) -> Steps[VolumeSnapshotContent]:
        """2.2.2: protect the claim, gather what the content needs, create it under its fixed name."""
        name = meta(snapshot).name
        yield from protect_claim(self._view, snapshot)
        class_name = snapshot.spec.volumeSnapshotClassName
        try:
            if class_name is None:
                raise ReconcileError(f"failed to take snapshot {name} without a snapshot class")
            snapshot_class = self._class(class_name)
            if snapshot_class is None:
                raise ReconcileError(f"volumesnapshotclass.snapshot.storage.k8s.io {quoted(class_name)} not found")
            volume = yield from self._source_volume(snapshot)
            tokens = {"volumesnapshotcontent.name": content_name(snapshot), "volumesnapshot.namespace": meta(snapshot).namespace or ""}
            secret = secret_reference(
                (SNAPSHOTTER_SECRET,),
                snapshot_class.parameters or {},
                name_tokens={**tokens, "volumesnapshot.name": name or ""},
                namespace_tokens=tokens,
            )
        except (ApiError, ReconcileError) as problem:
            raise ReconcileError(f"failed to get input parameters to create snapshot {name}: {quoted(problem)}") from None
        if volume.spec is None or volume.spec.csi is None:
            raise ReconcileError(f"cannot find CSI PersistentVolumeSource for volume {meta(volume).name}")
        annotations = None
        if secret is not None:
            annotations = {DELETION_SECRET_NAME: secret.name or "", DELETION_SECRET_NAMESPACE: secret.namespace or ""}
        content = VolumeSnapshotContent(
            apiVersion=SNAPSHOT_V1,
            kind="VolumeSnapshotContent",
            metadata=ObjectMeta(name=content_name(snapshot), annotations=annotations, labels=(yield from self._managed_by(volume))),
            spec=VolumeSnapshotContentSpec(
                deletionPolicy=snapshot_class.deletionPolicy,
                driver=snapshot_class.driver,  # not compared with the volume's: that driver's own answer is what the user sees
                source=VolumeSnapshotContentSource(volumeHandle=volume.spec.csi.volumeHandle),
                sourceVolumeMode=volume.spec.volumeMode,
                volumeSnapshotClassName=class_name,
                volumeSnapshotRef=VolumeSnapshotReference(
                    apiVersion=SNAPSHOT_V1,
                    kind="VolumeSnapshot",
                    name=name,
                    namespace=meta(snapshot).namespace,
                    uid=uid_of(snapshot),
                    resourceVersion=meta(as_read).resourceVersion,
                ),
            ),
        )
        try:
            stored: VolumeSnapshotContent = yield Create(content)
        except AlreadyExistsError:
            # The name is ours alone: an earlier attempt got through. What stands there is checked like any content.
            stored = yield Read("VolumeSnapshotContent", "", content_name(snapshot))
        except ApiError as problem:
            text = f"Error creating volume snapshot content object for snapshot {snapshot_key(snapshot)}: {problem}."
            yield Emit(snapshot, "Warning", "CreateSnapshotContentFailed", text)
            raise ReconcileError(f"snapshot controller failed to update {snapshot_key(snapshot)} on API server: {problem}") from None
        text = f"Waiting for a snapshot {snapshot_key(snapshot)} to be created by the CSI driver."
        yield Emit(snapshot, "Normal", "CreatingSnapshot", text)
        self._view.put(stored)
        return stored

    def _managed_by(self, volume: PersistentVolume) -> Steps[dict[str, str] | None]:
        """Label of the node whose sidecar serves the content: the first that the volume can be reached from. Raises ReconcileError."""
        if not self._options.enable_distributed_snapshotting:
            return None
        nodes = yield ListAll("Node")
        for node in nodes:
            if pv_reachable(volume, meta(node).labels):
                return {MANAGED_BY: meta(node).name or ""}
        raise ReconcileError(f"failed to find a node that volume {meta(volume).name} can be reached from")

    def _source_volume(self, snapshot: VolumeSnapshot) -> Steps[PersistentVolume]:
        """The volume behind the source claim, read live, bound both ways. Raises ReconcileError."""
        claim_name = source_claim(snapshot) or ""
        claim: PersistentVolumeClaim | None = self._view.get("PersistentVolumeClaim", meta(snapshot).namespace or "", claim_name)
        if claim is None or claim.spec is None:
            missing = f"persistentvolumeclaim {quoted(claim_name)} not found"
            raise ReconcileError(f"failed to retrieve PVC {claim_name} from the lister: {quoted(missing)}")
        if (claim.status.phase if claim.status else None) != "Bound":
            raise ReconcileError(NOT_BOUND_YET_TEXT.format(claim_name))
        volume_name = claim.spec.volumeName or ""
        try:
            volume: PersistentVolume = yield Read("PersistentVolume", "", volume_name)
        except ApiError as problem:
            raise ReconcileError(f"failed to retrieve PV {volume_name} from the API server: {quoted(problem)}") from None
        if not bound_to(volume, claim):
            raise ReconcileError(NOT_BOUND_TO_CLAIM)
        return volume

    def _set_default_class(self, snapshot: VolumeSnapshot) -> Steps[VolumeSnapshot]:
        """K4. RULE: a refused write ends the pass; upstream goes on with a class that was never stored."""
        try:
            volume = yield from self._source_volume(snapshot)
            if volume.spec is None or volume.spec.csi is None:
                raise ReconcileError(f"cannot find CSI PersistentVolumeSource for volume {meta(volume).name}")
            driver = volume.spec.csi.driver
            found = [item for item in self._view.all("VolumeSnapshotClass") if is_default_class(item) and item.driver == driver]
            if len(found) != 1:
                raise ReconcileError(f"{len(found)} default snapshot classes were found" if found else "cannot find default snapshot class")
            stored: VolumeSnapshot = yield patch_of(snapshot, {"spec": {"volumeSnapshotClassName": meta(found[0]).name}})
        except (ApiError, ReconcileError) as problem:
            text = f"Failed to set default snapshot class with error {problem}"
            yield from self.report(snapshot, "SetDefaultSnapshotClassFailed", text, lower_ready=False)
            raise
        self._view.put(stored)
        return stored

    # 2.2.1

    def _member(self, snapshot: VolumeSnapshot) -> Steps[None]:
        """S7: the group's own pass has bound the member already."""
        content = self._content_named(bound_content_name(snapshot))
        if content is None:
            raise ReconcileError(f"snapshot {snapshot_key(snapshot)} is a member of a group and not bound to a content yet")
        yield from self._copy(snapshot, content)

    def _copy(self, snapshot: VolumeSnapshot, content: VolumeSnapshotContent) -> Steps[None]:
        """Copy the content's status onto a fresh read of the snapshot. Events go out before the write, so a failing write repeats them."""
        current: VolumeSnapshot = yield Read("VolumeSnapshot", meta(snapshot).namespace or "", meta(snapshot).name or "")
        if uid_of(current) != uid_of(snapshot):
            raise NotFoundError(f"snapshot {snapshot_key(snapshot)} was replaced by another one")
        group_name = self._group_name(current, content)
        copied = copied_status(current, content, group_name=group_name)
        if copied.status == current.status:
            self._view.put(current)
            return
        key = snapshot_key(snapshot)
        if copied.created:
            yield Emit(current, "Normal", "SnapshotCreated", f"Snapshot {key} was successfully created by the CSI driver.")
        if copied.became_ready:
            yield Emit(current, "Normal", "SnapshotReady", f"Snapshot {key} is ready to use.")

        def change(fresh: VolumeSnapshot) -> Intent | None:
            status = copied_status(fresh, content, group_name=group_name).status
            return None if status == fresh.status else Update(replace(fresh, status=status), subresource="status")

        self._view.put((yield from amend(current, change)))

    def _group_name(self, snapshot: VolumeSnapshot, content: VolumeSnapshotContent) -> str | None:
        """The VolumeGroupSnapshot that the content's group handle leads to, looked up while the snapshot does not name it."""
        handle = content.status.volumeGroupSnapshotHandle if content.status else None
        if not handle or (snapshot.status and snapshot.status.volumeGroupSnapshotName):
            return None
        for group_content in self._view.all("VolumeGroupSnapshotContent"):
            if group_content.status and group_content.status.volumeGroupSnapshotHandle == handle:
                name: str | None = group_content.spec.volumeGroupSnapshotRef.name
                return name
        raise ReconcileError(f"no VolumeGroupSnapshotContent has the group handle {quoted(handle)} of content {meta(content).name}")

    # errors

    def report(self, snapshot: VolumeSnapshot, reason: str, message: str, *, lower_ready: bool) -> Steps[VolumeSnapshot]:
        """Write an error into the status and emit its event; neither when exactly this error is there already."""
        now, wrote = time_of(self._clock.now_ns()), False

        def change(current: VolumeSnapshot) -> Intent | None:
            nonlocal wrote
            status = failed_snapshot_status(current.status, message, now, lower_ready=lower_ready)
            wrote = status is not None
            return Update(replace(current, status=status), subresource="status") if wrote else None

        stored: VolumeSnapshot = yield from amend(snapshot, change)
        self._view.put(stored)
        if wrote:
            yield Emit(stored, "Warning", reason, message)
        return stored

    # C

    def _content(self, item: WorkItem) -> Steps[None]:
        content = self._content_named(item.key)
        snapshot = None
        if content is not None:
            reference = content.spec.volumeSnapshotRef
            snapshot = self._view.get("VolumeSnapshot", reference.namespace or "", reference.name or "")
        row = content_row(content, snapshot)
        if row is ContentRow.C8 or content is None:
            if key := self._gone_contents.pop(item, ""):
                self._handoff.add(WorkItem(SNAPSHOTS, key))
            return
        self._gone_contents.pop(item, None)
        if row is ContentRow.C1:
            text = "Exactly one of VolumeHandle and SnapshotHandle should be specified"
            yield Emit(content, "Warning", "ContentValidationError", text)
            raise ReconcileError(f"content {item.key}: {text}")
        if row is ContentRow.C3:
            self._view.put((yield from amend(content, self._with_finalizer)))
        if row in (ContentRow.C5, ContentRow.C5_C7):
            self._handoff.add(WorkItem(SNAPSHOTS, reference_key(content)))
        if row in (ContentRow.C7, ContentRow.C5_C7):
            self._view.put((yield from amend(content, mark_being_deleted)))

    @staticmethod
    def _with_finalizer(content: VolumeSnapshotContent) -> Patch | None:
        held = finalizers_of(content)
        if CONTENT_FINALIZER in held or is_deleting(content):
            return None
        return patch_of(content, {"metadata": {"finalizers": [*held, CONTENT_FINALIZER]}})

    # the view

    def _content_named(self, name: str) -> VolumeSnapshotContent | None:
        found: VolumeSnapshotContent | None = self._view.get("VolumeSnapshotContent", "", name)
        return found

    def _class(self, name: str | None) -> Any | None:
        return None if name is None else self._view.get("VolumeSnapshotClass", "", name)
