"""VolumeZone: zone and region labels of bound volumes against those of the node.

Source: pkg/scheduler/framework/plugins/volumezone; spec/scheduling.md 7.3.
"""

from __future__ import annotations

from typing import ClassVar, Final

from lightkube.models.core_v1 import PersistentVolumeClaim, Pod

from volsched.api.edit import labels_of
from volsched.engine.profile import EngineProfile
from volsched.engine.reference.framework import SKIP, SUCCESS, NodeInfo, Plugin, Snapshot, Status, unresolvable
from volsched.rules.topology import BETA_REGION, BETA_ZONE, REGION, ZONE, ZONE_DELIMITER
from volsched.rules.volumes import WAIT_FOR_FIRST_CONSUMER, claim_names, class_of

_KEYS: Final = (BETA_ZONE, BETA_REGION, ZONE, REGION)
_GA_KEY: Final = {BETA_ZONE: ZONE, BETA_REGION: REGION}  # a beta label of a volume may be met by the GA label of a node


def _label_values(text: str) -> frozenset[str]:
    """The zones a label lists, none at all when one of them is empty."""
    values = frozenset(part.strip() for part in text.split(ZONE_DELIMITER))
    return frozenset() if "" in values else values


class VolumeZone(Plugin):
    name: ClassVar[str] = "VolumeZone"

    def __init__(self, snapshot: Snapshot, pod: Pod, profile: EngineProfile) -> None:
        super().__init__(snapshot, pod, profile)
        self._wanted: list[tuple[str, frozenset[str]]] = []
        self._status: Status | None = None  # of collecting, once that was done

    def pre_filter(self) -> tuple[Status, frozenset[str] | None]:
        status = self._collect_all()
        if not status.is_success:
            return status, None
        return (SUCCESS if self._wanted else SKIP), None

    def _collect_all(self) -> Status:
        if self._status is None:
            self._status = SUCCESS
            for _volume, claim_name, ephemeral in claim_names(self.pod):
                if not ephemeral and self._status.is_success:
                    self._status = self._collect(claim_name)
        return self._status

    def _collect(self, claim_name: str) -> Status:
        if not claim_name:
            return unresolvable("PersistentVolumeClaim had no name")
        claim = self.cluster.claim(self.namespace, claim_name)
        if claim is None:
            return unresolvable(f'persistentvolumeclaim "{claim_name}" not found')
        volume_name = (claim.spec.volumeName if claim.spec else None) or ""
        if not volume_name:
            return self._check_unbound(claim)
        pv = self.cluster.volume(volume_name)
        if pv is None:
            return unresolvable(f'persistentvolume "{volume_name}" not found')
        labels = labels_of(pv)
        for key in _KEYS:
            values = _label_values(labels[key]) if key in labels else frozenset()
            if values:
                self._wanted.append((key, values))
        return SUCCESS

    def _check_unbound(self, claim: PersistentVolumeClaim) -> Status:
        """A claim without a volume constrains nothing yet, provided that somebody will bind it after scheduling."""
        class_name = class_of(claim)
        if not class_name:
            return unresolvable("PersistentVolumeClaim had no pv name and storageClass name")
        storage_class = self.cluster.classes.get(class_name)
        if storage_class is None:
            return unresolvable(f'storageclass.storage.k8s.io "{class_name}" not found')
        if storage_class.volumeBindingMode is None:
            return unresolvable(f'VolumeBindingMode not set for StorageClass "{class_name}"')
        if storage_class.volumeBindingMode == WAIT_FOR_FIRST_CONSUMER:
            return SUCCESS
        return unresolvable("PersistentVolume had no name")

    def filter(self, node: NodeInfo) -> Status:
        status = self._collect_all()
        if not status.is_success:  # reached only where PreFilter did not say it
            return status
        if not any(key in node.labels for key in _KEYS):
            return SUCCESS
        for key, values in self._wanted:
            found = node.labels[key] if key in node.labels else node.labels.get(_GA_KEY.get(key, key))
            if found is None or found not in values:
                return unresolvable("node(s) had no available volume zone")
        return SUCCESS
