"""Every table of the snapshot controllers: each combination meets exactly one row, and every row is met by some combination."""

from __future__ import annotations

import pytest

from volsched.controllers import snapshot_group_tables as groups
from volsched.controllers import snapshot_tables as tables
from volsched.controllers.decision_table import DecisionTable, matches
from volsched.controllers.snapshot_sidecar_table import CREATE_FINAL, SIDECAR, SidecarRow
from volsched.errors import CsiCode, EngineError

TABLES = {
    "entry": tables.ENTRY,
    "sync": tables.SYNC,
    "ready": tables.READY,
    "prebound": tables.PREBOUND,
    "dynamic": tables.DYNAMIC,
    "deletion": tables.DELETION,
    "content": tables.CONTENT,
    "sidecar": SIDECAR,
    "group": groups.GROUP_TABLE,
    "group ready": groups.GROUP_READY,
    "group prebound": groups.GROUP_PREBOUND,
    "group dynamic": groups.GROUP_DYNAMIC,
    "group deletion": groups.GROUP_DELETION,
    "group content": groups.GROUP_CONTENT_TABLE,
    "group sidecar": groups.GROUP_SIDECAR,
}
UNORDERED = (
    "entry",
    "sync",
    "ready",
    "prebound",
    "dynamic",
    "content",
    "group",
    "group ready",
    "group prebound",
    "group dynamic",
    "group deletion",
    "group content",
)


@pytest.mark.parametrize("name", TABLES)
def test_every_combination_meets_a_row_and_every_row_is_met(name: str) -> None:
    table: DecisionTable[object] = TABLES[name]
    combinations = list(table.combinations())
    assert combinations
    for facts in combinations:
        table.decide(**facts)
    assert table.unreachable() == []


@pytest.mark.parametrize("name", UNORDERED)
def test_rows_of_the_unordered_tables_do_not_overlap(name: str) -> None:
    table: DecisionTable[object] = TABLES[name]
    for facts in table.combinations():
        values = tuple(facts.values())
        met = {row for row, cells in table.rows if all(map(matches, cells, values))}
        assert len(met) == 1, (facts, met)


def test_a_combination_without_a_row_is_refused_loudly() -> None:
    table = DecisionTable[str]({"a": (False, True)}, (("yes", (True,)),))
    assert table.decide(a=True) == "yes"
    with pytest.raises(EngineError, match="no row"):
        table.decide(a=False)
    with pytest.raises(EngineError, match="2 columns"):
        DecisionTable[str]({"a": (1,), "b": (1,)}, (("short", (1,)),))


def test_every_code_of_create_snapshot_is_final_or_not() -> None:
    assert set(CREATE_FINAL) == set(CsiCode)
    not_final = {code for code, final in CREATE_FINAL.items() if not final}
    assert not_final == {
        CsiCode.CANCELLED,
        CsiCode.DEADLINE_EXCEEDED,
        CsiCode.UNAVAILABLE,
        CsiCode.RESOURCE_EXHAUSTED,
        CsiCode.ABORTED,
    }


def test_nothing_is_created_at_the_driver_without_the_finalizer() -> None:
    for facts in SIDECAR.combinations():
        if SIDECAR.decide(**facts) in (SidecarRow.P3, SidecarRow.P6):
            assert facts["guarded"] and facts["volume_source"] and not facts["member"] and not facts["may_delete"]


def test_a_kept_or_member_snapshot_is_never_deleted_at_the_driver() -> None:
    for facts in SIDECAR.combinations():
        if SIDECAR.decide(**facts) is SidecarRow.P1:
            assert facts["policy_delete"] and facts["handle"] and not facts["group_handle"]


def test_a_deleting_snapshot_always_reaches_its_deletion() -> None:
    for facts in tables.ENTRY.combinations():
        if facts["known"] and facts["deleting"]:
            assert tables.ENTRY.decide(**facts) in (tables.EntryRow.K6, tables.EntryRow.K2_DELETING)


def test_the_bound_finalizer_is_kept_exactly_while_a_content_has_to_go_first() -> None:
    for facts in tables.DELETION.combinations():
        plan = tables.DELETION.decide(**facts)
        keeps = tables.DeletionStep.X6_KEEP_BOUND in plan
        assert keeps == (tables.DeletionStep.X4 in plan)
        assert tables.DeletionStep.X6 not in plan or facts["content"] is not tables.Counted.DELETE


def test_no_group_is_created_at_the_driver_without_the_finalizer_and_none_kept_is_deleted_there() -> None:
    for facts in groups.GROUP_SIDECAR.combinations():
        row = groups.GROUP_SIDECAR.decide(**facts)
        if row in (groups.GroupSidecarRow.P3, groups.GroupSidecarRow.P6):
            assert facts["guarded"] and facts["volume_source"] and not facts["may_delete"]
        if row is groups.GroupSidecarRow.P1:
            assert facts["policy_delete"] and facts["handle"] and facts["may_delete"]


def test_a_groups_bound_finalizer_is_kept_exactly_while_a_content_has_to_go_first() -> None:
    for facts in groups.GROUP_DELETION.combinations():
        plan = groups.GROUP_DELETION.decide(**facts)
        if groups.GroupStep.D3 in plan:
            assert groups.GroupStep.D5 not in plan and plan.index(groups.GroupStep.HALF_MADE) < plan.index(groups.GroupStep.D3)
        if groups.GroupStep.D4 in plan:
            assert (groups.GroupStep.D5 in plan) == (facts["content"] is not tables.Counted.DELETE)
