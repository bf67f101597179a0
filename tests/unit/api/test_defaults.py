"""What the API server fills in; and that filling in twice changes nothing."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lightkube.models.apps_v1 import ReplicaSet, ReplicaSetSpec, StatefulSet, StatefulSetSpec
from lightkube.models.core_v1 import (
    Affinity,
    Container,
    ContainerPort,
    ContainerStatus,
    EmptyDirVolumeSource,
    HTTPGetAction,
    Namespace,
    Node,
    NodeStatus,
    Pod,
    PodAffinity,
    PodAffinityTerm,
    PodAntiAffinity,
    PodSpec,
    PodStatus,
    PodTemplateSpec,
    Probe,
    RBDVolumeSource,
    ReplicationController,
    ReplicationControllerSpec,
    ResourceRequirements,
    SecretVolumeSource,
    Service,
    ServicePort,
    ServiceSpec,
    TopologySpreadConstraint,
    TypedLocalObjectReference,
    TypedObjectReference,
    Volume,
    WeightedPodAffinityTerm,
)
from lightkube.models.meta_v1 import LabelSelector, LabelSelectorRequirement, ObjectMeta

from tests.builders import (
    make_capacity,
    make_claim_spec,
    make_class,
    make_container,
    make_csidriver,
    make_host_path_pv,
    make_node,
    make_pod,
    make_pv,
    make_pvc,
    make_snapshot,
)
from volsched.api.defaults import with_defaults
from volsched.api.filling import canonical
from volsched.api.kinds import to_json
from volsched.api.manifest import from_manifest

DATA = Path(__file__).parents[2] / "data"


def stories() -> list[Path]:
    return sorted((DATA / "stories").glob("*.json"))


def story_objects(path: Path) -> Iterator[Any]:
    """Objects of a recorded story as they stood on a real cluster, tokens replaced by values of their form."""
    text = path.read_text()
    text = text.replace('"<nanotime>"', "1767225600000000000").replace("<time>", "2026-01-01T00:00:00Z")
    text = re.sub(r"<uid:[^>]*>", lambda token: hashlib.md5(token[0].encode(), usedforsecurity=False).hexdigest(), text)
    text = re.sub(r'"resourceVersion": (\d+)', r'"resourceVersion": "\1"', text)
    for entry in json.loads(text)["timeline"]:
        for body in entry.get("objects", ()):
            yield from_manifest(body, warn=pytest.fail)


@pytest.mark.parametrize("path", stories(), ids=lambda path: path.stem)
def test_objects_of_a_real_cluster_have_their_defaults(path: Path) -> None:
    for obj in story_objects(path):
        made = with_defaults(obj)
        assert made is obj, {name: value for name, value in to_json(made).items() if to_json(obj).get(name) != value}


@pytest.mark.parametrize("family", ["mixed", "edge-podlevel", "edge-inline", "edge-interpod", "hostile"])
def test_idempotent_on_recorded_cases(family: str) -> None:
    with gzip.open(DATA / "golden" / f"decisions-{family}.jsonl.gz") as lines:
        for line in lines:
            case = json.loads(line)
            for body in [*case["objects"], case["pod"]]:
                made = with_defaults(from_manifest(body, lenient=True))
                assert with_defaults(made) is made


def test_an_untouched_argument_is_not_altered() -> None:
    pod = make_pod(limits={"cpu": "0.5"}, ports=[80], host_network=True)
    before = to_json(pod)
    with_defaults(pod)
    assert to_json(pod) == before


# Pods


def test_requests_come_from_limits() -> None:
    first = make_container(requests={"cpu": "100m"}, limits={"cpu": "1", "memory": "1Gi", "example.com/gpu": "2"})
    pod = with_defaults(make_pod(containers=[first], init_containers=[make_container("init", limits={"memory": "1.5Gi"})]))
    assert pod.spec.containers[0].resources.requests == {"cpu": "100m", "memory": "1Gi", "example.com/gpu": "2"}
    assert pod.spec.initContainers[0].resources.requests == {"memory": "1536Mi"}


def test_a_template_does_not_get_requests_from_limits() -> None:
    spec = PodSpec(containers=[make_container(limits={"cpu": "1"})])
    owner = with_defaults(ReplicaSet(spec=ReplicaSetSpec(selector=LabelSelector(), template=PodTemplateSpec(spec=spec))))
    assert owner.spec.replicas == 1
    assert owner.spec.template.spec.containers[0].resources.requests is None
    assert owner.spec.template.spec.restartPolicy == "Always"
    assert owner.spec.template.spec.priority is None


def test_fields_of_a_pod_spec() -> None:
    spec = with_defaults(make_pod()).spec
    assert (spec.schedulerName, spec.restartPolicy, spec.dnsPolicy) == ("default-scheduler", "Always", "ClusterFirst")
    assert (spec.terminationGracePeriodSeconds, spec.priority, spec.preemptionPolicy) == (30, 0, "PreemptLowerPriority")
    assert (spec.enableServiceLinks, to_json(spec.securityContext)) == (True, {})
    assert with_defaults(make_pod()).status.phase == "Pending"
    assert with_defaults(make_pod(phase="Running")).status.phase == "Running"
    assert with_defaults(make_pod(spec={"terminationGracePeriodSeconds": -5})).spec.terminationGracePeriodSeconds == 1
    assert with_defaults(make_pod(spec={"serviceAccount": "robot"})).spec.serviceAccountName == "robot"


@pytest.mark.parametrize(
    ("image", "policy"),
    [
        ("nginx", "Always"),
        ("nginx:latest", "Always"),
        ("nginx:1.2", "IfNotPresent"),
        ("registry:5000/team/app", "Always"),
        ("registry:5000/team/app:v1", "IfNotPresent"),
        ("app@sha256:0123", "IfNotPresent"),
        (None, "IfNotPresent"),
    ],
)
def test_pull_policy(image: str | None, policy: str) -> None:
    assert with_defaults(make_pod(image=image)).spec.containers[0].imagePullPolicy == policy


def test_ports() -> None:
    port = ContainerPort(containerPort=80)
    given = make_pod(ports=[port])
    assert with_defaults(given).spec.containers[0].ports == [ContainerPort(containerPort=80, protocol="TCP")]
    host = with_defaults(make_pod(ports=[port, ContainerPort(containerPort=1, hostPort=1)], host_network=True)).spec.containers[0].ports
    assert [item.hostPort for item in host] == [80, 1]


def test_probes() -> None:
    container = Container(name="c", image="a:1", livenessProbe=Probe(httpGet=HTTPGetAction(port=80), failureThreshold=9))
    probe = with_defaults(make_pod(containers=[container])).spec.containers[0].livenessProbe
    assert (probe.timeoutSeconds, probe.periodSeconds, probe.successThreshold, probe.failureThreshold) == (1, 10, 1, 9)
    assert (probe.httpGet.path, probe.httpGet.scheme) == ("/", "HTTP")


def test_volumes_of_a_pod() -> None:
    volumes = [
        Volume(name="a"),
        Volume(name="b", secret=SecretVolumeSource(secretName="s")),
        Volume(name="c", rbd=RBDVolumeSource(image="i", monitors=["m"])),
        Volume(name="d", emptyDir=EmptyDirVolumeSource(sizeLimit="0.5Gi")),
    ]
    pod = with_defaults(make_pod(volumes=volumes, ephemeral={"e": make_claim_spec(size="1.5Gi")}, claims=["data"]))
    made = {volume.name: volume for volume in pod.spec.volumes}
    assert made["a"].emptyDir is not None
    assert made["b"].secret.defaultMode == 0o644
    assert (made["c"].rbd.pool, made["c"].rbd.user) == ("rbd", "admin")
    assert made["d"].emptyDir.sizeLimit == "512Mi"
    assert made["e"].ephemeral.volumeClaimTemplate.spec.volumeMode == "Filesystem"
    assert made["e"].ephemeral.volumeClaimTemplate.spec.resources.requests == {"storage": "1536Mi"}
    assert made["data"].emptyDir is None


def test_match_label_keys_become_requirements() -> None:
    term = PodAffinityTerm(topologyKey="zone", labelSelector=LabelSelector(matchLabels={"app": "x"}), matchLabelKeys=["ver", "absent"])
    other = PodAffinityTerm(topologyKey="zone", labelSelector=LabelSelector(), mismatchLabelKeys=["ver"])
    nothing = PodAffinityTerm(topologyKey="zone", matchLabelKeys=["ver"])
    affinity = Affinity(
        podAffinity=PodAffinity(requiredDuringSchedulingIgnoredDuringExecution=[term, nothing]),
        podAntiAffinity=PodAntiAffinity(
            preferredDuringSchedulingIgnoredDuringExecution=[WeightedPodAffinityTerm(weight=1, podAffinityTerm=other)]
        ),
    )
    constraint = TopologySpreadConstraint(
        maxSkew=1, topologyKey="zone", whenUnsatisfiable="DoNotSchedule", labelSelector=LabelSelector(), matchLabelKeys=["ver"]
    )
    pod = with_defaults(make_pod(labels={"ver": "7"}, affinity=affinity, spec={"topologySpreadConstraints": [constraint]}))
    required = pod.spec.affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution
    preferred = pod.spec.affinity.podAntiAffinity.preferredDuringSchedulingIgnoredDuringExecution
    assert required[0].labelSelector.matchExpressions == [LabelSelectorRequirement(key="ver", operator="In", values=["7"])]
    assert required[1].labelSelector is None
    assert preferred[0].podAffinityTerm.labelSelector.matchExpressions == [
        LabelSelectorRequirement(key="ver", operator="NotIn", values=["7"])
    ]
    spread = pod.spec.topologySpreadConstraints[0].labelSelector
    assert spread.matchExpressions == [LabelSelectorRequirement(key="ver", operator="In", values=["7"])]
    assert with_defaults(pod) is pod
    # A label that changes later does not add a second, contradicting requirement.
    relabelled = msgspec.structs.replace(pod, metadata=ObjectMeta(name="pod", labels={"ver": "8"}))
    assert with_defaults(relabelled).spec.affinity == pod.spec.affinity


def pod_level(own: ResourceRequirements, *containers: Container, init: list[Container] | None = None) -> ResourceRequirements:
    resources: ResourceRequirements = with_defaults(
        make_pod(containers=containers, init_containers=init or [], spec={"resources": own})
    ).spec.resources
    return resources


def test_pod_level_requests_come_from_containers_and_limits() -> None:
    found = pod_level(
        ResourceRequirements(limits={"memory": "4Gi", "example.com/x": "1"}),
        make_container(cpu="500m"),
        make_container("b", cpu="250m", limits={"hugepages-2Mi": "4Mi", "memory": "1Gi"}),
    )
    assert found.requests == {"cpu": "750m", "memory": "1Gi", "hugepages-2Mi": "4Mi"}
    assert found.limits == {"memory": "4Gi", "example.com/x": "1", "hugepages-2Mi": "4Mi"}


def test_pod_level_requests_count_sidecars_and_the_peak_of_init_containers() -> None:
    init = [
        make_container("first", cpu="3"),
        make_container("sidecar", cpu="1", restart_policy="Always"),
        make_container("late", cpu="5"),
    ]
    found = pod_level(ResourceRequirements(requests={"memory": "1Gi"}), make_container(cpu="2"), init=init)
    assert found.requests == {"memory": "1Gi", "cpu": "6"}


def test_pod_level_resources_that_state_nothing_stay_so() -> None:
    assert pod_level(ResourceRequirements(), make_container(cpu="1")).requests is None
    assert with_defaults(make_pod(cpu="1")).spec.resources is None


def test_a_quantity_that_cannot_be_parsed_is_left_to_validation() -> None:
    found = pod_level(ResourceRequirements(requests={"memory": "1Gi"}), make_container(cpu="lots"))
    assert found.requests == {"memory": "1Gi"}
    assert with_defaults(make_pvc(size="much")).spec.resources.requests == {"storage": "much"}


# Claims and volumes


def test_claims() -> None:
    claim = with_defaults(make_pvc(size="1.5Gi"))
    assert (claim.spec.volumeMode, claim.status.phase) == ("Filesystem", "Pending")
    assert claim.spec.resources.requests == {"storage": "1536Mi"}
    assert claim.spec.storageClassName == "fast"
    assert with_defaults(make_pvc(storage_class=None)).spec.storageClassName is None
    assert with_defaults(make_pvc(bound_to="pv-1", volume_mode="Block")).status.phase == "Bound"


def test_data_source_and_reference_are_copied() -> None:
    source = TypedLocalObjectReference(kind="VolumeSnapshot", name="s", apiGroup="snapshot.storage.k8s.io")
    assert with_defaults(make_pvc(source=source)).spec.dataSourceRef.name == "s"
    ref = TypedObjectReference(kind="PersistentVolumeClaim", name="c")
    copied = with_defaults(make_pvc(source_ref=ref)).spec.dataSource
    assert (copied.kind, copied.name, copied.apiGroup) == ("PersistentVolumeClaim", "c", None)
    elsewhere = TypedObjectReference(kind="PersistentVolumeClaim", name="c", namespace="other")
    assert with_defaults(make_pvc(source_ref=elsewhere)).spec.dataSource is None


def test_a_data_source_of_a_foreign_kind_is_dropped_unless_it_is_a_reference() -> None:
    foreign = TypedLocalObjectReference(kind="Backup", name="b", apiGroup="example.com")
    assert with_defaults(make_pvc(source=foreign)).spec.dataSource is None
    kept = with_defaults(make_pvc(source_ref=TypedObjectReference(kind="Backup", name="b", apiGroup="example.com")))
    assert kept.spec.dataSource.kind == "Backup"


def test_volumes() -> None:
    volume = with_defaults(make_pv(size="0.5Gi"))
    assert (volume.spec.persistentVolumeReclaimPolicy, volume.spec.volumeMode, volume.status.phase) == ("Retain", "Filesystem", "Pending")
    assert volume.spec.capacity == {"storage": "512Mi"}
    assert with_defaults(make_host_path_pv()).spec.hostPath.type == ""
    assert with_defaults(make_pv(reclaim="Delete")).spec.persistentVolumeReclaimPolicy == "Delete"


# The rest


def test_classes_and_drivers() -> None:
    cls = with_defaults(msgspec.structs.replace(make_class(), volumeBindingMode=None))
    assert (cls.reclaimPolicy, cls.volumeBindingMode) == ("Delete", "Immediate")
    driver = with_defaults(make_csidriver()).spec
    assert (driver.attachRequired, driver.storageCapacity, driver.podInfoOnMount) == (True, False, False)
    assert (driver.preventPodSchedulingIfMissing, driver.volumeLifecycleModes) == (False, ["Persistent"])
    assert with_defaults(make_csidriver(attach_required=False)).spec.attachRequired is False
    capacity = with_defaults(make_capacity(capacity="1.5Gi", maximum="1024Mi"))
    assert (capacity.capacity, capacity.maximumVolumeSize) == ("1536Mi", "1Gi")


def test_nodes() -> None:
    node = with_defaults(make_node(cpu="0.5", memory="1e9", allocatable={"example.com/x": "1n"}))
    assert node.status.allocatable == {"cpu": "500m", "memory": "1e9", "pods": "110", "example.com/x": "1m"}
    bare = Node(metadata=ObjectMeta(name="n"), status=NodeStatus(capacity={"cpu": "1.5"}))
    assert with_defaults(bare).status.allocatable == {"cpu": "1500m"}
    assert with_defaults(Node()) == Node()


def test_namespaces_services_and_owners() -> None:
    namespace = with_defaults(Namespace(metadata=ObjectMeta(name="team")))
    assert (namespace.metadata.labels, namespace.status.phase) == ({"kubernetes.io/metadata.name": "team"}, "Active")
    service = with_defaults(Service(spec=ServiceSpec(ports=[ServicePort(port=80)]))).spec
    assert (service.type, service.sessionAffinity, service.ports[0].protocol, service.ports[0].targetPort) == (
        "ClusterIP",
        "None",
        "TCP",
        80,
    )
    template = PodTemplateSpec(metadata=ObjectMeta(labels={"app": "x"}), spec=PodSpec(containers=[]))
    controller = ReplicationController(metadata=ObjectMeta(name="r"), spec=ReplicationControllerSpec(template=template))
    controller = with_defaults(controller)
    assert (controller.spec.selector, controller.metadata.labels, controller.spec.replicas) == ({"app": "x"}, {"app": "x"}, 1)
    owner = with_defaults(StatefulSet(spec=StatefulSetSpec(selector=LabelSelector(), template=template, volumeClaimTemplates=[make_pvc()])))
    assert (owner.spec.podManagementPolicy, owner.spec.updateStrategy.rollingUpdate.partition) == ("OrderedReady", 0)
    assert owner.spec.persistentVolumeClaimRetentionPolicy.whenDeleted == "Retain"
    assert owner.spec.volumeClaimTemplates[0].spec.volumeMode == "Filesystem"


def test_kinds_without_defaults_come_back_as_they_are() -> None:
    snapshot = make_snapshot()
    assert with_defaults(snapshot) is snapshot


def test_an_empty_resource_list_is_none() -> None:
    # a list that is there, even empty, would take the place of what the container asks for
    resources = ResourceRequirements(requests={}, limits={})
    status = PodStatus(
        allocatedResources={},
        resources=resources,
        containerStatuses=[ContainerStatus("", "", "c", True, 0, allocatedResources={}, resources=resources)],
    )
    pod = with_defaults(Pod(spec=PodSpec(containers=[Container(name="c", resources=resources)]), status=status))
    lists = [pod.status.allocatedResources, pod.status.containerStatuses[0].allocatedResources]
    for item in (pod.spec.containers[0], pod.status, pod.status.containerStatuses[0]):
        lists += [item.resources.requests, item.resources.limits]
    assert lists == [None] * 8
    node = with_defaults(Node(status=NodeStatus(capacity={"cpu": "1"}, allocatable={})))
    assert node.status.allocatable == {"cpu": "1"}


@pytest.mark.parametrize(
    ("text", "form"), [("1n", "1m"), ("1.0005", "1001m"), ("100m", "100m"), ("1.5Gi", "1536Mi"), ("x", "x"), (" 1", "1")]
)
def test_canonical(text: str, form: str) -> None:
    assert canonical(text) == form


QUANTITIES = st.sampled_from(["0", "1", "250m", "0.5", "1.5Gi", "1n", "1e3", "2.0", "100M", "oops"])
RESOURCES = st.dictionaries(st.sampled_from(["cpu", "memory", "hugepages-2Mi", "example.com/x"]), QUANTITIES, max_size=3)
REQUIREMENTS = st.none() | st.builds(ResourceRequirements, limits=st.none() | RESOURCES, requests=st.none() | RESOURCES)
CONTAINERS = st.builds(
    Container,
    name=st.just("c"),
    image=st.sampled_from([None, "a", "a:1"]),
    resources=REQUIREMENTS,
    restartPolicy=st.sampled_from([None, "Always"]),
    ports=st.none()
    | st.lists(st.builds(ContainerPort, containerPort=st.integers(1, 9), hostPort=st.sampled_from([None, 0, 5])), max_size=2),
)
TERMS = st.builds(
    PodAffinityTerm,
    topologyKey=st.just("zone"),
    labelSelector=st.none() | st.just(LabelSelector()),
    matchLabelKeys=st.none() | st.lists(st.sampled_from(["a", "b"]), unique=True),
    mismatchLabelKeys=st.none() | st.lists(st.sampled_from(["a", "c"]), unique=True),
)
PODS = st.builds(
    make_pod,
    containers=st.lists(CONTAINERS, max_size=3),
    init_containers=st.lists(CONTAINERS, max_size=3),
    labels=st.dictionaries(st.sampled_from(["a", "b", "c"]), st.just("1")),
    host_network=st.sampled_from([None, True]),
    claims=st.lists(st.just("data"), max_size=1),
    affinity=st.none()
    | st.builds(
        Affinity, podAffinity=st.builds(PodAffinity, requiredDuringSchedulingIgnoredDuringExecution=st.none() | st.lists(TERMS, max_size=2))
    ),
    spec=st.fixed_dictionaries({"resources": REQUIREMENTS, "overhead": st.none() | RESOURCES}),
)


@given(PODS)
def test_defaulting_a_pod_twice_changes_nothing(pod: Any) -> None:
    made = with_defaults(pod)
    assert with_defaults(made) is made


@given(
    st.builds(
        make_pvc,
        size=st.none() | QUANTITIES,
        source=st.none() | st.builds(TypedLocalObjectReference, kind=st.sampled_from(["PersistentVolumeClaim", "X"]), name=st.just("n")),
        source_ref=st.none()
        | st.builds(TypedObjectReference, kind=st.just("X"), name=st.just("n"), namespace=st.sampled_from([None, "", "other"])),
        phase=st.sampled_from([None, "Bound"]),
    )
    | st.builds(make_pv, size=st.none() | QUANTITIES, local=st.booleans(), phase=st.sampled_from([None, "Bound"]))
    | st.builds(make_node, cpu=QUANTITIES, memory=QUANTITIES)
)
def test_defaulting_anything_twice_changes_nothing(obj: Any) -> None:
    made = with_defaults(obj)
    assert with_defaults(made) is made
