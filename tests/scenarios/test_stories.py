"""Every recorded story of a real control plane, played on the embedded cluster, equals its recording."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.scenarios.story_compare import differences
from volsched.app.rehearse import read_story, rehearse

STORIES = sorted((Path(__file__).parents[1] / "data" / "stories").glob("*.json"))


@pytest.mark.parametrize("path", STORIES, ids=lambda path: path.stem)
def test_story_equals_its_recording(path: Path) -> None:
    story = read_story(path)
    found = list(differences(story, json.loads(json.dumps(rehearse(story)))))
    assert not found, "\n".join(found[:20])


def test_the_recordings_are_all_here() -> None:
    assert len(STORIES) >= 27
