"""Columns as Kubernetes objects, as far as the engine has to see them. They are built when they are needed and never kept in bulk.

Pods are of the default scheduler with preemptionPolicy Never: a replay does not preempt.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np
from lightkube.models.core_v1 import (
    Affinity,
    Container,
    CSIPersistentVolumeSource,
    LocalVolumeSource,
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
    PersistentVolumeClaimVolumeSource,
    PersistentVolumeSpec,
    PersistentVolumeStatus,
    Pod,
    PodSpec,
    ResourceRequirements,
    Volume,
    VolumeNodeAffinity,
    VolumeResourceRequirements,
)
from lightkube.models.meta_v1 import LabelSelector, ObjectMeta
from lightkube.models.storage_v1 import (
    CSIDriver,
    CSIDriverSpec,
    CSINode,
    CSINodeDriver,
    CSINodeSpec,
    CSIStorageCapacity,
    StorageClass,
    VolumeNodeResources,
)

from volsched.api.defaults import with_defaults
from volsched.api.edit import with_spec
from volsched.api.kinds import key_of
from volsched.replay.options import ClassOptions
from volsched.replay.synth import EVERYWHERE, NAMESPACE, Scene
from volsched.rules.topology import ZONE
from volsched.rules.volumes import ANN_BIND_COMPLETED, ANN_SELECTED_NODE, WAIT_FOR_FIRST_CONSUMER

HOSTNAME: Final = "kubernetes.io/hostname"
KEYS: Final = {"zone": ZONE, "node": HOSTNAME}


def volume_name(place: int) -> str:
    """The name of a pod's n-th volume."""
    return f"vol{place}"


