"""What a fork of a large cluster costs: time and memory when it is made, and as it goes its own way.

    python -m bench.forks --nodes 100000 --volumes 1000000 --claims 800000 --pods 100000 [--placed 700000] [--kind local]

The cluster of bench.columns; a JSON line for making forks (milliseconds, and bytes of resident memory each), and one for every number of
pods then placed in one fork: what the fork has grown by and how long the pods took there, beside the same pods in the parent.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from typing import Any

from bench import columns
from bench.memory import resident
from volsched.engine import Engine

FORKS = 10
STEPS = (1, 10, 100, 1_000, 10_000)


def timed(call: Callable[[], Any]) -> tuple[float, int, Any]:
    """Seconds, bytes grown, what the call answered."""
    before, begun = resident(), time.perf_counter()
    made = call()
    seconds = time.perf_counter() - begun
    return seconds, resident() - before, made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kind", choices=columns.COLUMNAR, default="local")
    for name in ("nodes", "volumes", "claims", "pods"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--placed", type=int, default=0)
    given = parser.parse_args()
    made = columns.cluster(given.kind, nodes=given.nodes, pods=given.pods, volumes=given.volumes, claims=given.claims, placed=given.placed)
    engine = Engine()
    engine.load(made)
    pending = columns.Columns((made.tables[-1],), {})
    engine.fork()  # the allocator has its pages from now on
    seconds, grown, forks = timed(lambda: [engine.fork() for _ in range(FORKS)])
    print(json.dumps({"forks": FORKS, "ms_each": round(seconds * 1e3 / FORKS, 2), "rss_bytes_each": grown // FORKS}))
    del forks
    fork = engine.fork()
    batches = {name: (one, one.load(pending)) for name, one in (("fork", fork), ("parent", engine))}
    results = {name: one.schedule_many(batch, count=0) for name, (one, batch) in batches.items()}
    at = 0
    for count in STEPS:
        if count > given.pods:
            break
        row: dict[str, Any] = {"pods": count}
        for name, result in results.items():
            taken, grown, _ = timed(lambda result=result, many=count - at: result.advance(many))  # type: ignore[misc]
            row |= {f"{name}_ms": round(taken * 1e3, 2), f"{name}_rss_bytes": grown}
        assert results["fork"].nodes.tolist() == results["parent"].nodes.tolist()
        print(json.dumps(row))
        at = count


if __name__ == "__main__":
    main()
