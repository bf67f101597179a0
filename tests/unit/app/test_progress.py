"""What a progress display says of a cluster."""

from __future__ import annotations

from pathlib import Path

from tests.builders import make_node, make_pod
from volsched.app.cluster import Cluster


def test_progress_tells_time_pods_and_writes(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    with Cluster(state=path) as cluster:
        assert cluster.progress() == "0.0 s of virtual time, 0 of 0 pods on nodes, 4 writes"
        cluster.create(make_node("n1"))
        for name in ("a", "b"):
            cluster.create(make_pod(name))
        cluster.create(make_pod("c", node_selector={"no": "where"}))
        assert "0 of 3 pods on nodes" in cluster.progress()
        cluster.run_until_idle()
        assert "2 of 3 pods on nodes" in cluster.progress()
        cluster.delete("Pod", "default", "a", grace_period_s=0)
        cluster.delete("Pod", "default", "c")
        assert "1 of 1 pods on nodes" in cluster.progress()
        cluster.create(make_pod("a"))
    with Cluster(state=path) as again:
        assert again.progress().startswith("0.0 s of virtual time, 1 of 2 pods on nodes, ")
        again.run_until_idle()
        assert "2 of 2 pods on nodes" in again.progress()
