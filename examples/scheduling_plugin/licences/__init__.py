"""Licences: a scheduling plugin with something to say at every extension point.

Pods with the label `example.com/licence: NAME` need a seat of a floating licence; how many seats of each there are in the whole cluster is
given as args; some are checked out only so many at a time. Nodes say with the label `licences.example.com/NAME: "yes"` which licence
servers they reach. The plugin keeps pods without a seat waiting, wakes them when one is free, prefers nodes that hold few licensed pods,
holds those that have to start together until they are complete, and writes the number of the seat on the pod before it is bound.

    PreEnqueue   a licence nobody sells: never tried
    PreFilter    no seat is free: refused, but taking pods away could help; unlicensed pods skip our Filter
    Filter       nodes that reach the licence server, as one mask over all nodes
    PostFilter   says who has the seats
    PreScore, Score, NormalizeScore   the fewer licensed pods, the better
    Reserve      takes a seat, Unreserve gives it back
    Permit       holds pods whose licence is checked out several at a time until there are so many
    PreBind      writes the seat on the pod
    Bind         leaves the binding to the next plugin
    PostBind     counts
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from volsched.engine import Verdict
from volsched.engine.plugin import CycleView, PreFilterAnswer
from volsched.ports import Patch, Steps
from volsched.scheduler.events import ASSIGNED_POD, NODE, Action, ClusterEvent
from volsched.scheduler.framework import OK, Code, CycleState, Handle, PostFilterResult, Status, Verdicts, Wake

LABEL = "example.com/licence"
SEAT = "example.com/licence-seat"


def licence_of(pod: Any) -> str:
    """The licence a pod needs, empty for none."""
    return (pod.metadata.labels or {}).get(LABEL, "")


class Licences:
    """args: `seats` licence -> number of seats; `together` licence -> how many are checked out at a time, 1 where it is not named;
    `patienceSeconds` how long a pod waits for the others, default 60."""

    name = "Licences"

    def __init__(self, args: Mapping[str, Any], handle: Handle) -> None:
        self._seats = {str(licence): int(count) for licence, count in args["seats"].items()}
        self._together = {str(licence): int(count) for licence, count in args.get("together", {}).items()}
        self._patience_s = float(args.get("patienceSeconds", 60))
        self._handle = handle
        self._taken: dict[str, dict[str, int]] = {licence: {} for licence in self._seats}  # licence -> pod uid -> seat number
        self.bound = 0

    def wakes_on(self) -> Sequence[Wake]:
        """A licensed pod that goes frees a seat; a node may reach the server now."""
        gone = ClusterEvent(ASSIGNED_POD, Action.DELETE)
        relabelled = ClusterEvent(NODE, Action.ADD | Action.UPDATE_NODE_LABEL)
        return [Wake(gone, lambda pod, old, new: self._frees(pod, old)), Wake(relabelled)]

    def _frees(self, pod: Any, gone: Any | None) -> bool:
        return gone is not None and licence_of(gone) == licence_of(pod)

    def _holders(self, licence: str) -> dict[str, int]:
        """Pods with a seat: pods that have gone have given theirs back."""
        present = {other.metadata.uid for other in self._handle.cache.all("Pod")}
        self._taken[licence] = {uid: seat for uid, seat in self._taken[licence].items() if uid in present}
        return self._taken[licence]

    # queueing

    def pre_enqueue(self, pod: Any) -> Status:
        licence = licence_of(pod)
        return OK if not licence or licence in self._seats else Status.refuse(f"nobody sells licence {licence}", resolvable=False)

    # PreFilter to NormalizeScore run inside the engine, over arrays

    def pre_filter(self, cycle: CycleView, pod: Any) -> PreFilterAnswer | None:
        licence = licence_of(pod)
        if not licence:
            return PreFilterAnswer(skip=True)
        if len(self._holders(licence)) >= self._seats[licence]:
            return PreFilterAnswer(reason=f"no free seat of licence {licence}", resolvable=True)
        return None

    def filter(self, cycle: CycleView, pod: Any, nodes: np.ndarray) -> Verdict:
        reaches = cycle.label_equals(f"licences.example.com/{licence_of(pod)}", "yes")
        return Verdict(reaches, "node(s) did not reach the licence server", resolvable=False)

    def pre_score(self, cycle: CycleView, pod: Any, nodes: np.ndarray) -> bool:
        return bool(licence_of(pod))

    def score(self, cycle: CycleView, pod: Any, nodes: np.ndarray) -> np.ndarray:
        licensed = np.zeros(len(nodes), dtype=np.int64)
        for place in np.flatnonzero(nodes):
            licensed[place] = sum(bool(licence_of(other)) for other in self._handle.cache.pods_on(cycle.node_names[place]))
        return licensed

    def normalize_score(self, cycle: CycleView, pod: Any, nodes: np.ndarray, scores: np.ndarray) -> np.ndarray:
        most = int(scores[nodes].max())
        return 100 - scores * 100 // most if most else np.full(len(scores), 100, dtype=np.int64)

    def post_filter(self, handle: Handle, state: CycleState, pod: Any, verdicts: Verdicts) -> PostFilterResult:
        licence = licence_of(pod)
        if not licence:
            return PostFilterResult(Status.refuse())
        held = len(self._holders(licence))
        return PostFilterResult(Status.refuse(f"{held} of {self._seats[licence]} seats of {licence} are taken"))

    # reserving and binding

    def reserve(self, state: CycleState, pod: Any, node: str) -> Status:
        licence = licence_of(pod)
        if licence:
            taken = self._holders(licence)
            taken[pod.metadata.uid] = min(set(range(1, self._seats[licence] + 1)) - set(taken.values()))
        return OK

    def unreserve(self, state: CycleState, pod: Any, node: str) -> None:
        self._taken.get(licence_of(pod), {}).pop(pod.metadata.uid, None)

    def permit(self, state: CycleState, pod: Any, node: str) -> tuple[Status, float]:
        licence = licence_of(pod)
        waiting = [other for other in self._handle.waiting_pods() if licence and licence_of(other) == licence]
        if len(waiting) + 1 < self._together.get(licence, 1):
            return Status(Code.WAIT), self._patience_s  # whose patience ends is refused, and gives its seat back
        for other in waiting:
            self._handle.allow(other, self.name)
        return OK, 0.0

    def pre_bind_pre_flight(self, state: CycleState, pod: Any, node: str) -> Status:
        return OK if licence_of(pod) else Status(Code.SKIP)

    def pre_bind(self, state: CycleState, pod: Any, node: str) -> Steps[Status]:
        seat = str(self._taken[licence_of(pod)][pod.metadata.uid])
        yield Patch("Pod", pod.metadata.namespace, pod.metadata.name, {"metadata": {"annotations": {SEAT: seat}}})
        return OK

    def bind(self, state: CycleState, pod: Any, node: str) -> Steps[Status]:
        yield from ()
        return Status(Code.SKIP)

    def post_bind(self, state: CycleState, pod: Any, node: str) -> None:
        self.bound += bool(licence_of(pod))
