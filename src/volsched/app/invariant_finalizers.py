"""Why a finalizer is still on an object: for each one the reason that keeps it, or none.

A finalizer whose reason has ended is a bug of whoever should have taken it off; an object that is being deleted and is held by reasons only
waits. Every answer names what it waits for. Source: spec/snapshots.md 1.4, 2.3, 2.5, 3.4; spec/volumes.md 2, 3.8.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from lightkube.models.core_v1 import PersistentVolume, PersistentVolumeClaim
from lightkube.models.storage_v1 import VolumeAttachment

from volsched.api.edit import annotations_of, finalizers_of, is_deleting, uid_of
from volsched.api.kinds import meta
from volsched.api.snapshot import VolumeSnapshot, VolumeSnapshotContent
from volsched.app.invariant_facts import (
    MAY_STILL_WORK,
    Facts,
    backing_of,
    clone_source,
    content_handle,
    named,
    phase_of,
    policy_of,
)
from volsched.app.invariant_groups import group_content_waits, group_deletion_waits, group_that_keeps
from volsched.controllers.attacher import attacher_finalizer
from volsched.controllers.claim_users import blocks_claim_deletion
from volsched.controllers.protection import PV_PROTECTION, PVC_PROTECTION, VAC_PROTECTION
from volsched.controllers.provisioner_options import CLONE_FINALIZER, PV_FINALIZER
from volsched.controllers.snapshot_group_names import GROUP_BOUND_FINALIZER, GROUP_CONTENT_FINALIZER
from volsched.controllers.snapshot_names import (
    BEING_CREATED,
    BEING_DELETED,
    BOUND_FINALIZER,
    CLAIM_FINALIZER,
    CONTENT_FINALIZER,
    IN_GROUP_FINALIZER,
    RESTORE_FINALIZER,
    SOURCE_FINALIZER,
    bound_content_name,
    content_name,
    is_ready,
    may_delete,
    snapshot_name,
    source_claim,
)
from volsched.rules.volumes import ANN_MIGRATED_TO, ANN_PROVISIONED_BY


def finalizer_violations(facts: Facts) -> Iterator[tuple[str, str]]:
    """Finalizers without a reason, and deletions nobody holds up."""
    objects: list[Any] = [*facts.claims.values(), *facts.volumes.values(), *facts.snapshots.values(), *facts.contents.values()]
    objects += [*facts.attachments, *facts.groups.values(), *facts.group_contents.values()]
    for obj in objects:
        held = finalizers_of(obj)
        for finalizer in held:
            why = reason_for(facts, obj, finalizer)
            if why == "":
                state = "is being deleted and " if is_deleting(obj) else ""
                yield "finalizer", f"{named(obj)} {state}still has finalizer {finalizer}, whose reason has ended"
        if is_deleting(obj) and not held:
            yield "deletion", f"{named(obj)} is being deleted, has no finalizer and is still there"
    for pv in facts.volumes.values():
        backing = backing_of(pv)
        guarded = policy_of(pv) == "Delete" and phase_of(pv) == "Bound" and not is_deleting(pv)
        if guarded and backing is not None and facts.runs(backing.driver) and PV_FINALIZER not in finalizers_of(pv):
            yield "finalizer", f"{named(pv)} is Bound, has policy Delete and lacks {PV_FINALIZER}"
    for content in facts.contents.values():
        bound = bool(content.spec.volumeSnapshotRef.uid and content_handle(content))
        if bound and not is_deleting(content) and CONTENT_FINALIZER not in finalizers_of(content):
            yield "finalizer", f"{named(content)} is bound, has handle {content_handle(content)} and lacks its finalizer"


def reason_for(facts: Facts, obj: Any, finalizer: str) -> str | None:
    """What a finalizer waits for; empty when its reason has ended, None for a finalizer nobody here knows."""
    find = _REASONS.get(finalizer)
    if find is not None:
        return find(facts, obj)
    if finalizer.startswith("external-attacher/"):
        return _attached(facts, obj, finalizer)
    return None


def _alive(facts: Facts, obj: Any) -> str:
    return "" if is_deleting(obj) else "the object is not being deleted"


# claims


def _claim_used(facts: Facts, claim: PersistentVolumeClaim) -> str:
    users = [named(pod) for pod in facts.pods if blocks_claim_deletion(pod, claim) and meta(pod).namespace == meta(claim).namespace]
    return _alive(facts, claim) or (f"used by {', '.join(users)}" if users else "")


def _claim_being_cut(facts: Facts, claim: PersistentVolumeClaim) -> str:
    key = (meta(claim).namespace, meta(claim).name)
    for snapshot in facts.snapshots.values():
        if (meta(snapshot).namespace, source_claim(snapshot)) != key:
            continue
        if not is_ready(snapshot):
            return f"{named(snapshot)} is not ready"
        class_name = snapshot.spec.volumeSnapshotClassName
        if class_name and class_name not in facts.snapshot_classes:
            # a ready snapshot without its class is not looked at any more; spec/snapshots.md 6, trap 7
            return f"{named(snapshot)} has lost its class {class_name}"
    return ""


def _claim_being_cloned(facts: Facts, claim: PersistentVolumeClaim) -> str:
    key = (meta(claim).namespace, meta(claim).name)
    clones = [named(other) for other in facts.claims.values() if phase_of(other) == "Pending" and clone_source(other) == key]
    return _alive(facts, claim) or (f"{', '.join(clones)} not made yet" if clones else "")


# volumes


def _volume_bound(facts: Facts, pv: PersistentVolume) -> str:
    return _alive(facts, pv) or ("it is Bound" if phase_of(pv) == "Bound" else "")


def _volume_to_delete(facts: Facts, pv: PersistentVolume) -> str:
    if policy_of(pv) != "Delete":
        return ""
    if phase_of(pv) != "Released":
        # Upstream keeps it: a volume that is Available or Failed is not deleted at the driver.
        return f"it is {phase_of(pv) or 'without a phase'}, not Released"
    return undeletable(facts, pv)


def undeletable(facts: Facts, pv: PersistentVolume) -> str:
    """Why a released volume with policy Delete cannot be deleted; empty when it can."""
    backing = backing_of(pv)
    annotations = annotations_of(pv)
    provisioner = annotations.get(ANN_MIGRATED_TO) or annotations.get(ANN_PROVISIONED_BY) or (backing.driver if backing else "")
    if backing is None or not facts.runs(provisioner):
        return f"its provisioner {provisioner or '(none)'} is no running driver"
    attached = [item.spec.nodeName for item in facts.attachments if item.spec.source.persistentVolumeName == meta(pv).name]
    if attached:
        return f"it is attached to {', '.join(attached)}"
    return facts.failing(backing.driver, "DeleteVolume", backing.handle)


def _attached(facts: Facts, obj: Any, finalizer: str) -> str:
    if isinstance(obj, VolumeAttachment):
        return _alive(facts, obj) or _detaching(facts, obj)
    attached = [
        named(item)
        for item in facts.attachments
        if item.spec.source.persistentVolumeName == meta(obj).name and attacher_finalizer(item.spec.attacher) == finalizer
    ]
    return _alive(facts, obj) or (f"{', '.join(attached)} exists" if attached else "")


def _detaching(facts: Facts, attachment: VolumeAttachment) -> str:
    pv = facts.volumes.get(attachment.spec.source.persistentVolumeName or "")
    backing = backing_of(pv) if pv is not None else None
    if backing is None:
        return "its PersistentVolume is gone"
    return facts.failing(attachment.spec.attacher, "ControllerUnpublishVolume", backing.handle)


# snapshots and contents


def _snapshot_held(facts: Facts, snapshot: VolumeSnapshot) -> str:
    return _alive(facts, snapshot) or snapshot_deletion_waits(facts, snapshot)


def snapshot_deletion_waits(facts: Facts, snapshot: VolumeSnapshot) -> str:
    """What the deletion of a snapshot waits for: a restore (X1), its group (X2), or its content."""
    group = group_that_keeps(facts, snapshot)
    if group:
        return f"it belongs to {group}"
    content = facts.contents.get(bound_content_name(snapshot)) or facts.contents.get(content_name(snapshot))
    if content is None or content.spec.volumeSnapshotRef.uid != uid_of(snapshot):
        return ""
    restores = [named(claim) for claim in facts.pending_restores(snapshot) if meta(claim).namespace == meta(snapshot).namespace]
    if restores:
        return f"{', '.join(restores)} is restored from it"
    if content.spec.deletionPolicy != "Delete":
        return ""
    return _content_held_back(facts, content)


def _restoring(facts: Facts, snapshot: VolumeSnapshot) -> str:
    pending = [named(claim) for claim in facts.pending_restores(snapshot)]
    if pending:
        return f"{', '.join(pending)} is restored from it"
    # a claim that is gone is still provisioned until the driver has answered finally; the content may be gone by then
    content = facts.contents.get(bound_content_name(snapshot))
    handle = content_handle(content) if content is not None else None
    for call in facts.cluster.csi_calls:
        source = call.request.get("volumeContentSource", {}).get("snapshot", {}).get("snapshotId")
        if source is None or (handle is not None and source != handle):
            continue
        name = str(call.request.get("name"))
        if facts.outcomes.get((call.driver, "CreateVolume", name)) in MAY_STILL_WORK:
            return facts.failing(call.driver, "CreateVolume", name)
    return ""


def _content_held(facts: Facts, content: VolumeSnapshotContent) -> str:
    return _alive(facts, content) or _content_held_back(facts, content)


def _content_held_back(facts: Facts, content: VolumeSnapshotContent) -> str:
    """What the deletion of a content waits for."""
    annotations = annotations_of(content)
    driver = content.spec.driver
    reference = content.spec.volumeSnapshotRef
    if not facts.runs(driver):
        return f"driver {driver} is not running"
    if not may_delete(content):
        snapshot = facts.snapshot_of(content)
        if snapshot is not None and not is_deleting(snapshot):
            return f"{named(snapshot)} is not being deleted"
        if BEING_CREATED in annotations:
            class_name = content.spec.volumeSnapshotClassName
            if class_name and class_name not in facts.snapshot_classes:
                return f"CreateSnapshot has to be repeated until it answers, and class {class_name} is missing"
            return facts.failing(driver, "CreateSnapshot", snapshot_name("snapshot", reference.uid or "", uid_length=-1))
        if snapshot is not None and facts.pending_restores(snapshot):
            return f"{named(snapshot)} is being restored"
        if snapshot is None and BEING_DELETED not in annotations:
            return "its VolumeSnapshot went without having been deleted in order"
        return ""
    handle = content.status.snapshotHandle if content.status else None
    if content.spec.deletionPolicy != "Delete" or not handle:
        return ""
    return facts.failing(driver, "DeleteSnapshot", handle)


_REASONS: Final[Mapping[str, Callable[[Facts, Any], str]]] = {
    PVC_PROTECTION: _claim_used,
    CLAIM_FINALIZER: _claim_being_cut,
    CLONE_FINALIZER: _claim_being_cloned,
    PV_PROTECTION: _volume_bound,
    PV_FINALIZER: _volume_to_delete,
    SOURCE_FINALIZER: _snapshot_held,
    BOUND_FINALIZER: _snapshot_held,
    IN_GROUP_FINALIZER: _snapshot_held,
    RESTORE_FINALIZER: _restoring,
    CONTENT_FINALIZER: _content_held,
    GROUP_BOUND_FINALIZER: lambda facts, group: _alive(facts, group) or group_deletion_waits(facts, group),
    GROUP_CONTENT_FINALIZER: lambda facts, content: _alive(facts, content) or group_content_waits(facts, content),
    VAC_PROTECTION: _alive,
}
