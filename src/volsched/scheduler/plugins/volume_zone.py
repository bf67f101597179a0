"""VolumeZone: zone and region labels of bound volumes must match the node's.

A pod wakes for a WaitForFirstConsumer class, a node that appears or is relabelled, its claims, and volumes that appear or whose topology
labels change.

Source: pkg/scheduler/framework/plugins/volumezone/volume_zone.go; spec/scheduling.md 7.3.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from lightkube.models.core_v1 import PersistentVolume, Pod

from volsched.api.edit import labels_of
from volsched.api.kinds import meta
from volsched.rules.topology import BETA_REGION, BETA_ZONE, REGION, ZONE, ZONE_DELIMITER
from volsched.rules.volumes import WAIT_FOR_FIRST_CONSUMER, claim_names
from volsched.scheduler.events import NODE, UPDATE, Action, ClusterEvent
from volsched.scheduler.framework import Wake

TOPOLOGY_LABELS: Final = (BETA_ZONE, BETA_REGION, ZONE, REGION)


def volume_topology(pv: PersistentVolume) -> list[tuple[str, frozenset[str]]]:
    """(label, values) of a volume's topology labels; a value with an empty element says nothing."""
    labels = labels_of(pv)
    found: list[tuple[str, frozenset[str]]] = []
    for key in TOPOLOGY_LABELS:
        if key in labels:
            values = frozenset(value.strip() for value in labels[key].split(ZONE_DELIMITER))
            if "" not in values:
                found.append((key, values))
    return found


def _class_added(pod: Pod, old: Any | None, new: Any | None) -> bool:
    return new is not None and new.volumeBindingMode == WAIT_FOR_FIRST_CONSUMER


def _claim_changed(pod: Pod, old: Any | None, new: Any | None) -> bool:
    if new is None or (meta(new).namespace or "default") != (meta(pod).namespace or "default"):
        return False
    return any(claim == meta(new).name for _, claim, ephemeral in claim_names(pod) if not ephemeral)


def _volume_changed(pod: Pod, old: Any | None, new: Any | None) -> bool:
    return old is None or new is None or volume_topology(old) != volume_topology(new)


class VolumeZone:
    """Wake-up hints."""

    name = "VolumeZone"

    def wakes_on(self) -> Sequence[Wake]:
        return (
            Wake(ClusterEvent("StorageClass", Action.ADD), _class_added),
            Wake(ClusterEvent(NODE, Action.ADD | Action.UPDATE_NODE_LABEL)),
            Wake(ClusterEvent("PersistentVolumeClaim", Action.ADD | UPDATE), _claim_changed),
            Wake(ClusterEvent("PersistentVolume", Action.ADD | UPDATE), _volume_changed),
        )
