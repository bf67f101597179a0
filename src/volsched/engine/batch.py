"""Many pods in one call: a batch of pending pods, compiled once, and what came of it.

    pods | template x names x claims ──> PodBatch ──> Engine.schedule_many ──> BatchResult: arrays, and assumptions to forget

Deciding, assuming and writing down happen in native code without the interpreter, in the order of the batch, each pod seeing what those
before it took: the same decisions as `decide` and `assume` one by one, for the built-in plugins of a profile.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from lightkube.models.core_v1 import Pod
from numpy.typing import NDArray

from volsched.engine import _core, _rows
from volsched.engine.decision import VolumePlan
from volsched.errors import EngineError


class Refusal(NamedTuple):
    """A pod of a batch that was not placed. message: as its event would say; is_error: the cycle itself failed."""

    pod: int
    is_error: bool
    message: str


def _claim_volumes(pod: Pod) -> list[tuple[str, bool]]:
    """The volumes of a pod that stand for a claim, in order, and whether they are ephemeral."""
    volumes = (pod.spec.volumes if pod.spec else None) or []
    return [(volume.name, volume.ephemeral is not None) for volume in volumes if volume.persistentVolumeClaim or volume.ephemeral]


class PodTemplate:
    """What pods made from one template share, encoded once: for batches that are made over and over. It belongs to no engine.

    Raises EngineError for one with an ephemeral volume, whose claim has the pod for its owner: such pods are added as objects.
    """

    def __init__(self, pod: Pod) -> None:
        volumes = _claim_volumes(pod)
        ephemeral = [name for name, is_ephemeral in volumes if is_ephemeral]
        if ephemeral:
            raise EngineError(f"volume {ephemeral[0]} of the template is ephemeral; add such pods as objects")
        self.pod = pod
        self.volumes = tuple(name for name, _ in volumes)
        self.program = _rows.program_row(pod)
        self.instance = _rows.instance_row(pod)


class PodBatch:
    """Pending pods in the order in which they are to be placed. It belongs to one engine."""

    def __init__(self, engine: _core.Engine, pods: Iterable[Pod] = ()) -> None:
        self.core = _core.PodBatch(engine)
        self.extend(pods)

    def __len__(self) -> int:
        return len(self.core)

    @property
    def templates(self) -> int:
        """How many different templates its pods have: pods that share one are compiled once."""
        return self.core.program_count

    @property
    def bytes_used(self) -> int:
        """Approximate native memory of the batch itself."""
        return self.core.bytes_used

    def key(self, pod: int) -> tuple[str, str]:
        """Namespace and name of a pod."""
        return self.core.name(pod)

    def extend(self, pods: Iterable[Pod]) -> None:
        """Add pods, defaulted. Raises EngineError for one that is in the batch already."""
        for pod in pods:
            self.core.add(_rows.program_row(pod), _rows.instance_row(pod))

    def repeat(
        self,
        template: Pod | PodTemplate,
        names: Sequence[str],
        *,
        claims: Mapping[str, Sequence[str]] | None = None,
        uids: Sequence[str] | None = None,
    ) -> None:
        """Add pods made from a template, defaulted, whose own name does not matter.

        names: one a pod. claims: volume name -> one claim name a pod, for every persistentVolumeClaim volume that differs from pod to pod.
        uids: one a pod, the names where they are left out.
        Raises EngineError when a list has another length, or the template has no such volume or an ephemeral one, whose claim has the
        pod for its owner: such pods are added as objects.
        """
        made = template if isinstance(template, PodTemplate) else PodTemplate(template)
        given = dict(claims or {})
        columns = []
        for volume in (made.pod.spec.volumes if made.pod.spec else None) or []:
            if volume.persistentVolumeClaim is not None:
                own = volume.persistentVolumeClaim.claimName or ""
                columns.append(list(given.pop(volume.name)) if volume.name in given else [own] * len(names))
        if given:
            raise EngineError(f"the template has no persistentVolumeClaim volume named {next(iter(given))}")
        self.core.repeat(made.program, made.instance, list(names), list(uids or ()), columns)


class BatchResult:
    """Where the pods of a batch went, by place in the batch, as far as they have been tried."""

    def __init__(self, engine: _core.Engine, batch: PodBatch, profile: _core.Profile) -> None:
        self.batch = batch
        self._core = _core.BatchOutcome(engine, batch.core, profile)
        self._node_names: tuple[str, ...] = ()

    def advance(self, count: int) -> int:
        """Place the next `count` pods. Returns how many have been tried in all.

        Raises EngineError when one of them is counted on a node already, before any is placed, or a node came or went since the batch
        was begun.
        """
        self._core.advance(count)
        self._node_names = ()
        return len(self._core)

    @property
    def attempted(self) -> int:
        """Pods that have been tried."""
        return len(self._core)

    @property
    def scheduled(self) -> int:
        """Pods that have been placed."""
        return len(self._core) - self._core.refused_count

    @property
    def node_names(self) -> tuple[str, ...]:
        """The nodes in upstream's order, as the last of the pods saw them. Raises EngineError once a node came or went since."""
        if not self._node_names:
            self._node_names = tuple(self._core.node_names())
        return self._node_names

    @property
    def nodes(self) -> NDArray[np.int32]:
        """int32, (attempted,): place of each pod's node in `node_names`, -1 where it was not placed. Raises EngineError once a node came or
        went since."""
        return self._core.node_indices()

    def node(self, pod: int) -> str | None:
        """The name of a pod's node."""
        place = int(self.nodes[pod])
        return self.node_names[place] if place >= 0 else None

    def refusals(self) -> list[Refusal]:
        """The pods that were not placed, in order."""
        return list(map(Refusal._make, self._core.refusals()))

    def volumes(self, pod: int) -> VolumePlan:
        """What the claims of a placed pod get. Raises EngineError for one that has not been tried."""
        return VolumePlan.of(self._core.plan(pod))

    def forget(self, pod: int) -> None:
        """Undo one assumption exactly. Raises EngineError when the pod was not placed or is forgotten already."""
        self._core.forget(pod)
