"""Two outcomes side by side."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from volsched.api.kinds import Json, Key
from volsched.app.whatif.settle import Outcome
from volsched.app.whatif.storage import StorageReport


class Move(NamedTuple):
    """A pod whose place is another one afterwards. node, zone: empty where it waits. message: why it waits then."""

    pod: Key
    node_before: str
    zone_before: str
    node: str
    zone: str
    message: str

    def as_json(self) -> dict[str, Json]:
        rest = {name: value or None for name, value in self._asdict().items() if name != "pod"}
        return {"pod": f"{self.pod.namespace}/{self.pod.name}"} | rest


@dataclass(frozen=True)
class Comparison:
    """moved: from one node to another. stuck: had a node, and has none. freed: waited, and has a node. waiting: waits before and after,
    or came with the change. gone: went with its node, or was deleted."""

    moved: Sequence[Move]
    stuck: Sequence[Move]
    freed: Sequence[Move]
    waiting: Sequence[Move]
    gone: Sequence[Key]
    new: Sequence[Move]
    nodes: tuple[int, int]
    storage: tuple[StorageReport, StorageReport]

    def reasons(self) -> list[tuple[str, int]]:
        """Messages of all pods that wait afterwards, the most frequent first."""
        return Counter(move.message for move in (*self.stuck, *self.waiting)).most_common()

    def as_json(self) -> dict[str, Json]:
        before, after = self.storage
        return {
            "nodes": {"before": self.nodes[0], "after": self.nodes[1]},
            "moved": [move.as_json() for move in self.moved],
            "stuck": [move.as_json() for move in self.stuck],
            "freed": [move.as_json() for move in self.freed],
            "waiting": [move.as_json() for move in self.waiting],
            "new": [move.as_json() for move in self.new],
            "gone": [f"{key.namespace}/{key.name}" for key in self.gone],
            "storage": {"before": before.as_json(), "after": after.as_json()},
        }


def compare(before: Outcome, after: Outcome, storage: tuple[StorageReport, StorageReport]) -> Comparison:
    """Who is elsewhere afterwards, by name."""
    found: dict[str, list[Move]] = {"moved": [], "stuck": [], "freed": [], "waiting": [], "new": []}
    for key in sorted(after.node):
        was, now = before.node.get(key), after.node[key]
        move = Move(key, was or "", before.world.zone_of(was), now or "", after.world.zone_of(now), after.message.get(key, ""))
        if key not in before.node and now:
            found["new"].append(move)
        elif now is None:
            found["stuck" if was else "waiting"].append(move)
        elif was is None:
            found["freed"].append(move)
        elif was != now:
            found["moved"].append(move)
    gone = sorted(set(before.node) - set(after.node))
    counts = (len(before.world.nodes), len(after.world.nodes))
    return Comparison(gone=gone, nodes=counts, storage=storage, **found)
