"""Pod states, effective objects, and the Python API of custom schedulers."""

from __future__ import annotations

import numpy as np
import pytest

from tests.builders import make_capacity, make_class, make_csidriver, make_node, make_pod, make_pv, make_pvc, when
from volsched.api.edit import replace, with_annotations, with_metadata, with_spec
from volsched.api.watch import Change, WatchEvent
from volsched.cache import SchedulerCache
from volsched.engine.reference import ReferenceEngine
from volsched.errors import EngineError
from volsched.ports import Bind, Pause, Update
from volsched.rules.volumes import ANN_BIND_COMPLETED, ANN_SELECTED_NODE


def new_cache(*objects) -> SchedulerCache:
    cache = SchedulerCache(ReferenceEngine())
    for obj in objects:
        cache.add(obj)
    return cache


def on(pod, node: str):
    return with_spec(pod, nodeName=node)


# states of 12.1 ------------------------------------------------------------------------------------------------------------------------


def test_assume_confirm_delete() -> None:
    cache = new_cache(make_node("n1"))
    pod = make_pod("web", uid="u1")
    cache.add(pod)
    cache.assume_pod(on(pod, "n1"))
    assert cache.is_assumed(pod)
    cache.update(on(pod, "n1"))
    assert not cache.is_assumed(pod)
    assert [p.metadata.name for p in cache.pods_on("n1")] == ["web"]
    cache.delete(on(pod, "n1"))
    assert cache.assigned_pod(pod) is None
    assert cache.check() == []


def test_the_event_may_name_another_node() -> None:
    cache = new_cache(make_node("n1", cpu="1"), make_node("n2", cpu="1"))
    pod = make_pod("web", uid="u1", cpu="1")
    cache.assume_pod(on(pod, "n1"))
    cache.add(on(pod, "n2"))
    assert cache.pods_on("n1") == []
    assert cache.filter(make_pod("next", cpu="1")).names() == ["n1"]


def test_refusals_of_the_state_machine() -> None:
    cache = new_cache(make_node("n1"))
    pod = on(make_pod("web", uid="u1"), "n1")
    cache.forget_pod(pod)  # unknown: nothing happens
    with pytest.raises(EngineError, match="not in the cache"):
        cache.remove_pod(pod)
    with pytest.raises(EngineError, match="cannot be updated"):
        cache.update_pod(pod)
    cache.assume_pod(pod)
    with pytest.raises(EngineError, match="in the cache already"):
        cache.assume_pod(pod)
    with pytest.raises(EngineError, match="assumed on n1, not on n2"):
        cache.forget_pod(on(pod, "n2"))
    with pytest.raises(EngineError, match="cannot be updated"):
        cache.update_pod(pod)
    cache.add_pod(pod)
    with pytest.raises(EngineError, match="added before"):
        cache.add_pod(pod)
    with pytest.raises(EngineError, match="not assumed"):
        cache.forget_pod(pod)
    with pytest.raises(EngineError, match="moved from n1 to n2"):
        cache.update_pod(on(pod, "n2"))


def test_an_assumed_pod_leaves_when_its_deletion_begins() -> None:
    cache = new_cache(make_node("n1"))
    pod = make_pod("web", uid="u1")
    cache.add(pod)
    cache.assume_pod(on(pod, "n1"))
    cache.update(with_metadata(pod, deletionTimestamp=when(1)))
    assert cache.assigned_pod(pod) is None


def test_a_pod_of_the_same_name_is_another_pod() -> None:
    cache = new_cache(make_node("n1"))
    cache.add(on(make_pod("web", uid="u1"), "n1"))
    cache.update(make_pod("web", uid="u2"))
    assert cache.pods_on("n1") == []
    cache.update(on(make_pod("web", uid="u2"), "n1"))
    assert [pod.metadata.uid for pod in cache.pods_on("n1")] == ["u2"]
    assert cache.check() == []


def test_a_terminal_pod_leaves_and_is_not_seen_again() -> None:
    cache = new_cache(make_node("n1"))
    pod = on(make_pod("job", uid="u1"), "n1")
    cache.add(pod)
    done = replace(pod, status=replace(make_pod(phase="Succeeded").status))
    cache.update(done)
    assert cache.get("Pod", "default", "job") is None
    assert cache.observe(WatchEvent(Change.DELETED, "Pod", done, 9)) is None


def test_removing_a_pod_moves_the_last_into_its_slot() -> None:
    cache = new_cache(make_node("n1"))
    for name in ("a", "b", "c"):
        cache.add(on(make_pod(name), "n1"))
    cache.delete(on(make_pod("a"), "n1"))
    assert [pod.metadata.name for pod in cache.pods_on("n1")] == ["c", "b"]


def test_pods_of_a_node_that_went_away_count_again_when_it_returns() -> None:
    cache = new_cache(make_node("n1", cpu="1"), make_node("n2", cpu="1"))
    cache.add(on(make_pod("web", cpu="1"), "n1"))
    cache.delete(make_node("n1"))
    assert cache.snapshot().nodes == ("n2",)
    cache.add(make_node("n1", cpu="1"))
    assert cache.filter(make_pod("next", cpu="1")).names() == ["n2"]


def test_kinds_scheduling_does_not_read_are_ignored() -> None:
    cache = new_cache()
    before = cache.generation
    assert cache.observe(WatchEvent(Change.ADDED, "Secret", object(), 1)) is None
    assert cache.generation == before


