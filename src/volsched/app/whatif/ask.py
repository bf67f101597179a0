"""The questions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from lightkube.models.core_v1 import Pod

from volsched.api.edit import replace, with_spec
from volsched.api.kinds import Json, key_of
from volsched.app.whatif.changes import Change, Warn, applied, copied
from volsched.app.whatif.compare import Comparison, compare
from volsched.app.whatif.settle import Outcome, Prepared, place, settle
from volsched.app.whatif.storage import storage_of
from volsched.app.whatif.world import World
from volsched.errors import InputError
from volsched.rules.volumes import claim_names

MORE_MAX: Final = 100_000
NODES_MAX: Final = 10_000
_STEP: Final = 256


def _silent(_: str) -> None:
    """No warnings."""


def what_if(world: World, changes: Sequence[Change], *, warn: Warn = _silent) -> Comparison:
    """The world as it is against the world after the changes, every pod placed in both. Raises InputError where a change does not fit."""
    changed = applied(world, changes, warn=warn)
    before, after = settle(world), settle(changed)
    return compare(before, after, (storage_of(before.world), storage_of(after.world)))


@dataclass(frozen=True)
class ZoneLoss:
    """What the loss of a zone does. pods: those that lose their node. stuck: pods that had a node and get none, by message."""

    zone: str
    nodes: int
    pods: int
    stuck: Mapping[str, int]
    stranded: int
    stranded_bytes: int

    def as_json(self) -> dict[str, Json]:
        return {
            "zone": self.zone,
            "nodes": self.nodes,
            "pods": self.pods,
            "stuck": sum(self.stuck.values()),
            "reasons": dict(self.stuck),
            "stranded_volumes": self.stranded,
            "stranded_bytes": self.stranded_bytes,
        }


def zone_losses(world: World, changes: Sequence[Change] = (), *, warn: Warn = _silent) -> list[ZoneLoss]:
    """For each zone of the world after the changes: what if all its nodes were gone. Those that hurt most come first."""
    prepared = Prepared.of(applied(world, changes, warn=warn))
    before = prepared.without_nodes(()).settled()
    held = {row.volume for row in storage_of(before.world).stranded}
    found = []
    for zone, names in prepared.world.zones.items():
        after = prepared.without_nodes(names).settled()
        there = set(names)
        lost = [key for key, node in before.node.items() if node in there and key in after.node]
        stuck = Counter(after.message[key] for key in after.waiting if before.node.get(key))
        stranded = [row for row in storage_of(after.world).stranded if row.volume not in held]
        found.append(ZoneLoss(zone, len(names), len(lost), dict(stuck.most_common()), len(stranded), sum(row.bytes for row in stranded)))
    return sorted(found, key=lambda loss: (-sum(loss.stuck.values()), -loss.stranded_bytes, loss.zone))


def _again(pod: Pod) -> Pod:
    """The pod as its owner would make it again."""
    return replace(with_spec(pod, nodeName=None), status=None)


@dataclass(frozen=True)
class Room:
    """How many more of a pod fit. nodes: how many on each node, by name. message: why not one more, empty when the limit was reached."""

    count: int
    nodes: Mapping[str, int]
    zones: Mapping[str, int]
    message: str

    def as_json(self) -> dict[str, Json]:
        return {"count": self.count, "nodes": dict(self.nodes), "zones": dict(self.zones), "message": self.message or None}


def how_many(
    world: World, templates: Sequence[Any], changes: Sequence[Change] = (), *, limit: int = MORE_MAX, warn: Warn = _silent
) -> Room:
    """How many more copies of a pod, each with claims of its own, the world takes after the changes.

    templates: one Pod, and its claims as PersistentVolumeClaims. Claims that are named and not given are shared by all copies.
    Raises InputError for templates that are something else.
    """
    pods = [obj for obj in templates if key_of(obj).kind == "Pod"]
    if len(pods) != 1:
        raise InputError(f"one Pod is wanted, {len(pods)} are given; its claims come beside it")
    others = sorted({key_of(obj).kind for obj in templates} - {"Pod", "PersistentVolumeClaim"})
    if others:
        raise InputError(f"a {others[0]} is given; only a Pod and its PersistentVolumeClaims are copied")
    ephemeral = [volume for volume, _, is_ephemeral in claim_names(pods[0]) if is_ephemeral]
    if ephemeral:
        raise InputError(f"volume {ephemeral[0]} of the Pod is ephemeral; give its claim as a PersistentVolumeClaim beside the Pod")
    template = [_again(obj) if key_of(obj).kind == "Pod" else obj for obj in templates]
    settled = settle(applied(world, changes, warn=warn))
    engine, on, message = settled.engine, Counter[str](), ""
    while sum(on.values()) < limit and not message:
        first = sum(on.values()) + 1
        copies = list(copied(template, min(_STEP, limit - first + 1), first=first))
        for obj in copies:
            if key_of(obj).kind != "Pod":
                engine.upsert(obj)
        fresh = [obj for obj in copies if key_of(obj).kind == "Pod"]
        node, messages = place(engine, fresh)
        for pod in fresh:  # one that does not fit ends it: the next would be asked about a fuller cluster
            if (place_of := node[key_of(pod)]) is None:
                message = messages[key_of(pod)]
                break
            on[place_of] += 1
    zones = Counter[str]()
    for name, count in on.items():
        zones[settled.world.zone_of(name)] += count
    return Room(sum(on.values()), dict(sorted(on.items())), dict(sorted(zones.items())), message)


@dataclass(frozen=True)
class Needed:
    """How many copies of a node it takes. count: None when not even the limit is enough. waiting: pods that wait for other reasons."""

    count: int | None
    limit: int
    waiting_before: int
    waiting: int
    reasons: Sequence[tuple[str, int]]

    def as_json(self) -> dict[str, Json]:
        rows: list[Json] = [{"message": text, "pods": count} for text, count in self.reasons]
        return {
            "count": self.count,
            "limit": self.limit,
            "waiting_before": self.waiting_before,
            "waiting": self.waiting,
            "reasons": rows,
        }


def until_fits(
    world: World,
    shape: Sequence[Any],
    changes: Sequence[Change] = (),
    *,
    limit: int = NODES_MAX,
    warn: Warn = _silent,
    progress: Callable[[str], None] = _silent,
) -> Needed:
    """The fewest copies of a node, with its CSINode, disks and pools, with which every pod finds a node, volumes included.

    shape: one Node and what belongs to it. Found by doubling, then halving: more nodes are taken never to leave more pods without one.
    Raises InputError for a shape without a Node.
    """
    nodes = [obj for obj in shape if key_of(obj).kind == "Node"]
    if len(nodes) != 1:
        raise InputError(f"one Node is wanted, {len(nodes)} are given; its CSINode, volumes and capacity objects come beside it")
    start = applied(world, changes, warn=warn)
    tried: dict[int, Outcome] = {}

    def waiting(count: int) -> int:
        if count not in tried:
            progress(f"trying {count:,} more {'node' if count == 1 else 'nodes'}")
            tried.clear()  # one outcome at a time: each holds an engine
            tried[count] = settle(start.having(copied(shape, count)) if count else start)
        return len(tried[count].waiting)

    before = waiting(0)
    high = 0
    while waiting(high) and high < limit:
        high = min(max(1, high * 2), limit)
    low = high // 2 if high > 1 else 0
    if not waiting(high):
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if not waiting(middle) else (middle, high)
        return Needed(high, limit, before, 0, ())
    reasons = Counter(tried[high].message.values()).most_common()
    return Needed(None, limit, before, waiting(high), reasons)
