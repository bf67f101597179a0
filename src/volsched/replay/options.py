"""What is laid over a compute trace: zones, nodes, storage classes, claims, each with its distributions; docs/replay.md explains them.

A file of options is YAML (or JSON), read strictly: unknown fields, values out of range and names that do not match are told with file, line
and path. Without a file the defaults below hold: nothing is added.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Final, Literal, TypeVar

import msgspec

from volsched.api.documents import TEXT_BYTES_MAX, Document, MapKey, Part, TextError, decoded_text, documents, locate, path_text
from volsched.errors import InputError
from volsched.replay.distributions import ZERO, Amount, Distribution, Strict, a_count, a_duration, a_size, as_bytes

S = TypeVar("S", bound=msgspec.Struct)
A = TypeVar("A")
R = TypeVar("R")
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Count = Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]
NODES_MAX: Final = 1_000_000


class NodeShape(Strict, frozen=True):
    """`count` nodes alike. cpu, memory, ephemeralStorage: quantities. resources: extended ones. zone: instead of one in turn."""

    count: Count
    cpu: Amount
    memory: Amount
    name: str = "node"
    pods: int = 110
    ephemeral_storage: Amount = 0
    resources: dict[str, int] = {}
    labels: dict[str, str] = {}
    zone: str = ""


class Disks(Strict, frozen=True):
    """Local disks: volumes of their own on every node, claimed whole. count: a node's; size: of each."""

    count: Distribution
    size: Distribution
    cleanup: Distribution = ZERO


class ClassOptions(Strict, frozen=True):
    """A storage class, its volumes made once a pod has a node (WaitForFirstConsumer), and what stands behind it.

    reach: from where a volume is reached: the `zone` or `node` it was made in, or the whole `cluster`. pool: bytes in each of those,
    without end if not given. disks: instead, local disks without a provisioner. capacity: whether the driver publishes CSIStorageCapacity,
    which the scheduler then reads.
    maxVolume: largest single volume. attachLimit: volumes a node takes. provision, attach: how long it takes.
    """

    name: str
    reach: Literal["zone", "node", "cluster"] = "zone"
    driver: str = ""
    pool: Distribution | None = None
    disks: Disks | None = None
    capacity: bool = True
    max_volume: Amount | None = None
    attach_limit: Count | None = None
    provision: Distribution = ZERO
    attach: Distribution = ZERO

    @property
    def provisioner(self) -> str:
        """The driver's name; made from the class's where none is given."""
        if self.disks is not None:
            return "kubernetes.io/no-provisioner"
        return self.driver or f"{self.name}.csi.volsched.dev"

    @property
    def checks_capacity(self) -> bool:
        """Whether the scheduler looks at capacity objects for this class: it has a pool with an end, and the driver tells of it."""
        return self.capacity and self.pool is not None


class ClaimOptions(Strict, frozen=True):
    """Claims laid over pods. share: of the pods (of one group, if given) that have such claims; count: how many; keep: share of the claims
    that outlive their pod."""

    storage_class: str = msgspec.field(name="class")
    size: Distribution
    group: str = ""
    share: Share = 1.0
    count: Distribution = Distribution(constant=1)
    keep: Share = 0.0


class DiskOptions(Strict, frozen=True):
    """What the disk a trace states becomes: a claim of a class, or, with no class, ephemeral storage of the node."""

    storage_class: str = msgspec.field(name="class", default="")
    keep: Share = 0.0


class SynthOptions(Strict, frozen=True):
    """The whole file. zones: given in turn to nodes that have none. start: from when a pod has its volumes until it runs."""

    zones: tuple[str, ...] = ()
    nodes: tuple[NodeShape, ...] = ()
    classes: tuple[ClassOptions, ...] = ()
    claims: tuple[ClaimOptions, ...] = ()
    disk: DiskOptions = DiskOptions()
    priorities: dict[str, Annotated[int, msgspec.Meta(ge=-(2**31), le=1_000_000_000)]] = {}
    start: Distribution = ZERO


def read_options(path: Path) -> SynthOptions:
    """The options in a file. Raises InputError."""
    reader = YamlFile.read(path)
    options = reader.convert(SynthOptions)
    _check(options, reader)
    return options


