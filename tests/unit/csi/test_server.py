"""The socket: who may use it, what is in the way of it, what happens around a call, and a server that is killed."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.unit.csi.world import START_NS, World, create, full, world
from volsched.api import csi
from volsched.api.csi import Message
from volsched.csi.backend import FakeDriver
from volsched.csi.client import GrpcClient
from volsched.csi.endpoint import SOCKET_PATH_BYTES_MAX, socket_path
from volsched.csi.server import CsiServer, main, standalone
from volsched.env.clock import VirtualClock
from volsched.errors import CsiCode, CsiError, InputError, UnsupportedError

SOURCE = Path(__file__).resolve().parents[3] / "src"


class Held:
    """A driver whose calls wait until they are let go."""

    name = "held.driver"

    def __init__(self) -> None:
        self.entered, self.let_go = threading.Event(), threading.Event()

    def call(self, method: str, request: Message, *, node: str = "") -> Message:
        self.entered.set()
        self.let_go.wait(30)
        return csi.ProbeResponse(ready=True)


class Answering:
    """A driver that answers what it is told to."""

    name = "answering.driver"

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def call(self, method: str, request: Message, *, node: str = "") -> Message:
        if isinstance(self.answer, Exception):
            raise self.answer
        message: Message = self.answer
        return message


def make_driver() -> FakeDriver:
    return FakeDriver(full(), clock=VirtualClock(START_NS))


def test_the_socket_is_for_its_owner_and_goes_with_the_server(tmp_path: Path) -> None:
    path = tmp_path / "csi.sock"
    with CsiServer(make_driver(), f"unix://{path}") as server:
        assert path.stat().st_mode & 0o777 == 0o600
        assert list(tmp_path.iterdir()) == [path]  # no other file beside it
        assert server.endpoint == f"unix://{path}"
    assert not path.exists()


def test_a_socket_in_use_is_refused_and_a_dead_one_replaced(tmp_path: Path) -> None:
    path = tmp_path / "csi.sock"
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(str(path))
    dead.close()
    with CsiServer(make_driver(), str(path)), GrpcClient(f"unix:{path}") as client:
        with pytest.raises(InputError, match=r"csi\.sock is in use by a running server"):
            CsiServer(make_driver(), str(path)).start()
        assert client.call("Probe", csi.ProbeRequest()) == csi.ProbeResponse(ready=True)


def test_paths_that_cannot_be_a_socket(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("precious")
    for path, text in ((tmp_path / "file", "a file that is no socket is in the way"), (tmp_path / "no" / "sock", "does not exist")):
        with pytest.raises(InputError, match=text):
            CsiServer(make_driver(), f"unix://{path}").start()
    assert (tmp_path / "file").read_text() == "precious"


def test_endpoints() -> None:
    assert socket_path("unix:///a/b.sock") == socket_path("unix:/a/b.sock") == socket_path("/a/b.sock") == Path("/a/b.sock")
    assert socket_path("unix:b.sock") == Path.cwd() / "b.sock"
    exact = "/" + "x" * (SOCKET_PATH_BYTES_MAX - 1)
    assert socket_path(f"unix://{exact}") == Path(exact)
    for endpoint, kind, text in (
        (f"unix://{exact}x", InputError, "the socket path has 108 bytes, a unix socket takes 107; use a shorter one"),
        ("tcp://127.0.0.1:5000", UnsupportedError, "only unix sockets"),
        ("127.0.0.1:5000", UnsupportedError, "only unix sockets"),
        ("unix://", InputError, "names no path"),
        ("", InputError, "names no path"),
    ):
        with pytest.raises(kind, match=text) as caught:
            GrpcClient(endpoint)
        assert "\n" not in str(caught.value)


def test_why_nothing_is_reached(tmp_path: Path) -> None:
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(str(tmp_path / "dead"))
    dead.close()
    (tmp_path / "file").touch()
    for name, text in (
        ("none", "there is no such socket"),
        ("dead", "the socket is there, but no driver listens on it"),
        ("file", "it is not a socket"),
    ):
        with GrpcClient(f"unix://{tmp_path}/{name}", connect_timeout_s=0) as client:
            with pytest.raises(CsiError) as caught:
                client.call("Probe", csi.ProbeRequest())
            assert caught.value.code is CsiCode.UNAVAILABLE
            assert caught.value.detail.startswith(f"cannot reach the CSI driver at unix://{tmp_path}/{name}: {text}")
            with pytest.raises(CsiError, match=text):
                client.wait_ready(timeout_s=0)


def test_a_client_finds_a_driver_that_starts_later_and_again(tmp_path: Path) -> None:
    endpoint = f"unix://{tmp_path}/csi.sock"
    with GrpcClient(endpoint, connect_timeout_s=30) as client:
        server = CsiServer(make_driver(), endpoint)
        later = threading.Timer(0.1, server.start)
        later.start()
        client.wait_ready(timeout_s=30)
        later.join()
        server.stop()
        # on a connection that was good a call that cannot be sent fails at once
        with pytest.raises(CsiError) as caught:
            client.call("Probe", csi.ProbeRequest())
        assert caught.value.code is CsiCode.UNAVAILABLE
        with CsiServer(make_driver(), endpoint):
            assert client.call("Probe", csi.ProbeRequest()) == csi.ProbeResponse(ready=True)


def test_a_driver_that_is_not_ready_yet(tmp_path: Path) -> None:
    driver = Answering(csi.ProbeResponse(ready=False))
    with CsiServer(driver, f"unix://{tmp_path}/s") as server, GrpcClient(server.endpoint) as client:
        with pytest.raises(CsiError, match="the driver is still starting"):
            client.wait_ready(timeout_s=1)
        driver.answer = CsiError(CsiCode.FAILED_PRECONDITION, "no disk")
        with pytest.raises(CsiError, match="no disk"):
            client.wait_ready(timeout_s=10)


def test_deadline_and_graceful_stop(tmp_path: Path) -> None:
    held = Held()
    with CsiServer(held, f"unix://{tmp_path}/s") as server, GrpcClient(server.endpoint) as client:
        with pytest.raises(CsiError) as caught:
            client.call("Probe", csi.ProbeRequest(), timeout_s=0.05)
        assert (caught.value.code, caught.value.detail) == (CsiCode.DEADLINE_EXCEEDED, "context deadline exceeded")
        held.entered.clear()
        answers: list[Message] = []
        call = threading.Thread(target=lambda: answers.append(client.call("Probe", csi.ProbeRequest(), timeout_s=30)))
        call.start()
        held.entered.wait(30)
        stop = threading.Thread(target=server.stop)
        stop.start()
        held.let_go.set()
        stop.join()
        call.join()
        assert answers == [csi.ProbeResponse(ready=True)]  # the call under way was finished


def test_every_code_comes_through_with_its_text_and_without_details(tmp_path: Path) -> None:
    driver = Answering(None)
    with CsiServer(driver, f"unix://{tmp_path}/s") as server, GrpcClient(server.endpoint) as client:
        for code in CsiCode:
            if code is CsiCode.OK:
                continue
            for detail, expected in (("some text, ä", "some text, ä"), ("", code.words)):
                driver.answer = CsiError(code, detail)
                with pytest.raises(CsiError) as caught:
                    client.call("Probe", csi.ProbeRequest())
                assert (caught.value.code, caught.value.detail, caught.value.method) == (code, expected, "Probe")
        driver.answer = CsiError(CsiCode.INTERNAL, "x")
        channel = grpc.insecure_channel(f"unix:{tmp_path}/s")
        with channel, pytest.raises(grpc.RpcError) as raw:
            channel.unary_unary("/csi.v1.Identity/Probe")(b"", wait_for_ready=True)
        assert [key for key, _ in raw.value.trailing_metadata()] == []


def test_methods_the_driver_does_not_have(tmp_path: Path) -> None:
    with CsiServer(make_driver(), f"unix://{tmp_path}/s") as server, grpc.insecure_channel(f"unix:{server.endpoint[7:]}") as channel:
        for path in (
            "/csi.v1.GroupController/Nonsense",
            "/csi.v1.SnapshotMetadata/GetMetadataAllocated",
            "/csi.v1.Controller/Nonsense",
        ):
            with pytest.raises(grpc.RpcError) as caught:
                channel.unary_unary(path)(b"", wait_for_ready=True)
            assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
            assert caught.value.details()


def test_messages_that_are_too_large_or_no_messages(tmp_path: Path) -> None:
    with CsiServer(make_driver(), f"unix://{tmp_path}/s") as server, GrpcClient(server.endpoint) as client:
        big = create(parameters={"k": "v" * (5 << 20)})
        with pytest.raises(CsiError) as caught:
            client.call("CreateVolume", big)
        assert caught.value.code is CsiCode.RESOURCE_EXHAUSTED
        with grpc.insecure_channel(f"unix:{tmp_path}/s") as channel, pytest.raises(grpc.RpcError) as raw:
            channel.unary_unary("/csi.v1.Controller/CreateVolume")(b"\xff\xff", wait_for_ready=True)
        assert raw.value.code() is grpc.StatusCode.INTERNAL
        assert client.call("Probe", csi.ProbeRequest()) == csi.ProbeResponse(ready=True)


def test_a_request_of_the_wrong_type_is_refused_on_both_sides() -> None:
    for transport in ("inprocess", "grpc"):
        with world(transport) as here:
            for method in ("CreateVolume", "Nonsense"):
                with pytest.raises(CsiError, match=f"{method} does not take ProbeRequest"):
                    here.client.call(method, csi.ProbeRequest())


# A process of its own


@contextmanager
def process(tmp_path: Path, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], GrpcClient]]:
    endpoint = f"unix://{tmp_path}/csi.sock"
    command = [sys.executable, "-m", "volsched.csi.server", "--endpoint", endpoint, "--node-id", "n1", *arguments]
    environment = {**os.environ, "PYTHONPATH": f"{SOURCE}:{os.environ.get('PYTHONPATH', '')}"}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as server:
        try:
            assert server.stderr is not None
            assert server.stderr.readline().startswith("serving ")
            with GrpcClient(endpoint) as client:
                yield server, client
        finally:
            server.kill()


def test_kill_9_loses_nothing_acknowledged(tmp_path: Path) -> None:
    state = ("--state", str(tmp_path / "driver.db"), "--zones", "a,b")
    target = tmp_path / "pods" / "mount"
    with process(tmp_path, *state) as (server, client):
        here = World(client, None, None, "grpc")  # type: ignore[arg-type]
        here.mount(here.volume("v", requisite=["a"]).volume_id, str(target))
        (target / "file").write_bytes(b"first")
        snapshot = here.snapshot("vol-0001")
        (target / "file").write_bytes(b"second")
        for number in range(20):
            here.volume(f"v{number}")
        server.kill()  # with the last answer just in
        server.wait()
    with process(tmp_path, *state) as (server, client):
        here = World(client, None, None, "grpc")  # type: ignore[arg-type]
        assert len(here.call(csi.ListVolumesRequest()).entries) == 21
        assert here.snapshot("vol-0001") == snapshot
        assert (target / "file").read_bytes() == b"second"
        restored = here.volume("r", snapshot=snapshot.snapshot_id, requisite=["a"])
        assert restored.volume_id == "vol-0022"
        here.mount(restored.volume_id, str(tmp_path / "restored"))
        assert (tmp_path / "restored" / "file").read_bytes() == b"first"
        here.refused(csi.DeleteVolumeRequest(volume_id="vol-0001"), CsiCode.FAILED_PRECONDITION, match="n1")
        server.send_signal(signal.SIGTERM)
        assert server.wait(30) == 0
    assert not (tmp_path / "csi.sock").exists()


def test_main_says_in_one_line_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "text").write_text("x" * 5000)
    for arguments in (
        ["--endpoint", ""],
        ["--endpoint", "tcp://1.2.3.4:5"],
        ["--endpoint", f"unix://{tmp_path}/s", "--state", str(tmp_path / "text")],
        ["--endpoint", f"unix://{tmp_path}/s", "--zones", "a,a"],
        ["--endpoint", f"unix://{tmp_path}/s", "--zones", "not/a/zone"],
        ["--endpoint", f"unix://{tmp_path}/s", "--name", "-"],
    ):
        assert main(arguments) == 1
        error = capsys.readouterr().err
        assert error.startswith("error: ") and error.count("\n") == 1
    assert not (tmp_path / "s").exists()


def test_standalone_profiles(tmp_path: Path) -> None:
    with standalone(profile="zonal", name="my.driver") as driver:
        assert driver.name == "my.driver"
        assert not driver.profile.node_service
    with standalone(state=tmp_path / "s.db", zone_names=["a"]) as driver:
        assert driver.call("NodeGetInfo", csi.NodeGetInfoRequest()) == csi.NodeGetInfoResponse(
            node_id=os.uname().nodename, accessible_topology=csi.Topology(segments={"topology.kubernetes.io/zone": "a"})
        )
    with pytest.raises(InputError, match="profile 'x' is not known; known: zonal, full"), standalone(profile="x"):
        pass
