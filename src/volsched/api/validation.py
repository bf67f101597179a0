"""What the API server refuses: rules for creating and for updating an object, as (field path, message) pairs.

`validate_create` and `validate_update` look at a defaulted object (`volsched.api.defaults`); an empty answer means it is accepted. The
rules are those that the specification names and those a storage scheduler depends on; fields that only a container runtime reads are not
looked at. A family of kinds has its rules in a module of its own (`validation_pod`, `validation_storage`, …); metadata
and all other kinds are here.
Source: apimachinery/pkg/api/validation/objectmeta.go, kubernetes pkg/apis/*/validation; spec/volumes.md 1.2, spec/snapshots.md 1.1 and 1.2.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal

from lightkube.models.apps_v1 import ReplicaSet, StatefulSet
from lightkube.models.core_v1 import (
    Node,
    PersistentVolume,
    PersistentVolumeClaim,
    Pod,
    ReplicationController,
    Service,
    Taint,
)
from lightkube.models.meta_v1 import ObjectMeta, OwnerReference
from lightkube.models.policy_v1 import PodDisruptionBudget
from lightkube.models.scheduling_v1 import PriorityClass
from lightkube.models.storage_v1 import CSIDriver, CSINode, CSIStorageCapacity, StorageClass, VolumeAttachment, VolumeAttributesClass

from volsched.api import fields, validation_gateway, validation_pod, validation_snapshot, validation_storage
from volsched.api.fields import Problems, same
from volsched.api.gateway import ReferenceGrant
from volsched.api.kinds import Kind, Object, kind_of
from volsched.api.snapshot import (
    VolumeGroupSnapshot,
    VolumeGroupSnapshotClass,
    VolumeGroupSnapshotContent,
    VolumeSnapshot,
    VolumeSnapshotClass,
    VolumeSnapshotContent,
)

_ANNOTATION_BYTES_MAX: Final = 256 * 1024
_USER_PRIORITY_MAX: Final = 1_000_000_000
_SYSTEM_PREFIX: Final = "system-"
_SYSTEM_CLASSES: Final = {"system-cluster-critical": 2_000_000_000, "system-node-critical": 2_000_001_000}


def validate_create(obj: Object) -> list[tuple[str, str]]:
    """(field path, message) of everything that keeps a new object from being created; empty when it is accepted."""
    problems = Problems()
    kind = kind_of(obj)
    metadata = obj.metadata or ObjectMeta()
    _metadata(problems, kind, metadata)
    rule = _CREATE.get(type(obj))
    if rule is not None:
        rule(problems, obj)
    return list(problems)


def validate_update(old: Object, new: Object, *, subresource: Literal["", "status"] = "") -> list[tuple[str, str]]:
    """(field path, message) of everything that keeps `new` from replacing `old`. `subresource` "status": only the status is written."""
    problems = Problems()
    kind = kind_of(new)
    before, after = old.metadata or ObjectMeta(), new.metadata or ObjectMeta()
    _metadata_update(problems, kind, before, after)
    if subresource == "status":
        rule = _STATUS.get(type(new))
        if rule is not None:
            rule(problems, old, new)
        return list(problems)
    update = _UPDATE.get(type(new))
    if update is not None:
        update(problems, old, new)
    elif (create := _CREATE.get(type(new))) is not None:
        create(problems, new)
    return list(problems)


# Metadata


def _name(kind: Kind, value: str, *, prefix: bool = False) -> Sequence[str]:
    """Complaints about an object's name; of a prefix (generateName) the trailing dash does not count."""
    if prefix and len(value) > 1 and value.endswith("-"):
        value = value[:-2] + "a"
    if kind.name == "Namespace":
        return fields.dns_label(value)
    if kind.name == "Service":
        return fields.dns_1035_label(value)
    return fields.dns_subdomain(value)


