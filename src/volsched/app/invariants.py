"""What must always hold in a cluster, and what must hold once it has come to rest.

    every step   check_safety(cluster, witness)   what may never be seen, not even between two writes
    at rest      check_quiet(cluster, witness)    nobody is stuck without a reason that can be named, nothing is left over

Each answers violations, one clear line each; a healthy cluster has none. Both look at the store's objects, at the fake drivers' records
and at the scheduler's cache. What only history can tell (a handle that changed, a snapshot deleted although its policy was Retain, bytes
that are not those of the cut) is seen by a `Witness` that watched from the start; without one those rules are not checked.

`RULES` says what each rule means. Source of I1-I7: spec/snapshots.md 4; the others follow from what Kubernetes promises of volumes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Final

from volsched.api.edit import annotations_of, finalizers_of, is_deleting, labels_of, uid_of
from volsched.app.cluster import Cluster
from volsched.app.invariant_facts import (
    Backed,
    Facts,
    Violation,
    backing_of,
    content_handle,
    named,
    node_of,
    phase_of,
    shared,
    volume_of,
)
from volsched.app.invariant_groups import group_names, group_of_member
from volsched.app.invariant_history import Witness
from volsched.app.invariant_quiet import quiet_violations
from volsched.controllers.kubelet import Kubelet, serves
from volsched.controllers.snapshot_names import is_ready
from volsched.csi.checks import multi_node
from volsched.rules.topology import pv_reachable
from volsched.rules.volumes import ANN_PROVISIONED_BY, READ_WRITE_ONCE_POD

__all__ = ["RULES", "Violation", "Witness", "check_quiet", "check_safety"]

# fmt: off
RULES: Final[Mapping[str, str]] = {
    # at every step
    "one-claim":         "no volume is bound to two claims",
    "reachable":         "no pod is on a node that one of its volumes cannot be reached from",
    "attach-limit":      "no node has more volumes of a driver than its CSINode allows",
    "one-pod":           "a ReadWriteOncePod claim is used by one pod",
    "mounted":           "a pod runs only while its volumes are mounted on its node",
    "one-node":          "a volume made for one node is attached to one node",
    "backend-kept":      "the driver has the volume behind every bound claim",
    "one-per-name":      "a driver has one volume and one snapshot of a name (I1)",
    "ready-chain":       "a ready VolumeSnapshot has a ready content, and that a ready snapshot in the backend (I4)",
    # with a witness
    "unprotected":       "no VolumeSnapshotContent gets a handle before it has its finalizer (I3)",
    "point-in-time":     "handle and creation time of a snapshot never change once set (I6)",
    "handed-over":       "no volume passes from one claim to another unless somebody has freed it in between",
    "oversold":          "with exact capacity no capacity object gives more room than it has",
    "in-use":            "nothing vanishes while it is used, unless somebody removed it by force",
    "snapshot-deletion": "DeleteSnapshot only for a content that is deleted, has policy Delete and no creation under way (I7)",
    "volume-deletion":   "DeleteVolume only for a volume nobody may want any more",
    "snapshot-bytes":    "a snapshot holds the bytes its volume had at the cut",
    "restored-bytes":    "a volume made from a source starts with the bytes of that source",
    # at rest
    "snapshot-owner":    "every backend snapshot has a content, or a policy explains why not; and the other way round (I2)",
    "volume-owner":      "every backend volume has a PersistentVolume, or a policy explains why not",
    "finalizer":         "no finalizer is left whose reason has ended (I5, I3)",
    "deletion":          "every deletion ends, or it can be said what it waits for",
    "binding":           "claims and volumes agree on who is bound to whom",
    "match":             "no claim waits beside a volume it could have",
    "reclaim":           "a released volume with policy Delete is deleted",
    "leftover":          "no attachment and no mount is left without a pod that needs it",
    "silence":           "whoever waits says why, in a condition, a status or an event",
    "forgotten-pod":     "the scheduler knows every pending pod, and none of them fits a node",
    "cache":             "the scheduler's cache equals the store",
    "engine":            "the engine decides as a new one over the same objects does",
}
# fmt: on


def check_safety(cluster: Cluster, witness: Witness | None = None) -> list[Violation]:
    """What is wrong right now. Cheap enough to be asked after every step; what a witness saw since it was last asked comes along."""
    facts = _facts(cluster, witness)
    found = [Violation(rule, text) for rule, text in _safety(facts, witness)]
    return found if witness is None else found + witness.take()


def check_quiet(cluster: Cluster, witness: Witness | None = None) -> list[Violation]:
    """What is wrong with a cluster that has come to rest (`Cluster.run_until_idle`), what `check_safety` finds included."""
    return check_safety(cluster, witness) + [Violation(rule, text) for rule, text in quiet_violations(_facts(cluster, witness), witness)]


def _facts(cluster: Cluster, witness: Witness | None) -> Facts:
    return Facts(cluster, witness.placed_for if witness is not None else None)


def _safety(facts: Facts, witness: Witness | None) -> Iterator[tuple[str, str]]:
    yield from _one_claim(facts)
    yield from _pods(facts)
    yield from _attach_limits(facts)
    yield from _attachments(facts)
    yield from _mounts(facts)
    yield from _backend(facts)
    yield from _ready_chain(facts, witness)


def _one_claim(facts: Facts) -> Iterator[tuple[str, str]]:
    holders: dict[str, list[str]] = {}
    for claim in facts.claims.values():
        if volume_of(claim) and phase_of(claim) == "Bound":
            holders.setdefault(volume_of(claim), []).append(named(claim))
    for volume, claims in holders.items():
        if len(claims) > 1:
            yield "one-claim", f"PersistentVolume {volume} is bound to {' and '.join(claims)}"


def _pods(facts: Facts) -> Iterator[tuple[str, str]]:
    exclusive: dict[str, list[str]] = {}
    for pod in facts.placed_pods:
        node = facts.nodes.get(node_of(pod))
        for claim, pv in facts.volumes_of(pod):
            if node is not None and not pv_reachable(pv, labels_of(node)):
                yield "reachable", f"{named(pod)} is on {named(node)}, its {named(claim)} on {named(pv)} cannot be reached from there"
        for claim in facts.claims_of(pod) if node is not None else ():  # pods of a lost node count for nobody
            if READ_WRITE_ONCE_POD in ((claim.spec.accessModes if claim.spec else None) or ()):
                exclusive.setdefault(named(claim), []).append(named(pod))
    for claim_name, pods in exclusive.items():
        if len(pods) > 1:
            yield "one-pod", f"{claim_name} is ReadWriteOncePod and used by {' and '.join(pods)}"


def _attach_limits(facts: Facts) -> Iterator[tuple[str, str]]:
    limits = {
        (name, driver.name): driver.allocatable.count
        for name, csi_node in facts.csi_nodes.items()
        for driver in csi_node.spec.drivers or ()
        if driver.allocatable is not None and driver.allocatable.count is not None
    }
    if not limits:
        return
    used: dict[tuple[str, str], set[str]] = {}
    for pod in facts.placed_pods:
        for _, pv in facts.volumes_of(pod):
            backing = backing_of(pv)
            if backing is not None:
                used.setdefault((node_of(pod), backing.driver), set()).add(backing.handle)
    attached: dict[tuple[str, str], set[str]] = {}
    for attachment in facts.attachments:
        volume = attachment.spec.source.persistentVolumeName
        if volume:
            attached.setdefault((attachment.spec.nodeName, attachment.spec.attacher), set()).add(volume)
    for (node, driver), limit in limits.items():
        for how, volumes in (("used by its pods", used.get((node, driver), ())), ("attached", attached.get((node, driver), ()))):
            if len(volumes) > limit:
                listed = ", ".join(sorted(volumes))
                yield "attach-limit", f"Node {node} has {len(volumes)} volumes of {driver} {how}, its limit is {limit}: {listed}"


def _attachments(facts: Facts) -> Iterator[tuple[str, str]]:
    nodes: dict[str, list[str]] = {}
    for attachment in facts.attachments:
        pv = facts.volumes.get(attachment.spec.source.persistentVolumeName or "")
        if pv is not None and not shared(pv) and attachment.status is not None and attachment.status.attached:
            nodes.setdefault(named(pv), []).append(attachment.spec.nodeName)
    for volume, where in nodes.items():
        if len(where) > 1:
            yield "one-node", f"{volume} is for one node and attached to {' and '.join(sorted(where))}"


def _mounts(facts: Facts) -> Iterator[tuple[str, str]]:
    if not any(isinstance(decider, Kubelet) for decider in facts.cluster.runner.deciders):
        return
    mounted = {
        (Backed(name, volume.volume_id), mount.target)
        for name, fake in facts.drivers.items()
        for volume in fake.volumes()
        for mount in volume.mounts
    }
    for pod in facts.placed_pods:
        if phase_of(pod) != "Running" or is_deleting(pod) or not serves(facts.nodes.get(node_of(pod))):
            continue
        for claim, pv in facts.volumes_of(pod):
            backing = backing_of(pv)
            fake = facts.drivers.get(backing.driver) if backing is not None else None
            if fake is None or backing is None or not fake.profile.node_service:
                continue
            if not any(volume == backing and uid_of(pod) in target for volume, target in mounted):
                yield "mounted", f"{named(pod)} runs on node {node_of(pod)}, its {named(claim)} on {named(pv)} is not mounted for it"


def _backend(facts: Facts) -> Iterator[tuple[str, str]]:
    present: set[Backed] = set()
    for name, fake in facts.drivers.items():
        volumes, snapshots = fake.volumes(), fake.snapshots()
        present.update(Backed(name, volume.volume_id) for volume in volumes)
        yield from group_names(name, fake)
        alone = Counter(item.name for item in snapshots if not item.group_snapshot_id)
        for kind, names in (("volumes", Counter(item.name for item in volumes)), ("snapshots", alone)):
            for twice in (item for item, count in names.items() if count > 1):
                yield "one-per-name", f"driver {name} has {names[twice]} {kind} named {twice}"
        for volume in volumes:
            if len(volume.publications) > 1 and not all(multi_node(item.capability) for item in volume.publications.values()):
                where = " and ".join(sorted(volume.publications))
                yield "one-node", f"volume {volume.volume_id} of driver {name} is for one node and published to {where}"
    for claim in facts.claims.values():
        pv = facts.volumes.get(volume_of(claim))
        if pv is None or phase_of(claim) != "Bound" or ANN_PROVISIONED_BY not in annotations_of(pv):
            continue
        backing = backing_of(pv)
        if backing is not None and backing.driver in facts.drivers and backing not in present and phase_of(pv) == "Bound":
            lost = f"volume {backing.handle} of driver {backing.driver}"
            yield "backend-kept", f"{named(claim)} is bound to {named(pv)}, whose {lost} does not exist"


def _ready_chain(facts: Facts, witness: Witness | None) -> Iterator[tuple[str, str]]:
    for snapshot in facts.snapshots.values():
        content = facts.content_of(snapshot)
        # once the snapshot is being deleted, its content may be cleared before it goes
        if content is not None and is_ready(snapshot) and not is_deleting(snapshot) and not is_ready(content):
            yield "ready-chain", f"{named(snapshot)} is ready, its {named(content)} is not"
    now_ns = facts.cluster.now_ns()
    backend = {
        Backed(name, snapshot.snapshot_id): snapshot.ready_ns for name, fake in facts.drivers.items() for snapshot in fake.snapshots()
    }
    for content in facts.contents.values():
        handle = Backed(content.spec.driver, content_handle(content))
        if not is_ready(content) or is_deleting(content) or handle.driver not in facts.drivers:
            continue
        ready_ns = backend.get(handle)
        if ready_ns is not None and ready_ns > now_ns:
            yield "ready-chain", f"{named(content)} is ready, snapshot {handle.handle} of driver {handle.driver} is not"
        # a backend snapshot that is, or was, known to another content too may have been deleted by that one
        if ready_ns is None and group_of_member(facts, content):
            continue
        shared_handle = witness is None or content.spec.source.volumeHandle is None or witness.snapshot_is_shared(handle)
        if ready_ns is None and not shared_handle and finalizers_of(content):
            yield "ready-chain", f"{named(content)} is ready, driver {handle.driver} has no snapshot {handle.handle or '(no handle)'}"
