"""demo: the main story, end to end."""

from __future__ import annotations

import importlib.resources
import sys
import tempfile
from pathlib import Path

import click

from volsched.cli import terminal
from volsched.cli.common import engine_option, warn
from volsched.cli.help import Command, examples
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


@click.command(
    cls=Command,
    epilog=examples(
        ("With other random bytes and names", "volsched demo --seed 7"),
        ("With manifests of one's own", "volsched demo --story examples/main-story"),
    ),
)
@click.option("--story", type=click.Path(path_type=Path), metavar="FOLDER", help="Folder of manifests (10-*.yaml … 90-*.yaml).")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of uids and of the bytes written.")
@engine_option
def demo(story: Path | None, seed: int, engine: str) -> None:
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
        how = (
            "wait"
            if "Pending" in text
            else "good"
            if label in ("pod", "snapshot", "read back")
            else "dim"
            if label in ("apply", "delete")
            else ""
        )
        first = f"   {label:<12} "
        print(terminal.shade(wrapped(text, terminal.width(), first=first, indent=" " * len(first)), how), flush=True)

    with tempfile.TemporaryDirectory(prefix="volsched-") as folder:
        problems = play(story or _shipped(), Path(folder), Narrator(chapter, fact), warn=warn, seed=seed, engine=engine).problems()
    if problems:
        sys.stdout.flush()
        raise InputError(f"the story did not end well: {'; '.join(problems)}")
    print("\nThe restored bytes equal those of the snapshot. Try: volsched run -f examples/local-volumes")
