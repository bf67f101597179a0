"""The witness: sees what happens to a cluster and remembers what no later look could tell.

    store change ──> was anything changed that never may be?       what kept a handle, and how did that end?
    CSI call ──────> was this call allowed at this very moment?
    backend change > bytes at the cut, bytes of a new volume

A witness has to be there from the start, or from the moment a state file was opened. It only watches; what it finds wrong waits until
`take`. What it remembers of policies and removals by hand explains later why something is left in a backend (rules of invariants at rest).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from lightkube.models.core_v1 import PersistentVolume, PersistentVolumeClaim, Pod

from volsched.api.edit import finalizers_of, is_deleting, uid_of
from volsched.api.kinds import meta
from volsched.api.snapshot import VolumeGroupSnapshotContent, VolumeSnapshot, VolumeSnapshotContent
from volsched.api.watch import Change, WatchEvent
from volsched.app.cluster import USER, Cluster
from volsched.app.invariant_capacity import CapacityWatch
from volsched.app.invariant_facts import (
    Backed,
    Facts,
    Owner,
    Owners,
    Violation,
    backing_of,
    content_handle,
    has_annotation,
    holds,
    named,
    node_of,
    phase_of,
    policy_of,
)
from volsched.app.invariant_groups import forbidden_group_deletion, group_handle, group_owner
from volsched.app.runner import CsiCallRecord
from volsched.controllers.protection import PVC_PROTECTION
from volsched.controllers.provisioner_options import PV_FINALIZER
from volsched.controllers.snapshot_names import BEING_CREATED, CONTENT_FINALIZER, DELETE, GROUP_MEMBER
from volsched.csi.backend import FakeDriver
from volsched.csi.state import SnapshotRecord, VolumeRecord
from volsched.rules.volumes import claim_names

_KINDS: Final = (
    "PersistentVolume",
    "PersistentVolumeClaim",
    "Pod",
    "VolumeSnapshot",
    "VolumeSnapshotContent",
    "VolumeGroupSnapshotContent",
)


class Witness:
    """See the module. Everything of a cluster that has happened before it came is taken as it is."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._found: list[Violation] = []
        self._last: dict[str, Any] = {}  # uid -> object as last seen
        self._snapshot_owners: dict[Backed, Owners] = {}
        self._volume_owners: dict[Backed, Owners] = {}
        self.group_owners: dict[Backed, Owners] = {}
        self.removed_contents: dict[str, Owner] = {}  # by name, of groups too
        self._deleted_by_hand: set[str] = set()  # uids of objects whose deletion the user asked for
        self._cuts: dict[Backed, str] = {}  # digest of the source at the cut
        self._made: set[Backed] = set()
        self._creators: dict[tuple[str, str], int] = {}  # driver, volume name -> the life of the provisioner that asked for it last
        self._looked_at: dict[str, tuple[FakeDriver, int]] = {}  # what of each driver was looked at
        self.placed_for: dict[str, frozenset[str]] = {}  # uid of a bound pod -> uids of the claims it was given its node for
        self._watch_call: dict[str, Callable[[CsiCallRecord, FakeDriver], None]] = {
            "CreateVolume": self._creates_volume,
            "DeleteSnapshot": self._deletes_snapshot,
            "DeleteVolume": self._deletes_volume,
            "DeleteVolumeGroupSnapshot": self._deletes_group,
        }
        for kind in _KINDS:
            for obj in cluster.store.list(kind).items:
                self._take_in(obj)
        self._capacity = CapacityWatch(cluster, self._report) if cluster.exact_capacity else None
        cluster.store.subscribe(self._on_change)
        cluster.runner.watch_calls(self._on_call)

    def take(self) -> list[Violation]:
        """What was seen to go wrong since the last time."""
        self._look()
        found, self._found = self._found, []
        return found

    # what it remembers

    def snapshot_excuse(self, backed: Backed, content_name: str) -> str:
        """Why a backend snapshot may exist without a content; empty when nothing explains it."""
        owners = self._snapshot_owners.get(backed)
        if owners is not None and owners.by_uid:
            return owners.excuse()
        removed = self.removed_contents.get(content_name)
        return removed.excuse() if removed is not None else ""

    def had_handle(self, backed: Backed) -> bool:
        """Whether a content has ever stood for a backend snapshot."""
        return backed in self._snapshot_owners

    def had_volume(self, backed: Backed) -> bool:
        """Whether a PersistentVolume has ever stood for a backend volume."""
        return backed in self._volume_owners

    def volume_excuse(self, backed: Backed) -> str:
        """Why a backend volume may exist without a PersistentVolume; empty when nothing explains it."""
        owners = self._volume_owners.get(backed)
        return owners.excuse() if owners is not None else ""

    def provisioner_forgot(self, driver: str, name: str) -> bool:
        """Whether the provisioner that asked last for a volume has died since: it alone knew of a volume whose claim is gone."""
        life = self._creators.get((driver, name))
        return life is not None and life != self._cluster.runner.lives[f"Provisioner {driver}"]

    def snapshot_is_shared(self, backed: Backed) -> bool:
        """Whether several contents have ever stood for one backend snapshot: then one of them may have deleted it."""
        owners = self._snapshot_owners.get(backed)
        return owners is not None and len(owners.by_uid) > 1

    def digest_at_cut(self, backed: Backed) -> str | None:
        """Digest of the source volume when a snapshot was cut; None when that was not seen."""
        return self._cuts.get(backed)

    # objects

    def _on_change(self, event: WatchEvent) -> None:
        obj = event.object
        old = self._last.get(uid_of(obj))
        if self._capacity is not None:
            self._capacity.on_change(event, old, by_hand=self._writer(event) == USER)
        if event.kind not in _KINDS:
            return
        if event.change is Change.DELETED:
            self._last.pop(uid_of(obj), None)
            by_hand = self._writer(event) == USER
            if not by_hand:
                self._check_unused(old, obj)
            self._gone(obj, by_hand=by_hand)
            return
        self._take_in(obj)
        by_hand = self._writer(event) == USER
        if by_hand and is_deleting(obj) and not (old is not None and is_deleting(old)):
            self._deleted_by_hand.add(uid_of(obj))
        if old is None or by_hand:
            return  # the user may write anything
        if isinstance(obj, PersistentVolumeClaim):
            self._check_unused(old, obj)
        elif isinstance(obj, PersistentVolume):
            self._compare_volumes(old, obj)
        elif isinstance(obj, VolumeSnapshot):
            self._compare_snapshots(old, obj)
        elif isinstance(obj, VolumeSnapshotContent):
            self._compare_contents(old, obj)

    def _writer(self, event: WatchEvent) -> str:
        """Who made a change, as the run log says; empty when that is not known."""
        # sequence, time, `write`, user, verb, key, resourceVersion, checksum
        words = self._cluster.store.log.last.split(" ")
        known = len(words) > 6 and words[2] == "write" and words[-2] == str(event.resource_version)
        return words[3] if known else ""

    def _take_in(self, obj: Any) -> None:
        old = self._last.get(uid_of(obj))
        self._last[uid_of(obj)] = obj
        if isinstance(obj, Pod):
            self._take_in_pod(old, obj)
        elif isinstance(obj, PersistentVolume):
            backing = backing_of(obj)
            if backing is not None:
                owner = self._volume_owners.setdefault(backing, Owners()).by_uid.setdefault(uid_of(obj), Owner(named(obj), "", False))
                owner.policy = policy_of(obj)
                starts = old is None or not is_deleting(old)
                # a policy changed on a volume that is being deleted takes the guard off, and none puts it back; spec/volumes.md 2
                if is_deleting(obj) and PV_FINALIZER not in finalizers_of(obj) and (starts or owner.policy != DELETE):
                    owner.unguarded = True
        elif isinstance(obj, VolumeSnapshotContent) and content_handle(obj):
            backed = Backed(obj.spec.driver, content_handle(obj))
            owners = self._snapshot_owners.setdefault(backed, Owners()).by_uid
            owners[uid_of(obj)] = self._content_owner(obj)
        elif isinstance(obj, VolumeGroupSnapshotContent) and group_handle(obj):
            backed = Backed(obj.spec.driver, group_handle(obj))
            self.group_owners.setdefault(backed, Owners()).by_uid[uid_of(obj)] = group_owner(obj)

    def _take_in_pod(self, old: Pod | None, pod: Pod) -> None:
        """A pod is promised a node first where its volumes have to be waited for: only claims that are there both times count."""
        promised = bool(pod.status and pod.status.nominatedNodeName) and not (old and old.status and old.status.nominatedNodeName)
        bound = bool(node_of(pod)) and not (old and node_of(old))
        if not promised and not bound:
            return
        claims = Facts(self._cluster).claims
        names = {(meta(pod).namespace or "", name) for _, name, _ in claim_names(pod)}
        present = frozenset(uid_of(claims[key]) for key in names if key in claims)
        earlier = self.placed_for.get(uid_of(pod))
        self.placed_for[uid_of(pod)] = present & earlier if bound and earlier is not None else present

    @staticmethod
    def _content_owner(content: VolumeSnapshotContent) -> Owner:
        return Owner(named(content), content.spec.deletionPolicy, content.spec.source.snapshotHandle is not None)

    def _gone(self, obj: Any, *, by_hand: bool) -> None:
        uid = uid_of(obj)
        self.placed_for.pop(uid, None)
        self._deleted_by_hand.discard(uid)
        if isinstance(obj, VolumeSnapshot | Pod | PersistentVolumeClaim):
            return
        for owners in (*self._volume_owners.values(), *self._snapshot_owners.values(), *self.group_owners.values()):
            owner = owners.by_uid.get(uid)
            if owner is not None:
                owner.gone, owner.by_hand = True, by_hand
        if isinstance(obj, VolumeSnapshotContent | VolumeGroupSnapshotContent):
            owner = self._content_owner(obj) if isinstance(obj, VolumeSnapshotContent) else group_owner(obj)
            owner.gone, owner.by_hand = True, by_hand
            self.removed_contents[meta(obj).name or ""] = owner

    def _check_unused(self, old: Any | None, obj: Any) -> None:
        """An object has been let go by the controllers, gone or a claim that lost its protection: nobody may need it any more."""
        facts = Facts(self._cluster)
        users: list[Any] = []
        if isinstance(obj, PersistentVolumeClaim):
            # a pod that was bound after that will not start; the claim may be held by others for a while
            if old is not None and PVC_PROTECTION in finalizers_of(old) and PVC_PROTECTION not in finalizers_of(obj):
                users = [pod for pod in facts.pods if node_of(pod) and _holds_claim(pod, obj)]
        elif isinstance(obj, PersistentVolume):
            users = [claim for claim in facts.claims.values() if phase_of(claim) == "Bound" and holds(obj, claim)]
        elif isinstance(obj, VolumeSnapshotContent):
            snapshot = facts.snapshot_of(obj)
            users = [snapshot] if snapshot is not None and not is_deleting(snapshot) else []
        if users:
            self._report("in-use", f"{named(obj)} is let go, {', '.join(map(named, users))} still uses it")

    def _compare_volumes(self, old: PersistentVolume, new: PersistentVolume) -> None:
        before, after = (pv.spec.claimRef if pv.spec else None for pv in (old, new))
        if before is not None and after is not None and before.uid and after.uid and before.uid != after.uid:
            claims = f"{before.namespace}/{before.name} (uid {before.uid}) to {after.namespace}/{after.name} (uid {after.uid})"
            self._report("handed-over", f"{named(new)} passes from {claims}")

    def _compare_snapshots(self, old: VolumeSnapshot, new: VolumeSnapshot) -> None:
        if old.status is None:
            return
        for attribute in ("boundVolumeSnapshotContentName", "creationTime", "restoreSize"):
            before = getattr(old.status, attribute)
            after = getattr(new.status, attribute) if new.status else None
            grew = attribute == "restoreSize" and before == "0"
            if before is not None and after != before and not grew:
                self._report("point-in-time", f"{named(new)}: status.{attribute} was {before} and became {after}")

    def _compare_contents(self, old: VolumeSnapshotContent, new: VolumeSnapshotContent) -> None:
        was, now = old.status, new.status
        handle_before = was.snapshotHandle if was else None
        handle = now.snapshotHandle if now else None
        for attribute in ("snapshotHandle", "creationTime"):
            before = getattr(was, attribute) if was else None
            after = getattr(now, attribute) if now else None
            if before is None or after == before or (after is None and is_deleting(new)):
                continue
            self._report("point-in-time", f"{named(new)}: status.{attribute} was {before} and became {after}")
        # a pre-provisioned content has its handle before it is bound, and its finalizer only after
        dynamic = new.spec.source.volumeHandle is not None and not has_annotation(new, GROUP_MEMBER)
        if dynamic and handle and not handle_before and CONTENT_FINALIZER not in finalizers_of(new):
            self._report("unprotected", f"{named(new)} got handle {handle} without its finalizer")

    # calls

    def _on_call(self, record: CsiCallRecord) -> None:
        self._look()
        watch = self._watch_call.get(record.method.rpartition("/")[2])
        fake = self._cluster.drivers.fakes.get(record.driver)
        if watch is not None and fake is not None:
            watch(record, fake)

    def _creates_volume(self, record: CsiCallRecord, fake: FakeDriver) -> None:
        name = str(record.request.get("name", ""))
        self._creators[fake.name, name] = self._cluster.runner.lives[f"Provisioner {fake.name}"]

    def _look(self) -> None:
        """What is there for the first time has just been made: whatever was answered, also by a call that nobody waits for any more."""
        for fake in self._cluster.drivers.fakes.values():
            if self._looked_at.get(fake.name) == (fake, fake.changes):
                continue
            self._looked_at[fake.name] = (fake, fake.changes)
            for snapshot in fake.snapshots():
                if Backed(fake.name, snapshot.snapshot_id) not in self._cuts:
                    self._made_snapshot(fake, snapshot)
            for volume in fake.volumes():
                if Backed(fake.name, volume.volume_id) not in self._made:
                    self._made.add(Backed(fake.name, volume.volume_id))
                    self._made_volume(fake, volume)

    def _made_snapshot(self, fake: FakeDriver, made: SnapshotRecord) -> None:
        cut, source = fake.digest_snapshot(made.snapshot_id), fake.digest_volume(made.source_volume_id)
        self._cuts[Backed(fake.name, made.snapshot_id)] = source
        if cut != source:
            pair = f"snapshot {made.snapshot_id} and its volume {made.source_volume_id}"
            self._report("snapshot-bytes", f"{pair} of driver {fake.name} differ at the cut")

    def _made_volume(self, fake: FakeDriver, made: VolumeRecord) -> None:
        source = made.content_source
        if source is None:
            return
        if source.snapshot is not None:
            origin = next((item for item in fake.snapshots() if item.snapshot_id == source.snapshot.snapshot_id), None)
            if origin is None or origin.block != made.block:
                return  # content that changes its mode is packed, so its digest is another
            wanted, name = self._cuts.get(Backed(fake.name, origin.snapshot_id)), f"snapshot {origin.snapshot_id}"
        else:
            assert source.volume is not None
            parent = next((item for item in fake.volumes() if item.volume_id == source.volume.volume_id), None)
            if parent is None or parent.block != made.block:
                return
            wanted, name = fake.digest_volume(parent.volume_id), f"volume {parent.volume_id}"
        if wanted is not None and fake.digest_volume(made.volume_id) != wanted:
            self._report("restored-bytes", f"volume {made.volume_id} of driver {fake.name} differs from its source {name}")

    def _deletes_snapshot(self, record: CsiCallRecord, fake: FakeDriver) -> None:
        handle = str(record.request.get("snapshotId", ""))
        # once deleted, the handle is cleared before the finalizer goes: who did not see that yet may ask again
        owners = self._snapshot_owners.get(Backed(fake.name, handle), Owners()).by_uid
        contents = [
            content
            for content in self._cluster.store.list("VolumeSnapshotContent").items
            if content.spec.driver == fake.name
            and (content_handle(content) == handle or (not content_handle(content) and uid_of(content) in owners))
        ]
        reasons = [(named(content), _keeps_snapshot(content)) for content in contents]
        if all(reason for _, reason in reasons):
            listed = ", ".join(f"{name} {reason}" for name, reason in reasons) or "no content has that handle"
            self._report("snapshot-deletion", f"DeleteSnapshot {handle} of driver {fake.name}: {listed}")
        facts = Facts(self._cluster)
        for content in contents:
            # one backend snapshot may stand behind several contents: those that do not ask for its end do not hold it up either
            if uid_of(content) in self._deleted_by_hand or _keeps_snapshot(content):
                continue
            restores = [named(claim) for claim in _held_up(facts, content)]
            if restores:
                waiting = ", ".join(restores)
                self._report("snapshot-deletion", f"DeleteSnapshot {handle} of driver {fake.name}: {waiting} is to be restored from it")

    def _deletes_volume(self, record: CsiCallRecord, fake: FakeDriver) -> None:
        backed = Backed(fake.name, str(record.request.get("volumeId", "")))
        for pv in self._cluster.store.list("PersistentVolume").items:
            if backing_of(pv) == backed and (phase_of(pv) != "Released" or policy_of(pv) != DELETE):
                state = f"is {phase_of(pv)} with policy {policy_of(pv)}"
                self._report("volume-deletion", f"DeleteVolume {backed.handle} of driver {fake.name}: {named(pv)} {state}")

    def _deletes_group(self, record: CsiCallRecord, fake: FakeDriver) -> None:
        handle = str(record.request.get("groupSnapshotId", ""))
        forbidden = forbidden_group_deletion(self._cluster, fake.name, handle)
        if forbidden:
            self._report("snapshot-deletion", f"DeleteVolumeGroupSnapshot {handle} of driver {fake.name}: {forbidden}")

    def _report(self, rule: str, text: str) -> None:
        self._found.append(Violation(rule, text))


