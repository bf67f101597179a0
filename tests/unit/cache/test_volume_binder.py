# ruff: noqa: E501 - the table is read by column
"""Reserve, Unreserve, PreBind: the writes, and every row of the poll table of spec/scheduling.md 4.6."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.builders import make_csinode, make_node, make_pod, make_pv, make_pvc
from volsched.api.edit import with_annotations, with_metadata, with_spec
from volsched.cache.assume_cache import AssumeCache, object_key
from volsched.cache.volume_binder import PodVolumes, StaticClaim, VolumeBinder, bind_volume_to_claim
from volsched.engine.decision import Provisioning, StaticBinding, VolumePlan
from volsched.errors import ConflictError, NotFoundError, ReconcileError
from volsched.ports import Pause, Update
from volsched.rules.volumes import ANN_BIND_COMPLETED, ANN_BOUND_BY_CONTROLLER, ANN_SELECTED_NODE

POD = make_pod("web", claims=["data", "new"])
PLAN = VolumePlan((StaticBinding("default/data", "pv"),), (Provisioning("default/new", None),))


class Room:
    """The binder with caches that a test fills."""

    def __init__(self) -> None:
        self.volumes: AssumeCache[Any] = AssumeCache("PersistentVolume")
        self.claims: AssumeCache[Any] = AssumeCache("PersistentVolumeClaim")
        self.others: dict[tuple[str, str], Any] = {}
        self.pushed: list[tuple[str, str]] = []
        self.binder = VolumeBinder(
            self.volumes,
            self.claims,
            lookup=lambda kind, namespace, name: self.others.get((kind, f"{namespace}/{name}" if namespace else name)),
            changed=lambda kind, key: self.pushed.append((kind, key)),
        )
        self.node(make_node("n1", zone="a"))
        self.others["Pod", "default/web"] = POD
        self.volumes.put(make_pv("pv", zone="a", version=10))
        self.claims.put(make_pvc("data", uid="uid-data", version=11))
        self.claims.put(make_pvc("new", uid="uid-new", version=12))

    def node(self, node: Any) -> None:
        self.others["Node", node.metadata.name] = node


def test_reserve_assumes_what_will_be_written() -> None:
    room = Room()
    volumes = room.binder.reserve(POD, "n1", PLAN)
    assert not volumes.all_bound
    pv = room.volumes.get("pv")
    reference = pv.spec.claimRef
    assert (reference.apiVersion, reference.kind, reference.namespace, reference.name, reference.uid, reference.resourceVersion) == (
        "v1",
        "PersistentVolumeClaim",
        "default",
        "data",
        "uid-data",
        "11",
    )
    assert pv.metadata.annotations[ANN_BOUND_BY_CONTROLLER] == "yes"
    assert room.claims.get("default/new").metadata.annotations[ANN_SELECTED_NODE] == "n1"
    assert room.pushed == [("PersistentVolume", "pv"), ("PersistentVolumeClaim", "default/new")]
    assert [update.object for update in room.binder.writes(volumes)] == [pv, room.claims.get("default/new")]
    room.binder.unreserve(volumes)
    room.binder.unreserve(volumes)
    assert room.volumes.get("pv").spec.claimRef is None
    assert not room.claims.is_assumed("default/new")
    assert room.pushed[2:] == [("PersistentVolume", "pv"), ("PersistentVolumeClaim", "default/new")]


def test_a_pod_whose_claims_are_all_bound_has_nothing_to_do() -> None:
    room = Room()
    for name in ("data", "new"):
        room.claims.put(make_pvc(name, bound_to=f"pv-{name}", version=20))
    volumes = room.binder.reserve(POD, "n1", PLAN)
    assert volumes.all_bound
    assert room.pushed == []
    assert room.binder.writes(volumes) == ()
    assert list(room.binder.bind(POD, volumes)) == []


def test_a_reserve_that_fails_leaves_nothing_assumed() -> None:
    room = Room()
    plan = VolumePlan((StaticBinding("default/data", "pv"), StaticBinding("default/data", "gone")), ())
    with pytest.raises(NotFoundError):
        room.binder.reserve(POD, "n1", plan)
    assert not room.volumes.is_assumed("pv")


def test_the_copy_of_a_volume_that_the_user_reserved() -> None:
    claim = make_pvc("data", uid="uid-data", version=11)
    pv, dirty = bind_volume_to_claim(make_pv("pv", claim="data", version=10), claim)
    assert dirty  # the uid is filled in
    assert ANN_BOUND_BY_CONTROLLER not in (pv.metadata.annotations or {})
    same, dirty = bind_volume_to_claim(pv, claim)
    assert not dirty
    assert same is pv


def drive(room: Room, volumes: PodVolumes, answers: list[Any]) -> Any:
    """Play the outside: answers to the intents in turn. Returns the last intent asked for, or "done"."""
    steps = room.binder.bind(POD, volumes)
    intent = next(steps)
    for answer in answers:
        try:
            intent = steps.throw(answer) if isinstance(answer, Exception) else steps.send(answer)
        except StopIteration:
            return "done"
    return intent


def test_volumes_are_written_before_claims_and_then_polled() -> None:
    room = Room()
    volumes = room.binder.reserve(POD, "n1", PLAN)
    steps = room.binder.bind(POD, volumes)
    first = next(steps)
    assert isinstance(first, Update)
    assert first.object.metadata.name == "pv"
    second = steps.send(with_metadata(first.object, resourceVersion="20"))
    assert isinstance(second, Update)
    assert second.object.metadata.name == "new"
    assert steps.send(with_metadata(second.object, resourceVersion="21")) == Pause(1.0)
    # the volume's record is the API's answer, the claim's stays the assumed copy
    assert volumes.static[0].volume.metadata.resourceVersion == "20"
    assert volumes.dynamic[0].metadata.resourceVersion == "12"
    room.binder.unreserve(volumes)
    assert room.volumes.is_assumed("pv")
    assert not room.claims.is_assumed("default/new")


def test_a_refused_write_restores_from_there_on() -> None:
    room = Room()
    room.volumes.put(make_pv("pv2", zone="a", version=13))
    plan = VolumePlan((StaticBinding("default/data", "pv"), StaticBinding("default/data", "pv2")), PLAN.provision)
    volumes = room.binder.reserve(POD, "n1", plan)
    written = with_metadata(volumes.static[0].volume, resourceVersion="20")
    with pytest.raises(ReconcileError, match=r"^binding volumes: no luck$"):
        drive(room, volumes, [written, ConflictError("no luck")])
    assert room.volumes.is_assumed("pv")  # written: the event will come
    assert not room.volumes.is_assumed("pv2")
    assert not room.claims.is_assumed("default/new")


def test_the_deadline() -> None:
    room = Room()
    volumes = room.binder.reserve(POD, "n1", PLAN)
    steps = room.binder.bind(POD, volumes, timeout_s=3)
    intent = next(steps)
    waited = 0.0
    answer: Any = None
    with pytest.raises(ReconcileError, match=r"^binding volumes: context deadline exceeded$"):
        while True:
            if isinstance(intent, Update):
                answer = with_metadata(intent.object, resourceVersion="50")
            else:
                waited += intent.seconds
                answer = None
            intent = steps.send(answer)
    assert waited == 3


def test_an_interrupted_wait() -> None:
    room = Room()
    volumes = room.binder.reserve(POD, "n1", PLAN)
    steps = room.binder.bind(POD, volumes, interrupted=lambda: "preempted by Somebody")
    update = next(steps)
    steps.send(with_metadata(update.object, resourceVersion="20"))  # type: ignore[union-attr]
    assert steps.send(with_metadata(volumes.dynamic[0], resourceVersion="21")) == Pause(1.0)
    with pytest.raises(ReconcileError, match=r"^preempted by Somebody$"):
        steps.send(None)


# The poll table. Everything is bound and in order at first; a row changes one thing. ---------------------------------------------------


def settled() -> tuple[Room, list[StaticClaim], list[Any]]:
    room = Room()
    pv = make_pv("pv", zone="a", claim="data", claim_uid="uid-data", version=20)
    new = with_annotations(make_pvc("new", uid="uid-new", bound_to="made", version=31), {ANN_SELECTED_NODE: "n1"})
    data = make_pvc("data", uid="uid-data", bound_to="pv", version=30)
    room.volumes.put(pv)
    room.volumes.put(make_pv("made", zone="a", claim="new", claim_uid="uid-new", version=32))
    room.claims.put(data)
    room.claims.put(new)
    return room, [StaticClaim(with_metadata(pv, resourceVersion="20"), data)], [with_metadata(new, resourceVersion="21")]


def change(cache: str, key: str, how: Callable[[Any], Any]) -> Callable[[Room], None]:
    def apply(room: Room) -> None:
        store = getattr(room, cache)
        store.put(how(store.get_stored(key)))

    return apply


def remove(cache: str, key: str) -> Callable[[Room], None]:
    return lambda room: getattr(room, cache).delete(key)


def forget(kind: str, key: str) -> Callable[[Room], None]:
    return lambda room: room.others.pop((kind, key)) and None


def not_bound(obj: Any) -> Any:
    return with_annotations(obj, {ANN_BIND_COMPLETED: None})


MISMATCH = 'pv "{}" node affinity doesn\'t match node "n1": no matching NodeSelectorTerms'
WAIT, OK = "wait", "success"

# fmt: off
ROWS = [
    # situation                                change                                                                      outcome
    ("all done",                               lambda room: None,                                                          OK),
    ("node not in lister",                     forget("Node", "n1"),                                                       'failed to get node "n1": node "n1" not found'),
    ("CSINode there",                          lambda room: room.others.update({("CSINode", "n1"): make_csinode("n1")}),   OK),
    ("pod gone",                               forget("Pod", "default/web"),                                               'pod does not exist any more: pod "web" not found'),
    ("static: volume gone",                    remove("volumes", "pv"),                                                    'failed to check binding: persistentvolumes "pv" not found'),
    ("static: claim gone",                     remove("claims", "default/data"),                                           'failed to check binding: persistentvolumeclaims "default/data" not found'),
    ("static: cached volume is older",         change("volumes", "pv", lambda o: with_metadata(o, resourceVersion="9")),   WAIT),
    ("static: node affinity mismatch",         change("volumes", "pv", lambda o: make_pv("pv", zone="b", claim="data", claim_uid="uid-data", version=33)), MISMATCH.format("pv")),
    ("static: claimRef gone",                  change("volumes", "pv", lambda o: with_spec(o, claimRef=None)),             'ClaimRef got reset for pv "pv"'),
    ("static: claimRef without uid",           change("volumes", "pv", lambda o: make_pv("pv", zone="a", claim="data", version=33)), 'ClaimRef got reset for pv "pv"'),
    ("static: claim not fully bound",          change("claims", "default/data", not_bound),                                WAIT),
    ("static: bound to another volume",        change("claims", "default/data", lambda o: with_spec(o, volumeName="x")),   OK),
    ("dynamic: claim gone",                    remove("claims", "default/new"),                                            'failed to check provisioning pvc: persistentvolumeclaims "default/new" not found'),
    ("dynamic: cached claim is older",         change("claims", "default/new", lambda o: with_metadata(o, resourceVersion="9")), WAIT),
    ("dynamic: no annotations left",           change("claims", "default/new", lambda o: with_metadata(o, annotations=None)), 'selectedNode annotation reset for PVC "new"'),
    ("dynamic: another node selected",         change("claims", "default/new", lambda o: with_annotations(o, {ANN_SELECTED_NODE: "n2"})), 'provisioning failed for PVC "new"'),
    ("dynamic: selected node removed",         change("claims", "default/new", lambda o: with_annotations(o, {ANN_SELECTED_NODE: None})), 'provisioning failed for PVC "new"'),
    ("dynamic: volume not seen yet",           remove("volumes", "made"),                                                  WAIT),
    ("dynamic: volume elsewhere",              change("volumes", "made", lambda o: make_pv("made", zone="b", version=33)), MISMATCH.format("made")),
    ("dynamic: not fully bound",               change("claims", "default/new", not_bound),                                 WAIT),
    ("dynamic: no volume named yet",           change("claims", "default/new", lambda o: with_spec(o, volumeName=None)),   WAIT),
]
# fmt: on


@pytest.mark.parametrize(("situation", "spoil", "outcome"), ROWS, ids=[row[0] for row in ROWS])
def test_poll(situation: str, spoil: Callable[[Room], None], outcome: str) -> None:
    room, static, dynamic = settled()
    spoil(room)
    if outcome in (WAIT, OK):
        assert room.binder.check(POD, "n1", static, dynamic) is (outcome == OK)
        return
    with pytest.raises(ReconcileError) as caught:
        room.binder.check(POD, "n1", static, dynamic)
    assert str(caught.value) == f"binding volumes: {outcome}"


def test_poll_translates_in_tree_volumes() -> None:
    from lightkube.models.core_v1 import AWSElasticBlockStoreVolumeSource

    from volsched.rules.translation import ANN_MIGRATED_PLUGINS, AWS_EBS

    room, static, _ = settled()
    ebs = with_spec(
        make_pv("pv", zone="a", claim="data", claim_uid="uid-data", version=33),
        csi=None,
        awsElasticBlockStore=AWSElasticBlockStoreVolumeSource(volumeID="aws://a/not-an-id"),
    )
    room.volumes.put(ebs)
    assert room.binder.check(POD, "n1", static, [])  # the node has not migrated
    room.others["CSINode", "n1"] = with_annotations(make_csinode("n1"), {ANN_MIGRATED_PLUGINS: AWS_EBS})
    with pytest.raises(ReconcileError, match=r"^binding volumes: failed to translate pv to csi: "):
        room.binder.check(POD, "n1", static, [])
    good = AWSElasticBlockStoreVolumeSource(volumeID="aws://a/vol-1")
    room.volumes.put(with_metadata(with_spec(ebs, awsElasticBlockStore=good), resourceVersion="34"))
    with pytest.raises(ReconcileError, match="node affinity doesn't match"):
        room.binder.check(POD, "n1", static, [])  # the driver's own zone label is asked for now
    room.node(make_node("n1", labels={"topology.ebs.csi.aws.com/zone": "a"}))
    assert room.binder.check(POD, "n1", static, [])


def test_static_bindings_are_checked_first() -> None:
    room, static, dynamic = settled()
    change("claims", "default/data", not_bound)(room)
    remove("claims", "default/new")(room)
    assert not room.binder.check(POD, "n1", static, dynamic)


def test_keys() -> None:
    assert object_key(make_pvc("data")) == "default/data"
    assert object_key(make_pv("pv")) == "pv"
