"""Worlds that events happen to, each with an engine that only ever learns what changes, and the check that it knows what a new one would.

    EngineWorld: events ─────────────────────────────> engine                  assume, forget and fork are the engine's
    CacheWorld:  events ─> API server ─watch, late─> SchedulerCache ─> engine   assume and forget are the cache's, bindings are carried out

`check` rebuilds a native engine from what is left and compares: the text of the whole state, the order of nodes, invariants, and one
decision with every detail. `check_with_reference` has the plain engine say the same, once kept up event by event and once rebuilt.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from lightkube.models.core_v1 import Node, ObjectReference, PersistentVolume, PersistentVolumeClaim, Pod

from tests.parity.answers import answer, first_difference
from tests.parity.events import Assume, Carry, Confirm, Deliver, Drop, Event, Forget, Fork, Name, Put, Resync
from tests.parity.rebuilding import Arrivals, Rows, decided, in_slot_order, packed_profile, rebuilt
from volsched.api.edit import with_annotations, with_metadata, with_spec
from volsched.api.kinds import key_of, kind_of, meta
from volsched.api.watch import Change, WatchEvent
from volsched.cache import SchedulerCache
from volsched.cache.scheduler_cache import Reservation
from volsched.engine import Assumption, Decision, Engine, VolumePlan
from volsched.engine.profile import DEFAULT_PROFILE, DEFAULT_SCORES, EngineProfile
from volsched.engine.reference import ReferenceEngine
from volsched.errors import ApiError, ConflictError, NotFoundError, ReconcileError
from volsched.ports import Bind, Pause, Steps, Update
from volsched.rules.volumes import ANN_SELECTED_NODE, pod_terminated


def without_images(profile: EngineProfile) -> EngineProfile:
    """The profile for clusters with images. How many nodes have one is counted when a node is next looked at after a change of its own
    (spec/scheduling.md 12.3), which a rebuilt engine cannot know; that is compared with the reference engine, which has the same history.
    Some plugin must score, else the search would begin where the last one ended."""
    return replace(profile, scores=tuple(item for item in profile.scores if item.name != "ImageLocality") or DEFAULT_SCORES[:1])


class Difference(AssertionError):
    """Two engines that ought to know the same do not."""


class Settings(NamedTuple):
    """What a world is like."""

    tie_break: str = "first"
    images: bool = False
    versions: bool = True  # whether changed objects get a new resourceVersion, as from an API server; by hand they have none
    profile: EngineProfile = DEFAULT_PROFILE  # one that does not rotate


def _name(obj: Any) -> Name:
    key = key_of(obj)
    return key.namespace, key.name


def _demand_equal(one: str, other: str, what: str) -> None:
    if one == other:
        return
    ours, theirs = one.splitlines(), other.splitlines()
    only = [f"  + {line}" for line in ours if line not in theirs] + [f"  - {line}" for line in theirs if line not in ours]
    raise Difference("\n".join([f"{what} (+ kept up, - rebuilt):", *(only or ["  the same lines in another order"])]))


def _demand_alike(one: Decision, other: Decision, who: str) -> None:
    found = first_difference(answer(one), answer(other))
    if found is not None:
        raise Difference(f"{who}, pod {'/'.join(_name(one.pod))}: {found}")


class World:
    """`objects` are those the API server has; what happens is up to the two kinds of world. `reference` is kept up beside the engine and
    takes a look at its nodes whenever that does."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.reference = ReferenceEngine(tie_break=settings.tie_break)  # type: ignore[arg-type]
        self.objects: dict[str, dict[Name, Any]] = {}
        self.rows = Rows()
        self.arrivals = Arrivals()
        self.profile = without_images(settings.profile) if settings.images else settings.profile
        self._packed_profile = packed_profile(self.profile)

    @property
    def engine(self) -> Engine:
        """The native engine that is kept up."""
        raise NotImplementedError

    @property
    def held(self) -> Sequence[Name]:
        raise NotImplementedError

    def play(self, event: Event) -> None:
        """The event happens, unless it has become impossible."""
        raise NotImplementedError

    def survivors(self) -> Iterable[Any]:
        """What the engine should know: objects with assumptions applied, pods on nodes in slot order."""
        raise NotImplementedError

    def _stored(self, obj: Any) -> None:
        self.objects.setdefault(kind_of(obj).name, {})[_name(obj)] = obj

    def decided(self) -> None:
        """The engine has decided: it has taken a new look at its nodes."""
        self.arrivals.decided()
        self.reference._state.snapshot()

    def check(self, pod: Pod, *, on_copy: bool) -> None:
        """Raises Difference. on_copy: a copy of the engine is asked, so that the engine itself does not yet look at what has changed."""
        fresh = rebuilt(self.arrivals, self.survivors(), self.rows, tie_break=self.settings.tie_break)
        kept = self.engine.fork() if on_copy else self.engine
        if kept.node_names() != fresh.node_names():
            raise Difference(f"node order: {kept.node_names()} kept up, {fresh.node_names()} rebuilt")
        decision = kept.decide(pod, profile=self.profile)
        if not on_copy:
            self.decided()
        _demand_alike(decision, decided(fresh, pod, self.rows, self._packed_profile), "kept up against rebuilt")
        broken = kept.validate()
        if broken:
            raise Difference(f"invariant: {broken}")
        _demand_equal(kept.digest(), fresh.digest(), "state")

    def check_with_reference(self, pod: Pod) -> None:
        """Raises Difference."""
        fresh = rebuilt(self.arrivals, self.survivors(), self.rows, tie_break=self.settings.tie_break)
        plain = ReferenceEngine(tie_break=self.settings.tie_break)  # type: ignore[arg-type]
        self.arrivals.replay_on(plain, plain.upsert)
        for obj in self.survivors():
            plain.upsert(obj)
        profile = self.settings.profile
        _demand_alike(fresh.decide(pod, profile=profile), plain.decide(pod, profile=profile), "native against reference, both rebuilt")
        native, reference = self.engine.decide(pod, profile=profile), self.reference.decide(pod, profile=profile)
        _demand_alike(native, reference, "native against reference, both kept up")
        self.decided()