def _metadata(problems: Problems, kind: Kind, metadata: ObjectMeta) -> None:
    if metadata.generateName:
        problems.each("metadata.generateName", metadata.generateName, _name(kind, metadata.generateName, prefix=True))
    if not metadata.name:
        problems.required("metadata.name", "name or generateName is required")
    else:
        problems.each("metadata.name", metadata.name, _name(kind, metadata.name))
    if kind.namespaced:
        if metadata.namespace:
            problems.each("metadata.namespace", metadata.namespace, fields.dns_label(metadata.namespace))
    elif metadata.namespace:
        problems.forbidden("metadata.namespace", "not allowed on this type")
    _maps(problems, metadata)
    for name in metadata.finalizers or ():
        problems.each("metadata.finalizers", name, fields.label_key(name))


def _maps(problems: Problems, metadata: ObjectMeta) -> None:
    fields.labels(problems, "metadata.labels", metadata.labels)
    annotations = metadata.annotations or {}
    for key in annotations:
        problems.each("metadata.annotations", key, fields.label_key(key.lower()))
    if sum(len(key.encode()) + len(value.encode()) for key, value in annotations.items()) > _ANNOTATION_BYTES_MAX:
        problems.too_long("metadata.annotations", _ANNOTATION_BYTES_MAX)
    _owners(problems, metadata.ownerReferences or ())


def _owners(problems: Problems, owners: Sequence[OwnerReference]) -> None:
    controller = ""
    for index, owner in enumerate(owners):
        path = f"metadata.ownerReferences[{index}]"
        for name in ("apiVersion", "kind", "name", "uid"):
            if not getattr(owner, name):
                problems.required(f"{path}.{name}", "must not be empty")
        if owner.controller:
            current = f"{owner.kind}/{owner.name}"
            if controller:
                problems.invalid(
                    "metadata.ownerReferences",
                    list(owners),
                    f'Only one reference can have Controller set to true. Found "true" in references for {controller} and {current}',
                )
            else:
                controller = current


def _metadata_update(problems: Problems, kind: Kind, old: ObjectMeta, new: ObjectMeta) -> None:
    if old.deletionTimestamp is not None:
        added = sorted(set(new.finalizers or ()) - set(old.finalizers or ()))
        if added:
            listed = ", ".join(fields.shown(name) for name in added)
            problems.forbidden(
                "metadata.finalizers",
                f"no new finalizers can be added if the object is being deleted, found new finalizers []string{{{listed}}}",
            )
    if (new.generation or 0) < (old.generation or 0):
        problems.invalid("metadata.generation", new.generation or 0, "must not be decremented")
    for name in ("name", "namespace", "uid"):
        before, after = getattr(old, name) or "", getattr(new, name) or ""
        if before != after:
            problems.invalid(f"metadata.{name}", after, fields.IMMUTABLE)
    _maps(problems, new)
    for name in new.finalizers or ():
        problems.each("metadata.finalizers", name, fields.label_key(name))


# Nodes


def _node(problems: Problems, node: Node) -> None:
    taints = (node.spec.taints if node.spec is not None else None) or ()
    _taints(problems, taints)
    _node_resources(problems, node)


def _taints(problems: Problems, taints: Sequence[Taint]) -> None:
    # upstream names these paths after metadata
    seen: set[tuple[str, str]] = set()
    for index, taint in enumerate(taints):
        path = f"metadata.taints[{index}]"
        problems.each(f"{path}.key", taint.key, fields.label_key(taint.key))
        complaints = fields.label_value(taint.value or "")
        if complaints:
            problems.invalid(f"{path}.value", taint.value, ";".join(complaints))
        if not taint.effect:
            problems.required(f"{path}.effect")
        elif taint.effect not in validation_pod.EFFECTS:
            problems.unsupported(f"{path}.effect", taint.effect, validation_pod.EFFECTS)
        if (taint.key, taint.effect) in seen:
            problems.duplicate(path, taint, "taints must be unique by key and effect pair")
        seen.add((taint.key, taint.effect))


def _node_resources(problems: Problems, node: Node) -> None:
    for name in ("capacity", "allocatable"):
        for key, text in (getattr(node.status, name, None) or {}).items():
            fields.not_negative(problems, f"status.{name}.{key}", text)


