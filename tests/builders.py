"""Builders of Kubernetes objects for tests: every argument by keyword, only what a test is about has to be said.

Objects come out as a user would submit them, API defaults not applied (`volsched.api.defaults.with_defaults` does that), without a
uid unless the test gives one. Whatever a builder has no argument for is set through `spec=`, `status=` or `metadata=`: mappings of
field name to value, laid over what the builder made.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias

import msgspec
from lightkube.models.core_v1 import (
    Affinity,
    Container,
    ContainerImage,
    ContainerPort,
    CSIPersistentVolumeSource,
    EphemeralVolumeSource,
    HostPathVolumeSource,
    LocalVolumeSource,
    Namespace,
    Node,
    NodeAffinity,
    NodeSelector,
    NodeSelectorRequirement,
    NodeSelectorTerm,
    NodeSpec,
    NodeStatus,
    ObjectReference,
    PersistentVolume,
    PersistentVolumeClaim,
    PersistentVolumeClaimSpec,
    PersistentVolumeClaimStatus,
    PersistentVolumeClaimTemplate,
    PersistentVolumeClaimVolumeSource,
    PersistentVolumeSpec,
    PersistentVolumeStatus,
    Pod,
    PodSpec,
    PodStatus,
    ResourceRequirements,
    Taint,
    Toleration,
    TopologySelectorLabelRequirement,
    TopologySelectorTerm,
    TypedLocalObjectReference,
    TypedObjectReference,
    Volume,
    VolumeNodeAffinity,
    VolumeResourceRequirements,
)
from lightkube.models.meta_v1 import LabelSelector, ObjectMeta, OwnerReference
from lightkube.models.storage_v1 import (
    CSIDriver,
    CSIDriverSpec,
    CSINode,
    CSINodeDriver,
    CSINodeSpec,
    CSIStorageCapacity,
    StorageClass,
    VolumeAttachment,
    VolumeAttachmentSource,
    VolumeAttachmentSpec,
    VolumeAttachmentStatus,
    VolumeNodeResources,
)

from volsched.api import snapshot as snap

DRIVER: Final = "csi.example.com"
CLASS: Final = "fast"
HOSTNAME: Final = "kubernetes.io/hostname"
ZONE: Final = "topology.kubernetes.io/zone"
REGION: Final = "topology.kubernetes.io/region"

Labels: TypeAlias = Mapping[str, str]
Overlay: TypeAlias = Mapping[str, Any] | None
# A set of nodes by label: key -> one value, or several of which any will do. Two entries must both hold.
Where: TypeAlias = Mapping[str, str | Sequence[str]]


def when(seconds: float = 0) -> datetime.datetime:
    """A fixed instant plus some seconds, UTC."""
    return datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC) + datetime.timedelta(seconds=seconds)


def _over(struct: Any, overlay: Overlay) -> Any:
    return msgspec.structs.replace(struct, **overlay) if overlay else struct


def _meta(
    name: str | None,
    namespace: str | None,
    *,
    labels: Labels | None,
    annotations: Labels | None,
    uid: str | None,
    finalizers: Sequence[str] = (),
    version: int | str | None = None,
    created: datetime.datetime | None = None,
    deleted: datetime.datetime | None = None,
    owners: Sequence[OwnerReference] = (),
    overlay: Overlay = None,
) -> ObjectMeta:
    made = ObjectMeta(
        name=name,
        namespace=namespace,
        labels=dict(labels) if labels else None,
        annotations=dict(annotations) if annotations else None,
        uid=uid,
        finalizers=list(finalizers) or None,
        resourceVersion=str(version) if version is not None else None,
        creationTimestamp=created,
        deletionTimestamp=deleted,
        ownerReferences=list(owners) or None,
    )
    result: ObjectMeta = _over(made, overlay)
    return result


def _values(value: str | Sequence[str]) -> list[str]:
    return [value] if isinstance(value, str) else list(value)


def make_requirement(key: str, operator: str = "In", values: Iterable[str] | None = None) -> NodeSelectorRequirement:
    """One requirement of a node selector term."""
    return NodeSelectorRequirement(key=key, operator=operator, values=list(values) if values is not None else None)


def make_term(
    where: Where | None = None, *, expressions: Sequence[NodeSelectorRequirement] = (), fields: Sequence[NodeSelectorRequirement] = ()
) -> NodeSelectorTerm:
    """A term: every entry of `where` as `key In values`, then the given expressions and fields."""
    made = [make_requirement(key, "In", _values(value)) for key, value in (where or {}).items()]
    return NodeSelectorTerm(matchExpressions=[*made, *expressions] or None, matchFields=list(fields) or None)


def make_node_selector(*terms: Where | NodeSelectorTerm) -> NodeSelector:
    """A node selector: any of the terms."""
    return NodeSelector(nodeSelectorTerms=[term if isinstance(term, NodeSelectorTerm) else make_term(term) for term in terms])


def make_node_affinity(*terms: Where | NodeSelectorTerm) -> Affinity:
    """Pod affinity that requires a node of any of the terms."""
    return Affinity(nodeAffinity=NodeAffinity(requiredDuringSchedulingIgnoredDuringExecution=make_node_selector(*terms)))


def make_taint(key: str, value: str | None = None, effect: str = "NoSchedule") -> Taint:
    return Taint(key=key, value=value, effect=effect)


def make_owner(kind: str, name: str, uid: str, *, controller: bool = True, api_version: str = "v1") -> OwnerReference:
    return OwnerReference(apiVersion=api_version, kind=kind, name=name, uid=uid, controller=controller)


def make_namespace(name: str = "default", *, labels: Labels | None = None, uid: str | None = None) -> Namespace:
    return Namespace(metadata=_meta(name, None, labels=labels, annotations=None, uid=uid))


def make_node(
    name: str = "node-1",
    *,
    zone: str | None = None,
    region: str | None = None,
    labels: Labels | None = None,
    hostname: bool = True,
    cpu: str = "8",
    memory: str = "32Gi",
    pods: str = "110",
    allocatable: Labels | None = None,
    taints: Sequence[Taint] = (),
    unschedulable: bool | None = None,
    images: Mapping[str, int] | None = None,
    annotations: Labels | None = None,
    uid: str | None = None,
    finalizers: Sequence[str] = (),
    metadata: Overlay = None,
    spec: Overlay = None,
    status: Overlay = None,
) -> Node:
    """A node. `hostname` adds the hostname label; `allocatable` is laid over cpu, memory and pods; `images` is name -> bytes."""
    own: dict[str, str] = {HOSTNAME: name} if hostname else {}
    if zone is not None:
        own[ZONE] = zone
    if region is not None:
        own[REGION] = region
    own.update(labels or {})
    room = {"cpu": cpu, "memory": memory, "pods": pods, **(allocatable or {})}
    return Node(
        metadata=_meta(name, None, labels=own, annotations=annotations, uid=uid, finalizers=finalizers, overlay=metadata),
        spec=_over(NodeSpec(taints=list(taints) or None, unschedulable=unschedulable), spec),
        status=_over(
            NodeStatus(
                allocatable=room,
                capacity=dict(room),
                images=[ContainerImage(names=[image], sizeBytes=size) for image, size in images.items()] if images else None,
            ),
            status,
        ),
    )


def make_container(
    name: str = "main",
    *,
    cpu: str | None = None,
    memory: str | None = None,
    requests: Labels | None = None,
    limits: Labels | None = None,
    image: str | None = "app:1",
    ports: Sequence[int | ContainerPort] = (),
    restart_policy: str | None = None,
) -> Container:
    """A container. A plain number among `ports` is a hostPort with the same containerPort."""
    wanted = {key: value for key, value in (("cpu", cpu), ("memory", memory)) if value is not None}
    wanted.update(requests or {})
    return Container(
        name=name,
        image=image,
        ports=[p if isinstance(p, ContainerPort) else ContainerPort(containerPort=p, hostPort=p) for p in ports] or None,
        resources=ResourceRequirements(requests=wanted or None, limits=dict(limits) if limits else None) if wanted or limits else None,
        restartPolicy=restart_policy,
    )


def make_pod(
    name: str = "pod",
    *,
    namespace: str = "default",
    claims: Sequence[str] = (),
    ephemeral: Mapping[str, PersistentVolumeClaimSpec] | None = None,
    volumes: Sequence[Volume] = (),
    cpu: str | None = None,
    memory: str | None = None,
    requests: Labels | None = None,
    limits: Labels | None = None,
    ports: Sequence[int | ContainerPort] = (),
    image: str | None = "app:1",
    containers: Sequence[Container] | None = None,
    init_containers: Sequence[Container] = (),
    node: str | None = None,
    phase: str | None = None,
    labels: Labels | None = None,
    annotations: Labels | None = None,
    node_selector: Labels | None = None,
    affinity: Affinity | None = None,
    tolerations: Sequence[Toleration] = (),
    priority: int | None = None,
    scheduler_name: str | None = None,
    host_network: bool | None = None,
    uid: str | None = None,
    owners: Sequence[OwnerReference] = (),
    finalizers: Sequence[str] = (),
    version: int | str | None = None,
    created: datetime.datetime | None = None,
    deleted: datetime.datetime | None = None,
    metadata: Overlay = None,
    spec: Overlay = None,
    status: Overlay = None,
) -> Pod:
    """A pod. `claims` become volumes of the claims' own names; `ephemeral` maps a volume name to the spec of its claim template."""
    used = [Volume(name=claim, persistentVolumeClaim=PersistentVolumeClaimVolumeSource(claimName=claim)) for claim in claims]
    for volume, template in (ephemeral or {}).items():
        source = EphemeralVolumeSource(volumeClaimTemplate=PersistentVolumeClaimTemplate(spec=template))
        used.append(Volume(name=volume, ephemeral=source))
    used.extend(volumes)
    main = make_container(cpu=cpu, memory=memory, requests=requests, limits=limits, ports=ports, image=image)
    return Pod(
        metadata=_meta(
            name,
            namespace,
            labels=labels,
            annotations=annotations,
            uid=uid,
            finalizers=finalizers,
            version=version,
            created=created,
            deleted=deleted,
            owners=owners,
            overlay=metadata,
        ),
        spec=_over(
            PodSpec(
                containers=list(containers) if containers is not None else [main],
                initContainers=list(init_containers) or None,
                volumes=used or None,
                nodeName=node,
                nodeSelector=dict(node_selector) if node_selector else None,
                affinity=affinity,
                tolerations=list(tolerations) or None,
                priority=priority,
                schedulerName=scheduler_name,
                hostNetwork=host_network,
            ),
            spec,
        ),
        status=_over(PodStatus(phase=phase), status) if phase or status else None,
    )


