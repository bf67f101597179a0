"""Volumes that change attributes: the wish, the driver's answers, a wish taken back, interruptions at every write."""

from __future__ import annotations

from typing import Any

import pytest
from lightkube.models.core_v1 import Secret
from lightkube.models.meta_v1 import ObjectMeta

from tests.unit.controllers.growing import Driver, attributes_class, conditions, make_world, name_class
from tests.unit.controllers.harness import World, same_end_whatever_happens
from volsched.api.edit import with_annotations
from volsched.controllers.modifier_table import MODIFY, ModifyRow
from volsched.controllers.provisioner_options import MODIFY_SECRET_NAME, MODIFY_SECRET_NAMESPACE
from volsched.controllers.resizer import ResizerOptions
from volsched.errors import CsiCode


def world_with_classes(driver: Driver | None = None, **options: Any) -> World:
    world = make_world(driver, kubelet=False, **options)
    world.create(attributes_class("gold", iops="3000"))
    world.create(attributes_class("silver", iops="1000"))
    world.create(attributes_class("foreign", driver="other.example.com", iops="1"))
    return world


def state(world: World) -> tuple[str, str, str | None, str | None]:
    """(word, target, class in force, the volume's class)"""
    status = world.claim("data").status
    mark = status.modifyVolumeStatus
    word, target = (mark.status, mark.targetVolumeAttributesClassName or "") if mark else ("", "")
    return word, target, status.currentVolumeAttributesClassName, world.volume("pv-data").spec.volumeAttributesClassName


def test_every_combination_meets_a_row_and_every_row_is_met() -> None:
    for facts in MODIFY.combinations():
        MODIFY.decide(**facts)
    assert MODIFY.unreachable() == []
    assert {row for row, _ in MODIFY.rows} == set(ModifyRow)


def test_a_volume_gets_the_attributes_of_the_class_its_claim_names() -> None:
    driver = Driver()
    world = world_with_classes(driver)
    name_class(world, "gold")
    world.settle()
    assert state(world) == ("", "", "gold", "gold") and conditions(world) == {}
    assert driver.attributes["vol-data"] == {"iops": "3000"}
    assert [(event.type, event.reason, event.message) for event in world.events] == [
        ("Normal", "VolumeModify", "external resizer is modifying volume data with vac gold"),
        ("Normal", "VolumeModifySuccessful", "external resizer modified volume data with vac gold successfully "),
    ]
    assert [line for line in world.writes if line.startswith("csi-resizer")] == [
        "csi-resizer update PersistentVolumeClaim/status data",
        "csi-resizer update PersistentVolume pv-data",
        "csi-resizer update PersistentVolumeClaim/status data",
    ]
    name_class(world, "silver")
    world.settle()
    assert state(world) == ("", "", "silver", "silver") and driver.attributes["vol-data"] == {"iops": "1000"}


@pytest.mark.parametrize(
    ("name", "text"),
    [("none", "VAC none does not exist."), ("foreign", "VAC foreign is of driver other.example.com, not of csi.example.com.")],
)
def test_a_class_that_cannot_be_had_leaves_the_claim_pending_until_the_resync(name: str, text: str) -> None:
    driver = Driver()
    world = world_with_classes(driver)
    name_class(world, name)
    world.settle(seconds=30)
    assert state(world) == ("Pending", "", None, None)
    assert world.messages("VolumeModifyFailed") == [text] and driver.called("ControllerModifyVolume") == []
    if name == "none":
        world.create(attributes_class("none", iops="7"))
        world.settle(seconds=601)
        assert state(world) == ("", "", "none", "none")


def test_an_infeasible_class_is_tried_again_after_five_minutes_and_another_at_once() -> None:
    driver = Driver()
    driver.script["ControllerModifyVolume"] = [CsiCode.INVALID_ARGUMENT] * 99
    world = world_with_classes(driver)
    name_class(world, "gold")
    world.settle(seconds=290)
    assert state(world) == ("Infeasible", "gold", None, None)
    problem = "rpc error: code = InvalidArgument desc = scripted failure"
    assert conditions(world) == {"ModifyingVolume": f"ModifyVolume failed with error{problem}. Waiting for retry."}
    assert world.messages("VolumeModifyFailed") == [problem]
    assert len(driver.called("ControllerModifyVolume")) == 1
    world.settle(seconds=20)
    assert len(driver.called("ControllerModifyVolume")) == 2
    driver.script.clear()
    name_class(world, "silver")
    world.settle()
    assert state(world) == ("", "", "silver", "silver")


