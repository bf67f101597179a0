"""Every combination of conditions lands in exactly one row, and every row can be reached."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from tests.unit.controllers.harness import TestClock
from volsched.controllers.decision_table import ANY
from volsched.controllers.pv_binder.claims import ClaimPasses
from volsched.controllers.pv_binder.operations import Operations
from volsched.controllers.pv_binder.state import State
from volsched.controllers.pv_binder.tables import CLAIM_TABLE, RECLAIM_TABLE, VOLUME_TABLE, ClaimRow, ReclaimRow, VolumeRow
from volsched.controllers.pv_binder.volumes import VolumePasses

TABLES = {"claim": (CLAIM_TABLE, ClaimRow), "volume": (VOLUME_TABLE, VolumeRow), "reclaim": (RECLAIM_TABLE, ReclaimRow)}


@pytest.mark.parametrize("name", TABLES)
def test_each_combination_meets_exactly_one_row(name: str) -> None:
    table: Any = TABLES[name][0]
    met = set()
    for values in itertools.product((False, True), repeat=len(table.columns)):
        rows = [row for row, cells in table.rows if all(cell is ANY or cell == value for cell, value in zip(cells, values, strict=True))]
        assert len(rows) == 1, (dict(zip(table.columns, values, strict=True)), rows)
        met.add(rows[0])
    assert met == set(TABLES[name][1])


def test_each_row_has_an_action() -> None:
    clock = TestClock()
    state = State(clock)
    operations = Operations(clock, state.agenda)
    claims, volumes = ClaimPasses(state, operations), VolumePasses(state, operations)
    assert set(claims._actions) == set(ClaimRow)
    assert set(volumes._actions) == set(VolumeRow)
    assert set(volumes._reclaims) == set(ReclaimRow)
