"""The provisioner's tables, walked over every combination."""

from __future__ import annotations

import itertools

import pytest

from volsched.controllers.decision_table import DecisionTable, matches
from volsched.controllers.provisioner_tables import (
    CHECK_STATE,
    CREATE_OUTCOME,
    EFFECTS,
    FINALIZER,
    PROVISIONING,
    Check,
    FinalizerRow,
    ProvisioningRow,
    Refusal,
    State,
    create_outcome,
    should_delete,
)
from volsched.errors import CsiCode

TABLES = {"provisioning": PROVISIONING, "finalizer": FINALIZER}


@pytest.mark.parametrize("name", TABLES)
def test_every_combination_meets_exactly_one_row_and_every_row_is_met(name: str) -> None:
    table: DecisionTable[object] = TABLES[name]
    for facts in table.combinations():
        met = [row for row, cells in table.rows if all(map(matches, cells, facts.values()))]
        assert len(met) == 1, (facts, met)
    assert table.unreachable() == []


def test_an_attempt_needs_everything_at_once() -> None:
    for facts in PROVISIONING.combinations():
        ready = facts["ours"] and facts["class_found"] and facts["class_ours"] and (facts["node_selected"] or not facts["waits"])
        wanted = ready and not facts["volume_named"] and not facts["volume_exists"]
        assert (PROVISIONING.decide(**facts) is ProvisioningRow.GO) == wanted


def test_every_check_and_every_code_has_a_state_and_every_state_an_effect() -> None:
    assert set(CHECK_STATE) == set(Check)
    assert set(CREATE_OUTCOME) == set(CsiCode)
    assert set(EFFECTS) == set(State)
    for check in Check:
        assert Refusal(check, "why").state is CHECK_STATE[check]


# fmt: off
OUTCOMES = [
    # code                        plain                with topology and a selected node
    (CsiCode.CANCELLED,           State.IN_BACKGROUND, State.IN_BACKGROUND),
    (CsiCode.DEADLINE_EXCEEDED,   State.IN_BACKGROUND, State.IN_BACKGROUND),
    (CsiCode.UNAVAILABLE,         State.IN_BACKGROUND, State.IN_BACKGROUND),
    (CsiCode.ABORTED,             State.IN_BACKGROUND, State.IN_BACKGROUND),
    (CsiCode.RESOURCE_EXHAUSTED,  State.FINISHED,      State.RESCHEDULE),
    (CsiCode.INVALID_ARGUMENT,    State.INFEASIBLE,    State.INFEASIBLE),
    (CsiCode.INTERNAL,            State.FINISHED,      State.FINISHED),
    (CsiCode.OUT_OF_RANGE,        State.FINISHED,      State.FINISHED),
    (CsiCode.NOT_FOUND,           State.FINISHED,      State.FINISHED),
]
# fmt: on


@pytest.mark.parametrize(("code", "plain", "with_node"), OUTCOMES)
def test_what_a_code_of_create_volume_means(code: CsiCode, plain: State, with_node: State) -> None:
    for topology, node in itertools.product((False, True), repeat=2):
        wanted = with_node if topology and node else plain
        assert create_outcome(code, has_topology=topology, node_selected=node) is wanted


def test_only_released_volumes_with_policy_delete_are_deleted() -> None:
    phases = ("Pending", "Available", "Bound", "Released", "Failed")
    for ours, policy, phase, deleting, held in itertools.product((False, True), (False, True), phases, (False, True), (False, True)):
        wanted = ours and policy and phase == "Released" and (held or not deleting)
        assert should_delete(ours=ours, policy_delete=policy, phase=phase, deleting=deleting, held=held) == wanted


def test_a_volume_that_is_kept_loses_the_finalizer() -> None:
    for facts in FINALIZER.combinations():
        row = FINALIZER.decide(**facts)
        if facts["ours"] and not facts["policy_delete"]:
            assert row is (FinalizerRow.REMOVE if facts["held"] else FinalizerRow.KEEP)
        if row is FinalizerRow.ADD:
            assert facts["bound"] and not facts["deleting"] and not facts["held"]
