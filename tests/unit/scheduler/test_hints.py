# ruff: noqa: E501 - the tables are read by column
"""Who wakes for what: the registered events of every plugin, and its hints."""

from __future__ import annotations

from typing import Any

import pytest
from lightkube.models.core_v1 import (
    Affinity,
    AWSElasticBlockStoreVolumeSource,
    ContainerPort,
    CSIVolumeSource,
    GCEPersistentDiskVolumeSource,
    ISCSIVolumeSource,
    PodAffinity,
    PodAffinityTerm,
    PodAntiAffinity,
    RBDVolumeSource,
    Toleration,
    TopologySpreadConstraint,
    Volume,
)
from lightkube.models.meta_v1 import LabelSelector, LabelSelectorRequirement

from tests.builders import (
    make_attachment,
    make_capacity,
    make_claim_spec,
    make_class,
    make_csidriver,
    make_csinode,
    make_node,
    make_node_affinity,
    make_pod,
    make_pv,
    make_pvc,
    make_requirement,
    make_taint,
    make_term,
)
from tests.unit.scheduler.world import World
from volsched.api.edit import replace, with_labels, with_spec
from volsched.scheduler.events import (
    ALL,
    ASSIGNED_POD,
    NODE,
    POD,
    TARGET_POD,
    UNSCHEDULABLE_TIMEOUT,
    UNSCHEDULED_POD,
    UPDATE,
    WILDCARD,
    Action,
    ClusterEvent,
    node_changes,
    pod_changes,
)
from volsched.scheduler.plugins.node_affinity import NodeAffinity
from volsched.scheduler.queue import Place, QueuePolicy, SchedulingQueue

PROFILE = World().scheduler.profiles["default-scheduler"]
PLUGINS: dict[str, Any] = {plugin.name: plugin for plugin in PROFILE.plugins}

# The matrix of spec/scheduling.md 4.9, 7.1 - 7.3 and 10.4: plugin -> resource -> actions.
REGISTERED = {
    "SchedulingGates": {TARGET_POD: Action.UPDATE_POD_GATES_ELIMINATED},
    "NodeName": {NODE: Action.ADD},
    "NodeUnschedulable": {NODE: Action.ADD | Action.UPDATE_NODE_TAINT, TARGET_POD: Action.UPDATE_POD_TOLERATION},
    "TaintToleration": {NODE: Action.ADD | Action.UPDATE_NODE_TAINT, TARGET_POD: Action.UPDATE_POD_TOLERATION},
    "NodeAffinity": {NODE: Action.ADD | Action.UPDATE_NODE_LABEL},
    "NodePorts": {NODE: Action.ADD, ASSIGNED_POD: Action.DELETE},
    "NodeResourcesFit": {
        NODE: Action.ADD | Action.UPDATE_NODE_ALLOCATABLE,
        ASSIGNED_POD: Action.DELETE | Action.UPDATE_POD_SCALE_DOWN,
        TARGET_POD: Action.UPDATE_POD_SCALE_DOWN,
    },
    "VolumeRestrictions": {NODE: Action.ADD, ASSIGNED_POD: Action.DELETE, "PersistentVolumeClaim": Action.ADD},
    "NodeVolumeLimits": {
        "CSINode": Action.ADD | UPDATE,
        ASSIGNED_POD: Action.DELETE,
        "PersistentVolumeClaim": Action.ADD,
        "VolumeAttachment": Action.DELETE,
    },
    "VolumeBinding": {
        "StorageClass": Action.ADD | UPDATE,
        "PersistentVolumeClaim": Action.ADD | UPDATE,
        "PersistentVolume": Action.ADD | UPDATE,
        NODE: Action.ADD | Action.UPDATE_NODE_LABEL,
        "CSINode": Action.ADD | UPDATE,
        "CSIDriver": UPDATE,
        "CSIStorageCapacity": Action.ADD | UPDATE,
    },
    "VolumeZone": {
        "StorageClass": Action.ADD,
        NODE: Action.ADD | Action.UPDATE_NODE_LABEL,
        "PersistentVolumeClaim": Action.ADD | UPDATE,
        "PersistentVolume": Action.ADD | UPDATE,
    },
    "PodTopologySpread": {
        ASSIGNED_POD: Action.ADD | Action.UPDATE_POD_LABEL | Action.DELETE,
        TARGET_POD: Action.UPDATE_POD_TOLERATION | Action.UPDATE_POD_LABEL,
        NODE: Action.ADD | Action.DELETE | Action.UPDATE_NODE_LABEL | Action.UPDATE_NODE_TAINT,
    },
    "InterPodAffinity": {
        ASSIGNED_POD: Action.ADD | Action.UPDATE_POD_LABEL | Action.DELETE,
        TARGET_POD: Action.UPDATE_POD_LABEL,
        NODE: Action.ADD | Action.UPDATE_NODE_LABEL,
    },
    "DynamicResources": {
        NODE: Action.ADD | Action.UPDATE_NODE_LABEL | Action.UPDATE_NODE_ALLOCATABLE,
        TARGET_POD: Action.UPDATE_POD_GENERATED_CLAIM,
    },
    "DefaultPreemption": {ASSIGNED_POD: Action.DELETE},
    "NodeDeclaredFeatures": {NODE: Action.ADD | Action.UPDATE_NODE_DECLARED_FEATURE, TARGET_POD: UPDATE},
    "PrioritySort": {},
    "DefaultBinder": {},
}


@pytest.mark.parametrize("name", sorted(PLUGINS))
def test_registered_events(name: str) -> None:
    found: dict[str, Action] = {}
    for wake in PLUGINS[name].wakes_on():
        found[wake.event.resource] = found.get(wake.event.resource, Action(0)) | wake.event.action
    assert found == REGISTERED[name]


def wakes(plugin: str, event: ClusterEvent, pod: Any, old: Any = None, new: Any = None) -> bool:
    return any(wake.hint is None or wake.hint(pod, old, new) for wake in PLUGINS[plugin].wakes_on() if wake.event.matches(event))


