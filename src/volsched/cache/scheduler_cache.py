"""The cluster as the scheduler sees it: what the API server said, plus what the scheduler has decided and not yet been told of.

    WatchEvent ──observe──> objects by kind ──effective object──> engine.upsert / engine.remove
    assume_pod / reserve ──> the pod counted on its node, volumes and claims as they are going to be ──> engine
                                  ends in exactly two ways: the event confirms it, or forget

A pod's states, keyed by uid:

    Initial ──assume_pod──> Assumed ──event: has a node──> Added ──event: deleted or terminal──> (gone)
       │                       └──forget_pod, or its deletion has begun──> Initial
       └──event: has a node──> Added

No assumption ever expires. A pod that has Succeeded or Failed leaves as if deleted, because upstream's informer leaves such pods out.

Every change moves `generation` on. Snapshots and reservations carry the generation they were made at; a stale one is refused.

Source: pkg/scheduler/backend/cache/cache.go, pkg/scheduler/eventhandlers.go; spec/scheduling.md 2, 5, 12.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, TypeVar

from lightkube.models.core_v1 import PersistentVolume, PersistentVolumeClaim, Pod

from volsched.api.defaults import with_defaults
from volsched.api.edit import is_deleting, uid_of, with_metadata, with_spec
from volsched.api.kinds import KINDS, key_of, kind_of, meta
from volsched.api.watch import Change, WatchEvent
from volsched.cache.assume_cache import AssumeCache, object_key
from volsched.cache.snapshot import Filtered, Scores, Snapshot
from volsched.cache.volume_binder import BIND_TIMEOUT_S, PodVolumes, VolumeBinder
from volsched.engine.decision import Decision, SchedulingEngine, Trial, VolumePlan
from volsched.engine.plugin import CycleState
from volsched.engine.profile import EngineProfile
from volsched.errors import EngineError
from volsched.ports import Bind, Steps, Update
from volsched.rules.volumes import pod_terminated

T = TypeVar("T")

# The kinds scheduling reads; spec/scheduling.md 2.
SCHEDULING_KINDS: Final = frozenset(
    {
        "CSIDriver",
        "CSINode",
        "CSIStorageCapacity",
        "Namespace",
        "Node",
        "PersistentVolume",
        "PersistentVolumeClaim",
        "Pod",
        "PodDisruptionBudget",
        "ReplicaSet",
        "ReplicationController",
        "Service",
        "StatefulSet",
        "StorageClass",
        "VolumeAttachment",
    }
)


class Seen(NamedTuple):
    """A watch event as it concerns the scheduler: `old` is what was known before, `new` what is known from now on (None: gone)."""

    kind: str
    old: Any | None
    new: Any | None

    @property
    def change(self) -> Change:
        if self.old is None:
            return Change.ADDED
        return Change.DELETED if self.new is None else Change.MODIFIED


@dataclass(slots=True)
class _PodState:
    pod: Pod
    assumed: bool


@dataclass(frozen=True, slots=True, eq=False)
class Reservation:
    """A pod assumed on a node with its volumes. Give it to `binding` to carry it out, or to `forget` to take it back."""

    pod: Pod  # with spec.nodeName
    node: str
    volumes: PodVolumes


def pod_id(pod: Pod) -> str:
    """The key of a pod's state: its uid; objects written by hand may have none and count by name."""
    return uid_of(pod) or object_key(pod)


def node_of(pod: Pod) -> str:
    """The node a pod is assigned to, empty when it is pending."""
    return (pod.spec.nodeName if pod.spec else None) or ""


