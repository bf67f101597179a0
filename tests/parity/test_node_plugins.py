"""The plugins that look at nodes alone, on every engine."""

from __future__ import annotations

from typing import Any

import pytest
from lightkube.models.core_v1 import (
    Affinity,
    ContainerPort,
    ContainerRestartRule,
    NodeAffinity,
    NodeSelector,
    NodeSelectorTerm,
    PreferredSchedulingTerm,
    Toleration,
    VolumeMount,
)

from tests.builders import ZONE, make_container, make_node, make_node_affinity, make_pod, make_requirement, make_taint, make_term
from tests.parity.situations import decide, every_engine, reasons, scores
from volsched.api.edit import replace
from volsched.engine import UNRESOLVABLE, UNSCHEDULABLE

NODES = [make_node("n1"), make_node("n2")]
GI = 1024**3


def by_name(*names: str) -> NodeSelectorTerm:
    return make_term(fields=[make_requirement("metadata.name", "In", [name]) for name in names])


def requiring(*terms: NodeSelectorTerm) -> Affinity:
    return Affinity(nodeAffinity=NodeAffinity(requiredDuringSchedulingIgnoredDuringExecution=NodeSelector(nodeSelectorTerms=list(terms))))


def preferring(*terms: tuple[int, NodeSelectorTerm]) -> Affinity:
    listed = [PreferredSchedulingTerm(weight=weight, preference=term) for weight, term in terms]
    return Affinity(nodeAffinity=NodeAffinity(preferredDuringSchedulingIgnoredDuringExecution=listed))


@every_engine
class TestTaints:
    @pytest.mark.parametrize(
        ("toleration", "fits"),
        [
            (Toleration(key="k", value="v"), True),
            (Toleration(key="k", operator="Equal", value="w"), False),
            (Toleration(key="k", operator="Exists", value="w"), True),
            (Toleration(operator="Exists"), True),
            (Toleration(value="v"), True),
            (Toleration(), False),
            (Toleration(key="k", value="v", effect="NoSchedule"), True),
            (Toleration(key="k", value="v", effect="NoExecute"), False),
            (Toleration(key="k", operator="Lt", value="v"), False),
        ],
    )
    def test_tolerations(self, engine: str, toleration: Toleration, fits: bool) -> None:
        decision = decide(engine, [make_node("n1", taints=[make_taint("k", "v")])], make_pod(tolerations=[toleration]))
        assert bool(decision.feasible()) is fits

    def test_soft_taints_score(self, engine: str) -> None:
        soft = [make_taint(key, "v", "PreferNoSchedule") for key in ("a", "b", "c")]
        nodes = [make_node("n0"), make_node("n1", taints=soft[:1]), make_node("n3", taints=soft)]
        assert scores(decide(engine, nodes, make_pod()), "TaintToleration") == {"n0": 300, "n1": 201, "n3": 0}
        tolerant = make_pod(
            tolerations=[Toleration(key="a", operator="Exists"), Toleration(key="b", operator="Exists", effect="NoSchedule")]
        )
        assert scores(decide(engine, nodes, tolerant), "TaintToleration") == {"n0": 300, "n1": 300, "n3": 0}

    def test_cordoned(self, engine: str) -> None:
        node = make_node("n1", unschedulable=True)
        assert reasons(decide(engine, [node], make_pod())) == {"n1": ("node(s) were unschedulable",)}
        tolerant = make_pod(tolerations=[Toleration(key="node.kubernetes.io/unschedulable", operator="Exists")])
        assert decide(engine, [node], tolerant).feasible() == ["n1"]


