"""Stores for tests: a virtual clock that tests may move, seed 1."""

from __future__ import annotations

from pathlib import Path

from volsched.env import Uids, VirtualClock
from volsched.store import Store

START_NS = 1_767_225_600_000_000_000  # 2026-01-01T00:00:00Z
NS = 1_000_000_000
ROOT = Path(__file__).resolve().parents[3]  # where child processes find `tests`


def make_store(*, path: Path | None = None, retained: int = 10_000, keep_log: bool = True, seed: int = 1) -> Store:
    return Store(clock=VirtualClock(START_NS), uids=Uids(seed), path=path, retained=retained, keep_log=keep_log)


def pass_time(store: Store, seconds: float) -> None:
    assert isinstance(store.clock, VirtualClock)
    store.clock.wait_until(store.clock.now_ns() + round(seconds * NS))
