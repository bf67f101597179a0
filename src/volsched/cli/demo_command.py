"""demo: the main story, end to end."""

from __future__ import annotations

import importlib.resources
import sys
import tempfile
from pathlib import Path

import click

from volsched.cli import terminal
from volsched.cli.common import warn
from volsched.cli.layout import wrapped
from volsched.errors import InputError


def _shipped() -> Path:
    """The story's manifests: beside the package where it is installed, in examples/ of a checkout."""
    packaged = Path(str(importlib.resources.files("volsched"))) / "_examples" / "main-story"
    checkout = Path(__file__).parents[3] / "examples" / "main-story"
    for folder in (checkout, packaged):
        if folder.is_dir():
            return folder
    raise InputError("the example manifests are not installed; give their folder with --story", source=str(packaged))


@click.command()
@click.option("--story", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Folder of manifests (10-*.yaml … 90-*.yaml).")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of uids and of the bytes written.")
def demo(story: Path | None, seed: int) -> None:
    """Play the main story: wrong zone, corrected, provisioned over a socket, snapshot, restore, local volumes."""
    try:
        from volsched.app.demo import Narrator, play
    except ModuleNotFoundError as error:
        if error.name and error.name.partition(".")[0] in ("grpc", "google"):
            raise InputError("the demo talks gRPC to its driver: pip install 'volsched[csi]'") from error
        raise
    number = 0

    def chapter(title: str) -> None:
        nonlocal number
        number += 1
        print(f"{'' if number == 1 else chr(10)}{terminal.shade(f'{number}. {title}', 'bold')}", flush=True)

    def fact(label: str, text: str) -> None:
        how = "wait" if "Pending" in text else "good" if label in ("pod", "snapshot", "read back") else "dim" if label == "apply" else ""
        first = f"   {label:<12} "
        print(terminal.shade(wrapped(text, terminal.width(), first=first, indent=" " * len(first)), how), flush=True)

    with tempfile.TemporaryDirectory(prefix="volsched-") as folder:
        outcome = play(story or _shipped(), Path(folder), Narrator(chapter, fact), warn=warn, seed=seed)
    good = outcome.restored == outcome.before != outcome.after and outcome.content_gone and outcome.snapshot_ready and outcome.local_node
    if not good:
        print(f"\nerror: the story did not end as it should: {outcome}", file=sys.stderr)
        sys.exit(1)
    print("\nThe restored bytes equal those of the snapshot. Try: volsched run -f examples/local-volumes")
