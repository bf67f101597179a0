"""Carries out the faults of a story: what goes wrong between the processes and the world, as data.

    {"on": "act", "process": P, "nth": n, "do": …}       the n-th read, write or call a process asks for
        conflict       a write is refused as stale; anything else as `refused`
        refused        the API server refuses, nothing has happened
        lost           the API server does it, nobody hears of it
        dies-before    the process dies before it; `down` seconds until it starts anew
        dies-after     it is done, the process dies before it hears of it
    {"on": "watch", "process": P, "nth": n, "do": …}     the n-th change on its way to a process
        late           changes of this kind wait `s` seconds, in their order; those of other kinds overtake them
        breaks         changes of this kind are lost for `s` seconds, then the process lists anew
        twice          the change is told twice
    {"on": "csi", "driver": D, "rpc": M, "nth": n, …}    the n-th call of a method, by the keys of docs/faults.md: `error`, `loseAnswer`,
                                                         `delay` and `notReady` in seconds, `crash`, `capacity` in percent

With `of`, a pattern, `nth` counts only what it fits: acts like `Update PersistentVolumeClaim/data`, `Call CreateVolume` or `Bind Pod/web`,
changes like `DELETED VolumeSnapshot/cut`. The counts go on when a process or driver starts anew. `fired` counts what took effect, by the
names in `KINDS`.
"""

from __future__ import annotations

import contextlib
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any, Final

from volsched.api.kinds import Json, key_of
from volsched.api.watch import Change, WatchEvent
from volsched.app.cluster import Cluster
from volsched.app.runner import EXPECTED_FAILURES
from volsched.app.wires import Watch, Wires
from volsched.csi.faults import Fault, FaultPlan, FaultyDriver, Kind
from volsched.csi.inprocess import InProcessClient
from volsched.env.chance import Chance
from volsched.errors import ApiError, ConflictError, CsiCode, CsiError
from volsched.ports import Bind, Call, Create, CsiClient, Delete, Intent, ListAll, Patch, Read, Update
from volsched.store import Store

NS: Final = 10**9
DRIVER_DOWN_S: Final = (0.0, 1.0, 7.0, 40.0)  # how long a driver is gone after its first crash, its second, …

CSI_KINDS: Final = {
    Kind.ERROR: "CSI call refused",
    Kind.LOSE_ANSWER: "CSI answer lost",
    Kind.CRASH: "driver dies in a call",
    Kind.DELAY: "CSI call outlasts its caller",
    Kind.NOT_READY: "not ready",
    Kind.CAPACITY: "capacity lie",
}
KINDS: Final = (
    "write conflict",
    "request refused",
    "answer of a request lost",
    "process dies before a step",
    "process dies after a step",
    "watch late",
    "watch overtaken by another kind",
    "watch listed anew",
    "change told twice",
    "deletion seen by listing",
    "replacement seen as a change",
    *CSI_KINDS.values(),
    "driver dies",
    "process restarted",
    "clock jumps",
    "resync",
    "user acts at the worst moment",
    "node lost",
    "node away",
)


