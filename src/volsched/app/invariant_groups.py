"""Group snapshots: what of them must hold at every step and at rest.

A group is to its content and its backend group what a snapshot is to its own; members are ordinary snapshots that live and die with it in
the backend. Source: spec/snapshots.md 2.7, 4.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Final

from volsched.api.edit import annotations_of, is_deleting, uid_of
from volsched.api.kinds import meta
from volsched.api.snapshot import VolumeGroupSnapshot, VolumeGroupSnapshotContent, VolumeSnapshot, VolumeSnapshotContent
from volsched.app.cluster import Cluster
from volsched.app.invariant_facts import Backed, Facts, Owner, Owners, named
from volsched.controllers.snapshot_group_names import (
    GROUP_BEING_CREATED,
    GROUP_BEING_DELETED,
    GROUP_CONTENT_FINALIZER,
    bound_group_content,
    group_content_name,
    is_member,
    may_delete_group,
    member_names,
    names_group,
)
from volsched.controllers.snapshot_names import DELETE, group_owners, snapshot_name
from volsched.csi.backend import FakeDriver

GROUP_CONTENT: Final = "VolumeGroupSnapshotContent"


def group_handle(content: VolumeGroupSnapshotContent) -> str:
    """The backend group a content stands for; empty before there is one."""
    source = content.spec.source.groupSnapshotHandles
    found = content.status.volumeGroupSnapshotHandle if content.status else None
    return found or (source.volumeGroupSnapshotHandle if source else "")


def group_of_member(facts: Facts, content: VolumeSnapshotContent) -> str:
    """The group handle of a member's content that the backend has no group for any more: its snapshots went with the group."""
    handle = (content.status.volumeGroupSnapshotHandle if content.status else None) or ""
    fake = facts.drivers.get(content.spec.driver)
    return handle if fake is not None and all(group.group_snapshot_id != handle for group in fake.groups()) else ""


# at every step


def group_names(name: str, fake: FakeDriver) -> Iterator[tuple[str, str]]:
    """I1 for groups; members have no name of their own."""
    for twice, count in Counter(group.name for group in fake.groups()).items():
        if count > 1:
            yield "one-per-name", f"driver {name} has {count} group snapshots named {twice}"


def forbidden_group_deletion(cluster: Cluster, driver: str, handle: str) -> str:
    """Why DeleteVolumeGroupSnapshot is wrong now; empty when some content asks for it (I7)."""
    found = [
        (named(content), _keeps_group(content))
        for content in cluster.store.list(GROUP_CONTENT).items
        if content.spec.driver == driver and group_handle(content) == handle
    ]
    if not all(reason for _, reason in found):
        return ""
    return ", ".join(f"{name} {reason}" for name, reason in found) or "no content has that handle"


def _keeps_group(content: VolumeGroupSnapshotContent) -> str:
    if not is_deleting(content):
        return "is not being deleted"
    if content.spec.deletionPolicy != DELETE:
        return f"has policy {content.spec.deletionPolicy}"
    return "has a creation under way" if GROUP_BEING_CREATED in annotations_of(content) else ""


def group_owner(content: VolumeGroupSnapshotContent) -> Owner:
    return Owner(named(content), content.spec.deletionPolicy, content.spec.source.groupSnapshotHandles is not None)


# at rest


def group_deletion_waits(facts: Facts, group: VolumeGroupSnapshot) -> str:
    """What the deletion of a group waits for: a restore from a member, or its content; empty when nothing."""
    content = facts.group_contents.get(bound_group_content(group)) or facts.group_contents.get(group_content_name(group))
    if content is not None and not names_group(content, group):
        content = None
    handles = (content.spec.source.volumeHandles or ()) if content is not None else ()
    fixed = {member_names(uid_of(group), handle)[0] for handle in handles}
    restore = _member_restored(facts, group, lambda member: is_member(member, group, fixed_names=fixed))
    if restore or content is None or content.spec.deletionPolicy != DELETE:
        return restore
    return group_content_waits(facts, content)


