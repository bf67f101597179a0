"""Plays a story on a cluster step by step and checks the invariants between any two writes.

A story is what tests/data/stories holds: `driver` or `drivers`, a `timeline` of `do` entries (and `stage` entries, which are handed to the
caller). It may say `kubelet` and `exact_capacity`. Beyond what `volsched rehearse` plays, an entry may have

    verb `patch-status`   a merge patch of the status subresource (a node that is no longer Ready)
    verb `write`          bytes put into the volume of a claim: `body` is file name -> text
    verbs `restart`, `crash-driver`, `jump`, `resync`: disturbances, see storm.py
    `if`                  a part of the object that must be there, or the entry is skipped
    `steps`               act after so many steps of this instant, in the middle of what the controllers are doing; without it an entry
                          waits until everything due at its time has been done
    `after`               act in the middle of something: right after the next `{"call": method}` or `{"write": kind}` of somebody, at most
                          AFTER_S_MAX later

`faults` of a story are what goes wrong (faults.py), until the timeline has ended. What has to hold at rest is asked for after that; a rule
that is broken then has to be broken still after GRACE_S more, which is longer than anybody waits before trying again.

With `lenient`, an entry that is refused or names an object that was never made is skipped too: that is how generated stories stay playable
when entries are dropped from them.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.simulation.faults import FaultyWires
from volsched.api.kinds import KINDS, Json, Key, key_of, to_json
from volsched.api.manifest import from_manifest
from volsched.app.cluster import Cluster, DriverSettings, Wires
from volsched.app.invariants import Violation, Witness, check_quiet, check_safety
from volsched.app.rehearse import Names, Preferences
from volsched.controllers.provisioner_options import ProvisionerOptions
from volsched.csi.profile import full
from volsched.errors import ApiError, InputError

try:
    from volsched.engine import Engine as _native  # noqa: F401
except ImportError:
    ENGINE = "reference"
else:
    ENGINE = "native"

NS = 10**9
DISTURBANCES = frozenset({"restart", "crash-driver", "jump", "resync"})
TEARDOWN = (
    "StatefulSet",
    "Pod",
    "VolumeGroupSnapshot",
    "VolumeSnapshot",
    "PersistentVolumeClaim",
    "VolumeGroupSnapshotContent",
    "VolumeSnapshotContent",
    "PersistentVolume",
)
WRITER = "a test that writes"
AFTER_S_MAX = 20.0
GRACE_S = 1200.0
AWAY = {"status": {"conditions": [{"type": "Ready", "status": "Unknown"}]}}


@dataclass
class Played:
    """What came of a story: violations with the number of the step and the time, entries that were skipped, and the run's hash."""

    hash: str = ""
    steps: int = 0
    faulted_steps: int = 0  # while faults were to be expected
    checks: int = 0
    idle: bool = True
    violations: list[tuple[int, float, Violation]] = field(default_factory=list)
    skipped: list[tuple[int, str]] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [f"step {step} at {at:g} s: {violation}" for step, at, violation in self.violations]
        return "\n".join(lines or [f"{self.steps} steps, {self.checks} checks, hash {self.hash}"])


def settings_of(driver: Mapping[str, Json]) -> DriverSettings:
    """A driver of a story: `profile` zonal as in the recordings, or full with arguments of `volsched.csi.profile.full`."""
    if driver.get("profile") != "full":
        return DriverSettings.of_story(driver, source="story")
    arguments = {key: value for key, value in driver.items() if key not in ("profile", "options")}
    return DriverSettings(profile=full(**arguments), options=ProvisionerOptions(**driver.get("options", {})))


def contains(value: Json, part: Json) -> bool:
    """Whether JSON holds a part: objects by keys, lists by some element for each, `*` anything, `~text` a text within, null nothing."""
    if part is None:
        return value is None
    if part == "*":
        return value is not None
    if isinstance(part, dict):
        return isinstance(value, dict) and all(contains(value.get(key), item) for key, item in part.items())
    if isinstance(part, list):
        return isinstance(value, list) and all(any(contains(item, wanted) for item in value) for wanted in part)
    if isinstance(part, str) and part.startswith("~"):
        return isinstance(value, str) and part[1:] in value
    return bool(value == part)


