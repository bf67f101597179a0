"""A trace in columns: which pods arrive when, with which claims, and the nodes there are.

    openb, DLRM, own CSV or Parquet ──readers──> Trace ──synthesise──> Trace with claims, classes, zones ──simulate──> event log

One row a pod, one row a claim, one row a node; numbers are numpy columns, so that a trace of a million pods is a few arrays. Times are
nanoseconds since the start of the replay. -1 stands for "not stated" in every column where 0 would be a value.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

Ints: TypeAlias = NDArray[np.int64]
Indices: TypeAlias = NDArray[np.int32]

NS: Final = 1_000_000_000
NOT_STATED: Final = -1


class Requirement(NamedTuple):
    """A node label a pod asks for: the pod runs where the label has one of these values."""

    label: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PodColumns:
    """Pods in file order, all columns of one length.

    arrival_ns: when the pod is created. lifetime_ns: how long it runs once it runs, -1 for ever. removal_ns: when its owner removes it
    whatever it does then, -1 never; for pods that never ran in the trace, whose length nobody knows.
    milli_cpu, memory_bytes, ephemeral_bytes: requests, 0 for none. extended: other resources, name -> amounts.
    groups: what the trace sorts its pods by (openb: qos, DLRM: role), empty for nothing; options can be about a group.
    priority: the value of the pod's priority class. requires: index into `requirements`, -1 none.
    disk_bytes: storage the trace states without saying which, -1 none; the synthesiser makes claims or ephemeral storage of it.
    """

    names: Sequence[str]
    arrival_ns: Ints
    lifetime_ns: Ints
    removal_ns: Ints
    milli_cpu: Ints
    memory_bytes: Ints
    ephemeral_bytes: Ints
    priority: Ints
    disk_bytes: Ints
    requires: Indices
    groups: Sequence[str]
    requirements: Sequence[Requirement] = ()
    extended: Mapping[str, Ints] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.names)

    def take(self, rows: NDArray[np.intp]) -> PodColumns:
        """Some of the pods, in the order of `rows`."""
        return replace(
            self,
            names=[self.names[row] for row in rows.tolist()],
            groups=[self.groups[row] for row in rows.tolist()],
            extended={name: amounts[rows] for name, amounts in self.extended.items()},
            **{name: getattr(self, name)[rows] for name in _POD_NUMBERS},
        )


_POD_NUMBERS: Final = (
    "arrival_ns",
    "lifetime_ns",
    "removal_ns",
    "milli_cpu",
    "memory_bytes",
    "ephemeral_bytes",
    "priority",
    "disk_bytes",
    "requires",
)


@dataclass(frozen=True, slots=True)
class ClaimColumns:
    """Claims by pod and place in the pod. classes: names that `storage_class` points into. keep: the claim outlives its pod."""

    pod: Indices
    request_bytes: Ints
    storage_class: Indices
    keep: NDArray[np.bool_]
    classes: Sequence[str] = ()

    def __len__(self) -> int:
        return len(self.pod)

    @classmethod
    def none(cls) -> ClaimColumns:
        """No claims."""
        return cls(np.empty(0, np.int32), np.empty(0, np.int64), np.empty(0, np.int32), np.empty(0, np.bool_))


@dataclass(frozen=True, slots=True)
class NodeColumns:
    """Nodes in the order in which they join. zones: one a node, empty for none. labels: key -> one value a node, empty for none."""

    names: Sequence[str]
    milli_cpu: Ints
    memory_bytes: Ints
    ephemeral_bytes: Ints
    pods_max: Ints
    zones: Sequence[str]
    labels: Mapping[str, Sequence[str]] = field(default_factory=dict)
    extended: Mapping[str, Ints] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.names)


@dataclass(frozen=True, slots=True)
class Trace:
    """What is replayed. nodes: None where the trace has none and the options have to state them. base: objects of a dumped cluster that
    are there at the start, its nodes among them. each_node: resources that a reader made up, and how much of each every node offers."""

    pods: PodColumns
    claims: ClaimColumns
    nodes: NodeColumns | None = None
    base: Sequence[Any] = ()
    each_node: Mapping[str, int] = field(default_factory=dict)

    def limited(self, count: int) -> Trace:
        """The first `count` pods in order of arrival, and their claims."""
        if count >= len(self.pods):
            return self
        first = np.sort(np.argsort(self.pods.arrival_ns, kind="stable")[:count])
        place = np.full(len(self.pods), -1, np.int32)
        place[first] = np.arange(count, dtype=np.int32)
        kept = place[self.claims.pod] >= 0
        claims = replace(
            self.claims,
            pod=place[self.claims.pod[kept]],
            request_bytes=self.claims.request_bytes[kept],
            storage_class=self.claims.storage_class[kept],
            keep=self.claims.keep[kept],
        )
        return replace(self, pods=self.pods.take(first), claims=claims)
