"""A replay places pods where the embedded cluster does, and binds them at the same instants, where what takes time agrees.

So no attach limits here: the cluster gives a place back when a volume is detached, a replay when its pod leaves.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.models.scheduling_v1 import PriorityClass

from tests.unit.replay.fixtures import OWN_NODES, options_of, own_trace, trace_of
from volsched.api.edit import with_metadata, with_spec
from volsched.app.cluster import START_NS, Cluster
from volsched.engine import Engine
from volsched.replay.log import EventLog, Kind
from volsched.replay.objects import Objects
from volsched.replay.simulation import Simulation
from volsched.replay.synth import Scene, synthesise

ZONAL = {"classes": [{"name": "zonal"}, {"name": "local", "reach": "node"}]}


def scheduled(log: EventLog, kind: Kind) -> list[tuple[int, str, str]]:
    """(time, pod, node) of the log's rows of a kind."""
    pods, nodes = log.facts["pod_name"], log.facts["node_name"]
    rows = log.rows[log.kind == kind]
    return [(time, str(pods[pod]), str(nodes[node])) for time, _, pod, node, _ in rows.tolist()]


def played(scene: Scene, departures: list[tuple[int, int]]) -> list[tuple[int, str, str]]:
    """The embedded cluster given the same pods at the same times, and told when to delete them; what it scheduled."""
    objects = Objects(scene)
    arrivals = [(int(time), 1, pod) for pod, time in enumerate(scene.pods.arrival_ns.tolist())]
    events = sorted([*((time, 0, pod) for time, pod in departures), *arrivals], key=lambda event: event[:2])
    with Cluster(kubelet="instant") as cluster:
        for row in scene.classes:
            cluster.create(objects.storage_class(row))
            cluster.create(objects.driver(row))
        for node, name in enumerate(scene.nodes.names):
            cluster.create(objects.node(node, cordoned=False))
            csi_node = objects.csi_node(name)
            assert csi_node is not None
            cluster.create(csi_node)
        for value in sorted(set(scene.pods.priority.tolist())):
            cluster.create(PriorityClass(metadata=ObjectMeta(name=f"p{value}"), value=value, preemptionPolicy="Never"))
        cluster.run_until(START_NS)
        for time, creates, pod in events:
            cluster.run_until(START_NS + time)
            if creates:
                for claim in objects.claims_of(pod):
                    cluster.create(with_metadata(objects.claim(claim), resourceVersion=None, uid=None))
                cluster.create(with_spec(with_metadata(objects.pod(pod), uid=None), priorityClassName=f"p{scene.pods.priority[pod]}"))
            else:
                cluster.delete("Pod", "default", scene.pods.names[pod])
                for claim in objects.claims_of(pod):
                    if not scene.claims.keep[claim]:
                        cluster.delete("PersistentVolumeClaim", "default", objects.claim_names[claim])
        cluster.run_until(START_NS + int(events[-1][0]) + 700 * 10**9)
        told = [(time - START_NS, happening) for time, happening in cluster.narrative if happening.reason == "Scheduled"]
    return [(time, happening.regarding.name, happening.message.rpartition(" ")[2]) for time, happening in told]


@pytest.mark.parametrize("seed", range(8))
def test_placements_are_those_of_the_embedded_cluster(tmp_path: Path, seed: int) -> None:
    scene = synthesise(trace_of(tmp_path, own_trace(seed, pods=90), OWN_NODES), options_of(ZONAL), seed=seed)
    simulation = Simulation(scene, engine=Engine())
    assert simulation.run()
    log = simulation.log()
    assert np.isin([Kind.REFUSED, Kind.PROVISIONED, Kind.ENDED], log.kind).all()
    departures = [(int(row[0]), int(row[2])) for row in log.rows if row[1] in (Kind.ENDED, Kind.REMOVED)]
    assert sorted(played(scene, departures)) == sorted(scheduled(log, Kind.BOUND))
