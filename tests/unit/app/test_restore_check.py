"""Where a snapshot can be restored: conditions against the provisioner's own code, topologies of drivers and volumes, what is foretold."""

from __future__ import annotations

import datetime
import itertools
from typing import Any

import pytest
from lightkube.models.core_v1 import TypedLocalObjectReference
from lightkube.models.meta_v1 import LabelSelector

from tests.builders import (
    DRIVER,
    ZONE,
    make_capacity,
    make_class,
    make_content,
    make_csidriver,
    make_csinode,
    make_node,
    make_pod,
    make_pv,
    make_pvc,
    make_snapshot,
    make_snapshot_class,
)
from volsched.api import csi
from volsched.api.edit import annotations_of, replace
from volsched.app.cluster import Cluster, DriverSettings
from volsched.app.restore_check import RestoreReport, Wish, check_claim, check_pod, check_snapshot
from volsched.app.restore_source import Parts, conditions, provisioner_says, readability
from volsched.controllers.provisioner_options import ProvisionerOptions
from volsched.controllers.provisioner_source import data_source_of
from volsched.controllers.snapshot_names import ALLOW_VOLUME_MODE_CHANGE, RESTORE_FINALIZER
from volsched.csi.profile import full
from volsched.errors import CsiCode, CsiError, InputError, NotFoundError
from volsched.rules.volumes import ANN_SELECTED_NODE

SOURCE = TypedLocalObjectReference(apiGroup="snapshot.storage.k8s.io", kind="VolumeSnapshot", name="cut")
DELETED = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
OVER_AND_OVER = "chooses n-b again, over and over"


class World:
    """Two zones of one node each; claim `data` in zone a and snapshot `cut` of it; n-b has more room, so the scheduler prefers it."""

    def __init__(self, *, scope: Any = "topology", strict: bool = True) -> None:
        settings = DriverSettings(profile=full(name=DRIVER, source_scope=scope), options=ProvisionerOptions(strict_topology=strict))
        self.cluster = Cluster(kubelet="instant", drivers=[settings])
        self.create(make_csidriver(DRIVER, attach_required=False))
        for zone, cpu in (("a", "2"), ("b", "64")):
            self.create(make_node(f"n-{zone}", zone=zone, cpu=cpu), make_csinode(f"n-{zone}", drivers={DRIVER: None}))
        self.create(make_class("disks", provisioner=DRIVER), make_snapshot_class("snaps", driver=DRIVER))
        self.create(
            make_pvc("data", size="5Gi", storage_class="disks"), make_pod("web", claims=["data"], node_selector={ZONE: "a"}, cpu="1")
        )
        self.rest()
        self.create(make_snapshot("cut"))
        self.rest()

    def create(self, *objects: Any) -> None:
        for obj in objects:
            self.cluster.create(obj)

    def rest(self) -> None:
        assert self.cluster.run_until_idle()

    def restore(self, name: str = "copy", *, size: str = "5Gi", pod: dict[str, Any] | None = None, **rest: Any) -> None:
        """A claim to be restored, and a pod `reader` that uses it where `pod` says how it is."""
        self.create(make_pvc(name, size=size, storage_class=rest.pop("storage_class", "disks"), source=SOURCE, **rest))
        if pod is not None:
            self.create(make_pod("reader", claims=[name], cpu="1", **pod))

    def check(self, **wish: str) -> RestoreReport:
        return check_snapshot(self.cluster, "default", "cut", Wish(**wish))


def verdicts(report: RestoreReport) -> dict[str, str]:
    return {node: group.verdict for group in report.groups for node in group.nodes}


def reasons(report: RestoreReport, node: str) -> list[str]:
    return next([problem.text for problem in group.problems] for group in report.groups if node in group.nodes)


# conditions ---------------------------------------------------------------------------------------------------------------------------


class Objects:
    """A store of a few objects, to be read."""

    def __init__(self, *objects: Any) -> None:
        self._objects = {(type(obj).__name__, obj.metadata.name): obj for obj in objects if obj is not None}

    def get(self, kind: str, namespace: str, name: str) -> Any:
        found = self._objects.get((kind, name))
        if found is None:
            raise NotFoundError(f'{kind.lower()}s "{name}" not found')
        return found


