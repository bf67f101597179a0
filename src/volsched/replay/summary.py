"""The figures of a replay, computed from its event log and from nothing else."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from volsched.replay.log import EventLog, Kind, facts_digest
from volsched.replay.reading import Reading
from volsched.replay.trace import NS, Ints

VERSION: Final = 1
PERCENTILES: Final = (50, 90, 99)
DIGITS: Final = 6


def summary_of(log: EventLog) -> dict[str, Any]:
    """What `summary.json` holds: numbers, texts, lists and dicts only. docs/replay.md says what each figure is."""
    read = Reading(log)
    return {
        "version": VERSION,
        "partial": log.is_partial,
        "seed": int(log.facts["seed"][0]),
        "input_sha256": facts_digest(log.facts),
        "log_sha256": log.sha256(),
        "events": len(log),
        "virtual_s": _rounded(read.end_ns / NS),
        "pods": _pods(read),
        "wait_s": _spread(read.first_ns(Kind.ARRIVED), read.first_ns(Kind.BOUND)),
        "start_s": _spread(read.first_ns(Kind.ARRIVED), read.first_ns(Kind.RUNNING)),
        "reasons": _reasons(read),
        "nodes": _nodes(read),
        "resources": _resources(read),
        "storage": _storage(read),
    }


def _rounded(number: float) -> float:
    return round(float(number), DIGITS)


def _count(read: Reading, *kinds: Kind) -> int:
    return len(read.rows(*kinds))


def _pods(read: Reading) -> dict[str, int]:
    arrived = read.counted(Kind.ARRIVED) > 0
    placed = read.counted(Kind.PLACED) > 0
    gone = (read.counted(Kind.ENDED) + read.counted(Kind.REMOVED)) > 0
    _, last, _ = read.last(Kind.ARRIVED, Kind.PLACED, Kind.UNPLACED, Kind.EVICTED)
    on_node = last == Kind.PLACED
    return {
        "total": read.pods,
        "arrived": int(arrived.sum()),
        "placed": int(placed.sum()),
        "never_placed": int((arrived & ~placed).sum()),
        "ended": _count(read, Kind.ENDED),
        "removed": _count(read, Kind.REMOVED),
        "on_nodes_at_end": int((arrived & ~gone & on_node).sum()),
        "waiting_at_end": int((arrived & ~gone & ~on_node).sum()),
        "evictions": _count(read, Kind.EVICTED),
        "bindings_failed": _count(read, Kind.UNPLACED),
        "attempts": int(read.log.attempts.sum()),
    }


def _spread(from_ns: Ints, to_ns: Ints) -> dict[str, float | None]:
    """Of those that got there: how long it took."""
    there = to_ns >= 0
    took = (to_ns[there] - from_ns[there]) / NS
    if not len(took):
        return {"mean": None, **{f"p{percent}": None for percent in PERCENTILES}, "max": None}
    ranks = {f"p{percent}": _rounded(np.percentile(took, percent, method="inverted_cdf")) for percent in PERCENTILES}
    return {"mean": _rounded(took.mean()), **ranks, "max": _rounded(took.max())}


def _reasons(read: Reading) -> list[dict[str, Any]]:
    """Reasons by the pod-seconds they held pods back."""
    mean = read.held_back.mean(read.end_ns)
    peak = read.held_back.peak()
    rows = read.rows(Kind.REFUSED, Kind.UNPLACED)
    found = [
        {
            "reason": text,
            "pods": len(np.unique(rows[rows[:, 4] == at, 2])),
            "pod_s": _rounded(mean[at] * read.end_ns / NS),
            "waiting_peak": int(peak[at]),
        }
        for at, text in enumerate(read.log.reasons)
    ]
    return sorted(found, key=lambda row: (-row["pod_s"], row["reason"]))


def _nodes(read: Reading) -> dict[str, int]:
    return {
        "total": len(read.facts["node_name"]),
        "at_start": int(read.starts_with.sum()),
        "joined": _count(read, Kind.NODE_JOINED),
        "lost": _count(read, Kind.NODE_LOST),
        "cordoned": _count(read, Kind.CORDONED),
    }


def _resources(read: Reading) -> dict[str, dict[str, Any]]:
    names = [*read.facts["resources"].tolist(), "pods"]
    used_mean, used_peak = read.used.mean(read.end_ns), read.used.peak()
    offered_mean, offered_peak = read.offered.mean(read.end_ns), read.offered.peak()
    found = {}
    for at, name in enumerate(names):
        row: dict[str, Any] = {"requested_mean": _rounded(used_mean[at]), "requested_peak": int(used_peak[at])}
        if at < len(names) - 1:  # how many pods a node takes is no request of theirs
            row |= {"allocatable_peak": int(offered_peak[at])}
            row |= {"share_mean": _rounded(used_mean[at] / offered_mean[at]) if offered_mean[at] else None}
        found[name] = row
    return found


def _storage(read: Reading) -> dict[str, dict[str, Any]]:
    facts = read.facts
    filled_peak, filled_mean = read.filled.peak(), read.filled.mean(read.end_ns)
    taken_peak = read.disks_taken(in_bytes=False).peak()
    made, failed = read.rows(Kind.PROVISIONED), read.rows(Kind.PROVISION_FAILED)
    found = {}
    for code, name in enumerate(facts["class_name"].tolist()):
        pools = facts["pool_class"] == code
        disks = facts["disk_class"] == code
        of_class = facts["claim_class"][made[:, 2]] == code
        row: dict[str, Any] = {"claims": int((facts["claim_class"] == code).sum())}
        if disks.any():
            claimed = read.rows(Kind.CLAIMED)
            row |= {
                "claimed": int((facts["claim_class"][claimed[:, 2]] == code).sum()),
                "disks": int(disks.sum()),
                "disks_taken_peak": int(taken_peak[code]),
            }
        else:
            sizes = facts["pool_bytes"][pools]
            row |= {
                "provisioned": int(of_class.sum()),
                "provisioned_bytes": int(facts["claim_bytes"][made[of_class, 2]].sum()),
                "provisioning_failed": int((facts["claim_class"][failed[:, 2]] == code).sum()),
                "pools": int(pools.sum()),
                "pool_bytes": int(sizes.sum()) if (sizes >= 0).all() else None,
                "used_bytes_mean": _rounded(filled_mean[pools].sum()),
                "fullest_pool": _rounded((filled_peak[pools] / sizes).max()) if len(sizes) and (sizes > 0).all() else None,
            }
        found[name] = row
    return found
