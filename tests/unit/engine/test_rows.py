"""The compiled encoder writes the same bytes as the plain one, for everything there is."""

from __future__ import annotations

import gzip
import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from lightkube.models.core_v1 import (
    AWSElasticBlockStoreVolumeSource,
    ContainerStatus,
    GCEPersistentDiskVolumeSource,
    ISCSIVolumeSource,
    PodCondition,
    PodStatus,
    RBDVolumeSource,
    ResourceRequirements,
    TopologySpreadConstraint,
    Volume,
)
from lightkube.models.meta_v1 import LabelSelector

from tests.builders import make_container, make_owner, make_pod, make_pv, make_pvc
from volsched.api.defaults import with_defaults
from volsched.api.manifest import from_manifest
from volsched.engine import _rows, rows
from volsched.rules.capacity import ANN_STORAGE_CAPACITY

GOLDEN = Path(__file__).parents[2] / "data" / "golden"
BY_KIND = {
    "Node": ("node_row",),
    "Pod": ("program_row", "instance_row", "usage_row"),
    "PersistentVolume": ("volume_row",),
    "PersistentVolumeClaim": ("claim_row",),
    "StorageClass": ("class_row",),
    "CSINode": ("csi_node_row",),
    "CSIDriver": ("csi_driver_row",),
    "CSIStorageCapacity": ("capacity_row",),
    "VolumeAttachment": ("attachment_row",),
    "Namespace": ("namespace_row",),
    "Service": ("service_row",),
    "ReplicationController": ("controller_row",),
    "ReplicaSet": ("controller_row",),
    "StatefulSet": ("controller_row",),
}


def assert_same(obj: Any) -> None:
    for function in BY_KIND.get(type(obj).__name__, ()):
        assert getattr(_rows, function)(obj) == getattr(rows, function)(obj), f"{function} of {obj}"


def recorded(family: str) -> Iterator[Any]:
    with gzip.open(GOLDEN / f"decisions-{family}.jsonl.gz", "rt") as lines:
        for line in lines:
            case = json.loads(line)
            for value in [*case["objects"], case["pod"]]:
                yield with_defaults(from_manifest(value, lenient=True))


def test_recorded_objects() -> None:
    kinds = set()
    for family in ("mixed", "edge-vol", "edge-inline", "edge-podlevel", "edge-interpod", "edge-defspread"):
        for obj in recorded(family):
            kinds.add(type(obj).__name__)
            assert_same(obj)
    assert kinds == set(BY_KIND)


@pytest.mark.parametrize(
    "requests",
    [
        {"cpu": "100m", "memory": "1Gi"},
        {"cpu": "0.1m"},
        {"memory": "100m"},
        {"cpu": "1e3", "memory": "1E"},
        {"memory": "100E"},
        {"cpu": "-1"},
        {"example.com/gpu": "2", "hugepages-2Mi": "4Mi", "pods": "3", "requests.example.com/x": "1"},
        {"ephemeral-storage": "1.5Gi", "example.com/gpu": "0"},
        {},
    ],
)
@pytest.mark.parametrize("shape", ["plain", "init", "sidecar", "pod level", "overhead", "two containers"])
def test_requests(requests: dict[str, str], shape: str) -> None:
    main = make_container(requests=requests)
    pod = {
        "plain": lambda: make_pod(containers=[main]),
        "init": lambda: make_pod(containers=[main], init_containers=[make_container("i", requests={"cpu": "3", **requests})]),
        "sidecar": lambda: make_pod(
            containers=[main], init_containers=[make_container("s", requests=requests, restart_policy="Always", ports=[80])]
        ),
        "pod level": lambda: make_pod(containers=[main], spec={"resources": ResourceRequirements(requests={"cpu": "2"})}),
        "overhead": lambda: make_pod(containers=[main], spec={"overhead": {"cpu": "250m", "memory": "7"}}),
        "two containers": lambda: make_pod(containers=[main, make_container("second", cpu="1")]),
    }[shape]()
    assert_same(pod)


def test_status_of_a_placed_pod() -> None:
    status = PodStatus(
        phase="Running",
        containerStatuses=[
            ContainerStatus(image="", imageID="", name="main", ready=True, restartCount=0, allocatedResources={"cpu": "700m"}),
        ],
    )
    resized = msgspec.structs.replace(make_pod(cpu="500m", node="n1"), status=status)
    assert rows.usage_row(resized)
    assert_same(resized)
    infeasible = msgspec.structs.replace(
        resized,
        status=msgspec.structs.replace(status, conditions=[PodCondition(type="PodResizePending", status="True", reason="Infeasible")]),
    )
    assert rows.usage_row(infeasible) != b""
    assert_same(infeasible)
    assert rows.usage_row(make_pod(cpu="500m", node="n1")) == b""


def test_what_pods_carry() -> None:
    assert_same(
        make_pod(
            claims=["a", "b"],
            volumes=[
                Volume(name="gce", gcePersistentDisk=GCEPersistentDiskVolumeSource(pdName="disk", readOnly=True)),
                Volume(name="ebs", awsElasticBlockStore=AWSElasticBlockStoreVolumeSource(volumeID="aws://zone/nonsense")),
                Volume(name="iscsi", iscsi=ISCSIVolumeSource(iqn="iqn", lun=0, targetPortal="p")),
                Volume(name="rbd", rbd=RBDVolumeSource(image="i", monitors=["m1", "m2"])),
            ],
            labels={"app": "web", "hash": "x"},
            owners=[make_owner("ReplicaSet", "web", "u", api_version="apps/v1")],
            spec={
                "hostNetwork": True,
                "hostUsers": False,
                "topologySpreadConstraints": [
                    TopologySpreadConstraint(
                        maxSkew=1,
                        topologyKey="zone",
                        whenUnsatisfiable="DoNotSchedule",
                        labelSelector=LabelSelector(matchLabels={"app": "web"}),
                        matchLabelKeys=["hash", "absent"],
                    )
                ],
            },
        )
    )


def test_text_of_every_width() -> None:
    assert_same(make_pvc("größe-日本語-🎈", annotations={"volume.beta.kubernetes.io/storage-class": "é"}))
    assert_same(make_pv("x" * 5000, zone="z"))


def test_pods_of_one_template_share_a_program() -> None:
    first = make_pod("one", claims=["a"], uid="u1", labels={"app": "x"})
    second = make_pod("two", claims=["b"], uid="u2", labels={"app": "y"})
    assert _rows.program_row(first) == _rows.program_row(second)
    assert _rows.instance_row(first) != _rows.instance_row(second)
    assert _rows.program_row(first) != _rows.program_row(make_pod("one", claims=["a"], cpu="1"))


@pytest.mark.parametrize("value", [0, 1, -1, 2**127 - 1, -(2**127) + 1, 10**27])
def test_nanos_are_written_as_128_bits(value: int) -> None:
    to = rows.Writer()
    to.nanos(value)
    low, high = struct.unpack("<Qq", to.done())
    assert high * 2**64 + low == value


@pytest.mark.parametrize("text", ["default/p1", "default/p1,other/p2", " default/p1 , default/p1,nonsense,", ""])
def test_what_is_held_in_capacity_objects(text: str) -> None:
    notes = {ANN_STORAGE_CAPACITY: text}
    for obj in (
        make_pvc(annotations=notes),
        make_pvc(annotations=notes, selected_node="n1"),
        make_pvc(annotations=notes, selected_node="n1", volume="pv-1"),
        make_pv(annotations=notes),
    ):
        assert_same(obj)
