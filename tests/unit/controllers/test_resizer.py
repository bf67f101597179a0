"""Volumes that grow: the resizer alone and together with the kubelet, errors of every kind, interruptions at every write."""

from __future__ import annotations

import functools
from typing import Any

import pytest
from lightkube.models.core_v1 import Secret, SecretReference
from lightkube.models.meta_v1 import ObjectMeta

from tests.builders import make_pod, make_pvc
from tests.unit.controllers.growing import GI, Driver, ask, check_sizes, conditions, make_world, progress
from tests.unit.controllers.harness import World, same_end_whatever_happens
from volsched.api.edit import annotations_of, replace
from volsched.controllers.pv_binder.changes import ANN_PRE_RESIZE_CAPACITY
from volsched.controllers.resizer import ExpandNotice, ResizerOptions
from volsched.controllers.resizer_status import FS_PENDING_TEXT
from volsched.controllers.resizer_tables import EXPANSION_REFUSED, TARGET, Target, Verdict
from volsched.errors import CsiCode

WITHOUT_NODE = ("STAGE_UNSTAGE_VOLUME",)


def run_pod(world: World, name: str = "pod") -> None:
    world.create(make_pod(name, claims=["data"], node="n1", uid=f"{name}-uid"))
    world.settle()
    assert world.get("Pod", name).status.phase == "Running"


def capacity(world: World) -> tuple[str, str]:
    return world.claim("data").status.capacity["storage"], world.volume("pv-data").spec.capacity["storage"]


def test_every_combination_meets_a_row_and_every_row_is_met() -> None:
    combinations = list(TARGET.combinations())
    for facts in combinations:
        target = TARGET.decide(**facts)
        assert target is not Target.ALLOCATED or facts["allocated"]
    assert TARGET.unreachable() == []


def test_every_code_has_a_verdict() -> None:
    assert set(EXPANSION_REFUSED) == set(CsiCode) - {CsiCode.OK}
    assert {code for code, verdict in EXPANSION_REFUSED.items() if verdict is Verdict.INFEASIBLE} == {
        CsiCode.INVALID_ARGUMENT,
        CsiCode.OUT_OF_RANGE,
        CsiCode.NOT_FOUND,
    }


def test_a_volume_without_file_system_work_grows_in_one_go() -> None:
    driver = Driver(node=WITHOUT_NODE)
    world = make_world(driver)
    ask(world, "20Gi")
    world.settle()
    assert capacity(world) == ("20Gi", "20Gi") and driver.sizes["vol-data"] == 20 * GI
    assert progress(world) == "" and conditions(world) == {}
    assert world.claim("data").status.allocatedResources == {"storage": "20Gi"}
    assert [event.reason for event in world.events] == ["Resizing", "VolumeResizeSuccessful"]
    assert world.events[0].component == "external-resizer csi.example.com"
    assert world.messages("Resizing") == ["External resizer is resizing volume pv-data"]
    mine = [line for line in world.writes if line.startswith("csi-resizer")]
    assert mine == [
        "csi-resizer update PersistentVolumeClaim/status data",
        "csi-resizer update PersistentVolume pv-data",
        "csi-resizer update PersistentVolumeClaim/status data",
    ]
    (request,) = driver.called("ControllerExpandVolume")
    assert (request.volume_id, request.capacity_range.required_bytes) == ("vol-data", 20 * GI)
    assert request.volume_capability.access_mode.mode == "SINGLE_NODE_WRITER"


def test_a_file_system_waits_for_a_pod_and_follows_while_the_pod_starts() -> None:
    driver = Driver()
    world = make_world(driver)
    ask(world, "20Gi")
    world.settle()
    assert capacity(world) == ("10Gi", "20Gi") and progress(world) == "NodeResizePending"
    assert conditions(world) == {"Resizing": "", "FileSystemResizePending": FS_PENDING_TEXT}
    assert world.messages("FileSystemResizeRequired") == ["Require file system resize of volume on node"]
    run_pod(world)
    assert capacity(world) == ("20Gi", "20Gi") and progress(world) == "" and conditions(world) == {}
    assert driver.file_systems["vol-data"] == 20 * GI
    assert [name for name, _ in driver.requests if name.startswith("Node")] == [
        "NodeGetCapabilities",
        "NodeStageVolume",
        "NodePublishVolume",
        "NodeExpandVolume",
    ]
    (request,) = driver.called("NodeExpandVolume")
    assert request.volume_path == request.staging_target_path != ""
    text = 'MountVolume.NodeExpandVolume succeeded for volume "pv-data" n1'
    assert [(event.key.kind, event.message) for event in world.events if event.reason == "FileSystemResizeSuccessful"] == [
        ("Pod", text),
        ("PersistentVolumeClaim", text),
    ]


