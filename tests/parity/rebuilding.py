"""A fresh engine given the objects that a history of events has left.

One thing of a history cannot be left out: the order in which nodes are visited. Upstream keeps a tree of zones, each with its nodes in
order of arrival, and makes its list from it only when a decision finds that nodes have come or gone; a node that merely changes its zone
moves in the tree at once and in the list later (spec/scheduling.md 9.2). `Arrivals` remembers just as much of that history as a fresh
engine has to be told: the nodes in the order of the list and what has happened to the tree since.

Rows are packed once an object, as the facade would pack them each time: what is compared is what engines make of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from lightkube.models.core_v1 import Node, Pod

from tests.builders import make_pod
from volsched.api.defaults import with_defaults
from volsched.api.edit import labels_of
from volsched.api.kinds import kind_of, meta
from volsched.engine import Engine, _core, _rows
from volsched.engine.decision import SchedulingEngine
from volsched.engine.native import NativeDecision
from volsched.engine.profile import DEFAULT_PROFILE, EngineProfile
from volsched.engine.profile_row import profile_row
from volsched.rules.topology import BETA_REGION, BETA_ZONE, REGION, ZONE

_PACKED: Final[Mapping[str, tuple[str, Callable[[Any], bytes]]]] = {
    "Node": ("put_node", _rows.node_row),
    "PersistentVolume": ("put_volume", _rows.volume_row),
    "PersistentVolumeClaim": ("put_claim", _rows.claim_row),
    "StorageClass": ("put_class", _rows.class_row),
    "CSINode": ("put_csi_node", _rows.csi_node_row),
    "CSIDriver": ("put_csi_driver", _rows.csi_driver_row),
    "CSIStorageCapacity": ("put_capacity", _rows.capacity_row),
    "VolumeAttachment": ("put_attachment", _rows.attachment_row),
    "Namespace": ("put_namespace", _rows.namespace_row),
    "Service": ("put_service", _rows.service_row),
    "ReplicationController": ("put_controller", _rows.controller_row),
    "ReplicaSet": ("put_controller", _rows.controller_row),
    "StatefulSet": ("put_controller", _rows.controller_row),
}
_ANY_POD: Final[Pod] = with_defaults(make_pod("any"))  # a decision on it makes an engine take its list of nodes


class Rows:
    """Packed rows by object. Objects are told apart by identity: a changed object is another one."""

    def __init__(self) -> None:
        self._packed: dict[int, tuple[Any, str, tuple[bytes, ...]]] = {}

    def of(self, obj: Any) -> tuple[str, tuple[bytes, ...]]:
        """The native call that takes the object in, and its arguments."""
        known = self._packed.get(id(obj))
        if known is None:
            if isinstance(obj, Pod):
                call, rows = "put_pod", (_rows.program_row(obj), _rows.instance_row(obj), _rows.usage_row(obj))
            else:
                call, encode = _PACKED[kind_of(obj).name]
                rows = (encode(obj),)
            known = self._packed[id(obj)] = (obj, call, rows)  # holding the object keeps its id from being given to another
        return known[1], known[2]


def zone_of(node: Node) -> tuple[str, str]:
    """What upstream tells zones apart by: region and zone, of which the beta label speaks if it is there at all."""
    labels = labels_of(node)
    return labels.get(BETA_REGION, labels.get(REGION, "")), labels.get(BETA_ZONE, labels.get(ZONE, ""))


class Arrivals:
    """What the visiting order of nodes owes to history."""

    def __init__(self) -> None:
        self._tree: dict[tuple[str, str], dict[str, Node]] = {}  # nodes as they were when they came to the zone
        self._zone: dict[str, tuple[str, str]] = {}
        self._listed: list[Node] = []  # zone after zone
        self._since: list[Node | str] = []  # how the tree has changed: a node that came or moved, the name of one that went

    def put(self, node: Node) -> None:
        name, zone = meta(node).name or "", zone_of(node)
        if self._zone.get(name) == zone:
            return
        if name in self._zone:
            self._leave(name)
        self._zone[name] = zone
        self._tree.setdefault(zone, {})[name] = node
        self._since.append(node)

    def drop(self, name: str) -> None:
        if name in self._zone:
            self._leave(name)
            self._since.append(name)

    def _leave(self, name: str) -> None:
        zone = self._zone.pop(name)
        del self._tree[zone][name]
        if not self._tree[zone]:
            del self._tree[zone]

    def _in_order(self) -> list[Node]:
        return [node for nodes in self._tree.values() for node in nodes.values()]

    def _is_due(self) -> bool:
        return {meta(node).name for node in self._listed} != self._zone.keys()

    def decided(self) -> None:
        """A decision was made: the list is made anew if nodes have come or gone since the last one."""
        if self._is_due():
            self._listed, self._since = self._in_order(), []

    def replay(self) -> tuple[list[Node], list[Node | str]]:
        """What a fresh engine has to be told so that its next decision visits nodes in the same order: nodes that come before a first
        decision, and what happens after it."""
        return (self._in_order(), []) if self._is_due() else (self._listed, self._since)

    def replay_on(self, engine: SchedulingEngine, put: Callable[[Node], None]) -> None:
        """Do so; `put` gives the engine a node."""
        before, after = self.replay()
        for node in before:
            put(node)
        if after:
            engine.decide(_ANY_POD)
        for change in after:
            if isinstance(change, str):
                engine.remove("Node", "", change)
            else:
                put(change)


def rebuilt(arrivals: Arrivals, objects: Iterable[Any], rows: Rows, *, tie_break: str) -> Engine:
    """A native engine that has seen nothing but what is left. `objects` hold the nodes as they are now."""
    engine = Engine(tie_break=tie_break)  # type: ignore[arg-type]
    core = engine._core

    def put(obj: Any) -> None:
        call, packed = rows.of(obj)
        getattr(core, call)(*packed)

    arrivals.replay_on(engine, put)
    for obj in objects:
        put(obj)
    return engine


def packed_profile(profile: EngineProfile) -> bytes | None:
    """As `decided` takes it; None for the default one."""
    return None if profile == DEFAULT_PROFILE else profile_row(profile)


def decided(engine: Engine, pod: Pod, rows: Rows, profile: bytes | None) -> NativeDecision:
    """A decision by packed rows."""
    _call, (program, instance, _usage) = rows.of(pod)
    handle = _core.default_profile() if profile is None else engine._core.profile(profile)
    return NativeDecision(engine._core.decide(program, instance, None, handle), pod)


def in_slot_order(slots: Mapping[str, Iterable[Pod]]) -> Iterator[Pod]:
    """Pods by node, each node's in the order in which upstream holds them."""
    for node in sorted(slots):
        yield from slots[node]
