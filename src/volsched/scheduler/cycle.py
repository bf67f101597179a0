"""One pod's way from the queue to its node, or back into the queue.

    pop ──skip?──> select ──node──> assume -> Reserve -> Permit ──> binding cycle: PreBindPreFlight -> nominatedNodeName -> PreBind
              │      │ none fits                                                    -> Bind -> event Scheduled -> PostBind
              │      v                                                                 │ any failure
              │   PostFilter ──> failure <── Unreserve, forget, AssignedPod Delete <───┘
              v                     └─ requeue, then nominator, then event, then status patch
         queue.done

The scheduling cycle runs without a pause between pop and assume, so no event comes between a decision and its assumption. The binding cycle
is a pass of its own that later scheduling cycles do not wait for.

Source: pkg/scheduler/schedule_one.go; spec/scheduling.md 9.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from lightkube.models.core_v1 import Pod, PodCondition

from volsched.api.edit import is_deleting, uid_of, with_spec
from volsched.api.kinds import meta
from volsched.cache.assume_cache import object_key
from volsched.cache.scheduler_cache import SchedulerCache, node_of, pod_id
from volsched.engine.decision import Rejection
from volsched.errors import ApiError, EngineError, PluginError
from volsched.ports import Bind, Clock, Emit, Read, Steps
from volsched.scheduler.conditions import event_note, status_patch, with_condition
from volsched.scheduler.events import ASSIGNED_POD_DELETE
from volsched.scheduler.framework import (
    OK,
    Code,
    CycleState,
    Handle,
    Nominating,
    Profile,
    ReservedPlan,
    Status,
    Verdicts,
    fit_error,
)
from volsched.scheduler.plugins.volume_binding import ReservedVolumes
from volsched.scheduler.queue import Place, QueuedPod, SchedulingQueue
from volsched.scheduler.retry import persistently
from volsched.scheduler.selection import Selection, Selector

PERMIT_WAIT_S_MAX: Final = 900.0
NS: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an attempt ended. `rejecting`, `pending`: plugins whose events can wake the pod; none of both means error backoff."""

    message: str
    unschedulable: bool
    rejecting: frozenset[str] = frozenset()
    pending: frozenset[str] = frozenset()
    nominating: Nominating | None = None


class Wait(NamedTuple):
    """How long a Permit plugin may hold a pod."""

    until_ns: int
    seconds: float


@dataclass(eq=False, slots=True)
class Binding:
    """An assumed pod on its way to being bound.

    waits: Permit plugins that have not answered. verdict: how the wait ended. skip: PreBind plugins without work. running: the PreBind
    plugin at work. stopped: the binding has been given up and undone; its pass only has to end. bound: PreBind is through, nothing can
    stop the binding any more.
    """

    key: str
    queued: QueuedPod
    pod: Pod
    node: str
    state: CycleState
    profile: Profile
    waits: dict[str, Wait] = field(default_factory=dict)
    verdict: Status | None = None
    announced: bool = False
    skip: set[str] = field(default_factory=set)
    in_pre_bind: bool = False
    running: str = ""
    stopped: str | None = None
    bound: bool = False


