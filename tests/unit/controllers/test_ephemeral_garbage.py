"""Claims of generic ephemeral volumes, and their end by garbage collection."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from tests.builders import make_claim_spec, make_owner, make_pod, make_pv, make_pvc
from tests.unit.controllers.harness import World, same_end_whatever_happens
from volsched.api.edit import with_metadata
from volsched.controllers.decision_table import ANY
from volsched.controllers.ephemeral import Ephemeral
from volsched.controllers.garbage import DEPENDENT_TABLE, GarbageCollector


def world() -> World:
    made = World()
    made.add(Ephemeral)
    made.add(lambda: GarbageCollector(made.clock))
    return made


def scratch_pod(name: str = "web", **options: Any) -> Any:
    return make_pod(name, ephemeral={"scratch": make_claim_spec()}, **options)


def test_claim_is_made_from_the_template_and_owned_by_the_pod() -> None:
    made = world()
    pod = made.create(scratch_pod())
    made.settle()
    claim = made.claim("web-scratch")
    owner = claim.metadata.ownerReferences[0]
    assert (owner.apiVersion, owner.kind, owner.name, owner.uid) == ("v1", "Pod", "web", pod.metadata.uid)
    assert owner.controller is True and owner.blockOwnerDeletion is True
    assert claim.spec == make_claim_spec()


def test_claim_that_belongs_to_somebody_else_is_not_touched() -> None:
    made = world()
    made.create(make_pvc("web-scratch", uid="other"))
    made.create(scratch_pod())
    made.settle(seconds=1)
    event = made.events[0]
    text = "ephemeral volume scratch: PVC default/web-scratch was not created for pod default/web (pod is not owner)"
    assert (event.component, event.type, event.reason, event.message) == ("ephemeral_volume", "Warning", "FailedBinding", text)
    assert made.claim("web-scratch").metadata.uid == "other"
    made.delete("PersistentVolumeClaim", "web-scratch")
    made.settle(seconds=5)
    assert made.claim("web-scratch").metadata.ownerReferences is not None


def test_deleted_claim_is_made_again_and_deleting_pod_gets_none() -> None:
    made = world()
    made.create(scratch_pod(node="n1"))
    made.settle()
    made.delete("PersistentVolumeClaim", "web-scratch")
    made.settle()
    assert made.claim("web-scratch") is not None
    made.delete("Pod", "web")
    made.delete("PersistentVolumeClaim", "web-scratch")
    made.settle()
    assert made.claim("web-scratch") is None


def test_claim_follows_its_pod() -> None:
    made = world()
    made.create(scratch_pod())
    made.settle()
    made.delete("Pod", "web")
    made.settle()
    assert made.claim("web-scratch") is None
    assert made.writes[-1] == "kube-controller-manager delete PersistentVolumeClaim web-scratch"


def test_dependent_of_a_replaced_owner_is_deleted() -> None:
    made = world()
    made.create(make_pod("owner", uid="new"))
    made.create(make_pvc(owners=[make_owner("Pod", "owner", "old")]))
    made.settle()
    assert made.claim("data") is None


def test_dependent_with_a_living_owner_only_loses_the_other_reference() -> None:
    made = world()
    made.create(make_pod("alive", uid="a"))
    made.create(make_pvc(owners=[make_owner("Pod", "alive", "a", controller=False), make_owner("Pod", "dead", "d", controller=False)]))
    made.settle()
    assert [owner.name for owner in made.claim("data").metadata.ownerReferences] == ["alive"]


@pytest.mark.parametrize("kind", ["Widget", "Pod"])
def test_owner_that_cannot_be_looked_up_counts_as_existing(kind: str) -> None:
    """A kind unknown here; a namespaced owner of a cluster-scoped volume."""
    made = world()
    made.create(with_metadata(make_pv(), ownerReferences=[make_owner(kind, "x", "u")]))
    made.settle()
    assert made.volume("pv-1") is not None


def test_foreground_deletion_waits_for_blocking_dependents() -> None:
    made = world()
    made.create(make_pod("owner", uid="o", finalizers=["foregroundDeletion"]))
    blocking = make_owner("Pod", "owner", "o")
    blocking.blockOwnerDeletion = True
    made.create(make_pvc("held", owners=[blocking], finalizers=["held"]))
    made.create(make_pvc("free", owners=[make_owner("Pod", "owner", "o")]))
    made.settle()
    made.delete("Pod", "owner")
    made.settle()
    assert made.get("Pod", "owner") is not None and made.claim("free") is None
    made.edit(with_metadata(made.claim("held"), finalizers=None))
    made.settle()
    assert made.claim("held") is None
    assert made.get("Pod", "owner").metadata.finalizers is None


def test_orphans_are_left_without_the_reference() -> None:
    made = world()
    made.create(make_pod("owner", uid="o", finalizers=["orphan"]))
    made.create(make_pvc(owners=[make_owner("Pod", "owner", "o")]))
    made.settle()
    made.delete("Pod", "owner")
    made.settle()
    assert made.claim("data").metadata.ownerReferences is None
    assert made.get("Pod", "owner").metadata.finalizers is None


def test_each_combination_meets_exactly_one_row() -> None:
    for values in itertools.product((False, True), repeat=3):
        rows = [row for row, cells in DEPENDENT_TABLE.rows if all(c in (ANY, v) for c, v in zip(cells, values, strict=True))]
        assert len(rows) == 1, values


def play(made: World) -> None:
    made.create(scratch_pod("one"))
    made.create(scratch_pod("two"))
    made.settle(seconds=5)
    made.delete("Pod", "one")
    made.settle(seconds=5)


def test_same_end_with_every_write_interrupted() -> None:
    assert same_end_whatever_happens(play, world, ignore=lambda objects: objects) == 4 * 3
