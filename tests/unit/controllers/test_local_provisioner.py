"""Local volumes: disks become volumes and volumes disks again; nodes that are lost; mistakes in the data."""

from __future__ import annotations

import json
from typing import Any

import pytest
from lightkube.models.core_v1 import NodeCondition, NodeSelectorRequirement, NodeSelectorTerm

from tests.builders import HOSTNAME, make_class, make_node, make_pv, make_pvc
from tests.unit.controllers.harness import World, same_end_whatever_happens
from volsched.api.edit import annotations_of, replace, with_annotations, with_finalizers
from volsched.controllers.local_disks import (
    DISCOVERY,
    DISKS,
    NODE_CLEANUP,
    cleanup_delay_s,
    discovery_of,
    disks_of,
    fnv1a,
    local_volume_name,
    rounded_down,
)
from volsched.controllers.local_node_cleanup import LocalNodeCleanup, duration_text
from volsched.controllers.local_provisioner import LocalProvisioner, LocalProvisionerOptions
from volsched.controllers.protection import ClaimProtection, VolumeProtection
from volsched.controllers.pv_binder import PVBinder
from volsched.errors import InputError
from volsched.rules.volumes import ANN_PROVISIONED_BY, NO_PROVISIONER

READY = {"conditions": [NodeCondition(type="Ready", status="True")]}
ONE = [{"path": "/mnt/disks/a", "size": "100Gi"}]
NAME = local_volume_name("a", "n1", "local")


def make_local_class(name: str = "local", *, cleanup: str | None = None, reclaim: str | None = "Delete", **discovery: Any) -> Any:
    notes = {DISCOVERY: json.dumps({"hostDir": "/mnt/disks", **discovery})}
    if cleanup is not None:
        notes[NODE_CLEANUP] = cleanup
    return make_class(name, provisioner=NO_PROVISIONER, reclaim=reclaim, annotations=notes)


def make_disk_node(name: str = "n1", disks: Any = None, **rest: Any) -> Any:
    entries = ONE if disks is None else disks
    return make_node(name, uid=f"{name}-uid", annotations={DISKS: json.dumps(entries)}, status=READY, **rest)


def make_world(*, options: LocalProvisionerOptions | None = None, cleanup: bool = False) -> World:
    world = World()
    world.add(lambda: LocalProvisioner(world.clock, options=options))
    world.add(lambda: PVBinder(world.clock))
    world.add(VolumeProtection)
    world.add(lambda: ClaimProtection(world.clock))
    if cleanup:
        world.add(lambda: LocalNodeCleanup(world.clock))
    return world


def volumes(world: World) -> list[str]:
    return sorted(key.name for key in world.objects if key.kind == "PersistentVolume")


def test_fnv_1a_and_not_fnv_1() -> None:
    assert fnv1a("") == 0x811C9DC5 and fnv1a("a") == 0xE40C292C and fnv1a("foobar") == 0xBF9CF968
    assert local_volume_name("foo", "bar", "") == "local-pv-bf9cf968"


@pytest.mark.parametrize(
    ("size", "wanted"),
    [
        (100 << 30, 100 << 30),
        ((10 << 30) + 5, 10 << 30),
        ((10 << 30) - 1, 10239 << 20),
        ((10 << 20) - 1, (10 << 20) - 1),
        (12345, 12345),
    ],
)
def test_sizes_are_rounded_down(size: int, wanted: int) -> None:
    assert rounded_down(size) == wanted


def test_a_disk_becomes_a_volume() -> None:
    world = make_world()
    world.create(make_local_class(fsType="xfs"))
    world.create(make_disk_node())
    world.settle()
    volume = world.volume(NAME)
    assert annotations_of(volume) == {ANN_PROVISIONED_BY: "local-volume-provisioner-n1-n1-uid"}
    assert volume.spec.capacity == {"storage": "100Gi"} and volume.spec.accessModes == ["ReadWriteOnce"]
    assert (volume.spec.local.path, volume.spec.local.fsType) == ("/mnt/disks/a", "xfs")
    assert (volume.spec.persistentVolumeReclaimPolicy, volume.spec.storageClassName, volume.spec.volumeMode) == (
        "Delete",
        "local",
        "Filesystem",
    )
    (term,) = volume.spec.nodeAffinity.required.nodeSelectorTerms
    assert term == NodeSelectorTerm(matchExpressions=[NodeSelectorRequirement(key=HOSTNAME, operator="In", values=["n1"])])
    assert volume.status.phase == "Available"
    before = len(world.writes)
    world.settle(seconds=60)
    assert len(world.writes) == before


