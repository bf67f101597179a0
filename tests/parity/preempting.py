"""What preemption comes to in a cluster of given objects, on an engine of one's choice: the cycle, the dry runs, and PostFilter."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from lightkube.models.core_v1 import Pod

from tests.builders import when
from volsched.api.edit import with_metadata
from volsched.api.kinds import Object, key_of, meta
from volsched.cache import SchedulerCache
from volsched.engine.decision import Rejection, SchedulingEngine, Trial
from volsched.engine.plugin import CycleState
from volsched.engine.profile import EngineProfile
from volsched.scheduler.extenders import Extender
from volsched.scheduler.framework import PostFilterResult, TriedDecision, Verdicts
from volsched.scheduler.nominator import Nominator, nominated_node
from volsched.scheduler.plugins.default_preemption import DefaultPreemption
from volsched.scheduler.selection import Selection, Selector

NOW_NS = int(when(1000).timestamp()) * 1_000_000_000


class Stand:
    """A scheduler's cache, promises and profile, as far as a PostFilter asks for them."""

    def __init__(
        self, engine: SchedulingEngine, objects: Iterable[Object], *, plugins: Sequence[Any] = (), profile: EngineProfile | None = None
    ) -> None:
        self.cache = SchedulerCache(engine, plugins=plugins, profile=profile)
        self.nominator = Nominator(partial(self.cache.get, "Pod"))
        self.extenders: Sequence[Extender] = ()
        for obj in objects:
            self.cache.add(obj)
        for pod in self.cache.all("Pod"):
            if nominated_node(pod):
                self.nominator.add(pod)

    # Handle

    def trial(self, state: CycleState) -> Trial:
        return self.cache.trial(state.read(TriedDecision).decision)

    def beside(self, pod: Pod) -> Mapping[str, Sequence[Pod]]:
        return self.nominator.beside(pod)

    def nominated_pods(self, node: str) -> Sequence[Pod]:
        return self.nominator.on_node(node)

    def now_ns(self) -> int:
        return NOW_NS

    # asking

    def pending(self, pod: Pod) -> Pod:
        """The pod as the API server has it, with a uid."""
        self.cache.add(pod if meta(pod).uid else with_metadata(pod, uid=f"uid-{meta(pod).name}"))
        key = key_of(pod)
        found: Pod = self.cache.get("Pod", key.namespace, key.name)
        return found

    def select(self, pod: Pod) -> Selection:
        def decide(pod: Pod, only: Sequence[str] | None, *, extend: bool, **options: Any) -> Any:
            return self.cache.decide(pod, only=only, **options)

        return Selector(self.cache, self.nominator, decide=decide).select(pod)

    def plugin(self, **options: Any) -> DefaultPreemption:
        return DefaultPreemption(self, **options)  # type: ignore[arg-type]  # it has what PostFilter needs

    def preempt(self, pod: Pod, **options: Any) -> PostFilterResult:
        """What DefaultPreemption says of a pod that fits nowhere."""
        subject = self.pending(pod)
        selection = self.select(subject)
        assert selection.verdicts is not None, "the pod fits somewhere, or its cycle failed"
        return self.plugin(**options).post_filter(self, selection.state, subject, selection.verdicts)  # type: ignore[arg-type]


def told(rejection: Rejection | None) -> Any:
    return None if rejection is None else [rejection.plugin, rejection.code, list(rejection.reasons)]


def outcome(
    engine: SchedulingEngine,
    objects: Iterable[Object],
    pod: Pod,
    *,
    plugins: Sequence[Any] = (),
    profile: EngineProfile | None = None,
) -> dict[str, Any]:
    """Everything that a cycle and preemption say, in a form to be compared. Nodes refused in a way that evictions could help are tried also
    where the pod fits elsewhere."""
    stand = Stand(engine, objects, plugins=plugins, profile=profile)
    subject = stand.pending(pod)
    state = CycleState()
    decision = stand.cache.decide(subject, state=state, beside=stand.beside(subject))
    said: dict[str, Any] = {"error": decision.error, "prefilter": told(decision.prefilter)}
    if decision.error is not None or decision.prefilter is not None:
        return said
    said["feasible"] = sorted(decision.feasible())
    said["rejected"] = {node: told(rejection) for node, rejection in sorted(decision.rejected().items())}
    said["rejecting"] = sorted(decision.rejecting_plugins())
    state.write(TriedDecision(decision))
    nodes = tuple(node for node in stand.cache.engine.node_names() if node not in said["feasible"])
    plugin = stand.plugin()
    found = plugin._dry_runs(subject, state, Verdicts(nodes, decision.rejected(), absent=decision.absent))
    said["candidates"] = {
        candidate.node: ([f"{meta(victim).namespace}/{meta(victim).name}" for victim in candidate.victims], candidate.violations)
        for candidate in found.candidates
    }
    said["tried"] = {node: told(rejection) for node, rejection in sorted(found.tried.items())}
    said["errors"] = found.errors
    if said["feasible"]:
        return said
    selection = stand.select(subject)
    assert selection.verdicts is not None
    result = plugin.post_filter(stand, selection.state, subject, selection.verdicts)  # type: ignore[arg-type]
    said["post"] = (result.status.code.value, result.status.message)
    said["nominated"] = result.nominating.node if result.nominating is not None else None
    return said
