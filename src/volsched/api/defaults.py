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

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
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
    Affinity,
    Container,
    ContainerStatus,
    EmptyDirVolumeSource,
    Namespace,
    NamespaceStatus,
    Node,
    PersistentVolume,
    PersistentVolumeClaim,
    PersistentVolumeClaimSpec,
    PersistentVolumeClaimStatus,
    PersistentVolumeStatus,
    Pod,
    PodAffinityTerm,
    PodSecurityContext,
    PodSpec,
    PodStatus,
    PodTemplateSpec,
    Probe,
    ReplicationController,
    ResourceRequirements,
    Secret,
    Service,
    TopologySpreadConstraint,
    TypedLocalObjectReference,
    TypedObjectReference,
    Volume,
)
from lightkube.models.meta_v1 import LabelSelector, LabelSelectorRequirement, ObjectMeta
from lightkube.models.scheduling_v1 import PriorityClass
from lightkube.models.storage_v1 import CSIDriver, CSIStorageCapacity, StorageClass

from volsched.api.quantity import Quantity, parse
from volsched.errors import InputError

T = TypeVar("T")
ResourceList = dict[str, str]

SCHEDULER_NAME: Final = "default-scheduler"
GRACE_S: Final = 30
PREEMPT: Final = "PreemptLowerPriority"
FILESYSTEM: Final = "Filesystem"
SNAPSHOT_GROUP: Final = "snapshot.storage.k8s.io"
NAMESPACE_LABEL: Final = "kubernetes.io/metadata.name"

