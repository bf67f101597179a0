"""What only shows in processes of their own: kills, pipes, terminals, drivers on sockets."""

from __future__ import annotations

import contextlib
import os
import pty
import select
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.builders import ZONE, make_class, make_csidriver, make_csinode, make_node, make_pod, make_pvc
from tests.unit.cli.kill9_apply import torture
from tests.unit.cli.shell import COMMAND, Shell
from volsched.csi.server import CsiServer, standalone

DRIVER = "csi.example.com"


def test_kill_9_loses_nothing_acknowledged(tmp_path: Path) -> None:
    figures = torture(tmp_path, calls=6, seed=2)
    assert figures["calls"] == figures["killed"] + figures["ended_before_the_kill"]


def test_one_process_applies_and_another_deletes(volsched: Shell) -> None:
    file = volsched.file(make_pvc("data", storage_class="fast"), make_pod("web", claims=["data"]))
    volsched.apply(make_node("n1", zone="a"), make_csinode("n1"), make_class("fast"))
    assert volsched.process("apply", "-f", file).lines == ["persistentvolumeclaim/data created", "pod/web created"]
    assert volsched.get("pod", "web")["status"]["phase"] == "Running"
    assert volsched.process("delete", "-f", file).err == ""
    assert volsched.get("pv")["items"] == volsched.get("volumeattachments")["items"] == []