class FaultyWatch(Watch):
    """A watch with the faults of its process."""

    def __init__(
        self, wires: FaultyWires, process: str, store: Store, kinds: frozenset[str], deliver: Callable[[WatchEvent], None]
    ) -> None:
        super().__init__(store, kinds, deliver)
        self._wires = wires
        self._process = process
        self._known: dict[str, dict[tuple[str, str], Any]] = {kind: {} for kind in kinds}
        self._late: dict[str, deque[WatchEvent]] = {}
        self._broken: set[str] = set()
        self._stopped = False

    def start(self) -> None:
        for kind in sorted(self.kinds):
            for obj in self.store.list(kind).items:
                self._pass(WatchEvent(Change.ADDED, kind, obj, int(obj.metadata.resourceVersion or 0)))

    def changed(self, event: WatchEvent) -> None:
        kind, wires = event.kind, self._wires
        fault = wires.watch_fault(self._process, event)
        if kind in self._broken:
            return
        if kind in self._late:
            self._late[kind].append(event)
            return
        what = fault["do"] if fault is not None else ""
        if what == "late":
            self._late[kind] = deque([event])
            wires.count("watch late")
            wires.after(fault["s"], lambda: self.catch_up(kind))
        elif what == "breaks":
            self._broken.add(kind)
            wires.count("watch listed anew")
            wires.after(fault["s"], lambda: self.list_anew(kind))
        else:
            if self._late or self._broken:
                wires.count("watch overtaken by another kind")
            self._pass(event)
            if what == "twice" and event.change is not Change.DELETED:
                wires.count("change told twice")
                self._pass(WatchEvent(Change.MODIFIED, kind, event.object, event.resource_version))

    def _pass(self, event: WatchEvent) -> None:
        known, key = self._known[event.kind], event.key
        if event.change is Change.DELETED:
            known.pop((key.namespace, key.name), None)
        else:
            known[key.namespace, key.name] = event.object
        self.deliver(event)

    def catch_up(self, kind: str) -> None:
        """What is late of a kind arrives."""
        for event in () if self._stopped else self._late.pop(kind, ()):
            self._pass(event)

    def list_anew(self, kind: str) -> None:
        """A broken watch comes back: what is there is told as it is now, what has gone as it was known."""
        if self._stopped or kind not in self._broken:
            return
        self._broken.discard(kind)
        listed = self.store.list(kind)
        known = dict(self._known[kind])
        for obj in listed.items:
            key = key_of(obj)
            old = known.pop((key.namespace, key.name), None)
            if old is not None and old.metadata.uid != obj.metadata.uid:
                self._wires.count("replacement seen as a change")
            change = Change.ADDED if old is None else Change.MODIFIED
            self._pass(WatchEvent(change, kind, obj, int(obj.metadata.resourceVersion or 0)))
        for obj in known.values():
            self._wires.count("deletion seen by listing")
            self._pass(WatchEvent(Change.DELETED, kind, obj, listed.resource_version))

    def heal(self) -> None:
        """Everything arrives."""
        for kind in sorted(self.kinds):
            self.catch_up(kind)
            self.list_anew(kind)

    def stop(self) -> None:
        self._stopped = True


class _Running:
    """The fake driver that runs now under a name, for a FaultyDriver that outlives it."""

    def __init__(self, cluster: Cluster, name: str) -> None:
        self._fakes = cluster.drivers.fakes
        self.name = name

    def call(self, method: str, request: Any, *, node: str = "") -> Any:
        return self._fakes[self.name].call(method, request, node=node)

    def admit(self, method: str, request: Any, *, node: str = "") -> contextlib.AbstractContextManager[Callable[[], Any]]:
        return self._fakes[self.name].admit(method, request, node=node)

    def name_of(self, object_id: str) -> str:
        return self._fakes[self.name].name_of(object_id)


class _Counting:
    """A client that counts what its callers were told by faults and without."""

    def __init__(self, wires: FaultyWires, client: CsiClient) -> None:
        self._wires = wires
        self._client = client

    def call(self, method: str, request: Any, *, node: str = "", timeout_s: float = 10.0) -> Any:
        try:
            return self._client.call(method, request, node=node, timeout_s=timeout_s)
        except CsiError as error:
            self._wires.codes[method, error.code.name] += 1
            raise


