"""Kubelets over a driver's Node service that refuses what the CSI contract refuses."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from lightkube.models.core_v1 import CSIVolumeSource, EmptyDirVolumeSource, NodeCondition, Secret, SecretReference, Volume
from lightkube.models.meta_v1 import ObjectMeta

from tests.builders import DRIVER, make_csidriver, make_csinode, make_node, make_pod, make_pv, make_pvc, when
from tests.unit.controllers.harness import World, same_end_whatever_happens
from tests.unit.controllers.test_attach_detach import Driver as ControllerDriver
from volsched.api.csi import (
    Message,
    NodeGetCapabilitiesResponse,
    NodePublishVolumeResponse,
    NodeServiceCapability,
    NodeStageVolumeResponse,
    NodeUnpublishVolumeResponse,
    NodeUnstageVolumeResponse,
    Rpc,
)
from volsched.api.edit import replace, with_metadata, with_spec
from volsched.controllers.attach_detach import AttachDetach
from volsched.controllers.attacher import Attacher
from volsched.controllers.decision_table import ANY
from volsched.controllers.kubelet import POD_TABLE, InstantKubelet, Kubelet, NodeDisks, PodRow
from volsched.errors import CsiCode, CsiError
from volsched.ports import Call


class Driver(ControllerDriver):
    """Both services of a driver; its Node service keeps what is staged and published where."""

    def __init__(self, *, node_types: tuple[str, ...] = ("STAGE_UNSTAGE_VOLUME",)) -> None:
        super().__init__()
        self.staged: dict[tuple[str, str], str] = {}
        self.published: dict[str, tuple[str, str]] = {}
        self.requests: list[tuple[str, str, Any]] = []
        self.node_types = node_types
        self.fail: dict[str, CsiError] = {}

    def __call__(self, call: Call) -> Message:
        if not call.method.startswith("Node"):
            return super().__call__(call)
        request: Any = call.request
        self.requests.append((call.method, call.node, request))
        if call.method in self.fail:
            raise self.fail[call.method]
        if call.method == "NodeGetCapabilities":
            return NodeGetCapabilitiesResponse(capabilities=[NodeServiceCapability(rpc=Rpc(type=entry)) for entry in self.node_types])
        device = (call.node, request.volume_id)
        if call.method == "NodeStageVolume":
            assert request.staging_target_path
            self.staged[device] = request.staging_target_path
            return NodeStageVolumeResponse()
        if call.method == "NodePublishVolume":
            if "STAGE_UNSTAGE_VOLUME" in self.node_types and not request.volume_id.startswith("csi-"):
                assert self.staged[device] == request.staging_target_path
            self.published[request.target_path] = device
            return NodePublishVolumeResponse()
        if call.method == "NodeUnpublishVolume":
            self.published.pop(request.target_path, None)
            return NodeUnpublishVolumeResponse()
        assert call.method == "NodeUnstageVolume"
        assert device not in self.published.values(), "unstaged under a published volume"
        self.staged.pop(device, None)
        return NodeUnstageVolumeResponse()

    def methods(self) -> list[str]:
        return [method for method, _, _ in self.requests]


def world(*, driver: Driver | None = None, attach: bool = False, disks: NodeDisks | None = None) -> World:
    made = World(driver=driver or Driver())
    kept = disks or NodeDisks()
    made.add(lambda: Kubelet(made.clock, root="/run/{node}", disks=kept))
    if attach:
        made.add(lambda: AttachDetach(made.clock))
        made.add(lambda: Attacher(made.clock, driver=DRIVER))
    made.create(make_csidriver(attach_required=attach))
    for node in ("n1", "n2"):
        made.create(make_node(node, status={"conditions": [NodeCondition(type="Ready", status="True")]}))
        made.create(make_csinode(node))
    return made


def volume(made: World, claim: str = "data", **options: Any) -> None:
    name, uid = f"pv-{claim}", f"{claim}-uid"
    made.create(make_pv(name, claim=f"default/{claim}", claim_uid=uid, handle=f"vol-{claim}", **options))
    modes = options.get("modes", ("ReadWriteOnce",))
    made.create(make_pvc(claim, bound_to=name, uid=uid, modes=modes, finalizers=["kubernetes.io/pvc-protection"]))


def phase(made: World, name: str = "pod") -> str:
    return str(made.get("Pod", name).status.phase)


def test_each_combination_meets_exactly_one_row() -> None:
    met = set()
    for values in itertools.product((False, True), repeat=len(POD_TABLE.columns)):
        found = [row for row, cells in POD_TABLE.rows if all(c in (ANY, v) for c, v in zip(cells, values, strict=True))]
        assert len(found) == 1, (values, found)
        met.update(found)
    assert met == set(PodRow)


def test_pod_without_volumes_runs_at_once_with_one_write() -> None:
    made = world()
    made.create(make_pod(node="n1", volumes=[Volume(name="tmp", emptyDir=EmptyDirVolumeSource())]))
    made.settle()
    assert phase(made) == "Running"
    assert made.writes[-1:] == ["kubelet update Pod/status pod"] and made.writes.count("kubelet update Pod/status pod") == 1
    status = made.get("Pod", "pod").status
    assert status.containerStatuses[0].state.running is not None and status.startTime is not None
    assert {entry.type: entry.status for entry in status.conditions} == dict.fromkeys(
        ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady"], "True"
    )


def test_unscheduled_pod_is_nobodys() -> None:
    made = world()
    made.create(make_pod())
    made.settle()
    assert phase(made) == "Pending"


def test_mount_run_unmount() -> None:
    driver = Driver()
    made = world(driver=driver)
    volume(made)
    made.create(make_pod(claims=["data"], node="n1", uid="p"))
    made.settle()
    assert phase(made) == "Running"
    assert driver.methods() == ["NodeGetCapabilities", "NodeStageVolume", "NodePublishVolume"]
    stage, publish = driver.requests[1][2], driver.requests[2][2]
    assert publish.target_path == "/run/n1/pods/p/volumes/kubernetes.io~csi/pv-data/mount"
    assert stage.staging_target_path.startswith("/run/n1/plugins/kubernetes.io/csi/csi.example.com/")
    assert stage.staging_target_path.endswith("/globalmount") and publish.staging_target_path == stage.staging_target_path
    assert stage.volume_capability.access_mode.mode == "SINGLE_NODE_WRITER"
    assert {node for _, node, _ in driver.requests} == {"n1"}
    made.delete("Pod", "pod")
    made.settle()
    assert made.get("Pod", "pod") is None
    assert driver.methods()[3:] == ["NodeUnpublishVolume", "NodeUnstageVolume"]
    assert driver.staged == driver.published == {}


def test_node_is_called_by_the_id_it_has_with_the_driver() -> None:
    driver = Driver()
    made = world(driver=driver)
    volume(made)
    node = made.get("CSINode", "n1")
    made.edit(with_spec(node, drivers=[replace(node.spec.drivers[0], nodeID="i-0001")]))
    made.create(make_pod(claims=["data"], node="n1"))
    made.settle()
    made.delete("CSINode", "n1")
    made.delete("Pod", "pod")
    made.settle()
    assert {node for _, node, _ in driver.requests} == {"i-0001"} and len(driver.requests) == 5


@pytest.mark.parametrize("method", ["NodeUnpublishVolume", "NodeUnstageVolume"])
def test_a_driver_that_disowns_what_it_has_mounted_is_asked_again(method: str) -> None:
    driver = Driver()
    made = world(driver=driver)
    volume(made)
    made.create(make_pod(claims=["data"], node="n1"))
    made.settle()
    driver.fail[method] = CsiError(CsiCode.NOT_FOUND, "no such volume")
    made.delete("Pod", "pod")
    made.settle(seconds=5)
    assert made.get("Pod", "pod") is not None
    assert driver.methods().count(method) > 1
    del driver.fail[method]
    made.settle(seconds=120)
    assert made.get("Pod", "pod") is None
    assert driver.staged == driver.published == {}


def test_what_the_driver_never_knew_is_not_mounted() -> None:
    driver = Driver()
    made = world(driver=driver)
    volume(made)
    unknown = CsiError(CsiCode.NOT_FOUND, "no such volume")
    driver.fail = dict.fromkeys(["NodeStageVolume", "NodeUnpublishVolume", "NodeUnstageVolume"], unknown)
    made.create(make_pod(claims=["data"], node="n1"))
    made.settle()
    made.delete("Pod", "pod")
    made.settle()
    assert made.get("Pod", "pod") is None


def test_driver_without_staging() -> None:
    driver = Driver(node_types=())
    made = world(driver=driver)
    volume(made)
    made.create(make_pod(claims=["data"], node="n1"))
    made.settle()
    made.delete("Pod", "pod")
    made.settle()
    assert driver.methods() == ["NodeGetCapabilities", "NodePublishVolume", "NodeUnpublishVolume"]


def test_volume_is_staged_with_the_first_pod_and_unstaged_with_the_last() -> None:
    driver = Driver()
    made = world(driver=driver)
    volume(made)
    for name in ("one", "two"):
        made.create(make_pod(name, claims=["data"], node="n1"))
    made.settle(seconds=1)
    assert driver.methods().count("NodeStageVolume") == 1 and len(driver.published) == 2
    made.delete("Pod", "one")
    made.settle(seconds=1)
    assert len(driver.staged) == 1 and len(driver.published) == 1
    made.delete("Pod", "two")
    made.settle(seconds=1)
    assert driver.staged == driver.published == {}


def test_block_volume_and_pod_info_and_secrets_and_read_only() -> None:
    driver = Driver(node_types=("STAGE_UNSTAGE_VOLUME", "SINGLE_NODE_MULTI_WRITER"))
    made = world(driver=driver)
    made.edit(replace(made.get("CSIDriver", DRIVER), spec=replace(made.get("CSIDriver", DRIVER).spec, podInfoOnMount=True)))
    volume(made, volume_mode="Block")
    pv = made.volume("pv-data")
    reference = SecretReference(name="key", namespace="vault")
    made.edit(with_spec(pv, csi=replace(pv.spec.csi, nodeStageSecretRef=reference, volumeAttributes={"a": "b"})))
    made.create(Secret(metadata=ObjectMeta(name="key", namespace="vault"), data={"token": "aHVzaA=="}))
    pod = make_pod(claims=["data"], node="n1", uid="p")
    source = replace(pod.spec.volumes[0].persistentVolumeClaim, readOnly=True)  # type: ignore[union-attr,index]
    made.create(with_spec(pod, volumes=[replace(pod.spec.volumes[0], persistentVolumeClaim=source)]))  # type: ignore[union-attr,index]
    made.settle()
    stage, publish = driver.requests[1][2], driver.requests[2][2]
    assert stage.secrets == {"token": "hush"} and stage.volume_context == {"a": "b"}
    assert stage.volume_capability.block is not None and stage.volume_capability.access_mode.mode == "SINGLE_NODE_MULTI_WRITER"
    assert publish.readonly and publish.target_path == "/run/n1/plugins/kubernetes.io/csi/volumeDevices/publish/pv-data/p"
    assert publish.volume_context["csi.storage.k8s.io/pod.name"] == "pod"


def test_volume_written_into_a_pod() -> None:
    driver = Driver()
    made = world(driver=driver)
    inline = Volume(name="scratch", csi=CSIVolumeSource(driver=DRIVER, volumeAttributes={"size": "1Gi"}))
    made.create(make_pod(node="n1", uid="p", volumes=[inline]))
    made.settle()
    assert driver.methods() == ["NodeGetCapabilities", "NodePublishVolume"]
    assert driver.requests[1][2].volume_context["csi.storage.k8s.io/ephemeral"] == "true"
    made.delete("Pod", "pod")
    made.settle()
    assert driver.published == {}


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda made: made.delete("PersistentVolumeClaim", "data"), "PVC is being deleted"),
        (lambda made: None, "PVC is not bound"),
        (lambda made: made.delete("PersistentVolume", "pv-data"), "failed to fetch PV pv-data"),
        (lambda made: made.edit(with_spec(made.volume("pv-data"), claimRef=None)), "does not point to claim.UID"),
    ],
)
def test_pod_waits_for_a_claim_it_may_use(change: Any, text: str) -> None:
    made = world()
    volume(made)
    if text == "PVC is being deleted":
        made.edit(with_metadata(made.claim("data"), finalizers=["other"]))
    elif text == "PVC is not bound":
        made.edit(replace(made.claim("data"), status=replace(made.claim("data").status, phase="Pending")), subresource="status")
    change(made)
    made.create(make_pod(claims=["data"], node="n1"))
    made.settle(seconds=1)
    assert phase(made) == "Pending"
    message = made.messages("FailedMount")[0]
    assert message.startswith(
        "Unable to attach or mount volumes: unmounted volumes=[data], unattached volumes=[], failed to process volumes=[data]: "
        "error processing PVC default/data: "
    )
    assert text in message


def test_pod_starts_when_its_claim_is_bound_late() -> None:
    made = world()
    volume(made)
    made.edit(replace(made.claim("data"), status=replace(made.claim("data").status, phase="Pending")), subresource="status")
    made.create(make_pod(claims=["data"], node="n1"))
    made.settle(seconds=1)
    made.edit(replace(made.claim("data"), status=replace(made.claim("data").status, phase="Bound")), subresource="status")
    made.settle()
    assert phase(made) == "Running"


def test_driver_that_the_node_does_not_have() -> None:
    made = world()
    volume(made)
    made.delete("CSINode", "n1")
    made.create(make_pod(claims=["data"], node="n1"))
    made.settle(seconds=1)
    assert made.messages("FailedMount") == [
        'MountVolume.MountDevice failed for volume "pv-data" : kubernetes.io/csi: attacher.MountDevice failed to create '
        f"newCsiDriverClient: driver name {DRIVER} not found in the list of registered CSI drivers"
    ]
    statuses = made.get("Pod", "pod").status.containerStatuses
    assert statuses[0].state.waiting.reason == "ContainerCreating" and phase(made) == "Pending"
    made.create(make_csinode("n1"))
    made.settle(seconds=10)
    assert phase(made) == "Running"


@pytest.mark.parametrize(("method", "step"), [("NodeStageVolume", "MountDevice"), ("NodePublishVolume", "SetUp")])
def test_failed_mount_is_told_and_tried_again(method: str, step: str) -> None:
    driver = Driver()
    driver.fail[method] = CsiError(CsiCode.INTERNAL, "no such device")
    made = world(driver=driver)
    volume(made)
    made.create(make_pod(claims=["data"], node="n1"))
    made.settle(seconds=2)
    text = f'MountVolume.{step} failed for volume "pv-data" : rpc error: code = Internal desc = no such device'
    assert made.messages("FailedMount") == [text]
    assert driver.methods().count(method) == 3  # after 0, 0.5 and 1.5 s
    driver.fail.clear()
    made.settle(seconds=5)
    assert phase(made) == "Running"


def test_pod_deleted_while_its_mount_fails_leaves_nothing() -> None:
    driver = Driver()
    driver.fail["NodePublishVolume"] = CsiError(CsiCode.INTERNAL, "no")
    made = world(driver=driver)
    volume(made)
    made.create(make_pod(claims=["data"], node="n1"))
    made.settle()
    made.delete("Pod", "pod")
    made.settle(seconds=5)
    assert made.get("Pod", "pod") is None and driver.staged == {}


def test_pod_removed_by_force_is_unmounted_afterwards() -> None:
    driver = Driver()
    made = world(driver=driver)
    volume(made)
    made.create(make_pod(claims=["data"], node="n1"))
    made.settle()
    made.delete("Pod", "pod", grace=0)
    made.create(make_pod(claims=["data"], node="n1"))  # the next incarnation has its own mounts
    made.settle(seconds=1)
    assert phase(made) == "Running" and len(driver.published) == 1


def test_ended_pod_is_unmounted_but_stays() -> None:
    driver = Driver()
    made = world(driver=driver)
    volume(made)
    made.create(make_pod(claims=["data"], node="n1"))
    made.settle()
    pod = made.get("Pod", "pod")
    made.edit(replace(pod, status=replace(pod.status, phase="Succeeded")), subresource="status")
    made.settle()
    assert driver.staged == driver.published == {} and phase(made) == "Succeeded"


def test_kubelet_with_a_lost_disk_still_unmounts() -> None:
    driver = Driver()
    made = world(driver=driver)
    volume(made)
    made.create(make_pod(claims=["data"], node="n1"))
    made.settle()
    made._processes[0].make = lambda: Kubelet(made.clock, root="/run/{node}")
    made.restart()
    made.settle()
    made.delete("Pod", "pod")
    made.settle()
    assert driver.staged == driver.published == {} and made.get("Pod", "pod") is None


def test_pod_deleted_while_no_kubelet_runs_is_unmounted_from_the_disks_record() -> None:
    driver = Driver()
    disks = NodeDisks()
    made = world(driver=driver, disks=disks)
    volume(made)
    made.create(make_pod(claims=["data"], node="n1"))
    made.settle()
    kubelets = made._processes.pop(0)
    made.delete("Pod", "pod", grace=0)
    made._processes.append(kubelets)
    made.restart()
    made.settle()
    assert driver.published == {} and driver.staged == {}


def test_dead_node_has_no_kubelet() -> None:
    made = world()
    node = made.get("Node", "n1")
    made.edit(replace(node, status=replace(node.status, conditions=[NodeCondition(type="Ready", status="Unknown")])), subresource="status")
    made.create(make_pod(node="n1"))
    made.settle()
    assert phase(made) == "Pending"
    made.edit(replace(made.get("Node", "n1"), status=node.status), subresource="status")
    made.settle()
    assert phase(made) == "Running"


def test_attached_before_mounted_and_unmounted_before_detached() -> None:
    driver = Driver()
    made = world(driver=driver, attach=True)
    volume(made)
    made.create(make_pod(claims=["data"], node="n1"))
    made.settle()
    assert phase(made) == "Running"
    assert driver.requests[1][2].publish_context == {"device": "sdb"}
    order = [call.method for call in made.calls if "Get" not in call.method and call.method != "Probe"]
    assert order == ["ControllerPublishVolume", "NodeStageVolume", "NodePublishVolume"]
    made.delete("Pod", "pod")
    made.settle()
    order = [call.method for call in made.calls if "Get" not in call.method and call.method != "Probe"]
    assert order[3:] == ["NodeUnpublishVolume", "NodeUnstageVolume", "ControllerUnpublishVolume"]
    node = made.get("Node", "n1")
    assert not node.status.volumesInUse and not node.status.volumesAttached


@pytest.mark.parametrize("how", ["removed by force", "ended"])
def test_pod_that_goes_before_it_could_mount_leaves_nothing_in_use(how: str) -> None:
    driver = Driver()
    made = world(driver=driver, attach=True)
    volume(made)
    driver.refuse = CsiError(CsiCode.INTERNAL, "no")
    made.create(make_pod(claims=["data"], node="n1"))
    made.settle(seconds=1)
    assert made.get("Node", "n1").status.volumesInUse
    if how == "ended":
        pod = made.get("Pod", "pod")
        made.edit(replace(pod, status=replace(pod.status, phase="Failed")), subresource="status")
    else:
        made.delete("Pod", "pod", grace=0)
    driver.refuse = None
    made.settle(seconds=10)
    node = made.get("Node", "n1")
    assert not node.status.volumesInUse and not node.status.volumesAttached
    assert driver.attached == {}


def test_attach_that_does_not_come_is_told_after_two_minutes() -> None:
    made = world()
    made.edit(replace(made.get("CSIDriver", DRIVER), spec=replace(made.get("CSIDriver", DRIVER).spec, attachRequired=True)))
    volume(made)
    made.create(make_pod(claims=["data"], node="n1"))
    made.settle(seconds=130)
    assert made.messages("FailedMount") == [
        "Unable to attach or mount volumes: unmounted volumes=[data], unattached volumes=[data], failed to process volumes=[]: "
        "context deadline exceeded"
    ]


def play(made: World) -> None:
    volume(made)
    volume(made, "logs")
    made.create(make_pod("one", claims=["data"], node="n1", uid="one"))
    made.settle(seconds=30)
    made.create(make_pod("two", claims=["data", "logs"], node="n1", uid="two"))
    made.settle(seconds=30)
    made.delete("Pod", "one")
    made.settle(seconds=30)
    assert {path.split("/")[4] for path in made._driver.published} == {"two"}  # type: ignore[union-attr]
    made.delete("Pod", "two")
    made.settle(seconds=200)
    driver: Any = made._driver
    assert driver.staged == driver.published == driver.attached == {}


@pytest.mark.parametrize("attach", [False, True])
def test_same_end_with_every_write_and_call_interrupted(attach: bool) -> None:
    assert same_end_whatever_happens(play, lambda: world(attach=attach), ignore=lambda objects: objects) >= 4 * 15


# the kubelet of the recorded stories


def test_instant_kubelet_runs_and_removes_at_once() -> None:
    made = World()
    made.add(lambda: InstantKubelet(made.clock))
    scheduled = NodeCondition(type="PodScheduled", status="True", lastTransitionTime=when())
    made.create(make_pod(claims=["data"], node="n1"))
    pod = made.get("Pod", "pod")
    made.edit(replace(pod, status=replace(pod.status, conditions=[scheduled])), subresource="status")
    made.create(make_pod("waiting"))
    made.settle()
    status = made.get("Pod", "pod").status
    assert status.phase == "Running" and status.startTime == made.now() and status.containerStatuses is None
    assert [entry.type for entry in status.conditions] == [
        "Ready",
        "ContainersReady",
        "Initialized",
        "PodReadyToStartContainers",
        "PodScheduled",
    ]
    made.delete("Pod", "pod", grace=300)
    made.settle()
    assert made.get("Pod", "pod") is None and phase(made, "waiting") == "Pending"
    assert made.writes[-1] == "fake-kubelet delete Pod pod" and made.calls == []
