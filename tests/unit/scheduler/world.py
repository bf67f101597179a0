"""A small cluster for scheduler tests: objects with versions, a clock, and the scheduler's intents carried out by hand.

Every write is delivered to the scheduler as an event at once. `deny[type of intent]` answers an intent with an error instead.
"""

from __future__ import annotations

import datetime
from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec

from volsched.api.defaults import with_defaults
from volsched.api.edit import replace, with_metadata, with_spec
from volsched.api.kinds import KINDS, kind_of, to_json
from volsched.api.watch import Change, WatchEvent
from volsched.cache.assume_cache import object_key
from volsched.engine.decision import SchedulingEngine
from volsched.engine.reference import ReferenceEngine
from volsched.errors import ApiError, NotFoundError
from volsched.ports import Bind, Delete, Emit, Intent, Patch, Pause, Steps, Update, WorkItem
from volsched.scheduler import Scheduler

NS = 1_000_000_000
START_NS = 1_800_000_000 * NS  # a whole second


class World:
    def __init__(self, *objects: Any, engine: SchedulingEngine | None = None, start_ns: int = START_NS, **options: Any) -> None:
        self.time_ns = start_ns
        self.scheduler = Scheduler(self, engine or ReferenceEngine(), **options)
        self.objects: dict[tuple[str, str], Any] = {}
        self.version = 100
        self.items: deque[WorkItem] = deque()
        self.paused: list[tuple[int, int, Steps[Any]]] = []
        self.intents: list[Intent] = []
        self.graceful = False  # deletions only mark
        self.deny: dict[type[Any], Callable[[Any], ApiError | None]] = {}
        self.put(*objects)

    # Clock

    def now_ns(self) -> int:
        return self.time_ns

    @property
    def seconds(self) -> float:
        return (self.time_ns - START_NS) / NS

    # API server

    def put(self, *objects: Any) -> None:
        for obj in objects:
            kind = kind_of(obj)
            if kind.name == "Pod" and not (obj.metadata.uid or ""):
                obj = with_metadata(obj, uid=f"uid-{obj.metadata.name}", generation=1)
            self.version += 1
            obj = with_defaults(with_metadata(obj, resourceVersion=str(self.version)))
            key = (kind.name, object_key(obj))
            change = Change.MODIFIED if key in self.objects else Change.ADDED
            self.objects[key] = obj
            self.tell(change, obj)

    def gone(self, kind: str, key: str) -> None:
        self.version += 1
        self.tell(Change.DELETED, self.objects.pop((kind, key)))

    def tell(self, change: Change, obj: Any) -> None:
        self.items.extend(self.scheduler.observe(WatchEvent(change, kind_of(obj).name, obj, self.version)))

    def get(self, kind: str, key: str) -> Any:
        try:
            return self.objects[kind, key]
        except KeyError:
            raise NotFoundError(f'{KINDS[kind].plural} "{key.rpartition("/")[2]}" not found') from None

    def pod(self, name: str) -> Any:
        return self.get("Pod", f"default/{name}")

    # running

    def run(self) -> World:
        """Work until nothing but timers is left."""
        while True:
            while self.items:
                self._advance(self.scheduler.work(self.items.popleft()))
            due = self.scheduler.wake_at_ns()
            if due is None or due > self.time_ns:
                return self
            self.items.extend(self.scheduler.wake(self.time_ns))

    def until(self, seconds: float) -> World:
        """Let time pass to this many seconds after the start."""
        self.run()
        end_ns = START_NS + round(seconds * NS)
        while True:
            times = [at for at, _, _ in self.paused]
            wake = self.scheduler.wake_at_ns()
            if wake is not None:
                times.append(wake)
            if not times or min(times) > end_ns:
                break
            self.time_ns = max(min(times), self.time_ns)
            due = sorted(entry[:2] for entry in self.paused if entry[0] <= self.time_ns)
            for _, number in due:
                entry = next(entry for entry in self.paused if entry[1] == number)
                self.paused.remove(entry)
                self._advance(entry[2])
            self.items.extend(self.scheduler.wake(self.time_ns))
            self.run()
        self.time_ns = end_ns
        return self

    def _advance(self, steps: Steps[Any]) -> None:
        value: Any = None
        error: ApiError | None = None
        while True:
            try:
                intent = steps.throw(error) if error is not None else steps.send(value)
            except StopIteration:
                return
            self.intents.append(intent)
            if isinstance(intent, Pause):
                self.paused.append((self.time_ns + round(intent.seconds * NS), len(self.intents), steps))
                return
            value, error = None, None
            refuse = self.deny.get(type(intent))
            error = refuse(intent) if refuse else None
            if error is None:
                try:
                    value = self._carry_out(intent)
                except ApiError as refused:
                    error = refused

    def _carry_out(self, intent: Intent) -> Any:
        match intent:
            case Update(obj, _):
                self.get(kind_of(obj).name, object_key(obj))
                self.put(obj)
                return self.objects[kind_of(obj).name, object_key(obj)]
            case Patch(kind, namespace, name, body):
                old = to_json(self.get(kind, f"{namespace}/{name}"))
                status = {**(old.get("status") or {}), **body["status"]}
                old["status"] = {key: value for key, value in status.items() if value is not None}
                self.put(msgspec.convert(old, KINDS[kind].type))
            case Bind(namespace, name, _, node):
                pod = self.get("Pod", f"{namespace}/{name}")
                pod = with_spec(pod, nodeName=node)
                self.put(replace(pod, status=replace(pod.status, nominatedNodeName=None)) if pod.status else pod)
            case Delete(kind, namespace, name):
                old = self.get(kind, f"{namespace}/{name}")
                if self.graceful:
                    self.put(with_metadata(old, deletionTimestamp=datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC)))
                else:
                    self.gone(kind, f"{namespace}/{name}")
            case Emit():
                pass
            case _:
                raise AssertionError(f"the scheduler asked for {intent!r}")
        return None

    # reading

    def of(self, kind: type[Any]) -> list[Any]:
        return [intent for intent in self.intents if isinstance(intent, kind)]

    def notes(self) -> list[str]:
        return [f"{event.reason}: {event.message}" for event in self.of(Emit)]

    def node_of(self, name: str) -> str | None:
        return self.pod(name).spec.nodeName

    def condition(self, name: str) -> tuple[str, str | None, str | None] | None:
        for item in (self.pod(name).status.conditions if self.pod(name).status else None) or ():
            if item.type == "PodScheduled":
                return item.status, item.reason, item.message
        return None
