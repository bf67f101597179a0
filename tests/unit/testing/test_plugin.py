"""The pytest plugin, as the tests of somebody else meet it: found by its entry point, in runs of their own."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

# Runs in this process unload what they import, and numpy does not load twice.
import volsched.testing.cluster
import volsched.testing.marks  # noqa: F401

pytest_plugins = ["pytester"]

ROOT = Path(__file__).resolve().parents[3]

CLUSTER = """
from volsched.api.manifest import load_text

POD = "{apiVersion: v1, kind: Pod, metadata: {name: p}, spec: {containers: [{name: c, image: i}]}}"
NODE = (
    "{apiVersion: v1, kind: Node, metadata: {name: n1}, status: {allocatable: {cpu: '4', memory: 8Gi, pods: '9'}, "
    "conditions: [{type: Ready, status: 'True'}]}}"
)

def put(cluster, *texts):
    for text in texts:
        cluster.create_all(load_text(text, source="here", warn=print))
"""

CSI = """
from volsched.api import csi

MOUNT = csi.VolumeCapability(mount=csi.MountVolume(), access_mode=csi.AccessMode(mode="SINGLE_NODE_WRITER"))

def volume(client, name="pvc-1", **more):
    return client.call("CreateVolume", csi.CreateVolumeRequest(name=name, volume_capabilities=[MOUNT], **more)).volume
