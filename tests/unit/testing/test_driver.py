"""The CSI driver of a test, in this process and in one of its own: the same answers from both."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest

from tests.unit.csi.world import GIB, World, create, full
from volsched.api import csi
from volsched.csi.client import GrpcClient
from volsched.csi.profile import zonal
from volsched.errors import CsiCode, CsiError, InputError
from volsched.testing.driver import Call, CsiDriver
from volsched.testing.lives import Child

Process = Literal["here", "child"]
PROCESSES: list[Process] = ["here", "child"]
PATIENCE_S = 120.0  # for a process to start, on a machine that is busy with other tests
ZONE_A = {"topology.kubernetes.io/zone": "a"}


@pytest.fixture(params=PROCESSES)
def driver(request: pytest.FixtureRequest) -> Iterator[CsiDriver]:
    with CsiDriver.running(full(capacity={"a": 10 * GIB}), process=request.param, nodes={"n1": ZONE_A}) as running:
        yield running


@pytest.fixture
def here(driver: CsiDriver) -> Iterator[World]:
    with driver.client() as client:
        yield World(client, None, None, "grpc")  # type: ignore[arg-type]


def test_what_it_has(driver: CsiDriver, here: World) -> None:
    volume = here.volume("v", requisite=["a"])
    target = driver.socket.parent / "pods" / "v"
    here.mount(volume.volume_id, str(target))
    (target / "x").write_bytes(b"bytes")
    snapshot = here.snapshot(volume.volume_id, "s")
    (target / "x").write_bytes(b"others")
    assert [record.volume_id for record in driver.volumes()] == [volume.volume_id]
    assert list(driver.volumes()[0].publications) == ["n1"]
    assert [record.name for record in driver.snapshots()] == ["s"]
    assert driver.groups() == []
    assert driver.digest_snapshot(snapshot.snapshot_id) != driver.digest_volume(volume.volume_id)
    assert driver.free_bytes(ZONE_A) == 9 * GIB
    for ask in (driver.digest_volume, driver.digest_snapshot):
        with pytest.raises(CsiError) as refused:
            ask("none")
        assert refused.value.code is CsiCode.NOT_FOUND
    driver.register_node("n9", ZONE_A)
    here.mount(here.volume("w", requisite=["a"]).volume_id, str(target.parent / "w"), node="n9")


def test_what_it_was_asked(driver: CsiDriver, here: World) -> None:
    here.volume("v", parameters={"k": "v"})
    here.refused(create("v", size=2 * GIB), CsiCode.ALREADY_EXISTS)
    here.call(csi.NodeGetInfoRequest(), node="n2")
    first, second, third = driver.calls
    assert first == Call("CreateVolume", create("v", parameters={"k": "v"}), "", CsiCode.OK, "")
    assert second.code is CsiCode.ALREADY_EXISTS
    assert second.detail
    assert (third.method, third.node, third.about) == ("NodeGetInfo", "n2", "")
    assert str(first) == "CreateVolume v -> OK"
    assert (str(second), str(third)) == (f"CreateVolume v -> AlreadyExists: {second.detail}", "NodeGetInfo on n2 -> OK")
    assert driver.calls_of("CreateVolume") == [first, second]
    with pytest.raises(InputError, match="'CreateVolumes' is no CSI call"):
        driver.calls_of("CreateVolumes")


def test_faults_come_and_go(driver: CsiDriver, here: World) -> None:
    assert driver.faults.add(rpc="CreateVolume", error="UNAVAILABLE", times=1) == ["fault-1"]
    here.refused(create("v"), CsiCode.UNAVAILABLE, match="injected fault fault-1")
    here.volume("v")
    names = driver.faults.add({"name": "busy", "rpc": "Delete*", "error": "ABORTED"}, {"rpc": "Probe", "notReady": "1h"})
    assert names == ["busy", "fault-2"]
    here.refused(csi.DeleteVolumeRequest(volume_id="vol-0001"), CsiCode.ABORTED)
    assert here.call(csi.ProbeRequest()).ready is False
    driver.faults.remove("busy")
    here.call(csi.DeleteVolumeRequest(volume_id="vol-0001"))
    assert [fault["name"] for fault in driver.faults.plan] == ["fault-1", "fault-2"]
    driver.faults.clear()
    assert here.call(csi.ProbeRequest()).ready is True
    assert driver.faults.fired == {"fault-1": 1, "busy": 1, "fault-2": 1}
    assert driver.faults.add(rpc="Probe", from_="1h", error="INTERNAL") == ["fault-3"]
    # fmt: off
    for given, words in (
        ({"rpc": "Probe"},                                           r"faults\[1\]: does nothing"),
        ({"name": "fault-3", "rpc": "Probe", "error": "ABORTED"},    "fault-3 is the name of another fault"),
        ({"rpc": "Probe", "err": "ABORTED"},                         r"faults\[1\].err: unknown key"),
    ):
        with pytest.raises(InputError, match=words):
            driver.faults.add(given)
    # fmt: on
    with pytest.raises(InputError, match="no fault is named 'x'; there are: fault-3"):
        driver.faults.remove("x")
    assert [fault["name"] for fault in driver.faults.plan] == ["fault-3"]


def test_plans_from_files_beside_the_test(tmp_path: Path) -> None:
    (tmp_path / "plan.yaml").write_text("seed: 3\nfaults:\n- rpc: Probe\n  calls: 1,3-\n  error: ABORTED\n")
    with CsiDriver.running(full(), fault_folder=tmp_path) as driver, driver.client() as client:
        driver.faults.add("plan.yaml")
        here = World(client, None, None, "grpc")  # type: ignore[arg-type]
        here.refused(csi.ProbeRequest(), CsiCode.ABORTED)
        here.call(csi.ProbeRequest())
        here.refused(csi.ProbeRequest(), CsiCode.ABORTED)
        (tmp_path / "wrong.yaml").write_text("faults:\n- rpc: Probe\n  error: FINE\n")
        with pytest.raises(InputError, match=r"wrong\.yaml, line 3, faults\[0\]\.error: is 'FINE'"):
            driver.faults.add("wrong.yaml")


def test_it_ends_and_begins_again(driver: CsiDriver, here: World) -> None:
    driver.faults.add(name="once", rpc="CreateSnapshot", calls=1, error="ABORTED")
    volume = here.volume("v")
    here.refused(csi.CreateSnapshotRequest(source_volume_id=volume.volume_id, name="s"), CsiCode.ABORTED)
    for end in (driver.stop, driver.kill):
        end()
        end()
        assert not driver.running_now
        here.refused(csi.ProbeRequest(), CsiCode.UNAVAILABLE)
        for ask in (driver.volumes, lambda: driver.backend):
            with pytest.raises(InputError, match=r"driver full\.csi\.volsched\.dev: it does not run; start it first"):
                ask()
        driver.start()
        driver.start()
        assert [record.name for record in driver.volumes()] == ["v"]
    driver.faults.clear()
    driver.stop()
    driver.faults.add(name="later", rpc="DeleteVolume", error="ABORTED")
    driver.restart()
    here.snapshot(volume.volume_id, "s")  # the fault has counted its call in the first life
    here.refused(csi.DeleteVolumeRequest(volume_id=volume.volume_id), CsiCode.ABORTED)
    assert driver.faults.fired == {"once": 1, "later": 1}
    assert [call.method for call in driver.calls if call.code is CsiCode.ABORTED] == ["CreateSnapshot", "DeleteVolume"]


def test_the_backend_is_at_hand_in_this_process_only() -> None:
    with CsiDriver.running(zonal()) as driver:
        assert driver.backend.volumes() == []
        assert (driver.name, driver.node_id) == ("zonal.csi.volsched.dev", "node-1")
    with CsiDriver.running(full(), process="child") as driver, pytest.raises(InputError, match="process of its own"):
        assert driver.backend


def test_a_crash_kills_the_child_once_and_it_is_begun_again() -> None:
    plan = [{"name": "dies", "rpc": "CreateVolume", "calls": 2, "crash": "after"}]
    with (
        CsiDriver.running(full(), process="child", faults=plan) as driver,
        GrpcClient(driver.endpoint, connect_timeout_s=PATIENCE_S) as client,
    ):
        here = World(client, None, None, "grpc")  # type: ignore[arg-type]
        here.volume("v")
        here.refused(create("w"), CsiCode.UNAVAILABLE)
        client.wait_ready(PATIENCE_S)  # the socket of a process that is being killed still takes connections for a moment, and loses them
        assert client.call("CreateVolume", create("w"), timeout_s=PATIENCE_S).volume.volume_id == "vol-0002"  # type: ignore[attr-defined]
        assert [record.name for record in driver.volumes()] == ["v", "w"]
        assert driver.faults.fired == {"dies": 1}
        assert [call.code for call in driver.calls_of("CreateVolume")] == [CsiCode.OK, None, CsiCode.OK]
        assert str(driver.calls_of("CreateVolume")[1]) == "CreateVolume w -> no answer"


def test_chances_go_on_after_a_crash() -> None:
    """A driver that dies by chance does not die by the same chance in every life."""
    plan = [{"name": "dies", "rpc": "Probe", "probability": 0.5, "crash": "before"}]
    with (
        CsiDriver.running(full(), process="child", faults=plan, seed=2) as driver,
        GrpcClient(driver.endpoint, connect_timeout_s=PATIENCE_S) as client,
    ):
        codes = []
        while not {CsiCode.OK, CsiCode.UNAVAILABLE} <= set(codes) and len(codes) < 30:
            try:
                client.call("Probe", csi.ProbeRequest(), timeout_s=PATIENCE_S)
                codes.append(CsiCode.OK)
            except CsiError as error:
                codes.append(error.code)
        assert {CsiCode.OK, CsiCode.UNAVAILABLE} <= set(codes)


def test_in_this_process_a_crash_is_a_lost_connection() -> None:
    plan = [{"rpc": "CreateVolume", "calls": 1, "crash": "after"}]
    with CsiDriver.running(full(), faults=plan) as driver, driver.client() as client:
        here = World(client, None, None, "grpc")  # type: ignore[arg-type]
        here.refused(create("v"), CsiCode.UNAVAILABLE, match="EOF")
        assert here.volume("v").volume_id == "vol-0001"


def _process_of(driver: CsiDriver) -> subprocess.Popen[bytes]:
    life = driver._life
    assert isinstance(life, Child)
    return life._process


@pytest.mark.parametrize("restarts", [True, False])
def test_a_child_that_is_killed_by_others(restarts: bool) -> None:
    with CsiDriver.running(full(), process="child", restarts=restarts) as driver:
        with driver.client() as client:
            World(client, None, None, "grpc").volume("v")  # type: ignore[arg-type]
        life = driver._life
        assert life is not None
        _process_of(driver).send_signal(signal.SIGKILL)
        if restarts:
            assert [record.name for record in driver.volumes()] == ["v"]
            assert driver._life is not life
        else:
            life.over.wait(60)
            with pytest.raises(InputError, match="it has died; start it again"):
                driver.volumes()
            driver.start()
            assert [record.name for record in driver.volumes()] == ["v"]


def test_questions_to_one_that_is_dying_are_answered_by_the_next() -> None:
    with CsiDriver.running(full(), process="child") as driver:
        for _ in range(3):
            _process_of(driver).kill()
            assert driver.volumes() == []


ORPHAN = """
import sys
from volsched.csi.profile import full
from volsched.testing.driver import CsiDriver
with CsiDriver.running(full(), process="child") as driver:
    print(driver._life._process.pid, driver.endpoint, flush=True)
    sys.stdin.read()
"""


def test_a_child_does_not_outlive_its_test() -> None:
    with subprocess.Popen([sys.executable, "-c", ORPHAN], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as test:
        assert test.stdout is not None
        pid, endpoint = test.stdout.readline().split()
        test.kill()
    deadline = time.monotonic() + 60
    while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path(f"/proc/{pid}").exists()
    folder = Path(endpoint.removeprefix("unix://")).parent
    assert not (folder / "csi.sock").exists()
    shutil.rmtree(folder)


def test_a_child_that_cannot_start_says_why() -> None:
    from volsched.testing.served import Settings

    settings = Settings(profile=full(), endpoint="unix:///nowhere/at/all.sock", folder="/tmp", node_id="n")
    with pytest.raises(InputError, match="the directory /nowhere/at does not exist"):
        Child(settings, lambda said: None, lambda life, counted: None)
