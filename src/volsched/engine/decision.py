"""What an engine answers, and what an engine is.

    upsert / remove ──rows──> engine ──decide(pod)──> Decision ──assume──> Assumption ──forget──> as before, exactly
                                                         └─trial──> Trial: the same pod with some pods gone or promised; nothing changes

Two engines implement this: `volsched.engine.Engine` (native) and `volsched.engine.reference.ReferenceEngine` (plain Python). A Decision
describes the cluster as it was when it was made: reading it after the engine has changed is refused with EngineError, except for what was
read before. `node`, `prefilter` and `error` can always be read.

Codes are the names of kube-scheduler's framework status codes. Source: pkg/scheduler/framework/interface.go, runtime/framework.go.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, Literal, NamedTuple, Protocol, TypeAlias, runtime_checkable

from lightkube.models.core_v1 import Pod

from volsched.api.kinds import Object
from volsched.engine.plugin import ArrayPlugin, CycleState
from volsched.engine.profile import EngineProfile

UNSCHEDULABLE: Final = "Unschedulable"
UNRESOLVABLE: Final = "UnschedulableAndUnresolvable"

TieBreak: TypeAlias = Literal["first", "name", "random", "kube"]


class Rejection(NamedTuple):
    """Why a node, or every node, was refused: the first rejecting plugin, its code and its reasons in upstream order.

    `code` is "Unschedulable" (removing pods could help) or "UnschedulableAndUnresolvable" (it could not).
    """

    plugin: str
    code: str
    reasons: tuple[str, ...]


# What filters say of a pod on one node. None: it fits; a text: they failed (code Error).
NodeVerdict: TypeAlias = Rejection | str | None


class StaticBinding(NamedTuple):
    """An existing volume chosen for a claim. `claim` is "namespace/name"."""

    claim: str
    volume: str


class Provisioning(NamedTuple):
    """A claim to be provisioned on the node. `capacity` is "namespace/name" of the CSIStorageCapacity that vouches for it, None when
    the class needs none."""

    claim: str
    capacity: str | None


class VolumePlan(NamedTuple):
    """What has to happen to a pod's claims on one node: volumes to bind, in claim size order, and claims to provision, those that
    already carry a selected node first."""

    bind: tuple[StaticBinding, ...]
    provision: tuple[Provisioning, ...]

    @classmethod
    def of(cls, built: tuple[tuple[tuple[str, str], ...], tuple[tuple[str, str | None], ...]]) -> VolumePlan:
        """From plain tuples, as the native engine builds them."""
        bind, provision = built
        if not bind and not provision:
            return NO_VOLUMES
        return cls(tuple(map(StaticBinding._make, bind)), tuple(map(Provisioning._make, provision)))


NO_VOLUMES: Final = VolumePlan((), ())


class Decision(Protocol):
    """The outcome of one scheduling cycle up to the choice of a node."""

    @property
    def pod(self) -> Pod: ...

    @property
    def prefilter(self) -> Rejection | None:
        """Set: a PreFilter refused the pod and no node was looked at."""

    @property
    def error(self) -> str | None:
        """Set: the cycle failed (code Error), text as upstream wraps it: `running "<plugin>" filter plugin: <cause>`."""

    @property
    def node(self) -> str | None:
        """Chosen by the engine's tie break; None when no node fits."""

    def feasible(self) -> list[str]:
        """Nodes that passed every filter, in visiting order."""

    def rejected(self) -> dict[str, Rejection]:
        """Nodes a filter refused. Nodes outside a PreFilter's node set have no entry; the message counts them."""

    def scores(self) -> dict[str, dict[str, int]]:
        """Node -> plugin -> normalised and weighted score, feasible nodes only; computed also when a single node fits."""

    def totals(self) -> dict[str, int]:
        """Node -> sum of its scores."""

    def best(self) -> list[str]:
        """The nodes with the highest total, sorted by name."""

    def volumes(self, node: str) -> VolumePlan:
        """What the pod's claims need on a feasible node."""

    def message(self) -> str:
        """FitError text of filters alone (no PostFilter part); empty when some node fits or the cycle failed."""

    @property
    def absent(self) -> Rejection | None:
        """Set when PreFilters left only some nodes to look at: what the others, which have no entry in `rejected`, are refused for."""

    def rejecting_plugins(self) -> frozenset[str]:
        """Every plugin that refused some node or left it out, or the one whose PreFilter refused the pod: whose events can wake it."""