"""


@pytest.fixture
def project(pytester: pytest.Pytester) -> pytest.Pytester:
    """A project that only has volsched installed."""
    pytester.makepyfile(clusters=CLUSTER, drivers=CSI)
    pytester.syspathinsert()
    return pytester


# what it costs


def test_a_run_that_uses_no_fixture_imports_nothing_of_volsched(project: pytest.Pytester) -> None:
    project.makepyfile(test_x="def test_x(): pass")
    project.makeconftest(
        """
        import sys

        def pytest_unconfigure():
            heavy = ("volsched", "msgspec", "lightkube", "numpy", "yaml", "grpc")
            print("loaded:", *sorted(name for name in sys.modules if name.partition(".")[0] in heavy))
        """
    )
    done = project.runpytest_subprocess("-p", "no:benchmark", "-p", "no:hypothesispytest")
    done.stdout.fnmatch_lines(["loaded: volsched volsched.testing volsched.testing.plugin"])


def test_pytest_is_no_dependency() -> None:
    program = (
        "import sys; sys.modules['pytest'] = sys.modules['_pytest'] = None; import volsched.testing.driver, volsched.testing.cluster; "
        "import volsched.cli; from volsched import Cluster"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
    text = (ROOT / "pyproject.toml").read_text()
    assert "pytest" not in text[text.index("dependencies = [") : text.index("[project.scripts]")]


def test_markers_and_options_are_known(project: pytest.Pytester) -> None:
    project.runpytest("--markers").stdout.fnmatch_lines(
        ["@pytest.mark.volsched_cluster*", "@pytest.mark.csi_driver*", "@pytest.mark.csi_faults*"]
    )
    project.runpytest("--fixtures").stdout.fnmatch_lines(["volsched_cluster*", "csi_driver*"])
    project.runpytest("--help").stdout.fnmatch_lines(["volsched:", "*--volsched-seed=N*", "*volsched_invariants (bool)*"])
    project.makepyfile(
        test_x="""
        import pytest

        @pytest.mark.volsched_cluster(seed=1)
        @pytest.mark.csi_faults("x")
        def test_x(): pass
        """
    )
    project.runpytest("--strict-markers").assert_outcomes(passed=1)


# the cluster


def test_a_cluster_of_its_own_for_every_test(project: pytest.Pytester) -> None:
    project.makepyfile(
        test_x="""
        import pytest
        from clusters import NODE, POD, put

        pytestmark = pytest.mark.volsched_cluster(seed=3, engine="reference")

        @pytest.mark.parametrize("turn", range(2))
        def test_runs(volsched_cluster, turn):
            put(volsched_cluster, NODE, POD)
            assert volsched_cluster.run_until_idle()
            assert volsched_cluster.get("Pod", "p").status.phase == "Running"
            assert volsched_cluster.store.uids.seed == 3
            print("hash", volsched_cluster.run_hash(), volsched_cluster._engine_name)

        @pytest.mark.volsched_cluster(seed=4)
        def test_nearest_marker_wins(volsched_cluster):
            assert volsched_cluster.store.uids.seed == 4
            assert volsched_cluster._engine_name == "reference"
        """
    )
    done = project.runpytest("-s")
    done.assert_outcomes(passed=3)
    first, second = (line.split()[-2:] for line in done.outlines if "hash" in line)
    assert first == second
    assert first[1] == "reference"


def test_seed_and_engine_from_options_and_settings(project: pytest.Pytester) -> None:
    project.makepyfile(
        test_x="def test_x(volsched_cluster): assert (volsched_cluster.store.uids.seed, volsched_cluster._engine_name) == (7, 'reference')"
    )
    project.runpytest().assert_outcomes(failed=1)
    done = project.runpytest("--volsched-seed=7", "--volsched-engine=reference")
    done.assert_outcomes(passed=1)
    done.stdout.fnmatch_lines(["volsched: seed 7, engine reference"])
    project.makeini("[pytest]\nvolsched_seed = 7\nvolsched_engine = reference\n")
    done = project.runpytest()
    done.assert_outcomes(passed=1)
    done.stdout.no_fnmatch_line("volsched: *")
    project.runpytest("--volsched-seed=8").assert_outcomes(failed=1)
    project.makeini("[pytest]\nvolsched_seed = x\n")
    project.runpytest().stdout.fnmatch_lines(["*volsched_seed is 'x', has to be a whole number*"])


def test_manifests_beside_the_test(project: pytest.Pytester) -> None:
    folder = project.mkpydir("deep")
    shutil.copytree(ROOT / "examples" / "zonal-dynamic", folder / "manifests")
    (folder / "test_x.py").write_text(
        "import pytest\n"
        "@pytest.mark.volsched_cluster(manifests='manifests')\n"
        "def test_x(volsched_cluster):\n"
        "    volsched_cluster.run_until_idle()\n"
        "    assert volsched_cluster.get('Pod', 'web').spec.nodeName\n"
    )
    project.runpytest().assert_outcomes(passed=1)


# fmt: off
MISTAKES = [
    ("volsched_cluster(sed=7)",                 "volsched_cluster takes no sed; known: state, seed, engine,*manifests, invariants"),
    ("volsched_cluster(7)",                     "@pytest.mark.volsched_cluster takes keywords only, not 7"),
    ("volsched_cluster(manifests='none.yaml')", "*/none.yaml: cannot be read: No such file or directory"),
    ("csi_driver(zone='a')",                    "csi_driver takes no zone; known: profile, name, zones, *"),
    ("csi_driver(process='there')",             "csi_driver, process: is 'there', has to be here or child"),
    ("csi_driver(profile='fast')",              "csi_driver, profile: is 'fast', has to be zonal or full, or a DriverProfile"),
    ("csi_driver(zones=['a', 'a'])",            "zones a,a: one is named twice"),
    ("csi_driver(name='no name', process='child')", "driver name 'no name' has to be *"),
    ("csi_faults(rpc='CreateVolumes', error='UNAVAILABLE')", "faults[[]0[]].rpc: 'CreateVolumes' is no CSI call; *"),
    ("csi_faults('none.yaml')",                 "*/none.yaml: cannot be read: No such file or directory"),
    ("csi_faults(7)",                           "faults are dicts, lists of dicts or the path of a plan, not 7"),
    ("csi_faults(rpc='Probe', error=object())", "a fault holds <object object at *>, has to hold texts, numbers and lists"),
]
# fmt: on


def test_a_mistake_in_a_marker_is_one_line(project: pytest.Pytester) -> None:
    lines = ["import pytest"]
    for number, (marker, _) in enumerate(MISTAKES):
        fixture = "volsched_cluster" if marker.startswith("volsched_cluster") else "csi_driver"
        lines += [f"@pytest.mark.{marker}", f"def test_{number}({fixture}): pass"]
    project.makepyfile(test_x="\n".join(lines))
    done = project.runpytest("-p", "no:warnings")
    done.assert_outcomes(errors=len(MISTAKES))
    for number, (_, message) in enumerate(MISTAKES):
        done.stdout.fnmatch_lines([f"*ERROR at setup of test_{number} *", message], consecutive=True)
    done.stdout.no_fnmatch_line("*Traceback*")
    done.stdout.no_fnmatch_line("*plugin.py*")


# invariants

BROKEN = """
    import pytest
    from clusters import NODE, POD, put

    def test_broken(volsched_cluster):
        put(volsched_cluster, NODE, POD)
        volsched_cluster.run_until_idle()
        volsched_cluster.store._subscribers.clear()
        put(volsched_cluster, NODE.replace("n1", "n2"))
