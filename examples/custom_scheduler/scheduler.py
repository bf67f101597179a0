"""A scheduler of one's own: watch, decide, reserve, carry out, bind.

It serves the pods that name it (`schedulerName: tightest`) and puts each on the fullest node that still fits, instead of the emptiest.
Which nodes fit, volumes included, is the engine's word; the choice is ours. What a "random node + Binding" scheduler leaves out is here:
volumes are chosen with the node and bound before the pod, a provisioner gets its time, a lost race gives everything back, and the next pod
sees what the one before it took, whether or not the API server has said so yet.

    python scheduler.py MANIFEST...      plays it on an embedded cluster

`api` is an ApiClient (volsched.ports): here the embedded cluster's store.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

import numpy as np

from volsched import Cluster, Engine, SchedulerCache
from volsched.cache.scheduler_cache import SCHEDULING_KINDS, Reservation
from volsched.errors import ApiError, ReconcileError
from volsched.ports import ApiClient, Bind, Pause, Steps, Update

NAME = "tightest"


@dataclass
class Binding:
    """A reservation on its way: `steps` says what is to be written next, `answer` is what came of the last step."""

    held: Reservation
    steps: Steps[None]
    answer: Any = None


class TightestFit:
    """`run_once` does what there is to do now; call it again after the API server had time to do its part."""

    def __init__(self, api: ApiClient) -> None:
        self.api = api
        self.cache = SchedulerCache(Engine())
        self.bindings: list[Binding] = []
        self.unplaced: dict[str, str] = {}  # pod -> why not
        self._seen = min(self._list(kind) for kind in sorted(SCHEDULING_KINDS))

    def _list(self, kind: str) -> int:
        found = self.api.list(kind)
        for obj in found.items:
            self.cache.add(obj)
        return found.resource_version

    def run_once(self) -> bool:
        """Whether there is more to come: bindings that wait for their volumes."""
        self._follow()
        self.bindings = [binding for binding in self.bindings if self._carry_on(binding)]
        for pod in list(self.cache.all("Pod")):
            if pod.spec.schedulerName == NAME and not pod.spec.nodeName and not self.cache.is_assumed(pod):
                self._place(pod)
        return bool(self.bindings)

    def _follow(self) -> None:
        for event in self.api.watch(self._seen):
            self.cache.observe(event)
            self._seen = event.resource_version

    def _place(self, pod: Any) -> None:
        snapshot = self.cache.snapshot()
        fits = snapshot.filter(pod)
        if not fits.mask.any():
            self.unplaced[pod.metadata.name] = fits.message
            return
        self.unplaced.pop(pod.metadata.name, None)
        emptiness = snapshot.score(fits)  # the default profile's totals, -1 where the pod does not fit
        tightest = int(np.where(fits.mask, emptiness, np.iinfo(np.int64).max).argmin())
        held = self.cache.assume(pod, fits.nodes[tightest], decision=fits.decision)
        binding = Binding(held, self.cache.binding(held))
        if self._carry_on(binding):
            self.bindings.append(binding)

    def _carry_on(self, binding: Binding) -> bool:
        """Write until the volumes need time; whether the binding is still on its way."""
        try:
            while True:
                intent = binding.steps.send(binding.answer)
                binding.answer = None
                if isinstance(intent, Pause):
                    return True
                if isinstance(intent, Update):
                    binding.answer = self.api.update(intent.object, user=NAME)
                elif isinstance(intent, Bind):
                    self.api.bind(intent.namespace, intent.name, uid=intent.uid, node=intent.node, user=NAME)
        except StopIteration:
            return False
        except (ApiError, ReconcileError) as problem:  # a lost race, a volume that could not be provisioned: try anew next time
            self.unplaced[binding.held.pod.metadata.name] = str(problem)
            self.cache.forget(binding.held)
            return False


def main(manifests: list[str]) -> None:
    with Cluster(seed=7) as cluster:
        cluster.load(*manifests)
        cluster.run_until_idle()
        scheduler = TightestFit(cluster.store)
        while scheduler.run_once():
            cluster.run_for(1)  # provisioner, binder and the rest of the cluster do their part
        cluster.run_until_idle()
        for pod in cluster.list("Pod"):
            print(
                f"{pod.metadata.name:12} {pod.spec.nodeName or '-':8} {pod.status.phase:8} {scheduler.unplaced.get(pod.metadata.name, '')}"
            )


if __name__ == "__main__":
    main(sys.argv[1:])