def make_claim_spec(
    *,
    size: str | None = "10Gi",
    storage_class: str | None = CLASS,
    modes: Sequence[str] = ("ReadWriteOnce",),
    volume: str | None = None,
    volume_mode: str | None = None,
    selector: LabelSelector | None = None,
    source: TypedLocalObjectReference | None = None,
    source_ref: TypedObjectReference | None = None,
    attributes_class: str | None = None,
) -> PersistentVolumeClaimSpec:
    """The spec of a claim, also for the template of an ephemeral volume."""
    return PersistentVolumeClaimSpec(
        accessModes=list(modes) or None,
        resources=VolumeResourceRequirements(requests={"storage": size}) if size is not None else None,
        storageClassName=storage_class,
        volumeName=volume,
        volumeMode=volume_mode,
        selector=selector,
        dataSource=source,
        dataSourceRef=source_ref,
        volumeAttributesClassName=attributes_class,
    )


def make_pvc(
    name: str = "data",
    *,
    namespace: str = "default",
    size: str | None = "10Gi",
    storage_class: str | None = CLASS,
    modes: Sequence[str] = ("ReadWriteOnce",),
    volume: str | None = None,
    bound_to: str | None = None,
    volume_mode: str | None = None,
    selector: LabelSelector | None = None,
    source: TypedLocalObjectReference | None = None,
    source_ref: TypedObjectReference | None = None,
    attributes_class: str | None = None,
    selected_node: str | None = None,
    phase: str | None = None,
    labels: Labels | None = None,
    annotations: Labels | None = None,
    uid: str | None = None,
    owners: Sequence[OwnerReference] = (),
    finalizers: Sequence[str] = (),
    version: int | str | None = None,
    created: datetime.datetime | None = None,
    deleted: datetime.datetime | None = None,
    metadata: Overlay = None,
    spec: Overlay = None,
    status: Overlay = None,
) -> PersistentVolumeClaim:
    """A claim. `volume` only names a volume; `bound_to` is a finished binding: volumeName, bind-completed and phase Bound."""
    notes = dict(annotations or {})
    if bound_to is not None:
        notes.setdefault("pv.kubernetes.io/bind-completed", "yes")
    if selected_node is not None:
        notes["volume.kubernetes.io/selected-node"] = selected_node
    made = make_claim_spec(
        size=size,
        storage_class=storage_class,
        modes=modes,
        volume=bound_to or volume,
        volume_mode=volume_mode,
        selector=selector,
        source=source,
        source_ref=source_ref,
        attributes_class=attributes_class,
    )
    state = None
    if bound_to is not None:
        capacity = {"storage": size} if size is not None else None
        state = PersistentVolumeClaimStatus(phase=phase or "Bound", accessModes=list(modes) or None, capacity=capacity)
    elif phase is not None or status:
        state = PersistentVolumeClaimStatus(phase=phase)
    return PersistentVolumeClaim(
        metadata=_meta(
            name,
            namespace,
            labels=labels,
            annotations=notes,
            uid=uid,
            finalizers=finalizers,
            version=version,
            created=created,
            deleted=deleted,
            owners=owners,
            overlay=metadata,
        ),
        spec=_over(made, spec),
        status=_over(state, status) if state is not None else None,
    )