NODE_ADD = ClusterEvent(NODE, Action.ADD)
POD_GONE = ClusterEvent(ASSIGNED_POD, Action.DELETE)
TAINT = ClusterEvent(NODE, Action.UPDATE_NODE_TAINT)
LABEL = ClusterEvent(NODE, Action.UPDATE_NODE_LABEL)


def updated(resource: str) -> ClusterEvent:
    return ClusterEvent(resource, UPDATE)


def added(resource: str) -> ClusterEvent:
    return ClusterEvent(resource, Action.ADD)


def gone(resource: str) -> ClusterEvent:
    return ClusterEvent(resource, Action.DELETE)


WITH_CLAIM = make_pod("web", claims=["data"])
WITH_EPHEMERAL = make_pod("web", ephemeral={"scratch": make_claim_spec()})
TAINTED = make_node(taints=[make_taint("dedicated", "db")])
MIGRATED = {"storage.alpha.kubernetes.io/migrated-plugins": "kubernetes.io/aws-ebs"}
ZONE = "topology.kubernetes.io/zone"


def inline_csi(driver: str) -> Any:
    return make_pod("web", volumes=[Volume(name="v", csi=CSIVolumeSource(driver=driver))])


def ebs(volume: str, name: str = "web", **rest: Any) -> Any:
    source = AWSElasticBlockStoreVolumeSource(volumeID=volume)
    return make_pod(name, volumes=[Volume(name="v", awsElasticBlockStore=source)], **rest)


def gce(disk: str, *, read_only: bool, name: str = "web", **rest: Any) -> Any:
    source = GCEPersistentDiskVolumeSource(pdName=disk, readOnly=read_only)
    return make_pod(name, volumes=[Volume(name="v", gcePersistentDisk=source)], **rest)


def rbd(*monitors: str, read_only: bool | None = None, name: str = "web") -> Any:
    source = RBDVolumeSource(monitors=list(monitors), image="i", readOnly=read_only)
    return make_pod(name, node="n", volumes=[Volume(name="v", rbd=source)])


def iscsi(target: str, *, read_only: bool | None = None, name: str = "web") -> Any:
    source = ISCSIVolumeSource(targetPortal="p", iqn=target, lun=0, readOnly=read_only)
    return make_pod(name, node="n", volumes=[Volume(name="v", iscsi=source)])


def capacity(size: str | None, maximum: str | None = None) -> Any:
    return make_capacity(capacity=size, maximum=maximum)


