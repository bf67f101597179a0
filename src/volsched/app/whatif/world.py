"""The objects of a cluster that is only thought of. A World is never altered; a change makes another one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from lightkube.models.core_v1 import PersistentVolume, PersistentVolumeStatus, Pod

from volsched.api.defaults import with_defaults
from volsched.api.edit import is_deleting, labels_of, replace, with_spec
from volsched.api.kinds import KINDS, Key, key_of, meta
from volsched.rules.volumes import pod_terminated

if TYPE_CHECKING:
    from volsched.app.cluster import Cluster

ZONE_KEYS: Final = ("topology.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/zone")
_MIRROR: Final = "kubernetes.io/config.mirror"
# Nothing the engine decides by.
_UNSEEN: Final = frozenset({"Event", "Secret", "VolumeSnapshot", "VolumeSnapshotContent", "VolumeSnapshotClass", "VolumeGroupSnapshot"})


@dataclass(frozen=True)
class World:
    """Objects by key, in the order in which they came."""

    objects: Mapping[Key, Any]

    @classmethod
    def of(cls, objects: Iterable[Any]) -> World:
        """Of objects, API defaults applied; a later one takes the place of an earlier one with its name."""
        return cls({key_of(obj): settled_in(with_defaults(obj)) for obj in objects})

    @classmethod
    def of_cluster(cls, cluster: Cluster) -> World:
        """What a cluster holds now."""
        return cls({key_of(obj): settled_in(obj) for kind in KINDS if kind not in _UNSEEN for obj in cluster.list(kind)})

    def all(self, kind: str) -> Iterator[Any]:
        """The objects of a kind."""
        return (obj for key, obj in self.objects.items() if key.kind == kind)

    def get(self, kind: str, namespace: str, name: str) -> Any | None:
        return self.objects.get(Key(kind, namespace, name))

    def having(self, objects: Iterable[Any]) -> World:
        """With these added, or in the place of those with their names."""
        return World({**self.objects, **{key_of(obj): settled_in(obj) for obj in objects}})

    def without(self, keys: Iterable[Key]) -> World:
        """Without some, and without what goes with a node: its CSINode."""
        gone = set(keys)
        gone |= {Key("CSINode", "", key.name) for key in gone if key.kind == "Node"}
        return World({key: obj for key, obj in self.objects.items() if key not in gone})

    @cached_property
    def nodes(self) -> dict[str, Any]:
        return {key.name: obj for key, obj in self.objects.items() if key.kind == "Node"}

    @cached_property
    def zones(self) -> dict[str, list[str]]:
        """Names of nodes by zone, zones by name; nodes without one are left out."""
        found: dict[str, list[str]] = {}
        for name in self.nodes:
            if zone := self.zone_of(name):
                found.setdefault(zone, []).append(name)
        return dict(sorted(found.items()))

    def zone_of(self, node: str | None) -> str:
        """Empty for a node without a zone, or that is not there."""
        labels = labels_of(self.nodes[node]) if node in self.nodes else {}
        return next((labels[key] for key in ZONE_KEYS if labels.get(key)), "")

    def with_homeless(self) -> tuple[World, list[Pod]]:
        """Pods of nodes that are not there lose their node, as if their owners had made them again; those that belong to a node, of a
        DaemonSet or static, go with it. And the pods that have to find a node, in the order in which the scheduler would take them."""
        gone: list[Key] = []
        moved: list[Pod] = []
        for pod in self.all("Pod"):
            node = pod.spec.nodeName if pod.spec else None
            if not node or node in self.nodes or pod_terminated(pod):
                continue
            if _is_of_node(pod):
                gone.append(key_of(pod))
            else:
                moved.append(replace(with_spec(pod, nodeName=None), status=None))
        world = self.without(gone).having(moved)
        pending = [pod for pod in world.all("Pod") if not (pod.spec and pod.spec.nodeName) and not pod_terminated(pod)]
        pending.sort(key=lambda pod: (-(pod.spec.priority or 0), str(meta(pod).creationTimestamp or ""), *key_of(pod)))
        return world, pending


def settled_in(obj: Any) -> Any:
    """The object as the volume controller leaves it soon: a new volume that belongs to nobody is available."""
    if not isinstance(obj, PersistentVolume) or obj.spec is None or obj.spec.claimRef is not None or is_deleting(obj):
        return obj
    if obj.status is not None and obj.status.phase not in (None, "Pending"):
        return obj
    return replace(obj, status=replace(obj.status or PersistentVolumeStatus(), phase="Available"))


def _is_of_node(pod: Pod) -> bool:
    owners = meta(pod).ownerReferences or ()
    return any(owner.controller and owner.kind in ("DaemonSet", "Node") for owner in owners) or _MIRROR in (meta(pod).annotations or {})
