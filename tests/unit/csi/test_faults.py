"""What each kind of fault does to a call, on which calls it fires, and that every firing is counted; over both transports."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.csi.world import GIB, START_NS, World, create, full, world, zones
from volsched.api import csi
from volsched.csi.backend import FakeDriver
from volsched.csi.fault_file import parse_plan
from volsched.csi.faults import CRASH_TEXT, Fault, FaultPlan, FaultyDriver, Kind
from volsched.csi.profile import zonal
from volsched.env import Chance, Loop, RealClock, VirtualClock
from volsched.errors import CsiCode, CsiError, InputError

S = 1_000_000_000


@pytest.fixture(params=["inprocess", "grpc"])
def under(request: pytest.FixtureRequest) -> Iterator[Callable[..., World]]:
    """`under(text)`: a full driver under the plan of that text, reached both ways."""
    with contextlib.ExitStack() as stack:
        yield lambda text, **arguments: stack.enter_context(world(request.param, plan=parse_plan(text), **arguments))


# what happens


def test_error(under: Callable[..., World]) -> None:
    here = under(
        "faults: [{name: bad, rpc: CreateVolume, calls: 1, error: RESOURCE_EXHAUSTED}, {rpc: Probe, error: INTERNAL, message: sick}]"
    )
    error = here.refused(create("v"), CsiCode.RESOURCE_EXHAUSTED)
    assert str(error) == "rpc error: code = ResourceExhausted desc = injected fault bad"
    assert here.driver.volumes() == []
    assert here.volume("v").volume_id == "vol-0001"
    assert here.refused(csi.ProbeRequest(), CsiCode.INTERNAL).detail == "sick"
    assert here.fired == {"bad": 1, "fault-2": 1}
    assert here.told == ["fault bad: CreateVolume of v: error", "fault fault-2: Probe: error"]


@pytest.mark.parametrize(
    ("extra", "code", "text"),
    [
        ("UNAVAILABLE", CsiCode.UNAVAILABLE, "injected fault lost: answer lost"),
        ("DEADLINE_EXCEEDED", CsiCode.DEADLINE_EXCEEDED, "context deadline exceeded"),
        ("UNKNOWN, message: who knows", CsiCode.UNKNOWN, "who knows"),
    ],
)
def test_an_answer_is_lost_after_success(under: Callable[..., World], extra: str, code: CsiCode, text: str) -> None:
    here = under(f"faults: [{{name: lost, rpc: [CreateVolume, CreateVolumeGroupSnapshot], calls: '1,3', loseAnswer: {extra}}}]")
    assert here.refused(create("v"), code).detail == text
    assert [record.volume_id for record in here.driver.volumes()] == ["vol-0001"]
    volume = here.volume("v")
    assert volume.volume_id == "vol-0001"  # the repeated call finds what the first one made
    request = csi.CreateVolumeGroupSnapshotRequest(name="g", source_volume_ids=[volume.volume_id])
    here.refused(request, code)
    assert here.call(request).group_snapshot.group_snapshot_id == "group-0001"
    assert here.fired == {"lost": 2}


def test_an_answer_that_was_an_error_is_not_lost(under: Callable[..., World]) -> None:
    here = under("faults: [{name: lost, rpc: CreateVolume, times: 1, loseAnswer: UNAVAILABLE}]")
    here.refused(create(""), CsiCode.INVALID_ARGUMENT)
    assert here.fired == {"lost": 0}
    here.refused(create("v"), CsiCode.UNAVAILABLE)
    here.volume("v")
    assert here.fired == {"lost": 1}


def test_crashes(under: Callable[..., World]) -> None:
    died: list[int] = []
    here = under(
        "faults: [{name: early, rpc: CreateVolume, calls: 1, crash: before}, {name: late, rpc: CreateVolume, calls: 2, crash: after},"
        " {name: at-error, rpc: DeleteVolume, crash: after}]",
        crash=lambda: died.append(len(here.driver.volumes())),
    )
    assert here.refused(create("v"), CsiCode.UNAVAILABLE).detail == CRASH_TEXT
    assert died == [0]
    here.refused(create("v"), CsiCode.UNAVAILABLE)  # the second call the first fault selects too; it is past its number
    assert died == [0, 1]
    assert here.volume("v").volume_id == "vol-0001"
    here.refused(csi.DeleteVolumeRequest(), CsiCode.UNAVAILABLE)  # it would have been INVALID_ARGUMENT
    assert here.fired == {"early": 1, "late": 1, "at-error": 1}


def test_a_new_snapshot_is_not_ready(under: Callable[..., World]) -> None:
    here = under("faults: [{name: upload, match: pvc-*, notReady: 30s}]")
    ids = [here.volume(name).volume_id for name in ("pvc-1", "other")]
    first = here.snapshot(ids[0], "s1")
    assert not first.ready_to_use
    assert here.snapshot(ids[1], "s2").ready_to_use
    request = csi.CreateVolumeGroupSnapshotRequest(name="g", source_volume_ids=ids)
    assert not here.call(request).group_snapshot.ready_to_use
    here.refused(create("r", snapshot=first.snapshot_id), CsiCode.ABORTED)
    listed = here.call(csi.ListSnapshotsRequest()).entries
    assert [entry.snapshot.ready_to_use for entry in listed] == [False, True, False, False]
    here.wait(30)
    again = here.snapshot(ids[0], "s1")
    assert (again.ready_to_use, again.creation_time) == (True, first.creation_time)
    assert here.call(request).group_snapshot.ready_to_use
    assert here.fired == {"upload": 2}  # what was ready before stayed so


def test_a_driver_is_not_ready_after_its_start(under: Callable[..., World]) -> None:
    here = under("faults: [{name: boot, rpc: Probe, notReady: 5s}, {name: again, rpc: Probe, from: 8s, notReady: 2s}]")
    ready = []
    for _ in range(11):
        ready.append(here.call(csi.ProbeRequest()).ready)
        here.wait(1)
    assert ready == [False] * 5 + [True] * 3 + [False] * 2 + [True]
    assert here.fired == {"boot": 5, "again": 2}


def test_capacity_lies(under: Callable[..., World]) -> None:
    here = under(
        "faults: [{name: boast, match: b, capacity: 1Ti}, {name: half, match: a, capacity: 50%}, {name: none, match: c, capacity: 0}]",
        profile=full(capacity={"a": 10 * GIB, "b": 3 * GIB}),
    )
    told = [here.call(csi.GetCapacityRequest(accessible_topology=zone)).available_capacity for zone in zones("a", "b", "c", "nowhere")]
    assert told == [5 * GIB, 1024 * GIB, 0, 0]
    here.refused(create("v", size=4 * GIB, requisite=["b"]), CsiCode.RESOURCE_EXHAUSTED)
    assert here.fired == {"boast": 1, "half": 1, "none": 1}
    assert here.faulty is not None
    assert dict(here.faulty.fired_kinds) == {kind: 3 if kind is Kind.CAPACITY else 0 for kind in Kind}


# delays


def test_a_short_delay_passes_unseen_and_a_long_one_outlasts_the_caller() -> None:
    with world(
        plan=parse_plan("faults: [{name: slow, rpc: CreateVolume, delay: 10s}, {name: bad, match: w, delay: 1s, error: INTERNAL}]")
    ) as here:
        assert here.client.call("CreateVolume", create("v"), timeout_s=10.5)
        with pytest.raises(CsiError) as caught:
            here.client.call("CreateVolume", create("w"), timeout_s=10.5)
        assert (caught.value.code, caught.value.method) == (CsiCode.DEADLINE_EXCEEDED, "CreateVolume")
        assert caught.value.detail == "context deadline exceeded"
        assert [record.name for record in here.driver.volumes()] == ["v"]  # the error at the end of the delay was of effect
        assert here.fired == {"slow": 2, "bad": 1}
        with pytest.raises(CsiError):
            here.client.call("CreateVolume", create("x"), timeout_s=10)
        assert [record.name for record in here.driver.volumes()] == ["v", "x"]
        assert here.driver.name_of("vol-0002") == "x"


def test_what_outlasts_its_caller_is_carried_out_later_and_holds_its_object() -> None:
    clock = VirtualClock(START_NS)
    loop = Loop(clock)
    plan = parse_plan("faults: [{name: slow, rpc: CreateSnapshot, calls: 1, delay: 60s, loseAnswer: INTERNAL}]")
    driver = FakeDriver(full(), clock=clock)
    faulty = FaultyDriver(driver, plan, clock, Chance(0), later=lambda time_ns, callback: loop.call_at(time_ns, callback))
    here = World(Timed(faulty), driver, clock, "inprocess")
    volume = here.volume("v")
    here.refused(csi.CreateSnapshotRequest(name="s", source_volume_id=volume.volume_id), CsiCode.DEADLINE_EXCEEDED)
    assert driver.snapshots() == []
    here.refused(csi.CreateSnapshotRequest(name="s", source_volume_id=volume.volume_id), CsiCode.ABORTED, match="snapshot name s")
    assert here.snapshot(volume.volume_id, "t").snapshot_id == "snap-0001"
    loop.run_until(START_NS + 59 * S)
    here.refused(csi.CreateSnapshotRequest(name="s", source_volume_id=volume.volume_id), CsiCode.ABORTED)
    loop.run_until(START_NS + 60 * S)
    assert [record.name for record in driver.snapshots()] == ["t", "s"]
    assert here.snapshot(volume.volume_id, "s").snapshot_id == "snap-0002"
    assert dict(faulty.fired) == {"slow": 1}
    assert {kind: count for kind, count in faulty.fired_kinds.items() if count} == {Kind.LOSE_ANSWER: 1, Kind.DELAY: 1}


def test_what_outlasts_its_caller_ends_with_the_driver() -> None:
    clock = VirtualClock(START_NS)
    loop = Loop(clock)
    plan = parse_plan("faults: [{name: slow, rpc: CreateSnapshot, calls: 1, delay: 60s}]")
    driver = FakeDriver(full(), clock=clock)
    faulty = FaultyDriver(driver, plan, clock, Chance(0), later=lambda time_ns, callback: loop.call_at(time_ns, callback))
    here = World(Timed(faulty), driver, clock, "inprocess")
    volume = here.volume("v")
    here.refused(csi.CreateSnapshotRequest(name="s", source_volume_id=volume.volume_id), CsiCode.DEADLINE_EXCEEDED)
    faulty.died()
    loop.run_until(START_NS + 60 * S)
    assert driver.snapshots() == []
    assert here.snapshot(volume.volume_id, "s").snapshot_id == "snap-0001"


class Timed:
    """A client that waits ten seconds."""

    def __init__(self, driver: FaultyDriver) -> None:
        self._driver = driver

    def call(self, method: str, request: csi.Message, *, node: str = "", timeout_s: float = 10.0) -> csi.Message:
        return self._driver.call_within(method, request, node=node, timeout_s=timeout_s)


def test_a_delayed_call_that_is_not_let_in_is_not_delayed() -> None:
    with world(profile=zonal(), plan=parse_plan("faults: [{name: slow, delay: 10s}]")) as here:
        here.refused(csi.NodeGetInfoRequest(), CsiCode.UNIMPLEMENTED)
        here.refused(create("x" * 129), CsiCode.INVALID_ARGUMENT)
        assert here.fired == {"slow": 0}


def test_real_time_is_waited_out_and_closing_ends_it() -> None:
    driver = FakeDriver(full(), clock=RealClock())
    plan = parse_plan("faults: [{rpc: Probe, delay: 20ms}, {rpc: GetPluginInfo, delay: 10h}]")
    faulty = FaultyDriver(driver, plan, RealClock(), Chance(0), real_time=True)
    clock = RealClock()
    before_ns = clock.now_ns()
    assert faulty.call_within("Probe", csi.ProbeRequest(), timeout_s=0.001) == csi.ProbeResponse(ready=True)
    assert clock.now_ns() - before_ns >= 20_000_000
    faulty.close()
    with pytest.raises(CsiError, match="the driver is stopping"):
        faulty.call("GetPluginInfo", csi.GetPluginInfoRequest())


# on which calls


def test_names_ids_and_nodes(under: Callable[..., World]) -> None:
    here = under(
        "faults: [{name: by-name, rpc: CreateVolume, match: [pvc-?, x], times: 1, error: INTERNAL},"
        " {name: by-id, rpc: ControllerExpandVolume, match: vol-0002, error: INTERNAL},"
        " {name: by-old-name, rpc: '*Publish*', match: web, error: INTERNAL},"
        " {name: by-source, rpc: CreateSnapshot, match: d?, error: INTERNAL},"
        " {name: by-node, rpc: [ControllerPublishVolume, NodeGetInfo], node: n2, error: INTERNAL}]"
    )
    here.refused(create("pvc-1"), CsiCode.INTERNAL)
    ids = {name: here.volume(name).volume_id for name in ("pvc-10", "web", "db")}
    grow = csi.CapacityRange(required_bytes=2 * GIB)
    here.call(csi.ControllerExpandVolumeRequest(volume_id=ids["pvc-10"], capacity_range=grow))
    here.refused(csi.ControllerExpandVolumeRequest(volume_id=ids["web"], capacity_range=grow), CsiCode.INTERNAL)
    with pytest.raises(CsiError, match="by-old-name"):
        here.mount(ids["web"], "/t/w")
    here.mount(ids["pvc-10"], "/t/p")
    with pytest.raises(CsiError, match="by-node"):
        here.mount(ids["db"], "/t/d", node="n2")
    here.refused(csi.CreateSnapshotRequest(name="s", source_volume_id=ids["db"]), CsiCode.INTERNAL, match="by-source")
    here.call(csi.NodeGetInfoRequest(), node="n1")
    here.refused(csi.NodeGetInfoRequest(), CsiCode.INTERNAL, node="n2")
    assert here.fired == {"by-name": 1, "by-id": 1, "by-old-name": 1, "by-source": 1, "by-node": 2}


def test_calls_are_counted_by_fault(under: Callable[..., World]) -> None:
    here = under("faults: [{name: third, rpc: CreateVolume, match: a*, calls: '3,5-', error: INTERNAL}]")
    outcome = []
    for number, prefix in enumerate("aabbaaaab"):
        try:
            here.volume(f"{prefix}{number}")
            outcome.append("ok")
        except CsiError as error:
            outcome.append(error.code.words)
    assert outcome == ["ok", "ok", "ok", "ok", "Internal", "ok", "Internal", "Internal", "ok"]


def test_the_first_that_decides_wins_and_delays_add_up() -> None:
    plan = parse_plan(
        "faults: [{name: one, delay: 4s}, {name: two, delay: 6s, error: INTERNAL}, {name: three, error: ABORTED},"
        " {name: four, crash: after}]"
    )
    with world(plan=plan) as here:
        with pytest.raises(CsiError) as caught:
            here.client.call("Probe", csi.ProbeRequest(), timeout_s=10)
        assert caught.value.code is CsiCode.DEADLINE_EXCEEDED
        with pytest.raises(CsiError) as caught:
            here.client.call("Probe", csi.ProbeRequest(), timeout_s=11)
        assert caught.value.detail == "injected fault two"
        assert here.fired == {"one": 2, "two": 2, "three": 0, "four": 0}


def outcomes(plan: FaultPlan, calls: int) -> list[str]:
    with world(plan=plan) as here:
        found = []
        for _ in range(calls):
            try:
                here.call(csi.ProbeRequest())
                found.append("ok")
            except CsiError as error:
                found.append(error.detail)
        return found


def test_chance_repeats_and_faults_do_not_move_each_other() -> None:
    first = Fault(name="one", methods=frozenset({"Probe"}), probability=0.3, error=CsiCode.INTERNAL)
    second = Fault(name="two", methods=frozenset({"Probe"}), probability=0.5, error=CsiCode.ABORTED)
    alone = outcomes(FaultPlan((first,), 5), 200)
    assert alone == outcomes(FaultPlan((first,), 5), 200)
    assert alone != outcomes(FaultPlan((first,), 6), 200)
    together = outcomes(FaultPlan((first, second), 5), 200)
    assert [text == "injected fault one" for text in together] == [text == "injected fault one" for text in alone]
    assert 30 <= alone.count("injected fault one") <= 90
    assert together.count("injected fault two") > 30


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_faults_never_break_what_a_caller_may_rely_on(data: st.DataObject) -> None:
    """Whatever fires: a caller that repeats each call until it succeeds ends with exactly what it asked for."""
    kinds: list[dict[str, Any]] = [
        {"error": CsiCode.UNAVAILABLE},
        {"lose_answer": CsiCode.DEADLINE_EXCEEDED},
        {"crash": "before"},
        {"crash": "after"},
        {"delay_ns": 20 * S},
        {"delay_ns": 1 * S, "lose_answer": CsiCode.UNKNOWN},
        {"not_ready_ns": 5 * S},
    ]
    faults = []
    for number in range(data.draw(st.integers(1, 4))):
        kind = data.draw(st.sampled_from(kinds))
        methods = frozenset({"CreateSnapshot", "CreateVolumeGroupSnapshot"} if "not_ready_ns" in kind else csi.METHODS)
        chance = data.draw(st.floats(0.05, 0.8))
        faults.append(Fault(name=f"f{number}", methods=methods, probability=chance, **kind))
    with world(plan=FaultPlan(tuple(faults), data.draw(st.integers(0, 1000)))) as here:

        def insist(request: csi.Message) -> Any:
            for _ in range(500):
                try:
                    return here.call(request)
                except CsiError:
                    continue
            raise AssertionError("never succeeded")

        ids = [insist(create(f"v{number}")).volume.volume_id for number in range(3)]
        group = insist(csi.CreateVolumeGroupSnapshotRequest(name="g", source_volume_ids=ids)).group_snapshot
        insist(csi.CreateSnapshotRequest(name="s", source_volume_id=ids[0]))
        insist(csi.DeleteVolumeRequest(volume_id=ids[2]))
        assert [record.name for record in here.driver.volumes()] == ["v0", "v1"]
        assert len(here.driver.snapshots()) == 4
        members = [item.snapshot_id for item in group.snapshots]
        insist(csi.DeleteVolumeGroupSnapshotRequest(group_snapshot_id=group.group_snapshot_id, snapshot_ids=members))
        assert [record.name for record in here.driver.snapshots()] == ["s"]
        assert here.faulty is not None
        assert sum(here.fired.values()) <= sum(here.faulty.fired_kinds.values())


# A process of its own


def test_served_under_faults(tmp_path: Path) -> None:
    from tests.unit.csi.test_server import process

    plan = tmp_path / "faults.yaml"
    plan.write_text(
        "faults:\n- {name: dies, rpc: CreateVolume, match: last, crash: after}\n"
        "- {name: slow, rpc: CreateSnapshot, match: s, delay: 1h}\n- {name: stuck, rpc: DeleteVolume, error: INTERNAL}\n"
    )
    options = ("--state", str(tmp_path / "driver.db"), "--faults", str(plan))
    with process(tmp_path, *options) as (server, client):
        here = World(client, None, None, "grpc")  # type: ignore[arg-type]
        volume = here.volume("v")
        with pytest.raises(CsiError) as caught:
            client.call("CreateSnapshot", csi.CreateSnapshotRequest(name="s", source_volume_id=volume.volume_id), timeout_s=0.5)
        assert caught.value.code is CsiCode.DEADLINE_EXCEEDED
        assert server.stderr is not None
        assert server.stderr.readline() == "fault slow: CreateSnapshot of s: delay\n"
        here.refused(csi.CreateSnapshotRequest(name="s", source_volume_id=volume.volume_id), CsiCode.ABORTED, match="under way")
        with pytest.raises(CsiError) as caught:
            client.call("CreateVolume", create("last"))
        assert caught.value.code is CsiCode.UNAVAILABLE
        assert server.wait(30) == -9
        assert "fault dies: CreateVolume of last: crash" in server.stderr.read().splitlines()
    with process(tmp_path, *options) as (server, client):
        here = World(client, None, None, "grpc")  # type: ignore[arg-type]
        assert [entry.volume.volume_id for entry in here.call(csi.ListVolumesRequest()).entries] == ["vol-0001", "vol-0002"]
        here.snapshot("vol-0001", "t")
        here.refused(csi.DeleteVolumeRequest(volume_id="vol-0001"), CsiCode.INTERNAL)
        server.terminate()
        assert server.wait(30) == 0
        assert server.stderr is not None
        assert server.stderr.read().splitlines()[-1] == "faults fired: dies 0, slow 0, stuck 1"


def test_a_plan_that_is_wrong_starts_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from volsched.csi.server import main

    (tmp_path / "faults.yaml").write_text("faults:\n- {error: SOMETIMES}\n")
    state = tmp_path / "driver.db"
    arguments = ["--endpoint", f"unix://{tmp_path}/s", "--state", str(state), "--faults", str(tmp_path / "faults.yaml")]
    assert main(arguments) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"error: {tmp_path}/faults.yaml, line 2, faults[0].error: is 'SOMETIMES'")
    assert error.count("\n") == 1
    assert not state.exists()


def test_two_faults_of_one_name() -> None:
    fault = Fault(name="twice", error=CsiCode.INTERNAL)
    with pytest.raises(InputError, match="two faults of the plan are named twice"):
        FaultPlan((fault, fault))
