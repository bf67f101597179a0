"""CSIStorageCapacity objects: one for each segment and class, refreshed, repaired, removed."""

from __future__ import annotations

from typing import Any

from lightkube.models.meta_v1 import LabelSelector, ObjectMeta, OwnerReference
from lightkube.models.storage_v1 import CSIStorageCapacity

from tests.builders import DRIVER, ZONE, make_class, make_csinode, make_node
from tests.unit.controllers.csi_harness import ALL_CAPABILITIES, World
from tests.unit.controllers.test_provisioner import claim, driver_of, make_objects, start
from volsched.controllers.provisioner_options import ProvisionerOptions
from volsched.errors import CsiCode

GI = 1 << 30


def make_world(*, wait: bool = True, options: dict[str, Any] | None = None, **driver: Any) -> World:
    world = World()
    make_objects(world, wait=wait, **{"capacity": {"a": 5 * GI, "b": 7 * GI}, **driver})
    start(world, ProvisionerOptions(enable_capacity=True, **(options or {})))
    world.settle()
    return world


def published(world: World) -> dict[tuple[str, str], str | None]:
    """(class, zone) -> capacity; every object has to be well formed."""
    found: dict[tuple[str, str], str | None] = {}
    for obj in world.api.list("CSIStorageCapacity"):
        assert obj.metadata.name.startswith("csisc-") and obj.metadata.namespace == "default"
        assert obj.metadata.labels == {"csi.storage.k8s.io/drivername": DRIVER, "csi.storage.k8s.io/managed-by": "external-provisioner"}
        labels = obj.nodeTopology.matchLabels or {}
        key = (obj.storageClassName, labels.get(ZONE, ""))
        assert key not in found, "two objects for one pair"
        found[key] = obj.capacity
    return found


def asked(world: World) -> list[dict[str, str]]:
    return [request.accessible_topology.segments for request in driver_of(world).called("GetCapacity")]


def test_every_segment_and_class_has_an_object() -> None:
    world = make_world()
    assert published(world) == {("fast", "a"): "5Gi", ("fast", "b"): "7Gi"}
    world.create(make_class("slow", parameters={"type": "hdd", "csi.storage.k8s.io/fstype": "xfs"}), make_class("now", wait=False))
    world.settle()
    assert set(published(world)) == {("fast", "a"), ("fast", "b"), ("slow", "a"), ("slow", "b")}
    last = driver_of(world).called("GetCapacity")[-1]
    assert last.parameters == {"type": "hdd", "csi.storage.k8s.io/fstype": "xfs"}, "unstripped"
    assert last.volume_capabilities == []


def test_capacity_is_polled_and_written_only_when_it_changed() -> None:
    world = make_world()
    writes = len(world.writes)
    world.settle(for_s=61)
    assert len(asked(world)) == 4 and len(world.writes) == writes
    driver_of(world).capacity["a"] = 1 * GI
    world.settle(for_s=61)
    assert published(world)["fast", "a"] == "1Gi"
    assert len(world.writes) == writes + 1


def test_a_provisioning_refreshes_exactly_the_volumes_topology() -> None:
    world = make_world()
    driver_of(world).calls.clear()
    driver_of(world).capacity["b"] = 2 * GI
    world.create(claim(selected_node="node-2"))
    world.settle()
    assert asked(world) == [{ZONE: "b"}]
    assert published(world) == {("fast", "a"): "5Gi", ("fast", "b"): "2Gi"}
    driver_of(world).calls.clear()
    world.delete("PersistentVolumeClaim", "data")
    world.settle()
    assert asked(world) == [{ZONE: "b"}]


def test_a_failed_provisioning_refreshes_the_whole_class() -> None:
    world = make_world()
    driver_of(world).calls.clear()
    driver_of(world).script["CreateVolume"] = [CsiCode.RESOURCE_EXHAUSTED]
    world.create(claim(selected_node="node-1"))
    world.settle()
    assert sorted(segment[ZONE] for segment in asked(world)) == ["a", "b"]


def test_objects_follow_nodes_and_classes() -> None:
    world = make_world()
    world.create(make_node("node-3", labels={ZONE: "c"}))
    world.settle()
    assert ("fast", "c") not in published(world), "the driver is not there yet"
    world.create(make_csinode("node-3"))
    world.settle()
    assert published(world)["fast", "c"] == "0"
    world.delete("CSINode", "node-3")
    world.settle()
    assert ("fast", "c") not in published(world)
    world.delete("StorageClass", "fast")
    world.settle()
    assert published(world) == {}


def test_removed_objects_are_made_again_and_duplicates_removed() -> None:
    world = make_world()
    first = world.api.list("CSIStorageCapacity")[0]
    world.delete("CSIStorageCapacity", first.metadata.name)
    world.settle()
    assert set(published(world)) == {("fast", "a"), ("fast", "b")}
    labels = first.metadata.labels
    world.create(
        CSIStorageCapacity(
            metadata=ObjectMeta(name="csisc-zz", namespace="default", labels=labels),
            storageClassName="fast",
            nodeTopology=LabelSelector(matchLabels={ZONE: "a"}),
        ),
        CSIStorageCapacity(metadata=ObjectMeta(name="by-hand", namespace="default"), storageClassName="fast"),
    )
    world.settle()
    assert world.find("CSIStorageCapacity", "csisc-zz") is None
    assert world.find("CSIStorageCapacity", "by-hand") is not None, "not ours"


def test_a_restart_takes_over_what_is_there() -> None:
    world = make_world()
    names = [obj.metadata.name for obj in world.api.list("CSIStorageCapacity")]
    world.processes.clear()
    start(world, ProvisionerOptions(enable_capacity=True))
    world.settle()
    assert [obj.metadata.name for obj in world.api.list("CSIStorageCapacity")] == names


def test_a_driver_without_topology_keys_has_one_segment_for_all_nodes() -> None:
    world = World()
    world.driver(capacity={"": 3 * GI})
    world.create(make_node(), make_csinode(keys=()), make_class())
    owner = OwnerReference(apiVersion="apps/v1", kind="Deployment", name="plugin", uid="u")
    start(world, ProvisionerOptions(enable_capacity=True, capacity_owner=owner))
    world.settle()
    (obj,) = world.api.list("CSIStorageCapacity")
    assert obj.nodeTopology is not None and not obj.nodeTopology.matchLabels
    assert obj.capacity == "3Gi" and obj.metadata.ownerReferences == [owner]
    assert driver_of(world).called("GetCapacity")[0].accessible_topology is not None


def test_nothing_is_published_without_the_capability() -> None:
    world = make_world(controller=ALL_CAPABILITIES - {"GET_CAPACITY"})
    world.settle(for_s=120)
    assert published(world) == {} and asked(world) == []
