"""VolumeRestrictions: inline disks that only one pod of a node may write, and ReadWriteOncePod claims.

Also the plugin that reports a missing claim, so a pod with one wakes for that claim's creation, for a new node, and for a leaving pod that
shared a disk or a claim's name with it.

Source: pkg/scheduler/framework/plugins/volumerestrictions/volume_restrictions.go; spec/scheduling.md 7.1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lightkube.models.core_v1 import Pod, Volume

from volsched.api.kinds import meta
from volsched.rules.volumes import claim_names
from volsched.scheduler.events import ASSIGNED_POD_DELETE, NODE_ADD, Action, ClusterEvent
from volsched.scheduler.framework import Wake


def _same_namespace(pod: Pod, other: Any) -> bool:
    return (meta(pod).namespace or "default") == (meta(other).namespace or "default")


def _claims(pod: Pod) -> set[str]:
    """Names of the pod's claims, those of ephemeral volumes left out."""
    return {claim for _, claim, ephemeral in claim_names(pod) if not ephemeral}


def _volumes(pod: Pod) -> list[Volume]:
    return (pod.spec.volumes if pod.spec else None) or []


def disks_conflict(one: Volume, other: Volume) -> bool:
    """Whether two inline volumes are a disk that two pods of a node may not share."""
    if one.gcePersistentDisk and other.gcePersistentDisk:
        disk, taken = one.gcePersistentDisk, other.gcePersistentDisk
        if disk.pdName == taken.pdName and not (disk.readOnly and taken.readOnly):
            return True
    if one.awsElasticBlockStore and other.awsElasticBlockStore and one.awsElasticBlockStore.volumeID == other.awsElasticBlockStore.volumeID:
        return True
    if one.iscsi and other.iscsi and one.iscsi.iqn == other.iscsi.iqn and not (one.iscsi.readOnly and other.iscsi.readOnly):
        return True
    if one.rbd and other.rbd:
        image, used = one.rbd, other.rbd
        # absent pools are "rbd" by default, which validation of old objects may not have filled in
        same = (image.pool or "rbd", image.image) == (used.pool or "rbd", used.image)
        return same and bool(set(image.monitors) & set(used.monitors)) and not (image.readOnly and used.readOnly)
    return False


def _pod_left(pod: Pod, old: Any | None, new: Any | None) -> bool:
    if old is None or not _same_namespace(pod, old):
        return False
    if any(disks_conflict(volume, other) for volume in _volumes(pod) for other in _volumes(old)):
        return True
    return bool(_claims(pod) & _claims(old))


def _claim_added(pod: Pod, old: Any | None, new: Any | None) -> bool:
    return new is not None and _same_namespace(pod, new) and (meta(new).name or "") in _claims(pod)


class VolumeRestrictions:
    """Wake-up hints."""

    name = "VolumeRestrictions"

    def wakes_on(self) -> Sequence[Wake]:
        return (
            Wake(ASSIGNED_POD_DELETE, _pod_left),
            Wake(NODE_ADD),
            Wake(ClusterEvent("PersistentVolumeClaim", Action.ADD), _claim_added),
        )
