"""A moment of the cluster to ask questions of: which nodes fit a pod, why the others do not, and how good the fitting ones are.

A snapshot copies nothing. It remembers the generation of the cache it was taken from, and answers only while that is the cache's
generation; so do the arrays it hands out. A mask of yesterday's cluster cannot pick today's node by accident.

Source for the idea: pkg/scheduler/backend/cache/snapshot.go; spec/scheduling.md 12.3.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from lightkube.models.core_v1 import Pod

from volsched.engine.decision import Decision, Rejection, SchedulingEngine
from volsched.engine.profile import EngineProfile
from volsched.errors import EngineError

Mask: TypeAlias = npt.NDArray[np.bool_]
Scores: TypeAlias = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Filtered:
    """Which nodes fit a pod. `nodes[i]` belongs to `mask[i]`.

    prefilter: set when the pod was refused before any node was looked at. message: why nothing fits, in kube-scheduler's words, empty when
    something does.
    """

    generation: int
    nodes: tuple[str, ...]
    mask: Mask
    reasons: Mapping[str, Rejection]
    prefilter: Rejection | None
    message: str
    decision: Decision

    def names(self) -> list[str]:
        """The fitting nodes, in the order of `nodes`."""
        return [name for name, fits in zip(self.nodes, self.mask, strict=True) if fits]

    def why_not(self, node: str) -> tuple[str, ...]:
        """The reasons against a node, empty when it fits."""
        rejection = self.prefilter or self.reasons.get(node)
        return rejection.reasons if rejection else ()


class Snapshot:
    """Made by `SchedulerCache.snapshot()`."""

    def __init__(
        self,
        engine: SchedulingEngine,
        generation: int,
        *,
        current: Callable[[], int],
        plugins: Sequence[Any] = (),
        profile: EngineProfile | None = None,
    ) -> None:
        self._engine = engine
        self._plugins = tuple(plugins)
        self._profile = profile
        self._current = current
        self.generation = generation
        self.nodes: tuple[str, ...] = tuple(engine.node_names())
        self._index = {name: i for i, name in enumerate(self.nodes)}

    def _check(self, generation: int, what: str) -> None:
        if generation != self._current():
            raise EngineError(f"{what} is of generation {generation}, the cluster is at {self._current()}: take a new snapshot")
        if generation != self.generation:
            raise EngineError(f"{what} is of generation {generation}, this snapshot of {self.generation}: filter on this snapshot")

    def decide(
        self, pod: Pod, *, only: Sequence[str] | None = None, plugins: Sequence[Any] = (), profile: EngineProfile | None = None
    ) -> Decision:
        """The engine's decision for a pending pod, restricted to some nodes if asked for. Raises EngineError when stale."""
        self._check(self.generation, "the snapshot")
        return self._engine.decide(pod, only=only, plugins=plugins or self._plugins, profile=profile or self._profile)

    def filter(
        self, pod: Pod, *, only: Sequence[str] | None = None, plugins: Sequence[Any] = (), profile: EngineProfile | None = None
    ) -> Filtered:
        """Which nodes fit. Raises EngineError when the snapshot is stale or the decision failed (an invalid selector, for example)."""
        decision = self.decide(pod, only=only, plugins=plugins, profile=profile)
        if decision.error is not None:
            raise EngineError(f"no decision for the pod: {decision.error}")
        mask = np.zeros(len(self.nodes), dtype=np.bool_)
        reasons: Mapping[str, Rejection] = {}
        if decision.prefilter is None:
            mask[[self._index[name] for name in decision.feasible()]] = True
            reasons = decision.rejected()
        mask.flags.writeable = False
        return Filtered(self.generation, self.nodes, mask, reasons, decision.prefilter, decision.message(), decision)

    def score(self, filtered: Filtered) -> Scores:
        """Totals of the profile, int64, (nodes,), -1 where the pod does not fit. Raises EngineError when stale."""
        self._check(filtered.generation, "the filter result")
        totals = np.full(len(self.nodes), -1, dtype=np.int64)
        if filtered.mask.any():
            for name, total in filtered.decision.totals().items():
                totals[self._index[name]] = total
        totals.flags.writeable = False
        return totals
