"""A driver on a unix socket: gRPC in front of `Driver.call`.

The socket is for its owner only (0600), replaces one that a dead server left, and is refused while another server answers there. A call's
node comes from the metadata key `volsched-node-id`; without it the driver's own node is meant. An error is a code and a text, never with
details; a method the driver does not have is UNIMPLEMENTED. On SIGTERM the server takes no more calls, finishes those under way and leaves.

    python -m volsched.csi.server --endpoint unix:///PATH [--state DB] [--zones a,b,c] [--faults FILE]   (as `volsched csi serve`)
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import grpc

from volsched.api.csi import METHODS, service_of
from volsched.csi import profile as profiles
from volsched.csi.backend import Driver, FakeDriver
from volsched.csi.client import NODE_METADATA
from volsched.csi.directory import DirectoryData
from volsched.csi.endpoint import claim, socket_path
from volsched.csi.fault_file import load_plan
from volsched.csi.faults import FaultPlan, FaultyDriver
from volsched.csi.journal import SqliteJournal
from volsched.csi.wire import CODECS
from volsched.env.chance import Chance
from volsched.env.clock import RealClock
from volsched.errors import CsiCode, CsiError, InputError, StateError, VolschedError

REQUEST_BYTES_MAX: Final = 4 << 20  # what Go's gRPC takes by default
RESPONSE_BYTES_MAX: Final = 64 << 20
GRACE_S: Final = 10.0
WORKERS: Final = 8
WORKERS_UNDER_FAULTS: Final = 64  # calls that are delayed hold one each

_STATUS: Final = {code: next(item for item in grpc.StatusCode if item.value[0] == code) for code in CsiCode}
_OPTIONS: Final = (
    ("grpc.max_receive_message_length", REQUEST_BYTES_MAX),
    ("grpc.max_send_message_length", RESPONSE_BYTES_MAX),
    ("grpc.so_reuseport", 0),
)


class CsiServer:
    """A driver served from worker threads of this process, until `stop`; also a context manager.

    With a clock that stands still this is the demonstration's driver: time does not pass during a call.
    """

    def __init__(self, driver: Driver, endpoint: str, *, workers: int = WORKERS) -> None:
        self._driver = driver
        self._path = socket_path(endpoint)
        self.endpoint: Final = f"unix://{self._path}"
        self._workers = ThreadPoolExecutor(max_workers=workers, thread_name_prefix="csi")
        self._server = grpc.server(self._workers, options=_OPTIONS)
        services: dict[str, dict[str, Any]] = {}
        for method in METHODS:
            services.setdefault(service_of(method), {})[method] = self._handler(method)
        self._server.add_generic_rpc_handlers(
            tuple(grpc.method_handlers_generic_handler(f"csi.v1.{service}", handlers) for service, handlers in services.items())
        )
        self._inode: int | None = None

    def __enter__(self) -> CsiServer:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def start(self) -> None:
        """Bind and take calls. Raises InputError when the path cannot be used."""
        claim(self._path)
        old = os.umask(0o177)  # the socket must not be open to others even for an instant
        try:
            self._server.add_insecure_port(f"unix:{self._path}")
        except RuntimeError as error:
            raise InputError(f"socket {self._path} cannot be made; is the directory writable?") from error
        finally:
            os.umask(old)
        self._path.chmod(0o600)
        self._inode = self._path.stat().st_ino
        self._server.start()

    def stop(self, grace_s: float = GRACE_S) -> None:
        """Take no more calls, give those under way `grace_s` seconds, remove the socket."""
        self._server.stop(grace_s).wait()
        self._workers.shutdown(wait=False)
        with contextlib.suppress(FileNotFoundError):
            if self._inode is not None and self._path.stat().st_ino == self._inode:
                self._path.unlink()

    def _handler(self, method: str) -> Any:
        codec, driver = CODECS[method], self._driver

        def answer(request: Any, context: Any) -> Any:
            node = ""
            for key, value in context.invocation_metadata() or ():
                if key == NODE_METADATA:
                    node = str(value)
            try:
                return driver.call(method, request, node=node)
            except CsiError as error:
                context.abort(_STATUS[error.code], error.detail or error.code.words)
            except StateError as error:
                context.abort(grpc.StatusCode.INTERNAL, str(error))

        return grpc.unary_unary_rpc_method_handler(
            answer, request_deserializer=codec.decode_request, response_serializer=codec.encode_response
        )


def serve(
    driver: Driver,
    endpoint: str,
    *,
    ready: Callable[[str], None] | None = None,
    workers: int = WORKERS,
) -> None:
    """Serve until SIGTERM or SIGINT; has to be called from the main thread. `ready` is told the endpoint once calls are taken."""
    stopped = threading.Event()
    server = CsiServer(driver, endpoint, workers=workers)
    before = {number: signal.signal(number, lambda *_: stopped.set()) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        server.start()
        if ready is not None:
            ready(server.endpoint)
        stopped.wait()
        server.stop()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def standalone(
    *,
    profile: str = "full",
    name: str = "",
    zone_names: Sequence[str] = (),
    state: Path | None = None,
    node_id: str = "",
    max_volumes_per_node: int = 0,
    capacity: Mapping[str, int] | None = None,
    mutable_parameters: Sequence[str] = profiles.MUTABLE_PARAMETERS,
) -> Iterator[FakeDriver]:
    """A driver in real time with real files: records in the SQLite file `state` and bytes in the directory `STATE.data` beside it, or,
    without `state`, both gone at the end."""
    clock = RealClock()
    node = node_id or os.uname().nodename[:255]
    if profile == "full":
        chosen = profiles.full(
            name=name or profiles.FULL_DRIVER,
            zone_names=list(zone_names),
            capacity=capacity,
            max_volumes_per_node=max_volumes_per_node,
            mutable_parameters=frozenset(mutable_parameters),
        )
    elif profile == "zonal":
        chosen = profiles.zonal(name=name or profiles.ZONAL_DRIVER, zone_names=list(zone_names) or None, capacity=capacity)
        node = ""
    else:
        raise InputError(f"profile {profile!r} is not known; known: {', '.join(profiles.PROFILES)}")
    if state is None:
        with tempfile.TemporaryDirectory(prefix="volsched-csi-") as folder:
            driver = FakeDriver(chosen, clock=clock, data=DirectoryData(Path(folder), durable=False), default_node=node)
            yield driver
            driver.close()
        return
    journal = SqliteJournal(state)
    try:
        yield FakeDriver(chosen, clock=clock, data=DirectoryData(state.with_name(state.name + ".data")), journal=journal, default_node=node)
    finally:
        journal.close()


@contextlib.contextmanager
def under_faults(driver: FakeDriver, plan: FaultPlan | None, *, say: Callable[[str], None]) -> Iterator[Driver]:
    """The driver under a plan, in real time: delays pass, a crash is a SIGKILL. `say` is told of every fault, and at the end how often
    each fired. Without a plan the driver itself."""
    if plan is None:
        yield driver
        return
    faulty = FaultyDriver(
        driver,
        plan,
        RealClock(),
        Chance(plan.seed),
        real_time=True,
        crash=lambda: os.kill(os.getpid(), signal.SIGKILL),
        notice=say,
    )
    try:
        yield faulty
    finally:
        faulty.close()
        say("faults fired: " + (", ".join(f"{name} {count}" for name, count in faulty.fired.items()) or "the plan has none"))


def serve_standalone(endpoint: str, *, faults: Path | None = None, say: Callable[[str], None], **options: Any) -> None:
    """`standalone` with these options, under the faults of a file if one is given, served until SIGTERM."""
    plan = None if faults is None else load_plan(faults)
    with standalone(**options) as driver, under_faults(driver, plan, say=say) as served:
        serve(
            served,
            endpoint,
            ready=lambda bound: say(f"serving {driver.name} on {bound}"),
            workers=WORKERS if plan is None else WORKERS_UNDER_FAULTS,
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve a driver until SIGTERM; one line on stderr and exit code 1 when it cannot be."""
    parser = argparse.ArgumentParser(prog="python -m volsched.csi.server", description="Serve the fake CSI driver on a unix socket.")
    parser.add_argument("--endpoint", default=os.environ.get("CSI_ENDPOINT", ""), help="unix:///PATH, default $CSI_ENDPOINT")
    parser.add_argument("--state", type=Path, help="SQLite file that survives a restart; volume data goes to STATE.data beside it")
    parser.add_argument("--faults", type=Path, help="YAML file of what goes wrong when; see docs/faults.md")
    parser.add_argument("--zones", default="", help="zones a,b,c; without them volumes are reachable from everywhere")
    parser.add_argument("--profile", default="full", choices=profiles.PROFILES)
    parser.add_argument("--name", default="", help="driver name")
    parser.add_argument("--node-id", default="", help="node this process is on, default the host name")
    parser.add_argument("--max-volumes-per-node", type=int, default=0)
    options = parser.parse_args(arguments)
    try:
        serve_standalone(
            options.endpoint,
            faults=options.faults,
            say=_say,
            profile=options.profile,
            name=options.name,
            zone_names=[zone for zone in options.zones.split(",") if zone],
            state=options.state,
            node_id=options.node_id,
            max_volumes_per_node=options.max_volumes_per_node,
        )
    except VolschedError as error:
        _say(f"error: {error}")
        return 1
    return 0


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


if __name__ == "__main__":
    raise SystemExit(main())