class YamlFile:
    """One document of options with the places of its values."""

    def __init__(self, text: str, *, source: str) -> None:
        self.source = source
        self._text = text
        duplicates: list[str] = []
        try:
            found = list(documents(text, duplicate=duplicates.append))
        except TextError as error:
            raise InputError(error.message, source=source, line=error.line) from None
        if duplicates:
            raise InputError("is given twice", source=source, path=duplicates[0])
        if len(found) > 1:
            raise InputError(f"holds {len(found)} documents, has to hold one", source=source)
        self._document = found[0] if found else Document({}, 1, 1, {}, None)

    @classmethod
    def read(cls, path: Path) -> YamlFile:
        """Raises InputError."""
        try:
            if (size := path.stat().st_size) > TEXT_BYTES_MAX:
                raise InputError(f"{size} bytes are more than the {TEXT_BYTES_MAX} read from one file", source=str(path))
            return cls(decoded_text(path.read_bytes()), source=str(path))
        except OSError as error:
            raise InputError(f"cannot be read: {error.strerror or error}", source=str(path)) from None
        except TextError as error:
            raise InputError(error.message, source=str(path), line=error.line) from None

    def wrong(self, path: Sequence[Part], message: str) -> InputError:
        """The error about the value at a path."""
        line = locate(self._text, self._document, path) if self._text.strip() else None
        return InputError(message, source=self.source, line=line, path=path_text(path) or None)

    def convert(self, to: type[S]) -> S:
        """The document as a Struct. Raises InputError with the path of what does not match."""
        try:
            return msgspec.convert(self._document.value, to)
        except msgspec.ValidationError as error:
            message, _, place = str(error).partition(" - at `")
            raise self.wrong(_path(place), message[:1].lower() + message[1:]) from None

    def guarded(self, path: Sequence[Part], what: Callable[[A], R], value: A) -> R:
        """The result of `what`, whose InputError is about the value at `path`."""
        try:
            return what(value)
        except InputError as error:
            raise self.wrong(path, error.message) from None


_STEP: Final = re.compile(r"\.([A-Za-z_]\w*)|\[(\d+)\]|\[(\.\.\.)\]|\[\"([^\"]*)\"\]")


def _path(place: str) -> tuple[Part, ...]:
    """A path of msgspec (`$.classes[0].name`) as ours, as far as it names what can be found again."""
    found: list[Part] = []
    for name, index, anything, key in _STEP.findall(place):
        if anything:
            break
        found.append(name or (MapKey(key) if key else int(index)))
    return tuple(found)


def _check(options: SynthOptions, file: YamlFile) -> None:
    """What types do not say. Raises InputError."""
    names: set[str] = set()
    for at, row in enumerate(options.classes):
        path: tuple[Part, ...] = ("classes", at)
        if not row.name or row.name in names:
            raise file.wrong((*path, "name"), f"{row.name!r} is empty or there twice")
        names.add(row.name)
        _check_class(row, path, file)
    _check_drivers(options, file)
    for at, shape in enumerate(options.nodes):
        for field, value in (("cpu", shape.cpu), ("memory", shape.memory), ("ephemeralStorage", shape.ephemeral_storage)):
            file.guarded(("nodes", at, field), as_bytes, value)
    if sum(shape.count for shape in options.nodes) > NODES_MAX:
        raise file.wrong(("nodes",), f"are more than {NODES_MAX}")
    known = ", ".join(sorted(names)) or "none"
    for at, claim in enumerate(options.claims):
        if claim.storage_class not in names:
            raise file.wrong(("claims", at, "class"), f"{claim.storage_class!r} is not among the classes: {known}")
        file.guarded(("claims", at, "size"), a_size, claim.size)
        file.guarded(("claims", at, "count"), a_count, claim.count)
    if options.disk.storage_class and options.disk.storage_class not in names:
        raise file.wrong(("disk", "class"), f"{options.disk.storage_class!r} is not among the classes: {known}")
    file.guarded(("start",), a_duration, options.start)
    if len(set(options.zones)) != len(options.zones) or "" in options.zones:
        raise file.wrong(("zones",), "have one that is empty or there twice")


def _check_drivers(options: SynthOptions, file: YamlFile) -> None:
    """Classes of one driver say the same of what is the driver's."""
    first: dict[str, ClassOptions] = {}
    for at, row in enumerate(options.classes):
        other = first.setdefault(row.provisioner, row)
        if row.disks is not None:
            continue
        if row.attach_limit != other.attach_limit or row.checks_capacity != other.checks_capacity or row.reach != other.reach:
            differing = "reach, attachLimit or whether capacity is published"
            message = f"differs from class {other.name} in {differing}, but both are of driver {row.provisioner}"
            raise file.wrong(("classes", at), message)


def _check_class(row: ClassOptions, path: tuple[Part, ...], file: YamlFile) -> None:
    disks = row.disks
    if disks is not None:
        clash = [
            name
            for name, given in (
                ("pool", row.pool is not None),
                ("driver", bool(row.driver)),
                ("maxVolume", row.max_volume is not None),
                ("attachLimit", row.attach_limit is not None),
                ("provision", row.provision != ZERO),
            )
            if given
        ]
        if clash:
            raise file.wrong((*path, clash[0]), "is not for a class of local disks, whose volumes are there already")
        file.guarded((*path, "disks", "count"), a_count, disks.count)
        file.guarded((*path, "disks", "size"), a_size, disks.size)
        file.guarded((*path, "disks", "cleanup"), a_duration, disks.cleanup)
    if row.pool is not None:
        file.guarded((*path, "pool"), a_size, row.pool)
    if row.max_volume is not None:
        file.guarded((*path, "maxVolume"), as_bytes, row.max_volume)
    for field, latency in (("provision", row.provision), ("attach", row.attach)):
        file.guarded((*path, field), a_duration, latency)