AXES: dict[str, tuple[Any, ...]] = {
    "snapshot": ("there", "missing", "deleting", "deleting, held by the provisioner"),
    "bound": ("there", "not bound", "content missing", "other snapshot"),
    "driver": (DRIVER, "other.csi"),
    "ready": (True, False, None),
    "handle": ("snap-1", None),
    "sizes": (("5Gi", "5Gi"), ("5Gi", "4Gi"), ("5Gi", None), (None, None)),
    "modes": (
        ("Filesystem", "Block", None),
        ("Filesystem", "Block", "T"),
        ("Filesystem", "Block", "yes"),
        ("Block", "Block", None),
        (None, "Block", None),
    ),
    "selector": (None, LabelSelector()),
}


def parts_of(**state: Any) -> tuple[Parts, Objects]:
    needed, asked = state["sizes"]
    source_mode, mode, consent = state["modes"]
    snapshot = content = None
    if state["snapshot"] != "missing":
        held = state["snapshot"] == "deleting, held by the provisioner"
        snapshot = make_snapshot(
            "cut",
            uid="uid-cut",
            bound_to=None if state["bound"] == "not bound" else "content",
            ready=state["ready"],
            restore_size=needed,
            deleted=DELETED if state["snapshot"].startswith("deleting") else None,
            finalizers=[RESTORE_FINALIZER] if held else ["x/y"],
        )
    if state["bound"] != "content missing":
        content = make_content(
            "content",
            snapshot="default/cut",
            snapshot_uid="uid-other" if state["bound"] == "other snapshot" else "uid-cut",
            driver=state["driver"],
            source_mode=source_mode,
            annotations={} if consent is None else {ALLOW_VOLUME_MODE_CHANGE: consent},
            status={"snapshotHandle": state["handle"], "readyToUse": True},
        )
    claim = make_pvc("copy", size=asked, storage_class="disks", volume_mode=mode, source=SOURCE, selector=state["selector"])
    storage_class = make_class("disks", provisioner=DRIVER)
    bound_content = content if snapshot is not None and state["bound"] != "not bound" else None
    return Parts("cut", snapshot, bound_content, storage_class, claim), Objects(snapshot, content, storage_class)


def test_conditions_are_those_of_the_provisioner() -> None:
    """Whatever the state of everything: something is found to be in the way exactly when the provisioner's own code refuses."""
    refused = 0
    for values in itertools.product(*AXES.values()):
        state = dict(zip(AXES, values, strict=True))
        parts, objects = parts_of(**state)
        source = data_source_of(parts.claim)
        assert source is not None
        says = provisioner_says(objects, parts.claim, parts.storage_class, source)  # type: ignore[arg-type]
        assert bool(conditions(parts)) is (says is not None), (state, conditions(parts), says)
        refused += says is not None
    assert 1000 < refused < len(list(itertools.product(*AXES.values())))


def test_every_condition_is_told_at_once() -> None:
    parts, _ = parts_of(
        snapshot="deleting", bound="other snapshot", driver="other.csi", ready=False, handle=None,
        sizes=("5Gi", "4Gi"), modes=("Filesystem", "Block", None), selector=LabelSelector(),
    )  # fmt: skip
    assert [problem.aspect for problem in conditions(parts)] == [
        "snapshot", "binding", "driver", "readiness", "readiness", "size", "mode", "selector",
    ]  # fmt: skip
    without_class = parts._replace(storage_class=None)
    assert conditions(without_class)[1].text == "StorageClass disks does not exist"
    static = parts._replace(storage_class=make_class("disks", provisioner="kubernetes.io/no-provisioner"))
    assert conditions(static)[1].text == "StorageClass disks provisions nothing"


# from where it can be read ------------------------------------------------------------------------------------------------------------


