"""VolumeRestrictions: disks that take one pod at a time, and claims that take one pod at all.

Source: pkg/scheduler/framework/plugins/volumerestrictions; spec/scheduling.md 7.1.
"""

from __future__ import annotations

import copy
from typing import ClassVar, Self

from lightkube.models.core_v1 import Pod, Volume

from volsched.engine.profile import EngineProfile
from volsched.engine.reference.framework import SKIP, SUCCESS, NodeInfo, Plugin, PodInfo, Snapshot, Status, unresolvable, unschedulable
from volsched.rules.volumes import READ_WRITE_ONCE_POD, claim_names

DEFAULT_RBD_POOL = "rbd"


def _is_exclusive(volume: Volume) -> bool:
    sources = (volume.gcePersistentDisk, volume.awsElasticBlockStore, volume.rbd, volume.iscsi)
    return any(source is not None for source in sources)


def _disks_conflict(mine: Volume, theirs: Volume) -> bool:
    """Whether two inline volumes may not be on one node together."""
    gce, other_gce = mine.gcePersistentDisk, theirs.gcePersistentDisk
    if gce is not None and other_gce is not None and gce.pdName == other_gce.pdName and not (gce.readOnly and other_gce.readOnly):
        return True
    ebs, other_ebs = mine.awsElasticBlockStore, theirs.awsElasticBlockStore
    if ebs is not None and other_ebs is not None and ebs.volumeID == other_ebs.volumeID:
        return True
    iscsi, other_iscsi = mine.iscsi, theirs.iscsi
    if iscsi is not None and other_iscsi is not None and iscsi.iqn == other_iscsi.iqn and not (iscsi.readOnly and other_iscsi.readOnly):
        return True
    rbd, other_rbd = mine.rbd, theirs.rbd
    return (
        rbd is not None
        and other_rbd is not None
        and bool(set(rbd.monitors or ()) & set(other_rbd.monitors or ()))
        and (rbd.pool or DEFAULT_RBD_POOL) == (other_rbd.pool or DEFAULT_RBD_POOL)
        and rbd.image == other_rbd.image
        and not (rbd.readOnly and other_rbd.readOnly)
    )


def _claim_keys(pod: Pod) -> list[tuple[str, str]]:
    """Claims the pod names itself; those of ephemeral volumes are not counted as used."""
    namespace = (pod.metadata.namespace if pod.metadata else None) or "default"
    return [(namespace, claim) for _volume, claim, ephemeral in claim_names(pod) if not ephemeral]


class VolumeRestrictions(Plugin):
    name: ClassVar[str] = "VolumeRestrictions"

    def __init__(self, snapshot: Snapshot, pod: Pod, profile: EngineProfile) -> None:
        super().__init__(snapshot, pod, profile)
        self._single: set[tuple[str, str]] = set()  # claims of the pod that take one pod only
        self._conflicts = 0  # those that another pod uses

    def pre_filter(self) -> tuple[Status, frozenset[str] | None]:
        for key in _claim_keys(self.pod):
            claim = self.cluster.claim(*key)
            if claim is None:
                return unresolvable(f'persistentvolumeclaim "{key[1]}" not found'), None
            if READ_WRITE_ONCE_POD in ((claim.spec.accessModes if claim.spec else None) or ()):
                self._single.add(key)
        in_use = {key for node in self.snapshot.nodes for pod in node.pods for key in _claim_keys(pod)}
        self._conflicts = len(self._single & in_use)
        exclusive = any(_is_exclusive(volume) for volume in self.spec.volumes or ())
        return (SUCCESS if exclusive or self._conflicts else SKIP), None

    def _uses_by_name(self, other: PodInfo) -> int:
        """References of a pod to claims with the names of those that take one pod only, whatever namespace it is in. Upstream compares
        the names alone, and counts two references of one pod twice."""
        names = {name for _namespace, name in self._single}
        return sum(name in names for _namespace, name in _claim_keys(other.pod))

    def add_pod(self, other: PodInfo, node: NodeInfo) -> None:
        self._conflicts += self._uses_by_name(other)

    def remove_pod(self, other: PodInfo, node: NodeInfo) -> None:
        self._conflicts -= self._uses_by_name(other)

    def clone(self) -> Self:
        return copy.copy(self)

    def filter(self, node: NodeInfo) -> Status:
        status = self.filter_disks(node)
        if not status.is_success:
            return status
        if self._conflicts > 0:
            return unschedulable(
                "node(s) unavailable due to PersistentVolumeClaim with ReadWriteOncePod access mode already in-use by another pod"
            )
        return SUCCESS

    def filter_disks(self, node: NodeInfo) -> Status:
        """The part that needs nothing of PreFilter."""
        for mine in self.spec.volumes or ():
            for pod in node.pods:
                if any(_disks_conflict(mine, theirs) for theirs in (pod.spec.volumes if pod.spec else None) or ()):
                    return unschedulable("node(s) had no available disk")
        return SUCCESS
