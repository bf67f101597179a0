"""The engine written plainly, one module per plugin, to compare the native one with. See `engine.py` and `cycle.py`."""

from __future__ import annotations

from volsched.engine.reference.engine import ReferenceEngine

__all__ = ["ReferenceEngine"]
