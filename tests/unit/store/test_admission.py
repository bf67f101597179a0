from __future__ import annotations

import datetime
from typing import Any

import pytest
from lightkube.models.core_v1 import (
    Container,
    PersistentVolumeClaimStatus,
    PodCondition,
    PodSchedulingGate,
    ResourceRequirements,
    Toleration,
    TypedLocalObjectReference,
    TypedObjectReference,
)
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.models.scheduling_v1 import PriorityClass
from lightkube.models.storage_v1 import VolumeAttributesClass

from tests.builders import make_class, make_container, make_node, make_pod, make_pv, make_pvc
from tests.unit.store.worlds import make_store, pass_time
from volsched.api.edit import replace, with_spec
from volsched.errors import ConflictError, ForbiddenError, NotFoundError
from volsched.store import Store

ZONE, REGION = "topology.kubernetes.io/zone", "topology.kubernetes.io/region"


def at(seconds: float) -> datetime.datetime:
    return datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC) + datetime.timedelta(seconds=seconds)


def make_priority(name: str, value: int, *, default: bool = False, policy: str | None = None) -> PriorityClass:
    return PriorityClass(metadata=ObjectMeta(name=name), value=value, globalDefault=default, preemptionPolicy=policy)


# Pods


def test_a_new_pod_is_pending_without_a_history() -> None:
    store = make_store()
    pod = store.create(make_pod("a", phase="Running", status={"nominatedNodeName": "n1"}), user="admin")
    assert pod.status.phase == "Pending" and pod.status.conditions is None and pod.status.nominatedNodeName is None
    assert pod.spec.priority == 0 and pod.spec.preemptionPolicy == "PreemptLowerPriority" and pod.spec.priorityClassName is None


def test_gated_pods_say_so() -> None:
    store = make_store()
    pod = store.create(make_pod("a", spec={"schedulingGates": [PodSchedulingGate(name="example.com/wait")]}), user="admin")
    (condition,) = pod.status.conditions
    assert (condition.type, condition.status, condition.reason) == ("PodScheduled", "False", "SchedulingGated")
    with pytest.raises(ConflictError, match=r"has non-empty \.spec\.schedulingGates"):
        store.bind("default", "a", uid=pod.metadata.uid, node="n1", user="kube-scheduler")


def test_priority_comes_from_the_class() -> None:
    store = make_store()
    store.create(make_priority("high", 1000, policy="Never"), user="admin")
    pod = store.create(make_pod("a", spec={"priorityClassName": "high"}), user="admin")
    assert (pod.spec.priority, pod.spec.preemptionPolicy) == (1000, "Never")
    same = store.create(make_pod("b", priority=1000, spec={"priorityClassName": "high", "preemptionPolicy": "Never"}), user="admin")
    assert same.spec.priority == 1000
    system = store.create(make_pod("c", spec={"priorityClassName": "system-node-critical"}), user="admin")
    assert system.spec.priority == 2_000_001_000


@pytest.mark.parametrize(
    ("pod", "text"),
    [
        (make_pod("a", spec={"priorityClassName": "nope"}), "no PriorityClass with name nope was found"),
        (
            make_pod("a", priority=5),
            "the integer value of priority (5) must not be provided in pod spec; "
            "priority admission controller computed 0 from the given PriorityClass name",
        ),
        (
            make_pod("a", spec={"preemptionPolicy": "Never"}),
            "the string value of PreemptionPolicy (Never) must not be provided in pod spec; "
            "priority admission controller computed PreemptLowerPriority from the given PriorityClass name",
        ),
    ],
)
def test_priority_refusals(pod: Any, text: str) -> None:
    with pytest.raises(ForbiddenError) as refused:
        make_store().create(pod, user="admin")
    assert str(refused.value) == f'pods "a" is forbidden: {text}'


