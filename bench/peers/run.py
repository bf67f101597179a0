"""kube-scheduler's own code and volsched on the same workloads, one after the other: python -m bench.peers.run

The peer (bench/peers/kube-scheduler, `make bench-peers` builds it) schedules with its default sampling on all cores; volsched looks at
every node, on one. Answers are checked apart, with both at every node, the peer with one goroutine and volsched with its tie break: the
same pods have to come to the same nodes. Exit code 1 when they do not.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from bench.workloads import KINDS, objects
from volsched.api.kinds import to_manifest
from volsched.cli.layout import grid

CHECKED_PODS: Final = 200
CHECKED_NODES: Final = 500  # for the kinds of which the peer does few a second
SLOW: Final = frozenset({"capacity", "local", "zonal"})
TITLES: Final = ("WORKLOAD", "KUBE-SCHEDULER", "ONE BY ONE", "P50", "RATIO", "IN A BATCH", "RATIO", "ANSWERS")

Figures = dict[str, Any]


class Row(NamedTuple):
    """The figures of a workload: the peer's, ours one pod at a time and in a batch, and whether the answers were equal."""

    kind: str
    peer: Figures
    single: Figures
    batch: Figures
    checked: int
    equal: bool

    def cells(self) -> list[str]:
        """As a line of the table."""
        peer, single, batch = (figures["pods_per_s"] for figures in (self.peer, self.single, self.batch))
        said = f"{self.checked} equal" if self.equal else "DIFFER"
        return [
            self.kind,
            f"{peer:,.4g}/s",
            f"{single:,.0f}/s",
            f"{self.single['p50_us']:.1f} us",
            f"{single / peer:,.0f}x",
            f"{batch:,.0f}/s",
            f"{batch / peer:,.0f}x",
            said,
        ]


def write(path: Path, kind: str, nodes: int, pods: int) -> Path:
    """A workload as a file of JSON lines."""
    with path.open("w") as file:
        for obj in objects(kind, nodes, pods):
            file.write(json.dumps(to_manifest(obj)) + "\n")
    return path


def asked(command: Sequence[str | Path]) -> Figures:
    """The one JSON line that a program prints. Raises CalledProcessError, its complaint having gone to standard error."""
    run = subprocess.run([*map(str, command)], stdout=subprocess.PIPE, text=True, check=True)
    return dict(json.loads(run.stdout))


def ours(path: Path, *options: str) -> Figures:
    return asked([Path(sys.executable).with_name("volsched"), "bench", path, *options])


def measure(kind: str, given: argparse.Namespace, folder: Path) -> Row:
    """All figures of a workload."""
    path = write(folder / f"{kind}.jsonl", kind, given.nodes, given.pods)
    peer = asked([given.program, f"-limit={given.limit}s", path])
    single, batch = ours(path), ours(path, "--batch")
    path.unlink()
    nodes = min(given.nodes, CHECKED_NODES) if kind in SLOW else given.nodes
    small = write(folder / f"{kind}-answers.jsonl", kind, nodes, CHECKED_PODS)
    theirs = asked([given.program, "-parallelism=1", "-percentage=100", small])
    answers = [ours(small, "--tie-break", "kube", *batched) for batched in ((), ("--batch",))]
    equal = all(answer["placements_sha256"] == theirs["placements_sha256"] for answer in answers)
    return Row(kind, peer, single, batch, theirs["attempted"], equal)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.peers.run", description=(__doc__ or "").partition(":")[0])
    parser.add_argument("--program", type=Path, default=Path("build/peers/kube-scheduler"), help="the peer, built by make bench-peers")
    parser.add_argument("--nodes", type=int, default=5_000)
    parser.add_argument("--pods", type=int, default=4_000)
    parser.add_argument("--limit", type=int, default=20, metavar="S", help="seconds for the peer on each workload")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=[kind for kind in KINDS if kind != "mixed"], metavar="KIND")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    given = parser.parse_args(arguments)
    if not given.program.exists():
        parser.error(f"{given.program} is not built: `make bench-peers` builds it, with Go")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for at, kind in enumerate(given.kinds, start=1):
            print(f"{at} of {len(given.kinds)}: {kind}, {given.nodes} nodes, {given.pods} pods", file=sys.stderr, flush=True)
            rows.append(measure(kind, given, Path(folder)))
    print("\n".join(grid(TITLES, [row.cells() for row in rows])))
    if given.json:
        given.json.write_text(
            json.dumps({"nodes": given.nodes, "pods": given.pods, "rows": [row._asdict() for row in rows]}, indent=1) + "\n"
        )
    return 0 if all(row.equal for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
