"""What goes wrong in the story of a seed: faults of every kind, and disturbances between what the user does.

    calm story ──storm(seed)──> the same user, `faults` for the wires (faults.py), and entries of these verbs in the timeline:
        restart       a process, after `down` seconds; it forgets everything
        crash-driver  a driver; what it acknowledged is there when it comes back
        jump          the clock goes on by `seconds` at once: timers that were due in between fire late and together
        resync        a process looks at everything
    and some entries of the user wait (`after`) until somebody is in the middle of something.

Seeds differ in what goes wrong and how often, so that a rare fault is not always buried under frequent ones. The whole is a function of
the seed and plain data: it can be printed, stored, shortened and played again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from tests.simulation.generator import story_of
from volsched.env.chance import Chance, Stream
from volsched.errors import CsiCode

Entry = dict[str, Any]

ACTS_MAX: Final = 400  # of a process; later ones go well
CHANGES_MAX: Final = 600
CALLS_MAX: Final = 40  # of one method of a driver
RATES: Final = (0.0, 0.01, 0.04, 0.12)
DOWN_S: Final = (0.0, 0.0, 0.5, 3.0, 20.0)
LATE_S: Final = (0.0, 0.01, 0.5, 1.5, 6.0, 25.0)
BROKEN_S: Final = (0.0, 0.01, 1.0, 5.0, 30.0)
DELAYS_S: Final = (20.0, 70.0, 150.0)
JUMPS_S: Final = (0.5, 2.0, 15.0, 61.0, 400.0)

CONTROLLERS: Final = (
    "Scheduler",
    "PVBinder",
    "ClaimProtection",
    "VolumeProtection",
    "AttributesClassProtection",
    "AttachDetach",
    "SnapshotController",
    "GroupSnapshotController",
    "ExpandNotice",
    "LocalProvisioner",
    "LocalNodeCleanup",
    "StatefulSetController",
    "PodGarbageCollector",
    "GarbageCollector",
    "Ephemeral",
)
SIDECARS: Final = ("Provisioner", "SnapshotSidecar", "GroupSnapshotSidecar", "Resizer", "VolumeModifier", "Attacher")
RPCS: Final = (
    "GetPluginInfo",
    "GetPluginCapabilities",
    "Probe",
    "ControllerGetCapabilities",
    "CreateVolume",
    "DeleteVolume",
    "GetCapacity",
    "ControllerPublishVolume",
    "ControllerUnpublishVolume",
    "ControllerExpandVolume",
    "ControllerModifyVolume",
    "CreateSnapshot",
    "DeleteSnapshot",
    "ListSnapshots",
    "GroupControllerGetCapabilities",
    "CreateVolumeGroupSnapshot",
    "DeleteVolumeGroupSnapshot",
    "GetVolumeGroupSnapshot",
    "NodeGetCapabilities",
    "NodeStageVolume",
    "NodeUnstageVolume",
    "NodePublishVolume",
    "NodeUnpublishVolume",
    "NodeExpandVolume",
)
CODES: Final = tuple(code.name for code in CsiCode if code is not CsiCode.OK)
# Called a few times in a story at most: without more faults some of their codes would never be told.
RARE_RPCS: Final = frozenset(
    {"ControllerModifyVolume", "DeleteVolumeGroupSnapshot", "GetVolumeGroupSnapshot", "NodeExpandVolume", "NodeUnstageVolume"}
)
RARE: Final = 5
# A driver that has done what it was asked, or may still do it, says so: any other code means that it has not. Source: spec/volumes.md 3.7.
LOST_CODES: Final = ("CANCELLED", "DEADLINE_EXCEEDED", "UNAVAILABLE", "ABORTED")
NOT_READY_RPCS: Final = ("CreateSnapshot", "CreateVolumeGroupSnapshot", "Probe")
# What somebody is in the middle of when the user acts: a call that has just been answered, or a write.
MOMENTS: Final = (
    {"call": "CreateVolume"},
    {"call": "DeleteVolume"},
    {"call": "CreateSnapshot"},
    {"call": "DeleteSnapshot"},
    {"call": "ControllerPublishVolume"},
    {"call": "ControllerUnpublishVolume"},
    {"call": "NodeStageVolume"},
    {"call": "NodePublishVolume"},
    {"call": "NodeUnpublishVolume"},
    {"write": "PersistentVolume"},
    {"write": "PersistentVolumeClaim"},
    {"write": "VolumeSnapshot"},
    {"write": "VolumeSnapshotContent"},
    {"write": "VolumeAttachment"},
    {"write": "Pod"},
)


class Storm:
    """What goes wrong in one story."""

    def __init__(self, story: Entry, seed: int) -> None:
        self._story = story
        self._chance: Stream = Chance(seed)("storm")
        self._drivers: list[str] = [driver["name"] for driver in story["drivers"]]
        kubelet = "Kubelet" if story["kubelet"] == "mounting" else "InstantKubelet"
        self._processes = [*CONTROLLERS, kubelet, *(f"{sidecar} {driver}" for driver in self._drivers for sidecar in SIDECARS)]
        self._faults: list[Entry] = []

    def _pick(self, options: Sequence[Any]) -> Any:
        return options[self._chance.randrange(len(options))]

    def _rate(self) -> float:
        return float(self._pick(RATES))

    def _points(self, rate: float, last: int) -> list[int]:
        """Numbers up to `last`, each taken with this probability."""
        found, number = [], 0
        while rate and len(found) < last:
            number += 1 + int(self._chance.expovariate(1.0) / rate)
            if number > last:
                break
            found.append(number)
        return found

    def story(self) -> Entry:
        """The story with everything that goes wrong."""
        for what in ("conflict", "refused", "lost", "dies-before", "dies-after"):
            rate = self._rate() / (4 if what.startswith("dies") else 1)
            for process in self._processes:
                for nth in self._points(rate, ACTS_MAX):
                    more = {"down": self._pick(DOWN_S)} if what.startswith("dies") else {}
                    self._faults.append({"on": "act", "process": process, "nth": nth, "do": what} | more)
        for what, seconds in (("late", LATE_S), ("breaks", BROKEN_S), ("twice", ())):
            rate = self._rate() / (1 if what == "twice" else 2)
            for process in self._processes:
                for nth in self._points(rate, CHANGES_MAX):
                    more = {"s": self._pick(seconds)} if seconds else {}
                    self._faults.append({"on": "watch", "process": process, "nth": nth, "do": what} | more)
        for driver in self._drivers:
            self._driver_faults(driver)
        return self._story | {"timeline": self._timeline(), "faults": self._faults}

    def _driver_faults(self, driver: str) -> None:
        for what in ("error", "loseAnswer", "crash", "delay", "notReady", "capacity"):
            rate = self._rate() * {"error": 2, "loseAnswer": 2, "crash": 0.25, "delay": 0.5, "notReady": 4, "capacity": 4}[what]
            for rpc in {"notReady": NOT_READY_RPCS, "capacity": ("GetCapacity",)}.get(what, RPCS):
                for nth in self._points(rate * (RARE if what == "error" and rpc in RARE_RPCS else 1), CALLS_MAX):
                    value = self._pick(
                        {
                            "error": CODES,
                            "loseAnswer": LOST_CODES,
                            "crash": ("before", "after"),
                            "delay": DELAYS_S,
                            "notReady": DELAYS_S,
                            "capacity": (0, 50, 300),
                        }[what]
                    )
                    self._faults.append({"on": "csi", "driver": driver, "rpc": rpc, "nth": nth, what: value})

    def _timeline(self) -> list[Entry]:
        """What the user does, some of it at a worse moment, and disturbances in between."""
        disturbed, waits = self._rate() * 2, self._rate() * 2
        timeline: list[Entry] = []
        for entry in self._story["timeline"]:
            if entry["at"] > 0 and self._chance.random() < disturbed:
                timeline.append(self._disturbance(entry["at"]))
            if entry["at"] > 0 and "steps" not in entry and self._chance.random() < waits:
                entry = entry | {"after": self._pick(MOMENTS)}
            timeline.append(entry)
        return timeline

    def _disturbance(self, at: float) -> Entry:
        verb = self._pick(("restart", "restart", "restart", "crash-driver", "jump", "resync"))
        if verb == "restart":
            do: Entry = {"verb": verb, "process": self._pick(self._processes), "down": self._pick(DOWN_S)}
        elif verb == "crash-driver":
            do = {"verb": verb, "driver": self._pick(self._drivers)}
        elif verb == "jump":
            do = {"verb": verb, "seconds": self._pick(JUMPS_S)}
        else:
            do = {"verb": verb, "process": self._pick(self._processes)}
        return {"at": at, "do": do, "steps": self._pick((0, 1, 3, 8, 21))}


def storm_of(seed: int, *, actions: int = 60) -> Entry:
    """The story of a seed with what goes wrong in it."""
    return Storm(story_of(seed, actions=actions), seed).story()
