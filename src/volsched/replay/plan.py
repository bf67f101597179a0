"""Planned events: what happens to nodes while a trace is replayed, as a YAML (or JSON) file.

    events:
    - {at: 2h, drain: "node-001*", for: 30m}     # cordoned and emptied; back to work after half an hour
    - {at: 5h, lose: zone-b, by: zone, for: 1h}  # every node of the zone gone at once, back after an hour

Verbs: `join` (not there before), `drain`, `uncordon`, `lose`, `return`. What they name is a pattern over node names, or with `by: zone` a
zone. Events of one instant happen in the order of the file.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final, Literal, NamedTuple

import msgspec

from volsched.api.documents import Part
from volsched.errors import InputError
from volsched.replay.distributions import Amount, Strict, as_time
from volsched.replay.options import YamlFile
from volsched.replay.trace import NodeColumns


class Verb(enum.IntEnum):
    """What happens to a node."""

    JOIN = 0
    DRAIN = 1
    UNCORDON = 2
    LOSE = 3
    RETURN = 4


class PlannedEvent(NamedTuple):
    """One verb for one node."""

    time_ns: int
    verb: Verb
    node: int


class _Row(Strict, frozen=True):
    at: Amount
    join: str = ""
    drain: str = ""
    uncordon: str = ""
    lose: str = ""
    return_: str = msgspec.field(name="return", default="")
    by: Literal["name", "zone"] = "name"
    lasting: Amount | None = msgspec.field(name="for", default=None)


class _File(Strict, frozen=True):
    events: tuple[_Row, ...] = ()


_FIELDS: Final[Sequence[tuple[str, Verb, Callable[[_Row], str]]]] = (
    ("join", Verb.JOIN, lambda row: row.join),
    ("drain", Verb.DRAIN, lambda row: row.drain),
    ("uncordon", Verb.UNCORDON, lambda row: row.uncordon),
    ("lose", Verb.LOSE, lambda row: row.lose),
    ("return", Verb.RETURN, lambda row: row.return_),
)
_UNDONE_BY: Final = {Verb.DRAIN: Verb.UNCORDON, Verb.LOSE: Verb.RETURN}
EVENTS_MAX: Final = 1_000_000


def read_plan(path: Path, nodes: NodeColumns) -> list[PlannedEvent]:
    """The events of a file by time, for these nodes. Raises InputError."""
    return plan_of(YamlFile.read(path), nodes)


def plan_of(file: YamlFile, nodes: NodeColumns) -> list[PlannedEvent]:
    """As `read_plan`, of a document."""
    found: list[PlannedEvent] = []
    joining: set[int] = set()
    for at, row in enumerate(file.convert(_File).events):
        path: tuple[Part, ...] = ("events", at)
        given = [(field, verb, of(row)) for field, verb, of in _FIELDS if of(row)]
        if len(given) != 1:
            verbs = ", ".join(field for field, _, _ in _FIELDS)
            raise file.wrong(path, f"an event has exactly one of {verbs}, not {', '.join(field for field, _, _ in given) or 'none'}")
        field, verb, pattern = given[0]
        rows = _matching(nodes, pattern, by_zone=row.by == "zone")
        if not rows:
            raise file.wrong((*path, field), f"no node is {'in zone' if row.by == 'zone' else 'named'} {pattern}")
        time_ns = file.guarded((*path, "at"), as_time, row.at)
        found += [PlannedEvent(time_ns, verb, node) for node in rows]
        if verb is Verb.JOIN:
            twice = joining.intersection(rows)
            if twice:
                raise file.wrong((*path, field), f"node {nodes.names[min(twice)]} joins twice; use `return` after `lose`")
            joining.update(rows)
        if row.lasting is not None:
            if verb not in _UNDONE_BY:
                raise file.wrong((*path, "for"), "is for drain and lose only")
            until_ns = time_ns + file.guarded((*path, "for"), as_time, row.lasting)
            found += [PlannedEvent(until_ns, _UNDONE_BY[verb], node) for node in rows]
        if len(found) > EVENTS_MAX:
            raise InputError(f"stands for more than {EVENTS_MAX} events, one a node", source=file.source)
    return sorted(found, key=lambda event: event.time_ns)


def _matching(nodes: NodeColumns, pattern: str, *, by_zone: bool) -> list[int]:
    names = nodes.zones if by_zone else nodes.names
    return [row for row, name in enumerate(names) if (name == pattern if by_zone else fnmatchcase(name, pattern))]