class SchedulerCache:
    """Feed it objects, ask it for decisions, assume them, and get back what has to be written.

    A custom scheduler needs nothing else:

        cache = SchedulerCache(Engine())
        for obj in objects:
            cache.add(obj)                        # or cache.observe(event) from a watch
        snapshot = cache.snapshot()
        fits = snapshot.filter(pod)               # mask over snapshot.nodes, and why the others do not fit
        scores = snapshot.score(fits)             # int64 over the same nodes
        held = cache.assume(pod, snapshot.nodes[scores.argmax()])
        for intent in cache.writes(held):         # PersistentVolumes, PersistentVolumeClaims, then Bind
            ...
        # or `yield from cache.binding(held)`, which also waits for the volumes; on failure: cache.forget(held)

    `add`, `update` and `delete` take objects as a user writes them and apply the API defaults. `observe` takes watch events of an API
    server and trusts them. The engine belongs to the cache from then on: nobody else may change it. `plugins` and `profile` take part in
    every decision of this cache that names no others.
    """

    def __init__(self, engine: SchedulingEngine, *, plugins: Sequence[Any] = (), profile: EngineProfile | None = None) -> None:
        self.engine = engine
        self._plugins = tuple(plugins)
        self._profile = profile
        self._generation = 0
        self._objects: dict[str, dict[str, Any]] = {kind: {} for kind in sorted(SCHEDULING_KINDS)}
        self.volumes: AssumeCache[PersistentVolume] = AssumeCache("PersistentVolume")
        self.claims: AssumeCache[PersistentVolumeClaim] = AssumeCache("PersistentVolumeClaim")
        self._assumable: dict[str, AssumeCache[Any]] = {"PersistentVolume": self.volumes, "PersistentVolumeClaim": self.claims}
        self._pods: dict[str, _PodState] = {}
        # node -> pods counted there, in upstream's slot order: removing one moves the last into its place
        self._on_node: dict[str, list[Pod]] = {}
        self.binder = VolumeBinder(self.volumes, self.claims, lookup=self.get, changed=self._push)

    # feeding

    def observe(self, event: WatchEvent) -> Seen | None:
        """Take a watch event in. Answers what it means, None when it means nothing (a kind scheduling does not read, an outdated event)."""
        seen = self.resolve(event)
        if seen is not None:
            self.apply(seen)
        return seen

    def resolve(self, event: WatchEvent) -> Seen | None:
        """What an event would change, without changing it. A pod that has ended counts as deleted."""
        if event.kind not in SCHEDULING_KINDS:
            return None
        old = self._objects[event.kind].get(object_key(event.object))
        gone = event.change is Change.DELETED or (event.kind == "Pod" and pod_terminated(event.object))
        if gone and old is None:
            return None
        return Seen(event.kind, old, None if gone else event.object)

    def apply(self, seen: Seen) -> None:
        """Take in what `resolve` answered."""
        self._generation += 1
        subject: Any = seen.new if seen.new is not None else seen.old
        key = object_key(subject)
        table = self._objects[seen.kind]
        if seen.new is None:
            table.pop(key, None)
        else:
            table[key] = seen.new
        if seen.kind == "Pod":
            self._apply_pod(seen)
        elif seen.kind in self._assumable:
            cache = self._assumable[seen.kind]
            if seen.new is None:
                cache.delete(key)
            else:
                cache.put(seen.new)
            self._push(seen.kind, key)
        elif seen.new is None:
            self.engine.remove(seen.kind, meta(subject).namespace or "", meta(subject).name or "")
        else:
            self.engine.upsert(seen.new)

    def _apply_pod(self, seen: Seen) -> None:
        old, new = seen.old, seen.new
        if old is not None and (new is None or pod_id(old) != pod_id(new)) and pod_id(old) in self._pods:
            self.remove_pod(old)
        if new is None:
            return
        state = self._pods.get(pod_id(new))
        if node_of(new):
            if state is None or state.assumed:
                self.add_pod(new)
            else:
                self.update_pod(new)
        elif state is not None and is_deleting(new):
            # it will never run: others may have its place at once, while its binding fails on its own
            self.remove_pod(new)

    def _push(self, kind: str, key: str) -> None:
        """Give the engine a volume or claim as readers see it now."""
        self._generation += 1
        found = self._assumable[kind].find(key)
        if found is not None:
            self.engine.upsert(found)
            return
        namespace, _, name = key.rpartition("/")
        self.engine.remove(kind, namespace, name)

    def add(self, obj: Any) -> None:
        """Take in an object as a user would submit it: API defaults are applied. Known already: it is replaced."""
        self.observe(WatchEvent(Change.ADDED, kind_of(obj).name, self._complete(obj), 0))

    def update(self, obj: Any) -> None:
        """Replace an object, or add it; API defaults are applied."""
        self.observe(WatchEvent(Change.MODIFIED, kind_of(obj).name, self._complete(obj), 0))

    def delete(self, obj: Any) -> None:
        """Forget an object, identified by kind, namespace and name."""
        self.observe(WatchEvent(Change.DELETED, kind_of(obj).name, self._complete(obj), 0))

    @staticmethod
    def _complete(obj: T) -> T:
        kind = kind_of(obj)  # type: ignore[arg-type]
        if kind.namespaced and not meta(obj).namespace:  # type: ignore[arg-type]
            obj = with_metadata(obj, namespace="default")
        completed: T = with_defaults(obj)
        return completed

    # pod states

    def assume_pod(self, pod: Pod) -> None:
        """Count a pod on its spec.nodeName before the API server knows. Raises EngineError when the pod is known already."""
        if pod_id(pod) in self._pods:
            raise EngineError(f"pod {object_key(pod)} is in the cache already, it cannot be assumed again")
        self._count(pod, assumed=True)

    def forget_pod(self, pod: Pod) -> None:
        """Undo `assume_pod`. Nothing happens when the pod is not known. Raises EngineError when it is not assumed or on another node."""
        state = self._pods.get(pod_id(pod))
        if state is None:
            return
        if node_of(state.pod) != node_of(pod):
            raise EngineError(f"pod {object_key(pod)} was assumed on {node_of(state.pod)}, not on {node_of(pod)}: it cannot be forgotten")
        if not state.assumed:
            raise EngineError(f"pod {object_key(pod)} is not assumed, it cannot be forgotten")
        self._discount(state.pod)

    def add_pod(self, pod: Pod) -> None:
        """A pod with a node was reported: an assumption is confirmed or, on another node, corrected. Raises EngineError if added before."""
        state = self._pods.get(pod_id(pod))
        if state is None:
            self._count(pod, assumed=False)
        elif state.assumed:
            self._recount(state, pod)
            state.assumed = False
        else:
            raise EngineError(f"pod {object_key(pod)} was added before")

    def update_pod(self, pod: Pod) -> None:
        """A counted pod has changed. Raises EngineError when it is unknown, only assumed, or on another node than before."""
        state = self._pods.get(pod_id(pod))
        if state is None or state.assumed:
            raise EngineError(f"pod {object_key(pod)} is not counted on a node yet, it cannot be updated")
        if node_of(state.pod) != node_of(pod):
            raise EngineError(f"pod {object_key(pod)} moved from {node_of(state.pod)} to {node_of(pod)}, which no pod can do")
        self._recount(state, pod)

    def remove_pod(self, pod: Pod) -> None:
        """A counted or assumed pod is gone. Raises EngineError when it is unknown."""
        state = self._pods.get(pod_id(pod))
        if state is None:
            raise EngineError(f"pod {object_key(pod)} is not in the cache, it cannot be removed")
        self._discount(state.pod)

    def _count(self, pod: Pod, *, assumed: bool) -> None:
        self._generation += 1
        self._pods[pod_id(pod)] = _PodState(pod, assumed)
        self._on_node.setdefault(node_of(pod), []).append(pod)
        self.engine.upsert(pod)

    def _discount(self, pod: Pod) -> None:
        self._generation += 1
        del self._pods[pod_id(pod)]
        self._leave(pod)
        self.engine.remove("Pod", meta(pod).namespace or "", meta(pod).name or "")

    def _recount(self, state: _PodState, pod: Pod) -> None:
        self._generation += 1
        self._leave(state.pod)
        state.pod = pod
        self._on_node.setdefault(node_of(pod), []).append(pod)
        self.engine.upsert(pod)

    def _leave(self, pod: Pod) -> None:
        slots = self._on_node[node_of(pod)]
        index = next(i for i, other in enumerate(slots) if pod_id(other) == pod_id(pod))
        slots[index] = slots[-1]
        slots.pop()
        if not slots:
            del self._on_node[node_of(pod)]

    # reading

    @property
    def generation(self) -> int:
        """Moves on with every change."""
        return self._generation

    def get(self, kind: str, namespace: str, name: str) -> Any | None:
        """An object as the API server last reported it, assumptions aside; None when unknown."""
        return self._objects[kind].get(f"{namespace}/{name}" if namespace else name)

    def all(self, kind: str) -> Iterator[Any]:
        """Objects of a kind as reported, by namespace and name."""
        table = self._objects[kind]
        for key in sorted(table):
            yield table[key]

    @property
    def node_count(self) -> int:
        """How many nodes there are."""
        return len(self._objects["Node"])

    def assigned_pod(self, pod: Pod) -> Pod | None:
        """The pod as it is counted on a node, assumed or confirmed; None when it is not."""
        state = self._pods.get(pod_id(pod))
        return state.pod if state else None

    def is_assumed(self, pod: Pod) -> bool:
        """Whether the pod is counted on a node that only this scheduler knows of."""
        state = self._pods.get(pod_id(pod))
        return state is not None and state.assumed

    def pods_on(self, node: str) -> list[Pod]:
        """Pods counted on a node, assumed ones included."""
        return list(self._on_node.get(node, ()))

    def assumed_pods(self) -> list[Pod]:
        """Pods waiting for their binding to be confirmed, by namespace and name."""
        return sorted((state.pod for state in self._pods.values() if state.assumed), key=object_key)

    # deciding

    def snapshot(self) -> Snapshot:
        """The cluster as it is now. Costs nothing; it is refused once anything has changed."""
        return Snapshot(self.engine, self._generation, current=self._current_generation, plugins=self._plugins, profile=self._profile)

    def _current_generation(self) -> int:
        return self._generation

    def decide(
        self,
        pod: Pod,
        *,
        only: Sequence[str] | None = None,
        plugins: Sequence[Any] = (),
        profile: EngineProfile | None = None,
        state: CycleState | None = None,
        beside: Mapping[str, Sequence[Pod]] | None = None,
    ) -> Decision:
        """One decision over the cluster as it is now; `only` restricts it to these nodes. `plugins`: own plugins (`volsched.engine`), those
        of the cache unless given. `profile`: likewise. `state`: what plugins remember about this pod. `beside`: by node, pods that are
        promised it and count there."""
        return self.engine.decide(
            pod, only=only, plugins=plugins or self._plugins, profile=profile or self._profile, state=state, beside=beside
        )

    def trial(self, decision: Decision) -> Trial:
        """What would be if: questions about the decision's pod with pods taken from a node or promised it. Raises EngineError when the
        cluster has changed since the decision."""
        return self.engine.trial(decision, pods_on=self.pods_on)

    def filter(
        self, pod: Pod, *, only: Sequence[str] | None = None, plugins: Sequence[Any] = (), profile: EngineProfile | None = None
    ) -> Filtered:
        """Short for `snapshot().filter(pod)`."""
        return self.snapshot().filter(self._complete(pod), only=only, plugins=plugins, profile=profile)

    def score(self, pod: Pod, *, plugins: Sequence[Any] = ()) -> Scores:
        """Short for filtering and scoring on a fresh snapshot: int64 totals over the nodes, -1 where the pod does not fit."""
        snapshot = self.snapshot()
        return snapshot.score(snapshot.filter(self._complete(pod), plugins=plugins))

    # assuming and binding

    def assume(self, pod: Pod, node: str, *, decision: Decision | None = None) -> Reservation:
        """Count a pending pod on a node that it fits, and its volumes as bound to it.

        `decision`: one made for this pod since the last change, else a new one is made.
        Raises EngineError when the pod does not fit the node, saying why, or is in the cache already.
        """
        if decision is None:
            decision = self.decide(self._complete(pod), only=[node])
        pod = decision.pod
        if decision.error is not None:
            raise EngineError(f"pod {object_key(pod)} cannot be assumed on {node}: {decision.error}")
        if decision.prefilter is not None or node not in decision.feasible():
            rejection = decision.prefilter or decision.rejected().get(node)
            reasons = ", ".join(rejection.reasons) if rejection else "there is no such node"
            raise EngineError(f"pod {object_key(pod)} cannot be assumed on {node}: {reasons}")
        return self.reserve(pod, node, decision.volumes(node))

    def reserve(self, pod: Pod, node: str, plan: VolumePlan) -> Reservation:
        """`assume` with the volumes chosen already. Raises EngineError, ConflictError, NotFoundError, leaving nothing assumed."""
        assumed = with_spec(pod, nodeName=node)
        self.assume_pod(assumed)
        return Reservation(assumed, node, self._or_forget(assumed, lambda: self.binder.reserve(assumed, node, plan)))

    def _or_forget(self, pod: Pod, action: Callable[[], PodVolumes]) -> PodVolumes:
        try:
            return action()
        except Exception:
            self.forget_pod(pod)
            raise

    def forget(self, reservation: Reservation) -> None:
        """Take a reservation back: the volumes' and claims' assumptions, then the pod's. Writes made meanwhile stay in the API."""
        self.binder.unreserve(reservation.volumes)
        self.forget_pod(reservation.pod)

    def writes(self, reservation: Reservation) -> tuple[Update | Bind, ...]:
        """What has to be written, in order: volumes with their claimRef, claims with their selected node, the binding.

        The binding must wait until every claim is bound; `binding` does that.
        """
        metadata = meta(reservation.pod)
        bind = Bind(metadata.namespace or "default", metadata.name or "", uid_of(reservation.pod), reservation.node)
        return (*self.binder.writes(reservation.volumes), bind)

    def binding(self, reservation: Reservation, *, timeout_s: float = BIND_TIMEOUT_S) -> Steps[None]:
        """Carry a reservation out: a generator that yields Update, Pause and Bind intents and is sent their results.

        It polls this cache, so keep feeding it while the generator runs. Raises ReconcileError or ApiError; then call `forget`.
        """
        yield from self.binder.bind(reservation.pod, reservation.volumes, timeout_s=timeout_s)
        *_, bind = self.writes(reservation)
        yield bind

    # checking itself, for tests

    def check(self) -> list[str]:
        """Invariants broken, empty when all hold."""
        broken: list[str] = []
        counted = {pod_id(pod) for pods in self._on_node.values() for pod in pods}
        if counted != set(self._pods):
            broken.append(f"pods counted on nodes and pod states differ: {sorted(counted ^ set(self._pods))}")
        for kind, cache in self._assumable.items():
            broken += [f"{kind} {key} is assumed but not stored" for key in cache.assumed() if key not in cache]
            if set(self._objects[kind]) != {object_key(obj) for obj in cache.all()}:
                broken.append(f"{kind}: informer table and assume cache differ")
        for pod in self.all("Pod"):
            state = self._pods.get(pod_id(pod))
            if node_of(pod) and (state is None or state.assumed):
                broken.append(f"pod {key_of(pod)} has a node but is not counted as confirmed")
        return broken


assert set(KINDS) >= SCHEDULING_KINDS
