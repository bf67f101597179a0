"""Makes a failing story small: faults and entries are left out as long as the same rule is still broken."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tests.shrinking import fewest

Story = Mapping[str, Any]


def shrink(story: Story, fails: Callable[[Story], bool], *, plays_max: int = 2000) -> dict[str, Any]:
    """The smallest story found with at most so many plays. `fails` must hold for the story given."""
    plays = 0

    def still(candidate: Story) -> bool:
        nonlocal plays
        plays += 1
        return plays <= plays_max and fails(candidate)

    best = dict(story)
    # most faults have nothing to do with it, and a story with fewer faults plays faster; entries that go make more faults idle
    parts = [part for part in ("faults", "timeline", "faults", "timeline") if part in best]
    for part in parts if "faults" in best else parts[:1]:
        best = _without(best, part, still)
    for setting in ("teardown", "faults"):
        if setting in best and (setting == "teardown" or not best[setting]):
            less = {key: value for key, value in best.items() if key != setting}
            if still(less):
                best = less
    return best


def _without(story: dict[str, Any], part: str, still: Callable[[Story], bool]) -> dict[str, Any]:
    """The story with as few entries in one of its lists as it takes."""
    return story | {part: fewest(story[part], lambda fewer: still(story | {part: fewer}))}
