"""Validation of claims, volumes, classes, drivers, capacities and attachments, at creation and at update.

Each function appends what the API server would refuse, in its words. Immutability (spec/volumes.md 1.2) is checked by putting back what may
change and comparing the rest.
Source: kubernetes pkg/apis/core/validation (PersistentVolume, PersistentVolumeClaim), pkg/apis/storage/validation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from lightkube.models.core_v1 import (
    CSIPersistentVolumeSource,
    PersistentVolume,
    PersistentVolumeClaim,
    PersistentVolumeClaimSpec,
    PersistentVolumeSpec,
    TypedLocalObjectReference,
    TypedObjectReference,
    VolumeNodeAffinity,
)
from lightkube.models.storage_v1 import (
    CSIDriver,
    CSINode,
    CSIStorageCapacity,
    StorageClass,
    VolumeAttachment,
    VolumeAttributesClass,
)

from volsched.api import fields
from volsched.api.edit import annotations_of
from volsched.api.fields import Problems, same
from volsched.api.quantity import Quantity, parse
from volsched.errors import InputError

ACCESS_MODES: Final = ("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")
VOLUME_MODES: Final = ("Block", "Filesystem")
BINDING_MODES: Final = ("Immediate", "WaitForFirstConsumer")
BETA_CLASS: Final = "volume.beta.kubernetes.io/storage-class"

# Fields of a PersistentVolume spec that are volume sources, in the order upstream looks at them.
SOURCES: Final = (
    "hostPath",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "glusterfs",
    "flocker",
    "nfs",
    "rbd",
    "quobyte",
    "cephfs",
    "iscsi",
    "cinder",
    "fc",
    "flexVolume",
    "azureFile",
    "vsphereVolume",
    "photonPersistentDisk",
    "portworxVolume",
    "azureDisk",
    "scaleIO",
    "local",
    "storageos",
    "csi",
)
# Deprecated label keys that a volume's affinity may be moved away from.
_GA_KEYS: Final = {
    "failure-domain.beta.kubernetes.io/zone": "topology.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region": "topology.kubernetes.io/region",
    "beta.kubernetes.io/instance-type": "node.kubernetes.io/instance-type",
    "beta.kubernetes.io/os": "kubernetes.io/os",
    "beta.kubernetes.io/arch": "kubernetes.io/arch",
}
_PARAMETERS_MAX: Final = 512
_PARAMETER_BYTES_MAX: Final = 256 * 1024
_NODE_ID_MAX: Final = 256


def _access_modes(problems: Problems, path: str, modes: Sequence[str] | None, *, detail: str) -> None:
    if not modes:
        problems.required(path, detail)
    for mode in modes or ():
        if mode not in ACCESS_MODES:
            problems.unsupported(path, mode, ACCESS_MODES)
    known = [mode for mode in modes or () if mode in ACCESS_MODES]
    if "ReadWriteOncePod" in known and any(mode != "ReadWriteOncePod" for mode in known):
        problems.forbidden(path, "may not use ReadWriteOncePod with other access modes")


def _class_name(problems: Problems, path: str, name: str | None) -> None:
    if name:
        problems.each(path, name, fields.dns_subdomain(name))


# Claims


def claim(problems: Problems, obj: PersistentVolumeClaim) -> None:
    claim_spec(problems, "spec", obj.spec or PersistentVolumeClaimSpec())


def claim_spec(problems: Problems, path: str, spec: PersistentVolumeClaimSpec) -> None:
    """The spec of a claim, or of the template of an ephemeral volume."""
    _access_modes(problems, f"{path}.accessModes", spec.accessModes, detail="at least 1 access mode is required")
    fields.label_selector(problems, f"{path}.selector", spec.selector)
    requests = (spec.resources.requests if spec.resources is not None else None) or {}
    if "storage" not in requests:
        problems.required(f"{path}.resources[storage]")
    else:
        fields.positive(problems, f"{path}.resources[storage]", requests["storage"])
    _class_name(problems, f"{path}.storageClassName", spec.storageClassName)
    if spec.volumeMode is not None and spec.volumeMode not in VOLUME_MODES:
        problems.unsupported(f"{path}.volumeMode", spec.volumeMode, VOLUME_MODES)
    if spec.dataSource is not None:
        _data_source(problems, f"{path}.dataSource", spec.dataSource)
    if spec.dataSourceRef is not None:
        _data_source(problems, f"{path}.dataSourceRef", spec.dataSourceRef)
        if spec.dataSourceRef.namespace:
            problems.each(f"{path}.dataSourceRef.namespace", spec.dataSourceRef.namespace, fields.dns_label(spec.dataSourceRef.namespace))
    if spec.dataSource is not None and spec.dataSourceRef is not None:
        if spec.dataSourceRef.namespace:
            problems.invalid(path, f"{path}.dataSource", "may not be specified when dataSourceRef.namespace is specified")
        elif not _same_source(spec.dataSource, spec.dataSourceRef):
            problems.invalid(path, f"{path}.dataSource", "must match dataSourceRef")
    _class_name(problems, f"{path}.volumeAttributesClassName", spec.volumeAttributesClassName)


def _data_source(problems: Problems, path: str, source: TypedLocalObjectReference | TypedObjectReference) -> None:
    if not source.name:
        problems.required(f"{path}.name")
    if not source.kind:
        problems.required(f"{path}.kind")
    if not source.apiGroup and source.kind != "PersistentVolumeClaim":
        problems.invalid(path, source.kind, "must be 'PersistentVolumeClaim' when referencing the default apiGroup")
    if source.apiGroup:
        problems.each(f"{path}.apiGroup", source.apiGroup, fields.dns_subdomain(source.apiGroup))


def _same_source(source: TypedLocalObjectReference, ref: TypedObjectReference) -> bool:
    return (source.kind, source.name, source.apiGroup or "") == (ref.kind, ref.name, ref.apiGroup or "")


def _storage_of(requests: Mapping[str, str] | None) -> Quantity:
    try:
        return parse((requests or {}).get("storage", "0"))
    except InputError:
        return Quantity.zero()


def claim_update(problems: Problems, old: PersistentVolumeClaim, new: PersistentVolumeClaim) -> None:
    """The spec is immutable but for: volumeName once, a class where there was none, size and attributes class of a Bound claim."""
    claim(problems, new)
    before, after = old.spec or PersistentVolumeClaimSpec(), new.spec or PersistentVolumeClaimSpec()
    allowed: dict[str, Any] = {}
    if not before.volumeName:
        allowed["volumeName"] = before.volumeName
    allowed.update(_class_change(problems, old, new))
    if new.status is not None and new.status.phase == "Bound":
        allowed["volumeAttributesClassName"] = before.volumeAttributesClassName
        if after.resources is not None and after.resources.requests:
            size = ((before.resources.requests if before.resources is not None else None) or {}).get("storage", "0")
            requests = {**after.resources.requests, "storage": size}
            allowed["resources"] = msgspec.structs.replace(after.resources, requests=requests)
    if not same(msgspec.structs.replace(after, **allowed), before):
        problems.forbidden(
            "spec", "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims"
        )
    was = _storage_of(before.resources.requests if before.resources is not None else None)
    wanted = _storage_of(after.resources.requests if after.resources is not None else None)
    if wanted < was and wanted <= _storage_of(old.status.capacity if old.status is not None else None):
        problems.forbidden("spec.resources.requests.storage", "field can not be less than status.capacity")
    if after.volumeMode != before.volumeMode:
        problems.invalid("volumeMode", after.volumeMode, fields.IMMUTABLE)
    if before.volumeAttributesClassName != after.volumeAttributesClassName and not after.volumeAttributesClassName:
        current = old.status.currentVolumeAttributesClassName if old.status is not None else None
        if current is not None:
            what = "nil" if after.volumeAttributesClassName is None else "empty string"
            problems.forbidden(
                "spec.volumeAttributesClassName", f"update to {what} is forbidden when status.currentVolumeAttributesClassName is not nil"
            )


def _class_change(problems: Problems, old: PersistentVolumeClaim, new: PersistentVolumeClaim) -> dict[str, Any]:
    """The class to compare with: a claim without one may get one, and the beta annotation may be moved to the field."""
    before = old.spec.storageClassName if old.spec is not None else None
    after = new.spec.storageClassName if new.spec is not None else None
    annotated, annotated_now = annotations_of(old).get(BETA_CLASS), annotations_of(new).get(BETA_CLASS)
    if annotated is not None and before is None and after == annotated and annotated_now in (None, annotated):
        return {"storageClassName": None}
    if annotated != annotated_now:
        problems.invalid(f"metadata.annotations[{BETA_CLASS}]", annotated_now or "", fields.IMMUTABLE)
    if after is not None and before is None and annotated in (None, after):
        return {"storageClassName": before}
    return {}


def claim_status(problems: Problems, new: PersistentVolumeClaim) -> None:
    for name in ("capacity", "allocatedResources"):
        for key, text in (getattr(new.status, name, None) or {}).items():
            fields.not_negative(problems, f"status.{name}[{key}]", text)


# Volumes


def volume(problems: Problems, obj: PersistentVolume) -> None:
    spec = obj.spec or PersistentVolumeSpec()
    _access_modes(problems, "spec.accessModes", spec.accessModes, detail="")
    _capacity(problems, spec.capacity or {})
    if spec.persistentVolumeReclaimPolicy and spec.persistentVolumeReclaimPolicy not in ("Delete", "Recycle", "Retain"):
        problems.unsupported("spec.persistentVolumeReclaimPolicy", spec.persistentVolumeReclaimPolicy, ("Delete", "Recycle", "Retain"))
    if spec.nodeAffinity is not None:
        if spec.nodeAffinity.required is None:
            problems.required("spec.nodeAffinity.required", "must specify required node constraints")
        else:
            fields.node_selector(problems, "spec.nodeAffinity.required", spec.nodeAffinity.required)
    _source(problems, spec)
    _class_name(problems, "spec.storageClassName", spec.storageClassName)
    if spec.volumeMode is not None and spec.volumeMode not in VOLUME_MODES:
        problems.unsupported("spec.volumeMode", spec.volumeMode, VOLUME_MODES)
    if spec.volumeAttributesClassName is not None:
        if not spec.volumeAttributesClassName:
            problems.required("spec.volumeAttributesClassName", "an empty string is disallowed")
        _class_name(problems, "spec.volumeAttributesClassName", spec.volumeAttributesClassName)
        if spec.csi is None:
            problems.required("spec.csi", "has to be specified when using volumeAttributesClassName")


def _capacity(problems: Problems, capacity: Mapping[str, str]) -> None:
    if not capacity:
        problems.required("spec.capacity")
    if "storage" not in capacity or len(capacity) > 1:
        problems.unsupported("spec.capacity", capacity, ("storage",))
    for name, text in capacity.items():
        fields.positive(problems, f"spec.capacity[{name}]", text)


def _source(problems: Problems, spec: PersistentVolumeSpec) -> None:
    found = [name for name in SOURCES if getattr(spec, name) is not None]
    if not found:
        problems.required("spec", "must specify a volume type")
    for name in found[1:]:
        problems.forbidden(f"spec.{name}", "may not specify more than 1 volume type")
    if spec.hostPath is not None:
        _path(problems, "spec.hostPath.path", spec.hostPath.path)
        if spec.hostPath.path.rstrip("/") == "" and spec.persistentVolumeReclaimPolicy == "Recycle":
            problems.forbidden("spec.persistentVolumeReclaimPolicy", "may not be 'recycle' for a hostPath mount of '/'")
    if spec.local is not None:
        _path(problems, "spec.local.path", spec.local.path)
        if spec.nodeAffinity is None:
            problems.required("spec.nodeAffinity", "Local volume requires node affinity")
    if spec.csi is not None:
        _csi(problems, spec.csi)


def _path(problems: Problems, path: str, value: str) -> None:
    if not value:
        problems.required(path)
    elif ".." in value.split("/"):
        problems.invalid(path, value, "must not contain '..'")


def _csi(problems: Problems, csi: CSIPersistentVolumeSource) -> None:
    fields.driver_name(problems, "spec.csi.driver", csi.driver)
    if not csi.volumeHandle:
        problems.required("spec.csi.volumeHandle")
    for name in (
        "controllerPublishSecretRef",
        "controllerExpandSecretRef",
        "nodePublishSecretRef",
        "nodeExpandSecretRef",
        "nodeStageSecretRef",
    ):
        ref = getattr(csi, name)
        if ref is None:
            continue
        for part, good in (("name", fields.dns_subdomain), ("namespace", fields.dns_label)):
            value = getattr(ref, part)
            if not value:
                problems.required(f"spec.csi.{name}.{part}")
            else:
                problems.each(f"spec.csi.{name}.{part}", value, good(value))


def volume_update(problems: Problems, old: PersistentVolume, new: PersistentVolume) -> None:
    """Immutable: the source, the mode, and the node affinity once it is set."""
    volume(problems, new)
    before, after = old.spec or PersistentVolumeSpec(), new.spec or PersistentVolumeSpec()
    sources = {name: getattr(after, name) for name in SOURCES}
    if before.csi is not None and before.csi.controllerExpandSecretRef is None and after.csi is not None:
        sources["csi"] = msgspec.structs.replace(after.csi, controllerExpandSecretRef=None)
    if not same(sources, {name: getattr(before, name) for name in SOURCES}):
        problems.forbidden("spec.persistentvolumesource", "spec.persistentvolumesource is immutable after creation")
    if after.volumeMode != before.volumeMode:
        problems.invalid("volumeMode", after.volumeMode, fields.IMMUTABLE)
    if before.nodeAffinity is not None and not same(_moved(before.nodeAffinity, after.nodeAffinity), after.nodeAffinity):
        problems.invalid("nodeAffinity", after.nodeAffinity, f"{fields.IMMUTABLE}, except for updating from beta label to GA")
    if before.volumeAttributesClassName is not None and after.volumeAttributesClassName is None:
        problems.forbidden("spec.volumeAttributesClassName", "update from non-nil value to nil is forbidden")


def _moved(before: VolumeNodeAffinity, after: VolumeNodeAffinity | None) -> VolumeNodeAffinity:
    """The old affinity with deprecated keys replaced where the new one has their successors in the same place."""
    if before.required is None or after is None or after.required is None:
        return before
    terms = []
    for index, term in enumerate(before.required.nodeSelectorTerms):
        now = after.required.nodeSelectorTerms[index] if index < len(after.required.nodeSelectorTerms) else None
        keys = [item.key for item in (now.matchExpressions if now is not None else None) or ()]
        made = [
            msgspec.structs.replace(item, key=keys[place]) if place < len(keys) and _GA_KEYS.get(item.key) == keys[place] else item
            for place, item in enumerate(term.matchExpressions or ())
        ]
        terms.append(msgspec.structs.replace(term, matchExpressions=made or None))
    return msgspec.structs.replace(before, required=msgspec.structs.replace(before.required, nodeSelectorTerms=terms))


# Classes


def storage_class(problems: Problems, obj: StorageClass) -> None:
    _provisioner(problems, "provisioner", obj.provisioner)
    _parameters(problems, obj.parameters or {})
    if obj.reclaimPolicy and obj.reclaimPolicy not in ("Delete", "Retain"):
        problems.unsupported("reclaimPolicy", obj.reclaimPolicy, ("Delete", "Retain"))
    if obj.volumeBindingMode is None:
        problems.required("volumeBindingMode")
    elif obj.volumeBindingMode not in BINDING_MODES:
        problems.unsupported("volumeBindingMode", obj.volumeBindingMode, BINDING_MODES)
    _allowed_topologies(problems, obj)


def _allowed_topologies(problems: Problems, obj: StorageClass) -> None:
    terms: list[dict[str, frozenset[str]]] = []
    for index, term in enumerate(obj.allowedTopologies or ()):
        path = f"allowedTopologies[{index}]"
        found: dict[str, frozenset[str]] = {}
        for place, item in enumerate(term.matchLabelExpressions or ()):
            at = f"{path}.matchLabelExpressions[{place}]"
            if not item.values:
                problems.required(f"{at}.values")
            for number, value in enumerate(item.values):
                if value in item.values[:number]:
                    problems.duplicate(f"{at}.values[{number}]", value)
            problems.each(f"{at}.key", item.key, fields.label_key(item.key))
            if item.key in found:
                problems.duplicate(f"{at}.key", item.key)
            found[item.key] = frozenset(item.values)
        if found in terms:
            problems.duplicate(f"{path}.matchLabelExpressions", "")
        terms.append(found)


def _provisioner(problems: Problems, path: str, name: str) -> None:
    if not name:
        problems.required(path)
    else:
        problems.each(path, name.lower(), fields.label_key(name.lower()))


def _parameters(problems: Problems, parameters: Mapping[str, str], *, needed: bool = False) -> None:
    if len(parameters) > _PARAMETERS_MAX:
        problems.too_long("parameters", _PARAMETERS_MAX)
        return
    if "" in parameters:
        problems.invalid("parameters", "", "field can not be empty.")
    if sum(len(key.encode()) + len(value.encode()) for key, value in parameters.items()) > _PARAMETER_BYTES_MAX:
        problems.too_long("parameters", _PARAMETER_BYTES_MAX)
    if needed and not parameters:
        problems.required("parameters", "must contain at least one key/value pair")


def storage_class_update(problems: Problems, old: StorageClass, new: StorageClass) -> None:
    """allowedTopologies, mountOptions and allowVolumeExpansion may change, nothing else."""
    _allowed_topologies(problems, new)
    for name in ("parameters", "provisioner", "reclaimPolicy", "volumeBindingMode"):
        before, after = getattr(old, name), getattr(new, name)
        if (before or None) != (after or None):
            problems.invalid(name, after, fields.IMMUTABLE)


def attributes_class(problems: Problems, obj: VolumeAttributesClass) -> None:
    _provisioner(problems, "driverName", obj.driverName)
    _parameters(problems, obj.parameters or {}, needed=True)


def attributes_class_update(problems: Problems, old: VolumeAttributesClass, new: VolumeAttributesClass) -> None:
    if old.driverName != new.driverName:
        problems.forbidden("driverName", "updates to driverName are forbidden.")
    if (old.parameters or {}) != (new.parameters or {}):
        problems.forbidden("parameters", "updates to parameters are forbidden.")
    attributes_class(problems, new)


# Drivers, capacities, attachments


def driver(problems: Problems, obj: CSIDriver) -> None:
    policies = ("File", "None", "ReadWriteOnceWithFSType")
    if obj.spec.fsGroupPolicy is not None and obj.spec.fsGroupPolicy not in policies:
        problems.unsupported("spec.fsGroupPolicy", obj.spec.fsGroupPolicy, policies)
    for mode in obj.spec.volumeLifecycleModes or ():
        if mode not in ("Persistent", "Ephemeral"):
            problems.unsupported("spec.volumeLifecycleModes", mode, ("Persistent", "Ephemeral"))


def driver_update(problems: Problems, old: CSIDriver, new: CSIDriver) -> None:
    driver(problems, new)
    for path, name in (("spec.attachedRequired", "attachRequired"), ("spec.volumeLifecycleModes", "volumeLifecycleModes")):
        before, after = getattr(old.spec, name), getattr(new.spec, name)
        if before != after:
            problems.invalid(path, after, fields.IMMUTABLE)


def csi_node(problems: Problems, obj: CSINode) -> None:
    seen: set[str] = set()
    for index, item in enumerate(obj.spec.drivers):
        path = f"spec.drivers[{index}]"
        fields.driver_name(problems, f"{path}.name", item.name)
        if not item.nodeID:
            problems.required(f"{path}.nodeID")
        elif len(item.nodeID.encode()) > _NODE_ID_MAX:
            problems.invalid(f"{path}.nodeID", item.nodeID, f"must be {_NODE_ID_MAX} characters or less")
        count = item.allocatable.count if item.allocatable is not None else None
        if count is not None and count < 0:
            problems.invalid(f"{path}.allocatable.count", count, fields.NEGATIVE)
        if item.name in seen:
            problems.duplicate(f"{path}.name", item.name)
        seen.add(item.name)
        keys = item.topologyKeys or []
        for place, key in enumerate(keys):
            if not key:
                problems.required(path)
            if key in keys[:place]:
                problems.duplicate(path, key)
            problems.each(path, key, fields.label_key(key))


def csi_node_update(problems: Problems, old: CSINode, new: CSINode) -> None:
    """A driver's entry is immutable but for its count; entries may come and go."""
    csi_node(problems, new)
    before = {item.name: msgspec.structs.replace(item, allocatable=None) for item in old.spec.drivers}
    for item in new.spec.drivers:
        bare = msgspec.structs.replace(item, allocatable=None)
        if item.name in before and not same(before[item.name], bare):
            problems.invalid("spec.drivers", bare, fields.IMMUTABLE)


