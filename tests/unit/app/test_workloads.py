"""StatefulSets in a whole cluster: scheduled, provisioned, mounted; a node is lost with or without their data."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from lightkube.models.core_v1 import NodeCondition

from tests.builders import make_class, make_csidriver, make_csinode, make_node
from tests.simulation.player import ENGINE
from tests.unit.controllers.test_stateful_set import make_set
from volsched.api.edit import with_spec
from volsched.app.cluster import Cluster, DriverSettings
from volsched.controllers.local_disks import DISCOVERY, DISKS, NODE_CLEANUP
from volsched.csi.profile import FULL_DRIVER as DRIVER
from volsched.csi.profile import full
from volsched.rules.volumes import NO_PROVISIONER

READY = {"conditions": [NodeCondition(type="Ready", status="True")]}


def of_class(owner: Any, name: str) -> Any:
    """The set with its claims of a storage class."""
    return with_spec(
        owner, volumeClaimTemplates=[with_spec(claim, storageClassName=name) for claim in owner.spec.volumeClaimTemplates or ()]
    )


def placed(cluster: Cluster) -> dict[str, tuple[str, str]]:
    """(phase, node) of every pod."""
    return {pod.metadata.name: (pod.status.phase, pod.spec.nodeName) for pod in cluster.list("Pod")}


def bound(cluster: Cluster) -> dict[str, str]:
    return {claim.metadata.name: claim.spec.volumeName for claim in cluster.list("PersistentVolumeClaim") if claim.status.phase == "Bound"}


def with_nodes(cluster: Cluster, zones: Sequence[str]) -> None:
    cluster.create(make_csidriver(DRIVER))
    cluster.create(make_class("wffc", provisioner=DRIVER, wait=True))
    for number, zone in enumerate(zones, 1):
        name = f"n{number}"
        cluster.create(make_node(name, zone=zone, status=READY))
        cluster.create(make_csinode(name, drivers={DRIVER: None}))


def test_a_set_on_provisioned_volumes_survives_the_loss_of_a_node() -> None:
    with Cluster(engine=ENGINE, drivers=[DriverSettings(profile=full())]) as cluster:
        with_nodes(cluster, ["a", "a"])
        cluster.create(of_class(make_set(replicas=2), "wffc"))
        assert cluster.run_until_idle()
        first = placed(cluster)
        assert {phase for phase, _ in first.values()} == {"Running"} and sorted(first) == ["web-0", "web-1"]
        volumes = bound(cluster)
        assert sorted(volumes) == ["data-web-0", "data-web-1"]
        lost = first["web-0"][1]
        kept = "n2" if lost == "n1" else "n1"
        cluster.delete("Node", "", lost)
        cluster.delete("CSINode", "", lost)
        cluster.run_for(900)
        assert placed(cluster) == {"web-0": ("Running", kept), "web-1": ("Running", kept)}
        assert bound(cluster) == volumes
        attached = {item.spec.source.persistentVolumeName: item.spec.nodeName for item in cluster.list("VolumeAttachment")}
        assert attached == dict.fromkeys(volumes.values(), kept)


def test_a_set_on_local_disks_gives_up_the_data_of_a_lost_node_and_goes_on() -> None:
    with Cluster(engine=ENGINE) as cluster:
        notes = {DISCOVERY: json.dumps({"hostDir": "/mnt/disks"}), NODE_CLEANUP: "120"}
        cluster.create(make_class("local", provisioner=NO_PROVISIONER, wait=True, annotations=notes))
        for name in ("n1", "n2"):
            disks = [{"path": f"/mnt/disks/{name}-{number}", "size": "10Gi"} for number in range(2)]
            cluster.create(make_node(name, annotations={DISKS: json.dumps(disks)}, status=READY))
        cluster.create(of_class(make_set(replicas=2), "local"))
        assert cluster.run_until_idle()
        first, volumes = placed(cluster), bound(cluster)
        assert {phase for phase, _ in first.values()} == {"Running"}
        lost = first["web-0"][1]
        kept = "n2" if lost == "n1" else "n1"
        cluster.delete("Node", "", lost)
        cluster.run_for(100)
        assert placed(cluster)["web-0"][0] == "Pending"  # made anew, but its data is on the lost node
        cluster.run_for(900)
        assert placed(cluster) == {"web-0": ("Running", kept), "web-1": ("Running", kept)}
        assert bound(cluster)["data-web-0"] != volumes["data-web-0"]
        assert len(cluster.list("PersistentVolume")) == 2


def test_a_set_is_scaled_and_deleted_with_its_claims() -> None:
    with Cluster(engine=ENGINE, drivers=[DriverSettings(profile=full())]) as cluster:
        with_nodes(cluster, ["a"])
        cluster.create(of_class(make_set(replicas=3, retain=("Delete", "Delete")), "wffc"))
        assert cluster.run_until_idle()
        assert len(bound(cluster)) == 3
        cluster.patch("StatefulSet", "default", "web", {"spec": {"replicas": 1}})
        assert cluster.run_until_idle()
        assert sorted(bound(cluster)) == ["data-web-0"] and len(cluster.list("PersistentVolume")) == 1
        cluster.delete("StatefulSet", "default", "web")
        assert cluster.run_until_idle()
        for kind in ("Pod", "PersistentVolumeClaim", "PersistentVolume", "VolumeAttachment"):
            assert not cluster.list(kind)
