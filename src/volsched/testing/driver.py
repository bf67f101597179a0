"""The CSI driver of a test: where it is, what it was asked, what it has, what goes wrong with it, and whether it runs.

It has one life after the other (lives.py) over the same socket, records and bytes. Calls and what faults have counted go on from life to
life, so a fault that is to kill the driver once does so once.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import msgspec

from volsched.api.csi import METHODS, Message
from volsched.csi.backend import FakeDriver
from volsched.csi.client import GrpcClient
from volsched.csi.profile import DriverProfile
from volsched.csi.state import GroupRecord, SnapshotRecord, VolumeRecord
from volsched.errors import CsiCode, InputError, VolschedError
from volsched.testing.lives import ANSWER_S, Child, DiedError, Here, Life
from volsched.testing.plans import Fault, faults_of, plan_text
from volsched.testing.served import MemoryJournal, Settings

NODE_ID: Final = "node-1"
_SEED_STEP: Final = 1_000_003  # between the seeds of two lives


class NotRunningError(InputError):
    """The driver was asked for something that only a running one can answer."""


class Call(NamedTuple):
    """One CSI call that reached the driver. `code` is None while it is under way, and stays so if the driver died under it."""

    method: str
    request: Message
    node: str
    code: CsiCode | None = None
    detail: str = ""

    @property
    def about(self) -> str:
        """The name or the ids of what it is about."""
        names = (getattr(self.request, field, "") for field in ("name", "volume_id", "snapshot_id", "group_snapshot_id"))
        return " ".join(str(name) for name in names if name)

    def __str__(self) -> str:
        outcome = "no answer" if self.code is None else self.code.words + (f": {self.detail}" if self.detail else "")
        return " ".join(word for word in (self.method, self.about, f"on {self.node}" if self.node else "", "->", outcome) if word)


class Faults:
    """What goes wrong with a driver from now on; a plan of docs/faults.md that may be changed while the driver runs."""

    def __init__(self, driver: CsiDriver, *, faults: Sequence[Fault], seed: int, folder: Path) -> None:
        self._driver = driver
        self._faults = list(faults)
        self._seed = seed
        self._folder = folder

    @property
    def plan(self) -> list[Fault]:
        """The faults there are, in the order in which they are tried."""
        return [dict(fault) for fault in self._faults]

    @property
    def fired(self) -> dict[str, int]:
        """By name, how often each fault took effect; those that were removed included."""
        return {name: fired for name, (_, fired) in self._driver._counted().items()}

    @property
    def text(self) -> str:
        """The plan as a document."""
        return plan_text(self._faults, seed=self._seed)

    def add(self, *faults: object, **fault: object) -> list[str]:
        """Let more go wrong: dicts, the path of a plan, or keywords, as `@pytest.mark.csi_faults` takes them. Answers their names.

        Raises InputError for what is no fault, or has a name that another has.
        """
        found, _ = faults_of(faults, fault, folder=self._folder, known=self._driver._counted())
        self._set([*self._faults, *found])
        return [str(item["name"]) for item in found]

    def remove(self, *names: str) -> None:
        """Let these no longer happen. Raises InputError for a name that no fault has."""
        known = [str(fault["name"]) for fault in self._faults]
        for name in names:
            if name not in known:
                raise InputError(f"no fault is named {name!r}; there are: {', '.join(known) or 'none'}")
        self._set([fault for fault in self._faults if fault["name"] not in names])

    def clear(self) -> None:
        """Let nothing go wrong any more."""
        self._set([])

    def _set(self, faults: list[Fault]) -> None:
        text = plan_text(faults, seed=self._seed)
        self._faults = faults  # a driver that does not run begins with them
        with contextlib.suppress(NotRunningError):
            self._driver._ask("set_plan", plan=text)


class CsiDriver:
    """The fake CSI driver on a unix socket, as a test has it: the fixture `csi_driver`, or `CsiDriver.running`."""

    def __init__(
        self, settings: Settings, *, process: Literal["here", "child"], faults: Sequence[Fault], fault_folder: Path, restarts: bool
    ) -> None:
        self._settings = settings
        self._process = process
        self._restarts = restarts
        self._journal = MemoryJournal()
        self._lock = threading.RLock()
        self._life: Life | None = None
        self._lives = 0
        self._why_dead = "it does not run; start it first"
        self._counts: Mapping[str, tuple[int, int]] = {}  # of the faults, in lives before this one
        self._calls: list[Call] = []
        self._calls_lock = threading.Lock()  # of its own: calls may come in before a life is ready
        self.faults: Final = Faults(self, faults=faults, seed=settings.seed, folder=fault_folder)
        self.start()

    @classmethod
    @contextlib.contextmanager
    def running(
        cls,
        profile: DriverProfile,
        *,
        process: Literal["here", "child"] = "here",
        node_id: str = NODE_ID,
        nodes: Mapping[str, Mapping[str, str]] | None = None,
        faults: Sequence[Fault] = (),
        fault_folder: Path | None = None,
        seed: int = 0,
        restarts: bool = True,
    ) -> Iterator[CsiDriver]:
        """A driver in a folder of its own, which goes with it.

        process: "here" serves from threads of this process, "child" from one of its own, which faults and `kill` can kill; there
        `restarts` says whether a driver that died by itself is begun again. node_id: the node it runs on. nodes: labels by node, of more
        nodes. faults, fault_folder: a plan, and where relative paths of plans lead. seed: of the faults' chances. Raises VolschedError.
        """
        # not below pytest's own folder: the path of a socket has at most 107 bytes
        folder = Path(tempfile.mkdtemp(prefix="volsched-csi-"))
        settings = Settings(
            profile=profile,
            endpoint=f"unix://{folder}/csi.sock",
            folder=str(folder),
            node_id=node_id,
            nodes={name: dict(labels) for name, labels in (nodes or {}).items()},
            seed=seed,
        )
        try:
            driver = cls(settings, process=process, faults=faults, fault_folder=fault_folder or Path(), restarts=restarts)
            try:
                yield driver
            finally:
                driver.stop()
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    # where it is

    @property
    def name(self) -> str:
        """The driver's name, as GetPluginInfo gives it."""
        return self._settings.profile.name

    @property
    def endpoint(self) -> str:
        """`unix:///PATH`, the same over all its lives."""
        return self._settings.endpoint

    @property
    def socket(self) -> Path:
        """The path of the socket."""
        return Path(self.endpoint.removeprefix("unix://"))

    @property
    def node_id(self) -> str:
        """The node it runs on."""
        return self._settings.node_id

    def client(self) -> GrpcClient:
        """A client for it, to call what a sidecar or a kubelet would; to be closed, as by `with`."""
        return GrpcClient(self.endpoint)

    # what it was asked

    @property
    def calls(self) -> list[Call]:
        """Every call so far, in the order in which they began, over all its lives."""
        with self._calls_lock:
            return list(self._calls)

    def calls_of(self, method: str) -> list[Call]:
        """The calls of one method. Raises InputError for one that CSI does not have."""
        if method not in METHODS:
            raise InputError(f"{method!r} is no CSI call; calls are named CreateVolume, NodePublishVolume, …")
        return [call for call in self.calls if call.method == method]

    # what it has

    @property
    def backend(self) -> FakeDriver:
        """The driver itself, as long as it runs in this process. Raises InputError when it does not."""
        life = self._living()
        if not isinstance(life, Here):
            raise InputError("the driver runs in a process of its own; ask it by volumes(), snapshots(), digest_volume(), …")
        return life.backend

    def volumes(self) -> list[VolumeRecord]:
        """Its volumes, in the order of creation."""
        return msgspec.convert(self._ask("records", kind="volumes"), list[VolumeRecord])

    def snapshots(self) -> list[SnapshotRecord]:
        """Its snapshots, in the order of creation."""
        return msgspec.convert(self._ask("records", kind="snapshots"), list[SnapshotRecord])

    def groups(self) -> list[GroupRecord]:
        """Its group snapshots, in the order of creation."""
        return msgspec.convert(self._ask("records", kind="groups"), list[GroupRecord])

    def digest_volume(self, volume_id: str) -> str:
        """SHA-256 over a volume's content. Raises CsiError NOT_FOUND."""
        return str(self._ask("digest", kind="volume", object_id=volume_id))

    def digest_snapshot(self, snapshot_id: str) -> str:
        """SHA-256 over a snapshot's content; equals that of its volume at the cut. Raises CsiError NOT_FOUND."""
        return str(self._ask("digest", kind="snapshot", object_id=snapshot_id))

    def free_bytes(self, segments: Mapping[str, str], pool: str = "") -> int:
        """Bytes left in a segment's pool."""
        return int(self._ask("free_bytes", segments=dict(segments), pool=pool))

    def register_node(self, node_id: str, labels: Mapping[str, str]) -> None:
        """Run on one more node; its labels of the profile's topology keys say where that is."""
        with self._lock:
            self._settings = msgspec.structs.replace(self._settings, nodes={**self._settings.nodes, node_id: dict(labels)})
        self._ask("register", node=node_id, labels=dict(labels))

    # whether it runs

    @property
    def running_now(self) -> bool:
        """Whether it takes calls."""
        return self._life is not None

    def start(self) -> None:
        """Run, with everything it has acknowledged in earlier lives. Does nothing while it runs. Raises VolschedError."""
        with self._lock:
            if self._life is not None:
                return
            # the chances go on rather than begin anew: a driver that dies by one would else die by it in every life
            seed = self._settings.seed + self._lives * _SEED_STEP
            settings = msgspec.structs.replace(self._settings, seed=seed, plan=self.faults.text, counted=dict(self._counts))
            first = len(self._calls)
            if self._process == "child":
                self._life = Child(settings, lambda said: self._told(said, first), self._died)
            else:
                self._life = Here(settings, lambda said: self._told(said, first), self._journal)
            self._lives += 1

    def stop(self) -> None:
        """Let calls under way end, then go; nothing happens if it does not run. It stays so until `start`."""
        self._end(kill=False)

    def kill(self) -> None:
        """Die at once: by SIGKILL, or in this process by cutting every connection. It stays so until `start`."""
        self._end(kill=True)

    def restart(self) -> None:
        """`kill`, then `start`."""
        self.kill()
        self.start()

    def _end(self, *, kill: bool) -> None:
        with self._lock:
            life, self._life = self._life, None
            self._why_dead = "it does not run; start it first"
        if life is not None:
            # not under the lock: the thread of a life that ends by itself at this very moment wants it
            with contextlib.suppress(DiedError):
                self._counts = _counts(life.ask("counted", {}))
            life.stop(kill=kill)

    def _died(self, life: Child, counted: Mapping[str, tuple[int, int]] | None) -> None:
        """A life has ended by itself."""
        with self._lock:
            if self._life is not life:
                return
            self._life = None
            self._why_dead = "it has died; start it again"
            if counted is not None:
                self._counts = counted
            if self._restarts:
                try:
                    self.start()
                except VolschedError as error:
                    self._why_dead = f"it has died and could not be started again: {error}"

    # inside

    def _living(self) -> Life:
        with self._lock:  # of a life that has just died, the next one is what is asked for
            life = self._life
        if life is None:
            raise NotRunningError(f"driver {self.name}: {self._why_dead}")
        return life

    def _ask(self, question: str, **arguments: Any) -> Any:
        while True:
            life = self._living()
            try:
                return life.ask(question, arguments)
            except DiedError:
                life.over.wait(ANSWER_S)  # then there is the next one, or none

    def _counted(self) -> Mapping[str, tuple[int, int]]:
        try:
            return {**self._counts, **_counts(self._ask("counted"))}
        except NotRunningError:
            return self._counts

    def _told(self, said: Mapping[str, Any], first: int) -> None:
        """The driver tells of a call of a life whose first call has this place."""
        with self._calls_lock:
            if "call" in said:
                method = said["method"]
                self._calls.append(Call(method, msgspec.convert(said["request"], METHODS[method][0]), said["node"]))
            else:
                at = first + said["done"]
                self._calls[at] = self._calls[at]._replace(code=CsiCode(said["code"]), detail=said["detail"])


def _counts(answer: Any) -> dict[str, tuple[int, int]]:
    return msgspec.convert(answer, dict[str, tuple[int, int]])
