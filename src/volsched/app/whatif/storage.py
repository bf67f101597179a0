"""Storage of a world: what no node reaches, and how the rest lies in pieces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from volsched.api.edit import labels_of
from volsched.api.kinds import Json, Key, key_of, meta
from volsched.app.whatif.world import World
from volsched.rules.capacity import published, volume_bytes
from volsched.rules.selectors import match_labels
from volsched.rules.topology import pv_reachable
from volsched.rules.volumes import claim_names, class_of, pod_terminated


class Stranded(NamedTuple):
    """A volume that no node reaches. claim: `namespace/name`, empty for a free one. pods: who uses that claim."""

    volume: str
    storage_class: str
    bytes: int
    claim: str
    pods: tuple[str, ...]

    def as_json(self) -> dict[str, Json]:
        return self._asdict() | {"claim": self.claim or None, "pods": list(self.pods)}


@dataclass
class Pieces:
    """Room of one class that some node reaches: free volumes and what capacity objects publish, each a piece."""

    sizes: list[int] = field(default_factory=list)

    @property
    def total(self) -> int:
        return sum(self.sizes)

    @property
    def largest(self) -> int:
        return max(self.sizes, default=0)

    @property
    def fragmentation(self) -> float:
        """The share of the room that is outside the largest piece: 0 in one piece, near 1 in many small ones."""
        return 1 - self.largest / self.total if self.total else 0.0

    def as_json(self) -> dict[str, Json]:
        rounded = round(self.fragmentation, 6)
        return {"pieces": len(self.sizes), "bytes": self.total, "largest_bytes": self.largest, "fragmentation": rounded}


@dataclass(frozen=True)
class StorageReport:
    """stranded: volumes out of reach, by name. free: by class. lost_pools: capacity objects without a node, and their bytes."""

    stranded: Sequence[Stranded]
    free: Mapping[str, Pieces]
    lost_pools: int
    lost_pool_bytes: int

    @property
    def stranded_bytes(self) -> int:
        return sum(row.bytes for row in self.stranded)

    def as_json(self) -> dict[str, Json]:
        return {
            "stranded": [row.as_json() for row in self.stranded],
            "stranded_bytes": self.stranded_bytes,
            "free": {name: pieces.as_json() for name, pieces in self.free.items()},
            "pools_without_nodes": self.lost_pools,
            "pools_without_nodes_bytes": self.lost_pool_bytes,
        }


def storage_of(world: World) -> StorageReport:
    """Volumes and pools against the nodes there are. Nodes with the same labels answer alike and are asked once."""
    faces = list({tuple(sorted(labels_of(node).items())): dict(labels_of(node)) for node in world.nodes.values()}.values())
    users = _users(world)
    stranded: list[Stranded] = []
    free: dict[str, Pieces] = {}
    for volume in world.all("PersistentVolume"):
        claim = volume.spec.claimRef
        key = Key("PersistentVolumeClaim", claim.namespace or "", claim.name or "") if claim is not None else None
        if not any(pv_reachable(volume, labels) for labels in faces):
            owner = f"{key.namespace}/{key.name}" if key else ""
            pods = tuple(users.get(key, ())) if key else ()
            stranded.append(Stranded(key_of(volume).name, class_of(volume), volume_bytes(volume), owner, pods))
        elif key is None and volume.status.phase == "Available":
            free.setdefault(class_of(volume), Pieces()).sizes.append(volume_bytes(volume))
    lost = lost_bytes = 0
    for pool in world.all("CSIStorageCapacity"):
        room = published(pool).capacity or 0
        if any(match_labels(pool.nodeTopology, labels) for labels in faces if pool.nodeTopology is not None):
            free.setdefault(pool.storageClassName, Pieces()).sizes.append(room)
        else:
            lost, lost_bytes = lost + 1, lost_bytes + room
    return StorageReport(sorted(stranded), dict(sorted(free.items())), lost, lost_bytes)


def _users(world: World) -> dict[Key, list[str]]:
    found: dict[Key, list[str]] = {}
    for pod in world.all("Pod"):
        if not pod_terminated(pod):
            for name in dict.fromkeys(_claims(pod)):
                found.setdefault(Key("PersistentVolumeClaim", meta(pod).namespace or "default", name), []).append(key_of(pod).name)
    return found


def _claims(pod: Any) -> list[str]:
    return [claim for _, claim, _ in claim_names(pod)]
