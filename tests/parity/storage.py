"""What tests about claims and volumes share: the texts of the plugins, a few objects, and a plan in short."""

from __future__ import annotations

from typing import Any

from tests.builders import make_class, make_csidriver, make_node, make_pv
from volsched.engine import Decision

AFFINITY = "node(s) didn't match PersistentVolume's node affinity"
BIND = "node(s) didn't find available persistent volumes to bind"
ROOM = "node(s) did not have enough free storage"
GONE = "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)"
IMMEDIATE = "pod has unbound immediate PersistentVolumeClaims"
RWOP = "node(s) unavailable due to PersistentVolumeClaim with ReadWriteOncePod access mode already in-use by another pod"
LIMIT = "node(s) exceed max volume count"
NO_ZONE = "node(s) had no available volume zone"

LOCAL = make_class(provisioner="kubernetes.io/no-provisioner")
DYNAMIC = make_class()
TRACKED = make_csidriver(storage_capacity=True)
NODES = [make_node("n1", zone="a"), make_node("n2", zone="b")]


def free(name: str, **rest: Any) -> Any:
    """A volume that waits for a claim."""
    return make_pv(name, **{"phase": "Available", **rest})


def bindings(decision: Decision, node: str) -> list[tuple[str, str]]:
    """Claims that would get existing volumes on a node."""
    return [(item.claim, item.volume) for item in decision.volumes(node).bind]


def provisions(decision: Decision, node: str) -> list[tuple[str, str | None]]:
    """Claims that would be provisioned on a node, and the capacity object that vouches for each."""
    return [(item.claim, item.capacity) for item in decision.volumes(node).provision]


def volume_scores(decision: Decision) -> dict[str, int]:
    """What VolumeBinding adds to the total of each node."""
    return {node: plugins.get("VolumeBinding", 0) for node, plugins in decision.scores().items()}
