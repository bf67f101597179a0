"""What happened, in columns: the event log of a replay, and the facts it is about.

    time_ns  kind  subject  place  detail        int64 each, one row an event, in the order in which things happened

The log and the facts are all there is to say about a replay: summary and tables are computed from them (`summary`, `tables`), and the hash
is over them. They are kept as one numpy archive, `log.npz`, without pickled objects.
"""

from __future__ import annotations

import enum
import hashlib
import io
import json
import zipfile
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from volsched.api.kinds import encode
from volsched.errors import InputError
from volsched.replay.plan import PlannedEvent
from volsched.replay.synth import Scene
from volsched.replay.trace import Ints

VERSION: Final = 1
WIDTH: Final = 5
NONE: Final = -1
Facts: TypeAlias = Mapping[str, NDArray[Any]]


class Kind(enum.IntEnum):
    """What a row says. subject, place, detail are indices of what stands in brackets, -1 where nothing does."""

    # fmt: off
    ARRIVED = 0            # [pod]                    the pod was created, its claims with it
    REFUSED = 1            # [pod] [] [reason]        no node fits, for other reasons than the last time
    PLACED = 2             # [pod] [node]             a node was chosen, and volumes; the pod is counted there
    BOUND = 3              # [pod] [node]             its volumes are there and it is bound
    RUNNING = 4            # [pod] [node]             volumes attached, started
    UNPLACED = 5           # [pod] [node] [reason]    the binding failed; the pod waits again
    ENDED = 6              # [pod] [node]             it ran as long as it had to
    REMOVED = 7            # [pod] [node or -1]       its owner removed it
    EVICTED = 8            # [pod] [node]             its node was drained or lost; the pod waits again
    PROVISIONED = 9        # [claim] [pool]           a volume was made there
    PROVISION_FAILED = 10  # [claim] [pool]           no room there any more
    CLAIMED = 11           # [claim] [disk]           a local disk was taken
    RELEASED = 12          # [claim] [pool]           the claim is deleted, and its volume
    DISK_RELEASED = 13     # [claim] [disk]           the claim is deleted; the disk is being cleaned
    DISK_CLEAN = 14        # [-1] [disk]              it can be claimed again
    NODE_JOINED = 15       # [-1] [node]
    NODE_LOST = 16         # [-1] [node]
    CORDONED = 17          # [-1] [node]
    UNCORDONED = 18        # [-1] [node]
    FINISHED = 19          # [0, 1: interrupted]      nothing more happens
    # fmt: on


@dataclass(frozen=True, slots=True)
class EventLog:
    """A whole log. rows: int64, (events, 5). reasons: what details of REFUSED and UNPLACED point into. attempts: int32, by pod: how often
    the scheduler tried it. messages: by pod, the last refusal as its event would say it, empty if it was never refused."""

    facts: Facts
    rows: NDArray[np.int64]
    reasons: Sequence[str]
    attempts: NDArray[np.int32]
    messages: Sequence[str]

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def time_ns(self) -> Ints:
        return self.rows[:, 0]

    @property
    def kind(self) -> Ints:
        return self.rows[:, 1]

    @property
    def subject(self) -> Ints:
        return self.rows[:, 2]

    @property
    def place(self) -> Ints:
        return self.rows[:, 3]

    @property
    def detail(self) -> Ints:
        return self.rows[:, 4]

    @property
    def is_partial(self) -> bool:
        """Whether the replay was interrupted."""
        return not len(self.rows) or bool(self.rows[-1, 1] != Kind.FINISHED or self.rows[-1, 2] != 0)

    def sha256(self) -> str:
        """Hash of everything: facts, rows, reasons, attempts, messages; the same on every machine."""
        return _digest({**self.facts, "rows": self.rows, "attempts": self.attempts}, [list(self.reasons), list(self.messages)])

    def save(self, path: Path) -> None:
        """Write the archive, whole or not at all."""
        arrays = {
            **{f"fact {name}": values for name, values in self.facts.items()},
            "version": np.array(VERSION),
            "rows": self.rows,
            "reasons": np.array(self.reasons, dtype=str),
            "attempts": self.attempts,
            "messages": np.array(self.messages, dtype=str),
        }
        save_arrays(path, arrays)


def _digest(arrays: Facts, texts: Sequence[Any]) -> str:
    digest = hashlib.sha256(f"volsched replay log {VERSION}\n".encode())
    for name in sorted(arrays):
        values = arrays[name]
        digest.update(f"{name} {values.shape}\n".encode())
        if values.dtype.kind == "U":
            digest.update(json.dumps(values.tolist()).encode())
        else:
            digest.update(np.ascontiguousarray(values, dtype="<i8").tobytes())
    digest.update(json.dumps(texts).encode())
    return digest.hexdigest()


def facts_digest(facts: Facts) -> str:
    """Hash of what a replay is about: equal for equal input, options and seed."""
    return _digest(facts, [])


