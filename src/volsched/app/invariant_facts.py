"""What the invariants look at: one reading of a cluster's objects, drivers and calls, made when it is first asked for.

A `Facts` describes one moment. It is cheap to make and is thrown away after one check; nothing in it follows the cluster.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, NamedTuple

from lightkube.models.core_v1 import Node, PersistentVolume, PersistentVolumeClaim, Pod
from lightkube.models.storage_v1 import CSINode, StorageClass, VolumeAttachment

from volsched.api.edit import annotations_of, uid_of
from volsched.api.kinds import meta
from volsched.api.snapshot import (
    VolumeGroupSnapshot,
    VolumeGroupSnapshotClass,
    VolumeGroupSnapshotContent,
    VolumeSnapshot,
    VolumeSnapshotClass,
    VolumeSnapshotContent,
)
from volsched.app.cluster import Cluster
from volsched.controllers.snapshot_names import SNAPSHOT_GROUP
from volsched.csi.backend import FakeDriver
from volsched.errors import CsiCode
from volsched.rules.volumes import claim_names, is_owned_by_pod, pod_terminated

SHARED_MODES: Final = frozenset({"ReadWriteMany", "ReadOnlyMany"})
OK: Final = "OK"
# After these the driver may still be working. Source: spec/volumes.md 3.7; for snapshots RESOURCE_EXHAUSTED too, spec/snapshots.md 2.5.1.
MAY_STILL_WORK: Final = frozenset(
    code.words for code in (CsiCode.CANCELLED, CsiCode.DEADLINE_EXCEEDED, CsiCode.UNAVAILABLE, CsiCode.ABORTED)
)

_MOUNTS: Final[Mapping[str, str]] = {"NodePublishVolume": "targetPath", "NodeStageVolume": "stagingTargetPath"}
_UNMOUNTS: Final[Mapping[str, str]] = {"NodeUnpublishVolume": "targetPath", "NodeUnstageVolume": "stagingTargetPath"}


class Violation(NamedTuple):
    """One broken invariant: the rule by its name in RULES, and one line that names the objects."""

    rule: str
    text: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.text}"


class Backed(NamedTuple):
    """A volume or snapshot of a driver: what a PersistentVolume or content calls its handle."""

    driver: str
    handle: str


def named(obj: Any) -> str:
    """An object in a line of text: `PersistentVolumeClaim default/data`, `Node worker-1`."""
    metadata = meta(obj)
    kind = type(obj).__name__
    return f"{kind} {metadata.namespace}/{metadata.name}" if metadata.namespace else f"{kind} {metadata.name}"


def phase_of(obj: Any) -> str:
    """status.phase, empty when unset."""
    return (obj.status.phase if obj.status else None) or ""


def node_of(pod: Pod) -> str:
    """The node a pod is bound to, empty when it is not."""
    return (pod.spec.nodeName if pod.spec else None) or ""


def volume_of(claim: PersistentVolumeClaim) -> str:
    """spec.volumeName, empty when unset."""
    return (claim.spec.volumeName if claim.spec else None) or ""


def backing_of(pv: PersistentVolume) -> Backed | None:
    """The driver's volume behind a PersistentVolume; None when it is no CSI volume."""
    csi = pv.spec.csi if pv.spec else None
    return Backed(csi.driver, csi.volumeHandle) if csi else None


def policy_of(pv: PersistentVolume) -> str:
    return (pv.spec.persistentVolumeReclaimPolicy if pv.spec else None) or "Retain"


def content_handle(content: VolumeSnapshotContent) -> str:
    """The backend snapshot a content stands for: as its status says, else as its source says; empty before there is one."""
    return (content.status.snapshotHandle if content.status else None) or content.spec.source.snapshotHandle or ""


def shared(pv: PersistentVolume) -> bool:
    """Whether a volume may be on several nodes at once."""
    return bool(SHARED_MODES & set((pv.spec.accessModes if pv.spec else None) or ()))


@dataclass(slots=True)
class Owner:
    """An object that has stood for something in a backend. `gone`: it does not exist any more; `by_hand`: the user made it vanish."""

    name: str
    policy: str
    made_by_hand: bool
    gone: bool = False
    by_hand: bool = False
    unguarded: bool = False  # lacked its provisioner's finalizer while it was being deleted and that had not asked for the backend's part

    def excuse(self) -> str:
        """Why what it stood for may be left in the backend once it is gone; empty when nothing explains it."""
        if self.policy != "Delete":
            return f"{self.name} had policy {self.policy}"
        if self.by_hand:
            return f"{self.name} was removed by hand"
        if self.unguarded:
            return f"{self.name} was being deleted while its provisioner did not hold it"
        return f"{self.name} was made by hand" if self.made_by_hand else ""


