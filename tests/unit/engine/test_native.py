"""The native engine's Python face: objects in and out, decisions, assume and forget, forks."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from tests.builders import make_class, make_csinode, make_node, make_pod, make_pv, make_pvc
from volsched.api.defaults import with_defaults
from volsched.api.edit import with_annotations, with_metadata, with_spec
from volsched.engine import UNRESOLVABLE, UNSCHEDULABLE, Engine, Rejection, SchedulingEngine, StaticBinding
from volsched.engine.reference import ReferenceEngine
from volsched.errors import EngineError
from volsched.rules.volumes import ANN_BIND_COMPLETED

LOCAL = "kubernetes.io/no-provisioner"


def engine_with(*objects: object, **arguments: object) -> Engine:
    engine = Engine(**arguments)  # type: ignore[arg-type]
    for obj in objects:
        engine.upsert(with_defaults(obj))
    return engine


def local_cluster(nodes: int = 3) -> Engine:
    """Each node has one volume of 10 to 12 GiB."""
    engine = engine_with(make_class("local", provisioner=LOCAL))
    for number in range(nodes):
        name = f"n{number}"
        engine.upsert(with_defaults(make_node(name)))
        engine.upsert(with_defaults(make_pv(f"pv-{number}", size=f"{10 + number}Gi", storage_class="local", node=name, phase="Available")))
    return engine


def test_both_engines_are_scheduling_engines() -> None:
    assert isinstance(Engine(), SchedulingEngine)
    assert isinstance(ReferenceEngine(), SchedulingEngine)


def test_a_claim_takes_the_best_volume_and_gives_it_back() -> None:
    engine = local_cluster()
    engine.upsert(with_defaults(make_pvc("data", storage_class="local", uid="u1")))
    before = engine.digest()
    decision = engine.decide(with_defaults(make_pod(claims=["data"])))
    # a fuller volume scores less: 10 GiB of 12 is the roomiest of the three
    assert decision.node == "n2"
    assert decision.feasible() == ["n0", "n1", "n2"]
    assert decision.volumes("n1").bind == (StaticBinding("default/data", "pv-1"),)
    assumption = engine.assume(decision)
    assert (assumption.node, assumption.volumes.bind) == ("n2", (StaticBinding("default/data", "pv-2"),))
    assert engine.pod_count == 1
    # the volume is now reserved for the claim: another pod with it has to follow
    assert engine.decide(with_defaults(make_pod("second", claims=["data"]))).feasible() == ["n2"]
    engine.forget(assumption)
    assert engine.digest() == before
    assert engine.validate() == ""


def test_volumes_run_out() -> None:
    engine = local_cluster(2)
    for number in range(3):
        engine.upsert(with_defaults(make_pvc(f"data-{number}", storage_class="local", uid=f"u{number}")))
    placed = []
    for number in range(2):
        decision = engine.decide(with_defaults(make_pod(f"pod-{number}", claims=[f"data-{number}"])))
        placed.append(engine.assume(decision).node)
    assert sorted(placed) == ["n0", "n1"]
    last = engine.decide(with_defaults(make_pod("pod-2", claims=["data-2"])))
    assert last.node is None
    reason = "node(s) didn't find available persistent volumes to bind"
    assert last.rejected() == dict.fromkeys(("n0", "n1"), Rejection("VolumeBinding", UNRESOLVABLE, (reason,)))
    assert last.message() == f"0/2 nodes are available: 2 {reason}."
    assert last.rejecting_plugins() == {"VolumeBinding"}


def test_a_pod_that_no_node_is_looked_at_for() -> None:
    decision = engine_with(make_node("n1")).decide(make_pod(claims=["missing"]))
    assert decision.prefilter == Rejection("VolumeRestrictions", UNRESOLVABLE, ('persistentvolumeclaim "missing" not found',))
    assert decision.message() == '0/1 nodes are available: persistentvolumeclaim "missing" not found.'
    assert decision.feasible() == []
    assert decision.rejected() == {}


def test_no_nodes_at_all() -> None:
    decision = Engine().decide(make_pod())
    assert (decision.node, decision.prefilter, decision.error) == (None, None, None)
    assert decision.message() == "no nodes available to schedule pods"


def test_only_restricts() -> None:
    engine = engine_with(*(make_node(f"n{number}") for number in range(4)))
    assert engine.decide(make_pod(), only=["n3", "n1"]).feasible() == ["n1", "n3"]
    with pytest.raises(EngineError, match='no node "n9"'):
        engine.decide(make_pod(), only=["n9"])


def test_pods_count_until_they_end() -> None:
    engine = engine_with(make_node("n1", pods="1"))
    placed = with_defaults(make_pod("other", node="n1"))
    engine.upsert(placed)
    assert engine.decide(make_pod()).rejected() == {"n1": Rejection("NodeResourcesFit", UNSCHEDULABLE, ("Too many pods",))}
    engine.upsert(with_defaults(make_pod("other", node="n1", phase="Succeeded")))
    assert engine.decide(make_pod()).node == "n1"
    engine.upsert(placed)
    engine.remove("Pod", "default", "other")
    assert engine.decide(make_pod()).node == "n1"


def test_the_api_server_confirms_an_assumption() -> None:
    engine = engine_with(make_node("n1"))
    pod = with_defaults(make_pod(cpu="1", uid="u"))
    assumption = engine.assume(engine.decide(pod))
    assumed = engine.digest()
    engine.upsert(with_spec(pod, nodeName="n1"))
    assert engine.digest() == assumed
    engine.forget(assumption)  # too late: the pod is there for good
    assert engine.pod_count == 1


def test_a_newer_volume_beats_an_assumption() -> None:
    engine = engine_with(make_class("local", provisioner=LOCAL), make_node("n1"), make_pvc("data", storage_class="local", uid="u"))
    volume = with_defaults(make_pv("pv", storage_class="local", node="n1", phase="Available", version=5))
    engine.upsert(volume)
    assumption = engine.assume(engine.decide(make_pod(claims=["data"])))
    other = make_pvc("other", storage_class="local", uid="o")
    engine.upsert(with_defaults(other))
    wants_other = make_pod("other", claims=["other"])
    assert engine.decide(wants_other).node is None
    engine.upsert(volume)  # the same version, as in a resync: the assumption stands
    assert engine.decide(wants_other).node is None
    engine.upsert(with_metadata(volume, resourceVersion="6"))
    assert engine.decide(wants_other).node == "n1"
    engine.forget(assumption)
    assert engine.decide(wants_other).node == "n1"
    assert engine.validate() == ""


def test_decisions_belong_to_their_engine_and_moment() -> None:
    engine = engine_with(make_node("n1"), make_node("n2"))
    decision = engine.decide(make_pod())
    with pytest.raises(EngineError, match="another engine"):
        engine_with(make_node("n1")).assume(decision)
    with pytest.raises(EngineError, match="decision of the native engine"):
        engine.assume(ReferenceEngine().decide(make_pod()))
    with pytest.raises(EngineError, match="no node"):
        engine.assume(decision, "n9")
    assumption = engine.assume(decision, "n2")
    assert assumption.node == "n2"
    assert decision.node == "n1"
    assert decision.feasible() == ["n1", "n2"]  # still readable: no node came or went
    with pytest.raises(EngineError, match="has changed since"):
        decision.scores()
    with pytest.raises(EngineError, match="has changed since"):
        engine.assume(decision)
    engine.forget(assumption)
    with pytest.raises(EngineError, match="forgotten already"):
        engine.forget(assumption)
    engine.upsert(with_defaults(make_node("n3")))
    with pytest.raises(EngineError, match="came or went"):
        decision.feasible()


def test_a_pod_is_assumed_once() -> None:
    engine = engine_with(make_node("n1"))
    pod = make_pod("twice")
    engine.assume(engine.decide(pod))
    with pytest.raises(EngineError, match="pod default/twice is assumed or counted on a node already"):
        engine.assume(engine.decide(pod))


def test_a_node_that_does_not_fit_is_not_assumed() -> None:
    engine = engine_with(make_node("n1"), make_node("full", pods="0"))
    with pytest.raises(EngineError, match="does not find feasible"):
        engine.assume(engine.decide(make_pod()), "full")
    with pytest.raises(EngineError, match="chose no node"):
        engine.assume(engine.decide(make_pod("big", cpu="1000")))


def test_filter_and_score_are_arrays_in_node_order() -> None:
    engine = engine_with(make_node("a", zone="z1"), make_node("b", zone="z1", unschedulable=True), make_node("c", zone="z2"))
    assert engine.node_names() == ["a", "c", "b"]
    found = engine.filter(make_pod(cpu="1"))
    assert found.mask.dtype == np.bool_
    assert found.mask.tolist() == [True, True, False]
    assert set(found.rejected) == {"b"}
    scores = engine.score(make_pod(cpu="1"))
    assert scores.dtype == np.int64
    totals = engine.decide(make_pod(cpu="1")).totals()
    assert scores.tolist() == [totals["a"], totals["c"], -1]


def test_a_claim_selector_that_is_invalid_fails_the_cycle() -> None:
    engine = engine_with(make_class("local", provisioner=LOCAL), make_node("n1"), make_pv("pv", storage_class="local", phase="Available"))
    claim = make_pvc("data", storage_class="local", uid="u")
    from lightkube.models.meta_v1 import LabelSelector, LabelSelectorRequirement

    bad = LabelSelector(matchExpressions=[LabelSelectorRequirement(key="tier", operator="Near")])
    engine.upsert(with_defaults(with_spec(claim, selector=bad)))
    decision = engine.decide(make_pod(claims=["data"]))
    assert decision.error is not None
    assert decision.error.startswith(
        'running "VolumeBinding" filter plugin: error creating internal label selector for claim: default/data'
    )
    assert (decision.node, decision.message()) == (None, "")
    with pytest.raises(EngineError, match="error creating internal label selector"):
        engine.filter(make_pod(claims=["data"]))


def test_a_fork_is_independent() -> None:
    engine = local_cluster()
    engine.upsert(with_defaults(make_pvc("data", storage_class="local", uid="u")))
    before = engine.digest()
    fork = engine.fork()
    fork.remove("Node", "", "n2")
    fork.assume(fork.decide(make_pod(claims=["data"])))
    assert fork.validate() == ""
    assert engine.digest() == before
    assert engine.decide(make_pod(claims=["data"])).node == "n2"


def test_a_bound_claim_follows_its_volume() -> None:
    engine = engine_with(
        make_class(),
        make_node("n1", zone="a"),
        make_node("n2", zone="b"),
        make_csinode("n1"),
        make_csinode("n2"),
        make_pv("pv", zone="b", claim="default/data", claim_uid="u", phase="Bound"),
        with_annotations(make_pvc("data", volume="pv", uid="u"), {ANN_BIND_COMPLETED: "yes"}),
    )
    decision = engine.decide(make_pod(claims=["data"]))
    assert decision.feasible() == ["n2"]
    assert decision.volumes("n2") == ((), ())


def test_unknown_kinds_are_ignored_and_arguments_checked() -> None:
    engine = Engine()
    engine.remove("ConfigMap", "default", "x")
    with pytest.raises(EngineError, match="tie_break must be"):
        Engine(tie_break="best")  # type: ignore[arg-type]
    with pytest.raises(EngineError, match="percentage_of_nodes_to_score"):
        Engine(percentage_of_nodes_to_score=101)


def test_threads_share_an_engine() -> None:
    engine = engine_with(*(make_node(f"n{number}") for number in range(200)))
    problems: list[BaseException] = []

    def work(worker: int) -> None:
        try:
            for number in range(50):
                decision = engine.decide(make_pod(f"pod-{worker}-{number}", cpu="10m"))
                assert decision.message() == ""
        except BaseException as problem:
            problems.append(problem)

    workers = [threading.Thread(target=work, args=(worker,)) for worker in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not problems
    assert engine.validate() == ""
