"""Distributions, options and what they make of a trace."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import numpy as np
import pytest

from tests.unit.replay.fixtures import DLRM, OPENB_NODES, OPENB_PODS, OPTIONS, options_of, own_trace, trace_of, written
from volsched.env.draws import uniforms
from volsched.errors import InputError
from volsched.replay.distributions import Distribution, as_count, draw, durations, sizes
from volsched.replay.options import read_options
from volsched.replay.plan import Verb, read_plan
from volsched.replay.readers import read_nodes, read_trace
from volsched.replay.synth import synthesise
from volsched.replay.trace import NS

MIB = 1 << 20
GIB = 1 << 30


def distribution(value: object) -> Distribution:
    return msgspec.convert(value, Distribution)


def test_draws_repeat_and_streams_are_apart() -> None:
    first = uniforms(7, "a", 1000)
    assert np.array_equal(first[:10], uniforms(7, "a", 10))
    assert not np.array_equal(first, uniforms(7, "b", 1000))
    assert not np.array_equal(first, uniforms(8, "a", 1000))
    assert first.min() >= 0 and first.max() < 1 and abs(first.mean() - 0.5) < 0.05
    # of this stream, for ever: another numpy may not change old replays
    assert uniforms(0, "test", 3).tolist() == [0.29072037704245446, 0.59264558914639, 0.8900797009010825]


@pytest.mark.parametrize(
    ("value", "mean_s", "least_s", "most_s"),
    [
        ({"constant": "3s"}, 3, 3, 3),
        ({"uniform": ["1s", "5s"]}, 3, 1, 5),
        ({"exponential": {"mean": "2s"}}, 2, 0, 40),
        ({"lognormal": {"median": "2s", "sigma": 0.5}}, 2 * np.exp(0.125), 0.1, 40),
        ({"choice": {"1s": 3, "5s": 1}}, 2, 1, 5),
        ({"exponential": {"mean": "2s"}, "min": "1s", "max": "4s"}, 1.942, 1, 4),
    ],
)
def test_distributions_are_what_they_say(value: object, mean_s: float, least_s: float, most_s: float) -> None:
    drawn = durations(distribution(value), 1, "test", 20_000)
    assert abs(drawn.mean() / NS - mean_s) < 0.05 * mean_s
    assert least_s * NS <= drawn.min() and drawn.max() <= most_s * NS
    assert (drawn % (NS // 1000) == 0).all()


def test_sizes_are_rounded_up() -> None:
    drawn = sizes(distribution({"lognormal": {"median": "10Gi", "sigma": 1}, "round": "1Gi"}), 1, "test", 1000)
    assert (drawn % GIB == 0).all() and drawn.min() >= GIB
    assert draw(distribution({"uniform": [0, 9], "round": 5}), np.array([0.0, 0.3, 0.9]), unit=as_count, step=1).tolist() == [0, 5, 10]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("classes: [{name: a, pool: {constant: 1Gi, uniform: [1Gi, 2Gi]}}]", "line 1, classes[0].pool: a distribution has exactly one of"),
        ("classes: [{name: a, pool: {}}]", "classes[0].pool: a distribution has exactly one of"),
        ("classes:\n- name: a\n  colour: red\n", "line 2, classes[0]: object contains unknown field `colour`"),
        ("classes:\n- {name: a}\n- {name: a}\n", "line 3, classes[1].name: 'a' is empty or there twice"),
        ("claims: [{class: a, size: {constant: 1Gi}}]", "claims[0].class: 'a' is not among the classes: none"),
        ("classes: [{name: a, provision: {constant: 3x}}]", "classes[0].provision: '3x' is no duration"),
        (
            "classes: [{name: a, disks: {count: {constant: 1}, size: {constant: 1Gi}}, attachLimit: 3}]",
            "classes[0].attachLimit: is not for",
        ),
        ("classes: [{name: a, reach: moon}]", "classes[0].reach: invalid enum value 'moon'"),
        ("classes: [{name: a, driver: d}, {name: b, driver: d, attachLimit: 3}]", "classes[1]: differs from class a"),
        ("claims: [{class: a, size: {constant: 1Gi}, share: 2}]\nclasses: [{name: a}]", "claims[0].share: expected `float` <= 1.0"),
        ("nodes: [{count: 1, cpu: lots, memory: 1Gi}]", "nodes[0].cpu: "),
        ("zones: [a, a]", "zones: have one that is empty or there twice"),
        ("disk: {class: a}", "disk.class: 'a' is not among the classes"),
        ("start: {uniform: [2s, 1s]}", "start: uniform: 2s is more than 1s"),
        ("start: {choice: {}}", "start: choice: needs values"),
        ("start: {lognormal: {median: 1s, sigma: -1}}", "start: lognormal: sigma -1.0 is negative"),
        ("a: 1\na: 2\n", "a: is given twice"),
        ("[", "line 1"),
    ],
)
def test_wrong_options_are_told_with_their_place(tmp_path: Path, text: str, message: str) -> None:
    path = written(tmp_path, "options.yaml", text)
    with pytest.raises(InputError) as caught:
        read_options(path)
    assert str(caught.value).startswith(str(path))
    assert message in str(caught.value)


def test_options_lie_over_a_trace(tmp_path: Path) -> None:
    trace = trace_of(tmp_path, OPENB_PODS, OPENB_NODES)
    options = options_of(
        {
            "zones": ["a", "b"],
            "classes": [
                {"name": "fast", "pool": {"constant": "1Ti"}},
                {"name": "shared", "reach": "cluster"},
                {"name": "near", "reach": "node"},
            ],
            "claims": [
                {"class": "fast", "size": {"constant": "10Gi"}, "group": "LS", "count": {"constant": 2}},
                {"class": "shared", "size": {"constant": "1Gi"}, "keep": 1},
            ],
            "priorities": {"LS": 1000},
        }
    )
    scene = synthesise(trace, options, seed=1)
    assert list(scene.nodes.zones) == ["a", "b", "a"]
    assert scene.claims.pod.tolist() == [0, 0, 0, 1, 2, 2, 2, 3]
    assert [scene.claims.classes[code] for code in scene.claims.storage_class] == [
        "fast", "fast", "shared", "shared", "fast", "fast", "shared", "shared",
    ]  # fmt: skip
    assert scene.claims.keep.tolist() == [False, False, True, True, False, False, True, True]
    assert scene.pods.priority.tolist() == [1000, 0, 1000, 0]
    assert list(scene.pools.places) == ["a", "b", "", "n-0", "n-1", "n-2"]
    assert scene.pools.size_bytes.tolist() == [1024 * GIB, 1024 * GIB, -1, -1, -1, -1]


def test_a_stated_disk_becomes_a_claim_or_ephemeral_storage(tmp_path: Path) -> None:
    trace = read_trace(written(tmp_path, "trace.csv", DLRM))
    nodes = {"nodes": [{"count": 2, "cpu": 128, "memory": "1Ti", "name": "cn", "resources": {"nvidia.com/gpu": 8}}], "zones": ["z"]}
    as_claims = synthesise(trace, options_of({**nodes, "classes": [{"name": "fast"}], "disk": {"class": "fast"}}), seed=0)
    assert as_claims.claims.request_bytes.tolist() == [640 * GIB, 680 * GIB, 85 * GIB, 80 * GIB]
    assert as_claims.pods.ephemeral_bytes.tolist() == [0, 0, 0, 0]
    plain = synthesise(trace, options_of(nodes), seed=0)
    assert len(plain.claims) == 0
    assert plain.pods.ephemeral_bytes.tolist() == [640 * GIB, 680 * GIB, 85 * GIB, 80 * GIB]
    assert list(plain.nodes.names) == ["cn-00000", "cn-00001"]
    assert plain.nodes.extended["dlrm.alibabacloud.com/app-0-hn"].tolist() == [8, 8]


def test_what_does_not_fit_is_told(tmp_path: Path) -> None:
    own = trace_of(tmp_path, own_trace(1))
    for options, message in [
        ({}, "the trace claims storage of class local, zonal"),
        ({**OPTIONS, "nodes": [{"count": 1, "cpu": 1, "memory": 1}]}, "give one of the two"),
        ({**OPTIONS, "priorities": {"x": 1}}, "the trace has no pods of group x; it has a, b"),
        ({**OPTIONS, "claims": [{"class": "zonal", "size": {"constant": 1}, "group": "x"}]}, "the trace has no pods of group x"),
    ]:
        with pytest.raises(InputError, match=re.escape(message)):
            synthesise(own, options_of(options), seed=0)
    bare = read_trace(tmp_path / "pods.csv")
    with pytest.raises(InputError, match="the trace has no nodes"):
        synthesise(bare, options_of(OPTIONS), seed=0)
    openb = trace_of(tmp_path, OPENB_PODS, OPENB_NODES)
    with pytest.raises(InputError, match="node n-0 is in none; state `zones`"):
        synthesise(openb, options_of({"classes": [{"name": "fast"}]}), seed=0)


def test_a_column_does_not_depend_on_the_others(tmp_path: Path) -> None:
    trace = trace_of(tmp_path, own_trace(1))
    plain = synthesise(trace, options_of(OPTIONS), seed=5)
    more = synthesise(trace, options_of({**OPTIONS, "start": {"uniform": ["1s", "9s"]}}), seed=5)
    assert np.array_equal(plain.provision_ns, more.provision_ns)
    assert not np.array_equal(plain.start_ns, more.start_ns)
    other = synthesise(trace, options_of(OPTIONS), seed=6)
    assert not np.array_equal(plain.provision_ns, other.provision_ns)


def test_planned_events(tmp_path: Path) -> None:
    nodes = trace_of(tmp_path, own_trace(1)).nodes
    assert nodes is not None
    text = "events:\n- {at: 10s, drain: node-1, for: 1m}\n- {at: 5s, lose: zone-b, by: zone}\n- {at: 20s, join: 'node-[35]'}\n"
    found = read_plan(written(tmp_path, "events.yaml", text), nodes)
    assert [(event.time_ns // NS, event.verb, event.node) for event in found] == [
        (5, Verb.LOSE, 1), (5, Verb.LOSE, 4), (10, Verb.DRAIN, 1), (20, Verb.JOIN, 3), (20, Verb.JOIN, 5), (70, Verb.UNCORDON, 1),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("events: [{at: 1s, drain: x}]", "events[0].drain: no node is named x"),
        ("events: [{at: 1s, lose: x, by: zone}]", "events[0].lose: no node is in zone x"),
        ("events: [{at: 1s}]", "events[0]: an event has exactly one of join, drain, uncordon, lose, return, not none"),
        ("events: [{at: soon, drain: node-1}]", "events[0].at: 'soon' is no duration"),
        ("events: [{at: 1s, join: node-1, for: 1s}]", "events[0].for: is for drain and lose only"),
        ("events: [{at: 1s, join: node-1}, {at: 2s, join: node-1}]", "events[1].join: node node-1 joins twice"),
        ("events: [{drain: node-1}]", "events[0]: object missing required field `at`"),
    ],
)
def test_wrong_plans_are_told_with_their_place(tmp_path: Path, text: str, message: str) -> None:
    nodes = trace_of(tmp_path, own_trace(1)).nodes
    assert nodes is not None
    with pytest.raises(InputError) as caught:
        read_plan(written(tmp_path, "events.yaml", text), nodes)
    assert message in str(caught.value)


EXAMPLES = Path(__file__).parents[3] / "examples" / "replay"


@pytest.mark.parametrize("name", ["dlrm.yaml", "openb.yaml"])
def test_the_examples_can_be_read(name: str) -> None:
    assert read_options(EXAMPLES / name).classes


def test_the_examples_fit_their_traces(tmp_path: Path) -> None:
    trace = read_trace(written(tmp_path, "trace.csv", DLRM))
    scene = synthesise(trace, read_options(EXAMPLES / "dlrm.yaml"), seed=0)
    assert (len(scene.nodes), len(scene.claims), len(scene.pools.places)) == (3800, 4, 3)
    text = "name,cpu_milli,memory_bytes,zone\nopenb-node-0001,1,1,zone-a\nopenb-node-1001,1,1,zone-b\n"
    nodes, _ = read_nodes(written(tmp_path, "nodes.csv", text), warn=lambda _: None)
    assert [(event.verb, event.node) for event in read_plan(EXAMPLES / "events.yaml", nodes)] == [
        (Verb.DRAIN, 0), (Verb.UNCORDON, 0), (Verb.LOSE, 1), (Verb.RETURN, 1),
    ]  # fmt: skip
