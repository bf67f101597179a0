"""PodTopologySpread: keep the pods that a selector names evenly spread over the values of a node label.

Constraints that must hold are counted over the nodes that carry all their keys, and filter. Those that should hold score. A pod that
states none of either has the profile's constraints, and is spread along with the pods of its services and of its controller.

The weights use the natural logarithm of the compared implementation, which is not the C library's: it differs in the last bit for some
sizes, and a rounded score can turn on that bit.

Source: pkg/scheduler/framework/plugins/podtopologyspread/{common,filtering,scoring}.go, plugins/helper/spread.go; spec/scheduling.md 8.8.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from typing import ClassVar, Final, NamedTuple, Self

from lightkube.models.apps_v1 import ReplicaSet, StatefulSet
from lightkube.models.core_v1 import Pod, TopologySpreadConstraint

from volsched.api.edit import labels_of
from volsched.engine.profile import EngineProfile
from volsched.engine.reference.framework import (
    SCORE_MAX,
    SKIP,
    SUCCESS,
    NodeInfo,
    Plugin,
    PodInfo,
    Snapshot,
    Status,
    failed,
    unresolvable,
    unschedulable,
)
from volsched.engine.reference.taint_toleration import has_untolerated_taint
from volsched.rules.numbers import quotient, round_half_away
from volsched.rules.selectors import Selector, SelectorError, compile_selector, exact_labels
from volsched.rules.topology import HOSTNAME, ZONE, node_matches_pod_affinity

_HARD: Final = "DoNotSchedule"
_SOFT: Final = "ScheduleAnyway"
_HONOR: Final = "Honor"
_MISMATCH: Final = "node(s) didn't match pod topology spread constraints"
_MISSING: Final = f"{_MISMATCH} (missing required label)"

_SYSTEM_DEFAULTS: Final = (
    TopologySpreadConstraint(topologyKey=HOSTNAME, maxSkew=3, whenUnsatisfiable=_SOFT),
    TopologySpreadConstraint(topologyKey=ZONE, maxSkew=5, whenUnsatisfiable=_SOFT),
)

_LN2_HIGH: Final = 6.93147180369123816490e-01
_LN2_LOW: Final = 1.90821492927058770002e-10
_L1: Final = 6.666666666666735130e-01
_L2: Final = 3.999999999940941908e-01
_L3: Final = 2.857142874366239149e-01
_L4: Final = 2.222219843214978396e-01
_L5: Final = 1.818357216161805012e-01
_L6: Final = 1.531383769920937332e-01
_L7: Final = 1.479819860510658591e-01


def natural_logarithm(x: float) -> float:
    """ln(x) for finite x > 0, to the bit as kube-scheduler computes it."""
    fraction, exponent = math.frexp(x)
    if fraction < math.sqrt(2) / 2:
        fraction *= 2
        exponent -= 1
    f = fraction - 1
    k = float(exponent)
    s = f / (2 + f)
    s2 = s * s
    s4 = s2 * s2
    t1 = s2 * (_L1 + s4 * (_L3 + s4 * (_L5 + s4 * _L7)))
    t2 = s4 * (_L2 + s4 * (_L4 + s4 * _L6))
    r = t1 + t2
    h = 0.5 * f * f
    return k * _LN2_HIGH - ((h - (s * (h + r) + k * _LN2_LOW)) - f)


class _Constraint(NamedTuple):
    key: str
    max_skew: int
    selector: Selector
    domains_min: int = 1
    honor_affinity: bool = True
    honor_taints: bool = False

    @classmethod
    def of(cls, constraint: TopologySpreadConstraint, pod_labels: Mapping[str, str]) -> _Constraint:
        """Raises SelectorError."""
        selector = compile_selector(constraint.labelSelector)
        copied = {key: pod_labels[key] for key in constraint.matchLabelKeys or () if key in pod_labels}
        if copied:
            selector = selector.narrowed(exact_labels(copied))
        return cls(
            constraint.topologyKey,
            constraint.maxSkew,
            selector,
            1 if constraint.minDomains is None else constraint.minDomains,
            constraint.nodeAffinityPolicy in (None, _HONOR),
            constraint.nodeTaintsPolicy == _HONOR,
        )


class PodTopologySpread(Plugin):
    name: ClassVar[str] = "PodTopologySpread"

    def __init__(self, snapshot: Snapshot, pod: Pod, profile: EngineProfile) -> None:
        super().__init__(snapshot, pod, profile)
        self._labels = labels_of(pod)
        self._hard: list[_Constraint] = []
        self._hard_counts: list[dict[str, int]] = []  # per constraint: topology value -> pods
        self._soft: list[_Constraint] = []
        self._soft_counts: list[dict[str, int]] = []
        self._soft_weights: list[float] = []
        self._ignored: set[str] = set()

    def _constraints(self, when_unsatisfiable: str) -> list[_Constraint]:
        """The pod's own, or the profile's over what the pod's services and controller select. Raises SelectorError."""
        own = self.spec.topologySpreadConstraints
        defaults = self.profile.spread.defaults
        listed = own or (_SYSTEM_DEFAULTS if defaults is None else defaults)
        found = [_Constraint.of(item, self._labels) for item in listed if item.whenUnsatisfiable == when_unsatisfiable]
        if own or not found:
            return found
        selector = self._default_selector()
        return [] if selector.is_empty else [item._replace(selector=selector) for item in found]

    def _included(self, constraint: _Constraint, node: NodeInfo) -> bool:
        if constraint.honor_affinity and not node_matches_pod_affinity(self.pod, node.node):
            return False
        return not (constraint.honor_taints and has_untolerated_taint(node.node, self.spec.tolerations or ()))

    def _count(self, selector: Selector, node: NodeInfo) -> int:
        """Pods of the pod's namespace on the node that match and are not on their way out. A selector that asks for nothing counts none."""
        if selector.is_empty:
            return 0
        return sum(
            pod.metadata is not None
            and pod.metadata.deletionTimestamp is None
            and (pod.metadata.namespace or "default") == self.namespace
            and selector.matches(labels_of(pod))
            for pod in node.pods
        )

    # Constraints that must hold

    def pre_filter(self) -> tuple[Status, frozenset[str] | None]:
        try:
            self._hard = self._constraints(_HARD)
        except SelectorError as problem:
            return failed(f"get constraints from pod: obtaining pod's hard topology spread constraints: {problem}"), None
        if not self._hard:
            return SKIP, None
        self._hard_counts = [{} for _ in self._hard]
        for node in self.snapshot.nodes:
            if not all(constraint.key in node.labels for constraint in self._hard):
                continue
            for constraint, counts in zip(self._hard, self._hard_counts, strict=True):
                if self._included(constraint, node):
                    value = node.labels[constraint.key]
                    counts[value] = counts.get(value, 0) + self._count(constraint.selector, node)
        return SUCCESS, None

    def _adjust(self, other: PodInfo, node: NodeInfo, amount: int) -> None:
        """One pod more or less. Unlike `_count`, this counts pods on their way out, and a selector that asks for nothing counts all."""
        namespace = (other.pod.metadata.namespace if other.pod.metadata else None) or "default"
        if namespace != self.namespace or not all(constraint.key in node.labels for constraint in self._hard):
            return
        for constraint, counts in zip(self._hard, self._hard_counts, strict=True):
            if constraint.selector.matches(labels_of(other.pod)) and self._included(constraint, node):
                value = node.labels[constraint.key]
                counts[value] = counts.get(value, 0) + amount

    def add_pod(self, other: PodInfo, node: NodeInfo) -> None:
        self._adjust(other, node, 1)

    def remove_pod(self, other: PodInfo, node: NodeInfo) -> None:
        self._adjust(other, node, -1)

    def clone(self) -> Self:
        made = copy.copy(self)
        made._hard_counts = [dict(counts) for counts in self._hard_counts]
        return made

    def filter(self, node: NodeInfo) -> Status:
        for constraint, counts in zip(self._hard, self._hard_counts, strict=True):
            if constraint.key not in node.labels:
                return unresolvable(_MISSING)
            fewest = 0 if len(counts) < constraint.domains_min else min(counts.values(), default=0)
            own = 1 if constraint.selector.matches(self._labels) else 0
            if counts.get(node.labels[constraint.key], 0) + own - fewest > constraint.max_skew:
                return unschedulable(_MISMATCH)
        return SUCCESS

    # Constraints that should hold

    def _default_selector(self) -> Selector:
        """What the pod's services and its controller select, together."""
        merged: dict[str, str] = {}
        for (namespace, _name), service in sorted(self.cluster.services.items()):
            wanted = service.spec.selector if service.spec else None
            if namespace == self.namespace and wanted is not None and exact_labels(wanted).matches(self._labels):
                merged.update(wanted)
        owners = (self.pod.metadata.ownerReferences if self.pod.metadata else None) or ()
        owner = next((item for item in owners if item.controller), None)
        if owner is None:
            return exact_labels(merged)
        key = (self.namespace, owner.name)
        kind = (owner.apiVersion, owner.kind)
        if kind == ("v1", "ReplicationController"):
            controller = self.cluster.replication_controllers.get(key)
            merged.update((controller.spec.selector if controller and controller.spec else None) or {})
            return exact_labels(merged)
        selector = exact_labels(merged)
        workload: ReplicaSet | StatefulSet | None
        if kind == ("apps/v1", "ReplicaSet"):
            workload = self.cluster.replica_sets.get(key)
        elif kind == ("apps/v1", "StatefulSet"):
            workload = self.cluster.stateful_sets.get(key)
        else:
            return selector
        if workload is not None and workload.spec is not None:
            try:
                return selector.narrowed(compile_selector(workload.spec.selector))
            except SelectorError:
                return selector
        return selector

    def pre_score(self, nodes: Sequence[NodeInfo]) -> Status:
        try:
            self._soft = self._constraints(_SOFT)
        except SelectorError as problem:
            return failed(f"calculating preScoreState: obtaining pod's soft topology spread constraints: {problem}")
        if not self._soft:
            return SKIP
        # The system's constraints let a node without a zone take part; anybody else's mean what they say.
        requires_all = bool(self.spec.topologySpreadConstraints) or self.profile.spread.defaults is not None
        self._soft_counts = [{} for _ in self._soft]
        if requires_all:
            self._ignored = {node.name for node in nodes if not all(item.key in node.labels for item in self._soft)}
        considered = [node for node in nodes if node.name not in self._ignored]
        for constraint, counts in zip(self._soft, self._soft_counts, strict=True):
            if constraint.key == HOSTNAME:  # counted node by node in score
                self._soft_weights.append(natural_logarithm(float(len(considered) + 2)))
                continue
            for node in considered:
                counts[node.labels.get(constraint.key, "")] = 0
            self._soft_weights.append(natural_logarithm(float(len(counts) + 2)))
        for node in self.snapshot.nodes:
            if requires_all and not all(item.key in node.labels for item in self._soft):
                continue
            for constraint, counts in zip(self._soft, self._soft_counts, strict=True):
                value = node.labels.get(constraint.key, "")
                if value in counts and self._included(constraint, node):
                    counts[value] += self._count(constraint.selector, node)
        return SUCCESS

    def score(self, node: NodeInfo) -> int:
        if node.name in self._ignored:
            return 0
        total = 0.0
        for constraint, counts, weight in zip(self._soft, self._soft_counts, self._soft_weights, strict=True):
            if constraint.key not in node.labels:
                continue
            count = self._count(constraint.selector, node) if constraint.key == HOSTNAME else counts[node.labels[constraint.key]]
            total += float(count) * weight + float(constraint.max_skew - 1)
        return round_half_away(total)

    def normalize(self, scores: Mapping[str, int]) -> dict[str, int]:
        considered = [score for name, score in scores.items() if name not in self._ignored]
        lowest, highest = min(considered, default=0), max(considered, default=0)

        def normalized(name: str, score: int) -> int:
            if name in self._ignored:
                return 0
            return SCORE_MAX if highest == 0 else quotient(SCORE_MAX * (highest + lowest - score), highest)

        return {name: normalized(name, score) for name, score in scores.items()}