def test_a_running_pods_file_system_follows_at_once() -> None:
    driver = Driver()
    world = make_world(driver)
    run_pod(world)
    ask(world, "20Gi")
    world.settle()
    assert capacity(world) == ("20Gi", "20Gi") and driver.file_systems["vol-data"] == 20 * GI
    check_sizes(world, driver)


def test_a_driver_that_grows_on_the_node_alone_gets_no_controller_call() -> None:
    driver = Driver(controller=())
    world = make_world(driver)
    run_pod(world)
    ask(world, "20Gi")
    world.settle()
    assert driver.called("ControllerExpandVolume") == []
    assert capacity(world) == ("20Gi", "20Gi") and driver.sizes["vol-data"] == 20 * GI


def test_a_driver_that_cannot_grow_is_left_alone() -> None:
    driver = Driver(controller=(), node=WITHOUT_NODE)
    world = make_world(driver)
    ask(world, "20Gi")
    world.settle(seconds=700)
    assert world.events == [] and capacity(world) == ("10Gi", "10Gi")


def test_other_drivers_volumes_and_broken_bindings_are_left_alone() -> None:
    driver = Driver()
    world = make_world(driver, driver="other.example.com")
    ask(world, "20Gi")
    world.settle(seconds=700)
    assert driver.called("ControllerExpandVolume") == []
    claim = make_pvc("lost", bound_to="pv-data", uid="lost-uid")
    world.create(replace(claim, status=replace(claim.status, capacity={"storage": "1Gi"})))
    world.settle(seconds=700)
    assert driver.called("ControllerExpandVolume") == []


def test_an_infeasible_size_is_tried_again_after_five_minutes_and_another_size_at_once() -> None:
    driver = Driver(node=WITHOUT_NODE)
    driver.script["ControllerExpandVolume"] = [CsiCode.OUT_OF_RANGE] * 99
    world = make_world(driver)
    ask(world, "20Gi")
    world.settle()
    assert progress(world) == "ControllerResizeInfeasible"
    cause = "rpc error: code = OutOfRange desc = scripted failure"
    assert conditions(world) == {"Resizing": "", "ControllerResizeError": f"failed to expand pvc with {cause}"}
    assert world.messages("VolumeResizeFailed") == [f'resize volume "pv-data" by resizer "csi.example.com" failed: {cause}']
    world.settle(seconds=290)
    assert len(driver.called("ControllerExpandVolume")) == 2
    world.settle(seconds=20)
    assert len(driver.called("ControllerExpandVolume")) == 3
    driver.script.clear()
    ask(world, "15Gi")
    world.settle()
    assert capacity(world) == ("15Gi", "15Gi") and conditions(world) == {}


def test_a_wish_taken_back_after_an_infeasible_answer_ends_the_attempts() -> None:
    driver = Driver(node=WITHOUT_NODE)
    driver.script["ControllerExpandVolume"] = [CsiCode.OUT_OF_RANGE] * 99
    world = make_world(driver)
    ask(world, "20Gi")
    world.settle()
    ask(world, "10Gi")
    world.settle(seconds=2000)
    assert len(driver.called("ControllerExpandVolume")) == 1