class Objects:
    """The objects of one scene."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._version = 0
        self._base = {(key.kind, key.name): obj for obj in scene.base if (key := key_of(obj)).kind in ("Node", "CSINode")}
        pods, claims = scene.pods, scene.claims
        counts = np.bincount(claims.pod, minlength=len(pods)) if len(claims) else np.zeros(len(pods), np.int64)
        starts = np.concatenate([[0], np.cumsum(counts)])
        self._first_claim: list[int] = starts.tolist()
        names = list(pods.extended)
        rows = np.column_stack(
            [
                pods.milli_cpu,
                pods.memory_bytes,
                pods.ephemeral_bytes,
                pods.priority,
                pods.requires,
                counts,
                *(pods.extended[name] for name in names),
            ]
        ).astype(np.int64)
        unique, template = np.unique(rows, axis=0, return_inverse=True)
        self.template: list[int] = template.reshape(-1).tolist()
        self.templates = [self._template(row, names) for row in unique.tolist()]
        self.claim_names = [f"{pods.names[pod]}-{claim - self._first_claim[pod]}" for claim, pod in enumerate(claims.pod.tolist())]

    @property
    def version(self) -> int:
        """The last resourceVersion given out."""
        return self._version

    @version.setter
    def version(self, value: int) -> None:
        self._version = value

    def _stamp(self) -> str:
        self._version += 1
        return str(self._version)

    # pods

    def _template(self, row: Sequence[int], names: Sequence[str]) -> Pod:
        milli_cpu, memory, ephemeral, priority, requires, claims, *extended = row
        requests = {
            **({"cpu": f"{milli_cpu}m"} if milli_cpu else {}),
            **({"memory": str(memory)} if memory else {}),
            **({"ephemeral-storage": str(ephemeral)} if ephemeral else {}),
            **{name: str(amount) for name, amount in zip(names, extended, strict=True) if amount},
        }
        affinity = None
        if requires >= 0:
            wanted = self._scene.pods.requirements[requires]
            term = NodeSelectorTerm(matchExpressions=[NodeSelectorRequirement(key=wanted.label, operator="In", values=list(wanted.values))])
            required = NodeSelector(nodeSelectorTerms=[term])
            affinity = Affinity(nodeAffinity=NodeAffinity(requiredDuringSchedulingIgnoredDuringExecution=required))
        limits = {name: amount for name, amount in requests.items() if "/" in name}  # extended resources cannot be overcommitted
        resources = ResourceRequirements(requests=requests or None, limits=limits or None)
        spec = PodSpec(
            containers=[Container(name="main", image="replayed", resources=resources)],
            affinity=affinity,
            preemptionPolicy="Never",
            priority=priority,
            volumes=[
                Volume(name=volume_name(place), persistentVolumeClaim=PersistentVolumeClaimVolumeSource(claimName=volume_name(place)))
                for place in range(claims)
            ]
            or None,
        )
        return with_defaults(Pod(metadata=ObjectMeta(name="template", namespace=NAMESPACE), spec=spec))

    def claims_of(self, pod: int) -> range:
        """The claims of a pod."""
        return range(self._first_claim[pod], self._first_claim[pod + 1])

    def pod(self, pod: int, node: str | None = None) -> Pod:
        """A pod, on a node or pending."""
        spec = self.templates[self.template[pod]].spec
        assert spec is not None
        name = self._scene.pods.names[pod]
        claims = self.claims_of(pod)
        if node is not None or claims:
            volumes = [
                Volume(name=volume_name(place), persistentVolumeClaim=PersistentVolumeClaimVolumeSource(claimName=self.claim_names[claim]))
                for place, claim in enumerate(claims)
            ]
            spec = msgspec.structs.replace(spec, nodeName=node, volumes=volumes or None)
        return Pod(metadata=ObjectMeta(name=name, namespace=NAMESPACE, uid=name), spec=spec)

    # nodes

    def node(self, node: int, *, cordoned: bool) -> Node:
        """A node, as the columns or the dump have it."""
        nodes = self._scene.nodes
        name = nodes.names[node]
        dumped: Node | None = self._base.get(("Node", name))
        if dumped is not None:
            return with_spec(dumped, unschedulable=True) if cordoned else dumped
        labels = {HOSTNAME: name, **{key: values[node] for key, values in nodes.labels.items() if values[node]}}
        if nodes.zones[node]:
            labels[ZONE] = nodes.zones[node]
        offered = {
            "cpu": f"{int(nodes.milli_cpu[node])}m",
            "memory": str(int(nodes.memory_bytes[node])),
            "ephemeral-storage": str(int(nodes.ephemeral_bytes[node])),
            "pods": str(int(nodes.pods_max[node])),
            **{key: str(int(amounts[node])) for key, amounts in nodes.extended.items() if amounts[node]},
        }
        return Node(
            metadata=ObjectMeta(name=name, labels=labels),
            spec=NodeSpec(unschedulable=True) if cordoned else NodeSpec(),
            status=NodeStatus(allocatable=offered, capacity=offered),
        )

    def csi_node(self, name: str) -> CSINode | None:
        """What runs on a node of the drivers, those of a dump first; None without any."""
        dumped = self._base.get(("CSINode", name))
        drivers = {driver.name: driver for driver in (dumped.spec.drivers if dumped is not None and dumped.spec else None) or ()}
        for row in self._scene.classes:
            if row.disks is None:
                limit = VolumeNodeResources(count=row.attach_limit) if row.attach_limit is not None else None
                keys = [KEYS[row.reach]] if row.reach in KEYS else None
                drivers[row.provisioner] = CSINodeDriver(name=row.provisioner, nodeID=name, allocatable=limit, topologyKeys=keys)
        return CSINode(metadata=ObjectMeta(name=name), spec=CSINodeSpec(drivers=list(drivers.values()))) if drivers else None

    # storage

    def storage_class(self, row: ClassOptions) -> StorageClass:
        """A class."""
        return StorageClass(
            metadata=ObjectMeta(name=row.name),
            provisioner=row.provisioner,
            volumeBindingMode=WAIT_FOR_FIRST_CONSUMER,
            reclaimPolicy="Delete",
        )

    def driver(self, row: ClassOptions) -> CSIDriver:
        """The driver of a class."""
        return CSIDriver(
            metadata=ObjectMeta(name=row.provisioner), spec=CSIDriverSpec(attachRequired=True, storageCapacity=row.checks_capacity)
        )

    def capacity(self, pool: int, free_bytes: int) -> CSIStorageCapacity:
        """What a pool has left."""
        pools = self._scene.pools
        row = self._scene.classes[int(pools.storage_class[pool])]
        place = pools.places[pool]
        return CSIStorageCapacity(
            metadata=ObjectMeta(name=f"pool-{pool}", namespace=NAMESPACE, resourceVersion=self._stamp()),
            storageClassName=row.name,
            capacity=str(free_bytes),
            maximumVolumeSize=str(row.max_volume) if row.max_volume is not None else None,
            nodeTopology=LabelSelector() if place == EVERYWHERE else LabelSelector(matchLabels={KEYS[row.reach]: place}),
        )

    def claim(self, claim: int, *, selected: str | None = None, volume: str | None = None) -> PersistentVolumeClaim:
        """A claim: pending, with a selected node, or bound to a volume."""
        columns = self._scene.claims
        name = self.claim_names[claim]
        annotations = {}
        if selected is not None:
            annotations[ANN_SELECTED_NODE] = selected
        if volume is not None:
            annotations[ANN_BIND_COMPLETED] = "yes"
        return PersistentVolumeClaim(
            metadata=ObjectMeta(
                name=name, namespace=NAMESPACE, uid=f"claim-{claim}", resourceVersion=self._stamp(), annotations=annotations or None
            ),
            spec=PersistentVolumeClaimSpec(
                accessModes=["ReadWriteOnce"],
                resources=VolumeResourceRequirements(requests={"storage": str(int(columns.request_bytes[claim]))}),
                storageClassName=columns.classes[int(columns.storage_class[claim])],
                volumeMode="Filesystem",
                volumeName=volume,
            ),
            status=PersistentVolumeClaimStatus(phase="Pending" if volume is None else "Bound"),
        )

    def volume(self, claim: int, pool: int) -> PersistentVolume:
        """The volume made for a claim in a pool, bound to it."""
        columns, pools = self._scene.claims, self._scene.pools
        row = self._scene.classes[int(columns.storage_class[claim])]
        place = pools.places[pool]
        return self._volume(
            self.provisioned_name(claim),
            int(columns.request_bytes[claim]),
            row,
            claim=claim,
            near=None if place == EVERYWHERE else (KEYS[row.reach], place),
            csi=CSIPersistentVolumeSource(driver=row.provisioner, volumeHandle=f"handle-{claim}"),
        )

    @staticmethod
    def provisioned_name(claim: int) -> str:
        """The name of the volume made for a claim."""
        return f"pvc-{claim}"

    @staticmethod
    def disk_name(disk: int) -> str:
        """The name of a local disk's volume."""
        return f"local-{disk}"

    def disk(self, disk: int, claim: int | None = None) -> PersistentVolume:
        """A local disk's volume, free or bound to a claim."""
        disks = self._scene.disks
        node = self._scene.nodes.names[int(disks.node[disk])]
        name = self.disk_name(disk)
        row = self._scene.classes[int(disks.storage_class[disk])]
        local = LocalVolumeSource(path=f"/mnt/disks/{name}")
        return self._volume(name, int(disks.size_bytes[disk]), row, claim=claim, near=(HOSTNAME, node), local=local)

    def _volume(
        self,
        name: str,
        size_bytes: int,
        row: ClassOptions,
        *,
        claim: int | None,
        near: tuple[str, str] | None,
        csi: CSIPersistentVolumeSource | None = None,
        local: LocalVolumeSource | None = None,
    ) -> PersistentVolume:
        affinity = None
        if near is not None:
            term = NodeSelectorTerm(matchExpressions=[NodeSelectorRequirement(key=near[0], operator="In", values=[near[1]])])
            affinity = VolumeNodeAffinity(required=NodeSelector(nodeSelectorTerms=[term]))
        reference = None
        if claim is not None:
            reference = ObjectReference(
                apiVersion="v1", kind="PersistentVolumeClaim", namespace=NAMESPACE, name=self.claim_names[claim], uid=f"claim-{claim}"
            )
        return PersistentVolume(
            metadata=ObjectMeta(name=name, uid=name, resourceVersion=self._stamp()),
            spec=PersistentVolumeSpec(
                capacity={"storage": str(size_bytes)},
                accessModes=["ReadWriteOnce"],
                volumeMode="Filesystem",
                storageClassName=row.name,
                persistentVolumeReclaimPolicy="Delete",
                nodeAffinity=affinity,
                claimRef=reference,
                csi=csi,
                local=local,
            ),
            status=PersistentVolumeStatus(phase="Available" if claim is None else "Bound"),
        )
