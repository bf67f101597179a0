"""Stories of our own, each a storage incident from end to end: what every stage must show, and no invariant broken at any step.

A stage may say
    expect       object -> a part it must have (`tests.simulation.player.contains`), null when it must not exist
    events       [type, reason, object, part of the message] that must have been told; `never`: that must not
    calls        CSI method -> how often it was answered OK so far; `fewest`: how often it was called at least, whatever was answered
    same_bytes, other_bytes    claims whose volumes hold the same content, or not
    together, apart            volumes reachable from the same nodes, or all from different ones
    restore      snapshot, claim or pod -> node -> whether `restore-check` says yes, no or unsure
    foretold     [object, part of a warning] of `restore-check`; `unforetold`: objects without any
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.simulation.player import Player, contains
from volsched.api.kinds import Json

STORIES = sorted((Path(__file__).parent / "own").glob("*.json"))


class Spectator:
    """Compares every stage and keeps what differs."""

    def __init__(self) -> None:
        self.differences: list[str] = []
        self.stages = 0

    def watch(self, player: Player, stage: Mapping[str, Json]) -> None:
        self.stages += 1
        self.differences += [f"stage {stage['stage']!r}: {text}" for text in self._differences(player, stage)]

    def _differences(self, player: Player, stage: Mapping[str, Json]) -> Iterator[str]:
        for path, part in stage.get("expect", {}).items():
            state = player.state(self._path(player, path))
            if part is None and state is not None:
                yield f"{path} still exists"
            elif part is not None and state is None:
                yield f"{path} does not exist"
            elif part is not None:
                yield from (f"{path}: {text}" for text in lacking(state, player.names.resolve(part, now="")))
        told = [
            [event.type, event.reason, _name(event.involvedObject), event.message] for event in player.cluster.store.list("Event").items
        ]
        for wanted in stage.get("events", ()):
            if not any(_tells(event, wanted) for event in told):
                yield f"no event like {wanted}; there are {[event for event in told if event[2] == wanted[2]]}"
        for unwanted in stage.get("never", ()):
            yield from (f"event {event}" for event in told if _tells(event, unwanted))
        for method, count in stage.get("calls", {}).items():
            made = sum(call.method.endswith(f"/{method}") and call.outcome == "OK" for call in player.cluster.csi_calls)
            if made != count:
                yield f"{made} calls of {method}, expected {count}"
        for method, count in stage.get("fewest", {}).items():
            made = sum(call.method.endswith(f"/{method}") for call in player.cluster.csi_calls)
            if made < count:
                yield f"{made} calls of {method}, expected {count} or more"
        yield from self._restores(player, stage)
        for pair, same in [(pair, True) for pair in stage.get("same_bytes", ())] + [(pair, False) for pair in stage.get("other_bytes", ())]:
            digests = [self._digest(player, path) for path in pair]
            if (digests[0] == digests[1]) is not same:
                yield f"{' and '.join(pair)} hold {'different' if same else 'the same'} bytes"
        for group, together in [(one, True) for one in stage.get("together", ())] + [(one, False) for one in stage.get("apart", ())]:
            places = [json.dumps((player.state(self._path(player, path)) or {})["spec"]["nodeAffinity"]) for path in group]
            if len(set(places)) != (1 if together else len(places)):
                yield f"{', '.join(group)} are at {places}"

    @staticmethod
    def _restores(player: Player, stage: Mapping[str, Any]) -> Iterator[str]:
        def report(path: str) -> Any:
            kind, namespace, name = path.split("/")
            return player.cluster.restore_check(kind, namespace, name)[0]

        for path, wanted in stage.get("restore", {}).items():
            found = {node: group.verdict for group in report(path).groups for node in group.nodes}
            if found != wanted:
                yield f"{path} can be restored {found}, expected {wanted}"
        for path, text in stage.get("foretold", ()):
            warnings = report(path).warnings
            if not any(text in warning for warning in warnings):
                yield f"{path}: {text!r} is not foretold, but {warnings}"
        for path in stage.get("unforetold", ()):
            yield from (f"{path}: {warning}" for warning in report(path).warnings)

    @staticmethod
    def _path(player: Player, path: str) -> str:
        return str(player.names.resolve(path, now=""))

    @staticmethod
    def _digest(player: Player, path: str) -> str:
        claim: Any = player.state(path)
        pv: Any = player.state(f"PersistentVolume/{claim['spec']['volumeName']}")
        return player.cluster.drivers.fakes[pv["spec"]["csi"]["driver"]].digest_volume(pv["spec"]["csi"]["volumeHandle"])


def lacking(value: Json, part: Json, path: str = "") -> Iterator[str]:
    """Which parts of `part` a value lacks, one line each."""
    if isinstance(part, dict) and isinstance(value, dict):
        for key, item in part.items():
            yield from lacking(value.get(key), item, f"{path}.{key}" if path else key)
    elif not contains(value, part):
        yield f"{path} is {value!r}, expected {part!r}"


def _name(reference: Any) -> str:
    return "/".join(part for part in (reference.kind, reference.namespace, reference.name) if part)


def _tells(event: list[str], wanted: list[str]) -> bool:
    return event[:3] == wanted[:3] and wanted[3] in event[3]


@pytest.mark.parametrize("path", STORIES, ids=lambda path: path.stem)
def test_own_story(path: Path) -> None:
    story = json.loads(path.read_text(encoding="utf-8"))
    spectator = Spectator()
    played = Player(story, on_stage=spectator.watch, violations_max=20).play()
    assert not spectator.differences, "\n".join(spectator.differences)
    assert not played.violations, str(played)
    assert not played.skipped
    assert spectator.stages == sum("stage" in entry for entry in story["timeline"]) > 0


def test_there_are_ten_and_more() -> None:
    assert len(STORIES) >= 10
    assert len({json.loads(path.read_text(encoding="utf-8"))["about"] for path in STORIES}) == len(STORIES)