@dataclass(slots=True)
class Owners:
    """Everything that ever stood for one thing in a backend, by uid."""

    by_uid: dict[str, Owner] = field(default_factory=dict)

    def excuse(self) -> str:
        return next((text for owner in self.by_uid.values() if owner.gone and (text := owner.excuse())), "")


class Facts:
    """See the module."""

    def __init__(self, cluster: Cluster, placed_for: Mapping[str, frozenset[str]] | None = None) -> None:
        """`placed_for`: uid of a pod -> uids of the claims it was placed for, as far as somebody saw it."""
        self.cluster = cluster
        self._store = cluster.store
        self._placed_for = placed_for or {}

    def _all(self, kind: str) -> list[Any]:
        return list(self._store.list(kind).items)

    @cached_property
    def pods(self) -> list[Pod]:
        return self._all("Pod")

    @cached_property
    def nodes(self) -> dict[str, Node]:
        return {meta(obj).name or "": obj for obj in self._all("Node")}

    @cached_property
    def csi_nodes(self) -> dict[str, CSINode]:
        return {meta(obj).name or "": obj for obj in self._all("CSINode")}

    @cached_property
    def claims(self) -> dict[tuple[str, str], PersistentVolumeClaim]:
        return {(meta(obj).namespace or "", meta(obj).name or ""): obj for obj in self._all("PersistentVolumeClaim")}

    @cached_property
    def volumes(self) -> dict[str, PersistentVolume]:
        return {meta(obj).name or "": obj for obj in self._all("PersistentVolume")}

    @cached_property
    def classes(self) -> dict[str, StorageClass]:
        return {meta(obj).name or "": obj for obj in self._all("StorageClass")}

    @cached_property
    def attachments(self) -> list[VolumeAttachment]:
        return self._all("VolumeAttachment")

    @cached_property
    def snapshots(self) -> dict[tuple[str, str], VolumeSnapshot]:
        return {(meta(obj).namespace or "", meta(obj).name or ""): obj for obj in self._all("VolumeSnapshot")}

    @cached_property
    def contents(self) -> dict[str, VolumeSnapshotContent]:
        return {meta(obj).name or "": obj for obj in self._all("VolumeSnapshotContent")}

    @cached_property
    def snapshot_classes(self) -> dict[str, VolumeSnapshotClass]:
        return {meta(obj).name or "": obj for obj in self._all("VolumeSnapshotClass")}

    @cached_property
    def groups(self) -> dict[tuple[str, str], VolumeGroupSnapshot]:
        return {(meta(obj).namespace or "", meta(obj).name or ""): obj for obj in self._all("VolumeGroupSnapshot")}

    @cached_property
    def group_contents(self) -> dict[str, VolumeGroupSnapshotContent]:
        return {meta(obj).name or "": obj for obj in self._all("VolumeGroupSnapshotContent")}

    @cached_property
    def group_classes(self) -> dict[str, VolumeGroupSnapshotClass]:
        return {meta(obj).name or "": obj for obj in self._all("VolumeGroupSnapshotClass")}

    @property
    def drivers(self) -> Mapping[str, FakeDriver]:
        """The fake drivers of this process, by name. What another process stores cannot be looked at."""
        return self.cluster.drivers.fakes

    # pods and what they use

    @cached_property
    def placed_pods(self) -> list[Pod]:
        """Pods that hold a place on a node: bound, and not ended."""
        return [pod for pod in self.pods if node_of(pod) and not pod_terminated(pod)]

    def claims_of(self, pod: Pod) -> Iterator[PersistentVolumeClaim]:
        """The claims a pod uses that exist; of a generic ephemeral volume only the pod's own.

        A claim that has come after the pod was given its node is not the one the pod was placed for: that one was removed in between.
        """
        namespace = meta(pod).namespace or ""
        placed_at, seen = _placed_at(pod), self._placed_for.get(uid_of(pod))
        for _, name, ephemeral in claim_names(pod):
            claim = self.claims.get((namespace, name))
            if claim is None or (ephemeral and not is_owned_by_pod(claim, pod)):
                continue
            made_at = meta(claim).creationTimestamp
            if seen is not None and node_of(pod):
                here = uid_of(claim) in seen
            else:
                here = placed_at is None or made_at is None or made_at <= placed_at
            if here:
                yield claim

    def volumes_of(self, pod: Pod) -> Iterator[tuple[PersistentVolumeClaim, PersistentVolume]]:
        """The claims of a pod that are bound, with their volumes."""
        for claim in self.claims_of(pod):
            pv = self.volumes.get(volume_of(claim))
            if pv is not None and holds(pv, claim):
                yield claim, pv

    # snapshots and restores

    def content_of(self, snapshot: VolumeSnapshot) -> VolumeSnapshotContent | None:
        """The content a snapshot is bound to, if it is there and is really its own."""
        name = (snapshot.status.boundVolumeSnapshotContentName if snapshot.status else None) or ""
        content = self.contents.get(name)
        return content if content is not None and content.spec.volumeSnapshotRef.uid == uid_of(snapshot) else None

    def snapshot_of(self, content: VolumeSnapshotContent) -> VolumeSnapshot | None:
        """The snapshot a content is bound to, if it exists."""
        reference = content.spec.volumeSnapshotRef
        snapshot = self.snapshots.get((reference.namespace or "", reference.name or ""))
        return snapshot if snapshot is not None and uid_of(snapshot) == reference.uid else None

    def pending_restores(self, snapshot: VolumeSnapshot) -> list[PersistentVolumeClaim]:
        """Pending claims that are to be restored from a snapshot, in any namespace."""
        key = (meta(snapshot).namespace, meta(snapshot).name)
        return [claim for claim in self.claims.values() if phase_of(claim) in ("", "Pending") and snapshot_source(claim) == key]

    # calls

    @cached_property
    def outcomes(self) -> dict[tuple[str, str, str], str]:
        """How the last call of a method for an object ended: (driver, method, name or id) -> `OK` or the code's words."""
        found: dict[tuple[str, str, str], str] = {}
        for call in self.cluster.csi_calls:
            method = call.method.rpartition("/")[2]
            for subject in _subjects(call.request):
                found[call.driver, method, subject] = call.outcome
        return found

    @cached_property
    def disowned(self) -> frozenset[tuple[str, str]]:
        """Paths on nodes, with their driver, at which it has said of an unmount that it does not know the volume, and never that it has
        mounted it: nobody asks again."""
        told: dict[bool, set[tuple[str, str]]] = {True: set(), False: set()}
        for call in self.cluster.csi_calls:
            method = call.method.rpartition("/")[2]
            mounts, unmounts = _MOUNTS.get(method), _UNMOUNTS.get(method)
            if mounts is not None and call.outcome == OK:
                told[True].add((call.driver, call.request[mounts]))
            elif unmounts is not None and call.outcome == CsiCode.NOT_FOUND.words:
                told[False].add((call.driver, call.request[unmounts]))
        return frozenset(told[False] - told[True])

    def said_none(self, driver: str, method: str, name: str) -> bool:
        """Whether a driver's last word on making something was a final error: that it has not made it and does not try to."""
        outcome = self.outcomes.get((driver, method, name), OK)
        unknown = MAY_STILL_WORK | {CsiCode.RESOURCE_EXHAUSTED.words} if method == "CreateSnapshot" else MAY_STILL_WORK
        return outcome != OK and outcome not in unknown

    def failing(self, driver: str, method: str, subject: str) -> str:
        """Why a driver's part of the work is not done: how its last call failed, or that it is not there; empty when it answered OK."""
        outcome = self.outcomes.get((driver, method, subject), "")
        if outcome not in ("", OK):
            return f"{method} {subject} of driver {driver} last answered {outcome}"
        return "" if self.runs(driver) else f"driver {driver} is not running"

    def runs(self, driver: str) -> bool:
        return driver in self.cluster.drivers.names


