"""pytest hooks, markers and fixtures of volsched, found by the entry point `volsched`.

    volsched_cluster   an embedded cluster on the virtual clock     @pytest.mark.volsched_cluster(seed=7, manifests="cluster.yaml")
    csi_driver         the fake CSI driver on a unix socket          @pytest.mark.csi_driver(zones=["a", "b"])
                                                                     @pytest.mark.csi_faults(rpc="CreateVolume", error="UNAVAILABLE")

Every pytest run in an environment with volsched imports this module, so it imports nothing else: what a fixture needs comes when one is
used. A test that uses neither pays for two registered markers.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

if TYPE_CHECKING:
    from volsched.testing.cluster import WatchedCluster
    from volsched.testing.driver import CsiDriver

_MARKERS = (
    "volsched_cluster(**options): arguments of volsched.Cluster for the fixture `volsched_cluster` (seed, engine, config, plugins, …); "
    "manifests: files or folders, relative to the test's; invariants: whether they are checked at the end.",
    "csi_driver(**options): what the fixture `csi_driver` serves and where (name, zones, capacity, profile, node_id, nodes, process, …).",
    "csi_faults(*faults, **fault): what goes wrong with the fixture `csi_driver`: dicts with the keys of docs/faults.md, the path of a "
    "plan relative to the test's, or one fault as keywords; several markers add up.",
)
_ENGINES = ("native", "reference")
_HOW_TO_INSTALL = "the fixture csi_driver needs gRPC; install it: pip install 'volsched[csi]'"

_clusters: pytest.StashKey[WatchedCluster] = pytest.StashKey()
_drivers: pytest.StashKey[CsiDriver] = pytest.StashKey()
_failed: pytest.StashKey[bool] = pytest.StashKey()


# options


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("volsched")
    group.addoption("--volsched-seed", type=int, metavar="N", help="Seed of clusters and faults whose markers name none (default: 0).")
    group.addoption("--volsched-engine", choices=_ENGINES, help="Engine of clusters whose markers name none (default: native).")
    group.addoption(
        "--volsched-invariants", action="store_true", default=None, help="Check the invariants of every cluster at the end of its test."
    )
    parser.addini("volsched_seed", "Default of --volsched-seed.", default="0")
    parser.addini("volsched_engine", "Default of --volsched-engine.", default="native")
    parser.addini("volsched_invariants", "Default of --volsched-invariants.", type="bool", default=False)


def pytest_configure(config: pytest.Config) -> None:
    for marker in _MARKERS:
        config.addinivalue_line("markers", marker)


def pytest_report_header(config: pytest.Config) -> str | None:
    given = [
        f"{name} {value}" if value is not True else name
        for name in ("seed", "engine", "invariants")
        if (value := config.getoption(f"volsched_{name}")) is not None
    ]
    return f"volsched: {', '.join(given)}" if given else None


def _seed(config: pytest.Config) -> int:
    given = config.getoption("volsched_seed")
    if given is not None:
        return int(given)
    text = str(config.getini("volsched_seed"))
    if not text.removeprefix("-").isdecimal():
        raise pytest.UsageError(f"volsched_seed is {text!r}, has to be a whole number")
    return int(text)


def _engine(config: pytest.Config) -> str:
    engine = str(config.getoption("volsched_engine") or config.getini("volsched_engine"))
    if engine not in _ENGINES:
        raise pytest.UsageError(f"volsched_engine is {engine!r}, has to be one of {', '.join(_ENGINES)}")
    return engine


def _invariants(config: pytest.Config) -> bool:
    return bool(config.getoption("volsched_invariants") or config.getini("volsched_invariants"))


# fixtures


def _wrong(error: Exception) -> NoReturn:
    """A mistake in a marker is the test's author's, to whom a traceback through this file says nothing."""
    raise pytest.fail.Exception(str(error), pytrace=False) from None


def _marked(request: pytest.FixtureRequest, name: str) -> dict[str, Any]:
    """The keywords of all markers of a name; those nearest to the test win."""
    options: dict[str, Any] = {}
    for mark in reversed(list(request.node.iter_markers(name))):
        if mark.args:
            _wrong(ValueError(f"@pytest.mark.{name} takes keywords only, not {mark.args[0]!r}"))
        options |= mark.kwargs
    return options


@pytest.fixture
def volsched_cluster(request: pytest.FixtureRequest) -> Iterator[WatchedCluster]:
    """An embedded Kubernetes cluster, a `volsched.Cluster` on the virtual clock. Options: @pytest.mark.volsched_cluster, --volsched-*."""
    from volsched.errors import VolschedError
    from volsched.testing.cluster import broken_invariants, make_cluster

    config = request.config
    defaults = {"seed": _seed(config), "engine": _engine(config), "invariants": _invariants(config)}
    try:
        cluster = make_cluster(defaults | _marked(request, "volsched_cluster"), folder=request.path.parent)
    except VolschedError as error:
        _wrong(error)
    with cluster:
        request.node.stash[_clusters] = cluster
        yield cluster
        if not request.node.stash.get(_failed, False):
            broken = broken_invariants(cluster)
            if broken:
                pytest.fail("invariants of the cluster do not hold:\n" + "\n".join(broken), pytrace=False)


@pytest.fixture
def csi_driver(request: pytest.FixtureRequest) -> Iterator[CsiDriver]:
    """The fake CSI driver on a unix socket in a temporary folder. Options: @pytest.mark.csi_driver, @pytest.mark.csi_faults."""
    try:
        from volsched.testing.marks import running
    except ModuleNotFoundError as error:
        if error.name and error.name.partition(".")[0] in ("grpc", "google"):
            raise pytest.fail.Exception(_HOW_TO_INSTALL, pytrace=False) from None
        raise
    from volsched.errors import VolschedError

    marks = [(mark.args, mark.kwargs) for mark in reversed(list(request.node.iter_markers("csi_faults")))]
    options = _marked(request, "csi_driver")
    try:
        context = running(options, marks, folder=request.path.parent, seed=_seed(request.config))
        driver = context.__enter__()
    except VolschedError as error:
        _wrong(error)
    try:
        request.node.stash[_drivers] = driver
        yield driver
    finally:
        context.__exit__(None, None, None)


# reports


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failed test tells what its cluster and its driver were about."""
    report = yield
    if not report.failed:
        return report
    item.stash[_failed] = True
    sections: list[tuple[str, str]] = []
    if (cluster := item.stash.get(_clusters, None)) is not None:
        from volsched.testing.cluster import told as cluster_told

        sections.append(cluster_told(cluster))
        item.user_properties.append(("volsched_run", cluster.run_hash()))  # JUnit XML takes those of the last report
    if (driver := item.stash.get(_drivers, None)) is not None:
        from volsched.testing.marks import told as driver_told

        sections.append(driver_told(driver))
    report.sections[:0] = sections  # before what was printed
    return report
