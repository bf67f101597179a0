"""DefaultBinder: writes the binding.

A server that is overloaded or restarting gets three more chances; anything else it says ends the attempt.

Source: pkg/scheduler/framework/plugins/defaultbinder/default_binder.go; spec/scheduling.md 9.10.
"""

from __future__ import annotations

from collections.abc import Sequence

from lightkube.models.core_v1 import Pod

from volsched.api.edit import uid_of
from volsched.api.kinds import meta
from volsched.errors import ApiError
from volsched.ports import Bind, Steps
from volsched.scheduler.framework import OK, CycleState, Status, Wake
from volsched.scheduler.retry import persistently


class DefaultBinder:
    """Bind."""

    name = "DefaultBinder"

    def wakes_on(self) -> Sequence[Wake]:
        return ()

    def bind(self, state: CycleState, pod: Pod, node: str) -> Steps[Status]:
        metadata = meta(pod)
        binding = Bind(metadata.namespace or "default", metadata.name or "", uid_of(pod), node)
        try:
            yield from persistently(binding, conflicts=False)
        except ApiError as refused:
            return Status.fail(str(refused))
        return OK