# fmt: off
STORAGE = [
    # plugin              event                              pod             old                                    new                                                 wakes
    ("VolumeBinding",      added("StorageClass"),             WITH_CLAIM,     None,                                  make_class(),                                       True),
    ("VolumeBinding",      updated("StorageClass"),           WITH_CLAIM,     make_class(),                          make_class(labels={"a": "b"}),                      False),
    ("VolumeBinding",      updated("StorageClass"),           WITH_CLAIM,     make_class(),                          make_class(allowed=[{ZONE: ["a"]}]),                True),
    ("VolumeBinding",      gone("StorageClass"),              WITH_CLAIM,     make_class(),                          None,                                               False),
    ("VolumeBinding",      added("PersistentVolumeClaim"),    WITH_CLAIM,     None,                                  make_pvc("data"),                                   True),
    ("VolumeBinding",      added("PersistentVolumeClaim"),    WITH_CLAIM,     None,                                  make_pvc("other"),                                  False),
    ("VolumeBinding",      added("PersistentVolumeClaim"),    WITH_CLAIM,     None,                                  make_pvc("data", namespace="else"),                 False),
    ("VolumeBinding",      updated("PersistentVolumeClaim"),  WITH_EPHEMERAL, make_pvc("web-scratch"),               make_pvc("web-scratch"),                            True),
    ("VolumeBinding",      updated("PersistentVolumeClaim"),  WITH_CLAIM,     make_pvc("other"),                     make_pvc("other"),                                  False),
    ("VolumeBinding",      gone("PersistentVolumeClaim"),     WITH_CLAIM,     make_pvc("data"),                      None,                                               False),
    ("VolumeBinding",      added("PersistentVolume"),         WITH_CLAIM,     None,                                  make_pv(),                                          True),
    ("VolumeBinding",      updated("PersistentVolume"),       WITH_CLAIM,     make_pv(),                             make_pv(),                                          True),
    ("VolumeBinding",      gone("PersistentVolume"),          WITH_CLAIM,     make_pv(),                             None,                                               False),
    ("VolumeBinding",      NODE_ADD,                          WITH_CLAIM,     None,                                  make_node(unschedulable=True),                      True),
    ("VolumeBinding",      LABEL,                             WITH_CLAIM,     make_node(),                           make_node(labels={"a": "b"}),                       True),
    ("VolumeBinding",      TAINT,                             WITH_CLAIM,     make_node(),                           TAINTED,                                            False),
    ("VolumeBinding",      POD_GONE,                          WITH_CLAIM,     make_pod("x", claims=["data"], node="n"), None,                                            False),
    ("VolumeBinding",      added("CSINode"),                  WITH_CLAIM,     None,                                  make_csinode(),                                     True),
    ("VolumeBinding",      updated("CSINode"),                WITH_CLAIM,     make_csinode(),                        make_csinode(),                                     False),
    ("VolumeBinding",      updated("CSINode"),                WITH_CLAIM,     make_csinode(),                        make_csinode(annotations=MIGRATED),                 True),
    ("VolumeBinding",      added("CSIDriver"),                WITH_CLAIM,     None,                                  make_csidriver(),                                   False),
    ("VolumeBinding",      updated("CSIDriver"),              WITH_CLAIM,     make_csidriver("d", storage_capacity=True), make_csidriver("d", storage_capacity=False),   False),
    ("VolumeBinding",      updated("CSIDriver"),              inline_csi("d"), make_csidriver("d", storage_capacity=True), make_csidriver("d", storage_capacity=False),  True),
    ("VolumeBinding",      updated("CSIDriver"),              inline_csi("d"), make_csidriver("d", storage_capacity=True), make_csidriver("d", storage_capacity=None),   True),
    ("VolumeBinding",      updated("CSIDriver"),              inline_csi("e"), make_csidriver("d", storage_capacity=True), make_csidriver("d", storage_capacity=False),  False),
    ("VolumeBinding",      updated("CSIDriver"),              inline_csi("d"), make_csidriver("d", storage_capacity=False), make_csidriver("d", storage_capacity=True),  False),
    ("VolumeBinding",      added("CSIStorageCapacity"),       WITH_CLAIM,     None,                                  capacity("1Gi"),                                    True),
    ("VolumeBinding",      updated("CSIStorageCapacity"),     WITH_CLAIM,     capacity("1Gi"),                       capacity("2Gi"),                                    True),
    ("VolumeBinding",      updated("CSIStorageCapacity"),     WITH_CLAIM,     capacity("2Gi"),                       capacity("1Gi"),                                    False),
    ("VolumeBinding",      updated("CSIStorageCapacity"),     WITH_CLAIM,     capacity("1Gi", "1Gi"),                capacity("9Gi", "1Gi"),                             False),
    ("VolumeBinding",      updated("CSIStorageCapacity"),     WITH_CLAIM,     capacity(None),                        capacity("1Gi"),                                    True),
    ("VolumeBinding",      updated("CSIStorageCapacity"),     WITH_CLAIM,     capacity("1Gi"),                       capacity(None),                                     False),
    ("VolumeBinding",      gone("CSIStorageCapacity"),        WITH_CLAIM,     capacity("1Gi"),                       None,                                               False),
    ("VolumeZone",         added("StorageClass"),             WITH_CLAIM,     None,                                  make_class(wait=True),                              True),
    ("VolumeZone",         added("StorageClass"),             WITH_CLAIM,     None,                                  make_class(wait=False),                             False),
    ("VolumeZone",         updated("StorageClass"),           WITH_CLAIM,     make_class(wait=True),                 make_class(wait=True, allowed=[{ZONE: ["a"]}]),     False),
    ("VolumeZone",         NODE_ADD,                          WITH_CLAIM,     None,                                  make_node(),                                        True),
    ("VolumeZone",         LABEL,                             WITH_CLAIM,     make_node(),                           make_node(labels={"a": "b"}),                       True),
    ("VolumeZone",         updated("PersistentVolume"),       WITH_CLAIM,     make_pv(),                             make_pv(),                                          False),
    ("VolumeZone",         updated("PersistentVolume"),       WITH_CLAIM,     make_pv(),                             with_labels(make_pv(), {ZONE: "a"}),                True),
    ("VolumeZone",         updated("PersistentVolume"),       WITH_CLAIM,     make_pv(),                             with_labels(make_pv(), {"x": "a"}),                 False),
    ("VolumeZone",         added("PersistentVolume"),         WITH_CLAIM,     None,                                  make_pv(),                                          True),
    ("VolumeZone",         updated("PersistentVolume"),       WITH_CLAIM,     with_labels(make_pv(), {ZONE: "a__b"}), with_labels(make_pv(), {ZONE: "b__a"}),            False),
    ("VolumeZone",         updated("PersistentVolume"),       WITH_CLAIM,     with_labels(make_pv(), {ZONE: "a"}),   with_labels(make_pv(), {ZONE: "a__"}),              True),
    ("VolumeZone",         gone("PersistentVolume"),          WITH_CLAIM,     make_pv(),                             None,                                               False),
    ("VolumeZone",         added("PersistentVolumeClaim"),    WITH_CLAIM,     None,                                  make_pvc("data"),                                   True),
    ("VolumeZone",         added("PersistentVolumeClaim"),    WITH_CLAIM,     None,                                  make_pvc("data", namespace="else"),                 False),
    ("VolumeZone",         updated("PersistentVolumeClaim"),  WITH_CLAIM,     make_pvc("data"),                      make_pvc("data"),                                   True),
    ("VolumeZone",         updated("PersistentVolumeClaim"),  WITH_EPHEMERAL, make_pvc("web-scratch"),               make_pvc("web-scratch"),                            False),
    ("VolumeRestrictions", added("PersistentVolumeClaim"),    WITH_CLAIM,     None,                                  make_pvc("data"),                                   True),
    ("VolumeRestrictions", NODE_ADD,                          WITH_CLAIM,     None,                                  make_node(),                                        True),
    ("VolumeRestrictions", LABEL,                             WITH_CLAIM,     make_node(),                           make_node(labels={"a": "b"}),                       False),
    ("VolumeRestrictions", added("PersistentVolumeClaim"),    WITH_CLAIM,     None,                                  make_pvc("other"),                                  False),
    ("VolumeRestrictions", added("PersistentVolumeClaim"),    WITH_CLAIM,     None,                                  make_pvc("data", namespace="else"),                 False),
    ("VolumeRestrictions", added("PersistentVolumeClaim"),    WITH_EPHEMERAL, None,                                  make_pvc("web-scratch"),                            False),
    ("VolumeRestrictions", updated("PersistentVolumeClaim"),  WITH_CLAIM,     make_pvc("data"),                      make_pvc("data"),                                   False),
    ("VolumeRestrictions", POD_GONE,                          WITH_CLAIM,     make_pod("x", claims=["data"], node="n"), None,                                            True),
    ("VolumeRestrictions", POD_GONE,                          WITH_CLAIM,     make_pod("x", claims=["more"], node="n"), None,                                            False),
    ("VolumeRestrictions", POD_GONE,                          WITH_CLAIM,     make_pod("x", claims=["data"], node="n", namespace="else"), None,                          False),
    ("VolumeRestrictions", POD_GONE,                          ebs("v1"),      ebs("v1", "x", node="n"),              None,                                               True),
    ("VolumeRestrictions", POD_GONE,                          ebs("v1"),      ebs("v2", "x", node="n"),              None,                                               False),
    ("VolumeRestrictions", POD_GONE,                          gce("d", read_only=True), gce("d", read_only=True, name="x", node="n"), None,                                False),
    ("VolumeRestrictions", POD_GONE,                          gce("d", read_only=True), gce("d", read_only=False, name="x", node="n"), None,                               True),
    ("VolumeRestrictions", POD_GONE,                          rbd("m1", "m2"), rbd("m2", "m3", name="x"),            None,                                               True),
    ("VolumeRestrictions", POD_GONE,                          rbd("m1"),      rbd("m2", name="x"),                   None,                                               False),
    ("VolumeRestrictions", POD_GONE,                          rbd("m1", read_only=True), rbd("m1", name="x", read_only=True), None,                                       False),
    ("VolumeRestrictions", POD_GONE,                          iscsi("q"),     iscsi("q", name="x"),                  None,                                               True),
    ("VolumeRestrictions", POD_GONE,                          iscsi("q"),     iscsi("r", name="x"),                  None,                                               False),
    ("VolumeRestrictions", POD_GONE,                          iscsi("q", read_only=True), iscsi("q", name="x", read_only=True), None,                                     False),
    ("NodeVolumeLimits",   added("CSINode"),                  WITH_CLAIM,     None,                                  make_csinode(),                                     True),
    ("NodeVolumeLimits",   updated("CSINode"),                WITH_CLAIM,     make_csinode(drivers={"d": 1}),        make_csinode(drivers={"d": 2}),                     True),
    ("NodeVolumeLimits",   updated("CSINode"),                WITH_CLAIM,     make_csinode(drivers={"d": 2}),        make_csinode(drivers={"d": 1}),                     False),
    ("NodeVolumeLimits",   updated("CSINode"),                WITH_CLAIM,     make_csinode(drivers={"d": None}),     make_csinode(drivers={"d": 1}),                     True),
    ("NodeVolumeLimits",   POD_GONE,                          WITH_CLAIM,     make_pod("x", node="n"),               None,                                               False),
    ("NodeVolumeLimits",   POD_GONE,                          WITH_CLAIM,     make_pod("x", claims=["any"], node="n"), None,                                             True),
    ("NodeVolumeLimits",   POD_GONE,                          WITH_CLAIM,     ebs("v", "x", node="n"),               None,                                               True),
    ("NodeVolumeLimits",   POD_GONE,                          WITH_CLAIM,     make_pod("x", claims=["any"]),         None,                                               False),
    ("NodeVolumeLimits",   added("PersistentVolumeClaim"),    WITH_EPHEMERAL, None,                                  make_pvc("web-scratch"),                            True),
    ("NodeVolumeLimits",   added("PersistentVolumeClaim"),    WITH_CLAIM,     None,                                  make_pvc("other"),                                  False),
    ("NodeVolumeLimits",   updated("PersistentVolumeClaim"),  WITH_CLAIM,     make_pvc("data"),                      make_pvc("data"),                                   False),
    ("NodeVolumeLimits",   added("VolumeAttachment"),         WITH_CLAIM,     None,                                  make_attachment(),                                  False),
    ("NodeVolumeLimits",   gone("VolumeAttachment"),          WITH_CLAIM,     make_attachment(),                     None,                                               True),
    ("NodeVolumeLimits",   gone("VolumeAttachment"),          make_pod(),     make_attachment(),                     None,                                               False),
    ("NodeVolumeLimits",   gone("VolumeAttachment"),          ebs("vol-1"),   make_attachment(attacher="ebs.csi.aws.com"), None,                                           True),
    ("NodeVolumeLimits",   gone("VolumeAttachment"),          ebs("vol-1"),   make_attachment(attacher="other"),       None,                                               False),
]
# fmt: on


