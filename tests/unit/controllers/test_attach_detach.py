"""Attaching: both halves together over a driver that keeps track, with the kubelet's part of node status played by hand."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from lightkube.models.core_v1 import NodeCondition

from tests.builders import DRIVER, make_csidriver, make_csinode, make_node, make_pod, make_pv, make_pvc, make_taint
from tests.unit.controllers.harness import World, same_end_whatever_happens
from volsched.api.csi import (
    ControllerGetCapabilitiesResponse,
    ControllerPublishVolumeResponse,
    ControllerServiceCapability,
    ControllerUnpublishVolumeResponse,
    Message,
    ProbeResponse,
    Rpc,
)
from volsched.api.edit import replace
from volsched.controllers.attach_detach import (
    ATTACHMENT_TABLE,
    AttachDetach,
    AttachmentRow,
    attachment_name,
    unique_volume_name,
)
from volsched.controllers.attacher import ATTACH_TABLE, Attacher, AttachRow, attacher_finalizer
from volsched.controllers.capabilities import attach_mode
from volsched.controllers.decision_table import ANY
from volsched.errors import CsiCode, CsiError, ReconcileError
from volsched.ports import Call

HANDLE = "handle-1"
UNIQUE = unique_volume_name(DRIVER, HANDLE)
FINALIZER = "external-attacher/csi-example-com"


class Driver:
    """Controller service of a driver that attaches."""

    def __init__(self, *, types: tuple[str, ...] = ("PUBLISH_UNPUBLISH_VOLUME",)) -> None:
        self.attached: dict[tuple[str, str], int] = {}
        self.refuse: CsiError | None = None
        self._types = types

    def __call__(self, call: Call) -> Message:
        request: Any = call.request
        if call.method == "Probe":
            return ProbeResponse()
        if call.method == "ControllerGetCapabilities":
            return ControllerGetCapabilitiesResponse(
                capabilities=[ControllerServiceCapability(rpc=Rpc(type=entry)) for entry in self._types]
            )
        if self.refuse is not None:
            raise self.refuse
        place = (request.volume_id, request.node_id)
        if call.method == "ControllerPublishVolume":
            self.attached[place] = self.attached.get(place, 0) + 1
            return ControllerPublishVolumeResponse(publish_context={"device": "sdb"})
        assert call.method == "ControllerUnpublishVolume"
        self.attached.pop(place, None)
        return ControllerUnpublishVolumeResponse()


def world(*, driver: Driver | None = None) -> World:
    made = World(driver=driver or Driver())
    made.add(lambda: AttachDetach(made.clock))
    made.add(lambda: Attacher(made.clock, driver=DRIVER))
    return made


def setting(made: World, *, modes: tuple[str, ...] = ("ReadWriteOnce",)) -> World:
    made.create(make_csidriver())
    for node in ("n1", "n2"):
        made.create(make_node(node, status={"conditions": [NodeCondition(type="Ready", status="True")]}))
        made.create(make_csinode(node, drivers={DRIVER: None}))
    made.create(make_pv(claim="default/data", claim_uid="c", handle=HANDLE, modes=modes, reclaim="Retain"))
    made.create(make_pvc(bound_to="pv-1", uid="c", modes=modes))
    made.settle()
    return made


def attachments(made: World) -> list[Any]:
    return [obj for key, obj in sorted(made.objects.items()) if key.kind == "VolumeAttachment"]


def use(made: World, node: str, *names: str) -> None:
    found = made.get("Node", node)
    made.edit(replace(found, status=replace(found.status, volumesInUse=list(names) or None)), subresource="status")


def reported(made: World, node: str) -> list[str]:
    return [entry.name for entry in made.get("Node", node).status.volumesAttached or []]


@pytest.mark.parametrize(("table", "rows"), [(ATTACHMENT_TABLE, AttachmentRow), (ATTACH_TABLE, AttachRow)])
def test_each_combination_meets_exactly_one_row(table: Any, rows: Any) -> None:
    met = set()
    for values in itertools.product((False, True), repeat=len(table.columns)):
        found = [row for row, cells in table.rows if all(c in (ANY, v) for c, v in zip(cells, values, strict=True))]
        assert len(found) == 1, (values, found)
        met.update(found)
    assert met == set(rows)


def test_finalizer_names() -> None:
    assert attacher_finalizer("csi.example.com") == "external-attacher/csi-example-com"
    assert attacher_finalizer("odd.") == "external-attacher/odd-X"


def test_modes_of_a_whole_list() -> None:
    assert attach_mode(["ReadWriteMany", "ReadOnlyMany", "ReadWriteOnce"], multi_writer=False) == "MULTI_NODE_MULTI_WRITER"
    assert attach_mode(["ReadWriteOnce"], multi_writer=True) == "SINGLE_NODE_MULTI_WRITER"
    with pytest.raises(ReconcileError, match="does not support ReadOnlyMany and ReadWriteOnce"):
        attach_mode(["ReadWriteOnce", "ReadOnlyMany"], multi_writer=True)
    with pytest.raises(ReconcileError, match="ReadWriteOncePod"):
        attach_mode(["ReadWriteOncePod", "ReadWriteMany"], multi_writer=True)


def test_attach_and_detach_write_by_write() -> None:
    driver = Driver()
    made = setting(world(driver=driver))
    made.writes.clear()
    made.create(make_pod(claims=["data"], node="n1"))
    made.settle()
    name = attachment_name(HANDLE, DRIVER, "n1")
    assert made.writes[1:] == [
        f"kube-controller-manager create VolumeAttachment {name}",
        "csi-attacher update PersistentVolume pv-1",
        f"csi-attacher update VolumeAttachment {name}",
        f"csi-attacher update VolumeAttachment/status {name}",
        "kube-controller-manager update Node/status n1",
    ]
    attachment = made.get("VolumeAttachment", name)
    assert attachment.metadata.finalizers == [FINALIZER] and made.volume("pv-1").metadata.finalizers == [FINALIZER]
    assert attachment.metadata.annotations["csi.alpha.kubernetes.io/node-id"]
    assert attachment.status.attached and attachment.status.attachmentMetadata == {"device": "sdb"}
    assert reported(made, "n1") == [UNIQUE]
    assert made.messages("SuccessfulAttachVolume") == ['AttachVolume.Attach succeeded for volume "pv-1" ']
    made.writes.clear()
    made.delete("Pod", "pod", grace=0)
    made.settle()
    assert made.writes[1:] == [
        "kube-controller-manager update Node/status n1",
        f"kube-controller-manager delete VolumeAttachment {name}",
        f"csi-attacher update VolumeAttachment/status {name}",
        f"csi-attacher update VolumeAttachment {name}",
    ]
    assert attachments(made) == [] and driver.attached == {} and reported(made, "n1") == []


def test_trap_36_driver_that_is_not_attached_has_no_attachment() -> None:
    made = setting(world())
    made.edit(replace(made.get("CSIDriver", DRIVER), spec=replace(made.get("CSIDriver", DRIVER).spec, attachRequired=False)))
    made.create(make_pod(claims=["data"], node="n1"))
    made.settle()
    assert attachments(made) == []


def test_driver_without_attaching_is_marked_attached_without_a_call() -> None:
    made = setting(world(driver=Driver(types=())))
    made.create(make_pod(claims=["data"], node="n1"))
    made.settle()
    assert attachments(made)[0].status.attached and attachments(made)[0].metadata.finalizers is None
    assert {call.method for call in made.calls} == {"Probe", "ControllerGetCapabilities"}


def test_volume_in_use_is_not_detached() -> None:
    made = setting(world())
    made.create(make_pod(claims=["data"], node="n1"))
    made.settle()
    use(made, "n1", UNIQUE)
    made.delete("Pod", "pod", grace=0)
    made.settle(seconds=600)
    assert len(attachments(made)) == 1  # the node is healthy: it will let go
    use(made, "n1")
    made.settle()
    assert attachments(made) == []


@pytest.mark.parametrize("how", ["taint", "unhealthy for 6 minutes", "node gone for 6 minutes"])
def test_forced_detach(how: str) -> None:
    made = setting(world())
    made.create(make_pod(claims=["data"], node="n1"))
    made.settle()
    use(made, "n1", UNIQUE)
    made.delete("Pod", "pod", grace=0)
    made.settle()
    node = made.get("Node", "n1")
    if how == "taint":
        taint = make_taint("node.kubernetes.io/out-of-service", effect="NoExecute")
        made.edit(replace(node, spec=replace(node.spec, taints=[taint])))
        made.settle()
    elif how == "node gone for 6 minutes":
        made.delete("Node", "n1")
        made.settle(seconds=300)
        assert len(attachments(made)) == 1
        made.settle(seconds=70)
    else:
        conditions = [replace(entry, status="Unknown") for entry in node.status.conditions or []]
        made.edit(replace(node, status=replace(node.status, conditions=conditions)), subresource="status")
        made.settle(seconds=300)
        assert len(attachments(made)) == 1
        made.settle(seconds=70)
    assert attachments(made) == []


def test_second_node_waits_for_the_first_and_is_told_once() -> None:
    made = setting(world())
    made.create(make_pod("one", claims=["data"], node="n1"))
    made.settle()
    made.create(make_pod("two", claims=["data"], node="n2"))
    made.settle(seconds=60)
    waits = [event for event in made.events if event.reason == "FailedAttachVolume"]
    assert [(event.key.name, event.message) for event in waits] == [
        ("two", 'Waiting for detach for volume "pv-1" Volume is already used by pod(s) one')
    ]
    assert len(attachments(made)) == 1
    made.delete("Pod", "one", grace=0)
    made.settle()
    assert [entry.spec.nodeName for entry in attachments(made)] == ["n2"] and attachments(made)[0].status.attached


def test_shared_volume_is_attached_to_both_nodes() -> None:
    made = setting(world(), modes=("ReadWriteMany",))
    for node in ("n1", "n2"):
        made.create(make_pod(f"on-{node}", claims=["data"], node=node))
    made.settle()
    assert len(attachments(made)) == 2 and all(entry.status.attached for entry in attachments(made))


def test_failure_of_the_driver_is_kept_and_told_and_tried_again() -> None:
    driver = Driver()
    driver.refuse = CsiError(CsiCode.RESOURCE_EXHAUSTED, "node is full")
    made = setting(world(driver=driver))
    made.create(make_pod(claims=["data"], node="n1"))
    made.settle(seconds=0.5)
    text = "rpc error: code = ResourceExhausted desc = node is full"
    assert attachments(made)[0].status.attachError.message == text
    assert made.messages("FailedAttachVolume") == [f'AttachVolume.Attach failed for volume "pv-1" : {text}']
    assert len([call for call in made.calls if call.method == "ControllerPublishVolume"]) == 1  # its own write is no reason to try again
    kept = attachments(made)[0]
    made.settle(seconds=7)
    assert len([call for call in made.calls if call.method == "ControllerPublishVolume"]) == 4  # after 1, 3, 7 s
    assert attachments(made)[0] == kept  # failing as before is nothing to write about
    driver.refuse = None
    made.settle(seconds=10)
    assert attachments(made)[0].status.attached and attachments(made)[0].status.attachError is None


def test_attach_that_takes_too_long_is_told() -> None:
    made = World(driver=Driver())
    made.add(lambda: AttachDetach(made.clock))  # no attacher
    setting(made)
    made.create(make_pod(claims=["data"], node="n1"))
    made.settle(seconds=130)
    assert made.messages("FailedAttachVolume") == [
        f'AttachVolume.Attach failed for volume "pv-1" : timed out waiting for external-attacher of {DRIVER} CSI driver '
        f"to attach volume {HANDLE}"
    ]


def test_volume_being_deleted_is_not_attached() -> None:
    made = setting(world())
    made.edit(replace(made.volume("pv-1"), metadata=replace(made.volume("pv-1").metadata, finalizers=["held"])))
    made.delete("PersistentVolume", "pv-1")
    made.create(make_pod(claims=["data"], node="n1"))
    made.settle()
    assert attachments(made)[0].status.attachError.message == 'PersistentVolume "pv-1" is marked for deletion'


def test_volume_is_let_go_only_after_its_attachments() -> None:
    made = setting(world())
    made.create(make_pod(claims=["data"], node="n1"))
    made.settle()
    made.delete("PersistentVolume", "pv-1")
    made.settle()
    assert made.volume("pv-1") is not None
    made.delete("Pod", "pod", grace=0)
    made.settle()
    assert made.volume("pv-1") is None and attachments(made) == []


def test_node_that_has_gone_is_detached_by_the_id_it_had() -> None:
    driver = Driver()
    made = setting(world(driver=driver))
    made.create(make_pod(claims=["data"], node="n1"))
    made.settle()
    made.delete("CSINode", "n1")
    made.delete("Pod", "pod", grace=0)
    made.settle()
    assert driver.attached == {} and attachments(made) == []


def play(made: World) -> None:
    setting(made)
    made.create(make_pod("one", claims=["data"], node="n1"))
    made.settle(seconds=30)
    made.create(make_pod("two", claims=["data"], node="n2"))
    made.settle(seconds=30)
    made.delete("Pod", "one", grace=0)
    made.settle(seconds=200)
    assert len(made._driver.attached) == 1  # type: ignore[union-attr]


def test_same_end_with_every_write_and_call_interrupted() -> None:
    assert same_end_whatever_happens(play, world, ignore=lambda objects: objects) >= 4 * 12
