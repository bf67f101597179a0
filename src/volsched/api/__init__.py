"""Kubernetes objects and what belongs to their form: kinds, quantities, manifests, defaults, validation, watch events.

Objects are msgspec Structs with Kubernetes' own field names, treated as immutable (`volsched.api.edit` makes changed copies). The types
most programs need are re-exported here and imported on first use, so that `import volsched.api` stays cheap.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from lightkube.models.core_v1 import Namespace, Node, PersistentVolume, PersistentVolumeClaim, Pod
    from lightkube.models.meta_v1 import LabelSelector, ObjectMeta
    from lightkube.models.storage_v1 import CSIDriver, CSINode, CSIStorageCapacity, StorageClass, VolumeAttachment

    from volsched.api.kinds import KINDS, Key, key_of
    from volsched.api.quantity import Quantity
    from volsched.api.snapshot import VolumeGroupSnapshot, VolumeSnapshot, VolumeSnapshotClass, VolumeSnapshotContent
    from volsched.api.watch import Change, WatchEvent

_CORE, _META, _STORAGE = "lightkube.models.core_v1", "lightkube.models.meta_v1", "lightkube.models.storage_v1"
_HOME: Final = {
    **dict.fromkeys(("Namespace", "Node", "PersistentVolume", "PersistentVolumeClaim", "Pod"), _CORE),
    **dict.fromkeys(("LabelSelector", "ObjectMeta"), _META),
    **dict.fromkeys(("CSIDriver", "CSINode", "CSIStorageCapacity", "StorageClass", "VolumeAttachment"), _STORAGE),
    **dict.fromkeys(("VolumeGroupSnapshot", "VolumeSnapshot", "VolumeSnapshotClass", "VolumeSnapshotContent"), "volsched.api.snapshot"),
    **dict.fromkeys(("KINDS", "Key", "key_of"), "volsched.api.kinds"),
    **dict.fromkeys(("Change", "WatchEvent"), "volsched.api.watch"),
    "Quantity": "volsched.api.quantity",
}

__all__ = [
    "KINDS",
    "CSIDriver",
    "CSINode",
    "CSIStorageCapacity",
    "Change",
    "Key",
    "LabelSelector",
    "Namespace",
    "Node",
    "ObjectMeta",
    "PersistentVolume",
    "PersistentVolumeClaim",
    "Pod",
    "Quantity",
    "StorageClass",
    "VolumeAttachment",
    "VolumeGroupSnapshot",
    "VolumeSnapshot",
    "VolumeSnapshotClass",
    "VolumeSnapshotContent",
    "WatchEvent",
    "key_of",
]


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
