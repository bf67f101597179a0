"""What pods ask for and nodes offer."""

from __future__ import annotations

from typing import Any

import pytest
from lightkube.models.core_v1 import Container, ContainerStatus, Pod, PodCondition, ResourceRequirements

from tests.builders import make_container, make_node, make_pod
from volsched.rules.resources import (
    Resources,
    incoming_requests,
    incoming_scoring_requests,
    is_scalar_resource,
    node_allocatable,
    placed_requests,
    placed_scoring_requests,
)

MI = 1024 * 1024
INFEASIBLE = [PodCondition(type="PodResizePending", status="True", reason="Infeasible")]


def _memory(pod: Pod) -> int:
    return placed_requests(pod).memory


def _status(**fields: Any) -> ContainerStatus:
    return ContainerStatus(name="main", image="", imageID="", ready=True, restartCount=0, **fields)


def _in_force(memory: str) -> ResourceRequirements:
    return ResourceRequirements(requests={"memory": memory})


class TestAggregation:
    def test_containers_add_up(self) -> None:
        pod = make_pod(
            containers=[make_container(cpu="1", memory="1Gi"), make_container("side", cpu="250m")], spec={"overhead": {"cpu": "50m"}}
        )
        assert incoming_requests(pod) == Resources(milli_cpu=1300, memory=1024 * MI)

    def test_init_containers_run_one_after_the_other(self) -> None:
        init = [make_container("a", cpu="3"), make_container("b", cpu="2")]
        assert incoming_requests(make_pod(cpu="1", init_containers=init)).milli_cpu == 3000

    def test_sidecars_run_beside_what_starts_after_them(self) -> None:
        def sidecar(name: str, cpu: str) -> Container:
            return make_container(name, cpu=cpu, restart_policy="Always")

        init = [sidecar("s1", "1"), make_container("i1", cpu="3"), sidecar("s2", "1")]
        # peak: s1 and i1; running: main, s1 and s2
        assert incoming_requests(make_pod(cpu="1", init_containers=init)).milli_cpu == 4000
        assert incoming_requests(make_pod(cpu="3", init_containers=init)).milli_cpu == 5000

    def test_pod_level_requests_replace_and_overhead_is_added(self) -> None:
        level = ResourceRequirements(requests={"cpu": "1", "example.com/gpu": "9"})
        pod = make_pod(cpu="2", memory="1Gi", spec={"resources": level, "overhead": {"cpu": "100m"}})
        assert incoming_requests(pod) == Resources(milli_cpu=1100, memory=1024 * MI)

    def test_sums_are_rounded_once(self) -> None:
        containers = [make_container(str(number), requests={"cpu": "0.4m"}) for number in range(3)]
        assert incoming_requests(make_pod(containers=containers)).milli_cpu == 2

    @pytest.mark.parametrize(
        ("name", "counted"),
        [
            ("example.com/gpu", True),
            ("hugepages-2Mi", True),
            ("attachable-volumes-x", True),
            ("x.kubernetes.io/y", True),
            ("gpu", False),
            ("requests.a/b", False),
            ("a//b", False),
            ("storage", False),
        ],
    )
    def test_names_that_are_counted(self, name: str, counted: bool) -> None:
        assert is_scalar_resource(name) is counted
        assert incoming_requests(make_pod(requests={name: "1"})).scalars == ({name: 1} if counted else {})

    def test_a_huge_sum_wraps_and_counts_as_nothing_in_filters(self) -> None:
        pod = make_pod(containers=[make_container("a", memory="4Ei"), make_container("b", memory="4Ei")])
        assert incoming_requests(pod).memory == 0
        assert placed_requests(pod).memory == -(2**63)

    def test_a_node_that_states_no_pods_takes_none(self) -> None:
        node = make_node(status={"allocatable": {"cpu": "1500m", "example.com/gpu": "2"}})
        assert node_allocatable(node) == Resources(milli_cpu=1500, scalars={"example.com/gpu": 2})


