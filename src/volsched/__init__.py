"""volsched: a Kubernetes-compatible storage scheduling engine.

    from volsched import Cluster      # the embedded cluster: manifests in, scheduled pods and provisioned volumes out
    from volsched import Engine       # decisions only: filter, score, assume over native columns
    from volsched import SchedulerCache, Store, …

Names are imported when they are first used, so that `import volsched` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from volsched.app.cluster import Cluster
    from volsched.cache.scheduler_cache import SchedulerCache
    from volsched.engine import Engine
    from volsched.store import Store

_HOME = {
    "Cluster": "volsched.app.cluster",
    "Engine": "volsched.engine",
    "SchedulerCache": "volsched.cache.scheduler_cache",
    "Store": "volsched.store",
}
__all__ = ["Cluster", "Engine", "SchedulerCache", "Store", "__version__"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'volsched' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)
