from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.unit.csi.world import World, world


@pytest.fixture(params=["inprocess", "grpc"])
def any_world(request: pytest.FixtureRequest) -> Iterator[World]:
    """A full driver in zones a, b, c, reached both ways: one test body for both transports."""
    with world(request.param) as made:
        yield made
