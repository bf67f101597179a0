"""NodeVolumeLimits: how many volumes of a CSI driver a node can attach.

Volumes count once by driver and handle, whoever uses them. A claim that has no volume yet counts for its class's provisioner, under a
handle of its own. In-tree volumes count for the driver that replaces their plugin, on nodes that have a CSINode at all.
A volume that is attached but that no pod on the node uses counts beside the new ones, even when it is one of them.

Source: pkg/scheduler/framework/plugins/nodevolumelimits/csi.go; spec/scheduling.md 7.2.
"""

from __future__ import annotations

from collections import Counter
from typing import ClassVar

from lightkube.models.core_v1 import PersistentVolume, PersistentVolumeClaim, Pod
from lightkube.models.storage_v1 import CSINode

from volsched.engine.reference.framework import SKIP, SUCCESS, NodeInfo, Plugin, Status, failed, unresolvable, unschedulable
from volsched.rules.translation import TranslationError, driver_volume, is_in_tree, migrated_driver, plugin_of_inline, translate_inline
from volsched.rules.volumes import class_of, ephemeral_claim_name, is_owned_by_pod, not_owner_text

_Volumes = dict[tuple[str, str], None]  # (driver, handle), in order of first use


class _Unusable(Exception):
    """Counting had to stop; carries the status to answer."""

    def __init__(self, status: Status) -> None:
        super().__init__(status.text)
        self.status = status


def _volume_key(pv: PersistentVolume, csi_node: CSINode | None) -> tuple[str, str] | None:
    """Driver and handle of a bound volume, None when no driver counts it."""
    if pv.spec is not None and pv.spec.csi is not None:
        return pv.spec.csi.driver, pv.spec.csi.volumeHandle
    if csi_node is None:
        return None
    try:
        translated = driver_volume(pv)
    except TranslationError:
        return None
    return (translated.driver, translated.handle) if translated else None


class NodeVolumeLimits(Plugin):
    name: ClassVar[str] = "NodeVolumeLimits"

    def pre_filter(self) -> tuple[Status, frozenset[str] | None]:
        counted = any(
            volume.persistentVolumeClaim is not None or volume.ephemeral is not None or plugin_of_inline(volume) is not None
            for volume in self.spec.volumes or ()
        )
        return (SUCCESS if counted else SKIP), None

    def filter(self, node: NodeInfo) -> Status:
        csi_node = self.cluster.csi_nodes.get(node.name)
        try:
            wanted = self._volumes_of(self.pod, csi_node, is_new=True)
            if not wanted:
                return SUCCESS
            missing = self._missing_driver(wanted, csi_node)
            if missing is not None:
                return unschedulable(f"{missing} CSI driver is not installed on the node")
            limits = {
                driver.name: driver.allocatable.count
                for driver in (csi_node.spec.drivers if csi_node and csi_node.spec else None) or ()
                if driver.allocatable is not None and driver.allocatable.count is not None
            }
            if not limits:
                return SUCCESS
            attached: _Volumes = {}
            for pod in node.pods:
                attached.update(self._volumes_of(pod, csi_node, is_new=False))
        except _Unusable as stop:
            return stop.status
        counts = Counter(driver for driver, _handle in attached)
        counts.update(driver for driver, _handle in self._attachments(node.name) if (driver, _handle) not in attached)
        new = Counter(driver for driver, handle in wanted if (driver, handle) not in attached)
        if any(driver in limits and counts[driver] + number > limits[driver] for driver, number in new.items()):
            return unschedulable("node(s) exceed max volume count")
        return SUCCESS

    def _missing_driver(self, wanted: _Volumes, csi_node: CSINode | None) -> str | None:
        """A driver that the node needs and lacks, when its CSIDriver says that this matters."""
        installed = {driver.name for driver in (csi_node.spec.drivers if csi_node and csi_node.spec else None) or ()}
        for driver in sorted({driver for driver, _handle in wanted}):  # of several, upstream names any one
            known = self.cluster.csi_drivers.get(driver)
            if known is not None and known.spec.preventPodSchedulingIfMissing and driver not in installed:
                return driver
        return None

    def _attachments(self, node_name: str) -> _Volumes:
        found: _Volumes = {}
        for attachment in self.cluster.attachments.values():
            if attachment.spec.nodeName != node_name or not attachment.spec.attacher:
                continue
            pv = self.cluster.volume(attachment.spec.source.persistentVolumeName or "")
            if pv is not None and pv.spec is not None and pv.spec.csi is not None:
                found[attachment.spec.attacher, pv.spec.csi.volumeHandle] = None
        return found

    def _volumes_of(self, pod: Pod, csi_node: CSINode | None, *, is_new: bool) -> _Volumes:
        found: _Volumes = {}
        pod_name = (pod.metadata.name if pod.metadata else None) or ""
        namespace = (pod.metadata.namespace if pod.metadata else None) or "default"
        for volume in (pod.spec.volumes if pod.spec else None) or ():
            if volume.persistentVolumeClaim is not None:
                claim_name = volume.persistentVolumeClaim.claimName
            elif volume.ephemeral is not None:
                claim_name = ephemeral_claim_name(pod_name, volume.name)
            else:
                if plugin_of_inline(volume) is not None and csi_node is not None:
                    try:
                        translated = translate_inline(volume)
                    except TranslationError as problem:
                        text = f"converting volume({volume.name}) from inline to csi: {problem}"
                        raise _Unusable(failed(text)) from problem
                    if translated is not None:
                        found[translated.driver, translated.handle] = None
                continue
            claim = self.cluster.claim(namespace, claim_name)
            if claim is None:
                if is_new:
                    text = f'looking up PVC {namespace}/{claim_name}: persistentvolumeclaim "{claim_name}" not found'
                    raise _Unusable(unresolvable(text))
                continue
            if volume.ephemeral is not None and volume.persistentVolumeClaim is None and not is_owned_by_pod(claim, pod):
                raise _Unusable(failed(not_owner_text(claim, pod)))
            key = self._claim_key(claim, namespace, claim_name, csi_node)
            if key is not None:
                found[key] = None
        return found

    def _claim_key(self, claim: PersistentVolumeClaim, namespace: str, name: str, csi_node: CSINode | None) -> tuple[str, str] | None:
        """Driver and handle that a claim counts as, None when it does not count."""
        volume_name = (claim.spec.volumeName if claim.spec else None) or ""
        pv = self.cluster.volume(volume_name) if volume_name else None
        if pv is not None:
            return _volume_key(pv, csi_node)
        storage_class = self.cluster.classes.get(class_of(claim))
        if storage_class is None:
            return None
        driver: str | None = storage_class.provisioner
        if is_in_tree(storage_class.provisioner):
            driver = migrated_driver(storage_class.provisioner) if csi_node is not None else None
        return (driver, f"{namespace}/{name}") if driver else None
