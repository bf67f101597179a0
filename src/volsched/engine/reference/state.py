"""The cluster as the reference engine knows it: objects by kind, assumed copies over them, pods by node, nodes in order.

    informer object ──stored[key]──┐
                                   ├──get──> the stored object with the latest assumption laid over it
    assume ─────────edits[key]─────┘         a stored object of another resourceVersion drops all assumptions for good

Volumes and claims have this overlay, as VolumeBinding's assume caches do; the other plugins read what is stored. Versions are compared for
equality only. Several assumptions on one object pile up, the latest counts, and forgetting one leaves the others.

Source: pkg/scheduler/framework/plugins/volumebinding/assume_cache.go, pkg/scheduler/backend/cache/{cache,node_tree}.go;
spec/scheduling.md 5, 9.2, 12.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, Generic, TypeVar

from lightkube.models.apps_v1 import ReplicaSet, StatefulSet
from lightkube.models.core_v1 import (
    Namespace,
    Node,
    PersistentVolume,
    PersistentVolumeClaim,
    Pod,
    ReplicationController,
    Service,
)
from lightkube.models.storage_v1 import CSIDriver, CSINode, CSIStorageCapacity, StorageClass, VolumeAttachment

from volsched.api.edit import labels_of
from volsched.api.kinds import Object, key_of
from volsched.engine.reference.framework import ImageState, NodeInfo, PodInfo, Snapshot
from volsched.errors import EngineError
from volsched.rules.topology import BETA_REGION, BETA_ZONE, REGION, ZONE
from volsched.rules.volumes import pod_terminated

T = TypeVar("T")
Name = tuple[str, str]  # namespace (empty for cluster-scoped kinds), name

_ZONE_SEPARATOR: Final = ":\x00:"


def _version(obj: object) -> str:
    metadata = getattr(obj, "metadata", None)
    return (metadata.resourceVersion if metadata else None) or ""


class AssumeCache(Generic[T]):
    """Stored objects of one kind with assumptions over them: edits, by the number of the assumption."""

    def __init__(self) -> None:
        self._stored: dict[Name, T] = {}
        self._edits: dict[Name, dict[int, Callable[[T], T]]] = {}  # oldest first
        self._edited: dict[Name, T] = {}  # the stored object after the last of its edits

    def upsert(self, key: Name, obj: T) -> None:
        """Take a stored object; assumptions made on another version of it are gone."""
        if key not in self._stored or _version(self._stored[key]) != _version(obj):
            self._edits.pop(key, None)
        self._stored[key] = obj
        self._edit(key)

    def remove(self, key: Name) -> None:
        self._stored.pop(key, None)
        self._edits.pop(key, None)
        self._edit(key)

    def _edit(self, key: Name) -> None:
        edits = self._edits.get(key)
        if edits:
            self._edited[key] = list(edits.values())[-1](self._stored[key])
        else:
            self._edited.pop(key, None)

    def stored(self, key: Name) -> T | None:
        """The object as the API server has it."""
        return self._stored.get(key)

    def get(self, key: Name) -> T | None:
        """The object with assumptions applied."""
        return self._edited.get(key, self._stored.get(key))

    def all(self) -> Iterator[T]:
        """Every object with assumptions applied, by name."""
        for key in sorted(self._stored):
            found = self.get(key)
            assert found is not None
            yield found

    def assume(self, key: Name, number: int, seen: T, edit: Callable[[T], T]) -> None:
        """Lay an edit over the stored object. Raises EngineError unless `seen`, what it was decided on, is the stored version."""
        stored = self._stored.get(key)
        label = "/".join(part for part in key if part)
        if stored is None:
            raise EngineError(f'"{label}" cannot be assumed: the engine does not know it')
        if _version(stored) != _version(seen):
            raise EngineError(f'"{label}" is out of sync (stored: {_version(stored)}, assume: {_version(seen)})')
        self._edits.setdefault(key, {})[number] = edit
        self._edit(key)

    def restore(self, key: Name, number: int) -> None:
        """Take an assumption back; nothing happens when the object has moved on since."""
        edits = self._edits.get(key)
        if edits is not None and edits.pop(number, None) is not None:
            if not edits:
                del self._edits[key]
            self._edit(key)


class NodeTree:
    """Nodes by zone, and the order in which they are visited: the first of each zone, then the second of each, and so on.

    The order is made anew by the first decision that finds other nodes than the last one did. So a node that changes its zone, or goes and
    is back by then, keeps its place until another comes or goes.
    """

    def __init__(self) -> None:
        self._zones: dict[str, list[str]] = {}
        self._zone_of: dict[str, str] = {}
        self._listed: list[str] = []

    @staticmethod
    def zone_key(node: Node) -> str:
        """Region and zone of a node as one key; the beta label wins over the GA one if it is there at all."""
        labels = labels_of(node)
        region = labels[BETA_REGION] if BETA_REGION in labels else labels.get(REGION, "")
        zone = labels[BETA_ZONE] if BETA_ZONE in labels else labels.get(ZONE, "")
        return f"{region}{_ZONE_SEPARATOR}{zone}" if region or zone else ""

    def upsert(self, name: str, node: Node) -> None:
        """Add a node, or move it to its new zone."""
        zone = self.zone_key(node)
        known = self._zone_of.get(name)
        if known == zone:
            return
        if known is not None:
            self._leave(name)
        self._zones.setdefault(zone, []).append(name)
        self._zone_of[name] = zone

    def remove(self, name: str) -> None:
        if name in self._zone_of:
            self._leave(name)

    def order(self) -> list[str]:
        """As the next decision would have it."""
        if set(self._listed) == self._zone_of.keys():
            return list(self._listed)
        rows = max((len(names) for names in self._zones.values()), default=0)
        return [names[row] for row in range(rows) for names in self._zones.values() if row < len(names)]

    def decide(self) -> list[str]:
        """The order for a decision that is now made."""
        self._listed = self.order()
        return list(self._listed)

    def _leave(self, name: str) -> None:
        zone = self._zone_of.pop(name)
        self._zones[zone].remove(name)
        if not self._zones[zone]:
            del self._zones[zone]  # it comes back at the end


class _Images:
    """Images of all nodes: the size that the first node to report one gave, and who has it."""

    def __init__(self) -> None:
        self._sizes: dict[str, int] = {}
        self._holders: dict[str, set[str]] = {}
        self._of_node: dict[str, list[str]] = {}

    def upsert(self, name: str, node: Node) -> None:
        self.remove(name)
        names: list[str] = []
        for image in (node.status.images if node.status else None) or ():
            for image_name in image.names or ():
                self._sizes.setdefault(image_name, image.sizeBytes or 0)
                self._holders.setdefault(image_name, set()).add(name)
                names.append(image_name)
        self._of_node[name] = names

    def remove(self, name: str) -> None:
        for image_name in self._of_node.pop(name, ()):
            holders = self._holders.get(image_name)
            if holders is None:
                continue
            holders.discard(name)
            if not holders:
                del self._holders[image_name]
                del self._sizes[image_name]

    def states(self, name: str) -> dict[str, ImageState]:
        return {image: ImageState(self._sizes[image], len(self._holders[image])) for image in self._of_node.get(name, ())}


class ClusterState:
    """Everything the plugins read. `generation` grows with every object that comes or goes, assumptions included."""

    def __init__(self) -> None:
        self.generation = 0
        self.claims: AssumeCache[PersistentVolumeClaim] = AssumeCache()
        self.volumes: AssumeCache[PersistentVolume] = AssumeCache()
        self.classes: dict[str, StorageClass] = {}
        self.csi_nodes: dict[str, CSINode] = {}
        self.csi_drivers: dict[str, CSIDriver] = {}
        self.capacities: dict[Name, CSIStorageCapacity] = {}
        self.attachments: dict[str, VolumeAttachment] = {}
        self.namespaces: dict[str, Namespace] = {}
        self.services: dict[Name, Service] = {}
        self.replication_controllers: dict[Name, ReplicationController] = {}
        self.replica_sets: dict[Name, ReplicaSet] = {}
        self.stateful_sets: dict[Name, StatefulSet] = {}
        self._nodes: dict[str, Node] = {}
        self._tree = NodeTree()
        self._images = _Images()
        self._node_of_pod: dict[Name, str] = {}
        self._pods: dict[str, list[tuple[Name, PodInfo]]] = {}  # by node name, known or not
        self._rows: dict[str, NodeInfo] = {}  # as last copied; a node that changed since is missing

    # Objects in and out

    def upsert(self, obj: Object) -> None:
        self.generation += 1
        kind, namespace, name = key_of(obj)
        if isinstance(obj, Node):
            self._nodes[name] = obj
            self._tree.upsert(name, obj)
            self._images.upsert(name, obj)
            self._rows.pop(name, None)
        elif isinstance(obj, Pod):
            self._upsert_pod((namespace, name), obj)
        elif isinstance(obj, PersistentVolumeClaim):
            self.claims.upsert((namespace, name), obj)
        elif isinstance(obj, PersistentVolume):
            self.volumes.upsert(("", name), obj)
        elif (table := self._table(kind)) is not None:
            table[self._table_key(kind, namespace, name)] = obj

    def remove(self, kind: str, namespace: str, name: str) -> None:
        self.generation += 1
        if kind == "Node":
            self._nodes.pop(name, None)
            self._tree.remove(name)
            self._images.remove(name)
            self._rows.pop(name, None)
        elif kind == "Pod":
            self.remove_pod((namespace, name))
        elif kind == "PersistentVolumeClaim":
            self.claims.remove((namespace, name))
        elif kind == "PersistentVolume":
            self.volumes.remove(("", name))
        elif (table := self._table(kind)) is not None:
            table.pop(self._table_key(kind, namespace, name), None)

    def _table(self, kind: str) -> dict[object, object] | None:
        tables: dict[str, object] = {
            "StorageClass": self.classes,
            "CSINode": self.csi_nodes,
            "CSIDriver": self.csi_drivers,
            "CSIStorageCapacity": self.capacities,
            "VolumeAttachment": self.attachments,
            "Namespace": self.namespaces,
            "Service": self.services,
            "ReplicationController": self.replication_controllers,
            "ReplicaSet": self.replica_sets,
            "StatefulSet": self.stateful_sets,
        }
        return tables.get(kind)  # type: ignore[return-value]  # one table holds one kind; the caller took the key from the object

    @staticmethod
    def _table_key(kind: str, namespace: str, name: str) -> object:
        namespaced = kind in ("CSIStorageCapacity", "Service", "ReplicationController", "ReplicaSet", "StatefulSet")
        return (namespace, name) if namespaced else name

    # Pods

    def _upsert_pod(self, key: Name, pod: Pod) -> None:
        self.remove_pod(key)
        node = pod.spec.nodeName if pod.spec else None
        if node and not pod_terminated(pod):
            self._node_of_pod[key] = node
            self._pods.setdefault(node, []).append((key, PodInfo(pod)))
            self._rows.pop(node, None)

    def remove_pod(self, key: Name) -> None:
        node = self._node_of_pod.pop(key, None)
        if node is not None:
            pods = self._pods[node]
            place = [name for name, _info in pods].index(key)
            pods[place] = pods[-1]  # as upstream: the last takes the place of the one that leaves
            pods.pop()
            self._rows.pop(node, None)

    def placed_pod(self, key: Name) -> Pod | None:
        """The pod counted under this name, None when no node has it."""
        node = self._node_of_pod.get(key)
        return dict(self._pods[node])[key].pod if node is not None else None

    # Reading

    def node_names(self) -> list[str]:
        return self._tree.order()

    def snapshot(self) -> Snapshot:
        """Rows of all nodes in order, for a decision. Only rows of nodes that changed are made anew, so image counts of others may lag."""
        order = self._tree.decide()
        for name in order:
            if name not in self._rows:
                pods = [info for _name, info in self._pods.get(name, ())]
                self._rows[name] = NodeInfo(self._nodes[name], pods, self._images.states(name))
        return Snapshot([self._rows[name] for name in order], self)

    def claim(self, namespace: str, name: str) -> PersistentVolumeClaim | None:
        """The claim as the API server has it, as every plugin but VolumeBinding's binder reads it."""
        return self.claims.stored((namespace, name))

    def volume(self, name: str) -> PersistentVolume | None:
        """The volume as the API server has it."""
        return self.volumes.stored(("", name))
