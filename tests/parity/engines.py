"""The engines that the parity tests run, by name. Each is made with the same arguments."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from volsched.engine import Engine, SchedulingEngine
from volsched.engine.reference import ReferenceEngine

MAKERS: Final[Mapping[str, Callable[..., SchedulingEngine]]] = {"native": Engine, "reference": ReferenceEngine}
ENGINES: Final[Mapping[str, Callable[[], SchedulingEngine]]] = {
    "native": lambda: Engine(tie_break="name"),
    "reference": lambda: ReferenceEngine(tie_break="name"),
}
