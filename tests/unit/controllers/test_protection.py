"""Finalizers that go only when nothing uses the object, and the claims' condition `Unused`."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from lightkube.models.core_v1 import ContainerState, ContainerStateRunning, ContainerStatus, ModifyVolumeStatus, PodStatus
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.models.storage_v1 import VolumeAttributesClass

from tests.builders import make_claim_spec, make_owner, make_pod, make_pv, make_pvc
from tests.unit.controllers.harness import World, same_end_whatever_happens
from volsched.api.edit import replace, with_spec
from volsched.controllers.decision_table import ANY
from volsched.controllers.protection import (
    GUARD_TABLE,
    PV_PROTECTION,
    PVC_PROTECTION,
    VAC_PROTECTION,
    AttributesClassProtection,
    ClaimProtection,
    VolumeProtection,
)


def world() -> World:
    made = World()
    made.add(lambda: ClaimProtection(made.clock))
    made.add(VolumeProtection)
    made.add(AttributesClassProtection)
    return made


def condition(made: World, name: str = "data") -> tuple[str, str, str] | None:
    found = [entry for entry in made.claim(name).status.conditions or [] if entry.type == "Unused"]
    return (found[0].status, found[0].reason, found[0].message) if found else None


IS_UNUSED = ("True", "NoPodsUsingPVC", "No pods are currently referencing this PVC")
IS_USED = ("False", "PodUsingPVC", "A pod is currently referencing this PVC")


def bound(name: str = "data", **options: Any) -> Any:
    return make_pvc(name, bound_to="pv-1", finalizers=[PVC_PROTECTION], **options)


def test_each_combination_meets_exactly_one_row() -> None:
    for values in itertools.product((False, True), repeat=3):
        rows = [row for row, cells in GUARD_TABLE.rows if all(c in (ANY, v) for c, v in zip(cells, values, strict=True))]
        assert len(rows) == 1, values


def test_missing_finalizers_are_added() -> None:
    made = world()
    made.create(make_pvc())
    made.create(make_pv())
    made.create(VolumeAttributesClass(driverName="d", metadata=ObjectMeta(name="gold")))
    made.settle()
    assert made.claim("data").metadata.finalizers == [PVC_PROTECTION]
    assert made.volume("pv-1").metadata.finalizers == [PV_PROTECTION]
    assert made.get("VolumeAttributesClass", "gold").metadata.finalizers == [VAC_PROTECTION]


def test_claim_goes_when_its_scheduled_pod_has_gone() -> None:
    made = world()
    made.create(bound())
    made.create(make_pod(claims=["data"], node="n1"))
    made.settle()
    made.delete("PersistentVolumeClaim", "data")
    made.settle()
    assert made.claim("data").metadata.finalizers == [PVC_PROTECTION]
    made.delete("Pod", "pod", grace=0)
    made.settle()
    assert made.claim("data") is None


def test_trap_14_succeeded_pod_still_blocks() -> None:
    made = world()
    made.create(bound())
    made.create(make_pod(claims=["data"], node="n1", phase="Succeeded"))
    made.settle()
    made.delete("PersistentVolumeClaim", "data")
    made.settle()
    assert made.claim("data") is not None


def test_trap_15_unscheduled_pod_does_not_block() -> None:
    made = world()
    made.create(bound())
    made.create(make_pod(claims=["data"]))
    made.settle()
    made.delete("PersistentVolumeClaim", "data")
    made.settle()
    assert made.claim("data") is None


def test_live_list_is_asked_before_the_finalizer_goes() -> None:
    """A pod that the watch has not told of yet still protects its claim."""
    made = world()
    made.create(bound())
    made.settle()
    made.lag = True
    made.create(make_pod(claims=["data"], node="n1"))
    for process in made._processes:
        process.inbox.clear()
    made.delete("PersistentVolumeClaim", "data")
    made.settle()
    assert made.claim("data") is not None


def test_ephemeral_claim_is_let_go_once_its_pod_is_shut_down() -> None:
    made = world()
    made.create(make_pod(ephemeral={"scratch": make_claim_spec()}, node="n1", uid="p", finalizers=["held"]))
    made.create(make_pvc("pod-scratch", bound_to="pv-1", finalizers=[PVC_PROTECTION], owners=[make_owner("Pod", "pod", "p")]))
    made.create(make_pvc("pod-other", bound_to="pv-1", finalizers=[PVC_PROTECTION]))
    made.settle()
    assert condition(made, "pod-scratch") == IS_USED
    made.delete("PersistentVolumeClaim", "pod-scratch")
    made.settle()
    assert made.claim("pod-scratch") is not None
    made.delete("Pod", "pod", grace=0)
    made.settle()
    assert made.get("Pod", "pod") is not None and made.claim("pod-scratch") is None


def test_condition_follows_pods_and_is_written_once_a_flip() -> None:
    made = world()
    made.create(make_pvc(finalizers=[PVC_PROTECTION]))
    made.settle()
    assert condition(made) is None  # Pending
    made.edit(replace(made.claim("data"), status=bound().status), subresource="status")
    made.settle()
    assert condition(made) == IS_UNUSED
    made.create(make_pod("unscheduled", claims=["data"]))
    made.settle()
    assert condition(made) == IS_USED
    made.create(make_pod("second", claims=["data"], node="n1"))
    made.delete("Pod", "unscheduled")
    made.settle()
    assert condition(made) == IS_USED
    written = [line for line in made.writes if "PersistentVolumeClaim/status" in line and "kube" in line]
    made.delete("Pod", "second")  # marked for deletion, no running container: it has ended
    made.settle()
    assert condition(made) == IS_UNUSED
    assert len([line for line in made.writes if "PersistentVolumeClaim/status" in line and "kube" in line]) == len(written) + 1 == 3


def test_running_containers_keep_a_deleted_pod_counting() -> None:
    made = world()
    made.create(bound())
    running = ContainerStatus(
        name="main", image="", imageID="", ready=True, restartCount=0, state=ContainerState(running=ContainerStateRunning())
    )
    made.create(replace(make_pod(claims=["data"], node="n1"), status=PodStatus(phase="Running", containerStatuses=[running])))
    made.settle()
    made.delete("Pod", "pod")
    made.settle()
    assert condition(made) == IS_USED


@pytest.mark.parametrize("phase", ["Pending", "Lost"])
def test_condition_is_left_alone_on_claims_that_are_not_bound(phase: str) -> None:
    made = world()
    made.create(bound())
    made.create(make_pod(claims=["data"]))
    made.settle()
    made.edit(replace(made.claim("data"), status=replace(made.claim("data").status, phase=phase)), subresource="status")
    made.delete("Pod", "pod")
    made.settle()
    assert condition(made) == IS_USED


def test_volume_is_held_while_bound() -> None:
    made = world()
    made.create(make_pv(phase="Bound", finalizers=[PV_PROTECTION]))
    made.delete("PersistentVolume", "pv-1")
    made.settle()
    assert made.volume("pv-1") is not None
    made.edit(replace(made.volume("pv-1"), status=replace(made.volume("pv-1").status, phase="Released")), subresource="status")
    made.settle()
    assert made.volume("pv-1") is None


@pytest.mark.parametrize("user", ["volume", "claim spec", "claim status", "claim change"])
def test_attributes_class_is_held_by_all_that_refer_to_it(user: str) -> None:
    made = world()
    made.create(VolumeAttributesClass(driverName="d", metadata=ObjectMeta(name="gold", finalizers=[VAC_PROTECTION])))
    claim = make_pvc()
    if user == "volume":
        made.create(make_pv(attributes_class="gold"))
    elif user == "claim spec":
        made.create(make_pvc(attributes_class="gold"))
    elif user == "claim status":
        made.create(make_pvc(status={"currentVolumeAttributesClassName": "gold"}))
    else:
        change = ModifyVolumeStatus(status="Pending", targetVolumeAttributesClassName="gold")
        made.create(replace(claim, status=replace(bound().status, modifyVolumeStatus=change)))
    made.settle()
    made.delete("VolumeAttributesClass", "gold")
    made.settle()
    assert made.get("VolumeAttributesClass", "gold") is not None
    if user == "volume":
        made.edit(with_spec(made.volume("pv-1"), volumeAttributesClassName=None))
    elif user == "claim spec":
        made.edit(with_spec(made.claim("data"), volumeAttributesClassName=None))
    else:
        made.edit(replace(made.claim("data"), status=bound().status), subresource="status")
    made.settle()
    assert made.get("VolumeAttributesClass", "gold") is None


def play(made: World) -> None:
    for name in ("data", "logs"):
        made.create(make_pvc(name, bound_to=f"pv-{name}"))
        made.create(make_pv(f"pv-{name}", phase="Bound"))
    made.create(make_pod(claims=["data", "logs"], node="n1"))
    made.settle(seconds=5)
    made.delete("PersistentVolumeClaim", "data")
    made.delete("PersistentVolume", "pv-data")
    made.settle(seconds=5)
    made.delete("Pod", "pod", grace=0)
    made.settle(seconds=5)
    made.edit(replace(made.volume("pv-data"), status=replace(made.volume("pv-data").status, phase="Released")), subresource="status")
    made.settle(seconds=5)


def test_same_end_with_every_write_interrupted() -> None:
    tried = same_end_whatever_happens(play, world, ignore=lambda objects: objects)
    assert tried >= 4 * 8