"""


def test_invariants_are_checked_when_asked_for(project: pytest.Pytester) -> None:
    """A cluster whose scheduler no longer hears of changes; by hand, since volsched has none that breaks a rule."""
    project.makepyfile(test_x=BROKEN)
    project.runpytest().assert_outcomes(passed=1)
    for done in (project.runpytest("--volsched-invariants"), _with_ini(project, "volsched_invariants = true")):
        done.assert_outcomes(passed=1, errors=1)
        done.stdout.fnmatch_lines(["invariants of the cluster do not hold:", "cache: *"])


def _with_ini(project: pytest.Pytester, line: str) -> pytest.RunResult:
    project.makeini(f"[pytest]\n{line}\n")
    return project.runpytest()


def test_invariants_hold_of_a_healthy_cluster_and_are_not_asked_of_a_failed_test(project: pytest.Pytester) -> None:
    project.makepyfile(
        test_x="""
        import pytest
        from clusters import NODE, POD, put

        @pytest.mark.volsched_cluster(invariants=True)
        def test_healthy(volsched_cluster):
            put(volsched_cluster, NODE, POD)

        @pytest.mark.volsched_cluster(invariants=True)
        def test_failing(volsched_cluster):
            put(volsched_cluster, NODE, POD)
            volsched_cluster.run_until_idle()
            volsched_cluster.store._subscribers.clear()
            put(volsched_cluster, NODE.replace("n1", "n2"))
            assert False
        """
    )
    project.runpytest().assert_outcomes(passed=1, failed=1)


# reports


def test_a_failure_tells_of_its_cluster(project: pytest.Pytester) -> None:
    project.makepyfile(
        test_x="""
        import pytest
        from clusters import POD, put

        @pytest.mark.volsched_cluster(seed=5)
        def test_x(volsched_cluster):
            put(volsched_cluster, POD)
            volsched_cluster.run_until_idle()
            print("hash", volsched_cluster.run_hash())
            assert volsched_cluster.get("Pod", "p").status.phase == "Running"

        def test_y(volsched_cluster):
            pass
        """
    )
    done = project.runpytest("--junitxml=report.xml")
    done.assert_outcomes(failed=1, passed=1)
    run = next(line.split()[-1] for line in done.outlines if line.startswith("hash "))
    done.stdout.fnmatch_lines(
        [
            f"*- volsched cluster: seed 5, run {run[:16]}, at *.??? s -*",
            "0.000s Warning FailedScheduling Pod/default/p: no nodes available to schedule pods (x*, last at *s)",
            "*- Captured stdout call -*",
        ]
    )
    assert run in (project.path / "report.xml").read_text()


def test_a_failure_tells_of_its_driver(project: pytest.Pytester) -> None:
    project.makepyfile(
        test_x="""
        import pytest
        from drivers import volume

        @pytest.mark.csi_driver(name="disk.example.com")
        @pytest.mark.csi_faults(rpc="CreateVolume", calls=2, error="UNAVAILABLE", name="flaky")
        def test_x(csi_driver):
            with csi_driver.client() as client:
                volume(client)
                volume(client)
        """
    )
    done = project.runpytest()
    done.assert_outcomes(failed=1)
    done.stdout.fnmatch_lines(
        [
            "*- csi driver: disk.example.com at unix:///*/csi.sock -*",
            "CreateVolume pvc-1 -> OK",
            "CreateVolume pvc-1 -> Unavailable: injected fault flaky",
            "faults fired: flaky 1",
        ]
    )


# the driver


@pytest.mark.parametrize("process", ["here", "child"])
def test_a_driver_on_a_socket(project: pytest.Pytester, process: str) -> None:
    (project.path / "faults.yaml").write_text("faults:\n- {name: busy, rpc: CreateVolume, calls: 1, error: ABORTED}\n")
    project.makepyfile(
        test_x=f"""
        import stat

        import pytest
        from drivers import volume
        from volsched.errors import CsiCode, CsiError

        pytestmark = pytest.mark.csi_driver(process="{process}", zones=["a"], capacity={{"a": "10Gi"}})
        seen = []

        @pytest.mark.csi_faults("faults.yaml")
        @pytest.mark.csi_faults({{"rpc": "GetCapacity", "capacity": "50%"}})
        def test_faults(csi_driver):
            seen.append(csi_driver.socket)
            assert stat.S_IMODE(csi_driver.socket.stat().st_mode) == 0o600
            with csi_driver.client() as client:
                with pytest.raises(CsiError) as refused:
                    volume(client)
                assert refused.value.code is CsiCode.ABORTED
                assert volume(client).volume_id == "vol-0001"
            assert [call.code for call in csi_driver.calls] == [CsiCode.ABORTED, CsiCode.OK]
            assert csi_driver.calls_of("CreateVolume")[0].request.name == "pvc-1"
            assert [record.name for record in csi_driver.volumes()] == ["pvc-1"]
            assert csi_driver.faults.fired == {{"busy": 1, "fault-1": 0}}
            assert csi_driver.free_bytes({{"topology.kubernetes.io/zone": "a"}}) == 9 << 30

        def test_another_driver(csi_driver):
            assert csi_driver.socket not in seen and not seen[0].parent.exists()
            assert csi_driver.volumes() == csi_driver.calls == [] and csi_driver.faults.plan == []
        """
    )
    project.runpytest().assert_outcomes(passed=2)


def test_without_grpc(project: pytest.Pytester) -> None:
    project.makepyfile(
        test_x="""
        def test_cluster(volsched_cluster): volsched_cluster.run_until_idle()
        def test_driver(csi_driver): pass
        """
    )
    project.makeconftest("import sys; sys.modules['grpc'] = None")
    done = project.runpytest_subprocess()
    done.assert_outcomes(passed=1, errors=1)
    done.stdout.fnmatch_lines(["the fixture csi_driver needs gRPC; install it: pip install 'volsched[[]csi[]]'"])
    done.stdout.no_fnmatch_line("*plugin.py*")


def test_under_xdist(project: pytest.Pytester) -> None:
    project.makepyfile(
        test_x="""
        import pytest
        from clusters import NODE, POD, put
        from drivers import volume

        @pytest.mark.parametrize("turn", range(6))
        def test_both(volsched_cluster, csi_driver, turn):
            put(volsched_cluster, NODE, POD)
            volsched_cluster.run_until_idle()
            with csi_driver.client() as client:
                assert volume(client).volume_id == "vol-0001"
            assert turn != 5
        """
    )
    done = project.runpytest_subprocess("-n", "2", "--volsched-seed=9")
    done.assert_outcomes(passed=5, failed=1)
    done.stdout.fnmatch_lines(["*- volsched cluster: seed 9, run *", "*- csi driver: *", "CreateVolume pvc-1 -> OK"])


def test_a_cluster_and_a_driver_together(project: pytest.Pytester) -> None:
    shutil.copytree(ROOT / "examples" / "zonal-dynamic", project.path / "manifests")
    driver = next(item["provisioner"] for item in _documents(project.path / "manifests") if item["kind"] == "StorageClass")
    project.makepyfile(
        test_x=f"""
        import pytest

        @pytest.mark.volsched_cluster(manifests="manifests")
        @pytest.mark.csi_driver(name="{driver}", zones=["paris-a", "paris-b"])
        def test_x(volsched_cluster, csi_driver, tmp_path):
            volsched_cluster.connect([csi_driver.endpoint], kubelet_root=str(tmp_path / "{{node}}"))
            for csinode in volsched_cluster.list("CSINode"):
                for installed in csinode.spec.drivers:
                    csi_driver.register_node(installed.nodeID, volsched_cluster.get("Node", csinode.metadata.name).metadata.labels)
            volsched_cluster.run_until_idle()
            assert [call.method for call in csi_driver.calls_of("CreateVolume")] == ["CreateVolume"]
            assert len(csi_driver.volumes()) == 1
        """
    )
    project.runpytest().assert_outcomes(passed=1)


def _documents(folder: Path) -> list[dict[str, str]]:
    import yaml

    return [item for path in sorted(folder.iterdir()) for item in yaml.safe_load_all(path.read_text()) if item]


def test_names_of_the_room() -> None:
    import volsched.testing

    assert volsched.testing.CsiDriver.__name__ == "CsiDriver"
    assert volsched.testing.Call.__name__ == "Call"
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        volsched.testing.Nothing  # noqa: B018