def make_claim_ref(claim: str, *, uid: str | None = None) -> ObjectReference:
    """A reference to a claim written `namespace/name`, or `name` in `default`."""
    namespace, _, name = claim.rpartition("/")
    return ObjectReference(apiVersion="v1", kind="PersistentVolumeClaim", namespace=namespace or "default", name=name, uid=uid)


def make_pv(
    name: str = "pv-1",
    *,
    size: str | None = "10Gi",
    storage_class: str | None = CLASS,
    modes: Sequence[str] = ("ReadWriteOnce",),
    volume_mode: str | None = None,
    claim: str | None = None,
    claim_uid: str | None = None,
    bound_by_controller: bool = False,
    zone: str | None = None,
    node: str | None = None,
    where: Where | None = None,
    affinity: NodeSelector | None = None,
    local: bool = False,
    driver: str = DRIVER,
    handle: str | None = None,
    reclaim: str | None = None,
    provisioned_by: str | None = None,
    attributes_class: str | None = None,
    phase: str | None = None,
    labels: Labels | None = None,
    annotations: Labels | None = None,
    uid: str | None = None,
    finalizers: Sequence[str] = (),
    version: int | str | None = None,
    created: datetime.datetime | None = None,
    deleted: datetime.datetime | None = None,
    metadata: Overlay = None,
    spec: Overlay = None,
    status: Overlay = None,
) -> PersistentVolume:
    """A volume. `zone`, `node` and `where` join into one affinity term; `affinity` replaces it. CSI unless `local`.

    `claim` ("ns/name") is the claimRef, `claim_uid` its uid: with both the volume counts as bound (phase Bound unless given).
    """
    reach: dict[str, str | Sequence[str]] = {}
    if zone is not None:
        reach[ZONE] = zone
    if node is not None:
        reach[HOSTNAME] = node
    reach.update(where or {})
    required = affinity if affinity is not None else make_node_selector(reach) if reach else None
    notes = dict(annotations or {})
    if bound_by_controller:
        notes["pv.kubernetes.io/bound-by-controller"] = "yes"
    if provisioned_by is not None:
        notes["pv.kubernetes.io/provisioned-by"] = provisioned_by
    if phase is None and claim is not None and claim_uid is not None:
        phase = "Bound"
    return PersistentVolume(
        metadata=_meta(
            name,
            None,
            labels=labels,
            annotations=notes,
            uid=uid,
            finalizers=finalizers,
            version=version,
            created=created,
            deleted=deleted,
            overlay=metadata,
        ),
        spec=_over(
            PersistentVolumeSpec(
                accessModes=list(modes) or None,
                capacity={"storage": size} if size is not None else None,
                storageClassName=storage_class,
                volumeMode=volume_mode,
                claimRef=make_claim_ref(claim, uid=claim_uid) if claim is not None else None,
                nodeAffinity=VolumeNodeAffinity(required=required) if required is not None else None,
                local=LocalVolumeSource(path=f"/mnt/{name}") if local else None,
                csi=None if local else CSIPersistentVolumeSource(driver=driver, volumeHandle=handle or f"handle-{name}"),
                persistentVolumeReclaimPolicy=reclaim,
                volumeAttributesClassName=attributes_class,
            ),
            spec,
        ),
        status=_over(PersistentVolumeStatus(phase=phase), status) if phase or status else None,
    )