def group_content_waits(facts: Facts, content: VolumeGroupSnapshotContent) -> str:
    """What the deletion of a group content waits for; empty when nothing."""
    driver, reference = content.spec.driver, content.spec.volumeGroupSnapshotRef
    if not facts.runs(driver):
        return f"driver {driver} is not running"
    if not may_delete_group(content):
        group = facts.groups.get((reference.namespace or "", reference.name or ""))
        if group is not None and uid_of(group) == reference.uid and not is_deleting(group):
            return f"{named(group)} is not being deleted"
        if GROUP_BEING_CREATED in annotations_of(content):
            class_name = content.spec.volumeGroupSnapshotClassName
            if class_name and class_name not in facts.group_classes:
                return f"CreateVolumeGroupSnapshot has to be repeated until it answers, and class {class_name} is missing"
            name = snapshot_name("groupsnapshot", reference.uid or "", uid_length=-1)
            return facts.failing(driver, "CreateVolumeGroupSnapshot", name)
        if group is not None and uid_of(group) == reference.uid:
            owned = _member_restored(facts, group, lambda member: any(owner.uid == reference.uid for owner in group_owners(member)))
            if owned:
                return owned
        if group is None and GROUP_BEING_DELETED not in annotations_of(content):
            return "its VolumeGroupSnapshot went without having been deleted in order"
        return ""
    handle = content.status.volumeGroupSnapshotHandle if content.status else None
    if content.spec.deletionPolicy != DELETE or not handle:
        return ""
    return facts.failing(driver, "DeleteVolumeGroupSnapshot", handle)


def _member_restored(facts: Facts, group: VolumeGroupSnapshot, is_of_group: Callable[[VolumeSnapshot], bool]) -> str:
    """The restore from a member that keeps a group; empty when there is none."""
    for member in facts.snapshots.values():
        if meta(member).namespace == meta(group).namespace and is_of_group(member):
            restores = [named(claim) for claim in facts.pending_restores(member) if meta(claim).namespace == meta(member).namespace]
            if restores:
                return f"{', '.join(restores)} is restored from its {named(member)}"
    return ""


def group_that_keeps(facts: Facts, snapshot: VolumeSnapshot) -> str:
    """The group whose existence keeps a member from being deleted alone (X2); empty when there is none."""
    namespace = meta(snapshot).namespace or ""
    names = [owner.name for owner in group_owners(snapshot)]
    if snapshot.status is not None and snapshot.status.volumeGroupSnapshotName:
        names.append(snapshot.status.volumeGroupSnapshotName)
    return next((named(group) for name in names if (group := facts.groups.get((namespace, name))) is not None), "")


def backend_groups(facts: Facts, fake: FakeDriver, owners: dict[Backed, Owners], removed: dict[str, Owner]) -> Iterator[tuple[str, str]]:
    """I2 for groups. `owners`: every content that ever stood for one; `removed`: contents that are gone, by name."""
    contents = [content for content in facts.group_contents.values() if content.spec.driver == fake.name]
    handles = {group_handle(content) for content in contents}
    under_way = {snapshot_name("groupsnapshot", item.spec.volumeGroupSnapshotRef.uid or "", uid_length=-1) for item in contents}
    for group in fake.groups():
        if group.group_snapshot_id in handles or group.name in under_way:
            continue
        known = owners.get(Backed(fake.name, group.group_snapshot_id))
        if known is None and facts.said_none(fake.name, "CreateVolumeGroupSnapshot", group.name):
            continue
        gone = removed.get("groupsnapcontent-" + group.name.removeprefix("groupsnapshot-"))
        if not (known.excuse() if known is not None else gone.excuse() if gone is not None else ""):
            where = f"group snapshot {group.group_snapshot_id} ({group.name}) of driver {fake.name}"
            yield "snapshot-owner", f"{where} has no VolumeGroupSnapshotContent"


def group_objects(facts: Facts) -> Iterator[tuple[str, str]]:
    """Contents that lack their finalizer, and groups that wait without a word."""
    for content in facts.group_contents.values():
        bound = bool(content.spec.volumeGroupSnapshotRef.uid and group_handle(content))
        if bound and not is_deleting(content) and GROUP_CONTENT_FINALIZER not in (meta(content).finalizers or ()):
            yield "finalizer", f"{named(content)} is bound, has handle {group_handle(content)} and lacks its finalizer"
    for group in facts.groups.values():
        held = facts.group_contents.get(bound_group_content(group)) or facts.group_contents.get(group_content_name(group))
        told = [status for status in (group.status, held.status if held else None) if status and (status.error or status.readyToUse)]
        absent = held is not None and not facts.runs(held.spec.driver)
        if not told and not absent and not is_deleting(group):
            yield "silence", f"{named(group)} is not ready and no error says why"