def test_the_global_default_class_is_used() -> None:
    store = make_store()
    store.create(make_priority("b", 20, default=True), user="admin")
    store.create(make_priority("a", 10, default=True), user="admin")
    pod = store.create(make_pod("a"), user="admin")
    assert (pod.spec.priorityClassName, pod.spec.priority) == ("a", 10)


def test_default_tolerations_leave_the_pods_own_alone() -> None:
    store = make_store()
    plain = store.create(make_pod("a"), user="admin")
    assert [(t.key, t.operator, t.effect, t.tolerationSeconds) for t in plain.spec.tolerations] == [
        ("node.kubernetes.io/not-ready", "Exists", "NoExecute", 300),
        ("node.kubernetes.io/unreachable", "Exists", "NoExecute", 300),
    ]
    everything = store.create(make_pod("b", tolerations=[Toleration(operator="Exists")]), user="admin")
    assert len(everything.spec.tolerations) == 1
    own = Toleration(key="node.kubernetes.io/not-ready", operator="Exists", effect="NoExecute", tolerationSeconds=5)
    other = Toleration(key="node.kubernetes.io/unreachable", operator="Exists", effect="NoSchedule")
    mixed = store.create(make_pod("c", tolerations=[own, other]), user="admin")
    assert [(t.key, t.effect, t.tolerationSeconds) for t in mixed.spec.tolerations] == [
        ("node.kubernetes.io/not-ready", "NoExecute", 5),
        ("node.kubernetes.io/unreachable", "NoSchedule", None),
        ("node.kubernetes.io/unreachable", "NoExecute", 300),
    ]


def resources(requests: dict[str, str] | None, limits: dict[str, str] | None, *, name: str = "main") -> Container:
    return make_container(name, requests=requests, limits=limits)


@pytest.mark.parametrize(
    ("containers", "qos"),
    [
        ([resources(None, None)], "BestEffort"),
        ([resources({"example.com/gpu": "1"}, {"example.com/gpu": "1"})], "BestEffort"),
        ([resources({"cpu": "0"}, None)], "BestEffort"),
        ([resources({"cpu": "1"}, None)], "Burstable"),
        ([resources({"cpu": "1", "memory": "1Gi"}, {"cpu": "1", "memory": "1Gi"})], "Guaranteed"),
        ([resources({"cpu": "1000m", "memory": "1024Mi"}, {"cpu": "1", "memory": "1Gi"})], "Guaranteed"),
        ([resources({"cpu": "500m", "memory": "1Gi"}, {"cpu": "1", "memory": "1Gi"})], "Burstable"),
        ([resources({"cpu": "1", "memory": "1Gi"}, {"cpu": "1", "memory": "1Gi"}), resources(None, None, name="second")], "Burstable"),
        ([resources({"cpu": "1"}, {"cpu": "1"})], "Burstable"),
    ],
)
def test_qos_class(containers: list[Container], qos: str) -> None:
    assert make_store().create(make_pod("a", containers=containers), user="admin").status.qosClass == qos


def test_resources_of_the_whole_pod_decide_the_qos_class_alone() -> None:
    whole = ResourceRequirements(requests={"cpu": "2", "memory": "1Gi"}, limits={"cpu": "2", "memory": "1Gi"})
    pod = make_store().create(make_pod("a", cpu="1", spec={"resources": whole}), user="admin")
    assert pod.status.qosClass == "Guaranteed"


# Binding


def bound_store(**pod: Any) -> Store:
    store = make_store()
    store.create(make_node("n1", labels={ZONE: "z1", REGION: "r1", "disk": "ssd"}), user="admin")
    store.create(make_pod("a", **pod), user="admin")
    return store


