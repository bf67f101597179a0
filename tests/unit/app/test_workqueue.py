"""The work queue against client-go's documented behaviour, one rule a test."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from volsched.app.workqueue import NS, WorkQueue
from volsched.ports import QueueSpec

SPEC = QueueSpec(workers=2, backoff_s=1.0, backoff_s_max=300.0)


def test_an_item_is_ready_once() -> None:
    queue = WorkQueue(SPEC)
    queue.add("a")
    queue.add("a")
    assert queue.pop() == "a"
    assert queue.pop() is None


def test_an_item_added_while_worked_on_runs_again_afterwards() -> None:
    queue = WorkQueue(SPEC)
    queue.add("a")
    assert queue.pop() == "a"
    queue.add("a")
    assert queue.pop() is None, "never worked on twice at the same time"
    queue.done("a")
    assert queue.pop() == "a"


def test_workers_limit_what_is_under_way() -> None:
    queue = WorkQueue(SPEC)
    for key in "abc":
        queue.add(key)
    assert [queue.pop(), queue.pop(), queue.pop()] == ["a", "b", None]
    queue.done("a")
    assert queue.pop() == "c"


def test_backoff_doubles_up_to_its_maximum() -> None:
    queue = WorkQueue(QueueSpec(backoff_s=1.0, backoff_s_max=10.0))
    delays = []
    now = 0
    for _ in range(6):
        due = queue.fail("a", now)
        delays.append((due - now) // NS)
        now = due
        queue.release(now)
    assert delays == [1, 2, 4, 8, 10, 10]
    queue.forget("a")
    assert queue.fail("a", now) - now == NS


def test_a_delayed_entry_keeps_the_earlier_time() -> None:
    queue = WorkQueue(SPEC)
    queue.add_at("a", 5 * NS)
    queue.add_at("a", 9 * NS)
    assert queue.next_due_ns() == 5 * NS
    queue.add_at("a", 2 * NS)
    assert queue.next_due_ns() == 2 * NS
    queue.release(2 * NS)
    assert queue.pop() == "a"
    queue.done("a")
    assert queue.next_due_ns() is None


def test_an_event_starts_a_pass_although_the_item_is_delayed() -> None:
    queue = WorkQueue(SPEC)
    queue.fail("a", 0)
    queue.add("a")
    assert queue.pop() == "a"
    queue.done("a")
    queue.release(NS)
    assert queue.pop() == "a", "the delayed entry comes all the same"


def test_a_missing_class_is_retried_after_1_5_13_and_29_seconds() -> None:
    """Recorded: one own status write while failing shifts the exponent by one (spec/snapshots.md 1.6)."""
    queue = WorkQueue(SPEC)
    now, passes = 0, []
    queue.add("vs")
    own_writes = 1
    while len(passes) < 6:
        key = queue.pop()
        if key is None:
            due = queue.next_due_ns()
            assert due is not None
            now = due
            queue.release(now)
            continue
        passes.append(now // NS)
        queue.fail(key, now)
        if own_writes:
            own_writes -= 1
            queue.add(key)  # the watch event of its own write
        queue.done(key)
    assert passes == [0, 0, 1, 5, 13, 29]


@given(
    st.lists(st.tuples(st.sampled_from(["add", "pop", "done", "fail", "release"]), st.sampled_from("abcd"), st.integers(0, 5)), max_size=80)
)
def test_nothing_is_lost_and_nothing_runs_twice_at_once(steps: list[tuple[str, str, int]]) -> None:
    queue = WorkQueue(SPEC)
    working: set[str] = set()
    wanted: set[str] = set()
    now = 0
    for what, key, amount in steps:
        if what == "add":
            queue.add(key)
            wanted.add(key)
        elif what == "pop":
            popped = queue.pop()
            if popped is not None:
                assert popped not in working
                working.add(popped)
                wanted.discard(popped)
        elif what == "done" and key in working:
            working.discard(key)
            queue.done(key)
        elif what == "fail":
            queue.fail(key, now)
            wanted.add(key)
        elif what == "release":
            now += amount * 100 * NS
            queue.release(now)
    for key in sorted(working):
        queue.done(key)
    queue.release(now + 1000 * NS)
    drained: set[str] = set()
    while (popped := queue.pop()) is not None:
        drained.add(popped)
        queue.done(popped)
    assert wanted <= drained
