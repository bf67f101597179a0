"""Random clusters in which every plugin has something to say: `clusters.Draw` with all that it leaves out.

A situation draws which families of rules it is about, so that some clusters mix everything and others leave pods room to fit. What is
left out, and why:

- resource claims (dynamic resource allocation): outside the engine, whose DynamicResources does nothing;
- nominated pods: the scheduler runs its filters with them, an engine is only told where pods are;
- toleration operators Lt and Gt: behind a feature gate that is off;
- matchLabelKeys over a key that a selector already names among its expressions: refused when a pod is created.
"""

from __future__ import annotations

import random
from typing import Any, Final

from lightkube.models.apps_v1 import ReplicaSet, ReplicaSetSpec, StatefulSet, StatefulSetSpec
from lightkube.models.core_v1 import (
    Affinity,
    Container,
    ContainerImage,
    ContainerPort,
    ContainerRestartRule,
    ContainerRestartRuleOnExitCodes,
    ContainerStatus,
    ImageVolumeSource,
    NodeAffinity,
    NodeSelector,
    NodeSelectorRequirement,
    NodeSelectorTerm,
    Pod,
    PodAffinity,
    PodAffinityTerm,
    PodAntiAffinity,
    PodCondition,
    PodTemplateSpec,
    PreferredSchedulingTerm,
    ReplicationController,
    ReplicationControllerSpec,
    ResourceRequirements,
    Service,
    ServiceSpec,
    Taint,
    Toleration,
    TopologySpreadConstraint,
    Volume,
    VolumeMount,
)
from lightkube.models.meta_v1 import LabelSelector, LabelSelectorRequirement, ObjectMeta, OwnerReference

from tests.builders import HOSTNAME, REGION, ZONE, make_container, make_namespace, make_node, make_owner, make_pod
from tests.parity.clusters import BETA_ZONE, DELETED, Situation
from tests.parity.mixture_storage import MixedStorage
from volsched.api.kinds import Object

FAMILIES: Final = (
    "resources",
    "edges",
    "pod-level",
    "init",
    "resize",
    "taints",
    "affinity",
    "ports",
    "images",
    "features",
    "claims",
    "inline",
    "in-tree",
    "ephemeral",
    "capacity",
    "limits",
    "zones",
    "spread",
    "owners",
    "inter-pod",
    "odd",
)
BETA_REGION: Final = "failure-domain.beta.kubernetes.io/region"
GPU: Final = "example.com/gpu"
FEATURES: Final = ("RestartAllContainersOnContainerExits", "UserNamespacesHostNetworkSupport", "VolumeBindMountOptions")
IMAGES: Final = ("app:1", "web", "web:latest", "reg:5000/other", "reg:5000/other:2", "app@sha256:" + "0" * 64)
NAMESPACES: Final = ("default", "default", "other", "third", "nowhere")
# As text that quantities may have; the last ones overflow or lose themselves in 64 bits.
CPUS: Final = ("1e0", "0.5", "1.5", "2e-1", ".25", "1.", "100u", "1E1", "10P", "100E")
BYTES: Final = ("1e9", "0.5Gi", "1.5G", "12e7", "129M", "1e3", "500m", "3.7Ki", "8E", "100E")