class Asked:
    """A driver with some capabilities and one snapshot."""

    def __init__(self, *controller: str, constrained: bool = True, topologies: tuple[dict[str, str], ...] = (), known: bool = True) -> None:
        self._controller = controller
        self._constrained = constrained
        self._known = known
        self._snapshot = csi.Snapshot(snapshot_id="snap-1", accessible_topology=[csi.Topology(segments=dict(one)) for one in topologies])
        self.called: list[str] = []

    def call(self, method: str, request: Any, *, node: str = "", timeout_s: float = 10.0) -> Any:
        self.called.append(method)
        if method == "GetPluginCapabilities":
            services = ["SNAPSHOT_ACCESSIBILITY_CONSTRAINTS"] if self._constrained else ["CONTROLLER_SERVICE"]
            return csi.GetPluginCapabilitiesResponse(
                capabilities=[csi.PluginCapability(service=csi.PluginService(type=name)) for name in services]
            )
        if method == "ControllerGetCapabilities":
            rpcs = [csi.ControllerServiceCapability(rpc=csi.Rpc(type=name)) for name in self._controller]
            return csi.ControllerGetCapabilitiesResponse(capabilities=rpcs)
        if not self._known:
            raise CsiError(CsiCode.NOT_FOUND, "no such snapshot")
        if method == "GetSnapshot":
            return csi.GetSnapshotResponse(snapshot=self._snapshot)
        return csi.ListSnapshotsResponse(entries=[csi.ListSnapshotsEntry(snapshot=self._snapshot)])


CONTENT = make_content("content", volume_handle="vol-1", status={"snapshotHandle": "snap-1"})
SOURCE_VOLUME = make_pv("pv", zone="a", handle="vol-1")
IN_A, IN_B = {ZONE: "a"}, {ZONE: "b"}


@pytest.mark.parametrize("able", ["GET_SNAPSHOT", "LIST_SNAPSHOTS"])
def test_a_driver_of_csi_1_13_is_believed(able: str) -> None:
    found = readability(CONTENT, [SOURCE_VOLUME], Asked(able, topologies=(IN_B,)))
    assert (found.known_by, found.text) == ("driver", f"{ZONE}=b")
    assert (found.reaches(IN_A), found.reaches(IN_B)) == (False, True)
    everywhere = readability(CONTENT, [SOURCE_VOLUME], Asked(able))
    assert (everywhere.known_by, everywhere.text, everywhere.reaches(IN_A)) == ("driver", "everywhere", True)


@pytest.mark.parametrize(
    ("client", "why"),
    [
        (None, "cannot be asked"),
        (Asked("GET_SNAPSHOT", constrained=False), "does not say"),
        (Asked("GET_SNAPSHOT", known=False), "does not say"),
        (Asked(), "does not say"),
    ],
)
def test_otherwise_the_source_volume_is_a_guess(client: Any, why: str) -> None:
    found = readability(CONTENT, [make_pv("other", zone="b", handle="vol-2"), SOURCE_VOLUME], client)
    assert (found.known_by, found.text) == ("volume", f"{ZONE}=a")
    assert (found.reaches(IN_A), found.reaches(IN_B)) == (True, None), "outside, nobody knows"
    assert "its source volume pv is there" in found.source and why in found.source


def test_nothing_is_known_of_a_snapshot_without_a_volume() -> None:
    for content in (None, CONTENT, make_content("content", snapshot_handle="snap-1")):
        found = readability(content, [], None)
        assert (found.known_by, found.text, found.reaches(IN_A)) == ("unknown", "unknown", None)


# node by node -------------------------------------------------------------------------------------------------------------------------


def test_another_zone_is_refused_and_the_loop_foretold() -> None:
    world = World()
    report = world.check()
    assert verdicts(report) == {"n-a": "yes", "n-b": "no"}
    assert reasons(report, "n-b") == [f"the snapshot can be read from {ZONE}=a only"]
    assert report.headline == "can be restored on 1 of 2 nodes"
    assert (report.readable.known_by, report.chosen) == ("driver", "n-b")
    assert OVER_AND_OVER in report.warnings[0] and "strict-topology" not in report.warnings[0]
    assert report.warnings[1] == f"n-a would do: let the pod select {ZONE}=a"


