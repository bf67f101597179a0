"""The local static provisioner of every node: disks become volumes, released volumes become disks again.

    every period, for each node with disks:
        delete pass      Released, policy Delete ──> wipe ──(a later pass)──> DELETE volume
        discovery pass   disk of a class's directory without a volume ──> CREATE volume, Available under the same name as ever

Which disks there are is data (`local_disks`). Each node has its own name as a provisioner, with the node's uid in it: only volumes that
carry this name are its own. Wiping is remembered in memory alone; a provisioner that starts anew wipes again, and nothing that is being
wiped becomes a volume. A node whose kubelet is gone runs no provisioner.
Source: spec/volumes.md 4; sig-storage-local-static-provisioner pkg/discovery, pkg/deleter.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from lightkube.models.core_v1 import (
    LocalVolumeSource,
    Node,
    NodeSelector,
    NodeSelectorRequirement,
    NodeSelectorTerm,
    PersistentVolume,
    PersistentVolumeSpec,
    VolumeNodeAffinity,
)
from lightkube.models.meta_v1 import ObjectMeta, OwnerReference
from lightkube.models.storage_v1 import StorageClass

from volsched.api.edit import annotations_of, is_deleting, labels_of, uid_of
from volsched.api.kinds import meta
from volsched.api.quantity import Quantity
from volsched.api.watch import Change, WatchEvent
from volsched.cache.view import View
from volsched.controllers.csi_common import NS_PER_S, quoted
from volsched.controllers.kubelet import serves
from volsched.controllers.local_disks import (
    BLOCK,
    DIRECTORY,
    DISKS,
    Discovery,
    Disk,
    discovery_of,
    disks_of,
    local_volume_name,
    rounded_down,
)
from volsched.errors import AlreadyExistsError, ApiError, InputError, NotFoundError
from volsched.ports import DONE, Clock, Create, Delete, Done, Emit, QueueSpec, Requeue, Steps, WorkItem
from volsched.rules.volumes import ANN_PROVISIONED_BY, NO_PROVISIONER

NODES: Final = "nodes"
HOSTNAME: Final = "kubernetes.io/hostname"


@dataclass(frozen=True, slots=True)
class LocalProvisionerOptions:
    """Flags, with upstream's defaults. `use_node_name_only`: no uid in the provisioner's name. `set_pv_owner_ref`: volumes go with the
    Node object."""

    discovery_period_s: float = 10.0
    use_node_name_only: bool = False
    set_pv_owner_ref: bool = False


class LocalProvisioner:
    """Decider: the local volumes of all nodes."""

    name = "local-volume-provisioner"
    component = "local-volume-provisioner"
    kinds = frozenset({"Node", "StorageClass", "PersistentVolume"})
    queues: Mapping[str, QueueSpec] = {NODES: QueueSpec(workers=100)}

    def __init__(self, clock: Clock, *, options: LocalProvisionerOptions | None = None) -> None:
        self._clock = clock
        self._options = options or LocalProvisionerOptions()
        self.resync_s: float | None = self._options.discovery_period_s
        self._view = View(self.kinds)
        self._declared: dict[str, None] = {}  # nodes that say which disks they have
        self._own: dict[str, dict[str, None]] = {}  # provisioner -> names of its volumes
        self._cleaning: dict[str, int] = {}  # volume -> when wiping ends
        self._told: dict[tuple[str, str], str] = {}  # kind and name -> the problem that was reported last

    # the decider's shape

    def start(self) -> Steps[None]:
        yield from ()

    def observe(self, event: WatchEvent) -> Iterable[WorkItem]:
        old, taken = self._view.observe(event)
        if not taken:
            return
        name, there = event.key.name, event.change is not Change.DELETED
        if event.kind == "PersistentVolume":
            self._index(old, name, there=False)
            if there:
                self._index(event.object, name, there=True)
        elif event.kind == "Node":
            if there and DISKS in annotations_of(event.object):
                self._declared[name] = None
                if old is None:
                    yield WorkItem(NODES, name)  # its provisioner starts with a pass
            else:
                self._declared.pop(name, None)

    def _index(self, volume: PersistentVolume | None, name: str, *, there: bool) -> None:
        owner = annotations_of(volume).get(ANN_PROVISIONED_BY) if volume is not None else None
        if owner is None or volume is None or volume.spec is None or volume.spec.local is None:
            return
        if there:
            self._own.setdefault(owner, {})[name] = None
        else:
            self._own.get(owner, {}).pop(name, None)

    def work(self, item: WorkItem) -> Steps[Done | Requeue]:
        node: Node | None = self._view.get("Node", "", item.key)
        if node is None or not serves(node):
            return DONE
        try:
            disks = disks_of(node)
        except InputError as problem:
            yield from self._tell(node, "InvalidLocalDisks", str(problem))
            return DONE
        self._told.pop(("Node", item.key), None)
        owner = self._owner(node)
        yield from self._delete_pass(owner, disks)
        yield from self._discovery_pass(node, owner, disks)
        return DONE

    def resync(self) -> Iterable[WorkItem]:
        return [WorkItem(NODES, name) for name in sorted(self._declared)]

    def wake_at_ns(self) -> int | None:
        return None

    def wake(self, now_ns: int) -> Iterable[WorkItem]:
        return ()

    def _owner(self, node: Node) -> str:
        name = f"{self.name}-{meta(node).name}"
        return name if self._options.use_node_name_only else f"{name}-{uid_of(node)}"

    def _volumes_of(self, owner: str) -> Iterator[PersistentVolume]:
        for name in sorted(self._own.get(owner, ())):
            volume: PersistentVolume | None = self._view.get("PersistentVolume", "", name)
            if volume is not None:
                yield volume

    def _tell(self, obj: Any, reason: str, text: str, *, kind: Literal["Normal", "Warning"] = "Warning") -> Steps[None]:
        """Report a mistake of an admin, once."""
        key = (type(obj).__name__, meta(obj).name or "")
        if self._told.get(key) != text:
            self._told[key] = text
            yield Emit(obj, kind, reason, text)

    # delete

    def _delete_pass(self, owner: str, disks: list[Disk]) -> Steps[None]:
        by_path = {disk.path: disk for disk in disks}
        for volume in list(self._volumes_of(owner)):
            phase = volume.status.phase if volume.status else None
            if phase != "Released" or is_deleting(volume) or volume.spec is None or volume.spec.local is None:
                continue
            policy = volume.spec.persistentVolumeReclaimPolicy
            if policy == "Delete":
                yield from self._reclaim(owner, volume, by_path.get(volume.spec.local.path), path=volume.spec.local.path)
            elif policy == "Recycle":
                text = "Volume has unsupported PersistentVolumeReclaimPolicy: Recycle"
                yield Emit(volume, "Warning", "VolumeUnsupportedReclaimPolicy", text, source=owner)
            elif policy != "Retain":
                text = "Volume has unrecognized PersistentVolumeReclaimPolicy"
                yield Emit(volume, "Warning", "VolumeUnknownReclaimPolicy", text, source=owner)

    def _reclaim(self, owner: str, volume: PersistentVolume, disk: Disk | None, *, path: str) -> Steps[None]:
        name, now = meta(volume).name or "", self._clock.now_ns()
        if disk is None:
            self._cleaning.pop(name, None)
            yield self._failed(owner, volume, f"failed to get volume mode of path {quoted(path)}: no such disk on the node")
            return
        ends = self._cleaning.get(name)
        if ends is not None and now < ends:
            return
        if ends is not None:
            del self._cleaning[name]
            if not disk.clean_error:
                try:
                    yield Delete("PersistentVolume", "", name, uid=uid_of(volume))
                except NotFoundError:
                    return
                except ApiError as problem:
                    yield self._failed(owner, volume, str(problem))
                return
            yield self._failed(owner, volume, disk.clean_error)
        if disk.type == BLOCK:
            text = f"Starting cleanup of Block PV {quoted(name)}, this may take a while"
            yield Emit(volume, "Normal", "VolumeDelete", text, source=owner)
        self._cleaning[name] = now + round(disk.clean_s * NS_PER_S)

    @staticmethod
    def _failed(owner: str, volume: PersistentVolume, text: str) -> Emit:
        return Emit(volume, "Warning", "VolumeFailedDelete", f"Error cleaning PV {quoted(meta(volume).name)}: {text}", source=owner)

    # discover

    def _discovery_pass(self, node: Node, owner: str, disks: list[Disk]) -> Steps[None]:
        failure: ApiError | None = None
        for storage_class in self._view.all("StorageClass"):
            discovery = yield from self._discovery_of(storage_class)
            if discovery is None:
                continue
            for disk in filter(discovery.takes, disks):
                try:
                    yield from self._discover(node, owner, storage_class, discovery, disk)
                except ApiError as problem:
                    failure = failure or problem
        if failure is not None:
            raise failure

    def _discovery_of(self, storage_class: StorageClass) -> Steps[Discovery | None]:
        """How a class is discovered; None when it is not, or when that is not possible, which is told."""
        try:
            discovery = discovery_of(storage_class)
        except InputError as problem:
            yield from self._tell(storage_class, "InvalidLocalDiscovery", str(problem))
            return None
        if discovery is None or storage_class.provisioner != NO_PROVISIONER:
            return None
        policy = storage_class.reclaimPolicy or "Delete"
        if policy not in ("Retain", "Delete"):
            which = f"from storage class {quoted(meta(storage_class).name)}, supported policy are Retain and Delete"
            yield from self._tell(storage_class, "InvalidLocalDiscovery", f"unsupported ReclaimPolicy {quoted(policy)} {which}")
            return None
        return discovery

    def _discover(self, node: Node, owner: str, storage_class: StorageClass, discovery: Discovery, disk: Disk) -> Steps[None]:
        name = local_volume_name(disk.file, meta(node).name or "", meta(storage_class).name or "")
        hostname = labels_of(node).get(HOSTNAME)
        if self._view.get("PersistentVolume", "", name) is not None or name in self._cleaning or self._is_taken(owner, disk):
            return
        if disk.type == DIRECTORY or (disk.type != BLOCK and discovery.volume_mode == "Block"):
            return  # not a mount point, or a file system where devices are wanted
        if hostname is None:
            yield from self._tell(node, "InvalidLocalDisks", f"Node does not have expected label {HOSTNAME}")
            return
        wanted = _volume(node, owner, storage_class, discovery, disk, name=name, hostname=hostname)
        if self._options.set_pv_owner_ref:
            reference = OwnerReference(apiVersion="v1", kind="Node", name=meta(node).name or "", uid=uid_of(node))
            meta(wanted).ownerReferences = [reference]
        try:
            self._view.put((yield Create(wanted)))
        except AlreadyExistsError:
            return  # somebody else's volume of this name

    def _is_taken(self, owner: str, disk: Disk) -> bool:
        """Whether a volume of the same provisioner stands on the disk already, of another class perhaps."""
        return any(volume.spec and volume.spec.local and volume.spec.local.path == disk.path for volume in self._volumes_of(owner))


def _volume(
    node: Node, owner: str, storage_class: StorageClass, discovery: Discovery, disk: Disk, *, name: str, hostname: str
) -> PersistentVolume:
    here = NodeSelectorTerm(matchExpressions=[NodeSelectorRequirement(key=HOSTNAME, operator="In", values=[hostname])])
    return PersistentVolume(
        apiVersion="v1",
        kind="PersistentVolume",
        metadata=ObjectMeta(name=name, annotations={ANN_PROVISIONED_BY: owner}),
        spec=PersistentVolumeSpec(
            accessModes=[discovery.access_mode],
            capacity={"storage": str(Quantity.of_bytes(rounded_down(disk.size_bytes)))},
            local=LocalVolumeSource(path=disk.path, fsType=discovery.fs_type or None),
            mountOptions=list(storage_class.mountOptions or ()) or None,
            # any of the terms will do: a further one lets the volume be reached from nodes that do not have it
            nodeAffinity=VolumeNodeAffinity(required=NodeSelector(nodeSelectorTerms=[here, *discovery.terms])),
            persistentVolumeReclaimPolicy=storage_class.reclaimPolicy or "Delete",
            storageClassName=meta(storage_class).name,
            volumeMode=discovery.volume_mode,
        ),
    )
