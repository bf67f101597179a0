"""A kubelet without volumes: a bound pod is Running, a deleted one is removed whatever its grace period, both at once, with no Node call.

That is what the program did that stood in for kubelets when the stories were recorded.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from lightkube.models.core_v1 import Pod

from volsched.api.edit import is_deleting, replace, uid_of
from volsched.api.watch import Change, WatchEvent
from volsched.cache.view import View
from volsched.controllers.csi_common import time_of
from volsched.controllers.kubelet_status import instant_status
from volsched.errors import NotFoundError
from volsched.ports import DONE, Clock, Delete, Done, QueueSpec, Requeue, Steps, Update, WorkItem

WORKERS: Final = 100


class InstantKubelet:
    """Sets a bound pod Running and removes a deleting bound pod, both at once."""

    name: str = "fake-kubelet"
    component: str = "fake-kubelet"
    kinds: frozenset[str] = frozenset({"Pod"})
    queues: Mapping[str, QueueSpec] = {"pods": QueueSpec(workers=WORKERS)}
    resync_s: float | None = None

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._view = View(self.kinds)

    def start(self) -> Steps[None]:
        yield from ()

    def observe(self, event: WatchEvent) -> Iterable[WorkItem]:
        _, taken = self._view.observe(event)
        return [WorkItem("pods", f"{event.key.namespace}/{event.key.name}")] if taken and event.change is not Change.DELETED else ()

    def work(self, item: WorkItem) -> Steps[Done | Requeue]:
        namespace, _, name = item.key.partition("/")
        pod: Pod | None = self._view.get("Pod", namespace, name)
        if pod is None or not (pod.spec and pod.spec.nodeName):
            return DONE
        if is_deleting(pod):
            try:
                yield Delete("Pod", namespace, name, uid=uid_of(pod), grace_period_s=0)
            except NotFoundError:
                return DONE
        elif (pod.status.phase if pod.status else None) in (None, "Pending"):
            status = instant_status(pod, time_of(self._clock.now_ns()))
            self._view.put((yield Update(replace(pod, status=status), "status")))
        return DONE

    def resync(self) -> Iterable[WorkItem]:
        return ()

    def wake_at_ns(self) -> int | None:
        return None

    def wake(self, now_ns: int) -> Iterable[WorkItem]:
        return ()
