"""Small clusters for tests that ask every engine the same question."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from tests.parity.engines import ENGINES
from volsched.api.defaults import with_defaults
from volsched.api.kinds import Object
from volsched.engine import Decision, SchedulingEngine

every_engine = pytest.mark.parametrize("engine", ENGINES)


def engine_with(name: str, objects: Iterable[Object]) -> SchedulingEngine:
    """An engine of that name that holds the objects, defaults applied."""
    engine = ENGINES[name]()
    for obj in objects:
        engine.upsert(with_defaults(obj))
    return engine


def decide(name: str, objects: Iterable[Object], pod: Object) -> Decision:
    """What the engine of that name decides on a pod in a cluster of these objects."""
    return engine_with(name, objects).decide(with_defaults(pod))  # type: ignore[arg-type]


def reasons(decision: Decision) -> dict[str, tuple[str, ...]]:
    """Refused node -> reasons."""
    return {node: rejection.reasons for node, rejection in sorted(decision.rejected().items())}


def scores(decision: Decision, plugin: str) -> dict[str, int]:
    """Feasible node -> what the plugin adds to its total."""
    return {node: own.get(plugin, 0) for node, own in sorted(decision.scores().items())}