def make_host_path_pv(name: str = "pv-1", *, path: str | None = None, **rest: Any) -> PersistentVolume:
    """A volume of a host path: no driver, no affinity unless asked for."""
    source = {"csi": None, "hostPath": HostPathVolumeSource(path=path or f"/data/{name}")}
    return make_pv(name, spec={**source, **rest.pop("spec", {})}, **rest)


def make_class(
    name: str = CLASS,
    *,
    provisioner: str = DRIVER,
    wait: bool = True,
    mode: str | None = None,
    reclaim: str | None = None,
    allowed: Sequence[Where] = (),
    parameters: Labels | None = None,
    expansion: bool | None = None,
    default: bool = False,
    labels: Labels | None = None,
    annotations: Labels | None = None,
    uid: str | None = None,
    version: int | str | None = None,
    created: datetime.datetime | None = None,
) -> StorageClass:
    """A storage class; `wait` chooses the binding mode unless `mode` says it. `allowed` are the allowedTopologies terms."""
    notes = dict(annotations or {})
    if default:
        notes["storageclass.kubernetes.io/is-default-class"] = "true"
    terms = [
        TopologySelectorTerm(
            matchLabelExpressions=[TopologySelectorLabelRequirement(key=key, values=_values(value)) for key, value in term.items()]
        )
        for term in allowed
    ]
    return StorageClass(
        metadata=_meta(name, None, labels=labels, annotations=notes, uid=uid, version=version, created=created),
        provisioner=provisioner,
        volumeBindingMode=mode or ("WaitForFirstConsumer" if wait else "Immediate"),
        reclaimPolicy=reclaim,
        allowedTopologies=terms or None,
        parameters=dict(parameters) if parameters else None,
        allowVolumeExpansion=expansion,
    )