def test_a_reader_that_goes_away(volsched: Shell) -> None:
    volsched.apply(*(make_node(f"node-{i:03}") for i in range(300)))
    process = subprocess.Popen(
        [*COMMAND, "get", "nodes", "-o", "json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=volsched.environment()
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.read(10)
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(60) == 0


def _on_a_terminal(volsched: Shell, *words: str, columns: int, **environment: str) -> str:
    """What a command shows on a terminal."""
    main, other = pty.openpty()
    env = volsched.environment(COLUMNS=str(columns), TERM="xterm", **environment)
    if "NO_COLOR" not in environment:
        env.pop("NO_COLOR", None)
    process = subprocess.Popen([*COMMAND, *words], stdout=other, stderr=other, stdin=subprocess.DEVNULL, env=env)
    os.close(other)
    shown = b""
    with contextlib.suppress(OSError):  # how Linux says that the other end is closed
        while select.select([main], [], [], 60)[0]:
            piece = os.read(main, 65536)
            if not piece:
                break
            shown += piece
    os.close(main)
    assert process.wait(60) == 0
    return shown.decode().replace("\r\n", "\n")


def test_a_terminal_gets_colour_and_lines_that_fit(volsched: Shell) -> None:
    volsched.story("10", "20", "30", "40")
    shown = _on_a_terminal(volsched, "explain", "pod/web", columns=80)
    assert "\x1b[31m0 of 3 nodes fit\x1b[0m" in shown
    plain = _on_a_terminal(volsched, "explain", "pod/web", columns=80, NO_COLOR="1")
    assert "\x1b" not in plain
    assert all(len(line) <= 80 for line in plain.splitlines())
    piped = volsched("explain", "pod/web").out
    assert plain.split() == piped.split()
    assert "\x1b" not in piped


def test_sigint_ends_with_130(volsched: Shell) -> None:
    # whatever started the tests may have SIGINT ignored, which is inherited
    listening = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    python, flag, program = COMMAND
    command = [python, flag, listening + program, "apply", "-f", "-"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, env=volsched.environment()) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        # more than a pipe holds: once it is written, the other end is reading
        process.stdin.write(b"# nothing\n" * 20_000)
        process.send_signal(signal.SIGINT)
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            # it came between two reads, and Python looks for signals when one is interrupted: a user presses the keys again
            process.send_signal(signal.SIGINT)
        assert process.stderr.read().strip().endswith(b"interrupted")
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
    assert process.returncode == 130
    assert not volsched.state.exists()


# drivers that run by themselves


@pytest.fixture
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"unix://{tmp_path_factory.mktemp('csi')}/csi.sock"


@contextlib.contextmanager
def _serving(endpoint: str, state: Path) -> Iterator[None]:
    with standalone(name=DRIVER, state=state, node_id="n1") as driver, CsiServer(driver, endpoint):
        yield


def test_a_driver_on_a_socket_registers_on_the_node_it_names(volsched: Shell, endpoint: str) -> None:
    with standalone(name=DRIVER, zone_names=["a", "b"], node_id="n1", max_volumes_per_node=3) as driver, CsiServer(driver, endpoint):
        objects = [make_node("n1"), make_class("fast"), make_pvc("data", storage_class="fast"), make_pod("web", claims=["data"])]
        volsched.apply(*objects, options=["--csi-endpoint", endpoint])
        entry = {"name": DRIVER, "nodeID": "n1", "topologyKeys": [ZONE], "allocatable": {"count": 3}}
        assert volsched.get("csinode", "n1")["spec"]["drivers"] == [entry]
        assert volsched.get("node", "n1")["metadata"]["labels"][ZONE] == "a"
        assert volsched.get("pod", "web")["status"]["phase"] == "Running"


def test_a_driver_on_a_socket_from_call_to_call(volsched: Shell, endpoint: str) -> None:
    records = volsched.folder / "driver.db"
    objects = [
        make_node("n1"),
        make_csinode("n1", keys=[]),
        make_csidriver(DRIVER, attach_required=True),
        make_class("fast"),
        make_pvc("data", storage_class="fast"),
        make_pod("web", claims=["data"]),
    ]
    with _serving(endpoint, records):
        volsched.apply(*objects, options=["--csi-endpoint", endpoint])
        assert volsched.get("pod", "web")["status"]["phase"] == "Running"
        assert len(list((volsched.folder / "driver.db.data" / "volumes").iterdir())) == 1
        assert list(Path(f"{volsched.state}.kubelet").rglob("mount"))
    # the cluster remembers its driver, and does nothing without it
    before = volsched.content
    for words in (("delete", "pod", "web"), ("apply", "-f", str(volsched.file(make_node("n2"))))):
        answer = volsched(*words, code=1)
        assert answer.out == ""
        assert answer.err == f"error: cannot reach the CSI driver at {endpoint}: there is no such socket; is the driver running?\n"
    assert volsched.content == before
    assert volsched("get", "pods").lines[1].startswith("web")
    with _serving(endpoint, records):
        volsched("delete", "pod/web", "pvc/data")
        assert volsched.get("pv")["items"] == []
        assert list((volsched.folder / "driver.db.data" / "volumes").iterdir()) == []


def test_sockets_nobody_serves(volsched: Shell) -> None:
    file = volsched.file(make_node("n1"))
    plain = volsched.text("plain", "no socket")
    for command, given, said in (
        ("apply", f"unix://{volsched.folder}/none.sock", "there is no such socket; is the driver running?"),
        ("run", f"unix://{volsched.folder}/none.sock", "there is no such socket; is the driver running?"),
        ("apply", f"unix://{plain}", "it is not a socket"),
        ("apply", "tcp://localhost:1", "only unix sockets are served; write unix:///PATH"),
        ("run", "unix:///" + "x" * 200, "use a shorter one"),
    ):
        answer = volsched(command, "-f", file, "--csi-endpoint", given, code=1)
        assert answer.out == ""
        assert said in answer.err
        assert answer.err.count("\n") == 1
    assert not volsched.state.exists()


def test_csi_serve_until_sigterm(volsched: Shell, endpoint: str) -> None:
    process = subprocess.Popen(
        [*COMMAND, "csi", "serve", "--endpoint", endpoint, "--zones", "a,b"], stderr=subprocess.PIPE, text=True, env=volsched.environment()
    )
    assert process.stderr is not None
    assert process.stderr.readline().rstrip().endswith(f"on {endpoint}")
    second = volsched.process("csi", "serve", "--endpoint", endpoint, code=1)
    assert second.err.startswith("error: socket ")
    assert "is in use by a running server" in second.err
    process.terminate()
    assert process.wait(60) == 0
    assert process.stderr.read() == ""
    process.stderr.close()


# fmt: off
CSI_SERVE_REFUSALS = [
    (("--endpoint", "tcp://x:1"),                                       "only unix sockets are served"),
    (("--endpoint", "unix:///nowhere/at/all.sock"),                     "the directory /nowhere/at does not exist"),
    (("--endpoint", "unix:///tmp/x.sock", "--zones", "a,a"),            "one is named twice"),
    (("--endpoint", "unix:///tmp/x.sock", "--name", "no name"),         "driver name 'no name'"),
]
# fmt: on


@pytest.mark.parametrize(("options", "said"), CSI_SERVE_REFUSALS)
def test_csi_serve_refuses(volsched: Shell, options: tuple[str, ...], said: str) -> None:
    answer = volsched("csi", "serve", *options, code=1)
    assert said in answer.err
    assert answer.err.count("\n") == 1
