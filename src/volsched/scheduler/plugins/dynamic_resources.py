"""DynamicResources, for pods without resource claims: it takes part and has nothing to say, with one visible exception.

Its PostFilter runs before DefaultPreemption's and begins by reading what its PreFilter stored. When a plugin ahead of it in PreFilter order
refuses the pod for good, its PreFilter never ran, so that reading fails: PostFilter ends there with the error text `not found`, preemption
is not tried, and the text stands at the end of the pod's message. Users see it, so it is kept.

Source: pkg/scheduler/framework/plugins/dynamicresources/dynamicresources.go; spec/scheduling.md 9.6.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from lightkube.models.core_v1 import Pod

from volsched.engine.decision import UNRESOLVABLE
from volsched.scheduler.events import NODE, TARGET_POD, Action, ClusterEvent
from volsched.scheduler.framework import Code, CycleState, Handle, PostFilterResult, Status, Verdicts, Wake

# PreFilter plugins that run before this one in the default profile; spec/scheduling.md 1.1.
PRE_FILTERS_AHEAD: Final = frozenset(
    {
        "InterPodAffinity",
        "NodeAffinity",
        "NodeName",
        "NodePorts",
        "NodeResourcesFit",
        "NodeUnschedulable",
        "NodeVolumeLimits",
        "PodTopologySpread",
        "TaintToleration",
        "VolumeBinding",
        "VolumeRestrictions",
        "VolumeZone",
    }
)


class DynamicResources:
    """PostFilter and wake-up hints. `ahead`: the PreFilter plugins that run before this one. `always`: its own PreFilter never runs, so
    that nothing is ever stored."""

    name = "DynamicResources"

    def __init__(self, ahead: frozenset[str] = PRE_FILTERS_AHEAD, *, always: bool = False) -> None:
        self._ahead = ahead
        self._always = always

    def wakes_on(self) -> Sequence[Wake]:
        return (
            Wake(ClusterEvent(NODE, Action.ADD | Action.UPDATE_NODE_LABEL | Action.UPDATE_NODE_ALLOCATABLE)),
            Wake(ClusterEvent(TARGET_POD, Action.UPDATE_POD_GENERATED_CLAIM)),
        )

    def post_filter(self, handle: Handle, state: CycleState, pod: Pod, verdicts: Verdicts) -> PostFilterResult:
        refusal = verdicts.prefilter
        stopped = refusal is not None and refusal.code == UNRESOLVABLE and refusal.plugin in self._ahead
        if stopped or self._always:
            return PostFilterResult(Status.fail("not found"))
        return PostFilterResult(Status(Code.UNSCHEDULABLE))