def test_the_loop_comes_as_foretold() -> None:
    """The scheduler's choice, the driver's answer, the selected node taken off, and the same again."""
    world = World()
    world.restore(pod={})
    (report,) = check_pod(world.cluster, world.cluster.get("Pod", "reader"))
    assert (report.claim, report.pod, report.chosen) == ("default/copy", "default/reader", "n-b")
    world.cluster.run_for(60)
    refused = [call for call in world.cluster.csi_calls if call.method.endswith("/CreateVolume") and call.outcome == "ResourceExhausted"]
    assert len(refused) > 2
    assert world.cluster.get("Pod", "reader").spec.nodeName is None
    assert annotations_of(world.cluster.get("PersistentVolumeClaim", "copy")).get(ANN_SELECTED_NODE) in (None, "n-b")


def test_a_pod_that_cannot_go_there_is_told() -> None:
    world = World()
    world.restore(pod={"node_selector": {ZONE: "b"}})
    report = check_claim(world.cluster, "default", "copy")
    assert verdicts(report) == {"n-a": "no", "n-b": "no"}
    assert reasons(report, "n-a") == ["node(s) didn't match Pod's node affinity/selector"]
    assert report.warnings[-1] == f"no node that fits the pod is in {ZONE}=a"
    assert report.headline == "can be restored on 0 of 2 nodes"


def test_a_pod_that_has_ended_does_not_count() -> None:
    world = World()
    world.restore(pod={"node_selector": {ZONE: "b"}})
    reader = world.cluster.store.get("Pod", "default", "reader")
    assert check_claim(world.cluster, "default", "copy").pod == "default/reader"
    ended = replace(reader, status=replace(reader.status, phase="Succeeded"))
    world.cluster.store.update(ended, user="kubelet", subresource="status")
    report = check_claim(world.cluster, "default", "copy")
    assert (report.pod, verdicts(report)) == ("", {"n-a": "yes", "n-b": "no"})


def test_without_strict_topology_the_driver_has_a_way_out() -> None:
    report = World(strict=False).check()
    assert f"Unless the provisioner runs with --strict-topology, the driver may make the volume in {ZONE}=a instead" in report.warnings[0]


def test_nothing_is_foretold_where_the_scheduler_chooses_well() -> None:
    world = World()
    world.restore(pod={"node_selector": {ZONE: "a"}})
    (report,) = check_pod(world.cluster, world.cluster.get("Pod", "reader"))
    assert (report.chosen, report.warnings) == ("n-a", [])
    assert verdicts(report)["n-a"] == "yes"
    world.rest()
    assert world.cluster.get("Pod", "reader").spec.nodeName == "n-a"
    assert check_claim(world.cluster, "default", "copy").headline.startswith("restored already, bound to volume pvc-")


def test_nodes_that_only_might_be_chosen_are_named() -> None:
    world = World()
    world.cluster.patch("Node", "", "n-b", {"spec": {"taints": [{"key": "rather-not", "effect": "PreferNoSchedule"}]}})
    report = world.check()
    assert report.chosen == "n-a"
    outside = f"1 of the 2 nodes that fit the pod is outside {ZONE}=a (n-b)"
    assert report.warnings == [f"{outside}; the scheduler does not know of that, and would choose n-a now"]


def test_a_snapshot_that_can_be_read_everywhere() -> None:
    report = World(scope="anywhere").check()
    assert verdicts(report) == {"n-a": "yes", "n-b": "yes"}
    assert (report.readable.text, report.warnings) == ("everywhere", [])


def test_a_guess_is_said_to_be_one() -> None:
    """The cluster of a dump: no driver to ask, the source volume is in zone a."""
    world = World()
    kinds = ("Node", "CSINode", "StorageClass", "PersistentVolume", "VolumeSnapshot", "VolumeSnapshotContent")
    with Cluster() as copy:
        for obj in (obj for kind in kinds for obj in world.cluster.list(kind)):
            copy.store.load(obj)
        report = check_snapshot(copy, "default", "cut")
        assert verdicts(report) == {"n-a": "yes", "n-b": "unsure"}
        assert report.headline == "can be restored on 1 of 2 nodes, perhaps on 1 more"
        assert "perhaps cannot be read" in report.warnings[0]
        (pv,) = copy.list("PersistentVolume")
        copy.patch("PersistentVolume", "", pv.metadata.name, {"metadata": {"finalizers": None}})
        copy.delete("PersistentVolume", "", pv.metadata.name)
        report = check_snapshot(copy, "default", "cut", Wish("disks"))
        assert verdicts(report) == {"n-a": "unsure", "n-b": "unsure"}
        assert report.warnings == [], "where nobody knows anything, nothing is foretold"


