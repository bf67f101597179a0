"""Seeded chance: named streams that do not disturb each other.

A stream is `random.Random` over a counter: block n of stream s is a SHA-256 of (seed, s, n). Its state is one number, so it can be kept in
a state file, and drawing from one stream never moves another: a new use of chance does not change old runs.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping
from typing import Any, Final

_BLOCK_BITS: Final = 256
_FLOAT_BITS: Final = 53


class Stream(random.Random):
    """One named stream; `position` is the number of blocks drawn. All methods of `random.Random` work."""

    def __init__(self, seed: int, name: str, position: int = 0) -> None:
        self._prefix = f"volsched chance {seed} {name} ".encode()
        self.position = position
        super().__init__(0)

    def _block(self) -> int:
        block = hashlib.sha256(self._prefix + str(self.position).encode()).digest()
        self.position += 1
        return int.from_bytes(block, "big")

    def random(self) -> float:
        """A float in [0, 1)."""
        return (self._block() >> (_BLOCK_BITS - _FLOAT_BITS)) * 2.0**-_FLOAT_BITS

    def getrandbits(self, k: int, /) -> int:
        """A non-negative integer of at most `k` bits."""
        if k < 0:
            raise ValueError("number of bits must be non-negative")
        blocks = -(-k // _BLOCK_BITS)
        digests = (hashlib.sha256(self._prefix + str(self.position + index).encode()).digest() for index in range(blocks))
        number = int.from_bytes(b"".join(digests), "big") >> (blocks * _BLOCK_BITS - k)
        self.position += blocks
        return number

    def seed(self, *_: Any, **__: Any) -> None:
        """The seed is part of the stream; `random.Random` calls this once while it is built."""
        self.gauss_next = None

    def getstate(self) -> tuple[Any, ...]:
        """The position, in a tuple."""
        return (self.position,)

    def setstate(self, state: tuple[Any, ...]) -> None:
        """Go to the position of a state that `getstate` gave."""
        (self.position,) = state


class Chance:
    """All streams of one seed: `chance("tie_break").choice(best)`."""

    def __init__(self, seed: int = 0, positions: Mapping[str, int] | None = None) -> None:
        self.seed = seed
        self._streams = {name: Stream(seed, name, position) for name, position in (positions or {}).items()}

    def __call__(self, name: str) -> Stream:
        """The stream of that name, always the same object."""
        stream = self._streams.get(name)
        if stream is None:
            stream = self._streams[name] = Stream(self.seed, name)
        return stream

    def positions(self) -> dict[str, int]:
        """Where every stream stands; `Chance(seed, positions)` goes on from there."""
        return {name: self._streams[name].position for name in sorted(self._streams)}
