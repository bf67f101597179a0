"""What a replay left, as the report takes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from volsched.errors import InputError
from volsched.replay.session import LOG, Result
from volsched.replay.tables import Columns


@dataclass(frozen=True, slots=True)
class Run:
    """One replay: a name for people, its summary and its tables."""

    name: str
    summary: Mapping[str, Any]
    tables: Mapping[str, Columns]

    @classmethod
    def of(cls, result: Result, *, name: str) -> Run:
        """The run that came to this."""
        return cls(name, result.summary, result.tables)

    @classmethod
    def read(cls, directory: Path) -> Run:
        """What `volsched replay --out DIRECTORY` has written. Raises InputError."""
        if not (directory / LOG).is_file():
            raise InputError(f"holds no {LOG}; give a directory that `volsched replay --out` has written", source=str(directory))
        return cls.of(Result.load(directory), name=directory.resolve().name)


def distinct(runs: Sequence[Run]) -> list[Run]:
    """The runs with names that tell them apart."""
    names = [run.name for run in runs]
    return [
        Run(f"{run.name} ({names[: at + 1].count(run.name)})" if names.count(run.name) > 1 else run.name, run.summary, run.tables)
        for at, run in enumerate(runs)
    ]
