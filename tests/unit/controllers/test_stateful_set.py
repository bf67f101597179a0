"""StatefulSets: pods and claims in order, down again, retention of claims, updates, and every write interrupted."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from typing import Any

import pytest
from lightkube.models.apps_v1 import (
    RollingUpdateStatefulSetStrategy,
    StatefulSet,
    StatefulSetOrdinals,
    StatefulSetPersistentVolumeClaimRetentionPolicy,
    StatefulSetSpec,
    StatefulSetStatus,
    StatefulSetUpdateStrategy,
)
from lightkube.models.core_v1 import Pod, PodTemplateSpec
from lightkube.models.meta_v1 import LabelSelector, ObjectMeta

from tests.builders import make_owner, make_pod, make_pvc
from tests.unit.controllers.harness import World, lagging, same_end_whatever_happens
from volsched.api.defaults import with_defaults
from volsched.api.edit import is_deleting, labels_of, replace, with_metadata, with_spec
from volsched.api.kinds import meta
from volsched.api.watch import Change, WatchEvent
from volsched.controllers.garbage import GarbageCollector
from volsched.controllers.kubelet_instant import InstantKubelet
from volsched.controllers.protection import ClaimProtection
from volsched.controllers.stateful_set import StatefulSetController, max_unavailable
from volsched.controllers.stateful_set_pods import POD_INDEX_LABEL, POD_NAME_LABEL, REPLICA, REVISION_LABEL, revision_of
from volsched.errors import ForbiddenError
from volsched.ports import DONE, Done, QueueSpec, Requeue, Steps, Update, WorkItem

LABELS = {"app": "web"}


class Placer:
    """Stands in for the scheduler: every pod but those named goes to node n1."""

    name = "placer"
    component = "placer"
    kinds = frozenset({"Pod"})
    queues: Mapping[str, QueueSpec] = {"pods": QueueSpec()}
    resync_s: float | None = None

    def __init__(self, skip: Iterable[str] = ()) -> None:
        self._skip, self._pods = set(skip), dict[str, Pod]()

    def start(self) -> Steps[None]:
        yield from ()

    def observe(self, event: WatchEvent) -> Iterable[WorkItem]:
        self._pods[event.key.name] = event.object
        waits = event.change is not Change.DELETED and not event.object.spec.nodeName and event.key.name not in self._skip
        return [WorkItem("pods", event.key.name)] if waits else ()

    def work(self, item: WorkItem) -> Steps[Done | Requeue]:
        pod = self._pods[item.key]
        if not pod.spec.nodeName and not is_deleting(pod):
            yield Update(with_spec(pod, nodeName="n1"))
        return DONE

    def resync(self) -> Iterable[WorkItem]:
        return ()

    def wake_at_ns(self) -> int | None:
        return None

    def wake(self, now_ns: int) -> Iterable[WorkItem]:
        return ()


def make_set(
    name: str = "web",
    *,
    replicas: int = 3,
    parallel: bool = False,
    claims: Iterable[str] = ("data",),
    retain: tuple[str, str] | None = None,
    **spec: Any,
) -> Any:
    """A StatefulSet with one claim per name. retain: (whenDeleted, whenScaled)."""
    policy = StatefulSetPersistentVolumeClaimRetentionPolicy(*retain) if retain else None
    made = StatefulSetSpec(
        selector=LabelSelector(matchLabels=LABELS),
        serviceName=name,
        template=PodTemplateSpec(metadata=ObjectMeta(labels=LABELS), spec=make_pod().spec),
        replicas=replicas,
        podManagementPolicy="Parallel" if parallel else None,
        persistentVolumeClaimRetentionPolicy=policy,
        volumeClaimTemplates=[with_metadata(make_pvc(claim), namespace=None, uid=None) for claim in claims],
    )
    return with_defaults(
        StatefulSet(
            apiVersion="apps/v1", kind="StatefulSet", metadata=ObjectMeta(name=name, namespace="default"), spec=replace(made, **spec)
        )
    )


def make_world(*, skip: Iterable[str] = (), garbage: bool = True) -> World:
    world = World()
    world.add(lambda: StatefulSetController(world.clock))
    world.add(lambda: Placer(skip))
    world.add(lambda: InstantKubelet(world.clock))
    if garbage:
        world.add(lambda: GarbageCollector(world.clock))
        world.add(lambda: ClaimProtection(world.clock))
    return world


def names(world: World, kind: str) -> list[str]:
    return sorted(key.name for key in world.objects if key.kind == kind)


def writes(world: World, *, kind: str = "Pod", verb: str = "create") -> list[str]:
    prefix = f"kube-controller-manager {verb} {kind} "
    return [line.removeprefix(prefix) for line in world.writes if line.startswith(prefix)]


def owner_kinds(world: World, claim: str) -> list[str]:
    return [reference.kind for reference in meta(world.claim(claim)).ownerReferences or ()]


def scale(world: World, replicas: int) -> None:
    world.edit(with_spec(world.get("StatefulSet", "web"), replicas=replicas))


def change_template(world: World, text: str = "new") -> None:
    owner = world.get("StatefulSet", "web")
    template = owner.spec.template
    world.edit(with_spec(owner, template=replace(template, metadata=replace(template.metadata, annotations={"version": text}))))


# the table


def test_every_combination_of_the_table_meets_a_row() -> None:
    for facts in REPLICA.combinations():
        REPLICA.decide(**facts)
    assert not REPLICA.unreachable()


# up


def test_pods_and_claims_are_made_in_order_each_after_the_one_before_is_ready() -> None:
    world = make_world()
    world.create(make_set(claims=("data", "logs")))
    world.settle()
    ours = [line.split(" ", 1)[1] for line in world.writes if line.startswith("kube-controller-manager create")]
    assert ours == [
        f"create {what}"
        for n in range(3)
        for what in (f"PersistentVolumeClaim data-web-{n}", f"PersistentVolumeClaim logs-web-{n}", f"Pod web-{n}")
    ]
    ready = [line for line in world.writes if "Pod web-" in line and ("create" in line or "status" in line)]
    assert [line.rpartition(" ")[2] for line in ready if "create" in line] == ["web-0", "web-1", "web-2"]
    first, second = (
        world.writes.index("fake-kubelet update Pod/status web-0"),
        world.writes.index("kube-controller-manager create Pod web-1"),
    )
    assert first < second
    status = world.get("StatefulSet", "web").status
    counts = (status.replicas, status.readyReplicas, status.availableReplicas, status.currentReplicas, status.updatedReplicas)
    assert counts == (3, 3, 3, 3, 3) and status.currentRevision == status.updateRevision
    assert world.messages("SuccessfulCreate")[:3] == [
        "create Claim data-web-0 Pod web-0 in StatefulSet web success",
        "create Claim logs-web-0 Pod web-0 in StatefulSet web success",
        "create Pod web-0 in StatefulSet web successful",
    ]
    assert {event.component for event in world.events} == {"statefulset-controller"}


def test_a_pod_is_made_from_the_template_and_mounts_the_claims_of_its_ordinal() -> None:
    world = make_world(garbage=False)
    owner = world.create(make_set(replicas=1, ordinals=StatefulSetOrdinals(start=5)))
    world.settle()
    pod = world.get("Pod", "web-5")
    revision = revision_of(owner, changed=False)
    assert labels_of(pod) == {**LABELS, POD_NAME_LABEL: "web-5", POD_INDEX_LABEL: "5", REVISION_LABEL: revision}
    (reference,) = pod.metadata.ownerReferences
    assert (reference.kind, reference.uid, reference.controller, reference.blockOwnerDeletion) == (
        "StatefulSet",
        owner.metadata.uid,
        True,
        True,
    )
    assert (pod.spec.hostname, pod.spec.subdomain) == ("web-5", "web")
    assert [(volume.name, volume.persistentVolumeClaim.claimName) for volume in pod.spec.volumes] == [("data", "data-web-5")]
    claim = world.claim("data-web-5")
    assert labels_of(claim) == LABELS and claim.metadata.ownerReferences is None
    assert claim.spec == owner.spec.volumeClaimTemplates[0].spec


def test_a_pod_that_does_not_get_ready_holds_the_others_back_unless_the_set_is_parallel() -> None:
    for parallel, wanted in ((False, ["web-0", "web-1"]), (True, ["web-0", "web-1", "web-2"])):
        world = make_world(skip=["web-1"])
        world.create(make_set(parallel=parallel))
        world.settle(seconds=60)
        assert names(world, "Pod") == wanted


def test_a_pod_counts_after_min_ready_seconds() -> None:
    world = make_world()
    world.create(make_set(replicas=2, minReadySeconds=10))
    world.settle()
    assert names(world, "Pod") == ["web-0"]
    status = world.get("StatefulSet", "web").status
    assert (status.readyReplicas, status.availableReplicas) == (1, 0)
    world.settle(seconds=9)
    assert names(world, "Pod") == ["web-0"]
    world.settle(seconds=12)
    assert names(world, "Pod") == ["web-0", "web-1"] and world.get("StatefulSet", "web").status.availableReplicas == 2


def test_a_pod_that_has_ended_is_made_anew_on_the_same_claim() -> None:
    world = make_world()
    world.create(make_set(replicas=1))
    world.settle()
    pod = world.get("Pod", "web-0")
    world.edit(replace(pod, status=replace(pod.status, phase="Failed")), subresource="status")
    world.settle()
    assert world.get("Pod", "web-0").metadata.uid != pod.metadata.uid
    assert len(writes(world, kind="PersistentVolumeClaim")) == 1
    assert world.messages("SuccessfulDelete") == ["delete Pod web-0 in StatefulSet web successful"]


def test_a_pending_pod_gets_a_claim_that_was_deleted_made_anew() -> None:
    world = make_world(skip=["web-0"])
    world.create(make_set(replicas=1))
    world.settle()
    before = world.claim("data-web-0").metadata.uid
    world.delete("PersistentVolumeClaim", "data-web-0")
    world.settle(seconds=5)
    assert world.claim("data-web-0").metadata.uid != before


def test_a_pod_is_not_made_while_its_claim_is_being_deleted() -> None:
    world = make_world()
    world.create(make_pvc("data-web-0", finalizers=["example.com/held"]))
    world.delete("PersistentVolumeClaim", "data-web-0")
    world.create(make_set(replicas=1))
    world.settle(seconds=5)
    assert names(world, "Pod") == []
    assert world.messages("FailedCreate") == ["create Pod web-0 in StatefulSet web failed error: pvc data-web-0 is being deleted"]
    world.edit(with_metadata(world.claim("data-web-0"), finalizers=None))
    world.settle(seconds=1)
    assert names(world, "Pod") == ["web-0"] and not is_deleting(world.claim("data-web-0"))


def test_a_refused_claim_is_told_and_holds_the_pod_back() -> None:
    world = make_world(garbage=False)
    world.fail_at = 1
    world.failure = lambda: ForbiddenError("exceeded quota")
    world.create(make_set(replicas=1))
    world.settle()
    assert world.messages("FailedCreate") == [
        "create Claim data-web-0 for Pod web-0 in StatefulSet web failed error: exceeded quota",
        "create Pod web-0 in StatefulSet web failed error: failed to create PVC data-web-0: exceeded quota",
    ]
    world.settle(seconds=1)
    assert names(world, "Pod") == ["web-0"]


def test_an_orphan_of_the_name_is_adopted_and_a_stranger_is_not() -> None:
    world = make_world()
    owner = with_metadata(make_set(replicas=1), uid="set-uid")
    world.create(make_pod("web-0", labels={**LABELS, REVISION_LABEL: revision_of(owner, changed=False)}, uid="orphan"))
    world.create(owner)
    world.settle()
    assert world.get("Pod", "web-0").metadata.uid == "orphan" and meta(world.get("Pod", "web-0")).ownerReferences[0].uid == "set-uid"

    world = make_world(garbage=False)
    world.create(make_pod("web-0", labels=LABELS, owners=[make_owner("Job", "other", "other-uid")]))
    world.create(make_set(replicas=1))
    world.settle(seconds=1)
    assert meta(world.get("Pod", "web-0")).ownerReferences[0].uid == "other-uid"


# down


def test_pods_are_scaled_down_from_the_top_one_at_a_time() -> None:
    world = make_world()
    world.create(make_set())
    world.settle()
    scale(world, 1)
    world.settle()
    assert names(world, "Pod") == ["web-0"]
    assert writes(world, verb="delete") == ["web-2", "web-1"]
    order = [line for line in world.writes if " delete Pod " in line]
    gone = order.index("fake-kubelet delete Pod web-2")
    assert gone < order.index("kube-controller-manager delete Pod web-1")
    assert names(world, "PersistentVolumeClaim") == ["data-web-0", "data-web-1", "data-web-2"]
    scale(world, 2)
    world.settle()
    assert len(writes(world, kind="PersistentVolumeClaim")) == 3  # the old claim is used again


def test_a_pod_that_is_down_is_not_scaled_away_before_one_below_it_that_is_down() -> None:
    world = make_world(skip=["web-1", "web-3"])
    world.create(make_set(replicas=4, parallel=True))
    world.settle()
    assert names(world, "Pod") == ["web-0", "web-1", "web-2", "web-3"]
    with_order = with_spec(world.get("StatefulSet", "web"), podManagementPolicy="OrderedReady", replicas=1)
    world.edit(with_order)
    world.settle(seconds=5)
    assert writes(world, verb="delete") == []  # web-3 is down and so is web-1
    world.delete("Pod", "web-1")
    world.settle(seconds=5)
    assert names(world, "Pod") == ["web-0"]


@pytest.mark.parametrize("when_deleted", ["Retain", "Delete"])
@pytest.mark.parametrize("when_scaled", ["Retain", "Delete"])
def test_claims_follow_the_retention_policy(when_deleted: str, when_scaled: str) -> None:
    world = make_world()
    world.create(make_set(replicas=2, retain=(when_deleted, when_scaled)))
    world.settle()
    assert owner_kinds(world, "data-web-0") == (["StatefulSet"] if when_deleted == "Delete" else [])
    scale(world, 1)
    world.settle()
    kept = ["data-web-0"] if when_scaled == "Delete" else ["data-web-0", "data-web-1"]
    assert names(world, "PersistentVolumeClaim") == kept
    scale(world, 2)
    world.settle()
    assert names(world, "Pod") == ["web-0", "web-1"] and owner_kinds(world, "data-web-1") == owner_kinds(world, "data-web-0")
    world.delete("StatefulSet", "web")
    world.settle()
    assert names(world, "Pod") == []
    assert names(world, "PersistentVolumeClaim") == ([] if when_deleted == "Delete" else ["data-web-0", "data-web-1"])


def test_a_claim_that_still_belongs_to_the_pod_before_is_waited_for() -> None:
    world = make_world()
    world.create(make_set(replicas=2, retain=("Retain", "Delete")))
    world.settle()
    world.edit(with_metadata(world.claim("data-web-1"), finalizers=[*world.claim("data-web-1").metadata.finalizers, "example.com/held"]))
    scale(world, 1)
    world.settle()
    assert is_deleting(world.claim("data-web-1"))
    scale(world, 2)
    world.settle(seconds=5)
    assert names(world, "Pod") == ["web-0"] and not world.messages("FailedCreate")
    world.edit(with_metadata(world.claim("data-web-1"), finalizers=None))
    world.settle()
    assert names(world, "Pod") == ["web-0", "web-1"] and owner_kinds(world, "data-web-1") == []


def test_a_scale_down_that_is_taken_back_takes_the_owners_back() -> None:
    world = make_world(garbage=False)
    world.create(make_set(replicas=2, retain=("Delete", "Delete"), parallel=True))
    world.settle()
    claim = world.claim("data-web-1")
    pod = world.get("Pod", "web-1")
    world.edit(with_metadata(claim, ownerReferences=[make_owner("Pod", "web-1", pod.metadata.uid)]))
    world.edit(with_metadata(pod, labels={**labels_of(pod), "touched": "yes"}))
    world.settle()
    assert owner_kinds(world, "data-web-1") == ["StatefulSet"]


def test_owners_of_others_stay_and_a_claim_that_others_control_is_left() -> None:
    for controls, wanted in ((False, ["Job", "StatefulSet"]), (True, ["Job"])):
        world = make_world(garbage=False)
        world.create(make_pvc("data-web-0", owners=[make_owner("Job", "other", "other-uid", controller=controls)]))
        world.create(make_set(replicas=1, retain=("Delete", "Retain")))
        world.settle()
        assert owner_kinds(world, "data-web-0") == wanted


# updates


def test_a_changed_template_rolls_from_the_top_one_at_a_time() -> None:
    world = make_world()
    world.create(make_set())
    world.settle()
    before = world.get("StatefulSet", "web").status
    change_template(world)
    world.settle()
    assert writes(world, verb="delete") == ["web-2", "web-1", "web-0"]
    after = world.get("StatefulSet", "web").status
    assert after.currentRevision == after.updateRevision != before.updateRevision and after.updatedReplicas == 3
    assert {labels_of(world.get("Pod", f"web-{n}"))[REVISION_LABEL] for n in range(3)} == {after.updateRevision}
    assert len(writes(world, kind="PersistentVolumeClaim")) == 3


def test_a_partition_keeps_pods_below_it_and_on_delete_keeps_all() -> None:
    rolling = StatefulSetUpdateStrategy(type="RollingUpdate", rollingUpdate=RollingUpdateStatefulSetStrategy(partition=2))
    for strategy, wanted in ((rolling, ["web-2"]), (StatefulSetUpdateStrategy(type="OnDelete"), [])):
        world = make_world()
        world.create(make_set(updateStrategy=strategy))
        world.settle()
        old = world.get("StatefulSet", "web").status.currentRevision
        change_template(world)
        world.settle()
        assert writes(world, verb="delete") == wanted
        status = world.get("StatefulSet", "web").status
        assert status.currentRevision == old != status.updateRevision
        assert (status.currentReplicas, status.updatedReplicas) == (3 - len(wanted), len(wanted))


def test_an_update_waits_for_a_pod_that_does_not_get_ready() -> None:
    world = make_world(skip=["web-2"])
    world.create(make_set(parallel=True))
    world.settle()
    change_template(world)
    world.settle(seconds=60)
    assert writes(world, verb="delete") == ["web-2"]  # the one that is down itself is replaced


@pytest.mark.parametrize(("given", "wanted"), [(None, 1), (0, 1), (2, 2), ("34%", 3), ("5%", 1), ("100%", 10)])
def test_how_many_may_be_down(given: Any, wanted: int) -> None:
    rolling = RollingUpdateStatefulSetStrategy(maxUnavailable=given, partition=0)
    owner = make_set(replicas=10, updateStrategy=StatefulSetUpdateStrategy(type="RollingUpdate", rollingUpdate=rolling))
    assert max_unavailable(owner) == wanted


def test_several_may_be_down_at_once() -> None:
    rolling = RollingUpdateStatefulSetStrategy(maxUnavailable=2, partition=0)
    world = make_world()
    world.create(make_set(replicas=4, parallel=True, updateStrategy=StatefulSetUpdateStrategy(type="RollingUpdate", rollingUpdate=rolling)))
    world.settle()
    world.lag = True
    change_template(world)
    world.settle()
    assert writes(world, verb="delete")[:2] == ["web-3", "web-2"]
    assert names(world, "Pod") == [f"web-{n}" for n in range(4)]


def test_pods_of_a_dump_are_not_made_anew_because_their_revision_is_not_ours() -> None:
    world = make_world()
    owner = with_metadata(make_set(replicas=1), uid="set-uid")
    foreign = "web-7d9c5b6f4"
    reference = make_owner("StatefulSet", "web", "set-uid", api_version="apps/v1")
    world.create(make_pod("web-0", labels={**LABELS, REVISION_LABEL: foreign}, uid="old", owners=[reference]))
    world.create(replace(owner, status=StatefulSetStatus(replicas=1, currentRevision=foreign, updateRevision=foreign)))
    world.settle()
    assert world.get("Pod", "web-0").metadata.uid == "old" and world.get("StatefulSet", "web").status.updateRevision == foreign
    world.restart()
    world.settle()
    assert world.get("Pod", "web-0").metadata.uid == "old"
    change_template(world)
    world.settle()
    assert world.get("Pod", "web-0").metadata.uid != "old" and world.get("StatefulSet", "web").status.updateRevision != foreign


def test_a_set_that_is_being_deleted_makes_nothing() -> None:
    world = make_world(garbage=False)
    world.create(with_metadata(make_set(), finalizers=["foregroundDeletion"]))
    world.delete("StatefulSet", "web")
    world.settle(seconds=5)
    assert names(world, "Pod") == [] and names(world, "PersistentVolumeClaim") == []
    assert world.get("StatefulSet", "web").status.replicas == 0


# whatever happens


def without_claims_history(summary: dict[str, Any]) -> Any:
    """What has to be the same: without uids, which tell how often something was made."""

    def strip(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: strip(item) for name, item in value.items() if name not in ("uid", "ownerReferences")} | {
                "owners": sorted(f"{entry['kind']} {entry['name']}" for entry in value.get("ownerReferences") or ())
            }
        return [strip(item) for item in value] if isinstance(value, list) else value

    return strip(summary)


def play(world: World) -> None:
    world.create(make_set(replicas=2, retain=("Retain", "Delete")))
    world.settle(seconds=30)
    change_template(world)
    world.settle(seconds=30)
    scale(world, 1)
    world.settle(seconds=30)
    scale(world, 2)
    world.settle(seconds=30)


def test_interruptions_at_every_write_end_alike() -> None:
    assert same_end_whatever_happens(play, make_world, ignore=without_claims_history) > 100


def test_late_news_do_no_harm() -> None:
    calm, late = make_world(), make_world()
    play(calm)
    with lagging(late):
        play(late)
    assert without_claims_history(calm.summary()) == without_claims_history(late.summary())


def test_never_two_pods_of_one_ordinal_and_no_pod_without_its_claims() -> None:
    for parallel, number in itertools.product((False, True), range(1, 12)):
        world = make_world()
        world.crash_at = number
        world.create(make_set(parallel=parallel))
        for _ in range(200):
            world.settle(rounds=5_000)
            for key, pod in world.objects.items():
                if key.kind == "Pod":
                    assert all(world.claim(volume.persistentVolumeClaim.claimName) for volume in pod.spec.volumes)
            if len(names(world, "Pod")) == 3:
                break
            world.settle(seconds=0.05)
        assert names(world, "Pod") == ["web-0", "web-1", "web-2"]
