"""csi-sanity, the Kubernetes storage group's conformance suite for CSI drivers, against `volsched csi serve` on a real socket.

Run by `make test-csi`, which builds the suite with Go and names the program in VOLSCHED_CSI_SANITY; anywhere else this is skipped. Each run
has every optional part switched on: the attach limit, mutable parameters, topology. Prints passes by group; a spec that did not run is
named with its reason and has to be one of those listed here.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

SANITY = os.environ.get("VOLSCHED_CSI_SANITY", "")
ROOT = Path(__file__).resolve().parents[2]
PROGRAM = "from volsched.cli import main; main()"
MUTABLE_PARAMETERS = 'iops: "3000"\ntier: gold\n'
SPECS = 103
# Specs of csi-sanity v5.6.0 that cannot run, with the reason.
NOT_RUN = {
    "Controller Service [Controller Server] ListVolumes pagination should detect volumes added between pages and accept tokens when the "
    "last volume from a page is deleted": "pending upstream",
}

pytestmark = pytest.mark.skipif(not SANITY, reason="csi-sanity is not built: `make test-csi` builds it, with Go, and runs this")


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """A fresh driver in a process of its own, stopped with SIGTERM."""
    endpoint = f"unix://{folder}/csi.sock"
    command = [sys.executable, "-c", PROGRAM, "csi", "serve", "--endpoint", endpoint, "--state", str(folder / "driver.db")]
    command += ["--zones", "a,b"]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{os.environ.get('PYTHONPATH', '')}"}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as server:
        try:
            assert server.stderr is not None
            said = server.stderr.readline()
            assert said.startswith("serving "), said + server.stderr.read()
            yield endpoint
            server.terminate()
            assert server.wait(30) == 0
        finally:
            server.kill()


def run(folder: Path, endpoint: str, access_type: str) -> dict[str, Any]:
    """One run of the suite; its report."""
    (folder / "mutable.yaml").write_text(MUTABLE_PARAMETERS)
    done = subprocess.run(
        [
            SANITY,
            f"-csi.endpoint={endpoint}",
            f"-csi.mountdir={folder}/mount",
            f"-csi.stagingdir={folder}/staging",
            f"-csi.testvolumeaccesstype={access_type}",
            "-csi.testnodevolumeattachlimit",
            f"-csi.testvolumemutableparameters={folder}/mutable.yaml",
            f"-ginkgo.json-report={folder}/report.json",
            "-ginkgo.no-color",
            "-ginkgo.seed=1",
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert (folder / "report.json").exists(), done.stdout + done.stderr
    [report] = json.loads((folder / "report.json").read_text())
    return dict(report)


@pytest.mark.parametrize("access_type", ["mount", "block"])
def test_csi_sanity(access_type: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with served(tmp_path) as endpoint:
        report = run(tmp_path, endpoint, access_type)
    passed: Counter[str] = Counter()
    failed: dict[str, str] = {}
    not_run: dict[str, str] = {}
    for spec in report["SpecReports"]:
        if spec["LeafNodeType"] != "It":
            continue
        containers: list[str] = spec["ContainerHierarchyTexts"]
        name, failure = " ".join([*containers, spec["LeafNodeText"]]), spec.get("Failure", {})
        if spec["State"] == "passed":
            passed[" ".join(containers[:2]).replace(" [Controller Server]", "")] += 1
        elif spec["State"] in ("pending", "skipped"):
            not_run[name] = failure.get("Message") or NOT_RUN.get(name, spec["State"])
        else:
            failed[name] = f"{failure.get('Message', '')} {failure.get('Location', {}).get('FileName', '')}"
    with capsys.disabled():
        print(f"\ncsi-sanity, {access_type} volumes: {passed.total()} of {SPECS} specs passed, {len(failed)} failed")
        for group, count in sorted(passed.items()):
            print(f"  {count:3}  {group}")
        for name, reason in not_run.items():
            print(f"  not run: {name} ({reason})")
    assert failed == {}
    assert not_run == NOT_RUN
    assert passed.total() == SPECS - len(NOT_RUN)
    assert report["SuiteSucceeded"]