class FaultyWires(Wires):
    """The wires of a story, until `heal`. The cluster has to be given before it runs."""

    cluster: Cluster

    def __init__(self, faults: Iterable[Mapping[str, Json]]) -> None:
        self._faults = faults = list(faults)
        self.fired: Counter[str] = Counter()
        self.codes: Counter[tuple[str, str]] = Counter()  # (method, code) the caller was told
        self.healed = False
        self._acts = _Faults([fault for fault in faults if fault["on"] == "act"])
        self._changes = _Faults([fault for fault in faults if fault["on"] == "watch"])
        self._plans: dict[str, list[Fault]] = {}
        self._running: dict[str, FaultyWatch] = {}
        self._drivers: dict[str, FaultyDriver] = {}
        self._clients: dict[str, CsiClient] = {}
        self._crashes: Counter[str] = Counter()
        for number, fault in enumerate(faults):
            if fault["on"] == "csi":
                self._plans.setdefault(fault["driver"], []).append(csi_fault(f"f{number}", fault))

    def heal(self) -> None:
        """No fault from now on; what was late arrives, broken watches come back."""
        self.healed = True
        for watch in self._running.values():
            watch.heal()

    def count(self, kind: str) -> None:
        """A fault took effect."""
        self.fired[kind] += 1

    def counts(self) -> Counter[str]:
        """How often each kind of fault took effect."""
        found = Counter(self.fired)
        for driver in self._drivers.values():
            for kind, count in driver.fired_kinds.items():
                found[CSI_KINDS[kind]] += count
        return found

    def acts_of_processes(self) -> Mapping[str, int]:
        """How many acts each process has asked for."""
        return self._acts.seen

    def unused(self) -> list[Mapping[str, Json]]:
        """The faults that have not taken effect."""
        done = {name for driver in self._drivers.values() for name, count in driver.fired.items() if count}
        left = [*self._acts.left(), *self._changes.left()]
        return left + [fault for number, fault in enumerate(self._faults) if fault["on"] == "csi" and f"f{number}" not in done]

    def after(self, seconds: float, callback: Callable[[], None]) -> None:
        """Something that will happen in a while."""
        self.cluster.runner.later(seconds, callback, name="fault ends", priority=0)

    # watches

    def watch(self, process: str, store: Store, kinds: frozenset[str], deliver: Callable[[WatchEvent], None]) -> Watch:
        found = self._running[process] = FaultyWatch(self, process, store, kinds, deliver)
        return found

    def watch_fault(self, process: str, event: WatchEvent) -> Mapping[str, Any] | None:
        """The fault of the change that is on its way to a process now."""
        if self.healed:
            return None
        return self._changes.next(process, lambda: f"{event.change.value} {event.kind}/{event.key.name}")

    # intents

    def act(self, process: str, intent: Intent, carry_out: Callable[[], Any]) -> Any:
        fault = None if self.healed else self._acts.next(process, lambda: described(intent))
        if fault is None:
            return carry_out()
        what = fault["do"]
        if what.startswith("dies"):
            return self._die(process, fault, carry_out)
        if isinstance(intent, Call):
            return carry_out()  # what happens to calls is the driver's business
        if what == "conflict" and _has_precondition(intent):
            self.count("write conflict")
            raise ConflictError("the object has been modified; please apply your changes to the latest version and try again")
        if what == "lost" and not isinstance(intent, Read | ListAll):
            carry_out()
            self.count("answer of a request lost")
            raise ApiError("request timed out")
        self.count("request refused")
        raise ApiError("etcdserver: leader changed")

    def _die(self, process: str, fault: Mapping[str, Any], carry_out: Callable[[], Any]) -> None:
        if fault["do"] == "dies-after":
            with contextlib.suppress(*EXPECTED_FAILURES):
                carry_out()
        self.count("process dies before a step" if fault["do"] == "dies-before" else "process dies after a step")
        self.restart(process, down_s=fault["down"])

    def restart(self, process: str, *, down_s: float) -> None:
        """A process ends, and another one takes its place."""
        if process in self.cluster.runner.names:
            self.count("process restarted")
            self.count(f"restarts of {process.partition(' ')[0]}")
            self.cluster.runner.crash(process, down_s=down_s)

    # drivers

    def client(self, driver: str, client: CsiClient) -> CsiClient:
        plan = self._plans.get(driver)
        if self.healed or not plan:
            return client
        if driver not in self._drivers:
            self._drivers[driver] = FaultyDriver(
                _Running(self.cluster, driver),
                FaultPlan(tuple(plan)),
                self.cluster.clock,
                Chance(0),
                later=self._call_later,
                crash=lambda: self.crash_driver(driver),
            )
            self._clients[driver] = _Counting(self, InProcessClient(self._drivers[driver]))
        return self._clients[driver]

    def _call_later(self, time_ns: int, callback: Callable[[], None]) -> None:
        self.cluster.loop.call_at(time_ns, callback, name="a CSI call nobody waits for", timer=False)

    def crash_driver(self, driver: str) -> None:
        """The process of a driver ends; it comes back from what it has stored."""
        self.count("driver dies")
        if driver in self._drivers:
            self._drivers[driver].died()
        self.cluster.drivers.crash(driver, down_s=DRIVER_DOWN_S[self._crashes[driver] % len(DRIVER_DOWN_S)])
        self._crashes[driver] += 1