class TestScoringDefaults:
    def test_a_container_without_requests_counts_a_little(self) -> None:
        pod = make_pod(containers=[make_container(cpu="1"), make_container("b", memory="0")])
        assert incoming_scoring_requests(pod) == Resources(milli_cpu=1100, memory=200 * MI)

    def test_pod_level_requests_do_not_count_in_scores_of_the_incoming_pod(self) -> None:
        pod = make_pod(spec={"resources": ResourceRequirements(requests={"cpu": "7"}), "overhead": {"memory": "1Mi"}})
        assert incoming_scoring_requests(pod) == Resources(milli_cpu=100, memory=201 * MI)

    def test_pod_level_requests_of_a_placed_pod_count_and_leave_the_rest_to_the_defaults(self) -> None:
        pod = make_pod(spec={"resources": ResourceRequirements(requests={"cpu": "7"})})
        assert placed_scoring_requests(pod) == Resources(milli_cpu=7000, memory=200 * MI)

    def test_a_resource_asked_for_at_either_level_takes_no_default(self) -> None:
        containers = [make_container(), make_container("b", cpu="0")]
        pod = make_pod(containers=containers, spec={"resources": ResourceRequirements(requests={"memory": "1Mi"})})
        assert placed_scoring_requests(pod) == Resources(memory=MI)


class TestPlacedPods:
    """Values read from kube-scheduler itself through nodes that just fit."""

    @pytest.mark.parametrize(
        ("container", "conditions", "memory"),
        [
            ({"resources": _in_force("30")}, None, 30),
            ({"allocatedResources": {"memory": "30"}}, None, 30),
            ({"allocatedResources": {"memory": "30"}, "resources": _in_force("5")}, None, 30),
            ({"allocatedResources": {"memory": "5"}, "resources": _in_force("7")}, None, 10),
            ({"allocatedResources": {"memory": "5"}, "resources": _in_force("7")}, INFEASIBLE, 7),
            ({"allocatedResources": {"memory": "5"}, "resources": ResourceRequirements()}, INFEASIBLE, 5),
            ({"allocatedResources": {}, "resources": _in_force("3")}, INFEASIBLE, 3),
            ({}, INFEASIBLE, 0),
        ],
    )
    def test_container_status(self, container: dict[str, Any], conditions: Any, memory: int) -> None:
        status = {"containerStatuses": [_status(**container)], "conditions": conditions}
        assert _memory(make_pod(memory="10", status=status)) == memory

    def test_init_container_status(self) -> None:
        init = make_container("i", memory="20", restart_policy="Always")
        granted = ContainerStatus(name="i", image="", imageID="", ready=True, restartCount=0, allocatedResources={"memory": "50"})
        assert _memory(make_pod(memory="10", init_containers=[init], status={"initContainerStatuses": [granted]})) == 60

    @pytest.mark.parametrize(
        ("level", "status", "memory"),
        [
            ("100", {}, 100),
            ("100", {"allocatedResources": {"memory": "150"}}, 100),
            ("100", {"resources": _in_force("150")}, 150),
            ("100", {"allocatedResources": {"memory": "50"}, "resources": _in_force("70")}, 100),
            ("100", {"allocatedResources": {"memory": "50"}, "resources": _in_force("70"), "conditions": INFEASIBLE}, 70),
            ("100", {"allocatedResources": {"memory": "50"}, "conditions": INFEASIBLE}, 100),
            ("100", {"resources": _in_force("70"), "conditions": INFEASIBLE}, 70),
            ("100", {"conditions": INFEASIBLE}, 100),
            ("100", {"containerStatuses": [_status(allocatedResources={"memory": "500"})]}, 100),
            (None, {"allocatedResources": {"memory": "150"}, "resources": _in_force("160")}, 160),
            (None, {"allocatedResources": {"memory": "150"}}, 10),
            (None, {"resources": _in_force("160")}, 10),
        ],
    )
    def test_pod_status(self, level: str | None, status: dict[str, Any], memory: int) -> None:
        resources = ResourceRequirements(requests={"memory": level}) if level else None
        assert _memory(make_pod(memory="10", spec={"resources": resources}, status=status or {"phase": "Running"})) == memory

    def test_status_of_the_pod_takes_the_place_of_its_containers(self) -> None:
        status = {
            "containerStatuses": [_status(allocatedResources={"memory": "500"})],
            "allocatedResources": {"memory": "5"},
            "resources": _in_force("6"),
        }
        assert _memory(make_pod(memory="10", status=status)) == 10

    def test_a_pod_still_to_be_placed_counts_with_its_spec_alone(self) -> None:
        status = {"containerStatuses": [_status(allocatedResources={"memory": "500"})]}
        assert incoming_requests(make_pod(memory="10", status=status)).memory == 10