def test_a_size_that_may_be_under_way_is_finished_before_a_smaller_wish() -> None:
    driver = Driver(node=WITHOUT_NODE)
    driver.script["ControllerExpandVolume"] = [("lost", CsiCode.DEADLINE_EXCEEDED)]
    world = make_world(driver)
    ask(world, "30Gi")
    world.settle()
    assert progress(world) == "ControllerResizeInProgress" and driver.sizes["vol-data"] == 30 * GI
    ask(world, "20Gi")
    world.settle(seconds=5)
    assert [request.capacity_range.required_bytes // GI for request in driver.called("ControllerExpandVolume")] == [30, 30]
    assert capacity(world) == ("30Gi", "30Gi") and progress(world) == ""


def test_after_a_final_answer_a_smaller_wish_is_followed() -> None:
    driver = Driver(node=WITHOUT_NODE)
    driver.script["ControllerExpandVolume"] = [CsiCode.INTERNAL]
    world = make_world(driver)
    ask(world, "30Gi")
    world.settle()
    assert progress(world) == "ControllerResizeInProgress" and "ControllerResizeError" in conditions(world)
    ask(world, "20Gi")
    world.settle(seconds=5)
    assert [request.capacity_range.required_bytes // GI for request in driver.called("ControllerExpandVolume")] == [30, 20]
    assert capacity(world) == ("20Gi", "20Gi") and conditions(world) == {}


def test_a_larger_wish_waits_until_the_node_has_finished() -> None:
    driver = Driver()
    world = make_world(driver)
    ask(world, "20Gi")
    world.settle()
    ask(world, "30Gi")
    world.settle(seconds=30)
    assert len(driver.called("ControllerExpandVolume")) == 1 and progress(world) == "NodeResizePending"
    run_pod(world)
    world.settle(seconds=30)
    assert capacity(world) == ("30Gi", "30Gi") and driver.file_systems["vol-data"] == 30 * GI


def test_a_driver_that_grows_offline_only_is_asked_again_when_no_pod_uses_the_volume() -> None:
    driver = Driver()
    driver.offline_only = True
    world = make_world(driver)
    run_pod(world)
    ask(world, "20Gi")
    world.settle(seconds=10)
    assert len(driver.called("ControllerExpandVolume")) == 1
    only = "CSI driver csi.example.com only supports offline expansion and volume is currently in-use"
    assert world.messages("VolumeResizeFailed")[-1] == f"Unable to expand default/data because {only}"
    world.delete("Pod", "pod", grace=0)
    world.settle(seconds=60)
    assert progress(world) == "NodeResizePending"
    run_pod(world, "later")
    assert capacity(world) == ("20Gi", "20Gi")


def test_the_secret_of_the_volume_reaches_both_calls() -> None:
    driver = Driver()
    csi_source = {"controllerExpandSecretRef": SecretReference(name="key", namespace="default")}
    world = make_world(driver)
    volume = world.volume("pv-data")
    source = replace(volume.spec.csi, **csi_source, nodeExpandSecretRef=SecretReference(name="node-key", namespace="default"))
    world.edit(replace(volume, spec=replace(volume.spec, csi=source)))
    ask(world, "20Gi")
    world.settle()
    missing = 'resize volume "pv-data" by resizer "csi.example.com" failed: error getting secret key in namespace default'
    assert world.messages("VolumeResizeFailed")[0].startswith(missing)
    for name in ("key", "node-key"):
        world.create(Secret(metadata=ObjectMeta(name=name, namespace="default"), stringData={"user": name}))
    run_pod(world)
    world.settle(seconds=20)
    assert [request.secrets for request in driver.called("ControllerExpandVolume")] == [{"user": "key"}]
    assert [request.secrets for request in driver.called("NodeExpandVolume")] == [{"user": "node-key"}]


def test_an_infeasible_answer_of_the_node_is_left_to_the_controller() -> None:
    driver = Driver()
    driver.script["NodeExpandVolume"] = [CsiCode.INVALID_ARGUMENT]
    world = make_world(driver)
    run_pod(world)
    ask(world, "20Gi")
    world.settle(seconds=60)
    assert progress(world) == "NodeResizeInfeasible" and len(driver.called("NodeExpandVolume")) == 1
    cause = "Expander.NodeExpand failed to expand the volume: rpc error: code = InvalidArgument desc = scripted failure"
    assert conditions(world)["NodeResizeError"] == f"failed to expand pvc with {cause}"
    assert world.messages("VolumeResizeFailed") == [f'NodeExpandVolume.NodeExpandVolume failed for volume "pv-data" : {cause}']
    world.settle(seconds=700)  # the resync sets it back
    assert capacity(world) == ("20Gi", "20Gi") and conditions(world) == {}


def test_other_answers_of_the_node_are_tried_again() -> None:
    driver = Driver()
    driver.script["NodeExpandVolume"] = [CsiCode.UNAVAILABLE, CsiCode.INTERNAL]
    world = make_world(driver)
    run_pod(world)
    ask(world, "20Gi")
    world.settle(seconds=30)
    assert len(driver.called("NodeExpandVolume")) == 3 and capacity(world) == ("20Gi", "20Gi")


def test_a_starting_pod_waits_for_its_file_system_unless_the_node_refuses_for_good() -> None:
    driver = Driver()
    world = make_world(driver)
    ask(world, "20Gi")
    world.settle()
    driver.script["NodeExpandVolume"] = [CsiCode.INTERNAL] * 3
    world.create(make_pod(claims=["data"], node="n1", uid="p"))
    world.settle()
    assert world.get("Pod", "pod").status.phase == "Pending"
    cause = "Expander.NodeExpand failed to expand the volume: rpc error: code = Internal desc = scripted failure"
    assert world.messages("FailedMount") == [f'MountVolume.MountDevice failed while expanding volume for volume "pv-data" : {cause}']
    world.settle(seconds=10)
    assert world.get("Pod", "pod").status.phase == "Running" and capacity(world) == ("20Gi", "20Gi")


@pytest.mark.parametrize("code", [CsiCode.FAILED_PRECONDITION, CsiCode.INVALID_ARGUMENT])
def test_a_pod_starts_although_its_node_cannot_expand(code: CsiCode) -> None:
    driver = Driver()
    world = make_world(driver)
    ask(world, "20Gi")
    world.settle()
    driver.script["NodeExpandVolume"] = [code] * 99
    run_pod(world)
    world.settle(seconds=60)
    assert len(driver.called("NodeExpandVolume")) == 1 and "NodeResizeError" in conditions(world)


def test_a_node_whose_driver_cannot_expand_leaves_the_claim_pending() -> None:
    driver = Driver()
    world = make_world(driver)
    ask(world, "20Gi")
    world.settle()
    driver.node = WITHOUT_NODE
    run_pod(world)
    world.settle(seconds=60)
    assert driver.called("NodeExpandVolume") == [] and progress(world) == "NodeResizePending"


def test_the_old_size_is_noted_until_the_file_system_has_followed() -> None:
    world = make_world(options=ResizerOptions(annotate_fs_resize=True))
    ask(world, "20Gi")
    world.settle()
    assert annotations_of(world.volume("pv-data"))[ANN_PRE_RESIZE_CAPACITY] == "10Gi"
    run_pod(world)
    world.settle()
    assert ANN_PRE_RESIZE_CAPACITY not in annotations_of(world.volume("pv-data"))


def test_the_notice_of_the_expand_controller() -> None:
    world = make_world(kubelet=False)
    world.add(ExpandNotice)
    ask(world, "20Gi")
    world.settle()
    (event,) = [event for event in world.events if event.reason == "ExternalExpanding"]
    assert (event.component, event.type, event.message) == (
        "volume_expand",
        "Normal",
        "waiting for an external controller to expand this PVC",
    )


def _story(world: World, *, pod_first: bool) -> None:
    if pod_first:
        world.create(make_pod(claims=["data"], node="n1", uid="p"))
        world.settle(seconds=60)
    ask(world, "20Gi")
    world.settle(seconds=60)
    if not pod_first:
        world.create(make_pod(claims=["data"], node="n1", uid="p"))
        world.settle(seconds=60)
    ask(world, "30Gi")
    world.settle(seconds=700)


@pytest.mark.parametrize("pod_first", [True, False])
@pytest.mark.parametrize("on_node", [True, False])
def test_interruptions_at_every_write_end_alike(pod_first: bool, on_node: bool) -> None:
    drivers: list[Driver] = []

    def make() -> World:
        drivers.append(Driver() if on_node else Driver(node=WITHOUT_NODE))
        return make_world(drivers[-1])

    def play(world: World) -> None:
        _story(world, pod_first=pod_first)
        check_sizes(world, drivers[-1])
        assert capacity(world) == ("30Gi", "30Gi") and conditions(world) == {}

    tried = same_end_whatever_happens(play, make, ignore=_ended)
    assert tried >= 20


def _ended(summary: dict[str, Any]) -> Any:
    """The claim, its volume and the pod's phase."""
    return {
        key: value if not key.startswith("Pod/") else value["status"]["phase"]
        for key, value in summary.items()
        if key.startswith(("Pod/", "PersistentVolume"))
    }


@functools.cache
def _codes() -> list[CsiCode]:
    return [code for code in CsiCode if code is not CsiCode.OK]


@pytest.mark.parametrize("lost", [False, True])
@pytest.mark.parametrize("method", ["ControllerExpandVolume", "NodeExpandVolume"])
def test_every_code_on_both_calls_ends_with_the_volume_grown(method: str, lost: bool) -> None:
    for code in _codes():
        driver = Driver()
        driver.script[method] = [("lost", code) if lost else code]
        world = make_world(driver)
        run_pod(world)
        ask(world, "20Gi")
        world.settle(seconds=1300)
        if code is CsiCode.FAILED_PRECONDITION:
            # the controller waits until no pod uses the volume; a node has given up until its kubelet starts anew
            world.delete("Pod", "pod", grace=0)
            world.settle(seconds=700)
            world.restart()
            run_pod(world, "later")
        assert capacity(world) == ("20Gi", "20Gi"), code
        check_sizes(world, driver)
