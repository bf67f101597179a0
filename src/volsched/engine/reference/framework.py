"""What a plugin is in the reference engine: statuses, the node as filters see it, the calls of a cycle.

    pre_filter ──Skip?──> filter, node by node ──feasible──> pre_score ──Skip?──> score, node by node ──> normalize ──> times weight
        └─clone──> add_pod, remove_pod ──> filter of one node, as if other pods were there

One plugin object serves one pod in one cycle, so what pre_filter works out is kept in attributes. Nothing here is fast: every step is the
sentence of spec/scheduling.md written down, over API objects, because its only purpose is to be compared with.

Source: pkg/scheduler/framework/interface.go.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Final, NamedTuple, Self

from lightkube.models.core_v1 import Node, Pod

from volsched.api.edit import labels_of
from volsched.engine.profile import EngineProfile
from volsched.rules.numbers import quotient, wrap64
from volsched.rules.resources import Resources, node_allocatable, placed_requests, placed_scoring_requests

if TYPE_CHECKING:
    from volsched.engine.reference.state import ClusterState

SCORE_MAX: Final = 100


class Code(enum.Enum):
    """Status codes, by upstream's names."""

    SUCCESS = "Success"
    UNSCHEDULABLE = "Unschedulable"
    UNRESOLVABLE = "UnschedulableAndUnresolvable"
    ERROR = "Error"
    SKIP = "Skip"


class Status(NamedTuple):
    """What a plugin says of a node or a pod."""

    code: Code
    reasons: tuple[str, ...] = ()

    @property
    def is_success(self) -> bool:
        return self.code is Code.SUCCESS

    @property
    def is_rejected(self) -> bool:
        return self.code in (Code.UNSCHEDULABLE, Code.UNRESOLVABLE)

    @property
    def text(self) -> str:
        return ", ".join(self.reasons)


SUCCESS: Final = Status(Code.SUCCESS)
SKIP: Final = Status(Code.SKIP)


def unschedulable(*reasons: str) -> Status:
    """Refused, but removing pods could help."""
    return Status(Code.UNSCHEDULABLE, reasons)


def unresolvable(*reasons: str) -> Status:
    """Refused, and removing pods could not help."""
    return Status(Code.UNRESOLVABLE, reasons)


def failed(text: str) -> Status:
    """The plugin could not tell: the whole cycle fails."""
    return Status(Code.ERROR, (text,))


class PodInfo:
    """A pod on a node with what it uses up, added up once."""

    def __init__(self, pod: Pod) -> None:
        self.pod = pod
        self.requests = placed_requests(pod)
        self.scoring_requests = placed_scoring_requests(pod)


class ImageState(NamedTuple):
    """An image on a node. `node_count` is how many nodes had it when this node's row was last copied into the snapshot."""

    size_bytes: int
    node_count: int


class NodeInfo:
    """A node and the pods on it."""

    def __init__(self, node: Node, pods: Sequence[PodInfo], images: Mapping[str, ImageState]) -> None:
        self.node = node
        self.name = (node.metadata.name if node.metadata else None) or ""
        self.labels = labels_of(node)
        self.infos = tuple(pods)
        self.pods = [info.pod for info in pods]
        self.images = images
        self.allocatable = node_allocatable(node)
        self.requested = Resources()
        self.scoring_requested = Resources()
        for info in pods:
            self.requested = self.requested.plus(info.requests)
            self.scoring_requested = self.scoring_requested.plus(info.scoring_requests)

    def holding(self, pods: Sequence[PodInfo]) -> NodeInfo:
        """The node as it would be with other pods."""
        return NodeInfo(self.node, pods, self.images)


class Snapshot(NamedTuple):
    """The nodes in upstream's order, frozen for one cycle, and the objects behind the plugins' listers."""

    nodes: list[NodeInfo]
    cluster: ClusterState


class Plugin:
    """Base of the plugins: each call does nothing unless the plugin has something to say at that point. `profile` has the arguments."""

    name: ClassVar[str]

    def __init__(self, snapshot: Snapshot, pod: Pod, profile: EngineProfile) -> None:
        self.snapshot = snapshot
        self.cluster = snapshot.cluster
        self.profile = profile
        self.pod = pod
        assert pod.spec is not None
        self.spec = pod.spec
        self.namespace = (pod.metadata.namespace if pod.metadata else None) or "default"

    def pre_filter(self) -> tuple[Status, frozenset[str] | None]:
        """Look at the pod alone. The names, if any, are the only nodes that can fit. Skip: `filter` is not called."""
        return SUCCESS, None

    def filter(self, node: NodeInfo) -> Status:
        """Whether the pod could run on the node."""
        return SUCCESS

    def add_pod(self, other: PodInfo, node: NodeInfo) -> None:
        """Adjust what `pre_filter` counted to one pod more on the node."""

    def remove_pod(self, other: PodInfo, node: NodeInfo) -> None:
        """Adjust what `pre_filter` counted to one pod less on the node."""

    def clone(self) -> Self:
        """The plugin to try things on one node with: a copy where `add_pod` changes anything."""
        return self

    def pre_score(self, nodes: Sequence[NodeInfo]) -> Status:
        """Prepare scoring of the feasible nodes. Skip: the plugin counts 0 on every node."""
        return SUCCESS

    def prepare_score(self, nodes: Sequence[NodeInfo]) -> Status:
        """Stands in for `pre_score` in a profile whose PreScore leaves the plugin out."""
        return SUCCESS

    def score(self, node: NodeInfo) -> int:
        """How good a feasible node is, in the plugin's own measure."""
        return 0

    def normalize(self, scores: Mapping[str, int]) -> dict[str, int]:
        """All nodes' scores brought into 0..100."""
        return dict(scores)


def default_normalize(scores: Mapping[str, int], *, reverse: bool) -> dict[str, int]:
    """Scale so that the highest becomes 100, or 0 with `reverse`. All zero: stay 0, or all 100 with `reverse`."""
    highest = max([0, *scores.values()])
    if highest == 0:
        return dict.fromkeys(scores, SCORE_MAX) if reverse else dict(scores)
    scaled = {name: quotient(wrap64(SCORE_MAX * score), highest) for name, score in scores.items()}
    return {name: SCORE_MAX - score for name, score in scaled.items()} if reverse else scaled
