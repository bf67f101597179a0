"""A replay from files to figures, for Python and for the command line.

prepare(trace, nodes=…, synth=…, events=…) ──> Simulation ──run──> Result: log, summary, tables
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from volsched.engine import Engine
from volsched.engine.profile import EngineProfile
from volsched.errors import InputError
from volsched.replay.checkpoint import load_checkpoint, save_checkpoint
from volsched.replay.log import EventLog, load_log, write_whole
from volsched.replay.options import SynthOptions, read_options
from volsched.replay.plan import read_plan
from volsched.replay.readers import Warn, read_nodes, read_trace, with_nodes
from volsched.replay.simulation import Mode, Simulation
from volsched.replay.summary import summary_of
from volsched.replay.synth import synthesise
from volsched.replay.tables import STEPS, Columns, Format, arrow, require, tables_of, write_tables
from volsched.replay.trace import Trace
from volsched.scheduler.configuration import load_configuration
from volsched.scheduler.configuration.profiles import engine_profiles

TieBreak = Literal["first", "name"]
LOG: Final = "log.npz"
SUMMARY: Final = "summary.json"
CHECKPOINT: Final = "checkpoint.npz"
DEFAULT_SCHEDULER: Final = "default-scheduler"


def prepare(
    trace: str | Path | Trace,
    *,
    nodes: str | Path | None = None,
    synth: str | Path | SynthOptions | None = None,
    events: str | Path | None = None,
    seed: int = 0,
    limit: int | None = None,
    arrival_rate: float = 1,
    tie_break: TieBreak = "first",
    config: str | Path | None = None,
    mode: Mode = "batch",
    warn: Warn = warnings.warn,
) -> Simulation:
    """A replay that has not begun.

    trace: a file of one of the formats of docs/replay.md, or columns. nodes: a list of nodes or a kube dump; without it the options of
    `synth` state them. events: what happens to nodes. limit: only the first pods to arrive. arrival_rate: pods arrive that many times as
    fast, and run as long as ever. tie_break: which of several nodes with the highest score is taken. config: a
    KubeSchedulerConfiguration; its profile default-scheduler, or its only one, decides.
    Raises InputError for files that cannot be read or do not fit each other.
    """
    found = trace if isinstance(trace, Trace) else read_trace(Path(trace))
    if nodes is not None:
        found = with_nodes(found, *read_nodes(Path(nodes), warn=warn))
    if limit is not None:
        found = found.limited(limit)
    if not len(found.pods):
        raise InputError("holds no pods, so there is nothing to replay", source=None if isinstance(trace, Trace) else str(trace))
    if arrival_rate != 1:
        found = _faster(found, arrival_rate)
    options = synth if isinstance(synth, SynthOptions) else read_options(Path(synth)) if synth is not None else SynthOptions()
    scene = synthesise(found, options, seed=seed)
    plan = read_plan(Path(events), scene.nodes) if events is not None else []
    profile = _profile(Path(config), warn) if config is not None else None
    engine = Engine(tie_break=tie_break, profile=profile)
    policy = repr(profile) if profile is not None else ""
    return Simulation(scene, engine=engine, plan=plan, seed=seed, tie_break=tie_break, policy=policy, mode=mode)


def _profile(path: Path, warn: Warn) -> EngineProfile:
    profiles = engine_profiles(load_configuration(path, warn=warn))
    if DEFAULT_SCHEDULER not in profiles and len(profiles) > 1:
        raise InputError(f"has several profiles and none named {DEFAULT_SCHEDULER}, so none to replay with", source=str(path))
    return profiles.get(DEFAULT_SCHEDULER) or next(iter(profiles.values()))


def _faster(trace: Trace, rate: float) -> Trace:
    """The same pods arriving `rate` times as fast; what counts from the arrival keeps its length."""
    if not rate > 0 or rate == float("inf"):
        raise InputError(f"an arrival rate is greater than zero, {rate} is not")
    pods = trace.pods
    arrival = np.floor(pods.arrival_ns / rate).astype(np.int64)
    removal = np.where(pods.removal_ns < 0, pods.removal_ns, pods.removal_ns - pods.arrival_ns + arrival)
    return replace(trace, pods=replace(pods, arrival_ns=arrival, removal_ns=removal))


class Result:
    """What came of a replay. log: everything that happened; all else is computed from it when it is asked for."""

    def __init__(self, log: EventLog) -> None:
        self.log = log

    @classmethod
    def load(cls, directory: str | Path) -> Result:
        """The result that `write` left in a directory. Raises InputError."""
        return cls(load_log(Path(directory) / LOG))

    @property
    def is_partial(self) -> bool:
        """Whether the replay was interrupted."""
        return self.log.is_partial

    @cached_property
    def summary(self) -> dict[str, Any]:
        """The figures, as `summary.json` has them."""
        return summary_of(self.log)

    @cached_property
    def tables(self) -> dict[str, Columns]:
        """Tables of numpy arrays: `pods`, `nodes`, `population`, `utilisation`, `reasons`, `storage` (`volsched.replay.tables`)."""
        return tables_of(self.log)

    def tables_in(self, steps: int) -> dict[str, Columns]:
        """The same with another number of steps in the tables over time."""
        return tables_of(self.log, steps=steps)

    def arrow(self, name: str) -> Any:
        """A table as a pyarrow.Table, for pandas, polars or duckdb. Raises InputError without pyarrow, KeyError for a name that is none."""
        return arrow(self.tables[name])

    def write(self, directory: str | Path, *, tables: Format | None = "parquet", steps: int = STEPS) -> None:
        """Write log, summary and tables. Raises InputError where Parquet cannot be written, before anything is."""
        if tables is not None:
            require(tables)
        target = Path(directory)
        target.mkdir(parents=True, exist_ok=True)
        self.log.save(target / LOG)
        if tables is not None:
            write_tables(target, self.tables if steps == STEPS else self.tables_in(steps), tables)
        # the summary comes last: where it is, the rest is complete
        write_whole(target / SUMMARY, (json.dumps(self.summary, indent=2) + "\n").encode())


def run(trace: str | Path | Trace, **options: Any) -> Result:
    """Replay a trace to its end. Options are those of `prepare`. Raises InputError."""
    simulation = prepare(trace, **options)
    simulation.run()
    return Result(simulation.log())


def go_on(simulation: Simulation, directory: Path) -> None:
    """Bring a replay that has not begun to where an interrupted one of the same input left off. Raises InputError."""
    path = directory / CHECKPOINT
    if not path.exists():
        raise InputError(
            "holds no interrupted replay to go on with" + ("; the one there is complete" if (directory / LOG).exists() else ""),
            source=str(directory),
        )
    load_checkpoint(simulation, path)


def finish(
    simulation: Simulation,
    directory: Path,
    *,
    stop: Callable[[], bool] = lambda: False,
    tables: Format | None = "parquet",
    steps: int = STEPS,
) -> Result:
    """Run and write what came of it. Where `stop` ended it early, what `go_on` needs is there too; else nothing of that is left."""
    if tables is not None:
        require(tables)
    ended = simulation.run(stop=stop)
    result = Result(simulation.log())
    directory.mkdir(parents=True, exist_ok=True)
    if not ended:
        save_checkpoint(simulation, directory / CHECKPOINT)
    result.write(directory, tables=tables, steps=steps)
    if ended:
        (directory / CHECKPOINT).unlink(missing_ok=True)
    return result