class Emptied(NamedTuple):
    """A node without its pods of lower priority: how many those are, and what the filters say then. Not asked if there are none."""

    removed: int
    verdict: NodeVerdict


class Eviction(NamedTuple):
    """Pods to be taken from a node, in the order in which they are given back. `beside`: pods promised the node."""

    node: str
    victims: tuple[Pod, ...]
    beside: tuple[Pod, ...] = ()


class Trial(Protocol):
    """What would be if: the pod of one decision on single nodes, with pods of the node gone and pods there that are only promised it.

    Every question starts from what the decision's PreFilters found, adjusted pod by pod as upstream's AddPod and RemovePod do. So a plugin
    that skipped stays out, and what PreFilter counted in one way and AddPod and RemovePod in another differs (spec/scheduling.md 7.1, 8.8).
    Nothing changes in the engine. Once it has changed, every question raises EngineError; so does one about a node that is not there, or
    about a pod that is not counted on the node.

    `beside`: pods promised the node. The filters run with them there and, if they pass, again without: both must pass. Which promises
    count is for the caller to say. Source: pkg/scheduler/framework/runtime/framework.go (RunFilterPluginsWithNominatedPods,
    RunPreFilterExtensionAddPod); spec/scheduling.md 9.4, 11.2.
    """

    def verdict(self, node: str, *, without: Sequence[Pod] = (), beside: Sequence[Pod] = ()) -> NodeVerdict:
        """What the filters say of the node without these of its pods."""

    def emptied(self, nodes: Sequence[str], *, below: int, beside: Mapping[str, Sequence[Pod]]) -> list[Emptied]:
        """The same for many nodes, each without all its pods of a priority lower than `below`. `beside` by node."""

    def needed(self, evictions: Sequence[Eviction]) -> list[tuple[int, ...] | str]:
        """Per node: which victims have to go, as places in `victims`, when all are taken away and then given back one after the other, and
        those that the pod does not fit beside are taken away again. A text: a plugin could not follow."""


class Assumption(Protocol):
    """A pod counted on a node before the API server knows. Ends confirmed (upsert of the bound pod) or forgotten."""

    @property
    def pod(self) -> Pod: ...

    @property
    def node(self) -> str: ...

    @property
    def volumes(self) -> VolumePlan:
        """The volumes claimed and the claims marked with the selected node."""


@runtime_checkable
class SchedulingEngine(Protocol):
    """The cluster as the scheduler sees it, and decisions over it."""

    def upsert(self, obj: Object) -> None:
        """Take an object in, new or changed; any kind of spec/scheduling.md 2, defaulted. Kinds that scheduling does not read are
        ignored. A pod counts on its spec.nodeName unless it is terminal; a pod without a node is not kept."""

    def remove(self, kind: str, namespace: str, name: str) -> None:
        """Forget an object; nothing happens when it is unknown."""

    def decide(
        self,
        pod: Pod,
        *,
        only: Sequence[str] | None = None,
        plugins: Sequence[ArrayPlugin] = (),
        profile: EngineProfile | None = None,
        state: CycleState | None = None,
        beside: Mapping[str, Sequence[Pod]] | None = None,
    ) -> Decision:
        """Run a profile, the engine's own unless given, for a pending pod. `only` restricts it to these nodes (nominated node).
        `plugins`: own plugins that join in; `state`: what they remember about this pod. `beside`: by node, the promised pods that count
        there; what the filters say with them stands first, see `Trial`.
        Raises EngineError when the plugins do not fit together or answer something malformed."""

    def trial(self, decision: Decision, *, pods_on: Callable[[str], Sequence[Pod]] | None = None) -> Trial:
        """What-if questions about the pod of a decision. `pods_on`: the pods counted on a node; `Trial.emptied` needs it where own plugins
        took part, for they are shown the pods that go.
        Raises EngineError when the engine has changed since, the decision is not of this engine, has failed, or refused the pod before any
        node was looked at."""

    def assume(self, decision: Decision, node: str | None = None) -> Assumption:
        """Count the pod on `node` (default: the chosen one), claim its volumes and mark its claims with the selected node.
        Raises EngineError if the node is not feasible or the decision is not of this engine."""

    def forget(self, assumption: Assumption) -> None:
        """Undo an assumption exactly. Parts that an upsert has replaced meanwhile are left as the upsert made them; what other assumptions
        say of the same volumes and claims stands."""

    def node_names(self) -> list[str]:
        """In upstream's node order (spec/scheduling.md 9.2), as a decision made now would visit them."""
