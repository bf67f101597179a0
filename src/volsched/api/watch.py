"""What a watch delivers."""

from __future__ import annotations

import enum
from typing import Any, NamedTuple

from volsched.api.kinds import Key, key_of


class Change(enum.Enum):
    """Kind of change, by the names of the watch protocol."""

    ADDED = "ADDED"
    MODIFIED = "MODIFIED"
    DELETED = "DELETED"


class WatchEvent(NamedTuple):
    """One change of one object. `object` is its state after the change; for DELETED its last state, with the version of the deletion."""

    change: Change
    kind: str
    object: Any
    resource_version: int

    @property
    def key(self) -> Key:
        return key_of(self.object)
