"""Reading cases and answering them."""

from __future__ import annotations

import gzip
import io
import json
from pathlib import Path
from typing import Any

import pytest

from volsched.app.cases import read_lines, verdict
from volsched.engine.reference import ReferenceEngine
from volsched.errors import InputError


def _engine() -> ReferenceEngine:
    return ReferenceEngine(tie_break="name")


def _node(name: str, zone: str = "a", **allocatable: str) -> dict[str, Any]:
    room = {"cpu": "4", "memory": "8Gi", "pods": "110", **allocatable}
    labels = {"topology.kubernetes.io/zone": zone}
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}, "status": {"allocatable": room}}


def _pod(*claims: str, cpu: str = "1", **spec: Any) -> dict[str, Any]:
    volumes = [{"name": claim, "persistentVolumeClaim": {"claimName": claim}} for claim in claims]
    container = {"name": "c", "image": "x", "resources": {"requests": {"cpu": cpu}}}
    metadata = {"name": "pod-" + "-".join(claims), "namespace": "default"}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": [container], "volumes": volumes, **spec}}


def _claim(name: str, size: str = "1Gi") -> dict[str, Any]:
    spec = {"accessModes": ["ReadWriteOnce"], "storageClassName": "fast", "resources": {"requests": {"storage": size}}}
    metadata = {"name": name, "namespace": "default", "uid": f"uid-{name}"}
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": spec}


def _class(provisioner: str) -> dict[str, Any]:
    named = {"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "fast"}}
    return {**named, "provisioner": provisioner, "volumeBindingMode": "WaitForFirstConsumer"}


def _volume(name: str, size: str) -> dict[str, Any]:
    spec = {"capacity": {"storage": size}, "accessModes": ["ReadWriteOnce"], "storageClassName": "fast", "local": {"path": "/x"}}
    return {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name}, "spec": spec, "status": {"phase": "Available"}}


def _csi_node(name: str, *keys: str) -> dict[str, Any]:
    drivers = [{"name": "disk.csi", "nodeID": name, "topologyKeys": list(keys)}]
    return {"apiVersion": "storage.k8s.io/v1", "kind": "CSINode", "metadata": {"name": name}, "spec": {"drivers": drivers}}


class TestReading:
    CASES = ({"id": "a", "objects": [], "pod": {}}, {"id": "b", "objects": [], "steps": [{"claims": [], "pod": {}}]})

    def _bytes(self, *lines: str) -> bytes:
        return "\n".join([json.dumps(self.CASES[0]), "", *lines, json.dumps(self.CASES[1])]).encode()

    def test_plain_and_gzipped_files_and_streams(self, tmp_path: Path) -> None:
        plain, packed = tmp_path / "cases.jsonl", tmp_path / "cases"
        plain.write_bytes(self._bytes())
        packed.write_bytes(gzip.compress(self._bytes()))
        for source in (plain, packed, io.BufferedReader(io.BytesIO(self._bytes())), io.BufferedReader(io.BytesIO(packed.read_bytes()))):  # type: ignore[arg-type]
            assert [case["id"] for case in read_lines(source)] == ["a", "b"]

    @pytest.mark.parametrize(
        ("line", "message"),
        [
            ("{", "line 3: not JSON"),
            ("[]", "line 3: a case has to be an object"),
            ('{"objects": [], "pod": {}}', "line 3, id: a case needs id, a text"),
            ('{"id": "x", "pod": {}}', "line 3, objects: a case needs objects, a list"),
            ('{"id": "x", "objects": []}', "line 3, pod: a case needs pod, an object"),
            ('{"id": "x", "objects": [], "steps": {}}', "line 3, steps: a case needs steps, a list"),
            ('{"id": "x", "objects": [], "steps": [{}]}', r"line 3, steps\[0\]: a step needs claims"),
            ("\x00", "line 3: not JSON"),
        ],
    )
    def test_a_line_that_is_no_case_is_named_after_those_before_it_were_given_out(self, line: str, message: str, tmp_path: Path) -> None:
        path = tmp_path / "cases.jsonl"
        path.write_bytes(self._bytes(line))
        seen = []
        with pytest.raises(InputError, match=message):
            for case in read_lines(path):
                seen.append(case["id"])
        assert seen == ["a"]

    def test_files_that_cannot_be_read(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="cannot be read"):
            next(read_lines(tmp_path / "missing"))
        cut = tmp_path / "cut.gz"
        cut.write_bytes(gzip.compress(self._bytes())[:-12])
        with pytest.raises(InputError, match="cannot be read on"):
            list(read_lines(cut))


