"""Every rule about group snapshots notices when it is broken, and a healthy group breaks none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.builders import make_class, make_csinode, make_group_class, make_group_snapshot, make_node, make_pvc
from tests.simulation.player import ENGINE
from tests.unit.app.breakable import DRIVER, Breakable
from volsched.api import csi
from volsched.api.edit import replace, with_finalizers
from volsched.api.kinds import key_of
from volsched.app.cluster import Cluster, DriverSettings
from volsched.app.invariants import check_quiet
from volsched.controllers.snapshot_group_names import GROUP_CONTENT_FINALIZER
from volsched.csi.profile import full


class World(Breakable):
    """A cluster at rest: group `both` of the claims `a` and `b`."""

    def __init__(self, policy: str = "Delete") -> None:
        super().__init__(Cluster(engine=ENGINE, kubelet="instant", drivers=[DriverSettings(profile=full())]))
        self.create(make_node("n1", zone="a"))
        self.create(make_csinode("n1", drivers={DRIVER: None}))
        self.create(make_class("imm", provisioner=DRIVER, wait=False))
        self.create(make_group_class("groups", driver=DRIVER, policy=policy))
        for name in ("a", "b"):
            self.create(make_pvc(name, storage_class="imm", labels={"app": "db"}))
        self.rest()
        self.create(make_group_snapshot("both", select={"app": "db"}))
        self.rest()

    @property
    def group(self) -> Any:
        return self.cluster.get("VolumeGroupSnapshot", "both")

    @property
    def content(self) -> Any:
        (found,) = self.cluster.list("VolumeGroupSnapshotContent")
        return found

    def broken(self) -> set[str]:
        return {violation.rule for violation in check_quiet(self.cluster, self.witness)}


def two_of_a_name(world: World) -> None:
    state = world.fake._storage.state
    (group,) = world.fake.groups()
    with state.change() as change:
        change.put(replace(group, group_snapshot_id="group-twin"))


def deleted_under_a_group_that_lives(world: World) -> None:
    handle = world.content.status.volumeGroupSnapshotHandle
    ids = list(world.fake.groups()[0].snapshot_ids)
    request = csi.DeleteVolumeGroupSnapshotRequest(group_snapshot_id=handle, snapshot_ids=ids)
    world.call("DeleteVolumeGroupSnapshot", request)


def without_an_owner(world: World) -> None:
    (volume, *_) = world.fake.volumes()
    world.fake.call("CreateVolumeGroupSnapshot", csi.CreateVolumeGroupSnapshotRequest(name="stray", source_volume_ids=[volume.volume_id]))


def without_its_finalizer(world: World) -> None:
    world.stop()
    world.cluster.store.update(with_finalizers(world.content, remove=[GROUP_CONTENT_FINALIZER]), user="somebody")


def without_a_word(world: World) -> None:
    world.stop()
    world.create(make_group_snapshot("silent", select={"app": "db"}))


def deletion_that_nobody_ends(world: World) -> None:
    world.stop()
    world.cluster.delete("VolumeGroupSnapshot", "default", "both")


BREAKS: list[tuple[str, Callable[[World], None]]] = [
    ("one-per-name", two_of_a_name),
    ("snapshot-deletion", deleted_under_a_group_that_lives),
    ("snapshot-owner", without_an_owner),
    ("finalizer", without_its_finalizer),
    ("silence", without_a_word),
    ("finalizer", deletion_that_nobody_ends),
]


@pytest.mark.parametrize(("rule", "break_it"), BREAKS, ids=lambda item: getattr(item, "__name__", ""))
def test_a_broken_rule_is_named(rule: str, break_it: Callable[[World], None]) -> None:
    world = World()
    assert world.group.status.readyToUse
    assert world.broken() == set()
    break_it(world)
    assert rule in world.broken()


def test_a_deleted_group_leaves_nothing() -> None:
    world = World()
    world.cluster.delete("VolumeGroupSnapshot", "default", "both")
    world.rest()
    assert not world.fake.groups()
    assert not world.fake.snapshots()
    assert world.broken() == set()


def test_a_policy_explains_what_is_left() -> None:
    world = World("Retain")
    world.cluster.delete("VolumeGroupSnapshot", "default", "both")
    world.rest()
    world.cluster.delete(*key_of(world.content))
    world.rest()
    assert len(world.fake.groups()) == 1
    assert world.broken() == set()
