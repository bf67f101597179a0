"""Where pods go: the engine asked in one of two ways, which answer alike.

    in batches    pods that arrive together go in one native batch; what was refused is not asked again before something changes
    one by one    decide and assume for every pod, with either engine; the plain definition of the other

Both answer, in order and while they go on, where each pod goes or why it goes nowhere. Pods of a batch see what those before it took.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple, Protocol, TypeAlias

from volsched.engine import Engine, PodTemplate, SchedulingEngine, VolumePlan
from volsched.engine.decision import NO_VOLUMES
from volsched.replay.objects import Objects, volume_name
from volsched.replay.trace import PodColumns


class Placement(NamedTuple):
    """A pod that has been counted on a node, and what its claims get."""

    node: str
    volumes: VolumePlan


class Refusal(NamedTuple):
    """A pod that fits nowhere now. rejectors: the plugins whose events can wake it; none when the cycle itself failed."""

    message: str
    rejectors: frozenset[str]


Answer: TypeAlias = Placement | Refusal


class Placer(Protocol):
    """Decides and assumes."""

    def place(self, pods: Sequence[int]) -> Iterator[Answer]:
        """One answer a pod, in order. The cluster must not change while answers are taken, but for what they say."""

    def changed(self) -> None:
        """The cluster changed in some other way."""

    def nodes_changed(self) -> None:
        """Nodes came, went or changed."""


class OneByOne:
    """Decide, assume, next."""

    def __init__(self, engine: SchedulingEngine, objects: Objects) -> None:
        self._engine = engine
        self._objects = objects

    def changed(self) -> None:
        """Nothing is remembered."""

    def nodes_changed(self) -> None:
        """Nothing is remembered."""

    def place(self, pods: Sequence[int]) -> Iterator[Answer]:
        """See `Placer`."""
        for pod in pods:
            decision = self._engine.decide(self._objects.pod(pod))
            if decision.node is None:
                yield Refusal(decision.error or decision.message(), decision.rejecting_plugins() if decision.error is None else frozenset())
                continue
            placement = Placement(decision.node, decision.volumes(decision.node))
            self._engine.assume(decision)
            yield placement


class Batches:
    """Native batches, and refusals remembered for as long as nothing changes."""

    def __init__(self, engine: Engine, objects: Objects, pods: PodColumns) -> None:
        self._engine = engine
        self._objects = objects
        self._names = pods.names
        self._templates = [PodTemplate(pod) for pod in objects.templates]
        self._node_names: Sequence[str] = ()
        self._change = 0
        # A template without claims -> the change at which one of its pods was refused: the next one would be refused alike.
        self._refused: dict[int, tuple[int, Refusal]] = {}

    def changed(self) -> None:
        """Refusals do not hold any more."""
        self._change += 1

    def nodes_changed(self) -> None:
        """Nor do the places of nodes."""
        self._node_names = ()
        self._change += 1

    def place(self, pods: Sequence[int]) -> Iterator[Answer]:
        """See `Placer`."""
        if len(pods) == 1:
            known = self._refused.get(self._objects.template[pods[0]])
            if known is not None and known[0] == self._change:
                yield known[1]
                return
        batch = self._engine.batch()
        for template, members in _runs(pods, self._objects.template):
            made = self._templates[template]
            claims = {
                volume_name(place): [self._objects.claim_names[self._objects.claims_of(pod)[place]] for pod in members]
                for place in range(len(made.volumes))
            }
            batch.repeat(made, [self._names[pod] for pod in members], claims=claims)
        result = self._engine.schedule_many(batch, count=0)
        placed = 0
        for at, pod in enumerate(pods):
            result.advance(1)
            if result.scheduled == placed:
                yield self._refusal(pod)
                continue
            placed += 1
            self._change += 1
            if not self._node_names:
                self._node_names = result.node_names
            has_claims = bool(self._templates[self._objects.template[pod]].volumes)
            yield Placement(self._node_names[int(result.nodes[at])], result.volumes(at) if has_claims else NO_VOLUMES)

    def _refusal(self, pod: int) -> Refusal:
        """Why the last pod was refused: a batch tells the message, a decision made once more also who refused."""
        decision = self._engine.decide(self._objects.pod(pod))
        if decision.error is not None:
            return Refusal(decision.error, frozenset())
        refusal = Refusal(decision.message(), decision.rejecting_plugins())
        template = self._objects.template[pod]
        if not self._templates[template].volumes:
            self._refused[template] = (self._change, refusal)
        return refusal


def _runs(pods: Sequence[int], template: Sequence[int]) -> Iterator[tuple[int, list[int]]]:
    """Neighbours of one template together."""
    run: list[int] = []
    for pod in pods:
        if run and template[run[0]] != template[pod]:
            yield template[run[0]], run
            run = []
        run.append(pod)
    if run:
        yield template[run[0]], run


_COUNTED: Final = re.compile(r", (?=\d+ )")
_HEAD: Final = re.compile(r"0/\d+ nodes are available: ")
_COUNT: Final = re.compile(r"^\d+ ")


def reason_of(message: str) -> str:
    """A refusal without its numbers: the reasons that stand in it, sorted, so that refusals can be compared over time.

    >>> reason_of("0/3 nodes are available: 1 Insufficient memory, 2 Insufficient cpu.")
    'Insufficient cpu; Insufficient memory'
    """
    head = _HEAD.match(message)
    if head is None:
        return message
    parts = _COUNTED.split(message[head.end() :].removesuffix("."))
    return "; ".join(sorted({_COUNT.sub("", part) for part in parts}))


__all__ = ["Answer", "Batches", "OneByOne", "Placement", "Placer", "Refusal", "reason_of"]
