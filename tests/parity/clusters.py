"""Random clusters for comparing engines: objects of every kind that scheduling reads, dense enough that rules meet.

`chance` is anything with the interface of `random.Random`: a seeded one for large clusters, Hypothesis' own for small ones it can shrink.
Selectors are always valid here, since a message about an invalid one says nothing about a decision.
"""

from __future__ import annotations

import datetime
import random
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar

from lightkube.models.apps_v1 import ReplicaSet, ReplicaSetSpec, StatefulSet, StatefulSetSpec
from lightkube.models.core_v1 import (
    Affinity,
    AWSElasticBlockStoreVolumeSource,
    Container,
    GCEPersistentDiskVolumeSource,
    NodeAffinity,
    NodeSelector,
    NodeSelectorRequirement,
    NodeSelectorTerm,
    PersistentVolumeClaimSpec,
    Pod,
    PodAffinity,
    PodAffinityTerm,
    PodAntiAffinity,
    PodTemplateSpec,
    PreferredSchedulingTerm,
    ReplicationController,
    ReplicationControllerSpec,
    Service,
    ServiceSpec,
    Taint,
    Toleration,
    TopologySpreadConstraint,
    Volume,
    WeightedPodAffinityTerm,
)
from lightkube.models.meta_v1 import LabelSelector, LabelSelectorRequirement, ObjectMeta, OwnerReference

from tests.builders import (
    HOSTNAME,
    ZONE,
    make_attachment,
    make_capacity,
    make_class,
    make_container,
    make_csidriver,
    make_csinode,
    make_namespace,
    make_node,
    make_owner,
    make_pod,
    make_pv,
    make_pvc,
)
from volsched.api.kinds import Object

T = TypeVar("T")

BETA_ZONE = "failure-domain.beta.kubernetes.io/zone"
EBS_ZONE = "topology.ebs.csi.aws.com/zone"
ZONES = ("z1", "z2", "z3")
DRIVERS = ("one.csi", "two.csi", "ebs.csi.aws.com")
CLASSES = ("c1", "c2", "c3")
SIZES = ("1Gi", "1G", "2Gi", "1.5Gi", "5Gi", "5000M", "10Gi")
OWNERS = (("v1", "ReplicationController"), ("apps/v1", "ReplicaSet"), ("apps/v1", "StatefulSet"))
MODES = (["ReadWriteOnce"], ["ReadWriteOnce"], ["ReadWriteOnce", "ReadOnlyMany"], ["ReadWriteMany"], ["ReadWriteOncePod"])
EBS = {"csi": None, "awsElasticBlockStore": AWSElasticBlockStoreVolumeSource(volumeID="vol-1")}
DELETED = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


class Situation(NamedTuple):
    """A cluster and the pods to decide on, one after the other."""

    objects: list[Object]
    pods: list[Pod]