class TestVerdict:
    def _ask(self, pod: dict[str, Any], *objects: dict[str, Any]) -> dict[str, Any]:
        return verdict({"id": "x", "objects": list(objects), "pod": pod}, _engine)

    def test_a_decision(self) -> None:
        answer = self._ask(
            _pod("data"), _node("n1"), _node("n2", cpu="500m"), _class("kubernetes.io/no-provisioner"), _claim("data"), _volume("v", "2Gi")
        )
        assert answer["id"] == "x"
        assert answer["feasible"] == answer["best"] == ["n1"]
        rejected = {"plugin": "NodeResourcesFit", "code": "UnschedulableAndUnresolvable", "reasons": ["Insufficient cpu"]}
        assert answer["rejected"] == {"n2": rejected}
        assert answer["volumes"] == {"n1": {"bind": [{"pvc": "data", "pv": "v"}]}}
        assert answer["scores"]["n1"]["VolumeBinding"] == 50
        assert answer["total"] == {"n1": sum(answer["scores"]["n1"].values())}
        assert "message" not in answer

    def test_a_refusal(self) -> None:
        answer = self._ask(_pod("data"), _node("n1"))
        text = 'persistentvolumeclaim "data" not found'
        refusal = {"plugin": "VolumeRestrictions", "code": "UnschedulableAndUnresolvable", "reasons": [text]}
        assert answer == {"id": "x", "prefilter": refusal, "message": f"0/1 nodes are available: {text}."}

    def test_failures(self) -> None:
        wrong = [{"key": "a", "operator": "In"}]
        preferred = [{"weight": 1, "preference": {"matchExpressions": wrong}}]
        affinity = {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": preferred}}
        failed = self._ask(_pod(affinity=affinity), _node("n1"))
        assert failed["error"].startswith('running PreScore plugin "NodeAffinity"')
        constraint = {"maxSkew": 1, "topologyKey": "x", "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {"matchExpressions": wrong}}
        failed = self._ask(_pod(topologySpreadConstraints=[constraint]), _node("n1"))
        assert (failed["prefilter"]["plugin"], failed["prefilter"]["code"]) == ("PodTopologySpread", "Error")

    def test_defaults_are_applied_and_validation_is_not(self) -> None:
        limits = {"name": "c", "image": "x", "resources": {"limits": {"cpu": "9"}}}
        assert self._ask(_pod(containers=[limits]), _node("n1"))["message"] == "0/1 nodes are available: 1 Insufficient cpu."
        assert self._ask(_pod("data"), _node("n1"), _class(""), _claim("data", "0"))["message"].startswith("0/1 nodes")

    def test_objects_that_cannot_be_decoded(self) -> None:
        with pytest.raises(InputError, match=r"objects\[1\]"):
            self._ask(_pod(), _node("n1"), {"apiVersion": "v1", "kind": "Nonsense"})
        with pytest.raises(InputError, match="not a Pod"):
            self._ask(_node("n2"), _node("n1"))
        with pytest.raises(InputError, match=r"objects\[0\]"):
            verdict({"id": "x", "objects": [3], "pod": _pod()}, _engine)


class TestConfigurations:
    NODES = (_node("big", cpu="8"), _node("small", cpu="2"))

    @staticmethod
    def _config(name: str = "default-scheduler", **profile: Any) -> dict[str, Any]:
        settings = {"schedulerName": name, **profile}
        return {"apiVersion": "kubescheduler.config.k8s.io/v1", "kind": "KubeSchedulerConfiguration", "profiles": [settings]}

    def _ask(self, config: dict[str, Any] | None, **spec: Any) -> dict[str, Any]:
        return verdict({"id": "x", "objects": self.NODES, "pod": _pod(**spec), "config": config}, _engine)

    def test_the_profile_that_the_pod_names_decides(self) -> None:
        strategy = {"type": "MostAllocated", "resources": [{"name": "cpu"}]}
        packing = self._config(pluginConfig=[{"name": "NodeResourcesFit", "args": {"scoringStrategy": strategy}}])
        assert self._ask(None)["best"] == ["big"]
        assert self._ask(packing)["best"] == ["small"]
        assert self._ask(self._config("batch"), schedulerName="batch")["best"] == ["big"]

    def test_every_node_is_looked_at(self) -> None:
        nodes = [_node(f"n{number}") for number in range(150)]
        config = self._config(percentageOfNodesToScore=1)
        assert len(verdict({"id": "x", "objects": nodes, "pod": _pod(), "config": config}, _engine)["feasible"]) == 150

    def test_a_configuration_that_is_none(self) -> None:
        with pytest.raises(InputError, match=r"config\.profiles\[0\]\.percentageOfNodesToScore: Invalid value"):
            self._ask(self._config(percentageOfNodesToScore=101))
        with pytest.raises(InputError, match=r"config\.profiles\[0\]\.plugins\.score\.enabled\[0\]\.name: plugin Mine is not built in"):
            self._ask(self._config(plugins={"score": {"enabled": [{"name": "Mine"}]}}))
        with pytest.raises(InputError, match=r"pod\.spec\.schedulerName: no profile .* there are default-scheduler"):
            self._ask(self._config(), schedulerName="batch")


class TestSteps:
    def _play(self, objects: list[dict[str, Any]], *steps: tuple[list[dict[str, Any]], dict[str, Any]]) -> list[dict[str, Any]]:
        case = {"id": "x", "objects": objects, "steps": [{"claims": claims, "pod": pod} for claims, pod in steps]}
        answer: list[dict[str, Any]] = verdict(case, _engine)["steps"]
        return answer

    def test_what_is_bound_is_taken(self) -> None:
        objects = [_node("n1"), _class("kubernetes.io/no-provisioner"), _volume("v1", "1Gi")]
        first, second = self._play(objects, ([_claim("a")], _pod("a")), ([_claim("b")], _pod("b")))
        assert first == {"node": "n1", "best": ["n1"], "bind": [{"pvc": "a", "pv": "v1"}], "provision": []}
        assert second == {"message": "0/1 nodes are available: 1 node(s) didn't find available persistent volumes to bind."}

    def test_room_is_used_up_and_failed_pods_stay_out(self) -> None:
        steps = self._play([_node("n1")], ([], _pod(cpu="3")), ([], _pod("x", cpu="1")), ([_claim("y")], _pod(cpu="2")))
        assert [step.get("node") for step in steps] == ["n1", None, None]
        assert steps[1]["prefilter"]["plugin"] == "VolumeRestrictions"
        assert steps[2]["message"] == "0/1 nodes are available: 1 Insufficient cpu."

    def test_a_provisioned_volume_is_reachable_where_its_node_is(self) -> None:
        zone = "topology.kubernetes.io/zone"
        nodes = [_node("n1", "a"), _node("n2", "b"), _csi_node("n1", zone, "absent"), _csi_node("n2", zone)]
        steps = self._play([*nodes, _class("disk.csi")], ([_claim("a")], _pod("a")), ([], {**_pod("a"), "metadata": {"name": "second"}}))
        assert steps[0] == {"node": "n1", "best": ["n1", "n2"], "bind": [], "provision": ["a"]}
        assert steps[1]["best"] == ["n1"]

    def test_a_provisioned_volume_without_topology_is_reachable_everywhere(self) -> None:
        nodes = [_node("n1", "a"), _node("n2", "b"), _csi_node("n1"), _csi_node("n2")]
        steps = self._play(
            [*nodes, _class("disk.csi")], ([_claim("a")], _pod("a")), ([], {**_pod("a", cpu="4"), "metadata": {"name": "second"}})
        )
        assert steps[1]["node"] == "n2"

    def test_the_smallest_name_among_the_best_is_taken(self) -> None:
        assert self._play([_node("z"), _node("b")], ([], _pod()))[0]["node"] == "b"
