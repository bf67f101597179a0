"""Writes that are worth a second try within the same attempt.

Four tries within a third of a second, for a server that is overloaded, restarting, or (where asked for) in conflict. Upstream adds up to a
tenth to each wait at random; none is added here, so that runs repeat.

Source: client-go/util/retry/util.go (DefaultBackoff), pkg/scheduler/util/utils.go (Retriable); spec/scheduling.md 9.10.
"""

from __future__ import annotations

from typing import Any, Final

from volsched.errors import ApiError
from volsched.ports import Intent, Pause, Steps

WAITS_S: Final = (0.01, 0.05, 0.25)
RETRIABLE_CODES: Final = frozenset({500, 503})
CONFLICT: Final = 409


def persistently(intent: Intent, *, conflicts: bool) -> Steps[Any]:
    """Carry out a write, trying again after answers that may pass. Raises the last ApiError."""
    for wait_s in WAITS_S:
        try:
            return (yield intent)
        except ApiError as refused:
            if refused.code not in RETRIABLE_CODES and not (conflicts and refused.code == CONFLICT):
                raise
        yield Pause(wait_s)
    return (yield intent)