class Player:
    """One story on one cluster. `on_stage` is called at every stage entry."""

    def __init__(
        self,
        story: Mapping[str, Json],
        *,
        engine: str = ENGINE,
        seed: int = 0,
        lenient: bool = False,
        violations_max: int = 1,
        on_stage: Callable[[Player, Mapping[str, Json]], None] | None = None,
        wires: Wires | None = None,
    ) -> None:
        self.story = story
        self.names = Names()
        self.played = Played()
        self._lenient = lenient
        self._on_stage = on_stage
        self._violations_max = violations_max
        self._looked_at = (-1, -1)
        self.wires = FaultyWires(story["faults"]) if "faults" in story else None
        drivers = story["drivers"] if "drivers" in story else [story["driver"]] if story.get("driver") else []
        self.cluster = Cluster(
            seed=seed,
            engine=engine,
            kubelet=story.get("kubelet", "instant"),
            drivers=[settings_of(driver) for driver in drivers],
            prefer=Preferences(story.get("prefer") or {}).choose,
            wires=self.wires or wires,
            exact_capacity=bool(story.get("exact_capacity")),
        )
        if self.wires is not None:
            self.wires.cluster = self.cluster
        self.cluster.store.subscribe(self.names.observe)
        self.witness = Witness(self.cluster)
        self._start_ns = self.cluster.now_ns()

    # playing

    def play(self, *, deadline_s: float = 3600.0) -> Played:
        """The whole timeline, then on until the cluster is at rest, with the checks for that."""
        with self.cluster:
            for number, entry in enumerate(self.story["timeline"]):
                reached = self.run_until(float(entry["at"]), entry.get("steps"))
                if not reached or not self.run_to(entry.get("after")) or not self.take_entry(number, entry):
                    break
            else:
                self.heal()
                if self.rest(deadline_s=deadline_s) and self.story.get("teardown"):
                    self.tear_down()
                    self.rest(deadline_s=deadline_s)
            self.played.hash = self.cluster.run_hash()
        return self.played

    def tear_down(self) -> None:
        """Ask everything to go that a user may have made, as a user would."""
        for kind in TEARDOWN:
            for obj in self.cluster.list(kind):
                key = key_of(obj)
                if self.cluster.store.raw(key) is not None:
                    self.cluster.delete(*key)

    def take_entry(self, number: int, entry: Mapping[str, Json]) -> bool:
        """Do what an entry says; False once enough has gone wrong."""
        if "stage" in entry:
            if self._on_stage is not None:
                self._on_stage(self, entry)
            return self.look()
        try:
            skipped = self.disturb(entry["do"]) if entry["do"]["verb"] in DISTURBANCES else self.act(entry["do"])
        except (ApiError, InputError) as problem:
            if not self._lenient:
                raise
            skipped = str(problem)
        if skipped:
            self.played.skipped.append((number, skipped))
        return self.look()

    def heal(self) -> None:
        """Nothing goes wrong from now on."""
        self.played.faulted_steps = self.played.steps if self.wires is not None else 0
        if self.wires is not None:
            self.wires.heal()

    def _count(self, kind: str) -> None:
        if self.wires is not None:
            self.wires.count(kind)

    def run_to(self, moment: Mapping[str, str] | None) -> bool:
        """Step by step until somebody has just made a call or a write, at most AFTER_S_MAX; False once enough has gone wrong."""
        if moment is None:
            return True
        deadline_ns = self.cluster.now_ns() + round(AFTER_S_MAX * NS)
        while True:
            calls, version = len(self.cluster.csi_calls), self.cluster.store.resource_version
            if not self.cluster.step(deadline_ns):
                return True
            self.played.steps += 1
            if not self.look():
                return False
            called = [call.method.rpartition("/")[2] for call in self.cluster.csi_calls[calls:]]
            written = [event.kind for event in self.cluster.store.watch(version)]
            if moment.get("call") in called or moment.get("write") in written:
                self._count("user acts at the worst moment")
                return True

    def run_until(self, at_s: float, steps_max: int | None = None) -> bool:
        """Step by step up to a time of the story, of its last instant only so many; False once enough has gone wrong."""
        deadline_ns = max(self._start_ns + round(at_s * NS), self.cluster.now_ns())
        left = steps_max
        while self.cluster.loop.next_ns() is not None or not self.played.steps:
            if left == 0 and self.cluster.now_ns() == deadline_ns:
                return True
            if not self.cluster.step(deadline_ns if left != 0 else deadline_ns - 1):
                break
            self.played.steps += 1
            if not self.look():
                return False
            if left and self.cluster.now_ns() == deadline_ns:
                left -= 1
        if left != 0:
            self.cluster.run_until(deadline_ns)  # nothing is due: the clock goes on
        else:
            self.cluster.clock.wait_until(deadline_ns)
        return True

    def rest(self, *, deadline_s: float = 3600.0) -> bool:
        """Step by step until at rest, at most so long; then the checks for that. False once enough has gone wrong."""
        if not self._settle(deadline_s):
            return False
        if not self.played.idle:
            return self.look()
        broken = check_quiet(self.cluster, self.witness)
        if broken and self.wires is not None:
            if not self.run_until((self.cluster.now_ns() - self._start_ns) / NS + GRACE_S) or not self._settle(deadline_s):
                return False
            broken = check_quiet(self.cluster, self.witness)
        return self._note(broken)

    def _settle(self, deadline_s: float) -> bool:
        deadline_ns = self.cluster.now_ns() + round(deadline_s * NS)
        self.cluster.run_until(self.cluster.now_ns())
        while not self.cluster.loop.is_idle():
            if not self.cluster.step(deadline_ns):
                self.played.idle = False
                return True
            self.played.steps += 1
            if not self.look():
                return False
        return True

    def look(self) -> bool:
        """Check what must hold at any time, if anything has changed; False once enough has gone wrong."""
        state = (self.cluster.store.resource_version, len(self.cluster.csi_calls))
        if state == self._looked_at:
            return True
        self._looked_at = state
        self.played.checks += 1
        return self._note(check_safety(self.cluster, self.witness))

    def _note(self, violations: list[Violation]) -> bool:
        at_s = (self.cluster.now_ns() - self._start_ns) / NS
        self.played.violations += [(self.played.steps, at_s, item) for item in violations]
        return len(self.played.violations) < self._violations_max

    # acting

    def disturb(self, do: Mapping[str, Json]) -> str:
        """Carry out a disturbance; answers why it was skipped, empty when it was not."""
        verb, wires = do["verb"], self.wires
        if wires is None:
            return "there are no wires for faults"
        if verb == "restart":
            wires.restart(do["process"], down_s=do["down"])
        elif verb == "crash-driver":
            wires.crash_driver(do["driver"])
        elif verb == "jump":
            jump_ns = round(do["seconds"] * NS)
            self.cluster.clock.wait_until(self.cluster.now_ns() + jump_ns)
            self._start_ns += jump_ns  # the rest of the story comes later by as much
            wires.count("clock jumps")
        else:
            wires.count("resync")
            self.cluster.runner.resync(do["process"])
        return ""

    def act(self, do: Mapping[str, Json]) -> str:
        """Carry out one action; answers why it was skipped, empty when it was not. Raises ApiError, InputError."""
        now = datetime.datetime.fromtimestamp(self.cluster.now_ns() // NS, tz=datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        cluster, verb, kind = self.cluster, do["verb"], do["kind"]
        name = self.names.resolve(do.get("name") or "", now=now)
        namespace = (do.get("namespace") or "default") if KINDS[kind].namespaced else ""
        body = self.names.resolve(do.get("body"), now=now)
        if "if" in do:
            present = cluster.store.raw(Key(kind, namespace, name))
            if present is None or not contains(to_json(present), self.names.resolve(do["if"], now=now)):
                return f"{kind} {name} is not as {do['if']}"
        if verb == "create":
            cluster.create(from_manifest(body))
        elif verb == "delete":
            cluster.delete(kind, namespace, name, grace_period_s=do.get("grace"))
            if kind == "Node":
                self._count("node lost")
        elif verb == "patch":
            cluster.patch(kind, namespace, name, body)
        elif verb == "patch-status":
            cluster.store.patch(kind, namespace, name, body, user="admin", subresource="status")
            if kind == "Node" and contains(body, AWAY):
                self._count("node away")
        elif verb == "write":
            return self._write(namespace, name, body)
        else:
            raise InputError(f"unknown verb {verb!r}")
        return ""

    def _write(self, namespace: str, name: str, files: Mapping[str, str]) -> str:
        claim = self.cluster.get("PersistentVolumeClaim", name, namespace)
        pv: Any = self.cluster.store.raw(Key("PersistentVolume", "", claim.spec.volumeName or ""))
        fake = self.cluster.drivers.fakes.get(pv.spec.csi.driver) if pv is not None and pv.spec.csi else None
        volume = next((item for item in fake.volumes() if item.volume_id == pv.spec.csi.volumeHandle), None) if fake else None
        if fake is None or volume is None:
            return f"{name} has no volume to write to"
        fake.data.publish(volume.volume_id, node=WRITER, target=name, readonly=False)
        for file, text in files.items():
            fake.data.write(node=WRITER, target=name, name="" if volume.block else file, data=text.encode())
        fake.data.unpublish(volume.volume_id, node=WRITER, target=name)
        return ""

    # reading, for stages

    def state(self, path: str) -> Json:
        """An object by `Kind/namespace/name` or `Kind/name`; None when it does not exist."""
        kind, _, rest = path.partition("/")
        namespace, _, name = rest.rpartition("/")
        found = self.cluster.store.raw(Key(kind, namespace, name))
        return None if found is None else to_json(found)


def play(story: Mapping[str, Json], **options: Any) -> Played:
    """Short for a Player's whole life."""
    return Player(story, **options).play()
