"""Kept results: those pytest-benchmark stores in .benchmarks, and the compact reference of a release line in bench/results.

    make bench ──pytest-benchmark──> .benchmarks/MACHINE/NNNN_….json ──compact──> bench/results/0.1.json ──bench.page──> docs/benchmarks.md

    python -m bench.kept --growth FILE --to bench/results/0.1.json

The compact form has, of each benchmark, what a comparison or a figure needs: microseconds of a round (median, quartile distance, least),
the number of rounds, and the facts noted beside it.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

ROOT: Final = Path(__file__).parents[1]
STORAGE: Final = ROOT / ".benchmarks"
RESULTS: Final = ROOT / "bench" / "results"


class KeptError(Exception):
    """A file of results that cannot be used; one line that names it."""


class Bench(NamedTuple):
    """One benchmark: microseconds of a round, how many units a round has, and what was noted."""

    name: str
    group: str
    median_us: float
    iqr_us: float
    min_us: float
    rounds: int
    unit: str
    units: int
    facts: Mapping[str, Any]

    @property
    def unit_us(self) -> float:
        """Median microseconds for one unit."""
        return self.median_us / self.units


class Kept(NamedTuple):
    """A run of the suites. commit: ten digits, and `+` where the tree had changes that were not committed."""

    source: str
    taken: str
    commit: str
    machine: Mapping[str, Any]
    benches: Mapping[str, Bench]
    growth: list[Any]


def latest(storage: Path = STORAGE) -> list[Path]:
    """Kept results, oldest first. pytest-benchmark numbers them within a folder for each kind of machine; the newest file decides."""
    return sorted(storage.glob("*/*.json"), key=lambda path: (path.stat().st_mtime_ns, path.name))


def reference() -> Path | None:
    """The committed result of the newest release line."""
    found = sorted(RESULTS.glob("*.json"), key=lambda path: [int(part) for part in path.stem.split(".")])
    return found[-1] if found else None


def read(path: Path) -> Kept:
    """Results in either form. Raises KeptError."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise KeptError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise KeptError(f"{path}: is not JSON: {error}") from error
    try:
        if "machine_info" in value:
            return _of_pytest_benchmark(path, value)
        return _of_compact(path, value)
    except (KeyError, TypeError, AttributeError) as error:
        raise KeptError(f"{path}: holds no results of benchmarks: {type(error).__name__}: {error}") from error


def _of_pytest_benchmark(path: Path, value: Mapping[str, Any]) -> Kept:
    benches = {}
    for item in value["benchmarks"]:
        stats, facts = item["stats"], dict(item["extra_info"])
        unit, units = facts.pop("unit", "round"), facts.pop("units", 1)
        figures = (round(stats[name] * 1e6, 3) for name in ("median", "iqr", "min"))
        benches[item["fullname"]] = Bench(item["fullname"], item["group"] or "", *figures, stats["rounds"], unit, units, facts)
    machine = value["machine_info"]
    cpu = machine.get("cpu", {})
    kept_machine = {
        "system": machine["system"],
        "architecture": machine["machine"],
        "python": f"{machine['python_implementation']} {machine['python_version']}",
        "cpu": cpu.get("brand_raw", machine.get("processor", "")),
        "cores": cpu.get("count"),
        "load": machine.get("load"),
    }
    commit = value["commit_info"]["id"][:10] + ("+" if value["commit_info"].get("dirty") else "")
    return Kept(str(path), value["datetime"], commit, kept_machine, benches, [])


def _of_compact(path: Path, value: Mapping[str, Any]) -> Kept:
    benches = {item["name"]: Bench(**item) for item in value["benches"]}
    return Kept(str(path), value["taken"], value["commit"], value["machine"], benches, value["growth"])


def compact(kept: Kept) -> str:
    """The text of the compact form: a line for each benchmark, so that differences can be read."""
    head = {"taken": kept.taken, "commit": kept.commit, "machine": kept.machine}
    lines = [json.dumps(kept.benches[name]._asdict()) for name in sorted(kept.benches)]
    growth = [json.dumps(line) for line in kept.growth]
    body = "".join(f'"{name}": {json.dumps(value)},\n' for name, value in head.items())
    return "{\n" + body + '"growth": [\n' + ",\n".join(growth) + '\n],\n"benches": [\n' + ",\n".join(lines) + "\n]\n}\n"


def main(arguments: list[str] | None = None) -> int:
    """Write the newest kept results, with a growth file, in the compact form."""
    parser = argparse.ArgumentParser(prog="python -m bench.kept", description=__doc__.partition("\n")[0])
    parser.add_argument("results", type=Path, nargs="?", help="results of pytest-benchmark; default: the newest in .benchmarks")
    parser.add_argument("--growth", type=Path, required=True, metavar="FILE", help="what bench.growth wrote with --json")
    parser.add_argument("--to", type=Path, required=True, metavar="FILE")
    given = parser.parse_args(arguments)
    found = latest()
    if given.results is None and not found:
        parser.error(f"nothing is kept in {STORAGE}: `make bench` first")
    try:
        kept = read(given.results or found[-1])
        growth = json.loads(given.growth.read_text(encoding="utf-8"))
    except (KeptError, OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    given.to.write_text(compact(kept._replace(growth=growth)), encoding="utf-8")
    print(f"{given.to}: {len(kept.benches)} benchmarks of {kept.taken}, {len(growth)} lines of growth")
    return 0


if __name__ == "__main__":
    sys.exit(main())