@pytest.mark.parametrize(("plugin", "event", "pod", "old", "new", "expected"), STORAGE)
def test_storage_hints(plugin: str, event: ClusterEvent, pod: Any, old: Any, new: Any, expected: bool) -> None:
    assert wakes(plugin, event, pod, old, new) is expected


OTHER_TAINT = make_node(taints=[make_taint("gpu", "yes")])
TOLERANT = make_pod(tolerations=[Toleration(key="dedicated", operator="Exists")])
ALLOCATABLE = ClusterEvent(NODE, Action.UPDATE_NODE_ALLOCATABLE)
TOLERATION = ClusterEvent(TARGET_POD, Action.UPDATE_POD_TOLERATION)
CORDON = make_pod(tolerations=[Toleration(key="node.kubernetes.io/unschedulable", operator="Exists", effect="NoSchedule")])
SSD = make_pod(affinity=make_node_affinity({"disk": ["ssd"]}))
BIG = make_pod(cpu="2")
SCALE = ClusterEvent(ASSIGNED_POD, Action.UPDATE_POD_SCALE_DOWN)
OWN_SCALE = ClusterEvent(TARGET_POD, Action.UPDATE_POD_SCALE_DOWN)
OWN_GATES = ClusterEvent(TARGET_POD, Action.UPDATE_POD_GATES_ELIMINATED)
OWN_CLAIM = ClusterEvent(TARGET_POD, Action.UPDATE_POD_GENERATED_CLAIM)
OWN_UPDATE = ClusterEvent(TARGET_POD, UPDATE)
FEATURES = ClusterEvent(NODE, Action.UPDATE_NODE_DECLARED_FEATURE)
DECLARING = make_node(status={"declaredFeatures": ["VolumeBindMountOptions"]})
NEEDY = make_pod(spec={"hostNetwork": True, "hostUsers": False})


def port(number: int, ip: str | None = None, protocol: str | None = None, **rest: Any) -> Any:
    return make_pod(ports=[ContainerPort(containerPort=1, hostPort=number, hostIP=ip, protocol=protocol)], **rest)


