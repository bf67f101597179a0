"""What must hold in a cluster that has come to rest: nothing is stuck, forgotten or left over without a reason that can be named.

At rest (`Cluster.run_until_idle`) every queue is empty and one round of all timers has changed nothing, so whatever is not done will not be
done by itself. Each rule therefore accepts a state only together with what keeps it: a refusal the driver gave, a user's object that is
missing, a condition that says why a pod does not fit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from lightkube.models.core_v1 import PersistentVolume, PersistentVolumeClaim, Pod

from volsched.api.edit import annotations_of, is_deleting, uid_of
from volsched.api.kinds import meta
from volsched.app.invariant_facts import (
    Backed,
    Facts,
    backing_of,
    content_handle,
    holds,
    named,
    node_of,
    phase_of,
    policy_of,
    volume_of,
)
from volsched.app.invariant_finalizers import finalizer_violations, undeletable
from volsched.app.invariant_groups import backend_groups, group_objects, group_of_member
from volsched.app.invariant_history import Witness
from volsched.cache.assume_cache import object_key
from volsched.cache.scheduler_cache import SCHEDULING_KINDS, pod_id
from volsched.controllers.attach_detach import attachment_name
from volsched.controllers.kubelet import serves
from volsched.controllers.pv_binder.match import misfit
from volsched.controllers.snapshot_names import is_ready, snapshot_name
from volsched.csi.backend import FakeDriver
from volsched.engine.decision import Decision
from volsched.rules.selectors import SelectorError
from volsched.rules.volumes import (
    ANN_BIND_COMPLETED,
    ANN_SELECTED_NODE,
    ANN_STORAGE_PROVISIONER,
    WAIT_FOR_FIRST_CONSUMER,
    access_modes_satisfied,
    claim_names,
    class_of,
    find_matching_volume,
    is_fully_bound,
    pod_terminated,
)
from volsched.scheduler.queue import Place


def quiet_violations(facts: Facts, witness: Witness | None) -> Iterator[tuple[str, str]]:
    """Every rule about a cluster at rest, as (rule, text)."""
    yield from finalizer_violations(facts)
    yield from _pod_deletions(facts)
    yield from _claims(facts)
    yield from _volumes(facts)
    yield from _matches(facts)
    yield from _silent(facts)
    yield from _pending_pods(facts)
    yield from _cache(facts)
    yield from _engine(facts)
    yield from _nodes(facts)
    for fake in facts.drivers.values():
        yield from _backend_volumes(facts, fake, witness)
        yield from _backend_snapshots(facts, fake, witness)
        if witness is not None:
            yield from backend_groups(facts, fake, witness.group_owners, witness.removed_contents)
    yield from group_objects(facts)
    yield from _contents(facts, witness)


# deletions


def _warned(facts: Facts, obj: Any) -> bool:
    return any(event.type == "Warning" for event in facts.cluster.events_of(obj))


def _pod_deletions(facts: Facts) -> Iterator[tuple[str, str]]:
    for pod in facts.pods:
        if not is_deleting(pod) or meta(pod).finalizers:
            continue
        node = node_of(pod)
        if not node or (serves(facts.nodes.get(node)) and not _warned(facts, pod)):
            where = f" on node {node}" if node else ""
            yield "deletion", f"{named(pod)}{where} is being deleted and does not go"


# binding


def _claims(facts: Facts) -> Iterator[tuple[str, str]]:
    for claim in facts.claims.values():
        pv = facts.volumes.get(volume_of(claim))
        phase = phase_of(claim)
        mutual = pv is not None and holds(pv, claim)
        if phase == "Bound":
            if pv is None:
                yield "binding", f"{named(claim)} is Bound to PersistentVolume {volume_of(claim) or '(none)'}, which does not exist"
            elif not mutual:
                yield "binding", f"{named(claim)} is Bound to {named(pv)}, which {_refers(pv)}"
            elif phase_of(pv) != "Bound":
                yield "binding", f"{named(claim)} is Bound, its {named(pv)} is {phase_of(pv) or 'without a phase'}"
            elif not is_fully_bound(claim):
                yield "binding", f"{named(claim)} is Bound and lacks {ANN_BIND_COMPLETED}"
        elif mutual and pv is not None:
            yield "binding", f"{named(claim)} and {named(pv)} name each other, yet the claim is {phase or 'without a phase'}"
        elif phase == "Lost" and pv is not None and _reference(pv) is None:
            yield "binding", f"{named(claim)} is Lost beside {named(pv)}, which nobody claims"
        elif phase == "Pending" and pv is not None and _reference(pv) is None and misfit(pv, claim) is None:
            yield "binding", f"{named(claim)} is Pending and names {named(pv)}, which is free and fits"


def _volumes(facts: Facts) -> Iterator[tuple[str, str]]:
    for pv in facts.volumes.values():
        phase, reference = phase_of(pv), _reference(pv)
        claim = facts.claims.get((reference.namespace or "", reference.name or "")) if reference is not None else None
        if claim is not None and reference is not None and reference.uid and reference.uid != uid_of(claim):
            claim = None
        if phase == "Bound":
            if claim is None or not holds(pv, claim):
                yield "binding", f"{named(pv)} is Bound and {_refers(pv)}, which does not hold it"
        elif phase == "Available":
            # a claim that has no volume may be refused this one, by mode or access modes: the phase stays (rule "match" sees the others)
            if reference is not None and reference.uid and (claim is None or volume_of(claim)):
                yield "binding", f"{named(pv)} is Available and {_refers(pv)}"
        elif phase == "Released":
            if reference is None or not reference.uid or (claim is not None and holds(pv, claim)):
                yield "binding", f"{named(pv)} is Released and {_refers(pv)}"
            elif policy_of(pv) == "Delete" and not undeletable(facts, pv):
                yield "reclaim", f"{named(pv)} is Released with policy Delete and is not deleted"
        elif phase != "Failed" and not is_deleting(pv):
            yield "binding", f"{named(pv)} has phase {phase or '(none)'}"


def _reference(pv: PersistentVolume) -> Any | None:
    return pv.spec.claimRef if pv.spec else None


def _refers(pv: PersistentVolume) -> str:
    reference = _reference(pv)
    if reference is None:
        return "is claimed by nobody"
    return f"is claimed by {reference.namespace}/{reference.name} (uid {reference.uid or 'none'})"


def _matches(facts: Facts) -> Iterator[tuple[str, str]]:
    for claim in facts.claims.values():
        if phase_of(claim) != "Pending" or volume_of(claim) or is_deleting(claim):
            continue
        storage_class = facts.classes.get(class_of(claim))
        delayed = storage_class is not None and storage_class.volumeBindingMode == WAIT_FOR_FIRST_CONSUMER
        offered = [pv for pv in facts.volumes.values() if access_modes_satisfied(claim, pv)]
        try:
            found = find_matching_volume(claim, offered, node_labels=None, excluded=(), delayed=delayed)
        except SelectorError:
            continue
        if found is not None:
            yield "match", f"{named(claim)} is Pending although {named(found)} suits it"


# waiting


def _silent(facts: Facts) -> Iterator[tuple[str, str]]:
    for claim in facts.claims.values():
        # a claim that names a volume that does not exist waits without a word upstream too
        named_volume_missing = bool(volume_of(claim)) and volume_of(claim) not in facts.volumes
        if phase_of(claim) != "Pending" or is_deleting(claim) or named_volume_missing:
            continue
        if not facts.cluster.events_of(claim):
            yield "silence", f"{named(claim)} is Pending and no event says why"
        elif _is_provisioned(facts, claim) and not _warned(facts, claim):
            yield "silence", f"{named(claim)} is left to its provisioner, is Pending, and no warning says why"
    now_ns = facts.cluster.now_ns()
    for snapshot in facts.snapshots.values():
        content = facts.content_of(snapshot)
        errors = [obj for obj in (snapshot, content) if obj is not None and obj.status is not None and obj.status.error is not None]
        if is_ready(snapshot) or is_deleting(snapshot) or errors:
            continue
        fake = facts.drivers.get(content.spec.driver) if content is not None else None
        handle = content_handle(content) if content is not None else ""
        processing = fake is not None and any(item.snapshot_id == handle and item.ready_ns > now_ns for item in fake.snapshots())
        absent = content is not None and not facts.runs(content.spec.driver)
        if not processing and not absent:
            yield "silence", f"{named(snapshot)} is not ready and no error says why"
    for pod in facts.placed_pods:
        if phase_of(pod) in ("", "Pending") and not is_deleting(pod) and serves(facts.nodes.get(node_of(pod))) and not _warned(facts, pod):
            yield "silence", f"{named(pod)} is on node {node_of(pod)}, does not run, and no event says why"


def _is_provisioned(facts: Facts, claim: PersistentVolumeClaim) -> bool:
    """Whether a running driver was asked to make the claim's volume, and is not left out by a source only others can fill."""
    annotations = annotations_of(claim)
    provisioner = annotations.get(ANN_STORAGE_PROVISIONER, "")
    storage_class = facts.classes.get(class_of(claim))
    if storage_class is None or storage_class.provisioner != provisioner or not facts.runs(provisioner):
        return False
    if storage_class.volumeBindingMode == WAIT_FOR_FIRST_CONSUMER and not annotations.get(ANN_SELECTED_NODE):
        return False
    source = claim.spec.dataSourceRef if claim.spec else None
    return source is None or source.kind in ("VolumeSnapshot", "PersistentVolumeClaim")


