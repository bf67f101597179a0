"""SchedulingGates: a pod with gates is kept out of the queue, without event or condition, until all of them are gone.

Source: pkg/scheduler/framework/plugins/schedulinggates/scheduling_gates.go; spec/scheduling.md 10.5.
"""

from __future__ import annotations

from collections.abc import Sequence

from lightkube.models.core_v1 import Pod

from volsched.scheduler.events import TARGET_POD, Action, ClusterEvent
from volsched.scheduler.framework import OK, Status, Wake


class SchedulingGates:
    """PreEnqueue."""

    name = "SchedulingGates"

    def wakes_on(self) -> Sequence[Wake]:
        return (Wake(ClusterEvent(TARGET_POD, Action.UPDATE_POD_GATES_ELIMINATED)),)

    def pre_enqueue(self, pod: Pod) -> Status:
        gates = [gate.name for gate in (pod.spec.schedulingGates if pod.spec else None) or ()]
        if not gates:
            return OK
        return Status.refuse(f"waiting for scheduling gates: [{' '.join(gates)}]", resolvable=False)