def storage_capacity(problems: Problems, obj: CSIStorageCapacity) -> None:
    fields.label_selector(problems, "nodeTopology", obj.nodeTopology)
    problems.each("storageClassName", obj.storageClassName, fields.dns_subdomain(obj.storageClassName))
    for name in ("capacity", "maximumVolumeSize"):
        text = getattr(obj, name)
        if text is not None:
            fields.not_negative(problems, name, text)


def storage_capacity_update(problems: Problems, old: CSIStorageCapacity, new: CSIStorageCapacity) -> None:
    storage_capacity(problems, new)
    if not same(old.nodeTopology, new.nodeTopology):
        problems.invalid("nodeTopology", new.nodeTopology, fields.IMMUTABLE)
    if old.storageClassName != new.storageClassName:
        problems.invalid("storageClassName", new.storageClassName, fields.IMMUTABLE)


def attachment(problems: Problems, obj: VolumeAttachment) -> None:
    fields.driver_name(problems, "spec.attacher", obj.spec.attacher)
    source = obj.spec.source
    both = "must specify exactly one of inlineVolumeSpec and persistentVolumeName"
    if source.inlineVolumeSpec is None and source.persistentVolumeName is None:
        problems.required("spec.source", both)
    elif source.inlineVolumeSpec is not None and source.persistentVolumeName is not None:
        problems.forbidden("spec.source", both)
    elif source.persistentVolumeName is not None:
        if not source.persistentVolumeName:
            problems.required("spec.source.persistentVolumeName", "must specify non empty persistentVolumeName")
        else:
            problems.each(
                "spec.source.persistentVolumeName", source.persistentVolumeName, fields.dns_subdomain(source.persistentVolumeName)
            )
    problems.each("spec.nodeName", obj.spec.nodeName, fields.dns_subdomain(obj.spec.nodeName))


def attachment_update(problems: Problems, old: VolumeAttachment, new: VolumeAttachment) -> None:
    attachment(problems, new)
    if not same(old.spec, new.spec):
        problems.invalid("spec", new.spec, fields.IMMUTABLE)
