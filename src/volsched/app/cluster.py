"""The embedded cluster: store, scheduler, controllers, drivers and kubelet on one loop and one clock.

    cluster.create / apply / delete ──> store ──> runner ──> scheduler, controllers ──> CSI drivers
                                          └────────────────────── narrative, run hash

`Cluster` is the only place that builds and connects everything. It runs on the virtual clock unless it is given another one; the same
objects and seed give the same run, byte for byte.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, NamedTuple

from volsched.api.edit import version_of, with_metadata
from volsched.api.kinds import KINDS, Json, Key, encode, key_of, meta
from volsched.api.manifest import Loaded, load_files
from volsched.api.watch import Change, WatchEvent
from volsched.app import apply as applying
from volsched.app import external
from volsched.app.disks import StoredDisks
from volsched.app.drivers import DriverHub, DriverSettings
from volsched.app.engines import make_engine
from volsched.app.overcommit import OvercommitReport, overcommitted
from volsched.app.restore_check import ANY_WISH, RestoreReport, Wish, check_restore
from volsched.app.runner import CsiCallRecord, Runner
from volsched.app.schedulers import (
    configured,
    counts_exactly,
    make_scheduler,
    remember_configuration,
    remember_exact_capacity,
)
from volsched.app.wires import Wires
from volsched.cache.scheduler_cache import SCHEDULING_KINDS, SchedulerCache
from volsched.controllers.attach_detach import AttachDetach
from volsched.controllers.ephemeral import Ephemeral
from volsched.controllers.garbage import GarbageCollector
from volsched.controllers.kubelet import Kubelet
from volsched.controllers.kubelet_instant import InstantKubelet
from volsched.controllers.kubelet_mounts import DEFAULT_ROOT
from volsched.controllers.local_node_cleanup import LocalNodeCleanup
from volsched.controllers.local_provisioner import LocalProvisioner
from volsched.controllers.pod_garbage import PodGarbageCollector
from volsched.controllers.protection import AttributesClassProtection, ClaimProtection, VolumeProtection
from volsched.controllers.pv_binder import PVBinder
from volsched.controllers.resizer import ExpandNotice
from volsched.controllers.snapshot_common import SnapshotController
from volsched.controllers.snapshot_group import GroupSnapshotController
from volsched.controllers.stateful_set import StatefulSetController
from volsched.engine.decision import TieBreak
from volsched.env import Loop, Uids, VirtualClock
from volsched.errors import ApiError, InputError
from volsched.ports import CsiClient
from volsched.rules.volumes import claim_names
from volsched.scheduler.configuration import Configuration
from volsched.scheduler.decider import Scheduler
from volsched.store import Store, is_object_change

__all__ = ["Cluster", "DriverSettings", "Happening", "Wires"]

START_NS: Final = int(datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC).timestamp()) * 10**9
USER: Final = "admin"

# Who acts first at one instant. Volume controllers settle first, so that volumes of a manifest have their phase when its pods are looked
# at; the scheduler sees a new pod before the ephemeral volume controller does (spec/volumes.md 1.13); the kubelet is last, when everything
# about a pod has been decided.
PRIORITY_CONTROLLER: Final = 20
PRIORITY_SCHEDULER: Final = 25
PRIORITY_EPHEMERAL: Final = 30
PRIORITY_KUBELET: Final = 40

STATES_REMEMBERED: Final = 64  # of one object, for telling a loop from progress
_TIMES: Final = re.compile(rb'"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[^"]{0,20}"')  # in an encoded object


@contextlib.contextmanager
def blamed(item: Loaded) -> Iterator[None]:
    """Turn a refusal of the API server into one that names the file, document and line of the object."""
    try:
        yield
    except ApiError as error:
        raise InputError(str(error), source=item.source, document=item.document, line=item.line) from error


class Happening(NamedTuple):
    """One event as it was told: what `describe` and `run` print."""

    regarding: Key
    type: str
    reason: str
    source: str
    message: str


class Cluster:
    """An embedded Kubernetes cluster for storage scheduling.

    state: SQLite file to keep it in, or None for memory. read_only: look at what the file holds now, also while another process runs the
    cluster; nothing can be written or run. seed: of uids and chance; a state file keeps its own. engine: "native" or
    "reference". kubelet: "mounting" stages and publishes volumes through the driver's Node service, under `kubelet_root`
    (`{node}` in it becomes the node's name); "instant" sets bound pods running.
    drivers: the CSI drivers there are; None runs a fake driver for every provisioner that classes, CSIDrivers or CSINodes name. One
    without options publishes its capacity where its CSIDriver says that it counts and no object tells of it yet.
    prefer: chooses among nodes of equal score, before `tie_break`. clock: to share with drivers that keep time.
    wires: what lies between deciders and world, to be replaced by tests.
    config: a KubeSchedulerConfiguration, or a file of one, with profiles and extenders; None takes the one the state file remembers, else
    the default profile. plugins: own scheduling plugins, or classes of such; a configuration has to enable them, without one they join the
    default profile (`volsched.engine.plugin`, `volsched.scheduler.framework`).
    exact_capacity: the scheduler counts what claims under way hold in CSIStorageCapacity objects, and a pod's claims together
    (docs/decisions/0009); None takes what the state file remembers, else the way of Kubernetes, which tests each claim alone.

    Raises StateError if the state file cannot be used, InputError if the configuration cannot.
    """

    def __init__(
        self,
        *,
        state: Path | None = None,
        read_only: bool = False,
        seed: int | None = None,
        engine: str = "native",
        tie_break: TieBreak = "first",
        kubelet: Literal["mounting", "instant"] = "mounting",
        kubelet_root: str = DEFAULT_ROOT,
        drivers: Sequence[DriverSettings] | None = None,
        prefer: Callable[[Any, Sequence[str]], str | None] | None = None,
        trace: Callable[[str], None] | None = None,
        clock: VirtualClock | None = None,
        wires: Wires | None = None,
        config: Configuration | Path | None = None,
        plugins: Sequence[Any] = (),
        exact_capacity: bool | None = None,
    ) -> None:
        self.clock = clock or VirtualClock(START_NS)
        self.store = Store(clock=self.clock, uids=Uids(seed or 0), path=state, read_only=read_only)
        self.start_ns = self.clock.now_ns()
        self.changed_ns = self.start_ns  # when an object changed last
        self.narrative: list[tuple[int, Happening]] = []
        self.loop = Loop(self.clock)
        self.store.subscribe(self._on_change)
        wired = wires or Wires()
        self.runner = Runner(
            self.loop, self.store, clients=lambda name: wired.client(name, self.drivers.client(name)), trace=trace, wires=wired
        )
        self._engine_name, self._tie_break, self._seed = engine, tie_break, seed or 0
        self._plugins, self._prefer = plugins, prefer
        try:
            self.configuration = configured(config, self.store)
            percentage = self.configuration.percentage_of_nodes_to_score if self.configuration is not None else None
            self._percentage = 100 if percentage is None else percentage
            self.exact_capacity = counts_exactly(exact_capacity, self.store)
            self._new_scheduler()
        except BaseException:
            self.store.close()
            raise
        self._kubelet = kubelet
        self._kubelet_root = kubelet_root
        self.drivers = DriverHub(
            self.store, self.runner, self.clock, settings=drivers, priority=PRIORITY_CONTROLLER, node_service=kubelet == "mounting"
        )
        self._asked: list[DriverSettings] | None = None  # drivers reached for questions only
        self._begun = False
        self._states: dict[Key, dict[bytes, None]] = {}
        self._placed = {key_of(pod): bool(pod.spec.nodeName) for pod in self.store.list("Pod").items}
        self._placed_count = sum(self._placed.values())

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Give the state file back; everything acknowledged is in it already."""
        for settings in self._asked or ():
            close = getattr(settings.client, "close", None)
            if close is not None:
                close()
        self.drivers.close()
        self.store.close()

    def connect(self, endpoints: Sequence[str], *, kubelet_root: str) -> None:
        """Reach the CSI drivers at these sockets and at those the state file remembers; where there are any, nodes mount for real, under
        `kubelet_root`. To be called before anything runs.

        Raises InputError, nothing written, for one that cannot be reached.
        """
        found = external.connect([*external.remembered(self.store), *endpoints])
        if found:
            self.drivers.external += found
            self._kubelet_root = kubelet_root

    def ask_driver(self, name: str) -> CsiClient | None:
        """A driver to ask questions of, whether or not anything runs yet; None where there is none of that name, or none can be reached."""
        running = self.drivers.look(name)
        if running is not None:
            return running
        if self._asked is None:
            self._asked = []
            for endpoint in external.remembered(self.store):
                with contextlib.suppress(InputError):
                    self._asked += external.connect([endpoint])
        return next((settings.client for settings in self._asked if settings.profile.name == name), None)

    def remember(self, endpoints: Sequence[str]) -> None:
        """Keep the sockets of CSI drivers in the state file, for `connect`, the scheduler's configuration, and how it counts capacity."""
        external.remember(self.store, endpoints)
        remember_exact_capacity(self.store, exact_capacity=self.exact_capacity)
        if self.configuration is not None:
            remember_configuration(self.store, self.configuration)

    def _new_scheduler(self) -> Scheduler:
        """A scheduler that has seen nothing yet; from now on the cluster's."""
        exact = self.exact_capacity
        self.engine = make_engine(
            self._engine_name, tie_break=self._tie_break, seed=self._seed, percentage=self._percentage, exact_capacity=exact
        )
        self.scheduler = make_scheduler(
            self.clock, self.engine, self.configuration, plugins=self._plugins, prefer=self._prefer, exact_capacity=exact
        )
        return self.scheduler

    # time

    def now_ns(self) -> int:
        """The cluster's time."""
        return self.clock.now_ns()

    def _begin(self) -> None:
        """Start controllers and scheduler; before the first run, so that all objects created until then are there at once."""
        if self._begun:
            return
        self._begun = True
        self.drivers.start()
        clock, add = self.clock, self.runner.add
        first = [self.scheduler]
        add(lambda: first.pop() if first else self._new_scheduler(), priority=PRIORITY_SCHEDULER)
        add(lambda: PVBinder(clock), priority=PRIORITY_CONTROLLER)
        add(lambda: ClaimProtection(clock), priority=PRIORITY_CONTROLLER)
        add(VolumeProtection, priority=PRIORITY_CONTROLLER)
        add(AttributesClassProtection, priority=PRIORITY_CONTROLLER)
        add(lambda: AttachDetach(clock), priority=PRIORITY_CONTROLLER)
        add(lambda: SnapshotController(clock), priority=PRIORITY_CONTROLLER)
        add(lambda: GroupSnapshotController(clock), priority=PRIORITY_CONTROLLER)
        add(ExpandNotice, priority=PRIORITY_CONTROLLER)
        add(lambda: LocalProvisioner(clock), priority=PRIORITY_CONTROLLER)
        add(lambda: LocalNodeCleanup(clock), priority=PRIORITY_CONTROLLER)
        add(lambda: StatefulSetController(clock), priority=PRIORITY_CONTROLLER)
        add(lambda: PodGarbageCollector(clock), priority=PRIORITY_CONTROLLER)
        add(lambda: GarbageCollector(clock), priority=PRIORITY_CONTROLLER)
        add(Ephemeral, priority=PRIORITY_EPHEMERAL)
        if self._kubelet == "instant":
            add(lambda: InstantKubelet(clock), priority=PRIORITY_KUBELET)
        else:
            add(lambda: Kubelet(clock, root=self._kubelet_root, disks=StoredDisks(self.store)), priority=PRIORITY_KUBELET)

    def run_until(self, time_ns: int) -> None:
        """Run everything due up to a time in nanoseconds since the epoch, and leave the clock there."""
        self._begin()
        self.loop.run_until(time_ns)

    def run_for(self, seconds: float) -> None:
        """Run for some virtual seconds."""
        self.run_until(self.now_ns() + round(seconds * 1e9))

    def run_until_idle(self, deadline_ns: int | None = None) -> bool:
        """Run until nothing is left but timers and one round of them (at most 10 minutes) brought nothing new; whether that was reached.

        An object that only returns to a state it was in before is nothing new: retries that lead nowhere do that for ever.
        A state file takes the whole run as one transaction, unless drivers with a life of their own take part in it: a process that is
        killed meanwhile leaves what was there before, and the next one runs it again.
        """
        self._begin()
        with contextlib.nullcontext() if self.drivers.external else self.store.batch():
            idle = self.loop.run_until_idle(deadline_ns)
        self.store.save()
        return idle

    def step(self, deadline_ns: int | None = None) -> bool:
        """Run the next callback alone, at the latest one due at the deadline; whether there was one. For looks between any two writes."""
        self._begin()
        due = self.loop.next_ns()
        return due is not None and (deadline_ns is None or due <= deadline_ns) and self.loop.step()

    def progress(self) -> str:
        """One line for a progress display."""
        elapsed = (self.now_ns() - self.start_ns) / 1e9
        # numbers only: this is asked from the thread of a display while the cluster works
        pods = f"{self._placed_count:,} of {len(self._placed):,} pods on nodes"
        return f"{elapsed:,.1f} s of virtual time, {pods}, {self.store.resource_version:,} writes"

    # what a user does

    def create(self, obj: Any) -> Any:
        """Create an object as a user would. Raises ApiError."""
        return self.store.create(obj, user=USER)

    def create_all(self, loaded: Iterable[Loaded]) -> None:
        """Create objects of manifests in order, all or none; one with metadata.uid is taken with its status, as in a dump.

        Raises InputError saying which object of which file was refused.
        """
        with self.store.atomic():
            for item in loaded:
                with blamed(item):
                    if meta(item.object).uid:
                        self.store.load(item.object, user=USER)
                    else:
                        self.store.create(item.object, user=USER)

    def load(self, *paths: Path | str, warn: Callable[[str], None] = warnings.warn) -> None:
        """Create the objects of manifest files and directories, all or none: `create_all` of `api.manifest.load_files`."""
        self.create_all(load_files([Path(path) for path in paths], warn=warn))

    def apply_all(self, loaded: Iterable[Loaded]) -> Sequence[tuple[Any, applying.Outcome]]:
        """Apply objects of manifests in order, all or none. Raises InputError saying which object of which file was refused."""
        results = []
        with self.store.atomic():
            for item in loaded:
                with blamed(item):
                    results.append(self.apply(item.object))
        return results

    def apply(self, obj: Any) -> tuple[Any, applying.Outcome]:
        """Create an object or bring the stored one to it; answers (stored object, created | configured | unchanged)."""
        return applying.apply(self.store, obj, user=USER)

    def delete(self, kind: str, namespace: str, name: str, *, grace_period_s: int | None = None) -> Any:
        """Delete an object as a user would."""
        return self.store.delete(kind, namespace, name, user=USER, grace_period_s=grace_period_s)

    def patch(self, kind: str, namespace: str, name: str, body: Json) -> Any:
        """JSON merge patch, as a user would."""
        return self.store.patch(kind, namespace, name, body, user=USER)

    # what a user looks at

    def get(self, kind: str, name: str, namespace: str = "default") -> Any:
        """One object. Raises NotFoundError."""
        return self.store.get(kind, namespace, name)

    def list(self, kind: str, namespace: str | None = None) -> Sequence[Any]:
        """All objects of a kind, by namespace and name."""
        return self.store.list(kind, namespace).items

    def current(self, obj: Any) -> Any:
        """The stored state of an object, or the object itself if it has gone."""
        return self.store.raw(key_of(obj)) or obj

    @property
    def csi_calls(self) -> Sequence[CsiCallRecord]:
        """Every CSI call of this process, in order."""
        return self.runner.csi_calls

    def run_hash(self) -> str:
        """Hash over everything that happened: equal for equal objects, actions and seed."""
        return self.store.log.hash

    def events(self, namespace: str | None = None) -> Sequence[Any]:
        """Event objects, oldest first."""
        found = self.store.list("Event", namespace).items
        return sorted(found, key=lambda event: (event.lastTimestamp, version_of(event)))

    def events_named(self, kind: str, namespace: str, name: str) -> Sequence[Any]:
        """Events regarding an object by name, whether or not it still exists."""
        return [
            event
            for event in self.events(namespace or "default")
            if event.involvedObject.kind == kind and event.involvedObject.name == name
        ]

    def events_of(self, obj: Any) -> Sequence[Any]:
        """Events regarding this object, not an earlier one of its name."""
        key = key_of(obj)
        uid = meta(obj).uid
        return [event for event in self.events_named(key.kind, key.namespace, key.name) if event.involvedObject.uid in (uid, None)]

    def fresh_cache(self, *, without: Key | None = None, ledger: bool = False) -> SchedulerCache:
        """A scheduler's cache of its own over the objects as they are now, for questions; one object may be left out. It counts capacity as
        the cluster's scheduler does. ledger: it knows who holds room in which pool, whether or not it decides by that."""
        engine = make_engine(self._engine_name, tie_break=self._tie_break, percentage=self._percentage, exact_capacity=self.exact_capacity)
        cache = SchedulerCache(engine, clock=self.clock if self.exact_capacity or ledger else None)
        if cache.ledger is not None and self.scheduler.cache.ledger is not None:
            cache.ledger.adopt(self.scheduler.cache.ledger)
        for kind in KINDS:
            if kind in SCHEDULING_KINDS:
                for obj in self.store.list(kind).items:
                    if key_of(obj) != without:
                        cache.add(obj)
        return cache

    def overcommit(self) -> OvercommitReport:
        """What the compatible mode would take out of capacity objects beyond what they have: nothing is run and nothing changed."""
        return overcommitted(self)

    def restore_check(self, kind: str, namespace: str, name: str, wish: Wish = ANY_WISH) -> Sequence[RestoreReport]:
        """Where a VolumeSnapshot, the snapshot of a PersistentVolumeClaim or those of a Pod's claims can be restored: nothing is run.

        wish: class, size and mode of the claim to be, for a snapshot. Raises NotFoundError, InputError (there is nothing to restore).
        """
        return check_restore(self, kind, namespace, name, wish)

    def pods_using(self, claim: Any) -> Sequence[str]:
        """Names of the pods that mount a claim."""
        key = key_of(claim)
        pods = self.store.list("Pod", key.namespace).items
        return [meta(pod).name or "" for pod in pods if any(name == key.name for _, name, _ in claim_names(pod))]

    def _on_change(self, event: WatchEvent) -> None:
        if event.kind == "Pod":
            before = self._placed.pop(event.key, False)
            if event.change is not Change.DELETED:
                self._placed[event.key] = bool(event.object.spec.nodeName)
            self._placed_count += self._placed.get(event.key, False) - before
        if is_object_change(event):
            if self._is_news(event):
                self.loop.changed()
            self.changed_ns = self.now_ns()
        elif event.kind == "Event" and event.change is not Change.DELETED:
            told = event.object
            regarding = Key(told.involvedObject.kind, told.involvedObject.namespace or "", told.involvedObject.name)
            source = told.source.component if told.source else ""
            self.narrative.append((self.now_ns(), Happening(regarding, told.type, told.reason, source, told.message)))

    def _is_news(self, event: WatchEvent) -> bool:
        """Whether a change brought an object into a state it has not been in lately, when aside: a retry that fails as before is none."""
        if event.change is Change.DELETED:
            self._states.pop(event.key, None)
            return True
        body = _TIMES.sub(b"", encode(with_metadata(event.object, resourceVersion=None)))
        state = hashlib.blake2b(body, digest_size=16).digest()
        states = self._states.setdefault(event.key, {})
        known = state in states
        states[state] = states.pop(state, None)
        if len(states) > STATES_REMEMBERED:
            del states[next(iter(states))]
        return not known
