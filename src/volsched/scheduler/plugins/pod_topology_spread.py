"""PodTopologySpread: a pod's own DoNotSchedule constraints keep it from crowding a zone or node.

A refused pod wakes when a placed pod of its namespace that its constraints count appears, changes labels or leaves, when a node that counts
appears, leaves or changes in a topology key or taint, and when it is relabelled or tolerates more itself.

Source: pkg/scheduler/framework/plugins/podtopologyspread/plugin.go; spec/scheduling.md 8.8, 10.4.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from lightkube.models.core_v1 import Pod, TopologySpreadConstraint

from volsched.api.edit import labels_of
from volsched.api.kinds import meta
from volsched.rules.selectors import Selector, compile_selector, exact_labels
from volsched.scheduler.events import ASSIGNED_POD, NODE, TARGET_POD, Action, ClusterEvent
from volsched.scheduler.framework import Wake
from volsched.scheduler.plugins.node_ports import occupies_a_node
from volsched.scheduler.plugins.taint_toleration import tolerations_of


class _Constraint(NamedTuple):
    key: str
    selector: Selector
    honours_taints: bool


class PodTopologySpread:
    """Wake-up hints. `defaults`: hard constraints of a profile for pods without any of their own; their selector is not known here, so
    pods under them wake for every event."""

    name = "PodTopologySpread"

    def __init__(self, defaults: Sequence[TopologySpreadConstraint] = ()) -> None:
        self._hard_defaults = any(item.whenUnsatisfiable == "DoNotSchedule" for item in defaults)

    def wakes_on(self) -> Sequence[Wake]:
        return (
            Wake(ClusterEvent(ASSIGNED_POD, Action.ADD | Action.UPDATE_POD_LABEL | Action.DELETE), self._placed_pod_changed),
            Wake(ClusterEvent(TARGET_POD, Action.UPDATE_POD_TOLERATION | Action.UPDATE_POD_LABEL), self._own_change),
            Wake(ClusterEvent(NODE, Action.ADD | Action.DELETE | Action.UPDATE_NODE_LABEL | Action.UPDATE_NODE_TAINT), self._node_changed),
        )

    def _constraints(self, pod: Pod) -> list[_Constraint]:
        """Raises SelectorError."""
        labels = labels_of(pod)
        return [
            _Constraint(
                item.topologyKey,
                compile_selector(item.labelSelector).narrowed(
                    exact_labels({key: labels[key] for key in item.matchLabelKeys or () if key in labels})
                ),
                item.nodeTaintsPolicy == "Honor",
            )
            for item in (pod.spec.topologySpreadConstraints if pod.spec else None) or ()
            if item.whenUnsatisfiable == "DoNotSchedule"
        ]

    def _under_defaults(self, pod: Pod) -> bool:
        return self._hard_defaults and not (pod.spec and pod.spec.topologySpreadConstraints)

    @staticmethod
    def _counted_differently(constraints: Sequence[_Constraint], old: Pod, new: Pod) -> bool:
        if labels_of(old) == labels_of(new):
            return False
        return any(item.selector.matches(labels_of(old)) != item.selector.matches(labels_of(new)) for item in constraints)

    def _placed_pod_changed(self, pod: Pod, old: Any | None, new: Any | None) -> bool:
        for other in (old, new):
            if other is not None and (not occupies_a_node(other) or meta(other).namespace != meta(pod).namespace):
                return False
        if self._under_defaults(pod):
            return True
        constraints = self._constraints(pod)
        if old is not None and new is not None:
            return self._counted_differently(constraints, old, new)
        other = new if new is not None else old
        return any(item.selector.matches(labels_of(other)) for item in constraints)

    def _own_change(self, pod: Pod, old: Any | None, new: Any | None) -> bool:
        if old is None or new is None or self._under_defaults(pod):
            return True
        constraints = self._constraints(pod)
        if list(tolerations_of(old)) != list(tolerations_of(new)) and any(item.honours_taints for item in constraints):
            return True
        return self._counted_differently(constraints, old, new)

    def _node_changed(self, pod: Pod, old: Any | None, new: Any | None) -> bool:
        constraints = self._constraints(pod)

        def counts(labels: Mapping[str, str]) -> bool:
            return all(item.key in labels for item in constraints)

        if old is not None and new is not None:
            before, after = labels_of(old), labels_of(new)
            if counts(before) != counts(after):
                return True
            taints = [(node.spec.taints if node.spec else None) or [] for node in (old, new)]
            return counts(after) and (any(before.get(i.key) != after.get(i.key) for i in constraints) or taints[0] != taints[1])
        node = new if new is not None else old
        return node is not None and counts(labels_of(node))
