"""StatefulSets: their pods and claims, made and deleted in order of ordinal.

    wanted ordinals, ascending ──REPLICA──> claims, pod; replaced when ended ┐ a set that keeps order stops at the first pod that is
    surplus ordinals, descending ──> claims' owners, DELETE pod              │ not available, and deletes one pod at a time
    pods of another template, descending ──> DELETE pod                      ┘
    always last: status

Claims are made before their pod and never deleted here: under persistentVolumeClaimRetentionPolicy they get an owner, and the garbage
collector does the rest. A pod is made only when no claim of its name still belongs to the pod that was there before.
Orphan pods of a set's name that its selector matches are adopted; owned ones are not let go when their labels change. How revisions work
without ControllerRevisions is said in `stateful_set_pods`.
Source: pkg/controller/statefulset/{stateful_set,stateful_set_control,stateful_pod_control}.go.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Final, Literal

from lightkube.models.apps_v1 import StatefulSet, StatefulSetStatus
from lightkube.models.core_v1 import PersistentVolumeClaim, Pod

from volsched.api.edit import is_deleting, labels_of, replace, uid_of, with_metadata
from volsched.api.kinds import meta
from volsched.api.watch import Change, WatchEvent
from volsched.cache.view import View
from volsched.controllers.agenda import Agenda
from volsched.controllers.csi_common import amend
from volsched.controllers.stateful_set_pods import (
    REPLICA,
    PodState,
    ReplicaStep,
    claim_name,
    claims_of,
    controller_of,
    is_stale,
    min_ready_ns,
    new_pod,
    ordinal_of,
    ordinals_of,
    phase_of,
    pod_name,
    pod_revision,
    ready_at_ns,
    revision_of,
    set_reference,
    spec_of,
    state_of,
    with_retention,
)
from volsched.errors import AlreadyExistsError, ApiError, NotFoundError, ReconcileError
from volsched.ports import DONE, Clock, Create, Delete, Done, Emit, QueueSpec, Read, Requeue, Steps, Update, WorkItem
from volsched.rules.selectors import match_labels

SETS: Final = "sets"
WORKERS: Final = 5
BACKOFF_S: Final = 0.005
BACKOFF_S_MAX: Final = 1000.0

Verb = Literal["create", "update", "delete"]


def facts_of(pod: Pod) -> tuple[object, ...]:
    """All that a pass sees of a pod."""
    return uid_of(pod), is_deleting(pod), phase_of(pod), ready_at_ns(pod), meta(pod).labels, meta(pod).ownerReferences


def max_unavailable(owner: StatefulSet) -> int:
    """How many pods a rolling update may have down at once: a number, or a share of the replicas; at least one."""
    strategy = spec_of(owner).updateStrategy
    rolling = strategy.rollingUpdate if strategy is not None else None
    given = rolling.maxUnavailable if rolling is not None else None
    if isinstance(given, str):
        return max(1, math.floor(len(ordinals_of(owner)) * int(given.rstrip("%")) / 100))
    return max(1, given or 1)


class StatefulSetController:
    """Decider: kube-controller-manager's StatefulSet controller."""

    name: str = "kube-controller-manager"
    component: str = "statefulset-controller"
    kinds: frozenset[str] = frozenset({"StatefulSet", "Pod", "PersistentVolumeClaim"})
    queues: Mapping[str, QueueSpec] = {SETS: QueueSpec(workers=WORKERS, backoff_s=BACKOFF_S, backoff_s_max=BACKOFF_S_MAX)}
    resync_s: float | None = None

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._view = View(self.kinds)
        self._agenda = Agenda(clock)
        self._pods: dict[tuple[str, str], dict[int, None]] = {}  # (namespace, name of the set) -> ordinals there are pods of, anyone's
        self._claims: dict[tuple[str, str], str] = {}  # (namespace, claim name without ordinal) -> name of the set
        self._changed: set[str] = set()  # uids of sets whose template changed since this process knows them

    # the decider's shape

    def start(self) -> Steps[None]:
        yield from ()

    def observe(self, event: WatchEvent) -> Iterable[WorkItem]:
        old, taken = self._view.observe(event)
        if not taken:
            return ()
        namespace, gone = event.key.namespace, event.change is Change.DELETED
        if event.kind == "StatefulSet":
            return self._observe_set(old, event.object, gone=gone)
        if event.kind == "PersistentVolumeClaim":
            owner = self._claims.get((namespace, event.key.name.rpartition("-")[0])) if gone else None
            return [WorkItem(SETS, f"{namespace}/{owner}")] if owner is not None else ()
        parent, ordinal = ordinal_of(event.key.name)
        if ordinal < 0 or (old is not None and not gone and facts_of(old) == facts_of(event.object)):
            return ()
        if gone:
            self._pods.get((namespace, parent), {}).pop(ordinal, None)
        else:
            self._pods.setdefault((namespace, parent), {})[ordinal] = None
        return [WorkItem(SETS, f"{namespace}/{parent}")] if self._view.get("StatefulSet", namespace, parent) is not None else ()

    def _observe_set(self, old: StatefulSet | None, owner: StatefulSet, *, gone: bool) -> Iterable[WorkItem]:
        namespace, name = meta(owner).namespace or "", meta(owner).name or ""
        prefixes = [(namespace, f"{meta(template).name}-{name}") for template in spec_of(owner).volumeClaimTemplates or ()]
        if gone:
            for prefix in prefixes:
                self._claims.pop(prefix, None)
            self._changed.discard(uid_of(owner))
            return ()
        self._claims.update(dict.fromkeys(prefixes, name))
        if old is not None and uid_of(old) == uid_of(owner) and spec_of(old).template != spec_of(owner).template:
            self._changed.add(uid_of(owner))
        return [WorkItem(SETS, f"{namespace}/{name}")]

    def work(self, item: WorkItem) -> Steps[Done | Requeue]:
        namespace, _, name = item.key.partition("/")
        owner: StatefulSet | None = self._view.get("StatefulSet", namespace, name)
        if owner is None:
            return DONE
        revision = revision_of(owner, changed=uid_of(owner) in self._changed)
        problem: ApiError | ReconcileError | None = None
        if not is_deleting(owner):
            try:
                yield from self._adopt(owner)
                yield from self._advance(owner, revision)
            except (ApiError, ReconcileError) as found:
                problem = found  # the status is told all the same
        yield from self._tell(owner, revision)
        if problem is not None:
            raise problem
        self._wait_for_readiness(item, owner)
        return DONE

    def resync(self) -> Iterable[WorkItem]:
        return ()

    def wake_at_ns(self) -> int | None:
        return self._agenda.next_ns()

    def wake(self, now_ns: int) -> Iterable[WorkItem]:
        return self._agenda.take(now_ns)

    # what there is

    def _members(self, owner: StatefulSet) -> dict[int, Pod]:
        """Pods the set controls, by ordinal, ascending."""
        namespace, name = meta(owner).namespace or "", meta(owner).name or ""
        found: dict[int, Pod] = {}
        for ordinal in sorted(self._pods.get((namespace, name), ())):
            pod: Pod | None = self._view.get("Pod", namespace, pod_name(owner, ordinal))
            reference = controller_of(pod) if pod is not None else None
            if pod is not None and reference is not None and reference.uid == uid_of(owner):
                found[ordinal] = pod
        return found

    def _claim(self, owner: StatefulSet, name: str) -> PersistentVolumeClaim | None:
        return self._view.get("PersistentVolumeClaim", meta(owner).namespace or "", name)

    def _owned_claims(self, owner: StatefulSet, ordinal: int) -> list[PersistentVolumeClaim]:
        """The claims of an ordinal that exist."""
        names = [claim_name(template, owner, ordinal) for template in spec_of(owner).volumeClaimTemplates or ()]
        return [claim for name in names if (claim := self._claim(owner, name)) is not None]

    def _keep(self, pod: Pod) -> None:
        """Know a pod before the watch tells of it."""
        if self._view.put(pod):
            parent, ordinal = ordinal_of(meta(pod).name or "")
            self._pods.setdefault((meta(pod).namespace or "", parent), {})[ordinal] = None

    def _adopt(self, owner: StatefulSet) -> Steps[None]:
        namespace, name = meta(owner).namespace or "", meta(owner).name or ""
        for ordinal in sorted(self._pods.get((namespace, name), ())):
            pod: Pod | None = self._view.get("Pod", namespace, pod_name(owner, ordinal))
            if pod is None or controller_of(pod) is not None or is_deleting(pod):
                continue
            if not match_labels(spec_of(owner).selector, labels_of(pod)):
                continue
            live: StatefulSet = yield Read("StatefulSet", namespace, name)
            if uid_of(live) != uid_of(owner) or is_deleting(live):
                raise ReconcileError(f"StatefulSet {namespace}/{name} is being deleted or was replaced; its pods are not adopted")
            self._keep((yield Update(with_metadata(pod, ownerReferences=[*(meta(pod).ownerReferences or ()), set_reference(owner)]))))

    # pods in order

    def _advance(self, owner: StatefulSet, revision: str) -> Steps[None]:
        ordered = spec_of(owner).podManagementPolicy != "Parallel"
        members, problems = self._members(owner), list[ApiError | ReconcileError]()
        for ordinal in ordinals_of(owner):
            try:
                step = yield from self._replica(owner, ordinal, members.get(ordinal), revision, ordered=ordered)
            except (ApiError, ReconcileError) as problem:
                if ordered:
                    raise
                problems.append(problem)
                continue
            if ordered and step is not ReplicaStep.KEEP:
                return
        if problems:
            raise problems[0]
        surplus = {ordinal: pod for ordinal, pod in sorted(members.items(), reverse=True) if ordinal not in ordinals_of(owner)}
        for ordinal, pod in surplus.items():
            yield from self._set_claim_owners(owner, ordinal, pod, surplus=True)
        if (yield from self._scale_down(owner, surplus, ordered=ordered)):
            yield from self._roll(owner, revision)

    def _replica(self, owner: StatefulSet, ordinal: int, pod: Pod | None, revision: str, *, ordered: bool) -> Steps[ReplicaStep]:
        state = state_of(pod, owner, self._clock.now_ns())
        pending = pod is not None and state in (PodState.TERMINATING, PodState.UNREADY) and phase_of(pod) == "Pending"
        step = REPLICA.decide(state=state, pending=pending, ordered=ordered)
        if step is ReplicaStep.CREATE:
            yield from self._create(owner, ordinal, revision)
        elif pod is not None and step is ReplicaStep.REPLACE:
            yield from self._delete(owner, pod)
        elif step is ReplicaStep.MEND:
            yield from self._make_claims(owner, ordinal)
        if pod is not None and step in (ReplicaStep.MEND, ReplicaStep.KEEP):
            yield from self._set_claim_owners(owner, ordinal, pod, surplus=False)
        return step

    def _create(self, owner: StatefulSet, ordinal: int, revision: str) -> Steps[None]:
        name = pod_name(owner, ordinal)
        if any(is_stale(claim, owner, name) for claim in self._owned_claims(owner, ordinal)):
            return  # the end of the claim brings this set back
        try:
            yield from self._make_claims(owner, ordinal)
            pod: Pod = yield Create(new_pod(owner, ordinal, revision=revision))
        except AlreadyExistsError:
            raise
        except (ApiError, ReconcileError) as problem:
            yield self._told(owner, "create", name, problem)
            raise
        self._keep(pod)
        yield from self._set_claim_owners(owner, ordinal, pod, surplus=False)
        yield self._told(owner, "create", name)

    def _delete(self, owner: StatefulSet, pod: Pod) -> Steps[None]:
        name = meta(pod).name or ""
        try:
            left: Pod = yield Delete("Pod", meta(pod).namespace or "", name, uid=uid_of(pod))
        except NotFoundError:
            return
        except ApiError as problem:
            yield self._told(owner, "delete", name, problem)
            raise
        self._keep(left)
        yield self._told(owner, "delete", name)

    def _scale_down(self, owner: StatefulSet, surplus: Mapping[int, Pod], *, ordered: bool) -> Steps[bool]:
        """Delete surplus pods, highest ordinal first; whether the update may go on in this pass."""
        now = self._clock.now_ns()
        down = [ordinal for ordinal, pod in surplus.items() if state_of(pod, owner, now) is not PodState.AVAILABLE]
        for ordinal, pod in surplus.items():
            if not is_deleting(pod):
                # one that is down waits, unless none of a lower ordinal is down
                if ordered and ordinal in down and ordinal != down[-1]:
                    return False
                yield from self._delete(owner, pod)
            if ordered:
                return False
        return True

    def _roll(self, owner: StatefulSet, revision: str) -> Steps[None]:
        """Delete pods of another template, highest ordinal first, as long as no more than the allowed number are down."""
        strategy = spec_of(owner).updateStrategy
        if strategy is not None and strategy.type == "OnDelete":
            return
        rolling = strategy.rollingUpdate if strategy is not None else None
        partition = (rolling.partition if rolling is not None else None) or 0
        members, down, now = self._members(owner), 0, self._clock.now_ns()
        for ordinal in reversed(ordinals_of(owner)[partition:]):
            pod = members.get(ordinal)
            state = state_of(pod, owner, now)
            if pod is not None and state is not PodState.TERMINATING and pod_revision(pod) != revision:
                yield from self._delete(owner, pod)
                down += 1
            elif state is not PodState.AVAILABLE:
                down += 1
            if down >= max_unavailable(owner):
                return

    # claims

    def _make_claims(self, owner: StatefulSet, ordinal: int) -> Steps[None]:
        """Every claim of an ordinal exists and stays. Raises ReconcileError saying which do not."""
        problems = []
        for wanted in claims_of(owner, ordinal):
            name = meta(wanted).name or ""
            claim = self._claim(owner, name)
            if claim is not None:
                if is_deleting(claim):
                    problems.append(f"pvc {name} is being deleted")
                continue
            pod = pod_name(owner, ordinal)
            try:
                self._view.put((yield Create(wanted)))
            except ApiError as problem:
                problems.append(f"failed to create PVC {name}: {problem}")
                if not isinstance(problem, AlreadyExistsError):
                    text = f"create Claim {name} for Pod {pod} in StatefulSet {meta(owner).name} failed error: {problem}"
                    yield Emit(owner, "Warning", "FailedCreate", text)
                continue
            yield Emit(owner, "Normal", "SuccessfulCreate", f"create Claim {name} Pod {pod} in StatefulSet {meta(owner).name} success")
        if problems:
            raise ReconcileError(problems[0] if len(problems) == 1 else f"[{', '.join(problems)}]")

    def _set_claim_owners(self, owner: StatefulSet, ordinal: int, pod: Pod, *, surplus: bool) -> Steps[None]:
        for claim in self._owned_claims(owner, ordinal):
            wanted = with_retention(claim, owner, pod, surplus=surplus)
            if wanted is claim:
                continue
            try:
                self._view.put((yield Update(wanted)))
            except ApiError as problem:
                text = f"could not update claim {meta(claim).name} for delete policy ownerRefs: {problem}"
                yield self._told(owner, "update", meta(pod).name or "", text)
                raise ReconcileError(text) from problem

    # what is said

    @staticmethod
    def _told(owner: StatefulSet, verb: Verb, pod: str, problem: Exception | str = "") -> Emit:
        what = f"{verb} Pod {pod} in StatefulSet {meta(owner).name}"
        if problem:
            return Emit(owner, "Warning", f"Failed{verb.capitalize()}", f"{what} failed error: {problem}")
        return Emit(owner, "Normal", f"Successful{verb.capitalize()}", f"{what} successful")

    def _status(self, owner: StatefulSet, revision: str) -> StatefulSetStatus:
        old = owner.status or StatefulSetStatus(replicas=0)
        pods, now, wanted = list(self._members(owner).values()), self._clock.now_ns(), len(ordinals_of(owner))
        current = old.currentRevision or revision
        ready = [pod for pod in pods if ready_at_ns(pod) is not None]
        lasting = [pod for pod in pods if not is_deleting(pod)]
        updated = sum(pod_revision(pod) == revision for pod in lasting)
        strategy = spec_of(owner).updateStrategy
        if (strategy is None or strategy.type != "OnDelete") and updated == len(ready) == len(pods) == wanted:
            current = revision  # the rolling update is complete
        return replace(
            old,
            observedGeneration=meta(owner).generation,
            replicas=len(pods),
            readyReplicas=len(ready),
            availableReplicas=sum((ready_at_ns(pod) or 0) + min_ready_ns(owner) <= now for pod in ready),
            currentReplicas=sum(pod_revision(pod) == current for pod in lasting),
            updatedReplicas=updated,
            currentRevision=current,
            updateRevision=revision,
            collisionCount=old.collisionCount or 0,
        )

    def _tell(self, owner: StatefulSet, revision: str) -> Steps[None]:
        status = self._status(owner, revision)
        if status == owner.status:
            return
        try:
            stored = yield from amend(owner, lambda live: Update(replace(live, status=status), "status") if live.status != status else None)
        except NotFoundError:
            return
        self._view.put(stored)

    def _wait_for_readiness(self, item: WorkItem, owner: StatefulSet) -> None:
        """Come back when the next ready pod has been so for minReadySeconds."""
        delay, now = min_ready_ns(owner), self._clock.now_ns()
        due = [since + delay for pod in self._members(owner).values() if delay and (since := ready_at_ns(pod)) is not None]
        if coming := [at for at in due if at > now]:
            self._agenda.at(item, min(coming))
