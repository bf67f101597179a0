"""The rows of spec/scheduling.md 5."""

from __future__ import annotations

import pytest

from tests.builders import make_pv, make_pvc
from volsched.api.edit import with_annotations, with_metadata
from volsched.cache import AssumeCache
from volsched.errors import ConflictError, NotFoundError


def cache(version: str = "5") -> AssumeCache:
    made: AssumeCache = AssumeCache("PersistentVolume")
    made.put(make_pv("pv", version=version))
    return made


def changed(version: str = "5", mark: str = "assumed"):
    return with_annotations(make_pv("pv", version=version), {"mark": mark})


def mark_of(pv) -> str | None:
    return (pv.metadata.annotations or {}).get("mark")


def test_readers_see_the_assumption_while_versions_agree() -> None:
    pvs = cache()
    pvs.assume(changed())
    assert mark_of(pvs.get("pv")) == "assumed"
    assert mark_of(pvs.get_stored("pv")) is None
    assert pvs.is_assumed("pv")


def test_a_second_assumption_replaces_the_first() -> None:
    pvs = cache()
    pvs.assume(changed(mark="one"))
    pvs.assume(changed(mark="two"))
    assert mark_of(pvs.get("pv")) == "two"


@pytest.mark.parametrize("version", ["6", "4", "x"])
def test_any_other_version_from_the_informer_beats_it(version: str) -> None:
    pvs = cache()
    pvs.assume(changed())
    pvs.put(make_pv("pv", version=version))
    assert mark_of(pvs.get("pv")) is None
    assert not pvs.is_assumed("pv")
    pvs.put(make_pv("pv", version="5"))
    assert mark_of(pvs.get("pv")) is None  # it does not come back


def test_a_resync_keeps_it() -> None:
    pvs = cache()
    pvs.assume(changed())
    pvs.put(make_pv("pv", version="5"))
    assert mark_of(pvs.get("pv")) == "assumed"


def test_a_deleted_object_is_not_found_even_if_assumed() -> None:
    pvs = cache()
    pvs.assume(changed())
    pvs.delete("pv")
    with pytest.raises(NotFoundError, match=r'^persistentvolumes "pv" not found$'):
        pvs.get("pv")
    pvs.put(make_pv("pv", version="5"))
    assert mark_of(pvs.get("pv")) is None


def test_assuming_another_version_is_refused() -> None:
    pvs = cache("7")
    with pytest.raises(ConflictError, match=r'^"pv" is out of sync \(stored: 7, assume: 5\)$'):
        pvs.assume(changed())


def test_assuming_what_is_not_there_is_refused() -> None:
    claims: AssumeCache = AssumeCache("PersistentVolumeClaim")
    with pytest.raises(NotFoundError, match=r'^persistentvolumeclaims "default/data" not found$'):
        claims.assume(make_pvc("data", version="1"))


def test_restore_compares_versions() -> None:
    pvs = cache()
    pvs.assume(changed())
    assert not pvs.restore(changed("6"))  # what the API answered to our write
    assert mark_of(pvs.get("pv")) == "assumed"
    assert pvs.restore(changed())
    assert mark_of(pvs.get("pv")) is None
    assert not pvs.restore(changed())


def test_the_class_index_is_that_of_the_stored_objects() -> None:
    pvs: AssumeCache = AssumeCache("PersistentVolume")
    pvs.put(make_pv("b", storage_class="fast", version="1"))
    pvs.put(make_pv("a", storage_class="fast", version="1"))
    pvs.put(make_pv("c", storage_class="slow", version="1"))
    pvs.assume(with_annotations(make_pv("a", storage_class="slow", version="1"), {"mark": "assumed"}))
    assert [(pv.metadata.name, mark_of(pv)) for pv in pvs.of_class("fast")] == [("a", "assumed"), ("b", None)]
    pvs.put(make_pv("b", storage_class="slow", version="2"))
    assert [pv.metadata.name for pv in pvs.of_class("slow")] == ["b", "c"]
    pvs.delete("c")
    pvs.delete("b")
    assert list(pvs.of_class("slow")) == []


def test_the_beta_annotation_is_the_class() -> None:
    pvs: AssumeCache = AssumeCache("PersistentVolume")
    pvs.put(with_annotations(make_pv("a", storage_class="fast", version="1"), {"volume.beta.kubernetes.io/storage-class": "old"}))
    assert [pv.metadata.name for pv in pvs.of_class("old")] == ["a"]


def test_objects_without_a_version_count_as_one_version() -> None:
    pvs: AssumeCache = AssumeCache("PersistentVolume")
    pvs.put(make_pv("pv"))
    pvs.assume(with_annotations(make_pv("pv"), {"mark": "assumed"}))
    assert mark_of(pvs.get("pv")) == "assumed"
    pvs.put(with_metadata(make_pv("pv"), resourceVersion="1"))
    assert mark_of(pvs.get("pv")) is None
