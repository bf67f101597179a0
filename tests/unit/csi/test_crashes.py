"""A driver that dies between any two writes, starts again and is asked again ends exactly where one that never died does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.csi.test_state import ListJournal
from tests.unit.csi.world import GIB, START_NS, ZONE_KEY, capability, create, full
from volsched.api import csi
from volsched.csi.backend import FakeDriver
from volsched.csi.data import MemoryData, Ref
from volsched.csi.state import Row
from volsched.env.clock import VirtualClock
from volsched.errors import CsiError

Step = tuple[Any, ...]
CAN = capability("MULTI_NODE_MULTI_WRITER")


class Died(BaseException):
    """The process is gone."""


class DyingJournal(ListJournal):
    """Dies before or after the writes it is told to."""

    def __init__(self, deaths: dict[int, str]) -> None:
        super().__init__()
        self.deaths = deaths
        self.writes = 0

    def write(self, puts: Sequence[Row], drops: Sequence[tuple[str, str]]) -> None:
        self.writes += 1
        death = self.deaths.pop(self.writes, "")
        if death == "before":
            raise Died
        super().write(puts, drops)
        if death == "after":
            raise Died


class Restarting:
    """A driver on a journal and disks that outlive it, and a caller that asks again when it died."""

    def __init__(self, deaths: dict[int, str]) -> None:
        self.journal = DyingJournal(deaths)
        self.data = MemoryData()
        self.died = 0
        self.start()

    def start(self) -> None:
        self.driver = FakeDriver(full(zone_names=["a", "b"]), clock=VirtualClock(START_NS), data=self.data, journal=self.journal)

    def insist(self, work: Callable[[], Any]) -> Any:
        while True:
            try:
                return work()
            except Died:
                self.died += 1
                while True:
                    try:
                        self.start()
                        break
                    except Died:  # while it registers a node
                        self.died += 1
                self.check()

    def call(self, request: csi.Message, node: str = "") -> Any:
        method = type(request).__name__.removesuffix("Request")
        return self.insist(lambda: self.driver.call(method, request, node=node))

    def check(self) -> None:
        """Right after a start every record has its bytes, and nothing else has."""
        named = {Ref("volumes", record.volume_id) for record in self.driver.volumes()}
        named |= {Ref("snapshots", record.snapshot_id) for record in self.driver.snapshots()}
        kept = {Ref(item["group"], item["name"]) for item in self.data.export()["content"]}
        assert kept == named
        members = [snapshot_id for group in self.driver.groups() for snapshot_id in group.snapshot_ids]
        assert sorted(members) == sorted(record.snapshot_id for record in self.driver.snapshots() if record.group_snapshot_id)


def play(here: Restarting, steps: Sequence[Step]) -> list[Any]:
    """Carry out every step; what came of each."""
    for node, zone in (("n1", "a"), ("n2", "b")):
        here.insist(lambda node=node, zone=zone: here.driver.register_node(node, {ZONE_KEY: zone}))
    return [_outcome(here, step) for step in steps]


def _outcome(here: Restarting, step: Step) -> Any:
    kind, *rest = step
    try:
        match kind:
            case "create":
                name, zone, size = rest
                return here.call(create(f"v{name}", size=size * GIB, requisite=[zone], modes=["MULTI_NODE_MULTI_WRITER"]))
            case "restore":
                name, snapshot = rest
                return here.call(create(f"v{name}", snapshot=f"snap-000{snapshot}", modes=["MULTI_NODE_MULTI_WRITER"]))
            case "delete":
                return here.call(csi.DeleteVolumeRequest(volume_id=f"vol-000{rest[0]}"))
            case "grow":
                more = csi.CapacityRange(required_bytes=rest[1] * GIB)
                return here.call(csi.ControllerExpandVolumeRequest(volume_id=f"vol-000{rest[0]}", capacity_range=more))
            case "modify":
                return here.call(
                    csi.ControllerModifyVolumeRequest(volume_id=f"vol-000{rest[0]}", mutable_parameters={"iops": str(rest[1])})
                )
            case "cut":
                return here.call(csi.CreateSnapshotRequest(name=f"s{rest[0]}", source_volume_id=f"vol-000{rest[1]}"))
            case "uncut":
                return here.call(csi.DeleteSnapshotRequest(snapshot_id=f"snap-000{rest[0]}"))
            case "group":
                ids = [f"vol-000{number}" for number in sorted(rest[1])]
                return here.call(csi.CreateVolumeGroupSnapshotRequest(name=f"g{rest[0]}", source_volume_ids=ids))
            case "ungroup":
                made = {group.group_snapshot_id: group.snapshot_ids for group in here.driver.groups()}
                name = f"group-000{rest[0]}"
                return here.call(csi.DeleteVolumeGroupSnapshotRequest(group_snapshot_id=name, snapshot_ids=made.get(name, [])))
            case "mount":
                number, node = rest
                volume, staging = f"vol-000{number}", f"/s/{number}"
                here.call(csi.ControllerPublishVolumeRequest(volume_id=volume, node_id=node, volume_capability=CAN))
                here.call(csi.NodeStageVolumeRequest(volume_id=volume, staging_target_path=staging, volume_capability=CAN), node)
                publish = csi.NodePublishVolumeRequest(
                    volume_id=volume, staging_target_path=staging, target_path=f"/t/{number}", volume_capability=CAN
                )
                here.call(publish, node)
                return here.data.write(node=node, target=f"/t/{number}", name="f", data=repr(step).encode())
            case _:
                number, node = rest
                volume = f"vol-000{number}"
                here.call(csi.NodeUnpublishVolumeRequest(volume_id=volume, target_path=f"/t/{number}"), node)
                here.call(csi.NodeUnstageVolumeRequest(volume_id=volume, staging_target_path=f"/s/{number}"), node)
                return here.call(csi.ControllerUnpublishVolumeRequest(volume_id=volume, node_id=node))
    except CsiError as error:
        return str(error)


SMALL = st.integers(1, 4)
NODES = st.sampled_from(["n1", "n2"])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("create"), SMALL, st.sampled_from(["a", "b"]), st.integers(1, 3)),
        st.tuples(st.just("create"), SMALL, st.sampled_from(["a", "b"]), st.integers(1, 3)),
        st.tuples(st.just("restore"), SMALL, SMALL),
        st.tuples(st.just("delete"), SMALL),
        st.tuples(st.just("grow"), SMALL, st.integers(1, 5)),
        st.tuples(st.just("modify"), SMALL, SMALL),
        st.tuples(st.just("cut"), SMALL, SMALL),
        st.tuples(st.just("uncut"), SMALL),
        st.tuples(st.just("group"), SMALL, st.frozensets(SMALL, min_size=1, max_size=3)),
        st.tuples(st.just("ungroup"), SMALL),
        st.tuples(st.just("mount"), SMALL, NODES),
        st.tuples(st.just("unmount"), SMALL, NODES),
    ),
    min_size=3,
    max_size=25,
)


@settings(max_examples=150, deadline=None)
@given(steps=STEPS, deaths=st.dictionaries(st.integers(1, 40), st.sampled_from(["before", "after"]), max_size=12))
def test_a_driver_that_dies_ends_where_one_that_lives_does(steps: list[Step], deaths: dict[int, str]) -> None:
    steps = [("create", 1, "a", 1), ("create", 2, "b", 2), *steps]
    living, dying = Restarting({}), Restarting(dict(deaths))
    assert play(dying, steps) == play(living, steps)
    assert dying.driver.export_state() == living.driver.export_state()
    dying.start()  # what a start reads is all there is
    assert dying.driver.export_state() == living.driver.export_state()
    dying.check()


@pytest.mark.parametrize("when", ["before", "after"])
def test_every_single_death_of_one_story(when: str) -> None:
    story: list[Step] = [
        ("create", 1, "a", 1),
        ("create", 2, "a", 1),
        ("mount", 1, "n1"),
        ("mount", 2, "n1"),
        ("group", 1, frozenset({1, 2})),
        ("cut", 1, 1),
        ("restore", 3, 2),
        ("grow", 3, 4),
        ("modify", 3, 1),
        ("unmount", 1, "n1"),
        ("uncut", 3),
        ("uncut", 1),
        ("ungroup", 1),
        ("unmount", 2, "n1"),
        ("delete", 2),
        ("delete", 1),
    ]
    living = Restarting({})
    expected = play(living, story)
    assert [text for text in expected if isinstance(text, str)] == [
        "rpc error: code = InvalidArgument desc = snapshot snap-0001 belongs to group group-0001; delete the group"
    ]
    for write in range(1, living.journal.writes + 1):
        dying = Restarting({write: when})
        assert play(dying, story) == expected, write
        assert dying.died == 1
        assert dying.driver.export_state() == living.driver.export_state(), write
