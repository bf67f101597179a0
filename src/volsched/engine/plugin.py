"""Plugins of one's own: they see all nodes at once, as arrays.

    pre_filter ──> filter ──mask──> pre_score ──> score ──> normalize_score ──> times weight ──> choice

Every array has one entry for each node, in the order of `cycle.node_names` (upstream's visiting order). A plugin is an object with a
`name` and any of the methods of `ArrayPlugin`; it takes part where it has a method, after the built-in plugins unless the profile says
otherwise (`volsched.engine.profile`, `volsched.engine.chain`). What it answers is checked: an array of another length or dtype is refused
with EngineError. PluginError says that the plugin cannot decide: the cycle fails and the pod is tried again.

`PerNodePlugin` turns plain functions over one node into such a plugin, `volsched.engine.per_node.PerNode` a class of methods over one node.
What has to be remembered from one call to another belongs in `cycle.state`, which goes on to Reserve, Permit and the binding cycle.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, TypeAlias, TypeVar

import numpy as np
from lightkube.models.core_v1 import Pod
from numpy.typing import NDArray

from volsched.errors import EngineError

BoolArray: TypeAlias = NDArray[np.bool_]
IntArray: TypeAlias = NDArray[np.int64]
S = TypeVar("S")

SCORE_MAX = 100


class CycleState:
    """What plugins remember about one pod from PreFilter to PostBind. Keyed by type, so that two plugins cannot collide by accident."""

    def __init__(self) -> None:
        self._data: dict[type[Any], Any] = {}

    def clone(self) -> CycleState:
        """A state to try things with. A value that has a `clone` method is copied by it, others are shared."""
        made = CycleState()
        made._data = {kind: value.clone() if hasattr(value, "clone") else value for kind, value in self._data.items()}
        return made

    def write(self, value: Any) -> None:
        self._data[type(value)] = value

    def read(self, kind: type[S]) -> S:
        """Raises EngineError when nothing of this type was written in this cycle."""
        try:
            value: S = self._data[kind]
        except KeyError:
            raise EngineError(f"no {kind.__name__} was written in this scheduling cycle") from None
        return value

    def find(self, kind: type[S]) -> S | None:
        return self._data.get(kind)


class PreFilterAnswer(NamedTuple):
    """A PreFilter's answer where more is to be said than None (go on) or a text (a reason to refuse the pod, unresolvable).

    reason: refuses the pod on all nodes; resolvable says whether removing pods could help. nodes: bool, (nodes,), the only nodes that can
    fit. skip: this plugin's Filter is not asked.
    """

    reason: str | None = None
    resolvable: bool = False
    nodes: BoolArray | None = None
    skip: bool = False


class Verdict(NamedTuple):
    """A filter's answer.

    keep: bool, (nodes,): nodes this plugin accepts; entries of nodes that were out already do not matter. reason: why the others are
    refused, as it goes into the FitError text. resolvable: whether removing pods could help (code Unschedulable, and the node is a
    candidate for preemption) or not. A filter with several reasons answers a list of these.
    """

    keep: BoolArray
    reason: str
    resolvable: bool = False


class Columns(Protocol):
    """What an engine lets plugins read, in node order; see `CycleView`."""

    @property
    def generation(self) -> int: ...

    def node_names(self) -> Sequence[str]: ...

    def resource_names(self) -> Sequence[str]: ...

    def allocatable(self, resource: str) -> IntArray: ...

    def requested(self, resource: str) -> IntArray: ...

    def pods_allocatable(self) -> IntArray: ...

    def pods_counted(self) -> IntArray: ...

    def label_values(self, key: str) -> Sequence[str | None]: ...


class Generation(Protocol):
    """A decision, as far as a view of its cluster is concerned."""

    @property
    def generation(self) -> int: ...


class CycleView:
    """The cluster as one decision sees it: read-only arrays of one generation, gathered when first asked for.

    Reading anything new after the cluster has changed raises EngineError; arrays read before stay valid, they are copies. `state` is what
    plugins remember about this pod.
    """

    def __init__(self, core: Columns, decision: Generation, state: CycleState | None = None) -> None:
        self._core = core
        self._arrays: dict[tuple[str, str], IntArray] = {}
        self._labels: dict[str, tuple[str | None, ...]] = {}
        self._index: dict[str, int] | None = None
        self.generation: int = decision.generation
        self.node_names: tuple[str, ...] = tuple(core.node_names())
        self.state = state if state is not None else CycleState()

    def _check(self) -> None:
        if self._core.generation != self.generation:
            raise EngineError(
                f"the cluster has changed since this cycle began (generation {self.generation}, now {self._core.generation}); decide again"
            )

    def _array(self, what: str, resource: str, read: Callable[[], IntArray]) -> IntArray:
        known = self._arrays.get((what, resource))
        if known is None:
            self._check()
            known = self._arrays[what, resource] = read()
        return known

    def index_of(self, node: str) -> int:
        """The place of a node in every array. Raises EngineError when there is no such node."""
        if self._index is None:
            self._index = {name: place for place, name in enumerate(self.node_names)}
        try:
            return self._index[node]
        except KeyError:
            raise EngineError(f'there is no node "{node}" in this cycle') from None

    @property
    def resources(self) -> tuple[str, ...]:
        """Names that `allocatable` and `requested` know."""
        self._check()
        return tuple(self._core.resource_names())

    def allocatable(self, resource: str) -> IntArray:
        """int64, (nodes,): what each node offers; cpu in thousandths, bytes, or counts. `pods` is the limit on pods."""
        if resource == "pods":
            return self._array("allocatable", resource, self._core.pods_allocatable)
        return self._array("allocatable", resource, lambda: self._core.allocatable(resource))

    def requested(self, resource: str) -> IntArray:
        """int64, (nodes,): what the node's pods take, assumed ones included; same units. `pods` counts them."""
        if resource == "pods":
            return self._array("requested", resource, self._core.pods_counted)
        return self._array("requested", resource, lambda: self._core.requested(resource))

    def label(self, key: str) -> tuple[str | None, ...]:
        """The nodes' values of a label, None where it is missing."""
        known = self._labels.get(key)
        if known is None:
            self._check()
            known = self._labels[key] = tuple(self._core.label_values(key))
        return known

    def label_equals(self, key: str, value: str) -> BoolArray:
        """bool, (nodes,): where the label has this value."""
        return np.fromiter((found == value for found in self.label(key)), dtype=np.bool_, count=len(self.node_names))

    def label_in(self, key: str, values: Sequence[str] | frozenset[str] | set[str]) -> BoolArray:
        """bool, (nodes,): where the label has one of these values."""
        wanted = frozenset(values)
        return np.fromiter((found in wanted for found in self.label(key)), dtype=np.bool_, count=len(self.node_names))

    def nowhere(self) -> BoolArray:
        """bool, (nodes,): False for every node."""
        return np.zeros(len(self.node_names), dtype=np.bool_)

    def everywhere(self) -> BoolArray:
        """bool, (nodes,): True for every node."""
        return np.ones(len(self.node_names), dtype=np.bool_)


