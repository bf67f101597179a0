"""Identifiers that come from a seed: object uids and the suffixes of generated names.

Identifier n of a seed is a hash of (seed, n), so the whole generator is two numbers: a state file keeps them, and the next process goes on
where the last one stopped without ever repeating one.
"""

from __future__ import annotations

import hashlib
import uuid
from typing import Final

# Alphabet of generated names: no vowels, so no words; nothing that reads like something else. Source: apimachinery/pkg/util/rand.
NAME_ALPHABET: Final = "bcdfghjklmnpqrstvwxz2456789"
NAME_SUFFIX_LENGTH: Final = 5


class Uids:
    """Deterministic identifiers. `issued` counts those handed out; `Uids(seed, issued)` goes on from there."""

    def __init__(self, seed: int = 0, issued: int = 0) -> None:
        self._seed = seed
        self._issued = issued

    @property
    def seed(self) -> int:
        """The seed all identifiers come from."""
        return self._seed

    @property
    def issued(self) -> int:
        """How many identifiers were handed out."""
        return self._issued

    def resume(self, *, seed: int, issued: int) -> None:
        """Go on where another generator stopped: what a state file does when it is opened."""
        self._seed, self._issued = seed, issued

    def uid(self) -> str:
        """The next identifier, shaped like a version 4 UUID."""
        return str(uuid.UUID(bytes=self._digest("uid")[:16], version=4))

    def name_suffix(self) -> str:
        """Five letters for metadata.generateName."""
        base = len(NAME_ALPHABET)
        number = int.from_bytes(self._digest("name")[:8], "big")
        return "".join(NAME_ALPHABET[number // base**place % base] for place in range(NAME_SUFFIX_LENGTH))

    def _digest(self, purpose: str) -> bytes:
        digest = hashlib.sha256(f"volsched {purpose} {self._seed} {self._issued}".encode()).digest()
        self._issued += 1
        return digest