def test_a_binding_is_one_write() -> None:
    store = bound_store(labels={ZONE: "mine", "app": "x"})
    failed = PodCondition(type="PodScheduled", status="False", reason="Unschedulable", message="no", lastTransitionTime=at(0))
    other = PodCondition(type="Other", status="True", lastTransitionTime=at(0))
    pod = store.get("Pod", "default", "a")
    status = replace(pod.status, conditions=[failed, other], nominatedNodeName="n1")
    pod = store.update(replace(pod, status=status), user="kube-scheduler", subresource="status")
    pass_time(store, 4)
    start = store.resource_version
    store.bind("default", "a", uid=pod.metadata.uid, node="n1", user="kube-scheduler")
    (event,) = store.watch(start)
    pod = event.object
    assert pod.spec.nodeName == "n1" and pod.metadata.labels == {ZONE: "z1", REGION: "r1", "app": "x"}
    assert pod.status.nominatedNodeName is None and pod.metadata.generation == 1
    assert pod.status.conditions == [PodCondition(type="PodScheduled", status="True", lastTransitionTime=at(4)), other]


def test_bindings_that_are_refused() -> None:
    store = bound_store()
    uid = store.get("Pod", "default", "a").metadata.uid
    with pytest.raises(NotFoundError, match='pods "b" not found'):
        store.bind("default", "b", uid="u", node="n1", user="kube-scheduler")
    with pytest.raises(ConflictError, match="Precondition failed: UID in precondition: u, UID in object meta"):
        store.bind("default", "a", uid="u", node="n1", user="kube-scheduler")
    store.bind("default", "a", uid=uid, node="n1", user="kube-scheduler")
    with pytest.raises(ConflictError) as refused:
        store.bind("default", "a", uid=uid, node="n2", user="kube-scheduler")
    assert str(refused.value) == ('Operation cannot be fulfilled on pods/binding "a": pod a is already assigned to node "n1"')
    store.delete("Pod", "default", "a", user="admin")
    with pytest.raises(ConflictError, match="pod a is being deleted, cannot be assigned to a host"):
        store.bind("default", "a", uid=uid, node="n1", user="kube-scheduler")


def test_a_pod_made_with_a_node_gets_its_labels_too() -> None:
    store = bound_store()
    assert store.create(make_pod("b", node="n1"), user="admin").metadata.labels == {ZONE: "z1", REGION: "r1"}
    assert store.create(make_pod("c", node="unknown"), user="admin").metadata.labels is None


# Claims


def test_a_new_claim_is_pending_and_protected() -> None:
    claim = make_store().create(make_pvc("c", phase="Bound", finalizers=["example.com/a"]), user="admin")
    assert claim.status == PersistentVolumeClaimStatus(phase="Pending")
    assert claim.metadata.finalizers == ["example.com/a", "kubernetes.io/pvc-protection"]


def test_the_newest_default_class_is_filled_in() -> None:
    store = make_store()
    assert store.create(make_pvc("none", storage_class=None), user="admin").spec.storageClassName is None
    store.create(make_class("old", default=True), user="admin")
    pass_time(store, 1)
    store.create(make_class("new-b", default=True), user="admin")
    store.create(make_class("new-a", annotations={"storageclass.beta.kubernetes.io/is-default-class": "true"}), user="admin")
    store.create(make_class("newest", annotations={"storageclass.kubernetes.io/is-default-class": "false"}), user="admin")
    assert store.create(make_pvc("a", storage_class=None), user="admin").spec.storageClassName == "new-a"
    assert store.create(make_pvc("b", storage_class=""), user="admin").spec.storageClassName == ""
    beta = make_pvc("c", storage_class=None, annotations={"volume.beta.kubernetes.io/storage-class": "old"})
    assert store.create(beta, user="admin").spec.storageClassName is None


SNAPSHOT = ("snapshot.storage.k8s.io", "VolumeSnapshot", "s")