def test_hostname_label_and_not_the_name_and_further_terms_widen_the_affinity() -> None:
    world = make_world()
    world.create(make_local_class(selector=[{"matchExpressions": [{"key": "rack", "operator": "Exists"}]}]))
    world.create(make_disk_node(labels={HOSTNAME: "host-7"}))
    world.settle()
    terms = world.volume(NAME).spec.nodeAffinity.required.nodeSelectorTerms
    assert [term.matchExpressions[0].key for term in terms] == [HOSTNAME, "rack"]
    assert terms[0].matchExpressions[0].values == ["host-7"]


def test_only_the_directory_and_names_of_the_class_are_looked_at() -> None:
    world = make_world()
    world.create(make_local_class(namePattern="ssd*, nvme?"))
    names = ["ssd1", "nvme2", "nvme22", "hdd"]
    disks = [{"path": f"/mnt/disks/{name}", "size": "1Gi"} for name in names] + [{"path": "/mnt/other/ssd1", "size": "1Gi"}]
    world.create(make_disk_node(disks=disks))
    world.settle()
    assert volumes(world) == sorted(local_volume_name(name, "n1", "local") for name in ("ssd1", "nvme2"))


def test_what_is_not_mounted_is_no_volume_and_a_device_may_be_either() -> None:
    disks = [
        {"path": "/mnt/disks/mounted", "size": "1Gi"},
        {"path": "/mnt/disks/device", "size": "1Gi", "type": "block"},
        {"path": "/mnt/disks/plain", "size": "1Gi", "type": "directory"},
    ]
    for mode, wanted in (("Filesystem", ["mounted", "device"]), ("Block", ["device"])):
        world = make_world()
        world.create(make_local_class(volumeMode=mode))
        world.create(make_disk_node(disks=disks))
        world.settle()
        assert volumes(world) == sorted(local_volume_name(name, "n1", "local") for name in wanted)


def test_one_disk_is_one_volume_whichever_class_comes_first() -> None:
    world = make_world()
    world.create(make_local_class("b-second"))
    world.create(make_local_class("a-first"))
    world.create(make_disk_node())
    world.settle(seconds=30)
    assert volumes(world) == [local_volume_name("a", "n1", "a-first")]


def test_a_disk_that_is_plugged_in_later_is_found_at_the_next_round() -> None:
    world = make_world()
    world.create(make_local_class())
    world.create(make_disk_node(disks=[]))
    world.settle(seconds=15)
    assert volumes(world) == []
    node = world.get("Node", "n1")
    world.edit(with_annotations(node, {DISKS: json.dumps(ONE)}))
    world.settle()
    assert volumes(world) == []
    world.settle(seconds=10)
    assert volumes(world) == [NAME]


def release(world: World) -> None:
    """A claim takes the volume and is deleted."""
    claim = make_pvc(size="50Gi", storage_class="local", volume=NAME)
    world.create(claim)
    world.settle()
    assert world.volume(NAME).status.phase == "Bound"
    world.delete("PersistentVolumeClaim", "data")
    world.settle()


def test_35_a_released_volume_is_wiped_deleted_and_made_again_under_its_name() -> None:
    world = make_world()
    world.create(make_local_class())
    world.create(make_disk_node())
    world.settle()
    first = world.volume(NAME)
    release(world)
    assert world.volume(NAME).status.phase == "Released"
    world.settle(seconds=60)
    again = world.volume(NAME)
    assert again.status.phase == "Available" and again.spec.claimRef is None
    assert again.metadata.uid != first.metadata.uid


def test_wiping_takes_its_time_and_nothing_is_made_meanwhile() -> None:
    world = make_world()
    world.create(make_local_class(volumeMode="Block"))
    world.create(make_disk_node(disks=[{"path": "/mnt/disks/a", "size": "100Gi", "type": "block", "cleanSeconds": 100}]))
    world.settle()
    claim = make_pvc(size="50Gi", storage_class="local", volume=NAME, volume_mode="Block")
    world.create(claim)
    world.settle()
    world.delete("PersistentVolumeClaim", "data")
    world.settle(seconds=20)
    assert world.messages("VolumeDelete") == [f'Starting cleanup of Block PV "{NAME}", this may take a while']
    # an admin who deletes the volume by force does not get a dirty disk back
    world.edit(with_finalizers(world.volume(NAME), remove=["kubernetes.io/pv-protection"]))
    world.delete("PersistentVolume", NAME)
    world.settle(seconds=50)
    assert volumes(world) == []


def test_wiping_that_fails_is_told_and_begun_again() -> None:
    world = make_world()
    world.create(make_local_class())
    world.create(make_disk_node(disks=[{**ONE[0], "cleanError": "device busy"}]))
    world.settle()
    release(world)
    world.settle(seconds=40)
    assert world.messages("VolumeFailedDelete") == [f'Error cleaning PV "{NAME}": device busy']
    assert world.volume(NAME).status.phase == "Released"
    world.edit(with_annotations(world.get("Node", "n1"), {DISKS: json.dumps(ONE)}))
    world.settle(seconds=40)
    assert world.volume(NAME).status.phase == "Available"