class Mixture(MixedStorage):
    """Draws situations of all families. `nodes` as for `Draw`."""

    def __init__(self, chance: random.Random, *, nodes: int) -> None:
        super().__init__(chance, nodes=nodes)
        often = self.one(30, 60, 60, 100)
        self.families = frozenset(family for family in FAMILIES if self.maybe(often))
        # constraints of one pod add up, so a pod rarely has many of the strict ones
        self.strictness = self.one(8, 25, 60)

    def now(self, family: str, percent: int) -> bool:
        """Whether a rule of the family comes into play here."""
        return family in self.families and self.maybe(percent)

    # Selectors

    def requirement(self) -> NodeSelectorRequirement:
        if self.now("odd", 4):
            return self.one(
                NodeSelectorRequirement(key="rack", operator="In"),
                NodeSelectorRequirement(key="generation", operator="Gt", values=["many"]),
                NodeSelectorRequirement(key="rack", operator="Exists", values=["r1"]),
                NodeSelectorRequirement(key="rack", operator="Near", values=["r1"]),
                NodeSelectorRequirement(key="rack", operator="NotIn", values=["-r1"]),
            )
        if self.maybe(15):
            key = self.one(REGION, BETA_REGION, "disk", "absent")
            return NodeSelectorRequirement(key=key, operator=self.one("In", "NotIn"), values=[self.one("r", "s", "ssd", "")])
        return super().requirement()

    def field(self) -> NodeSelectorRequirement:
        names = [self.node_name() for _ in range(2 if self.now("odd", 5) else 1)]
        return NodeSelectorRequirement(key=self.one(*["metadata.name"] * 9, "metadata.uid"), operator=self.one("In", "NotIn"), values=names)

    def node_term(self) -> NodeSelectorTerm:
        fields = [self.field() for _ in range(self.one(1, 1, 2))] if self.maybe(15) else None
        expressions = [self.requirement() for _ in range(self.one(0, 1, 1, 2, 3) if fields is None else self.one(0, 0, 1))]
        return NodeSelectorTerm(matchExpressions=expressions or None, matchFields=fields)

    def node_selector(self) -> NodeSelector:
        return NodeSelector(nodeSelectorTerms=[self.node_term() for _ in range(self.one(1, 1, 2, 3, 0 if self.now("odd", 30) else 1))])

    def label_selector(self) -> LabelSelector | None:
        if self.now("odd", 2):
            return self.invalid_selector()
        made = super().label_selector()
        if made is None or self.maybe(75):
            return made
        operator = self.one("In", "NotIn", "Exists", "DoesNotExist")
        listed = [self.one("a", "b", "c"), self.one("a", "")] if operator in ("In", "NotIn") else None
        extra = LabelSelectorRequirement(key=self.one("tier", "rev", "absent"), operator=operator, values=listed)
        return LabelSelector(matchLabels=made.matchLabels, matchExpressions=[*(made.matchExpressions or ()), extra])

    def invalid_selector(self) -> LabelSelector:
        key, operator, values = self.one(
            ("app", "In", None), ("app", "Gt", ["1"]), ("app", "Exists", ["a"]), ("-app", "In", ["a"]), ("a/b/c", "Exists", None)
        )
        wrong = [LabelSelectorRequirement(key=key, operator=operator, values=values)]
        return self.one(LabelSelector(matchExpressions=wrong), LabelSelector(matchLabels={"app": "a-"}, matchExpressions=wrong))

    def node_name(self) -> str:
        return f"node{self.chance.randrange(self.nodes)}" if self.maybe(95) else "gone"

    # Nodes

    def amount(self, plain: tuple[str, ...], edges: tuple[str, ...]) -> str:
        return self.one(*edges) if self.now("edges", 15) else self.one(*plain)

    def node(self, number: int) -> Object:
        zone = self.one("z1", "z2", "z3")
        room: dict[str, str | None] = {
            "cpu": self.amount(("2", "4", "8", "3900m"), CPUS[:8] if self.maybe(80) else CPUS),
            "memory": self.amount(("4Gi", "8Gi", "16G"), BYTES),
            "pods": self.one(*["110"] * 8, "4", "1e1", "0" if self.now("odd", 30) else "2"),
            "ephemeral-storage": self.amount(("10Gi", "500M"), BYTES) if self.maybe(60) else None,
            GPU: self.one("1", "4", "0") if self.now("resources", 50) else None,
            "vendor.io/fpga": self.amount(("2", "3"), ("1e1", "2500m")) if self.now("resources", 30) else None,
            "hugepages-2Mi": self.one("64Mi", "1Gi") if self.now("resources", 40) else None,
            "plain-name": "5" if self.now("odd", 20) else None,
        }
        if self.now("odd", 3):
            del room[self.one("cpu", "memory", "pods")]
        made: Any = make_node(f"node{number}", labels=self.node_labels(zone, number), hostname=False)
        made.status.allocatable = {key: value for key, value in room.items() if value is not None}
        made.status.capacity = dict(made.status.allocatable)
        made.status.images = self.node_images()
        made.status.declaredFeatures = [item for item in FEATURES if self.maybe(70)] if self.now("features", 80) else None
        made.spec.taints = self.taints()
        made.spec.unschedulable = True if self.now("taints", 8) else None
        return made  # type: ignore[no-any-return]

    def node_labels(self, zone: str, number: int) -> dict[str, str]:
        rows = (
            (ZONE, zone, 85),
            (BETA_ZONE, zone if self.maybe(80) else self.one("z1", "z2", ""), 20),
            (REGION, self.one("r", "r", "s"), 50),
            (BETA_REGION, "r", 10),
            (HOSTNAME, f"node{number}" if self.maybe(95) else "node0", 95),
            ("topology.ebs.csi.aws.com/zone", zone, 50),
            ("topology.gke.io/zone", zone, 40),
            ("topology.cinder.csi.openstack.org/zone", zone, 40),
            ("rack", self.one("r1", "r2", ""), 60),
            ("generation", self.one("1", "3", "7", "007", "old", "5", "9223372036854775808"), 60),
            ("disk", self.one("ssd", "hdd"), 40),
        )
        return {key: value for key, value, percent in rows if self.maybe(percent)}

    def node_images(self) -> list[ContainerImage] | None:
        if "images" not in self.families:
            return None
        sizes = (0, 1_000_000, 23 << 20, 100_000_000, 600_000_000, 3_000_000_000)
        listed = []
        for image in IMAGES:
            if self.maybe(40):
                # a node may report a size of its own; the first one counts
                names = [image, *([self.one(*IMAGES)] if self.maybe(10) else [])]
                listed.append(ContainerImage(names=names, sizeBytes=self.one(*sizes) if self.maybe(20) else sizes[len(image) % 6]))
        return listed or None

    def taints(self) -> list[Taint] | None:
        if not self.now("taints", 40):
            return None
        effects = ("PreferNoSchedule", "PreferNoSchedule", "NoSchedule", "NoExecute")
        return [
            Taint(key=self.one("k", "l", "node.kubernetes.io/unschedulable"), value=self.one("x", "y", "", None), effect=self.one(*effects))
            for _ in range(self.one(1, 1, 2, 3))
        ]

    # Containers

    def requests(self) -> dict[str, str]:
        rows = (
            ("cpu", self.amount(("0", "100m", "250m", "1", "1500m"), CPUS[:7] if self.maybe(90) else CPUS), 70),
            ("memory", self.amount(("0", "64Mi", "1Gi", "129M"), BYTES[:8] if self.maybe(90) else BYTES), 70),
            ("ephemeral-storage", self.amount(("0", "100M", "1Gi"), BYTES[:8]), 15),
            (GPU, self.one("1", "2", "0"), 15 if "resources" in self.families else 0),
            ("vendor.io/fpga", self.one("1", "1e0", "500m"), 10 if "resources" in self.families else 0),
            ("hugepages-2Mi", self.one("2Mi", "64Mi"), 10 if "resources" in self.families else 0),
            ("plain-name", "1", 3 if "odd" in self.families else 0),
        )
        return {key: value for key, value, percent in rows if self.maybe(percent)}

    def resources(self) -> ResourceRequirements | None:
        requests = self.requests()
        limits = {key: value for key, value in requests.items() if key.startswith("hugepages")}
        if self.maybe(15):
            limits |= self.requests()
        return ResourceRequirements(requests=requests or None, limits=limits or None) if requests or limits else None

    def port(self) -> ContainerPort:
        return ContainerPort(
            containerPort=self.one(80, 8080, 9000),
            hostPort=self.one(80, 80, 8080, 9000, None),
            protocol=self.one(None, None, "TCP", "UDP", "SCTP"),
            hostIP=self.one(None, None, "0.0.0.0", "127.0.0.1", "10.0.0.1", ""),
        )

    def container(self, name: str, *, init: bool = False) -> Container:
        made = make_container(name, image=self.one(*IMAGES, None) if "images" in self.families else "app:1")
        made.resources = self.resources()
        made.ports = [self.port() for _ in range(self.one(1, 1, 2))] if self.now("ports", 25) else None
        made.restartPolicy = "Always" if init and self.maybe(40) else None
        if self.now("features", 6):
            exits = ContainerRestartRuleOnExitCodes(operator="In", values=[42])
            action = self.one("RestartAllContainers", "RestartAllContainers", "Restart")
            made.restartPolicyRules = [ContainerRestartRule(action=action, exitCodes=exits)]
            made.restartPolicy = made.restartPolicy or "Never"
        if self.now("features", 5):
            made.volumeMounts = [VolumeMount(mountPath="/data", name="data", bindMountOptions=self.one(["noexec"], ["nosuid"], []))]
        return made

    def containers(self, count: int, prefix: str, *, init: bool = False) -> list[Container]:
        return [self.container(f"{prefix}{number}", init=init) for number in range(count)]

    # Rules about nodes and pods

    def toleration(self) -> Toleration:
        operator = self.one("Exists", "Exists", "Equal", None)
        value = self.one("x", "y", "", None) if operator != "Exists" else None
        key = self.one("k", "l", "node.kubernetes.io/unschedulable", None if operator == "Exists" or self.now("odd", 20) else "k")
        return Toleration(key=key, operator=operator, value=value, effect=self.one(None, "NoSchedule", "PreferNoSchedule", "NoExecute"))

    def term(self) -> PodAffinityTerm:
        made = super().term()
        made.topologyKey = self.one(ZONE, HOSTNAME, "rack", REGION, "disk")
        made.namespaces = self.one(None, None, None, ["other"], ["default", "third"], ["nowhere"])
        if self.maybe(20):
            wanted = LabelSelectorRequirement(key="team", operator=self.one("In", "NotIn", "Exists"))
            wanted.values = ["x"] if wanted.operator != "Exists" else None
            made.namespaceSelector = LabelSelector(matchExpressions=[wanted])
        if made.labelSelector is not None and self.maybe(20):
            keys = {item.key for item in made.labelSelector.matchExpressions or ()} | set(made.labelSelector.matchLabels or ())
            usable = [key for key in ("rev", "app", "tier", "absent") if key not in keys]
            made.matchLabelKeys = [usable[0]] if self.maybe(60) else None
            made.mismatchLabelKeys = [usable[-1]] if self.maybe(40) and len(usable) > 1 else None
        return made

    def terms(self, percent: int) -> list[PodAffinityTerm] | None:
        return [self.term() for _ in range(self.one(1, 1, 2))] if self.maybe(percent) else None

    def affinity(self) -> Affinity | None:
        preferred = [
            PreferredSchedulingTerm(weight=self.one(1, 10, 50, 100), preference=self.node_term()) for _ in range(self.one(0, 1, 1, 2, 3))
        ]
        about_nodes = NodeAffinity(
            requiredDuringSchedulingIgnoredDuringExecution=self.node_selector() if self.maybe(self.strictness) else None,
            preferredDuringSchedulingIgnoredDuringExecution=preferred or None,
        )
        near = PodAffinity(
            requiredDuringSchedulingIgnoredDuringExecution=self.terms(self.strictness),
            preferredDuringSchedulingIgnoredDuringExecution=[self.weighted() for _ in range(self.one(0, 1, 2))] or None,
        )
        far = PodAntiAffinity(
            requiredDuringSchedulingIgnoredDuringExecution=self.terms(self.strictness),
            preferredDuringSchedulingIgnoredDuringExecution=[self.weighted() for _ in range(self.one(0, 1, 2))] or None,
        )
        return Affinity(
            nodeAffinity=about_nodes if self.now("affinity", 60) else None,
            podAffinity=near if self.now("inter-pod", 40) else None,
            podAntiAffinity=far if self.now("inter-pod", 40) else None,
        )

    def spread(self) -> TopologySpreadConstraint:
        made = super().spread()
        made.topologyKey = self.one(ZONE, HOSTNAME, "rack", REGION, "disk")
        made.maxSkew = self.one(1, 1, 2, 5)
        made.whenUnsatisfiable = "DoNotSchedule" if self.maybe(self.strictness) else "ScheduleAnyway"
        made.minDomains = self.one(None, None, 1, 2, 4) if made.whenUnsatisfiable == "DoNotSchedule" else None
        if made.labelSelector is not None and self.maybe(30):
            made.matchLabelKeys = self.one(["rev"], ["rev", "absent"], ["app"])
        return made

    def spreads(self) -> list[TopologySpreadConstraint] | None:
        if not self.now("spread", 40):
            return None
        made = {(item.topologyKey, item.whenUnsatisfiable): item for item in (self.spread() for _ in range(self.one(1, 1, 2, 3)))}
        return list(made.values())

    # Owners of pods

    def owners(self) -> list[Object]:
        if "owners" not in self.families:
            return []
        made: list[Object] = []
        for number in range(self.one(0, 1, 2, 3)):
            selector = self.one(None, {}, {"app": self.one("a", "b")}, {"app": "a", "tier": self.one("a", "b")})
            where = ObjectMeta(name=f"service{number}", namespace=self.one("default", "default", "other"))
            made.append(Service(metadata=where, spec=ServiceSpec(selector=selector)))
        template = PodTemplateSpec(metadata=ObjectMeta(labels={"app": "a"}))
        own = LabelSelector(
            matchLabels={"app": "a"} if self.maybe(70) else None,
            matchExpressions=[LabelSelectorRequirement(key="tier", operator="In", values=["a"])] if self.maybe(40) else None,
        )
        where = ObjectMeta(name="owner", namespace="default")
        made.append(
            ReplicationController(metadata=where, spec=ReplicationControllerSpec(selector=self.one({"app": "a"}, {"tier": "b"}, None)))
        )
        made.append(ReplicaSet(metadata=where, spec=ReplicaSetSpec(selector=own)))
        made.append(StatefulSet(metadata=where, spec=StatefulSetSpec(selector=own, serviceName="owner", template=template)))
        return made

    def owner_references(self) -> list[OwnerReference]:
        if not self.now("owners", 60):
            return []
        kind, version = self.one(
            ("ReplicationController", "v1"),
            ("ReplicaSet", "apps/v1"),
            ("StatefulSet", "apps/v1"),
            ("Job", "batch/v1"),
            ("ReplicaSet", "v1"),
        )
        return [make_owner(kind, self.one("owner", "owner", "missing"), "uid-owner", controller=self.maybe(90), api_version=version)]

    # Pods

    def pod(self, name: str, *, node: str | None = None) -> Pod:
        containers = self.containers(self.one(1, 1, 2), "c")
        init = self.containers(self.one(1, 2, 3), "i", init=True) if self.now("init", 30) else []
        labels = {key: self.one("a", "b") for key in ("app", "tier") if self.maybe(70)}
        if self.maybe(50):
            labels["rev"] = self.one("1", "2")
        namespace = "default" if node is None else self.one(*NAMESPACES)
        made: Any = make_pod(
            name,
            namespace=namespace,
            uid=f"uid-{name}",
            containers=containers,
            init_containers=init,
            node=node,
            labels=labels,
            owners=self.owner_references(),
            node_selector={"rack": self.one("r1", "r2")} if self.now("affinity", 4) else None,
            affinity=self.affinity() if self.now("affinity", 50) or self.now("inter-pod", 50) else None,
            tolerations=[self.toleration() for _ in range(self.one(1, 2, 3))] if self.now("taints", 60) else [],
            priority=self.one(None, None, 0, 100, -5),
            host_network=True if self.now("ports", 6) else None,
            deleted=DELETED if node is not None and self.maybe(5) else None,
        )
        spec = made.spec
        spec.topologySpreadConstraints = self.spreads()
        spec.volumes = self.volumes(placed=node is not None) or None
        spec.overhead = self.requests() if self.now("pod-level", 10) else None
        if spec.hostNetwork and self.now("features", 40):
            spec.hostUsers = self.one(False, True)
        if self.now("pod-level", 20):
            requests = {key: value for key, value in self.requests().items() if key in ("cpu", "memory", "hugepages-2Mi")}
            limits = {key: value for key, value in self.requests().items() if key in ("cpu", "memory", "hugepages-2Mi")}
            spec.resources = ResourceRequirements(requests=requests or None, limits=limits if self.maybe(40) else None)
        if self.now("images", 10):
            spec.volumes = [*(spec.volumes or ()), Volume(name="image", image=ImageVolumeSource(reference=self.one(*IMAGES)))]
        if node is not None:
            self.let_run(made)
        return made  # type: ignore[no-any-return]

    def let_run(self, pod: Any) -> None:
        """Give a placed pod a status: of a resize under way, or of a pod that has ended."""
        if self.maybe(4):
            pod.status = self.status(phase=self.one("Succeeded", "Failed", "Unknown"))
        if not self.now("resize", 30):
            return
        status = pod.status = pod.status or self.status(phase="Running")
        statuses = [self.container_status(container) for container in pod.spec.containers if self.maybe(80)]
        status.containerStatuses = statuses or None
        status.initContainerStatuses = [self.container_status(item) for item in pod.spec.initContainers or () if self.maybe(60)] or None
        if self.maybe(30):
            reason = self.one("Infeasible", "Infeasible", "Deferred")
            status.conditions = [PodCondition(type="PodResizePending", status="True", reason=reason)]
        if pod.spec.resources is not None and self.maybe(60):
            status.allocatedResources = self.requests() if self.maybe(70) else None
            status.resources = ResourceRequirements(requests=self.requests()) if self.maybe(70) else None

    @staticmethod
    def status(*, phase: str) -> Any:
        return make_pod(phase=phase).status

    def container_status(self, container: Container) -> ContainerStatus:
        made = ContainerStatus(image="", imageID="", name=container.name, ready=True, restartCount=0)
        made.allocatedResources = self.requests() if self.maybe(60) else None
        made.resources = ResourceRequirements(requests=self.requests() or None) if self.maybe(60) else None
        return made

    # The whole

    def situation(self, *, pods: int) -> Situation:
        objects: list[Object] = [make_namespace(name, labels={"team": team}) for name, team in (("default", "x"), ("other", "y"))]
        objects.append(make_namespace("third"))
        for number in range(self.nodes):
            objects.append(self.node(number))
            if self.maybe(85):
                objects.append(self.csi_node(number))
        objects += self.owners() + self.storage()
        for number in range(self.chance.randrange(2 * self.nodes + 1)):
            placed = self.pod(f"placed{number}", node=self.node_name())
            objects += [placed, *self.ephemeral_claims(placed)]
        waiting = [self.pod(f"pod{number}") for number in range(pods)]
        for pod in waiting:
            objects += self.ephemeral_claims(pod)
        if self.maybe(30):
            self.chance.shuffle(objects)
        return Situation(objects, waiting)
