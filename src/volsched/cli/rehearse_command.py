"""rehearse: play a recorded story."""

from __future__ import annotations

import json
from pathlib import Path

import click

from volsched.app.rehearse import read_story
from volsched.app.rehearse import rehearse as play
from volsched.cli.common import engine_option
from volsched.cli.help import Command, examples
from volsched.cli.progress import showing


@click.command(
    cls=Command,
    epilog=examples(
        ("The outcome of a story", "volsched rehearse story.json"),
    ),
)
@click.argument("story", type=click.Path(path_type=Path))
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of uids and chance.")
@engine_option
def rehearse(story: Path, seed: int, engine: str) -> None:
    """Play STORY (JSON: timeline of actions and stages) on the virtual clock; print its stages, events and CSI calls as JSON."""
    told = read_story(story)
    with showing(f"playing {story}"):
        outcome = play(told, seed=seed, engine=engine, source=str(story))
    print(json.dumps(outcome, ensure_ascii=False))
