"""What a replay left, as the report takes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from volsched.errors import InputError
from volsched.replay.log import EventLog, load_log
from volsched.replay.summary import summary_of
from volsched.replay.tables import Columns, tables_of

LOG_NAME: Final = "log.npz"


@dataclass(frozen=True, slots=True)
class Run:
    """One replay: a name for people, its summary and its tables."""

    name: str
    summary: Mapping[str, Any]
    tables: Mapping[str, Columns]

    @classmethod
    def of(cls, log: EventLog, *, name: str) -> Run:
        """The run whose log this is."""
        return cls(name, summary_of(log), tables_of(log))

    @classmethod
    def read(cls, directory: Path) -> Run:
        """What `volsched replay --out DIRECTORY` has written. Raises InputError."""
        path = directory / LOG_NAME
        if not path.is_file():
            raise InputError(f"holds no {LOG_NAME}; give a directory that `volsched replay --out` has written", source=str(directory))
        return cls.of(load_log(path), name=directory.resolve().name)


def distinct(runs: Sequence[Run]) -> list[Run]:
    """The runs with names that tell them apart."""
    names = [run.name for run in runs]
    return [
        Run(f"{run.name} ({names[: at + 1].count(run.name)})" if names.count(run.name) > 1 else run.name, run.summary, run.tables)
        for at, run in enumerate(runs)
    ]
