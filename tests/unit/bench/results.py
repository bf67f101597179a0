"""Kept results in both forms, as small as they can be."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def of_pytest_benchmark(
    path: Path,
    benches: Mapping[str, float],
    *,
    cpu: str = "one",
    iqr_us: float = 0.0,
    units: int = 1,
    facts: Mapping[str, Any] | None = None,
) -> Path:
    """What pytest-benchmark writes. benches: name -> median of a round in microseconds; facts: noted beside each."""
    items = [
        {
            "fullname": name,
            "group": "g",
            "stats": {"median": median / 1e6, "iqr": iqr_us / 1e6, "min": median / 2e6, "rounds": 5},
            "extra_info": {"unit": "pod", "units": units, **(facts or {})},
        }
        for name, median in benches.items()
    ]
    machine = {
        "system": "Linux",
        "machine": "x86_64",
        "python_implementation": "CPython",
        "python_version": "3.11.2",
        "cpu": {"brand_raw": cpu, "count": 2},
        "load": [0.5, 1.4],
    }
    value = {"machine_info": machine, "commit_info": {"id": "c" * 40}, "datetime": "2026-12-01T00:00:00+00:00", "benchmarks": items}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))
    return path
