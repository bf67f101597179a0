"""The clock of a replay: arrivals, departures, volumes being made, planned events, and the scheduler between them.

    retries  ─┐                      ┌─> refused: the scheduler's own queue, with its backoff and its wake-up hints
    timers   ─┼─> one instant ──> ───┤
    arrivals ─┘                      └─> placed ─> claims made ─> bound ─> attached ─> running ─> ended ─> claims released

    timers, at one instant: planned, disks cleaned, volumes made, ended, removed, bound, running; each in the order in which they were set

Virtual time jumps from one instant to the next. What happens at one instant happens in the order above, one after the other, and the
scheduler is never busy: whenever something makes it possible to place a pod, it does so before the next thing happens. Nothing here draws
chance or asks a real clock.

The queue is the scheduler's (`volsched.scheduler.queue`), told of the same events with the same hints, so a refused pod is tried again when
kube-scheduler would. A binding is polled once a second, as PreBind does, and given up after 600 s. An evicted pod waits again under its
name with what is left of its time, as its controller would make it anew; its claims are kept.
"""

from __future__ import annotations

import enum
import heapq
from collections.abc import Callable, Sequence
from typing import Any, Final, Literal

import numpy as np

from volsched.api.kinds import meta
from volsched.cache.volume_binder import BIND_TIMEOUT_S, POLL_S
from volsched.engine import Engine, SchedulingEngine
from volsched.env import VirtualClock
from volsched.errors import EngineError
from volsched.replay.log import NONE, EventLog, Facts, Kind, Recorder, facts_of
from volsched.replay.objects import Objects
from volsched.replay.placing import Answer, Batches, OneByOne, Placement, Placer, Refusal, reason_of
from volsched.replay.plan import PlannedEvent, Verb
from volsched.replay.storage import Phase, Storage
from volsched.replay.synth import NAMESPACE, Scene
from volsched.replay.trace import NS
from volsched.scheduler import Scheduler
from volsched.scheduler.events import ASSIGNED_POD_DELETE, NODE_ADD, NODE_DELETE, Action, ClusterEvent, node_changes
from volsched.scheduler.queue import QueuedPod

POLL_NS: Final = round(POLL_S * NS)
BIND_TIMEOUT_NS: Final = BIND_TIMEOUT_S * NS
CSI_NODE_ADD: Final = ClusterEvent("CSINode", Action.ADD)
PROVISIONING_FAILED: Final = "provisioning failed: no room in the pool"
BINDING_TIMED_OUT: Final = "binding volumes: context deadline exceeded"

Mode = Literal["batch", "one-by-one"]


class Due(enum.IntEnum):
    """What a timer is for; at one instant the smaller goes first."""

    PLANNED = 0
    DISK_CLEAN = 1
    VOLUME_MADE = 2
    ENDED = 3
    REMOVED = 4
    BOUND = 5
    RUNNING = 6


class PodPhase(enum.IntEnum):
    """Where a pod is."""

    ABSENT = 0
    WAITING = 1
    BINDING = 2
    STARTING = 3
    RUNNING = 4
    GONE = 5


