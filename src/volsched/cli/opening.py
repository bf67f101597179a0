"""Opening the cluster that a state file keeps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from volsched.app.cluster import Cluster
from volsched.cli.common import DEFAULT_STATE, loaded
from volsched.errors import InputError


def existing(state: Path, *, engine: str = "native", exact_capacity: bool | None = None) -> Cluster:
    """The cluster kept in a state file that has to be there already; it counts capacity as it remembers unless told.

    Raises InputError, StateError.
    """
    _check(state)
    return Cluster(state=state, engine=engine, exact_capacity=exact_capacity)


def looked_at(state: Path, *, engine: str = "native", exact_capacity: bool | None = None) -> Cluster:
    """The same for a command that only looks: as it is now, also while another process runs it. Raises InputError, StateError."""
    _check(state)
    return Cluster(state=state, engine=engine, read_only=True, exact_capacity=exact_capacity)


def looked_at_or_read(files: Sequence[Path], state: Path | None, *, engine: str, command: str) -> Cluster:
    """A cluster to ask questions of: manifests as they are, where there are any (`files_option`), else what a state file holds
    (`looked_state_option`). Raises UsageError when the command line asks for both, InputError, StateError."""
    if not files:
        return looked_at(state or Path(DEFAULT_STATE), engine=engine)
    if click.get_current_context().get_parameter_source("state") is click.core.ParameterSource.COMMANDLINE:
        raise click.UsageError("either -f or --state, not both")
    cluster = Cluster(engine=engine)
    try:
        cluster.create_all(loaded(files, passed_to=command))
    except BaseException:
        cluster.close()
        raise
    return cluster


def _check(state: Path) -> None:
    if not state.exists():
        raise InputError("there is no cluster here yet; `volsched apply -f FILE` starts one", source=str(state))
