"""Objects as packed rows: what the native engine reads.

A row is bytes: little-endian integers (u8, u32, i64), 128-bit nanos, texts and lists with a 32-bit length in front. One function per kind
writes one row; the native reader (row_reader.hpp, cluster*.cpp) reads the fields in the same order. Semantics stay where they are written
down once: resources and CSI migration come from `volsched.rules`; selectors go over as they are and are judged natively.

A pod becomes two rows. Its *program* is what pods of one template have in common and is compiled once for all of them; its *instance* is
its own: name, uid, labels, claims. A pod on a node may have a third, its *usage*, when its status changes what it takes.

This module is the plain version. `_rows.pyx` is its compiled twin, the one the engine uses; both give the same bytes, and a test holds
them to it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from lightkube.models.apps_v1 import ReplicaSet, StatefulSet
from lightkube.models.core_v1 import (
    Container,
    Namespace,
    Node,
    NodeSelector,
    NodeSelectorRequirement,
    NodeSelectorTerm,
    PersistentVolume,
    PersistentVolumeClaim,
    Pod,
    PodAffinityTerm,
    PreferredSchedulingTerm,
    ReplicationController,
    Service,
    TopologySpreadConstraint,
    Volume,
)
from lightkube.models.meta_v1 import LabelSelector, LabelSelectorRequirement, OwnerReference
from lightkube.models.storage_v1 import CSIDriver, CSINode, CSIStorageCapacity, StorageClass, VolumeAttachment

from volsched.api.edit import annotations_of, labels_of, replace
from volsched.api.kinds import kind_of
from volsched.api.quantity import parse as parse_quantity
from volsched.rules.resources import (
    Resources,
    incoming_scoring_requests,
    node_allocatable,
    placed_requests,
    placed_scoring_requests,
)
from volsched.rules.translation import (
    ANN_MIGRATED_PLUGINS,
    TranslationError,
    is_in_tree,
    migrated_driver,
    plugin_of_inline,
    plugin_of_volume,
    translate_inline,
    translate_volume,
)
from volsched.rules.volumes import (
    ANN_BIND_COMPLETED,
    ANN_SELECTED_NODE,
    attributes_class_of,
    capacity_of,
    class_of,
    ephemeral_claim_name,
    has_storage_request,
    requested_storage,
    volume_mode_of,
)

OPERATORS: Final[Mapping[str, int]] = {"In": 0, "NotIn": 1, "Exists": 2, "DoesNotExist": 3, "Gt": 4, "Lt": 5}
UNKNOWN_OPERATOR: Final = 6
EFFECTS: Final[Mapping[str, int]] = {"NoSchedule": 0, "PreferNoSchedule": 1, "NoExecute": 2}
OTHER_EFFECT: Final = 3
ANY_EFFECT: Final = 4
TOLERATION_OPERATORS: Final[Mapping[str, int]] = {"": 0, "Equal": 0, "Exists": 1}
OTHER_TOLERATION: Final = 2
BINDING_MODES: Final[Mapping[str | None, int]] = {None: 0, "WaitForFirstConsumer": 2}
IMMEDIATE_MODE: Final = 1
GCE_DISK, EBS_DISK, ISCSI_DISK, RBD_DISK = range(4)
DEFAULT_RBD_POOL: Final = "rbd"
SPREAD_MODES: Final[Mapping[str, int]] = {"ScheduleAnyway": 0, "DoNotSchedule": 1}
OTHER_SPREAD: Final = 2
OWNERS: Final[Mapping[tuple[str, str], int]] = {
    ("v1", "ReplicationController"): 1,
    ("apps/v1", "ReplicaSet"): 2,
    ("apps/v1", "StatefulSet"): 3,
}
OTHER_SOURCE, CSI_SOURCE, MIGRATABLE_SOURCE = range(3)
ANY_ADDRESS: Final = "0.0.0.0"

# Kubelet features that a pod's spec implies. Source: spec/scheduling.md 1.1.
FEATURE_RESTART_ALL: Final = "RestartAllContainersOnContainerExits"
FEATURE_HOST_USERS: Final = "UserNamespacesHostNetworkSupport"
FEATURE_BIND_OPTIONS: Final = "VolumeBindMountOptions"

_U32: Final = struct.Struct("<I")
_I64: Final = struct.Struct("<q")


class Writer:
    """Grows a row."""

    def __init__(self) -> None:
        self.row = bytearray()

    def u8(self, value: int) -> None:
        self.row.append(value)

    def flag(self, value: object) -> None:
        self.row.append(1 if value else 0)

    def u32(self, value: int) -> None:
        self.row += _U32.pack(value)

    def i64(self, value: int) -> None:
        self.row += _I64.pack(value)

    def nanos(self, value: int) -> None:
        self.row += value.to_bytes(16, "little", signed=True)

    def text(self, value: str | None) -> None:
        raw = (value or "").encode()
        self.row += _U32.pack(len(raw))
        self.row += raw

    def texts(self, values: Iterable[str] | None) -> None:
        listed = list(values or ())
        self.u32(len(listed))
        for value in listed:
            self.text(value)

    def labels(self, labels: Mapping[str, str] | None) -> None:
        self.u32(len(labels or {}))
        for key, value in (labels or {}).items():
            self.text(key)
            self.text(value)

    def amounts(self, amounts: Mapping[str, int]) -> None:
        """Scalar resources, by name."""
        self.u32(len(amounts))
        for name in sorted(amounts):
            self.text(name)
            self.i64(amounts[name])

    def done(self) -> bytes:
        return bytes(self.row)


# Selectors ------------------------------------------------------------------------------------------------------------------------------


def _requirements(to: Writer, requirements: Iterable[NodeSelectorRequirement | LabelSelectorRequirement] | None) -> None:
    listed = list(requirements or ())
    to.u32(len(listed))
    for item in listed:
        to.text(item.key)
        to.u8(OPERATORS.get(item.operator, UNKNOWN_OPERATOR))
        to.texts(item.values)


def _term(to: Writer, term: NodeSelectorTerm) -> None:
    _requirements(to, term.matchExpressions)
    _requirements(to, term.matchFields)


def put_node_selector(to: Writer, selector: NodeSelector) -> None:
    """The terms of a node selector."""
    terms = selector.nodeSelectorTerms or []
    to.u32(len(terms))
    for term in terms:
        _term(to, term)


def _optional_node_selector(to: Writer, selector: NodeSelector | None) -> None:
    to.flag(selector is not None)
    if selector is not None:
        put_node_selector(to, selector)


def _label_selector(to: Writer, selector: LabelSelector | None, *, also: Mapping[str, str] | None = None) -> None:
    """A selector or its absence; `also`: labels that have to be equal besides."""
    to.flag(selector is not None)
    if selector is None:
        return
    to.labels(selector.matchLabels)
    expressions = selector.matchExpressions or []
    to.u32(len(expressions) + len(also or {}))
    for item in expressions:
        to.text(item.key)
        to.u8(OPERATORS.get(item.operator, UNKNOWN_OPERATOR))
        to.texts(item.values)
    for key, value in (also or {}).items():
        to.text(key)
        to.u8(OPERATORS["In"])
        to.texts([value])


# Nodes ----------------------------------------------------------------------------------------------------------------------------------


def node_row(node: Node) -> bytes:
    """A Node."""
    to = Writer()
    spec, status = node.spec, node.status
    to.text(node.metadata.name if node.metadata else None)
    to.labels(labels_of(node))
    to.flag(spec.unschedulable if spec else False)
    taints = (spec.taints if spec else None) or []
    to.u32(len(taints))
    for taint in taints:
        to.text(taint.key)
        to.text(taint.value)
        to.u8(EFFECTS.get(taint.effect, OTHER_EFFECT))
    allocatable = node_allocatable(node)
    to.i64(allocatable.milli_cpu)
    to.i64(allocatable.memory)
    to.i64(allocatable.ephemeral_storage)
    to.i64(allocatable.pods)
    to.amounts(allocatable.scalars)
    images = (status.images if status else None) or []
    to.u32(len(images))
    for image in images:
        to.texts(image.names)
        to.i64(image.sizeBytes or 0)
    to.texts(status.declaredFeatures if status else None)
    return to.done()


def csi_node_row(csi_node: CSINode) -> bytes:
    """A CSINode: drivers with their limits, and the in-tree plugins that the node has migrated."""
    to = Writer()
    to.text(csi_node.metadata.name if csi_node.metadata else None)
    listed = annotations_of(csi_node).get(ANN_MIGRATED_PLUGINS, "")
    to.texts([plugin for plugin in listed.split(",") if plugin])
    drivers = csi_node.spec.drivers or []
    to.u32(len(drivers))
    for driver in drivers:
        to.text(driver.name)
        count = driver.allocatable.count if driver.allocatable else None
        to.flag(count is not None)
        to.i64(count or 0)
    return to.done()


def csi_driver_row(driver: CSIDriver) -> bytes:
    """A CSIDriver."""
    to = Writer()
    to.text(driver.metadata.name if driver.metadata else None)
    to.flag(driver.spec.storageCapacity)
    to.flag(driver.spec.preventPodSchedulingIfMissing)
    return to.done()


def attachment_row(attachment: VolumeAttachment) -> bytes:
    """A VolumeAttachment; one of an inline source names no volume."""
    to = Writer()
    to.text(attachment.metadata.name if attachment.metadata else None)
    to.text(attachment.spec.nodeName)
    to.text(attachment.spec.attacher)
    to.text(attachment.spec.source.persistentVolumeName if attachment.spec.source else None)
    return to.done()


# Storage --------------------------------------------------------------------------------------------------------------------------------


def volume_row(pv: PersistentVolume) -> bytes:
    """A PersistentVolume, with what it looks like to CSI when its source is migratable."""
    to = Writer()
    metadata, spec = pv.metadata, pv.spec
    to.text(metadata.name if metadata else None)
    to.text(metadata.resourceVersion if metadata else None)
    to.text(class_of(pv))
    to.text(spec.storageClassName if spec else None)
    capacity = capacity_of(pv)
    to.nanos(capacity.nanos())
    to.i64(capacity.value())
    to.texts(spec.accessModes if spec else None)
    to.text(volume_mode_of(pv))
    to.text(attributes_class_of(pv))
    reference = spec.claimRef if spec else None
    to.flag(reference is not None)
    if reference is not None:
        to.text(reference.namespace)
        to.text(reference.name)
        to.text(reference.uid)
    to.text(pv.status.phase if pv.status else None)
    to.flag(metadata is not None and metadata.deletionTimestamp is not None)
    to.labels(labels_of(pv))
    _volume_affinity(to, pv)
    plugin = plugin_of_volume(pv)
    if spec is not None and spec.csi is not None:
        to.u8(CSI_SOURCE)
        to.text(spec.csi.driver)
        to.text(spec.csi.volumeHandle)
    elif plugin is None:
        to.u8(OTHER_SOURCE)
    else:
        to.u8(MIGRATABLE_SOURCE)
        to.text(plugin)
        _migrated(to, pv)
    return to.done()


def _volume_affinity(to: Writer, pv: PersistentVolume) -> None:
    affinity = pv.spec.nodeAffinity if pv.spec else None
    _optional_node_selector(to, affinity.required if affinity else None)


def _migrated(to: Writer, pv: PersistentVolume) -> None:
    try:
        translated = translate_volume(pv)
    except TranslationError as problem:
        to.flag(False)
        to.text(str(problem))
        return
    csi = translated.spec.csi if translated.spec else None
    to.flag(True)
    to.text(csi.driver if csi else None)
    to.text(csi.volumeHandle if csi else None)
    _volume_affinity(to, translated)


def claim_row(pvc: PersistentVolumeClaim) -> bytes:
    """A PersistentVolumeClaim."""
    to = Writer()
    metadata, spec = pvc.metadata, pvc.spec
    annotations = annotations_of(pvc)
    to.text((metadata.namespace if metadata else None) or "default")
    to.text(metadata.name if metadata else None)
    to.text(metadata.uid if metadata else None)
    to.text(metadata.resourceVersion if metadata else None)
    class_name = class_of(pvc)
    to.text(class_name)
    spec_class = spec.storageClassName if spec else None
    to.text(class_name if spec_class is None else spec_class)
    to.flag(has_storage_request(pvc))
    requested = requested_storage(pvc)
    to.nanos(requested.nanos())
    to.i64(requested.value())
    to.texts(spec.accessModes if spec else None)
    to.text(volume_mode_of(pvc))
    to.text(attributes_class_of(pvc))
    _label_selector(to, spec.selector if spec else None)
    to.text(spec.volumeName if spec else None)
    to.flag(ANN_BIND_COMPLETED in annotations)
    to.flag(ANN_SELECTED_NODE in annotations)
    to.text(annotations.get(ANN_SELECTED_NODE))
    to.flag(pvc.status is not None and pvc.status.phase == "Lost")
    to.flag(metadata is not None and metadata.deletionTimestamp is not None)
    owners = (metadata.ownerReferences if metadata else None) or []
    to.text(next((owner.uid for owner in owners if owner.controller), None))
    return to.done()


def class_row(storage_class: StorageClass) -> bytes:
    """A StorageClass."""
    to = Writer()
    to.text(storage_class.metadata.name if storage_class.metadata else None)
    to.text(storage_class.provisioner)
    to.flag(is_in_tree(storage_class.provisioner or ""))
    to.text(migrated_driver(storage_class.provisioner or ""))
    to.u8(BINDING_MODES.get(storage_class.volumeBindingMode, IMMEDIATE_MODE))
    terms = storage_class.allowedTopologies or []
    to.u32(len(terms))
    for term in terms:
        expressions = term.matchLabelExpressions or []
        to.u32(len(expressions))
        for item in expressions:
            to.text(item.key)
            to.texts(item.values)
    return to.done()


def capacity_row(capacity: CSIStorageCapacity) -> bytes:
    """A CSIStorageCapacity."""
    to = Writer()
    metadata = capacity.metadata
    to.text((metadata.namespace if metadata else None) or "default")
    to.text(metadata.name if metadata else None)
    to.text(capacity.storageClassName)
    _label_selector(to, capacity.nodeTopology)
    for limit in (capacity.capacity, capacity.maximumVolumeSize):
        to.flag(limit is not None)
        to.i64(0 if limit is None else parse_quantity(limit).value())
    return to.done()


# Namespaces, services, controllers ------------------------------------------------------------------------------------------------------


def namespace_row(namespace: Namespace) -> bytes:
    """A Namespace: its labels."""
    to = Writer()
    to.text(namespace.metadata.name if namespace.metadata else None)
    to.labels(labels_of(namespace))
    return to.done()


def service_row(service: Service) -> bytes:
    """A Service: what it selects. One without a selector selects nothing."""
    to = Writer()
    metadata = service.metadata
    selector = service.spec.selector if service.spec else None
    to.text((metadata.namespace if metadata else None) or "default")
    to.text(metadata.name if metadata else None)
    to.flag(selector is not None)
    to.labels(selector)
    return to.done()


def controller_row(controller: ReplicationController | ReplicaSet | StatefulSet) -> bytes:
    """A pod controller: what it selects."""
    to = Writer()
    metadata = controller.metadata
    kind = kind_of(controller)
    to.u8(OWNERS[kind.api_version, kind.name])
    to.text((metadata.namespace if metadata else None) or "default")
    to.text(metadata.name if metadata else None)
    selector = controller.spec.selector if controller.spec else None
    if not isinstance(selector, LabelSelector):
        selector = LabelSelector(matchLabels=selector)
    to.labels(selector.matchLabels)
    _requirements(to, selector.matchExpressions)
    return to.done()


# Pods -----------------------------------------------------------------------------------------------------------------------------------


def _usage(to: Writer, taken: Resources, scored: Resources) -> None:
    to.i64(taken.milli_cpu)
    to.i64(taken.memory)
    to.i64(taken.ephemeral_storage)
    to.i64(scored.milli_cpu)
    to.i64(scored.memory)
    to.amounts(taken.scalars)


def _requests(to: Writer, pod: Pod) -> None:
    """What the pod takes by its spec, and what it is scored with."""
    as_new = replace(pod, status=None)
    _usage(to, placed_requests(as_new), placed_scoring_requests(as_new))
    fit = incoming_scoring_requests(as_new)
    to.i64(fit.milli_cpu)
    to.i64(fit.memory)


def normalized_image(name: str) -> str:
    """An image name with the tag it stands for."""
    return name if name.rfind(":") > name.rfind("/") else f"{name}:latest"


def _named_nodes(selector: NodeSelector) -> list[str] | None:
    """Names that the required terms narrow the search to, None when some term names no node. Source: spec/scheduling.md 8.4."""
    found: set[str] = set()
    for term in selector.nodeSelectorTerms or []:
        of_term: set[str] | None = None
        for item in term.matchFields or []:
            if item.key == "metadata.name" and item.operator == "In":
                values = set(item.values or ())
                of_term = values if of_term is None else of_term & values
        if of_term is None:
            return None
        found |= of_term
    return sorted(found) if selector.nodeSelectorTerms else None


def _affinity(to: Writer, pod: Pod) -> None:
    spec = pod.spec
    selector = spec.nodeSelector if spec else None
    to.flag(selector is not None)
    if selector is not None:
        to.labels(selector)
    affinity = spec.affinity.nodeAffinity if spec and spec.affinity else None
    required = affinity.requiredDuringSchedulingIgnoredDuringExecution if affinity else None
    _optional_node_selector(to, required)
    names = _named_nodes(required) if required is not None else None
    to.flag(names is not None)
    if names is not None:
        to.texts(names)
    preferred = affinity.preferredDuringSchedulingIgnoredDuringExecution if affinity else None
    to.flag(preferred is not None)
    if preferred is not None:
        put_preferred_terms(to, preferred)


def put_preferred_terms(to: Writer, terms: Sequence[PreferredSchedulingTerm]) -> None:
    """Preferred node affinity."""
    to.u32(len(terms))
    for item in terms:
        to.i64(item.weight)
        _term(to, item.preference)


def _is_sidecar(container: Container) -> bool:
    return container.restartPolicy == "Always"


def _ports(to: Writer, pod: Pod) -> None:
    spec = pod.spec
    containers = [
        *((spec.containers if spec else None) or ()),
        *(c for c in (spec.initContainers if spec else None) or () if _is_sidecar(c)),
    ]
    ports = [port for container in containers for port in container.ports or () if (port.hostPort or 0) > 0]
    to.u32(len(ports))
    for port in ports:
        to.text(port.protocol or "TCP")
        to.text(port.hostIP or ANY_ADDRESS)
        to.u32(port.hostPort or 0)


def _implied_features(pod: Pod) -> list[str]:
    spec = pod.spec
    if spec is None:
        return []
    containers = [*(spec.containers or ()), *(spec.initContainers or ())]
    features = []
    if any(rule.action == "RestartAllContainers" for container in containers for rule in container.restartPolicyRules or ()):
        features.append(FEATURE_RESTART_ALL)
    if spec.hostNetwork and spec.hostUsers is False:
        features.append(FEATURE_HOST_USERS)
    if any(mount.bindMountOptions for container in containers for mount in container.volumeMounts or ()):
        features.append(FEATURE_BIND_OPTIONS)
    return features


def _images(pod: Pod) -> list[str]:
    spec = pod.spec
    if spec is None:
        return []
    names = [container.image or "" for container in [*(spec.initContainers or ()), *(spec.containers or ())]]
    names += [volume.image.reference or "" for volume in spec.volumes or () if volume.image is not None]
    return [normalized_image(name) for name in names]


def _inline_volumes(to: Writer, volumes: list[Volume]) -> None:
    migratable = [volume for volume in volumes if plugin_of_inline(volume) is not None]
    to.u32(len(migratable))
    for volume in migratable:
        try:
            translated = translate_inline(volume)
        except TranslationError as problem:
            to.flag(False)
            to.text(f"converting volume({volume.name}) from inline to csi: {problem}")
            continue
        to.flag(True)
        to.text(translated.driver if translated else None)
        to.text(translated.handle if translated else None)


def _disk(to: Writer, kind: int, name: str, *, pool: str = "", read_only: bool | None, monitors: list[str] | None = None) -> None:
    to.u8(kind)
    to.text(name)
    to.text(pool)
    to.flag(read_only)
    to.texts(monitors)


def _disks(to: Writer, volumes: list[Volume]) -> None:
    count_at = len(to.row)
    to.u32(0)
    count = 0
    for volume in volumes:
        if volume.gcePersistentDisk is not None:
            _disk(to, GCE_DISK, volume.gcePersistentDisk.pdName, read_only=volume.gcePersistentDisk.readOnly)
            count += 1
        if volume.awsElasticBlockStore is not None:
            _disk(to, EBS_DISK, volume.awsElasticBlockStore.volumeID, read_only=volume.awsElasticBlockStore.readOnly)
            count += 1
        if volume.iscsi is not None:
            _disk(to, ISCSI_DISK, volume.iscsi.iqn, read_only=volume.iscsi.readOnly)
            count += 1
        if volume.rbd is not None:
            rbd = volume.rbd
            _disk(to, RBD_DISK, rbd.image, pool=rbd.pool or DEFAULT_RBD_POOL, read_only=rbd.readOnly, monitors=rbd.monitors)
            count += 1
    to.row[count_at : count_at + 4] = _U32.pack(count)


def _spread(to: Writer, pod: Pod) -> None:
    put_spread(to, (pod.spec.topologySpreadConstraints if pod.spec else None) or [], labels_of(pod))


def put_spread(to: Writer, constraints: Sequence[TopologySpreadConstraint], labels: Mapping[str, str]) -> None:
    """Topology spread constraints. Labels named by `matchLabelKeys` go into the selector: pods that differ in them are of two templates."""
    to.u32(len(constraints))
    for item in constraints:
        to.text(item.topologyKey)
        to.i64(item.maxSkew)
        to.i64(1 if item.minDomains is None else item.minDomains)
        to.u8(SPREAD_MODES.get(item.whenUnsatisfiable, OTHER_SPREAD))
        to.flag(item.nodeAffinityPolicy in (None, "Honor"))
        to.flag(item.nodeTaintsPolicy == "Honor")
        _label_selector(to, item.labelSelector, also={key: labels[key] for key in item.matchLabelKeys or () if key in labels})


def _pod_term(to: Writer, term: PodAffinityTerm, weight: int) -> None:
    to.i64(weight)
    to.text(term.topologyKey)
    _label_selector(to, term.labelSelector)
    to.texts(term.namespaces)
    _label_selector(to, term.namespaceSelector)


def _pod_terms(to: Writer, pod: Pod) -> None:
    """Pod affinity: required near, required far, preferred near, preferred far."""
    affinity = pod.spec.affinity if pod.spec else None
    near = affinity.podAffinity if affinity else None
    far = affinity.podAntiAffinity if affinity else None
    for required in (near, far):
        terms = (required.requiredDuringSchedulingIgnoredDuringExecution if required else None) or []
        to.u32(len(terms))
        for term in terms:
            _pod_term(to, term, 1)
    for preferred, sign in ((near, 1), (far, -1)):
        weighted = (preferred.preferredDuringSchedulingIgnoredDuringExecution if preferred else None) or []
        to.u32(len(weighted))
        for item in weighted:
            _pod_term(to, item.podAffinityTerm, sign * item.weight)


def program_row(pod: Pod) -> bytes:
    """What pods of one template share: nothing of the pod's name, claims or status, and of its labels only what constraints name."""
    to = Writer()
    spec = pod.spec
    tolerations = (spec.tolerations if spec else None) or []
    to.u32(len(tolerations))
    for item in tolerations:
        to.u8(TOLERATION_OPERATORS.get(item.operator or "", OTHER_TOLERATION))
        to.text(item.key)
        to.text(item.value)
        to.u8(EFFECTS.get(item.effect, OTHER_EFFECT) if item.effect else ANY_EFFECT)
    _affinity(to, pod)
    _ports(to, pod)
    _requests(to, pod)
    to.texts(_images(pod))
    to.texts(_implied_features(pod))
    volumes = [v for v in (spec.volumes if spec else None) or () if v.persistentVolumeClaim is None and v.ephemeral is None]
    _inline_volumes(to, volumes)
    _disks(to, volumes)
    _spread(to, pod)
    _pod_terms(to, pod)
    put_fit_scalars(to, pod)
    return to.done()


