"""Chance in columns: many numbers of one named stream at once, the same on every machine and numpy version.

Only the raw bits of a bit generator are used, which numpy keeps stable for ever; what its distributions make of them may change between
releases. A stream depends on nothing but the seed and its name, so drawing more from one never moves another.
"""

from __future__ import annotations

import hashlib
from typing import Final

import numpy as np
from numpy.typing import NDArray

_FLOAT_BITS: Final = 53


def uniforms(seed: int, name: str, count: int) -> NDArray[np.float64]:
    """float64, (count,): uniform in [0, 1)."""
    digest = hashlib.sha256(f"volsched draws {seed} {name}".encode()).digest()
    bits = np.random.PCG64(np.frombuffer(digest, dtype="<u4").tolist()).random_raw(count)
    found: NDArray[np.float64] = (np.asarray(bits, dtype=np.uint64) >> np.uint64(64 - _FLOAT_BITS)).astype(np.float64) * 2.0**-_FLOAT_BITS
    return found