def test_a_released_volume_whose_disk_is_gone_is_told() -> None:
    world = make_world()
    world.create(make_local_class())
    world.create(make_disk_node())
    world.settle()
    release(world)
    world.edit(with_annotations(world.get("Node", "n1"), {DISKS: "[]"}))
    world.settle(seconds=40)
    text = f'Error cleaning PV "{NAME}": failed to get volume mode of path "/mnt/disks/a": no such disk on the node'
    assert world.messages("VolumeFailedDelete") == [text]


@pytest.mark.parametrize(
    ("policy", "reasons"),
    [("Retain", []), ("Recycle", ["VolumeUnsupportedReclaimPolicy"]), ("Keep", ["VolumeUnknownReclaimPolicy"])],
)
def test_other_policies_leave_the_volume(policy: str, reasons: list[str]) -> None:
    world = World()
    world.add(lambda: LocalProvisioner(world.clock))
    world.create(make_local_class())
    owner = "local-volume-provisioner-n1-n1-uid"
    released = make_pv(NAME, storage_class="local", local=True, provisioned_by=owner, reclaim=policy, phase="Released")
    world.create(released)
    world.create(make_disk_node())
    world.settle(seconds=30)
    assert volumes(world) == [NAME] and world.reasons(NAME) == reasons


def test_a_volume_of_another_provisioner_is_left_alone() -> None:
    world = make_world()
    world.create(make_local_class())
    world.create(make_pv(NAME, storage_class="local", local=True, node="n1", reclaim="Delete", phase="Released"))
    world.create(make_disk_node())
    world.settle(seconds=60)
    assert volumes(world) == [NAME] and "local-volume-provisioner" not in " ".join(world.writes)


def test_the_owner_may_be_the_node_and_the_name_without_uid() -> None:
    world = make_world(options=LocalProvisionerOptions(set_pv_owner_ref=True, use_node_name_only=True))
    world.create(make_local_class())
    world.create(make_disk_node())
    world.settle()
    volume = world.volume(NAME)
    assert annotations_of(volume)[ANN_PROVISIONED_BY] == "local-volume-provisioner-n1"
    assert [(owner.kind, owner.name, owner.uid) for owner in volume.metadata.ownerReferences] == [("Node", "n1", "n1-uid")]


def test_a_node_that_is_not_ready_runs_no_provisioner() -> None:
    world = make_world()
    world.create(make_local_class())
    world.create(replace(make_disk_node(), status=make_node(status={"conditions": [NodeCondition(type="Ready", status="Unknown")]}).status))
    world.settle(seconds=30)
    assert volumes(world) == []


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "is not JSON"),
        ("{}", "has to be a list"),
        ('[{"path": "relative", "size": "1Gi"}]', "[0].path: has to be an absolute path, once"),
        ('[{"path": "/a/b", "size": "1Gi"}, {"path": "/a//b", "size": "1Gi"}]', "[1].path"),
        ('[{"path": "/a", "size": "many"}]', "[0].size"),
        ('[{"path": "/a", "size": "1Gi", "type": "tape"}]', "'tape' is none of mount, block, directory"),
        ('[{"path": "/a", "size": "1Gi", "speed": 3}]', "[0].speed: unknown field"),
        ('["/a"]', "[0]: has to be an object"),
        ('[{"path": 3, "size": "1Gi"}]', "[0].path: 3 is not of the right type"),
    ],
)
def test_a_mistake_on_a_node_is_told_once(text: str, problem: str) -> None:
    node = make_node("n1", annotations={DISKS: text}, status=READY)
    with pytest.raises(InputError) as caught:
        disks_of(node)
    assert problem in str(caught.value) and DISKS in str(caught.value)
    world = make_world()
    world.create(make_local_class())
    world.create(node)
    world.settle(seconds=60)
    assert [event.reason for event in world.events] == ["InvalidLocalDisks"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[]", "has to be an object"),
        ('{"hostDir": "disks"}', "hostDir: has to be an absolute path"),
        ('{"hostDir": "/d", "volumeMode": "Tape"}', "volumeMode"),
        ('{"hostDir": "/d", "selector": [3]}', "selector: has to be a list of node selector terms"),
    ],
)
def test_a_mistake_on_a_class_is_told_once(text: str, problem: str) -> None:
    wrong = make_class("local", provisioner=NO_PROVISIONER, annotations={DISCOVERY: text})
    with pytest.raises(InputError) as caught:
        discovery_of(wrong)
    assert problem in str(caught.value)
    world = make_world()
    world.create(wrong)
    world.create(make_disk_node())
    world.settle(seconds=60)
    assert [event.reason for event in world.events] == ["InvalidLocalDiscovery"]


