"""Engines against kube-scheduler's own code, asked about random clusters through the oracle program.

Run apart: build the program (its README says how) and name it in VOLSCHED_ORACLE. It breaks some ties by map order, so every case is asked
several times and only answers that repeat are trusted. It applies API defaults but not what the API server fills in on creation (pod-level
requests, matchLabelKeys); the clusters here hold nothing of that kind. Inputs that it dies on are left out.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from tests.parity.clusters import Draw
from tests.parity.compare import difference
from tests.parity.engines import ENGINES
from volsched.api.kinds import kind_of, to_json
from volsched.app.cases import verdict

PROGRAM = os.environ.get("VOLSCHED_ORACLE")
CASES = 200
TIMES = 3

pytestmark = pytest.mark.skipif(not PROGRAM, reason="VOLSCHED_ORACLE does not name the oracle program")


def _json(obj: Any) -> dict[str, Any]:
    kind = kind_of(obj)
    return {"apiVersion": kind.api_version, "kind": kind.name, **to_json(obj)}


def _case(seed: int) -> dict[str, Any]:
    chance = random.Random(f"oracle {seed}")
    situation = Draw(chance, nodes=1 + chance.randrange(8)).situation(pods=1)
    return {"id": str(seed), "objects": [_json(obj) for obj in situation.objects], "pod": _json(situation.pods[0])}


def _ask(cases: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    assert PROGRAM is not None
    lines = "".join(json.dumps(case) + "\n" for case in cases)
    run = subprocess.run([PROGRAM], input=lines, capture_output=True, text=True, check=False)
    return {answer["id"]: answer for answer in map(json.loads, run.stdout.splitlines())}


@pytest.mark.parametrize("start", range(0, 1000, CASES))
@pytest.mark.parametrize("engine", ENGINES)
def test_random_clusters(engine: str, start: int) -> None:
    cases = [_case(seed) for seed in range(start, start + CASES)]
    answers = [_ask(cases) for _ in range(TIMES)]
    trusted = [case for case in cases if (first := answers[0].get(case["id"])) and all(other.get(case["id"]) == first for other in answers)]
    assert len(trusted) > CASES // 2
    found = {}
    for case in trusted:
        recorded = {**case, "expect": answers[0][case["id"]]}
        if (wrong := difference(recorded, verdict(case, ENGINES[engine]))) is not None:
            found[case["id"]] = wrong
    assert not found
