from __future__ import annotations

import pytest

from volsched.env.clock import NS_PER_S, RealClock, VirtualClock
from volsched.env.loop import EndlessWorkError, Loop

START = 1_000 * NS_PER_S


def loop_and_seen() -> tuple[Loop, list[str]]:
    return Loop(VirtualClock(START)), []


def test_order_is_time_then_priority_then_arrival() -> None:
    loop, seen = loop_and_seen()
    loop.call_after(2, lambda: seen.append("late"))
    loop.call_soon(lambda: seen.append("third"), priority=5)
    loop.call_soon(lambda: seen.append("first"), priority=-1)
    loop.call_soon(lambda: seen.append("fourth"), priority=5)
    loop.call_soon(lambda: seen.append("second"))
    while loop.step():
        pass
    assert seen == ["first", "second", "third", "fourth", "late"]
    assert loop.now_ns() == START + 2


def test_a_callback_of_lower_priority_number_cuts_in() -> None:
    loop, seen = loop_and_seen()

    def start() -> None:
        seen.append("start")
        loop.call_soon(lambda: seen.append("urgent"), priority=-5)

    loop.call_soon(start)
    loop.call_soon(lambda: seen.append("waiting"))
    loop.run_until_idle()
    assert seen == ["start", "urgent", "waiting"]


def test_cancelled_callbacks_do_not_run() -> None:
    loop, seen = loop_and_seen()
    kept = loop.call_after(5, lambda: seen.append("kept"))
    gone = loop.call_after(3, lambda: seen.append("gone"))
    gone.cancel()
    gone.cancel()
    assert gone.done and not kept.done and loop.pending == 1
    loop.run_until(START + 10)
    assert seen == ["kept"] and kept.done and loop.now_ns() == START + 10
    kept.cancel()
    assert loop.pending == 0


def test_many_cancelled_entries_are_swept_out() -> None:
    loop, _ = loop_and_seen()
    for _ in range(10_000):
        loop.call_after(NS_PER_S, lambda: None).cancel()
    assert len(loop._heap) < 1_000


def test_the_past_is_now() -> None:
    loop, seen = loop_and_seen()
    loop.call_at(5, lambda: seen.append("past"))
    loop.call_after(-5, lambda: seen.append("negative"))
    loop.run_until(START)
    assert seen == ["past", "negative"] and loop.now_ns() == START


def test_idle_without_anything() -> None:
    loop, _ = loop_and_seen()
    assert loop.is_idle() and loop.run_until_idle() and not loop.step()


def test_one_round_of_every_timer_that_changes_nothing_is_idle() -> None:
    loop, seen = loop_and_seen()

    def every(seconds: int, name: str) -> None:
        def fire() -> None:
            seen.append(name)
            every(seconds, name)

        loop.call_after(seconds * NS_PER_S, fire, name=name)

    every(15, "a")
    every(40, "b")
    assert loop.run_until_idle()
    assert seen == ["a", "a", "b"] and loop.now_ns() == START + 40 * NS_PER_S
    assert loop.run_until_idle() and seen == ["a", "a", "b"]


def test_a_change_starts_the_round_anew() -> None:
    loop, seen = loop_and_seen()
    changes = iter([True, True, False, False])

    def fire() -> None:
        seen.append("fired")
        if next(changes):
            loop.changed()
        loop.call_after(15 * NS_PER_S, fire)

    loop.call_after(15 * NS_PER_S, fire)
    assert loop.run_until_idle()
    # two that changed something and one whole round after the second
    assert len(seen) == 3


def test_a_round_lasts_at_most_ten_minutes() -> None:
    loop, seen = loop_and_seen()
    loop.call_after(900 * NS_PER_S, lambda: seen.append("quarter of an hour"))
    loop.call_after(600 * NS_PER_S, lambda: seen.append("ten minutes"))
    assert loop.run_until_idle()
    assert seen == ["ten minutes"]
    # the next change brings the later one within reach
    loop.changed()
    assert loop.run_until_idle()
    assert seen == ["ten minutes", "quarter of an hour"]


def test_a_timer_that_stands_for_several_deadlines_keeps_the_round_open() -> None:
    loop, seen = loop_and_seen()

    def second() -> None:
        seen.append("second")

    def first() -> None:
        seen.append("first")
        loop.call_after(3 * NS_PER_S, second)

    loop.call_after(5 * NS_PER_S, first, last_ns=START + 8 * NS_PER_S)
    assert loop.run_until_idle()
    assert seen == ["first", "second"]


def test_dated_work_is_waited_for_however_far() -> None:
    loop, seen = loop_and_seen()
    loop.call_after(3_600 * NS_PER_S, lambda: seen.append("work"), timer=False)
    assert loop.run_until_idle()
    assert seen == ["work"]


def test_a_deadline_ends_the_wait() -> None:
    loop, seen = loop_and_seen()
    loop.call_after(60 * NS_PER_S, lambda: seen.append("fired"))
    assert not loop.run_until_idle(START + 30 * NS_PER_S)
    assert loop.now_ns() == START + 30 * NS_PER_S and seen == []
    assert loop.run_until_idle(START + 90 * NS_PER_S)
    assert seen == ["fired"] and loop.now_ns() == START + 60 * NS_PER_S


def test_endless_work_names_its_callbacks() -> None:
    loop = Loop(VirtualClock(START), instant_callbacks_max=5_000)

    def again(name: str) -> None:
        loop.call_soon(lambda: again("pong" if name == "ping" else "ping"), name=name)

    again("ping")
    with pytest.raises(EndlessWorkError, match=r"ping \(\d+\), pong \(\d+\)"):
        loop.run_until_idle()


def test_callbacks_spread_over_instants_are_no_endless_work() -> None:
    loop = Loop(VirtualClock(START), instant_callbacks_max=100)
    for nanosecond in range(1_000):
        loop.call_after(nanosecond, lambda: None)
    assert loop.run_until_idle()


def test_an_error_in_a_callback_leaves_the_loop_usable() -> None:
    loop, seen = loop_and_seen()

    def broken() -> None:
        raise ValueError("broken")

    loop.call_soon(broken)
    loop.call_soon(lambda: seen.append("next"))
    with pytest.raises(ValueError, match="broken"):
        loop.run_until_idle()
    assert loop.run_until_idle() and seen == ["next"]


def test_callbacks_must_not_run_the_loop() -> None:
    loop, _ = loop_and_seen()
    loop.call_soon(lambda: loop.run_until(START + 5))
    with pytest.raises(RuntimeError, match="must not run the loop"):
        loop.run_until_idle()


def test_the_real_clock_sleeps() -> None:
    clock = RealClock()
    loop, seen = Loop(clock), []
    start = clock.now_ns()
    loop.call_after(2_000_000, lambda: seen.append("slept"))
    assert loop.run_until_idle() and seen == ["slept"]
    assert clock.now_ns() >= start + 2_000_000
