"""The cluster's columns for own plugins, gathered from a snapshot: what `volsched.engine.plugin.CycleView` reads."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from volsched.engine.plugin import IntArray
from volsched.engine.reference.framework import NodeInfo, Snapshot
from volsched.errors import EngineError
from volsched.rules.resources import CPU, EPHEMERAL_STORAGE, MEMORY, Resources


def _amount(resources: Resources, name: str) -> int:
    if name == CPU:
        return resources.milli_cpu
    if name == MEMORY:
        return resources.memory
    return resources.ephemeral_storage if name == EPHEMERAL_STORAGE else resources.scalars.get(name, 0)


class SnapshotColumns:
    """Columns in node order. A snapshot never changes, so its generation stands still."""

    generation = 0

    def __init__(self, snapshot: Snapshot) -> None:
        self._nodes = snapshot.nodes

    def node_names(self) -> Sequence[str]:
        return [node.name for node in self._nodes]

    def resource_names(self) -> Sequence[str]:
        names = {CPU, MEMORY, EPHEMERAL_STORAGE}
        for node in self._nodes:
            names |= node.allocatable.scalars.keys() | node.requested.scalars.keys()
        return [CPU, MEMORY, EPHEMERAL_STORAGE, *sorted(names - {CPU, MEMORY, EPHEMERAL_STORAGE})]

    def _column(self, read: Callable[[NodeInfo], int]) -> IntArray:
        column = np.fromiter((read(node) for node in self._nodes), dtype=np.int64, count=len(self._nodes))
        column.flags.writeable = False
        return column

    def _check(self, resource: str) -> None:
        if resource not in self.resource_names():
            raise EngineError(f'no node or pod has named the resource "{resource}"')

    def allocatable(self, resource: str) -> IntArray:
        self._check(resource)
        return self._column(lambda node: _amount(node.allocatable, resource))

    def requested(self, resource: str) -> IntArray:
        self._check(resource)
        return self._column(lambda node: _amount(node.requested, resource))

    def pods_allocatable(self) -> IntArray:
        return self._column(lambda node: node.allocatable.pods)

    def pods_counted(self) -> IntArray:
        return self._column(lambda node: len(node.pods))

    def label_values(self, key: str) -> Sequence[str | None]:
        return [node.labels.get(key) for node in self._nodes]