def make_csinode(
    name: str = "node-1",
    *,
    drivers: Mapping[str, int | None] | None = None,
    keys: Sequence[str] = (ZONE,),
    migrated: Sequence[str] = (),
    annotations: Labels | None = None,
    uid: str | None = None,
) -> CSINode:
    """The CSINode of a node: driver -> attach limit (None: no limit), all with the same topology keys."""
    notes = dict(annotations or {})
    if migrated:
        notes["storage.alpha.kubernetes.io/migrated-plugins"] = ",".join(migrated)
    rows = [
        CSINodeDriver(
            name=driver,
            nodeID=name,
            topologyKeys=list(keys) or None,
            allocatable=VolumeNodeResources(count=count) if count is not None else None,
        )
        for driver, count in ({DRIVER: None} if drivers is None else drivers).items()
    ]
    return CSINode(metadata=_meta(name, None, labels=None, annotations=notes, uid=uid), spec=CSINodeSpec(drivers=rows))


def make_csidriver(
    name: str = DRIVER,
    *,
    storage_capacity: bool | None = None,
    attach_required: bool | None = None,
    prevent_if_missing: bool | None = None,
    uid: str | None = None,
    spec: Overlay = None,
) -> CSIDriver:
    made = CSIDriverSpec(storageCapacity=storage_capacity, attachRequired=attach_required, preventPodSchedulingIfMissing=prevent_if_missing)
    return CSIDriver(metadata=_meta(name, None, labels=None, annotations=None, uid=uid), spec=_over(made, spec))


def make_capacity(
    name: str = "capacity-1",
    *,
    namespace: str = "default",
    storage_class: str = CLASS,
    capacity: str | None = "100Gi",
    maximum: str | None = None,
    where: Labels | None = None,
    topology: LabelSelector | None = None,
    uid: str | None = None,
) -> CSIStorageCapacity:
    """Free capacity of a class in the nodes labelled `where` ({}: every node; None: no topology at all)."""
    nodes = topology if topology is not None else LabelSelector(matchLabels=dict(where)) if where is not None else None
    return CSIStorageCapacity(
        metadata=_meta(name, namespace, labels=None, annotations=None, uid=uid),
        storageClassName=storage_class,
        capacity=capacity,
        maximumVolumeSize=maximum,
        nodeTopology=nodes,
    )