# fmt: off
NODES = [
    # plugin              event       pod         old                                    new                                     wakes
    ("NodeName",           NODE_ADD,    make_pod(), None,                                  make_node(),                            True),
    ("NodeName",           LABEL,       make_pod(), make_node(),                           make_node(labels={"a": "b"}),           False),
    ("NodeUnschedulable",  NODE_ADD,    make_pod(), None,                                  make_node(),                            True),
    ("NodeUnschedulable",  NODE_ADD,    make_pod(), None,                                  make_node(unschedulable=True),          False),
    ("NodeUnschedulable",  TAINT,       make_pod(), make_node(unschedulable=True),         make_node(),                            True),
    ("NodeUnschedulable",  TAINT,       make_pod(), make_node(),                           TAINTED,                                False),
    ("NodeUnschedulable",  TOLERATION,  make_pod(), make_pod(),                            CORDON,                                 True),
    ("NodeUnschedulable",  TOLERATION,  make_pod(), make_pod(),                            TOLERANT,                               False),
    ("TaintToleration",    NODE_ADD,    make_pod(), None,                                  make_node(),                            True),
    ("TaintToleration",    NODE_ADD,    make_pod(), None,                                  TAINTED,                                False),
    ("TaintToleration",    NODE_ADD,    TOLERANT,   None,                                  TAINTED,                                True),
    ("TaintToleration",    TAINT,       TOLERANT,   OTHER_TAINT,                           TAINTED,                                True),
    ("TaintToleration",    TAINT,       make_pod(), TAINTED,                               make_node(),                            True),
    ("TaintToleration",    TAINT,       TOLERANT,   TAINTED,                               make_node(),                            False),
    ("TaintToleration",    TOLERATION,  make_pod(), make_pod(),                            TOLERANT,                               True),
    ("NodeAffinity",       NODE_ADD,    SSD,        None,                                  make_node(labels={"disk": "ssd"}),      True),
    ("NodeAffinity",       NODE_ADD,    SSD,        None,                                  make_node(labels={"disk": "hdd"}),      False),
    ("NodeAffinity",       LABEL,       SSD,        make_node(),                           make_node(labels={"disk": "ssd"}),      True),
    ("NodeAffinity",       LABEL,       SSD,        make_node(labels={"disk": "ssd"}),     make_node(labels={"disk": "ssd", "a": "b"}), False),
    ("NodeAffinity",       LABEL,       SSD,        make_node(labels={"disk": "ssd"}),     make_node(),                            False),
    ("NodeAffinity",       TAINT,       SSD,        TAINTED,                               make_node(labels={"disk": "ssd"}),      False),
    ("NodeUnschedulable",  LABEL,       make_pod(), make_node(unschedulable=True),         make_node(labels={"a": "b"}),           False),
    ("TaintToleration",    LABEL,       make_pod(), TAINTED,                               make_node(labels={"a": "b"}),           False),
    ("NodePorts",          NODE_ADD,    port(80),   None,                                  make_node(),                            True),
    ("NodePorts",          POD_GONE,    port(80),   port(80, node="n"),                    None,                                   True),
    ("NodePorts",          POD_GONE,    port(80),   port(81, node="n"),                    None,                                   False),
    ("NodePorts",          POD_GONE,    port(80),   port(80),                              None,                                   False),
    ("NodePorts",          POD_GONE,    port(80, "10.0.0.1"), port(80, "10.0.0.2", node="n"), None,                                False),
    ("NodePorts",          POD_GONE,    port(80, "10.0.0.1"), port(80, node="n"),          None,                                   True),
    ("NodePorts",          POD_GONE,    port(80),   port(80, protocol="UDP", node="n"),    None,                                   False),
    ("NodePorts",          ALLOCATABLE, port(80),   make_node(cpu="1"),                    make_node(cpu="2"),                     False),
    ("NodeResourcesFit",   POD_GONE,    BIG,        make_pod("x", node="n"),               None,                                   True),
    ("NodeResourcesFit",   POD_GONE,    BIG,        make_pod("x", status={"nominatedNodeName": "n"}), None,                        True),
    ("NodeResourcesFit",   POD_GONE,    BIG,        make_pod("x"),                         None,                                   False),
    ("NodeResourcesFit",   NODE_ADD,    BIG,        None,                                  make_node(cpu="2"),                     True),
    ("NodeResourcesFit",   NODE_ADD,    BIG,        None,                                  make_node(cpu="1"),                     False),
    ("NodeResourcesFit",   NODE_ADD,    make_pod(), None,                                  make_node(pods="0"),                    False),
    ("NodeResourcesFit",   ALLOCATABLE, BIG,        make_node(cpu="1"),                    make_node(cpu="2"),                     True),
    ("NodeResourcesFit",   ALLOCATABLE, BIG,        make_node(cpu="2"),                    make_node(cpu="2", memory="64Gi"),      False),
    ("NodeResourcesFit",   ALLOCATABLE, BIG,        make_node(cpu="2", pods="5"),          make_node(cpu="2", pods="6"),           True),
    ("NodeResourcesFit",   ALLOCATABLE, make_pod(), make_node(cpu="1"),                    make_node(cpu="2"),                     False),
    ("NodeResourcesFit",   SCALE,       BIG,        make_pod("x", cpu="2", node="n"),      make_pod("x", cpu="1", node="n"),       True),
    ("NodeResourcesFit",   SCALE,       BIG,        make_pod("x", memory="2Gi", node="n"), make_pod("x", memory="1Gi", node="n"),  False),
    ("NodeResourcesFit",   OWN_SCALE,   BIG,        BIG,                                   make_pod(cpu="1"),                      True),
    ("NodeResourcesFit",   LABEL,       BIG,        make_node(cpu="1"),                    make_node(cpu="2", labels={"a": "b"}),  False),
    ("NodeDeclaredFeatures", NODE_ADD,  make_pod(), None,                                  DECLARING,                              True),
    ("NodeDeclaredFeatures", FEATURES,  make_pod(), make_node(),                           DECLARING,                              True),
    ("NodeDeclaredFeatures", FEATURES,  make_pod(), DECLARING,                             with_labels(DECLARING, {"a": "b"}),     False),
    ("NodeDeclaredFeatures", OWN_UPDATE, make_pod(), make_pod(),                           NEEDY,                                  True),
    ("NodeDeclaredFeatures", OWN_UPDATE, NEEDY,     NEEDY,                                 with_labels(NEEDY, {"a": "b"}),         False),
    ("DynamicResources",   NODE_ADD,    make_pod(), None,                                  make_node(),                            True),
    ("DynamicResources",   LABEL,       make_pod(), make_node(),                           make_node(labels={"a": "b"}),           True),
    ("DynamicResources",   ALLOCATABLE, make_pod(), make_node(cpu="2"),                    make_node(cpu="1"),                     True),
    ("DynamicResources",   TAINT,       make_pod(), TAINTED,                               make_node(),                            False),
    ("DynamicResources",   OWN_CLAIM,   make_pod(), make_pod(),                            make_pod(),                             True),
    ("SchedulingGates",    OWN_GATES,   make_pod(), make_pod(),                            make_pod(),                             True),
    ("SchedulingGates",    OWN_UPDATE,  make_pod(), make_pod(),                            make_pod(),                             False),
    ("SchedulingGates",    NODE_ADD,    make_pod(), None,                                  make_node(),                            False),
    ("DefaultPreemption",  POD_GONE,    BIG,        make_pod("x", cpu="2", node="n"),      None,                                   False),
    ("DefaultPreemption",  NODE_ADD,    BIG,        None,                                  make_node(),                            False),
]
# fmt: on


