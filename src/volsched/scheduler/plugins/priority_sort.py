"""PrioritySort: the order of activeQ, by priority, then by the time of queueing.

Source: pkg/scheduler/framework/plugins/queuesort/priority_sort.go; spec/scheduling.md 10.1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lightkube.models.core_v1 import Pod

from volsched.scheduler.framework import Wake
from volsched.scheduler.queue import priority_sort


class PrioritySort:
    """Higher priority first; among equals, whoever was queued first."""

    name = "PrioritySort"

    def wakes_on(self) -> Sequence[Wake]:
        return ()

    def sort_key(self, pod: Pod, queued_ns: int) -> tuple[Any, ...]:
        return priority_sort(pod, queued_ns)