def test_other_errors_are_tried_again_with_backoff() -> None:
    driver = Driver()
    driver.script["ControllerModifyVolume"] = [CsiCode.INTERNAL, CsiCode.UNAVAILABLE]
    world = world_with_classes(driver)
    name_class(world, "gold")
    world.settle()
    assert state(world)[0] == "InProgress"
    problem = "rpc error: code = Internal desc = scripted failure"
    assert conditions(world) == {"ModifyVolumeError": f"ModifyVolume failed with error: {problem}. Waiting for retry."}
    world.settle(seconds=10)
    assert state(world) == ("", "", "gold", "gold") and len(driver.called("ControllerModifyVolume")) == 3


def test_a_wish_taken_back_while_the_driver_may_have_begun_is_put_right() -> None:
    driver = Driver()
    world = world_with_classes(driver)
    name_class(world, "silver")
    world.settle()
    driver.script["ControllerModifyVolume"] = [("lost", CsiCode.DEADLINE_EXCEEDED)]
    name_class(world, "gold")
    world.settle()
    assert driver.attributes["vol-data"] == {"iops": "3000"} and state(world)[:2] == ("InProgress", "gold")
    name_class(world, "silver")
    world.settle(seconds=30)
    assert driver.attributes["vol-data"] == {"iops": "1000"} and state(world) == ("", "", "silver", "silver")


def test_a_wish_taken_back_after_a_refusal_is_forgotten() -> None:
    driver = Driver()
    driver.script["ControllerModifyVolume"] = [CsiCode.INVALID_ARGUMENT]
    world = world_with_classes(driver)
    name_class(world, "gold")
    world.settle()
    name_class(world, None)
    world.settle(seconds=900)
    assert state(world) == ("", "", None, None) and conditions(world) == {}
    assert len(driver.called("ControllerModifyVolume")) == 1


def test_a_first_class_taken_back_while_the_driver_may_have_begun_is_finished() -> None:
    driver = Driver()
    driver.script["ControllerModifyVolume"] = [("lost", CsiCode.UNAVAILABLE)]
    world = world_with_classes(driver)
    name_class(world, "gold")
    world.settle()
    name_class(world, None)
    world.settle(seconds=30)
    assert state(world) == ("", "", "gold", "gold"), "the truth about the volume"


def test_a_driver_that_cannot_modify_is_left_alone() -> None:
    driver = Driver(controller=("EXPAND_VOLUME",))
    world = world_with_classes(driver)
    name_class(world, "gold")
    world.settle(seconds=700)
    assert world.events == [] and state(world) == ("", "", None, None)


def test_secret_and_metadata_reach_the_driver() -> None:
    driver = Driver()
    world = world_with_classes(driver, options=ResizerOptions(extra_modify_metadata=True))
    world.edit(with_annotations(world.volume("pv-data"), {MODIFY_SECRET_NAME: "key", MODIFY_SECRET_NAMESPACE: "default"}))
    name_class(world, "gold")
    world.settle()
    assert world.messages("VolumeModifyFailed")[0].startswith("error getting secret key in namespace default")
    world.create(Secret(metadata=ObjectMeta(name="key", namespace="default"), stringData={"user": "admin"}))
    world.settle(seconds=10)
    (request,) = driver.called("ControllerModifyVolume")
    assert request.secrets == {"user": "admin"}
    assert request.mutable_parameters == {
        "iops": "3000",
        "csi.storage.k8s.io/pvc/name": "data",
        "csi.storage.k8s.io/pvc/namespace": "default",
        "csi.storage.k8s.io/pv/name": "pv-data",
    }


def test_interruptions_at_every_write_end_alike() -> None:
    def play(world: World) -> None:
        name_class(world, "gold")
        world.settle(seconds=60)
        name_class(world, "silver")
        world.settle(seconds=60)
        assert state(world) == ("", "", "silver", "silver") and conditions(world) == {}

    assert same_end_whatever_happens(play, world_with_classes, ignore=lambda summary: summary) >= 8


@pytest.mark.parametrize("lost", [False, True])
@pytest.mark.parametrize("code", [code for code in CsiCode if code is not CsiCode.OK])
def test_every_code_ends_with_the_volume_modified(code: CsiCode, lost: bool) -> None:
    driver = Driver()
    driver.script["ControllerModifyVolume"] = [("lost", code) if lost else code]
    world = world_with_classes(driver)
    name_class(world, "gold")
    world.settle(seconds=400)
    assert state(world) == ("", "", "gold", "gold")