class Simulation:
    """One replay. engine: empty; it belongs to the replay from then on. seed, tie_break, policy: what scene and engine were made with,
    for the record. mode: "one-by-one" is the plain definition of "batch"."""

    def __init__(
        self,
        scene: Scene,
        *,
        engine: SchedulingEngine,
        plan: Sequence[PlannedEvent] = (),
        seed: int = 0,
        tie_break: str = "first",
        policy: str = "",
        mode: Mode = "batch",
    ) -> None:
        self.scene = scene
        self.facts: Facts = facts_of(scene, seed=seed, plan=plan, tie_break=tie_break, policy=policy)
        self.recorder = Recorder()
        self.clock = VirtualClock(0)
        self.objects = Objects(scene)
        self.engine = engine
        self.queue = Scheduler(self.clock, engine).queue
        self.placer: Placer
        if mode == "one-by-one":
            self.placer = OneByOne(engine, self.objects)
        elif isinstance(engine, Engine):
            self.placer = Batches(engine, self.objects, scene.pods)
        else:
            raise EngineError("batches are for the native engine; replay one by one with the other")
        self.storage = Storage(scene, self.objects, engine, told=self._tell, changed=self._changed)
        self.plan = plan
        pods = len(scene.pods)
        self.phase = [PodPhase.ABSENT] * pods
        self.epoch = [0] * pods  # timers of earlier placements are void
        self.node = [NONE] * pods
        self.placed_ns = [0] * pods
        self.since_ns = [0] * pods  # running since
        self.left_ns: list[int] = scene.pods.lifetime_ns.tolist()
        self.attempts = [0] * pods
        self.messages = [""] * pods
        self.reason = [NONE] * pods
        self.made_ns = [0] * len(scene.claims)  # when the driver answers, while a volume is made
        self.binding: dict[int, QueuedPod] = {}  # pods whose volumes are not there yet, as the queue had them
        self.change = 0  # grows with every change that a decision could see
        self.tried_at = [NONE] * pods  # the change at which it was refused last
        self.waiting: set[int] = set()  # in the queue
        self.is_there = [True] * len(scene.nodes)
        self.is_cordoned = [False] * len(scene.nodes)
        self.on_node: list[dict[int, None]] = [{} for _ in range(len(scene.nodes))]
        self.timers: list[tuple[int, int, int, int, int]] = []  # time, Due, sequence, subject, epoch
        self.sequence = 0
        self.order: list[int] = np.argsort(scene.pods.arrival_ns, kind="stable").tolist()
        self.arrival_ns: list[int] = scene.pods.arrival_ns.tolist()
        self.removal_ns: list[int] = scene.pods.removal_ns.tolist()
        self.arrived = 0  # how many of `order`
        self.gone = 0
        self._priority: list[int] = scene.pods.priority.tolist()
        self._start_ns: list[int] = scene.start_ns.tolist()
        self._attach_ns: list[int] = scene.attach_ns.tolist()
        self._provision_ns: list[int] = scene.provision_ns.tolist()
        self._keep: list[bool] = scene.claims.keep.tolist()
        self.node_index = {name: at for at, name in enumerate(scene.nodes.names)}
        self._pod_index = {name: at for at, name in enumerate(scene.pods.names)}
        self._skips = mode == "batch"
        self._is_quiet = False
        self.is_started = False
        self.is_finished = False

    # running

    def start(self) -> None:
        """Everything that is there before time begins."""
        self.is_started = True
        self.queue.flush(self.clock.now_ns())  # its ticks count from here
        for event in self.plan:
            if event.verb is Verb.JOIN:
                self.is_there[event.node] = False
        self._put_base()
        for node in range(len(self.scene.nodes)):
            if self.is_there[node]:
                self._put_node(node)
        self.storage.start()
        for at, event in enumerate(self.plan):
            self._at(event.time_ns, Due.PLANNED, at)

    def resume(self, node_order: Sequence[int]) -> None:
        """Build the engine for a state that was put here from a checkpoint. node_order: the nodes that are there, as they were visited."""
        self.is_started = True
        self._put_base()
        for node in node_order:
            self._put_node(node)
        self.storage.start()
        for node, pods in enumerate(self.on_node):
            for pod in pods:
                self.engine.upsert(self.objects.pod(pod, self.scene.nodes.names[node]))
        self.placer.changed()

    def pod_of(self, queued: QueuedPod) -> int:
        """The pod of an entry of the queue."""
        return self._pod_index[meta(queued.pod).name or ""]

    def _put_base(self) -> None:
        for obj in self.scene.base:
            if type(obj).__name__ not in ("Node", "CSINode"):
                self.engine.upsert(obj)

    def run(self, *, stop: Callable[[], bool] = lambda: False) -> bool:
        """Go on until nothing more happens, or until `stop` says so between two instants; whether the end was reached."""
        if not self.is_started:
            self.start()
        while not self.is_finished:
            if stop():
                return False
            self.step()
        return True

    def step(self) -> None:
        """The next instant; none once the replay is finished."""
        if self.is_finished:
            return
        now_ns = self._next_ns()
        if now_ns is None:
            self.wake()
            self.recorder.add(self.clock.now_ns(), Kind.FINISHED, 0)
            self.is_finished = True
            return
        self.clock.wait_until(now_ns)
        if self.waiting and not self._is_quiet:
            self.queue.flush(now_ns)
            self._drain(now_ns)
        while True:
            self._happen(now_ns)
            self._try_new(self._arrive(now_ns), now_ns)
            if not self.timers or self.timers[0][0] > now_ns:
                return

    def _next_ns(self) -> int | None:
        times = []
        if self.timers:
            times.append(self.timers[0][0])
        if self.arrived < len(self.order):
            times.append(self.arrival_ns[self.order[self.arrived]])
        next_ns = min(times, default=None)
        if not self.waiting:
            return next_ns
        if self._is_quiet:
            return next_ns
        flush_ns = self.queue.next_flush_ns()
        if flush_ns is None or (next_ns is not None and next_ns <= flush_ns):
            return next_ns
        if any(self.tried_at[pod] != self.change for pod in self.waiting):
            return flush_ns
        # another try without a change since the last one would end as that did
        if next_ns is None:
            return None
        self._is_quiet = self._skips and self.queue.is_at_rest
        return next_ns if self._is_quiet else flush_ns

    def wake(self) -> None:
        """End a time in which pods that wait were not tried, since nothing had changed: count the tries there would have been."""
        if not self._is_quiet:
            return
        self._is_quiet = False
        # with this instant's tick: the queue gives pods out before anything else happens
        for queued, tries in self.queue.pass_quiet_time(self.clock.now_ns() + 1):
            self.attempts[self.pod_of(queued)] += tries

    def _at(self, time_ns: int, due: Due, subject: int, epoch: int = 0) -> None:
        heapq.heappush(self.timers, (time_ns, due, self.sequence, subject, epoch))
        self.sequence += 1

    def progress(self) -> tuple[int, int]:
        """How many pods have arrived, and how many there are."""
        return self.arrived, len(self.order)

    def log(self) -> EventLog:
        """The log as it is now. One of an unfinished replay says so."""
        self.wake()
        recorder = Recorder()
        recorder.restore(self.recorder.rows(), list(self.recorder.reasons))
        if not self.is_finished:
            recorder.add(self.clock.now_ns(), Kind.FINISHED, 1)
        return EventLog(self.facts, recorder.rows(), tuple(recorder.reasons), np.array(self.attempts, np.int32), tuple(self.messages))

    # one instant

    def _happen(self, now_ns: int) -> None:
        timers, do = self.timers, self._DO
        while timers and timers[0][0] <= now_ns:
            _, due, _, subject, epoch = heapq.heappop(timers)
            do[due](self, subject, epoch, now_ns)
            self._drain(now_ns)

    def _arrive(self, now_ns: int) -> list[int]:
        arrivals: list[int] = []
        while self.arrived < len(self.order) and self.arrival_ns[pod := self.order[self.arrived]] <= now_ns:
            self.arrived += 1
            self.recorder.add(now_ns, Kind.ARRIVED, pod)
            self.phase[pod] = PodPhase.WAITING
            for claim in self.objects.claims_of(pod):
                self.storage.create(claim)
            if self.removal_ns[pod] >= 0:
                self._at(max(self.removal_ns[pod], now_ns), Due.REMOVED, pod)
            arrivals.append(pod)
        return arrivals

    def _drain(self, now_ns: int) -> None:
        """The scheduler tries what its queue gives out, by priority."""
        while self.queue.can_pop:
            queued = self.queue.pop(now_ns)
            assert queued is not None
            pod = self.pod_of(queued)
            (answer,) = self.placer.place([pod])
            self.attempts[pod] += 1
            if isinstance(answer, Placement):
                self.waiting.discard(pod)
                self.queue.done(queued.pod)
                self._placed(pod, answer, queued, now_ns)
            else:
                self._refused(pod, answer, queued, now_ns)

    def _try_new(self, arrivals: list[int], now_ns: int) -> None:
        """New pods are tried as they come, without passing through a queue that would give each out again at once. Those that are there
        when time begins are in it when the scheduler starts."""
        if not arrivals:
            return
        if now_ns == 0:
            arrivals.sort(key=lambda pod: -self._priority[pod])
        for pod, answer in zip(arrivals, self.placer.place(arrivals), strict=True):
            self.attempts[pod] += 1
            if isinstance(answer, Placement):
                self._placed(pod, answer, None, now_ns)
            else:
                self.queue.add(self.objects.pod(pod), now_ns)
                self._refused(pod, answer, self.queue.pop(now_ns), now_ns)

    def _wait(self, pod: int, now_ns: int) -> None:
        self.waiting.add(pod)
        self.queue.add(self.objects.pod(pod), now_ns)

    def _refused(self, pod: int, refusal: Refusal, queued: QueuedPod | None, now_ns: int) -> None:
        assert queued is not None
        if not refusal.rejectors:
            self.wake()  # it backs off
        self.waiting.add(pod)
        self.tried_at[pod] = self.change
        queued.rejectors, queued.pending = refusal.rejectors, frozenset()
        self._tell_reason(pod, Kind.REFUSED, NONE, refusal.message, now_ns)
        self.queue.requeue(queued, now_ns)

    def _tell_reason(self, pod: int, kind: Kind, node: int, message: str, now_ns: int) -> None:
        self.messages[pod] = message
        reason = self.recorder.reason(reason_of(message))
        if kind is not Kind.REFUSED or reason != self.reason[pod]:
            self.recorder.add(now_ns, kind, pod, node, reason)
        self.reason[pod] = reason

    # from a node to the end

    def _placed(self, pod: int, placement: Placement, queued: QueuedPod | None, now_ns: int) -> None:
        node = self.node_index[placement.node]
        self._changed()
        self.phase[pod] = PodPhase.BINDING
        self.node[pod] = node
        self.placed_ns[pod] = now_ns
        self.reason[pod] = NONE
        self.epoch[pod] += 1
        self.on_node[node][pod] = None
        self.recorder.add(now_ns, Kind.PLACED, pod, node)
        claims = self.objects.claims_of(pod)
        if all(self.storage.phase[claim] is Phase.BOUND for claim in claims):
            self._bind(pod, now_ns)
            return
        first = self.objects.claim_names
        by_name = {f"{NAMESPACE}/{first[claim]}": claim for claim in claims}
        for binding in placement.volumes.bind:
            claim = by_name[binding.claim]
            self.recorder.add(now_ns, Kind.CLAIMED, claim, self.storage.take(claim, binding.volume))
        for provisioning in placement.volumes.provision:
            claim = by_name[provisioning.claim]
            if self.storage.select(claim, node):
                self.made_ns[claim] = now_ns + self._provision_ns[claim]
                self._at(self.made_ns[claim], Due.VOLUME_MADE, claim)
        self.binding[pod] = queued or QueuedPod(self.objects.pod(pod), now_ns, attempts=1, first_attempt_ns=now_ns)
        self._poll_again(pod, now_ns)

    def _poll_again(self, pod: int, now_ns: int) -> None:
        """At the first poll that can find something new."""
        begun_ns = self.placed_ns[pod]
        answers = [self.made_ns[claim] for claim in self.objects.claims_of(pod) if self.storage.phase[claim] is Phase.PROVISIONING]
        wait_ns = max(min(answers, default=now_ns) - begun_ns, now_ns - begun_ns + POLL_NS)
        polled_ns = -(-wait_ns // POLL_NS) * POLL_NS
        self._at(begun_ns + min(polled_ns, BIND_TIMEOUT_NS), Due.BOUND, pod, self.epoch[pod])

    def _poll(self, pod: int, epoch: int, now_ns: int) -> None:
        """PreBind looks whether the volumes are there."""
        if epoch != self.epoch[pod] or self.phase[pod] is not PodPhase.BINDING:
            return
        phases = [self.storage.phase[claim] for claim in self.objects.claims_of(pod)]
        if all(phase is Phase.BOUND for phase in phases):
            self.binding.pop(pod)
            self._bind(pod, now_ns)
        elif Phase.UNBOUND in phases:
            self._unplaced(pod, PROVISIONING_FAILED, now_ns)
        elif now_ns - self.placed_ns[pod] >= BIND_TIMEOUT_NS:
            self._unplaced(pod, BINDING_TIMED_OUT, now_ns)
        else:
            self._poll_again(pod, now_ns)

    def _bind(self, pod: int, now_ns: int) -> None:
        self.phase[pod] = PodPhase.STARTING
        self.recorder.add(now_ns, Kind.BOUND, pod, self.node[pod])
        delay_ns = self._start_ns[pod]
        claims = self.objects.claims_of(pod)
        if claims:
            delay_ns += max(self._attach_ns[claim] for claim in claims)
        if delay_ns:
            self._at(now_ns + delay_ns, Due.RUNNING, pod, self.epoch[pod])
        else:
            self._run(pod, self.epoch[pod], now_ns)

    def _run(self, pod: int, epoch: int, now_ns: int) -> None:
        if epoch != self.epoch[pod] or self.phase[pod] is not PodPhase.STARTING:
            return
        self.phase[pod] = PodPhase.RUNNING
        self.since_ns[pod] = now_ns
        self.recorder.add(now_ns, Kind.RUNNING, pod, self.node[pod])
        if self.left_ns[pod] >= 0:
            self._at(now_ns + self.left_ns[pod], Due.ENDED, pod, epoch)

    def _unplaced(self, pod: int, message: str, now_ns: int) -> None:
        """The binding failed: others hear of the room first, then the pod waits its backoff. Source: `Cycles._unwind`."""
        queued = self.binding.pop(pod)
        node = self.node[pod]
        self._leave(pod)
        self.phase[pod] = PodPhase.WAITING
        self._tell_reason(pod, Kind.UNPLACED, node, message, now_ns)
        queued.rejectors = queued.pending = frozenset()
        self.waiting.add(pod)
        self.tried_at[pod] = NONE
        self.queue.requeue(queued, now_ns)

    def _end(self, pod: int, epoch: int, now_ns: int) -> None:
        if epoch != self.epoch[pod] or self.phase[pod] is not PodPhase.RUNNING:
            return
        self.recorder.add(now_ns, Kind.ENDED, pod, self.node[pod])
        self._depart(pod, now_ns)

    def _remove(self, pod: int, _: int, now_ns: int) -> None:
        if self.phase[pod] is PodPhase.GONE:
            return
        self.wake()
        self.recorder.add(now_ns, Kind.REMOVED, pod, self.node[pod])
        if self.phase[pod] is PodPhase.WAITING:
            self.queue.delete(self.objects.pod(pod))
            self.waiting.discard(pod)
        self._depart(pod, now_ns)

    def _depart(self, pod: int, now_ns: int) -> None:
        """The pod is gone, and its claims but for those that are kept."""
        if self.node[pod] != NONE:
            self._leave(pod)
        self.phase[pod] = PodPhase.GONE
        self.gone += 1
        self.binding.pop(pod, None)
        for claim in self.objects.claims_of(pod):
            if self._keep[claim] and self.storage.phase[claim] is Phase.BOUND:
                continue
            is_local = self.storage.is_local(claim)
            backing = self.storage.release(claim)
            if backing is None:
                continue
            self.recorder.add(now_ns, Kind.DISK_RELEASED if is_local else Kind.RELEASED, claim, backing)
            if is_local:
                self._at(now_ns + int(self.scene.disks.cleanup_ns[backing]), Due.DISK_CLEAN, backing)

    def _leave(self, pod: int) -> None:
        """Take the pod off its node, and tell those that wait."""
        node = self.node[pod]
        del self.on_node[node][pod]
        self.node[pod] = NONE
        self.epoch[pod] += 1
        self._changed()
        self.engine.remove("Pod", NAMESPACE, self.scene.pods.names[pod])
        if self.waiting:
            self._tell(ASSIGNED_POD_DELETE, self.objects.pod(pod, self.scene.nodes.names[node]), None)

    # storage

    def _made(self, claim: int, _: int, now_ns: int) -> None:
        made = self.storage.make(claim)
        if made is not None:
            self.recorder.add(now_ns, Kind.PROVISIONED if made else Kind.PROVISION_FAILED, claim, self.storage.backing[claim])

    def _clean(self, disk: int, _: int, now_ns: int) -> None:
        self.recorder.add(now_ns, Kind.DISK_CLEAN, NONE, disk)
        self.storage.clean(disk)

    # nodes

    def _put_node(self, node: int) -> Any:
        made = self.objects.node(node, cordoned=self.is_cordoned[node])
        self.engine.upsert(made)
        csi_node = self.objects.csi_node(self.scene.nodes.names[node])
        if csi_node is not None:
            self.engine.upsert(csi_node)
        self.placer.nodes_changed()
        return made

    def _planned(self, at: int, _: int, now_ns: int) -> None:
        """What the plan says; nothing where the node is not there, is there already or is cordoned already."""
        event = self.plan[at]
        node = event.node
        if event.verb in (Verb.JOIN, Verb.RETURN):
            if not self.is_there[node]:
                self._join(node, now_ns)
        elif not self.is_there[node]:
            return
        elif event.verb is Verb.LOSE:
            self._lose(node, now_ns)
        elif (event.verb is Verb.DRAIN) != self.is_cordoned[node]:
            self._cordon(node, now_ns)

    def _join(self, node: int, now_ns: int) -> None:
        self.is_there[node], self.is_cordoned[node] = True, False
        self.recorder.add(now_ns, Kind.NODE_JOINED, NONE, node)
        made = self._put_node(node)
        self._changed()
        self._tell(NODE_ADD, None, made)
        csi_node = self.objects.csi_node(self.scene.nodes.names[node])
        if csi_node is not None:
            self._tell(CSI_NODE_ADD, None, csi_node)

    def _cordon(self, node: int, now_ns: int) -> None:
        """Cordon and empty a node, or give it back."""
        old = self.objects.node(node, cordoned=self.is_cordoned[node])
        self.is_cordoned[node] = not self.is_cordoned[node]
        self.recorder.add(now_ns, Kind.CORDONED if self.is_cordoned[node] else Kind.UNCORDONED, NONE, node)
        new = self._put_node(node)
        self._changed()
        for event in node_changes(new, old):
            self._tell(event, old, new)
        if self.is_cordoned[node]:
            self._evict(node, now_ns)

    def _lose(self, node: int, now_ns: int) -> None:
        name = self.scene.nodes.names[node]
        self.is_there[node] = False
        self.recorder.add(now_ns, Kind.NODE_LOST, NONE, node)
        self._tell(NODE_DELETE, self.objects.node(node, cordoned=self.is_cordoned[node]), None)
        self.is_cordoned[node] = False
        self.engine.remove("Node", "", name)
        self.engine.remove("CSINode", "", name)
        self.placer.nodes_changed()
        self._changed()
        self._evict(node, now_ns)

    def _evict(self, node: int, now_ns: int) -> None:
        for pod in list(self.on_node[node]):
            self.recorder.add(now_ns, Kind.EVICTED, pod, node)
            if self.phase[pod] is PodPhase.RUNNING and self.left_ns[pod] >= 0:
                self.left_ns[pod] -= now_ns - self.since_ns[pod]
            self.binding.pop(pod, None)
            self._leave(pod)
            self.phase[pod] = PodPhase.WAITING
            self._wait(pod, now_ns)

    # telling

    def _tell(self, event: ClusterEvent, old: Any | None, new: Any | None) -> None:
        self.wake()
        if self.waiting:
            self.queue.move_all(event, old, new, self.clock.now_ns())

    def _changed(self) -> None:
        self.wake()
        self.change += 1
        self.placer.changed()

    _DO: Final[dict[int, Callable[[Simulation, int, int, int], None]]] = {
        Due.PLANNED: _planned,
        Due.DISK_CLEAN: _clean,
        Due.VOLUME_MADE: _made,
        Due.ENDED: _end,
        Due.REMOVED: _remove,
        Due.BOUND: _poll,
        Due.RUNNING: _run,
    }


__all__ = ["Answer", "Mode", "Simulation"]
