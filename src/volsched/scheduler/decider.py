"""kube-scheduler as a decider: watch events in, scheduling and binding cycles out.

    event ──> cache ──> engine rows
          └─> queue: which refused pods can this help?          (a deleted node: queue first, then cache)
    "cycle"  one pod's scheduling cycle; asked for again while the queue has a pod to try
    "bind"   one assumed pod's binding cycle; any number of them side by side
    "evict"  the API calls of one preemption
    timers   backoff queue on whole seconds, unschedulable set every 30 s, waits at Permit

Work that a cycle leads to (its binding, the next cycle) is announced through `wake_at_ns`, which then answers the present.

Source: pkg/scheduler/eventhandlers.go, schedule_one.go; spec/scheduling.md 9, 10.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Final

from lightkube.models.core_v1 import Node, Pod

from volsched.api.edit import is_deleting
from volsched.api.kinds import meta
from volsched.api.watch import WatchEvent
from volsched.cache.scheduler_cache import SCHEDULING_KINDS, SchedulerCache, Seen, node_of, pod_id
from volsched.engine.chain import arrange
from volsched.engine.decision import Decision, SchedulingEngine, Trial
from volsched.engine.plugin import CycleState
from volsched.engine.profile import default_profile as default_engine_profile
from volsched.errors import EngineError
from volsched.ports import DONE, Clock, Done, QueueSpec, Requeue, Steps, WorkItem
from volsched.scheduler.cycle import Cycles
from volsched.scheduler.events import (
    ASSIGNED_POD_ADD,
    ASSIGNED_POD_DELETE,
    NODE_ADD,
    NODE_DELETE,
    OBJECT_RESOURCES,
    UPDATE,
    Action,
    ClusterEvent,
    node_changes,
    pod_changes,
)
from volsched.scheduler.extenders import Extender, ExtenderChain
from volsched.scheduler.framework import DEFAULT_SCHEDULER, Profile, Status, TriedDecision, wakes_of
from volsched.scheduler.nominator import nominated_node
from volsched.scheduler.priority import priority_of
from volsched.scheduler.profile import ProfileFactory, default_profile
from volsched.scheduler.queue import NS, QueuePolicy, SchedulingQueue
from volsched.scheduler.selection import Prefer, Selector

CYCLE: Final = "cycle"
BIND: Final = "bind"
EVICT: Final = "evict"
_NEXT: Final = WorkItem(CYCLE, "")
_MANY: Final = 1_000_000  # binding cycles do not wait for each other


class Scheduler:
    """A Decider. Pods of other scheduler names than its profiles' are only counted, not scheduled.

    prefer: picks among nodes of equal highest total; None, or a name not among them, leaves it to the engine's tie break.
    profiles: builders of the profiles, the default one if not given. extenders: those that may fail last. initial_backoff_s, max_backoff_s:
    how long a pod that failed is not tried again, the first time and at most.
    """

    name = "kube-scheduler"
    component = DEFAULT_SCHEDULER
    kinds = SCHEDULING_KINDS
    resync_s: float | None = None

    def __init__(
        self,
        clock: Clock,
        engine: SchedulingEngine,
        *,
        prefer: Prefer | None = None,
        profiles: Sequence[ProfileFactory] = (default_profile,),
        extenders: Sequence[Extender] = (),
        initial_backoff_s: float = 1,
        max_backoff_s: float = 10,
    ) -> None:
        self.clock = clock
        self.cache = SchedulerCache(engine)
        # A runner starts what is ready in this order: a stopped binding frees its place before the pod that wants it is tried.
        self.queues = {BIND: QueueSpec(workers=_MANY), EVICT: QueueSpec(workers=_MANY), CYCLE: QueueSpec(workers=1)}
        self.extenders = tuple(extenders)
        handle = _Handle(self)
        built = [factory(handle) for factory in profiles]
        self.profiles = {profile.scheduler_name: profile for profile in built}
        if len(self.profiles) != len(built):
            raise EngineError("two profiles have one scheduler name; every profile needs its own")
        asked = [extender for extender in self.extenders if extender.filter_verb or extender.prioritize_verb]
        self._chain = (ExtenderChain(asked, partial(self.cache.get, "Node", "")),) if asked else ()
        for profile in built:
            arrange(profile.engine or default_engine_profile(), profile.engine_plugins)  # refuses what could never run
        sorters = [sorter for profile in built for sorter in profile.queue_sorts]
        if not sorters or len({type(sorter) for sorter in sorters}) != 1:
            raise EngineError("all profiles of a scheduler must have one and the same QueueSort plugin")
        self.queue = SchedulingQueue(
            {name: _policy(profile, self._chain) for name, profile in self.profiles.items()},
            lister=partial(self.cache.get, "Pod"),
            sort_key=sorters[0].sort_key,
            initial_backoff_ns=round(initial_backoff_s * NS),
            max_backoff_ns=round(max_backoff_s * NS),
        )
        self.selectors = {
            name: Selector(self.cache, self.queue.nominator, decide=partial(self._decide, profile), prefer=prefer)
            for name, profile in self.profiles.items()
        }
        self.cycles = Cycles(self.cache, self.queue, clock=clock, handle=handle, profiles=self.profiles, selectors=self.selectors)
        self._cycle_asked = False  # a "cycle" item is on its way and has not begun
        self._evictions: dict[str, Callable[[], Steps[None]]] = {}

    def _decide(
        self,
        profile: Profile,
        pod: Pod,
        only: Sequence[str] | None,
        *,
        state: CycleState | None = None,
        beside: Mapping[str, Sequence[Pod]] | None = None,
        extend: bool = False,
    ) -> Decision:
        plugins = (*profile.engine_plugins, *self._chain) if extend else profile.engine_plugins
        return self.cache.decide(pod, only=only, plugins=plugins, profile=profile.engine, state=state, beside=beside)

    def decide(self, pod: Pod, *, cache: SchedulerCache | None = None, only: Sequence[str] | None = None) -> Decision:
        """What the pod's profile decides, over this scheduler's cache or another; the engine's own profile for another scheduler's pod.
        For questions: nothing is queued, promised or asked of extenders."""
        profile = self.profile_of(pod)
        over = cache or self.cache
        if profile is None:
            return over.decide(pod, only=only)
        return over.decide(pod, only=only, plugins=profile.engine_plugins, profile=profile.engine)

    def profile_of(self, pod: Pod) -> Profile | None:
        """The profile of the pod's scheduler name; None when it is another scheduler's."""
        return self.profiles.get((pod.spec.schedulerName if pod.spec else None) or DEFAULT_SCHEDULER)

    # Decider

    def start(self) -> Steps[None]:
        """Nothing to probe."""
        yield from ()

    def observe(self, event: WatchEvent) -> Iterable[WorkItem]:
        """Take a watch event into cache and queue, in upstream's order for its kind."""
        seen = self.cache.resolve(event)
        if seen is None:
            return ()
        now_ns = self.clock.now_ns()
        if seen.kind == "Node":
            self._observe_node(seen, now_ns)
        elif seen.kind == "Pod":
            self._observe_pod(seen, now_ns)
        else:
            self.cache.apply(seen)
            if seen.kind in OBJECT_RESOURCES:
                self.queue.move_all(_object_event(seen), seen.old, seen.new, now_ns)
        return self._items()

    def work(self, item: WorkItem) -> Steps[Done | Requeue]:
        """One scheduling cycle, binding cycle, or preemption."""
        if item.queue == CYCLE:
            self._cycle_asked = False
            yield from self.cycles.schedule_one()
        elif item.queue == BIND:
            yield from self.cycles.bind(item.key)
        elif item.queue == EVICT:
            evict = self._evictions.pop(item.key, None)
            if evict is not None:
                yield from evict()
        else:
            raise EngineError(f"the scheduler has no queue {item.queue}")
        return DONE

    def resync(self) -> Iterable[WorkItem]:
        """Never asked for."""
        return ()

    def wake_at_ns(self) -> int | None:
        """The present while there is work to hand out, else the next timer."""
        if self.cycles.ready or self.cycles.evictions or self._can_cycle:
            return self.clock.now_ns()
        return min((at for at in (self.queue.next_flush_ns(), self.cycles.next_timeout_ns()) if at is not None), default=None)

    def wake(self, now_ns: int) -> Iterable[WorkItem]:
        """Timers that are due, and the work at hand."""
        self.queue.flush(now_ns)
        self.cycles.expire_waits(now_ns)
        return self._items()

    @property
    def _can_cycle(self) -> bool:
        return self.queue.can_pop and not self._cycle_asked

    def _items(self) -> list[WorkItem]:
        items = [WorkItem(BIND, key) for key in self.cycles.take_ready()]
        for uid, evict in self.cycles.evictions.items():
            self._evictions[uid] = evict
            items.append(WorkItem(EVICT, uid))
        self.cycles.evictions.clear()
        if self._can_cycle:
            self._cycle_asked = True
            items.append(_NEXT)
        return items

    # events

    def _observe_node(self, seen: Seen, now_ns: int) -> None:
        old: Node | None = seen.old
        new: Node | None = seen.new
        if new is None:
            self.queue.move_all(NODE_DELETE, old, None, now_ns)
            self.cache.apply(seen)
            return
        self.cache.apply(seen)
        for event in [NODE_ADD] if old is None else node_changes(new, old):
            self.queue.move_all(event, old, new, now_ns)

    def _observe_pod(self, seen: Seen, now_ns: int) -> None:
        old: Pod | None = seen.old
        new: Pod | None = seen.new
        if old is not None and new is not None and pod_id(old) != pod_id(new):
            self._observe_pod(Seen("Pod", old, None), now_ns)
            old, seen = None, Seen("Pod", None, new)
        if old is None:
            assert new is not None
            self.cache.apply(seen)
            if node_of(new):
                self.queue.move_all(ASSIGNED_POD_ADD, None, new, now_ns)
            elif self._is_ours(new):
                self.queue.add(new, now_ns)
        elif new is None:
            self._pod_gone(seen, old, now_ns)
        elif node_of(old):
            self.cache.apply(seen)
            for event in pod_changes(new, old, target=False):
                self.queue.move_all(event, old, new, now_ns)
        elif node_of(new):
            self.cache.apply(seen)
            self.queue.move_all(ASSIGNED_POD_ADD, None, new, now_ns)
            if self._is_ours(old):
                self.queue.delete(old)
        else:
            self._pending_pod_changed(seen, old, new, now_ns)

    def _pod_gone(self, seen: Seen, old: Pod, now_ns: int) -> None:
        if node_of(old) or not self._is_ours(old):
            self.cache.apply(seen)
            if node_of(old):
                self.queue.move_all(ASSIGNED_POD_DELETE, old, None, now_ns)
            return
        self.queue.delete(old)
        if self.cache.is_assumed(old):
            self._assumed_pod_leaves(seen, old, now_ns)
            return
        self.cache.apply(seen)
        if nominated_node(old):
            self._promise_freed(old, now_ns)

    def _pending_pod_changed(self, seen: Seen, old: Pod, new: Pod, now_ns: int) -> None:
        if not self._is_ours(old):
            self.cache.apply(seen)
            return
        if self.cache.is_assumed(new):
            if is_deleting(new) and not is_deleting(old):
                self._assumed_pod_leaves(seen, new, now_ns)
            else:
                self.cache.apply(seen)
            return
        self.cache.apply(seen)
        if meta(old).resourceVersion == meta(new).resourceVersion:
            return  # a repetition must not schedule the pod twice
        self.queue.update(old, new, now_ns)
        if nominated_node(old) and nominated_node(old) != nominated_node(new):
            self._promise_freed(old, now_ns)

    def _assumed_pod_leaves(self, seen: Seen, pod: Pod, now_ns: int) -> None:
        """Its place is free at once. Its binding cycle goes on until the API server refuses, a wait at Permit ends here."""
        assumed = self.cache.assigned_pod(pod)
        self.cycles.settle_wait(pod_id(pod), "", Status.refuse("removed"))
        self.cache.apply(seen)
        self.queue.move_all(ASSIGNED_POD_DELETE, assumed, None, now_ns)

    def _promise_freed(self, pod: Pod, now_ns: int) -> None:
        """A pod has lost the node it was promised: pods that had to count it in are helped as by a deletion."""
        priority = priority_of(pod)
        self.queue.move_all(ASSIGNED_POD_DELETE, pod, None, now_ns, only=lambda other: priority_of(other) <= priority)

    def _is_ours(self, pod: Pod) -> bool:
        return ((pod.spec.schedulerName if pod.spec else None) or DEFAULT_SCHEDULER) in self.profiles


