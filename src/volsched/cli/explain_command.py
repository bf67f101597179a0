"""explain: why a pod can or cannot run where, node by node, claim by claim, volume by volume."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import click

from volsched.api.kinds import meta
from volsched.app.explain import Explainer, Explanation
from volsched.cache.explain import Candidate, ClaimExplanation, ClaimOnNodes
from volsched.cli.common import (
    complete_kinds,
    engine_option,
    exact_capacity_option,
    namespace_options,
    output_option,
    resources,
    selector_option,
    state_option,
)
from volsched.cli.help import Command, examples
from volsched.cli.layout import grid, wrapped
from volsched.cli.opening import looked_at
from volsched.cli.output import structured
from volsched.cli.progress import showing
from volsched.cli.restore_check_command import restore_lines
from volsched.cli.terminal import shade, width
from volsched.errors import InputError
from volsched.rules.texts import first_of
from volsched.rules.volumes import pod_terminated

CANDIDATES_SHOWN: Final = 8
GROUPS_SHOWN: Final = 8  # above that many, groups that differ in names and figures only are shown as one
NODES_SHOWN: Final = 3
FITTING_SHOWN: Final = 10


@click.command(
    cls=Command,
    epilog=examples(
        ("Why a pod is pending, or on its node", "volsched explain pod/web"),
        ("Every pod that waits", "volsched explain pods --pending"),
        ("One node only", "volsched explain pod web --node worker-1"),
    ),
)
@click.argument("what", nargs=-1, metavar="pod/NAME... | pod NAME... | pods", shell_complete=complete_kinds)
@click.option("--node", "nodes", multiple=True, metavar="NODE", help="Only this node; repeatable.")
@click.option("--pending", is_flag=True, help="Of `pods`, only those without a node.")
@click.option("--all-groups", is_flag=True, help="Nodes one by one, also where many differ in the names of their volumes only.")
@selector_option
@namespace_options
@output_option("json", "yaml")
@state_option
@exact_capacity_option("as the cluster does")
@engine_option
def explain(
    what: tuple[str, ...],
    nodes: tuple[str, ...],
    pending: bool,
    all_groups: bool,
    selector: str | None,
    namespace: str,
    all_namespaces: bool,
    output: str | None,
    state: Path,
    exact_capacity: bool | None,
    engine: str,
) -> None:
    """Explain the scheduling decision for a pod: the nodes that fit with their scores, the others with their first refusal, and every
    claim with the volumes and pools that were considered and what each failed on.

    A pod that is on a node already is explained as if it were to be scheduled again, its own resources given back.
    """
    pairs = resources(what)
    for kind, _ in pairs:
        if kind.name != "Pod":
            raise InputError(f"{kind.plural} are not scheduled; explain takes pods (`describe` shows what an object is)")
    with showing("opening the cluster") as progress, looked_at(state, engine=engine, exact_capacity=exact_capacity) as cluster:
        explainer = Explainer(cluster)
        pods = []
        for _, name in pairs:
            if name is not None:
                pods.append(cluster.store.get("Pod", namespace, name))
            else:
                found = cluster.store.list("Pod", None if all_namespaces else namespace, label_selector=selector).items
                pods += [pod for pod in found if not pending or (not pod.spec.nodeName and not pod_terminated(pod))]
        explained = []
        for pod in pods:
            progress.now(f"deciding for pod {meta(pod).name}")
            explained.append(explainer.explain(pod, nodes=list(nodes) or None))
        progress.hide()
        if output:
            one = len(explained) == 1 and pairs[0][1] is not None
            print(structured(explained[0].as_json() if one else [explanation.as_json() for explanation in explained], output))
        elif explained:
            print("\n\n".join(render(explanation, all_groups=all_groups) for explanation in explained))
        else:
            click.echo("No resources found" if all_namespaces else f"No resources found in {namespace} namespace.", err=True)


def render(explanation: Explanation, *, all_groups: bool = False) -> str:
    """The whole text for a reader."""
    pod, decision = explanation.pod, explanation.decision
    head = f"Pod {meta(pod).namespace}/{meta(pod).name}: "
    blocks = [[head + shade(explanation.headline, "good" if decision.node else "bad")]]
    if explanation.message:
        blocks[0].append(wrapped(explanation.message, width(), first="  ", indent="  "))
    if explanation.plan is not None:
        blocks[0] += [f"  {line}" for line in _plan(explanation)]
    if explanation.fitting:
        blocks.append(_fitting(explanation))
    if explanation.refused:
        rows = [
            [first_of(row.nodes, NODES_SHOWN), row.plugin, "; ".join(filter(None, (*row.reasons, row.detail)))]
            for row in explanation.refused
        ]
        blocks.append(grid(("NODES", "REFUSED BY", "REASON"), rows, width=width()))
    blocks += [_claim(claim, all_groups=all_groups) for claim in explanation.claims]
    blocks += [restore_lines(restore) for restore in explanation.restores]
    if explanation.notes:
        blocks.append([wrapped(note, width(), first="Note: ", indent="  ") for note in explanation.notes])
    return "\n\n".join("\n".join(lines) for lines in blocks)


def _plan(explanation: Explanation) -> Iterable[str]:
    """What the pod's claims get on the chosen node."""
    plan = explanation.plan
    if plan is None:
        return
    for binding in plan.bind:
        yield f"claim {binding.claim} takes volume {binding.volume}"
    for provisioning in plan.provision:
        pool = f", of pool {provisioning.capacity}" if provisioning.capacity else ""
        yield f"claim {provisioning.claim} is provisioned for {explanation.decision.node}{pool}"


