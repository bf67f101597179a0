"""Opening the cluster that a state file keeps."""

from __future__ import annotations

from pathlib import Path

from volsched.app.cluster import Cluster
from volsched.errors import InputError


def existing(state: Path, *, engine: str = "native", exact_capacity: bool | None = None) -> Cluster:
    """The cluster kept in a state file that has to be there already; it counts capacity as it remembers unless told.

    Raises InputError, StateError.
    """
    if not state.exists():
        raise InputError("there is no cluster here yet; `volsched apply -f FILE` starts one", source=str(state))
    return Cluster(state=state, engine=engine, exact_capacity=exact_capacity)
