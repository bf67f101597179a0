"""What the API server refuses, in its words; and that it accepts what real clusters held."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from lightkube.models.apps_v1 import ReplicaSet, ReplicaSetSpec
from lightkube.models.core_v1 import (
    Container,
    ContainerPort,
    EmptyDirVolumeSource,
    HostPathVolumeSource,
    LocalVolumeSource,
    NodeAffinity,
    NodeSelector,
    PersistentVolumeClaimVolumeSource,
    PodSchedulingGate,
    PodTemplateSpec,
    SecretReference,
    Toleration,
    TopologySpreadConstraint,
    TypedLocalObjectReference,
    TypedObjectReference,
    Volume,
    VolumeDevice,
    VolumeMount,
    VolumeNodeAffinity,
)
from lightkube.models.meta_v1 import LabelSelector, LabelSelectorRequirement, ObjectMeta
from lightkube.models.policy_v1 import PodDisruptionBudget, PodDisruptionBudgetSpec
from lightkube.models.scheduling_v1 import PriorityClass
from lightkube.models.storage_v1 import VolumeAttributesClass

from tests.builders import (
    make_attachment,
    make_capacity,
    make_claim_spec,
    make_class,
    make_container,
    make_csidriver,
    make_csinode,
    make_namespace,
    make_node,
    make_node_affinity,
    make_node_selector,
    make_owner,
    make_pod,
    make_pv,
    make_pvc,
    make_requirement,
    make_taint,
    make_term,
    when,
)
from tests.unit.api.test_defaults import stories, story_objects
from volsched.api import edit
from volsched.api.defaults import with_defaults
from volsched.api.validation import validate_create, validate_update

SUBDOMAIN = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.'"
LABEL = "a lowercase RFC 1123 label must consist of"
KEY = "name part must consist of alphanumeric characters"


def refusals(obj: Any) -> list[str]:
    return [f"{path}: {message}" for path, message in validate_create(with_defaults(obj))]


def update_refusals(old: Any, new: Any, *, status: bool = False) -> list[str]:
    found = validate_update(with_defaults(old), with_defaults(new), subresource="status" if status else "")
    return [f"{path}: {message}" for path, message in found]


def assert_refused(found: list[str], *expected: str) -> None:
    assert len(found) == len(expected), found
    for text, start in zip(found, expected, strict=True):
        assert text.startswith(start), text
        assert "\n" not in text


@pytest.mark.parametrize("path", stories(), ids=lambda path: path.stem)
def test_what_a_real_cluster_held_is_accepted(path: Path) -> None:
    before: dict[str, Any] = {}
    for obj in story_objects(path):
        assert validate_create(obj) == []
        old = before.get(obj.metadata.uid)
        # Binding a pod sets its node through a subresource of its own.
        if old is not None and not (obj.kind == "Pod" and obj.spec.nodeName != old.spec.nodeName):
            assert validate_update(old, obj) == []
            assert validate_update(old, obj, subresource="status") == []
        before[obj.metadata.uid] = obj


@pytest.mark.parametrize(
    "obj",
    [make_pod(), make_pvc(), make_pv(), make_pv(local=True, node="n"), make_class(), make_node(), make_csinode(), make_csidriver()],
    ids=lambda obj: obj.kind,
)
def test_what_the_builders_make_is_accepted(obj: Any) -> None:
    assert refusals(obj) == []
    assert update_refusals(obj, obj) == []


# Metadata


@pytest.mark.parametrize(
    ("obj", "expected"),
    [
        (make_pvc("Data"), f'metadata.name: Invalid value: "Data": {SUBDOMAIN}'),
        (make_pvc("a" * 254), f'metadata.name: Invalid value: "{"a" * 254}": must be no more than 253 bytes'),
        (make_pvc("a", namespace="a.b"), 'metadata.namespace: Invalid value: "a.b": must not contain dots'),
        (make_pvc("a", namespace="A"), f'metadata.namespace: Invalid value: "A": {LABEL}'),
        (make_namespace("a.b"), 'metadata.name: Invalid value: "a.b": must not contain dots'),
        (make_pv(metadata={"namespace": "x"}), "metadata.namespace: Forbidden: not allowed on this type"),
        (make_pvc(metadata={"name": None}), "metadata.name: Required value: name or generateName is required"),
        (make_pvc(labels={"-a": "b"}), f'metadata.labels: Invalid value: "-a": {KEY}'),
        (make_pvc(labels={"a/b/c": "b"}), 'metadata.labels: Invalid value: "a/b/c": a valid label key must consist of'),
        (make_pvc(labels={"A_b/c": "b"}), f'metadata.labels: Invalid value: "A_b/c": prefix part {SUBDOMAIN}'),
        (make_pvc(labels={"a": "b c"}), 'metadata.labels: Invalid value: "b c": a valid label must be an empty string or consist of'),
        (make_pvc(labels={"a": "b" * 64}), f'metadata.labels: Invalid value: "{"b" * 64}": must be no more than 63 bytes'),
        (make_pvc(annotations={"a b": "any thing"}), f'metadata.annotations: Invalid value: "a b": {KEY}'),
        (make_pvc(annotations={"a": "x" * 300_000}), "metadata.annotations: Too long: may not be more than 262144 bytes"),
        (make_pvc(finalizers=["a b"]), f'metadata.finalizers: Invalid value: "a b": {KEY}'),
        (make_pvc(owners=[make_owner("", "x", "u")]), "metadata.ownerReferences[0].kind: Required value: must not be empty"),
        (
            make_pvc(owners=[make_owner("A", "x", "u"), make_owner("B", "y", "v")]),
            "metadata.ownerReferences: Invalid value: ",
        ),
    ],
)
def test_metadata(obj: Any, expected: str) -> None:
    assert_refused(refusals(obj), expected)


def test_generate_name_may_end_in_a_dash() -> None:
    found = refusals(make_pvc(metadata={"generateName": "data-"}))
    assert found == []
    assert_refused(refusals(make_pvc(metadata={"generateName": "Data-"})), 'metadata.generateName: Invalid value: "Data-": ')


def test_metadata_updates() -> None:
    old = make_pvc(uid="u", finalizers=["a/b"], deleted=when())
    assert_refused(
        update_refusals(old, edit.with_finalizers(old, add=["c/d", "e/f"])),
        "metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, "
        'found new finalizers []string{"c/d", "e/f"}',
    )
    assert update_refusals(old, edit.with_finalizers(old, remove=["a/b"])) == []
    assert_refused(update_refusals(old, edit.with_metadata(old, uid="v")), 'metadata.uid: Invalid value: "v": field is immutable')
    assert_refused(update_refusals(old, edit.with_labels(old, {"a b": "c"})), "metadata.labels: Invalid value")


# Claims

CROSS = TypedObjectReference(kind="PersistentVolumeClaim", name="x", namespace="other")


@pytest.mark.parametrize(
    ("claim", "expected"),
    [
        (make_pvc(modes=[]), "spec.accessModes: Required value: at least 1 access mode is required"),
        (
            make_pvc(modes=["ReadWriteOncePod", "ReadWriteOnce"]),
            "spec.accessModes: Forbidden: may not use ReadWriteOncePod with other access modes",
        ),
        (
            make_pvc(modes=["ReadWrite"]),
            'spec.accessModes: Unsupported value: "ReadWrite": supported values: '
            '"ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"',
        ),
        (make_pvc(size=None), "spec.resources[storage]: Required value"),
        (make_pvc(size="0"), 'spec.resources[storage]: Invalid value: "0": must be greater than zero'),
        (make_pvc(size="-1Gi"), 'spec.resources[storage]: Invalid value: "-1Gi": must be greater than zero'),
        (make_pvc(size="1GB"), 'spec.resources[storage]: Invalid value: "1GB": quantities must match the regular expression'),
        (make_pvc(storage_class="A"), f'spec.storageClassName: Invalid value: "A": {SUBDOMAIN}'),
        (make_pvc(volume_mode="Raw"), 'spec.volumeMode: Unsupported value: "Raw": supported values: "Block", "Filesystem"'),
        (
            make_pvc(selector=LabelSelector(matchExpressions=[LabelSelectorRequirement(key="a", operator="Is")])),
            'spec.selector.matchExpressions[0].operator: Invalid value: "Is": not a valid selector operator',
        ),
        (
            make_pvc(source=TypedLocalObjectReference(kind="PersistentVolumeClaim", name="x"), source_ref=CROSS),
            'spec: Invalid value: "spec.dataSource": may not be specified when dataSourceRef.namespace is specified',
        ),
        (
            make_pvc(
                source=TypedLocalObjectReference(kind="PersistentVolumeClaim", name="x"),
                source_ref=TypedObjectReference(kind="PersistentVolumeClaim", name="y"),
            ),
            'spec: Invalid value: "spec.dataSource": must match dataSourceRef',
        ),
        (make_pvc(attributes_class="Gold"), f'spec.volumeAttributesClassName: Invalid value: "Gold": {SUBDOMAIN}'),
    ],
)
def test_claims(claim: Any, expected: str) -> None:
    assert_refused(refusals(claim), expected)


def test_a_reference_to_a_core_kind_must_be_a_claim() -> None:
    found = refusals(make_pvc(source_ref=TypedObjectReference(kind="ConfigMap", name="x")))
    message = "Invalid value: \"ConfigMap\": must be 'PersistentVolumeClaim' when referencing the default apiGroup"
    assert found == [f"spec.dataSource: {message}", f"spec.dataSourceRef: {message}"]


SPEC = "spec: Forbidden: spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims"


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (make_pvc(), make_pvc(volume="pv-1"), ()),
        (make_pvc(volume="pv-1"), make_pvc(volume="pv-2"), (SPEC,)),
        (make_pvc(storage_class=None), make_pvc(storage_class="fast"), ()),
        (make_pvc(storage_class=""), make_pvc(storage_class="fast"), (SPEC,)),
        (make_pvc(storage_class="slow"), make_pvc(storage_class="fast"), (SPEC,)),
        (make_pvc(), make_pvc(size="20Gi"), (SPEC,)),
        (make_pvc(bound_to="pv"), make_pvc(bound_to="pv", size="20Gi"), ()),
        (make_pvc(bound_to="pv"), make_pvc(bound_to="pv", size="10240Mi"), ()),
        (
            make_pvc(bound_to="pv"),
            make_pvc(bound_to="pv", size="5Gi"),
            ("spec.resources.requests.storage: Forbidden: field can not be less than status.capacity",),
        ),
        (
            make_pvc(bound_to="pv", size="30Gi", status={"capacity": {"storage": "10Gi"}}),
            make_pvc(bound_to="pv", size="20Gi", status={"capacity": {"storage": "10Gi"}}),
            (),
        ),
        (
            make_pvc(bound_to="pv", size="30Gi", status={"capacity": {"storage": "10Gi"}}),
            make_pvc(bound_to="pv", size="10Gi", status={"capacity": {"storage": "10Gi"}}),
            ("spec.resources.requests.storage: Forbidden: field can not be less than status.capacity",),
        ),
        (make_pvc(bound_to="pv"), make_pvc(bound_to="pv", attributes_class="gold"), ()),
        (make_pvc(), make_pvc(attributes_class="gold"), (SPEC,)),
        (
            make_pvc(bound_to="pv", attributes_class="gold", status={"currentVolumeAttributesClassName": "gold"}),
            make_pvc(bound_to="pv", status={"currentVolumeAttributesClassName": "gold"}),
            ("spec.volumeAttributesClassName: Forbidden: update to nil is forbidden when status.current",),
        ),
        (make_pvc(), make_pvc(volume_mode="Block"), (SPEC, 'volumeMode: Invalid value: "Block": field is immutable')),
        (make_pvc(), make_pvc(modes=["ReadWriteMany"]), (SPEC,)),
        (
            make_pvc(storage_class=None, annotations={"volume.beta.kubernetes.io/storage-class": "a"}),
            make_pvc(storage_class="a", annotations={"volume.beta.kubernetes.io/storage-class": "a"}),
            (),
        ),
        (
            make_pvc(annotations={"volume.beta.kubernetes.io/storage-class": "a"}),
            make_pvc(annotations={"volume.beta.kubernetes.io/storage-class": "b"}),
            ('metadata.annotations[volume.beta.kubernetes.io/storage-class]: Invalid value: "b": field is immutable',),
        ),
        (make_pvc(), make_pvc(labels={"a": "b"}, annotations={"c": "d"}, finalizers=["e/f"]), ()),
    ],
)
def test_claim_updates(old: Any, new: Any, expected: tuple[str, ...]) -> None:
    assert_refused(update_refusals(old, new), *expected)


def test_claim_status() -> None:
    old = make_pvc(bound_to="pv")
    new = make_pvc(bound_to="pv", status={"capacity": {"storage": "-1"}})
    assert_refused(
        update_refusals(old, new, status=True), 'status.capacity[storage]: Invalid value: "-1": must be greater than or equal to 0'
    )
    assert update_refusals(old, edit.with_spec(old, volumeName="other"), status=True) == []


# Volumes


def affinity(**where: str) -> NodeSelector:
    return make_node_selector(where)


@pytest.mark.parametrize(
    ("volume", "expected"),
    [
        (make_pv(modes=[]), "spec.accessModes: Required value"),
        (make_pv(modes=["ReadWriteOncePod", "ReadWriteMany"]), "spec.accessModes: Forbidden: may not use ReadWriteOncePod"),
        (make_pv(spec={"capacity": {"cpu": "1"}}), 'spec.capacity: Unsupported value: {"cpu":"1"}: supported values: "storage"'),
        (make_pv(size="0"), 'spec.capacity[storage]: Invalid value: "0": must be greater than zero'),
        (
            make_pv(reclaim="Keep"),
            'spec.persistentVolumeReclaimPolicy: Unsupported value: "Keep": supported values: "Delete", "Recycle", "Retain"',
        ),
        (make_pv(local=True), "spec.nodeAffinity: Required value: Local volume requires node affinity"),
        (
            make_pv(spec={"nodeAffinity": VolumeNodeAffinity()}),
            "spec.nodeAffinity.required: Required value: must specify required node constraints",
        ),
        (
            make_pv(affinity=NodeSelector(nodeSelectorTerms=[])),
            "spec.nodeAffinity.required.nodeSelectorTerms: Required value: must have at least one node selector term",
        ),
        (make_pv(spec={"csi": None}), "spec: Required value: must specify a volume type"),
        (make_pv(spec={"hostPath": HostPathVolumeSource(path="/x")}), "spec.csi: Forbidden: may not specify more than 1 volume type"),
        (make_pv(driver=""), "spec.csi.driver: Required value"),
        (make_pv(driver="a" * 64), "spec.csi.driver: Too long: may not be more than 63 bytes"),
        (make_pv(spec={"csi": msgspec.structs.replace(make_pv().spec.csi, volumeHandle="")}), "spec.csi.volumeHandle: Required value"),
        (
            make_pv(spec={"csi": msgspec.structs.replace(make_pv().spec.csi, nodePublishSecretRef=SecretReference(name="s"))}),
            "spec.csi.nodePublishSecretRef.namespace: Required value",
        ),
        (make_pv(spec={"csi": None, "hostPath": HostPathVolumeSource(path="")}), "spec.hostPath.path: Required value"),
        (
            make_pv(local=True, node="n", spec={"local": LocalVolumeSource(path="/a/../b")}),
            "spec.local.path: Invalid value: \"/a/../b\": must not contain '..'",
        ),
        (make_pv(volume_mode="Raw"), 'spec.volumeMode: Unsupported value: "Raw"'),
        (make_pv(storage_class="A"), "spec.storageClassName: Invalid value"),
        (make_pv(attributes_class=""), "spec.volumeAttributesClassName: Required value: an empty string is disallowed"),
    ],
)
def test_volumes(volume: Any, expected: str) -> None:
    assert_refused(refusals(volume), expected)


def test_a_volume_without_capacity() -> None:
    assert_refused(refusals(make_pv(size=None)), "spec.capacity: Required value", "spec.capacity: Unsupported value: {}")


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        (make_requirement("a", "In", []), "values: Required value: must be specified when `operator` is 'In' or 'NotIn'"),
        (make_requirement("a", "Exists", ["x"]), "values: Forbidden: may not be specified when `operator` is 'Exists' or 'DoesNotExist'"),
        (make_requirement("a", "Gt", ["1", "2"]), "values: Required value: must be specified single value when `operator` is 'Lt' or 'Gt'"),
        (make_requirement("a", "Near", ["x"]), 'operator: Invalid value: "Near": not a valid selector operator'),
        (make_requirement("a b", "In", ["x"]), f'key: Invalid value: "a b": {KEY}'),
        (make_requirement("a", "In", ["x", "y z"]), 'values[1]: Invalid value: "y z": a valid label must be'),
    ],
)
def test_node_selector_requirements(expression: Any, expected: str) -> None:
    term = make_term(expressions=[expression])
    at = "nodeSelectorTerms[0].matchExpressions[0]."
    assert_refused(refusals(make_pv(affinity=make_node_selector(term))), f"spec.nodeAffinity.required.{at}{expected}")
    required = "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution."
    assert_refused(refusals(make_pod(affinity=make_node_affinity(term))), f"{required}{at}{expected}")


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        (make_requirement("metadata.name", "Exists"), 'operator: Invalid value: "Exists": not a valid selector operator'),
        (make_requirement("metadata.name", "In", ["a", "b"]), "values: Required value: must be only one value when"),
        (make_requirement("metadata.uid", "In", ["a"]), 'key: Invalid value: "metadata.uid": not a valid field selector key'),
        (make_requirement("metadata.name", "In", ["A"]), f'values[0]: Invalid value: "A": {SUBDOMAIN}'),
    ],
)
def test_node_field_requirements(expression: Any, expected: str) -> None:
    pod = make_pod(affinity=make_node_affinity(make_term(fields=[expression])))
    at = "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchFields[0]."
    assert_refused(refusals(pod), f"{at}{expected}")


BETA = "failure-domain.beta.kubernetes.io/zone"
GA = "topology.kubernetes.io/zone"


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (make_pv(), make_pv(claim="default/a", claim_uid="u"), ()),
        (make_pv(), make_pv(size="20Gi", reclaim="Delete", labels={"a": "b"}), ()),
        (
            make_pv(),
            make_pv(handle="other"),
            ("spec.persistentvolumesource: Forbidden: spec.persistentvolumesource is immutable after creation",),
        ),
        (make_pv(), make_pv(volume_mode="Block"), ('volumeMode: Invalid value: "Block": field is immutable',)),
        (make_pv(), make_pv(zone="a"), ()),
        (make_pv(zone="a"), make_pv(zone="b"), ("nodeAffinity: Invalid value: {",)),
        (
            make_pv(zone="a"),
            make_pv(),
            ("nodeAffinity: Invalid value: null: field is immutable, except for updating from beta label to GA",),
        ),
        (make_pv(where={BETA: "a"}), make_pv(where={GA: "a"}), ()),
        (make_pv(where={BETA: "a"}), make_pv(where={GA: "b"}), ("nodeAffinity: Invalid value: {",)),
        (make_pv(where={GA: "a"}), make_pv(where={BETA: "a"}), ("nodeAffinity: Invalid value: {",)),
        (
            make_pv(attributes_class="gold"),
            make_pv(),
            ("spec.volumeAttributesClassName: Forbidden: update from non-nil value to nil is forbidden",),
        ),
    ],
)
def test_volume_updates(old: Any, new: Any, expected: tuple[str, ...]) -> None:
    assert_refused(update_refusals(old, new), *expected)


# Classes, drivers and the rest of storage


@pytest.mark.parametrize(
    ("obj", "expected"),
    [
        (make_class(provisioner=""), "provisioner: Required value"),
        (make_class(provisioner="a b"), f'provisioner: Invalid value: "a b": {KEY}'),
        (make_class(mode="Later"), 'volumeBindingMode: Unsupported value: "Later": supported values: "Immediate", "WaitForFirstConsumer"'),
        (make_class(reclaim="Recycle"), 'reclaimPolicy: Unsupported value: "Recycle": supported values: "Delete", "Retain"'),
        (make_class(allowed=[{"zone": []}]), "allowedTopologies[0].matchLabelExpressions[0].values: Required value"),
        (make_class(allowed=[{"zone": ["a", "a"]}]), 'allowedTopologies[0].matchLabelExpressions[0].values[1]: Duplicate value: "a"'),
        (make_class(allowed=[{"zone": "a"}, {"zone": "a"}]), 'allowedTopologies[1].matchLabelExpressions: Duplicate value: ""'),
        (make_class(parameters={"": "x"}), 'parameters: Invalid value: "": field can not be empty.'),
        (make_class(parameters={str(n): "x" for n in range(513)}), "parameters: Too long: may not be more than 512 bytes"),
        (make_csidriver(spec={"fsGroupPolicy": "Any"}), 'spec.fsGroupPolicy: Unsupported value: "Any"'),
        (make_csidriver(spec={"volumeLifecycleModes": ["Forever"]}), 'spec.volumeLifecycleModes: Unsupported value: "Forever"'),
        (make_csinode(drivers={"a": -1}), "spec.drivers[0].allocatable.count: Invalid value: -1: must be greater than or equal to 0"),
        (make_csinode(keys=["zone", "zone"]), 'spec.drivers[0]: Duplicate value: "zone"'),
        (make_capacity(capacity="-1"), 'capacity: Invalid value: "-1": must be greater than or equal to 0'),
        (make_capacity(storage_class="A"), "storageClassName: Invalid value"),
        (make_attachment(attacher=""), "spec.attacher: Required value"),
        (
            make_attachment(volume=""),
            "spec.source.persistentVolumeName: Required value: must specify non empty persistentVolumeName",
        ),
        (
            VolumeAttributesClass(metadata=ObjectMeta(name="gold"), driverName="d"),
            "parameters: Required value: must contain at least one key/value pair",
        ),
    ],
)
def test_classes_drivers_capacities(obj: Any, expected: str) -> None:
    assert_refused(refusals(obj), expected)


GOLD = VolumeAttributesClass(metadata=ObjectMeta(name="gold"), driverName="d", parameters={"a": "b"})


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (make_class(), make_class(allowed=[{"zone": "a"}], expansion=True), ()),
        (make_class(), make_class(provisioner="other"), ('provisioner: Invalid value: "other": field is immutable',)),
        (make_class(), make_class(wait=False), ('volumeBindingMode: Invalid value: "Immediate": field is immutable',)),
        (make_class(), make_class(reclaim="Retain"), ('reclaimPolicy: Invalid value: "Retain": field is immutable',)),
        (make_class(), make_class(parameters={"a": "b"}), ('parameters: Invalid value: {"a":"b"}: field is immutable',)),
        (make_csidriver(), make_csidriver(storage_capacity=True), ()),
        (make_csidriver(), make_csidriver(attach_required=False), ("spec.attachedRequired: Invalid value: false: field is immutable",)),
        (make_csinode(drivers={"a": 1}), make_csinode(drivers={"a": 2, "b": None}), ()),
        (make_csinode(drivers={"a": 1}, keys=["zone"]), make_csinode(drivers={"a": 1}, keys=["rack"]), ("spec.drivers: Invalid value: {",)),
        (make_capacity(), make_capacity(capacity="1Gi", maximum="1Gi"), ()),
        (make_capacity(), make_capacity(storage_class="slow"), ('storageClassName: Invalid value: "slow": field is immutable',)),
        (make_capacity(), make_capacity(where={"a": "b"}), ("nodeTopology: Invalid value: {",)),
        (make_attachment(), make_attachment(node="node-2"), ("spec: Invalid value: {",)),
        (make_attachment(), make_attachment(attached=True), ()),
        (GOLD, msgspec.structs.replace(GOLD, driverName="e"), ("driverName: Forbidden: updates to driverName are forbidden.",)),
        (GOLD, msgspec.structs.replace(GOLD, parameters={"a": "c"}), ("parameters: Forbidden: updates to parameters are forbidden.",)),
    ],
)
def test_storage_updates(old: Any, new: Any, expected: tuple[str, ...]) -> None:
    assert_refused(update_refusals(old, new), *expected)


# Nodes, owners, priorities, budgets


@pytest.mark.parametrize(
    ("obj", "expected"),
    [
        (make_node(cpu="-1"), ("status.capacity.cpu: Invalid value", "status.allocatable.cpu: Invalid value")),
        (make_node(taints=[make_taint("a b")]), (f'metadata.taints[0].key: Invalid value: "a b": {KEY}',)),
        (make_node(taints=[make_taint("a", effect="Never")]), ('metadata.taints[0].effect: Unsupported value: "Never"',)),
        (make_node(taints=[make_taint("a"), make_taint("a")]), ("metadata.taints[1]: Duplicate value: {",)),
        (PriorityClass(metadata=ObjectMeta(name="p"), value=2_000_000_000), ("value: Forbidden: maximum allowed value of a user defined",)),
        (PriorityClass(metadata=ObjectMeta(name="system-x"), value=1), ("metadata.name: Forbidden: priority class names with 'system-'",)),
        (
            PodDisruptionBudget(metadata=ObjectMeta(name="b"), spec=PodDisruptionBudgetSpec(minAvailable=1, maxUnavailable=1)),
            ("spec: Invalid value: {",),
        ),
        (
            PodDisruptionBudget(metadata=ObjectMeta(name="b"), spec=PodDisruptionBudgetSpec(minAvailable="half")),
            ('spec.minAvailable: Invalid value: "half": a valid percent string must be',),
        ),
        (
            ReplicaSet(
                metadata=ObjectMeta(name="r"),
                spec=ReplicaSetSpec(
                    selector=LabelSelector(matchLabels={"a": "b"}), template=PodTemplateSpec(metadata=ObjectMeta(labels={"a": "c"}))
                ),
            ),
            ("spec.template.metadata.labels: Invalid value: ",),
        ),
    ],
)
def test_other_kinds(obj: Any, expected: tuple[str, ...]) -> None:
    assert_refused(refusals(obj), *expected)


def test_priorities_do_not_change() -> None:
    old = PriorityClass(metadata=ObjectMeta(name="p"), value=1)
    new = PriorityClass(metadata=ObjectMeta(name="p"), value=2)
    assert_refused(update_refusals(old, new), "value: Forbidden: may not be changed in an update.")


# Pods


def volume_mounts(*names: str) -> Container:
    mounts = [VolumeMount(name=name, mountPath=f"/{index}") for index, name in enumerate(names)]
    return Container(name="c", image="a:1", volumeMounts=mounts)


def with_spec(**changes: Any) -> Any:
    return make_pod(spec=changes)


@pytest.mark.parametrize(
    ("pod", "expected"),
    [
        (make_pod(containers=[]), "spec.containers: Required value"),
        (make_pod(image=None), "spec.containers[0].image: Required value"),
        (make_pod(containers=[make_container("A")]), f'spec.containers[0].name: Invalid value: "A": {LABEL}'),
        (make_pod(containers=[make_container("a"), make_container("a")]), 'spec.containers[1].name: Duplicate value: "a"'),
        (make_pod(cpu="-1"), 'spec.containers[0].resources.requests[cpu]: Invalid value: "-1": must be greater than or equal to 0'),
        (make_pod(cpu="x"), 'spec.containers[0].resources.requests[cpu]: Invalid value: "x": quantities must match'),
        (
            make_pod(cpu="2", limits={"cpu": "1"}),
            'spec.containers[0].resources.requests: Invalid value: "2": must be less than or equal to cpu limit of 1',
        ),
        (
            make_pod(requests={"example.com/gpu": "1"}),
            "spec.containers[0].resources.limits: Required value: Limit must be set for non overcommitable resources",
        ),
        (
            make_pod(requests={"example.com/gpu": "1"}, limits={"example.com/gpu": "2"}),
            'spec.containers[0].resources.requests: Invalid value: "1": must be equal to example.com/gpu limit of 2',
        ),
        (
            make_pod(requests={"gpu": "1"}),
            'spec.containers[0].resources.requests[gpu]: Invalid value: "gpu": must be a standard resource for containers',
        ),
        (make_pod(limits={"hugepages-2Mi": "2Mi"}), "spec.containers[0].resources: Forbidden: HugePages require cpu or memory"),
        (make_pod(ports=[0]), "spec.containers[0].ports[0].containerPort: Required value"),
        (
            make_pod(ports=[ContainerPort(containerPort=70000)]),
            "spec.containers[0].ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive",
        ),
        (make_pod(ports=[80, 80]), 'spec.containers[0].ports[1].hostPort: Duplicate value: "TCP//80"'),
        (
            make_pod(ports=[ContainerPort(containerPort=1, protocol="ICMP")]),
            'spec.containers[0].ports[0].protocol: Unsupported value: "ICMP": supported values: "SCTP", "TCP", "UDP"',
        ),
        (
            make_pod(ports=[ContainerPort(containerPort=1, name="0123")]),
            'spec.containers[0].ports[0].name: Invalid value: "0123": must contain at least one letter (a-z)',
        ),
        (
            make_pod(ports=[ContainerPort(containerPort=80, hostPort=81)], host_network=True),
            "spec.containers[0].ports[0].hostPort: Invalid value: 81: must match `containerPort` when `hostNetwork` is true",
        ),
        (make_pod(containers=[volume_mounts("data")]), 'spec.containers[0].volumeMounts[0].name: Not found: "data"'),
        (make_pod(claims=["a", "a"]), 'spec.volumes[1].name: Duplicate value: "a"'),
        (
            make_pod(volumes=[Volume(name="v", persistentVolumeClaim=PersistentVolumeClaimVolumeSource(claimName=""))]),
            "spec.volumes[0].persistentVolumeClaim.claimName: Required value",
        ),
        (
            make_pod(volumes=[Volume(name="v", emptyDir=EmptyDirVolumeSource(), hostPath=HostPathVolumeSource(path="/"))]),
            "spec.volumes[0].hostPath: Forbidden: may not specify more than 1 volume type",
        ),
        (
            make_pod("web", ephemeral={"a": make_claim_spec()}, claims=["web-a"]),
            'spec.volumes[0].persistentVolumeClaim.claimName: Invalid value: "web-a": '
            "must not reference a PVC that gets created for an ephemeral volume",
        ),
        (
            make_pod(ephemeral={"a": make_claim_spec(size=None)}),
            "spec.volumes[0].ephemeral.volumeClaimTemplate.spec.resources[storage]: Required value",
        ),
        (
            make_pod(
                volumes=[Volume(name="v", emptyDir=EmptyDirVolumeSource())],
                containers=[Container(name="c", image="a:1", volumeDevices=[VolumeDevice(name="v", devicePath="/dev/x")])],
            ),
            'spec.containers[0].volumeDevices[0].name: Invalid value: "v": can only use volume source type of PersistentVolumeClaim',
        ),
        (make_pod(node_selector={"a": "b c"}), 'spec.nodeSelector: Invalid value: "b c": a valid label'),
        (
            with_spec(restartPolicy="Sometimes"),
            'spec.restartPolicy: Unsupported value: "Sometimes": supported values: "Always", "OnFailure", "Never"',
        ),
        (
            with_spec(preemptionPolicy="Maybe"),
            'spec.preemptionPolicy: Unsupported value: "Maybe": supported values: "PreemptLowerPriority", "Never"',
        ),
        (with_spec(nodeName="A"), f'spec.nodeName: Invalid value: "A": {SUBDOMAIN}'),
        (
            with_spec(schedulingGates=[PodSchedulingGate(name="a"), PodSchedulingGate(name="a")]),
            'spec.schedulingGates[1]: Duplicate value: "a"',
        ),
        (
            with_spec(schedulingGates=[PodSchedulingGate(name="a")], nodeName="n"),
            "spec.nodeName: Forbidden: cannot be set until all schedulingGates have been cleared",
        ),
        (
            make_pod(tolerations=[Toleration(operator="Equal")]),
            'spec.tolerations[0].operator: Invalid value: "Equal": operator must be Exists',
        ),
        (
            make_pod(tolerations=[Toleration(key="a", operator="Exists", value="b")]),
            "spec.tolerations[0].operator: Invalid value: \"b\": value must be empty when `operator` is 'Exists'",
        ),
        (make_pod(tolerations=[Toleration(key="a", operator="Lt", value="1")]), 'spec.tolerations[0].operator: Unsupported value: "Lt"'),
        (
            make_pod(tolerations=[Toleration(key="a", tolerationSeconds=1, effect="NoSchedule")]),
            "spec.tolerations[0].effect: Invalid value: \"NoSchedule\": effect must be 'NoExecute' when `tolerationSeconds` is set",
        ),
        (
            with_spec(topologySpreadConstraints=[TopologySpreadConstraint(maxSkew=0, topologyKey="z", whenUnsatisfiable="DoNotSchedule")]),
            "spec.topologySpreadConstraints[0].maxSkew: Invalid value: 0: must be greater than zero",
        ),
        (
            with_spec(
                topologySpreadConstraints=[
                    TopologySpreadConstraint(maxSkew=1, topologyKey="z", whenUnsatisfiable="ScheduleAnyway", minDomains=2)
                ]
            ),
            "spec.topologySpreadConstraints[0].minDomains: Invalid value: 2: can only use minDomains if whenUnsatisfiable=DoNotSchedule",
        ),
        (with_spec(overhead={"cpu": "-1"}), "spec.overhead.limits[cpu]: Invalid value"),
    ],
)
def test_pods(pod: Any, expected: str) -> None:
    assert_refused(refusals(pod), expected)


FIXED = "spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`"
GATED = {"schedulingGates": [PodSchedulingGate(name="g")]}


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (make_pod(), make_pod(image="app:2", labels={"a": "b"}), ()),
        (make_pod(), make_pod(node="n"), (FIXED,)),
        (make_pod(), make_pod(cpu="1"), (FIXED,)),
        (
            make_pod(),
            make_pod(containers=[make_container("main"), make_container("b")]),
            ("spec.containers: Forbidden: pod updates may not add",),
        ),
        (make_pod(), make_pod(tolerations=[Toleration(key="a", operator="Exists")]), ()),
        (
            make_pod(tolerations=[Toleration(key="a", operator="Exists")]),
            make_pod(),
            ("spec.tolerations: Forbidden: existing toleration can not be modified except its tolerationSeconds",),
        ),
        (make_pod(spec=GATED), make_pod(), ()),
        (make_pod(), make_pod(spec=GATED), ("spec.schedulingGates[0].name: Forbidden: only deletion is allowed, but found new",)),
        (make_pod(spec=GATED), make_pod(spec=GATED, node_selector={"a": "b"}), ()),
        (
            make_pod(spec=GATED, node_selector={"a": "b"}),
            make_pod(spec=GATED, node_selector={"a": "c"}),
            ('spec.nodeSelector: Invalid value: {"a":"c"}: only additions to spec.nodeSelector are allowed',),
        ),
        (make_pod(), make_pod(node_selector={"a": "b"}), (FIXED,)),
        (make_pod(spec=GATED), make_pod(spec=GATED, affinity=make_node_affinity({"a": "b"})), ()),
        (
            make_pod(spec=GATED, affinity=make_node_affinity({"a": "b"})),
            make_pod(spec=GATED, affinity=make_node_affinity({"a": "b", "c": "d"})),
            (),
        ),
        (
            make_pod(spec=GATED, affinity=make_node_affinity({"a": "b"})),
            make_pod(spec=GATED, affinity=make_node_affinity({"c": "d"})),
            ("spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0]: Invalid value: {",),
        ),
        (make_pod(), make_pod(spec={"activeDeadlineSeconds": 5}), ()),
        (
            make_pod(spec={"activeDeadlineSeconds": 5}),
            make_pod(spec={"activeDeadlineSeconds": 6}),
            ("spec.activeDeadlineSeconds: Invalid value: 6: must be less than or equal to previous value",),
        ),
        (make_pod(cpu="1000m"), make_pod(cpu="1"), ()),
    ],
)
def test_pod_updates(old: Any, new: Any, expected: tuple[str, ...]) -> None:
    assert_refused(update_refusals(old, new), *expected)


def test_preferred_node_terms_take_any_value() -> None:
    preferred = msgspec.convert(
        [{"weight": 200, "preference": {"matchExpressions": [{"key": "a", "operator": "In", "values": ["b c"]}]}}],
        type=list[Any],
    )
    affinity = msgspec.convert({"preferredDuringSchedulingIgnoredDuringExecution": preferred}, NodeAffinity)
    pod = make_pod(affinity=msgspec.structs.replace(make_node_affinity({"a": "b"}), nodeAffinity=affinity))
    at = "spec.affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution[0]"
    assert_refused(refusals(pod), f"{at}.weight: Invalid value: 200: must be in the range 1-100")