@pytest.mark.parametrize(("plugin", "event", "pod", "old", "new", "expected"), NODES)
def test_node_hints(plugin: str, event: ClusterEvent, pod: Any, old: Any, new: Any, expected: bool) -> None:
    assert wakes(plugin, event, pod, old, new) is expected


def near(*, selector: LabelSelector | None = None, **labels: str) -> Any:
    term = PodAffinityTerm(topologyKey=ZONE, labelSelector=selector or LabelSelector(matchLabels=labels))
    return make_pod("web", affinity=Affinity(podAffinity=PodAffinity(requiredDuringSchedulingIgnoredDuringExecution=[term])))


def far(name: str = "web", node: str | None = None, own: Any = None, **labels: str) -> Any:
    term = PodAffinityTerm(topologyKey=ZONE, labelSelector=LabelSelector(matchLabels=labels))
    anti = PodAntiAffinity(requiredDuringSchedulingIgnoredDuringExecution=[term])
    return make_pod(name, affinity=Affinity(podAntiAffinity=anti), node=node, labels=own)


def spread(*, selector: LabelSelector | None = None, **rest: Any) -> Any:
    chosen = selector or LabelSelector(matchLabels={"app": "web"})
    constraint = TopologySpreadConstraint(maxSkew=1, topologyKey=ZONE, whenUnsatisfiable="DoNotSchedule", labelSelector=chosen, **rest)
    return make_pod("web", labels={"app": "web"}, spec={"topologySpreadConstraints": [constraint]})


def placed(**labels: str) -> Any:
    return make_pod("x", node="n", labels=labels)


POD_ADD = ClusterEvent(ASSIGNED_POD, Action.ADD)
POD_LABEL = ClusterEvent(ASSIGNED_POD, Action.UPDATE_POD_LABEL)
OWN_LABEL = ClusterEvent(TARGET_POD, Action.UPDATE_POD_LABEL)
NODE_GONE = ClusterEvent(NODE, Action.DELETE)
IN_A, IN_B = make_node(zone="a"), make_node(zone="b")

