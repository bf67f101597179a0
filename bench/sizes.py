"""How large a suite runs: every module says its sizes, `--scale` picks among them.

    tiny    the smallest that still shows the answer; what the tests of the suites run, untimed
    small   seconds a module; `make bench-quick`
    full    what is kept and compared; `make bench`

A baseline that is slow by nature, the plain Python twin say, has one size of its own, so that it stands in the same run without ruling it.
"""

from __future__ import annotations

from typing import Final, Generic, NamedTuple, TypeVar

T = TypeVar("T")

SCALES: Final = ("tiny", "small", "full")


class Size(NamedTuple):
    """Nodes of a cluster, and pods to be placed on it."""

    nodes: int
    pods: int

    def __str__(self) -> str:
        return f"{self.nodes}x{self.pods}"


class Sizes(NamedTuple, Generic[T]):
    """The sizes of a module, and the one its slow baseline runs at."""

    tiny: T
    small: T
    full: tuple[T, ...]
    twin: T

    def at(self, scale: str) -> tuple[T, ...]:
        """The sizes of a scale, ascending."""
        return {"tiny": (self.tiny,), "small": (self.small,), "full": self.full}[scale]

    def twin_at(self, scale: str) -> T:
        """The size of the slow baseline."""
        return self.tiny if scale == "tiny" else self.twin


CLUSTERS: Final = Sizes(
    tiny=Size(20, 6), small=Size(1_000, 400), full=(Size(100, 80), Size(1_000, 800), Size(5_000, 4_000)), twin=Size(100, 20)
)