def _subjects(request: Mapping[str, Any]) -> Iterable[str]:
    return (request[field] for field in ("name", "volumeId", "snapshotId", "groupSnapshotId") if isinstance(request.get(field), str))


def _placed_at(pod: Pod) -> datetime.datetime | None:
    """When a pod was bound to its node; None when no condition says so."""
    conditions = (pod.status.conditions if pod.status else None) or ()
    return next((item.lastTransitionTime for item in conditions if item.type == "PodScheduled" and item.status == "True"), None)


def holds(pv: PersistentVolume, claim: PersistentVolumeClaim) -> bool:
    """Whether volume and claim name each other, by uid."""
    reference = pv.spec.claimRef if pv.spec else None
    return reference is not None and reference.uid == uid_of(claim) and volume_of(claim) == meta(pv).name


def snapshot_source(claim: PersistentVolumeClaim) -> tuple[str | None, str | None] | None:
    """(namespace, name) of the snapshot a claim is to be restored from."""
    if claim.spec is None:
        return None
    local, reference = claim.spec.dataSource, claim.spec.dataSourceRef
    if reference is not None and reference.kind == "VolumeSnapshot" and reference.apiGroup == SNAPSHOT_GROUP:
        return reference.namespace or meta(claim).namespace, reference.name
    if local is not None and local.kind == "VolumeSnapshot" and local.apiGroup == SNAPSHOT_GROUP:
        return meta(claim).namespace, local.name
    return None


def clone_source(claim: PersistentVolumeClaim) -> tuple[str | None, str | None] | None:
    """(namespace, name) of the claim a claim is to be copied from."""
    source = claim.spec.dataSource if claim.spec else None
    if source is None or source.kind != "PersistentVolumeClaim" or source.apiGroup:
        return None
    return meta(claim).namespace, source.name


def has_annotation(obj: Any, key: str) -> bool:
    return key in annotations_of(obj)