def test_data_source_and_reference_say_the_same() -> None:
    store = make_store()
    group, kind, name = SNAPSHOT
    by_source = store.create(make_pvc("a", source=TypedLocalObjectReference(apiGroup=group, kind=kind, name=name)), user="admin")
    by_ref = store.create(make_pvc("b", source_ref=TypedObjectReference(apiGroup=group, kind=kind, name=name)), user="admin")
    for claim in (by_source, by_ref):
        assert claim.spec.dataSource == TypedLocalObjectReference(apiGroup=group, kind=kind, name=name)
        assert claim.spec.dataSourceRef == TypedObjectReference(apiGroup=group, kind=kind, name=name)
    clone = store.create(make_pvc("c", source=TypedLocalObjectReference(kind="PersistentVolumeClaim", name="a")), user="admin")
    assert clone.spec.dataSourceRef == TypedObjectReference(kind="PersistentVolumeClaim", name="a")


def test_a_data_source_of_another_kind_is_dropped() -> None:
    store = make_store()
    other = store.create(make_pvc("a", source=TypedLocalObjectReference(apiGroup="example.com", kind="Fill", name="x")), user="admin")
    assert other.spec.dataSource is None and other.spec.dataSourceRef is None


def test_a_reference_into_another_namespace_has_no_plain_source() -> None:
    store = make_store()
    group, kind, name = SNAPSHOT
    far = store.create(make_pvc("a", source_ref=TypedObjectReference(apiGroup=group, kind=kind, name=name, namespace="apps")), user="admin")
    assert far.spec.dataSource is None and far.spec.dataSourceRef.namespace == "apps"


def grown(claim: Any, size: str) -> Any:
    return with_spec(claim, resources=replace(claim.spec.resources, requests={"storage": size}))


def test_only_an_expandable_class_lets_a_claim_grow() -> None:
    store = make_store()
    store.create(make_class("fixed"), user="admin")
    store.create(make_class("growing", expansion=True), user="admin")
    for name, allowed in (("fixed", False), ("growing", True)):
        claim = store.create(make_pvc(name, size="10Gi", storage_class=name), user="admin")
        status = PersistentVolumeClaimStatus(phase="Bound", capacity={"storage": "10Gi"}, accessModes=["ReadWriteOnce"])
        claim = store.update(replace(claim, status=status), user="x", subresource="status")
        if allowed:
            assert store.update(grown(claim, "20Gi"), user="admin").spec.resources.requests == {"storage": "20Gi"}
            continue
        with pytest.raises(ForbiddenError) as refused:
            store.update(grown(claim, "20Gi"), user="admin")
        assert str(refused.value) == (
            'persistentvolumeclaims "fixed" is forbidden: only dynamically provisioned pvc can be resized and the storageclass '
            "that provisions the pvc must support resize"
        )


# Volumes and the rest


def test_a_new_volume_is_pending_and_protected() -> None:
    volume = make_store().create(make_pv("v", phase="Bound", finalizers=["example.com/a"]), user="admin")
    assert volume.status.phase == "Pending" and volume.status.lastPhaseTransitionTime == at(0)
    assert volume.metadata.finalizers == ["example.com/a", "kubernetes.io/pv-protection"]


def test_every_phase_of_a_volume_has_its_time() -> None:
    store = make_store()
    volume = store.create(make_pv("v"), user="admin")
    pass_time(store, 5)
    volume = store.update(replace(volume, status=replace(volume.status, message="m")), user="x", subresource="status")
    assert volume.status.lastPhaseTransitionTime == at(0)
    volume = store.update(replace(volume, status=replace(volume.status, phase="Available")), user="x", subresource="status")
    assert volume.status.lastPhaseTransitionTime == at(5)
    pass_time(store, 5)
    volume = store.patch("PersistentVolume", "", "v", {"status": {"phase": "Bound"}}, user="x", subresource="status")
    assert volume.status.lastPhaseTransitionTime == at(10)


def test_attributes_classes_are_protected() -> None:
    made = make_store().create(
        VolumeAttributesClass(metadata=ObjectMeta(name="gold"), driverName="d", parameters={"iops": "1"}), user="admin"
    )
    assert made.metadata.finalizers == ["kubernetes.io/vac-protection"]


def test_a_node_brings_its_status() -> None:
    node = make_store().create(make_node("n1"), user="admin")
    assert node.status is not None and node.status.allocatable