def test_a_class_with_another_policy_is_told() -> None:
    world = make_world()
    world.create(make_local_class(reclaim="Recycle"))
    world.create(make_disk_node())
    world.settle(seconds=60)
    which = 'from storage class "local", supported policy are Retain and Delete'
    assert world.messages("InvalidLocalDiscovery") == [f'unsupported ReclaimPolicy "Recycle" {which}']


def test_interruptions_at_every_write_end_alike() -> None:
    def make() -> World:
        world = make_world()
        world.create(make_local_class())
        return world

    def play(world: World) -> None:
        world.create(make_disk_node(disks=[{"path": f"/mnt/disks/{name}", "size": "100Gi"} for name in "ab"]))
        world.settle(seconds=30)
        release(world)
        world.settle(seconds=90)
        assert {world.volume(name).status.phase for name in volumes(world)} == {"Available"}

    def ignore(summary: dict[str, Any]) -> Any:
        # a volume made again has the uid of its incarnation, and an interruption may cost one
        return {key: {**value, "metadata": {**value["metadata"], "uid": ""}} for key, value in summary.items()}

    assert same_end_whatever_happens(play, make, ignore=ignore) >= 20


# nodes that are lost


def lost_node(*, cleanup: str | None = "60") -> World:
    world = make_world(cleanup=True)
    world.create(make_local_class(cleanup=cleanup))
    world.create(make_disk_node(disks=[*ONE, {"path": "/mnt/disks/b", "size": "100Gi"}]))
    world.create(make_disk_node("n2"))
    world.create(make_pvc(size="50Gi", storage_class="local", volume=NAME, uid="data-uid"))
    world.settle(seconds=15)
    assert world.volume(NAME).status.phase == "Bound"
    world.delete("Node", "n1")
    world.settle()
    return world


def test_without_the_option_nothing_happens_to_volumes_of_a_lost_node() -> None:
    world = lost_node(cleanup=None)
    world.settle(seconds=3600)
    assert len(volumes(world)) == 3 and world.claim("data").status.phase == "Bound"


def test_claim_and_volumes_of_a_lost_node_are_given_up_after_the_delay() -> None:
    world = lost_node()
    text = "PVC is tied to a deleted Node. PVC will be cleaned up in 1m0s if the Node doesn't come back"
    assert [(event.component, event.key.name, event.message) for event in world.events if event.reason == "ReferencedNodeDeleted"] == [
        ("cleanup-controller", "data", text)
    ]
    world.settle(seconds=30)
    assert volumes(world) == sorted([NAME, local_volume_name("a", "n2", "local")]), "the free volume is deleted"
    assert world.claim("data") is not None
    world.settle(seconds=60)
    assert world.claim("data") is None and volumes(world) == [local_volume_name("a", "n2", "local")]


def test_a_node_that_comes_back_in_time_keeps_its_claims() -> None:
    world = lost_node()
    world.settle(seconds=50)
    world.create(make_disk_node())
    world.settle(seconds=600)
    assert world.claim("data").status.phase == "Bound" and world.volume(NAME).status.phase == "Bound"


def test_a_claim_made_anew_under_the_name_is_not_deleted() -> None:
    world = lost_node()
    world.edit(with_finalizers(world.claim("data"), remove=["kubernetes.io/pvc-protection"]))
    world.delete("PersistentVolumeClaim", "data")
    world.create(make_pvc(size="50Gi", storage_class="local", uid="another"))
    world.settle(seconds=300)
    assert world.claim("data") is not None and world.claim("data").metadata.uid == "another"


def test_a_cleanup_that_starts_anew_starts_the_delay_anew() -> None:
    world = lost_node()
    world.settle(seconds=50)
    world.restart()
    world.settle(seconds=50)
    assert world.claim("data") is not None
    world.settle(seconds=20)
    assert world.claim("data") is None


@pytest.mark.parametrize(("seconds", "text"), [(5, "5s"), (60, "1m0s"), (3661, "1h1m1s"), (90, "1m30s")])
def test_durations_are_printed_as_go_does(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


@pytest.mark.parametrize("text", ["soon", "-1", "nan"])
def test_a_delay_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="is no number of seconds"):
        cleanup_delay_s(make_local_class(cleanup=text))
    world = make_world(cleanup=True)
    world.create(make_local_class(cleanup=text))
    world.settle(seconds=60)
    assert world.messages("InvalidLocalNodeCleanup") == [f"volsched.dev/local-node-cleanup: {text!r} is no number of seconds"]
    assert sum(event.reason == "InvalidLocalNodeCleanup" for event in world.events) == 1