@every_engine
class TestNodeAffinity:
    MISMATCH = "node(s) didn't match Pod's node affinity/selector"

    def test_selector_and_terms(self, engine: str) -> None:
        nodes = [make_node("n1", labels={"disk": "ssd", ZONE: "a"}), make_node("n2", labels={"disk": "ssd", ZONE: "b"}), make_node("n3")]
        pod = make_pod(node_selector={"disk": "ssd"}, affinity=make_node_affinity({ZONE: "a"}))
        assert reasons(decide(engine, nodes, pod)) == {"n2": (self.MISMATCH,), "n3": (self.MISMATCH,)}

    def test_named_nodes_are_the_only_ones_looked_at(self, engine: str) -> None:
        decision = decide(
            engine, [*NODES, make_node("n3", unschedulable=True)], make_pod(cpu="99", affinity=requiring(by_name("n1"), by_name("n3")))
        )
        assert sorted(decision.rejected()) == ["n1", "n3"]
        assert decision.message() == (
            "0/3 nodes are available: 1 Insufficient cpu, 1 node(s) didn't satisfy plugin(s) [NodeAffinity], 1 node(s) were unschedulable."
        )

    def test_a_name_that_no_node_has(self, engine: str) -> None:
        decision = decide(engine, NODES, make_pod(affinity=requiring(by_name("gone"))))
        assert decision.rejected() == {}
        assert decision.message() == "0/2 nodes are available: 2 node(s) didn't satisfy plugin(s) [NodeAffinity]."

    def test_names_that_contradict_each_other(self, engine: str) -> None:
        decision = decide(engine, NODES, make_pod(affinity=requiring(by_name("n1", "n2"))))
        assert decision.prefilter == ("NodeAffinity", UNRESOLVABLE, ("pod affinity terms conflict",))

    def test_a_term_without_a_name_narrows_nothing(self, engine: str) -> None:
        decision = decide(engine, NODES, make_pod(affinity=requiring(by_name("n1"), make_term({ZONE: "a"}))))
        assert reasons(decision) == {"n2": (self.MISMATCH,)}

    def test_no_terms_refuse_every_node(self, engine: str) -> None:
        assert reasons(decide(engine, NODES, make_pod(affinity=requiring()))) == {"n1": (self.MISMATCH,), "n2": (self.MISMATCH,)}

    def test_a_named_node_and_affinity_to_another(self, engine: str) -> None:
        decision = decide(engine, NODES, make_pod(spec={"nodeName": "n2"}, affinity=requiring(by_name("n1"))))
        assert decision.prefilter is not None
        assert decision.prefilter.reasons == ("node(s) didn't satisfy plugin(s) [NodeAffinity NodeName] simultaneously",)

    def test_preferences_are_scaled_to_the_best(self, engine: str) -> None:
        nodes = [make_node("n1", labels={"a": "1", "b": "1"}), make_node("n2", labels={"a": "1"}), make_node("n3")]
        pod = make_pod(affinity=preferring((20, make_term({"a": "1"})), (10, make_term({"b": "1"})), (0, make_term({"c": "1"}))))
        assert scores(decide(engine, nodes, pod), "NodeAffinity") == {"n1": 200, "n2": 132, "n3": 0}

    def test_preferences_that_nobody_meets_score_nothing(self, engine: str) -> None:
        assert scores(decide(engine, NODES, make_pod(affinity=preferring((20, make_term({"a": "1"}))))), "NodeAffinity") == {
            "n1": 0,
            "n2": 0,
        }

    def test_an_invalid_preference_fails_the_cycle(self, engine: str) -> None:
        pod = make_pod(affinity=preferring((1, make_term(expressions=[make_requirement("a", "In", [])]))))
        decision = decide(engine, NODES, pod)
        assert decision.error is not None
        assert decision.error.startswith('running PreScore plugin "NodeAffinity": ')
        assert decision.node is None


@every_engine
class TestPorts:
    @pytest.mark.parametrize(
        ("mine", "theirs", "conflict"),
        [
            (ContainerPort(80, hostPort=80), ContainerPort(80, hostPort=80), True),
            (ContainerPort(80, hostPort=80), ContainerPort(80, hostPort=81), False),
            (ContainerPort(80, hostPort=80, protocol="UDP"), ContainerPort(80, hostPort=80), False),
            (ContainerPort(80, hostPort=80, hostIP="10.0.0.1"), ContainerPort(80, hostPort=80, hostIP="10.0.0.2"), False),
            (ContainerPort(80, hostPort=80, hostIP="10.0.0.1"), ContainerPort(80, hostPort=80), True),
            (ContainerPort(80, hostPort=80, hostIP="0.0.0.0"), ContainerPort(80, hostPort=80, hostIP="10.0.0.2"), True),
            (ContainerPort(80), ContainerPort(80), False),
        ],
    )
    def test_conflicts(self, engine: str, mine: ContainerPort, theirs: ContainerPort, conflict: bool) -> None:
        decision = decide(engine, [*NODES, make_pod("other", node="n1", ports=[theirs])], make_pod(ports=[mine]))
        assert reasons(decision) == ({"n1": ("node(s) didn't have free ports for the requested pod ports",)} if conflict else {})

    def test_sidecars_hold_ports_and_other_init_containers_do_not(self, engine: str) -> None:
        for policy, feasible in (("Always", ["n2"]), (None, ["n1", "n2"])):
            init = make_container("init", ports=[80], restart_policy=policy)
            other = make_pod("other", node="n1", init_containers=[init])
            assert sorted(decide(engine, [*NODES, other], make_pod(ports=[80])).feasible()) == feasible

    def test_host_network_pods_use_their_container_ports(self, engine: str) -> None:
        other = make_pod("other", node="n1", host_network=True, ports=[ContainerPort(80)])
        assert decide(engine, [*NODES, other], make_pod(ports=[80])).feasible() == ["n2"]


