"""Opening the cluster that a state file keeps."""

from __future__ import annotations

from pathlib import Path

from volsched.app.cluster import Cluster
from volsched.errors import InputError


def existing(state: Path, *, engine: str = "native") -> Cluster:
    """The cluster kept in a state file that has to be there already. Raises InputError, StateError."""
    _check(state)
    return Cluster(state=state, engine=engine)


def looked_at(state: Path, *, engine: str = "native") -> Cluster:
    """The same for a command that only looks: as it is now, also while another process runs it. Raises InputError, StateError."""
    _check(state)
    return Cluster(state=state, engine=engine, read_only=True)


def _check(state: Path) -> None:
    if not state.exists():
        raise InputError("there is no cluster here yet; `volsched apply -f FILE` starts one", source=str(state))
