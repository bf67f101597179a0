"""A driver behind a socket is registered on the node it names: labels, entry, attach limit; what is there already stays."""

from __future__ import annotations

from typing import Any

import pytest

from tests.builders import DRIVER, ZONE, make_csinode, make_node
from tests.unit.controllers.harness import World, same_end_whatever_happens
from volsched.api.csi import Message, NodeGetInfoResponse, ProbeResponse, Topology
from volsched.api.edit import labels_of, with_labels
from volsched.controllers.driver_registrar import COUNT_MAX, DriverRegistrar
from volsched.errors import CsiCode, CsiError
from volsched.ports import Call

RACK = "topology.example.com/rack"


def world(info: NodeGetInfoResponse | CsiError) -> World:
    def answer(call: Call) -> Message:
        if call.method == "Probe":
            return ProbeResponse()
        if isinstance(info, CsiError):
            raise info
        return info

    made = World(driver=answer)
    made.add(lambda: DriverRegistrar(DRIVER))
    return made


def info(*, limit: int = 0, **segments: str) -> NodeGetInfoResponse:
    topology = Topology(segments={{"zone": ZONE, "rack": RACK}[key]: value for key, value in segments.items()})
    return NodeGetInfoResponse(node_id="n1", max_volumes_per_node=limit, accessible_topology=topology if segments else None)


def entries(made: World, node: str = "n1") -> list[Any]:
    found = made.get("CSINode", node)
    return list(found.spec.drivers) if found is not None else []


def test_segments_become_labels_and_an_entry_with_sorted_keys() -> None:
    made = world(info(rack="r1", zone="a", limit=7))
    made.create(make_node("n1", labels={ZONE: "a"}))
    made.create(make_node("n2"))
    made.settle()
    (entry,) = entries(made)
    assert (entry.name, entry.nodeID, entry.topologyKeys, entry.allocatable.count) == (DRIVER, "n1", [RACK, ZONE], 7)
    assert labels_of(made.get("Node", "n1"))[RACK] == "r1"
    assert made.get("CSINode", "n1").metadata.ownerReferences[0].name == "n1"
    assert entries(made, "n2") == []


@pytest.mark.parametrize(("limit", "count"), [(0, None), (3, 3), (1 << 40, COUNT_MAX)])
def test_attach_limit(limit: int, count: int | None) -> None:
    """Trap 37: nought is no limit."""
    made = world(info(limit=limit))
    made.create(make_node("n1"))
    made.settle()
    (entry,) = entries(made)
    assert (entry.allocatable.count if entry.allocatable else None) == count


def test_a_label_of_another_value_stops_the_registration() -> None:
    made = world(info(zone="a"))
    made.create(make_node("n1", labels={ZONE: "b"}))
    made.settle(seconds=60)
    assert entries(made) == [] and labels_of(made.get("Node", "n1"))[ZONE] == "b"
    made.edit(with_labels(made.get("Node", "n1"), {ZONE: "a"}))
    made.settle(seconds=130)
    assert len(entries(made)) == 1


def test_entries_of_others_and_one_of_its_own_stay() -> None:
    made = world(info(zone="a", limit=7))
    made.create(make_node("n1"))
    made.create(make_csinode("n1", drivers={"other.example.com": 5}))
    made.settle()
    assert [entry.name for entry in entries(made)] == ["other.example.com", DRIVER]
    made = world(info(zone="a", limit=7))
    made.create(make_csinode("n1", drivers={DRIVER: 2}))
    made.create(make_node("n1"))
    made.settle()
    (entry,) = entries(made)
    assert entry.allocatable.count == 2 and ZONE not in labels_of(made.get("Node", "n1"))


@pytest.mark.parametrize("code", [CsiCode.UNIMPLEMENTED, CsiCode.FAILED_PRECONDITION])
def test_a_driver_that_runs_on_no_node_registers_nowhere(code: CsiCode) -> None:
    made = world(CsiError(code, "no node"))
    made.create(make_node("n1"))
    made.settle(seconds=60)
    assert made.get("CSINode", "n1") is None


def test_same_end_with_every_write_interrupted() -> None:
    def play(made: World) -> None:
        made.create(make_node("n1"))
        made.settle(seconds=10)

    same_end_whatever_happens(play, lambda: world(info(zone="a", limit=7)), ignore=lambda summary: summary)