def _pending_pods(facts: Facts) -> Iterator[tuple[str, str]]:
    scheduler = facts.cluster.scheduler
    for pod in facts.pods:
        if node_of(pod) or pod_terminated(pod) or is_deleting(pod) or not _is_scheduled(facts, pod):
            continue
        place = scheduler.queue.place_of(pod)
        if pod_id(pod) in scheduler.cycles.bindings:
            continue
        if place is None:
            yield "forgotten-pod", f"{named(pod)} is pending and not in the scheduler's queue"
            continue
        conditions = (pod.status.conditions if pod.status else None) or ()
        if not any(item.type == "PodScheduled" and item.status == "False" and item.message for item in conditions):
            yield "silence", f"{named(pod)} is pending and no condition says why"
        if place is Place.UNSCHEDULABLE and not scheduler.queue.nominator.nodes():
            decision = scheduler.decide(pod)
            if decision.node is not None:
                yield "forgotten-pod", f"{named(pod)} fits on node {decision.node} and is not tried"


def _is_scheduled(facts: Facts, pod: Pod) -> bool:
    """Whether the pod is this scheduler's business: of one of its profiles."""
    name = (pod.spec.schedulerName if pod.spec else None) or facts.cluster.scheduler.component
    return name in facts.cluster.scheduler.profiles


