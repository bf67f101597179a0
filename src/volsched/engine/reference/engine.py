"""ReferenceEngine: the native engine's plain twin, behind the same protocol.

It is used when asked for by name, to compare with; it never stands in for the native engine unasked.

Reserve in miniature: `assume` counts the pod on its node, lays over each volume chosen for a claim that it is claimed, and over each claim
to be provisioned that it names the node. `forget` takes exactly these back. Source: spec/scheduling.md 4.6, 5, 9, 12.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import count

from lightkube.models.core_v1 import ObjectReference, PersistentVolume, PersistentVolumeClaim, Pod

from volsched.api.edit import annotations_of, with_annotations, with_spec
from volsched.api.kinds import Object, key_of
from volsched.engine.decision import UNRESOLVABLE, Decision, Provisioning, Rejection, StaticBinding, TieBreak, VolumePlan
from volsched.engine.decision import Assumption as AssumptionProtocol
from volsched.engine.plugin import ArrayPlugin, CycleState
from volsched.engine.profile import EngineProfile, default_profile
from volsched.engine.reference.cycle import Cycle, CycleResult, heap_winner
from volsched.engine.reference.state import ClusterState, Name
from volsched.engine.reference.trial import ReferenceTrial
from volsched.engine.reference.volume_binding import Plan, claim_key
from volsched.env.chance import Chance
from volsched.errors import EngineError
from volsched.rules.volumes import ANN_BOUND_BY_CONTROLLER, ANN_SELECTED_NODE, bound_to


def _volume_plan(plan: Plan | None) -> VolumePlan:
    if plan is None:
        return VolumePlan((), ())
    return VolumePlan(
        tuple(StaticBinding(claim_key(claim), key_of(pv).name) for claim, pv in plan.bind),
        tuple(
            Provisioning(claim_key(item.claim), "/".join(key_of(item.capacity)[1:]) if item.capacity is not None else None)
            for item in plan.provision
        ),
    )


class ReferenceDecision:
    """A finished cycle. Everything was worked out when it was made, so it can be read at any time."""

    def __init__(self, engine: ReferenceEngine, pod: Pod, cycle: Cycle, node: str | None, generation: int) -> None:
        self.engine = engine
        self.cycle = cycle
        self.result = cycle.result
        self.generation = generation
        self._pod = pod
        self._node = node

    @property
    def pod(self) -> Pod:
        return self._pod

    @property
    def prefilter(self) -> Rejection | None:
        return self.result.prefilter

    @property
    def error(self) -> str | None:
        return self.result.error

    @property
    def node(self) -> str | None:
        return self._node

    def feasible(self) -> list[str]:
        return list(self.result.feasible) if self.result.error is None else []

    def rejected(self) -> dict[str, Rejection]:
        return dict(self.result.rejected)

    def scores(self) -> dict[str, dict[str, int]]:
        """Raises EngineError when scoring failed and the one feasible node was taken without it."""
        if self.result.score_error is not None:
            raise EngineError(self.result.score_error)
        return {name: dict(scores) for name, scores in self.result.scores.items()}

    def totals(self) -> dict[str, int]:
        return {name: sum(scores.values()) for name, scores in self.scores().items()}

    def best(self) -> list[str]:
        totals = self.totals()
        highest = max(totals.values(), default=0)
        return sorted(name for name, total in totals.items() if total == highest)

    def volumes(self, node: str) -> VolumePlan:
        if node not in self.feasible():
            raise EngineError(f'node "{node}" is not feasible for this pod')
        return _volume_plan(self.result.plans.get(node))

    def message(self) -> str:
        return self.result.message

    @property
    def absent(self) -> Rejection | None:
        return self.result.absent

    def rejecting_plugins(self) -> frozenset[str]:
        refusal = self.result.prefilter
        refused = [refusal] if refusal is not None else list(self.result.rejected.values())
        return frozenset([*self.result.narrowing, *(rejection.plugin for rejection in refused)]) - {""}


class ReferenceAssumption:
    """What `assume` changed, under a number of its own."""

    def __init__(self, number: int, pod: Pod, node: str, plan: VolumePlan, volumes: list[Name], claims: list[Name]) -> None:
        self.number = number
        self.assumed_volumes = volumes
        self.assumed_claims = claims
        self._pod = pod
        self._node = node
        self._plan = plan

    @property
    def pod(self) -> Pod:
        return self._pod

    @property
    def node(self) -> str:
        return self._node

    @property
    def volumes(self) -> VolumePlan:
        return self._plan


class ReferenceEngine:
    """SchedulingEngine in plain Python.

    percentage_of_nodes_to_score: 100 looks at every node, 0 adapts to the cluster's size. tie_break: among nodes with the highest total,
    "first" visited, smallest "name", "random" by seed, or "kube" as kube-scheduler picks with one worker. profile: the plugins and their
    arguments, upstream's default profile unless given.
    """

    def __init__(
        self,
        tie_break: TieBreak = "first",
        seed: int = 0,
        percentage_of_nodes_to_score: int = 100,
        profile: EngineProfile | None = None,
    ) -> None:
        if tie_break not in ("first", "name", "random", "kube"):
            raise EngineError(f'tie_break "{tie_break}" is unknown: use first, name, random or kube')
        if not 0 <= percentage_of_nodes_to_score <= 100:
            raise EngineError(f"percentage_of_nodes_to_score {percentage_of_nodes_to_score} is outside 0..100")
        self._tie_break = tie_break
        self._stream = Chance(seed)("tie_break")
        self._percentage = percentage_of_nodes_to_score
        self._profile = profile or default_profile()
        self._state = ClusterState()
        self._start = 0  # where the next search begins
        self._numbers = count(1)

    def upsert(self, obj: Object) -> None:
        self._state.upsert(obj)

    def remove(self, kind: str, namespace: str, name: str) -> None:
        self._state.remove(kind, namespace, name)

    def node_names(self) -> list[str]:
        return self._state.node_names()

    def decide(
        self,
        pod: Pod,
        *,
        only: Sequence[str] | None = None,
        plugins: Sequence[ArrayPlugin] = (),
        profile: EngineProfile | None = None,
        state: CycleState | None = None,
        beside: Mapping[str, Sequence[Pod]] | None = None,
    ) -> Decision:
        snapshot = self._state.snapshot()
        used = profile or self._profile
        percentage = used.percentage_of_nodes_to_score
        cycle = Cycle(
            snapshot,
            pod,
            start=self._start,
            percentage=self._percentage if percentage is None else percentage,
            only=only,
            profile=used,
            plugins=plugins,
            state=state,
            beside=beside or {},
        )
        result = cycle.run()
        if snapshot.nodes:
            self._start = (self._start + result.visited) % len(snapshot.nodes)
        return ReferenceDecision(self, pod, cycle, self._choose(result), self._state.generation)

    def trial(self, decision: Decision, *, pods_on: Callable[[str], Sequence[Pod]] | None = None) -> ReferenceTrial:
        if not isinstance(decision, ReferenceDecision) or decision.engine is not self:
            raise EngineError("the decision was not made by this engine")
        if decision.error is not None:
            raise EngineError(f"the decision failed, there is nothing to try: {decision.error}")
        if decision.prefilter is not None and decision.prefilter.code == UNRESOLVABLE:
            raise EngineError("the pod was refused before any node was looked at, there is nothing to try")

        def check() -> None:
            if decision.generation != self._state.generation:
                raise EngineError("the cluster has changed since this decision was made; decide again")

        check()
        return ReferenceTrial(decision.cycle.filters(), check)

    def _choose(self, result: CycleResult) -> str | None:
        if result.error is not None or not result.feasible:
            return None
        if len(result.feasible) == 1:
            return result.feasible[0]
        totals = result.totals()
        in_order = [totals[name] for name in result.feasible]
        best = [name for name, total in zip(result.feasible, in_order, strict=True) if total == max(in_order)]
        if self._tie_break == "kube":
            return result.feasible[heap_winner(in_order)]
        if self._tie_break == "name":
            return min(best)
        return self._stream.choice(best) if self._tie_break == "random" else best[0]

    # Assume and forget

    def assume(self, decision: Decision, node: str | None = None) -> AssumptionProtocol:
        if not isinstance(decision, ReferenceDecision) or decision.engine is not self:
            raise EngineError("the decision was not made by this engine")
        chosen = node if node is not None else decision.node
        if chosen is None or chosen not in decision.feasible():
            raise EngineError(f'node "{chosen}" is not feasible for this pod' if chosen else "the decision chose no node")
        pod_key = key_of(decision.pod)
        if self._state.placed_pod((pod_key.namespace, pod_key.name)) is not None:
            raise EngineError(f'pod "{pod_key.namespace}/{pod_key.name}" is already on a node')
        plan = decision.result.plans.get(chosen) or Plan([], [])
        number = next(self._numbers)
        volumes: list[Name] = []
        claims: list[Name] = []
        assumption = ReferenceAssumption(number, with_spec(decision.pod, nodeName=chosen), chosen, _volume_plan(plan), volumes, claims)
        self._state.generation += 1
        try:
            for claim, pv in plan.bind:
                key = ("", key_of(pv).name)
                self._state.volumes.assume(key, number, pv, partial(claimed, claim=claim))
                volumes.append(key)
            for item in plan.provision:
                claim_name = key_of(item.claim)
                key = (claim_name.namespace, claim_name.name)
                self._state.claims.assume(key, number, item.claim, partial(with_annotations, changes={ANN_SELECTED_NODE: chosen}))
                claims.append(key)
        except EngineError:
            self._restore(assumption)
            raise
        self._state.upsert(assumption.pod)
        return assumption

    def forget(self, assumption: AssumptionProtocol) -> None:
        if not isinstance(assumption, ReferenceAssumption):
            raise EngineError("the assumption was not made by this engine")
        self._state.generation += 1
        key = key_of(assumption.pod)
        if self._state.placed_pod((key.namespace, key.name)) is assumption.pod:
            self._state.remove_pod((key.namespace, key.name))
        self._restore(assumption)

    def _restore(self, assumption: ReferenceAssumption) -> None:
        for key in assumption.assumed_volumes:
            self._state.volumes.restore(key, assumption.number)
        for key in assumption.assumed_claims:
            self._state.claims.restore(key, assumption.number)


def claimed(pv: PersistentVolume, claim: PersistentVolumeClaim) -> PersistentVolume:
    """The volume bound to the claim, from its side. One that the user reserved does not become "bound by controller"."""
    assert claim.metadata is not None and pv.spec is not None
    reference = pv.spec.claimRef
    wanted = (claim.metadata.name, claim.metadata.namespace, claim.metadata.uid or "")
    changed = pv
    if reference is None or (reference.name, reference.namespace, reference.uid or "") != wanted:
        reference = ObjectReference(
            apiVersion="v1",
            kind="PersistentVolumeClaim",
            name=claim.metadata.name,
            namespace=claim.metadata.namespace,
            uid=claim.metadata.uid,
            resourceVersion=claim.metadata.resourceVersion,
        )
        changed = with_spec(changed, claimRef=reference)
    if not bound_to(pv, claim) and ANN_BOUND_BY_CONTROLLER not in annotations_of(pv):
        changed = with_annotations(changed, {ANN_BOUND_BY_CONTROLLER: "yes"})
    return changed
