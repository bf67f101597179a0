"""The explanation of one pod's decision: every node's verdict and every claim's candidates, as data.

The cluster is looked at as the scheduler would see it now; nothing is run and nothing changed. A pod that is on a node already is taken off
it for the question.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from volsched.api.edit import with_spec
from volsched.api.kinds import Json, key_of, meta
from volsched.app.cluster import Cluster
from volsched.app.restore_check import RestoreReport, check_pod
from volsched.cache.explain import Candidate, ClaimExplanation, explain_claims, together
from volsched.cache.scheduler_cache import SchedulerCache
from volsched.engine.decision import Decision, Rejection, VolumePlan
from volsched.errors import EngineError, NotFoundError
from volsched.rules.volumes import READ_WRITE_ONCE_POD, claim_names, pod_terminated
from volsched.scheduler.plugins.taint_toleration import tolerates

CANDIDATES_MAX: Final = 100  # listed for one claim on one group of nodes, the nearest first
_VOLUMES: Final = "VolumeBinding"
_TAINTS: Final = "TaintToleration"
_LEFT_OUT: Final = "NodeAffinity"  # the one PreFilter that narrows the nodes down


class Fitting(NamedTuple):
    """A node that passed every filter, with its weighted scores."""

    node: str
    total: int
    scores: Mapping[str, int]


class Refused(NamedTuple):
    """Nodes that the same plugin refused for the same reasons; `detail` says more than Kubernetes' reason, where there is more to say."""

    nodes: tuple[str, ...]
    plugin: str
    reasons: tuple[str, ...]
    detail: str


@dataclass(frozen=True)
class Explanation:
    """Everything `explain` shows.

    fitting: best first. plan: the volumes of the chosen node. notes: how the pod's claims get in each other's way, and who holds them.
    restores: of its claims that are to be restored from a snapshot and have no volume yet.
    """

    pod: Any
    decision: Decision
    headline: str
    message: str
    fitting: list[Fitting]
    refused: list[Refused]
    claims: list[ClaimExplanation]
    plan: VolumePlan | None
    notes: list[str]
    restores: list[RestoreReport] = field(default_factory=list)

    @property
    def score_plugins(self) -> list[str]:
        """Plugins that gave some node a score, by name."""
        return sorted({plugin for row in self.fitting for plugin, value in row.scores.items() if value})

    def as_json(self) -> dict[str, Json]:
        """For scripts: the same facts as plain data."""
        return {
            "pod": f"{meta(self.pod).namespace}/{meta(self.pod).name}",
            "summary": self.headline,
            "message": self.message,
            "node": self.decision.node,
            "volumes": None if self.plan is None else _plan(self.plan),
            "fitting": [{"node": row.node, "total": row.total, "scores": dict(row.scores)} for row in self.fitting],
            "refused": [
                {"nodes": list(row.nodes), "plugin": row.plugin, "reasons": list(row.reasons), "detail": row.detail} for row in self.refused
            ],
            "claims": [
                {
                    "claim": claim.claim,
                    "wants": claim.wants,
                    "situation": claim.situation,
                    **_listed(claim.candidates),
                    "groups": [
                        {
                            "nodes": list(group.nodes),
                            "fits": group.fits,
                            **_listed(group.candidates),
                            "volumes_elsewhere": group.volumes_elsewhere,
                            "pools_elsewhere": group.pools_elsewhere,
                        }
                        for group in claim.groups
                    ],
                }
                for claim in self.claims
            ],
            "notes": self.notes,
            **({"restores": [restore.as_json() for restore in self.restores]} if self.restores else {}),
        }


def _listed(candidates: Sequence[Candidate]) -> dict[str, Json]:
    return {
        "candidates": [
            {"kind": c.kind, "name": c.name, "about": c.about, "refusals": [refusal._asdict() for refusal in c.refusals]}
            for c in candidates[:CANDIDATES_MAX]
        ],
        "more_candidates": max(0, len(candidates) - CANDIDATES_MAX),
    }


def _plan(plan: VolumePlan) -> dict[str, Json]:
    provision = [
        {"claim": step.claim, "capacity": step.capacity} | ({"holds": list(step.holds)} if step.holds else {}) for step in plan.provision
    ]
    return {"bind": [step._asdict() for step in plan.bind], "provision": provision}


