"""Traces of large clusters, replayed with volumes on a virtual clock.

    trace ──readers──> columns ──synth──> Scene ──simulation──> EventLog ──summary, tables──> what came of it

`readers`: openb, DLRM, own CSV and Parquet, kube dumps.  `options`, `synth`: storage laid over a compute trace.
`plan`: what happens to nodes.  `simulation`: time, and the scheduler's queue between events.
`placing`: the engine, asked in batches or pod by pod.  `storage`: claims, pools, disks.
`log`: what happened, and its hash; `summary` and `tables` know nothing but the log.  `checkpoint`: an interrupted replay.

    from volsched import replay

    result = replay.run("pods.csv.gz", nodes="nodes.csv.gz", synth="options.yaml", seed=1)
    result.summary["pods"], result.tables["utilisation"]["requested"], result.arrow("pods")

Names are imported when they are first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from volsched.replay.options import SynthOptions
    from volsched.replay.session import Result, prepare, run

_HOME = {
    "Result": "volsched.replay.session",
    "SynthOptions": "volsched.replay.options",
    "prepare": "volsched.replay.session",
    "run": "volsched.replay.session",
}
__all__ = ["Result", "SynthOptions", "prepare", "run"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'volsched.replay' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)