# the scheduler's view


def _cache(facts: Facts) -> Iterator[tuple[str, str]]:
    scheduler = facts.cluster.scheduler
    cache = scheduler.cache
    for text in cache.check():
        yield "cache", text
    for kind in sorted(SCHEDULING_KINDS):
        stored = {object_key(obj): obj for obj in facts.cluster.store.list(kind).items if kind != "Pod" or not pod_terminated(obj)}
        cached = {object_key(obj): obj for obj in cache.all(kind)}
        yield from (("cache", f"{kind} {key} is in the store and not in the cache") for key in sorted(stored.keys() - cached.keys()))
        yield from (("cache", f"{kind} {key} is in the cache and not in the store") for key in sorted(cached.keys() - stored.keys()))
        for key in sorted(stored.keys() & cached.keys()):
            if stored[key] != cached[key]:
                versions = f"{meta(cached[key]).resourceVersion}, the store {meta(stored[key]).resourceVersion}"
                yield "cache", f"{kind} {key}: the cache has version {versions}"
    if scheduler.cycles.bindings:
        return
    for pod in cache.assumed_pods():
        yield "cache", f"{named(pod)} is assumed on node {node_of(pod)} and nobody binds it"
    for name, assumed in (("PersistentVolume", cache.volumes.assumed()), ("PersistentVolumeClaim", cache.claims.assumed())):
        yield from (("cache", f"{name} {key} is assumed and nobody binds it") for key in assumed)