def _node_status(problems: Problems, old: Node, new: Node) -> None:
    _node_resources(problems, new)


def _node_update(problems: Problems, old: Node, new: Node) -> None:
    _node(problems, new)
    before = old.spec.providerID if old.spec is not None else None
    after = new.spec.providerID if new.spec is not None else None
    if before and before != after:
        problems.invalid("spec.providerID", None, "field cannot be modified once set" if after else "field cannot be cleared once set")


# Owners of pods, budgets, priorities


def _replica_set(problems: Problems, obj: ReplicaSet | StatefulSet) -> None:
    _replicas(problems, obj.spec.replicas)
    selector = obj.spec.selector
    fields.label_selector(problems, "spec.selector", selector)
    if not selector.matchLabels and not selector.matchExpressions:
        problems.invalid("spec.selector", selector, f"empty selector is invalid for {obj.kind.lower() if obj.kind else 'this kind'}")
    template = obj.spec.template
    labels = (template.metadata.labels if template is not None and template.metadata is not None else None) or {}
    if template is not None and any(labels.get(key) != value for key, value in (selector.matchLabels or {}).items()):
        problems.invalid("spec.template.metadata.labels", labels, "`selector` does not match template `labels`")


def _replica_set_update(problems: Problems, old: ReplicaSet, new: ReplicaSet) -> None:
    _replica_set(problems, new)
    if not same(old.spec.selector, new.spec.selector):
        problems.invalid("spec.selector", new.spec.selector, fields.IMMUTABLE)


def _stateful_set_update(problems: Problems, old: StatefulSet, new: StatefulSet) -> None:
    _replica_set(problems, new)
    fixed = ("selector", "serviceName", "podManagementPolicy", "volumeClaimTemplates")
    if any(not same(getattr(old.spec, name), getattr(new.spec, name)) for name in fixed):
        problems.forbidden(
            "spec",
            "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', "
            "'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden",
        )


def _replicas(problems: Problems, replicas: int | None) -> None:
    if replicas is not None and replicas < 0:
        problems.invalid("spec.replicas", replicas, fields.NEGATIVE)


def _replication_controller(problems: Problems, obj: ReplicationController) -> None:
    spec = obj.spec
    if spec is None:
        return
    _replicas(problems, spec.replicas)
    if not spec.selector:
        problems.required("spec.selector")
    if spec.template is None:
        problems.required("spec.template")


def _budget(problems: Problems, obj: PodDisruptionBudget) -> None:
    spec = obj.spec
    if spec is None:
        return
    if spec.minAvailable is not None and spec.maxUnavailable is not None:
        problems.invalid("spec", spec, "minAvailable and maxUnavailable cannot be both set")
    for name in ("minAvailable", "maxUnavailable"):
        value = getattr(spec, name)
        if isinstance(value, int) and value < 0:
            problems.invalid(f"spec.{name}", value, fields.NEGATIVE)
        elif isinstance(value, str) and not (value.endswith("%") and value[:-1].isdecimal()):
            detail = "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for "
            problems.invalid(f"spec.{name}", value, f"{detail}validation is '[0-9]+%')")
    fields.label_selector(problems, "spec.selector", spec.selector)


def _priority_class(problems: Problems, obj: PriorityClass) -> None:
    name = (obj.metadata.name if obj.metadata is not None else None) or ""
    if name.startswith(_SYSTEM_PREFIX):
        if _SYSTEM_CLASSES.get(name) != obj.value:
            detail = f"priority class names with '{_SYSTEM_PREFIX}' prefix are reserved for system use only. error: "
            known = (
                f"{name} is not a known system priority class" if name not in _SYSTEM_CLASSES else f"value of {name} PriorityClass must be "
            )
            number = str(_SYSTEM_CLASSES[name]) if name in _SYSTEM_CLASSES else ""
            problems.forbidden("metadata.name", detail + known + number)
    elif (obj.value or 0) > _USER_PRIORITY_MAX:
        problems.forbidden("value", f"maximum allowed value of a user defined priority is {_USER_PRIORITY_MAX}")
    if obj.preemptionPolicy is not None and obj.preemptionPolicy not in ("PreemptLowerPriority", "Never"):
        problems.unsupported("preemptionPolicy", obj.preemptionPolicy, ("PreemptLowerPriority", "Never"))


