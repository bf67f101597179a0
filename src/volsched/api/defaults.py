"""What the API server fills in: API defaults and the rewriting it does when an object is created.

`with_defaults` gives back the same object when nothing is missing, else a changed copy that shares the untouched parts. It is idempotent,
so objects of a dump, which carry their defaults, pass through. Resource lists come out as the server stores them: rounded up to milli and
in canonical form (`1.5Gi` -> `1536Mi`); a quantity that cannot be parsed stays as it is, for validation to name.

Not here, because they need other objects or the time: priority classes, default tolerations, default storage class, finalizers
(admission, `volsched.store`).
Source: pkg/apis/{core,storage,apps,scheduling}/v1/defaults.go, pkg/registry/core/{pod,persistentvolumeclaim}/strategy.go,
pkg/api/pod/util.go DefaultPodLevelResources; spec/scheduling.md 2.1, spec/volumes.md 1.2 and 3.9.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

import msgspec
from lightkube.models.apps_v1 import (
    ReplicaSet,
    RollingUpdateStatefulSetStrategy,
    StatefulSet,
    StatefulSetPersistentVolumeClaimRetentionPolicy,
    StatefulSetUpdateStrategy,
)
from lightkube.models.core_v1 import (
    Namespace,
    NamespaceStatus,
    Node,
    PersistentVolume,
    PersistentVolumeClaim,
    Pod,
    ReplicationController,
    Secret,
    Service,
)
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.models.scheduling_v1 import PriorityClass
from lightkube.models.storage_v1 import CSIDriver, CSIStorageCapacity, StorageClass

from volsched.api import defaults_pod, defaults_storage
from volsched.api.filling import canonical_list, canonical_lists, changed, each, missing

T = TypeVar("T")

NAMESPACE_LABEL: Final = "kubernetes.io/metadata.name"


def with_defaults(obj: T) -> T:
    """The object as the API server would store it; the same object when nothing changes."""
    rule = _RULES.get(type(obj))
    return obj if rule is None else rule(obj)


def _node(node: Node) -> Node:
    if node.status is None:
        return node
    changes = canonical_lists(node.status, "capacity", "allocatable")
    if not node.status.allocatable and node.status.capacity:
        changes["allocatable"] = canonical_list(node.status.capacity)
    return msgspec.structs.replace(node, status=msgspec.structs.replace(node.status, **changes)) if changes else node


def _namespace(namespace: Namespace) -> Namespace:
    changes: dict[str, Any] = {}
    metadata = namespace.metadata or ObjectMeta()
    if metadata.name and (metadata.labels or {}).get(NAMESPACE_LABEL) != metadata.name:
        labels = {**(metadata.labels or {}), NAMESPACE_LABEL: metadata.name}
        changes["metadata"] = msgspec.structs.replace(metadata, labels=labels)
    if namespace.status is None or not namespace.status.phase:
        changes["status"] = msgspec.structs.replace(namespace.status or NamespaceStatus(), phase="Active")
    return changed(namespace, changes)


def _replica_set(owner: ReplicaSet) -> ReplicaSet:
    changes: dict[str, Any] = {}
    if owner.spec.replicas is None:
        changes["replicas"] = 1
    if owner.spec.template is not None and (template := defaults_pod.template(owner.spec.template)) is not owner.spec.template:
        changes["template"] = template
    return msgspec.structs.replace(owner, spec=msgspec.structs.replace(owner.spec, **changes)) if changes else owner


def _stateful_set(owner: StatefulSet) -> StatefulSet:
    spec = owner.spec
    changes: dict[str, Any] = {}
    if not spec.podManagementPolicy:
        changes["podManagementPolicy"] = "OrderedReady"
    if spec.updateStrategy is None or not spec.updateStrategy.type:
        rolling = (spec.updateStrategy.rollingUpdate if spec.updateStrategy is not None else None) or RollingUpdateStatefulSetStrategy()
        rolling = changed(rolling, {"partition": 0} if rolling.partition is None else {})
        changes["updateStrategy"] = StatefulSetUpdateStrategy(type="RollingUpdate", rollingUpdate=rolling)
    retention = spec.persistentVolumeClaimRetentionPolicy or StatefulSetPersistentVolumeClaimRetentionPolicy()
    kept = changed(retention, missing(retention, {"whenDeleted": "Retain", "whenScaled": "Retain"}))
    if kept is not spec.persistentVolumeClaimRetentionPolicy:
        changes["persistentVolumeClaimRetentionPolicy"] = kept
    for name, value in (("replicas", 1), ("revisionHistoryLimit", 10)):
        if getattr(spec, name) is None:
            changes[name] = value
    template = defaults_pod.template(spec.template)
    if template is not spec.template:
        changes["template"] = template
    claims = each(spec.volumeClaimTemplates, defaults_storage.claim)
    if claims is not spec.volumeClaimTemplates:
        changes["volumeClaimTemplates"] = claims
    return msgspec.structs.replace(owner, spec=msgspec.structs.replace(spec, **changes)) if changes else owner


def _replication_controller(owner: ReplicationController) -> ReplicationController:
    spec = owner.spec
    if spec is None:
        return owner
    changes: dict[str, Any] = {}
    template = spec.template
    labels = template.metadata.labels if template is not None and template.metadata is not None else None
    if spec.replicas is None:
        changes["replicas"] = 1
    if labels and not spec.selector:
        changes["selector"] = dict(labels)
    if template is not None and (filled := defaults_pod.template(template)) is not template:
        changes["template"] = filled
    above: dict[str, Any] = {"spec": msgspec.structs.replace(spec, **changes)} if changes else {}
    if labels and owner.metadata is not None and not owner.metadata.labels:
        above["metadata"] = msgspec.structs.replace(owner.metadata, labels=dict(labels))
    return changed(owner, above)


def _service(service: Service) -> Service:
    spec = service.spec
    if spec is None:
        return service
    changes = missing(spec, {"sessionAffinity": "None", "type": "ClusterIP"})
    if spec.internalTrafficPolicy is None and (spec.type or "ClusterIP") in ("ClusterIP", "NodePort", "LoadBalancer"):
        changes["internalTrafficPolicy"] = "Cluster"
    ports = each(
        spec.ports,
        lambda port: changed(
            port, missing(port, {"protocol": "TCP"}) | ({"targetPort": port.port} if port.targetPort in (None, 0, "") else {})
        ),
    )
    if ports is not spec.ports:
        changes["ports"] = ports
    return msgspec.structs.replace(service, spec=msgspec.structs.replace(spec, **changes)) if changes else service


def _secret(secret: Secret) -> Secret:
    return secret if secret.type else msgspec.structs.replace(secret, type="Opaque")


def _priority_class(cls: PriorityClass) -> PriorityClass:
    return cls if cls.preemptionPolicy is not None else msgspec.structs.replace(cls, preemptionPolicy=defaults_pod.PREEMPT)


_RULES: Final[Mapping[type[Any], Callable[[Any], Any]]] = {
    Pod: defaults_pod.pod,
    PersistentVolumeClaim: defaults_storage.claim,
    PersistentVolume: defaults_storage.volume,
    StorageClass: defaults_storage.storage_class,
    CSIDriver: defaults_storage.driver,
    CSIStorageCapacity: defaults_storage.storage_capacity,
    Node: _node,
    Namespace: _namespace,
    ReplicaSet: _replica_set,
    StatefulSet: _stateful_set,
    ReplicationController: _replication_controller,
    Service: _service,
    Secret: _secret,
    PriorityClass: _priority_class,
}
