"""The engines by name. The reference twin runs when it is asked for, never by itself."""

from __future__ import annotations

from volsched.engine.decision import SchedulingEngine, TieBreak
from volsched.errors import InputError

ENGINES = ("native", "reference")


def make_engine(name: str, *, tie_break: TieBreak = "first", seed: int = 0) -> SchedulingEngine:
    """A new, empty engine. Raises InputError for a name that is none."""
    if name == "native":
        from volsched.engine import Engine

        return Engine(tie_break=tie_break, seed=seed)
    if name == "reference":
        from volsched.engine.reference import ReferenceEngine

        return ReferenceEngine(tie_break=tie_break, seed=seed)
    raise InputError(f"unknown engine {name!r}: {' or '.join(ENGINES)}")