# fmt: off
PODS = [
    ("InterPodAffinity",  POD_ADD,    near(app="db"), None,              placed(app="db"),   True),
    ("InterPodAffinity",  POD_ADD,    near(app="db"), None,              placed(app="web"),  False),
    ("InterPodAffinity",  POD_ADD,    near(app="db"), None,              make_pod("x", labels={"app": "db"}), False),
    ("InterPodAffinity",  POD_LABEL,  near(app="db"), placed(app="web"), placed(app="db"),   True),
    ("InterPodAffinity",  POD_LABEL,  near(app="db"), placed(app="db"),  placed(app="web"),  False),
    ("InterPodAffinity",  POD_GONE,   near(app="db"), placed(app="db"),  None,               False),
    ("InterPodAffinity",  POD_GONE,   far(app="db"),  placed(app="db"),  None,               True),
    ("InterPodAffinity",  POD_LABEL,  far(app="db"),  placed(app="db"),  placed(app="web"),  True),
    ("InterPodAffinity",  POD_GONE,   make_pod("web", labels={"app": "web"}), far("x", "n", app="web"), None, True),
    ("InterPodAffinity",  POD_GONE,   make_pod("web", labels={"app": "other"}), far("x", "n", app="web"), None, False),
    ("InterPodAffinity",  NODE_ADD,   near(app="db"), None,              IN_A,               True),
    ("InterPodAffinity",  NODE_ADD,   near(app="db"), None,              make_node(),        False),
    ("InterPodAffinity",  NODE_ADD,   far(app="db"),  None,              make_node(),        True),
    ("InterPodAffinity",  LABEL,      near(app="db"), make_node(),       IN_A,               True),
    ("InterPodAffinity",  LABEL,      near(app="db"), IN_A,              make_node(),        False),
    ("InterPodAffinity",  LABEL,      far(app="db"),  IN_A,              make_node(),        True),
    ("InterPodAffinity",  LABEL,      far(app="db"),  IN_A,              IN_B,               True),
    ("InterPodAffinity",  LABEL,      far(app="db"),  make_node(),       IN_A,               False),
    ("InterPodAffinity",  OWN_LABEL,  near(app="db"), make_pod(),        make_pod(labels={"a": "b"}), True),
    ("InterPodAffinity",  NODE_GONE,  near(app="db"), IN_A,              None,               False),
    ("InterPodAffinity",  POD_ADD,    near(app="db"), None,              make_pod("x", namespace="else", node="n", labels={"app": "db"}), False),
    ("PodTopologySpread", POD_ADD,    spread(),       None,              placed(app="web"),  True),
    ("PodTopologySpread", POD_ADD,    spread(),       None,              placed(app="db"),   False),
    ("PodTopologySpread", POD_GONE,   spread(),       placed(app="web"), None,               True),
    ("PodTopologySpread", POD_GONE,   spread(),       make_pod("x", namespace="else", node="n", labels={"app": "web"}), None, False),
    ("PodTopologySpread", POD_LABEL,  spread(),       placed(app="web"), placed(app="db"),   True),
    ("PodTopologySpread", POD_LABEL,  spread(),       placed(app="db"),  placed(app="x"),    False),
    ("PodTopologySpread", NODE_ADD,   spread(),       None,              IN_A,               True),
    ("PodTopologySpread", NODE_ADD,   spread(),       None,              make_node(),        False),
    ("PodTopologySpread", NODE_GONE,  spread(),       IN_A,              None,               True),
    ("PodTopologySpread", NODE_GONE,  spread(),       make_node(),       None,               False),
    ("PodTopologySpread", LABEL,      spread(),       IN_A,              IN_B,               True),
    ("PodTopologySpread", LABEL,      spread(),       make_node(),       IN_B,               True),
    ("PodTopologySpread", LABEL,      spread(),       IN_A,              with_labels(IN_A, {"x": "y"}), False),
    ("PodTopologySpread", LABEL,      spread(),       IN_A,              make_node(),        True),
    ("PodTopologySpread", TAINT,      spread(),       IN_A,              make_node(zone="a", taints=[make_taint("k")]), True),
    ("PodTopologySpread", TAINT,      spread(),       make_node(),       make_node(taints=[make_taint("k")]), False),
    ("PodTopologySpread", POD_ADD,    spread(),       None,              make_pod("x", labels={"app": "web"}), False),
    ("PodTopologySpread", POD_ADD,    spread(matchLabelKeys=["app"]), None, placed(app="web"), True),
    ("PodTopologySpread", ALLOCATABLE, spread(),      make_node(zone="a", cpu="1"), IN_A,    False),
    ("PodTopologySpread", TOLERATION, spread(nodeTaintsPolicy="Honor"), make_pod(), TOLERANT, True),
    ("PodTopologySpread", TOLERATION, spread(),       make_pod(),        TOLERANT,           False),
    ("PodTopologySpread", OWN_LABEL,  spread(),       make_pod(labels={"app": "web"}), make_pod(labels={"app": "db"}), True),
    ("PodTopologySpread", OWN_LABEL,  spread(),       make_pod(labels={"app": "web"}), make_pod(labels={"app": "web", "x": "y"}), False),
]
# fmt: on


@pytest.mark.parametrize(("plugin", "event", "pod", "old", "new", "expected"), PODS)
def test_pod_hints(plugin: str, event: ClusterEvent, pod: Any, old: Any, new: Any, expected: bool) -> None:
    assert wakes(plugin, event, pod, old, new) is expected


# Hints that say yes to whatever is added.
ALWAYS = {
    ("VolumeBinding", "StorageClass", Action.ADD),
    ("VolumeBinding", "CSINode", Action.ADD),
    ("VolumeBinding", "CSIStorageCapacity", Action.ADD),
    ("VolumeZone", "PersistentVolume", Action.ADD),
    ("NodeDeclaredFeatures", NODE, Action.ADD),
    ("NodeResourcesFit", TARGET_POD, Action.UPDATE_POD_SCALE_DOWN),
    ("InterPodAffinity", TARGET_POD, Action.UPDATE_POD_LABEL),
}
NEVER = {("DefaultPreemption", ASSIGNED_POD, Action.DELETE)}


def _single(action: Action) -> list[Action]:
    """The events that an action registers for: a general update is one of its own where nothing finer is told apart."""
    if action & UPDATE == UPDATE:
        return [UPDATE, *Action(action & ~UPDATE)]
    return list(action)


@pytest.mark.parametrize("name", sorted(PLUGINS))
def test_the_tables_walk_every_event_both_ways(name: str) -> None:
    for wake in PLUGINS[name].wakes_on():
        for action in _single(wake.event.action):
            case = (name, wake.event.resource, action)
            told = {row[5] for row in STORAGE + NODES + PODS if row[0] == name and row[1] == ClusterEvent(wake.event.resource, action)}
            expected = {True} if wake.hint is None or case in ALWAYS else {False} if case in NEVER else {True, False}
            assert told == expected, case


@pytest.mark.parametrize("name", sorted(PLUGINS))
def test_no_other_event_wakes(name: str) -> None:
    resources = {resource for registered in REGISTERED.values() for resource in registered} | {UNSCHEDULED_POD, "Namespace"}
    for resource in sorted(resources):
        for action in (*Action, UPDATE):
            registered = REGISTERED[name].get(resource, Action(0))
            matched = any(wake.event.matches(ClusterEvent(resource, action)) for wake in PLUGINS[name].wakes_on())
            assert matched is (action & registered == action)


WRONG = LabelSelector(matchExpressions=[LabelSelectorRequirement(key="app", operator="Gt", values=["1"])])


