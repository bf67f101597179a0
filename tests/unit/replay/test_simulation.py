"""A replay decides as the scheduler does: in batches as pod by pod, with either engine, again and again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.replay.fixtures import OPTIONS, options_of, own_trace, scene_of, trace_of
from volsched.engine import Engine
from volsched.engine.reference import ReferenceEngine
from volsched.replay.log import EventLog, Kind
from volsched.replay.placing import reason_of
from volsched.replay.plan import PlannedEvent, Verb
from volsched.replay.simulation import Mode, Simulation
from volsched.replay.storage import TRANSITIONS, Phase, Signal
from volsched.replay.synth import Scene, synthesise
from volsched.replay.trace import NS

PLAN = [
    PlannedEvent(20 * NS, Verb.DRAIN, 0),
    PlannedEvent(30 * NS, Verb.LOSE, 1),
    PlannedEvent(40 * NS, Verb.JOIN, 5),
    PlannedEvent(50 * NS, Verb.UNCORDON, 0),
    PlannedEvent(70 * NS, Verb.RETURN, 1),
]


def replayed(
    scene: Scene, *, mode: Mode = "batch", engine: Engine | ReferenceEngine | None = None, plan: list[PlannedEvent] = PLAN
) -> EventLog:
    simulation = Simulation(scene, engine=engine or Engine(), plan=plan, mode=mode)
    assert simulation.run()
    if isinstance(simulation.engine, Engine):
        assert simulation.engine.validate() == ""
    return simulation.log()


def told(log: EventLog, *kinds: Kind) -> list[tuple[int, Kind, int, int]]:
    rows = log.rows[np.isin(log.kind, kinds)]
    return [(int(time), Kind(kind), int(subject), int(place)) for time, kind, subject, place, _ in rows.tolist()]


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_batches_decide_as_pod_by_pod(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    scene = scene_of(tmp_path_factory.mktemp("replay"), seed)
    batch = replayed(scene)
    alone = replayed(scene, mode="one-by-one")
    assert batch.rows.tolist() == alone.rows.tolist()
    assert batch.messages == alone.messages
    assert batch.sha256() == alone.sha256()


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), span_s=st.sampled_from([1_000, 5_000, 20_000]))
def test_quiet_time_passes_as_if_it_were_lived_through(tmp_path_factory: pytest.TempPathFactory, seed: int, span_s: int) -> None:
    """Pods that wait for hours are tried every five minutes; without a change that is counted, not done."""
    text = own_trace(seed, pods=40, span_s=span_s)
    header, *lines = text.splitlines()
    hopeless = [f"hopeless-{at},{at * 7.25},,,99000,1Gi,{at % 2 * 50},a," for at in range(5)]
    scene = synthesise(
        trace_of(tmp_path_factory.mktemp("replay"), "\n".join([header, *lines, *hopeless]) + "\n"), options_of(OPTIONS), seed=seed
    )
    skipped = replayed(scene, plan=[])
    lived = replayed(scene, plan=[], mode="one-by-one")
    assert skipped.attempts.max() > span_s // 400
    assert skipped.attempts.tolist() == lived.attempts.tolist()
    assert skipped.sha256() == lived.sha256()


@settings(max_examples=4, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_the_reference_engine_comes_to_the_same(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    scene = scene_of(tmp_path_factory.mktemp("replay"), seed, pods=40)
    assert replayed(scene).sha256() == replayed(scene, mode="one-by-one", engine=ReferenceEngine()).sha256()


def test_the_fixture_shows_everything_a_log_can_say(tmp_path: Path) -> None:
    """Else the tests above compare less than they seem to."""
    seen: set[int] = set()
    for seed in range(12):
        seen |= set(replayed(scene_of(tmp_path, seed)).kind.tolist())
    assert {Kind(kind) for kind in seen} == set(Kind)


def test_same_seed_same_hash_and_another_another(tmp_path: Path) -> None:
    assert replayed(scene_of(tmp_path, 3)).sha256() == replayed(scene_of(tmp_path, 3)).sha256()
    assert replayed(scene_of(tmp_path, 3)).sha256() != replayed(scene_of(tmp_path, 4)).sha256()


def test_nothing_is_given_twice_or_beyond_what_there_is(tmp_path: Path) -> None:
    for seed in range(6):
        check_log(replayed(scene_of(tmp_path, seed)))


def check_log(log: EventLog) -> None:
    """Requests on nodes, pools and disks, followed event by event."""
    facts = log.facts
    used = np.zeros_like(facts["node_allocatable"])
    pools = facts["pool_bytes"].copy()
    disks: dict[int, int] = {}
    node_of: dict[int, int] = {}
    for _, code, subject, place, _ in log.rows.tolist():
        kind = Kind(code)
        if kind is Kind.PLACED:
            assert subject not in node_of
            node_of[subject] = place
            used[place] += facts["pod_requests"][subject]
            assert (used[place] <= facts["node_allocatable"][place]).all()
        elif kind in (Kind.UNPLACED, Kind.ENDED, Kind.EVICTED) or (kind is Kind.REMOVED and place >= 0):
            assert node_of.pop(subject) == place
            used[place] -= facts["pod_requests"][subject]
        elif kind is Kind.PROVISIONED:
            pools[place] -= facts["claim_bytes"][subject]
            assert pools[place] >= 0
        elif kind is Kind.RELEASED:
            pools[place] += facts["claim_bytes"][subject]
        elif kind is Kind.CLAIMED:
            assert place not in disks
            assert facts["disk_bytes"][place] >= facts["claim_bytes"][subject]
            disks[place] = subject
        elif kind is Kind.DISK_CLEAN:
            del disks[place]
    assert log.kind[-1] == Kind.FINISHED


def test_every_claim_signal_is_a_transition_or_refused() -> None:
    impossible = {(phase, signal) for phase in Phase for signal in Signal} - set(TRANSITIONS)
    assert len(impossible) + len(TRANSITIONS) == len(Phase) * len(Signal)
    assert all(signal is not Signal.CREATED or phase is Phase.ABSENT for phase, signal in TRANSITIONS)
    assert all((Phase.DELETED, signal) in impossible for signal in Signal)


def test_reasons_have_no_numbers() -> None:
    text = "0/5 nodes are available: 2 Insufficient cpu, 3 node(s) had untolerated taint(s). "
    assert reason_of(text.strip()) == "Insufficient cpu; node(s) had untolerated taint(s)"
    assert reason_of("no nodes available to schedule pods") == "no nodes available to schedule pods"
