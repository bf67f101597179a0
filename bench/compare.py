"""What became slower or larger from one kept result to another: python -m bench.compare [BEFORE AFTER]

Without arguments, the two newest in .benchmarks; where only one is kept, it is compared with the committed reference of bench/results,
taken on the machine it names. Medians are compared for one unit of work; facts named `bytes…` are sizes. A report, not a test: the exit
code is 0 whatever it says, and 1 only where a file cannot be read.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from bench.kept import STORAGE, Bench, Kept, KeptError, latest, read, reference
from volsched.cli.layout import grid

THRESHOLD: Final = 0.10


class Change(NamedTuple):
    """A figure that moved by more than the threshold. noisy: the two quartile ranges overlap, so chance may explain it."""

    name: str
    what: str
    before: float
    after: float
    noisy: bool

    @property
    def ratio(self) -> float:
        return self.after / self.before

    def cells(self) -> list[str]:
        """As a line of a table."""
        said = "within the noise" if self.noisy else ""
        return [f"{self.ratio:.2f}x", f"{self.before:,.1f}", f"{self.after:,.1f}", self.what, self.name, said]


class Comparison(NamedTuple):
    """Changes by name. gone, new: benchmarks that only one of the two has."""

    compared: int
    worse: list[Change]
    better: list[Change]
    gone: list[str]
    new: list[str]


def _figures(before: Bench, after: Bench) -> Iterator[Change]:
    # the distance of the quartiles lies around the median; where the two ranges meet, chance may explain the difference
    apart = abs(after.unit_us - before.unit_us) > (before.iqr_us / before.units + after.iqr_us / after.units) / 2
    yield Change(before.name, f"us a {before.unit}", before.unit_us, after.unit_us, not apart)
    for fact, value in before.facts.items():
        if fact.startswith("bytes") and fact in after.facts:
            yield Change(before.name, fact.replace("_", " "), value, after.facts[fact], False)


def compare(before: Kept, after: Kept, *, threshold: float = THRESHOLD) -> Comparison:
    """What moved by more than `threshold`, a fraction, worst first."""
    both = [name for name in before.benches if name in after.benches]
    moved = [change for name in both for change in _figures(before.benches[name], after.benches[name]) if change.before > 0]
    worse = sorted((change for change in moved if change.ratio > 1 + threshold), key=lambda change: -change.ratio)
    better = sorted((change for change in moved if change.ratio < 1 / (1 + threshold)), key=lambda change: change.ratio)
    gone = [name for name in before.benches if name not in after.benches]
    new = [name for name in after.benches if name not in before.benches]
    return Comparison(len(both), worse, better, gone, new)


def report(before: Kept, after: Kept, *, threshold: float = THRESHOLD) -> list[str]:
    """The lines that are printed."""
    found = compare(before, after, threshold=threshold)
    text = [f"before  {before.taken}  {before.source}", f"after   {after.taken}  {after.source}"]
    if before.machine.get("cpu") != after.machine.get("cpu"):
        text.append(f"The machines differ: {before.machine.get('cpu')}, {after.machine.get('cpu')}.")
    text += ["", f"{len(found.worse)} of {found.compared} compared became slower or larger by more than {threshold:.0%}."]
    if found.worse:
        text += grid(("RATIO", "BEFORE", "AFTER", "WHAT", "BENCHMARK", ""), [change.cells() for change in found.worse])
    text.append(f"{len(found.better)} became faster or smaller by more than that.")
    for what, names in (("no longer there", found.gone), ("new", found.new)):
        if names:
            text.append(f"{len(names)} {what}: {', '.join(names[:5])}{', …' if len(names) > 5 else ''}")
    return text


def _paths(given: Sequence[Path]) -> tuple[Path, Path]:
    """The two files to compare. Raises KeptError when there are no two."""
    if given:
        return given[0], given[1]
    kept = latest()
    if not kept:
        raise KeptError(f"nothing is kept in {STORAGE}: `make bench` first")
    if len(kept) > 1:
        return kept[-2], kept[-1]
    committed = reference()
    if committed is None:
        raise KeptError(f"{kept[0]} is the only kept result: run `make bench` again to have two")
    return committed, kept[0]


def main(arguments: list[str] | None = None) -> int:
    """Print the report."""
    parser = argparse.ArgumentParser(prog="python -m bench.compare", description=__doc__.partition("\n")[0])
    parser.add_argument("files", type=Path, nargs="*", metavar="BEFORE AFTER")
    parser.add_argument("--threshold", type=float, default=THRESHOLD, metavar="FRACTION")
    given = parser.parse_args(arguments)
    if len(given.files) not in (0, 2):
        parser.error("two files are compared, or the two newest")
    try:
        before, after = map(read, _paths(given.files))
    except KeptError as error:
        print(error, file=sys.stderr)
        return 1
    print("\n".join(report(before, after, threshold=given.threshold)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
