"""Assumed copies over stored objects, and nodes in order."""

from __future__ import annotations

import pytest

from tests.builders import make_node, make_pv
from volsched.engine.reference.state import AssumeCache, NodeTree
from volsched.errors import EngineError

KEY = ("", "pv-1")


def _cache(version: int = 1) -> AssumeCache:
    cache: AssumeCache = AssumeCache()
    cache.upsert(KEY, make_pv("pv-1", version=version))
    return cache


class TestAssumeCache:
    def test_the_assumed_copy_is_read_and_the_stored_one_kept(self) -> None:
        cache = _cache()
        copy = make_pv("pv-1", version=1, claim="default/data")
        cache.assume(KEY, 1, copy)
        assert cache.get(KEY) is copy
        assert cache.stored(KEY) is not copy
        assert list(cache.all()) == [copy]

    def test_unknown_or_outdated_objects_cannot_be_assumed(self) -> None:
        with pytest.raises(EngineError, match=r'"pv-2" cannot be assumed'):
            _cache().assume(("", "pv-2"), 1, make_pv("pv-2"))
        with pytest.raises(EngineError, match=r'^"pv-1" is out of sync \(stored: 2, assume: 1\)$'):
            _cache(2).assume(KEY, 1, make_pv("pv-1", version=1))

    def test_a_resync_keeps_and_another_version_drops(self) -> None:
        cache = _cache()
        copy = make_pv("pv-1", version=1)
        cache.assume(KEY, 1, copy)
        cache.upsert(KEY, make_pv("pv-1", version=1))
        assert cache.get(KEY) is copy
        newer = make_pv("pv-1", version=2)
        cache.upsert(KEY, newer)
        assert cache.get(KEY) is newer
        cache.restore(KEY, 1)
        assert cache.get(KEY) is newer

    def test_an_object_that_is_gone_takes_its_assumption_along(self) -> None:
        cache = _cache()
        cache.assume(KEY, 1, make_pv("pv-1", version=1))
        cache.remove(KEY)
        assert cache.get(KEY) is None
        cache.upsert(KEY, again := make_pv("pv-1", version=1))
        assert cache.get(KEY) is again

    def test_assumptions_pile_up_and_go_in_any_order(self) -> None:
        cache = _cache()
        first, second = make_pv("pv-1", version=1), make_pv("pv-1", version=1)
        cache.assume(KEY, 1, first)
        cache.assume(KEY, 2, second)
        assert cache.get(KEY) is second
        cache.restore(KEY, 1)
        assert cache.get(KEY) is second
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
        assert tree.order() == ["a1", "b1", "a2", "a3"]
        tree.remove("b1")
        tree.upsert("a1", make_node("a1", zone="b"))
        assert tree.order() == ["a1", "a2", "a3"]
        tree.remove("gone")
        assert tree.order() == ["a1", "a2", "a3"]
        tree.remove("a2")
        assert tree.order() == ["a3", "a1"]
