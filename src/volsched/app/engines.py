"""The engines by name. The reference twin runs when it is asked for, never by itself."""

from __future__ import annotations

from volsched.engine.decision import SchedulingEngine, TieBreak
from volsched.engine.profile import EngineProfile
from volsched.errors import InputError

ENGINES = ("native", "reference")


def make_engine(
    name: str, *, tie_break: TieBreak = "first", seed: int = 0, percentage: int = 100, exact_capacity: bool = False
) -> SchedulingEngine:
    """A new, empty engine; `percentage` of nodes to score. exact_capacity: of its own profile.

    Raises InputError for a name that is none.
    """
    profile = EngineProfile(exact_capacity=True) if exact_capacity else None
    if name == "native":
        from volsched.engine import Engine

        return Engine(tie_break=tie_break, seed=seed, percentage_of_nodes_to_score=percentage, profile=profile)
    if name == "reference":
        from volsched.engine.reference import ReferenceEngine

        return ReferenceEngine(tie_break=tie_break, seed=seed, percentage_of_nodes_to_score=percentage, profile=profile)
    raise InputError(f"unknown engine {name!r}: {' or '.join(ENGINES)}")
