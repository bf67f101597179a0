"""restore-check: where a snapshot can be restored, why not elsewhere, and what the scheduler would make of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import click

from volsched.app.restore_check import RestoreReport, Wish
from volsched.cli.common import (
    complete_kinds,
    engine_option,
    files_option,
    looked_state_option,
    namespace_option,
    output_option,
    resources,
)
from volsched.cli.help import Command, examples
from volsched.cli.layout import grid, wrapped
from volsched.cli.opening import looked_at_or_read
from volsched.cli.output import structured
from volsched.cli.progress import showing
from volsched.cli.terminal import shade, width
from volsched.errors import InputError
from volsched.rules.texts import first_of

KINDS: Final = ("VolumeSnapshot", "PersistentVolumeClaim", "Pod")
NODES_SHOWN: Final = 3
_SHADES: Final = {"yes": "good", "unsure": "wait", "no": "bad"}


@click.command(
    cls=Command,
    epilog=examples(
        ("Where a snapshot can be restored", "volsched restore-check vs/nightly"),
        ("As a larger claim of another class", "volsched restore-check vs/nightly --class fast --size 200Gi"),
        ("Why a pod's restore does not get on", "volsched restore-check pod/db"),
    ),
)
@click.argument("what", nargs=-1, metavar="vs/NAME | pvc/NAME | pod/NAME ...", shell_complete=complete_kinds)
@click.option("--class", "storage_class", metavar="NAME", help="StorageClass of the claim to be [default: the source's, else the default].")
@click.option("--size", metavar="SIZE", help="Size of the claim to be [default: the restore size].")
@click.option("--volume-mode", type=click.Choice(["Filesystem", "Block"]), help="Volume mode of the claim to be [default: the source's].")
@namespace_option("Namespace.")
@files_option(required=False)
@looked_state_option
@output_option("json", "yaml")
@engine_option
def restore_check(
    what: tuple[str, ...],
    storage_class: str | None,
    size: str | None,
    volume_mode: str | None,
    namespace: str,
    files: Sequence[Path],
    state: Path | None,
    output: str | None,
    engine: str,
) -> None:
    """Say on which nodes a VolumeSnapshot can be restored, and why not on the others, before anything is scheduled.

    For a snapshot: as a claim that does not exist yet, used by a pod that asks for nothing else. For a claim or a pod: as they are; the
    options --class, --size and --volume-mode are for snapshots.

    It looks at the snapshot and its content (bound, ready, driver, size, volume mode), at the topologies of the class, at pools, at
    everything else that keeps the pod from a node, and at where the snapshot can be read: as its driver says (CSI 1.13), else as its source
    volume suggests, which is a guess and said to be one. kube-scheduler knows nothing of the last; where it would send the pod to a node
    the snapshot cannot be read from, a warning foretells what follows.

    With -f the objects are taken as they are, as from a dump of a cluster, and nothing is run first.
    """
    pairs = resources(what)
    for kind, name in pairs:
        if kind.name not in KINDS or name is None:
            given = kind.plural if name is None else f"{kind.plural}/{name}"
            raise InputError(f"restore-check takes vs/NAME, pvc/NAME or pod/NAME, not {given}")
    wish = Wish(storage_class, size, volume_mode)
    if wish != Wish() and any(kind.name != "VolumeSnapshot" for kind, _ in pairs):
        raise click.UsageError("--class, --size and --volume-mode are for vs/NAME; a claim has its own")
    with showing("reading") as progress, looked_at_or_read(files, state, engine=engine, command="restore-check") as cluster:
        progress.now("looking")
        reports = [report for kind, name in pairs for report in cluster.restore_check(kind.name, namespace, name or "", wish)]
        progress.hide()
    if output:
        found = [report.as_json() for report in reports]
        print(structured(found[0] if len(found) == 1 else found, output))
    else:
        print("\n\n".join("\n".join(restore_lines(report)) for report in reports))


def restore_lines(report: RestoreReport) -> list[str]:
    """The text for a reader, line by line."""
    subject = f"VolumeSnapshot {report.snapshot}"
    if report.claim:
        subject = f"Restore of claim {report.claim} from {subject}" + (f" for pod {report.pod}" if report.pod else "")
    good = not report.problems and report.count("yes") > 0
    headline = f"{subject}: {report.headline}"
    lines = [wrapped(headline, width(), indent="  ").replace(subject, shade(subject, "bold"), 1)]
    if report.done:
        return lines
    asked = " ".join(part for part in (report.size, report.volume_mode) if part)
    needs = f" (the snapshot needs {report.restore_size})" if report.restore_size else ""
    by = f", provisioned by {report.driver}" if report.driver else ""
    lines.append(wrapped(f"as {asked}{needs} of class {report.storage_class or '<none>'}{by}", width(), first="  ", indent="    "))
    lines.append(wrapped(_readable(report), width(), first="  ", indent="    "))
    lines += [wrapped(f"{problem.aspect}: {problem.text}", width(), first="  ", indent="    ") for problem in report.problems]
    if report.says:
        lines.append(wrapped(f"the provisioner would say: {report.says}", width(), first="  ", indent="    "))
    if report.groups:
        rows = [
            [
                first_of(group.nodes, NODES_SHOWN),
                group.topology or "<none>",
                group.verdict,
                "; ".join(problem.text for problem in group.problems),
            ]
            for group in report.groups
        ]
        texts = grid(("NODES", "TOPOLOGY", "ONCE RESOLVED" if report.problems else "RESTORE", "REASON"), rows, width=width())
        lines += ["", texts[0], *(shade(text, _SHADES[group.verdict]) for text, group in zip(texts[1:], report.groups, strict=True))]
    if report.chosen and good and not report.warnings:
        lines += ["", f"The scheduler would choose {report.chosen} now."]
    if report.warnings:
        lines += ["", *(wrapped(warning, width(), first="Warning: ", indent="  ") for warning in report.warnings)]
    return lines


def _readable(report: RestoreReport) -> str:
    """From where the snapshot can be read, and how sure that is."""
    readable = report.readable
    if readable.known_by == "unknown":
        return f"readable nobody knows from where: {readable.source}"
    guess = "perhaps only " if readable.known_by == "volume" and readable.segments is not None else ""
    return f"readable {guess}from {readable.text}: {readable.source}"
