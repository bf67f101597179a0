from __future__ import annotations

from volsched.env.clock import RealClock, VirtualClock


def test_virtual_time_moves_only_forward_and_only_when_told() -> None:
    clock = VirtualClock(1_000)
    assert clock.now_ns() == 1_000
    clock.wait_until(5_000)
    clock.wait_until(4_000)
    assert clock.now_ns() == 5_000


def test_real_time_does_not_go_back_and_can_be_waited_for() -> None:
    clock = RealClock()
    first = clock.now_ns()
    clock.wait_until(first + 1_000_000)
    assert clock.now_ns() >= first + 1_000_000
    clock.wait_until(first)
