"""Durations as Go reads them: `90s`, `1h30m`, `1.5s`, `250ms`, `-2m`, `0`.

Source: Go's time.ParseDuration; k8s.io/apimachinery metav1.Duration.
"""

from __future__ import annotations

import re
from typing import Final

_PART: Final = re.compile(r"([0-9]*)(?:\.([0-9]*))?(ns|us|µs|μs|ms|s|m|h)")
_UNIT_NS: Final = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "μs": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
}


def parse_duration_ns(text: str) -> int | None:
    """Nanoseconds, None for a text that is no duration."""
    sign = -1 if text.startswith("-") else 1
    rest = text[1:] if text[:1] in ("-", "+") else text
    if rest == "0":
        return 0
    total, at = 0, 0
    while at < len(rest):
        part = _PART.match(rest, at)
        if part is None or not (part[1] or part[2]):
            return None
        fraction = part[2] or ""
        total += int(part[1] or "0") * _UNIT_NS[part[3]] + int(fraction or "0") * _UNIT_NS[part[3]] // 10 ** len(fraction)
        at = part.end()
    return sign * total if rest and total < 2**63 else None