def _fitting(explanation: Explanation) -> list[str]:
    plugins = explanation.score_plugins
    rows = [
        [row.node, "chosen" if row.node == explanation.decision.node else "fits", str(row.total), _scores(row.scores, plugins)]
        for row in explanation.fitting[:FITTING_SHOWN]
    ]
    lines = grid(("NODE", "RESULT", "TOTAL", "SCORES"), rows, width=width())
    more = len(explanation.fitting) - FITTING_SHOWN
    return lines + ([f"… and {more:,} more that fit"] if more > 0 else [])


def _scores(scores: object, plugins: Sequence[str]) -> str:
    assert isinstance(scores, dict)
    return ", ".join(f"{plugin} {scores.get(plugin, 0)}" for plugin in plugins)


def _claim(claim: ClaimExplanation, *, all_groups: bool) -> list[str]:
    head = f"Claim {claim.claim}"
    wants = f" ({claim.wants})" if claim.wants else ""
    text = wrapped(f"{head}{wants}: {claim.situation}", width(), indent="  ")
    lines = [text.replace(head, shade(head, "bold"), 1)]
    lines += _candidates(claim.candidates, "  ", fine="would do")
    for groups in _alike(claim.groups, apart=all_groups):
        lines += _group(groups, fine="reachable" if claim.bound else "would do")
    return lines


def _alike(groups: Sequence[ClaimOnNodes], *, apart: bool) -> list[list[ClaimOnNodes]]:
    """Groups to be shown as one: each for itself where they are few, else those of one shape. Nodes that can serve the claim first."""
    if apart or len(groups) <= GROUPS_SHOWN:
        together = [[group] for group in groups]
    else:
        shapes: dict[object, list[ClaimOnNodes]] = {}
        for group in groups:
            shapes.setdefault(group.shape, []).append(group)
        together = list(shapes.values())
    return sorted(together, key=lambda alike: not alike[0].fits)


def _group(groups: Sequence[ClaimOnNodes], *, fine: str) -> list[str]:
    first = groups[0]
    nodes = [node for group in groups for node in group.nodes]
    verdict = shade("can be served", "good") if first.fits else shade("cannot be served", "bad")
    lines = [wrapped(f"on {first_of(nodes, NODES_SHOWN)}: ", width(), first="  ", indent="    ").rstrip() + " " + verdict]
    indent = "    "
    if len(groups) > 1:
        lines.append(f"    each in the same way, {first.nodes[0]} for one:")
        indent = "      "
    lines += _candidates(first.candidates, indent, fine=fine)
    elsewhere = [
        f"{count:,} {noun if count == 1 else noun + 's'}"
        for count, noun in ((first.volumes_elsewhere, "volume"), (first.pools_elsewhere, "pool"))
        if count
    ]
    if elsewhere:
        lines.append(f"{indent}{' and '.join(elsewhere)} of the class not reachable from here")
    if not first.candidates and not elsewhere:
        lines.append(f"{indent}the class has no volume, and provisions none")
    return lines


def _candidates(candidates: Sequence[Candidate], indent: str, *, fine: str) -> list[str]:
    """Fitting ones first, then the nearest misses; the rest counted by what they failed on."""
    shown, rest = candidates[:CANDIDATES_SHOWN], candidates[CANDIDATES_SHOWN:]
    lines = []
    for candidate in shown:
        good = fine
        if candidate.kind == "provisioner":
            good = "provisions here, from a pool with room:" if any(c.kind == "pool" for c in candidates) else "can provision here"
        verdict = "; ".join(refusal.text for refusal in candidate.refusals) or good
        about = f" ({candidate.about})" if candidate.about else ""
        lines.append(wrapped(f"{candidate.kind} {candidate.name}{about}: {verdict}", width(), first=indent, indent=indent + "  "))
    if rest:
        counts = Counter(refusal.aspect for candidate in rest for refusal in candidate.refusals)
        good_count = sum(not candidate.refusals for candidate in rest)
        parts = ([f"{good_count:,} {fine}"] if good_count else []) + [
            f"{count:,} failed on {aspect}" for aspect, count in counts.most_common()
        ]
        lines.append(f"{indent}{len(rest):,} more: {', '.join(parts)}")
    return lines