def test_class_pools_taints_and_existing_volumes() -> None:
    world = World(scope="anywhere")
    world.create(make_class("only-b", provisioner=DRIVER, allowed=[{ZONE: "b"}]))
    assert reasons(world.check(storage_class="only-b"), "n-a") == [f"class only-b allows {ZONE} in [b]; the node has {ZONE}=a"]
    world.cluster.patch("Node", "", "n-a", {"spec": {"taints": [{"key": "k", "effect": "NoSchedule"}]}})
    assert reasons(world.check(), "n-a") == ["node(s) had untolerated taint(s)"]
    world.cluster.patch("CSIDriver", "", DRIVER, {"spec": {"storageCapacity": True}})
    world.create(make_capacity("small", storage_class="disks", capacity="1Gi", where={ZONE: "b"}))
    assert reasons(world.check(), "n-b") == ["pool default/small: it has 1Gi, less than 5Gi"]
    free = make_pv("free", size="8Gi", storage_class="disks", zone="b", phase="Available")
    world.cluster.store.load(replace(free, metadata=replace(free.metadata, uid="uid-free")))
    report = world.check()
    assert verdicts(report)["n-b"] == "yes"
    assert report.warnings == [
        "nothing would be restored on n-b: the claim would be bound to existing volume free, whose content is not asked for"
    ]


def test_what_is_in_the_way_whatever_node() -> None:
    world = World(scope="anywhere")
    report = world.check(size="4Gi", volume_mode="Block")
    assert [problem.aspect for problem in report.problems] == ["size", "mode"]
    assert report.headline == "cannot be restored: 4Gi is asked for, the snapshot needs 5Gi; without that on 2 of 2 nodes"
    assert "requested volume size 4294967296 is less than the size 5368709120" in report.says
    assert "a pod with such a claim is given a node" in report.warnings[0]


def test_an_immediate_claim_goes_where_its_snapshot_is() -> None:
    world = World()
    world.create(make_class("now", provisioner=DRIVER, wait=False))
    world.create(make_class("now-b", provisioner=DRIVER, wait=False, allowed=[{ZONE: "b"}]))
    report = world.check(storage_class="now")
    assert verdicts(report) == {"n-a": "yes", "n-b": "no"}
    assert (report.chosen, report.warnings) == ("", []), "the driver chooses, and the pod follows"
    assert reasons(world.check(storage_class="now-b"), "n-a") == ["class now-b does not allow its topology"]


def test_what_cannot_be_asked() -> None:
    world = World()
    with pytest.raises(NotFoundError, match='"gone" not found'):
        check_snapshot(world.cluster, "default", "gone")
    with pytest.raises(NotFoundError, match='"gone" not found'):
        world.check(storage_class="gone")
    with pytest.raises(InputError, match="is not to be restored from a VolumeSnapshot"):
        check_claim(world.cluster, "default", "data")
    assert check_pod(world.cluster, world.cluster.get("Pod", "web")) == []
    with Cluster() as other:
        other.create(make_snapshot("cut"))
        with pytest.raises(InputError, match="no StorageClass can be told"):
            check_snapshot(other, "default", "cut")
        other.create(make_class("first", provisioner=DRIVER, default=True))
        assert check_snapshot(other, "default", "cut").storage_class == "first"


def test_looking_changes_nothing() -> None:
    world = World()
    world.restore(pod={})
    before = (world.cluster.store.resource_version, len(world.cluster.csi_calls), world.cluster.run_hash())
    world.check()
    check_pod(world.cluster, world.cluster.get("Pod", "reader"))
    assert (world.cluster.store.resource_version, len(world.cluster.csi_calls), world.cluster.run_hash()) == before