class Cycles:
    """Scheduling and binding cycles over one cache and queue. `selectors` and `profiles` by scheduler name."""

    def __init__(
        self,
        cache: SchedulerCache,
        queue: SchedulingQueue,
        *,
        clock: Clock,
        handle: Handle,
        profiles: Mapping[str, Profile],
        selectors: Mapping[str, Selector],
    ) -> None:
        self._cache = cache
        self._queue = queue
        self._clock = clock
        self._handle = handle
        self._profiles = profiles
        self._selectors = selectors
        self.bindings: dict[str, Binding] = {}  # by pod
        # Passes by key: a pod's next binding may begin while the pass of one that was stopped still sleeps.
        self._passes: dict[str, Binding] = {}
        self._stopping: dict[str, Binding] = {}
        self.ready: list[str] = []  # keys of passes to be worked on
        self.evictions: dict[str, Callable[[], Steps[None]]] = {}  # preemptions to be carried out, by preemptor

    # scheduling cycle

    def schedule_one(self) -> Steps[None]:
        """Try the next pod. Its binding, if it comes to that, is left in `ready`."""
        queued = self._queue.pop(self._clock.now_ns())
        if queued is None:
            return
        pod = queued.pod
        profile = self._profiles[(pod.spec.schedulerName if pod.spec else None) or ""]
        if is_deleting(pod):
            self._queue.done(pod)
            note = f"skip schedule deleting pod: {object_key(pod)}"
            yield Emit(pod, "Warning", "FailedScheduling", note, action="Scheduling", source=profile.scheduler_name)
            return
        if self._cache.is_assumed(pod):
            self._queue.done(pod)
            return
        selection = self._selectors[profile.scheduler_name].select(pod)
        if selection.error is not None:
            yield from self._fail(queued, pod, profile, Failure(selection.error, False, nominating=Nominating("")))
        elif selection.verdicts is not None:
            failure = self._post_filter(pod, profile, selection)
            yield from self._fail(queued, pod, profile, failure)
        elif selection.node is None:
            yield from self._fail(queued, pod, profile, Failure("no nodes available to schedule pods", True, nominating=Nominating("")))
        else:
            state = selection.state
            state.write(ReservedPlan(selection.plan))
            key = f"{pod_id(pod)}/{queued.attempts}"
            binding = Binding(key, queued, with_spec(pod, nodeName=selection.node), selection.node, state, profile)
            failed = self._assume(binding)
            if failed is not None:
                yield from self._fail(queued, pod, profile, failed)

    def _post_filter(self, pod: Pod, profile: Profile, selection: Selection) -> Failure:
        """Ask what could make room, and put the whole message together."""
        verdicts = selection.verdicts
        assert verdicts is not None
        nominating: Nominating | None = None
        reasons: list[str] = []
        asked = False
        for plugin in profile.post_filters:
            asked = True
            result = plugin.post_filter(self._handle, selection.state, pod, verdicts)
            status = result.status
            if result.after is not None:
                self.evictions[pod_id(pod)] = result.after
            if status.code in (Code.SUCCESS, Code.UNRESOLVABLE):
                reasons, nominating = list(status.reasons), result.nominating
                break
            if not status.rejected:
                reasons, nominating = list(status.reasons), None
                break
            if result.nominating is not None:
                nominating = result.nominating
            reasons += status.reasons
        if not asked:
            nominating = Nominating("")
        return Failure(fit_error(verdicts, post_filter=", ".join(reasons)), True, selection.rejecting, nominating=nominating)

    def _assume(self, binding: Binding) -> Failure | None:
        """Count the pod on its node, Reserve, Permit. On failure everything is undone and the reason is answered."""
        pod, node, state, profile = binding.pod, binding.node, binding.state, binding.profile
        try:
            self._cache.assume_pod(pod)
        except EngineError as twice:
            return Failure(str(twice), False, nominating=Nominating(""))
        self._queue.nominator.delete(pod)
        for plugin in profile.reserves:
            status = plugin.reserve(state, pod, node)
            if not status.ok:
                self._undo(binding)
                return self._refused(status, plugin, node, "Reserve")
        waits: dict[str, Wait] = {}
        for permit in profile.permits:
            status, wait_s = permit.permit(state, pod, node)
            if status.code is Code.WAIT:
                wait_s = min(wait_s, PERMIT_WAIT_S_MAX)
                waits[_name(permit)] = Wait(self._clock.now_ns() + round(wait_s * NS), wait_s)
            elif not status.ok:
                self._undo(binding)
                return self._refused(status, permit, node, "Permit")
        binding.waits = waits
        reserved = state.find(ReservedVolumes)
        if reserved is not None:
            reserved.interrupted = lambda: binding.stopped
        self.bindings[pod_id(pod)] = self._passes[binding.key] = binding
        self.ready.append(binding.key)
        return None

    @staticmethod
    def _refused(status: Status, plugin: object, node: str, point: str) -> Failure:
        """A refusal reads like a cluster of this one node; anything else is an error of the cycle."""
        name = status.plugin or _name(plugin)
        if not status.rejected:
            return Failure(f'running {point} plugin "{name}": {status.message}', False, nominating=Nominating(""))
        return _rejected_on(node, Status(status.code, status.reasons, name))

    def _undo(self, binding: Binding) -> None:
        for plugin in reversed(binding.profile.reserves):
            unreserve = getattr(plugin, "unreserve", None)
            if unreserve is not None:
                unreserve(binding.state, binding.pod, binding.node)
        self._cache.forget_pod(binding.pod)

    # failure

    def _fail(self, queued: QueuedPod, tried: Pod, profile: Profile, failure: Failure) -> Steps[None]:
        """Requeue, nominator, event, status patch, in this order. A pod deleted, bound or made anew meanwhile is not requeued."""
        now_ns = self._clock.now_ns()
        metadata = meta(tried)
        pod = tried
        current: Pod | None = self._cache.get("Pod", metadata.namespace or "default", metadata.name or "")
        queued.rejectors, queued.pending = failure.rejecting, failure.pending
        if current is not None and pod_id(current) != pod_id(tried):
            self._queue.done(tried)  # another pod of this name: its status is not ours to write
            return
        if current is None or node_of(current):
            self._queue.done(tried)
        else:
            pod = queued.pod = current
            if self._queue.place_of(current) in (None, Place.IN_FLIGHT):
                self._queue.requeue(queued, now_ns)
            else:
                self._queue.done(tried)
        self._queue.nominate(pod, failure.nominating)
        source = profile.scheduler_name
        yield Emit(pod, "Warning", "FailedScheduling", event_note(failure.message), action="Scheduling", source=source)
        condition = PodCondition(
            type="PodScheduled",
            status="False",
            reason="Unschedulable" if failure.unschedulable else "SchedulerError",
            message=failure.message,
            observedGeneration=meta(pod).generation,
        )
        nominated = failure.nominating.node if failure.nominating is not None else None
        patch = status_patch(pod, conditions=with_condition(pod, condition, now_ns), nominated=nominated)
        if patch is not None:
            try:
                yield from persistently(patch, conflicts=True)
            except ApiError:
                return  # the next attempt writes it; a pod that is gone needs none

    # binding cycle

    def bind(self, key: str) -> Steps[None]:
        """Carry one assumed pod's binding on, as far as it goes before it has to wait for Permit; or undo one that was stopped."""
        if key in self._stopping:
            stopped = self._stopping.pop(key)
            point = f'running PreBind plugin "{stopped.running}": ' if stopped.running else ""
            yield from self._unwind(stopped, Status.fail(f"{point}{stopped.stopped}"))
            return
        binding = self._passes.get(key)
        if binding is None:
            return
        status = OK
        if not binding.announced:
            status = yield from self._announce(binding)
            binding.announced = True
        if status.ok and binding.verdict is None and binding.waits:
            return  # `settle_wait` puts it into `ready` again
        if status.ok and binding.verdict is not None and not binding.verdict.ok:
            status = binding.verdict
        if status.ok:
            # From here on no refusal can send the pod elsewhere, so the events kept for it are not needed any more.
            self._queue.done(binding.pod)
            status = yield from self._write(binding)
        del self._passes[key]
        if binding.stopped is not None:
            return
        self.bindings.pop(pod_id(binding.pod), None)
        if status.ok:
            for plugin in binding.profile.post_binds:
                plugin.post_bind(binding.state, binding.pod, binding.node)
        else:
            yield from self._unwind(binding, status)

    def _announce(self, binding: Binding) -> Steps[Status]:
        """PreBindPreFlight; if there is work or a wait, tell autoscalers and users where the pod is going."""
        work = bool(binding.waits)
        for plugin in binding.profile.pre_binds:
            pre_flight = getattr(plugin, "pre_bind_pre_flight", None)
            status = OK if pre_flight is None else pre_flight(binding.state, binding.pod, binding.node)
            if status.ok:
                work = binding.in_pre_bind = True
            elif status.code is Code.SKIP:
                binding.skip.add(_name(plugin))
            else:
                return Status.fail(f'running PreBindPreFlight "{_name(plugin)}": {status.message}')
        patch = status_patch(binding.pod, nominated=binding.node) if work else None
        if patch is not None:
            try:
                yield from persistently(patch, conflicts=True)
            except ApiError:
                return OK  # nobody's decision depends on it
        return OK

    def _write(self, binding: Binding) -> Steps[Status]:
        """PreBind and Bind."""
        for plugin in binding.profile.pre_binds:
            if _name(plugin) in binding.skip:
                continue
            binding.running = _name(plugin)
            status = yield from plugin.pre_bind(binding.state, binding.pod, binding.node)
            binding.running = ""
            if not status.ok:
                return Status.fail(f'running PreBind plugin "{_name(plugin)}": {status.message}')
            if binding.stopped is not None:
                return Status.fail(binding.stopped)
        binding.bound = True
        status = yield from self._bind_by_extender(binding)
        if status.code is Code.SKIP:
            status = yield from self._bind_by_plugin(binding)
        if not status.ok:
            return status
        note = f"Successfully assigned {object_key(binding.pod)} to {binding.node}"
        yield Emit(binding.pod, "Normal", "Scheduled", note, action="Binding", source=binding.profile.scheduler_name)
        return OK

    def _bind_by_plugin(self, binding: Binding) -> Steps[Status]:
        for binder in binding.profile.binders:
            status = yield from binder.bind(binding.state, binding.pod, binding.node)
            if status.code is Code.SKIP:
                continue
            return status if status.ok else Status.fail(f'running Bind plugin "{_name(binder)}": {status.message}')
        return Status.fail("no plugin has bound the pod")

    def _bind_by_extender(self, binding: Binding) -> Steps[Status]:
        """The first extender that binds pods like this one; SKIP when there is none.

        It is expected to have bound the pod when it answers. One that cannot reach this API server, which has no address, has not, and
        then its consent is carried out here.
        """
        pod = binding.pod
        for extender in self._handle.extenders:
            if not extender.bind_verb or not extender.is_interested(pod):
                continue
            try:
                extender.bind(pod, binding.node)
            except PluginError as refused:
                if extender.ignorable:
                    continue
                return Status.fail(str(refused))
            metadata = meta(pod)
            try:
                current: Pod = yield Read("Pod", metadata.namespace or "default", metadata.name or "")
                if not node_of(current):
                    intent = Bind(metadata.namespace or "default", metadata.name or "", uid_of(pod), binding.node)
                    yield from persistently(intent, conflicts=False)
            except ApiError as refused_by_server:
                return Status.fail(str(refused_by_server))
            return OK
        return Status(Code.SKIP)

    def _unwind(self, binding: Binding, status: Status) -> Steps[None]:
        """A binding failed: give everything back, tell others that there is room, and record the failure."""
        now_ns = self._clock.now_ns()
        freed = True
        try:
            self._undo(binding)
        except EngineError:
            freed = False  # the pod is confirmed on a node after all, so nothing was freed
        rejected = status.rejected
        failure = _rejected_on(binding.node, status) if rejected else Failure(status.message, False, nominating=Nominating(""))
        if freed and not rejected:
            self._queue.move_all(ASSIGNED_POD_DELETE, binding.pod, None, now_ns)
        yield from self._fail(binding.queued, binding.pod, binding.profile, failure)
        if freed and rejected:
            # after the requeue and for others only: its own departure is no reason to try the refused pod again
            uid = pod_id(binding.pod)
            self._queue.move_all(ASSIGNED_POD_DELETE, binding.pod, None, now_ns, only=lambda other: pod_id(other) != uid)

    # Permit

    def settle_wait(self, uid: str, plugin: str, verdict: Status | None) -> bool:
        """A Permit plugin allows the pod (None), or ends its wait with a refusal or error. False when it does not wait any more."""
        binding = self.bindings.get(uid)
        if binding is None or binding.verdict is not None or not binding.waits:
            return False
        if verdict is None:
            binding.waits.pop(plugin, None)
            if binding.waits:
                return True
            binding.verdict = OK
        else:
            binding.waits.clear()
            binding.verdict = Status(verdict.code, verdict.reasons, plugin)
        if binding.announced:
            self.ready.append(binding.key)
        return True

    def next_timeout_ns(self) -> int | None:
        """When the next wait at Permit runs out."""
        return min((wait.until_ns for binding in self.bindings.values() for wait in binding.waits.values()), default=None)

    def expire_waits(self, now_ns: int) -> None:
        """End the waits that have run out."""
        for uid, binding in list(self.bindings.items()):
            for plugin, wait in list(binding.waits.items()):
                if wait.until_ns <= now_ns:
                    text = f"rejected due to timeout after waiting {duration_text(wait.seconds)} at plugin {plugin}"
                    self.settle_wait(uid, plugin, Status.refuse(text))

    def waiting(self) -> list[Pod]:
        """Pods held by Permit plugins, in the order in which they began to wait."""
        return [binding.pod for binding in self.bindings.values() if binding.waits and binding.verdict is None]

    # victims of preemption

    def is_waiting_or_binding(self, pod: Pod) -> bool:
        binding = self.bindings.get(pod_id(pod))
        return binding is not None and (bool(binding.waits) or binding.in_pre_bind)

    def stop(self, pod: Pod, plugin: str) -> bool:
        """Give up a pod that waits at Permit or is in PreBind; False once it is being bound.

        What it held is free as soon as the pass left in `ready` has begun, whatever its PreBind is waiting for.
        """
        binding = self.bindings.get(pod_id(pod))
        if binding is None or binding.bound:
            return False
        if binding.waits and binding.verdict is None:
            return self.settle_wait(pod_id(pod), plugin, Status(Code.ERROR, ("waiting on permit for pod: preempted",)))
        if not binding.in_pre_bind:
            return False
        binding.stopped = f"preempted by {plugin}"
        del self.bindings[pod_id(pod)]
        key = f"{binding.key}/stop"
        self._stopping[key] = binding
        self.ready.append(key)
        return True

    def take_ready(self) -> list[str]:
        """Bindings that want to be worked on, once each."""
        taken, self.ready = self.ready, []
        return list(dict.fromkeys(taken))


def duration_text(seconds: float) -> str:
    """A duration as Go prints it: `1m0s`, `1.5s`, `0s`."""
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(int(minutes), 60)
    return (f"{hours}h" if hours else "") + (f"{minutes}m" if hours or minutes else "") + f"{rest:g}s"


def _name(plugin: object) -> str:
    return str(getattr(plugin, "name", type(plugin).__name__))


def _rejected_on(node: str, status: Status) -> Failure:
    """The failure of a pod that a plugin refused after a node had been chosen: a FitError over that node alone."""
    verdicts = Verdicts((node,), {node: Rejection(status.plugin, status.code.value, status.reasons)})
    names: Iterable[str] = [status.plugin]
    pending = frozenset(names) if status.code is Code.PENDING else frozenset()
    return Failure(fit_error(verdicts), True, frozenset(names) - pending, pending, Nominating(""))