@every_engine
class TestResources:
    def test_every_shortage_is_named(self, engine: str) -> None:
        node = make_node("n1", cpu="1", memory="1Gi", pods="1", allocatable={"ephemeral-storage": "1Gi", "example.com/gpu": "1"})
        other = make_pod("other", node="n1", cpu="1", memory="1Gi", requests={"ephemeral-storage": "1Gi", "example.com/gpu": "1"})
        pod = make_pod(cpu="1m", memory="1", requests={"ephemeral-storage": "1", "example.com/gpu": "1"})
        decision = decide(engine, [node, other], pod)
        insufficient = tuple(f"Insufficient {name}" for name in ("cpu", "memory", "ephemeral-storage", "example.com/gpu"))
        assert reasons(decision) == {"n1": ("Too many pods", *insufficient)}
        assert decision.rejected()["n1"].code == UNSCHEDULABLE

    def test_resources_a_node_has_none_of_are_left_out_of_the_score(self, engine: str) -> None:
        assert scores(decide(engine, [make_node("n1", cpu="1", memory="0")], make_pod(memory="0")), "NodeResourcesFit") == {"n1": 90}


@every_engine
class TestImages:
    MI = 1024**2

    def test_shares_of_large_images(self, engine: str) -> None:
        size = 1000 * self.MI
        nodes = [make_node("n1", images={"app:1": size}), make_node("n2", images={"app:1": size}), make_node("n3"), make_node("n4")]
        # half the nodes have it: half the size counts, less the least that counts
        wanted = 100 * (500 - 23) // (1000 - 23)
        assert scores(decide(engine, nodes, make_pod(image="app:1")), "ImageLocality") == {"n1": wanted, "n2": wanted, "n3": 0, "n4": 0}

    @pytest.mark.parametrize(
        ("image", "known"),
        [("app", "app:latest"), ("reg:5000/app", "reg:5000/app:latest"), ("app@sha256:aa", "app@sha256:aa"), ("app:1", "app:1")],
    )
    def test_names(self, engine: str, image: str, known: str) -> None:
        node = make_node("n1", images={known: 1000 * self.MI})
        assert scores(decide(engine, [node], make_pod(image=image)), "ImageLocality") == {"n1": 100}

    def test_small_images_do_not_count(self, engine: str) -> None:
        assert scores(decide(engine, [make_node("n1", images={"app:1": 22 * self.MI})], make_pod(image="app:1")), "ImageLocality") == {
            "n1": 0
        }


@every_engine
class TestDeclaredFeatures:
    REASON = "node(s) didn't match Pod's required features"

    def _node(self, *features: str) -> Any:
        return make_node("n1", status={"declaredFeatures": list(features)})

    @pytest.mark.parametrize(
        ("container", "spec", "feature"),
        [
            ({"restartPolicyRules": [ContainerRestartRule(action="RestartAllContainers")]}, {}, "RestartAllContainersOnContainerExits"),
            ({}, {"hostNetwork": True, "hostUsers": False}, "UserNamespacesHostNetworkSupport"),
            ({"volumeMounts": [VolumeMount(mountPath="/x", name="v", bindMountOptions=["noexec"])]}, {}, "VolumeBindMountOptions"),
        ],
    )
    def test_needs(self, engine: str, container: dict[str, Any], spec: dict[str, Any], feature: str) -> None:
        pod = make_pod(containers=[replace(make_container(), **container)], spec=spec)
        assert decide(engine, [self._node(feature)], pod).feasible() == ["n1"]
        assert reasons(decide(engine, [self._node("Other")], pod)) == {"n1": (self.REASON,)}

    def test_no_need(self, engine: str) -> None:
        pod = make_pod(containers=[replace(make_container(), restartPolicyRules=[ContainerRestartRule(action="Restart")])])
        assert decide(engine, [self._node()], pod).feasible() == ["n1"]