def _engine(facts: Facts) -> Iterator[tuple[str, str]]:
    """Every pending pod, decided by the engine that has seen the whole history and by one that sees the end only."""
    scheduler = facts.cluster.scheduler
    pending = [pod for pod in facts.pods if not node_of(pod) and not pod_terminated(pod) and not is_deleting(pod)]
    if scheduler.cycles.bindings or not pending:
        return
    fresh = facts.cluster.fresh_cache()
    for pod in pending:
        old, new = _decided(scheduler.decide(pod)), _decided(scheduler.decide(pod, cache=fresh))
        for what, value in old.items():
            if value != new[what]:
                yield "engine", f"{named(pod)}: {what} is {value!r}, a new engine says {new[what]!r}"
    if sorted(scheduler.cache.engine.node_names()) != sorted(fresh.engine.node_names()):
        yield "engine", f"nodes are {scheduler.cache.engine.node_names()}, a new engine says {fresh.engine.node_names()}"


def _decided(decision: Decision) -> Mapping[str, Any]:
    decided: dict[str, Any] = {"error": decision.error, "prefilter": decision.prefilter}
    if decision.error is None and decision.prefilter is None:
        feasible = sorted(decision.feasible())
        volumes = {node: decision.volumes(node) for node in feasible}
        decided |= {"feasible": feasible, "rejected": dict(decision.rejected()), "totals": dict(decision.totals()), "volumes": volumes}
    return decided


# nodes


def _nodes(facts: Facts) -> Iterator[tuple[str, str]]:
    """Attachments and mounts that no pod needs any more, on nodes that are there."""
    # by claim names: a pod keeps its volume also when the claim was removed under it by force
    wanted = {(node_of(pod), meta(pod).namespace, name) for pod in facts.placed_pods for _, name, _ in claim_names(pod)}
    for attachment in facts.attachments:
        pv = facts.volumes.get(attachment.spec.source.persistentVolumeName or "")
        backing = backing_of(pv) if pv is not None else None
        if pv is None or backing is None or is_deleting(attachment) or not serves(facts.nodes.get(attachment.spec.nodeName)):
            continue
        ours = meta(attachment).name == attachment_name(backing.handle, backing.driver, attachment.spec.nodeName)
        reference = _reference(pv)
        user = (attachment.spec.nodeName, reference.namespace, reference.name) if reference is not None else None
        fake = facts.drivers.get(backing.driver)
        volume = next((item for item in fake.volumes() if item.volume_id == backing.handle), None) if fake is not None else None
        paths = [*(mount.target for mount in volume.mounts), *(staging.path for staging in volume.stagings)] if volume is not None else []
        disowned = any((backing.driver, path) in facts.disowned for path in paths)
        if ours and user not in wanted and not disowned:
            yield "leftover", f"{named(pv)} is attached to node {attachment.spec.nodeName}, where no pod uses it"
    living = {uid_of(pod) for pod in facts.pods}
    for name, fake in facts.drivers.items():
        nodes = {
            driver.nodeID: facts.nodes.get(node)
            for node, csi_node in facts.csi_nodes.items()
            for driver in csi_node.spec.drivers or ()
            if driver.name == name
        }
        for volume in fake.volumes():
            known = f"volume {volume.volume_id} of driver {name}"
            for mount in volume.mounts:
                if (name, mount.target) in facts.disowned:
                    continue
                if serves(nodes.get(mount.node)) and not any(uid in mount.target for uid in living):
                    yield "leftover", f"{known} is mounted at {mount.target} on node {mount.node} for a pod that is gone"
            for staging in volume.stagings:
                if (name, staging.path) in facts.disowned:
                    continue
                if serves(nodes.get(staging.node)) and not any(mount.node == staging.node for mount in volume.mounts):
                    yield "leftover", f"{known} is staged on node {staging.node} and mounted for no pod"