class Explainer:
    """Answers for pods of one cluster as it is now."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._pending: SchedulerCache | None = None

    def explain(self, pod: Any, *, nodes: Sequence[str] | None = None) -> Explanation:
        """Decide for a pod and look into every claim, on these nodes or on all. Raises NotFoundError for a node that does not exist."""
        asked = with_spec(pod, nodeName=None) if pod.spec.nodeName else pod
        cache = self._cache(pod)
        known = cache.engine.node_names()
        missing = sorted(set(nodes or ()) - set(known))
        if missing:
            raise NotFoundError(f'nodes "{missing[0]}" not found', kind="Node", name=missing[0])
        looked_at = list(dict.fromkeys(nodes or known))
        decision = self._cluster.scheduler.decide(asked, cache=cache, only=nodes)
        fitting, refused, error = _verdicts(cache, asked, decision, looked_at)
        claims = explain_claims(cache, asked, looked_at)
        return Explanation(
            pod=pod,
            decision=decision,
            headline=_headline(pod, decision, error, fitting=len(fitting), total=len(looked_at)),
            message=error or decision.message(),
            fitting=fitting,
            refused=refused,
            claims=claims,
            plan=decision.volumes(decision.node) if decision.node is not None else None,
            notes=_together(cache, asked, claims, refused) + self._holders(asked),
            restores=[restore for restore in check_pod(self._cluster, pod) if not restore.done],
        )

    def _cache(self, pod: Any) -> SchedulerCache:
        """Pods that are on no node count nowhere, so one cache answers for all of them."""
        if pod.spec.nodeName:
            return self._cluster.fresh_cache(without=key_of(pod))
        if self._pending is None:
            self._pending = self._cluster.fresh_cache()
        return self._pending

    def _holders(self, pod: Any) -> list[str]:
        """Who uses a claim that only one pod may use."""
        notes = []
        namespace = meta(pod).namespace or "default"
        for _, name, _ in claim_names(pod):
            claim = self._cluster.store.raw(key_of(pod)._replace(kind="PersistentVolumeClaim", name=name))
            if claim is None or READ_WRITE_ONCE_POD not in (claim.spec.accessModes or ()):
                continue
            for other in self._cluster.list("Pod", namespace):
                uses = other.spec.nodeName and not pod_terminated(other) and meta(other).name != meta(pod).name
                if uses and any(used == name for _, used, _ in claim_names(other)):
                    notes.append(f"claim {name} is for one pod at a time, and pod {meta(other).name} on {other.spec.nodeName} uses it")
        return notes


def _verdicts(
    cache: SchedulerCache, pod: Any, decision: Decision, looked_at: Sequence[str]
) -> tuple[list[Fitting], list[Refused], str | None]:
    """(nodes that fit, nodes that do not, why the cycle failed)."""
    if decision.error is not None or decision.prefilter is not None:
        return [], [], decision.error
    try:
        totals, scores = decision.totals(), decision.scores()
    except EngineError as error:
        return [], [], str(error)
    fitting = sorted(
        (Fitting(name, totals[name], scores.get(name, {})) for name in looked_at if name in totals), key=lambda row: -row.total
    )
    rejected = decision.rejected()
    groups: dict[tuple[str, tuple[str, ...], str], list[str]] = {}
    for name in looked_at:
        if name in totals:
            continue
        found = rejected.get(name)
        reason = (_LEFT_OUT, (), "the pod's node affinity names other nodes") if found is None else _reason(cache, pod, name, found)
        groups.setdefault(reason, []).append(name)
    return fitting, [Refused(tuple(names), *reason) for reason, names in groups.items()], None


def _reason(cache: SchedulerCache, pod: Any, node: str, rejection: Rejection) -> tuple[str, tuple[str, ...], str]:
    """What refused a node; taints are named."""
    detail = ""
    if rejection.plugin == _TAINTS:
        found = cache.get("Node", "", node)
        taints = (found.spec.taints if found is not None and found.spec else None) or ()
        hard = [taint for taint in taints if taint.effect != "PreferNoSchedule"]
        detail = ", ".join(
            f"{taint.key}={taint.value}:{taint.effect}" if taint.value else f"{taint.key}:{taint.effect}"
            for taint in hard
            if not any(tolerates(toleration, taint) for toleration in pod.spec.tolerations or ())
        )
    return rejection.plugin, rejection.reasons, detail


def _together(cache: SchedulerCache, pod: Any, claims: Sequence[ClaimExplanation], refused: Sequence[Refused]) -> list[str]:
    """For nodes where every claim could be served alone: what happens when all of them ask. Nodes with the same answer go together."""
    fits: dict[str, int] = {}
    for claim in claims:
        for group in claim.groups:
            for node in group.nodes if group.fits else ():
                fits[node] = fits.get(node, 0) + 1
    notes = []
    for row in refused:
        alone = [node for node in row.nodes if row.plugin == _VOLUMES and fits.get(node, 0) == len(claims) > 1]
        for number, node in enumerate(alone):
            text = together(cache, pod, node)
            if text is not None:
                more = f" (and {len(alone) - 1} more nodes like it)" if len(alone) > 1 else ""
                notes.append(f"on {node}{more} every claim could be served alone, but not all together: {text}")
                break
            if number >= len(claims):
                break
    return notes


def _headline(pod: Any, decision: Decision, error: str | None, *, fitting: int, total: int) -> str:
    now = f"on {pod.spec.nodeName}; asked again: " if pod.spec.nodeName else "done; asked again: " if pod_terminated(pod) else ""
    if error is not None:
        return now + "the scheduling cycle fails"
    if decision.prefilter is not None:
        return now + f"refused by {decision.prefilter.plugin or 'PreFilter'} before any node was looked at"
    return now + f"{fitting} of {total} nodes fit" + (f", best is {decision.node}" if decision.node else "")
