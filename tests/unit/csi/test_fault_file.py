"""A plan of faults is read strictly: what is meant is told exactly, what is wrong in one line with its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from volsched.api import csi
from volsched.csi.fault_file import load_plan, parse_plan
from volsched.csi.faults import Fault, FaultPlan, Kind
from volsched.errors import CsiCode, InputError

MS = 1_000_000


def one(text: str) -> Fault:
    """The only fault of a plan, given as a flow map."""
    [fault] = parse_plan(f"faults: [{{{text}}}]").faults
    return fault


def test_everything_that_can_be_said() -> None:
    plan = parse_plan(
        """
        seed: 12
        faults:
        - name: all.selectors
          rpc: [CreateVolume, "Node*Volume"]
          match: [pvc-*, "*-x"]
          node: n?
          from: 500ms
          until: 1m30s
          calls: "1,3-4,7-"
          times: 2
          probability: 0.5
          delay: 250ms
          loseAnswer: DeadlineExceeded
          message: gone
        - error: unavailable
        - {crash: before, rpc: ControllerPublishVolume, match: v}
        - {crash: after}
        - {capacity: 10Gi}
        - {capacity: 250%, rpc: GetCapacity}
        - {notReady: 2m}
        - {notReady: 5s, rpc: Probe}
        """
    )
    assert plan.seed == 12
    first, *rest = plan.faults
    assert first == Fault(
        name="all.selectors",
        methods=frozenset(
            {"CreateVolume", "NodeStageVolume", "NodeUnstageVolume", "NodePublishVolume", "NodeUnpublishVolume", "NodeExpandVolume"}
        ),
        match=("pvc-*", "*-x"),
        node=("n?",),
        from_ns=500 * MS,
        until_ns=90_000 * MS,
        calls=((1, 1), (3, 4), (7, None)),
        times=2,
        probability=0.5,
        delay_ns=250 * MS,
        lose_answer=CsiCode.DEADLINE_EXCEEDED,
        message="gone",
    )
    assert first.kinds == (Kind.LOSE_ANSWER, Kind.DELAY)
    assert [fault.name for fault in rest] == [f"fault-{number}" for number in range(2, 9)]
    assert rest[0] == Fault(name="fault-2", error=CsiCode.UNAVAILABLE, methods=frozenset(csi.METHODS))
    assert [fault.crash for fault in rest[1:3]] == ["before", "after"]
    assert [(fault.capacity_bytes, fault.capacity_percent) for fault in rest[3:5]] == [(10 << 30, None), (None, 250)]
    assert rest[3].methods == {"GetCapacity"}
    assert [fault.not_ready_ns for fault in rest[5:]] == [120_000 * MS, 5_000 * MS]
    assert [sorted(fault.methods) for fault in rest[5:]] == [["CreateSnapshot", "CreateVolumeGroupSnapshot", "Probe"], ["Probe"]]


def test_an_empty_plan_and_json() -> None:
    assert parse_plan("faults: []") == FaultPlan()
    assert parse_plan('{"seed": 3, "faults": [{"crash": "after", "rpc": "CreateVolume"}]}') == FaultPlan(
        (Fault(name="fault-1", methods=frozenset({"CreateVolume"}), crash="after"),), 3
    )


@pytest.mark.parametrize(
    ("text", "calls"),
    [("3", ((3, 3),)), ("2-4", ((2, 4),)), ("5-", ((5, None),)), ("'1, 3'", ((1, 1), (3, 3))), ("[1, 2-3]", ((1, 1), (2, 3)))],
)
def test_call_numbers(text: str, calls: tuple[tuple[int, int | None], ...]) -> None:
    assert one(f"delay: 1s, calls: {text}").calls == calls


WRONG = [
    ("", "holds 0 documents, has to hold one: a map with `faults`"),
    ("faults: []\n---\nfaults: []", "holds 2 documents, has to hold one: a map with `faults`"),
    ("faults: [", "line 2: invalid YAML: "),
    ("- 1", "line 1: has to be a map with some of: seed, faults"),
    ("seed: 1", "line 1: `faults` has to be a list of faults"),
    ("faults: {}", "line 1, faults: `faults` has to be a list of faults"),
    ("seed: x\nfaults: []", "line 1, seed: is 'x', has to be a whole number"),
    ("faults: []\nfault: []", "line 2, fault: unknown key; known: seed, faults"),
    ("faults: []\nfaults: []", "faults: is given twice"),
    ("faults:\n- error: UNAVAILABLE\n  error: INTERNAL", "faults[0].error: is given twice"),
    ("faults:\n- crash", "line 2, faults[0]: has to be a map with some of: name, rpc, match"),
    ("faults:\n- {}", "line 2, faults[0]: does nothing; give it one of error, loseAnswer, crash, delay, notReady, capacity"),
    ("faults:\n- rpc: CreateVolume", "line 2, faults[0]: does nothing"),
    ("faults:\n- delay: 1s\n  on: CreateVolume", "line 3, faults[0].true: unknown key; known: name, rpc"),
    (
        "faults:\n- {delay: 1s, error: INTERNAL, crash: after}",
        "line 2, faults[0].crash: cannot go together with error; make two faults of it",
    ),
    ("faults:\n- {loseAnswer: UNKNOWN, error: INTERNAL}", "faults[0].loseAnswer: cannot go together with error"),
    ("faults:\n- {notReady: 1s, capacity: 1Gi}", "faults[0].notReady: cannot go together with capacity"),
    ("faults:\n- {delay: 1s, message: m}", "faults[0].message: is the text of error or loseAnswer, and there is neither"),
    ("faults:\n- {error: INTERNAL, message: ''}", "faults[0].message: is '', has to be a text"),
    ("faults:\n- {error: OK}", "faults[0].error: is 'OK', has to be the name of a gRPC code that is no success, like UNAVAILABLE"),
    ("faults:\n- {error: 14}", "faults[0].error: is 14, has to be the name of a gRPC code"),
    ("faults:\n- {crash: now}", "faults[0].crash: is 'now', has to be before or after"),
    ("faults:\n- {delay: 5}", "faults[0].delay: is 5, has to be a duration like 500ms, 8s or 1m30s"),
    ("faults:\n- {delay: -5s}", "faults[0].delay: is '-5s', has to be a duration"),
    ("faults:\n- {delay: 0}", "faults[0].delay: has to be longer than nothing"),
    ("faults:\n- {notReady: true}", "faults[0].notReady: is true, has to be a duration"),
    ("faults:\n- {capacity: some}", "faults[0].capacity: is 'some', has to be bytes like 10Gi or a part of the truth like 50%"),
    ("faults:\n- {capacity: -1}", "faults[0].capacity: is -1, has to be bytes"),
    ("faults:\n- {capacity: 1.5%}", "faults[0].capacity: is '1.5%', has to be bytes"),
    (
        "faults:\n- {capacity: 10E, rpc: GetCapacity, name: big}\n- {capacity: 1Gi, rpc: Probe}",
        "faults[1].rpc: capacity is about GetCapacity, not Probe",
    ),
    (
        "faults:\n- {notReady: 1s, rpc: [Probe, CreateVolume]}",
        "faults[0].rpc: notReady is about CreateSnapshot, CreateVolumeGroupSnapshot, Probe, not",
    ),
    ("faults:\n- {delay: 1s, rpc: Createvolume}", "faults[0].rpc: 'Createvolume' is no CSI call; calls are named CreateVolume"),
    ("faults:\n- {delay: 1s, rpc: []}", "faults[0].rpc: is an empty list; leave it out to mean any"),
    ("faults:\n- {delay: 1s, rpc: [Probe, 3]}", "faults[0].rpc[1]: is 3, has to be a name or a pattern in quotes"),
    ("faults:\n- {delay: 1s, match: }", "faults[0].match: is empty, has to be a name or a pattern in quotes"),
    ("faults:\n- {delay: 1s, node: {a: b}}", "faults[0].node: is a map, has to be a name"),
    ("faults:\n- {delay: 1s, calls: 0}", 'faults[0].calls: is 0, has to be numbers of calls from 1: 3, "2-4", "5-" or "1,3,7-"'),
    ("faults:\n- {delay: 1s, calls: 4-2}", "faults[0].calls: is '4-2', has to be"),
    ("faults:\n- {delay: 1s, calls: -3}", "faults[0].calls: is -3, has to be"),
    ("faults:\n- {delay: 1s, calls: 1.5}", "faults[0].calls: is 1.5, has to be"),
    ("faults:\n- {delay: 1s, calls: []}", "faults[0].calls: is an empty list; leave it out to mean every call"),
    ("faults:\n- {delay: 1s, probability: 0}", "faults[0].probability: is 0, has to be above 0 and at most 1"),
    ("faults:\n- {delay: 1s, probability: 1.1}", "faults[0].probability: is 1.1, has to be above 0"),
    ("faults:\n- {delay: 1s, probability: yes}", "faults[0].probability: is true, has to be above 0"),
    ("faults:\n- {delay: 1s, times: 0}", "faults[0].times: is 0, has to be a number from 1"),
    ("faults:\n- {delay: 1s, from: 2s, until: 2s}", "faults[0].until: has to be later than `from`"),
    ("faults:\n- {delay: 1s, name: 'a b'}", "faults[0].name: is 'a b', has to be 1 to 63 letters"),
    ("faults:\n- {delay: 1s, name: fault-2}\n- {delay: 1s}", "faults[1].name: fault-2 is the name of another fault"),
]


@pytest.mark.parametrize(("text", "expected"), WRONG)
def test_what_is_wrong_is_one_line_with_its_place(text: str, expected: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_plan(text, source="plan.yaml")
    said = str(caught.value)
    assert said.startswith("plan.yaml")
    assert expected in said
    assert "\n" not in said


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "faults.yaml"
    path.write_text("faults: [{crash: after}]\n")
    assert len(load_plan(path).faults) == 1
    path.write_bytes(b"faults: []\n# \xff\n")
    with pytest.raises(InputError, match=r"faults\.yaml, line 2: not UTF-8 text"):
        load_plan(path)
    for missing in (tmp_path / "none.yaml", tmp_path):
        with pytest.raises(InputError, match=rf"{missing}: cannot be read: "):
            load_plan(missing)