# effective objects ---------------------------------------------------------------------------------------------------------------------


def storage() -> list:
    return [
        make_node("n1"),
        make_node("n2"),
        make_class("disks", provisioner="kubernetes.io/no-provisioner"),
        make_pv("d1", storage_class="disks", node="n1", phase="Available", version=1),
        make_pvc("one", storage_class="disks", uid="uid-one", version=2),
        make_pvc("two", storage_class="disks", uid="uid-two", version=3),
    ]


def test_an_assumed_volume_is_taken_until_it_is_forgotten() -> None:
    cache = new_cache(*storage())
    held = cache.assume(make_pod("a", claims=["one"]), "n1")
    assert cache.filter(make_pod("b", claims=["two"])).names() == []
    cache.forget(held)
    assert cache.filter(make_pod("b", claims=["two"])).names() == ["n1"]
    assert cache.check() == []


def test_an_informer_update_beats_the_assumption() -> None:
    """Trap 51: a new version of the volume, whatever changed in it."""
    cache = new_cache(*storage())
    cache.assume(make_pod("a", claims=["one"]), "n1")
    pv = cache.get("PersistentVolume", "", "d1")
    cache.update(with_metadata(pv, labels={"any": "thing"}, resourceVersion="7"))
    assert cache.filter(make_pod("b", claims=["two"])).names() == ["n1"]


# the Python API ------------------------------------------------------------------------------------------------------------------------


def test_filter_score_assume() -> None:
    cache = new_cache(make_node("n1", cpu="2"), make_node("n2", cpu="4"), make_node("n3", cpu="1"))
    pod = make_pod("web", cpu="1500m")
    snapshot = cache.snapshot()
    fits = snapshot.filter(pod)
    assert fits.mask.dtype == np.bool_
    assert fits.mask.tolist() == [True, True, False]
    assert fits.why_not("n3") == ("Insufficient cpu",)
    assert fits.message == ""
    scores = snapshot.score(fits)
    assert scores.dtype == np.int64
    assert scores[2] == -1
    best = snapshot.nodes[int(scores.argmax())]
    assert best == "n2"
    held = cache.assume(pod, best)
    assert cache.writes(held) == (Bind("default", "web", "", "n2"),)
    assert cache.pods_on("n2")[0].spec.nodeName == "n2"


def test_arrays_cannot_be_written_to() -> None:
    cache = new_cache(make_node("n1"))
    snapshot = cache.snapshot()
    fits = snapshot.filter(make_pod())
    with pytest.raises(ValueError, match="read-only"):
        fits.mask[0] = False
    with pytest.raises(ValueError, match="read-only"):
        snapshot.score(fits)[0] = 1


def test_stale_snapshots_and_masks_are_refused() -> None:
    cache = new_cache(make_node("n1"))
    snapshot = cache.snapshot()
    fits = snapshot.filter(make_pod())
    cache.add(make_node("n2"))
    with pytest.raises(EngineError, match="the snapshot is of generation"):
        snapshot.filter(make_pod())
    with pytest.raises(EngineError, match="the filter result is of generation"):
        cache.snapshot().score(fits)


def test_a_refused_pod_says_why() -> None:
    cache = new_cache(make_node("n1"), make_node("n2"))
    fits = cache.filter(make_pod("web", claims=["data"]))
    assert not fits.mask.any()
    assert fits.why_not("n1") == ('persistentvolumeclaim "data" not found',)
    assert fits.message == '0/2 nodes are available: persistentvolumeclaim "data" not found.'
    assert cache.score(make_pod("web", claims=["data"])).tolist() == [-1, -1]
    with pytest.raises(EngineError, match='cannot be assumed on n1: persistentvolumeclaim "data" not found'):
        cache.assume(make_pod("web", claims=["data"]), "n1")
    with pytest.raises(EngineError, match="there is no such node"):
        cache.assume(make_pod("web"), "n9")
    assert cache.check() == []


def test_binding_plays_to_the_end() -> None:
    cache = new_cache(
        make_node("n1", zone="a"),
        make_class("net"),
        make_csidriver(storage_capacity=True),
        make_capacity("c", storage_class="net", capacity="100Gi", where={"topology.kubernetes.io/zone": "a"}),
        make_pvc("www", storage_class="net", uid="uid-www", version=2),
    )
    pod = make_pod("web", claims=["www"], uid="u1")
    cache.add(pod)
    held = cache.assume(pod, "n1")
    steps = cache.binding(held)
    update = next(steps)
    assert isinstance(update, Update)
    assert update.object.metadata.annotations[ANN_SELECTED_NODE] == "n1"
    written = with_metadata(update.object, resourceVersion="3")
    cache.update(written)
    assert steps.send(written) == Pause(1.0)
    assert steps.send(None) == Pause(1.0)
    cache.add(make_pv("made", storage_class="net", claim="www", claim_uid="uid-www", zone="a", version=4))
    bound = with_annotations(with_spec(written, volumeName="made"), {ANN_BIND_COMPLETED: "yes"})
    cache.update(with_metadata(bound, resourceVersion="5"))
    assert steps.send(None) == Bind("default", "web", "u1", "n1")
    with pytest.raises(StopIteration):
        steps.send(None)
    cache.update(held.pod)
    assert cache.assumed_pods() == []
