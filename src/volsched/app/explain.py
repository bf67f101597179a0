"""The explanation of one pod's decision: every node's verdict and every claim's candidates, as data.

The cluster is looked at as the scheduler would see it now; nothing is run and nothing changed. A pod that is on a node already is taken off
it for the question.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from volsched.api.edit import with_spec
from volsched.api.kinds import Json, key_of, meta
from volsched.app.cluster import Cluster
from volsched.cache.explain import ClaimExplanation, explain_claims
from volsched.engine.decision import Decision
from volsched.errors import NotFoundError
from volsched.rules.volumes import pod_terminated

NODES_EXPLAINED: Final = 100  # claim by claim on more nodes takes long; all of them are decided


class NodeRow(NamedTuple):
    """One node: the plugin that refused it and why, or, when it fits (`plugin` None), its scores."""

    node: str
    plugin: str | None
    reasons: tuple[str, ...]
    total: int
    scores: Mapping[str, int]


@dataclass(frozen=True)
class Explanation:
    """Everything `explain` shows. `left_out` nodes were decided but not looked at claim by claim."""

    pod: Any
    decision: Decision
    headline: str
    message: str
    rows: list[NodeRow]
    score_plugins: list[str]
    claims: list[ClaimExplanation]
    left_out: int

    def as_json(self) -> dict[str, Json]:
        """For scripts: the same facts as plain data."""
        return {
            "pod": f"{meta(self.pod).namespace}/{meta(self.pod).name}",
            "summary": self.headline,
            "message": self.message,
            "node": self.decision.node,
            "nodes": [row._asdict() | {"reasons": list(row.reasons), "scores": dict(row.scores)} for row in self.rows],
            "claims": [
                {
                    "claim": claim.claim,
                    "wants": claim.wants,
                    "situation": claim.situation,
                    "groups": [
                        {
                            "nodes": list(group.nodes),
                            "fits": group.fits,
                            "candidates": [
                                {"kind": c.kind, "name": c.name, "refusals": [refusal._asdict() for refusal in c.refusals]}
                                for c in group.candidates
                            ],
                        }
                        for group in claim.groups
                    ],
                }
                for claim in self.claims
            ],
        }


def explain_pod(cluster: Cluster, pod: Any, *, nodes: Sequence[str] | None = None, all_nodes: bool = False) -> Explanation:
    """Decide for a pod and look into every claim. Raises NotFoundError for a node that does not exist."""
    asked = with_spec(pod, nodeName=None) if pod.spec.nodeName else pod
    cache = cluster.fresh_cache(without=key_of(pod))
    known = cache.engine.node_names()
    missing = [name for name in nodes or () if name not in known]
    if missing:
        raise NotFoundError(f'nodes "{missing[0]}" not found', kind="Node", name=missing[0])
    decision = cache.decide(asked, only=nodes)
    looked_at = list(nodes or known)
    rejected, totals, scores = {}, {}, {}
    if decision.prefilter is None and decision.error is None:
        rejected, totals, scores = decision.rejected(), decision.totals(), decision.scores()
    rows = [
        NodeRow(name, None, (), totals[name], scores.get(name, {}))
        if name in totals
        else NodeRow(name, *_refusal(rejected.get(name)), 0, {})
        for name in looked_at
        if name in totals or name in rejected
    ]
    rows.sort(key=lambda row: (row.plugin is not None, -row.total))
    plugins = sorted({plugin for by_plugin in scores.values() for plugin, value in by_plugin.items() if value})
    explained = looked_at if all_nodes or nodes else looked_at[:NODES_EXPLAINED]
    return Explanation(
        pod=pod,
        decision=decision,
        headline=_headline(pod, decision, fitting=len(totals), total=len(known)),
        message=decision.error or decision.message(),
        rows=rows,
        score_plugins=plugins,
        claims=explain_claims(cache, asked, explained),
        left_out=len(looked_at) - len(explained),
    )


def _refusal(rejection: Any) -> tuple[str, tuple[str, ...]]:
    return (rejection.plugin, rejection.reasons)


def _headline(pod: Any, decision: Decision, *, fitting: int, total: int) -> str:
    now = f"on {pod.spec.nodeName}; asked again: " if pod.spec.nodeName else "done; asked again: " if pod_terminated(pod) else ""
    if decision.error is not None:
        return now + "the scheduling cycle fails"
    if decision.prefilter is not None:
        return now + f"refused by {decision.prefilter.plugin} before any node was looked at"
    return now + f"{fitting} of {total} nodes fit" + (f", best is {decision.node}" if decision.node else "")