def make_attachment(
    name: str = "attachment-1",
    *,
    volume: str = "pv-1",
    node: str = "node-1",
    attacher: str = DRIVER,
    attached: bool | None = None,
    uid: str | None = None,
) -> VolumeAttachment:
    return VolumeAttachment(
        metadata=_meta(name, None, labels=None, annotations=None, uid=uid),
        spec=VolumeAttachmentSpec(attacher=attacher, nodeName=node, source=VolumeAttachmentSource(persistentVolumeName=volume)),
        status=VolumeAttachmentStatus(attached=attached) if attached is not None else None,
    )


def _snapshot_identity(kind: str, *, group: bool = False) -> dict[str, str]:
    return {"apiVersion": snap.GROUP_SNAPSHOT_V1 if group else snap.SNAPSHOT_V1, "kind": kind}


def make_snapshot(
    name: str = "snap",
    *,
    namespace: str = "default",
    claim: str | None = "data",
    content: str | None = None,
    snapshot_class: str | None = "snaps",
    bound_to: str | None = None,
    ready: bool | None = None,
    restore_size: str | None = None,
    labels: Labels | None = None,
    annotations: Labels | None = None,
    uid: str | None = None,
    owners: Sequence[OwnerReference] = (),
    finalizers: Sequence[str] = (),
    version: int | str | None = None,
    created: datetime.datetime | None = None,
    deleted: datetime.datetime | None = None,
    metadata: Overlay = None,
    status: Overlay = None,
) -> snap.VolumeSnapshot:
    """A snapshot of a claim, or of the existing content `content`."""
    source = snap.VolumeSnapshotSource(persistentVolumeClaimName=None if content is not None else claim, volumeSnapshotContentName=content)
    state = snap.VolumeSnapshotStatus(boundVolumeSnapshotContentName=bound_to, readyToUse=ready, restoreSize=restore_size)
    has_status = bool(status) or any(value is not None for value in (bound_to, ready, restore_size))
    return snap.VolumeSnapshot(
        **_snapshot_identity("VolumeSnapshot"),
        metadata=_meta(
            name,
            namespace,
            labels=labels,
            annotations=annotations,
            uid=uid,
            finalizers=finalizers,
            version=version,
            created=created,
            deleted=deleted,
            owners=owners,
            overlay=metadata,
        ),
        spec=snap.VolumeSnapshotSpec(source=source, volumeSnapshotClassName=snapshot_class),
        status=_over(state, status) if has_status else None,
    )


def make_snapshot_class(
    name: str = "snaps",
    *,
    driver: str = DRIVER,
    policy: str = "Delete",
    default: bool = False,
    parameters: Labels | None = None,
    annotations: Labels | None = None,
    uid: str | None = None,
) -> snap.VolumeSnapshotClass:
    notes = dict(annotations or {})
    if default:
        notes["snapshot.storage.kubernetes.io/is-default-class"] = "true"
    return snap.VolumeSnapshotClass(
        **_snapshot_identity("VolumeSnapshotClass"),
        metadata=_meta(name, None, labels=None, annotations=notes, uid=uid),
        driver=driver,
        deletionPolicy=policy,
        parameters=dict(parameters) if parameters else None,
    )


