"""What a log says, followed through time: the common part of summary and tables. It reads nothing but the log."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from volsched.replay.log import NONE, EventLog, Kind
from volsched.replay.plan import Verb
from volsched.replay.trace import NS, Ints

Floats = NDArray[np.float64]
LEAVES: Final = (Kind.UNPLACED, Kind.ENDED, Kind.EVICTED, Kind.REMOVED)


def seconds(times_ns: Ints) -> Floats:
    """Seconds of nanoseconds; nan for -1, which is no time."""
    found: Floats = np.where(times_ns < 0, np.nan, times_ns / NS)
    return found


@dataclass(frozen=True)
class Changes:
    """Amounts that change at instants, as what is added. times_ns: (n,), ascending. column, added: (n,). first: (k,), before any."""

    times_ns: Ints
    column: Ints
    added: Ints
    first: Ints

    def at(self, times_ns: Ints) -> NDArray[np.int64]:
        """(m, k): what holds after everything that happens at each of some ascending times."""
        found = np.zeros((len(times_ns) + 1, len(self.first)), np.int64)
        np.add.at(found, (np.searchsorted(times_ns, self.times_ns, side="left"), self.column), self.added)
        held: NDArray[np.int64] = np.cumsum(found[:-1], axis=0) + self.first
        return held

    def mean(self, end_ns: int) -> Floats:
        """(k,): over time, from 0 to the end; zero where no time passes."""
        if end_ns <= 0:
            return np.zeros(len(self.first))
        weights = self.added * ((end_ns - self.times_ns) / end_ns)
        mean: Floats = np.bincount(self.column, weights=weights, minlength=len(self.first)).astype(np.float64)
        return mean + self.first

    def peak(self) -> Ints:
        """(k,): the most that held once an instant was over."""
        found = self.first.copy()
        order = np.argsort(self.column, kind="stable")
        column, times = self.column[order], self.times_ns[order]
        held = np.cumsum(self.added[order])
        begins = np.flatnonzero(np.append(True, np.diff(column) != 0)) if len(column) else np.zeros(0, np.int64)
        before = np.repeat(held[begins] - self.added[order][begins], np.diff(np.append(begins, len(column))))
        held = held - before + self.first[column]
        over = np.append((np.diff(column) != 0) | (np.diff(times) != 0), True) if len(column) else np.zeros(0, np.bool_)
        np.maximum.at(found, column[over], held[over])
        return found


class Reading:
    """One log, read."""

    def __init__(self, log: EventLog) -> None:
        self.log = log
        self.facts = log.facts
        self.end_ns = int(log.time_ns[-1]) if len(log) else 0

    def rows(self, *kinds: Kind) -> NDArray[np.int64]:
        """The rows of some kinds."""
        return self.log.rows[np.isin(self.log.kind, kinds)]

    @property
    def pods(self) -> int:
        return len(self.facts["pod_name"])

    def first_ns(self, kind: Kind) -> Ints:
        """By pod: when that happened to it first, -1 never."""
        rows = self.rows(kind)
        found = np.full(self.pods, NONE, np.int64)
        found[rows[::-1, 2]] = rows[::-1, 0]
        return found

    def last(self, *kinds: Kind) -> tuple[Ints, Ints, Ints]:
        """By pod: time, kind and node of the last row of these kinds, -1 without one."""
        rows = self.rows(*kinds)
        found = tuple(np.full(self.pods, NONE, np.int64) for _ in range(3))
        for column, values in zip(found, (rows[:, 0], rows[:, 1], rows[:, 3]), strict=True):
            column[rows[:, 2]] = values
        return found[0], found[1], found[2]

    def counted(self, kind: Kind) -> Ints:
        """By pod: how often that happened to it."""
        return np.bincount(self.rows(kind)[:, 2], minlength=self.pods)

    @cached_property
    def moves(self) -> tuple[NDArray[np.int64], Ints]:
        """Rows of pods that come to a node or leave one, and +1 or -1 for each."""
        rows = self.rows(Kind.PLACED, *LEAVES)
        rows = rows[rows[:, 3] >= 0]
        return rows, np.where(rows[:, 1] == Kind.PLACED, 1, -1)

    @cached_property
    def used(self) -> Changes:
        """Requests of the pods on nodes, by resource; the number of pods comes last."""
        rows, signs = self.moves
        requests = self.facts["pod_requests"]
        asked, resource = np.nonzero(requests[rows[:, 2]])
        count = requests.shape[1]
        at = np.concatenate([asked, np.arange(len(rows))])
        column = np.concatenate([resource, np.full(len(rows), count)])
        added = np.concatenate([requests[rows[asked, 2], resource], np.ones(len(rows), np.int64)]) * signs[at]
        order = np.argsort(at, kind="stable")
        return Changes(rows[at[order], 0], column[order], added[order], np.zeros(count + 1, np.int64))

    @cached_property
    def starts_with(self) -> NDArray[np.bool_]:
        """By node: whether it is there when time begins."""
        there = np.ones(len(self.facts["node_name"]), np.bool_)
        plan = self.facts["plan"]
        there[plan[plan[:, 1] == Verb.JOIN, 2]] = False
        return there

    @cached_property
    def offered(self) -> Changes:
        """What the nodes that are there offer, by resource."""
        allocatable = self.facts["node_allocatable"]
        rows = self.rows(Kind.NODE_JOINED, Kind.NODE_LOST)
        signs = np.where(rows[:, 1] == Kind.NODE_JOINED, 1, -1)
        width = allocatable.shape[1]
        added = (allocatable[rows[:, 3]] * signs[:, None]).reshape(-1)
        column = np.tile(np.arange(width), len(rows))
        return Changes(np.repeat(rows[:, 0], width), column, added, allocatable[self.starts_with].sum(axis=0))

    @cached_property
    def filled(self) -> Changes:
        """Bytes given away, by pool."""
        rows = self.rows(Kind.PROVISIONED, Kind.RELEASED)
        added = self.facts["claim_bytes"][rows[:, 2]] * np.where(rows[:, 1] == Kind.PROVISIONED, 1, -1)
        return Changes(rows[:, 0], rows[:, 3], added, np.zeros(len(self.facts["pool_bytes"]), np.int64))

    def disks_taken(self, *, in_bytes: bool) -> Changes:
        """Local disks that cannot be claimed, taken or being cleaned, by class: how many, or their bytes."""
        rows = self.rows(Kind.CLAIMED, Kind.DISK_CLEAN)
        signs = np.where(rows[:, 1] == Kind.CLAIMED, 1, -1)
        sizes = self.facts["disk_bytes"][rows[:, 3]] if in_bytes else np.ones(len(rows), np.int64)
        column = self.facts["disk_class"][rows[:, 3]].astype(np.int64)
        return Changes(rows[:, 0], column, sizes * signs, np.zeros(len(self.facts["class_name"]), np.int64))

    @cached_property
    def waiting(self) -> Changes:
        """Pods that are there and have no node."""
        rows = self.rows(Kind.ARRIVED, Kind.PLACED, Kind.UNPLACED, Kind.EVICTED, Kind.REMOVED)
        rows = rows[(rows[:, 1] != Kind.REMOVED) | (rows[:, 3] < 0)]  # who is removed from a node did not wait
        added = np.where(np.isin(rows[:, 1], (Kind.PLACED, Kind.REMOVED)), -1, 1)
        return Changes(rows[:, 0], np.zeros(len(rows), np.int64), added, np.zeros(1, np.int64))

    @cached_property
    def held_back(self) -> Changes:
        """Pods that wait, by the reason they were last refused for."""
        current: dict[int, int] = {}
        changes: list[tuple[int, int, int]] = []
        for time_ns, kind, pod, _, reason in self.rows(Kind.REFUSED, Kind.UNPLACED, Kind.PLACED, Kind.REMOVED).tolist():
            before = current.pop(pod, NONE)
            if before != NONE:
                changes.append((time_ns, before, -1))
            if kind in (Kind.REFUSED, Kind.UNPLACED):
                current[pod] = reason
                changes.append((time_ns, reason, 1))
        table = np.array(changes, np.int64).reshape(-1, 3)
        return Changes(table[:, 0], table[:, 1], table[:, 2], np.zeros(len(self.log.reasons), np.int64))