def _object_event(seen: Seen) -> ClusterEvent:
    if seen.old is None:
        return ClusterEvent(seen.kind, Action.ADD)
    return ClusterEvent(seen.kind, Action.DELETE if seen.new is None else UPDATE)


def _policy(profile: Profile, chain: Sequence[ExtenderChain]) -> QueuePolicy:
    wakes = [*profile.wakes(), *((item.name, wake) for item in chain for wake in wakes_of(item))]
    return QueuePolicy(wakes, [(str(getattr(gate, "name", "")), gate) for gate in profile.pre_enqueues])


class _Handle:
    """The framework's side of the plugins' `Handle`."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler

    @property
    def cache(self) -> SchedulerCache:
        return self._scheduler.cache

    def _name(self, pod: Pod) -> str:
        return (pod.spec.schedulerName if pod.spec else None) or DEFAULT_SCHEDULER

    def decide(self, pod: Pod, only: Sequence[str] | None = None) -> Decision:
        scheduler = self._scheduler
        return scheduler._decide(scheduler.profiles[self._name(pod)], pod, only)

    def trial(self, state: CycleState) -> Trial:
        return self._scheduler.cache.trial(state.read(TriedDecision).decision)

    def beside(self, pod: Pod) -> Mapping[str, Sequence[Pod]]:
        return self._scheduler.queue.nominator.beside(pod)

    def nominated_pods(self, node: str) -> Sequence[Pod]:
        return self._scheduler.queue.nominator.on_node(node)

    def is_waiting_or_binding(self, pod: Pod) -> bool:
        return self._scheduler.cycles.is_waiting_or_binding(pod)

    def stop_binding(self, pod: Pod, reason: str) -> bool:
        return self._scheduler.cycles.stop(pod, reason)

    @property
    def extenders(self) -> Sequence[Extender]:
        return self._scheduler.extenders

    def waiting_pods(self) -> Sequence[Pod]:
        return self._scheduler.cycles.waiting()

    def allow(self, pod: Pod, plugin: str) -> bool:
        return self._scheduler.cycles.settle_wait(pod_id(pod), plugin, None)

    def reject(self, pod: Pod, plugin: str, *reasons: str) -> bool:
        return self._scheduler.cycles.settle_wait(pod_id(pod), plugin, Status.refuse(*reasons))

    def activate(self, pods: Iterable[Pod]) -> None:
        self._scheduler.queue.activate(pods, self.now_ns())

    def now_ns(self) -> int:
        return self._scheduler.clock.now_ns()