def save_arrays(path: Path, arrays: Facts) -> None:
    """Write a numpy archive without pickled objects, whole or not at all."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    write_whole(path, buffer.getvalue())


def write_whole(path: Path, content: bytes) -> None:
    """Write a file beside itself, then put it in its place."""
    beside = path.with_name(path.name + ".part")
    beside.write_bytes(content)
    beside.replace(path)


def load_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Raises InputError for a file that is no numpy archive of ours."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror or error}", source=str(path)) from error
    except (ValueError, KeyError, zipfile.BadZipFile, EOFError) as error:
        raise InputError(f"is not a file volsched replay wrote: {error}", source=str(path)) from error


def load_log(path: Path) -> EventLog:
    """A log that `save` wrote. Raises InputError."""
    arrays = load_arrays(path)
    if "version" not in arrays or int(arrays["version"]) != VERSION:
        raise InputError(f"is not an event log of version {VERSION}", source=str(path))
    return EventLog(
        facts={name.removeprefix("fact "): values for name, values in arrays.items() if name.startswith("fact ")},
        rows=arrays["rows"],
        reasons=tuple(arrays["reasons"].tolist()),
        attempts=arrays["attempts"],
        messages=tuple(arrays["messages"].tolist()),
    )


class Recorder:
    """Rows as they happen."""

    def __init__(self) -> None:
        self._cells = array("q")
        self.reasons: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._cells) // WIDTH

    def add(self, time_ns: int, kind: Kind, subject: int = NONE, place: int = NONE, detail: int = NONE) -> None:
        self._cells.extend((time_ns, kind, subject, place, detail))

    def reason(self, text: str) -> int:
        """The number of a reason."""
        return self.reasons.setdefault(text, len(self.reasons))

    def rows(self) -> NDArray[np.int64]:
        """int64, (events, 5): a copy."""
        return np.frombuffer(self._cells.tobytes(), dtype=np.int64).reshape(-1, WIDTH)

    def restore(self, rows: NDArray[np.int64], reasons: Sequence[str]) -> None:
        """Go on from rows that were kept."""
        self._cells = array("q", np.ascontiguousarray(rows, dtype=np.int64).tobytes())
        self.reasons = {text: at for at, text in enumerate(reasons)}


def amounts_of(names: Sequence[str], of: Mapping[str, Ints], count: int) -> NDArray[np.int64]:
    """int64, (count, names): resources by name side by side, zeros for one that is not there."""
    columns = [of.get(name, np.zeros(count, np.int64)) for name in names]
    return np.stack(columns, axis=1) if columns else np.zeros((count, 0), np.int64)


def facts_of(scene: Scene, *, seed: int, plan: Sequence[PlannedEvent] = (), tie_break: str = "first", policy: str = "") -> Facts:
    """What the log of a scene is about, in columns."""
    pods, claims, nodes = scene.pods, scene.claims, scene.nodes
    extended = sorted({*pods.extended, *nodes.extended} - set(scene.made_up))
    made_up = amounts_of(scene.made_up, pods.extended, len(pods))
    pod, resource = np.nonzero(made_up)

    def texts(values: Sequence[str]) -> NDArray[Any]:
        return np.array(list(values), dtype=str) if len(values) else np.zeros(0, dtype="<U1")

    return {
        "seed": np.array([seed], np.int64),
        "tie_break": texts([tie_break]),
        "policy": texts([policy]),
        "base_sha256": texts([hashlib.sha256(b"\n".join(map(encode, scene.base))).hexdigest()]),
        "resources": texts(["cpu_milli", "memory_bytes", "ephemeral_bytes", *extended]),
        "pod_name": texts(pods.names),
        "pod_group": texts(pods.groups),
        "pod_arrival_ns": pods.arrival_ns,
        "pod_lifetime_ns": pods.lifetime_ns,
        "pod_removal_ns": pods.removal_ns,
        "pod_priority": pods.priority,
        "pod_requests": np.column_stack(
            [pods.milli_cpu, pods.memory_bytes, pods.ephemeral_bytes, amounts_of(extended, pods.extended, len(pods))]
        ),
        "node_name": texts(nodes.names),
        "node_zone": texts(nodes.zones),
        "node_allocatable": np.column_stack(
            [nodes.milli_cpu, nodes.memory_bytes, nodes.ephemeral_bytes, amounts_of(extended, nodes.extended, len(nodes))]
        ),
        "class_name": texts([row.name for row in scene.classes]),
        "claim_pod": claims.pod,
        "claim_class": claims.storage_class,
        "claim_bytes": claims.request_bytes,
        "claim_keep": claims.keep.astype(np.int8),
        "pool_class": scene.pools.storage_class,
        "pool_place": texts(scene.pools.places),
        "pool_bytes": scene.pools.size_bytes,
        "disk_node": scene.disks.node,
        "disk_class": scene.disks.storage_class,
        "disk_bytes": scene.disks.size_bytes,
        "claim_provision_ns": scene.provision_ns,
        "claim_attach_ns": scene.attach_ns,
        "pod_start_ns": scene.start_ns,
        "made_up": texts(scene.made_up),
        "made_up_requests": np.column_stack([pod, resource, made_up[pod, resource]]).astype(np.int64),
        "plan": np.array([tuple(map(int, event)) for event in plan], np.int64).reshape(-1, 3),
    }
