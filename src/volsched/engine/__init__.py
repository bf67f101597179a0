"""The scheduling engine: the cluster in native columns, and decisions over it.

    engine = Engine()
    engine.upsert(node)                  # objects of spec/scheduling.md 2, defaulted
    decision = engine.decide(pod)        # one native call: filters, scores, choice
    assumption = engine.assume(decision) # count it before the API server knows
    engine.forget(assumption)            # and take that back, exactly
    engine.trial(decision)               # what if some pods of a node were gone, or others there?

`decision`: the protocols both engines implement.  `native`: Engine.  `plugin`: plugins of one's own, over arrays.
`rows`: objects as packed rows; `_rows` its compiled twin; `_core` the native module.  `reference`: the plain Python twin.

The native parts are imported when they are first used, so that the protocols and the reference can be had without them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from volsched.engine.decision import (
    UNRESOLVABLE,
    UNSCHEDULABLE,
    Assumption,
    Decision,
    Emptied,
    Eviction,
    Provisioning,
    Rejection,
    SchedulingEngine,
    StaticBinding,
    TieBreak,
    Trial,
    VolumePlan,
)

if TYPE_CHECKING:
    from volsched.engine.batch import PodTemplate
    from volsched.engine.native import Engine, FilterResult
    from volsched.engine.plugin import ArrayPlugin, CycleView, PerNodePlugin, Verdict

_LAZY = {
    "ArrayPlugin": "volsched.engine.plugin",
    "CycleView": "volsched.engine.plugin",
    "Engine": "volsched.engine.native",
    "FilterResult": "volsched.engine.native",
    "PerNodePlugin": "volsched.engine.plugin",
    "PodTemplate": "volsched.engine.batch",
    "Verdict": "volsched.engine.plugin",
}

__all__ = [
    "UNRESOLVABLE",
    "UNSCHEDULABLE",
    "ArrayPlugin",
    "Assumption",
    "CycleView",
    "Decision",
    "Emptied",
    "Engine",
    "Eviction",
    "FilterResult",
    "PerNodePlugin",
    "PodTemplate",
    "Provisioning",
    "Rejection",
    "SchedulingEngine",
    "StaticBinding",
    "TieBreak",
    "Trial",
    "Verdict",
    "VolumePlan",
]


def __getattr__(name: str) -> Any:
    import importlib

    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_LAZY[name]), name)
