"""Assumed copies over stored objects, and nodes in order."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from lightkube.models.core_v1 import PersistentVolume

from tests.builders import make_claim_ref, make_node, make_pv
from volsched.api.edit import with_spec
from volsched.engine.reference.state import AssumeCache, NodeTree
from volsched.errors import EngineError

KEY = ("", "pv-1")


def _cache(version: int = 1) -> AssumeCache[PersistentVolume]:
    cache: AssumeCache[PersistentVolume] = AssumeCache()
    cache.upsert(KEY, make_pv("pv-1", version=version))
    return cache


def _claimed(claim: str) -> Callable[[PersistentVolume], PersistentVolume]:
    return lambda volume: with_spec(volume, claimRef=make_claim_ref(claim))


def _claim_of(cache: AssumeCache[PersistentVolume]) -> str | None:
    volume = cache.get(KEY)
    assert volume is not None
    return volume.spec.claimRef.name if volume.spec.claimRef else None


class TestAssumeCache:
    def test_the_edited_object_is_read_and_the_stored_one_kept(self) -> None:
        cache = _cache()
        seen = cache.stored(KEY)
        assert seen is not None
        cache.assume(KEY, 1, seen, _claimed("default/data"))
        assert _claim_of(cache) == "data"
        assert cache.stored(KEY) is seen
        assert [volume.spec.claimRef is not None for volume in cache.all()] == [True]

    def test_unknown_or_outdated_objects_cannot_be_assumed(self) -> None:
        with pytest.raises(EngineError, match=r'"pv-2" cannot be assumed'):
            _cache().assume(("", "pv-2"), 1, make_pv("pv-2"), _claimed("default/data"))
        with pytest.raises(EngineError, match=r'^"pv-1" is out of sync \(stored: 2, assume: 1\)$'):
            _cache(2).assume(KEY, 1, make_pv("pv-1", version=1), _claimed("default/data"))

    def test_a_resync_keeps_and_another_version_drops(self) -> None:
        cache = _cache()
        cache.assume(KEY, 1, make_pv("pv-1", version=1), _claimed("default/data"))
        cache.upsert(KEY, make_pv("pv-1", version=1))
        assert _claim_of(cache) == "data"
        newer = make_pv("pv-1", version=2)
        cache.upsert(KEY, newer)
        assert cache.get(KEY) is newer
        cache.restore(KEY, 1)
        assert cache.get(KEY) is newer

    def test_an_object_that_is_gone_takes_its_assumption_along(self) -> None:
        cache = _cache()
        cache.assume(KEY, 1, make_pv("pv-1", version=1), _claimed("default/data"))
        cache.remove(KEY)
        assert cache.get(KEY) is None
        cache.upsert(KEY, again := make_pv("pv-1", version=1))
        assert cache.get(KEY) is again

    def test_assumptions_pile_up_and_go_in_any_order(self) -> None:
        cache = _cache()
        for number, claim in ((1, "default/first"), (2, "default/second")):
            cache.assume(KEY, number, make_pv("pv-1", version=1), _claimed(claim))
        assert _claim_of(cache) == "second"
        cache.restore(KEY, 1)
        assert _claim_of(cache) == "second"
        cache.restore(KEY, 2)
        assert cache.get(KEY) is cache.stored(KEY)


class TestNodeTree:
    def test_zone_keys(self) -> None:
        assert NodeTree.zone_key(make_node()) == ""
        assert NodeTree.zone_key(make_node(zone="z")) == ":\x00:z"
        assert NodeTree.zone_key(make_node(zone="z", region="r")) == "r:\x00:z"
        beta = {"failure-domain.beta.kubernetes.io/zone": ""}
        assert NodeTree.zone_key(make_node(zone="z", labels=beta)) == ""

    def test_rounds(self) -> None:
        tree = NodeTree()
        for name, zone in (("a1", "a"), ("b1", "b"), ("a2", "a"), ("a3", "a")):
            tree.upsert(name, make_node(name, zone=zone))
        assert tree.decide() == ["a1", "b1", "a2", "a3"]
        tree.remove("b1")
        assert tree.decide() == ["a1", "a2", "a3"]
        tree.upsert("a1", make_node("a1", zone="b"))
        assert tree.order() == ["a1", "a2", "a3"]
        tree.remove("gone")
        assert tree.order() == ["a1", "a2", "a3"]
        tree.remove("a2")
        assert tree.order() == ["a3", "a1"]