class _Faults:
    """Faults of acts or of changes, found by their count."""

    def __init__(self, faults: Iterable[Mapping[str, Any]]) -> None:
        self._by_number: dict[tuple[str, int], Mapping[str, Any]] = {}
        self._by_pattern: dict[str, list[Mapping[str, Any]]] = {}
        self._taken: list[Mapping[str, Any]] = []
        self.seen: Counter[str] = Counter()
        self._fitting: Counter[tuple[str, str]] = Counter()
        for fault in faults:
            if "of" in fault:
                self._by_pattern.setdefault(fault["process"], []).append(fault)
            else:
                self._by_number[fault["process"], fault["nth"]] = fault

    def next(self, process: str, describe: Callable[[], str]) -> Mapping[str, Any] | None:
        """The fault of what a process does or is told now; None when it goes well."""
        self.seen[process] += 1
        found = self._by_number.get((process, self.seen[process]))
        named = self._by_pattern.get(process)
        if named:
            text = describe()
            for pattern in dict.fromkeys(fault["of"] for fault in named if fnmatchcase(text, fault["of"])):
                self._fitting[process, pattern] += 1
                found = next(
                    (fault for fault in named if fault["of"] == pattern and fault["nth"] == self._fitting[process, pattern]), found
                )
        if found is not None:
            self._taken.append(found)
        return found

    def left(self) -> list[Mapping[str, Any]]:
        """Those whose time has not come."""
        faults = [*self._by_number.values(), *(fault for named in self._by_pattern.values() for fault in named)]
        return [fault for fault in faults if fault not in self._taken]


def described(intent: Intent) -> str:
    """An intent as `of` names it."""
    what = type(intent).__name__
    match intent:
        case Create(obj) | Update(obj):
            return f"{what} {key_of(obj).kind}/{key_of(obj).name}"
        case Bind(name=name):
            return f"{what} Pod/{name}"
        case Call(method=method):
            return f"{what} {method}"
        case ListAll(kind=kind):
            return f"{what} {kind}"
        case _:
            return f"{what} {getattr(intent, 'kind', '')}/{getattr(intent, 'name', '')}"


def _has_precondition(intent: Intent) -> bool:
    """Whether the API server may refuse this as stale."""
    if isinstance(intent, Delete):
        return bool(intent.uid or intent.resource_version)
    return isinstance(intent, Update | Patch)


def csi_fault(name: str, fault: Mapping[str, Any]) -> Fault:
    """A fault of a story as one of a driver's plan."""
    error, lost = fault.get("error"), fault.get("loseAnswer")
    not_ready = fault.get("notReady")
    return Fault(
        name=name,
        methods=frozenset({fault["rpc"]}),
        calls=((fault["nth"], fault["nth"]),),
        error=CsiCode[error] if error else None,
        lose_answer=CsiCode[lost] if lost else None,
        crash=fault.get("crash"),
        delay_ns=round(fault.get("delay", 0) * NS),
        not_ready_ns=None if not_ready is None else round(not_ready * NS),
        capacity_percent=fault.get("capacity"),
    )
