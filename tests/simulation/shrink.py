"""Makes a failing story small: entries are left out as long as the same rule is still broken."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Story = Mapping[str, Any]


def shrink(story: Story, fails: Callable[[Story], bool], *, plays_max: int = 2000) -> dict[str, Any]:
    """The smallest story found with at most so many plays. `fails` must hold for the story given."""
    best = list(story["timeline"])
    plays = 0

    def still(entries: list[Any]) -> bool:
        nonlocal plays
        plays += 1
        return plays <= plays_max and fails({**story, "timeline": entries})

    size = max(1, len(best) // 2)
    while True:
        start, dropped = 0, False
        while start < len(best):
            without = best[:start] + best[start + size :]
            if still(without):
                best, dropped = without, True
            else:
                start += size
        if size > 1:
            size = max(1, size // 2)
        elif not dropped or plays >= plays_max:
            break
    small = dict(story) | {"timeline": best}
    if story.get("teardown"):
        without_teardown = {key: value for key, value in small.items() if key != "teardown"}
        if still(best) and fails(without_teardown):
            return without_teardown
    return small