class Held(NamedTuple):
    """An assumption on both engines, and the pod as it is counted."""

    native: Assumption
    reference: Assumption
    pod: Pod
    number: int


class EngineWorld(World):
    """The engines alone."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._engine = Engine(tie_break=settings.tie_break)  # type: ignore[arg-type]
        self._held: dict[Name, Held] = {}
        self._serial = 0
        self._slots: dict[str, list[Pod]] = {}
        self._layers: dict[tuple[str, Name], dict[int, Any]] = {}  # assumption -> claimRef of a volume, selected node of a claim
        self._laid: dict[tuple[str, Name], Any] = {}  # the object with the last of them
        self._left: tuple[Engine, str] | None = None  # the original of a copy, and what it knew then

    @property
    def engine(self) -> Engine:
        return self._engine

    @property
    def held(self) -> Sequence[Name]:
        return list(self._held)

    def play(self, event: Event) -> None:
        match event:
            case Put(obj):
                self._put(self._versioned(obj))
            case Drop(kind, name):
                self._drop(kind, name)
            case Resync(kind, name) if name in self.objects.get(kind, {}):
                self._put(with_metadata(self.objects[kind][name]))  # equal, but another object
            case Assume(pod, other):
                self._assume(pod, other)
            case Confirm(name) if name in self._held:
                self._put(with_metadata(self._held[name].pod))
            case Forget(name) if name in self._held:
                self._forget(name)
            case Fork():
                self._fork()

    def survivors(self) -> Iterator[Any]:
        for kind, objects in self.objects.items():
            if kind != "Pod":
                for name, obj in objects.items():
                    yield self._laid.get((kind, name), obj)
        yield from in_slot_order(self._slots)

    # Objects

    def _versioned(self, obj: Any) -> Any:
        if not self.settings.versions or not isinstance(obj, PersistentVolume | PersistentVolumeClaim):
            return obj
        self._serial += 1
        return with_metadata(obj, resourceVersion=str(self._serial))

    def _put(self, obj: Any) -> None:
        self._engine.upsert(obj)
        self.reference.upsert(obj)
        kind, name = kind_of(obj).name, _name(obj)
        if isinstance(obj, Pod):
            self._count(obj)
            return
        if isinstance(obj, Node):
            self.arrivals.put(obj)
        old = self.objects.get(kind, {}).get(name)
        self._stored(obj)
        if (kind, name) in self._layers:
            if old is None or meta(old).resourceVersion != meta(obj).resourceVersion:
                del self._layers[kind, name], self._laid[kind, name]
            else:
                self._lay(kind, name)

    def _drop(self, kind: str, name: Name) -> None:
        self._engine.remove(kind, *name)
        self.reference.remove(kind, *name)
        if kind == "Pod":
            self._discount(name)
            return
        self.objects.get(kind, {}).pop(name, None)
        self._layers.pop((kind, name), None)
        self._laid.pop((kind, name), None)
        if kind == "Node":
            self.arrivals.drop(name[1])

    def _count(self, pod: Pod) -> None:
        self._discount(_name(pod))
        if pod.spec.nodeName and not pod_terminated(pod):
            self._stored(pod)
            self._slots.setdefault(pod.spec.nodeName, []).append(pod)

    def _discount(self, name: Name) -> None:
        pod = self.objects.get("Pod", {}).pop(name, None)
        if pod is None:
            return
        slots = self._slots[pod.spec.nodeName]
        place = next(place for place, other in enumerate(slots) if other is pod)
        slots[place] = slots[-1]  # as upstream: the last takes the place of the one that leaves
        slots.pop()

    # Assume and forget

    def _assume(self, pod: Pod, other: int | None) -> None:
        if _name(pod) in self.objects.get("Pod", {}) or _name(pod) in self._held:
            return
        decision = self._engine.decide(pod, profile=self.settings.profile)
        self.decided()
        if decision.node is None:
            return
        feasible = decision.feasible()
        node = decision.node if other is None else feasible[other % len(feasible)]
        plain = self.reference.decide(pod, only=[node], profile=self.settings.profile)
        native, reference = self._engine.assume(decision, node), self.reference.assume(plain, node)
        if native.volumes != reference.volumes:
            raise Difference(f"volumes of {_name(pod)} on {node}: {native.volumes} native, {reference.volumes} reference")
        self._serial += 1
        held = self._held[_name(pod)] = Held(native, reference, with_spec(pod, nodeName=node), self._serial)
        for kind, name, layer in self._plan(native.volumes, node):
            self._layers.setdefault((kind, name), {})[held.number] = layer
            self._lay(kind, name)
        self._count(held.pod)

    def _plan(self, plan: VolumePlan, node: str) -> Iterator[tuple[str, Name, Any]]:
        for binding in plan.bind:
            namespace, name = binding.claim.split("/")
            claim = self.objects["PersistentVolumeClaim"][namespace, name]
            reference = ObjectReference(kind="PersistentVolumeClaim", namespace=namespace, name=name, uid=meta(claim).uid)
            yield "PersistentVolume", ("", binding.volume), reference
        for provisioning in plan.provision:
            namespace, name = provisioning.claim.split("/")
            yield "PersistentVolumeClaim", (namespace, name), node

    def _lay(self, kind: str, name: Name) -> None:
        """The object as its last assumption makes it."""
        layers = self._layers.get((kind, name))
        if not layers:
            self._layers.pop((kind, name), None)
            self._laid.pop((kind, name), None)
            return
        last, obj = list(layers.values())[-1], self.objects[kind][name]
        is_volume = isinstance(obj, PersistentVolume)
        self._laid[kind, name] = with_spec(obj, claimRef=last) if is_volume else with_annotations(obj, {ANN_SELECTED_NODE: last})

    def _forget(self, name: Name) -> None:
        held = self._held.pop(name)
        self._engine.forget(held.native)
        self.reference.forget(held.reference)
        if self.objects.get("Pod", {}).get(name) is held.pod:
            self._discount(name)
        for (kind, of), layers in list(self._layers.items()):
            if layers.pop(held.number, None) is not None:
                self._lay(kind, of)

    def _fork(self) -> None:
        """Go on with a copy, which what happens to the original no longer reaches, nor the reverse. An assumption can be taken back only
        where it was made, so those that stand are there to stay."""
        if self._left is not None and self._left[0].digest() != self._left[1]:
            raise Difference("what happened to a copy reached the original")
        self._left = (self._engine, self._engine.digest())
        self._engine = self._engine.fork()
        self._held.clear()


class _Accompanied(Engine):
    """An engine that tells a reference engine all it is told."""

    def __init__(self, reference: ReferenceEngine, tie_break: str) -> None:
        super().__init__(tie_break=tie_break)  # type: ignore[arg-type]
        self._reference = reference

    def upsert(self, obj: Any) -> None:
        super().upsert(obj)
        self._reference.upsert(obj)

    def remove(self, kind: str, namespace: str, name: str) -> None:
        super().remove(kind, namespace, name)
        self._reference.remove(kind, namespace, name)


class _Binding:
    """A reservation that is being carried out. `reply` is what its next step is told of the last one."""

    def __init__(self, reservation: Reservation, steps: Steps[None]) -> None:
        self.reservation = reservation
        self.steps = steps
        self.reply: Any = None


class CacheWorld(World):
    """A SchedulerCache between an API server and the engine. Watch events keep their order and may be late.

    The cache itself says what it takes for true; that it does so by upstream's rules is what its own tests are about. With nothing assumed
    and nothing on the way, it has to be what the API server has.
    """

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.cache = SchedulerCache(_Accompanied(self.reference, settings.tie_break), profile=settings.profile)  # type: ignore[arg-type]
        self._bindings: dict[Name, _Binding] = {}
        self._version = 0
        self._on_the_way: deque[WatchEvent] = deque()
        self._idle_pods: dict[Name, Pod] = {}  # those of the API server that are on no node, or have ended

    @property
    def engine(self) -> Engine:
        assert isinstance(self.cache.engine, Engine)
        return self.cache.engine

    @property
    def held(self) -> Sequence[Name]:
        return list(self._bindings)

    def play(self, event: Event) -> None:
        match event:
            case Put(obj, late):
                self._write(obj, late=late)
            case Drop(kind, name, late):
                self._delete(kind, name, late=late)
            case Resync(kind, name):
                found = self.cache.get(kind, *name)
                if found is not None:
                    self._observe(WatchEvent(Change.MODIFIED, kind, found, 0))
            case Assume(pod, other):
                self._assume(pod, other)
            case Confirm(name) if name in self._bindings:
                self._confirm(self._bindings[name].reservation.pod)
            case Forget(name) if name in self._bindings:
                self._forget(name)
            case Carry(name, late) if name in self._bindings:
                self._carry(name, late=late)
            case Deliver():
                self._deliver()

    def survivors(self) -> Iterator[Any]:
        for kind in self.cache._objects:
            if kind not in ("Pod", "PersistentVolume", "PersistentVolumeClaim"):
                yield from self.cache.all(kind)
        yield from self.cache.volumes.all()
        yield from self.cache.claims.all()
        yield from in_slot_order(self.cache._on_node)

    def check(self, pod: Pod, *, on_copy: bool) -> None:
        broken = self.cache.check()
        if broken:
            raise Difference(f"cache: {'; '.join(broken)}")
        super().check(pod, on_copy=on_copy)
        if not (self._on_the_way or self.cache.assumed_pods() or self.cache.volumes.assumed() or self.cache.claims.assumed()):
            self._check_against_api()

    def _check_against_api(self) -> None:
        seen: dict[str, dict[Name, Any]] = {}
        for obj in self.survivors():
            seen.setdefault(kind_of(obj).name, {})[_name(obj)] = obj
        for kind in seen.keys() | self.objects.keys():
            ours, theirs = seen.get(kind, {}), self.objects.get(kind, {})
            wrong = sorted(name for name in ours.keys() | theirs.keys() if ours.get(name) is not theirs.get(name))
            if wrong:
                raise Difference(f"{kind}: the cache goes by other objects than the API server's: {wrong}")

    # The API server

    def _write(self, obj: Any, *, late: bool) -> Any:
        self._version += 1
        obj = with_metadata(obj, resourceVersion=str(self._version))
        kind, name = kind_of(obj).name, _name(obj)
        if isinstance(obj, Pod):
            self.objects.setdefault("Pod", {}).pop(name, None)
            self._idle_pods.pop(name, None)
        if isinstance(obj, Pod) and (not obj.spec.nodeName or pod_terminated(obj)):
            self._idle_pods[name] = obj
        else:
            self._stored(obj)
        self._send(WatchEvent(Change.MODIFIED, kind, obj, self._version), late=late)
        return obj

    def _delete(self, kind: str, name: Name, *, late: bool) -> None:
        found = self.objects.get(kind, {}).pop(name, None)
        if found is not None:
            self._version += 1
            self._send(WatchEvent(Change.DELETED, kind, found, self._version), late=late)

    def _send(self, event: WatchEvent, *, late: bool) -> None:
        self._on_the_way.append(event)
        if not late:
            self._deliver()

    def _deliver(self) -> None:
        while self._on_the_way:
            self._observe(self._on_the_way.popleft())

    def _observe(self, event: WatchEvent) -> None:
        if isinstance(event.object, Node):
            if event.change is Change.DELETED:
                self.arrivals.drop(_name(event.object)[1])
            else:
                self.arrivals.put(event.object)
        self.cache.observe(event)

    # The scheduler

    def _assume(self, pod: Pod, other: int | None) -> None:
        name = _name(pod)
        if name in self.objects.get("Pod", {}) or name in self._bindings or self.cache.assigned_pod(pod) is not None:
            return
        pod = self._write(pod, late=False)
        decision = self.cache.decide(pod)
        self.decided()
        if decision.node is None:
            return
        feasible = decision.feasible()
        node = decision.node if other is None else feasible[other % len(feasible)]
        reservation = self.cache.assume(pod, node, decision=decision)
        self._bindings[name] = _Binding(reservation, self.cache.binding(reservation))

    def _confirm(self, pod: Pod) -> None:
        """Somebody has bound the pod already."""
        known = self._idle_pods.get(_name(pod))
        if known is not None and meta(known).uid == meta(pod).uid and not pod_terminated(known):
            self._write(pod, late=False)

    def _forget(self, name: Name) -> None:
        reservation = self._bindings.pop(name).reservation
        if self.cache.is_assumed(reservation.pod):
            self.cache.forget(reservation)
        else:
            self.cache.binder.unreserve(reservation.volumes)

    def _carry(self, name: Name, *, late: bool) -> None:
        binding = self._bindings[name]
        try:
            intent = binding.steps.send(binding.reply)
            while (refusal := self._refusal(intent)) is not None:
                intent = binding.steps.throw(refusal)
        except StopIteration:
            del self._bindings[name]
        except (ReconcileError, ApiError):
            self._forget(name)
        else:
            binding.reply = self._carried_out(intent, late=late)

    def _refusal(self, intent: Any) -> ApiError | None:
        if isinstance(intent, Pause):
            return None
        if isinstance(intent, Bind):
            pod = self._idle_pods.get((intent.namespace, intent.name))
            is_there = pod is not None and meta(pod).uid == intent.uid and not pod_terminated(pod)
            return None if is_there else NotFoundError("gone", kind="Pod", name=intent.name)
        assert isinstance(intent, Update)
        kind = kind_of(intent.object).name
        known = self.objects.get(kind, {}).get(_name(intent.object))
        if known is None:
            return NotFoundError("gone", kind=kind, name=_name(intent.object)[1])
        if meta(known).resourceVersion != meta(intent.object).resourceVersion:
            return ConflictError("changed", kind=kind, name=_name(intent.object)[1])
        return None

    def _carried_out(self, intent: Any, *, late: bool) -> Any:
        if isinstance(intent, Update):
            return self._write(intent.object, late=late)
        if isinstance(intent, Bind):
            pod = self._idle_pods[intent.namespace, intent.name]
            self._write(with_spec(pod, nodeName=intent.node), late=late)
        return None