class Draw:
    """Makes objects by chance. `nodes` is the number of nodes; the other numbers follow it."""

    def __init__(self, chance: random.Random, *, nodes: int) -> None:
        self.chance = chance
        self.nodes = nodes
        self.claims = [f"claim{number}" for number in range(max(3, nodes // 4))]

    def maybe(self, percent: int) -> bool:
        return self.chance.randrange(100) < percent

    def one(self, *choices: T) -> T:
        return choices[self.chance.randrange(len(choices))]

    def some(self, choices: Sequence[T], most: int) -> list[T]:
        return [self.one(*choices) for _ in range(self.chance.randrange(most + 1))]

    # Selectors

    def requirement(self) -> NodeSelectorRequirement:
        key, values = self.one((ZONE, ZONES), (BETA_ZONE, ZONES), (HOSTNAME, ("node0", "node1", "node2")), ("rack", ("r1", "r2")))
        operator = self.one("In", "In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt")
        if operator in ("Gt", "Lt"):
            return NodeSelectorRequirement(key="generation", operator=operator, values=[self.one("2", "5")])
        listed = [self.one(*values), self.one(*values)] if operator in ("In", "NotIn") else None
        return NodeSelectorRequirement(key=key, operator=operator, values=listed)

    def node_selector(self) -> NodeSelector:
        terms = []
        for _ in range(self.chance.randrange(3)):
            fields = [NodeSelectorRequirement(key="metadata.name", operator=self.one("In", "NotIn"), values=[self.one("node0", "node1")])]
            terms.append(
                NodeSelectorTerm(
                    matchExpressions=[self.requirement() for _ in range(self.chance.randrange(3))] or None,
                    matchFields=fields if self.maybe(15) else None,
                )
            )
        return NodeSelector(nodeSelectorTerms=terms)

    def label_selector(self) -> LabelSelector | None:
        if self.maybe(10):
            return self.one(None, LabelSelector())
        expression = LabelSelectorRequirement(key="app", operator=self.one("Exists", "DoesNotExist"))
        return LabelSelector(
            matchLabels={self.one("app", "tier"): self.one("a", "b")} if self.maybe(80) else None,
            matchExpressions=[expression] if self.maybe(20) else None,
        )

    # The cluster

    def node(self, number: int) -> Object:
        zone = self.one(*ZONES)
        labels = {
            key: value
            for key, value, percent in (
                (BETA_ZONE, zone, 30),
                (EBS_ZONE, zone, 50),
                ("rack", self.one("r1", "r2"), 60),
                ("generation", self.one("1", "3", "7", "old"), 60),
            )
            if self.maybe(percent)
        }
        taints = [
            Taint(
                key=self.one("k", "l"),
                value=self.one("x", "y", None),
                effect=self.one("NoSchedule", "PreferNoSchedule", "PreferNoSchedule"),
            )
            for _ in range(self.chance.randrange(3) if self.maybe(30) else 0)
        ]
        return make_node(
            f"node{number}",
            zone=zone if self.maybe(85) else None,
            region="r" if self.maybe(40) else None,
            labels=labels,
            hostname=self.maybe(95),
            cpu=self.one("2", "4", "8", "3900m"),
            memory=self.one("4Gi", "8Gi", "16G"),
            pods=self.one("110", "110", "4"),
            allocatable={"example.com/gpu": self.one("1", "4")} if self.maybe(30) else None,
            taints=taints,
            unschedulable=True if self.maybe(8) else None,
            images={image: 300_000_000 for image in ("app:1", "web:latest") if self.maybe(40)} or None,
        )

    def csi_node(self, number: int) -> Object:
        drivers = {driver: self.one(None, 0, 1, 2, 4) for driver in DRIVERS if self.maybe(70)}
        return make_csinode(f"node{number}", drivers=drivers, migrated=["kubernetes.io/aws-ebs"] if self.maybe(60) else [])

    def storage_class(self, name: str) -> Object:
        return make_class(
            name,
            provisioner=self.one(*DRIVERS, "kubernetes.io/no-provisioner", "kubernetes.io/aws-ebs"),
            wait=self.maybe(90),
            allowed=[{ZONE: self.some(ZONES, 2)} for _ in range(self.one(0, 0, 1, 2))],
        )

    def capacity(self, number: int) -> Object:
        return make_capacity(
            f"capacity{number}",
            namespace=self.one("default", "other"),
            storage_class=self.one(*CLASSES),
            capacity=self.one("1Gi", "5Gi", "100Gi", None),
            maximum=self.one(None, None, "2Gi"),
            where=self.one(None, {}, {ZONE: self.one(*ZONES)}, {"rack": "r1"}),
        )

    def claim(self, name: str, **rest: Any) -> Object:
        return make_pvc(
            name,
            uid=f"uid-{name}",
            size=self.one(*SIZES, None),
            storage_class=self.one(*CLASSES, *CLASSES, "gone", None),
            modes=self.one(*MODES),
            volume_mode=self.one(None, None, None, "Block"),
            selector=self.label_selector() if self.maybe(15) else None,
            selected_node=self.one("node0", "node1", "gone") if self.maybe(8) else None,
            deleted=DELETED if self.maybe(2) else None,
            finalizers=["x/y"],
            **rest,
        )

    def volume(self, name: str, **rest: Any) -> Object:
        source = self.one(None, None, None, EBS)
        return make_pv(
            name,
            size=self.one(*SIZES),
            storage_class=self.one(*CLASSES),
            modes=self.one(*MODES),
            volume_mode=self.one(None, None, None, "Block"),
            affinity=self.node_selector() if self.maybe(60) else None,
            labels={key: value for key, value in ((ZONE, self.one(*ZONES)), ("tier", self.one("a", "b"))) if self.maybe(30)},
            driver=self.one(*DRIVERS),
            handle=self.one(f"handle-{name}", "shared"),
            spec=source,
            **rest,
        )

    def attachment(self, number: int) -> Object:
        volume = self.one(*[f"bound-{claim}" for claim in self.claims], "free0")
        node = f"node{self.chance.randrange(self.nodes)}"
        return make_attachment(f"attachment{number}", volume=volume, node=node, attacher=self.one(*DRIVERS))

    def storage(self) -> list[Object]:
        made: list[Object] = []
        for name in self.claims:
            if self.maybe(40):
                made.append(self.claim(name, bound_to=f"bound-{name}"))
                if self.maybe(95):
                    made.append(self.volume(f"bound-{name}", claim=f"default/{name}", claim_uid=f"uid-{name}"))
            elif self.maybe(95):
                made.append(self.claim(name))
        for number in range(self.nodes):
            reserved = {"claim": f"default/{self.one(*self.claims)}"} if self.maybe(15) else {}
            made.append(
                self.volume(f"free{number}", phase=self.one("Available", "Available", "Available", "Pending", "Released"), **reserved)
            )
        for number in range(self.chance.randrange(self.nodes + 1)):
            made.append(self.attachment(number))
        return made

    # Workloads, for default spreading

    def service(self, number: int) -> Object:
        selector = {self.one("app", "tier"): self.one("a", "b")} if self.maybe(85) else None
        namespace = self.one("default", "default", "other")
        return Service(metadata=ObjectMeta(name=f"service{number}", namespace=namespace), spec=ServiceSpec(selector=selector))

    def controller(self, number: int) -> Object:
        """What `owner` of the same number refers to, if it is in the pod's namespace."""
        metadata = ObjectMeta(name=f"owner{number}", namespace=self.one("default", "default", "other"))
        labels = {self.one("app", "tier"): self.one("a", "b")}
        kind = OWNERS[number % len(OWNERS)][1]
        if kind == "ReplicationController":
            return ReplicationController(metadata=metadata, spec=ReplicationControllerSpec(selector=labels if self.maybe(85) else None))
        selector = LabelSelector(matchLabels=labels) if self.maybe(85) else LabelSelector()
        if kind == "ReplicaSet":
            return ReplicaSet(metadata=metadata, spec=ReplicaSetSpec(selector=selector, template=PodTemplateSpec()))
        return StatefulSet(metadata=metadata, spec=StatefulSetSpec(selector=selector, template=PodTemplateSpec(), serviceName="s"))

    def owner(self) -> OwnerReference:
        number = self.chance.randrange(len(OWNERS))
        version, kind = OWNERS[number]
        return make_owner(kind, f"owner{number}", f"uid-owner{number}", api_version=version)

    # Pods

    def container(self, name: str, *, init: bool = False) -> Container:
        requests = {
            key: value
            for key, value, percent in (
                ("cpu", self.one("0", "100m", "250m", "1", "1500m"), 70),
                ("memory", self.one("0", "64Mi", "1Gi", "129M"), 70),
                ("example.com/gpu", "1", 8),
            )
            if self.maybe(percent)
        }
        return make_container(
            name,
            requests=requests,
            limits={"cpu": "2"} if self.maybe(10) else None,
            image=self.one("app:1", "web", "reg:5000/other"),
            ports=[self.one(80, 8080)] if self.maybe(10) else (),
            restart_policy="Always" if init and self.maybe(40) else None,
        )

    def term(self) -> PodAffinityTerm:
        return PodAffinityTerm(
            topologyKey=self.one(ZONE, HOSTNAME, "rack"),
            labelSelector=self.label_selector(),
            namespaces=self.one(None, None, ["other"], ["default", "other"]),
            namespaceSelector=self.one(None, None, None, LabelSelector(), LabelSelector(matchLabels={"team": "x"})),
        )

    def weighted(self) -> WeightedPodAffinityTerm:
        return WeightedPodAffinityTerm(weight=self.one(1, 30, 100), podAffinityTerm=self.term())

    def affinity(self) -> Affinity:
        preferred = [
            PreferredSchedulingTerm(weight=self.one(1, 10, 50), preference=NodeSelectorTerm(matchExpressions=[self.requirement()]))
            for _ in range(self.chance.randrange(3))
        ]
        return Affinity(
            nodeAffinity=NodeAffinity(
                requiredDuringSchedulingIgnoredDuringExecution=self.node_selector() if self.maybe(20) else None,
                preferredDuringSchedulingIgnoredDuringExecution=preferred or None,
            ),
            podAffinity=PodAffinity(
                requiredDuringSchedulingIgnoredDuringExecution=[self.term()] if self.maybe(15) else None,
                preferredDuringSchedulingIgnoredDuringExecution=[self.weighted()] if self.maybe(30) else None,
            ),
            podAntiAffinity=PodAntiAffinity(
                requiredDuringSchedulingIgnoredDuringExecution=[self.term()] if self.maybe(15) else None,
                preferredDuringSchedulingIgnoredDuringExecution=[self.weighted()] if self.maybe(30) else None,
            ),
        )

    def spread(self) -> TopologySpreadConstraint:
        return TopologySpreadConstraint(
            maxSkew=self.one(1, 1, 2),
            topologyKey=self.one(ZONE, HOSTNAME, "rack"),
            whenUnsatisfiable=self.one("DoNotSchedule", "ScheduleAnyway"),
            labelSelector=self.label_selector(),
            minDomains=self.one(None, None, 3),
            nodeTaintsPolicy=self.one(None, "Honor"),
            nodeAffinityPolicy=self.one(None, "Ignore"),
        )

    def pod(self, name: str, *, node: str | None = None) -> Pod:
        volumes = []
        if self.maybe(10):
            disk = GCEPersistentDiskVolumeSource(pdName=self.one("a", "b"), readOnly=self.maybe(50))
            volumes.append(Volume(name="disk", gcePersistentDisk=disk))
        if self.maybe(5):
            volumes.append(Volume(name="ebs", awsElasticBlockStore=AWSElasticBlockStoreVolumeSource(volumeID=self.one("vol-1", "vol-2"))))
        return make_pod(
            name,
            namespace="default" if node is None else self.one("default", "default", "other"),
            uid=f"uid-{name}",
            claims=self.some([*self.claims, *self.claims, "missing"], 3 if node is None else 1),
            ephemeral={"tmp": PersistentVolumeClaimSpec()} if self.maybe(5) else None,
            volumes=volumes,
            containers=[self.container(f"c{number}") for number in range(self.one(1, 1, 2))],
            init_containers=[self.container(f"i{number}", init=True) for number in range(self.one(0, 0, 0, 1, 2))],
            node=node,
            labels={key: self.one("a", "b") for key in ("app", "tier") if self.maybe(70)},
            owners=[self.owner()] if self.maybe(25) else [],
            node_selector={"rack": "r1"} if self.maybe(8) else None,
            affinity=self.affinity() if self.maybe(40) else None,
            tolerations=[Toleration(key=self.one("k", "l"), operator="Exists")] if self.maybe(40) else [],
            deleted=DELETED if node is not None and self.maybe(5) else None,
            spec={"topologySpreadConstraints": [self.spread()] if self.maybe(25) else None},
        )

    def situation(self, *, pods: int) -> Situation:
        """A whole cluster and some pods for it."""
        objects: list[Object] = [make_namespace("default", labels={"team": "x"}), make_namespace("other", labels={"team": "y"})]
        for number in range(self.nodes):
            objects.append(self.node(number))
            if self.maybe(80):
                objects.append(self.csi_node(number))
        objects += [
            make_csidriver(name, storage_capacity=self.maybe(60), prevent_if_missing=self.maybe(15)) for name in DRIVERS if self.maybe(70)
        ]
        objects += [self.storage_class(name) for name in CLASSES]
        objects += [self.capacity(number) for number in range(self.chance.randrange(5))]
        objects += [self.service(number) for number in range(self.chance.randrange(3))]
        objects += [self.controller(number) for number in range(len(OWNERS)) if self.maybe(70)]
        objects += self.storage()
        for number in range(self.chance.randrange(2 * self.nodes + 1)):
            placed = self.pod(f"placed{number}", node=f"node{self.chance.randrange(self.nodes)}")
            objects.append(placed)
            if placed.spec and any(volume.ephemeral for volume in placed.spec.volumes or ()) and placed.metadata:
                owner = make_owner("Pod", f"placed{number}", f"uid-placed{number}")
                objects.append(self.claim(f"placed{number}-tmp", namespace=placed.metadata.namespace, owners=[owner]))
        return Situation(objects, [self.pod(f"pod{number}") for number in range(pods)])