def _holds_claim(pod: Pod, claim: PersistentVolumeClaim) -> bool:
    """Whether a claim may not go before a pod: it is one of its volumes, and not the pod's own while the pod itself is going."""
    if meta(pod).namespace != meta(claim).namespace:
        return False
    leaving = is_deleting(pod)
    return any(name == meta(claim).name and not (ephemeral and leaving) for _, name, ephemeral in claim_names(pod))


def _keeps_snapshot(content: VolumeSnapshotContent) -> str:
    """Why a content's backend snapshot must not be deleted now; empty when it may be."""
    if not is_deleting(content):
        return "is not being deleted"
    if content.spec.deletionPolicy != DELETE:
        return f"has policy {content.spec.deletionPolicy}"
    if has_annotation(content, BEING_CREATED):
        return "has a creation under way"
    group = content.status.volumeGroupSnapshotHandle if content.status else None
    return "belongs to a group" if group else ""


def _held_up(facts: Facts, content: VolumeSnapshotContent) -> list[PersistentVolumeClaim]:
    """Claims of the namespace that were waiting for their restore before the snapshot's deletion was asked for: it has to wait for them."""
    snapshot = facts.snapshot_of(content)
    asked_at = meta(snapshot).deletionTimestamp if snapshot is not None else None
    if snapshot is None or asked_at is None:
        return []
    return [
        claim
        for claim in facts.pending_restores(snapshot)
        if meta(claim).namespace == meta(snapshot).namespace and (meta(claim).creationTimestamp or asked_at) < asked_at
    ]
