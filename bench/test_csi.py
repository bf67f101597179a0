"""A CSI call and its answer: into the fake driver in this process, and over gRPC on a unix socket to the same driver.

The in-process client is the baseline: what lies between the two is the messages' way through protobuf, gRPC and the socket. The server is
in this process too, so both sides share one interpreter; a driver in a process of its own answers sooner.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, Final

import pytest

from bench.loading import note
from tests.unit.csi.world import World, create, world, zones_of
from volsched.api import csi

TRANSPORTS: Final = ("inprocess", "grpc")
ROUNDS: Final = 200
LISTED: Final = 100


def _measure(benchmark: Any, here: World, call: str, function: Callable[[], Any]) -> Any:
    note(benchmark, group=f"{call}, CSI", unit="call", engine=here.transport)
    return benchmark.pedantic(function, rounds=ROUNDS)


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_probe(benchmark: Any, transport: str) -> None:
    with world(transport) as here:
        here.call(csi.ProbeRequest())  # connects
        answer = _measure(benchmark, here, "Probe", lambda: here.call(csi.ProbeRequest()))
        assert answer.ready is not False


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_create_volume(benchmark: Any, transport: str) -> None:
    with world(transport) as here:
        here.call(csi.ProbeRequest())
        numbers = itertools.count()
        answer = _measure(benchmark, here, "CreateVolume", lambda: here.call(create(f"v{next(numbers)}", requisite=["a"])))
        assert zones_of(answer.volume) == ["a"]


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_create_snapshot(benchmark: Any, transport: str) -> None:
    with world(transport) as here:
        volume, numbers = here.volume(), itertools.count()
        taken = _measure(benchmark, here, "CreateSnapshot", lambda: here.snapshot(volume.volume_id, f"s{next(numbers)}"))
        assert taken.source_volume_id == volume.volume_id


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_mount_and_unmount(benchmark: Any, transport: str) -> None:
    """Six calls: publish to the node, stage, publish, and back."""
    with world(transport) as here:
        volume = here.volume(requisite=["a"])

        def there_and_back() -> None:
            here.mount(volume.volume_id, "/mnt/target")
            here.unmount(volume.volume_id, "/mnt/target")

        _measure(benchmark, here, "mount and unmount", there_and_back)
        benchmark.extra_info["units"] = 6
        here.mount(volume.volume_id, "/mnt/target")  # raises unless the rounds left it unmounted


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_list_volumes(benchmark: Any, transport: str) -> None:
    with world(transport) as here:
        for number in range(LISTED):
            here.volume(f"v{number}")
        answer = _measure(benchmark, here, f"ListVolumes of {LISTED}", lambda: here.call(csi.ListVolumesRequest()))
        assert len(answer.entries) == LISTED
