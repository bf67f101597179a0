"""Input with something wrong in it ends with exit code 0 or 1 and at most one line of error, never as an internal error.

Manifests and stories are changed at random places, the seed being the parameter: a value becomes one of another kind, or goes.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.unit.cli.shell import EXAMPLES, Shell

STORIES = EXAMPLES.parent / "tests" / "data" / "stories"
TIMES = 16
WRONG: tuple[Any, ...] = (
    None, True, 0, -1, 1.5, 1e400, 2**70, "", "x", "10Gi", "-1Gi", "NaN", "a/b/c", "é\0", "x" * 300, [], [1], [None], {}, {"a": 1}, {"": ""}
)  # fmt: skip


def _places(value: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, below in items:
        yield (*above, key)
        yield from _places(below, (*above, key))


def _mutated(value: Any, chance: random.Random) -> Any:
    changed = json.loads(json.dumps(value))
    *above, last = chance.choice(list(_places(changed)))
    holder = changed
    for key in above:
        holder = holder[key]
    if chance.random() < 0.25:
        del holder[last]
    else:
        holder[last] = chance.choice(WRONG)
    return changed


def _ends_well(volsched: Shell, *words: Any) -> None:
    answer = volsched(*words, code=None)
    errors = [line for line in answer.err.splitlines() if not line.startswith("Warning: ")]
    assert (answer.code, len(errors)) in ((0, 0), (1, 1)), answer.err


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("command", ["apply", "run"])
def test_manifests(volsched: Shell, command: str, seed: int) -> None:
    chance = random.Random(seed)
    documents = [doc for path in sorted(EXAMPLES.glob("*/*.yaml")) for doc in yaml.safe_load_all(path.read_text()) if doc]
    for _ in range(TIMES):
        chosen = chance.sample(documents, 12)
        chosen[0] = _mutated(chosen[0], chance)
        _ends_well(volsched, command, "-f", volsched.file(*chosen))


@pytest.mark.parametrize("seed", range(3))
def test_stories(volsched: Shell, seed: int) -> None:
    chance = random.Random(seed)
    for path in chance.sample(sorted(STORIES.glob("*.json")), TIMES):
        story = _mutated(json.loads(path.read_text()), chance)
        _ends_well(volsched, "rehearse", volsched.text("story.json", json.dumps(story)))


@pytest.mark.parametrize("seed", range(3))
def test_workloads_and_cases(volsched: Shell, seed: int) -> None:
    chance = random.Random(seed)
    documents = [doc for path in sorted(EXAMPLES.glob("*/*.yaml")) for doc in yaml.safe_load_all(path.read_text()) if doc]
    documents = [doc for doc in documents if "kind" in doc]  # examples/replay has options
    pods = [doc for doc in documents if doc["kind"] == "Pod"]
    for _ in range(TIMES):
        changed = [_mutated(doc, chance) if number == 0 else doc for number, doc in enumerate(chance.sample(documents, 12))]
        _ends_well(volsched, "bench", volsched.text("workload.jsonl", "".join(json.dumps(doc) + "\n" for doc in changed)))
        case = {"id": "case", "objects": changed, "pod": _mutated(chance.choice(pods), chance)}
        _ends_well(volsched, "verdict", volsched.text("case.jsonl", json.dumps(case) + "\n"))
