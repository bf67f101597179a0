"""The cluster of a test: made as its marker and the options say, looked at when it ends, told of when it fails."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from volsched.api.manifest import load_files
from volsched.app.cluster import Cluster, Happening
from volsched.app.invariants import Witness, check_quiet
from volsched.errors import InputError

EVENTS_TOLD: Final = 20
_OWN: Final = ("manifests", "invariants")
_NOT_OURS: Final = frozenset({"read_only", "clock"})  # the fixture's cluster is new, and on the virtual clock
_NS: Final = 1_000_000_000


class WatchedCluster(Cluster):
    """A cluster with a witness of what happens in it, where its invariants are to be checked at the end."""

    witness: Witness | None = None


def make_cluster(options: Mapping[str, Any], *, folder: Path) -> WatchedCluster:
    """`options`: arguments of `Cluster`, and `manifests` (files or folders, relative to `folder`), `invariants`. Raises VolschedError."""
    known = [*(name for name in inspect.signature(Cluster).parameters if name not in _NOT_OURS), *_OWN]
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise InputError(f"volsched_cluster takes no {unknown[0]}; known: {', '.join(known)}")
    cluster = WatchedCluster(**{name: value for name, value in options.items() if name not in _OWN})
    try:
        if options.get("invariants"):
            cluster.witness = Witness(cluster)
        manifests: Sequence[str | Path] | str | Path = options.get("manifests", ())
        paths = [manifests] if isinstance(manifests, str | Path) else manifests
        if paths:
            cluster.create_all(load_files([folder / path for path in paths], warn=warnings.warn))
    except BaseException:
        cluster.close()
        raise
    return cluster


def broken_invariants(cluster: WatchedCluster) -> list[str]:
    """Let the cluster settle; what then does not hold, or did not hold at some time, one line each. Empty without a witness."""
    if cluster.witness is None:
        return []
    cluster.run_until_idle()
    return [f"{violation.rule}: {violation.text}" for violation in check_quiet(cluster, cluster.witness)]


def told(cluster: Cluster) -> tuple[str, str]:
    """A title and a text for the report of a failure: what it takes to see the same again, and what happened last."""
    at = (cluster.now_ns() - cluster.start_ns) / _NS
    title = f"volsched cluster: seed {cluster.store.uids.seed}, run {cluster.run_hash()[:16]}, at {at:.3f} s"
    times: dict[Happening, list[float]] = {}
    for time_ns, entry in cluster.narrative:
        times.setdefault(entry, []).append((time_ns - cluster.start_ns) / _NS)
    lines = []
    for entry, when in list(times.items())[-EVENTS_TOLD:]:
        again = f" (x{len(when)}, last at {when[-1]:.3f}s)" if len(when) > 1 else ""
        lines.append(f"{when[0]:.3f}s {entry.type} {entry.reason} {entry.regarding}: {entry.message}{again}")
    if len(times) > EVENTS_TOLD:
        lines.insert(0, f"… {len(times) - EVENTS_TOLD:,} events before these")
    return title, "\n".join(lines or ["nothing has happened yet"])