@pytest.mark.parametrize(
    ("plugin", "event", "pod", "old", "new"),
    [
        ("PodTopologySpread", POD_ADD, spread(selector=WRONG), None, placed(app="web")),
        ("InterPodAffinity", POD_ADD, near(selector=WRONG), None, placed(app="db")),
        (
            "NodeAffinity",
            NODE_ADD,
            make_pod(affinity=make_node_affinity(make_term(expressions=[make_requirement("disk", "In", [])]))),
            None,
            make_node(),
        ),
    ],
)
def test_a_hint_that_cannot_decide_wakes(plugin: str, event: ClusterEvent, pod: Any, old: Any, new: Any) -> None:
    policy = QueuePolicy([(name, wake) for name, known in PLUGINS.items() for wake in known.wakes_on()], [])
    queue = SchedulingQueue({"default-scheduler": policy}, lister=lambda namespace, name: None)
    queue.add(with_spec(pod, schedulerName="default-scheduler"), 0)
    queued = queue.pop(0)
    assert queued is not None
    queued.rejectors = frozenset({plugin})
    assert queue.requeue(queued, 0) is Place.UNSCHEDULABLE
    queue.move_all(event, old, new, 0)
    assert queue.place_of(queued.pod) is Place.BACKOFF


def test_added_affinity_of_a_profile() -> None:
    added_terms = make_node_affinity({"pool": ["general"]}).nodeAffinity
    assert added_terms is not None
    plugin = NodeAffinity(added_terms.requiredDuringSchedulingIgnoredDuringExecution)
    hint = plugin.wakes_on()[0].hint
    assert hint is not None
    assert not hint(SSD, None, make_node(labels={"disk": "ssd"}))
    assert hint(SSD, None, make_node(labels={"disk": "ssd", "pool": "general"}))


# how updates are told apart -----------------------------------------------------------------------------------------------------------


def actions(events: list[ClusterEvent]) -> list[Action]:
    return [event.action for event in events]


def heartbeat(node: Any, status: str = "True") -> Any:
    from lightkube.models.core_v1 import NodeCondition

    return replace(node, status=replace(node.status, conditions=[NodeCondition(type="Ready", status=status, message="fine")]))


# fmt: off
NODE_UPDATES = [
    (make_node(),                     make_node(),                               []),
    (make_node(unschedulable=True),   make_node(),                               [Action.UPDATE_NODE_TAINT]),
    (make_node(),                     make_node(unschedulable=True),             []),
    (make_node(cpu="1"),              make_node(cpu="1000m"),                    []),
    (make_node(cpu="1"),              make_node(cpu="2"),                        [Action.UPDATE_NODE_ALLOCATABLE]),
    (make_node(),                     make_node(labels={"a": "b"}),              [Action.UPDATE_NODE_LABEL]),
    (make_node(),                     make_node(annotations={"a": "b"}),         [Action.UPDATE_NODE_ANNOTATION]),
    (heartbeat(make_node()),          heartbeat(make_node()),                    []),
    (heartbeat(make_node(), "False"), heartbeat(make_node()),                    [Action.UPDATE_NODE_CONDITION]),
    (make_node(),                     DECLARING,                                 [Action.UPDATE_NODE_DECLARED_FEATURE]),
    (make_node(unschedulable=True),   make_node(labels={"a": "b"}, taints=[make_taint("k")]),
     [Action.UPDATE_NODE_TAINT, Action.UPDATE_NODE_LABEL, Action.UPDATE_NODE_TAINT]),
    (make_node(),                     make_node(cpu="1", zone="a", taints=[make_taint("k")]),
     [Action.UPDATE_NODE_ALLOCATABLE, Action.UPDATE_NODE_LABEL, Action.UPDATE_NODE_TAINT]),
]
# fmt: on


@pytest.mark.parametrize(("old", "new", "expected"), NODE_UPDATES)
def test_node_updates(old: Any, new: Any, expected: list[Action]) -> None:
    assert actions(node_changes(new, old)) == expected


# fmt: off
POD_UPDATES = [
    (make_pod(),          make_pod(annotations={"a": "b"}),  [UPDATE]),
    (make_pod(),          make_pod(labels={"a": "b"}),       [Action.UPDATE_POD_LABEL]),
    (make_pod(cpu="2"),   make_pod(cpu="1"),                 [Action.UPDATE_POD_SCALE_DOWN]),
    (make_pod(cpu="1"),   make_pod(cpu="2"),                 [Action.UPDATE_POD_SCALE_UP]),
    (make_pod(cpu="1"),   make_pod(memory="1Gi"),            [Action.UPDATE_POD_SCALE_DOWN, Action.UPDATE_POD_SCALE_UP]),
    (make_pod(),          TOLERANT,                          [Action.UPDATE_POD_TOLERATION]),
]
# fmt: on


@pytest.mark.parametrize(("old", "new", "expected"), POD_UPDATES)
def test_pod_updates(old: Any, new: Any, expected: list[Action]) -> None:
    assert actions(pod_changes(new, old, target=True)) == expected
    assert {event.resource for event in pod_changes(new, old, target=True)} == {TARGET_POD}
    assert {event.resource for event in pod_changes(new, old, target=False)} == {UNSCHEDULED_POD}
    assert {event.resource for event in pod_changes(with_spec(new, nodeName="n"), old, target=True)} == {ASSIGNED_POD}


def test_matching_of_events() -> None:
    nodes = ClusterEvent(NODE, Action.ADD | Action.UPDATE_NODE_LABEL)
    assert nodes.matches(ClusterEvent(NODE, Action.UPDATE_NODE_LABEL))
    assert not nodes.matches(ClusterEvent(NODE, Action.UPDATE_NODE_TAINT))
    assert not nodes.matches(ClusterEvent(NODE, UPDATE))  # more general than what is registered
    assert ClusterEvent(NODE, UPDATE).matches(ClusterEvent(NODE, Action.UPDATE_NODE_LABEL))
    assert ClusterEvent(POD, Action.DELETE).matches(POD_GONE)
    assert not ClusterEvent(ASSIGNED_POD, Action.DELETE).matches(ClusterEvent(POD, Action.DELETE))
    assert ClusterEvent(WILDCARD, ALL).matches(POD_GONE)
    assert UNSCHEDULABLE_TIMEOUT.is_wildcard
