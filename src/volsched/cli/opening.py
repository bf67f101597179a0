"""Opening the cluster that a state file keeps."""

from __future__ import annotations

from pathlib import Path

from volsched.app.cluster import Cluster
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


def _check(state: Path) -> None:
    if not state.exists():
        raise InputError("there is no cluster here yet; `volsched apply -f FILE` starts one", source=str(state))