# backends


def _backend_volumes(facts: Facts, fake: FakeDriver, witness: Witness | None) -> Iterator[tuple[str, str]]:
    owned = {backing_of(pv) for pv in facts.volumes.values()}
    waiting = {f"pvc-{uid_of(claim)}" for claim in facts.claims.values() if phase_of(claim) == "Pending"}
    for volume in fake.volumes():
        backed = Backed(fake.name, volume.volume_id)
        if volume.inline or backed in owned or volume.name in waiting or witness is None:
            continue
        if witness.had_volume(backed):
            explained = bool(witness.volume_excuse(backed))
        else:
            # Only the provisioner knows of a volume whose claim is gone, before it is saved; upstream accepts the loss. spec/volumes.md 3.7
            explained = facts.said_none(fake.name, "CreateVolume", volume.name) or witness.provisioner_forgot(fake.name, volume.name)
        if not explained:
            yield "volume-owner", f"volume {volume.volume_id} ({volume.name}) of driver {fake.name} has no PersistentVolume"


def _backend_snapshots(facts: Facts, fake: FakeDriver, witness: Witness | None) -> Iterator[tuple[str, str]]:
    contents = [content for content in facts.contents.values() if content.spec.driver == fake.name]
    handles = {content_handle(content) for content in contents}
    under_way = {snapshot_name("snapshot", item.spec.volumeSnapshotRef.uid or "", uid_length=-1) for item in contents}
    for snapshot in fake.snapshots():
        backed = Backed(fake.name, snapshot.snapshot_id)
        cut = witness.digest_at_cut(backed) if witness is not None else None
        if cut is not None and fake.digest_snapshot(snapshot.snapshot_id) != cut:
            yield "snapshot-bytes", f"snapshot {snapshot.snapshot_id} of driver {fake.name} no longer holds the bytes of the cut"
        if snapshot.snapshot_id in handles or snapshot.name in under_way or snapshot.group_snapshot_id or witness is None:
            continue
        if facts.said_none(fake.name, "CreateSnapshot", snapshot.name) and not witness.had_handle(backed):
            continue  # what the driver denies to have is not asked to go
        if not witness.snapshot_excuse(backed, "snapcontent-" + snapshot.name.removeprefix("snapshot-")):
            yield "snapshot-owner", f"snapshot {snapshot.snapshot_id} ({snapshot.name}) of driver {fake.name} has no VolumeSnapshotContent"


def _contents(facts: Facts, witness: Witness | None) -> Iterator[tuple[str, str]]:
    """The other way round: a content that was given a handle, whose backend snapshot nobody may have deleted."""
    for content in facts.contents.values():
        fake = facts.drivers.get(content.spec.driver)
        handle = content.status.snapshotHandle if content.status else None
        if fake is None or not handle or is_deleting(content) or content.spec.source.volumeHandle is None:
            continue
        if group_of_member(facts, content):
            continue
        backed = Backed(fake.name, handle)
        if all(item.snapshot_id != handle for item in fake.snapshots()) and (witness is None or not witness.snapshot_is_shared(backed)):
            yield "snapshot-owner", f"{named(content)} has handle {handle}, which driver {fake.name} does not know"
