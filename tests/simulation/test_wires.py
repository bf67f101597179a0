"""What lies between deciders and world can fail: writes are refused, answers lost, calls end with a code. All comes right later."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.simulation.generator import story_of
from tests.simulation.player import Player
from volsched.app.cluster import Wires
from volsched.env.chance import Chance, Stream
from volsched.errors import ApiError, ConflictError, CsiCode, CsiError
from volsched.ports import CsiClient
from volsched.store import Store

WRITES = frozenset({"create", "update", "patch", "delete", "bind"})
RATE = 0.15


class FaultyStore:
    """The store, but one write in seven is refused, or carried out without the writer learning of it."""

    def __init__(self, store: Store, wires: FaultyWires) -> None:
        self._store = store
        self._wires = wires

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)
        return self._faulty(found) if name in WRITES else found

    def _faulty(self, write: Callable[..., Any]) -> Callable[..., Any]:
        def attempt(*arguments: Any, **named: Any) -> Any:
            fault = self._wires.draw()
            if fault == "before":
                raise ConflictError("the object has been modified; please apply your changes to the latest version and try again")
            answer = write(*arguments, **named)
            if fault == "after":
                raise ApiError("request timed out")
            return answer

        return attempt


class FaultyClient:
    """A driver's client with the same two faults."""

    def __init__(self, client: CsiClient, wires: FaultyWires) -> None:
        self._client = client
        self._wires = wires

    def call(self, method: str, request: Any, **named: Any) -> Any:
        fault = self._wires.draw()
        if fault == "before":
            raise CsiError(CsiCode.UNAVAILABLE, "nobody listens")
        answer = self._client.call(method, request, **named)
        if fault == "after":
            raise CsiError(CsiCode.DEADLINE_EXCEEDED, "the answer is lost")
        return answer


class FaultyWires(Wires):
    """Faults until `heal`."""

    def __init__(self, seed: int) -> None:
        self._chance: Stream = Chance(seed)("faults")
        self.faults = 0
        self.healed = False

    def draw(self) -> str:
        drawn = self._chance.random()
        if self.healed or drawn > RATE:
            return ""
        self.faults += 1
        return "before" if drawn < RATE / 2 else "after"

    def api(self, store: Store) -> Store:
        return FaultyStore(store, self)  # type: ignore[return-value]

    def client(self, driver: str, client: CsiClient) -> CsiClient:
        return FaultyClient(client, self)


@pytest.mark.parametrize("seed", range(8))
def test_faults_on_the_wires_leave_nothing_behind(seed: int) -> None:
    wires = FaultyWires(seed)
    player = Player(story_of(seed), seed=seed, lenient=True, wires=wires)
    rest = player.rest

    def heal_and_rest(**options: float) -> bool:
        wires.healed = True
        return rest(**options)

    player.rest = heal_and_rest  # type: ignore[method-assign]
    played = player.play()
    assert not played.violations, str(played)
    assert wires.faults > 10
