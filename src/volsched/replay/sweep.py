"""Many replays of one trace: every combination of some options, in processes here or on a cluster of machines, to one table.

    trace: pods.csv.gz
    options: {nodes: nodes.csv.gz, limit: 2000}       # of every run
    over:                                             # every combination
      seed: [0, 1, 2, 3]
      config: [spread.yaml, pack.yaml]                # KubeSchedulerConfiguration: policies
      synth: [few-disks.yaml, many-disks.yaml]        # sizes

Options are those of `prepare`; paths are relative to the file. Runs go through joblib: with its own processes, or with any backend it has
been given, such as dask.distributed's, and to the same table. Each run leaves its summary in a directory of its own under `--out`; a sweep
that is begun again goes on with the runs that are missing or failed. A run that raises is tried again, then told in the table.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from volsched.api.documents import only_document
from volsched.errors import InputError
from volsched.replay.log import write_whole
from volsched.replay.session import SUMMARY, Result, prepare
from volsched.replay.tables import Columns, csv_of

RUNS_MAX: Final = 100_000
MISSING: Final = "a sweep needs joblib: pip install 'volsched[sweep]'"
FAILED: Final = "failed.txt"
TABLE: Final = "sweep.csv"
PATHS: Final = frozenset({"nodes", "synth", "events", "config"})
OPTIONS: Final[Mapping[str, type | tuple[type, ...]]] = {
    "nodes": str,
    "synth": str,
    "events": str,
    "config": str,
    "seed": int,
    "limit": int,
    "arrival_rate": (int, float),
    "tie_break": str,
    "mode": str,
}
# column -> where it stands in the summary
FIGURES: Final[Mapping[str, Sequence[str]]] = {
    "pods": ("pods", "total"),
    "placed": ("pods", "placed"),
    "never_placed": ("pods", "never_placed"),
    "waiting_at_end": ("pods", "waiting_at_end"),
    "evictions": ("pods", "evictions"),
    "bindings_failed": ("pods", "bindings_failed"),
    "attempts": ("pods", "attempts"),
    "wait_mean_s": ("wait_s", "mean"),
    "wait_p50_s": ("wait_s", "p50"),
    "wait_p99_s": ("wait_s", "p99"),
    "cpu_share_mean": ("resources", "cpu_milli", "share_mean"),
    "memory_share_mean": ("resources", "memory_bytes", "share_mean"),
    "virtual_s": ("virtual_s",),
    "log_sha256": ("log_sha256",),
}

Options = Mapping[str, Any]


class _File(msgspec.Struct, forbid_unknown_fields=True):
    trace: str
    over: dict[str, list[Any]]
    options: dict[str, Any] = {}


@dataclass(frozen=True, slots=True)
class Sweep:
    """trace: its file. over: the options that vary, name -> values. options: those of every run."""

    trace: Path
    over: Mapping[str, Sequence[Any]]
    options: Options

    @classmethod
    def read(cls, path: Path) -> Sweep:
        """Raises InputError with what is wrong."""
        value = only_document(path)
        try:
            read = msgspec.convert(value, _File)
        except msgspec.ValidationError as error:
            raise InputError(str(error), source=str(path)) from error
        given = [*read.options.items(), *((name, value) for name, values in read.over.items() for value in values)]
        for name, value in given:
            _check(name, value, path)
        for name in read.over:
            if name in read.options:
                raise InputError(f"option {name} is given for every run and varied", source=str(path))
            if not read.over[name]:
                raise InputError(f"over.{name} has no value", source=str(path))
        sweep = cls(
            path.parent / read.trace,
            {name: [_resolved(name, value, path) for value in values] for name, values in read.over.items()},
            {name: _resolved(name, value, path) for name, value in read.options.items()},
        )
        count = len(sweep.runs())
        if count > RUNS_MAX:
            raise InputError(f"these are {count:,} runs, more than {RUNS_MAX:,}", source=str(path))
        return sweep

    def runs(self) -> list[Options]:
        """The options of each run, in the order of the table: the last one that varies goes fastest."""
        return [dict(zip(self.over, values, strict=True)) for values in itertools.product(*self.over.values())]


def _check(name: str, value: Any, path: Path) -> None:
    kind = OPTIONS.get(name)
    if kind is None:
        raise InputError(f"{name} is no option of a replay; there are {', '.join(OPTIONS)}", source=str(path))
    if not isinstance(value, kind) or isinstance(value, bool):
        raise InputError(f"option {name} cannot be {value!r}", source=str(path))


def _resolved(name: str, value: Any, path: Path) -> Any:
    return str(path.parent / value) if name in PATHS else value


def replayed(trace: str, options: Options, directory: str, retries: int) -> str:
    """One run, in whatever process: its summary in its directory, or why it failed. Answers that reason, empty when it is done."""
    target = Path(directory)
    target.mkdir(parents=True, exist_ok=True)
    problem = ""
    for _ in range(retries + 1):
        try:
            simulation = prepare(trace, warn=lambda _: None, **options)
            simulation.run()
            Result(simulation.log()).write(target, tables=None)
        except Exception as error:  # whatever it is, the other runs go on, and the table tells it
            problem = f"{type(error).__name__}: {error}"
        else:
            (target / FAILED).unlink(missing_ok=True)
            return ""
    write_whole(target / FAILED, (problem + "\n").encode())
    return problem


def require() -> None:
    """Raises InputError where joblib is not installed."""
    try:
        import joblib  # noqa: F401
    except ImportError:
        raise InputError(MISSING) from None


def run_sweep(
    sweep: Sweep, out: Path, *, jobs: int | None = None, retries: int = 1, told: Callable[[int, int], None] = lambda done, total: None
) -> Columns:
    """Replay what is missing in a directory and answer the table, which is written there, too.

    jobs: processes at once, for joblib's own backend; None leaves it to the backend in force (`joblib.parallel_config`). told: is called
    with runs done and runs in all. Raises InputError without joblib.
    """
    require()
    import joblib

    runs = sweep.runs()
    directories = [out / _name(sweep, run) for run in runs]
    missing = [at for at, directory in enumerate(directories) if not (directory / SUMMARY).exists()]
    out.mkdir(parents=True, exist_ok=True)
    done = len(runs) - len(missing)
    told(done, len(runs))
    work = (
        joblib.delayed(replayed)(str(sweep.trace), {**sweep.options, **runs[at]}, str(directories[at].resolve()), retries) for at in missing
    )
    for _ in joblib.Parallel(n_jobs=jobs, return_as="generator_unordered")(work):
        done += 1
        told(done, len(runs))
    table = _table(sweep, runs, directories)
    write_whole(out / TABLE, csv_of(table))
    return table


def _name(sweep: Sweep, run: Options) -> str:
    """A directory name of its own for each combination: the same run of another sweep has it too."""
    everything = json.dumps([str(sweep.trace), *sorted({**sweep.options, **run}.items())])
    words = "-".join(Path(str(value)).stem for value in run.values())
    return f"{words[:60]}-{hashlib.sha256(everything.encode()).hexdigest()[:10]}"


def _table(sweep: Sweep, runs: Sequence[Options], directories: Sequence[Path]) -> Columns:
    """One row a run: what varies, the figures, and why it failed."""
    rows = []
    for run, directory in zip(runs, directories, strict=True):
        path = directory / SUMMARY
        summary = json.loads(path.read_bytes()) if path.exists() else {}
        failed = (directory / FAILED).read_text().strip() if not path.exists() and (directory / FAILED).exists() else ""
        rows.append({**run, **{name: _at(summary, where) for name, where in FIGURES.items()}, "failed": failed})
    names = [*sweep.over, *FIGURES, "failed"]
    return {name: _column([row[name] for row in rows]) for name in names}


def _at(summary: Mapping[str, Any], where: Sequence[str]) -> Any:
    found: Any = summary
    for name in where:
        found = found.get(name) if found is not None else None
    return found


def _column(values: Sequence[Any]) -> Any:
    """Texts, int64, or float64 with nan for what is not there."""
    if values and all(isinstance(value, int) for value in values):
        return np.array(values, dtype=np.int64)
    if any(isinstance(value, str) for value in values):
        return np.array([value or "" for value in values], dtype=str)
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)