_FILE_MODE: Final = 0o644
_FILES: Final[Mapping[str, Any]] = {"defaultMode": _FILE_MODE}
# Volume source -> fields that have a default. A volume of a pod and a persistent volume share them.
_SOURCES: Final[Mapping[str, Mapping[str, Any]]] = {
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
_PV_SOURCES: Final = {name: fields for name, fields in _SOURCES.items() if name in ("hostPath", "iscsi", "rbd", "azureDisk", "scaleIO")}
# Shared between objects; nothing alters an object in place.
_NO_SECURITY: Final = PodSecurityContext()
_EMPTY_DIR: Final = EmptyDirVolumeSource()


def with_defaults(obj: T) -> T:
    """The object as the API server would store it; the same object when nothing changes."""
    rule = _RULES.get(type(obj))
    return obj if rule is None else rule(obj)


# Helpers


def _with(struct: T, changes: dict[str, Any]) -> T:
    """A copy with some fields changed, or the struct itself when there are none."""
    return msgspec.structs.replace(struct, **changes) if changes else struct  # type: ignore[type-var]


def _missing(struct: Any, defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Those defaults whose field is unset or an empty string (Go's zero value of a string field)."""
    return {name: value for name, value in defaults.items() if getattr(struct, name) in (None, "") and getattr(struct, name) != value}


def _each(items: list[T] | None, rule: Callable[[T], T]) -> list[T] | None:
    """The list with a rule applied to each element; the same list when no element changes."""
    if not items:
        return items
    made = [rule(item) for item in items]
    return made if any(new is not old for new, old in zip(made, items, strict=True)) else items


@lru_cache(maxsize=1 << 16)
def canonical(text: str) -> str:
    """A quantity's text as resource lists keep it: rounded up to milli, canonical. What cannot be parsed stays."""
    try:
        return str(parse(text).rounded_up())
    except InputError:
        return text


@lru_cache(maxsize=1 << 12)
def _canonical_only(text: str) -> str:
    try:
        return str(parse(text))
    except InputError:
        return text


def _list(quantities: ResourceList | None) -> ResourceList | None:
    """A resource list with every quantity canonical; the same list when they are already."""
    if not quantities:
        return quantities
    for value in quantities.values():
        if canonical(value) != value:
            return {key: canonical(value) for key, value in quantities.items()}
    return quantities


def _lists(struct: Any, *names: str) -> dict[str, Any]:
    """The changes that make the named resource lists of a struct canonical."""
    changes = {}
    for name in names:
        old = getattr(struct, name)
        new = _list(old)
        if new is not old:
            changes[name] = new
    return changes


# Pods


def _pod(pod: Pod) -> Pod:
    changes: dict[str, Any] = {}
    if pod.spec is not None:
        labels = (pod.metadata.labels if pod.metadata is not None else None) or {}
        spec = _own_pod_spec(pod_spec_defaults(pod.spec, requests_from_limits=True), labels)
        if spec is not pod.spec:
            changes["spec"] = spec
    status = _pod_status(pod.status)
    if status is not pod.status:
        changes["status"] = status
    return _with(pod, changes)


def _pod_status(status: PodStatus | None) -> PodStatus:
    if status is None:
        return PodStatus(phase="Pending")
    changes = _lists(status, "allocatedResources")
    if not status.phase:
        changes["phase"] = "Pending"
    for name in ("containerStatuses", "initContainerStatuses"):
        old = getattr(status, name)
        new = _each(old, _container_status)
        if new is not old:
            changes[name] = new
    if status.resources is not None:
        resources = _resources(status.resources)
        if resources is not status.resources:
            changes["resources"] = resources
    return _with(status, changes)


def _container_status(status: ContainerStatus) -> ContainerStatus:
    changes = _lists(status, "allocatedResources")
    if status.resources is not None:
        resources = _resources(status.resources)
        if resources is not status.resources:
            changes["resources"] = resources
    return _with(status, changes)


def pod_spec_defaults(spec: PodSpec, *, requests_from_limits: bool) -> PodSpec:
    """Defaults of a pod spec, of a pod or of a template. Only a pod's containers get requests from their limits."""
    changes: dict[str, Any] = {}
    for name in ("containers", "initContainers"):
        old = getattr(spec, name)
        new = _each(old, _pod_container if requests_from_limits else _container)
        if new is not old:
            changes[name] = new
    volumes = _each(spec.volumes, _volume)
    if volumes is not spec.volumes:
        changes["volumes"] = volumes
    overhead = _list(spec.overhead)
    if overhead is not spec.overhead:
        changes["overhead"] = overhead
    if not spec.restartPolicy:
        changes["restartPolicy"] = "Always"
    if not spec.dnsPolicy:
        changes["dnsPolicy"] = "ClusterFirst"
    if not spec.schedulerName:
        changes["schedulerName"] = SCHEDULER_NAME
    if spec.terminationGracePeriodSeconds is None:
        changes["terminationGracePeriodSeconds"] = GRACE_S
    if spec.securityContext is None:
        changes["securityContext"] = _NO_SECURITY
    account = spec.serviceAccountName or spec.serviceAccount
    if account and (spec.serviceAccountName, spec.serviceAccount) != (account, account):
        changes["serviceAccountName"] = changes["serviceAccount"] = account
    return _with(spec, changes)


def _own_pod_spec(spec: PodSpec, labels: Mapping[str, str]) -> PodSpec:
    """What applies to a pod but not to a template: the API server does it when the pod is created."""
    changes: dict[str, Any] = {}
    if spec.priority is None:
        changes["priority"] = 0
    if spec.preemptionPolicy is None:
        changes["preemptionPolicy"] = PREEMPT
    if spec.enableServiceLinks is None:
        changes["enableServiceLinks"] = True
    if spec.terminationGracePeriodSeconds is not None and spec.terminationGracePeriodSeconds < 0:
        changes["terminationGracePeriodSeconds"] = 1
    if spec.hostNetwork:
        for name in ("containers", "initContainers"):
            old = getattr(spec, name)
            new = _each(old, _host_ports)
            if new is not old:
                changes[name] = new
    if spec.affinity is not None:
        affinity = _affinity(spec.affinity, labels)
        if affinity is not spec.affinity:
            changes["affinity"] = affinity
    if spec.topologySpreadConstraints:
        constraints = _each(spec.topologySpreadConstraints, lambda item: _spread(item, labels))
        if constraints is not spec.topologySpreadConstraints:
            changes["topologySpreadConstraints"] = constraints
    if spec.resources is not None:
        resources = _pod_level(spec, _resources(spec.resources))
        if resources is not spec.resources:
            changes["resources"] = resources
    return _with(spec, changes)


def _pod_container(container: Container) -> Container:
    made = _container(container)
    resources = made.resources
    if resources is None or not resources.limits:
        return made
    requests = resources.requests or {}
    added = {key: value for key, value in resources.limits.items() if key not in requests}
    if not added:
        return made
    return msgspec.structs.replace(made, resources=msgspec.structs.replace(resources, requests={**requests, **added}))


def _container(container: Container) -> Container:
    changes: dict[str, Any] = {}
    if not container.imagePullPolicy:
        changes["imagePullPolicy"] = _pull_policy(container.image or "")
    if not container.terminationMessagePath:
        changes["terminationMessagePath"] = "/dev/termination-log"
    if not container.terminationMessagePolicy:
        changes["terminationMessagePolicy"] = "File"
    if container.resources is not None:
        resources = _resources(container.resources)
        if resources is not container.resources:
            changes["resources"] = resources
    if container.ports:
        ports = _each(container.ports, lambda port: _with(port, _missing(port, {"protocol": "TCP"})))
        if ports is not container.ports:
            changes["ports"] = ports
    for name in ("livenessProbe", "readinessProbe", "startupProbe"):
        old = getattr(container, name)
        if old is not None and (new := _probe(old)) is not old:
            changes[name] = new
    return _with(container, changes)


@lru_cache(maxsize=1 << 12)
def _pull_policy(image: str) -> str:
    """Always for an image without tag and digest or with tag latest, else IfNotPresent."""
    if not image or "@" in image:
        return "IfNotPresent"
    _, _, tag = image.rpartition("/")[2].partition(":")
    return "Always" if tag in ("", "latest") else "IfNotPresent"


def _probe(probe: Probe) -> Probe:
    numbers = {"timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3}
    changes: dict[str, Any] = {name: value for name, value in numbers.items() if not getattr(probe, name)}
    if probe.httpGet is not None:
        http = _with(probe.httpGet, _missing(probe.httpGet, {"path": "/", "scheme": "HTTP"}))
        if http is not probe.httpGet:
            changes["httpGet"] = http
    return _with(probe, changes)


def _host_ports(container: Container) -> Container:
    ports = _each(container.ports, lambda port: port if port.hostPort else msgspec.structs.replace(port, hostPort=port.containerPort))
    return container if ports is container.ports else msgspec.structs.replace(container, ports=ports)


def _resources(resources: ResourceRequirements) -> ResourceRequirements:
    return _with(resources, _lists(resources, "limits", "requests"))


def _sources(holder: Any, table: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Changes that fill in the defaults of whatever source a volume has."""
    changes = {}
    for name, defaults in table.items():
        source = getattr(holder, name)
        if source is not None and (missing := _missing(source, defaults)):
            changes[name] = msgspec.structs.replace(source, **missing)
    return changes


_VOLUME_FIELDS: Final = tuple(field.name for field in msgspec.structs.fields(Volume) if field.name != "name")


def _volume(volume: Volume) -> Volume:
    if volume.persistentVolumeClaim is not None:
        return volume
    changes = _sources(volume, _SOURCES)
    template = volume.ephemeral.volumeClaimTemplate if volume.ephemeral is not None else None
    if volume.emptyDir is not None and volume.emptyDir.sizeLimit is not None:
        limit = _canonical_only(volume.emptyDir.sizeLimit)
        if limit != volume.emptyDir.sizeLimit:
            changes["emptyDir"] = msgspec.structs.replace(volume.emptyDir, sizeLimit=limit)
    elif template is not None and volume.ephemeral is not None:
        spec = _claim_spec_form(template.spec)
        if spec is not template.spec:
            filled = msgspec.structs.replace(template, spec=spec)
            changes["ephemeral"] = msgspec.structs.replace(volume.ephemeral, volumeClaimTemplate=filled)
    elif all(getattr(volume, name) is None for name in _VOLUME_FIELDS):
        changes["emptyDir"] = _EMPTY_DIR
    return _with(volume, changes)


# matchLabelKeys: the values of the pod's own labels become part of the selectors


def _merged(selector: LabelSelector, keys: Sequence[str] | None, operator: str, labels: Mapping[str, str]) -> LabelSelector:
    """The selector with `key operator [value]` for every key among the labels.

    A key that already has a requirement with that operator was merged before: the same key in both places is refused by validation.
    """
    if not keys:
        return selector
    present = {(item.key, item.operator) for item in selector.matchExpressions or ()}
    added = [
        LabelSelectorRequirement(key=key, operator=operator, values=[labels[key]])
        for key in keys
        if key in labels and (key, operator) not in present
    ]
    return msgspec.structs.replace(selector, matchExpressions=[*(selector.matchExpressions or ()), *added]) if added else selector


def _spread(constraint: TopologySpreadConstraint, labels: Mapping[str, str]) -> TopologySpreadConstraint:
    if not constraint.matchLabelKeys or constraint.labelSelector is None:
        return constraint
    selector = _merged(constraint.labelSelector, constraint.matchLabelKeys, "In", labels)
    return constraint if selector is constraint.labelSelector else msgspec.structs.replace(constraint, labelSelector=selector)


def _term(term: PodAffinityTerm, labels: Mapping[str, str]) -> PodAffinityTerm:
    if term.labelSelector is None or not (term.matchLabelKeys or term.mismatchLabelKeys):
        return term
    selector = _merged(term.labelSelector, term.matchLabelKeys, "In", labels)
    selector = _merged(selector, term.mismatchLabelKeys, "NotIn", labels)
    return term if selector is term.labelSelector else msgspec.structs.replace(term, labelSelector=selector)


def _affinity(affinity: Affinity, labels: Mapping[str, str]) -> Affinity:
    changes: dict[str, Any] = {}
    for name in ("podAffinity", "podAntiAffinity"):
        group = getattr(affinity, name)
        if group is None:
            continue
        required = _each(group.requiredDuringSchedulingIgnoredDuringExecution, lambda term: _term(term, labels))
        preferred = _each(
            group.preferredDuringSchedulingIgnoredDuringExecution,
            lambda weighted: (
                weighted
                if (term := _term(weighted.podAffinityTerm, labels)) is weighted.podAffinityTerm
                else msgspec.structs.replace(weighted, podAffinityTerm=term)
            ),
        )
        below: dict[str, Any] = {}
        if required is not group.requiredDuringSchedulingIgnoredDuringExecution:
            below["requiredDuringSchedulingIgnoredDuringExecution"] = required
        if preferred is not group.preferredDuringSchedulingIgnoredDuringExecution:
            below["preferredDuringSchedulingIgnoredDuringExecution"] = preferred
        if below:
            changes[name] = msgspec.structs.replace(group, **below)
    return _with(affinity, changes)


# Pod-level resources


def _pod_level(spec: PodSpec, own: ResourceRequirements) -> ResourceRequirements:
    """Pod-level requests and hugepages limits out of those of the containers, where the pod states any."""
    if not own.requests and not own.limits:
        return own
    try:
        requested, limited = _aggregate(spec, "requests"), _aggregate(spec, "limits")
    except InputError:
        return own  # a quantity that cannot be parsed: validation names it
    requests, limits = dict(own.requests or {}), dict(own.limits or {})
    for key, amount in limited.items():
        if key.startswith("hugepages-") and key not in requests:
            limits.setdefault(key, str(amount))
    for key, amount in requested.items():
        if key in ("cpu", "memory"):
            requests.setdefault(key, str(amount))
    for key, text in limits.items():
        if key in ("cpu", "memory") or key.startswith("hugepages-"):
            requests.setdefault(key, text)
    changes: dict[str, Any] = {}
    if requests != (own.requests or {}):
        changes["requests"] = requests
    if limits != (own.limits or {}):
        changes["limits"] = limits
    return _with(own, changes)


def _aggregate(spec: PodSpec, side: str) -> dict[str, Quantity]:
    """Requests or limits of all containers together: what runs at once, init containers at their peak (spec/scheduling.md 3.2)."""

    def of(container: Container) -> dict[str, Quantity]:
        quantities = getattr(container.resources, side) if container.resources is not None else None
        return {key: parse(text) for key, text in (quantities or {}).items()}

    total: dict[str, Quantity] = {}
    for container in spec.containers:
        _add(total, of(container))
    beside: dict[str, Quantity] = {}  # sidecars started so far
    peak: dict[str, Quantity] = {}
    for container in spec.initContainers or ():
        own = of(container)
        if container.restartPolicy == "Always":
            _add(total, own)
            _add(beside, own)
            used = beside
        else:
            used = dict(own)
            _add(used, beside)
        _raise_to(peak, used)
    _raise_to(total, peak)
    return total


def _add(total: dict[str, Quantity], more: Mapping[str, Quantity]) -> None:
    for key, amount in more.items():
        total[key] = total[key] + amount if key in total else amount


def _raise_to(total: dict[str, Quantity], floor: Mapping[str, Quantity]) -> None:
    for key, amount in floor.items():
        if key not in total or amount > total[key]:
            total[key] = amount


# Claims and volumes


def _claim(claim: PersistentVolumeClaim) -> PersistentVolumeClaim:
    changes: dict[str, Any] = {}
    if claim.spec is not None:
        spec = _data_sources(_claim_spec_form(claim.spec))
        if spec is not claim.spec:
            changes["spec"] = spec
    status = claim.status
    if status is None:
        changes["status"] = PersistentVolumeClaimStatus(phase="Pending")
    else:
        below = _lists(status, "capacity", "allocatedResources")
        if not status.phase:
            below["phase"] = "Pending"
        if below:
            changes["status"] = msgspec.structs.replace(status, **below)
    return _with(claim, changes)


def _claim_spec_form(spec: PersistentVolumeClaimSpec) -> PersistentVolumeClaimSpec:
    changes: dict[str, Any] = {}
    if spec.volumeMode is None:
        changes["volumeMode"] = FILESYSTEM
    if spec.resources is not None and (below := _lists(spec.resources, "limits", "requests")):
        changes["resources"] = msgspec.structs.replace(spec.resources, **below)
    return _with(spec, changes)


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


def _volume_object(volume: PersistentVolume) -> PersistentVolume:
    changes: dict[str, Any] = {}
    spec = volume.spec
    if spec is not None:
        below = _sources(spec, _PV_SOURCES) | _lists(spec, "capacity")
        if not spec.persistentVolumeReclaimPolicy:
            below["persistentVolumeReclaimPolicy"] = "Retain"
        if spec.volumeMode is None:
            below["volumeMode"] = FILESYSTEM
        if below:
            changes["spec"] = msgspec.structs.replace(spec, **below)
    if volume.status is None:
        changes["status"] = PersistentVolumeStatus(phase="Pending")
    elif not volume.status.phase:
        changes["status"] = msgspec.structs.replace(volume.status, phase="Pending")
    return _with(volume, changes)


# Classes, drivers, nodes and the rest


def _storage_class(cls: StorageClass) -> StorageClass:
    changes: dict[str, Any] = {}
    if cls.reclaimPolicy is None:
        changes["reclaimPolicy"] = "Delete"
    if cls.volumeBindingMode is None:
        changes["volumeBindingMode"] = "Immediate"
    return _with(cls, changes)


_DRIVER: Final[Mapping[str, Any]] = {
    "attachRequired": True,
    "podInfoOnMount": False,
    "storageCapacity": False,
    "fsGroupPolicy": "ReadWriteOnceWithFSType",
    "requiresRepublish": False,
    "seLinuxMount": False,
    "preventPodSchedulingIfMissing": False,
}


def _driver(driver: CSIDriver) -> CSIDriver:
    changes: dict[str, Any] = {name: value for name, value in _DRIVER.items() if getattr(driver.spec, name) is None}
    if not driver.spec.volumeLifecycleModes:
        changes["volumeLifecycleModes"] = ["Persistent"]
    return msgspec.structs.replace(driver, spec=msgspec.structs.replace(driver.spec, **changes)) if changes else driver


def _storage_capacity(capacity: CSIStorageCapacity) -> CSIStorageCapacity:
    changes = {}
    for name in ("capacity", "maximumVolumeSize"):
        text = getattr(capacity, name)
        if text is not None and _canonical_only(text) != text:
            changes[name] = _canonical_only(text)
    return _with(capacity, changes)


def _node(node: Node) -> Node:
    if node.status is None:
        return node
    changes = _lists(node.status, "capacity", "allocatable")
    if node.status.allocatable is None and node.status.capacity is not None:
        changes["allocatable"] = _list(node.status.capacity)
    return msgspec.structs.replace(node, status=msgspec.structs.replace(node.status, **changes)) if changes else node


def _namespace(namespace: Namespace) -> Namespace:
    changes: dict[str, Any] = {}
    metadata = namespace.metadata or ObjectMeta()
    if metadata.name and (metadata.labels or {}).get(NAMESPACE_LABEL) != metadata.name:
        labels = {**(metadata.labels or {}), NAMESPACE_LABEL: metadata.name}
        changes["metadata"] = msgspec.structs.replace(metadata, labels=labels)
    if namespace.status is None or not namespace.status.phase:
        changes["status"] = msgspec.structs.replace(namespace.status or NamespaceStatus(), phase="Active")
    return _with(namespace, changes)


def _template(template: PodTemplateSpec) -> PodTemplateSpec:
    if template.spec is None:
        return template
    spec = pod_spec_defaults(template.spec, requests_from_limits=False)
    return template if spec is template.spec else msgspec.structs.replace(template, spec=spec)


def _replica_set(owner: ReplicaSet) -> ReplicaSet:
    changes: dict[str, Any] = {}
    if owner.spec.replicas is None:
        changes["replicas"] = 1
    if owner.spec.template is not None and (template := _template(owner.spec.template)) is not owner.spec.template:
        changes["template"] = template
    return msgspec.structs.replace(owner, spec=msgspec.structs.replace(owner.spec, **changes)) if changes else owner


def _stateful_set(owner: StatefulSet) -> StatefulSet:
    spec = owner.spec
    changes: dict[str, Any] = {}
    if not spec.podManagementPolicy:
        changes["podManagementPolicy"] = "OrderedReady"
    if spec.updateStrategy is None or not spec.updateStrategy.type:
        rolling = (spec.updateStrategy.rollingUpdate if spec.updateStrategy is not None else None) or RollingUpdateStatefulSetStrategy()
        rolling = _with(rolling, {"partition": 0} if rolling.partition is None else {})
        changes["updateStrategy"] = StatefulSetUpdateStrategy(type="RollingUpdate", rollingUpdate=rolling)
    retention = spec.persistentVolumeClaimRetentionPolicy or StatefulSetPersistentVolumeClaimRetentionPolicy()
    kept = _with(retention, _missing(retention, {"whenDeleted": "Retain", "whenScaled": "Retain"}))
    if kept is not spec.persistentVolumeClaimRetentionPolicy:
        changes["persistentVolumeClaimRetentionPolicy"] = kept
    for name, value in (("replicas", 1), ("revisionHistoryLimit", 10)):
        if getattr(spec, name) is None:
            changes[name] = value
    template = _template(spec.template)
    if template is not spec.template:
        changes["template"] = template
    claims = _each(spec.volumeClaimTemplates, _claim)
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
    if template is not None and (filled := _template(template)) is not template:
        changes["template"] = filled
    above: dict[str, Any] = {"spec": msgspec.structs.replace(spec, **changes)} if changes else {}
    if labels and owner.metadata is not None and not owner.metadata.labels:
        above["metadata"] = msgspec.structs.replace(owner.metadata, labels=dict(labels))
    return _with(owner, above)


def _service(service: Service) -> Service:
    spec = service.spec
    if spec is None:
        return service
    changes = _missing(spec, {"sessionAffinity": "None", "type": "ClusterIP"})
    if spec.internalTrafficPolicy is None and (spec.type or "ClusterIP") in ("ClusterIP", "NodePort", "LoadBalancer"):
        changes["internalTrafficPolicy"] = "Cluster"
    ports = _each(
        spec.ports,
        lambda port: _with(
            port, _missing(port, {"protocol": "TCP"}) | ({"targetPort": port.port} if port.targetPort in (None, 0, "") else {})
        ),
    )
    if ports is not spec.ports:
        changes["ports"] = ports
    return msgspec.structs.replace(service, spec=msgspec.structs.replace(spec, **changes)) if changes else service


def _secret(secret: Secret) -> Secret:
    return secret if secret.type else msgspec.structs.replace(secret, type="Opaque")


def _priority_class(cls: PriorityClass) -> PriorityClass:
    return cls if cls.preemptionPolicy is not None else msgspec.structs.replace(cls, preemptionPolicy=PREEMPT)


_RULES: Final[Mapping[type[Any], Callable[[Any], Any]]] = {
    Pod: _pod,
    PersistentVolumeClaim: _claim,
    PersistentVolume: _volume_object,
    StorageClass: _storage_class,
    CSIDriver: _driver,
    CSIStorageCapacity: _storage_capacity,
    Node: _node,
    Namespace: _namespace,
    ReplicaSet: _replica_set,
    StatefulSet: _stateful_set,
    ReplicationController: _replication_controller,
    Service: _service,
    Secret: _secret,
    PriorityClass: _priority_class,
}
