"""Every table of the snapshot controllers: each combination meets exactly one row, and every row is met by some combination."""

from __future__ import annotations

import pytest

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
}


@pytest.mark.parametrize("name", TABLES)
def test_every_combination_meets_a_row_and_every_row_is_met(name: str) -> None:
    table: DecisionTable[object] = TABLES[name]
    combinations = list(table.combinations())
    assert combinations
    for facts in combinations:
        table.decide(**facts)
    assert table.unreachable() == []


@pytest.mark.parametrize("name", ["entry", "sync", "ready", "prebound", "dynamic", "content"])
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
