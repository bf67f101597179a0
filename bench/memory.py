"""What a cluster costs in memory: bytes a node, a volume, a claim, a pod placed and a pod pending.

    python -m bench.memory --nodes 100000 --volumes 1000000 --claims 800000 --pods 100000 [--placed 700000] [--kind local]

A cluster of bench.columns goes into one engine kind by kind; after each step the process (resident set, freed memory given back first) and
the engine's own account (`bytes_used`) are read. A JSON line a step: how many objects, seconds, bytes an object by both. The last line is
the whole: what the process has and had at most, Python and the columns themselves included.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

from bench import columns
from volsched.api.columns import Columns
from volsched.engine import Engine

PAGE = resource.getpagesize()


def resident() -> int:
    """Bytes of this process in memory, after what was freed has been given back."""
    gc.collect()
    if sys.platform == "linux":
        ctypes.CDLL(None).malloc_trim(0)
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


def most_resident() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def steps(made: Columns) -> dict[str, Columns]:
    """The cluster in parts, in the order in which they are loaded."""
    names = {"Node": "node", "CSINode": "node", "PersistentVolume": "volume", "PersistentVolumeClaim": "claim"}
    parts: dict[str, list[Any]] = {}
    for table in made.tables:
        name = names.get(table.kind, "other")
        if table.kind == "Pod":
            name = "pod placed" if table.template["spec"].get("nodeName", "") is None else "pod pending"
        parts.setdefault(name, []).append(table)
    return {name: Columns(tuple(tables), {}) for name, tables in parts.items()}


def measured(engine: Engine, part: Columns) -> dict[str, Any]:
    before, own = resident(), sum(engine.bytes_used().values())
    begun = time.perf_counter()
    batch = engine.load(part)
    seconds = time.perf_counter() - begun
    objects = sum(table.rows for table in part.tables if table.kind == part.tables[0].kind)
    grown = resident() - before
    counted = sum(engine.bytes_used().values()) - own + batch.bytes_used
    return {
        "objects": objects,
        "seconds": round(seconds, 2),
        "rss_bytes_each": round(grown / objects, 1),
        "counted_bytes_each": round(counted / objects, 1),
        "batch": batch,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kind", choices=columns.COLUMNAR, default="local")
    for name in ("nodes", "volumes", "claims", "pods"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--placed", type=int, default=0)
    given = parser.parse_args()
    made = columns.cluster(given.kind, nodes=given.nodes, pods=given.pods, volumes=given.volumes, claims=given.claims, placed=given.placed)
    engine = Engine()
    kept = []
    for name, part in steps(made).items():
        row = measured(engine, part)
        kept.append(row.pop("batch"))
        print(json.dumps({"step": name, **row}))
    used = {part: count for part, count in engine.bytes_used().items() if count}
    print(json.dumps({"counted": used, "rss_bytes": resident(), "rss_bytes_max": most_resident()}))


if __name__ == "__main__":
    main()
