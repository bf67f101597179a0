"""explain: why a pod can or cannot run where, node by node, claim by claim, volume by volume."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import click

from volsched.api.kinds import meta
from volsched.app.cluster import Cluster
from volsched.app.explain import Explanation, explain_pod
from volsched.cache.explain import Candidate, ClaimExplanation
from volsched.cli.common import namespace_options, output_option, resources, state_option
from volsched.cli.output import grid, json_text, shade, yaml_text
from volsched.errors import InputError

CANDIDATES_SHOWN: Final = 12
NODES_SHOWN: Final = 8
TABLE_ROWS: Final = 40


@click.command()
@click.argument("what", nargs=-1, metavar="pod NAME | pod/NAME")
@click.option("--node", "nodes", multiple=True, help="Only these nodes; repeatable.")
@click.option("--all-nodes", is_flag=True, help="Every node, however many there are.")
@namespace_options
@output_option("json", "yaml")
@state_option
def explain(
    what: tuple[str, ...], nodes: tuple[str, ...], all_nodes: bool, namespace: str, all_namespaces: bool, output: str | None, state: Path
) -> None:
    """Explain the scheduling decision for a pod: every node with its first refusal or its scores, every claim with the volumes and pools
    that were considered and what each failed on.

    A pod that is on a node already is explained as if it were to be scheduled again, its own resources given back.
    """
    pairs = resources(what)
    if not state.exists():
        raise InputError("no cluster here yet; `volsched apply -f FILE` starts one", source=str(state))
    with Cluster(state=state) as cluster:
        texts = []
        for kind, name in pairs:
            if kind.name != "Pod":
                raise InputError(f"{kind.plural} are not scheduled; explain takes pods (`describe` shows what an object is)")
            pods = [cluster.store.get("Pod", namespace, name)] if name else cluster.list("Pod", None if all_namespaces else namespace)
            for pod in pods:
                explanation = explain_pod(cluster, pod, nodes=list(nodes) or None, all_nodes=all_nodes)
                if output:
                    texts.append(json_text(explanation.as_json()) if output == "json" else yaml_text(explanation.as_json()))
                else:
                    texts.append(render(explanation))
        print("\n\n".join(texts))


def render(explanation: Explanation) -> str:
    """The whole text for a terminal."""
    pod, decision = explanation.pod, explanation.decision
    lines = [f"Pod {meta(pod).namespace}/{meta(pod).name}: {shade(explanation.headline, 'good' if decision.node else 'bad')}"]
    if explanation.message:
        lines.append(f"  {explanation.message}")
    if explanation.rows:
        lines += ["", *_node_table(explanation)]
    for claim in explanation.claims:
        lines += ["", *_claim(claim)]
    if explanation.left_out:
        lines += ["", f"{explanation.left_out} more nodes were decided but not explained claim by claim; --node NAME or --all-nodes shows them."]
    return "\n".join(lines)


def _node_table(explanation: Explanation) -> list[str]:
    plugins = explanation.score_plugins
    titles = ["NODE", "RESULT", *(["TOTAL", *plugins] if plugins else []), "REASON"]
    rows: list[list[str]] = []
    for row in explanation.rows[:TABLE_ROWS]:
        scores = [str(row.total), *(str(row.scores.get(plugin, 0)) for plugin in plugins)] if row.plugin is None else [""] * (len(plugins) + 1)
        result = ("chosen" if row.node == explanation.decision.node else "fits") if row.plugin is None else row.plugin
        rows.append([row.node, result, *(scores if plugins else []), "; ".join(row.reasons)])
    text = grid(titles, rows).splitlines()
    more = len(explanation.rows) - TABLE_ROWS
    return text + ([f"… and {more} more nodes"] if more > 0 else [])


def _names(names: Sequence[str]) -> str:
    shown = ", ".join(names[:NODES_SHOWN])
    return shown + (f" and {len(names) - NODES_SHOWN} more" if len(names) > NODES_SHOWN else "")


def _claim(claim: ClaimExplanation) -> list[str]:
    head = f"Claim {claim.claim}" + (f" ({claim.wants})" if claim.wants else "")
    lines = [f"{shade(head, 'bold')}: {claim.situation}"]
    for group in claim.groups:
        lines.append(f"  on {_names(group.nodes)}: {shade('can be served', 'good') if group.fits else shade('cannot be served', 'bad')}")
        lines += [f"    {line}" for line in _candidates(group.candidates)]
        if not group.candidates:
            lines.append("    nothing was there to consider")
    return lines


def _candidates(candidates: Sequence[Candidate]) -> list[str]:
    """Fitting ones first, then the nearest misses; the rest counted by what they failed on."""
    ranked = sorted(candidates, key=lambda candidate: len(candidate.refusals))
    shown, rest = ranked[:CANDIDATES_SHOWN], ranked[CANDIDATES_SHOWN:]
    lines = []
    for candidate in shown:
        verdict = "; ".join(refusal.text for refusal in candidate.refusals) or "would do"
        lines.append(f"{candidate.kind} {candidate.name or '(none named)'}: {verdict}")
    if rest:
        counts = Counter(refusal.aspect for candidate in rest for refusal in candidate.refusals)
        lines.append(f"{len(rest)} more: " + ", ".join(f"{count} failed on {aspect}" for aspect, count in counts.most_common()))
    return lines