def put_fit_scalars(to: Writer, pod: Pod) -> None:
    """Ends a program where scoring by free resources counts other scalars than the filter: huge pages that are stated for the whole pod."""
    if pod.spec is None or pod.spec.resources is None:
        return
    as_new = replace(pod, status=None)
    scored = incoming_scoring_requests(as_new).scalars
    if scored != placed_requests(as_new).scalars:
        to.amounts(scored)


def _owner(to: Writer, owners: list[OwnerReference] | None) -> None:
    """The controller that owns the pod, if it is of a kind that spreads its pods."""
    owner = next((item for item in owners or () if item.controller), None)
    kind = OWNERS.get((owner.apiVersion, owner.kind), 0) if owner is not None else 0
    to.u8(kind)
    to.text(owner.name if owner is not None and kind else None)


def instance_row(pod: Pod) -> bytes:
    """What is a pod's own."""
    to = Writer()
    metadata, spec = pod.metadata, pod.spec
    name = (metadata.name if metadata else None) or ""
    to.text((metadata.namespace if metadata else None) or "default")
    to.text(name)
    to.text(metadata.uid if metadata else None)
    to.text(spec.nodeName if spec else None)
    to.labels(labels_of(pod))
    to.flag(metadata is not None and metadata.deletionTimestamp is not None)
    to.i64((spec.priority if spec else None) or 0)
    _owner(to, metadata.ownerReferences if metadata else None)
    claims: list[tuple[str, bool]] = []
    for volume in (spec.volumes if spec else None) or ():
        if volume.persistentVolumeClaim is not None:
            claims.append((volume.persistentVolumeClaim.claimName or "", False))
        elif volume.ephemeral is not None:
            claims.append((ephemeral_claim_name(name, volume.name), True))
    to.u32(len(claims))
    for claim, is_ephemeral in claims:
        to.text(claim)
        to.flag(is_ephemeral)
    return to.done()


def _status_counts(pod: Pod) -> bool:
    """Whether the pod's status can change what it takes from its node."""
    status: Any = pod.status
    if status is None:
        return False
    if status.allocatedResources is not None or status.resources is not None:
        return True
    if any(condition.type == "PodResizePending" for condition in status.conditions or ()):
        return True
    statuses = [*(status.containerStatuses or ()), *(status.initContainerStatuses or ())]
    return any(item.allocatedResources is not None or item.resources is not None for item in statuses)


def usage_row(pod: Pod) -> bytes:
    """What a pod on a node takes by its status; empty when that is what its spec says."""
    if not _status_counts(pod):
        return b""
    to = Writer()
    _usage(to, placed_requests(pod), placed_scoring_requests(pod))
    return to.done()