class ArrayPlugin(Protocol):
    """What a plugin may have besides its `name` and `weight` (default 1); see the module text. All methods but the name are optional.

    def pre_filter(self, cycle: CycleView, pod: Pod) -> PreFilterAnswer | str | None
        A text refuses the pod before any node is looked at.
    def filter(self, cycle: CycleView, pod: Pod, nodes: BoolArray) -> Verdict | Sequence[Verdict]
        nodes: bool, (nodes,), read-only: those that are still in.
    def add_pod(self, cycle: CycleView, pod: Pod, other: Pod, node: int) -> None
    def remove_pod(self, cycle: CycleView, pod: Pod, other: Pod, node: int) -> None
        Adjust what `pre_filter` left in `cycle.state` to one pod more or less on a node, to be tried by `filter` on that node alone: what
        preemption does to its victims and to promised pods. `cycle.state` is a clone then, see `CycleState.clone`; the arrays of `cycle`
        follow by themselves. Without these methods `filter` sees the state as it was. Only for plugins with a `pre_filter`.
    def pre_score(self, cycle: CycleView, pod: Pod, nodes: BoolArray) -> bool | None
        False: this plugin scores nothing for this pod.
    def score(self, cycle: CycleView, pod: Pod, nodes: BoolArray) -> IntArray
        int64, (nodes,), for the nodes that are in; other entries do not matter. 0 to 100 unless `normalize_score` brings them there.
        Multiplied by `weight`, then added.
    def normalize_score(self, cycle: CycleView, pod: Pod, nodes: BoolArray, scores: IntArray) -> IntArray
        The scores of all nodes that are in, brought into 0 to 100.
    """

    @property
    def name(self) -> str: ...


class PerNodePlugin:
    """A plugin made of functions over one node, for when arrays are not worth it.

    keep(cycle, pod, node) -> bool and score(cycle, pod, node) -> 0..100 are called for nodes that are in; `node` is the place in
    `cycle.node_names`.
    """

    def __init__(
        self,
        name: str,
        *,
        keep: Callable[[CycleView, Pod, int], bool] | None = None,
        score: Callable[[CycleView, Pod, int], int] | None = None,
        reason: str = "",
        resolvable: bool = False,
        weight: int = 1,
    ) -> None:
        self.name = name
        self.weight = weight
        self._keep = keep
        self._score = score
        self._reason = reason or f"node(s) didn't satisfy plugin {name}"
        self._resolvable = resolvable

    def filter(self, cycle: CycleView, pod: Pod, nodes: BoolArray) -> Verdict:
        keep = nodes.copy()
        if self._keep is not None:
            for node in np.flatnonzero(nodes):
                keep[node] = self._keep(cycle, pod, int(node))
        return Verdict(keep, self._reason, self._resolvable)

    def score(self, cycle: CycleView, pod: Pod, nodes: BoolArray) -> IntArray:
        scores = np.zeros(len(nodes), dtype=np.int64)
        if self._score is not None:
            for node in np.flatnonzero(nodes):
                scores[node] = self._score(cycle, pod, int(node))
        return scores
