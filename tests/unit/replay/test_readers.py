"""Traces of every format, and what their files leave open."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from tests.builders import make_node, make_pod
from tests.unit.replay.fixtures import DLRM, OPENB_NODES, OPENB_PODS, OWN_NODES, own_trace, written
from volsched.api.kinds import encode
from volsched.errors import InputError
from volsched.replay.readers import GPU, MILLI_GPU, RDMA, read_nodes, read_trace
from volsched.replay.trace import NS, Requirement

GIB = 1 << 30


def quiet(_: str) -> None:
    """Warnings are not what the test is about."""


def test_openb_pods(tmp_path: Path) -> None:
    pods = read_trace(written(tmp_path, "pods.csv", OPENB_PODS)).pods
    assert list(pods.names) == ["p-0", "p-1", "p-2", "p-3"]
    assert pods.arrival_ns.tolist() == [0, 20 * NS, 30 * NS, 40 * NS]
    # lengths count from when a pod ran; what never ran is removed when its owner removed it; no deletion time: for ever
    assert pods.lifetime_ns.tolist() == [490 * NS, 65 * NS, -1, -1]
    assert pods.removal_ns.tolist() == [-1, -1, 60 * NS, -1]
    assert pods.extended[MILLI_GPU].tolist() == [1000, 460, 0, 2000]
    assert pods.requires.tolist() == [-1, 0, -1, -1]
    assert pods.requirements[0] == Requirement("alibabacloud.com/gpu-card-model", ("V100M16", "V100M32"))
    assert list(pods.groups) == ["LS", "BE", "LS", "Burstable"]


def test_openb_nodes(tmp_path: Path) -> None:
    nodes, base = read_nodes(written(tmp_path, "nodes.csv", OPENB_NODES), warn=quiet)
    assert nodes.extended[MILLI_GPU].tolist() == [0, 8000, 2000]
    assert nodes.memory_bytes.tolist() == [256 * GIB, 384 * GIB, 384 * GIB]
    assert list(nodes.labels["alibabacloud.com/gpu-card-model"]) == ["", "V100M16", "T4"]
    assert base == ()


def test_dlrm(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv.gz"
    path.write_bytes(gzip.compress(DLRM.encode()))
    trace = read_trace(path)
    pods = trace.pods
    assert list(pods.names)[:1] == ["instance-0"]
    # no creation time: there at the start and running; float noise is rounded to nanoseconds
    assert pods.arrival_ns.tolist() == [0, 0, 475 * NS, 500 * NS]
    assert pods.lifetime_ns.tolist() == [-1, 100 * NS, 377 * NS, -1]
    assert pods.removal_ns.tolist() == [-1, -1, -1, 700 * NS]
    assert pods.milli_cpu.tolist() == [12000, 12000, 64000, 500]
    assert pods.memory_bytes.tolist() == [120 * GIB, 241 * GIB // 2, 320 * GIB, GIB]
    assert pods.disk_bytes.tolist() == [640 * GIB, 680 * GIB, 85 * GIB, 80 * GIB]
    assert pods.extended[GPU].tolist() == [1, 1, 0, 0]
    assert pods.extended[RDMA].tolist() == [25, 25, 1, 1]


def test_dlrm_instances_share_the_places_of_a_node(tmp_path: Path) -> None:
    """At most 8 of one and 2 of the other: shares of 8 places."""
    trace = read_trace(written(tmp_path, "trace.csv", DLRM))
    name = "dlrm.alibabacloud.com/app-0-hn"
    assert trace.each_node == {name: 8}
    assert trace.pods.extended[name].tolist() == [1, 4, 0, 0]


def test_own_format(tmp_path: Path) -> None:
    text = (
        "name,arrival_s,lifetime_s,cpu_milli,memory_bytes,requires,claims,resource:example.com/card\n"
        'a,0,,100,1Gi,,"fast=10Gi; local=1Ti+",2\nb,1.5,3,,,disk=ssd|nvme,,\n'
    )
    trace = read_trace(written(tmp_path, "pods.csv", text))
    assert trace.pods.arrival_ns.tolist() == [0, 3 * NS // 2]
    assert trace.pods.lifetime_ns.tolist() == [-1, 3 * NS]
    assert trace.pods.extended["example.com/card"].tolist() == [2, 0]
    assert trace.pods.requirements == (Requirement("disk", ("ssd", "nvme")),)
    claims = trace.claims
    assert claims.pod.tolist() == [0, 0]
    assert claims.request_bytes.tolist() == [10 * GIB, 1024 * GIB]
    assert [claims.classes[code] for code in claims.storage_class] == ["fast", "local"]
    assert claims.keep.tolist() == [False, True]


def test_own_nodes(tmp_path: Path) -> None:
    text = "name,cpu_milli,memory_bytes,zone,label:disk,resource:example.com/card\nn1,4000,8Gi,a,ssd,1\nn2,2000,4Gi,,,\n"
    nodes, _ = read_nodes(written(tmp_path, "nodes.csv", text), warn=quiet)
    assert list(nodes.zones) == ["a", ""]
    assert nodes.pods_max.tolist() == [110, 110]
    assert list(nodes.labels["disk"]) == ["ssd", ""]
    assert nodes.extended["example.com/card"].tolist() == [1, 0]


def test_parquet_reads_like_csv(tmp_path: Path) -> None:
    pyarrow_csv = pytest.importorskip("pyarrow.csv", reason="pyarrow, of the extra `replay`, is not installed")
    parquet = pytest.importorskip("pyarrow.parquet")
    source = written(tmp_path, "pods.csv", own_trace(3))
    parquet.write_table(pyarrow_csv.read_csv(source), tmp_path / "pods.parquet")
    plain, packed = read_trace(source), read_trace(tmp_path / "pods.parquet")
    for name in ("arrival_ns", "lifetime_ns", "removal_ns", "milli_cpu", "memory_bytes", "priority"):
        assert np.array_equal(getattr(plain.pods, name), getattr(packed.pods, name)), name
    assert np.array_equal(plain.claims.request_bytes, packed.claims.request_bytes)


def test_kube_dump_is_a_cluster_to_start_from(tmp_path: Path) -> None:
    objects = [
        make_node("n1", labels={"topology.kubernetes.io/zone": "a"}, cpu="4", memory="8Gi"),
        make_pod("running", node="n1"),
        make_pod("pending"),
    ]
    path = tmp_path / "dump.json"
    path.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": [json.loads(encode(obj)) for obj in objects]}))
    warnings: list[str] = []
    nodes, base = read_nodes(path, warn=warnings.append)
    assert list(nodes.names) == ["n1"]
    assert nodes.milli_cpu.tolist() == [4000]
    assert list(nodes.zones) == ["a"]
    assert [obj.metadata.name for obj in base] == ["n1", "running"]
    assert any("1 pods without a node are left out" in text and "pending" in text for text in warnings)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,arrival_s,cpu_milli,memory_bytes\na,x,1,1\n", "line 2, column arrival_s: 'x' is not a decimal number"),
        ("name,arrival_s,cpu_milli,memory_bytes\na,0,-1,1\n", "line 2, column cpu_milli: -1 is less than 0"),
        ("name,arrival_s,cpu_milli,memory_bytes\na,0,1.5,1\n", "line 2, column cpu_milli: 1.5 is not a whole number"),
        ("name,arrival_s,cpu_milli,memory_bytes\na,0,1,1Qi\n", "line 2, column memory_bytes: "),
        ("name,arrival_s,cpu_milli,memory_bytes\na,0,1,1\na,0,1,1\n", "line 3, column name: a was in line 2 already"),
        ("name,arrival_s,cpu_milli,memory_bytes\n,0,1,1\n", "line 2, column name: is empty"),
        ("name,arrival_s,cpu_milli,memory_bytes\na,0,1\n", "line 2: has 3 cells, the header 4"),
        ("name,arrival_s,cpu_milli,memory_bytes,colour\na,0,1,1,red\n", "line 1: has columns that are not known: colour"),
        ("name,arrival_s,cpu_milli\na,0,1\n", "line 1: has no column memory_bytes"),
        ("name,arrival_s,cpu_milli,memory_bytes,claims\na,0,1,1,fast\n", "line 2, column claims: 'fast' is not CLASS=SIZE"),
        ("name,arrival_s,cpu_milli,memory_bytes,claims\na,0,1,1,fast=0\n", "line 2, column claims: 'fast=0': the size must be greater"),
        ("name,arrival_s,cpu_milli,memory_bytes,requires\na,0,1,1,ssd\n", "line 2, column requires: 'ssd' is not LABEL=VALUE"),
        ("name,name,arrival_s\n", "line 1: has two columns name"),
        ('name,arrival_s\n"a,0\n', "is not CSV"),
        ("", "is empty; a header line is needed"),
        ("x,y\n1,2\n", "is no known trace"),
        (OPENB_PODS.replace("0,500,10", "0,5,10"), "line 2, column deletion_time: is before the pod was scheduled"),
        (DLRM.replace(",800.0,8,", ",800.0,0,", 1), "line 2, column max_instance_per_node: is 0"),
    ],
)
def test_wrong_traces_are_told_with_their_place(tmp_path: Path, text: str, message: str) -> None:
    path = written(tmp_path, "pods.csv", text)
    with pytest.raises(InputError) as caught:
        read_trace(path)
    assert str(caught.value).startswith(str(path))
    assert message in str(caught.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read: No such file"):
        read_trace(tmp_path / "none.csv")
    (tmp_path / "broken.csv.gz").write_bytes(gzip.compress(OPENB_PODS.encode())[:40])
    with pytest.raises(InputError, match="cannot be read"):
        read_trace(tmp_path / "broken.csv.gz")
    with pytest.raises(InputError, match="is no known list of nodes"):
        read_nodes(written(tmp_path, "nodes.csv", "a,b\n1,2\n"), warn=quiet)


def test_limit_takes_the_first_to_arrive_and_their_claims(tmp_path: Path) -> None:
    text = "name,arrival_s,cpu_milli,memory_bytes,claims\nlate,9,1,1,fast=1Gi\nearly,1,1,1,fast=2Gi\nmiddle,5,1,1,\n"
    limited = read_trace(written(tmp_path, "pods.csv", text)).limited(2)
    assert list(limited.pods.names) == ["early", "middle"]
    assert limited.claims.pod.tolist() == [0]
    assert limited.claims.request_bytes.tolist() == [2 * GIB]


def test_node_fixture_is_readable(tmp_path: Path) -> None:
    nodes, _ = read_nodes(written(tmp_path, "nodes.csv", OWN_NODES), warn=quiet)
    assert len(nodes) == 6
