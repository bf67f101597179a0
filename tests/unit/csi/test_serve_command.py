"""`volsched csi serve` on the command line: what its options make, and what it says of wrong ones."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.unit.csi.world import GIB, World, create, zones, zones_of
from volsched.api import csi
from volsched.csi.client import GrpcClient
from volsched.errors import CsiCode

ROOT = Path(__file__).resolve().parents[3]
ENVIRONMENT = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{os.environ.get('PYTHONPATH', '')}"}
COMMAND = [sys.executable, "-c", "from volsched.cli import main; main()", "csi", "serve"]


@contextmanager
def served(folder: Path, *options: str) -> Iterator[World]:
    endpoint = f"unix://{folder}/csi.sock"
    with subprocess.Popen([*COMMAND, "--endpoint", endpoint, *options], env=ENVIRONMENT, stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stderr is not None
            assert server.stderr.readline().startswith("serving ")
            with GrpcClient(endpoint) as client:
                yield World(client, None, None, "grpc")  # type: ignore[arg-type]
            server.terminate()
            assert server.wait(30) == 0
        finally:
            server.kill()


def test_options(tmp_path: Path) -> None:
    options = ["--zones", "a,b", "--capacity", "a=10Gi", "--mutable-parameters", "speed", "--max-volumes-per-node", "3", "--node-id", "n1"]
    with served(tmp_path, *options) as here:
        free = [here.call(csi.GetCapacityRequest(accessible_topology=zone)).available_capacity for zone in zones("a", "b")]
        assert free == [10 * GIB, 1 << 50]
        info = here.call(csi.NodeGetInfoRequest())
        assert (info.node_id, info.max_volumes_per_node, info.accessible_topology) == ("n1", 3, zones("a")[0])
        assert here.volume("v", mutable={"speed": "high"}).volume_id == "vol-0001"
        here.refused(create("w", mutable={"iops": "1"}), CsiCode.INVALID_ARGUMENT, match="supported: speed")


def test_by_default_it_has_every_service_and_an_attach_limit(tmp_path: Path) -> None:
    with served(tmp_path) as here:
        services = [item.service.type for item in here.call(csi.GetPluginCapabilitiesRequest()).capabilities if item.service]
        assert services == ["CONTROLLER_SERVICE", "GROUP_CONTROLLER_SERVICE"]
        assert here.call(csi.NodeGetInfoRequest()).max_volumes_per_node == 64


@pytest.mark.parametrize(("options", "outcome"), [([], "OK"), (["--source-scope", "topology"], "RESOURCE_EXHAUSTED")])
def test_from_where_a_snapshot_can_be_read(tmp_path: Path, options: list[str], outcome: str) -> None:
    with served(tmp_path, "--zones", "a,b", *options) as here:
        snapshot = here.snapshot(here.volume("v", requisite=["a"]).volume_id)
        assert snapshot.accessible_topology == ([] if outcome == "OK" else zones("a"))
        restored = create("r", snapshot=snapshot.snapshot_id, requisite=["b"])
        if outcome == "OK":
            assert zones_of(here.call(restored).volume) == ["b"]
        else:
            here.refused(restored, CsiCode.RESOURCE_EXHAUSTED, match="snap-0001 cannot be read there")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--capacity", "a=x"], "error: --capacity a=x has to be ZONE=SIZE, like a=10Gi"),
        (["--capacity", "10Gi"], "error: --capacity 10Gi has to be ZONE=SIZE"),
        (["--capacity", "a=10Gi"], "error: driver full.csi.volsched.dev: capacity names 'a'"),
        (["--faults", "none.yaml"], "error: none.yaml: cannot be read: No such file or directory"),
    ],
)
def test_wrong_options(tmp_path: Path, options: list[str], text: str) -> None:
    command = [*COMMAND, "--endpoint", f"unix://{tmp_path}/s", "--state", str(tmp_path / "driver.db"), *options]
    done = subprocess.run(command, env=ENVIRONMENT, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(text) and done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
