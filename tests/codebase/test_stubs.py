"""The committed stub of the native module equals a fresh one."""

from __future__ import annotations

from tests.codebase.stubs import COMMITTED, generate


def test_stub_is_current() -> None:
    assert COMMITTED.read_text() == generate(), "run `make stubs`"
