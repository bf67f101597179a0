"""The engines that the parity tests run, by name. Each is made with the same arguments."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from volsched.engine.decision import SchedulingEngine
from volsched.engine.reference import ReferenceEngine

ENGINES: Final[Mapping[str, Callable[[], SchedulingEngine]]] = {
    "reference": lambda: ReferenceEngine(tie_break="name"),
}
