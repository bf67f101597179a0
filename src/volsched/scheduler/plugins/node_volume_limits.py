"""NodeVolumeLimits: a node attaches only so many volumes of one CSI driver.

A pod wakes when a limit rises, when a node gets its CSINode, when an attachment ends or a pod with volumes leaves, and when one of its
claims appears.

Source: pkg/scheduler/framework/plugins/nodevolumelimits/csi.go; spec/scheduling.md 7.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lightkube.models.core_v1 import Pod
from lightkube.models.storage_v1 import CSINode

from volsched.api.kinds import meta
from volsched.rules.translation import plugin_of_inline, translate_inline
from volsched.rules.volumes import claim_names
from volsched.scheduler.events import ASSIGNED_POD_DELETE, UPDATE, Action, ClusterEvent
from volsched.scheduler.framework import Wake
from volsched.scheduler.plugins.node_ports import occupies_a_node


def _limits(csi_node: CSINode) -> dict[str, int]:
    """Driver -> attach limit; no limit reads as 0 here."""
    drivers = (csi_node.spec.drivers if csi_node.spec else None) or ()
    return {driver.name: (driver.allocatable.count or 0) if driver.allocatable else 0 for driver in drivers}


def _limit_rose(pod: Pod, old: Any | None, new: Any | None) -> bool:
    if old is None or new is None:
        return True
    before = _limits(old)
    return any(limit > before.get(driver, 0) for driver, limit in _limits(new).items())


def _pod_left(pod: Pod, old: Any | None, new: Any | None) -> bool:
    if old is None or not occupies_a_node(old):
        return False
    volumes = (old.spec.volumes if old.spec else None) or ()
    return any(v.persistentVolumeClaim is not None or v.ephemeral is not None or plugin_of_inline(v) is not None for v in volumes)


def claim_of_pod_changed(pod: Pod, old: Any | None, new: Any | None) -> bool:
    """Whether the claim is one of the pod's, those of ephemeral volumes included."""
    if new is None or (meta(new).namespace or "default") != (meta(pod).namespace or "default"):
        return False
    return any(claim == meta(new).name for _, claim, _ in claim_names(pod))


def _attachment_gone(pod: Pod, old: Any | None, new: Any | None) -> bool:
    for volume in (pod.spec.volumes if pod.spec else None) or ():
        if volume.persistentVolumeClaim is not None:
            return True  # which driver its volume belongs to may not be known yet
        if plugin_of_inline(volume) is None:
            continue
        translated = translate_inline(volume)
        if translated is None or (old is not None and old.spec and old.spec.attacher == translated.driver):
            return True
    return False


class NodeVolumeLimits:
    """Wake-up hints."""

    name = "NodeVolumeLimits"

    def wakes_on(self) -> Sequence[Wake]:
        return (
            Wake(ClusterEvent("CSINode", Action.ADD)),
            Wake(ClusterEvent("CSINode", UPDATE), _limit_rose),
            Wake(ASSIGNED_POD_DELETE, _pod_left),
            Wake(ClusterEvent("PersistentVolumeClaim", Action.ADD), claim_of_pod_changed),
            Wake(ClusterEvent("VolumeAttachment", Action.DELETE), _attachment_gone),
        )