def _priority_class_update(problems: Problems, old: PriorityClass, new: PriorityClass) -> None:
    if old.value != new.value:
        problems.forbidden("value", "may not be changed in an update.")
    if old.preemptionPolicy != new.preemptionPolicy:
        problems.invalid("preemptionPolicy", new.preemptionPolicy, fields.IMMUTABLE)


def _service(problems: Problems, obj: Service) -> None:
    if obj.spec is not None:
        fields.labels(problems, "spec.selector", obj.spec.selector)


# Tables: type -> rule. A type without an update rule is held to its creation rule again.

_CREATE: Final[Mapping[type[Any], Callable[[Problems, Any], None]]] = {
    Pod: validation_pod.pod,
    PersistentVolumeClaim: validation_storage.claim,
    PersistentVolume: validation_storage.volume,
    StorageClass: validation_storage.storage_class,
    VolumeAttributesClass: validation_storage.attributes_class,
    CSIDriver: validation_storage.driver,
    CSINode: validation_storage.csi_node,
    CSIStorageCapacity: validation_storage.storage_capacity,
    VolumeAttachment: validation_storage.attachment,
    VolumeSnapshot: validation_snapshot.snapshot,
    VolumeSnapshotClass: validation_snapshot.snapshot_class,
    VolumeSnapshotContent: validation_snapshot.content,
    VolumeGroupSnapshot: validation_snapshot.group_snapshot,
    VolumeGroupSnapshotClass: validation_snapshot.snapshot_class,
    VolumeGroupSnapshotContent: validation_snapshot.group_content,
    ReferenceGrant: validation_gateway.reference_grant,
    Node: _node,
    Service: _service,
    ReplicaSet: _replica_set,
    StatefulSet: _replica_set,
    ReplicationController: _replication_controller,
    PodDisruptionBudget: _budget,
    PriorityClass: _priority_class,
}

_UPDATE: Final[Mapping[type[Any], Callable[[Problems, Any, Any], None]]] = {
    Pod: validation_pod.pod_update,
    PersistentVolumeClaim: validation_storage.claim_update,
    PersistentVolume: validation_storage.volume_update,
    StorageClass: validation_storage.storage_class_update,
    VolumeAttributesClass: validation_storage.attributes_class_update,
    CSIDriver: validation_storage.driver_update,
    CSINode: validation_storage.csi_node_update,
    CSIStorageCapacity: validation_storage.storage_capacity_update,
    VolumeAttachment: validation_storage.attachment_update,
    VolumeSnapshot: validation_snapshot.snapshot_update,
    VolumeSnapshotContent: validation_snapshot.content_update,
    VolumeGroupSnapshot: validation_snapshot.group_snapshot_update,
    VolumeGroupSnapshotClass: validation_snapshot.group_class_update,
    VolumeGroupSnapshotContent: validation_snapshot.group_content_update,
    Node: _node_update,
    ReplicaSet: _replica_set_update,
    StatefulSet: _stateful_set_update,
    PriorityClass: _priority_class_update,
}


def _claim_status(problems: Problems, old: PersistentVolumeClaim, new: PersistentVolumeClaim) -> None:
    validation_storage.claim_status(problems, new)


def _content_status(problems: Problems, old: VolumeSnapshotContent, new: VolumeSnapshotContent) -> None:
    validation_snapshot.content_status(problems, new)


_STATUS: Final[Mapping[type[Any], Callable[[Problems, Any, Any], None]]] = {
    PersistentVolumeClaim: _claim_status,
    VolumeSnapshotContent: _content_status,
    VolumeGroupSnapshot: validation_snapshot.group_snapshot_status,
    VolumeGroupSnapshotContent: validation_snapshot.group_content_status,
    Node: _node_status,
}
