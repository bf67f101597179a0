"""For people who test their own operators and schedulers: a pytest plugin with a cluster and a CSI driver to test against.

    plugin    hooks, markers and the fixtures `volsched_cluster` and `csi_driver`; imports nothing of volsched until one is used
    marks     what a test's markers ask of the driver
    cluster   builds the cluster of a test, checks its invariants, tells what happened in it when the test fails
    driver    the CSI driver of a test, in this process or in one of its own: endpoint, calls, state, faults
    plans     fault plans from what a test gives: dicts, files, keywords
    lives     one life of it: on threads, or a process (child)
    served    a driver on its socket and what may be asked of it; where it runs does not matter

pytest is imported here and nowhere else in volsched; it is no dependency of it. How to use all this: docs/pytest.md.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from volsched.testing.driver import Call, CsiDriver

_HOME = {"Call": "volsched.testing.driver", "CsiDriver": "volsched.testing.driver"}
__all__ = ["Call", "CsiDriver"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'volsched.testing' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)
