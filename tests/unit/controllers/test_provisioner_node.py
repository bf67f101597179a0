"""A provisioner on every node: each serves the claims and volumes of its own, and Immediate claims go to one that has room."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from tests.builders import DRIVER, ZONE, make_class, make_pv
from tests.unit.controllers.csi_harness import Fault, World
from tests.unit.controllers.test_provisioner import claim, driver_of, make_objects
from volsched.api.edit import annotations_of, with_annotations
from volsched.controllers.provisioner import Provisioner
from volsched.controllers.provisioner_options import ProvisionerOptions
from volsched.errors import CsiCode
from volsched.rules.volumes import ANN_SELECTED_NODE

NODES = {"node-1": "a", "node-2": "b"}
ROOM = 100 << 30


def make_world(*, wait: bool = False, room: dict[str, int] | None = None, nodes: Sequence[str] = tuple(NODES), **options: Any) -> World:
    """Zones a and b of one node each, with a provisioner of its own; so much room in each zone."""
    world = World()
    make_objects(world, wait=wait, capacity={"a": ROOM, "b": ROOM} if room is None else room)
    for node in nodes:
        settings = ProvisionerOptions(default_fstype="ext4", strict_topology=True, node=node, **options)
        world.run_decider(lambda settings=settings: Provisioner(world, DRIVER, options=settings))
    return world


def chosen(world: World, name: str = "data") -> str:
    return annotations_of(world.get("PersistentVolumeClaim", name)).get(ANN_SELECTED_NODE, "")


def requested_zones(world: World) -> list[str]:
    return [request.accessibility_requirements.requisite[0].segments[ZONE] for request in driver_of(world).called("CreateVolume")]


def test_a_claim_with_a_node_is_provisioned_by_that_nodes_instance_alone() -> None:
    world = make_world(wait=True)
    world.create(claim(annotations={ANN_SELECTED_NODE: "node-2"}))
    world.settle(for_s=90)
    assert requested_zones(world) == ["b"]
    assert world.messages("Provisioning") == ['External provisioner is provisioning volume for claim "default/data"']
    assert driver_of(world).called("GetCapacity") == []


def test_an_immediate_claim_is_taken_by_one_node_after_a_while_and_once() -> None:
    world = make_world()
    world.create(claim())
    world.settle()
    assert chosen(world) == "" and driver_of(world).called("CreateVolume") == []
    world.settle(for_s=25)
    assert requested_zones(world) == [NODES[chosen(world)]]
    assert world.get("PersistentVolumeClaim", "data").status.phase == "Bound"
    assert len(world.messages("Provisioning")) == 1


def test_the_waits_of_nodes_and_claims_differ() -> None:
    world = make_world()
    names = [f"data-{number}" for number in range(12)]
    world.create(*(claim(name) for name in names))
    world.settle(for_s=25)
    assert {chosen(world, name) for name in names} == set(NODES)


def test_a_node_without_room_does_not_reach_out_and_looks_again() -> None:
    world = make_world(room={"a": 0, "b": 0})
    world.create(claim())
    world.settle(for_s=120)
    assert chosen(world) == "" and world.messages("Provisioning") == []
    driver_of(world).capacity["b"] = ROOM
    world.settle(for_s=300)
    assert chosen(world) == "node-2" and requested_zones(world) == ["b"]


def test_a_driver_that_cannot_say_how_much_room_it_has_is_asked_for_the_volume() -> None:
    world = make_world()
    driver_of(world).script["GetCapacity"] = [CsiCode.INTERNAL] * 9
    world.create(claim())
    world.settle(for_s=25)
    assert requested_zones(world) == [NODES[chosen(world)]]


def test_an_exhausted_node_gives_the_claim_back_to_the_race() -> None:
    world = make_world()
    driver_of(world).script["CreateVolume"] = [CsiCode.RESOURCE_EXHAUSTED]
    world.create(claim())
    world.settle(for_s=60)
    assert len(requested_zones(world)) == 2
    assert world.get("PersistentVolumeClaim", "data").status.phase == "Bound"


def test_immediate_claims_may_be_left_alone() -> None:
    world = make_world(node_deployment_immediate_binding=False)
    world.create(claim())
    world.settle(for_s=120)
    assert chosen(world) == "" and driver_of(world).calls and driver_of(world).called("CreateVolume") == []


def test_allowed_topologies_keep_a_node_out_of_the_race() -> None:
    world = make_world()
    world.create(make_class("only-b", wait=False, allowed=[{ZONE: "b"}]))
    names = [f"data-{number}" for number in range(6)]
    world.create(*(claim(name, storage_class="only-b") for name in names))
    world.settle(for_s=25)
    assert {chosen(world, name) for name in names} == {"node-2"}


def test_a_claim_that_is_somebodys_meanwhile_is_not_taken_from_them() -> None:
    world = make_world()
    world.create(claim())
    world.settle()
    world.api.update(with_annotations(world.get("PersistentVolumeClaim", "data"), {ANN_SELECTED_NODE: "node-9"}))
    world.settle(for_s=90)
    assert chosen(world) == "node-9" and driver_of(world).called("CreateVolume") == []


def test_a_write_that_meets_another_is_tried_again_after_another_wait() -> None:
    world = make_world(nodes=["node-2"])
    world.create(claim())
    world.settle()
    world.faults[world.steps + 2] = Fault.CONFLICT  # the question for room, then the write
    world.settle(for_s=20)
    assert world.faults == {} and chosen(world) == ""
    world.settle(for_s=60)
    assert chosen(world) == "node-2" and requested_zones(world) == ["b"]
    assert len(driver_of(world).called("GetCapacity")) == 2


@pytest.mark.parametrize("zone", ["a", "b"])
def test_a_volume_is_deleted_by_the_instance_that_can_reach_it(zone: str) -> None:
    world = make_world()
    options = {"claim": "default/gone", "claim_uid": "gone", "phase": "Released", "reclaim": "Delete", "provisioned_by": DRIVER}
    world.create(make_pv("old", zone=zone, **options))
    world.settle(for_s=5)
    assert world.find("PersistentVolume", "old") is None
    assert len(driver_of(world).called("DeleteVolume")) == 1


def test_every_instance_publishes_the_capacity_of_its_own_node() -> None:
    world = make_world(wait=True, enable_capacity=True)
    world.settle(for_s=130)
    found = {item.nodeTopology.matchLabels[ZONE]: item.metadata.labels for item in world.api.list("CSIStorageCapacity")}
    managers = {zone: labels["csi.storage.k8s.io/managed-by"] for zone, labels in found.items()}
    assert managers == {zone: f"external-provisioner-{node}" for node, zone in NODES.items()}
    assert len(world.api.list("CSIStorageCapacity")) == 2