def make_content(
    name: str = "content-1",
    *,
    snapshot: str = "default/snap",
    snapshot_uid: str | None = None,
    volume_handle: str | None = None,
    snapshot_handle: str | None = None,
    driver: str = DRIVER,
    policy: str = "Delete",
    snapshot_class: str | None = "snaps",
    source_mode: str | None = None,
    labels: Labels | None = None,
    annotations: Labels | None = None,
    uid: str | None = None,
    finalizers: Sequence[str] = (),
    version: int | str | None = None,
    created: datetime.datetime | None = None,
    deleted: datetime.datetime | None = None,
    metadata: Overlay = None,
    spec: Overlay = None,
    status: Overlay = None,
) -> snap.VolumeSnapshotContent:
    """A content: to be cut from `volume_handle`, or existing as `snapshot_handle`; with neither, cut from `handle-pv-1`."""
    if volume_handle is None and snapshot_handle is None:
        volume_handle = "handle-pv-1"
    namespace, _, owner = snapshot.rpartition("/")
    made = snap.VolumeSnapshotContentSpec(
        deletionPolicy=policy,
        driver=driver,
        source=snap.VolumeSnapshotContentSource(volumeHandle=volume_handle, snapshotHandle=snapshot_handle),
        volumeSnapshotRef=snap.VolumeSnapshotReference(
            **_snapshot_identity("VolumeSnapshot"), namespace=namespace or "default", name=owner, uid=snapshot_uid
        ),
        sourceVolumeMode=source_mode,
        volumeSnapshotClassName=snapshot_class,
    )
    return snap.VolumeSnapshotContent(
        **_snapshot_identity("VolumeSnapshotContent"),
        metadata=_meta(
            name,
            None,
            labels=labels,
            annotations=annotations,
            uid=uid,
            finalizers=finalizers,
            version=version,
            created=created,
            deleted=deleted,
            overlay=metadata,
        ),
        spec=_over(made, spec),
        status=_over(snap.VolumeSnapshotContentStatus(), status) if status else None,
    )


def make_group_snapshot(
    name: str = "group",
    *,
    namespace: str = "default",
    select: Labels | None = None,
    content: str | None = None,
    snapshot_class: str | None = "groups",
    uid: str | None = None,
    metadata: Overlay = None,
    status: Overlay = None,
) -> snap.VolumeGroupSnapshot:
    """A group snapshot of the claims labelled `select`, or of the existing group content `content`."""
    selector = None if content is not None else LabelSelector(matchLabels=dict(select or {"app": "db"}))
    return snap.VolumeGroupSnapshot(
        **_snapshot_identity("VolumeGroupSnapshot", group=True),
        metadata=_meta(name, namespace, labels=None, annotations=None, uid=uid, overlay=metadata),
        spec=snap.VolumeGroupSnapshotSpec(
            source=snap.VolumeGroupSnapshotSource(selector=selector, volumeGroupSnapshotContentName=content),
            volumeGroupSnapshotClassName=snapshot_class,
        ),
        status=_over(snap.VolumeGroupSnapshotStatus(), status) if status else None,
    )


def make_group_class(
    name: str = "groups", *, driver: str = DRIVER, policy: str = "Delete", uid: str | None = None
) -> snap.VolumeGroupSnapshotClass:
    return snap.VolumeGroupSnapshotClass(
        **_snapshot_identity("VolumeGroupSnapshotClass", group=True),
        metadata=_meta(name, None, labels=None, annotations=None, uid=uid),
        driver=driver,
        deletionPolicy=policy,
    )


def make_group_content(
    name: str = "groupcontent-1",
    *,
    snapshot: str = "default/group",
    snapshot_uid: str | None = None,
    volume_handles: Sequence[str] = (),
    handles: snap.GroupSnapshotHandles | None = None,
    driver: str = DRIVER,
    policy: str = "Delete",
    snapshot_class: str | None = "groups",
    uid: str | None = None,
    metadata: Overlay = None,
    status: Overlay = None,
) -> snap.VolumeGroupSnapshotContent:
    """A group content: to be cut from `volume_handles`, or existing as `handles`; with neither, cut from `handle-pv-1`."""
    cut = None if handles is not None else list(volume_handles) or ["handle-pv-1"]
    namespace, _, owner = snapshot.rpartition("/")
    return snap.VolumeGroupSnapshotContent(
        **_snapshot_identity("VolumeGroupSnapshotContent", group=True),
        metadata=_meta(name, None, labels=None, annotations=None, uid=uid, overlay=metadata),
        spec=snap.VolumeGroupSnapshotContentSpec(
            deletionPolicy=policy,
            driver=driver,
            source=snap.VolumeGroupSnapshotContentSource(volumeHandles=cut, groupSnapshotHandles=handles),
            volumeGroupSnapshotRef=snap.VolumeSnapshotReference(
                **_snapshot_identity("VolumeGroupSnapshot", group=True), namespace=namespace or "default", name=owner, uid=snapshot_uid
            ),
            volumeGroupSnapshotClassName=snapshot_class,
        ),
        status=_over(snap.VolumeGroupSnapshotContentStatus(), status) if status else None,
    )
