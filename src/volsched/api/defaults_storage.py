"""Defaults of claims, volumes, classes, drivers and capacities.

Source: pkg/apis/core/v1/defaults.go, pkg/apis/storage/v1/defaults.go, pkg/registry/core/persistentvolumeclaim/strategy.go;
spec/volumes.md 1.2 and 3.9.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from lightkube.models.core_v1 import (
    PersistentVolume,
    PersistentVolumeClaim,
    PersistentVolumeClaimSpec,
    PersistentVolumeClaimStatus,
    PersistentVolumeStatus,
    TypedLocalObjectReference,
    TypedObjectReference,
)
from lightkube.models.storage_v1 import CSIDriver, CSIStorageCapacity, StorageClass

from volsched.api.filling import canonical_lists, canonical_only, changed, missing

FILESYSTEM: Final = "Filesystem"
SNAPSHOT_GROUP: Final = "snapshot.storage.k8s.io"

_FILE_MODE: Final = 0o644
_FILES: Final[Mapping[str, Any]] = {"defaultMode": _FILE_MODE}
# Volume source -> fields that have a default. A volume of a pod and a persistent volume share them.
SOURCES: Final[Mapping[str, Mapping[str, Any]]] = {
    "hostPath": {"type": ""},
    "secret": _FILES,
    "configMap": _FILES,
    "downwardAPI": _FILES,
    "projected": _FILES,
    "iscsi": {"iscsiInterface": "default"},
    "rbd": {"pool": "rbd", "user": "admin", "keyring": "/etc/ceph/keyring"},
    "azureDisk": {"cachingMode": "ReadWrite", "fsType": "ext4", "readOnly": False, "kind": "Shared"},
    "scaleIO": {"storageMode": "ThinProvisioned", "fsType": "xfs"},
}
_PV_SOURCES: Final = {name: fields for name, fields in SOURCES.items() if name in ("hostPath", "iscsi", "rbd", "azureDisk", "scaleIO")}


def sources(holder: Any, table: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Changes that fill in the defaults of whatever source a volume has."""
    changes = {}
    for name, defaults in table.items():
        source = getattr(holder, name)
        if source is not None and (unset := missing(source, defaults)):
            changes[name] = msgspec.structs.replace(source, **unset)
    return changes


# Claims and volumes


def claim(obj: PersistentVolumeClaim) -> PersistentVolumeClaim:
    changes: dict[str, Any] = {}
    if obj.spec is not None:
        spec = _data_sources(claim_spec(obj.spec))
        if spec is not obj.spec:
            changes["spec"] = spec
    status = obj.status
    if status is None:
        changes["status"] = PersistentVolumeClaimStatus(phase="Pending")
    else:
        below = canonical_lists(status, "capacity", "allocatedResources")
        if not status.phase:
            below["phase"] = "Pending"
        if below:
            changes["status"] = msgspec.structs.replace(status, **below)
    return changed(obj, changes)


def claim_spec(spec: PersistentVolumeClaimSpec) -> PersistentVolumeClaimSpec:
    changes: dict[str, Any] = {}
    if spec.volumeMode is None:
        changes["volumeMode"] = FILESYSTEM
    if spec.resources is not None and (below := canonical_lists(spec.resources, "limits", "requests")):
        changes["resources"] = msgspec.structs.replace(spec.resources, **below)
    return changed(spec, changes)


def _data_sources(spec: PersistentVolumeClaimSpec) -> PersistentVolumeClaimSpec:
    """dataSource and dataSourceRef copied from one another; a dataSource of a foreign kind alone is dropped, as upstream does silently."""
    source, ref = spec.dataSource, spec.dataSourceRef
    if source is not None and ref is None:
        if not _is_known_source(source):
            return msgspec.structs.replace(spec, dataSource=None)
        ref = TypedObjectReference(kind=source.kind, name=source.name, apiGroup=source.apiGroup)
        return msgspec.structs.replace(spec, dataSourceRef=ref)
    if ref is not None and source is None and not ref.namespace:
        source = TypedLocalObjectReference(kind=ref.kind, name=ref.name, apiGroup=ref.apiGroup)
        return msgspec.structs.replace(spec, dataSource=source)
    return spec


def _is_known_source(source: TypedLocalObjectReference) -> bool:
    return (source.kind, source.apiGroup or "") in (("PersistentVolumeClaim", ""), ("VolumeSnapshot", SNAPSHOT_GROUP))


def volume(obj: PersistentVolume) -> PersistentVolume:
    changes: dict[str, Any] = {}
    spec = obj.spec
    if spec is not None:
        below = sources(spec, _PV_SOURCES) | canonical_lists(spec, "capacity")
        if not spec.persistentVolumeReclaimPolicy:
            below["persistentVolumeReclaimPolicy"] = "Retain"
        if spec.volumeMode is None:
            below["volumeMode"] = FILESYSTEM
        if below:
            changes["spec"] = msgspec.structs.replace(spec, **below)
    if obj.status is None:
        changes["status"] = PersistentVolumeStatus(phase="Pending")
    elif not obj.status.phase:
        changes["status"] = msgspec.structs.replace(obj.status, phase="Pending")
    return changed(obj, changes)


# Classes, drivers, capacities


def storage_class(cls: StorageClass) -> StorageClass:
    changes: dict[str, Any] = {}
    if cls.reclaimPolicy is None:
        changes["reclaimPolicy"] = "Delete"
    if cls.volumeBindingMode is None:
        changes["volumeBindingMode"] = "Immediate"
    return changed(cls, changes)


_DRIVER: Final[Mapping[str, Any]] = {
    "attachRequired": True,
    "podInfoOnMount": False,
    "storageCapacity": False,
    "fsGroupPolicy": "ReadWriteOnceWithFSType",
    "requiresRepublish": False,
    "seLinuxMount": False,
    "preventPodSchedulingIfMissing": False,
}


def driver(obj: CSIDriver) -> CSIDriver:
    changes: dict[str, Any] = {name: value for name, value in _DRIVER.items() if getattr(obj.spec, name) is None}
    if not obj.spec.volumeLifecycleModes:
        changes["volumeLifecycleModes"] = ["Persistent"]
    return msgspec.structs.replace(obj, spec=msgspec.structs.replace(obj.spec, **changes)) if changes else obj


def storage_capacity(capacity: CSIStorageCapacity) -> CSIStorageCapacity:
    changes = {}
    for name in ("capacity", "maximumVolumeSize"):
        text = getattr(capacity, name)
        if text is not None and canonical_only(text) != text:
            changes[name] = canonical_only(text)
    return changed(capacity, changes)
