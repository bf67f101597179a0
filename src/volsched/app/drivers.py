"""Which CSI drivers a cluster has, and the sidecars that come with each: provisioner, snapshotter, attacher, capacity publisher,
and, for a driver in a process of its own, the registration on its node.

Drivers are either given, or found: every provisioner that a StorageClass, CSIDriver, CSINode or VolumeSnapshotClass names gets a fake
driver with every capability, whose topology keys are those its CSINodes report. Names under `kubernetes.io/` are no CSI drivers.

A found driver keeps its records and bytes in the store's state file, in the same file as the objects, so a cluster that is opened again has
its volumes. `crash` ends a fake driver's process and starts it anew from these records.

A driver whose provisioner nobody set up publishes CSIStorageCapacity objects where its CSIDriver says that they count. Where objects for
its classes are there already they are believed, and nothing is published beside them: they came with the manifests or the dump.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from volsched.api.edit import labels_of
from volsched.api.kinds import Json, Key, meta
from volsched.api.watch import Change, WatchEvent
from volsched.app.runner import Runner
from volsched.controllers.attacher import Attacher
from volsched.controllers.capabilities import EXPAND_VOLUME, MODIFY_VOLUME
from volsched.controllers.driver_registrar import DriverRegistrar
from volsched.controllers.modifier import VolumeModifier
from volsched.controllers.provisioner import Provisioner
from volsched.controllers.provisioner_options import ProvisionerOptions
from volsched.controllers.resizer import Resizer
from volsched.controllers.snapshot_group_sidecar import GROUP_SERVICE, GroupSnapshotSidecar
from volsched.controllers.snapshot_sidecar import SnapshotSidecar
from volsched.csi.backend import FakeDriver
from volsched.csi.data import MemoryData, VolumeData
from volsched.csi.inprocess import InProcessClient
from volsched.csi.profile import DriverProfile, full, zonal
from volsched.csi.state import Row
from volsched.errors import CsiCode, CsiError, InputError
from volsched.ports import Clock, CsiClient, Decider
from volsched.store import Store

NAMING_KINDS: Final = ("StorageClass", "CSIDriver", "CSINode", "VolumeSnapshotClass")
_PUBLISHES: Final = "publishes-capacity"  # kept with a driver: the capacity objects of its classes are its own
_ATTACHING: Final = frozenset({"PUBLISH_UNPUBLISH_VOLUME", "PUBLISH_READONLY", "LIST_VOLUMES_PUBLISHED_NODES"})
_STORY_SETTINGS: Final = frozenset({"profile", "strict_topology", "capacity", "enable_capacity", "capacity_poll_interval_s"})


@dataclass(frozen=True, kw_only=True)
class DriverSettings:
    """One driver of a cluster: what it is, or who to call, and how its provisioner is started; None: as its CSIDriver asks for."""

    profile: DriverProfile
    options: ProvisionerOptions | None = None
    client: CsiClient | None = None  # None: a fake driver in this process

    @classmethod
    def of_story(cls, settings: Mapping[str, Json], *, source: str) -> DriverSettings:
        """The driver of a recorded story. Raises InputError for a setting that is not known."""
        unknown = sorted(set(settings) - _STORY_SETTINGS)
        if unknown:
            raise InputError(f"unknown setting; known: {', '.join(sorted(_STORY_SETTINGS))}", source=source, path=f"driver.{unknown[0]}")
        if settings.get("profile") != "zonal":
            raise InputError(f"unknown profile {settings.get('profile')!r}: zonal", source=source, path="driver.profile")
        capacity, period = settings.get("capacity"), settings.get("capacity_poll_interval_s")
        if capacity is not None and not (isinstance(capacity, dict) and all(type(size) is int for size in capacity.values())):
            raise InputError("must be an object: segment -> bytes", source=source, path="driver.capacity")
        if period is not None and not (isinstance(period, int | float) and 0 < period < float("inf")):
            raise InputError("must be a number of seconds above 0", source=source, path="driver.capacity_poll_interval_s")
        options = ProvisionerOptions(default_fstype="ext4", strict_topology=bool(settings.get("strict_topology", False)))
        if settings.get("enable_capacity"):
            options = replace(options, enable_capacity=True)
        if period is not None:
            options = replace(options, capacity_poll_interval_s=float(period))
        return cls(profile=zonal(capacity=capacity), options=options)


def profile_of(name: str, *, driver: Any | None, csi_nodes: Iterable[Any]) -> DriverProfile:
    """A fake driver as the objects describe it: every capability; the topology keys its CSINodes have, none where none has any; attaching
    only where its CSIDriver does not say attachRequired false."""
    keys = sorted({key for node in csi_nodes for d in node.spec.drivers or () if d.name == name for key in d.topologyKeys or ()})
    profile = full(name=name, zone_names=None if keys else ())
    if keys:
        profile = replace(profile, topology_keys=tuple(keys))
    if driver is not None and driver.spec.attachRequired is False:
        profile = replace(profile, controller=tuple(name for name in profile.controller if name not in _ATTACHING))
    return profile


class StoreJournal:
    """Keeps a driver's records in the store's state file. Bytes in memory go along with every change of the records."""

    def __init__(self, store: Store, driver: str, data: VolumeData) -> None:
        self._store = store
        self._room = f"csi/{driver}"
        self._data = data

    def load_data(self) -> None:
        """Give the bytes that the state file has to a process that has none yet."""
        saved = self._store.value(self._room, "data")
        if saved is not None:
            self._data.replace(json.loads(saved))

    def read(self) -> list[Row]:
        rows = []
        for key, body in self._store.values(self._room).items():
            kind, _, name = key.partition("\0")
            if name:
                rows.append(Row(kind, name, body))
        return rows

    def write(self, puts: Sequence[Row], drops: Sequence[tuple[str, str]]) -> None:
        with self._store.batch():
            for row in puts:
                self._store.put_value(self._room, f"{row.kind}\0{row.key}", row.body)
            for kind, key in drops:
                self._store.put_value(self._room, f"{kind}\0{key}", None)
            self._store.put_value(self._room, "data", json.dumps(self._data.export(), sort_keys=True).encode())

    def close(self) -> None:
        """The store closes the file."""


class DriverHub:
    """The drivers of one cluster by name."""

    def __init__(
        self,
        store: Store,
        runner: Runner,
        clock: Clock,
        *,
        settings: Sequence[DriverSettings] | None,
        external: Sequence[DriverSettings] = (),
        priority: int,
        node_service: bool,
    ) -> None:
        """`settings`: all the drivers there are, None to find them. `external`: drivers besides, which nothing is found for."""
        self._store = store
        self._runner = runner
        self._clock = clock
        self._given = settings
        self.external: list[DriverSettings] = list(external)
        self._priority = priority
        self._node_service = node_service
        self._clients: dict[str, CsiClient] = {}
        self.fakes: dict[str, FakeDriver] = {}  # also those that are down: what they store is there
        self._settings: dict[str, DriverSettings] = {}  # of what runs
        self._publishing: set[str] = set()  # drivers whose capacity is published because their CSIDriver asks for it
        self._down: set[str] = set()
        self._started = False

    def start(self) -> None:
        """Run the given drivers, or those that the objects name; from now on also those that are named later."""
        self._started = True
        for settings in self.external:
            self._run(settings)
        if self._given is not None:
            for settings in self._given:
                self._run(settings)
        else:
            for kind in NAMING_KINDS:
                for obj in self._store.list(kind).items:
                    self._consider(obj)
        for node in self._store.list("Node").items:
            self._register(meta(node).name or "")
        self._store.subscribe(self._on_change)

    @property
    def names(self) -> Sequence[str]:
        """The drivers that run, fake or not."""
        return [name for name in self._clients if name not in self._down]

    def client(self, name: str) -> CsiClient:
        """The client of a driver. Raises CsiError UNAVAILABLE where there is no such driver, or it is down."""
        client = self._clients.get(name)
        if client is None or name in self._down:
            raise CsiError(CsiCode.UNAVAILABLE, f"no CSI driver {name} is running")
        return client

    def look(self, name: str) -> CsiClient | None:
        """A driver to ask questions of, whether or not anything runs yet; None where there is none of that name. Nothing is started, and
        nothing that the driver keeps is changed, as long as it is only asked."""
        running = self._clients.get(name)
        if running is not None:
            return running
        for settings in (*self.external, *(self._given or ())):
            if settings.profile.name == name and settings.client is not None:
                return settings.client
        known = self._store.value(f"csi/{name}", "data") is not None
        if self._given is not None or not known or name.startswith("kubernetes.io/"):
            return None
        data = MemoryData()
        return InProcessClient(FakeDriver(self._profile(name), clock=self._clock, data=data, journal=StoreJournal(self._store, name, data)))

    def is_strict(self, name: str) -> bool | None:
        """Whether a driver's provisioner runs with strict topology; None for a driver that does not run here."""
        settings = next((item for item in (*self.external, *(self._given or ())) if item.profile.name == name), None)
        if settings is not None:
            return (settings.options or ProvisionerOptions()).strict_topology
        return False if self.look(name) is not None else None

    def crash(self, name: str, *, down_s: float = 0.0) -> None:
        """End the process of a fake driver at once and start it anew after `down_s` seconds: what it acknowledged and its bytes are there.

        Nothing happens while it is down. Its sidecars go on, as containers of their own do.
        """
        if name not in self.fakes or name in self._down:
            return
        self._down.add(name)
        self._runner.later(down_s, lambda: self._restart(name), name=f"{name}: restart", priority=self._priority)

    def _restart(self, name: str) -> None:
        before = self.fakes[name]
        journal = StoreJournal(self._store, name, before.data)
        self.fakes[name] = FakeDriver(before.profile, clock=self._clock, data=before.data, journal=journal)
        self._clients[name] = InProcessClient(self.fakes[name])
        self._down.discard(name)
        for node in self._store.list("Node").items:
            self._register(meta(node).name or "")

    def close(self) -> None:
        """Let go of sockets."""
        for client in (*self._clients.values(), *(settings.client for settings in self.external)):
            close = getattr(client, "close", None)
            if close is not None:
                close()

    def _on_change(self, event: WatchEvent) -> None:
        if event.change is Change.DELETED:
            return
        if self._given is None and event.kind in NAMING_KINDS:
            self._consider(event.object)
        if event.kind == "CSIDriver":
            self._follow_csi_driver(event.key.name)
        if event.kind in ("Node", "CSINode"):
            self._register(meta(event.object).name or "")

    def _consider(self, obj: Any) -> None:
        """Run a fake driver for every driver an object names."""
        match type(obj).__name__:
            case "StorageClass":
                names = [obj.provisioner]
            case "CSIDriver":
                names = [meta(obj).name]
            case "CSINode":
                names = [driver.name for driver in obj.spec.drivers or ()]
            case _:
                names = [obj.driver]
        for name in names:
            if name and not name.startswith("kubernetes.io/") and name not in self._clients:
                self._run(DriverSettings(profile=self._profile(name)))

    def _profile(self, name: str) -> DriverProfile:
        return profile_of(name, driver=self._store.raw(Key("CSIDriver", "", name)), csi_nodes=self._store.list("CSINode").items)

    def _run(self, settings: DriverSettings) -> None:
        name = settings.profile.name
        self._settings[name] = settings
        client = settings.client
        if client is None:
            data = MemoryData()
            journal = StoreJournal(self._store, name, data)
            journal.load_data()
            self.fakes[name] = FakeDriver(settings.profile, clock=self._clock, data=data, journal=journal)
            client = InProcessClient(self.fakes[name])
        self._clients[name] = client
        clock = self._clock
        self._sidecar(name, lambda: Provisioner(clock, driver=name, options=settings.options or self._options(name)))
        self._sidecar(name, lambda: SnapshotSidecar(clock, driver=name))
        if GROUP_SERVICE in settings.profile.services:
            self._sidecar(name, lambda: GroupSnapshotSidecar(clock, driver=name))
        # what the node service of a driver elsewhere can do is for the resizer to ask
        if settings.client is not None or EXPAND_VOLUME in {*settings.profile.controller, *settings.profile.node}:
            self._sidecar(name, lambda: Resizer(clock, driver=name))
        if MODIFY_VOLUME in settings.profile.controller:
            self._sidecar(name, lambda: VolumeModifier(clock, driver=name))
        # also for a driver that cannot attach: it then marks attachments as attached without a call
        self._sidecar(name, lambda: Attacher(clock, driver=name))
        # a fake driver is where CSINodes say that it is; a process says so itself
        if settings.client is not None:
            self._sidecar(name, lambda: DriverRegistrar(driver=name))

    def _options(self, name: str) -> ProvisionerOptions:
        """How a provisioner is started that nobody set up."""
        publishes = self._publishes(name)
        if publishes:
            self._publishing.add(name)
        return ProvisionerOptions(enable_capacity=publishes)

    def _publishes(self, name: str) -> bool:
        """Whether capacity is to be published: it counts, and either this cluster has begun to publish it or nobody else tells of it."""
        driver = self._store.raw(Key("CSIDriver", "", name))
        if driver is None or not driver.spec.storageCapacity:
            return False
        if self._store.value(f"csi/{name}", _PUBLISHES) is None:
            classes = {meta(item).name for item in self._store.list("StorageClass").items if item.provisioner == name}
            if any(item.storageClassName in classes for item in self._store.list("CSIStorageCapacity").items):
                return False
            self._store.put_value(f"csi/{name}", _PUBLISHES, b"")
        return True

    def _follow_csi_driver(self, name: str) -> None:
        """A CSIDriver came or changed: a provisioner that runs without publishing is started anew if it has to."""
        settings = self._settings.get(name)
        if settings is not None and settings.options is None and name not in self._publishing and self._publishes(name):
            self._runner.crash(f"{Provisioner.__name__} {name}")

    def _sidecar(self, driver: str, make: Callable[[], Decider]) -> None:
        self._runner.add(make, priority=self._priority, driver=driver)

    def _register(self, node_name: str) -> None:
        """Tell the fake drivers on a node where they run."""
        node = self._store.raw(Key("Node", "", node_name))
        csinode = self._store.raw(Key("CSINode", "", node_name))
        if node is None or csinode is None:
            return
        for driver in csinode.spec.drivers or ():
            fake = self.fakes.get(driver.name)
            if fake is not None:
                fake.register_node(driver.nodeID, labels_of(node))
